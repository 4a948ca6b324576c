//! What `index.json` says of the columns and the shards.
#![forbid(unsafe_code)]

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use super::MdsRecords;
use super::encoding::{Encoding, MdsColumn};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{named, piece::expansion_cap};
use crate::map::Region;

/// The file that makes a folder an MDS dataset.
pub(crate) const INDEX: &str = "index.json";

/// The longest index that is read: that of 100,000 shards.
const INDEX_BYTES_MAX: usize = 64 << 20;

/// What `index.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MdsIndex {
    /// The columns of every shard.
    pub(crate) columns: Vec<MdsColumn>,
    pub(crate) shards: Vec<MdsShard>,
}

/// A shard, of which there is the raw file, the compressed one, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MdsShard {
    pub(crate) num_samples: u64,
    pub(crate) raw: MdsFile,
    /// The compressed file and how it was compressed.
    pub(crate) zip: Option<(MdsFile, Compression)>,
}

/// A file of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MdsFile {
    /// Its name, relative to the folder.
    pub(crate) name: String,
    pub(crate) len: u64,
}

/// How a whole shard is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "Zstandard",
        }
    }
}

#[derive(Deserialize)]
struct Index {
    version: u64,
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    version: u64,
    format: Box<str>,
    #[serde(default)]
    column_names: Vec<Box<str>>,
    #[serde(default)]
    column_encodings: Vec<Box<str>>,
    #[serde(default)]
    column_sizes: Vec<Option<u64>>,
    compression: Option<Box<str>>,
    samples: u64,
    raw_data: Option<FileInfo>,
    zip_data: Option<FileInfo>,
}

#[derive(Deserialize)]
struct FileInfo {
    basename: String,
    bytes: u64,
}

impl MdsIndex {
    /// Reads the text of `index.json`.
    ///
    /// # Errors
    ///
    /// `Malformed` for text that is no such JSON, for no shards, for names that lead out of the folder, and for
    /// columns whose names, encodings and sizes do not go together; `Unsupported`, by name, for versions, formats,
    /// compressions and encodings that are not read; `Mismatch` for shards of different columns.
    pub(crate) fn parse(index: &[u8]) -> Result<Self> {
        if index.len() > INDEX_BYTES_MAX {
            return Err(Error::malformed(format!(
                "expected an {INDEX} of at most {INDEX_BYTES_MAX} bytes, found {}",
                index.len()
            )));
        }
        let Index { version, shards } = serde_json::from_slice(index).map_err(|e| {
            Error::malformed(format!("expected the {INDEX} of an MDS dataset, found other text: {e}"))
                .with_source(e)
        })?;
        let Some(first) = shards.first() else {
            return Err(Error::malformed("expected the shards of an MDS dataset, found none in its list"));
        };
        for version in shards.iter().map(|shard| shard.version).chain([version]) {
            if version != 2 {
                return Err(Error::unsupported(format!("expected MDS version 2, found {version}")));
            }
        }
        if let Some(other) = shards.iter().find(|shard| &*shard.format != "mds") {
            let found = other.format.escape_debug();
            return Err(Error::unsupported(format!("expected shards of the format 'mds', found '{found}'")));
        }
        let columns = first.columns()?;
        if let Some(at) = shards.iter().position(|shard| !shard.has_columns_of(first)) {
            return Err(Error::mismatch(format!(
                "expected every shard to have the columns of the first, found others in shard {at}"
            )));
        }
        let shards = shards.into_iter().map(Shard::checked).collect::<Result<_>>()?;
        Ok(MdsIndex { columns, shards })
    }
}

impl MdsShard {
    /// The samples of the uncompressed shard `raw`.
    ///
    /// # Errors
    ///
    /// `Mismatch` for another length than the index says; those of [`MdsRecords::new`].
    pub(crate) fn records(&self, raw: &Region) -> Result<MdsRecords> {
        if raw.len_bytes() != self.raw.len {
            return Err(Error::mismatch(format!(
                "expected a shard of {} bytes, as the index says, found {}",
                self.raw.len,
                raw.len_bytes()
            )));
        }
        MdsRecords::new(raw, self.num_samples)
    }

    /// The uncompressed shard, of the bytes of its compressed file.
    ///
    /// # Errors
    ///
    /// `Malformed` where the compression breaks off; `Mismatch` for another length than the index says; `TooLarge`
    /// for more bytes than so few may become; `InvalidArgument` for a shard that is not compressed.
    pub(crate) fn inflate(&self, zip: &[u8]) -> Result<Vec<u8>> {
        let Some((_, compression)) = &self.zip else {
            return Err(Error::invalid("the shard is not compressed"));
        };
        let len = self.raw.len;
        let cap = expansion_cap(zip.len() as u64);
        let capacity = usize::try_from(len).ok().filter(|_| len <= cap).ok_or_else(|| {
            Error::new(
                ErrorKind::TooLarge,
                format!("expected {} compressed bytes to stand for at most {cap}, found {len}", zip.len()),
            )
        })?;
        let broken = |e| Error::malformed(format!("the compressed shard cannot be read: {e}")).with_source(e);
        let raw = match compression {
            Compression::Gzip => {
                let mut raw = Vec::new();
                MultiGzDecoder::new(zip).take(len.saturating_add(1)).read_to_end(&mut raw).map_err(broken)?;
                raw
            }
            // Into one piece of memory, so that no frame can ask for a window beside it.
            Compression::Zstd => zstd::bulk::decompress(zip, capacity).map_err(broken)?,
        };
        if raw.len() as u64 != len {
            return Err(Error::mismatch(format!(
                "expected a shard of {len} bytes, as the index says, found {}",
                if raw.len() as u64 > len { "more".to_owned() } else { raw.len().to_string() }
            )));
        }
        Ok(raw)
    }
}

impl Compression {
    /// The compression called `name`, as in `zstd:3`.
    fn parse(name: &str) -> Result<Self> {
        match name.split(':').next() {
            Some("gz") => Ok(Compression::Gzip),
            Some("zstd") => Ok(Compression::Zstd),
            _ => Err(Error::unsupported(format!(
                "expected shards compressed with gz or zstd, found '{}': decompress them",
                name.escape_debug()
            ))),
        }
    }
}

impl Shard {
    fn has_columns_of(&self, other: &Shard) -> bool {
        (&self.column_names, &self.column_encodings, &self.column_sizes)
            == (&other.column_names, &other.column_encodings, &other.column_sizes)
    }

    fn columns(&self) -> Result<Vec<MdsColumn>> {
        let lens = [self.column_names.len(), self.column_encodings.len(), self.column_sizes.len()];
        if lens[0] == 0 || lens != [lens[0]; 3] {
            return Err(Error::malformed(format!(
                "expected a name, an encoding and a size of each column, found {}, {} and {}",
                lens[0], lens[1], lens[2]
            )));
        }
        let mut sorted: Vec<_> = self.column_names.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::malformed(format!("expected each column once, found '{}' twice", twice[0])));
        }
        let mut columns = Vec::with_capacity(lens[0]);
        for ((name, encoding), &size) in
            self.column_names.iter().zip(&self.column_encodings).zip(&self.column_sizes)
        {
            let in_column = |e: Error| Error::new(e.kind(), format!("column '{name}': {}", e.message()));
            let encoding = Encoding::parse(encoding).map_err(in_column)?;
            let expected = encoding.value_bytes().map(|bytes| bytes as u64);
            if size != expected {
                let text =
                    |size: Option<u64>| size.map_or("no one size".to_owned(), |size| format!("{size} bytes"));
                return Err(Error::malformed(format!(
                    "expected values of column '{name}' to have {}, found {}",
                    text(expected),
                    text(size)
                )));
            }
            columns.push(MdsColumn { name: name.to_string(), encoding });
        }
        Ok(columns)
    }

    fn checked(self) -> Result<MdsShard> {
        let file = |info: FileInfo| {
            named::check(&info.basename)?;
            Ok(MdsFile { name: info.basename, len: info.bytes })
        };
        let Some(raw) = self.raw_data else {
            return Err(Error::malformed("expected the raw file of a shard, found none"));
        };
        let zip = match (self.zip_data, self.compression) {
            (Some(zip), Some(compression)) => Some((file(zip)?, Compression::parse(&compression)?)),
            (None, _) => None,
            (Some(_), None) => {
                return Err(Error::malformed(
                    "expected the compression of a shard's compressed file, found none",
                ));
            }
        };
        Ok(MdsShard { num_samples: self.samples, raw: file(raw)?, zip })
    }
}
