//! Columns side by side, as one.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;

use crate::batch::{refused, stack as lay_out, stack_field};
use crate::error::{Error, Result};

/// `batch` with its columns `columns`, which are numbers of one type, laid side by side in one tensor column `name`, a row
/// of which is one run of values. It stands where the first of them did; the others are gone from where they were.
///
/// Scalars become a tensor of shape `[columns]`, tensors of one shape one of shape `[columns, shape…]`.
///
/// ```
/// use arrow::array::{AsArray, Float32Array, RecordBatch};
/// use forebay::coordinator::decode::stack;
/// use std::sync::Arc;
///
/// let x1 = Arc::new(Float32Array::from(vec![1.0, 4.0])) as _;
/// let x2 = Arc::new(Float32Array::from(vec![2.0, 5.0])) as _;
/// let batch = RecordBatch::try_from_iter([("x1", x1), ("x2", x2)]).unwrap();
/// let features = stack(&batch, "features", &["x1", "x2"])?;
/// let rows = features["features"].as_fixed_size_list();
/// assert_eq!(rows.value(1).as_ref(), &Float32Array::from(vec![4.0, 5.0]));
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
///
/// `InvalidArgument` for a column the batch does not have or that is named twice, columns that are no numbers or not of one
/// type, and a name that another column has; `Malformed` for a null among their values.
pub fn stack(batch: &RecordBatch, name: &str, columns: &[&str]) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut members = Vec::with_capacity(columns.len());
    for column in columns {
        let Some((index, _)) = schema.column_with_name(column) else {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "cannot stack '{name}': no column is called '{column}', there are {}",
                names.join(", ")
            )));
        };
        if members.contains(&index) {
            return Err(Error::invalid(format!("cannot stack '{name}': column '{column}' is named twice")));
        }
        members.push(index);
    }
    let is_taken = schema.column_with_name(name).is_some_and(|(index, _)| !members.contains(&index));
    if is_taken {
        return Err(Error::invalid(format!("a stack cannot be called '{name}': another column is")));
    }
    let fields: Vec<_> = members.iter().map(|&index| schema.field(index)).collect();
    let field = Arc::new(stack_field(name, &fields)?);
    let arrays: Vec<_> =
        members.iter().map(|&index| (schema.field(index).name().as_str(), batch.column(index))).collect();
    let numbers: Vec<u64> = (0..batch.num_rows() as u64).collect();
    let stacked = lay_out(&field, &arrays, &numbers)?;

    let first = members.iter().min().copied().unwrap_or(0);
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (index, (old, array)) in schema.fields().iter().zip(batch.columns()).enumerate() {
        if index == first {
            fields.push(field.clone());
            arrays.push(stacked.clone());
        } else if !members.contains(&index) {
            fields.push(old.clone());
            arrays.push(array.clone());
        }
    }
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options).map_err(refused)
}
