//! Typed views of a batch's columns.
#![forbid(unsafe_code)]

use std::fmt;

use crate::error::{Error, Result};
use crate::layout::Element;

/// The most dimensions a tensor can have, the batch's rows included.
const MAX_DIMENSIONS: usize = 9;

/// The dimensions of a tensor, rows first.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    dims: [usize; MAX_DIMENSIONS],
    len: usize,
}

impl Shape {
    pub(crate) fn new(rows: usize, row: &[usize]) -> Result<Self> {
        let mut dims = [0; MAX_DIMENSIONS];
        let len = row.len() + 1;
        if len > MAX_DIMENSIONS {
            return Err(Error::unsupported(format!(
                "expected at most {} dimensions a row, found {}",
                MAX_DIMENSIONS - 1,
                row.len()
            )));
        }
        dims[0] = rows;
        dims[1..len].copy_from_slice(row);
        Ok(Shape { dims, len })
    }

    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims[..self.len]
    }

    fn row_len(&self) -> usize {
        self.dims[1..self.len].iter().product()
    }
}

/// A column whose rows have one shape: its elements in C order, rows first.
#[derive(Clone, Copy)]
pub struct Tensor<'a, T> {
    values: &'a [T],
    shape: Shape,
}

impl<'a, T: Element> Tensor<'a, T> {
    pub(super) fn new(values: &'a [T], shape: Shape) -> Self {
        Tensor { values, shape }
    }

    /// Every element.
    pub fn as_slice(&self) -> &'a [T] {
        self.values
    }

    /// The shape, the number of rows first.
    pub fn shape(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The elements of row `row`.
    ///
    /// # Panics
    ///
    /// If the batch has no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        let len = self.shape.row_len();
        &self.values[row * len..(row + 1) * len]
    }
}

impl<T: Element> fmt::Debug for Tensor<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}>{:?}", T::DTYPE, self.shape())
    }
}

/// A tensor of a batch that is being made.
pub struct TensorMut<'a, T> {
    values: &'a mut [T],
    shape: Shape,
}

impl<'a, T: Element> TensorMut<'a, T> {
    pub(super) fn new(values: &'a mut [T], shape: Shape) -> Self {
        TensorMut { values, shape }
    }

    /// Every element, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.values
    }

    /// Every element.
    pub fn as_slice(&self) -> &[T] {
        self.values
    }

    /// The shape, the number of rows first.
    pub fn shape(&self) -> &[usize] {
        self.shape.dims()
    }
}

impl<T: Element> fmt::Debug for TensorMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorMut<{}>{:?}", T::DTYPE, self.shape())
    }
}

/// A column whose rows differ in length.
#[derive(Clone, Copy)]
pub struct Ragged<'a, T> {
    offsets: Offsets<'a>,
    items: &'a [T],
    validity: Option<&'a [u8]>,
}

/// Offsets as the slot holds them: 4 or 8 bytes, native.
#[derive(Clone, Copy)]
enum Offsets<'a> {
    Narrow(&'a [i32]),
    Wide(&'a [i64]),
}

impl<'a, T: Element> Ragged<'a, T> {
    pub(super) fn new(offsets: &'a [u8], wide: bool, items: &'a [T], validity: Option<&'a [u8]>) -> Self {
        // Columns begin at 64-byte boundaries of a page-aligned slot.
        let offsets = if wide {
            Offsets::Wide(bytemuck::cast_slice(offsets))
        } else {
            Offsets::Narrow(bytemuck::cast_slice(offsets))
        };
        Ragged { offsets, items, validity }
    }

    /// Rows in the column, padding included.
    pub fn len(&self) -> usize {
        match self.offsets {
            Offsets::Narrow(offsets) => offsets.len() - 1,
            Offsets::Wide(offsets) => offsets.len() - 1,
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the items of row `row` begin in [`items`](Ragged::items); that of row `len()` is their number.
    pub fn offset(&self, row: usize) -> usize {
        match self.offsets {
            Offsets::Narrow(offsets) => offsets[row] as usize,
            Offsets::Wide(offsets) => offsets[row] as usize,
        }
    }

    /// The items of every row, one after another.
    pub fn items(&self) -> &'a [T] {
        self.items
    }

    /// The items of row `row`; none where it is null.
    ///
    /// # Panics
    ///
    /// If the batch has no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        &self.items[self.offset(row)..self.offset(row + 1)]
    }

    /// Whether row `row` is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.validity.is_some_and(|validity| validity[row] == 0)
    }

    /// The rows in turn.
    pub fn iter(&self) -> impl Iterator<Item = &'a [T]> + use<'a, '_, T> {
        (0..self.len()).map(|row| self.row(row))
    }
}

impl<T: Element> fmt::Debug for Ragged<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ragged<{}>[{} rows, {} items]", T::DTYPE, self.len(), self.items.len())
    }
}

/// A column of text.
#[derive(Clone, Copy, Debug)]
pub struct RaggedText<'a>(pub(super) Ragged<'a, u8>);

impl<'a> RaggedText<'a> {
    /// Rows in the column, padding included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of row `row`; empty where it is null.
    ///
    /// # Panics
    ///
    /// If the batch has no such row.
    pub fn row(&self, row: usize) -> &'a str {
        std::str::from_utf8(self.0.row(row)).expect("the gather checks text")
    }

    /// Whether row `row` is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    /// The rows in turn.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        (0..self.len()).map(|row| self.row(row))
    }
}
