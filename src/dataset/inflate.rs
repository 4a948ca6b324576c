//! Compressed files: inflated whole, within the budget of decoded bytes.
//!
//! A compressed file has no rows that could be read where they lie. What it inflates to is kept, as memory we own, as
//! long as all such files of a dataset fit the budget ([`OpenOptions::decode_budget_bytes`](super::OpenOptions)). Files of
//! records beyond it are inflated again when a row of them is asked for, and let go of when another needs the room.
//!
//! The memory grows with what was inflated, never with what a header claims, and a file that becomes more than
//! 64 MiB and 256 times itself is refused: it is never cut short in silence.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::bufread::ZlibDecoder;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Compression, FileFormat, HEAD_BYTES, detect, expansion_cap, idx, npy, tfrecord};
use crate::map::Region;

impl Compression {
    /// How a file is compressed that begins with `head` and is called `name`, in lower case; `None` if it is not.
    pub(super) fn of(head: &[u8], name: &str) -> Option<Self> {
        match detect(head, name) {
            Some(FileFormat::Gzip) => Some(Compression::Gzip),
            Some(FileFormat::Zstd) => Some(Compression::Zstd),
            // A zlib stream has two bytes that tell it from others, and text may begin with them: only records that are
            // recognised within are believed.
            _ if is_zlib(head) && inflates_to_records(head) => Some(Compression::Zlib),
            _ => None,
        }
    }

    /// How a file called `name`, in lower case, is compressed, whatever is in it.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match detect(&[], name) {
            Some(FileFormat::Gzip) => Some(Compression::Gzip),
            Some(FileFormat::Zstd) => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The name, without the ending that says how it is compressed, of what is within a file called `name`.
    pub(super) fn name_within(self, name: &str) -> Cow<'_, str> {
        if let Some(stem) = name.strip_suffix(".tgz") {
            return format!("{stem}.tar").into();
        }
        let endings: &[&str] = match self {
            Compression::None => &[],
            Compression::Gzip => &[".gz", ".gzip"],
            Compression::Zlib => &[".zlib", ".zz"],
            Compression::Zstd => &[".zst", ".zstd"],
        };
        endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name).to_owned().into()
    }
}

/// Source: RFC 1950, section 2.2.
fn is_zlib(head: &[u8]) -> bool {
    matches!(head, [0x78, flags, ..] if (0x7800 + u16::from(*flags)).is_multiple_of(31))
}

fn inflates_to_records(head: &[u8]) -> bool {
    let mut start = Vec::new();
    // An error is expected: the stream goes on behind the head.
    let _ = ZlibDecoder::new(head).take(HEAD_BYTES as u64).read_to_end(&mut start);
    tfrecord::looks_like(&start)
}

/// Room for what is inflated and kept.
#[derive(Debug)]
pub(super) struct Room {
    left_bytes: u64,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Room { left_bytes: bytes }
    }

    pub(super) fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Takes `bytes` of the room; `false`, and nothing, if there are not as many.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let left = self.left_bytes.checked_sub(bytes);
        self.left_bytes = left.unwrap_or(self.left_bytes);
        left.is_some()
    }
}

/// That a file was inflated, as `inspect` tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inflated {
    /// The name of the compression.
    pub(crate) from: &'static str,
    /// Whether what it inflates to is kept.
    pub(crate) is_kept: bool,
}

/// The bytes of a file, as its format has them.
pub(super) struct FileSource {
    /// The file, or what it inflates to.
    pub(super) region: Region,
    /// How to inflate it again, where what it inflates to is not to be kept.
    pub(super) again: Option<Arc<Again>>,
}

/// A file that is inflated when its bytes are needed.
pub(super) struct Again {
    pub(super) compressed: Region,
    how: Box<How>,
}

type How = dyn Fn(&Region) -> Result<Vec<u8>> + Send + Sync;

impl Again {
    pub(super) fn inflate(&self) -> Result<Region> {
        (self.how)(&self.compressed).map(Region::from_vec)
    }
}

impl FileSource {
    /// A file that is not compressed.
    pub(super) fn plain(region: Region) -> Self {
        FileSource { region, again: None }
    }

    /// What `compressed` inflates to, by `how`; kept if there is room.
    pub(super) fn inflated(
        compressed: Region,
        room: &mut Room,
        how: impl Fn(&Region) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let region = Region::from_vec(how(&compressed)?);
        let is_kept = room.take(region.len_bytes());
        let again = (!is_kept).then(|| Arc::new(Again { compressed, how: Box::new(how) }));
        Ok(FileSource { region, again })
    }

    /// The bytes, where a format cannot do without them.
    ///
    /// # Errors
    ///
    /// `TooLarge` if there was no room to keep them.
    pub(super) fn kept(&self) -> Result<&Region> {
        match &self.again {
            None => Ok(&self.region),
            Some(_) => Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the compressed file inflates to {} bytes, past the budget of decoded bytes: decompress it, convert \
                     it, or raise OpenOptions::decode_budget_bytes",
                    self.region.len_bytes()
                ),
            )),
        }
    }
}

/// Bytes of which the first are taken for a header, if there is one.
const START_BYTES: u64 = 1 << 20;

/// The inflated bytes of a file; of one that holds an array, no more than a byte beyond what the array's own header, which
/// comes first, declares, so that a longer file is seen to be longer.
///
/// # Errors
///
/// `Malformed` for a stream that breaks off; `TooLarge` for more bytes than a file of its length may become.
pub(super) fn inflate(region: &Region, compression: Compression) -> Result<Vec<u8>> {
    let compressed = region.read(0..region.len_bytes())?;
    inflate_within(&compressed, compression, expansion_cap(region.len_bytes()))
}

fn inflate_within(compressed: &[u8], compression: Compression, cap_bytes: u64) -> Result<Vec<u8>> {
    let mut decoder = compression.decoder(compressed).map_err(|e| breaks_off(e, 0))?;
    let mut inflated = Vec::new();
    let mut read = |inflated: &mut Vec<u8>, up_to: u64| {
        let left = up_to.saturating_sub(inflated.len() as u64);
        decoder.by_ref().take(left).read_to_end(inflated).map_err(|e| breaks_off(e, inflated.len()))
    };
    // One byte more than is allowed shows that there is more.
    let limit = cap_bytes.saturating_add(1);
    read(&mut inflated, START_BYTES.min(limit))?;
    let declared = match detect(&inflated, "") {
        Some(FileFormat::Idx) => idx::declared(&inflated)?.end_bytes().unwrap_or(0),
        Some(FileFormat::Npy) => npy::declared(&inflated)?.end_bytes().unwrap_or(0),
        _ => u64::MAX,
    };
    read(&mut inflated, declared.saturating_add(1).min(limit))?;
    if inflated.len() as u64 > cap_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected the {} compressed bytes to inflate to at most {cap_bytes}, found more: decompress the file",
                compressed.len()
            ),
        ));
    }
    Ok(inflated)
}

fn breaks_off(error: io::Error, at: usize) -> Error {
    Error::malformed(format!("the compressed stream breaks off after {at} inflated bytes: {error}"))
        .with_source(error)
}

#[cfg(test)]
mod tests;
