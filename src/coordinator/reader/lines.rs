//! A record is a line.
#![forbid(unsafe_code)]

use bytes::Bytes;

use super::engine::{Engine, Kind, Next, Unit, reader};
use super::state::Place;
use super::stream::{BUFFER_BYTES, Stream};
use crate::error::{Error, Result};
use crate::format::{Compression, text};

/// Reads files of text, a record a line.
///
/// A line ends with LF or CRLF, neither of which belongs to it; the last one needs none. Empty lines are records. The key of
/// a record is `file:N`, the number of its line counted from 1, skipped ones included. Lines are bytes: whether they are
/// text is for whoever decodes them to say.
///
/// ```
/// use forebay::coordinator::reader::LineReader;
/// use forebay::format::Compression;
///
/// let reader = LineReader::new().skip_header_lines(1).compression(Compression::Gzip);
/// # let _ = reader;
/// ```
pub struct LineReader {
    kind: Lines,
    engine: Engine,
}

struct Lines {
    header_lines: u64,
    compression: Compression,
}

impl Default for LineReader {
    fn default() -> Self {
        LineReader::new()
    }
}

impl LineReader {
    /// A reader of files without a header that are not compressed.
    pub fn new() -> Self {
        LineReader {
            kind: Lines { header_lines: 0, compression: Compression::None },
            engine: Engine::default(),
        }
    }

    /// How many lines at the beginning of each file are no records. Default: 0. A file of fewer lines has no records.
    #[must_use]
    pub fn skip_header_lines(mut self, lines: u64) -> Self {
        self.kind.header_lines = lines;
        self
    }

    /// How the files are compressed. Default: not at all.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.kind.compression = compression;
        self
    }
}

reader!(LineReader);

impl Kind for Lines {
    fn describe(&self) -> String {
        format!("lines, {} of header, compression {}", self.header_lines, self.compression)
    }

    fn open(&self, work: &str, from: Option<&Place>) -> Result<Box<dyn Unit>> {
        let mut stream = Stream::open(work, self.compression, BUFFER_BYTES)?;
        let mut place = Place { file_bytes: stream.file_bytes(), ..Place::default() };
        match from {
            Some(from) => {
                from.go_to(&mut stream)?;
                place = *from;
            }
            None => {
                while place.line < self.header_lines && stream.skip_line()? {
                    place.line += 1;
                }
                place.byte = stream.position();
            }
        }
        Ok(Box::new(LineUnit { work: work.to_owned(), stream, place }))
    }
}

struct LineUnit {
    work: String,
    stream: Stream,
    place: Place,
}

impl Unit for LineUnit {
    fn next(&mut self) -> Result<Next> {
        let mut line = Vec::new();
        let read =
            self.stream.read_line(&mut line).map_err(|error: Error| error.at_record(self.place.record))?;
        if read == 0 {
            return Ok(Next::End { partial_bytes: 0 });
        }
        line.truncate(text::content(&line).len());
        self.place.record += 1;
        self.place.line += 1;
        self.place.byte = self.stream.position();
        Ok(Next::Record(format!("{}:{}", self.work, self.place.line), Bytes::from(line)))
    }

    fn place(&self) -> Place {
        self.place
    }
}
