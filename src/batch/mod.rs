//! Batches: rows gathered into a slot, and typed views of them.
//!
//! A [`Batch`] is what the trainer gets. Its columns lie in one slot, or, where a run of rows may be lent, in the
//! dataset's own memory. [`Batch::tensor`] views a column as a slice and a shape; [`Batch::record_batch`] makes an
//! Arrow table of all of them that shares the memory.
//!
//! Deliberately absent: threads and orders. Which rows a batch has is decided in `loader/`.

mod arrow_view;
mod bad;
mod col;
mod documents;
mod gather;
#[cfg(feature = "cuda")]
mod image;
mod make;
mod map_rows;
mod output;
mod pad;
mod plan;
mod rows;
mod scan;
mod select;
mod stack;
mod table;
mod tensor;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;

use crate::error::{Error, Result};
use crate::layout::{ColumnKind, DType, Element, Place};
use crate::sampler::RowRng;
use crate::staging::{Slot, SlotMut};

pub(crate) use arrow_view::{dense, primitive, refused};
pub use bad::{BadRecord, OnBadRecord};
pub use col::{Col, col};
pub(crate) use documents::{DocumentReader, Documents, Windows};
pub(crate) use gather::RowSource;
#[cfg(feature = "cuda")]
pub(crate) use image::{BatchImage, DenseImage, OffsetsImage};
pub(crate) use make::{BatchMaker, BatchPool, MapBatch, Turn};
pub(crate) use map_rows::AskedRows;
pub use map_rows::{Row, RowWriter};
pub use output::Output;
pub use pad::Pad;
#[cfg(feature = "cuda")]
pub(crate) use plan::PlannedColumn;
pub(crate) use plan::{BatchPlan, check_decode_budget};
pub(crate) use rows::RowReader;
pub(crate) use stack::{stack, stack_field};
pub use table::TensorColumns;
pub(crate) use tensor::Shape;
pub use tensor::{Ragged, RaggedText, Tensor, TensorMut};

/// Some rows of a dataset, ready for the trainer.
///
/// The memory goes back to its loader when the batch, and every Arrow array made from it, is dropped.
pub struct Batch {
    slot: Slot<Arc<BatchPlan>>,
    /// Columns whose values or items lie in the dataset's memory rather than in the slot; `None` where
    /// all are in the slot. Outputs always are, and not counted.
    lent: Option<Box<[Option<Buffer>]>>,
    num_rows: usize,
    /// Rows, all before the padding, that were left out.
    num_holes: usize,
    copied_bytes: u64,
    delivered_bytes: u64,
    epoch: u64,
    step: u64,
}

impl Batch {
    fn plan(&self) -> &BatchPlan {
        self.slot.context()
    }

    /// Rows of the dataset in the batch; padding is not counted, nor are rows that were left out
    /// ([`OnBadRecord::Skip`]).
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Rows in each tensor, padding included: the first dimension of every shape.
    pub fn len(&self) -> usize {
        self.plan().layout.rows_laid_out(self.num_rows + self.num_holes)
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The epoch the batch belongs to, counted from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The batch's number in its epoch, counted from 0.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Bytes of values the CPU wrote to make the batch; less than [`delivered_bytes`](Batch::delivered_bytes) where
    /// columns are lent.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Bytes of values in the batch: those of its rows in every column, masks and offsets left out.
    pub fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes
    }

    /// With [`Remainder::Pad`](crate::Remainder::Pad): one byte a row, 1 for a row of the dataset and 0 for padding, and for a
    /// row that was left out ([`OnBadRecord::Skip`]).
    pub fn mask(&self) -> Option<&[u8]> {
        let mask = self.plan().layout.row_mask?;
        Some(&self.slot.bytes()[mask..mask + self.len()])
    }

    /// Of a mixture ([`Loader::mixture`](crate::Loader::mixture)): for each row, the number of the component it is of, as
    /// [`Mixture::names`](crate::Mixture::names) counts them; of padding, 0.
    pub fn sources(&self) -> Option<&[u32]> {
        let sources = self.plan().layout.sources?;
        let bytes = &self.slot.bytes()[sources..sources + 4 * self.len()];
        Some(bytemuck::try_cast_slice(bytes).expect("what lies in a slot begins at a cache line"))
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.plan().schema.fields().iter().map(|field| field.name().as_str())
    }

    /// The column `name` as a slice of `T` and its shape, the batch's rows first.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the batch has no such column, it is no tensor, or its elements are not `T`s; `Mismatch` if a
    /// row of it is null: read those with [`tensor_with_validity`](Batch::tensor_with_validity), or
    /// [`fill`](Col::fill) them.
    pub fn tensor<T: Element>(&self, name: &str) -> Result<Tensor<'_, T>> {
        let (tensor, validity) = self.tensor_with_validity(name)?;
        let is_padded = self.plan().pad(self.plan().column_number(name)?).is_some();
        if let Some(row) = validity.filter(|_| !is_padded).and_then(|validity| self.null_row(validity)) {
            return Err(Error::mismatch(format!(
                "column '{name}' is null in row {row} of the batch: read it with tensor_with_validity, or give \
                 col(\"{name}\").fill(…)"
            )));
        }
        Ok(tensor)
    }

    /// As [`tensor`](Batch::tensor), with one byte a row, 1 for a value and 0 for a null, whose elements are zero.
    /// Without it (`None`) no row can be null.
    pub fn tensor_with_validity<T: Element>(&self, name: &str) -> Result<(Tensor<'_, T>, Option<&[u8]>)> {
        let (number, dtype) = self.plan().tensor_column::<T>(name)?;
        let values = bytemuck::try_cast_slice(self.dense_bytes(number))
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        let shape = self.plan().shape(number, self.len(), || values.len())?;
        Ok((Tensor::new(values, shape), self.validity(number)))
    }

    /// The column `name`, its rows slices of `T` of any length: a ragged list, or bytes (as `u8`).
    pub fn ragged<T: Element>(&self, name: &str) -> Result<Ragged<'_, T>> {
        let number = self.plan().column_number(name)?;
        let dtype = match *self.plan().kind(number) {
            _ if self.plan().pad(number).is_some() => {
                return Err(self.plan().wrong_view(number, "rows as they were"));
            }
            ColumnKind::Ragged { dtype } => dtype,
            ColumnKind::Bytes | ColumnKind::Text => DType::U8,
            _ => return Err(self.plan().wrong_view(number, "rows of varying length")),
        };
        if !T::views(dtype) {
            return Err(self.plan().wrong_view(number, T::DTYPE.name()));
        }
        let (offsets, wide, items) = self.runs(number);
        let items = self.lent(number).map_or(&self.slot.bytes()[items], |lent| lent.as_slice());
        let items = bytemuck::try_cast_slice(items)
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        Ok(Ragged::new(&self.slot.bytes()[offsets], wide, items, self.validity(number)))
    }

    /// How many items each row of the column `name` has, whose rows are of varying length, padded or not; none where it is null,
    /// or padding.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the batch has no such column, or its rows are of one length.
    pub fn lengths(&self, name: &str) -> Result<Vec<usize>> {
        let number = self.plan().column_number(name)?;
        let Place::Runs { .. } = self.plan().layout.places[number] else {
            return Err(self.plan().wrong_view(number, "rows of varying length"));
        };
        let (offsets, wide, _) = self.runs(number);
        let offsets = Ragged::<u8>::new(&self.slot.bytes()[offsets], wide, &[], None);
        Ok((0..self.len()).map(|row| offsets.offset(row + 1) - offsets.offset(row)).collect())
    }

    /// Which elements of the column `name`, which is [padded](Col::pad), are items of a row: one byte each, 1 for an item and 0
    /// for padding, in the shape of the tensor.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the batch has no such column, or it is not padded.
    pub fn item_mask(&self, name: &str) -> Result<Vec<u8>> {
        let number = self.plan().column_number(name)?;
        if self.plan().pad(number).is_none() {
            return Err(self.plan().wrong_view(number, "padded"));
        }
        let Some(row_bytes) = self.dense_bytes(number).len().checked_div(self.len()) else {
            return Ok(Vec::new());
        };
        let padded_len = row_bytes / self.plan().item_bytes(number);
        let mut mask = vec![0; self.len() * padded_len];
        for (row, len) in self.lengths(name)?.into_iter().enumerate() {
            mask[row * padded_len..][..len].fill(1);
        }
        Ok(mask)
    }

    /// The column `name`, its rows text.
    pub fn text(&self, name: &str) -> Result<RaggedText<'_>> {
        let number = self.plan().column_number(name)?;
        if *self.plan().kind(number) != ColumnKind::Text {
            return Err(self.plan().wrong_view(number, "text"));
        }
        Ok(RaggedText(self.ragged::<u8>(name)?))
    }

    /// The bytes of a column of one row length, by nature or padded.
    fn dense_bytes(&self, number: usize) -> &[u8] {
        if let Some(lent) = self.lent(number) {
            return lent;
        }
        &self.slot.bytes()[self.plan().dense_range(number, self.len(), self.slot.bytes())]
    }

    /// The values, or the items, of a column that is lent.
    fn lent(&self, number: usize) -> Option<&Buffer> {
        self.lent.as_ref()?.get(number)?.as_ref()
    }

    /// The first row of the dataset that `validity` says is null.
    fn null_row(&self, validity: &[u8]) -> Option<usize> {
        let mask = self.mask();
        let mut rows = validity.iter().take(self.num_rows + self.num_holes).enumerate();
        rows.position(|(row, &valid)| valid == 0 && mask.is_none_or(|mask| mask[row] == 1))
    }

    fn validity(&self, number: usize) -> Option<&[u8]> {
        let mask = self.plan().layout.places[number].validity()?;
        Some(&self.slot.bytes()[mask..mask + self.len()])
    }

    /// Where the offsets and items of a column of varying row length lie in the slot; its items only if it is not lent.
    fn runs(&self, number: usize) -> (Range<usize>, bool, Range<usize>) {
        let Place::Runs { table, offsets, wide, .. } = self.plan().layout.places[number] else {
            unreachable!("the column's kind and its place agree")
        };
        let offset_bytes = (self.len() + 1) * if wide { 8 } else { 4 };
        (offsets..offsets + offset_bytes, wide, items_range(self.slot.bytes(), table))
    }
}

/// Where the items lie of a column of varying row length, by its entry in the slot's table.
fn items_range(slot: &[u8], table: usize) -> Range<usize> {
    let word = |at: usize| {
        let bytes = slot[at..at + 8].try_into().expect("8 bytes");
        u64::from_ne_bytes(bytes) as usize
    };
    word(table)..word(table) + word(table + 8)
}

impl BatchPlan {
    fn column_number(&self, name: &str) -> Result<usize> {
        let fields = self.schema.fields();
        fields.iter().position(|field| field.name() == name).ok_or_else(|| {
            let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
            Error::invalid(format!("no column is called '{name}': the batch has {}", names.join(", ")))
        })
    }

    fn tensor_column<T: Element>(&self, name: &str) -> Result<(usize, DType)> {
        let number = self.column_number(name)?;
        let dtype = match self.kind(number) {
            ColumnKind::Tensor { dtype, .. } => Some(*dtype),
            ColumnKind::Ragged { dtype } if self.pad(number).is_some() => Some(*dtype),
            ColumnKind::Bytes if self.pad(number).is_some() => Some(DType::U8),
            _ => None,
        };
        let dtype = dtype.filter(|&dtype| T::views(dtype));
        dtype.map(|dtype| (number, dtype)).ok_or_else(|| self.wrong_view(number, T::DTYPE.name()))
    }

    /// The shape of `rows` rows of the tensor `number`; `len` says how many elements they have.
    fn shape(&self, number: usize, rows: usize, len: impl Fn() -> usize) -> Result<Shape> {
        match self.kind(number) {
            ColumnKind::Tensor { shape, .. } => Shape::new(rows, shape),
            _ => {
                let fixed = self.pad(number).and_then(|pad| pad.fixed).unwrap_or(0);
                Shape::new(rows, &[len().checked_div(rows).unwrap_or(fixed)])
            }
        }
    }

    /// Bytes of an item of column `number`, whose rows are of varying length.
    fn item_bytes(&self, number: usize) -> usize {
        match self.layout.places[number] {
            Place::Runs { item_bytes, .. } => item_bytes,
            Place::Dense { .. } => unreachable!("called for columns of varying row length"),
        }
    }

    /// Where the first `rows` rows of the tensor `number` lie in a `slot`.
    fn dense_range(&self, number: usize, rows: usize, slot: &[u8]) -> Range<usize> {
        match self.layout.places[number] {
            Place::Dense { values, row_bytes, .. } => values..values + rows * row_bytes,
            // Padded: of the rows laid out, which are all that lie there.
            Place::Runs { table, .. } => items_range(slot, table),
        }
    }

    fn wrong_view(&self, number: usize, asked: &str) -> Error {
        let padded = if self.pad(number).is_some() { ", padded" } else { "" };
        Error::invalid(format!(
            "column '{}' is {}{padded}, not {asked}",
            self.name(number),
            self.kind(number)
        ))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Batch");
        debug.field("epoch", &self.epoch).field("step", &self.step).field("num_rows", &self.num_rows);
        for number in 0..self.plan().num_columns() {
            debug.field(self.plan().name(number), &format_args!("{}", self.plan().kind(number)));
        }
        debug.finish()
    }
}

/// A batch that is being made, in the hands of a function given to
/// [`map_batch`](crate::LoaderBuilder::map_batch).
pub struct BatchMut<'a> {
    plan: &'a BatchPlan,
    slot: &'a mut SlotMut<Arc<BatchPlan>>,
    num_rows: usize,
    rows: &'a [u64],
    holes: &'a [usize],
    turn: Turn,
}

impl BatchMut<'_> {
    /// Rows of the dataset in the batch, [holes](Self::is_hole) included.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Whether row `row` was left out, and its place is empty ([`OnBadRecord::Skip`] under
    /// [`Remainder::Pad`](crate::Remainder::Pad)).
    pub fn is_hole(&self, row: usize) -> bool {
        self.holes.binary_search(&row).is_ok()
    }

    /// The numbers that the batch's rows have in the dataset.
    pub fn rows(&self) -> &[u64] {
        self.rows
    }

    /// The epoch the batch belongs to, counted from 0.
    pub fn epoch(&self) -> u64 {
        self.turn.epoch
    }

    /// The batch's number in its epoch, counted from 0.
    pub fn step(&self) -> u64 {
        self.turn.step
    }

    /// A generator of random numbers for row `row` of the batch, as [`Row::rng`] gives.
    ///
    /// # Panics
    ///
    /// If the batch has no such row.
    pub fn row_rng(&self, row: usize) -> RowRng {
        RowRng::new(self.turn.seed, self.turn.epoch, self.rows[row])
    }

    /// The tensor `name` to change in place; padding is left out.
    ///
    /// # Errors
    ///
    /// As [`Batch::tensor`], but for nulls, whose elements are zero.
    pub fn tensor_mut<T: Element>(&mut self, name: &str) -> Result<TensorMut<'_, T>> {
        let (number, dtype) = self.plan.tensor_column::<T>(name)?;
        let mut range = self.plan.dense_range(number, self.num_rows, self.slot.bytes());
        if self.plan.pad(number).is_some() {
            let row_bytes = range.len().checked_div(self.plan.layout.rows_laid_out(self.num_rows));
            range.end = range.start + row_bytes.unwrap_or(0) * self.num_rows;
        }
        let values: &mut [T] = bytemuck::try_cast_slice_mut(&mut self.slot.bytes()[range])
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        let shape = self.plan.shape(number, self.num_rows, || values.len())?;
        Ok(TensorMut::new(values, shape))
    }
}

impl fmt::Debug for BatchMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchMut").field("num_rows", &self.num_rows).finish_non_exhaustive()
    }
}
