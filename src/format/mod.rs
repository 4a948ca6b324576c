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
//!
//! idx and npy may be wrapped in gzip; they are inflated into memory of our own when they are opened.
#![forbid(unsafe_code)]

mod detect;
pub mod fixed;
pub mod idx;
pub(crate) mod ipc;
pub mod npy;
pub(crate) mod parquet;
mod piece;
pub mod tensor;

pub use detect::{FileFormat, HEAD_BYTES, detect};
pub use fixed::{FixedField, FixedSpec};
pub(crate) use piece::{Bits, Piece, Span, Values, plain_field};
pub use tensor::{ByteOrder, TensorFile};
