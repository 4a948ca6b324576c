//! How do values that many threads finish in any order reach one consumer in *the* order?
//!
//! By a ring in which the place is given out before the work is done. A producer claims the next position,
//! works, and fills it; position `p` lies in slot `p mod capacity`; the consumer waits at the head position
//! until that slot is filled. There is no reorder buffer, because the ring is one.
//!
//! ```text
//!   position      17      18      19      20      21      22
//!               ┌───────┬───────┬───────┬───────┬ ─ ─ ─ ┬ ─ ─ ─ ┐
//!               │ empty │filled │filled │ empty │ free  │ free  │        capacity 6
//!               └───────┴───────┴───────┴───────┴ ─ ─ ─ ┴ ─ ─ ─ ┘
//!                 head                            tail
//!                 a worker is still at it         the next claim
//! ```
//!
//! # Who may touch a slot
//!
//! - *claim*: `tail` is moved from `p` to `p + 1` by a compare-exchange, and only where `p < head +
//!   capacity`. One thread wins `p`, and the slot's value of one lap before has been taken out: the slot is
//!   the ticket's.
//! - *fill*: the ticket's holder writes the value and then sets the state to `FILLED` (or, dropping the
//!   ticket, to `ABANDONED`): the slot is the consumer's.
//! - *pop*: the consumer finds the state set, takes the value out, sets `EMPTY` and then moves `head` on: the
//!   slot is free for position `p + capacity`.
//!
//! The value itself is handed over by Release and Acquire on the slot's state, and handed back by Release and
//! Acquire on `head`. Fences appear only in the waiting layer.
//!
//! # Invariants
//!
//! - `head ≤ tail ≤ head + capacity` and `tail ≤ len`; both only grow; only the consumer moves `head`.
//! - A slot outside of `head..tail` is `EMPTY`; a slot that is `FILLED` holds an initialised value, any other
//!   none.
//! - Closing sets the top bit of `tail`, the very word that claims compare and exchange: after it no claim
//!   succeeds, and the positions claimed before it are an exact, final number.
//!
//! # Deliberately absent
//!
//! A second consumer; popping out of order; un-claiming (a ticket is filled or its position is abandoned);
//! noticing that no producer is left (the consumer can always claim for itself).

use super::sync::{Arc, AtomicU8, AtomicU64, Ordering, UnsafeCell};
use super::wait::Waiters;
use crossbeam::utils::CachePadded;
use std::fmt;
use std::mem::{self, MaybeUninit};

/// No value: free, or claimed and not yet filled. Which of the two, `tail` says.
const EMPTY: u8 = 0;
/// An initialised value for the consumer.
const FILLED: u8 = 1;
/// No value, and there will be none.
const ABANDONED: u8 = 2;

/// The bit of `tail` that says closed. It is above every position, so that `tail >= len` covers both ends.
const CLOSED: u64 = 1 << 63;

/// A ring of `capacity` slots over positions `0..len`, or over positions without end for `None`.
///
/// ```
/// use forebay::queue::{Pop, ordered_ring};
///
/// let (producer, mut consumer) = ordered_ring(4, Some(2));
/// let (first, second) = (producer.claim().unwrap(), producer.claim().unwrap());
/// assert!(producer.claim().is_none());
/// second.fill("done early");
/// assert_eq!(consumer.try_pop(), Pop::Pending);
/// first.fill("done late");
/// assert_eq!(consumer.try_pop(), Pop::Item("done late"));
/// assert_eq!(consumer.try_pop(), Pop::Item("done early"));
/// assert_eq!(consumer.try_pop(), Pop::Done);
/// ```
///
/// # Panics
///
/// When `capacity` is 0.
pub fn ordered_ring<T>(capacity: usize, len: Option<u64>) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "the capacity of a ring must be at least 1, got 0");
    let slot = || Slot { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) };
    let ring = Arc::new(Ring {
        tail: CachePadded::new(AtomicU64::new(0)),
        head: CachePadded::new(AtomicU64::new(0)),
        slots: (0..capacity).map(|_| slot()).collect(),
        len: len.map_or(CLOSED, |len| len.min(CLOSED)),
        room: CachePadded::new(Waiters::new()),
        ready: CachePadded::new(Waiters::new()),
    });
    (Producer { ring: ring.clone() }, Consumer { producer: Producer { ring } })
}

/// The side that claims positions and fills them. Any number of clones, on any threads.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
}

/// The side that takes the values out, in order. Dropping it closes the ring.
pub struct Consumer<T> {
    /// For the consumer to lend a hand with; its ring is this consumer's ring.
    producer: Producer<T>,
}

/// The exclusive right, and the duty, to fill one position.
///
/// Dropped unfilled, as by a panic, it marks its position as abandoned. Leaked (`mem::forget`), it leaves the
/// consumer waiting.
#[must_use = "a ticket that is dropped abandons its position"]
pub struct Ticket<'a, T> {
    ring: &'a Ring<T>,
    position: u64,
}

/// What [`Producer::try_claim`] found.
#[derive(Debug)]
pub enum Claim<'a, T> {
    /// The next position, to be filled.
    Ticket(Ticket<'a, T>),
    /// Every slot is taken, until the consumer pops.
    Full,
    /// All positions are claimed, or the ring is closed.
    Done,
}

/// What [`Consumer::try_pop`] found at the head position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pop<T> {
    /// Its value.
    Item(T),
    /// Nothing, for good: its ticket was dropped unfilled. The head has moved on.
    Abandoned,
    /// Nothing yet: unclaimed, or claimed and not filled.
    Pending,
    /// There is no such position: all were popped, or the ring is closed and all that was claimed is popped.
    Done,
}

/// The ticket of the popped position was dropped unfilled: its holder gave up or panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

struct Ring<T> {
    /// The next position to claim, and `CLOSED`.
    tail: CachePadded<AtomicU64>,
    /// The next position to pop.
    head: CachePadded<AtomicU64>,
    slots: Box<[Slot<T>]>,
    /// Where the positions end; `CLOSED`, which no position reaches, where they do not.
    len: u64,
    /// Producers, for the head to move on.
    room: CachePadded<Waiters>,
    /// The consumer, for the slot at the head.
    ready: CachePadded<Waiters>,
}

struct Slot<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the only part of a `Ring` that is not `Sync` is the slots' values. A value is accessed by one
// thread at a time, as set out under "Who may touch a slot", and passes from thread to thread, for which `T:
// Send` is enough; no `&T` is ever made.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, position: u64) -> &Slot<T> {
        // The remainder is below the number of slots, a `usize`: neither cast loses anything.
        &self.slots[(position % self.slots.len() as u64) as usize]
    }

    /// Closes, and wakes whoever waits for a claim or for a position that nobody will claim.
    fn close(&self) {
        // Relaxed: the bit carries no data; parked threads see it by the fences of the waiting layer.
        self.tail.fetch_or(CLOSED, Ordering::Relaxed);
        self.room.wake_all();
        self.ready.wake_all();
    }

    fn is_closed(&self) -> bool {
        // Relaxed: pairs with no data, as above.
        self.tail.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Whether the consumer has popped everything there will ever be.
    fn is_done(&self) -> bool {
        // Relaxed: only the consumer moves the head, and it is the consumer that asks.
        let head = self.head.load(Ordering::Relaxed);
        // Relaxed: once closed, the rest of the word is final, whenever it is read; before, `len` is.
        let tail = self.tail.load(Ordering::Relaxed);
        head == if tail & CLOSED == 0 { self.len } else { tail & !CLOSED }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        for slot in &self.slots {
            // Acquire pairs with the Release in `Ticket::settle`; the last reference to the ring has been
            // given up by then, which orders it too, by a fence that ThreadSanitizer cannot see.
            if slot.state.load(Ordering::Acquire) == FILLED {
                // SAFETY: a `FILLED` slot holds an initialised value (invariant of the module), and `&mut
                // self` says that nobody else reads or takes it.
                slot.value.with_mut(|value| unsafe { (*value).assume_init_drop() });
            }
        }
    }
}

impl<T> Producer<T> {
    /// Claims the next position, if there is one and a slot for it.
    #[inline]
    pub fn try_claim(&self) -> Claim<'_, T> {
        let ring = &*self.ring;
        // Relaxed, as is the exchange below: the word hands out numbers and publishes nothing. A stale value
        // makes the exchange fail.
        let mut tail = ring.tail.load(Ordering::Relaxed);
        loop {
            if tail >= ring.len {
                return Claim::Done;
            }
            // Acquire pairs with the Release in `Consumer::advance`: what lay in the slot a lap ago is taken
            // out.
            if tail >= ring.head.load(Ordering::Acquire) + ring.slots.len() as u64 {
                return Claim::Full;
            }
            match ring.tail.compare_exchange_weak(tail, tail + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(position) => {
                    if position + 1 == ring.len {
                        // Whoever still waits for room now waits for nothing.
                        ring.room.wake_all();
                    }
                    return Claim::Ticket(Ticket { ring, position });
                }
                Err(moved) => tail = moved,
            }
        }
    }

    /// Claims the next position, waiting while the ring is full; `None` when all positions are claimed or the
    /// ring is closed.
    #[inline]
    pub fn claim(&self) -> Option<Ticket<'_, T>> {
        self.ring.room.wait_until(|| match self.try_claim() {
            Claim::Ticket(ticket) => Some(Some(ticket)),
            Claim::Full => None,
            Claim::Done => Some(None),
        })
    }

    /// Closes the ring: no position is claimed any more, and everybody who waits for one is woken. Tickets in
    /// hand may still be filled, and are still handed over.
    pub fn close(&self) {
        self.ring.close();
    }

    /// Whether the ring was closed, from whichever side.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }
}

impl<T> Ticket<'_, T> {
    /// The position to fill.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Hands `value` over, to be popped when its turn comes.
    #[inline]
    pub fn fill(self, value: T) {
        // SAFETY: this ticket is the only one for its position, the slot's former value was taken out before
        // the claim (the Acquire in `try_claim`), and the consumer keeps off until `settle` sets the state.
        self.ring.slot(self.position).value.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(value)) });
        self.settle(FILLED);
        mem::forget(self);
    }

    #[inline]
    fn settle(&self, state: u8) {
        let ring = self.ring;
        // Release pairs with the Acquire in `Consumer::state_at`: the value comes with the state.
        ring.slot(self.position).state.store(state, Ordering::Release);
        // The consumer waits for its head position only; it moved the head there before it began to wait.
        // Relaxed: ordered after that move by the fences of the waiting layer.
        ring.ready.wake_all_if(|| ring.head.load(Ordering::Relaxed) == self.position);
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        self.settle(ABANDONED);
    }
}

impl<T> Consumer<T> {
    /// Takes the value at the head position, if it is there.
    #[inline]
    pub fn try_pop(&mut self) -> Pop<T> {
        match self.state_at(self.position()) {
            FILLED => {
                let slot = self.ring().slot(self.position());
                // SAFETY: the state is `FILLED`, so the value is initialised and its writer is done (the
                // Acquire in `state_at`). `advance` sets the state to `EMPTY`, so it is read out once.
                let value = slot.value.with_mut(|value| unsafe { (*value).assume_init_read() });
                self.advance();
                Pop::Item(value)
            }
            ABANDONED => {
                self.advance();
                Pop::Abandoned
            }
            _ if self.ring().is_done() => Pop::Done,
            _ => Pop::Pending,
        }
    }

    /// Takes the value at the head position, waiting for it; `None` when there is no such position.
    ///
    /// Somebody else must claim and fill that position. A consumer that may be the only one at work claims
    /// through [`producer`](Consumer::producer) while the head is pending, and waits when there is nothing to
    /// claim:
    ///
    /// ```
    /// # use forebay::queue::{Claim, Pop, ordered_ring};
    /// let (producer, mut consumer) = ordered_ring(2, Some(5));
    /// # drop(producer);
    /// let mut popped = vec![];
    /// loop {
    ///     match consumer.try_pop() {
    ///         Pop::Item(value) => popped.push(value),
    ///         Pop::Abandoned => panic!("a worker gave up"),
    ///         Pop::Done => break,
    ///         Pop::Pending => match consumer.producer().try_claim() {
    ///             Claim::Ticket(ticket) => {
    ///                 let work = 10 * ticket.position();
    ///                 ticket.fill(work);
    ///             }
    ///             Claim::Full | Claim::Done => consumer.wait_ready(),
    ///         },
    ///     }
    /// }
    /// assert_eq!(popped, [0, 10, 20, 30, 40]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Abandoned`] when the position's ticket was dropped unfilled. The next call goes on behind it.
    #[inline]
    pub fn pop(&mut self) -> Option<Result<T, Abandoned>> {
        loop {
            match self.try_pop() {
                Pop::Item(value) => return Some(Ok(value)),
                Pop::Abandoned => return Some(Err(Abandoned)),
                Pop::Pending => self.wait_ready(),
                Pop::Done => return None,
            }
        }
    }

    /// Waits until [`try_pop`](Consumer::try_pop) has more to say than [`Pop::Pending`].
    pub fn wait_ready(&self) {
        let ring = self.ring();
        ring.ready.wait_until(|| (self.state_at(self.position()) != EMPTY || ring.is_done()).then_some(()));
    }

    /// The head position: the one popped next.
    #[inline]
    pub fn position(&self) -> u64 {
        // Relaxed: only this consumer moves the head.
        self.ring().head.load(Ordering::Relaxed)
    }

    /// How many positions from the head on are filled or abandoned: so many calls of
    /// [`try_pop`](Consumer::try_pop) will not find [`Pop::Pending`].
    ///
    /// What their producers did before they filled them has happened before this call returns.
    pub fn ready(&self) -> usize {
        let head = self.position();
        let is_ready = |&ahead: &usize| self.state_at(head + ahead as u64) != EMPTY;
        (0..self.capacity()).take_while(is_ready).count()
    }

    /// How many positions are claimed and not yet popped, filled or not.
    pub fn occupancy(&self) -> usize {
        // Relaxed: a figure that may be stale. It is at most the capacity, a `usize`.
        ((self.ring().tail.load(Ordering::Relaxed) & !CLOSED) - self.position()) as usize
    }

    /// How many positions can be claimed and not yet popped at a time.
    pub fn capacity(&self) -> usize {
        self.ring().slots.len()
    }

    /// A producer of this ring; clone it to send it elsewhere.
    pub fn producer(&self) -> &Producer<T> {
        &self.producer
    }

    /// As [`Producer::close`]. What was claimed before can still be popped.
    pub fn close(&self) {
        self.ring().close();
    }

    #[inline]
    fn ring(&self) -> &Ring<T> {
        &self.producer.ring
    }

    /// The state of the slot of `position`, which lies within a lap of the head.
    #[inline]
    fn state_at(&self, position: u64) -> u8 {
        // Acquire pairs with the Release in `Ticket::settle`: a state that is set comes with the value.
        self.ring().slot(position).state.load(Ordering::Acquire)
    }

    /// Frees the slot at the head, whose value is out, and moves on.
    #[inline]
    fn advance(&mut self) {
        let (ring, head) = (self.ring(), self.position());
        // Relaxed: published by the store below, before anyone can claim the slot again.
        ring.slot(head).state.store(EMPTY, Ordering::Relaxed);
        // Release pairs with the Acquire in `Producer::try_claim`: the slot is handed back, its value taken
        // out.
        ring.head.store(head + 1, Ordering::Release);
        ring.room.wake_one();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Producer { ring: self.ring.clone() }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("is_closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Ticket<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("position", &self.position).finish_non_exhaustive()
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the position was claimed, but its ticket was dropped unfilled")
    }
}

impl std::error::Error for Abandoned {}
