//! How does a queue that never waits become one that waits for room and for elements, closes and cancels?
//!
//! [`Blocking`] lays three things around a [`Core`]: the waiting layer, a count of *pending* adders, and a place *aside* for
//! what was taken and given back. A single operation that need not wait costs the core's own step, the look at `flags` (a
//! word that is not written until the queue ends), and the look whether anybody waits.
//!
//! # Pending
//!
//! Who finds the queue full while it is open registers in `pending`, and is then *admitted*: a later `close(false)` does not
//! refuse it. Registering counts first and then asks the core whether it is still open; closing marks the core first, and who
//! looks for the end asks for the count after it has seen the mark. So whoever was told "open" is counted by everybody who sees
//! the close, and once the count of a closed queue is zero, it stays zero.
//!
//! # The end
//!
//! A taker has found the end when the core is closed and empty, nobody is pending, and nothing lies aside or in the hands of
//! one who may give it back. The last part is settled by a lock, the *turn*: who takes many holds it from its first element to
//! its last, and whoever thinks that it has found the end takes it before looking once more.
//!
//! # Invariants
//!
//! - What a failed taking of many gives back comes out before anything else, in its order. It is given back only at the end or
//!   after a cancel, so that nothing can be put in behind it: the order holds for every kind of queue.
//! - Once a taker was told that the queue is over, every later one is.
//! - Whoever waits for room is woken by every pop, by a close that cancels, and by a cancel; whoever waits for elements by every
//!   push after which one may leave, every close, and the last pending adder of a closed queue.
//!
//! # Deliberately absent
//!
//! Turns for single operations: one may overtake a taking of many that waits.

use super::core::{Core, PopError, PushError};
use super::sync::{AtomicU64, AtomicUsize, Lock, Ordering};
use super::wait::Waiters;
use crate::error::{Error, ErrorKind, Result};
use crossbeam::utils::CachePadded;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The queue was cancelled.
const CANCELLED: usize = 1;
/// Those who wait for room are refused.
const NONE_PENDING: usize = 2;
/// Something lies aside.
const ASIDE: usize = 4;

/// One in `pending` who was found to have come before the close. Those who only just registered count 1.
const ADMITTED: u64 = 1 << 32;

/// A [`Core`] that waits.
pub(super) struct Blocking<C: Core> {
    core: C,
    /// `CANCELLED`, `NONE_PENDING`, `ASIDE`.
    flags: AtomicUsize,
    /// Adders who found the queue full while it was open, and are still at it: each adds 1, and `ADMITTED` once that is settled.
    pending: CachePadded<AtomicU64>,
    /// Held by the one who takes many.
    turn: Lock<()>,
    /// What was taken and given back.
    aside: Lock<VecDeque<C::Item>>,
    /// Adders, for room.
    room: CachePadded<Waiters>,
    /// Takers, for elements or the end.
    items: CachePadded<Waiters>,
}

impl<C: Core> Blocking<C> {
    pub(super) fn new(core: C) -> Self {
        Blocking {
            core,
            flags: AtomicUsize::new(0),
            pending: CachePadded::new(AtomicU64::new(0)),
            turn: Lock::new(()),
            aside: Lock::new(VecDeque::new()),
            room: CachePadded::new(Waiters::new()),
            items: CachePadded::new(Waiters::new()),
        }
    }

    #[inline]
    pub(super) fn try_enqueue(&self, value: C::Item) -> Result<(), PushError<C::Item>> {
        self.push(value, false)
    }

    #[inline]
    pub(super) fn enqueue(&self, value: C::Item) -> Result<()> {
        match self.push(value, false) {
            Ok(()) => Ok(()),
            Err(PushError::Closed(_)) => Err(self.refused()),
            Err(PushError::Full(value)) => {
                let admission = self.admit()?;
                admission.enqueue(value)
            }
        }
    }

    pub(super) fn enqueue_many(&self, values: Vec<C::Item>) -> Result<()> {
        // Admitted from the beginning: a close in the middle refuses none of them.
        let admission = self.admit()?;
        values.into_iter().try_for_each(|value| admission.enqueue(value))
    }

    pub(super) fn try_dequeue(&self) -> Result<C::Item, PopError> {
        match self.take(false) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(PopError::Empty),
            Err(_) => Err(PopError::Closed),
        }
    }

    #[inline]
    pub(super) fn dequeue(&self) -> Result<C::Item> {
        self.take_waiting(false)
    }

    pub(super) fn dequeue_within(&self, patience: Duration) -> Result<C::Item> {
        let Some(deadline) = Instant::now().checked_add(patience) else {
            return self.dequeue();
        };
        self.items.wait_until_deadline(|| self.take(false).transpose(), deadline).unwrap_or_else(|| {
            let message = format!("waited {patience:?} for an element of a queue, and none came");
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    pub(super) fn dequeue_many(&self, n: usize) -> Result<Vec<C::Item>> {
        self.take_many(n, false)
    }

    pub(super) fn dequeue_up_to(&self, n: usize) -> Result<Vec<C::Item>> {
        self.take_many(n, true)
    }

    pub(super) fn close(&self, cancel_pending: bool) {
        if cancel_pending {
            // Relaxed: parked threads see it by the fences of the waiting layer.
            self.flags.fetch_or(NONE_PENDING, Ordering::Relaxed);
        }
        self.core.close();
        self.room.wake_all();
        self.items.wake_all();
    }

    pub(super) fn cancel(&self) {
        // Relaxed: as in `close`.
        self.flags.fetch_or(CANCELLED, Ordering::Relaxed);
        self.close(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    pub(super) fn size(&self) -> usize {
        // Relaxed: a hint, as below.
        let aside = if self.flags.load(Ordering::Relaxed) & ASIDE == 0 { 0 } else { self.aside.lock().len() };
        self.core.len() + aside
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        self.core.capacity()
    }

    pub(super) fn num_pending(&self) -> usize {
        // Acquire pairs with the Release in `admit`: a close after this comes after those who are counted.
        (self.pending.load(Ordering::Acquire) / ADMITTED) as usize
    }

    #[inline]
    fn push(&self, value: C::Item, admitted: bool) -> Result<(), PushError<C::Item>> {
        let pushed = self.core.push(value, admitted);
        if pushed.is_ok() {
            if C::WAKES_AFTER_RMW {
                self.items.wake_one_after_rmw(|| self.core.is_ready());
            } else {
                self.items.wake_one();
            }
        }
        pushed
    }

    /// Counts this thread among those whom a close does not refuse, unless the queue is closed.
    fn admit(&self) -> Result<Admission<'_, C>> {
        // Relaxed: released by the core's step below.
        self.pending.fetch_add(1, Ordering::Relaxed);
        let mut admission = Admission { queue: self, counted: 1 };
        if !self.core.is_still_open() {
            return Err(self.refused());
        }
        // Release pairs with the Acquire in `num_pending`.
        self.pending.fetch_add(ADMITTED, Ordering::Release);
        admission.counted += ADMITTED;
        Ok(admission)
    }

    /// Takes an element; `None` when there may be one later. `in_turn` says that the caller holds the turn.
    #[inline]
    fn take(&self, in_turn: bool) -> Result<Option<C::Item>> {
        // Relaxed: what is set once the queue is over is seen by whoever it was over for before the call; what lies aside is
        // looked for again, under the lock, before anybody is told that there is nothing.
        let flags = self.flags.load(Ordering::Relaxed);
        if flags != 0 {
            if flags & CANCELLED != 0 {
                return Err(cancelled());
            }
            if flags & ASIDE != 0
                && let Some(value) = self.take_aside()
            {
                return Ok(Some(value));
            }
        }
        match self.pop() {
            Ok(value) => Ok(Some(value)),
            Err(PopError::Empty) => Ok(None),
            Err(PopError::Closed) => self.take_at_end(in_turn),
        }
    }

    /// As `take`, but waits until there is an element.
    #[inline]
    fn take_waiting(&self, in_turn: bool) -> Result<C::Item> {
        match self.take(in_turn).transpose() {
            Some(taken) => taken,
            None => {
                self.core.linger();
                self.items.wait_until(|| self.take(in_turn).transpose())
            }
        }
    }

    #[inline]
    fn pop(&self) -> Result<C::Item, PopError> {
        let popped = self.core.pop();
        if popped.is_ok() {
            if C::WAKES_AFTER_RMW {
                self.room.wake_one_after_rmw(|| true);
            } else {
                self.room.wake_one();
            }
        }
        popped
    }

    /// As `take`, after the core was found closed and empty.
    #[cold]
    fn take_at_end(&self, in_turn: bool) -> Result<Option<C::Item>> {
        // Acquire pairs with the Release in `Admission::drop`: with nobody pending, all that was admitted is seen below.
        if self.pending.load(Ordering::Acquire) != 0 {
            return Ok(None);
        }
        // Nothing is put in any more. With the turn, nobody holds what it may give back.
        let _turn = (!in_turn).then(|| self.turn.lock());
        match self.take_aside() {
            Some(value) => Ok(Some(value)),
            None => match self.pop() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.over()),
            },
        }
    }

    #[cold]
    fn take_aside(&self) -> Option<C::Item> {
        let mut aside = self.aside.lock();
        let value = aside.pop_front();
        if aside.is_empty() {
            // Relaxed: a hint that spares a lock; it is set and taken away under the lock.
            self.flags.fetch_and(!ASIDE, Ordering::Relaxed);
        }
        value
    }

    fn take_many(&self, n: usize, or_fewer: bool) -> Result<Vec<C::Item>> {
        let mut taken = Vec::new();
        if n == 0 {
            return Ok(taken);
        }
        let _turn = self.turn.lock();
        while taken.len() < n {
            match self.take_waiting(true) {
                Ok(value) => taken.push(value),
                Err(error) => {
                    let over = error.kind() == ErrorKind::OutOfRange;
                    if over && or_fewer && !taken.is_empty() {
                        return Ok(taken);
                    }
                    let found = taken.len();
                    self.put_back(taken);
                    return Err(if over && found > 0 { insufficient(n, found) } else { error });
                }
            }
        }
        Ok(taken)
    }

    /// Lays `taken` aside, before what lies there. The caller holds the turn.
    fn put_back(&self, taken: Vec<C::Item>) {
        if taken.is_empty() {
            return;
        }
        let mut aside = self.aside.lock();
        taken.into_iter().rev().for_each(|value| aside.push_front(value));
        // Relaxed: as in `take_aside`.
        self.flags.fetch_or(ASIDE, Ordering::Relaxed);
        drop(aside);
        self.items.wake_all();
    }

    /// Why an adder is refused.
    #[cold]
    fn refused(&self) -> Error {
        // Relaxed: it only chooses the words.
        if self.flags.load(Ordering::Relaxed) & CANCELLED != 0 {
            return cancelled();
        }
        Error::new(ErrorKind::Cancelled, "the queue is closed, and takes in no more elements")
    }

    /// Why a taker gets nothing.
    fn over(&self) -> Error {
        // Relaxed: as in `take`.
        if self.flags.load(Ordering::Relaxed) & CANCELLED != 0 {
            return cancelled();
        }
        Error::new(ErrorKind::OutOfRange, "the queue is closed, and no elements are left in it")
    }
}

/// The right to put elements in after a close that came later.
struct Admission<'a, C: Core> {
    queue: &'a Blocking<C>,
    /// What it adds to `pending`.
    counted: u64,
}

impl<C: Core> Admission<'_, C> {
    fn enqueue(&self, value: C::Item) -> Result<()> {
        let queue = self.queue;
        let mut held = Some(value);
        queue.room.wait_until(|| {
            // Relaxed: as in `Blocking::close`.
            if queue.flags.load(Ordering::Relaxed) & (CANCELLED | NONE_PENDING) != 0 {
                return Some(Err(queue.refused()));
            }
            match queue.push(held.take().expect("a full queue gives the value back"), true) {
                Ok(()) => Some(Ok(())),
                Err(PushError::Full(value)) => {
                    held = Some(value);
                    None
                }
                Err(PushError::Closed(_)) => Some(Err(queue.refused())),
            }
        })
    }
}

impl<C: Core> Drop for Admission<'_, C> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `take_at_end`.
        self.queue.pending.fetch_sub(self.counted, Ordering::Release);
        // If it is still open, whoever sees the close sees the count as it is here.
        if !self.queue.core.is_still_open() {
            // Takers may wait for no more than this.
            self.queue.items.wake_all();
        }
    }
}

#[cold]
fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the queue was cancelled")
}

fn insufficient(n: usize, found: usize) -> Error {
    let message =
        format!("{n} elements were asked for, but the queue is closed and only {found} are left in it");
    Error::new(ErrorKind::OutOfRange, message)
}
