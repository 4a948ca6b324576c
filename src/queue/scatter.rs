//! A bounded set of slots for many producers and many consumers, from which elements leave in random order.
//!
//! # The algorithm
//!
//! An element lies in any slot. The numbers of the free slots go round in a ring of their own, `free`, with two
//! positions (see [`Laps`]): `tail` counts the pushes, each of which takes a number out of the ring, `head` the pops, each of
//! which puts one back, a lap later. So the one pair of words counts what is inside *and* hands out the slots.
//!
//! ```text
//! push                                            pop
//!     position = tail                                 position = head
//!     if closed: refused                              elements before tail, less the minimum, all claimed: empty
//!     free[index] of this lap?                        CAS head -> next            claims one element, not which
//!         CAS tail -> next                            repeat
//!         slot = the number in it                         slot = random number, of (seed, pops so far, try)
//!         write the value                             until CAS full -> empty     of that slot
//!         slot: full                  (Release)       read the value
//!     of the lap before?                              free[index] = slot, next lap                (Release)
//!         head one lap behind: full
//!     otherwise somebody is at work: again
//! ```
//!
//! Rejecting empty slots leaves every full one the same chance. After some misses, as when few of many slots are full, the
//! full ones are counted instead, and the k-th of them is taken for a random k; where there are many slots, a count for each
//! group of them is kept up to date, so that this does not look at them all.
//!
//! # Invariants
//!
//! - `head <= tail <= head + capacity`; both only grow; while the queue is open, `head + minimum <= tail` once `tail` has
//!   passed the minimum.
//! - At any time a slot's number is in `free`, between `tail` and `head + capacity`, or the slot is full, or one thread has it
//!   to itself: a push between its CAS and `full`, or a pop between `empty` and its number's return.
//! - More elements are full, or about to be, than pops are looking for one: whoever looks will find.
//! - In the first lap slots are used in the order of their numbers: no slot from the number of pushes on was touched.

use super::core::{Backoff, Core, PopError, PushError};
use super::laps::{CLOSED, Laps};
use super::sync::{AtomicU8, AtomicU64, AtomicUsize, Ordering, UnsafeCell, Zeroed, zeroed};
use crate::error::Result;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

/// Tries at random before the full slots are counted.
const TRIES: usize = 16;

/// Slots in a group.
const GROUP: usize = 512;

/// Up to so many slots, the full ones of a group are counted when they are asked for.
const FEW: usize = 8 * GROUP;

const EMPTY: u8 = 0;
const FULL: u8 = 1;

pub(super) struct Scatter<T> {
    pops: CachePadded<Pops>,
    /// The position of the next push, and `CLOSED`.
    tail: CachePadded<AtomicU64>,
    free: Box<[Free]>,
    slots: Box<[Slot<T>]>,
    /// For each group its full slots; empty if there are few slots.
    groups: Box<[Count]>,
    laps: Laps,
    /// Elements that stay inside while the queue is open.
    minimum: u64,
    seed: u64,
}

struct Pops {
    /// The position of the next pop.
    head: AtomicU64,
    /// So many pops are allowed by what was last seen of `tail`; never more than `tail` allows.
    allowed: AtomicU64,
}

/// A lap, and in the bits below it the number of the slot, less the index of this entry.
#[derive(Default)]
struct Free(AtomicU64);

/// How many slots of a group are full, or are about to be.
#[derive(Default)]
struct Count(AtomicUsize);

struct Slot<T> {
    /// `EMPTY` or `FULL`.
    state: AtomicU8,
    /// Initialised while the slot is full.
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }
}

// SAFETY: zero is the default of the atomic.
unsafe impl Zeroed for Free {}
// SAFETY: as above.
unsafe impl Zeroed for Count {}
// SAFETY: `EMPTY` is zero, and the value may be anything.
unsafe impl<T> Zeroed for Slot<T> {}

// SAFETY: a value is written by the one thread that took the slot's number out of `free`, and read by the one that made the slot
// empty after it was made full, with Release and Acquire: values are sent, never shared.
unsafe impl<T: Send> Send for Scatter<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Scatter<T> {}

impl<T> Scatter<T> {
    /// An open, empty set of `capacity` slots, which are more than `minimum`.
    pub(super) fn new(capacity: usize, minimum: usize, seed: u64) -> Result<Self> {
        let slots = zeroed(capacity)?;
        let groups = if capacity > FEW { capacity.div_ceil(GROUP) } else { 0 };
        Ok(Scatter {
            pops: CachePadded::new(Pops { head: AtomicU64::new(0), allowed: AtomicU64::new(0) }),
            tail: CachePadded::new(AtomicU64::new(0)),
            free: zeroed(capacity)?,
            slots,
            groups: zeroed(groups)?,
            laps: Laps::new(capacity),
            minimum: minimum as u64,
            seed,
        })
    }

    /// The number of pops that pushes up to `tail` allow.
    #[inline]
    fn allowed(&self, tail: u64) -> u64 {
        let pushes = self.laps.count(tail & !CLOSED);
        if tail & CLOSED == 0 { pushes.saturating_sub(self.minimum) } else { pushes }
    }

    /// Claims an element, whichever it will be: gives the position of the pop.
    #[inline]
    fn claim(&self) -> Result<u64, PopError> {
        let mut backoff = Backoff::new();
        // Relaxed: only the CAS decides.
        let mut head = self.pops.head.load(Ordering::Relaxed);
        loop {
            let pops = self.laps.count(head);
            // Relaxed: any value that was ever stored here is a lower bound of what is allowed.
            if pops >= self.pops.allowed.load(Ordering::Relaxed) {
                // SeqCst: stands in one order with the pushes, so that no push before this look is overlooked.
                let tail = self.tail.load(Ordering::SeqCst);
                let allowed = self.allowed(tail);
                if pops >= allowed {
                    return Err(if tail & CLOSED == 0 { PopError::Empty } else { PopError::Closed });
                }
                // Relaxed: as above.
                self.pops.allowed.store(allowed, Ordering::Relaxed);
            }
            // SeqCst: the change that `wake_one_after_rmw` speaks of.
            match self.pops.head.compare_exchange_weak(
                head,
                self.laps.after(head),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(head),
                Err(moved) => {
                    head = moved;
                    backoff.spin();
                }
            }
        }
    }

    /// Makes a random full slot empty, and gives its number. `pops` is the number of pops before this one.
    #[inline]
    fn draw(&self, pops: u64) -> usize {
        let mut draws = Draws::new(self.seed, pops);
        let mut backoff = Backoff::new();
        loop {
            let used = self.used();
            for _ in 0..TRIES {
                let number = draws.below(used);
                if self.empty(number) {
                    return number;
                }
            }
            if let Some(number) = self.draw_counted(used, &mut draws) {
                return number;
            }
            // Another took it, or what was claimed is not yet there.
            backoff.snooze();
        }
    }

    /// How many slots were ever used, in the order of their numbers: a bound for the full ones.
    #[inline]
    fn used(&self) -> usize {
        // Relaxed: as in `claim`.
        if self.pops.allowed.load(Ordering::Relaxed) >= self.slots.len() as u64 {
            return self.slots.len();
        }
        // Relaxed: at the least, it is what the claim of this pop was allowed by.
        let pushes = self.laps.count(self.tail.load(Ordering::Relaxed) & !CLOSED);
        pushes.min(self.slots.len() as u64) as usize
    }

    /// Makes the slot `number` empty, if it is full.
    #[inline]
    fn empty(&self, number: usize) -> bool {
        let state = &self.slots[number].state;
        // Relaxed: a look that spares the exchange. Acquire pairs with the Release in `push`: the value is there.
        state.load(Ordering::Relaxed) == FULL
            && state.compare_exchange(FULL, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Counts the full ones among the first `used` slots, and makes one of them empty, each with the same chance.
    #[cold]
    fn draw_counted(&self, used: usize, draws: &mut Draws) -> Option<usize> {
        let groups = used.div_ceil(GROUP);
        let total: usize = (0..groups).map(|group| self.count_full(group)).sum();
        let mut nth = draws.below(total.max(1));
        for group in 0..groups {
            let full = self.count_full(group);
            if nth < full {
                return self.full_in(group).nth(nth).filter(|&number| self.empty(number));
            }
            nth -= full;
        }
        None
    }

    fn count_full(&self, group: usize) -> usize {
        match self.groups.get(group) {
            // Relaxed: a count that is over when it is read; the slots have the last word.
            Some(count) => count.0.load(Ordering::Relaxed),
            None => self.full_in(group).count(),
        }
    }

    fn full_in(&self, group: usize) -> impl Iterator<Item = usize> {
        let numbers = group * GROUP..((group + 1) * GROUP).min(self.slots.len());
        // Relaxed: as in `empty`.
        numbers.filter(|&number| self.slots[number].state.load(Ordering::Relaxed) == FULL)
    }
}

impl<T: Send> Core for Scatter<T> {
    type Item = T;

    const WAKES_AFTER_RMW: bool = true;

    #[inline]
    fn push(&self, value: T, admitted: bool) -> Result<(), PushError<T>> {
        let mut backoff = Backoff::new();
        // Relaxed: only the CAS decides.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 && !admitted {
                return Err(PushError::Closed(value));
            }
            let position = tail & !CLOSED;
            let (index, lap) = self.laps.split(position);
            // Acquire pairs with the Release in `pop`: the slot's value of before has been read.
            let free = self.free[index].0.load(Ordering::Acquire);
            let mask = self.laps.one_lap() - 1;
            if free & !mask == lap {
                let next = self.laps.after(position) | tail & CLOSED;
                // SeqCst: the change that `wake_one_after_rmw` speaks of.
                match self.tail.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        let number = (free.wrapping_add(index as u64) & mask) as usize;
                        if let Some(count) = self.groups.get(number / GROUP) {
                            // Relaxed: the store below publishes it, so that no pop takes away what was not added.
                            count.0.fetch_add(1, Ordering::Relaxed);
                        }
                        let slot = &self.slots[number];
                        // SAFETY: this thread won the position and with it the number, so that the slot, which is empty, is
                        // its own until it is full.
                        slot.value.with_mut(|place| unsafe { place.write(MaybeUninit::new(value)) });
                        // Release pairs with the Acquire in `empty`.
                        slot.state.store(FULL, Ordering::Release);
                        return Ok(());
                    }
                    Err(moved) => {
                        tail = moved;
                        backoff.spin();
                    }
                }
                continue;
            }
            if (free & !mask) + self.laps.one_lap() == lap {
                // SeqCst: stands in one order with the pops, so that no pop before this look is overlooked.
                if self.pops.head.load(Ordering::SeqCst) + self.laps.one_lap() == position {
                    return Err(PushError::Full(value));
                }
                // A pop has the position and has not yet given its slot back, or `tail` is old.
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
        let head = self.claim()?;
        let number = self.draw(self.laps.count(head));
        // SAFETY: this thread made the slot empty, so that it is its own until its number is given back below; it was full, and
        // the exchange acquired the value.
        let value = self.slots[number].value.with_mut(|value| unsafe { value.read().assume_init() });
        if let Some(count) = self.groups.get(number / GROUP) {
            // Relaxed: as in `push`.
            count.0.fetch_sub(1, Ordering::Relaxed);
        }
        let (index, lap) = self.laps.split(head);
        let one_lap = self.laps.one_lap();
        let free = lap + one_lap + ((number as u64).wrapping_sub(index as u64) & (one_lap - 1));
        // Release pairs with the Acquire in `push`.
        self.free[index].0.store(free, Ordering::Release);
        Ok(value)
    }

    fn is_ready(&self) -> bool {
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
        self.laps.between(&self.pops.head, &self.tail)
    }

    fn capacity(&self) -> Option<usize> {
        Some(self.slots.len())
    }
}

impl<T> Drop for Scatter<T> {
    fn drop(&mut self) {
        for number in 0..self.used() {
            if self.empty(number) {
                // SAFETY: nobody else has the queue any more, and the slot was full.
                self.slots[number].value.with_mut(|value| unsafe { (*value).assume_init_drop() });
            }
        }
    }
}

/// The random numbers of one pop: a function of the seed and the number of pops before it. SplitMix64 (Steele, Lea, Flood: *Fast
/// splittable pseudorandom number generators*), begun where the seed and the number, mixed, say.
struct Draws(u64);

/// The odd number next to 2⁶⁴ over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    #[inline]
    fn new(seed: u64, pops: u64) -> Self {
        Draws(mix(seed ^ mix(pops.wrapping_mul(STEP))))
    }

    /// A number below `bound`, which is not 0; each with the same chance, but for one part in 2⁶⁴ / `bound`.
    #[inline]
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        ((u128::from(mix(self.0)) * bound as u128) >> 64) as usize
    }
}

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
