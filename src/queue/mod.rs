//! How does a value get from the thread that made it to the thread that wants it?
//!
//! Through a bounded ring. There are two, and below both lies one waiting layer:
//!
//! - [`ordered_ring`]: many producers, one consumer. A producer claims a *position* first and fills it when
//!   it is done; values are handed over in the order of their positions, whoever finishes first.
//! - [`Fifo`]: many producers, many consumers, first in, first out.
//! - [`Waiters`]: spin a little, yield a little, then park. An idle thread costs nothing, and waking nobody
//!   costs a fence and a load.
//!
//! # Invariants
//!
//! - Every value put in is either handed over exactly once or dropped with its ring.
//! - A full ring gives the value back or makes its caller wait; an empty one says so. Neither is an error.
//! - A ring takes no lock and allocates nothing for a value; only a thread that parks, or wakes one that has,
//!   takes the lock of the waiting layer.
//! - Closing wakes everybody. What was claimed or pushed before the close is still handed over, nothing after
//!   it is accepted.
//! - A producer that panics with a position in hand leaves it *abandoned*, never stuck.
//!
//! # Deliberately absent
//!
//! Unbounded queues (backpressure is the point), waiting with a deadline (closing is how waiting ends),
//! waiting on several rings at once, async.

mod fifo;
mod ordered;
mod queue;
mod sync;
mod wait;

pub use fifo::{Fifo, PopError, PushError};
pub use ordered::{Abandoned, Claim, Consumer, Pop, Producer, Ticket, ordered_ring};
mod standin;
pub use queue::Queue;
pub use standin::*;
pub use wait::Waiters;
