//! Rows to train on: columns of files or tables, addressable by row.
//!
//! A [`Dataset`] is a description, cheap to clone: which columns, of which tables, and which of their rows in
//! which order. Opening one maps files and reads their metadata; no row is read before something asks for it.
//!
//! ```text
//! Dataset ── columns ──▶ Table ── rows ──▶ directory ──▶ Chunk ──▶ Shard (opened when first needed) ──▶ Piece
//!                        one for each dataset that was zipped
//! ```
//!
//! A file becomes a shard in these steps:
//!
//! ```text
//! paths ── source ──▶ files ── open ──▶ Region ── formats ──▶ inflated, if it is compressed; its format
//!            folders: files of a manifest                       │
//!                                                               ├─▶ arrays       idx, npy, npz, records of one length, tokens
//!                                                               ├─▶ containers   tar, indexed tokens
//!                                                               ├─▶ records      CSV, TFRecord, text ◀── sidecar, or scan
//!                                                               └─▶ Arrow IPC, Parquet
//! ```
//!
//! Deliberately absent: writing (that is `convert/`), reading rows (that is `batch/`), and any notion of an
//! order but that of the rows as they stand (that is `sampler/`).
#![forbid(unsafe_code)]

mod arrays;
mod combine;
mod containers;
mod decoded;
mod describe;
mod folders;
mod formats;
mod identity;
mod inflate;
mod manifest;
mod memory;
mod mixture;
mod open;
mod options;
mod places;
mod records;
mod rows;
mod scan;
mod shard;
mod sidecar;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::format::hf;
use crate::layout::ColumnKind;
use crate::map::Preload;
use crate::sampler::{Permutation, epoch_key};

pub use describe::ShardInfo;
pub(crate) use identity::Identity;
pub(crate) use manifest::{BatchEntry, MANIFEST, Manifest, ShardEntry};
pub use mixture::{Mixture, MixtureBuilder, Weight};
pub(crate) use open::in_words;
pub use options::OpenOptions;
pub(crate) use places::RowRuns;
use rows::{Kept, Rows};
pub use scan::ScanProgress;
pub use source::Source;
pub(crate) use source::matching;
pub(crate) use table::{Readable, Table};

/// Rows to train on.
///
/// ```
/// use forebay::Dataset;
///
/// # fn main() -> forebay::Result<()> {
/// let images = Dataset::from_tensor("image", &[2, 2], vec![0u8; 400])?;
/// let labels = Dataset::from_tensor("label", &[], (0..100i64).collect())?;
/// let digits = images.zip(&labels)?;
/// let (train, test) = digits.split(0.9, 7)?;
/// assert_eq!((digits.len(), train.len(), test.len()), (100, 90, 10));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Dataset {
    schema: SchemaRef,
    columns: Vec<Column>,
    tables: Vec<Table>,
    len: u64,
}

/// A column of a dataset: which column of which table, and what its rows are.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) table: usize,
    pub(crate) index: usize,
    pub(crate) kind: ColumnKind,
}

impl Dataset {
    /// Opens a dataset: a file, a folder, a glob pattern, or a list of them one after another.
    ///
    /// The format of a file is recognised by its content, and where that is silent, by its name:
    ///
    /// | format | recognised by |
    /// |---|---|
    /// | Arrow IPC, file or stream; Parquet; npy; npz; idx (MNIST) | content |
    /// | TFRecord (of `tf.train.Example`, or other payloads) | content |
    /// | tar (WebDataset) | content |
    /// | Megatron-LM's tokens: the `.idx`, the `.bin`, or the name without either | content of the `.idx` |
    /// | CSV | `.csv`, `.tsv` |
    /// | text, a row a line | `.txt`, `.text`, `.jsonl`, `.ndjson` |
    /// | records of one length | [`OpenOptions::fixed`] |
    /// | runs of tokens | [`OpenOptions::tokens`] |
    ///
    /// Any of them may be compressed whole with gzip or Zstandard (the index of tokens stands beside its `.bin` as it is);
    /// TFRecord also with zlib, as TensorFlow does. Folders are those that `forebay convert` wrote (`dataset.json`), that
    /// Hugging Face's `datasets` saved (`state.json`) and that MosaicML Streaming wrote (`index.json`). What is recognised
    /// by nothing is named by [`OpenOptions::format`].
    ///
    /// Files matched by a pattern come in bytewise order of their paths, those of a list in the order of the list. They
    /// have the same columns, which are matched by name; of CSV and TFRecord files, the first says their types.
    ///
    /// A CSV, TFRecord or text file without an index ([`OpenOptions::write_index`]) is scanned once, in parallel; of any
    /// other uncompressed format no more is read than the metadata. For anything but the defaults see
    /// [`Dataset::options`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if a file cannot be opened, or nothing matches a pattern; `Malformed` or
    /// `Unsupported`, with path and byte, if it cannot be read; `Mismatch` if files differ in their columns; `TooLarge`
    /// for a compressed file that inflates past the budget or beyond what its size justifies.
    pub fn open(source: impl Source) -> Result<Dataset> {
        OpenOptions::default().open(source)
    }

    /// Options to open a dataset with: what files do not say of themselves, and how they are held.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    /// A dataset of one table.
    pub(crate) fn of_table(schema: SchemaRef, table: Table) -> Result<Self> {
        let columns = schema.fields().iter().enumerate();
        let columns =
            columns.map(|(index, field)| Column { table: 0, index, kind: ColumnKind::of(field) }).collect();
        let len = table.rows.len();
        Ok(Dataset { schema, columns, tables: vec![table], len })
    }

    /// Rows in the dataset.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The columns as Arrow fields; dictionaries and views appear as the values they stand for.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the rows of the column `name` are.
    pub fn column_kind(&self, name: &str) -> Result<&ColumnKind> {
        Ok(&self.columns[self.column_index(name)?].kind)
    }

    /// The names of the classes of the column `name`, whose values are numbers of them: class `i` is called `names[i]`.
    /// `None` for a column of anything else.
    ///
    /// They are what Hugging Face's `datasets` wrote into the schema, in a folder it saved or a Parquet file. They stay
    /// with the column through [`select`](Self::select), [`rename`](Self::rename), [`zip`](Self::zip) and a conversion.
    ///
    /// ```
    /// # use std::{collections::HashMap, sync::Arc};
    /// # use arrow::{array::{Int64Array, RecordBatch}, datatypes::{DataType, Field, Schema}};
    /// # fn main() -> forebay::Result<()> {
    /// # let features = r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    /// # let metadata = HashMap::from([("huggingface".to_owned(), features.to_owned())]);
    /// # let field = Field::new("label", DataType::Int64, false);
    /// # let schema = Arc::new(Schema::new_with_metadata(vec![field], metadata));
    /// # let labels = Arc::new(Int64Array::from(vec![1, 0, 1]));
    /// # let pets = RecordBatch::try_new(schema, vec![labels]).expect("one column of its type");
    /// # let dataset = forebay::Dataset::from_batches(vec![pets])?;
    /// let names = dataset.class_names("label")?.expect("a column of class labels");
    /// assert_eq!(names, ["cat", "dog"]);
    /// # assert_eq!(dataset.rename("label", "y")?.class_names("y")?, Some(names));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no such column;
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if the schema holds text that is not what `datasets` writes.
    pub fn class_names(&self, name: &str) -> Result<Option<Vec<String>>> {
        self.column_index(name)?;
        let Some(info) = self.schema.metadata().get(hf::SCHEMA_KEY) else { return Ok(None) };
        let classes = hf::class_names(info.as_bytes())?;
        Ok(classes.into_iter().find(|classes| classes.column == name).map(|classes| classes.names))
    }

    pub(crate) fn column_index(&self, name: &str) -> Result<usize> {
        self.schema.fields().iter().position(|field| field.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::invalid(format!("no column is called '{name}': the dataset has {}", names.join(", ")))
        })
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The first `n` rows, or all where there are fewer.
    pub fn take(&self, n: u64) -> Dataset {
        self.range(0, n.min(self.len))
    }

    /// All rows but the first `n`.
    pub fn skip(&self, n: u64) -> Dataset {
        let start = n.min(self.len);
        self.range(start, self.len - start)
    }

    fn range(&self, start: u64, len: u64) -> Dataset {
        self.with_rows(len, |of| Rows::Range { of, start, len })
    }

    /// The rows listed, in the order of the list; a row may stand in it more than once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a row the dataset does not have.
    pub fn subset(&self, rows: &[u64]) -> Result<Dataset> {
        self.check_rows(rows)?;
        let list: Arc<[u64]> = rows.into();
        Ok(self.with_rows(rows.len() as u64, |of| Rows::List { of, list: list.clone() }))
    }

    pub(crate) fn check_rows(&self, rows: &[u64]) -> Result<()> {
        match rows.iter().find(|&&row| row >= self.len) {
            Some(row) => Err(Error::invalid(format!("expected rows below {}, found {row}", self.len))),
            None => Ok(()),
        }
    }

    /// Cuts the dataset in two at random: `fraction` of the rows, rounded to the nearest, and the rest.
    ///
    /// The same `seed` gives the same cut; every row is in exactly one part. No list of rows is made: a part is
    /// a range of a keyed permutation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) unless `fraction` lies in 0..=1.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(Error::invalid(format!("expected a fraction between 0 and 1, found {fraction}")));
        }
        let first = ((self.len as f64 * fraction).round() as u64).min(self.len);
        // A key of its own, so that a split and a shuffle under one seed are unrelated.
        let key = epoch_key(seed ^ 0x5EED_0F5A_5711_7CA7, u64::MAX);
        let permutation = Permutation::new(self.len, key);
        let part = |start, len| self.with_rows(len, |of| Rows::Permuted { of, permutation, key, start, len });
        Ok((part(0, first), part(first, self.len - first)))
    }

    /// Those of its `rows`, which it has, that are listed in ascending order.
    pub(crate) fn with_kept(&self, rows: impl Iterator<Item = u64>) -> Dataset {
        let kept = Kept::new(self.len, rows);
        self.with_rows(kept.len(), |of| Rows::Kept { of, kept: kept.clone() })
    }

    fn with_rows(&self, len: u64, rows: impl Fn(Arc<Rows>) -> Rows) -> Dataset {
        let tables = self.tables.iter().map(|table| table.with_rows(rows(table.rows.clone()))).collect();
        Dataset { tables, len, ..self.clone() }
    }

    /// The columns named, in the order named.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Dataset> {
        let indices = names.into_iter().map(|name| self.column_index(name)).collect::<Result<Vec<_>>>()?;
        let fields: Vec<_> = indices.iter().map(|&index| self.schema.fields()[index].clone()).collect();
        let columns = indices.iter().map(|&index| self.columns[index].clone()).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        Ok(Dataset { schema, columns, ..self.clone() })
    }

    /// The same dataset, its column `from` called `to`.
    pub fn rename(&self, from: &str, to: &str) -> Result<Dataset> {
        let index = self.column_index(from)?;
        if from != to && self.column_index(to).is_ok() {
            return Err(Error::invalid(format!("a column is already called '{to}'")));
        }
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields[index] = Arc::new(fields[index].as_ref().clone().with_name(to));
        let mut metadata = self.schema.metadata().clone();
        if let Some(info) = self.schema.metadata().get(hf::SCHEMA_KEY) {
            metadata.insert(hf::SCHEMA_KEY.to_owned(), hf::renamed(info, from, to));
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(Dataset { schema, ..self.clone() })
    }

    /// Brings the dataset into memory before the first batch: see [`Preload`].
    ///
    /// Opens every shard. [`Preload::Copy`] and [`Preload::Shared`] are chosen when files are opened
    /// ([`OpenOptions::preload`]), since they read them elsewhere than where they are mapped.
    ///
    /// # Errors
    ///
    /// Those of opening a shard; `Truncated` or `Io` for a page that cannot be read;
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for those two, and for `Preload::Device`, which is an
    /// option of loaders.
    pub fn preload(&self, how: Preload) -> Result<()> {
        match how {
            Preload::No => Ok(()),
            Preload::Copy | Preload::Shared { .. } => Err(Error::invalid(
                "a dataset that is open already stays mapped: choose the copy with Dataset::options().preload(…)",
            )),
            #[cfg(feature = "cuda")]
            Preload::Device => Err(Error::invalid(
                "columns are preloaded to a device by the loader that brings them there: use \
                 LoaderBuilder::preload(Preload::Device) and build_on_device",
            )),
            how => {
                self.open_shards()?;
                self.regions().into_iter().try_for_each(|region| region.preload(how.clone()).map(drop))
            }
        }
    }

    /// Opens every shard.
    pub(crate) fn open_shards(&self) -> Result<()> {
        self.tables
            .iter()
            .flat_map(|table| table.shards.iter())
            .try_for_each(|shard| shard.opened().map(drop))
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Dataset");
        debug.field("len", &self.len);
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            debug.field(field.name(), &format_args!("{}", column.kind));
        }
        debug.finish()
    }
}
