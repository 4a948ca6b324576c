//! Promise: the classic queues lose nothing, double nothing and leave nobody asleep, with real threads under load; and the
//! random-shuffle queue chooses each element with the same chance.
//!
//! `scripts/tsan` runs the same under ThreadSanitizer; `tests/loom.rs` tries every interleaving of small cases. A thread that is
//! never woken shows as a test that does not end. `FOREBAY_QUEUE_ELEMENTS` says how many elements go through each kind of queue.
#![cfg(not(loom))]

#[path = "common/threads.rs"]
mod threads;

use forebay::ErrorKind;
use forebay::queue::{FifoQueue, PopError, PriorityQueue, PushError, Queue, RandomShuffleQueue};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use threads::{Counted, Dice, Way, comes_out_once, join, rounds};

/// Pairs, so that a priority queue is one of them.
type Pair<T> = (i64, T);
type Any<T> = Arc<dyn Queue<Pair<T>>>;

/// One queue of each kind, with room for `capacity` where it is bounded.
fn kinds<T: Send + 'static>(capacity: usize) -> [(&'static str, Any<T>); 5] {
    [
        ("fifo", Arc::new(FifoQueue::new(capacity).unwrap())),
        ("fifo, unbounded", Arc::new(FifoQueue::unbounded())),
        ("shuffle", Arc::new(RandomShuffleQueue::new(capacity, 0, None).unwrap())),
        ("shuffle, half", Arc::new(RandomShuffleQueue::new(capacity, capacity / 2, None).unwrap())),
        ("priority", Arc::new(PriorityQueue::new(capacity).unwrap())),
    ]
}

#[test]
fn every_element_that_goes_in_comes_out_once() {
    fn pair(n: u64) -> Pair<u64> {
        (n as i64, n)
    }
    for (kind, queue) in kinds(100) {
        comes_out_once(
            kind,
            queue.clone(),
            |queue: &Any<u64>, mut mine, at_once| match at_once {
                1 => mine.for_each(|n| queue.enqueue(pair(n)).unwrap()),
                _ => {
                    while !mine.is_empty() {
                        queue.enqueue_many(mine.by_ref().take(at_once).map(pair).collect()).unwrap();
                    }
                }
            },
            |queue, way, tally| {
                let taken = match way {
                    Way::UpTo(n) => queue.dequeue_up_to(n)?,
                    Way::Many(n) => queue.dequeue_many(n)?,
                    Way::One => vec![queue.dequeue()?],
                };
                for &(priority, n) in &taken {
                    assert_eq!(priority as u64, n);
                    tally.add(n);
                }
                Ok(taken.len())
            },
            |queue| queue.close(false),
        );
        assert_eq!(queue.size(), 0);
    }
}

#[test]
fn a_fifo_keeps_the_order_of_each_producer() {
    let per_producer = rounds(200_000);
    let bounded = [1, 2, 7, 64].map(|capacity| FifoQueue::new(capacity).unwrap());
    for queue in bounded.into_iter().chain([FifoQueue::unbounded()]) {
        let queue = Arc::new(queue);
        let producers = (0..4).map(|producer| {
            let queue = queue.clone();
            thread::spawn(move || (0..per_producer).for_each(|n| queue.enqueue((producer, n)).unwrap()))
        });
        let consumers = (0..4).map(|_| {
            let queue = queue.clone();
            thread::spawn(move || std::iter::from_fn(|| queue.dequeue().ok()).collect::<Vec<(usize, u64)>>())
        });
        let (consumers, producers) = (consumers.collect(), producers.collect());
        join::<()>(producers);
        queue.close(false);
        let taken = join(consumers);
        for producer in 0..4 {
            let of = |taken: &Vec<(usize, u64)>| -> Vec<u64> {
                taken.iter().filter(|&&(from, _)| from == producer).map(|&(_, n)| n).collect()
            };
            assert!(taken.iter().all(|taken| of(taken).is_sorted()));
            let mut all: Vec<u64> = taken.iter().flat_map(of).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..per_producer), "producer {producer} of {queue:?}");
        }
    }
}

#[test]
fn closing_at_any_moment_loses_nothing_that_was_accepted() {
    let mut dice = Dice(2);
    for round in 0..rounds(1_000) {
        for (kind, queue) in kinds::<Counted>(2 + dice.roll(5) as usize) {
            let alive = Arc::new(AtomicI64::new(0));
            let adders = (0..2).map(|_| (queue.clone(), alive.clone())).map(|(queue, alive)| {
                thread::spawn(move || {
                    let add = |n| queue.enqueue((n as i64, Counted::new(n, &alive))).is_ok();
                    // An unbounded queue stops nobody.
                    (0..1000).take_while(|&n| add(n)).count()
                })
            });
            let takers = (0..2).map(|_| queue.clone()).map(|queue| {
                thread::spawn(move || {
                    let taken = std::iter::from_fn(|| queue.dequeue().ok()).count();
                    assert_eq!(queue.dequeue().map(drop).unwrap_err().kind(), ErrorKind::OutOfRange);
                    taken
                })
            });
            let (adders, takers) = (adders.collect(), takers.collect());
            (0..dice.roll(2000)).for_each(|_| std::hint::spin_loop());
            queue.close(round % 2 == 0);
            let added: usize = join(adders).iter().sum();
            let taken: usize = join(takers).iter().sum();
            assert_eq!(taken, added, "{kind} in round {round}");
            assert_eq!(alive.load(Ordering::Relaxed), 0, "{kind}: elements left alive in round {round}");
        }
    }
}

#[test]
fn what_is_inside_a_queue_is_dropped_with_it_once() {
    for (kind, queue) in kinds(10) {
        let alive = Arc::new(AtomicI64::new(0));
        // Round the ring, so that it does not begin at its first slot.
        for n in 0..7 {
            queue.enqueue((0, Counted::new(n, &alive))).unwrap();
        }
        drop(queue.dequeue_many(2).unwrap());
        let second = queue.clone();
        queue.enqueue_many((0..4).map(|n| (0, Counted::new(n, &alive))).collect()).unwrap();
        queue.close(false);
        // What is given back is dropped with the rest.
        assert_eq!(queue.dequeue_many(20).map(drop).unwrap_err().kind(), ErrorKind::OutOfRange);
        drop(queue);
        assert_eq!((second.size(), alive.load(Ordering::Relaxed)), (9, 9), "{kind}");
        drop(second);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "{kind}");
    }
}

#[test]
fn a_queue_says_full_empty_and_closed_and_gives_the_value_back() {
    let alive = Arc::new(AtomicI64::new(0));
    let queue = FifoQueue::new(2).unwrap();
    assert_eq!(
        (queue.try_dequeue().unwrap_err(), queue.size(), queue.capacity()),
        (PopError::Empty, 0, Some(2))
    );
    queue.try_enqueue(Counted::new(0, &alive)).unwrap();
    queue.enqueue(Counted::new(1, &alive)).unwrap();
    let full = queue.try_enqueue(Counted::new(2, &alive));
    assert!(matches!(full, Err(PushError::Full(value)) if *value.value == 2));
    queue.close(false);
    let closed = queue.try_enqueue(Counted::new(3, &alive));
    assert!(matches!(closed, Err(PushError::Closed(value)) if *value.value == 3));
    assert_eq!((*queue.try_dequeue().unwrap().value, queue.size(), queue.is_closed()), (0, 1, true));
    drop(queue.dequeue().unwrap());
    assert_eq!(queue.try_dequeue().unwrap_err(), PopError::Closed);
    assert_eq!(alive.load(Ordering::Relaxed), 0);

    let queue = RandomShuffleQueue::new(3, 2, None).unwrap();
    queue.enqueue_many(vec![0, 1]).unwrap();
    assert_eq!(queue.try_dequeue(), Err(PopError::Empty), "two must stay inside");
    queue.try_enqueue(2).unwrap();
    assert_eq!(queue.try_enqueue(3), Err(PushError::Full(3)));
    queue.cancel();
    assert_eq!(
        (queue.try_dequeue(), queue.try_enqueue(3)),
        (Err(PopError::Closed), Err(PushError::Closed(3)))
    );
}

/// How a call that waits is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Close,
    CloseAndCancelPending,
    Cancel,
}

#[test]
fn every_end_wakes_every_call_that_waits() {
    type Call = fn(&dyn Queue<Pair<u64>>) -> forebay::Result<()>;
    let takers: [Call; 4] = [
        |queue| queue.dequeue().map(drop),
        |queue| queue.dequeue_within(Duration::MAX).map(drop),
        |queue| queue.dequeue_many(3).map(drop),
        |queue| queue.dequeue_up_to(3).map(drop),
    ];
    let adders: [Call; 2] =
        [|queue| queue.enqueue((7, 7)), |queue| queue.enqueue_many(vec![(7, 7), (8, 8), (9, 9)])];
    let mut dice = Dice(3);
    for round in 0..rounds(200) {
        for end in [End::Close, End::CloseAndCancelPending, End::Cancel] {
            for (kind, queue) in kinds::<u64>(2) {
                let room = queue.capacity().is_some();
                let calls: Vec<Call> = if round % 2 == 0 { takers.into() } else { adders.into() };
                if round % 2 == 1 {
                    if !room {
                        continue;
                    }
                    queue.enqueue_many(vec![(0, 0), (1, 1)]).unwrap();
                }
                let start = Arc::new(Barrier::new(calls.len() + 1));
                let waiters = calls.iter().map(|&call| {
                    let (queue, start) = (queue.clone(), start.clone());
                    thread::spawn(move || {
                        start.wait();
                        call(&*queue).map_err(|error| error.kind())
                    })
                });
                let waiters = waiters.collect();
                start.wait();
                (0..dice.roll(3000)).for_each(|_| std::hint::spin_loop());
                match end {
                    End::Close => queue.close(false),
                    End::CloseAndCancelPending => queue.close(true),
                    End::Cancel => queue.cancel(),
                }
                if round % 2 == 1 && end == End::Close {
                    // Whoever waited already gets in as there is room; who came later was refused.
                    let taken = std::iter::from_fn(|| queue.dequeue().ok()).count();
                    let ended = join(waiters);
                    let expected = 2 + usize::from(ended[0].is_ok()) + 3 * usize::from(ended[1].is_ok());
                    assert_eq!(taken, expected, "{kind}: {ended:?}");
                    continue;
                }
                let expected = match end {
                    End::Cancel => ErrorKind::Cancelled,
                    _ if round % 2 == 0 => ErrorKind::OutOfRange,
                    _ => ErrorKind::Cancelled,
                };
                for ended in join(waiters) {
                    assert_eq!(ended, Err(expected), "{kind} after {end:?}");
                }
            }
        }
    }
}

#[test]
fn a_cancelled_queue_gives_nothing_and_takes_nothing() {
    for (kind, queue) in kinds(4) {
        queue.enqueue_many(vec![(0, 'a'), (1, 'b'), (2, 'c')]).unwrap();
        queue.cancel();
        queue.close(false);
        let kinds = [
            queue.enqueue((3, 'd')).unwrap_err(),
            queue.enqueue_many(vec![(3, 'd')]).unwrap_err(),
            queue.dequeue().unwrap_err(),
            queue.dequeue_within(Duration::ZERO).unwrap_err(),
            queue.dequeue_many(1).unwrap_err(),
            queue.dequeue_up_to(1).unwrap_err(),
        ]
        .map(|error| error.kind());
        assert_eq!(kinds, [ErrorKind::Cancelled; 6], "{kind}");
        assert!(queue.is_closed());
    }
}

#[test]
fn the_stricter_of_two_closes_holds() {
    for (kind, queue) in kinds(2).into_iter().filter(|(_, queue)| queue.capacity().is_some()) {
        queue.enqueue_many(vec![(0, 0), (1, 1)]).unwrap();
        let waiting = thread::spawn({
            let queue = queue.clone();
            move || queue.enqueue((2, 2)).map_err(|error| error.kind())
        });
        queue.close(false);
        queue.close(true);
        queue.close(false);
        assert_eq!(waiting.join().unwrap(), Err(ErrorKind::Cancelled), "{kind}");
        assert_eq!(queue.dequeue_up_to(5).unwrap().len(), 2);
    }
}

#[test]
fn a_deadline_ends_the_wait_and_loses_nothing() {
    for (kind, queue) in kinds(10) {
        let started = Instant::now();
        let error = queue.dequeue_within(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{kind}");
        assert!(started.elapsed() >= Duration::from_millis(5));
        assert_eq!(error.message(), "waited 5ms for an element of a queue, and none came");
        assert_eq!(queue.dequeue_within(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
        let hasty = (0..3).map(|_| queue.clone()).map(|queue| {
            thread::spawn(move || {
                let mut taken = 0;
                for patience in (0..50).cycle().map(Duration::from_micros) {
                    match queue.dequeue_within(patience) {
                        Ok(_) => taken += 1,
                        Err(error) if error.kind() == ErrorKind::Timeout => {}
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::OutOfRange);
                            break;
                        }
                    }
                }
                taken
            })
        });
        let hasty = hasty.collect();
        let patient = thread::spawn({
            let queue = queue.clone();
            move || std::iter::from_fn(|| queue.dequeue().ok()).count() as u64
        });
        let added = rounds(20_000);
        (0..added).for_each(|n| queue.enqueue((0, n)).unwrap());
        queue.close(false);
        assert_eq!(join(hasty).iter().sum::<u64>() + patient.join().unwrap(), added, "{kind}");
    }
}

#[test]
fn what_is_asked_for_is_not_allocated_beforehand() {
    for (_, queue) in kinds(4) {
        queue.enqueue_many(vec![(0, 0), (1, 1)]).unwrap();
        queue.close(false);
        let error = queue.dequeue_many(usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        assert!(error.message().ends_with("but the queue is closed and only 2 are left in it"), "{error}");
        assert_eq!(queue.dequeue_up_to(usize::MAX).unwrap().len(), 2);
        assert_eq!(queue.dequeue_up_to(0).unwrap(), []);
        assert_eq!(queue.dequeue_many(0).unwrap(), []);
    }
}

#[test]
fn a_capacity_that_cannot_be_is_refused_with_its_value() {
    let refused = |made: forebay::Result<()>| {
        let error = made.unwrap_err();
        (error.kind(), error.message().to_owned())
    };
    let zero = (ErrorKind::InvalidArgument, "the capacity of a queue must be at least 1, got 0".to_owned());
    assert_eq!(refused(FifoQueue::<u8>::new(0).map(drop)), zero);
    assert_eq!(refused(PriorityQueue::<u8>::new(0).map(drop)), zero);
    assert_eq!(refused(RandomShuffleQueue::<u8>::new(0, 0, None).map(drop)), zero);
    for minimum in [10, 11, usize::MAX] {
        let message = format!("must be less than the capacity of the queue, which is 10; got {minimum}");
        let (kind, said) = refused(RandomShuffleQueue::<u8>::new(10, minimum, None).map(drop));
        assert!(kind == ErrorKind::InvalidArgument && said.ends_with(&message), "{said}");
    }
    for capacity in [usize::MAX, usize::MAX / 8, 1 << 59] {
        let (kind, said) = refused(FifoQueue::<u64>::new(capacity).map(drop));
        assert!(kind == ErrorKind::TooLarge && said.contains(&capacity.to_string()), "{said}");
        assert_eq!(
            refused(RandomShuffleQueue::<u64>::new(capacity, 0, None).map(drop)).0,
            ErrorKind::TooLarge
        );
    }
}

/// Pearson's statistic: how far the counts are from what is expected of them.
fn chi_square(counts: impl IntoIterator<Item = (u64, f64)>) -> f64 {
    counts.into_iter().map(|(count, expected)| (count as f64 - expected).powi(2) / expected).sum()
}

/// Six standard deviations above the mean of chi square: less than one test in ten million fails that should not.
fn bound(degrees: f64) -> f64 {
    degrees + 6.0 * (2.0 * degrees).sqrt() + 10.0
}

#[test]
fn every_order_has_the_same_chance() {
    // A large queue that is nearly empty, a small one that is full, and one whose minimum is lifted at the end.
    for (capacity, minimum) in [(100_000, 0), (4, 0), (5, 4), (4, 3)] {
        let draws = 25_000;
        let mut orders = BTreeMap::<Vec<u8>, u64>::new();
        let open = RandomShuffleQueue::new(capacity, 0, Some(11)).unwrap();
        for round in 0..draws {
            let taken = if minimum == 0 {
                open.enqueue_many(vec![0, 1, 2, 3]).unwrap();
                open.dequeue_many(4).unwrap()
            } else {
                let queue = RandomShuffleQueue::new(capacity, minimum, Some(round)).unwrap();
                queue.enqueue_many(vec![0, 1, 2, 3]).unwrap();
                queue.close(false);
                queue.dequeue_many(4).unwrap()
            };
            *orders.entry(taken).or_default() += 1;
        }
        assert_eq!(orders.len(), 24);
        let found = chi_square(orders.into_values().map(|count| (count, draws as f64 / 24.0)));
        assert!(found < bound(23.0), "chi square {found} of {capacity}, {minimum}");
    }
}

#[test]
fn an_element_has_the_same_chance_whenever_it_came() {
    // In step: with n inside at each draw, the number of draws an element is passed over is geometric.
    for (capacity, minimum, inside) in
        [(64, 49, 50), (50, 49, 50), (1000, 0, 3), (7, 4, 7), (20_000, 90, 100)]
    {
        let draws = 100_000u64;
        let queue = RandomShuffleQueue::new(capacity, minimum, Some(5)).unwrap();
        let mut next = 0u64;
        while next + 1 < inside {
            queue.enqueue(next).unwrap();
            next += 1;
        }
        let classes = 8 * inside as usize;
        let mut ages = vec![0u64; classes + 1];
        let mut counted = 0u64;
        for draw in 0..draws + 20 * inside {
            queue.enqueue(next).unwrap();
            let taken = queue.dequeue().unwrap();
            if draw >= 20 * inside {
                ages[((next - taken) as usize).min(classes)] += 1;
                counted += 1;
            }
            next += 1;
        }
        assert_eq!(counted, draws);
        let passed_over = 1.0 - 1.0 / inside as f64;
        let expected = |age: usize| {
            let least = passed_over.powi(age as i32) * draws as f64;
            if age == classes { least } else { least / inside as f64 }
        };
        let found = chi_square(ages.iter().enumerate().map(|(age, &count)| (count, expected(age))));
        assert!(found < bound(classes as f64), "chi square {found} with {inside} of {capacity} inside");
    }
}

#[test]
fn draws_do_not_depend_on_each_other() {
    let queue = RandomShuffleQueue::new(8, 0, Some(9)).unwrap();
    queue.enqueue_many((0..8).collect::<Vec<usize>>()).unwrap();
    let (mut pairs, mut last) = ([[0u64; 8]; 8], 0);
    let draws = 100_000;
    for _ in 0..draws {
        // What is taken goes in again: eight of eight inside at every draw, so that each has the chance of one eighth.
        let taken = queue.dequeue().unwrap();
        queue.enqueue(taken).unwrap();
        pairs[last][taken] += 1;
        last = taken;
    }
    let found = chi_square(pairs.iter().flatten().map(|&count| (count, draws as f64 / 64.0)));
    assert!(found < bound(63.0), "chi square {found}");
}

/// The order in which a hundred elements leave, put in and taken in turns.
fn order(seed: Option<u64>) -> Vec<u32> {
    let queue = RandomShuffleQueue::new(30, 10, seed).unwrap();
    let mut order = Vec::new();
    for chunk in (0..100).collect::<Vec<u32>>().chunks(20) {
        queue.enqueue_many(chunk.to_vec()).unwrap();
        order.extend(queue.dequeue_many(if order.is_empty() { 10 } else { 20 }).unwrap());
    }
    queue.close(false);
    order.extend(queue.dequeue_many(10).unwrap());
    order
}

#[test]
fn a_seed_is_an_order() {
    for seed in [0, 1, 7, u64::MAX] {
        let found = order(Some(seed));
        assert_eq!(found, order(Some(seed)));
        assert_ne!(found, order(Some(seed.wrapping_add(1))));
        assert_ne!(found, order(None));
        let mut sorted = found.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..100) && sorted != found);
    }
    assert_ne!(order(None), order(None));
}
