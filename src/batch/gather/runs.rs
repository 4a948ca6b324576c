//! Rows of varying length: bytes, text, ragged lists.
//!
//! A row is two offsets and what lies between them. The offsets are read once, checked against the items and each
//! other, and only their copies are used; then the slot is made large enough, and then the items are copied.

use std::sync::Arc;

use arrow::buffer::Buffer;

use super::copy::{copy_bytes, prefetch, prefetch_row};
use super::lane::Lanes;
use super::other::{Valid, lend_span, undeclared_null};
use super::parsed::Parsed;
use super::row::is_valid;
use super::{BatchPlan, Located, PlannedColumn};
use crate::dataset::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::format::extents::{Extent, PAIR_BYTES};
use crate::format::{Piece, Span, Values};
use crate::layout::{ColumnKind, Place, align_up};
use crate::staging::SlotMut;

/// Scratch of one gather.
#[derive(Default)]
pub(super) struct Runs {
    /// Where the items of each row lie.
    pub(super) rows: Vec<(*const u8, usize)>,
    valid: Valid,
}

// SAFETY: the addresses are scratch: written and read within one gather, by the thread that runs it.
unsafe impl Send for Runs {}

/// Rows ahead of which offsets, and the first lines of items, are asked for.
const AHEAD_ROWS: usize = 16;

/// Rows ahead of which the other lines are asked for, and bytes of one: the processor goes on by itself in longer ones.
const AHEAD_LONG_ROWS: usize = 2;
const LONG_BYTES: usize = 4 << 10;

impl Runs {
    /// Gathers the rows of a column, writes offsets and validity for `num_rows` rows (those past the rows located are
    /// empty), and puts the items at `items_end`, which moves behind them, or into `lent`, where there is one and they may
    /// be lent. Returns the bytes of the items.
    #[expect(clippy::too_many_arguments)] // One call, from where all of these are at hand.
    pub(super) fn gather(
        &mut self,
        located: &Located,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        lanes: &mut Lanes,
        parsed: &Parsed,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        place: &Place,
        num_rows: usize,
        items_end: &mut usize,
        lent: Option<&mut Option<Buffer>>,
    ) -> Result<u64> {
        let &Place::Runs { table: table_at, offsets: offsets_at, wide: wide_out, item_bytes, validity } =
            place
        else {
            unreachable!("called for columns of varying length")
        };
        if column.pad.is_none() {
            let run =
                self.gather_run(located, table, column, lanes, slot, place, num_rows, items_end, lent)?;
            if let Some(bytes) = run {
                return Ok(bytes);
            }
        }
        let valid = validity.map(|mask| mask..mask + located.rows.len());
        let valid = valid.map(|rows| &mut slot.bytes()[rows]);
        let total = self.find(located, table, column, number, lanes, parsed, valid)?;
        if let Some(mask) = validity {
            slot.bytes()[mask + located.rows.len()..mask + num_rows].fill(0);
        }
        if let Some(pad) = &column.pad {
            let source = (located, table, column);
            return self.write_padded(pad, source, slot, place, num_rows, items_end);
        }
        let runs = &mut self.rows;
        if !wide_out && i32::try_from(total / item_bytes).is_err() {
            return Err(too_large());
        }
        let start = *items_end;
        slot.reserve(start.checked_add(total).ok_or_else(too_large)?)?;
        *items_end = align_up(start + total);
        let bytes = slot.bytes();
        write_table(bytes, table_at, start, total);
        let mut offset = 0usize;
        for (i, &(src, len)) in runs.iter().enumerate() {
            if let Some((next, _)) = runs.get(i + AHEAD_ROWS) {
                prefetch(*next);
            }
            if let Some(&(next, len)) = runs.get(i + AHEAD_LONG_ROWS) {
                prefetch_row(next, len.min(LONG_BYTES));
            }
            write_offset(bytes, offsets_at, wide_out, i, offset / item_bytes);
            let dst = bytes[start + offset..start + offset + len].as_mut_ptr();
            // SAFETY: the run was checked to lie within its items, which the dataset keeps mapped; the destination
            // was just cut to its length. A slot is no part of a region.
            unsafe { copy_bytes(src, dst, len) };
            offset += len;
        }
        for row in runs.len()..=num_rows {
            write_offset(bytes, offsets_at, wide_out, row, offset / item_bytes);
        }
        if column.kind == ColumnKind::Text
            && let Err((i, e)) = check_text(&bytes[start..start + total], runs)
        {
            let (chunk, row) = (located.chunks[i] as usize, located.rows[i]);
            let message =
                format!("column '{}': expected UTF-8 in row {row} of the chunk: {e}", column.field.name());
            let error = Error::malformed(message).with_source(e);
            let piece = lanes.piece(table, column.index, chunk)?;
            let Values::Runs { items, .. } = &piece.values else {
                unreachable!("`lane::measure` and the column's kind agree")
            };
            let byte = items.offset() + (runs[i].0.addr() - items.as_ptr().addr()) as u64;
            return Err(table.place(chunk, row, error.at_byte(byte)));
        }
        Ok(total as u64)
    }
}

impl Runs {
    /// Finds where the items of each row lie, and which rows are `valid`; touches no item. Returns the bytes of all of them.
    #[expect(clippy::too_many_arguments)] // As above.
    pub(super) fn find(
        &mut self,
        located: &Located,
        table: &Table,
        column: &PlannedColumn,
        number: usize,
        lanes: &mut Lanes,
        parsed: &Parsed,
        mut valid: Option<&mut [u8]>,
    ) -> Result<usize> {
        let runs = &mut self.rows;
        runs.clear();
        let mut total = 0usize;
        for (i, (chunk, row)) in located.iter().enumerate() {
            if parsed.is_decoded(i) {
                let items = parsed.items(number, i);
                runs.push((items.as_ptr(), items.len()));
                total = add(total, items.len())?;
                continue;
            }
            if let Some((chunk, row)) =
                located.chunks.get(i + AHEAD_ROWS).zip(located.rows.get(i + AHEAD_ROWS))
            {
                prefetch(row_address(lanes.piece(table, column.index, *chunk as usize)?, *row));
            }
            let piece = lanes.piece(table, column.index, chunk)?;
            // SAFETY: `lane::measure` found the piece for the rows of its chunk, and `row` is one of them.
            let run = unsafe { run_of(piece, row) }.map_err(|error| {
                let message = format!("column '{}': {}", column.field.name(), error.message());
                let error = Error::malformed(message).at_byte(error.location().byte.unwrap_or(0));
                table.place(chunk, row, error)
            })?;
            match &mut valid {
                Some(valid) => valid[i] = run.is_some().into(),
                None if run.is_none() => {
                    return Err(table.place(chunk, row, undeclared_null(column, row)));
                }
                None => {}
            }
            let (address, len) = run.unwrap_or((std::ptr::null(), 0));
            prefetch(address);
            runs.push((address, len));
            total = add(total, len)?;
        }
        Ok(total)
    }

    /// As `gather`, for rows that lie one after another: their items are copied at once, or lent. `None`, whatever was
    /// written, where they do not, or where something is wrong with one of them.
    #[expect(clippy::too_many_arguments)] // As above.
    fn gather_run(
        &mut self,
        located: &Located,
        table: &Table,
        column: &PlannedColumn,
        lanes: &mut Lanes,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        place: &Place,
        num_rows: usize,
        items_end: &mut usize,
        lent: Option<&mut Option<Buffer>>,
    ) -> Result<Option<u64>> {
        let &Place::Runs { table: table_at, offsets: offsets_at, wide: wide_out, item_bytes, validity } =
            place
        else {
            unreachable!("called for columns of varying length")
        };
        let Some((chunk, first)) = located.run else { return Ok(None) };
        let piece = lanes.piece(table, column.index, chunk)?;
        let Values::Runs { offsets, wide, items, item_bytes: width, is_ascii } = &piece.values else {
            return Ok(None);
        };
        // Both are of the column's type; where they are not, or not as this machine has them, rows are gone through one by one.
        if *wide != wide_out || *width != item_bytes as u64 || cfg!(target_endian = "big") {
            return Ok(None);
        }
        let len = located.rows.len();
        let offset_bytes = if wide_out { 8 } else { 4 };
        let written = offsets_at..offsets_at + (num_rows + 1) * offset_bytes;
        let out = &mut slot.bytes()[written.clone()];
        // SAFETY: `lane::measure` found offsets for every row of the chunk, and one more; the run's rows are some of them. A
        // slot, which has room for those of `num_rows` rows, `len` at least, is no part of a region.
        unsafe {
            copy_bytes(offset_address(offsets, wide_out, first), out.as_mut_ptr(), (len + 1) * offset_bytes)
        };
        let found = if wide_out { rebase::<i64>(out, len) } else { rebase::<i32>(out, len) };
        let Some((start, end)) = found else { return Ok(None) };
        if end.checked_mul(*width).is_none_or(|bytes| bytes > items.len()) {
            return Ok(None);
        }
        if let Some(bits) = &piece.validity {
            // SAFETY: `lane::measure` found a bit for every row of the chunk, and the run's rows are some of them.
            unsafe { self.valid.copy(bits, first, len) };
            let Some(mask) = validity else { return Ok(None) };
            let slot = slot.bytes();
            for i in self.valid.nulls(len) {
                let [begin, end] =
                    [i, i + 1].map(|i| &slot[written.start + i * offset_bytes..][..offset_bytes]);
                if begin != end {
                    return Ok(None);
                }
                slot[mask + i] = 0;
            }
        }
        let total = ((end - start) * width) as usize;
        if total > isize::MAX as usize / 4 {
            return Ok(None);
        }
        let at = *items_end;
        let start_bytes = start * item_bytes as u64;
        let found = lent.as_ref().and_then(|_| lend_span(items, start_bytes, total as u64, item_bytes));
        // In the slot, nothing lies behind the offsets of a column that is lent.
        let copied = if found.is_some() { 0 } else { total };
        slot.reserve(at.checked_add(copied).ok_or_else(too_large)?)?;
        let slot = slot.bytes();
        if found.is_none() {
            let dst = &mut slot[at..at + total];
            let src = items.as_ptr().wrapping_add(start_bytes as usize);
            // SAFETY: the run was checked to lie within its items, which the dataset keeps mapped; the destination was just
            // cut to its length. A slot is no part of a region.
            unsafe { copy_bytes(src, dst.as_mut_ptr(), total) };
        }
        if column.kind == ColumnKind::Text && !is_ascii {
            let text = found.as_ref().map_or(&slot[at..at + copied], |lent| lent.as_slice());
            if !text.is_ascii() && !is_text(text, &slot[written], wide_out) {
                return Ok(None);
            }
        }
        write_table(slot, table_at, at, copied);
        if let Some(mask) = validity {
            slot[mask + len..mask + num_rows].fill(0);
        }
        *items_end = align_up(at + copied);
        if let Some(lent) = lent {
            *lent = found;
        }
        Ok(Some(total as u64))
    }
}

/// Says in the slot's table that items begin at `start` and are `total` bytes.
pub(super) fn write_table(slot: &mut [u8], table: usize, start: usize, total: usize) {
    slot[table..table + 8].copy_from_slice(&(start as u64).to_ne_bytes());
    slot[table + 8..table + 16].copy_from_slice(&(total as u64).to_ne_bytes());
}

/// Writes the offset of row `row` among those that begin at `offsets`.
#[inline]
pub(super) fn write_offset(slot: &mut [u8], offsets: usize, wide: bool, row: usize, items: usize) {
    if wide {
        slot[offsets + row * 8..][..8].copy_from_slice(&(items as i64).to_ne_bytes());
    } else {
        slot[offsets + row * 4..][..4].copy_from_slice(&(items as i32).to_ne_bytes());
    }
}

/// An offset as a slot has it.
trait Offset: bytemuck::Pod + Ord + std::ops::Sub<Output = Self> + TryInto<u64> {}

impl Offset for i32 {}
impl Offset for i64 {}

/// The offsets in `bytes`, a part of a slot.
fn offsets_in<O: Offset>(bytes: &[u8]) -> &[O] {
    bytemuck::cast_slice(bytes)
}

/// Whether `text` is UTF-8, and every one of `offsets` lies between two characters.
fn is_text(text: &[u8], offsets: &[u8], wide: bool) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if wide {
        offsets_in::<i64>(offsets).iter().all(|&offset| text.is_char_boundary(offset as usize))
    } else {
        offsets_in::<i32>(offsets).iter().all(|&offset| text.is_char_boundary(offset as usize))
    }
}

/// Makes the offsets of `len` rows at the front of `bytes`, and of the end of the last, begin with zero; whatever follows
/// them is made to equal the last. What the first and the last were; `None` if they are not in order.
fn rebase<O: Offset>(bytes: &mut [u8], len: usize) -> Option<(u64, u64)> {
    let offsets: &mut [O] = bytemuck::cast_slice_mut(bytes);
    let (rows, past) = offsets.split_at_mut(len + 1);
    // All of them, whatever is found: so that several are looked at in one step.
    let is_sorted = rows.windows(2).fold(true, |sorted, pair| sorted & (pair[0] <= pair[1]));
    let (start, end) = (rows[0], rows[len]);
    // The first is the least: if it is no negative number, none is.
    let found = (start.try_into().ok()?, end.try_into().ok()?);
    if !is_sorted {
        return None;
    }
    rows.iter_mut().for_each(|offset| *offset = *offset - start);
    past.fill(end - start);
    Some(found)
}

pub(super) fn too_large() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "the items of a batch exceed what its offsets can count: lower batch_size",
    )
}

/// `total` and `len` more bytes, as long as memory may hold them.
pub(super) fn add(total: usize, len: usize) -> Result<usize> {
    total.checked_add(len).filter(|&total| total <= isize::MAX as usize / 4).ok_or_else(too_large)
}

fn offset_address(offsets: &Span, wide: bool, row: u64) -> *const u8 {
    offsets.as_ptr().wrapping_add(row as usize * if wide { 8 } else { 4 })
}

/// Where it stands where row `row` of `piece` lies: an address to prefetch.
fn row_address(piece: &Piece, row: u64) -> *const u8 {
    match &piece.values {
        Values::Runs { offsets, wide, .. } => offset_address(offsets, *wide, row),
        Values::Extents { extents, .. } => extents.pairs().as_ptr().wrapping_add((row * PAIR_BYTES) as usize),
        _ => std::ptr::null(),
    }
}

/// Where the items of row `row` lie, and how many bytes they are; `None` for a null.
///
/// # Errors
///
/// `Malformed` if they do not lie where items can.
///
/// # Safety
///
/// The piece was measured for its rows (`lane::measure`), and `row` is one of them.
unsafe fn run_of(piece: &Piece, row: u64) -> Result<Option<(*const u8, usize)>> {
    // SAFETY: the caller's.
    let valid = unsafe { is_valid(piece, row) };
    match &piece.values {
        Values::Runs { offsets, wide, items, item_bytes, .. } => {
            // SAFETY: the caller's, for the piece's offsets.
            let (start, end) = unsafe { read_offsets(offsets, *wide, row) };
            let end_bytes =
                end.checked_mul(*item_bytes).filter(|&bytes| start <= end && bytes <= items.len());
            if end_bytes.is_none() {
                return Err(Error::malformed(format!(
                    "expected the items of row {row} of the chunk to lie within {}, found offsets {} and {}",
                    items.len() / item_bytes,
                    start as i64,
                    end as i64
                ))
                .at_byte(offsets.offset()));
            }
            let address = items.as_ptr().wrapping_add((start * item_bytes) as usize);
            Ok(valid.then_some((address, ((end - start) * item_bytes) as usize)))
        }
        Values::Extents { region, extents, item_bytes } => {
            let Some(Extent { start, len }) = extents.get(row)?.filter(|_| valid) else { return Ok(None) };
            let inside = start.checked_add(len).is_some_and(|end| end <= region.len_bytes());
            if !inside || !len.is_multiple_of(*item_bytes) {
                return Err(Error::malformed(format!(
                    "expected whole items of {item_bytes} bytes within the {} bytes of the file, found {len} bytes",
                    region.len_bytes()
                ))
                .at_byte(start));
            }
            Ok(Some((region.as_ptr().wrapping_add(start as usize), len as usize)))
        }
        _ => unreachable!("`lane::measure` and the column's kind agree"),
    }
}

/// The offsets of `row` and of the row after it; negative ones come out beyond any length.
///
/// # Safety
///
/// Both lie within the span.
unsafe fn read_offsets(offsets: &Span, wide: bool, row: u64) -> (u64, u64) {
    let at = offset_address(offsets, wide, row);
    // SAFETY: the caller's.
    unsafe {
        if wide {
            let pair = at.cast::<[u64; 2]>().read_unaligned();
            (u64::from_le(pair[0]), u64::from_le(pair[1]))
        } else {
            let pair = at.cast::<[i32; 2]>().read_unaligned();
            (i64::from(i32::from_le(pair[0])) as u64, i64::from(i32::from_le(pair[1])) as u64)
        }
    }
}

/// Whether each run of `text` is UTF-8; if not, the number of the first that is none.
fn check_text(text: &[u8], runs: &[(*const u8, usize)]) -> Result<(), (usize, std::str::Utf8Error)> {
    if text.is_ascii() {
        return Ok(());
    }
    let mut rest = text;
    for (i, &(_, len)) in runs.iter().enumerate() {
        let (row, after) = rest.split_at(len);
        std::str::from_utf8(row).map_err(|error| (i, error))?;
        rest = after;
    }
    Ok(())
}
