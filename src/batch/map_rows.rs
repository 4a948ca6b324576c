//! A function of the user's that makes columns, row by row.
//!
//! ```text
//! row ──▶ its inputs: lent where they lie, or copied to scratch ──▶ the user's function ──▶ its outputs
//!         short ones for some rows at once
//!                                                                     rows of one length: their place in the slot
//!                                                                     rows of varying length: scratch, then the slot
//! ```
//!
//! A row's place in the slot holds what an earlier batch left there, so it is zeroed before it is handed out, and where it
//! was never asked for.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::gather::{Gathered, RowSource};
use super::make::{BatchMaker, BatchPool, Turn};
use super::{Batch, BatchPlan, Col, Output};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Beside, ColumnKind, Element, Place, align_up};
use crate::sampler::RowRng;
use crate::staging::{SlotMemory, SlotMut, SlotPool};

/// Inputs of so many bytes a row at most are copied.
const SHORT_BYTES: usize = 4096;

/// Rows whose inputs are copied at once, where they are short.
const SHORT_ROWS: usize = 32;

/// What a `map_rows` was told.
#[derive(Clone)]
pub(crate) struct AskedRows {
    pub(crate) inputs: Vec<Col>,
    pub(crate) outputs: Vec<Output>,
    map: Arc<RowFn>,
}

impl AskedRows {
    pub(crate) fn new<C: Into<Col>>(
        inputs: impl IntoIterator<Item = C>,
        outputs: impl IntoIterator<Item = Output>,
        map: impl Fn(&Row<'_>, &mut RowWriter<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        AskedRows {
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().collect(),
            map: Arc::new(map),
        }
    }

    /// Whether the column `name` is read for the outputs.
    pub(crate) fn reads(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.name == name)
    }

    /// Plans batches of `columns` of `dataset`, and of the outputs behind them.
    ///
    /// # Errors
    ///
    /// Those of [`BatchPlan::new`], of the inputs as well; `InvalidArgument` if there is no output.
    pub(crate) fn plan(
        &self,
        dataset: &Dataset,
        columns: &[Col],
        batch_size: usize,
        beside: Beside,
    ) -> Result<BatchPlan> {
        if self.outputs.is_empty() {
            return Err(Error::invalid("map_rows needs at least one output, found none"));
        }
        let mut plan = BatchPlan::new(dataset, columns, &self.outputs, batch_size, beside)?;
        let mut inputs = BatchPlan::new(dataset, &self.inputs, &[], 1, Beside::default())?;
        if is_short(&inputs) {
            inputs = BatchPlan::new(dataset, &self.inputs, &[], SHORT_ROWS, Beside::default())?;
        }
        plan.map_rows = Some(MapRows { inputs: Arc::new(inputs), map: self.map.clone() });
        Ok(plan)
    }
}

impl fmt::Debug for AskedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedRows")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// Whether the rows of `inputs` are of one length, and short: then a batch of some costs little more than one of one.
fn is_short(inputs: &BatchPlan) -> bool {
    let bytes = inputs.layout.places.iter().map(|place| match place {
        Place::Dense { row_bytes, .. } => Some(*row_bytes),
        Place::Runs { .. } => None,
    });
    let is_padded = (0..inputs.columns.len()).any(|number| inputs.pad(number).is_some());
    !is_padded && bytes.sum::<Option<usize>>().is_some_and(|bytes| bytes <= SHORT_BYTES)
}

/// What is done with each row of a batch.
pub(crate) struct MapRows {
    /// Batches of one row, or of some short ones, of the columns that are read for it.
    inputs: Arc<BatchPlan>,
    map: Arc<RowFn>,
}

impl MapRows {
    /// What is read of a row.
    pub(super) fn inputs(&self) -> &BatchPlan {
        &self.inputs
    }
}

/// The user's function.
type RowFn = dyn Fn(&Row<'_>, &mut RowWriter<'_>) -> Result<()> + Send + Sync;

/// A row of a dataset, in the hands of a function given to [`map_rows`](crate::LoaderBuilder::map_rows): the inputs named
/// there.
///
/// In memory we own, and in files vouched for ([`Immutable`](crate::Immutable)), values are seen where they lie; those of
/// other files, and short ones, in a copy.
pub struct Row<'a> {
    batch: &'a Batch,
    /// Which row of the batch it is.
    at: usize,
    number: u64,
    seed: u64,
}

impl Row<'_> {
    /// The row's number in the dataset.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The epoch the row is made for, counted from 0.
    pub fn epoch(&self) -> u64 {
        self.batch.epoch()
    }

    /// A generator of random numbers, for augmentation: it depends on the loader's seed, the epoch and the row alone, so that a
    /// row is the same for any number of threads and after a resume.
    pub fn rng(&self) -> RowRng {
        RowRng::new(self.seed, self.epoch(), self.number)
    }

    /// The values of the input `name`: the elements of a tensor in C order, of a ragged list, or bytes (as `u8`).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such input, or its elements are not `T`s; `Mismatch` if it is null: ask
    /// [`is_null`](Row::is_null) first.
    pub fn values<T: Element>(&self, name: &str) -> Result<&[T]> {
        let number = self.batch.plan().column_number(name)?;
        match self.batch.plan().kind(number) {
            ColumnKind::Tensor { .. } => {
                let (tensor, validity) = self.batch.tensor_with_validity::<T>(name)?;
                let is_padded = self.batch.plan().pad(number).is_some();
                if validity.is_some_and(|validity| validity[self.at] == 0 && !is_padded) {
                    return Err(null(name));
                }
                let len = tensor.as_slice().len() / self.batch.len();
                Ok(&tensor.as_slice()[self.at * len..][..len])
            }
            _ => {
                let rows = self.batch.ragged::<T>(name)?;
                if rows.is_null(self.at) { Err(null(name)) } else { Ok(rows.row(self.at)) }
            }
        }
    }

    /// The text of the input `name`.
    ///
    /// # Errors
    ///
    /// As [`values`](Row::values).
    pub fn text(&self, name: &str) -> Result<&str> {
        let rows = self.batch.text(name)?;
        if rows.is_null(self.at) { Err(null(name)) } else { Ok(rows.row(self.at)) }
    }

    /// Whether the input `name` is null.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such input.
    pub fn is_null(&self, name: &str) -> Result<bool> {
        let number = self.batch.plan().column_number(name)?;
        Ok(self.batch.validity(number).is_some_and(|validity| validity[self.at] == 0))
    }
}

fn null(name: &str) -> Error {
    Error::mismatch(format!("column '{name}' is null: ask is_null first"))
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("number", &self.number).field("inputs", self.batch).finish()
    }
}

/// Where a function given to [`map_rows`](crate::LoaderBuilder::map_rows) writes the outputs of its row.
pub struct RowWriter<'a> {
    plan: &'a BatchPlan,
    /// The bytes of the slot.
    slot: &'a mut [u8],
    row: usize,
    outputs: &'a mut [Written],
}

/// What was written of one output.
#[derive(Default)]
struct Written {
    /// Whether the row's place in the slot holds nothing of an earlier batch.
    is_clean: bool,
    /// Of an output of varying length: the items of the rows so far, and where those of each end.
    items: Vec<u8>,
    ends: Vec<usize>,
}

impl RowWriter<'_> {
    /// The row's place in the tensor `name`, in the memory the trainer gets: zeros, to be written.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if no output is called so, it is no tensor, or its elements are not `T`s.
    pub fn tensor_mut<T: Element>(&mut self, name: &str) -> Result<&mut [T]> {
        let index = self.index::<T>(name)?;
        let is_clean = std::mem::replace(&mut self.outputs[index].is_clean, true);
        let place = self.place(index).ok_or_else(|| {
            Error::invalid(format!("the output '{name}' has rows of varying length: write them with write"))
        })?;
        if !is_clean {
            place.fill(0);
        }
        bytemuck::try_cast_slice_mut(place)
            .map_err(|e| Error::mismatch(format!("output '{name}' cannot be written as {}: {e}", T::DTYPE)))
    }

    /// Writes the row of the tensor `name`, all of it; or appends to the row of an output of varying length.
    ///
    /// # Errors
    ///
    /// As [`tensor_mut`](RowWriter::tensor_mut); `Mismatch` if a tensor's row has another number of elements.
    pub fn write<T: Element>(&mut self, name: &str, values: &[T]) -> Result<()> {
        let index = self.index::<T>(name)?;
        let bytes = bytemuck::cast_slice(values);
        let Some(place) = self.place(index) else {
            self.outputs[index].items.extend_from_slice(bytes);
            return Ok(());
        };
        if place.len() != bytes.len() {
            let expected = place.len() / size_of::<T>();
            return Err(Error::mismatch(format!(
                "expected {expected} elements for a row of output '{name}', found {}",
                values.len()
            )));
        }
        place.copy_from_slice(bytes);
        self.outputs[index].is_clean = true;
        Ok(())
    }

    /// Appends to the row of the text `name`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if no output is called so, or it is no text.
    pub fn write_text(&mut self, name: &str, text: &str) -> Result<()> {
        let index = self.find(name)?;
        if self.plan.outputs[index].kind != ColumnKind::Text {
            return Err(self.wrong(index, "text"));
        }
        self.outputs[index].items.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize> {
        let outputs = &self.plan.outputs;
        outputs.iter().position(|output| output.name() == name).ok_or_else(|| {
            let names: Vec<_> = outputs.iter().map(Output::name).collect();
            Error::invalid(format!("no output is called '{name}': there are {}", names.join(", ")))
        })
    }

    /// The number of the output `name`, whose elements are `T`s.
    fn index<T: Element>(&self, name: &str) -> Result<usize> {
        let index = self.find(name)?;
        if self.plan.outputs[index].dtype() != Some(T::DTYPE) {
            return Err(self.wrong(index, T::DTYPE.name()));
        }
        Ok(index)
    }

    fn wrong(&self, index: usize, asked: &str) -> Error {
        let output = &self.plan.outputs[index];
        Error::invalid(format!("output '{}' is {}, not {asked}", output.name(), output.kind))
    }

    /// The row's place in the slot; `None` for an output of varying length.
    fn place(&mut self, index: usize) -> Option<&mut [u8]> {
        match self.plan.output_place(index) {
            Place::Dense { values, row_bytes, .. } => {
                Some(&mut self.slot[values + self.row * row_bytes..][..*row_bytes])
            }
            Place::Runs { .. } => None,
        }
    }
}

impl fmt::Debug for RowWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowWriter").field("row", &self.row).finish_non_exhaustive()
    }
}

/// What one thread maps rows with.
pub(super) struct RowMapper {
    map: Arc<RowFn>,
    /// Makes batches of the inputs: a single row is one run, and lent where runs are.
    maker: BatchMaker,
    pool: BatchPool,
    outputs: Vec<Written>,
    /// Whether the user's function erred of the last row.
    has_refused: bool,
}

impl RowMapper {
    pub(super) fn new(rows: &MapRows) -> Self {
        RowMapper {
            map: rows.map.clone(),
            maker: BatchMaker::new(rows.inputs.clone()),
            pool: SlotPool::new(SlotMemory::Heap, 1, 1, rows.inputs.clone()),
            outputs: Vec::new(),
            has_refused: false,
        }
    }

    /// Whether the last row is one of which the user's function erred, by nothing but the row: neither did it panic nor ask for
    /// columns there are not.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// Forgets what the user's function said.
    pub(super) fn clear(&mut self) {
        self.has_refused = false;
    }

    /// Makes the outputs of `rows` in the `slot` of a batch of `plan`, behind what was `gathered`.
    ///
    /// # Errors
    ///
    /// Those of reading a row, and what the user's function says or panics with: at the row's record.
    pub(super) fn map(
        &mut self,
        plan: &BatchPlan,
        rows: &[u64],
        turn: Turn,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        self.outputs.resize_with(plan.outputs.len(), Written::default);
        for written in &mut self.outputs {
            written.items.clear();
            written.ends.clear();
        }
        let at_once = self.maker.plan().layout.batch_size;
        let mut inputs = None;
        for (row, &number) in rows.iter().enumerate() {
            self.outputs.iter_mut().for_each(|written| written.is_clean = false);
            let at = row % at_once;
            if at == 0 {
                // The last one's slot is the next one's.
                drop(inputs.take());
                let some = RowSource::List(&rows[row..rows.len().min(row + at_once)]);
                let (batch, _) = self.maker.make((&self.pool, 0), &some, turn)?;
                gathered.copied_bytes += batch.copied_bytes();
                inputs = Some(batch);
            }
            let batch = inputs.as_ref().expect("made at the first of its rows");
            let source = Row { batch, at, number, seed: turn.seed };
            let mut writer = RowWriter { plan, slot: slot.bytes(), row, outputs: &mut self.outputs };
            let mapped = catch_unwind(AssertUnwindSafe(|| (self.map)(&source, &mut writer)));
            let error = match mapped {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    self.has_refused = error.kind() != ErrorKind::InvalidArgument;
                    Some(error)
                }
                Err(panic) => Some(Error::panicked("map_rows", &*panic)),
            };
            if let Some(error) = error {
                return Err(plan.dataset.place(number, error));
            }
            for index in 0..writer.outputs.len() {
                if !writer.outputs[index].is_clean
                    && let Some(place) = writer.place(index)
                {
                    place.fill(0);
                }
                let written = &mut writer.outputs[index];
                written.ends.push(written.items.len());
            }
        }
        self.finish(plan, rows.len(), slot, gathered)
    }

    /// Pads the outputs, and puts those of varying length into the slot.
    fn finish(
        &self,
        plan: &BatchPlan,
        num_rows: usize,
        slot: &mut SlotMut<Arc<BatchPlan>>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let laid_out = plan.layout.rows_laid_out(num_rows);
        for (index, written) in self.outputs.iter().enumerate() {
            let bytes = match plan.output_place(index) {
                Place::Dense { values, row_bytes, .. } => {
                    slot.bytes()[values + num_rows * row_bytes..values + laid_out * row_bytes].fill(0);
                    num_rows * row_bytes
                }
                &Place::Runs { table, offsets, item_bytes, .. } => {
                    let (start, total) = (gathered.items_end, written.items.len());
                    if i32::try_from(total / item_bytes).is_err() {
                        let message =
                            "the items of a batch exceed what its offsets can count: lower batch_size";
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                    slot.reserve(start + total)?;
                    gathered.items_end = align_up(start + total);
                    let bytes = slot.bytes();
                    bytes[start..start + total].copy_from_slice(&written.items);
                    bytes[table..table + 8].copy_from_slice(&(start as u64).to_ne_bytes());
                    bytes[table + 8..table + 16].copy_from_slice(&(total as u64).to_ne_bytes());
                    let offsets: &mut [i32] =
                        bytemuck::cast_slice_mut(&mut bytes[offsets..offsets + (laid_out + 1) * 4]);
                    offsets.fill((total / item_bytes) as i32);
                    offsets[0] = 0;
                    for (offset, end) in offsets[1..].iter_mut().zip(&written.ends) {
                        *offset = (end / item_bytes) as i32;
                    }
                    total
                }
            } as u64;
            gathered.copied_bytes += bytes;
            gathered.delivered_bytes += bytes;
        }
        Ok(())
    }
}
