//! A shard: one file, or one table in memory. Opened when a row of it is first asked for.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;

use super::inflate::Inflated;
use crate::error::{Error, Result};
use crate::format::{Access, Piece};
use crate::map::{Advice, Region};

/// One file of a dataset.
pub(crate) struct Shard {
    /// The file's name relative to the dataset, or what stands for it: part of the fingerprint.
    pub(crate) name: String,
    pub(crate) num_rows: u64,
    path: Option<PathBuf>,
    opened: OnceLock<Opened>,
    opening: Mutex<Option<Expected>>,
    /// Whether rows will be read one after another, so that reading ahead pays.
    sequential: AtomicBool,
}

/// A shard's file mapped, its metadata read.
pub(crate) struct Opened {
    pub(crate) region: Option<Region>,
    /// A file beside it that says where rows lie.
    pub(crate) index: Option<Region>,
    pub(crate) schema: SchemaRef,
    /// The columns of each chunk.
    pub(crate) chunks: Vec<Vec<Piece>>,
    /// The bytes of the file that each chunk lies in, all of them; empty where they are not known chunk by chunk.
    pub(crate) extents: Vec<Range<u64>>,
    /// A hash of what its index file depends on, if the format has one.
    pub(crate) dependence: Option<u64>,
    /// How the rows of each column are read, where pieces do not tell all; else empty.
    pub(crate) access: Vec<Access>,
    /// That the whole file is compressed.
    pub(crate) inflated: Option<Inflated>,
}

impl Opened {
    /// A shard in no more than one file, of chunks that are not known to lie in bytes of their own.
    pub(crate) fn new(region: Option<Region>, schema: SchemaRef, chunks: Vec<Vec<Piece>>) -> Self {
        Opened {
            region,
            index: None,
            schema,
            chunks,
            extents: Vec::new(),
            dependence: None,
            access: Vec::new(),
            inflated: None,
        }
    }

    /// The same shard, of which `explain` says how the rows of each column are read, given what its pieces tell.
    pub(crate) fn explained(mut self, explain: impl Fn(usize, Access) -> Access) -> Self {
        let columns = self.chunks.first().into_iter().flatten().enumerate();
        self.access = columns.map(|(column, piece)| explain(column, piece.access())).collect();
        self
    }

    /// How the rows of the shard's column `column` are read; `None` where there are none.
    pub(crate) fn access(&self, column: usize) -> Option<Access> {
        let access = match self.access.get(column) {
            Some(access) => access.clone(),
            None => self.chunks.first()?[column].access(),
        };
        Some(match &self.inflated {
            Some(Inflated { from, is_kept }) => access.inflated(from, *is_kept),
            None => access,
        })
    }

    /// Rows of each chunk.
    pub(crate) fn chunk_rows(&self) -> impl Iterator<Item = u64> {
        self.chunks.iter().map(|columns| columns.first().map_or(0, |piece| piece.num_rows))
    }

    /// The regions that rows are read from.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.region.iter().chain(&self.index)
    }
}

/// Opens a shard's file.
type Open = dyn Fn(&Path) -> Result<Opened> + Send + Sync;

/// What a manifest said of a shard that is not open yet, and how to open it.
struct Expected {
    open: Box<Open>,
    schema: SchemaRef,
    chunk_rows: Vec<u64>,
}

impl Shard {
    /// A shard that is open: a file, or a table in memory where `path` is `None`.
    pub(crate) fn open_now(name: String, path: Option<&Path>, opened: Opened) -> Self {
        let num_rows = opened.chunk_rows().sum();
        Shard {
            name,
            num_rows,
            path: path.map(Path::to_owned),
            opened: opened.into(),
            opening: Mutex::new(None),
            sequential: AtomicBool::new(false),
        }
    }

    /// A shard of which a manifest says `schema` and the rows of each chunk; `open` opens it.
    pub(crate) fn open_later(
        name: String,
        path: PathBuf,
        open: impl Fn(&Path) -> Result<Opened> + Send + Sync + 'static,
        schema: SchemaRef,
        chunk_rows: Vec<u64>,
    ) -> Self {
        let num_rows = chunk_rows.iter().sum();
        let expected = Expected { open: Box::new(open), schema, chunk_rows };
        Shard {
            name,
            num_rows,
            path: Some(path),
            opened: OnceLock::new(),
            opening: Mutex::new(Some(expected)),
            sequential: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The open shard, opening it on the first call.
    #[inline]
    pub(crate) fn opened(&self) -> Result<&Opened> {
        match self.opened.get() {
            Some(opened) => Ok(opened),
            None => self.open(),
        }
    }

    /// The open shard, if some row of it was asked for.
    pub(crate) fn if_opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    #[cold]
    fn open(&self) -> Result<&Opened> {
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let (Some(expected), Some(path)) = (&*opening, &self.path) else {
            unreachable!("a shard is open or knows how to be");
        };
        let opened = (expected.open)(path)?;
        if opened.schema.fields() != expected.schema.fields() {
            return Err(
                Error::mismatch("the shard's columns are not those the dataset promises").at_path(path)
            );
        }
        if !opened.chunk_rows().eq(expected.chunk_rows.iter().copied()) {
            return Err(
                Error::mismatch("the shard's chunks do not have the rows the dataset promises").at_path(path)
            );
        }
        let opened = self.opened.get_or_init(|| opened);
        // Relaxed: advice. One that comes while the shard is being opened may be lost, and nothing but time with it.
        self.advise(self.sequential.load(Ordering::Relaxed));
        Ok(opened)
    }

    /// Tells the system whether rows will be read one after another. A file is mapped for reading here and there.
    pub(crate) fn advise(&self, sequential: bool) {
        self.sequential.store(sequential, Ordering::Relaxed);
        for region in self.if_opened().into_iter().flat_map(Opened::regions) {
            let advice = if sequential { Advice::Sequential } else { Advice::Random };
            // Advice: a system that does not take it reads more or less than it might.
            let _ = region.advise(0..region.len_bytes(), advice);
        }
    }

    /// `error`, which happened in this shard.
    pub(crate) fn place(&self, error: Error) -> Error {
        match &self.path {
            Some(path) => error.at_path(path),
            None => error,
        }
    }
}
