//! How a column's values were written, and what column they become.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use crate::error::{Error, Result};
use crate::layout::{DType, tensor_field};

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Elements of one shape, C order, little-endian.
    Tensor { dtype: DType, shape: Vec<usize> },
    /// An array of one dimension, its shape before it.
    Ragged { dtype: DType },
    /// Bytes, as they were written.
    Bytes,
    /// UTF-8, as it was written.
    Text,
}

/// A column of an MDS dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MdsColumn {
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
}

impl Encoding {
    /// The encoding called `name`, as in `ndarray:uint8:28,28`.
    ///
    /// # Errors
    ///
    /// `Unsupported` for `pkl` and for names that are none; `Malformed` for shapes that are none.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let (kind, config) = name.split_once(':').unwrap_or((name, ""));
        if let Some(dtype) = dtype_of(kind) {
            return Ok(Encoding::Tensor { dtype, shape: Vec::new() });
        }
        Ok(match kind {
            "int" => Encoding::Tensor { dtype: DType::I64, shape: Vec::new() },
            "str" | "str_int" | "str_float" | "str_decimal" | "json" => Encoding::Text,
            "bytes" | "jpeg" | "jpeg_array" | "png" | "pil" => Encoding::Bytes,
            "ndarray" if config.is_empty() => Encoding::Bytes,
            "ndarray" => array(name, config)?,
            "pkl" => {
                return Err(Error::unsupported(
                    "the encoding 'pkl' holds pickled Python objects, which are never loaded",
                ));
            }
            _ => return Err(Error::unsupported(format!("no encoding of MDS is called '{name}'"))),
        })
    }

    /// Bytes of one value, `None` where values differ in length.
    pub(crate) fn value_bytes(&self) -> Option<usize> {
        match self {
            Encoding::Tensor { dtype, shape } => Some(dtype.width_bytes() * shape.iter().product::<usize>()),
            _ => None,
        }
    }
}

impl MdsColumn {
    pub(crate) fn field(&self) -> Field {
        match &self.encoding {
            Encoding::Tensor { dtype, shape } => tensor_field(&self.name, *dtype, shape, false),
            Encoding::Ragged { dtype } => {
                let item = Arc::new(Field::new("item", dtype.to_arrow(), false));
                Field::new(&self.name, DataType::List(item), false)
            }
            Encoding::Bytes => Field::new(&self.name, DataType::Binary, false),
            Encoding::Text => Field::new(&self.name, DataType::Utf8, false),
        }
    }
}

/// The encoding `name`, an `ndarray` with a type and perhaps a shape.
fn array(name: &str, config: &str) -> Result<Encoding> {
    let bad =
        || Error::malformed(format!("expected an encoding such as ndarray:uint8:28,28, found '{name}'"));
    let (dtype, shape) = match config.split_once(':') {
        Some((dtype, shape)) => (dtype, Some(shape)),
        None => (config, None),
    };
    let dtype = dtype_of(dtype).ok_or_else(bad)?;
    let Some(shape) = shape else { return Ok(Encoding::Ragged { dtype }) };
    let shape: Vec<usize> =
        shape.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().map_err(|_| bad())?;
    // Arrow counts the elements of a row in an i32.
    let elements = shape.iter().try_fold(dtype.width_bytes(), |bytes, &n| bytes.checked_mul(n));
    if shape.contains(&0) || elements.is_none_or(|bytes| i32::try_from(bytes).is_err()) {
        return Err(bad());
    }
    Ok(Encoding::Tensor { dtype, shape })
}

/// The element type NumPy calls `name`.
fn dtype_of(name: &str) -> Option<DType> {
    Some(match name {
        "uint8" => DType::U8,
        "int8" => DType::I8,
        "uint16" => DType::U16,
        "int16" => DType::I16,
        "uint32" => DType::U32,
        "int32" => DType::I32,
        "uint64" => DType::U64,
        "int64" => DType::I64,
        "float16" => DType::F16,
        "float32" => DType::F32,
        "float64" => DType::F64,
        _ => return None,
    })
}
