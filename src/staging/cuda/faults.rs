//! Ways to break the protocol on purpose, for tests that show that they are seen.
#![forbid(unsafe_code)]

/// The slot goes when its copy is queued.
pub(super) const NO_WAIT: u8 = 1;
/// Nobody waits before memory is freed.
pub(super) const EARLY_FREE: u8 = 2;
/// The event is recorded before the copy.
pub(super) const WRONG_ORDER: u8 = 3;
/// A buffer is written again without a look at the trainer's events.
pub(super) const NO_RELEASE: u8 = 4;
/// Kernels are launched on another stream than the copies they follow.
pub(super) const OTHER_STREAM: u8 = 5;
/// The event is recorded before the kernels.
pub(super) const BEFORE_KERNELS: u8 = 6;
/// What stays on the device is freed without a look at who still reads it.
pub(super) const EARLY_RESIDENT: u8 = 7;

#[cfg(test)]
pub(super) static ON: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

#[cfg(test)]
pub(super) fn on(fault: u8) -> bool {
    // Relaxed: set by the test that runs alone.
    ON.load(std::sync::atomic::Ordering::Relaxed) == fault
}

#[cfg(not(test))]
pub(super) const fn on(_: u8) -> bool {
    false
}
