//! A driver without a device: the calls of CUDA's driver that `forebay` uses, in host memory.
//!
//! It is a test of protocol, not of CUDA: asynchronous work happens late and, between streams, in random order; memory is
//! watched for use after it was freed, for sources that change before they were copied, and for leaks; kernels are executed from their
//! PTX, thread by thread; the n-th call can be made to fail. Its control is a symbol no driver has: `testdriver_control`.
//!
//! SAFETY, of every block of this file: it writes an answer to, or reads bytes at, a pointer that the caller of a driver promises
//! to be good for it.

#![allow(non_snake_case, clippy::missing_safety_doc)]

mod control;
mod kernels;
mod memory;
mod ptx;
mod state;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_uint, c_void};

use memory::hash;
use state::{Event, MAX_DEVICES, Op, State, Stream, key_of, state};

/// Flags that the crate is to set.
const PORTABLE: c_uint = 1;
const NON_BLOCKING: c_uint = 1;
const DISABLE_TIMING: c_uint = 2;

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
const INVALID_DEVICE: c_int = 101;
const INVALID_CONTEXT: c_int = 201;
const INVALID_PTX: c_int = 218;
const INVALID_HANDLE: c_int = 400;
const NOT_FOUND: c_int = 500;
const NOT_READY: c_int = 600;
const UNKNOWN: c_int = 999;

/// The handle of the primary context of device 0.
const CONTEXTS: usize = 0xC000;

thread_local! {
    /// The context of this thread; 0 for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Counts a call, lets work happen, and fails if this call is to fail.
fn call(name: &'static str, work: impl FnOnce(&mut State) -> c_int) -> c_int {
    call_that_may(false, name, work)
}

/// As [`call`]; a call that `queues` work may do so and fail nevertheless, with an error of work before it.
fn call_that_may(queues: bool, name: &'static str, work: impl FnOnce(&mut State) -> c_int) -> c_int {
    let state = &mut *state();
    state.calls += 1;
    state.drift();
    if let Some(code) = state.broken {
        return code;
    }
    match &state.failure {
        Some(failure) if failure.at == state.calls || (failure.name == name && state.failed.is_empty()) => {
            let (code, with_effect) = (failure.code, failure.with_effect);
            state.failed = name;
            if failure.sticky {
                state.broken = Some(code);
            }
            if with_effect && queues {
                work(state);
            }
            code
        }
        _ => work(state),
    }
}

/// As [`call`], with the device of the current context.
fn call_within(name: &'static str, work: impl FnOnce(&mut State, usize) -> c_int) -> c_int {
    within(false, name, work)
}

/// As [`call_within`], for a call that queues work.
fn queue_within(name: &'static str, work: impl FnOnce(&mut State, usize) -> c_int) -> c_int {
    within(true, name, work)
}

fn within(queues: bool, name: &'static str, work: impl FnOnce(&mut State, usize) -> c_int) -> c_int {
    call_that_may(queues, name, |state| {
        let device = CURRENT.get().wrapping_sub(CONTEXTS);
        if device < MAX_DEVICES && state.retained[device] > 0 { work(state, device) } else { INVALID_CONTEXT }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_: c_uint) -> c_int {
    call("cuInit", |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    call("cuDriverGetVersion", |_| {
        unsafe { *version = 0 };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: c_int, name: *mut *const c_char) -> c_int {
    let text = match code {
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_CONTEXT => c"CUDA_ERROR_INVALID_CONTEXT",
        INVALID_HANDLE => c"CUDA_ERROR_INVALID_HANDLE",
        INVALID_PTX => c"CUDA_ERROR_INVALID_PTX",
        NOT_FOUND => c"CUDA_ERROR_NOT_FOUND",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        719 => c"CUDA_ERROR_LAUNCH_FAILED",
        UNKNOWN => c"CUDA_ERROR_UNKNOWN",
        _ => return INVALID_VALUE,
    };
    unsafe { *name = text.as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    call("cuDeviceGetCount", |state| {
        unsafe { *count = state.devices as c_int };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    call("cuDeviceGet", |state| {
        if !(0..state.devices as c_int).contains(&ordinal) {
            return INVALID_DEVICE;
        }
        unsafe { *device = ordinal };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) -> c_int {
    call("cuDeviceGetName", |_| {
        let text = format!("test driver, device {device}\0");
        let len = text.len().min(len as usize);
        unsafe { name.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), len) };
        SUCCESS
    })
}

/// No device has any attribute.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, _: c_int, _: c_int) -> c_int {
    call("cuDeviceGetAttribute", |_| {
        unsafe { *value = 0 };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRetain", |state| {
        if device as usize >= state.devices {
            return INVALID_DEVICE;
        }
        state.retained[device as usize] += 1;
        unsafe { *context = (CONTEXTS + device as usize) as *mut c_void };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRelease_v2", |state| {
        let device = device as usize;
        if state.retained[device] == 0 {
            state.violation(format!("the context of device {device} was released too often"));
            return INVALID_CONTEXT;
        }
        state.retained[device] -= 1;
        if state.retained[device] == 0 && state.memory.free_all(device) && state.failure.is_none() {
            state.violation(format!("the context of device {device} was released before its memory"));
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut *mut c_void) -> c_int {
    call("cuCtxGetCurrent", |_| {
        unsafe { *context = CURRENT.get() as *mut c_void };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    call("cuCtxSetCurrent", |state| {
        let device = (context as usize).wrapping_sub(CONTEXTS);
        if !context.is_null() && (device >= MAX_DEVICES || state.retained[device] == 0) {
            return INVALID_CONTEXT;
        }
        CURRENT.set(context as usize);
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> c_int {
    call_within("cuCtxSynchronize", |state, device| {
        let idle = |state: &State| {
            state.streams.values().all(|stream| stream.device != device || stream.queue.is_empty())
        };
        if state.wait(idle) { SUCCESS } else { UNKNOWN }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(at: *mut *mut c_void, len: usize, flags: c_uint) -> c_int {
    call_within("cuMemHostAlloc", |state, _| {
        if flags != PORTABLE {
            state.violation("memory was locked for the context of one device alone".into());
        }
        match state.pinned.allocate(len) {
            Some(address) => {
                unsafe { *at = address as *mut c_void };
                SUCCESS
            }
            None => OUT_OF_MEMORY,
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(at: *mut c_void) -> c_int {
    call_within("cuMemFreeHost", |state, _| {
        let Some(len) = state.pinned.free(at as usize) else {
            state.violation("page-locked memory was freed twice".into());
            return INVALID_VALUE;
        };
        if state.host_in_use(at as usize, len) {
            state.violation(format!("{len} bytes of page-locked memory were freed before they were copied"));
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    call_within("cuMemGetInfo_v2", |state, device| {
        unsafe {
            *total = state.device_bytes;
            *free = state.device_bytes.saturating_sub(state.memory.held(Some(device)));
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(at: *mut u64, len: usize) -> c_int {
    call_within("cuMemAlloc_v2", |state, device| {
        if len == 0 {
            return INVALID_VALUE;
        }
        if state.memory.held(Some(device)).saturating_add(len) > state.device_bytes {
            return OUT_OF_MEMORY;
        }
        unsafe { *at = state.memory.allocate(device, len) };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(at: u64) -> c_int {
    call_within("cuMemFree_v2", |state, _| {
        if let Some((start, len)) = state.memory.block(at)
            && state.device_in_use(start, len)
        {
            state.violation(format!("{len} bytes of device memory were freed while in use"));
        }
        if !state.memory.free(at) {
            state.violation("device memory was freed twice".into());
            return INVALID_VALUE;
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut *mut c_void, flags: c_uint) -> c_int {
    call_within("cuStreamCreate", |state, device| {
        if flags != NON_BLOCKING {
            state.violation("a stream was made that waits for the legacy default stream".into());
        }
        let handle = state.handle();
        state.streams.insert(handle, Stream { device, queue: VecDeque::new() });
        unsafe { *stream = handle as *mut c_void };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> c_int {
    call_within("cuStreamDestroy_v2", |state, _| match state.streams.remove(&(stream as usize)) {
        Some(stream) => {
            if !stream.queue.is_empty() {
                state.violation("a stream was destroyed before its work was done".into());
            }
            SUCCESS
        }
        None => {
            state.violation("a stream was destroyed twice".into());
            INVALID_HANDLE
        }
    })
}

/// Lays `op` into the queue of `stream`.
fn enqueue(state: &mut State, stream: *mut c_void, device: usize, op: Op) -> c_int {
    match state.stream(stream as usize, device) {
        Some(stream) if stream.device == device => {
            stream.queue.push_back(op);
            SUCCESS
        }
        Some(_) => {
            state.violation("a stream was used within the context of another device".into());
            INVALID_HANDLE
        }
        None => {
            state.violation("a stream was used after it was destroyed".into());
            INVALID_HANDLE
        }
    }
}

fn synchronize(state: &mut State, stream: *mut c_void, device: usize) -> c_int {
    let key = key_of(stream as usize, device);
    let done = state.wait(|state| state.streams.get(&key).is_none_or(|stream| stream.queue.is_empty()));
    if done { SUCCESS } else { UNKNOWN }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> c_int {
    call_within("cuStreamSynchronize", |state, device| synchronize(state, stream, device))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _: c_uint) -> c_int {
    queue_within("cuStreamWaitEvent", |state, device| match state.events.get(&(event as usize)) {
        Some(found) => {
            let op = Op::Wait { event: event as usize, turn: found.recorded };
            enqueue(state, stream, device, op)
        }
        None => unknown_event(state),
    })
}

fn unknown_event(state: &mut State) -> c_int {
    state.violation("an event was used after it was destroyed".into());
    INVALID_HANDLE
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    source: *const c_void,
    len: usize,
    stream: *mut c_void,
) -> c_int {
    queue_within("cuMemcpyHtoDAsync_v2", |state, device| {
        let pinned = state.pinned.holds(source as usize, len);
        let bytes = source.cast::<u8>();
        let hash = unsafe { hash(bytes, len) };
        let staged = (!pinned).then(|| unsafe { std::slice::from_raw_parts(bytes, len) }.to_vec());
        enqueue(state, stream, device, Op::ToDevice { source: source as usize, to, len, hash, staged })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: *mut c_void) -> c_int {
    queue_within("cuMemcpyDtoHAsync_v2", |state, device| {
        let pinned = state.pinned.holds(to as usize, len);
        let code = enqueue(state, stream, device, Op::ToHost { from, to: to as usize, len });
        // A copy to pageable memory returns when it is done.
        if code == SUCCESS && !pinned { synchronize(state, stream, device) } else { code }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, flags: c_uint) -> c_int {
    call_within("cuEventCreate", |state, device| {
        if flags & DISABLE_TIMING == 0 {
            state.violation("an event was made that takes the time".into());
        }
        let handle = state.handle();
        state.events.insert(handle, Event { device, ..Event::default() });
        unsafe { *event = handle as *mut c_void };
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> c_int {
    call_within("cuEventDestroy_v2", |state, _| match state.events.remove(&(event as usize)) {
        Some(event) => {
            if event.passed < event.recorded {
                state.violation("an event was destroyed before it had passed".into());
            }
            SUCCESS
        }
        None => unknown_event(state),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> c_int {
    queue_within("cuEventRecord", |state, device| match state.events.get_mut(&(event as usize)) {
        Some(found) if found.device == device => {
            found.recorded += 1;
            let turn = found.recorded;
            enqueue(state, stream, device, Op::Record { event: event as usize, turn })
        }
        Some(_) => INVALID_HANDLE,
        None => unknown_event(state),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: *mut c_void) -> c_int {
    call("cuEventQuery", |state| match state.events.get(&(event as usize)) {
        Some(event) if event.passed >= event.recorded => SUCCESS,
        Some(_) => NOT_READY,
        None => unknown_event(state),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: *mut c_void) -> c_int {
    call("cuEventSynchronize", |state| {
        let key = event as usize;
        if !state.events.contains_key(&key) {
            return unknown_event(state);
        }
        let done =
            state.wait(|state| state.events.get(&key).is_none_or(|event| event.passed >= event.recorded));
        if done { SUCCESS } else { UNKNOWN }
    })
}
