//! Files that other programs wrote are read as the reference readers read them: Arrow IPC, idx, npy, fixed-length
//! records.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what pyarrow and NumPy found in each file of that folder. Without the
//! variable the tests of them are skipped and say so.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, Int16Array, Int32Array, ListArray, RecordBatch, StringArray,
    make_array,
};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Schema, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::ipc::writer::FileWriter;
use forebay::format::FixedSpec;
use forebay::{ColumnKind, Dataset, ErrorKind, Loader, OpenOptions, Shuffle};
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

/// Columns of a type that can be loaded, but not these: values inside their lists are null.
const NULLS_IN_LISTS: [&str; 4] =
    ["list_nullable", "fixedsizelist_nullable", "large_list_nullable", "large_list_nonnullable"];

/// The folder of test data and what is expected of it.
fn test_data() -> Option<(PathBuf, Value)> {
    let Some(folder) = env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: FOREBAY_TEST_DATA is not set");
        return None;
    };
    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    Some((folder, serde_json::from_str(&expected).unwrap()))
}

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

fn check_table(path: &str, dataset: &Dataset, expected: &Value) {
    assert_eq!(Some(dataset.len()), expected["rows"].as_u64(), "{path}");
    let table = gather_all(dataset);
    let columns = expected["columns"].as_array().unwrap();
    assert_eq!(table.num_columns(), columns.len(), "{path}");
    for ((field, array), column) in table.schema().fields().iter().zip(table.columns()).zip(columns) {
        let at = format!("{path}, column {}", field.name());
        assert_eq!(Some(field.name().as_str()), column["name"].as_str(), "{at}");
        assert_eq!(pyarrow_type(field.data_type()), plain_type(column["type"].as_str().unwrap()), "{at}");
        assert_eq!(Some(field.is_nullable()), column["nullable"].as_bool(), "{at}");
        check_column(&at, array, column);
        for (row, head) in expected["head"].as_array().unwrap().iter().enumerate() {
            // Duplicate names and what Python has no type for are not in the heads.
            if column.get("sha256").is_none() && head.get(field.name()).is_some() {
                assert_eq!(to_json(array, row), head[field.name()], "{at}, row {row}");
            }
        }
    }
    if let Some(metadata) = expected["schema_metadata"].as_object() {
        for (key, value) in metadata {
            // Long values are cut in the expectations.
            let value = value.as_str().unwrap().split('…').next().unwrap();
            assert!(dataset.schema().metadata()[key].starts_with(value), "{path}: {key}");
        }
    }
}

fn check_column(at: &str, array: &ArrayRef, expected: &Value) {
    let nulls = if *array.data_type() == DataType::Null { array.len() } else { array.null_count() };
    // Of a dictionary pyarrow counts the keys that are null, not the values; the hash knows both.
    if !expected["type"].as_str().unwrap().starts_with("dictionary") {
        assert_eq!(Some(nulls as u64), expected["nulls"].as_u64(), "{at}: nulls");
    }
    let rows = rows_of(array);
    if let Some(sha256) = expected["sha256"].as_str() {
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| flag_and_value(row, &mut bytes));
        assert_eq!(hex(&Sha256::digest(&bytes)), sha256, "{at}: sha256");
    }
    if let Some(bytes) = expected["bytes"].as_u64() {
        let prefix = if matches!(array.data_type(), DataType::FixedSizeBinary(_)) { 0 } else { 4 };
        assert_eq!(
            rows.iter().flatten().map(|row| row.len() as u64 - prefix).sum::<u64>(),
            bytes,
            "{at}: bytes"
        );
    }
    match &expected["sum"] {
        Value::String(sum) => {
            let values: Vec<_> = rows.iter().flatten().map(|row| integer(array.data_type(), row)).collect();
            assert_eq!(values.iter().sum::<i128>().to_string(), *sum, "{at}: sum");
            assert_eq!(json!(values.iter().min().map(|&n| n as i64)), expected["min"], "{at}: min");
            assert_eq!(
                values.iter().max().map(|n| n.to_string()),
                Some(expected["max"].to_string()),
                "{at}: max"
            );
        }
        Value::Number(sum) => {
            let values: Vec<_> = rows.iter().flatten().map(|row| float(row)).collect();
            assert_eq!(
                Some(values.iter().filter(|x| x.is_nan()).count() as u64),
                expected["nan"].as_u64(),
                "{at}"
            );
            assert_eq!(Some(exact_sum(values.iter().copied())), sum.as_f64(), "{at}: sum");
        }
        _ => {}
    }
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

/// An exact shuffle gives the rows that `gather` gives, each once; columns that cannot be loaded are refused by name.
fn loads_what_gather_gives(path: &str, dataset: &Dataset) {
    let mut names = BTreeSet::new();
    let mut loadable = Vec::new();
    for field in dataset.schema().fields() {
        let name = field.name();
        if !names.insert(name) {
            let error = Loader::builder(dataset).build().map(drop).unwrap_err();
            assert!(error.message().contains(&format!("'{name}' is asked for twice")), "{path}: {error}");
        } else if ColumnKind::of(field) == ColumnKind::Other {
            let error = Loader::builder(dataset).columns([name]).build().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}: {error}");
            assert!(error.message().contains(&format!("'{name}'")), "{path}: {error}");
        } else if NULLS_IN_LISTS.contains(&name.as_str()) {
            let mut loader = Loader::builder(dataset).columns([name]).build().unwrap();
            let error = loader.find_map(Result::err).unwrap_or_else(|| panic!("{path}: '{name}' was loaded"));
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}: {error}");
            assert!(error.message().contains("': values inside its lists"), "{path}: {error}");
        } else {
            loadable.push(name.as_str());
        }
    }
    if loadable.is_empty() {
        return;
    }
    let dataset = dataset.select(loadable.iter().copied()).unwrap();
    let mut expected = row_hashes(&gather_all(&dataset));
    let loader = Loader::builder(&dataset).batch_size(7).shuffle(Shuffle::Exact).seed(1).build().unwrap();
    let mut found = Vec::new();
    for batch in loader {
        let batch = batch.unwrap().record_batch().unwrap();
        assert_eq!(batch.schema().fields(), dataset.schema().fields(), "{path}");
        found.extend(row_hashes(&batch));
    }
    assert!(found.len() < 100 || found != expected, "{path}: the order is that of the file");
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected, "{path}: rows are missing, repeated or changed");
}

fn gather_all(dataset: &Dataset) -> RecordBatch {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap()
}

fn row_hashes(batch: &RecordBatch) -> Vec<u64> {
    let mut hashers = vec![DefaultHasher::new(); batch.num_rows()];
    let mut bytes = Vec::new();
    for array in batch.columns() {
        for (hasher, row) in hashers.iter_mut().zip(rows_of(array)) {
            bytes.clear();
            flag_and_value(&row, &mut bytes);
            hasher.write(&bytes);
        }
    }
    hashers.iter().map(Hasher::finish).collect()
}

/// 0 for a null, 1 and the value for a value.
fn flag_and_value(row: &Option<Vec<u8>>, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(row.is_some()));
    bytes.extend(row.iter().flatten());
}

/// The bytes of each value as the conventions of `expected.json` have them; those of a nested one are its parts'.
fn rows_of(array: &ArrayRef) -> Vec<Option<Vec<u8>>> {
    let values = |value: &dyn Fn(usize) -> Vec<u8>| -> Vec<Option<Vec<u8>>> {
        (0..array.len()).map(|row| array.is_valid(row).then(|| value(row))).collect()
    };
    let counted = |value: &[u8]| [&(value.len() as u32).to_le_bytes(), value].concat();
    match array.data_type() {
        DataType::Null => vec![None; array.len()],
        DataType::Boolean => values(&|row| vec![u8::from(array.as_boolean().value(row))]),
        DataType::Utf8 => values(&|row| counted(array.as_string::<i32>().value(row).as_bytes())),
        DataType::LargeUtf8 => values(&|row| counted(array.as_string::<i64>().value(row).as_bytes())),
        DataType::Binary => values(&|row| counted(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => values(&|row| counted(array.as_binary::<i64>().value(row))),
        DataType::FixedSizeBinary(_) => values(&|row| array.as_fixed_size_binary().value(row).to_vec()),
        DataType::FixedSizeList(item, n) if fixed_width(item.data_type(), array).is_some() => {
            let list = array.as_fixed_size_list();
            let per_row = *n as usize * fixed_width(item.data_type(), array).unwrap();
            let data = list.values().to_data();
            let start = data.offset() * per_row / (*n).max(1) as usize;
            values(&|row| data.buffers()[0][start + row * per_row..][..per_row].to_vec())
        }
        data_type => match data_type.primitive_width() {
            Some(width) => {
                let data = array.to_data();
                values(&|row| data.buffers()[0][(data.offset() + row) * width..][..width].to_vec())
            }
            None => values(&|row| to_json(array, row).to_string().into_bytes()),
        },
    }
}

/// Bytes of an item of a fixed-size list whose items lie in one run and are never null.
fn fixed_width(item: &DataType, list: &ArrayRef) -> Option<usize> {
    let values = list.as_fixed_size_list().values();
    item.primitive_width().filter(|_| values.null_count() == 0)
}

fn integer(data_type: &DataType, bytes: &[u8]) -> i128 {
    let signed = matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64);
    let fill = if signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(wide)
}

fn float(bytes: &[u8]) -> f64 {
    match bytes.len() {
        2 => half_to_f64(bytes.try_into().unwrap()),
        4 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        _ => f64::from_le_bytes(bytes.try_into().unwrap()),
    }
}

fn half_to_f64(bytes: [u8; 2]) -> f64 {
    half::f16::from_le_bytes(bytes).to_f64()
}

/// The sum of floats, rounded once. Source: J. R. Shewchuk, "Adaptive precision floating-point arithmetic", 1997, as in
/// Python's `math.fsum`; partials never overlap, so that rounding from the largest down is exact but for ties.
fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for mut x in values {
        let mut kept = 0;
        for i in 0..partials.len() {
            let mut y = partials[i];
            if x.abs() < y.abs() {
                (x, y) = (y, x);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }
    partials.iter().sum()
}

fn sum_of_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The element type and the whole shape of a tensor column.
fn shape(dataset: &Dataset, name: &str) -> (String, Vec<u64>) {
    match dataset.column_kind(name).unwrap() {
        ColumnKind::Tensor { dtype, shape } => {
            let rows = shape.iter().map(|&n| n as u64);
            (dtype.to_string(), [dataset.len()].into_iter().chain(rows).collect())
        }
        other => panic!("{name} is {other}"),
    }
}

/// The value in row `row` as Python's `json` prints what pyarrow makes of it.
fn to_json(array: &ArrayRef, row: usize) -> Value {
    let list =
        |items: ArrayRef| (0..items.len()).map(|item| to_json(&items, item)).collect::<Vec<_>>().into();
    if array.is_null(row) {
        return Value::Null;
    }
    macro_rules! primitive {
        ($t:ty) => {
            json!(array.as_primitive::<$t>().value(row))
        };
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => primitive!(Int8Type),
        DataType::Int16 => primitive!(Int16Type),
        DataType::Int32 => primitive!(Int32Type),
        DataType::Int64 => primitive!(Int64Type),
        DataType::UInt8 => primitive!(UInt8Type),
        DataType::UInt16 => primitive!(UInt16Type),
        DataType::UInt32 => primitive!(UInt32Type),
        DataType::UInt64 => primitive!(UInt64Type),
        DataType::Float16 => json!(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => json!(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => primitive!(Float64Type),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::List(_) => list(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row)),
        DataType::ListView(_) => list(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => list(array.as_list_view::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            columns.map(|(field, column)| (field.name().clone(), to_json(column, row))).collect()
        }
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            let pair = |entry| {
                let columns = entries.as_struct().columns();
                columns.iter().map(|column| to_json(column, entry)).collect::<Value>()
            };
            (0..entries.len()).map(pair).collect()
        }
        DataType::RunEndEncoded(run_ends, _) => match run_ends.data_type() {
            DataType::Int16 => run::<Int16Type>(array, row),
            DataType::Int32 => run::<Int32Type>(array, row),
            _ => run::<Int64Type>(array, row),
        },
        other => panic!("a {other} is nowhere nested"),
    }
}

fn run<R: arrow::datatypes::RunEndIndexType>(array: &ArrayRef, row: usize) -> Value {
    let run = array.as_run::<R>();
    to_json(run.values(), run.get_physical_index(row))
}

/// The name pyarrow has for a type.
fn pyarrow_type(data_type: &DataType) -> String {
    let child = |field: &Field| {
        let not_null = if field.is_nullable() { "" } else { " not null" };
        format!("{}: {}{not_null}", field.name(), pyarrow_type(field.data_type()))
    };
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Float16 => "halffloat".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 => "string".into(),
        DataType::LargeUtf8 => "large_string".into(),
        DataType::LargeBinary => "large_binary".into(),
        DataType::Date32 => "date32[day]".into(),
        DataType::Date64 => "date64[ms]".into(),
        DataType::Time32(of) => format!("time32[{}]", unit(of)),
        DataType::Time64(of) => format!("time64[{}]", unit(of)),
        DataType::Timestamp(of, None) => format!("timestamp[{}]", unit(of)),
        DataType::Timestamp(of, Some(zone)) => format!("timestamp[{}, tz={zone}]", unit(of)),
        DataType::FixedSizeBinary(n) => format!("fixed_size_binary[{n}]"),
        DataType::FixedSizeList(item, n) => format!("fixed_size_list<{}>[{n}]", child(item)),
        DataType::List(item) => format!("list<{}>", child(item)),
        DataType::LargeList(item) => format!("large_list<{}>", child(item)),
        DataType::ListView(item) => format!("list_view<{}>", child(item)),
        DataType::LargeListView(item) => format!("large_list_view<{}>", child(item)),
        DataType::Struct(fields) => {
            format!("struct<{}>", fields.iter().map(|field| child(field)).collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let types: Vec<_> = fields.iter().map(|field| pyarrow_type(field.data_type())).collect();
                format!("map<{}>", types.join(", "))
            }
            other => panic!("a map of {other}"),
        },
        DataType::RunEndEncoded(ends, values) => format!(
            "run_end_encoded<run_ends: {}, values: {}>",
            pyarrow_type(ends.data_type()),
            pyarrow_type(values.data_type())
        ),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The type rows of pyarrow's `name` are handed out as: dictionaries and views are decoded.
fn plain_type(name: &str) -> String {
    match name {
        "string_view" => "string".into(),
        "binary_view" => "binary".into(),
        _ => match name.strip_prefix("dictionary<values=") {
            Some(rest) => rest.split(',').next().unwrap().into(),
            None => name.into(),
        },
    }
}
