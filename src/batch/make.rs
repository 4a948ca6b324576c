//! How a batch is made of rows.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::buffer::Buffer;

use super::bad::spread;
use super::gather::{Gathered, Gatherer, RowSource};
use super::map_rows::RowMapper;
use super::{Batch, BatchMut, BatchPlan};
use crate::error::{Error, Result};
use crate::sampler::Audit;
use crate::staging::{SlotMut, SlotPool};

/// A batch's place in the sequence of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Of the whole sequence.
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) step: u64,
}

/// The slots of batches of one plan.
pub(crate) type BatchPool = SlotPool<Arc<BatchPlan>>;

/// A function of the user's that changes batches where they are made.
pub(crate) type MapBatch = Arc<dyn Fn(&mut BatchMut<'_>) -> Result<()> + Send + Sync>;

/// Makes batches of one plan, one at a time; holds the scratch memory this takes.
pub(crate) struct BatchMaker {
    gatherer: Gatherer,
    lent: Vec<Option<Buffer>>,
    mapper: Option<Box<RowMapper>>,
}

impl BatchMaker {
    pub(crate) fn new(plan: Arc<BatchPlan>) -> Self {
        let mapper = plan.map_rows.as_ref().map(|rows| Box::new(RowMapper::new(rows)));
        BatchMaker { gatherer: Gatherer::new(plan), lent: Vec::new(), mapper }
    }

    pub(super) fn plan(&self) -> &Arc<BatchPlan> {
        self.gatherer.plan()
    }

    /// Whether `error`, which the last call gave, says that a record is bad, rather than that none can be read.
    pub(crate) fn says_bad_record(&self, error: &Error) -> bool {
        error.is_bad_data() || self.mapper.as_ref().is_some_and(|mapper| mapper.has_refused())
    }

    /// As [`Gatherer::decode_ahead`].
    pub(crate) fn decode_ahead(&self, row: u64) -> bool {
        self.gatherer.decode_ahead(row)
    }

    /// Makes the batch of `rows` in a slot of a pool, for one of its writers; and the audit of its rows.
    pub(crate) fn make(
        &mut self,
        target: (&BatchPool, usize),
        rows: &RowSource<'_>,
        turn: Turn,
    ) -> Result<(Batch, Audit)> {
        let (slot, gathered) = self.fill(target, rows, turn)?;
        self.finish(slot, gathered, (&[], None), turn)
    }

    /// As [`make`](BatchMaker::make), with `holes` for some of `all` the rows of `source`, those that `rows` leaves out.
    pub(super) fn make_around(
        &mut self,
        target: (&BatchPool, usize),
        (rows, source): (&[u64], &RowSource<'_>),
        holes: &[usize],
        all: &[u64],
        turn: Turn,
    ) -> Result<(Batch, Audit)> {
        let (mut slot, gathered) = self.fill(target, &RowSource::List(rows), turn)?;
        let plan = self.plan();
        let is_masked = plan.layout.row_mask.is_some();
        if let Some(sources) = source.sources() {
            let has_place = |position: usize| is_masked || holes.binary_search(&position).is_err();
            let sources = sources.enumerate().filter(|&(position, _)| has_place(position));
            plan.layout.write_sources(slot.bytes(), sources.map(|(_, source)| source));
        }
        if !is_masked {
            return self.finish(slot, gathered, (&[], None), turn);
        }
        spread(slot.bytes(), &plan.layout, all.len(), holes, |number| plan.pad(number));
        self.finish(slot, gathered, (holes, Some(all)), turn)
    }

    /// Gathers `rows` into a slot, and makes their outputs.
    pub(super) fn fill(
        &mut self,
        (pool, writer): (&BatchPool, usize),
        rows: &RowSource<'_>,
        turn: Turn,
    ) -> Result<(SlotMut<Arc<BatchPlan>>, Gathered)> {
        let BatchMaker { gatherer, lent, mapper } = self;
        mapper.iter_mut().for_each(|mapper| mapper.clear());
        let mut slot = pool.take(writer, gatherer.plan().layout.fixed_bytes)?;
        let may_lend = gatherer.plan().map_batch.is_none() && pool.memory().may_lend();
        let mut gathered = gatherer.gather(rows, &mut slot, lent, may_lend)?;
        if let Some(mapper) = mapper {
            mapper.map(gatherer.plan(), gatherer.rows(), turn, &mut slot, &mut gathered)?;
        }
        Ok((slot, gathered))
    }

    /// Makes a batch of a slot that was filled, in which some rows are holes: then `all` says which rows they all are.
    pub(super) fn finish(
        &mut self,
        mut slot: SlotMut<Arc<BatchPlan>>,
        gathered: Gathered,
        (holes, all): (&[usize], Option<&[u64]>),
        turn: Turn,
    ) -> Result<(Batch, Audit)> {
        let plan = self.plan();
        if let Some(map) = &plan.map_batch {
            let rows = all.unwrap_or(self.gatherer.rows());
            map(&mut BatchMut { plan, slot: &mut slot, num_rows: rows.len(), rows, holes, turn })?;
        }
        let lent = &mut self.lent;
        let lent = lent.iter().any(Option::is_some).then(|| std::mem::take(lent).into_boxed_slice());
        let batch = Batch {
            slot: slot.freeze(),
            lent,
            num_rows: gathered.num_rows,
            num_holes: holes.len(),
            copied_bytes: gathered.copied_bytes,
            delivered_bytes: gathered.delivered_bytes,
            epoch: turn.epoch,
            step: turn.step,
        };
        Ok((batch, gathered.audit))
    }
}
