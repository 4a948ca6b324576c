//! Rows of Arrow tables, one by one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::error::{Error, ErrorKind, Result};

/// One row of a table: the element of a [`RowQueue`](super::RowQueue).
///
/// It refers to the table it is of, which lives as long as any row of it.
#[derive(Clone, Debug)]
pub struct Row {
    batch: Arc<RecordBatch>,
    index: usize,
}

impl Row {
    /// Every row of `batch`.
    pub fn all(batch: RecordBatch) -> impl ExactSizeIterator<Item = Row> {
        let batch = Arc::new(batch);
        (0..batch.num_rows()).map(move |index| Row { batch: batch.clone(), index })
    }

    /// The row as a table of one row.
    pub fn to_batch(&self) -> RecordBatch {
        self.batch.slice(self.index, 1)
    }

    /// The 64-bit integer in the first column of the row.
    pub(super) fn priority(&self) -> i64 {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        self.batch.column(0).as_primitive::<Int64Type>().value(self.index)
    }
}

/// `rows`, all of which have the columns of `schema`, as one table.
///
/// Rows that follow one another in one table are not copied; of others every value is copied once.
pub(super) fn assemble(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let follows =
        |pair: &[Row]| Arc::ptr_eq(&pair[0].batch, &pair[1].batch) && pair[0].index + 1 == pair[1].index;
    let Some(first) = rows.first() else { return Ok(RecordBatch::new_empty(schema.clone())) };
    if rows.windows(2).all(follows) {
        return Ok(first.batch.slice(first.index, rows.len()));
    }
    let tables = rows.chunk_by(|a, b| Arc::ptr_eq(&a.batch, &b.batch));
    let assembled = if rows.chunk_by(|a, b| follows(&[a.clone(), b.clone()])).count() * 4 <= rows.len() {
        let runs = rows.chunk_by(|a, b| follows(&[a.clone(), b.clone()]));
        let slices: Vec<_> = runs.map(|run| run[0].batch.slice(run[0].index, run.len())).collect();
        concat_batches(schema, &slices)
    } else {
        let (mut batches, mut indices) = (Vec::new(), Vec::with_capacity(rows.len()));
        for run in tables {
            indices.extend(run.iter().map(|row| (batches.len(), row.index)));
            batches.push(&*run[0].batch);
        }
        interleave_record_batch(&batches, &indices)
    };
    assembled.map_err(refused)
}

fn refused(error: ArrowError) -> Error {
    Error::new(ErrorKind::Unsupported, format!("arrow cannot put these rows into one table: {error}"))
        .with_source(error)
}
