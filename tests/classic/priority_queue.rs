//! The priority queue.

use super::queues::in_threads;
use forebay::queue::{PriorityQueue, Queue};
use std::any::type_name_of_val;
use std::thread;

/// Some priorities, with duplicates and both signs, each with its number.
fn elements(len: usize) -> Vec<(i64, usize)> {
    (0..len).map(|n| ((n * 7919 % 101) as i64 - 50, n)).collect()
}

/// By priority, and by number among equals.
fn sorted(mut elements: Vec<(i64, usize)>) -> Vec<(i64, usize)> {
    elements.sort();
    elements
}

/// `PriorityQueueTest.testRoundTripInsertMultiThreadedReadOnceSorts`
#[test]
fn round_trip_insert_multi_threaded_read_once_sorts() {
    let queue = PriorityQueue::new(2000).unwrap();
    let all = elements(1000);
    in_threads(100, |n| all[n * 10..][..10].iter().for_each(|&element| queue.enqueue(element).unwrap()));
    let taken = queue.dequeue_many(1000).unwrap();
    assert!(taken.is_sorted_by_key(|&(priority, _)| priority));
    assert_eq!(sorted(taken), sorted(all));
}

/// `PriorityQueueTest.testRoundTripFillsCapacityMultiThreadedEnqueueAndDequeue`
#[test]
fn round_trip_fills_capacity_multi_threaded_enqueue_and_dequeue() {
    let queue = PriorityQueue::new(10).unwrap();
    let all = elements(400);
    let taken = in_threads(80, |n| {
        if n < 40 {
            queue.enqueue_many(all[n * 10..][..10].to_vec()).unwrap();
            Vec::new()
        } else {
            queue.dequeue_many(10).unwrap()
        }
    });
    assert_eq!(sorted(taken.concat()), sorted(all));
    assert_eq!(queue.size(), 0);
}

/// `PriorityQueueTest.testRoundTripInsertManyMultiThreadedReadOnceSorts`
#[test]
fn round_trip_insert_many_multi_threaded_read_once_sorts() {
    let queue = PriorityQueue::unbounded();
    let all = elements(1000);
    in_threads(100, |n| queue.enqueue_many(all[n * 10..][..10].to_vec()).unwrap());
    let taken = queue.dequeue_many(1000).unwrap();
    assert!(taken.is_sorted_by_key(|&(priority, _)| priority));
    assert_eq!(sorted(taken), sorted(all));
}

/// `PriorityQueueTest.testRoundTripInsertOnceReadOnceSorts`
#[test]
fn round_trip_insert_once_read_once_sorts() {
    let queue = PriorityQueue::new(2000).unwrap();
    let all = elements(100);
    queue.enqueue_many(all.clone()).unwrap();
    // In the order they came among equals, too.
    assert_eq!(queue.dequeue_many(100).unwrap(), sorted(all));
}

/// `PriorityQueueTest.testRoundTripInsertOnceReadOnceLotsSorts`
#[test]
fn round_trip_insert_once_read_once_lots_sorts() {
    let queue = PriorityQueue::new(2000).unwrap();
    let mut all = elements(998);
    all.extend([(i64::MIN, 998), (i64::MAX, 999)]);
    queue.enqueue_many(all.clone()).unwrap();
    let taken: Vec<_> = (0..1000).map(|_| queue.dequeue().unwrap()).collect();
    assert_eq!(taken, sorted(all));
}

/// `PriorityQueueTest.testInsertingNonInt64Fails`
#[test]
fn inserting_non_int64_fails() {
    // A priority of another type is no element of the queue: the type says so.
    fn priority_of<P, T>(_: &impl Queue<(P, T)>, priority: P) -> P {
        priority
    }
    let queue = PriorityQueue::<&str>::new(10).unwrap();
    assert_eq!(type_name_of_val(&priority_of(&queue, 7)), "i64");
    thread::scope(|scope| {
        scope.spawn(|| queue.enqueue((7, "seven")).unwrap());
        assert_eq!(queue.dequeue().unwrap(), (7i64, "seven"));
    });
}
