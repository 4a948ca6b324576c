//! A record is a whole file, or the work unit itself.
#![forbid(unsafe_code)]

use bytes::Bytes;

use super::engine::{Engine, Kind, Next, Unit, reader};
use super::state::Place;
use super::stream::{BUFFER_BYTES, Stream};
use crate::error::Result;
use crate::format::Compression;

/// Reads files whole: the key is the file, the value its bytes.
///
/// ```
/// let pictures = forebay::coordinator::reader::WholeFileReader::new();
/// # let _ = pictures;
/// ```
pub struct WholeFileReader {
    kind: WholeFiles,
    engine: Engine,
}

struct WholeFiles;

impl Default for WholeFileReader {
    fn default() -> Self {
        WholeFileReader::new()
    }
}

impl WholeFileReader {
    /// A reader of whole files.
    pub fn new() -> Self {
        WholeFileReader { kind: WholeFiles, engine: Engine::default() }
    }
}

reader!(WholeFileReader);

impl Kind for WholeFiles {
    fn describe(&self) -> String {
        "whole files".to_owned()
    }

    fn open(&self, work: &str, from: Option<&Place>) -> Result<Box<dyn Unit>> {
        let mut stream = Stream::open(work, Compression::None, BUFFER_BYTES)?;
        if let Some(from) = from {
            from.go_to(&mut stream)?;
        }
        Ok(Box::new(WholeFile { work: work.to_owned(), stream }))
    }
}

struct WholeFile {
    work: String,
    stream: Stream,
}

impl Unit for WholeFile {
    fn next(&mut self) -> Result<Next> {
        let mut bytes = Vec::new();
        self.stream.read(self.stream.file_bytes(), &mut bytes)?;
        Ok(Next::Last(self.work.clone(), Bytes::from(bytes)))
    }

    fn place(&self) -> Place {
        Place { file_bytes: self.stream.file_bytes(), ..Place::default() }
    }
}

/// Hands out the work units themselves, as key and as value: for whoever makes records of them in another way.
///
/// ```
/// let names = forebay::coordinator::reader::IdentityReader::new();
/// # let _ = names;
/// ```
pub struct IdentityReader {
    kind: Identity,
    engine: Engine,
}

struct Identity;

impl Default for IdentityReader {
    fn default() -> Self {
        IdentityReader::new()
    }
}

impl IdentityReader {
    /// A reader of work units.
    pub fn new() -> Self {
        IdentityReader { kind: Identity, engine: Engine::default() }
    }
}

reader!(IdentityReader);

impl Kind for Identity {
    fn describe(&self) -> String {
        "work units".to_owned()
    }

    fn open(&self, work: &str, _: Option<&Place>) -> Result<Box<dyn Unit>> {
        Ok(Box::new(Itself(work.to_owned())))
    }
}

struct Itself(String);

impl Unit for Itself {
    fn next(&mut self) -> Result<Next> {
        Ok(Next::Last(self.0.clone(), Bytes::from(self.0.clone())))
    }

    fn place(&self) -> Place {
        Place::default()
    }
}
