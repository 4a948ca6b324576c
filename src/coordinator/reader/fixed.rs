//! A record is so many bytes.
#![forbid(unsafe_code)]

use bytes::Bytes;

use super::engine::{Engine, Kind, Next, Unit, reader};
use super::state::Place;
use super::stream::{BUFFER_BYTES, Stream};
use crate::error::{Error, Result};
use crate::format::Compression;

/// Reads files of records of one length, between a header and a footer.
///
/// The key of a record is `file:n`, its number in the file counted from 0. A part of a record at the end of a file is no
/// record: it ends the file, and is counted in [`partial_bytes`](Self::partial_bytes). The layout is drawn in
/// [`format::fixed`](crate::format::fixed).
///
/// ```
/// use forebay::coordinator::reader::FixedLengthReader;
///
/// // A header of 16 bytes, then windows of 10 bytes, each 5 bytes behind the one before.
/// let reader = FixedLengthReader::new(10)?.header_bytes(16).hop_bytes(5);
/// # let _ = reader;
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct FixedLengthReader {
    kind: FixedLength,
    engine: Engine,
}

#[derive(Clone, Copy)]
struct FixedLength {
    header_bytes: u64,
    record_bytes: u64,
    footer_bytes: u64,
    hop_bytes: u64,
    compression: Compression,
}

impl FixedLengthReader {
    /// A reader of records of `record_bytes` bytes that touch, in files of nothing else.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for records of no bytes.
    pub fn new(record_bytes: u64) -> Result<Self> {
        if record_bytes == 0 {
            return Err(Error::invalid("record_bytes is 0: a record has at least one byte"));
        }
        let kind = FixedLength {
            header_bytes: 0,
            record_bytes,
            footer_bytes: 0,
            hop_bytes: 0,
            compression: Compression::None,
        };
        Ok(FixedLengthReader { kind, engine: Engine::default() })
    }

    /// Bytes before the first record. Default: 0.
    #[must_use]
    pub fn header_bytes(mut self, bytes: u64) -> Self {
        self.kind.header_bytes = bytes;
        self
    }

    /// Bytes at the end of a file that belong to no record. Default: 0.
    #[must_use]
    pub fn footer_bytes(mut self, bytes: u64) -> Self {
        self.kind.footer_bytes = bytes;
        self
    }

    /// Bytes from the start of one record to the start of the next: records overlap when it is less than their length, and
    /// bytes are passed over when it is more. Default: 0, which means the length of a record.
    #[must_use]
    pub fn hop_bytes(mut self, bytes: u64) -> Self {
        self.kind.hop_bytes = bytes;
        self
    }

    /// How the files are compressed. Default: not at all.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.kind.compression = compression;
        self
    }

    /// How many bytes the completed files had, since the reader was made or reset, between their last records and their
    /// footers; those that a long hop passes over are not counted.
    pub fn partial_bytes(&self) -> u64 {
        self.engine.partial_bytes()
    }
}

reader!(FixedLengthReader);

impl Kind for FixedLength {
    fn describe(&self) -> String {
        let FixedLength { header_bytes, record_bytes, footer_bytes, hop_bytes, compression } = self;
        format!(
            "records of {record_bytes} bytes, {header_bytes} of header, {footer_bytes} of footer, hop {hop_bytes}, \
             compression {compression}"
        )
    }

    fn open(&self, work: &str, from: Option<&Place>) -> Result<Box<dyn Unit>> {
        let mut stream = Stream::open(work, self.compression, BUFFER_BYTES)?;
        let mut place =
            Place { file_bytes: stream.file_bytes(), byte: self.header_bytes, ..Place::default() };
        match from {
            Some(from) => {
                from.go_to(&mut stream)?;
                place = *from;
            }
            None => {
                let skipped = stream.skip(self.header_bytes)?;
                if skipped < self.header_bytes {
                    return Err(self.too_short(&stream, skipped));
                }
            }
        }
        let window = Window { bytes: Vec::new(), start: 0 };
        Ok(Box::new(FixedUnit { work: work.to_owned(), kind: *self, stream, window, place }))
    }
}

impl FixedLength {
    #[cold]
    fn too_short(&self, stream: &Stream, found: u64) -> Error {
        let expected = u128::from(self.header_bytes) + u128::from(self.footer_bytes);
        stream.place(Error::malformed(format!(
            "expected {expected} bytes of header and footer, found a file of {found} bytes"
        )))
    }
}

struct FixedUnit {
    work: String,
    kind: FixedLength,
    stream: Stream,
    /// Bytes from the beginning of the next record on.
    window: Window,
    place: Place,
}

/// Bytes that were read, of which those before `start` are done with.
struct Window {
    bytes: Vec<u8>,
    start: usize,
}

impl Window {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Reads until there are `wanted` bytes, or the file ends.
    fn fill(&mut self, wanted: u64, stream: &mut Stream) -> Result<()> {
        // What is done with is let go of when it is most of what is there, so that a byte is moved once or twice at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let missing = wanted.saturating_sub(self.rest().len() as u64);
        if missing > 0 {
            stream.read(missing, &mut self.bytes)?;
        }
        Ok(())
    }

    /// Passes over `bytes` bytes, or those that are left.
    fn skip(&mut self, bytes: u64, stream: &mut Stream) -> Result<()> {
        let here = self.rest().len();
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= here => self.start += bytes,
            _ => {
                stream.skip(bytes - here as u64)?;
                self.bytes.clear();
                self.start = 0;
            }
        }
        Ok(())
    }
}

impl FixedUnit {
    /// The next record; `Err` of the bytes left over where there is none.
    fn record(&mut self) -> Result<Result<Bytes, u64>> {
        let FixedLength { record_bytes, footer_bytes, hop_bytes, .. } = self.kind;
        let hop_bytes = if hop_bytes == 0 { record_bytes } else { hop_bytes };
        self.window.fill(record_bytes.saturating_add(footer_bytes), &mut self.stream)?;
        let left = self.window.rest().len() as u64;
        let is_first = self.place.record == 0;
        if is_first && left < footer_bytes {
            return Err(self.kind.too_short(&self.stream, self.stream.position()));
        }
        match left.checked_sub(footer_bytes) {
            Some(there) if there >= record_bytes => {
                // No longer than what was read.
                let record = Bytes::copy_from_slice(&self.window.rest()[..record_bytes as usize]);
                self.window.skip(hop_bytes, &mut self.stream)?;
                Ok(Ok(record))
            }
            there => {
                // The last record owns what the hop goes back over.
                let owned = if is_first { 0 } else { record_bytes.saturating_sub(hop_bytes) };
                Ok(Err(there.unwrap_or(0).saturating_sub(owned)))
            }
        }
    }
}

impl Unit for FixedUnit {
    fn next(&mut self) -> Result<Next> {
        let record = self.place.record;
        let next = self.record().map_err(|error| self.stream.place(error).at_record(record))?;
        let value = match next {
            Ok(value) => value,
            Err(partial_bytes) => return Ok(Next::End { partial_bytes }),
        };
        self.place.record += 1;
        // A hop beyond the end of the file ends at its end.
        self.place.byte = self.stream.position() - self.window.rest().len() as u64;
        Ok(Next::Record(format!("{}:{record}", self.work), value))
    }

    fn place(&self) -> Place {
        self.place
    }
}
