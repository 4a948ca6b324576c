//! Plain text: a row is a line.
//!
//! ```text
//!     starts   0           3   4       6              9 = file_len
//!              ├───────────┼───┼───────┼──────────────┤
//!              │ a  b  LF  │LF │ CR LF │ c  CR d      │     rows "ab", "", "", "c\rd"
//!              └───────────┴───┴───────┴──────────────┘
//! ```
//!
//! A line ends behind its line feed. Neither the line feed nor a carriage return right before it belongs to the
//! row; a carriage return anywhere else does. Empty lines are rows. The last line needs no line feed, and a line
//! feed at the end of the file begins no further row. A byte-order mark is content, as it is to Python.
//!
//! The index of a file of n lines is n + 1 numbers, so that line i is the bytes `starts[i]..starts[i + 1]`. A block
//! of the file can be scanned without any other: concatenated in the order of the blocks, their starts are those
//! of the whole.
//!
//! Deliberately absent: other encodings than UTF-8 (a line that is none is an error where it is read), and the
//! line ends of Unicode and of the old Macintosh.
#![forbid(unsafe_code)]

use arrow::datatypes::{DataType, Field};
use memchr::memchr_iter;

use crate::error::{Error, Result};
use crate::layout::{DecodeInto, RowMut};

/// The name of the one column.
pub(crate) const COLUMN: &str = "text";

/// The field of the one column.
pub(crate) fn field() -> Field {
    Field::new(COLUMN, DataType::Utf8, false)
}

/// How many starts [`push_starts`] finds in `block`.
pub(crate) fn count(block: &[u8]) -> usize {
    memchr_iter(b'\n', block).count()
}

/// Pushes the start of every line that follows a line feed of `block`, which lies at byte `base` of the file.
///
/// Grows `starts` no further than it must if [`count`] of them were reserved before.
pub(crate) fn push_starts(block: &[u8], base: u64, starts: &mut Vec<u64>) {
    starts.extend(memchr_iter(b'\n', block).map(|at| base + at as u64 + 1));
}

/// Makes the pushed starts of a file of `file_len` bytes, behind the 0 they begin with, an index: the end of the
/// last line is added where no line feed marks it.
///
/// # Panics
///
/// If `starts` does not begin with 0.
pub(crate) fn close(starts: &mut Vec<u64>, file_len: u64) {
    assert_eq!(starts.first(), Some(&0), "the first line begins at byte 0");
    if starts.last() != Some(&file_len) {
        starts.push(file_len);
    }
}

/// The row that `line`, with its line end, is.
pub(crate) fn content(line: &[u8]) -> &[u8] {
    match line {
        [content @ .., b'\r', b'\n'] | [content @ .., b'\n'] => content,
        content => content,
    }
}

/// Decodes a line, with its line end, into the one column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineDecoder;

impl DecodeInto for LineDecoder {
    fn decode(&self, line: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        let content = content(line);
        if let Err(e) = str::from_utf8(content) {
            return Err(Error::malformed(format!("expected a line of UTF-8, found another encoding: {e}"))
                .at_byte(e.valid_up_to() as u64));
        }
        if row.wants(0) {
            row.items(0).extend_from_slice(content);
        }
        Ok(())
    }

    fn what(&self) -> &'static str {
        "lines of text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::real;
    use crate::layout::ColumnMut;
    use proptest::prelude::*;

    fn index(text: &[u8], block_len: usize) -> Vec<u64> {
        let mut starts = vec![0];
        for (i, block) in text.chunks(block_len).enumerate() {
            let before = starts.len();
            push_starts(block, (i * block_len) as u64, &mut starts);
            assert_eq!(starts.len() - before, count(block));
        }
        close(&mut starts, text.len() as u64);
        starts
    }

    fn rows<'a>(text: &'a [u8], starts: &[u64]) -> Vec<&'a [u8]> {
        starts.windows(2).map(|line| content(&text[line[0] as usize..line[1] as usize])).collect()
    }

    /// A byte at a time.
    fn naive(text: &[u8]) -> Vec<Vec<u8>> {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        for &byte in text {
            row.push(byte);
            if byte == b'\n' {
                row.pop();
                if row.last() == Some(&b'\r') {
                    row.pop();
                }
                rows.push(std::mem::take(&mut row));
            }
        }
        if !row.is_empty() {
            rows.push(row);
        }
        rows
    }

    #[test]
    fn the_drawing_is_right() {
        let text = b"ab\n\n\r\nc\rd";
        assert_eq!(index(text, 100), [0, 3, 4, 6, 9]);
        assert_eq!(rows(text, &index(text, 100)), [&b"ab"[..], b"", b"", b"c\rd"]);
        assert_eq!(index(b"", 1), [0]);
        assert_eq!(rows(b"a\r\r\n\r", &index(b"a\r\r\n\r", 2)), [&b"a\r"[..], b"\r"]);
    }

    proptest! {
        #[test]
        fn blocks_find_what_a_byte_at_a_time_finds(
            text in prop::collection::vec(prop::sample::select(&b"ab\r\n"[..]), 0..60), block_len in 1..20usize,
        ) {
            let starts = index(&text, block_len);
            prop_assert_eq!(&starts, &index(&text, 1000));
            prop_assert_eq!(rows(&text, &starts), naive(&text));
        }
    }

    #[test]
    fn a_line_is_decoded_without_its_end_and_must_be_utf8() {
        let mut items = b"before ".to_vec();
        let mut columns = [ColumnMut::Runs { items: &mut items, validity: None }];
        LineDecoder.decode("zwölf\r\n".as_bytes(), &mut RowMut::new(&mut columns, 0)).unwrap();
        assert_eq!(items, "before zwölf".as_bytes());
        let mut columns = [ColumnMut::Unwanted];
        let mut row = RowMut::new(&mut columns, 0);
        LineDecoder.decode(b"unwanted\n", &mut row).unwrap();
        let error = LineDecoder.decode(b"zw\xf6lf\n", &mut row).unwrap_err();
        assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(2)));
    }

    #[test]
    fn tiny_shakespeare_has_its_lines() {
        let Some((path, expected)) = real::expected("text/tinyshakespeare.txt") else { return };
        let text = std::fs::read(path).unwrap();
        let starts = index(&text, 64 << 10);
        assert_eq!(starts.len() as u64 - 1, expected["lines"].as_u64().unwrap());
        let rows = rows(&text, &starts);
        assert_eq!(rows[0], expected["first_line"].as_str().unwrap().as_bytes());
        let chars: usize = rows.iter().map(|row| row.len() + 1).sum();
        assert_eq!(chars as u64, expected["chars"].as_u64().unwrap());
    }
}
