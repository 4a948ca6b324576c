//! A conversion writes the columns and the rows that were asked for, as a slow and obvious program would, with any number of threads.

#[path = "common/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use forebay::convert::{ConvertOptions, convert};
use forebay::sampler::{Order, Shuffle};
use forebay::{DType, Dataset, ErrorKind};
use python::oracle;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const ROWS: usize = 1000;

/// A label, three numbers of different types, a nullable one, two vectors, and text, in several record batches.
fn table() -> Dataset {
    let mut dice = StdRng::seed_from_u64(5);
    let list = |n: i32| DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int16, false)), n);
    let schema = Arc::new(Schema::new(vec![
        Field::new("y", DataType::Int64, false),
        Field::new("x1", DataType::Float32, false),
        Field::new("x2", DataType::Float64, false),
        Field::new("x10", DataType::UInt8, false),
        Field::new("age", DataType::Float32, true),
        Field::new("v3", list(3), false),
        Field::new("w3", list(3), false),
        Field::new("v5", list(5), false),
        Field::new("name", DataType::Utf8, false),
        Field::new("when", DataType::Timestamp(TimeUnit::Second, None), false),
    ]));
    let batch = |rows: usize, dice: &mut StdRng| {
        let mut vector = |n: i32| {
            let values = Int16Array::from_iter_values((0..rows * n as usize).map(|_| dice.random()));
            let item = Arc::new(Field::new("item", DataType::Int16, false));
            Arc::new(FixedSizeListArray::new(item, n, Arc::new(values), None)) as ArrayRef
        };
        let (v3, w3, v5) = (vector(3), vector(3), vector(5));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values((0..rows).map(|_| dice.random_range(-5..5)))),
            Arc::new(Float32Array::from_iter_values((0..rows).map(|_| dice.random()))),
            Arc::new(Float64Array::from_iter_values((0..rows).map(|_| dice.random_range(-300.0..300.0)))),
            Arc::new(UInt8Array::from_iter_values((0..rows).map(|_| dice.random()))),
            Arc::new(Float32Array::from_iter(
                (0..rows).map(|_| dice.random_bool(0.8).then(|| dice.random())),
            )),
            v3,
            w3,
            v5,
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| "é".repeat(i % 7)))),
            Arc::new(TimestampSecondArray::from_iter_values((0..rows).map(|_| dice.random()))),
        ];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    Dataset::from_batches([300, 1, 0, ROWS - 301].map(|rows| batch(rows, &mut dice))).unwrap()
}

fn all_rows(dataset: &Dataset) -> RecordBatch {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// `table` converted and read again; shards are small, for the cuts to fall everywhere.
fn converted(table: &Dataset, options: ConvertOptions) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    convert(table, &out, &options.shard_bytes(5000), |_| {}).unwrap();
    // Mapped: what is removed stays readable.
    let dataset = Dataset::open(out.join("*.arrow").to_str().unwrap()).unwrap();
    assert!(dataset.shards().unwrap().len() > 2);
    dataset
}

fn refusal(options: ConvertOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = convert(&table(), folder.path().join("out"), &options, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    error.message().to_owned()
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.schema().fields().iter().map(|field| field.name().as_str()).collect()
}

fn kind(dataset: &Dataset, name: &str) -> String {
    dataset.column_kind(name).unwrap().to_string()
}

/// The numbers of a column, row after row, each as the widest float; `None` for a null row.
fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    let column = &batch[name];
    let flat = match column.as_fixed_size_list_opt() {
        Some(list) => list.values().clone(),
        None => column.clone(),
    };
    let floats = arrow::compute::cast(&flat, &DataType::Float64).unwrap();
    floats.as_primitive::<Float64Type>().iter().collect()
}

#[test]
fn a_stack_is_its_columns_side_by_side() {
    let table = table();
    let rows = all_rows(&table);
    let options = ConvertOptions::new().stack("features", ["x*", "age"]).cast("features", DType::F32);
    let read = converted(&table, options.fill("age", -1.0));
    assert_eq!(names(&read), ["y", "features", "v3", "w3", "v5", "name", "when"]);
    assert_eq!(kind(&read, "features"), "f32[4]");
    let stacked = all_rows(&read);
    let found = numbers(&stacked, "features");
    let [x1, x2, x10, age] = ["x1", "x2", "x10", "age"].map(|name| numbers(&rows, name));
    for row in 0..ROWS {
        let rounded = x2[row].unwrap() as f32 as f64;
        let expected = [x1[row], Some(rounded), x10[row], Some(age[row].unwrap_or(-1.0))];
        assert_eq!(found[row * 4..(row + 1) * 4], expected, "row {row}");
    }
    // What is not stacked is as it was.
    for name in ["y", "v3", "w3", "v5", "name", "when"] {
        assert_eq!(&stacked[name], &rows[name], "{name}");
    }
}

#[test]
fn tensors_are_stacked_too() {
    let table = table();
    let rows = all_rows(&table);
    let read = converted(&table, ConvertOptions::new().stack("same", ["w3", "v3"]));
    assert_eq!(kind(&read, "same"), "i16[2, 3]");
    let (found, v3, w3) = (numbers(&all_rows(&read), "same"), numbers(&rows, "v3"), numbers(&rows, "w3"));
    let expected: Vec<_> = (0..ROWS).flat_map(|i| [&w3[i * 3..][..3], &v3[i * 3..][..3]].concat()).collect();
    assert!(found == expected);

    let read = converted(&table, ConvertOptions::new().stack("flat", ["v5", "v3"]).cast("v?", DType::U8));
    assert_eq!(kind(&read, "flat"), "u8[8]");
    let (found, v5) = (numbers(&all_rows(&read), "flat"), numbers(&rows, "v5"));
    let low_byte = |value: &Option<f64>| value.map(|value| f64::from(value as i16 as u8));
    let expected: Vec<_> = (0..ROWS)
        .flat_map(|i| [&v5[i * 5..][..5], &v3[i * 3..][..3]].concat())
        .map(|value| low_byte(&value))
        .collect();
    assert!(found == expected);
}

#[test]
fn every_pair_of_types_is_cast_as_rust_does() {
    let values = [0.0, 1.0, -1.0, 2.75, 200.9, -300.5, 70000.0, 1e10];
    let source = Dataset::from_tensor("x", &[], values.to_vec()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (number, dtype) in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool).enumerate() {
        let out = folder.path().join(number.to_string());
        convert(&source, &out, &ConvertOptions::new().cast("x", dtype), |_| {}).unwrap();
        let read = Dataset::open(&out).unwrap();
        assert_eq!(kind(&read, "x"), dtype.name());
        let expected = values.map(|value| match dtype {
            DType::U8 => (value as u8).into(),
            DType::I8 => (value as i8).into(),
            DType::U16 => (value as u16).into(),
            DType::I16 => (value as i16).into(),
            DType::U32 => (value as u32).into(),
            DType::I32 => (value as i32).into(),
            DType::U64 => value as u64 as f64,
            DType::I64 => value as i64 as f64,
            DType::F16 => half::f16::from_f64(value).into(),
            DType::F32 => (value as f32).into(),
            _ => value,
        });
        assert_eq!(numbers(&all_rows(&read), "x"), expected.map(Some), "{dtype}");
    }
}

#[test]
fn columns_are_chosen_ordered_and_renamed() {
    let table = table();
    let rows = all_rows(&table);
    let options = ConvertOptions::new().columns(["name", "x?", "y"]).rename("y", "x1").rename("x1", "y");
    let read = converted(&table, options);
    assert_eq!(names(&read), ["name", "y", "x2", "x1"]);
    let found = all_rows(&read);
    for (new, old) in [("name", "name"), ("y", "x1"), ("x2", "x2"), ("x1", "y")] {
        assert_eq!(&found[new], &rows[old]);
    }
    // A stack stands where it is named, else where the first of its columns does, else last.
    let order = |columns: &[&str]| {
        let options = ConvertOptions::new().columns(columns.to_vec()).stack("s", ["v3", "w3"]);
        names(&converted(&table, options.rename("s", "t"))).join(" ")
    };
    assert_eq!(order(&["x1", "v3", "s", "y"]), "x1 t y");
    assert_eq!(order(&["x1", "w3", "y", "v3"]), "x1 t y");
    assert_eq!(order(&["x1", "y"]), "x1 y t");
    // Nullable columns stay so, unless they are filled.
    let read = converted(&table, ConvertOptions::new().cast("age", DType::F64));
    assert_eq!(numbers(&all_rows(&read), "age"), numbers(&rows, "age"));
    assert!(read.schema().field_with_name("age").unwrap().is_nullable());
}

#[test]
fn options_that_cannot_be_honoured_say_what_is_wrong() {
    let options = ConvertOptions::new;
    let cases = [
        (options().columns(["z"]), "'z'"),
        (options().columns(["z*"]), "'z*'"),
        (options().columns(["y", "y"]), "'y' is asked for twice"),
        (options().columns(["x1", "x*"]), "'x1' is asked for twice"),
        (options().cast("z", DType::F32), "'z'"),
        (options().cast("name", DType::F32), "'name' is text"),
        (options().cast("x1", DType::Bool), "bool"),
        (options().fill("name", 1.0), "'name' is text"),
        (options().stack("s", ["x1", "x2"]), "'x1' is f32 and column 'x2' is f64"),
        (options().stack("s", ["name", "x2"]), "'name' is text"),
        (options().stack("s", Vec::<String>::new()), "'s' has no columns"),
        (options().stack("s", ["x1"]).stack("t", ["x1"]), "'x1' is stacked twice"),
        (options().stack("s", ["x1"]).stack("s", ["x2"]), "two stacks are called 's'"),
        (options().stack("y", ["x1"]), "called 'y'"),
        (options().rename("x1", "y"), "called 'y'"),
        (options().rename("z", "y"), "'z'"),
        (options().rename("x1", "a").rename("x1", "b"), "'x1' is renamed twice"),
        (options().threads(0), "threads must be at least 1"),
        (options().num_shards(0), "at least 1 shard"),
        (options().shard_bytes(0), "at least 1 byte"),
        (options().num_shards(3).shard_bytes(99), "found both: 99 bytes, and 3 shards"),
    ];
    for (options, expected) in cases {
        let said = refusal(options.clone());
        assert!(said.contains(expected), "expected {expected} in '{said}' of {options:?}");
    }
}

#[test]
fn a_null_in_a_stack_is_a_bad_record() {
    let folder = tempfile::tempdir().unwrap();
    let options = ConvertOptions::new().stack("s", ["x1", "age"]);
    let error = convert(&table(), folder.path().join("out"), &options, |_| {}).unwrap_err();
    let row = (0..ROWS).find(|&row| numbers(&all_rows(&table()), "age")[row].is_none()).unwrap();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(row as u64)), "{error}");
    assert!(error.message().contains("'age' is null"), "{error}");
}

#[test]
fn a_shuffled_conversion_writes_the_order_of_its_seed() {
    let table = table();
    for seed in [0, 42] {
        let order = Order::new(ROWS as u64, Shuffle::Exact, seed).epoch(0);
        let rows: Vec<_> = (0..ROWS as u64).map(|position| order.get(position)).collect();
        let read = converted(&table, ConvertOptions::new().shuffle(seed));
        assert_eq!(all_rows(&read), table.gather(&rows).unwrap(), "seed {seed}");
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let table = table();
    let options = [
        ConvertOptions::new().shard_bytes(3000),
        ConvertOptions::new().shard_bytes(9000).shuffle(3).stack("s", ["x1", "age"]).fill("age", 0.0),
        ConvertOptions::new().num_shards(7).columns(["name", "v5"]),
    ];
    for (number, options) in options.into_iter().enumerate() {
        let written = [1, 2, 5, 40].map(|threads| {
            let out = folder.path().join(format!("{number}-{threads}"));
            convert(&table, &out, &options.clone().threads(threads), |_| {}).unwrap();
            files(&out)
        });
        assert!(written[0].len() > 3);
        assert!(written.iter().all(|files| *files == written[0]), "{options:?}");
    }
}

#[test]
fn a_number_of_shards_is_kept_to() {
    let table = table();
    let folder = tempfile::tempdir().unwrap();
    for (table, shards) in [(&table, 1), (&table, 3), (&table, 10), (&table.take(5), 7)] {
        let out = folder.path().join(shards.to_string());
        let converted = convert(table, &out, &ConvertOptions::new().num_shards(shards), |_| {}).unwrap();
        assert_eq!((converted.shards as u64, converted.rows), (shards, table.len()));
        assert_eq!(all_rows(&Dataset::open(&out).unwrap()), all_rows(table));
    }
}

#[test]
fn pyarrow_reads_a_stack() {
    let Some(python) = oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let options = ConvertOptions::new().stack("s", ["v3", "w3"]).columns(["s"]).num_shards(2).shuffle(1);
    convert(&table(), &out, &options, |_| {}).unwrap();
    let script = r#"
import glob, sys
import pyarrow as pa
table = pa.concat_tables([pa.ipc.open_file(f).read_all() for f in sorted(glob.glob(sys.argv[1] + "/*.arrow"))])
table.validate(full=True)
values = table["s"].combine_chunks().to_numpy_ndarray()
print(values.shape, values.dtype, values.reshape(-1).tolist())
"#;
    let done = Command::new(python).args(["-c", script]).arg(&out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found = numbers(&all_rows(&Dataset::open(&out).unwrap()), "s");
    let found: Vec<_> = found.into_iter().map(|value| value.unwrap() as i64).collect();
    assert!(String::from_utf8(done.stdout).unwrap() == format!("(1000, 2, 3) int16 {found:?}\n"));
}

/// Two columns of one name, as a file may have them.
#[test]
fn repeated_names_are_written_as_they_are() {
    let field = |data_type| Field::new("x", data_type, false);
    let schema = Schema::new(vec![field(DataType::Int8), field(DataType::Int16)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int8Array::from(vec![1, 2])), Arc::new(Int16Array::from(vec![3, 4]))];
    let table = Dataset::from_batches([RecordBatch::try_new(Arc::new(schema), columns).unwrap()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    convert(&table, folder.path().join("out"), &ConvertOptions::new(), |_| {}).unwrap();
    assert_eq!(all_rows(&Dataset::open(folder.path().join("out")).unwrap()), all_rows(&table));
}
