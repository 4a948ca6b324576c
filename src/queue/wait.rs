//! How does a thread wait for a change another thread makes without a lock, and never sleep through it?
//!
//! # The algorithm
//!
//! An eventcount. The condition waited for lives elsewhere, in atomics; here is kept only how many threads
//! wait, and a generation that every wake-up moves on.
//!
//! ```text
//! wait_until(condition)                           wake_all()
//!
//!     spin, then yield; return if it holds            the change      (made by the caller, before)
//!     waiting += 1                                F2  fence(SeqCst)
//! F1  fence(SeqCst)                                   if waiting == 0: return
//!     loop                                            lock
//!         seen = generation                               generation += 1
//!         if condition: waiting -= 1; return          unlock
//!         lock                                        notify
//!             while generation == seen: sleep
//!         unlock
//! ```
//!
//! # Why no wake-up is lost
//!
//! Each side writes one thing and then reads the other's: the waiter counts itself and then looks at the
//! condition, the waker makes the change and then looks at the count. Without the fences both could read the
//! old value (store buffering, which even x86 does). All `SeqCst` fences stand in one total order, so:
//!
//! - *F2 before F1*: what was written before F2 is seen by what is read after F1. The condition is looked at
//!   after F1, so the change is seen, and nobody sleeps.
//! - *F1 before F2*: the waker reads a count above zero and moves the generation on. If `seen` is the old
//!   generation, the waiter finds it changed under the lock, or is asleep and hears the notification; either
//!   way it looks again. If `seen` is the new one, reading it (Acquire) has made everything visible that came
//!   before it was moved on (Release), the change among it, and the condition is looked at after.
//!
//! A waiter stays counted from one sleep to the next, so the argument needs F1 once a wait, not once a sleep.
//!
//! # Invariants
//!
//! - The condition runs with no lock held: it may take, drop, wake or panic.
//! - `waiting == 0` means a wake-up is a fence and a relaxed load; no lock, no system call.
//! - No data is published here. The condition's own loads must acquire what they hand over.
//!
//! # Deliberately absent
//!
//! Deadlines; fairness (whoever looks first wins); a list of waiters (the condition variable has one).

use super::sync::{
    AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence, spin_loop, yield_now,
};
use std::fmt;
use std::sync::PoisonError;

/// Rounds of spinning, each twice as long as the one before: 63 pauses in all, well below the price of a park.
const SPIN_ROUNDS: u32 = 6;

/// Yields between spinning and parking: on a busy machine the other side may only need the core.
const YIELDS: u32 = 2;

/// Threads that wait for a condition that other threads make true.
///
/// The one that waits names the condition; the one that makes it true calls [`wake_all`](Waiters::wake_all)
/// or [`wake_one`](Waiters::wake_one) *after* the change.
///
/// ```
/// use forebay::queue::Waiters;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let (answer, waiters) = (AtomicU32::new(0), Waiters::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         answer.store(42, Ordering::Release);
///         waiters.wake_all();
///     });
///     let found = waiters.wait_until(|| Some(answer.load(Ordering::Acquire)).filter(|&a| a != 0));
///     assert_eq!(found, 42);
/// });
/// ```
pub struct Waiters {
    /// Threads between their announcement and their return; above zero, a waker takes the slow path.
    waiting: AtomicUsize,
    /// Moved on by every wake-up that finds somebody waiting; changed only under `asleep`.
    generation: AtomicU64,
    /// Held between looking at the generation and sleeping, so that it cannot move in between.
    asleep: Mutex<()>,
    moved_on: Condvar,
}

impl Waiters {
    /// Nobody waits yet.
    pub fn new() -> Self {
        Waiters {
            waiting: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            asleep: Mutex::new(()),
            moved_on: Condvar::new(),
        }
    }

    /// Waits until `condition` gives a value, and returns it.
    ///
    /// `condition` is called at least once, and again whenever it may have changed. A condition that a thread
    /// makes true without waking may be seen late or never.
    #[inline]
    pub fn wait_until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        if let Some(value) = condition() {
            return value;
        }
        if cfg!(loom) {
            // A model tries every interleaving anyway; patience would only multiply them.
            return self.park_until(condition);
        }
        for round in 0..SPIN_ROUNDS {
            (0..1 << round).for_each(|_| spin_loop());
            if let Some(value) = condition() {
                return value;
            }
        }
        for _ in 0..YIELDS {
            yield_now();
            if let Some(value) = condition() {
                return value;
            }
        }
        self.park_until(condition)
    }

    #[cold]
    fn park_until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        let _counted = Counted::new(self);
        loop {
            // Acquire pairs with the Release in `wake`: whoever sees a generation sees the change it stands
            // for.
            let seen = self.generation.load(Ordering::Acquire);
            if let Some(value) = condition() {
                return value;
            }
            let mut guard = self.lock();
            // Relaxed: the generation moves only under the lock, which is held; its unlock pairs with this
            // lock.
            while self.generation.load(Ordering::Relaxed) == seen {
                guard = self.moved_on.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Makes every waiting thread look again. Call it after the change.
    #[inline]
    pub fn wake_all(&self) {
        self.wake_all_if(|| true);
    }

    /// Makes every waiting thread look again, unless `relevant` says that the change is not what they wait
    /// for.
    ///
    /// `relevant` is asked only when somebody waits. It may read, relaxed, what a waiter wrote before it
    /// began to wait: a waiter that this call could be the only one to wake is ordered before it by the
    /// fences.
    #[inline]
    pub fn wake_all_if(&self, relevant: impl FnOnce() -> bool) {
        if self.anybody() && relevant() {
            self.wake(Condvar::notify_all);
        }
    }

    /// Makes at least one waiting thread look again. Call it after the change.
    ///
    /// Only for a change that is enough for one waiter, where all of them wait for the same.
    #[inline]
    pub fn wake_one(&self) {
        if self.anybody() {
            self.wake(Condvar::notify_one);
        }
    }

    #[inline]
    fn anybody(&self) -> bool {
        // F2; pairs with F1 in `Counted::new`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered against the count in `Counted::new` by the two fences.
        self.waiting.load(Ordering::Relaxed) != 0
    }

    #[cold]
    fn wake(&self, notify: impl FnOnce(&Condvar)) {
        let guard = self.lock();
        // Release pairs with the Acquire in `park_until`: the caller's change comes with the new generation.
        self.generation.fetch_add(1, Ordering::Release);
        drop(guard);
        notify(&self.moved_on);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing can panic under the lock, and it guards no data that a panic could leave half done.
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Waiters {
    fn default() -> Self {
        Waiters::new()
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a figure for people, of a moment that is over.
        f.debug_struct("Waiters")
            .field("waiting", &self.waiting.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// One thread in the count, until it returns or its condition panics.
struct Counted<'a>(&'a Waiters);

impl<'a> Counted<'a> {
    fn new(waiters: &'a Waiters) -> Self {
        // Relaxed: ordered against the load in `anybody` by the two fences.
        waiters.waiting.fetch_add(1, Ordering::Relaxed);
        // F1; pairs with F2 in `anybody`.
        fence(Ordering::SeqCst);
        Counted(waiters)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Relaxed: a waker that reads the old count wakes in vain, which is harmless.
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
