//! Rows that are decoded from records: CSV lines, TFRecords, MDS samples.
//!
//! A record holds a value of every column, so a row is decoded once for all of them, and each value is written where it
//! belongs ([`columns`]): one of a single length into the slot, or aside where it is to be cast or filled; one of varying
//! length into scratch, from where [`Runs`](super::runs) takes it.
//!
//! ```text
//! starts of all rows read, the lines of each record asked for ──▶ record by record: copied out, decoded ──▶ cast, filled
//! ```
mod columns;

use std::ops::Range;
use std::sync::Arc;

use self::columns::{Column, Targets};
use super::copy::prefetch;
use super::{BatchPlan, Located, PlannedColumn};
use crate::dataset::Table;
use crate::error::Result;
use crate::format::{Records, Values};
use crate::layout::ColumnMut;
use crate::staging::SlotMut;

/// Rows ahead of which the starts of records are asked for.
const AHEAD_STARTS: usize = 16;

/// Rows ahead of which the lines of records are asked for.
const AHEAD_RECORDS: usize = 8;

/// Lines of a record that are asked for: the processor fetches what follows by itself.
const LINES: u64 = 8;

/// Where the record of a row lies that is none.
const NO_RECORD: Range<u64> = u64::MAX..u64::MAX;

/// The columns of one table, as far as they are decoded from records.
///
/// What is here of a batch is good until the next, and only if all of it could be decoded: an error leaves a part of the
/// batch behind, which nobody reads, and the next gather begins anew.
pub(super) struct Parsed {
    table: usize,
    columns: Vec<Column>,
    /// How the rows of each chunk are reached, once it was asked for.
    chunks: Vec<Chunk>,
    /// Where the record of each row lies; [`NO_RECORD`] for a row that is none.
    extents: Vec<Range<u64>>,
    /// The record at hand.
    record: Vec<u8>,
    /// Chunks whose files were inflated for the running gather.
    held: Vec<usize>,
    /// The maps of chunks asked for so far, each once.
    maps: Vec<Arc<Map>>,
    /// An allocation for the places of a batch's columns.
    places: Vec<ColumnMut<'static>>,
    /// Rows of the batch that are decoded.
    num_rows: usize,
}

#[derive(Clone)]
enum Chunk {
    Unknown,
    /// Rows are no records.
    Other,
    Records(Arc<Records>, Arc<Map>),
}

/// From the table's planned columns to those of a decoder.
#[derive(PartialEq, Eq)]
struct Map {
    columns: Box<[usize]>,
    /// Columns the decoder has.
    num_columns: usize,
}

impl Map {
    /// How many planned columns before number `at` are the same column of the decoder. A record is decoded once more for
    /// each.
    fn times_before(&self, at: usize) -> usize {
        self.columns[..at].iter().filter(|&&column| column == self.columns[at]).count()
    }

    /// How often a record is decoded.
    fn num_passes(&self) -> usize {
        (0..self.columns.len()).map(|at| self.times_before(at) + 1).max().unwrap_or(1)
    }
}

impl Parsed {
    /// What is decoded of the planned columns of table `table`.
    pub(super) fn new(plan: &BatchPlan, table: usize) -> Self {
        let numbers = (0..plan.columns.len()).filter(|&number| plan.columns[number].table == table);
        Parsed {
            table,
            columns: numbers.map(Column::new).collect(),
            chunks: vec![Chunk::Unknown; plan.dataset.tables()[table].chunks.len()],
            extents: Vec::new(),
            record: Vec::new(),
            held: Vec::new(),
            maps: Vec::new(),
            places: Vec::new(),
            num_rows: 0,
        }
    }

    /// Lets go of inflated files: what was inflated may have to make room before the next gather.
    pub(super) fn release(&mut self) {
        for chunk in self.held.drain(..) {
            self.chunks[chunk] = Chunk::Unknown;
        }
    }

    /// Says that no row of the batch is a record.
    pub(super) fn skip(&mut self) {
        self.num_rows = 0;
    }

    /// Whether row `row` of the batch was decoded.
    pub(super) fn is_decoded(&self, row: usize) -> bool {
        self.num_rows > 0 && self.extents[row] != NO_RECORD
    }

    /// Whether every row of the batch was decoded.
    pub(super) fn are_all_decoded(&self) -> bool {
        self.num_rows > 0 && self.num_rows == self.extents.len()
    }

    /// The items decoded for row `row` of the planned column `number`, whose rows differ in length.
    pub(super) fn items(&self, number: usize, row: usize) -> &[u8] {
        let column = self.columns.iter().find(|column| column.number == number);
        column.expect("a planned column of the table").items(row)
    }

    /// Decodes every row of the batch that is a record.
    pub(super) fn decode(
        &mut self,
        located: &Located,
        plan: &BatchPlan,
        slot: &mut SlotMut<Arc<BatchPlan>>,
    ) -> Result<()> {
        let table = &plan.dataset.tables()[self.table];
        self.num_rows = 0;
        if self.columns.is_empty() {
            return Ok(());
        }
        if let Some((chunk, _)) = located.run {
            if matches!(self.chunks[chunk], Chunk::Unknown) {
                self.chunks[chunk] = self.reach(plan, table, chunk)?;
            }
            if !matches!(self.chunks[chunk], Chunk::Records(..)) {
                return Ok(());
            }
        }
        self.find(located, plan, table)?;
        if self.num_rows == 0 {
            return Ok(());
        }
        self.columns.iter_mut().for_each(|column| column.clear(plan, located.rows.len()));
        let mut row = 0;
        while row < located.rows.len() {
            row = match &self.chunks[located.chunks[row] as usize] {
                Chunk::Records(_, map) => {
                    let map = map.clone();
                    let mut end = row;
                    for pass in 0..map.num_passes() {
                        end = self.decode_alike(row, (&map, pass), located, plan, slot)?;
                    }
                    end
                }
                _ => row + 1,
            };
        }
        for column in &self.columns {
            column.finish(plan, slot.bytes(), |row| self.extents[row] != NO_RECORD);
        }
        Ok(())
    }

    /// Finds out which rows are records, and where they lie.
    fn find(&mut self, located: &Located, plan: &BatchPlan, table: &Table) -> Result<()> {
        self.extents.clear();
        for (i, (chunk, row)) in located.iter().enumerate() {
            if let Some((&chunk, &row)) =
                located.chunks.get(i + AHEAD_STARTS).zip(located.rows.get(i + AHEAD_STARTS))
                && let Chunk::Records(records, _) = &self.chunks[chunk as usize]
            {
                prefetch(records.start_address(row));
            }
            if matches!(self.chunks[chunk], Chunk::Unknown) {
                self.chunks[chunk] = self.reach(plan, table, chunk)?;
            }
            self.extents.push(match &self.chunks[chunk] {
                Chunk::Records(records, _) => {
                    self.num_rows += 1;
                    records.extent(row).map_err(|error| table.chunks[chunk].shard.place(error))?
                }
                _ => NO_RECORD,
            });
        }
        Ok(())
    }

    /// How rows of `chunk` are reached.
    fn reach(&mut self, plan: &BatchPlan, table: &Table, chunk: usize) -> Result<Chunk> {
        let mut found = None;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let piece = table.chunks[chunk].piece(plan.columns[column.number].index)?;
            let number = match &piece.values {
                Values::Parsed { records, column } => {
                    found.get_or_insert_with(|| records.clone());
                    column
                }
                Values::Inflated { file, column } => {
                    if found.is_none() {
                        found = Some(table.inflated(chunk, file)?);
                        self.held.push(chunk);
                    }
                    column
                }
                _ => return Ok(Chunk::Other),
            };
            columns.push(*number);
        }
        let Some(records) = found else { return Ok(Chunk::Other) };
        let map = Map { columns: columns.into(), num_columns: records.map().num_columns() };
        let map = match self.maps.iter().find(|known| ***known == map) {
            Some(known) => known.clone(),
            None => {
                self.maps.push(Arc::new(map));
                self.maps[self.maps.len() - 1].clone()
            }
        };
        Ok(Chunk::Records(records, map))
    }

    /// Decodes rows from number `first` on, as long as they are records whose columns are those in `map`, for the columns
    /// that come `pass` times before; returns the number of the row after them.
    fn decode_alike(
        &mut self,
        first: usize,
        (map, pass): (&Arc<Map>, usize),
        located: &Located,
        plan: &BatchPlan,
        slot: &mut SlotMut<Arc<BatchPlan>>,
    ) -> Result<usize> {
        let table = &plan.dataset.tables()[self.table];
        let wanted = self.columns.iter_mut().zip(&map.columns).enumerate();
        let wanted =
            wanted.filter(|&(at, _)| map.times_before(at) == pass).map(|(_, (column, &at))| (column, at));
        let places = std::mem::take(&mut self.places);
        let num_rows = located.rows.len();
        let mut targets = Targets::new(wanted, map.num_columns, plan, num_rows, slot.bytes(), places);
        let mut row = first;
        while row < num_rows {
            let (chunk, in_chunk) = (located.chunks[row] as usize, located.rows[row]);
            let Chunk::Records(records, other) = &self.chunks[chunk] else { break };
            if !Arc::ptr_eq(other, map) {
                break;
            }
            if let (Some(ahead), Some(&chunk)) =
                (self.extents.get(row + AHEAD_RECORDS), located.chunks.get(row + AHEAD_RECORDS))
                && let Chunk::Records(records, _) = &self.chunks[chunk as usize]
            {
                let lines = (ahead.end - ahead.start).div_ceil(64).min(LINES);
                (0..lines).for_each(|line| prefetch(records.address(ahead.start + line * 64)));
            }
            let (extent, record) = (self.extents[row].clone(), &mut self.record);
            targets
                .row(row, |out| records.decode(in_chunk, extent, record, out))
                .map_err(|error| table.chunks[chunk].shard.place(error))?;
            row += 1;
        }
        self.places = targets.into_places();
        Ok(row)
    }
}
