//! Streams and events: what happens in order on a device, and how far it is.

use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::Arc;

use super::context::{Context, NO_FLAGS, check};
use super::{leaks, sys};
use crate::error::{Error, Result};

/// A stream of our own.
pub(crate) struct Stream {
    raw: sys::Stream,
    context: Arc<Context>,
    is_left: bool,
}

// SAFETY: a handle; the driver's calls may come from any thread, also at once.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        let _current = context.enter()?;
        let mut raw = ptr::null_mut();
        // SAFETY: a place for the answer.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, sys::STREAM_NON_BLOCKING) })?;
        Ok(Stream { raw, context: context.clone(), is_left: false })
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(super) fn raw(&self) -> sys::Stream {
        self.raw
    }

    /// Waits until everything queued so far is done.
    pub(crate) fn synchronize(&self) -> Result<()> {
        let _current = self.context.enter_at_last()?;
        // SAFETY: a stream that lives as long as `self`.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })
    }

    /// What is queued from here on happens after `event`.
    pub(super) fn wait_for(&self, event: &Event) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: a stream and an event that live, and that the driver looks at during the call alone.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.raw, event.raw, NO_FLAGS) })
    }
}

impl Stream {
    /// Leaves the stream, and its context, as they are.
    pub(super) fn leak(&mut self, because: &Error) {
        self.is_left = true;
        mem::forget(self.context.clone());
        leaks::handle(because);
    }
}

#[cfg(test)]
impl Stream {
    /// This stream as if it were one of the trainer's; batches that wait on it are dropped before it is.
    pub(crate) fn as_the_trainers(&self) -> TrainerStream {
        TrainerStream(self.raw)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let destroyed = self.context.enter_at_last().and_then(|_current| {
            // SAFETY: a stream of ours, used by nobody any more.
            check("cuStreamDestroy", unsafe { sys::cuStreamDestroy_v2(self.raw) })
        });
        if let Err(error) = destroyed {
            leaks::handle(&error);
        }
    }
}

/// A stream of the trainer's.
///
/// ```
/// use forebay::TrainerStream;
///
/// let stream = TrainerStream::legacy_default(); // what a framework computes on if nobody says otherwise
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrainerStream(sys::Stream);

// SAFETY: a handle; see `Stream`.
unsafe impl Send for TrainerStream {}
// SAFETY: as above.
unsafe impl Sync for TrainerStream {}

impl TrainerStream {
    /// The legacy default stream of the loader's device: `CU_STREAM_LEGACY`, the stream of handle 0.
    pub fn legacy_default() -> Self {
        TrainerStream(ptr::without_provenance_mut(1))
    }

    /// The stream of the handle `stream` (`CUstream`, and `cudaStream_t` alike).
    ///
    /// # Safety
    ///
    /// The stream belongs to the primary context of the loader's device, and is not destroyed before every batch that
    /// waited on it has been dropped. `CU_STREAM_PER_THREAD`, which means another stream in another thread, is given only
    /// to batches that are dropped in the thread in which they waited.
    pub unsafe fn from_raw(stream: *mut c_void) -> Self {
        TrainerStream(stream.cast())
    }

    /// The handle.
    pub fn as_raw(&self) -> *mut c_void {
        self.0.cast()
    }

    pub(super) fn wait_for(&self, event: &Event) -> Result<()> {
        let _current = event.context.enter()?;
        // SAFETY: the stream lives, as was promised in `from_raw`; the event does.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.0, event.raw, NO_FLAGS) })
    }

    pub(super) fn synchronize(&self, context: &Context) -> Result<()> {
        let _current = context.enter_at_last()?;
        // SAFETY: as above.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.0) })
    }
}

impl fmt::Debug for TrainerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrainerStream({:p})", self.0)
    }
}

/// A mark in a stream that can be asked for and waited for.
pub(super) struct Event {
    raw: sys::Event,
    context: Arc<Context>,
}

// SAFETY: a handle; the driver's calls may come from any thread, also at once.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        let _current = context.enter()?;
        let mut raw = ptr::null_mut();
        // SAFETY: a place for the answer.
        let code = unsafe { sys::cuEventCreate(&mut raw, sys::EVENT_BLOCKING_SYNC_DISABLE_TIMING) };
        check("cuEventCreate", code)?;
        Ok(Event { raw, context: context.clone() })
    }

    pub(super) fn raw(&self) -> sys::Event {
        self.raw
    }

    /// Marks the end of what `stream` was given so far.
    pub(super) fn record(&self, stream: &Stream) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: both live.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.raw) })
    }

    pub(super) fn record_on(&self, stream: TrainerStream) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the event lives; so does the stream, as was promised in `TrainerStream::from_raw`.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.0) })
    }

    /// Whether all before the mark is done.
    pub(super) fn has_passed(&self) -> Result<bool> {
        let _current = self.context.enter()?;
        // SAFETY: an event that lives as long as `self`.
        match unsafe { sys::cuEventQuery(self.raw) } {
            sys::NOT_READY => Ok(false),
            code => check("cuEventQuery", code).map(|()| true),
        }
    }

    /// Waits until all before the mark is done.
    pub(super) fn synchronize(&self) -> Result<()> {
        let _current = self.context.enter_at_last()?;
        // SAFETY: as above.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.raw) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let destroyed = self.context.enter_at_last().and_then(|_current| {
            // SAFETY: an event of ours, used by nobody any more.
            check("cuEventDestroy", unsafe { sys::cuEventDestroy_v2(self.raw) })
        });
        if let Err(error) = destroyed {
            leaks::handle(&error);
        }
    }
}
