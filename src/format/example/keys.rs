//! From the name of a feature to its number.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::spec::{Feature, FeaturePlace};

/// The features looked for, found by place and name.
///
/// Records mostly have their features in one order, so the name that follows one is guessed before it is looked up.
/// The order is that of the first record decoded. The table is hashed with a key of its own: the names may come from
/// a file, and whoever wrote it should not choose which of them collide.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Box<[(FeaturePlace, Box<[u8]>)]>,
    /// Open addressing; at most half full; `VACANT` or a number.
    table: Box<[u32]>,
    seed: u64,
    /// What follows each feature; the last entry is what comes first.
    followers: OnceLock<Box<[u32]>>,
}

const VACANT: u32 = u32::MAX;

impl Keys {
    /// The names of `features`, which are fewer than 2³¹.
    pub(super) fn new(features: &[Feature]) -> Self {
        let keys: Box<[_]> =
            features.iter().map(|feature| (feature.place, feature.name.as_bytes().into())).collect();
        let mut this = Keys {
            table: vec![VACANT; (2 * keys.len() + 1).next_power_of_two()].into(),
            keys,
            seed: RandomState::new().hash_one(0u64),
            followers: OnceLock::new(),
        };
        for number in 0..this.keys.len() {
            let (place, key) = &this.keys[number];
            let mut slot = this.slot(*place, key);
            while this.table[slot] != VACANT {
                slot = (slot + 1) & (this.table.len() - 1);
            }
            this.table[slot] = number as u32;
        }
        this
    }

    /// The number of the feature `key` in `place`, if there is one; `previous` is the one found before it.
    #[inline]
    pub(super) fn find(&self, place: FeaturePlace, key: &[u8], previous: Option<usize>) -> Option<usize> {
        if let Some(followers) = self.followers.get() {
            let guess = followers[previous.unwrap_or(self.keys.len())] as usize;
            if self.is(guess, place, key) {
                return Some(guess);
            }
        }
        self.look_up(place, key)
    }

    #[inline]
    fn is(&self, number: usize, place: FeaturePlace, key: &[u8]) -> bool {
        matches!(self.keys.get(number), Some((its_place, its_key)) if *its_place == place && **its_key == *key)
    }

    fn look_up(&self, place: FeaturePlace, key: &[u8]) -> Option<usize> {
        let mut slot = self.slot(place, key);
        loop {
            match self.table[slot] {
                VACANT => return None,
                number if self.is(number as usize, place, key) => return Some(number as usize),
                _ => slot = (slot + 1) & (self.table.len() - 1),
            }
        }
    }

    #[inline]
    fn slot(&self, place: FeaturePlace, key: &[u8]) -> usize {
        xxh3_64_with_seed(key, self.seed ^ place as u64) as usize & (self.table.len() - 1)
    }

    /// Takes the order of a record for that of the records to come, unless one was taken already. `order` gives the
    /// numbers of the features found, in the order of the record.
    pub(super) fn learn(&self, order: impl FnOnce() -> Vec<usize>) {
        if self.followers.get().is_some() {
            return;
        }
        self.followers.get_or_init(|| {
            let mut followers = vec![VACANT; self.keys.len() + 1];
            let mut previous = self.keys.len();
            for number in order() {
                followers[previous] = number as u32;
                previous = number;
            }
            followers.into()
        });
    }
}
