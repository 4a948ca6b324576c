//! Records that cannot be read: which they are, and the ledger of those that were left out.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use super::columns::{Columns, Reader};
use super::{LEDGER, files};
use crate::batch::{BadRecord, OnBadRecord};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;

/// A bad record, and what reading it said.
pub(super) struct Bad {
    record: BadRecord,
    error: Error,
}

impl Bad {
    fn new(dataset: &Dataset, row: u64, error: Error) -> Self {
        let (record, error) = BadRecord::new(dataset, row, error);
        Bad { record, error }
    }
}

/// Reads `rows`: those that can be read, and the others. Once `enough` bad records are found, the others are not looked for,
/// and no batch is made.
///
/// # Errors
///
/// Those that are about more than a record.
pub(super) fn read(
    dataset: &Dataset,
    columns: &Columns,
    reader: &mut Reader,
    rows: &[u64],
    enough: usize,
) -> Result<(Option<RecordBatch>, Vec<Bad>)> {
    let error = match columns.gather(reader, rows) {
        Ok(batch) => return Ok((Some(batch), Vec::new())),
        Err(error) if reader.says_bad_record(&error) => error,
        Err(error) => return Err(error),
    };
    let mut search =
        Search { dataset, columns, reader, enough: enough.max(1), good: Vec::new(), bad: Vec::new() };
    search.halve(rows, error)?;
    let Search { good, bad, enough, .. } = search;
    if bad.len() >= enough {
        return Ok((None, bad));
    }
    columns.gather(reader, &good).map(|batch| (Some(batch), bad))
}

/// The search for the bad records among some rows, by halves.
struct Search<'a> {
    dataset: &'a Dataset,
    columns: &'a Columns,
    reader: &'a mut Reader,
    enough: usize,
    good: Vec<u64>,
    bad: Vec<Bad>,
}

impl Search<'_> {
    /// Finds those among `rows`, of which reading them said `error`.
    fn halve(&mut self, rows: &[u64], error: Error) -> Result<()> {
        if let [row] = rows {
            self.bad.push(Bad::new(self.dataset, *row, error));
            return Ok(());
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        for half in [first, second] {
            if self.bad.len() >= self.enough {
                return Ok(());
            }
            match self.columns.gather(self.reader, half) {
                Ok(_) => self.good.extend_from_slice(half),
                Err(error) if self.reader.says_bad_record(&error) => self.halve(half, error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The records left out so far.
pub(super) struct Ledger {
    policy: OnBadRecord,
    records: Vec<BadRecord>,
}

impl Ledger {
    /// The ledger of a conversion that left out `records` before it was interrupted.
    pub(super) fn new(policy: OnBadRecord, records: Vec<BadRecord>) -> Result<Self> {
        let ledger = Ledger { policy, records };
        match ledger.records.last() {
            Some(last) if ledger.is_over() => {
                Err(Error::invalid(ledger.over(&format!("record {}: {}", last.record, last.reason))))
            }
            _ => Ok(ledger),
        }
    }

    /// How many bad records of one batch are enough to end the conversion.
    pub(super) fn enough(policy: OnBadRecord) -> usize {
        match policy {
            OnBadRecord::Fail => 1,
            OnBadRecord::Skip { limit } => usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1),
        }
    }

    pub(super) fn records(&self) -> &[BadRecord] {
        &self.records
    }

    /// Notes `bad`; its error, if it is not to be left out. The ledger so far is then written into `folder`.
    pub(super) fn add(&mut self, bad: Bad, folder: &Path) -> Result<()> {
        if self.policy == OnBadRecord::Fail {
            return Err(bad.error);
        }
        self.records.push(bad.record);
        if !self.is_over() {
            return Ok(());
        }
        self.write(folder)?;
        let over = Error::new(bad.error.kind(), self.over(bad.error.message()));
        let location = bad.error.location().clone();
        let over = location.path.iter().fold(over, |over, path| over.at_path(path));
        let over = location.record.into_iter().fold(over, Error::at_record);
        let over = location.byte.into_iter().fold(over, Error::at_byte);
        Err(over.with_source(bad.error))
    }

    fn is_over(&self) -> bool {
        match self.policy {
            OnBadRecord::Fail => !self.records.is_empty(),
            OnBadRecord::Skip { limit } => self.records.len() as u64 > limit,
        }
    }

    fn over(&self, last: &str) -> String {
        let limit = Ledger::enough(self.policy) - 1;
        format!(
            "expected at most {limit} bad records, found {} ({LEDGER} in the folder lists them); the last: {last}",
            self.records.len()
        )
    }

    /// Writes the ledger into `folder`; where nothing was left out, there is none.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(LEDGER);
        if self.records.is_empty() {
            return files::remove(&path);
        }
        let lines = self.records.iter().map(|record| {
            let line = serde_json::to_string(record).expect("numbers and strings are JSON");
            line + "\n"
        });
        files::write_atomically(&path, &lines.collect::<String>())
    }
}

/// How many records the conversion into `folder` left out.
pub(super) fn skipped(folder: &Path) -> u64 {
    fs::read_to_string(folder.join(LEDGER)).map_or(0, |text| text.lines().count() as u64)
}
