//! Records that cannot be read: what becomes of them, and batches without them.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use super::gather::RowSource;
use super::make::{BatchMaker, BatchPool, Turn};
use super::plan::PlannedPad;
use super::{Batch, items_range};
use crate::dataset::Dataset;
use crate::error::{Error, Location, Result};
use crate::layout::{Place, SlotLayout};
use crate::sampler::Audit;

/// What becomes of a record that cannot be read: bytes that do not follow their format, text that is no UTF-8, a null
/// where none may be, a row of which [`map_rows`](crate::LoaderBuilder::map_rows) says that it errs.
///
/// A file that cannot be read at all, one that is cut short, or a panic is no bad record: it is an error whatever is said
/// here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// A conversion ends with its error; a loader gives its error in the place of the batch.
    #[default]
    Fail,
    /// It is left out and noted, by a conversion in `bad-records.jsonl` beside `dataset.json`: a line of JSON for each, of
    /// what is in a [`BadRecord`].
    Skip {
        /// How many may be left out; one more is an error.
        limit: u64,
    },
}

/// A record that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BadRecord {
    /// The file it is in; `None` for a table in memory.
    pub file: Option<String>,
    /// Its number in the file, counted from 0.
    pub record: u64,
    /// The byte of the file at which it went wrong, where that is known.
    pub byte: Option<u64>,
    /// Its row in the dataset.
    pub row: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location =
            Location { path: self.file.as_ref().map(Into::into), record: Some(self.record), byte: self.byte };
        write!(f, "{location}: {}", self.reason)
    }
}

impl BadRecord {
    /// `row` of `dataset`, of which reading it said `error`; and that error, in its place.
    pub(crate) fn new(dataset: &Dataset, row: u64, error: Error) -> (BadRecord, Error) {
        let error = dataset.place(row, error);
        let location = error.location();
        let record = BadRecord {
            file: location.path.as_ref().map(|path| path.display().to_string()),
            record: location.record.unwrap_or(row),
            byte: location.byte,
            row,
            reason: format!("{}: {}", error.kind().as_str(), error.message()),
        };
        (record, error)
    }
}

impl BatchMaker {
    /// As [`make`](BatchMaker::make), but that rows which cannot be read are left out, and listed: with a mask they are holes
    /// in the batch, else it is shorter. The audit counts them.
    ///
    /// One bad row in a batch costs that each of its rows is made once more.
    pub(crate) fn make_without_bad(
        &mut self,
        target: (&BatchPool, usize),
        source: &RowSource<'_>,
        turn: Turn,
    ) -> Result<(Batch, Audit, Vec<BadRecord>)> {
        match self.make(target, source, turn) {
            Ok((batch, audit)) => return Ok((batch, audit, Vec::new())),
            Err(error) if self.says_bad_record(&error) => {}
            Err(error) => return Err(error),
        }
        let rows = source.to_vec();
        let (mut good, mut holes, mut bad) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        for (position, &row) in rows.iter().enumerate() {
            match self.fill(target, &RowSource::List(&[row]), turn) {
                Ok(_) => good.push(row),
                Err(error) if self.says_bad_record(&error) => {
                    holes.push(position);
                    bad.push(BadRecord::new(&self.plan().dataset, row, error).0);
                }
                Err(error) => return Err(error),
            }
        }
        let (batch, mut audit) = self.make_around(target, (&good, source), &holes, &rows, turn)?;
        bad.iter().for_each(|bad| audit.add(bad.row));
        Ok((batch, audit, bad))
    }
}

/// Moves the first rows of a batch, all but those `holes` among `num_rows`, apart: the holes are null, empty, zero, and masked.
/// `pad` gives what a column is padded with, by its number.
pub(super) fn spread<'a>(
    bytes: &mut [u8],
    layout: &SlotLayout,
    num_rows: usize,
    holes: &[usize],
    pad: impl Fn(usize) -> Option<&'a PlannedPad>,
) {
    let mut is_hole = vec![false; num_rows];
    holes.iter().for_each(|&hole| is_hole[hole] = true);
    let mut dense = |start, row_bytes| move_apart(bytes, start, row_bytes, num_rows, &is_hole);
    layout.row_mask.into_iter().for_each(|mask| dense(mask, 1));
    for place in &layout.places {
        place.validity().into_iter().for_each(|mask| dense(mask, 1));
        match *place {
            Place::Dense { values, row_bytes, .. } => dense(values, row_bytes),
            Place::Runs { .. } => {}
        }
    }
    for (number, place) in layout.places.iter().enumerate() {
        if let (Some(pad), &Place::Runs { table, .. }) = (pad(number), place) {
            let items = items_range(bytes, table);
            let row_bytes = items.len() / layout.batch_size;
            move_apart(bytes, items.start, row_bytes, num_rows, &is_hole);
            for &hole in holes {
                pad.fill(&mut bytes[items.start + hole * row_bytes..][..row_bytes]);
            }
        }
        if let Place::Runs { offsets, wide, .. } = *place {
            // The items of a hole begin, and end, where those of the row after it begin.
            let width = if wide { 8 } else { 4 };
            let mut from = num_rows - holes.len();
            for to in (0..=num_rows).rev() {
                if to < num_rows && !is_hole[to] {
                    from -= 1;
                }
                bytes.copy_within(offsets + from * width..offsets + (from + 1) * width, offsets + to * width);
            }
        }
    }
}

/// Moves rows of `row_bytes` bytes each to where there is no hole among `num_rows`, and zeros the holes.
fn move_apart(bytes: &mut [u8], start: usize, row_bytes: usize, num_rows: usize, is_hole: &[bool]) {
    let mut from = is_hole.iter().filter(|&&is_hole| !is_hole).count();
    for to in (0..num_rows).rev() {
        let at = start + to * row_bytes;
        if is_hole[to] {
            bytes[at..at + row_bytes].fill(0);
        } else {
            from -= 1;
            bytes.copy_within(start + from * row_bytes..start + (from + 1) * row_bytes, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Beside, ColumnKind, ColumnShape, DType};

    #[test]
    fn rows_move_to_their_places() {
        let kinds = [ColumnKind::Tensor { dtype: DType::U16, shape: [2].into() }, ColumnKind::Text];
        for wide in [false, true] {
            let shapes = kinds.iter().map(|kind| ColumnShape { kind, nullable: true, wide });
            let layout = SlotLayout::new(shapes, 8, Beside { row_mask: true, sources: false }).unwrap();
            for holes in 0u32..1 << 6 {
                let holes: Vec<usize> = (0..6).filter(|i| holes >> i & 1 == 1).collect();
                let mut bytes = vec![0xAA; layout.fixed_bytes];
                let good = 6 - holes.len();
                let Place::Dense { values, row_bytes, validity } = layout.places[0] else { unreachable!() };
                let Place::Runs { offsets, .. } = layout.places[1] else { unreachable!() };
                let width = if wide { 8 } else { 4 };
                let put_offset = |bytes: &mut [u8], row: usize, offset: usize| {
                    let at = offsets + row * width;
                    bytes[at..at + width].copy_from_slice(&(offset as u64).to_ne_bytes()[..width]);
                };
                for row in 0..8 {
                    let is_row = u8::from(row < good);
                    bytes[layout.row_mask.unwrap() + row] = is_row;
                    bytes[validity.unwrap() + row] = is_row;
                    bytes[values + row * row_bytes..][..row_bytes].fill(is_row * (row as u8 + 1));
                    put_offset(&mut bytes, row, 3 * row.min(good));
                }
                put_offset(&mut bytes, 8, 3 * good);
                spread(&mut bytes, &layout, 6, &holes, |_| None);
                let mut before = 0;
                for row in 0..8 {
                    let is_row = row < 6 && !holes.contains(&row);
                    let expected = if is_row { before as u8 + 1 } else { 0 };
                    assert_eq!(bytes[layout.row_mask.unwrap() + row], u8::from(is_row));
                    assert_eq!(bytes[validity.unwrap() + row], u8::from(is_row));
                    assert_eq!(bytes[values + row * row_bytes..][..row_bytes], [expected; 4]);
                    assert_eq!(usize::from(bytes[offsets + row * width]), 3 * before, "row {row}, {holes:?}");
                    before += usize::from(is_row);
                }
                assert_eq!(usize::from(bytes[offsets + 8 * width]), 3 * good);
            }
        }
    }
}
