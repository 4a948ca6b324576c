//! The bytes of one file from its beginning to its end, inflated on the way.
//!
//! A file is read as long as it is when it is opened: bytes that are added later are not seen, and a file that becomes
//! shorter is an error. Memory grows with bytes that are there, never with a length somebody claims; of a compressed file
//! one record may take what a file of its length may become at most.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Compression, expansion_cap};

/// Bytes read ahead from a file, unless told otherwise.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

pub(super) struct Stream {
    path: PathBuf,
    source: Source,
    /// Bytes of the file.
    file_bytes: u64,
    /// Bytes read so far, inflated ones where the file is compressed.
    position: u64,
}

enum Source {
    Plain(BufReader<File>),
    Inflated(BufReader<Box<dyn Read + Send>>),
}

impl Source {
    fn bytes(&mut self) -> &mut (dyn BufRead + Send) {
        match self {
            Source::Plain(file) => file,
            Source::Inflated(decoder) => decoder,
        }
    }
}

impl Stream {
    /// The file at `path`, from its beginning.
    ///
    /// # Errors
    ///
    /// `Io` for a file that cannot be opened, or is none: a folder, a pipe.
    pub(super) fn open(path: &str, compression: Compression, buffer_bytes: usize) -> Result<Self> {
        let path = Path::new(path);
        let io = |e| Error::io(path, "open the file", e);
        // Before it is opened: opening a pipe would wait for somebody to write into it.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(
                Error::new(ErrorKind::Io, "expected a file, found a folder or a device").at_path(path)
            );
        }
        let file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let buffer_bytes = buffer_bytes.max(1);
        let file = BufReader::with_capacity(buffer_bytes, file);
        let source = match compression {
            Compression::None => Source::Plain(file),
            _ => {
                let decoder =
                    compression.decoder(file).map_err(|e| Error::io(path, "inflate the file", e))?;
                Source::Inflated(BufReader::with_capacity(buffer_bytes, decoder))
            }
        };
        Ok(Stream { path: path.to_owned(), source, file_bytes, position: 0 })
    }

    /// Bytes of the file, compressed ones if it is.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where the next byte lies, among the inflated ones if the file is compressed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Where the last byte ends, where that is known.
    pub(super) fn end(&self) -> Option<u64> {
        match self.source {
            Source::Plain(_) => Some(self.file_bytes),
            Source::Inflated(_) => None,
        }
    }

    /// At most so many bytes can be one record: what is left of the file, or what it may inflate to.
    pub(super) fn most_bytes(&self) -> u64 {
        match self.source {
            Source::Plain(_) => self.file_bytes.saturating_sub(self.position),
            Source::Inflated(_) => expansion_cap(self.file_bytes),
        }
    }

    /// The next `limit` bytes, or those that are left.
    fn next(&mut self, limit: u64) -> io::Take<&mut (dyn BufRead + Send)> {
        let limit = match self.source {
            Source::Plain(_) => limit.min(self.file_bytes.saturating_sub(self.position)),
            Source::Inflated(_) => limit,
        };
        self.source.bytes().take(limit)
    }

    /// Appends the next `wanted` bytes to `out`: fewer where the file ends. Returns how many.
    ///
    /// # Errors
    ///
    /// `Io`, `Malformed` for a compressed stream that is damaged, `Truncated` for a file that became shorter, `TooLarge` for
    /// bytes there is no memory for.
    pub(super) fn read(&mut self, wanted: u64, out: &mut Vec<u8>) -> Result<u64> {
        if let Some(end) = self.end() {
            let there = wanted.min(end.saturating_sub(self.position));
            // Where bytes are added again and again, room is made for more of them at a time.
            let reserve = if out.is_empty() { Vec::try_reserve_exact } else { Vec::try_reserve };
            usize::try_from(there).ok().and_then(|there| reserve(out, there).ok()).ok_or_else(|| {
                self.place(Error::new(
                    ErrorKind::TooLarge,
                    format!("no memory is left for the next {there} bytes of the file"),
                ))
            })?;
        }
        let read = self.next(wanted).read_to_end(out);
        let read = read.map_err(|e| self.failed(e))? as u64;
        self.position += read;
        self.expect_end_after(read < wanted)?;
        Ok(read)
    }

    /// Appends the bytes up to and with the next line feed to `out`, or those that are left.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); `TooLarge` for a line longer than a compressed file may become.
    pub(super) fn read_line(&mut self, out: &mut Vec<u8>) -> Result<u64> {
        let most = self.most_bytes();
        let read = self.next(most.saturating_add(1)).read_until(b'\n', out);
        let read = read.map_err(|e| self.failed(e))? as u64;
        if read > most {
            return Err(self.place(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "expected a line of at most {most} bytes in a compressed file of {}",
                    self.file_bytes
                ),
            )));
        }
        self.position += read;
        self.expect_end_after(out.last() != Some(&b'\n'))?;
        Ok(read)
    }

    /// Passes over the bytes up to and with the next line feed, or those that are left; `false` where there were none.
    pub(super) fn skip_line(&mut self) -> Result<bool> {
        let skipped = self.next(u64::MAX).skip_until(b'\n');
        let skipped = skipped.map_err(|e| self.failed(e))? as u64;
        self.position += skipped;
        self.expect_end_after(skipped == 0)?;
        Ok(skipped > 0)
    }

    /// Passes over the next `wanted` bytes: fewer where the file ends. Returns how many.
    pub(super) fn skip(&mut self, wanted: u64) -> Result<u64> {
        let skipped = match &mut self.source {
            Source::Plain(file) => {
                let there = wanted.min(self.file_bytes.saturating_sub(self.position));
                let moved = match i64::try_from(there) {
                    Ok(there) => file.seek_relative(there),
                    Err(_) => file.seek(SeekFrom::Start(self.position + there)).map(drop),
                };
                moved.map(|()| there)
            }
            Source::Inflated(decoder) => io::copy(&mut decoder.take(wanted), &mut io::sink()),
        };
        let skipped = skipped.map_err(|e| self.failed(e))?;
        self.position += skipped;
        Ok(skipped)
    }

    /// Where the file was found to end, it must not have become shorter.
    fn expect_end_after(&self, at_end: bool) -> Result<()> {
        match self.end() {
            Some(end) if at_end && self.position < end => Err(self.place(Error::new(
                ErrorKind::Truncated,
                format!("expected the {end} bytes the file had when it was opened, found that it is shorter"),
            ))),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match self.source {
            // What the system says of the compressed file itself has a number; what the decoder says of its bytes has none.
            Source::Inflated(_) if error.raw_os_error().is_none() => Error::malformed(format!(
                "the compressed stream breaks off within what follows {} inflated bytes: {error}",
                self.position
            ))
            .with_source(error)
            .at_path(&self.path)
            .at_byte(self.position),
            _ => Error::io(&self.path, "read the file", error).at_byte(self.position),
        }
    }

    /// `error`, in this file at the next byte.
    pub(super) fn place(&self, error: Error) -> Error {
        error.at_path(&self.path).at_byte(self.position)
    }
}
