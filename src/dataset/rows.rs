//! Which rows of a table a dataset has, and in which order: `take`, `subset`, `split` and `concat` are
//! mappings laid over one another, never copies.
#![forbid(unsafe_code)]

use std::hash::Hasher;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::sampler::Permutation;

/// A mapping from the rows of a dataset to those of a table.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// Every row, as it comes.
    All { len: u64 },
    /// `len` rows from `start`.
    Range { of: Arc<Rows>, start: u64, len: u64 },
    /// Rows `start..start + len` of a permutation.
    Permuted { of: Arc<Rows>, permutation: Permutation, key: u64, start: u64, len: u64 },
    /// The rows listed.
    List { of: Arc<Rows>, list: Arc<[u64]> },
    /// Some rows, in their order.
    Kept { of: Arc<Rows>, kept: Kept },
    /// The rows of one mapping after those of another; the second's are rows from `second_base` of the table.
    Concat { first: Arc<Rows>, second: Arc<Rows>, second_base: u64 },
}

impl Rows {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Rows::All { len } | Rows::Range { len, .. } | Rows::Permuted { len, .. } => *len,
            Rows::List { list, .. } => list.len() as u64,
            Rows::Kept { kept, .. } => kept.len(),
            Rows::Concat { first, second, .. } => first.len() + second.len(),
        }
    }

    /// Whether rows come in the order in which they lie in the table.
    pub(crate) fn is_ascending(&self) -> bool {
        match self {
            Rows::All { .. } => true,
            Rows::Range { of, .. } | Rows::Kept { of, .. } => of.is_ascending(),
            Rows::Permuted { .. } | Rows::List { .. } => false,
            // The second's rows all lie behind the first's.
            Rows::Concat { first, second, .. } => first.is_ascending() && second.is_ascending(),
        }
    }

    /// Replaces each row of the dataset, all below [`len`](Rows::len), by its row of the table.
    pub(crate) fn map(&self, rows: &mut [u64]) {
        match self {
            Rows::All { .. } => {}
            Rows::Range { of, start, .. } => {
                if *start > 0 {
                    rows.iter_mut().for_each(|row| *row += start);
                }
                of.map(rows);
            }
            Rows::Permuted { of, permutation, start, .. } => {
                rows.iter_mut().for_each(|row| *row = permutation.get(start + *row));
                of.map(rows);
            }
            Rows::List { of, list } => {
                rows.iter_mut().for_each(|row| *row = list[*row as usize]);
                of.map(rows);
            }
            Rows::Kept { of, kept } => {
                rows.iter_mut().for_each(|row| *row = kept.get(*row));
                of.map(rows);
            }
            Rows::Concat { first, second, second_base } => {
                let len = first.len();
                for row in rows {
                    if *row < len {
                        first.map(std::slice::from_mut(row));
                    } else {
                        *row -= len;
                        second.map(std::slice::from_mut(row));
                        *row += second_base;
                    }
                }
            }
        }
    }

    /// Feeds what distinguishes this mapping to `hasher`.
    pub(crate) fn fingerprint(&self, hasher: &mut Xxh3) {
        let mut words = |words: &[u64]| words.iter().for_each(|word| hasher.write_u64(*word));
        match self {
            Rows::All { len } => words(&[0, *len]),
            Rows::Range { of, start, len } => {
                words(&[1, *start, *len]);
                of.fingerprint(hasher);
            }
            Rows::Permuted { of, key, start, len, .. } => {
                words(&[2, *key, *start, *len]);
                of.fingerprint(hasher);
            }
            Rows::List { of, list } => {
                words(&[3, list.len() as u64]);
                words(list);
                of.fingerprint(hasher);
            }
            Rows::Kept { of, kept } => {
                words(&[5, kept.len(), kept.hash]);
                of.fingerprint(hasher);
            }
            Rows::Concat { first, second, second_base } => {
                words(&[4, *second_base]);
                first.fingerprint(hasher);
                second.fingerprint(hasher);
            }
        }
    }
}

/// Rows in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    numbers: Numbers,
    /// Of the rows: what tells them from others.
    hash: u64,
}

/// Numbers in four bytes each where they fit.
#[derive(Clone, Debug)]
enum Numbers {
    Narrow(Arc<[u32]>),
    Wide(Arc<[u64]>),
}

impl Kept {
    /// `rows`, all of which are below `len`.
    pub(super) fn new(len: u64, rows: impl Iterator<Item = u64>) -> Self {
        let mut hasher = Xxh3::new();
        let rows = rows.inspect(|row| hasher.write_u64(*row));
        let numbers = if u32::try_from(len).is_ok() {
            Numbers::Narrow(rows.map(|row| row as u32).collect())
        } else {
            Numbers::Wide(rows.collect())
        };
        Kept { numbers, hash: hasher.digest() }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.numbers {
            Numbers::Narrow(numbers) => numbers.len() as u64,
            Numbers::Wide(numbers) => numbers.len() as u64,
        }
    }

    #[inline]
    fn get(&self, row: u64) -> u64 {
        match &self.numbers {
            Numbers::Narrow(numbers) => numbers[row as usize].into(),
            Numbers::Wide(numbers) => numbers[row as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(rows: &Rows) -> Vec<u64> {
        let mut all: Vec<_> = (0..rows.len()).collect();
        rows.map(&mut all);
        all
    }

    #[test]
    fn mappings_compose() {
        let all = Arc::new(Rows::All { len: 10 });
        let range = Arc::new(Rows::Range { of: all.clone(), start: 2, len: 6 });
        assert_eq!(mapped(&range), [2, 3, 4, 5, 6, 7]);
        let list = Arc::new(Rows::List { of: range.clone(), list: [5, 0, 0].into() });
        assert_eq!(mapped(&list), [7, 2, 2]);
        let both = Rows::Concat { first: list, second: range, second_base: 100 };
        assert_eq!(mapped(&both), [7, 2, 2, 102, 103, 104, 105, 106, 107]);
    }

    #[test]
    fn ascending_mappings_ascend() {
        let all = Arc::new(Rows::All { len: 10 });
        let range = Arc::new(Rows::Range { of: all.clone(), start: 2, len: 6 });
        let list = Arc::new(Rows::List { of: all.clone(), list: [3, 1].into() });
        let both = |second: &Arc<Rows>| Rows::Concat {
            first: range.clone(),
            second: second.clone(),
            second_base: 10,
        };
        let kept = |len| Rows::Kept { of: range.clone(), kept: Kept::new(len, [1, 2, 5].into_iter()) };
        assert_eq!(mapped(&kept(6)), [3, 4, 7]);
        assert_eq!(mapped(&kept(1 << 32)), mapped(&kept(6)), "in eight bytes each");
        for rows in [&*all, &*range, &both(&range), &kept(6)] {
            assert!(rows.is_ascending() && mapped(rows).is_sorted());
        }
        assert!(!list.is_ascending() && !both(&list).is_ascending());
    }

    #[test]
    fn different_mappings_have_different_fingerprints() {
        let print = |rows: &Rows| {
            let mut hasher = Xxh3::new();
            rows.fingerprint(&mut hasher);
            hasher.digest()
        };
        let all = Arc::new(Rows::All { len: 10 });
        let range = |start, len| Rows::Range { of: all.clone(), start, len };
        assert_ne!(print(&all), print(&range(0, 10)));
        assert_ne!(print(&range(1, 4)), print(&range(4, 1)));
        assert_eq!(print(&range(1, 4)), print(&range(1, 4)));
        let kept = |rows: [u64; 2], len| {
            print(&Rows::Kept { of: all.clone(), kept: Kept::new(len, rows.into_iter()) })
        };
        assert_ne!(kept([1, 2], 10), kept([1, 3], 10));
        assert_eq!(kept([1, 3], 10), kept([1, 3], 1 << 32), "whatever they are kept in");
    }
}
