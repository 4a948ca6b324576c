//! Truth values: a bit each, plainly or in runs.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bytes::Bytes;

use super::keys::{Run, Runs};
use super::levels::Bits;
use super::{Fault, Read, Stored, Values, prefixed};
use crate::error::Result;

pub(super) struct Truths(BooleanBufferBuilder);

impl Default for Truths {
    fn default() -> Self {
        Truths(BooleanBufferBuilder::new(0))
    }
}

impl Values for Truths {
    fn dictionary(&mut self, _page: &Bytes, _num_values: usize) -> Read {
        Err(Fault::Contradiction)
    }

    fn values(&mut self, stored: Stored<'_>, count: usize, rows: Range<usize>) -> Read {
        match stored {
            Stored::Plain(bytes) if bytes.len() >= count.div_ceil(8) => {
                self.0.append_packed_range(0..count, bytes);
            }
            Stored::Runs(_) if count == 0 => {}
            Stored::Runs(bytes) => {
                let mut runs = Runs::new(prefixed(bytes)?.0, 1, count).expect("a bit is a width");
                for run in &mut runs {
                    match run {
                        Run::Same { value, count } => self.0.append_n(count, value & 1 == 1),
                        Run::Packed { bytes, count } => self.0.append_packed_range(0..count, bytes),
                    }
                }
                if runs.left > 0 {
                    return Err(Fault::Contradiction);
                }
            }
            _ => return Err(Fault::Contradiction),
        }
        self.0.append_n(rows.len() - count, false);
        Ok(())
    }

    fn spread(&mut self, valid: &Bits, count: usize, rows: Range<usize>) {
        let mut next = rows.start + count;
        for row in rows.rev() {
            let is_valid = valid.get(row);
            next -= usize::from(is_valid);
            let value = is_valid && self.0.get_bit(next);
            self.0.set_bit(row, value);
        }
    }

    fn finish(
        mut self: Box<Self>,
        _data_type: &DataType,
        _num_rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        Ok(Arc::new(BooleanArray::new(self.0.finish(), nulls)))
    }
}
