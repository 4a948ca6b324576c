//! Pages inflated into memory of exactly the size their headers state: never a byte more, whatever the stream holds.
//!
//! | codec | stream |
//! |---|---|
//! | Snappy | one raw block |
//! | GZIP | one or more members (RFC 1952) |
//! | Brotli | one stream (RFC 7932) |
//! | ZSTD | one or more frames (RFC 8878) |
//! | LZ4_RAW | one raw block |
//! | LZ4 | Hadoop's: (inflated bytes, stored bytes: u32 big-endian; raw block) …; or one frame; or one raw block |
//!
//! The last line is what writers made of a codec that was never specified: each form is tried in turn.
#![forbid(unsafe_code)]

use std::io::{Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use parquet::basic::Compression;

use crate::error::{Error, Result};

/// A decompressor of one codec.
pub(super) struct Inflater {
    codec: Compression,
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Inflater {
    /// `None` for pages that are stored as they are.
    pub(super) fn new(codec: Compression) -> Option<Self> {
        (codec != Compression::UNCOMPRESSED).then(|| Inflater {
            codec,
            snappy: snap::raw::Decoder::new(),
            zstd: None,
        })
    }

    /// Appends the `len` bytes that `stored` inflates to.
    pub(super) fn inflate(&mut self, stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        match self.codec {
            Compression::SNAPPY => {
                out.resize(start + len, 0);
                let found = self.snappy.decompress(stored, &mut out[start..]).map_err(broken)?;
                out.truncate(start + found);
            }
            Compression::LZ4_RAW => {
                out.resize(start + len, 0);
                let found = lz4_flex::block::decompress_into(stored, &mut out[start..]).map_err(broken)?;
                out.truncate(start + found);
            }
            Compression::LZ4 => {
                out.resize(start + len, 0);
                let found = lz4(stored, &mut out[start..])?;
                out.truncate(start + found);
            }
            Compression::ZSTD(_) => {
                let decompressor = match &mut self.zstd {
                    Some(decompressor) => decompressor,
                    none => none.insert(zstd::bulk::Decompressor::new().map_err(broken)?),
                };
                // It writes up to the vector's capacity, which may be more than was asked for: counted below.
                out.reserve_exact(len);
                let mut end = Cursor::new(&mut *out);
                end.set_position(start as u64);
                decompressor.decompress_to_buffer(stored, &mut end).map_err(broken)?;
            }
            Compression::GZIP(_) => read_up_to(MultiGzDecoder::new(stored), len, out)?,
            Compression::BROTLI(_) => {
                read_up_to(brotli::Decompressor::new(stored, (16 << 10).min(len.max(1))), len, out)?;
            }
            Compression::UNCOMPRESSED => out.extend_from_slice(stored),
            Compression::LZO => {
                return Err(Error::unsupported("LZO is a compression this crate does not read"));
            }
        }
        let found = out.len() - start;
        if found != len {
            return Err(Error::malformed(format!(
                "expected a page to inflate to {len} bytes, found {found}{}",
                if found > len { " and more" } else { "" }
            )));
        }
        Ok(())
    }
}

/// One byte more than `len`, so that a longer stream is seen to be longer.
fn read_up_to(stream: impl Read, len: usize, out: &mut Vec<u8>) -> Result<()> {
    out.reserve_exact(len + 1);
    stream.take(len as u64 + 1).read_to_end(out).map_err(broken).map(drop)
}

/// All three forms of a codec that was never specified.
fn lz4(stored: &[u8], out: &mut [u8]) -> Result<usize> {
    if let Some(found) = lz4_hadoop(stored, out) {
        return Ok(found);
    }
    let mut frame = lz4_flex::frame::FrameDecoder::new(stored);
    let mut found = 0;
    while found < out.len() {
        match frame.read(&mut out[found..]) {
            Ok(0) => break,
            Ok(more) => found += more,
            Err(_) => return lz4_flex::block::decompress_into(stored, out).map_err(broken),
        }
    }
    if found == out.len() { Ok(found) } else { lz4_flex::block::decompress_into(stored, out).map_err(broken) }
}

/// `None` if `stored` is not framed as Hadoop does it.
fn lz4_hadoop(mut stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut found = 0usize;
    while !stored.is_empty() {
        let (inflated, rest) = stored.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let inflated = u32::from_be_bytes(*inflated) as usize;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let place = out.get_mut(found..found.checked_add(inflated)?)?;
        if lz4_flex::block::decompress_into(block, place).ok()? != inflated {
            return None;
        }
        found += inflated;
        stored = rest;
    }
    Some(found)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::malformed(format!("a page cannot be decompressed: {error}")).with_source(error)
}
