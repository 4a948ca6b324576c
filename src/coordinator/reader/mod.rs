//! Readers: records of the files whose names come from a queue.
//!
//! A reader takes a *work unit* (mostly the name of a file) from a queue, reads its records one by one, and takes the next
//! unit when that one is finished. It ends when the queue does.
//!
//! | reader | a record is | its key |
//! |---|---|---|
//! | [`LineReader`] | a line, without its end | `file:N`, N counted from 1, header lines included |
//! | [`FixedLengthReader`] | so many bytes | `file:n`, n counted from 0 |
//! | [`TfRecordReader`] | the payload of a TFRecord | `file:offset`, the byte at which its frame begins |
//! | [`WholeFileReader`] | a file | the file |
//! | [`IdentityReader`] | the work unit itself | the work unit |
//!
//! ```
//! use forebay::coordinator::reader::{LineReader, Reader};
//! use forebay::queue::{FifoQueue, Queue};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("pets.csv").to_str().unwrap().to_owned();
//! std::fs::write(&path, "name,age\ncat,4\ndog,7\n")?;
//! let queue = FifoQueue::new(10)?;
//! queue.enqueue(path.clone())?;
//! queue.close(false);
//! let reader = LineReader::new().skip_header_lines(1);
//! let (key, line) = reader.read(&queue)?;
//! assert_eq!((key, &line[..]), (format!("{path}:2"), &b"cat,4"[..]));
//! assert_eq!(reader.read(&queue)?.1, "dog,7");
//! assert_eq!(reader.read(&queue).unwrap_err().kind(), forebay::ErrorKind::OutOfRange);
//! assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (2, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # When a file is bad
//!
//! An error names the file, the record and the byte, and the unit is given up: the next call goes on with the next file. A
//! record behind a damaged one cannot be trusted to begin where it seems to. A unit that was given up does not count as
//! completed. Whoever wants a bad record to be passed over and the rest of its file read opens the files as a
//! [`Dataset`](crate::Dataset).
//!
//! # Memory
//!
//! Files are read as streams. A record takes no more memory than is left of its file; one of a compressed file no more than
//! 64 MiB, or 256 times the file if that is more. What a file claims is checked before anything is allocated.
#![forbid(unsafe_code)]

mod engine;
mod state;
mod stream;

mod fixed;
mod lines;
mod tfrecord;
mod whole;

use bytes::Bytes;

pub use fixed::FixedLengthReader;
pub use lines::LineReader;
pub use state::ReaderState;
pub(crate) use state::read_state;
pub use tfrecord::TfRecordReader;
pub use whole::{IdentityReader, WholeFileReader};

use crate::error::Result;
use crate::queue::Queue;

/// Reads the records of work units from a queue.
///
/// Threads may share a reader, all with the same queue: each record goes to one of them. While one waits for the queue, the
/// others wait for it, and whatever wakes it there (a unit, a close, a cancel) wakes them.
pub trait Reader: Send + Sync {
    /// The next record and its key. Takes the next unit from `work`, and waits for one, when none is open.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) when the queue is closed and empty and the last unit is finished;
    /// [`Cancelled`](crate::ErrorKind::Cancelled) once the queue is cancelled and no unit is open. Those of the file, with
    /// file, record and byte: the unit is given up then.
    fn read(&self, work: &dyn Queue<String>) -> Result<(String, Bytes)>;

    /// Up to `n` of the next records, at least one: as many as the open unit has, or a new one where none is open. With
    /// records in hand it neither waits for a unit nor errs: an error behind them is what the next call gets.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); `InvalidArgument` for an `n` of 0.
    fn read_up_to(&self, work: &dyn Queue<String>, n: usize) -> Result<Vec<(String, Bytes)>>;

    /// Records handed out since the reader was made or reset.
    fn num_records_produced(&self) -> u64;

    /// Units read to their ends since the reader was made or reset; those that were given up are not counted.
    fn num_work_units_completed(&self) -> u64;

    /// Gives up the open unit and sets the counters to 0. The next call takes the next unit from its queue.
    fn reset(&self);

    /// Where the reader is: after the last record it handed out. It reads nothing for it, and never waits for a queue.
    fn state(&self) -> ReaderState;

    /// Goes on where `state` was taken, in the same file at the same record; what was open is given up. The queue is to be
    /// as it was then: units that were taken are not taken again.
    ///
    /// # Errors
    ///
    /// `Mismatch` for the state of another kind of reader, one of other options, or a file that has another length than
    /// then; those of opening the file. The reader is as before then.
    fn restore(&self, state: &ReaderState) -> Result<()>;
}
