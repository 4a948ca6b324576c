//! What a column holds per row, read off its Arrow field.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::DType;

/// What one row of a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A tensor of one shape for every row; a scalar has the empty shape.
    ///
    /// In Arrow: a primitive type, fixed-size binary, or (nested) fixed-size lists of a primitive type.
    Tensor {
        /// The element type.
        dtype: DType,
        /// The shape of one row.
        shape: Box<[usize]>,
    },
    /// A run of bytes of any length.
    Bytes,
    /// A run of UTF-8 text of any length.
    Text,
    /// A run of elements of any length: a ragged list.
    Ragged {
        /// The element type.
        dtype: DType,
    },
    /// A type no tensor can hold: structs, maps, unions, lists of lists, decimals, intervals.
    ///
    /// Such columns can be looked at and converted, not loaded.
    Other,
}

impl ColumnKind {
    /// What rows of `field` are.
    pub fn of(field: &Field) -> ColumnKind {
        match field.data_type() {
            DataType::Binary | DataType::LargeBinary => ColumnKind::Bytes,
            DataType::Utf8 | DataType::LargeUtf8 => ColumnKind::Text,
            DataType::List(item) | DataType::LargeList(item) => match DType::of_arrow(item.data_type()) {
                Some(dtype) if dtype != DType::Bool => ColumnKind::Ragged { dtype },
                _ => ColumnKind::Other,
            },
            data_type => {
                let mut shape = Vec::new();
                let Some(dtype) = tensor_shape(data_type, &mut shape) else { return ColumnKind::Other };
                if shape.iter().try_fold(dtype.width_bytes(), |bytes, &n| bytes.checked_mul(n)).is_none() {
                    return ColumnKind::Other;
                }
                // The canonical extension type keeps the shape beside one flat list.
                if let Some(declared) = fixed_shape(field)
                    && let [flat] = shape[..]
                    && declared.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(flat)
                {
                    shape = declared;
                }
                ColumnKind::Tensor { dtype, shape: shape.into() }
            }
        }
    }

    /// Bytes of one row in a batch; `None` where rows differ in length.
    pub fn row_bytes(&self) -> Option<usize> {
        match self {
            ColumnKind::Tensor { dtype, shape } => {
                Some(dtype.width_bytes() * shape.iter().product::<usize>())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnKind::Tensor { dtype, shape } if shape.is_empty() => write!(f, "{dtype}"),
            ColumnKind::Tensor { dtype, shape } => write!(f, "{dtype}{shape:?}"),
            ColumnKind::Bytes => f.write_str("bytes"),
            ColumnKind::Text => f.write_str("text"),
            ColumnKind::Ragged { dtype } => write!(f, "{dtype}[…]"),
            ColumnKind::Other => f.write_str("other"),
        }
    }
}

/// The name of the canonical Arrow extension type for tensors of one shape.
/// <https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor>
const FIXED_SHAPE_TENSOR: &str = "arrow.fixed_shape_tensor";

/// The Arrow field of a tensor column: a primitive type for a scalar, else one flat fixed-size list
/// with `arrow.fixed_shape_tensor` metadata.
pub fn tensor_field(name: &str, dtype: DType, shape: &[usize], nullable: bool) -> Field {
    if shape.is_empty() {
        return Field::new(name, dtype.to_arrow(), nullable);
    }
    let flat = shape.iter().fold(1, |n: usize, &len| n.saturating_mul(len));
    let item = Arc::new(Field::new("item", dtype.to_arrow(), false));
    let storage = DataType::FixedSizeList(item, i32::try_from(flat).unwrap_or(i32::MAX));
    let metadata = [
        ("ARROW:extension:name".to_owned(), FIXED_SHAPE_TENSOR.to_owned()),
        ("ARROW:extension:metadata".to_owned(), serde_json::json!({ "shape": shape }).to_string()),
    ];
    Field::new(name, storage, nullable).with_metadata(std::collections::HashMap::from(metadata))
}

/// The row-major shape an extension field declares, `None` for another type or a permuted layout.
fn fixed_shape(field: &Field) -> Option<Vec<usize>> {
    #[derive(serde::Deserialize)]
    struct Declared {
        shape: Vec<usize>,
        permutation: Option<Vec<usize>>,
    }
    if field.metadata().get("ARROW:extension:name")? != FIXED_SHAPE_TENSOR {
        return None;
    }
    let declared: Declared = serde_json::from_str(field.metadata().get("ARROW:extension:metadata")?).ok()?;
    let in_order = |p: Vec<usize>| p.iter().enumerate().all(|(i, &axis)| i == axis);
    declared.permutation.is_none_or(in_order).then_some(declared.shape)
}

/// The element type of a (nested) fixed-size list, its lengths appended to `shape`.
fn tensor_shape(data_type: &DataType, shape: &mut Vec<usize>) -> Option<DType> {
    match data_type {
        DataType::FixedSizeBinary(n) => {
            shape.push(usize::try_from(*n).ok()?);
            Some(DType::U8)
        }
        DataType::FixedSizeList(item, n) => {
            shape.push(usize::try_from(*n).ok()?);
            tensor_shape(item.data_type(), shape)
        }
        primitive => DType::of_arrow(primitive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_fields_read_back_as_they_were_written() {
        for shape in [vec![], vec![3], vec![28, 28], vec![2, 3, 4]] {
            let field = tensor_field("x", DType::F32, &shape, false);
            let kind = ColumnKind::of(&field);
            assert_eq!(kind, ColumnKind::Tensor { dtype: DType::F32, shape: shape.clone().into() });
            assert_eq!(kind.row_bytes(), Some(4 * shape.iter().product::<usize>()));
        }
    }

    #[test]
    fn a_shape_that_contradicts_its_storage_is_not_believed() {
        let mut field = tensor_field("x", DType::U8, &[28, 28], false);
        let mut metadata = field.metadata().clone();
        metadata.insert("ARROW:extension:metadata", r#"{"shape":[28,29]}"#);
        field.set_metadata(metadata);
        assert_eq!(ColumnKind::of(&field), ColumnKind::Tensor { dtype: DType::U8, shape: [784].into() });
    }

    #[test]
    fn nested_lists_are_shapes_and_structs_are_not() {
        let inner = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int16, true)), 3);
        let outer = DataType::FixedSizeList(Arc::new(Field::new("item", inner, true)), 2);
        let kind = ColumnKind::of(&Field::new("x", outer, true));
        assert_eq!(kind, ColumnKind::Tensor { dtype: DType::I16, shape: [2, 3].into() });
        assert_eq!(
            ColumnKind::of(&Field::new("s", DataType::Struct(Default::default()), true)),
            ColumnKind::Other
        );
    }
}
