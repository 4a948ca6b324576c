//! WebDataset: the files of a tar archive as rows of samples.
//!
//! ```text
//!     photos/0001.jpg     ┐                        __key__          jpg            json           seg.png
//!     photos/0001.json    ┘ one sample             photos/0001      an extent      an extent      null
//!     photos/0002.JPG     ┐                        photos/0002      an extent      null           an extent
//!     photos/0002.seg.png ┘
//!     └──── key ───┘ └─┴─ extension
//! ```
//!
//! The key of a file is its name, with its folders, up to the first dot of its last part; the rest is its extension,
//! in lower case. Files of one key that follow one another are a sample, and a sample is a row: the column `__key__`,
//! and for each extension of the archive, in the order of their first appearance, a nullable column of bytes, whose
//! values lie where the archive holds them. A key that comes again after another begins a new sample.
//!
//! As in the library, these files are passed over:
//!
//! - those without a dot in the last part of their name (`README`);
//! - those whose name begins with a dot (`.hidden`), unless they lie in a folder without a dot in its own name: then
//!   the folder, with its slash, is the key (`a/.b.c` is `b.c` of `a/`);
//! - those whose name, or first folder, begins and ends with `__` (`__index__/0001.json`).
//!
//! Unlike there, it is an error if a name is no UTF-8, or an extension is `__key__`.
//!
//! Sources: [WebDataset], section "The WebDataset Format", and its functions `base_plus_ext`, `tar_file_iterator` and
//! `group_by_keys`.
//!
//! [WebDataset]: https://github.com/webdataset/webdataset
#![forbid(unsafe_code)]

use std::collections::HashMap;

use arrow::array::LargeStringArray;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};

use super::extents::{Extent, Extents, ExtentsBuilder, PAIR_BYTES};
use super::tar::{self, File};
use crate::error::{Error, ErrorKind, Result};
use crate::map::Region;

/// The name of the column of keys.
pub(crate) const KEY: &str = "__key__";

/// The samples of an archive.
#[derive(Clone, Debug)]
pub(crate) struct TarIndex {
    /// The key of each sample.
    pub(crate) keys: LargeStringArray,
    /// The names of the columns of bytes.
    pub(crate) extensions: Vec<String>,
    /// For each of `extensions`, where its values lie; each was checked against the length of the archive.
    pub(crate) extents: Vec<Extents>,
}

/// The samples of the archive `region`.
///
/// # Errors
///
/// Those of [`tar::for_each_file`]; `Malformed`, at the byte of the file's header, for a second file of one key and
/// extension in a sample, and for a name that is no UTF-8; `TooLarge` for samples that have so little in common
/// that the table of them would be much larger than the archive.
pub(crate) fn index(region: &Region) -> Result<TarIndex> {
    let mut samples = Samples::default();
    tar::for_each_file(region, |file| samples.push(&file).map_err(|e| e.at_byte(file.header_at)))?;
    samples.finish(region.len_bytes())
}

/// The key and the extension, not yet in lower case, of the file at `path`.
fn key_and_extension(path: &str) -> Option<(&str, &str)> {
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + path[base..].find('.')?;
    if dot == base {
        let folder = path[..base].strip_suffix('/')?;
        if folder.rsplit('/').next()?.contains('.') {
            return None;
        }
    }
    Some((&path[..dot], &path[dot + 1..]))
}

/// Whether the file at `path` is about the archive, not in a sample of it.
fn is_about_the_archive(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
}

/// A file of a sample.
struct Value {
    sample: usize,
    column: usize,
    extent: Extent,
}

#[derive(Default)]
struct Samples {
    keys: String,
    key_ends: Vec<i64>,
    extensions: Vec<String>,
    columns: HashMap<String, usize>,
    /// For each column, the last sample that has a value in it.
    last_samples: Vec<usize>,
    values: Vec<Value>,
}

impl Samples {
    fn push(&mut self, file: &File) -> Result<()> {
        let path = str::from_utf8(&file.path).map_err(|e| {
            let name = tar::shown(&file.path);
            Error::malformed(format!("expected the name of a file in UTF-8, found '{name}': {e}"))
        })?;
        if is_about_the_archive(path) {
            return Ok(());
        }
        let Some((key, extension)) = key_and_extension(path) else { return Ok(()) };
        let extension = extension.to_lowercase();
        if extension == KEY {
            return Err(Error::malformed(format!(
                "expected an extension other than '{KEY}', which is the column of the keys, found '{}'",
                tar::shown(&file.path)
            )));
        }
        if self.current_key() != Some(key) {
            self.keys.push_str(key);
            self.key_ends.push(self.keys.len() as i64);
        }
        let sample = self.key_ends.len() - 1;
        let column = match self.columns.get(&extension) {
            Some(&column) if self.last_samples[column] == sample => {
                return Err(Error::malformed(format!(
                    "expected one file of each extension in sample '{}', found a second '{}'",
                    tar::shown(key.as_bytes()),
                    tar::shown(extension.as_bytes())
                )));
            }
            Some(&column) => {
                self.last_samples[column] = sample;
                column
            }
            None => {
                self.columns.insert(extension.clone(), self.extensions.len());
                self.extensions.push(extension);
                self.last_samples.push(sample);
                self.extensions.len() - 1
            }
        };
        self.values.push(Value { sample, column, extent: Extent { start: file.start, len: file.len } });
        Ok(())
    }

    fn current_key(&self) -> Option<&str> {
        let start = match self.key_ends[..] {
            [.., start, _] => start as usize,
            [_] => 0,
            [] => return None,
        };
        Some(&self.keys[start..])
    }

    fn finish(self, archive_len: u64) -> Result<TarIndex> {
        let (num_samples, num_columns) = (self.key_ends.len(), self.extensions.len());
        let table_bytes = (num_samples as u64).saturating_mul(num_columns as u64).saturating_mul(PAIR_BYTES);
        let cap = (64 << 20) + archive_len.saturating_mul(4);
        if table_bytes > cap {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "{num_samples} samples of {num_columns} different extensions need a table of {table_bytes} \
                     bytes, expected at most {cap}: are the files named key.extension?"
                ),
            ));
        }
        let mut builders = vec![ExtentsBuilder::nulls(num_samples); num_columns];
        for value in self.values {
            builders[value.column].set(value.sample, value.extent);
        }
        let offsets: Vec<i64> = [0].into_iter().chain(self.key_ends).collect();
        let keys = LargeStringArray::new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.keys.into_bytes().into(),
            None,
        );
        let extents = builders.into_iter().map(ExtentsBuilder::finish).collect();
        Ok(TarIndex { keys, extensions: self.extensions, extents })
    }
}

#[cfg(test)]
mod tests;
