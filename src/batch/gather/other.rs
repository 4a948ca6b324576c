//! Columns that are not copied block by block: runs of rows, and rows that are read one by one.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;

use super::{BatchPlan, PlannedColumn, Scratch, row};
use crate::dataset::Table;
use crate::error::{Error, Result};
use crate::format::{Bits, Span, Values};
use crate::layout::ColumnKind;
use crate::staging::SlotMut;

impl Scratch {
    /// The span that the column's rows are a run of, and its first byte, if there is one; with the bits that say which
    /// of the chunk's rows are null, and the first row.
    fn run_of_bytes<'a>(
        &'a mut self,
        table: &'a Table,
        column: &PlannedColumn,
        number: usize,
    ) -> Result<Option<RunOfBytes<'a>>> {
        let Some((chunk, first)) = self.located[column.table].run else { return Ok(None) };
        let piece = self.columns[number].piece(table, column.index, chunk)?;
        Ok(match &piece.values {
            Values::Dense { span, stride } if *stride == column.source_row_bytes as u64 => Some(RunOfBytes {
                span,
                start: first * stride,
                validity: piece.validity.as_ref(),
                chunk,
                first,
            }),
            _ => None,
        })
    }

    /// The column's rows where they lie, if they are one run of memory that may be lent.
    pub(super) fn lend(
        &mut self,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
    ) -> Result<Option<Buffer>> {
        if column.transform.is_some() {
            return Ok(None);
        }
        let len = (self.located[column.table].rows.len() * column.source_row_bytes) as u64;
        let run = self.run_of_bytes(table, column, number)?.filter(|run| run.validity.is_none());
        Ok(run.and_then(|run| lend_span(run.span, run.start, len, column.source_width)))
    }

    /// Copies or casts the column's rows to `values` in the slot: at once, where they are a run of memory, or one by one.
    pub(super) fn not_plain(
        &mut self,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        values: Range<usize>,
        validity: Option<usize>,
    ) -> Result<()> {
        let located = &self.located[column.table];
        let (num_rows, num_elements) = (located.rows.len(), located.rows.len() * column.num_elements);
        let mut valid = std::mem::take(&mut self.valid);
        let Some(run) = self.run_of_bytes(table, column, number)? else {
            self.valid = valid;
            return self.one_by_one(table, column, number, slot, values, validity);
        };
        let src = run.span.as_ptr().wrapping_add(run.start as usize);
        let dst = &mut slot.bytes()[values.clone()];
        // SAFETY: `lane::measure` found that the rows of the chunk lie within its span, and these touch. `dst` has room
        // for the elements of the rows, of the type they are cast to. A slot is no part of a region.
        unsafe {
            match &column.transform {
                None => std::ptr::copy_nonoverlapping(src, dst.as_mut_ptr(), dst.len()),
                Some(transform) => (transform.cast)(src, dst.as_mut_ptr(), num_elements, &transform.affine),
            }
        }
        let mut null = None;
        if let Some(bits) = run.validity {
            // SAFETY: `lane::measure` found a bit for every row of the chunk, and the run's rows are some of them.
            unsafe { valid.copy(bits, run.first, num_rows) };
            null = write_nulls(&valid, column, num_rows, slot.bytes(), values, validity).err();
        }
        let (first, chunk) = (run.first, run.chunk);
        self.valid = valid;
        match null.map(|i| first + i as u64) {
            Some(row) => Err(table.place(chunk, row, undeclared_null(column, row))),
            None => Ok(()),
        }
    }

    /// Copies rows that are no plain bytes, or of which some are null.
    fn one_by_one(
        &mut self,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        values: Range<usize>,
        validity: Option<usize>,
    ) -> Result<()> {
        let ColumnKind::Tensor { shape, .. } = &column.kind else {
            unreachable!("rows of one length are tensors")
        };
        let located = &self.located[column.table];
        if located.rows.is_empty() {
            return Ok(());
        }
        let lanes = &mut self.columns[number];
        self.row.resize(column.source_row_bytes, 0);
        let out_bytes = values.len() / located.rows.len();
        let parsed = &self.parsed[column.table];
        for (i, (chunk, row)) in located.iter().enumerate() {
            if parsed.is_decoded(i) {
                continue;
            }
            let piece = lanes.piece(table, column.index, chunk)?;
            let bytes = slot.bytes();
            let out = &mut bytes[values.start + i * out_bytes..][..out_bytes];
            // SAFETY: `lane::measure` found the piece for the rows of its chunk, and `row` is one of them.
            let valid = unsafe { row::is_valid(piece, row) };
            if !valid {
                match &column.fill {
                    Some(fill) => out.copy_from_slice(fill),
                    None => out.fill(0),
                }
            } else if let Some(transform) = &column.transform {
                // SAFETY: as above; `self.row` is as long as a row.
                unsafe { row::copy_row(piece, row, shape, &mut self.row) };
                // SAFETY: `self.row` holds the row's elements, and `out` has room for them cast.
                unsafe {
                    (transform.cast)(
                        self.row.as_ptr(),
                        out.as_mut_ptr(),
                        column.num_elements,
                        &transform.affine,
                    )
                };
            } else {
                // SAFETY: as above; without a cast a row of the slot is as long as the row.
                unsafe { row::copy_row(piece, row, shape, out) };
            }
            match validity {
                Some(mask) => bytes[mask + i] = valid.into(),
                None if !valid && column.fill.is_none() => {
                    return Err(table.place(chunk, row, undeclared_null(column, row)));
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Rows of a column that lie one after another.
struct RunOfBytes<'a> {
    span: &'a Span,
    /// The first row's first byte, counted from that of the span.
    start: u64,
    validity: Option<&'a Bits>,
    chunk: usize,
    /// The first row, as the chunk numbers it.
    first: u64,
}

/// A copy of the bits that say which rows of a run are valid.
#[derive(Default)]
pub(super) struct Valid {
    bytes: Vec<u8>,
    /// The bit of the first row.
    first: usize,
}

impl Valid {
    /// # Safety
    ///
    /// The bits of the `num_rows` rows from row `first` on lie within the span of `bits`.
    pub(super) unsafe fn copy(&mut self, bits: &Bits, first: u64, num_rows: usize) {
        let first = bits.first + first;
        self.first = (first % 8) as usize;
        self.bytes.resize((self.first + num_rows).div_ceil(8), 0);
        let src = bits.span.as_ptr().wrapping_add((first / 8) as usize);
        // SAFETY: these are the bytes in which the caller's bits lie.
        unsafe { std::ptr::copy_nonoverlapping(src, self.bytes.as_mut_ptr(), self.bytes.len()) };
    }

    /// The rows of the run that are null, `num_rows` of which there are.
    pub(super) fn nulls(&self, num_rows: usize) -> impl Iterator<Item = usize> {
        let all = self.first..self.first + num_rows;
        let bytes = self.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0xFF);
        let bits = bytes
            .flat_map(|(i, byte)| (0..8).filter(move |bit| byte >> bit & 1 == 0).map(move |bit| 8 * i + bit));
        let first = self.first;
        bits.filter(move |bit| all.contains(bit)).map(move |bit| bit - first)
    }
}

/// Takes the rows of a run that are not `valid` off the mask at `validity`, and writes what stands for a null over them.
///
/// # Errors
///
/// The number of a null in a column that says it holds none.
fn write_nulls(
    valid: &Valid,
    column: &PlannedColumn,
    num_rows: usize,
    bytes: &mut [u8],
    values: Range<usize>,
    validity: Option<usize>,
) -> Result<(), usize> {
    let row_bytes = values.len().checked_div(num_rows).unwrap_or(0);
    for i in valid.nulls(num_rows) {
        let row = &mut bytes[values.start + i * row_bytes..][..row_bytes];
        match &column.fill {
            Some(fill) => row.copy_from_slice(fill),
            None => row.fill(0),
        }
        match validity {
            Some(mask) => bytes[mask + i] = 0,
            None if column.fill.is_none() => return Err(i),
            None => {}
        }
    }
    Ok(())
}

/// `len` bytes of `span` as a buffer, if the region may be lent and the bytes are aligned to `width`.
pub(super) fn lend_span(span: &Span, start: u64, len: u64, width: usize) -> Option<Buffer> {
    let start = span.offset() + start;
    let aligned = (span.region().as_ptr() as usize + start as usize).is_multiple_of(width.max(1));
    if aligned { span.region().lend(start..start + len) } else { None }
}

pub(super) fn undeclared_null(column: &PlannedColumn, row: u64) -> Error {
    Error::malformed(format!(
        "column '{}' is declared to hold no nulls, and row {row} of the chunk is null",
        column.field.name()
    ))
}
