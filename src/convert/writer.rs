//! One shard: record batches written one after another, and hashed on the way.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use xxhash_rust::xxh3::Xxh3;

use super::files::{publish, remove, temporary};
use crate::dataset::{BatchEntry, ShardEntry};
use crate::error::{Error, ErrorKind, Result};

/// A shard that is being written, under its temporary name.
pub(super) struct ShardWriter {
    name: String,
    path: PathBuf,
    writer: FileWriter<HashingWriter<BufWriter<File>>>,
    batches: Vec<BatchEntry>,
}

impl ShardWriter {
    /// Begins shard `number` of `num_shards` in `folder`.
    pub(super) fn new(folder: &Path, number: usize, num_shards: usize, schema: &Schema) -> Result<Self> {
        let name = format!("shard-{number:05}-of-{num_shards:05}.arrow");
        let path = folder.join(&name);
        let temporary = temporary(&path);
        // What a killed run left under this name is written anew.
        remove(&temporary)?;
        let file = File::create(&temporary).map_err(|e| Error::io(&temporary, "make the file", e))?;
        let sink = HashingWriter {
            inner: BufWriter::with_capacity(1 << 20, file),
            position: 0,
            hasher: Xxh3::new(),
        };
        let writer = FileWriter::try_new_with_options(sink, schema, IpcWriteOptions::default())
            .map_err(|e| failed(&path, e))?;
        Ok(ShardWriter { name, path, writer, batches: Vec::new() })
    }

    /// Writes `batch`, and says how many bytes it took.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<u64> {
        let sink = self.writer.get_mut();
        let offset = sink.position;
        sink.hasher.reset();
        self.writer.write(batch).map_err(|e| failed(&self.path, e))?;
        let sink = self.writer.get_ref();
        let bytes = sink.position - offset;
        let rows = batch.num_rows() as u64;
        self.batches.push(BatchEntry { rows, offset, bytes, xxh3: sink.hasher.digest() });
        Ok(bytes)
    }

    /// Makes the shard durable and visible.
    pub(super) fn finish(self) -> Result<ShardEntry> {
        let ShardWriter { name, path, writer, batches } = self;
        let sink = writer.into_inner().map_err(|e| failed(&path, e))?;
        let bytes = sink.position;
        let file =
            sink.inner.into_inner().map_err(|e| Error::io(&path, "write the shard", e.into_error()))?;
        // A file another run left is read-only; renaming over it needs no permission of its own.
        publish(&file, &path)?;
        debug_assert_eq!(fs::metadata(&path).map(|found| found.len()).ok(), Some(bytes));
        Ok(ShardEntry { file: name, rows: batches.iter().map(|batch| batch.rows).sum(), bytes, batches })
    }
}

fn failed(path: &Path, error: ArrowError) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write the shard: {error}")).with_source(error).at_path(path)
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
