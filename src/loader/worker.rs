//! How one batch is made, in whichever thread.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam::utils::CachePadded;

use super::ahead::LookAhead;
use super::buckets::Buckets;
use super::packing::Packing;
use super::state::{LoaderState, Options, Progress, Start};
use super::stats::Counters;
use crate::batch::{
    BadRecord, Batch, BatchMaker, BatchPlan, BatchPool, DocumentReader, OnBadRecord, RowSource, Turn,
};
use crate::dataset::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{Claim, Producer, Ticket};
use crate::sampler::{Audit, EpochOrder, Order, Partition, Shuffle, Steps};

/// What every worker of a loader knows.
pub(super) struct Shared {
    pub(super) plan: Arc<BatchPlan>,
    pub(super) pool: BatchPool,
    /// Of rows; of packed windows, none of which is moved.
    pub(super) order: Order,
    pub(super) buckets: Option<Buckets>,
    pub(super) packing: Option<Packing>,
    /// Of the dataset.
    pub(super) identity: Arc<Identity>,
    pub(super) steps: Steps,
    pub(super) options: Options,
    pub(super) on_bad_record: OnBadRecord,
    /// The number, counted over all epochs, of the batch at position 0 of the ring.
    pub(super) first_batch: u64,
    /// Batches in all epochs; `None` without end.
    pub(super) num_batches: Option<u64>,
    pub(super) ahead: LookAhead,
    /// One for each worker, the trainer's own hands last.
    pub(super) counters: Box<[CachePadded<Counters>]>,
}

/// A batch, and the audit of its rows.
pub(super) struct Made {
    pub(super) batch: Batch,
    pub(super) audit: Audit,
    /// The rows that were left out.
    pub(super) bad: Vec<BadRecord>,
}

impl Shared {
    /// Whether rows come as the dataset has them.
    pub(super) fn is_in_order(&self) -> bool {
        let as_they_lie = self.options.shuffle == Shuffle::None && self.options.mixture.is_none();
        as_they_lie && self.packing.is_none() && self.buckets.is_none()
    }

    /// What the audit of the whole epoch `epoch` must give: every row but those a `Drop` leaves out.
    pub(super) fn expected(&self, epoch: u64) -> Audit {
        let order = self.order.epoch(epoch);
        let mut dropped = Audit::default();
        self.steps.dropped().for_each(|position| dropped.add(order.get(position)));
        order.audit().less(dropped)
    }

    /// Whether the files still hold what was read from them.
    pub(super) fn check_files(&self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.plan.layout.row_numbers.is_some() {
            // Nothing was.
            return Ok(());
        }
        self.plan.dataset.check()
    }

    /// Compares the `progress` at the end of the epoch `epoch`, none of whose batches failed, with what it should be.
    pub(super) fn check(&self, epoch: u64, progress: Progress) -> Result<()> {
        let partition = self.options.partition;
        if partition == Partition::default() && progress.first_step == 0 {
            return progress.delivered.check(self.expected(epoch));
        }
        let expected = self.steps.num_delivered(progress.first_step);
        let found = progress.delivered.count();
        if expected == found {
            return Ok(());
        }
        let message = format!("expected {expected} rows for {partition}, found {found}");
        Err(Error::new(ErrorKind::Internal, message))
    }

    /// The state after `received` batches, the last of which was of `epoch`.
    pub(super) fn state(
        &self,
        received: u64,
        (epoch, progress): (u64, Progress),
        bad_records: &[BadRecord],
    ) -> LoaderState {
        // An epoch without steps is never left.
        let (next_epoch, step) = if self.steps.is_empty() { (0, 0) } else { self.steps.locate(received) };
        let progress = if next_epoch == epoch { progress } else { Progress::default() };
        let bad_records = bad_records.to_vec();
        LoaderState::new(
            &self.identity,
            &self.options,
            Start { epoch: next_epoch, step, progress, bad_records },
        )
    }
}

/// The hands of one thread: scratch memory, and the order of the epoch it is in.
pub(super) struct Worker {
    number: usize,
    maker: BatchMaker,
    /// Looks at documents before they are in a batch, once it is asked to.
    reader: Option<DocumentReader>,
    epoch: Option<(u64, EpochOrder)>,
    /// The batch made last, counted over all epochs.
    last: u64,
}

impl Worker {
    /// The hands of thread `number`.
    pub(super) fn new(plan: &Arc<BatchPlan>, number: usize) -> Self {
        Worker { number, maker: BatchMaker::new(plan.clone()), reader: None, epoch: None, last: 0 }
    }

    /// Claims and fills positions until none is left or the ring is closed.
    pub(super) fn run(mut self, shared: &Shared, producer: &Producer<Result<Made>>) {
        let mut asked = Instant::now();
        loop {
            let Some(ticket) = self.claim(shared, producer) else { return };
            let begun = Instant::now();
            let made = self.make(shared, ticket.position());
            ticket.fill(made);
            let done = Instant::now();
            shared.counters[self.number].worked(begun - asked, done - begun);
            asked = done;
        }
    }

    /// Claims a position. While none is free, what comes later is decoded, before this thread sleeps.
    fn claim<'a>(
        &self,
        shared: &Shared,
        producer: &'a Producer<Result<Made>>,
    ) -> Option<Ticket<'a, Result<Made>>> {
        loop {
            match producer.try_claim() {
                Claim::Ticket(ticket) => return Some(ticket),
                Claim::Done => return None,
                Claim::Full if self.decode_ahead(shared, self.last) => {}
                Claim::Full => return producer.claim(),
            }
        }
    }

    /// Decodes something that batches soon after `number` need, if there is such a thing. A panic there is met again by who
    /// needs it.
    pub(super) fn decode_ahead(&self, shared: &Shared, number: u64) -> bool {
        if !shared.is_in_order() || shared.steps.is_empty() {
            return false;
        }
        let row = shared.steps.positions(shared.steps.locate(number).1).start;
        catch_unwind(AssertUnwindSafe(|| self.maker.decode_ahead(row))).unwrap_or(false)
    }

    /// Makes the batch at `position` of the ring. A panic becomes an error.
    pub(super) fn make(&mut self, shared: &Shared, position: u64) -> Result<Made> {
        let number = shared.first_batch + position;
        self.last = number;
        let made = catch_unwind(AssertUnwindSafe(|| self.try_make(shared, number)));
        let made = made.unwrap_or_else(|panic| {
            // Scratch a panic left behind is not trusted.
            *self = Worker::new(&shared.plan, self.number);
            let doing = if shared.plan.map_batch.is_some() { "map_batch" } else { "a worker" };
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
        let (_, order) = match &mut self.epoch {
            Some(known) if known.0 == epoch => known,
            other => other.insert((epoch, shared.order.epoch(epoch))),
        };
        let positions = shared.steps.positions(step);
        let turn = Turn { seed: shared.options.seed, epoch, step };
        let target = (&shared.pool, self.number);
        if let Some(packing) = &shared.packing {
            let reader = self.reader.get_or_insert_with(|| DocumentReader::new(&packing.documents));
            let windows = packing.windows(reader, epoch, positions)?;
            let (batch, audit) = self.maker.make_packed(target, reader, &windows, turn)?;
            return Ok(Made { batch, audit, bad: Vec::new() });
        }
        let bucketed;
        let rows = match &shared.buckets {
            Some(buckets) => {
                let reader = self.reader.get_or_insert_with(|| DocumentReader::new(&buckets.documents));
                bucketed = buckets.rows(reader, (epoch, order), positions)?;
                RowSource::List(&bucketed)
            }
            None => RowSource::Order(order, positions),
        };
        let (batch, audit, bad) = match shared.on_bad_record {
            OnBadRecord::Skip { .. } => self.maker.make_without_bad(target, &rows, turn)?,
            OnBadRecord::Fail => {
                let (batch, audit) = self.maker.make(target, &rows, turn)?;
                (batch, audit, Vec::new())
            }
        };
        Ok(Made { batch, audit, bad })
    }
}
