//! Rows of different lengths, made equal.
//!
//! A list column stands for a dimension of unknown length; lists of lists, and lists of fixed-size lists, for several
//! dimensions, some of them unknown. Padding makes each unknown dimension as long as the longest row of the batch needs
//! it, with zeros (empty text, `false`) after what a row has.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, RecordBatch, RecordBatchOptions, UInt32Array, make_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, tensor_field};

/// The columns of `batch`, its lists padded to the longest of each dimension. A list that is null is one without items.
///
/// # Errors
///
/// `TooLarge` if a column would have 2³¹ elements or more.
pub(super) fn pad(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if is_ragged(field.data_type()) {
            let (field, column) = pad_column(field, column).map_err(|error| error.in_column(field.name()))?;
            fields.push(Arc::new(field));
            columns.push(column);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).map_err(refused)
}

/// Whether values of this type have a dimension of unknown length.
fn is_ragged(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(_) | DataType::LargeList(_) => true,
        DataType::FixedSizeList(item, _) => is_ragged(item.data_type()),
        _ => false,
    }
}

fn pad_column(field: &Field, column: &ArrayRef) -> Result<(Field, ArrayRef)> {
    let num_rows = column.len();
    let mut shape = Vec::new();
    // Where each element of the padded column lies in the level that is looked at; `None` for padding.
    let mut sources: Vec<Option<usize>> = (0..num_rows).map(Some).collect();
    let mut level = column.clone();
    loop {
        let next = match level.data_type() {
            DataType::List(_) => {
                let list = level.as_list::<i32>();
                let bounds =
                    |row: usize| list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
                sources =
                    spread(&sources, |row| if list.is_valid(row) { bounds(row) } else { 0..0 }, &mut shape)?;
                list.values().clone()
            }
            DataType::LargeList(_) => {
                let list = level.as_list::<i64>();
                let bounds =
                    |row: usize| list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
                sources =
                    spread(&sources, |row| if list.is_valid(row) { bounds(row) } else { 0..0 }, &mut shape)?;
                list.values().clone()
            }
            DataType::FixedSizeList(_, len) => {
                let (list, len) = (level.as_fixed_size_list(), *len as usize);
                if list.is_empty() || sources.iter().all(Option::is_none) {
                    // Without a row to see it by, the dimension is known all the same.
                    sources = vec![None; sources.len() * len];
                    shape.push(len);
                } else {
                    sources = spread(&sources, |row| row * len..(row + 1) * len, &mut shape)?;
                }
                list.values().clone()
            }
            _ => break,
        };
        level = next;
    }
    let values = gather(&level, &sources)?;
    let elements: usize = shape.iter().product();
    let nullable = field.is_nullable();
    let field = match ColumnKind::of(&Field::new("item", level.data_type().clone(), false)) {
        ColumnKind::Tensor { dtype, .. } if values.null_count() == 0 => {
            tensor_field(field.name(), dtype, &shape, nullable)
        }
        _ => {
            let item = Field::new("item", level.data_type().clone(), true);
            let list = DataType::FixedSizeList(Arc::new(item), length(elements)?);
            Field::new(field.name(), list, nullable)
        }
    };
    let DataType::FixedSizeList(item, _) = field.data_type() else { unreachable!("a list has a dimension") };
    let list =
        FixedSizeListArray::try_new_with_length(item.clone(), length(elements)?, values, None, num_rows);
    Ok((field, Arc::new(list.map_err(refused)?)))
}

/// One level down: each source becomes as many as the longest of them has items.
fn spread(
    sources: &[Option<usize>],
    items: impl Fn(usize) -> std::ops::Range<usize>,
    shape: &mut Vec<usize>,
) -> Result<Vec<Option<usize>>> {
    let longest = sources.iter().flatten().map(|&source| items(source).len()).max().unwrap_or(0);
    shape.push(longest);
    length(sources.len().saturating_mul(longest))?;
    let mut below = Vec::with_capacity(sources.len() * longest);
    for source in sources {
        let items = source.map_or(0..0, &items);
        let padding = longest - items.len();
        below.extend(items.map(Some));
        below.extend(std::iter::repeat_n(None, padding));
    }
    Ok(below)
}

/// The elements of `values` at `sources`, and zero where there is none.
fn gather(values: &ArrayRef, sources: &[Option<usize>]) -> Result<ArrayRef> {
    let zero = arrow::array::new_null_array(values.data_type(), 1).to_data();
    // Nothing but the mark of a null tells it from a zero, or from text without letters.
    let zero = make_array(zero.into_builder().nulls(None).build().map_err(refused)?);
    // The table the rows are of may be much longer than they are.
    let start = sources.iter().flatten().min().copied().unwrap_or(0);
    let end = sources.iter().flatten().max().map_or(0, |last| last + 1);
    length(end - start)?;
    let indices: UInt32Array =
        sources.iter().map(|source| source.map_or(end - start, |source| source - start) as u32).collect();
    let padded = concat(&[&*values.slice(start, end - start), &*zero]).map_err(refused)?;
    take(&padded, &indices, None).map_err(refused)
}

fn length(elements: usize) -> Result<i32> {
    i32::try_from(elements).map_err(|_| {
        Error::new(
            ErrorKind::TooLarge,
            format!("expected fewer than 2³¹ elements once padded, found {elements}"),
        )
    })
}

fn refused(error: ArrowError) -> Error {
    Error::new(ErrorKind::Unsupported, format!("arrow cannot pad these rows: {error}")).with_source(error)
}
