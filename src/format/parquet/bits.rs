//! Integers as Parquet packs them: varints, runs of bits, and what may be counted without decoding them.
//!
//! ```text
//! hybrid    (length of the run << 1)      varint; then the value, in whole bytes
//!           (groups of 8 << 1 | 1)        varint; then 8 values a group, `width` bits each
//! delta     values a block, miniblocks a block, values in all, first value     varints; the last is zigzag
//!           block …
//! block     least delta (zigzag varint), width of each miniblock (1 byte each), miniblocks: deltas above the least
//! ```
//!
//! Bits count from the least significant one up. Source: [Parquet
//! encodings](https://parquet.apache.org/docs/file-format/data-pages/encodings/).
#![forbid(unsafe_code)]

/// A varint at the front of `bytes`, and how many bytes it takes; `None` if it is cut or exceeds 64 bits.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        let low = u64::from(byte & 0x7F);
        if i == 9 && low > 1 {
            return None;
        }
        value |= low << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// The `width` bits from bit `at` on, at most 64; bits past the end are clear.
fn bits(bytes: &[u8], at: u64, width: u32) -> u64 {
    let mut window = [0u8; 16];
    let rest = bytes.get((at / 8) as usize..).unwrap_or_default();
    let len = rest.len().min(16);
    window[..len].copy_from_slice(&rest[..len]);
    let value = u128::from_le_bytes(window) >> (at % 8);
    (value & ((1u128 << width) - 1)) as u64
}

/// A cursor over bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn varint(&mut self) -> Option<u64> {
        let (value, len) = varint(self.0)?;
        self.0 = &self.0[len..];
        Some(value)
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Shows each run of equal values of a hybrid of `width` bits to `each` as (value, how often), until `most` values were
/// shown or the bytes end. `None` if the bytes contradict themselves.
pub(super) fn hybrid(
    bytes: &[u8],
    width: u32,
    most: u64,
    mut each: impl FnMut(u64, u64) -> Option<()>,
) -> Option<()> {
    let mut cursor = Cursor(bytes);
    let mut left = most;
    while left > 0 && !cursor.0.is_empty() {
        let head = cursor.varint()?;
        let count = head >> 1;
        if head & 1 == 0 {
            let value = bits(cursor.take(u64::from(width.div_ceil(8)))?, 0, width);
            each(value, count.min(left))?;
            left -= count.min(left);
        } else {
            // The last group may be cut short.
            let packed = count.checked_mul(u64::from(width))?.min(cursor.0.len() as u64);
            let packed = cursor.take(packed)?;
            let count = count.checked_mul(8)?.min(left);
            for i in 0..count {
                each(bits(packed, i * u64::from(width), width), 1)?;
            }
            left -= count;
        }
    }
    Some(())
}

/// How many values a delta-packed run at the front of `bytes` says it has.
pub(super) fn delta_count(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(bytes);
    cursor.varint()?;
    cursor.varint()?;
    cursor.varint()
}

/// The sum of the lengths in a delta-packed run at the front of `bytes`, which has at most `most` values, and the bytes
/// behind the run. `None` if the bytes contradict themselves or a length is negative.
pub(super) fn delta_sum(bytes: &[u8], most: u64) -> Option<(u64, &[u8])> {
    let mut cursor = Cursor(bytes);
    let (block, miniblocks, count) = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
    let mut value = cursor.zigzag()?;
    let per_miniblock = block.checked_div(miniblocks)?;
    if count > most || per_miniblock == 0 || !per_miniblock.is_multiple_of(8) {
        return None;
    }
    let mut sum = 0u64;
    let mut left = count;
    if left > 0 {
        sum = u64::try_from(value).ok()?;
        left -= 1;
    }
    while left > 0 {
        let least = cursor.zigzag()?;
        for &width in cursor.take(miniblocks)? {
            if left == 0 {
                break;
            }
            let packed = (per_miniblock / 8).checked_mul(u64::from(width))?.min(cursor.0.len() as u64);
            let packed = cursor.take(packed)?;
            if width > 64 {
                return None;
            }
            for i in 0..per_miniblock.min(left) {
                let delta = bits(packed, i.checked_mul(u64::from(width))?, u32::from(width));
                value = value.wrapping_add(least).wrapping_add(delta as i64);
                sum = sum.saturating_add(u64::try_from(value).ok().filter(|&n| n <= i32::MAX as u64)?);
            }
            left -= per_miniblock.min(left);
        }
    }
    Some((sum, cursor.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varints_end_where_they_say() {
        assert_eq!(varint(&[0x00, 0xFF]), Some((0, 1)));
        assert_eq!(varint(&[0xE5, 0x8E, 0x26]), Some((624_485, 3)));
        assert_eq!(varint(&[0xFF; 9]), None);
        let mut most = [0xFF; 10];
        most[9] = 1;
        assert_eq!(varint(&most), Some((u64::MAX, 10)));
        most[9] = 2;
        assert_eq!(varint(&most), None);
    }

    /// Every value of a hybrid, one by one.
    fn values(bytes: &[u8], width: u32, most: u64) -> Option<Vec<u64>> {
        let mut values = Vec::new();
        hybrid(bytes, width, most, |value, count| {
            values.extend((0..count).map(|_| value));
            Some(())
        })?;
        Some(values)
    }

    #[test]
    fn a_hybrid_is_runs_and_groups() {
        // The example of the specification: 0 to 7 in 3 bits each.
        let packed = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(values(&packed, 3, 8), Some((0..8).collect()));
        let both = [&[10, 7][..], &packed].concat();
        assert_eq!(values(&both, 3, 100), Some([7; 5].into_iter().chain(0..8).collect()));
        assert_eq!(values(&both, 3, 6), Some(vec![7, 7, 7, 7, 7, 0]));
        assert_eq!(values(&[10], 3, 6), None);
    }

    #[test]
    fn deltas_add_up() {
        // Values 7 5 3 1 2 3 4 5, as in the specification: the least delta is −2, the deltas above it 0 0 0 3 3 3 3.
        let mut bytes = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        let mut packed = [0u8; 8];
        for (i, delta) in [0u8, 0, 0, 3, 3, 3, 3].into_iter().enumerate() {
            packed[i / 4] |= delta << (2 * (i % 4));
        }
        bytes.extend(packed);
        bytes.extend(b"rest");
        assert_eq!(delta_count(&bytes), Some(8));
        assert_eq!(delta_sum(&bytes, 8), Some((30, &b"rest"[..])));
        assert_eq!(delta_sum(&bytes, 7), None, "more values than the page has");
        bytes[4] = 1;
        assert_eq!(delta_sum(&bytes, 8), None, "a negative length");
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0u32..=64, most in 0u64..1000,
        ) {
            let _ = (varint(&bytes), values(&bytes, width, most), delta_count(&bytes), delta_sum(&bytes, most));
        }
    }
}
