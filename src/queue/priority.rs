//! The smallest priority first: [`PriorityQueue`].
#![forbid(unsafe_code)]

use super::blocking::Blocking;
use super::core::{Core, PopError, PushError};
use super::fifo::at_least_one;
use super::forward::forward;
use super::registry::{self, Spec};
use super::sync::Lock;
use crate::error::Result;
use std::any::type_name;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

forward! {
    /// A queue between threads whose elements carry a priority, bounded or not: the smallest leaves first, and of several with
    /// the same the one that was added first.
    ///
    /// Every operation takes a lock, for a time that grows with the logarithm of the size. What it has in common with the other
    /// queues is the trait [`Queue`](super::Queue), for pairs of a priority and an element.
    ///
    /// ```
    /// use forebay::queue::{PriorityQueue, Queue};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let jobs = PriorityQueue::new(10)?;
    /// jobs.enqueue_many(vec![(3, "sweep"), (-1, "wake up"), (3, "wash"), (2, "cook")])?;
    /// assert_eq!(jobs.dequeue_many(4)?, [(-1, "wake up"), (2, "cook"), (3, "sweep"), (3, "wash")]);
    /// # Ok(())
    /// # }
    /// ```
    pub struct PriorityQueue<T>: Queue<(i64, T)> over Heap<T>;
}

impl<T: Send> PriorityQueue<T> {
    /// An open, empty queue with room for `capacity` elements.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a capacity of 0.
    pub fn new(capacity: usize) -> Result<Self> {
        at_least_one(capacity)?;
        Ok(PriorityQueue(Blocking::new(Heap::new(Some(capacity)))))
    }

    /// An open, empty queue that is never full.
    pub fn unbounded() -> Self {
        PriorityQueue(Blocking::new(Heap::new(None)))
    }
}

impl<T: Send + 'static> PriorityQueue<T> {
    /// The queue that this process knows by `name`, made here if there is none: bounded, or unbounded where `capacity` is `None`.
    /// See [`shared`](super::shared).
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a queue of that name is there and differs. As
    /// [`new`](Self::new).
    pub fn shared(name: &str, capacity: Option<usize>) -> Result<Arc<Self>> {
        let spec = Spec::new("priority queue")
            .with("element type", type_name::<T>())
            .with("capacity", capacity.map_or("unbounded".to_owned(), |capacity| capacity.to_string()));
        registry::shared(name, &spec, || capacity.map_or_else(|| Ok(Self::unbounded()), Self::new))
    }
}

struct Heap<T> {
    elements: Lock<Elements<T>>,
    capacity: Option<usize>,
}

struct Elements<T> {
    heap: BinaryHeap<Ranked<T>>,
    /// How many were ever added: the next one's rank among equals.
    added: u64,
    closed: bool,
}

/// An element in its order: the greatest is the one with the smallest priority, and of those the first.
struct Ranked<T> {
    rank: Reverse<(i64, u64)>,
    value: T,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<T> Heap<T> {
    fn new(capacity: Option<usize>) -> Self {
        Heap { elements: Lock::new(Elements { heap: BinaryHeap::new(), added: 0, closed: false }), capacity }
    }
}

impl<T: Send> Core for Heap<T> {
    type Item = (i64, T);

    const WAKES_AFTER_RMW: bool = false;

    fn push(&self, (priority, value): (i64, T), admitted: bool) -> Result<(), PushError<(i64, T)>> {
        let mut elements = self.elements.lock();
        if elements.closed && !admitted {
            return Err(PushError::Closed((priority, value)));
        }
        if self.capacity.is_some_and(|capacity| elements.heap.len() >= capacity) {
            return Err(PushError::Full((priority, value)));
        }
        let rank = Reverse((priority, elements.added));
        elements.added += 1;
        elements.heap.push(Ranked { rank, value });
        Ok(())
    }

    fn pop(&self) -> Result<(i64, T), PopError> {
        let mut elements = self.elements.lock();
        match elements.heap.pop() {
            Some(Ranked { rank: Reverse((priority, _)), value }) => Ok((priority, value)),
            None if elements.closed => Err(PopError::Closed),
            None => Err(PopError::Empty),
        }
    }

    fn close(&self) {
        self.elements.lock().closed = true;
    }

    fn is_closed(&self) -> bool {
        self.elements.lock().closed
    }

    fn is_still_open(&self) -> bool {
        !self.elements.lock().closed
    }

    fn len(&self) -> usize {
        self.elements.lock().heap.len()
    }

    fn capacity(&self) -> Option<usize> {
        self.capacity
    }
}
