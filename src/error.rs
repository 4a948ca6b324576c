//! The one error type: what went wrong, where in the data, and what lies beneath it.
//!
//! Every message is a sentence a person can act on: what was expected, what was found. The place
//! ([`Location`]) is kept apart from the sentence, so that a program can read it as well.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is; for programs that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: a file that cannot be opened, read, mapped or written.
    Io,
    /// An option or argument that cannot be honoured; the message holds the bad value.
    InvalidArgument,
    /// Bytes that do not follow their format.
    Malformed,
    /// Well-formed, but of a type or version this crate does not read.
    Unsupported,
    /// A mapped file became shorter, or a page of it could not be read, while it was in use.
    Truncated,
    /// Two things that must agree do not: schemas, lengths, checksums, a state and its dataset.
    Mismatch,
    /// A memory budget that the work asked for does not fit into.
    TooLarge,
    /// There is no more: a queue that is closed and holds too little, a producer after its last epoch.
    OutOfRange,
    /// Closed or cancelled by another thread, before the call or while it waited.
    Cancelled,
    /// What was waited for did not come in the time given.
    Timeout,
    /// Used after its own end: a writer that was closed, a pipeline that was joined.
    Closed,
    /// The driver of a GPU refused or failed; the message holds its call, and its name for what went wrong.
    Device,
    /// User code or a worker panicked; the message holds the panic's own.
    Panic,
    /// The loader was built in another process: threads do not survive a `fork`.
    Forked,
    /// A promise of this crate did not hold: please report it.
    Internal,
}

impl ErrorKind {
    /// The kind in words, as messages begin.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Io => "I/O error",
            ErrorKind::InvalidArgument => "invalid argument",
            ErrorKind::Malformed => "malformed data",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Truncated => "file changed while in use",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::TooLarge => "too large",
            ErrorKind::OutOfRange => "out of range",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Timeout => "timed out",
            ErrorKind::Closed => "used after close",
            ErrorKind::Device => "device error",
            ErrorKind::Panic => "panic",
            ErrorKind::Forked => "used after fork",
            ErrorKind::Internal => "internal error",
        }
    }
}

/// Where in the data an error lies. Every part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub path: Option<PathBuf>,
    /// The record (row, message, record batch) within the file, counted from 0.
    pub record: Option<u64>,
    /// The byte within the file, counted from 0.
    pub byte: Option<u64>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(path) = &self.path {
            write!(f, "{}", path.display())?;
            gap = ", ";
        }
        if let Some(record) = self.record {
            write!(f, "{gap}record {record}")?;
            gap = ", ";
        }
        if let Some(byte) = self.byte {
            write!(f, "{gap}byte {byte}")?;
        }
        Ok(())
    }
}

/// The error of every fallible call of this crate.
///
/// One pointer wide, so that a `Result<()>` stays in a register.
///
/// ```
/// use forebay::{Dataset, ErrorKind};
/// let error = Dataset::open("no/such/folder").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Io);
/// assert_eq!(error.location().path.as_deref(), Some("no/such/folder".as_ref()));
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    location: Location,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), location: Location::default(), source: None }))
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without kind and place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the data it happened, as far as known.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Whether it says that what was read is bad, and will be when it is read again; rather than that it could not be read.
    pub(crate) fn is_bad_data(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Malformed | ErrorKind::Mismatch)
    }

    /// The same error, in the file at `path` (unless a file is already named).
    #[must_use]
    pub fn at_path(mut self, path: impl AsRef<Path>) -> Self {
        self.0.location.path.get_or_insert_with(|| path.as_ref().to_owned());
        self
    }

    /// The same error, at record `record` (unless a record is already named).
    #[must_use]
    pub fn at_record(mut self, record: u64) -> Self {
        self.0.location.record.get_or_insert(record);
        self
    }

    /// The same error, at byte `byte` (unless a byte is already named).
    #[must_use]
    pub fn at_byte(mut self, byte: u64) -> Self {
        self.0.location.byte.get_or_insert(byte);
        self
    }

    /// The same error, its byte counted from `start` on; at `start` where no byte was named.
    #[must_use]
    pub(crate) fn after_byte(mut self, start: u64) -> Self {
        let byte = &mut self.0.location.byte;
        *byte = Some(byte.unwrap_or(0).saturating_add(start));
        self
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// The same error, in the column `name`.
    #[must_use]
    pub(crate) fn in_column(mut self, name: &str) -> Self {
        self.0.message = format!("column '{name}': {}", self.0.message).into();
        self
    }

    pub(crate) fn io(path: impl AsRef<Path>, doing: &str, source: io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("cannot {doing}: {source}")).at_path(path).with_source(source)
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Malformed, message)
    }

    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Mismatch, message)
    }

    /// The error a caught panic becomes.
    pub(crate) fn panicked(doing: &str, payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a payload that is no text");
        Error::new(ErrorKind::Panic, format!("{doing} panicked: {said}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.location != Location::default() {
            write!(f, "{}: ", self.0.location)?;
        }
        write!(f, "{}: {}", self.0.kind.as_str(), self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_then_what() {
        let error = Error::malformed("expected 4 bytes of magic, found 2").at_path("a.idx").at_byte(0);
        assert_eq!(error.to_string(), "a.idx, byte 0: malformed data: expected 4 bytes of magic, found 2");
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_first_place_named_stays() {
        let error = Error::malformed("x").at_path("inner").at_record(3).at_path("outer").at_record(9);
        assert_eq!(error.location().path.as_deref(), Some(Path::new("inner")));
        assert_eq!(error.location().record, Some(3));
    }

    #[test]
    fn a_panic_keeps_its_words() {
        let payload = std::panic::catch_unwind(|| panic!("row {} is odd", 7)).unwrap_err();
        assert_eq!(Error::panicked("map_batch", &*payload).message(), "map_batch panicked: row 7 is odd");
    }
}
