//! The way from a chunk to the addresses of its rows, measured once and remembered by each worker.

use std::sync::Arc;

use crate::dataset::{Readable, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Bits, Piece, Values};

/// How rows of one column of one chunk are reached.
#[derive(Clone, Copy)]
pub(super) struct Lane {
    base: *const u8,
    stride: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked for yet.
    Unknown,
    /// Row `i` is the bytes at `base + i * stride`, and no row is null.
    Plain,
    /// Rows are read one by one from the piece, which lies in the dataset,
    InPlace,
    /// or was decoded and is held under this number until the gather ends.
    Held(u32),
}

// SAFETY: the pointer is only dereferenced by the gather that holds the lane, while the dataset it belongs to
// keeps the memory mapped; no thread owns what it points to.
unsafe impl Send for Lane {}

impl Lane {
    const UNKNOWN: Lane = Lane { base: std::ptr::null(), stride: 0, state: State::Unknown };

    /// The lane of a piece of which `num_rows` rows of `row_bytes` bytes will be read.
    fn of(piece: &Piece, num_rows: u64, row_bytes: u64, otherwise: State) -> Result<Lane> {
        let measured = match &piece.values {
            Values::Dense { span, stride } => {
                last_byte(num_rows, *stride, row_bytes).is_some_and(|end| end <= span.len())
            }
            // `TensorFile::check` measured these when the file was opened.
            Values::Scattered { .. } => true,
            Values::Bits { bits, per_row } => {
                *per_row == row_bytes && num_rows.checked_mul(*per_row).is_some_and(|n| holds(bits, n))
            }
            Values::Runs { offsets, wide, .. } => {
                let width = if *wide { 8 } else { 4 };
                num_rows == 0
                    || num_rows
                        .checked_add(1)
                        .and_then(|n| n.checked_mul(width))
                        .is_some_and(|n| n <= offsets.len())
            }
            Values::Array(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "values inside its lists or tensors are null, which no tensor can hold: fill them first, or leave the column out",
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
        Ok(match &piece.values {
            Values::Dense { span, stride } if piece.validity.is_none() => {
                Lane { base: span.as_ptr(), stride: *stride, state: State::Plain }
            }
            _ => Lane { state: otherwise, ..Lane::UNKNOWN },
        })
    }
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

/// The lanes of one column, one for each chunk of its table, and the decoded pieces the running gather holds.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    held: Vec<(usize, Arc<Piece>)>,
    row_bytes: u64,
}

impl Lanes {
    /// Lanes of a column of `table` whose rows are `row_bytes` long (or `row_bytes` truth values).
    pub(super) fn new(table: &Table, row_bytes: usize) -> Self {
        Lanes {
            lanes: vec![Lane::UNKNOWN; table.chunks.len()],
            held: Vec::new(),
            row_bytes: row_bytes as u64,
        }
    }

    /// The address of row `row` of `chunk`; `None` if its rows are no plain bytes.
    #[inline(always)]
    pub(super) fn plain(
        &mut self,
        table: &Table,
        column: usize,
        chunk: usize,
        row: u64,
    ) -> Result<Option<*const u8>> {
        let mut lane = self.lanes[chunk];
        if lane.state == State::Unknown {
            lane = self.resolve(table, column, chunk)?;
        }
        Ok((lane.state == State::Plain).then(|| lane.base.wrapping_add((row * lane.stride) as usize)))
    }

    /// The piece of `chunk`, whatever its kind.
    pub(super) fn piece<'a>(
        &'a mut self,
        table: &'a Table,
        column: usize,
        chunk: usize,
    ) -> Result<&'a Piece> {
        if self.lanes[chunk].state == State::Unknown {
            self.resolve(table, column, chunk)?;
        }
        match self.lanes[chunk].state {
            State::Held(number) => Ok(&self.held[number as usize].1),
            _ => match self.held.iter().position(|(held, _)| *held == chunk) {
                Some(number) => Ok(&self.held[number].1),
                None => table.chunks[chunk].piece(column),
            },
        }
    }

    /// Lets go of decoded pieces: what was decoded may have to make room before the next gather.
    pub(super) fn release(&mut self) {
        for (chunk, _) in self.held.drain(..) {
            self.lanes[chunk] = Lane::UNKNOWN;
        }
    }

    #[cold]
    fn resolve(&mut self, table: &Table, column: usize, chunk: usize) -> Result<Lane> {
        let num_rows = table.chunks[chunk].num_rows;
        let shard = &table.chunks[chunk].shard;
        let lane = match table.readable(chunk, column)? {
            Readable::InPlace(piece) => Lane::of(piece, num_rows, self.row_bytes, State::InPlace),
            Readable::Decoded(piece) => {
                let lane = Lane::of(&piece, num_rows, self.row_bytes, State::Held(self.held.len() as u32));
                self.held.push((chunk, piece));
                lane
            }
        };
        self.lanes[chunk] = lane.map_err(|error| shard.place(error))?;
        Ok(self.lanes[chunk])
    }
}
