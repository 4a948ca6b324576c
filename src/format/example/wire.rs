//! Fields of a protocol buffer message, one after another, where they lie.
//!
//! Source: ["Encoding", Protocol Buffers documentation](https://protobuf.dev/programming-guides/encoding/).
#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// How the value of a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    /// 1 to 10 bytes, 7 bits each, the lowest first.
    Varint,
    /// 8 bytes.
    Fixed64,
    /// A varint N, and N bytes.
    Len,
    /// 4 bytes.
    Fixed32,
}

impl WireType {
    fn name(self) -> &'static str {
        match self {
            WireType::Varint => "a varint",
            WireType::Fixed64 => "8 bytes",
            WireType::Len => "a run of bytes with its length",
            WireType::Fixed32 => "4 bytes",
        }
    }
}

/// A message, or what is left of it, within a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, from the beginning of the record.
    end: usize,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) wire_type: WireType,
    /// The bytes of the value; of a run of bytes without its length.
    pub(super) value: &'a [u8],
    /// Where the tag and the end of the value lie, from the beginning of the record.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Field<'a> {
    /// The value of a field that is a message.
    #[inline]
    pub(super) fn message(self, what: &str) -> Result<Wire<'a>> {
        if self.wire_type != WireType::Len {
            return Err(self.wrong_type(what));
        }
        Ok(self.bytes())
    }

    /// The bytes of the value.
    #[inline]
    pub(super) fn bytes(self) -> Wire<'a> {
        Wire { rest: self.value, end: self.end }
    }

    /// The field has a type that `what`, which its number says it is, does not have.
    #[cold]
    pub(super) fn wrong_type(self, what: &str) -> Error {
        let found = self.wire_type.name();
        Error::malformed(format!("expected field {} to be {what}, found {found}", self.number))
            .at_byte(self.start as u64)
    }
}

impl<'a> Wire<'a> {
    /// The message that is all of `record`.
    pub(super) fn new(record: &'a [u8]) -> Self {
        Wire { rest: record, end: record.len() }
    }

    /// The message in bytes `start..end` of `record`.
    #[inline]
    pub(super) fn within(record: &'a [u8], start: usize, end: usize) -> Self {
        Wire { rest: &record[start..end], end }
    }

    /// What was not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where what was not read yet begins, from the beginning of the record.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Where the message ends, from the beginning of the record.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// If a field begins here whose tag is `tag`, one byte that says it is a run of bytes: the run.
    ///
    /// For messages whose usual form is known; anything unusual is `None`, and nothing is read.
    #[inline]
    pub(super) fn take_run(&mut self, tag: u8) -> Option<Wire<'a>> {
        let (len, rest) = match *self.rest {
            [first, len, ref rest @ ..] if first == tag && len < 0x80 => (usize::from(len), rest),
            [first, low, high, ref rest @ ..] if first == tag && high < 0x80 => {
                (usize::from(low & 0x7F) | usize::from(high) << 7, rest)
            }
            _ => return None,
        };
        let (run, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Wire { rest: run, end: self.position() })
    }

    /// The next field, `None` at the end of the message.
    ///
    /// # Errors
    ///
    /// `Malformed` for a field that the message ends in, a field number of 0 or of more than 29 bits, a varint of
    /// more than 64 bits and a wire type that does not exist; `Unsupported` for groups.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.position();
        let tag = self.varint()?;
        let number = match u32::try_from(tag) {
            Ok(tag) if tag >= 8 => tag >> 3,
            _ => return Err(bad_number(tag >> 3, start)),
        };
        let (wire_type, len) = match tag & 7 {
            0 => {
                let before = self.rest;
                self.varint()?;
                let value = &before[..before.len() - self.rest.len()];
                let end = self.position();
                return Ok(Some(Field { number, wire_type: WireType::Varint, value, start, end }));
            }
            1 => (WireType::Fixed64, 8),
            2 => (WireType::Len, self.varint()?),
            5 => (WireType::Fixed32, 4),
            other => return Err(bad_type(other, number, start)),
        };
        let value = match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((value, rest)) => {
                self.rest = rest;
                value
            }
            None => return Err(cut(number, len, self.rest.len(), start)),
        };
        Ok(Some(Field { number, wire_type, value, start, end: self.position() }))
    }

    /// Reads a varint.
    #[inline]
    fn varint(&mut self) -> Result<u64> {
        if let [byte, ref rest @ ..] = *self.rest
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        match varint(self.rest) {
            Some((value, len)) => {
                self.rest = &self.rest[len..];
                Ok(value)
            }
            None => Err(bad_varint(self.rest, self.position())),
        }
    }
}

/// The varint that `bytes` begin with and how many bytes it takes; `None` if it does not end or exceeds 64 bits.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return (i < 9 || byte <= 1).then_some((value, i + 1));
        }
    }
    None
}

/// No varint begins where `rest` does, at byte `position`.
#[cold]
pub(super) fn bad_varint(rest: &[u8], position: usize) -> Error {
    Error::malformed(match rest.iter().take(10).position(|&byte| byte < 0x80) {
        None if rest.len() < 10 => {
            format!("expected a varint, found the end of its message after {} bytes of it", rest.len())
        }
        _ => "expected a varint of at most 64 bits, found a longer one".to_owned(),
    })
    .at_byte(position as u64)
}

#[cold]
fn bad_number(number: u64, start: usize) -> Error {
    Error::malformed(format!("expected a field number from 1 to 536870911, found {number}"))
        .at_byte(start as u64)
}

#[cold]
fn bad_type(wire_type: u64, number: u32, start: usize) -> Error {
    let error = match wire_type {
        3 | 4 => Error::unsupported(format!("field {number} is a group, which no example has")),
        _ => Error::malformed(format!(
            "expected field {number} to have a wire type of 0, 1, 2 or 5, found {wire_type}"
        )),
    };
    error.at_byte(start as u64)
}

#[cold]
fn cut(number: u32, len: u64, left: usize, start: usize) -> Error {
    Error::malformed(format!(
        "expected {len} bytes of field {number}, found the end of its message after {left}"
    ))
    .at_byte(start as u64)
}
