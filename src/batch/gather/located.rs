//! The rows of a batch in one table.
#![forbid(unsafe_code)]

use crate::dataset::Table;

/// For each row of the batch, its chunk and its row in the chunk.
#[derive(Default)]
pub(super) struct Located {
    pub(super) rows: Vec<u64>,
    pub(super) chunks: Vec<u32>,
    /// The chunk and its first row, if the rows are one run of one chunk.
    pub(super) run: Option<(usize, u64)>,
    /// The chunks of the first row and of the last, if the rows follow one another.
    pub(super) span: Option<(usize, usize)>,
}

impl Located {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.chunks.clear();
        (self.run, self.span) = (None, None);
    }

    /// Locates all rows of a batch, and finds out whether they are a run.
    pub(super) fn locate(&mut self, table: &Table, rows: &[u64]) {
        self.rows.extend_from_slice(rows);
        table.rows.map(&mut self.rows);
        if let Some((&first, rest)) = self.rows.split_first()
            && rest.iter().zip(first + 1..).all(|(&row, expected)| row == expected)
        {
            let last = first + rest.len() as u64;
            let ((chunk, row), (last_chunk, _)) =
                (table.directory.locate(first), table.directory.locate(last));
            self.run = (chunk == last_chunk).then_some((chunk, row));
            self.span = Some((chunk, last_chunk));
        }
        match self.run {
            Some((chunk, first)) => {
                self.rows.iter_mut().zip(first..).for_each(|(row, in_chunk)| *row = in_chunk);
                self.chunks.resize(self.rows.len(), chunk as u32);
            }
            None => table.directory.locate_all(&mut self.rows, &mut self.chunks),
        }
    }

    /// Locates the rows of a batch from number `start` on, unless they were already.
    #[inline(always)]
    pub(super) fn locate_block(&mut self, table: &Table, rows: &[u64], start: usize) {
        if self.rows.len() > start || rows.is_empty() {
            return;
        }
        self.rows.extend_from_slice(rows);
        table.rows.map(&mut self.rows[start..]);
        table.directory.locate_all(&mut self.rows[start..], &mut self.chunks);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.chunks.iter().zip(&self.rows).map(|(&chunk, &row)| (chunk as usize, row))
    }
}
