//! Which of the values inside does a push change places with?
#![forbid(unsafe_code)]

/// The random numbers of one push, a function of the seed and the position: wyrand (Wang Yi, *wyhash*), whose states are counted by
/// the positions; the draws after the first have a stream of their own that begins with the first number.
pub(super) struct Draws(u64);

/// What wyrand adds to its state, and what it mixes in.
const STEP: u64 = 0xa076_1d64_78bd_642f;
const SALT: u64 = 0xe703_7ed1_a0b4_28db;

impl Draws {
    /// What the pushes of a ring draw from: far apart for seeds that are close to each other.
    pub(super) fn spread(seed: u64) -> u64 {
        scramble(seed.wrapping_add(STEP))
    }

    /// The numbers of the push at `position`, of a ring whose `seed` was [spread](Draws::spread).
    #[inline]
    pub(super) fn new(seed: u64, position: u64) -> Self {
        Draws(seed.wrapping_add(position.wrapping_mul(STEP)))
    }

    /// A number below `bound`, which is not 0; each with the same chance, but for one part in 2⁶⁴ / `bound`.
    #[inline]
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = scramble(self.0);
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

#[inline]
fn scramble(state: u64) -> u64 {
    let product = u128::from(state) * u128::from(state ^ SALT);
    (product >> 64) as u64 ^ product as u64
}
