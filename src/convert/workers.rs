//! How are record batches made by many threads and written by one, in their order?
//!
//! ```text
//! thread 0..n    claim the next batch ──▶ its rows ──▶ read, cast, stack, map ──▶ fill its place in the ring
//! caller         take the next from the ring ──▶ write, hash
//! ```
//!
//! The ring bounds the batches between a claim and the writing of it, and with them the memory.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, Scope};

use arrow::array::RecordBatch;

use super::bad::{self, Bad};
use super::columns::{Columns, Reader};
use super::plan::Plan;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{Consumer, Producer, ordered_ring};

/// Batches whose memory a worker keeps for those to come.
const KEEP_SLOTS: usize = 4;

/// What every worker knows.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) columns: &'a Columns,
    pub(super) plan: &'a Plan,
    /// Bad records of one batch that are enough to end the conversion.
    pub(super) enough: usize,
    pub(super) threads: usize,
}

/// A record batch, what could not be read of it, and the rows that were asked for.
pub(super) struct Made {
    /// `None` where enough bad records were found.
    pub(super) batch: Option<RecordBatch>,
    pub(super) bad: Vec<Bad>,
    pub(super) rows: u64,
}

/// The batches in their order. Dropped, it stops the workers.
pub(super) struct Batches(Consumer<Result<Made>>);

impl<'a> Work<'a> {
    /// Starts the threads that make the batches from number `first` on.
    ///
    /// # Errors
    ///
    /// `Io` if a thread cannot be started.
    pub(super) fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        first: u64,
        end: u64,
    ) -> Result<Batches>
    where
        'a: 'scope,
    {
        let threads = self.threads.min(usize::try_from(end - first).unwrap_or(usize::MAX));
        // One in each worker's hands, one of each ready, and two for the writer to go on with.
        let capacity = 2 * threads + 2;
        let (producer, consumer) = ordered_ring(capacity, Some(end - first));
        let batches = Batches(consumer);
        for number in 0..threads {
            let producer = producer.clone();
            let thread = Builder::new().name(format!("convert-{number}"));
            let run = move || self.run(&producer, first);
            thread.spawn_scoped(scope, run).map_err(|e: io::Error| {
                Error::new(ErrorKind::Io, format!("cannot start thread {number} of {threads}: {e}"))
                    .with_source(e)
            })?;
        }
        Ok(batches)
    }

    /// Claims and makes batches until none is left or the ring is closed.
    fn run(self, producer: &Producer<Result<Made>>, first: u64) {
        let mut reader = None;
        let mut rows = Vec::new();
        while let Some(ticket) = producer.claim() {
            let batch = first + ticket.position();
            let made = catch_unwind(AssertUnwindSafe(|| self.make(batch, &mut reader, &mut rows)));
            ticket.fill(made.unwrap_or_else(|panic| {
                // Scratch a panic left behind is not trusted.
                reader = None;
                Err(Error::panicked("reading rows", &*panic))
            }));
        }
    }

    fn make(&self, batch: u64, reader: &mut Option<Reader>, rows: &mut Vec<u64>) -> Result<Made> {
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(self.columns.reader(self.plan.batch_rows(), KEEP_SLOTS)?),
        };
        self.plan.batch(batch, rows);
        let (batch, bad) = bad::read(self.dataset, self.columns, reader, rows, self.enough)?;
        Ok(Made { batch, bad, rows: rows.len() as u64 })
    }
}

impl Batches {
    /// The next batch, of which there is one.
    pub(super) fn next(&mut self) -> Result<Made> {
        match self.0.pop() {
            Some(Ok(made)) => made,
            Some(Err(_)) | None => Err(Error::new(ErrorKind::Panic, "a worker gave up on a record batch")),
        }
    }
}
