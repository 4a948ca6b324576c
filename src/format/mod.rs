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
//! | npz (NumPy) | dense arrays, one a column | where they lie; deflated ones inflated when the archive is opened |
//! | [`fixed`] | records of one length, fields within | where they lie |
//! | [`tokens`] | windows of a run of tokens | where they lie |
//! | Megatron-LM's indexed tokens | documents, or windows | where they lie |
//! | tar (WebDataset) | samples of the members of one key | where they lie |
//! | [`csv`] | records of fields, as text | parsed, a record at a time |
//! | TFRecord of [`example`]s, or of anything | frames of a payload | parsed, a record at a time |
//! | text | lines | parsed, a record at a time |
//! | MDS (MosaicML Streaming) | samples, addressed by offsets | parsed, a record at a time |
//! | folders of Hugging Face's `datasets` | Arrow IPC streams that `state.json` lists | where they lie |
//!
//! A parsed record is turned into a row by a decoder, which writes each value where the batch has it; where each record
//! lies is said by an index, from a scan or from a file kept beside the records. Any file may be compressed with gzip, zlib or Zstandard; it is
//! inflated into memory of our own before a parser sees it.
#![forbid(unsafe_code)]

mod access;
mod compression;
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
pub(crate) mod places;
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
pub use compression::Compression;
pub use csv::{CsvOptions, CsvType};
pub use detect::{FileFormat, HEAD_BYTES, detect};
pub use example::{ExampleSpec, Feature, FeatureKind, FeaturePlace, FeatureType, FeatureValues, Missing};
pub use fixed::{FixedField, FixedSpec};
pub(crate) use piece::{Bits, Decode, Piece, Span, Values, expansion_cap, plain_field};
pub use records::Checksums;
pub(crate) use records::{Crcs, Framing, InflatedRecords, RecordMap, Records};
pub use tensor::{ByteOrder, TensorFile};
pub use tokens::TokenSpec;
