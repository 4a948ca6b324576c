//! Rows of varying length before they are in a batch: how long they are, and windows that are packed with them.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::gather::{Gathered, Gatherer};
use super::make::{BatchMaker, BatchPool, Turn};
use super::{Batch, BatchPlan, Col, Output, Pad};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::layout::{Beside, ColumnKind, DType, Place, tensor_field};
use crate::sampler::Audit;
use crate::staging::{SlotMemory, SlotPool};

/// Rows that are looked at in one go.
const ROWS: usize = 1024;

/// What is read of documents: one column whose rows are of varying length.
#[derive(Clone)]
pub(crate) struct Documents {
    plan: Arc<BatchPlan>,
}

impl Documents {
    /// The rows of the column that `col` names.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the dataset has no such column, or its rows are of one length.
    pub(crate) fn new(dataset: &Dataset, col: &Col) -> Result<Self> {
        let plan = BatchPlan::new(dataset, std::slice::from_ref(col), &[], ROWS, Beside::default())?;
        match plan.layout.places[0] {
            Place::Runs { .. } => Ok(Documents { plan: Arc::new(plan) }),
            Place::Dense { .. } => Err(Error::invalid(format!(
                "column '{}' is {}: its rows are of one length",
                plan.name(0),
                plan.kind(0)
            ))),
        }
    }

    /// The same, of which windows are packed: their items, numbers of type [`dtype`](Self::dtype).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and as of a column to be padded.
    pub(crate) fn to_pack(dataset: &Dataset, col: &Col) -> Result<Self> {
        let value = col.pad.map_or(0.0, |pad| pad.value);
        Documents::new(dataset, &col.clone().pad(Pad::longest().value(value)))
    }

    /// What is read, as batches of it.
    pub(crate) fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn dtype(&self) -> DType {
        match *self.plan.kind(0) {
            ColumnKind::Ragged { dtype } => dtype,
            _ => DType::U8,
        }
    }

    /// The columns of batches of windows of `len` items: the items, the number of the document in its window from 1 on, and
    /// the item's place in its part of the document from 0 on.
    pub(crate) fn window_columns(&self, len: usize) -> [Output; 3] {
        let name = self.plan.name(0);
        let tensor = |name: &str, dtype| Output {
            field: Arc::new(tensor_field(name, dtype, &[len], false)),
            kind: ColumnKind::Tensor { dtype, shape: [len].into() },
        };
        [
            tensor(name, self.dtype()),
            tensor(&format!("{name}_segments"), DType::I32),
            tensor(&format!("{name}_positions"), DType::I32),
        ]
    }
}

/// The hands of one thread that looks at documents.
pub(crate) struct DocumentReader {
    gatherer: Gatherer,
    pool: BatchPool,
}

impl DocumentReader {
    pub(crate) fn new(documents: &Documents) -> Self {
        let plan = &documents.plan;
        DocumentReader {
            gatherer: Gatherer::new(plan.clone()),
            pool: SlotPool::new(SlotMemory::Heap, 1, 1, plan.clone()),
        }
    }

    /// Appends the number of items of each of `rows` to `lengths`: read from their offsets, the items themselves are not
    /// touched but where records have to be decoded. A bad record has none, if `skip_bad` says so.
    pub(crate) fn lengths(&mut self, rows: &[u64], skip_bad: bool, lengths: &mut Vec<u64>) -> Result<()> {
        for rows in rows.chunks(ROWS) {
            let mut slot = self.pool.take(0, 0)?;
            match self.gatherer.find(rows, &mut slot) {
                Ok(found) => lengths.extend(found.lengths().map(|len| len as u64)),
                Err(error) if !skip_bad || !error.is_bad_data() => return Err(error),
                Err(_) => {
                    for row in rows {
                        lengths.push(match self.gatherer.find(&[*row], &mut slot) {
                            Ok(found) => found.lengths().map(|len| len as u64).sum(),
                            Err(error) if error.is_bad_data() => 0,
                            Err(error) => return Err(error),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Some windows of an epoch, and the documents that lie in them.
pub(crate) struct Windows {
    /// Their numbers.
    pub(crate) numbers: Range<u64>,
    /// Items in a full one.
    pub(crate) len: usize,
    /// The documents, in their order: none without items.
    pub(crate) rows: Vec<u64>,
    /// Items of the first document that lie in windows before.
    pub(crate) skip: usize,
}

impl BatchMaker {
    /// Makes the batch of `windows`, of a plan of [`Documents::window_columns`] and no other columns.
    pub(crate) fn make_packed(
        &mut self,
        (pool, writer): (&BatchPool, usize),
        reader: &mut DocumentReader,
        windows: &Windows,
        turn: Turn,
    ) -> Result<(Batch, Audit)> {
        let plan = self.plan().clone();
        let [tokens, segments, positions] = [0, 1, 2].map(|output| match *plan.output_place(output) {
            Place::Dense { values, row_bytes, .. } => (values, row_bytes),
            Place::Runs { .. } => unreachable!("windows are of one length"),
        });
        let mut slot = pool.take(writer, plan.layout.fixed_bytes)?;
        let num_windows = (windows.numbers.end - windows.numbers.start) as usize;
        let laid_out = plan.layout.rows_laid_out(num_windows);
        if let Some(mask) = plan.layout.row_mask {
            slot.bytes()[mask..mask + num_windows].fill(1);
            slot.bytes()[mask + num_windows..mask + laid_out].fill(0);
        }
        let width = tokens.1 / windows.len;
        let source = reader.gatherer.plan().clone();
        let Some(pad) = source.pad(0) else { unreachable!("documents to be packed are planned so") };
        let mut scratch = reader.pool.take(0, 0)?;
        // Items that lie in the windows so far, and the document's number in the last of them.
        let (mut filled, mut segment, mut skip) = (0, 0i32, windows.skip);
        for rows in windows.rows.chunks(ROWS) {
            let found = reader.gatherer.find(rows, &mut scratch)?;
            for (row, len) in found.lengths().enumerate() {
                let mut at = std::mem::take(&mut skip);
                while at < len && filled < num_windows * windows.len {
                    let (window, in_window) = (filled / windows.len, filled % windows.len);
                    segment = if in_window == 0 { 1 } else { segment + 1 };
                    let items = (len - at).min(windows.len - in_window);
                    let bytes = slot.bytes();
                    let out = tokens.0 + window * tokens.1 + in_window * width;
                    found.copy(row, at..at + items, &mut bytes[out..out + items * width]);
                    let numbers = |(start, row_bytes): (usize, usize)| {
                        let start = start + window * row_bytes + in_window * 4;
                        start..start + items * 4
                    };
                    bytemuck::cast_slice_mut(&mut bytes[numbers(segments)]).fill(segment);
                    let places: &mut [i32] = bytemuck::cast_slice_mut(&mut bytes[numbers(positions)]);
                    places.iter_mut().zip(0..).for_each(|(place, number)| *place = number);
                    (at, filled) = (at + items, filled + items);
                }
            }
        }
        let bytes = slot.bytes();
        pad.fill(&mut bytes[tokens.0 + filled * width..tokens.0 + laid_out * tokens.1]);
        for (start, row_bytes) in [segments, positions] {
            bytes[start + filled * 4..start + laid_out * row_bytes].fill(0);
        }
        let mut audit = Audit::default();
        audit.add_run(windows.numbers.clone());
        let written = (num_windows * (tokens.1 + segments.1 + positions.1)) as u64;
        let gathered = Gathered {
            num_rows: num_windows,
            audit,
            copied_bytes: written,
            delivered_bytes: written,
            items_end: plan.layout.fixed_bytes,
        };
        let numbers: Vec<u64> = windows.numbers.clone().collect();
        self.finish(slot, gathered, (&[], Some(&numbers)), turn)
    }
}
