//! TFRecord: payloads of any length, one after another, each between checksums.
//!
//! Every number is little-endian. One record is one *frame*, and a file is frames and nothing else; there is no header
//! for the file, no count and no index:
//!
//! ```text
//!     byte  0               8           12                  12 + N      16 + N
//!          ┌───────────────┬───────────┬───────── ─ ─ ─────┬───────────┐
//!          │ N             │ crc(N)    │ payload, N bytes  │ crc(…)    │ the next frame
//!          └───────────────┴───────────┴───────── ─ ─ ─────┴───────────┘
//!           u64             u32                             u32
//!          ├── header ─────────────────┤                   ├─ trailer ─┤
//!
//!     crc(bytes)  =  rotate_right(c, 15) + 0xA282EAD8 (mod 2³²),  c the CRC-32C (Castagnoli) of the bytes
//! ```
//!
//! The first checksum is of the 8 bytes of N, the second of the payload. So the frames can be found by their headers
//! alone ([`scan`]), which reads 12 bytes a frame and no page that only payloads lie in; payloads are checked when they
//! are read ([`check_payload`]).
//!
//! # A scan in parallel
//!
//! A file is cut where [`split`] finds something that looks like a frame: a header whose checksum matches, followed by
//! another (or by the end of the file). A payload can hold such bytes (a TFRecord file within a record), so the parts
//! are believed only if they [join](joins): the last frame of each ends where the first of the next begins. Since the
//! first part begins at byte 0, parts that join are the frames of the file. Where they do not, or a part fails, the
//! file is scanned in one piece, which also finds the right words for what is wrong.
//!
//! Source: [the format's description](https://www.tensorflow.org/tutorials/load_data/tfrecord) and TensorFlow's
//! `record_writer.h`. What a payload means is not this module's business, nor is compression: a `.gz` file is one
//! stream of frames once it is inflated.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::error::{Error, Result};
use crate::map::Region;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: u64 = 12;
/// Bytes behind the payload.
pub(crate) const TRAILER_BYTES: u64 = 4;

/// How far behind the place asked for [`split`] looks for a frame. Files whose records are longer than this have so
/// few of them that one thread finds them all at once.
const SEARCH_BYTES: u64 = 16 << 20;

/// Bytes copied out at a time by a search.
const SEARCH_BLOCK_BYTES: usize = 1 << 16;

/// The masked CRC-32C of `bytes`, as the format stores it.
#[inline]
pub(crate) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Whether a file that begins with `head` begins with a frame; 12 bytes are enough.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|header| FrameHeader::read(header).is_ok())
}

/// The first 12 bytes of a frame, its checksum found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the payload.
    pub(crate) payload_bytes: u64,
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// `Malformed` if the checksum of the length is not that of the length.
    pub(crate) fn parse(header: &[u8; 12]) -> Result<FrameHeader> {
        FrameHeader::read(header).map_err(|(expected, found)| {
            Error::malformed(format!(
                "expected the length of a record with the masked CRC-32C {expected:08x}, found {found:08x}"
            ))
        })
    }

    /// The header, or the checksums of the length: the one it has and the one that is stored.
    #[inline]
    fn read(header: &[u8; 12]) -> Result<FrameHeader, (u32, u32)> {
        let (length, stored) = header.split_first_chunk::<8>().expect("12 bytes begin with 8");
        let stored = u32::from_le_bytes(stored.try_into().expect("12 bytes are 8 and 4"));
        let computed = masked_crc(length);
        if stored == computed {
            Ok(FrameHeader { payload_bytes: u64::from_le_bytes(*length) })
        } else {
            Err((computed, stored))
        }
    }

    /// Where a frame at byte `offset` ends; `None` past `file_len`.
    #[inline]
    pub(crate) fn end(self, offset: u64, file_len: u64) -> Option<u64> {
        let around = HEADER_BYTES + TRAILER_BYTES;
        let end = offset.checked_add(around)?.checked_add(self.payload_bytes)?;
        (end <= file_len).then_some(end)
    }
}

/// Whether `stored`, the trailer of a frame, is the checksum of `payload`.
#[inline]
pub(crate) fn payload_crc_ok(payload: &[u8], stored: [u8; 4]) -> bool {
    masked_crc(payload) == u32::from_le_bytes(stored)
}

/// Holds `payload` against `stored`, the trailer of its frame.
///
/// # Errors
///
/// `Malformed` if the checksum does not match.
#[inline]
pub(crate) fn check_payload(payload: &[u8], stored: [u8; 4]) -> Result<()> {
    if payload_crc_ok(payload, stored) {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "expected a payload of {} bytes with the masked CRC-32C {:08x}, found {:08x}",
        payload.len(),
        u32::from_le_bytes(stored),
        masked_crc(payload)
    )))
}

/// The payload of a whole frame, and its stored checksum.
///
/// # Errors
///
/// `Malformed` if the frame's length is not that of its header.
#[inline]
pub(crate) fn payload_of(frame: &[u8]) -> Result<(&[u8], [u8; 4])> {
    let parts = frame.split_first_chunk::<8>().and_then(|(length, rest)| {
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (payload, stored) = rest.split_last_chunk::<4>()?;
        (u64::from_le_bytes(*length) == payload.len() as u64).then_some((payload, *stored))
    });
    parts.ok_or_else(|| {
        Error::malformed(format!(
            "expected a record of {} bytes as its index says, found another length in its header",
            frame.len()
        ))
    })
}

/// Appends the byte at which each frame begins that begins in `range` to `offsets`, and returns where the last of them
/// ends: `range.end`, or behind it if the frame that crosses it does.
///
/// The first frame begins at `range.start`. The payload of a frame lies between 12 bytes behind its beginning and 4
/// bytes before its end, and the end of each frame is the beginning of the next. Payloads are not read.
///
/// # Errors
///
/// - `Malformed` for a length with a wrong checksum and for a frame that the file ends in. The record named is the
///   number of `offsets`, so they begin empty if the range begins with the file;
/// - those of [`Region::check`].
pub(crate) fn scan(region: &Region, range: Range<u64>, offsets: &mut Vec<u64>) -> Result<u64> {
    let walked = walk(region, range, offsets);
    // A page that could not be read is zeros, which are no header: the true reason comes first.
    region.check()?;
    walked
}

fn walk(region: &Region, range: Range<u64>, offsets: &mut Vec<u64>) -> Result<u64> {
    let file_len = region.len_bytes();
    let mut offset = range.start;
    while offset < range.end {
        let place = |error: Error| error.at_record(offsets.len() as u64).at_byte(offset);
        let mut header = [0; HEADER_BYTES as usize];
        if file_len - offset.min(file_len) < HEADER_BYTES {
            let left = file_len.saturating_sub(offset);
            let message = format!(
                "expected the {HEADER_BYTES} bytes that begin a record, found {left} up to the end of the file"
            );
            return Err(place(Error::malformed(message)));
        }
        region.copy_out(offset, &mut header)?;
        let header = FrameHeader::parse(&header).map_err(place)?;
        let Some(end) = header.end(offset, file_len) else {
            return Err(place(cut(header, offset, file_len)));
        };
        offsets.push(offset);
        offset = end;
    }
    Ok(offset)
}

/// The file ends within the frame at `offset`, behind its header.
#[cold]
pub(crate) fn cut(header: FrameHeader, offset: u64, file_len: u64) -> Error {
    let FrameHeader { payload_bytes } = header;
    let left = file_len - offset - HEADER_BYTES;
    Error::malformed(match left.checked_sub(payload_bytes) {
        Some(trailer) => format!(
            "expected {TRAILER_BYTES} bytes of checksum behind the payload, found the file ends after {trailer}"
        ),
        None => format!("expected {payload_bytes} bytes of payload, found the file ends after {left}"),
    })
}

/// Cuts the file into at most `num_parts` ranges of about one length, each beginning with what looks like a frame, for
/// [`scan`]. The first begins at byte 0, and each at the end of the one before.
///
/// # Errors
///
/// Those of [`Region::check`].
pub(crate) fn split(region: &Region, num_parts: usize) -> Result<Vec<Range<u64>>> {
    let file_len = region.len_bytes();
    let mut starts = vec![0];
    for part in 1..num_parts as u64 {
        let from = u64::try_from(u128::from(file_len) * u128::from(part) / num_parts as u128)
            .expect("a part of the file's length");
        if from > *starts.last().expect("one for the first part")
            && let Some(start) = find_frame(region, from..from.saturating_add(SEARCH_BYTES))?
        {
            starts.push(start);
        }
    }
    region.check()?;
    let ends = starts.iter().skip(1).copied().chain([file_len]);
    Ok(starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

/// Whether what the scans of `parts` returned, `ends`, says that all frames of the file were found.
pub(crate) fn joins(parts: &[Range<u64>], ends: &[u64]) -> bool {
    parts.len() == ends.len() && parts.iter().zip(ends).all(|(part, &end)| part.end == end)
}

/// The first byte of `range` at which a frame seems to begin: its header's checksum matches, and behind it begins
/// another or the file ends.
fn find_frame(region: &Region, range: Range<u64>) -> Result<Option<u64>> {
    let file_len = region.len_bytes();
    let mut block = vec![0; SEARCH_BLOCK_BYTES];
    let mut base = range.start;
    let end = range.end.min(file_len.saturating_sub(HEADER_BYTES + TRAILER_BYTES - 1));
    while base < end {
        // Headers that begin within the block may end behind it: the next block begins with them.
        let held = (file_len - base).min(SEARCH_BLOCK_BYTES as u64);
        let block = &mut block[..held as usize];
        region.copy_out(base, block)?;
        for (offset, window) in (base..end).zip(block.windows(HEADER_BYTES as usize)) {
            let header: &[u8; 12] = window.try_into().expect("a window of 12 bytes");
            let length = u64::from_le_bytes(*header.first_chunk().expect("12 bytes begin with 8"));
            // Most places are refused by the length alone, which costs less than a checksum.
            if (FrameHeader { payload_bytes: length }).end(offset, file_len).is_none() {
                continue;
            }
            if let Ok(header) = FrameHeader::read(header)
                && let Some(end) = header.end(offset, file_len)
                && (end == file_len || frame_at(region, end)?)
            {
                return Ok(Some(offset));
            }
        }
        base += held - (HEADER_BYTES - 1);
    }
    Ok(None)
}

/// Whether a frame begins at `offset` and ends within the file.
fn frame_at(region: &Region, offset: u64) -> Result<bool> {
    let file_len = region.len_bytes();
    if file_len - offset < HEADER_BYTES {
        return Ok(false);
    }
    let mut header = [0; HEADER_BYTES as usize];
    region.copy_out(offset, &mut header)?;
    Ok(FrameHeader::read(&header).is_ok_and(|header| header.end(offset, file_len).is_some()))
}

/// What stands before and behind `payload` in its frame.
pub(crate) fn around(payload: &[u8]) -> ([u8; HEADER_BYTES as usize], [u8; TRAILER_BYTES as usize]) {
    let length = (payload.len() as u64).to_le_bytes();
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&length);
    header[8..].copy_from_slice(&masked_crc(&length).to_le_bytes());
    (header, masked_crc(payload).to_le_bytes())
}

/// Appends `payload` to `file` as one frame.
#[cfg(test)]
pub(crate) fn push_frame(file: &mut Vec<u8>, payload: &[u8]) {
    let (header, trailer) = around(payload);
    file.extend_from_slice(&header);
    file.extend_from_slice(payload);
    file.extend_from_slice(&trailer);
}

#[cfg(test)]
mod tests;
