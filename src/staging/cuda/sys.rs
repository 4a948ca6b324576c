//! The calls of CUDA's driver that are used, as `cuda.h` declares them.
//!
//! Linked through `cust`, whose handles they take. They are declared anew for their answers alone: a driver newer than `cust`
//! knows codes that the enum `cust::sys::CUresult` does not, and an enum of such a value would be undefined behaviour.

use std::ffi::{c_char, c_int, c_uint, c_void};

pub(super) use cust::sys::{
    CU_MEMHOSTALLOC_PORTABLE, CUcontext as Context, CUdevice as Device, CUdeviceptr as DevicePointer,
    CUevent as Event, CUfunction as Function, CUmodule as Module, CUstream as Stream,
};

pub(super) const SUCCESS: c_int = 0;
pub(super) const OUT_OF_MEMORY: c_int = 2;
pub(super) const NO_DEVICE: c_int = 100;
pub(super) const INVALID_DEVICE: c_int = 101;
pub(super) const NOT_READY: c_int = 600;

/// A stream that does not wait for the legacy default stream, nor it for this one.
pub(super) const STREAM_NON_BLOCKING: c_uint = 1;
/// Who waits for the event sleeps (1), and it keeps no time (2).
pub(super) const EVENT_BLOCKING_SYNC_DISABLE_TIMING: c_uint = 3;

unsafe extern "C" {
    pub(super) fn cuInit(flags: c_uint) -> c_int;
    pub(super) fn cuGetErrorName(code: c_int, name: *mut *const c_char) -> c_int;

    pub(super) fn cuDeviceGetCount(count: *mut c_int) -> c_int;
    pub(super) fn cuDeviceGet(device: *mut Device, ordinal: c_int) -> c_int;
    pub(super) fn cuDeviceGetName(name: *mut c_char, len: c_int, device: Device) -> c_int;
    pub(super) fn cuDevicePrimaryCtxRetain(context: *mut Context, device: Device) -> c_int;
    pub(super) fn cuDevicePrimaryCtxRelease_v2(device: Device) -> c_int;
    pub(super) fn cuCtxGetCurrent(context: *mut Context) -> c_int;
    pub(super) fn cuCtxSetCurrent(context: Context) -> c_int;

    pub(super) fn cuMemHostAlloc(at: *mut *mut c_void, len: usize, flags: c_uint) -> c_int;
    pub(super) fn cuMemFreeHost(at: *mut c_void) -> c_int;
    pub(super) fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int;
    pub(super) fn cuMemAlloc_v2(at: *mut DevicePointer, len: usize) -> c_int;
    pub(super) fn cuMemFree_v2(at: DevicePointer) -> c_int;
    pub(super) fn cuMemcpyHtoDAsync_v2(
        to: DevicePointer,
        from: *const c_void,
        len: usize,
        stream: Stream,
    ) -> c_int;

    pub(super) fn cuMemcpyDtoHAsync_v2(
        to: *mut c_void,
        from: DevicePointer,
        len: usize,
        stream: Stream,
    ) -> c_int;
    pub(super) fn cuMemsetD8Async(to: DevicePointer, byte: u8, len: usize, stream: Stream) -> c_int;

    pub(super) fn cuModuleLoadData(module: *mut Module, image: *const c_void) -> c_int;
    pub(super) fn cuModuleGetFunction(function: *mut Function, module: Module, name: *const c_char) -> c_int;
    pub(super) fn cuModuleUnload(module: Module) -> c_int;
    pub(super) fn cuLaunchKernel(
        function: Function,
        blocks_x: c_uint,
        blocks_y: c_uint,
        blocks_z: c_uint,
        threads_x: c_uint,
        threads_y: c_uint,
        threads_z: c_uint,
        shared_bytes: c_uint,
        stream: Stream,
        params: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> c_int;

    pub(super) fn cuStreamCreate(stream: *mut Stream, flags: c_uint) -> c_int;
    pub(super) fn cuStreamDestroy_v2(stream: Stream) -> c_int;
    pub(super) fn cuStreamSynchronize(stream: Stream) -> c_int;
    pub(super) fn cuStreamWaitEvent(stream: Stream, event: Event, flags: c_uint) -> c_int;

    pub(super) fn cuEventCreate(event: *mut Event, flags: c_uint) -> c_int;
    pub(super) fn cuEventDestroy_v2(event: Event) -> c_int;
    pub(super) fn cuEventRecord(event: Event, stream: Stream) -> c_int;
    pub(super) fn cuEventQuery(event: Event) -> c_int;
    pub(super) fn cuEventSynchronize(event: Event) -> c_int;
}
