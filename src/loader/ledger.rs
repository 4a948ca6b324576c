//! The bad records that a loader left out.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::batch::{BadRecord, OnBadRecord};
use crate::error::{Error, ErrorKind, Result};

/// How many of the last entries an error lists.
const LISTED: usize = 3;

/// Every bad record of the batches the trainer received, each once.
pub(super) struct Ledger {
    limit: u64,
    rows: HashSet<u64>,
    records: Vec<BadRecord>,
    skipped: u64,
}

impl Ledger {
    /// Goes on from the `records` of earlier batches.
    pub(super) fn new(policy: OnBadRecord, records: Vec<BadRecord>) -> Self {
        let limit = match policy {
            OnBadRecord::Fail => 0,
            OnBadRecord::Skip { limit } => limit,
        };
        let rows = records.iter().map(|bad| bad.row).collect();
        Ledger { limit, rows, records, skipped: 0 }
    }

    pub(super) fn records(&self) -> &[BadRecord] {
        &self.records
    }

    /// Rows left out since this loader was built, each as often as it was.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Notes the bad records of a batch.
    ///
    /// # Errors
    ///
    /// `Malformed`, with the last entries, if they are more than may be left out.
    pub(super) fn add(&mut self, bad: Vec<BadRecord>) -> Result<()> {
        let before = self.records.len();
        self.skipped += bad.len() as u64;
        self.records.extend(bad.into_iter().filter(|bad| self.rows.insert(bad.row)));
        if self.records.len() as u64 <= self.limit || self.records.len() == before {
            return Ok(());
        }
        let listed = self.records.iter().rev().take(LISTED).map(ToString::to_string);
        let (limit, found) = (self.limit, self.records.len());
        let message = format!(
            "expected at most {limit} bad records, found {found}; the last: {}",
            listed.collect::<Vec<_>>().join("; ")
        );
        Err(Error::new(ErrorKind::Malformed, message))
    }
}
