//! Rows of different lengths, made equal.
//!
//! A list column stands for a dimension of unknown length; lists of lists, and lists of fixed-size lists, for several
//! dimensions, some of them unknown. Padding makes each unknown dimension as long as the longest row of the batch needs
//! it, with zeros (empty text, `false`) after what a row has.
//!
//! # Invariants
//!
//! - A padded column is one flat fixed-size list, its shape in `arrow.fixed_shape_tensor` metadata; what an element is
//!   stays as it was.
//! - A list that is null is one without items. An item that is null stays null.
//! - Values are copied once, and but for the padding nothing is made that is larger than what came in.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, MutableArrayData,
    RecordBatch, RecordBatchOptions, make_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, DType, tensor_field};

/// How many zeros of a type without parts are copied at a time.
const ZEROS: usize = 1024;

/// That every list of `schema` can be padded.
///
/// # Errors
///
/// `Unsupported` if its items are of a type that has no zero: unions, run-end encoded values, list views.
pub(super) fn check_paddable(schema: &Schema) -> Result<()> {
    for field in schema.fields().iter().filter(|field| is_ragged(field.data_type())) {
        let items = bottom(field.data_type());
        if !has_zero(items) {
            let message = format!("expected lists of a type that has a zero to pad with, found {items}");
            return Err(Error::new(ErrorKind::Unsupported, message).in_column(field.name()));
        }
    }
    Ok(())
}

/// The columns of `batch`, its lists padded to the longest of each dimension.
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

/// The type of what lies below all lists.
fn bottom(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            bottom(item.data_type())
        }
        below => below,
    }
}

/// One list array: a dimension.
enum Level {
    List(ListArray),
    LargeList(LargeListArray),
    Fixed(FixedSizeListArray),
}

impl Level {
    fn of(array: &ArrayRef) -> Option<Level> {
        Some(match array.data_type() {
            DataType::List(_) => Level::List(array.as_list::<i32>().clone()),
            DataType::LargeList(_) => Level::LargeList(array.as_list::<i64>().clone()),
            DataType::FixedSizeList(_, _) => Level::Fixed(array.as_fixed_size_list().clone()),
            _ => return None,
        })
    }

    fn values(&self) -> &ArrayRef {
        match self {
            Level::List(list) => list.values(),
            Level::LargeList(list) => list.values(),
            Level::Fixed(list) => list.values(),
        }
    }

    /// Where the items of `row` lie in the values.
    fn items(&self, row: usize) -> Range<usize> {
        match self {
            Level::List(list) if list.is_valid(row) => {
                list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
            }
            Level::LargeList(list) if list.is_valid(row) => {
                list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
            }
            Level::Fixed(list) if list.is_valid(row) => {
                let len = list.value_length() as usize;
                row * len..(row + 1) * len
            }
            _ => 0..0,
        }
    }

    /// How long the dimension is, where it holds `rows`.
    fn longest(&self, rows: &[Option<usize>]) -> usize {
        match self {
            Level::Fixed(list) => list.value_length() as usize,
            _ => rows.iter().flatten().map(|&row| self.items(row).len()).max().unwrap_or(0),
        }
    }
}

fn pad_column(field: &Field, column: &ArrayRef) -> Result<(Field, ArrayRef)> {
    // Where each element of the padded column lies in the level that is looked at; `None` for padding.
    let mut sources: Vec<Option<usize>> = (0..column.len()).map(Some).collect();
    let mut shape = Vec::new();
    let mut level = Level::of(column).expect("a ragged column is a list");
    let mut described = field;
    let values = loop {
        let longest = level.longest(&sources);
        let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
            described.data_type()
        else {
            unreachable!("the field of a list is one")
        };
        length(sources.len().saturating_mul(longest))?;
        let Some(below) = Level::of(level.values()) else {
            shape.extend(shape_of(described, longest));
            break gather(&level, &sources, longest)?;
        };
        shape.push(longest);
        sources = spread(&level, &sources, longest);
        (level, described) = (below, item);
    };
    // Without rows the product of the known dimensions may be beyond all bounds, before that of an unknown one ends it.
    let elements = length(shape.iter().fold(1, |n: usize, &len| n.saturating_mul(len)))?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), values.logical_null_count() > 0));
    let list = FixedSizeListArray::try_new_with_length(item, elements, values, None, column.len())
        .map_err(refused)?;
    let tensor = tensor_field(field.name(), DType::U8, &shape, field.is_nullable());
    let mut metadata = field.metadata().clone();
    metadata.extend(tensor.metadata().iter().map(|(key, value)| (key.clone(), value.clone())));
    let field =
        Field::new(field.name(), list.data_type().clone(), field.is_nullable()).with_metadata(metadata);
    Ok((field, Arc::new(list)))
}

/// The dimensions that the lowest list, `len` long, stands for: a fixed-size list may be a tensor of several.
fn shape_of(field: &Field, len: usize) -> Vec<usize> {
    match (field.data_type(), ColumnKind::of(field)) {
        (DataType::FixedSizeList(item, _), ColumnKind::Tensor { shape, .. })
            if DType::of_arrow(item.data_type()).is_some() =>
        {
            shape.into()
        }
        _ => vec![len],
    }
}

/// One level down: each of `sources` becomes `longest`, its items and then padding.
fn spread(level: &Level, sources: &[Option<usize>], longest: usize) -> Vec<Option<usize>> {
    let mut below = Vec::with_capacity(sources.len() * longest);
    for source in sources {
        let items = source.map_or(0..0, |row| level.items(row));
        let padding = longest - items.len();
        below.extend(items.map(Some));
        below.extend(std::iter::repeat_n(None, padding));
    }
    below
}

/// The values at the bottom: `longest` for each of `sources`, its items and then zeros.
fn gather(level: &Level, sources: &[Option<usize>], longest: usize) -> Result<ArrayRef> {
    let values = level.values().to_data();
    let simple = values.data_type().primitive_width().is_some();
    let chunk = if simple { longest.clamp(1, ZEROS) } else { 1 };
    let zeros = zeros(values.data_type(), chunk)?;
    let mut padded =
        MutableArrayData::try_new(vec![&values, &zeros], false, sources.len() * longest).map_err(refused)?;
    for source in sources {
        let items = source.map_or(0..0, |row| level.items(row));
        let mut padding = longest - items.len();
        padded.try_extend(0, items.start, items.end).map_err(refused)?;
        while padding > 0 {
            padded.try_extend(1, 0, padding.min(chunk)).map_err(refused)?;
            padding -= padding.min(chunk);
        }
    }
    Ok(make_array(padded.freeze()))
}

/// Whether [`zeros`] can be made of this type.
fn has_zero(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|field| has_zero(field.data_type())),
        DataType::FixedSizeList(item, _) => has_zero(item.data_type()),
        DataType::Dictionary(_, value) => has_zero(value),
        DataType::Union(_, _)
        | DataType::RunEndEncoded(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        _ => true,
    }
}

/// `len` values of this type that are zero in all their parts.
fn zeros(data_type: &DataType, len: usize) -> Result<ArrayData> {
    // Nothing but the mark of a null tells it from a zero, or from text without letters; except in what has parts.
    let zeros = ArrayData::new_null(data_type, len).into_builder().nulls(None);
    let zeros = match data_type {
        DataType::Struct(fields) => {
            let parts: Result<_> = fields.iter().map(|field| self::zeros(field.data_type(), len)).collect();
            zeros.child_data(parts?)
        }
        DataType::FixedSizeList(item, n) => {
            zeros.child_data(vec![self::zeros(item.data_type(), len * *n as usize)?])
        }
        DataType::Dictionary(_, value) => zeros.child_data(vec![self::zeros(value, 1)?]),
        _ => zeros,
    };
    zeros.build().map_err(refused)
}

/// A number of elements, as arrow counts them.
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

#[cfg(test)]
mod tests;
