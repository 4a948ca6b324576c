//! NPY, NumPy's format for one array: a Python dictionary that describes it, then its elements.
//!
//! The numbers before the dictionary are little-endian; the byte order of the elements is a part of
//! `descr`.
//!
//! ```text
//!     byte  0                 6  7  8     10 or 12        10 or 12, + H
//!          ┌──┬──┬──┬──┬──┬──┬──┬──┬─────┬─── ─ ─ ──────┬────────────── ─ ─ ───┐
//!          │93│ N  U  M  P  Y│ma│mi│  H  │  dictionary  │ elements             │
//!          └──┴──┴──┴──┴──┴──┴──┴──┴─────┴─── ─ ─ ──────┴────────────── ─ ─ ───┘
//!                             u8 u8 u16 in version 1.0    to the end of the file
//!                                   u32 in 2.0 and 3.0
//!
//!     dictionary    {'descr': '<f8', 'fortran_order': False, 'shape': (4, 123), }   spaces   \n
//! ```
//!
//! The first dimension of `shape` counts the rows. In C order a row is one run of bytes; in Fortran
//! order the elements of a row are strided over the whole file, and
//! [`element_strides_bytes`](TensorFile::element_strides_bytes) says how.
//!
//! The dictionary is read as data: a small grammar with just the three keys, in any order, and no
//! evaluation of Python. What NumPy has been seen to write is accepted (longs such as `2L` from
//! Python 2, a trailing comma, any padding).
//!
//! Deliberately absent: pickled objects, structured types, text, complex numbers and dates, each
//! refused by name; and archives of arrays (`.npz`).
//!
//! Source: NumPy Enhancement Proposal 1 and the module documentation of
//! [`numpy.lib.format`](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
#![forbid(unsafe_code)]

use std::fmt;

use super::tensor::{ByteOrder, TensorFile};
use crate::error::{Error, Result};
use crate::layout::DType;

/// What an NPY file begins with.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header this crate reads, a hundred times what NumPy itself does unasked.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;

/// NumPy's own limit on the number of dimensions.
const DIMENSIONS_MAX: usize = 64;

/// How many bytes [`header_len`] looks at.
pub const PREFIX_BYTES: u64 = 12;

/// How many bytes from the beginning of the file [`parse`] needs, given the first [`PREFIX_BYTES`].
///
/// # Errors
///
/// `Malformed` when `prefix` does not begin an NPY file, ends too early, or declares a header of more
/// than [`HEADER_BYTES_MAX`]; `Unsupported` for a version other than 1.0, 2.0 and 3.0.
pub fn header_len(prefix: &[u8]) -> Result<u64> {
    let (start, len) = dictionary(prefix)?;
    Ok(start as u64 + len)
}

/// Where the array lies in an NPY file of `file_len` bytes.
///
/// `header` is the beginning of the file, at least [`header_len`] bytes of it.
///
/// # Errors
///
/// `Malformed` when the header breaks the format or does not agree with `file_len`; `Unsupported` for
/// element types that are no [`DType`] and for arrays of no dimensions.
pub fn parse(header: &[u8], file_len: u64) -> Result<TensorFile> {
    let file = declared(header)?;
    file.check_fills(file_len)?;
    Ok(file)
}

/// What `header` says, not yet held against the length of a file.
pub(crate) fn declared(header: &[u8]) -> Result<TensorFile> {
    let (start, len) = dictionary(header)?;
    let end = start + len as usize;
    let Some(text) = header.get(start..end) else {
        return Err(Error::malformed(format!(
            "expected an NPY header of {end} bytes, found {}",
            header.len()
        ))
        .at_byte(header.len() as u64));
    };
    let array = Tokens { rest: text, end, token_at: start }.array()?;
    let place = if array.fortran_order { TensorFile::fortran_order } else { TensorFile::c_order };
    place(array.dtype, array.order, &array.shape, end as u64).map_err(|e| e.at_byte(start as u64))
}

/// Where the dictionary begins, and its length in bytes, which is at most [`HEADER_BYTES_MAX`].
fn dictionary(prefix: &[u8]) -> Result<(usize, u64)> {
    let found = prefix.len() as u64;
    let short = |expected| {
        Error::malformed(format!("expected the {expected} bytes before an NPY dictionary, found {found}"))
            .at_byte(found)
    };
    let magic = prefix.first_chunk().ok_or_else(|| short(10))?;
    if magic != MAGIC {
        return Err(Error::malformed(format!(
            "expected an NPY file to begin with {}, found {}",
            MAGIC.escape_ascii(),
            magic.escape_ascii()
        ))
        .at_byte(0));
    }
    let (start, len) = match prefix[MAGIC.len()..] {
        [1, 0, a, b, ..] => (10, u64::from(u16::from_le_bytes([a, b]))),
        [2 | 3, 0, a, b, c, d, ..] => (12, u64::from(u32::from_le_bytes([a, b, c, d]))),
        [1, 0, ..] => return Err(short(10)),
        [] | [_] | [2 | 3, 0, ..] => return Err(short(12)),
        [major, minor, ..] => {
            let message = format!("expected NPY version 1.0, 2.0 or 3.0, found {major}.{minor}");
            return Err(Error::unsupported(message).at_byte(6));
        }
    };
    if len > HEADER_BYTES_MAX - start as u64 {
        let message =
            format!("expected an NPY header of at most {HEADER_BYTES_MAX} bytes, found one of {len}");
        return Err(Error::malformed(message).at_byte(8));
    }
    Ok((start, len))
}

/// What the dictionary says.
struct Array {
    dtype: DType,
    order: ByteOrder,
    fortran_order: bool,
    shape: Vec<u64>,
}

/// One token of the dictionary.
#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    /// One of `{ } ( ) [ ] , :`.
    Sign(u8),
    /// A string, without its quotes; escapes are never needed and not read.
    Text(&'a [u8]),
    /// `True`, `False` and whatever else begins with a letter.
    Word(&'a [u8]),
    /// Decimal digits, without the `L` of a Python 2 long.
    Int(u64),
    /// The end of the header.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Token::Sign(sign) => write!(f, "'{}'", char::from(sign)),
            Token::Text(text) => write!(f, "the string '{}'", excerpt(text)),
            Token::Word(word) => write!(f, "'{}'", excerpt(word)),
            Token::Int(int) => write!(f, "{int}"),
            Token::End => f.write_str("the end of the header"),
        }
    }
}

/// The tokens of the dictionary, and the grammar over them:
///
/// ```text
///     array  =  '{' [ entry { ',' entry } [ ',' ] ] '}'
///     entry  =  "descr" ':' text  |  "fortran_order" ':' ( True | False )  |  "shape" ':' tuple
///     tuple  =  '(' ')'  |  '(' int ',' ')'  |  '(' int ',' int { ',' int } [ ',' ] ')'
/// ```
struct Tokens<'a> {
    /// What is still to be read.
    rest: &'a [u8],
    /// The byte of the file at which `rest` ends.
    end: usize,
    /// The byte of the file at which the token read last begins.
    token_at: usize,
}

impl<'a> Tokens<'a> {
    fn array(mut self) -> Result<Array> {
        let (mut element, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        let mut token = self.next()?;
        while token != Token::Sign(b'}') {
            let Token::Text(key) = token else {
                return Err(self.unexpected("a key or '}'", token));
            };
            let key_at = self.token_at;
            self.expect(b':')?;
            let repeated = match key {
                b"descr" => element.replace(self.element()?).is_some(),
                b"fortran_order" => fortran_order.replace(self.truth()?).is_some(),
                b"shape" => shape.replace(self.shape()?).is_some(),
                _ => {
                    let message = format!(
                        "expected the keys descr, fortran_order and shape in an NPY header, found '{}'",
                        excerpt(key)
                    );
                    return Err(Error::malformed(message).at_byte(key_at as u64));
                }
            };
            if repeated {
                let message = format!("expected '{}' once in an NPY header, found it again", excerpt(key));
                return Err(Error::malformed(message).at_byte(key_at as u64));
            }
            token = self.next()?;
            if token == Token::Sign(b',') {
                token = self.next()?;
            } else if token != Token::Sign(b'}') {
                return Err(self.unexpected("',' or '}'", token));
            }
        }
        let missing = |key| {
            Error::malformed(format!("expected '{key}' in an NPY header, found none"))
                .at_byte(self.token_at as u64)
        };
        let (dtype, order) = element.ok_or_else(|| missing("descr"))?;
        let fortran_order = fortran_order.ok_or_else(|| missing("fortran_order"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        match self.next()? {
            Token::End => Ok(Array { dtype, order, fortran_order, shape }),
            token => Err(self.unexpected("nothing but spaces behind the dictionary", token)),
        }
    }

    /// The value of `descr`.
    fn element(&mut self) -> Result<(DType, ByteOrder)> {
        let element = match self.next()? {
            Token::Text(text) => element_of(text),
            Token::Sign(b'[') => Err(Error::unsupported(
                "the array has a structured type (named fields): save each field as an array of its own",
            )),
            Token::Sign(b'(') => Err(Error::unsupported(
                "the array has elements that are arrays themselves: save it as one array of more dimensions",
            )),
            token => Err(self.unexpected("a string that names the element type", token)),
        };
        element.map_err(|error| error.at_byte(self.token_at as u64))
    }

    /// The value of `fortran_order`.
    fn truth(&mut self) -> Result<bool> {
        match self.next()? {
            Token::Word(b"True") => Ok(true),
            Token::Word(b"False") => Ok(false),
            token => Err(self.unexpected("True or False", token)),
        }
    }

    /// The value of `shape`. One number in parentheses is a tuple only with a comma behind it.
    fn shape(&mut self) -> Result<Vec<u64>> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        loop {
            match self.next()? {
                Token::Int(dimension) if shape.len() < DIMENSIONS_MAX => shape.push(dimension),
                Token::Int(_) => {
                    let message = format!("expected at most {DIMENSIONS_MAX} dimensions, found more");
                    return Err(Error::malformed(message).at_byte(self.token_at as u64));
                }
                Token::Sign(b')') => return Ok(shape),
                token => return Err(self.unexpected("a dimension or ')'", token)),
            }
            match self.next()? {
                Token::Sign(b',') => {}
                Token::Sign(b')') if shape.len() > 1 => return Ok(shape),
                token => return Err(self.unexpected("',' behind a dimension", token)),
            }
        }
    }

    fn expect(&mut self, sign: u8) -> Result<()> {
        match self.next()? {
            Token::Sign(found) if found == sign => Ok(()),
            token => Err(self.unexpected(format_args!("'{}'", char::from(sign)), token)),
        }
    }

    fn next(&mut self) -> Result<Token<'a>> {
        self.rest = self.rest.trim_ascii_start();
        self.token_at = self.end - self.rest.len();
        Ok(match *self.rest {
            [] => Token::End,
            [sign @ (b'{' | b'}' | b'(' | b')' | b'[' | b']' | b',' | b':'), ref rest @ ..] => {
                self.rest = rest;
                Token::Sign(sign)
            }
            [quote @ (b'\'' | b'"'), ref rest @ ..] => {
                match rest.iter().position(|&b| b == quote || b == b'\\' || b == b'\n') {
                    Some(len) if rest[len] == quote => {
                        self.rest = &rest[len + 1..];
                        Token::Text(&rest[..len])
                    }
                    _ => {
                        return Err(self.malformed(format_args!(
                            "expected the string to end, found '{}'",
                            excerpt(rest)
                        )));
                    }
                }
            }
            [b'0'..=b'9', ..] => Token::Int(self.int()?),
            [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => Token::Word(self.word()),
            [_, ..] => {
                return Err(
                    self.malformed(format_args!("expected a Python literal, found '{}'", excerpt(self.rest)))
                );
            }
        })
    }

    /// Letters, digits and underscores: a name, or a number with all that clings to it.
    fn word(&mut self) -> &'a [u8] {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let (word, rest) = self.rest.split_at(self.rest.iter().take_while(|b| is_part(b)).count());
        self.rest = rest;
        word
    }

    /// A decimal number as Python writes one: no leading zeros, perhaps the `L` of a Python 2 long.
    fn int(&mut self) -> Result<u64> {
        let word = self.word();
        let digits = word.strip_suffix(b"L").unwrap_or(word);
        let int = match digits {
            [b'0', _, ..] => None,
            _ => str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        };
        int.ok_or_else(|| {
            self.malformed(format_args!("expected a whole number below 2^64, found '{}'", excerpt(word)))
        })
    }

    fn unexpected(&self, expected: impl fmt::Display, found: Token<'_>) -> Error {
        self.malformed(format_args!("expected {expected}, found {found}"))
    }

    fn malformed(&self, message: fmt::Arguments<'_>) -> Error {
        Error::malformed(format!("bad NPY header: {message}")).at_byte(self.token_at as u64)
    }
}

/// The element type a `descr` names: the byte order, the kind, the width in bytes.
///
/// As in NumPy, `=` or no order at all is that of this machine.
fn element_of(descr: &[u8]) -> Result<(DType, ByteOrder)> {
    let (order, code) = match *descr {
        [b'<', ref code @ ..] => (Some(ByteOrder::Little), code),
        [b'>', ref code @ ..] => (Some(ByteOrder::Big), code),
        [b'|', ref code @ ..] => (None, code),
        [b'=', ref code @ ..] | ref code @ [..] => (Some(ByteOrder::NATIVE), code),
    };
    let dtype = match code {
        b"b1" | b"?" => DType::Bool,
        b"u1" | b"B" => DType::U8,
        b"i1" | b"b" => DType::I8,
        b"u2" | b"H" => DType::U16,
        b"i2" | b"h" => DType::I16,
        b"u4" | b"I" => DType::U32,
        b"i4" | b"i" => DType::I32,
        b"u8" | b"Q" => DType::U64,
        b"i8" | b"q" => DType::I64,
        b"f2" | b"e" => DType::F16,
        b"f4" | b"f" => DType::F32,
        b"f8" | b"d" => DType::F64,
        _ => {
            let advice = match code {
                [b'O', ..] => "object arrays hold pickled Python objects, which are never loaded",
                [b'S' | b'a' | b'U' | b'T', ..] => "text is no tensor: save it as CSV, Parquet or Arrow",
                [b'c' | b'F' | b'D' | b'G', ..] => "save the real and the imaginary part as two arrays",
                [b'M' | b'm', ..] => "save dates and durations as int64: array.view('int64')",
                [b'V', ..] => "raw bytes have no element type: array.view('uint8') has one",
                _ => "expected bool, an integer of 8 to 64 bits or a float of 16 to 64",
            };
            let message = format!("the array has elements of type '{}': {advice}", excerpt(descr));
            return Err(Error::unsupported(message));
        }
    };
    match order {
        Some(order) => Ok((dtype, order)),
        None if dtype.width_bytes() == 1 => Ok((dtype, ByteOrder::NATIVE)),
        None => Err(Error::malformed(format!(
            "expected a byte order ('<' or '>') for elements of {} bytes, found '{}'",
            dtype.width_bytes(),
            excerpt(descr)
        ))),
    }
}

/// The beginning of some bytes, fit for a message.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 32;
    let dots = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{}{dots}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

#[cfg(test)]
mod tests;
