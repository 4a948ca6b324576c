//! A dataset written once, and read from there ever after.
#![forbid(unsafe_code)]

use std::path::Path;

use super::files::Lock;
use super::{ConvertOptions, Progress, convert_locked};
use crate::dataset::Dataset;
use crate::error::Result;

impl Dataset {
    /// This dataset, written into `folder` if it is not there yet, and opened from there: rows that are slow to come by (parsed,
    /// inflated, filtered, scattered over a larger dataset) are read fast from then on.
    ///
    /// Whether it is there is told by what [`convert`](crate::convert::convert) tells its source by: columns, number and choice
    /// of rows, names, sizes and times of the files, and a sample of the values. A folder that holds another is left as it is,
    /// and an error. Several processes may ask for one folder at a time: one writes, the others wait.
    ///
    /// ```
    /// use forebay::{Dataset, TensorColumns};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let temporary = tempfile::tempdir().unwrap();
    /// # let folder = temporary.path().join("odd");
    /// let numbers = Dataset::from_tensor("n", &[], (0..1000i64).collect())?;
    /// let odd = numbers.filter(["n"], |rows| {
    ///     Ok(rows.tensor::<i64>("n")?.as_slice().iter().map(|n| n % 2 == 1).collect::<Vec<bool>>())
    /// })?;
    /// let cached = odd.cache(&folder)?; // written by the first run, and found by those after it
    /// assert_eq!(cached.len(), 500);
    /// assert!(numbers.cache(&folder).is_err(), "the folder holds another dataset");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is written is the dataset. What a function makes of its rows is written by [`cache_with`](Dataset::cache_with) and
    /// [`ConvertOptions::map_rows`].
    ///
    /// # Errors
    ///
    /// Those of [`convert`](crate::convert::convert): `InvalidArgument`, for one, if the folder holds another dataset; those of
    /// [`open`](Dataset::open).
    pub fn cache(&self, folder: impl AsRef<Path>) -> Result<Dataset> {
        self.cache_with(folder, &ConvertOptions::new(), |_| {})
    }

    /// As [`cache`](Dataset::cache), written as `options` say, and telling `progress` after each record batch.
    ///
    /// # Errors
    ///
    /// As [`cache`](Dataset::cache).
    pub fn cache_with(
        &self,
        folder: impl AsRef<Path>,
        options: &ConvertOptions,
        progress: impl FnMut(Progress),
    ) -> Result<Dataset> {
        let folder = folder.as_ref();
        convert_locked(self, folder, options, Lock::wait, progress)?;
        Dataset::open(folder)
    }
}
