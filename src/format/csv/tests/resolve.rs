//! What options and the head of a file make of its columns.
#![forbid(unsafe_code)]

use arrow::datatypes::DataType;

use super::*;
use crate::error::ErrorKind;

/// `name:type` of each column, with a `?` where it may hold nulls.
fn columns(options: &CsvOptions, file: &str) -> Vec<String> {
    let format = options.resolve(file.as_bytes(), true).unwrap();
    let field = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let mark = if field.is_nullable() { "?" } else { "" };
        format!("{}:{}{mark}", field.name(), ColumnKind::of(field))
    };
    format.schema().fields().iter().map(field).collect()
}

const FILE: &str = "i,f,b,t,none,big\n1,2.5,true,x,,1\n-2,3,FALSE,1,,99999999999999999999\n";

#[test]
fn types_are_read_off_the_records() {
    let found = columns(&CsvOptions::new(), FILE);
    assert_eq!(found, ["i:i64?", "f:f64?", "b:bool?", "t:text?", "none:text?", "big:text?"]);
    let options = CsvOptions::new()
        .column("i", CsvType::F32)
        .column("b", CsvType::Text)
        .required("f")
        .default_value("none", 0)
        .select(["none", "b", "f", "i"]);
    assert_eq!(columns(&options, FILE), ["none:i64", "b:text?", "f:f64", "i:f32?"]);
}

#[test]
fn a_cell_later_than_the_sample_may_not_fit() {
    let options = CsvOptions::new().infer_rows(2);
    says(read(&options, b"a\n1\n2\n3.5\n"), "column(\"a\", CsvType::F64)");
    assert_eq!(columns(&options, "a\n1\n2\n3.5\n"), ["a:i64?"]);
    assert_eq!(columns(&CsvOptions::new(), "a\n1\n2\n3.5\n"), ["a:f64?"]);
}

#[test]
fn a_record_that_the_sample_cuts_says_nothing() {
    let file = b"a,b\n1,2\n3,4.5\n";
    for cut in 8..file.len() - 1 {
        let format = CsvOptions::new().resolve(&file[..cut], false).unwrap();
        assert_eq!(format.schema().field(1).data_type(), &DataType::Int64, "{cut}");
    }
    let format = CsvOptions::new().resolve(file, false).unwrap();
    assert_eq!(format.schema().field(1).data_type(), &DataType::Float64);
    for cut in 0..4 {
        says(CsvOptions::new().resolve(&file[..cut], false), "expected the first record to end within");
    }
}

#[test]
fn headers_names_and_lines_before_them() {
    let names = |options: &CsvOptions, file: &str| {
        let format = options.resolve(file.as_bytes(), true).unwrap();
        let rows = records(&format, file.as_bytes()).len();
        let names: Vec<_> = format.schema().fields().iter().map(|field| field.name().clone()).collect();
        (names.join("|"), rows)
    };
    let new = CsvOptions::new;
    assert_eq!(names(&new(), "\u{FEFF} a,\" b \"\" c\"\n").0, "a|b \" c");
    assert_eq!(names(&new(), "a,b"), ("a|b".into(), 0));
    assert_eq!(names(&new(), "\r\n\r\na,,c\r\n\r\n1,2,3\r\n"), ("a|column_1|c".into(), 1));
    assert_eq!(names(&new().header(false), "1,2\n3,4"), ("column_0|column_1".into(), 2));
    assert_eq!(names(&new().header(false).names(["x", "y"]), "1,2\n3,4"), ("x|y".into(), 2));
    assert_eq!(names(&new().names(["x", "y"]), "anything\n3,4"), ("x|y".into(), 1));
    assert_eq!(names(&new().header(false).names(["x", "y"]), ""), ("x|y".into(), 0));
    let options = new().skip_lines(2).comment(Some(b'%'));
    assert_eq!(names(&options, "\u{FEFF}\"said\r\n\n%x\na,b\n%1\n1,2\n"), ("a|b".into(), 1));
    says(new().skip_lines(9).resolve(b"a,b\n1,2\n", true), "found none");
    says(new().resolve(b"a\xFF,b\n", true), "expected the header to be UTF-8");
    assert!(new().text_as_bytes(true).resolve(b"a\xFF,b\n", true).is_ok());
}

#[test]
fn stacks_take_the_place_of_their_columns() {
    let file = "a,b,c,d\n1,2.5,true,x\n";
    let new = CsvOptions::new;
    assert_eq!(columns(&new().stack("x", ["b", "a"]), file), ["x:f64[2]?", "c:bool?", "d:text?"]);
    assert_eq!(columns(&new().stack("x", ["c"]), file), ["a:i64?", "b:f64?", "x:bool[1]?", "d:text?"]);
    let typed = new().stack("x", ["a", "b"]).column("b", CsvType::F32).required("x");
    assert_eq!(columns(&typed, file), ["x:f32[2]", "c:bool?", "d:text?"]);
    assert_eq!(
        columns(&typed.column("x", CsvType::F64).select(["d", "a", "x", "b"]), file),
        ["d:text?", "x:f64[2]"]
    );
    assert_eq!(columns(&new().stack("x", ["a"]).select(["d"]), file), ["d:text?", "x:i64[1]?"]);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let file = b"a,b,c\n1,x,true\n";
    let new = CsvOptions::new;
    for (options, words) in [
        (new().delimiter(b'"'), "the delimiter is '\\\"'"),
        (new().delimiter(b'1'), "the delimiter is '1'"),
        (new().delimiter(b'\n'), "the delimiter is '\\n'"),
        (new().delimiter(0), "the delimiter is '\\x00'"),
        (new().delimiter(0xA7), "the delimiter is '\\xa7'"),
        (new().comment(Some(b',')), "the comment byte is ','"),
        (new().names(["x"]).header(false), "1 names were given for a file of 3 fields"),
        (new().names(Vec::<String>::new()), "expected one for each field"),
        (
            new().column("z", CsvType::F32),
            "the typed column 'z' is no column of the file, which has 'a', 'b', 'c'",
        ),
        (new().default_value("z", 1), "with a default 'z' is no column"),
        (new().required("z"), "the required column 'z' is no column"),
        (new().select(["z"]), "the selected column 'z' is no column"),
        (new().select(["a", "a"]), "'a' is selected twice"),
        (new().select(Vec::<String>::new()), "no column is selected"),
        (new().stack("x", ["z"]), "the stacked column 'z' is no column"),
        (new().stack("x", Vec::<String>::new()), "the stack 'x' has no columns"),
        (new().stack("x", ["a", "a"]), "'a' is stacked twice"),
        (new().stack("b", ["a"]), "cannot be called 'b'"),
        (new().stack("x", ["a"]).stack("x", ["c"]), "cannot be called 'x'"),
        (new().stack("x", ["a", "b"]), "column 'b' is text; give the stack a type"),
        (new().stack("x", ["a", "c"]), "column 'c' is bool"),
        (new().stack("x", ["a"]).column("x", CsvType::Text), "its type is text"),
        (new().required("a").default_value("a", 1), "'a' is required and has a default"),
        (
            new().default_value("a", 1).column("a", CsvType::Bool).default_value("a", "maybe"),
            "the default 'maybe'",
        ),
    ] {
        let error = options.resolve(file, true).unwrap_err();
        assert!(error.message().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    says(new().resolve(b"a,b,a\n", true), "fields 0 and 2 are both called 'a'");
    says(new().resolve(b"", true), "found none");
    says(new().resolve(b"a,\"b\n", true), "never closed");
    says(new().resolve(&b",".repeat(1 << 18), true), "at most 131072 fields");
    let error = new().resolve(b"a,b\n1\n1,2,3\n", true).unwrap_err();
    assert_eq!(error.message(), "expected 2 fields, found 1");
    assert_eq!((error.location().record, error.location().byte), (Some(0), Some(4)));
}

#[test]
fn delimiters_are_detected() {
    for delimiter in *b",;\t|" {
        let file = "a.b c\n1.2 \"x.y\"\n\n3,4. \n"
            .replace('.', if delimiter == b',' { ";" } else { "," })
            .replace("3,4", "34")
            .replace(' ', std::str::from_utf8(&[delimiter]).unwrap());
        let format = CsvOptions::new().detect_delimiter().resolve(file.as_bytes(), true).unwrap();
        assert_eq!(format.dialect().delimiter, delimiter, "{file}");
    }
    let format = CsvOptions::new().detect_delimiter().resolve(b"a\n1\n", true).unwrap();
    assert_eq!((format.dialect().delimiter, format.decoder().names().len()), (b',', 1));
}

#[test]
fn another_file_must_have_the_same_columns() {
    let options = CsvOptions::new().detect_delimiter();
    let format = options.resolve(b"a;b\n1;2\n", true).unwrap();
    assert_eq!(options.first_record_of(&format, b"\n\"a\";b\r\n", true).unwrap(), 6);
    let error = options.first_record_of(&format, b"a;c\n", true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(error.message(), "expected field 1 to be 'b', as in the first file, found 'c'");
    says(options.first_record_of(&format, b"a,b\n", true), "found 'a,b'");
}
