//! Small tables, and threads that fill and empty queues of them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch,
    RecordBatchOptions, StringArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema, SchemaRef};
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::{DType, ErrorKind, Result, tensor_field};

/// A table of these columns, which have no nulls.
pub fn table<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, false))).unwrap()
}

/// A row without columns.
pub fn nothing() -> RecordBatch {
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one).unwrap()
}

/// Columns of these names and types, without nulls.
pub fn schema<const N: usize>(columns: [(&str, DataType); N]) -> SchemaRef {
    Arc::new(Schema::new(columns.map(|(name, data_type)| Field::new(name, data_type, false)).to_vec()))
}

/// Rows of one number, called `x`.
pub fn numbers(values: impl IntoIterator<Item = f32>) -> RecordBatch {
    table([("x", Arc::new(Float32Array::from_iter_values(values)))])
}

/// Rows of a number `x` and another, `n`.
pub fn pairs(values: impl IntoIterator<Item = (f32, i32)>) -> RecordBatch {
    let (floats, ints): (Vec<f32>, Vec<i32>) = values.into_iter().unzip();
    table([("x", Arc::new(Float32Array::from(floats))), ("n", Arc::new(Int32Array::from(ints)))])
}

/// Lists of these numbers, of any length.
pub fn lists(rows: &[&[i32]]) -> ArrayRef {
    let rows = rows.iter().map(|row| Some(row.iter().copied().map(Some)));
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
}

/// These texts.
pub fn texts<const N: usize>(texts: [&str; N]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

/// Tensors of one shape, their numbers counted on from `first`.
pub fn tensors(name: &str, num_rows: usize, shape: &[usize], first: i32) -> RecordBatch {
    let field = tensor_field(name, DType::I32, shape, false);
    let DataType::FixedSizeList(item, len) = field.data_type() else { panic!("{field}") };
    let values = Int32Array::from_iter_values(first..first + num_rows as i32 * len);
    let list = FixedSizeListArray::new(item.clone(), *len, Arc::new(values), None);
    let schema = Schema::new(vec![field.clone()]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(list)]).unwrap()
}

/// The numbers in the column `x`.
pub fn x(rows: &RecordBatch) -> Vec<f32> {
    rows.column_by_name("x").unwrap().as_primitive::<Float32Type>().values().to_vec()
}

/// The rows of `x` and `n`.
pub fn x_and_n(rows: &RecordBatch) -> Vec<(f32, i32)> {
    let n = rows.column_by_name("n").unwrap().as_primitive::<Int32Type>().values().to_vec();
    x(rows).into_iter().zip(n).collect()
}

/// The number `x` of one row.
pub fn one(row: Result<RecordBatch>) -> f32 {
    let row = row.unwrap();
    assert_eq!(row.num_rows(), 1);
    x(&row)[0]
}

/// A queue of rows of a number `x`, which it knows from the beginning.
pub fn number_queue(kind: RowQueueKind, capacity: usize) -> RowQueue {
    let schema = schema([("x", DataType::Float32)]);
    RowQueue::options(kind).capacity(capacity).schema(schema).open().unwrap()
}

/// The kind of the error, which says `words`.
pub fn kind_of<T>(result: Result<T>, words: &str) -> ErrorKind {
    let error = result.err().expect("an error");
    assert!(error.message().contains(words), "{words:?} is not in {error}");
    error.kind()
}

/// Runs `op` in `count` threads.
pub fn spawn<T: Send + 'static>(
    count: usize,
    op: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Vec<JoinHandle<T>> {
    let op = Arc::new(op);
    (0..count)
        .map(|number| {
            let op = op.clone();
            thread::spawn(move || op(number))
        })
        .collect()
}

/// What the threads return; a panic in one of them is one here.
pub fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("a thread that does not panic")).collect()
}

/// The numbers in their order of size.
pub fn sorted(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_by(f32::total_cmp);
    values
}

/// Waits until `holds` is true, which another thread makes it.
pub fn until(holds: impl Fn() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

/// Lets `blocked` begin in a thread of its own and then does `end` to the queue, for many moments of the end, until one of
/// those was after the call had begun to wait: it returned what `waited` is true for, not what a call after the end
/// returns, which `late` is true for.
pub fn until_it_waited<T: Send + 'static>(
    make: impl Fn() -> RowQueue,
    blocked: impl Fn(&RowQueue) -> T + Send + Sync + 'static,
    end: impl Fn(&RowQueue),
    waited: impl Fn(&T) -> bool,
    late: impl Fn(&T) -> bool,
) -> (RowQueue, T) {
    let blocked = Arc::new(blocked);
    for yields in 0..10_000 {
        let queue = make();
        let (call, handle) = (blocked.clone(), queue.clone());
        let thread = thread::spawn(move || call(&handle));
        (0..yields).for_each(|_| thread::yield_now());
        end(&queue);
        let returned = thread.join().unwrap();
        if waited(&returned) {
            return (queue, returned);
        }
        assert!(late(&returned), "neither what a call returns that waited nor one that came late");
    }
    panic!("no call was seen to wait");
}
