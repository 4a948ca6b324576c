//! From records of CSV to columns.

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::Int32Type;
use forebay::ErrorKind;
use forebay::coordinator::decode::{DecodeCsv, decode_csv};
use forebay::format::CsvType;

/// The columns of `batch` are `expected`.
#[track_caller]
fn expect(batch: &RecordBatch, expected: &[&dyn Array]) {
    assert_eq!(batch.num_columns(), expected.len());
    for (column, expected) in batch.columns().iter().zip(expected) {
        assert_eq!(&**column, *expected);
    }
}

#[track_caller]
fn refused(records: &[&str], csv: &DecodeCsv) -> (u64, String) {
    let error = decode_csv(records, csv).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    (error.location().record.unwrap(), error.message().to_owned())
}

fn ints(values: &[i32]) -> Int32Array {
    Int32Array::from(values.to_vec())
}

fn floats(values: &[f32]) -> Float32Array {
    Float32Array::from(values.to_vec())
}

fn texts(values: &[&str]) -> StringArray {
    StringArray::from(values.to_vec())
}

/// `DecodeCSVOpTest.testSimple`
#[test]
fn simple() {
    let csv = DecodeCsv::new().required("a", CsvType::I32);
    expect(&decode_csv(&["1", "2", "\"3\""], &csv).unwrap(), &[&ints(&[1, 2, 3])]);
}

/// `DecodeCSVOpTest.testSimpleWithScalarDefaults`
#[test]
fn simple_with_scalar_defaults() {
    let csv = DecodeCsv::new().column("a", 1).column("b", 2i64);
    let batch = decode_csv(&["1,4", "2,5", "3,6", ","], &csv).unwrap();
    expect(&batch, &[&ints(&[1, 2, 3, 1]), &Int64Array::from(vec![4, 5, 6, 2])]);
}

/// `DecodeCSVOpTest.testSimpleNoQuoteDelimiter`
#[test]
fn simple_no_quote_delimiter() {
    let csv = DecodeCsv::new().column("a", "").quotes(false);
    expect(&decode_csv(&["1", "2", "\"3\""], &csv).unwrap(), &[&texts(&["1", "2", "\"3\""])]);
}

/// `DecodeCSVOpTest.testScalar`
#[test]
fn scalar() {
    let csv = DecodeCsv::new().column("a", 3).column("b", 4);
    expect(&decode_csv(&["1,\"\""], &csv).unwrap(), &[&ints(&[1]), &ints(&[4])]);
}

/// `DecodeCSVOpTest.test2DNoQuoteDelimiter`
#[test]
fn _2d_no_quote_delimiter() {
    let rows = [["\"str\",\"1\"", "2,3"], ["4,5", "6,\"7"]];
    let csv = DecodeCsv::new().column("a", "x").column("b", "y").quotes(false);
    let batch = decode_csv(&rows.concat(), &csv).unwrap();
    expect(&batch, &[&texts(&["\"str\"", "2", "4", "6"]), &texts(&["\"1\"", "3", "5", "\"7"])]);
}

/// `DecodeCSVOpTest.testDouble`
#[test]
fn double() {
    let csv = DecodeCsv::new().required("a", CsvType::F64);
    let batch = decode_csv(&["-1.79769e+308", "\"1.79769e+308\"", " 0.5 "], &csv).unwrap();
    expect(&batch, &[&Float64Array::from(vec![-1.79769e308, 1.79769e308, 0.5])]);
}

/// `DecodeCSVOpTest.testComplexString`
#[test]
fn complex_string() {
    let csv = DecodeCsv::new().column("a", "1");
    let batch = decode_csv(&["\"1.0\"", "\"ab , c\"", "\"a\nbc\"", "\"ab\"\"c\"", " abc "], &csv).unwrap();
    expect(&batch, &[&texts(&["1.0", "ab , c", "a\nbc", "ab\"c", " abc "])]);
}

/// `DecodeCSVOpTest.testMultiRecords`
#[test]
fn multi_records() {
    let csv = DecodeCsv::new().column("a", 1.0f32).required("b", CsvType::I32).required("c", CsvType::Text);
    let batch = decode_csv(&["1.0,4,aa", "0.2,5,bb", "3,6,cc"], &csv).unwrap();
    expect(&batch, &[&floats(&[1.0, 0.2, 3.0]), &ints(&[4, 5, 6]), &texts(&["aa", "bb", "cc"])]);
}

/// `DecodeCSVOpTest.testWithDefaults`
#[test]
fn with_defaults() {
    let csv = DecodeCsv::new().column("a", 1.0f32).column("b", 0).column("c", "a");
    let batch = decode_csv(&[",1,", "0.2,3,bcd", "3.0,,"], &csv).unwrap();
    expect(&batch, &[&floats(&[1.0, 0.2, 3.0]), &ints(&[1, 3, 0]), &texts(&["a", "bcd", "a"])]);
}

/// `DecodeCSVOpTest.testWithDefaultsAndNoQuoteDelimiter`
#[test]
fn with_defaults_and_no_quote_delimiter() {
    let csv = DecodeCsv::new().column("a", 1.0f32).column("b", 0).column("c", "a").quotes(false);
    let batch = decode_csv(&[",1,", "0.2,3,bcd", "3.0,,\"not \"quoted\"\""], &csv).unwrap();
    let third = texts(&["a", "bcd", "\"not \"quoted\"\""]);
    expect(&batch, &[&floats(&[1.0, 0.2, 3.0]), &ints(&[1, 3, 0]), &third]);
}

#[test]
fn missing_is_empty_or_na_and_spaces_around_numbers_do_not_count() {
    let csv = DecodeCsv::new().column("n", -1).column("x", -1f32).column("t", "none").na_value("NA");
    let batch = decode_csv(&["NA, ,NA", " NA ,\"NA\", NA ", "5,\" 6\",", "\" \",7.,\"\""], &csv).unwrap();
    let third = texts(&["none", " NA ", "none", "none"]);
    expect(&batch, &[&ints(&[-1, -1, 5, -1]), &floats(&[-1.0, -1.0, 6.0, 7.0]), &third]);
}

/// `DecodeCSVOpTest.testWithoutDefaultsError`
#[test]
fn without_defaults_error() {
    let csv = DecodeCsv::new().column("a", 1.0f32).required("b", CsvType::I32).column("c", "a");
    let error = refused(&[",1,", "0.2,3,bcd", "3.0,,"], &csv);
    assert_eq!(error, (2, "Field 1 is required but missing in record 2".to_owned()));
    let csv = DecodeCsv::new().column("a", 1).column("b", 1).required("c", CsvType::F64);
    assert_eq!(refused(&["1,2, "], &csv), (0, "Field 2 is required but missing in record 0".to_owned()));
}

/// `DecodeCSVOpTest.testWrongFieldIntError`
#[test]
fn wrong_field_int_error() {
    let csv = DecodeCsv::new().column("a", 1.0f32).column("b", 0).column("c", "a");
    let (record, message) = refused(&[",1,", "0.2,234a,bcd", "3.0,,"], &csv);
    assert_eq!((record, &*message), (1, "Field 1 in record 1 is not an integer of 32 bits: '234a'"));
    for bad in ["2147483648", "1.0", "0x10"] {
        let (record, message) = refused(&[&format!("1,{bad},")], &csv);
        assert!(record == 0 && message.contains(&format!("'{bad}'")), "{message}");
    }
}

/// `DecodeCSVOpTest.testWrongFieldFloatError`
#[test]
fn wrong_field_float_error() {
    let csv = DecodeCsv::new().column("a", 1.0f32).column("b", 0).column("c", "a");
    let (record, message) = refused(&[",1,", "0.2,2,bcd", "3.0adf,3,"], &csv);
    assert_eq!((record, &*message), (2, "Field 0 in record 2 is not a number: '3.0adf'"));
}

/// `DecodeCSVOpTest.testWrongFieldStringError`
#[test]
fn wrong_field_string_error() {
    let csv = DecodeCsv::new().column("a", 1.0f32).column("b", 0).column("c", "a");
    let (record, message) = refused(&[",1,a,", "0.22", "a,b", "3.0,1,\"\"bcd\"\""], &csv);
    assert!(record == 0 && message.contains("Expect 3 fields but have 4 in record 0"), "{message}");
    let (record, message) = refused(&[",1,a", "3.0,1,b\"c\"d"], &csv);
    assert!(record == 1 && message.contains("no quote inside a field"), "{message}");
    for line_end in ["1,2,a\n", "1,2\r,a", "1,2,\"a\"\r\n", "\n1,2,a"] {
        let (_, message) = refused(&[line_end], &csv);
        assert!(message.starts_with("Unquoted fields cannot have quotes or line ends inside"), "{message}");
    }
}

/// `DecodeCSVOpTest.testShortQuotedString`
#[test]
fn short_quoted_string() {
    let csv = DecodeCsv::new().column("a", "default");
    let (_, message) = refused(&["\""], &csv);
    assert!(message.contains("never closed"), "{message}");
}

/// `DecodeCSVOpTest.testSelectCols`
#[test]
fn select_cols() {
    let csv = DecodeCsv::new().required("a", CsvType::Text).column("b", "x").select([0, 1]);
    let batch = decode_csv(&["a,b,c", "d,,f,\"g"], &csv).unwrap();
    expect(&batch, &[&texts(&["a", "d"]), &texts(&["b", "x"])]);
    let csv = DecodeCsv::new().column("b", 0).column("d", 0).select([1, 3]);
    expect(&decode_csv(&["a,1,c,2,e", "a,,c,"], &csv).unwrap(), &[&ints(&[1, 0]), &ints(&[2, 0])]);
}

/// `DecodeCSVOpTest.testWrongSelectColsInclLast`
#[test]
fn wrong_select_cols_incl_last() {
    let csv = DecodeCsv::new().column("a", "").column("b", "").column("c", "").select([0, 1, 3]);
    let error = refused(&["a,b,c", "d,e,f"], &csv);
    assert_eq!(error, (0, "Expect 3 fields but have 2 in record 0".to_owned()));
}

/// `DecodeCSVOpTest.testWrongSelectColsLen`
#[test]
fn wrong_select_cols_len() {
    let csv = DecodeCsv::new().column("a", "").select([0, 1]);
    let error = decode_csv(&["a,b,c"], &csv).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("found 2 for 1"), "{error}");
    for select in [[1, 0], [1, 1]] {
        let csv = DecodeCsv::new().column("a", "").column("b", "").select(select);
        let error = decode_csv(&["a,b,c"], &csv).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("to ascend"), "{error}");
    }
}

/// `DecodeCSVOpTest.testWrongSelectColsIndicesTooHigh`
#[test]
fn wrong_select_cols_indices_too_high() {
    let csv = DecodeCsv::new().column("a", "").column("b", "").select([0, 4]);
    let error = refused(&["a,b,c", "d,e,f"], &csv);
    assert_eq!(error, (0, "Expect 2 fields but have 1 in record 0".to_owned()));
}

#[test]
fn the_number_of_fields_is_that_of_the_columns() {
    let csv = DecodeCsv::new().column("a", 0).column("b", 0).column("c", 0);
    let error = refused(&["1,2"], &csv);
    assert_eq!(error, (0, "Expect 3 fields but have 2 in record 0".to_owned()));
    // A delimiter at the end adds an empty field.
    assert_eq!(refused(&["1,2,3,"], &csv).1, "Expect 3 fields but have 4 in record 0");
    expect(&decode_csv(&["1,2,"], &csv).unwrap(), &[&ints(&[1]), &ints(&[2]), &ints(&[0])]);
    let batch = decode_csv::<&str>(&[], &csv).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (0, 3));
}

#[test]
fn options_are_checked() {
    let record = ["1,2"];
    for csv in [
        DecodeCsv::new(),
        DecodeCsv::new().column("a", 0).column("a", 0),
        DecodeCsv::new().column("a", 0).column("b", 0).delimiter(b'1'),
        DecodeCsv::new().column("a", 0).column("b", 0).delimiter(b'"'),
    ] {
        assert_eq!(decode_csv(&record, &csv).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let csv = DecodeCsv::new().column("a", 0).column("b", 0).delimiter(b'\t');
    let batch = decode_csv(&["1\t2"], &csv).unwrap();
    let second: &ArrayRef = batch.column(1);
    assert_eq!(second.as_primitive::<Int32Type>().values(), &[2]);
}
