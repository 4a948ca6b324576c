//! Windows of one length, packed with the documents of an epoch in their order.
//!
//! ```text
//! documents    in the order of the epoch, one behind another, those without items left out
//! windows      items [k·len, (k + 1)·len) of them; the last of an epoch is filled up
//! index        for every 256th document, the items before it: where a window begins is found from there
//! ```
//!
//! The index of an epoch is made by whoever comes to the epoch first; epochs that have one order have one index. It takes the
//! length of every document, from its offsets. 8 bytes are kept of every 256 documents, and of no more than two epochs.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{DocumentReader, Documents, Windows};
use crate::error::{Error, ErrorKind, Result};
use crate::sampler::{EpochOrder, Order};

/// Documents for which one number is kept.
const STRIDE: u64 = 256;

/// Epochs whose indexes are kept.
const EPOCHS: usize = 2;

/// The windows of a loader.
pub(super) struct Packing {
    pub(super) documents: Documents,
    /// The order of the documents.
    order: Order,
    /// Items in a window.
    len: usize,
    /// Items of all documents.
    total: u64,
    indexes: Mutex<VecDeque<(u64, Arc<[u64]>)>>,
}

impl Packing {
    /// Packs the documents in `order` into windows of `len` items. Makes the index of `epoch`.
    ///
    /// # Errors
    ///
    /// Those of reading the documents' lengths.
    pub(super) fn new(documents: Documents, order: Order, len: usize, epoch: u64) -> Result<Self> {
        let mut reader = DocumentReader::new(&documents);
        let (index, total) = index(&mut reader, &order.epoch(epoch))?;
        let indexes = Mutex::new(VecDeque::from([(index_key(epoch, &order.epoch(epoch)), index)]));
        Ok(Packing { documents, order, len, total, indexes })
    }

    /// Windows in an epoch.
    pub(super) fn num_windows(&self) -> u64 {
        self.total.div_ceil(self.len as u64)
    }

    /// The documents in the windows `numbers` of `epoch`.
    pub(super) fn windows(
        &self,
        reader: &mut DocumentReader,
        epoch: u64,
        numbers: Range<u64>,
    ) -> Result<Windows> {
        let order = self.order.epoch(epoch);
        let index = self.index(reader, epoch, &order)?;
        let len = self.len as u64;
        let (start, end) = (numbers.start * len, (numbers.end * len).min(self.total));
        let mut windows = Windows { numbers, len: self.len, rows: Vec::new(), skip: 0 };
        if start >= end {
            return Ok(windows);
        }
        let stride = index.partition_point(|&before| before <= start) - 1;
        let (mut position, mut before) = (stride as u64 * STRIDE, index[stride]);
        let (mut rows, mut lengths) = (vec![0; STRIDE as usize], Vec::new());
        while before < end {
            rows.truncate((order.len() - position).min(STRIDE) as usize);
            if rows.is_empty() {
                return Err(shrunk(self.total, before));
            }
            order.fill(position, &mut rows);
            lengths.clear();
            reader.lengths(&rows, false, &mut lengths)?;
            for (&row, &length) in rows.iter().zip(&lengths) {
                if length > 0 && before < end && before + length > start {
                    if windows.rows.is_empty() {
                        windows.skip = (start - before.min(start)) as usize;
                    }
                    windows.rows.push(row);
                }
                before += length;
            }
            position += rows.len() as u64;
        }
        Ok(windows)
    }

    fn index(&self, reader: &mut DocumentReader, epoch: u64, order: &EpochOrder) -> Result<Arc<[u64]>> {
        let key = index_key(epoch, order);
        // Held while an index is made: whoever comes to the epoch needs it.
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, index)) = indexes.iter().find(|(known, _)| *known == key) {
            return Ok(index.clone());
        }
        let (index, total) = index(reader, order)?;
        if total != self.total {
            return Err(shrunk(self.total, total));
        }
        if indexes.len() >= EPOCHS {
            indexes.pop_front();
        }
        indexes.push_back((key, index.clone()));
        Ok(index)
    }
}

/// What the index of `epoch` is known by: all epochs in the order of the dataset have one.
fn index_key(epoch: u64, order: &EpochOrder) -> u64 {
    if order.is_sequential() { 0 } else { epoch }
}

/// The items before every 256th document in `order`, and those of all.
fn index(reader: &mut DocumentReader, order: &EpochOrder) -> Result<(Arc<[u64]>, u64)> {
    let mut total = 0u64;
    let mut index = Vec::with_capacity(order.len().div_ceil(STRIDE) as usize);
    let (mut rows, mut lengths) = (vec![0; STRIDE as usize], Vec::new());
    for position in (0..order.len()).step_by(STRIDE as usize) {
        index.push(total);
        rows.truncate((order.len() - position).min(STRIDE) as usize);
        order.fill(position, &mut rows);
        lengths.clear();
        reader.lengths(&rows, false, &mut lengths)?;
        for length in &lengths {
            total = total.checked_add(*length).filter(|&total| total < 1 << 62).ok_or_else(|| {
                Error::new(ErrorKind::TooLarge, "expected fewer than 2⁶² items to be packed")
            })?;
        }
    }
    Ok((index.into(), total))
}

fn shrunk(expected: u64, found: u64) -> Error {
    Error::new(
        ErrorKind::Truncated,
        format!("the documents changed while they were read: expected {expected} items, found {found}"),
    )
}
