//! From byte strings to rows of numbers.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use arrow::array::FixedSizeListArray;
use arrow::array::{ArrayRef, make_array};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{DataType, Field};

use crate::batch::{dense, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ByteOrder;
use crate::layout::DType;

/// What the bytes of [`decode_raw`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RawType {
    /// Numbers or truth values. A truth value is a byte, and any but 0 is true.
    Real(DType),
    /// Pairs of `f32`, the real part first. Arrow has no complex numbers: a value is a list of two.
    Complex64,
    /// Pairs of `f64`, the real part first. Arrow has no complex numbers: a value is a list of two.
    Complex128,
}

impl From<DType> for RawType {
    fn from(dtype: DType) -> Self {
        RawType::Real(dtype)
    }
}

impl fmt::Display for RawType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawType::Real(dtype) => write!(f, "{dtype}"),
            RawType::Complex64 => f.write_str("complex64"),
            RawType::Complex128 => f.write_str("complex128"),
        }
    }
}

/// The numbers that `values` are, byte by byte, a row each: all are of one length. Rows of no bytes are lists of no numbers.
///
/// ```
/// use arrow::array::AsArray;
/// use arrow::datatypes::Int16Type;
/// use forebay::{DType, coordinator::decode::decode_raw, format::ByteOrder};
///
/// let rows = decode_raw(&[b"\x01\x00\x02\x00", b"\x03\x00\xFF\xFF"], DType::I16, ByteOrder::Little)?;
/// assert_eq!((rows.len(), rows.value_length()), (2, 2));
/// assert_eq!(rows.values().as_primitive::<Int16Type>().values(), &[1, 2, 3, -1]);
/// # use arrow::array::Array;
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
///
/// `Malformed`, with the number of the value, for one of another length than the first, or one that is not a whole number of
/// elements; `TooLarge` for a row of 2³¹ elements or more.
pub fn decode_raw<V: AsRef<[u8]>>(
    values: &[V],
    raw: impl Into<RawType>,
    order: ByteOrder,
) -> Result<FixedSizeListArray> {
    let raw = raw.into();
    // Elements of Arrow's own type, and how many of them are one value.
    let (dtype, parts) = match raw {
        RawType::Real(dtype) => (dtype, 1),
        RawType::Complex64 => (DType::F32, 2),
        RawType::Complex128 => (DType::F64, 2),
    };
    let width = dtype.width_bytes();
    let row_bytes = values.first().map_or(0, |value| value.as_ref().len());
    if !row_bytes.is_multiple_of(width * parts) {
        return Err(Error::malformed(format!(
            "expected a multiple of the {} bytes of a {raw}, found {row_bytes}",
            width * parts
        ))
        .at_record(0));
    }
    let row_len = row_bytes / (width * parts);
    let row_len = i32::try_from(row_len).map_err(|_| {
        let message = format!("a row would have {row_len} values of {raw}, expected fewer than 2³¹");
        Error::new(ErrorKind::TooLarge, message)
    })?;
    let mut bytes = MutableBuffer::new(row_bytes * values.len());
    for (number, value) in values.iter().map(AsRef::as_ref).enumerate() {
        if value.len() != row_bytes {
            return Err(Error::malformed(format!(
                "expected {row_bytes} bytes, as the first value has, found {}",
                value.len()
            ))
            .at_record(number as u64));
        }
        bytes.extend_from_slice(value);
    }
    let is_foreign = (order == ByteOrder::Big) != cfg!(target_endian = "big");
    if is_foreign && width > 1 {
        bytes.as_slice_mut().chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    let (item, elements) = elements(dtype, parts, bytes.into(), width)?;
    FixedSizeListArray::try_new_with_length(item, row_len, elements, None, values.len()).map_err(refused)
}

/// The values one after another, and their field: of `parts` elements each.
fn elements(dtype: DType, parts: usize, bytes: Buffer, width: usize) -> Result<(Arc<Field>, ArrayRef)> {
    let item = Arc::new(Field::new("item", dtype.to_arrow(), false));
    let len = bytes.len() / width;
    if parts == 1 {
        let array = make_array(dense(item.data_type(), len, bytes, width, None)?);
        return Ok((item, array));
    }
    let pair = DataType::FixedSizeList(item, parts as i32);
    let array = make_array(dense(&pair, len / parts, bytes, width * parts, None)?);
    Ok((Arc::new(Field::new("item", pair, false)), array))
}
