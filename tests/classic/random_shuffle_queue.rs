//! The random-shuffle queue.

use super::queues::{closed, drain, in_threads, kind, until_pending};
use forebay::ErrorKind;
use forebay::queue::{self, Queue, RandomShuffleQueue};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

const ELEMENTS: [i32; 4] = [10, 20, 30, 40];

fn queue<T: Send>(capacity: usize, min_after_dequeue: usize) -> Arc<RandomShuffleQueue<T>> {
    Arc::new(RandomShuffleQueue::new(capacity, min_after_dequeue, Some(1)).unwrap())
}

/// A queue with [`ELEMENTS`] in it.
fn filled(capacity: usize, min_after_dequeue: usize) -> Arc<RandomShuffleQueue<i32>> {
    let queue = queue(capacity, min_after_dequeue);
    queue.enqueue_many(ELEMENTS.to_vec()).unwrap();
    queue
}

fn sorted<T: Ord>(mut elements: Vec<T>) -> Vec<T> {
    elements.sort();
    elements
}

/// `RandomShuffleQueueTest.testParallelEnqueue`
#[test]
fn parallel_enqueue() {
    let queue = queue(10, 5);
    in_threads(10, |n| queue.enqueue(n).unwrap());
    assert!(sorted(drain(&*queue, true)).into_iter().eq(0..10));
}

/// `RandomShuffleQueueTest.testParallelDequeue`
#[test]
fn parallel_dequeue() {
    let queue = queue(10, 0);
    queue.enqueue_many((0..10).collect()).unwrap();
    assert!(sorted(in_threads(10, |_| queue.dequeue().unwrap())).into_iter().eq(0..10));
}

/// `RandomShuffleQueueTest.testEnqueueAndBlockingDequeue`
#[test]
fn enqueue_and_blocking_dequeue() {
    let queue = queue(3, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| (0..3).map(|_| queue.dequeue().unwrap()).collect());
        (0..3).for_each(|n| queue.enqueue(n).unwrap());
        assert_eq!(sorted(taker.join().unwrap()), [0, 1, 2]);
    });
}

/// `RandomShuffleQueueTest.testMultiEnqueueAndDequeue`
#[test]
fn multi_enqueue_and_dequeue() {
    let queue = queue(10, 0);
    let elements = vec![(5, "10"), (10, "20"), (15, "30")];
    elements.iter().for_each(|&element| queue.enqueue(element).unwrap());
    assert_eq!(sorted((0..3).map(|_| queue.dequeue().unwrap()).collect()), elements);
}

/// `RandomShuffleQueueTest.testQueueSizeAfterEnqueueAndDequeue`
#[test]
fn queue_size_after_enqueue_and_dequeue() {
    let queue = queue(10, 0);
    assert_eq!(queue.size(), 0);
    queue.enqueue(42).unwrap();
    assert_eq!(queue.size(), 1);
    queue.dequeue().unwrap();
    assert_eq!(queue.size(), 0);
}

/// `RandomShuffleQueueTest.testEnqueueMany`
#[test]
fn enqueue_many() {
    let queue = filled(10, 0);
    queue.enqueue_many(ELEMENTS.to_vec()).unwrap();
    assert_eq!(sorted((0..8).map(|_| queue.dequeue().unwrap()).collect()), [10, 10, 20, 20, 30, 30, 40, 40]);
}

/// `RandomShuffleQueueTest.testEmptyDequeueMany`
#[test]
fn empty_dequeue_many() {
    let queue = queue(10, 0);
    assert!(queue.dequeue_many(0).unwrap().is_empty());
    queue.enqueue(10).unwrap();
    assert_eq!((queue.dequeue_many(0).unwrap(), queue.size()), (vec![], 1));
}

/// `RandomShuffleQueueTest.testEmptyDequeueUpTo`
#[test]
fn empty_dequeue_up_to() {
    let queue = queue(10, 0);
    assert!(queue.dequeue_up_to(0).unwrap().is_empty());
    queue.enqueue(10).unwrap();
    assert_eq!((queue.dequeue_up_to(0).unwrap(), queue.size()), (vec![], 1));
}

/// `RandomShuffleQueueTest.testEmptyDequeueUpToWithNoShape`
#[test]
fn empty_dequeue_up_to_with_no_shape() {
    // Elements whose size only they know.
    let queue = queue(10, 0);
    assert_eq!(queue.dequeue_up_to(0).unwrap(), Vec::<Vec<f32>>::new());
    queue.enqueue(vec![10.0; 12]).unwrap();
    assert_eq!(queue.dequeue_up_to(0).unwrap(), Vec::<Vec<f32>>::new());
}

/// `RandomShuffleQueueTest.testMultiEnqueueMany`
#[test]
fn multi_enqueue_many() {
    let queue = queue(10, 0);
    let elements: Vec<_> = ELEMENTS.map(|n| (n, [n, n + 1])).into();
    queue.enqueue_many(elements.clone()).unwrap();
    queue.enqueue_many(elements).unwrap();
    for _ in 0..8 {
        let (n, pair) = queue.dequeue().unwrap();
        assert_eq!(pair, [n, n + 1]);
    }
}

/// `RandomShuffleQueueTest.testDequeueUpToNoBlocking`
#[test]
fn dequeue_up_to_no_blocking() {
    let queue = queue(10, 0);
    queue.enqueue_many((0..10).collect()).unwrap();
    let taken = [queue.dequeue_up_to(5).unwrap(), queue.dequeue_up_to(5).unwrap()];
    assert_eq!([taken[0].len(), taken[1].len()], [5, 5]);
    assert!(sorted(taken.concat()).into_iter().eq(0..10));
}

/// `RandomShuffleQueueTest.testMultiDequeueMany`
#[test]
fn multi_dequeue_many() {
    let queue = queue(10, 0);
    let elements: Vec<_> = (0..10).map(|n| (n, [n, n + 1])).collect();
    queue.enqueue_many(elements.clone()).unwrap();
    let mut taken = queue.dequeue_many(4).unwrap();
    taken.push(queue.dequeue().unwrap());
    taken.extend(queue.dequeue_many(4).unwrap());
    taken.push(queue.dequeue().unwrap());
    assert_eq!(sorted(taken), elements);
}

/// `RandomShuffleQueueTest.testHighDimension`
#[test]
fn high_dimension() {
    let queue = queue(10, 0);
    let elements: Vec<[[[[i32; 4]; 4]; 4]; 4]> =
        (0..10).map(|n| [(); 4].map(|()| [(); 4].map(|()| [(); 4].map(|()| [n; 4])))).collect();
    queue.enqueue_many(elements.clone()).unwrap();
    assert_eq!(sorted(queue.dequeue_many(10).unwrap()), elements);
}

/// `RandomShuffleQueueTest.testParallelEnqueueMany`
#[test]
fn parallel_enqueue_many() {
    let queue = queue(1000, 0);
    in_threads(10, |n| queue.enqueue_many((n * 100..(n + 1) * 100).collect()).unwrap());
    assert!(sorted(queue.dequeue_many(1000).unwrap()).into_iter().eq(0..1000));
}

/// `RandomShuffleQueueTest.testParallelDequeueUpTo`
#[test]
fn parallel_dequeue_up_to() {
    let queue = queue(1000, 0);
    queue.enqueue_many((0..1000).collect()).unwrap();
    let taken = in_threads(10, |_| queue.dequeue_up_to(100).unwrap());
    assert!(taken.iter().all(|taken| taken.len() == 100));
    assert!(sorted(taken.concat()).into_iter().eq(0..1000));
}

/// `RandomShuffleQueueTest.testParallelDequeueUpToRandomPartition`
#[test]
fn parallel_dequeue_up_to_random_partition() {
    let sizes: Vec<usize> = (0..10).map(|n| 50 + n * 37 % 101).collect();
    let total = sizes.iter().sum();
    let queue = queue(total, 0);
    queue.enqueue_many((0..total).collect()).unwrap();
    let taken = in_threads(10, |n| queue.dequeue_up_to(sizes[n]).unwrap());
    assert!(taken.iter().zip(&sizes).all(|(taken, &size)| taken.len() == size));
    assert!(sorted(taken.concat()).into_iter().eq(0..total));
}

/// `RandomShuffleQueueTest.testBlockingDequeueUpTo`
#[test]
fn blocking_dequeue_up_to() {
    let queue = queue(10, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| queue.dequeue_up_to(4).unwrap());
        queue.enqueue_many(ELEMENTS[..3].to_vec()).unwrap();
        while queue.size() > 0 {
            thread::yield_now();
        }
        assert!(!taker.is_finished());
        queue.enqueue(ELEMENTS[3]).unwrap();
        assert_eq!(sorted(taker.join().unwrap()), ELEMENTS);
    });
}

/// `RandomShuffleQueueTest.testDequeueManyWithTensorParameter`
#[test]
fn dequeue_many_with_tensor_parameter() {
    let sizes = queue(100, 0);
    sizes.enqueue_many((0..100).map(|n| n * 37 % 10).collect::<Vec<usize>>()).unwrap();
    let total = (0..100).map(|n| n * 37 % 10).sum();
    let elements = queue(total, 0);
    elements.enqueue_many((0..total).collect()).unwrap();
    let taken = (0..100).flat_map(|_| elements.dequeue_many(sizes.dequeue().unwrap()).unwrap()).collect();
    assert!(sorted(taken).into_iter().eq(0..total));
}

/// `RandomShuffleQueueTest.testDequeueFromClosedQueue`
#[test]
fn dequeue_from_closed_queue() {
    let queue = filled(10, 2);
    queue.close(false);
    assert_eq!(sorted((0..4).map(|_| queue.dequeue().unwrap()).collect()), ELEMENTS);
    closed(queue.dequeue());
}

/// `RandomShuffleQueueTest.testBlockingDequeueFromClosedQueue`
#[test]
fn blocking_dequeue_from_closed_queue() {
    let min_size = 2;
    let queue = filled(10, min_size);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let taken = (0..4).map(|_| queue.dequeue().unwrap()).collect();
            closed(queue.dequeue());
            taken
        });
        // Two leave, and then the taker waits.
        while queue.size() > min_size {
            thread::yield_now();
        }
        assert!(!taker.is_finished() && queue.size() == min_size);
        queue.close(false);
        assert_eq!(sorted(taker.join().unwrap()), ELEMENTS);
    });
}

/// `RandomShuffleQueueTest.testBlockingDequeueManyFromClosedQueue`
#[test]
fn blocking_dequeue_many_from_closed_queue() {
    let queue = filled(10, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let taken = queue.dequeue_many(4).unwrap();
            closed(queue.dequeue_many(4));
            taken
        });
        while queue.size() > 0 {
            thread::yield_now();
        }
        queue.close(false);
        assert_eq!(sorted(taker.join().unwrap()), ELEMENTS);
    });
}

/// `RandomShuffleQueueTest.testBlockingDequeueUpToFromClosedQueueReturnsRemainder`
#[test]
fn blocking_dequeue_up_to_from_closed_queue_returns_remainder() {
    let queue = filled(10, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let first = queue.dequeue_up_to(3).unwrap();
            assert_eq!(first.len(), 3);
            let second = queue.dequeue_up_to(3).unwrap();
            assert_eq!(second.len(), 1);
            [first, second].concat()
        });
        // All are in the taker's hands.
        while queue.size() > 0 {
            thread::yield_now();
        }
        queue.close(false);
        assert_eq!(sorted(taker.join().unwrap()), ELEMENTS);
    });
}

/// `RandomShuffleQueueTest.testBlockingDequeueManyFromClosedQueueWithElementsRemaining`
#[test]
fn blocking_dequeue_many_from_closed_queue_with_elements_remaining() {
    let queue = filled(10, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let taken = queue.dequeue_many(3).unwrap();
            closed(queue.dequeue_many(3));
            taken
        });
        while queue.size() > 0 {
            thread::yield_now();
        }
        queue.close(false);
        let mut taken = taker.join().unwrap();
        assert_eq!((taken.len(), queue.size()), (3, 1));
        taken.push(queue.dequeue().unwrap());
        assert_eq!(sorted(taken), ELEMENTS);
    });
}

/// `RandomShuffleQueueTest.testBlockingDequeueManyFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_many_from_closed_empty_queue() {
    let queue = queue::<i32>(10, 5);
    thread::scope(|scope| {
        let taker = scope.spawn(|| closed(queue.dequeue_many(4)));
        queue.close(false);
        taker.join().unwrap();
    });
}

/// `RandomShuffleQueueTest.testEnqueueToClosedQueue`
#[test]
fn enqueue_to_closed_queue() {
    let queue = queue(10, 4);
    queue.enqueue(10).unwrap();
    queue.close(false);
    let error = queue.enqueue(20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().contains("is closed"), "{error}");
}

/// `RandomShuffleQueueTest.testEnqueueManyToClosedQueue`
#[test]
fn enqueue_many_to_closed_queue() {
    let queue = filled(10, 5);
    queue.close(false);
    assert_eq!(kind(queue.enqueue_many(ELEMENTS.to_vec())), ErrorKind::Cancelled);
    assert_eq!(queue.size(), 4);
}

/// `RandomShuffleQueueTest.testBlockingEnqueueManyToFullQueue`
#[test]
fn blocking_enqueue_many_to_full_queue() {
    let queue = filled(4, 0);
    thread::scope(|scope| {
        let adder = scope.spawn(|| queue.enqueue_many(vec![50, 60]).unwrap());
        until_pending(|| queue.num_pending(), 1);
        assert_eq!(queue.size(), 4);
        let mut taken = vec![queue.dequeue().unwrap()];
        // The first of the two goes in, the second waits.
        while queue.size() < 4 {
            thread::yield_now();
        }
        assert!(!adder.is_finished());
        taken.push(queue.dequeue().unwrap());
        adder.join().unwrap();
        taken.extend((0..4).map(|_| queue.dequeue().unwrap()));
        assert_eq!(sorted(taken), [10, 20, 30, 40, 50, 60]);
    });
}

/// `RandomShuffleQueueTest.testBlockingEnqueueToClosedQueue`
#[test]
fn blocking_enqueue_to_closed_queue() {
    let queue = filled(4, 0);
    thread::scope(|scope| {
        let adder = scope.spawn(|| queue.enqueue(50).map(|()| kind(queue.enqueue(60))));
        until_pending(|| queue.num_pending(), 1);
        queue.close(false);
        let mut taken = vec![queue.dequeue().unwrap()];
        assert_eq!(adder.join().unwrap().unwrap(), ErrorKind::Cancelled);
        taken.extend(drain(&*queue, false));
        assert_eq!(sorted(taken), [10, 20, 30, 40, 50]);
    });
    closed(queue.dequeue());
}

/// `RandomShuffleQueueTest.testSharedQueueSameSession`
#[test]
fn shared_queue_same_session() {
    let name = "RandomShuffleQueueTest.testSharedQueueSameSession";
    let open = || RandomShuffleQueue::shared(name, 1, 0, Some(17)).unwrap();
    let (first, second) = (open(), open());
    first.enqueue(10).unwrap();
    assert_eq!((first.size(), second.size()), (1, 1));
    assert_eq!(second.dequeue().unwrap(), 10);
    second.enqueue(20).unwrap();
    assert_eq!((first.dequeue().unwrap(), second.size()), (20, 0));
}

/// `RandomShuffleQueueTest.testSharedQueueSameSessionGraphSeedNone`
#[test]
fn shared_queue_same_session_graph_seed_none() {
    let name = "RandomShuffleQueueTest.testSharedQueueSameSessionGraphSeedNone";
    let open = || RandomShuffleQueue::<i32>::shared(name, 10, 0, None);
    let first = open().unwrap();
    assert!(Arc::ptr_eq(&first, &open().unwrap()));
}

/// `RandomShuffleQueueTest.testSelectQueue`
#[test]
fn select_queue() {
    let queues: Vec<_> = (0..10).map(|_| queue(10, 0)).collect();
    for n in 0..20 {
        let index = n * 7 % 10;
        queue::select_queue(&queues, index).unwrap().enqueue(n).unwrap();
        assert_eq!(queues[index].dequeue().unwrap(), n);
    }
}

/// `RandomShuffleQueueTest.testSelectQueueOutOfRange`
#[test]
fn select_queue_out_of_range() {
    let queues = [queue::<i32>(10, 0), queue(15, 0)];
    assert_eq!(kind(queue::select_queue(&queues, 2)), ErrorKind::InvalidArgument);
}

/// Two rounds of ten elements through a queue of each of two seeds: the orders are all different.
fn in_different_orders(take: impl Fn(&RandomShuffleQueue<i32>) -> Vec<i32>) {
    let mut orders = BTreeSet::new();
    for seed in [1, 7] {
        let queue = RandomShuffleQueue::new(10, 5, Some(seed)).unwrap();
        queue.enqueue_many((0..5).collect()).unwrap();
        for _ in 0..2 {
            queue.enqueue_many((5..10).collect()).unwrap();
            assert!(orders.insert(take(&queue)));
        }
    }
    assert_eq!(orders.len(), 4);
}

/// `RandomShuffleQueueTest.testDequeueManyInDifferentOrders`
#[test]
fn dequeue_many_in_different_orders() {
    in_different_orders(|queue| queue.dequeue_many(5).unwrap());
}

/// `RandomShuffleQueueTest.testDequeueUpToInDifferentOrders`
#[test]
fn dequeue_up_to_in_different_orders() {
    in_different_orders(|queue| queue.dequeue_up_to(5).unwrap());
}

/// `RandomShuffleQueueTest.testBigEnqueueMany`
#[test]
fn big_enqueue_many() {
    let queue = queue(5, 0);
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let adder = scope.spawn(|| queue.enqueue_many((0..10).collect()).unwrap());
        for n in 0..10 {
            while queue.size() < 5.min(10 - n) {
                thread::yield_now();
            }
            assert!(n >= 5 || !adder.is_finished(), "finished after {n}");
            taken.push(queue.dequeue().unwrap());
        }
        adder.join().unwrap();
    });
    assert!(sorted(taken).into_iter().eq(0..10));
}

/// `RandomShuffleQueueTest.testBigDequeueMany`
#[test]
fn big_dequeue_many() {
    let queue = queue(2, 0);
    thread::scope(|scope| {
        let taker = scope.spawn(|| queue.dequeue_many(4).unwrap());
        for n in 0..4 {
            assert!(!taker.is_finished());
            queue.enqueue(n).unwrap();
        }
        assert_eq!(sorted(taker.join().unwrap()), [0, 1, 2, 3]);
    });
}
