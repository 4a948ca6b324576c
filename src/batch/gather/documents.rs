//! Rows of varying length that are looked at before they are copied, or copied a part at a time.

use std::ops::Range;
use std::sync::Arc;

use super::copy::copy_bytes;
use super::lane::Lanes;
use super::parsed::Parsed;
use super::{Gatherer, Located, PlannedColumn};
use crate::batch::BatchPlan;
use crate::error::Result;
use crate::layout::Place;
use crate::staging::SlotMut;

impl Gatherer {
    /// Finds the items of `rows`, at most a batch of them, in the plan's first column, whose rows are of varying length. No
    /// item is touched but those of rows that have to be decoded. `slot` is scratch.
    ///
    /// # Errors
    ///
    /// As [`gather`](Gatherer::gather).
    pub(crate) fn find(&mut self, rows: &[u64], slot: &mut SlotMut<Arc<BatchPlan>>) -> Result<Found<'_>> {
        let (plan, scratch) = (&self.plan, &mut self.scratch);
        let [column] = &plan.columns[..] else { unreachable!("documents are one column") };
        slot.reserve(plan.layout.fixed_bytes)?;
        scratch.rows.clear();
        scratch.rows.extend_from_slice(rows);
        scratch.located.iter_mut().for_each(Located::clear);
        scratch.columns.iter_mut().for_each(Lanes::clear);
        scratch.parsed.iter_mut().for_each(Parsed::release);
        let table = &plan.dataset.tables()[column.table];
        let (located, parsed) = (&mut scratch.located[column.table], &mut scratch.parsed[column.table]);
        located.locate(table, rows);
        parsed.decode(located, plan, slot)?;
        let valid = plan.layout.places[0].validity().map(|mask| &mut slot.bytes()[mask..mask + rows.len()]);
        scratch.runs.find(located, table, column, 0, &mut scratch.columns[0], parsed, valid)?;
        let Place::Runs { item_bytes, .. } = plan.layout.places[0] else {
            unreachable!("called for columns of varying length")
        };
        let source_width = column.pad.as_ref().map_or(item_bytes, |pad| pad.source_width);
        Ok(Found { runs: &scratch.runs.rows, column, source_width })
    }
}

/// Where the items of some rows lie, as long as the gatherer holds what was decoded of them.
pub(crate) struct Found<'a> {
    runs: &'a [(*const u8, usize)],
    column: &'a PlannedColumn,
    source_width: usize,
}

impl Found<'_> {
    /// The number of items of each row.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().map(|(_, len)| len / self.source_width)
    }

    /// Copies the `items` of the row numbered `row` to `out`, cast if the column is to be.
    ///
    /// # Panics
    ///
    /// If the row has no such items, or `out` has not exactly the room they need.
    pub(crate) fn copy(&self, row: usize, items: Range<usize>, out: &mut [u8]) {
        let (src, len) = self.runs[row];
        assert!(items.start <= items.end && items.end <= len / self.source_width, "items of the row");
        let out_width = match &self.column.pad {
            Some(pad) => pad.width(),
            None => self.source_width,
        };
        assert_eq!(out.len(), items.len() * out_width, "room for the items");
        if items.is_empty() {
            return;
        }
        let src = src.wrapping_add(items.start * self.source_width);
        // SAFETY: the run was checked to lie within its items, which the dataset keeps mapped, or in scratch of the gatherer,
        // which is borrowed; and the items to lie within the run. `out` has room for so many of the type they are cast to, and
        // is no part of a region.
        unsafe {
            match &self.column.transform {
                None => copy_bytes(src, out.as_mut_ptr(), out.len()),
                Some(transform) => {
                    (transform.cast)(src, out.as_mut_ptr(), items.len(), &transform.affine);
                }
            }
        }
    }
}
