//! A record is the payload of a TFRecord.
#![forbid(unsafe_code)]

use bytes::Bytes;

use super::engine::{Engine, Kind, Next, Unit, reader};
use super::state::Place;
use super::stream::{BUFFER_BYTES, Stream};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Compression;
use crate::format::tfrecord::{FrameHeader, HEADER_BYTES, TRAILER_BYTES, check_payload, cut};

/// Reads TFRecord files, a record a payload.
///
/// The checksums of every length and every payload are looked at. The key of a record is `file:offset`, the byte of the
/// file at which its frame begins, of the inflated file if it is compressed.
///
/// ```
/// use forebay::coordinator::reader::TfRecordReader;
/// use forebay::format::Compression;
///
/// let reader = TfRecordReader::new().compression(Compression::Zlib);
/// # let _ = reader;
/// ```
pub struct TfRecordReader {
    kind: TfRecords,
    engine: Engine,
}

struct TfRecords {
    compression: Compression,
    buffer_bytes: usize,
}

impl Default for TfRecordReader {
    fn default() -> Self {
        TfRecordReader::new()
    }
}

impl TfRecordReader {
    /// A reader of files that are not compressed.
    pub fn new() -> Self {
        TfRecordReader {
            kind: TfRecords { compression: Compression::None, buffer_bytes: BUFFER_BYTES },
            engine: Engine::default(),
        }
    }

    /// How the files are compressed. Default: not at all.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.kind.compression = compression;
        self
    }

    /// How many bytes are read ahead from a file. Default: 64 KiB; at least 1.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.kind.buffer_bytes = bytes;
        self
    }
}

reader!(TfRecordReader);

impl Kind for TfRecords {
    fn describe(&self) -> String {
        format!("TFRecord, compression {}", self.compression)
    }

    fn open(&self, work: &str, from: Option<&Place>) -> Result<Box<dyn Unit>> {
        let mut stream = Stream::open(work, self.compression, self.buffer_bytes)?;
        let mut place = Place { file_bytes: stream.file_bytes(), ..Place::default() };
        if let Some(from) = from {
            from.go_to(&mut stream)?;
            place = *from;
        }
        Ok(Box::new(FrameUnit { work: work.to_owned(), stream, place }))
    }
}

struct FrameUnit {
    work: String,
    stream: Stream,
    place: Place,
}

impl FrameUnit {
    /// The payload of the next frame; `None` at the end of the file.
    fn payload(&mut self) -> Result<Option<Vec<u8>>> {
        let offset = self.place.byte;
        let mut header = Vec::new();
        match self.stream.read(HEADER_BYTES, &mut header)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            left => {
                return Err(Error::malformed(format!(
                    "expected the {HEADER_BYTES} bytes that begin a record, found {left} up to the end of the file"
                )));
            }
        }
        let header = header.first_chunk().expect("so many bytes were read");
        let header = FrameHeader::parse(header)?;
        let payload_bytes = header.payload_bytes;
        match self.stream.end() {
            Some(end) if header.end(offset, end).is_none() => return Err(cut(header, offset, end)),
            Some(_) => {}
            None if payload_bytes > self.stream.most_bytes() => {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "expected a record of at most {} bytes in a compressed file of {}, found one of {payload_bytes}",
                        self.stream.most_bytes(),
                        self.stream.file_bytes()
                    ),
                ));
            }
            None => {}
        }
        let mut payload = Vec::new();
        let read = self.stream.read(payload_bytes + TRAILER_BYTES, &mut payload)?;
        if read < payload_bytes + TRAILER_BYTES {
            return Err(cut(header, offset, offset + HEADER_BYTES + read));
        }
        let stored = *payload.last_chunk().expect("the trailer was read");
        payload.truncate(payload.len() - stored.len());
        check_payload(&payload, stored)?;
        Ok(Some(payload))
    }
}

impl Unit for FrameUnit {
    fn next(&mut self) -> Result<Next> {
        let Place { record, byte, .. } = self.place;
        let payload =
            self.payload().map_err(|error| self.stream.place(error.at_byte(byte)).at_record(record))?;
        let Some(payload) = payload else { return Ok(Next::End { partial_bytes: 0 }) };
        self.place.record += 1;
        self.place.byte = self.stream.position();
        Ok(Next::Record(format!("{}:{byte}", self.work), Bytes::from(payload)))
    }

    fn place(&self) -> Place {
        self.place
    }
}
