//! Rows chosen by what is in them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use xxhash_rust::xxh3::xxh3_64;

use super::scan::scan;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::layout::ColumnKind;
use crate::sampler::{Permutation, epoch_key};

/// Rows among those from a first one on, in ascending order.
type Chosen = Vec<(u64, Vec<u32>)>;

/// What several threads chose, in the order of the rows.
fn in_order(chosen: Vec<Chosen>) -> impl Iterator<Item = u64> {
    let mut all: Chosen = chosen.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(first, _)| *first);
    all.into_iter().flat_map(|(first, rows)| rows.into_iter().map(move |row| first + u64::from(row)))
}

impl Dataset {
    /// The rows that `keep` is true for, in their order; null is not.
    ///
    /// All rows are read once, `columns` of them, by as many threads as there are cores; `keep` is given some thousand at a
    /// time, as an Arrow table, and says `true` or `false` of each. What is kept in memory are the numbers of the rows: 4 bytes
    /// a row kept, 8 in datasets of 2³² rows and more. They are also what tells one filter from another when a loader
    /// is resumed.
    ///
    /// ```
    /// use forebay::{Dataset, TensorColumns};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let numbers = Dataset::from_tensor("n", &[], (0..1000i64).collect())?;
    /// let odd = numbers.filter(["n"], |rows| {
    ///     let n = rows.tensor::<i64>("n")?;
    ///     Ok(n.as_slice().iter().map(|n| n % 2 == 1).collect::<Vec<bool>>())
    /// })?;
    /// assert_eq!(odd.len(), 500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no such column, or `keep` says more or less
    /// than one thing a row; those of `keep`; `Panic` if it panics; those of reading the rows.
    pub fn filter<'a, Kept: Into<BooleanArray>>(
        &self,
        columns: impl IntoIterator<Item = &'a str>,
        keep: impl Fn(&RecordBatch) -> Result<Kept> + Sync,
    ) -> Result<Dataset> {
        let columns = columns.into_iter().map(|name| self.column_index(name)).collect::<Result<Vec<_>>>()?;
        if columns.is_empty() {
            return Err(Error::invalid("expected at least one column to filter by, found none"));
        }
        let fields: Vec<_> = columns.iter().map(|&index| self.schema().fields()[index].clone()).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema().metadata().clone()));
        let chosen = scan(self, &columns, "filter", |chosen: &mut Chosen, rows, arrays| {
            let table = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| {
                Error::malformed(format!("the rows do not fit their schema: {e}")).with_source(e)
            })?;
            let kept: BooleanArray = keep(&table)?.into();
            if kept.len() != table.num_rows() {
                return Err(Error::invalid(format!(
                    "expected a filter to say true or false of each of {} rows, found {} of them",
                    table.num_rows(),
                    kept.len()
                )));
            }
            let kept = kept.iter().zip(0..).filter(|(keep, _)| *keep == Some(true)).map(|(_, row)| row);
            chosen.push((rows.start, kept.collect()));
            Ok(())
        })?;
        Ok(self.with_kept(in_order(chosen)))
    }

    /// Cuts the dataset in two at random, each label alike: `fraction` of the rows of each value of the column `label`, and the
    /// rest. Of no label is a part more than a row off its share, nor, rounded to the nearest row, in all.
    ///
    /// Labels are numbers, truths or text, one a row; nulls count as a label of their own. The same `seed` gives the same cut.
    /// The column is read once, by as many threads as there are cores; 4 bytes a row are kept in memory, 8 in datasets of
    /// 2³² rows and more, and some 30 a row while they are dealt out. Rows come in their order.
    ///
    /// ```
    /// use forebay::Dataset;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let labels = Dataset::from_tensor("label", &[], (0..1000i64).map(|n| n % 100 / 90).collect())?;
    /// let (train, test) = labels.split_stratified("label", 0.8, 7)?;
    /// assert_eq!((train.len(), test.len()), (800, 200)); // 720 and 180 zeros, 80 and 20 ones
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) unless `fraction` lies in 0..=1 and `label` is a column with
    /// one value a row; those of reading it.
    pub fn split_stratified(&self, label: &str, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(Error::invalid(format!("expected a fraction between 0 and 1, found {fraction}")));
        }
        let index = self.column_index(label)?;
        let is_scalar = match &self.columns()[index].kind {
            ColumnKind::Tensor { shape, .. } => shape.is_empty(),
            kind => *kind == ColumnKind::Text,
        };
        if !is_scalar {
            let kind = &self.columns()[index].kind;
            return Err(Error::invalid(format!("column '{label}' is {kind}: a label is a number or text")));
        }
        let mut rows_of: HashMap<Option<String>, Vec<Chosen>> = HashMap::new();
        for labels in self.rows_of_labels(index, label)? {
            for (label, chosen) in labels {
                rows_of.entry(label).or_default().push(chosen);
            }
        }
        let mut labels: Vec<Stratum> = rows_of
            .into_iter()
            .map(|(label, chosen)| Stratum::new(label, in_order(chosen).collect(), fraction))
            .collect();
        labels
            .sort_unstable_by(|a, b| b.left_over.total_cmp(&a.left_over).then_with(|| a.label.cmp(&b.label)));
        let all = ((self.len() as f64 * fraction).round() as u64).min(self.len());
        let short = all.saturating_sub(labels.iter().map(|stratum| stratum.first).sum());
        // The rows that rounding down left over go to the labels that lost most by it.
        for stratum in labels.iter_mut().take(usize::try_from(short).unwrap_or(usize::MAX)) {
            stratum.first = (stratum.first + 1).min(stratum.rows.len() as u64);
        }
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for stratum in labels {
            stratum.deal(seed, &mut first, &mut rest);
        }
        let part = |mut rows: Vec<u64>| {
            rows.sort_unstable();
            self.with_kept(rows.into_iter())
        };
        Ok((part(first), part(rest)))
    }

    /// For each thread that read them, the rows of each label.
    fn rows_of_labels(&self, index: usize, name: &str) -> Result<Vec<HashMap<Option<String>, Chosen>>> {
        scan(self, &[index], "split_stratified", |labels: &mut HashMap<_, Chosen>, rows, arrays| {
            let text = cast(&arrays[0], &DataType::LargeUtf8)
                .map_err(|e| Error::unsupported(format!("column '{name}': {e}")).with_source(e))?;
            for (label, row) in text.as_string::<i64>().iter().zip(0..) {
                let chosen = match labels.get_mut(&label.map(str::to_owned)) {
                    Some(chosen) => chosen,
                    None => labels.entry(label.map(str::to_owned)).or_default(),
                };
                match chosen.last_mut() {
                    Some((first, some)) if *first == rows.start => some.push(row),
                    _ => chosen.push((rows.start, vec![row])),
                }
            }
            Ok(())
        })
    }
}

/// The rows of one label.
struct Stratum {
    label: Option<String>,
    rows: Vec<u64>,
    /// How many go into the first part, and what rounding that down left over.
    first: u64,
    left_over: f64,
}

impl Stratum {
    fn new(label: Option<String>, rows: Vec<u64>, fraction: f64) -> Self {
        let share = rows.len() as f64 * fraction;
        let first = (share.floor() as u64).min(rows.len() as u64);
        Stratum { label, rows, first, left_over: share - first as f64 }
    }

    /// Draws the rows of the first part. What is drawn of a label depends on no other.
    fn deal(self, seed: u64, first: &mut Vec<u64>, rest: &mut Vec<u64>) {
        let label = self.label.as_deref().map_or(0, |label| xxh3_64(label.as_bytes()));
        let order = Permutation::new(self.rows.len() as u64, epoch_key(seed ^ 0x57A7_1F1E_D5B1_1735, label));
        for (&row, number) in self.rows.iter().zip(0..) {
            if order.position(number) < self.first { first.push(row) } else { rest.push(row) }
        }
    }
}
