//! How fast copies can be: what a loader is measured against.

use std::ffi::c_void;
use std::mem;
use std::time::{Duration, Instant};

use super::context::{Context, check};
use super::device_memory::DeviceMemory;
use super::pinned::Pins;
use super::stream::Stream;
use super::{leaks, sys};
use crate::error::{Error, Result};

/// Copies queued at a time: enough that the device never waits for the CPU.
const QUEUED: usize = 16;

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
    let target = DeviceMemory::new(&context, len_bytes)?;
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
