//! Row groups decoded one column at a time, into one array each: flat columns [here](super::flat), all others by the
//! `parquet` crate.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_empty_array};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::column::page::PageIterator;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::buffers::Buffers;
use super::columns::Column;
use super::flat::{self, Flat};
use super::footer::{contradictory, place, unreadable};
use super::inflate::Inflater;
use super::pages::{Chunk, Failure, OneChunk, Pages, text_cap_bytes};
use super::values::Leaf;
use crate::error::{Error, ErrorKind, Result};
use crate::format::piece::{Decode, Decoded, expansion_cap};
use crate::format::places::Visit;
use crate::map::Region;

/// What the row groups of a file have in common.
pub(super) struct File {
    pub(super) region: Region,
    /// Where the columns end and the footer begins.
    pub(super) footer_start: u64,
    pub(super) metadata: ParquetMetaData,
    pub(super) columns: Vec<Column>,
    pub(super) buffers: Buffers,
}

/// Decodes the columns of one row group.
pub(super) struct Decoder {
    pub(super) file: Arc<File>,
    pub(super) group: usize,
}

impl Decoder {
    fn metadata(&self) -> &RowGroupMetaData {
        self.file.metadata.row_group(self.group)
    }

    /// The pages of the file's leaf `index`, whose values were found to fit into memory.
    fn pages(&self, column: &Column, index: usize, counts_keys: bool, failure: Failure) -> Result<Pages> {
        let file = &self.file;
        let chunk = self.metadata().column(index);
        let num_rows = self.metadata().num_rows() as u64;
        let cap_bytes = expansion_cap(file.region.len_bytes());
        let leaf = Leaf::of(chunk.column_descr(), &column.decoded_type);
        // A column that does not repeat has a value, or a null, for each row.
        let num_values = if leaf.max_rep > 0 { chunk.num_values() as u64 } else { num_rows };
        let bytes = column.most_values(num_values, num_rows).saturating_mul(leaf.width_bytes);
        if bytes > cap_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "expected {num_values} values to take at most {cap_bytes} bytes in a file of {}, found {bytes}",
                    file.region.len_bytes()
                ),
            ));
        }
        let (start, end) = place(chunk, file.footer_start)?;
        let inflater = Inflater::new(chunk.compression());
        let chunk = Chunk { start, end, num_values, leaf, counts_keys };
        Ok(Pages::new(&file.region, &chunk, inflater, cap_bytes, file.buffers.clone(), failure))
    }

    /// A column that is decoded here; `None` for those that the `parquet` crate decodes.
    fn decode_flat(&self, column: &Column) -> Result<Option<Decoded>> {
        let Some(kind) = column.flat else { return Ok(None) };
        let chunk = self.metadata().column(column.leaves.start);
        // What the footer says saves beginning in vain; what the pages say counts.
        if chunk.encodings().any(|encoding| !kind.may_read(encoding)) {
            return Ok(None);
        }
        let num_rows = self.metadata().num_rows() as usize;
        let cap_bytes = expansion_cap(self.file.region.len_bytes());
        let mut pages = self.pages(column, column.leaves.start, false, Failure::default())?;
        let flat = Flat {
            kind,
            data_type: &column.decoded_type,
            is_text: column.is_text,
            is_nullable: chunk.column_descr().max_def_level() > 0,
            num_rows,
            text_bytes: usize::try_from(column.text_bytes(chunk, num_rows as u64)).unwrap_or(usize::MAX),
            text_cap_bytes: usize::try_from(text_cap_bytes(cap_bytes)).unwrap_or(usize::MAX),
            stored_bytes: chunk.compressed_size() as usize,
        };
        flat::decode(&mut pages, &flat, &self.file.buffers)
    }

    fn decode_column(&self, index: usize) -> Result<Decoded> {
        let column = &self.file.columns[index];
        let num_rows = self.metadata().num_rows() as usize;
        if num_rows == 0 {
            return Ok(new_empty_array(&column.decoded_type).into());
        }
        match self.decode_flat(column)? {
            Some(decoded) => Ok(decoded),
            None => self.decode_by_parquet(column).map(Decoded::from),
        }
    }

    /// A column of at least one row, as the `parquet` crate decodes it.
    fn decode_by_parquet(&self, column: &Column) -> Result<ArrayRef> {
        let num_rows = self.metadata().num_rows() as usize;
        let failure = Failure::default();
        let group = OneColumn { decoder: self, column, failure: failure.clone() };
        let decode = || {
            let mut reader =
                ParquetRecordBatchReader::try_new_with_row_groups(&column.levels, &group, num_rows, None)
                    .map_err(|e| unreadable("the column", e))?;
            let batch = reader
                .next()
                .transpose()
                .map_err(|e| Error::malformed(format!("the column cannot be decoded: {e}")).with_source(e))?;
            let array = batch.filter(|batch| batch.num_columns() == 1).map(|batch| batch.column(0).clone());
            Ok(array.unwrap_or_else(|| new_empty_array(&column.decoded_type)))
        };
        // What a page holds is for parquet to validate, and it does so by returning errors for most contradictions, by
        // panicking for some.
        let decoded = catch_unwind(AssertUnwindSafe(decode))
            .unwrap_or_else(|panic| Err(contradictory("the column", &*panic)));
        let array = decoded.map_err(|error| failure.take().unwrap_or(error))?;
        if array.len() != num_rows {
            return Err(Error::malformed(format!(
                "expected the {num_rows} rows of the row group, found {}",
                array.len()
            )));
        }
        if *array.data_type() != column.decoded_type {
            return Err(Error::malformed(format!(
                "expected an array of {}, found one of {}",
                column.decoded_type,
                array.data_type()
            )));
        }
        // Arrow's own kernels read nested arrays, and they believe offsets and text.
        if column.decoded_type.is_nested() {
            array.to_data().validate_full().map_err(|e| {
                Error::malformed(format!("the column contradicts itself: {e}")).with_source(e)
            })?;
        }
        Ok(array)
    }
}

impl Decode for Decoder {
    fn decode(&self, column: usize) -> Result<Decoded> {
        self.decode_column(column).map_err(|error| {
            let first = self.metadata().column(self.file.columns[column].leaves.start);
            error.in_column(&first.column_path().parts()[0]).at_record(self.group as u64)
        })
    }

    fn places(&self, column: usize, visit: &mut Visit<'_>) {
        for leaf in self.file.columns[column].leaves.clone() {
            if let Ok((start, end)) = place(self.metadata().column(leaf), self.file.footer_start) {
                visit(&self.file.region, start..end);
            }
        }
    }
}

/// One column of one row group, its leaves numbered from 0.
struct OneColumn<'a> {
    decoder: &'a Decoder,
    column: &'a Column,
    failure: Failure,
}

impl RowGroups for OneColumn<'_> {
    fn num_rows(&self) -> usize {
        self.decoder.metadata().num_rows() as usize
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let index = self.column.leaves.start + leaf;
        let pages = self.decoder.pages(self.column, index, true, self.failure.clone());
        let pages = pages.map_err(|error| self.failure.leave(error))?;
        Ok(Box::new(OneChunk(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.decoder.metadata()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.decoder.file.metadata
    }
}

#[cfg(test)]
mod tests;
