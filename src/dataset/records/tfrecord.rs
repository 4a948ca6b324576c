//! Opening a TFRecord file: its frames from a walk of its parts, its columns from the first payloads.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{Columns, FileSource, Framing, Known, OpenOptions, Opened, RecordFile, Scan, joined};
use crate::error::{Error, Result};
use crate::format::example::{ExampleDecoder, ExampleSpec, RawDecoder, message_of};
use crate::format::{Crcs, Span, tfrecord as frame};
use crate::map::Region;

/// Records that are looked at to find out what features there are, and bytes of them.
const SAMPLE_RECORDS: u64 = 1000;
const SAMPLE_BYTES: u64 = 8 << 20;

/// Bytes of a file that are worth a thread of their own where frames have to be walked one by one.
const PART_BYTES: u64 = 8 << 20;

/// Opens a TFRecord file.
pub(crate) fn tfrecord(source: &FileSource, options: &OpenOptions, known: &mut Known) -> Result<Opened> {
    let file = RecordFile::new(source, options, "tfrecord", &[]);
    let starts = file.starts(|| walk(file.region(), &file.scan(1)))?;
    let crcs = Crcs::new(options.checksums, starts.len() / 8 - 1);
    let columns = match &known.tfrecord {
        Some(columns) => columns.clone(),
        None => known.tfrecord.insert(columns_of(file.region(), &starts, options)?).clone(),
    };
    file.opened(starts, Framing::TfRecord(crcs), columns)
}

/// Where the frames of a file begin, and where the last ends.
fn walk(region: &Region, scan: &Scan<'_>) -> Result<Vec<u64>> {
    let parts = frame::split(region, region.len_bytes().div_ceil(PART_BYTES).max(1) as usize)?;
    let walked = scan.in_parallel(parts.len(), |number, _| {
        let mut starts = Vec::new();
        let part = parts[number].clone();
        let end = frame::scan(region, part.clone(), &mut starts);
        scan.done(part);
        // An error is believed where the file is walked from its beginning: a part may begin within a payload.
        Ok(end.ok().map(|end| (starts, end)))
    })?;
    let ends: Option<Vec<u64>> = walked.iter().map(|part| part.as_ref().map(|&(_, end)| end)).collect();
    let (mut starts, end) = match ends.filter(|ends| frame::joins(&parts, ends)) {
        Some(ends) => (joined(walked.into_iter().flatten().map(|(starts, _)| starts)), ends[ends.len() - 1]),
        None => {
            let mut starts = Vec::new();
            let end = frame::scan(region, 0..region.len_bytes(), &mut starts)?;
            (starts, end)
        }
    };
    starts.push(end);
    Ok(starts)
}

/// What the payloads become: what the options say, or what the first of them look like.
fn columns_of(region: &Region, starts: &Span, options: &OpenOptions) -> Result<Columns> {
    if options.raw_records {
        return Ok(raw(options));
    }
    if let Some(spec) = &options.examples {
        return of_examples(spec);
    }
    let sample = sample(region, starts)?;
    let payloads: Vec<&[u8]> = sample
        .iter()
        .map(|frame| frame::payload_of(frame).map(|(payload, _)| payload))
        .collect::<Result<_>>()?;
    match payloads.first() {
        // Who wrote no example wrote something of their own.
        Some(first) if message_of(first).is_err() => Ok(raw(options)),
        Some(_) => of_examples(&ExampleSpec::infer(payloads.iter().copied())?),
        None => Ok(raw(options)),
    }
}

fn raw(options: &OpenOptions) -> Columns {
    let schema = RawDecoder::schema();
    let schema = match &options.column_name {
        Some(name) => Schema::new(vec![schema.field(0).clone().with_name(name)]),
        None => schema,
    };
    Columns { schema: Arc::new(schema), decoder: Arc::new(RawDecoder) }
}

fn of_examples(spec: &ExampleSpec) -> Result<Columns> {
    let decoder = ExampleDecoder::new(spec)?;
    Ok(Columns { schema: decoder.schema().clone(), decoder: Arc::new(decoder) })
}

/// The first frames of a file, each found whole.
fn sample(region: &Region, starts: &Span) -> Result<Vec<Vec<u8>>> {
    let num_records = (starts.len() / 8 - 1).min(SAMPLE_RECORDS);
    let words = starts.region().read(starts.offset()..starts.offset() + (num_records + 1) * 8)?;
    let words: Vec<_> = words.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
    let mut frames = Vec::new();
    let mut bytes = 0;
    for (record, pair) in words.windows(2).enumerate() {
        let place = |error: Error| error.after_byte(pair[0]).at_record(record as u64);
        let whole = region.read(pair[0]..pair[1])?;
        let (payload, stored) = frame::payload_of(&whole).map_err(place)?;
        frame::check_payload(payload, stored).map_err(place)?;
        bytes += whole.len() as u64;
        frames.push(whole);
        if bytes > SAMPLE_BYTES {
            break;
        }
    }
    Ok(frames)
}
