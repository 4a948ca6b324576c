//! The pool slots come from and return to.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use arrow::buffer::Buffer;
use crossbeam::utils::CachePadded;

use super::memory::{Memory, SlotMemory};
use super::shelf::Shelf;
use crate::error::Result;

/// Free slots of one kind, and what their users want to know of them (`C`).
///
/// A slot holds its pool for as long as it lives, so that taking, sharing and returning one touches no counter that threads
/// contend for. The free slots within the pool would keep it alive for ever; dropping this handle empties it for good.
pub(crate) struct SlotPool<C>(Arc<Pool<C>>);

struct Pool<C> {
    memory: SlotMemory,
    context: C,
    /// The free slots of each writer.
    free: Box<[CachePadded<Shelf<Shared<C>>>]>,
    /// No slot returns once this is set.
    closed: AtomicBool,
    /// Bytes the largest slot so far was asked to hold; new ones are made that large at once.
    high_water_bytes: AtomicUsize,
    #[cfg(test)]
    allocated: AtomicUsize,
}

/// The memory of a slot and the number of [`Slot`]s that share it.
struct Shared<C> {
    memory: UnsafeCell<Memory>,
    shares: AtomicUsize,
    /// Who wrote the slot last.
    writer: AtomicUsize,
    pool: Arc<Pool<C>>,
}

// SAFETY: `memory` is written only through the one `SlotMut` of it and read only through `Slot`s, and the two never
// exist at once: `SlotMut::freeze` consumes the writer, and the pool hands out a writer only after the last share was
// dropped (`Slot::drop`).
unsafe impl<C: Send + Sync> Send for Shared<C> {}
// SAFETY: as above.
unsafe impl<C: Send + Sync> Sync for Shared<C> {}

// A panic between two writes leaves bytes of no particular value, which is all a slot promises.
impl<C> RefUnwindSafe for Shared<C> {}

impl<C> SlotPool<C> {
    /// A pool for `writers` writers that keeps up to `capacity` free slots of each.
    pub(crate) fn new(memory: SlotMemory, writers: usize, capacity: usize, context: C) -> Self {
        SlotPool(Arc::new(Pool {
            memory,
            context,
            free: (0..writers.max(1)).map(|_| CachePadded::new(Shelf::new(capacity))).collect(),
            closed: AtomicBool::new(false),
            high_water_bytes: AtomicUsize::new(0),
            #[cfg(test)]
            allocated: AtomicUsize::new(0),
        }))
    }

    /// Where the slots' memory comes from.
    pub(crate) fn memory(&self) -> &SlotMemory {
        &self.0.memory
    }

    /// A slot of at least `len_bytes` for `writer`: one it wrote before, one of another's, or a new one.
    pub(crate) fn take(&self, writer: usize, len_bytes: usize) -> Result<SlotMut<C>> {
        let own = self.0.free[writer].take();
        let shared = match own.or_else(|| self.0.free.iter().find_map(|shelf| shelf.take())) {
            Some(shared) => shared,
            None => self.0.allocate(len_bytes)?,
        };
        // Relaxed: read by whoever puts the slot back, to whom it is handed.
        shared.writer.store(writer, Ordering::Relaxed);
        let mut slot = SlotMut { shared: Some(shared) };
        slot.reserve(len_bytes)?;
        Ok(slot)
    }
}

impl<C> Drop for SlotPool<C> {
    fn drop(&mut self) {
        // Relaxed: ordered before the pops by the fence, which pairs with the one in `Shared::put_back`.
        self.0.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.0.empty();
    }
}

impl<C> Pool<C> {
    fn allocate(self: &Arc<Self>, len_bytes: usize) -> Result<Arc<Shared<C>>> {
        // Relaxed: a hint for the size of an allocation, read and written alone.
        let high_water = self.high_water_bytes.fetch_max(len_bytes, Ordering::Relaxed).max(len_bytes);
        let memory = self.memory.allocate(high_water)?;
        #[cfg(test)]
        self.allocated.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Shared {
            memory: UnsafeCell::new(memory),
            shares: AtomicUsize::new(0),
            writer: AtomicUsize::new(0),
            pool: self.clone(),
        }))
    }

    fn empty(&self) {
        self.free.iter().for_each(|shelf| while shelf.take().is_some() {});
    }
}

impl<C> Shared<C> {
    /// Keeps the slot for later, or lets it go when enough are kept. Nobody else may hold it.
    fn put_back(self: &Arc<Self>) {
        // Relaxed: written before the slot was handed to its reader.
        let writer = self.writer.load(Ordering::Relaxed);
        let _ = self.pool.free[writer].put(self.clone());
        // Either this load sees that the pool is closed, or whoever closes it sees the slot: the fence stands between the
        // push and the load here, and between the store and the pops there.
        fence(Ordering::SeqCst);
        if self.pool.closed.load(Ordering::Relaxed) {
            self.pool.empty();
        }
    }
}

/// A slot with one owner, who writes it.
pub(crate) struct SlotMut<C> {
    /// Present until `freeze` or `drop`.
    shared: Option<Arc<Shared<C>>>,
}

impl<C> SlotMut<C> {
    fn shared(&self) -> &Arc<Shared<C>> {
        self.shared.as_ref().expect("present until freeze or drop")
    }

    /// The slot's bytes: at least as many as were asked for, initialised, of no particular value.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: this is the one writer of the memory and it is borrowed mutably; see `Shared`.
        unsafe { &mut *self.shared().memory.get() }.bytes_mut()
    }

    /// Makes room for `len_bytes`. What was written so far is kept.
    pub(crate) fn reserve(&mut self, len_bytes: usize) -> Result<()> {
        if self.bytes().len() >= len_bytes {
            return Ok(());
        }
        // Half as much again, so that batches of slowly growing size settle after a few of them.
        let larger = self.shared().pool.allocate(len_bytes.saturating_add(len_bytes / 2))?;
        // Relaxed, both: this is the one holder of either.
        larger.writer.store(self.shared().writer.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut larger = SlotMut { shared: Some(larger) };
        let len = self.bytes().len();
        larger.bytes()[..len].copy_from_slice(self.bytes());
        // The smaller memory is freed rather than kept: every slot of the pool grows to this size.
        self.shared = larger.shared.take();
        Ok(())
    }

    /// Ends the writing; from here on the slot is read and shared.
    pub(crate) fn freeze(mut self) -> Slot<C> {
        let shared = self.shared.take().expect("present until freeze or drop");
        // Relaxed: whoever hands the slot to another thread synchronises with it.
        shared.shares.store(1, Ordering::Relaxed);
        Slot { shared }
    }
}

impl<C> Drop for SlotMut<C> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.put_back();
        }
    }
}

/// A share of a slot that is no longer written.
pub(crate) struct Slot<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Slot<C> {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: no writer exists while a share does; see `Shared`.
        unsafe { &*self.shared.memory.get() }.bytes()
    }

    /// What the pool was made with.
    pub(crate) fn context(&self) -> &C {
        &self.shared.pool.context
    }

    /// The slot's bytes in `range` as an Arrow buffer that holds a share of the slot.
    pub(crate) fn buffer(&self, range: Range<usize>) -> Buffer
    where
        C: Send + Sync + 'static,
    {
        let bytes = &self.bytes()[range];
        let pointer = NonNull::from(bytes).cast::<u8>();
        // SAFETY: the bytes lie in the memory of this slot, which the share handed along keeps from being
        // written or freed.
        unsafe { Buffer::from_custom_allocation(pointer, bytes.len(), Arc::new(self.clone())) }
    }
}

impl<C> Clone for Slot<C> {
    fn clone(&self) -> Self {
        // Relaxed: a new share is made from one that exists, as in `Arc`.
        self.shared.shares.fetch_add(1, Ordering::Relaxed);
        Slot { shared: self.shared.clone() }
    }
}

impl<C> Drop for Slot<C> {
    fn drop(&mut self) {
        // Release: the reads through this share come before. Acquire: the last drop pairs with the Release of
        // every other one, so that the next writer comes after every read.
        if self.shared.shares.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.put_back();
        }
    }
}

#[cfg(test)]
mod tests;
