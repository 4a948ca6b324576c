//! Which bytes have a meaning of their own, and how a delimiter is recognised.
#![forbid(unsafe_code)]

use super::scan::{ScanState, record_starts};
use super::token::Cells;
use crate::error::{Error, Result};

/// The bytes that structure a file. No two are the same, and none is a line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Neither NUL nor a byte that can stand in a number, so that a number ends before it.
    pub(crate) delimiter: u8,
    /// `None` where quotes are bytes as any other.
    pub(crate) quote: Option<u8>,
    /// What a line that is no record begins with.
    pub(crate) comment: Option<u8>,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { delimiter: b',', quote: Some(b'"'), comment: None }
    }
}

impl Dialect {
    /// A dialect of these bytes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for bytes that cannot have the part, or have two.
    pub(crate) fn new(delimiter: u8, quotes: bool, comment: Option<u8>) -> Result<Self> {
        let dialect = Dialect { delimiter, quote: quotes.then_some(b'"'), comment };
        let of_a_number = delimiter.is_ascii_alphanumeric() || b".+-".contains(&delimiter);
        if !delimiter.is_ascii() || of_a_number || b"\0\r\n\"".contains(&delimiter) {
            return Err(Error::invalid(format!(
                "the delimiter is '{}': expected an ASCII byte that is no letter, digit, quote, line end or \
                 NUL, and none of '.', '+', '-'",
                delimiter.escape_ascii()
            )));
        }
        if let Some(comment) = comment
            && (comment == delimiter || b"\r\n\"".contains(&comment))
        {
            return Err(Error::invalid(format!(
                "the comment byte is '{}': expected neither the delimiter nor a quote or line end",
                comment.escape_ascii()
            )));
        }
        Ok(dialect)
    }

    /// Whether `byte` ends a record outside of quotes.
    #[inline(always)]
    pub(crate) fn is_line_end(byte: u8) -> bool {
        byte == b'\n' || byte == b'\r'
    }

    /// This dialect with the delimiter that cuts the most records of `sample` into as many fields as the
    /// first, two or more; the more fields the better, the comma before others, and before none.
    pub(crate) fn detect(self, sample: &[u8]) -> Dialect {
        const RECORDS: usize = 100;
        let head = &sample[..sample.len().min(64 << 10)];
        let mut best = (0, 0, self.delimiter);
        for delimiter in *b",;\t|" {
            if self.comment == Some(delimiter) {
                continue;
            }
            let dialect = Dialect { delimiter, ..self };
            let mut starts = Vec::new();
            record_starts(&dialect, ScanState::LineStart, head, 0, &mut starts);
            // The last record of a head may be cut.
            if head.len() < sample.len() && starts.len() > 1 {
                starts.pop();
            }
            let fields = |&start: &u64| {
                let mut cells = Cells::new(dialect, &head[start as usize..]);
                cells.by_ref().take_while(Result::is_ok).count()
            };
            let counts: Vec<_> = starts.iter().take(RECORDS).map(fields).collect();
            let first = counts.first().copied().unwrap_or(0);
            let alike = counts.iter().filter(|&&count| count == first).count();
            if first > 1 && (alike, first) > (best.0, best.1) {
                best = (alike, first, delimiter);
            }
        }
        Dialect { delimiter: best.2, ..self }
    }
}
