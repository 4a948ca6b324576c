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

/// Bytes that reach the file at a time, at a multiple of as many: a file system that keeps large folios holds such a
/// write in one, and a map of it takes one entry of the page table where 512 would be: no fault, and no miss of the TLB,
/// for every 4 KiB. (On Linux 6.18 and ext4, a shard gathered from right after it was written is then as fast as
/// anonymous huge pages.)
const WRITE_BYTES: usize = 2 << 20;

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
            inner: BufWriter::with_capacity(WRITE_BYTES, file),
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

/// Counts and hashes what passes through, and cuts it at every multiple of [`WRITE_BYTES`], where the buffer beneath is
/// full or empty.
struct HashingWriter<W> {
    inner: W,
    position: u64,
    hasher: Xxh3,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = WRITE_BYTES - self.position as usize % WRITE_BYTES;
        let written = self.inner.write(&bytes[..bytes.len().min(room)])?;
        self.hasher.update(&bytes[..written]);
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_in_whole_large_pages() {
        struct Sizes(Vec<usize>);
        impl Write for Sizes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let inner = BufWriter::with_capacity(WRITE_BYTES, Sizes(Vec::new()));
        let mut sink = HashingWriter { inner, position: 0, hasher: Xxh3::new() };
        let piece = vec![7; 3 * WRITE_BYTES + 5];
        for len in [10, WRITE_BYTES, 64, piece.len(), WRITE_BYTES - 79, 3] {
            sink.write_all(&piece[..len]).unwrap();
        }
        let Sizes(mut sizes) = sink.inner.into_inner().map_err(|e| e.into_error()).unwrap();
        assert_eq!(sizes.pop(), Some(3));
        assert_eq!(sizes, [WRITE_BYTES; 5]);
        assert_eq!(sink.position, 5 * WRITE_BYTES as u64 + 3);
    }
}
