//! Options of a loader, checked when it is built.
#![forbid(unsafe_code)]

mod contents;

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam::utils::CachePadded;

use super::ahead::{Ahead, LookAhead};
use super::ledger::Ledger;
use super::packing::Packing;
use super::residency::Residency;
use super::state::{LoaderState, Options, Start};
use super::stats::Counters;
use super::worker::{Shared, Worker};
use super::{Clock, Loader};
use crate::batch::{AskedRows, BatchPlan, Col, MapBatch, OnBadRecord, check_decode_budget};
use crate::dataset::{Dataset, Mixture};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Beside;
#[cfg(feature = "cuda")]
use crate::map::Preload;
use crate::map::{Birthplace, ProcessUsage};
use crate::queue::ordered_ring;
use crate::sampler::{Order, Partition, Remainder, Shuffle, Steps};
use crate::staging::{SlotMemory, SlotPool, Staging};

/// Batches a loader keeps ready at least, where the depth is left to it: with few, small ones are handed over one at a time,
/// and threads wait for each other.
const DEPTH_BATCHES: usize = 16;

/// Bytes of batches a loader keeps ready at most, where the depth is left to it.
const DEPTH_BYTES: usize = 256 << 20;

/// Bytes of pages asked for ahead of the batches being made, where that is left to it.
const LOOK_AHEAD_BYTES: usize = 64 << 20;

/// Batches sent to a device ahead of the trainer: one that is being copied while another waits.
#[cfg(feature = "cuda")]
const DEVICE_DEPTH_BATCHES: usize = 2;

/// Options of a [`Loader`].
#[must_use]
#[derive(Clone)]
pub struct LoaderBuilder {
    pub(super) dataset: Dataset,
    pub(super) mixture: Option<Mixture>,
    pub(super) columns: Vec<Col>,
    pub(super) batch_size: usize,
    pub(super) shuffle: Shuffle,
    pub(super) seed: u64,
    pub(super) epochs: Option<u64>,
    pub(super) remainder: Remainder,
    pub(super) partition: Partition,
    pub(super) threads: Option<usize>,
    pub(super) depth: Option<usize>,
    pub(super) residency: Residency,
    pub(super) look_ahead_bytes: usize,
    pub(super) staging: Staging,
    #[cfg(feature = "cuda")]
    pub(super) device_depth: usize,
    #[cfg(feature = "cuda")]
    pub(super) preload: Preload,
    #[cfg(feature = "cuda")]
    pub(super) cast_on_device: bool,
    pub(super) pinned_cap_bytes: Option<usize>,
    pub(super) map_rows: Option<AskedRows>,
    pub(super) map_batch: Option<MapBatch>,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) buckets: Option<(Col, u64)>,
    pub(super) pack: Option<(Col, usize)>,
    pub(super) resume: Option<LoaderState>,
}

impl LoaderBuilder {
    pub(super) fn new(dataset: &Dataset, mixture: Option<&Mixture>) -> Self {
        LoaderBuilder {
            dataset: dataset.clone(),
            mixture: mixture.cloned(),
            columns: Vec::new(),
            batch_size: 1,
            shuffle: Shuffle::None,
            seed: 0,
            epochs: Some(1),
            remainder: Remainder::default(),
            partition: Partition::default(),
            threads: None,
            depth: None,
            residency: Residency::default(),
            look_ahead_bytes: LOOK_AHEAD_BYTES,
            staging: Staging::default(),
            #[cfg(feature = "cuda")]
            device_depth: DEVICE_DEPTH_BATCHES,
            #[cfg(feature = "cuda")]
            preload: Preload::No,
            #[cfg(feature = "cuda")]
            cast_on_device: false,
            pinned_cap_bytes: None,
            map_rows: None,
            map_batch: None,
            on_bad_record: OnBadRecord::default(),
            buckets: None,
            pack: None,
            resume: None,
        }
    }

    /// The columns of each batch, in this order. Default: all, as they are, but the inputs of [`map_rows`](Self::map_rows).
    pub fn columns<C: Into<Col>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Rows in a batch. Default: 1.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// The order of rows. Default: as they come.
    pub fn shuffle(mut self, shuffle: Shuffle) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// What a shuffled order depends on, beside the epoch. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many times to go through the dataset, counted from the beginning also after a resume. Default: 1.
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// Goes through the dataset without end.
    pub fn repeat(mut self) -> Self {
        self.epochs = None;
        self
    }

    /// What becomes of the rows that do not fill a batch. Default: [`Remainder::Keep`], a smaller last batch.
    pub fn remainder(mut self, remainder: Remainder) -> Self {
        self.remainder = remainder;
        self
    }

    /// Which of several processes that train together this one is. Default: the only one.
    ///
    /// [`batch_size`](Self::batch_size) is this process's; a step takes so many rows for each of them. Every process makes
    /// as many steps, whatever becomes of the remainder, and no row is delivered by two. In a last step that is not full the
    /// processes share its rows evenly: under [`Remainder::Keep`] a batch may then have fewer rows than others, or none.
    ///
    /// ```
    /// use forebay::{Dataset, Loader, Partition, Shuffle};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let numbers = Dataset::from_tensor("x", &[], (0..100i64).collect())?;
    /// let loader = Loader::builder(&numbers)
    ///     .batch_size(16)
    ///     .shuffle(Shuffle::Exact)
    ///     .partition(Partition::from_env()?) // RANK and WORLD_SIZE, or what Slurm or MPI say
    ///     .build()?;
    /// # drop(loader);
    /// # Ok(())
    /// # }
    /// ```
    pub fn partition(mut self, partition: Partition) -> Self {
        self.partition = partition;
        self
    }

    /// Threads that make batches, beside the trainer's own, which helps when it would have to wait. Default: one for
    /// each core but one, at least one. With 0 the trainer makes every batch itself.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How many batches may be ready or in the making at a time. Default: 16, more where there are many threads, fewer
    /// where they would take more than 256 MiB.
    pub fn depth(mut self, batches: usize) -> Self {
        self.depth = Some(batches);
        self
    }

    /// Whether the files fit into memory, or pass through it. Default: [`Residency::Auto`], which compares their size with
    /// the memory there is; what it decided is in [`PageStats`](crate::PageStats). The batches are the same in any case.
    ///
    /// ```
    /// use forebay::{Dataset, Loader, Residency, Shuffle};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("lines.txt");
    /// std::fs::write(&path, "a\nb\nc\n").unwrap();
    /// let mut loader = Loader::builder(&Dataset::open(&path)?)
    ///     .shuffle(Shuffle::Block { rows: 4096, blocks: 16 })
    ///     .residency(Residency::Streaming) // larger than memory: read ahead, let go of what is behind
    ///     .look_ahead_bytes(256 << 20)
    ///     .build()?;
    /// assert_eq!(loader.by_ref().count(), 3);
    /// println!("{}", loader.stats().pages); // what was read ahead, and how much is in memory
    /// # Ok(())
    /// # }
    /// ```
    pub fn residency(mut self, residency: Residency) -> Self {
        self.residency = residency;
        self
    }

    /// Bytes of pages that are read ahead of the batches being made; a group of blocks
    /// ([`Shuffle::Block`]) or a window of [buckets](Self::bucket_by_length) more where rows come mixed. With 0 a page is read when
    /// it is touched, and none is let go of; so it is where a window of buckets would take more than a quarter of the memory, and
    /// on ranks that need few of the rows of one. Default: 64 MiB.
    pub fn look_ahead_bytes(mut self, bytes: usize) -> Self {
        self.look_ahead_bytes = bytes;
        self
    }

    /// Where batches are staged. Default: [`Staging::Heap`].
    pub fn staging(mut self, staging: Staging) -> Self {
        self.staging = staging;
        self
    }

    /// The most bytes of this loader's slots that a CUDA driver is asked to lock ([`Staging::Cuda`]). Slots beyond it lie in pageable
    /// memory, which a device is slower to fetch from; [`Stats::unpinned_bytes`](crate::Stats::unpinned_bytes) counts them.
    /// Default: a quarter of the machine's memory, for all loaders of the process that are not told otherwise together.
    #[cfg(feature = "cuda")]
    pub fn pinned_cap_bytes(mut self, bytes: usize) -> Self {
        self.pinned_cap_bytes = Some(bytes);
        self
    }

    /// How many batches are sent to the device ahead of the trainer
    /// ([`build_on_device`](LoaderBuilder::build_on_device)). Default: 2.
    #[cfg(feature = "cuda")]
    pub fn device_depth(mut self, batches: usize) -> Self {
        self.device_depth = batches;
        self
    }

    /// What is brought into memory before the first batch. [`Preload::Device`] is for
    /// [`build_on_device`](LoaderBuilder::build_on_device): all rows of the loader's columns are copied into the memory of the
    /// device, once, in the types they have in the dataset, and every batch is gathered there, and cast, from the numbers of its
    /// rows; batches of rows that follow one another are not copied at all where they begin at a multiple of 64 bytes: what is
    /// written to such a batch is written to the columns, for all epochs to come, so that batches are to be read alone. The
    /// others are as [`Dataset::preload`] does them. Default: [`Preload::No`].
    ///
    /// Columns have to be tensors without nulls, or with a [`fill`](Col::fill), and to fit into what is free of the device's
    /// memory. Every rank of several keeps all rows.
    ///
    /// ```no_run
    /// # fn main() -> forebay::Result<()> {
    /// use forebay::{Dataset, Loader, Preload, Shuffle, col};
    ///
    /// let loader = Loader::builder(&Dataset::open("mnist")?)
    ///     .columns([col("image").cast::<f32>().scale(1.0 / 255.0), col("label")])
    ///     .batch_size(256)
    ///     .shuffle(Shuffle::Exact)
    ///     .preload(Preload::Device) // 47 MB of u8; the batches are f32
    ///     .build_on_device(0)?;
    /// # drop(loader);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "cuda")]
    pub fn preload(mut self, how: Preload) -> Self {
        self.preload = how;
        self
    }

    /// Whether [`cast`](Col::cast), [`scale`](Col::scale), [`normalize`](Col::normalize) and [`fill`](Col::fill) of columns that
    /// are cast or computed with are left to the device ([`build_on_device`](LoaderBuilder::build_on_device)): elements travel
    /// in the type they have in the dataset, an image of `u8` in a quarter of the bytes that its `f32` takes. The values are those
    /// that the host makes, bit by bit, but for which NaN a NaN is, and an `f64` that becomes an `f16`, which is rounded to an
    /// `f32` first. Padded columns ([`Col::pad`]) are cast on the host nevertheless. Options of batches that the host makes, such
    /// as [`map_rows`](Self::map_rows) and [`pack`](Self::pack), are refused beside it. Default: no.
    ///
    /// ```no_run
    /// # fn main() -> forebay::Result<()> {
    /// use forebay::{Dataset, Loader, col};
    ///
    /// let loader = Loader::builder(&Dataset::open("mnist")?)
    ///     .columns([col("image").cast::<f32>().scale(1.0 / 255.0), col("label")])
    ///     .batch_size(256)
    ///     .cast_on_device(true)
    ///     .build_on_device(0)?;
    /// # drop(loader);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "cuda")]
    pub fn cast_on_device(mut self, yes: bool) -> Self {
        self.cast_on_device = yes;
        self
    }

    /// Goes on where `state` was taken, with any number of threads and any depth.
    pub fn resume(mut self, state: &LoaderState) -> Self {
        self.resume = Some(state.clone());
        self
    }

    /// Starts the loader's threads.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with the value, for options that cannot be honoured; `Unsupported` for a column no tensor can
    /// hold; `Mismatch`, with the difference, for a state of another dataset or other options; `TooLarge` for an exact
    /// shuffle of chunks that must be decoded and do not fit their budget; `Device` if the driver of a GPU fails.
    pub fn build(self) -> Result<Loader> {
        #[cfg(feature = "cuda")]
        self.check_host()?;
        self.start(None)
    }

    /// What lies beside the columns of a batch.
    pub(super) fn beside(&self) -> Beside {
        Beside { row_mask: self.remainder == Remainder::Pad, sources: self.mixture.is_some() }
    }

    /// Starts the loader's threads, which make batches of `plan`, or else of what was asked for.
    pub(super) fn start(self, plan: Option<Arc<BatchPlan>>) -> Result<Loader> {
        self.shuffle.check()?;
        let order = match &self.mixture {
            None => Order::new(self.dataset.len(), self.shuffle, self.seed),
            Some(mixture) => mixture.order(self.shuffle, self.seed),
        };
        let epoch_len = self.mixture.as_ref().map_or(self.dataset.len(), Mixture::rows_per_epoch);
        let steps_of = |num_rows| {
            Steps::new(num_rows, self.batch_size as u64, self.remainder)?.partition(self.partition)
        };
        if self.depth == Some(0) {
            return Err(Error::invalid("depth must be at least 1 batch, found 0"));
        }
        if self.epochs == Some(0) {
            return Err(Error::invalid(
                "epochs must be at least 1, found 0: for a loader without end use repeat()",
            ));
        }
        let options = Options {
            mixture: self.mixture.as_ref().map(Mixture::to_string),
            seed: self.seed,
            shuffle: self.shuffle,
            global_batch: steps_of(epoch_len)?.global_batch(),
            remainder: self.remainder,
            partition: self.partition,
            grouping: self.grouping(),
        };
        let identity = Arc::new(self.dataset.identity());
        // Before anything is read.
        let start = self.resume.as_ref().map(|state| state.check(&identity, &options)).transpose()?;
        let Start { epoch, step, progress, bad_records } = start.unwrap_or_default();
        let packing = self.packing(&order, epoch)?;
        let num_rows = packing.as_ref().map_or(epoch_len, Packing::num_windows);
        let steps = steps_of(num_rows)?;
        let plan = match plan {
            Some(plan) => plan,
            None => Arc::new(self.plan(packing.as_ref())?),
        };
        if self.shuffle == Shuffle::Exact {
            check_decode_budget(packing.as_ref().map_or(&plan, |packing| packing.documents.plan()))?;
        }
        self.dataset.advise(self.shuffle == Shuffle::None);
        let (first_batch, num_batches) = batches(steps, self.epochs, epoch, step)?;

        let threads = self.threads.unwrap_or_else(default_threads);
        let depth = self.depth.unwrap_or_else(|| {
            let affordable = DEPTH_BYTES / plan.layout.fixed_bytes.max(1);
            (2 * threads + 4).max(DEPTH_BATCHES).min(affordable.max(2))
        });
        let buckets = self.bucketing(&steps, depth)?;
        let memory = SlotMemory::new(self.staging, self.pinned_cap_bytes)?;
        let (producer, consumer) = ordered_ring(depth, num_batches.map(|all| all - first_batch));
        let ahead = LookAhead::new(
            packing.as_ref().map_or(&plan, |packing| packing.documents.plan()),
            &Ahead {
                residency: self.residency,
                limit_bytes: self.look_ahead_bytes,
                shuffle: self.shuffle,
                partition: self.partition,
                steps: &steps,
                order: &order.epoch(epoch),
                window: buckets.as_ref().map_or(0, |buckets| buckets.window),
                is_packed: packing.is_some(),
                batches: first_batch..num_batches.unwrap_or(u64::MAX),
                depth: consumer.capacity() as u64,
            },
        );
        let shared = Arc::new(Shared {
            // Those in the ring, one in each worker's hands, one in the trainer's and one it just let go of.
            pool: SlotPool::new(memory, threads + 1, depth + threads + 2, plan.clone()),
            // Windows are numbered as they come.
            order: packing.as_ref().map_or(order, |_| Order::new(num_rows, Shuffle::None, 0)),
            buckets,
            packing,
            identity,
            steps,
            options,
            on_bad_record: self.on_bad_record,
            first_batch,
            num_batches,
            ahead,
            counters: (0..=threads).map(|_| CachePadded::new(Counters::default())).collect(),
            plan,
        });
        let mut loader = Loader {
            worker: Worker::new(&shared.plan, threads),
            shared,
            consumer,
            threads: Vec::with_capacity(threads),
            checked: 0,
            epoch,
            progress,
            received: first_batch,
            ledger: Ledger::new(self.on_bad_record, bad_records),
            pending: None,
            birthplace: Birthplace::here()?,
            clock: Clock {
                built: Instant::now(),
                usage: ProcessUsage::of_process(),
                first_batch_ns: None,
                waiting_ns: 0,
                helping_ns: 0,
            },
        };
        for number in 0..threads {
            let (shared, producer) = (loader.shared.clone(), producer.clone());
            let worker = Worker::new(&shared.plan, number);
            let thread = thread::Builder::new().name(format!("forebay-{number}"));
            let thread = thread.spawn(move || worker.run(&shared, &producer)).map_err(|e| {
                Error::new(ErrorKind::Io, format!("cannot start thread {number} of {threads}: {e}"))
                    .with_source(e)
            })?;
            loader.threads.push(thread);
        }
        Ok(loader)
    }
}

/// The number of the first batch, and of the batch after the last, over all epochs.
fn batches(steps: Steps, epochs: Option<u64>, epoch: u64, step: u64) -> Result<(u64, Option<u64>)> {
    if steps.is_empty() {
        return Ok((0, Some(0)));
    }
    let too_many =
        || Error::invalid(format!("expected fewer than 2⁶³ batches, found epochs of {}", steps.len()));
    let number = |epochs: u64| steps.len().checked_mul(epochs).filter(|&all| all < 1 << 63);
    let first = number(epoch).and_then(|all| all.checked_add(step)).ok_or_else(too_many)?;
    let all = epochs.map(|epochs| number(epochs).ok_or_else(too_many)).transpose()?;
    Ok((first.min(all.unwrap_or(first)), all))
}

fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)).max(1)
}

impl std::fmt::Debug for LoaderBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoaderBuilder")
            .field("dataset", &self.dataset)
            .field("mixture", &self.mixture)
            .field("columns", &self.columns)
            .field("batch_size", &self.batch_size)
            .field("shuffle", &self.shuffle)
            .field("seed", &self.seed)
            .field("epochs", &self.epochs)
            .field("partition", &self.partition)
            .field("threads", &self.threads)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}
