//! Decoders: from records to Arrow columns, many records at once.
//!
//! | function | from | to |
//! |---|---|---|
//! | [`decode_csv`] | records of CSV | a column a field |
//! | [`parse_example`] | serialized tf.train.Examples | a column or two a feature |
//! | [`decode_raw`] | byte strings of one length | rows of numbers |
//! | [`decode_compressed`] | a compressed byte string | what it inflates to |
//! | [`stack`] | columns of numbers | one tensor column |
//!
//! The grammar of CSV and of examples is that of [`format`](crate::format): a dataset and these functions read the same
//! from the same bytes. An error names the record by its place among those given, and the byte within it.
#![forbid(unsafe_code)]

mod compressed;
mod csv;
mod example;
mod lists;
mod raw;
mod rows;
mod stack;

pub use compressed::decode_compressed;
pub use csv::{CsvScalar, DecodeCsv, decode_csv};
pub use example::{ParseExample, parse_example};
pub use raw::{RawType, decode_raw};
pub use stack::stack;
