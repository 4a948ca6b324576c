//! Rows copied once, from where they lie into a slot.
//!
//! Row numbers become (chunk, row in the chunk) for each table, and addresses for each column; addresses become copies. What
//! a shuffled gather waits for is memory, and the way to an address is pure computation, so the two overlap: a batch is
//! worked off in blocks, and while the lines of one block are on their way, the addresses of the next are computed.
//!
//! ```text
//! stage block 0
//! for each block:  stage the block after it               rows ──▶ chunks ──▶ addresses of every plain column
//!                  copy the block, column by column       and with each row ask for the lines of a row of the next block
//! ```
//!
//! Columns that are not plain come after:
//!
//! ```text
//! one run of rows       lent where it lies, if it may be; else one copy
//! rows of another kind  (nulls, bits, big-endian, column-major) one by one
//! rows of records       decoded once for all columns, before the columns are gone through
//! rows of varying length    offsets read once and checked ──▶ room made in the slot ──▶ copy
//! ```
//!
//! Bytes of a file that others may change are only ever copied, never borrowed, and whatever steers a read (an
//! offset) is used from the copy that was checked. That a file was whole is for the caller to ask afterwards
//! (`Dataset::check`).

mod cast;
mod copy;
mod documents;
mod lane;
mod located;
#[cfg(feature = "cuda")]
mod numbers;
mod other;
mod padded;
mod parsed;
mod row;
mod runs;
mod wide;

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;

use super::plan::{BatchPlan, PlannedColumn};
use crate::error::Result;
use crate::layout::{ColumnKind, Place};
use crate::sampler::{Audit, EpochOrder};
use crate::staging::SlotMut;

pub(crate) use cast::{Affine, CastRow, cast_one, cast_row, read_one};
use lane::Lanes;
use located::Located;
use parsed::Parsed;
use wide::wide;

/// What a gather did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) num_rows: usize,
    /// Of the dataset's rows.
    pub(crate) audit: Audit,
    /// Bytes of values written into the slot.
    pub(crate) copied_bytes: u64,
    /// Bytes of values the batch holds, copied or lent.
    pub(crate) delivered_bytes: u64,
    /// Where items may be put behind what lies in the slot.
    pub(crate) items_end: usize,
}

/// The rows of a batch, as the dataset numbers them.
pub(crate) enum RowSource<'a> {
    /// As they are listed.
    List(&'a [u64]),
    /// Those at positions of an order.
    Order(&'a EpochOrder, Range<u64>),
}

impl RowSource<'_> {
    fn len(&self) -> usize {
        match self {
            RowSource::List(rows) => rows.len(),
            RowSource::Order(_, positions) => (positions.end - positions.start) as usize,
        }
    }

    /// Each of them.
    pub(crate) fn to_vec(&self) -> Vec<u64> {
        match self {
            RowSource::List(rows) => rows.to_vec(),
            RowSource::Order(order, positions) => {
                let mut rows = vec![0; self.len()];
                order.fill(positions.start, &mut rows);
                rows
            }
        }
    }

    /// The number of the component that each row is of; `None` where they are listed, not drawn.
    pub(crate) fn sources(&self) -> Option<impl Iterator<Item = u32>> {
        match self {
            RowSource::List(_) => None,
            RowSource::Order(order, positions) => {
                Some(positions.clone().map(|position| order.source(position) as u32))
            }
        }
    }

    /// Whether the rows may follow one another.
    fn in_order(&self) -> bool {
        match self {
            RowSource::List(_) => true,
            RowSource::Order(order, _) => order.is_sequential(),
        }
    }
}

/// Writes the rows of `source` from number `start` on, and audits them.
#[inline(always)]
fn fill_rows(source: &RowSource<'_>, start: usize, rows: &mut [u64], audit: &mut Audit) {
    match source {
        RowSource::List(list) => rows.copy_from_slice(&list[start..start + rows.len()]),
        RowSource::Order(order, positions) => order.fill_wide(positions.start + start as u64, rows),
    }
    match *rows {
        // All are compared, whatever is found: several at once.
        [first, ..]
            if source.in_order()
                && rows.iter().zip(first..).fold(true, |run, (&row, next)| run & (row == next)) =>
        {
            audit.add_run(first..first + rows.len() as u64);
        }
        _ => audit.add_all(rows),
    }
}

/// Makes batches of one plan, one at a time. Holds the scratch memory this takes, so that a gather allocates nothing.
pub(crate) struct Gatherer {
    plan: Arc<BatchPlan>,
    scratch: Scratch,
}

/// What a gather needs beside its plan.
struct Scratch {
    /// The rows of the batch.
    rows: Vec<u64>,
    /// Where they are, for each table.
    located: Vec<Located>,
    /// The columns of the plan that are of each table.
    table_columns: Vec<Vec<usize>>,
    columns: Vec<Lanes>,
    /// What is decoded from records, for each table.
    parsed: Vec<Parsed>,
    runs: runs::Runs,
    /// One row, to be cast.
    row: Vec<u8>,
    /// Which rows of a run are null.
    valid: other::Valid,
    /// Rows staged and copied at a time.
    block_rows: usize,
}

/// Bytes of rows that are on their way at a time: they have to stay in the first cache until they are copied.
const BLOCK_BYTES: usize = 32 << 10;

/// Rows in a block, at the least and at the most.
const BLOCK_ROWS: Range<usize> = 4..32;

/// Rows permuted at a time, however few of them make a block.
const FILL_ROWS: usize = 32;

impl Gatherer {
    pub(crate) fn new(plan: Arc<BatchPlan>) -> Self {
        let tables = plan.dataset.tables();
        let columns = plan.columns.iter().map(|column| {
            let row_bytes = match column.kind {
                ColumnKind::Tensor { .. } => column.source_row_bytes,
                _ => 0,
            };
            Lanes::new(&tables[column.table], column.field.name(), row_bytes)
        });
        let row_bytes: usize = plan.columns.iter().map(|column| column.source_row_bytes).sum();
        let scratch = Scratch {
            rows: Vec::new(),
            located: tables.iter().map(|_| Located::default()).collect(),
            table_columns: (0..tables.len())
                .map(|table| {
                    let columns = plan.columns.iter().filter(|column| column.table == table);
                    columns.map(|column| column.index).collect()
                })
                .collect(),
            columns: columns.collect(),
            parsed: (0..tables.len()).map(|table| Parsed::new(&plan, table)).collect(),
            runs: runs::Runs::default(),
            row: Vec::new(),
            valid: other::Valid::default(),
            block_rows: 1 << (BLOCK_BYTES / row_bytes.max(1)).clamp(BLOCK_ROWS.start, BLOCK_ROWS.end).ilog2(),
        };
        Gatherer { scratch, plan }
    }

    pub(crate) fn plan(&self) -> &Arc<BatchPlan> {
        &self.plan
    }

    /// The rows gathered last.
    pub(crate) fn rows(&self) -> &[u64] {
        &self.scratch.rows
    }

    /// Gathers rows of the dataset, at most a batch of them, into `slot`. Where `lend` allows it, columns that lie
    /// in one run are put into `lent` instead, under their number.
    ///
    /// # Errors
    ///
    /// Those of opening and decoding shards; `Malformed` for offsets that contradict their column or text that is no
    /// UTF-8.
    pub(crate) fn gather(
        &mut self,
        rows: &RowSource<'_>,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        lent: &mut Vec<Option<Buffer>>,
        lend: bool,
    ) -> Result<Gathered> {
        self.scratch.gather(&self.plan, rows, slot, lent, lend)
    }

    /// Decodes a column of a chunk that comes soon after `row`, where rows come as they lie and chunks must be decoded: for who
    /// has nothing else to do. Says whether there was one.
    pub(crate) fn decode_ahead(&self, row: u64) -> bool {
        let mut tables = self.plan.dataset.tables().iter().zip(&self.scratch.table_columns);
        tables.any(|(table, columns)| {
            table.chunk_of(row).is_some_and(|chunk| table.decode_ahead(chunk, columns))
        })
    }
}

impl Scratch {
    fn gather(
        &mut self,
        plan: &BatchPlan,
        source: &RowSource<'_>,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        lent: &mut Vec<Option<Buffer>>,
        lend: bool,
    ) -> Result<Gathered> {
        let layout = &plan.layout;
        let num_rows = source.len();
        assert!(num_rows <= layout.batch_size, "a batch has room for its rows");
        slot.reserve(layout.fixed_bytes)?;
        #[cfg(feature = "cuda")]
        if let Some(start) = layout.row_numbers {
            return Ok(self.number(source, &mut slot.bytes()[start..start + 8 * num_rows]));
        }
        let mut gathered = Gathered { num_rows, ..Gathered::default() };
        self.rows.resize(num_rows, 0);
        self.located.iter_mut().for_each(Located::clear);
        self.columns.iter_mut().for_each(Lanes::clear);
        self.parsed.iter_mut().for_each(Parsed::release);
        lent.clear();
        lent.resize(plan.columns.len(), None);
        // Padding has to be written, and a lent column has no room for it.
        let padded = layout.row_mask.is_some() && num_rows < layout.batch_size;
        if let Some(mask) = layout.row_mask {
            let mask = &mut slot.bytes()[mask..mask + layout.batch_size];
            mask[..num_rows].fill(1);
            mask[num_rows..].fill(0);
        }

        if let Some(sources) = source.sources() {
            layout.write_sources(slot.bytes(), sources);
        }

        let in_order = matches!(source, RowSource::Order(order, _) if order.is_sequential());
        if source.in_order() {
            // Runs are looked for before anything is copied; where there is none, the blocks below find all rows staged.
            fill_rows(source, 0, &mut self.rows, &mut gathered.audit);
            for (located, table) in self.located.iter_mut().zip(plan.dataset.tables()) {
                located.locate(table, &self.rows);
            }
        }
        for ((located, table), columns) in
            self.located.iter().zip(plan.dataset.tables()).zip(&self.table_columns)
        {
            // Two chunks are kept whatever the budget is.
            if let Some((first, last)) = located.span.filter(|(first, last)| last - first <= 1) {
                (first..=last).try_for_each(|chunk| table.decode_shared(chunk, columns, in_order))?;
            }
        }
        for (lanes, column) in self.columns.iter_mut().zip(&plan.columns) {
            lanes.plain = column.source_width > 0 && self.located[column.table].run.is_none();
        }
        gather_blocks(self, plan, source, slot, &mut gathered.audit)?;

        let laid_out = layout.rows_laid_out(num_rows);
        for mask in layout.places.iter().filter_map(Place::validity) {
            // Who finds a null says so; otherwise none is.
            slot.bytes()[mask..mask + num_rows].fill(1);
            slot.bytes()[mask + num_rows..mask + laid_out].fill(0);
        }
        for (number, (parsed, located)) in self.parsed.iter_mut().zip(&self.located).enumerate() {
            // A record holds a value of every column: where one of them is plain, no row is a record.
            let mut lanes = self.columns.iter().zip(&plan.columns);
            if lanes.any(|(lanes, column)| lanes.plain && column.table == number) {
                parsed.skip();
            } else {
                parsed.decode(located, plan, slot)?;
            }
        }
        let mut items_end = layout.fixed_bytes;
        for (number, (column, place)) in plan.columns.iter().zip(&layout.places).enumerate() {
            let table = &plan.dataset.tables()[column.table];
            let (bytes, copied) = match place {
                Place::Dense { values, row_bytes, validity } => {
                    let values = *values..*values + num_rows * row_bytes;
                    slot.bytes()[values.end..values.start + laid_out * row_bytes].fill(0);
                    let bytes = (num_rows * row_bytes) as u64;
                    let done = self.columns[number].plain || self.parsed[column.table].are_all_decoded();
                    if !done && lend && !padded {
                        lent[number] = self.lend(table, column, number)?;
                    }
                    if !done && lent[number].is_none() {
                        self.not_plain(table, column, number, slot, values, *validity)?;
                    }
                    (bytes, if lent[number].is_some() { 0 } else { bytes })
                }
                Place::Runs { .. } => {
                    let located = &self.located[column.table];
                    let (lanes, parsed) = (&mut self.columns[number], &self.parsed[column.table]);
                    let runs = &mut self.runs;
                    let bytes = runs.gather(
                        located,
                        table,
                        column,
                        number,
                        lanes,
                        parsed,
                        slot,
                        place,
                        laid_out,
                        &mut items_end,
                        lend.then_some(&mut lent[number]),
                    )?;
                    (bytes, if lent[number].is_some() { 0 } else { bytes })
                }
            };
            gathered.delivered_bytes += bytes;
            gathered.copied_bytes += copied;
        }
        self.columns.iter_mut().for_each(Lanes::release);
        self.parsed.iter_mut().for_each(Parsed::release);
        gathered.items_end = items_end;
        Ok(gathered)
    }

    /// Finds the rows numbered `block` in every table, and their addresses in every plain column.
    #[inline(always)]
    fn stage(&mut self, plan: &BatchPlan, block: Range<usize>) -> Result<()> {
        for (located, table) in self.located.iter_mut().zip(plan.dataset.tables()) {
            located.locate_block(table, &self.rows[block.clone()], block.start);
        }
        for (lanes, column) in self.columns.iter_mut().zip(&plan.columns) {
            if lanes.plain {
                let table = &plan.dataset.tables()[column.table];
                lanes.address(table, column.index, &self.located[column.table], block.clone())?;
            }
        }
        Ok(())
    }

    /// Copies the rows numbered `block` of every plain column; asks for the lines of those numbered `next`.
    #[inline(always)]
    fn copy_block(
        &self,
        plan: &BatchPlan,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        block: Range<usize>,
        next: Range<usize>,
    ) {
        let bytes = slot.bytes();
        for ((lanes, column), place) in self.columns.iter().zip(&plan.columns).zip(&plan.layout.places) {
            let Place::Dense { values, row_bytes, .. } = *place else { continue };
            if !lanes.plain {
                continue;
            }
            let dst = &mut bytes[values + block.start * row_bytes..values + block.end * row_bytes];
            let (rows, ahead) = (&lanes.addresses()[block.clone()], &lanes.addresses()[next.clone()]);
            // SAFETY: `lane::measure` found that every row of a chunk lies within its span, which the dataset keeps mapped,
            // and `Directory::locate` gives rows of their chunk. A slot is no part of a region, and a row of it has room
            // for the row's elements, of the type they are cast to.
            unsafe {
                match &column.transform {
                    None => copy::copy_rows(rows, ahead, dst, column.source_row_bytes),
                    Some(transform) => copy::for_rows(rows, ahead, column.source_row_bytes, |i, src| {
                        let dst = dst[i * row_bytes..(i + 1) * row_bytes].as_mut_ptr();
                        (transform.cast)(src, dst, column.num_elements, &transform.affine);
                    }),
                }
            }
        }
    }
}

wide! {
    /// Copies the plain columns, block by block. A column that turns out not to be plain is left for later.
    fn gather_blocks(
        scratch: &mut Scratch,
        plan: &BatchPlan,
        source: &RowSource<'_>,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        audit: &mut Audit,
    ) -> Result<()> {
        let num_rows = source.len();
        let mut filled = if source.in_order() { num_rows } else { 0 };
        let mut block = 0..0;
        while block.end < num_rows || !block.is_empty() {
            let next = block.end..(block.end + scratch.block_rows).min(num_rows);
            if next.end > filled {
                let end = (filled + FILL_ROWS).min(num_rows);
                fill_rows(source, filled, &mut scratch.rows[filled..end], audit);
                filled = end;
            }
            scratch.stage(plan, next.clone())?;
            scratch.copy_block(plan, slot, block, next.clone());
            block = next;
        }
        Ok(())
    }
}
