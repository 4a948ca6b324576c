//! Threads that stop together.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::queue::Queue;

/// How often a thread that was started elsewhere is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Stops a set of threads together, keeps the first error of them, and waits for them.
///
/// A thread asks [`should_stop`](Self::should_stop) between two pieces of work; anybody may
/// [`request_stop`](Self::request_stop), with the error that is the reason or without. Clones are handles of one
/// coordinator. When the last is dropped, its threads are stopped, and those it started are waited for.
///
/// ```
/// use forebay::coordinator::{Coordinator, JoinOptions};
/// use forebay::{Error, ErrorKind};
///
/// let coordinator = Coordinator::new();
/// for number in 0..3 {
///     let handle = coordinator.weak();
///     coordinator.spawn(format!("worker {number}"), move || {
///         while !handle.should_stop() {
///             if number == 2 {
///                 return Err(Error::new(ErrorKind::Malformed, "not a number"));
///             }
///         }
///         Ok(())
///     })?;
/// }
/// let error = coordinator.join(&JoinOptions::new()).unwrap_err();
/// assert_eq!(error.message(), "not a number");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone)]
pub struct Coordinator {
    owner: Arc<Owner>,
}

/// How a thread knows its coordinator: without keeping it alive.
#[derive(Clone)]
pub struct WeakCoordinator {
    inner: Arc<Inner>,
}

/// Ends the threads when the last handle goes.
struct Owner {
    inner: Arc<Inner>,
}

struct Inner {
    stop: AtomicBool,
    /// Kinds of errors that are a clean stop.
    clean: Vec<ErrorKind>,
    state: Mutex<State>,
    /// Notified when a thread ends and when a stop is requested.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    joined: bool,
    error: Option<Error>,
    on_stop: Vec<Box<dyn FnOnce() + Send>>,
    threads: Vec<Thread>,
}

struct Thread {
    name: String,
    handle: JoinHandle<()>,
    /// Set when a thread of our own is done; `None` for one that was started elsewhere.
    done: Option<Arc<AtomicBool>>,
}

impl Thread {
    fn is_done(&self) -> bool {
        // Acquire pairs with the Release in `Done::drop`: what the thread did is seen.
        self.done.as_ref().map_or_else(|| self.handle.is_finished(), |done| done.load(Ordering::Acquire))
    }
}

/// How [`Coordinator::join`] waits.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    grace: Duration,
    ignore_live_threads: bool,
}

impl JoinOptions {
    /// Threads have two minutes to end once a stop is requested; if some do not, it is an error.
    pub fn new() -> Self {
        JoinOptions { grace: Duration::from_secs(120), ignore_live_threads: false }
    }

    /// How long threads have to end once a stop is requested. Two minutes, unless told.
    #[must_use]
    pub fn grace_period(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whether threads that outlive the grace period are left alone, rather than an error.
    #[must_use]
    pub fn ignore_live_threads(mut self, ignore: bool) -> Self {
        self.ignore_live_threads = ignore;
        self
    }
}

impl Default for JoinOptions {
    fn default() -> Self {
        JoinOptions::new()
    }
}

impl Coordinator {
    /// A coordinator without threads. `OutOfRange` is a clean stop.
    pub fn new() -> Self {
        Self::with_clean_stops([ErrorKind::OutOfRange])
    }

    /// A coordinator for which errors of `kinds` are a clean stop: a thread that ends with one stops the others, and
    /// [`join`](Self::join) returns no error.
    pub fn with_clean_stops(kinds: impl IntoIterator<Item = ErrorKind>) -> Self {
        let inner = Inner {
            stop: AtomicBool::new(false),
            clean: kinds.into_iter().collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Coordinator { owner: Arc::new(Owner { inner: Arc::new(inner) }) }
    }

    /// A handle for threads, which does not keep the coordinator alive.
    pub fn weak(&self) -> WeakCoordinator {
        WeakCoordinator { inner: self.owner.inner.clone() }
    }

    /// Whether the threads are to end.
    pub fn should_stop(&self) -> bool {
        self.owner.inner.should_stop()
    }

    /// Asks all threads to end, because of `error` if there is one. Of several errors the first is kept; those of a
    /// clean stop are not, nor is `Cancelled` once a stop was requested.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after [`join`](Self::join), unless [`clear_stop`](Self::clear_stop) came between.
    pub fn request_stop(&self, error: Option<Error>) -> Result<()> {
        self.owner.inner.request_stop(error)
    }

    /// Waits until a stop is requested, or until `timeout` is over. Says whether one was.
    pub fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        self.owner.inner.wait_for_stop(timeout)
    }

    /// Runs `work`, and requests a stop if it ends with an error or a panic. `None` then.
    pub fn stop_on_error<T>(&self, work: impl FnOnce() -> Result<T>) -> Option<T> {
        self.owner.inner.stop_on_error(work)
    }

    /// The error all are being stopped for.
    pub fn error(&self) -> Option<Error> {
        self.owner.inner.lock().error.clone()
    }

    /// Forgets the stop, its error, and that the threads were joined: the coordinator is as new, but for the threads it
    /// has.
    pub fn clear_stop(&self) {
        let mut state = self.owner.inner.lock();
        state.error = None;
        state.joined = false;
        // Relaxed: threads started from here on see it by the lock or by being started.
        self.owner.inner.stop.store(false, Ordering::Relaxed);
    }

    /// Has [`join`](Self::join) wait for a thread that was started elsewhere.
    pub fn register_thread(&self, handle: JoinHandle<()>) {
        let name = handle.thread().name().unwrap_or("a thread without a name").to_owned();
        self.owner.inner.lock().threads.push(Thread { name, handle, done: None });
    }

    /// Starts a thread called `name` that does `work`. An error it ends with, or a panic, stops all.
    ///
    /// # Errors
    ///
    /// `Io` if the system gives no thread; `Closed` after [`join`](Self::join).
    pub fn spawn(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.owner.inner.spawn(name.into(), work)
    }

    /// Starts a thread called `name` that does `work` again and again, `interval` after it was done before, until a stop
    /// is requested.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_loop(
        &self,
        name: impl Into<String>,
        interval: Duration,
        mut work: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let inner = self.owner.inner.clone();
        self.spawn(name, move || {
            while !inner.should_stop() {
                work()?;
                if !interval.is_zero() {
                    inner.wait_for_stop(Some(interval));
                }
            }
            Ok(())
        })
    }

    /// Does `what` when a stop is requested, in the thread that requests it; at once if one was.
    pub fn on_stop(&self, what: impl FnOnce() + Send + 'static) {
        let mut state = self.owner.inner.lock();
        if self.should_stop() {
            drop(state);
            what();
        } else {
            state.on_stop.push(Box::new(what));
        }
    }

    /// Cancels `queue` when a stop is requested, so that no thread waits on it any longer.
    pub fn cancel_on_stop<T: 'static, Q: Queue<T> + ?Sized + 'static>(&self, queue: &Arc<Q>) {
        let queue = Arc::downgrade(queue);
        self.on_stop(move || {
            if let Some(queue) = queue.upgrade() {
                queue.cancel();
            }
        });
    }

    /// Waits until every thread has ended; once a stop is requested, for no longer than the grace period.
    ///
    /// # Errors
    ///
    /// The error the threads were stopped for; `Timeout`, which names them, if threads outlive the grace period.
    pub fn join(&self, options: &JoinOptions) -> Result<()> {
        self.owner.inner.join(options)
    }
}

impl Default for Coordinator {
    fn default() -> Self {
        Coordinator::new()
    }
}

impl WeakCoordinator {
    /// As [`Coordinator::should_stop`]; also when the coordinator is gone.
    pub fn should_stop(&self) -> bool {
        self.inner.should_stop()
    }

    /// As [`Coordinator::request_stop`].
    ///
    /// # Errors
    ///
    /// As [`Coordinator::request_stop`].
    pub fn request_stop(&self, error: Option<Error>) -> Result<()> {
        self.inner.request_stop(error)
    }

    /// As [`Coordinator::wait_for_stop`].
    pub fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        self.inner.wait_for_stop(timeout)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn should_stop(&self) -> bool {
        // Acquire pairs with the Release in `stop_with`: who sees the stop sees what came before it.
        self.stop.load(Ordering::Acquire)
    }

    fn request_stop(&self, error: Option<Error>) -> Result<()> {
        let state = self.lock();
        if state.joined {
            let late = Error::new(
                ErrorKind::Closed,
                "the coordinator's threads were joined: clear_stop() begins anew",
            );
            return Err(match error {
                Some(error) => late.with_source(error),
                None => late,
            });
        }
        self.stop_with(state, error);
        Ok(())
    }

    fn stop_with(&self, mut state: MutexGuard<'_, State>, error: Option<Error>) {
        let stopped = self.should_stop();
        let is_clean = |error: &Error| {
            self.clean.contains(&error.kind()) || (stopped && error.kind() == ErrorKind::Cancelled)
        };
        if let Some(error) = error.filter(|error| !is_clean(error)) {
            state.error.get_or_insert(error);
        }
        let on_stop = std::mem::take(&mut state.on_stop);
        // Release pairs with the Acquire in `should_stop`.
        self.stop.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_all();
        on_stop.into_iter().for_each(|what| what());
    }

    fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        let state = self.lock();
        let go_on = |_: &mut State| !self.should_stop();
        match timeout {
            Some(timeout) => drop(self.changed.wait_timeout_while(state, timeout, go_on)),
            None => drop(self.changed.wait_while(state, go_on)),
        }
        self.should_stop()
    }

    fn stop_on_error<T>(&self, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let name = thread::current().name().unwrap_or("a thread").to_owned();
            Err(Error::panicked(&name, &*panic))
        });
        // An error after the threads were joined is nobody's any more.
        done.map_err(|error| self.stop_with(self.lock(), Some(error))).ok()
    }

    fn spawn(
        self: &Arc<Self>,
        name: String,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        /// Tells that the thread is done, however it ends.
        struct Done(Arc<Inner>, Arc<AtomicBool>);
        impl Drop for Done {
            fn drop(&mut self) {
                let state = self.0.lock();
                // Release pairs with the Acquire in `Thread::is_done`.
                self.1.store(true, Ordering::Release);
                drop(state);
                self.0.changed.notify_all();
            }
        }

        let mut state = self.lock();
        if state.joined {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("'{name}' cannot be started: the coordinator's threads were joined"),
            ));
        }
        let done = Arc::new(AtomicBool::new(false));
        let end = Done(self.clone(), done.clone());
        let inner = self.clone();
        let handle = thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let _end = end;
                inner.stop_on_error(work);
            })
            .map_err(|e| {
                Error::new(ErrorKind::Io, format!("cannot start the thread '{name}': {e}")).with_source(e)
            })?;
        // Threads that ended are let go of, lest a program that starts some now and then keep them all.
        state.threads.retain(|thread| !thread.is_done());
        state.threads.push(Thread { name, handle, done: Some(done) });
        Ok(())
    }

    fn join(&self, options: &JoinOptions) -> Result<()> {
        let mut deadline = None;
        let mut state = self.lock();
        loop {
            if state.threads.iter().all(Thread::is_done) {
                break;
            }
            if self.should_stop() {
                let deadline = *deadline.get_or_insert_with(|| Instant::now().checked_add(options.grace));
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    break;
                }
            }
            let left = deadline.flatten().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let foreign = state.threads.iter().any(|thread| thread.done.is_none() && !thread.is_done());
            let patience = left.into_iter().chain(foreign.then_some(LOOK_EVERY)).min();
            state = match patience {
                Some(patience) => {
                    self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.joined = true;
        let (done, live): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.threads).into_iter().partition(Thread::is_done);
        let error = state.error.clone();
        drop(state);
        // A panic of a thread of our own was caught; one of another thread was printed where it happened.
        done.into_iter().for_each(|thread| drop(thread.handle.join()));
        if let Some(error) = error {
            return Err(error);
        }
        if live.is_empty() || options.ignore_live_threads {
            return Ok(());
        }
        let names: Vec<_> = live.iter().map(|thread| format!("'{}'", thread.name)).collect();
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "{} threads still running {:?} after a stop was requested: {}",
                live.len(),
                options.grace,
                names.join(", ")
            ),
        ))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.stop_with(self.inner.lock(), None);
        let threads = std::mem::take(&mut self.inner.lock().threads);
        for thread in threads {
            let is_own = thread.handle.thread().id() == thread::current().id();
            // A thread that was started elsewhere may have reasons of its own to go on.
            if thread.done.is_some() && !is_own {
                let _ = thread.handle.join();
            }
        }
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.owner.inner.lock();
        let names: Vec<_> = state.threads.iter().map(|thread| &thread.name).collect();
        f.debug_struct("Coordinator")
            .field("should_stop", &self.should_stop())
            .field("error", &state.error)
            .field("threads", &names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCoordinator").field("should_stop", &self.should_stop()).finish_non_exhaustive()
    }
}
