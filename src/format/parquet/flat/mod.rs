//! Columns whose rows are one value or null each, decoded here: page by page, straight into the memory of the array.
//!
//! ```text
//! page      levels          which rows of the page are values                   levels.rs
//!           values or keys  without gaps, to where the page's rows begin        keys.rs, fixed.rs, text.rs, truths.rs
//!           where rows are null: values are moved up to their rows, from the last to the first
//! ```
//!
//! What is read: integers, floating-point numbers, bytes of one length and of varying length stored plainly or by a
//! dictionary, and truth values stored plainly or in runs. Whatever else a page turns out to be, the column is left to the
//! `parquet` crate, which begins with it anew; both give the same arrays.
//!
//! The pages come checked from [`Pages`](super::pages::Pages). What is checked here: that levels, keys, lengths and values
//! lie within the page and are as many as it says, that keys are those of the dictionary, and that the text they stand for
//! stays within the cap. Room is made for as many rows as pages say they have, and for no more text than there is.
#![forbid(unsafe_code)]

mod fixed;
mod keys;
mod levels;
mod text;
mod truths;

use std::ops::Range;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::Page;

use super::buffers::Buffers;
use super::pages::Pages;
use crate::error::{Error, Result};
use crate::format::piece::Decoded;
use fixed::{Cells, Fixed};
use levels::{Bits, Levels};
use text::Text;
use truths::Truths;

/// What a flat column is decoded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers of 32 bits, of which the lowest 8 or 16 are kept.
    Low8,
    Low16,
    Word32,
    Word64,
    /// So many bytes each.
    Bytes(usize),
    Bits,
    /// Bytes of varying length, with offsets of 64 bits if `wide`.
    Text {
        wide: bool,
    },
}

/// A column chunk: what to make of it, and what is known before its pages are read.
pub(super) struct Flat<'a> {
    pub(super) kind: Kind,
    pub(super) data_type: &'a DataType,
    /// Whether it matters that its bytes are ASCII.
    pub(super) is_text: bool,
    pub(super) is_nullable: bool,
    pub(super) num_rows: usize,
    /// Bytes of text that its values are thought to be; none for values of one width.
    pub(super) text_bytes: usize,
    /// Bytes of text that it may have.
    pub(super) text_cap_bytes: usize,
    /// Bytes that it takes in the file.
    pub(super) stored_bytes: usize,
}

/// What a column chunk may be thought to grow by, whatever it takes in the file: that much is made room for at once.
const GROWTH: usize = 64;
const SMALL_BYTES: usize = 1 << 20;

impl Flat<'_> {
    /// Room to begin with for `len_bytes` bytes, if the chunk has what it says it has: all of it, unless the chunk is too
    /// small to be believed. Who needs more makes room when it comes.
    fn room_for(&self, len_bytes: usize) -> usize {
        len_bytes.min(self.stored_bytes.saturating_mul(GROWTH).max(SMALL_BYTES))
    }
}

/// What values of `physical` type, `length` bytes each if they say, become in an array of `data_type`; `None` for what is
/// not read here.
pub(super) fn kind_of(physical: Physical, length: i32, data_type: &DataType) -> Option<Kind> {
    use DataType::{
        Binary, Boolean, Date32, Duration, FixedSizeBinary, Float16, Float32, Float64, Int8, Int16, Int32,
        Int64, LargeBinary, Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64,
    };
    Some(match (physical, data_type) {
        (Physical::BOOLEAN, Boolean) => Kind::Bits,
        (Physical::INT32, Int8 | UInt8) => Kind::Low8,
        (Physical::INT32, Int16 | UInt16) => Kind::Low16,
        (Physical::INT32, Int32 | UInt32 | Date32 | Time32(_)) | (Physical::FLOAT, Float32) => Kind::Word32,
        (Physical::INT64, Int64 | UInt64 | Timestamp(..) | Time64(_) | Duration(_))
        | (Physical::DOUBLE, Float64) => Kind::Word64,
        (Physical::FIXED_LEN_BYTE_ARRAY, FixedSizeBinary(width)) if *width == length && length > 0 => {
            Kind::Bytes(length as usize)
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, Float16) if length == 2 => Kind::Bytes(2),
        (Physical::BYTE_ARRAY, Binary) => Kind::Text { wide: false },
        (Physical::BYTE_ARRAY, LargeBinary) => Kind::Text { wide: true },
        _ => return None,
    })
}

impl Kind {
    /// Whether pages of `encoding` are read here.
    pub(super) fn reads(self, encoding: Encoding) -> bool {
        match encoding {
            Encoding::PLAIN => true,
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => self != Kind::Bits,
            Encoding::RLE => self == Kind::Bits,
            _ => false,
        }
    }

    /// Whether a column chunk may be read here that has something (values, keys or levels) of `encoding`.
    pub(super) fn may_read(self, encoding: Encoding) -> bool {
        #[expect(deprecated)] // Old files have it, and others say they have.
        let is_of_levels = matches!(encoding, Encoding::RLE | Encoding::BIT_PACKED);
        is_of_levels || self.reads(encoding)
    }
}

/// The values of one column, as they come page by page.
trait Values {
    /// Takes the dictionary: `num_values` values, stored plainly.
    fn dictionary(&mut self, page: &Bytes, num_values: usize) -> Read;

    /// Writes the values of a page, `count` of them, to the first of its `rows`. They are stored plainly, in runs, or, if
    /// `keyed`, as keys of the dictionary.
    fn values(&mut self, stored: Stored<'_>, count: usize, rows: Range<usize>) -> Read;

    /// Moves the values written for `rows`, `count` of them, to those whose bit in `valid` is set; the others are empty.
    fn spread(&mut self, valid: &Bits, count: usize, rows: Range<usize>);

    /// Whether all of them are bytes that were found to be ASCII.
    fn are_ascii(&self) -> bool {
        false
    }

    /// The array of `num_rows` rows.
    fn finish(
        self: Box<Self>,
        data_type: &DataType,
        num_rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef>;
}

/// Values as a page has them.
#[derive(Clone, Copy)]
enum Stored<'a> {
    Plain(&'a [u8]),
    Keys(&'a [u8]),
    Runs(&'a [u8]),
}

/// What went wrong with a page.
enum Fault {
    /// Its bytes contradict what it says it holds.
    Contradiction,
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Other(error)
    }
}

type Read = std::result::Result<(), Fault>;

/// Decodes a column chunk; `None` if one of its pages is of a kind that is not read here.
///
/// # Errors
///
/// Those of the pages; `Malformed`, with the page's byte, for a page that contradicts itself, and for more or fewer rows
/// than `flat` has.
pub(super) fn decode(pages: &mut Pages, flat: &Flat<'_>, buffers: &Buffers) -> Result<Option<Decoded>> {
    let mut values: Box<dyn Values> = match flat.kind {
        Kind::Low8 => Box::new(Fixed::<u8>::new(flat, buffers)?),
        Kind::Low16 => Box::new(Fixed::<u16>::new(flat, buffers)?),
        Kind::Word32 => Box::new(Fixed::<u32>::new(flat, buffers)?),
        Kind::Word64 => Box::new(Fixed::<u64>::new(flat, buffers)?),
        Kind::Bytes(width) => Box::new(Cells::new(flat, width, buffers)?),
        Kind::Bits => Box::new(Truths::default()),
        Kind::Text { wide: false } => Box::new(Text::<i32>::new(flat, buffers)?),
        Kind::Text { wide: true } => Box::new(Text::<i64>::new(flat, buffers)?),
    };
    let mut levels = Levels::new(flat);
    let mut num_rows = 0;
    while let Some(page) = pages.next_page()? {
        let placed = |fault| placed(fault, &page, pages.page_start());
        let (stored, encoding, count) = match &page {
            Page::DictionaryPage { buf, num_values, encoding, .. } => {
                if !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
                    return Ok(None);
                }
                values.dictionary(buf, *num_values as usize).map_err(placed)?;
                continue;
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                let rows = *num_values as usize;
                if !flat.is_nullable {
                    (&buf[..], *encoding, levels.all(rows))
                } else if *def_level_encoding == Encoding::RLE {
                    let (packed, stored) = prefixed(buf).map_err(placed)?;
                    (stored, *encoding, levels.read(packed, rows).map_err(placed)?)
                } else {
                    return Ok(None);
                }
            }
            Page::DataPageV2 {
                buf, num_values, encoding, rep_levels_byte_len, def_levels_byte_len, ..
            } => {
                let rows = *num_values as usize;
                let start = *rep_levels_byte_len as usize;
                let packed =
                    buf.get(start..).and_then(|buf| buf.split_at_checked(*def_levels_byte_len as usize));
                let (packed, stored) = packed.ok_or(Fault::Contradiction).map_err(placed)?;
                let count = if flat.is_nullable {
                    levels.read(packed, rows).map_err(placed)?
                } else {
                    levels.all(rows)
                };
                (stored, *encoding, count)
            }
        };
        let rows = num_rows..levels.len();
        if !flat.kind.reads(encoding) {
            return Ok(None);
        }
        let stored = match encoding {
            Encoding::PLAIN => Stored::Plain(stored),
            Encoding::RLE => Stored::Runs(stored),
            _ => Stored::Keys(stored),
        };
        values.values(stored, count, rows.clone()).map_err(placed)?;
        if let Some(bits) = levels.bits().filter(|_| count < rows.len()) {
            values.spread(bits, count, rows.clone());
        }
        num_rows = rows.end;
    }
    if num_rows != flat.num_rows {
        return Err(Error::malformed(format!(
            "expected the {} rows of the row group, found {num_rows}",
            flat.num_rows
        )));
    }
    let is_ascii = values.are_ascii();
    let array = values.finish(flat.data_type, num_rows, levels.finish())?;
    Ok(Some(Decoded { array, is_ascii }))
}

/// An array of one buffer besides the nulls.
fn array_of(
    values: Buffer,
    data_type: &DataType,
    num_rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let data = ArrayData::builder(data_type.clone()).len(num_rows).nulls(nulls).add_buffer(values).build();
    data.map(make_array).map_err(contradictory)
}

fn contradictory(error: ArrowError) -> Error {
    Error::malformed(format!("the column contradicts itself: {error}")).with_source(error)
}

/// What follows a length of four bytes: as many bytes, and the rest.
fn prefixed(bytes: &[u8]) -> std::result::Result<(&[u8], &[u8]), Fault> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(Fault::Contradiction)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| Fault::Contradiction)?;
    rest.split_at_checked(len).ok_or(Fault::Contradiction)
}

#[cold]
fn placed(fault: Fault, page: &Page, byte: u64) -> Error {
    let error = match fault {
        Fault::Other(error) => error,
        Fault::Contradiction => Error::malformed(format!(
            "expected a page of {} values ({}), found {} bytes of levels, keys or values that contradict it",
            page.num_values(),
            page.encoding(),
            page.buffer().len()
        )),
    };
    error.at_byte(byte)
}
