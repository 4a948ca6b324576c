//! What the library reads of the files of other programs, the binary shows: `inspect`, `head` and `convert`.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what a reference reader found in each file of that folder. Without the variable
//! the test of them is skipped and says so.

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow::datatypes::DataType;
use common::{gather_all, test_data, to_json};
use forebay::format::{CsvOptions, FixedSpec, TokenSpec};
use forebay::{Dataset, Error};
use serde_json::{Value, json};

/// What the binary says; its complaint, if it fails.
fn forebay(args: &[&str]) -> Result<String, String> {
    let done = Command::new(env!("CARGO_BIN_EXE_forebay")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}

/// The dataset as the library opens it, and the flags by which the binary does.
fn open(path: &Path, entry: &Value) -> (Result<Dataset, Error>, Vec<String>) {
    let options = Dataset::options();
    let (options, flags) = match entry["format"].as_str().unwrap() {
        "csv" => {
            let delimiter = entry["delimiter"].as_str().unwrap();
            let csv = CsvOptions::new().delimiter(delimiter.as_bytes()[0]).text_as_bytes(true);
            let mut flags = vec!["--delimiter", delimiter, "--text-as-bytes"];
            let csv =
                if entry["header"].as_array().is_some_and(|header| json!(header.len()) == entry["fields"]) {
                    csv
                } else {
                    flags.extend(["--no-header", "--skip-lines", "1"]);
                    csv.header(false).skip_lines(1)
                };
            // Quotes that are no quotes, one way or another.
            let has_stray = entry.get("escape").is_some() || path.ends_with("location_coordinates.csv");
            let csv = csv.quotes(!has_stray);
            flags.extend(has_stray.then_some("--no-quotes"));
            (options.csv(csv), flags)
        }
        "nanogpt_bin" => {
            (options.tokens("u16[60]".parse::<TokenSpec>().unwrap()), vec!["--tokens", "u16[60]"])
        }
        "fixed_binary" => {
            let spec = match entry["layout"].as_str().unwrap() {
                "u8[3,32,32]" => "image:u8[3,32,32]",
                _ => "label:u8,image:u8[28,28]",
            };
            (options.fixed(spec.parse::<FixedSpec>().unwrap()), vec!["--fixed", spec])
        }
        _ => (options, vec![]),
    };
    (options.open(path), flags.into_iter().map(str::to_owned).collect())
}

#[test]
fn the_binary_shows_what_the_library_reads() {
    let Some((folder, expected)) = test_data() else { return };
    let mut converted = HashSet::new();
    for (path, entry) in expected["files"].as_object().unwrap() {
        let full = folder.join(path);
        let source = full.to_str().unwrap();
        let (dataset, flags) = open(&full, entry);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let said = forebay(&[&["inspect", source, "--json"], &flags[..]].concat());
        let dataset = match dataset {
            Ok(dataset) => dataset,
            Err(error) => {
                let complaint = said.expect_err(path);
                assert!(complaint.contains(&error.to_string()), "{path}: {complaint}, but {error}");
                continue;
            }
        };
        let said: Value =
            serde_json::from_str(&said.unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap();
        assert_eq!(said["rows"], json!(dataset.len()), "{path}");
        assert_eq!(said["fingerprint"], format!("{:016x}", dataset.fingerprint()), "{path}");
        let fields = dataset.schema().fields();
        let columns: Vec<_> = fields.iter().map(|field| json!([field.name(), field.is_nullable()])).collect();
        let shown = said["columns"].as_array().unwrap().iter();
        assert_eq!(
            json!(shown.map(|column| json!([column["name"], column["nullable"]])).collect::<Vec<_>>()),
            json!(columns),
            "{path}"
        );

        let shown = forebay(&[&["head", source, "--json", "-n", "3"], &flags[..]].concat());
        let head = dataset.take(3);
        let rows = match head.gather(&(0..head.len()).collect::<Vec<_>>()) {
            Ok(rows) => rows,
            Err(error) => {
                assert!(shown.expect_err(path).contains(&error.to_string()), "{path}");
                continue;
            }
        };
        let shown = shown.unwrap_or_else(|error| panic!("{path}: {error}"));
        let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), rows.num_rows(), "{path}");
        for (row, line) in lines.iter().enumerate() {
            same(path, line, &rows, row);
        }
        // A file of each format, and a small one, is enough.
        if dataset.len() < 5000 && converted.insert(entry["format"].as_str().unwrap()) {
            let out = tempfile::tempdir().unwrap();
            let out = out.path().join("out");
            forebay(&[&["convert", source, out.to_str().unwrap()], &flags[..]].concat())
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(gather_all(&Dataset::open(&out).unwrap()) == gather_all(&dataset), "{path}");
        }
    }
    assert!(converted.len() >= 13, "{converted:?}");
}

/// `line` shows the values of row `row` of `rows` that JSON holds as they are.
fn same(path: &str, line: &Value, rows: &arrow::array::RecordBatch, row: usize) {
    let schema = rows.schema();
    let names: HashSet<_> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(line.as_object().unwrap().len(), names.len(), "{path}: {line}");
    if names.len() < schema.fields().len() {
        return;
    }
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        let plain = field.data_type().is_integer()
            || matches!(field.data_type(), DataType::Boolean | DataType::Utf8 | DataType::Float64);
        let value = to_json(array, row);
        if plain {
            assert_eq!(line[field.name()], value, "{path}, {}, row {row}", field.name());
        } else {
            assert!(
                value.is_null() || !line[field.name()].is_null() || array.data_type().is_floating(),
                "{path}: {line}"
            );
        }
    }
}
