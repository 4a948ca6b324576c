//! One row of a piece that is not plain: nulls, bits, foreign byte orders, elements that lie apart.

use crate::format::{Bits, Piece, Values};

use super::copy::copy_bytes;

/// Whether row `row` of `piece` holds a value.
///
/// # Safety
///
/// `row` is below the piece's number of rows.
#[inline]
pub(super) unsafe fn is_valid(piece: &Piece, row: u64) -> bool {
    match &piece.validity {
        None => true,
        // SAFETY: a validity bitmap has a bit for every row: `lane::measure` found it.
        Some(bits) => unsafe { bit(bits, row) },
    }
}

/// # Safety
///
/// Bit `index` lies within the span of `bits`.
unsafe fn bit(bits: &Bits, index: u64) -> bool {
    let at = bits.first + index;
    // SAFETY: the caller's.
    let byte = unsafe { bits.span.as_ptr().add((at / 8) as usize).read() };
    byte >> (at % 8) & 1 == 1
}

/// Copies row `row` of `piece` into `out`: dense, native, truth values as bytes. `shape` is the row's.
///
/// # Safety
///
/// `row` is below the piece's number of rows, and `out` is as long as a row of `shape` is.
pub(super) unsafe fn copy_row(piece: &Piece, row: u64, shape: &[usize], out: &mut [u8]) {
    match &piece.values {
        Values::Dense { span, stride } => {
            let src = span.as_ptr().wrapping_add((row * stride) as usize);
            // SAFETY: `lane::measure` found that every row of the piece lies within its span.
            unsafe { copy_bytes(src, out.as_mut_ptr(), out.len()) };
        }
        Values::Scattered { span, stride, width, swap, strides } => {
            let src = span.as_ptr().wrapping_add((row * stride) as usize);
            let mut index = vec![0usize; shape.len()];
            for (n, element) in out.chunks_exact_mut(*width).enumerate() {
                let offset = match strides {
                    Some(strides) => {
                        index.iter().zip(strides.iter()).map(|(&i, &stride)| i * stride as usize).sum()
                    }
                    None => n * width,
                };
                // SAFETY: `TensorFile::check` measured every element of every row against the file.
                unsafe { copy_bytes(src.wrapping_add(offset), element.as_mut_ptr(), *width) };
                if *swap {
                    element.reverse();
                }
                advance(&mut index, shape);
            }
        }
        Values::Bits { bits, per_row } => {
            for (i, out) in out.iter_mut().enumerate() {
                // SAFETY: `lane::measure` found that the bits of every row lie within the span.
                *out = unsafe { bit(bits, row * per_row + i as u64) }.into();
            }
        }
        Values::Runs { .. }
        | Values::Extents { .. }
        | Values::Parsed { .. }
        | Values::Inflated { .. }
        | Values::Array(_)
        | Values::Encoded { .. } => {
            unreachable!("`lane::measure` lets only rows of one length through")
        }
    }
}

/// The next index in C order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < n {
            return;
        }
        *i = 0;
    }
}
