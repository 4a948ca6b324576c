//! Promise: all rows of a queue have its columns; what has others is refused, in words that name both; and of the rows that go
//! in, from any thread, none is lost or doubled. `FOREBAY_QUEUE_ELEMENTS` says how many rows go through each kind of queue.

#[path = "common/threads.rs"]
mod threads;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int32Array, Int64Array, LargeListArray, ListArray,
    RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::queue::FifoQueue;
use forebay::{DType, ErrorKind, Result, TensorColumns, tensor_field};
use proptest::prelude::*;
use threads::{Way, comes_out_once};

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn table<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, false))).unwrap()
}

fn column(field: Field, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
}

fn queue_like(kind: RowQueueKind, rows: &RecordBatch) -> RowQueue {
    RowQueue::options(kind).capacity(100).schema(rows.schema()).open().unwrap()
}

/// That `rows` are not taken, because of what they are; with these words.
fn refused(queue: &RowQueue, rows: &RecordBatch, words: &str) {
    let (before, error) = (queue.size(), queue.enqueue_many(rows).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains(words), "{words:?} is not in {error}");
    assert_eq!(queue.size(), before);
}

#[test]
fn columns_in_another_order_are_put_in_that_of_the_queue() {
    let rows = table([("a", ints(&[1, 2])), ("b", texts(&["x", "y"]))]);
    let queue = queue_like(RowQueueKind::Fifo, &rows);
    queue.enqueue_many(&rows).unwrap();
    queue.enqueue_many(&table([("b", texts(&["x", "y"])), ("a", ints(&[1, 2]))])).unwrap();
    assert_eq!(queue.dequeue_many(2).unwrap(), rows);
    assert_eq!(queue.dequeue_many(2).unwrap(), rows);
}

#[test]
fn missing_further_and_other_columns_are_refused_by_name() {
    let queue = queue_like(RowQueueKind::Fifo, &table([("a", ints(&[])), ("b", texts(&[]))]));
    let expected = "expected rows of the columns a: non-null Int32, b: non-null Utf8, found ";
    for (rows, found) in [
        (table([("a", ints(&[1]))]), "a: non-null Int32"),
        (table([("a", ints(&[1])), ("c", texts(&["x"]))]), "a: non-null Int32, c: non-null Utf8"),
        (table([("a", ints(&[1])), ("b", ints(&[2]))]), "a: non-null Int32, b: non-null Int32"),
        (
            table([("a", ints(&[1])), ("b", texts(&["x"])), ("c", ints(&[1]))]),
            "a: non-null Int32, b: non-null Utf8, c: non-null Int32",
        ),
    ] {
        refused(&queue, &rows, &format!("{expected}{found}"));
    }
    // Without a schema the first rows say what the columns are.
    let queue = RowQueue::options(RowQueueKind::Fifo).open().unwrap();
    queue.enqueue(&table([("a", ints(&[1]))])).unwrap();
    refused(&queue, &table([("b", ints(&[1]))]), "expected rows of the columns a: non-null Int32, found b: ");
}

#[test]
fn one_row_is_one_row() {
    let queue = queue_like(RowQueueKind::Fifo, &table([("a", ints(&[]))]));
    for rows in [ints(&[]), ints(&[1, 2])] {
        let error = queue.enqueue(&table([("a", rows)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("expected a table of one row, found "));
    }
}

#[test]
fn nulls_are_taken_where_the_queue_has_some() {
    let nulls: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let nulls = RecordBatch::try_from_iter([("a", nulls)]).unwrap();
    let queue = queue_like(RowQueueKind::Fifo, &table([("a", ints(&[]))]));
    refused(&queue, &nulls, "column 'a': expected no null, found 1");
    // Declared nullable, and yet without a null.
    queue.enqueue_many(&nulls.slice(0, 1)).unwrap();
    assert_eq!(queue.dequeue().unwrap(), table([("a", ints(&[1]))]));

    let queue = queue_like(RowQueueKind::Fifo, &nulls);
    queue.enqueue_many(&table([("a", ints(&[1]))])).unwrap();
    let untyped: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
    queue.enqueue_many(&RecordBatch::try_from_iter([("a", untyped)]).unwrap()).unwrap();
    assert_eq!(queue.dequeue_many(2).unwrap(), nulls);
}

/// Every kind of list, with items called `item`, of two numbers a row.
fn all_lists(item: &str, values: &[i32]) -> RecordBatch {
    let rows = values.len() / 2;
    let field = |data_type: &DataType| Arc::new(Field::new(item, data_type.clone(), true));
    let offsets32 = || OffsetBuffer::from_lengths(std::iter::repeat_n(2, rows));
    let list: ArrayRef = Arc::new(ListArray::new(field(&DataType::Int32), offsets32(), ints(values), None));
    let offsets64 = OffsetBuffer::from_lengths(std::iter::repeat_n(2, rows));
    let large: ArrayRef =
        Arc::new(LargeListArray::new(field(&DataType::Int32), offsets64, ints(values), None));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(field(&DataType::Int32), 2, ints(values), None));
    let fields = Fields::from(vec![Field::new("list", list.data_type().clone(), false)]);
    let parts: ArrayRef = Arc::new(StructArray::new(fields, vec![list.clone()], None));
    let one_each = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
    let lists: ArrayRef = Arc::new(ListArray::new(field(list.data_type()), one_each, list.clone(), None));
    table([("list", list), ("large", large), ("fixed", fixed), ("parts", parts), ("lists", lists)])
}

/// Arrow puts no rows into one table whose types differ in that.
#[test]
fn what_the_items_of_a_list_are_called_does_not_matter() {
    let queue = queue_like(RowQueueKind::Fifo, &all_lists("item", &[]));
    queue.enqueue_many(&all_lists("item", &[1, 2, 3, 4])).unwrap();
    queue.enqueue_many(&all_lists("element", &[5, 6, 7, 8])).unwrap();
    queue.enqueue_many(&all_lists("element", &[0; 6]).slice(1, 1)).unwrap();
    assert_eq!(queue.dequeue_many(5).unwrap(), all_lists("item", &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0]));
}

#[test]
fn lists_without_nulls_may_be_declared_with_and_without() {
    let list = |nullable, values: ArrayRef| {
        let item = Arc::new(Field::new("item", DataType::Int32, nullable));
        let lengths = OffsetBuffer::from_lengths([values.len()]);
        table([("a", Arc::new(ListArray::new(item, lengths, values, None)) as ArrayRef)])
    };
    for (ours, theirs) in [(false, true), (true, false)] {
        let queue = queue_like(RowQueueKind::Fifo, &list(ours, ints(&[])));
        queue.enqueue(&list(theirs, ints(&[1, 2]))).unwrap();
        assert_eq!(queue.dequeue_many(1).unwrap(), list(ours, ints(&[1, 2])));
    }
    let null: ArrayRef = Arc::new(Int32Array::from(vec![None]));
    let queue = queue_like(RowQueueKind::Fifo, &list(false, ints(&[])));
    refused(&queue, &list(true, null), "a: non-null List(non-null Int32), found a: non-null List(Int32)");
}

/// Their types are the same but for the names: taken as they lie, `x` would be `y`.
#[test]
fn parts_of_a_struct_in_another_order_are_refused() {
    let point = |names: [&str; 2]| {
        let fields: Vec<_> = names.map(|name| Field::new(name, DataType::Int32, false)).to_vec();
        let parts = StructArray::new(fields.into(), vec![ints(&[1]), ints(&[2])], None);
        table([("point", Arc::new(parts) as ArrayRef)])
    };
    let queue = queue_like(RowQueueKind::Fifo, &point(["x", "y"]));
    queue.enqueue(&point(["x", "y"])).unwrap();
    refused(&queue, &point(["y", "x"]), "expected rows of the columns point: ");
}

/// As flat lists they are the same.
#[test]
fn tensors_of_another_shape_are_refused() {
    let tensor = |shape: &[usize]| {
        let field = tensor_field("t", DType::I32, shape, false);
        let DataType::FixedSizeList(item, 6) = field.data_type() else { panic!("{field}") };
        let values = FixedSizeListArray::new(item.clone(), 6, ints(&[1, 2, 3, 4, 5, 6]), None);
        column(field, Arc::new(values))
    };
    let queue = queue_like(RowQueueKind::PaddingFifo, &tensor(&[2, 3]));
    refused(&queue, &tensor(&[3, 2]), "of shape [2, 3], found t: ");
    refused(&queue, &tensor(&[6]), "of shape [2, 3], found t: ");
    queue.enqueue(&tensor(&[2, 3])).unwrap();
    assert_eq!(queue.dequeue_many(1).unwrap().tensor::<i32>("t").unwrap().shape(), [1, 2, 3]);

    let lists = |shape: &[usize]| {
        let tensors = tensor(shape);
        let item = Arc::new(tensors.schema().field(0).clone());
        let list = ListArray::new(item, OffsetBuffer::from_lengths([1]), tensors.column(0).clone(), None);
        table([("l", Arc::new(list) as ArrayRef)])
    };
    let queue = queue_like(RowQueueKind::PaddingFifo, &lists(&[2, 3]));
    refused(&queue, &lists(&[3, 2]), "expected rows of the columns l: ");
    queue.enqueue(&lists(&[2, 3])).unwrap();
    assert_eq!(queue.dequeue_many(1).unwrap().tensor::<i32>("l").unwrap().shape(), [1, 1, 2, 3]);
}

#[test]
fn columns_of_one_name_keep_their_order() {
    let twice = |metadata: &str| {
        let field = || Field::new("a", DataType::Int32, false);
        let metadata = HashMap::from([("from".to_owned(), metadata.to_owned())]);
        let schema = Schema::new_with_metadata(vec![field(), field()], metadata);
        RecordBatch::try_new(Arc::new(schema), vec![ints(&[1]), ints(&[2])]).unwrap()
    };
    let queue = queue_like(RowQueueKind::Fifo, &twice("here"));
    queue.enqueue(&twice("there")).unwrap();
    assert_eq!(queue.dequeue().unwrap(), twice("here"));

    let abb = table([("a", ints(&[1])), ("b", ints(&[2])), ("b", ints(&[3]))]);
    let queue = queue_like(RowQueueKind::Fifo, &abb);
    refused(&queue, &table([("b", ints(&[2])), ("b", ints(&[3])), ("a", ints(&[1]))]), "found b: ");
    refused(&queue, &table([("b", ints(&[2])), ("c", ints(&[3])), ("a", ints(&[1]))]), "found b: ");
    let abc = table([("a", ints(&[1])), ("b", ints(&[2])), ("c", ints(&[3]))]);
    let queue = queue_like(RowQueueKind::Fifo, &abc);
    refused(&queue, &table([("b", ints(&[2])), ("b", ints(&[3])), ("a", ints(&[1]))]), "found b: ");
}

#[test]
fn rows_without_columns_are_counted() {
    let none = |rows| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
    };
    for kind in [RowQueueKind::Fifo, RowQueueKind::PaddingFifo] {
        let queue = queue_like(kind, &none(0));
        queue.enqueue_many(&none(3)).unwrap();
        queue.enqueue_many(&none(2)).unwrap();
        assert_eq!(queue.dequeue_many(4).unwrap().num_rows(), 4);
        assert_eq!(queue.dequeue().unwrap().num_rows(), 1);
        refused(&queue, &table([("a", ints(&[1]))]), "expected rows of the columns none, found a: ");
    }
}

/// Refused only when they are taken, they would be lost.
#[test]
fn lists_that_cannot_be_padded_are_refused_when_they_are_put_in() {
    let runs = arrow::array::Int32RunArray::from_iter([Some("a"), Some("a")]);
    let item = Arc::new(Field::new("item", runs.data_type().clone(), true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([2]), Arc::new(runs), None);
    let rows = table([("words", Arc::new(list) as ArrayRef)]);
    let options = RowQueue::options(RowQueueKind::PaddingFifo);
    let error = options.clone().schema(rows.schema()).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let queue = options.open().unwrap();
    assert_eq!(queue.enqueue(&rows).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!((queue.size(), queue.schema()), (0, None));
    // Other queues have nothing against them.
    let queue = queue_like(RowQueueKind::Fifo, &rows);
    queue.enqueue(&rows).unwrap();
    assert_eq!(queue.dequeue_many(1).unwrap(), rows);
}

#[test]
fn dates_and_bytes_in_lists_are_padded() {
    let days: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![1, 2, 3]));
    let keys = [[1u8, 2], [3, 4], [5, 6]];
    let keys: ArrayRef =
        Arc::new(arrow::array::FixedSizeBinaryArray::try_from_iter(keys.into_iter()).unwrap());
    let lists = [days, keys].map(|values| -> ArrayRef {
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 2]), values, None))
    });
    let [days, keys] = lists;
    let queue = RowQueue::options(RowQueueKind::PaddingFifo).open().unwrap();
    queue.enqueue_many(&table([("days", days), ("keys", keys)])).unwrap();
    let batch = queue.dequeue_many(2).unwrap();
    let days = batch.column(0).as_fixed_size_list();
    assert_eq!(days.values().as_ref(), &arrow::array::Date32Array::from(vec![1, 0, 2, 3]) as &dyn Array);
    let keys = batch.column(1).as_fixed_size_list().values().as_fixed_size_binary();
    assert!(keys.iter().flatten().eq([[1u8, 2], [0, 0], [3, 4], [5, 6]]));
}

#[test]
fn a_queue_that_is_shared_by_name_is_attached_to_by_name_alone() {
    let queue = RowQueue::options(RowQueueKind::Fifo).shared_name("attached").open().unwrap();
    queue.enqueue(&table([("a", ints(&[7]))])).unwrap();
    assert_eq!(RowQueue::attach("attached").unwrap().dequeue().unwrap(), table([("a", ints(&[7]))]));
    drop(queue);
    let error = RowQueue::attach("attached").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("no shared queue is named 'attached'"), "{error}");

    let _numbers = FifoQueue::<u8>::shared("numbers, not rows", Some(3)).unwrap();
    let error = RowQueue::attach("numbers, not rows").unwrap_err();
    assert!(error.message().contains("to be one of rows, found a FIFO queue, element type u8"), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn options_are_checked_when_the_queue_is_opened() {
    let shuffled = |min_after_dequeue| RowQueueKind::RandomShuffle { min_after_dequeue, seed: None };
    for (options, words) in [
        (RowQueue::options(RowQueueKind::Fifo).capacity(0), "0"),
        (RowQueue::options(RowQueueKind::Priority).capacity(0), "0"),
        (RowQueue::options(shuffled(10)).capacity(10), "10"),
        (RowQueue::options(shuffled(0)).unbounded(), "found none"),
    ] {
        let error = options.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let boundless = RowQueue::options(RowQueueKind::Priority).unbounded().open().unwrap();
    assert_eq!(boundless.capacity(), None);
    let huge = RowQueue::options(RowQueueKind::Fifo).capacity(usize::MAX).open().unwrap_err();
    assert_eq!(huge.kind(), ErrorKind::TooLarge);
}

#[test]
fn waiting_for_a_row_ends_in_time() {
    for kind in [RowQueueKind::Fifo, RowQueueKind::Priority] {
        let rows = table([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        let queue = queue_like(kind, &rows);
        let within =
            |queue: &RowQueue| -> Result<RecordBatch> { queue.dequeue_within(Duration::from_millis(5)) };
        assert_eq!(within(&queue).unwrap_err().kind(), ErrorKind::Timeout);
        queue.enqueue(&rows).unwrap();
        assert_eq!(within(&queue).unwrap(), rows);
        queue.cancel();
        assert!(queue.is_closed());
        assert_eq!(within(&queue).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

/// Rows of a number, and of a list that holds the number up to three times.
fn numbers(range: Range<i64>) -> RecordBatch {
    let lists = range.clone().map(|n| Some((0..n % 4).map(move |_| Some(n))));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    table([("n", Arc::new(Int64Array::from_iter_values(range)) as ArrayRef), ("list", lists)])
}

/// Gives every number of `rows` to `each`, after a look at its list: where lists were padded, zeros follow its own items.
fn look_at(rows: &RecordBatch, mut each: impl FnMut(i64)) {
    let padded = rows["list"].as_fixed_size_list_opt();
    for (row, &n) in rows["n"].as_primitive::<Int64Type>().values().iter().enumerate() {
        let items = padded.map_or_else(|| rows["list"].as_list::<i32>().value(row), |lists| lists.value(row));
        let (own, padding) = items.as_primitive::<Int64Type>().values().split_at((n % 4) as usize);
        assert!(own.iter().all(|&item| item == n) && padding.iter().all(|&item| item == 0));
        assert!(padded.is_some() || padding.is_empty());
        each(n);
    }
}

#[test]
fn every_row_that_goes_in_comes_out_once() {
    let kinds = [
        RowQueueKind::Fifo,
        RowQueueKind::PaddingFifo,
        RowQueueKind::RandomShuffle { min_after_dequeue: 50, seed: None },
        RowQueueKind::Priority,
    ];
    for kind in kinds {
        let queue = queue_like(kind, &numbers(0..1));
        comes_out_once(
            &format!("{kind:?}"),
            queue.clone(),
            |queue, mine, at_once| {
                for start in mine.clone().step_by(1000) {
                    let chunk = numbers(start as i64..mine.end.min(start + 1000) as i64);
                    for row in (0..chunk.num_rows()).step_by(at_once) {
                        let rows = chunk.slice(row, at_once.min(chunk.num_rows() - row));
                        queue.enqueue_many(&rows).unwrap();
                    }
                }
            },
            |queue, way, tally| {
                let (rows, is_batch) = match way {
                    Way::UpTo(n) => (queue.dequeue_up_to(n)?, true),
                    Way::Many(n) => (queue.dequeue_many(n)?, true),
                    Way::One => (queue.dequeue()?, false),
                };
                let is_padded = is_batch && queue.kind() == RowQueueKind::PaddingFifo;
                assert_eq!(rows["list"].as_fixed_size_list_opt().is_some(), is_padded);
                look_at(&rows, |n| tally.add(n as u64));
                Ok(rows.num_rows())
            },
            |queue| queue.close(false),
        );
        assert_eq!(queue.size(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A queue by priority gives what a stable sort of all rows gives, however they are put in and taken.
    #[test]
    fn rows_by_priority_are_sorted_stably(
        tables in prop::collection::vec(prop::collection::vec(-3i64..3, 0..6), 1..8),
        sizes in prop::collection::vec(1..6usize, 1..30),
    ) {
        let mut number = 0;
        let tables: Vec<RecordBatch> = tables.iter().map(|priorities| {
            let numbers = Int64Array::from_iter_values(number..number + priorities.len() as i64);
            number += priorities.len() as i64;
            let priorities: ArrayRef = Arc::new(Int64Array::from(priorities.clone()));
            table([("priority", priorities), ("number", Arc::new(numbers))])
        }).collect();
        let queue = queue_like(RowQueueKind::Priority, &tables[0]);
        for rows in &tables {
            queue.enqueue_many(rows).unwrap();
        }
        queue.close(false);
        let mut taken = Vec::new();
        for size in sizes.iter().cycle() {
            match queue.dequeue_up_to(*size) {
                Ok(rows) => taken.push(rows),
                Err(end) => {
                    prop_assert_eq!(end.kind(), ErrorKind::OutOfRange);
                    break;
                }
            }
        }
        let pairs = |rows: &RecordBatch| -> Vec<(i64, i64)> {
            let column = |i: usize| rows.column(i).as_primitive::<Int64Type>().values().to_vec();
            column(0).into_iter().zip(column(1)).collect()
        };
        let mut expected = pairs(&concat_batches(&tables[0].schema(), &tables).unwrap());
        expected.sort_by_key(|(priority, _)| *priority);
        let taken: Vec<_> = taken.iter().flat_map(pairs).collect();
        prop_assert_eq!(taken, expected);
    }
}
