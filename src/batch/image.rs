//! A batch as one run of bytes, to be sent elsewhere.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::tensor::Shape;
use super::{Batch, BatchPlan};
use crate::error::{Error, Result};
use crate::layout::{ColumnKind, DType, Element, Place};
use crate::staging::Slot;

/// What lies where in the bytes of a batch; offsets from their beginning.
pub(crate) struct BatchImage {
    plan: Arc<BatchPlan>,
    columns: Box<[ImageColumn]>,
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
}

/// Where a column of one row length lies.
pub(crate) struct DenseImage {
    pub(crate) values: usize,
    pub(crate) shape: Shape,
    pub(crate) validity: Option<usize>,
}

/// Where a column of varying row length lies.
pub(crate) struct RunsImage {
    pub(crate) offsets: usize,
    /// Whether offsets are 64-bit, else 32-bit.
    pub(crate) wide: bool,
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
            ImageColumn { null_row, items }
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
            plan,
        };
        (self.slot, image)
    }
}

impl BatchImage {
    /// Rows in each tensor, padding included.
    pub(crate) fn len(&self) -> usize {
        self.plan.layout.rows_laid_out(self.num_rows + self.num_holes)
    }

    pub(crate) fn mask(&self) -> Option<usize> {
        self.plan.layout.row_mask
    }

    pub(crate) fn sources(&self) -> Option<usize> {
        self.plan.layout.sources
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &ColumnKind)> {
        (0..self.plan.num_columns()).map(|number| (self.plan.name(number), self.plan.kind(number)))
    }

    /// The column `name`, which may hold nulls if `nulls` says so.
    pub(crate) fn tensor<T: Element>(&self, name: &str, nulls: bool) -> Result<DenseImage> {
        let (number, _) = self.plan.tensor_column::<T>(name)?;
        let is_padded = self.plan.pad(number).is_some();
        if let Some(row) = self.columns[number].null_row.filter(|_| !nulls && !is_padded) {
            return Err(Error::mismatch(format!(
                "column '{name}' is null in row {row} of the batch: read it with tensor_with_validity, or give \
                 col(\"{name}\").fill(…)"
            )));
        }
        let items = &self.columns[number].items;
        let values = match self.plan.layout.places[number] {
            Place::Dense { values, .. } => values,
            Place::Runs { .. } => items.start,
        };
        let shape = self.plan.shape(number, self.len(), || items.len() / size_of::<T>())?;
        Ok(DenseImage { values, shape, validity: self.plan.layout.places[number].validity() })
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
        let Place::Runs { offsets, wide, validity, .. } = self.plan.layout.places[number] else {
            unreachable!("the column's kind and its place agree")
        };
        let items = &self.columns[number].items;
        Ok(RunsImage { offsets, wide, items: items.start, num_items: items.len() / size_of::<T>(), validity })
    }
}
