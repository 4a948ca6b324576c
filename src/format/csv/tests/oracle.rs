//! The tokenizer against the `csv` crate, and what it refuses against the grammar, byte by byte.
//!
//! The `csv` crate reads everything. Where the grammar does not hold it takes a quote inside a plain field
//! as a byte of it, goes on with a plain field behind a closing quote, and closes a quoted field at the end
//! of the file. Here these are errors. A comment it ends at LF alone, and one at the end of the file it takes
//! for a record. On everything else both agree.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::super::token::Cells;
use super::super::*;

fn dialect(quotes: bool, comment: bool) -> Dialect {
    Dialect::new(b',', quotes, comment.then_some(b'#')).unwrap()
}

/// All records up to the first error, and whether there was one.
fn ours(dialect: Dialect, file: &[u8]) -> (Vec<Vec<Vec<u8>>>, bool) {
    let mut starts = Vec::new();
    record_starts(&dialect, ScanState::LineStart, file, 0, &mut starts);
    starts.push(file.len() as u64);
    let mut records = Vec::new();
    for pair in starts.windows(2) {
        let bytes = &file[pair[0] as usize..pair[1] as usize];
        let mut cells = Cells::new(dialect, bytes);
        let record: Result<Vec<_>, _> =
            cells.by_ref().map(|cell| cell.map(|cell| cell.bytes().into_owned())).collect();
        let Ok(record) = record else { return (records, true) };
        let end = cells.end().unwrap();
        assert!(end == bytes.len() || Dialect::is_line_end(bytes[end]));
        records.push(record);
    }
    (records, false)
}

fn theirs(dialect: Dialect, file: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).quoting(dialect.quote.is_some()).comment(dialect.comment);
    let records = reader.from_reader(file).into_byte_records();
    records.map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
}

/// Whether all of `file` follows the grammar of the module page.
fn follows_grammar(dialect: Dialect, file: &[u8]) -> bool {
    let Some(quote) = dialect.quote else { return true };
    let mut rest = file;
    let mut line_start = true;
    loop {
        if line_start && rest.first().is_some_and(|byte| Some(*byte) == dialect.comment) {
            rest = &rest[rest.iter().position(|&byte| Dialect::is_line_end(byte)).unwrap_or(rest.len())..];
        }
        if rest.first() == Some(&quote) {
            rest = &rest[1..];
            loop {
                let Some(close) = rest.iter().position(|&byte| byte == quote) else { return false };
                rest = &rest[close + 1..];
                if rest.first() != Some(&quote) {
                    break;
                }
                rest = &rest[1..];
            }
        } else {
            let ends = |byte: &u8| b",\"\r\n".contains(byte);
            rest = &rest[rest.iter().position(ends).unwrap_or(rest.len())..];
        }
        match rest.split_first() {
            None => return true,
            Some((&byte, behind)) if byte == dialect.delimiter || Dialect::is_line_end(byte) => {
                line_start = byte != dialect.delimiter;
                rest = behind;
            }
            Some(_) => return false,
        }
    }
}

fn check(dialect: Dialect, file: &[u8]) {
    let (records, refused) = ours(dialect, file);
    let shown = String::from_utf8_lossy(file);
    assert_eq!(refused, !follows_grammar(dialect, file), "{shown:?}");
    if !refused && dialect.comment.is_none() {
        assert_eq!(records, theirs(dialect, file), "{shown:?}");
    } else if !refused && !file.contains(&b'\r') {
        assert_eq!(records, theirs(dialect, &[file, b"\n"].concat()), "{shown:?}");
    }
}

#[test]
fn every_file_of_up_to_five_bytes() {
    let alphabet = *b"a,\"\r\n#";
    for length in 0..=5 {
        for number in 0..alphabet.len().pow(length) {
            let digit = |place: u32| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
            let file: Vec<u8> = (0..length).map(digit).collect();
            check(dialect(true, false), &file);
            check(dialect(true, true), &file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn small_alphabets(file in "[a,\"\r\n 1.\\-#]{0,40}", quotes: bool, comment: bool) {
        check(dialect(quotes, comment), file.as_bytes());
    }

    #[test]
    fn long_fields(file in "([a,\n]{0,30}|\"([a,\n\r]{0,30}|\"\"){0,4}\"[,\n]){0,6}") {
        check(dialect(true, false), file.as_bytes());
    }

    #[test]
    fn files_that_were_written_by_the_csv_crate(
        records in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,12}", 3), 0..8), crlf: bool,
    ) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        records.iter().for_each(|record| writer.write_record(record).unwrap());
        let file = writer.into_inner().unwrap();
        let (read, refused) = ours(dialect(true, false), &file);
        prop_assert!(!refused);
        let written: Vec<Vec<Vec<u8>>> =
            records.iter().map(|record| record.iter().map(|cell| cell.clone().into_bytes()).collect()).collect();
        prop_assert_eq!(read, written);
    }
}
