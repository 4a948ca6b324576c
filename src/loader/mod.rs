//! The loader: threads that make batches ahead of the trainer, and hand them over in order.
//!
//! ```text
//! workers          claim a ticket (a batch number) ──▶ rows of that batch ──▶ gather into a slot ──▶ fill
//! ordered ring     ticket mod depth: whoever finishes first, batches are handed over in order
//! trainer          next(): checks the files once for all batches that are ready, then hands them over;
//!                  if none is ready it claims a ticket itself instead of sleeping
//! ```
//!
//! Which rows a batch has depends on its number, the dataset, the seed and the options, never on the number of
//! threads or on timing. Everything that can go wrong in a worker, a panic of the user's own closure included,
//! arrives as an `Err` in the place of its batch; the batches after it are whole.
#![forbid(unsafe_code)]

mod ahead;
mod buckets;
mod builder;
#[cfg(feature = "cuda")]
mod device;
mod ledger;
mod packing;
mod record_input;
mod residency;
mod state;
mod stats;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use builder::LoaderBuilder;
#[cfg(feature = "cuda")]
pub use device::{DeviceBatch, DeviceLoader, DeviceOffsets, DeviceRagged, DeviceStats, DeviceTensor};
pub use record_input::{RecordInput, RecordInputBuilder};
pub use residency::{PageStats, Residency};
pub use state::LoaderState;
pub use stats::{Bound, Stats};

use crate::batch::{BadRecord, Batch};
use crate::dataset::{Dataset, Mixture};
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Birthplace, ProcessUsage};
use crate::queue::{Claim, Consumer, Pop};
use crate::sampler::{Audit, Shuffle};
use ledger::Ledger;
use state::Progress;
use worker::{Made, Shared, Worker};

/// An iterator over the batches of a dataset, made ahead by threads of its own.
///
/// ```
/// use forebay::{Dataset, Loader, Shuffle, col};
///
/// # fn main() -> forebay::Result<()> {
/// let images = Dataset::from_tensor("image", &[2, 2], (0..=255u8).collect())?;
/// let mut loader = Loader::builder(&images)
///     .columns([col("image").cast::<f32>().scale(1.0 / 255.0)])
///     .batch_size(16)
///     .shuffle(Shuffle::Exact)
///     .seed(42)
///     .epochs(3)
///     .build()?;
/// let mut steps = 0;
/// for batch in &mut loader {
///     let batch = batch?;
///     let image = batch.tensor::<f32>("image")?;
///     assert_eq!(image.shape(), [16, 2, 2]);
///     steps += 1;
/// }
/// assert_eq!(steps, 3 * 4);
/// # Ok(())
/// # }
/// ```
pub struct Loader {
    shared: Arc<Shared>,
    consumer: Consumer<Result<Made>>,
    threads: Vec<JoinHandle<()>>,
    /// The consumer's own hands, for batches that are not ready.
    worker: Worker,
    /// How many batches at the head of the ring were gathered before the last look at the files.
    checked: usize,
    /// The epoch of the last batch received, and what was delivered of it.
    epoch: u64,
    progress: Progress,
    received: u64,
    ledger: Ledger,
    /// What an audit found, for the next call.
    pending: Option<Error>,
    birthplace: Birthplace,
    clock: Clock,
}

/// A place in the sequence of batches, as a loader counts: how many were received, and the books of the last one's epoch.
#[derive(Clone, Copy)]
struct Mark {
    received: u64,
    epoch: u64,
    progress: Progress,
    /// How many bad records were left out of them.
    bad_records: usize,
}

/// How long the trainer makes batches before it takes one.
const HELP_AT_ONCE: Duration = Duration::from_micros(30);

/// What the trainer's side measures.
struct Clock {
    built: Instant,
    usage: ProcessUsage,
    first_batch_ns: Option<u64>,
    waiting_ns: u64,
    helping_ns: u64,
}

impl Loader {
    /// A loader over `dataset`, to be configured and built.
    pub fn builder(dataset: &Dataset) -> LoaderBuilder {
        LoaderBuilder::new(dataset, None)
    }

    /// A loader over datasets that take turns, to be configured and built: see [`Mixture`].
    pub fn mixture(mixture: &Mixture) -> LoaderBuilder {
        LoaderBuilder::new(mixture.dataset(), Some(mixture))
    }

    /// Batches in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.shared.steps.len()
    }

    /// Where the trainer is: after the last batch it received. See [`LoaderBuilder::resume`].
    pub fn state(&self) -> LoaderState {
        self.state_at(self.mark())
    }

    /// The audit of the epoch the last batch belonged to: its number, what was delivered of it so far, and what the
    /// whole epoch must give.
    ///
    /// The loader compares the two itself at the end of every epoch in which no batch failed, and returns an `Err` of
    /// kind `Internal` if they differ. One rank of several has delivered its share: it compares their numbers alone, and
    /// what all ranks delivered, [merged](Audit::merge), is what the whole epoch must give. After a resume the audit goes on from
    /// a state of this rank, and begins anew from a state of another, or of another number of ranks; what was delivered before is
    /// in their states ([`LoaderState::audit`]). Of a mixture, whose epochs cut passes
    /// through a component in two, up to half of the rows of such passes are gone through to know that.
    pub fn audit(&self) -> (u64, Audit, Audit) {
        self.audit_at(self.mark())
    }

    /// The bad records that were left out of the batches received so far ([`OnBadRecord::Skip`](crate::OnBadRecord::Skip)), each
    /// once, in the order they came; before a resume, too, where it was from a state of this rank.
    pub fn bad_records(&self) -> &[BadRecord] {
        self.ledger.records()
    }

    /// What the loader did so far, and who is slow.
    pub fn stats(&self) -> Stats {
        let ring = (self.consumer.ready(), self.consumer.capacity());
        let pinned = self.shared.pool.memory().pinned_bytes();
        let counts = (self.received_here(), self.ledger.skipped());
        let pages = self.shared.ahead.stats(&self.shared.plan.dataset);
        Stats::new(&self.shared.counters, &self.clock, counts, self.threads.len(), ring, pinned, pages)
    }

    fn mark(&self) -> Mark {
        Mark {
            received: self.received,
            epoch: self.epoch,
            progress: self.progress,
            bad_records: self.ledger.records().len(),
        }
    }

    fn state_at(&self, mark: Mark) -> LoaderState {
        let bad_records = &self.ledger.records()[..mark.bad_records];
        self.shared.state(mark.received, (mark.epoch, mark.progress), bad_records)
    }

    fn audit_at(&self, mark: Mark) -> (u64, Audit, Audit) {
        (mark.epoch, mark.progress.delivered, self.shared.expected(mark.epoch))
    }

    /// Whether the next item comes without waiting; without workers it always has to be made.
    #[cfg(feature = "cuda")]
    fn has_ready(&self) -> bool {
        self.pending.is_some() || self.checked > 0 || self.consumer.ready() > 0 || self.threads.is_empty()
    }

    fn received_here(&self) -> u64 {
        self.received - self.shared.first_batch
    }

    /// The next item of the ring: waits for it, and works on it rather than sleep.
    fn take(&mut self) -> Option<Result<Made>> {
        if self.shared.num_batches == Some(self.received) {
            return None;
        }
        while self.checked == 0 {
            self.checked = self.consumer.ready();
            if self.checked == 0 {
                let begun = Instant::now();
                // The first batch does not wait for what comes later.
                if self.help(begun)
                    || self.received_here() > 0 && self.worker.decode_ahead(&self.shared, self.received)
                {
                    self.clock.helping_ns += begun.elapsed().as_nanos() as u64;
                } else {
                    self.consumer.wait_ready();
                    self.clock.waiting_ns += begun.elapsed().as_nanos() as u64;
                }
            } else if let Err(error) = self.shared.check_files() {
                // Every batch counted as ready was gathered before this look at the files, so whatever a file that was
                // cut short left in them is seen here. Such a batch is not believed; nor is an error in its place,
                // which may be about zeros the file never held.
                self.checked = 0;
                self.consumer.try_pop();
                return Some(Err(error));
            }
        }
        if self.clock.first_batch_ns.is_none() {
            self.clock.first_batch_ns = Some(self.clock.built.elapsed().as_nanos() as u64);
        }
        self.checked -= 1;
        match self.consumer.try_pop() {
            Pop::Item(made) => Some(made),
            Pop::Abandoned => Some(Err(Error::new(ErrorKind::Panic, "a worker gave up on this batch"))),
            Pop::Pending | Pop::Done => unreachable!("it was counted as ready"),
        }
    }

    /// Makes a batch, and more while they are made in no time: the look at the files before they are handed over costs as
    /// much for one as for many. Says whether there was one to make.
    fn help(&mut self, begun: Instant) -> bool {
        let mut helped = false;
        while let Claim::Ticket(ticket) = self.consumer.producer().try_claim() {
            let made = self.worker.make(&self.shared, ticket.position());
            ticket.fill(made);
            helped = true;
            if begun.elapsed() > HELP_AT_ONCE {
                break;
            }
        }
        helped
    }

    /// Counts a batch as received, and closes its epoch's books if it is the last.
    fn account(&mut self, made: &Result<Made>) {
        let (epoch, step) = self.shared.steps.locate(self.received);
        if epoch != self.epoch {
            (self.epoch, self.progress) = (epoch, Progress::default());
        }
        self.received += 1;
        // Rows in order that no later epoch asks for: what was decoded of those up to the end of this batch is done with,
        // and its memory may serve for what comes next.
        let is_last_epoch =
            self.shared.num_batches.is_some_and(|all| all - self.received < self.shared.steps.len());
        let options = &self.shared.options;
        let in_order =
            options.shuffle == Shuffle::None && options.mixture.is_none() && self.shared.packing.is_none();
        if is_last_epoch && in_order {
            let end = self.shared.steps.positions(step).end;
            let end = self.shared.buckets.as_ref().map_or(end, |buckets| buckets.window_start(end));
            self.shared.plan.dataset.forget_before(end);
        }
        match made {
            Ok(made) => self.progress.delivered.merge(made.audit),
            Err(_) => self.progress.failed = true,
        }
        if step + 1 == self.shared.steps.len() && !self.progress.failed {
            self.pending = self.shared.check(epoch, self.progress).err();
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.birthplace.left() {
            return Some(Err(Error::new(
                ErrorKind::Forked,
                "the loader was built before this process was forked, and its threads stayed behind: build it here",
            )));
        }
        if let Some(error) = self.pending.take() {
            return Some(Err(error));
        }
        let made = self.take()?.and_then(|mut made| {
            self.ledger.add(std::mem::take(&mut made.bad))?;
            Ok(made)
        });
        self.account(&made);
        Some(made.map(|made| made.batch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left =
            self.shared.num_batches.map(|all| usize::try_from(all - self.received).unwrap_or(usize::MAX));
        (left.unwrap_or(usize::MAX), left)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.consumer.close();
        for thread in self.threads.drain(..) {
            // In a forked child there is no thread to join: the handle alone is dropped.
            if !self.birthplace.left() {
                // A worker catches every panic; if one escaped, it was printed where it happened.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("dataset", &self.shared.plan.dataset)
            .field("received", &self.received)
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}
