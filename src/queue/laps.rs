//! How does one word say both where in a ring a step takes place and in which lap?
//!
//! A *position* counts laps in its upper bits and slots in its lower, where the slots of a lap are as many as the capacity,
//! which need not be a power of two: after the last slot comes the first of the next lap. Positions only grow; at a
//! thousand million steps a second they last for a hundred years.
//!
//! ```text
//! capacity 6, so that a lap adds 8:    0 1 2 3 4 5   8 9 10 11 12 13   16 ...
//! ```
#![forbid(unsafe_code)]

use super::sync::{AtomicU64, Ordering};

/// The bit of a word with a position that says closed, above every position.
pub(super) const CLOSED: u64 = 1 << 63;

pub(super) struct Laps {
    capacity: u64,
    /// A lap adds 2 to the power of this to a position: the least power of two that is no less than the capacity.
    bits: u32,
}

impl Laps {
    /// The positions of a ring of `capacity` slots: at least one, and no more than memory could hold.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity as u64;
        assert!((1..1 << 62).contains(&capacity), "a ring of {capacity} slots");
        Laps { capacity, bits: capacity.next_power_of_two().trailing_zeros() }
    }

    /// What a lap adds to a position.
    #[inline]
    pub(super) fn one_lap(&self) -> u64 {
        1 << self.bits
    }

    /// The index of the slot, below the capacity, and the lap: the position of that lap's first slot.
    ///
    /// `position` is 0 or came out of [`after`](Laps::after).
    #[inline]
    pub(super) fn split(&self, position: u64) -> (usize, u64) {
        let index = position & (self.one_lap() - 1);
        debug_assert!(index < self.capacity, "{position} is no position");
        (index as usize, position - index)
    }

    /// The position after `position`.
    #[inline]
    pub(super) fn after(&self, position: u64) -> u64 {
        let (index, lap) = self.split(position);
        if (index as u64) + 1 < self.capacity { position + 1 } else { lap + self.one_lap() }
    }

    /// How many positions there are before `position`.
    #[inline]
    pub(super) fn count(&self, position: u64) -> u64 {
        let (index, _) = self.split(position);
        (position >> self.bits) * self.capacity + index as u64
    }

    /// How many positions there are from `head` to `tail`, whose `CLOSED` is left out.
    pub(super) fn between(&self, head: &AtomicU64, tail: &AtomicU64) -> usize {
        loop {
            // SeqCst: the tail was the same before and after the head was read, so the two belong together.
            let before = tail.load(Ordering::SeqCst);
            let head = head.load(Ordering::SeqCst);
            if tail.load(Ordering::SeqCst) == before {
                return (self.count(before & !CLOSED) - self.count(head)) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_round_any_capacity() {
        for capacity in [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33] {
            let laps = Laps::new(capacity);
            let mut position = 0;
            for count in 0..10 * capacity {
                let (index, lap) = laps.split(position);
                assert_eq!((index, lap / laps.one_lap()), (count % capacity, (count / capacity) as u64));
                assert_eq!(laps.count(position), count as u64);
                let next = laps.after(position);
                assert!(next > position && next & CLOSED == 0);
                position = next;
            }
        }
    }
}
