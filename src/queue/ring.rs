//! A bounded ring for many producers and many consumers, whose values leave in the order in which they came, or in random order.
//!
//! # The algorithm
//!
//! After Dmitry Vyukov's bounded queue: `tail` counts the pushes, `head` the pops, both as positions (see [`Laps`]), and every slot
//! has a stamp that says for which lap it is free, or in which it was filled. A push wins a position by moving `tail`; a pop wins
//! the slot at `head` and then moves `head` alone, by a plain store, which costs less than to fight for a word that all of them
//! write.
//!
//! Where values leave in random order, a push mixes: it draws one of the positions from `head` to its own, each with the same
//! chance, puts its value there, and what lay there at the tail. This is the inside-out shuffle of Fisher and Yates: if the values
//! inside lie in an order that is any of the possible ones with the same chance, then so they do with the new one; and taking the
//! first away leaves the others so. Hence the value at `head` is a uniform choice from all that are inside, and a pop has nothing
//! to look for, however few they are. Of pushes that overlap one may not draw what another is about to write, or has just drawn.
//!
//! ```text
//! push                                            pop
//!     position = tail                                 position = head
//!     if closed: refused                              slot filled in this lap?
//!     slot free for this lap?                             no more inside than must stay: empty, unless closed
//!         CAS tail -> next                                CAS stamp filled -> busy
//!         if mixing, repeat                               head = next
//!             j = random, from head to position           read the value
//!             if j == position: stop                      stamp = free, next lap          (Release)
//!             CAS stamp of j, filled -> busy          slot busy: somebody is at work, again
//!                 exchange the values                 slot free for this lap?
//!                 stamp of j = filled  (Release)          no more than must stay: empty, or the end if closed
//!                 stop                                otherwise somebody is at work: again
//!         write what is in hand
//!         stamp = filled, this lap     (Release)
//!     slot filled in the lap before: full
//!     otherwise somebody is at work: again
//! ```
//!
//! The head that a push draws from is a lower bound, so that producers need not read the word that every pop writes: a position
//! that turns out to be popped is drawn again, from those after it, and after a second one from the head itself. So what is drawn
//! in the end has the same chance as all from the head of that moment.
//!
//! # Who finds too little inside
//!
//! A ring that is emptied as fast as it is filled stays at its minimum, where producers and consumers want the same few slots, and
//! both pay for every line of the cache that goes from one core to the other. So one who finds nothing to take lets the ring fill,
//! as long as others push, before the next look: see [`linger`](Core::linger).
//!
//! # Invariants
//!
//! - `head <= tail <= head + capacity`; both only grow. Only who made the slot at `head` busy to take its value moves it.
//! - Who wins a position at `tail` has the slot to itself until it stores the stamp; who makes a slot busy has it likewise.
//! - The stamp of a slot is filled (it may be busy) for the lap of a position in `head..tail`, free for the next lap outside of it,
//!   or about to be stored by whoever has the slot.
//! - `head_seen <= head`.
//! - While the ring is open a pop leaves at least the minimum inside, counting pushes that have won their position.
//! - `CLOSED` is a bit of `tail`, the word a push exchanges: after the close, no CAS of a push that was not admitted succeeds.

use super::core::{Backoff, Core, PopError, PushError};
use super::draws::Draws;
use super::laps::{CLOSED, Laps};
use super::sync::{AtomicU64, Ordering, UnsafeCell, Zeroed, spin_loop, yield_now, zeroed};
use crate::error::Result;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

/// The bit of a stamp that says filled, above every lap.
const FILLED: u64 = 1 << 63;

/// The bit of a [filled](FILLED) slot's stamp that says that one thread has it to itself.
const BUSY: u64 = 1 << 62;

/// Draws before a push gives up changing places. After the second hardly anything makes one fail but others at
/// work on what was drawn.
const TRIES: usize = 32;

/// How long a pop that finds nothing to take waits before it looks whether anybody pushes, and between any two looks.
const FIRST_LOOK: Duration = Duration::from_nanos(150);

/// How much longer than the last pause the next may be: what few pushes say is not worth much.
const GROWTH: f64 = 4.0;

/// How long it waits at the most, as long as somebody does.
const LINGER: Duration = Duration::from_micros(10);

pub(super) struct Ring<T> {
    pops: CachePadded<Pops>,
    pushes: CachePadded<Pushes>,
    slots: Box<[Slot<T>]>,
    laps: Laps,
    /// Values that stay inside while the ring is open.
    minimum: u64,
    /// What pushes draw from, where values leave in random order.
    seed: Option<u64>,
}

/// A place for a value.
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

struct Pops {
    /// The position of the next pop.
    head: AtomicU64,
    /// So many pops are allowed by what was last seen of `tail`; never more than `tail` allows.
    allowed: AtomicU64,
}

struct Pushes {
    /// The position of the next push, and `CLOSED`.
    tail: AtomicU64,
    /// A lower bound of `head`.
    head_seen: AtomicU64,
}

// SAFETY: a value is touched only by the thread that has its slot, by the invariants, and handed on by stamps that are stored with
// Release and loaded with Acquire: values are sent, never shared.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    /// An open, empty ring with room for `capacity` values, which is not 0, that leave in the order in which they came.
    pub(super) fn in_order(capacity: usize) -> Result<Self> {
        Ring::new(capacity, 0, None)
    }

    /// An open, empty ring with room for `capacity` values that leave in random order, and of which `minimum`, which is less, stay
    /// inside while it is open.
    pub(super) fn shuffled(capacity: usize, minimum: usize, seed: u64) -> Result<Self> {
        Ring::new(capacity, minimum, Some(Draws::spread(seed)))
    }

    fn new(capacity: usize, minimum: usize, seed: Option<u64>) -> Result<Self> {
        let slots = zeroed(capacity)?;
        Ok(Ring {
            pops: CachePadded::new(Pops { head: AtomicU64::new(0), allowed: AtomicU64::new(0) }),
            pushes: CachePadded::new(Pushes { tail: AtomicU64::new(0), head_seen: AtomicU64::new(0) }),
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

    /// One of the positions from `head`, seen at some time, to `position`, which is won, each with the same chance.
    #[inline]
    fn choose(&self, position: u64, head: u64, draws: &mut Draws) -> u64 {
        // The slot is free, so that all before the last lap is popped, however old the head is. No head is beyond a position that
        // is won; but no fence says so of one that another push saw.
        let inside = (self.laps.distance(head.min(position), position) + 1).min(self.slots.len() as u64);
        self.laps.before(position, draws.below(inside))
    }

    /// Changes `value` for the one at `chosen`, or, where that was popped, at another position that is chosen for it; leaves it as
    /// it is where its own is chosen. `position` is that of the push, which has won it, and `head` one seen at some time.
    #[inline]
    fn mix(&self, seed: u64, position: u64, mut head: u64, value: &mut MaybeUninit<T>) {
        let mut draws = Draws::new(seed, position);
        let mut chosen = self.choose(position, head, &mut draws);
        for attempt in 0..TRIES {
            if chosen == position {
                return;
            }
            let (slot, lap) = self.split(chosen);
            let filled = lap | FILLED;
            // Acquire pairs with the Release of a push's stamps: the value is there.
            let had =
                slot.stamp.compare_exchange(filled, filled | BUSY, Ordering::Acquire, Ordering::Relaxed);
            match had {
                Ok(_) => {
                    // SAFETY: this thread made the slot busy, so that it has it until the stamp below.
                    slot.value.with_mut(|place| unsafe { ptr::swap(place, value) });
                    // Release pairs with the Acquire in `take` and of the exchange above.
                    slot.stamp.store(filled, Ordering::Release);
                    return;
                }
                // Popped, and so was all before.
                Err(stamp) if stamp & !FILLED & !BUSY > lap => {
                    head = self.laps.after(chosen);
                    if attempt > 0 {
                        // Relaxed: it only chooses. A look that costs much, as every pop writes the word.
                        head = head.max(self.pops.head.load(Ordering::Relaxed));
                    }
                    // Relaxed: it only chooses. It is not beyond this push's position: no pop gets past that before the slot is
                    // filled.
                    self.pushes.head_seen.store(head, Ordering::Relaxed);
                }
                // Somebody is at work on it.
                Err(_) => {}
            }
            chosen = self.choose(position, head, &mut draws);
        }
    }

    /// Whether there may be another pop after `pops` of them.
    #[inline]
    fn may_pop(&self, pops: u64) -> Result<(), PopError> {
        // Relaxed: any value that was ever stored here is a lower bound of what is allowed.
        if pops < self.pops.allowed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SeqCst: stands in one order with the pushes, so that no push before this look is overlooked.
        let tail = self.pushes.tail.load(Ordering::SeqCst);
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
        loop {
            // Acquire pairs with the Release below: the slot before is seen busy or later, so that a head is never new and its slot
            // old.
            let head = self.pops.head.load(Ordering::Acquire);
            let (slot, lap) = self.split(head);
            let (filled, busy) = (lap | FILLED, lap | FILLED | BUSY);
            // Relaxed: a look that spares the exchange.
            let stamp = slot.stamp.load(Ordering::Relaxed);
            if stamp == filled || stamp == lap {
                // A slot that looks as if it was not popped. Were `head` old, then what is said of it would hold all the more.
                self.may_pop(self.laps.count(head))?;
            }
            // SeqCst: the change that `wake_one_after_rmw` speaks of, and an Acquire that pairs with the Release of a push's stamps:
            // the value is there.
            if stamp == filled
                && slot.stamp.compare_exchange(filled, busy, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                // Release pairs with the Acquire above.
                self.pops.head.store(self.laps.after(head), Ordering::Release);
                // SAFETY: this thread made the slot busy, so that it has it until the stamp below.
                let value = slot.value.with_mut(|value| unsafe { value.read().assume_init() });
                // Release pairs with the Acquire in `push`: the value was read before it is written over.
                slot.stamp.store(lap + self.laps.one_lap(), Ordering::Release);
                return Ok(value);
            }
            // Another pop has the slot, or a push changes its value or has not yet written it, or `head` is old.
            backoff.snooze();
        }
    }
}

impl<T: Send> Core for Ring<T> {
    type Item = T;

    const WAKES_AFTER_RMW: bool = true;

    /// Waits until the room beyond the minimum is nearly taken, guessing from what came in so far when that may be, so that
    /// producers are left alone by looks at their word; but no longer than [`LINGER`], and not while nobody pushes.
    fn linger(&self) {
        if cfg!(loom) {
            return;
        }
        let room = self.slots.len() as u64 - self.minimum;
        let enough = self.slots.len() as u64 - room / 8;
        // Relaxed, all: they only say how long to wait.
        let mut seen = self.pushes.tail.load(Ordering::Relaxed);
        let (began, mut looked, mut pause) = (Instant::now(), Duration::ZERO, FIRST_LOOK);
        while looked < LINGER && seen & CLOSED == 0 {
            let next = looked + pause;
            while looked < next {
                spin_loop();
                looked = began.elapsed();
            }
            let tail = self.pushes.tail.load(Ordering::Relaxed);
            let position = tail & !CLOSED;
            let pushes = self.laps.distance(seen, position);
            if pushes == 0 {
                // Who pushes may be waiting for this core.
                return yield_now();
            }
            let head = self.pops.head.load(Ordering::Relaxed);
            let inside = self.laps.distance(head.min(position), position);
            if inside >= enough {
                return;
            }
            // A look too early costs less than producers that find no room.
            let growth = 0.75 * (enough - inside) as f64 / pushes as f64;
            pause = pause.mul_f64(growth.min(GROWTH)).max(FIRST_LOOK).min(LINGER.saturating_sub(looked));
            seen = tail;
        }
    }

    #[inline]
    fn push(&self, value: T, admitted: bool) -> Result<(), PushError<T>> {
        let mut backoff = Backoff::new();
        // Relaxed: the slot's stamp says whether the position is worth trying for, and the CAS whether it is still there.
        let mut tail = self.pushes.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 && !admitted {
                return Err(PushError::Closed(value));
            }
            let position = tail & !CLOSED;
            let (slot, lap) = self.split(position);
            // SeqCst: stands in one order with the pops, so that no pop before this look is overlooked where it says full. As an
            // Acquire it pairs with the Release in `take`: the value of one lap before has been read.
            let stamp = slot.stamp.load(Ordering::SeqCst);
            if stamp == lap {
                let next = self.laps.after(position) | tail & CLOSED;
                // SeqCst: the change that `wake_one_after_rmw` speaks of.
                match self.pushes.tail.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed)
                {
                    Ok(_) => {
                        let mut value = MaybeUninit::new(value);
                        if let Some(seed) = self.seed {
                            // Relaxed: it only chooses; the stamp has the last word.
                            let head = self.pushes.head_seen.load(Ordering::Relaxed);
                            self.mix(seed, position, head, &mut value);
                        }
                        // SAFETY: this thread won the position, so that it has the slot until the stamp below; the stamp above
                        // said that there is no value in it.
                        slot.value.with_mut(|place| unsafe { place.write(value) });
                        // Release pairs with the Acquire in `take` and in `mix`.
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
            if stamp & !FILLED & !BUSY > lap || stamp & !BUSY == lap | FILLED {
                // `tail` is old.
                backoff.spin();
            } else if stamp & BUSY == 0 && stamp & FILLED != 0 {
                return Err(PushError::Full(value));
            } else {
                // A pop has the slot, a push changes its value, or one of the lap before has not yet written it.
                backoff.snooze();
            }
            // Relaxed: as the first load.
            tail = self.pushes.tail.load(Ordering::Relaxed);
        }
    }

    #[inline]
    fn pop(&self) -> Result<T, PopError> {
        self.take()
    }

    fn is_ready(&self) -> bool {
        // SeqCst: after the caller's push in the one order; of several pushes the last one sees all. Relaxed: an old head makes one
        // wake in vain.
        let tail = self.pushes.tail.load(Ordering::SeqCst);
        self.laps.count(self.pops.head.load(Ordering::Relaxed)) < self.allowed(tail)
    }

    fn close(&self) {
        // AcqRel: one side of the order that `is_still_open` promises.
        self.pushes.tail.fetch_or(CLOSED, Ordering::AcqRel);
    }

    fn is_closed(&self) -> bool {
        // Acquire pairs with the Release of the close.
        self.pushes.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    fn is_still_open(&self) -> bool {
        // AcqRel, and a read-modify-write: if it comes before the close, the close acquires what this thread released, and
        // whoever reads the bit acquires it from the close.
        self.pushes.tail.fetch_or(0, Ordering::AcqRel) & CLOSED == 0
    }

    fn len(&self) -> usize {
        loop {
            // Acquire, and the tail was the same before and after the head was read, so that it was not before it.
            let tail = self.pushes.tail.load(Ordering::Acquire);
            let head = self.pops.head.load(Ordering::Acquire);
            if self.pushes.tail.load(Ordering::Acquire) == tail {
                return (self.laps.distance(head, tail & !CLOSED) as usize).min(self.slots.len());
            }
        }
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.slots.len())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Relaxed: nobody else has the ring. Closed, the minimum holds no more.
        self.pushes.tail.fetch_or(CLOSED, Ordering::Relaxed);
        while self.take().is_ok() {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    /// A push that finds its choice in the hands of another must not take it for popped: what lies before would never be mixed
    /// again.
    #[test]
    fn the_head_that_pushes_draw_from_is_never_beyond_the_head() {
        for seed in 0..2_000 {
            let ring = Ring::shuffled(64, 0, seed).unwrap();
            let head_seen = || ring.pushes.head_seen.load(Ordering::Relaxed);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..32).for_each(|value| ring.push(value, false).unwrap()));
                }
            });
            assert_eq!(head_seen(), 0, "nothing was popped");
            thread::scope(|scope| {
                scope.spawn(|| (0..32).for_each(|_| assert!(ring.pop().is_ok())));
                scope.spawn(|| {
                    for value in 0..32 {
                        while ring.push(value, false).is_err() {}
                    }
                });
            });
            assert!(head_seen() <= ring.pops.head.load(Ordering::Relaxed));
        }
    }
}
