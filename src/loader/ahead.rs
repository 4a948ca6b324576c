//! Reading ahead: the order is known, so the pages of batches to come are asked for before anyone touches them.
//!
//! ```text
//! batches   … handed over │ in the ring, in workers' hands │ claimed │ ahead: asked for, up to a bound │ …
//! pages     let go of  ◀──┘                                             └──▶ WILLNEED, sorted and joined
//! ```
//!
//! Whoever claims a batch looks ahead, before making it, if nobody else does at that moment. Rows of `Shuffle::Block` are
//! asked for as they lie, a group of blocks ahead of where they come mixed; so are the windows that buckets sort, and of packed
//! windows the documents, whose lengths are read for it once more. Pages are let go of when all the batches that
//! needed them were handed over, and only where that is what memory is too small for (*streaming*) and where the epoch has
//! no more use for them: under `Shuffle::Exact` the rows of a page come one by one, at any time, and so the system keeps
//! the pages that it can.
//!
//! In memory that holds everything there is nothing to look ahead for. So some of the pages are looked at before the
//! others are asked for, and as long as they are in memory, more and more batches are left alone; after an epoch in which
//! all pages came once, all are.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::residency::{PageStats, Residency};
use super::worker::Shared;
use crate::batch::{BatchPlan, DocumentReader};
use crate::dataset::{Dataset, RowRuns};
use crate::map::{Pages, Residence, Window, available_bytes, join};
use crate::sampler::{EpochOrder, Partition, Shuffle, Steps};

/// Batches looked ahead at most, however small they are.
const MOST_BATCHES: u64 = 1024;

/// Bytes asked for in one go at most, so that the batch at hand does not wait for those to come.
const STRIDE_BYTES: u64 = 16 << 20;

/// Bytes let go of in one go.
const RELEASE_BYTES: u64 = 4 << 20;

/// Batches left alone at most where those before them were in memory.
const MOST_REST: u64 = 1024;

/// Ranks at most of which each finds the rows of all.
const MOST_RANKS: u64 = 64;

/// Batches whose offsets are asked for in one go, where rows differ in length.
const INDEX_BATCHES: u64 = 16;

/// Looks ahead for all threads of a loader.
pub(super) struct LookAhead {
    residency: Residency,
    file_bytes: u64,
    available_bytes: Option<u64>,
    advised_bytes: AtomicU64,
    released_bytes: AtomicU64,
    /// Whether there is nothing to look ahead for any more.
    over: AtomicBool,
    plan: Plan,
    state: Mutex<State>,
}

/// What does not change.
struct Plan {
    limit_bytes: u64,
    releases: bool,
    /// Bytes that are let go of at a time, at least.
    release_bytes: u64,
    probes: bool,
    /// Whether blocks are read whole, by groups.
    reads_groups: bool,
    /// Batches that the reading of groups is ahead of, beside those looked ahead.
    lead: u64,
    first: u64,
    /// The batch after the last to look ahead to.
    end: Option<u64>,
    depth: u64,
    columns: Vec<(usize, usize)>,
}

struct State {
    /// The next batch to be looked at.
    next: u64,
    /// Batches up to which offsets were asked for.
    index_next: u64,
    has_index: bool,
    /// Batches claimed before this one are left alone, and how many were the last time.
    rest_until: u64,
    rest: u64,
    /// Batches asked for and not claimed yet, and the bytes of each that nobody else had asked for.
    ahead: VecDeque<(u64, u64)>,
    ahead_bytes: u64,
    window: Window,
    pages: Pages,
    epoch: Option<(u64, EpochOrder)>,
    /// Looks at documents that are packed, once there are any.
    reader: Option<DocumentReader>,
    rows: Vec<u64>,
    runs: RowRuns,
    fresh: Vec<Range<u64>>,
    /// Pages to let go of, until they are worth a call.
    left: Vec<Range<u64>>,
}

/// What a loader is built with, as far as looking ahead depends on it.
pub(super) struct Ahead<'a> {
    pub(super) residency: Residency,
    pub(super) limit_bytes: usize,
    pub(super) shuffle: Shuffle,
    pub(super) partition: Partition,
    pub(super) steps: &'a Steps,
    pub(super) order: &'a EpochOrder,
    /// Positions whose rows are sorted by their lengths together; 0 where none are.
    pub(super) window: u64,
    /// Whether batches are of packed windows; the order and the plan are those of the documents.
    pub(super) is_packed: bool,
    pub(super) batches: Range<u64>,
    /// Batches that may be ready or in the making.
    pub(super) depth: u64,
}

impl LookAhead {
    pub(super) fn new(plan: &BatchPlan, ahead: &Ahead<'_>) -> Self {
        let file_bytes = plan.dataset.mapped_bytes();
        let available_bytes = available_bytes();
        let residency = ahead.residency.decide(file_bytes, available_bytes);
        let streams = residency == Residency::Streaming;
        let window = ahead.window.min(ahead.order.len());
        let mixed_rows = if ahead.is_packed { 0 } else { ahead.order.mixed_rows().saturating_add(window) };
        // Rows that lie together come together: else the page of one may be that of another much later.
        let lies = plan.dataset.tables().iter().all(|table| table.rows.is_ascending());
        // Of files of which the dataset has a part in their order, `file_bytes` is that of the part.
        let tables = plan.dataset.tables().iter();
        let file_rows = tables.map(|table| table.shards.iter().map(|shard| shard.num_rows).sum()).max();
        let num_rows = if lies { plan.dataset.len() } else { file_rows.unwrap_or(0) };
        let row_bytes = file_bytes.div_ceil(num_rows.max(1));
        // A rank needs its share of each block: where rows are long, most pages are for others; where a page has a row for each
        // rank, it needs most pages, and reads them as they lie.
        let (pages, world) = (Pages::new(), u64::from(ahead.partition.world()));
        let is_shared = world <= MOST_RANKS && row_bytes.saturating_mul(world) <= pages.page_bytes();
        let reads_groups = mixed_rows > 0 && (world == 1 || is_shared);
        // Which rows of a window that is sorted come in a batch is not known ahead: it is read whole, or not at all.
        let mixed_bytes = row_bytes.saturating_mul(mixed_rows);
        let is_too_far = ahead.window > 0
            && (!reads_groups || available_bytes.is_some_and(|available| mixed_bytes > available / 4));
        // Batches of row numbers read no column.
        let nothing_to_read =
            ahead.limit_bytes == 0 || file_bytes == 0 || is_too_far || plan.columns_read().next().is_none();
        let comes_as_it_lies = match ahead.shuffle {
            Shuffle::None => ahead.order.is_single(),
            Shuffle::Block { .. } => ahead.order.is_single() && !ahead.is_packed,
            Shuffle::Exact => false,
        };
        // An epoch of a mixture may be a part of the rows, or the same rows again.
        let end = if streams || !ahead.order.is_single() {
            ahead.batches.end
        } else {
            ahead.batches.start.saturating_add(ahead.steps.len())
        };
        LookAhead {
            residency,
            file_bytes,
            available_bytes,
            advised_bytes: AtomicU64::new(0),
            released_bytes: AtomicU64::new(0),
            over: AtomicBool::new(nothing_to_read || ahead.steps.is_empty()),
            plan: Plan {
                limit_bytes: ahead.limit_bytes as u64,
                releases: streams && comes_as_it_lies && lies,
                release_bytes: RELEASE_BYTES.min(ahead.limit_bytes as u64 / 4),
                // Who says that nothing stays need not be asked whether it did.
                probes: ahead.residency != Residency::Streaming,
                reads_groups,
                lead: if reads_groups { mixed_rows.div_ceil(ahead.steps.global_batch()) } else { 0 },
                first: ahead.batches.start,
                end: Some(end.min(ahead.batches.end)).filter(|&end| end < u64::MAX),
                depth: ahead.depth,
                columns: plan.columns_read().map(|column| (column.table, column.index)).collect(),
            },
            state: Mutex::new(State {
                next: ahead.batches.start,
                index_next: ahead.batches.start,
                // That of packed documents is read to find them.
                has_index: !ahead.is_packed,
                rest_until: 0,
                rest: 0,
                ahead: VecDeque::new(),
                ahead_bytes: 0,
                window: Window::default(),
                pages,
                epoch: None,
                reader: None,
                rows: Vec::new(),
                runs: RowRuns::default(),
                fresh: Vec::new(),
                left: Vec::new(),
            }),
        }
    }

    /// Called by whoever claimed batch `claimed`, counted over all epochs, before it is made.
    #[inline]
    pub(super) fn reach(&self, shared: &Shared, claimed: u64) {
        // Relaxed, here and below: the flag and the sums are read alone.
        if !self.over.load(Ordering::Relaxed) {
            self.look(shared, claimed);
        }
    }

    #[cold]
    fn look(&self, shared: &Shared, claimed: u64) {
        // Somebody else looks already, or panicked while he did: advice that is lost.
        let Ok(mut state) = self.state.try_lock() else { return };
        let (plan, state) = (&self.plan, &mut *state);
        self.release(plan, state, claimed);
        if plan.end.is_some_and(|end| claimed >= end && !plan.releases) {
            self.over.store(true, Ordering::Relaxed);
            return;
        }
        if claimed < state.rest_until {
            return;
        }
        let due = claimed + plan.lead;
        while let Some(&(batch, bytes)) = state.ahead.front().filter(|(batch, _)| *batch <= due) {
            debug_assert!(batch <= due);
            state.ahead_bytes -= bytes;
            state.ahead.pop_front();
        }
        state.next = state.next.max(claimed);
        // Further each time, up to the bound: the first batch comes at once.
        let most_batches = (2 * (claimed - plan.first)).min(MOST_BATCHES);
        // Few long strides rather than many short ones.
        let is_far = state.next.saturating_sub(due) > most_batches / 4 * 3;
        if state.next > due && (is_far || state.ahead_bytes > plan.limit_bytes / 4 * 3) {
            return;
        }
        let most = due.saturating_add(most_batches).min(plan.end.map_or(u64::MAX, |end| end - 1));
        // Where documents lie in the next epoch takes an index, which is made when it comes.
        let most = match &shared.packing {
            Some(_) => most.min(claimed - shared.steps.locate(claimed).1 + shared.steps.len() - 1),
            None => most,
        };
        // After a rest a single one tells whether pages are in memory still.
        let most = if state.rest > 0 { most.min(state.next) } else { most };
        if state.has_index {
            state.ask_for_indexes(shared, plan, most);
        }
        let advised = state.ask(shared, plan, due, most);
        self.advised_bytes.fetch_add(advised, Ordering::Relaxed);
    }

    /// Lets go of what only batches needed that were handed over when `claimed` could be claimed.
    fn release(&self, plan: &Plan, state: &mut State, claimed: u64) {
        let Some(done) = claimed.checked_sub(plan.depth).filter(|&done| done >= plan.first) else { return };
        let State { window, left, .. } = &mut *state;
        window.done(done, left);
        if !plan.releases {
            left.clear();
            return;
        }
        let bytes = state.bytes(&state.left);
        if bytes >= plan.release_bytes {
            join(&mut state.left);
            state.pages.evict(&state.left);
            state.left.clear();
            self.released_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn stats(&self, dataset: &Dataset) -> PageStats {
        PageStats {
            residency: self.residency,
            file_bytes: self.file_bytes,
            available_bytes: self.available_bytes,
            advised_bytes: self.advised_bytes.load(Ordering::Relaxed),
            released_bytes: self.released_bytes.load(Ordering::Relaxed),
            residence: Residence::of(&dataset.regions()),
        }
    }
}

impl State {
    /// Asks for the pages of batches from the next on: those up to `due` in any case, those up to `most` while the bound
    /// allows it. Returns how many bytes were asked for.
    fn ask(&mut self, shared: &Shared, plan: &Plan, due: u64, most: u64) -> u64 {
        self.fresh.clear();
        let (begin, mut bytes) = (self.next, 0);
        let most = if self.has_index { most.min(self.index_next.saturating_sub(1)) } else { most };
        while self.next <= most
            && bytes < STRIDE_BYTES
            && (self.next <= due || self.ahead_bytes < plan.limit_bytes)
        {
            let until = self.rows_of(shared, plan, self.next);
            let (before, State { runs, pages, window, fresh, .. }) = (self.fresh.len(), &mut *self);
            runs.places(&shared.plan.dataset, &plan.columns, &mut |region, range| {
                if let Some(run) = pages.number(region, range) {
                    window.want(run, until, fresh);
                }
            });
            let more = self.bytes(&self.fresh[before..]);
            if self.next > due {
                self.ahead.push_back((self.next, more));
                self.ahead_bytes += more;
            }
            bytes += more;
            self.next += 1;
        }
        if self.fresh.is_empty() {
            return 0;
        }
        join(&mut self.fresh);
        if plan.probes && self.pages.seem_resident(&self.fresh) {
            if !plan.releases {
                self.rest = (2 * self.rest).clamp(self.next - begin, MOST_REST);
                self.rest_until = self.next + self.rest;
            }
            return 0;
        }
        self.rest = 0;
        self.pages.will_need(&self.fresh);
        bytes
    }

    /// Asks for the pages that say where rows of the batches up to `most` lie, some batches at a time.
    fn ask_for_indexes(&mut self, shared: &Shared, plan: &Plan, most: u64) {
        self.index_next = self.index_next.max(self.next);
        if self.index_next > most || self.index_next > self.next + INDEX_BATCHES {
            return;
        }
        self.fresh.clear();
        let mut found = false;
        for batch in self.index_next..=most.min(self.index_next + INDEX_BATCHES) {
            let until = self.rows_of(shared, plan, batch);
            let State { runs, pages, window, fresh, .. } = &mut *self;
            runs.index_places(&shared.plan.dataset, &plan.columns, &mut |region, range| {
                found = true;
                if let Some(run) = pages.number(region, range) {
                    window.want(run, until, fresh);
                }
            });
            self.index_next = batch + 1;
        }
        self.has_index = found;
        join(&mut self.fresh);
        self.pages.will_need(&self.fresh);
    }

    /// Finds the rows to be read for batch `batch`; returns the last batch that needs them.
    fn rows_of(&mut self, shared: &Shared, plan: &Plan, batch: u64) -> u64 {
        let (epoch, step) = shared.steps.locate(batch);
        if let Some(packing) = &shared.packing {
            let reader = self.reader.get_or_insert_with(|| DocumentReader::new(&packing.documents));
            let windows = packing.windows(reader, epoch, shared.steps.positions(step));
            // What cannot be read is told where its batch is made.
            self.rows = windows.map_or_else(|_| Vec::new(), |windows| windows.rows);
            self.runs.find(&shared.plan.dataset, &self.rows);
            return batch;
        }
        let order = match &self.epoch {
            Some((known, order)) if *known == epoch => order.clone(),
            _ => self.epoch.insert((epoch, shared.order.epoch(epoch))).1.clone(),
        };
        // Of a group that is read whole a rank reads the rows of all ranks.
        let mut positions =
            if plan.reads_groups { shared.steps.of_all_ranks(step) } else { shared.steps.positions(step) };
        let last_step = shared.steps.len() - 1;
        if plan.reads_groups && step == last_step {
            // Rows that a `Drop` leaves out stand where others of their group come.
            positions.end = order.len();
        }
        self.rows.resize((positions.end - positions.start) as usize, 0);
        if plan.reads_groups {
            order.fill_unmixed(positions.start, &mut self.rows);
        } else {
            order.fill(positions.start, &mut self.rows);
        }
        self.runs.find(&shared.plan.dataset, &self.rows);
        let Some(last) = positions.end.checked_sub(1).filter(|_| !positions.is_empty()) else { return batch };
        let until = if plan.releases { order.mixed_until(last) - 1 } else { last };
        let until = shared.buckets.as_ref().map_or(until, |buckets| buckets.window_end(until) - 1);
        batch - step + (until / shared.steps.global_batch()).clamp(step, last_step)
    }

    fn bytes(&self, runs: &[Range<u64>]) -> u64 {
        runs.iter().map(|run| run.end - run.start).sum::<u64>() * self.pages.page_bytes()
    }
}
