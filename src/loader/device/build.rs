//! A loader for a device, from its options.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::conversion::{Conversions, travelling};
use super::recipe::{Recipe, Residents};
use super::{DeviceLoader, Loader, LoaderBuilder};
use crate::batch::{BatchPlan, Col, OnBadRecord, PlannedColumn};
use crate::error::{Error, Result};
use crate::layout::{ColumnKind, Place};
use crate::map::Preload;
use crate::sampler::{Partition, Remainder, Shuffle};
use crate::staging::Staging;
use crate::staging::cuda::{At, Load, Residence, Uplink};

/// Bytes of the batches in which columns are brought to a device to stay there.
const PRELOAD_BYTES: usize = 4 << 20;

/// How many of them are made, and how many are on their way, at a time.
const PRELOAD_DEPTH: usize = 4;

/// Columns on a device begin at multiples of this many bytes.
const ALIGNMENT: usize = 64;

impl LoaderBuilder {
    /// Starts the loader's threads, and sends what they make to the CUDA device `device`, counted among the visible ones. With
    /// [`Preload::Device`] it first brings the columns there.
    ///
    /// # Errors
    ///
    /// As [`build`](LoaderBuilder::build); `InvalidArgument` if there is no such device, [`staging`](LoaderBuilder::staging) was
    /// set to something other than it, or an option, such as [`map_batch`](LoaderBuilder::map_batch), is for batches that the host
    /// makes while the device is to make them. With
    /// [`Preload::Device`]: `TooLarge`, with the bytes that are missing, for columns that do not fit; `Unsupported` for columns of
    /// rows of varying length and for nulls.
    pub fn build_on_device(mut self, device: u32) -> Result<DeviceLoader> {
        let ours = Staging::Cuda(device);
        if self.staging != Staging::default() && self.staging != ours {
            return Err(Error::invalid(format!(
                "expected the staging {ours} for batches on device {device}, found {}: leave it out",
                self.staging
            )));
        }
        let depth = self.device_depth;
        if depth == 0 {
            return Err(Error::invalid("device_depth must be at least 1 batch, found 0"));
        }
        self.staging = ours;
        let stays = self.preload == Preload::Device;
        if !stays {
            self.dataset.preload(self.preload.clone())?;
        }
        let made_by = if stays { "Preload::Device" } else { "cast_on_device" };
        if stays || self.cast_on_device {
            self.check_device(made_by)?;
        }
        let (recipe, columns) = match (stays, self.cast_on_device) {
            (true, _) => self.gathered(Arc::new(self.plan(None)?))?,
            (false, true) => self.converted(Arc::new(self.plan(None)?))?,
            (false, false) => (Recipe::AsItIs, Vec::new()),
        };
        // Those ahead, the one in the trainer's hands, and one its stream is still at.
        let max_buffers = depth.saturating_add(2);
        let residence = match &recipe {
            Recipe::AsItIs => None,
            Recipe::Converted { conversions, .. } => {
                Some(Residence { len_bytes: conversions.coefficients.len(), beside_bytes: None })
            }
            Recipe::Gathered { columns, .. } => Some(Residence {
                len_bytes: columns.end,
                beside_bytes: Some(recipe.batch_bytes().saturating_mul(max_buffers)),
            }),
        };
        let feeder = stays.then(|| self.feeder(columns));
        let loader = match &recipe {
            Recipe::AsItIs => self.start(None)?,
            Recipe::Converted { travelling, .. } => self.start(Some(travelling.clone()))?,
            Recipe::Gathered { .. } => {
                // To number rows is no work for threads.
                self.threads.get_or_insert(0);
                let numbers = BatchPlan::of_row_numbers(&self.dataset, self.batch_size)?;
                self.start(Some(Arc::new(numbers)))?
            }
        };
        let context = loader.shared.pool.memory().cuda_context().expect("the staging is that of a device");
        let uplink = Uplink::new(context, max_buffers, residence)?;
        if let Recipe::Converted { conversions, .. } | Recipe::Gathered { conversions, .. } = &recipe {
            upload(&loader, &uplink, &conversions.coefficients)?;
        }
        if let (Recipe::Gathered { columns, .. }, Some(feeder)) = (&recipe, feeder) {
            feed(feeder, &uplink, columns)?;
        }
        Ok(DeviceLoader {
            received: loader.mark(),
            loader,
            uplink,
            recipe,
            depth,
            ahead: VecDeque::new(),
            sent: VecDeque::new(),
            batches_sent: 0,
            bytes_sent: 0,
            late: Default::default(),
        })
    }

    /// Refuses options of batches on a device.
    pub(in crate::loader) fn check_host(&self) -> Result<()> {
        let refuse = |what: &str| {
            Err(Error::invalid(format!(
                "{what} is for batches on a device: use build_on_device, or leave it out"
            )))
        };
        match &self.preload {
            Preload::Device => refuse("Preload::Device"),
            _ if self.cast_on_device => refuse("cast_on_device"),
            how => self.dataset.preload(how.clone()),
        }
    }

    /// Refuses options of batches that the host makes whole, because of the option `made_by`.
    fn check_device(&self, made_by: &str) -> Result<()> {
        let options = [
            ("map_rows", self.map_rows.is_some()),
            ("map_batch", self.map_batch.is_some()),
            ("pack", self.pack.is_some()),
            ("bucket_by_length", self.buckets.is_some()),
            ("OnBadRecord::Skip", self.on_bad_record != OnBadRecord::Fail),
            ("a mixture", self.mixture.is_some()),
        ];
        match options.iter().find(|(_, is_set)| *is_set) {
            None => Ok(()),
            Some((option, _)) => Err(Error::invalid(format!(
                "{option} is for batches that the host makes, and with {made_by} the device makes them: leave out one of the two"
            ))),
        }
    }

    /// The plan of batches of `columns` and nothing else.
    fn plan_of(&self, columns: &[Col]) -> Result<Arc<BatchPlan>> {
        BatchPlan::new(&self.dataset, columns, &[], self.batch_size, self.beside()).map(Arc::new)
    }

    /// Conversions are left to the device.
    fn converted(&self, plan: Arc<BatchPlan>) -> Result<(Recipe, Vec<Col>)> {
        let columns = travelling(&self.columns, &plan, |_| false);
        let travelling = self.plan_of(&columns)?;
        let conversions = Conversions::new(&travelling, &plan)?;
        Ok((Recipe::Converted { plan, travelling, conversions }, columns))
    }

    /// Columns stay on the device; and as what they are brought there.
    fn gathered(&self, plan: Arc<BatchPlan>) -> Result<(Recipe, Vec<Col>)> {
        for column in &plan.columns {
            if !matches!(column.kind, ColumnKind::Tensor { .. }) {
                return Err(Error::unsupported(format!(
                    "column '{}' is {}, and Preload::Device keeps tensors alone: select the other columns, or leave out \
                     Preload::Device",
                    column.field.name(),
                    column.kind
                )));
            }
        }
        // What was filled holds no nulls any more, on the device as well.
        let columns = travelling(&self.columns, &plan, |column: &PlannedColumn| column.fill.is_some());
        let stored = self.plan_of(&columns)?;
        let conversions = Conversions::new(&stored, &plan)?;
        let too_large = || Error::invalid("the columns of the dataset are larger than any memory");
        let num_rows = usize::try_from(self.dataset.len()).map_err(|_| too_large())?;
        let mut residents = Residents { columns: Vec::new(), end: conversions.end() };
        for number in 0..stored.columns.len() {
            let row_bytes = stored.row_bytes(number);
            residents.columns.push((residents.end, row_bytes));
            let end = row_bytes.checked_mul(num_rows).and_then(|bytes| residents.end.checked_add(bytes));
            let aligned = end.and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            residents.end = aligned.filter(|&end| end <= isize::MAX as usize).ok_or_else(too_large)?;
        }
        Ok((Recipe::Gathered { plan, columns: residents, conversions }, columns))
    }

    /// The options of a loader that goes through all rows of `columns` once, as they come.
    fn feeder(&self, columns: Vec<Col>) -> LoaderBuilder {
        LoaderBuilder {
            columns,
            shuffle: Shuffle::None,
            epochs: Some(1),
            remainder: Remainder::Keep,
            partition: Partition::default(),
            depth: Some(PRELOAD_DEPTH),
            resume: None,
            ..self.clone()
        }
    }
}

/// Brings `bytes` to the beginning of what stays on the device.
fn upload(loader: &Loader, uplink: &Uplink<Arc<BatchPlan>>, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut slot = loader.shared.pool.take(0, bytes.len())?;
    slot.bytes()[..bytes.len()].copy_from_slice(bytes);
    let load = Load { copies: vec![(0..bytes.len(), At::Resident(0))], ..Load::default() };
    uplink.send(slot.freeze(), &load)?.synchronize()
}

/// Brings all rows to where they stay on the device.
fn feed(mut feeder: LoaderBuilder, uplink: &Uplink<Arc<BatchPlan>>, residents: &Residents) -> Result<()> {
    let row_bytes: usize = residents.columns.iter().map(|(_, row_bytes)| row_bytes).sum();
    let all_rows = usize::try_from(feeder.dataset.len()).unwrap_or(usize::MAX);
    feeder.batch_size = (PRELOAD_BYTES / row_bytes.max(1)).clamp(1, all_rows.max(1));
    let plan = feeder.plan_of(&feeder.columns)?;
    let mut on_their_way = VecDeque::new();
    let mut first = 0;
    for batch in feeder.start(Some(plan.clone()))? {
        let (slot, image) = batch?.into_image();
        if let Some((name, row)) = image.null() {
            return Err(Error::unsupported(format!(
                "column '{name}' is null in row {}, and Preload::Device keeps no nulls: give col(\"{name}\").fill(…), or leave \
                 out Preload::Device",
                first + row
            )));
        }
        let mut load = Load::default();
        for ((start, row_bytes), place) in residents.columns.iter().zip(&plan.layout.places) {
            let Place::Dense { values, .. } = *place else { unreachable!("tensors alone stay on a device") };
            let bytes = values..values + image.num_rows * row_bytes;
            load.copies.push((bytes, At::Resident(start + first * row_bytes)));
        }
        first += image.num_rows;
        on_their_way.push_back(uplink.send(slot, &load)?);
        if on_their_way.len() >= PRELOAD_DEPTH {
            on_their_way.pop_front().map_or(Ok(()), |oldest| oldest.synchronize())?;
        }
    }
    on_their_way.into_iter().try_for_each(|sent| sent.synchronize())
}
