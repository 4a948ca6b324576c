//! What the tests share that hold real threads against each other.

#![allow(dead_code)] // Each test uses its part.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use forebay::{ErrorKind, Result};

/// How often a stress test goes round: all the way where the optimiser has been, a tenth without it.
pub const fn rounds(full: u64) -> u64 {
    if cfg!(debug_assertions) { full / 10 } else { full }
}

/// A value that counts itself among the living, and carries a heap allocation for a double drop to trip over.
#[derive(Debug)]
pub struct Counted {
    pub value: Box<u64>,
    alive: Arc<AtomicI64>,
}

impl Counted {
    pub fn new(value: u64, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted { value: Box::new(value), alive: alive.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A small generator, so that the moments at which things happen differ from round to round.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `bound`.
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

/// Joins every thread, and so waits for those that nobody woke until the test is stopped from outside.
pub fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// How many numbers were taken, and sums in which one that is lost or doubled shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    count: u64,
    sum: u64,
    squares: u64,
}

impl Tally {
    pub fn add(&mut self, n: u64) {
        self.join(Tally { count: 1, sum: n, squares: n.wrapping_mul(n) });
    }

    fn join(&mut self, other: Tally) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares = self.squares.wrapping_add(other.squares);
    }
}

/// How a consumer takes.
#[derive(Clone, Copy)]
pub enum Way {
    UpTo(usize),
    Many(usize),
    One,
}

/// Puts numbers into `queue` by four threads and takes them by as many, each in a way of its own: none is lost or doubled. `put`
/// adds a range so many at once, and `take` takes once and says how many. `FOREBAY_QUEUE_ELEMENTS` says how many numbers.
pub fn comes_out_once<Q: Clone + Send + 'static>(
    kind: &str,
    queue: Q,
    put: fn(&Q, Range<u64>, usize),
    take: fn(&Q, Way, &mut Tally) -> Result<usize>,
    close: fn(&Q),
) {
    let started = Instant::now();
    let elements = std::env::var("FOREBAY_QUEUE_ELEMENTS").ok().map(|elements| elements.parse().unwrap());
    let share = elements.unwrap_or(rounds(2_000_000)) / 4;
    let producers = [13, 1, 1, 1].into_iter().zip(0u64..).map(|(at_once, producer)| {
        let queue = queue.clone();
        thread::spawn(move || put(&queue, producer * share..(producer + 1) * share, at_once))
    });
    let consumers = [Way::UpTo(7), Way::Many(5), Way::One, Way::One].map(|way| {
        let queue = queue.clone();
        thread::spawn(move || {
            let mut tally = Tally::default();
            drain(&queue, way, take, &mut tally);
            tally
        })
    });
    join::<()>(producers.collect());
    close(&queue);
    let (mut found, mut expected) = (Tally::default(), Tally::default());
    join(consumers.into()).into_iter().for_each(|tally| found.join(tally));
    (0..4 * share).for_each(|n| expected.add(n));
    assert_eq!(found, expected, "{kind}");
    println!("{kind}: {} elements in {:?}", 4 * share, started.elapsed());
}

/// Takes up to the end.
fn drain<Q>(queue: &Q, way: Way, take: fn(&Q, Way, &mut Tally) -> Result<usize>, tally: &mut Tally) {
    let error = loop {
        match (take(queue, way, tally), way) {
            (Ok(len), Way::UpTo(n)) => assert!((1..=n).contains(&len)),
            (Ok(len), Way::Many(n)) => assert_eq!(len, n),
            (Ok(len), Way::One) => assert_eq!(len, 1),
            (Err(error), _) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    if let Way::Many(_) = way {
        // Fewer than it asks for may be left.
        drain(queue, Way::One, take, tally);
    }
}
