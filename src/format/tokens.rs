//! Token files: one long run of token numbers with no header that describes it, read as windows.
//!
//! ```text
//!     0              header_bytes                                                        file_len
//!     ├──────────────┼───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┤
//!     │    header    │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │ 8 │ 9 │…  │   │   │   │   │   │   │   little-endian
//!     └──────────────┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┘
//!                    ├── row 0: seq_len 5 ───┤
//!                                    ├── row 1 ──────────┤
//!                    ├─ stride 4 ────┤               ├── row 2 ──────────┤   ├───┤ left over
//! ```
//!
//! Row i is the `seq_len` tokens from token i · `stride` on. A window that the file ends in is left out, and
//! [`locate`](TokenSpec::locate) says how many tokens that leaves.
//!
//! A model that predicts the next token needs its input and, shifted by one, its target. Both are in one row of
//! `seq_len = n + 1` tokens: the input is `row[..n]`, the target `row[1..]`. With `stride = n` every token but the
//! first is a target exactly once, as in the drawing for n = 4.
//!
//! The file cannot say what it is, so a [`TokenSpec`] does. It is the layout of the `train.bin` and `val.bin` of
//! [nanoGPT], and of whatever NumPy's `array.tofile` writes. Deliberately absent: where documents begin and end, which
//! such a file does not know.
//!
//! [nanoGPT]: https://github.com/karpathy/nanoGPT/blob/master/data/openwebtext/prepare.py
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use super::tensor::{ByteOrder, TensorFile};
use crate::error::{Error, Result};
use crate::layout::DType;

/// How a file of tokens is cut into rows.
///
/// Plain data: a value that cannot be honoured is refused by [`check`](Self::check), which
/// [`locate`](Self::locate) calls.
///
/// As text, for the command line:
///
/// ```text
///     spec  =  type '[' seq_len ']' [ '/' stride ] [ '@' header_bytes ]
/// ```
///
/// `u16[1025]/1024` are windows of 1025 tokens of two bytes each, one every 1024 tokens.
///
/// ```
/// use forebay::DType;
/// use forebay::format::TokenSpec;
/// let spec = TokenSpec::new(DType::U16, 1025).stride(1024);
/// assert_eq!(spec, "u16[1025]/1024".parse()?);
/// let (rows, left_over) = spec.locate(1_000_000)?;
/// assert_eq!((rows.num_rows, left_over), (488, 287));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// The type of a token: `u8`, `u16`, `u32` or `i32`.
    pub dtype: DType,
    /// Tokens of one row; at least one.
    pub seq_len: u64,
    /// Tokens from the start of one row to the start of the next; 0 means `seq_len`.
    pub stride: u64,
    /// Bytes before the first token.
    pub header_bytes: u64,
}

impl TokenSpec {
    /// Rows of `seq_len` tokens that touch, in a file of nothing else.
    pub fn new(dtype: DType, seq_len: u64) -> Self {
        TokenSpec { dtype, seq_len, stride: 0, header_bytes: 0 }
    }

    /// Sets the tokens from the start of one row to the start of the next; by default 0, which means `seq_len`.
    #[must_use]
    pub fn stride(mut self, stride: u64) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the bytes before the first token; 0 by default.
    #[must_use]
    pub fn header_bytes(mut self, header_bytes: u64) -> Self {
        self.header_bytes = header_bytes;
        self
    }

    /// Checks that the specification can be honoured by some file.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with the bad value in the message: a type that is none of a token, rows of no tokens or
    /// of more bytes than can be counted.
    pub fn check(&self) -> Result<()> {
        if !matches!(self.dtype, DType::U8 | DType::U16 | DType::U32 | DType::I32) {
            return Err(Error::invalid(format!("a token is a u8, u16, u32 or i32, not a {}", self.dtype)));
        }
        self.check_windows()
    }

    /// As [`check`](Self::check), for tokens of any type.
    pub(super) fn check_windows(&self) -> Result<()> {
        if self.seq_len == 0 {
            return Err(Error::invalid("seq_len is 0: a row has at least one token"));
        }
        let width = self.dtype.width_bytes() as u64;
        let countable = self.seq_len.checked_mul(width).is_some_and(|bytes| usize::try_from(bytes).is_ok());
        if !countable || self.stride.checked_mul(width).is_none() {
            return Err(Error::invalid(format!(
                "seq_len {} or stride {} is more than any file holds",
                self.seq_len, self.stride
            )));
        }
        Ok(())
    }

    /// Where the rows lie in a file of `file_len` bytes, and how many tokens behind the last of them are in none.
    /// Tokens that a long stride skips are not counted.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check), and `Malformed` for a file shorter than its header or with a part of a
    /// token at its end.
    pub fn locate(&self, file_len: u64) -> Result<(TensorFile, u64)> {
        self.check()?;
        self.windows(file_len)
    }

    /// As [`locate`](Self::locate), for a specification that was [checked](Self::check_windows).
    pub(super) fn windows(&self, file_len: u64) -> Result<(TensorFile, u64)> {
        let width = self.dtype.width_bytes() as u64;
        let payload = file_len.checked_sub(self.header_bytes).ok_or_else(|| {
            Error::malformed(format!(
                "expected a header of {} bytes, found a file of {file_len} bytes",
                self.header_bytes
            ))
            .at_byte(file_len)
        })?;
        if payload % width != 0 {
            return Err(Error::malformed(format!(
                "expected whole tokens of {width} bytes, found {payload} bytes of them"
            ))
            .at_byte(file_len - payload % width));
        }
        let (num_tokens, stride) =
            (payload / width, if self.stride == 0 { self.seq_len } else { self.stride });
        let (num_rows, left_over) = match num_tokens.checked_sub(self.seq_len) {
            Some(room) => {
                let last = room / stride * stride;
                // The last row owns its tokens and those its stride skips, as far as the file has them.
                (room / stride + 1, num_tokens.saturating_sub(last.saturating_add(stride.max(self.seq_len))))
            }
            None => (0, num_tokens),
        };
        let rows = TensorFile {
            dtype: self.dtype,
            order: ByteOrder::Little,
            num_rows,
            row_shape: vec![self.seq_len as usize],
            offset_bytes: self.header_bytes,
            row_stride_bytes: stride * width,
            element_strides_bytes: None,
        };
        Ok((rows, left_over))
    }
}

/// As [`TokenSpec`] reads it.
impl fmt::Display for TokenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, self.seq_len)?;
        if self.stride != 0 {
            write!(f, "/{}", self.stride)?;
        }
        if self.header_bytes != 0 {
            write!(f, "@{}", self.header_bytes)?;
        }
        Ok(())
    }
}

impl FromStr for TokenSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: fmt::Arguments<'_>| {
            Error::invalid(format!("bad tokens '{text}': {why} (they are written as in u16[1025]/1024)"))
        };
        let number = |what: &str, number: &str| {
            number.trim().parse().map_err(|_| bad(format_args!("expected {what}, found '{}'", number.trim())))
        };
        let (rest, header_bytes) = match text.split_once('@') {
            Some((rest, header)) => (rest, number("a header's length in bytes behind '@'", header)?),
            None => (text, 0),
        };
        let (rest, stride) = match rest.split_once('/') {
            Some((rest, stride)) => (rest, number("a stride behind '/'", stride)?),
            None => (rest, 0),
        };
        let (dtype, seq_len) = rest
            .trim()
            .strip_suffix(']')
            .and_then(|rest| rest.split_once('['))
            .ok_or_else(|| bad(format_args!("expected type[seq_len], found '{}'", rest.trim())))?;
        let dtype = dtype.trim().parse().map_err(|e: Error| bad(format_args!("{}", e.message())))?;
        let spec =
            TokenSpec { dtype, seq_len: number("the tokens of a row", seq_len)?, stride, header_bytes };
        spec.check()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::real;
    use proptest::prelude::*;

    #[test]
    fn the_drawing_is_right() {
        let (rows, left_over) =
            TokenSpec::new(DType::U16, 5).stride(4).header_bytes(100).locate(134).unwrap();
        assert_eq!((rows.num_rows, rows.offset_bytes, rows.row_stride_bytes, left_over), (4, 100, 8, 0));
        assert_eq!(TokenSpec::new(DType::U16, 5).stride(4).locate(28).unwrap().1, 1);
        assert_eq!(rows.row_shape, [5]);
    }

    proptest! {
        #[test]
        fn windows_are_those_of_a_walk(
            which in 0..4usize, seq_len in 1..20u64, stride in 0..30u64, header in 0..5u64, num_tokens in 0..100u64,
        ) {
            let dtype = [DType::U8, DType::U16, DType::U32, DType::I32][which];
            let width = dtype.width_bytes() as u64;
            let spec = TokenSpec::new(dtype, seq_len).stride(stride).header_bytes(header);
            let file_len = header + num_tokens * width;
            let (rows, left_over) = spec.locate(file_len).unwrap();
            let (mut starts, mut owned, mut at) = (Vec::new(), 0, 0);
            let hop = if stride == 0 { seq_len } else { stride };
            while at + seq_len <= num_tokens {
                starts.push(header + at * width);
                owned = (at + seq_len.max(hop)).min(num_tokens);
                at += hop;
            }
            prop_assert_eq!(left_over, num_tokens - owned);
            let found: Vec<_> = (0..rows.num_rows).map(|i| rows.offset_bytes + i * rows.row_stride_bytes).collect();
            prop_assert_eq!(found, starts);
            rows.check(file_len).unwrap();
            prop_assert_eq!(spec.to_string().parse::<TokenSpec>().unwrap(), spec.clone());
            if width > 1 {
                let error = spec.locate(file_len + 1).unwrap_err();
                prop_assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(file_len)));
            }
        }

        #[test]
        fn any_specification_is_answered(
            seq_len: u64, stride: u64, header_bytes: u64, file_len: u64, which in 0..12usize, text: String,
        ) {
            let spec = TokenSpec { dtype: DType::ALL[which], seq_len, stride, header_bytes };
            if let Ok((rows, _)) = spec.locate(file_len) {
                rows.check(file_len).unwrap();
            }
            let _ = text.parse::<TokenSpec>();
        }
    }

    #[test]
    fn what_no_file_can_honour_is_refused() {
        for spec in [
            TokenSpec::new(DType::U16, 0),
            TokenSpec::new(DType::F32, 8),
            TokenSpec::new(DType::I64, 8),
            TokenSpec::new(DType::U32, u64::MAX),
            TokenSpec::new(DType::U16, 8).stride(u64::MAX),
        ] {
            let error = spec.locate(100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{spec}");
        }
        assert_eq!(
            TokenSpec::new(DType::U8, 1).header_bytes(9).locate(8).unwrap_err().kind(),
            ErrorKind::Malformed
        );
        for text in
            ["", "u16", "u16[", "u16[8", "u16[]", "u16[x]", "[8]", "f32[8]", "u16[8]/", "u16[8]@", "u16[8]x"]
        {
            let error = text.parse::<TokenSpec>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
        assert_eq!(" u16 [ 8 ] / 4 @ 2 ".parse::<TokenSpec>().unwrap().to_string(), "u16[8]/4@2");
    }

    #[test]
    fn shakespeare_is_read_as_windows() {
        let Some((path, expected)) = real::expected("tokens/shakespeare_char_val.bin") else { return };
        let bytes = std::fs::read(path).unwrap();
        let (rows, left_over) = TokenSpec::new(DType::U16, 16).locate(bytes.len() as u64).unwrap();
        let tokens: Vec<u64> =
            bytes.as_chunks().0.iter().map(|&t| u64::from(u16::from_le_bytes(t))).collect();
        assert_eq!(rows.num_rows * 16 + left_over, expected["tokens"].as_u64().unwrap());
        assert_eq!(serde_json::json!(tokens[..16]), expected["first16"]);
        let (rows, left_over) =
            TokenSpec::new(DType::U16, 257).stride(256).locate(bytes.len() as u64).unwrap();
        assert_eq!((rows.num_rows - 1) * 256 + 257 + left_over, tokens.len() as u64);
    }
}
