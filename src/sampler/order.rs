//! The order of a whole run: one order of the rows for every epoch.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use super::feistel::{LANES, WIDE_LANES};
use super::key::epoch_key;
use super::permutation::{Permutation, check_range};
use crate::error::{Error, Result};

/// How the rows of an epoch are ordered.
///
/// As text (`Display`, `FromStr`): `none`, `exact`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shuffle {
    /// As they lie in the dataset, the same in every epoch.
    #[default]
    None,
    /// A random permutation of all rows, a new one in every epoch: see [`Permutation`].
    Exact,
}

impl fmt::Display for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Shuffle::None => "none",
            Shuffle::Exact => "exact",
        })
    }
}

impl FromStr for Shuffle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Shuffle::None),
            "exact" => Ok(Shuffle::Exact),
            _ => Err(Error::invalid(format!("expected a shuffle (`none` or `exact`), found `{text}`"))),
        }
    }
}

/// Which row comes when, over all epochs: a pure function of number of rows, shuffle, seed, epoch, position.
///
/// ```
/// use forebay::sampler::{Order, Shuffle};
/// let order = Order::new(1000, Shuffle::Exact, 42);
/// let mut batch = [0; 32];
/// order.epoch(3).fill(64, &mut batch);                    // the third batch of 32 of epoch 3
/// assert_eq!(batch[0], order.epoch(3).get(64));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    num_rows: u64,
    shuffle: Shuffle,
    seed: u64,
}

impl Order {
    /// The order of `n` rows; without a shuffle the seed has no effect.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`Permutation::MAX_LEN`].
    pub fn new(n: u64, shuffle: Shuffle, seed: u64) -> Self {
        assert!(n <= Permutation::MAX_LEN, "cannot order {n} rows: at most 2^63 are possible");
        Order { num_rows: n, shuffle, seed }
    }

    /// The number of rows in an epoch.
    pub fn len(&self) -> u64 {
        self.num_rows
    }

    /// Whether an epoch has no rows.
    pub fn is_empty(&self) -> bool {
        self.num_rows == 0
    }

    /// The order of one epoch, counted from 0. Takes well under a microsecond.
    pub fn epoch(&self, epoch: u64) -> EpochOrder {
        EpochOrder(match self.shuffle {
            Shuffle::None => Kind::Sequential(self.num_rows),
            Shuffle::Exact => Kind::Permuted(Permutation::new(self.num_rows, epoch_key(self.seed, epoch))),
        })
    }
}

/// The order of one epoch: a bijection of positions to rows, both in `0..n`.
#[derive(Clone, Copy, Debug)]
pub struct EpochOrder(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sequential(u64),
    Permuted(Permutation),
}

impl EpochOrder {
    /// The number of rows.
    #[inline]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Sequential(len) => *len,
            Kind::Permuted(permutation) => permutation.len(),
        }
    }

    /// Whether there are no rows.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each position holds the row of its number.
    pub(crate) fn is_sequential(&self) -> bool {
        matches!(self.0, Kind::Sequential(_))
    }

    /// The row at `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below [`len`](Self::len).
    #[inline]
    pub fn get(&self, position: u64) -> u64 {
        match &self.0 {
            Kind::Sequential(len) => {
                assert!(position < *len, "position {position} is out of range 0..{len}");
                position
            }
            Kind::Permuted(permutation) => permutation.get(position),
        }
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`.
    ///
    /// # Panics
    ///
    /// If the positions do not all lie below [`len`](Self::len).
    #[inline]
    pub fn fill(&self, first: u64, out: &mut [u64]) {
        self.fill_inlined::<LANES>(first, out);
    }

    /// [`fill`](Self::fill) for a caller compiled for wide vectors: always inlined, so that it has it in them.
    #[inline(always)]
    pub(crate) fn fill_wide(&self, first: u64, out: &mut [u64]) {
        self.fill_inlined::<WIDE_LANES>(first, out);
    }

    #[inline(always)]
    fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        match &self.0 {
            Kind::Sequential(len) => {
                check_range(first, out.len(), *len);
                for (row, position) in out.iter_mut().zip(first..) {
                    *row = position;
                }
            }
            Kind::Permuted(permutation) => permutation.fill_inlined::<LANES>(first, out),
        }
    }
}
