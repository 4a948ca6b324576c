//! From the digits of a cell to its value.
//!
//! A number is read in one pass, eight digits at a time, without knowing where its field ends: what stands
//! behind the digits must then be the end of the field. The value is `mantissa × 10^exponent`, and where the
//! mantissa is at most 2⁵³ and the exponent between −22 and 22, both factors are exact as `f64` and one
//! rounding remains ([Clinger's fast path]). An `f32` is that `f64` rounded once more, which gives the nearest `f32` unless
//! the `f64` lies exactly between two of them: rounding is monotone, so only there may the first rounding have
//! hidden on which side the decimal lies. Everything else goes through the `fast-float2` crate.
//!
//! Digits are turned into a number by the multiplications of [Lemire].
//!
//! [Clinger's fast path]: https://dl.acm.org/doi/10.1145/93542.93557
//! [Lemire]: https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

/// Powers of ten that an `f64` holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// 10^n, for a run of up to eight digits.
const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The largest number of digits of which a `u64` holds every value.
const MOST_DIGITS: usize = 19;

/// A type that the decoder reads numbers of.
pub(super) trait Number: Copy {
    /// The bytes of one value.
    const BYTES: usize;

    /// The value at byte `at`, the byte behind it, and what stands there (0 at the end of `bytes`). `None` where
    /// none begins, or one that is not read this way: [`parse`](Self::parse) decides.
    fn read(bytes: &[u8], at: usize) -> Option<(Self, usize, u8)>;

    /// The value that all of `bytes` say.
    fn parse(bytes: &[u8]) -> Option<Self>;

    /// Writes the value over `out`, native-endian.
    fn put(self, out: &mut [u8]);
}

macro_rules! float {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            #[inline(always)]
            fn read(bytes: &[u8], at: usize) -> Option<(Self, usize, u8)> {
                let decimal = match Decimal::read_short(bytes, at) {
                    Some(decimal) => decimal,
                    None => Decimal::read(bytes, at)?,
                };
                let value = match <$type as Float>::of(decimal) {
                    Some(value) => value,
                    None => Self::parse(&bytes[at..decimal.end])?,
                };
                Some((value, decimal.end, decimal.next))
            }

            #[inline(never)]
            fn parse(bytes: &[u8]) -> Option<Self> {
                fast_float2::parse(bytes).ok()
            }

            #[inline(always)]
            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_ne_bytes());
            }
        }
    )*};
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            #[inline(always)]
            fn read(bytes: &[u8], at: usize) -> Option<(Self, usize, u8)> {
                let (negative, magnitude, end, next) = integer(bytes, at)?;
                // The magnitude of the least value is one more than the greatest.
                let signed = if negative { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
                Some((signed?.try_into().ok()?, end, next))
            }

            #[inline(never)]
            fn parse(bytes: &[u8]) -> Option<Self> {
                str::from_utf8(bytes).ok()?.parse().ok()
            }

            #[inline(always)]
            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_ne_bytes());
            }
        }
    )*};
}

float!(f32, f64);
integer!(i32, i64);

/// The truth value that all of `bytes` say.
pub(super) fn truth(bytes: &[u8]) -> Option<bool> {
    match bytes {
        b"1" => Some(true),
        b"0" => Some(false),
        word if word.eq_ignore_ascii_case(b"true") => Some(true),
        word if word.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// A decimal number as it was read: `mantissa × 10^exponent`, up to byte `end`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    negative: bool,
    /// Of no meaning where `num_digits` is more than a `u64` holds.
    mantissa: u64,
    num_digits: usize,
    exponent: i64,
    end: usize,
    /// What stands there, 0 at the end of the bytes.
    next: u8,
}

impl Decimal {
    /// Reads `[-] digits . digits` of no more than eight bytes behind the sign, at once; `None` for anything else.
    #[inline(always)]
    fn read_short(bytes: &[u8], at: usize) -> Option<Decimal> {
        let negative = bytes.get(at) == Some(&b'-');
        let start = at + usize::from(negative);
        let word = load(bytes, start);
        let values = word ^ ZEROS;
        let others = no_digits(values);
        let point = others.trailing_zeros() & !7;
        if word.checked_shr(point)? as u8 != b'.' {
            return None;
        }
        // What follows a point is told exactly: nothing spills from it.
        let end = (others & others.wrapping_sub(1)).trailing_zeros() & !7;
        let next = match word.checked_shr(end) {
            Some(rest) => rest as u8,
            None => bytes.get(start + 8).copied().unwrap_or(0),
        };
        let num_bits = end - 8;
        if num_bits == 0 || next.is_ascii_digit() || next | 0x20 == b'e' {
            return None;
        }
        let before = (1 << point) - 1;
        let without_point = (values & before) | (values >> 8 & !before);
        Some(Decimal {
            negative,
            mantissa: eight_digits(without_point << (64 - num_bits)),
            num_digits: num_bits as usize / 8,
            exponent: -i64::from((num_bits - point) / 8),
            end: start + end as usize / 8,
            next,
        })
    }

    /// Reads `[-] digits [. digits] [e [+|-] digits]`, with at least one digit before the exponent.
    #[inline(always)]
    fn read(bytes: &[u8], at: usize) -> Option<Decimal> {
        let negative = bytes.get(at) == Some(&b'-');
        let start = at + usize::from(negative);
        let (mut mantissa, mut end, mut next) = digits(bytes, start, 0);
        let mut num_digits = end - start;
        let mut exponent = 0;
        if next == b'.' {
            let point = end;
            (mantissa, end, next) = digits(bytes, point + 1, mantissa);
            let places = end - point - 1;
            num_digits += places;
            exponent = -(places as i64);
        }
        if num_digits == 0 {
            return None;
        }
        if next | 0x20 == b'e' {
            let sign = bytes.get(end + 1).copied();
            let from = end + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let (power, behind, then) = digits(bytes, from, 0);
            // More digits than these are left to the slow path.
            if behind == from || behind - from > 4 {
                return None;
            }
            exponent += if sign == Some(b'-') { -(power as i64) } else { power as i64 };
            (end, next) = (behind, then);
        }
        Some(Decimal { negative, mantissa, num_digits, exponent, end, next })
    }
}

/// A float that is exact, or nearest, by one operation.
trait Float: Sized {
    /// The float nearest to `decimal`; `None` where this takes more than one operation.
    fn of(decimal: Decimal) -> Option<Self>;
}

impl Float for f64 {
    #[inline(always)]
    fn of(decimal: Decimal) -> Option<f64> {
        if decimal.mantissa > 1 << 53 || decimal.num_digits > MOST_DIGITS {
            return None;
        }
        // Signed, because the conversion is one instruction.
        let mantissa = decimal.mantissa as i64 as f64;
        let power = *EXACT_POWERS.get(decimal.exponent.unsigned_abs() as usize)?;
        let magnitude = if decimal.exponent <= 0 { mantissa / power } else { mantissa * power };
        Some(if decimal.negative { -magnitude } else { magnitude })
    }
}

impl Float for f32 {
    #[inline(always)]
    fn of(decimal: Decimal) -> Option<f32> {
        // Zero, or from 1e-22 to 2⁵³ × 1e22: a normal `f32`, whose mantissa is the upper 23 bits of 52.
        const LOWER_BITS: u64 = (1 << 29) - 1;
        const HALFWAY: u64 = 1 << 28;
        let value = f64::of(decimal)?;
        (value.to_bits() & LOWER_BITS != HALFWAY).then_some(value as f32)
    }
}

/// The sign and magnitude of the integer at `at`, the byte behind it, and what stands there.
#[inline(always)]
fn integer(bytes: &[u8], at: usize) -> Option<(bool, u64, usize, u8)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (magnitude, end, next) = digits(bytes, start, 0);
    (1..=MOST_DIGITS).contains(&(end - start)).then_some((negative, magnitude, end, next))
}

/// Appends the digits at `at` to those of `value`; gives the byte behind them, and what stands there (0 at
/// the end of `bytes`). The value is right where there are at most [`MOST_DIGITS`] in all.
#[inline(always)]
fn digits(bytes: &[u8], at: usize, value: u64) -> (u64, usize, u8) {
    let (eight, num_digits, next) = up_to_eight(bytes, at);
    let value = value.wrapping_mul(POWERS[num_digits]).wrapping_add(eight);
    if num_digits < 8 { (value, at + num_digits, next) } else { more_digits(bytes, at + 8, value) }
}

fn more_digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize, u8) {
    loop {
        let (eight, num_digits, next) = up_to_eight(bytes, at);
        value = value.wrapping_mul(POWERS[num_digits]).wrapping_add(eight);
        at += num_digits;
        if num_digits < 8 {
            return (value, at, next);
        }
    }
}

/// The value of the digits at `at`, of which no more than eight are read, how many there are, and the byte
/// behind them where they are fewer.
#[inline(always)]
fn up_to_eight(bytes: &[u8], at: usize) -> (u64, usize, u8) {
    let word = load(bytes, at);
    let values = word ^ ZEROS;
    let num_bits = no_digits(values).trailing_zeros() & !7;
    // The last digit is moved to the highest byte, zeros before the first.
    let eight = eight_digits(values.checked_shl(64 - num_bits).unwrap_or(0));
    let next = word.checked_shr(num_bits).unwrap_or(0) as u8;
    (eight, num_bits as usize / 8, next)
}

/// The digit zero, eight times: digits become 0 to 9.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The high bit of each byte that is more than 9. Adding 0x76 carries a byte from 10 on into its high bit; what spills
/// from a byte of 0x8A or more only reaches those behind it.
#[inline(always)]
fn no_digits(values: u64) -> u64 {
    (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080
}

/// The number that eight digits make, the first one lowest.
#[inline(always)]
fn eight_digits(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let odd = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let even = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    odd.wrapping_add(even) >> 32
}

/// The eight bytes at `at`, the first one lowest; zeros behind the last.
#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(word) => u64::from_le_bytes(*word),
        None => load_tail(bytes, at),
    }
}

/// As [`load`], less than eight bytes before the end.
#[inline]
fn load_tail(bytes: &[u8], at: usize) -> u64 {
    let Some(last) = bytes.last_chunk::<8>() else {
        let rest = bytes.get(at..).unwrap_or_default();
        return rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    };
    let before = at - (bytes.len() - 8);
    if before < 8 { u64::from_le_bytes(*last) >> (8 * before) } else { 0 }
}
