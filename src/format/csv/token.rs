//! From the bytes of a record to its cells.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::Dialect;
use crate::error::{Error, Result};

/// One cell, as it lies in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell<'a> {
    /// What stands in the field, without enclosing quotes; quotes within are still doubled.
    pub(crate) raw: &'a [u8],
    /// Whether there are doubled quotes.
    pub(crate) doubled: bool,
    /// Whether quotes enclosed it.
    pub(crate) quoted: bool,
}

impl<'a> Cell<'a> {
    /// What the cell says.
    pub(crate) fn bytes(&self) -> Cow<'a, [u8]> {
        if !self.doubled {
            return Cow::Borrowed(self.raw);
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        self.append_to(&mut bytes);
        Cow::Owned(bytes)
    }

    /// Appends what the cell says.
    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        if !self.doubled {
            return out.extend_from_slice(self.raw);
        }
        // Quotes come in pairs: of each pair the first is kept.
        let mut from = 0;
        for second in memchr_iter(b'"', self.raw).skip(1).step_by(2) {
            out.extend_from_slice(&self.raw[from..second]);
            from = second + 1;
        }
        out.extend_from_slice(&self.raw[from..]);
    }
}

/// What follows a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// A field that begins at this byte of the record.
    Field(usize),
    /// Nothing: a line end at this byte, or the end of the bytes there.
    End(usize),
}

/// The cell that begins at byte `at` of `record`, and what follows it.
#[inline]
pub(super) fn cell_at(dialect: Dialect, record: &[u8], at: usize) -> Result<(Cell<'_>, After)> {
    if dialect.quote.is_some() && record.get(at) == dialect.quote.as_ref() {
        return quoted_at(dialect, record, at);
    }
    let end = plain_end(dialect, record, at);
    let cell = Cell { raw: &record[at..end], doubled: false, quoted: false };
    let after = match record.get(end) {
        Some(&byte) if byte == dialect.delimiter => After::Field(end + 1),
        Some(&byte) if Some(byte) == dialect.quote => return Err(stray_quote(end)),
        _ => After::End(end),
    };
    Ok((cell, after))
}

#[cold]
fn stray_quote(at: usize) -> Error {
    Error::malformed(
        "expected no quote inside a field that does not begin with one; enclose the field in quotes and \
         double those within, or read the file with quotes(false)",
    )
    .at_byte(at as u64)
}

fn quoted_at(dialect: Dialect, record: &[u8], at: usize) -> Result<(Cell<'_>, After)> {
    let quote = dialect.quote.unwrap_or(b'"');
    let from = at + 1;
    let mut doubled = false;
    let mut search = from;
    loop {
        let Some(length) = memchr(quote, &record[search..]) else {
            return Err(
                Error::malformed("a quoted field begins here that is never closed").at_byte(at as u64)
            );
        };
        let close = search + length;
        let after = match record.get(close + 1) {
            Some(&byte) if byte == quote => {
                doubled = true;
                search = close + 2;
                continue;
            }
            None => After::End(close + 1),
            Some(&byte) if byte == dialect.delimiter => After::Field(close + 2),
            Some(&byte) if Dialect::is_line_end(byte) => After::End(close + 1),
            Some(&byte) => {
                return Err(Error::malformed(format!(
                    "expected the delimiter '{}' or the end of the record behind a closing quote, found \
                     '{}'; quotes within a quoted field are doubled",
                    dialect.delimiter.escape_ascii(),
                    byte.escape_ascii()
                ))
                .at_byte(close as u64 + 1));
            }
        };
        return Ok((Cell { raw: &record[from..close], doubled, quoted: true }, after));
    }
}

/// The first byte from `at` on that is a delimiter, a quote (where the dialect has them) or a line end;
/// the length of the record where there is none.
#[inline(always)]
pub(super) fn plain_end(dialect: Dialect, record: &[u8], mut at: usize) -> usize {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The lowest high bit of this is at the first byte of `word` that is `byte`.
    let hits = |word: u64, byte: u8| {
        let zero_where_equal = word ^ (LOW * u64::from(byte));
        zero_where_equal.wrapping_sub(LOW) & !zero_where_equal
    };
    let quote = dialect.quote.unwrap_or(b'\n');
    while let Some(bytes) = record.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*bytes);
        let found =
            (hits(word, dialect.delimiter) | hits(word, quote) | hits(word, b'\n') | hits(word, b'\r'))
                & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(&byte) = record.get(at) {
        if byte == dialect.delimiter || byte == quote || Dialect::is_line_end(byte) {
            break;
        }
        at += 1;
    }
    at
}

/// The cells of one record, up to its end; ends after the first error.
///
/// Of no bytes at all there is one cell, an empty one.
#[derive(Clone, Debug)]
pub(crate) struct Cells<'a> {
    dialect: Dialect,
    record: &'a [u8],
    next: After,
    failed: bool,
}

impl<'a> Cells<'a> {
    /// The cells of the record at the beginning of `record`.
    pub(crate) fn new(dialect: Dialect, record: &'a [u8]) -> Self {
        Cells { dialect, record, next: After::Field(0), failed: false }
    }

    /// The byte at which the record ended: of a line end, or behind the last. `None` until all cells were
    /// taken, or after an error.
    pub(crate) fn end(&self) -> Option<usize> {
        match self.next {
            After::End(end) if !self.failed => Some(end),
            _ => None,
        }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>>;

    fn next(&mut self) -> Option<Result<Cell<'a>>> {
        let After::Field(at) = self.next else { return None };
        match cell_at(self.dialect, self.record, at) {
            Ok((cell, after)) => {
                self.next = after;
                Some(Ok(cell))
            }
            Err(error) => {
                self.next = After::End(at);
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
