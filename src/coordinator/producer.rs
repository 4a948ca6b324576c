//! What begins a pipeline: items in queues, epoch after epoch.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::coordinator::Coordinator;
use super::row::Row;
use super::row_queue::{RowQueue, RowQueueKind};
use super::runner::{EnqueueOp, QueueRunner};
use crate::dataset::matching;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{FifoQueue, Queue};
use crate::sampler::{Order, Shuffle};

/// What producers have in common.
#[derive(Clone, Debug)]
struct Options {
    shuffle: bool,
    seed: u64,
    num_epochs: Option<u64>,
    capacity: usize,
    shared_name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { shuffle: true, seed: 0, num_epochs: None, capacity: 32, shared_name: None }
    }
}

/// Puts every item of a list into a queue, once an epoch. It begins when it is [started](Self::start), which hands out the
/// queue.
pub struct InputProducer<T> {
    len: u64,
    item: Arc<dyn Fn(u64) -> T + Send + Sync>,
    options: Options,
}

/// As [`InputProducer`], for the rows of a table.
pub struct SliceInputProducer {
    rows: RecordBatch,
    options: Options,
}

/// Settings every producer has.
macro_rules! settings {
    () => {
        /// Whether each epoch has an order of its own, drawn exactly; it has, unless told. Else that of the list.
        #[must_use]
        pub fn shuffle(mut self, shuffle: bool) -> Self {
            self.options.shuffle = shuffle;
            self
        }

        /// The seed of the orders; 0 unless told.
        #[must_use]
        pub fn seed(mut self, seed: u64) -> Self {
            self.options.seed = seed;
            self
        }

        /// After how many epochs the queue is closed; never, unless told.
        #[must_use]
        pub fn num_epochs(mut self, epochs: u64) -> Self {
            self.options.num_epochs = Some(epochs);
            self
        }

        /// How many items the queue has room for; 32 unless told.
        #[must_use]
        pub fn capacity(mut self, items: usize) -> Self {
            self.options.capacity = items;
            self
        }

        /// A name under which the process shares the queue.
        #[must_use]
        pub fn shared_name(mut self, name: impl Into<String>) -> Self {
            self.options.shared_name = Some(name.into());
            self
        }
    };
}

/// Produces `items`.
///
/// ```
/// use forebay::coordinator::{Coordinator, input_producer};
/// use forebay::queue::Queue;
///
/// let coordinator = Coordinator::new();
/// let numbers = input_producer([2, 3, 5]).num_epochs(2).start(&coordinator)?;
/// let mut drawn = numbers.dequeue_many(6)?;
/// drawn.sort();
/// assert_eq!(drawn, [2, 2, 3, 3, 5, 5]);
/// assert_eq!(numbers.dequeue().unwrap_err().kind(), forebay::ErrorKind::OutOfRange);
/// # Ok::<(), forebay::Error>(())
/// ```
pub fn input_producer<T: Clone + Send + Sync + 'static>(
    items: impl IntoIterator<Item = T>,
) -> InputProducer<T> {
    let items: Vec<T> = items.into_iter().collect();
    InputProducer {
        len: items.len() as u64,
        item: Arc::new(move |index| items[index as usize].clone()),
        options: Options::default(),
    }
}

/// Produces the names of files: as they are given, or what they match as glob patterns, in bytewise order.
///
/// # Errors
///
/// `Io` if a pattern matches no file; `InvalidArgument` for a pattern that is none.
pub fn string_input_producer(
    files: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<InputProducer<String>> {
    let mut names = Vec::new();
    for file in files {
        for path in matching(file.as_ref().as_ref())? {
            let name = path.into_os_string().into_string().map_err(|name| {
                Error::invalid("expected a file name in UTF-8").at_path(std::path::Path::new(&name))
            })?;
            names.push(name);
        }
    }
    Ok(input_producer(names))
}

/// Produces the numbers `0..limit`.
pub fn range_input_producer(limit: u64) -> InputProducer<u64> {
    InputProducer { len: limit, item: Arc::new(|index| index), options: Options::default() }
}

/// Produces the rows of a table.
pub fn slice_input_producer(rows: RecordBatch) -> SliceInputProducer {
    SliceInputProducer { rows, options: Options::default() }
}

/// An operation that gives `value` `num_epochs` times, then `OutOfRange`; without an end for `None`.
///
/// # Errors
///
/// `InvalidArgument` for no epochs.
pub fn limit_epochs<T: Clone + Send + Sync>(
    value: T,
    num_epochs: Option<u64>,
) -> Result<impl Fn() -> Result<T> + Send + Sync> {
    check_epochs(num_epochs)?;
    let given = Mutex::new(0u64);
    Ok(move || {
        let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
        if num_epochs.is_some_and(|limit| *given >= limit) {
            return Err(over(*given));
        }
        *given += 1;
        Ok(value.clone())
    })
}

impl<T: Send + 'static> InputProducer<T> {
    settings!();

    /// Starts a thread under `coordinator` that fills the queue, and hands the queue out.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an empty list, no epochs, no capacity, or a name under which another queue is known; `Io` if
    /// the system gives no thread.
    pub fn start(self, coordinator: &Coordinator) -> Result<Arc<FifoQueue<T>>> {
        let options = &self.options;
        let queue = match &options.shared_name {
            Some(name) => FifoQueue::shared(name, Some(options.capacity))?,
            None => Arc::new(FifoQueue::new(options.capacity)?),
        };
        let (item, into) = (self.item, queue.clone());
        let op = epochs(self.len, options, move |index| into.enqueue(item(index)))?;
        coordinator.cancel_on_stop(&queue);
        QueueRunner::new(&queue, vec![op]).named("input producer").start(Some(coordinator))?;
        Ok(queue)
    }
}

impl SliceInputProducer {
    settings!();

    /// Starts a thread under `coordinator` that fills the queue, and hands the queue out.
    ///
    /// # Errors
    ///
    /// As [`InputProducer::start`].
    pub fn start(self, coordinator: &Coordinator) -> Result<RowQueue> {
        let options = &self.options;
        let mut queue =
            RowQueue::options(RowQueueKind::Fifo).capacity(options.capacity).schema(self.rows.schema());
        if let Some(name) = &options.shared_name {
            queue = queue.shared_name(name);
        }
        let queue = queue.open()?;
        let rows: Vec<_> = Row::all(self.rows).collect();
        let into = queue.clone();
        let op =
            epochs(rows.len() as u64, options, move |index| into.enqueue(&rows[index as usize].to_batch()))?;
        queue.start_filling("slice input producer", vec![op], coordinator)?;
        Ok(queue)
    }
}

/// An operation that enqueues the next item of the epochs of `len` items.
fn epochs(
    len: u64,
    options: &Options,
    enqueue: impl Fn(u64) -> Result<()> + Send + Sync + 'static,
) -> Result<EnqueueOp> {
    if len == 0 {
        return Err(Error::invalid("expected at least one item to produce, found an empty list"));
    }
    check_epochs(options.num_epochs)?;
    let shuffle = if options.shuffle { Shuffle::Exact } else { Shuffle::None };
    let (order, num_epochs) = (Order::new(len, shuffle, options.seed), options.num_epochs);
    let next = Mutex::new((0, 0));
    Ok(Arc::new(move || {
        // One thread produces: nobody waits for the lock.
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, position) = *next;
        if num_epochs.is_some_and(|limit| epoch >= limit) {
            return Err(over(epoch));
        }
        enqueue(order.epoch(epoch).get(position))?;
        *next = if position + 1 < len { (epoch, position + 1) } else { (epoch + 1, 0) };
        Ok(())
    }))
}

fn over(epochs: u64) -> Error {
    Error::new(ErrorKind::OutOfRange, format!("the limit of {epochs} epochs is reached"))
}

fn check_epochs(num_epochs: Option<u64>) -> Result<()> {
    match num_epochs {
        Some(0) => {
            Err(Error::invalid("expected at least one epoch, found 0: leave num_epochs out for no end"))
        }
        _ => Ok(()),
    }
}

impl<T> fmt::Debug for InputProducer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputProducer").field("len", &self.len).field("options", &self.options).finish()
    }
}

impl fmt::Debug for SliceInputProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.rows.num_rows();
        f.debug_struct("SliceInputProducer").field("len", &len).field("options", &self.options).finish()
    }
}
