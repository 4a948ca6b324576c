//! Datasets of tables in memory: the classic "placeholder into a variable".
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};

use super::Dataset;
use super::decoded::DecodedChunks;
use super::shard::{Opened, Shard};
use super::table::{Chunk, Table};
use crate::error::{Error, Result};
use crate::format::{ByteOrder, Piece, plain_field, tensor::TensorFile};
use crate::layout::{Element, tensor_field};
use crate::map::Region;

impl Dataset {
    /// A dataset of record batches in memory. Their values are not copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty list (its columns would be
    /// unknown); `Mismatch` if batches differ in their columns.
    pub fn from_batches(batches: impl IntoIterator<Item = RecordBatch>) -> Result<Dataset> {
        let batches: Vec<_> = batches.into_iter().collect();
        let Some(first) = batches.first() else {
            return Err(Error::invalid("expected at least one record batch, found none"));
        };
        let schema = first.schema();
        let mut chunks = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            if batch.schema().fields() != schema.fields() {
                return Err(Error::mismatch(format!(
                    "expected the columns of the first record batch, {schema}, found {}",
                    batch.schema()
                ))
                .at_record(index as u64));
            }
            chunks.push(batch.columns().iter().map(Piece::of_array).collect::<Result<Vec<_>>>()?);
        }
        let fields: Vec<_> = schema.fields().iter().map(|field| plain_field(field)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        in_memory(schema, None, chunks)
    }

    /// A dataset of one tensor column in memory: rows of `shape`, one after another in `values`. They are not
    /// copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `values` is no whole number of rows, or a
    /// row has no element.
    pub fn from_tensor<T: Element + arrow::datatypes::ArrowNativeType>(
        name: &str,
        shape: &[usize],
        values: Vec<T>,
    ) -> Result<Dataset> {
        let row_len = shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n)).unwrap_or(0);
        if row_len == 0 || !values.len().is_multiple_of(row_len) || i32::try_from(row_len).is_err() {
            return Err(Error::invalid(format!(
                "expected a whole number of rows of shape {shape:?}, found {} values",
                values.len()
            )));
        }
        let row_bytes = (row_len * size_of::<T>()) as u64;
        let layout = TensorFile {
            dtype: T::DTYPE,
            order: ByteOrder::NATIVE,
            num_rows: (values.len() / row_len) as u64,
            row_shape: shape.to_vec(),
            offset_bytes: 0,
            row_stride_bytes: row_bytes,
            element_strides_bytes: None,
        };
        let region = Region::from_buffer(Buffer::from_vec(values));
        let piece = Piece::of_tensor_file(&layout, &region)?;
        let schema = Arc::new(Schema::new(vec![tensor_field(name, T::DTYPE, shape, false)]));
        in_memory(schema, Some(region), vec![vec![piece]])
    }
}

fn in_memory(schema: SchemaRef, region: Option<Region>, pieces: Vec<Vec<Piece>>) -> Result<Dataset> {
    let rows: Vec<_> =
        pieces.iter().map(|columns| columns.first().map_or(0, |piece| piece.num_rows)).collect();
    let opened = Opened::new(region, schema.clone(), pieces);
    let shard = Arc::new(Shard::open_now("memory".to_owned(), None, opened));
    let chunks = rows.into_iter().enumerate();
    let chunks =
        chunks.map(|(index, num_rows)| Chunk { shard: shard.clone(), index, columns: None, num_rows });
    let chunks = chunks.collect();
    let table = Table::new(vec![shard], chunks, DecodedChunks::new(u64::MAX))?;
    Dataset::of_table(schema, table)
}
