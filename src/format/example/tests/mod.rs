#![forbid(unsafe_code)]

mod features;
mod oracle;
mod real;

use proptest::prelude::*;

use self::oracle::{Cell, Encoder, List, decode, decode_one, row};
use super::infer::Message;
use super::*;
use crate::error::{Error, ErrorKind};
use crate::layout::ColumnKind;

fn floats(values: &[f32]) -> Cell {
    Some(values.iter().flat_map(|value| value.to_ne_bytes()).collect())
}

fn integers(values: &[i64]) -> Cell {
    Some(values.iter().flat_map(|value| value.to_ne_bytes()).collect())
}

fn text(bytes: &str) -> Cell {
    Some(bytes.as_bytes().to_vec())
}

fn record(features: &[(&str, List)]) -> Vec<u8> {
    Encoder(None).record(features, &[])
}

fn message(error: &Error) -> (ErrorKind, &str) {
    (error.kind(), error.message())
}

/// Integers of every length in varints.
fn integer() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)
}

fn byte_string() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

/// A specification with every kind of feature, and what a record of it has.
type Case = (ExampleSpec, Vec<(&'static str, List)>, Vec<(&'static str, Vec<List>)>);

fn case() -> impl Strategy<Value = Case> {
    let numbers = (
        prop::collection::vec(any::<f32>(), 6),
        prop::collection::vec(integer(), 3),
        prop::collection::vec(any::<f32>(), 0..40),
        prop::collection::vec(integer(), 0..40),
        integer(),
        0..3usize,
    );
    let strings = (byte_string(), prop::collection::vec(byte_string(), 0..4), 0..3usize);
    let lists = (
        prop::collection::vec(prop::collection::vec(any::<f32>(), 2), 0..5),
        prop::collection::vec(prop::collection::vec(integer(), 0..4), 0..5),
        prop::collection::vec(byte_string(), 0..5),
    );
    (numbers, strings, lists).prop_map(|(numbers, strings, lists)| {
        let (dense, triple, ragged, ragged_integers, scalar, which_scalar) = numbers;
        let (string, many, which_string) = strings;
        let (pairs, varying, names) = lists;
        use FeatureType::{Bytes, F32, I64};
        let triples = FeatureKind::Sequence { dtype: F32, shape: vec![3] };
        let spec = ExampleSpec::new()
            .fixed_len("dense", F32, [2, 3])
            .fixed_len_or("triple", [3], 7i64)
            .nullable("scalar", I64, [])
            .var_len("ragged", F32)
            .var_len("ragged integers", I64)
            .fixed_len_or("string", [], "none")
            .nullable("nullable string", Bytes, [])
            .var_len("many", Bytes)
            .feature(Feature { name: "triples".into(), place: FeaturePlace::Features, kind: triples })
            .sequence("pairs", F32, [2])
            .var_len_sequence("varying", I64)
            .sequence("names", Bytes, []);
        let or_missing = |which: usize, list: List, empty: List| match which {
            0 => list,
            1 => empty,
            _ => List::Unset,
        };
        let features = vec![
            ("dense", List::F32(dense)),
            ("triple", or_missing(which_scalar, List::I64(triple), List::I64(vec![]))),
            ("scalar", or_missing(which_scalar, List::I64(vec![scalar]), List::I64(vec![]))),
            ("triples", List::F32(ragged[..ragged.len() / 3 * 3].to_vec())),
            ("ragged", List::F32(ragged)),
            ("ragged integers", List::I64(ragged_integers)),
            ("string", or_missing(which_string, List::Bytes(vec![string.clone()]), List::Bytes(vec![]))),
            ("nullable string", or_missing(which_string, List::Bytes(vec![string]), List::Unset)),
            ("many", List::Bytes(many)),
            ("nobody asked for", List::F32(vec![1.0])),
        ];
        let lists = vec![
            ("pairs", pairs.into_iter().map(List::F32).collect()),
            ("varying", varying.into_iter().map(List::I64).collect()),
            ("names", names.into_iter().map(|name| List::Bytes(vec![name])).collect()),
            ("dense", vec![List::Bytes(vec![])]),
        ];
        (spec, features, lists)
    })
}

/// What the columns of [`case`] are, from the values themselves.
fn expected((_, features, lists): &Case) -> Vec<Cell> {
    let find = |name: &str| &features.iter().find(|(other, _)| *other == name).unwrap().1;
    let step = |name: &str| &lists.iter().find(|(other, _)| *other == name).unwrap().1;
    let of = |list: &List| match list {
        List::F32(values) => floats(values).unwrap(),
        List::I64(values) => integers(values).unwrap(),
        List::Bytes(values) => values.concat(),
        List::Unset => vec![],
    };
    let lengths = |lists: &[List]| {
        let length = |list: &List| match list {
            List::Bytes(values) => values.iter().map(|value| value.len() as i64).collect(),
            List::I64(values) => vec![values.len() as i64],
            _ => unreachable!(),
        };
        integers(&lists.iter().flat_map(length).collect::<Vec<_>>())
    };
    let present = |name: &str| match find(name) {
        List::Bytes(values) if values.is_empty() => None,
        List::I64(values) if values.is_empty() => None,
        List::Unset => None,
        list => Some(of(list)),
    };
    vec![
        Some(of(find("dense"))),
        present("triple").or(integers(&[7; 3])),
        present("scalar"),
        Some(of(find("ragged"))),
        Some(of(find("ragged integers"))),
        present("string").or(text("none")),
        present("nullable string"),
        Some(of(find("many"))),
        lengths(std::slice::from_ref(find("many"))),
        Some(of(find("triples"))),
        Some(step("pairs").iter().flat_map(of).collect()),
        Some(step("varying").iter().flat_map(of).collect()),
        lengths(step("varying")),
        Some(step("names").iter().flat_map(of).collect()),
        lengths(step("names")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_way_a_record_is_written_its_row_is_the_same(case in case(), seeds in prop::array::uniform4(any::<u64>())) {
        let expected = expected(&case);
        let (spec, features, lists) = &case;
        let records: Vec<_> = seeds
            .iter()
            .map(|&seed| Encoder(Some(seed)).record(features, lists))
            .chain([Encoder(None).record(features, lists)])
            .collect();
        let decoder = ExampleDecoder::new(spec).unwrap();
        for (found, record) in decode(&decoder, decoder.schema(), |_| true, &records).into_iter().zip(&records) {
            prop_assert_eq!(found.unwrap(), expected.clone());
            prop_assert_eq!(row(spec, record), Some(expected.clone()));
        }
        // A column that is asked for alone is as it is among the others.
        for (column, cell) in expected.iter().enumerate() {
            let alone = decode(&decoder, decoder.schema(), |other| other == column, &records);
            for found in alone {
                prop_assert_eq!(&found.unwrap()[..], std::slice::from_ref(cell));
            }
        }
    }

    #[test]
    fn damage_is_found_where_the_oracle_finds_it(case in case(), seed: u64, at: prop::sample::Index, bit in 0..8u32) {
        let (spec, features, lists) = &case;
        let record = Encoder(Some(seed)).record(features, lists);
        let mut damaged = record.clone();
        let at = at.index(record.len());
        damaged[at] ^= 1u8 << bit;
        prop_assert_eq!(decode_one(spec, &damaged).ok(), row(spec, &damaged));
        let cut = &record[..at];
        prop_assert_eq!(decode_one(spec, cut).ok(), row(spec, cut));
        let _ = (ExampleSpec::infer([&damaged[..], cut]), message_of(&damaged));
    }

    #[test]
    fn any_bytes_are_decoded_as_the_oracle_does(
        records in prop::collection::vec(prop::collection::vec(prop_oneof![0..40u8, any::<u8>()], 0..60), 1..4),
    ) {
        let spec = ExampleSpec::new().var_len("", FeatureType::F32).sequence("s", FeatureType::I64, [2]);
        prop_assert!(spec.check().is_err());
        let spec = ExampleSpec::new().var_len("\u{1}", FeatureType::F32).sequence("s", FeatureType::I64, [2]);
        for record in &records {
            prop_assert_eq!(decode_one(&spec, record).ok(), row(&spec, record));
        }
        let _ = ExampleSpec::infer(records.iter().map(|record| &record[..]));
    }

    #[test]
    fn varints_are_read_up_to_64_bits(bytes in prop::collection::vec(prop_oneof![Just(0x80u8), Just(0xFF), any::<u8>()], 1..24)) {
        let spec = ExampleSpec::new().var_len("x", FeatureType::I64);
        let list = Encoder::run(3, &Encoder::run(1, &bytes));
        let entry = Encoder(None).entry("x", &list);
        let record = Encoder::run(1, &Encoder::run(1, &entry));
        prop_assert_eq!(decode_one(&spec, &record).ok(), row(&spec, &record));
    }
}

#[test]
fn every_truncation_of_a_record_is_what_the_oracle_says() {
    let spec = ExampleSpec::new().var_len("a", FeatureType::I64).var_len("b", FeatureType::F32);
    let record = record(&[("a", List::I64(vec![1, 300, -1])), ("b", List::F32(vec![1.0, 2.0]))]);
    for len in 0..=record.len() {
        let found = decode_one(&spec, &record[..len]);
        assert_eq!(found.as_ref().ok(), row(&spec, &record[..len]).as_ref());
        assert_eq!(found.is_ok(), len == 0 || len == record.len());
        if let Err(error) = found {
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.location().byte.unwrap() <= len as u64);
        }
    }
}

#[test]
fn a_forged_length_is_held_against_what_is_left() {
    let spec = ExampleSpec::new().var_len("a", FeatureType::I64);
    for len in [1, 127, 1 << 31, u64::MAX] {
        let record = [&[0x0A][..], &Encoder::varint(len)].concat();
        let error = decode_one(&spec, &record).unwrap_err();
        assert_eq!(
            error.message(),
            format!("expected {len} bytes of field 1, found the end of its message after 0")
        );
        let list = [&[0x0A][..], &Encoder::varint(len)].concat();
        let entry = Encoder(None).entry("a", &Encoder::run(3, &list));
        let error = decode_one(&spec, &Encoder::run(1, &Encoder::run(1, &entry))).unwrap_err();
        assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(11)));
    }
}

#[test]
fn the_last_of_a_key_counts_and_messages_within_an_entry_merge() {
    let spec = ExampleSpec::new().var_len("x", FeatureType::I64);
    let mut encoder = Encoder(None);
    let one = encoder.feature(&List::I64(vec![1]));
    let two = encoder.feature(&List::I64(vec![2]));
    let other = encoder.feature(&List::F32(vec![0.5]));
    let map =
        |entries: &[&[u8]]| entries.iter().flat_map(|entry| Encoder::run(1, entry)).collect::<Vec<u8>>();
    let entry = |values: &[&[u8]]| {
        let values = values.iter().flat_map(|value| Encoder::run(2, value));
        Encoder::run(1, b"x").into_iter().chain(values).collect::<Vec<u8>>()
    };
    let cases: [(Vec<u8>, &[i64]); 6] = [
        (Encoder::run(1, &map(&[&entry(&[&one]), &entry(&[&two])])), &[2]),
        (
            [Encoder::run(1, &map(&[&entry(&[&one])])), Encoder::run(1, &map(&[&entry(&[&two])]))].concat(),
            &[2],
        ),
        (Encoder::run(1, &map(&[&entry(&[&one, &two])])), &[1, 2]),
        (Encoder::run(1, &map(&[&entry(&[&[&one[..], &two].concat()])])), &[1, 2]),
        (Encoder::run(1, &map(&[&entry(&[&one, &other, &two])])), &[2]),
        (Encoder::run(1, &map(&[&entry(&[&one]), &entry(&[])])), &[]),
    ];
    for (record, expected) in cases {
        assert_eq!(decode_one(&spec, &record).unwrap(), [integers(expected)]);
        assert_eq!(row(&spec, &record), Some(vec![integers(expected)]));
    }
    let replaced = Encoder::run(1, &map(&[&entry(&[&one, &other])]));
    let error = decode_one(&spec, &replaced).unwrap_err();
    assert_eq!(error.message(), "feature 'x': expected i64 (int64_list), found float_list");
}

#[test]
fn wrong_types_and_counts_name_the_feature() {
    use FeatureType::{Bytes, F32, I64};
    let cases: [(ExampleSpec, List, &str); 10] = [
        (
            ExampleSpec::new().fixed_len("x", F32, [3]),
            List::F32(vec![1.0; 2]),
            "expected 3 values of f32, found 2",
        ),
        (
            ExampleSpec::new().fixed_len("x", F32, [2, 2]),
            List::F32(vec![1.0; 5]),
            "expected 4 values of f32, found 5",
        ),
        (
            ExampleSpec::new().fixed_len("x", I64, []),
            List::I64(vec![1; 3]),
            "expected 1 value of i64, found 3",
        ),
        (
            ExampleSpec::new().nullable("x", Bytes, []),
            List::Bytes(vec![vec![], vec![]]),
            "expected 1 value of bytes, found 2",
        ),
        (
            ExampleSpec::new().fixed_len("x", F32, []),
            List::I64(vec![1]),
            "expected f32 (float_list), found int64_list",
        ),
        (
            ExampleSpec::new().var_len("x", I64),
            List::Bytes(vec![]),
            "expected i64 (int64_list), found bytes_list",
        ),
        (
            ExampleSpec::new().var_len("x", Bytes),
            List::F32(vec![]),
            "expected bytes (bytes_list), found float_list",
        ),
        (
            ExampleSpec::new().fixed_len("x", F32, []),
            List::F32(vec![]),
            "expected 1 value of f32, found none; say that it is nullable, or what its default is",
        ),
        (
            ExampleSpec::new().fixed_len("x", F32, [2]),
            List::Unset,
            "expected 2 values of f32, found none; say that it is nullable, or what its default is",
        ),
        (
            ExampleSpec::new().feature(Feature {
                name: "x".into(),
                place: FeaturePlace::Features,
                kind: FeatureKind::Sequence { dtype: F32, shape: vec![2] },
            }),
            List::F32(vec![1.0; 3]),
            "expected whole steps of 2 values, found 3 values",
        ),
    ];
    for (spec, list, expected) in cases {
        let record = record(&[("w", List::F32(vec![0.0])), ("x", list)]);
        let error = decode_one(&spec, &record).unwrap_err();
        assert_eq!(message(&error), (ErrorKind::Malformed, &*format!("feature 'x': {expected}")));
        assert!(error.location().byte.is_some());
        // Nobody asked: nobody looks.
        let decoder = ExampleDecoder::new(&spec).unwrap();
        decode(&decoder, decoder.schema(), |_| false, &[record]).remove(0).unwrap();
    }
    let spec = ExampleSpec::new().fixed_len("x", F32, []);
    let error = decode_one(&spec, &record(&[("y", List::F32(vec![1.0]))])).unwrap_err();
    assert_eq!(
        error.message(),
        "feature 'x': expected 1 value of f32, found none; say that it is nullable, or what its default is"
    );
}

#[test]
fn steps_are_held_against_their_shape() {
    let spec = ExampleSpec::new().sequence("s", FeatureType::I64, [2]);
    let record = |steps: Vec<List>| Encoder(None).record(&[], &[("s", steps)]);
    let error = decode_one(&spec, &record(vec![List::I64(vec![1, 2]), List::I64(vec![3])])).unwrap_err();
    assert_eq!(error.message(), "feature 's': expected 2 values of i64 in step 1, found 1");
    let error = decode_one(&spec, &record(vec![List::F32(vec![1.0])])).unwrap_err();
    assert_eq!(error.message(), "feature 's': expected i64 (int64_list), found float_list");
    assert_eq!(decode_one(&spec, &record(vec![])).unwrap(), [integers(&[])]);
    assert_eq!(decode_one(&spec, &[]).unwrap(), [integers(&[])]);
}

#[test]
fn groups_and_impossible_types_are_refused() {
    let spec = ExampleSpec::new().var_len("x", FeatureType::F32);
    for (record, kind, expected) in [
        (&b"\x0B\x0C"[..], ErrorKind::Unsupported, "field 1 is a group, which no example has"),
        (b"\x0F", ErrorKind::Malformed, "expected field 1 to have a wire type of 0, 1, 2 or 5, found 7"),
        (b"\x02\x00", ErrorKind::Malformed, "expected a field number from 1 to 536870911, found 0"),
        (b"\x08\x01", ErrorKind::Malformed, "expected field 1 to be features, found a varint"),
    ] {
        assert_eq!(message(&decode_one(&spec, record).unwrap_err()), (kind, expected));
    }
    let entry = Encoder(None).entry("x", &Encoder::run(2, b"\x0912345678"));
    let error = decode_one(&spec, &Encoder::run(1, &Encoder::run(1, &entry))).unwrap_err();
    assert_eq!(error.message(), "expected field 1 to be floats, found 8 bytes");
}

/// More features than a record of which is decoded without an allocation, in an order that changes.
#[test]
fn many_features_in_changing_order() {
    let names: Vec<String> = (0..100).map(|i| format!("feature {i}")).collect();
    let spec = names.iter().fold(ExampleSpec::new(), |spec, name| spec.fixed_len(name, FeatureType::I64, []));
    let decoder = ExampleDecoder::new(&spec).unwrap();
    let records: Vec<_> = (0..5)
        .map(|shift| {
            let features: Vec<_> = (0..100)
                .map(|i| (i * 7 + shift * 13) % 100)
                .map(|i| (names[i].as_str(), List::I64(vec![i as i64 * 1000])))
                .collect();
            record(&features)
        })
        .collect();
    let expected: Vec<_> = (0..100).map(|i| integers(&[i * 1000])).collect();
    for found in decode(&decoder, decoder.schema(), |_| true, &records) {
        assert_eq!(found.unwrap(), expected);
    }
}

#[test]
fn raw_records_are_one_column_of_bytes() {
    let records = [b"1 2".to_vec(), vec![], vec![0xFF; 5]];
    let found = decode(&RawDecoder, &RawDecoder::schema(), |_| true, &records);
    for (found, record) in found.into_iter().zip(records) {
        assert_eq!(found.unwrap(), [Some(record)]);
    }
}
