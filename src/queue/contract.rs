//! What the classic queues have in common.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};

/// A queue of elements between threads: what is put in comes out once, in the order the kind of queue stands for.
///
/// Adding waits while the queue is full, taking while it is empty (or holds too little). Closing is how waiting ends:
///
/// | after | adding | taking |
/// |---|---|---|
/// | `close(false)` | is refused (`Cancelled`); who waited for room already still gets in | takes what is left, then `OutOfRange` |
/// | `close(true)` | is refused (`Cancelled`), also for those who wait | takes what is left, then `OutOfRange` |
/// | `cancel()` | is refused (`Cancelled`), also for those who wait | is refused (`Cancelled`), also for those who wait |
///
/// Closing twice is harmless; the stricter of two closes holds.
pub trait Queue<T>: Send + Sync {
    /// Adds `value`, waiting for room.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::ErrorKind::Cancelled) once the queue is closed; the value is dropped.
    fn enqueue(&self, value: T) -> Result<()>;

    /// Adds all `values` in their order, each as soon as there is room: others may see some before the last is in.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue); those that are in stay in.
    fn enqueue_many(&self, values: Vec<T>) -> Result<()>;

    /// Takes one element, waiting for it.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) when the queue is closed and none is left,
    /// [`Cancelled`](crate::ErrorKind::Cancelled) once it is cancelled.
    fn dequeue(&self) -> Result<T>;

    /// As [`dequeue`](Self::dequeue), for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if none came in time; nothing is lost. As [`dequeue`](Self::dequeue).
    fn dequeue_within(&self, patience: Duration) -> Result<T>;

    /// Takes `n` elements, waiting until there were so many. More than the capacity may be asked for.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) when the queue is closed and too few are left: what had been taken is
    /// put back, in order. [`Cancelled`](crate::ErrorKind::Cancelled) once it is cancelled.
    fn dequeue_many(&self, n: usize) -> Result<Vec<T>>;

    /// As [`dequeue_many`](Self::dequeue_many), but gives what is left, at least one, when the queue is closed.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) when the queue is closed and none is left, unless `n` is 0.
    /// [`Cancelled`](crate::ErrorKind::Cancelled) once it is cancelled.
    fn dequeue_up_to(&self, n: usize) -> Result<Vec<T>>;

    /// Refuses new elements from here on, and with `cancel_pending` those that wait for room; wakes everybody. What is
    /// inside can still be taken.
    fn close(&self, cancel_pending: bool);

    /// Ends every call that waits, and every later one, with `Cancelled`.
    fn cancel(&self);

    /// Whether the queue was closed or cancelled. It may still hold elements.
    fn is_closed(&self) -> bool;

    /// How many elements are in the queue; under concurrent use, how many were a moment ago.
    fn size(&self) -> usize;

    /// How many elements there is room for; `None` without a bound.
    fn capacity(&self) -> Option<usize>;
}

/// The queue at `index`, for programs that choose among several as they go.
///
/// ```
/// use forebay::queue::{FifoQueue, Queue, select_queue};
/// use std::sync::Arc;
///
/// # fn main() -> forebay::Result<()> {
/// let queues = [Arc::new(FifoQueue::new(1)?), Arc::new(FifoQueue::new(1)?)];
/// select_queue(&queues, 1)?.enqueue('b')?;
/// assert_eq!((queues[0].size(), queues[1].dequeue()?), (0, 'b'));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no queue at `index`.
pub fn select_queue<Q: ?Sized>(queues: &[Arc<Q>], index: usize) -> Result<&Arc<Q>> {
    queues.get(index).ok_or_else(|| {
        let len = queues.len();
        Error::invalid(format!("queue {index} was selected, but there are {len}, counted from 0"))
    })
}
