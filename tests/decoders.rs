//! Decoders make the columns that slow, obviously right ones make, and refuse what is damaged by record and feature.
//!
//! `FOREBAY_MUTANTS` sets how many mutants are tried (2,000 unless set).

#[path = "classic/support.rs"]
mod support;

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch,
};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use common::cases::{Cases, Random};
use common::example::{Feature, Record};
use common::small;
use forebay::coordinator::decode::{DecodeCsv, ParseExample, decode_csv, parse_example, stack};
use forebay::coordinator::reader::{LineReader, Reader, TfRecordReader};
use forebay::format::{Compression, CsvOptions, CsvType, FeatureType};
use forebay::{ColumnKind, DType, Dataset, Error, ErrorKind};
use proptest::prelude::*;
use support::{Folder, closed_names, frames};

/// The columns of the classic example: each field floats or an integer, -1 where it is missing.
fn my_test() -> DecodeCsv {
    DecodeCsv::new().column("x1", -1f32).column("x2", -1f32).column("target", -1i32)
}

#[test]
fn the_classic_example_is_read_decoded_and_stacked() {
    let folder = Folder::new();
    let path = folder.file("my_test.csv", b"x1, x2, target\n1. , 2. , 0\n4. , 5 , 1\n7. , , 0\n");
    let (reader, queue) = (LineReader::new().skip_header_lines(1), closed_names([&path]));
    let records = reader.read_up_to(&queue, 10).unwrap();
    let keys: Vec<_> = records.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys, [2, 3, 4].map(|line| format!("{path}:{line}")));
    let lines: Vec<_> = records.into_iter().map(|(_, line)| line).collect();
    let batch = stack(&decode_csv(&lines, &my_test()).unwrap(), "features", &["x1", "x2"]).unwrap();
    let kind = ColumnKind::of(batch.schema_ref().field(0));
    assert_eq!(kind, ColumnKind::Tensor { dtype: DType::F32, shape: [2].into() });
    let features = batch["features"].as_fixed_size_list().values().as_primitive::<Float32Type>().values();
    assert_eq!(features, &[1.0, 2.0, 4.0, 5.0, 7.0, -1.0]);
    assert_eq!(batch["target"].as_primitive::<Int32Type>().values(), &[0, 1, 0]);
}

/// A cell, and how it may be written.
fn cell() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "é", " ", ",", "\"", "\n", "\r", "7", ";"]), 0..6)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn csv_cells_come_back_as_another_writer_wrote_them(
        rows in prop::collection::vec(prop::collection::vec(cell(), 3), 1..6),
        delimiter in prop::sample::select(&b",;\t"[..]),
    ) {
        let records: Vec<Vec<u8>> = rows.iter().map(|row| {
            let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            writer.write_record(row).unwrap();
            let mut record = writer.into_inner().unwrap();
            record.truncate(record.len() - 1);
            record
        }).collect();
        let csv = DecodeCsv::new().column("a", "").column("b", "").required("c", CsvType::Bytes).delimiter(delimiter);
        let read = decode_csv(&records, &csv);
        if let Some(missing) = rows.iter().position(|row| row[2].is_empty()) {
            let error = read.unwrap_err();
            prop_assert_eq!(error.location().record, Some(missing as u64));
            prop_assert_eq!(error.message(), format!("Field 2 is required but missing in record {missing}"));
            return Ok(());
        }
        let read = read.unwrap();
        for (number, row) in rows.iter().enumerate() {
            prop_assert_eq!(read["a"].as_string::<i32>().value(number), &*row[0]);
            prop_assert_eq!(read["b"].as_string::<i32>().value(number), &*row[1]);
            prop_assert_eq!(read["c"].as_binary::<i32>().value(number), row[2].as_bytes());
        }
    }

    #[test]
    fn csv_numbers_are_those_that_rust_reads(
        rows in prop::collection::vec((any::<f32>(), any::<f64>(), any::<i32>(), any::<i64>(), 0..3usize), 1..8),
    ) {
        let records: Vec<_> = rows.iter().map(|(a, b, c, d, pad)| {
            let pad = " ".repeat(*pad);
            format!("{pad}{a},{b}{pad},\"{pad}{c}\",{pad}{d}{pad}")
        }).collect();
        let csv = DecodeCsv::new().column("a", 0f32).column("b", 0f64).column("c", 0i32).column("d", 0i64);
        let read = decode_csv(&records, &csv).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let expected: Vec<_> = rows.iter().map(|row| row.0).collect();
        prop_assert_eq!(bits(read["a"].as_primitive::<Float32Type>().values()), bits(&expected));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let expected: Vec<_> = rows.iter().map(|row| row.1).collect();
        prop_assert_eq!(bits(read["b"].as_primitive::<Float64Type>().values()), bits(&expected));
        let expected: Vec<_> = rows.iter().map(|row| row.2).collect();
        prop_assert_eq!(&read["c"].as_primitive::<Int32Type>().values()[..], &expected[..]);
        let expected: Vec<_> = rows.iter().map(|row| row.3).collect();
        prop_assert_eq!(&read["d"].as_primitive::<Int64Type>().values()[..], &expected[..]);
    }
}

/// A file of others: the cells a dataset has.
#[test]
fn csv_of_others_has_the_values_a_dataset_has() {
    let Some((folder, _)) = common::test_data() else { return };
    let path = folder.join("csv/iris.csv").to_str().unwrap().to_owned();
    let dataset = Dataset::open(&path).unwrap();
    let schema = dataset.schema().clone();
    let csv = schema.fields().iter().fold(DecodeCsv::new(), |csv, field| {
        let csv_type = match ColumnKind::of(field) {
            ColumnKind::Tensor { dtype: DType::F64, .. } => CsvType::F64,
            ColumnKind::Tensor { dtype: DType::I64, .. } => CsvType::I64,
            _ => CsvType::Text,
        };
        csv.required(field.name(), csv_type)
    });
    let reader = LineReader::new().skip_header_lines(1);
    let lines = reader.read_up_to(&closed_names([&path]), usize::MAX).unwrap();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    let read = decode_csv(&lines, &csv).unwrap();
    let table = common::gather_all(&dataset);
    assert_eq!(read.num_rows(), 150);
    assert!(
        read.columns().iter().zip(table.columns()).all(|(ours, theirs)| ours.to_data() == theirs.to_data())
    );
}

/// What a feature of the name may be in a record.
fn feature(dtype: FeatureType, max: usize) -> BoxedStrategy<Feature> {
    let values = match dtype {
        FeatureType::F32 => prop::collection::vec(-4f32..4.0, 0..=max).prop_map(Feature::Floats).boxed(),
        FeatureType::I64 => prop::collection::vec(any::<i64>(), 0..=max).prop_map(Feature::Integers).boxed(),
        FeatureType::Bytes => {
            let bytes = prop::collection::vec(any::<u8>(), 0..4);
            prop::collection::vec(bytes, 0..=max).prop_map(Feature::Bytes).boxed()
        }
    };
    prop_oneof![1 => Just(Feature::Unset), 5 => values].boxed()
}

const TYPES: [FeatureType; 3] = [FeatureType::F32, FeatureType::I64, FeatureType::Bytes];
const NAMES: [&str; 3] = ["f", "i", "b"];

/// Some records of a feature of each type, in a number of values of their own each.
fn some_records() -> impl Strategy<Value = Vec<[Feature; 3]>> {
    let record = TYPES.map(|dtype| feature(dtype, 6));
    prop::collection::vec(record, 0..6)
}

fn encode(records: &[[Feature; 3]]) -> Vec<Vec<u8>> {
    let one = |features: &[Feature; 3]| {
        let features = NAMES.iter().map(|name| name.to_string()).zip(features.iter().cloned());
        Record { features: features.collect::<BTreeMap<_, _>>(), ..Record::default() }.encode(NAMES)
    };
    records.iter().map(one).collect()
}

/// The values of one row, as the feature they would be.
fn values(array: &ArrayRef) -> Feature {
    if let Some(floats) = array.as_primitive_opt::<Float32Type>() {
        Feature::Floats(floats.values().to_vec())
    } else if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
        Feature::Integers(integers.values().to_vec())
    } else {
        Feature::Bytes(array.as_binary::<i32>().iter().map(|value| value.unwrap().to_vec()).collect())
    }
}

/// A feature that is not there is an empty list of its type.
fn or_empty(feature: &Feature, dtype: FeatureType) -> Feature {
    match (feature, dtype) {
        (Feature::Unset, FeatureType::F32) => Feature::Floats(Vec::new()),
        (Feature::Unset, FeatureType::I64) => Feature::Integers(Vec::new()),
        (Feature::Unset, FeatureType::Bytes) => Feature::Bytes(Vec::new()),
        (feature, _) => feature.clone(),
    }
}

/// A feature, and `len` in all with padding behind.
fn padded(feature: &Feature, dtype: FeatureType, len: usize) -> Feature {
    let mut feature = or_empty(feature, dtype);
    match &mut feature {
        Feature::Floats(values) => values.resize(len, 9.5),
        Feature::Integers(values) => values.resize(len, -9),
        Feature::Bytes(values) => values.resize(len, b"none".to_vec()),
        Feature::Unset => unreachable!(),
    }
    feature
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn lists_are_what_the_records_say(records in some_records()) {
        let spec = ParseExample::new()
            .var_len("i", FeatureType::I64)
            .var_len("b", FeatureType::Bytes)
            .var_len("none", FeatureType::Bytes)
            .var_len("f", FeatureType::F32);
        let batch = parse_example(&encode(&records), &spec).unwrap();
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        prop_assert_eq!(names, ["i", "b", "none", "f"]);
        prop_assert_eq!(batch.num_rows(), records.len());
        for (row, record) in records.iter().enumerate() {
            for ((name, dtype), feature) in NAMES.iter().zip(TYPES).zip(record) {
                let list = batch[*name].as_list::<i32>().value(row);
                prop_assert_eq!(values(&list), or_empty(feature, dtype));
            }
            prop_assert_eq!(batch["none"].as_list::<i32>().value_length(row), 0);
        }
    }

    #[test]
    fn sequences_are_as_long_as_the_longest(records in some_records()) {
        let spec = ParseExample::new()
            .fixed_len_sequence("f", [], 9.5)
            .fixed_len_sequence("i", [], -9)
            .fixed_len_sequence("b", [], "none");
        let batch = parse_example(&encode(&records), &spec).unwrap();
        for (number, (name, dtype)) in NAMES.iter().zip(TYPES).enumerate() {
            let most = records.iter().map(|record| record[number].len()).max().unwrap_or(0);
            let column = batch[*name].as_fixed_size_list();
            prop_assert_eq!((column.len(), column.value_length() as usize), (records.len(), most));
            if let Some(dtype) = dtype.dtype() {
                let kind = ColumnKind::of(batch.schema_ref().field_with_name(name).unwrap());
                prop_assert_eq!(kind, ColumnKind::Tensor { dtype, shape: [most].into() });
            }
            for (row, record) in records.iter().enumerate() {
                prop_assert_eq!(values(&column.value(row)), padded(&record[number], dtype, most));
            }
        }
    }

    #[test]
    fn fixed_features_are_values_defaults_or_errors_by_name(records in some_records()) {
        let spec = ParseExample::new()
            .fixed_len_or("f", [2, 1], vec![0.5, 1.5])
            .fixed_len_or("i", [2], 7)
            .nullable("b", FeatureType::Bytes, []);
        let counts = [2, 2, 1];
        let wrong = records.iter().enumerate().find_map(|(row, record)| {
            let is_wrong = |&number: &usize| !matches!(record[number].len(), 0) && record[number].len() != counts[number];
            (0..3).find(is_wrong).map(|number| (row, number))
        });
        match (parse_example(&encode(&records), &spec), wrong) {
            (Err(error), Some((row, number))) => {
                prop_assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(row as u64)));
                prop_assert!(error.message().contains(&format!("feature '{}'", NAMES[number])), "{}", error);
            }
            (Ok(batch), None) => for (row, [f, i, b]) in records.iter().enumerate() {
                let f = if f.len() == 0 { Feature::Floats(vec![0.5, 1.5]) } else { f.clone() };
                prop_assert_eq!(values(&batch["f"].as_fixed_size_list().value(row)), f);
                let i = if i.len() == 0 { Feature::Integers(vec![7, 7]) } else { i.clone() };
                prop_assert_eq!(values(&batch["i"].as_fixed_size_list().value(row)), i);
                let found = batch["b"].as_binary::<i32>();
                let found = found.is_valid(row).then(|| vec![found.value(row).to_vec()]);
                prop_assert_eq!(found.map_or(0, |found| found.len()), b.len());
                if let Feature::Bytes(b) = b && b.len() == 1 {
                    prop_assert_eq!(batch["b"].as_binary::<i32>().value(row), &b[0][..]);
                }
            },
            (read, wrong) => prop_assert!(false, "{:?}, expected an error at {:?}", read, wrong),
        }
    }

    #[test]
    fn sparse_features_are_in_the_order_of_their_places(
        records in prop::collection::vec(prop::collection::vec((0..5i64, 0..3i64, -4f32..4.0), 0..8), 0..6),
    ) {
        let payloads: Vec<_> = records.iter().map(|places| {
            let features = [
                ("x", Feature::Integers(places.iter().map(|place| place.0).collect())),
                ("y", Feature::Integers(places.iter().map(|place| place.1).collect())),
                ("v", Feature::Floats(places.iter().map(|place| place.2).collect())),
            ];
            let features = features.map(|(name, feature)| (name.to_owned(), feature));
            Record { features: BTreeMap::from(features), ..Record::default() }.encode(["v", "x", "y"])
        }).collect();
        let spec = ParseExample::new()
            .sparse("one", ["x"], "v", FeatureType::F32, [5])
            .sparse("two", ["y", "x"], "v", FeatureType::F32, [3, 5])
            .var_len("x", FeatureType::I64);
        let batch = parse_example(&payloads, &spec).unwrap();
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        prop_assert_eq!(names, ["one/indices", "one/values", "two/indices", "two/values", "x"]);
        for (row, places) in records.iter().enumerate() {
            let mut one = places.clone();
            one.sort_by_key(|place| place.0);
            let indices = batch["one/indices"].as_list::<i32>().value(row);
            prop_assert_eq!(values(&indices), Feature::Integers(one.iter().map(|place| place.0).collect()));
            let found = batch["one/values"].as_list::<i32>().value(row);
            prop_assert_eq!(values(&found), Feature::Floats(one.iter().map(|place| place.2).collect()));
            let mut two = places.clone();
            two.sort_by_key(|place| (place.1, place.0));
            let indices = batch["two/indices"].as_list::<i32>().value(row);
            let pairs = indices.as_fixed_size_list();
            prop_assert_eq!((pairs.len(), pairs.value_length()), (two.len(), 2));
            // The values of a slice are those of the slice alone.
            let flat: Vec<_> = (0..pairs.len()).flat_map(|i| pairs.value(i).as_primitive::<Int64Type>().values().to_vec()).collect();
            prop_assert_eq!(flat, two.iter().flat_map(|place| [place.1, place.0]).collect::<Vec<_>>());
            let found = batch["two/values"].as_list::<i32>().value(row);
            prop_assert_eq!(values(&found), Feature::Floats(two.iter().map(|place| place.2).collect()));
        }
    }
}

fn record(features: impl IntoIterator<Item = (&'static str, Feature)>) -> Vec<u8> {
    let features: BTreeMap<_, _> =
        features.into_iter().map(|(name, feature)| (name.to_owned(), feature)).collect();
    let names: Vec<_> = features.keys().cloned().collect();
    Record { features, ..Record::default() }.encode(names.iter().map(String::as_str))
}

#[test]
fn sparse_features_whose_places_do_not_fit_are_errors_by_name_and_record() {
    let good = record([("at", Feature::Integers(vec![0, 9])), ("v", Feature::Floats(vec![1.0, 2.0]))]);
    let spec = ParseExample::new().sparse("pixels", ["at"], "v", FeatureType::F32, [10]);
    for (bad, words) in [
        (
            record([("at", Feature::Integers(vec![0])), ("v", Feature::Floats(vec![1.0, 2.0]))]),
            "found 1 and 2",
        ),
        (record([("v", Feature::Floats(vec![1.0]))]), "found 0 and 1"),
        (record([("at", Feature::Integers(vec![1]))]), "found 1 and 0"),
        (
            record([("at", Feature::Integers(vec![3, 10])), ("v", Feature::Floats(vec![1.0, 2.0]))]),
            "from 0 to below 10, found 10",
        ),
        (
            record([("at", Feature::Integers(vec![-1])), ("v", Feature::Floats(vec![1.0]))]),
            "from 0 to below 10, found -1",
        ),
    ] {
        let error = parse_example(&[&good, &bad, &good], &spec).unwrap_err();
        assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(1)));
        assert!(error.message().starts_with("sparse feature 'pixels'"), "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let error = parse_example(&[record([("at", Feature::Floats(vec![1.0]))])], &spec).unwrap_err();
    assert!(error.message().contains("feature 'at'") && error.location().record == Some(0), "{error}");
}

#[test]
fn missing_features_without_a_default_and_steps_that_are_not_whole_are_errors() {
    let records = [
        record([("i", Feature::Integers(vec![1, 2, 3, 4]))]),
        record([("i", Feature::Integers(vec![5, 6, 7]))]),
    ];
    let spec = ParseExample::new().fixed_len_sequence("i", [2], 0);
    let error = parse_example(&records, &spec).unwrap_err();
    assert_eq!(error.location().record, Some(1));
    assert!(error.message().contains("feature 'i': expected whole steps of 2 values, found 3"), "{error}");
    let batch = parse_example(&[&records[0], &record([])], &spec).unwrap();
    let kind = ColumnKind::of(batch.schema_ref().field(0));
    assert_eq!(kind, ColumnKind::Tensor { dtype: DType::I64, shape: [2, 2].into() });
    let numbers = batch["i"].as_fixed_size_list().values().as_primitive::<Int64Type>().values();
    assert_eq!(numbers, &[1, 2, 3, 4, 0, 0, 0, 0]);
    let spec = ParseExample::new().fixed_len("x", FeatureType::F32, []);
    let error = parse_example(&records, &spec).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(0)));
    assert!(error.message().contains("feature 'x'") && error.message().contains("found none"), "{error}");
}

#[test]
fn features_that_cannot_be_honoured_are_refused() {
    let float = FeatureType::F32;
    for spec in [
        ParseExample::new(),
        ParseExample::new().var_len("a", float).fixed_len("a", float, []),
        ParseExample::new().var_len("a/values", float).sparse("a", ["i"], "v", float, [1]),
        ParseExample::new().sparse("a", ["i"], "v", float, [1, 2]),
        ParseExample::new().sparse("a", [""; 0], "v", float, []),
        // The key of the places is of integers, and asked for as floats.
        ParseExample::new().var_len("i", float).sparse("a", ["i"], "v", float, [1]),
        ParseExample::new().fixed_len_sequence("a", [], vec![1.0, 2.0]),
        ParseExample::new().fixed_len_sequence("a", [0], 1.0),
        ParseExample::new().fixed_len_or("a", [2], vec![1.0, 2.0, 3.0]),
    ] {
        let error = parse_example(&[b""], &spec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{spec:?}");
    }
    let spec = ParseExample::new().fixed_len("a", FeatureType::Bytes, [2]);
    assert_eq!(parse_example(&[b""], &spec).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// One long record among very many short ones would take a memory that none of them has.
#[test]
fn sequences_that_take_too_much_when_padded_are_refused() {
    let mut cases = Cases::new();
    let long =
        record([("i", Feature::Integers(vec![1; 20_000])), ("b", Feature::Bytes(vec![vec![]; 20_000]))]);
    let mut records = vec![long];
    records.resize(20_000, record([]));
    let len_bytes = records.iter().map(Vec::len).sum();
    for spec in [
        ParseExample::new().fixed_len_sequence("i", [], 0),
        ParseExample::new().fixed_len_sequence("b", [], ""),
    ] {
        let read = || parse_example(&records, &spec).err().into_iter().collect();
        let error = cases.tried(&read, &|_| true, len_bytes, &|| format!("{spec:?}")).unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

fn mutants() -> usize {
    std::env::var("FOREBAY_MUTANTS").map_or(2_000, |n| n.parse().expect("FOREBAY_MUTANTS is a number"))
}

#[test]
fn damaged_records_are_decoded_or_refused_by_number() {
    let mut cases = Cases::new();
    let at_1 = |error: &Error| error.location().record == Some(1);
    let spec = ParseExample::new()
        .var_len("b", FeatureType::Bytes)
        .fixed_len_sequence("f", [], 0.5)
        .sparse("s", ["i"], "i", FeatureType::I64, [1 << 62])
        .nullable("none", FeatureType::I64, [3]);
    let good = record([
        ("b", Feature::Bytes(vec![b"word".to_vec(), Vec::new(), b"longer word".to_vec()])),
        ("f", Feature::Floats(vec![0.25, -1.0])),
        ("i", Feature::Integers(vec![300, 2, 1 << 40])),
    ]);
    parse_example(&[&good], &spec).unwrap();
    let csv = my_test();
    for seed in 0..mutants() {
        let mut random = Random(seed as u64);
        let (mut example, mut line) = (good.clone(), b"4. , \"5\" , 1".to_vec());
        for _ in 0..=random.below(3) {
            random.mutate(&mut example);
            random.mutate(&mut line);
        }
        let read = || parse_example(&[&good, &example], &spec).err().into_iter().collect();
        cases.tried(&read, &at_1, example.len(), &|| format!("example {seed}"));
        let read = || decode_csv(&[&b"1,2,3"[..], &line], &csv).err().into_iter().collect();
        cases.tried(&read, &at_1, line.len(), &|| format!("line {seed}"));
    }
    assert!(cases.read > 0 && cases.refused > 0);
}

#[test]
fn examples_of_others_have_the_values_a_dataset_has() {
    let Some((folder, _)) = common::test_data() else { return };
    let path = folder.join("tfrecord/mnist_1000.tfrecord").to_str().unwrap().to_owned();
    let records = TfRecordReader::new().read_up_to(&closed_names([&path]), usize::MAX).unwrap();
    let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
    let table = common::gather_all(&Dataset::open(&path).unwrap());
    let spec = table.schema().fields().iter().fold(ParseExample::new(), |spec, field| {
        let ColumnKind::Tensor { dtype, shape } = ColumnKind::of(field) else { panic!("{field}") };
        let dtype = if dtype == DType::F32 { FeatureType::F32 } else { FeatureType::I64 };
        spec.fixed_len(field.name(), dtype, shape.iter().copied())
    });
    let read = parse_example(&records, &spec).unwrap();
    assert_eq!(read.num_rows(), 1000);
    assert!(
        read.columns().iter().zip(table.columns()).all(|(ours, theirs)| ours.to_data() == theirs.to_data())
    );

    let path = folder.join("tfrecord/morris_raw.tfrecord").to_str().unwrap().to_owned();
    let (_, raw) = TfRecordReader::new().read(&closed_names([&path])).unwrap();
    let error = parse_example(&[raw], &ParseExample::new().var_len("x", FeatureType::F32)).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(0)));
}

fn batch(columns: impl IntoIterator<Item = (&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn stacked_columns_stand_where_the_first_stood() {
    let floats = |values: [f32; 3]| Arc::new(Float32Array::from(values.to_vec())) as ArrayRef;
    let labels = Arc::new(Int32Array::from(vec![7, 8, 9])) as ArrayRef;
    let columns = [
        ("label", labels),
        ("x1", floats([1.0, 2.0, 3.0])),
        ("name", Arc::new(BinaryArray::from_vec(vec![b"a", b"b", b"c"])) as ArrayRef),
        ("x2", floats([4.0, 5.0, 6.0])),
    ];
    let whole = batch(columns);
    let stacked = stack(&whole, "features", &["x2", "x1"]).unwrap();
    let names: Vec<_> = stacked.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["label", "features", "name"]);
    let values = stacked["features"].as_fixed_size_list().values().as_primitive::<Float32Type>().values();
    assert_eq!(values, &[4.0, 1.0, 5.0, 2.0, 6.0, 3.0]);
    // A stack may be called like a column of its own, and rows in the middle are those rows.
    let sliced = stack(&whole.slice(1, 2), "x1", &["x1", "x2"]).unwrap();
    let values = sliced["x1"].as_fixed_size_list().values().as_primitive::<Float32Type>().values();
    assert_eq!(values, &[2.0, 5.0, 3.0, 6.0]);
    // Stacks are stacked again: two of [2] are one of [2, 2].
    let again = [("a", stacked["features"].clone()), ("b", stacked["features"].clone())];
    let again = stack(&batch(again), "both", &["a", "b"]).unwrap();
    let kind = ColumnKind::of(again.schema_ref().field(0));
    assert_eq!(kind, ColumnKind::Tensor { dtype: DType::F32, shape: [2, 2].into() });
    assert_eq!(stack(&whole.slice(0, 0), "features", &["x1", "x2"]).unwrap().num_rows(), 0);
}

#[test]
fn columns_that_cannot_be_stacked_are_refused_by_name() {
    let whole = batch([
        ("f", Arc::new(Float32Array::from(vec![1.0, 2.0])) as ArrayRef),
        ("g", Arc::new(Float32Array::from(vec![Some(1.0), None])) as ArrayRef),
        ("d", Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef),
        ("t", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef),
        ("s", Arc::new(BinaryArray::from_vec(vec![b"a", b"b"])) as ArrayRef),
        ("i", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
    ]);
    for (name, columns, words) in [
        ("x", &["f", "d"][..], "'d' is f64"),
        ("x", &["f", "s"], "'s' is bytes"),
        ("x", &["t"], "'t' is bool"),
        ("x", &["f", "f"], "'f' is named twice"),
        ("x", &["f", "q"], "no column is called 'q'"),
        ("x", &[], "no columns"),
        ("i", &["f"], "another column is"),
    ] {
        let error = stack(&whole, name, columns).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    let error = stack(&whole, "x", &["f", "g"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.message().contains("column 'g' is null in row 1"), "{error}");
}

/// What these decoders and a dataset read of the same text is the same.
#[test]
fn a_dataset_and_decode_csv_share_their_grammar() {
    let folder = Folder::new();
    let lines = ["1.5,\"a \"\"b\"\"\", 3 ", " , ,NA", "\" 2\",\"x,y\",-0"];
    let path = folder.file("grammar.csv", (lines.join("\r\n") + "\r\n").as_bytes());
    let options = CsvOptions::new().header(false).names(["x", "t", "n"]).na_values(["NA"]);
    let options = options.column("x", CsvType::F64).column("t", CsvType::Text).column("n", CsvType::I64);
    let options = options.default_value("x", 0.5).default_value("t", "none").default_value("n", -1);
    let table = common::gather_all(&Dataset::options().csv(options).open(&path).unwrap());
    let csv = DecodeCsv::new().column("x", 0.5f64).column("t", "none").column("n", -1i64).na_value("NA");
    let read = decode_csv(&lines, &csv).unwrap();
    assert!(
        read.columns().iter().zip(table.columns()).all(|(ours, theirs)| ours.to_data() == theirs.to_data())
    );
    let bad = "1,b\"c,2";
    let error = decode_csv(&[bad], &csv).unwrap_err();
    fs::write(&path, format!("1,b,2\n{bad}\n")).unwrap();
    let theirs = Dataset::options().csv(CsvOptions::new().header(false)).open(&path).unwrap();
    let theirs = theirs.gather(&[1]).unwrap_err();
    assert_eq!(error.message(), theirs.message());
}

/// Frames of examples through a reader, compressed, into columns.
#[test]
fn records_of_a_compressed_file_become_columns() {
    let folder = Folder::new();
    let payloads: Vec<_> = (0..10u8).map(small::example).collect();
    let path = folder.file("examples.gz", &small::gzip(&frames(&payloads)));
    let reader = TfRecordReader::new().compression(Compression::Gzip);
    let (queue, mut rows) = (closed_names([path]), 0);
    while let Ok(records) = reader.read_up_to(&queue, 4) {
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        let batch =
            parse_example(&records, &ParseExample::new().fixed_len("f", FeatureType::F32, [])).unwrap();
        let floats = batch["f"].as_primitive::<Float32Type>().values();
        assert!(floats.iter().enumerate().all(|(row, &float)| float == (rows + row) as f32));
        rows += batch.num_rows();
    }
    assert_eq!(rows, 10);
}
