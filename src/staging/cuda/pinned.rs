//! Host memory that the driver has locked in its place, so that a device fetches from it by itself.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::context::{Context, check};
use super::{leaks, sys};
use crate::error::{Error, Result};

/// Bytes locked by all pools that share a cap. Relaxed, as the sums below.
pub(super) static SHARED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The page-locked memory of one pool of slots, and the most there may be of it.
pub(crate) struct Pins {
    context: Arc<Context>,
    cap_bytes: usize,
    /// Whether the cap is on all pools of the process that share it, rather than on this one.
    is_shared: bool,
    /// All relaxed: sums that are read alone.
    pinned_bytes: AtomicUsize,
    unpinned_bytes: AtomicUsize,
}

impl Pins {
    /// Of one pool, which may lock `cap_bytes`.
    pub(crate) fn new(context: Arc<Context>, cap_bytes: usize) -> Arc<Self> {
        let (pinned_bytes, unpinned_bytes) = Default::default();
        Arc::new(Pins { context, cap_bytes, is_shared: false, pinned_bytes, unpinned_bytes })
    }

    /// Of one pool, which may lock `cap_bytes` together with all others made so.
    pub(crate) fn sharing(context: Arc<Context>, cap_bytes: usize) -> Arc<Self> {
        let (pinned_bytes, unpinned_bytes) = Default::default();
        Arc::new(Pins { context, cap_bytes, is_shared: true, pinned_bytes, unpinned_bytes })
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Bytes locked at this moment.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of slots that were made in pageable memory since the cap was reached.
    pub(crate) fn unpinned_bytes(&self) -> usize {
        self.unpinned_bytes.load(Ordering::Relaxed)
    }

    /// `len_bytes` of locked memory, which are zero; `None`, and a note of it, beyond the cap.
    pub(crate) fn allocate(self: &Arc<Self>, len_bytes: usize) -> Result<Option<Pinned>> {
        let within = |used: usize| used.checked_add(len_bytes).filter(|&used| used <= self.cap_bytes);
        let capped = if self.is_shared { &SHARED_BYTES } else { &self.pinned_bytes };
        if capped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            self.unpinned_bytes.fetch_add(len_bytes, Ordering::Relaxed);
            return Ok(None);
        }
        if self.is_shared {
            self.pinned_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        }
        let allocated = self.try_allocate(len_bytes);
        if allocated.is_err() {
            self.give_back(len_bytes);
        }
        allocated.map(|at| Some(Pinned { at, len_bytes, pins: self.clone() })).map_err(|error| {
            let message = format!(
                "cannot lock a slot of {len_bytes} bytes: {}; {} bytes are locked already. Lower `depth`, `batch_size` or \
                 `pinned_cap_bytes`",
                error.message(),
                self.pinned_bytes()
            );
            Error::new(error.kind(), message)
        })
    }

    fn give_back(&self, len_bytes: usize) {
        self.pinned_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        if self.is_shared {
            SHARED_BYTES.fetch_sub(len_bytes, Ordering::Relaxed);
        }
    }

    fn try_allocate(&self, len_bytes: usize) -> Result<NonNull<u8>> {
        let _current = self.context.enter()?;
        let mut at = ptr::null_mut();
        // Portable: locked for the contexts of all devices.
        // SAFETY: `at` is a place for the answer.
        let code = unsafe { sys::cuMemHostAlloc(&mut at, len_bytes, sys::CU_MEMHOSTALLOC_PORTABLE) };
        check("cuMemHostAlloc", code)?;
        let at = NonNull::new(at.cast::<u8>())
            .ok_or_else(|| Error::new(crate::error::ErrorKind::Device, "cuMemHostAlloc gave no memory"))?;
        // The driver promises nothing of its content.
        // SAFETY: the memory is new and of this length.
        unsafe { at.write_bytes(0, len_bytes) };
        Ok(at)
    }
}

/// Page-locked memory. Whoever drops it knows that no copy reads it any more.
pub(crate) struct Pinned {
    at: NonNull<u8>,
    len_bytes: usize,
    pins: Arc<Pins>,
}

// SAFETY: memory of its own, reached through borrows of it alone.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len_bytes` initialised bytes, which live as long as `self` and are written through `bytes_mut` alone.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len_bytes) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len_bytes) }
    }

    fn free(&self) -> Result<()> {
        let _current = self.pins.context.enter_at_last()?;
        // SAFETY: memory of `cuMemHostAlloc`, which nobody reads or writes: it is being dropped.
        check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(self.at.as_ptr().cast::<c_void>()) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A call that frees is not repeated: had it freed nevertheless, the memory may be another's by then.
        match self.free() {
            Ok(()) => self.pins.give_back(self.len_bytes),
            Err(error) => leaks::host(self.len_bytes, &error),
        }
    }
}
