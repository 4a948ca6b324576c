//! A place in a ring: a value, and a stamp that says whether it is there.

use super::sync::{AtomicU64, UnsafeCell, Zeroed};
use std::mem::MaybeUninit;

/// The bit of a stamp that says filled, above every lap.
pub(super) const FILLED: u64 = 1 << 63;

/// A place for a value. Its ring says who may touch it when.
pub(super) struct Slot<T> {
    /// A lap, `FILLED`, and what the ring adds to them.
    pub(super) stamp: AtomicU64,
    /// Initialised while the stamp says filled.
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot { stamp: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }
}

// SAFETY: a stamp of zero is the default, and the value may be anything.
unsafe impl<T> Zeroed for Slot<T> {}
