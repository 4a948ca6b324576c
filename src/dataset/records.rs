//! Files of records that are decoded a row at a time: CSV, TFRecord, plain text.
//!
//! ```text
//! index file, if it belongs to the file ──▶ starts
//! else a scan of the whole file, in parallel ──▶ starts, in memory
//! a sample of the first records ──▶ columns, unless the options or an earlier file say them
//! ```
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use xxhash_rust::xxh3::xxh3_64;

use super::inflate::FileSource;
use super::options::OpenOptions;
use super::scan::Scan;
use super::shard::Opened;
use super::sidecar;
use crate::error::{Error, Result};
use crate::format::csv::{BlockSummary, CsvFormat, SAMPLE_BYTES, ScanState, record_starts};
use crate::format::example::{ExampleDecoder, ExampleSpec, RawDecoder, message_of};
use crate::format::{
    Crcs, Framing, InflatedRecords, Piece, RecordMap, Records, Span, Values, text, tfrecord,
};
use crate::layout::DecodeInto;
use crate::map::Region;

/// Records that are looked at to find out what features there are, and bytes of them.
const SAMPLE_RECORDS: u64 = 1000;
const SAMPLE_RECORD_BYTES: u64 = 8 << 20;

/// Bytes of a file that are worth a thread of their own where frames have to be walked one by one.
const PART_BYTES: u64 = 8 << 20;

/// What the first file of a list says of those after it.
#[derive(Default)]
pub(super) struct Known {
    /// Bytes of files that were inflated and are kept.
    pub(super) inflated_bytes: u64,
    csv: Option<CsvFormat>,
    examples: Option<Examples>,
}

/// What the payloads of TFRecords are.
#[derive(Clone)]
struct Examples {
    schema: SchemaRef,
    decoder: Arc<dyn DecodeInto>,
}

/// A file of records before its rows are known.
struct RecordFile<'a> {
    source: &'a FileSource,
    options: &'a OpenOptions,
    /// A hash of what the index depends on beside the file.
    dependence: u64,
}

impl RecordFile<'_> {
    /// The starts of the records, from the index file or from `scan`.
    fn starts(&self, scan: impl FnOnce() -> Result<Vec<u64>>) -> Result<Span> {
        // Only a file as it is has an index, not what it was inflated to.
        let path =
            self.source.region.path().filter(|_| self.options.use_index && self.source.again.is_none());
        if let Some(path) = path
            && let Some(starts) = sidecar::find(path, self.dependence, &self.options.map)?
        {
            return Ok(starts);
        }
        let mut starts = scan()?;
        starts.iter_mut().for_each(|start| *start = start.to_le());
        let region = Region::from_buffer(Buffer::from_vec(starts));
        Span::new(&region, 0, region.len_bytes())
    }

    fn opened(
        self,
        starts: Span,
        framing: Framing,
        decoder: Arc<dyn DecodeInto>,
        schema: SchemaRef,
    ) -> Result<Opened> {
        let mut opened = parsed(self.source, starts, 8, framing, decoder, schema)?;
        opened.dependence = Some(self.dependence);
        Ok(opened)
    }
}

/// A shard of records that are decoded a row at a time.
pub(super) fn parsed(
    source: &FileSource,
    starts: Span,
    start_bytes: u64,
    framing: Framing,
    decoder: Arc<dyn DecodeInto>,
    schema: SchemaRef,
) -> Result<Opened> {
    let index = Some(starts.region().clone()).filter(|index| !index.is_owned());
    let num_columns = schema.fields().len();
    let map = Arc::new(RecordMap::new(starts, start_bytes, framing, decoder, num_columns)?);
    let num_rows = map.num_rows();
    let pieces = |values: &dyn Fn(usize) -> Values| {
        (0..num_columns).map(|column| Piece { num_rows, validity: None, values: values(column) }).collect()
    };
    let (region, pieces) = match &source.again {
        None => {
            let records = Arc::new(Records::new(source.region.clone(), map));
            let pieces = pieces(&|column| Values::Parsed { records: records.clone(), column });
            (source.region.clone(), pieces)
        }
        Some(again) => {
            let again = again.clone();
            let compressed = again.compressed.clone();
            let file = Arc::new(InflatedRecords {
                map,
                len_bytes: source.region.len_bytes(),
                inflate: Box::new(move || again.inflate()),
            });
            (compressed, pieces(&|column| Values::Inflated { file: file.clone(), column }))
        }
    };
    let mut opened = Opened::new(Some(region), schema, vec![pieces]);
    opened.index = index;
    Ok(opened)
}

/// A hash of a format and of what its records depend on.
fn dependence(format: &str, parts: &[u64]) -> u64 {
    let mut bytes = format.as_bytes().to_vec();
    parts.iter().for_each(|part| bytes.extend_from_slice(&part.to_le_bytes()));
    xxh3_64(&bytes)
}

/// Opens a CSV file.
pub(super) fn csv(
    source: &FileSource,
    options: &OpenOptions,
    known: &mut Known,
    tabs: bool,
) -> Result<Opened> {
    let region = &source.region;
    let mut csv = options.csv.clone().unwrap_or_default();
    if tabs && options.csv.is_none() {
        csv = csv.delimiter(b'\t');
    }
    let sample = region.read(0..region.len_bytes().min(SAMPLE_BYTES as u64))?;
    let complete = sample.len() as u64 == region.len_bytes();
    let (format, first) = match &known.csv {
        None => {
            let format = csv.resolve(&sample, complete)?;
            let first = format.first_record();
            (known.csv.insert(format).clone(), first)
        }
        Some(format) => (format.clone(), csv.first_record_of(format, &sample, complete)?),
    };
    let dialect = *format.dialect();
    let byte = |byte: Option<u8>| byte.map_or(256, u64::from);
    let parts = [dialect.delimiter.into(), byte(dialect.quote), byte(dialect.comment), first];
    let file = RecordFile { source, options, dependence: dependence("csv", &parts) };
    let starts = file.starts(|| {
        let scan = Scan::new(region, &options.listener, if dialect.quote.is_some() { 2 } else { 1 });
        let range = first..region.len_bytes();
        // Each block's state depends on all before it: first what each does to a state, then the records.
        let summaries = scan.blocks(range.clone(), |_, _, block| BlockSummary::of(&dialect, block))?;
        let states: Vec<_> = summaries
            .iter()
            .scan(ScanState::LineStart, |state, summary| {
                Some(std::mem::replace(state, summary.after(*state)))
            })
            .collect();
        let found = scan.blocks(range, |number, base, block| {
            let mut starts = Vec::with_capacity(block.len() / 64);
            record_starts(&dialect, states[number], block, base, &mut starts);
            starts
        })?;
        Ok(joined(found, [region.len_bytes()]))
    })?;
    file.opened(starts, Framing::Plain, format.decoder().clone(), format.schema().clone())
}

/// Opens a file of text, a row a line.
pub(super) fn text(source: &FileSource, options: &OpenOptions) -> Result<Opened> {
    let region = &source.region;
    let file = RecordFile { source, options, dependence: dependence("text", &[]) };
    let starts = file.starts(|| {
        let scan = Scan::new(region, &options.listener, 1);
        let found = scan.blocks(0..region.len_bytes(), |_, base, block| {
            let mut starts = Vec::with_capacity(text::count(block));
            text::push_starts(block, base, &mut starts);
            starts
        })?;
        let mut starts = joined([vec![0]].into_iter().chain(found), []);
        text::close(&mut starts, region.len_bytes());
        Ok(starts)
    })?;
    let field = text::field().with_name(options.column_name.as_deref().unwrap_or(text::COLUMN));
    file.opened(starts, Framing::Plain, Arc::new(text::LineDecoder), Arc::new(Schema::new(vec![field])))
}

/// Opens a TFRecord file.
pub(super) fn tfrecord(source: &FileSource, options: &OpenOptions, known: &mut Known) -> Result<Opened> {
    let region = &source.region;
    let file = RecordFile { source, options, dependence: dependence("tfrecord", &[]) };
    let starts = file.starts(|| frames(region, &Scan::new(region, &options.listener, 1)))?;
    let num_records = starts.len() / 8 - 1;
    let crcs = Crcs::new(options.checksums, num_records);
    let examples = match &known.examples {
        Some(examples) => examples.clone(),
        None => known.examples.insert(examples(region, &starts, options)?).clone(),
    };
    file.opened(starts, Framing::TfRecord(crcs), examples.decoder, examples.schema)
}

/// Where the frames of a file begin, and where the last ends.
fn frames(region: &Region, scan: &Scan<'_>) -> Result<Vec<u64>> {
    let parts = tfrecord::split(region, region.len_bytes().div_ceil(PART_BYTES).max(1) as usize)?;
    let walked = scan.in_parallel(parts.len(), |number, _| {
        let mut starts = Vec::new();
        let part = parts[number].clone();
        let bytes = part.end - part.start;
        let end = tfrecord::scan(region, part, &mut starts);
        scan.done(bytes);
        // An error is believed where the file is walked from its beginning: a part may begin within a payload.
        Ok(end.ok().map(|end| (starts, end)))
    })?;
    let ends: Option<Vec<u64>> = walked.iter().map(|part| part.as_ref().map(|&(_, end)| end)).collect();
    if let Some(ends) = ends.filter(|ends| tfrecord::joins(&parts, ends)) {
        return Ok(joined(walked.into_iter().flatten().map(|(starts, _)| starts), ends.last().copied()));
    }
    let mut starts = Vec::new();
    let end = tfrecord::scan(region, 0..region.len_bytes(), &mut starts)?;
    starts.push(end);
    Ok(starts)
}

fn joined(parts: impl IntoIterator<Item = Vec<u64>>, end: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let parts: Vec<_> = parts.into_iter().collect();
    let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum::<usize>() + 1);
    parts.into_iter().for_each(|part| all.extend(part));
    all.extend(end);
    all
}

/// What the payloads of a TFRecord file are: what the options say, or what the first of them look like.
fn examples(region: &Region, starts: &Span, options: &OpenOptions) -> Result<Examples> {
    let raw = || {
        let schema = RawDecoder::schema();
        let schema = match &options.column_name {
            Some(name) => Schema::new(vec![schema.field(0).clone().with_name(name)]),
            None => schema,
        };
        Examples { schema: Arc::new(schema), decoder: Arc::new(RawDecoder) }
    };
    let of_spec = |spec: &ExampleSpec| {
        let decoder = ExampleDecoder::new(spec)?;
        Ok(Examples { schema: decoder.schema().clone(), decoder: Arc::new(decoder) })
    };
    if options.raw_records {
        return Ok(raw());
    }
    if let Some(spec) = &options.examples {
        return of_spec(spec);
    }
    let sample = sample(region, starts)?;
    let payloads: Vec<&[u8]> = sample
        .iter()
        .map(|frame| tfrecord::payload_of(frame).map(|(payload, _)| payload))
        .collect::<Result<_>>()?;
    match payloads.first() {
        // Who wrote no example wrote something of their own.
        Some(first) if message_of(first).is_err() => Ok(raw()),
        Some(_) => of_spec(&ExampleSpec::infer(payloads.iter().copied())?),
        None => Ok(raw()),
    }
}

/// The first frames of a file, each found whole.
fn sample(region: &Region, starts: &Span) -> Result<Vec<Vec<u8>>> {
    let num_records = (starts.len() / 8 - 1).min(SAMPLE_RECORDS);
    let words = starts.region().read(starts.offset()..starts.offset() + (num_records + 1) * 8)?;
    let words: Vec<_> = words.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
    let mut frames = Vec::new();
    let mut bytes = 0;
    for (record, pair) in words.windows(2).enumerate() {
        let place = |error: Error| error.at_record(record as u64).after_byte(pair[0]);
        let frame = region.read(pair[0]..pair[1])?;
        let (payload, stored) = tfrecord::payload_of(&frame).map_err(place)?;
        tfrecord::check_payload(payload, stored).map_err(place)?;
        bytes += frame.len() as u64;
        frames.push(frame);
        if bytes > SAMPLE_RECORD_BYTES {
            break;
        }
    }
    Ok(frames)
}

/// Writes the index of an open shard, if its format has one; `None` otherwise.
pub(super) fn write_index(path: &Path, opened: &Opened) -> Result<Option<PathBuf>> {
    let (Some(dependence), Some(piece)) = (opened.dependence, opened.chunks.first().and_then(|c| c.first()))
    else {
        return Ok(None);
    };
    let Values::Parsed { records, .. } = &piece.values else { return Ok(None) };
    if !opened.region.as_ref().is_some_and(|region| region.path() == Some(path)) {
        return Ok(None);
    }
    sidecar::write(path, dependence, records.map().starts()).map(Some)
}
