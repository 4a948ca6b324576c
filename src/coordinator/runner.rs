//! Threads that fill a queue.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    running: usize,
    errors: Vec<Error>,
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
        Self::new(queue, vec![op; num_threads])
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
    /// Without a coordinator, the threads are stopped and waited for when the runner is dropped.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::spawn`].
    pub fn start(&self, coordinator: Option<&Coordinator>) -> Result<usize> {
        let mut state = self.shared.lock();
        if state.running > 0 {
            return Ok(0);
        }
        state.errors.clear();
        state.running = self.shared.ops.len();
        drop(state);
        let under = coordinator.unwrap_or(&self.own);
        let shared = self.shared.clone();
        under.on_stop(move || (shared.close)(true));
        for (number, op) in self.shared.ops.iter().enumerate() {
            // Its end is counted even if it is never started.
            let running = Running { shared: self.shared.clone() };
            let (op, weak, reports) = (op.clone(), under.weak(), coordinator.is_some());
            let name = format!("{} {number}", self.shared.name);
            let started = under.spawn(name, move || running.run(&op, &weak, reports));
            if let Err(error) = started {
                // Those that were not come to are not counted twice.
                (number + 1..self.shared.ops.len()).for_each(|_| self.shared.ended());
                return Err(error);
            }
        }
        Ok(self.shared.ops.len())
    }

    /// Waits until the threads of a start without a coordinator have ended.
    pub fn wait(&self) {
        // The runner's own coordinator keeps no errors: `errors_raised` does.
        let _ = self.own.join(&super::JoinOptions::new());
        self.own.clear_stop();
    }

    /// The errors that ended threads which had no coordinator to tell, since the last start.
    pub fn errors_raised(&self) -> Vec<Error> {
        self.shared.lock().errors.clone()
    }
}

/// One thread's turn at the queue: when it is over, one fewer fills it.
struct Running {
    shared: Arc<Shared>,
}

impl Running {
    fn run(self, op: &EnqueueOp, coordinator: &WeakCoordinator, reports: bool) -> Result<()> {
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

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.ended();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread fewer fills the queue.
    fn ended(&self) {
        let mut state = self.lock();
        state.running -= 1;
        let was_last = state.running == 0;
        drop(state);
        if was_last {
            (self.close)(false);
        }
    }
}

impl fmt::Debug for QueueRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("QueueRunner")
            .field("name", &self.shared.name)
            .field("threads", &self.shared.ops.len())
            .field("running", &state.running)
            .field("errors", &state.errors.len())
            .finish_non_exhaustive()
    }
}
