//! Values of one width: integers, floating-point numbers, and bytes of one length.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bytemuck::Pod;
use bytes::Bytes;

use super::super::buffers::{Buffers, Store};
use super::keys::{Run, Runs, unpack};
use super::levels::Bits;
use super::{Fault, Flat, Read, Stored, Values, array_of};
use crate::error::Result;

/// A value of an array, made of a stored one.
pub(super) trait Cell: Pod {
    /// The bytes of a stored one.
    type Stored: Copy;

    fn of(stored: Self::Stored) -> Self;

    /// The values stored one after another in `bytes`.
    fn all_stored(bytes: &[u8]) -> &[Self::Stored];
}

macro_rules! cells {
    ($($cell:ty, $stored:ty;)*) => {$(
        impl Cell for $cell {
            type Stored = [u8; size_of::<$stored>()];

            #[inline(always)]
            fn of(stored: Self::Stored) -> Self {
                <$stored>::from_le_bytes(stored) as $cell
            }

            fn all_stored(bytes: &[u8]) -> &[Self::Stored] {
                bytes.as_chunks().0
            }
        }
    )*};
}

// The lowest bits are kept of integers that are stored wider than they are.
cells! { u8, u32; u16, u32; u32, u32; u64, u64; }

/// Values that are cells of their own.
pub(super) struct Fixed<T> {
    store: Store,
    /// The page of the values that keys stand for.
    dictionary: Bytes,
    cells: PhantomData<T>,
}

impl<T: Cell> Fixed<T> {
    pub(super) fn new(flat: &Flat<'_>, buffers: &Buffers) -> Result<Self> {
        let room = flat.room_for(flat.num_rows * size_of::<T>());
        Ok(Fixed { store: buffers.store(room)?, dictionary: Bytes::new(), cells: PhantomData })
    }
}

impl<T: Cell> Values for Fixed<T> {
    fn dictionary(&mut self, page: &Bytes, num_values: usize) -> Read {
        self.dictionary = stored_values(page, num_values, size_of::<T::Stored>())?;
        Ok(())
    }

    fn values(&mut self, stored: Stored<'_>, count: usize, rows: Range<usize>) -> Read {
        self.store.reserve(rows.end * size_of::<T>())?;
        let out = &mut self.store.cells::<T>()[rows][..count];
        match stored {
            Stored::Plain(bytes) => {
                let stored = T::all_stored(bytes).get(..count).ok_or(Fault::Contradiction)?;
                out.iter_mut().zip(stored).for_each(|(out, &stored)| *out = T::of(stored));
                Ok(())
            }
            Stored::Keys(page) => {
                let dictionary = T::all_stored(&self.dictionary);
                keyed(page, dictionary, out).ok_or(Fault::Contradiction)
            }
            Stored::Runs(_) => Err(Fault::Contradiction),
        }
    }

    fn spread(&mut self, valid: &Bits, count: usize, rows: Range<usize>) {
        let cells = &mut self.store.cells::<T>()[rows.clone()];
        let mut left = count;
        valid.each_back(rows, |row, is_valid| {
            // Looked at even where it is not needed, so that there is nothing to be guessed.
            let value = cells[left.saturating_sub(1)];
            cells[row] = if is_valid { value } else { T::zeroed() };
            left -= usize::from(is_valid);
        });
    }

    fn finish(
        self: Box<Self>,
        data_type: &DataType,
        num_rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        array_of(self.store.freeze(num_rows * size_of::<T>()), data_type, num_rows, nulls)
    }
}

/// Writes the values that the keys of `page` stand for.
fn keyed<T: Cell>(page: &[u8], dictionary: &[T::Stored], mut out: &mut [T]) -> Option<()> {
    let mut runs = Runs::of_keys(page, out.len())?;
    let width = runs.width();
    for run in &mut runs {
        let (Run::Same { count, .. } | Run::Packed { count, .. }) = run;
        let (now, later) = std::mem::take(&mut out).split_at_mut(count);
        out = later;
        match run {
            Run::Same { value, .. } => now.fill(T::of(*dictionary.get(value as usize)?)),
            Run::Packed { bytes, count } => {
                let mut now = now;
                unpack(bytes, width, count, |keys| {
                    let (block, rest) = std::mem::take(&mut now).split_at_mut(keys.len());
                    now = rest;
                    for (out, &key) in block.iter_mut().zip(keys) {
                        *out = T::of(*dictionary.get(key as usize)?);
                    }
                    Some(())
                })?;
            }
        }
    }
    (runs.left == 0).then_some(())
}

/// The part of `page` that is `num_values` values of `width` bytes.
fn stored_values(page: &Bytes, num_values: usize, width: usize) -> std::result::Result<Bytes, Fault> {
    let len = num_values.checked_mul(width).filter(|&len| len <= page.len());
    Ok(page.slice(..len.ok_or(Fault::Contradiction)?))
}

/// Values of `width` bytes each.
pub(super) struct Cells {
    store: Store,
    width: usize,
    dictionary: Bytes,
}

impl Cells {
    pub(super) fn new(flat: &Flat<'_>, width: usize, buffers: &Buffers) -> Result<Self> {
        let room = flat.room_for(flat.num_rows.saturating_mul(width));
        Ok(Cells { store: buffers.store(room)?, width, dictionary: Bytes::new() })
    }
}

impl Values for Cells {
    fn dictionary(&mut self, page: &Bytes, num_values: usize) -> Read {
        self.dictionary = stored_values(page, num_values, self.width)?;
        Ok(())
    }

    fn values(&mut self, stored: Stored<'_>, count: usize, rows: Range<usize>) -> Read {
        let width = self.width;
        let end = rows.end.checked_mul(width).ok_or(Fault::Contradiction)?;
        self.store.reserve(end)?;
        let out = &mut self.store.cells::<u8>()[rows.start * width..end][..count * width];
        match stored {
            Stored::Plain(bytes) => {
                out.copy_from_slice(bytes.get(..out.len()).ok_or(Fault::Contradiction)?);
                Ok(())
            }
            Stored::Keys(page) => {
                keyed_bytes(page, &self.dictionary, width, count, out).ok_or(Fault::Contradiction)
            }
            Stored::Runs(_) => Err(Fault::Contradiction),
        }
    }

    fn spread(&mut self, valid: &Bits, count: usize, rows: Range<usize>) {
        let width = self.width;
        let cells = &mut self.store.cells::<u8>()[rows.start * width..rows.end * width];
        let mut left = count;
        for row in (0..rows.len()).rev() {
            let cell = row * width..(row + 1) * width;
            if valid.get(rows.start + row) {
                left -= 1;
                cells.copy_within(left * width..(left + 1) * width, cell.start);
            } else {
                cells[cell].fill(0);
            }
        }
    }

    fn finish(
        self: Box<Self>,
        data_type: &DataType,
        num_rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let len_bytes = num_rows * self.width;
        array_of(self.store.freeze(len_bytes), data_type, num_rows, nulls)
    }
}

fn keyed_bytes(page: &[u8], dictionary: &[u8], width: usize, count: usize, out: &mut [u8]) -> Option<()> {
    let value = |key: u32| dictionary.get((key as usize).checked_mul(width)?..)?.get(..width);
    let mut cells = out.chunks_exact_mut(width);
    let mut runs = Runs::of_keys(page, count)?;
    let key_width = runs.width();
    for run in &mut runs {
        match run {
            Run::Same { value: key, count } => {
                let value = value(key)?;
                cells.by_ref().take(count).for_each(|cell| cell.copy_from_slice(value));
            }
            Run::Packed { bytes, count } => unpack(bytes, key_width, count, |keys| {
                for (&key, cell) in keys.iter().zip(cells.by_ref()) {
                    cell.copy_from_slice(value(key)?);
                }
                Some(())
            })?,
        }
    }
    (runs.left == 0).then_some(())
}
