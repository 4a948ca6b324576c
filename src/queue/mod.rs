//! How does a value get from the thread that made it to the thread that wants it?
//!
//! Through a ring that hands values over in an order fixed beforehand, or through one of the queues of the classic input
//! pipeline; below all of them lies one waiting layer:
//!
//! - [`ordered_ring`]: many producers, one consumer. A producer claims a *position* first and fills it when
//!   it is done; values are handed over in the order of their positions, whoever finishes first.
//! - [`Queue`]: many producers, many consumers, and sources whose length nobody knows. [`FifoQueue`] is first in, first out;
//!   [`RandomShuffleQueue`] takes at random out of what is inside; [`PriorityQueue`] the smallest priority first.
//! - [`shared`] and [`attach`]: the same queue for all who know its name.
//! - [`Waiters`]: spin a little, yield a little, then park. An idle thread costs nothing, and waking nobody
//!   costs a fence and a load at most.
//!
//! A bounded FIFO or random-shuffle queue is best at what a pipeline does most, to hand over many elements: who finds none and may
//! wait as long as it takes stays, for ten microseconds at the most and only while others add, until there are many.
//!
//! # Invariants
//!
//! - Every value put in is either handed over exactly once or dropped with its ring or queue.
//! - A full ring gives the value back or makes its caller wait; an empty one says so. Neither is an error.
//! - The ring, and single operations of the FIFO and the random-shuffle queue, take no lock; only a thread that parks, or
//!   wakes one that has, takes the lock of the waiting layer. Nothing is allocated for a value in what is bounded.
//! - Closing wakes everybody. What was claimed or pushed before the close is still handed over, nothing after
//!   it is accepted but what already waited for room.
//! - A producer that panics with a position in hand leaves it *abandoned*, never stuck.
//!
//! # Deliberately absent
//!
//! Waiting on several rings at once; async; a deadline for adding (closing and cancelling are how that ends).

mod contract;
mod ordered;

mod fifo;
mod priority;
mod registry;
mod shuffle;

mod blocking;
mod core;
mod draws;
mod forward;
mod laps;
mod ring;
mod segments;
mod sync;
mod wait;

pub use contract::{Queue, select_queue};
pub use core::{PopError, PushError};
pub use fifo::FifoQueue;
pub use ordered::{Abandoned, Claim, Consumer, Pop, Producer, Ticket, ordered_ring};
pub use priority::PriorityQueue;
pub use registry::{Spec, attach, shared, shared_spec};
pub use shuffle::RandomShuffleQueue;
pub use wait::Waiters;
