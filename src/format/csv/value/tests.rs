//! Numbers against `str::parse`, bit for bit.

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
            if let Some((value, stop, next)) = f64::read(&bytes, at)
                && stop == end
            {
                assert_eq!(next, bytes.get(end).copied().unwrap_or(0), "behind {text}");
                assert_eq!(bits64(Some(value)), bits64(text.parse().ok()), "f64 {text}");
            }
            if let Some((value, stop, next)) = f32::read(&bytes, at)
                && stop == end
            {
                assert_eq!(next, bytes.get(end).copied().unwrap_or(0), "behind {text}");
                assert_eq!(bits32(Some(value)), bits32(text.parse().ok()), "f32 {text}");
            }
            if let Some((value, stop, next)) = i64::read(&bytes, at)
                && stop == end
            {
                assert_eq!(next, bytes.get(end).copied().unwrap_or(0), "behind {text}");
                assert_eq!(Some(value), text.parse().ok(), "i64 {text}");
            }
            if let Some((value, stop, next)) = i32::read(&bytes, at)
                && stop == end
            {
                assert_eq!(next, bytes.get(end).copied().unwrap_or(0), "behind {text}");
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
    assert_eq!(i64::read(b"-12345678901,", 0), Some((-12345678901, 12, b',')));
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
