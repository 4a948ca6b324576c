//! What batches are made of: functions of the user's, rows put together, bad records left out.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::LoaderBuilder;
use crate::batch::{AskedRows, BatchMut, BatchPlan, Col, Documents, OnBadRecord, Output, Row, RowWriter};
use crate::error::{Error, Result};
use crate::loader::buckets::Buckets;
use crate::loader::packing::Packing;
use crate::sampler::{Order, Steps};

impl LoaderBuilder {
    /// A function that makes the columns `outputs` of each batch, row by row in the worker threads: decoding, tokenising,
    /// augmentation. It reads the columns `inputs` of its row, which are left out of the batch unless
    /// [`columns`](Self::columns) names them, and writes each output in its place in the memory the trainer gets; what it does
    /// not write is zero, or empty. The outputs come after the columns.
    ///
    /// Inputs are seen where they lie in memory we own and in files vouched for ([`Immutable`](crate::Immutable)), in a copy of
    /// the row elsewhere, and where they are tensors of no more than 4 KiB together. If the function errs or panics, that is what
    /// the trainer gets in the place of the batch, with the file and the record of the row.
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
        self.map_rows = Some(AskedRows::new(inputs, outputs, map));
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
    /// A record that is skipped leaves a hole in its batch under [`Remainder::Pad`](crate::Remainder::Pad), masked as padding is; otherwise the batch is
    /// shorter. No later row moves up, so that state, resume, ranks and audit count positions as if it had been delivered.
    /// [`Loader::bad_records`](crate::Loader::bad_records) lists what was skipped. The limit is on different records, counted in the order of the
    /// batches received: a batch with a record beyond it is an `Err` that lists the last ones. The state has the list, so that a
    /// loader that [goes on](Self::resume) counts on, be it with another limit; each rank has its own.
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

    /// What the state says of how rows are put together.
    pub(super) fn grouping(&self) -> Option<String> {
        let bucketed =
            |(column, batches): &(Col, u64)| format!("length of '{}', {batches} batches", column.name);
        let packed = |(column, len): &(Col, usize)| format!("windows of {len} items of '{}'", column.name);
        self.buckets.as_ref().map(bucketed).or_else(|| self.pack.as_ref().map(packed))
    }

    /// How rows are put together by their lengths, if they are to be.
    pub(super) fn bucketing(&self, steps: &Steps, depth: usize) -> Result<Option<Buckets>> {
        let Some((column, batches)) = &self.buckets else { return Ok(None) };
        if self.mixture.is_some() {
            return Err(Error::invalid(
                "buckets would undo the turns that the datasets of a mixture take: leave out bucket_by_length",
            ));
        }
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
        Ok(Some(Buckets::new(documents, *batches, steps, (self.seed, depth))))
    }

    /// How documents are packed, which come in `order`, if they are to be; `epoch` is the first that is asked for.
    pub(super) fn packing(&self, order: &Order, epoch: u64) -> Result<Option<Packing>> {
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
        if self.mixture.is_some() {
            return refuse("are of one dataset: pack each dataset of a mixture with a loader of its own");
        }
        if self.on_bad_record != OnBadRecord::Fail {
            return refuse(
                "would move where a record is left out: convert the dataset without bad records first",
            );
        }
        if column.pad.is_some_and(|pad| !pad.pads_alone()) {
            return refuse("have their length from pack: of Pad, give the value alone");
        }
        let documents = Documents::to_pack(&self.dataset, column)?;
        Packing::new(documents, order.clone(), *len, epoch).map(Some)
    }

    /// What batches are made of.
    pub(in crate::loader) fn plan(&self, packing: Option<&Packing>) -> Result<BatchPlan> {
        let beside = self.beside();
        if let (Some(packing), Some((_, len))) = (packing, &self.pack) {
            let columns = packing.documents.window_columns(*len);
            let mut plan = BatchPlan::new(&self.dataset, &[], &columns, self.batch_size, beside)?;
            plan.map_batch = self.map_batch.clone();
            return Ok(plan);
        }
        let map_rows = self.map_rows.as_ref();
        let mut columns = self.columns.clone();
        if columns.is_empty() {
            let names = self.dataset.schema().fields().iter().map(|field| field.name());
            let names = names.filter(|name| !map_rows.is_some_and(|asked| asked.reads(name)));
            columns.extend(names.map(Col::from));
        }
        let mut plan = match map_rows {
            None => BatchPlan::new(&self.dataset, &columns, &[], self.batch_size, beside)?,
            Some(asked) => asked.plan(&self.dataset, &columns, self.batch_size, beside)?,
        };
        plan.map_batch = self.map_batch.clone();
        Ok(plan)
    }
}
