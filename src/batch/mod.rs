//! Batches: rows gathered into a slot, and typed views of them.
//!
//! A [`Batch`] is what the trainer gets. Its columns lie in one slot, or, where a run of rows may be lent, in the
//! dataset's own memory. [`Batch::tensor`] views a column as a slice and a shape; [`Batch::record_batch`] makes an
//! Arrow table of all of them that shares the memory.
//!
//! Deliberately absent: threads and orders. Which rows a batch has is decided in `loader/`.

mod arrow_view;
mod col;
mod gather;
#[cfg(feature = "cuda")]
mod image;
mod plan;
mod rows;
mod stack;
mod table;
mod tensor;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;

use crate::error::{Error, Result};
use crate::layout::{ColumnKind, DType, Element, Place};
use crate::sampler::Audit;
use crate::staging::{Slot, SlotMut, SlotPool};

pub(crate) use arrow_view::{dense, primitive, refused};
pub use col::{Col, col};
pub(crate) use gather::{Gatherer, RowSource};
#[cfg(feature = "cuda")]
pub(crate) use image::{BatchImage, DenseImage};
#[cfg(feature = "cuda")]
pub(crate) use plan::PlannedColumn;
pub(crate) use plan::{BatchPlan, check_decode_budget};
pub(crate) use rows::RowReader;
pub(crate) use stack::{stack, stack_field};
pub use table::TensorColumns;
#[cfg(feature = "cuda")]
pub(crate) use tensor::Shape;
pub use tensor::{Ragged, RaggedText, Tensor, TensorMut};

/// Some rows of a dataset, ready for the trainer.
///
/// The memory goes back to its loader when the batch, and every Arrow array made from it, is dropped.
pub struct Batch {
    slot: Slot<Arc<BatchPlan>>,
    /// Columns whose values or items lie in the dataset's memory rather than in the slot; `None` where all are in the slot.
    lent: Option<Box<[Option<Buffer>]>>,
    num_rows: usize,
    copied_bytes: u64,
    delivered_bytes: u64,
    epoch: u64,
    step: u64,
}

/// A batch's place in the sequence of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) epoch: u64,
    pub(crate) step: u64,
}

/// The slots of batches of one plan.
pub(crate) type BatchPool = SlotPool<Arc<BatchPlan>>;

/// A function of the user's that changes batches where they are made.
pub(crate) type MapBatch = Arc<dyn Fn(&mut BatchMut<'_>) -> Result<()> + Send + Sync>;

impl Batch {
    /// Makes the batch of `rows` with `gatherer`, in a slot of a pool, for one of its writers; and the audit of its rows.
    pub(crate) fn gather(
        gatherer: &mut Gatherer,
        (pool, writer): (&BatchPool, usize),
        rows: &RowSource<'_>,
        turn: Turn,
        map: Option<&MapBatch>,
        lent: &mut Vec<Option<Buffer>>,
    ) -> Result<(Batch, Audit)> {
        let mut slot = pool.take(writer, gatherer.plan().layout.fixed_bytes)?;
        let gathered = gatherer.gather(rows, &mut slot, lent, map.is_none() && pool.memory().may_lend())?;
        if let Some(map) = map {
            map(&mut BatchMut { plan: gatherer.plan(), slot: &mut slot, num_rows: gathered.num_rows })?;
        }
        let lent = lent.iter().any(Option::is_some).then(|| std::mem::take(lent).into_boxed_slice());
        let batch = Batch {
            slot: slot.freeze(),
            lent,
            num_rows: gathered.num_rows,
            copied_bytes: gathered.copied_bytes,
            delivered_bytes: gathered.delivered_bytes,
            epoch: turn.epoch,
            step: turn.step,
        };
        Ok((batch, gathered.audit))
    }

    fn plan(&self) -> &BatchPlan {
        self.slot.context()
    }

    /// Rows of the dataset in the batch; padding is not counted.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Rows in each tensor, padding included: the first dimension of every shape.
    pub fn len(&self) -> usize {
        if self.plan().layout.row_mask.is_some() { self.plan().layout.batch_size } else { self.num_rows }
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

    /// With [`Remainder::Pad`](crate::Remainder::Pad): one byte a row, 1 for a row of the dataset and 0 for padding.
    pub fn mask(&self) -> Option<&[u8]> {
        let mask = self.plan().layout.row_mask?;
        Some(&self.slot.bytes()[mask..mask + self.len()])
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.plan().columns.iter().map(|column| column.field.name().as_str())
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
        if let Some(row) =
            validity.and_then(|validity| validity[..self.num_rows].iter().position(|&valid| valid == 0))
        {
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
        let (number, dtype, shape) = self.plan().tensor_column::<T>(name)?;
        let values = bytemuck::try_cast_slice(self.dense_bytes(number))
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        Ok((Tensor::new(values, self.len(), shape)?, self.validity(number)))
    }

    /// The column `name`, its rows slices of `T` of any length: a ragged list, or bytes (as `u8`).
    pub fn ragged<T: Element>(&self, name: &str) -> Result<Ragged<'_, T>> {
        let number = self.plan().column_number(name)?;
        let dtype = match self.plan().columns[number].kind {
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

    /// The column `name`, its rows text.
    pub fn text(&self, name: &str) -> Result<RaggedText<'_>> {
        let number = self.plan().column_number(name)?;
        if self.plan().columns[number].kind != ColumnKind::Text {
            return Err(self.plan().wrong_view(number, "text"));
        }
        Ok(RaggedText(self.ragged::<u8>(name)?))
    }

    /// The bytes of a column of one row length.
    fn dense_bytes(&self, number: usize) -> &[u8] {
        if let Some(lent) = self.lent(number) {
            return lent;
        }
        &self.slot.bytes()[self.plan().dense_range(number, self.len())]
    }

    /// The values, or the items, of a column that is lent.
    fn lent(&self, number: usize) -> Option<&Buffer> {
        self.lent.as_ref()?[number].as_ref()
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
        let word = |at: usize| {
            let bytes = self.slot.bytes()[at..at + 8].try_into().expect("8 bytes");
            u64::from_ne_bytes(bytes) as usize
        };
        let (start, len) = (word(table), word(table + 8));
        let offset_bytes = (self.len() + 1) * if wide { 8 } else { 4 };
        (offsets..offsets + offset_bytes, wide, start..start + len)
    }
}

impl BatchPlan {
    fn column_number(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column.field.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.columns.iter().map(|column| column.field.name().as_str()).collect();
            Error::invalid(format!("no column is called '{name}': the batch has {}", names.join(", ")))
        })
    }

    fn tensor_column<T: Element>(&self, name: &str) -> Result<(usize, DType, &[usize])> {
        let number = self.column_number(name)?;
        match &self.columns[number].kind {
            ColumnKind::Tensor { dtype, shape } if T::views(*dtype) => Ok((number, *dtype, shape)),
            _ => Err(self.wrong_view(number, T::DTYPE.name())),
        }
    }

    fn dense_range(&self, number: usize, rows: usize) -> Range<usize> {
        match self.layout.places[number] {
            Place::Dense { values, row_bytes, .. } => values..values + rows * row_bytes,
            Place::Runs { .. } => unreachable!("the column's kind and its place agree"),
        }
    }

    fn wrong_view(&self, number: usize, asked: &str) -> Error {
        let column = &self.columns[number];
        Error::invalid(format!("column '{}' is {}, not {asked}", column.field.name(), column.kind))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Batch");
        debug.field("epoch", &self.epoch).field("step", &self.step).field("num_rows", &self.num_rows);
        for column in &self.plan().columns {
            debug.field(column.field.name(), &format_args!("{}", column.kind));
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
}

impl BatchMut<'_> {
    /// Rows of the dataset in the batch.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// The tensor `name` to change in place; padding is left out.
    ///
    /// # Errors
    ///
    /// As [`Batch::tensor`], but for nulls, whose elements are zero.
    pub fn tensor_mut<T: Element>(&mut self, name: &str) -> Result<TensorMut<'_, T>> {
        let (number, dtype, shape) = self.plan.tensor_column::<T>(name)?;
        let range = self.plan.dense_range(number, self.num_rows);
        let values = bytemuck::try_cast_slice_mut(&mut self.slot.bytes()[range])
            .map_err(|e| Error::mismatch(format!("column '{name}' cannot be viewed as {dtype}: {e}")))?;
        TensorMut::new(values, self.num_rows, shape)
    }
}

impl fmt::Debug for BatchMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchMut").field("num_rows", &self.num_rows).finish_non_exhaustive()
    }
}
