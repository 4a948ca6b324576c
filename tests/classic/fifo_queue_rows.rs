//! First in, first out: what its elements are made of.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float16Array, Int32Array, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Float16Type};
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::{ErrorKind, TensorColumns};
use half::f16;

use crate::rows::{kind_of, nothing, numbers, schema, table, tensors, texts};

const FIFO: RowQueueKind = RowQueueKind::Fifo;

fn queue_like(rows: &RecordBatch, capacity: usize) -> RowQueue {
    RowQueue::options(FIFO).capacity(capacity).schema(rows.schema()).open().unwrap()
}

fn halves(values: &[f32]) -> RecordBatch {
    let values = values.iter().map(|&value| f16::from_f32(value));
    table([("x", Arc::new(Float16Array::from_iter_values(values)) as ArrayRef)])
}

/// A matrix of two by two, and one of three by `columns`, a row.
fn matrices(num_rows: usize, columns: usize) -> RecordBatch {
    let a = tensors("a", num_rows, &[2, 2], 0);
    let b = tensors("b", num_rows, &[3, columns], 100);
    let fields = [a.schema().field(0).clone(), b.schema().field(0).clone()];
    let schema = arrow::datatypes::Schema::new(fields.to_vec());
    RecordBatch::try_new(Arc::new(schema), vec![a.column(0).clone(), b.column(0).clone()]).unwrap()
}

/// As `FIFOQueueTest.testConstructor`, of rows.
#[test]
fn constructor() {
    let queue = RowQueue::options(FIFO).capacity(10).open().unwrap();
    assert_eq!((queue.kind(), queue.capacity(), queue.schema()), (FIFO, Some(10), None));
    assert_eq!((queue.size(), queue.is_closed()), (0, false));
    let queue = RowQueue::options(FIFO).unbounded().open().unwrap();
    assert_eq!(queue.capacity(), None);
    let none = RowQueue::options(FIFO).capacity(0).open();
    assert_eq!(kind_of(none, "capacity"), ErrorKind::InvalidArgument);
}

/// As `FIFOQueueTest.testMultiQueueConstructor`, of rows.
#[test]
fn multi_queue_constructor() {
    let declared = schema([("n", DataType::Int32), ("x", DataType::Float32)]);
    let name = "rows of FIFOQueueTest.testMultiQueueConstructor";
    let queue =
        RowQueue::options(FIFO).capacity(5).schema(declared.clone()).shared_name(name).open().unwrap();
    assert_eq!((queue.capacity(), queue.schema()), (Some(5), Some(&declared)));
    let spec = forebay::queue::shared_spec(name).unwrap();
    assert_eq!(spec.get("columns"), Some("n: non-null Int32, x: non-null Float32"));
    assert_eq!(spec.get("capacity"), Some("5"));
}

/// `FIFOQueueTest.testEnqueueHalf`
#[test]
fn enqueue_half() {
    let queue = queue_like(&halves(&[]), 10);
    queue.enqueue(&halves(&[10.0])).unwrap();
    assert_eq!(queue.size(), 1);
}

/// `FIFOQueueTest.testDequeueHalf`
#[test]
fn dequeue_half() {
    let elems = [10.0, 20.0, 30.0];
    let queue = queue_like(&halves(&[]), 10);
    elems.iter().for_each(|&elem| queue.enqueue(&halves(&[elem])).unwrap());
    for elem in elems {
        let row = queue.dequeue().unwrap();
        assert_eq!(row.column(0).as_primitive::<Float16Type>().value(0), f16::from_f32(elem));
    }
}

/// `FIFOQueueTest.testEnqueueManyWithShape`: four rows of several columns are four elements.
#[test]
fn enqueue_many_with_shape() {
    let rows = matrices(4, 3);
    let queue = queue_like(&rows, 10);
    queue.enqueue_many(&rows).unwrap();
    assert_eq!(queue.size(), 4);
    assert_eq!(queue.dequeue_many(4).unwrap(), rows);
}

/// `FIFOQueueTest.testEmptyDequeueManyWithNoShape`: as long as nothing has said which columns it has, there is no batch of no
/// rows.
#[test]
fn empty_dequeue_many_with_no_shape() {
    let queue = RowQueue::options(FIFO).capacity(10).open().unwrap();
    assert_eq!(kind_of(queue.dequeue_many(0), "give the queue its schema"), ErrorKind::InvalidArgument);
    queue.enqueue(&numbers([10.0])).unwrap();
    let none = queue.dequeue_many(0).unwrap();
    assert_eq!((none.num_rows(), none.schema()), (0, numbers([]).schema()));
    assert_eq!(queue.size(), 1);
}

/// As `FIFOQueueTest.testHighDimension`, of rows.
#[test]
fn high_dimension() {
    let rows = tensors("x", 10, &[4, 4, 4, 4], 0);
    let queue = queue_like(&rows, 10);
    queue.enqueue_many(&rows).unwrap();
    let found = queue.dequeue_many(10).unwrap();
    assert_eq!(found, rows);
    assert_eq!(found.tensor::<i32>("x").unwrap().shape(), [10, 4, 4, 4, 4]);
}

/// `FIFOQueueTest.testBatchSizeMismatch`: columns of different length make no table that could be put in.
#[test]
fn batch_size_mismatch() {
    let column = |len: i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values(0..len)) };
    let table = RecordBatch::try_from_iter([("a", column(3)), ("b", column(4)), ("c", column(3))]);
    assert!(table.unwrap_err().to_string().contains("same length"));
}

/// `FIFOQueueTest.testEnqueueManyEmptyTypeConversion`: columns that have no type, since they have no values, are taken as those of
/// the queue.
#[test]
fn enqueue_many_empty_type_conversion() {
    let declared = schema([("n", DataType::Int32), ("s", DataType::Utf8)]);
    let queue = RowQueue::options(FIFO).capacity(10).schema(declared.clone()).open().unwrap();
    let nothing = || new_empty_array(&DataType::Null);
    queue.enqueue_many(&RecordBatch::try_from_iter([("n", nothing()), ("s", nothing())]).unwrap()).unwrap();
    assert_eq!(queue.size(), 0);
    assert_eq!(queue.dequeue_many(0).unwrap().schema(), declared);
}

/// `FIFOQueueTest.testEnqueueWrongShapeAtRuntime`
#[test]
fn enqueue_wrong_shape_at_runtime() {
    let queue = queue_like(&matrices(1, 3), 10);
    let error = queue.enqueue(&matrices(1, 7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let (expected, found) = error.message().split_once(", found ").unwrap();
    assert!(expected.ends_with("b: non-null FixedSizeList(9 x non-null Int32) of shape [3, 3]"), "{error}");
    assert!(found.ends_with("b: non-null FixedSizeList(21 x non-null Int32) of shape [3, 7]"), "{error}");
    assert_eq!(queue.size(), 0);
}

/// `FIFOQueueTest.testEnqueueDequeueManyWrongShape`: none of the rows is put in, and those inside are none the worse.
#[test]
fn enqueue_dequeue_many_wrong_shape() {
    let queue = queue_like(&matrices(1, 3), 10);
    queue.enqueue_many(&matrices(3, 3)).unwrap();
    let kind = kind_of(queue.enqueue_many(&matrices(2, 4)), "b: non-null FixedSizeList(12 x non-null Int32)");
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert_eq!(queue.dequeue_many(3).unwrap(), matrices(3, 3));
}

mod dict {
    use super::*;

    /// `FIFOQueueDictTest.testConstructor`
    #[test]
    fn constructor() {
        let declared = schema([("i", DataType::Int32), ("j", DataType::Float32)]);
        let queue = RowQueue::options(FIFO).capacity(5).schema(declared).open().unwrap();
        let names: Vec<_> =
            queue.schema().unwrap().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["i", "j"]);
    }

    fn ints(values: &[i32]) -> ArrayRef {
        Arc::new(Int32Array::from(values.to_vec()))
    }

    /// Names that are not those of the queue, whatever the values.
    fn refused<const N: usize>(queue: &RowQueue, columns: [(&str, ArrayRef); N]) {
        let kind = kind_of(queue.enqueue_many(&table(columns)), "expected rows of the columns ");
        assert_eq!(kind, ErrorKind::InvalidArgument);
    }

    /// `FIFOQueueDictTest.testEnqueueDequeueOneComponent`
    #[test]
    fn enqueue_dequeue_one_component() {
        let queue = queue_like(&table([("f", ints(&[]))]), 10);
        refused(&queue, [("x", ints(&[12]))]);
        refused(&queue, [("f", ints(&[12])), ("s", texts(["aa"]))]);
        refused(&queue, [("x", ints(&[12, 13]))]);
        refused(&queue, [("f", texts(["12"]))]);
        assert_eq!(kind_of(queue.enqueue(&nothing()), "found none"), ErrorKind::InvalidArgument);
        queue.enqueue(&table([("f", ints(&[10]))])).unwrap();
        queue.enqueue(&table([("f", ints(&[20]))])).unwrap();
        queue.enqueue_many(&table([("f", ints(&[30, 40, 50]))])).unwrap();
        assert_eq!(queue.dequeue().unwrap(), table([("f", ints(&[10]))]));
        assert_eq!(queue.dequeue_many(2).unwrap(), table([("f", ints(&[20, 30]))]));
        assert_eq!(queue.dequeue_up_to(2).unwrap(), table([("f", ints(&[40, 50]))]));
    }

    /// `FIFOQueueDictTest.testEnqueueDequeueMultipleComponent`: the names tell the columns, in whatever order they are.
    #[test]
    fn enqueue_dequeue_multiple_component() {
        let rows = |f: &[i32], i: &[i32], s: ArrayRef| table([("f", ints(f)), ("i", ints(i)), ("s", s)]);
        let queue = queue_like(&rows(&[], &[], texts([])), 10);
        refused(&queue, [("i", ints(&[12])), ("s", texts(["aa"]))]);
        refused(&queue, [("i", ints(&[12])), ("s", texts(["aa"])), ("f", ints(&[1])), ("x", ints(&[1]))]);
        refused(&queue, [("i", ints(&[12])), ("s", texts(["aa"])), ("x", ints(&[1]))]);
        queue.enqueue(&rows(&[10], &[123], texts(["aa"]))).unwrap();
        let turned = table([("i", ints(&[124, 125])), ("s", texts(["bb", "cc"])), ("f", ints(&[20, 30]))]);
        queue.enqueue_many(&turned).unwrap();
        queue.enqueue_many(&rows(&[40], &[126], texts(["dd"]))).unwrap();
        assert_eq!(queue.dequeue().unwrap(), rows(&[10], &[123], texts(["aa"])));
        assert_eq!(
            queue.dequeue_many(3).unwrap(),
            rows(&[20, 30, 40], &[124, 125, 126], texts(["bb", "cc", "dd"]))
        );
    }
}
