//! Which atomics, locks and cells the rings are made of: std's, or, under `--cfg loom`, loom's, which run a
//! test once for every interleaving and every stale value that the memory model allows.
//!
//! The two differ in two places. Loom hands out the pointer into an `UnsafeCell` for the length of a closure
//! only, so that it can watch the access; the std side wears the same shape. And crossbeam's `ArrayQueue` is
//! not instrumented for loom, so that a queue under a lock stands in for it: what is modelled then is what
//! lies around the queue, not the queue.

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::yield_now,
};

#[cfg(not(loom))]
pub(super) use crossbeam::queue::ArrayQueue;

#[cfg(not(loom))]
pub(super) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::yield_now,
};

/// `std::cell::UnsafeCell`, in loom's shape.
#[cfg(not(loom))]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `access` with a pointer that is good for reading and writing while no other access runs.
    #[inline]
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// `crossbeam::queue::ArrayQueue`, as far as it is used here, under a lock.
#[cfg(loom)]
pub(super) struct ArrayQueue<T> {
    values: Mutex<std::collections::VecDeque<T>>,
    capacity: usize,
}

#[cfg(loom)]
impl<T> ArrayQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        ArrayQueue { values: Mutex::default(), capacity }
    }

    pub(super) fn push(&self, value: T) -> Result<(), T> {
        let mut values = self.values.lock().unwrap();
        if values.len() == self.capacity {
            return Err(value);
        }
        values.push_back(value);
        Ok(())
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.values.lock().unwrap().pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.values.lock().unwrap().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}
