//! What a batch looks like in memory: element types, what a column holds per row, and where each column
//! begins in a slot.
//!
//! One slot holds a whole batch, every column at a 64-byte boundary, so that one DMA moves it:
//!
//! ```text
//! table      for each column of varying length: where its items begin, how many bytes they are (2 × u64)
//! row mask   one byte a row, 1 for a row of the dataset, 0 for padding (only with `Remainder::Pad`)
//! sources    four bytes a row, the number of its component (only of a mixture)
//! column     values, dense: rows × bytes of a row          │ offsets: (rows + 1) × 4 or 8 bytes
//!            validity, one byte a row (nullable only)      │ validity, one byte a row (nullable only)
//! …
//! items      of each column of varying length, in the order of the columns
//! ```
//!
//! All of it is native-endian. Slots are zeroed when they are allocated, so padding between columns is
//! never uninitialised; what a batch does not overwrite is what an earlier one left.
#![forbid(unsafe_code)]

mod column;
mod decode;
mod dtype;
mod slot;

pub use column::{ColumnKind, tensor_field};
pub(crate) use decode::{ColumnMut, DecodeInto, RowMut};
pub use dtype::{DType, Element};
pub(crate) use slot::{Beside, ColumnShape, Place, SlotLayout, align_up};
