//! A bounded ring for many producers and many consumers, after Dmitry Vyukov's bounded queue.
//!
//! # The algorithm
//!
//! `tail` counts the pushes, `head` the pops, both as positions (see [`Laps`]). Every slot has a stamp that says for which lap
//! it is free, or in which it was filled, so that a push and a pop agree on a slot without looking at each other's counter.
//!
//! ```text
//! push                                            pop
//!     position = tail                                 position = head
//!     if closed: refused                              slot filled in this lap?
//!     slot free for this lap?                             CAS head -> next
//!         CAS tail -> next                                read the value
//!         write the value                                 stamp = free, next lap   (Release)
//!         stamp = filled, this lap    (Release)       slot free for this lap?
//!     slot filled in the lap before?                      tail == position: empty, and the end if closed
//!         head one lap behind: full                   otherwise somebody is at work: again
//!     otherwise somebody is at work: again
//! ```
//!
//! # Invariants
//!
//! - `head <= tail <= head + capacity`; both only grow.
//! - Who wins a position by its CAS has the slot to itself until it stores the stamp.
//! - The stamp of a slot is filled for the lap of a position in `head..tail`, free for the next lap outside of it, or about to
//!   be stored by whoever won the position.
//! - `CLOSED` is a bit of `tail`, the word a push exchanges: after the close, no CAS of a push that was not admitted succeeds.

use super::core::{Backoff, Core, PopError, PushError};
use super::laps::{CLOSED, Laps};
use super::slot::{FILLED, Slot};
use super::sync::{AtomicU64, Ordering, zeroed};
use crate::error::Result;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

pub(super) struct Ring<T> {
    /// The position of the next pop.
    head: CachePadded<AtomicU64>,
    /// The position of the next push, and `CLOSED`.
    tail: CachePadded<AtomicU64>,
    slots: Box<[Slot<T>]>,
    laps: Laps,
}

// SAFETY: a value is touched only by the thread that won its position, and handed on by the stamp, which is stored with Release and
// loaded with Acquire: values are sent, never shared.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// An open, empty ring with room for `capacity` values, which is not 0.
    pub(super) fn new(capacity: usize) -> Result<Self> {
        let slots = zeroed(capacity)?;
        Ok(Ring {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            slots,
            laps: Laps::new(capacity),
        })
    }

    /// The slot and the lap of `position`.
    #[inline]
    fn split(&self, position: u64) -> (&Slot<T>, u64) {
        let (index, lap) = self.laps.split(position);
        // SAFETY: `Laps` was made for as many slots as there are, and gives an index below that.
        (unsafe { self.slots.get_unchecked(index) }, lap)
    }

    #[inline]
    fn take(&self) -> Result<T, PopError> {
        let mut backoff = Backoff::new();
        // Relaxed: the slot's stamp says whether the position is worth trying for, and the CAS whether it is still there.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let (slot, lap) = self.split(head);
            // Acquire pairs with the Release in `push`: who sees the stamp sees the value.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == lap | FILLED {
                // SeqCst: the change that `wake_one_after_rmw` speaks of.
                match self.head.compare_exchange_weak(
                    head,
                    self.laps.after(head),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: this thread won the position, so that nobody else touches the slot until the stamp below;
                        // the stamp above said that the value is there, and it was acquired.
                        let value = slot.value.with_mut(|value| unsafe { value.read().assume_init() });
                        // Release pairs with the Acquire in `push`: the value was read before it is written over.
                        slot.stamp.store(lap + self.laps.one_lap(), Ordering::Release);
                        return Ok(value);
                    }
                    Err(moved) => {
                        head = moved;
                        backoff.spin();
                    }
                }
                continue;
            }
            if stamp == lap {
                // SeqCst: stands in one order with the pushes, so that no push before this look is overlooked.
                let tail = self.tail.load(Ordering::SeqCst);
                if tail & !CLOSED == head {
                    return Err(if tail & CLOSED == 0 { PopError::Empty } else { PopError::Closed });
                }
                // A push has the position and has not yet stored its stamp, or `head` is old.
                backoff.snooze();
            } else {
                backoff.spin();
            }
            // Relaxed: as the first load.
            head = self.head.load(Ordering::Relaxed);
        }
    }
}

impl<T: Send> Core for Ring<T> {
    type Item = T;

    const WAKES_AFTER_RMW: bool = true;

    #[inline]
    fn push(&self, value: T, admitted: bool) -> Result<(), PushError<T>> {
        let mut backoff = Backoff::new();
        // Relaxed: as in `take`.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 && !admitted {
                return Err(PushError::Closed(value));
            }
            let position = tail & !CLOSED;
            let (slot, lap) = self.split(position);
            // Acquire pairs with the Release in `take`: the value of one lap before has been read.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == lap {
                let next = self.laps.after(position) | tail & CLOSED;
                // SeqCst: the change that `wake_one_after_rmw` speaks of.
                match self.tail.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: this thread won the position, so that nobody else touches the slot until the stamp below;
                        // the stamp above said that there is no value in it.
                        slot.value.with_mut(|place| unsafe { place.write(MaybeUninit::new(value)) });
                        // Release pairs with the Acquire in `take`.
                        slot.stamp.store(lap | FILLED, Ordering::Release);
                        return Ok(());
                    }
                    Err(moved) => {
                        tail = moved;
                        backoff.spin();
                    }
                }
                continue;
            }
            if (stamp & !FILLED) + self.laps.one_lap() == lap {
                // SeqCst: stands in one order with the pops, so that no pop before this look is overlooked.
                if self.head.load(Ordering::SeqCst) + self.laps.one_lap() == position {
                    return Err(PushError::Full(value));
                }
                // A pop has the position and has not yet stored its stamp, or `tail` is old.
                backoff.snooze();
            } else {
                backoff.spin();
            }
            // Relaxed: as the first load.
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    #[inline]
    fn pop(&self) -> Result<T, PopError> {
        self.take()
    }

    fn close(&self) {
        // AcqRel: one side of the order that `is_still_open` promises.
        self.tail.fetch_or(CLOSED, Ordering::AcqRel);
    }

    fn is_closed(&self) -> bool {
        // Acquire pairs with the Release of the close.
        self.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    fn is_still_open(&self) -> bool {
        // AcqRel, and a read-modify-write: if it comes before the close, the close acquires what this thread released, and
        // whoever reads the bit acquires it from the close.
        self.tail.fetch_or(0, Ordering::AcqRel) & CLOSED == 0
    }

    fn len(&self) -> usize {
        loop {
            // SeqCst: the tail was the same before and after the head was read, so the two belong together.
            let tail = self.tail.load(Ordering::SeqCst);
            let head = self.head.load(Ordering::SeqCst);
            if self.tail.load(Ordering::SeqCst) == tail {
                return self.laps.distance(head, tail & !CLOSED) as usize;
            }
        }
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.slots.len())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while self.take().is_ok() {}
    }
}
