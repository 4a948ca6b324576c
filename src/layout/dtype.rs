//! Element types: what one value of a tensor is.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::DataType;
use half::f16;

use crate::error::Error;

/// The type of one element of a tensor column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// A truth value: one byte in a batch (0 or 1), one bit in Arrow.
    Bool,
    /// Unsigned, 1 byte.
    U8,
    /// Signed, 1 byte.
    I8,
    /// Unsigned, 2 bytes.
    U16,
    /// Signed, 2 bytes.
    I16,
    /// Unsigned, 4 bytes.
    U32,
    /// Signed, 4 bytes.
    I32,
    /// Unsigned, 8 bytes.
    U64,
    /// Signed, 8 bytes.
    I64,
    /// IEEE 754 binary16, 2 bytes.
    F16,
    /// IEEE 754 binary32, 4 bytes.
    F32,
    /// IEEE 754 binary64, 8 bytes.
    F64,
}

impl DType {
    /// Every element type, in the order of their declaration.
    pub const ALL: [DType; 12] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element in a batch.
    pub const fn width_bytes(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }

    /// The short name, as in `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U16 => "u16",
            DType::I16 => "i16",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::U64 => "u64",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// The Arrow type of one element.
    pub fn to_arrow(self) -> DataType {
        match self {
            DType::Bool => DataType::Boolean,
            DType::U8 => DataType::UInt8,
            DType::I8 => DataType::Int8,
            DType::U16 => DataType::UInt16,
            DType::I16 => DataType::Int16,
            DType::U32 => DataType::UInt32,
            DType::I32 => DataType::Int32,
            DType::U64 => DataType::UInt64,
            DType::I64 => DataType::Int64,
            DType::F16 => DataType::Float16,
            DType::F32 => DataType::Float32,
            DType::F64 => DataType::Float64,
        }
    }

    /// The element type by which values of an Arrow type are stored, `None` where a tensor cannot hold them.
    ///
    /// Dates, times, timestamps and durations are the integers Arrow stores them as.
    pub fn of_arrow(data_type: &DataType) -> Option<DType> {
        Some(match data_type {
            DataType::Boolean => DType::Bool,
            DataType::UInt8 => DType::U8,
            DataType::Int8 => DType::I8,
            DataType::UInt16 => DType::U16,
            DataType::Int16 => DType::I16,
            DataType::UInt32 => DType::U32,
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => DType::I32,
            DataType::UInt64 => DType::U64,
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Duration(_) => DType::I64,
            DataType::Float16 => DType::F16,
            DataType::Float32 => DType::F32,
            DataType::Float64 => DType::F64,
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            let names: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
            Error::invalid(format!(
                "no element type is called '{name}': expected one of {}",
                names.join(", ")
            ))
        })
    }
}

/// A Rust type that is an element of a tensor: the integers, `f16`, `f32` and `f64`.
pub trait Element: bytemuck::Pod + Default + fmt::Debug + PartialOrd + Send + Sync + sealed::Sealed {
    /// The element type this is.
    const DTYPE: DType;

    /// Whether a tensor of `dtype` can be viewed as a slice of this type (`u8` also views truth values).
    fn views(dtype: DType) -> bool {
        dtype == Self::DTYPE || (Self::DTYPE == DType::U8 && dtype == DType::Bool)
    }

    /// The value as the widest float, for [`cast`](crate::Col::cast) and [`scale`](crate::Col::scale).
    fn to_f64(self) -> f64;

    /// The nearest value of this type; integers saturate and lose their fraction, as `as` does.
    fn from_f64(value: f64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $rust
            }
        }
    )*};
}

elements!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
    f32 => F32, f64 => F64);

impl sealed::Sealed for f16 {}
impl Element for f16 {
    const DTYPE: DType = DType::F16;
    #[inline]
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
    #[inline]
    fn from_f64(value: f64) -> Self {
        f16::from_f64(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arrow_types_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
            assert_eq!(DType::of_arrow(&dtype.to_arrow()), Some(dtype));
        }
        assert!("float".parse::<DType>().unwrap_err().message().contains("'float'"));
    }

    #[test]
    fn only_bytes_view_truth_values() {
        assert!(u8::views(DType::Bool) && u8::views(DType::U8));
        assert!(!i8::views(DType::Bool) && !f32::views(DType::F64));
    }
}
