//! Rows that are decoded from records: CSV lines, TFRecords, MDS samples.
//!
//! A record holds a value of every column, so a row is decoded once for all of them, and each value is written where it
//! belongs: one of a single length into the slot, or aside where it is to be cast or filled; one of varying length into
//! scratch, from where [`Runs`](super::runs) takes it.
//!
//! ```text
//! starts of all rows read, the lines of each record asked for ──▶ record by record: copied out, decoded ──▶ cast, filled
//! ```
use std::ops::Range;
use std::sync::Arc;

use super::copy::prefetch;
use super::{BatchPlan, Located, PlannedColumn};
use crate::dataset::Table;
use crate::error::Result;
use crate::format::{Records, Values};
use crate::layout::{ColumnMut, Place, RowMut};
use crate::staging::SlotMut;

/// Rows ahead of which the starts of records are asked for.
const AHEAD_STARTS: usize = 16;

/// Rows ahead of which the lines of records are asked for.
const AHEAD_RECORDS: usize = 8;

/// Lines of a record that are asked for: the processor fetches what follows by itself.
const LINES: u64 = 8;

/// The columns of one table, as far as they are decoded from records.
pub(super) struct Parsed {
    table: usize,
    columns: Vec<Column>,
    /// How the rows of each chunk are reached, once it was asked for.
    chunks: Vec<Chunk>,
    /// Where the record of each row lies; empty for a row that is none.
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

/// One planned column, and what was decoded of it.
struct Column {
    /// Its number in the plan.
    number: usize,
    /// Dense rows before they are cast or filled, and which of them are values.
    aside: Vec<u8>,
    aside_valid: Vec<u8>,
    /// Items of rows of varying length, and where those of each row lie.
    items: Vec<u8>,
    bounds: Vec<Range<usize>>,
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
        let columns = numbers.map(|number| Column {
            number,
            aside: Vec::new(),
            aside_valid: Vec::new(),
            items: Vec::new(),
            bounds: Vec::new(),
        });
        Parsed {
            table,
            columns: columns.collect(),
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

    /// Whether row `row` of the batch was decoded.
    pub(super) fn is_decoded(&self, row: usize) -> bool {
        self.num_rows > 0 && self.extents[row].start != u64::MAX
    }

    /// Whether every row of the batch was decoded.
    pub(super) fn are_all_decoded(&self) -> bool {
        self.num_rows > 0 && self.num_rows == self.extents.len()
    }

    /// The items decoded for row `row` of the planned column `number`, whose rows differ in length.
    pub(super) fn items(&self, number: usize, row: usize) -> &[u8] {
        let column = self.columns.iter().find(|column| column.number == number);
        let column = column.expect("a planned column of the table");
        &column.items[column.bounds[row].clone()]
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
        self.clear(plan, located.rows.len());
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
        self.finish(plan, slot);
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
                _ => u64::MAX..u64::MAX,
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

    /// Makes room for the `num_rows` rows of a batch.
    fn clear(&mut self, plan: &BatchPlan, num_rows: usize) {
        for column in &mut self.columns {
            let planned = &plan.columns[column.number];
            column.items.clear();
            column.bounds.clear();
            if planned.source_width == 0 {
                column.bounds.resize(num_rows, 0..0);
            } else if is_aside(planned) {
                column.aside.resize(num_rows * planned.source_row_bytes, 0);
                column.aside_valid.clear();
                column.aside_valid.resize(num_rows, 1);
            }
        }
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
        let mut places = recycled(std::mem::take(&mut self.places));
        places.resize_with(map.num_columns, ColumnMut::default);
        let mut runs: Vec<(usize, &mut Vec<Range<usize>>)> = Vec::new();
        let mut rest = slot.bytes();
        let mut rest_start = 0;
        // Places ascend in a slot, so that one part after another can be cut off.
        let mut cut = |start: usize, len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(start + len - rest_start);
            (rest, rest_start) = (after, start + len);
            let before = part.len() - len;
            &mut part[before..]
        };
        for (at, (column, &decoded)) in self.columns.iter_mut().zip(&map.columns).enumerate() {
            if map.times_before(at) != pass {
                continue;
            }
            let planned = &plan.columns[column.number];
            places[decoded] = match plan.layout.places[column.number] {
                Place::Dense { .. } if is_aside(planned) => ColumnMut::Dense {
                    values: &mut column.aside,
                    row_bytes: planned.source_row_bytes,
                    validity: Some(&mut column.aside_valid),
                },
                Place::Dense { values, row_bytes, validity } => ColumnMut::Dense {
                    values: cut(values, row_bytes * located.rows.len()),
                    row_bytes,
                    validity: validity.map(|mask| cut(mask, located.rows.len())),
                },
                Place::Runs { validity, .. } => {
                    runs.push((decoded, &mut column.bounds));
                    let validity = validity.map(|mask| cut(mask, located.rows.len()));
                    ColumnMut::Runs { items: &mut column.items, validity }
                }
            };
        }
        let mut out = RowMut::new(&mut places, first);
        let mut row = first;
        while row < located.rows.len() {
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
            out.set_row(row);
            for (decoded, bounds) in &mut runs {
                bounds[row].start = out.items(*decoded).len();
            }
            records
                .decode(in_chunk, self.extents[row].clone(), &mut self.record, &mut out)
                .map_err(|error| table.chunks[chunk].shard.place(error))?;
            for (decoded, bounds) in &mut runs {
                bounds[row].end = out.items(*decoded).len();
            }
            row += 1;
        }
        drop(runs);
        self.places = recycled(places);
        Ok(row)
    }

    /// Casts and fills what was decoded aside.
    fn finish(&mut self, plan: &BatchPlan, slot: &mut SlotMut<Arc<BatchPlan>>) {
        for column in &self.columns {
            let planned = &plan.columns[column.number];
            let Place::Dense { values, row_bytes, validity } = plan.layout.places[column.number] else {
                continue;
            };
            if !is_aside(planned) {
                continue;
            }
            let bytes = slot.bytes();
            let rows = column.aside.chunks_exact(planned.source_row_bytes.max(1));
            for (row, (source, &valid)) in rows.zip(&column.aside_valid).enumerate() {
                if self.extents[row].start == u64::MAX {
                    continue;
                }
                let out = &mut bytes[values + row * row_bytes..][..row_bytes];
                match (&planned.fill, &planned.transform) {
                    (Some(fill), _) if valid == 0 => out.copy_from_slice(fill),
                    _ if valid == 0 => out.fill(0),
                    // SAFETY: `source` is a row of the column and `out` one cast, of `num_elements` elements each.
                    (_, Some(transform)) => unsafe {
                        (transform.cast)(
                            source.as_ptr(),
                            out.as_mut_ptr(),
                            planned.num_elements,
                            transform.scale,
                        )
                    },
                    (_, None) => out.copy_from_slice(source),
                }
                if let Some(mask) = validity {
                    bytes[mask + row] = valid;
                }
            }
        }
    }
}

/// Whether rows of the column are decoded aside, to be cast or filled.
fn is_aside(planned: &PlannedColumn) -> bool {
    planned.transform.is_some() || planned.fill.is_some()
}

/// An empty vector of another lifetime in the same allocation.
fn recycled<'a>(mut places: Vec<ColumnMut<'_>>) -> Vec<ColumnMut<'a>> {
    places.clear();
    places.into_iter().map(|_| unreachable!("it is empty")).collect()
}
