//! Where the delimiters of a record without quotes stand, found before its fields are read.
//!
//! Reading a field tells where the next one begins, so that fields read one after another wait for each other. Where the
//! delimiters are known, they do not: the processor reads several fields at a time.
#![forbid(unsafe_code)]

/// Delimiters that are found in one go.
pub(super) const SPLIT: usize = 64;

const BLOCK: usize = 64;

/// The delimiters of a record, from its beginning on.
pub(super) struct Splits<'a> {
    record: &'a [u8],
    delimiter: u8,
    /// The first byte of the block at hand, and a bit for each of its delimiters that were not given out.
    base: usize,
    mask: u64,
    /// The first byte of the block after it.
    next: usize,
}

impl<'a> Splits<'a> {
    /// The delimiters of `record`, which has no line end.
    pub(super) fn new(record: &'a [u8], delimiter: u8) -> Self {
        Splits { record, delimiter, base: 0, mask: 0, next: 0 }
    }

    /// The places of the delimiters that follow, and how many they are: fewer than [`SPLIT`] only at the end.
    #[inline]
    pub(super) fn fill(&mut self, places: &mut [u32; SPLIT]) -> usize {
        let mut found = 0;
        loop {
            while self.mask != 0 {
                if found == SPLIT {
                    return found;
                }
                places[found] = self.base as u32 + self.mask.trailing_zeros();
                self.mask &= self.mask - 1;
                found += 1;
            }
            let Some(rest) = self.record.get(self.next..).filter(|rest| !rest.is_empty()) else {
                return found;
            };
            self.base = self.next;
            self.next += BLOCK;
            self.mask = match rest.first_chunk() {
                Some(block) => equal(block, self.delimiter),
                None => {
                    // No delimiter is NUL.
                    let mut block = [0; BLOCK];
                    block[..rest.len()].copy_from_slice(rest);
                    equal(&block, self.delimiter)
                }
            };
        }
    }
}

/// A bit for each byte of `block` that is `byte`, the first one lowest.
#[inline(always)]
fn equal(block: &[u8; BLOCK], byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW_BITS: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let words = block.as_chunks::<8>().0.iter().enumerate();
    words.fold(0, |mask, (i, word)| {
        let differs = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        // The high bit of each byte that is zero, and no other.
        let zeros = !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS);
        // The eight bits are brought together in the highest byte.
        mask | ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(record: &[u8]) -> Vec<usize> {
        let (mut splits, mut places, mut all) = (Splits::new(record, b','), [0; SPLIT], Vec::new());
        loop {
            let found = splits.fill(&mut places);
            all.extend(places[..found].iter().map(|&place| place as usize));
            if found < SPLIT {
                return all;
            }
        }
    }

    proptest! {
        #[test]
        fn every_delimiter_is_found(record in prop::collection::vec(prop_oneof![Just(b','), Just(b'-'), any::<u8>()], 0..700)) {
            let expected: Vec<_> = (0..record.len()).filter(|&i| record[i] == b',').collect();
            prop_assert_eq!(all(&record), expected);
        }
    }

    #[test]
    fn a_record_of_nothing_else_is_split_everywhere() {
        for len in 0..300 {
            assert_eq!(all(&vec![b','; len]), (0..len).collect::<Vec<_>>());
        }
    }
}
