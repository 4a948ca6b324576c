//! Rows of a dataset without a loader.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use super::{BatchMaker, BatchPlan, BatchPool, Col, RowSource, Turn};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::format::Values;
use crate::layout::{Beside, ColumnKind};
use crate::staging::{SlotMemory, SlotPool};

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
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a row the dataset does not have; those of
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
        let columns = self.schema().fields().iter().map(|field| Col::from(field.name())).enumerate();
        let arrays = RowReader::new(self, columns.collect(), rows.len(), 1)?.gather(rows)?;
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
            let mut reader =
                RowReader::new(self, vec![(index, Col::from(field.name()))], by_kernel.len(), 1)?;
            arrays[0] = reader.by_kernel(&[0], &by_kernel)?.remove(0);
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

/// Reads listed rows of some columns, of every type, and keeps its memory from one call to the next.
pub(crate) struct RowReader {
    /// No two columns of it have one name.
    dataset: Dataset,
    /// The dataset's column of each, and what is asked of it.
    columns: Vec<(usize, Col)>,
    /// As the rows are handed out.
    fields: Vec<FieldRef>,
    /// For each column, what is known of the chunks its rows may lie in; empty for columns that need no such look.
    chunks: Vec<Vec<HeldBy>>,
    batch_size: usize,
    keep_slots: usize,
    kernel: Option<Kernel>,
}

/// What reads the rows of a chunk of lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeldBy {
    Unknown,
    Kernel,
    /// Values inside the lists are null.
    Arrow,
}

/// Batches of the columns, numbered as the reader does, that a kernel reads.
struct Kernel {
    columns: Vec<usize>,
    pool: BatchPool,
    maker: BatchMaker,
}

impl RowReader {
    /// Reads up to `batch_size` rows at a time of `columns`, each the number of a column of `dataset` and what is asked of
    /// it (its name goes by the number). Keeps the memory of up to `keep_slots` batches that were let go.
    ///
    /// # Errors
    ///
    /// Those of [`BatchPlan::new`], except that columns of every type are read as they are.
    pub(crate) fn new(
        dataset: &Dataset,
        mut columns: Vec<(usize, Col)>,
        batch_size: usize,
        keep_slots: usize,
    ) -> Result<Self> {
        let dataset = dataset.with_distinct_names()?;
        let mut fields = Vec::with_capacity(columns.len());
        for (index, col) in &mut columns {
            let field = &dataset.schema().fields()[*index];
            let name = std::mem::replace(&mut col.name, field.name().clone());
            fields.push(if dataset.columns()[*index].kind == ColumnKind::Other {
                if col.cast.is_some() || col.is_arithmetic() || col.fill.is_some() {
                    return Err(Error::invalid(format!(
                        "column '{name}' is of type {}: cast, scale and fill apply to tensors",
                        field.data_type()
                    )));
                }
                Arc::new(field.as_ref().clone().with_name(name))
            } else {
                let plan = BatchPlan::new(&dataset, std::slice::from_ref(col), &[], 1, Beside::default())?;
                Arc::new(plan.columns[0].field.as_ref().clone().with_name(name))
            });
        }
        let chunks = vec![Vec::new(); columns.len()];
        Ok(RowReader {
            dataset,
            columns,
            fields,
            chunks,
            batch_size: batch_size.max(1),
            keep_slots,
            kernel: None,
        })
    }

    /// The columns as they are handed out, under the names they were asked for by.
    pub(crate) fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// The rows listed, which the dataset has; the files are to be looked at afterwards (`Dataset::check`).
    pub(crate) fn gather(&mut self, rows: &[u64]) -> Result<Vec<ArrayRef>> {
        // Columns a kernel can read go through a batch, the others through Arrow's own arrays.
        let mut read = Vec::with_capacity(self.columns.len());
        for number in 0..self.columns.len() {
            if !self.needs_arrow(number, rows)? {
                read.push(number);
            }
        }
        let mut gathered = self.by_kernel(&read, rows)?.into_iter();
        let mut read = read.into_iter().peekable();
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (number, (index, col)) in self.columns.iter().enumerate() {
            arrays.push(if read.next_if_eq(&number).is_some() {
                gathered.next().expect("one for each column read")
            } else if col.cast.is_some() || col.is_arithmetic() || col.fill.is_some() {
                return Err(Error::unsupported(format!(
                    "values inside the lists of column '{}' are null, which no cast or fill can read",
                    self.fields[number].name()
                )));
            } else {
                self.dataset.interleave(*index, rows)?
            });
        }
        Ok(arrays)
    }

    /// `rows` of the columns numbered in `columns`, all of which a kernel can read.
    fn by_kernel(&mut self, columns: &[usize], rows: &[u64]) -> Result<Vec<ArrayRef>> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        if self.kernel.as_ref().is_none_or(|kernel| kernel.columns != columns) {
            let asked: Vec<_> = columns.iter().map(|&number| self.columns[number].1.clone()).collect();
            let plan = BatchPlan::new(&self.dataset, &asked, &[], self.batch_size, Beside::default())?;
            let plan = Arc::new(plan);
            self.kernel = Some(Kernel {
                columns: columns.to_vec(),
                pool: SlotPool::new(SlotMemory::Heap, 1, self.keep_slots, plan.clone()),
                maker: BatchMaker::new(plan),
            });
        }
        let kernel = self.kernel.as_mut().expect("made above");
        let rows = RowSource::List(rows);
        let (batch, _) = kernel.maker.make((&kernel.pool, 0), &rows, Turn::default())?;
        Ok(batch.record_batch()?.columns().to_vec())
    }

    /// Whether `rows` of the column `number` can only be read through Arrow's own arrays: by its type, or because
    /// values inside its lists are null.
    fn needs_arrow(&mut self, number: usize, rows: &[u64]) -> Result<bool> {
        let index = self.columns[number].0;
        let column = &self.dataset.columns()[index];
        match self.dataset.schema().fields()[index].data_type() {
            _ if column.kind == ColumnKind::Other => return Ok(true),
            DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => {}
            _ => return Ok(false),
        }
        let table = &self.dataset.tables()[column.table];
        let (mut rows, mut chunks) = (rows.to_vec(), Vec::with_capacity(rows.len()));
        table.rows.map(&mut rows);
        table.directory.locate_all(&mut rows, &mut chunks);
        let known = &mut self.chunks[number];
        let mut needed = false;
        for chunk in chunks {
            let chunk = chunk as usize;
            if known.len() <= chunk {
                known.resize(chunk + 1, HeldBy::Unknown);
            }
            if known[chunk] == HeldBy::Unknown {
                let values = &table.readable(chunk, column.index)?.values;
                known[chunk] =
                    if matches!(values, Values::Array(_)) { HeldBy::Arrow } else { HeldBy::Kernel };
            }
            needed |= known[chunk] == HeldBy::Arrow;
        }
        Ok(needed)
    }
}

/// `array` under its own `data_type`: gathering run-end encoded rows forgets what their fields are called.
fn with_type(array: ArrayRef, data_type: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    array.to_data().into_builder().data_type(data_type.clone()).build().map(make_array)
}
