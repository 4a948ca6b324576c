//! Promise: who opens a queue by name gets the queue of that name, or is told in what it differs; and a name is free again when
//! nobody holds its queue.
#![cfg(not(loom))]

use forebay::ErrorKind;
use forebay::queue::{
    FifoQueue, PriorityQueue, Queue, RandomShuffleQueue, Spec, attach, shared, shared_spec,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

fn refused<Q>(opened: forebay::Result<Arc<Q>>) -> String {
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    error.message().to_owned()
}

#[test]
fn what_differs_is_named_with_both_values() {
    let _held = RandomShuffleQueue::<i64>::shared("differs", 10, 2, Some(7)).unwrap();
    let differs = |property: &str, here: &str, there: &str| {
        format!("the shared queue 'differs' has {property} {here}, but {there} was asked for")
    };
    let open = |capacity, minimum, seed| {
        refused(RandomShuffleQueue::<i64>::shared("differs", capacity, minimum, seed))
    };
    assert_eq!(open(11, 2, Some(7)), differs("capacity", "10", "11"));
    assert_eq!(open(10, 3, Some(7)), differs("min_after_dequeue", "2", "3"));
    assert_eq!(open(10, 2, Some(8)), differs("seed", "7", "8"));
    assert_eq!(open(10, 2, None), differs("seed", "7", "none"));
    assert_eq!(
        refused(RandomShuffleQueue::<f32>::shared("differs", 10, 2, Some(7))),
        differs("element type", "i64", "f32")
    );
    let kind = differs("kind", "random-shuffle queue", "FIFO queue");
    assert_eq!(refused(FifoQueue::<i64>::shared("differs", Some(10))), kind);
    let kind = differs("kind", "random-shuffle queue", "priority queue");
    assert_eq!(refused(PriorityQueue::<i64>::shared("differs", None)), kind);

    let _held = FifoQueue::<i64>::shared("differs, too", None).unwrap();
    let capacity = "the shared queue 'differs, too' has capacity unbounded, but 3 was asked for";
    assert_eq!(refused(FifoQueue::<i64>::shared("differs, too", Some(3))), capacity);
    // A property that only one of the two has.
    let spec = Spec::new("FIFO queue").with("element type", "i64");
    let found = refused(shared("differs, too", &spec, || FifoQueue::<i64>::new(1)));
    assert_eq!(found, "the shared queue 'differs, too' has capacity unbounded, but not given was asked for");
}

#[test]
fn a_consumer_that_knows_only_the_name_gets_the_queue() {
    let producer = RandomShuffleQueue::<u8>::shared("attached", 10, 2, None).unwrap();
    let consumer = RandomShuffleQueue::<u8>::attach("attached").unwrap();
    producer.enqueue_many(vec![1, 2, 3]).unwrap();
    assert!(consumer.dequeue().is_ok());
    assert!(Arc::ptr_eq(&producer, &consumer));
    let other = refused(FifoQueue::<u8>::attach("attached"));
    assert!(
        other.starts_with(
            "the shared queue 'attached' is a random-shuffle queue, element type u8, capacity 10"
        ) && other.contains("FifoQueue<u8>"),
        "{other}"
    );
    let other = refused(attach::<RandomShuffleQueue<u16>>("attached"));
    assert!(other.contains("element type u8") && other.contains("RandomShuffleQueue<u16>"), "{other}");
    let none = refused(FifoQueue::<u8>::attach("never opened"));
    assert!(none.starts_with("no shared queue is named 'never opened'; there are: "), "{none}");
    assert!(none.contains("'attached'"), "{none}");
}

#[test]
fn a_name_is_held_as_long_as_its_queue() {
    let first = FifoQueue::<u8>::shared("held", Some(1)).unwrap();
    let second = FifoQueue::<u8>::attach("held").unwrap();
    first.enqueue(7).unwrap();
    drop(first);
    // Still the same queue, with what is in it.
    assert_eq!(FifoQueue::<u8>::shared("held", Some(1)).unwrap().size(), 1);
    assert_eq!(shared_spec("held").unwrap().get("capacity"), Some("1"));
    drop(second);
    assert_eq!(shared_spec("held"), None);
    let gone = refused(FifoQueue::<u8>::attach("held"));
    assert!(!gone.split(';').nth(1).unwrap().contains("'held'"), "{gone}");
    // A new one, which may be anything.
    let third = PriorityQueue::<u8>::shared("held", Some(5)).unwrap();
    assert_eq!((third.size(), third.capacity()), (0, Some(5)));
}

#[test]
fn a_queue_that_cannot_be_made_leaves_no_name() {
    refused(FifoQueue::<u8>::shared("not made", Some(0)));
    refused(RandomShuffleQueue::<u8>::shared("not made", 3, 3, None));
    assert_eq!(shared_spec("not made"), None);
}

/// A queue whose making and dropping open other shared queues.
struct Nested {
    _inner: Arc<FifoQueue<u8>>,
}

impl Drop for Nested {
    fn drop(&mut self) {
        FifoQueue::<u8>::shared("inner", Some(1)).unwrap();
    }
}

#[test]
fn the_table_is_not_locked_while_a_queue_is_made_or_dropped() {
    let spec = Spec::new("nested");
    let make = || FifoQueue::shared("inner", Some(1)).map(|inner| Nested { _inner: inner });
    let outer = shared("outer", &spec, make).unwrap();
    assert!(shared::<Nested>("outer", &Spec::new("other"), make).is_err());
    // The type differs, and not the spec.
    let other = refused(shared("outer", &spec, || Ok(7u8)));
    assert_eq!(other, "the shared queue 'outer' is a nested of another type than u8");
    drop(outer);
    assert_eq!((shared_spec("outer"), shared_spec("inner")), (None, None));
}

#[test]
fn all_who_open_a_name_at_once_get_one_queue() {
    for round in 0..200 {
        let (name, start) = (format!("at once {round}"), Barrier::new(4));
        let made = AtomicUsize::new(0);
        let open = || {
            start.wait();
            shared(&name, &Spec::new("counter"), || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(AtomicUsize::new(0))
            })
            .unwrap()
        };
        let opened: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|one| Arc::ptr_eq(one, &opened[0])), "round {round}");
        assert!((1..=4).contains(&made.load(Ordering::Relaxed)));
    }
}
