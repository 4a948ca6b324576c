//! The pool slots come from and return to.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::buffer::Buffer;
use crossbeam::queue::ArrayQueue;

use super::Staging;
use super::memory::Memory;
use crate::error::Result;

/// Free slots of one kind.
pub(crate) struct SlotPool {
    staging: Staging,
    free: ArrayQueue<Arc<Shared>>,
    /// Bytes the largest slot so far was asked to hold; new ones are made that large at once.
    high_water_bytes: AtomicUsize,
    allocated: AtomicUsize,
}

/// The memory of a slot and the number of [`Slot`]s that share it.
struct Shared {
    memory: UnsafeCell<Memory>,
    shares: AtomicUsize,
}

// SAFETY: `memory` is written only through the one `SlotMut` of it and read only through `Slot`s, and the
// two never exist at once: `SlotMut::freeze` consumes the writer, and the pool hands out a writer only after
// the last share was dropped (`Slot::drop`).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

// A panic between two writes leaves bytes of no particular value, which is all a slot promises.
impl RefUnwindSafe for Shared {}
impl RefUnwindSafe for SlotPool {}

impl SlotPool {
    /// A pool that keeps up to `capacity` free slots.
    pub(crate) fn new(staging: Staging, capacity: usize) -> Arc<Self> {
        Arc::new(SlotPool {
            staging,
            free: ArrayQueue::new(capacity.max(1)),
            high_water_bytes: AtomicUsize::new(0),
            allocated: AtomicUsize::new(0),
        })
    }

    /// A slot of at least `len_bytes`, free or new.
    pub(crate) fn take(self: &Arc<Self>, len_bytes: usize) -> Result<SlotMut> {
        let shared = match self.free.pop() {
            Some(shared) => shared,
            None => self.allocate(len_bytes)?,
        };
        let mut slot = SlotMut { shared: Some(shared), pool: self.clone() };
        slot.reserve(len_bytes)?;
        Ok(slot)
    }

    /// Slots allocated so far.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::Relaxed)
    }

    fn allocate(&self, len_bytes: usize) -> Result<Arc<Shared>> {
        // Relaxed: a hint for the size of an allocation, read and written alone.
        let high_water = self.high_water_bytes.fetch_max(len_bytes, Ordering::Relaxed).max(len_bytes);
        let memory = Memory::new(self.staging, high_water)?;
        self.allocated.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Shared { memory: UnsafeCell::new(memory), shares: AtomicUsize::new(0) }))
    }

    /// Keeps `shared` for later, or frees it when enough are kept.
    fn put_back(&self, shared: Arc<Shared>) {
        let _ = self.free.push(shared);
    }
}

/// A slot with one owner, who writes it.
pub(crate) struct SlotMut {
    /// Present until `freeze` or `drop`.
    shared: Option<Arc<Shared>>,
    pool: Arc<SlotPool>,
}

impl SlotMut {
    /// The slot's bytes: at least as many as were asked for, initialised, of no particular value.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let shared = self.shared.as_ref().expect("present until freeze or drop");
        // SAFETY: this is the one writer of the memory and it is borrowed mutably; see `Shared`.
        unsafe { &mut *shared.memory.get() }.bytes_mut()
    }

    /// Makes room for `len_bytes`. What was written so far is kept.
    pub(crate) fn reserve(&mut self, len_bytes: usize) -> Result<()> {
        if self.bytes().len() >= len_bytes {
            return Ok(());
        }
        // Half as much again, so that batches of slowly growing size settle after a few of them.
        let mut larger =
            SlotMut { shared: Some(self.pool.allocate(len_bytes + len_bytes / 2)?), pool: self.pool.clone() };
        let len = self.bytes().len();
        larger.bytes()[..len].copy_from_slice(self.bytes());
        // The smaller memory is freed rather than kept: every slot of the pool grows to this size.
        self.shared = larger.shared.take();
        Ok(())
    }

    /// Ends the writing; from here on the slot is read and shared.
    pub(crate) fn freeze(mut self) -> Slot {
        let shared = self.shared.take().expect("present until freeze or drop");
        // Relaxed: whoever hands the slot to another thread synchronises with it.
        shared.shares.store(1, Ordering::Relaxed);
        Slot { shared, pool: self.pool.clone() }
    }
}

impl Drop for SlotMut {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            self.pool.put_back(shared);
        }
    }
}

/// A share of a slot that is no longer written.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    pool: Arc<SlotPool>,
}

impl Slot {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: no writer exists while a share does; see `Shared`.
        unsafe { &*self.shared.memory.get() }.bytes()
    }

    /// The slot's bytes in `range` as an Arrow buffer that holds a share of the slot.
    pub(crate) fn buffer(&self, range: Range<usize>) -> Buffer {
        let bytes = &self.bytes()[range];
        let pointer = NonNull::from(bytes).cast::<u8>();
        // SAFETY: the bytes lie in the memory of this slot, which the share handed along keeps from being
        // written or freed.
        unsafe { Buffer::from_custom_allocation(pointer, bytes.len(), Arc::new(self.clone())) }
    }
}

impl Clone for Slot {
    fn clone(&self) -> Self {
        // Relaxed: a new share is made from one that exists, as in `Arc`.
        self.shared.shares.fetch_add(1, Ordering::Relaxed);
        Slot { shared: self.shared.clone(), pool: self.pool.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Release: the reads through this share come before. Acquire: the last drop pairs with the Release of
        // every other one, so that the next writer comes after every read.
        if self.shared.shares.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.pool.put_back(self.shared.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_with_the_last_share_and_not_before() {
        let pool = SlotPool::new(Staging::Heap, 4);
        let mut slot = pool.take(100).unwrap();
        slot.bytes()[..3].copy_from_slice(b"abc");
        let slot = slot.freeze();
        let buffer = slot.buffer(0..3);
        drop(slot);
        let other = pool.take(100).unwrap();
        assert_eq!(pool.allocated(), 2);
        assert_eq!(buffer.as_slice(), b"abc");
        drop((buffer, other));
        let _both = (pool.take(100).unwrap(), pool.take(100).unwrap());
        assert_eq!(pool.allocated(), 2);
    }

    #[test]
    fn a_slot_grows_and_keeps_what_was_written() {
        let pool = SlotPool::new(Staging::Heap, 4);
        let mut slot = pool.take(10).unwrap();
        slot.bytes()[..10].copy_from_slice(b"0123456789");
        slot.reserve(100_000).unwrap();
        assert_eq!(&slot.bytes()[..10], b"0123456789");
        assert!(slot.bytes().len() >= 100_000);
    }

    #[test]
    fn shares_dropped_in_many_threads_return_one_slot() {
        let pool = SlotPool::new(Staging::Heap, 4);
        for _ in 0..200 {
            let slot = pool.take(64).unwrap().freeze();
            std::thread::scope(|scope| {
                for share in [slot.clone(), slot.clone(), slot] {
                    scope.spawn(move || assert_eq!(share.bytes().len(), 64));
                }
            });
        }
        assert_eq!(pool.allocated(), 1);
    }

    #[test]
    fn locking_past_the_limit_says_what_to_do() {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer.
        unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
        let pool = SlotPool::new(Staging::Locked, 1);
        assert!(pool.take(4096).is_ok());
        // SAFETY: a plain question about this process.
        let privileged = unsafe { libc::geteuid() } == 0;
        if limit.rlim_cur == libc::RLIM_INFINITY || privileged {
            eprintln!("skipped: this process may lock as much memory as it likes");
            return;
        }
        let error = pool.take(limit.rlim_cur as usize * 2).err().expect("past the limit");
        assert!(error.message().contains("ulimit -l"));
    }
}
