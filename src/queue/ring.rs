//! A bounded ring for many producers and many consumers, whose values leave in order or, *mixed*, in random order.
//!
//! # In order
//!
//! After Dmitry Vyukov's bounded queue. `tail` counts the pushes, `head` the pops, both as positions (see [`Laps`]). Every
//! slot has a stamp that says for which lap it is free, or in which it was filled, so that a push and a pop agree on a slot
//! without looking at each other's counter.
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
//! # Mixed
//!
//! Between winning its position and writing there, a push draws one of the positions from `head` to its own, each with the same
//! chance, puts its value into *that* slot, and what lay there at the tail. This is the inside-out shuffle of Fisher and
//! Yates: if the values inside lie in an order that is any of the possible ones with the same chance, then so they do with the new
//! one; and taking the first away leaves the others so. Hence the value at `head` is a uniform choice from all that are inside,
//! and a pop need not look for it. While the ring is open it pops only where more than the `minimum` are inside.
//!
//! ```text
//! exchange with position j                        pop of position j
//!     CAS stamp filled -> filled and busy             CAS head -> j + 1
//! D1  if head > j: CAS back; draw again           D2  wait until the stamp is not busy
//!     change the values                               read the value, ...
//!     stamp = filled                  (Release)
//! ```
//!
//! Each of the two writes one word and then reads the other's, and all four steps are `SeqCst`: either the exchange sees at D1
//! that the value is popped, and lets go, or the pop sees at D2 that it is being changed, and waits.
//!
//! # Invariants
//!
//! - `head <= tail <= head + capacity`; both only grow.
//! - Who wins a position at `tail` has the slot to itself until it stores the stamp; who wins it at `head` has it from the moment
//!   it sees the stamp filled and not busy; who makes a stamp busy has it, if `head` has not passed, until it stores the stamp.
//! - The stamp of a slot is filled for the lap of a position in `head..tail`, free for the next lap outside of it, or about to
//!   be stored by whoever has the slot.
//! - `CLOSED` is a bit of `tail`, the word a push exchanges: after the close, no CAS of a push that was not admitted succeeds.

use super::core::{Backoff, Core, PopError, PushError};
use super::laps::{CLOSED, Laps};
use super::mixer::Draws;
use super::sync::{AtomicU64, Ordering, UnsafeCell, Zeroed, order, zeroed};
use crate::error::Result;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

/// The bit of a stamp that says filled, above every lap.
const FILLED: u64 = 1 << 63;

/// The bit of a stamp that says that the value is being changed for another.
const BUSY: u64 = 1 << 62;

/// Draws before a push gives up changing places. Only others at work make one fail.
const TRIES: usize = 32;

pub(super) struct Ring<T, const MIXED: bool> {
    pops: CachePadded<Pops>,
    /// The position of the next push, and `CLOSED`.
    tail: CachePadded<AtomicU64>,
    slots: Box<[Slot<T>]>,
    laps: Laps,
    /// Values that stay inside while the ring is open; 0 if it is not mixed.
    minimum: u64,
    seed: u64,
}

struct Pops {
    /// The position of the next pop.
    head: AtomicU64,
    /// So many pops are allowed by what was last seen of `tail`; never more than `tail` allows. Used only if mixed.
    allowed: AtomicU64,
}

struct Slot<T> {
    /// A lap, `FILLED` and `BUSY`.
    stamp: AtomicU64,
    /// Initialised while the stamp says filled.
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { stamp: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }
}

// SAFETY: a stamp of zero is the default, and the value may be anything.
unsafe impl<T> Zeroed for Slot<T> {}

// SAFETY: a value is touched only by the thread that has its slot, by the invariants, and handed on by stamps that are stored with
// Release and loaded with Acquire: values are sent, never shared.
unsafe impl<T: Send, const MIXED: bool> Send for Ring<T, MIXED> {}
// SAFETY: as above.
unsafe impl<T: Send, const MIXED: bool> Sync for Ring<T, MIXED> {}

impl<T> Ring<T, false> {
    /// An open, empty ring with room for `capacity` values, which is not 0, that leave in the order they came.
    pub(super) fn in_order(capacity: usize) -> Result<Self> {
        Ring::new(capacity, 0, 0)
    }
}

impl<T> Ring<T, true> {
    /// An open, empty ring with room for `capacity` values, of which `minimum`, which is less, stay inside while it is open. They
    /// leave in random order.
    pub(super) fn mixed(capacity: usize, minimum: usize, seed: u64) -> Result<Self> {
        Ring::new(capacity, minimum, seed)
    }
}

impl<T, const MIXED: bool> Ring<T, MIXED> {
    fn new(capacity: usize, minimum: usize, seed: u64) -> Result<Self> {
        let slots = zeroed(capacity)?;
        Ok(Ring {
            pops: CachePadded::new(Pops { head: AtomicU64::new(0), allowed: AtomicU64::new(0) }),
            tail: CachePadded::new(AtomicU64::new(0)),
            slots,
            laps: Laps::new(capacity),
            minimum: minimum as u64,
            seed,
        })
    }

    /// The slot and the lap of `position`.
    #[inline]
    fn split(&self, position: u64) -> (&Slot<T>, u64) {
        let (index, lap) = self.laps.split(position);
        // SAFETY: `Laps` was made for as many slots as there are, and gives an index below that.
        (unsafe { self.slots.get_unchecked(index) }, lap)
    }

    /// Puts `value` at the place of one that is inside, or at `position`, which the caller has won: each with the same chance.
    /// Gives what is to be written at `position`.
    #[inline]
    fn exchange(&self, position: u64, value: &mut MaybeUninit<T>) {
        let mut draws = Draws::new(self.seed, position);
        for _ in 0..TRIES {
            // Relaxed: it chooses; whether the choice holds is seen below. It has passed the position one lap before: the pop that
            // freed this slot moved it before it stored the stamp that the caller acquired.
            let head = self.pops.head.load(Ordering::Relaxed);
            let back = draws.below(self.laps.distance(head, position) + 1);
            if back == 0 {
                return;
            }
            let chosen = self.laps.before(position, back);
            let (slot, lap) = self.split(chosen);
            let (filled, busy) = (lap | FILLED, lap | FILLED | BUSY);
            // SeqCst: the write before D1. It acquires the value, too.
            let ours = slot.stamp.compare_exchange(filled, busy, Ordering::SeqCst, Ordering::Relaxed).is_ok();
            if !ours {
                continue;
            }
            order();
            // D1, SeqCst: pairs with D2 in `take`.
            if self.pops.head.load(Ordering::SeqCst) > chosen {
                // Where the pop did not see it busy, it may have stored its stamp already. Relaxed: nothing was changed.
                let _ = slot.stamp.compare_exchange(busy, filled, Ordering::Relaxed, Ordering::Relaxed);
                continue;
            }
            // SAFETY: the stamp says filled and busy, and no pop has won the slot's position before that was so: one that wins it now
            // waits for the stamp below. No other exchange makes a busy slot busy. So this thread has the slot, and the value in it
            // was acquired with the stamp.
            slot.value.with_mut(|place| unsafe { std::mem::swap(&mut *place, value) });
            // Release pairs with the Acquire in `take` and in the exchange above.
            slot.stamp.store(filled, Ordering::Release);
            return;
        }
    }

    /// Whether pops may go beyond `pops`, the number of those before.
    #[inline]
    fn may_pop(&self, pops: u64) -> Result<(), PopError> {
        // Relaxed: any value that was ever stored here is a lower bound of what is allowed.
        if pops < self.pops.allowed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SeqCst: stands in one order with the pushes, so that no push before this look is overlooked.
        let tail = self.tail.load(Ordering::SeqCst);
        let allowed = self.allowed(tail);
        if pops < allowed {
            // Relaxed: as above.
            self.pops.allowed.store(allowed, Ordering::Relaxed);
            return Ok(());
        }
        Err(if tail & CLOSED == 0 { PopError::Empty } else { PopError::Closed })
    }

    /// The number of pops that pushes up to `tail` allow.
    #[inline]
    fn allowed(&self, tail: u64) -> u64 {
        let pushes = self.laps.count(tail & !CLOSED);
        if tail & CLOSED == 0 { pushes.saturating_sub(self.minimum) } else { pushes }
    }

    #[inline]
    fn take(&self) -> Result<T, PopError> {
        let mut backoff = Backoff::new();
        // Relaxed: the slot's stamp says whether the position is worth trying for, and the CAS whether it is still there.
        let mut head = self.pops.head.load(Ordering::Relaxed);
        loop {
            let (slot, lap) = self.split(head);
            // Acquire pairs with the Release in `push`: who sees the stamp sees the value.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp & !BUSY == lap | FILLED {
                if MIXED {
                    self.may_pop(self.laps.count(head))?;
                }
                // SeqCst: the change that `wake_one_after_rmw` speaks of, and the write before D2.
                match self.pops.head.compare_exchange_weak(
                    head,
                    self.laps.after(head),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        if MIXED {
                            order();
                            // D2, SeqCst: pairs with D1 in `exchange`. It acquires the value that was put in last.
                            while slot.stamp.load(Ordering::SeqCst) & BUSY != 0 {
                                backoff.snooze();
                            }
                        }
                        // SAFETY: this thread won the position, and no exchange is at it or will touch it, so that it has the slot
                        // until the stamp below; the stamp said that the value is there, and it was acquired.
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
                if MIXED {
                    self.may_pop(self.laps.count(head))?;
                }
                // A push has the position and has not yet stored its stamp, or `head` is old.
                backoff.snooze();
            } else {
                backoff.spin();
            }
            // Relaxed: as the first load.
            head = self.pops.head.load(Ordering::Relaxed);
        }
    }
}

impl<T: Send, const MIXED: bool> Core for Ring<T, MIXED> {
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
                        let mut value = MaybeUninit::new(value);
                        if MIXED {
                            self.exchange(position, &mut value);
                        }
                        // SAFETY: this thread won the position, so that nobody else touches the slot until the stamp below;
                        // the stamp above said that there is no value in it.
                        slot.value.with_mut(|place| unsafe { place.write(value) });
                        // Release pairs with the Acquire in `take` and in `exchange`.
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
            if (stamp & !(FILLED | BUSY)) + self.laps.one_lap() == lap {
                // SeqCst: stands in one order with the pops, so that no pop before this look is overlooked.
                if self.pops.head.load(Ordering::SeqCst) + self.laps.one_lap() == position {
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

    fn is_ready(&self) -> bool {
        if !MIXED {
            return true;
        }
        // SeqCst: after the caller's push in the one order; of several pushes the last one sees all.
        let tail = self.tail.load(Ordering::SeqCst);
        self.laps.count(self.pops.head.load(Ordering::SeqCst)) < self.allowed(tail)
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
            let head = self.pops.head.load(Ordering::SeqCst);
            if self.tail.load(Ordering::SeqCst) == tail {
                return self.laps.distance(head, tail & !CLOSED) as usize;
            }
        }
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.slots.len())
    }
}

impl<T, const MIXED: bool> Drop for Ring<T, MIXED> {
    fn drop(&mut self) {
        // Relaxed: nobody else has the ring. The minimum holds no more.
        self.tail.fetch_or(CLOSED, Ordering::Relaxed);
        while self.take().is_ok() {}
    }
}
