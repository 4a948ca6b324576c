//! The Feistel network behind [`Permutation`](super::Permutation).
//!
//! A number `x` below `2^k · m` is split, without a division, into `low = x mod 2^k` and `high = x >> k < m`.
//! Rounds, each undone by running it backwards, change one half by a function of the other, in turn:
//!
//! ```text
//! low  = low XOR F(high)              in 0..2^k
//! high = high + F'(low)  mod m        in 0..m
//! ```
//!
//! With `2^k` near √n and `m = ⌈n / 2^k⌉` this permutes fewer than `n + 2^k` numbers. What falls outside
//! `0..n` is sent through again until it falls inside (*cycle walking*, which leaves a bijection of `0..n`):
//! about one row in √n, at most. The construction is the generalized Feistel cipher of Black and Rogaway,
//! [Ciphers with Arbitrary Finite Domains](https://www.cs.ucdavis.edu/~rogaway/papers/subset.pdf), with one
//! half a power of two.
//!
//! # How many rounds
//!
//! Two inputs that agree in one half differ by a constant in the other until a round tells them apart, which
//! it fails to do with probability 1/m or 1/2^k, one over about √n. After `p` pairs of rounds that leaves
//! a trace of about n^(-p/2) in the joint distribution of two rows. The number of pairs keeps it below 2⁻¹⁸
//! for every `n`: ten pairs for 17 rows, three (six rounds) beyond 32,768. With six rounds throughout, a
//! chi-square test of two rows over 300,000 keys sees it in orders of a few dozen rows.
#![forbid(unsafe_code)]

use super::key::Draws;

/// Rows permuted side by side. A single row is one long chain of dependent multiplications; eight of them keep the
/// multipliers busy, and are a whole number of vector registers,
pub(super) const LANES: usize = 8;

/// and so many where registers are wide.
pub(super) const WIDE_LANES: usize = 32;

const LOW_32: u64 = 0xFFFF_FFFF;

/// The network for `len` rows under one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feistel {
    /// The number of rows, `n`.
    len: u64,
    /// How many values `high` takes, `m`: at most 2³¹.
    high_len: u32,
    /// How many bits `low` has, `k`: at most 32.
    low_bits: u32,
    /// How many of `keys` are in use.
    pairs: u32,
    /// The keys of each pair of rounds: that of the `low` round, then that of the `high` round.
    keys: [[u32; 2]; Feistel::MAX_PAIRS],
}

impl Feistel {
    /// The most rows a network can permute: both halves stay within 32 bits.
    pub(super) const MAX_LEN: u64 = 1 << 63;

    const MAX_PAIRS: usize = 10;
    const MIN_PAIRS: u32 = 3;

    /// Derives the network of `len` rows, more than sixteen, from `draws`.
    pub(super) fn new(len: u64, draws: &mut Draws) -> Self {
        debug_assert!((17..=Self::MAX_LEN).contains(&len));
        let bits = u64::BITS - (len - 1).leading_zeros();
        let low_bits = (bits / 2).max(bits.saturating_sub(31));
        let pairs = 48_u32.div_ceil(bits).max(Self::MIN_PAIRS);
        let mut keys = [[0; 2]; Self::MAX_PAIRS];
        for pair in &mut keys[..pairs as usize] {
            let bits = draws.bits();
            *pair = [(bits >> 32) as u32, bits as u32];
        }
        Feistel { len, high_len: len.div_ceil(1 << low_bits) as u32, low_bits, pairs, keys }
    }

    #[inline]
    pub(super) fn get(&self, position: u64) -> u64 {
        self.walk(position, |x| self.forward([x])[0])
    }

    #[inline]
    pub(super) fn position(&self, row: u64) -> u64 {
        self.walk(row, |x| self.backward(x))
    }

    /// Writes the rows of positions `first..first + out.len()`.
    ///
    /// Always inlined, so that a caller compiled for wider vectors has it in them.
    #[inline(always)]
    pub(super) fn fill<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        for (row, position) in out.iter_mut().zip(first..) {
            *row = position;
        }
        self.map::<LANES>(out);
    }

    /// Turns positions into the rows at them; always inlined, as above.
    #[inline(always)]
    pub(super) fn map<const LANES: usize>(&self, out: &mut [u64]) {
        let (chunks, rest) = out.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = self.forward(*chunk);
        }
        for row in rest {
            [*row] = self.forward([*row]);
        }
        for row in out {
            if *row >= self.len {
                *row = self.walk_on(*row);
            }
        }
    }

    /// Walks on from a number that is no row.
    #[cold]
    fn walk_on(&self, number: u64) -> u64 {
        self.get(number)
    }

    /// Applies `step`, a bijection of the domain, until the result is a row.
    #[inline]
    fn walk(&self, start: u64, step: impl Fn(u64) -> u64) -> u64 {
        let mut x = step(start);
        while x >= self.len {
            x = step(x);
        }
        x
    }

    /// One pass of the network over `W` numbers of its domain at once.
    #[inline(always)]
    fn forward<const W: usize>(&self, numbers: [u64; W]) -> [u64; W] {
        let mut high = numbers.map(|x| x >> self.low_bits);
        let mut low = numbers.map(|x| x & self.low_mask());
        for [low_key, high_key] in self.active_keys() {
            for i in 0..W {
                low[i] ^= round(high[i], low_key) & self.low_mask();
            }
            for i in 0..W {
                high[i] = self.wrapped(high[i] + self.shift(low[i], high_key));
            }
        }
        for i in 0..W {
            low[i] |= high[i] << self.low_bits;
        }
        low
    }

    /// Undoes one pass of the network.
    #[inline]
    fn backward(&self, number: u64) -> u64 {
        let mut high = number >> self.low_bits;
        let mut low = number & self.low_mask();
        for [low_key, high_key] in self.active_keys().rev() {
            high = self.wrapped(high + u64::from(self.high_len) - self.shift(low, high_key));
            low ^= round(high, low_key) & self.low_mask();
        }
        (high << self.low_bits) | low
    }

    #[inline(always)]
    fn active_keys(&self) -> impl DoubleEndedIterator<Item = [u32; 2]> + '_ {
        self.keys[..self.pairs as usize].iter().copied()
    }

    #[inline(always)]
    fn low_mask(&self) -> u64 {
        (1 << self.low_bits) - 1
    }

    /// The round function scaled to `0..high_len`.
    #[inline(always)]
    fn shift(&self, low: u64, key: u32) -> u64 {
        (round(low, key) * u64::from(self.high_len)) >> 32
    }

    /// `sum mod high_len`, for a sum of two numbers below it (or of one and `high_len`).
    ///
    /// The sign is spread over a mask, since baseline x86-64 has no vector comparison of 64-bit integers.
    #[inline(always)]
    fn wrapped(&self, sum: u64) -> u64 {
        let high_len = u64::from(self.high_len);
        let reduced = sum.wrapping_sub(high_len);
        let borrowed = (reduced as i64 >> 63) as u64;
        reduced.wrapping_add(high_len & borrowed)
    }
}

/// The round function: 32 bits to 32 bits under a key.
///
/// Each product is of two 32-bit numbers, which every vector unit has. The first is folded, high half onto
/// low; of the second the middle bits are taken, which depend on all bits of the fold. The multipliers are
/// primes of [XXH32](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
#[inline(always)]
fn round(half: u64, key: u32) -> u64 {
    let product = ((half ^ u64::from(key)) & LOW_32) * 0x9E37_79B1;
    let product = ((product ^ (product >> 32)) & LOW_32) * 0x85EB_CA77;
    (product >> 16) & LOW_32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(len: u64) -> Feistel {
        Feistel::new(len, &mut Draws::new(len, 1))
    }

    /// Lengths at which a number of bits begins and ends, from the least to the greatest.
    fn lengths() -> impl Iterator<Item = u64> {
        (5..=63).flat_map(|bits| [(1_u64 << (bits - 1)) + 1, (1 << bits) - 1, 1 << bits])
    }

    #[test]
    fn backward_undoes_forward_outside_the_rows_too() {
        for len in 17..300 {
            let network = network(len);
            for x in 0..u64::from(network.high_len) << network.low_bits {
                assert_eq!(network.backward(network.forward([x])[0]), x, "of {len} rows");
            }
        }
    }

    #[test]
    fn the_domain_exceeds_the_rows_by_less_than_its_low_half() {
        for len in lengths() {
            let network = network(len);
            let domain = u128::from(network.high_len) << network.low_bits;
            assert!(
                (len.into()..u128::from(len) + (1 << network.low_bits)).contains(&domain),
                "of {len} rows"
            );
            assert!(network.high_len <= 1 << 31 && network.low_bits <= 32, "of {len} rows");
        }
    }

    #[test]
    fn enough_rounds_for_every_length() {
        for len in lengths().chain(17..5000) {
            let network = network(len);
            let narrow = f64::from(network.high_len).min(2_f64.powi(network.low_bits as i32));
            assert!(narrow.powi(-(network.pairs as i32)) < 2_f64.powi(-18), "of {len} rows");
        }
    }
}
