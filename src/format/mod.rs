//! From bytes to columns: where the rows of each format lie.
//!
//! A parser reads a file's metadata, which is copied to the heap before anyone interprets it, and ends in *pieces*:
//! where one column of one chunk of rows lies, and how a row is read from it. Everything a piece says was checked
//! against the length of the file. No threads and no I/O here; bytes come from a [`Region`](crate::map::Region).
//!
//! | format | rows are | read |
//! |---|---|---|
//! | Arrow IPC, file and stream | record batches, columns side by side | where they lie; compressed ones decoded a chunk at a time |
//! | Parquet | row groups, columns side by side | decoded a column of a row group at a time |
//! | [`idx`] (MNIST) | one dense array, big-endian | where they lie |
//! | [`npy`] (NumPy) | one dense array, either byte order, C or Fortran order | where they lie |
//! | [`fixed`] | records of one length, fields within | where they lie |
//! | [`csv`] | records of fields, as text | parsed, a record at a time |
//!
//! idx and npy may be wrapped in gzip; they are inflated into memory of our own when they are opened.
#![forbid(unsafe_code)]

mod access;
pub mod csv;
mod detect;
pub mod example;
pub(crate) mod extents;
pub mod fixed;
pub(crate) mod hf;
pub mod idx;
pub(crate) mod ipc;
pub(crate) mod mds;
pub(crate) mod megatron;
mod named;
pub mod npy;
pub(crate) mod npz;
pub(crate) mod parquet;
mod piece;
#[cfg(test)]
mod real;
pub(crate) mod records;
pub(crate) mod tar;
pub mod tensor;
pub(crate) mod text;
pub(crate) mod tfrecord;
pub mod tokens;
pub(crate) mod webdataset;

pub(crate) use access::{Access, Way};
pub use csv::{CsvOptions, CsvType};
pub use detect::{FileFormat, HEAD_BYTES, detect};
pub use example::{ExampleSpec, Feature, FeatureKind, FeaturePlace, FeatureType, FeatureValues, Missing};
pub use fixed::{FixedField, FixedSpec};
pub(crate) use piece::{Bits, Decode, Piece, Span, Values, expansion_cap, plain_field};
pub use records::Checksums;
pub(crate) use records::{Crcs, Framing, InflatedRecords, RecordMap, Records};
pub use tensor::{ByteOrder, TensorFile};
pub use tokens::TokenSpec;
