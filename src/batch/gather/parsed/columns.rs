//! The planned columns of a table, as decoders fill them.
//!
//! ```text
//! rows of one length       ──▶ the slot
//!   to be cast or filled   ──▶ aside ──▶ cast, filled ──▶ the slot
//! rows of varying length   ──▶ items, and bounds that say where those of each row lie; copied by `runs`
//! ```
use std::ops::Range;

use super::{BatchPlan, PlannedColumn};
use crate::layout::{ColumnMut, Place, RowMut};

/// One planned column, and what was decoded of it for the running gather.
pub(super) struct Column {
    /// Its number in the plan.
    pub(super) number: usize,
    /// Dense rows before they are cast or filled, and which of them are values.
    aside: Vec<u8>,
    aside_valid: Vec<u8>,
    /// Items of rows of varying length, and where those of each row lie. Behind the items may lie a part of a row that
    /// could not be decoded to its end, which no bounds reach.
    items: Vec<u8>,
    bounds: Vec<Range<usize>>,
}

impl Column {
    pub(super) fn new(number: usize) -> Self {
        Column { number, aside: Vec::new(), aside_valid: Vec::new(), items: Vec::new(), bounds: Vec::new() }
    }

    /// The items of row `row`, of a column whose rows differ in length.
    pub(super) fn items(&self, row: usize) -> &[u8] {
        &self.items[self.bounds[row].clone()]
    }

    /// Forgets the last batch, and makes room for `num_rows` rows.
    pub(super) fn clear(&mut self, plan: &BatchPlan, num_rows: usize) {
        let planned = &plan.columns[self.number];
        self.items.clear();
        self.bounds.clear();
        if planned.source_width == 0 {
            self.bounds.resize(num_rows, 0..0);
        } else if is_aside(planned) {
            self.aside.resize(num_rows * planned.source_row_bytes, 0);
            self.aside_valid.clear();
            self.aside_valid.resize(num_rows, 1);
        }
    }

    /// Casts and fills what was decoded aside, of the rows that were decoded, to its place in the `slot`.
    pub(super) fn finish(&self, plan: &BatchPlan, slot: &mut [u8], is_decoded: impl Fn(usize) -> bool) {
        let planned = &plan.columns[self.number];
        let Place::Dense { values, row_bytes, validity } = plan.layout.places[self.number] else { return };
        if !is_aside(planned) {
            return;
        }
        let rows = self.aside.chunks_exact(planned.source_row_bytes.max(1)).zip(&self.aside_valid);
        for (row, (source, &valid)) in rows.enumerate().filter(|&(row, _)| is_decoded(row)) {
            let out = &mut slot[values + row * row_bytes..][..row_bytes];
            match (&planned.fill, &planned.transform) {
                (Some(fill), _) if valid == 0 => out.copy_from_slice(fill),
                _ if valid == 0 => out.fill(0),
                // SAFETY: `source` is a row of the column and `out` one cast, of `num_elements` elements each.
                (_, Some(transform)) => unsafe {
                    let (source, out) = (source.as_ptr(), out.as_mut_ptr());
                    (transform.cast)(source, out, planned.num_elements, &transform.affine);
                },
                (_, None) => out.copy_from_slice(source),
            }
            if let Some(mask) = validity {
                slot[mask + row] = valid;
            }
        }
    }
}

/// Whether rows of the column are decoded aside, to be cast or filled.
fn is_aside(planned: &PlannedColumn) -> bool {
    planned.transform.is_some() || planned.fill.is_some()
}

/// Where a decoder writes its columns.
pub(super) struct Targets<'a> {
    places: Vec<ColumnMut<'a>>,
    /// The decoder's columns of varying length, and where the bounds of their rows go.
    bounds: Vec<(usize, &'a mut Vec<Range<usize>>)>,
}

impl<'a> Targets<'a> {
    /// Places for a decoder of `num_decoded` columns, of which those in `columns` are wanted, each once: `num_rows` rows
    /// in `slot` or beside it. `places` is an allocation to use.
    pub(super) fn new(
        columns: impl Iterator<Item = (&'a mut Column, usize)>,
        num_decoded: usize,
        plan: &BatchPlan,
        num_rows: usize,
        slot: &'a mut [u8],
        places: Vec<ColumnMut<'static>>,
    ) -> Self {
        let mut places = recycled(places);
        places.resize_with(num_decoded, ColumnMut::default);
        let mut bounds = Vec::new();
        let (mut rest, mut rest_start) = (slot, 0);
        // Places ascend in a slot, so that one part after another can be cut off.
        let mut cut = |start: usize, len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(start + len - rest_start);
            (rest, rest_start) = (after, start + len);
            let before = part.len() - len;
            &mut part[before..]
        };
        for (column, decoded) in columns {
            let planned = &plan.columns[column.number];
            places[decoded] = match plan.layout.places[column.number] {
                Place::Dense { .. } if is_aside(planned) => ColumnMut::Dense {
                    values: &mut column.aside,
                    row_bytes: planned.source_row_bytes,
                    validity: Some(&mut column.aside_valid),
                },
                Place::Dense { values, row_bytes, validity } => ColumnMut::Dense {
                    values: cut(values, row_bytes * num_rows),
                    row_bytes,
                    validity: validity.map(|mask| cut(mask, num_rows)),
                },
                Place::Runs { validity, .. } => {
                    bounds.push((decoded, &mut column.bounds));
                    let validity = validity.map(|mask| cut(mask, num_rows));
                    ColumnMut::Runs { items: &mut column.items, validity }
                }
            };
        }
        Targets { places, bounds }
    }

    /// Has `decode` write row `row`, and notes where its items lie.
    #[inline]
    pub(super) fn row<E>(
        &mut self,
        row: usize,
        decode: impl FnOnce(&mut RowMut<'_, 'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out = RowMut::new(&mut self.places, row);
        for (decoded, bounds) in &mut self.bounds {
            bounds[row].start = out.items(*decoded).len();
        }
        decode(&mut out)?;
        for (decoded, bounds) in &mut self.bounds {
            bounds[row].end = out.items(*decoded).len();
        }
        Ok(())
    }

    /// The allocation, to be used again.
    pub(super) fn into_places(self) -> Vec<ColumnMut<'static>> {
        recycled(self.places)
    }
}

/// An empty vector of another lifetime in the same allocation.
fn recycled<'a>(mut places: Vec<ColumnMut<'_>>) -> Vec<ColumnMut<'a>> {
    places.clear();
    places.into_iter().map(|_| unreachable!("it is empty")).collect()
}
