//! The classic input pipeline: queues that threads fill and others empty, and what stops them all together.
//!
//! ```text
//! producer ──file names──▶ reader ──records──▶ decoder ──rows──▶ row queue ──▶ batches
//! (a runner fills           (shared by         (a RecordBatch    (FIFO, random shuffle,
//!  a FIFO queue)             threads)           of one row)       padding, priority)
//!
//! Coordinator               every thread above: the first error stops all, and `join` returns it
//! ```
//!
//! The [`Loader`](crate::Loader) does more, faster, wherever rows have numbers. This is for the rest: rows that a program
//! makes, streams without an end, and pipelines written for TensorFlow 1, whose pieces have the same names and meaning
//! here. What differs:
//!
//! - an element is a row of an Arrow table ([`Row`]): its columns have names, and may be of any length and type;
//! - nothing can be read before it is started: what fills a queue hands the queue out when it starts;
//! - there is no graph and no session: operations are closures, and a queue is shared by cloning its handle, or by name.
//!
//! [`reader`] holds the readers, [`decode`] the functions from records to Arrow columns.
//!
//! # Invariants
//!
//! - Every thread here is stopped by its [`Coordinator`], and ends when the last handle of it is dropped.
//! - What waits on a queue a coordinator knows is woken when it stops.
//! - The last thread that fills a queue closes it, however it ends.
#![forbid(unsafe_code)]

pub mod decode;
pub mod reader;

mod batching;
mod columns;
#[allow(clippy::module_inception)] // The classic's own name for it.
mod coordinator;
mod crew;
mod pad;
mod producer;
mod row;
mod row_queue;
mod runner;
mod staging_area;

pub use batching::{
    Batcher, Batches, Keep, RowSource, batch, batch_join, maybe_batch, maybe_batch_join, maybe_shuffle_batch,
    maybe_shuffle_batch_join, shuffle_batch, shuffle_batch_join,
};
pub use coordinator::{Coordinator, JoinOptions, WeakCoordinator};
pub use producer::{
    InputProducer, SliceInputProducer, input_producer, limit_epochs, range_input_producer,
    slice_input_producer, string_input_producer,
};
pub use row::Row;
pub use row_queue::{RowQueue, RowQueueKind, RowQueueOptions};
pub use runner::{EnqueueOp, QueueRunner, start_queue_runners};
pub use staging_area::{MapStagingArea, StagingArea};
