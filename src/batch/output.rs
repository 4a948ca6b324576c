//! Columns that are made, not read.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};

use crate::layout::{ColumnKind, DType, Element, tensor_field};

/// A column of a batch that a function of the user's makes, row by row: see
/// [`map_rows`](crate::LoaderBuilder::map_rows).
///
/// ```
/// use forebay::Output;
///
/// let image = Output::tensor::<u8>("image", &[28, 28, 3]); // every row of this shape
/// let tokens = Output::ragged::<i32>("tokens"); // rows of any length
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub(crate) field: FieldRef,
    pub(crate) kind: ColumnKind,
}

impl Output {
    /// Rows of `T`s of one shape; an empty shape is one number a row. What is not written of a row is zero.
    pub fn tensor<T: Element>(name: impl AsRef<str>, shape: &[usize]) -> Self {
        let field = Arc::new(tensor_field(name.as_ref(), T::DTYPE, shape, false));
        Output { field, kind: ColumnKind::Tensor { dtype: T::DTYPE, shape: shape.into() } }
    }

    /// Rows of `T`s of any length. A row that is not written has none.
    pub fn ragged<T: Element>(name: impl Into<String>) -> Self {
        let item = Arc::new(Field::new("item", T::DTYPE.to_arrow(), false));
        Output::of(name, DataType::List(item), ColumnKind::Ragged { dtype: T::DTYPE })
    }

    /// Rows of bytes, of any length.
    pub fn bytes(name: impl Into<String>) -> Self {
        Output::of(name, DataType::Binary, ColumnKind::Bytes)
    }

    /// Rows of text.
    pub fn text(name: impl Into<String>) -> Self {
        Output::of(name, DataType::Utf8, ColumnKind::Text)
    }

    fn of(name: impl Into<String>, data_type: DataType, kind: ColumnKind) -> Self {
        Output { field: Arc::new(Field::new(name, data_type, false)), kind }
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    /// The type of the elements that are written; `None` for text.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self.kind {
            ColumnKind::Tensor { dtype, .. } | ColumnKind::Ragged { dtype } => Some(dtype),
            ColumnKind::Bytes => Some(DType::U8),
            _ => None,
        }
    }
}
