//! How do many threads hand values to many others, first in, first out?
//!
//! Through crossbeam's `ArrayQueue`, a bounded lock-free ring, with [`Waiters`] for those who find it full or
//! empty and a *gate* that makes closing exact.
//!
//! # The gate
//!
//! `ArrayQueue` knows no close, and a flag beside it would race: a push looks at the flag, the queue is
//! closed, a consumer finds it closed and empty and leaves, the push succeeds, and its value is never popped.
//! So a push goes in through a gate, one word that holds the flag and the number of pushes under way, and out
//! again. Once the flag is set nobody goes in, so the number only falls; a consumer believes an empty queue
//! to be the end of it when the flag is set and nobody is inside.
//!
//! # Invariants
//!
//! - A push that succeeds is popped, or dropped with the queue when nobody pops to the end.
//! - Once a pop has found the end, every push is refused and every pop finds the end.
//! - The values of one producer are popped in the order it pushed them.
//!
//! # Deliberately absent
//!
//! Taking many at once, putting back, cancelling what waits: a lock is needed for these, and they belong to
//! the queues built over this one.

use super::sync::{ArrayQueue, AtomicUsize, Ordering};
use super::wait::Waiters;
use crossbeam::utils::CachePadded;
use std::fmt;

/// The flag in the gate: no push may go in.
const CLOSED: usize = 1;
/// One push inside the gate.
const INSIDE: usize = 2;

/// A bounded queue, first in, first out, for any number of producers and consumers.
///
/// It is shared by reference or in an `Arc`, so nobody can be waiting when it is dropped.
///
/// ```
/// use forebay::queue::{Fifo, PushError};
///
/// let lines = Fifo::new(2);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for line in ["to be", "or not", "to be"] {
///             lines.push(line).unwrap();
///         }
///         lines.close();
///     });
///     assert_eq!(std::iter::from_fn(|| lines.pop()).collect::<Vec<_>>(), ["to be", "or not", "to be"]);
/// });
/// assert_eq!(lines.try_push("that is"), Err(PushError::Closed("that is")));
/// ```
pub struct Fifo<T> {
    queue: ArrayQueue<T>,
    /// `CLOSED`, and `INSIDE` times the number of pushes under way.
    gate: CachePadded<AtomicUsize>,
    /// Producers, for room.
    room: CachePadded<Waiters>,
    /// Consumers, for items or the end.
    items: CachePadded<Waiters>,
}

/// Why a push was refused, and the value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError<T> {
    /// There is no room, until somebody pops.
    Full(T),
    /// The queue is closed for good.
    Closed(T),
}

/// Why there was nothing to pop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// Nothing is there, for the moment.
    Empty,
    /// The queue is closed and nothing is left in it.
    Closed,
}

impl<T> Fifo<T> {
    /// An open, empty queue with room for `capacity` values.
    ///
    /// # Panics
    ///
    /// When `capacity` is 0.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "the capacity of a queue must be at least 1, got 0");
        Fifo {
            queue: ArrayQueue::new(capacity),
            gate: CachePadded::new(AtomicUsize::new(0)),
            room: CachePadded::new(Waiters::new()),
            items: CachePadded::new(Waiters::new()),
        }
    }

    /// Pushes `value`, waiting while there is no room.
    ///
    /// # Errors
    ///
    /// The value back, when the queue is closed, also while waiting.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut held = Some(value);
        self.room.wait_until(|| {
            match self.try_push(held.take().expect("a full queue gives the value back")) {
                Ok(()) => Some(Ok(())),
                Err(PushError::Closed(value)) => Some(Err(value)),
                Err(PushError::Full(value)) => {
                    held = Some(value);
                    None
                }
            }
        })
    }

    /// Pushes `value`, if there is room.
    ///
    /// # Errors
    ///
    /// The value back, when the queue is full or closed.
    #[inline]
    pub fn try_push(&self, value: T) -> Result<(), PushError<T>> {
        let open = |gate: usize| (gate & CLOSED == 0).then_some(gate + INSIDE);
        // Relaxed, both: the count carries no data, and the flag is in the word that is exchanged.
        if self.gate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, open).is_err() {
            return Err(PushError::Closed(value));
        }
        let pushed = self.queue.push(value).map_err(PushError::Full);
        // Release pairs with the Acquire in `try_pop`: who finds nobody inside finds what was pushed.
        if self.gate.fetch_sub(INSIDE, Ordering::Release) & CLOSED != 0 {
            // Consumers may wait for no more than to see this push leave.
            self.items.wake_all();
        } else if pushed.is_ok() {
            self.items.wake_one();
        }
        pushed
    }

    /// Pops the oldest value, waiting for one; `None` when the queue is closed and nothing is left in it.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        self.items.wait_until(|| match self.try_pop() {
            Ok(value) => Some(Some(value)),
            Err(PopError::Closed) => Some(None),
            Err(PopError::Empty) => None,
        })
    }

    /// Pops the oldest value, if there is one.
    ///
    /// # Errors
    ///
    /// [`PopError`] says whether it is worth coming back.
    #[inline]
    pub fn try_pop(&self) -> Result<T, PopError> {
        let popped = self.queue.pop().ok_or(PopError::Empty).or_else(|empty| {
            // Acquire pairs with the Release in `try_push`: every push that got in is seen by the pop below.
            match self.gate.load(Ordering::Acquire) {
                CLOSED => self.queue.pop().ok_or(PopError::Closed),
                _ => Err(empty),
            }
        });
        if popped.is_ok() {
            self.room.wake_one();
        }
        popped
    }

    /// Refuses every push from here on and wakes everybody who waits. What is inside can still be popped.
    pub fn close(&self) {
        // Relaxed: the flag carries no data; parked threads see it by the fences of the waiting layer.
        self.gate.fetch_or(CLOSED, Ordering::Relaxed);
        self.room.wake_all();
        self.items.wake_all();
    }

    /// Whether the queue was closed. It may still hold values.
    pub fn is_closed(&self) -> bool {
        // Relaxed: pairs with no data, as in `close`.
        self.gate.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// How many values lie in the queue; under concurrent use, how many lay in it a moment ago.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether [`len`](Fifo::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many values there is room for.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl<T> fmt::Debug for Fifo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fifo")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
