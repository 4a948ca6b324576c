//! The order of the rows of one dataset, epoch by epoch.
#![forbid(unsafe_code)]

use super::block::BlockOrder;
use super::key::epoch_key;
use super::order::Shuffle;
use super::permutation::{Permutation, check_range};

/// One order of `0..n` for every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Single {
    num_rows: u64,
    shuffle: Shuffle,
    seed: u64,
}

impl Single {
    /// # Panics
    ///
    /// If `n` is more than [`Permutation::MAX_LEN`], or a block or a group is empty.
    pub(super) fn new(n: u64, shuffle: Shuffle, seed: u64) -> Self {
        assert!(n <= Permutation::MAX_LEN, "cannot order {n} rows: at most 2^63 are possible");
        assert!(shuffle.check().is_ok(), "an order of empty blocks or groups: {shuffle}");
        Single { num_rows: n, shuffle, seed }
    }

    pub(super) fn len(&self) -> u64 {
        self.num_rows
    }

    pub(super) fn epoch(&self, epoch: u64) -> SingleEpoch {
        match self.shuffle {
            Shuffle::None => SingleEpoch::Sequential(self.num_rows),
            Shuffle::Exact => {
                SingleEpoch::Permuted(Permutation::new(self.num_rows, epoch_key(self.seed, epoch)))
            }
            Shuffle::Block { rows, blocks } => {
                SingleEpoch::Blocks(BlockOrder::new(self.num_rows, rows, blocks, epoch_key(self.seed, epoch)))
            }
        }
    }
}

/// A bijection of positions to rows, both in `0..n`.
#[derive(Clone, Copy, Debug)]
pub(super) enum SingleEpoch {
    Sequential(u64),
    Permuted(Permutation),
    Blocks(BlockOrder),
}

impl SingleEpoch {
    #[inline]
    pub(super) fn len(&self) -> u64 {
        match self {
            SingleEpoch::Sequential(len) => *len,
            SingleEpoch::Permuted(permutation) => permutation.len(),
            SingleEpoch::Blocks(blocks) => blocks.len(),
        }
    }

    /// # Panics
    ///
    /// If `position` is not below [`len`](Self::len).
    #[inline]
    pub(super) fn get(&self, position: u64) -> u64 {
        match self {
            SingleEpoch::Sequential(len) => {
                assert!(position < *len, "position {position} is out of range 0..{len}");
                position
            }
            SingleEpoch::Permuted(permutation) => permutation.get(position),
            SingleEpoch::Blocks(blocks) => blocks.get(position),
        }
    }

    /// As [`EpochOrder::mixed_rows`](super::EpochOrder::mixed_rows).
    pub(super) fn mixed_rows(&self) -> u64 {
        match self {
            SingleEpoch::Sequential(_) | SingleEpoch::Permuted(_) => 0,
            SingleEpoch::Blocks(blocks) => blocks.group_rows(),
        }
    }

    /// As [`EpochOrder::mixed_until`](super::EpochOrder::mixed_until).
    pub(super) fn mixed_until(&self, position: u64) -> u64 {
        match self {
            SingleEpoch::Sequential(_) => position + 1,
            SingleEpoch::Permuted(permutation) => permutation.len(),
            SingleEpoch::Blocks(blocks) => blocks.group_end(position),
        }
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`; always inlined, as
    /// [`Permutation::fill_inlined`] is.
    #[inline(always)]
    pub(super) fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        match self {
            SingleEpoch::Sequential(len) => {
                check_range(first, out.len(), *len);
                for (row, position) in out.iter_mut().zip(first..) {
                    *row = position;
                }
            }
            SingleEpoch::Permuted(permutation) => permutation.fill_inlined::<LANES>(first, out),
            SingleEpoch::Blocks(blocks) => blocks.fill_inlined::<LANES>(first, out),
        }
    }
}
