//! The way from a chunk to the addresses of its rows, measured once and remembered by each worker.

use std::ops::Range;
use std::sync::Arc;

use super::Located;
use crate::dataset::{Readable, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Bits, Piece, Values};

/// How rows of one column of one chunk are reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Not asked for yet.
    Unknown,
    /// Row `i` is the bytes at `bases[chunk] + i * stride`, and no row is null.
    Plain,
    /// Rows are read one by one from the piece.
    OneByOne,
}

/// Checks that the `num_rows` rows of a chunk, `row_bytes` bytes each (or as many truth values), lie within `piece`.
fn measure(piece: &Piece, num_rows: u64, row_bytes: u64) -> Result<()> {
    let measured = match &piece.values {
        Values::Dense { span, stride } => {
            last_byte(num_rows, *stride, row_bytes).is_some_and(|end| end <= span.len())
        }
        // `TensorFile::check` measured these when the file was opened.
        Values::Scattered { .. } => true,
        Values::Bits { bits, per_row } => {
            *per_row == row_bytes && num_rows.checked_mul(*per_row).is_some_and(|count| holds(bits, count))
        }
        Values::Runs { offsets, wide, .. } => {
            let width = if *wide { 8 } else { 4 };
            let bytes = num_rows.checked_add(1).and_then(|count| count.checked_mul(width));
            num_rows == 0 || bytes.is_some_and(|bytes| bytes <= offsets.len())
        }
        Values::Extents { extents, .. } => num_rows <= extents.num_rows(),
        Values::Parsed { records, .. } => num_rows <= records.map().num_rows(),
        Values::Inflated { file, .. } => num_rows <= file.map.num_rows(),
        Values::Array(_) => {
            return Err(Error::unsupported(
                "values inside its lists or tensors are null, which no tensor can hold: fill them first, or leave the \
                 column out",
            ));
        }
        Values::Encoded { .. } => false,
    };
    let valid = piece.validity.as_ref().is_none_or(|bits| holds(bits, num_rows));
    if !measured || !valid || piece.num_rows < num_rows {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("a piece of {} rows does not hold the {num_rows} rows of its chunk", piece.num_rows),
        ));
    }
    Ok(())
}

/// The end of the last of `num_rows` rows.
fn last_byte(num_rows: u64, stride: u64, row_bytes: u64) -> Option<u64> {
    match num_rows.checked_sub(1) {
        None => Some(0),
        Some(last) => last.checked_mul(stride)?.checked_add(row_bytes),
    }
}

fn holds(bits: &Bits, count: u64) -> bool {
    bits.first.checked_add(count).is_some_and(|end| end.div_ceil(8) <= bits.span.len())
}

/// Appends the addresses of rows `stride` bytes apart from the bases of their chunks; says whether every base is known.
#[inline(always)]
fn address_all(
    bases: &[*const u8],
    stride: u64,
    chunks: &[u32],
    rows: &[u64],
    addresses: &mut Vec<*const u8>,
) -> bool {
    let mut known = true;
    addresses.extend(chunks.iter().zip(rows).map(|(&chunk, &row)| {
        let base = bases[chunk as usize];
        known &= !base.is_null();
        base.wrapping_add((row * stride) as usize)
    }));
    known
}

/// The lanes of one column, one for each chunk of its table, and the decoded pieces the running gather holds.
pub(super) struct Lanes {
    /// The column's name, for errors.
    name: String,
    row_bytes: u64,
    lanes: Vec<Lane>,
    /// Null unless the lane is plain.
    bases: Vec<*const u8>,
    /// Of every plain lane; those of another stride are read one by one.
    stride: Option<u64>,
    held: Vec<(usize, Arc<Piece>)>,
    /// Addresses of the rows of the running gather.
    addresses: Vec<*const u8>,
    /// Whether all rows of the running gather have addresses, as far as is known.
    pub(super) plain: bool,
}

// SAFETY: the pointers are only dereferenced by the gather that computed them, while the dataset they belong to keeps
// the memory mapped; no thread owns what they point to.
unsafe impl Send for Lanes {}

impl Lanes {
    /// Lanes of the column `name` of `table`, whose rows are `row_bytes` long (or `row_bytes` truth values).
    pub(super) fn new(table: &Table, name: &str, row_bytes: usize) -> Self {
        let num_chunks = table.chunks.len();
        Lanes {
            name: name.to_owned(),
            row_bytes: row_bytes as u64,
            lanes: vec![Lane::Unknown; num_chunks],
            bases: vec![std::ptr::null(); num_chunks],
            stride: None,
            held: Vec::new(),
            addresses: Vec::new(),
            plain: false,
        }
    }

    /// Computes the addresses of the rows numbered `block`. If one of them is not plain, neither is the column.
    #[inline(always)]
    pub(super) fn address(
        &mut self,
        table: &Table,
        column: usize,
        located: &Located,
        block: Range<usize>,
    ) -> Result<()> {
        let (chunks, rows) = (&located.chunks[block.clone()], &located.rows[block.clone()]);
        self.addresses.truncate(block.start);
        if address_all(&self.bases, self.stride.unwrap_or(0), chunks, rows, &mut self.addresses) {
            return Ok(());
        }
        self.resolve_all(table, column, chunks)?;
        self.addresses.truncate(block.start);
        address_all(&self.bases, self.stride.unwrap_or(0), chunks, rows, &mut self.addresses);
        Ok(())
    }

    /// Resolves `chunks`, and finds out whether all of them are plain.
    #[cold]
    fn resolve_all(&mut self, table: &Table, column: usize, chunks: &[u32]) -> Result<()> {
        for &chunk in chunks {
            let chunk = chunk as usize;
            if self.lanes[chunk] == Lane::Unknown {
                self.resolve(table, column, chunk)?;
            }
            self.plain &= self.lanes[chunk] == Lane::Plain;
        }
        Ok(())
    }

    /// The addresses of the rows staged so far, each of a row of the column; meaningless unless the column is plain.
    pub(super) fn addresses(&self) -> &[*const u8] {
        &self.addresses
    }

    /// Forgets the rows of the last batch.
    pub(super) fn clear(&mut self) {
        self.addresses.clear();
        self.release();
    }

    /// The piece of `chunk`, whatever its kind.
    pub(super) fn piece<'a>(
        &'a mut self,
        table: &'a Table,
        column: usize,
        chunk: usize,
    ) -> Result<&'a Piece> {
        if self.lanes[chunk] == Lane::Unknown {
            self.resolve(table, column, chunk)?;
        }
        match self.held.iter().position(|(held, _)| *held == chunk) {
            Some(number) => Ok(&self.held[number].1),
            None => table.chunks[chunk].piece(column),
        }
    }

    /// Lets go of decoded pieces: what was decoded may have to make room before the next gather.
    pub(super) fn release(&mut self) {
        for (chunk, _) in self.held.drain(..) {
            self.lanes[chunk] = Lane::Unknown;
            self.bases[chunk] = std::ptr::null();
        }
    }

    #[cold]
    fn resolve(&mut self, table: &Table, column: usize, chunk: usize) -> Result<()> {
        let num_rows = table.chunks[chunk].num_rows;
        let readable = table.readable(chunk, column)?;
        measure(&readable, num_rows, self.row_bytes).map_err(|error| {
            let message = format!("column '{}': {}", self.name, error.message());
            table.chunks[chunk].shard.place(Error::new(error.kind(), message))
        })?;
        self.lanes[chunk] = match &readable.values {
            Values::Dense { span, stride }
                if readable.validity.is_none() && *stride == *self.stride.get_or_insert(*stride) =>
            {
                self.bases[chunk] = span.as_ptr();
                Lane::Plain
            }
            _ => Lane::OneByOne,
        };
        if let Readable::Decoded(piece) = readable {
            self.held.push((chunk, piece));
        }
        Ok(())
    }
}
