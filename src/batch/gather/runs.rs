//! Rows of varying length: bytes, text, ragged lists.
//!
//! A row is two offsets and what lies between them. The offsets are read once, checked against the items and each
//! other, and only their copies are used; then the slot is made large enough, and then the items are copied.

use std::sync::Arc;

use super::copy::{copy_bytes, prefetch};
use super::lane::Lanes;
use super::other::undeclared_null;
use super::row::is_valid;
use super::{BatchPlan, Located, PlannedColumn};
use crate::dataset::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Span, Values};
use crate::layout::{ColumnKind, Place, align_up};
use crate::staging::SlotMut;

/// Where the items of each row lie: scratch of one gather.
#[derive(Default)]
pub(super) struct Runs(Vec<(*const u8, usize)>);

// SAFETY: the addresses are scratch: written and read within one gather, by the thread that runs it.
unsafe impl Send for Runs {}

/// Rows ahead of which lines are asked for.
const AHEAD_ROWS: usize = 16;

impl Runs {
    /// Gathers the rows of a column, writes offsets and validity for `num_rows` rows (those past the rows located are
    /// empty), and puts the items at `items_end`, which moves behind them. Returns the bytes of the items.
    #[expect(clippy::too_many_arguments)] // One call, from where all of these are at hand.
    pub(super) fn gather(
        &mut self,
        located: &Located,
        table: &Table,
        column: &PlannedColumn,
        lanes: &mut Lanes,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        place: &Place,
        num_rows: usize,
        items_end: &mut usize,
    ) -> Result<u64> {
        let &Place::Runs { table: table_at, offsets: offsets_at, wide: wide_out, item_bytes, validity } =
            place
        else {
            unreachable!("called for columns of varying length")
        };
        let runs = &mut self.0;
        runs.clear();
        let mut total = 0usize;
        for (i, (chunk, row)) in located.iter().enumerate() {
            if let Some((chunk, row)) =
                located.chunks.get(i + AHEAD_ROWS).zip(located.rows.get(i + AHEAD_ROWS))
                && let Values::Runs { offsets, wide, .. } =
                    &lanes.piece(table, column.index, *chunk as usize)?.values
            {
                prefetch(offset_address(offsets, *wide, *row));
            }
            let piece = lanes.piece(table, column.index, chunk)?;
            let Values::Runs { offsets, wide, items, item_bytes: width } = &piece.values else {
                unreachable!("`lane::measure` and the column's kind agree")
            };
            // SAFETY: `lane::measure` found the piece for the rows of its chunk, and `row` is one of them.
            let valid = unsafe { is_valid(piece, row) };
            match validity {
                Some(mask) => slot.bytes()[mask + i] = valid.into(),
                None if !valid => return Err(table.place(chunk, row, undeclared_null(column, row))),
                None => {}
            }
            // SAFETY: as above, for its offsets.
            let (start, end) = unsafe { read_offsets(offsets, *wide, row) };
            let bytes =
                (start <= end).then(|| end.checked_mul(*width)).flatten().filter(|&end| end <= items.len());
            if bytes.is_none() {
                let error = Error::malformed(format!(
                    "column '{}': expected the items of row {row} of the chunk to lie within {}, found offsets {} and {}",
                    column.field.name(),
                    items.len() / width,
                    start as i64,
                    end as i64
                ))
                .at_byte(offsets.offset());
                return Err(table.place(chunk, row, error));
            }
            let len = if valid { ((end - start) * width) as usize } else { 0 };
            let address = items.as_ptr().wrapping_add((start * width) as usize);
            prefetch(address);
            runs.push((address, len));
            total = total
                .checked_add(len)
                .filter(|&total| total <= isize::MAX as usize / 4)
                .ok_or_else(too_large)?;
        }
        if !wide_out && i32::try_from(total / item_bytes).is_err() {
            return Err(too_large());
        }
        let start = *items_end;
        slot.reserve(start.checked_add(total).ok_or_else(too_large)?)?;
        *items_end = align_up(start + total);
        let bytes = slot.bytes();
        if let Some(mask) = validity {
            bytes[mask + located.rows.len()..mask + num_rows].fill(0);
        }
        bytes[table_at..table_at + 8].copy_from_slice(&(start as u64).to_ne_bytes());
        bytes[table_at + 8..table_at + 16].copy_from_slice(&(total as u64).to_ne_bytes());
        let mut offset = 0usize;
        let write_offset = |bytes: &mut [u8], row: usize, offset: usize| {
            let items = offset / item_bytes;
            if wide_out {
                bytes[offsets_at + row * 8..][..8].copy_from_slice(&(items as i64).to_ne_bytes());
            } else {
                bytes[offsets_at + row * 4..][..4].copy_from_slice(&(items as i32).to_ne_bytes());
            }
        };
        for (i, &(src, len)) in runs.iter().enumerate() {
            if let Some((next, _)) = runs.get(i + AHEAD_ROWS) {
                prefetch(*next);
            }
            write_offset(bytes, i, offset);
            let dst = bytes[start + offset..start + offset + len].as_mut_ptr();
            // SAFETY: the run was checked to lie within its items, which the dataset keeps mapped; the destination
            // was just cut to its length. A slot is no part of a region.
            unsafe { copy_bytes(src, dst, len) };
            offset += len;
        }
        for row in runs.len()..=num_rows {
            write_offset(bytes, row, offset);
        }
        if column.kind == ColumnKind::Text
            && let Err((i, e)) = check_text(&bytes[start..start + total], runs)
        {
            let (chunk, row) = (located.chunks[i] as usize, located.rows[i]);
            let message =
                format!("column '{}': expected UTF-8 in row {row} of the chunk: {e}", column.field.name());
            let error = Error::malformed(message).with_source(e);
            let piece = lanes.piece(table, column.index, chunk)?;
            let Values::Runs { items, .. } = &piece.values else {
                unreachable!("`lane::measure` and the column's kind agree")
            };
            let byte = items.offset() + (runs[i].0.addr() - items.as_ptr().addr()) as u64;
            return Err(table.place(chunk, row, error.at_byte(byte)));
        }
        Ok(total as u64)
    }
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "the items of a batch exceed what its offsets can count: lower batch_size",
    )
}

fn offset_address(offsets: &Span, wide: bool, row: u64) -> *const u8 {
    offsets.as_ptr().wrapping_add(row as usize * if wide { 8 } else { 4 })
}

/// The offsets of `row` and of the row after it; negative ones come out beyond any length.
///
/// # Safety
///
/// Both lie within the span.
unsafe fn read_offsets(offsets: &Span, wide: bool, row: u64) -> (u64, u64) {
    let at = offset_address(offsets, wide, row);
    // SAFETY: the caller's.
    unsafe {
        if wide {
            let pair = at.cast::<[u64; 2]>().read_unaligned();
            (u64::from_le(pair[0]), u64::from_le(pair[1]))
        } else {
            let pair = at.cast::<[i32; 2]>().read_unaligned();
            (i64::from(i32::from_le(pair[0])) as u64, i64::from(i32::from_le(pair[1])) as u64)
        }
    }
}

/// Whether each run of `text` is UTF-8; if not, the number of the first that is none.
fn check_text(text: &[u8], runs: &[(*const u8, usize)]) -> Result<(), (usize, std::str::Utf8Error)> {
    if text.is_ascii() {
        return Ok(());
    }
    let mut rest = text;
    for (i, &(_, len)) in runs.iter().enumerate() {
        let (row, after) = rest.split_at(len);
        std::str::from_utf8(row).map_err(|error| (i, error))?;
        rest = after;
    }
    Ok(())
}
