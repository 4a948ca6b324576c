//! Compressed files: inflated whole, within the budget of decoded bytes.
//!
//! A compressed file has no rows that could be read where they lie. What it inflates to is kept, as memory we own, as
//! long as all such files of a dataset fit the budget ([`OpenOptions::decode_budget_bytes`](super::OpenOptions)). Files of
//! records beyond it are inflated again when a row of them is asked for, and let go of when another needs the room.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::records::Known;
use crate::error::{Error, ErrorKind, Result};
use crate::format::piece::expansion_cap;
use crate::format::{FileFormat, HEAD_BYTES, detect, idx, npy, tfrecord};
use crate::map::Region;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
    Zstd,
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
    pub(super) how: Box<How>,
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

    /// What `compressed` inflates to, by `how`; kept if that fits `budget_bytes` with what is kept already.
    pub(super) fn inflated(
        compressed: Region,
        budget_bytes: u64,
        known: &mut Known,
        how: impl Fn(&Region) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let inflated = Region::from_vec(how(&compressed)?);
        let kept = known.inflated_bytes.saturating_add(inflated.len_bytes());
        if kept <= budget_bytes {
            known.inflated_bytes = kept;
            return Ok(FileSource { region: inflated, again: None });
        }
        Ok(FileSource { region: inflated, again: Some(Arc::new(Again { compressed, how: Box::new(how) })) })
    }

    /// The bytes, where a format cannot do without them.
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

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("region", &self.region)
            .field("kept", &self.again.is_none())
            .finish()
    }
}

/// How a file that begins with `head` is compressed, if it is.
pub(super) fn compression(format: Option<FileFormat>, head: &[u8]) -> Option<Compression> {
    match format {
        Some(FileFormat::Gzip) => Some(Compression::Gzip),
        Some(FileFormat::Zstd) => Some(Compression::Zstd),
        // A zlib stream has two bytes that tell it from others, and text may begin with them: only records that are
        // recognised within are believed.
        _ if is_zlib(head) && inflates_to_records(head) => Some(Compression::Zlib),
        _ => None,
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

/// Bytes a Zstandard frame may ask to be kept in memory while it is inflated: 128 MiB, as the library's own limit is.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The inflated bytes of a file. The memory grows with what was inflated, never with what a header claims, and stops at
/// what an array's own header, which comes first, declares, and at what so small a file may become.
pub(super) fn inflate(region: &Region, compression: Compression) -> Result<Vec<u8>> {
    let compressed = region.read(0..region.len_bytes())?;
    let mut decoder: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(compressed.as_slice())),
        Compression::Zlib => Box::new(ZlibDecoder::new(compressed.as_slice())),
        Compression::Zstd => Box::new(zstd(&compressed).map_err(|e| breaks_off(e, 0))?),
    };
    let mut inflated = Vec::new();
    decoder.by_ref().take(1 << 20).read_to_end(&mut inflated).map_err(|e| breaks_off(e, inflated.len()))?;
    let declared = match detect(&inflated, "") {
        Some(FileFormat::Idx) => idx::declared(&inflated)?.end_bytes().unwrap_or(0),
        Some(FileFormat::Npy) => npy::declared(&inflated)?.end_bytes().unwrap_or(0),
        _ => u64::MAX,
    };
    let cap = expansion_cap(region.len_bytes());
    // One byte more than declared, so that a longer file is seen to be longer.
    let left = declared.min(cap).saturating_add(1).saturating_sub(inflated.len() as u64);
    decoder.take(left).read_to_end(&mut inflated).map_err(|e| breaks_off(e, inflated.len()))?;
    if inflated.len() as u64 > cap {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected {} compressed bytes to stand for at most {cap}, found more: decompress the file",
                compressed.len()
            ),
        ));
    }
    Ok(inflated)
}

fn zstd<'a>(compressed: &'a [u8]) -> io::Result<impl Read + use<'a>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

fn breaks_off(error: io::Error, at: usize) -> Error {
    Error::malformed(format!("the compressed stream breaks off after {at} inflated bytes: {error}"))
        .with_source(error)
}
