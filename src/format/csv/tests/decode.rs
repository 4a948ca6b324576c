//! What becomes of each kind of cell.
#![forbid(unsafe_code)]

use super::*;
use crate::error::ErrorKind;

fn values(options: &CsvOptions, file: &str) -> Vec<Decoded> {
    read(options, file.as_bytes()).unwrap().1
}

#[test]
fn numbers_with_spaces_around_them_and_a_missing_one() {
    let options = CsvOptions::new()
        .default_value("x1", -1.)
        .default_value("x2", -1.)
        .default_value("target", -1)
        .stack("features", ["x1", "x2"]);
    let file = "x1, x2, target\n1. , 2. , 0\n4. , 5 , 1\n7. , , 0\n";
    let (format, columns) = read(&options, file.as_bytes()).unwrap();
    assert_eq!(format.schema().field(0).name(), "features");
    assert_eq!(columns[0].f64s(), [1., 2., 4., 5., 7., -1.]);
    assert_eq!(columns[1].i64s(), [0, 1, 0]);
    assert!(format.schema().fields().iter().all(|field| !field.is_nullable()));
}

#[test]
fn missing_cells_are_nulls() {
    let file = "i,f,b,t\n1,1.5,true,x\n,,,\n\"\",\"\",\"\",\"\"\n  , \t, ,NA\nNA, NA ,NA, NA\n";
    let columns = values(&CsvOptions::new().na_values(["NA"]), file);
    for column in &columns[..3] {
        assert_eq!(column.valid, [true, false, false, false, false]);
        assert!(column.row(1).iter().all(|&byte| byte == 0));
    }
    // Spaces count in text.
    assert_eq!(columns[3].valid, [true, false, false, false, true]);
    assert_eq!(columns[3].texts(), ["x", "", "", "", " NA"]);
}

#[test]
fn a_missing_value_may_look_like_a_number() {
    let options = CsvOptions::new().na_values(["-999", "0.0"]);
    let columns = values(&options, "a,b\n-999,0.0\n 7,-999\n-999 , 0\n");
    assert_eq!(columns[0].valid, [false, true, false]);
    assert_eq!(columns[1].valid, [false, false, true]);
    assert_eq!(columns[1].i64s(), [0, 0, 0]);
}

#[test]
fn a_row_of_a_stack_that_lacks_a_cell_is_null_and_zero() {
    let file = "a,b,c\n1,2,3\n,5,6\n7,8,\n,,\n";
    let options = CsvOptions::new().stack("x", ["c", "a", "b"]).column("x", CsvType::F32);
    let (format, columns) = read(&options, file.as_bytes()).unwrap();
    assert!(format.schema().field(0).is_nullable());
    assert_eq!(columns[0].f32s(), [3., 1., 2., 0., 0., 0., 0., 0., 0., 0., 0., 0.]);
    assert_eq!(columns[0].valid, [true, false, false, false]);
    let columns = values(&options.default_value("x", 9).default_value("a", -9), file);
    assert_eq!(columns[0].f32s(), [3., 1., 2., 6., -9., 5., 9., 7., 8., 9., -9., 9.]);
}

#[test]
fn quoted_cells_are_what_they_say() {
    let file = "n,t\n\"1\",\"a,\"\"b\"\"\r\nc\"\n\" 2 \",\"\"\"\"\r\n3,plain\r4,\"\"\"\"\"\"";
    let columns = values(&CsvOptions::new().default_value("t", "none"), file);
    assert_eq!(columns[0].i64s(), [1, 2, 3, 4]);
    assert_eq!(columns[1].texts(), ["a,\"b\"\r\nc", "\"", "plain", "\"\""]);
    let columns = values(&CsvOptions::new().quotes(false), "t,u\n\"a\"\"b\",\"\n");
    assert_eq!((columns[0].texts(), columns[1].texts()), (vec!["\"a\"\"b\"".into()], vec!["\"".into()]));
}

#[test]
fn defaults_are_of_the_type_of_their_column() {
    let options = CsvOptions::new()
        .column("b", CsvType::Bool)
        .column("i", CsvType::I32)
        .column("f", CsvType::F32)
        .column("y", CsvType::Bytes)
        .default_value("b", true)
        .default_value("i", -7)
        .default_value("f", 0.1)
        .default_value("t", "")
        .default_value("y", "é");
    let columns = values(&options, "b,i,f,t,y\n,,,,\n0,2147483647,1e-3,x,z\n");
    assert_eq!(columns[0].values, [1, 0]);
    assert_eq!(columns[1].values, [(-7i32).to_ne_bytes(), i32::MAX.to_ne_bytes()].concat());
    assert_eq!(columns[2].f32s(), [0.1, 1e-3]);
    assert_eq!(columns[3].texts(), ["", "x"]);
    assert_eq!(columns[4].texts(), ["é", "z"]);
}

#[test]
fn unwanted_columns_are_not_parsed_but_their_fields_are_counted() {
    let format = CsvOptions::new().resolve(b"a,b,c\n1,2,3\n", true).unwrap();
    let only_b = |record: &[u8]| decode_some(&format, &[record], |column| column == 1);
    assert_eq!(only_b(b"x,5,\"y\"\n").unwrap()[1].i64s(), [5]);
    says(only_b(b"x,5\n"), "expected 3 fields, found 2");
    says(only_b(b"x,5,y,\n"), "expected 3 fields, found 4");
    says(only_b(b"x\"y,5,z\n"), "expected no quote inside a field");
}

#[test]
fn a_record_is_read_up_to_its_end() {
    let format = CsvOptions::new().comment(Some(b'#')).resolve(b"a,b\n1,2\n", true).unwrap();
    for behind in ["", "\n", "\r", "\r\n", "\n\n#x\n", "\r\n\r\n"] {
        let record = format!("3,4{behind}");
        let columns = decode_some(&format, &[record.as_bytes()], |_| true).unwrap();
        assert_eq!((columns[0].i64s(), columns[1].i64s()), (vec![3], vec![4]), "{record:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_at_its_byte() {
    let options = CsvOptions::new().column("i", CsvType::I32).column("b", CsvType::Bool).required("f");
    let format = options.resolve(b"i,f,b,t\n1,1.5,true,x\n", true).unwrap();
    let long = format!("{},1,1,", "9".repeat(100));
    for (record, byte, words) in [
        (
            "2147483648,1,1,",
            0,
            "expected an integer of 32 bits in field 0, 'i', which is i32, found '2147483648'",
        ),
        ("1.0,1,1,", 0, "column(\"i\", CsvType::F64)"),
        ("one,1,1,", 0, "column(\"i\", CsvType::Text)"),
        ("1,1.5.2,1,", 2, "expected a number in field 1, 'f'"),
        ("1,1 5,1,", 2, "found '1 5'"),
        ("1,-,1,", 2, "found '-'"),
        ("1,1e,1,", 2, "found '1e'"),
        ("1,0x10,1,", 2, "found '0x10'"),
        ("1,\"1\"\"\",1,", 2, "found '1\\\"'"),
        ("1,,1,", 2, "field 1, 'f', is required but missing"),
        ("1, ,1,", 2, "is required but missing"),
        ("1,1,yes,", 4, "expected a truth value in field 2, 'b'"),
        ("1,1,1", 5, "expected 4 fields, found 3"),
        ("1,1,1,x,\n", 8, "expected 4 fields, found 5"),
        ("1,1,1,x,\"", 8, "never closed"),
        ("", 0, "found ''"),
        ("1,1,1,a\"b", 7, "expected no quote inside a field"),
        ("1,1,1,\"a\"b", 9, "behind a closing quote, found 'b'"),
        ("1,1,1,\"a\nb", 6, "never closed"),
        (&long, 0, "found '9999999999999999999999999999999999999999…'"),
    ] {
        let error = decode_some(&format, &[record.as_bytes()], |_| true).unwrap_err();
        // The first field of no bytes at all is a missing cell: there are too few fields.
        if record.is_empty() {
            assert!(error.message().contains("expected 4 fields, found 1"), "{error}");
            continue;
        }
        assert!(error.message().contains(words), "{record}: {error}");
        assert_eq!(
            (error.kind(), error.location().byte),
            (ErrorKind::Malformed, Some(byte)),
            "{record}: {error}"
        );
    }
}

#[test]
fn text_is_utf8_or_bytes() {
    let file = b"n,t\n1,ok\n2,\"\"\"caf\xE9\"\n";
    let error = read(&CsvOptions::new(), file).unwrap_err();
    assert!(error.message().contains("expected UTF-8 in field 1, 't'"), "{error}");
    assert!(error.message().contains("text_as_bytes(true)"), "{error}");
    assert_eq!((error.location().record, error.location().byte), (Some(1), Some(8)));
    let (format, columns) = read(&CsvOptions::new().text_as_bytes(true), file).unwrap();
    assert_eq!(format.schema().field(1).data_type(), &arrow::datatypes::DataType::Binary);
    assert_eq!(columns[1].row(1), b"\"caf\xE9");
}

#[test]
fn a_space_may_be_the_delimiter() {
    let columns = values(&CsvOptions::new().delimiter(b' ').header(false), "1 2.5  x\n3 4 5 y\n");
    assert_eq!(columns[1].f64s(), [2.5, 4.]);
    assert_eq!(columns[2].valid, [false, true]);
    let columns = values(&CsvOptions::new().delimiter(b'\t').header(false), "1\t 2 \t\n");
    assert_eq!(columns[1].i64s(), [2]);
    assert_eq!(columns[2].valid, [false]);
}

#[test]
fn a_dictionary_makes_classes_of_text() {
    let options = CsvOptions::new().dictionary("paid", ["card", "cash", " card", "a,\"b\""]);
    let file = "n,paid\n1,cash\n2,card\n3, card\n4,\"a,\"\"b\"\"\"\n5,\"card\"\n6,\n";
    let (format, columns) = read(&options, file.as_bytes()).unwrap();
    assert_eq!(columns[1].i64s(), [1, 0, 2, 3, 0, 0]);
    assert_eq!(columns[1].valid, [true, true, true, true, true, false]);
    let info = format.schema().metadata()["huggingface"].as_bytes();
    let classes = crate::format::hf::class_names(info).unwrap();
    assert_eq!((classes.len(), &*classes[0].column), (1, "paid"));
    assert_eq!(classes[0].names, ["card", "cash", " card", "a,\"b\""]);

    let with_default = options.clone().default_value("paid", "cash").na_values(["?"]);
    assert_eq!(values(&with_default, "n,paid\n1,\n2,?\n3,card\n")[1].i64s(), [1, 1, 0]);
}

#[test]
fn a_cell_that_is_not_in_the_dictionary_is_an_error() {
    let options = CsvOptions::new().dictionary("paid", ["card", "cash"]);
    let error = read(&options, b"n,paid\n1,cash\n2,gold\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.message().contains("'paid', found 'gold'; add it"), "{error}");
    for (options, words) in [
        (CsvOptions::new().dictionary("paid", ["a", "a"]), "has the value 'a' twice"),
        (CsvOptions::new().dictionary("paid", [""; 0]), "has no values"),
        (CsvOptions::new().dictionary("gone", ["a"]), "'gone' is no column"),
        (CsvOptions::new().dictionary("paid", ["a"]).column("paid", CsvType::Text), "a type of its own"),
        (CsvOptions::new().dictionary("n", ["1"]).stack("s", ["n"]), "in a stack"),
        (CsvOptions::new().dictionary("paid", ["a"]).dictionary("paid", ["b"]), "given twice"),
        (CsvOptions::new().dictionary("paid", ["a"]).default_value("paid", "b"), "not in its dictionary"),
    ] {
        let error = read(&options, b"n,paid\n1,a\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
}
