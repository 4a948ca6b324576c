//! How fast copies can be: what a loader is measured against.

use std::ffi::c_void;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::{Context, check};
use super::pinned::Pins;
use super::stream::Stream;
use super::{leaks, sys};
use crate::error::{Error, Result};

/// Copies queued at a time: enough that the device never waits for the CPU.
const QUEUED: usize = 16;

/// Device memory that is freed on drop.
struct Target {
    at: sys::DevicePointer,
    len_bytes: usize,
    context: Arc<Context>,
}

impl Target {
    fn new(context: &Arc<Context>, len_bytes: usize) -> Result<Self> {
        let _current = context.enter()?;
        let mut at = 0;
        // SAFETY: a place for the answer.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut at, len_bytes) })?;
        Ok(Target { at, len_bytes, context: context.clone() })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let freed = self.context.enter_at_last().and_then(|_current| {
            // SAFETY: memory of `cuMemAlloc`; whoever drops it waited for the copies into it.
            check("cuMemFree", unsafe { sys::cuMemFree_v2(self.at) })
        });
        if let Err(error) = freed {
            leaks::device(self.len_bytes, &error);
        }
    }
}

/// Bytes per second of bare asynchronous copies of `len_bytes` from page-locked memory to the device `device`, measured for
/// `time` at least: the ceiling of every loader.
///
/// # Errors
///
/// `InvalidArgument` if there is no such device or `len_bytes` is 0; `TooLarge` if there is no memory; `Device` if the driver
/// fails.
pub fn cuda_copy_rate(device: u32, len_bytes: usize, time: Duration) -> Result<f64> {
    if len_bytes == 0 {
        return Err(Error::invalid("expected copies of at least 1 byte, found 0"));
    }
    let context = Context::new(device)?;
    let pins = Pins::new(context.clone(), usize::MAX);
    let source = pins.allocate(len_bytes)?.expect("there is no cap");
    let target = Target::new(&context, len_bytes)?;
    let mut stream = Stream::new(&context)?;
    let mut copy_some = |copies: usize| {
        let queued = (0..copies).try_for_each(|_| {
            let _current = context.enter()?;
            let from = source.bytes().as_ptr().cast::<c_void>();
            // SAFETY: both are of `len_bytes` bytes, and are freed after the stream was waited for, or never.
            check("cuMemcpyHtoDAsync", unsafe {
                sys::cuMemcpyHtoDAsync_v2(target.at, from, len_bytes, stream.raw())
            })
        });
        let waited = stream.synchronize().or_else(|_| stream.synchronize());
        if let Err(error) = &waited {
            stream.leak(error);
        }
        (queued, waited)
    };
    // The first copies find cold tables; they are not counted.
    let mut copied = 0;
    let mut outcome = copy_some(QUEUED);
    let begun = Instant::now();
    while outcome.0.is_ok() && outcome.1.is_ok() && (copied == 0 || begun.elapsed() < time) {
        outcome = copy_some(QUEUED);
        copied += QUEUED;
    }
    let seconds = begun.elapsed().as_secs_f64();
    if let (_, Err(error)) = &outcome {
        leaks::host(len_bytes, error);
        leaks::device(len_bytes, error);
        mem::forget((source, target));
        return Err(outcome.1.expect_err("just seen"));
    }
    outcome.0.map(|()| (copied * len_bytes) as f64 / seconds)
}
