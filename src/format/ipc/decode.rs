//! Record batches that must be decoded before rows can be read: by the `arrow` crate, a column at a time.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::ipc::Block;
use arrow::ipc::reader::FileDecoder;

use super::body::{check_dictionary, check_inflated, check_views};
use super::frame::{Contents, MessageRef};
use crate::error::{Error, Result};
use crate::format::piece::{Decode, Decoded};
use crate::format::places::Visit;
use crate::map::Region;

/// Decodes the columns of one record batch.
pub(super) struct Decoder {
    region: Region,
    contents: Arc<Contents>,
    message: MessageRef,
    index: usize,
}

impl Decoder {
    /// A decoder for each record batch.
    pub(super) fn all(region: &Region, contents: &Arc<Contents>) -> impl Iterator<Item = Decoder> {
        let parts = (region.clone(), contents.clone());
        contents.batches.clone().into_iter().enumerate().map(move |(index, message)| Decoder {
            region: parts.0.clone(),
            contents: parts.1.clone(),
            message,
            index,
        })
    }

    fn decode_column(&self, column: usize) -> Result<ArrayRef> {
        let mut decoder = FileDecoder::new(self.contents.schema.clone(), self.contents.version)
            .with_projection(vec![column]);
        let (mut body_bytes, mut inflated_bytes) = (0u64, 0u64);
        for dictionary in &self.contents.dictionaries[..self.message.num_dictionaries] {
            let inflated = check_dictionary(&self.region, dictionary, &self.contents.schema)?;
            // Together, since all of them are kept.
            body_bytes = body_bytes.saturating_add(dictionary.body_bytes);
            inflated_bytes = inflated_bytes.saturating_add(inflated);
            check_inflated(body_bytes, inflated_bytes)?;
            let (block, bytes) = self.copy(dictionary)?;
            decoder.read_dictionary(&block, &bytes).map_err(undecodable)?;
        }
        check_views(&self.region, &self.message, &self.contents.schema, column)?;
        let (block, bytes) = self.copy(&self.message)?;
        let batch = decoder.read_record_batch(&block, &bytes).map_err(undecodable)?;
        let batch =
            batch.ok_or_else(|| Error::malformed("expected a record batch, found an empty message"))?;
        Ok(batch.column(0).clone())
    }

    /// The bytes of a message, in memory we own.
    fn copy(&self, message: &MessageRef) -> Result<(Block, Buffer)> {
        let bytes = self.region.read(message.offset..message.body_offset() + message.body_bytes)?;
        let block =
            Block::new(message.offset as i64, message.metadata_bytes as i32, message.body_bytes as i64);
        Ok((block, Buffer::from_vec(bytes)))
    }
}

impl Decode for Decoder {
    fn decode(&self, column: usize) -> Result<Decoded> {
        // Lengths were checked; what a body holds beyond them is for arrow to validate, and it does so by
        // returning errors for most contradictions, by panicking for some.
        catch_unwind(AssertUnwindSafe(|| self.decode_column(column)))
            .unwrap_or_else(|panic| {
                Err(Error::malformed("the record batch is contradictory")
                    .with_source(Error::panicked("arrow", &*panic)))
            })
            .map(Decoded::from)
            .map_err(|error| error.at_record(self.index as u64).at_byte(self.message.offset))
    }

    /// All columns are copied for any of them.
    fn places(&self, _: usize, visit: &mut Visit<'_>) {
        let MessageRef { offset, body_bytes, .. } = self.message;
        visit(&self.region, offset..self.message.body_offset().saturating_add(body_bytes));
    }
}

fn undecodable(error: arrow::error::ArrowError) -> Error {
    Error::malformed(format!("the record batch cannot be decoded: {error}")).with_source(error)
}
