//! IDX, the format of the MNIST files: one dense array with its type and shape before it.
//!
//! Every number in the file is big-endian:
//!
//! ```text
//!     byte  0  1  2  3  4           8               4 + 4·D
//!          ┌──┬──┬──┬──┬───────────┬── ─ ─ ────────┬────────────────── ─ ─ ───┐
//!          │ 0│ 0│ T│ D│ dims[0]   │     dims[D−1] │ elements, C order        │
//!          └──┴──┴──┴──┴───────────┴── ─ ─ ────────┴────────────────── ─ ─ ───┘
//!           u8 u8 u8 u8 u32                          big-endian, to the end of the file
//!
//!     T    0x08 u8   0x09 i8   0x0B i16   0x0C i32   0x0D f32   0x0E f64
//!     D    the number of dimensions, 1 to 255
//! ```
//!
//! The first dimension counts the rows. The elements fill the rest of the file exactly: a file that is
//! shorter was cut, one that is longer is not what its header says, and both are refused.
//!
//! Source: Y. LeCun, C. Cortes, C. J. C. Burges, ["The MNIST database of handwritten digits", section
//! "The IDX file format"](http://yann.lecun.com/exdb/mnist/).
#![forbid(unsafe_code)]

use super::tensor::{ByteOrder, TensorFile};
use crate::error::{Error, Result};
use crate::layout::DType;

/// The longest header there is: that of an array of 255 dimensions.
pub const HEADER_BYTES_MAX: usize = 4 + 4 * 255;

/// Whether a file that begins with `head` says of itself that it is IDX; four bytes are enough.
pub fn is_idx(head: &[u8]) -> bool {
    matches!(*head, [0, 0, code, num_dims, ..] if num_dims > 0 && dtype_of(code).is_some())
}

/// Where the array lies in an IDX file of `file_len` bytes.
///
/// `header` is the beginning of the file: its first [`HEADER_BYTES_MAX`] bytes, or all of a shorter file.
///
/// # Errors
///
/// `Malformed` when the header is no IDX header or does not agree with `file_len`, `Unsupported` for
/// an array of no dimensions.
pub fn parse(header: &[u8], file_len: u64) -> Result<TensorFile> {
    let file = declared(header)?;
    file.check_fills(file_len)?;
    Ok(file)
}

/// What `header` says, not yet held against the length of a file.
pub(crate) fn declared(header: &[u8]) -> Result<TensorFile> {
    let &[zero_0, zero_1, code, num_dims, ref dims @ ..] = header else {
        return Err(Error::malformed(format!(
            "expected the 4 bytes of an IDX magic, found {}",
            header.len()
        ))
        .at_byte(header.len() as u64));
    };
    if [zero_0, zero_1] != [0, 0] {
        return Err(Error::malformed(format!(
            "expected an IDX file to begin with bytes 00 00, found {zero_0:02x} {zero_1:02x}"
        ))
        .at_byte(0));
    }
    let dtype = dtype_of(code).ok_or_else(|| {
        Error::malformed(format!(
            "expected an IDX element type (0x08, 0x09, 0x0B, 0x0C, 0x0D or 0x0E), found 0x{code:02X}"
        ))
        .at_byte(2)
    })?;
    let dims_bytes = 4 * usize::from(num_dims);
    let Some(dims) = dims.get(..dims_bytes) else {
        return Err(Error::malformed(format!(
            "expected an IDX header of {} bytes for {num_dims} dimensions, found {}",
            4 + dims_bytes,
            header.len()
        ))
        .at_byte(header.len() as u64));
    };
    let (dims, _) = dims.as_chunks::<4>();
    let shape: Vec<u64> = dims.iter().map(|&dim| u64::from(u32::from_be_bytes(dim))).collect();
    TensorFile::c_order(dtype, ByteOrder::Big, &shape, 4 + dims_bytes as u64).map_err(|e| e.at_byte(3))
}

fn dtype_of(code: u8) -> Option<DType> {
    Some(match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0B => DType::I16,
        0x0C => DType::I32,
        0x0D => DType::F32,
        0x0E => DType::F64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    const CODES: [(u8, DType); 6] = [
        (0x08, DType::U8),
        (0x09, DType::I8),
        (0x0B, DType::I16),
        (0x0C, DType::I32),
        (0x0D, DType::F32),
        (0x0E, DType::F64),
    ];

    fn header(code: u8, dims: &[u32]) -> Vec<u8> {
        let mut header = vec![0, 0, code, dims.len() as u8];
        header.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        header
    }

    #[test]
    fn reads_the_header_of_the_digits() {
        let header = header(0x08, &[60_000, 28, 28]);
        assert!(is_idx(&header[..4]));
        let file = parse(&header, 47_040_016).unwrap();
        assert_eq!(
            (file.dtype, file.num_rows, file.row_shape.as_slice()),
            (DType::U8, 60_000, &[28, 28][..])
        );
        assert_eq!((file.offset_bytes, file.row_stride_bytes, file.row_bytes()), (16, 784, 784));
        assert_eq!((file.order, file.element_strides_bytes), (ByteOrder::Big, None));
    }

    #[test]
    fn a_file_shorter_or_longer_than_its_header_says_is_refused() {
        let header = header(0x08, &[1568, 28, 28]);
        for held in [1568, 1_229_311, 1_229_313] {
            let error = parse(&header, 16 + held).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert_eq!(error.message(), format!("header declares 1229312 payload bytes, file holds {held}"));
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for (code, dims) in [(0x08, &[3][..]), (0x0C, &[2, 3]), (0x0E, &[1; 255])] {
            let mut bytes = header(code, dims);
            let payload = dtype_of(code).unwrap().width_bytes() * dims.iter().product::<u32>() as usize;
            bytes.resize(bytes.len() + payload, 7);
            parse(&bytes, bytes.len() as u64).unwrap();
            for len in 0..bytes.len() {
                let error = parse(&bytes[..len], len as u64).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {len}");
                assert!(error.location().byte.is_some_and(|byte| byte <= len as u64), "cut at {len}");
            }
        }
    }

    #[test]
    fn forged_dimensions_are_refused() {
        for dims in [&[u32::MAX; 3][..], &[0, u32::MAX, u32::MAX, u32::MAX], &[u32::MAX; 255]] {
            assert_eq!(parse(&header(0x0E, dims), 1 << 40).unwrap_err().kind(), ErrorKind::Malformed);
        }
        assert_eq!(parse(&header(0x08, &[]), 5).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(!is_idx(&header(0x08, &[])));
        for code in (0..=255).filter(|code| CODES.iter().all(|(known, _)| known != code)) {
            assert!(!is_idx(&header(code, &[1])));
            assert_eq!(parse(&header(code, &[1]), 9).unwrap_err().location().byte, Some(2));
        }
        assert_eq!(parse(&[0, 1, 8, 1, 0, 0, 0, 1, 9], 9).unwrap_err().location().byte, Some(0));
    }

    proptest! {
        #[test]
        fn a_header_reads_back_as_it_was_written(
            which in 0..6usize, dims in prop::collection::vec(0..2000u32, 1..5),
        ) {
            let (code, dtype) = CODES[which];
            let header = header(code, &dims);
            let payload = dims.iter().fold(dtype.width_bytes() as u64, |bytes, &n| bytes * u64::from(n));
            let file = parse(&header, header.len() as u64 + payload).unwrap();
            prop_assert!(is_idx(&header));
            prop_assert_eq!(file.dtype, dtype);
            prop_assert_eq!(file.num_rows, u64::from(dims[0]));
            prop_assert_eq!(file.row_shape, dims[1..].iter().map(|&n| n as usize).collect::<Vec<_>>());
            prop_assert_eq!(file.offset_bytes, header.len() as u64);
        }

        #[test]
        fn damaged_headers_never_panic(
            bits in prop::collection::vec(0..16 * 8usize, 1..4),
            random in prop::collection::vec(any::<u8>(), 0..64),
            file_len: u64,
        ) {
            let mut bytes = header(0x0D, &[5, 28, 28]);
            for bit in bits {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for (bytes, len) in [(&bytes, 16 + 5 * 784 * 4), (&bytes, file_len), (&random, file_len)] {
                if let Ok(file) = parse(bytes, len) {
                    file.check(len).unwrap();
                    prop_assert!(file.row_shape.len() < 255);
                }
            }
        }
    }
}
