//! Files that other programs wrote are read as the reference readers read them: Arrow IPC, idx, fixed-length records.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what pyarrow found in each file of that folder. Without the
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
use common::told::{Told, files_of};
use common::{
    check_table, converts_to_what_gather_gives, exact_sum, float, gather_all, hex, loads_what_gather_gives,
    rows_of, shape, sum_of_bytes, test_data, to_json,
};
use forebay::format::FixedSpec;
use forebay::{Dataset, ErrorKind, OpenOptions};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The files under `folders` and what is expected of them.
fn expected_of<'a>(expected: &'a Value, folders: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let files = expected["files"].as_object().unwrap().iter();
    let files = files.map(|(path, entry)| (path.as_str(), entry));
    files.filter(move |(path, _)| folders.iter().any(|folder| path.starts_with(folder)))
}

#[test]
fn every_golden_file_is_told_of() {
    let Some((folder, expected)) = test_data() else { return };
    let mut found = Vec::new();
    list_files(&folder.join("arrow"), &mut found);
    for path in
        found.iter().filter(|path| path.extension().is_some_and(|e| e == "arrow_file" || e == "stream"))
    {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        assert!(expected["files"].get(name).is_some(), "nothing is said of {name}");
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
    for (path, entry) in expected_of(&expected, &["arrow/", "hf/", "idx/", "fixed_binary/"]) {
        let Some(reason) = entry["expect"].as_str() else { continue };
        let error = Dataset::open(folder.join(path)).expect_err(reason);
        assert!(matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Unsupported), "{error}");
        assert!(error.location().path.as_ref().is_some_and(|at| at.ends_with(path)), "{error}");
        refused += 1;
    }
    assert_eq!(refused, 1);
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
    let files = files_of(&expected, "idx").into_iter();
    for (path, entry) in files.filter(|(_, entry)| entry.get("expect").is_none()) {
        let told = Told::new(path, entry);
        told.pass_over(&["format", "compression"]);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        let (dtype, dims) = shape(&dataset, "data");
        assert_eq!((&*dtype, json!(dims)), (told.text("dtype"), told.get("dims").clone()), "{path}");
        let column = gather_all(&dataset).column(0).clone();
        let payload = payload(&column);
        assert_eq!(payload.len() as u64, told.number("payload_bytes"), "{path}");
        assert_eq!(hex(&Sha256::digest(&payload)), told.text("payload_sha256"), "{path}");
        assert_eq!(json!(sum_of_bytes(&payload)), *told.get("sum"), "{path}");
        // The file is a header and the payload.
        let code = told.number("dtype_code") as u8;
        let mut file = vec![0, 0, code, dims.len() as u8];
        dims.iter().for_each(|&n| file.extend((n as u32).to_be_bytes()));
        file.extend(&payload);
        assert_eq!(file.len() as u64, told.number("uncompressed_bytes"), "{path}");
        assert_eq!(hex(&Sha256::digest(&file)), told.text("uncompressed_sha256"), "{path}");
        let row_bytes = payload.len() / dims[0] as usize;
        check_records(&told, told.maybe("item_sha256"), &payload, row_bytes);
        if let Some(histogram) = told.maybe("histogram") {
            assert_eq!(counts(&payload), *histogram, "{path}");
        }
        loads_what_gather_gives(path, &dataset);
        converts_to_what_gather_gives(path, &dataset);
    }
}

/// The bytes of all rows of a column of bytes.
fn payload(column: &ArrayRef) -> Vec<u8> {
    let data = column.to_data();
    let data = data.child_data().first().cloned().unwrap_or(data);
    data.buffers()[0].as_slice()[data.offset()..][..data.len()].to_vec()
}

/// How often each digit occurs.
fn counts(digits: &[u8]) -> Value {
    (0..10).map(|digit| json!(digits.iter().filter(|&&found| found == digit).count())).collect()
}

#[test]
fn records_of_one_length_hold_what_their_specification_says() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "fixed_binary") {
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        let spec = match told.text("layout") {
            "u8[3,32,32]" => "image:u8[3,32,32]",
            "u8 label, u8[28,28]" => "label:u8,image:u8[28,28]",
            other => panic!("{path} is laid out as {other}"),
        };
        let spec: FixedSpec = spec.parse().unwrap();
        let record_bytes = spec.record_bytes as usize;
        assert_eq!(record_bytes as u64, told.number("record_bytes"), "{path}");
        let dataset = OpenOptions::default().fixed(spec).open(folder.join(path)).unwrap();
        assert_eq!(dataset.len(), told.number("records"), "{path}");
        let columns: Vec<_> = gather_all(&dataset).columns().iter().map(payload).collect();
        // Fields lie side by side in a record.
        let rows = dataset.len() as usize;
        let field = |row: usize, column: &'_ Vec<u8>| {
            let width = column.len() / rows;
            column[row * width..(row + 1) * width].to_vec()
        };
        let record = |row| columns.iter().flat_map(move |column| field(row, column));
        let records: Vec<u8> = (0..rows).flat_map(record).collect();
        check_records(&told, told.maybe("record_sha256"), &records, record_bytes);
        if told.maybe("labels_first16").is_some() {
            assert_eq!(json!(columns[0][..16]), *told.get("labels_first16"), "{path}");
            assert_eq!(counts(&columns[0]), *told.get("label_histogram"), "{path}");
            assert_eq!(json!(sum_of_bytes(&columns[1])), *told.get("pixel_sum"), "{path}");
        } else {
            assert_eq!(json!(sum_of_bytes(&records)), *told.get("sum"), "{path}");
            assert_eq!(hex(&Sha256::digest(&records)), told.text("payload_sha256"), "{path}");
        }
        loads_what_gather_gives(path, &dataset);
        converts_to_what_gather_gives(path, &dataset);
    }
}

/// The hashes of single records, and the first and last bytes, where they are given.
fn check_records(told: &Told<'_>, hashes: Option<&Value>, bytes: &[u8], record_bytes: usize) {
    for (index, sha256) in hashes.and_then(Value::as_object).into_iter().flatten() {
        let record = &bytes[index.parse::<usize>().unwrap() * record_bytes..][..record_bytes];
        assert_eq!(hex(&Sha256::digest(record)), *sha256, "{}, record {index}", told.of());
    }
    for (key, n) in [("first16", 16), ("first8", 8)] {
        if let Some(first) = told.maybe(key) {
            assert_eq!(json!(bytes[..n.min(bytes.len())]), *first, "{}", told.of());
        }
    }
    if let Some(last) = told.maybe("last4") {
        assert_eq!(json!(bytes[bytes.len().saturating_sub(4)..]), *last, "{}", told.of());
    }
}

#[test]
fn every_row_comes_through_loader_and_converter_once() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, _) in expected_of(&expected, &["arrow/", "hf/"]).filter(|(path, _)| !path.ends_with('/')) {
        let dataset = Dataset::open(folder.join(path)).unwrap();
        loads_what_gather_gives(path, &dataset);
        converts_to_what_gather_gives(path, &dataset);
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
