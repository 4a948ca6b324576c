//! From the numbers a user knows (seed, epoch) to the keys that permutations run on.
#![forbid(unsafe_code)]

/// The odd number nearest 2⁶⁴/φ, the stride of [SplitMix64](https://prng.di.unimi.it/splitmix64.c).
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The key of one epoch's permutation.
///
/// Seed and epoch are hashed one after the other, never added: epoch `e + 1` under seed `s` and epoch `e`
/// under seed `s + 1` have unrelated keys. Under one seed no two epochs share a key.
///
/// ```
/// use forebay::sampler::epoch_key;
/// assert_ne!(epoch_key(7, 1), epoch_key(8, 0));
/// ```
#[inline]
pub fn epoch_key(seed: u64, epoch: u64) -> u64 {
    mix(mix(seed.wrapping_add(STRIDE)).wrapping_add(epoch))
}

/// SplitMix64's finaliser: a bijection of 64-bit words under which every input bit reaches every output bit.
#[inline]
pub(super) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The SplitMix64 sequence from which the parts of one permutation, or the numbers of one row, are drawn.
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// The draws of the permutation of `len` rows under `key`.
    ///
    /// `len` is hashed in, so that two tables of nearly the same length do not share an order.
    pub(super) fn new(len: u64, key: u64) -> Self {
        Draws(mix(mix(len.wrapping_add(STRIDE)) ^ key))
    }

    /// The next 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STRIDE);
        mix(self.0)
    }

    /// A number in `0..bound`, uniform but for a bias of `bound` in 2⁶⁴.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the reference implementation for state 1234567.
    #[test]
    fn draws_are_splitmix64() {
        let mut draws = Draws(1_234_567);
        assert_eq!(draws.bits(), 6_457_827_717_110_365_317);
        assert_eq!(draws.bits(), 3_203_168_211_198_807_973);
    }
}
