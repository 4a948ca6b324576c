//! Rows of Arrow tables, one by one.
#![forbid(unsafe_code)]

use std::collections::HashMap;
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

/// Whether `b` comes right after `a` in one table.
fn follows(a: &Row, b: &Row) -> bool {
    Arc::ptr_eq(&a.batch, &b.batch) && a.index + 1 == b.index
}

/// `rows`, all of which have the columns of `schema`, as one table.
///
/// Rows that follow one another in one table are not copied; of others every value is copied once.
///
/// # Errors
///
/// `Unsupported` if together they are more than the types of the columns can hold: 2 GiB of text with 32-bit offsets.
pub(super) fn assemble(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let Some(first) = rows.first() else { return Ok(RecordBatch::new_empty(schema.clone())) };
    let num_runs = rows.chunk_by(follows).count();
    if num_runs == 1 {
        return Ok(first.batch.slice(first.index, rows.len()));
    }
    // Rows without columns are a number of rows, which only this way keeps.
    let assembled = if num_runs * 4 <= rows.len() || schema.fields().is_empty() {
        let runs = rows.chunk_by(follows);
        let slices: Vec<_> = runs.map(|run| run[0].batch.slice(run[0].index, run.len())).collect();
        concat_batches(schema, &slices)
    } else {
        let mut numbers = HashMap::new();
        let (mut tables, mut indices) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            let table = *numbers.entry(Arc::as_ptr(&row.batch)).or_insert_with(|| {
                tables.push(&*row.batch);
                tables.len() - 1
            });
            indices.push((table, row.index));
        }
        interleave_record_batch(&tables, &indices)
    };
    assembled.map_err(refused)
}

fn refused(error: ArrowError) -> Error {
    Error::new(ErrorKind::Unsupported, format!("arrow cannot put these rows into one table: {error}"))
        .with_source(error)
}

#[cfg(test)]
mod tests;
