//! What all readers share: one work unit at a time, by any number of threads.
//!
//! ```text
//!            ┌── a unit is open ──▶ its next record ──▶ done: the counters move, the next unit may be taken
//! a call ────┤
//!            └── none is ──▶ one thread waits for the queue, the lock let go of; the others wait for that thread
//! ```
//!
//! # Invariants
//!
//! - A unit is taken from the queue only when none is open; at most one thread of a reader waits for the queue.
//! - Nobody holds the lock while waiting for the queue, so that counters and state can always be had, and every thread
//!   that waits is woken when the one at the queue is, whatever it was told there.
//! - The place of a unit moves with the record that is handed out. Of a record that could not be read, the place is where it
//!   begins, until its error was handed out; then the unit is given up.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::state::{OpenUnit, Place, ReaderState};
use crate::error::{Error, Result};
use crate::queue::Queue;

/// A kind of reader: what it makes of a work unit.
pub(super) trait Kind: Send + Sync {
    /// The kind, and the options its records depend on.
    fn describe(&self) -> String;

    /// Begins the unit `work`, or goes on in it at `from`.
    fn open(&self, work: &str, from: Option<&Place>) -> Result<Box<dyn Unit>>;
}

/// A work unit that is being read.
pub(super) trait Unit: Send {
    /// What comes next. After an error it is not asked again.
    fn next(&mut self) -> Result<Next>;

    /// Where the next record begins; where the last one did if that was an error.
    fn place(&self) -> Place;
}

/// What comes next in a work unit.
pub(super) enum Next {
    /// A record with its key.
    Record(String, Bytes),
    /// The last record with its key.
    Last(String, Bytes),
    /// Nothing.
    End {
        /// Bytes at the end that are no whole record.
        partial_bytes: u64,
    },
}

/// What a reader has in hand, and how much it did.
#[derive(Default)]
pub(super) struct Engine {
    turn: Mutex<Turn>,
    /// Told when a thread comes back from the queue.
    fetched: Condvar,
}

#[derive(Default)]
struct Turn {
    open: Option<Open>,
    /// Units taken from the queue that were not begun: a unit that came while another was restored.
    taken: VecDeque<String>,
    /// Whether some thread waits for the queue.
    is_fetching: bool,
    records: u64,
    work_units: u64,
    partial_bytes: u64,
}

struct Open {
    work: String,
    unit: Box<dyn Unit>,
    /// What the next call gets.
    failed: Option<Error>,
}

impl Turn {
    /// The open unit came to its end.
    fn finish(&mut self, partial_bytes: u64) {
        self.open = None;
        self.work_units += 1;
        self.partial_bytes += partial_bytes;
    }
}

impl Engine {
    fn lock(&self) -> MutexGuard<'_, Turn> {
        // What a panic of a queue's own left behind is whole: nothing is changed in between two calls into it.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to `n` records, at least one.
    pub(super) fn read_up_to(
        &self,
        kind: &dyn Kind,
        queue: &dyn Queue<String>,
        n: usize,
    ) -> Result<Vec<(String, Bytes)>> {
        if n == 0 {
            return Err(Error::invalid("expected to read at least 1 record, found n = 0"));
        }
        let mut records = Vec::new();
        let mut turn = self.lock();
        loop {
            let Some(open) = &mut turn.open else {
                if !records.is_empty() {
                    return Ok(records);
                }
                turn = self.begin(turn, kind, queue)?;
                continue;
            };
            let next = open.failed.take().map_or_else(|| open.unit.next(), Err);
            match next {
                Ok(Next::Record(key, value)) => {
                    turn.records += 1;
                    records.push((key, value));
                }
                Ok(Next::Last(key, value)) => {
                    turn.records += 1;
                    turn.finish(0);
                    records.push((key, value));
                }
                Ok(Next::End { partial_bytes }) => turn.finish(partial_bytes),
                Err(error) if records.is_empty() => {
                    turn.open = None;
                    return Err(error);
                }
                Err(error) => {
                    open.failed = Some(error);
                    return Ok(records);
                }
            }
            if records.len() == n {
                return Ok(records);
            }
        }
    }

    /// Opens the next unit, or waits until one was taken from the queue.
    fn begin<'e>(
        &'e self,
        mut turn: MutexGuard<'e, Turn>,
        kind: &dyn Kind,
        queue: &dyn Queue<String>,
    ) -> Result<MutexGuard<'e, Turn>> {
        if let Some(work) = turn.taken.pop_front() {
            let unit = kind.open(&work, None)?;
            turn.open = Some(Open { work, unit, failed: None });
            return Ok(turn);
        }
        if turn.is_fetching {
            return Ok(self.fetched.wait(turn).unwrap_or_else(PoisonError::into_inner));
        }
        turn.is_fetching = true;
        drop(turn);
        let mut fetching = Fetching { engine: self, work: None };
        fetching.work = Some(queue.dequeue()?);
        drop(fetching);
        Ok(self.lock())
    }

    pub(super) fn num_records_produced(&self) -> u64 {
        self.lock().records
    }

    pub(super) fn num_work_units_completed(&self) -> u64 {
        self.lock().work_units
    }

    pub(super) fn partial_bytes(&self) -> u64 {
        self.lock().partial_bytes
    }

    pub(super) fn reset(&self) {
        let mut turn = self.lock();
        *turn =
            Turn { taken: std::mem::take(&mut turn.taken), is_fetching: turn.is_fetching, ..Turn::default() };
    }

    pub(super) fn state(&self, kind: &dyn Kind) -> ReaderState {
        let turn = self.lock();
        let open = turn.open.as_ref();
        ReaderState::new(
            kind.describe(),
            (turn.records, turn.work_units, turn.partial_bytes),
            open.map(|open| OpenUnit { work: open.work.clone(), place: open.unit.place() }),
            turn.taken.iter().cloned().collect(),
        )
    }

    pub(super) fn restore(&self, kind: &dyn Kind, state: &ReaderState) -> Result<()> {
        state.check(&kind.describe())?;
        let open = match &state.unit {
            Some(OpenUnit { work, place }) => {
                let unit = kind.open(work, Some(place))?;
                Some(Open { work: work.clone(), unit, failed: None })
            }
            None => None,
        };
        let mut turn = self.lock();
        *turn = Turn {
            open,
            taken: state.taken.iter().cloned().collect(),
            is_fetching: turn.is_fetching,
            records: state.records,
            work_units: state.work_units,
            partial_bytes: state.partial_bytes,
        };
        // Whoever waits for the thread at the queue has a unit to read now.
        self.fetched.notify_all();
        Ok(())
    }
}

/// That a thread waits for the queue; when it comes back, with a unit, with an error or by a panic, all others are told.
struct Fetching<'e> {
    engine: &'e Engine,
    work: Option<String>,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut turn = self.engine.lock();
        turn.is_fetching = false;
        turn.taken.extend(self.work.take());
        self.engine.fetched.notify_all();
    }
}

/// Makes a reader of a type with a field `engine`, an [`Engine`], and a field `kind`, its [`Kind`].
macro_rules! reader {
    ($reader:ty) => {
        impl $crate::coordinator::reader::Reader for $reader {
            fn read(
                &self,
                work: &dyn $crate::queue::Queue<String>,
            ) -> $crate::error::Result<(String, bytes::Bytes)> {
                let mut records = self.engine.read_up_to(&self.kind, work, 1)?;
                Ok(records.pop().expect("at least one record"))
            }

            fn read_up_to(
                &self,
                work: &dyn $crate::queue::Queue<String>,
                n: usize,
            ) -> $crate::error::Result<Vec<(String, bytes::Bytes)>> {
                self.engine.read_up_to(&self.kind, work, n)
            }

            fn num_records_produced(&self) -> u64 {
                self.engine.num_records_produced()
            }

            fn num_work_units_completed(&self) -> u64 {
                self.engine.num_work_units_completed()
            }

            fn reset(&self) {
                self.engine.reset();
            }

            fn state(&self) -> $crate::coordinator::reader::ReaderState {
                self.engine.state(&self.kind)
            }

            fn restore(&self, state: &$crate::coordinator::reader::ReaderState) -> $crate::error::Result<()> {
                self.engine.restore(&self.kind, state)
            }
        }

        impl std::fmt::Debug for $reader {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", $crate::coordinator::reader::engine::Kind::describe(&self.kind))
            }
        }
    };
}

pub(super) use reader;
