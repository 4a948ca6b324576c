//! Permutations of at most sixteen rows, written out: sixteen nibbles of one word.
#![forbid(unsafe_code)]

use super::key::Draws;

/// The identity: nibble `i` holds `i`.
const IDENTITY: u64 = 0xFEDC_BA98_7654_3210;

/// The row of position `i` is the `i`-th nibble, counted from the low end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table(u64);

impl Table {
    /// How many rows fit.
    pub(super) const CAPACITY: u64 = 16;

    /// Shuffles `0..len` by Fisher and Yates: each of the `len!` orders is equally likely over the draws.
    pub(super) fn new(len: u64, draws: &mut Draws) -> Self {
        debug_assert!(len <= Self::CAPACITY);
        let mut table = Table(IDENTITY);
        for last in (1..len).rev() {
            let other = draws.below(last + 1);
            let difference = table.get(last) ^ table.get(other);
            table.0 ^= difference << (4 * last) ^ difference << (4 * other);
        }
        table
    }

    #[inline]
    pub(super) fn get(&self, position: u64) -> u64 {
        (self.0 >> (4 * position)) & 0xF
    }

    pub(super) fn position(&self, row: u64) -> u64 {
        (0..Self::CAPACITY)
            .find(|&position| self.get(position) == row)
            .expect("every nibble value is present")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_past_the_length_stay_in_place() {
        for len in 0..=Table::CAPACITY {
            let table = Table::new(len, &mut Draws::new(len, 1));
            assert!((len..Table::CAPACITY).all(|row| table.get(row) == row), "of {len} rows");
        }
    }
}
