//! Rows collected into batches: `batch`, `shuffle_batch`, and their forms with several sources or a filter.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::coordinator::Coordinator;
use super::row_queue::{RowQueue, RowQueueKind};
use super::runner::{EnqueueOp, MAX_THREADS};
use crate::error::{Error, ErrorKind, Result};

/// What gives rows: a table of one row each time it is called, or of several with
/// [`enqueue_many`](Batcher::enqueue_many). `OutOfRange` is its end.
pub type RowSource = Box<dyn Fn() -> Result<RecordBatch> + Send + Sync>;

/// Which of the rows a source gave are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of them, or none.
    All(bool),
    /// Those for which it is true: a value for each row.
    Rows(Vec<bool>),
}

impl From<bool> for Keep {
    fn from(keep: bool) -> Self {
        Keep::All(keep)
    }
}

impl From<Vec<bool>> for Keep {
    fn from(keep: Vec<bool>) -> Self {
        Keep::Rows(keep)
    }
}

type KeptSource = Arc<dyn Fn() -> Result<(RecordBatch, Keep)> + Send + Sync>;

/// A pipeline that collects rows into batches. It is configured, then [started](Self::start): only what runs can be read.
pub struct Batcher {
    sources: Vec<KeptSource>,
    /// Threads that repeat the only source; several sources have one each.
    num_threads: Option<usize>,
    batch_size: usize,
    capacity: usize,
    /// Whether rows are drawn at random,
    shuffle: bool,
    /// and how.
    min_after_dequeue: Option<usize>,
    seed: Option<u64>,
    enqueue_many: bool,
    dynamic_pad: bool,
    allow_smaller_final_batch: bool,
    schema: Option<SchemaRef>,
    shared_name: Option<String>,
}

/// Batches of the rows of `source`, in the order in which they come.
///
/// With one thread that is the order of the source.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
/// use forebay::coordinator::{Coordinator, batch, range_input_producer};
/// use forebay::queue::Queue;
///
/// let coordinator = Coordinator::new();
/// let numbers = range_input_producer(10).shuffle(false).num_epochs(1).start(&coordinator)?;
/// let squares = batch(move || {
///     let n = numbers.dequeue()?;
///     let square: ArrayRef = Arc::new(UInt64Array::from(vec![n * n]));
///     Ok(RecordBatch::try_from_iter([("square", square)]).expect("one column"))
/// });
/// let batches = squares.batch_size(4).allow_smaller_final_batch(true).start(&coordinator)?;
/// let sizes: Vec<_> = batches.map(|batch| batch.unwrap().num_rows()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), forebay::Error>(())
/// ```
pub fn batch(source: impl Fn() -> Result<RecordBatch> + Send + Sync + 'static) -> Batcher {
    Batcher::of(vec![unfiltered(source)], false)
}

/// Batches of the rows of several sources, each with a thread of its own.
pub fn batch_join<S>(sources: impl IntoIterator<Item = S>) -> Batcher
where
    S: Fn() -> Result<RecordBatch> + Send + Sync + 'static,
{
    Batcher::of(sources.into_iter().map(unfiltered).collect(), false)
}

/// Batches of rows drawn at random from those that wait.
///
/// This is an approximate shuffle of a stream, by a buffer; the [`Loader`](crate::Loader) shuffles exactly.
pub fn shuffle_batch(source: impl Fn() -> Result<RecordBatch> + Send + Sync + 'static) -> Batcher {
    Batcher::of(vec![unfiltered(source)], true)
}

/// As [`shuffle_batch`], of several sources, each with a thread of its own.
pub fn shuffle_batch_join<S>(sources: impl IntoIterator<Item = S>) -> Batcher
where
    S: Fn() -> Result<RecordBatch> + Send + Sync + 'static,
{
    Batcher::of(sources.into_iter().map(unfiltered).collect(), true)
}

/// As [`batch`], of the rows that the source says are to be kept.
pub fn maybe_batch<K: Into<Keep>>(
    source: impl Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
) -> Batcher {
    Batcher::of(vec![filtered(source)], false)
}

/// As [`batch_join`], of the rows that the sources say are to be kept.
pub fn maybe_batch_join<S, K: Into<Keep>>(sources: impl IntoIterator<Item = S>) -> Batcher
where
    S: Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
{
    Batcher::of(sources.into_iter().map(filtered).collect(), false)
}

/// As [`shuffle_batch`], of the rows that the source says are to be kept.
pub fn maybe_shuffle_batch<K: Into<Keep>>(
    source: impl Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
) -> Batcher {
    Batcher::of(vec![filtered(source)], true)
}

/// As [`shuffle_batch_join`], of the rows that the sources say are to be kept.
pub fn maybe_shuffle_batch_join<S, K: Into<Keep>>(sources: impl IntoIterator<Item = S>) -> Batcher
where
    S: Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
{
    Batcher::of(sources.into_iter().map(filtered).collect(), true)
}

fn unfiltered(source: impl Fn() -> Result<RecordBatch> + Send + Sync + 'static) -> KeptSource {
    Arc::new(move || Ok((source()?, Keep::All(true))))
}

fn filtered<K: Into<Keep>>(
    source: impl Fn() -> Result<(RecordBatch, K)> + Send + Sync + 'static,
) -> KeptSource {
    Arc::new(move || source().map(|(rows, keep)| (rows, keep.into())))
}

impl Batcher {
    fn of(sources: Vec<KeptSource>, shuffle: bool) -> Self {
        Batcher {
            sources,
            num_threads: None,
            batch_size: 32,
            capacity: 32,
            shuffle,
            min_after_dequeue: None,
            seed: None,
            enqueue_many: false,
            dynamic_pad: false,
            allow_smaller_final_batch: false,
            schema: None,
            shared_name: None,
        }
    }

    /// Rows in a batch; 32 unless told.
    #[must_use]
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// How many threads repeat the source; one, unless told. Several sources have one each, and refuse this.
    #[must_use]
    pub fn num_threads(mut self, threads: usize) -> Self {
        self.num_threads = Some(threads);
        self
    }

    /// How many rows wait at the most; 32 unless told.
    #[must_use]
    pub fn capacity(mut self, rows: usize) -> Self {
        self.capacity = rows;
        self
    }

    /// How many rows stay behind for the next draw, as long as there is a source; less than the capacity. The more, the
    /// better the shuffle. 0 unless told. Batches that are not drawn at random refuse it.
    #[must_use]
    pub fn min_after_dequeue(mut self, rows: usize) -> Self {
        self.min_after_dequeue = Some(rows);
        self
    }

    /// The seed of the draws; batches that are not drawn at random refuse it. The order is the same every time only with one thread, and
    /// only if the reader does not race it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether a source gives any number of rows at a time, rather than one.
    #[must_use]
    pub fn enqueue_many(mut self, many: bool) -> Self {
        self.enqueue_many = many;
        self
    }

    /// Whether lists are padded to the longest of a batch, which makes a tensor of them.
    #[must_use]
    pub fn dynamic_pad(mut self, pad: bool) -> Self {
        self.dynamic_pad = pad;
        self
    }

    /// Whether the rows left at the end, too few for a batch, are given as a smaller one; else they are dropped.
    #[must_use]
    pub fn allow_smaller_final_batch(mut self, allow: bool) -> Self {
        self.allow_smaller_final_batch = allow;
        self
    }

    /// The columns of the rows; those of the first row, unless told.
    #[must_use]
    pub fn schema(mut self, schema: SchemaRef) -> Self {
        self.schema = Some(schema);
        self
    }

    /// A name under which the process shares the queue of the rows.
    #[must_use]
    pub fn shared_name(mut self, name: impl Into<String>) -> Self {
        self.shared_name = Some(name.into());
        self
    }

    /// Starts the threads under `coordinator`, and hands out the batches.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for no rows in a batch, no threads or more than 4,096, no source, a minimum that is not below the capacity, padding of
    /// rows drawn at random, or a shared name under which another queue is known; `Io` if the system gives no thread.
    pub fn start(self, coordinator: &Coordinator) -> Result<Batches> {
        let invalid = |message: String| Err(Error::invalid(message));
        if self.batch_size == 0 {
            return invalid("expected at least one row in a batch, found batch_size 0".to_owned());
        }
        let mut sources = self.sources;
        match (sources.len(), self.num_threads) {
            (0, _) => return invalid("expected at least one source of rows, found none".to_owned()),
            (_, Some(0)) => return invalid("expected at least one thread, found num_threads 0".to_owned()),
            (_, Some(threads)) if threads > MAX_THREADS => {
                return invalid(format!(
                    "expected at most {MAX_THREADS} threads, found num_threads {threads}"
                ));
            }
            (1, threads) => sources = vec![sources.remove(0); threads.unwrap_or(1)],
            (sources, Some(threads)) if threads != sources => {
                return invalid(format!(
                    "{sources} sources have a thread each: leave num_threads out, found {threads}"
                ));
            }
            _ => {}
        }
        let kind = match (self.shuffle, self.dynamic_pad) {
            (true, true) => {
                return invalid("rows drawn at random are not padded: use batch with dynamic_pad".to_owned());
            }
            (true, false) => RowQueueKind::RandomShuffle {
                min_after_dequeue: self.min_after_dequeue.unwrap_or(0),
                seed: self.seed,
            },
            (false, _) if self.min_after_dequeue.is_some() || self.seed.is_some() => {
                return invalid(
                    "min_after_dequeue and seed are for rows drawn at random: use shuffle_batch".to_owned(),
                );
            }
            (false, true) => RowQueueKind::PaddingFifo,
            (false, false) => RowQueueKind::Fifo,
        };
        let mut options = RowQueue::options(kind).capacity(self.capacity);
        if let Some(schema) = self.schema {
            options = options.schema(schema);
        }
        if let Some(name) = &self.shared_name {
            options = options.shared_name(name);
        }
        let queue = options.open()?;
        let ops = sources.into_iter().map(|source| enqueue_op(source, queue.clone(), self.enqueue_many));
        queue.start_filling("batch", ops.collect(), coordinator)?;
        Ok(Batches {
            queue,
            is_shared: self.shared_name.is_some(),
            batch_size: self.batch_size,
            allow_smaller_final_batch: self.allow_smaller_final_batch,
            over: false,
            coordinator: coordinator.clone(),
        })
    }
}

/// Takes rows from `source`, and puts those to be kept into `queue`.
fn enqueue_op(source: KeptSource, queue: RowQueue, many: bool) -> EnqueueOp {
    Arc::new(move || {
        let (rows, keep) = source()?;
        if !many && rows.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "expected a source to give one row at a time, found {}: set enqueue_many",
                rows.num_rows()
            )));
        }
        match keep {
            Keep::All(true) => queue.enqueue_many(&rows),
            Keep::All(false) => Ok(()),
            Keep::Rows(keep) if keep.len() != rows.num_rows() => Err(Error::invalid(format!(
                "expected a choice for each of {} rows, found {}",
                rows.num_rows(),
                keep.len()
            ))),
            Keep::Rows(keep) => {
                let mut start = 0;
                for run in keep.chunk_by(|a, b| a == b) {
                    if run[0] {
                        queue.enqueue_many(&rows.slice(start, run.len()))?;
                    }
                    start += run.len();
                }
                Ok(())
            }
        }
    })
}

/// The batches of a pipeline that runs.
///
/// As an iterator it ends when the sources are at their end, after an `Err` if one of them failed. It keeps its
/// [`Coordinator`] alive: when the last pipeline and handle of that is dropped, its threads are stopped and waited for.
pub struct Batches {
    queue: RowQueue,
    is_shared: bool,
    batch_size: usize,
    allow_smaller_final_batch: bool,
    over: bool,
    coordinator: Coordinator,
}

impl Batches {
    /// The next batch.
    ///
    /// # Errors
    ///
    /// `OutOfRange` when there is no more, for whatever reason: [`Coordinator::error`] tells it.
    pub fn dequeue(&self) -> Result<RecordBatch> {
        if self.allow_smaller_final_batch {
            self.queue.dequeue_up_to(self.batch_size)
        } else {
            self.queue.dequeue_many(self.batch_size)
        }
    }

    /// The queue the rows wait in.
    pub fn queue(&self) -> &RowQueue {
        &self.queue
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.dequeue() {
            Ok(batch) => Some(Ok(batch)),
            Err(end) => {
                self.over = true;
                match end.kind() {
                    // An error is known to the coordinator before the queue is closed for it.
                    ErrorKind::OutOfRange | ErrorKind::Cancelled => self.coordinator.error().map(Err),
                    _ => Some(Err(end)),
                }
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Nobody is left to make room for the sources, unless by name.
        if !self.is_shared {
            self.queue.cancel();
        }
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("sources", &self.sources.len())
            .field("batch_size", &self.batch_size)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("queue", &self.queue)
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}
