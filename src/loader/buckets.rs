//! Batches of rows of about the same length.
//!
//! The positions of an epoch are cut into windows of so many batches. The lengths of a window's rows, and nothing else, say in
//! which order its rows are delivered, so that every worker finds the same; the first that comes to a window finds it for all.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::{DocumentReader, Documents};
use crate::error::Result;
use crate::sampler::{EpochOrder, Steps, bucket_by_length, epoch_key};

/// The windows of a loader.
pub(super) struct Buckets {
    pub(super) documents: Documents,
    /// Positions in a window.
    pub(super) window: u64,
    /// Positions of an epoch that are delivered.
    end: u64,
    global_batch: usize,
    seed: u64,
    /// Windows looked at, the latest last, and how many are kept.
    known: Mutex<VecDeque<Arc<Window>>>,
    keep: usize,
}

/// One window of one epoch.
struct Window {
    epoch: u64,
    number: u64,
    /// The rows in the order they are delivered in, once somebody found it.
    rows: Mutex<Option<Arc<[u64]>>>,
}

impl Buckets {
    /// Windows of `batches` batches of all ranks together; those of `depth` batches are kept.
    pub(super) fn new(
        documents: Documents,
        batches: u64,
        steps: &Steps,
        (seed, depth): (u64, usize),
    ) -> Self {
        let ahead = usize::try_from((depth as u64).div_ceil(batches)).unwrap_or(usize::MAX);
        Buckets {
            documents,
            window: batches.saturating_mul(steps.global_batch()),
            end: steps.dropped().start,
            global_batch: steps.global_batch() as usize,
            seed,
            known: Mutex::new(VecDeque::new()),
            keep: ahead.saturating_add(2),
        }
    }

    /// The first position of the window that `position` lies in.
    pub(super) fn window_start(&self, position: u64) -> u64 {
        position - position % self.window
    }

    /// The position behind the window that `position` lies in.
    pub(super) fn window_end(&self, position: u64) -> u64 {
        self.window_start(position).saturating_add(self.window)
    }

    /// The rows delivered at `positions`, all in one window, of `epoch`, whose order is `order`.
    pub(super) fn rows(
        &self,
        reader: &mut DocumentReader,
        (epoch, order): (u64, &EpochOrder),
        positions: Range<u64>,
    ) -> Result<Vec<u64>> {
        let number = positions.start / self.window;
        let window = self.window(epoch, number);
        let mut rows = lock(&window.rows);
        let rows = match &*rows {
            Some(rows) => rows.clone(),
            None => rows.insert(self.find(reader, epoch, order, number)?).clone(),
        };
        let start = self.window_start(positions.start);
        let in_window = (positions.start - start) as usize..(positions.end - start) as usize;
        Ok(rows[in_window].to_vec())
    }

    fn window(&self, epoch: u64, number: u64) -> Arc<Window> {
        let mut known = lock(&self.known);
        if let Some(window) = known.iter().find(|known| (known.epoch, known.number) == (epoch, number)) {
            return window.clone();
        }
        if known.len() >= self.keep {
            known.pop_front();
        }
        let window = Arc::new(Window { epoch, number, rows: Mutex::new(None) });
        known.push_back(window.clone());
        window
    }

    fn find(
        &self,
        reader: &mut DocumentReader,
        epoch: u64,
        order: &EpochOrder,
        number: u64,
    ) -> Result<Arc<[u64]>> {
        let start = number * self.window;
        let mut rows = vec![0; (self.window.min(self.end - start)) as usize];
        order.fill(start, &mut rows);
        let mut lengths = Vec::with_capacity(rows.len());
        // A bad record is told, or left out, where its batch is made.
        reader.lengths(&rows, true, &mut lengths)?;
        let places = bucket_by_length(&lengths, self.global_batch, epoch_key(self.seed, epoch), number);
        Ok(places.into_iter().map(|place| rows[place as usize]).collect())
    }
}

/// What is in `mutex`, whoever panicked with it: it is only ever whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
