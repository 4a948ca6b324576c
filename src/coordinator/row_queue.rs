//! Queues of rows: the classic queues, their elements rows of an Arrow table.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::columns::{check_priority, conform, in_words};
use super::coordinator::Coordinator;
use super::pad::{check_paddable, pad};
use super::row::{Row, assemble};
use super::runner::{EnqueueOp, QueueRunner};
use crate::error::{Error, Result};
use crate::queue::{FifoQueue, PriorityQueue, Queue, RandomShuffleQueue, Spec, attach, shared, shared_spec};

/// The order in which a [`RowQueue`] gives its rows, and what it does to a batch of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowQueueKind {
    /// First in, first out.
    Fifo,
    /// As `Fifo`; in a batch, list columns are padded with zeros, or empty text, to the longest row of it.
    PaddingFifo,
    /// Each row taken is drawn uniformly from those inside.
    RandomShuffle {
        /// While the queue is open a row leaves only if more than so many are inside; less than the capacity.
        min_after_dequeue: usize,
        /// Of the draws; `None` for another order in every run.
        seed: Option<u64>,
    },
    /// The smallest value of the first column, a 64-bit integer, first; equal ones first in, first out.
    Priority,
}

impl RowQueueKind {
    fn name(self) -> &'static str {
        match self {
            RowQueueKind::Fifo => "FIFO queue of rows",
            RowQueueKind::PaddingFifo => "padding FIFO queue of rows",
            RowQueueKind::RandomShuffle { .. } => "random-shuffle queue of rows",
            RowQueueKind::Priority => "priority queue of rows",
        }
    }

    /// That rows of `schema` can be what the kind makes of them.
    fn check(self, schema: &Schema) -> Result<()> {
        match self {
            RowQueueKind::PaddingFifo => check_paddable(schema),
            RowQueueKind::Priority => check_priority(schema),
            RowQueueKind::Fifo | RowQueueKind::RandomShuffle { .. } => Ok(()),
        }
    }
}

/// A queue of rows. Clones are handles of one queue.
///
/// Rows go in and come out as tables; all have the columns of the first, or those [declared](RowQueueOptions::schema).
/// What blocks, and what closing does, is said at [`Queue`].
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
/// use forebay::coordinator::{RowQueue, RowQueueKind};
///
/// let x: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
/// let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
/// let rows = RecordBatch::try_from_iter([("x", x), ("name", name)]).unwrap();
///
/// let queue = RowQueue::options(RowQueueKind::Fifo).capacity(10).open()?;
/// queue.enqueue_many(&rows)?;
/// queue.close(false);
/// assert_eq!(queue.dequeue_up_to(2)?.num_rows(), 2);
/// assert_eq!(queue.dequeue_up_to(2)?.num_rows(), 1);
/// assert_eq!(queue.dequeue_up_to(2).unwrap_err().kind(), forebay::ErrorKind::OutOfRange);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone)]
pub struct RowQueue {
    shared: Arc<Shared>,
}

struct Shared {
    kind: RowQueueKind,
    /// The columns, once they are known.
    schema: OnceLock<SchemaRef>,
    store: Store,
}

enum Store {
    Rows(Box<dyn Queue<Row>>),
    ByPriority(Box<dyn Queue<(i64, Row)>>),
}

impl Shared {
    fn cancel(&self) {
        match &self.store {
            Store::Rows(queue) => queue.cancel(),
            Store::ByPriority(queue) => queue.cancel(),
        }
    }
}

/// What a [`RowQueue`] is to be.
#[derive(Clone, Debug)]
pub struct RowQueueOptions {
    kind: RowQueueKind,
    /// Without a bound if `None`.
    capacity: Option<usize>,
    schema: Option<SchemaRef>,
    shared_name: Option<String>,
}

impl RowQueueOptions {
    /// How many rows there is room for: 32 unless told, at least 1.
    #[must_use]
    pub fn capacity(mut self, rows: usize) -> Self {
        self.capacity = Some(rows);
        self
    }

    /// Room for any number of rows: nobody waits for room. Rows drawn at random need a capacity.
    #[must_use]
    pub fn unbounded(mut self) -> Self {
        self.capacity = None;
        self
    }

    /// The columns of every row. Without it, those of the first row that is put in.
    ///
    /// A dimension of unknown length is a list.
    #[must_use]
    pub fn schema(mut self, schema: SchemaRef) -> Self {
        self.schema = Some(schema);
        self
    }

    /// A name under which the whole process shares the queue: who opens it again gets the same one, as long as a handle
    /// of it lives.
    #[must_use]
    pub fn shared_name(mut self, name: impl Into<String>) -> Self {
        self.shared_name = Some(name.into());
        self
    }

    /// Makes the queue, or finds it by its name.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a capacity of 0, a minimum that is not below it, a queue by priority whose first column is no
    /// 64-bit integer, or a name under which another queue is known: it names both. `Unsupported` for lists that cannot be
    /// padded. `TooLarge` if there is no memory for the capacity.
    pub fn open(self) -> Result<RowQueue> {
        if let Some(schema) = &self.schema {
            self.kind.check(schema)?;
        }
        let make = || self.make();
        let shared = match &self.shared_name {
            None => Arc::new(make()?),
            Some(name) => shared(name, &self.spec(), make)?,
        };
        Ok(RowQueue { shared })
    }

    fn make(&self) -> Result<Shared> {
        let store = match (self.kind, self.capacity) {
            (RowQueueKind::Fifo | RowQueueKind::PaddingFifo, Some(capacity)) => {
                Store::Rows(Box::new(FifoQueue::new(capacity)?))
            }
            (RowQueueKind::Fifo | RowQueueKind::PaddingFifo, None) => {
                Store::Rows(Box::new(FifoQueue::unbounded()))
            }
            (RowQueueKind::RandomShuffle { min_after_dequeue, seed }, Some(capacity)) => {
                Store::Rows(Box::new(RandomShuffleQueue::new(capacity, min_after_dequeue, seed)?))
            }
            (RowQueueKind::RandomShuffle { .. }, None) => {
                return Err(Error::invalid(
                    "expected a capacity of the queue whose rows are drawn at random, found none",
                ));
            }
            (RowQueueKind::Priority, Some(capacity)) => {
                Store::ByPriority(Box::new(PriorityQueue::new(capacity)?))
            }
            (RowQueueKind::Priority, None) => Store::ByPriority(Box::new(PriorityQueue::unbounded())),
        };
        let schema = self.schema.clone().map_or_else(OnceLock::new, OnceLock::from);
        Ok(Shared { kind: self.kind, schema, store })
    }

    fn spec(&self) -> Spec {
        let capacity = self.capacity.map_or("unbounded".to_owned(), |capacity| capacity.to_string());
        let spec = Spec::new(self.kind.name()).with("capacity", capacity);
        let spec = match self.kind {
            RowQueueKind::RandomShuffle { min_after_dequeue, seed } => {
                let seed = seed.map_or("none".to_owned(), |seed| seed.to_string());
                spec.with("min_after_dequeue", min_after_dequeue).with("seed", seed)
            }
            _ => spec,
        };
        let schema =
            self.schema.as_ref().map_or("those of its first row".to_owned(), |schema| in_words(schema));
        spec.with("columns", schema)
    }
}

impl RowQueue {
    /// A queue of `kind`, to be configured and opened.
    pub fn options(kind: RowQueueKind) -> RowQueueOptions {
        RowQueueOptions { kind, capacity: Some(32), schema: None, shared_name: None }
    }

    /// The queue that was opened under the shared name `name`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is none, or it is no queue of rows.
    pub fn attach(name: &str) -> Result<RowQueue> {
        match (attach(name), shared_spec(name)) {
            (Ok(shared), _) => Ok(RowQueue { shared }),
            (Err(_), Some(found)) => Err(Error::invalid(format!(
                "expected the shared queue '{name}' to be one of rows, found a {found}"
            ))),
            (Err(none), None) => Err(none),
        }
    }

    /// The queue numbered `index` of `queues`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such queue.
    pub fn select(queues: &[RowQueue], index: usize) -> Result<&RowQueue> {
        queues.get(index).ok_or_else(|| {
            Error::invalid(format!("expected the number of one of {} queues, found {index}", queues.len()))
        })
    }

    /// Puts `row`, a table of one row, in; waits for room.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more or fewer rows than one, for columns of other names, types or shapes than the queue's, and
    /// for nulls where it has none; `Unsupported` for lists that cannot be padded; `Cancelled` once the queue is closed.
    pub fn enqueue(&self, row: &RecordBatch) -> Result<()> {
        if row.num_rows() != 1 {
            return Err(Error::invalid(format!(
                "expected a table of one row, found {}: enqueue_many takes several",
                row.num_rows()
            )));
        }
        self.enqueue_many(row)
    }

    /// Puts every row of `rows` in, each as soon as there is room.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    pub fn enqueue_many(&self, rows: &RecordBatch) -> Result<()> {
        let rows = Row::all(self.conform(rows)?);
        match &self.shared.store {
            Store::Rows(queue) => queue.enqueue_many(rows.collect()),
            Store::ByPriority(queue) => queue.enqueue_many(rows.map(|row| (row.priority(), row)).collect()),
        }
    }

    /// Takes one row, waiting for it.
    ///
    /// # Errors
    ///
    /// `OutOfRange` when the queue is closed and empty; `Cancelled` once it is cancelled.
    pub fn dequeue(&self) -> Result<RecordBatch> {
        let row = match &self.shared.store {
            Store::Rows(queue) => queue.dequeue()?,
            Store::ByPriority(queue) => queue.dequeue()?.1,
        };
        Ok(row.to_batch())
    }

    /// As [`dequeue`](Self::dequeue), for at most `patience`.
    ///
    /// # Errors
    ///
    /// `Timeout` if none came in time. As [`dequeue`](Self::dequeue).
    pub fn dequeue_within(&self, patience: Duration) -> Result<RecordBatch> {
        let row = match &self.shared.store {
            Store::Rows(queue) => queue.dequeue_within(patience)?,
            Store::ByPriority(queue) => queue.dequeue_within(patience)?.1,
        };
        Ok(row.to_batch())
    }

    /// Takes a batch of `n` rows, waiting for them.
    ///
    /// # Errors
    ///
    /// `OutOfRange` when the queue is closed and holds fewer, which stay inside; `Cancelled` once it is cancelled;
    /// `InvalidArgument` if nothing has said yet which columns a batch of no rows has. `Unsupported` and `TooLarge` if the
    /// rows, which are gone then, do not fit into one table: more than 2 GiB of text, 2³¹ elements once padded.
    pub fn dequeue_many(&self, n: usize) -> Result<RecordBatch> {
        let rows = match &self.shared.store {
            Store::Rows(queue) => queue.dequeue_many(n)?,
            Store::ByPriority(queue) => without_priority(queue.dequeue_many(n)?),
        };
        self.batch(&rows)
    }

    /// Takes a batch of `n` rows, or of those left when the queue is closed, at least one.
    ///
    /// # Errors
    ///
    /// `OutOfRange` when the queue is closed and empty. Else as [`dequeue_many`](Self::dequeue_many).
    pub fn dequeue_up_to(&self, n: usize) -> Result<RecordBatch> {
        let rows = match &self.shared.store {
            Store::Rows(queue) => queue.dequeue_up_to(n)?,
            Store::ByPriority(queue) => without_priority(queue.dequeue_up_to(n)?),
        };
        self.batch(&rows)
    }

    /// Refuses new rows from here on, and with `cancel_pending` those that wait for room. See [`Queue::close`].
    pub fn close(&self, cancel_pending: bool) {
        match &self.shared.store {
            Store::Rows(queue) => queue.close(cancel_pending),
            Store::ByPriority(queue) => queue.close(cancel_pending),
        }
    }

    /// Ends every call that waits, and every later one. See [`Queue::cancel`].
    pub fn cancel(&self) {
        self.shared.cancel();
    }

    /// Cancels the queue when `coordinator` is stopped, so that no thread waits on it any longer. It is not kept alive for
    /// that.
    pub fn cancel_on_stop(&self, coordinator: &Coordinator) {
        coordinator.crew().on_stop_of(&self.shared, Shared::cancel);
    }

    /// Whether the queue was closed or cancelled. It may still hold rows.
    pub fn is_closed(&self) -> bool {
        match &self.shared.store {
            Store::Rows(queue) => queue.is_closed(),
            Store::ByPriority(queue) => queue.is_closed(),
        }
    }

    /// How many rows are inside.
    pub fn size(&self) -> usize {
        match &self.shared.store {
            Store::Rows(queue) => queue.size(),
            Store::ByPriority(queue) => queue.size(),
        }
    }

    /// How many rows there is room for; `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        match &self.shared.store {
            Store::Rows(queue) => queue.capacity(),
            Store::ByPriority(queue) => queue.capacity(),
        }
    }

    /// The kind of the queue.
    pub fn kind(&self) -> RowQueueKind {
        self.shared.kind
    }

    /// The columns of its rows, once declared or seen.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.shared.schema.get()
    }

    /// Starts a thread under `coordinator` for each of `ops`, which put rows into the queue.
    pub(super) fn start_filling(
        &self,
        name: &str,
        ops: Vec<EnqueueOp>,
        coordinator: &Coordinator,
    ) -> Result<()> {
        let queue = self.clone();
        let runner = QueueRunner::closing(name, ops, move |cancel_pending| queue.close(cancel_pending));
        runner.start(Some(coordinator)).map(drop)
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let schema = self.shared.schema.get().ok_or_else(|| {
            Error::invalid(
                "a batch of no rows has no columns before a row was put in: give the queue its schema",
            )
        })?;
        let batch = assemble(schema, rows)?;
        if self.shared.kind == RowQueueKind::PaddingFifo { pad(&batch) } else { Ok(batch) }
    }

    /// `rows` with the queue's columns in the queue's order.
    fn conform(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let schema = match self.shared.schema.get() {
            Some(schema) => schema,
            None => {
                self.shared.kind.check(rows.schema_ref())?;
                self.shared.schema.get_or_init(|| rows.schema())
            }
        };
        conform(rows, schema)
    }
}

fn without_priority(rows: Vec<(i64, Row)>) -> Vec<Row> {
    rows.into_iter().map(|(_, row)| row).collect()
}

impl fmt::Debug for RowQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowQueue")
            .field("kind", &self.shared.kind)
            .field("size", &self.size())
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
