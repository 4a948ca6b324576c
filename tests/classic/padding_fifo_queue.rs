//! Queues that pad the rows of a batch to the longest of it; and the rest of what a queue of rows is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, SchemaRef};
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::{ColumnKind, DType, ErrorKind, TensorColumns, tensor_field};

use crate::rows::{
    join, kind_of, lists, number_queue, numbers, one, pairs, schema, sorted, spawn, table, tensors, texts,
    until, until_it_waited, x, x_and_n,
};

const PADDING: RowQueueKind = RowQueueKind::PaddingFifo;

/// The numbers most cases put in.
const ELEMS: [f32; 4] = [10.0, 20.0, 30.0, 40.0];

fn queue(capacity: usize) -> RowQueue {
    number_queue(PADDING, capacity)
}

/// A queue of numbers `x` and `n`.
fn pair_queue(capacity: usize) -> RowQueue {
    let schema = schema([("x", DataType::Float32), ("n", DataType::Int32)]);
    RowQueue::options(PADDING).capacity(capacity).schema(schema).open().unwrap()
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", data_type, true)))
}

fn fixed(data_type: DataType, len: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", data_type, false)), len)
}

fn queue_of(capacity: usize, schema: SchemaRef) -> RowQueue {
    RowQueue::options(PADDING).capacity(capacity).schema(schema).open().unwrap()
}

/// `PaddingFIFOQueueTest.testMultiQueueConstructor`: the columns, the kind and the capacity are those asked for.
#[test]
fn multi_queue_constructor() {
    let schema = schema([("x", list_of(DataType::Int32)), ("y", DataType::Float32)]);
    let name = "PaddingFIFOQueueTest.testMultiQueueConstructor";
    let queue =
        RowQueue::options(PADDING).capacity(5).schema(schema.clone()).shared_name(name).open().unwrap();
    assert_eq!((queue.kind(), queue.capacity(), queue.size()), (PADDING, Some(5), 0));
    assert_eq!(RowQueue::attach(name).unwrap().schema(), Some(&schema));
}

/// `PaddingFIFOQueueTest.testConstructorWithShapes`: the shape of each column is kept.
#[test]
fn constructor_with_shapes() {
    let fields = vec![
        tensor_field("a", DType::I32, &[1, 1, 2, 3], false),
        Field::new("b", list_of(fixed(DataType::Float32, 8)), false),
    ];
    let declared = Arc::new(arrow::datatypes::Schema::new(fields));
    let queue = queue_of(5, declared.clone());
    assert_eq!(queue.schema(), Some(&declared));
    let kind = ColumnKind::of(queue.schema().unwrap().field(0));
    assert_eq!(kind, ColumnKind::Tensor { dtype: DType::I32, shape: [1, 1, 2, 3].into() });
}

/// `PaddingFIFOQueueTest.testEnqueueWithShape`: a tensor of the shape is taken in, one of another is not.
#[test]
fn enqueue_with_shape() {
    let queue = queue_of(10, tensors("t", 0, &[3, 2], 0).schema());
    queue.enqueue(&tensors("t", 1, &[3, 2], 0)).unwrap();
    let refused = queue.enqueue(&tensors("t", 1, &[2, 3], 0));
    assert_eq!(kind_of(refused, "of shape [3, 2], found t: "), ErrorKind::InvalidArgument);
    assert_eq!(queue.size(), 1);
}

/// `PaddingFIFOQueueTest.testEnqueueManyWithShape`: four rows of several columns are four elements.
#[test]
fn enqueue_many_with_shape() {
    let many = table([
        ("n", Arc::new(Int32Array::from(vec![1, 2, 3, 4])) as ArrayRef),
        ("pair", tensors("pair", 4, &[2], 10).column(0).clone()),
    ]);
    let queue = queue_of(10, many.schema());
    queue.enqueue_many(&many).unwrap();
    assert_eq!(queue.size(), 4);
}

/// `PaddingFIFOQueueTest.testParallelDequeue`
#[test]
fn parallel_dequeue() {
    let queue = queue(10);
    let elems: Vec<f32> = (0..10).map(|n| 10.0 * n as f32).collect();
    elems.iter().for_each(|&elem| queue.enqueue(&numbers([elem])).unwrap());
    let found = join(spawn(10, move |_| one(queue.dequeue())));
    assert_eq!(sorted(found), elems);
}

/// `PaddingFIFOQueueTest.testDequeue`
#[test]
fn dequeue() {
    let queue = queue(10);
    ELEMS.iter().for_each(|&elem| queue.enqueue(&numbers([elem])).unwrap());
    assert_eq!(ELEMS.map(|_| one(queue.dequeue())), ELEMS);
}

/// `PaddingFIFOQueueTest.testMultiEnqueueAndDequeue`: the columns of a row stay together.
#[test]
fn multi_enqueue_and_dequeue() {
    let queue = pair_queue(10);
    let elems = [(5.0, 1), (10.0, 2), (15.0, 3)];
    elems.iter().for_each(|&elem| queue.enqueue(&pairs([elem])).unwrap());
    for elem in elems {
        assert_eq!(x_and_n(&queue.dequeue().unwrap()), [elem]);
    }
}

/// `PaddingFIFOQueueTest.testQueueSizeEmpty`
#[test]
fn queue_size_empty() {
    assert_eq!(queue(10).size(), 0);
}

/// `PaddingFIFOQueueTest.testEnqueueMany`
#[test]
fn enqueue_many() {
    let queue = queue(10);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    for _ in 0..2 {
        assert_eq!(ELEMS.map(|_| one(queue.dequeue())), ELEMS);
    }
    assert_eq!(queue.size(), 0);
}

/// `PaddingFIFOQueueTest.testEmptyEnqueueMany`
#[test]
fn empty_enqueue_many() {
    let queue = queue_of(10, schema([("x", list_of(DataType::Float32))]));
    let none = RecordBatch::new_empty(queue.schema().unwrap().clone());
    queue.enqueue_many(&none).unwrap();
    assert_eq!(queue.size(), 0);
}

/// What a batch of no rows of lists is, before and after there were rows.
fn empty_with_dynamic_shape(take: impl Fn(&RowQueue, usize) -> forebay::Result<RecordBatch>) {
    let lists = table([("x", lists(&[&[1, 2], &[3]]))]);
    let queue = queue_of(10, lists.schema());
    let check = || {
        let none = take(&queue, 0).unwrap();
        let kind = ColumnKind::of(none.schema_ref().field(0));
        assert_eq!((none.num_rows(), none.num_columns()), (0, 1));
        assert_eq!(kind, ColumnKind::Tensor { dtype: DType::I32, shape: [0].into() });
    };
    check();
    queue.enqueue_many(&lists).unwrap();
    check();
    assert_eq!(queue.size(), 2);
}

/// `PaddingFIFOQueueTest.testEmptyDequeueManyWithDynamicShape`
#[test]
fn empty_dequeue_many_with_dynamic_shape() {
    empty_with_dynamic_shape(RowQueue::dequeue_many);
}

/// `PaddingFIFOQueueTest.testEmptyDequeueUpToWithDynamicShape`
#[test]
fn empty_dequeue_up_to_with_dynamic_shape() {
    empty_with_dynamic_shape(RowQueue::dequeue_up_to);
}

/// Four rows of a number, and of two that belong to it.
fn multi_rows() -> RecordBatch {
    table([
        ("x", Arc::new(Float32Array::from(ELEMS.to_vec())) as ArrayRef),
        ("pair", tensors("pair", 4, &[2], 1).column(0).clone()),
    ])
}

fn pair_of(row: &RecordBatch) -> Vec<i32> {
    let list = row.column_by_name("pair").unwrap();
    let values = match list.as_fixed_size_list_opt() {
        Some(list) => list.value(0),
        None => list.as_list::<i32>().value(0),
    };
    values.as_primitive::<Int32Type>().values().to_vec()
}

/// `PaddingFIFOQueueTest.testMultiEnqueueMany`
#[test]
fn multi_enqueue_many() {
    let queue = queue_of(10, multi_rows().schema());
    queue.enqueue_many(&multi_rows()).unwrap();
    queue.enqueue_many(&multi_rows()).unwrap();
    for i in 0..8 {
        let row = queue.dequeue().unwrap();
        let n = 2 * (i as i32 % 4);
        assert_eq!((x(&row), pair_of(&row)), (vec![ELEMS[i % 4]], vec![n + 1, n + 2]));
    }
}

/// `PaddingFIFOQueueTest.testMultiEnqueueManyWithPartiallyKnownShapes`: a row alone is not padded.
#[test]
fn multi_enqueue_many_with_partially_known_shapes() {
    let rows = table([
        ("x", Arc::new(Float32Array::from(ELEMS.to_vec())) as ArrayRef),
        ("pair", lists(&[&[1, 2], &[3, 4], &[5], &[]])),
    ]);
    let queue = queue_of(10, rows.schema());
    queue.enqueue_many(&rows).unwrap();
    queue.enqueue_many(&rows).unwrap();
    let expected: [&[i32]; 4] = [&[1, 2], &[3, 4], &[5], &[]];
    for i in 0..8 {
        let row = queue.dequeue().unwrap();
        assert_eq!((x(&row), pair_of(&row)), (vec![ELEMS[i % 4]], expected[i % 4].to_vec()));
    }
}

/// `PaddingFIFOQueueTest.testDequeueUpToNoBlocking`
#[test]
fn dequeue_up_to_no_blocking() {
    let queue = queue(10);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    assert_eq!(x(&queue.dequeue_up_to(4).unwrap()), ELEMS);
    assert_eq!(x(&queue.dequeue_up_to(4).unwrap()), ELEMS);
}

/// `PaddingFIFOQueueTest.testMultiDequeueMany`: batches have the shapes declared, and single rows follow.
#[test]
fn multi_dequeue_many() {
    let rows = multi_rows();
    let queue = queue_of(10, rows.schema());
    queue.enqueue_many(&rows).unwrap();
    queue.enqueue_many(&rows).unwrap();
    assert_eq!(queue.dequeue_many(4).unwrap(), rows);
    let row = queue.dequeue().unwrap();
    assert_eq!((x(&row), pair_of(&row)), (vec![10.0], vec![1, 2]));
    assert_eq!(queue.dequeue_many(3).unwrap(), rows.slice(1, 3));
}

/// Rows of text and of numbers, of different lengths, and what they are once padded.
fn padded_to_the_longest(take: impl Fn(&RowQueue, usize) -> forebay::Result<RecordBatch>) {
    let words = |words: &[&str], lengths: &[usize]| -> ArrayRef {
        let words: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), words, None))
    };
    let texts = words(&["a", "ab", "abc", "abc", "d", "e", "f"], &[1, 3, 0, 3]);
    let ints = lists(&[&[1, 2, 3], &[4], &[5, 6], &[7]]);
    let rows = table([("words", texts), ("ints", ints)]);
    let queue = queue_of(10, rows.schema());
    queue.enqueue_many(&rows).unwrap();

    let batch = take(&queue, 4).unwrap();
    let text = batch.column(0).as_fixed_size_list();
    let expected = ["a", "", "", "ab", "abc", "abc", "", "", "", "d", "e", "f"];
    assert_eq!(text.value_length(), 3);
    assert!(text.values().as_string::<i32>().iter().flatten().eq(expected));
    let ints = batch.tensor::<i32>("ints").unwrap();
    assert_eq!(ints.shape(), [4, 3]);
    assert_eq!(ints.as_slice(), [1, 2, 3, 4, 0, 0, 5, 6, 0, 7, 0, 0]);
}

/// `PaddingFIFOQueueTest.testMultiDequeueManyWithPartiallyKnownShapesAndVariableSizeInput`
#[test]
fn multi_dequeue_many_with_partially_known_shapes_and_variable_size_input() {
    padded_to_the_longest(RowQueue::dequeue_many);
}

/// `PaddingFIFOQueueTest.testMultiDequeueUpToPartiallyKnownShapesAndVariableInputNoBlocking`
#[test]
fn multi_dequeue_up_to_partially_known_shapes_and_variable_input_no_blocking() {
    padded_to_the_longest(RowQueue::dequeue_up_to);
}

/// `PaddingFIFOQueueTest.testPartiallyKnownHighDimension`: four by any by four by any numbers come out as they went in.
#[test]
fn partially_known_high_dimension() {
    let all = Int32Array::from_iter_values(0..10 * 4 * 4 * 4 * 4);
    let mut column: ArrayRef = Arc::new(all.clone());
    for (place, known) in [false, true, false, true].into_iter().enumerate() {
        let lists = column.len() / 4;
        let item = Arc::new(Field::new("item", column.data_type().clone(), true));
        column = match known {
            true => Arc::new(FixedSizeListArray::new(item, 4, column, None)),
            false => {
                let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(4, lists));
                Arc::new(ListArray::new(item, lengths, column, None))
            }
        };
        assert_eq!(lists, 10 * 4usize.pow(3 - place as u32));
    }
    let rows = table([("x", column)]);
    let queue = queue_of(10, rows.schema());
    queue.enqueue_many(&rows).unwrap();
    let batch = queue.dequeue_many(10).unwrap();
    let tensor = batch.tensor::<i32>("x").unwrap();
    assert_eq!(tensor.shape(), [10, 4, 4, 4, 4]);
    assert_eq!(tensor.as_slice(), &all.values()[..]);
}

/// `PaddingFIFOQueueTest.testEnqueueWrongShape`: more or fewer columns, or lists where there are none, are refused.
#[test]
fn enqueue_wrong_shape() {
    let declared = table([("a", lists(&[&[1]])), ("b", lists(&[&[1]]))]);
    let queue = queue_of(10, declared.schema());
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    for wrong in [
        table([("a", number.clone()), ("b", number.clone())]),
        table([("a", lists(&[&[1]]))]),
        table([("a", lists(&[&[1]])), ("b", lists(&[&[1]])), ("c", number)]),
    ] {
        let kind =
            kind_of(queue.enqueue_many(&wrong), "expected rows of the columns a: non-null List(Int32), b: ");
        assert_eq!(kind, ErrorKind::InvalidArgument);
    }
    assert_eq!(queue.size(), 0);
}

/// `PaddingFIFOQueueTest.testEnqueueManyEmptyTypeConversion`: columns that have no type, since they have no values, are taken as
/// those of the queue.
#[test]
fn enqueue_many_empty_type_conversion() {
    let declared = schema([("a", DataType::Int32), ("b", list_of(DataType::Float32))]);
    let queue = queue_of(10, declared);
    let nothing = || arrow::array::new_empty_array(&DataType::Null);
    queue.enqueue_many(&RecordBatch::try_from_iter([("a", nothing()), ("b", nothing())]).unwrap()).unwrap();
    assert_eq!(queue.size(), 0);
    let null: ArrayRef = Arc::new(arrow::array::NullArray::new(1));
    let refused = queue.enqueue(&RecordBatch::try_from_iter([("a", null.clone()), ("b", null)]).unwrap());
    assert_eq!(kind_of(refused, "found a: "), ErrorKind::InvalidArgument);
}

/// `PaddingFIFOQueueTest.testEnqueueWrongType`
#[test]
fn enqueue_wrong_type() {
    let queue = pair_queue(10);
    let column = || -> ArrayRef { Arc::new(Float32Array::from(vec![1.0])) };
    for wrong in [
        table([("x", column()), ("n", column())]),
        table([("x", column()), ("n", texts(["1"]))]),
        table([("x", column()), ("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]),
        table([("x", column()), ("n", Arc::new(BooleanArray::from(vec![true])) as ArrayRef)]),
    ] {
        let kind = kind_of(queue.enqueue(&wrong), "n: non-null Int32, found x: non-null Float32, n: ");
        assert_eq!(kind, ErrorKind::InvalidArgument);
    }
}

/// `PaddingFIFOQueueTest.testEnqueueDequeueManyWrongPartiallyKnownShape`: a dimension that is known is held to.
#[test]
fn enqueue_dequeue_many_wrong_partially_known_shape() {
    let lists_of = |len: usize| {
        let inner = tensors("item", 4, &[len], 0);
        let item = Arc::new(Field::new("item", inner.column(0).data_type().clone(), true));
        let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 2]), inner.column(0).clone(), None);
        table([("x", Arc::new(lists) as ArrayRef)])
    };
    let queue = queue_of(10, lists_of(3).schema());
    queue.enqueue_many(&lists_of(3)).unwrap();
    let kind = kind_of(queue.enqueue_many(&lists_of(2)), "FixedSizeList(3 x non-null Int32)");
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert_eq!(queue.dequeue_many(2).unwrap().tensor::<i32>("x").unwrap().shape(), [2, 2, 3]);
}

/// `PaddingFIFOQueueTest.testParallelEnqueueMany`
#[test]
fn parallel_enqueue_many() {
    let queue = queue(1000);
    let elems: Vec<f32> = (0..100).map(|n| 10.0 * n as f32).collect();
    let (into, rows) = (queue.clone(), numbers(elems.clone()));
    let threads = spawn(10, move |_| into.enqueue_many(&rows).unwrap());
    let found = x(&queue.dequeue_many(1000).unwrap());
    join(threads);
    let expected = elems.iter().flat_map(|&elem| [elem; 10]).collect();
    assert_eq!(sorted(found), sorted(expected));
}

/// `PaddingFIFOQueueTest.testParallelDequeueUpTo`: ten takers of up to 101 empty a closed queue of 1,000 between them.
#[test]
fn parallel_dequeue_up_to() {
    let queue = queue(1000);
    let elems: Vec<f32> = (0..1000).map(|n| 10.0 * n as f32).collect();
    queue.enqueue_many(&numbers(elems.clone())).unwrap();
    queue.close(false);
    let found = join(spawn(10, move |_| x(&queue.dequeue_up_to(101).unwrap())));
    assert_eq!(sorted(found.concat()), elems);
}

/// `PaddingFIFOQueueTest.testParallelEnqueueAndDequeue`: of 49 rows inside 49 are left, whoever else comes and goes.
#[test]
fn parallel_enqueue_and_dequeue() {
    let queue = queue(50);
    queue.enqueue_many(&numbers([10.0; 49])).unwrap();
    let (into, from) = (queue.clone(), queue.clone());
    let enqueuers = spawn(10, move |_| (0..100).for_each(|_| into.enqueue(&numbers([20.0])).unwrap()));
    let dequeuers = spawn(10, move |_| (0..100).map(|_| one(from.dequeue())).collect::<Vec<_>>());
    join(enqueuers);
    let found = join(dequeuers).concat();
    assert!(found.iter().all(|&elem| elem == 10.0 || elem == 20.0));
    assert_eq!(queue.size(), 49);
    let left = x(&queue.dequeue_many(49).unwrap());
    assert_eq!(found.iter().chain(&left).filter(|&&elem| elem == 10.0).count(), 49);
}

/// `PaddingFIFOQueueTest.testMixtureOfDequeueAndDequeueMany`
#[test]
fn mixture_of_dequeue_and_dequeue_many() {
    let queue = queue(10);
    let into = queue.clone();
    let thread = thread::spawn(move || into.enqueue_many(&numbers((0..250).map(|n| n as f32))).unwrap());
    let (mut found, mut size) = (Vec::new(), 0);
    while found.len() < 250 {
        // Sizes from 0 to 9, in no order, and single rows between them.
        size = (size * 7 + 3) % 10;
        let size = size.min(250 - found.len());
        match found.len() % 3 {
            0 => found.push(one(queue.dequeue())),
            1 => found.extend(x(&queue.dequeue_many(size.max(1)).unwrap())),
            _ => found.extend(x(&queue.dequeue_up_to(size.max(1)).unwrap())),
        }
    }
    thread.join().unwrap();
    assert_eq!(found, (0..250).map(|n| n as f32).collect::<Vec<_>>());
    assert_eq!(queue.size(), 0);
}

/// `PaddingFIFOQueueTest.testBlockingDequeueMany`
#[test]
fn blocking_dequeue_many() {
    let queue = queue(10);
    let returned = Arc::new(AtomicBool::new(false));
    let (from, done) = (queue.clone(), returned.clone());
    let thread = thread::spawn(move || {
        let batch = from.dequeue_many(4).unwrap();
        done.store(true, Ordering::SeqCst);
        batch
    });
    for elem in &ELEMS[..3] {
        queue.enqueue(&numbers([*elem])).unwrap();
        (0..100).for_each(|_| thread::yield_now());
        assert!(!returned.load(Ordering::SeqCst), "three are not four");
    }
    queue.enqueue(&numbers([ELEMS[3]])).unwrap();
    assert_eq!(x(&thread.join().unwrap()), ELEMS);
}

/// `PaddingFIFOQueueTest.testDequeueManyWithTensorParameter`: how many rows are taken is taken from another queue.
#[test]
fn dequeue_many_with_tensor_parameter() {
    let sizes_queue = RowQueue::options(PADDING).capacity(100).open().unwrap();
    let mut size = 1;
    let sizes: Vec<i32> = (0..100)
        .map(|_| {
            size = (size * 11 + 7) % 31;
            size
        })
        .collect();
    let column: ArrayRef = Arc::new(Int32Array::from(sizes.clone()));
    sizes_queue.enqueue_many(&table([("size", column)])).unwrap();
    let total: i32 = sizes.iter().sum();
    let queue = queue(total as usize);
    queue.enqueue_many(&numbers((0..total).map(|n| n as f32))).unwrap();
    let mut found = Vec::new();
    for _ in &sizes {
        let size = sizes_queue.dequeue().unwrap().column(0).as_primitive::<Int32Type>().value(0);
        found.extend(x(&queue.dequeue_many(size as usize).unwrap()));
    }
    assert_eq!(found, (0..total).map(|n| n as f32).collect::<Vec<_>>());
    assert_eq!(queue.size(), 0);
}

/// `PaddingFIFOQueueTest.testDequeueFromClosedQueue`
#[test]
fn dequeue_from_closed_queue() {
    let queue = queue(10);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    queue.close(false);
    assert_eq!(ELEMS.map(|_| one(queue.dequeue())), ELEMS);
    assert_eq!(kind_of(queue.dequeue(), "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testDequeueUpToFromClosedQueueReturnsRemainder`
#[test]
fn dequeue_up_to_from_closed_queue_returns_remainder() {
    let queue = queue(4);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    let from = queue.clone();
    let thread = thread::spawn(move || {
        let three = x(&from.dequeue_up_to(3).unwrap());
        (three, x(&from.dequeue_up_to(3).unwrap()))
    });
    until(|| queue.size() <= 1);
    queue.close(false);
    assert_eq!(thread.join().unwrap(), (ELEMS[..3].to_vec(), ELEMS[3..].to_vec()));
}

/// `PaddingFIFOQueueTest.testBlockingDequeueFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_from_closed_empty_queue() {
    let queue = queue(10);
    let from = queue.clone();
    let thread = thread::spawn(move || from.dequeue());
    queue.close(false);
    assert_eq!(kind_of(thread.join().unwrap(), "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testBlockingDequeueManyButNotAllFromClosedQueue`
#[test]
fn blocking_dequeue_many_but_not_all_from_closed_queue() {
    let queue = queue(4);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    let from = queue.clone();
    let thread = thread::spawn(move || {
        let three = x(&from.dequeue_many(3).unwrap());
        (three, from.dequeue_many(3))
    });
    until(|| queue.size() <= 1);
    queue.close(false);
    let (three, end) = thread.join().unwrap();
    assert_eq!(three, ELEMS[..3]);
    assert_eq!(kind_of(end, "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testEnqueueManyLargerThanCapacityWithConcurrentDequeueMany`: the row that is too few for a batch can still
/// be taken alone.
#[test]
fn enqueue_many_larger_than_capacity_with_concurrent_dequeue_many() {
    let queue = queue(4);
    let (into, from) = (queue.clone(), queue.clone());
    let enqueuer = thread::spawn(move || {
        into.enqueue_many(&numbers(ELEMS)).unwrap();
        into.close(false);
    });
    let dequeuer = thread::spawn(move || {
        let three = x(&from.dequeue_many(3).unwrap());
        let end = from.dequeue_many(3);
        (three, kind_of(end, "is closed"), one(from.dequeue()))
    });
    enqueuer.join().unwrap();
    assert_eq!(dequeuer.join().unwrap(), (ELEMS[..3].to_vec(), ErrorKind::OutOfRange, ELEMS[3]));
}

/// `PaddingFIFOQueueTest.testBlockingDequeueManyFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_many_from_closed_empty_queue() {
    let queue = queue(10);
    let from = queue.clone();
    let thread = thread::spawn(move || from.dequeue_many(4));
    queue.close(false);
    assert_eq!(kind_of(thread.join().unwrap(), "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testBlockingDequeueUpToFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_up_to_from_closed_empty_queue() {
    let queue = queue(10);
    let from = queue.clone();
    let thread = thread::spawn(move || from.dequeue_up_to(4));
    queue.close(false);
    assert_eq!(kind_of(thread.join().unwrap(), "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testEnqueueManyToClosedQueue`
#[test]
fn enqueue_many_to_closed_queue() {
    let queue = queue(10);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    queue.close(false);
    assert_eq!(kind_of(queue.enqueue_many(&numbers(ELEMS)), "is closed"), ErrorKind::Cancelled);
    assert_eq!(queue.size(), 4);
}

/// `PaddingFIFOQueueTest.testBlockingEnqueueToFullQueue`
#[test]
fn blocking_enqueue_to_full_queue() {
    let queue = queue(4);
    queue.enqueue_many(&numbers(ELEMS)).unwrap();
    let returned = Arc::new(AtomicBool::new(false));
    let (into, done) = (queue.clone(), returned.clone());
    let thread = thread::spawn(move || {
        into.enqueue(&numbers([50.0])).unwrap();
        done.store(true, Ordering::SeqCst);
    });
    (0..1000).for_each(|_| thread::yield_now());
    assert!(!returned.load(Ordering::SeqCst) && queue.size() == 4, "there is no room");
    assert_eq!(ELEMS.map(|_| one(queue.dequeue())), ELEMS);
    assert_eq!(one(queue.dequeue()), 50.0);
    thread.join().unwrap();
}

/// `PaddingFIFOQueueTest.testBlockingEnqueueBeforeClose`
#[test]
fn blocking_enqueue_before_close() {
    let full = || {
        let queue = queue(4);
        queue.enqueue_many(&numbers(ELEMS)).unwrap();
        queue
    };
    let (queue, _) = until_it_waited(
        full,
        |queue| queue.enqueue(&numbers([50.0])).map_err(|error| error.kind()),
        |queue| {
            queue.close(false);
            assert_eq!(one(queue.dequeue()), ELEMS[0]);
        },
        |returned| *returned == Ok(()),
        |returned| *returned == Err(ErrorKind::Cancelled),
    );
    assert_eq!([(); 4].map(|()| one(queue.dequeue())), [20.0, 30.0, 40.0, 50.0]);
    assert_eq!(kind_of(queue.dequeue(), "is closed"), ErrorKind::OutOfRange);
}

/// `PaddingFIFOQueueTest.testBlockingEnqueueManyBeforeClose`
#[test]
fn blocking_enqueue_many_before_close() {
    let queue = queue(4);
    queue.enqueue_many(&numbers(ELEMS[..2].iter().copied())).unwrap();
    let into = queue.clone();
    let thread = thread::spawn(move || into.enqueue_many(&numbers([30.0, 40.0, 50.0, 60.0])).unwrap());
    // Two of the four are in: the call began before the close.
    until(|| queue.size() == 4);
    queue.close(false);
    assert_eq!([(); 6].map(|()| one(queue.dequeue())), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    assert_eq!(kind_of(queue.dequeue(), "is closed"), ErrorKind::OutOfRange);
    thread.join().unwrap();
}

/// `PaddingFIFOQueueTest.testSharedQueueSameSession`
#[test]
fn shared_queue_same_session() {
    let options =
        RowQueue::options(PADDING).capacity(1).schema(numbers([]).schema()).shared_name("padding shared");
    let (first, second) = (options.clone().open().unwrap(), options.open().unwrap());
    first.enqueue(&numbers([10.0])).unwrap();
    assert_eq!((first.size(), second.size()), (1, 1));
    assert_eq!(one(second.dequeue()), 10.0);
    assert_eq!((first.size(), second.size()), (0, 0));
    second.enqueue(&numbers([20.0])).unwrap();
    assert_eq!(one(first.dequeue()), 20.0);
}

/// `PaddingFIFOQueueTest.testIncompatibleSharedQueueErrors`
#[test]
fn incompatible_shared_queue_errors() {
    let name = "padding incompatible";
    let shape = |shape: &[usize]| tensors("x", 0, shape, 0).schema();
    let options =
        |kind, capacity, schema| RowQueue::options(kind).capacity(capacity).schema(schema).shared_name(name);
    let _first = options(PADDING, 10, shape(&[2, 3])).open().unwrap();
    options(PADDING, 10, shape(&[2, 3])).open().unwrap();
    let floats = numbers([]).schema();
    let shuffled = RowQueueKind::RandomShuffle { min_after_dequeue: 0, seed: None };
    for (other, words) in [
        (options(PADDING, 15, shape(&[2, 3])), "has capacity 10, but 15 was asked for"),
        (options(PADDING, 10, shape(&[3, 2])), "of shape [2, 3], but x: "),
        (options(PADDING, 10, floats), "but x: non-null Float32 was asked for"),
        (options(PADDING, 10, schema([("x", DataType::Int32)])), "but x: non-null Int32 was asked for"),
        (options(RowQueueKind::Fifo, 10, shape(&[2, 3])), "has kind padding FIFO queue"),
        (options(shuffled, 10, shape(&[2, 3])), "but random-shuffle queue of rows was asked for"),
        (RowQueue::options(PADDING).capacity(10).shared_name(name), "those of its first row was asked for"),
    ] {
        let error = other.open().unwrap_err();
        assert!(error.message().starts_with("the shared queue 'padding incompatible' has "), "{error}");
        assert_eq!(kind_of(Err::<(), _>(error), words), ErrorKind::InvalidArgument);
    }
}

/// `PaddingFIFOQueueTest.testSelectQueueOutOfRange`
#[test]
fn select_queue_out_of_range() {
    let queues = [queue(10), queue(15)];
    assert_eq!(RowQueue::select(&queues, 1).unwrap().capacity(), Some(15));
    let error = RowQueue::select(&queues, 2).map(RowQueue::dequeue).unwrap_err();
    assert_eq!(error.message(), "expected the number of one of 2 queues, found 2");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// `PaddingFIFOQueueTest.testResetOfBlockingOperation`: a cancel ends whatever waits.
#[test]
fn reset_of_blocking_operation() {
    let (empty, full) = (queue(5), queue(5));
    full.enqueue_many(&numbers([0.0; 5])).unwrap();
    let op = |queue: &RowQueue, op: fn(&RowQueue) -> forebay::Result<()>| {
        let queue = queue.clone();
        thread::spawn(move || op(&queue))
    };
    let threads = vec![
        op(&empty, |queue| queue.dequeue().map(drop)),
        op(&empty, |queue| queue.dequeue_many(1).map(drop)),
        op(&empty, |queue| queue.dequeue_up_to(1).map(drop)),
        op(&full, |queue| queue.enqueue(&numbers([1.0]))),
        op(&full, |queue| queue.enqueue_many(&numbers([1.0]))),
    ];
    (0..1000).for_each(|_| thread::yield_now());
    empty.cancel();
    full.cancel();
    for ended in join(threads) {
        assert_eq!(kind_of(ended, "was cancelled"), ErrorKind::Cancelled);
    }
}

/// `PaddingFIFOQueueTest.testBigDequeueMany`: a batch may be larger than the queue.
#[test]
fn big_dequeue_many() {
    let queue = queue(2);
    let from = queue.clone();
    let thread = thread::spawn(move || from.dequeue_many(4).unwrap());
    ELEMS.iter().for_each(|&elem| queue.enqueue(&numbers([elem])).unwrap());
    assert_eq!(x(&thread.join().unwrap()), ELEMS);
    assert_eq!(queue.size(), 0);
}

/// `PaddingFIFOQueueTest.testDtypes`: 32 rows of 4 by 128 of each type, bit for bit.
#[test]
fn dtypes() {
    const ROWS: usize = 32;
    const SHAPE: [usize; 2] = [4, 128];
    let mut dice = 1u64;
    for dtype in DType::ALL {
        let values = ROWS * SHAPE.iter().product::<usize>();
        let bits: Vec<u8> = (0..values * dtype.width_bytes())
            .map(|_| {
                dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (dice >> 33) as u8
            })
            .collect();
        let data = arrow::array::ArrayData::builder(dtype.to_arrow())
            .len(values)
            .add_buffer(arrow::buffer::Buffer::from_vec(bits))
            .align_buffers(true)
            .build()
            .unwrap();
        let field = tensor_field("x", dtype, &SHAPE, false);
        let DataType::FixedSizeList(item, len) = field.data_type() else { panic!("{field}") };
        let list = FixedSizeListArray::new(item.clone(), *len, arrow::array::make_array(data), None);
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![field.clone()]));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(list)]).unwrap();

        let queue = queue_of(10, schema);
        let (into, all) = (queue.clone(), rows.clone());
        let thread = thread::spawn(move || {
            for row in 0..ROWS {
                into.enqueue(&all.slice(row, 1)).unwrap();
            }
        });
        let found = queue.dequeue_many(ROWS).unwrap();
        thread.join().unwrap();
        assert_eq!(found.schema(), rows.schema());
        // Not all floats are equal to themselves: the bits are compared.
        let bits = |rows: &RecordBatch| {
            let values = rows.column(0).as_fixed_size_list().values().to_data();
            let len =
                if dtype == DType::Bool { values.len() / 8 } else { values.len() * dtype.width_bytes() };
            assert_eq!(values.offset(), 0);
            values.buffers()[0][..len].to_vec()
        };
        assert_eq!(bits(&found), bits(&rows), "{dtype}");
    }
    let words = table([("x", texts(["", "a", "ab\0c", "ä"]))]);
    let queue = queue_of(10, words.schema());
    queue.enqueue_many(&words).unwrap();
    assert_eq!(queue.dequeue_many(4).unwrap(), words);
}
