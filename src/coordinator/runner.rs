//! Threads that fill a queue.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::coordinator::{Coordinator, WeakCoordinator};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::Queue;

/// One enqueue operation: it takes or makes an element, and puts it into a queue.
pub type EnqueueOp = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// Fills a queue: each of its enqueue operations is repeated by a thread of its own, until it ends with an error.
///
/// The last thread to end closes the queue. `OutOfRange` and `Cancelled` end a thread in good order; any other error goes
/// to the coordinator, which stops all, or, without one, into [`errors_raised`](Self::errors_raised). When a stop is
/// requested, the queue is closed and what waits for room in it is cancelled.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use forebay::coordinator::{Coordinator, JoinOptions, QueueRunner};
/// use forebay::queue::{FifoQueue, Queue};
/// use forebay::{Error, ErrorKind};
///
/// let squares = Arc::new(FifoQueue::new(10)?);
/// let (next, queue) = (AtomicU64::new(0), squares.clone());
/// let runner = QueueRunner::repeated(&squares, 2, move || {
///     let n = next.fetch_add(1, Ordering::Relaxed);
///     if n < 100 { queue.enqueue(n * n) } else { Err(Error::new(ErrorKind::OutOfRange, "a hundred squares")) }
/// });
/// let coordinator = Coordinator::new();
/// runner.start(Some(&coordinator))?;
/// let mut sum = 0;
/// while let Ok(square) = squares.dequeue() {
///     sum += square;
/// }
/// assert_eq!(sum, (0..100).map(|n| n * n).sum::<u64>());
/// coordinator.join(&JoinOptions::new())?;
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct QueueRunner {
    shared: Arc<Shared>,
    /// Of the threads that were started without a coordinator.
    own: Coordinator,
}

/// More threads than any machine has use for.
pub(super) const MAX_THREADS: usize = 4096;

/// Starts all the runners of a pipeline, as [`QueueRunner::start`] does each, and returns how many threads that makes.
///
/// # Errors
///
/// That of the first runner that cannot be started. Those before it run on, until `coordinator` is stopped or they are
/// dropped.
pub fn start_queue_runners<'a>(
    runners: impl IntoIterator<Item = &'a QueueRunner>,
    coordinator: Option<&Coordinator>,
) -> Result<usize> {
    runners.into_iter().map(|runner| runner.start(coordinator)).sum()
}

struct Shared {
    name: String,
    ops: Vec<EnqueueOp>,
    /// Closes the queue; with `true`, what waits for room in it is cancelled.
    close: Box<dyn Fn(bool) + Send + Sync>,
    /// Kinds of errors that end a thread in good order.
    ends: Vec<ErrorKind>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last start, as long as a thread of it runs.
    run: Weak<Run>,
    errors: Vec<Error>,
}

/// One start, held by its threads: the last to let go closes the queue.
struct Run {
    shared: Arc<Shared>,
}

impl Drop for Run {
    fn drop(&mut self) {
        (self.shared.close)(false);
    }
}

impl QueueRunner {
    /// Fills `queue` with a thread for each of `ops`.
    pub fn new<T: 'static, Q: Queue<T> + ?Sized + 'static>(queue: &Arc<Q>, ops: Vec<EnqueueOp>) -> Self {
        let queue = queue.clone();
        Self::closing("queue", ops, move |cancel_pending| queue.close(cancel_pending))
    }

    /// Fills `queue` with `num_threads` threads, each repeating `op`.
    pub fn repeated<T: 'static, Q: Queue<T> + ?Sized + 'static>(
        queue: &Arc<Q>,
        num_threads: usize,
        op: impl Fn() -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let op: EnqueueOp = Arc::new(op);
        // One too many is refused at the start.
        Self::new(queue, vec![op; num_threads.min(MAX_THREADS + 1)])
    }

    /// Fills what `close` closes.
    pub(super) fn closing(
        name: &str,
        ops: Vec<EnqueueOp>,
        close: impl Fn(bool) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            ops,
            close: Box::new(close),
            ends: vec![ErrorKind::OutOfRange, ErrorKind::Cancelled],
            state: Mutex::default(),
        };
        QueueRunner { shared: Arc::new(shared), own: Coordinator::new() }
    }

    /// The same runner, its threads called `name` and a number.
    ///
    /// # Panics
    ///
    /// If it was started.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        Arc::get_mut(&mut self.shared).expect("a runner that was not started").name = name.into();
        self
    }

    /// The same runner; errors of `kinds`, and no others, end a thread in good order.
    ///
    /// # Panics
    ///
    /// If it was started.
    #[must_use]
    pub fn ends_with(mut self, kinds: impl IntoIterator<Item = ErrorKind>) -> Self {
        Arc::get_mut(&mut self.shared).expect("a runner that was not started").ends =
            kinds.into_iter().collect();
        self
    }

    /// Starts a thread for each operation, under `coordinator` if there is one, and returns how many. While threads of
    /// an earlier start run, none is started; after they have ended, all are started anew, and earlier errors are
    /// forgotten.
    ///
    /// Without a coordinator, the threads are stopped and waited for when the runner is dropped. An operation that then
    /// waits for something else than room in the queue has to be woken by other means.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::spawn`]: the queue is closed then, what waits for room in it is cancelled, and the threads that
    /// were started end. `InvalidArgument` for a runner without operations, or more than 4,096 of them.
    pub fn start(&self, coordinator: Option<&Coordinator>) -> Result<usize> {
        if self.shared.ops.is_empty() {
            return Err(Error::invalid(format!(
                "expected at least one enqueue operation, found none: nothing would fill or close '{}'",
                self.shared.name
            )));
        }
        if self.shared.ops.len() > MAX_THREADS {
            return Err(Error::invalid(format!(
                "expected at most {MAX_THREADS} threads for '{}'",
                self.shared.name
            )));
        }
        let mut state = self.shared.lock();
        if state.run.strong_count() > 0 {
            return Ok(0);
        }
        let run = Arc::new(Run { shared: self.shared.clone() });
        state.run = Arc::downgrade(&run);
        let earlier = std::mem::take(&mut state.errors);
        drop(state);
        drop(earlier);
        let under = coordinator.unwrap_or(&self.own);
        under.crew().on_stop_of(&run, |run| (run.shared.close)(true));
        for (number, op) in self.shared.ops.iter().enumerate() {
            let (run, op, weak, reports) = (run.clone(), op.clone(), under.weak(), coordinator.is_some());
            let name = format!("{} {number}", self.shared.name);
            if let Err(error) = under.spawn(name, move || run.repeat(&op, &weak, reports)) {
                (self.shared.close)(true);
                return Err(error);
            }
        }
        Ok(self.shared.ops.len())
    }

    /// Waits until the threads of a start without a coordinator have ended. One of these threads itself does not wait.
    pub fn wait(&self) {
        // The runner's own coordinator is never stopped while there is a runner, and keeps no errors: `errors_raised` does.
        let _ = self.own.crew().wait_for_threads(Duration::MAX, false);
    }

    /// The errors that ended threads which had no coordinator to tell, since the last start.
    pub fn errors_raised(&self) -> Vec<Error> {
        self.shared.lock().errors.clone()
    }
}

impl Run {
    /// Repeats `op` until it ends with an error or a stop is requested.
    fn repeat(&self, op: &EnqueueOp, coordinator: &WeakCoordinator, reports: bool) -> Result<()> {
        while !coordinator.should_stop() {
            let done = catch_unwind(AssertUnwindSafe(|| op())).unwrap_or_else(|panic| {
                Err(Error::panicked(&format!("an operation of the runner '{}'", self.shared.name), &*panic))
            });
            match done {
                Ok(()) => {}
                Err(error) if self.shared.ends.contains(&error.kind()) => return Ok(()),
                // The error is known before the queue is closed, so that who finds the queue closed can ask for it.
                Err(error) if reports => return coordinator.request_stop(Some(error)),
                Err(error) => {
                    self.shared.lock().errors.push(error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for QueueRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("QueueRunner")
            .field("name", &self.shared.name)
            .field("threads", &self.shared.ops.len())
            .field("is_running", &(state.run.strong_count() > 0))
            .field("errors", &state.errors.len())
            .finish_non_exhaustive()
    }
}
