//! The FIFO queue.

use super::queues::{closed, drain, in_threads, kind, until_pending};
use forebay::ErrorKind;
use forebay::queue::{self, FifoQueue, Queue, shared_spec};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const ELEMENTS: [f32; 4] = [10.0, 20.0, 30.0, 40.0];

fn queue<T: Send>(capacity: usize) -> Arc<FifoQueue<T>> {
    Arc::new(FifoQueue::new(capacity).unwrap())
}

/// A queue with [`ELEMENTS`] in it.
fn filled(capacity: usize) -> Arc<FifoQueue<f32>> {
    let queue = queue(capacity);
    queue.enqueue_many(ELEMENTS.to_vec()).unwrap();
    queue
}

/// `FIFOQueueTest.testConstructor`
#[test]
fn constructor() {
    let queue = FifoQueue::<f32>::shared("FIFOQueueTest.testConstructor", Some(10)).unwrap();
    assert_eq!((queue.capacity(), queue.size(), queue.is_closed()), (Some(10), 0, false));
    let spec = shared_spec("FIFOQueueTest.testConstructor").unwrap();
    assert_eq!(spec.to_string(), "FIFO queue, element type f32, capacity 10");
    assert_eq!(FifoQueue::<f32>::unbounded().capacity(), None);
}

/// `FIFOQueueTest.testMultiQueueConstructor`
#[test]
fn multi_queue_constructor() {
    let name = "FIFOQueueTest.testMultiQueueConstructor";
    let _queue = FifoQueue::<(i32, f32)>::shared(name, Some(5)).unwrap();
    let spec = shared_spec(name).unwrap();
    assert_eq!(spec.get("element type"), Some("(i32, f32)"));
    assert_eq!(spec.get("capacity"), Some("5"));
}

/// `FIFOQueueTest.testEnqueue`
#[test]
fn enqueue() {
    let queue = queue(10);
    queue.enqueue(10.0f32).unwrap();
    assert_eq!(queue.size(), 1);
}

/// `FIFOQueueTest.testMultipleDequeues`
#[test]
fn multiple_dequeues() {
    let queue = queue(10);
    queue.enqueue_many(vec![1, 2, 3]).unwrap();
    let mut taken = in_threads(3, |_| queue.dequeue().unwrap());
    taken.sort_unstable();
    assert_eq!((taken, queue.size()), (vec![1, 2, 3], 0));
}

/// `FIFOQueueTest.testParallelEnqueue`
#[test]
fn parallel_enqueue() {
    let queue = queue(10);
    in_threads(10, |n| queue.enqueue(n).unwrap());
    let mut taken: Vec<usize> = (0..10).map(|_| queue.dequeue().unwrap()).collect();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..10));
}

/// `FIFOQueueTest.testDequeue`
#[test]
fn dequeue() {
    let queue = queue(10);
    ELEMENTS.iter().for_each(|&element| queue.enqueue(element).unwrap());
    assert_eq!([(); 4].map(|()| queue.dequeue().unwrap()), ELEMENTS);
}

/// `FIFOQueueTest.testMultiEnqueueAndDequeue`
#[test]
fn multi_enqueue_and_dequeue() {
    let queue = queue(10);
    let elements = [(5, 10.0f32), (10, 20.0), (15, 30.0)];
    elements.iter().for_each(|&element| queue.enqueue(element).unwrap());
    assert_eq!([(); 3].map(|()| queue.dequeue().unwrap()), elements);
}

/// `FIFOQueueTest.testQueueSizeEmpty`
#[test]
fn queue_size_empty() {
    assert_eq!(queue::<f32>(10).size(), 0);
}

/// `FIFOQueueTest.testEnqueueMany`
#[test]
fn enqueue_many() {
    let queue = filled(10);
    queue.enqueue_many(ELEMENTS.to_vec()).unwrap();
    for _ in 0..2 {
        assert_eq!([(); 4].map(|()| queue.dequeue().unwrap()), ELEMENTS);
    }
}

/// `FIFOQueueTest.testEmptyEnqueueMany`
#[test]
fn empty_enqueue_many() {
    let queue = queue::<[f32; 0]>(10);
    queue.enqueue_many(Vec::new()).unwrap();
    assert_eq!(queue.size(), 0);
}

/// `FIFOQueueTest.testEmptyDequeueUpTo`
#[test]
fn empty_dequeue_up_to() {
    let queue = queue(10);
    assert!(queue.dequeue_up_to(0).unwrap().is_empty());
    queue.enqueue(10.0f32).unwrap();
    assert!(queue.dequeue_up_to(0).unwrap().is_empty());
    assert_eq!(queue.size(), 1);
}

/// `FIFOQueueTest.testDequeueMany`
#[test]
fn dequeue_many() {
    let queue = queue(10);
    queue.enqueue_many((0..10).collect()).unwrap();
    assert_eq!(queue.dequeue_many(4).unwrap(), [0, 1, 2, 3]);
    assert_eq!(queue.dequeue_many(5).unwrap(), [4, 5, 6, 7, 8]);
    assert_eq!(queue.size(), 1);
}

/// `FIFOQueueTest.testDequeueUpToNoBlocking`
#[test]
fn dequeue_up_to_no_blocking() {
    let queue = queue(10);
    queue.enqueue_many((0..10).collect()).unwrap();
    assert_eq!(queue.dequeue_up_to(4).unwrap(), [0, 1, 2, 3]);
    assert_eq!(queue.dequeue_up_to(4).unwrap(), [4, 5, 6, 7]);
}

/// `FIFOQueueTest.testMultiDequeueUpToNoBlocking`
#[test]
fn multi_dequeue_up_to_no_blocking() {
    let queue = queue(10);
    let elements: Vec<_> = (0..10).map(|n| (n as f32, [n, n + 1])).collect();
    queue.enqueue_many(elements.clone()).unwrap();
    assert_eq!(queue.dequeue_up_to(4).unwrap(), elements[..4]);
    assert_eq!(queue.dequeue().unwrap(), elements[4]);
    assert_eq!(queue.dequeue_up_to(4).unwrap(), elements[5..9]);
}

/// `FIFOQueueTest.testHighDimension`
#[test]
fn high_dimension() {
    let queue = queue(10);
    let elements: Vec<[[[[i32; 4]; 4]; 4]; 4]> =
        (0..10).map(|n| [(); 4].map(|()| [(); 4].map(|()| [(); 4].map(|()| [n; 4])))).collect();
    queue.enqueue_many(elements.clone()).unwrap();
    assert_eq!(queue.dequeue_many(10).unwrap(), elements);
}

/// `FIFOQueueTest.testParallelDequeueMany`
#[test]
fn parallel_dequeue_many() {
    let queue = queue(1000);
    queue.enqueue_many((0..1000).collect()).unwrap();
    let mut taken = in_threads(10, |_| queue.dequeue_many(100).unwrap()).concat();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..1000));
}

/// `FIFOQueueTest.testParallelDequeueUpTo`
#[test]
fn parallel_dequeue_up_to() {
    let queue = queue(1000);
    queue.enqueue_many((0..1000).collect()).unwrap();
    queue.close(false);
    let mut taken = in_threads(10, |_| queue.dequeue_up_to(101).unwrap()).concat();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..1000));
}

/// `FIFOQueueTest.testMixtureOfEnqueueAndEnqueueMany`
#[test]
fn mixture_of_enqueue_and_enqueue_many() {
    let queue = queue(10);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0;
            while next < 250 {
                let count = (next * 7 % 5 + 1).min(250 - next);
                if count == 1 {
                    queue.enqueue(next).unwrap();
                } else {
                    queue.enqueue_many((next..next + count).collect()).unwrap();
                }
                next += count;
            }
        });
        (0..250).for_each(|n| assert_eq!(queue.dequeue().unwrap(), n));
    });
    assert_eq!(queue.size(), 0);
}

/// `FIFOQueueTest.testMixtureOfDequeueAndDequeueMany`
#[test]
fn mixture_of_dequeue_and_dequeue_many() {
    let queue = queue(10);
    thread::scope(|scope| {
        scope.spawn(|| queue.enqueue_many((0..250).collect()).unwrap());
        let mut taken = Vec::new();
        while taken.len() < 250 {
            match (taken.len() * 11 % 13 + 1).min(250 - taken.len()) {
                1 => taken.push(queue.dequeue().unwrap()),
                count => taken.extend(queue.dequeue_many(count).unwrap()),
            }
        }
        assert!(taken.into_iter().eq(0..250));
    });
    assert_eq!(queue.size(), 0);
}

/// `FIFOQueueTest.testBlockingDequeueUpTo`
#[test]
fn blocking_dequeue_up_to() {
    let queue = queue(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| queue.dequeue_up_to(4).unwrap());
        queue.enqueue_many(ELEMENTS[..3].to_vec()).unwrap();
        // The taker takes the three as they come, and is not content with them.
        while queue.size() > 0 {
            thread::yield_now();
        }
        assert!(!taker.is_finished());
        queue.enqueue(ELEMENTS[3]).unwrap();
        assert_eq!(taker.join().unwrap(), ELEMENTS);
    });
}

/// `FIFOQueueTest.testDequeueManyWithTensorParameter`
#[test]
fn dequeue_many_with_tensor_parameter() {
    let sizes = queue(100);
    sizes.enqueue_many((0..100).map(|n| n * 37 % 10).collect::<Vec<usize>>()).unwrap();
    let total = (0..100).map(|n| n * 37 % 10).sum();
    let elements = queue(total);
    elements.enqueue_many((0..total).collect()).unwrap();
    let taken: Vec<_> =
        (0..100).flat_map(|_| elements.dequeue_many(sizes.dequeue().unwrap()).unwrap()).collect();
    assert!(taken.into_iter().eq(0..total));
}

/// `FIFOQueueTest.testBlockingDequeueFromClosedQueue`
#[test]
fn blocking_dequeue_from_closed_queue() {
    let queue = filled(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            assert_eq!([(); 4].map(|()| queue.dequeue().unwrap()), ELEMENTS);
            closed(queue.dequeue())
        });
        queue.close(false);
        taker.join().unwrap();
    });
}

/// `FIFOQueueTest.testBlockingDequeueFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_from_closed_empty_queue() {
    let queue = queue::<f32>(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| closed(queue.dequeue()));
        queue.close(false);
        taker.join().unwrap();
    });
}

/// `FIFOQueueTest.testBlockingDequeueManyButNotAllFromClosedQueue`
#[test]
fn blocking_dequeue_many_but_not_all_from_closed_queue() {
    let queue = filled(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            assert_eq!(queue.dequeue_many(3).unwrap(), ELEMENTS[..3]);
            let error = queue.dequeue_many(3).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
            assert!(error.message().starts_with("3 elements were asked for"), "{error}");
        });
        queue.close(false);
        taker.join().unwrap();
    });
}

/// `FIFOQueueTest.testDequeueUpToFromClosedQueueReturnsRemainder`
#[test]
fn dequeue_up_to_from_closed_queue_returns_remainder() {
    let queue = filled(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            assert_eq!(queue.dequeue_up_to(3).unwrap(), ELEMENTS[..3]);
            assert_eq!(queue.dequeue_up_to(3).unwrap(), ELEMENTS[3..]);
        });
        queue.close(false);
        taker.join().unwrap();
    });
    closed(queue.dequeue_up_to(3));
}

/// `FIFOQueueTest.testClosedBlockingDequeueManyRestoresPartialBatch`
#[test]
fn closed_blocking_dequeue_many_restores_partial_batch() {
    let queue = queue(4);
    let elements = [(1.0f32, 10.0f32), (2.0, 20.0), (3.0, 30.0)];
    queue.enqueue_many(elements.to_vec()).unwrap();
    thread::scope(|scope| {
        let taker = scope.spawn(|| closed(queue.dequeue_many(4)));
        // The taker has the three in hand.
        while queue.size() > 0 {
            thread::yield_now();
        }
        queue.close(false);
        taker.join().unwrap();
    });
    assert_eq!(queue.size(), 3);
    assert_eq!([(); 3].map(|()| queue.dequeue().unwrap()), elements);
    assert_eq!(queue.size(), 0);
}

/// `FIFOQueueTest.testBlockingDequeueManyFromClosedEmptyQueue`
#[test]
fn blocking_dequeue_many_from_closed_empty_queue() {
    let queue = queue::<f32>(10);
    thread::scope(|scope| {
        let taker = scope.spawn(|| closed(queue.dequeue_many(4)));
        queue.close(false);
        taker.join().unwrap();
    });
}

/// `FIFOQueueTest.testEnqueueToClosedQueue`
#[test]
fn enqueue_to_closed_queue() {
    let queue = queue(10);
    queue.enqueue(10.0f32).unwrap();
    queue.close(false);
    let error = queue.enqueue(20.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.message().contains("is closed"), "{error}");
}

/// `FIFOQueueTest.testEnqueueManyToClosedQueue`
#[test]
fn enqueue_many_to_closed_queue() {
    let queue = filled(10);
    queue.close(false);
    assert_eq!(kind(queue.enqueue_many(ELEMENTS.to_vec())), ErrorKind::Cancelled);
    assert_eq!(queue.size(), 4);
}

/// `FIFOQueueTest.testBlockingEnqueueManyToFullQueue`
#[test]
fn blocking_enqueue_many_to_full_queue() {
    let queue = filled(4);
    thread::scope(|scope| {
        scope.spawn(|| queue.enqueue_many(vec![50.0, 60.0]).unwrap());
        until_pending(|| queue.num_pending(), 1);
        let taken = [(); 6].map(|()| {
            let taken = queue.dequeue().unwrap();
            assert!(queue.size() <= 4);
            taken
        });
        assert_eq!(taken, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    });
}

/// `FIFOQueueTest.testBlockingEnqueueBeforeClose`
#[test]
fn blocking_enqueue_before_close() {
    let queue = filled(4);
    thread::scope(|scope| {
        let adder = scope.spawn(|| queue.enqueue(50.0));
        until_pending(|| queue.num_pending(), 1);
        queue.close(false);
        assert!(!adder.is_finished());
        assert_eq!([(); 5].map(|()| queue.dequeue().unwrap()), [10.0, 20.0, 30.0, 40.0, 50.0]);
        adder.join().unwrap().unwrap();
    });
    closed(queue.dequeue());
}

/// `FIFOQueueTest.testDoesNotLoseValue`
#[test]
fn does_not_lose_value() {
    let queue = queue(1);
    queue.enqueue([10.0f32]).unwrap();
    for _ in 0..500 {
        assert_eq!(queue.size(), 1);
    }
    assert_eq!(queue.dequeue().unwrap(), [10.0]);
}

/// `FIFOQueueTest.testSharedQueueSameSession`
#[test]
fn shared_queue_same_session() {
    let open = || FifoQueue::shared("FIFOQueueTest.testSharedQueueSameSession", Some(1)).unwrap();
    let (first, second) = (open(), open());
    first.enqueue(10.0f32).unwrap();
    assert_eq!((first.size(), second.size()), (1, 1));
    assert_eq!(second.dequeue().unwrap(), 10.0);
    second.enqueue(20.0).unwrap();
    assert_eq!((first.dequeue().unwrap(), second.size()), (20.0, 0));
}

/// `FIFOQueueTest.testSelectQueue`
#[test]
fn select_queue() {
    let queues: Vec<_> = (0..10).map(|_| queue(10)).collect();
    for n in 0..20 {
        let index = n * 7 % 10;
        queue::select_queue(&queues, index).unwrap().enqueue(n).unwrap();
        assert_eq!(queues[index].dequeue().unwrap(), n);
    }
    let any: [Arc<dyn Queue<usize>>; 2] = [queues[0].clone(), queues[1].clone()];
    assert!(queue::select_queue(&any, 1).is_ok());
}

/// `FIFOQueueTest.testSelectQueueOutOfRange`
#[test]
fn select_queue_out_of_range() {
    let queues = [queue::<f32>(10), queue(15)];
    let error = queue::select_queue(&queues, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.message(), "queue 2 was selected, but there are 2, counted from 0");
}

/// `FIFOQueueTest.testBigEnqueueMany`
#[test]
fn big_enqueue_many() {
    let queue = queue(5);
    thread::scope(|scope| {
        let adder = scope.spawn(|| queue.enqueue_many((0..10).collect()).unwrap());
        for n in 0..10 {
            // As long as there is more to come, the queue fills up again after each.
            while queue.size() < 5.min(10 - n) {
                thread::yield_now();
            }
            assert!(n >= 5 || !adder.is_finished(), "finished after {n}");
            assert_eq!(queue.dequeue().unwrap(), n);
        }
        adder.join().unwrap();
    });
}

/// `FIFOQueueTest.testBigDequeueMany`
#[test]
fn big_dequeue_many() {
    let queue = queue(2);
    thread::scope(|scope| {
        let taker = scope.spawn(|| queue.dequeue_many(4).unwrap());
        for n in 0..4 {
            assert!(!taker.is_finished());
            queue.enqueue(n).unwrap();
        }
        assert_eq!(taker.join().unwrap(), [0, 1, 2, 3]);
    });
}

/// `FIFOQueueTest.testDequeueEnqueueFail`
#[test]
fn dequeue_enqueue_fail() {
    let queue = queue::<i32>(10);
    let failed = thread::scope(|scope| {
        let taker = scope.spawn(|| queue.dequeue());
        // What was to be added cannot be made: the error comes through, and the taker can be woken.
        let failed = "ten".parse::<i32>().map(|n| queue.enqueue(n));
        queue.cancel();
        assert_eq!(kind(taker.join().unwrap()), ErrorKind::Cancelled);
        failed
    });
    assert!(failed.is_err());
}

/// `FIFOQueueWithTimeoutTest.testReusableAfterTimeout`
#[test]
fn reusable_after_timeout() {
    let queue = queue(10);
    for _ in 0..2 {
        assert_eq!(kind(queue.dequeue_within(Duration::from_millis(1))), ErrorKind::Timeout);
    }
    queue.enqueue(37).unwrap();
    assert_eq!(queue.dequeue_within(Duration::from_secs(60)).unwrap(), 37);
    assert!(drain(&*queue, false).is_empty());
}
