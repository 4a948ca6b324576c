//! Where rows lie in their files, before anyone reads them: for reading ahead, and for letting go of what is behind.
#![forbid(unsafe_code)]

use std::fs;
use std::ops::Range;

use super::Dataset;
use crate::format::places::Visit;

/// Some rows of a dataset, as runs of rows of its chunks.
#[derive(Debug, Default)]
pub(crate) struct RowRuns {
    /// The table, a chunk of it, and rows of the chunk.
    runs: Vec<(usize, usize, Range<u64>)>,
    scratch: Vec<u64>,
}

impl RowRuns {
    /// Finds out what runs the `rows` of `dataset` make; their order is of no consequence.
    pub(crate) fn find(&mut self, dataset: &Dataset, rows: &[u64]) {
        self.runs.clear();
        for (number, table) in dataset.tables().iter().enumerate() {
            self.scratch.clear();
            self.scratch.extend_from_slice(rows);
            table.rows.map(&mut self.scratch);
            self.scratch.sort_unstable();
            for run in self.scratch.chunk_by(|row, next| next - row <= 1) {
                let (mut start, end) = (run[0], run[run.len() - 1] + 1);
                while start < end {
                    let (chunk, first) = table.directory.locate(start);
                    let last = table.chunks[chunk].num_rows.min(first + (end - start));
                    self.runs.push((number, chunk, first..last));
                    start += last - first;
                }
            }
        }
    }

    /// Visits the bytes that say where the rows of `columns`, given as (table, column in it), lie.
    pub(crate) fn index_places(&self, dataset: &Dataset, columns: &[(usize, usize)], visit: &mut Visit<'_>) {
        self.pieces(dataset, columns, |piece, rows| piece.index_places(rows, visit));
    }

    /// Visits the bytes that the rows of `columns`, given as (table, column in it), are read from.
    pub(crate) fn places(&self, dataset: &Dataset, columns: &[(usize, usize)], visit: &mut Visit<'_>) {
        self.pieces(dataset, columns, |piece, rows| piece.places(rows, visit));
    }

    fn pieces(
        &self,
        dataset: &Dataset,
        columns: &[(usize, usize)],
        mut visit: impl FnMut(&crate::format::Piece, &Range<u64>),
    ) {
        for (table, chunk, rows) in &self.runs {
            for &(_, column) in columns.iter().filter(|(of, _)| of == table) {
                // A shard that cannot be opened is an error in the place of the first batch that needs it.
                if let Ok(piece) = dataset.tables()[*table].chunks[*chunk].piece(column) {
                    visit(piece, rows);
                }
            }
        }
    }
}

impl Dataset {
    /// Bytes of the files that its rows are read from; where it has a part of a table's rows, as they lie, as large a part.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        let of_table = |table: &super::Table| {
            let of_shard = |shard: &super::shard::Shard| match shard.if_opened() {
                Some(opened) => {
                    let files = opened.regions().filter(|region| !region.is_owned());
                    files.map(|region| region.len_bytes()).sum()
                }
                None => shard.path().and_then(|path| fs::metadata(path).ok()).map_or(0, |file| file.len()),
            };
            let bytes: u64 = table.shards.iter().map(|shard| of_shard(shard)).sum();
            if !table.rows.is_ascending() {
                return bytes;
            }
            let share = self.len() as f64 / table.directory.len().max(1) as f64;
            (bytes as f64 * share.min(1.0)) as u64
        };
        self.tables().iter().map(of_table).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::convert::{ConvertOptions, convert};

    fn numbers(folder: &std::path::Path, rows: i64) -> Dataset {
        let x = Dataset::from_tensor("x", &[8], (0..rows * 8).collect()).unwrap();
        let y = Dataset::from_tensor("y", &[], (0..rows as u8).collect::<Vec<u8>>()).unwrap();
        convert(&x.zip(&y).unwrap(), folder, &ConvertOptions::new().shard_bytes(4096), |_| {}).unwrap();
        Dataset::open(folder).unwrap()
    }

    #[test]
    fn the_bytes_of_rows_are_where_their_values_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("out");
        let all = numbers(&folder, 200);
        let dataset = all.split(0.5, 3).unwrap().0.skip(7);
        let rows = [40u64, 3, 41, 42, 3];
        let mut runs = RowRuns::default();
        runs.find(&dataset, &rows);
        let mut found = BTreeSet::new();
        runs.places(&dataset, &[(0, 0)], &mut |region, bytes| {
            assert!(!region.is_owned() && bytes.start.is_multiple_of(8));
            let copy = region.read(bytes).unwrap();
            let values = copy.chunks(8).map(|value| i64::from_le_bytes(value.try_into().unwrap()));
            found.extend(values.map(|value| value / 8));
        });
        let expected = dataset.gather(&rows).unwrap();
        let expected = expected.column(1).to_data();
        let expected: BTreeSet<i64> = expected.buffers()[0][..rows.len()].iter().map(|&y| y.into()).collect();
        assert_eq!(found, expected);
        runs.index_places(&dataset, &[(0, 0), (0, 1)], &mut |_, _| {
            panic!("rows of one length need no index")
        });
    }

    #[test]
    fn runs_are_cut_at_chunks_and_neighbours_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = numbers(&folder.path().join("out"), 200);
        let rows: Vec<u64> = (0..200).rev().collect();
        let mut runs = RowRuns::default();
        runs.find(&dataset, &rows);
        let chunks = &dataset.tables()[0].chunks;
        let expected: Vec<_> =
            chunks.iter().enumerate().map(|(number, chunk)| (0, number, 0..chunk.num_rows)).collect();
        assert!(chunks.len() > 2);
        assert_eq!(runs.runs, expected);
    }

    #[test]
    fn the_size_of_files_is_known_whether_they_are_open_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("out");
        let dataset = numbers(&folder, 200);
        let arrow = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        let arrow =
            arrow.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "arrow"));
        let expected: u64 = arrow.map(|entry| entry.metadata().unwrap().len()).sum();
        assert_eq!(dataset.mapped_bytes(), expected);
        dataset.gather(&[0, 100]).unwrap();
        assert_eq!(dataset.mapped_bytes(), expected);
        assert_eq!(dataset.take(50).mapped_bytes(), expected / 4);
        assert_eq!(Dataset::from_tensor("x", &[], vec![0u8; 9]).unwrap().mapped_bytes(), 0);
    }
}
