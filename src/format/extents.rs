//! Where the values of a column of bytes lie in a file: a start and a length for each row, or neither.
//!
//! In memory, 16 bytes a row; both numbers are u64, little-endian:
//!
//! ```text
//!     byte  0          8          16         24         32
//!          ┌──────────┬──────────┬──────────┬──────────┬─── ─ ─
//!          │ start 0  │ len 0    │ start 1  │ len 1    │
//!          └──────────┴──────────┴──────────┴──────────┴─── ─ ─
//!
//!     start   from the start of the file; FF FF FF FF FF FF FF FF where the row is null
//!     len     in bytes; 0 where the row is null
//! ```
//!
//! Extents may lie in any order, touch, overlap, and leave gaps. Who builds them checks each against the length of the
//! file it points into, and so does, once more, who copies by it.
#![forbid(unsafe_code)]

use std::fmt;

use super::Span;
use crate::error::Result;
use crate::map::Region;

/// Bytes of one row's start and length.
pub(crate) const PAIR_BYTES: u64 = 16;

/// The start of a row that is null.
const NULL: u64 = u64::MAX;

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// The extents of the rows of one column, in memory of our own.
#[derive(Clone)]
pub(crate) struct Extents {
    pairs: Span,
}

impl Extents {
    pub(crate) fn num_rows(&self) -> u64 {
        self.pairs.len() / PAIR_BYTES
    }

    /// Where the pairs lie, for kernels that read them by themselves.
    pub(crate) fn pairs(&self) -> &Span {
        &self.pairs
    }

    /// The extent of row `row`, `None` where it is null.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub(crate) fn get(&self, row: u64) -> Result<Option<Extent>> {
        assert!(row < self.num_rows(), "row {row} of {}", self.num_rows());
        let mut pair = [0; PAIR_BYTES as usize];
        self.pairs.region().copy_out(self.pairs.offset() + row * PAIR_BYTES, &mut pair)?;
        Ok(decode(&pair))
    }
}

impl fmt::Debug for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extents").field("num_rows", &self.num_rows()).finish()
    }
}

fn decode(pair: &[u8; PAIR_BYTES as usize]) -> Option<Extent> {
    let [start, len] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| pair[at + i])));
    (start != NULL).then_some(Extent { start, len })
}

/// Collects the extents of a column.
#[derive(Clone, Debug)]
pub(crate) struct ExtentsBuilder {
    pairs: Vec<u8>,
}

impl ExtentsBuilder {
    /// No rows yet, and memory for `num_rows` of them.
    pub(crate) fn with_capacity(num_rows: usize) -> Self {
        ExtentsBuilder { pairs: Vec::with_capacity(num_rows * PAIR_BYTES as usize) }
    }

    /// `num_rows` nulls, to be [`set`](Self::set).
    pub(crate) fn nulls(num_rows: usize) -> Self {
        let mut builder = ExtentsBuilder::with_capacity(num_rows);
        (0..num_rows).for_each(|_| builder.push(None));
        builder
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, extent: Option<Extent>) {
        self.pairs.extend(encode(extent));
    }

    /// Makes row `row` the value at `extent`.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub(crate) fn set(&mut self, row: usize, extent: Extent) {
        let at = row * PAIR_BYTES as usize;
        self.pairs[at..at + PAIR_BYTES as usize].copy_from_slice(&encode(Some(extent)));
    }

    pub(crate) fn finish(self) -> Extents {
        let len = self.pairs.len() as u64;
        let region = Region::from_vec(self.pairs);
        let pairs = Span::new(&region, 0, len).expect("a region holds all of its bytes");
        Extents { pairs }
    }
}

/// # Panics
///
/// For an extent that begins where only a null does: no file is so long.
fn encode(extent: Option<Extent>) -> [u8; PAIR_BYTES as usize] {
    let Extent { start, len } = extent.unwrap_or(Extent { start: NULL, len: 0 });
    assert!(extent.is_none() || start != NULL, "an extent begins at byte {start}");
    let mut pair = [0; PAIR_BYTES as usize];
    pair[..8].copy_from_slice(&start.to_le_bytes());
    pair[8..].copy_from_slice(&len.to_le_bytes());
    pair
}

#[cfg(test)]
impl Extents {
    /// How many rows are null, if every other lies within a file of `file_len` bytes.
    pub(crate) fn nulls_within(&self, file_len: u64) -> Option<u64> {
        let mut num_nulls = 0;
        for row in 0..self.num_rows() {
            match self.get(row).expect("memory of our own") {
                None => num_nulls += 1,
                Some(Extent { start, len }) => {
                    start.checked_add(len).filter(|&end| end <= file_len)?;
                }
            }
        }
        Some(num_nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let mut builder = ExtentsBuilder::with_capacity(2);
        builder.push(Some(Extent { start: 0x0102, len: 3 }));
        builder.push(None);
        let extents = builder.finish();
        let bytes = extents.pairs().region().owned_bytes().unwrap();
        assert_eq!(bytes[..16], [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..], [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(extents.nulls_within(0x0105), Some(1));
        assert_eq!(extents.nulls_within(0x0104), None);
    }

    proptest! {
        #[test]
        fn rows_read_back_as_they_were_pushed_and_set(
            rows in prop::collection::vec(prop::option::of((0..1000u64, 0..1000u64)), 0..50),
        ) {
            let rows: Vec<_> = rows.iter().map(|row| row.map(|(start, len)| Extent { start, len })).collect();
            let mut pushed = ExtentsBuilder::with_capacity(0);
            let mut set = ExtentsBuilder::nulls(rows.len());
            for (i, &row) in rows.iter().enumerate() {
                pushed.push(row);
                if let Some(extent) = row {
                    set.set(i, extent);
                }
            }
            for extents in [pushed.finish(), set.finish()] {
                prop_assert_eq!(extents.num_rows(), rows.len() as u64);
                for (i, &row) in rows.iter().enumerate() {
                    prop_assert_eq!(extents.get(i as u64).unwrap(), row);
                }
            }
        }
    }
}
