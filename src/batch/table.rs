//! Typed views of the columns of an Arrow table.
#![forbid(unsafe_code)]

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, downcast_primitive_array};
use arrow::datatypes::DataType;

use super::tensor::{Shape, Tensor};
use crate::error::{Error, Result};
use crate::layout::{ColumnKind, Element};

/// Views the columns of an Arrow table as tensors, without a copy.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::array::{ArrayRef, Float32Array, RecordBatch};
/// use forebay::TensorColumns;
///
/// let x: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
/// let table = RecordBatch::try_from_iter([("x", x)]).unwrap();
/// let x = table.tensor::<f32>("x")?;
/// assert_eq!((x.shape(), x.as_slice()), (&[3][..], &[1.0, 2.0, 3.0][..]));
/// # Ok::<(), forebay::Error>(())
/// ```
pub trait TensorColumns {
    /// The column `name`, a number or a fixed-size list of numbers a row.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such column, or it is no tensor of `T` (truth values, which Arrow keeps as bits, are
    /// none); `Mismatch` if a value of it is null.
    fn tensor<T: Element>(&self, name: &str) -> Result<Tensor<'_, T>>;
}

impl TensorColumns for RecordBatch {
    fn tensor<T: Element>(&self, name: &str) -> Result<Tensor<'_, T>> {
        let schema = self.schema_ref();
        let Some((index, field)) = schema.column_with_name(name) else {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "no column is called '{name}': the table has {}",
                names.join(", ")
            )));
        };
        let kind = ColumnKind::of(field);
        let ColumnKind::Tensor { dtype, shape } = &kind else {
            return Err(Error::invalid(format!("column '{name}' is {kind}, not {}", T::DTYPE)));
        };
        if !T::views(*dtype) || field.data_type() == &DataType::Boolean {
            return Err(Error::invalid(format!("column '{name}' is {kind}, not {}", T::DTYPE)));
        }
        let bytes = bytes(self.column(index))
            .ok_or_else(|| Error::mismatch(format!("column '{name}' holds a null: fill it first")))?;
        let values = bytemuck::try_cast_slice(bytes)
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        Ok(Tensor::new(values, Shape::new(self.num_rows(), shape)?))
    }
}

/// The bytes of the numbers at the bottom of a (nested) fixed-size list; `None` if something is null on the way.
fn bytes(column: &ArrayRef) -> Option<&[u8]> {
    if column.null_count() > 0 {
        return None;
    }
    let column = column.as_ref();
    downcast_primitive_array!(
        column => Some(column.values().inner().as_slice()),
        DataType::FixedSizeList(_, _) => bytes(column.as_fixed_size_list().values()),
        DataType::FixedSizeBinary(_) => Some(column.as_fixed_size_binary().value_data()),
        _ => None
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, FixedSizeListArray, Int32Array};
    use arrow::datatypes::Schema;

    use super::*;
    use crate::error::ErrorKind;
    use crate::layout::{DType, tensor_field};

    #[test]
    fn a_part_of_a_table_is_viewed_where_it_lies() {
        let field = tensor_field("x", DType::I32, &[2, 1], false);
        let DataType::FixedSizeList(item, _) = field.data_type() else { unreachable!() };
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..8));
        let x: ArrayRef = Arc::new(FixedSizeListArray::new(item.clone(), 2, values.clone(), None));
        let table = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![x]).unwrap();
        let part = table.slice(1, 2);
        let x = part.tensor::<i32>("x").unwrap();
        assert_eq!((x.shape(), x.as_slice()), (&[2, 2, 1][..], &[2, 3, 4, 5][..]));
        let whole = values.to_data();
        assert_eq!(x.as_slice().as_ptr().addr(), whole.buffers()[0].as_ptr().addr() + 8);
    }

    #[test]
    fn what_is_no_tensor_of_that_type_is_refused() {
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
            ("t", Arc::new(arrow::array::StringArray::from(vec!["a", "b"]))),
        ];
        let table = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(table.tensor::<i32>("n").unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(table.tensor::<f32>("n").unwrap_err().message(), "column 'n' is i32, not f32");
        assert_eq!(table.tensor::<u8>("b").unwrap_err().message(), "column 'b' is bool, not u8");
        assert_eq!(table.tensor::<u8>("t").unwrap_err().message(), "column 't' is text, not u8");
        let error = table.tensor::<u8>("m").unwrap_err();
        assert_eq!(error.message(), "no column is called 'm': the table has n, b, t");
    }
}
