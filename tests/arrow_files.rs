//! Files that other programs wrote are read as the reference readers read them: Arrow IPC, idx, npy, fixed-length
//! records.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what pyarrow and NumPy found in each file of that folder. Without the
//! variable the tests of them are skipped and say so.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, Int16Array, Int32Array, ListArray, RecordBatch, StringArray, make_array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::writer::FileWriter;
use common::{
    check_table, exact_sum, float, gather_all, hex, loads_what_gather_gives, rows_of, shape, sum_of_bytes,
    test_data, to_json,
};
use forebay::format::FixedSpec;
use forebay::{Dataset, ErrorKind, OpenOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Folders of formats this crate does not read.
const OTHER_FORMATS: [&str; 8] =
    ["csv/", "tfrecord/", "parquet/", "webdataset/", "megatron/", "text/", "tokens/", "mds/"];

/// Files that must be refused although the reference reads them, and why.
const REFUSED: [(&str, ErrorKind, &str); 2] = [
    // Archives of several arrays.
    ("npy/candle_test.npz", ErrorKind::Unsupported, "not recognised"),
    ("npy/gcvspl.npz", ErrorKind::Unsupported, "not recognised"),
];

/// The files under `folders` and what is expected of them.
fn expected_of<'a>(expected: &'a Value, folders: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let files = expected["files"].as_object().unwrap().iter();
    let files = files.map(|(path, entry)| (path.as_str(), entry));
    files.filter(move |(path, _)| {
        let refused = REFUSED.iter().any(|(refused, ..)| refused == path);
        folders.iter().any(|folder| path.starts_with(folder)) && !refused
    })
}

#[test]
fn every_file_is_read_refused_or_of_another_format() {
    let Some((folder, expected)) = test_data() else { return };
    let read = ["arrow/", "hf/", "idx/", "npy/", "fixed_binary/"];
    let files = expected["files"].as_object().unwrap();
    for path in files.keys() {
        assert!(read.iter().chain(&OTHER_FORMATS).any(|folder| path.starts_with(folder)), "{path}");
    }
    let mut found = Vec::new();
    for subfolder in read {
        list_files(&folder.join(subfolder), &mut found);
    }
    for path in
        found.iter().filter(|path| path.extension().is_some_and(|e| e == "arrow_file" || e == "stream"))
    {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        assert!(files.contains_key(name), "nothing is said of {name}");
    }
    for (path, kind, words) in REFUSED {
        let error = Dataset::open(folder.join(path)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains(path), "{error}");
    }
}

fn list_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list_files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn files_that_must_be_refused_are_refused() {
    let Some((folder, expected)) = test_data() else { return };
    let mut refused = 0;
    for (path, entry) in expected_of(&expected, &["arrow/", "hf/", "idx/", "npy/", "fixed_binary/"]) {
        let Some(reason) = entry["expect"].as_str() else { continue };
        let error = Dataset::open(folder.join(path)).expect_err(reason);
        assert!(matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Unsupported), "{error}");
        assert!(error.location().path.as_ref().is_some_and(|at| at.ends_with(path)), "{error}");
        refused += 1;
    }
    assert_eq!(refused, 2);
}

#[test]
fn arrow_files_and_streams_hold_what_pyarrow_read() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in expected_of(&expected, &["arrow/", "hf/"]).filter(|(path, _)| !path.ends_with('/')) {
        let dataset = Dataset::open(folder.join(path)).unwrap();
        let batches = entry["batches"].as_u64().unwrap();
        assert_eq!(dataset.shards().unwrap()[0].num_chunks as u64, batches, "{path}");
        let reference = entry["same_rows_as"].as_str().map_or(entry, |other| &expected["files"][other]);
        check_table(path, &dataset, reference);
        read += 1;
    }
    assert!(read >= 48, "only {read} files");
}

#[test]
fn folders_of_the_datasets_library_hold_what_was_saved() {
    let Some((folder, expected)) = test_data() else { return };
    let saved = &expected["files"]["hf/housing_dict/"];
    for (split, rows) in saved["splits"].as_object().unwrap() {
        let pattern = folder.join("hf/housing_dict").join(split).join("*.arrow");
        let dataset = Dataset::open(pattern).unwrap();
        assert_eq!(Some(dataset.len()), rows.as_u64());
        assert_eq!(Some(dataset.shards().unwrap().len() as u64), saved["shards"][split].as_u64());
        let table = gather_all(&dataset);
        for (field, array) in table.schema().fields().iter().zip(table.columns()) {
            let nulls = saved["nulls"][split][field.name()].as_u64().unwrap_or(0);
            assert_eq!(array.null_count() as u64, nulls, "{split}: {}", field.name());
        }
        if split == "train" {
            for (name, value) in saved["train_first"].as_object().unwrap() {
                assert_eq!(to_json(table.column_by_name(name).unwrap(), 0), *value, "{name}");
            }
            let values = rows_of(table.column_by_name("median_house_value").unwrap());
            let sum = exact_sum(values.iter().flatten().map(|row| float(row)));
            assert_eq!(Some(sum), saved["train_median_house_value_sum"].as_f64());
        }
        loads_what_gather_gives(split, &dataset);
    }
}

#[test]
fn idx_files_hold_what_their_headers_say() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in expected_of(&expected, &["idx/"]).filter(|(_, entry)| entry.get("expect").is_none())
    {
        let dataset = Dataset::open(folder.join(path)).unwrap();
        let dims: Vec<_> = entry["dims"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(shape(&dataset, "data"), (entry["dtype"].as_str().unwrap().to_owned(), dims), "{path}");
        let rows = rows_of(gather_all(&dataset).column(0));
        let payload: Vec<_> = rows.iter().flatten().flatten().copied().collect();
        assert_eq!(hex(&Sha256::digest(&payload)), entry["payload_sha256"], "{path}");
        assert_eq!(json!(sum_of_bytes(&payload)), entry["sum"], "{path}");
        check_records(path, entry, &entry["item_sha256"], &rows);
        loads_what_gather_gives(path, &dataset);
    }
}

#[test]
fn npy_files_hold_what_numpy_loaded() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in expected_of(&expected, &["npy/"]).filter(|(_, entry)| entry.get("expect").is_none())
    {
        let dataset = Dataset::options().column_name("x").open(folder.join(path)).unwrap();
        let dims: Vec<_> = entry["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let dtype = match entry["dtype"].as_str().unwrap() {
            "<f8" => "f64",
            "<f4" => "f32",
            "<i8" => "i64",
            other => panic!("{path} is of type {other}"),
        };
        assert_eq!(shape(&dataset, "x"), (dtype.to_owned(), dims), "{path}");
        let bytes: Vec<_> = rows_of(gather_all(&dataset).column(0)).into_iter().flatten().flatten().collect();
        assert_eq!(hex(&Sha256::digest(&bytes)), entry["c_order_le_sha256"], "{path}");
        loads_what_gather_gives(path, &dataset);
    }
}

#[test]
fn records_of_one_length_hold_what_their_specification_says() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in expected_of(&expected, &["fixed_binary/"]) {
        let spec = match entry["layout"].as_str().unwrap() {
            "u8[3,32,32]" => "image:u8[3,32,32]",
            "u8 label, u8[28,28]" => "label:u8,image:u8[28,28]",
            other => panic!("{path} is laid out as {other}"),
        };
        let spec: FixedSpec = spec.parse().unwrap();
        assert_eq!(json!(spec.record_bytes), entry["record_bytes"], "{path}");
        let dataset = OpenOptions::default().fixed(spec).open(folder.join(path)).unwrap();
        assert_eq!(json!(dataset.len()), entry["records"], "{path}");
        let table = gather_all(&dataset);
        let columns: Vec<_> = table.columns().iter().map(rows_of).collect();
        let record = |row: usize| Some(columns.iter().flat_map(|rows| rows[row].clone().unwrap()).collect());
        let records: Vec<Option<Vec<u8>>> = (0..table.num_rows()).map(record).collect();
        check_records(path, entry, &entry["record_sha256"], &records);
        let sum =
            |rows: &[Option<Vec<u8>>]| json!(rows.iter().flatten().map(|row| sum_of_bytes(row)).sum::<u64>());
        if let Some(labels) = entry["labels_first16"].as_array() {
            let found: Vec<_> =
                columns[0].iter().take(labels.len()).map(|row| json!(row.as_ref().unwrap()[0])).collect();
            assert_eq!(found, *labels, "{path}");
            assert_eq!(sum(&columns[1]), entry["pixel_sum"], "{path}");
        } else {
            assert_eq!(sum(&records), entry["sum"], "{path}");
        }
        loads_what_gather_gives(path, &dataset);
    }
}

/// The hashes of single records, and their first and last values, where they are given.
fn check_records(path: &str, entry: &Value, hashes: &Value, records: &[Option<Vec<u8>>]) {
    for (index, sha256) in hashes.as_object().into_iter().flatten() {
        let record = records[index.parse::<usize>().unwrap()].as_ref().unwrap();
        assert_eq!(hex(&Sha256::digest(record)), *sha256, "{path}, record {index}");
    }
    let bytes = || records.iter().flatten().flatten();
    for (which, n) in [("first16", 16), ("first8", 8)] {
        if let Some(first) = entry[which].as_array() {
            assert_eq!(bytes().take(n).map(|byte| json!(byte)).collect::<Vec<_>>(), *first, "{path}");
        }
    }
}

#[test]
fn every_row_comes_through_the_loader_once() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, _) in expected_of(&expected, &["arrow/", "hf/"]).filter(|(path, _)| !path.ends_with('/')) {
        loads_what_gather_gives(path, &Dataset::open(folder.join(path)).unwrap());
    }
}

#[test]
fn lists_with_nulls_in_some_record_batches_are_gathered() {
    let lists = |rows: [&[Option<i32>]; 2]| {
        let rows = rows.map(|row| Some(row.to_vec()));
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows)) as ArrayRef
    };
    let batches =
        [lists([&[Some(1), Some(2)], &[]]), lists([&[None, Some(3)], &[Some(4)]]), lists([&[], &[Some(5)]])];
    let (_folder, dataset) = written(&batches.map(|column| table(vec![("x", column)])));
    let gathered = dataset.gather(&[5, 0, 2, 3, 0]).unwrap();
    let found: Vec<_> = (0..5).map(|row| to_json(gathered.column(0), row)).collect();
    assert_eq!(Value::from(found), json!([[5], [1, 2], [null, 3], [4], [1, 2]]));
}

#[test]
fn columns_of_one_name_are_all_gathered() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let fields = [&numbers, &text].map(|array| Field::new("x", array.data_type().clone(), true));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![numbers, text]).unwrap();
    let (_folder, dataset) = written(std::slice::from_ref(&batch));
    assert_eq!(gather_all(&dataset), batch);
}

#[test]
fn run_end_encoded_rows_keep_the_type_of_their_column() {
    let ends: ArrayRef = Arc::new(Int16Array::from(vec![2, 5]));
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), false));
    let data_type = DataType::RunEndEncoded(field("ends", &ends), field("worth", &values));
    let data = ArrayData::builder(data_type).len(5).child_data(vec![ends.to_data(), values.to_data()]);
    let batch = table(vec![("x", make_array(data.build().unwrap()))]);
    let (_folder, dataset) = written(std::slice::from_ref(&batch));
    let gathered = gather_all(&dataset);
    assert_eq!(gathered.schema(), batch.schema());
    let found: Vec<_> = (0..5).map(|row| to_json(gathered.column(0), row)).collect();
    assert_eq!(Value::from(found), json!(["a", "a", "b", "b", "b"]));
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// `batches` as arrow writes them into a file.
fn written(batches: &[RecordBatch]) -> (TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    let mut writer = FileWriter::try_new(fs::File::create(&path).unwrap(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    let dataset = Dataset::open(path).unwrap();
    (folder, dataset)
}
