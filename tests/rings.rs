//! Promise: nothing is lost, doubled, leaked or out of order, and nobody is left asleep, with real threads
//! under load.
//!
//! `scripts/tsan` runs the same under ThreadSanitizer; `tests/loom.rs` tries every interleaving of small
//! cases. A thread that is never woken shows as a test that does not end.
#![cfg(not(loom))]

#[path = "common/threads.rs"]
mod threads;

use forebay::queue::{Abandoned, Claim, Consumer, FifoQueue, Pop, Producer, Queue, ordered_ring};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use threads::{Counted, Dice, join, rounds};

fn spawn_fillers(producer: &Producer<u64>, threads: usize) -> Vec<JoinHandle<u64>> {
    let fill_all = |producer: Producer<u64>| {
        let mut filled = 0;
        while let Some(ticket) = producer.claim() {
            let position = ticket.position();
            ticket.fill(position);
            filled += 1;
        }
        filled
    };
    (0..threads).map(|_| producer.clone()).map(|producer| thread::spawn(move || fill_all(producer))).collect()
}

#[test]
fn four_producers_are_popped_in_order_exactly_once() {
    for capacity in [1, 2, 3, 7, 64] {
        let len = rounds(1_000_000);
        let (producer, mut consumer) = ordered_ring(capacity, Some(len));
        let fillers = spawn_fillers(&producer, 4);
        for position in 0..len {
            assert_eq!(consumer.position(), position);
            assert_eq!(consumer.pop(), Some(Ok(position)), "at capacity {capacity}");
        }
        assert_eq!(consumer.pop(), None);
        assert_eq!(join(fillers).iter().sum::<u64>(), len);
    }
}

#[test]
fn a_consumer_that_lends_a_hand_pops_the_same_order_with_any_number_of_helpers() {
    for helpers in [0, 1, 3] {
        let len = rounds(300_000);
        let (producer, mut consumer) = ordered_ring(3, Some(len));
        let fillers = spawn_fillers(&producer, helpers);
        let mut next = 0;
        loop {
            match consumer.try_pop() {
                Pop::Item(position) => {
                    assert_eq!(position, next);
                    next += 1;
                }
                Pop::Pending => match producer.try_claim() {
                    Claim::Ticket(ticket) => {
                        let position = ticket.position();
                        ticket.fill(position);
                    }
                    Claim::Full | Claim::Done => consumer.wait_ready(),
                },
                Pop::Abandoned => panic!("position {next} was abandoned by nobody"),
                Pop::Done => break,
            }
        }
        assert_eq!(next, len);
        join(fillers);
    }
}

#[test]
fn tickets_filled_backwards_are_popped_forwards() {
    let (producer, mut consumer) = ordered_ring(5, None);
    let tickets: Vec<_> = std::iter::from_fn(|| match producer.try_claim() {
        Claim::Ticket(ticket) => Some(ticket),
        Claim::Full | Claim::Done => None,
    })
    .collect();
    assert_eq!((tickets.len(), consumer.occupancy(), consumer.ready()), (5, 5, 0));
    for ticket in tickets.into_iter().rev() {
        assert_eq!(consumer.try_pop(), Pop::Pending);
        let position = ticket.position();
        if position == 3 { drop(ticket) } else { ticket.fill(position) }
    }
    assert_eq!((consumer.occupancy(), consumer.ready()), (5, 5));
    let popped: Vec<_> = (0..5).map(|_| consumer.try_pop()).collect();
    assert_eq!(popped, [Pop::Item(0), Pop::Item(1), Pop::Item(2), Pop::Abandoned, Pop::Item(4)]);
    assert_eq!((consumer.occupancy(), consumer.position(), consumer.try_pop()), (0, 5, Pop::Pending));
}

#[test]
fn a_ring_without_positions_is_done_at_once() {
    let (producer, mut consumer) = ordered_ring::<u64>(4, Some(0));
    assert!(producer.claim().is_none());
    assert_eq!(consumer.pop(), None);
}

#[test]
fn a_ring_whose_length_no_position_reaches_is_endless() {
    let (producer, mut consumer) = ordered_ring(1, Some(u64::MAX));
    producer.claim().unwrap().fill('a');
    assert_eq!(consumer.pop(), Some(Ok('a')));
    assert!(matches!(producer.try_claim(), Claim::Ticket(_)));
    consumer.close();
    assert!(producer.is_closed() && producer.claim().is_none());
    assert_eq!((consumer.pop(), consumer.pop()), (Some(Err(Abandoned)), None));
}

#[test]
fn workers_that_panic_leave_gaps_and_nobody_waiting() {
    let len = rounds(20_000);
    let (producer, mut consumer) = ordered_ring(8, Some(len));
    let work = |producer: Producer<u64>| {
        while let Some(ticket) = producer.claim() {
            let position = ticket.position();
            let worked = catch_unwind(AssertUnwindSafe(|| {
                if position % 7 == 3 {
                    // As `panic!`, without its words on the terminal.
                    std::panic::resume_unwind(Box::new(()));
                }
                ticket.fill(position);
            }));
            assert_eq!(worked.is_err(), position % 7 == 3);
        }
    };
    let workers = (0..3).map(|_| producer.clone()).map(|p| thread::spawn(move || work(p))).collect();
    for position in 0..len {
        let expected = if position % 7 == 3 { Err(Abandoned) } else { Ok(position) };
        assert_eq!(consumer.pop(), Some(expected));
    }
    assert_eq!(consumer.pop(), None);
    join::<()>(workers);
}

/// Pops `count` values, checks their order, and closes or drops the consumer.
fn pop_then_leave(mut consumer: Consumer<Counted>, count: u64, close_first: bool) {
    for position in 0..count {
        assert_eq!(*consumer.pop().unwrap().unwrap().value, position);
    }
    if close_first {
        consumer.close();
        // What was claimed before the close comes still, without a gap, and then the end.
        for position in count.. {
            match consumer.pop() {
                Some(value) => assert_eq!(*value.unwrap().value, position),
                None => break,
            }
        }
        assert_eq!(consumer.occupancy(), 0);
    }
}

#[test]
fn closing_an_ordered_ring_at_any_moment_leaves_no_thread_and_no_value() {
    let mut dice = Dice(1);
    for round in 0..rounds(2_000) {
        let alive = Arc::new(AtomicI64::new(0));
        let (producer, consumer) = ordered_ring(1 + dice.roll(9) as usize, None);
        let workers = (0..3).map(|_| (producer.clone(), alive.clone())).map(|(producer, alive)| {
            thread::spawn(move || {
                while let Some(ticket) = producer.claim() {
                    let value = Counted::new(ticket.position(), &alive);
                    ticket.fill(value);
                }
            })
        });
        let workers = workers.collect();
        pop_then_leave(consumer, dice.roll(60), round % 2 == 0);
        join::<()>(workers);
        drop(producer);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "values left alive in round {round}");
    }
}

#[test]
fn a_ticket_outlives_its_consumer() {
    let alive = Arc::new(AtomicI64::new(0));
    let (producer, consumer) = ordered_ring(2, None);
    let ticket = producer.claim().unwrap();
    drop(consumer);
    ticket.fill(Counted::new(0, &alive));
    assert!(producer.claim().is_none());
    drop(producer);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// The processor time this thread has used.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing, and the clock is one every Linux has.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(rc, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How much processor time `wait` burns while what it waits for takes 300 ms to come.
fn burnt_waiting(wait: impl FnOnce() + Send + 'static, come: impl FnOnce()) -> Duration {
    let start = Arc::new(Barrier::new(2));
    let waiter = thread::spawn({
        let start = start.clone();
        move || {
            start.wait();
            let before = thread_cpu_time();
            wait();
            thread_cpu_time() - before
        }
    });
    start.wait();
    // Nobody sends on this channel: it is the bound of the wait.
    let (_silent, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
    come();
    waiter.join().unwrap()
}

#[test]
fn a_thread_that_waits_burns_next_to_nothing() {
    let burns_little = |who: &str, burnt_once: fn() -> Duration| {
        // Time that was taken from the machine is put down to the thread that ran: once it may not be the thread's doing.
        let mut all = [(); 5].map(|()| burnt_once());
        all.sort();
        assert!(all[2] < Duration::from_millis(10), "{who} burnt {all:?} of 300 ms");
    };
    burns_little("a consumer of an empty ring", || {
        let (producer, mut consumer) = ordered_ring(1, Some(2));
        let pop = move || assert_eq!((consumer.pop(), consumer.pop()), (Some(Ok('a')), Some(Ok('b'))));
        burnt_waiting(pop, || ['a', 'b'].into_iter().for_each(|n| producer.claim().unwrap().fill(n)))
    });
    burns_little("a producer of a full ring", || {
        let (producer, mut consumer) = ordered_ring(1, None);
        producer.claim().unwrap().fill('a');
        burnt_waiting(move || producer.claim().unwrap().fill('b'), || _ = consumer.try_pop())
    });
    burns_little("a consumer of an empty queue", || {
        let fifo = Arc::new(FifoQueue::new(1).unwrap());
        let take = fifo.clone();
        burnt_waiting(move || _ = take.dequeue().unwrap(), || fifo.enqueue('a').unwrap())
    });
    burns_little("a producer of a full queue", || {
        let fifo = Arc::new(FifoQueue::new(1).unwrap());
        fifo.enqueue('a').unwrap();
        let add = fifo.clone();
        burnt_waiting(move || add.enqueue('b').unwrap(), || _ = fifo.dequeue().unwrap())
    });
}

#[test]
fn the_ends_of_a_ring_go_to_any_thread() {
    fn goes_to_any_thread<T: Send>() {}
    fn shared_by_threads<T: Sync>() {}
    // `Cell` is `Send` and not `Sync`: all a value needs.
    goes_to_any_thread::<(Producer<std::cell::Cell<u8>>, Consumer<std::cell::Cell<u8>>)>();
    goes_to_any_thread::<forebay::queue::Ticket<'_, std::cell::Cell<u8>>>();
    shared_by_threads::<(Producer<std::cell::Cell<u8>>, FifoQueue<std::cell::Cell<u8>>)>();
}
