//! Promise: the waiting layer loses no wake-up and the ordered ring no value, under *every* interleaving.
//!
//! Run by `scripts/loom`. Each test is a small program that loom runs once for every order of its steps and
//! every value the memory model lets a load return; a thread that would sleep for ever is reported as a
//! deadlock, a value that is not dropped as a leak. crossbeam's `ArrayQueue` is not instrumented for loom: in
//! the models of `Fifo` a queue under a lock stands in for it, so they show the closing and the waiting
//! around it right; the whole is held to its promise by `tests/rings.rs`, under load and under
//! ThreadSanitizer.
#![cfg(loom)]

use forebay::queue::{Abandoned, Claim, Consumer, Fifo, Pop, PopError, Producer, Waiters, ordered_ring};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

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

#[test]
fn a_fifo_hands_over_in_order_through_one_slot() {
    explore(Some(2), || {
        let fifo = Arc::new(Fifo::new(1));
        let pusher = thread::spawn({
            let fifo = fifo.clone();
            move || (0..3).for_each(|n| fifo.push(tracked(n)).unwrap())
        });
        (0..3).for_each(|n| assert_eq!(fifo.pop(), Some(tracked(n))));
        pusher.join().unwrap();
    });
}

#[test]
fn a_push_beside_the_close_is_popped_or_refused() {
    explore(Some(3), || {
        let fifo = Arc::new(Fifo::new(2));
        let pusher = thread::spawn({
            let fifo = fifo.clone();
            move || usize::from(fifo.push(tracked(0)).is_ok())
        });
        fifo.close();
        let popped = std::iter::from_fn(|| fifo.pop()).count();
        assert_eq!(fifo.try_pop(), Err(PopError::Closed));
        assert_eq!(popped, pusher.join().unwrap());
    });
}

#[test]
fn two_that_pop_both_find_the_end() {
    explore(Some(2), || {
        let fifo = Arc::new(Fifo::new(2));
        let popper = thread::spawn({
            let fifo = fifo.clone();
            move || std::iter::from_fn(|| fifo.pop()).count()
        });
        let pusher = thread::spawn({
            let fifo = fifo.clone();
            move || usize::from(fifo.push(tracked(0)).is_ok())
        });
        fifo.close();
        let popped = std::iter::from_fn(|| fifo.pop()).count();
        assert_eq!(popped + popper.join().unwrap(), pusher.join().unwrap());
    });
}

#[test]
fn closing_gives_a_waiting_push_its_value_back() {
    explore(None, || {
        let fifo = Arc::new(Fifo::new(1));
        fifo.push(tracked(0)).unwrap();
        let pusher = thread::spawn({
            let fifo = fifo.clone();
            move || assert_eq!(fifo.push(tracked(1)), Err(tracked(1)))
        });
        fifo.close();
        pusher.join().unwrap();
        assert_eq!(fifo.pop(), Some(tracked(0)));
    });
}
