//! What the values of a page may take once decoded, found out before anything is decoded.
//!
//! Most encodings are bounded by the bytes they take or by the number of values times their width. Three are not, and
//! of those the lengths are read here:
//!
//! | encoding | what it can claim |
//! |---|---|
//! | dictionary keys of text | any value of the dictionary, any number of times |
//! | delta lengths | any number of values, which the decoder makes room for |
//! | delta byte arrays | values that begin like the value before them: a page of n bytes can stand for n² |
#![forbid(unsafe_code)]

use parquet::basic::{Encoding, Type};

use super::bits;

/// One leaf of the schema: a column of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) physical: Type,
    /// Bytes of a value in memory, levels included; without the bytes of text.
    pub(super) width_bytes: u64,
    /// Bytes of a value as it is stored plainly; at least 4 for text, whose length precedes it.
    pub(super) stored_width_bytes: u64,
    pub(super) max_def: i16,
    pub(super) max_rep: i16,
}

impl Leaf {
    /// Whether the values differ in length.
    pub(super) fn is_text(&self) -> bool {
        self.physical == Type::BYTE_ARRAY
    }
}

/// The values of a dictionary, as far as their lengths go.
pub(super) struct Lengths {
    longest: u32,
    /// Each of them, where it matters.
    lengths: Vec<u32>,
}

impl Lengths {
    /// The lengths of the `count` values in `bytes`, plainly encoded text; of each of them only if `num_values` of the
    /// longest would exceed `most_bytes`. `None` if they do not lie within.
    pub(super) fn of(bytes: &[u8], count: u32, num_values: u64, most_bytes: u64) -> Option<Self> {
        let mut longest = 0;
        each_length(bytes, count, |len| longest = longest.max(len))?;
        let mut found = Lengths { longest, lengths: Vec::new() };
        if found.most(num_values) > most_bytes {
            // Each takes four bytes, so there is no room for more.
            found.lengths.reserve((count as usize).min(bytes.len() / 4));
            each_length(bytes, count, |len| found.lengths.push(len))?;
        }
        Some(found)
    }

    /// Bytes that `num_values` of the values cannot exceed.
    pub(super) fn most(&self, num_values: u64) -> u64 {
        num_values.saturating_mul(self.longest.into())
    }

    /// Bytes of the values that the `num_values` keys in `bytes` stand for; of those that exist.
    fn sum(&self, bytes: &[u8], num_values: u64) -> Option<u64> {
        let (&width, keys) = bytes.split_first()?;
        let mut sum = 0u64;
        bits::hybrid(keys, width.into(), num_values, |key, count| {
            let len = usize::try_from(key).ok().and_then(|key| self.lengths.get(key)).copied().unwrap_or(0);
            sum = sum.saturating_add(count.saturating_mul(len.into()));
            Some(())
        })?;
        Some(sum)
    }
}

/// Shows the length of each of the `count` values in `bytes`; `None` if they do not lie within.
fn each_length(bytes: &[u8], count: u32, mut each: impl FnMut(u32)) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len);
        rest = after.get(usize::try_from(len).ok()?..)?;
        each(len);
    }
    Some(())
}

/// The Julian day of 1970-01-01.
const EPOCH_DAY: i32 = 2_440_588;

/// Timestamps of 96 bits are nanoseconds of a day and a Julian day. Readers differ in what a day past 2³¹ is: here, as in
/// the C++ reader, a day of the far future, not of the far past; either way the nanoseconds since 1970 wrap around. The
/// values from byte `start` of a page on are put so that the decoder, which takes days to be signed, arrives at that.
pub(super) fn with_unsigned_days(page: &[u8], start: usize) -> Option<Vec<u8>> {
    let day = |value: &[u8]| i32::from_le_bytes([value[8], value[9], value[10], value[11]]);
    page[start..].chunks_exact(12).any(|value| day(value) < 0).then(|| {
        let mut page = page.to_vec();
        for value in page[start..].chunks_exact_mut(12).filter(|value| day(value) < 0) {
            let nanos = i64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
            let days = i64::from(day(value) as u32) - i64::from(EPOCH_DAY);
            let since_epoch = days.wrapping_mul(86_400_000_000_000).wrapping_add(nanos);
            value[..8].copy_from_slice(&since_epoch.to_le_bytes());
            value[8..].copy_from_slice(&EPOCH_DAY.to_le_bytes());
        }
        page
    })
}

/// The part of a data page behind its levels. `None` if they do not lie within it.
pub(super) fn behind_levels<'a>(
    mut page: &'a [u8],
    num_values: u32,
    leaf: &Leaf,
    [rep_encoding, def_encoding]: [Encoding; 2],
) -> Option<&'a [u8]> {
    for (max, encoding) in [(leaf.max_rep, rep_encoding), (leaf.max_def, def_encoding)] {
        if max > 0 {
            let width = u64::from(16 - (max as u16).leading_zeros());
            let packed = (u64::from(num_values) * width).div_ceil(8);
            page = match encoding {
                Encoding::RLE => {
                    let (len, rest) = page.split_first_chunk::<4>()?;
                    rest.get(usize::try_from(u32::from_le_bytes(*len)).ok()?..)?
                }
                // The older packing has no length.
                _ => page.get(usize::try_from(packed).ok()?..)?,
            };
        }
    }
    Some(page)
}

/// Bytes of text that the `num_values` values in `bytes`, the part of a page behind its levels, decode to; zero for
/// values of one width. `None` if they contradict the page.
///
/// The keys of `dictionary` are only counted if `count_keys` says so.
pub(super) fn text_bytes(
    bytes: &[u8],
    num_values: u32,
    encoding: Encoding,
    leaf: &Leaf,
    dictionary: Option<&Lengths>,
    count_keys: bool,
) -> Option<u64> {
    let most = u64::from(num_values);
    match encoding {
        // A page without values may leave out everything.
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY if !bytes.is_empty() => {
            bits::delta_count(bytes).filter(|&count| count <= most)?;
            Some(if leaf.is_text() { bytes.len() as u64 } else { 0 })
        }
        Encoding::DELTA_BYTE_ARRAY if !bytes.is_empty() => {
            let (prefixes, rest) = bits::delta_sum(bytes, most)?;
            let (suffixes, _) = bits::delta_sum(rest, most)?;
            Some(prefixes.saturating_add(suffixes))
        }
        Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => match dictionary {
            Some(dictionary) if count_keys && !bytes.is_empty() => dictionary.sum(bytes, most),
            _ => Some(0),
        },
        _ => Some(if leaf.is_text() { bytes.len() as u64 } else { 0 }),
    }
}
