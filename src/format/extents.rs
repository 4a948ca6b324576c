//! Where the values of a column of bytes lie in a file: a start and a length for each row, or neither.
//!
//! The same bytes serve in memory and in an index file that is mapped later; both numbers are u64, little-endian:
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
//! Extents may lie in any order, touch, overlap, and leave gaps. They are claims until
//! [`check`](Extents::check) has held each of them against the length of the file they point into.
#![forbid(unsafe_code)]

use std::fmt;

use super::Span;
use crate::error::{Error, Result};
use crate::map::Region;

/// Bytes of one row's start and length.
pub(crate) const PAIR_BYTES: u64 = 16;

/// The start of a row that is null.
const NULL: u64 = u64::MAX;

/// How many pairs are looked at in one go.
const BLOCK_ROWS: u64 = 4096;

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// What the extents of a column add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) num_nulls: u64,
    /// Bytes of all values together.
    pub(crate) num_bytes: u64,
}

/// The extents of the rows of one column, in memory of our own or in a mapped index file.
#[derive(Clone)]
pub(crate) struct Extents {
    pairs: Span,
}

impl Extents {
    /// The extents whose pairs are `pairs`.
    ///
    /// # Errors
    ///
    /// `Malformed` for a part of a pair.
    pub(crate) fn new(pairs: Span) -> Result<Self> {
        if !pairs.len().is_multiple_of(PAIR_BYTES) {
            return Err(Error::malformed(format!(
                "expected pairs of {PAIR_BYTES} bytes, found {} bytes",
                pairs.len()
            ))
            .at_byte(pairs.offset()));
        }
        Ok(Extents { pairs })
    }

    pub(crate) fn num_rows(&self) -> u64 {
        self.pairs.len() / PAIR_BYTES
    }

    /// Where the pairs lie, for kernels that read them by themselves.
    pub(crate) fn pairs(&self) -> &Span {
        &self.pairs
    }

    /// The extent of row `row`, `None` where it is null. For a mapped index it is to be believed after a check of
    /// its region, and not before it was held against the length of the file it points into.
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

    /// Checks that every extent lies within a file of `file_len` bytes, without any memory a row.
    ///
    /// # Errors
    ///
    /// `Malformed` for one that does not, or for a null that has a length, at the row's record.
    pub(crate) fn check(&self, file_len: u64) -> Result<Census> {
        let mut census = Census::default();
        for first in (0..self.num_rows()).step_by(BLOCK_ROWS as usize) {
            let num_rows = BLOCK_ROWS.min(self.num_rows() - first);
            let start = self.pairs.offset() + first * PAIR_BYTES;
            let block = self.pairs.region().read(start..start + num_rows * PAIR_BYTES)?;
            for (row, pair) in (first..).zip(block.as_chunks().0) {
                match decode(pair) {
                    None if pair[8..] == [0; 8] => census.num_nulls += 1,
                    None => {
                        let message = "expected a null to have a length of 0, found another";
                        return Err(Error::malformed(message).at_record(row));
                    }
                    Some(Extent { start, len }) => {
                        if start.checked_add(len).is_none_or(|end| end > file_len) {
                            return Err(Error::malformed(format!(
                                "expected {len} bytes at byte {start}, found a file of {file_len} bytes"
                            ))
                            .at_record(row));
                        }
                        census.num_bytes = census.num_bytes.saturating_add(len);
                    }
                }
            }
        }
        Ok(census)
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
#[derive(Clone, Debug, Default)]
pub(crate) struct ExtentsBuilder {
    pairs: Vec<u8>,
}

impl ExtentsBuilder {
    pub(crate) fn new() -> Self {
        ExtentsBuilder::default()
    }

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

    pub(crate) fn num_rows(&self) -> usize {
        self.pairs.len() / PAIR_BYTES as usize
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

    /// The bytes to be written to an index file.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.pairs
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
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn extents_of(bytes: Vec<u8>) -> Result<Extents> {
        let len = bytes.len() as u64;
        Extents::new(Span::new(&Region::from_vec(bytes), 0, len)?)
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let mut builder = ExtentsBuilder::new();
        builder.push(Some(Extent { start: 0x0102, len: 3 }));
        builder.push(None);
        let bytes = builder.clone().into_bytes();
        assert_eq!(bytes[..16], [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..], [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
        let extents = builder.finish();
        assert_eq!(extents.check(0x0105).unwrap(), Census { num_nulls: 1, num_bytes: 3 });
        let error = extents.check(0x0104).unwrap_err();
        assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(0)));
    }

    #[test]
    fn a_part_of_a_pair_and_a_null_with_a_length_are_refused() {
        for len in (0..40).filter(|len| len % 16 != 0) {
            assert_eq!(extents_of(vec![0; len]).unwrap_err().kind(), ErrorKind::Malformed);
        }
        let mut bytes = vec![0; 16 * 5000];
        bytes[16 * 4999..].fill(255);
        assert_eq!(extents_of(bytes).unwrap().check(0).unwrap_err().location().record, Some(4999));
    }

    proptest! {
        #[test]
        fn rows_read_back_as_they_were_pushed_and_set(
            rows in prop::collection::vec(prop::option::of((0..1000u64, 0..1000u64)), 0..50),
            file_len in 0..2000u64,
        ) {
            let rows: Vec<_> = rows.iter().map(|row| row.map(|(start, len)| Extent { start, len })).collect();
            let mut pushed = ExtentsBuilder::new();
            let mut set = ExtentsBuilder::nulls(rows.len());
            for (i, &row) in rows.iter().enumerate() {
                pushed.push(row);
                if let Some(extent) = row {
                    set.set(i, extent);
                }
            }
            prop_assert_eq!(set.num_rows(), rows.len());
            prop_assert_eq!(set.clone().into_bytes(), pushed.clone().into_bytes());
            let read = extents_of(pushed.into_bytes()).unwrap();
            prop_assert_eq!(read.num_rows(), rows.len() as u64);
            for (i, &row) in rows.iter().enumerate() {
                prop_assert_eq!(read.get(i as u64).unwrap(), row);
            }
            let inside = rows.iter().flatten().all(|extent| extent.start + extent.len <= file_len);
            prop_assert_eq!(set.finish().check(file_len).is_ok(), inside);
        }

        #[test]
        fn any_bytes_are_checked_without_panic(
            bytes in prop::collection::vec(prop_oneof![Just(255u8), Just(0), any::<u8>()], 0..100),
            file_len: u64,
        ) {
            if let Ok(extents) = extents_of(bytes) {
                let in_file = extents.check(file_len).is_ok();
                let each = (0..extents.num_rows()).all(|row| extents.get(row).unwrap().is_none_or(|extent| {
                    extent.start.checked_add(extent.len).is_some_and(|end| end <= file_len)
                }));
                prop_assert!(each || !in_file);
            }
        }
    }
}
