//! Batches in the memory of a device.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::batch::{BatchImage, BatchPlan, DenseImage, OffsetsImage, Shape};
use crate::error::Result;
use crate::layout::Element;
use crate::staging::TrainerStream;
use crate::staging::cuda::{At, Sent};

/// Some rows of a dataset, on their way to a device or there.
///
/// The pointers are those of the primary context of the device, the one frameworks compute in, and can be had at once. What
/// they point to is there after
///
/// - [`wait_on`](DeviceBatch::wait_on), for everything that is given to that stream afterwards: the stream waits, the CPU does not;
/// - [`synchronize`](DeviceBatch::synchronize), for everybody: the CPU waits.
///
/// The memory is used for another batch when this one is dropped and everything is done that the streams it waited on were given
/// until then. Work on any other stream has to be done before the drop.
pub struct DeviceBatch {
    sent: Arc<Sent<Arc<BatchPlan>>>,
    image: BatchImage,
}

impl Drop for DeviceBatch {
    fn drop(&mut self) {
        // Here and now: the loader may be looking at it, with a share that lives on.
        self.sent.release();
    }
}

impl DeviceBatch {
    pub(super) fn new(sent: Arc<Sent<Arc<BatchPlan>>>, image: BatchImage) -> Self {
        DeviceBatch { sent, image }
    }

    /// Has `stream` wait for the batch, and its memory wait for `stream`: for what it is given until the batch is dropped.
    ///
    /// # Errors
    ///
    /// `Device` if the driver fails.
    pub fn wait_on(&self, stream: TrainerStream) -> Result<()> {
        self.sent.wait_on(stream)
    }

    /// Waits until the batch is on the device. The thread sleeps meanwhile.
    ///
    /// # Errors
    ///
    /// `Device` if the driver fails.
    pub fn synchronize(&self) -> Result<()> {
        self.sent.synchronize()
    }

    /// Whether the batch is on the device.
    ///
    /// # Errors
    ///
    /// `Device` if the driver fails.
    pub fn is_ready(&self) -> Result<bool> {
        self.sent.is_done()
    }

    /// Whether the copy waits for streams of the trainer's.
    pub(super) fn was_held_back(&self) -> bool {
        self.sent.was_held_back()
    }

    /// The event (`CUevent`) behind the copy, for whoever waits by calls of their own. It is recorded anew for another batch once
    /// this one is dropped.
    pub fn raw_event(&self) -> *mut c_void {
        self.sent.raw_event()
    }

    /// The number of the device among the visible ones.
    pub fn device(&self) -> u32 {
        self.sent.context().ordinal()
    }

    /// Rows of the dataset in the batch; padding is not counted.
    pub fn num_rows(&self) -> usize {
        self.image.num_rows
    }

    /// Rows in each tensor, padding included: the first dimension of every shape.
    pub fn len(&self) -> usize {
        self.image.len()
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The epoch the batch belongs to, counted from 0.
    pub fn epoch(&self) -> u64 {
        self.image.epoch
    }

    /// The batch's number in its epoch, counted from 0.
    pub fn step(&self) -> u64 {
        self.image.step
    }

    /// Bytes of values in the batch: those of its rows in every column, masks and offsets left out.
    pub fn delivered_bytes(&self) -> u64 {
        self.image.delivered_bytes
    }

    /// Bytes that were sent, in one copy: values, masks, offsets, and what lies between them; of columns that stay on the device
    /// ([`Preload::Device`](crate::Preload::Device)) the numbers of the rows, if any.
    pub fn sent_bytes(&self) -> usize {
        self.image.len_bytes
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.image.columns().map(|(name, _)| name)
    }

    /// With [`Remainder::Pad`](crate::Remainder::Pad): one byte a row, 1 for a row of the dataset and 0 for padding.
    pub fn mask(&self) -> Option<DeviceTensor<'_, u8>> {
        let shape = Shape::new(self.len(), &[]).ok()?;
        Some(DeviceTensor::new(self.pointer(At::Buffer(self.image.mask()?)), shape))
    }

    /// Of a mixture: for each row, the number of the component it is of; of padding, 0. See
    /// [`Batch::sources`](crate::Batch::sources).
    pub fn sources(&self) -> Option<DeviceTensor<'_, u32>> {
        let shape = Shape::new(self.len(), &[]).ok()?;
        Some(DeviceTensor::new(self.pointer(At::Buffer(self.image.sources()?)), shape))
    }

    /// The column `name`: where its elements of `T` lie in C order, and its shape, the batch's rows first.
    ///
    /// # Errors
    ///
    /// As [`Batch::tensor`](crate::Batch::tensor): `InvalidArgument` if the batch has no such column, it is no tensor, or its
    /// elements are not `T`s; `Mismatch` if a row of it is null.
    pub fn tensor<T: Element>(&self, name: &str) -> Result<DeviceTensor<'_, T>> {
        let DenseImage { values, shape, .. } = self.image.tensor::<T>(name, false)?;
        Ok(DeviceTensor::new(self.pointer(values), shape))
    }

    /// As [`tensor`](DeviceBatch::tensor), with one byte a row, 1 for a value and 0 for a null, whose elements are zero. Without
    /// it (`None`) no row can be null.
    ///
    /// # Errors
    ///
    /// As [`tensor`](DeviceBatch::tensor), but for nulls.
    pub fn tensor_with_validity<T: Element>(
        &self,
        name: &str,
    ) -> Result<(DeviceTensor<'_, T>, Option<DeviceTensor<'_, u8>>)> {
        let DenseImage { values, shape, validity } = self.image.tensor::<T>(name, true)?;
        Ok((DeviceTensor::new(self.pointer(values), shape), self.validity(validity)?))
    }

    /// The column `name`, its rows `T`s of any length: a ragged list, or bytes and text (as `u8`).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the batch has no such column, its rows are of one length, or its items are not `T`s.
    pub fn ragged<T: Element>(&self, name: &str) -> Result<DeviceRagged<'_, T>> {
        let runs = self.image.ragged::<T>(name)?;
        Ok(DeviceRagged {
            offsets: self.offsets(name)?,
            items: DeviceTensor::new(self.pointer(At::Buffer(runs.items)), Shape::new(runs.num_items, &[])?),
            validity: self.validity(runs.validity)?,
        })
    }

    /// Where each row of the column `name` begins among its items, whose rows are of varying length, [padded](crate::Col::pad) or
    /// not: one more than there are rows. Row `i` has `offset[i + 1] - offset[i]` items, and where it is padded, these are the first
    /// of its place in the [tensor](DeviceBatch::tensor); the others are padding. A row that is null, or padding, has none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the batch has no such column, or its rows are of one length.
    pub fn offsets(&self, name: &str) -> Result<DeviceOffsets<'_>> {
        let OffsetsImage { offsets, wide } = self.image.offsets(name)?;
        let (pointer, shape) = (self.pointer(At::Buffer(offsets)), Shape::new(self.len() + 1, &[])?);
        Ok(match wide {
            false => DeviceOffsets::Narrow(DeviceTensor::new(pointer, shape)),
            true => DeviceOffsets::Wide(DeviceTensor::new(pointer, shape)),
        })
    }

    fn validity(&self, offset: Option<usize>) -> Result<Option<DeviceTensor<'_, u8>>> {
        let view =
            |offset| Ok(DeviceTensor::new(self.pointer(At::Buffer(offset)), Shape::new(self.len(), &[])?));
        offset.map(view).transpose()
    }

    fn pointer(&self, at: At) -> u64 {
        self.sent.address(at)
    }
}

impl fmt::Debug for DeviceBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("DeviceBatch");
        debug.field("device", &self.device()).field("epoch", &self.epoch()).field("step", &self.step());
        debug.field("num_rows", &self.num_rows());
        for (name, kind) in self.image.columns() {
            debug.field(name, &format_args!("{kind}"));
        }
        debug.finish()
    }
}

/// Where some elements lie in the memory of a device, and their shape. No element can be read by the CPU.
#[derive(Clone, Copy)]
pub struct DeviceTensor<'a, T> {
    pointer: u64,
    shape: Shape,
    batch: PhantomData<(&'a DeviceBatch, T)>,
}

impl<T: Element> DeviceTensor<'_, T> {
    fn new(pointer: u64, shape: Shape) -> Self {
        DeviceTensor { pointer, shape, batch: PhantomData }
    }

    /// The address of the first element (`CUdeviceptr`), a multiple of 64 bytes but for [`DeviceRagged::items`]. Good until the
    /// batch is dropped, and to be read as [`DeviceBatch`] says.
    pub fn device_pointer(&self) -> u64 {
        self.pointer
    }

    /// The shape, the number of rows first.
    pub fn shape(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Elements in all rows.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements.
    pub fn len_bytes(&self) -> usize {
        self.len() * size_of::<T>()
    }
}

impl<T: Element> fmt::Debug for DeviceTensor<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceTensor<{}>{:?} at {:#x}", T::DTYPE, self.shape(), self.pointer)
    }
}

/// A column on a device whose rows differ in length: row `i` holds the items from offset `i` to offset `i + 1`.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRagged<'a, T: Element> {
    offsets: DeviceOffsets<'a>,
    items: DeviceTensor<'a, T>,
    validity: Option<DeviceTensor<'a, u8>>,
}

/// Offsets of rows, one more than there are rows, counted in items.
#[derive(Clone, Copy, Debug)]
pub enum DeviceOffsets<'a> {
    /// Of 4 bytes.
    Narrow(DeviceTensor<'a, i32>),
    /// Of 8 bytes.
    Wide(DeviceTensor<'a, i64>),
}

impl<'a, T: Element> DeviceRagged<'a, T> {
    /// Where each row begins among the items.
    pub fn offsets(&self) -> DeviceOffsets<'a> {
        self.offsets
    }

    /// The items of all rows, one after another.
    pub fn items(&self) -> DeviceTensor<'a, T> {
        self.items
    }

    /// One byte a row, 1 for a value and 0 for a null, which has no items. Without it no row can be null.
    pub fn validity(&self) -> Option<DeviceTensor<'a, u8>> {
        self.validity
    }
}

#[cfg(test)]
mod tests {
    use crate::staging::cuda::{Context, Stream, driver::Driver};
    use crate::{Dataset, Loader, cuda_leaks};

    #[test]
    fn a_batch_that_was_dropped_uses_no_stream_while_the_loader_looks_at_it() {
        let Some(driver) = Driver::alone(21) else { return };
        driver.eagerness(1);
        let numbers = Dataset::from_tensor("row", &[], (0..1000u64).collect()).unwrap();
        let mut loader = Loader::builder(&numbers).batch_size(10).build_on_device(0).unwrap();
        let context = Context::new(0).unwrap();
        let mut looking = Vec::new();
        for batch in loader.by_ref() {
            let batch = batch.unwrap();
            let stream = Stream::new(&context).unwrap();
            batch.wait_on(stream.as_the_trainers()).unwrap();
            // What the loader has while it asks whether a copy is done.
            let share = batch.sent.clone();
            drop(batch);
            assert!(share.is_done().unwrap(), "there is nothing to wait for any more");
            stream.synchronize().unwrap();
            drop(stream);
            looking.push(share);
        }
        drop((looking, loader, context));
        assert!(cuda_leaks().is_empty(), "{}", cuda_leaks());
        driver.assert_clean();
    }
}
