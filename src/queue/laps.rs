//! How does one word say both where in a ring a step takes place and in which lap?
//!
//! A *position* counts laps in its upper bits and slots in its lower, where the slots of a lap are as many as the capacity,
//! which need not be a power of two: after the last slot comes the first of the next lap. Positions only grow; at a
//! thousand million steps a second they last for decades.
//!
//! ```text
//! capacity 6, so that a lap adds 8:    0 1 2 3 4 5   8 9 10 11 12 13   16 ...
//! ```
#![forbid(unsafe_code)]

/// The bit of a word with a position that says closed, above every position.
pub(super) const CLOSED: u64 = 1 << 63;

pub(super) struct Laps {
    capacity: u64,
    /// What a lap adds to a position, less 1; what a lap adds is the least power of two that is no less than the capacity.
    mask: u64,
    /// The number of ones in `mask`.
    bits: u32,
}

impl Laps {
    /// The positions of a ring of `capacity` slots: at least one, and no more than memory could hold.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity as u64;
        assert!((1..1 << 60).contains(&capacity), "a ring of {capacity} slots");
        let mask = capacity.next_power_of_two() - 1;
        Laps { capacity, mask, bits: mask.count_ones() }
    }

    /// What a lap adds to a position.
    #[inline]
    pub(super) fn one_lap(&self) -> u64 {
        self.mask + 1
    }

    /// The index of the slot, below the capacity, and the lap: the position of that lap's first slot.
    ///
    /// `position` is 0 or came out of [`after`](Laps::after) or [`before`](Laps::before).
    #[inline]
    pub(super) fn split(&self, position: u64) -> (usize, u64) {
        let index = position & self.mask;
        debug_assert!(index < self.capacity, "{position} is no position");
        (index as usize, position - index)
    }

    /// The position after `position`.
    #[inline]
    pub(super) fn after(&self, position: u64) -> u64 {
        let (index, lap) = self.split(position);
        if (index as u64) + 1 < self.capacity { position + 1 } else { lap + self.one_lap() }
    }

    /// The position `back` before `position`: less than the capacity, and not before the first.
    #[inline]
    pub(super) fn before(&self, position: u64, back: u64) -> u64 {
        debug_assert!(back < self.capacity && back <= self.count(position));
        let (index, lap) = self.split(position);
        let index = index as u64;
        if back <= index { position - back } else { lap - self.one_lap() + self.capacity + index - back }
    }

    /// How many positions there are from `head` to `tail`, which is not before `head`.
    #[inline]
    pub(super) fn distance(&self, head: u64, tail: u64) -> u64 {
        self.count(tail) - self.count(head)
    }

    /// How many positions there are before `position`.
    #[inline]
    pub(super) fn count(&self, position: u64) -> u64 {
        let (index, _) = self.split(position);
        (position >> self.bits) * self.capacity + index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_round_any_capacity() {
        for capacity in [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33] {
            let laps = Laps::new(capacity);
            let mut positions = vec![0];
            for count in 0..10 * capacity {
                let position = positions[count];
                let (index, lap) = laps.split(position);
                assert_eq!((index, lap / laps.one_lap()), (count % capacity, (count / capacity) as u64));
                assert_eq!(laps.count(position), count as u64);
                for back in 0..capacity.min(count + 1) {
                    assert_eq!(laps.before(position, back as u64), positions[count - back]);
                    assert_eq!(laps.distance(positions[count - back], position), back as u64);
                }
                positions.push(laps.after(position));
            }
            assert!(positions.is_sorted() && positions.iter().all(|position| position & CLOSED == 0));
        }
    }
}
