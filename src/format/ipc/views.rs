//! Views that point at the same text again and again: how much they stand for, before anyone follows them.
//!
//! A view is 16 bytes, little-endian: the length of its text, u32, and either the text itself, up to 12 bytes, or where in
//! which buffer it lies. Arrow validates the text of every view, so that a million views of one megabyte, in a file of few
//! bytes more than those, would keep it busy for minutes. They are refused where they stand for more than the cap.
#![forbid(unsafe_code)]

use std::io::Read;

use arrow::ipc::CompressionType;

use super::frame::MessageRef;
use crate::error::{Error, ErrorKind, Result};
use crate::format::piece::expansion_cap;
use crate::map::Region;

/// Bytes of a view.
const VIEW_BYTES: usize = 16;

/// The longest text that lies in its view.
const INLINE_BYTES: u64 = 12;

/// Views of a message: the buffer they lie in.
#[derive(Clone, Copy)]
pub(super) struct Views {
    /// Its first byte in the file.
    pub(super) offset: u64,
    /// Bytes of it in the file.
    pub(super) len: u64,
    /// Bytes of it once inflated.
    pub(super) inflated: u64,
}

/// Refuses `views` of the message `message` that together stand for more text than the cap.
pub(super) fn check(
    region: &Region,
    message: &MessageRef,
    views: &[Views],
    codec: Option<CompressionType>,
) -> Result<()> {
    let cap = expansion_cap(message.body_bytes);
    let mut all = 0u64;
    for views in views {
        let stored = region.read(views.offset..views.offset + views.len)?;
        let inflated = match codec {
            Some(codec) => inflate(&stored, views.inflated, codec, cap)?,
            None => stored,
        };
        let lengths = inflated.as_chunks::<VIEW_BYTES>().0.iter();
        let lengths = lengths.map(|&[a, b, c, d, ..]| u64::from(u32::from_le_bytes([a, b, c, d])));
        all = lengths.filter(|&len| len > INLINE_BYTES).fold(all, u64::saturating_add);
    }
    if all > cap {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected views in a body of {} bytes to stand for at most {cap}, found {all}",
                message.body_bytes
            ),
        ));
    }
    Ok(())
}

/// The `len` bytes of a compressed buffer, which begins with that number, or with −1 where it is stored as it is.
fn inflate(stored: &[u8], len: u64, codec: CompressionType, cap: u64) -> Result<Vec<u8>> {
    let Some((prefix, stream)) = stored.split_first_chunk::<8>() else { return Ok(Vec::new()) };
    if i64::from_le_bytes(*prefix) == -1 {
        return Ok(stream.to_vec());
    }
    let capacity = usize::try_from(len).ok().filter(|_| len <= cap).ok_or_else(|| {
        Error::new(ErrorKind::TooLarge, format!("expected views of at most {cap} bytes, found {len}"))
    })?;
    let broken = |e: std::io::Error| {
        Error::malformed(format!("a buffer of views cannot be decompressed: {e}")).with_source(e)
    };
    if codec == CompressionType::ZSTD {
        return zstd::bulk::decompress(stream, capacity).map_err(broken);
    }
    let mut inflated = Vec::new();
    lz4_flex::frame::FrameDecoder::new(stream).take(len).read_to_end(&mut inflated).map_err(broken)?;
    Ok(inflated)
}
