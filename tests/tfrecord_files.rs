//! TFRecord files are read as the reference reader reads them: payload for payload, and feature for feature.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what Google's protobuf found in each file of that folder. Without the
//! variable the tests of them are skipped and say so.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use common::example::{Feature, Record};
use common::told::{Told, files_of};
use common::{
    converts_to_what_gather_gives, exact_sum, gather_all, hex, loads_what_gather_gives, rows_of, test_data,
};
use forebay::format::{Checksums, ExampleSpec, FeatureType};
use forebay::{Dataset, ErrorKind, Loader};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The payloads of a file, without their frames.
fn payloads(path: &Path) -> (Dataset, Vec<Vec<u8>>) {
    let raw = Dataset::options().raw_records().checksums(Checksums::Always).open(path).unwrap();
    let table = gather_all(&raw);
    let rows = table.column(0).as_binary::<i32>().iter().map(|row| row.unwrap().to_vec()).collect();
    (raw, rows)
}

#[test]
fn every_file_holds_what_the_reference_reader_found() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in files_of(&expected, "tfrecord") {
        let told = Told::new(path, entry);
        told.pass_over(&["format", "compression"]);
        let (raw, payloads) = payloads(&folder.join(path));
        check_payloads(&told, &payloads);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        if let Some(message) = told.maybe("message") {
            let records: Vec<_> = payloads.iter().map(|payload| Record::parse(payload)).collect();
            let has_lists = records.iter().any(|record| !record.lists.is_empty());
            assert_eq!(*message, if has_lists { "SequenceExample" } else { "Example" }, "{path}");
            check_records(&told, &records);
            check_columns(path, &gather_all(&dataset), &records);
        } else {
            assert!(told.text("payload").starts_with("raw bytes"), "{path}");
            assert_eq!(hashes(&dataset), hashes(&raw), "{path}");
        }
        for dataset in [&raw, &dataset] {
            loads_what_gather_gives(path, dataset);
            converts_to_what_gather_gives(path, dataset);
        }
        read += 1;
    }
    assert!(read >= 11, "only {read} files");
}

fn hashes(dataset: &Dataset) -> Vec<u64> {
    common::row_hashes(&gather_all(dataset))
}

fn check_payloads(told: &Told<'_>, payloads: &[Vec<u8>]) {
    let of = told.of();
    assert_eq!(payloads.len() as u64, told.number("records"), "{of}");
    // A length of eight bytes, its checksum, and that of the payload.
    let framed = payloads.iter().map(|payload| payload.len() + 16).sum::<usize>();
    assert_eq!(framed as u64, told.number("uncompressed_bytes"), "{of}");
    // Every checksum was looked at when the payloads were read.
    assert_eq!(*told.get("crc_ok"), true, "{of}");
    let mut hash = Sha256::new();
    for payload in payloads {
        hash.update((payload.len() as u32).to_le_bytes());
        hash.update(payload);
    }
    assert_eq!(hex(&hash.finalize()), told.text("payloads_sha256"), "{of}");
    for (key, payload) in [("first_payload", &payloads[0]), ("last_payload", &payloads[payloads.len() - 1])] {
        if let Some(expected) = told.maybe(key) {
            assert_eq!(in_json(payload), *expected, "{of}: {key}");
        }
    }
}

/// Bytes as the expectations show them: their length, and the first of them.
fn in_json(bytes: &[u8]) -> Value {
    json!({"hex": hex(&bytes[..bytes.len().min(32)]), "len": bytes.len()})
}

/// The expectations hold of `records`, and so of whatever agrees with them.
fn check_records(told: &Told<'_>, records: &[Record]) {
    for (name, told) in told.parts("features") {
        let found: Vec<_> = records.iter().filter_map(|record| record.features.get(name)).collect();
        check_feature(&told, &found);
    }
    if told.maybe("feature_lists").is_some() {
        for (name, told) in told.parts("feature_lists") {
            let steps: Vec<_> = records.iter().filter_map(|record| record.lists.get(name)).collect();
            assert_eq!(steps.len() as u64, told.number("present"), "{}", told.of());
            let lens = || steps.iter().map(|steps| steps.len() as u64);
            assert_eq!(lens().min(), told.get("steps_min").as_u64(), "{}", told.of());
            assert_eq!(lens().max(), told.get("steps_max").as_u64(), "{}", told.of());
        }
    }
    let first = told.get("first").as_object().unwrap();
    assert_eq!(first.len(), records[0].features.len(), "{}", told.of());
    for (name, expected) in first {
        let values: Value = match &records[0].features[name] {
            Feature::Unset => Value::Null,
            // Long lists are cut in the expectations.
            Feature::Bytes(values) => values.iter().take(8).map(|value| in_json(value)).collect(),
            Feature::Floats(values) => values.iter().take(8).map(|&value| json!(f64::from(value))).collect(),
            Feature::Integers(values) => json!(&values[..values.len().min(8)]),
        };
        assert_eq!(values, *expected, "{}: first {name}", told.of());
    }
}

fn check_feature(told: &Told<'_>, found: &[&Feature]) {
    let of = told.of();
    assert_eq!(found.len() as u64, told.number("present"), "{of}");
    let mut kinds = BTreeMap::new();
    found.iter().for_each(|feature| *kinds.entry(feature.kind()).or_insert(0) += 1);
    assert_eq!(json!(kinds), *told.get("kinds"), "{of}");
    let lens = || found.iter().map(|feature| feature.len() as u64);
    assert_eq!(lens().min(), told.get("len_min").as_u64(), "{of}");
    assert_eq!(lens().max(), told.get("len_max").as_u64(), "{of}");
    if let Some(total) = told.maybe("bytes_total") {
        assert_eq!(json!(found.iter().map(|feature| feature.bytes().len()).sum::<usize>()), *total, "{of}");
    }
    if let Some(expected) = told.maybe("float_sum") {
        let floats = found.iter().filter_map(|feature| match feature {
            Feature::Floats(values) => Some(values.iter().map(|&value| f64::from(value))),
            _ => None,
        });
        assert_eq!(Some(exact_sum(floats.flatten())), expected.as_f64(), "{of}");
    }
    if let Some(expected) = told.maybe("int_sum") {
        let integers = found.iter().filter_map(|feature| match feature {
            Feature::Integers(values) => Some(values.iter().map(|&value| i128::from(value))),
            _ => None,
        });
        assert_eq!(integers.flatten().sum::<i128>().to_string(), expected.as_str().unwrap(), "{of}");
    }
}

/// Every value of `table` is that of its record, and no feature that has one is left out.
fn check_columns(path: &str, table: &RecordBatch, records: &[Record]) {
    let typed = |record: &Record| {
        let features = record.features.iter().filter(|(_, feature)| **feature != Feature::Unset);
        let lists = record.lists.iter().filter(|(_, steps)| steps.iter().any(|step| step.len() > 0));
        features.map(|(name, _)| name.clone()).chain(lists.map(|(name, _)| name.clone())).collect::<Vec<_>>()
    };
    let names: std::collections::BTreeSet<_> = records.iter().flat_map(typed).collect();
    let is_lengths = |name: &str| name.strip_suffix("/lengths").is_some_and(|name| names.contains(name));
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone());
    assert!(columns.filter(|name| !is_lengths(name)).eq(names.iter().cloned()), "{path}");
    for name in &names {
        let column = table.column_by_name(name).unwrap();
        let lengths = table.column_by_name(&format!("{name}/lengths"));
        let rows = values_of(column);
        for (row, record) in records.iter().enumerate() {
            let feature = record.features.get(name).unwrap_or(&Feature::Unset);
            let steps = record.lists.get(name).map_or(std::slice::from_ref(feature), Vec::as_slice);
            let bytes = steps.iter().flat_map(Feature::bytes).collect::<Vec<u8>>();
            let is_missing = !record.lists.contains_key(name) && feature.len() == 0;
            let expected =
                (!is_missing || !schema.field_with_name(name).unwrap().is_nullable()).then_some(bytes);
            assert_eq!(rows[row], expected, "{path}, {name}, record {row}");
            if let Some(lengths) = lengths {
                let found = lengths.as_list::<i32>().value(row);
                let found: Vec<_> =
                    found.as_primitive::<Int64Type>().values().iter().map(|&len| len as usize).collect();
                let lens = steps.iter().filter(|step| **step != Feature::Unset).flat_map(Feature::lens);
                assert_eq!(found, lens.collect::<Vec<_>>(), "{path}, {name}, record {row}");
            }
        }
    }
}

/// The values of each row one after another; nothing where the row is null.
fn values_of(column: &ArrayRef) -> Vec<Option<Vec<u8>>> {
    match column.data_type() {
        DataType::List(item) => {
            let lists = column.as_list::<i32>();
            let value = |row| match item.data_type() {
                DataType::Float32 => {
                    let items = lists.value(row);
                    let items = items.as_primitive::<Float32Type>();
                    items.values().iter().flat_map(|value| value.to_le_bytes()).collect()
                }
                _ => {
                    let items = lists.value(row);
                    let items = items.as_primitive::<Int64Type>();
                    items.values().iter().flat_map(|value| value.to_le_bytes()).collect()
                }
            };
            (0..lists.len()).map(|row| lists.is_valid(row).then(|| value(row))).collect()
        }
        DataType::Binary => column.as_binary::<i32>().iter().map(|value| value.map(<[u8]>::to_vec)).collect(),
        _ => rows_of(column),
    }
}

#[test]
fn shards_of_one_dataset_are_read_as_the_first_of_them_unless_told() {
    let Some((folder, expected)) = test_data() else { return };
    let entries: Vec<_> = files_of(&expected, "tfrecord");
    let shards = entries.iter().filter(|(path, _)| path.contains("taxi_eval"));
    let rows: u64 = shards.map(|(_, entry)| entry["records"].as_u64().unwrap()).sum();
    let pattern = folder.join("tfrecord/taxi_eval/*.gz");
    let dataset = Dataset::open(&pattern).unwrap();
    assert_eq!((dataset.len(), dataset.shards().unwrap().len()), (rows, 4));
    // In the first shard every trip has its seconds; record 379 of the second has none.
    let first = dataset.shards().unwrap()[0].num_rows;
    let table = gather_all(&dataset);
    let seconds = table.column_by_name("trip_seconds").unwrap();
    assert_eq!((seconds.null_count(), seconds.is_null(first as usize + 379)), (1, true));
    loads_what_gather_gives("taxi_eval", &dataset);
    // Batches without it are read as ever; the one that has it says what to do.
    let loader = Loader::builder(&dataset).columns(["trip_seconds"]).batch_size(64).build().unwrap();
    for batch in loader.map(Result::unwrap) {
        let at = batch.step() * 64;
        let seconds = batch.tensor::<i64>("trip_seconds");
        if !(at..at + 64).contains(&(first + 379)) {
            assert_eq!(seconds.unwrap().as_slice().len(), batch.num_rows());
            continue;
        }
        let error = seconds.unwrap_err();
        assert!(error.message().contains("is null in row") && error.message().contains("fill"), "{error}");
    }
    // It is an error where it was asked for.
    let spec = ExampleSpec::new().fixed_len("trip_seconds", FeatureType::I64, []);
    let strict = Dataset::options().examples(spec).open(&pattern).unwrap();
    let error = strict.gather(&(0..rows).collect::<Vec<_>>()).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(379)), "{error}");
    let path = error.location().path.as_ref().unwrap();
    assert!(path.ends_with("data_tfrecord-00001-of-00012.gz"), "{error}");
    assert!(error.message().contains("'trip_seconds'") && error.message().contains("nullable"), "{error}");
    let spec = ExampleSpec::new().nullable("trip_seconds", FeatureType::I64, []);
    let spec = spec.nullable("company", FeatureType::Bytes, []).fixed_len("fare", FeatureType::F32, []);
    let dataset = Dataset::options().examples(spec).open(&pattern).unwrap();
    loads_what_gather_gives("taxi_eval", &dataset);
    converts_to_what_gather_gives("taxi_eval", &dataset);
    let table = gather_all(&dataset);
    let sum = |key: &str, feature: &str| {
        let shards = entries.iter().filter(|(path, _)| path.contains("taxi_eval"));
        let of = |entry: &Value| entry["features"][feature][key].clone();
        shards.map(|(_, entry)| of(entry)).collect::<Vec<_>>()
    };
    let seconds = table.column(0).as_primitive::<Int64Type>();
    let expected: i64 =
        sum("int_sum", "trip_seconds").iter().map(|sum| sum.as_str().unwrap().parse::<i64>().unwrap()).sum();
    assert_eq!((seconds.null_count(), seconds.iter().flatten().sum::<i64>()), (1, expected));
    let companies = table.column(1).as_binary::<i32>();
    let expected: u64 = sum("bytes_total", "company").iter().map(|sum| sum.as_u64().unwrap()).sum();
    assert_eq!(companies.iter().flatten().map(|name| name.len() as u64).sum::<u64>(), expected);
}

#[test]
fn features_are_read_as_they_are_asked_for() {
    let Some((folder, _)) = test_data() else { return };
    let spec = ExampleSpec::new()
        .var_len("image/object/bbox/xmax", FeatureType::F32)
        .fixed_len("image/width", FeatureType::I64, [])
        .fixed_len_or("image/absent", [2], 7i64);
    let pictures = [folder.join("tfrecord/od_train.tfrecord"), folder.join("tfrecord/od_val.tfrecord")];
    let dataset = Dataset::options().examples(spec).open(&pictures[..]).unwrap();
    let table = gather_all(&dataset);
    let found: Vec<Value> =
        (0..3).map(|at| (0..2).map(|row| common::to_json(table.column(at), row)).collect()).collect();
    assert_eq!(json!(found), json!([[[0.25, 0.25, 0.375], [0.625]], [16, 8], [[7, 7], [7, 7]]]));
    // Raw payloads asked for as examples.
    let raw = folder.join("tfrecord/morris_raw.tfrecord");
    let spec = ExampleSpec::new().fixed_len("x", FeatureType::I64, []);
    let error = Dataset::options().examples(spec).open(&raw).unwrap().gather(&[2]).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(2)), "{error}");
    assert_eq!(error.location().path.as_deref(), Some(&*raw), "{error}");
}
