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

    /// The value at byte `at` and the byte behind it. `None` where none begins, or one that is not read this
    /// way: [`parse`](Self::parse) decides.
    fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)>;

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
            fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
                let decimal = Decimal::read(bytes, at)?;
                let value = match <$type as Float>::of(decimal) {
                    Some(value) => value,
                    None => Self::parse(&bytes[at..decimal.end])?,
                };
                Some((value, decimal.end))
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
            fn read(bytes: &[u8], at: usize) -> Option<(Self, usize)> {
                let (negative, magnitude, end) = integer(bytes, at)?;
                // The magnitude of the least value is one more than the greatest.
                let signed = if negative { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
                Some((signed?.try_into().ok()?, end))
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
}

impl Decimal {
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
            let (power, behind, _) = digits(bytes, from, 0);
            // More digits than these are left to the slow path.
            if behind == from || behind - from > 4 {
                return None;
            }
            exponent += if sign == Some(b'-') { -(power as i64) } else { power as i64 };
            end = behind;
        }
        Some(Decimal { negative, mantissa, num_digits, exponent, end })
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

/// The sign and magnitude of the integer at `at`, and the byte behind it.
#[inline(always)]
fn integer(bytes: &[u8], at: usize) -> Option<(bool, u64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (magnitude, end, _) = digits(bytes, start, 0);
    (1..=MOST_DIGITS).contains(&(end - start)).then_some((negative, magnitude, end))
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
    // Digits become 0 to 9. Adding 0x76 carries a byte from 10 on into its high bit. What spills from a byte
    // of 0x8A or more only reaches those behind it.
    let values = word ^ 0x3030_3030_3030_3030;
    let others = (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    let num_bits = others.trailing_zeros() & !7;
    // The last digit is moved to the highest byte, zeros before the first.
    let values = values.checked_shl(64 - num_bits).unwrap_or(0);
    let next = word.checked_shr(num_bits).unwrap_or(0) as u8;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let odd = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let even = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    (odd.wrapping_add(even) >> 32, num_bits as usize / 8, next)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits32(value: Option<f32>) -> Option<u32> {
        value.map(f32::to_bits)
    }

    fn bits64(value: Option<f64>) -> Option<u64> {
        value.map(f64::to_bits)
    }

    /// Both ways of reading `text` give what `str::parse` does; the first may pass.
    fn check(text: &str) {
        // A NaN has many bit patterns; `str::parse` gives the positive quiet one.
        let bytes = text.as_bytes();
        assert_eq!(bits64(f64::parse(bytes)), bits64(text.parse().ok()), "f64 {text}");
        assert_eq!(bits32(f32::parse(bytes)), bits32(text.parse().ok()), "f32 {text}");
        for behind in ["", ",", ",12345678", "x", "\n"] {
            for before in ["", ";123456789"] {
                let bytes = format!("{before}{text}{behind}").into_bytes();
                let (at, end) = (before.len(), before.len() + text.len());
                if let Some((value, stop)) = f64::read(&bytes, at)
                    && stop == end
                {
                    assert_eq!(bits64(Some(value)), bits64(text.parse().ok()), "f64 {text}");
                }
                if let Some((value, stop)) = f32::read(&bytes, at)
                    && stop == end
                {
                    assert_eq!(bits32(Some(value)), bits32(text.parse().ok()), "f32 {text}");
                }
                if let Some((value, stop)) = i64::read(&bytes, at)
                    && stop == end
                {
                    assert_eq!(Some(value), text.parse().ok(), "i64 {text}");
                }
                if let Some((value, stop)) = i32::read(&bytes, at)
                    && stop == end
                {
                    assert_eq!(Some(value), text.parse().ok(), "i32 {text}");
                }
            }
        }
        assert_eq!(i64::parse(bytes), text.parse().ok(), "i64 {text}");
        assert_eq!(i32::parse(bytes), text.parse().ok(), "i32 {text}");
    }

    #[test]
    fn numbers_at_the_edges_are_those_of_the_standard_library() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "-.",
            "0",
            "-0",
            "-0.0",
            "+1",
            "1.",
            ".5",
            "-.5",
            "1e",
            "1e+",
            "1e5",
            "1E-5",
            "1e+22",
            "1e22",
            "1e23",
            "1e-22",
            "1e-23",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993e22",
            "0.1",
            "0.30000000000000004",
            "123456.7",
            "16777217",
            "16777216.5",
            "16777217.000000001",
            "16777216.999999999",
            "8388608.5",
            "8388609.5",
            "1.00000017881393432617187499",
            "1.00000017881393421514957253748434595763683319091796875001",
            "1.000000178813934326171875",
            "3.4028235677973366e38",
            "1e39",
            "1e-46",
            "1e-45",
            "1.17549435e-38",
            "inf",
            "-inf",
            "Infinity",
            "nan",
            "NaN",
            "in",
            "2147483647",
            "2147483648",
            "-2147483648",
            "-2147483649",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "00000000000000000000000000000007",
            "0.00000000000000000000000000000000012345",
            "1e0005",
            "1e00005",
            "1e-9999",
            "1e99999",
            "1..2",
            "1.2.3",
            "--1",
            "1-",
            "12345678",
            "123456789",
            "1234567812345678",
            "12345678.12345678",
            "0x10",
            "1_000",
            "1e1.5",
            "١",
        ] {
            check(text);
        }
    }

    #[test]
    fn numbers_as_they_are_in_files_take_the_fast_path() {
        for (text, value) in [("0.123456", 0.123456), ("-1.5", -1.5), ("12e-3", 0.012), ("7", 7.0)] {
            let read = Decimal::read(text.as_bytes(), 0).and_then(f64::of);
            assert_eq!(read, Some(value));
        }
        assert_eq!(i64::read(b"-12345678901,", 0), Some((-12345678901, 12)));
        assert_eq!(f32::of(Decimal::read(b"16777217", 0).unwrap()), None, "between two floats");
    }

    #[test]
    fn truth_is_a_word_or_a_digit() {
        let words: [&[u8]; 8] = [b"true", b"TRUE", b"True", b"1", b"false", b"0", b"yes", b"01"];
        let expected = [Some(true), Some(true), Some(true), Some(true), Some(false), Some(false), None, None];
        assert_eq!(words.map(truth), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn decimals(text in "-?[0-9]{0,10}(\\.[0-9]{0,10})?(e[+-]?[0-9]{1,2})?") {
            check(&text);
        }

        #[test]
        fn long_decimals(text in "[+-]?[0-9]{0,25}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{0,3})?") {
            check(&text);
        }

        #[test]
        fn what_looks_like_a_number(text in "[-+.e0-9infa ]{0,12}") {
            check(&text);
        }

        #[test]
        fn floats_as_they_are_printed(bits64: u64, bits32: u32) {
            let (wide, narrow) = (f64::from_bits(bits64), f32::from_bits(bits32));
            for text in [wide.to_string(), format!("{wide:e}"), narrow.to_string(), format!("{narrow:e}")] {
                if !text.contains("NaN") {
                    check(&text);
                }
            }
        }

        /// Decimals at and beside the middle of two `f32`.
        #[test]
        fn halfway(mantissa in 1u64 << 24..1 << 25, shift in 0..20u32, places in 0..8usize, off in -1..=1i64) {
            let middle = (mantissa | 1) as f64 / 2f64.powi(shift as i32);
            check(&format!("{middle:.places$}"));
            check(&format!("{:.*}", places + 8, middle));
            check(&format!("{}{}", middle, if off == 0 { "" } else { "00001" }));
            check(&((mantissa | 1) << 4 | 8).to_string());
            check(&(((((mantissa | 1) << 4) as i64) + off) as u64).to_string());
        }
    }
}
