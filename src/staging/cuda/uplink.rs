//! Copies to a device, and the memory they go to.

use std::ffi::c_void;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::buffer::{Buffer, Copy, Progress};
use super::context::{Context, check};
use super::device_memory::DeviceMemory;
use super::kernels::{Bases, Kernels};
use super::load::{At, Load};
use super::stream::{Event, Stream, TrainerStream};
use super::{faults, leaks, sys};
use crate::error::{Error, ErrorKind, Result};
use crate::staging::Slot;

struct Shared<C> {
    stream: Stream,
    /// Of an uplink whose loads have work.
    kernels: Option<Kernels>,
    /// What stays on the device: freed when the last batch that may be read from it is done with.
    resident: Option<DeviceMemory>,
    /// Dropped by the trainer; the oldest first.
    idle: Mutex<Vec<Copy<C>>>,
    /// Buffers there may be before those still in use by the trainer's streams are waited for.
    max_buffers: usize,
    /// All relaxed: hints, and sums that are read alone.
    num_buffers: AtomicUsize,
    device_bytes: AtomicUsize,
    high_water_bytes: AtomicUsize,
    /// Whether a stream that reads a batch, or what stays on the device, is one that nobody can wait for.
    has_lost_readers: AtomicBool,
}

/// Memory of the device that is to stay there as long as the uplink, or anything sent by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residence {
    pub(crate) len_bytes: usize,
    /// For the columns of a dataset: bytes that have to be free beside them.
    pub(crate) beside_bytes: Option<usize>,
}

/// A stream of copies to one device, and the pool of its buffers.
///
/// What was sent holds the pool: it may outlive this handle.
pub(crate) struct Uplink<C>(Arc<Shared<C>>);

impl<C> Uplink<C> {
    /// A stream to the device of `context` with up to `max_buffers` buffers, more where the trainer holds that many batches. With
    /// a `residence` its loads may have work, and use the memory that stays.
    ///
    /// # Errors
    ///
    /// `TooLarge`, with the bytes that are missing, if the device has no memory for the residence; `Device` if the driver fails.
    pub(crate) fn new(
        context: &Arc<Context>,
        max_buffers: usize,
        residence: Option<Residence>,
    ) -> Result<Self> {
        let resident = match residence.filter(|residence| residence.len_bytes > 0) {
            None => None,
            Some(Residence { len_bytes, beside_bytes: None }) => Some(DeviceMemory::new(context, len_bytes)?),
            Some(Residence { len_bytes, beside_bytes: Some(beside_bytes) }) => {
                Some(DeviceMemory::for_columns(context, len_bytes, beside_bytes)?)
            }
        };
        let kernels = residence.map(|_| Kernels::new(context)).transpose()?;
        let resident_bytes = resident.as_ref().map_or(0, |resident| resident.len_bytes);
        Ok(Uplink(Arc::new(Shared {
            stream: Stream::new(context)?,
            kernels,
            resident,
            idle: Mutex::default(),
            max_buffers,
            num_buffers: AtomicUsize::new(0),
            device_bytes: AtomicUsize::new(resident_bytes),
            high_water_bytes: AtomicUsize::new(0),
            has_lost_readers: AtomicBool::new(false),
        })))
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        self.0.stream.context()
    }

    /// The handle of the stream (`CUstream`).
    pub(crate) fn raw_stream(&self) -> *mut c_void {
        self.0.stream.raw().cast()
    }

    /// Bytes of the device's memory that are held.
    pub(crate) fn device_bytes(&self) -> usize {
        self.0.device_bytes.load(Ordering::Relaxed)
    }

    /// Lets the slots go whose copies are done.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.0.idle().iter_mut().try_for_each(|copy| copy.is_done().map(drop))
    }

    /// Sends of `slot` what `load` says, and has the device work on it: queues that and returns.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the device has no memory for it; `Device` if the driver fails; `Internal` for a load whose places lie nowhere.
    /// The slot is let go of when no copy reads it.
    pub(crate) fn send(&self, slot: Slot<C>, load: &Load) -> Result<Sent<C>> {
        let shared = &self.0;
        load.check(slot.bytes(), shared.resident.as_ref().map_or(0, |resident| resident.len_bytes))?;
        let (buffer, was_held_back) = shared.take(load.len_bytes.max(1))?;
        // From here on an early return waits: the drop of `sent` does.
        let copy = Copy { buffer, slot: Some(slot), progress: Progress::Unknown };
        let sent = Sent {
            shared: shared.clone(),
            was_held_back,
            state: Mutex::new(State { copy: Some(copy), readers: Vec::new() }),
        };
        sent.with_copy(|copy| shared.queue(copy, load))?;
        Ok(sent)
    }
}

impl<C> Shared<C> {
    fn idle(&self) -> MutexGuard<'_, Vec<Copy<C>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `len_bytes` that may be written by what our stream does next; and whether that had to be held back until
    /// the trainer's streams are done with it.
    fn take(&self, len_bytes: usize) -> Result<(Buffer, bool)> {
        let wanted = self.high_water_bytes.fetch_max(len_bytes, Ordering::Relaxed).max(len_bytes);
        let mut idle = self.idle();
        let mut at = 0;
        while at < idle.len() {
            let copy = &mut idle[at];
            let free = copy.is_done()? && copy.buffer.is_released()?;
            match (free, copy.buffer.len_bytes >= len_bytes) {
                (true, true) => return Ok((idle.remove(at).buffer, false)),
                // Batches have grown past it.
                (true, false) => self.free(idle.remove(at).buffer),
                (false, _) => at += 1,
            }
        }
        if self.num_buffers.load(Ordering::Relaxed) >= self.max_buffers {
            // The trainer lags behind: its oldest batch that is dropped and large enough. Its copy is done before ours by the
            // order of our stream, but the slot of it still waits for the event, which is about to be recorded anew.
            if let Some(at) = idle.iter().position(|copy| copy.buffer.len_bytes >= len_bytes) {
                let mut copy = idle.remove(at);
                drop(idle);
                let reused = copy.wait(&self.stream).and_then(|()| {
                    let released = &copy.buffer.released[..copy.buffer.num_released];
                    let wait = |event| {
                        if faults::on(faults::NO_RELEASE) { Ok(()) } else { self.stream.wait_for(event) }
                    };
                    released.iter().try_for_each(wait)
                });
                return match reused {
                    Ok(()) => {
                        copy.buffer.num_released = 0;
                        Ok((copy.buffer, true))
                    }
                    Err(error) => {
                        self.idle().push(copy);
                        Err(error)
                    }
                };
            }
        }
        drop(idle);
        self.allocate(wanted).map(|buffer| (buffer, false))
    }

    fn allocate(&self, len_bytes: usize) -> Result<Buffer> {
        let context = self.stream.context();
        let copied = Event::new(context)?;
        let _current = context.enter()?;
        let mut at = 0;
        // SAFETY: a place for the answer.
        let code = unsafe { sys::cuMemAlloc_v2(&mut at, len_bytes) };
        check("cuMemAlloc", code).map_err(|error| match (error.kind(), context.memory()) {
            (ErrorKind::TooLarge, Ok((free, total))) => Error::new(
                ErrorKind::TooLarge,
                format!(
                    "expected {len_bytes} bytes for a batch on device {}, found {free} of {total} free, {} in use by this \
                     loader: lower device_depth or batch_size, or hold fewer batches",
                    context.ordinal(),
                    self.device_bytes.load(Ordering::Relaxed)
                ),
            ),
            _ => error,
        })?;
        self.num_buffers.fetch_add(1, Ordering::Relaxed);
        self.device_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        Ok(Buffer { at, len_bytes, copied, released: Vec::new(), num_released: 0 })
    }

    /// Frees a buffer that nothing reads or writes any more.
    fn free(&self, buffer: Buffer) {
        self.num_buffers.fetch_sub(1, Ordering::Relaxed);
        self.device_bytes.fetch_sub(buffer.len_bytes, Ordering::Relaxed);
        let freed = self.stream.context().enter_at_last().and_then(|_current| {
            // SAFETY: memory of `cuMemAlloc`; its copy is done and the trainer's events have passed.
            check("cuMemFree", unsafe { sys::cuMemFree_v2(buffer.at) })
        });
        if let Err(error) = freed {
            leaks::device(buffer.len_bytes, &error);
        }
    }

    /// Where the places of a load into `buffer` are.
    fn bases(&self, buffer: &Buffer) -> Bases {
        Bases { buffer: buffer.at, resident: self.resident.as_ref().map_or(0, |resident| resident.at) }
    }

    /// Queues the copies, the work on them and the event behind all.
    fn queue(&self, copy: &mut Copy<C>, load: &Load) -> Result<()> {
        if faults::on(faults::WRONG_ORDER) {
            copy.buffer.copied.record(&self.stream)?;
        }
        let bases = self.bases(&copy.buffer);
        for (range, to) in &load.copies {
            let slot = copy.slot.as_ref().expect("a slot that is sent");
            let bytes = &slot.bytes()[range.clone()];
            if bytes.is_empty() {
                continue;
            }
            let _current = self.stream.context().enter()?;
            let (to, from) = (bases.address(*to), bytes.as_ptr().cast::<c_void>());
            // SAFETY: the bytes lie in the slot, and there is room for them at `to` (checked by `send`). Slot and buffer are held by
            // `copy` until the event recorded below has passed, or the stream was waited for, or else for ever, and what is resident
            // as long as the stream; a share of a slot keeps it from being written.
            let code = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes.len(), self.stream.raw()) };
            check("cuMemcpyHtoDAsync", code)?;
        }
        if faults::on(faults::BEFORE_KERNELS) {
            copy.buffer.copied.record(&self.stream)?;
        }
        for work in &load.work {
            let kernels = self.kernels.as_ref().ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a load has work, and its uplink no kernels")
            })?;
            // SAFETY: `send` checked the work's places; buffer and residence live as said above.
            unsafe { kernels.queue(work, bases, &self.stream) }?;
        }
        if !faults::on(faults::WRONG_ORDER) && !faults::on(faults::BEFORE_KERNELS) {
            copy.buffer.copied.record(&self.stream)?;
        }
        copy.progress = Progress::Recorded;
        if faults::on(faults::NO_WAIT) {
            copy.slot = None;
        }
        Ok(())
    }
}

impl<C> Drop for Shared<C> {
    fn drop(&mut self) {
        if faults::on(faults::EARLY_RESIDENT) {
            self.resident = None;
        }
        let idle = mem::take(&mut *self.idle());
        let mut unfinished = match *self.has_lost_readers.get_mut() {
            true => Err(Error::new(ErrorKind::Device, "a stream that read a batch could not be waited for")),
            false => Ok(()),
        };
        for mut copy in idle {
            match copy.wait(&self.stream).and_then(|()| copy.buffer.wait_released()) {
                Ok(()) => self.free(copy.buffer),
                Err(error) => {
                    copy.leak(&error);
                    unfinished = Err(error);
                }
            }
        }
        // A wait of the stream's own may be left, queued by a call that failed; it ends, as all it waits for has. Where the driver
        // does not say so, the stream stays.
        let drained = || self.stream.synchronize();
        if let Err(error) = unfinished.and_then(|()| drained().or_else(|_| drained())) {
            self.stream.leak(&error);
            self.kernels.iter_mut().for_each(|kernels| kernels.leak(&error));
            self.resident.iter_mut().for_each(|resident| resident.leak(&error));
        }
    }
}

/// A batch on its way to the device, or there.
pub(crate) struct Sent<C> {
    shared: Arc<Shared<C>>,
    was_held_back: bool,
    state: Mutex<State<C>>,
}

struct State<C> {
    /// Present until it is released.
    copy: Option<Copy<C>>,
    /// The trainer's streams that waited for the copy.
    readers: Vec<TrainerStream>,
}

impl<C> State<C> {
    /// Whether the copy is done, or has been released.
    fn is_done(&mut self) -> Result<bool> {
        self.copy.as_mut().map_or(Ok(true), Copy::is_done)
    }
}

impl<C> Sent<C> {
    fn with<R>(&self, work: impl FnOnce(&mut State<C>) -> R) -> R {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_copy<R>(&self, work: impl FnOnce(&mut Copy<C>) -> R) -> R {
        self.with(|state| work(state.copy.as_mut().expect("present until it is released")))
    }

    /// The address of `at`, where its bytes are, or will be once the copy is done.
    pub(crate) fn address(&self, at: At) -> u64 {
        self.with_copy(|copy| self.shared.bases(&copy.buffer).address(at))
    }

    /// Brings `len_bytes` bytes at `at` back, once the copy is done and what was asked of the device.
    pub(crate) fn fetch(&self, at: At, len_bytes: usize) -> Result<Vec<u8>> {
        self.with_copy(|copy| {
            let room = match at {
                At::Buffer(start) => copy.buffer.len_bytes.checked_sub(start),
                At::Resident(start) => {
                    self.shared.resident.as_ref().and_then(|resident| resident.len_bytes.checked_sub(start))
                }
            };
            if room.is_none_or(|room| room < len_bytes) {
                return Err(Error::new(ErrorKind::Internal, "bytes to be fetched lie nowhere on the device"));
            }
            let mut bytes = vec![0u8; len_bytes];
            let (to, from) =
                (bytes.as_mut_ptr().cast::<c_void>(), self.shared.bases(&copy.buffer).address(at));
            let stream = &self.shared.stream;
            let queued = stream.context().enter().and_then(|_current| {
                // SAFETY: both are of `len_bytes` bytes, as was just checked; `bytes` is kept until the stream was waited for, or
                // for ever.
                check("cuMemcpyDtoHAsync", unsafe {
                    sys::cuMemcpyDtoHAsync_v2(to, from, len_bytes, stream.raw())
                })
            });
            if let Err(error) = stream.synchronize().or_else(|_| stream.synchronize()) {
                leaks::host(len_bytes, &error);
                mem::forget(bytes);
                return Err(error);
            }
            queued.map(|()| bytes)
        })
    }

    /// Whether the copy had to wait for the trainer's streams.
    pub(crate) fn was_held_back(&self) -> bool {
        self.was_held_back
    }

    /// The handle of the event behind the copy (`CUevent`).
    pub(crate) fn raw_event(&self) -> *mut c_void {
        self.with_copy(|copy| copy.buffer.copied.raw().cast())
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        self.shared.stream.context()
    }

    /// Whether the copy is done; the slot goes with it.
    pub(crate) fn is_done(&self) -> Result<bool> {
        self.with(State::is_done)
    }

    /// As [`is_done`](Sent::is_done), but that it says no where another thread waits for the copy, rather than wait with it.
    pub(crate) fn is_seen_done(&self) -> Result<bool> {
        match self.state.try_lock() {
            Ok(mut state) => state.is_done(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().is_done(),
            Err(TryLockError::WouldBlock) => Ok(false),
        }
    }

    /// Waits until the copy is done.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.with_copy(|copy| copy.wait(&self.shared.stream))
    }

    /// What `stream` is given from here on happens after the copy; and the buffer is written again only after what it was given
    /// until the drop of this.
    pub(crate) fn wait_on(&self, stream: TrainerStream) -> Result<()> {
        self.with(|state| {
            // First: a call that fails may have been heard.
            if !state.readers.contains(&stream) {
                state.readers.push(stream);
            }
            stream.wait_for(&state.copy.as_ref().expect("present until it is released").buffer.copied)
        })
    }
}

impl<C> Sent<C> {
    /// Gives the buffer back, which is written again after what the trainer's streams were given so far. None of them is used from
    /// here on, whoever else has a share of this: the trainer may destroy them.
    pub(crate) fn release(&self) {
        let (copy, readers) = self.with(|state| (state.copy.take(), mem::take(&mut state.readers)));
        let Some(mut copy) = copy else { return };
        // What nobody knows of is waited for at once; what has an event, when its buffer is next asked for.
        if copy.progress == Progress::Unknown
            && let Err(error) = copy.wait(&self.shared.stream)
        {
            return copy.leak(&error);
        }
        let context = self.shared.stream.context();
        for reader in readers {
            let marked = copy.buffer.mark(context, reader);
            // Without a mark the stream itself is waited for, now.
            if let Err(error) = marked.or_else(|_| reader.synchronize(context)) {
                // What it reads may be what stays on the device.
                // Relaxed: whoever drops the last share has been handed it, and all before it.
                self.shared.has_lost_readers.store(true, Ordering::Relaxed);
                return copy.leak(&error);
            }
        }
        self.shared.idle().push(copy);
    }
}

impl<C> Drop for Sent<C> {
    fn drop(&mut self) {
        self.release();
    }
}
