//! Whether every row was delivered exactly once, in four words of memory.
#![forbid(unsafe_code)]

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// 3⁻¹ modulo 2⁶⁴: a multiple of three is divided by multiplying with it.
const INVERSE_OF_3: u64 = 0xAAAA_AAAA_AAAA_AAAB;

/// How many rows were delivered, and the sums of their indices, the squares and the cubes, modulo 2⁶⁴.
///
/// For `0..n` the four numbers have closed forms ([`complete`](Self::complete)), so an epoch can be checked
/// without remembering which rows it had, in any order, and in parts that are merged later: over threads,
/// ranks or runs.
///
/// It always detects one row lost, one delivered twice, or one delivered in place of another; losses and
/// duplications of several rows would have to cancel in all four numbers to go unseen. It is no proof: sets
/// of rows that do cancel exist.
///
/// ```
/// use forebay::sampler::Audit;
/// let mut delivered = Audit::default();
/// delivered.add_all(&[2, 0, 3]);
/// let error = delivered.check(Audit::complete(4)).unwrap_err();
/// assert_eq!(error.message(), "expected 4 rows, found 3: row 1 was not delivered");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    count: u64,
    sum: u64,
    squares: u64,
    cubes: u64,
}

impl Audit {
    /// What an audit of each row of `0..n` once must give.
    pub fn complete(n: u64) -> Self {
        // Σi is n(n-1)/2, Σi² is Σi·(2n-1)/3 and Σi³ is (Σi)²; neither division leaves a remainder.
        let sum = (u128::from(n) * u128::from(n.saturating_sub(1)) / 2) as u64;
        let squares = sum.wrapping_mul(n.wrapping_mul(2).wrapping_sub(1)).wrapping_mul(INVERSE_OF_3);
        Audit { count: n, sum, squares, cubes: sum.wrapping_mul(sum) }
    }

    /// How many rows were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Counts `row` as delivered.
    #[inline]
    pub fn add(&mut self, row: u64) {
        self.merge(Audit::of(row));
    }

    /// Counts all of `rows` as delivered.
    #[inline(always)]
    pub fn add_all(&mut self, rows: &[u64]) {
        let mut part = Audit { count: rows.len() as u64, ..Audit::default() };
        for &row in rows {
            let square = row.wrapping_mul(row);
            part.sum = part.sum.wrapping_add(row);
            part.squares = part.squares.wrapping_add(square);
            part.cubes = part.cubes.wrapping_add(square.wrapping_mul(row));
        }
        self.merge(part);
    }

    /// Counts each of `rows` as delivered: rows that follow one another have closed forms as all rows have.
    ///
    /// ```
    /// use forebay::sampler::Audit;
    /// let (mut one_by_one, mut at_once) = (Audit::default(), Audit::default());
    /// one_by_one.add_all(&[5, 6, 7]);
    /// at_once.add_run(5..8);
    /// assert_eq!(at_once, one_by_one);
    /// ```
    pub fn add_run(&mut self, rows: Range<u64>) {
        if rows.start < rows.end {
            self.merge(Audit::complete(rows.end).less(Audit::complete(rows.start)));
        }
    }

    /// Adds what another audit counted.
    #[inline]
    pub fn merge(&mut self, other: Audit) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.wrapping_add(other.squares);
        self.cubes = self.cubes.wrapping_add(other.cubes);
    }

    /// This audit without the rows of another: undoes [`merge`](Self::merge).
    #[must_use]
    pub fn less(self, other: Audit) -> Audit {
        Audit {
            count: self.count.wrapping_sub(other.count),
            sum: self.sum.wrapping_sub(other.sum),
            squares: self.squares.wrapping_sub(other.squares),
            cubes: self.cubes.wrapping_sub(other.cubes),
        }
    }

    /// The audit of the same rows, each delivered `n` times as often.
    pub(super) fn times(self, n: u64) -> Audit {
        Audit {
            count: self.count.wrapping_mul(n),
            sum: self.sum.wrapping_mul(n),
            squares: self.squares.wrapping_mul(n),
            cubes: self.cubes.wrapping_mul(n),
        }
    }

    /// Compares what was delivered with what should have been.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if they differ; the message names the row if a single one was lost or
    /// delivered twice.
    pub fn check(self, expected: Audit) -> Result<()> {
        if self == expected {
            return Ok(());
        }
        let lost = expected.less(self);
        let doubled = self.less(expected);
        let what = if lost == Audit::of(lost.sum) {
            format!("row {} was not delivered", lost.sum)
        } else if doubled == Audit::of(doubled.sum) {
            format!("row {} was delivered once too often", doubled.sum)
        } else if self.count < expected.count {
            format!("at least {} were not delivered", lost.count)
        } else if self.count > expected.count {
            format!("at least {} were delivered too often", doubled.count)
        } else {
            "some were not delivered and as many others were delivered too often".to_owned()
        };
        let (expected, found) = (expected.count, self.count);
        Err(Error::new(ErrorKind::Internal, format!("expected {expected} rows, found {found}: {what}")))
    }

    /// The audit of a single row.
    #[inline]
    fn of(row: u64) -> Self {
        let square = row.wrapping_mul(row);
        Audit { count: 1, sum: row, squares: square, cubes: square.wrapping_mul(row) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_times_its_inverse_is_one() {
        assert_eq!(INVERSE_OF_3.wrapping_mul(3), 1);
    }

    #[test]
    fn a_run_counts_as_its_rows_do() {
        for start in [0, 1, 2, 3, 1000, u64::MAX / 3, u64::MAX - 40] {
            for len in 0..30 {
                let (mut expected, mut found) = (Audit::complete(7), Audit::complete(7));
                expected.add_all(&(start..start + len).collect::<Vec<_>>());
                found.add_run(start..start + len);
                assert_eq!(found, expected, "{len} from {start}");
            }
        }
        let mut audit = Audit::default();
        #[expect(clippy::reversed_empty_ranges)]
        audit.add_run(5..3);
        assert_eq!(audit, Audit::default());
    }

    #[test]
    fn a_difference_is_our_own_fault() {
        let error = Audit::default().check(Audit::complete(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "expected 9 rows, found 0: at least 9 were not delivered");
        assert!(Audit::default().check(Audit::complete(0)).is_ok());
    }
}
