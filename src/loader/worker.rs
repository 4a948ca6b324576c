//! How one batch is made, in whichever thread.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arrow::buffer::Buffer;
use crossbeam::utils::CachePadded;

use super::ahead::LookAhead;
use super::state::{LoaderState, Options, Progress};
use super::stats::Counters;
use crate::batch::{Batch, BatchPlan, BatchPool, Gatherer, MapBatch, RowSource, Turn};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::Producer;
use crate::sampler::{Audit, EpochOrder, Order, Partition, Steps};

/// What every worker of a loader knows.
pub(super) struct Shared {
    pub(super) plan: Arc<BatchPlan>,
    pub(super) pool: BatchPool,
    pub(super) order: Order,
    pub(super) steps: Steps,
    pub(super) options: Options,
    /// The number, counted over all epochs, of the batch at position 0 of the ring.
    pub(super) first_batch: u64,
    /// Batches in all epochs; `None` without end.
    pub(super) num_batches: Option<u64>,
    pub(super) map: Option<MapBatch>,
    pub(super) ahead: LookAhead,
    /// One for each worker, the trainer's own hands last.
    pub(super) counters: Box<[CachePadded<Counters>]>,
}

/// A batch, and the audit of its rows.
pub(super) struct Made {
    pub(super) batch: Batch,
    pub(super) audit: Audit,
}

impl Shared {
    /// What the audit of the whole epoch `epoch` must give: every row but those a `Drop` leaves out.
    pub(super) fn expected(&self, epoch: u64) -> Audit {
        let order = self.order.epoch(epoch);
        let mut dropped = Audit::default();
        self.steps.dropped().for_each(|position| dropped.add(order.get(position)));
        Audit::complete(self.order.len()).less(dropped)
    }

    /// Compares what was `delivered` of the epoch `epoch`, all of whose batches were, with what should have been.
    pub(super) fn check(&self, epoch: u64, delivered: Audit) -> Result<()> {
        let partition = self.options.partition;
        if partition == Partition::default() {
            return delivered.check(self.expected(epoch));
        }
        let (expected, found) = (self.steps.num_delivered(), delivered.count());
        if expected == found {
            return Ok(());
        }
        let message = format!("expected {expected} rows for {partition}, found {found}");
        Err(Error::new(ErrorKind::Internal, message))
    }

    pub(super) fn state(&self, received: u64, epoch: u64, progress: Progress) -> LoaderState {
        // An epoch without steps is never left.
        let (next_epoch, step) = if self.steps.is_empty() { (0, 0) } else { self.steps.locate(received) };
        let progress = if next_epoch == epoch { progress } else { Progress::default() };
        LoaderState::new(self.plan.dataset.fingerprint(), &self.options, next_epoch, step, progress)
    }
}

/// The hands of one thread: scratch memory, and the order of the epoch it is in.
pub(super) struct Worker {
    number: usize,
    gatherer: Gatherer,
    lent: Vec<Option<Buffer>>,
    epoch: Option<(u64, EpochOrder)>,
}

impl Worker {
    /// The hands of thread `number`.
    pub(super) fn new(plan: &Arc<BatchPlan>, number: usize) -> Self {
        Worker { number, gatherer: Gatherer::new(plan.clone()), lent: Vec::new(), epoch: None }
    }

    /// Claims and fills positions until none is left or the ring is closed.
    pub(super) fn run(mut self, shared: &Shared, producer: &Producer<Result<Made>>) {
        let mut asked = Instant::now();
        loop {
            let Some(ticket) = producer.claim() else { return };
            let begun = Instant::now();
            let made = self.make(shared, ticket.position());
            ticket.fill(made);
            let done = Instant::now();
            shared.counters[self.number].worked(begun - asked, done - begun);
            asked = done;
        }
    }

    /// Makes the batch at `position` of the ring. A panic becomes an error.
    pub(super) fn make(&mut self, shared: &Shared, position: u64) -> Result<Made> {
        let number = shared.first_batch + position;
        let made = catch_unwind(AssertUnwindSafe(|| self.try_make(shared, number)));
        let made = made.unwrap_or_else(|panic| {
            // Scratch a panic left behind is not trusted.
            *self = Worker::new(&shared.plan, self.number);
            let doing = if shared.map.is_some() { "map_batch" } else { "a worker" };
            let (epoch, step) = shared.steps.locate(number);
            let error = Error::panicked(doing, &*panic);
            Err(Error::new(error.kind(), format!("{} (epoch {epoch}, step {step})", error.message())))
        });
        if let Ok(made) = &made {
            shared.counters[self.number].made(&made.batch);
        }
        made
    }

    fn try_make(&mut self, shared: &Shared, number: u64) -> Result<Made> {
        shared.ahead.reach(shared, number);
        let (epoch, step) = shared.steps.locate(number);
        let order = match self.epoch {
            Some((known, order)) if known == epoch => order,
            _ => self.epoch.insert((epoch, shared.order.epoch(epoch))).1,
        };
        let positions = shared.steps.positions(step);
        let rows = RowSource::Order(&order, positions);
        let turn = Turn { epoch, step };
        let (gatherer, lent) = (&mut self.gatherer, &mut self.lent);
        let map = shared.map.as_ref();
        let (batch, audit) = Batch::gather(gatherer, (&shared.pool, self.number), &rows, turn, map, lent)?;
        Ok(Made { batch, audit })
    }
}
