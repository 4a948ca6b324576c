//! A reader of Thrift's compact protocol that believes nothing: every length is held against what is left.
//!
//! ```text
//! field    delta << 4 | type       1 byte; a delta of 0 says that the field's number follows (zigzag varint)
//! integer  zigzag varint           7 bits a byte, least significant first; the highest bit says that more follow
//! binary   length (varint), bytes
//! list     count << 4 | type       1 byte; a count of 15 says that the count follows (varint)
//! struct   fields …, 00
//! ```
//!
//! Source: [Thrift compact protocol](https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
//!
//! It knows no schema: callers visit the fields they want by number, and the rest is skipped.
#![forbid(unsafe_code)]

use super::bits::varint;

/// What a field's value is, as the compact protocol numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes end within it.
    Cut,
    /// What it says cannot be.
    Bad(&'static str),
}

pub(super) type Read<T> = Result<T, Fault>;

/// Structs within structs, at most.
const DEPTH: u32 = 64;

/// A place in the bytes of a message.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Structs a list may hold.
    structs_max: u64,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], structs_max: u64) -> Self {
        Reader { bytes, at: 0, structs_max, depth: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: u64) -> Read<&'a [u8]> {
        let len = usize::try_from(len).ok().filter(|&len| len <= self.left()).ok_or(Fault::Cut)?;
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Read<u64> {
        match varint(&self.bytes[self.at..]) {
            Some((value, len)) => {
                self.at += len;
                Ok(value)
            }
            None if self.left() < 10 => Err(Fault::Cut),
            None => Err(Fault::Bad("an integer of more than 64 bits")),
        }
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self) -> Read<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// An integer of 32 bits.
    pub(super) fn i32(&mut self) -> Read<i32> {
        self.integer()?.try_into().map_err(|_| Fault::Bad("an integer of more than 32 bits"))
    }

    pub(super) fn binary(&mut self) -> Read<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }

    /// The kind of a list's elements, and how many follow: no more than there are bytes left.
    pub(super) fn list(&mut self) -> Read<(Kind, u64)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let kind = of_code(head & 15)?;
        if count > self.left() as u64 {
            return Err(Fault::Cut);
        }
        if kind == Kind::Struct && count > self.structs_max {
            return Err(Fault::Bad("a list of more elements than a file of its size can need"));
        }
        Ok((kind, count))
    }

    /// Shows each field of a struct to `visit`, which reads the value and says so, or leaves it to be skipped.
    pub(super) fn fields(&mut self, mut visit: impl FnMut(&mut Self, i16, Kind) -> Read<bool>) -> Read<()> {
        self.deeper()?;
        let mut number = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Ok(());
            }
            let found = match head >> 4 {
                0 => self.integer()?.try_into().ok(),
                delta => number.checked_add(i16::from(delta)),
            };
            number = found.ok_or(Fault::Bad("a field number of more than 16 bits"))?;
            let kind = of_code(head & 15)?;
            if !visit(self, number, kind)? {
                // The value of a truth value is its kind.
                if !matches!(kind, Kind::True | Kind::False) {
                    self.skip(kind)?;
                }
            }
        }
    }

    fn deeper(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH { Err(Fault::Bad("structs nested more than 64 deep")) } else { Ok(()) }
    }

    fn skip(&mut self, kind: Kind) -> Read<()> {
        match kind {
            // In a list, a truth value takes a byte.
            Kind::True | Kind::False | Kind::I8 => self.byte().map(drop),
            Kind::I16 | Kind::I32 | Kind::I64 => self.varint().map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Uuid => self.take(16).map(drop),
            Kind::Binary => self.binary().map(drop),
            Kind::Struct => self.fields(|_, _, _| Ok(false)),
            Kind::List => {
                self.deeper()?;
                let (element, count) = self.list()?;
                for _ in 0..count {
                    self.skip(element)?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Map => {
                self.deeper()?;
                let count = self.varint()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    let (key, value) = (of_code(kinds >> 4)?, of_code(kinds & 15)?);
                    if count > self.left() as u64 {
                        return Err(Fault::Cut);
                    }
                    for _ in 0..count {
                        self.skip(key)?;
                        self.skip(value)?;
                    }
                }
                self.depth -= 1;
                Ok(())
            }
        }
    }
}

fn of_code(code: u8) -> Read<Kind> {
    Ok(match code {
        1 => Kind::True,
        2 => Kind::False,
        3 => Kind::I8,
        4 => Kind::I16,
        5 => Kind::I32,
        6 => Kind::I64,
        7 => Kind::Double,
        8 => Kind::Binary,
        9 | 10 => Kind::List,
        11 => Kind::Map,
        12 => Kind::Struct,
        13 => Kind::Uuid,
        _ => return Err(Fault::Bad("a type of value that does not exist")),
    })
}
