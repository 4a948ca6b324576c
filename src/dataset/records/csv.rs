//! Opening a CSV file: its dialect and columns from its head, its records from a scan in two passes.
#![forbid(unsafe_code)]

use super::{Columns, FileSource, Framing, Known, OpenOptions, Opened, RecordFile, joined};
use crate::error::{ErrorKind, Result};
use crate::format::CsvOptions;
use crate::format::csv::{BlockSummary, CsvFormat, SAMPLE_BYTES, ScanState, record_starts};

/// Opens a CSV file; `tabs` says that its fields are between tabs, unless the options say otherwise.
pub(crate) fn csv(
    source: &FileSource,
    options: &OpenOptions,
    known: &mut Known,
    tabs: bool,
) -> Result<Opened> {
    let (format, first) = format_of(source, options, known, tabs)?;
    let dialect = *format.dialect();
    let byte = |byte: Option<u8>| byte.map_or(256, u64::from);
    let parts = [dialect.delimiter.into(), byte(dialect.quote), byte(dialect.comment), first];
    let file = RecordFile::new(source, options, "csv", &parts);
    let starts = file.starts(|| {
        let scan = file.scan(2);
        let range = first..file.region().len_bytes();
        // Each block's state depends on all before it: first what each does to a state, then the records.
        let summaries = scan.blocks(range.clone(), |_, _, block| BlockSummary::of(&dialect, block))?;
        let states = summaries.iter().scan(ScanState::LineStart, |state, summary| {
            Some(std::mem::replace(state, summary.after(*state)))
        });
        let states: Vec<_> = states.collect();
        let found = scan.blocks(range, |number, base, block| {
            let mut starts = Vec::with_capacity(block.len() / 64);
            record_starts(&dialect, states[number], block, base, &mut starts);
            starts
        })?;
        let mut starts = joined(found);
        starts.push(file.region().len_bytes());
        Ok(starts)
    })?;
    let columns = Columns { schema: format.schema().clone(), decoder: format.decoder().clone() };
    file.opened(starts, Framing::Plain, columns)
}

/// What the file is, and the byte from which on it holds records. The first file says it for those after it that have
/// its header.
fn format_of(
    source: &FileSource,
    options: &OpenOptions,
    known: &mut Known,
    tabs: bool,
) -> Result<(CsvFormat, u64)> {
    let region = &source.region;
    let csv = match &options.csv {
        Some(csv) => csv.clone(),
        None if tabs => CsvOptions::new().delimiter(b'\t'),
        None => CsvOptions::new(),
    };
    let sample = region.read(0..region.len_bytes().min(SAMPLE_BYTES as u64))?;
    let is_complete = sample.len() as u64 == region.len_bytes();
    if let Some(format) = &known.csv {
        match csv.first_record_of(format, &sample, is_complete) {
            // The same columns in another order are matched by name, once their types are found.
            Err(error) if error.kind() == ErrorKind::Mismatch => {}
            first => return Ok((format.clone(), first?)),
        }
    }
    let format = csv.resolve(&sample, is_complete)?;
    let first = format.first_record();
    known.csv.get_or_insert_with(|| format.clone());
    Ok((format, first))
}
