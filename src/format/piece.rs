//! Where one column of one chunk of rows lies in memory, and how a row is read from it.
//!
//! A format's parser ends in [`Piece`]s; the gather kernels begin with them. Every span was checked
//! against its region when it was made, so a row below `num_rows` never lies outside.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericByteArray, GenericListArray, OffsetSizeTrait,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ByteArrayType, DataType, Field};

use super::extents::Extents;
use super::places::Visit;
use super::records::{InflatedRecords, Records};
use super::tensor::TensorFile;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::DType;
use crate::map::Region;

/// A byte range that lies within its region.
#[derive(Clone)]
pub(crate) struct Span {
    region: Region,
    offset: u64,
    len: u64,
}

impl Span {
    /// The `len` bytes of `region` from `offset`.
    pub(crate) fn new(region: &Region, offset: u64, len: u64) -> Result<Self> {
        if offset.checked_add(len).is_none_or(|end| end > region.len_bytes()) {
            return Err(Error::malformed(format!(
                "expected {len} bytes at byte {offset}, found a file of {} bytes",
                region.len_bytes()
            )));
        }
        Ok(Span { region: region.clone(), offset, len })
    }

    /// The same bytes in memory of our own.
    pub(crate) fn own(&self) -> Result<Self> {
        let region = Region::from_vec(self.region.read(self.offset..self.offset + self.len)?);
        Ok(Span { region, offset: 0, len: self.len })
    }

    fn of_buffer(buffer: Buffer) -> Self {
        let region = Region::from_buffer(buffer);
        let len = region.len_bytes();
        Span { region, offset: 0, len }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The first byte; only ever copied from, never borrowed.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.region.as_ptr().wrapping_add(self.offset as usize)
    }
}

/// A run of bits, least significant first.
#[derive(Clone)]
pub(crate) struct Bits {
    pub(crate) span: Span,
    /// The first bit, counted from the span's first byte.
    pub(crate) first: u64,
}

/// How the values of a piece lie.
#[derive(Clone)]
pub(crate) enum Values {
    /// Row `i` is the native, dense run of bytes at `i * stride`.
    Dense { span: Span, stride: u64 },
    /// As `Dense`, but elements of `width` bytes are big-endian or lie apart (`strides`: one per dimension
    /// of the row's shape).
    Scattered { span: Span, stride: u64, width: usize, swap: bool, strides: Option<Arc<[u64]>> },
    /// Row `i` is the `per_row` bits from bit `first + i * per_row`.
    Bits { bits: Bits, per_row: u64 },
    /// Row `i` is the items `offsets[i]..offsets[i + 1]` of `items`, each of `item_bytes` bytes. Offsets
    /// are little-endian, 8 bytes when `wide`, else 4; each is checked when it is read. All items are ASCII if `is_ascii`
    /// says so.
    Runs { offsets: Span, wide: bool, items: Span, item_bytes: u64, is_ascii: bool },
    /// Row `i` is the items that lie where `extents` says in `region`, each of `item_bytes` bytes; each extent is checked
    /// when it is read.
    Extents { region: Region, extents: Extents, item_bytes: u64 },
    /// Row `i` is column `column` of what record `i` decodes to.
    Parsed { records: Arc<Records>, column: usize },
    /// As `Parsed`, once the file is inflated.
    Inflated { file: Arc<InflatedRecords>, column: usize },
    /// Rows that no kernel reads: Arrow's own arrays hold them.
    Array(ArrayRef),
    /// Rows that must be decoded first, for the `reason`; `decoded_bytes` bounds the memory that takes.
    Encoded { decoder: Arc<dyn Decode>, column: usize, decoded_bytes: u64, reason: &'static str },
}

/// A chunk whose columns are decoded by another library before rows can be read.
pub(crate) trait Decode: Send + Sync {
    /// The whole column of the chunk, in memory we own.
    fn decode(&self, column: usize) -> Result<Decoded>;

    /// Visits the bytes of the file that the column is decoded from.
    fn places(&self, column: usize, visit: &mut Visit<'_>);
}

/// A column that was decoded.
pub(crate) struct Decoded {
    pub(crate) array: ArrayRef,
    /// Whether it is bytes and all of them are known to be ASCII, so that nobody need look at them again.
    pub(crate) is_ascii: bool,
}

impl From<ArrayRef> for Decoded {
    fn from(array: ArrayRef) -> Self {
        Decoded { array, is_ascii: false }
    }
}

/// One column of one chunk.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) num_rows: u64,
    /// A set bit is a value, a clear one a null; absent where nothing is null.
    pub(crate) validity: Option<Bits>,
    pub(crate) values: Values,
}

impl Piece {
    /// The piece a dense array in a file is.
    pub(crate) fn of_tensor_file(file: &TensorFile, region: &Region) -> Result<Self> {
        file.check(region.len_bytes())?;
        let span = Span::new(region, file.offset_bytes, region.len_bytes() - file.offset_bytes)?;
        let swap = !file.order.is_native() && file.dtype.width_bytes() > 1;
        let values = if swap || file.element_strides_bytes.is_some() {
            let strides = file.element_strides_bytes.as_ref().map(|strides| strides.clone().into());
            Values::Scattered {
                span,
                stride: file.row_stride_bytes,
                width: file.dtype.width_bytes(),
                swap,
                strides,
            }
        } else {
            Values::Dense { span, stride: file.row_stride_bytes }
        };
        Ok(Piece { num_rows: file.num_rows, validity: None, values })
    }

    /// The piece a decoded column is.
    pub(crate) fn of_decoded(decoded: &Decoded) -> Result<Self> {
        let mut piece = Piece::of_array(&decoded.array)?;
        if let Values::Runs { is_ascii, .. } = &mut piece.values {
            *is_ascii = decoded.is_ascii;
        }
        Ok(piece)
    }

    /// The piece an array in memory is, its type as [`plain_field`] gives it.
    pub(crate) fn of_array(array: &ArrayRef) -> Result<Self> {
        let plain = plain_type(array.data_type());
        let array = if plain == *array.data_type() {
            array.clone()
        } else {
            check_expansion(array)?;
            cast(array, &plain).map_err(|e| {
                Error::malformed(format!("cannot decode {} as {plain}", array.data_type())).with_source(e)
            })?
        };
        let num_rows = array.len() as u64;
        let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(bits_of);
        let values = values_of(&array)?.unwrap_or_else(|| Values::Array(array.clone()));
        Ok(Piece { num_rows, validity, values })
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("num_rows", &self.num_rows)
            .field("access", &format_args!("{}", self.access()))
            .finish()
    }
}

/// The field under which rows of `field` are handed out: dictionaries and views become the values they
/// stand for, wherever they are nested one level deep in a column.
pub(crate) fn plain_field(field: &Field) -> Field {
    let plain = plain_type(field.data_type());
    field.clone().with_data_type(plain)
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// What `stored_bytes` of a file may become in memory: whatever is small, and beyond that 256 times as much.
pub(crate) fn expansion_cap(stored_bytes: u64) -> u64 {
    (64 << 20).max(stored_bytes.saturating_mul(256))
}

/// Refuses a dictionary or view that repeats its values beyond the cap.
fn check_expansion(array: &ArrayRef) -> Result<()> {
    let stored = array.to_data().get_slice_memory_size().unwrap_or(usize::MAX) as u64 + view_bytes(array);
    let (cap, expanded) = (expansion_cap(stored), expanded_bytes(array));
    if expanded > cap {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected the {stored} bytes of {} to stand for at most {cap}, found {expanded}",
                array.data_type()
            ),
        ));
    }
    Ok(())
}

/// Bytes of the buffers that the rows of a view point into.
fn view_bytes(array: &ArrayRef) -> u64 {
    let buffers = match array.data_type() {
        DataType::Utf8View => array.as_string_view().data_buffers(),
        DataType::BinaryView => array.as_binary_view().data_buffers(),
        _ => return 0,
    };
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

/// At most how many bytes the values are that `array` stands for.
fn expanded_bytes(array: &ArrayRef) -> u64 {
    // The length of a view's row is in its lowest 32 bits.
    let in_views = |views: &[u128]| views.iter().map(|&view| u64::from(view as u32)).sum();
    match array.data_type() {
        DataType::Utf8View => in_views(array.as_string_view().views()),
        DataType::BinaryView => in_views(array.as_binary_view().views()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let (values, num_rows) = (dictionary.values(), array.len() as u64);
            let all = expanded_bytes(values);
            if values.is_empty() || all.saturating_mul(num_rows) <= expansion_cap(0) {
                return all.saturating_mul(num_rows);
            }
            let keys = dictionary.normalized_keys();
            let sum =
                |len: &dyn Fn(usize) -> u64| keys.iter().map(|&key| len(key)).fold(0, u64::saturating_add);
            match values.data_type() {
                DataType::Utf8 => sum(&|key| values.as_string::<i32>().value(key).len() as u64),
                DataType::LargeUtf8 => sum(&|key| values.as_string::<i64>().value(key).len() as u64),
                DataType::Binary => sum(&|key| values.as_binary::<i32>().value(key).len() as u64),
                DataType::LargeBinary => sum(&|key| values.as_binary::<i64>().value(key).len() as u64),
                fixed
                    if fixed.primitive_width().is_some() || matches!(fixed, DataType::FixedSizeBinary(_)) =>
                {
                    all.div_ceil(values.len() as u64).saturating_mul(num_rows)
                }
                _ => all.saturating_mul(num_rows),
            }
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX) as u64,
    }
}

fn bits_of(nulls: &NullBuffer) -> Bits {
    Bits { span: Span::of_buffer(nulls.buffer().clone()), first: nulls.offset() as u64 }
}

/// The values of an array a kernel can read; `None` for types that only Arrow's own arrays hold.
fn values_of(array: &ArrayRef) -> Result<Option<Values>> {
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean().values();
            let bits = Bits { span: Span::of_buffer(values.inner().clone()), first: values.offset() as u64 };
            Some(Values::Bits { bits, per_row: 1 })
        }
        DataType::FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary().value_data();
            // Sliced arrays carry their offset in the data; `value_data` begins at the first row.
            let data = array.to_data();
            let start = data.offset() * *width as usize;
            let buffer =
                data.buffers()[0].slice_with_length(start, values.len().min(array.len() * *width as usize));
            Some(Values::Dense { span: Span::of_buffer(buffer), stride: *width as u64 })
        }
        DataType::FixedSizeList(_, n) => {
            let list = array.as_fixed_size_list();
            let per_row = *n as u64;
            let values = list.values();
            if holds_nulls(list) {
                return Ok(None);
            }
            match values_of(values)? {
                Some(Values::Dense { span, stride }) => {
                    Some(Values::Dense { span, stride: stride * per_row })
                }
                Some(Values::Bits { bits, per_row: inner }) => {
                    Some(Values::Bits { bits, per_row: inner * per_row })
                }
                _ => None,
            }
        }
        DataType::Binary => Some(runs_of_bytes(array.as_binary::<i32>())),
        DataType::LargeBinary => Some(runs_of_bytes(array.as_binary::<i64>())),
        DataType::Utf8 => Some(runs_of_bytes(array.as_string::<i32>())),
        DataType::LargeUtf8 => Some(runs_of_bytes(array.as_string::<i64>())),
        DataType::List(_) => runs_of_items(array.as_list::<i32>())?,
        DataType::LargeList(_) => runs_of_items(array.as_list::<i64>())?,
        data_type => match DType::of_arrow(data_type) {
            Some(dtype) => {
                let data = array.to_data();
                let width = dtype.width_bytes();
                let buffer = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
                Some(Values::Dense { span: Span::of_buffer(buffer), stride: width as u64 })
            }
            None => None,
        },
    })
}

/// Whether values inside the lists are null; those inside lists that are null themselves are nobody's.
fn holds_nulls(list: &FixedSizeListArray) -> bool {
    let (values, n) = (list.values(), list.value_length() as usize);
    let Some(inside) = values.nulls().filter(|inside| inside.null_count() > 0) else { return false };
    let Some(nulls) = list.nulls() else { return true };
    let padding = |row: usize| inside.slice(row * n, n).null_count();
    let in_null_lists: usize = (0..list.len()).filter(|&row| nulls.is_null(row)).map(padding).sum();
    inside.null_count() > in_null_lists
}

fn runs_of_bytes<T: ByteArrayType>(array: &GenericByteArray<T>) -> Values {
    let offsets = array.offsets().inner().inner().clone();
    Values::Runs {
        offsets: Span::of_buffer(offsets),
        wide: T::Offset::IS_LARGE,
        items: Span::of_buffer(array.values().clone()),
        item_bytes: 1,
        is_ascii: false,
    }
}

fn runs_of_items<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Option<Values>> {
    let values = array.values();
    if values.null_count() > 0 {
        return Ok(None);
    }
    Ok(match values_of(values)? {
        Some(Values::Dense { span, stride }) if DType::of_arrow(values.data_type()).is_some() => {
            Some(Values::Runs {
                offsets: Span::of_buffer(array.offsets().inner().inner().clone()),
                wide: O::IS_LARGE,
                items: span,
                item_bytes: stride,
                is_ascii: false,
            })
        }
        _ => None,
    })
}
