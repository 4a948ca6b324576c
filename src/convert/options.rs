//! What is written of a dataset, and how.
#![forbid(unsafe_code)]

use crate::batch::{AskedRows, Col, OnBadRecord, Output, Row, RowWriter};
use crate::error::Result;
use crate::layout::DType;

/// How a dataset is written: which columns and what becomes of them, in which order, in how many files.
///
/// `columns`, `cast`, `fill` and `stack` name columns as the source does; `rename` comes last. Where one of them names
/// columns, a name with `*`, `?` or `[…]` stands for all columns it matches, in the order of the source, unless a column
/// is called just so.
///
/// ```
/// use forebay::convert::{ConvertOptions, OnBadRecord};
/// use forebay::DType;
///
/// let options = ConvertOptions::new()
///     .cast("x*", DType::F32)
///     .stack("features", ["x*"])
///     .rename("y", "label")
///     .shuffle(42)
///     .shard_bytes(128 << 20)
///     .on_bad_record(OnBadRecord::Skip { limit: 1000 });
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConvertOptions {
    pub(super) columns: Option<Vec<String>>,
    pub(super) casts: Vec<(String, DType)>,
    pub(super) fills: Vec<(String, f64)>,
    pub(super) stacks: Vec<(String, Vec<String>)>,
    pub(super) renames: Vec<(String, String)>,
    pub(super) map_rows: Option<AskedRows>,
    pub(super) shuffle: Option<u64>,
    pub(super) shard_bytes: Option<u64>,
    pub(super) num_shards: Option<u64>,
    pub(super) threads: Option<usize>,
    pub(super) on_bad_record: OnBadRecord,
}

impl ConvertOptions {
    /// Every column as it is, in the order of the rows, in shards of 256 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// The columns to write, in this order. Default: all, as the source has them, but the inputs of
    /// [`map_rows`](Self::map_rows).
    ///
    /// A stack stands where its name is listed; where it is not listed, where the first of its columns is; and else behind
    /// all others.
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Writes the elements of the tensor column `column` as `dtype`, converted as Rust's `as` does: what becomes a float is
    /// rounded to nearest, a float that becomes an integer is truncated and saturates, and an integer that becomes a
    /// smaller one keeps its low bits.
    ///
    /// The name of a stack stands for all of its columns. Of several casts of a column the last counts.
    pub fn cast(mut self, column: impl Into<String>, dtype: DType) -> Self {
        self.casts.push((column.into(), dtype));
        self
    }

    /// Writes `value` where the tensor column `column` is null; see [`cast`](Self::cast) for the names.
    pub fn fill(mut self, column: impl Into<String>, value: f64) -> Self {
        self.fills.push((column.into(), value));
        self
    }

    /// Lays the tensor columns `columns` side by side into one tensor column `name`, which takes their place: a row of it
    /// is one run of bytes, so that a random read costs one cache miss instead of one for each column.
    ///
    /// All must be of one element type: [`cast`](Self::cast) those that are not. `k` scalars give a row of shape `[k]`, `k`
    /// tensors of one shape a row of shape `[k, …]`, tensors of different shapes one flat row. A null in one of them is a
    /// bad record, unless it is [filled](Self::fill).
    pub fn stack<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        columns: impl IntoIterator<Item = S>,
    ) -> Self {
        self.stacks.push((name.into(), columns.into_iter().map(Into::into).collect()));
        self
    }

    /// Writes the column or stack `from` under the name `to`.
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.renames.push((from.into(), to.into()));
        self
    }

    /// A function that makes the columns `outputs` of each row of its columns `inputs`: pictures decoded and made small once,
    /// texts tokenised once, rather than in every epoch. It is told as [`LoaderBuilder::map_rows`] is and called from many
    /// threads; [`Row::rng`] gives the numbers of seed 0 and epoch 0. The inputs are left out unless
    /// [`columns`](Self::columns) names them, and the outputs come after the columns. A row of which it errs is a bad record.
    ///
    /// A conversion that goes on where another one was interrupted, or finds its dataset there
    /// ([`Dataset::cache`](crate::Dataset::cache)), knows the function by what it makes of a few rows: one that differs elsewhere
    /// only needs a folder of its own.
    ///
    /// ```
    /// use forebay::convert::ConvertOptions;
    /// use forebay::{Dataset, Output};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let temporary = tempfile::tempdir().unwrap();
    /// # let folder = temporary.path().join("small");
    /// let large = Dataset::from_tensor("image", &[64, 64], vec![7u8; 10 * 64 * 64])?;
    /// let shrink = ConvertOptions::new().map_rows(["image"], [Output::tensor::<u8>("small", &[32, 32])], |row, out| {
    ///     let image = row.values::<u8>("image")?;
    ///     for (i, to) in out.tensor_mut::<u8>("small")?.iter_mut().enumerate() {
    ///         *to = image[i / 32 * 2 * 64 + i % 32 * 2];
    ///     }
    ///     Ok(())
    /// });
    /// let small = large.cache_with(&folder, &shrink, |_| {})?; // made by the first run, found by those after it
    /// assert_eq!(small.column_kind("small")?.to_string(), "u8[32, 32]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`LoaderBuilder::map_rows`]: crate::LoaderBuilder::map_rows
    pub fn map_rows<C: Into<Col>>(
        mut self,
        inputs: impl IntoIterator<Item = C>,
        outputs: impl IntoIterator<Item = Output>,
        map: impl Fn(&Row<'_>, &mut RowWriter<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.map_rows = Some(AskedRows::new(inputs, outputs, map));
        self
    }

    /// Writes the rows in a random order: that of epoch 0 of an exact [`Order`](crate::sampler::Order) of them under
    /// `seed`. Default: as they come.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.shuffle = Some(seed);
        self
    }

    /// About how many bytes of values a shard holds. Default: 256 MiB.
    pub fn shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = Some(bytes);
        self
    }

    /// Exactly how many shards there are, of about the same size, instead of how large they are.
    pub fn num_shards(mut self, shards: u64) -> Self {
        self.num_shards = Some(shards);
        self
    }

    /// Threads that read and lay out rows; one more, the caller's, writes. Default: as many as there are cores.
    ///
    /// What is written does not depend on it. Each thread has some three record batches of 8 MiB in flight.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What becomes of a record that cannot be read. Default: the conversion fails.
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
        self
    }
}
