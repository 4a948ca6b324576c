//! Memory of a device, and the copy that is on its way into it.
#![forbid(unsafe_code)]

use std::mem;
use std::sync::Arc;

use super::context::Context;
use super::stream::{Event, Stream, TrainerStream};
use super::{faults, leaks, sys};
use crate::error::{Error, Result};
use crate::staging::Slot;

/// Memory of the device for one batch.
pub(super) struct Buffer {
    pub(super) at: sys::DevicePointer,
    pub(super) len_bytes: usize,
    /// Recorded behind the copy into the buffer.
    pub(super) copied: Event,
    /// Recorded on the trainer's streams when its batch was dropped, the first `num_released` of them.
    pub(super) released: Vec<Event>,
    pub(super) num_released: usize,
}

impl Buffer {
    /// Whether the trainer is done with it.
    pub(super) fn is_released(&mut self) -> Result<bool> {
        while let Some(last) = self.num_released.checked_sub(1) {
            if !self.released[last].has_passed()? {
                return Ok(false);
            }
            self.num_released = last;
        }
        Ok(true)
    }

    /// Waits until the trainer is done with it.
    pub(super) fn wait_released(&mut self) -> Result<()> {
        while let Some(last) = self.num_released.checked_sub(1) {
            self.released[last].synchronize().or_else(|_| self.released[last].synchronize())?;
            self.num_released = last;
        }
        Ok(())
    }

    /// Marks in `reader` the end of what it was given so far.
    pub(super) fn mark(&mut self, context: &Arc<Context>, reader: TrainerStream) -> Result<()> {
        if self.num_released == self.released.len() {
            self.released.push(Event::new(context)?);
        }
        self.released[self.num_released].record_on(reader)?;
        self.num_released += 1;
        Ok(())
    }

    /// Leaves everything of it where it is.
    pub(super) fn leak(self, because: &Error) {
        leaks::device(self.len_bytes, because);
        leaks::handle(because);
        self.released.iter().for_each(|_| leaks::handle(because));
        mem::forget(self);
    }
}

/// How far a copy is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// A call failed that may have queued work.
    Unknown,
    /// The event is recorded behind the copy.
    Recorded,
    Done,
}

/// A buffer, and the slot that is being copied into it.
pub(super) struct Copy<C> {
    pub(super) buffer: Buffer,
    pub(super) slot: Option<Slot<C>>,
    pub(super) progress: Progress,
}

impl<C> Copy<C> {
    /// Whether the copy is done; if so, the slot goes.
    pub(super) fn is_done(&mut self) -> Result<bool> {
        if self.progress == Progress::Recorded && self.buffer.copied.has_passed()? {
            self.done();
        }
        Ok(self.progress == Progress::Done)
    }

    pub(super) fn done(&mut self) {
        self.progress = Progress::Done;
        self.slot = None;
    }

    /// Waits until the copy is done: for its event, and if that fails for the whole stream.
    pub(super) fn wait(&mut self, stream: &Stream) -> Result<()> {
        if faults::on(faults::EARLY_FREE) {
            self.done();
        }
        let waited = match self.progress {
            Progress::Done => return Ok(()),
            Progress::Recorded => self.buffer.copied.synchronize(),
            Progress::Unknown => stream.synchronize(),
        };
        waited.or_else(|_| stream.synchronize())?;
        self.done();
        Ok(())
    }

    pub(super) fn leak(self, because: &Error) {
        if let Some(slot) = self.slot {
            leaks::host(slot.bytes().len(), because);
            mem::forget(slot);
        }
        self.buffer.leak(because);
    }
}
