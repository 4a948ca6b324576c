//! A random order of `0..n` that takes no memory.
#![forbid(unsafe_code)]

use super::feistel::{Feistel, LANES};
use super::key::Draws;
use super::table::Table;

/// A keyed bijection of `0..n`: which row stands at which position, computed, not stored.
///
/// Some hundred bytes whatever `n` is, a few nanoseconds a row, invertible, and the same on every machine.
/// For up to sixteen rows it is a Fisher-Yates shuffle kept in one word, beyond that a Feistel network with
/// cycle walking (after Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, 2002).
///
/// The orders are statistically random, not cryptographically: do not draw secrets from them.
///
/// ```
/// use forebay::sampler::Permutation;
/// let order = Permutation::new(1_000_000_007, 42);
/// let row = order.get(123_456);
/// assert!(row < order.len());
/// assert_eq!(order.position(row), 123_456);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    method: Method,
}

#[derive(Clone, Copy, Debug)]
enum Method {
    Table(Table),
    Feistel(Feistel),
}

impl Permutation {
    /// The most rows there can be: 2⁶³.
    pub const MAX_LEN: u64 = Feistel::MAX_LEN;

    /// The permutation of `n` rows under `key`; any key is as good as any other.
    ///
    /// Permutations of different lengths are unrelated, even under the same key.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(n: u64, key: u64) -> Self {
        assert!(n <= Self::MAX_LEN, "cannot permute {n} rows: at most 2^63 are possible");
        let mut draws = Draws::new(n, key);
        let method = if n <= Table::CAPACITY {
            Method::Table(Table::new(n, &mut draws))
        } else {
            Method::Feistel(Feistel::new(n, &mut draws))
        };
        Permutation { len: n, method }
    }

    /// The number of rows, `n`.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no rows.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row at `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below [`len`](Self::len).
    #[inline]
    pub fn get(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} is out of range 0..{}", self.len);
        match &self.method {
            Method::Table(table) => table.get(position),
            Method::Feistel(network) => network.get(position),
        }
    }

    /// The position at which `row` stands: the inverse of [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// If `row` is not below [`len`](Self::len).
    #[inline]
    pub fn position(&self, row: u64) -> u64 {
        assert!(row < self.len, "row {row} is out of range 0..{}", self.len);
        match &self.method {
            Method::Table(table) => table.position(row),
            Method::Feistel(network) => network.position(row),
        }
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`.
    ///
    /// The rows that [`get`](Self::get) gives one by one, twice as fast: several are computed at once.
    ///
    /// # Panics
    ///
    /// If the positions do not all lie below [`len`](Self::len).
    #[inline]
    pub fn fill(&self, first: u64, out: &mut [u64]) {
        self.fill_inlined::<LANES>(first, out);
    }

    /// [`fill`](Self::fill), always inlined, so that a caller compiled for wider vectors has it in them.
    #[inline(always)]
    pub(super) fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        check_range(first, out.len(), self.len);
        match &self.method {
            Method::Table(table) => {
                for (row, position) in out.iter_mut().zip(first..) {
                    *row = table.get(position);
                }
            }
            Method::Feistel(network) => network.fill::<LANES>(first, out),
        }
    }

    /// Turns positions, all of which lie below [`len`](Self::len), into the rows at them; always inlined, as above.
    #[inline(always)]
    pub(super) fn map_inlined<const LANES: usize>(&self, positions: &mut [u64]) {
        match &self.method {
            Method::Table(table) => {
                positions.iter_mut().for_each(|position| *position = table.get(*position))
            }
            Method::Feistel(network) => network.map::<LANES>(positions),
        }
    }
}

/// Panics unless `first..first + count` lies in `0..len`.
pub(super) fn check_range(first: u64, count: usize, len: u64) {
    let fits = first.checked_add(count as u64).is_some_and(|end| end <= len);
    assert!(fits, "{count} positions from {first} on are out of range 0..{len}");
}
