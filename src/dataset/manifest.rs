//! `dataset.json`: what makes a folder a dataset.
//!
//! ```json
//! { "format": "forebay",
//!   "version": 1,
//!   "rows": 60000,
//!   "schema": { "fields": [ … ], "metadata": {} },
//!   "shards": [
//!     { "file": "shard-00000-of-00002.arrow", "rows": 32768, "bytes": 25821234,
//!       "batches": [ { "rows": 16384, "offset": 584, "bytes": 12910592, "xxh3": "9f0c…" }, … ] }, … ],
//!   "source": "5d1e…" }
//! ```
//!
//! `schema` is Arrow's, as its `serde` feature writes it. `offset` and `bytes` give the place of a record
//! batch in its file, metadata included; `xxh3` is the XXH3-64 of those bytes, as 16 hexadecimal digits. Files that
//! another program wrote and that were adopted may be of any format: a batch is then a chunk, and where its place in the
//! file is not known, `offset`, `bytes` and `xxh3` are those of the whole file.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Component, Path};

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of the manifest in a dataset's folder.
pub(crate) const MANIFEST: &str = "dataset.json";

/// The version of the manifest this crate writes, and the only one it reads.
const VERSION: u32 = 1;

/// What `dataset.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    pub(crate) rows: u64,
    pub(crate) schema: Schema,
    pub(crate) shards: Vec<ShardEntry>,
    /// What the dataset was converted from: a hash of the source and of how it was cut.
    pub(crate) source: String,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardEntry {
    pub(crate) file: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) batches: Vec<BatchEntry>,
}

/// One record batch of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchEntry {
    pub(crate) rows: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    #[serde(with = "hex")]
    pub(crate) xxh3: u64,
}

impl Manifest {
    pub(crate) fn new(schema: Schema, shards: Vec<ShardEntry>, source: String) -> Self {
        let rows = shards.iter().map(|shard| shard.rows).sum();
        Manifest { format: "forebay".to_owned(), version: VERSION, rows, schema, shards, source }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::io(
                path,
                "find dataset.json, which makes a folder a dataset (was a conversion cut short? run it again; for \
                 files of another program, name them: 'folder/*.arrow')",
                e,
            ),
            _ => Error::io(path, "read dataset.json", e),
        })?;
        Manifest::parse(&text).map_err(|error| error.at_path(path))
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let bad = |e: serde_json::Error| {
            Error::malformed(format!("line {}, column {}: {e}", e.line(), e.column())).with_source(e)
        };
        let head: Head = serde_json::from_str(text).map_err(bad)?;
        if head.format != "forebay" || head.version != VERSION {
            return Err(Error::unsupported(format!(
                "expected format forebay, version {VERSION}, found {}, version {}",
                head.format, head.version
            )));
        }
        let manifest: Manifest = serde_json::from_str(text).map_err(bad)?;
        for shard in &manifest.shards {
            if sum(shard.batches.iter().map(|batch| batch.rows)) != Some(shard.rows) {
                return Err(Error::malformed(format!(
                    "the batches of {} do not add up to its rows",
                    shard.file
                )));
            }
            let mut parts = Path::new(&shard.file).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(Error::malformed(format!(
                    "expected the name of a file in this folder, found '{}'",
                    shard.file
                )));
            }
        }
        if sum(manifest.shards.iter().map(|shard| shard.rows)) != Some(manifest.rows) {
            return Err(Error::malformed(format!("the shards do not add up to the {} rows", manifest.rows)));
        }
        Ok(manifest)
    }
}

fn sum(mut parts: impl Iterator<Item = u64>) -> Option<u64> {
    parts.try_fold(0u64, |sum, part| sum.checked_add(part))
}

/// 64-bit checksums as 16 hexadecimal digits: JSON numbers hold 53 bits in many readers.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| D::Error::custom(format!("'{text}' is no 64-bit checksum")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{DType, tensor_field};

    fn manifest() -> Manifest {
        let batch = BatchEntry { rows: 5, offset: 8, bytes: 100, xxh3: u64::MAX - 1 };
        let shard = ShardEntry { file: "a.arrow".into(), rows: 5, bytes: 200, batches: vec![batch] };
        Manifest::new(
            Schema::new(vec![tensor_field("x", DType::F32, &[2, 2], false)]),
            vec![shard],
            "0".into(),
        )
    }

    #[test]
    fn reads_what_it_writes() {
        let text = serde_json::to_string(&manifest()).unwrap();
        let read = Manifest::parse(&text).unwrap();
        assert_eq!((read.rows, &read.schema, &read.shards), (5, &manifest().schema, &manifest().shards));
    }

    #[test]
    fn refuses_what_does_not_add_up_or_leaves_the_folder() {
        let forge = |from: &str, to: &str| {
            let text = serde_json::to_string(&manifest()).unwrap();
            assert!(text.contains(from));
            Manifest::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(forge("\"rows\":5", "\"rows\":6").contains("6 rows"));
        assert!(forge("a.arrow", "../a.arrow").contains("'../a.arrow'"));
        assert!(forge("\"version\":1", "\"version\":2").contains("version 2"));
        assert!(forge("fffffffffffffffe", "zz").contains("'zz'"));
    }
}
