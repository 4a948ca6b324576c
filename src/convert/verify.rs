//! Whether a dataset's files are what its converter wrote, or what was adopted.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::Progress;
use crate::dataset::{MANIFEST, Manifest};
use crate::error::{Error, Result};

/// Reads every record batch of the dataset in `folder` and compares its checksum with the one in `dataset.json`.
/// Tells `progress` after each. Returns one error for each batch that differs, with its file, record batch and byte.
///
/// # Errors
///
/// `Io` or `Malformed` if `dataset.json` cannot be read. What is wrong with a shard is among the errors returned.
pub fn verify(folder: impl AsRef<Path>, mut progress: impl FnMut(Progress)) -> Result<Vec<Error>> {
    let folder = folder.as_ref();
    let manifest = Manifest::read(&folder.join(MANIFEST))?;
    let mut damages = Vec::new();
    let mut done = Progress { rows: manifest.rows, ..Progress::default() };
    for shard in &manifest.shards {
        let path = folder.join(&shard.file);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, mut file) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                damages.push(Error::io(&path, "open a shard", e));
                continue;
            }
        };
        if len != shard.bytes {
            damages.push(
                Error::mismatch(format!("expected {} bytes as dataset.json says, found {len}", shard.bytes))
                    .at_path(&path),
            );
        }
        let mut last = None;
        for (number, batch) in shard.batches.iter().enumerate() {
            done.rows_done += batch.rows;
            // The chunks of an adopted file may share a checksum.
            let extent = Some((batch.offset, batch.bytes, batch.xxh3));
            if std::mem::replace(&mut last, extent) == extent {
                progress(done);
                continue;
            }
            let place = |error: Error| error.at_path(&path).at_record(number as u64).at_byte(batch.offset);
            match checksum(&mut file, batch.offset, batch.bytes) {
                Ok(Some(found)) if found == batch.xxh3 => {}
                Ok(Some(found)) => damages.push(place(Error::mismatch(format!(
                    "expected the checksum {:016x} over {} bytes, found {found:016x}: the record batch was changed or damaged",
                    batch.xxh3, batch.bytes
                )))),
                Ok(None) => damages.push(place(Error::mismatch(format!(
                    "expected a record batch of {} bytes, found the file to end in it",
                    batch.bytes
                )))),
                Err(e) => damages.push(place(Error::io(&path, "read a record batch", e))),
            }
            done.bytes_done += batch.bytes;
            progress(done);
        }
    }
    Ok(damages)
}

/// The XXH3-64 of `bytes` bytes from `offset`; `None` if the file ends before.
pub(super) fn checksum(file: &mut File, offset: u64, bytes: u64) -> std::io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; bytes.min(1 << 20) as usize];
    let mut left = bytes;
    while left > 0 {
        let want = left.min(buffer.len() as u64) as usize;
        match file.read(&mut buffer[..want])? {
            0 => return Ok(None),
            read => {
                hasher.update(&buffer[..read]);
                left -= read as u64;
            }
        }
    }
    Ok(Some(hasher.digest()))
}
