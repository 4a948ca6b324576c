//! The types that values of features have.
#![forbid(unsafe_code)]

use std::fmt;

use crate::layout::DType;

/// The type of the values of a feature: which of its three lists it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureType {
    /// `float_list`.
    F32,
    /// `int64_list`.
    I64,
    /// `bytes_list`.
    Bytes,
}

/// Values of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureValues {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I64(Vec<i64>),
    /// One byte string.
    Bytes(Vec<u8>),
}

impl FeatureType {
    /// Bytes of one value in a batch; 1 for byte strings.
    pub(super) fn width_bytes(self) -> usize {
        self.dtype().map_or(1, DType::width_bytes)
    }

    /// The name of the list in `feature.proto`.
    pub(super) fn list_name(self) -> &'static str {
        match self {
            FeatureType::F32 => "float_list",
            FeatureType::I64 => "int64_list",
            FeatureType::Bytes => "bytes_list",
        }
    }

    /// The element type of a tensor of such values; `None` for byte strings.
    pub fn dtype(self) -> Option<DType> {
        match self {
            FeatureType::F32 => Some(DType::F32),
            FeatureType::I64 => Some(DType::I64),
            FeatureType::Bytes => None,
        }
    }
}

impl fmt::Display for FeatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype().map_or("bytes", DType::name))
    }
}

impl FeatureValues {
    /// The type of the values.
    pub fn dtype(&self) -> FeatureType {
        match self {
            FeatureValues::F32(_) => FeatureType::F32,
            FeatureValues::I64(_) => FeatureType::I64,
            FeatureValues::Bytes(_) => FeatureType::Bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            FeatureValues::F32(values) => values.len(),
            FeatureValues::I64(values) => values.len(),
            FeatureValues::Bytes(_) => 1,
        }
    }

    /// What a row of `count` values is, native-endian; one value is repeated.
    pub(super) fn to_row(&self, count: usize) -> Box<[u8]> {
        match self {
            FeatureValues::F32(values) => {
                values.iter().cycle().take(count).flat_map(|value| value.to_ne_bytes()).collect()
            }
            FeatureValues::I64(values) => {
                values.iter().cycle().take(count).flat_map(|value| value.to_ne_bytes()).collect()
            }
            FeatureValues::Bytes(value) => value.as_slice().into(),
        }
    }
}

macro_rules! values {
    ($($from:ty => $variant:ident($make:expr)),* $(,)?) => {$(
        impl From<$from> for FeatureValues {
            fn from(value: $from) -> Self {
                FeatureValues::$variant($make(value))
            }
        }
    )*};
}

values!(
    f32 => F32(|value| vec![value]),
    Vec<f32> => F32(|values| values),
    i64 => I64(|value| vec![value]),
    Vec<i64> => I64(|values| values),
    Vec<u8> => Bytes(|value| value),
    &[u8] => Bytes(<[u8]>::to_vec),
    &str => Bytes(|value: &str| value.as_bytes().to_vec()),
);
