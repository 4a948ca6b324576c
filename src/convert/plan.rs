//! Where a dataset is cut into shards and record batches, and which rows each holds.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::UNIX_EPOCH;

use arrow::array::{Array, ArrayData, RecordBatch};
use xxhash_rust::xxh3::Xxh3;

use super::columns::Columns;
use super::{ConvertOptions, bad};
use crate::batch::OnBadRecord;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::sampler::{EpochOrder, Order, Shuffle};

/// About how many bytes of values a record batch holds.
const BATCH_BYTES: u64 = 8 << 20;

/// The size of a shard where nothing is said of it.
const SHARD_BYTES: u64 = 256 << 20;

/// Record batches a shard has at least, where the number of shards is given and the rows allow it: shards then differ by an
/// eighth at most.
const BATCHES_PER_SHARD: u64 = 8;

/// Rows are looked at in so many places to estimate the size of rows of varying length; each may cost a chunk to be decoded.
const SAMPLE_PLACES: u64 = 4;

/// Rows looked at in one place, at the most.
const SAMPLE_ROWS: u64 = 256;

/// About how many bytes are looked at in one place.
const SAMPLE_BYTES: u64 = 1 << 20;

/// The cut of one conversion; a function of the dataset and the options alone, so that a second run cuts alike.
pub(super) struct Plan {
    pub(super) rows: u64,
    rows_per_batch: u64,
    shards: Shards,
    order: EpochOrder,
    /// A hash of the source and of what is made of it, as 16 hexadecimal digits.
    pub(super) source: String,
}

/// How record batches are dealt to shards.
enum Shards {
    /// So many to each, but to the last.
    Of(u64),
    /// Evenly to so many.
    Count(u64),
}

impl Plan {
    pub(super) fn new(dataset: &Dataset, columns: &Columns, options: &ConvertOptions) -> Result<Self> {
        let shard_bytes = match (options.shard_bytes, options.num_shards) {
            (Some(bytes), Some(shards)) => {
                return Err(Error::invalid(format!(
                    "shards are cut by size or by number, found both: {bytes} bytes, and {shards} shards"
                )));
            }
            (Some(0), _) => {
                return Err(Error::invalid("the size of a shard must be at least 1 byte, found 0"));
            }
            (_, Some(0)) => return Err(Error::invalid("there must be at least 1 shard, found 0")),
            (_, Some(shards)) if shards > 100_000 => {
                return Err(Error::invalid(format!("expected at most 100000 shards, found {shards}")));
            }
            (bytes, _) => bytes.unwrap_or(SHARD_BYTES),
        };
        let rows = dataset.len();
        let sample = Sample::of(dataset, columns)?;
        let mut rows_per_batch = floor_to_power_of_two(BATCH_BYTES.min(shard_bytes) / sample.row_bytes);
        let shards = match options.num_shards {
            None => Shards::Of((shard_bytes / sample.row_bytes / rows_per_batch).max(1)),
            Some(count) => {
                let fair = floor_to_power_of_two(rows / (count * BATCHES_PER_SHARD));
                rows_per_batch = rows_per_batch.min(fair);
                Shards::Count(count)
            }
        };
        let shuffle = if options.shuffle.is_some() { Shuffle::Exact } else { Shuffle::None };
        let order = Order::new(rows, shuffle, options.shuffle.unwrap_or(0)).epoch(0);

        let mut hasher = Xxh3::new();
        let (by, number) = match shards {
            Shards::Of(batches) => (0, batches),
            Shards::Count(count) => (1, count),
        };
        let skips = options.on_bad_record != OnBadRecord::Fail;
        let seed = options.shuffle.map_or((0, 0), |seed| (1, seed));
        let words = [dataset.fingerprint(), rows_per_batch, by, number, skips.into(), seed.0, seed.1];
        for word in words.into_iter().chain([sample.digest]) {
            hasher.update(&word.to_le_bytes());
        }
        hasher.update(columns.fingerprint().as_bytes());
        for metadata in dataset.paths().filter_map(|path| path.metadata().ok()) {
            hasher.update(&metadata.len().to_le_bytes());
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hasher.update(&written.unwrap_or_default().as_nanos().to_le_bytes());
        }
        Ok(Plan { rows, rows_per_batch, shards, order, source: format!("{:016x}", hasher.digest()) })
    }

    fn num_batches(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_batch)
    }

    /// Rows of the largest batch.
    pub(super) fn batch_rows(&self) -> usize {
        // A batch is some 8 MiB: both fit.
        self.rows_per_batch.min(self.rows) as usize
    }

    /// Shards in all; one without rows where there are none, so that the columns are known.
    pub(super) fn num_shards(&self) -> usize {
        let shards = match self.shards {
            Shards::Of(batches) => self.num_batches().div_ceil(batches).max(1),
            Shards::Count(count) => count,
        };
        shards as usize
    }

    /// The record batches of shard `number`, or, one past the last shard, their end.
    pub(super) fn shard_batches(&self, number: usize) -> Range<u64> {
        let (number, all) = (number as u128, u128::from(self.num_batches()));
        let start = |number: u128| match self.shards {
            Shards::Of(batches) => (number * u128::from(batches)).min(all),
            Shards::Count(count) => (number * all / u128::from(count)).min(all),
        };
        start(number) as u64..start(number + 1) as u64
    }

    /// The rows of the dataset that go into batch `batch`.
    pub(super) fn batch(&self, batch: u64, rows: &mut Vec<u64>) {
        let start = batch * self.rows_per_batch;
        let end = (start + self.rows_per_batch).min(self.rows);
        rows.resize((end - start) as usize, 0);
        self.order.fill(start, rows);
    }

    /// The first row that batches from `batch` on may need, where rows come as they lie.
    pub(super) fn first_row(&self, batch: u64) -> Option<u64> {
        self.order.is_sequential().then_some(batch * self.rows_per_batch)
    }
}

/// What a look at a few rows says of all.
struct Sample {
    /// The size of a row, at least 1: exact where rows have one length, an estimate otherwise.
    row_bytes: u64,
    /// A hash of the values looked at: of two sources of the same files, read in different ways, or of tables in memory,
    /// little else tells.
    digest: u64,
}

impl Sample {
    fn of(dataset: &Dataset, columns: &Columns) -> Result<Self> {
        let mut digest = Xxh3::new();
        let mut look = |run: u64| -> Result<u64> {
            let rows = sample_rows(dataset.len(), run);
            let mut reader = columns.reader(rows.len(), 1)?;
            // What is bad is found in its turn, and counted there.
            let (batch, _) = bad::read(dataset, columns, &mut reader, &rows, usize::MAX)?;
            let Some(batch) = batch.filter(|batch| batch.num_rows() > 0) else { return Ok(1) };
            hash_batch(&batch, &mut digest);
            let bytes = |array: &ArrayData| array.get_slice_memory_size().unwrap_or(0) as u64;
            let bytes: u64 = batch.columns().iter().map(|column| bytes(&column.to_data())).sum();
            Ok(bytes.div_ceil(batch.num_rows() as u64).max(1))
        };
        if dataset.is_empty() {
            return Ok(Sample { row_bytes: columns.row_bytes.unwrap_or(1).max(1), digest: 0 });
        }
        let mut row_bytes = look(1)?;
        match columns.row_bytes {
            Some(exact) => row_bytes = exact.max(1),
            None => {
                let run = (SAMPLE_BYTES / row_bytes).clamp(1, SAMPLE_ROWS);
                if run > 1 {
                    row_bytes = look(run)?;
                }
            }
        }
        Ok(Sample { row_bytes, digest: digest.digest() })
    }
}

/// Runs of `run` rows, spread evenly over `len` rows; all of them where there are few.
fn sample_rows(len: u64, run: u64) -> Vec<u64> {
    if len <= SAMPLE_PLACES * run {
        return (0..len).collect();
    }
    let start = |place: u64| (u128::from(place) * u128::from(len) / u128::from(SAMPLE_PLACES)) as u64;
    (0..SAMPLE_PLACES).flat_map(|place| start(place)..(start(place) + run).min(start(place + 1))).collect()
}

fn hash_batch(batch: &RecordBatch, hasher: &mut Xxh3) {
    let columns: Vec<_> = batch.columns().iter().map(|column| column.to_data()).collect();
    let mut arrays: Vec<&ArrayData> = columns.iter().collect();
    while let Some(array) = arrays.pop() {
        hasher.update(&(array.len() as u64).to_le_bytes());
        hasher.update(&(array.null_count() as u64).to_le_bytes());
        array.buffers().iter().for_each(|buffer| hasher.update(buffer));
        arrays.extend(array.child_data());
    }
}

/// The largest power of two that is not above `n`; 1 for 0.
fn floor_to_power_of_two(n: u64) -> u64 {
    1 << n.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: u64, options: &ConvertOptions) -> Plan {
        let dataset = Dataset::from_tensor("x", &[], (0..rows as i64).collect()).unwrap();
        Plan::new(&dataset, &Columns::new(&dataset, options).unwrap(), options).unwrap()
    }

    fn shard_rows(plan: &Plan) -> Vec<u64> {
        let mut rows = Vec::new();
        let shards: Vec<_> = (0..plan.num_shards()).map(|number| plan.shard_batches(number)).collect();
        assert!(shards.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((shards[0].start, shards[shards.len() - 1].end), (0, plan.num_batches()));
        let mut all = Vec::new();
        let sizes = shards.into_iter().map(|batches| {
            batches
                .map(|batch| {
                    plan.batch(batch, &mut rows);
                    all.extend_from_slice(&rows);
                    rows.len() as u64
                })
                .sum()
        });
        let sizes = sizes.collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..plan.rows), "every row once");
        sizes
    }

    #[test]
    fn shards_of_a_size_are_even_and_hold_every_row_once() {
        for rows in [0, 1, 127, 128, 129, 1000, 4096] {
            let sizes = shard_rows(&plan(rows, &ConvertOptions::new().shard_bytes(1024)));
            assert_eq!(sizes.len() as u64, rows.div_ceil(128).max(1));
            assert!(sizes[..sizes.len() - 1].iter().all(|&size| size == 128), "{sizes:?}");
        }
    }

    #[test]
    fn a_number_of_shards_is_kept_to_and_they_are_alike() {
        for rows in [0, 1, 5, 16, 1000, 12_345] {
            for count in [1, 2, 3, 7, 16] {
                let sizes = shard_rows(&plan(rows, &ConvertOptions::new().num_shards(count)));
                assert_eq!(sizes.len() as u64, count);
                let (least, most) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
                assert!(most - least <= (rows / count).div_ceil(4).max(1), "{rows} rows in {sizes:?}");
            }
        }
    }

    #[test]
    fn what_changes_the_bytes_changes_the_hash() {
        let options = [
            ConvertOptions::new(),
            ConvertOptions::new().shuffle(0),
            ConvertOptions::new().shuffle(1),
            ConvertOptions::new().num_shards(1),
            ConvertOptions::new().num_shards(2),
            ConvertOptions::new().rename("x", "y"),
            ConvertOptions::new().cast("x", crate::DType::F32),
            ConvertOptions::new().stack("x", ["x"]),
            ConvertOptions::new().on_bad_record(OnBadRecord::Skip { limit: 1 }),
        ];
        let hashes: std::collections::HashSet<_> =
            options.iter().map(|options| plan(100, options).source).collect();
        assert_eq!(hashes.len(), options.len());
        let same = [ConvertOptions::new().threads(1), ConvertOptions::new().threads(7)];
        assert!(same.iter().all(|options| plan(100, options).source == plan(100, &options.clone()).source));
        assert_eq!(plan(100, &same[0]).source, plan(100, &same[1]).source);
        assert_ne!(plan(100, &same[0]).source, plan(101, &same[0]).source);
        let other = Dataset::from_tensor("x", &[], vec![7i64; 100]).unwrap();
        let columns = Columns::new(&other, &same[0]).unwrap();
        assert_ne!(Plan::new(&other, &columns, &same[0]).unwrap().source, plan(100, &same[0]).source);
    }
}
