//! Real files, against what a reference reader found in them.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::token::Cells;
use super::*;
use crate::layout::DType;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("FOREBAY_TEST_DATA");
    if folder.is_none() {
        eprintln!("skipped: FOREBAY_TEST_DATA names no folder of test files");
    }
    folder.map(PathBuf::from)
}

fn contents(path: PathBuf) -> Vec<u8> {
    let bytes = std::fs::read(&path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut inflated).unwrap();
    inflated
}

fn options(expected: &Value) -> CsvOptions {
    // Some columns have their first cell late in the file.
    let options = CsvOptions::new()
        .infer_rows(usize::MAX)
        .delimiter(expected["delimiter"].as_str().unwrap().as_bytes()[0]);
    let fields = expected["fields"].as_u64().unwrap() as usize;
    let latin1 = expected["encoding"] == "latin-1";
    match expected["header"].as_array() {
        // A first line that counts rows and columns is no header.
        Some(header) if header.len() != fields => options.skip_lines(1).header(false),
        Some(_) => options.text_as_bytes(latin1),
        None => options.header(false),
    }
}

fn cells_sha256(format: &CsvFormat, records: &[&[u8]], latin1: bool) -> String {
    let mut hash = Sha256::new();
    for record in records {
        for cell in Cells::new(*format.dialect(), record) {
            let mut bytes = cell.unwrap().bytes().into_owned();
            if latin1 {
                bytes = bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes();
            }
            hash.update((bytes.len() as u32).to_le_bytes());
            hash.update(&bytes);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_column(name: &str, kind: &ColumnKind, column: &Decoded, expected: &Value) {
    let nulls = column.valid.iter().filter(|&&valid| !valid).count();
    assert_eq!(nulls as u64, expected["empty"].as_u64().unwrap(), "{name}");
    let valid = |row: &usize| column.valid[*row];
    let rows = (0..column.valid.len()).filter(valid);
    match (expected["kind"].as_str(), kind) {
        (Some("int"), ColumnKind::Tensor { dtype: DType::I64, .. }) => {
            let all = column.i64s();
            let values: Vec<i64> = rows.map(|row| all[row]).collect();
            let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
            assert_eq!(sum.to_string(), expected["sum"].as_str().unwrap(), "{name}");
            assert_eq!(values.iter().min().copied(), expected["min"].as_i64(), "{name}");
            assert_eq!(values.iter().max().copied(), expected["max"].as_i64(), "{name}");
        }
        (Some("float"), ColumnKind::Tensor { dtype: DType::F64, .. }) => {
            let all = column.f64s();
            let values: Vec<f64> = rows.map(|row| all[row]).collect();
            let sum: f64 = values.iter().sum();
            let expected_sum = expected["sum"].as_f64().unwrap();
            let scale: f64 = values.iter().map(|value| value.abs()).sum();
            assert!((sum - expected_sum).abs() <= scale * 1e-12, "{name}: {sum} for {expected_sum}");
            assert_eq!(values.iter().copied().reduce(f64::min), expected["min"].as_f64(), "{name}");
            assert_eq!(values.iter().copied().reduce(f64::max), expected["max"].as_f64(), "{name}");
        }
        (Some("float-nonfinite"), ColumnKind::Tensor { dtype: DType::F64, .. }) => {
            assert!(column.f64s().iter().any(|value| !value.is_finite()));
        }
        (Some("text"), ColumnKind::Text | ColumnKind::Bytes) => {
            let distinct: HashSet<&[u8]> = rows.map(|row| column.row(row)).collect();
            assert_eq!(distinct.len() as u64, expected["distinct"].as_u64().unwrap(), "{name}");
        }
        // The reference knows no truth values.
        (Some("text"), ColumnKind::Tensor { dtype: DType::Bool, .. }) | (None, ColumnKind::Text) => {}
        (found, kind) => panic!("{name}: expected {found:?}, found {kind}"),
    }
}

#[test]
fn real_files_hold_what_a_reference_reader_found() {
    let Some(folder) = folder() else { return };
    let expected: Value = serde_json::from_slice(&contents(folder.join("expected.json"))).unwrap();
    let mut num_files = 0;
    for (name, expected) in expected["files"].as_object().unwrap() {
        if expected["format"] != "csv" {
            continue;
        }
        num_files += 1;
        let file = contents(folder.join(name));
        let options = options(expected);
        if expected.get("escape").is_some() {
            says(read(&options.comment(Some(b'#')), &file), "quote");
            continue;
        }
        // Plain fields with quotes inside.
        let stray = name.ends_with("location_coordinates.csv");
        if stray {
            says(read(&options, &file), "expected no quote inside a field");
        }
        let options = options.quotes(!stray);
        let (format, columns) = read(&options, &file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let records = records(&format, &file);
        assert_eq!(records.len() as u64, expected["records"].as_u64().unwrap(), "{name}");
        assert_eq!(format.decoder().names().len() as u64, expected["fields"].as_u64().unwrap(), "{name}");
        let latin1 = expected["encoding"] == "latin-1";
        let found = cells_sha256(&format, &records, latin1);
        assert_eq!(found, expected["cells_sha256"].as_str().unwrap(), "{name}");
        let listed = expected.get("columns").or(expected.get("columns_first_4")).unwrap().as_array().unwrap();
        for (index, expected) in listed.iter().enumerate() {
            let field = format.schema().field(index);
            let named = format!("{name}, {}", field.name());
            check_column(&named, &ColumnKind::of(field), &columns[index], expected);
        }
        if latin1 {
            says(read(&CsvOptions::new(), &file), "expected UTF-8 in field 0, 'City'");
        }
        // Every column alone reads as all together.
        for only in 0..columns.len().min(3) {
            let alone = decode_some(&format, &records, |column| column == only).unwrap();
            assert_eq!(alone[only], columns[only], "{name}");
        }
    }
    assert!(num_files >= 30, "{num_files} files");
}

#[test]
fn malformed_files_are_refused_or_read() {
    let Some(folder) = folder() else { return };
    let mut num_files = 0;
    for entry in std::fs::read_dir(folder.join("malformed/csv")).unwrap() {
        let file = contents(entry.unwrap().path());
        num_files += 1;
        let all = [CsvOptions::new(), CsvOptions::new().header(false).text_as_bytes(true).detect_delimiter()];
        for options in all {
            for cut in [file.len(), file.len() / 2, file.len() / 3] {
                if let Err(error) = read(&options, &file[..cut]) {
                    assert!(error.message().contains(' '), "{error}");
                }
            }
        }
    }
    assert!(num_files > 0);
}
