//! A batch on a device: as one run of bytes that was sent, or as what the device made of one.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::tensor::Shape;
use super::{Batch, BatchPlan};
use crate::error::{Error, Result};
use crate::layout::{ColumnKind, DType, Element, Place};
use crate::staging::Slot;
use crate::staging::cuda::At;

/// What lies where on a device; places in its buffer are offsets from their beginning.
pub(crate) struct BatchImage {
    /// What the columns are.
    plan: Arc<BatchPlan>,
    /// Where they lie, but for those that were moved: the same plan, if nothing is done to them on the device.
    laid_out: Arc<BatchPlan>,
    columns: Box<[ImageColumn]>,
    /// Bytes that are sent.
    pub(crate) len_bytes: usize,
    pub(crate) num_rows: usize,
    num_holes: usize,
    pub(crate) delivered_bytes: u64,
    pub(crate) epoch: u64,
    pub(crate) step: u64,
}

/// What of a column has to be read while the bytes are at hand.
#[derive(Default)]
struct ImageColumn {
    null_row: Option<usize>,
    /// The items of a column of varying row length.
    items: Range<usize>,
    /// Where the values of a column of one row length lie, if not where they were laid out.
    moved: Option<At>,
}

/// Where a column of one row length lies.
pub(crate) struct DenseImage {
    pub(crate) values: At,
    pub(crate) shape: Shape,
    pub(crate) validity: Option<usize>,
}

/// Where the offsets of rows of varying length lie.
pub(crate) struct OffsetsImage {
    pub(crate) offsets: usize,
    /// Whether they are 64-bit, else 32-bit.
    pub(crate) wide: bool,
}

/// Where the items of a column of varying row length lie.
pub(crate) struct RunsImage {
    pub(crate) items: usize,
    pub(crate) num_items: usize,
    pub(crate) validity: Option<usize>,
}

impl Batch {
    /// The slot of the batch, which holds all of it, and what lies where in it.
    pub(crate) fn into_image(self) -> (Slot<Arc<BatchPlan>>, BatchImage) {
        assert!(self.lent.is_none(), "slots that are sent lend nothing");
        let plan = self.slot.context().clone();
        let mut len_bytes = plan.layout.fixed_bytes;
        let columns = (0..plan.num_columns()).map(|number| {
            let null_row = self.validity(number).and_then(|validity| self.null_row(validity));
            let items = match plan.layout.places[number] {
                Place::Dense { .. } => 0..0,
                Place::Runs { .. } => self.runs(number).2,
            };
            len_bytes = len_bytes.max(items.end);
            ImageColumn { null_row, items, moved: None }
        });
        let columns = columns.collect();
        let image = BatchImage {
            columns,
            len_bytes,
            num_rows: self.num_rows,
            num_holes: self.num_holes,
            delivered_bytes: self.delivered_bytes,
            epoch: self.epoch,
            step: self.step,
            laid_out: plan.clone(),
            plan,
        };
        (self.slot, image)
    }
}

impl BatchImage {
    /// The batch once the device has made those columns that `moved` says of what was laid out.
    pub(crate) fn converted(
        mut self,
        plan: &Arc<BatchPlan>,
        moved: impl Iterator<Item = Option<At>>,
    ) -> Self {
        for (number, (column, moved)) in self.columns.iter_mut().zip(moved).enumerate() {
            if moved.is_some() {
                let bytes = |plan: &BatchPlan| (plan.row_bytes(number) * self.num_rows) as u64;
                self.delivered_bytes = self.delivered_bytes + bytes(plan) - bytes(&self.laid_out);
                column.moved = moved;
            }
        }
        BatchImage { plan: plan.clone(), ..self }
    }

    /// Of a batch of row numbers: the batch once the device has laid out the columns of these rows, but for those that `moved`
    /// says to lie elsewhere.
    pub(crate) fn gathered(
        self,
        plan: &Arc<BatchPlan>,
        moved: impl Iterator<Item = Option<At>>,
        len_bytes: usize,
    ) -> Self {
        let columns: Box<[_]> = moved.map(|moved| ImageColumn { moved, ..ImageColumn::default() }).collect();
        let bytes: usize = (0..columns.len()).map(|number| plan.row_bytes(number) * self.num_rows).sum();
        let delivered_bytes = bytes as u64;
        BatchImage { plan: plan.clone(), laid_out: plan.clone(), columns, len_bytes, delivered_bytes, ..self }
    }

    /// The first column that holds a null which is none in the batch, and the row.
    pub(crate) fn null(&self) -> Option<(&str, usize)> {
        let mut columns = self.plan.columns.iter().zip(&self.columns);
        columns.find_map(|(column, image)| Some((column.field.name().as_str(), image.null_row?)))
    }

    /// Rows in each tensor, padding included.
    pub(crate) fn len(&self) -> usize {
        self.laid_out.layout.rows_laid_out(self.num_rows + self.num_holes)
    }

    pub(crate) fn mask(&self) -> Option<usize> {
        self.laid_out.layout.row_mask
    }

    pub(crate) fn sources(&self) -> Option<usize> {
        self.laid_out.layout.sources
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &ColumnKind)> {
        (0..self.plan.num_columns()).map(|number| (self.plan.name(number), self.plan.kind(number)))
    }

    /// The column `name`, which may hold nulls if `nulls` says so.
    pub(crate) fn tensor<T: Element>(&self, name: &str, nulls: bool) -> Result<DenseImage> {
        let (number, _) = self.plan.tensor_column::<T>(name)?;
        let is_padded = self.plan.pad(number).is_some();
        // A column that is filled on the device has none.
        let may_be_null = self.plan.layout.places[number].validity().is_some();
        if let Some(row) = self.columns[number].null_row.filter(|_| may_be_null && !nulls && !is_padded) {
            return Err(Error::mismatch(format!(
                "column '{name}' is null in row {row} of the batch: read it with tensor_with_validity, or give \
                 col(\"{name}\").fill(…)"
            )));
        }
        let items = &self.columns[number].items;
        let laid_out = || match self.laid_out.layout.places[number] {
            Place::Dense { values, .. } => At::Buffer(values),
            Place::Runs { .. } => At::Buffer(items.start),
        };
        let values = self.columns[number].moved.unwrap_or_else(laid_out);
        let shape = self.plan.shape(number, self.len(), || items.len() / size_of::<T>())?;
        let validity = self.laid_out.layout.places[number].validity().filter(|_| may_be_null);
        Ok(DenseImage { values, shape, validity })
    }

    /// The column `name`, its rows of varying length.
    pub(crate) fn ragged<T: Element>(&self, name: &str) -> Result<RunsImage> {
        let number = self.plan.column_number(name)?;
        let dtype = match *self.plan.kind(number) {
            _ if self.plan.pad(number).is_some() => {
                return Err(self.plan.wrong_view(number, "rows as they were"));
            }
            ColumnKind::Ragged { dtype } => dtype,
            ColumnKind::Bytes | ColumnKind::Text => DType::U8,
            _ => return Err(self.plan.wrong_view(number, "rows of varying length")),
        };
        if !T::views(dtype) {
            return Err(self.plan.wrong_view(number, T::DTYPE.name()));
        }
        let validity = self.laid_out.layout.places[number].validity();
        let items = &self.columns[number].items;
        Ok(RunsImage { items: items.start, num_items: items.len() / size_of::<T>(), validity })
    }

    /// Where the offsets of the rows of the column `name` lie, whose rows are of varying length, padded or not.
    pub(crate) fn offsets(&self, name: &str) -> Result<OffsetsImage> {
        let number = self.plan.column_number(name)?;
        match self.laid_out.layout.places[number] {
            Place::Runs { offsets, wide, .. } => Ok(OffsetsImage { offsets, wide }),
            Place::Dense { .. } => Err(self.plan.wrong_view(number, "rows of varying length")),
        }
    }
}

impl BatchPlan {
    /// Bytes of a row of a column of one row length, else 0.
    pub(crate) fn row_bytes(&self, number: usize) -> usize {
        match self.layout.places[number] {
            Place::Dense { row_bytes, .. } => row_bytes,
            Place::Runs { .. } => 0,
        }
    }
}
