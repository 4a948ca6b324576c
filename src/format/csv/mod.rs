//! CSV: records of fields in text, and how their cells become the values of columns.
//!
//! ```text
//!     EF BB BF                        a byte order mark, skipped
//!     exported on Monday ⏎            skip_lines(1)
//!     # units: mm ⏎                   a comment line (with `comment`), no record
//!     name,width,note ⏎               the header record: the names of the columns
//!     ⏎                               a blank line, no record
//!     ┌ record 0 starts
//!     a,1.5,"said ""so"",⏎ twice" ⏎   the third cell is   said "so",⏎ twice
//!     b, 2 , ⏎                        spaces around numbers do not count; the third cell is a space
//!     └ record 1 starts
//! ```
//!
//! The grammar is that of [RFC 4180], its delimiter free, and any of CR, LF and CRLF ends a record:
//!
//! ```text
//!     record   =  field { delimiter field } ( CR | LF | CRLF | end of file )
//!     field    =  quoted | plain
//!     quoted   =  '"' { any byte but '"' | '""' } '"'
//!     plain    =  { any byte but delimiter, '"', CR, LF }
//! ```
//!
//! What does not follow it is refused, at its byte: a quote inside a plain field, anything between a closing
//! quote and the delimiter, a quoted field that is never closed, a record with more or fewer fields than the
//! first. So a cell has one reading, and a damaged record is noticed. A line of no bytes is no record, so
//! that in a file of one column a missing cell is written `""`.
//!
//! A cell is *missing* when it is empty or equal to one of `na_values`, quoted or not; for numbers and truth
//! values this is asked after spaces around it were taken off. A missing cell is a null, or the default of
//! its column, or, where the column is required, an error.
//!
//! Invariants: record starts are found without regard to where blocks of the file were cut (`scan`); a
//! record is parsed from its own bytes alone (`decode`); floats are those nearest to the decimal, bit for
//! bit what [`str::parse`] gives.
//!
//! Deliberately absent: other encodings than UTF-8 (cells can be had as bytes), backslash escapes, records
//! whose number of fields varies, dates (they are text), thousands separators, decimal commas.
//!
//! [RFC 4180]: https://www.rfc-editor.org/rfc/rfc4180
#![forbid(unsafe_code)]

mod decode;
mod dialect;
mod infer;
mod options;
mod plan;
mod resolve;
mod scan;
mod token;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use decode::{CsvDecoder, put, shortened};
pub(crate) use dialect::Dialect;
pub use options::{CsvOptions, CsvType};
pub(crate) use resolve::{CsvFormat, SAMPLE_BYTES};
pub(crate) use scan::{BlockSummary, ScanState, record_starts};
pub(crate) use token::Cells;
