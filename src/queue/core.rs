//! What a kind of queue does without waiting; [`Blocking`](super::blocking::Blocking) adds the waiting.

use super::sync::{spin_loop, yield_now};

/// Why an element was refused, and the element back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError<T> {
    /// There is no room, until somebody takes.
    Full(T),
    /// The queue is closed for good.
    Closed(T),
}

/// Why there was nothing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// Nothing is there to be taken, for the moment.
    Empty,
    /// The queue is closed and nothing is left in it, or it was cancelled.
    Closed,
}

/// A queue that never waits for room or for elements, with a close that is exact.
///
/// Exact means: a push learns of the close by the same step that puts it in. So a pop that finds the queue closed and empty
/// has found the end, but for those pushes that are *admitted*: they go in all the same, and whoever lets them counts them.
pub(super) trait Core: Send + Sync {
    type Item: Send;

    /// Whether a push that succeeds was a `SeqCst` read-modify-write of a word that a pop reads before it says
    /// [`PopError::Empty`], and a pop one of a word that a push reads before it says [`PushError::Full`]; and whether a pop
    /// that finds that word moved stays until what belongs to it is there.
    const WAKES_AFTER_RMW: bool;

    /// Puts `value` in. One who is `admitted` is not refused by the close.
    fn push(&self, value: Self::Item, admitted: bool) -> Result<(), PushError<Self::Item>>;

    /// Takes an element, if one may leave.
    fn pop(&self) -> Result<Self::Item, PopError>;

    /// What one who found no element does before it waits for one without a deadline: it may stay for some microseconds, while
    /// elements come in.
    fn linger(&self) {}

    /// Whether an element may leave. Asked after a push, so that nobody is woken for nothing.
    fn is_ready(&self) -> bool {
        true
    }

    /// Refuses pushes from here on.
    fn close(&self);

    fn is_closed(&self) -> bool;

    /// Whether the queue is still open, by a step that stands in one order with the close: if it says so, then whatever this
    /// thread wrote before is seen by every thread that finds the queue closed.
    fn is_still_open(&self) -> bool;

    fn len(&self) -> usize;

    fn capacity(&self) -> Option<usize>;
}

/// What to do while another thread is between two steps of an operation: spin, and then give it the core.
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff(0)
    }

    /// For a thread that lost a race, and may try again at once.
    #[inline]
    pub(super) fn spin(&mut self) {
        if cfg!(loom) {
            // A model must be told that nothing changes until another thread has run.
            return yield_now();
        }
        (0..1u32 << self.0.min(6)).for_each(|_| spin_loop());
        self.0 += 1;
    }

    /// For a thread that cannot go on before another one has.
    #[inline]
    pub(super) fn snooze(&mut self) {
        if self.0 < 6 { self.spin() } else { yield_now() }
    }
}
