//! Keys of a dictionary, and levels: integers in runs and in packed groups, 32 of them at a time.
//!
//! How they lie is drawn in [`bits`](super::super::bits).
#![forbid(unsafe_code)]

use super::super::bits::varint;

/// Keys unpacked at a time.
pub(super) const BLOCK: usize = 32;

/// Some integers in a row.
pub(super) enum Run<'a> {
    Same {
        value: u32,
        count: usize,
    },
    /// As many packed one after another.
    Packed {
        bytes: &'a [u8],
        count: usize,
    },
}

/// The runs of `left` integers of `width` bits. They end early where the bytes contradict themselves, with some left.
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    width: usize,
    pub(super) left: usize,
}

impl<'a> Runs<'a> {
    /// `None` for a width that no key has.
    pub(super) fn new(bytes: &'a [u8], width: u8, count: usize) -> Option<Self> {
        (width <= 32).then_some(Runs { bytes, width: width.into(), left: count })
    }

    /// The keys of a page, whose first byte is their width.
    pub(super) fn of_keys(page: &'a [u8], count: usize) -> Option<Self> {
        if count == 0 {
            // A page of nothing but nulls may leave out everything.
            return Runs::new(&[], 0, 0);
        }
        let (&width, bytes) = page.split_first()?;
        Runs::new(bytes, width, count)
    }

    /// Bits of an integer.
    pub(super) fn width(&self) -> usize {
        self.width
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        if self.left == 0 {
            return None;
        }
        let (head, len) = varint(self.bytes)?;
        let rest = &self.bytes[len..];
        // Readers do not agree on what follows a run of nothing.
        let count = usize::try_from(head >> 1).ok().filter(|&count| count > 0)?;
        if head & 1 == 0 {
            let (value, rest) = rest.split_at_checked(self.width.div_ceil(8))?;
            let mut le = [0; 4];
            le[..value.len()].copy_from_slice(value);
            let count = count.min(self.left);
            (self.bytes, self.left) = (rest, self.left - count);
            return Some(Run::Same { value: u32::from_le_bytes(le), count });
        }
        let packed_bytes = count.checked_mul(self.width)?;
        let count = count.checked_mul(8)?.min(self.left);
        // The last group may be cut short, behind the last integer.
        let (bytes, rest) = rest.split_at(packed_bytes.min(rest.len()));
        if count.checked_mul(self.width)?.div_ceil(8) > bytes.len() {
            return None;
        }
        (self.bytes, self.left) = (rest, self.left - count);
        Some(Run::Packed { bytes, count })
    }
}

/// Shows `count` integers of `width` bits, packed in `bytes`, to `each`, at most 32 at a time. `None` as soon as it says so.
#[inline(always)]
pub(super) fn unpack(
    bytes: &[u8],
    width: usize,
    count: usize,
    mut each: impl FnMut(&[u32]) -> Option<()>,
) -> Option<()> {
    let unpack = UNPACK[width];
    let mut keys = [0; BLOCK];
    let mut left = count;
    let mut bytes = bytes;
    while left > 0 {
        let len = left.min(BLOCK);
        match bytes.split_at_checked(width * BLOCK / 8) {
            Some((block, rest)) => {
                unpack(block, &mut keys);
                bytes = rest;
            }
            None => {
                let mut block = [0; 4 * BLOCK];
                block[..bytes.len()].copy_from_slice(bytes);
                unpack(&block, &mut keys);
                bytes = &[];
            }
        }
        each(&keys[..len])?;
        left -= len;
    }
    Some(())
}

/// Unpacks 32 integers of `WIDTH` bits, which take as many words of 32 bits.
fn unpack_block<const WIDTH: usize>(bytes: &[u8], keys: &mut [u32; BLOCK]) {
    let mut words = [0u32; WIDTH];
    let bytes = &bytes[..4 * WIDTH];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    // Spelled out, so that every shift is known.
    macro_rules! keys {
        ($($i:literal)*) => {$(
            let (word, shift) = ($i * WIDTH / 32, $i * WIDTH % 32);
            let low = if word < WIDTH { words[word] >> shift } else { 0 };
            let high = if shift + WIDTH > 32 { words[word + 1] << (32 - shift) } else { 0 };
            keys[$i] = (low | high) & ((1u64 << WIDTH) - 1) as u32;
        )*};
    }
    keys!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

macro_rules! for_each_width {
    ($($width:literal)*) => { [$(unpack_block::<$width>),*] };
}

/// Unpacks a block of one width.
type Unpack = fn(&[u8], &mut [u32; BLOCK]);

/// For each width.
static UNPACK: [Unpack; 33] = for_each_width!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
);

#[cfg(test)]
mod tests {
    use super::super::super::bits;
    use super::*;
    use proptest::prelude::*;

    /// Every integer, one by one; `None` if they end early.
    fn all(bytes: &[u8], width: u8, count: usize) -> Option<Vec<u64>> {
        let mut found = Vec::new();
        let mut runs = Runs::new(bytes, width, count)?;
        for run in &mut runs {
            match run {
                Run::Same { value, count } => found.extend(std::iter::repeat_n(u64::from(value), count)),
                Run::Packed { bytes, count } => unpack(bytes, width.into(), count, |keys| {
                    found.extend(keys.iter().map(|&key| u64::from(key)));
                    Some(())
                })
                .unwrap(),
            }
        }
        (runs.left == 0).then_some(found)
    }

    /// The same, as the slow reader has them.
    fn slowly(bytes: &[u8], width: u8, count: usize) -> Option<Vec<u64>> {
        let mut found = Vec::new();
        bits::hybrid(bytes, width.into(), count as u64, |value, count| {
            // The lowest bits of a value's bytes are those that count.
            found.extend(std::iter::repeat_n(value, count as usize));
            Some(())
        })?;
        (found.len() == count).then_some(found)
    }

    /// Runs and groups of `keys`, cut as `cuts` say.
    fn packed(keys: &[u32], cuts: &[bool], width: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let varint = |bytes: &mut Vec<u8>, mut value: usize| {
            while value >= 128 {
                bytes.push(value as u8 | 128);
                value >>= 7;
            }
            bytes.push(value as u8);
        };
        let mut rest = keys;
        for &in_groups in cuts.iter().cycle() {
            if rest.is_empty() {
                return bytes;
            }
            if in_groups {
                let (group, after) = rest.split_at(rest.len().min(120));
                varint(&mut bytes, group.len().div_ceil(8) << 1 | 1);
                let start = bytes.len();
                bytes.resize(start + group.len().div_ceil(8) * width, 0);
                for (i, key) in group.iter().enumerate() {
                    for bit in 0..width {
                        let at = i * width + bit;
                        bytes[start + at / 8] |= ((key >> bit & 1) as u8) << (at % 8);
                    }
                }
                rest = after;
            } else {
                let count = rest.iter().take_while(|&key| *key == rest[0]).count();
                varint(&mut bytes, count << 1);
                bytes.extend(&rest[0].to_le_bytes()[..width.div_ceil(8)]);
                rest = &rest[count..];
            }
        }
        unreachable!("cuts are cycled through")
    }

    proptest! {
        #[test]
        fn keys_of_every_width_are_those_that_were_packed(
            width in 0usize..=32, seeds in prop::collection::vec((any::<u32>(), 1usize..40), 1..20),
            cuts in prop::collection::vec(any::<bool>(), 1..6),
        ) {
            let mask = ((1u64 << width) - 1) as u32;
            let keys: Vec<u32> = seeds.iter().flat_map(|&(seed, times)| {
                (0..times as u32).map(move |i| if times % 2 == 0 { seed } else { seed.wrapping_mul(i + 1) } & mask)
            }).collect();
            // Packed groups of less than a whole number of eights can only be the last.
            let cuts = if cuts.contains(&false) { vec![false] } else { cuts };
            let bytes = packed(&keys, &cuts, width);
            let expected: Vec<_> = keys.iter().map(|&key| u64::from(key)).collect();
            prop_assert_eq!(all(&bytes, width as u8, keys.len()), Some(expected.clone()));
            prop_assert_eq!(slowly(&bytes, width as u8, keys.len()), Some(expected));
            prop_assert_eq!(all(&bytes, width as u8, keys.len() + 200), None);
        }

        #[test]
        fn any_bytes_are_answered_as_the_slow_reader_answers_them(
            bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0u8..=33, count in 0usize..300,
        ) {
            let found = all(&bytes, width, count);
            // In a run, bits above the width are not cut off here: no key of a dictionary is as large.
            let cut = |value: &u64| value & ((1 << width) - 1);
            if let (Some(found), Some(expected)) = (found, slowly(&bytes, width, count)) {
                prop_assert_eq!(found.iter().map(cut).collect::<Vec<_>>(), expected);
            }
        }
    }
}
