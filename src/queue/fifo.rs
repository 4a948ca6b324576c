//! First in, first out: [`FifoQueue`].
#![forbid(unsafe_code)]

use super::blocking::Blocking;
use super::core::{Core, PopError, PushError};
use super::forward::forward;
use super::registry::{self, Spec};
use super::ring::Ring;
use super::segments::Segments;
use crate::error::{Error, Result};
use std::any::type_name;
use std::sync::Arc;

forward! {
    /// A queue between threads, first in, first out, bounded or not.
    ///
    /// The elements of one producer are taken in the order in which it added them. Single operations take no lock; what they
    /// have in common with the other queues is the trait [`Queue`](super::Queue).
    ///
    /// Whoever takes many has its turn to itself, but a taker of single elements may come between. When it fails, because too
    /// few are left, what it had taken comes out first again. Elements left in a queue that is dropped are dropped with it.
    ///
    /// ```
    /// use forebay::ErrorKind;
    /// use forebay::queue::{FifoQueue, Queue};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let lines = FifoQueue::new(2)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         for line in ["to be", "or not", "to be"] {
    ///             lines.enqueue(line).unwrap();
    ///         }
    ///         lines.close(false);
    ///     });
    ///     assert_eq!(lines.dequeue_many(2).unwrap(), ["to be", "or not"]);
    ///     assert_eq!(lines.dequeue_up_to(2).unwrap(), ["to be"]);
    ///     assert_eq!(lines.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub struct FifoQueue<T>: Queue<T> over FifoCore<T>;
}

impl<T: Send> FifoQueue<T> {
    /// An open, empty queue with room for `capacity` elements. The room is reserved at once, and takes up memory as it is first used.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a capacity of 0,
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if there is no memory for that much room.
    pub fn new(capacity: usize) -> Result<Self> {
        at_least_one(capacity)?;
        Ok(FifoQueue(Blocking::new(FifoCore::Ring(Ring::in_order(capacity)?))))
    }

    /// An open, empty queue that is never full: it takes up memory as it grows.
    pub fn unbounded() -> Self {
        FifoQueue(Blocking::new(FifoCore::Segments(Segments::new())))
    }
}

impl<T: Send + 'static> FifoQueue<T> {
    /// The queue that this process knows by `name`, made here if there is none: bounded, or unbounded where `capacity` is `None`.
    /// See [`shared`](super::shared).
    ///
    /// ```
    /// use forebay::queue::{FifoQueue, Queue};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let producer = FifoQueue::shared("file names", Some(32))?;
    /// let consumer = FifoQueue::<String>::attach("file names")?;
    /// producer.enqueue("a.tfrecord".to_owned())?;
    /// assert_eq!(consumer.dequeue()?, "a.tfrecord");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a queue of that name is there and differs. As
    /// [`new`](Self::new).
    pub fn shared(name: &str, capacity: Option<usize>) -> Result<Arc<Self>> {
        let spec = Spec::new("FIFO queue")
            .with("element type", type_name::<T>())
            .with("capacity", capacity.map_or("unbounded".to_owned(), |capacity| capacity.to_string()));
        registry::shared(name, &spec, || capacity.map_or_else(|| Ok(Self::unbounded()), Self::new))
    }
}

/// Refuses a capacity of 0.
pub(super) fn at_least_one(capacity: usize) -> Result<()> {
    if capacity == 0 {
        return Err(Error::invalid("the capacity of a queue must be at least 1, got 0"));
    }
    Ok(())
}

enum FifoCore<T> {
    Ring(Ring<T>),
    Segments(Segments<T>),
}

/// Does the same with either.
macro_rules! either {
    ($core:expr, $inner:ident => $does:expr) => {
        match $core {
            FifoCore::Ring($inner) => $does,
            FifoCore::Segments($inner) => $does,
        }
    };
}

impl<T: Send> Core for FifoCore<T> {
    type Item = T;

    const WAKES_AFTER_RMW: bool = Ring::<T>::WAKES_AFTER_RMW && Segments::<T>::WAKES_AFTER_RMW;

    #[inline]
    fn push(&self, value: T, admitted: bool) -> Result<(), PushError<T>> {
        either!(self, core => core.push(value, admitted))
    }

    #[inline]
    fn pop(&self) -> Result<T, PopError> {
        either!(self, core => core.pop())
    }

    fn linger(&self) {
        either!(self, core => core.linger());
    }

    fn is_ready(&self) -> bool {
        either!(self, core => core.is_ready())
    }

    fn close(&self) {
        either!(self, core => core.close());
    }

    fn is_closed(&self) -> bool {
        either!(self, core => core.is_closed())
    }

    fn is_still_open(&self) -> bool {
        either!(self, core => core.is_still_open())
    }

    fn len(&self) -> usize {
        either!(self, core => core.len())
    }

    fn capacity(&self) -> Option<usize> {
        either!(self, core => core.capacity())
    }
}
