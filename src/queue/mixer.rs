//! Which element does a new one change places with?
#![forbid(unsafe_code)]

/// The random numbers of one push: a function of the seed and the push's position. SplitMix64 (Steele, Lea, Flood: *Fast
/// splittable pseudorandom number generators*), begun where the seed and the position, mixed, say.
pub(super) struct Draws(u64);

/// The odd number next to 2⁶⁴ over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    #[inline]
    pub(super) fn new(seed: u64, position: u64) -> Self {
        Draws(seed ^ mix(position.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// A number below `bound`, which is not 0; each with the same chance, but for one part in 2⁶⁴ / `bound`.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }
}

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
