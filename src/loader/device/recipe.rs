//! How a slot becomes what the trainer sees.
//!
//! ```text
//! as it is      slot: the batch            ──copy──▶ buffer: the batch
//! converted     slot: columns as they are  ──copy──▶ buffer: the same ──kernel──▶ behind them, those that are cast
//! gathered      slot: numbers of rows      ──copy──▶ buffer: behind the batch; kernels lay out the batch from the columns that
//!                                                    stay on the device. Rows that follow one another: nothing is copied, the
//!                                                    batch lies among those columns, if it begins at a multiple of 64 bytes
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::conversion::Conversions;
use crate::batch::{BatchImage, BatchPlan};
use crate::layout::Place;
use crate::staging::cuda::{At, Gather, Load, Rows, Work};

/// Bytes between places where a tensor may begin.
const ALIGNMENT: usize = 64;

pub(super) enum Recipe {
    AsItIs,
    Converted { plan: Arc<BatchPlan>, travelling: Arc<BatchPlan>, conversions: Conversions },
    Gathered { plan: Arc<BatchPlan>, columns: Residents, conversions: Conversions },
}

/// Where the columns of a dataset stay on a device.
pub(super) struct Residents {
    /// The first byte of each, and the bytes of its rows there.
    pub(super) columns: Vec<(usize, usize)>,
    /// The end of the last.
    pub(super) end: usize,
}

impl Recipe {
    /// What is to be done with the `slot` of a batch, and where everything is when that is done.
    pub(super) fn load(&self, slot: &[u8], image: BatchImage) -> (Load, BatchImage) {
        match self {
            Recipe::AsItIs => (Load::whole(image.len_bytes), image),
            Recipe::Converted { plan, travelling, conversions } => {
                convert(plan, travelling, conversions, image)
            }
            Recipe::Gathered { plan, columns, conversions } => {
                gather(plan, columns, conversions, slot, image)
            }
        }
    }

    /// The most bytes that a batch takes on the device, items of varying number left out.
    pub(super) fn batch_bytes(&self) -> usize {
        match self {
            Recipe::Gathered { plan, .. } => list_at(plan) + 8 * plan.layout.batch_size,
            Recipe::AsItIs | Recipe::Converted { .. } => 0,
        }
    }
}

fn convert(
    plan: &Arc<BatchPlan>,
    travelling: &BatchPlan,
    conversions: &Conversions,
    image: BatchImage,
) -> (Load, BatchImage) {
    let mut load = Load::whole(image.len_bytes);
    let mut moved = Vec::with_capacity(conversions.columns.len());
    for (number, conversion) in conversions.columns.iter().enumerate() {
        let (Some(conversion), Place::Dense { values, validity, .. }) =
            (conversion, &travelling.layout.places[number])
        else {
            moved.push(None);
            continue;
        };
        let to = load.len_bytes.next_multiple_of(ALIGNMENT);
        let num_rows = image.num_rows;
        let cast = conversion.work(At::Buffer(*values), Rows::From(0), num_rows, to, *validity);
        load.work.push(Work::Cast(cast));
        load.len_bytes = to + plan.row_bytes(number) * image.len();
        load.pad(to, plan.row_bytes(number), num_rows, image.len());
        moved.push(Some(At::Buffer(to)));
    }
    let image = image.converted(plan, moved.into_iter());
    (load, image)
}

/// Where the numbers of rows are in the buffer.
fn list_at(plan: &BatchPlan) -> usize {
    plan.layout.fixed_bytes.next_multiple_of(ALIGNMENT)
}

fn gather(
    plan: &Arc<BatchPlan>,
    residents: &Residents,
    conversions: &Conversions,
    slot: &[u8],
    image: BatchImage,
) -> (Load, BatchImage) {
    let num_rows = image.num_rows;
    let len = if plan.layout.row_mask.is_some() { plan.layout.batch_size } else { num_rows };
    let list = 0..8 * num_rows;
    let first = run(&slot[list.clone()]);
    let rows = match first {
        Some(first) => Rows::From(first),
        None => Rows::Listed { slot: list.start, buffer: list_at(plan) },
    };
    let mut load = Load::default();
    let masks = plan.layout.places.iter().filter_map(Place::validity).chain(plan.layout.row_mask);
    masks.for_each(|mask| load.mask(mask, num_rows, len));
    let mut moved = Vec::with_capacity(plan.columns.len());
    for (number, conversion) in conversions.columns.iter().enumerate() {
        let (start, row_bytes) = residents.columns[number];
        let Place::Dense { values, .. } = plan.layout.places[number] else {
            unreachable!("tensors alone stay on a device")
        };
        let slice = first
            .map(|first| start + first as usize * row_bytes)
            .filter(|at| conversion.is_none() && len == num_rows && at.is_multiple_of(ALIGNMENT));
        moved.push(slice.map(At::Resident));
        if slice.is_some() {
            continue;
        }
        let from = At::Resident(start);
        load.work.push(match conversion {
            Some(conversion) => Work::Cast(conversion.work(from, rows, num_rows, values, None)),
            None => Work::Gather(Gather { to: values, from, rows, num_rows, row_bytes }),
        });
        load.pad(values, plan.row_bytes(number), num_rows, len);
    }
    if !load.work.is_empty() {
        load.len_bytes = list_at(plan);
        if let Rows::Listed { buffer, .. } = rows {
            load.copies.push((list.clone(), At::Buffer(buffer)));
            load.len_bytes += 8 * plan.layout.batch_size;
        }
    }
    let sent_bytes = load.copies.iter().map(|(range, _)| range.len()).sum();
    let image = image.gathered(plan, moved.into_iter(), sent_bytes);
    (load, image)
}

/// The first of the rows that are numbered, 8 bytes each, if they follow one another.
fn run(list: &[u8]) -> Option<u64> {
    let mut rows = list.chunks_exact(8).map(|word| word.try_into().map_or(u64::MAX, u64::from_ne_bytes));
    let Some(first) = rows.next() else { return Some(0) };
    rows.zip(first + 1..).all(|(row, next)| row == next).then_some(first)
}
