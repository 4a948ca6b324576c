//! Index files: where the records of a file begin, kept beside it so that it need not be scanned again.
//!
//! `train.csv` has its index in `train.csv.forebay-index`, all of it little-endian:
//!
//! ```text
//!  0  "FOREBAYX"
//!  8  version: u32 = 1         12  zero: u32
//! 16  bytes of the file: u64
//! 24  when the file was last written: u64, nanoseconds since 1970
//! 32  what the scan depended on: u64, a hash of the format and its options
//! 40  n, the number of records: u64
//! 48  XXH3-64 of bytes 0..48
//! 56  zero: u64
//! 64  n + 1 starts: u64, the last of them the end of the last record
//! ```
//!
//! An index that belongs to another state of its file, to other options or to another version is passed over, as is one
//! that is damaged in its header. Its starts are mapped, not read; each is checked when it is used.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::format::Span;
use crate::map::{MapOptions, Region};

const MAGIC: &[u8; 8] = b"FOREBAYX";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 64;

/// Where the index of the file at `path` lies.
pub(crate) fn path_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".forebay-index");
    name.into()
}

/// The header of the index of the file at `path`, as it is now.
fn header(path: &Path, dependence: u64, num_records: u64) -> Result<[u8; HEADER_BYTES as usize]> {
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, "look at the file", e))?;
    let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let written = written.unwrap_or_default().as_nanos() as u64;
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (at, word) in [(16, metadata.len()), (24, written), (32, dependence), (40, num_records)] {
        header[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let checksum = xxh3_64(&header[..48]);
    header[48..56].copy_from_slice(&checksum.to_le_bytes());
    Ok(header)
}

/// The starts in the index of the file at `path`, if there is one that belongs to it as it is now.
pub(super) fn find(path: &Path, dependence: u64, options: &MapOptions) -> Result<Option<Span>> {
    let index = path_of(path);
    if !index.is_file() {
        return Ok(None);
    }
    let region = Region::map(&index, options)?;
    let Ok(found) = region.read(0..HEADER_BYTES) else { return Ok(None) };
    let num_records = u64::from_le_bytes(found[40..48].try_into().expect("8 bytes"));
    let bytes = num_records.checked_add(1).and_then(|starts| starts.checked_mul(8));
    let is_whole = bytes.and_then(|bytes| bytes.checked_add(HEADER_BYTES)) == Some(region.len_bytes());
    if !is_whole || header(path, dependence, num_records)?[..] != found[..] {
        return Ok(None);
    }
    Ok(Some(Span::new(&region, HEADER_BYTES, region.len_bytes() - HEADER_BYTES)?))
}

/// Writes the index of the file at `path`: whoever looks sees the old one or the new.
pub(super) fn write(path: &Path, dependence: u64, starts: &Span) -> Result<PathBuf> {
    let index = path_of(path);
    let header = header(path, dependence, starts.len() / 8 - 1)?;
    let temporary = index.with_extension("forebay-index.tmp");
    let bytes = starts.region().read(starts.offset()..starts.offset() + starts.len())?;
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&temporary)?);
        out.write_all(&header)?;
        out.write_all(&bytes)?;
        out.into_inner()?.sync_all()?;
        fs::rename(&temporary, &index)
    };
    write().map_err(|e| Error::io(&index, "write the index", e))?;
    Ok(index)
}
