//! Files of records that are decoded a row at a time: CSV, TFRecord, plain text.
//!
//! ```text
//! index file, if it belongs to the file ──▶ starts
//! else a scan of the whole file, in parallel ──▶ starts, in memory
//! a sample of the first records ──▶ columns, unless the options or an earlier file say them
//! ```
#![forbid(unsafe_code)]

mod csv;
mod tfrecord;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use xxhash_rust::xxh3::xxh3_64;

use super::inflate::{FileSource, Room};
use super::options::OpenOptions;
use super::scan::Scan;
use super::shard::Opened;
use super::sidecar::{self, Stamp};
use crate::error::Result;
use crate::format::csv::CsvFormat;
use crate::format::{Framing, InflatedRecords, Piece, RecordMap, Records, Span, Values, text as lines};
use crate::layout::DecodeInto;
use crate::map::{Preload, Region};

pub(super) use csv::csv;
pub(super) use tfrecord::tfrecord;

/// What the files opened so far say of those after them: what their columns are, and how much room they leave.
pub(super) struct Known {
    pub(super) room: Room,
    csv: Option<CsvFormat>,
    tfrecord: Option<Columns>,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(options: &OpenOptions) -> Self {
        Known { room: Room::new(options.decode_budget_bytes), csv: None, tfrecord: None }
    }
}

/// What records become.
#[derive(Clone)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) decoder: Arc<dyn DecodeInto>,
}

/// A file of records before its rows are known.
struct RecordFile<'a> {
    source: &'a FileSource,
    options: &'a OpenOptions,
    /// A hash of what the index depends on beside the file.
    dependence: u64,
}

impl<'a> RecordFile<'a> {
    /// A file of `format`, whose records begin where they do because of `parts`.
    fn new(source: &'a FileSource, options: &'a OpenOptions, format: &str, parts: &[u64]) -> Self {
        let mut bytes = format.as_bytes().to_vec();
        parts.iter().for_each(|part| bytes.extend_from_slice(&part.to_le_bytes()));
        RecordFile { source, options, dependence: xxh3_64(&bytes) }
    }

    fn region(&self) -> &Region {
        &self.source.region
    }

    /// A scan that looks at the file `passes` times.
    fn scan(&self, passes: u64) -> Scan<'a> {
        let keep_pages = self.options.preload != Preload::No;
        Scan::new(&self.source.region, &self.options.listener, passes, keep_pages)
    }

    /// The starts of the records, from the index file or from `scan`.
    fn starts(&self, scan: impl FnOnce() -> Result<Vec<u64>>) -> Result<Span> {
        // What a file inflates to is memory without a path, and has no index.
        if let Some(path) = self.region().path().filter(|_| self.options.use_index)
            && let Some(starts) = sidecar::find(path, self.dependence, &self.options.map)?
        {
            return Ok(starts);
        }
        let mut starts = scan()?;
        starts.iter_mut().for_each(|start| *start = start.to_le());
        let region = Region::from_buffer(Buffer::from_vec(starts));
        Span::new(&region, 0, region.len_bytes())
    }

    fn opened(self, starts: Span, framing: Framing, columns: Columns) -> Result<Opened> {
        let opened = parsed(self.source, starts, 8, framing, columns)?;
        Ok(Opened { dependence: Some(self.dependence), ..opened })
    }
}

/// A shard of records that are decoded a row at a time, between `starts` of `start_bytes` bytes each.
pub(super) fn parsed(
    source: &FileSource,
    starts: Span,
    start_bytes: u64,
    framing: Framing,
    columns: Columns,
) -> Result<Opened> {
    let Columns { schema, decoder } = columns;
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
            let (again, compressed) = (again.clone(), again.compressed.clone());
            let len_bytes = source.region.len_bytes();
            let inflate = Box::new(move || again.inflate());
            let file = Arc::new(InflatedRecords { map, len_bytes, inflate });
            (compressed, pieces(&|column| Values::Inflated { file: file.clone(), column }))
        }
    };
    Ok(Opened { index, ..Opened::new(Some(region), schema, vec![pieces]) })
}

/// Opens a file of text, a row a line.
pub(super) fn text(source: &FileSource, options: &OpenOptions) -> Result<Opened> {
    let file = RecordFile::new(source, options, "text", &[]);
    let len_bytes = file.region().len_bytes();
    let starts = file.starts(|| {
        let found = file.scan(1).blocks(0..len_bytes, |_, base, block| {
            let mut starts = Vec::with_capacity(lines::count(block));
            lines::push_starts(block, base, &mut starts);
            starts
        })?;
        let mut starts = joined([vec![0]].into_iter().chain(found));
        lines::close(&mut starts, len_bytes);
        Ok(starts)
    })?;
    let field = lines::field().with_name(options.column_name.as_deref().unwrap_or(lines::COLUMN));
    let schema = Arc::new(Schema::new(vec![field]));
    file.opened(starts, Framing::Plain, Columns { schema, decoder: Arc::new(lines::LineDecoder) })
}

/// The starts that were found in the parts of a file, with room for one more.
fn joined(parts: impl IntoIterator<Item = Vec<u64>>) -> Vec<u64> {
    let parts: Vec<_> = parts.into_iter().collect();
    let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum::<usize>() + 1);
    parts.into_iter().for_each(|part| all.extend(part));
    all
}

/// Writes the index of the file at `path`, which was `stamp` before it was opened, if its format has one.
pub(super) fn write_index(path: &Path, stamp: &Stamp, opened: &Opened) -> Result<Option<PathBuf>> {
    let Some(dependence) = opened.dependence else { return Ok(None) };
    match opened.chunks.first().and_then(|columns| columns.first()).map(|piece| &piece.values) {
        Some(Values::Parsed { records, .. }) if records.region().path() == Some(path) => {
            sidecar::write(path, stamp, dependence, records.map().starts()).map(Some)
        }
        // Inflated, it is no file that could be mapped beside its index.
        _ => Ok(None),
    }
}
