//! MDS, the shards of MosaicML Streaming: an `index.json` that lists them, and samples addressed by offsets.
//!
//! Every number in a shard is little-endian; n is the number of samples, C what `index.json` says of the columns.
//!
//! ```text
//!     byte  0      4            8 + 4·n       offsets[0]                       offsets[n]
//!          ┌──────┬─── ─ ─ ────┬─── ─ ─ ─────┬──────────┬──────────┬── ─ ─ ─ ─┤ the end of the file
//!          │ n    │ offsets    │ C, as JSON  │ sample 0 │ sample 1 │          │
//!          └──────┴─── ─ ─ ────┴─── ─ ─ ─────┴──────────┴──────────┴── ─ ─ ─ ─┘
//!           u32    u32[n + 1]
//!
//!     sample        ┌─────────────────────────────────────┬─────────┬─────────┬─ ─
//!                   │ u32 length of each column of        │ value 0 │ value 1 │      one value a column
//!                   │ varying length, in their order      │         │         │
//!                   └─────────────────────────────────────┴─────────┴─────────┴─ ─
//!
//!     index.json    {"version": 2, "shards": [{"version": 2, "format": "mds", "samples": n, "compression": null,
//!                     "column_names": […], "column_encodings": […], "column_sizes": [784, null, …],
//!                     "raw_data": {"basename": "shard.00000.mds", "bytes": …}, "zip_data": null, …}, …]}
//! ```
//!
//! | encoding | column |
//! |---|---|
//! | `int`, `int8` … `uint64`, `float16` … `float64` | a scalar; `int` is an i64 |
//! | `ndarray:type:shape` | a tensor |
//! | `ndarray:type` | a ragged list: the arrays must have one dimension |
//! | `str`, `str_int`, `str_float`, `str_decimal`, `json` | text, as it was written |
//! | `bytes`, `jpeg`, `jpeg_array`, `png`, `pil`, `ndarray` | bytes, as they were written |
//!
//! An array whose shape is not in its encoding begins with a byte, `dimensions · 4 + w`, and its dimensions as unsigned
//! numbers of 2ʷ bytes; one whose type is not there either has a byte for the type before that, and stays bytes.
//!
//! Deliberately absent: `pkl`, which is refused, as unpickling runs what the file says; the hashes in `index.json`;
//! the copy of C in the shard, which the library never reads either; shards of the formats `json`, `csv` and `xsv`.
//!
//! Source: [MosaicML Streaming], page "Dataset Format", and `streaming/base/format/mds`.
//!
//! [MosaicML Streaming]: https://docs.mosaicml.com/projects/streaming/
#![forbid(unsafe_code)]

mod decode;
mod encoding;
mod index;

pub(crate) use decode::MdsDecoder;
pub(crate) use index::{INDEX, MdsIndex, MdsShard};

use super::Span;
use crate::error::{Error, Result};
use crate::map::Region;

/// How many offsets are looked at in one go.
const BLOCK_ROWS: u64 = 16 << 10;

/// The samples of an uncompressed shard: sample `i` is the bytes `offsets[i]..offsets[i + 1]` of it.
#[derive(Clone)]
pub(crate) struct MdsRecords {
    /// The offsets, one more than there are samples, u32 little-endian.
    pub(crate) offsets: Span,
}

impl MdsRecords {
    /// The samples of `shard`, of which there are to be `num_samples`. Every offset is read once and checked, without
    /// memory a row; the samples themselves are not read.
    ///
    /// # Errors
    ///
    /// `Malformed` for offsets that do not lead from the first sample to the end of the shard; `Mismatch` for another
    /// number of samples.
    pub(crate) fn new(shard: &Region, num_samples: u64) -> Result<Self> {
        let shard_len = shard.len_bytes();
        let cut = |expected: u64| {
            Error::malformed(format!(
                "expected {expected} bytes of an MDS shard's offsets, found {shard_len} bytes"
            ))
            .at_byte(shard_len)
        };
        if shard_len < 4 {
            return Err(cut(8));
        }
        let found = shard.read(0..4)?;
        let found = found.first_chunk().map_or(0, |&bytes| u64::from(u32::from_le_bytes(bytes)));
        if found != num_samples {
            return Err(Error::mismatch(format!(
                "expected {num_samples} samples, as the index says, found a shard of {found}"
            ))
            .at_byte(0));
        }
        let num_offsets = num_samples + 1;
        let samples_at = 4 + 4 * num_offsets;
        if shard_len < samples_at {
            return Err(cut(samples_at));
        }
        let mut before = samples_at;
        for first in (0..num_offsets).step_by(BLOCK_ROWS as usize) {
            let at = 4 + 4 * first;
            let block = shard.read(at..at + 4 * BLOCK_ROWS.min(num_offsets - first))?;
            for (row, &offset) in (first..).zip(block.as_chunks().0) {
                let offset = u64::from(u32::from_le_bytes(offset));
                if offset < before || offset > shard_len {
                    return Err(Error::malformed(format!(
                        "expected a sample to begin at byte {before} to {shard_len}, found byte {offset}"
                    ))
                    .at_record(row)
                    .at_byte(4 + 4 * row));
                }
                before = offset;
            }
        }
        if before != shard_len {
            return Err(Error::malformed(format!(
                "expected the last sample to end with the shard at byte {shard_len}, found byte {before}"
            ))
            .at_byte(4 + 4 * num_samples));
        }
        Ok(MdsRecords { offsets: Span::new(shard, 4, 4 * num_offsets)? })
    }
}

#[cfg(test)]
mod tests;
