//! One shard: record batches gathered, written, and hashed on the way.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use xxhash_rust::xxh3::Xxh3;

use super::files::{publish, temporary};
use super::plan::Plan;
use crate::dataset::{BatchEntry, Dataset, ShardEntry};
use crate::error::{Error, ErrorKind, Result};

/// Writes shard `number` of `plan` into `folder`; tells `wrote` the rows and bytes of each record batch.
pub(super) fn write_shard(
    dataset: &Dataset,
    folder: &Path,
    plan: &Plan,
    number: usize,
    mut wrote: impl FnMut(u64, u64),
) -> Result<ShardEntry> {
    let name = format!("shard-{number:05}-of-{:05}.arrow", plan.num_shards());
    let path = folder.join(&name);
    let temporary = temporary(&path);
    // What a killed run left under this name is written anew.
    super::files::remove(&temporary)?;
    let file = File::create(&temporary).map_err(|e| Error::io(&temporary, "make the file", e))?;
    let failed =
        |e| Error::new(ErrorKind::Io, format!("cannot write the shard: {e}")).with_source(e).at_path(&path);
    let options = IpcWriteOptions::default();
    let sink =
        HashingWriter { inner: BufWriter::with_capacity(1 << 20, file), position: 0, hasher: Xxh3::new() };
    let mut writer = FileWriter::try_new_with_options(sink, dataset.schema(), options).map_err(failed)?;
    let mut batches = Vec::new();
    let rows = plan.shard_rows(number);
    let mut start = rows.start;
    while start < rows.end {
        let end = (start + plan.rows_per_batch).min(rows.end);
        let range: Vec<u64> = (start..end).collect();
        let batch = dataset.gather(&range)?;
        let sink = writer.get_mut();
        let offset = sink.position;
        sink.hasher.reset();
        writer.write(&batch).map_err(failed)?;
        let sink = writer.get_mut();
        let entry = BatchEntry {
            rows: end - start,
            offset,
            bytes: sink.position - offset,
            xxh3: sink.hasher.digest(),
        };
        wrote(entry.rows, entry.bytes);
        batches.push(entry);
        start = end;
    }
    let sink = writer.into_inner().map_err(failed)?;
    let bytes = sink.position;
    let file = sink.inner.into_inner().map_err(|e| Error::io(&path, "write the shard", e.into_error()))?;
    // A file another run left is read-only; renaming over it needs no permission of its own.
    publish(&file, &path)?;
    debug_assert_eq!(fs::metadata(&path).map(|found| found.len()).ok(), Some(bytes));
    Ok(ShardEntry { file: name, rows: rows.end - rows.start, bytes, batches })
}

/// Counts and hashes what passes through.
struct HashingWriter<W> {
    inner: W,
    position: u64,
    hasher: Xxh3,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
