//! Fixed-length binary: records of one length, one after another, with no header that describes them.
//!
//! ```text
//!     0            header_bytes                                        file_len − footer_bytes
//!     ├────────────┼────────────┬────────────┬─── ─ ─ ───┬────────────┬────┬────────────┤ file_len
//!     │   header   │  record 0  │  record 1  │           │ record n−1 │    │   footer   │
//!     └────────────┴────────────┴────────────┴─── ─ ─ ───┴────────────┴────┴────────────┘
//!                  ├────────────┤ hop_bytes: from one record to the next  ├┤ trailing: a partial record
//!
//!     record   0       1                                      785
//!              ├───────┼──────────────────────────────────────┤ record_bytes
//!              │ label │ image                                │      label:u8,image:u8[28,28]
//!              └───────┴──────────────────────────────────────┘
//! ```
//!
//! With P the bytes between header and footer there are ⌊(P − record_bytes) / hop_bytes⌋ + 1 records, or
//! none where P < record_bytes. Records overlap when the hop is shorter than they are; a longer hop skips
//! bytes between them. Elements are little-endian unless a field says big-endian, and in C order.
//!
//! The file cannot say what it is, so a [`FixedSpec`] does. This is the layout of the CIFAR-10 binary
//! files and of whatever a C program writes with `fwrite`; the options are those of TensorFlow's
//! [`FixedLengthRecordReader`].
//!
//! [`FixedLengthRecordReader`]: https://www.tensorflow.org/api_docs/python/tf/compat/v1/FixedLengthRecordReader
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use super::tensor::{ByteOrder, TensorFile, dense_bytes};
use crate::error::{Error, Result};
use crate::layout::DType;

/// What the records of a fixed-length binary file are.
///
/// Plain data: a value that cannot be honoured is refused by [`check`](Self::check), which
/// [`locate`](Self::locate) calls.
///
/// As text, for the command line, a specification is its fields, and the record is as long as they need:
///
/// ```text
///     spec   =  field { ',' field }
///     field  =  name ':' [ '<' | '>' ] type [ '[' dimension { ',' dimension } ']' ] [ '@' offset ]
/// ```
///
/// `label:u8,image:u8[28,28]` is a byte and a picture behind it; `x:>f32[3]@16` is three big-endian
/// floats at byte 16 of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedSpec {
    /// Bytes of one record; at least one.
    pub record_bytes: u64,
    /// Bytes before the first record.
    pub header_bytes: u64,
    /// Bytes at the end of the file that belong to no record.
    pub footer_bytes: u64,
    /// Bytes from the start of one record to the start of the next; 0 means `record_bytes`.
    pub hop_bytes: u64,
    /// What is in a record; fields may leave gaps and may overlap.
    pub fields: Vec<FixedField>,
}

/// One field of a fixed-length record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedField {
    /// The name of the column it becomes.
    pub name: String,
    /// The element type; a truth value is one byte.
    pub dtype: DType,
    /// The shape of one row; a scalar has the empty shape.
    pub shape: Vec<usize>,
    /// Where it begins within the record.
    pub offset_bytes: u64,
    /// The order of the bytes of one element.
    pub order: ByteOrder,
}

impl FixedField {
    /// The first byte behind the field, within the record; `None` past 64 bits.
    fn end_bytes(&self) -> Option<u64> {
        self.offset_bytes.checked_add(dense_bytes(self.dtype, &self.shape)?)
    }
}

/// As [`FixedSpec`] reads it, the offset said always.
impl fmt::Display for FixedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.order == ByteOrder::Big { ">" } else { "" };
        write!(f, "{}:{order}{}", self.name, self.dtype)?;
        if !self.shape.is_empty() {
            write!(f, "{:?}", self.shape)?;
        }
        write!(f, "@{}", self.offset_bytes)
    }
}

impl FixedSpec {
    /// Records of `record_bytes` bytes that touch, in a file of nothing else; no fields yet.
    pub fn new(record_bytes: u64) -> Self {
        FixedSpec { record_bytes, header_bytes: 0, footer_bytes: 0, hop_bytes: 0, fields: Vec::new() }
    }

    /// Sets the bytes of one record.
    #[must_use]
    pub fn record_bytes(mut self, record_bytes: u64) -> Self {
        self.record_bytes = record_bytes;
        self
    }

    /// Sets the bytes before the first record; 0 by default.
    #[must_use]
    pub fn header_bytes(mut self, header_bytes: u64) -> Self {
        self.header_bytes = header_bytes;
        self
    }

    /// Sets the bytes at the end of the file that belong to no record; 0 by default.
    #[must_use]
    pub fn footer_bytes(mut self, footer_bytes: u64) -> Self {
        self.footer_bytes = footer_bytes;
        self
    }

    /// Sets the bytes from the start of one record to the start of the next; by default 0, which means
    /// `record_bytes`.
    #[must_use]
    pub fn hop_bytes(mut self, hop_bytes: u64) -> Self {
        self.hop_bytes = hop_bytes;
        self
    }

    /// Adds a little-endian field right behind the one added last (the first at the start of the record).
    #[must_use]
    pub fn field(
        self,
        name: impl Into<String>,
        dtype: DType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        let offset_bytes = self.next_offset_bytes();
        self.field_at(offset_bytes, name, dtype, shape)
    }

    /// Adds a little-endian field at byte `offset_bytes` of the record.
    #[must_use]
    pub fn field_at(
        mut self,
        offset_bytes: u64,
        name: impl Into<String>,
        dtype: DType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        let shape = shape.into_iter().collect();
        self.fields.push(FixedField {
            name: name.into(),
            dtype,
            shape,
            offset_bytes,
            order: ByteOrder::Little,
        });
        self
    }

    /// Where a field without an offset goes. Past 64 bits it is `u64::MAX`, where no field fits.
    fn next_offset_bytes(&self) -> u64 {
        self.fields.last().map_or(0, |last| last.end_bytes().unwrap_or(u64::MAX))
    }

    /// Checks that the specification can be honoured by some file.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with the bad value in the message: an empty record, no fields, a field without
    /// a name or with the name of another, with a dimension of 0, or past the end of the record.
    pub fn check(&self) -> Result<()> {
        if self.record_bytes == 0 {
            return Err(Error::invalid("record_bytes is 0: a record has at least one byte"));
        }
        if self.header_bytes.checked_add(self.footer_bytes).is_none() {
            return Err(Error::invalid(format!(
                "header_bytes {} and footer_bytes {} are more than any file holds",
                self.header_bytes, self.footer_bytes
            )));
        }
        if self.fields.is_empty() {
            return Err(Error::invalid(format!(
                "a fixed-length record needs at least one field, such as 'record:u8[{}]'",
                self.record_bytes
            )));
        }
        for (i, field) in self.fields.iter().enumerate() {
            if field.name.is_empty() {
                return Err(Error::invalid(format!("field {i} of the record, '{field}', has no name")));
            }
            if self.fields[..i].iter().any(|earlier| earlier.name == field.name) {
                return Err(Error::invalid(format!("two fields of the record are called '{}'", field.name)));
            }
            if field.shape.contains(&0) {
                return Err(Error::invalid(format!(
                    "field '{field}' has a dimension of 0 and so no elements"
                )));
            }
            match field.end_bytes() {
                Some(end) if end <= self.record_bytes => {}
                Some(end) => {
                    return Err(Error::invalid(format!(
                        "field '{field}' ends at byte {end} of a record of {} bytes",
                        self.record_bytes
                    )));
                }
                None => {
                    return Err(Error::invalid(format!("field '{field}' is larger than any record can be")));
                }
            }
        }
        Ok(())
    }

    /// Where each field lies in a file of `file_len` bytes, in the order of the fields, and how many bytes
    /// of a partial record trail behind the last whole one. Whether those are an error is the caller's
    /// choice; bytes that a long hop skips are none of them.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check), and `Malformed` for a file shorter than header and footer.
    pub fn locate(&self, file_len: u64) -> Result<(Vec<TensorFile>, u64)> {
        self.check()?;
        let around = self.header_bytes + self.footer_bytes;
        let payload = file_len.checked_sub(around).ok_or_else(|| {
            Error::malformed(format!(
                "expected {around} bytes of header and footer, found a file of {file_len} bytes"
            ))
            .at_byte(file_len)
        })?;
        let hop_bytes = if self.hop_bytes == 0 { self.record_bytes } else { self.hop_bytes };
        let last_start = payload.checked_sub(self.record_bytes).map(|room| room / hop_bytes * hop_bytes);
        let (num_rows, trailing_bytes) = match last_start {
            // The last record owns its bytes and those its hop skips, as far as the file has them.
            Some(start) => {
                let owned = start.saturating_add(hop_bytes.max(self.record_bytes));
                (start / hop_bytes + 1, payload.saturating_sub(owned))
            }
            None => (0, payload),
        };
        let columns = self.fields.iter().map(|field| TensorFile {
            dtype: field.dtype,
            order: field.order,
            num_rows,
            row_shape: field.shape.clone(),
            // Without a record no field lies anywhere: the place stays inside of the file.
            offset_bytes: self.header_bytes + if num_rows == 0 { 0 } else { field.offset_bytes },
            row_stride_bytes: hop_bytes,
            element_strides_bytes: None,
        });
        Ok((columns.collect(), trailing_bytes))
    }
}

impl FromStr for FixedSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut spec = FixedSpec::new(0);
        for field in split_fields(text) {
            let field = parse_field(field.trim(), spec.next_offset_bytes())?;
            spec.fields.push(field);
        }
        spec.record_bytes =
            spec.fields.iter().map(|field| field.end_bytes().unwrap_or(u64::MAX)).max().unwrap_or(0);
        spec.check()?;
        Ok(spec)
    }
}

/// The text between commas, those in brackets left alone.
fn split_fields(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |c| {
        inside = (inside || c == '[') && c != ']';
        c == ',' && !inside
    })
}

/// One field, at `next_offset` unless it says otherwise.
fn parse_field(text: &str, next_offset: u64) -> Result<FixedField> {
    let bad = |why: fmt::Arguments<'_>| {
        Error::invalid(format!(
            "bad field '{text}': {why} (a field is written as in image:u8[28,28] or x:>f32@16)"
        ))
    };
    let (name, rest) =
        text.split_once(':').ok_or_else(|| bad(format_args!("expected name:type, found no ':'")))?;
    let (rest, offset_bytes) = match rest.split_once('@') {
        None => (rest, next_offset),
        Some((rest, offset)) => {
            let offset = offset.trim();
            let parsed = offset.parse();
            (
                rest,
                parsed.map_err(|_| {
                    bad(format_args!("expected an offset in bytes behind '@', found '{offset}'"))
                })?,
            )
        }
    };
    let (rest, shape) = match rest.trim().split_once('[') {
        None => (rest, Vec::new()),
        Some((rest, shape)) => {
            let shape =
                shape.strip_suffix(']').ok_or_else(|| bad(format_args!("expected ']' at its end")))?;
            let dimension = |n: &str| {
                n.trim().parse().map_err(|_| bad(format_args!("expected a dimension, found '{}'", n.trim())))
            };
            (rest, shape.split(',').map(dimension).collect::<Result<_>>()?)
        }
    };
    let rest = rest.trim();
    let (order, dtype) = match rest.strip_prefix('>') {
        Some(dtype) => (ByteOrder::Big, dtype),
        None => (ByteOrder::Little, rest.strip_prefix('<').unwrap_or(rest)),
    };
    let dtype = dtype.parse().map_err(|e: Error| bad(format_args!("{}", e.message())))?;
    Ok(FixedField { name: name.trim().to_owned(), dtype, shape, offset_bytes, order })
}

#[cfg(test)]
mod tests;
