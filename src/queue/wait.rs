//! How does a thread wait for a change another thread makes without a lock, and never sleep through it?
//!
//! # The algorithm
//!
//! An eventcount that hands out wake-ups one by one. The condition waited for lives elsewhere, in atomics; here is
//! kept only how many threads wait, and how many *calls* are on their way to them. Both numbers are changed under a lock;
//! their difference, the threads that nobody has called yet, is published in one word for those who wake.
//!
//! ```text
//! wait_until(condition)                           wake_one(), wake_all()
//!
//!     loop                                            the change      (made by the caller, before)
//!         spin, then yield; return if it holds    F2  fence(SeqCst)
//!         lock                                        if uncalled == 0: return
//!             waiting += 1                            lock
//!         unlock                                          if calls < waiting:
//! F1      fence(SeqCst)                                       calls += 1, or = waiting
//!         if condition: leave; return                 unlock
//!         lock                                        notify
//!             while calls == 0: sleep
//!             calls -= 1; waiting -= 1
//!         unlock
//! ```
//!
//! Where the change is a `SeqCst` read-modify-write, and `uncalled` is read `SeqCst`, the two need no fence between them: both
//! stand in the total order that the fence would stand in. [`Waiters::wake_one_after_rmw`] is for such changes.
//!
//! # Why no wake-up is lost
//!
//! Each side writes one thing and then reads the other's: the waiter counts itself and then looks at the
//! condition, the waker makes the change and then looks at the count. Without the fences both could read the
//! old value (store buffering, which even x86 does). All `SeqCst` fences stand in one total order, so:
//!
//! - *F2 before F1*: what was written before F2 is seen by what is read after F1. The condition is looked at
//!   after F1, so the change is seen, and nobody sleeps.
//! - *F1 before F2*: the waker reads a count above zero and calls. The waiter finds the call under the lock, or is asleep
//!   and hears the notification; either way it looks again, and the lock has made the change visible.
//!
//! A waiter that was called is no longer counted as uncalled, so that a hundred changes before it runs cost one call; those
//! after the first find nobody to call. The waiter sees them all the same: it sleeps again only after counting itself anew,
//! F1, and a look.
//!
//! # Invariants
//!
//! - `calls <= waiting`, and `uncalled == waiting - calls` whenever the lock is free.
//! - Nobody sleeps while a call is there that no other waiter is about to take: who takes one had waited, and a thread that
//!   leaves, by its condition or its deadline, leaves no more calls than waiters.
//! - The condition runs with no lock held: it may take, drop, wake or panic.
//! - `uncalled == 0` means a wake-up is at most a fence, and a load; no lock, no system call.
//! - No data is published here. The condition's own loads must acquire what they hand over.
//!
//! # Deliberately absent
//!
//! Fairness (whoever looks first wins); a list of waiters (the condition variable has one); waiting for several conditions
//! at once.

use super::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence, order, spin_loop, yield_now};
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Rounds of spinning, each twice as long as the one before: 15 pauses in all.
const SPIN_ROUNDS: u32 = 4;

/// How long a thread yields between spinning and parking: the other side may only need the core, and to be woken costs more than
/// this where a core must be woken for it. On a busy machine one yield takes longer, and is the last.
const YIELDING: Duration = Duration::from_micros(12);

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
    /// Threads that wait and were not called; above zero, a waker takes the slow path. Written only under the lock.
    uncalled: AtomicUsize,
    lock: Mutex<()>,
    called: Condvar,
    /// Threads between counting themselves and taking a call or leaving. As the next, read and written only under the lock,
    /// which orders them.
    waiting: AtomicUsize,
    /// Calls that no thread has taken yet.
    calls: AtomicUsize,
}

impl Waiters {
    /// Nobody waits yet.
    pub fn new() -> Self {
        Waiters {
            uncalled: AtomicUsize::new(0),
            lock: Mutex::new(()),
            called: Condvar::new(),
            waiting: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        }
    }

    /// Waits until `condition` gives a value, and returns it.
    ///
    /// `condition` is called at least once, and again whenever it may have changed. A condition that a thread
    /// makes true without waking may be seen late or never.
    #[inline]
    pub fn wait_until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        match condition() {
            Some(value) => value,
            None => self.wait(condition, None).expect("without a deadline, only the condition ends the wait"),
        }
    }

    /// As [`wait_until`](Waiters::wait_until), but no longer than until `deadline`: `None` if `condition` gave no value up to
    /// then.
    ///
    /// `condition` is called at least once, also when the deadline has passed. A wake-up that reaches a thread at its
    /// deadline is not lost: `condition` is called once more.
    ///
    /// ```
    /// use forebay::queue::Waiters;
    /// use std::time::{Duration, Instant};
    ///
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// assert_eq!(Waiters::new().wait_until_deadline(|| None::<u8>, soon), None);
    /// ```
    #[inline]
    pub fn wait_until_deadline<T>(
        &self,
        mut condition: impl FnMut() -> Option<T>,
        deadline: Instant,
    ) -> Option<T> {
        condition().or_else(|| self.wait(condition, Some(deadline)))
    }

    #[cold]
    fn wait<T>(&self, mut condition: impl FnMut() -> Option<T>, deadline: Option<Instant>) -> Option<T> {
        loop {
            if let Some(value) = Waiters::be_patient(&mut condition) {
                return Some(value);
            }
            let counted = Counted::new(self);
            // F1; pairs with F2 in `anybody`, or with the change itself in `wake_one_after_rmw`.
            fence(Ordering::SeqCst);
            if let Some(value) = condition() {
                return Some(value);
            }
            match counted.sleep(deadline) {
                Slept::Called => {}
                Slept::TimedOut => return None,
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return condition();
            }
        }
    }

    /// Looks at the condition for a while without parking.
    fn be_patient<T>(condition: &mut impl FnMut() -> Option<T>) -> Option<T> {
        if cfg!(loom) {
            // A model tries every interleaving anyway; patience would only multiply them.
            return condition();
        }
        for round in 0..SPIN_ROUNDS {
            (0..1 << round).for_each(|_| spin_loop());
            if let Some(value) = condition() {
                return Some(value);
            }
        }
        let began = Instant::now();
        while began.elapsed() < YIELDING {
            yield_now();
            if let Some(value) = condition() {
                return Some(value);
            }
        }
        None
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
            self.wake(true);
        }
    }

    /// Makes at least one waiting thread look again. Call it after the change.
    ///
    /// Only for a change that is enough for one waiter, where all of them wait for the same.
    #[inline]
    pub fn wake_one(&self) {
        if self.anybody() {
            self.wake(false);
        }
    }

    /// As [`wake_one`](Waiters::wake_one), for a change that was made by a `SeqCst` read-modify-write of what the condition
    /// looks at, and unless `relevant` says that the change is not enough for anybody. It saves the fence.
    ///
    /// The condition may not take the effects of anything the caller wrote after that read-modify-write for granted: where it
    /// finds the change itself and not yet what belongs to it, it has to stay and look again instead of giving `None`.
    #[inline]
    pub fn wake_one_after_rmw(&self, relevant: impl FnOnce() -> bool) {
        order();
        // SeqCst: after the caller's read-modify-write in the total order, in which F1 stands too. If this load misses a
        // waiter, F1 comes after it, and so after the change, which the waiter's look then sees.
        if self.uncalled.load(Ordering::SeqCst) != 0 && relevant() {
            self.wake(false);
        }
    }

    #[inline]
    fn anybody(&self) -> bool {
        // F2; pairs with F1 in `wait`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered against the store in `Counted::new` by the two fences.
        self.uncalled.load(Ordering::Relaxed) != 0
    }

    #[cold]
    fn wake(&self, all: bool) {
        let locked = self.lock();
        let (waiting, calls) = self.parked();
        if calls == waiting {
            return;
        }
        self.set_parked(waiting, if all { waiting } else { calls + 1 });
        drop(locked);
        if all {
            self.called.notify_all();
        } else {
            self.called.notify_one();
        }
    }

    /// How many threads wait and how many calls there are. Under the lock.
    fn parked(&self) -> (usize, usize) {
        // Relaxed, both: the lock orders them.
        (self.waiting.load(Ordering::Relaxed), self.calls.load(Ordering::Relaxed))
    }

    /// Sets both, and says how many are uncalled. Under the lock.
    fn set_parked(&self, waiting: usize, calls: usize) {
        // Relaxed: the lock orders these two.
        self.waiting.store(waiting, Ordering::Relaxed);
        self.calls.store(calls, Ordering::Relaxed);
        // Relaxed: F1 follows in a thread that counts itself. Whoever else changes the numbers only makes a waker take the
        // lock in vain, or leaves the word as it is.
        self.uncalled.store(waiting - calls, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing can panic under the lock.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
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

/// How a sleep ended.
enum Slept {
    Called,
    TimedOut,
}

/// One thread in the count, until it takes a call, returns, or its condition panics.
struct Counted<'a>(&'a Waiters);

impl<'a> Counted<'a> {
    fn new(waiters: &'a Waiters) -> Self {
        let _locked = waiters.lock();
        let (waiting, calls) = waiters.parked();
        waiters.set_parked(waiting + 1, calls);
        Counted(waiters)
    }

    /// Sleeps until there is a call to take, or the deadline has passed without one.
    fn sleep(self, deadline: Option<Instant>) -> Slept {
        let waiters = self.0;
        let mut locked = waiters.lock();
        loop {
            let (waiting, calls) = waiters.parked();
            if calls > 0 {
                // Both by one: who takes a call leaves the number of the uncalled as it is.
                waiters.set_parked(waiting - 1, calls - 1);
                std::mem::forget(self);
                return Slept::Called;
            }
            let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            locked = match patience {
                None => waiters.called.wait(locked).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    // With no call to take, there is none to pass on.
                    waiters.set_parked(waiting - 1, 0);
                    std::mem::forget(self);
                    return Slept::TimedOut;
                }
                Some(patience) => {
                    let woken = waiters.called.wait_timeout(locked, patience);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let _locked = self.0.lock();
        let (waiting, calls) = self.0.parked();
        // A call beyond the number of waiters was for this thread.
        self.0.set_parked(waiting - 1, calls.min(waiting - 1));
    }
}
