//! The columns that all rows of a queue have.
//!
//! Rows are matched with the queue's columns by name. What a row calls the items of a list, which of its columns are
//! declared nullable and its metadata may differ, since those say nothing about the values; types, shapes and the names of
//! the parts of a struct may not.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, RecordBatch, RecordBatchOptions,
    StructArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::layout::ColumnKind;

/// `rows` with the columns of `schema`, in its order and of its very types.
///
/// A column of nothing but nulls, which has no type of its own, takes that of the queue.
///
/// # Errors
///
/// `InvalidArgument` for missing, further and other columns, and for a null in a column declared without.
pub(super) fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if schema == rows.schema_ref() {
        return Ok(rows.clone());
    }
    let other = || {
        Error::invalid(format!(
            "expected rows of the columns {}, found {}",
            in_words(schema),
            in_words(rows.schema_ref())
        ))
    };
    let places = places(rows.schema_ref(), schema).ok_or_else(other)?;
    let mut columns = Vec::with_capacity(places.len());
    for (field, place) in schema.fields().iter().zip(places) {
        let column = match_column(rows.schema_ref().field(place), rows.column(place), field);
        let column = column.ok_or_else(other)?;
        if !field.is_nullable() && column.logical_null_count() > 0 {
            let message = format!("expected no null, found {}", column.logical_null_count());
            return Err(Error::invalid(message).in_column(field.name()));
        }
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| Error::invalid(format!("the rows are not those of the queue: {e}")).with_source(e))
}

/// For each column of `expected` the index of that of its name in `found`, if the names are the same.
fn places(found: &Schema, expected: &Schema) -> Option<Vec<usize>> {
    let (found, expected) = (found.fields(), expected.fields());
    if found.len() != expected.len() {
        return None;
    }
    // Names that are there twice mean something only in their order.
    if found.iter().zip(expected).all(|(found, expected)| found.name() == expected.name()) {
        return Some((0..found.len()).collect());
    }
    let place = |name: &str| found.iter().position(|field| field.name() == name);
    let places: Option<Vec<_>> = expected.iter().map(|field| place(field.name())).collect();
    let mut taken = vec![false; found.len()];
    places.filter(|places| places.iter().all(|&place| !std::mem::replace(&mut taken[place], true)))
}

/// The column as the queue has it, if its values are of the type and shape.
fn match_column(found: &Field, column: &ArrayRef, expected: &Field) -> Option<ArrayRef> {
    if found.data_type() == &DataType::Null && (expected.is_nullable() || column.is_empty()) {
        return Some(new_null_array(expected.data_type(), column.len()));
    }
    retype(found, column, expected)
}

/// The values of the field `found` as those of the field `expected`, which may have other names and metadata in its
/// lists; `None` if type or shape is another.
fn retype(found: &Field, array: &ArrayRef, expected: &Field) -> Option<ArrayRef> {
    if ColumnKind::of(found) != ColumnKind::of(expected) {
        return None;
    }
    if found.data_type() == expected.data_type() {
        return Some(array.clone());
    }
    Some(match (found.data_type(), expected.data_type()) {
        (DataType::List(found), DataType::List(item)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = retype(found, &values, item)?;
            Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).ok()?)
        }
        (DataType::LargeList(found), DataType::LargeList(item)) => {
            let (_, offsets, values, nulls) = array.as_list::<i64>().clone().into_parts();
            let values = retype(found, &values, item)?;
            Arc::new(LargeListArray::try_new(item.clone(), offsets, values, nulls).ok()?)
        }
        (DataType::FixedSizeList(found, _), DataType::FixedSizeList(item, len)) => {
            let list = array.as_fixed_size_list();
            let (values, nulls) = (retype(found, list.values(), item)?, list.nulls().cloned());
            Arc::new(
                FixedSizeListArray::try_new_with_length(item.clone(), *len, values, nulls, list.len())
                    .ok()?,
            )
        }
        (DataType::Struct(found), DataType::Struct(fields))
            if found.iter().map(|field| field.name()).eq(fields.iter().map(|field| field.name())) =>
        {
            let (parts, nulls, len) =
                (array.as_struct().columns(), array.as_struct().nulls().cloned(), array.len());
            let parts = found.iter().zip(parts).zip(fields);
            let parts: Option<_> = parts.map(|((found, part), field)| retype(found, part, field)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), parts?, nulls, len).ok()?)
        }
        _ => return None,
    })
}

/// That the first column can be a priority.
///
/// # Errors
///
/// `InvalidArgument` if it is no 64-bit integer, or may be null.
pub(super) fn check_priority(schema: &Schema) -> Result<()> {
    let is_priority = |field: &Arc<Field>| *field.data_type() == DataType::Int64 && !field.is_nullable();
    if schema.fields().first().is_some_and(is_priority) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "expected the priority, an Int64 that is never null, as the first column, found {}",
        in_words(schema)
    )))
}

/// The columns as people write them.
pub(super) fn in_words(schema: &Schema) -> String {
    if schema.fields().is_empty() {
        return "none".to_owned();
    }
    let columns: Vec<_> = schema.fields().iter().map(|field| column_in_words(field)).collect();
    columns.join(", ")
}

fn column_in_words(field: &Field) -> String {
    let non_null = if field.is_nullable() { "" } else { "non-null " };
    let column = format!("{}: {non_null}{}", field.name(), field.data_type());
    match (field.data_type(), ColumnKind::of(field)) {
        // What the type alone does not tell.
        (DataType::FixedSizeList(item, _), ColumnKind::Tensor { shape, .. })
            if shape.len() > 1 && !item.data_type().is_nested() =>
        {
            format!("{column} of shape {shape:?}")
        }
        _ => column,
    }
}
