//! Which rows are values: levels of one bit, gathered page by page.
#![forbid(unsafe_code)]

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;

use super::keys::{Run, Runs};
use super::{Fault, Flat};

pub(super) struct Levels {
    /// A bit for each row so far; none while every row is a value.
    bits: Option<BooleanBufferBuilder>,
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
    pub(super) fn bits(&self) -> &[u8] {
        self.bits.as_ref().map_or(&[], |bits| bits.as_slice())
    }

    /// Takes `rows` rows that are values; how many values that is.
    pub(super) fn all(&mut self, rows: usize) -> usize {
        if let Some(bits) = &mut self.bits {
            bits.append_n(rows, true);
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
                    self.with_bits().append_n(count, false);
                    self.num_rows += count;
                    0
                }
                Run::Same { .. } => return Err(Fault::Contradiction),
                Run::Packed { bytes, count } => {
                    let num_values = append(self.with_bits(), bytes, count);
                    self.num_rows += count;
                    num_values
                }
            };
        }
        if runs.left == 0 { Ok(num_values) } else { Err(Fault::Contradiction) }
    }

    fn with_bits(&mut self) -> &mut BooleanBufferBuilder {
        let (before, all) = (self.num_rows, self.all_rows);
        self.bits.get_or_insert_with(|| {
            // What the row group claims to have is made room for only so far as rows have come.
            let mut bits = BooleanBufferBuilder::new(all.min(before.max(1 << 20)));
            bits.append_n(before, true);
            bits
        })
    }

    /// The bits of all rows, if one is null.
    pub(super) fn finish(self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.bits?.build());
        (nulls.null_count() > 0).then_some(nulls)
    }
}

/// Appends the first `count` bits of `packed`; how many of them are set. Runs of a few bits are what levels are made of.
fn append(bits: &mut BooleanBufferBuilder, packed: &[u8], count: usize) -> usize {
    let mut num_set = 0;
    for (i, bytes) in packed[..count.div_ceil(8)].chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let len = (count - i * 64).min(64);
        let word = u64::from_le_bytes(word) & (u64::MAX >> (64 - len));
        bits.append_word(word, len);
        num_set += word.count_ones() as usize;
    }
    num_set
}
