//! Going through all rows of some columns once, in parallel.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::{Col, RowReader};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ColumnKind;

/// Rows a thread reads at a time.
const STRIDE: u64 = 4096;

/// Hands the columns numbered `columns` to `each`, a stretch of rows at a time, on as many threads as there are cores, and
/// returns what each thread made of its stretches: it begins with nothing, and goes through them in ascending order. A panic
/// while `doing` that is an error.
///
/// The first error ends it all.
pub(super) fn scan<T: Default + Send>(
    dataset: &Dataset,
    columns: &[usize],
    doing: &str,
    each: impl Fn(&mut T, Range<u64>, Vec<ArrayRef>) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let read = || -> Result<T> {
        let columns = columns.iter().map(|&index| (index, Col::from(dataset.schema().field(index).name())));
        let mut reader = RowReader::new(dataset, columns.collect(), STRIDE as usize, 1)?;
        let mut made = T::default();
        // Relaxed, both: the values alone are shared.
        while !failed.load(Ordering::Relaxed) {
            let start = next.fetch_add(STRIDE, Ordering::Relaxed);
            if start >= dataset.len() {
                break;
            }
            let stretch = start..(start + STRIDE).min(dataset.len());
            let rows: Vec<u64> = stretch.clone().collect();
            each(&mut made, stretch, reader.gather(&rows)?)?;
        }
        Ok(made)
    };
    let read = || {
        let read = catch_unwind(AssertUnwindSafe(read));
        let read = read.unwrap_or_else(|panic| Err(Error::panicked(doing, &*panic)));
        failed.fetch_or(read.is_err(), Ordering::Relaxed);
        read
    };
    let most = usize::try_from(dataset.len().div_ceil(STRIDE)).unwrap_or(usize::MAX);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(most.max(1));
    dataset.advise(true);
    let made = thread::scope(|scope| {
        let threads: Vec<_> = (1..threads).map(|_| scope.spawn(read)).collect();
        let own = read();
        let others = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| Err(Error::panicked(doing, &*panic))));
        std::iter::once(own).chain(others.collect::<Vec<_>>()).collect()
    });
    dataset.advise(false);
    // A file that was cut short is the error, whatever its rows looked like.
    dataset.check()?;
    made
}

impl Dataset {
    /// The values that the column `name`, of text, holds, in bytewise order; nulls are none. All rows are read, by as many
    /// threads as there are cores.
    ///
    /// ```
    /// use forebay::Dataset;
    /// use forebay::format::CsvOptions;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("trips.csv");
    /// std::fs::write(&path, "fare,paid\n9.5,card\n4.0,cash\n7.5,card\n").unwrap();
    ///
    /// let paid = Dataset::open(&path)?.distinct("paid", 1000)?;
    /// assert_eq!(paid, ["card", "cash"]);
    /// let trips = Dataset::options().csv(CsvOptions::new().dictionary("paid", &paid)).open(&path)?;
    /// assert_eq!(trips.class_names("paid")?, Some(paid));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`] if there is no such column, or it is no text;
    /// [`ErrorKind::TooLarge`] if there are more than `most` values; those of reading the rows.
    pub fn distinct(&self, name: &str, most: usize) -> Result<Vec<String>> {
        let index = self.column_index(name)?;
        if self.columns()[index].kind != ColumnKind::Text {
            let kind = &self.columns()[index].kind;
            return Err(Error::invalid(format!("column '{name}' is {kind}: distinct is for text")));
        }
        let too_many = || {
            let message = format!("expected at most {most} values in column '{name}', found more");
            Error::new(ErrorKind::TooLarge, message)
        };
        let found = scan(self, &[index], "distinct", |values: &mut BTreeSet<String>, _, arrays| {
            let array = cast(&arrays[0], &DataType::LargeUtf8)
                .map_err(|e| Error::unsupported(format!("column '{name}': {e}")).with_source(e))?;
            for value in array.as_string::<i64>().iter().flatten() {
                if !values.contains(value) {
                    values.insert(value.to_owned());
                    if values.len() > most {
                        return Err(too_many());
                    }
                }
            }
            Ok(())
        })?;
        let values: BTreeSet<String> = found.into_iter().flatten().collect();
        if values.len() > most { Err(too_many()) } else { Ok(values.into_iter().collect()) }
    }
}
