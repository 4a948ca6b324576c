//! A batch as an Arrow table that shares its memory.
#![forbid(unsafe_code)]

use arrow::array::{ArrayData, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, SchemaRef};

use super::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, Place};

impl Batch {
    /// The columns as Arrow fields.
    pub fn schema(&self) -> &SchemaRef {
        &self.plan().schema
    }

    /// The batch as an Arrow table; padding is left out.
    ///
    /// Values are shared, not copied, but for truth values, which Arrow packs into bits, and for a batch in which bad records
    /// left holes. The slot's memory goes back to
    /// its loader only when every array made here is dropped as well.
    ///
    /// # Errors
    ///
    /// `Internal` if Arrow refuses an array, which would be a bug here.
    pub fn record_batch(&self) -> Result<RecordBatch> {
        let arrays =
            (0..self.plan().num_columns()).map(|number| self.array(number)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.num_rows + self.num_holes));
        let table = RecordBatch::try_new_with_options(self.plan().schema.clone(), arrays, &options);
        match self.mask().filter(|_| self.num_holes > 0) {
            None => table.map_err(refused),
            Some(mask) => {
                let rows = mask[..self.num_rows + self.num_holes].iter().map(|&is_row| Some(is_row == 1));
                let rows = BooleanArray::from_iter(rows);
                table.and_then(|table| filter_record_batch(&table, &rows)).map_err(refused)
            }
        }
    }

    fn array(&self, number: usize) -> Result<ArrayRef> {
        let num_rows = self.num_rows + self.num_holes;
        let field = self.plan().schema.field(number);
        let nulls = self
            .validity(number)
            .map(|mask| NullBuffer::new(BooleanBuffer::collect_bool(num_rows, |row| mask[row] != 0)));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let data = match self.plan().layout.places[number] {
            Place::Dense { row_bytes, .. } => {
                let values = match self.lent(number) {
                    Some(lent) => lent.clone(),
                    None => self.slot.buffer(self.plan().dense_range(number, num_rows, self.slot.bytes())),
                };
                dense(field.data_type(), num_rows, values, row_bytes, nulls)?
            }
            Place::Runs { .. } => {
                let (offsets, wide, items) = self.runs(number);
                let offset_bytes = (num_rows + 1) * if wide { 8 } else { 4 };
                let offsets = self.slot.buffer(offsets.start..offsets.start + offset_bytes);
                let items = match self.lent(number) {
                    Some(lent) => lent.clone(),
                    None if self.plan().pad(number).is_some() => self.without_padding(number, num_rows)?,
                    None => self.slot.buffer(items),
                };
                let item_bytes = items.len();
                let builder = ArrayData::builder(field.data_type().clone())
                    .len(num_rows)
                    .nulls(nulls)
                    .add_buffer(offsets);
                let builder = match (self.plan().kind(number), field.data_type()) {
                    (ColumnKind::Ragged { dtype }, DataType::List(item) | DataType::LargeList(item)) => {
                        builder.add_child_data(primitive(item, item_bytes / dtype.width_bytes(), items)?)
                    }
                    _ => builder.add_buffer(items),
                };
                builder.build().map_err(refused)?
            }
        };
        Ok(make_array(data))
    }
}

impl Batch {
    /// A copy of the items of the first `num_rows` rows of a column that is padded.
    fn without_padding(&self, number: usize, num_rows: usize) -> Result<Buffer> {
        let padded = self.dense_bytes(number);
        let row_bytes = padded.len().checked_div(self.len()).unwrap_or(0);
        let lengths = self.lengths(self.plan().name(number))?;
        let mut items = MutableBuffer::new(padded.len());
        for (row, len) in lengths.into_iter().take(num_rows).enumerate() {
            items.extend_from_slice(&padded[row * row_bytes..][..len * self.plan().item_bytes(number)]);
        }
        Ok(items.into())
    }
}

/// `rows` rows of `data_type` over `values`: a primitive, fixed-size binary, or fixed-size lists of them.
pub(crate) fn dense(
    data_type: &DataType,
    rows: usize,
    values: Buffer,
    row_bytes: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayData> {
    let builder = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls);
    let builder = match data_type {
        DataType::FixedSizeList(item, n) => {
            let n = *n as usize;
            let item_bytes = row_bytes.checked_div(n).unwrap_or(0);
            builder.add_child_data(dense(item.data_type(), rows * n, values, item_bytes, None)?)
        }
        DataType::Boolean => {
            builder.add_buffer(BooleanBuffer::collect_bool(rows, |i| values[i] != 0).into_inner())
        }
        _ => builder.add_buffer(values),
    };
    builder.build().map_err(refused)
}

/// `len` items of the primitive type of `item` over `values`.
pub(crate) fn primitive(item: &Field, len: usize, values: Buffer) -> Result<ArrayData> {
    ArrayData::builder(item.data_type().clone()).len(len).add_buffer(values).build().map_err(refused)
}

/// What Arrow says of an array that was made wrongly here.
pub(crate) fn refused(error: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::Internal, format!("arrow refuses a batch: {error}")).with_source(error)
}
