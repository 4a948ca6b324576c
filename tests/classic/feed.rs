//! Rows for the batchers to collect, and the four forms of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Builder, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray,
};
use arrow::datatypes::{Float32Type, Int64Type};
use forebay::coordinator::{
    Batcher, Keep, RowSource, batch, batch_join, maybe_batch, maybe_batch_join, maybe_shuffle_batch,
    maybe_shuffle_batch_join, shuffle_batch, shuffle_batch_join,
};
use forebay::{Error, ErrorKind, Result};

/// Counts from 0 up to `limit`, then is at its end; from any number of threads.
pub fn counter(limit: i64) -> impl Fn() -> Result<i64> + Send + Sync {
    let next = AtomicI64::new(0);
    move || {
        let up = |n| (n < limit).then_some(n + 1);
        let end = |n| Error::new(ErrorKind::OutOfRange, format!("reached {n}"));
        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).map_err(end)
    }
}

pub fn table(columns: impl IntoIterator<Item = (&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

pub fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// The integers of the column `name`.
pub fn ints_of(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

/// The text of the column `name`.
pub fn texts_of(batch: &RecordBatch, name: &str) -> Vec<String> {
    let texts = batch.column_by_name(name).unwrap().as_string::<i32>();
    texts.iter().map(|text| text.unwrap().to_owned()).collect()
}

/// A sparse tensor: the coordinates of its values, and the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    pub at: Vec<Vec<i64>>,
    pub values: Vec<f32>,
}

impl Sparse {
    /// Of one dimension.
    pub fn vector(at: &[i64], values: &[f32]) -> Self {
        Sparse { at: at.iter().map(|&at| vec![at]).collect(), values: values.to_vec() }
    }

    /// The two list columns of such tensors, one a row. Coordinates are lists, whose length is the rank that nobody declares.
    pub fn columns(rows: &[Sparse]) -> [(&'static str, ArrayRef); 2] {
        let mut at = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
        let mut values = ListBuilder::new(Float32Builder::new());
        for row in rows {
            for coordinates in &row.at {
                at.values().values().append_slice(coordinates);
                at.values().append(true);
            }
            at.append(true);
            values.values().append_slice(&row.values);
            values.append(true);
        }
        [("indices", Arc::new(at.finish())), ("values", Arc::new(values.finish()))]
    }

    /// What [`columns`](Self::columns) made columns of.
    pub fn of(batch: &RecordBatch) -> Vec<Sparse> {
        let at = batch.column_by_name("indices").unwrap().as_list::<i32>();
        let values = batch.column_by_name("values").unwrap().as_list::<i32>();
        let row = |row: usize| {
            let (at, values) = (at.value(row), values.value(row));
            let coordinates = |list: ArrayRef| list.as_primitive::<Int64Type>().values().to_vec();
            Sparse {
                at: (0..at.len()).map(|i| coordinates(at.as_list::<i32>().value(i))).collect(),
                values: values.as_primitive::<Float32Type>().values().to_vec(),
            }
        };
        (0..batch.num_rows()).map(row).collect()
    }
}

/// The example most cases use: a number, a sparse tensor of one value that is the number, and a text.
pub fn example(n: i64) -> RecordBatch {
    let [indices, values] = Sparse::columns(&[Sparse { at: vec![vec![0, 0]], values: vec![n as f32] }]);
    table([("counter", ints([n])), indices, values, ("string", texts(["string"]))])
}

/// That the rows of `batch` are the examples of `numbers`.
#[track_caller]
pub fn assert_examples(batch: &RecordBatch, numbers: &[i64]) {
    assert_eq!(ints_of(batch, "counter"), numbers);
    let sparse = |&n: &i64| Sparse { at: vec![vec![0, 0]], values: vec![n as f32] };
    assert_eq!(Sparse::of(batch), numbers.iter().map(sparse).collect::<Vec<_>>());
    assert_eq!(texts_of(batch, "string"), vec!["string"; numbers.len()]);
}

/// The four ways to collect rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Batch,
    BatchJoin,
    ShuffleBatch,
    ShuffleBatchJoin,
}

impl Form {
    pub fn shuffles(self) -> bool {
        matches!(self, Form::ShuffleBatch | Form::ShuffleBatchJoin)
    }

    /// Collects what `threads` threads take from `source`.
    pub fn of(
        self,
        threads: usize,
        source: impl Fn() -> Result<RecordBatch> + Send + Sync + 'static,
    ) -> Batcher {
        let source = Arc::new(source);
        let sources = (0..threads).map(|_| {
            let source = source.clone();
            Box::new(move || source()) as RowSource
        });
        match self {
            Form::BatchJoin => batch_join(sources),
            Form::ShuffleBatchJoin => shuffle_batch_join(sources),
            Form::Batch => batch(move || source()).num_threads(threads),
            Form::ShuffleBatch => shuffle_batch(move || source()).num_threads(threads),
        }
    }

    /// Collects what `threads` threads take from `source`, of the rows it says are to be kept.
    pub fn maybe<K: Into<Keep> + 'static>(
        self,
        threads: usize,
        source: impl Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
    ) -> Batcher {
        let source = Arc::new(source);
        let sources = (0..threads).map(|_| {
            let source = source.clone();
            move || source()
        });
        match self {
            Form::BatchJoin => maybe_batch_join(sources),
            Form::ShuffleBatchJoin => maybe_shuffle_batch_join(sources),
            Form::Batch => maybe_batch(move || source()).num_threads(threads),
            Form::ShuffleBatch => maybe_shuffle_batch(move || source()).num_threads(threads),
        }
    }
}
