//! Which features there are: inferred from a sample, or specified.
#![forbid(unsafe_code)]

use super::*;

#[test]
fn a_sample_says_what_its_features_are() {
    use FeatureType::{Bytes, F32, I64};
    let records = [
        record(&[
            ("z scalar", List::I64(vec![1])),
            ("dense", List::F32(vec![1.0; 3])),
            ("ragged", List::F32(vec![1.0; 3])),
            ("sometimes", List::F32(vec![1.0])),
            ("sometimes three", List::F32(vec![1.0; 3])),
            ("name", List::Bytes(vec![vec![1]])),
            ("maybe name", List::Unset),
            ("names", List::Bytes(vec![vec![1]])),
            ("never", List::Unset),
            ("always empty", List::I64(vec![])),
        ]),
        record(&[
            ("z scalar", List::I64(vec![2])),
            ("dense", List::F32(vec![1.0; 3])),
            ("ragged", List::F32(vec![1.0; 4])),
            ("sometimes", List::F32(vec![])),
            ("name", List::Bytes(vec![vec![]])),
            ("maybe name", List::Bytes(vec![vec![]])),
            ("names", List::Bytes(vec![vec![1], vec![2]])),
            ("never", List::Unset),
        ]),
    ];
    let spec = ExampleSpec::infer(records.iter().map(|record| &record[..])).unwrap();
    let expected = ExampleSpec::new()
        .var_len("always empty", I64)
        .nullable("dense", F32, [3])
        .nullable("maybe name", Bytes, [])
        .nullable("name", Bytes, [])
        .var_len("names", Bytes)
        .var_len("ragged", F32)
        .nullable("sometimes", F32, [])
        .var_len("sometimes three", F32)
        .nullable("z scalar", I64, []);
    assert_eq!(spec, expected);
    let kinds: Vec<_> = spec
        .schema()
        .unwrap()
        .fields()
        .iter()
        .map(|field| {
            format!(
                "{} {}{}",
                field.name(),
                ColumnKind::of(field),
                if field.is_nullable() { "?" } else { "" }
            )
        })
        .collect();
    let expected = [
        "always empty i64[…]",
        "dense f32[3]?",
        "maybe name bytes?",
        "name bytes?",
        "names bytes",
        "names/lengths i64[…]",
        "ragged f32[…]",
        "sometimes f32?",
        "sometimes three f32[…]",
        "z scalar i64?",
    ];
    assert_eq!(kinds, expected);
    for record in &records {
        decode_one(&spec, record).unwrap();
    }
}

#[test]
fn a_sample_of_sequences_says_what_its_steps_are() {
    use FeatureType::{Bytes, F32, I64};
    let lists = |n: usize| {
        vec![
            ("pairs", vec![List::I64(vec![1, 2]); n]),
            ("varying", (0..n).map(|i| List::F32(vec![0.0; i])).collect()),
            ("words", vec![List::Bytes(vec![b"word".to_vec()]); n]),
            ("unset", vec![List::Unset; n]),
        ]
    };
    let records = [3, 0, 2].map(|n| Encoder(None).record(&[("id", List::I64(vec![7]))], &lists(n)));
    for record in &records {
        assert_eq!(message_of(record).unwrap(), Message::SequenceExample);
    }
    let spec = ExampleSpec::infer(records.iter().map(|record| &record[..])).unwrap();
    let expected = ExampleSpec::new()
        .nullable("id", I64, [])
        .sequence("pairs", I64, [2])
        .var_len_sequence("varying", F32)
        .sequence("words", Bytes, []);
    assert_eq!(spec, expected);
    let expected = [
        integers(&[7]),
        integers(&[1, 2, 1, 2, 1, 2]),
        floats(&[0.0; 3]),
        integers(&[0, 1, 2]),
        text("wordwordword"),
        integers(&[4; 3]),
    ];
    assert_eq!(decode_one(&spec, &records[0]).unwrap(), expected);
}

#[test]
fn a_sample_that_is_no_example_is_refused() {
    let float = record(&[("x", List::F32(vec![1.0]))]);
    let integer = record(&[("x", List::I64(vec![1]))]);
    let error = ExampleSpec::infer([&float[..], &integer]).unwrap_err();
    assert_eq!(error.location().record, Some(1));
    assert_eq!(
        error.message(),
        "feature 'x': expected float_list, as in the records before, found int64_list"
    );
    // Text that is a message all the same, of fields 6 and 4.
    let error = ExampleSpec::infer([&b"1 1 1 2 2 1"[..]]).unwrap_err();
    assert_eq!(error.message(), "expected a tf.train.Example, found 11 bytes without features");
    let entry = [Encoder::run(1, b"\xFF"), Encoder::run(2, &Encoder::run(3, &[]))].concat();
    let error = ExampleSpec::infer([&Encoder::run(1, &Encoder::run(1, &entry))[..]]).unwrap_err();
    assert_eq!(error.message(), "expected the names of features to be UTF-8, found '\u{FFFD}'");
    for empty in [&[][..], &[&b""[..]]] {
        let error = ExampleSpec::infer(empty.iter().copied()).unwrap_err();
        assert_eq!(message(&error), (ErrorKind::InvalidArgument, "an example needs at least one feature"));
    }
    assert_eq!(message_of(&float).unwrap(), Message::Example);
    assert_eq!(message_of(b"").unwrap(), Message::Example);
}

#[test]
fn specifications_that_cannot_be_honoured_are_refused() {
    use FeatureType::{Bytes, F32, I64};
    let spec = ExampleSpec::new;
    for (spec, kind, expected) in [
        (spec().fixed_len("", F32, []), ErrorKind::InvalidArgument, "has no name"),
        (spec().var_len("x", F32).var_len("x", I64), ErrorKind::InvalidArgument, "called 'x'"),
        (
            spec().var_len("x", Bytes).var_len("x/lengths", I64),
            ErrorKind::InvalidArgument,
            "called 'x/lengths'",
        ),
        (spec().fixed_len("x", F32, [2, 0]), ErrorKind::InvalidArgument, "[2, 0]"),
        (spec().fixed_len("x", F32, [1 << 20, 1 << 12]), ErrorKind::InvalidArgument, "more values than"),
        (spec().sequence("x", F32, [usize::MAX, 2]), ErrorKind::InvalidArgument, "more values than"),
        (spec().fixed_len("x", Bytes, [2]), ErrorKind::Unsupported, "2 byte strings"),
        (spec().fixed_len_or("x", [3], vec![1.0f32, 2.0]), ErrorKind::InvalidArgument, "its default has 2"),
        (spec().var_len_sequence("x", Bytes), ErrorKind::Unsupported, "varying numbers of byte strings"),
        (
            spec().feature(Feature {
                name: "x".into(),
                place: FeaturePlace::FeatureLists,
                kind: FeatureKind::FixedLen { dtype: F32, shape: vec![], missing: Missing::Null },
            }),
            ErrorKind::InvalidArgument,
            "feature list 'x'",
        ),
        (
            spec().feature(Feature {
                name: "x".into(),
                place: FeaturePlace::Features,
                kind: FeatureKind::FixedLen {
                    dtype: F32,
                    shape: vec![],
                    missing: Missing::Default(1i64.into()),
                },
            }),
            ErrorKind::InvalidArgument,
            "is f32, its default is i64",
        ),
    ] {
        let error = spec.check().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(expected), "{error}");
    }
}
