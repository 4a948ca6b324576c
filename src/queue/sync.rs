//! Which atomics, locks and cells the rings are made of: std's, or, under `--cfg loom`, loom's, which run a
//! test once for every interleaving and every stale value that the memory model allows.
//!
//! The two differ in three places. Loom hands out the pointer into an `UnsafeCell` for the length of a closure
//! only, so that it can watch the access; the std side wears the same shape. Loom's atomics and cells are made one by one,
//! where std's can be had as zeroed memory. And crossbeam's `SegQueue` is not instrumented for loom, so that a queue under a
//! lock stands in for it: what is modelled then is what lies around the queue, not the queue.

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::yield_now,
};

#[cfg(not(loom))]
pub(super) use crossbeam::queue::SegQueue;

#[cfg(not(loom))]
pub(super) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::yield_now,
};

use crate::error::{Error, ErrorKind, Result};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

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

/// Stands where two threads each write one word and then read the other's, by `SeqCst` accesses: nothing, as those stand in one
/// total order. Loom takes them for AcqRel ones; only its fences stand in such an order.
#[inline]
pub(super) fn order() {
    if cfg!(loom) {
        fence(Ordering::SeqCst);
    }
}

/// A `Mutex` for what no code of others runs under: a panic cannot leave it half done.
///
/// Built with `--cfg tsan`, it shows ThreadSanitizer how one thread hands on to the next; in the precompiled std, where a thread
/// that finds a mutex locked waits for it, the sanitizer sees nothing.
#[derive(Default)]
pub(super) struct Lock<T> {
    data: Mutex<T>,
    #[cfg(tsan)]
    handed_on: AtomicUsize,
}

/// A locked [`Lock`].
pub(super) struct Locked<'a, T> {
    data: MutexGuard<'a, T>,
    #[cfg(tsan)]
    handed_on: &'a AtomicUsize,
}

impl<T> Lock<T> {
    pub(super) fn new(data: T) -> Self {
        Lock {
            data: Mutex::new(data),
            #[cfg(tsan)]
            handed_on: AtomicUsize::new(0),
        }
    }

    pub(super) fn lock(&self) -> Locked<'_, T> {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(tsan)]
        // Acquire pairs with the Release in `Locked::drop`.
        self.handed_on.load(Ordering::Acquire);
        Locked {
            data,
            #[cfg(tsan)]
            handed_on: &self.handed_on,
        }
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

#[cfg(tsan)]
impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `Lock::lock`.
        self.handed_on.store(0, Ordering::Release);
    }
}

/// What begins as `Default` gives it, and for which zeroed memory is the same.
///
/// # Safety
///
/// Without `--cfg loom`, memory of zeros is a valid value and equal to the default one.
pub(super) unsafe trait Zeroed: Default {}

/// `len` values as `Default` gives them. The memory is reserved at once and, where the operating system does so, filled with
/// pages at their first use.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] if there is no such memory.
pub(super) fn zeroed<T: Zeroed>(len: usize) -> Result<Box<[T]>> {
    let too_large = || {
        let bytes = len as u128 * size_of::<T>() as u128;
        let message =
            format!("a queue with room for {len} elements takes {bytes} bytes, more than there is memory");
        Error::new(ErrorKind::TooLarge, message)
    };
    #[cfg(loom)]
    return if len < 64 { Ok((0..len).map(|_| T::default()).collect()) } else { Err(too_large()) };
    #[cfg(not(loom))]
    {
        use std::alloc::{Layout, alloc_zeroed};
        let layout = Layout::array::<T>(len).map_err(|_| too_large())?;
        if layout.size() == 0 {
            return Ok((0..len).map(|_| T::default()).collect());
        }
        // SAFETY: the layout has a size, as was just checked.
        let first = unsafe { alloc_zeroed(layout) }.cast::<T>();
        if first.is_null() {
            return Err(too_large());
        }
        // SAFETY: the memory was allocated with the layout of a slice of `len` values, which is that of the box, and zeros
        // are valid values by the contract of `Zeroed`.
        Ok(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(first, len)) })
    }
}

/// `crossbeam::queue::SegQueue`, as far as it is used here, under a lock.
#[cfg(loom)]
pub(super) struct SegQueue<T>(Mutex<std::collections::VecDeque<T>>);

#[cfg(loom)]
impl<T> SegQueue<T> {
    pub(super) fn new() -> Self {
        SegQueue(Mutex::default())
    }

    pub(super) fn push(&self, value: T) {
        self.0.lock().unwrap().push_back(value);
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }
}
