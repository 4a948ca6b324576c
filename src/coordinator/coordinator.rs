//! Threads that stop together.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::crew::Crew;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::Queue;

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
    crew: Arc<Crew>,
}

/// Ends the threads when the last handle goes.
struct Owner {
    crew: Arc<Crew>,
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
        let crew = Arc::new(Crew::new(kinds.into_iter().collect()));
        Coordinator { owner: Arc::new(Owner { crew }) }
    }

    /// A handle for threads, which does not keep the coordinator alive.
    pub fn weak(&self) -> WeakCoordinator {
        WeakCoordinator { crew: self.owner.crew.clone() }
    }

    /// Whether the threads are to end.
    pub fn should_stop(&self) -> bool {
        self.owner.crew.should_stop()
    }

    /// Asks all threads to end, because of `error` if there is one. Of several errors the first is kept; those of a
    /// clean stop are not, nor is `Cancelled` once a stop was requested.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after [`join`](Self::join), unless [`clear_stop`](Self::clear_stop) came between.
    pub fn request_stop(&self, error: Option<Error>) -> Result<()> {
        self.owner.crew.request_stop(error)
    }

    /// Waits until a stop is requested, or until `timeout` is over. Says whether one was.
    pub fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        self.owner.crew.wait_for_stop(timeout)
    }

    /// Runs `work`, and requests a stop if it ends with an error or a panic. `None` then.
    pub fn stop_on_error<T>(&self, work: impl FnOnce() -> Result<T>) -> Option<T> {
        self.owner.crew.stop_on_error(work)
    }

    /// The error all are being stopped for.
    pub fn error(&self) -> Option<Error> {
        self.owner.crew.error()
    }

    /// Forgets the stop, its error, and that the threads were joined: the coordinator is as new, but for the threads it
    /// has.
    pub fn clear_stop(&self) {
        self.owner.crew.clear_stop();
    }

    /// Has [`join`](Self::join) wait for a thread that was started elsewhere, and report its panic as an error.
    pub fn register_thread(&self, handle: JoinHandle<()>) {
        self.owner.crew.register(handle);
    }

    /// Starts a thread called `name` that does `work`. An error it ends with, or a panic, stops all.
    ///
    /// # Errors
    ///
    /// `Io` if the system gives no thread; `Closed` after [`join`](Self::join); `InvalidArgument` for a name with a zero byte.
    pub fn spawn(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.owner.crew.spawn(name.into(), work)
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
        let crew = self.owner.crew.clone();
        self.spawn(name, move || {
            while !crew.should_stop() {
                work()?;
                if !interval.is_zero() {
                    crew.wait_for_stop(Some(interval));
                }
            }
            Ok(())
        })
    }

    /// Does `what` when a stop is requested, in a thread that requests it; at once if one was. A panic in it is an error of the
    /// coordinator, and keeps nothing else from being done.
    ///
    /// What is done may drop the last handle of this or another coordinator. It is kept until it is done: a handle of this
    /// coordinator in it keeps the coordinator alive until somebody stops it.
    pub fn on_stop(&self, what: impl FnOnce() + Send + 'static) {
        self.owner.crew.on_stop(what);
    }

    /// Cancels `queue` when a stop is requested, so that no thread waits on it any longer. It is not kept alive for that.
    pub fn cancel_on_stop<T: 'static, Q: Queue<T> + ?Sized + 'static>(&self, queue: &Arc<Q>) {
        self.owner.crew.on_stop_of(queue, |queue| queue.cancel());
    }

    /// Waits until every thread has ended; once a stop is requested, for no longer than the grace period. Several may wait at
    /// once, and all learn the same.
    ///
    /// A thread that outlives the grace period is named by the next `join` as well, if it still runs then, but is not waited
    /// for when the coordinator is dropped.
    ///
    /// # Errors
    ///
    /// The error the threads were stopped for, or the panic of a thread that was started elsewhere; `Timeout`, which names
    /// them, if threads outlive the grace period; `InvalidArgument` in one of the threads, which would wait for itself.
    pub fn join(&self, options: &JoinOptions) -> Result<()> {
        let live = self.owner.crew.wait_for_threads(options.grace, true)?;
        if let Some(error) = self.error() {
            return Err(error);
        }
        if live.is_empty() || options.ignore_live_threads {
            return Ok(());
        }
        let names: Vec<_> = live.iter().map(|name| format!("'{name}'")).collect();
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

    /// The threads of this coordinator.
    pub(super) fn crew(&self) -> &Arc<Crew> {
        &self.owner.crew
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
        self.crew.should_stop()
    }

    /// As [`Coordinator::request_stop`].
    ///
    /// # Errors
    ///
    /// As [`Coordinator::request_stop`].
    pub fn request_stop(&self, error: Option<Error>) -> Result<()> {
        self.crew.request_stop(error)
    }

    /// As [`Coordinator::wait_for_stop`].
    pub fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        self.crew.wait_for_stop(timeout)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.crew.disband();
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("should_stop", &self.should_stop())
            .field("error", &self.error())
            .field("threads", &self.owner.crew.names())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCoordinator").field("should_stop", &self.should_stop()).finish_non_exhaustive()
    }
}
