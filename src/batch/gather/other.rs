//! Columns that are not copied block by block: runs of rows, and rows that are read one by one.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;

use super::{BatchPlan, PlannedColumn, Scratch, row};
use crate::dataset::Table;
use crate::error::{Error, Result};
use crate::format::{Span, Values};
use crate::layout::ColumnKind;
use crate::staging::SlotMut;

impl Scratch {
    /// The span that the column's rows are a run of, untouched by nulls, and its first byte, if there is one.
    fn run_of_bytes<'a>(
        &'a mut self,
        table: &'a Table,
        column: &PlannedColumn,
        number: usize,
    ) -> Result<Option<(&'a Span, u64)>> {
        let Some((chunk, first)) = self.located[column.table].run else { return Ok(None) };
        let piece = self.columns[number].piece(table, column.index, chunk)?;
        Ok(match &piece.values {
            Values::Dense { span, stride }
                if *stride == column.source_row_bytes as u64 && piece.validity.is_none() =>
            {
                Some((span, first * stride))
            }
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
        let run = self.run_of_bytes(table, column, number)?;
        Ok(run.and_then(|(span, start)| lend_span(span, start, len, column.source_width)))
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
        let num_elements = self.located[column.table].rows.len() * column.num_elements;
        if let Some((span, start)) = self.run_of_bytes(table, column, number)? {
            let src = span.as_ptr().wrapping_add(start as usize);
            let dst = &mut slot.bytes()[values];
            // SAFETY: `lane::measure` found that the rows of the chunk lie within its span, and these touch. `dst` has room
            // for the elements of the rows, of the type they are cast to. A slot is no part of a region.
            unsafe {
                match column.transform {
                    None => std::ptr::copy_nonoverlapping(src, dst.as_mut_ptr(), dst.len()),
                    Some(transform) => (transform.cast)(src, dst.as_mut_ptr(), num_elements, transform.scale),
                }
            }
            return Ok(());
        }
        self.one_by_one(table, column, number, slot, values, validity)
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
            } else if let Some(transform) = column.transform {
                // SAFETY: as above; `self.row` is as long as a row.
                unsafe { row::copy_row(piece, row, shape, &mut self.row) };
                // SAFETY: `self.row` holds the row's elements, and `out` has room for them cast.
                unsafe {
                    (transform.cast)(
                        self.row.as_ptr(),
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
                    return Err(table.place(chunk, row, undeclared_null(column, row)));
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

pub(super) fn undeclared_null(column: &PlannedColumn, row: u64) -> Error {
    Error::malformed(format!(
        "column '{}' is declared to hold no nulls, and row {row} of the chunk is null",
        column.field.name()
    ))
}
