//! Free slots of one writer.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Values laid down by any thread and taken up by any thread, without locks.
///
/// Both look from the first cell on, so that of many values the same few are used over and over: a slot that comes
/// back to its writer is still in its caches. A queue would go through all of them in turn.
pub(super) struct Shelf<T>(Box<[AtomicPtr<T>]>);

impl<T> Shelf<T> {
    /// An empty shelf with room for `capacity` values.
    pub(super) fn new(capacity: usize) -> Self {
        Shelf((0..capacity).map(|_| AtomicPtr::default()).collect())
    }

    /// Lays `value` down; gives it back when there is no room.
    pub(super) fn put(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let raw = Arc::into_raw(value).cast_mut();
        for cell in &self.0 {
            // Release pairs with the Acquire in `take`: who takes the value sees what was done with it before.
            let empty = ptr::null_mut();
            // Relaxed, twice: a look, and a failure after which nothing is read.
            if cell.load(Ordering::Relaxed).is_null()
                && cell.compare_exchange(empty, raw, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                return Ok(());
            }
        }
        // SAFETY: `raw` came from `into_raw` above and no cell took it.
        Err(unsafe { Arc::from_raw(raw) })
    }

    /// Takes a value, if one lies here.
    pub(super) fn take(&self) -> Option<Arc<T>> {
        self.0.iter().find_map(|cell| {
            // Relaxed: a look; the swap decides.
            if cell.load(Ordering::Relaxed).is_null() {
                return None;
            }
            let raw = cell.swap(ptr::null_mut(), Ordering::Acquire);
            // SAFETY: a pointer in a cell is one that `put` made by `into_raw`, and the swap gave it to us alone.
            (!raw.is_null()).then(|| unsafe { Arc::from_raw(raw) })
        })
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}
