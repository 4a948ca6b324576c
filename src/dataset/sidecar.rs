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
use std::io::{self, Write};
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
fn path_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".forebay-index");
    name.into()
}

/// The state of a file: two that differ are never equal, short of a clock that did not tick between two writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    len_bytes: u64,
    /// Nanoseconds since 1970.
    written: u64,
}

impl Stamp {
    /// The file at `path`, as it is now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| Error::io(path, "look at the file", e))?;
        let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Stamp { len_bytes: metadata.len(), written: written.unwrap_or_default().as_nanos() as u64 })
    }

    /// The header of the index of such a file.
    fn header(&self, dependence: u64, num_records: u64) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (at, word) in [(16, self.len_bytes), (24, self.written), (32, dependence), (40, num_records)] {
            header[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let checksum = xxh3_64(&header[..48]);
        header[48..56].copy_from_slice(&checksum.to_le_bytes());
        header
    }
}

/// The starts in the index of the file at `path`, if there is one that belongs to it as it is now.
///
/// # Errors
///
/// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file is gone. An index that cannot be read is passed over.
pub(super) fn find(path: &Path, dependence: u64, options: &MapOptions) -> Result<Option<Span>> {
    let index = path_of(path);
    if !index.is_file() {
        return Ok(None);
    }
    let Ok(region) = Region::map(&index, options) else { return Ok(None) };
    let Ok(found) = region.read(0..HEADER_BYTES) else { return Ok(None) };
    let num_records = u64::from_le_bytes(found[40..48].try_into().expect("8 bytes"));
    let starts_bytes = num_records.checked_add(1).and_then(|starts| starts.checked_mul(8));
    let is_whole = starts_bytes.and_then(|bytes| bytes.checked_add(HEADER_BYTES)) == Some(region.len_bytes());
    if !is_whole || Stamp::of(path)?.header(dependence, num_records)[..] != found[..] {
        return Ok(None);
    }
    Span::new(&region, HEADER_BYTES, region.len_bytes() - HEADER_BYTES).map(Some)
}

/// Writes the index of the file at `path`, which was as `stamp` says before it was scanned: whoever looks sees the old
/// index or the new.
///
/// # Errors
///
/// `Mismatch` if the file has changed since; [`ErrorKind::Io`](crate::ErrorKind::Io) if the index cannot be written.
pub(super) fn write(path: &Path, stamp: &Stamp, dependence: u64, starts: &Span) -> Result<PathBuf> {
    if Stamp::of(path)? != *stamp {
        return Err(Error::mismatch("the file was written to while it was indexed").at_path(path));
    }
    let index = path_of(path);
    let header = stamp.header(dependence, starts.len() / 8 - 1);
    let starts = starts.region().read(starts.offset()..starts.offset() + starts.len())?;
    let mut temporary = index.as_os_str().to_owned();
    // Of its own for each process: two that index one file at once do not write into each other's.
    temporary.push(format!(".{}.tmp", std::process::id()));
    let write = || -> io::Result<()> {
        let mut out = File::create(&temporary)?;
        out.write_all(&header)?;
        out.write_all(&starts)?;
        out.sync_all()?;
        fs::rename(&temporary, &index)
    };
    write().map_err(|e| {
        // It may not be there at all.
        let _ = fs::remove_file(&temporary);
        Error::io(&index, "write the index", e)
    })?;
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// A file, and its index of three records.
    fn indexed() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        fs::write(&path, "a\n1\n2\n").unwrap();
        let index = write(&path, &Stamp::of(&path).unwrap(), 7, &starts()).unwrap();
        (folder, path, index)
    }

    fn starts() -> Span {
        let words: Vec<u8> = [0u64, 2, 4, 6].iter().flat_map(|start| start.to_le_bytes()).collect();
        let len = words.len() as u64;
        Span::new(&Region::from_vec(words), 0, len).unwrap()
    }

    fn found(path: &Path, dependence: u64) -> Option<Vec<u8>> {
        let span = find(path, dependence, &MapOptions::new()).unwrap()?;
        Some(span.region().read(span.offset()..span.offset() + span.len()).unwrap())
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let (folder, path, index) = indexed();
        assert_eq!(index, folder.path().join("x.csv.forebay-index"));
        let bytes = fs::read(&index).unwrap();
        assert_eq!(bytes[..16], *b"FOREBAYX\x01\0\0\0\0\0\0\0");
        assert_eq!((bytes[16], bytes[32], bytes[40], bytes.len()), (6, 7, 3, 64 + 4 * 8));
        assert_eq!(bytes[56..64], [0; 8]);
        assert_eq!(found(&path, 7).unwrap(), bytes[64..]);
        // Nothing else is left behind.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_index_of_another_file_or_other_options_is_passed_over() {
        let (_folder, path, index) = indexed();
        assert!(found(&path, 8).is_none());
        fs::write(&path, "a\n1\n2\n3\n").unwrap();
        assert!(found(&path, 7).is_none(), "another length");
        fs::write(&path, "a\n1\n3\n").unwrap();
        let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(found(&path, 7).is_none(), "another time");
        fs::remove_file(&index).unwrap();
        assert!(found(&path, 7).is_none());
        fs::create_dir(&index).unwrap();
        assert!(found(&path, 7).is_none());
    }

    #[test]
    fn a_header_that_is_damaged_or_cut_is_passed_over() {
        let (_folder, path, index) = indexed();
        let whole = fs::read(&index).unwrap();
        for at in 0..HEADER_BYTES as usize {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&index, damaged).unwrap();
            assert!(found(&path, 7).is_none(), "byte {at}");
        }
        for len in 0..whole.len() {
            fs::write(&index, &whole[..len]).unwrap();
            assert!(found(&path, 7).is_none(), "cut at {len}");
        }
        fs::write(&index, &whole).unwrap();
        assert!(found(&path, 7).is_some());
    }

    #[test]
    fn a_file_written_to_while_it_was_indexed_gets_no_index() {
        let (_folder, path, index) = indexed();
        let stamp = Stamp::of(&path).unwrap();
        fs::remove_file(&index).unwrap();
        fs::write(&path, "a\n1\n2\n3\n").unwrap();
        assert_eq!(write(&path, &stamp, 7, &starts()).unwrap_err().kind(), ErrorKind::Mismatch);
        assert!(!index.exists());
    }
}
