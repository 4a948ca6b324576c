//! Random numbers of a row: the same wherever, and whenever, the row is made.
#![forbid(unsafe_code)]

use super::key::{Draws, epoch_key, mix};

/// Sets the numbers of rows apart from the orders of rows, which have keys of the same seed and epoch.
const ROWS: u64 = 0x726F_7773;

/// A generator of random numbers that depends on a seed, an epoch and a row, and on nothing else: what is augmented by it is
/// the same for any number of threads, and after a resume.
///
/// The numbers are those of [SplitMix64](https://prng.di.unimi.it/splitmix64.c): good statistically, not for secrets. Once
/// released they never change.
///
/// ```
/// use forebay::sampler::RowRng;
///
/// let (mut a, mut b) = (RowRng::new(42, 3, 1000), RowRng::new(42, 3, 1000));
/// assert_eq!(a.bits(), b.bits());
/// let flip = a.chance(0.5);
/// let left = a.below(32 - 28 + 1); // where a crop of 28 of 32 pixels begins
/// assert!(left <= 4 && a.unit() < 1.0);
/// # let _ = flip;
/// ```
#[derive(Clone, Debug)]
pub struct RowRng(Draws);

impl RowRng {
    /// The generator of `row` in `epoch` under `seed`.
    pub fn new(seed: u64, epoch: u64, row: u64) -> Self {
        RowRng(Draws::new(row, mix(epoch_key(seed, epoch) ^ ROWS)))
    }

    /// The next 64 random bits; the first of them seed a generator of another crate.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number in `0..bound`, uniform but for a bias of `bound` in 2⁶⁴; 0 where `bound` is.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from 0 up to, not including, 1: a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `true` with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once released, the numbers never change.
    #[test]
    fn the_numbers_of_a_row_are_pinned() {
        let first = |seed, epoch, row| RowRng::new(seed, epoch, row).bits();
        assert_eq!(
            [first(0, 0, 0), first(42, 0, 0), first(42, 1, 0), first(42, 0, 1), first(42, 0, u64::MAX)],
            [
                14_345_826_212_049_490_076,
                16_512_617_074_438_550_110,
                5_403_321_518_698_773_824,
                8_713_835_098_905_024_631,
                3_696_079_686_262_543_905
            ]
        );
    }

    #[test]
    fn numbers_of_neighbours_are_unrelated() {
        // Over rows, seeds and epochs one after another, each bit of the first number is set about as often as not.
        for of in [|i| (1, 1, i), |i| (1, i, 1), |i| (i, 1, 1)] as [fn(u64) -> (u64, u64, u64); 3] {
            let mut set = [0u32; 64];
            for (seed, epoch, row) in (0..4096).map(of) {
                let bits = RowRng::new(seed, epoch, row).bits();
                set.iter_mut().enumerate().for_each(|(i, count)| *count += (bits >> i & 1) as u32);
            }
            // Five standard deviations of 4096 tosses are 160.
            assert!(set.iter().all(|&count| count.abs_diff(2048) < 160), "{set:?}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let mut rng = RowRng::new(7, 0, 0);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] = true;
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert_eq!(seen, [true; 5]);
        assert!(!rng.chance(0.0) && rng.chance(1.0));
        assert_eq!(rng.below(0), 0);
    }
}
