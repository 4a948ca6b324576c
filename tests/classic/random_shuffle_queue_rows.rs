//! Rows drawn at random: what they are made of.

use arrow::array::RecordBatch;
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::{ErrorKind, TensorColumns};

use crate::rows::{kind_of, number_queue, numbers, sorted, tensors, x};

fn shuffling(min_after_dequeue: usize) -> RowQueueKind {
    RowQueueKind::RandomShuffle { min_after_dequeue, seed: None }
}

fn queue_like(rows: &RecordBatch, min_after_dequeue: usize) -> RowQueue {
    RowQueue::options(shuffling(min_after_dequeue)).capacity(10).schema(rows.schema()).open().unwrap()
}

/// `RandomShuffleQueueTest.testEnqueueWithShape`
#[test]
fn enqueue_with_shape() {
    let queue = queue_like(&tensors("x", 0, &[3, 2], 0), 5);
    queue.enqueue(&tensors("x", 1, &[3, 2], 0)).unwrap();
    assert_eq!(queue.size(), 1);
    let wrong = queue.enqueue(&tensors("x", 1, &[2, 3], 0));
    assert_eq!(kind_of(wrong, "of shape [3, 2], found x: "), ErrorKind::InvalidArgument);
    assert_eq!(queue.size(), 1);
}

/// `RandomShuffleQueueTest.testEnqueueManyWithShape`: one by one or many at once, a row is a row.
#[test]
fn enqueue_many_with_shape() {
    let rows = tensors("x", 4, &[3], 0);
    let queue = queue_like(&rows, 5);
    queue.enqueue_many(&rows).unwrap();
    assert_eq!(queue.size(), 4);
    (0..4).for_each(|row| queue.enqueue(&rows.slice(row, 1)).unwrap());
    assert_eq!(queue.size(), 8);
    queue.close(false);
    let all = queue.dequeue_many(8).unwrap();
    let mut found: Vec<_> =
        all.tensor::<i32>("x").unwrap().as_slice().chunks(3).map(<[i32]>::to_vec).collect();
    found.sort();
    let expected: Vec<_> = (0..4).flat_map(|row| [[3 * row, 3 * row + 1, 3 * row + 2]; 2]).collect();
    assert_eq!(found, expected);
}

/// As `RandomShuffleQueueTest.testEmptyDequeueUpToWithNoShape`, of rows.
#[test]
fn empty_dequeue_up_to_with_no_shape() {
    let queue = RowQueue::options(shuffling(0)).capacity(10).open().unwrap();
    assert_eq!(kind_of(queue.dequeue_up_to(0), "give the queue its schema"), ErrorKind::InvalidArgument);
    queue.enqueue(&numbers([10.0])).unwrap();
    assert_eq!(queue.dequeue_up_to(0).unwrap(), numbers([]));
    assert_eq!(queue.size(), 1);
}

/// As `RandomShuffleQueueTest.testHighDimension`, of rows.
#[test]
fn high_dimension() {
    let rows = tensors("x", 10, &[4, 4, 4, 4], 0);
    let queue = queue_like(&rows, 0);
    queue.enqueue_many(&rows).unwrap();
    let found = queue.dequeue_many(10).unwrap();
    let tensor = found.tensor::<i32>("x").unwrap();
    assert_eq!(tensor.shape(), [10, 4, 4, 4, 4]);
    let mut found: Vec<_> = tensor.as_slice().chunks(256).map(<[i32]>::to_vec).collect();
    found.sort();
    assert!(found.concat().into_iter().eq(0..2560));
}

/// Beside the cases: what is drawn is drawn by the seed, and all of it.
#[test]
fn rows_are_drawn_by_their_seed() {
    let drawn = |seed| {
        let queue = number_queue(RowQueueKind::RandomShuffle { min_after_dequeue: 10, seed }, 100);
        queue.enqueue_many(&numbers((0..100).map(|n| n as f32))).unwrap();
        let first = x(&queue.dequeue_many(90).unwrap());
        queue.close(false);
        [first, x(&queue.dequeue_up_to(20).unwrap())].concat()
    };
    let order = drawn(Some(1));
    assert_eq!(order, drawn(Some(1)));
    assert_ne!(order, drawn(Some(2)));
    assert_ne!(order, drawn(None));
    assert_eq!(sorted(order), (0..100).map(|n| n as f32).collect::<Vec<_>>());
}
