//! Rows copied once, from where they lie into a slot.
//!
//! For each table of the dataset, row numbers become (chunk, row in the chunk) once a batch. For each column, those
//! become addresses, and the addresses a copy:
//!
//! ```text
//! plain rows            addresses ──▶ copy, or cast, with the lines of rows to come asked for ahead
//! one run of rows       lent where it lies, if it may be; else one copy
//! rows of any other kind (nulls, bits, big-endian, column-major) ──▶ one by one
//! rows of varying length    offsets read once and checked ──▶ room made in the slot ──▶ copy
//! ```
//!
//! Bytes of a file that others may change are only ever copied, never borrowed, and whatever steers a read (an
//! offset) is used from the copy that was checked. That a file was whole is for the caller to ask afterwards
//! (`Dataset::check`).

mod cast;
mod copy;
mod lane;
mod row;
mod runs;

use std::sync::Arc;

use arrow::buffer::Buffer;

use super::plan::{BatchPlan, PlannedColumn};
use crate::dataset::Table;
use crate::error::{Error, Result};
use crate::format::{Span, Values};
use crate::layout::{ColumnKind, Place};
use crate::staging::SlotMut;

pub(crate) use cast::{CastRow, cast_one, cast_row, read_one};
use lane::Lanes;

/// What a gather did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    /// Bytes of values written into the slot.
    pub(crate) copied_bytes: u64,
    /// Bytes of values the batch holds, copied or lent.
    pub(crate) delivered_bytes: u64,
}

/// Makes batches of one plan, one at a time. Holds the scratch memory this takes, so that a gather allocates nothing.
pub(crate) struct Gatherer {
    plan: Arc<BatchPlan>,
    /// Where the rows of the batch are, for each table.
    located: Vec<Located>,
    columns: Vec<Lanes>,
    addresses: Addresses,
    runs: runs::Runs,
    scratch: Vec<u8>,
}

/// The rows of a batch in one table.
#[derive(Default)]
struct Located {
    rows: Vec<u64>,
    chunks: Vec<u32>,
    /// The chunk and its first row, if the rows are one run of one chunk.
    run: Option<(usize, u64)>,
}

/// Addresses of rows, valid while a gather runs.
#[derive(Default)]
struct Addresses(Vec<*const u8>);

// SAFETY: the addresses are scratch: written and read within one gather, by the thread that runs it.
unsafe impl Send for Addresses {}

impl Located {
    fn locate(&mut self, table: &Table, rows: &[u64]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        table.rows.map(&mut self.rows);
        self.run = None;
        self.chunks.clear();
        let Some((&first, rest)) = self.rows.split_first() else { return };
        let last = first + rest.len() as u64;
        if rest.iter().enumerate().all(|(i, &row)| row == first + 1 + i as u64) {
            let ((chunk, row), (last_chunk, _)) =
                (table.directory.locate(first), table.directory.locate(last));
            if chunk == last_chunk {
                self.run = Some((chunk, row));
            }
        }
        self.chunks.extend(self.rows.iter_mut().map(|row| {
            let (chunk, in_chunk) = table.directory.locate(*row);
            *row = in_chunk;
            chunk as u32
        }));
    }

    fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.chunks.iter().zip(&self.rows).map(|(&chunk, &row)| (chunk as usize, row))
    }
}

impl Gatherer {
    pub(crate) fn new(plan: Arc<BatchPlan>) -> Self {
        let tables = plan.dataset.tables();
        let columns = plan.columns.iter().map(|column| {
            let row_bytes = match column.kind {
                ColumnKind::Tensor { .. } => column.source_row_bytes,
                _ => 0,
            };
            Lanes::new(&tables[column.table], row_bytes)
        });
        Gatherer {
            located: tables.iter().map(|_| Located::default()).collect(),
            columns: columns.collect(),
            addresses: Addresses::default(),
            runs: runs::Runs::default(),
            scratch: Vec::new(),
            plan,
        }
    }

    /// Gathers `rows` of the dataset, at most a batch of them, into `slot`. Where `lend` allows it, columns that lie
    /// in one run are put into `lent` instead, under their number.
    ///
    /// # Errors
    ///
    /// Those of opening and decoding shards; `Malformed` for offsets that contradict their column or text that is no
    /// UTF-8.
    pub(crate) fn gather(
        &mut self,
        rows: &[u64],
        slot: &mut SlotMut,
        lent: &mut Vec<Option<Buffer>>,
        lend: bool,
    ) -> Result<Gathered> {
        let plan = self.plan.clone();
        let layout = &plan.layout;
        assert!(rows.len() <= layout.batch_size, "a batch has room for its rows");
        slot.reserve(layout.fixed_bytes)?;
        for (located, table) in self.located.iter_mut().zip(plan.dataset.tables()) {
            located.locate(table, rows);
        }
        // Padding has to be written, and a lent column has no room for it.
        let padded = layout.row_mask.is_some() && rows.len() < layout.batch_size;
        if let Some(mask) = layout.row_mask {
            let mask = &mut slot.bytes()[mask..mask + layout.batch_size];
            mask[..rows.len()].fill(1);
            mask[rows.len()..].fill(0);
        }
        lent.clear();
        lent.resize(plan.columns.len(), None);
        let mut gathered = Gathered::default();
        let mut items_end = layout.fixed_bytes;
        let num_rows = if padded { layout.batch_size } else { rows.len() };
        for (number, (column, place)) in plan.columns.iter().zip(layout.places.iter()).enumerate() {
            let table = &plan.dataset.tables()[column.table];
            self.columns[number].release();
            let bytes = match place {
                Place::Dense { values, row_bytes, validity } => {
                    let values = *values..*values + rows.len() * row_bytes;
                    slot.bytes()[values.end..values.start + num_rows * row_bytes].fill(0);
                    if let Some(mask) = *validity {
                        slot.bytes()[mask..mask + num_rows].fill(0);
                    }
                    let bytes = (rows.len() * row_bytes) as u64;
                    if lend
                        && !padded
                        && let Some(buffer) = self.lend(table, column, number)?
                    {
                        lent[number] = Some(buffer);
                        if let Some(mask) = *validity {
                            slot.bytes()[mask..mask + rows.len()].fill(1);
                        }
                    } else {
                        self.dense(table, column, number, slot, values, *validity)?;
                        gathered.copied_bytes += bytes;
                    }
                    bytes
                }
                Place::Runs { .. } => {
                    let located = &self.located[column.table];
                    let lanes = &mut self.columns[number];
                    let bytes = self.runs.gather(
                        located,
                        table,
                        column,
                        lanes,
                        slot,
                        place,
                        num_rows,
                        &mut items_end,
                    )?;
                    gathered.copied_bytes += bytes;
                    bytes
                }
            };
            gathered.delivered_bytes += bytes;
        }
        self.columns.iter_mut().for_each(Lanes::release);
        Ok(gathered)
    }

    /// The column's rows where they lie, if they are one run of memory that may be lent.
    fn lend(&mut self, table: &Table, column: &PlannedColumn, number: usize) -> Result<Option<Buffer>> {
        let Some((chunk, first)) = self.located[column.table].run else { return Ok(None) };
        if column.transform.is_some() {
            return Ok(None);
        }
        let num_rows = self.located[column.table].rows.len() as u64;
        let piece = self.columns[number].piece(table, column.index, chunk)?;
        let row_bytes = column.source_row_bytes as u64;
        match &piece.values {
            Values::Dense { span, stride } if *stride == row_bytes && piece.validity.is_none() => {
                Ok(lend_span(span, first * stride, num_rows * stride, column.source_width))
            }
            _ => Ok(None),
        }
    }

    /// Copies the column's rows, all of one length, to `values` in the slot.
    fn dense(
        &mut self,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        slot: &mut SlotMut,
        values: std::ops::Range<usize>,
        validity: Option<usize>,
    ) -> Result<()> {
        let located = &self.located[column.table];
        let lanes = &mut self.columns[number];
        let addresses = &mut self.addresses.0;
        addresses.clear();
        for (chunk, row) in located.iter() {
            match lanes.plain(table, column.index, chunk, row)? {
                Some(address) => addresses.push(address),
                None => break,
            }
        }
        if addresses.len() < located.rows.len() {
            return self.one_by_one(table, column, number, slot, values, validity);
        }
        if let Some(mask) = validity {
            slot.bytes()[mask..mask + located.rows.len()].fill(1);
        }
        let dst = &mut slot.bytes()[values];
        let row_bytes = column.source_row_bytes;
        match column.transform {
            // Rows of one run that touch each other are one copy.
            None if located.run.is_some()
                && addresses.windows(2).all(|pair| pair[0].wrapping_add(row_bytes) == pair[1]) =>
            {
                // SAFETY: the rows touch, and each is valid for reads as below.
                unsafe { std::ptr::copy_nonoverlapping(addresses[0], dst.as_mut_ptr(), dst.len()) }
            }
            // SAFETY: `Lane::of` measured that every row of a chunk lies within its span, which the dataset keeps
            // mapped, and `Directory::locate` gives rows of their chunk. A slot is no part of a region.
            None => unsafe { copy::copy_rows(addresses, dst, row_bytes) },
            Some(transform) => {
                let out_bytes = dst.len() / addresses.len();
                copy::for_rows(addresses, row_bytes, |i, src| {
                    let dst = dst[i * out_bytes..(i + 1) * out_bytes].as_mut_ptr();
                    // SAFETY: as above; a row of the destination has room for the row's elements, as it was laid out
                    // for the type they are cast to.
                    unsafe { (transform.cast)(src, dst, column.num_elements, transform.scale) }
                });
            }
        }
        Ok(())
    }

    /// Copies rows that are no plain bytes, or of which some are null.
    fn one_by_one(
        &mut self,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        slot: &mut SlotMut,
        values: std::ops::Range<usize>,
        validity: Option<usize>,
    ) -> Result<()> {
        let ColumnKind::Tensor { shape, .. } = &column.kind else {
            unreachable!("rows of one length are tensors")
        };
        let located = &self.located[column.table];
        let lanes = &mut self.columns[number];
        self.scratch.resize(column.source_row_bytes, 0);
        let out_bytes = values.len() / located.rows.len();
        for (i, (chunk, row)) in located.iter().enumerate() {
            let piece = lanes.piece(table, column.index, chunk)?;
            let bytes = slot.bytes();
            let out = &mut bytes[values.start + i * out_bytes..][..out_bytes];
            // SAFETY: `Lane::of` measured the piece for the rows of its chunk, and `row` is one of them.
            let valid = unsafe { row::is_valid(piece, row) };
            if !valid {
                match &column.fill {
                    Some(fill) => out.copy_from_slice(fill),
                    None => out.fill(0),
                }
            } else if let Some(transform) = column.transform {
                // SAFETY: as above; `scratch` is as long as a row.
                unsafe { row::copy_row(piece, row, shape, &mut self.scratch) };
                // SAFETY: `scratch` holds the row's elements, and `out` has room for them cast.
                unsafe {
                    (transform.cast)(
                        self.scratch.as_ptr(),
                        out.as_mut_ptr(),
                        column.num_elements,
                        transform.scale,
                    )
                };
            } else {
                // SAFETY: as above; without a cast a row of the slot is as long as the row.
                unsafe { row::copy_row(piece, row, shape, out) };
            }
            match validity {
                Some(mask) => bytes[mask + i] = valid.into(),
                None if !valid && column.fill.is_none() => {
                    return Err(table.chunks[chunk].shard.place(undeclared_null(column, row)));
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// `len` bytes of `span` as a buffer, if the region may be lent and the bytes are aligned to `width`.
fn lend_span(span: &Span, start: u64, len: u64, width: usize) -> Option<Buffer> {
    let start = span.offset() + start;
    let aligned = (span.region().as_ptr() as usize + start as usize).is_multiple_of(width.max(1));
    if aligned { span.region().lend(start..start + len) } else { None }
}

fn undeclared_null(column: &PlannedColumn, row: u64) -> Error {
    Error::malformed(format!(
        "column '{}' is declared to hold no nulls, and row {row} of the chunk is null",
        column.field.name()
    ))
}
