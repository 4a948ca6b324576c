//! A slow decoder by the words of the specification, an encoder with every freedom the format gives, and a batch of a
//! few rows to decode into.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use arrow::datatypes::Schema;

use super::super::*;
use crate::error::Result;
use crate::layout::{ColumnKind, ColumnMut, DecodeInto, RowMut};

/// What one row of a column is: its bytes, or a null.
pub(super) type Cell = Option<Vec<u8>>;

/// Decodes each record to a row of one batch, all columns wanted that `wanted` says are.
pub(super) fn decode(
    decoder: &dyn DecodeInto,
    schema: &Schema,
    wanted: impl Fn(usize) -> bool,
    records: &[Vec<u8>],
) -> Vec<Result<Vec<Cell>>> {
    let kinds: Vec<_> = schema.fields().iter().map(|field| ColumnKind::of(field)).collect();
    let mut storage: Vec<(Vec<u8>, Vec<u8>)> = kinds
        .iter()
        .map(|kind| (vec![0xEE; kind.row_bytes().map_or(0, |n| n * records.len())], vec![1; records.len()]))
        .collect();
    let mut rows = Vec::new();
    for (row, record) in records.iter().enumerate() {
        let before: Vec<_> = storage.iter().map(|(values, _)| values.len()).collect();
        let mut columns: Vec<ColumnMut<'_>> = Vec::new();
        for (column, (values, validity)) in storage.iter_mut().enumerate() {
            let validity = schema.field(column).is_nullable().then_some(&mut validity[..]);
            columns.push(match kinds[column].row_bytes() {
                _ if !wanted(column) => ColumnMut::Unwanted,
                Some(row_bytes) => ColumnMut::Dense { values, row_bytes, validity },
                None => ColumnMut::Runs { items: values, validity },
            });
        }
        let result = decoder.decode(record, &mut RowMut::new(&mut columns, row));
        rows.push(result.map(|()| {
            let cell = |column: usize| {
                let (values, validity) = &storage[column];
                let (start, end) = match kinds[column].row_bytes() {
                    Some(n) => (row * n, (row + 1) * n),
                    None => (before[column], values.len()),
                };
                (validity[row] == 1).then(|| values[start..end].to_vec())
            };
            (0..kinds.len()).filter(|&column| wanted(column)).map(cell).collect()
        }));
        for (column, kind) in kinds.iter().enumerate() {
            if kind.row_bytes().is_none() && rows.last().unwrap().is_err() {
                storage[column].0.truncate(before[column]);
            }
        }
    }
    rows
}

pub(super) fn decode_one(spec: &ExampleSpec, record: &[u8]) -> Result<Vec<Cell>> {
    let decoder = ExampleDecoder::new(spec).unwrap();
    decode(&decoder, decoder.schema(), |_| true, &[record.to_vec()]).pop().unwrap()
}

/// A number of a varint or of fixed width, or bytes.
enum Val {
    Varint(u64),
    Fixed(Vec<u8>),
    Len(Vec<u8>),
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u128;
    for i in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return u64::try_from(value).ok();
        }
    }
    None
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Val)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let take = |bytes: &mut &[u8], n: u64| {
            let (value, rest) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
            *bytes = rest;
            Some(value.to_vec())
        };
        let value = match tag % 8 {
            0 => Val::Varint(number(&mut bytes)?),
            1 => Val::Fixed(take(&mut bytes, 8)?),
            2 => {
                let len = number(&mut bytes)?;
                Val::Len(take(&mut bytes, len)?)
            }
            5 => Val::Fixed(take(&mut bytes, 4)?),
            _ => return None,
        };
        if tag / 8 == 0 || tag > u64::from(u32::MAX) {
            return None;
        }
        fields.push((tag / 8, value));
    }
    Some(fields)
}

fn bytes(value: &Val) -> Option<&[u8]> {
    if let Val::Len(bytes) = value { Some(bytes) } else { None }
}

/// A map of a message whose field 1 it is: the last value of each key. Messages merge as their bytes run on.
fn map(message: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut entries = Vec::new();
    for (_, entry) in fields(message)?.iter().filter(|(number, _)| *number == 1) {
        let (mut key, mut merged) = (Vec::new(), Vec::new());
        for (number, value) in fields(bytes(entry)?)? {
            match number {
                1 => key = bytes(&value)?.to_vec(),
                2 => merged.extend_from_slice(bytes(&value)?),
                _ => {}
            }
        }
        entries.push((key, merged));
    }
    Some(entries)
}

/// The number of the list of a feature (0 for none), and its values.
fn feature(message: &[u8]) -> Option<(u64, Vec<Vec<u8>>)> {
    let (mut kind, mut list) = (0, Vec::new());
    for (number, value) in fields(message)? {
        if (1..=3).contains(&number) {
            if number != kind {
                list.clear();
            }
            kind = number;
            list.extend_from_slice(bytes(&value)?);
        }
    }
    Some((kind, list_values(kind, &list)?))
}

fn list_values(kind: u64, list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    for (_, value) in fields(list)?.into_iter().filter(|(number, _)| *number == 1) {
        match (kind, value) {
            (1, Val::Len(bytes)) => values.push(bytes),
            (2, Val::Fixed(bytes)) if bytes.len() == 4 => values.push(native(&bytes)),
            (2, Val::Len(packed)) if packed.len() % 4 == 0 => values.extend(packed.chunks(4).map(native)),
            (3, Val::Varint(value)) => values.push(value.to_ne_bytes().to_vec()),
            (3, Val::Len(packed)) => {
                let mut packed = &packed[..];
                while !packed.is_empty() {
                    values.push(number(&mut packed)?.to_ne_bytes().to_vec());
                }
            }
            _ => return None,
        }
    }
    Some(values)
}

fn native(float: &[u8]) -> Vec<u8> {
    f32::from_le_bytes(float.try_into().unwrap()).to_ne_bytes().to_vec()
}

/// The row that `record` is by `spec`, `None` if it is an error.
pub(super) fn row(spec: &ExampleSpec, record: &[u8]) -> Option<Vec<Cell>> {
    let mut maps: BTreeMap<(FeaturePlace, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let has_lists = spec.features.iter().any(|feature| feature.place == FeaturePlace::FeatureLists);
    for (number, value) in fields(record)? {
        let place = match number {
            1 => FeaturePlace::Features,
            2 if has_lists => FeaturePlace::FeatureLists,
            _ => continue,
        };
        for (key, value) in map(bytes(&value)?)? {
            maps.insert((place, key), value);
        }
    }
    let mut row = Vec::new();
    for wanted in &spec.features {
        let value = maps.get(&(wanted.place, wanted.name.as_bytes().to_vec()));
        let steps: Vec<Vec<u8>> = match (value, wanted.place) {
            (None, _) => vec![],
            (Some(value), FeaturePlace::Features) => vec![value.clone()],
            (Some(value), FeaturePlace::FeatureLists) => fields(value)?
                .iter()
                .filter(|(number, _)| *number == 1)
                .map(|(_, step)| bytes(step).map(<[u8]>::to_vec))
                .collect::<Option<_>>()?,
        };
        let (FeatureKind::FixedLen { dtype, .. }
        | FeatureKind::VarLen { dtype }
        | FeatureKind::Sequence { dtype, .. }) = &wanted.kind;
        let kind = match dtype {
            FeatureType::Bytes => 1,
            FeatureType::F32 => 2,
            FeatureType::I64 => 3,
        };
        let steps = steps
            .iter()
            .map(|step| {
                feature(step).filter(|(found, _)| *found == 0 || *found == kind).map(|(_, values)| values)
            })
            .collect::<Option<Vec<_>>>()?;
        let values = steps.concat();
        let lengths = |of: &[Vec<u8>]| -> Vec<u8> {
            of.iter().flat_map(|value| (value.len() as i64).to_ne_bytes()).collect()
        };
        match &wanted.kind {
            FeatureKind::FixedLen { shape, missing, .. } => {
                let count: usize = shape.iter().product();
                match missing {
                    _ if values.len() == count => row.push(Some(values.concat())),
                    Missing::Null if values.is_empty() => row.push(None),
                    Missing::Default(FeatureValues::F32(default)) if values.is_empty() => row.push(Some(
                        (0..count).flat_map(|i| default[i % default.len()].to_ne_bytes()).collect(),
                    )),
                    Missing::Default(FeatureValues::I64(default)) if values.is_empty() => row.push(Some(
                        (0..count).flat_map(|i| default[i % default.len()].to_ne_bytes()).collect(),
                    )),
                    Missing::Default(FeatureValues::Bytes(default)) if values.is_empty() => {
                        row.push(Some(default.clone()));
                    }
                    _ => return None,
                }
                continue;
            }
            FeatureKind::VarLen { .. } => {}
            FeatureKind::Sequence { shape, .. } => {
                let step: usize = shape.iter().product();
                let whole = |step_values: &Vec<Vec<u8>>| match wanted.place {
                    FeaturePlace::Features => step_values.len().is_multiple_of(step),
                    FeaturePlace::FeatureLists => step_values.len() == step,
                };
                if !steps.iter().all(whole) {
                    return None;
                }
            }
        }
        row.push(Some(values.concat()));
        let varying =
            matches!(wanted.kind, FeatureKind::VarLen { .. }) && wanted.place == FeaturePlace::FeatureLists;
        if *dtype == FeatureType::Bytes {
            row.push(Some(lengths(&values)));
        } else if varying {
            row.push(Some(steps.iter().flat_map(|step| (step.len() as i64).to_ne_bytes()).collect()));
        }
    }
    Some(row)
}

/// The values of a feature.
#[derive(Clone, Debug)]
pub(super) enum List {
    Unset,
    Bytes(Vec<Vec<u8>>),
    F32(Vec<f32>),
    I64(Vec<i64>),
}

/// Encodes messages; with a seed, in any of the ways the format allows, without one in the usual way.
pub(super) struct Encoder(pub(super) Option<u64>);

impl Encoder {
    /// A number below `n`; 0 without a seed.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        let Some(state) = &mut self.0 else { return 0 };
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((*state >> 33) as usize) % n
    }

    pub(super) fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    pub(super) fn run(number: u64, value: &[u8]) -> Vec<u8> {
        [&Encoder::varint(8 * number + 2)[..], &Encoder::varint(value.len() as u64), value].concat()
    }

    /// Joins the fields of a message, now and then with one of an unknown number between them.
    fn message(&mut self, fields: Vec<Vec<u8>>) -> Vec<u8> {
        let mut message = Vec::new();
        for field in fields.into_iter().chain([vec![]]) {
            match self.pick(12) {
                1 => message.extend(Encoder::run(9 + self.pick(1 << 20) as u64, b"unknown")),
                2 => message.extend([0x20, 0xFF, 0x01]),
                3 => message.extend(b"\x211234567\0"),
                4 => message.extend(b"\x251234"),
                _ => {}
            }
            message.extend(field);
        }
        message
    }

    pub(super) fn feature(&mut self, list: &List) -> Vec<u8> {
        let (number, values): (u64, Vec<Vec<u8>>) = match list {
            List::Unset => return self.message(vec![]),
            List::Bytes(values) => (1, values.clone()),
            List::F32(values) => (2, values.iter().map(|value| value.to_le_bytes().to_vec()).collect()),
            List::I64(values) => (3, values.iter().map(|value| Encoder::varint(*value as u64)).collect()),
        };
        let mut fields = Vec::new();
        if self.pick(9) == 1 {
            // A list of another kind before it, which does not count.
            fields.push(Encoder::run(1 + number % 3, &[]));
        }
        let mut rest = &values[..];
        loop {
            // Usually all values in one list; else some, and the others in the next, which is merged with it.
            let (now, later) =
                rest.split_at(if self.pick(4) == 1 { self.pick(rest.len() + 1) } else { rest.len() });
            let list = self.list(number, now);
            fields.push(Encoder::run(number, &list));
            rest = later;
            if rest.is_empty() {
                return self.message(fields);
            }
        }
    }

    fn list(&mut self, number: u64, mut values: &[Vec<u8>]) -> Vec<u8> {
        let mut fields = Vec::new();
        while !values.is_empty() {
            let (now, later) = match self.pick(3) {
                _ if number == 1 => values.split_at(1),
                0 => values.split_at(values.len()),
                1 => values.split_at(1 + self.pick(values.len())),
                _ => {
                    fields.push([&[[0, 0, 0x0D, 0x08][number as usize]], &values[0][..]].concat());
                    values = &values[1..];
                    continue;
                }
            };
            fields.push(Encoder::run(1, &now.concat()));
            values = later;
        }
        self.message(fields)
    }

    pub(super) fn entry(&mut self, name: &str, value: &[u8]) -> Vec<u8> {
        let key = Encoder::run(1, name.as_bytes());
        let value = Encoder::run(2, value);
        let fields = match self.pick(8) {
            1 => vec![value, key],
            2 => vec![Encoder::run(1, b"another"), Encoder::run(2, b""), key, value],
            3 => vec![key, value, Encoder::run(2, b"")],
            _ => vec![key, value],
        };
        self.message(fields)
    }

    /// A map from its entries, now and then shuffled, with a key twice, or torn in two.
    fn maps(&mut self, number: u64, mut entries: Vec<Vec<u8>>, mut outdated: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        for i in (1..entries.len()).rev() {
            if self.0.is_some() {
                let j = self.pick(i + 1);
                entries.swap(i, j);
            }
        }
        if self.pick(4) == 1 {
            outdated.extend(entries);
            entries = outdated;
        }
        let at = if self.pick(4) == 1 { self.pick(entries.len() + 1) } else { 0 };
        let second = entries.split_off(at);
        [entries, second]
            .into_iter()
            .filter(|entries| !entries.is_empty())
            .map(|entries| {
                let entries = entries.iter().map(|entry| Encoder::run(1, entry)).collect();
                Encoder::run(number, &self.message(entries))
            })
            .collect()
    }

    /// A SequenceExample, or without `lists` an Example.
    pub(super) fn record(&mut self, features: &[(&str, List)], lists: &[(&str, Vec<List>)]) -> Vec<u8> {
        let (mut entries, mut outdated) = (Vec::new(), Vec::new());
        for (name, list) in features {
            let value = self.feature(list);
            entries.push(self.entry(name, &value));
            let value = self.feature(&List::I64(vec![-1]));
            outdated.push(self.entry(name, &value));
        }
        let mut fields = self.maps(1, entries, outdated);
        let (mut entries, mut outdated) = (Vec::new(), Vec::new());
        for (name, steps) in lists {
            let steps = steps.iter().map(|step| Encoder::run(1, &self.feature(step))).collect();
            let value = self.message(steps);
            entries.push(self.entry(name, &value));
            outdated.push(self.entry(name, b""));
        }
        fields.extend(self.maps(2, entries, outdated));
        self.message(fields)
    }
}
