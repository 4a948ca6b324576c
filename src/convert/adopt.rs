//! A folder of files that another program wrote becomes a dataset where it lies: a manifest is written, and nothing else.
//!
//! The manifest of an adopted folder is that of a converted one. A chunk of a file whose place in it is known (a record
//! batch) has a checksum of its own; the chunks of other files all carry the place and the checksum of the whole file.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use xxhash_rust::xxh3::Xxh3;

use super::files::{Lock, write_atomically};
use super::verify::checksum;
use super::{JOURNAL, Progress, to_json};
use crate::dataset::{BatchEntry, Dataset, MANIFEST, Manifest, OpenOptions, ShardEntry, in_words};
use crate::error::{Error, Result};
use crate::format::{FileFormat, HEAD_BYTES, detect};

/// Which files of a folder are adopted, and how they are read.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AdoptOptions {
    files: Vec<String>,
    open: OpenOptions,
}

impl AdoptOptions {
    /// Every Arrow and Parquet file of the folder, but those whose names begin with `.` or `_`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names of files in the folder, or patterns for them. They may be of any format that can be opened.
    pub fn files<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.files = names.into_iter().map(Into::into).collect();
        self
    }

    /// How the files are read. Options that their columns depend on have to be given again whenever the dataset is opened.
    pub fn open_with(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }
}

/// What a folder that was adopted holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopted {
    /// Rows in the dataset.
    pub rows: u64,
    /// Its files.
    pub shards: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Makes a dataset of the files in `folder`, in bytewise order of their names, and tells `progress` after each chunk.
///
/// Each file is read once, for its checksums; none is written or renamed. To undo it, remove `dataset.json`.
///
/// ```
/// use forebay::{Dataset, convert::{AdoptOptions, ConvertOptions, adopt, convert}};
///
/// # fn main() -> forebay::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("others");
/// # let numbers = Dataset::from_tensor("n", &[], (0..1000i64).collect())?;
/// # convert(&numbers, &folder, &ConvertOptions::new(), |_| {})?;
/// # std::fs::remove_file(folder.join("dataset.json")).unwrap();
/// let adopted = adopt(&folder, &AdoptOptions::new().files(["*.arrow"]), |_| {})?;
/// assert_eq!(Dataset::open(&folder)?.len(), adopted.rows);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `InvalidArgument` for a folder that holds a `dataset.json` already, or no file to adopt; `Mismatch` for files of
/// different columns; those of opening and reading the files.
pub fn adopt(
    folder: impl AsRef<Path>,
    options: &AdoptOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Adopted> {
    let folder = folder.as_ref();
    let names = names(folder, &options.files)?;
    let _lock = Lock::acquire(folder)?;
    if folder.join(MANIFEST).exists() {
        return Err(Error::invalid(format!("the folder is a dataset already: remove its {MANIFEST} first"))
            .at_path(folder));
    }
    if folder.join(JOURNAL).exists() {
        return Err(Error::invalid("the folder holds an unfinished conversion: finish it, or remove it")
            .at_path(folder));
    }
    let opened = names.iter().map(|name| options.open.open(folder.join(name))).collect::<Result<Vec<_>>>()?;
    let schema = common_schema(&names, &opened).map_err(|error| error.at_path(folder))?;
    let mut done = Progress { rows: opened.iter().map(Dataset::len).sum(), ..Progress::default() };
    let mut shards = Vec::with_capacity(names.len());
    for (name, file) in names.into_iter().zip(&opened) {
        let before = done;
        shards.push(entry(folder, name, file, |rows, bytes| {
            done.rows_done += rows;
            done.bytes_done += bytes;
            progress(done);
        })?);
        debug_assert_eq!(done.rows_done - before.rows_done, file.len());
    }
    let mut hasher = Xxh3::new();
    hasher.update(to_json(&shards).as_bytes());
    let manifest = Manifest::new(schema.as_ref().clone(), shards, format!("{:016x}", hasher.digest()));
    write_atomically(&folder.join(MANIFEST), &to_json(&manifest))?;
    let bytes = manifest.shards.iter().map(|shard| shard.bytes).sum();
    Ok(Adopted { rows: manifest.rows, shards: manifest.shards.len(), bytes })
}

/// The files to adopt, in bytewise order.
fn names(folder: &Path, asked: &[String]) -> Result<Vec<String>> {
    let mut patterns = Vec::with_capacity(asked.len());
    for name in asked {
        let pattern = glob::Pattern::new(name)
            .map_err(|e| Error::invalid(format!("'{name}' is no pattern for files: {e}")))?;
        patterns.push((name, pattern, false));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list the folder", e))? {
        let entry = entry.map_err(|e| Error::io(folder, "list the folder", e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // What a link points to counts.
        if !entry.path().is_file() {
            continue;
        }
        let mut is_asked =
            patterns.is_empty() && !name.starts_with(['.', '_']) && is_table(&entry.path(), &name)?;
        for (asked, pattern, found) in &mut patterns {
            if **asked == name || pattern.matches(&name) {
                (is_asked, *found) = (true, true);
            }
        }
        if is_asked {
            names.push(name);
        }
    }
    if let Some((name, ..)) = patterns.iter().find(|(.., found)| !found) {
        return Err(Error::invalid(format!("no file in the folder is called '{name}', or matches it"))
            .at_path(folder));
    }
    if names.is_empty() {
        return Err(
            Error::invalid("expected Arrow or Parquet files in the folder, found none").at_path(folder)
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a file is one of a table by itself.
fn is_table(path: &Path, name: &str) -> Result<bool> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    File::open(path)
        .and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head))
        .map_err(|e| Error::io(path, "read the file", e))?;
    let is_arrow = matches!(detect(&head, name), Some(FileFormat::ArrowFile | FileFormat::ArrowStream));
    Ok(is_arrow || head.starts_with(b"PAR1"))
}

/// The columns all of the files have.
fn common_schema(names: &[String], opened: &[Dataset]) -> Result<SchemaRef> {
    let first = opened[0].schema();
    for (name, file) in names.iter().zip(opened) {
        if file.schema().fields() != first.fields() {
            return Err(Error::mismatch(format!(
                "expected files of one kind, found {} with {} and {name} with {}",
                names[0],
                in_words(first),
                in_words(file.schema())
            )));
        }
    }
    Ok(first.clone())
}

/// What the manifest says of the file `name`; tells `hashed` the rows of each chunk, and the bytes read for it.
fn entry(
    folder: &Path,
    name: String,
    dataset: &Dataset,
    mut hashed: impl FnMut(u64, u64),
) -> Result<ShardEntry> {
    let path = folder.join(&name);
    let read = |e| Error::io(&path, "read the file", e);
    let mut file = File::open(&path).map_err(read)?;
    let len = file.metadata().map_err(read)?.len();
    let table = &dataset.tables()[0];
    let extents = &table.shards[0].opened()?.extents;
    let mut batches: Vec<BatchEntry> = Vec::with_capacity(table.chunks.len());
    for (number, chunk) in table.chunks.iter().enumerate() {
        let extent = extents.get(number).cloned().unwrap_or(0..len);
        let (offset, bytes) = (extent.start, extent.end - extent.start);
        let xxh3 = match batches.last() {
            Some(last) if (last.offset, last.bytes) == (offset, bytes) => {
                hashed(chunk.num_rows, 0);
                last.xxh3
            }
            _ => {
                let found = checksum(&mut file, offset, bytes).map_err(read)?;
                hashed(chunk.num_rows, bytes);
                found.ok_or_else(|| {
                    let message =
                        format!("expected {bytes} bytes from {offset} on, found the file to end there");
                    Error::mismatch(message).at_path(&path).at_byte(offset)
                })?
            }
        };
        batches.push(BatchEntry { rows: chunk.num_rows, offset, bytes, xxh3 });
    }
    // What was read is what was opened.
    dataset.check()?;
    Ok(ShardEntry { file: name, rows: dataset.len(), bytes: len, batches })
}
