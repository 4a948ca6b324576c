//! Rows of a dataset without a loader.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Batch, BatchPlan, Col, Gatherer, RowSource, Turn};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::format::Values;
use crate::layout::ColumnKind;
use crate::staging::{SlotPool, Staging};

impl Dataset {
    /// The rows listed, in the order of the list, as an Arrow table.
    ///
    /// Columns of every type are read, those no tensor can hold included.
    ///
    /// ```
    /// use forebay::Dataset;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let squares = Dataset::from_tensor("square", &[], (0..10i64).map(|i| i * i).collect())?;
    /// let some = squares.gather(&[7, 0, 7])?;
    /// assert_eq!(some.column(0).to_data().buffers()[0].typed_data::<i64>(), [49, 0, 49]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a row the dataset does not have; those of
    /// reading it.
    pub fn gather(&self, rows: &[u64]) -> Result<RecordBatch> {
        self.check_rows(rows)?;
        let gathered = self.gather_unchecked(rows);
        // A file that was cut short is the error, whatever its rows looked like.
        self.check()?;
        gathered
    }

    /// As [`gather`](Dataset::gather), before the look at the files.
    fn gather_unchecked(&self, rows: &[u64]) -> Result<RecordBatch> {
        // Columns a kernel can read go through a batch, the others through Arrow's own arrays.
        let other: Vec<_> =
            (0..self.columns().len()).map(|index| self.needs_arrow(index, rows)).collect::<Result<_>>()?;
        let fields = self.schema().fields();
        let read: Vec<_> = (0..fields.len()).filter(|&index| !other[index]).collect();
        let mut gathered = self.gather_columns(&read, rows)?.into_iter();
        let mut arrays = Vec::with_capacity(fields.len());
        for (index, other) in other.into_iter().enumerate() {
            arrays.push(if other {
                self.interleave(index, rows)?
            } else {
                gathered.next().expect("one for each tensor")
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema().clone(), arrays, &options)
            .map_err(|e| Error::malformed(format!("the rows do not fit their schema: {e}")).with_source(e))
    }

    /// Row `row`, as an Arrow table of one row.
    ///
    /// # Errors
    ///
    /// As [`gather`](Dataset::gather).
    pub fn row(&self, row: u64) -> Result<RecordBatch> {
        self.gather(&[row])
    }

    /// `rows` of the columns numbered in `columns`, all of which a kernel can read.
    fn gather_columns(&self, columns: &[usize], rows: &[u64]) -> Result<Vec<ArrayRef>> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let dataset = self.with_distinct_names()?;
        let fields = dataset.schema().fields();
        let columns: Vec<_> = columns.iter().map(|&index| Col::from(fields[index].name())).collect();
        let plan = Arc::new(BatchPlan::new(&dataset, &columns, rows.len().max(1), false)?);
        let pool = SlotPool::new(Staging::Heap, 1, 1, plan.clone());
        let mut gatherer = Gatherer::new(plan);
        let rows = RowSource::List(rows);
        let (batch, _) =
            Batch::gather(&mut gatherer, (&pool, 0), &rows, Turn::default(), None, &mut Vec::new())?;
        Ok(batch.record_batch()?.columns().to_vec())
    }

    /// The same columns, no two of one name: a file may repeat names, a batch may not.
    fn with_distinct_names(&self) -> Result<Dataset> {
        let fields = self.schema().fields();
        let names: HashSet<_> = fields.iter().map(|field| field.name()).collect();
        if names.len() == fields.len() {
            return Ok(self.clone());
        }
        // Renaming takes the first column of a name: those before `index` have new ones by then.
        fields.iter().enumerate().try_fold(self.clone(), |dataset, (index, field)| {
            dataset.rename(field.name(), &format!("column {index}, {}", field.name()))
        })
    }

    /// Whether `rows` of the column `index` can only be read through Arrow's own arrays: by its type, or because
    /// values inside its lists are null.
    fn needs_arrow(&self, index: usize, rows: &[u64]) -> Result<bool> {
        let column = &self.columns()[index];
        let table = &self.tables()[column.table];
        match self.schema().fields()[index].data_type() {
            _ if column.kind == ColumnKind::Other => return Ok(true),
            DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => {}
            _ => return Ok(false),
        }
        let mut rows = rows.to_vec();
        table.rows.map(&mut rows);
        let mut chunks: Vec<_> = rows.into_iter().map(|row| table.directory.locate(row).0).collect();
        chunks.sort_unstable();
        chunks.dedup();
        for chunk in chunks {
            if matches!(table.readable(chunk, column.index)?.values, Values::Array(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `rows` of the column `index`, some of which only Arrow's own arrays hold.
    fn interleave(&self, index: usize, rows: &[u64]) -> Result<ArrayRef> {
        let (field, column) = (&self.schema().fields()[index], &self.columns()[index]);
        let data_type = field.data_type();
        let table = &self.tables()[column.table];
        let mut table_rows = rows.to_vec();
        table.rows.map(&mut table_rows);
        // The first array is of the rows that a kernel can read, where there are any.
        let mut by_kernel = Vec::new();
        let mut arrays = vec![new_empty_array(data_type)];
        let mut numbers = HashMap::new();
        let mut indices = Vec::with_capacity(rows.len());
        for (&row, table_row) in rows.iter().zip(table_rows) {
            let (chunk, in_chunk) = table.directory.locate(table_row);
            let number = match numbers.get(&chunk) {
                Some(&number) => number,
                None => {
                    let number = match &table.readable(chunk, column.index)?.values {
                        Values::Array(array) => {
                            arrays.push(array.clone());
                            arrays.len() - 1
                        }
                        _ => 0,
                    };
                    numbers.insert(chunk, number);
                    number
                }
            };
            if number == 0 {
                indices.push((0, by_kernel.len()));
                by_kernel.push(row);
            } else {
                indices.push((number, in_chunk as usize));
            }
        }
        if !by_kernel.is_empty() {
            arrays[0] = self.gather_columns(&[index], &by_kernel)?.remove(0);
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        let gathered = interleave(&arrays, &indices).and_then(|array| with_type(array, data_type));
        gathered.map_err(|e| {
            let error = Error::unsupported(format!("arrow cannot gather column '{}': {e}", field.name()));
            let error = error.with_source(e);
            match numbers.keys().min() {
                Some(&chunk) => table.chunks[chunk].shard.place(error),
                None => error,
            }
        })
    }
}

/// `array` under its own `data_type`: gathering run-end encoded rows forgets what their fields are called.
fn with_type(array: ArrayRef, data_type: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    array.to_data().into_builder().data_type(data_type.clone()).build().map(make_array)
}
