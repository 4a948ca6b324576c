//! What `inspect` tells of a dataset, and the regions its rows are read from.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Dataset;
use super::shard::Opened;
use crate::error::{Error, Result};
use crate::format::Values;
use crate::map::{Advice, Region};

/// One file of a dataset, as [`Dataset::shards`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// The file; `None` for a table in memory.
    pub path: Option<PathBuf>,
    /// Rows in it.
    pub num_rows: u64,
    /// Its record batches, or other runs of rows that lie in one piece.
    pub num_chunks: usize,
    /// For each column: its name, and how its rows are read: in memory, mapped, parsed or chunked, and in parentheses
    /// why, where that is not plain. Empty for a file without rows in any chunk.
    pub access: Vec<(String, String)>,
}

impl Dataset {
    /// The files of the dataset and how the columns of each are read. Opens every shard.
    pub fn shards(&self) -> Result<Vec<ShardInfo>> {
        let mut infos = Vec::new();
        for (table_index, table) in self.tables.iter().enumerate() {
            for shard in table.shards.iter() {
                let chunks: Vec<_> =
                    table.chunks.iter().filter(|chunk| Arc::ptr_eq(&chunk.shard, shard)).collect();
                let mut access = Vec::new();
                for (field, column) in self.schema.fields().iter().zip(&self.columns) {
                    if column.table == table_index
                        && let Some(chunk) = chunks.first()
                        && let Some(how) = chunk.access(column.index)?
                    {
                        access.push((field.name().clone(), how.to_string()));
                    }
                }
                infos.push(ShardInfo {
                    path: shard.path().map(Into::into),
                    num_rows: shard.num_rows,
                    num_chunks: chunks.len(),
                    access,
                });
            }
        }
        Ok(infos)
    }

    /// The files of the dataset.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.tables.iter().flat_map(|table| table.shards.iter()).filter_map(|shard| shard.path())
    }

    /// The mapped regions of every shard opened so far.
    pub(crate) fn regions(&self) -> Vec<&Region> {
        let shards = self.tables.iter().flat_map(|table| table.shards.iter());
        shards.filter_map(|shard| shard.if_opened()).flat_map(Opened::regions).collect()
    }

    /// Tells the system whether rows will be read one after another, or here and there.
    pub(crate) fn advise(&self, sequential: bool) {
        self.tables.iter().flat_map(|table| table.shards.iter()).for_each(|shard| shard.advise(sequential));
    }

    /// The file, and the record in it, that `row` comes from; of the first of the files where several lie side by side.
    pub(crate) fn place_of(&self, row: u64) -> (Option<&Path>, u64) {
        let tables = self.columns.iter().map(|column| &self.tables[column.table]);
        tables.map(|table| table.place_of(row)).next().unwrap_or((None, row))
    }

    /// `error`, which happened in `row`: in the file and the record it comes from.
    pub(crate) fn place(&self, row: u64, error: Error) -> Error {
        let (path, record) = self.place_of(row);
        path.into_iter().fold(error, Error::at_path).at_record(record)
    }

    /// Lets go of what rows before `row` needed in memory, where rows are read one after another.
    pub(crate) fn forget_before(&self, row: u64) {
        self.tables.iter().for_each(|table| table.forget_before(row));
    }

    /// Lets go of the pages of mapped files: they stay in the page cache, and come back when they are touched.
    pub(crate) fn release_pages(&self) {
        for region in self.regions() {
            // Advice: a system that does not take it holds the pages until it wants them.
            let _ = region.advise(0..region.len_bytes(), Advice::DontNeed);
        }
    }

    /// Errs if a file that rows were read from changed while it was mapped.
    pub(crate) fn check(&self) -> Result<()> {
        for shard in self.tables.iter().flat_map(|table| table.shards.iter()) {
            shard.if_opened().into_iter().flat_map(Opened::regions).try_for_each(Region::check)?;
        }
        Ok(())
    }

    /// Bytes that `columns`, given as (table, column in it), take where they must be decoded, in shards opened so far; with the budget.
    pub(crate) fn decoded_bytes(&self, columns: &[(usize, usize)]) -> (u64, u64) {
        let mut bytes = 0u64;
        let mut inflated = HashSet::new();
        for &(table, column) in columns {
            for (number, chunk) in self.tables[table].chunks.iter().enumerate() {
                if chunk.shard.if_opened().is_none() {
                    continue;
                }
                match chunk.piece(column).map(|piece| &piece.values) {
                    Ok(Values::Encoded { decoded_bytes, .. }) => bytes = bytes.saturating_add(*decoded_bytes),
                    // Inflated once for all columns.
                    Ok(Values::Inflated { file, .. }) if inflated.insert((table, number)) => {
                        bytes = bytes.saturating_add(file.len_bytes);
                    }
                    _ => {}
                }
            }
        }
        (bytes, self.tables.iter().map(|table| table.decoded.budget_bytes()).min().unwrap_or(u64::MAX))
    }
}
