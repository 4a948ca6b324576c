//! Rows of varying length, padded to one.
//!
//! ```text
//! offsets    of the rows' items alone, one after another: a row's length is the difference of two
//! items      rows × longest: a row's items, cast on the way, and behind them the value to pad with
//! ```
//!
//! Each item is copied once, from where it lies to its place in the padded row.

use std::sync::Arc;

use super::copy::{copy_bytes, prefetch};
use super::runs::{Runs, add, too_large, write_offset, write_table};
use super::{BatchPlan, Located, PlannedColumn};
use crate::batch::plan::PlannedPad;
use crate::dataset::Table;
use crate::error::{Error, Result};
use crate::layout::{Place, align_up};
use crate::staging::SlotMut;

/// Rows ahead of which the first line of items is asked for.
const AHEAD_ROWS: usize = 8;

impl Runs {
    /// Writes the rows found, and empty ones up to `num_rows`, behind one another at `items_end`, which moves behind them.
    /// Returns the bytes of the rows found.
    ///
    /// # Errors
    ///
    /// `Mismatch` for a row that is longer than rows may be and is not to be cut; `TooLarge` for more than memory holds.
    pub(super) fn write_padded(
        &mut self,
        pad: &PlannedPad,
        (located, table, column): (&Located, &Table, &PlannedColumn),
        slot: &mut SlotMut<Arc<BatchPlan>>,
        place: &Place,
        num_rows: usize,
        items_end: &mut usize,
    ) -> Result<u64> {
        let &Place::Runs { table: table_at, offsets, wide, item_bytes, .. } = place else {
            unreachable!("called for columns of varying length")
        };
        let most = pad.most.unwrap_or(usize::MAX);
        let (mut longest, mut num_items) = (0, 0usize);
        for (i, (_, len)) in self.rows.iter_mut().enumerate() {
            let items = *len / pad.source_width;
            if items > most && !pad.truncate {
                let (chunk, row) = (located.chunks[i] as usize, located.rows[i]);
                let error = Error::mismatch(format!(
                    "column '{}': expected at most {most} items in a row to be padded, found {items}: allow more, or \
                     truncate()",
                    column.field.name()
                ));
                return Err(table.place(chunk, row, error));
            }
            *len = items.min(most) * pad.source_width;
            longest = longest.max(items.min(most));
            num_items = add(num_items, items.min(most))?;
        }
        if !wide && i32::try_from(num_items).is_err() {
            return Err(too_large());
        }
        let padded_bytes = pad.fixed.unwrap_or(longest).checked_mul(item_bytes).ok_or_else(too_large)?;
        let total = add(0, padded_bytes.checked_mul(num_rows).ok_or_else(too_large)?)?;
        let start = *items_end;
        slot.reserve(start.checked_add(total).ok_or_else(too_large)?)?;
        *items_end = align_up(start + total);
        let bytes = slot.bytes();
        write_table(bytes, table_at, start, total);
        let mut offset = 0;
        for row in 0..num_rows {
            write_offset(bytes, offsets, wide, row, offset);
            let out = &mut bytes[start + row * padded_bytes..start + (row + 1) * padded_bytes];
            let (src, len) = self.rows.get(row).copied().unwrap_or((std::ptr::null(), 0));
            if let Some((next, _)) = self.rows.get(row + AHEAD_ROWS) {
                prefetch(*next);
            }
            let items = len / pad.source_width;
            let (values, behind) = out.split_at_mut(items * item_bytes);
            // SAFETY: the run was checked to lie within its items, which the dataset keeps mapped, or in scratch, and has
            // `items` items at least; `values` was just cut to as many of the type they are cast to. A slot is no part of a
            // region.
            unsafe {
                match &column.transform {
                    None => copy_bytes(src, values.as_mut_ptr(), len),
                    Some(transform) if items > 0 => {
                        (transform.cast)(src, values.as_mut_ptr(), items, &transform.affine);
                    }
                    Some(_) => {}
                }
            }
            pad.fill(behind);
            offset += items;
        }
        write_offset(bytes, offsets, wide, num_rows, offset);
        Ok((padded_bytes * self.rows.len()) as u64)
    }
}
