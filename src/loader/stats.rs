//! What a loader did, and who is slow.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::Clock;
use super::residency::PageStats;
use crate::batch::Batch;
use crate::map::ProcessUsage;

/// What one thread counts: it alone writes, so a load and a store make an addition. All relaxed: each is a sum that is read
/// alone.
#[derive(Default)]
pub(super) struct Counters {
    batches: AtomicU64,
    rows: AtomicU64,
    copied_bytes: AtomicU64,
    delivered_bytes: AtomicU64,
    waiting_ns: AtomicU64,
    working_ns: AtomicU64,
}

impl Counters {
    pub(super) fn made(&self, batch: &Batch) {
        add(&self.batches, 1);
        add(&self.rows, batch.num_rows() as u64);
        add(&self.copied_bytes, batch.copied_bytes());
        add(&self.delivered_bytes, batch.delivered_bytes());
    }

    pub(super) fn worked(&self, waiting: Duration, working: Duration) {
        add(&self.waiting_ns, waiting.as_nanos() as u64);
        add(&self.working_ns, working.as_nanos() as u64);
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// What a loader did since it was built: [`Loader::stats`](super::Loader::stats).
///
/// Batches that are ready but not received count as made. `Display` is one line, the verdict.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Batches made.
    pub batches_made: u64,
    /// Batches received by the trainer.
    pub batches_received: u64,
    /// Rows in the batches made.
    pub rows: u64,
    /// Rows left out of the batches received, because they could not be read.
    pub skipped_rows: u64,
    /// Bytes of values written into slots.
    pub copied_bytes: u64,
    /// Bytes of values in the batches made, copied or lent.
    pub delivered_bytes: u64,
    /// Since the loader was built.
    pub elapsed: Duration,
    /// From the building of the loader to the first batch received.
    pub first_batch: Option<Duration>,
    /// How long the trainer slept because no batch was ready.
    pub trainer_waiting: Duration,
    /// How long the trainer made batches itself because none was ready.
    pub trainer_helping: Duration,
    /// How long the workers made batches, all of them together.
    pub workers_working: Duration,
    /// How long the workers waited for room, all of them together.
    pub workers_waiting: Duration,
    /// Worker threads.
    pub threads: usize,
    /// Batches ready at this moment.
    pub ready: usize,
    /// Batches that may be ready or in the making at a time.
    pub depth: usize,
    /// Bytes of slots locked by a CUDA driver at this moment.
    pub pinned_bytes: u64,
    /// Bytes of slots in pageable memory because the cap on locked ones was reached.
    pub unpinned_bytes: u64,
    /// Page faults of the whole process served from memory.
    pub minor_faults: u64,
    /// Page faults of the whole process that waited for a disk.
    pub major_faults: u64,
    /// What was read ahead, and how much of the files is in memory.
    pub pages: PageStats,
}

/// What a training job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// The trainer: batches lie ready before it asks.
    Trainer,
    /// The disk: pages of the dataset had to be read.
    Disk,
    /// The processor or the memory: batches are made as fast as they can be.
    Cpu,
    /// The copies to a device: [`DeviceStats::bound`](crate::DeviceStats::bound).
    #[cfg(feature = "cuda")]
    Transfer,
}

impl Stats {
    pub(super) fn new(
        counters: &[CachePadded<Counters>],
        clock: &Clock,
        (batches_received, skipped_rows): (u64, u64),
        threads: usize,
        ring: (usize, usize),
        (pinned_bytes, unpinned_bytes): (u64, u64),
        pages: PageStats,
    ) -> Self {
        let usage = ProcessUsage::of_process();
        let read = |of: fn(&Counters) -> &AtomicU64| {
            counters.iter().map(|c| of(c).load(Ordering::Relaxed)).sum::<u64>()
        };
        Stats {
            batches_made: read(|c| &c.batches),
            batches_received,
            rows: read(|c| &c.rows),
            skipped_rows,
            copied_bytes: read(|c| &c.copied_bytes),
            delivered_bytes: read(|c| &c.delivered_bytes),
            elapsed: clock.built.elapsed(),
            first_batch: clock.first_batch_ns.map(Duration::from_nanos),
            trainer_waiting: Duration::from_nanos(clock.waiting_ns),
            trainer_helping: Duration::from_nanos(clock.helping_ns),
            workers_working: Duration::from_nanos(read(|c| &c.working_ns)),
            workers_waiting: Duration::from_nanos(read(|c| &c.waiting_ns)),
            threads,
            ready: ring.0,
            depth: ring.1,
            pinned_bytes,
            unpinned_bytes,
            minor_faults: usage.minor_faults - clock.usage.minor_faults,
            major_faults: usage.major_faults - clock.usage.major_faults,
            pages,
        }
    }

    /// The share of the time since the first batch in which the trainer had no batch: 0 to 1.
    pub fn starved(&self) -> f64 {
        let without = (self.trainer_waiting + self.trainer_helping)
            .saturating_sub(self.first_batch.unwrap_or_default());
        let total = self.elapsed.saturating_sub(self.first_batch.unwrap_or_default());
        if total.is_zero() { 0.0 } else { (without.as_secs_f64() / total.as_secs_f64()).min(1.0) }
    }

    /// What the job waits for.
    pub fn bound(&self) -> Bound {
        if self.starved() < 0.05 {
            Bound::Trainer
        } else if self.major_faults > self.batches_made {
            // More than one wait for the disk in each batch.
            Bound::Disk
        } else {
            Bound::Cpu
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.bound())
    }
}

impl Stats {
    /// The line that says what the job waits for.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, bound: Bound) -> fmt::Result {
        let verdict = match bound {
            Bound::Trainer => "trainer-bound: batches lie ready before they are asked for",
            Bound::Disk => "disk-bound: pages of the dataset have to be read",
            Bound::Cpu => "CPU-bound: batches are made as fast as memory and cores allow",
            #[cfg(feature = "cuda")]
            Bound::Transfer => {
                "transfer-bound: batches are asked for before their copies to the device are done"
            }
        };
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        write!(
            f,
            "{verdict} (the trainer was without a batch for {:.1} % of the time; {:.0} rows/s, {:.2} GB/s, {} threads, {} of {} batches ready)",
            100.0 * self.starved(),
            self.rows as f64 / seconds,
            self.delivered_bytes as f64 / seconds / 1e9,
            self.threads,
            self.ready,
            self.depth,
        )?;
        if self.unpinned_bytes > 0 {
            write!(f, "; {} bytes of slots could not be locked: see pinned_cap_bytes", self.unpinned_bytes)?;
        }
        Ok(())
    }
}
