//! Promise: the waiting layer loses no wake-up, and the rings and queues no value, under *every* interleaving.
//!
//! Run by `scripts/loom`. Each test is a small program that loom runs once for every order of its steps and
//! every value the memory model lets a load return; a thread that would sleep for ever is reported as a
//! deadlock, a value that is not dropped as a leak. The bounded FIFO queue and the random-shuffle queue are modelled as they
//! are; in the unbounded one a queue under a lock stands in for crossbeam's `SegQueue`. Loom has no clock: a deadline has passed
//! or never comes.
#![cfg(loom)]

use forebay::ErrorKind;
use forebay::queue::{
    Abandoned, Claim, Consumer, FifoQueue, Pop, PopError, Producer, Queue, RandomShuffleQueue, Waiters,
    ordered_ring,
};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::{Duration, Instant};

/// Explores every execution with at most `preemptions` involuntary switches (`None`: every execution at all).
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.check(model);
}

/// A number whose being alive loom watches: one that is never dropped, or dropped twice, fails the model.
#[derive(Debug)]
struct Tracked(Arc<u64>);

impl PartialEq for Tracked {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

fn tracked(value: u64) -> Tracked {
    Tracked(Arc::new(value))
}

fn join<T>(threads: [thread::JoinHandle<T>; 2]) {
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
}

fn flag_set(flag: &AtomicUsize) -> Option<()> {
    // Relaxed, so that only the fences of the waiting layer can make a parked thread see it.
    (flag.load(Ordering::Relaxed) == 1).then_some(())
}

#[test]
fn a_waiter_hears_of_a_change() {
    explore(None, || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let waker = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.0.store(1, Ordering::Relaxed);
                shared.1.wake_one();
            }
        });
        shared.1.wait_until(|| flag_set(&shared.0));
        waker.join().unwrap();
    });
}

#[test]
fn a_waiter_sleeps_again_when_the_change_is_not_its_own() {
    explore(Some(3), || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let waker = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.wake_all();
                shared.0.store(1, Ordering::Relaxed);
                shared.1.wake_all();
            }
        });
        shared.1.wait_until(|| flag_set(&shared.0));
        waker.join().unwrap();
    });
}

#[test]
fn wake_all_wakes_two() {
    explore(Some(2), || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let waiters = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || shared.1.wait_until(|| flag_set(&shared.0)))
        });
        shared.0.store(1, Ordering::Relaxed);
        shared.1.wake_all();
        join(waiters);
    });
}

#[test]
fn two_permits_given_one_at_a_time_reach_two_waiters() {
    explore(Some(2), || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let take = |permits: &AtomicUsize| {
            let less_one = |permits: usize| permits.checked_sub(1);
            permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one).ok()
        };
        let waiters = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || shared.1.wait_until(|| take(&shared.0)))
        });
        for _ in 0..2 {
            shared.0.fetch_add(1, Ordering::Relaxed);
            shared.1.wake_one();
        }
        join(waiters);
    });
}

/// Claims and fills until there is nothing to claim.
fn fill_all(producer: Producer<Tracked>) {
    while let Some(ticket) = producer.claim() {
        let value = tracked(ticket.position());
        ticket.fill(value);
    }
}

fn pop_all(mut consumer: Consumer<Tracked>, len: u64) {
    for position in 0..len {
        assert_eq!(consumer.pop(), Some(Ok(tracked(position))));
    }
    assert_eq!(consumer.pop(), None);
}

#[test]
fn one_producer_at_capacity_one() {
    explore(Some(3), || {
        let (producer, consumer) = ordered_ring(1, Some(3));
        let worker = thread::spawn(move || fill_all(producer));
        pop_all(consumer, 3);
        worker.join().unwrap();
    });
}

/// Two producers that fill one position each, whichever they get.
fn one_position_each(capacity: usize) {
    let (producer, consumer) = ordered_ring(capacity, Some(2));
    let workers = [producer.clone(), producer].map(|producer| {
        thread::spawn(move || {
            let ticket = producer.claim().unwrap();
            let value = tracked(ticket.position());
            ticket.fill(value);
        })
    });
    pop_all(consumer, 2);
    join(workers);
}

#[test]
fn two_producers_are_popped_in_order_exactly_once() {
    explore(Some(2), || one_position_each(2));
}

#[test]
fn two_producers_take_turns_in_one_slot() {
    explore(Some(2), || one_position_each(1));
}

#[test]
fn two_producers_go_round_a_ring_of_two() {
    explore(Some(1), || {
        let (producer, consumer) = ordered_ring(2, Some(3));
        let workers = [producer.clone(), producer].map(|producer| thread::spawn(move || fill_all(producer)));
        pop_all(consumer, 3);
        join(workers);
    });
}

#[test]
fn what_happened_before_a_fill_has_happened_once_ready_counts_it() {
    explore(None, || {
        let (producer, consumer) = ordered_ring::<u64>(2, Some(2));
        let work = Arc::new(AtomicUsize::new(0));
        let worker = thread::spawn({
            let work = work.clone();
            move || {
                for done in 1..=2 {
                    let ticket = producer.claim().unwrap();
                    work.store(done, Ordering::Relaxed);
                    ticket.fill(0);
                }
            }
        });
        let ready = consumer.ready();
        assert!(work.load(Ordering::Relaxed) >= ready);
        worker.join().unwrap();
        assert_eq!(consumer.ready(), 2);
    });
}

#[test]
fn closing_wakes_a_blocked_claim() {
    explore(None, || {
        let (producer, consumer) = ordered_ring(1, None);
        producer.claim().unwrap().fill(tracked(0));
        let worker = thread::spawn(move || assert!(producer.claim().is_none()));
        drop(consumer);
        worker.join().unwrap();
    });
}

#[test]
fn the_last_claim_wakes_those_who_wait_in_vain() {
    explore(Some(2), || {
        let (producer, mut consumer) = ordered_ring(1, Some(2));
        producer.claim().unwrap().fill(tracked(0));
        let workers = [producer.clone(), producer].map(|producer| thread::spawn(move || fill_all(producer)));
        assert_eq!(consumer.pop(), Some(Ok(tracked(0))));
        // One pop, so one wake-up: the worker it reaches must wake the other, as nothing more is popped.
        join(workers);
        assert_eq!(consumer.pop(), Some(Ok(tracked(1))));
    });
}

#[test]
fn closing_from_the_producers_side_wakes_the_consumer() {
    explore(Some(3), || {
        let (producer, mut consumer) = ordered_ring(2, None);
        let worker = thread::spawn(move || {
            producer.claim().unwrap().fill(tracked(0));
            producer.close();
        });
        assert_eq!(consumer.pop(), Some(Ok(tracked(0))));
        assert_eq!(consumer.pop(), None);
        worker.join().unwrap();
    });
}

#[test]
fn what_was_claimed_before_the_close_is_exactly_what_is_popped() {
    explore(None, || {
        let (producer, mut consumer) = ordered_ring(4, None);
        let worker = thread::spawn(move || {
            let mut filled = 0;
            while filled < 2 {
                let Claim::Ticket(ticket) = producer.try_claim() else { break };
                ticket.fill(tracked(filled));
                filled += 1;
            }
            filled
        });
        consumer.close();
        let popped = std::iter::from_fn(|| consumer.pop()).map(Result::unwrap).count() as u64;
        assert_eq!(popped, worker.join().unwrap());
    });
}

#[test]
fn an_abandoned_position_reaches_the_consumer() {
    explore(Some(3), || {
        let (producer, mut consumer) = ordered_ring(1, Some(2));
        let worker = thread::spawn(move || {
            // What a panic does; loom's threads share one real thread and cannot unwind while others run.
            drop(producer.claim());
            fill_all(producer);
        });
        assert_eq!(consumer.pop(), Some(Err(Abandoned)));
        assert_eq!(consumer.pop(), Some(Ok(tracked(1))));
        assert_eq!(consumer.pop(), None);
        worker.join().unwrap();
    });
}

/// The loop of a consumer that works while it would otherwise wait.
fn pop_lending_a_hand(mut consumer: Consumer<Tracked>, len: u64) {
    for position in 0..len {
        let value = loop {
            match consumer.try_pop() {
                Pop::Item(value) => break value,
                Pop::Pending => match consumer.producer().try_claim() {
                    Claim::Ticket(ticket) => {
                        let value = tracked(ticket.position());
                        ticket.fill(value);
                    }
                    Claim::Full | Claim::Done => consumer.wait_ready(),
                },
                Pop::Abandoned | Pop::Done => {
                    panic!("position {position} was neither abandoned nor the last")
                }
            }
        };
        assert_eq!(value, tracked(position));
    }
    assert_eq!(consumer.try_pop(), Pop::Done);
}

#[test]
fn a_consumer_lends_a_hand() {
    explore(Some(3), || {
        let (producer, consumer) = ordered_ring(2, Some(3));
        let worker = thread::spawn(move || fill_all(producer));
        pop_lending_a_hand(consumer, 3);
        worker.join().unwrap();
    });
}

#[test]
fn a_consumer_alone_does_all_the_work() {
    explore(None, || pop_lending_a_hand(ordered_ring(2, Some(5)).1, 5));
}

#[test]
fn values_nobody_pops_are_dropped_with_the_ring() {
    explore(Some(3), || {
        let (producer, mut consumer) = ordered_ring(2, None);
        let worker = thread::spawn(move || {
            for position in 0..3 {
                let Some(ticket) = producer.claim() else { break };
                ticket.fill(tracked(position));
            }
        });
        drop(consumer.pop());
        drop(consumer);
        worker.join().unwrap();
    });
}

/// A waiter that gives up at once, beside one that does not: a wake-up for one of them is not lost with the other.
#[test]
fn a_call_is_not_lost_with_a_waiter_that_gives_up() {
    explore(Some(2), || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let take = |permits: &AtomicUsize| {
            let less_one = |permits: usize| permits.checked_sub(1);
            permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one).ok()
        };
        let hasty = thread::spawn({
            let shared = shared.clone();
            move || shared.1.wait_until_deadline(|| take(&shared.0), Instant::now()).is_some()
        });
        let patient = thread::spawn({
            let shared = shared.clone();
            move || shared.1.wait_until(|| take(&shared.0))
        });
        let give = || {
            shared.0.fetch_add(1, Ordering::Relaxed);
            shared.1.wake_one();
        };
        give();
        if hasty.join().unwrap() {
            give();
        }
        patient.join().unwrap();
    });
}

#[test]
fn a_waiter_with_a_deadline_to_come_hears_of_a_change() {
    explore(None, || {
        let shared = Arc::new((AtomicUsize::new(0), Waiters::new()));
        let waker = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.0.store(1, Ordering::Relaxed);
                shared.1.wake_one();
            }
        });
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(shared.1.wait_until_deadline(|| flag_set(&shared.0), later), Some(()));
        waker.join().unwrap();
    });
}

/// Runs `work` with a handle of `queue` in another thread.
fn beside<Q: Send + Sync + 'static, T: 'static>(
    queue: &Arc<Q>,
    work: impl FnOnce(&Q) -> T + 'static,
) -> thread::JoinHandle<T> {
    let queue = queue.clone();
    thread::spawn(move || work(&queue))
}

/// All that is left, up to the end.
fn drain<T>(queue: &impl Queue<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        match queue.dequeue() {
            Ok(value) => all.push(value),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfRange);
                return all;
            }
        }
    }
}

fn numbers(mut values: Vec<Tracked>) -> Vec<u64> {
    values.sort_by_key(|value| *value.0);
    values.iter().map(|value| *value.0).collect()
}

fn fifo(capacity: usize) -> Arc<FifoQueue<Tracked>> {
    Arc::new(FifoQueue::new(capacity).unwrap())
}

fn shuffle(capacity: usize, minimum: usize) -> Arc<RandomShuffleQueue<Tracked>> {
    Arc::new(RandomShuffleQueue::new(capacity, minimum, Some(1)).unwrap())
}

#[test]
fn a_fifo_hands_over_in_order_through_one_slot() {
    explore(Some(2), || {
        let queue = fifo(1);
        let adder = beside(&queue, |queue| (0..3).for_each(|n| queue.enqueue(tracked(n)).unwrap()));
        (0..3).for_each(|n| assert_eq!(queue.dequeue().unwrap(), tracked(n)));
        adder.join().unwrap();
    });
}

#[test]
fn two_that_take_from_a_fifo_get_each_element_once() {
    explore(Some(2), || {
        let queue = fifo(2);
        let takers = [(); 2].map(|()| beside(&queue, |queue| queue.dequeue().unwrap()));
        (0..2).for_each(|n| queue.enqueue(tracked(n)).unwrap());
        assert_eq!(numbers(takers.map(|taker| taker.join().unwrap()).into()), [0, 1]);
    });
}

#[test]
fn two_that_add_to_a_fifo_lose_nothing() {
    explore(Some(2), || {
        let queue = fifo(1);
        let adders = [0, 1].map(|n| beside(&queue, move |queue| queue.enqueue(tracked(n)).unwrap()));
        let taken = [(); 2].map(|()| queue.dequeue().unwrap());
        assert_eq!(numbers(taken.into()), [0, 1]);
        join(adders);
    });
}

#[test]
fn what_is_added_beside_the_close_is_taken_or_refused() {
    for bounded in [true, false] {
        explore(Some(3), move || {
            let queue = if bounded { fifo(2) } else { Arc::new(FifoQueue::unbounded()) };
            let adder = beside(&queue, |queue| usize::from(queue.enqueue(tracked(0)).is_ok()));
            queue.close(false);
            let taken = drain(&*queue).len();
            assert_eq!(queue.try_dequeue(), Err(PopError::Closed));
            assert_eq!(taken, adder.join().unwrap());
        });
    }
}

#[test]
fn two_that_take_both_find_the_end() {
    explore(Some(2), || {
        let queue = fifo(2);
        let taker = beside(&queue, |queue| drain(queue).len());
        let adder = beside(&queue, |queue| usize::from(queue.enqueue(tracked(0)).is_ok()));
        queue.close(false);
        let taken = drain(&*queue).len();
        assert_eq!(taken + taker.join().unwrap(), adder.join().unwrap());
    });
}

#[test]
fn one_who_waits_for_room_at_the_close_gets_in_before_the_end() {
    explore(Some(2), || {
        let queue = fifo(1);
        queue.enqueue(tracked(0)).unwrap();
        let adder = beside(&queue, |queue| {
            let before = queue.is_closed();
            (before, queue.enqueue(tracked(1)).is_ok())
        });
        // Once it waits, the close is not to refuse it.
        let waited = queue.num_pending() == 1 && !queue.is_closed();
        queue.close(false);
        let taken = numbers(drain(&*queue));
        let (closed_before, got_in) = adder.join().unwrap();
        assert_eq!(taken.len(), 1 + usize::from(got_in));
        assert!(got_in || !waited, "closed before: {closed_before}");
    });
}

#[test]
fn a_close_that_cancels_refuses_one_who_waits_for_room() {
    explore(Some(3), || {
        let queue = fifo(1);
        queue.enqueue(tracked(0)).unwrap();
        let adder = beside(&queue, |queue| queue.enqueue(tracked(1)).unwrap_err().kind());
        queue.close(true);
        assert_eq!(adder.join().unwrap(), ErrorKind::Cancelled);
        assert_eq!(numbers(drain(&*queue)), [0]);
    });
}

#[test]
fn cancelling_wakes_one_who_waits_for_elements_and_one_who_waits_for_room() {
    explore(Some(3), || {
        let queue = fifo(1);
        let taker = beside(&queue, |queue| queue.dequeue().unwrap_err().kind());
        queue.cancel();
        assert_eq!(taker.join().unwrap(), ErrorKind::Cancelled);
    });
    explore(Some(3), || {
        let queue = fifo(1);
        queue.enqueue(tracked(0)).unwrap();
        let adder = beside(&queue, |queue| queue.enqueue(tracked(1)).unwrap_err().kind());
        queue.cancel();
        assert_eq!(adder.join().unwrap(), ErrorKind::Cancelled);
    });
}

#[test]
fn what_a_failed_taking_of_many_gives_back_is_taken_by_another() {
    explore(Some(2), || {
        let queue = fifo(2);
        queue.enqueue(tracked(0)).unwrap();
        let single = beside(&queue, |queue| queue.dequeue().map(drop).map_err(|error| error.kind()));
        let closer = beside(&queue, |queue| queue.close(false));
        // There is one element for the two, and the other must not be told that there is none.
        let many = queue.dequeue_many(2).map(drop).map_err(|error| error.kind());
        assert_eq!(many, Err(ErrorKind::OutOfRange));
        assert_eq!(single.join().unwrap(), Ok(()));
        closer.join().unwrap();
    });
}

#[test]
fn a_taking_of_many_frees_room_as_it_goes() {
    explore(Some(2), || {
        let queue = fifo(1);
        let adder = beside(&queue, |queue| {
            queue.enqueue_many((0..3).map(tracked).collect()).unwrap();
            queue.close(false);
        });
        assert_eq!(numbers(queue.dequeue_many(2).unwrap()), [0, 1]);
        assert_eq!(numbers(queue.dequeue_up_to(2).unwrap()), [2]);
        adder.join().unwrap();
    });
}

#[test]
fn a_shuffle_queue_hands_over_each_element_once() {
    for (capacity, preemptions) in [(1, 2), (2, 2), (3, 1)] {
        explore(Some(preemptions), move || {
            let queue = shuffle(capacity, 0);
            let adder = beside(&queue, |queue| (0..3).for_each(|n| queue.enqueue(tracked(n)).unwrap()));
            let taken = [(); 3].map(|()| queue.dequeue().unwrap());
            assert_eq!(numbers(taken.into()), [0, 1, 2]);
            adder.join().unwrap();
        });
    }
}

#[test]
fn two_that_mix_and_one_that_takes_share_the_slots_of_a_shuffle_queue() {
    explore(Some(2), || {
        let queue = shuffle(3, 0);
        queue.enqueue(tracked(0)).unwrap();
        let adders = [1, 2].map(|n| beside(&queue, move |queue| queue.enqueue(tracked(n)).unwrap()));
        let taken = [(); 3].map(|()| queue.dequeue().unwrap());
        assert_eq!(numbers(taken.into()), [0, 1, 2]);
        join(adders);
    });
}

#[test]
fn two_that_take_from_a_shuffle_queue_beside_one_that_mixes() {
    explore(Some(2), || {
        let queue = shuffle(2, 0);
        queue.enqueue(tracked(0)).unwrap();
        let takers = [(); 2].map(|()| beside(&queue, |queue| queue.dequeue().unwrap()));
        queue.enqueue(tracked(1)).unwrap();
        assert_eq!(numbers(takers.map(|taker| taker.join().unwrap()).into()), [0, 1]);
    });
}

#[test]
fn a_shuffle_queue_keeps_its_minimum_until_it_is_closed() {
    explore(Some(2), || {
        let queue = shuffle(3, 1);
        let adder = beside(&queue, |queue| {
            queue.enqueue(tracked(0)).unwrap();
            queue.enqueue(tracked(1)).unwrap();
            queue.close(false);
        });
        let first = queue.dequeue().unwrap();
        let mut taken = drain(&*queue);
        taken.push(first);
        assert_eq!(numbers(taken), [0, 1]);
        adder.join().unwrap();
    });
}

#[test]
fn one_who_waits_for_the_minimum_of_a_shuffle_queue_hears_of_the_close() {
    explore(Some(3), || {
        let queue = shuffle(3, 1);
        queue.enqueue(tracked(0)).unwrap();
        let closer = beside(&queue, |queue| queue.close(false));
        assert_eq!(queue.dequeue().unwrap(), tracked(0));
        closer.join().unwrap();
    });
}

#[test]
fn elements_nobody_takes_are_dropped_with_their_queue() {
    explore(Some(3), || {
        let queue = shuffle(2, 0);
        let adder = beside(&queue, |queue| (0..2).for_each(|n| queue.enqueue(tracked(n)).unwrap()));
        drop(queue.try_dequeue());
        drop(queue);
        adder.join().unwrap();
    });
}
