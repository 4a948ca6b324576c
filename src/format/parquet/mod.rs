//! Parquet: where the row groups of a file lie, and how their columns are decoded.
//!
//! ```text
//! "PAR1"
//! row group                 for each column a column chunk:
//!   column chunk              dictionary page (where there is one), data pages …
//!     page                    header (Thrift), body (compressed or not)
//! …
//! footer (Thrift)           schema, and for each row group the place of its column chunks
//! length of the footer      u32 little-endian
//! "PAR1"                    "PARE": the footer is encrypted
//! ```
//!
//! Source: [Apache Parquet file format](https://parquet.apache.org/docs/file-format/).
//!
//! A row group is a chunk, and a column of it a piece that is decoded as a whole when a row of it is first asked for.
//! The way to the values is gone here, because a file is not to be trusted. Those of columns that are not nested are mostly
//! decoded here too ([`flat`]), the others by the `parquet` crate:
//!
//! | step | what it believes |
//! |---|---|
//! | [`footer`] | lists, depths, counts and places, once they fit the file |
//! | [`columns`] | the schema, as `parquet` turns it into Arrow's |
//! | [`header`], [`pages`] | a page's sizes, once they fit the chunk and the cap; its checksum |
//! | [`inflate`] | as many bytes as the header says, not one more |
//! | [`values`] | lengths and counts that would make the decoder ask for memory |
//! | [`flat`] | levels, keys and values, once they lie within their page and are as many as it says |
//! | [`decode`] | the array, once it has as many rows as the row group |
//!
//! What a file may become in memory is capped by its size (`expansion_cap`). Bytes are copied out of the region page by
//! page, or borrowed where the region is lendable; nothing is kept but the footer.
//!
//! Deliberately absent: page indexes and bloom filters (rows are asked for by number), statistics (nothing is skipped),
//! encryption, LZO, and writing.
#![forbid(unsafe_code)]

mod bits;
mod buffers;
mod columns;
mod decode;
mod flat;
mod footer;
mod header;
mod inflate;
mod pages;
mod thrift;
mod values;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::piece::{Decode, Piece, Values};
use crate::error::Result;
use crate::map::Region;

use buffers::Buffers;
use decode::{Decoder, File};

/// The first and the last bytes of a Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";

/// A Parquet file: its schema, and the pieces of each row group.
pub(crate) struct ParquetTable {
    /// Fields as rows are handed out: dictionaries and views are decoded.
    pub(crate) schema: SchemaRef,
    /// One list of columns for each row group.
    pub(crate) chunks: Vec<Vec<Piece>>,
}

/// Reads the footer of the Parquet file in `region`.
///
/// # Errors
///
/// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) with the row group (as the record) and byte at which it was
/// noticed; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for encryption, LZO and columns in other files.
pub(crate) fn open(region: &Region) -> Result<ParquetTable> {
    let footer = footer::read(region)?;
    let (schema, columns) =
        columns::read(footer.metadata.file_metadata()).map_err(|error| error.at_byte(footer.start))?;
    let file = Arc::new(File {
        region: region.clone(),
        footer_start: footer.start,
        metadata: footer.metadata,
        columns,
        buffers: Buffers::shared(),
    });
    let chunks = (0..file.metadata.num_row_groups()).map(|group| pieces(&file, group)).collect();
    Ok(ParquetTable { schema, chunks })
}

fn pieces(file: &Arc<File>, group: usize) -> Vec<Piece> {
    let metadata = file.metadata.row_group(group);
    let num_rows = metadata.num_rows() as u64;
    let decoder: Arc<dyn Decode> = Arc::new(Decoder { file: file.clone(), group });
    let columns = file.columns.iter().enumerate().map(|(index, column)| Piece {
        num_rows,
        validity: None,
        values: Values::Encoded {
            decoder: decoder.clone(),
            column: index,
            decoded_bytes: column.decoded_bytes(&metadata.columns()[column.leaves.clone()], num_rows),
            reason: "Parquet: a row group's column is decoded when a row of it is read",
        },
    });
    columns.collect()
}
