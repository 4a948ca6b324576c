//! A slow, obviously right reader of tf.train.Example and SequenceExample.
//!
//! Source: TensorFlow's `example.proto` and `feature.proto`, and the
//! [encoding of protocol buffers](https://protobuf.dev/programming-guides/encoding/).

use std::collections::BTreeMap;

/// What a feature holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Feature {
    Unset,
    Bytes(Vec<Vec<u8>>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl Feature {
    pub fn kind(&self) -> &'static str {
        match self {
            Feature::Unset => "unset",
            Feature::Bytes(_) => "bytes_list",
            Feature::Floats(_) => "float_list",
            Feature::Integers(_) => "int64_list",
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Feature::Unset => 0,
            Feature::Bytes(values) => values.len(),
            Feature::Floats(values) => values.len(),
            Feature::Integers(values) => values.len(),
        }
    }

    /// The lengths of byte strings, or of the whole list of numbers.
    pub fn lens(&self) -> Vec<usize> {
        match self {
            Feature::Bytes(values) => values.iter().map(Vec::len).collect(),
            other => vec![other.len()],
        }
    }

    /// The values one after another, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Feature::Unset => Vec::new(),
            Feature::Bytes(values) => values.concat(),
            Feature::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Feature::Integers(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// A record: the features of an Example or of the context of a SequenceExample, and its feature lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub features: BTreeMap<String, Feature>,
    pub lists: BTreeMap<String, Vec<Feature>>,
}

/// A field of a message.
enum Field<'a> {
    Varint(u64),
    Fixed([u8; 4]),
    Bytes(&'a [u8]),
}

impl Record {
    pub fn parse(payload: &[u8]) -> Record {
        let mut record = Record::default();
        for (number, field) in fields(payload) {
            for (_, entry) in fields(bytes(&field)) {
                let (key, value) = entry_of(bytes(&entry));
                match number {
                    1 => drop(record.features.insert(key, feature(value))),
                    2 => {
                        let steps = fields(value).iter().map(|(_, step)| feature(bytes(step))).collect();
                        record.lists.insert(key, steps);
                    }
                    other => panic!("a field {other}"),
                }
            }
        }
        record
    }
}

/// The key and the value of an entry of a map.
fn entry_of(entry: &[u8]) -> (String, &[u8]) {
    let (mut key, mut value) = (&[][..], &[][..]);
    for (number, field) in fields(entry) {
        *(if number == 1 { &mut key } else { &mut value }) = bytes(&field);
    }
    (String::from_utf8(key.to_vec()).unwrap(), value)
}

fn feature(message: &[u8]) -> Feature {
    let mut feature = Feature::Unset;
    for (number, list) in fields(message) {
        let values = fields(bytes(&list));
        feature = match number {
            1 => Feature::Bytes(values.iter().map(|(_, value)| bytes(value).to_vec()).collect()),
            2 => Feature::Floats(values.iter().flat_map(|(_, value)| floats(value)).collect()),
            _ => Feature::Integers(values.iter().flat_map(|(_, value)| integers(value)).collect()),
        };
    }
    feature
}

fn bytes<'a>(field: &Field<'a>) -> &'a [u8] {
    match field {
        Field::Bytes(bytes) => bytes,
        _ => panic!("expected a field with a length"),
    }
}

fn floats(field: &Field<'_>) -> Vec<f32> {
    match field {
        Field::Fixed(word) => vec![f32::from_le_bytes(*word)],
        packed => bytes(packed).as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
}

fn integers(field: &Field<'_>) -> Vec<i64> {
    if let Field::Varint(value) = field {
        return vec![*value as i64];
    }
    let (mut packed, mut values) = (bytes(field), Vec::new());
    while !packed.is_empty() {
        values.push(varint(&mut packed) as i64);
    }
    values
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut message)),
            2 => {
                let len = varint(&mut message) as usize;
                Field::Bytes(message.split_off(..len).unwrap())
            }
            5 => Field::Fixed(message.split_off(..4).unwrap().try_into().unwrap()),
            other => panic!("a field of wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *bytes.split_off_first().unwrap();
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

impl Record {
    /// The record as a payload, its features in the order of `names`.
    pub fn encode<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut features = Vec::new();
        for name in names {
            let mut entry = message(1, name.as_bytes());
            entry.extend(message(2, &encoded(&self.features[name])));
            features.extend(message(1, &entry));
        }
        message(1, &features)
    }
}

fn encoded(feature: &Feature) -> Vec<u8> {
    let packed = |bytes: Vec<u8>| message(1, &bytes);
    match feature {
        Feature::Unset => Vec::new(),
        Feature::Bytes(values) => {
            message(1, &values.iter().flat_map(|value| message(1, value)).collect::<Vec<_>>())
        }
        Feature::Floats(_) => message(2, &packed(feature.bytes())),
        Feature::Integers(values) => {
            let mut bytes = Vec::new();
            values.iter().for_each(|&value| push_varint(value as u64, &mut bytes));
            message(3, &packed(bytes))
        }
    }
}

/// A field of a length and as many bytes.
fn message(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    push_varint(number << 3 | 2, &mut field);
    push_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

fn push_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
