//! Where a dataset is cut into shards and record batches.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::Xxh3;

use super::ConvertOptions;
use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// About how many bytes of values a record batch holds.
const BATCH_BYTES: u64 = 8 << 20;

/// Rows looked at to estimate the size of rows of varying length.
const SAMPLE_ROWS: u64 = 256;

/// The cut of one conversion; a function of the dataset and the options alone, so that a second run cuts alike.
pub(super) struct Plan {
    pub(super) rows: u64,
    pub(super) rows_per_batch: u64,
    rows_per_shard: u64,
    /// A hash of the source and of the cut, as 16 hexadecimal digits.
    pub(super) source: String,
}

impl Plan {
    pub(super) fn new(dataset: &Dataset, options: &ConvertOptions) -> Result<Self> {
        if options.shard_bytes == 0 {
            return Err(Error::invalid("the size of a shard must be at least 1 byte, found 0"));
        }
        let row_bytes = row_bytes(dataset)?;
        let rows_per_batch = floor_to_power_of_two(BATCH_BYTES.min(options.shard_bytes) / row_bytes);
        let batches_per_shard = (options.shard_bytes / row_bytes / rows_per_batch).max(1);
        let rows_per_shard = rows_per_batch.saturating_mul(batches_per_shard);
        let mut hasher = Xxh3::new();
        for word in [dataset.fingerprint(), rows_per_batch, rows_per_shard] {
            hasher.update(&word.to_le_bytes());
        }
        for metadata in dataset.paths().filter_map(|path| path.metadata().ok()) {
            hasher.update(&metadata.len().to_le_bytes());
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hasher.update(&written.unwrap_or_default().as_nanos().to_le_bytes());
        }
        let source = format!("{:016x}", hasher.digest());
        Ok(Plan { rows: dataset.len(), rows_per_batch, rows_per_shard, source })
    }

    /// Shards in all; one without rows where there are none, so that the columns are known.
    pub(super) fn num_shards(&self) -> usize {
        self.rows.div_ceil(self.rows_per_shard).max(1) as usize
    }

    /// The rows of shard `number`.
    pub(super) fn shard_rows(&self, number: usize) -> Range<u64> {
        let start = number as u64 * self.rows_per_shard;
        start..start.saturating_add(self.rows_per_shard).min(self.rows)
    }
}

/// The size of a row, at least 1: exact where rows have one length, an estimate from evenly spaced rows otherwise.
fn row_bytes(dataset: &Dataset) -> Result<u64> {
    let exact = dataset
        .columns()
        .iter()
        .map(|column| column.kind.row_bytes().map(|bytes| bytes as u64))
        .sum::<Option<u64>>();
    if let Some(bytes) = exact {
        return Ok(bytes.max(1));
    }
    let count = dataset.len().min(SAMPLE_ROWS);
    if count == 0 {
        return Ok(1);
    }
    let rows: Vec<_> =
        (0..count).map(|i| (u128::from(i) * u128::from(dataset.len()) / u128::from(count)) as u64).collect();
    let sample = dataset.gather(&rows)?;
    let bytes: usize =
        sample.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    Ok((bytes as u64).div_ceil(count).max(1))
}

/// The largest power of two that is not above `n`; 1 for 0.
fn floor_to_power_of_two(n: u64) -> u64 {
    1 << n.max(1).ilog2()
}
