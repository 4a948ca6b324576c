//! Batches that are on a device before the trainer asks for them.
//!
//! ```text
//! loader      batches in slots that the driver has locked
//! sending     as many as `device_depth` ahead of the trainer: one asynchronous copy a batch, on a stream of its own
//! trainer     next(): sends those that are ready, then hands over the oldest; its stream waits for the copy, not the CPU
//! ```
//!
//! There is no thread beside the loader's workers: sending is a few calls of the driver, made by the trainer in `next()`. An
//! error has its place in the order, whether a batch could not be made or could not be sent.
#![forbid(unsafe_code)]

mod batch;
mod build;
mod conversion;
mod recipe;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Weak};

pub use batch::{DeviceBatch, DeviceOffsets, DeviceRagged, DeviceTensor};

use super::{Bound, Loader, LoaderBuilder, LoaderState, Mark, Stats};
use crate::batch::{BadRecord, Batch, BatchPlan};
use crate::error::{Error, Result};
use crate::sampler::Audit;
use crate::staging::cuda::{Sent, Uplink};
use crate::staging::cuda_devices;
use recipe::Recipe;

/// An iterator over the batches of a dataset, in the memory of a device.
///
/// ```no_run
/// use forebay::{Dataset, Loader, Shuffle, TrainerStream};
///
/// # fn main() -> forebay::Result<()> {
/// let images = Dataset::from_tensor("image", &[28, 28], vec![0u8; 1000 * 784])?;
/// let mut loader = Loader::builder(&images).batch_size(100).shuffle(Shuffle::Exact).build_on_device(0)?;
/// let stream = TrainerStream::legacy_default();
/// for batch in &mut loader {
///     let batch = batch?;
///     batch.wait_on(stream)?; // the stream waits for the copy, the CPU does not
///     let image = batch.tensor::<u8>("image")?;
///     println!("{:#x} {:?}", image.device_pointer(), image.shape()); // launch kernels on `stream` here
/// } // the memory is used again after what the stream was given so far
/// # Ok(())
/// # }
/// ```
///
/// Dropping the loader ends its threads. Batches handed over live on. While a stream is captured into a CUDA graph, no batch may wait
/// on it, and no batch be dropped that did.
pub struct DeviceLoader {
    loader: Loader,
    uplink: Uplink<Arc<BatchPlan>>,
    recipe: Recipe,
    depth: usize,
    ahead: VecDeque<Ahead>,
    /// Copies whose slots are still held, the oldest first.
    sent: VecDeque<Weak<Sent<Arc<BatchPlan>>>>,
    /// Where the trainer is.
    received: Mark,
    batches_sent: u64,
    bytes_sent: u64,
    late: Late,
}

/// How often copies were late.
#[derive(Clone, Copy, Default)]
struct Late {
    /// Batches handed over that had been sent ahead.
    ahead: u64,
    /// Those of them whose copies were not done.
    late: u64,
}

/// A batch the trainer has yet to receive.
struct Ahead {
    batch: Result<DeviceBatch>,
    /// Whether it was sent before the trainer asked for it.
    early: bool,
    /// Where the trainer is once it has.
    after: Mark,
}

/// What a loader for a device did so far: [`DeviceLoader::stats`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceStats {
    /// What its workers did. A batch counts as received when it was sent.
    pub host: Stats,
    /// Batches sent.
    pub batches_sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes of the device's memory held for batches, and for columns that stay there.
    pub device_bytes: u64,
    /// Batches handed over that were sent before the trainer asked for them, at least one batch ahead, and not held back until it
    /// was done with earlier ones.
    pub batches_ahead: u64,
    /// Those of them that were not yet on the device: the trainer's stream, or whoever calls
    /// [`synchronize`](DeviceBatch::synchronize), has to wait for the copy.
    pub batches_late: u64,
}

impl DeviceStats {
    /// What the job waits for. Where the host keeps up, it is [`Bound::Transfer`] if one in twenty of the batches that were sent in
    /// time came late.
    pub fn bound(&self) -> Bound {
        match self.host.bound() {
            Bound::Trainer if self.batches_late * 20 > self.batches_ahead => Bound::Transfer,
            other => other,
        }
    }
}

impl fmt::Display for DeviceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.write(f, self.bound())?;
        write!(
            f,
            "; {} batches of {} bytes sent, {} late",
            self.batches_sent, self.bytes_sent, self.batches_late
        )
    }
}

impl DeviceLoader {
    /// A loader for each visible device: one network each over one dataset, which is mapped and indexed once. `options` says, for
    /// a device's number, what its loader is to do.
    ///
    /// ```no_run
    /// # fn main() -> forebay::Result<()> {
    /// use forebay::{Dataset, DeviceLoader, Loader, Shuffle};
    ///
    /// let dataset = Dataset::open("train")?;
    /// let loaders = DeviceLoader::on_every_device(|device| {
    ///     Loader::builder(&dataset).batch_size(256).shuffle(Shuffle::Exact).seed(u64::from(device)).threads(4)
    /// })?;
    /// for loader in loaders {
    ///     std::thread::spawn(move || loader.for_each(drop));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build_on_device`](LoaderBuilder::build_on_device); `InvalidArgument` if no device is visible.
    pub fn on_every_device(mut options: impl FnMut(u32) -> LoaderBuilder) -> Result<Vec<DeviceLoader>> {
        match cuda_devices()? {
            0 => {
                Err(Error::invalid("no CUDA device is visible: see CUDA_VISIBLE_DEVICES and `nvidia-smi -L`"))
            }
            count => (0..count).map(|device| options(device).build_on_device(device)).collect(),
        }
    }

    /// Batches in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.loader.steps_per_epoch()
    }

    /// Where the trainer is: after the last batch it received; those sent ahead do not count. See [`LoaderBuilder::resume`].
    pub fn state(&self) -> LoaderState {
        self.loader.state_at(self.received)
    }

    /// As [`Loader::audit`].
    pub fn audit(&self) -> (u64, Audit, Audit) {
        self.loader.audit_at(self.received)
    }

    /// As [`Loader::bad_records`], of the batches sent so far.
    pub fn bad_records(&self) -> &[BadRecord] {
        self.loader.bad_records()
    }

    /// What the loader did so far.
    pub fn stats(&self) -> DeviceStats {
        DeviceStats {
            host: self.loader.stats(),
            batches_sent: self.batches_sent,
            bytes_sent: self.bytes_sent,
            device_bytes: self.uplink.device_bytes() as u64,
            batches_ahead: self.late.ahead,
            batches_late: self.late.late,
        }
    }

    /// The number of the device among the visible ones.
    pub fn device(&self) -> u32 {
        self.uplink.context().ordinal()
    }

    /// What the driver calls the device.
    ///
    /// # Errors
    ///
    /// `Device` if the driver fails.
    pub fn device_name(&self) -> Result<String> {
        self.uplink.context().name()
    }

    /// The primary context of the device (`CUcontext`), retained as long as the loader lives.
    pub fn raw_context(&self) -> *mut c_void {
        self.uplink.context().raw()
    }

    /// The stream the copies are on (`CUstream`); it lives as long as the loader.
    pub fn raw_stream(&self) -> *mut c_void {
        self.uplink.raw_stream()
    }

    /// Lets the slots go that were copied.
    fn sweep(&mut self) {
        // An error is not lost: the driver gives it again when the next batch is sent.
        let _ = self.uplink.sweep();
        while let Some(oldest) = self.sent.front() {
            match oldest.upgrade().map(|sent| sent.is_seen_done()) {
                Some(Ok(false)) => break,
                _ => drop(self.sent.pop_front()),
            }
        }
    }

    /// Sends batches until enough are ahead, those that are ready; but one at least, which is waited for.
    fn send_ahead(&mut self) {
        self.sweep();
        // The one to be handed over, and those behind it.
        while self.ahead.len() <= self.depth {
            if !self.ahead.is_empty() && !self.loader.has_ready() {
                return;
            }
            let Some(batch) = self.loader.next() else { return };
            let batch = batch.and_then(|batch| self.send(batch));
            // The loader counted it as delivered.
            self.loader.progress.failed |= batch.is_err();
            self.ahead.push_back(Ahead { batch, early: !self.ahead.is_empty(), after: self.loader.mark() });
        }
    }

    fn send(&mut self, batch: Batch) -> Result<DeviceBatch> {
        let (slot, image) = batch.into_image();
        let (load, image) = self.recipe.load(slot.bytes(), image);
        let sent = Arc::new(self.uplink.send(slot, &load)?);
        self.sent.push_back(Arc::downgrade(&sent));
        self.batches_sent += 1;
        self.bytes_sent += image.len_bytes as u64;
        Ok(DeviceBatch::new(sent, image))
    }
}

impl Late {
    fn count(&mut self, batch: &DeviceBatch) {
        // An error is the trainer's to hear, who waits for the batch.
        if let (false, Ok(is_done)) = (batch.was_held_back(), batch.is_ready()) {
            self.ahead += 1;
            self.late += u64::from(!is_done);
        }
    }
}

impl Iterator for DeviceLoader {
    type Item = Result<DeviceBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.send_ahead();
        let Ahead { batch, early, after } = self.ahead.pop_front()?;
        self.received = after;
        if early && let Ok(batch) = &batch {
            self.late.count(batch);
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.loader.size_hint();
        let ahead = self.ahead.len();
        (low.saturating_add(ahead), high.and_then(|high| high.checked_add(ahead)))
    }
}

impl fmt::Debug for DeviceLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceLoader")
            .field("device", &self.device())
            .field("depth", &self.depth)
            .field("ahead", &self.ahead.len())
            .field("loader", &self.loader)
            .finish()
    }
}
