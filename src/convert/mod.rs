//! Writers: any dataset into a folder of sharded Arrow files.
//!
//! ```text
//! digits/
//!   dataset.json                   written last and atomically: it makes the folder a dataset
//!   shard-00000-of-00002.arrow     Arrow IPC file, uncompressed, 64-byte aligned, record batches of 2ᵏ rows
//!   shard-00001-of-00002.arrow
//!   bad-records.jsonl              only where records were left out: which, and why
//! ```
//!
//! ```text
//! rows ──▶ workers: read, cast, stack, map ──▶ ring ──▶ caller: write, hash ──▶ sync, rename, journal ──▶ dataset.json
//!          (any number, any order)            (in order)                        (beside the next shard)
//! ```
//!
//! A shard is written under a temporary name, synced, made read-only and renamed, and then noted in a journal. A
//! conversion that was killed leaves no dataset; run again with the same source and options, it goes on behind the last
//! shard it finished, and ends with the bytes an undisturbed run writes, with any number of threads. It never writes through a
//! map, so a full disk is an error and not a signal.
//!
//! Beside it stands [`RecordWriter`], which writes a TFRecord file record by record, for other programs to read.
#![forbid(unsafe_code)]

mod adopt;
mod bad;
mod cache;
mod columns;
mod files;
mod options;
mod plan;
mod records;
mod verify;
mod workers;
mod writer;

use std::fs;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use serde::{Deserialize, Serialize};

use crate::batch::BadRecord;
use crate::dataset::{Dataset, MANIFEST, Manifest, ShardEntry};
use crate::error::{Error, ErrorKind, Result};
use bad::Ledger;
use columns::Columns;
use files::Lock;
use plan::Plan;
use workers::{Batches, Work};
use writer::ShardWriter;

pub use crate::batch::OnBadRecord;
pub use adopt::{AdoptOptions, Adopted, adopt};
pub use options::ConvertOptions;
pub use records::{RecordWriter, RecordWriterOptions};
pub use verify::verify;

/// How far a long job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Rows done, those of shards found finished and those left out included.
    pub rows_done: u64,
    /// Rows in all.
    pub rows: u64,
    /// Bytes written or read.
    pub bytes_done: u64,
}

/// What a conversion left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// Rows in the dataset.
    pub rows: u64,
    /// Its shards.
    pub shards: usize,
    /// Shards an earlier, unfinished run of the same conversion had left.
    pub shards_found: usize,
    /// Bytes of all shards.
    pub bytes: u64,
    /// Bad records that were left out: see [`OnBadRecord::Skip`].
    pub skipped: u64,
}

/// The name of the journal of a conversion that is not finished.
const JOURNAL: &str = ".forebay-convert.json";

/// The name of the ledger of records that were left out.
const LEDGER: &str = "bad-records.jsonl";

/// Pages of mapped files that were read are let go once they are so many bytes.
const RELEASE_BYTES: u64 = 64 << 20;

/// The shards finished so far.
#[derive(Default, Serialize, Deserialize)]
struct Journal {
    source: String,
    shards: Vec<ShardEntry>,
    /// Those of the rows of these shards.
    bad_records: Vec<BadRecord>,
}

impl Journal {
    /// The journal with one shard more, written into `out`; `bad_records` are those of all shards.
    fn with(mut self, shard: ShardEntry, bad_records: Vec<BadRecord>, out: &Path) -> Result<Self> {
        self.shards.push(shard);
        self.bad_records = bad_records;
        files::write_atomically(&out.join(JOURNAL), &to_json(&self))?;
        Ok(self)
    }
}

/// Writes `dataset` into the folder `out` and tells `progress` after each record batch.
///
/// Columns are written as [`Dataset::schema`] has them, but for what `options` say; any Arrow reader opens the shards.
///
/// ```
/// use forebay::{DType, Dataset, convert::{ConvertOptions, convert}};
///
/// # fn main() -> forebay::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("squares");
/// let numbers = Dataset::from_tensor("n", &[], (0..1000i64).collect())?;
/// let squares = Dataset::from_tensor("square", &[], (0..1000i64).map(|n| n * n).collect())?;
/// let options = ConvertOptions::new().stack("both", ["n", "square"]).cast("both", DType::F32);
/// let converted = convert(&numbers.zip(&squares)?, &out, &options, |_| {})?;
/// let read = Dataset::open(&out)?;
/// assert_eq!((converted.rows, read.len()), (1000, 1000));
/// assert_eq!(read.column_kind("both")?.to_string(), "f32[2]");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `Io` when a file cannot be written; `InvalidArgument` for options that cannot be honoured, a folder that holds other
/// files, or another dataset; those of reading `dataset`, with file, record and byte where they are known; `TooLarge` to
/// shuffle chunks that must be decoded and do not fit their budget.
pub fn convert(
    dataset: &Dataset,
    out: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: impl FnMut(Progress),
) -> Result<Converted> {
    convert_locked(dataset, out.as_ref(), options, Lock::acquire, progress)
}

/// As [`convert`]; `lock` gives the right to write into the folder.
fn convert_locked(
    dataset: &Dataset,
    out: &Path,
    options: &ConvertOptions,
    lock: impl FnOnce(&Path) -> Result<Lock>,
    progress: impl FnMut(Progress),
) -> Result<Converted> {
    let threads = match options.threads {
        Some(0) => return Err(Error::invalid("threads must be at least 1, found 0")),
        Some(threads) => threads,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let columns = Columns::new(dataset, options)?;
    if options.shuffle.is_some() {
        columns.check_decode_budget()?;
    }
    let plan = Plan::new(dataset, &columns, options)?;
    fs::create_dir_all(out).map_err(|e| Error::io(out, "make the folder", e))?;
    let _lock = lock(out)?;
    if out.join(MANIFEST).exists() {
        let manifest = Manifest::read(&out.join(MANIFEST))?;
        if manifest.source != plan.source {
            return Err(Error::invalid(
                "the folder holds another dataset: remove it, or name another folder",
            )
            .at_path(out));
        }
        files::remove(&out.join(JOURNAL))?;
        return Ok(converted(&manifest.shards, manifest.shards.len(), bad::skipped(out)));
    }
    let (shards, bad_records) = finished(out, &plan)?;
    files::sweep(out, &shards)?;
    let work = Work {
        dataset,
        columns: &columns,
        plan: &plan,
        enough: Ledger::enough(options.on_bad_record),
        threads,
    };
    let ledger = Ledger::new(options.on_bad_record, bad_records)?;
    dataset.advise(options.shuffle.is_none());
    let written = write(work, out, shards, ledger, progress);
    dataset.advise(false);
    written
}

/// Writes the shards behind those in `shards`, and then the manifest.
fn write(
    work: Work<'_>,
    out: &Path,
    shards: Vec<ShardEntry>,
    mut ledger: Ledger,
    mut progress: impl FnMut(Progress),
) -> Result<Converted> {
    let Work { dataset, columns, plan, .. } = work;
    let shards_found = shards.len();
    let mut done = Progress {
        rows: dataset.len(),
        rows_done: shards.iter().map(|shard| shard.rows).sum::<u64>() + ledger.records().len() as u64,
        bytes_done: shards.iter().map(|shard| shard.bytes).sum(),
    };
    progress(done);
    let mut journal = Journal { source: plan.source.clone(), shards, bad_records: ledger.records().to_vec() };
    let mut release = Release::new(dataset);
    let (first, end) = (plan.shard_batches(shards_found).start, plan.shard_batches(plan.num_shards()).start);
    journal = thread::scope(|scope| {
        let mut batches = work.start(scope, first, end)?;
        let mut finishing = None;
        for number in shards_found..plan.num_shards() {
            let mut shard = ShardWriter::new(out, number, plan.num_shards(), &columns.schema)?;
            for batch in plan.shard_batches(number) {
                write_batch(&mut batches, &mut shard, &mut ledger, out, &mut done)?;
                progress(done);
                release.after(plan.first_row(batch + 1), done.rows_done);
            }
            if let Some(finishing) = finishing.take() {
                journal = join(finishing)?;
            }
            // The disk takes its time: the next shard is written while this one is made durable.
            let journal = std::mem::take(&mut journal);
            let bad_records = ledger.records().to_vec();
            let finish = move || journal.with(shard.finish()?, bad_records, out);
            let thread = thread::Builder::new().name("convert-sync".to_owned());
            finishing = Some(thread.spawn_scoped(scope, finish).map_err(|e| {
                Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")).with_source(e)
            })?);
        }
        finishing.map_or(Ok(journal), join)
    })?;
    ledger.write(out)?;
    let Journal { source, shards, .. } = journal;
    let converted = converted(&shards, shards_found, ledger.records().len() as u64);
    let manifest = Manifest::new(columns.schema.as_ref().clone(), shards, source);
    files::write_atomically(&out.join(MANIFEST), &to_json(&manifest))?;
    files::remove(&out.join(JOURNAL))?;
    Ok(converted)
}

/// What `thread` made.
fn join(thread: ScopedJoinHandle<'_, Result<Journal>>) -> Result<Journal> {
    thread.join().unwrap_or_else(|panic| Err(Error::panicked("finishing a shard", &*panic)))
}

/// Takes the next batch and writes it to `shard`, but for its bad records, which go into the ledger.
fn write_batch(
    batches: &mut Batches,
    shard: &mut ShardWriter,
    ledger: &mut Ledger,
    out: &Path,
    done: &mut Progress,
) -> Result<()> {
    let made = batches.next()?;
    made.bad.into_iter().try_for_each(|bad| ledger.add(bad, out))?;
    let batch = made.batch.ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            "a record batch was given up for fewer bad records than end a conversion",
        )
    })?;
    done.rows_done += made.rows;
    if batch.num_rows() > 0 {
        done.bytes_done += shard.write(&batch)?;
    }
    Ok(())
}

/// Keeps what is held in memory of the source small.
struct Release<'a> {
    dataset: &'a Dataset,
    /// Rows whose pages are some `RELEASE_BYTES`.
    rows: u64,
    released: u64,
}

impl<'a> Release<'a> {
    fn new(dataset: &'a Dataset) -> Self {
        let bytes: u64 =
            dataset.paths().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
        let rows = u128::from(RELEASE_BYTES) * u128::from(dataset.len()) / u128::from(bytes.max(1));
        Release { dataset, rows: u64::try_from(rows).unwrap_or(u64::MAX), released: 0 }
    }

    /// `rows_done` rows are written; none before `first_row` is needed any more.
    fn after(&mut self, first_row: Option<u64>, rows_done: u64) {
        if let Some(row) = first_row {
            self.dataset.forget_before(row);
        }
        if rows_done - self.released > self.rows {
            self.released = rows_done;
            self.dataset.release_pages();
        }
    }
}

/// The shards an earlier run of the same conversion finished, and the bad records among their rows.
fn finished(out: &Path, plan: &Plan) -> Result<(Vec<ShardEntry>, Vec<BadRecord>)> {
    let journal = match fs::read_to_string(out.join(JOURNAL)) {
        Ok(text) => serde_json::from_str::<Journal>(&text).ok(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            files::expect_empty(out)?;
            None
        }
        Err(e) => {
            return Err(Error::io(out.join(JOURNAL), "read the journal of an unfinished conversion", e));
        }
    };
    let is_whole = |shard: &ShardEntry| {
        fs::metadata(out.join(&shard.file)).is_ok_and(|found| found.len() == shard.bytes)
    };
    // A journal of another source or other options says nothing of this conversion, nor does one whose shards are gone.
    let journal =
        journal.filter(|journal| journal.source == plan.source && journal.shards.iter().all(is_whole));
    Ok(journal.map_or_else(Default::default, |journal| (journal.shards, journal.bad_records)))
}

fn converted(shards: &[ShardEntry], shards_found: usize, skipped: u64) -> Converted {
    Converted {
        rows: shards.iter().map(|shard| shard.rows).sum(),
        shards: shards.len(),
        shards_found,
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
        skipped,
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("numbers and strings are JSON")
}
