//! Rows of a dataset without a loader.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave;
use arrow::datatypes::DataType;

use super::{Batch, BatchPlan, Col, Gatherer, RowSource, Turn};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::format::{Values, to_array};
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
        // Columns a kernel can read go through a batch, the others through Arrow's own arrays.
        let other: Vec<_> =
            (0..self.columns().len()).map(|index| self.needs_arrow(index, rows)).collect::<Result<_>>()?;
        let fields = self.schema().fields();
        let distinct = self.with_distinct_names()?;
        let tensors: Vec<_> = distinct
            .schema()
            .fields()
            .iter()
            .zip(&other)
            .filter(|(_, other)| !**other)
            .map(|(field, _)| Col::from(field.name()))
            .collect();
        let mut gathered = if tensors.is_empty() {
            Vec::new()
        } else {
            let plan = Arc::new(BatchPlan::new(&distinct, &tensors, rows.len().max(1), false)?);
            let pool = SlotPool::new(Staging::Heap, 1, plan.clone());
            let mut gatherer = Gatherer::new(plan);
            let rows = RowSource::List(rows);
            let (batch, _) =
                Batch::gather(&mut gatherer, &pool, &rows, Turn::default(), None, &mut Vec::new())?;
            batch.record_batch()?.columns().to_vec()
        }
        .into_iter();
        let mut arrays = Vec::with_capacity(fields.len());
        for (index, other) in other.into_iter().enumerate() {
            arrays.push(if other {
                self.interleave(index, rows)?
            } else {
                gathered.next().expect("one for each tensor")
            });
        }
        self.check()?;
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

    fn interleave(&self, index: usize, rows: &[u64]) -> Result<ArrayRef> {
        let column = &self.columns()[index];
        let table = &self.tables()[column.table];
        let mut table_rows = rows.to_vec();
        table.rows.map(&mut table_rows);
        let mut chunks: Vec<usize> = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let mut indices = Vec::with_capacity(rows.len());
        for row in table_rows {
            let (chunk, in_chunk) = table.directory.locate(row);
            let number = match chunks.iter().position(|&known| known == chunk) {
                Some(number) => number,
                None => {
                    let piece = table.readable(chunk, column.index)?;
                    arrays.push(to_array(&piece)?);
                    chunks.push(chunk);
                    chunks.len() - 1
                }
            };
            indices.push((number, in_chunk as usize));
        }
        if arrays.is_empty() {
            return Ok(arrow::array::new_empty_array(self.schema().fields()[index].data_type()));
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, &indices)
            .map_err(|e| Error::unsupported(format!("arrow cannot gather this column: {e}")).with_source(e))
    }
}
