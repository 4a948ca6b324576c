//! An unbounded queue for many producers and many consumers: crossbeam's `SegQueue`, and a word that closes it.
//!
//! # The algorithm
//!
//! `SegQueue` knows no close. So a push first counts itself in a word that also says whether the queue is closed, and a pop first
//! takes one off the count; only then do they turn to the queue. Who has taken one off will find an element, at once or as soon
//! as a push that is under way is through; and a count of zero, closed, is the end.
//!
//! # Invariants
//!
//! - The count is never more than the elements in the queue and the pushes under way, less the pops under way.
//! - After the close only pushes that are admitted add to the count.
#![forbid(unsafe_code)]

use super::core::{Backoff, Core, PopError, PushError};
use super::laps::CLOSED;
use super::sync::{AtomicU64, Ordering, SegQueue};
use crossbeam::utils::CachePadded;

pub(super) struct Segments<T> {
    values: SegQueue<T>,
    /// How many elements there are to take, and `CLOSED`.
    count: CachePadded<AtomicU64>,
}

impl<T> Segments<T> {
    /// An open, empty queue.
    pub(super) fn new() -> Self {
        Segments { values: SegQueue::new(), count: CachePadded::new(AtomicU64::new(0)) }
    }
}

impl<T: Send> Core for Segments<T> {
    type Item = T;

    const WAKES_AFTER_RMW: bool = true;

    #[inline]
    fn push(&self, value: T, admitted: bool) -> Result<(), PushError<T>> {
        let one_more = |count: u64| (admitted || count & CLOSED == 0).then_some(count + 1);
        // SeqCst: the change that `wake_one_after_rmw` speaks of. The values are handed over by the queue itself.
        match self.count.fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_more) {
            Ok(_) => {
                self.values.push(value);
                Ok(())
            }
            Err(_) => Err(PushError::Closed(value)),
        }
    }

    #[inline]
    fn pop(&self) -> Result<T, PopError> {
        let one_less = |count: u64| (count & !CLOSED != 0).then(|| count - 1);
        // SeqCst, also where nothing is left: stands in one order with the pushes, so that none before is overlooked.
        match self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => {
                let mut backoff = Backoff::new();
                loop {
                    match self.values.pop() {
                        Some(value) => return Ok(value),
                        None => backoff.snooze(),
                    }
                }
            }
            Err(count) if count & CLOSED == 0 => Err(PopError::Empty),
            Err(_) => Err(PopError::Closed),
        }
    }

    fn close(&self) {
        // AcqRel: one side of the order that `is_still_open` promises.
        self.count.fetch_or(CLOSED, Ordering::AcqRel);
    }

    fn is_closed(&self) -> bool {
        // Acquire pairs with the Release of the close.
        self.count.load(Ordering::Acquire) & CLOSED != 0
    }

    fn is_still_open(&self) -> bool {
        // AcqRel, and a read-modify-write: as in `Ring`.
        self.count.fetch_or(0, Ordering::AcqRel) & CLOSED == 0
    }

    fn len(&self) -> usize {
        // Relaxed: a figure of a moment that is over.
        (self.count.load(Ordering::Relaxed) & !CLOSED) as usize
    }

    fn capacity(&self) -> Option<usize> {
        None
    }
}
