//! Columns side by side: many tensors of a row become one run of bytes.
//!
//! ```text
//! x1   a₀ a₁ a₂ …          features   a₀ b₀ c₀   a₁ b₁ c₁   a₂ b₂ c₂ …
//! x2   b₀ b₁ b₂ …    ──▶              row 0      row 1      row 2
//! x3   c₀ c₁ c₂ …
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, FixedSizeListArray, make_array};
use arrow::buffer::MutableBuffer;
use arrow::datatypes::{DataType, Field};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, DType, tensor_field};

/// Rows laid out at a time: with some hundred columns they and their sources stay in the second cache.
const BLOCK_ROWS: usize = 256;

/// The field `name` of `members` stacked.
///
/// # Errors
///
/// `InvalidArgument` for members that are no tensors of numbers, of different element types, or too long together.
pub(crate) fn stack_field(name: &str, members: &[&Field]) -> Result<Field> {
    let refuse = |message: String| Err(Error::invalid(format!("cannot stack '{name}': {message}")));
    let mut all: Option<(DType, Vec<usize>)> = None;
    let (mut total, mut one_shape) = (0usize, true);
    for member in members {
        let (dtype, shape) = match ColumnKind::of(member) {
            ColumnKind::Tensor { dtype: DType::Bool, .. } => {
                return refuse(format!("column '{}' is bool: cast it, as to u8", member.name()));
            }
            ColumnKind::Tensor { dtype, shape } => (dtype, shape),
            kind => {
                return refuse(format!("column '{}' is {kind}, expected tensors", member.name()));
            }
        };
        match &all {
            None => all = Some((dtype, shape.to_vec())),
            Some((expected, _)) if *expected != dtype => {
                return refuse(format!(
                    "column '{}' is {expected} and column '{}' is {dtype}: cast one of them",
                    members[0].name(),
                    member.name()
                ));
            }
            Some((_, first)) => one_shape &= **first == *shape,
        }
        total = total.saturating_add(shape.iter().product());
    }
    let Some((dtype, shape)) = all else { return refuse("it has no columns".to_owned()) };
    if i32::try_from(total).is_err() {
        return refuse(format!("a row of it would have {total} elements, expected fewer than 2³¹"));
    }
    let shape = if one_shape { [&[members.len()], &*shape].concat() } else { vec![total] };
    Ok(tensor_field(name, dtype, &shape, false))
}

/// The column `field`, which [`stack_field`] made, of `members`, each with its name; `rows` are the numbers that errors give
/// to the rows.
///
/// # Errors
///
/// `Malformed` if a member is null in a row.
pub(crate) fn stack(field: &Field, members: &[(&str, &ArrayRef)], rows: &[u64]) -> Result<ArrayRef> {
    let DataType::FixedSizeList(item, elements) = field.data_type() else {
        unreachable!("a stack is a tensor with at least one dimension")
    };
    let data: Vec<ArrayData> = members.iter().map(|(_, array)| array.to_data()).collect();
    let mut sources: Vec<(&[u8], usize)> = Vec::with_capacity(members.len());
    for ((name, array), data) in members.iter().zip(&data) {
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            let row = (0..rows.len()).find(|&row| nulls.is_null(row)).unwrap_or(0);
            return Err(Error::malformed(format!(
                "column '{name}' is null in row {}, and a row of '{}' is one run of values: fill it",
                rows[row],
                field.name()
            )));
        }
        let bytes = dense_bytes(name, data)?;
        sources.push((bytes, bytes.len().checked_div(rows.len()).unwrap_or(0)));
    }
    let row_bytes: usize = sources.iter().map(|(_, width)| width).sum();
    let mut laid_out = MutableBuffer::from_len_zeroed(row_bytes * rows.len());
    for (number, block) in laid_out.as_slice_mut().chunks_mut((BLOCK_ROWS * row_bytes).max(1)).enumerate() {
        let mut start = 0;
        for &(bytes, width) in &sources {
            let bytes = &bytes[number * BLOCK_ROWS * width..];
            match width {
                1 => scatter::<1>(bytes, &mut block[start..], row_bytes),
                2 => scatter::<2>(bytes, &mut block[start..], row_bytes),
                4 => scatter::<4>(bytes, &mut block[start..], row_bytes),
                8 => scatter::<8>(bytes, &mut block[start..], row_bytes),
                0 => {}
                width => {
                    for (src, dst) in bytes.chunks_exact(width).zip(block.chunks_exact_mut(row_bytes)) {
                        dst[start..start + width].copy_from_slice(src);
                    }
                }
            }
            start += width;
        }
    }
    let refused = |e: arrow::error::ArrowError| {
        Error::new(ErrorKind::Internal, format!("arrow refuses a stack: {e}")).with_source(e)
    };
    let values = ArrayData::builder(item.data_type().clone())
        .len(rows.len() * *elements as usize)
        .add_buffer(laid_out.into())
        .build()
        .map_err(refused)?;
    let list = FixedSizeListArray::try_new_with_length(
        item.clone(),
        *elements,
        make_array(values),
        None,
        rows.len(),
    );
    Ok(Arc::new(list.map_err(refused)?))
}

/// Puts the values of `WIDTH` bytes of `column` at the front of every `row_bytes` bytes of `rows`.
fn scatter<const WIDTH: usize>(column: &[u8], rows: &mut [u8], row_bytes: usize) {
    for (src, dst) in column.as_chunks::<WIDTH>().0.iter().zip(rows.chunks_mut(row_bytes)) {
        if let Some(dst) = dst.first_chunk_mut::<WIDTH>() {
            *dst = *src;
        }
    }
}

/// The values of a gathered tensor column, row after row.
fn dense_bytes<'a>(name: &str, mut data: &'a ArrayData) -> Result<&'a [u8]> {
    while let DataType::FixedSizeList(..) = data.data_type() {
        data = &data.child_data()[0];
        if data.null_count() > 0 {
            return Err(Error::malformed(format!(
                "values inside the lists of column '{name}' are null, and a row of a stack is one run of values"
            )));
        }
    }
    let width = match data.data_type() {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        primitive => primitive.primitive_width(),
    };
    let bytes = width.and_then(|width| {
        let (start, len) = (data.offset().checked_mul(width)?, data.len().checked_mul(width)?);
        data.buffers().first()?.as_slice().get(start..start.checked_add(len)?)
    });
    bytes.ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            format!("column '{name}' has not the bytes of its {} rows", data.len()),
        )
    })
}
