//! Records of many files, shuffled and in batches: a thin face of a dataset and a loader.
#![forbid(unsafe_code)]

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;
use bytes::Bytes;

use super::{Loader, LoaderBuilder, LoaderState};
use crate::dataset::{Dataset, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FileFormat;
use crate::sampler::{Remainder, Shuffle};

/// An endless iterator over batches of the records of TFRecord files, compressed ones too, in an order that is shuffled anew
/// in each epoch: each record comes once an epoch.
///
/// The shuffle is exact over all records of all files; no buffer bounds it.
///
/// ```
/// use forebay::{RecordInput, convert::RecordWriter};
///
/// # fn main() -> forebay::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// for number in 0..3 {
///     let mut writer = RecordWriter::create(folder.path().join(format!("part-{number}.tfrecord")))?;
///     (0..10u8).try_for_each(|record| writer.write(&[number, record]))?;
///     writer.close()?;
/// }
/// let pattern = folder.path().join("part-*.tfrecord");
/// let mut input = RecordInput::builder(pattern).batch_size(16).seed(7).epochs(2).build()?;
/// let sizes: Vec<_> = input.map(|batch| batch.map(|records| records.len())).collect::<forebay::Result<_>>()?;
/// assert_eq!(sizes, [16, 14, 16, 14]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecordInput {
    loader: Loader,
}

/// Options of a [`RecordInput`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RecordInputBuilder {
    paths: Vec<std::path::PathBuf>,
    batch_size: usize,
    shuffle: Shuffle,
    seed: u64,
    epochs: Option<u64>,
    remainder: Remainder,
    threads: Option<usize>,
    resume: Option<LoaderState>,
}

impl RecordInput {
    /// An input of the records of `files`: a path, a glob pattern, or a list of them.
    pub fn builder(files: impl Source) -> RecordInputBuilder {
        RecordInputBuilder {
            paths: files.into_paths(),
            batch_size: 1,
            shuffle: Shuffle::Exact,
            seed: 0,
            epochs: None,
            remainder: Remainder::Keep,
            threads: None,
            resume: None,
        }
    }

    /// The loader that makes the batches, for its state, its audit and its statistics.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

impl RecordInputBuilder {
    /// Records in a batch. Default: 1.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batch_size = records;
        self
    }

    /// The order of the records. Default: [`Shuffle::Exact`].
    pub fn shuffle(mut self, shuffle: Shuffle) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// What a shuffled order depends on, beside the epoch. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many times to go through the records. Default: without end.
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// What becomes of the records that do not fill a batch, at the end of each epoch. Default: [`Remainder::Keep`], a
    /// smaller batch; [`Remainder::Pad`] is refused, because no byte string stands for none.
    pub fn remainder(mut self, remainder: Remainder) -> Self {
        self.remainder = remainder;
        self
    }

    /// Threads that read, beside the one that takes the batches: see [`LoaderBuilder::threads`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Goes on where `state`, that of [`RecordInput::loader`], was taken.
    pub fn resume(mut self, state: &LoaderState) -> Self {
        self.resume = Some(state.clone());
        self
    }

    /// Opens the files and starts the threads.
    ///
    /// # Errors
    ///
    /// As [`Dataset::open`] and [`LoaderBuilder::build`]; `InvalidArgument` for files without a record to read again and
    /// again, and for a remainder that is to be padded.
    pub fn build(self) -> Result<RecordInput> {
        if self.remainder == Remainder::Pad {
            return Err(Error::invalid(
                "remainder is pad: expected drop or keep, byte strings are not padded",
            ));
        }
        let files = Dataset::options().format(FileFormat::TfRecord).raw_records();
        let dataset = files.open(self.paths)?;
        if dataset.is_empty() && self.epochs.is_none() {
            return Err(Error::invalid(
                "the files have no records: an input without end would never give one",
            ));
        }
        let mut loader: LoaderBuilder = Loader::builder(&dataset)
            .batch_size(self.batch_size)
            .shuffle(self.shuffle)
            .seed(self.seed)
            .remainder(self.remainder);
        loader = self.epochs.map_or(loader.clone().repeat(), |epochs| loader.epochs(epochs));
        if let Some(threads) = self.threads {
            loader = loader.threads(threads);
        }
        if let Some(state) = &self.resume {
            loader = loader.resume(state);
        }
        Ok(RecordInput { loader: loader.build()? })
    }
}

impl Iterator for RecordInput {
    /// The records of a batch; they share its memory, which goes back to the loader when the last of them is dropped.
    type Item = Result<Vec<Bytes>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.loader.next()?;
        Some(batch.and_then(|batch| batch.record_batch()).and_then(|batch| records(&batch)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.loader.size_hint()
    }
}

/// The rows of the one column of `batch`, where they lie.
fn records(batch: &RecordBatch) -> Result<Vec<Bytes>> {
    match batch.column(0).data_type() {
        DataType::Binary => Ok(slices::<i32>(batch)),
        DataType::LargeBinary => Ok(slices::<i64>(batch)),
        other => Err(Error::new(ErrorKind::Internal, format!("records are bytes, found {other}"))),
    }
}

fn slices<O: OffsetSizeTrait>(batch: &RecordBatch) -> Vec<Bytes> {
    let array = batch.column(0).as_binary::<O>();
    let all = Bytes::from_owner(array.values().clone());
    let bounds = array.offsets().windows(2).map(|pair| pair[0].as_usize()..pair[1].as_usize());
    bounds.take(array.len()).map(|range| all.slice(range)).collect()
}
