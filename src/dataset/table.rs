//! A table: chunks of rows one after another, and the way from a row to its chunk.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use super::decoded::DecodedChunks;
use super::rows::Rows;
use super::shard::Shard;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Access, Decode, InflatedRecords, Piece, Records, Values};

/// Rows that share their files. Columns of several tables stand side by side after a `zip`.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) shards: Arc<[Arc<Shard>]>,
    pub(crate) chunks: Arc<[Chunk]>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) decoded: Arc<DecodedChunks>,
}

/// A run of rows whose columns lie in one piece each: a record batch, or a whole file of another format.
#[derive(Clone)]
pub(crate) struct Chunk {
    pub(crate) shard: Arc<Shard>,
    /// Which chunk of the shard this is.
    pub(crate) index: usize,
    /// The shard's column for each column of the table, where they differ.
    pub(crate) columns: Option<Arc<[usize]>>,
    pub(crate) num_rows: u64,
}

/// Chunks that are decoded before a batch needs them, at most.
const CHUNKS_AHEAD: usize = 2;

impl Chunk {
    /// The chunks of `shard`, which have `chunk_rows` rows and `columns` of the shard.
    pub(crate) fn of_shard(
        shard: &Arc<Shard>,
        chunk_rows: Vec<u64>,
        columns: Option<Arc<[usize]>>,
    ) -> impl Iterator<Item = Chunk> {
        let chunks = chunk_rows.into_iter().enumerate();
        chunks.map(move |(index, num_rows)| Chunk {
            shard: shard.clone(),
            index,
            columns: columns.clone(),
            num_rows,
        })
    }

    /// The piece of the table's column `column`. Opens the shard if it was not yet.
    #[inline]
    pub(crate) fn piece(&self, column: usize) -> Result<&Piece> {
        let column = self.in_shard(column);
        Ok(&self.shard.opened()?.chunks[self.index][column])
    }

    /// How the rows of the table's column `column` are read. Opens the shard if it was not yet.
    pub(crate) fn access(&self, column: usize) -> Result<Option<Access>> {
        Ok(self.shard.opened()?.access(self.in_shard(column)))
    }

    /// The shard's column for the table's column `column`.
    #[inline]
    fn in_shard(&self, column: usize) -> usize {
        self.columns.as_ref().map_or(column, |columns| columns[column])
    }
}

impl Table {
    pub(crate) fn new(
        shards: Vec<Arc<Shard>>,
        chunks: Vec<Chunk>,
        decoded: Arc<DecodedChunks>,
    ) -> Result<Self> {
        let directory = Directory::new(chunks.iter().map(|chunk| chunk.num_rows))?;
        let rows = Arc::new(Rows::All { len: directory.len() });
        Ok(Table {
            shards: shards.into(),
            chunks: chunks.into(),
            directory: Arc::new(directory),
            rows,
            decoded,
        })
    }

    /// `error`, which happened in row `row` of chunk `chunk`: the record is the row as its file counts them.
    pub(crate) fn place(&self, chunk: usize, row: u64, error: Error) -> Error {
        let error = self.chunks[chunk].shard.place(error);
        error.at_record(self.first_record(chunk) + row)
    }

    /// The number, in its file, of the first row of `chunk`.
    fn first_record(&self, chunk: usize) -> u64 {
        // The chunks of a shard follow one another.
        let first = chunk - self.chunks[chunk].index;
        self.chunks[first..chunk].iter().map(|chunk| chunk.num_rows).sum()
    }

    /// The file, and the record in it, of `row` of the dataset that has this table.
    pub(crate) fn place_of(&self, mut row: u64) -> (Option<&Path>, u64) {
        self.rows.map(std::slice::from_mut(&mut row));
        let (chunk, row) = self.directory.locate(row);
        (self.chunks[chunk].shard.path(), self.first_record(chunk) + row)
    }

    /// The chunk of `row` of the dataset that has this table, if there is such a row.
    pub(crate) fn chunk_of(&self, mut row: u64) -> Option<usize> {
        (row < self.rows.len()).then(|| {
            self.rows.map(std::slice::from_mut(&mut row));
            self.directory.locate(row).0
        })
    }

    /// Lets go of what was decoded of chunks that hold no row from `row` of the dataset on; nothing where its rows do not
    /// come as they lie.
    pub(crate) fn forget_before(&self, mut row: u64) {
        if row < self.rows.len() && self.rows.is_ascending() {
            self.rows.map(std::slice::from_mut(&mut row));
            self.decoded.forget_before(self.directory.locate(row).0);
        }
    }

    /// Decodes those of `columns` of chunk `chunk` that must be and that nobody else is decoding, each caller beginning with
    /// another one: so workers that come to a chunk at the same time share the work, rather than wait for one another
    /// column by column. Until others are done with theirs, columns of the chunks after it are decoded, if `in_order` says that
    /// those come next.
    pub(crate) fn decode_shared(&self, chunk: usize, columns: &[usize], in_order: bool) -> Result<()> {
        let turn = self.decoded.next_turn() % columns.len().max(1);
        let (before, after) = columns.split_at(turn);
        for &column in after.iter().chain(before) {
            self.decode_if_free(chunk, column)?;
        }
        let waits = || columns.iter().any(|&column| self.decoded.is_being_decoded((chunk, column)));
        while in_order && waits() && self.decode_ahead(chunk, columns) {}
        Ok(())
    }

    /// Decodes one of `columns` of the chunks after `chunk`, the first that must be and that nobody is decoding, where rows
    /// come as they lie and the budget has room. Says whether there was one.
    pub(crate) fn decode_ahead(&self, chunk: usize, columns: &[usize]) -> bool {
        let end = self.chunks.len().min(chunk + 1 + CHUNKS_AHEAD);
        if !self.rows.is_ascending() || !self.decoded.has_room_ahead_of(chunk) {
            return false;
        }
        let mut ahead = (chunk + 1..end).flat_map(|next| columns.iter().map(move |&column| (next, column)));
        // What is wrong there is found again, and told, by who comes to it.
        ahead.any(|(next, column)| self.decode_if_free(next, column).unwrap_or(false))
    }

    /// Decodes column `column` of chunk `chunk`, if it must be and nobody does. Says whether it was decoded now.
    fn decode_if_free(&self, chunk: usize, column: usize) -> Result<bool> {
        let mut is_new = false;
        if let Values::Encoded { decoder, column: at, .. } = &self.chunks[chunk].piece(column)?.values {
            let decode = || {
                is_new = true;
                decode(&**decoder, *at)
            };
            if let Some(Err(error)) = self.decoded.try_get((chunk, column), decode) {
                return Err(self.chunks[chunk].shard.place(error));
            }
        }
        Ok(is_new)
    }

    /// The same table with other rows.
    pub(crate) fn with_rows(&self, rows: Rows) -> Self {
        Table { rows: Arc::new(rows), ..self.clone() }
    }

    /// A piece that can be read: decoded first, if it must be.
    pub(crate) fn readable(&self, chunk: usize, column: usize) -> Result<Readable<'_>> {
        let piece = self.chunks[chunk].piece(column)?;
        match &piece.values {
            Values::Encoded { decoder, column: at, .. } => {
                let decoded = self.decoded.get((chunk, column), || decode(&**decoder, *at));
                decoded.map(Readable::Decoded).map_err(|error| self.chunks[chunk].shard.place(error))
            }
            _ => Ok(Readable::InPlace(piece)),
        }
    }

    /// The records of chunk `chunk`, which lie in `file` once it is inflated.
    pub(crate) fn inflated(&self, chunk: usize, file: &InflatedRecords) -> Result<Arc<Records>> {
        // A key of its own: a chunk of records is inflated once for all of its columns.
        let piece = self.decoded.get((chunk, usize::MAX), || {
            let records = Arc::new(file.records()?);
            let num_rows = records.map().num_rows();
            let values = Values::Parsed { records, column: 0 };
            Ok((Piece { num_rows, validity: None, values }, file.len_bytes))
        });
        match &piece.map_err(|error| self.chunks[chunk].shard.place(error))?.values {
            Values::Parsed { records, .. } => Ok(records.clone()),
            _ => unreachable!("made above"),
        }
    }
}

/// The column `column` of a chunk, decoded, and how many bytes it takes.
fn decode(decoder: &dyn Decode, column: usize) -> Result<(Piece, u64)> {
    let decoded = decoder.decode(column)?;
    let piece = Piece::of_decoded(&decoded)?;
    Ok((piece, decoded.array.get_array_memory_size() as u64))
}

/// A piece whose values are not encoded.
pub(crate) enum Readable<'a> {
    InPlace(&'a Piece),
    Decoded(Arc<Piece>),
}

impl std::ops::Deref for Readable<'_> {
    type Target = Piece;

    fn deref(&self) -> &Piece {
        match self {
            Readable::InPlace(piece) => piece,
            Readable::Decoded(piece) => piece,
        }
    }
}

/// From a row to its chunk, in constant time: rows are cut into buckets of 2ᵏ rows, some four for each
/// chunk, and each bucket knows the chunks it may begin and end in.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The first row of each chunk, and the number of rows.
    starts: Box<[u64]>,
    shift: u32,
    /// The chunk in which each bucket begins, and one bucket more.
    buckets: Box<[u32]>,
    /// `k`, if every chunk but the last has 2ᵏ rows, as those of the converter do; any `k` for one chunk.
    uniform: Option<u32>,
}

impl Directory {
    fn new(chunk_rows: impl Iterator<Item = u64>) -> Result<Self> {
        let mut starts = vec![0u64];
        for rows in chunk_rows {
            let end = starts[starts.len() - 1].checked_add(rows).filter(|&end| end <= 1 << 62);
            starts.push(end.ok_or_else(|| {
                Error::new(ErrorKind::TooLarge, "expected fewer than 2⁶² rows in a dataset".to_owned())
            })?);
        }
        let num_chunks = starts.len() - 1;
        if u32::try_from(num_chunks).is_err() {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("expected fewer than 2³² chunks, found {num_chunks}"),
            ));
        }
        let len = starts[num_chunks];
        let mut shift = 0;
        while (len >> shift) > 4 * num_chunks as u64 {
            shift += 1;
        }
        let num_buckets = (len >> shift) as usize + 2;
        let mut chunk = 0;
        let buckets = (0..num_buckets as u64)
            .map(|bucket| {
                let row = bucket << shift;
                while chunk + 1 < num_chunks && starts[chunk + 1] <= row {
                    chunk += 1;
                }
                chunk as u32
            })
            .collect();
        let uniform = uniform_shift(&starts);
        Ok(Directory { starts: starts.into(), shift, buckets, uniform })
    }

    /// Rows in all chunks together.
    pub(crate) fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    /// The first row of `chunk`.
    #[cfg(test)]
    pub(crate) fn start(&self, chunk: usize) -> u64 {
        self.starts[chunk]
    }

    /// Replaces each of `rows`, all below [`len`](Directory::len), by the row in its chunk, and appends the chunks to
    /// `chunks`.
    #[inline(always)]
    pub(crate) fn locate_all(&self, rows: &mut [u64], chunks: &mut Vec<u32>) {
        match self.uniform {
            Some(shift) => {
                chunks.extend(rows.iter().map(|row| (row >> shift) as u32));
                rows.iter_mut().for_each(|row| *row &= (1 << shift) - 1);
            }
            None => chunks.extend(rows.iter_mut().map(|row| {
                let (chunk, in_chunk) = self.locate(*row);
                *row = in_chunk;
                chunk as u32
            })),
        }
    }

    /// The chunk of a row below [`len`](Directory::len), and the row in it.
    #[inline]
    pub(crate) fn locate(&self, row: u64) -> (usize, u64) {
        let bucket = (row >> self.shift) as usize;
        let mut chunk = self.buckets[bucket] as usize;
        if self.starts[chunk + 1] <= row {
            let last = self.buckets[bucket + 1] as usize;
            chunk += self.starts[chunk + 1..=last].partition_point(|&start| start <= row);
        }
        (chunk, row - self.starts[chunk])
    }
}

/// The `k` of chunks that begin at multiples of 2ᵏ, if there is one.
fn uniform_shift(starts: &[u64]) -> Option<u32> {
    let (&len, starts) = starts.split_last()?;
    let Some(&second) = starts.get(1) else { return Some(62) };
    let shift = second.checked_ilog2().filter(|&shift| second == 1 << shift)?;
    let even = starts.iter().enumerate().all(|(chunk, &start)| start == (chunk as u64) << shift);
    // The last chunk may be shorter, not longer.
    (even && len <= (starts.len() as u64) << shift).then_some(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(sizes: &[u64], mut row: u64) -> (usize, u64) {
        for (chunk, &size) in sizes.iter().enumerate() {
            if row < size {
                return (chunk, row);
            }
            row -= size;
        }
        unreachable!("rows are below the sum of the sizes")
    }

    fn all_at_once(directory: &Directory, sizes: &[u64]) {
        let mut rows: Vec<_> = (0..directory.len()).collect();
        let mut chunks = Vec::new();
        directory.locate_all(&mut rows, &mut chunks);
        let found: Vec<_> = chunks.iter().zip(&rows).map(|(&chunk, &row)| (chunk as usize, row)).collect();
        let expected: Vec<_> = (0..directory.len()).map(|row| naive(sizes, row)).collect();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn every_row_is_found_where_a_scan_finds_it(sizes in prop::collection::vec(0u64..40, 0..60)) {
            let directory = Directory::new(sizes.iter().copied()).unwrap();
            prop_assert_eq!(directory.len(), sizes.iter().sum::<u64>());
            for row in 0..directory.len() {
                prop_assert_eq!(directory.locate(row), naive(&sizes, row));
            }
            all_at_once(&directory, &sizes);
        }

        #[test]
        fn even_chunks_are_found_by_a_shift(shift in 0u32..6, count in 1usize..9, last in 0u64..40) {
            let mut sizes = vec![1 << shift; count - 1];
            sizes.push(last);
            let directory = Directory::new(sizes.iter().copied()).unwrap();
            prop_assert!(directory.uniform.is_some() || last > 1 << shift);
            all_at_once(&directory, &sizes);
        }

        #[test]
        fn uneven_chunks_are_found_too(sizes in prop::collection::vec(prop_oneof![Just(0u64), Just(1), 1u64..1 << 40], 1..40)) {
            let directory = Directory::new(sizes.iter().copied()).unwrap();
            for row in (0..sizes.len()).flat_map(|i| [directory.start(i), directory.start(i + 1)]) {
                for row in [row.saturating_sub(1), row] {
                    if row < directory.len() {
                        prop_assert_eq!(directory.locate(row), naive(&sizes, row));
                    }
                }
            }
        }
    }

    #[test]
    fn more_rows_than_a_position_can_hold_are_refused() {
        assert_eq!(Directory::new([1 << 62, 1].into_iter()).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
