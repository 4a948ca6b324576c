//! What the tests share that hold real threads against each other.

#![allow(dead_code)] // Each test uses its part.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

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
