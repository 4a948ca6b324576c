//! CSV files are read as the reference reader reads them, whoever wrote them: cell for cell, and column for column.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what Python's `csv` found in each file of that folder. Without the variable
//! the tests of them are skipped and say so.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use common::told::{Told, files_of};
use common::{converts_to_what_gather_gives, exact_sum, gather_all, hex, loads_what_gather_gives, test_data};
use forebay::format::{CsvOptions, CsvType};
use forebay::{Dataset, Error, ErrorKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file whose plain cells hold quotes, which only a reader without quotes takes for what they are.
const STRAY_QUOTES: &str = "csv/spectrum/location_coordinates.csv";

/// Columns whose first cell lies behind the part of a file that types are read off, so that one has to be named.
const LATE: [(&str, &str); 1] = [("csv/chicago_taxi_simple.csv", "pickup_census_tract")];

fn open(path: &Path, csv: CsvOptions) -> Result<Dataset, Error> {
    Dataset::options().csv(csv).open(path)
}

/// How the file that `told` is of must be read.
fn options(told: &Told<'_>) -> CsvOptions {
    let csv = CsvOptions::new().infer_rows(usize::MAX).delimiter(told.text("delimiter").as_bytes()[0]);
    let csv = csv.quotes(told.of() != STRAY_QUOTES);
    let late = LATE.iter().filter(|(path, _)| told.of() == *path);
    let csv = late.fold(csv, |csv, (_, column)| csv.column(*column, CsvType::I64));
    match told.get("header").as_array() {
        // A first line that counts rows and columns is no header.
        Some(header) if header.len() as u64 != told.number("fields") => csv.skip_lines(1).header(false),
        Some(_) => csv.text_as_bytes(told.text("encoding") == "latin-1"),
        None => csv.header(false),
    }
}

/// The cells of every column, unescaped, as UTF-8; a missing one is empty.
fn cells(dataset: &Dataset, latin_1: bool) -> Vec<Vec<String>> {
    let text = |bytes: &[u8]| match latin_1 {
        true => bytes.iter().map(|&byte| char::from(byte)).collect(),
        false => str::from_utf8(bytes).unwrap().to_owned(),
    };
    let cell = |array: &ArrayRef, row| match array.is_null(row) {
        true => String::new(),
        false => text(array.as_binary::<i32>().value(row)),
    };
    let table = gather_all(dataset);
    let column = |array: &ArrayRef| (0..array.len()).map(|row| cell(array, row)).collect();
    table.columns().iter().map(column).collect()
}

#[test]
fn every_file_holds_what_the_reference_reader_found() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in files_of(&expected, "csv") {
        if entry.get("escape").is_some() {
            continue;
        }
        let told = Told::new(path, entry);
        told.pass_over(&["format", "compression"]);
        let typed = open(&folder.join(path), options(&told)).unwrap();
        check_names(&told, &typed);
        // The last word on a column counts.
        let untyped = |options: CsvOptions, field: &String| options.column(field, CsvType::Bytes);
        let names: Vec<_> = typed.schema().fields().iter().map(|field| field.name().clone()).collect();
        let all_bytes = open(&folder.join(path), names.iter().fold(options(&told), untyped)).unwrap();
        check_cells(&told, &cells(&all_bytes, told.text("encoding") == "latin-1"));
        check_columns(&told, &typed);
        if let Some(ending) = told.maybe("line_ending") {
            assert_eq!(ending, "crlf");
            let text = fs::read_to_string(folder.join(path)).unwrap();
            assert!(text.split_once('\n').unwrap().0.ends_with('\r'), "{path}");
        }
        for dataset in [&typed, &all_bytes] {
            loads_what_gather_gives(path, dataset);
        }
        converts_to_what_gather_gives(path, &typed);
        read += 1;
    }
    assert!(read >= 32, "only {read} files");
}

fn check_names(told: &Told<'_>, dataset: &Dataset) {
    let names: Vec<_> = dataset.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names.len() as u64, told.number("fields"), "{}", told.of());
    match told.get("header").as_array().filter(|header| header.len() == names.len()) {
        Some(header) => assert_eq!(json!(names), json!(header), "{}", told.of()),
        None => assert!((0..names.len()).all(|i| names[i] == format!("column_{i}")), "{}", told.of()),
    }
}

fn check_cells(told: &Told<'_>, columns: &[Vec<String>]) {
    let rows = columns[0].len();
    assert_eq!(rows as u64, told.number("records"), "{}", told.of());
    let mut hash = Sha256::new();
    for row in 0..rows {
        for column in columns {
            hash.update((column[row].len() as u32).to_le_bytes());
            hash.update(&column[row]);
        }
    }
    assert_eq!(hex(&hash.finalize()), told.text("cells_sha256"), "{}", told.of());
    for (key, row) in [("first", 0), ("last", rows - 1)] {
        let listed = told.list(key).iter();
        // Long records are cut in the expectations.
        let listed = listed.filter(|cell| !cell.as_str().unwrap().starts_with('…'));
        for (column, cell) in columns.iter().zip(listed) {
            assert_eq!(column[row], *cell.as_str().unwrap(), "{}: {key}", told.of());
        }
    }
}

fn check_columns(told: &Told<'_>, dataset: &Dataset) {
    let table = gather_all(dataset);
    let listed = told.maybe("columns").unwrap_or_else(|| told.get("columns_first_4"));
    for (array, expected) in table.columns().iter().zip(listed.as_array().unwrap()) {
        let of = format!("{}, column {}", told.of(), expected["name"]);
        let told = Told::new(of, expected);
        // Compared with the header.
        told.pass_over(&["name"]);
        check_column(&told, array);
    }
}

fn check_column(told: &Told<'_>, array: &ArrayRef) {
    let of = told.of();
    assert_eq!(array.null_count() as u64, told.number("empty"), "{of}");
    match (told.maybe("kind").and_then(Value::as_str), array.data_type()) {
        (Some("int"), DataType::Int64) => {
            let values: Vec<_> = array.as_primitive::<Int64Type>().iter().flatten().collect();
            let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
            assert_eq!(sum.to_string(), told.text("sum"), "{of}");
            assert_eq!(values.iter().min().copied(), told.get("min").as_i64(), "{of}");
            assert_eq!(values.iter().max().copied(), told.get("max").as_i64(), "{of}");
        }
        (Some("float"), DataType::Float64) => {
            let values: Vec<_> = array.as_primitive::<Float64Type>().iter().flatten().collect();
            assert_eq!(Some(exact_sum(values.iter().copied())), told.get("sum").as_f64(), "{of}");
            assert_eq!(values.iter().copied().reduce(f64::min), told.get("min").as_f64(), "{of}");
            assert_eq!(values.iter().copied().reduce(f64::max), told.get("max").as_f64(), "{of}");
        }
        (Some("float-nonfinite"), DataType::Float64) => {
            let values = array.as_primitive::<Float64Type>();
            assert!(values.iter().flatten().any(|value| !value.is_finite()), "{of}");
        }
        (Some("text"), DataType::Utf8) => {
            let distinct: BTreeSet<_> = array.as_string::<i32>().iter().flatten().collect();
            assert_eq!(distinct.len() as u64, told.number("distinct"), "{of}");
        }
        (Some("text"), DataType::Binary) => {
            let distinct: BTreeSet<_> = array.as_binary::<i32>().iter().flatten().collect();
            assert_eq!(distinct.len() as u64, told.number("distinct"), "{of}");
        }
        // The reference knows no truth values, and counts how they are spelt.
        (Some("text"), DataType::Boolean) => told.pass_over(&["distinct"]),
        (None, DataType::Utf8) => assert_eq!(array.null_count(), array.len(), "{of}"),
        (kind, data_type) => panic!("{of}: expected {kind:?}, found {data_type}"),
    }
}

#[test]
fn what_has_no_single_reading_is_refused_by_record_and_byte() {
    let Some((folder, expected)) = test_data() else { return };
    let mut refused = 0;
    for (path, entry) in files_of(&expected, "csv").iter().filter(|(_, entry)| entry.get("escape").is_some())
    {
        let told = Told::new(*path, entry);
        // Backslash escapes, and records of one field among records of two.
        assert_eq!((told.text("escape"), told.get("ragged_fields_min_max")), ("\\", &json!([1, 2])));
        told.pass_over(&["format", "records", "cells_sha256", "first", "last", "columns", "fields"]);
        told.pass_over(&["encoding"]);
        let csv = options(&told).comment(Some(told.text("comment").as_bytes()[0]));
        let opened = open(&folder.join(path), csv);
        let error = opened.and_then(|dataset| dataset.gather(&[0]).map(drop)).unwrap_err();
        // Behind the quote that a reader with escapes takes for an escaped one.
        says_where(error, (&folder, path), "quote", |byte| byte == b'H');
        refused += 1;
    }
    assert_eq!(refused, 1);
    let stray = open(&folder.join(STRAY_QUOTES), CsvOptions::new());
    let error = stray.and_then(|dataset| dataset.gather(&[0]).map(drop)).unwrap_err();
    says_where(error, (&folder, STRAY_QUOTES), "quote", |byte| byte == b'"');
    let latin_1 = "csv/uspop-latin1.csv";
    let dataset = open(&folder.join(latin_1), CsvOptions::new()).unwrap();
    let rows: Vec<_> = (0..dataset.len()).collect();
    let error = dataset.gather(&rows).unwrap_err();
    says_where(error, (&folder, latin_1), "expected UTF-8", |byte| byte >= 0x80);
}

/// The error is one of the bytes of the file `path`, holds `words`, and names the byte and the record it lies in, of a file
/// whose records are lines.
fn says_where(error: Error, (folder, path): (&Path, &str), words: &str, is_bad: impl Fn(u8) -> bool) {
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    assert!(error.message().contains(words), "{error}");
    let place = error.location();
    assert!(place.path.as_ref().is_some_and(|at| at.ends_with(path)), "{error}");
    let (record, byte) = (place.record.unwrap(), place.byte.unwrap() as usize);
    let file = fs::read(folder.join(path)).unwrap();
    assert!(is_bad(file[byte]), "{error}: the byte is {}", file[byte]);
    let lines = file[..byte].split_inclusive(|&byte| byte == b'\n');
    let records =
        lines.filter(|line| line.len() > 1 && !line.starts_with(b"#") && line.ends_with(b"\n")).count();
    // Headers are no records.
    let headers = usize::from(path != "csv/strange.csv");
    assert_eq!(record as usize, records - headers, "{error}");
}

#[test]
fn missing_values_of_ones_own_and_types_are_honoured() {
    let Some((folder, _)) = test_data() else { return };
    let path = folder.join("csv/arrow-rs-custom_null_test.csv");
    let dataset = open(&path, CsvOptions::new().na_values(["nil"])).unwrap();
    let kinds: Vec<_> = dataset.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(kinds, [DataType::Int64, DataType::Float64, DataType::Float64, DataType::Boolean]);
    let nulls: Vec<_> = gather_all(&dataset).columns().iter().map(|array| array.null_count()).collect();
    assert_eq!(nulls, [1, 1, 2, 1]);
    // The file's own spelling of a missing number, where the columns around it are numbers.
    let path = folder.join("csv/uspop-null.csv");
    let dataset = open(&path, CsvOptions::new().na_values(["NULL"])).unwrap();
    assert_eq!(*dataset.schema().field(2).data_type(), DataType::Int64);
}
