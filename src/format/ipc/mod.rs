//! Arrow IPC, file and stream: where the columns of each record batch lie.
//!
//! ```text
//! file                                     stream
//! "ARROW1" 0 0                             message: schema
//! message: schema                          message: dictionary batch …
//! message: dictionary batch …              message: record batch …
//! message: record batch …                  0xFFFFFFFF 0x00000000 (or the end of the file)
//! 0xFFFFFFFF 0x00000000
//! footer (flatbuffer: schema and the place of each batch)
//! length of the footer, i32 little-endian
//! "ARROW1"
//!
//! message
//! 0xFFFFFFFF                    4 bytes; absent in files older than Arrow 0.15
//! length of the metadata        i32 little-endian, padding included
//! metadata                      flatbuffer: type, length of the body, place of each buffer in it
//! body                          the buffers of the batch's columns, depth first
//! ```
//!
//! Source: [Arrow columnar format](https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc).
//!
//! Metadata is copied to the heap, verified as a flatbuffer, and every length in it checked against the
//! file before it is believed ([`body`]). What passes is either read where it lies, or, for compressed
//! bodies and types without a kernel, decoded by the `arrow` crate one column at a time ([`decode`]).
//! Alignment does not matter to a reader that copies rows out; only lending memory asks for it.
#![forbid(unsafe_code)]

mod body;
mod decode;
mod frame;
mod views;

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::piece::{Piece, Values, plain_field};
use crate::error::Result;
use crate::map::{Advice, Region};

use decode::Decoder;
pub(in crate::format) use frame::check_type;

/// An IPC file or stream: its schema, and the pieces of each record batch.
pub(crate) struct IpcTable {
    /// Fields as rows are handed out: dictionaries and views are decoded.
    pub(crate) schema: SchemaRef,
    /// One list of columns for each record batch.
    pub(crate) chunks: Vec<Vec<Piece>>,
    /// The bytes of each record batch; empty where they depend on dictionaries, which lie elsewhere.
    pub(crate) extents: Vec<Range<u64>>,
}

/// Reads the metadata of the IPC file or stream in `region`.
///
/// # Errors
///
/// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) with the record batch and byte at which it was
/// noticed; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for big-endian files.
pub(crate) fn open(region: &Region) -> Result<IpcTable> {
    let contents = Arc::new(frame::read(region)?);
    // Advice: from a disk, what each record batch says of itself is read at once, and not one after another.
    if contents.batches.len() > 1 {
        for message in &contents.batches {
            let metadata = message.offset..message.body_offset().min(region.len_bytes());
            let _ = region.advise(metadata, Advice::WillNeed);
        }
    }
    let fields: Vec<_> = contents.schema.fields().iter().map(|field| plain_field(field)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, contents.schema.metadata().clone()));
    let mut chunks = read_chunks(region, &contents, &[])?;
    // Where some chunks of a column need arrow (nulls inside lists), all are read that way.
    let is_encoded =
        |chunk: &&Vec<Piece>, column: usize| matches!(chunk[column].values, Values::Encoded { .. });
    let num_encoded = |column| chunks.iter().filter(|chunk| is_encoded(chunk, column)).count();
    let columns = 0..schema.fields().len();
    let mixed: Vec<_> = columns.filter(|&column| (1..chunks.len()).contains(&num_encoded(column))).collect();
    if !mixed.is_empty() {
        chunks = read_chunks(region, &contents, &mixed)?;
    }
    let extents = if contents.dictionaries.is_empty() {
        contents.batches.iter().map(|message| message.offset..message.end()).collect()
    } else {
        Vec::new()
    };
    Ok(IpcTable { schema, chunks, extents })
}

/// The pieces of each record batch, those of the columns `encoded` decoded by arrow whatever they are.
fn read_chunks(
    region: &Region,
    contents: &Arc<frame::Contents>,
    encoded: &[usize],
) -> Result<Vec<Vec<Piece>>> {
    let numbered = contents.batches.iter().zip(Decoder::all(region, contents)).enumerate();
    numbered
        .map(|(index, (message, decoder))| {
            body::pieces(region, contents, message, decoder, encoded)
                .map_err(|error| error.at_record(index as u64).at_byte(message.offset))
        })
        .collect()
}

/// The first bytes of an IPC file.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";
