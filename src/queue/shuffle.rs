//! In random order: [`RandomShuffleQueue`].
#![forbid(unsafe_code)]

use super::blocking::Blocking;
use super::fifo::at_least_one;
use super::forward::forward;
use super::registry::{self, Spec};
use super::ring::Ring;
use crate::error::{Error, Result};
use std::any::type_name;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

forward! {
    /// A bounded queue between threads whose elements leave in random order.
    ///
    /// Each element that is inside has the same chance to be the next. While the queue is open, one leaves only if more than
    /// `min_after_dequeue` are inside, so that there is always something to choose from; once it is closed the rest leaves too.
    /// Single operations take no lock; what they have in common with the other queues is the trait [`Queue`](super::Queue).
    ///
    /// With a seed, the order is the same whenever the same elements are added and taken at the same points: one thread at each
    /// end, in step. Without a seed every queue has an order of its own.
    ///
    /// The cost of an operation does not depend on how full the queue is: a new element changes places with a random one, and the
    /// first leaves. So elements move inside; large ones are better boxed.
    ///
    /// ```
    /// use forebay::ErrorKind;
    /// use forebay::queue::{Queue, RandomShuffleQueue};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let rows = RandomShuffleQueue::new(10, 2, Some(7))?;
    /// rows.enqueue_many((0..5).collect())?;
    /// let mut taken = rows.dequeue_many(3)?; // two must stay inside, until
    /// rows.close(false);
    /// taken.extend(rows.dequeue_up_to(10)?);
    /// assert_eq!(rows.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    /// taken.sort();
    /// assert_eq!(taken, [0, 1, 2, 3, 4]);
    /// # Ok(())
    /// # }
    /// ```
    pub struct RandomShuffleQueue<T>: Queue<T> over Ring<T>;
}

impl<T: Send> RandomShuffleQueue<T> {
    /// An open, empty queue with room for `capacity` elements, of which `min_after_dequeue` stay inside while it is open.
    ///
    /// The room is reserved at once, and takes up memory as it is first used.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a capacity of 0, or if `min_after_dequeue` is not below the
    /// capacity; [`TooLarge`](crate::ErrorKind::TooLarge) if there is no memory for that much room.
    pub fn new(capacity: usize, min_after_dequeue: usize, seed: Option<u64>) -> Result<Self> {
        at_least_one(capacity)?;
        if min_after_dequeue >= capacity {
            return Err(Error::invalid(format!(
                "min_after_dequeue must be less than the capacity of the queue, which is {capacity}; got {min_after_dequeue}"
            )));
        }
        // The hasher of a new map of std has keys of its own.
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Ok(RandomShuffleQueue(Blocking::new(Ring::shuffled(capacity, min_after_dequeue, seed)?)))
    }
}

impl<T: Send + 'static> RandomShuffleQueue<T> {
    /// The queue that this process knows by `name`, made here if there is none. See [`shared`](super::shared).
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a queue of that name is there and differs, be it in the seed
    /// only. As [`new`](Self::new).
    pub fn shared(
        name: &str,
        capacity: usize,
        min_after_dequeue: usize,
        seed: Option<u64>,
    ) -> Result<Arc<Self>> {
        let spec = Spec::new("random-shuffle queue")
            .with("element type", type_name::<T>())
            .with("capacity", capacity)
            .with("min_after_dequeue", min_after_dequeue)
            .with("seed", seed.map_or("none".to_owned(), |seed| seed.to_string()));
        registry::shared(name, &spec, || Self::new(capacity, min_after_dequeue, seed))
    }
}
