//! Which rows are values: levels of one bit, gathered page by page.
#![forbid(unsafe_code)]

use std::ops::Range;

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

use super::keys::{Run, Runs};
use super::{Fault, Flat};

/// Bits one after another, 64 a word, the first of them lowest. Those behind the last are clear.
#[derive(Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Whether bit `index` is set.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Shows the bits in `range` from the last to the first to `each`, with their places in it.
    #[inline(always)]
    pub(super) fn each_back(&self, range: Range<usize>, mut each: impl FnMut(usize, bool)) {
        let mut left = range.len();
        while left > 0 {
            let last = range.start + left - 1;
            let word = self.words[last / 64] << (63 - last % 64);
            let len = (last % 64 + 1).min(left);
            for i in 0..len {
                each(left - 1 - i, word << i >> 63 == 1);
            }
            left -= len;
        }
    }

    /// Appends the lowest `len` bits of `word`, from 1 to 64; those above them are clear.
    #[inline(always)]
    fn append(&mut self, word: u64, len: usize) {
        let offset = self.len % 64;
        match self.words.last_mut().filter(|_| offset > 0) {
            Some(last) => {
                *last |= word << offset;
                if offset + len > 64 {
                    self.words.push(word >> (64 - offset));
                }
            }
            None => self.words.push(word),
        }
        self.len += len;
    }

    /// Appends `count` bits that are all set, or all clear.
    fn append_same(&mut self, value: bool, count: usize) {
        let word = if value { u64::MAX } else { 0 };
        let mut left = count;
        while left > 0 {
            let len = left.min(64);
            self.append(word >> (64 - len), len);
            left -= len;
        }
    }

    /// Appends the first `count` bits of `packed`; how many of them are set.
    fn append_packed(&mut self, packed: &[u8], count: usize) -> usize {
        let (mut left, mut num_set) = (count, 0);
        for bytes in packed[..count.div_ceil(8)].chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            let len = left.min(64);
            let word = u64::from_le_bytes(word) & (u64::MAX >> (64 - len));
            self.append(word, len);
            num_set += word.count_ones() as usize;
            left -= len;
        }
        num_set
    }
}

pub(super) struct Levels {
    /// A bit for each row so far; none while every row is a value.
    bits: Option<Bits>,
    num_rows: usize,
    all_rows: usize,
}

impl Levels {
    pub(super) fn new(flat: &Flat<'_>) -> Self {
        Levels { bits: None, num_rows: 0, all_rows: flat.num_rows }
    }

    /// Rows so far.
    pub(super) fn len(&self) -> usize {
        self.num_rows
    }

    /// A bit for each row so far, once one was null.
    pub(super) fn bits(&self) -> Option<&Bits> {
        self.bits.as_ref()
    }

    /// Takes `rows` rows that are values; how many values that is.
    pub(super) fn all(&mut self, rows: usize) -> usize {
        if let Some(bits) = &mut self.bits {
            bits.append_same(true, rows);
        }
        self.num_rows += rows;
        rows
    }

    /// Takes `rows` rows whose levels lie in `packed`; how many of them are values.
    pub(super) fn read(&mut self, packed: &[u8], rows: usize) -> Result<usize, Fault> {
        let mut runs = Runs::new(packed, 1, rows).expect("a bit is a width");
        let mut num_values = 0;
        for run in &mut runs {
            num_values += match run {
                Run::Same { value: 1, count } => self.all(count),
                Run::Same { value: 0, count } => {
                    self.with_bits().append_same(false, count);
                    self.num_rows += count;
                    0
                }
                Run::Same { .. } => return Err(Fault::Contradiction),
                Run::Packed { bytes, count } => {
                    let num_values = self.with_bits().append_packed(bytes, count);
                    self.num_rows += count;
                    num_values
                }
            };
        }
        if runs.left == 0 { Ok(num_values) } else { Err(Fault::Contradiction) }
    }

    #[inline(always)]
    fn with_bits(&mut self) -> &mut Bits {
        let (before, all) = (self.num_rows, self.all_rows);
        self.bits.get_or_insert_with(|| {
            // What the row group claims to have is made room for only so far as rows have come.
            let mut bits = Bits::default();
            bits.words.reserve(all.min(before.max(1 << 20)).div_ceil(64));
            bits.append_same(true, before);
            bits
        })
    }

    /// The bits of all rows, if one is null.
    pub(super) fn finish(self) -> Option<NullBuffer> {
        let Bits { mut words, len } = self.bits?;
        words.iter_mut().for_each(|word| *word = word.to_le());
        let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(words), 0, len));
        (nulls.null_count() > 0).then_some(nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_those_that_were_appended(
            runs in prop::collection::vec((any::<bool>(), any::<bool>(), 1usize..200), 0..30),
        ) {
            let (mut bits, mut expected) = (Bits::default(), Vec::new());
            for (number, (packed, value, count)) in runs.into_iter().enumerate() {
                if packed {
                    let bytes: Vec<u8> = (0..count.div_ceil(8)).map(|i| (i * 37 + number * 101) as u8).collect();
                    let bit = |i: usize| bytes[i / 8] >> (i % 8) & 1 == 1;
                    prop_assert_eq!(bits.append_packed(&bytes, count), (0..count).filter(|&i| bit(i)).count());
                    expected.extend((0..count).map(bit));
                } else {
                    bits.append_same(value, count);
                    expected.extend(std::iter::repeat_n(value, count));
                }
            }
            prop_assert_eq!(bits.len, expected.len());
            prop_assert!((0..bits.len).all(|i| bits.get(i) == expected[i]));
            prop_assert_eq!(bits.words.len(), bits.len.div_ceil(64));
            let range = bits.len / 3..bits.len - bits.len / 5;
            let mut back: Vec<_> = range.clone().rev().map(|i| (i - range.start, expected[i])).collect();
            bits.each_back(range, |i, bit| assert_eq!(back.remove(0), (i, bit)));
            prop_assert!(back.is_empty());
        }
    }
}
