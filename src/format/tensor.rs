//! Where a dense array lies in a file: what idx, npy and fixed-length files have in common once their
//! headers are read.
//!
//! ```text
//!     0               offset_bytes
//!     ├───────────────┼───────┬─────┬───────┬─────┬─── ─ ─ ───┬─────────┬─────────┤ file_len
//!     │    header     │ row 0 │     │ row 1 │     │           │ row n−1 │         │
//!     └───────────────┴───────┴─────┴───────┴─────┴─── ─ ─ ───┴─────────┴─────────┘
//!                     ├─────────────┤
//!                     row_stride_bytes
//! ```
//!
//! Element `(j₀, j₁, …)` of row `i` begins at byte
//!
//! ```text
//!     offset_bytes + i · row_stride_bytes + Σₖ jₖ · element_strides_bytes[k]
//! ```
//!
//! and where `element_strides_bytes` is `None`, a row is one run of bytes in C order (the last index
//! runs fastest). Rows may touch, overlap, or leave gaps.
//!
//! A [`TensorFile`] is a claim made by untrusted bytes until [`check`](TensorFile::check) has held it
//! against the length of the file. Reading the values is the gather's work and absent here.
#![forbid(unsafe_code)]

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::DType;

/// The order of the bytes of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

impl ByteOrder {
    /// The byte order of this machine.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };

    /// Whether this machine can use such elements as they are.
    pub const fn is_native(self) -> bool {
        matches!((self, Self::NATIVE), (Self::Little, Self::Little) | (Self::Big, Self::Big))
    }
}

impl fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ByteOrder::Little => "little-endian",
            ByteOrder::Big => "big-endian",
        })
    }
}

/// `num_rows` rows of a tensor in a file, row `i` at `offset_bytes + i · row_stride_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFile {
    /// The element type; a truth value is one byte, as it is in a batch.
    pub dtype: DType,
    /// The order of the bytes of one element.
    pub order: ByteOrder,
    /// How many rows there are.
    pub num_rows: u64,
    /// The shape of one row; a scalar has the empty shape.
    pub row_shape: Vec<usize>,
    /// Where the first row begins, from the start of the file.
    pub offset_bytes: u64,
    /// From the start of one row to the start of the next.
    pub row_stride_bytes: u64,
    /// From one element of a row to the next along each dimension of `row_shape`; `None` when a row is
    /// dense in C order.
    pub element_strides_bytes: Option<Vec<u64>>,
}

impl TensorFile {
    /// An array whose whole shape is `shape`, dense in C order (the last index runs fastest), from
    /// `offset_bytes` on. Its rows are the first dimension.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a shape of no dimensions, `Malformed` for one of more bytes than 64 bits count.
    pub fn c_order(dtype: DType, order: ByteOrder, shape: &[u64], offset_bytes: u64) -> Result<Self> {
        let [num_rows, row_shape @ ..] = shape else {
            return Err(Error::unsupported(
                "a 0-dimensional array holds one value and no rows: expected at least one dimension",
            ));
        };
        let too_large = || {
            Error::malformed(format!(
                "an array of {dtype} of shape {shape:?} has more bytes than any file holds"
            ))
        };
        let row_shape: Vec<usize> =
            row_shape.iter().map(|&n| n.try_into()).collect::<Result<_, _>>().map_err(|_| too_large())?;
        let row_bytes = dense_bytes(dtype, &row_shape).ok_or_else(too_large)?;
        row_bytes.checked_mul(*num_rows).ok_or_else(too_large)?;
        Ok(TensorFile {
            dtype,
            order,
            num_rows: *num_rows,
            row_shape,
            offset_bytes,
            row_stride_bytes: row_bytes,
            element_strides_bytes: None,
        })
    }

    /// An array whose whole shape is `shape`, dense in Fortran order (the first index runs fastest),
    /// from `offset_bytes` on. Its rows are the first dimension.
    ///
    /// Arrays that lie the same way in both orders come out as [`c_order`](Self::c_order) has them.
    ///
    /// # Errors
    ///
    /// As [`c_order`](Self::c_order).
    pub fn fortran_order(dtype: DType, order: ByteOrder, shape: &[u64], offset_bytes: u64) -> Result<Self> {
        let mut file = TensorFile::c_order(dtype, order, shape, offset_bytes)?;
        // Every stride is at most the size of the whole array, which was just seen to fit.
        let width = dtype.width_bytes() as u64;
        let long_dimensions = shape.iter().filter(|&&n| n > 1).count();
        if long_dimensions > 1 && !shape.contains(&0) {
            let strides = shape.iter().scan(width, |stride, n| {
                *stride *= n;
                Some(*stride)
            });
            file.element_strides_bytes = Some(strides.take(file.row_shape.len()).collect());
            file.row_stride_bytes = width;
        }
        Ok(file)
    }

    /// Bytes of the elements of one row, without the gaps between them.
    ///
    /// `u64::MAX` for more than 64 bits count; [`check`](Self::check) refuses those.
    pub fn row_bytes(&self) -> u64 {
        dense_bytes(self.dtype, &self.row_shape).unwrap_or(u64::MAX)
    }

    /// Checks that every element of every row lies inside of a file of `file_len` bytes.
    ///
    /// # Errors
    ///
    /// `Malformed` when one does not, or when its place overflows 64 bits.
    pub fn check(&self, file_len: u64) -> Result<()> {
        if self.element_strides_bytes.as_ref().is_some_and(|strides| strides.len() != self.row_shape.len()) {
            return Err(Error::new(ErrorKind::Internal, format!("{self} has not one stride per dimension")));
        }
        let end = self.end_bytes().ok_or_else(|| {
            Error::malformed(format!("{self} would end past the last byte any file can have"))
        })?;
        if end > file_len {
            return Err(Error::malformed(format!(
                "expected {self} up to byte {end}, found a file of {file_len} bytes"
            ))
            .at_byte(file_len));
        }
        Ok(())
    }

    /// Checks that a dense array and the rest of a file of `file_len` bytes are one and the same:
    /// nothing is missing and nothing trails.
    pub(crate) fn check_fills(&self, file_len: u64) -> Result<()> {
        let held = file_len.saturating_sub(self.offset_bytes);
        match self.row_bytes().checked_mul(self.num_rows) {
            Some(declared) if declared == held => self.check(file_len),
            Some(declared) => {
                Err(Error::malformed(format!("header declares {declared} payload bytes, file holds {held}"))
                    .at_byte(self.offset_bytes))
            }
            None => Err(Error::malformed(format!("{self} are more bytes than any file holds"))),
        }
    }

    /// The end of the byte that lies furthest back, `None` past 64 bits.
    pub(crate) fn end_bytes(&self) -> Option<u64> {
        let row_bytes = dense_bytes(self.dtype, &self.row_shape)?;
        let Some(last_row) = self.num_rows.checked_sub(1) else { return Some(self.offset_bytes) };
        let extent = match &self.element_strides_bytes {
            Some(strides) if row_bytes > 0 => self
                .row_shape
                .iter()
                .zip(strides)
                .try_fold(self.dtype.width_bytes() as u64, |end, (&n, stride)| {
                    end.checked_add(stride.checked_mul(n as u64 - 1)?)
                })?,
            _ => row_bytes,
        };
        self.offset_bytes.checked_add(self.row_stride_bytes.checked_mul(last_row)?)?.checked_add(extent)
    }
}

impl fmt::Display for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of {}", self.num_rows, self.dtype)?;
        if self.row_shape.is_empty() { Ok(()) } else { write!(f, "{:?}", self.row_shape) }
    }
}

/// Bytes of a dense tensor, `None` past 64 bits.
pub(crate) fn dense_bytes(dtype: DType, shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(dtype.width_bytes() as u64, |bytes, &n| bytes.checked_mul(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every element's place, in C order of the logical indices, straight from the definition.
    fn places(file: &TensorFile) -> Vec<u64> {
        let width = file.dtype.width_bytes() as u64;
        let strides = file.element_strides_bytes.clone().unwrap_or_else(|| {
            (0..file.row_shape.len())
                .map(|k| file.row_shape[k + 1..].iter().fold(width, |bytes, &n| bytes * n as u64))
                .collect()
        });
        let mut places: Vec<u64> =
            (0..file.num_rows).map(|row| file.offset_bytes + row * file.row_stride_bytes).collect();
        for (&n, stride) in file.row_shape.iter().zip(strides) {
            places = places.iter().flat_map(|place| (0..n as u64).map(move |j| place + j * stride)).collect();
        }
        places
    }

    /// Where element `index` (counted in C order) of an array of `shape` lies when the first index
    /// runs fastest: the sum of `j · product of the dimensions before`.
    fn fortran_place(shape: &[u64], mut index: u64) -> u64 {
        let mut indices = vec![0; shape.len()];
        for (j, n) in indices.iter_mut().zip(shape).rev() {
            (*j, index) = (index % n, index / n);
        }
        (0..shape.len()).map(|k| indices[k] * shape[..k].iter().product::<u64>()).sum()
    }

    proptest! {
        #[test]
        fn both_orders_place_every_element(
            shape in prop::collection::vec(0..5u64, 1..5), which in 0..12usize, offset in 0..100u64,
        ) {
            let dtype = DType::ALL[which];
            let (width, count) = (dtype.width_bytes() as u64, shape.iter().product::<u64>());
            let c = TensorFile::c_order(dtype, ByteOrder::Big, &shape, offset).unwrap();
            prop_assert_eq!(places(&c), (0..count).map(|i| offset + i * width).collect::<Vec<_>>());
            let fortran = TensorFile::fortran_order(dtype, ByteOrder::Big, &shape, offset).unwrap();
            let expected: Vec<_> = (0..count).map(|i| offset + fortran_place(&shape, i) * width).collect();
            prop_assert_eq!(places(&fortran), expected);
            let end = offset + count * width;
            for file in [c, fortran] {
                file.check_fills(end).unwrap();
                prop_assert!(file.check_fills(end + 1).is_err());
                prop_assert!(end == 0 || file.check(end - 1).is_err());
            }
        }

        #[test]
        fn any_claim_is_checked_without_panic(
            num_rows: u64, offset_bytes: u64, row_stride_bytes: u64, file_len: u64,
            row in prop::collection::vec((any::<usize>(), any::<u64>()), 0..4), strided: bool,
        ) {
            let (row_shape, strides): (Vec<_>, Vec<_>) = row.into_iter().unzip();
            let file = TensorFile {
                dtype: DType::F32,
                order: ByteOrder::Little,
                num_rows,
                row_shape,
                offset_bytes,
                row_stride_bytes,
                element_strides_bytes: strided.then_some(strides),
            };
            let _ = (file.check(file_len), file.check_fills(file_len), file.row_bytes(), file.to_string());
        }
    }

    #[test]
    fn the_last_byte_of_the_last_element_decides() {
        let mut file = TensorFile {
            dtype: DType::I16,
            order: ByteOrder::Little,
            num_rows: 3,
            row_shape: vec![2, 2],
            offset_bytes: 8,
            row_stride_bytes: 100,
            element_strides_bytes: None,
        };
        file.check(8 + 200 + 8).unwrap();
        assert_eq!(file.check(8 + 200 + 7).unwrap_err().kind(), ErrorKind::Malformed);
        file.element_strides_bytes = Some(vec![10, 30]);
        file.check(8 + 200 + 42).unwrap();
        let error = file.check(8 + 200 + 41).unwrap_err();
        assert_eq!(error.message(), "expected 3 rows of i16[2, 2] up to byte 250, found a file of 249 bytes");
        file.num_rows = 0;
        file.check(8).unwrap();
        file.check(7).unwrap_err();
        file.element_strides_bytes = Some(vec![10]);
        assert_eq!(file.check(1000).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn overflow_is_malformed() {
        for shape in [&[u64::MAX, 2][..], &[1, 1 << 40, 1 << 40], &[0, u64::MAX, u64::MAX], &[1 << 62, 8, 1]]
        {
            let error = TensorFile::c_order(DType::U8, ByteOrder::Big, shape, 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{shape:?}");
            TensorFile::fortran_order(DType::U8, ByteOrder::Big, shape, 0).unwrap_err();
        }
        assert_eq!(
            TensorFile::c_order(DType::U8, ByteOrder::Big, &[], 0).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        let mut file = TensorFile::c_order(DType::U8, ByteOrder::Big, &[2], u64::MAX).unwrap();
        assert_eq!(file.check(u64::MAX).unwrap_err().kind(), ErrorKind::Malformed);
        file.row_shape = vec![usize::MAX, usize::MAX];
        assert_eq!(file.row_bytes(), u64::MAX);
        assert_eq!(file.check(u64::MAX).unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn native_is_one_of_the_two() {
        assert!(ByteOrder::NATIVE.is_native());
        assert!(ByteOrder::Little.is_native() != ByteOrder::Big.is_native());
        assert_eq!(ByteOrder::Little.is_native(), 1u16.to_ne_bytes() == [1, 0]);
    }
}
