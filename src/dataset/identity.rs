//! What tells a dataset from others, and by what they differ.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Dataset;

/// A dataset in few words: enough to know it again, and to say what is different of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// 16 hexadecimal digits: many JSON readers hold 53 bits of a number.
    fingerprint: String,
    rows: u64,
    /// The name and the Arrow type of each.
    columns: Vec<String>,
    /// The first one, how many there are, and a hash of their names and the rows in each.
    files: String,
}

impl Identity {
    /// What this is and what `other` is instead, if they differ.
    pub(crate) fn difference(&self, other: &Identity) -> Option<(String, String)> {
        if self.fingerprint == other.fingerprint {
            return None;
        }
        let both = |say: &dyn Fn(&Identity) -> String| Some((say(self), say(other)));
        if self.columns.len() != other.columns.len() {
            return both(&|of| format!("the columns {}", of.columns.join(", ")));
        }
        if let Some(column) = (0..self.columns.len()).find(|&i| self.columns[i] != other.columns[i]) {
            return both(&|of| format!("the column {}", of.columns[column]));
        }
        if (self.rows, &self.files) != (other.rows, &other.files) {
            return both(&|of| format!("{} rows of {}", of.rows, of.files));
        }
        both(&|of| {
            format!(
                "{} rows of {} chosen or put in order as fingerprint {} says",
                of.rows, of.files, of.fingerprint
            )
        })
    }
}

impl Dataset {
    /// What tells this dataset from others: its columns, its rows, the names of its files and the rows in each.
    ///
    /// Neither where the files lie nor when they were written matters, so that a dataset that was moved is
    /// the same one.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            hasher.update(field.name().as_bytes());
            hasher.update(format!("\0{}\0", field.data_type()).as_bytes());
            hasher.write_u64(column.table as u64);
            hasher.write_u64(column.index as u64);
        }
        self.hash_files(&mut hasher);
        self.tables.iter().for_each(|table| table.rows.fingerprint(&mut hasher));
        hasher.digest()
    }

    pub(crate) fn identity(&self) -> Identity {
        let fields = self.schema.fields().iter();
        let mut hasher = Xxh3::new();
        self.hash_files(&mut hasher);
        let mut shards = self.tables.iter().flat_map(|table| table.shards.iter());
        let mut files = shards.next().map_or("no file".to_owned(), |first| first.name.clone());
        if let more @ 1.. = shards.count() {
            let _ = write!(files, " and {more} more");
        }
        let _ = write!(files, " ({:016x})", hasher.digest());
        Identity {
            fingerprint: format!("{:016x}", self.fingerprint()),
            rows: self.len,
            columns: fields.map(|field| format!("'{}' {}", field.name(), field.data_type())).collect(),
            files,
        }
    }

    /// Feeds the names of the files, and the rows in each, to `hasher`.
    fn hash_files(&self, hasher: &mut Xxh3) {
        for shard in self.tables.iter().flat_map(|table| table.shards.iter()) {
            hasher.update(shard.name.as_bytes());
            hasher.write_u64(shard.num_rows);
        }
    }
}
