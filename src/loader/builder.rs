//! Options of a loader, checked when it is built.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam::utils::CachePadded;

use super::buckets::Buckets;
use super::ledger::Ledger;
use super::packing::Packing;
use super::state::{LoaderState, Options, Progress};
use super::stats::Counters;
use super::worker::{Shared, Worker};
use super::{Clock, Loader};
use crate::batch::{
    BatchMut, BatchPlan, Col, Documents, MapBatch, MapRows, OnBadRecord, Output, Row, RowFn, RowWriter,
    check_decode_budget,
};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Birthplace, ProcessUsage};
use crate::queue::ordered_ring;
use crate::sampler::{Order, Partition, Remainder, Shuffle, Steps};
use crate::staging::{SlotMemory, SlotPool, Staging};

/// Batches a loader keeps ready at least, where the depth is left to it: with few, small ones are handed over one at a time,
/// and threads wait for each other.
const DEPTH_BATCHES: usize = 16;

/// Bytes of batches a loader keeps ready at most, where the depth is left to it.
const DEPTH_BYTES: usize = 256 << 20;

/// Batches sent to a device ahead of the trainer: one that is being copied while another waits.
#[cfg(feature = "cuda")]
const DEVICE_DEPTH_BATCHES: usize = 2;

/// Options of a [`Loader`].
#[must_use]
#[derive(Clone)]
pub struct LoaderBuilder {
    dataset: Dataset,
    columns: Vec<Col>,
    batch_size: usize,
    shuffle: Shuffle,
    seed: u64,
    epochs: Option<u64>,
    remainder: Remainder,
    partition: Partition,
    threads: Option<usize>,
    depth: Option<usize>,
    pub(super) staging: Staging,
    #[cfg(feature = "cuda")]
    pub(super) device_depth: usize,
    pinned_cap_bytes: Option<usize>,
    map_rows: Option<AskedRows>,
    map_batch: Option<MapBatch>,
    on_bad_record: OnBadRecord,
    buckets: Option<(Col, u64)>,
    pack: Option<(Col, usize)>,
    resume: Option<LoaderState>,
}

/// What [`LoaderBuilder::map_rows`] was told.
#[derive(Clone)]
struct AskedRows {
    inputs: Vec<Col>,
    outputs: Vec<Output>,
    map: Arc<RowFn>,
}

impl LoaderBuilder {
    pub(super) fn new(dataset: &Dataset) -> Self {
        LoaderBuilder {
            dataset: dataset.clone(),
            columns: Vec::new(),
            batch_size: 1,
            shuffle: Shuffle::None,
            seed: 0,
            epochs: Some(1),
            remainder: Remainder::default(),
            partition: Partition::default(),
            threads: None,
            depth: None,
            staging: Staging::default(),
            #[cfg(feature = "cuda")]
            device_depth: DEVICE_DEPTH_BATCHES,
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

    /// Where batches are staged. Default: [`Staging::Heap`].
    pub fn staging(mut self, staging: Staging) -> Self {
        self.staging = staging;
        self
    }

    /// The most bytes of slots that a CUDA driver is asked to lock ([`Staging::Cuda`]). Slots beyond it lie in pageable memory,
    /// which a device is slower to fetch from; [`Stats::unpinned_bytes`](crate::Stats::unpinned_bytes) counts them. Default: a
    /// quarter of the machine's memory.
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

    /// A function that makes the columns `outputs` of each batch, row by row in the worker threads: decoding, tokenising,
    /// augmentation. It reads the columns `inputs` of its row, which are left out of the batch unless
    /// [`columns`](Self::columns) names them, and writes each output in its place in the memory the trainer gets; what it does
    /// not write is zero, or empty. The outputs come after the columns.
    ///
    /// Inputs are seen where they lie in memory we own and in files vouched for ([`Immutable`](crate::Immutable)), in a copy of
    /// the row elsewhere. If the function errs or panics, that is what the trainer gets in the place of the batch, with the
    /// file and the record of the row.
    ///
    /// For the order to stay reproducible it must depend on nothing but the row: [`Row::rng`] gives random numbers that do.
    /// Called again, it replaces what it was told before.
    ///
    /// ```
    /// # use forebay::{Dataset, Loader, Output};
    /// # fn main() -> forebay::Result<()> {
    /// let clips = Dataset::from_tensor("wave", &[16], (0..160i16).collect())?;
    /// let loader = Loader::builder(&clips).batch_size(5).seed(7);
    /// let loader = loader.map_rows(["wave"], [Output::tensor::<f32>("crop", &[8])], |row, out| {
    ///     let start = row.rng().below(16 - 8 + 1) as usize;
    ///     let wave = &row.values::<i16>("wave")?[start..start + 8];
    ///     for (to, &from) in out.tensor_mut::<f32>("crop")?.iter_mut().zip(wave) {
    ///         *to = f32::from(from) / 32768.0;
    ///     }
    ///     Ok(())
    /// });
    /// for batch in loader.build()? {
    ///     assert_eq!(batch?.tensor::<f32>("crop")?.shape(), [5, 8]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_rows<C: Into<Col>>(
        mut self,
        inputs: impl IntoIterator<Item = C>,
        outputs: impl IntoIterator<Item = Output>,
        map: impl Fn(&Row<'_>, &mut RowWriter<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.map_rows = Some(AskedRows {
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().collect(),
            map: Arc::new(map),
        });
        self
    }

    /// A function that changes each batch where it is made, in a worker thread: augmentation, normalisation of one's
    /// own. If it errs or panics, that is what the trainer gets in the place of the batch.
    ///
    /// For the order to stay reproducible it must depend on nothing but the batch.
    ///
    /// ```
    /// # use forebay::{Dataset, Loader};
    /// # fn main() -> forebay::Result<()> {
    /// # let numbers = Dataset::from_tensor("x", &[], vec![1f32, 2.0, 3.0, 4.0])?;
    /// let loader = Loader::builder(&numbers).batch_size(2).map_batch(|batch| {
    ///     batch.tensor_mut::<f32>("x")?.as_mut_slice().iter_mut().for_each(|x| *x *= 10.0);
    ///     Ok(())
    /// });
    /// for batch in loader.build()? {
    ///     assert!(batch?.tensor::<f32>("x")?.as_slice()[0] >= 10.0);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_batch(
        mut self,
        map: impl Fn(&mut BatchMut<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.map_batch = Some(Arc::new(map));
        self
    }

    /// Makes batches of rows of about the same length, so that little of them is padding: the rows of every `batches` batches in
    /// the order of the epoch are sorted by the length of `column`, whose rows are of varying length, and cut into batches,
    /// which come in random order. Where an epoch's last batch is not full, it stays the last.
    ///
    /// Which rows a batch has is a function of its number, as ever, and of the lengths of the rows of its window: each row comes
    /// once, whatever the number of threads, and a resume costs that the lengths of one window are read. They are read from
    /// offsets, a few bytes a row; where rows are parsed from records, each record of the window is parsed once more. The more
    /// batches, the less padding, and the further the order is from that of the shuffle.
    ///
    /// ```
    /// use forebay::{Dataset, Loader, Pad, Shuffle, col};
    /// # use arrow::array::{ArrayRef, ListArray, RecordBatch};
    /// # use arrow::datatypes::Int32Type;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let rows = (0..100).map(|row| Some((0..row % 10).map(Some)));
    /// # let tokens = std::sync::Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows)) as ArrayRef;
    /// # let texts = Dataset::from_batches([RecordBatch::try_from_iter([("tokens", tokens)]).unwrap()])?;
    /// // A hundred rows of 0 to 9 tokens, ten of each length.
    /// let loader = Loader::builder(&texts)
    ///     .columns([col("tokens").pad(Pad::longest())])
    ///     .batch_size(10)
    ///     .shuffle(Shuffle::Exact)
    ///     .bucket_by_length("tokens", 10);
    /// for batch in loader.build()? {
    ///     let batch = batch?;
    ///     let lengths = batch.lengths("tokens")?;
    ///     assert!(lengths.iter().all(|&len| len == lengths[0])); // no padding at all
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn bucket_by_length(mut self, column: impl Into<Col>, batches: u64) -> Self {
        self.buckets = Some((column.into(), batches));
        self
    }

    /// Packs documents into windows of `len` items, which are the rows of the batches: the rows of `column`, whose rows are of
    /// varying length, follow one another in the order of the epoch, and are cut wherever a window ends. No item is lost, and none
    /// but the last window of an epoch is filled up, with zeros or what [`Col::pad`] would.
    ///
    /// A batch has three tensors of windows × `len`: `column` itself; `column_segments`, the number of the document in its window,
    /// from 1 on, and 0 behind the last; and `column_positions`, the item's place in its part of the document, from 0 on.
    ///
    /// To know where a window begins, the length of every document is read (from offsets: 4 or 8 bytes each) when the loader is
    /// built, and once more in each epoch that has an order of its own; 8 bytes are kept for 256 documents. From there on a
    /// window is found by reading the lengths of at most 256 documents more than it has.
    ///
    /// ```
    /// use forebay::{Dataset, Loader};
    /// # use arrow::array::{ArrayRef, ListArray, RecordBatch};
    /// # use arrow::datatypes::Int32Type;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let rows = [vec![1, 2, 3], vec![4], vec![5, 6]].map(|row| Some(row.into_iter().map(Some)));
    /// # let tokens = std::sync::Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows)) as ArrayRef;
    /// # let texts = Dataset::from_batches([RecordBatch::try_from_iter([("tokens", tokens)]).unwrap()])?;
    /// // Documents of [1, 2, 3], [4] and [5, 6].
    /// let batch = Loader::builder(&texts).pack("tokens", 5).batch_size(2).build()?.next().expect("windows")?;
    /// assert_eq!(batch.tensor::<i32>("tokens")?.as_slice(), [1, 2, 3, 4, 5, 6, 0, 0, 0, 0]);
    /// assert_eq!(batch.tensor::<i32>("tokens_segments")?.as_slice(), [1, 1, 1, 2, 3, 1, 0, 0, 0, 0]);
    /// assert_eq!(batch.tensor::<i32>("tokens_positions")?.as_slice(), [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pack(mut self, column: impl Into<Col>, len: usize) -> Self {
        self.pack = Some((column.into(), len));
        self
    }

    /// What becomes of a record that cannot be read. Default: its error comes in the place of its batch.
    ///
    /// A record that is skipped leaves a hole in its batch under [`Remainder::Pad`], masked as padding is; otherwise the batch is
    /// shorter. No later row moves up, so that state, resume, ranks and audit count positions as if it had been delivered.
    /// [`Loader::bad_records`] lists what was skipped. The limit is on different records, counted in the order of the
    /// batches received since the loader was built: a batch with a record beyond it is an `Err` that lists the last ones.
    ///
    /// ```
    /// use forebay::format::{CsvOptions, CsvType};
    /// use forebay::{Dataset, Loader, OnBadRecord};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("trips.csv");
    /// std::fs::write(&path, "fare\n9.5\n4.0\n7,5\n3.0\n").unwrap();
    ///
    /// let trips = Dataset::options().csv(CsvOptions::new().column("fare", CsvType::F32).required("fare")).open(&path)?;
    /// let mut loader =
    ///     Loader::builder(&trips).batch_size(4).on_bad_record(OnBadRecord::Skip { limit: 10 }).build()?;
    /// let batch = loader.next().expect("a batch")?;
    /// assert_eq!(batch.tensor::<f32>("fare")?.as_slice(), [9.5, 4.0, 3.0]);
    /// assert_eq!(loader.bad_records()[0].record, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
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
        self.shuffle.check()?;
        let order = Order::new(self.dataset.len(), self.shuffle, self.seed);
        let packing = self.packing(order)?;
        let num_rows = packing.as_ref().map_or(self.dataset.len(), Packing::num_windows);
        let steps = Steps::new(num_rows, self.batch_size as u64, self.remainder)?;
        let steps = steps.partition(self.partition)?;
        if self.depth == Some(0) {
            return Err(Error::invalid("depth must be at least 1 batch, found 0"));
        }
        if self.epochs == Some(0) {
            return Err(Error::invalid(
                "epochs must be at least 1, found 0: for a loader without end use repeat()",
            ));
        }
        let options = Options {
            seed: self.seed,
            shuffle: self.shuffle,
            global_batch: steps.global_batch(),
            remainder: self.remainder,
            partition: self.partition,
            grouping: self.grouping(),
        };
        let row_mask = self.remainder == Remainder::Pad;
        let plan = Arc::new(self.plan(packing.as_ref(), row_mask)?);
        if self.shuffle == Shuffle::Exact {
            check_decode_budget(packing.as_ref().map_or(&plan, |packing| packing.documents.plan()))?;
        }
        self.dataset.advise(self.shuffle == Shuffle::None);
        let (epoch, step, progress) = match &self.resume {
            None => (0, 0, Progress::default()),
            Some(state) => state.check(self.dataset.fingerprint(), &options)?,
        };
        let (first_batch, num_batches) = batches(steps, self.epochs, epoch, step)?;

        let threads = self.threads.unwrap_or_else(default_threads);
        let depth = self.depth.unwrap_or_else(|| {
            let affordable = DEPTH_BYTES / plan.layout.fixed_bytes.max(1);
            (2 * threads + 4).max(DEPTH_BATCHES).min(affordable.max(2))
        });
        let buckets = self.bucketing(&steps, depth)?;
        let memory = SlotMemory::new(self.staging, self.pinned_cap_bytes)?;
        let shared = Arc::new(Shared {
            // Those in the ring, one in each worker's hands, one in the trainer's and one it just let go of.
            pool: SlotPool::new(memory, threads + 1, depth + threads + 2, plan.clone()),
            // Windows are numbered as they come.
            order: packing.as_ref().map_or(order, |_| Order::new(num_rows, Shuffle::None, 0)),
            buckets,
            packing,
            steps,
            options,
            on_bad_record: self.on_bad_record,
            first_batch,
            num_batches,
            counters: (0..=threads).map(|_| CachePadded::new(Counters::default())).collect(),
            plan,
        });
        let (producer, consumer) = ordered_ring(depth, num_batches.map(|all| all - first_batch));
        let mut loader = Loader {
            worker: Worker::new(&shared.plan, threads),
            shared,
            consumer,
            threads: Vec::with_capacity(threads),
            checked: 0,
            epoch,
            progress,
            received: first_batch,
            ledger: Ledger::new(self.on_bad_record),
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

impl LoaderBuilder {
    /// What the state says of how rows are put together.
    fn grouping(&self) -> Option<String> {
        let bucketed =
            |(column, batches): &(Col, u64)| format!("length of '{}', {batches} batches", column.name);
        let packed = |(column, len): &(Col, usize)| format!("windows of {len} items of '{}'", column.name);
        self.buckets.as_ref().map(bucketed).or_else(|| self.pack.as_ref().map(packed))
    }

    fn bucketing(&self, steps: &Steps, depth: usize) -> Result<Option<Buckets>> {
        let Some((column, batches)) = &self.buckets else { return Ok(None) };
        if *batches == 0 {
            return Err(Error::invalid("buckets need windows of at least 1 batch, found 0"));
        }
        if batches.saturating_mul(steps.global_batch()) > u64::from(u32::MAX) {
            return Err(Error::invalid(format!(
                "expected windows of fewer than 2³² rows, found {batches} batches of {}",
                steps.global_batch()
            )));
        }
        let documents = Documents::new(&self.dataset, &Col::from(&column.name))?;
        let skip_bad = self.on_bad_record != OnBadRecord::Fail;
        Ok(Some(Buckets::new(documents, *batches, steps, (self.seed, skip_bad, depth))))
    }

    fn packing(&self, order: Order) -> Result<Option<Packing>> {
        let Some((column, len)) = &self.pack else { return Ok(None) };
        let refuse = |what: &str| Err(Error::invalid(format!("packed windows of '{}' {what}", column.name)));
        if *len == 0 || i32::try_from(*len).is_err() {
            return refuse(&format!("have 1 to 2³¹ - 1 items, found {len}"));
        }
        if !self.columns.is_empty() || self.map_rows.is_some() {
            return refuse("are of several rows: leave out columns and map_rows");
        }
        if self.buckets.is_some() {
            return refuse("are of one length: leave out bucket_by_length");
        }
        if self.on_bad_record != OnBadRecord::Fail {
            return refuse(
                "would move where a record is left out: convert the dataset without bad records first",
            );
        }
        let documents = Documents::to_pack(&self.dataset, column)?;
        let epoch = self.resume.as_ref().map_or(0, LoaderState::epoch);
        Packing::new(documents, order, *len, epoch).map(Some)
    }

    fn plan(&self, packing: Option<&Packing>, row_mask: bool) -> Result<BatchPlan> {
        if let (Some(packing), Some((_, len))) = (packing, &self.pack) {
            let columns = packing.documents.window_columns(*len);
            let mut plan = BatchPlan::new(&self.dataset, &[], &columns, self.batch_size, row_mask)?;
            plan.map_batch = self.map_batch.clone();
            return Ok(plan);
        }
        let (inputs, outputs) = match &self.map_rows {
            None => (&[][..], &[][..]),
            Some(asked) => (&asked.inputs[..], &asked.outputs[..]),
        };
        let mut columns = self.columns.clone();
        if columns.is_empty() {
            let names = self.dataset.schema().fields().iter().map(|field| field.name());
            let names = names.filter(|&name| inputs.iter().all(|input| input.name != *name));
            columns.extend(names.map(Col::from));
        }
        if outputs.is_empty() && self.map_rows.is_some() {
            return Err(Error::invalid("map_rows needs at least one output, found none"));
        }
        let mut plan = BatchPlan::new(&self.dataset, &columns, outputs, self.batch_size, row_mask)?;
        let map_rows = self.map_rows.as_ref();
        plan.map_rows = map_rows
            .map(|asked| MapRows::new(&self.dataset, &asked.inputs, asked.map.clone()))
            .transpose()?;
        plan.map_batch = self.map_batch.clone();
        Ok(plan)
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
