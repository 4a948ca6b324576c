//! The values of one feature: which of the three lists it has, and the runs of values in it.
#![forbid(unsafe_code)]

use super::FeatureType;
use super::wire::{Field, Wire, WireType, bad_varint, varint};
use crate::error::{Error, Result};

/// Where the value of an entry of a map lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// The message that is the value; empty if the entry has none.
    Value(Wire<'a>),
    /// An entry with several values, which are merged.
    Entry(Wire<'a>),
}

impl<'a> Scope<'a> {
    /// The key and the value of an entry of a map.
    #[inline]
    pub(super) fn of_entry(entry: Wire<'a>) -> Result<(&'a [u8], Scope<'a>)> {
        let mut usual = entry;
        if let Some(key) = usual.take_run(KEY)
            && let Some(value) = usual.take_run(VALUE)
            && usual.rest().is_empty()
        {
            return Ok((key.rest(), Scope::Value(value)));
        }
        Scope::of_unusual_entry(entry)
    }

    fn of_unusual_entry(entry: Wire<'a>) -> Result<(&'a [u8], Scope<'a>)> {
        let (mut key, mut value, mut num_values) = (&[][..], None, 0);
        let mut fields = entry;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = field.message("a name")?.rest(),
                2 => {
                    value = Some(field.message("the value of a map's entry")?);
                    num_values += 1;
                }
                _ => {}
            }
        }
        Ok((key, if num_values > 1 { Scope::Entry(entry) } else { Scope::Value(value.unwrap_or(fields)) }))
    }

    /// Every field of the value.
    #[inline]
    fn each_field(self, mut f: impl FnMut(Field<'a>) -> Result<()>) -> Result<()> {
        let mut of_value = |mut value: Wire<'a>| {
            while let Some(field) = value.next()? {
                f(field)?;
            }
            Ok(())
        };
        match self {
            Scope::Value(value) => of_value(value),
            Scope::Entry(mut entry) => {
                while let Some(field) = entry.next()? {
                    if field.number == 2 {
                        of_value(field.message("the value of a map's entry")?)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Every feature of a value that is a list of them, one a step.
    pub(super) fn each_step(self, mut f: impl FnMut(Value<'a>) -> Result<()>) -> Result<()> {
        self.each_field(|field| match field.number {
            1 => f(Value::read(Scope::Value(field.message("the feature of a step")?))?),
            _ => Ok(()),
        })
    }
}

/// The tags of runs of bytes with the numbers 1, 2 and 3.
const KEY: u8 = 0x0A;
const VALUE: u8 = 0x12;
const BYTES_LIST: u8 = 0x0A;
const FLOAT_LIST: u8 = 0x12;
const INT64_LIST: u8 = 0x1A;
const PACKED: u8 = 0x0A;

/// A feature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    /// The type of the list that counts, the one set last; `None` if there is none.
    pub(super) dtype: Option<FeatureType>,
    lists: Lists<'a>,
    /// Where it begins, from the beginning of the record.
    pub(super) start: usize,
}

#[derive(Clone, Copy, Debug)]
enum Lists<'a> {
    /// One list, or none, which is an empty one.
    One(Wire<'a>),
    /// The lists that begin at byte `start` or behind it.
    Many { scope: Scope<'a>, start: usize },
}

impl<'a> Value<'a> {
    /// Reads which lists a feature has.
    #[inline]
    pub(super) fn read(scope: Scope<'a>) -> Result<Value<'a>> {
        let start = match scope {
            Scope::Value(feature) => {
                let (mut usual, start) = (feature, feature.position());
                let found = match feature.rest().first() {
                    None => return Ok(Value { dtype: None, lists: Lists::One(feature), start }),
                    Some(&BYTES_LIST) => usual.take_run(BYTES_LIST).map(|list| (FeatureType::Bytes, list)),
                    Some(&FLOAT_LIST) => usual.take_run(FLOAT_LIST).map(|list| (FeatureType::F32, list)),
                    Some(&INT64_LIST) => usual.take_run(INT64_LIST).map(|list| (FeatureType::I64, list)),
                    _ => None,
                };
                if let Some((dtype, list)) = found
                    && usual.rest().is_empty()
                {
                    return Ok(Value { dtype: Some(dtype), lists: Lists::One(list), start });
                }
                start
            }
            Scope::Entry(entry) => entry.position(),
        };
        Value::read_unusual(scope, start)
    }

    fn read_unusual(scope: Scope<'a>, start: usize) -> Result<Value<'a>> {
        // The type, the first list since another type was set, and whether more of its type follow.
        let mut found: Option<(FeatureType, Field<'a>, bool)> = None;
        scope.each_field(|field| {
            let dtype = match field.number {
                1 => FeatureType::Bytes,
                2 => FeatureType::F32,
                3 => FeatureType::I64,
                _ => return Ok(()),
            };
            field.message(dtype.list_name())?;
            found = Some(match found {
                Some((before, first, _)) if before == dtype => (dtype, first, true),
                _ => (dtype, field, false),
            });
            Ok(())
        })?;
        Ok(match found {
            None => Value { dtype: None, lists: Lists::Many { scope, start: usize::MAX }, start },
            Some((dtype, list, false)) => {
                Value { dtype: Some(dtype), lists: Lists::One(list.message(dtype.list_name())?), start }
            }
            Some((dtype, first, true)) => {
                Value { dtype: Some(dtype), lists: Lists::Many { scope, start: first.start }, start }
            }
        })
    }

    /// Every value field of its lists.
    #[inline]
    fn each_field(&self, mut f: impl FnMut(Field<'a>) -> Result<()>) -> Result<()> {
        let mut of_list = |mut list: Wire<'a>| {
            while let Some(field) = list.next()? {
                if field.number == 1 {
                    f(field)?;
                }
            }
            Ok(())
        };
        match self.lists {
            Lists::One(list) => of_list(list),
            Lists::Many { scope, start } => scope.each_field(|field| match field.number {
                1..=3 if field.start >= start => of_list(field.message("a list")?),
                _ => Ok(()),
            }),
        }
    }

    /// The floats, in runs of little-endian ones.
    #[inline]
    pub(super) fn each_floats(&self, mut f: impl FnMut(&'a [u8]) -> Result<()>) -> Result<()> {
        if let Lists::One(mut list) = self.lists
            && let Some(packed) = list.take_run(PACKED)
            && list.rest().is_empty()
            && packed.rest().len().is_multiple_of(4)
        {
            return f(packed.rest());
        }
        self.each_field(|field| match field.wire_type {
            WireType::Fixed32 => f(field.value),
            WireType::Len if field.value.len().is_multiple_of(4) => f(field.value),
            WireType::Len => Err(Error::malformed(format!(
                "expected packed floats of 4 bytes each, found {} bytes",
                field.value.len()
            ))
            .at_byte(field.start as u64)),
            _ => Err(field.wrong_type("floats")),
        })
    }

    /// The integers, in runs of varints, each with its number of them.
    #[inline]
    pub(super) fn each_varints(&self, mut f: impl FnMut(Varints<'a>) -> Result<()>) -> Result<()> {
        if let Lists::One(mut list) = self.lists
            && let Some(packed) = list.take_run(PACKED)
            && list.rest().is_empty()
        {
            return f(Varints::new(packed)?);
        }
        self.each_field(|field| match field.wire_type {
            WireType::Varint | WireType::Len => f(Varints::new(field.bytes())?),
            _ => Err(field.wrong_type("integers")),
        })
    }

    /// The byte strings.
    #[inline]
    pub(super) fn each_bytes(&self, mut f: impl FnMut(&'a [u8]) -> Result<()>) -> Result<()> {
        self.each_field(|field| f(field.message("a byte string")?.rest()))
    }

    /// The number of values.
    pub(super) fn count(&self) -> Result<usize> {
        let mut count = 0;
        match self.dtype {
            None => {}
            Some(FeatureType::F32) => self.each_floats(|floats| {
                count += floats.len() / 4;
                Ok(())
            })?,
            Some(FeatureType::I64) => self.each_varints(|varints| {
                count += varints.count;
                Ok(())
            })?,
            Some(FeatureType::Bytes) => self.each_bytes(|_| {
                count += 1;
                Ok(())
            })?,
        }
        Ok(count)
    }
}

/// Whole varints, one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varints<'a> {
    wire: Wire<'a>,
    /// How many there are.
    pub(super) count: usize,
}

impl<'a> Varints<'a> {
    #[inline]
    fn new(wire: Wire<'a>) -> Result<Self> {
        // Each ends in its only byte below 128.
        match wire.rest() {
            [byte] if *byte < 0x80 => Ok(Varints { wire, count: 1 }),
            [.., last] if *last >= 0x80 => Err(cut(wire)),
            bytes => Ok(Varints { wire, count: bytes.iter().filter(|&&byte| byte < 0x80).count() }),
        }
    }

    /// Writes them to `out`, which is 8 bytes for each.
    #[inline]
    pub(super) fn write(self, out: &mut [u8]) -> Result<()> {
        let mut rest = self.wire.rest();
        let (out, _) = out.as_chunks_mut::<8>();
        debug_assert_eq!(out.len(), self.count);
        if out.len() == rest.len() {
            for (out, &byte) in out.iter_mut().zip(rest) {
                *out = u64::from(byte).to_ne_bytes();
            }
            return Ok(());
        }
        for out in out {
            let value = match *rest {
                [byte, ref behind @ ..] if byte < 0x80 => {
                    rest = behind;
                    u64::from(byte)
                }
                [low, high, ref behind @ ..] if high < 0x80 => {
                    rest = behind;
                    u64::from(low & 0x7F) | u64::from(high) << 7
                }
                _ => match varint(rest) {
                    Some((value, len)) => {
                        rest = &rest[len..];
                        value
                    }
                    None => return Err(bad_varint(rest, self.wire.end() - rest.len())),
                },
            };
            *out = value.to_ne_bytes();
        }
        Ok(())
    }
}

/// The last varint of a run does not end in it.
#[cold]
fn cut(wire: Wire<'_>) -> Error {
    let bytes = wire.rest();
    let begun = bytes.iter().rev().take_while(|&&byte| byte >= 0x80).count();
    Error::malformed(format!(
        "expected packed integers, found that their run ends after {begun} bytes of the last"
    ))
    .at_byte((wire.end() - begun) as u64)
}
