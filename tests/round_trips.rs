//! Rows that pyarrow, NumPy, Python and others wrote come back bit for bit through open, loader and converter.
//!
//! `scripts/fixtures` writes random rows in every format, and reads what was converted. It needs the Python of
//! `FOREBAY_TEST_PYTHON` (or `python3`) to have pyarrow and NumPy; without, the test is skipped and says so. TFRecords are
//! TensorFlow's own, and folders those of `datasets`, where that Python has them.

mod common;
#[path = "common/python.rs"]
mod python;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::reader::FileReader;
use common::{gather_all, loads_what_gather_gives};
use forebay::convert::{ConvertOptions, convert};
use forebay::format::{CsvOptions, CsvType, ExampleSpec, FeatureType};
use forebay::{Dataset, OpenOptions};
use python::oracle;
use serde_json::Value;

/// Each seed is other rows, written in another way.
const SEEDS: std::ops::Range<u64> = 0..6;

fn fixtures(python: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fixtures"));
    command
}

/// How a file is opened that was written as `wrote` says.
fn options(wrote: &Value) -> OpenOptions {
    let options = Dataset::options();
    match wrote["kind"].as_str().unwrap() {
        "csv" => {
            let types = wrote["types"].as_object().unwrap().iter().map(|(name, csv_type)| {
                let csv_type = match csv_type.as_str().unwrap() {
                    "i32" => CsvType::I32,
                    "i64" => CsvType::I64,
                    "f32" => CsvType::F32,
                    "f64" => CsvType::F64,
                    "bool" => CsvType::Bool,
                    _ => CsvType::Text,
                };
                (name, csv_type)
            });
            let delimiter = wrote["delimiter"].as_str().unwrap().as_bytes()[0];
            let csv = CsvOptions::new().delimiter(delimiter);
            options.csv(types.fold(csv, |csv, (name, csv_type)| csv.column(name, csv_type)))
        }
        "tfrecord" => options.examples(
            ExampleSpec::new()
                .fixed_len("vector", FeatureType::F32, [3])
                .fixed_len("number", FeatureType::I64, [])
                .nullable("x", FeatureType::F32, [])
                .nullable("blob", FeatureType::Bytes, [])
                .var_len("tags", FeatureType::I64)
                .var_len("words", FeatureType::Bytes),
        ),
        "fixed" => options.fixed(wrote["spec"].as_str().unwrap().parse().unwrap()),
        "tokens" => options.tokens(wrote["spec"].as_str().unwrap().parse().unwrap()),
        _ => options,
    }
}

/// The rows that were written, as Arrow's own reader reads them, in the types of `schema`: what fields within are called
/// and whether they may be null is the writer's choice.
fn truth(path: &str, schema: &Arc<Schema>) -> RecordBatch {
    let reader = FileReader::try_new(File::open(path).unwrap(), None).unwrap();
    let written = reader.schema();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let table = concat_batches(&written, &batches).unwrap();
    let names =
        |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(&written), names(schema), "{path}");
    let typed = |(array, field): (&ArrayRef, &Arc<arrow::datatypes::Field>)| {
        let data = array.to_data().into_builder().data_type(field.data_type().clone());
        make_array(data.build().unwrap_or_else(|e| panic!("{path}, {}: {e}", field.name())))
    };
    let columns = table.columns().iter().zip(schema.fields()).map(typed).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn rows_come_back_bit_for_bit() {
    let Some(python) = oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seeds = SEEDS.map(|seed| seed.to_string());
    let done = fixtures(&python).arg("write").arg(folder.path()).args(seeds).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let wrote: Vec<Value> = String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(wrote.len() >= 21 * SEEDS.count(), "only {} files", wrote.len());
    for writer in ["tensorflow", "datasets"] {
        if !wrote.iter().any(|wrote| wrote["writer"] == writer) {
            eprintln!("skipped: {python} has no {writer}");
        }
    }
    let mut converted = Vec::new();
    for (number, wrote) in wrote.iter().enumerate() {
        let path = wrote["path"].as_str().unwrap();
        let dataset = options(wrote).open(path).unwrap_or_else(|error| panic!("{error}"));
        let truth_path = wrote["truth"].as_str().unwrap();
        let truth = truth(truth_path, dataset.schema());
        let gathered = gather_all(&dataset);
        assert_eq!(gathered.num_rows(), truth.num_rows(), "{path}");
        for (field, (found, expected)) in
            truth.schema().fields().iter().zip(gathered.columns().iter().zip(truth.columns()))
        {
            assert!(found == expected, "{path}, {}: {found:?}, but {expected:?} was written", field.name());
        }
        loads_what_gather_gives(path, &dataset);
        let out = folder.path().join(format!("converted-{number}"));
        let options = ConvertOptions::new().num_shards(1 + number as u64 % 3).threads(2);
        convert(&dataset, &out, &options, |_| {}).unwrap();
        converted.push((truth_path, out));
    }
    compare(&python, &converted);
}

/// pyarrow finds the rows of each truth in each converted folder.
fn compare(python: &str, converted: &[(&str, PathBuf)]) {
    let mut command = fixtures(python);
    command.arg("compare").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut comparing = command.spawn().unwrap();
    let lines: Vec<_> =
        converted.iter().map(|(truth, out)| format!("{truth}\t{}\n", out.display())).collect();
    // Who stops reading says why on its standard error.
    let _ = comparing.stdin.take().unwrap().write_all(lines.concat().as_bytes());
    let done = comparing.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), converted.len().to_string());
}
