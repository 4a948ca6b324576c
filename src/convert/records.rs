//! TFRecord files, written record by record.
//!
//! The layout of a frame is drawn in `format::tfrecord`. A compressed file is one stream of frames.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::{GzEncoder, ZlibEncoder};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Compression, tfrecord};

/// Writes a TFRecord file, one record after another.
///
/// A file is whole once [`close`](Self::close) has returned; what [`flush`](Self::flush) has written can be read before. A
/// writer that is dropped finishes its file as far as it can, and tells nobody if it cannot.
///
/// ```
/// use forebay::convert::RecordWriter;
/// use forebay::format::Compression;
///
/// # fn main() -> forebay::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("train.tfrecord.gz");
/// let mut writer = RecordWriter::options().compression(Compression::Gzip).level(9).create(&path)?;
/// writer.write(b"one")?;
/// writer.write(b"two")?;
/// writer.close()?;
/// assert_eq!(forebay::Dataset::open(&path)?.len(), 2);
/// # Ok(())
/// # }
/// ```
pub struct RecordWriter {
    path: PathBuf,
    sink: Sink,
    records: u64,
    payload_bytes: u64,
}

/// How a [`RecordWriter`] writes.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RecordWriterOptions {
    compression: Compression,
    level: Option<u32>,
}

impl RecordWriterOptions {
    /// How the file is compressed. Default: not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How hard to compress: 0 (stored only) to 9 for gzip and zlib, 1 to 22 for Zstandard; higher is smaller and slower.
    /// Default: 6, and 3 for Zstandard.
    pub fn level(mut self, level: u32) -> Self {
        self.level = Some(level);
        self
    }

    /// Creates the file at `path` and the folders above it; a file that is there is overwritten.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a level the compression does not have; `Io` if the file cannot be created.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<RecordWriter> {
        let path = path.as_ref();
        let levels = match self.compression {
            Compression::None => None,
            Compression::Gzip | Compression::Zlib => Some((0..=9, 6)),
            Compression::Zstd => Some((1..=22, 3)),
        };
        let level = match (levels, self.level) {
            (None, None) => 0,
            (None, Some(level)) => {
                return Err(Error::invalid(format!("level is {level}: a file without compression has none")));
            }
            (Some((levels, _)), Some(level)) if !levels.contains(&level) => {
                return Err(Error::invalid(format!(
                    "level is {level}: expected {} to {} for {}",
                    levels.start(),
                    levels.end(),
                    self.compression
                )));
            }
            (Some((_, usual)), level) => level.unwrap_or(usual),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))?;
        }
        let io = |e| Error::io(path, "create the file", e);
        let file = BufWriter::new(File::create(path).map_err(io)?);
        let deflate = flate2::Compression::new(level);
        let sink = match self.compression {
            Compression::None => Sink::Plain(file),
            Compression::Gzip => Sink::Gzip(GzEncoder::new(file, deflate)),
            Compression::Zlib => Sink::Zlib(ZlibEncoder::new(file, deflate)),
            Compression::Zstd => {
                Sink::Zstd(zstd::stream::write::Encoder::new(file, level as i32).map_err(io)?)
            }
        };
        Ok(RecordWriter { path: path.to_owned(), sink, records: 0, payload_bytes: 0 })
    }
}

impl RecordWriter {
    /// Options of a writer, to be set before it is created.
    pub fn options() -> RecordWriterOptions {
        RecordWriterOptions::default()
    }

    /// Creates the file at `path`, without compression: see [`RecordWriterOptions::create`].
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        RecordWriterOptions::default().create(path)
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after [`close`](Self::close); `Io` if the file cannot be written, after which it is not
    /// whole and every later call errs.
    pub fn write(&mut self, payload: &[u8]) -> Result<()> {
        let (header, trailer) = tfrecord::around(payload);
        self.open("write a record", |sink| {
            [&header[..], payload, &trailer].into_iter().try_for_each(|part| sink.write_all(part))
        })?;
        self.records += 1;
        self.payload_bytes += payload.len() as u64;
        Ok(())
    }

    /// Hands all records written so far to the system, so that whoever opens the file reads them; those of a compressed
    /// file too, which grows a little with each flush. It does not wait for the disk.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<()> {
        self.open("flush the file", |sink| sink.flush())
    }

    /// Finishes the file. Closing again does nothing.
    ///
    /// # Errors
    ///
    /// `Io` if the file cannot be written: it is not whole then.
    pub fn close(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.sink, Sink::Closed) {
            Sink::Closed => Ok(()),
            Sink::Failed => {
                self.sink = Sink::Failed;
                Err(self.gave_up("close the file"))
            }
            open => open.finish().map_err(|e| {
                self.sink = Sink::Failed;
                Error::io(&self.path, "finish writing the file", e)
            }),
        }
    }

    /// Records written.
    pub fn num_records(&self) -> u64 {
        self.records
    }

    /// Bytes of all records written, before compression and without what surrounds them.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Has `act` write to the open file.
    fn open(&mut self, doing: &str, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(file) => file,
            Sink::Zlib(file) => file,
            Sink::Zstd(file) => file,
            Sink::Failed => return Err(self.gave_up(doing)),
            Sink::Closed => {
                return Err(Error::new(ErrorKind::Closed, format!("cannot {doing}: the writer was closed"))
                    .at_path(&self.path));
            }
        };
        let acted = act(sink);
        acted.map_err(|e| {
            self.sink = Sink::Failed;
            Error::io(&self.path, doing, e).at_record(self.records)
        })
    }

    #[cold]
    fn gave_up(&self, doing: &str) -> Error {
        let message = format!("cannot {doing}: the writer gave up after an error, and its file is not whole");
        Error::new(ErrorKind::Io, message).at_path(&self.path)
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        // Nobody is there to be told; whoever wants to know closes the writer.
        let _ = self.close();
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter")
            .field("path", &self.path)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// Where the frames go.
enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zlib(ZlibEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
    /// A part of a frame may be written.
    Failed,
    Closed,
}

impl Sink {
    /// Ends the compressed stream, if it is one, and hands all of it to the system.
    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Sink::Plain(file) => file,
            Sink::Gzip(encoder) => encoder.finish()?,
            Sink::Zlib(encoder) => encoder.finish()?,
            Sink::Zstd(encoder) => encoder.finish()?,
            Sink::Failed | Sink::Closed => return Ok(()),
        };
        file.flush()
    }
}
