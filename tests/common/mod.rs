//! What the tests of file formats share: what a reference reader found in a file, and how rows are compared with it.

#![allow(dead_code)] // Each test uses its part.

pub mod cases;
pub mod example;
pub mod small;
pub mod told;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use forebay::convert::{ConvertOptions, convert, verify};
use forebay::{ColumnKind, Dataset, ErrorKind, Loader, LoaderBuilder, LoaderState, Partition, Shuffle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Columns of a type that can be loaded, but not these: values inside their lists are null.
const NULLS_IN_LISTS: [&str; 6] = [
    "list_nullable",
    "fixedsizelist_nullable",
    "large_list_nullable",
    "large_list_nonnullable",
    "int64_list",
    "int_array",
];

/// The folder of test data and what is expected of it.
pub fn test_data() -> Option<(PathBuf, Value)> {
    let Some(folder) = env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: FOREBAY_TEST_DATA is not set");
        return None;
    };
    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    Some((folder, serde_json::from_str(&expected).unwrap()))
}

/// The rows of `dataset` are those that `expected` describes.
pub fn check_table(path: &str, dataset: &Dataset, expected: &Value) {
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

/// The rows of a column are those that `expected` describes.
pub fn check_column(at: &str, array: &ArrayRef, expected: &Value) {
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
            assert_eq!(
                Some(exact_sum(values.iter().copied().filter(|x| !x.is_nan()))),
                sum.as_f64(),
                "{at}: sum"
            );
        }
        _ => {}
    }
}

/// An exact shuffle gives the rows that `gather` gives, each once; columns that cannot be loaded are refused by name.
pub fn loads_what_gather_gives(path: &str, dataset: &Dataset) {
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
    // Batches that no chunk is a multiple of, not too many of them.
    let loader = Loader::builder(&dataset).batch_size(7 + dataset.len() as usize / 500).threads(2);
    let mut found = Vec::new();
    for batch in loader.shuffle(Shuffle::Exact).seed(1).build().unwrap() {
        let batch = batch.unwrap().record_batch().unwrap();
        assert_eq!(batch.schema().fields(), dataset.schema().fields(), "{path}");
        found.extend(row_hashes(&batch));
    }
    assert!(found.len() < 100 || found != expected, "{path}: the order is that of the file");
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected, "{path}: rows are missing, repeated or changed");
    goes_on_where_it_was(path, &dataset.take(1000));
}

/// From a state the rest comes as it would have, in whatever order: with other threads, and on two ranks in place of one.
pub fn goes_on_where_it_was(path: &str, dataset: &Dataset) {
    let half = 2 + dataset.len() as usize / 60;
    let batches = |builder: LoaderBuilder| {
        let batches =
            builder.build().unwrap().map(|batch| row_hashes(&batch.unwrap().record_batch().unwrap()));
        batches.collect::<Vec<_>>()
    };
    for shuffle in [Shuffle::None, Shuffle::Exact, Shuffle::Block { rows: 8, blocks: 3 }] {
        let builder = Loader::builder(dataset).batch_size(2 * half).shuffle(shuffle).seed(5).epochs(2);
        let whole = batches(builder.clone().threads(2));
        for stop in [1, whole.len() * 2 / 3] {
            let mut loader = builder.clone().threads(1).build().unwrap();
            loader.by_ref().take(stop).for_each(|batch| drop(batch.unwrap()));
            let state = LoaderState::from_json(&loader.state().to_json()).unwrap();
            drop(loader);
            let builder = builder.clone().resume(&state);
            let rest = whole.get(stop..).unwrap_or_default();
            assert!(batches(builder.clone().threads(3)) == rest, "{path}, {shuffle}: after {stop} batches");
            let [first, second] = [0, 1].map(|rank| {
                let rank = Partition::new(rank, 2).unwrap();
                batches(builder.clone().threads(0).batch_size(half).partition(rank))
            });
            let both: Vec<_> = first.into_iter().zip(second).map(|(a, b)| [a, b].concat()).collect();
            assert!(both == rest, "{path}, {shuffle}: two ranks after {stop} batches");
        }
    }
}

/// What is converted is whole, and reads back with the types and rows that `gather` gives.
pub fn converts_to_what_gather_gives(path: &str, dataset: &Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let options = ConvertOptions::new().threads(2).num_shards(dataset.len().clamp(1, 2));
    let converted = convert(dataset, &out, &options, |_| {}).unwrap();
    assert_eq!((converted.rows, converted.skipped), (dataset.len(), 0), "{path}");
    assert!(verify(&out, |_| {}).unwrap().is_empty(), "{path}");
    let read = Dataset::open(&out).unwrap();
    assert_eq!(read.schema(), dataset.schema(), "{path}");
    assert!(gather_all(&read) == gather_all(dataset), "{path}: rows changed on the way");
}

/// All rows, in their order.
pub fn gather_all(dataset: &Dataset) -> RecordBatch {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap()
}

/// A hash of each row.
pub fn row_hashes(batch: &RecordBatch) -> Vec<u64> {
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
pub fn rows_of(array: &ArrayRef) -> Vec<Option<Vec<u8>>> {
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

/// A little-endian float of 2, 4 or 8 bytes.
pub fn float(bytes: &[u8]) -> f64 {
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
pub fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
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

/// The sum of bytes.
pub fn sum_of_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

/// As lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The element type and the whole shape of a tensor column.
pub fn shape(dataset: &Dataset, name: &str) -> (String, Vec<u64>) {
    match dataset.column_kind(name).unwrap() {
        ColumnKind::Tensor { dtype, shape } => {
            let rows = shape.iter().map(|&n| n as u64);
            (dtype.to_string(), [dataset.len()].into_iter().chain(rows).collect())
        }
        other => panic!("{name} is {other}"),
    }
}

/// The value in row `row` as Python's `json` prints what pyarrow makes of it.
pub fn to_json(array: &ArrayRef, row: usize) -> Value {
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
        // What no expectation shows, as it is stored.
        _ => json!(format!("{:?}", array.slice(row, 1).to_data())),
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
        DataType::Decimal128(precision, scale) => format!("decimal128({precision}, {scale})"),
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

/// The type rows of pyarrow's `name` are handed out as: dictionaries and views are decoded. What the entries of a map are
/// called, as in `map<string, int32 ('x')>`, is the reader's choice.
fn plain_type(name: &str) -> String {
    if let Some((start, rest)) = name.split_once(" ('") {
        return plain_type(&(start.to_owned() + rest.split_once("')").unwrap().1));
    }
    match name {
        "string_view" => "string".into(),
        "binary_view" => "binary".into(),
        _ => match name.strip_prefix("dictionary<values=") {
            Some(rest) => rest.split(',').next().unwrap().into(),
            None => name.into(),
        },
    }
}
