//! Writers: any dataset into a folder of sharded Arrow files.
//!
//! ```text
//! digits/
//!   dataset.json                   written last and atomically: it makes the folder a dataset
//!   shard-00000-of-00002.arrow     Arrow IPC file, uncompressed, 64-byte aligned, record batches of 2ᵏ rows
//!   shard-00001-of-00002.arrow
//! ```
//!
//! A shard is written under a temporary name, synced, made read-only and renamed, and then noted in a journal. A
//! conversion that was killed leaves no dataset; run again with the same source and options, it goes on behind the last
//! shard it finished. It never writes through a map, so a full disk is an error and not a signal.
#![forbid(unsafe_code)]

mod files;
mod plan;
mod verify;
mod writer;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, MANIFEST, Manifest, ShardEntry};
use crate::error::{Error, Result};
use files::Lock;
use plan::Plan;

pub use verify::verify;

/// How a dataset is cut into files.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConvertOptions {
    shard_bytes: u64,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        ConvertOptions { shard_bytes: 256 << 20 }
    }
}

impl ConvertOptions {
    /// Shards of 256 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// About how many bytes of values a shard holds. Default: 256 MiB.
    pub fn shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = bytes;
        self
    }
}

/// How far a long job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Rows done, those of shards found finished included.
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
}

/// The name of the journal of a conversion that is not finished.
const JOURNAL: &str = ".forebay-convert.json";

/// The shards finished so far.
#[derive(Serialize, Deserialize)]
struct Journal {
    source: String,
    shards: Vec<ShardEntry>,
}

/// Writes `dataset` into the folder `out` and tells `progress` after each record batch.
///
/// Columns are written as [`Dataset::schema`] has them; any Arrow reader opens the shards.
///
/// ```
/// use forebay::{Dataset, convert::{ConvertOptions, convert}};
///
/// # fn main() -> forebay::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("squares");
/// let squares = Dataset::from_tensor("square", &[], (0..1000i64).map(|i| i * i).collect())?;
/// let converted = convert(&squares, &out, &ConvertOptions::new(), |_| {})?;
/// assert_eq!((converted.rows, Dataset::open(&out)?.len()), (1000, 1000));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `Io` when a file cannot be written; `InvalidArgument` for a folder that holds other files, or another dataset;
/// those of reading `dataset`.
pub fn convert(
    dataset: &Dataset,
    out: impl AsRef<Path>,
    options: &ConvertOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Converted> {
    let out = out.as_ref();
    let plan = Plan::new(dataset, options)?;
    fs::create_dir_all(out).map_err(|e| Error::io(out, "make the folder", e))?;
    let _lock = Lock::acquire(out)?;
    if out.join(MANIFEST).exists() {
        let manifest = Manifest::read(&out.join(MANIFEST))?;
        if manifest.source != plan.source {
            return Err(Error::invalid(
                "the folder holds another dataset: remove it, or name another folder",
            )
            .at_path(out));
        }
        files::remove(&out.join(JOURNAL))?;
        return Ok(converted(&manifest.shards, manifest.shards.len()));
    }
    dataset.advise(true);
    let mut shards = finished(out, &plan)?;
    let shards_found = shards.len();
    let mut done = Progress { rows: dataset.len(), ..Progress::default() };
    for shard in &shards {
        done.rows_done += shard.rows;
        done.bytes_done += shard.bytes;
    }
    progress(done);
    for number in shards.len()..plan.num_shards() {
        shards.push(writer::write_shard(dataset, out, &plan, number, |rows, bytes| {
            done.rows_done += rows;
            done.bytes_done += bytes;
            progress(done);
        })?);
        let journal = Journal { source: plan.source.clone(), shards };
        files::write_atomically(&out.join(JOURNAL), &to_json(&journal))?;
        shards = journal.shards;
    }
    let converted = converted(&shards, shards_found);
    let manifest = Manifest::new(dataset.schema().as_ref().clone(), shards, plan.source);
    files::write_atomically(&out.join(MANIFEST), &to_json(&manifest))?;
    files::remove(&out.join(JOURNAL))?;
    Ok(converted)
}

/// The shards an earlier run of the same conversion finished.
fn finished(out: &Path, plan: &Plan) -> Result<Vec<ShardEntry>> {
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
    // A journal of another source or other options says nothing of this conversion: its shards are written over.
    let Some(journal) = journal.filter(|journal| journal.source == plan.source) else {
        return Ok(Vec::new());
    };
    let is_whole = |shard: &ShardEntry| {
        fs::metadata(out.join(&shard.file)).is_ok_and(|found| found.len() == shard.bytes)
    };
    Ok(journal.shards.into_iter().take_while(is_whole).collect())
}

fn converted(shards: &[ShardEntry], shards_found: usize) -> Converted {
    Converted {
        rows: shards.iter().map(|shard| shard.rows).sum(),
        shards: shards.len(),
        shards_found,
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("numbers and strings are JSON")
}
