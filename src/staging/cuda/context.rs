//! The primary context of a device, and what its driver says.

use std::ffi::{CStr, c_int, c_uint};
use std::marker::PhantomData;
use std::process;
use std::ptr;
use std::sync::Arc;

use super::leaks;
use super::sys;
use crate::error::{Error, ErrorKind, Result};

/// The error a call of the driver's ended in, if it did.
pub(super) fn check(call: &str, code: c_int) -> Result<()> {
    if code == sys::SUCCESS { Ok(()) } else { Err(failed(call, code)) }
}

fn failed(call: &str, code: c_int) -> Error {
    let kind = match code {
        sys::OUT_OF_MEMORY => ErrorKind::TooLarge,
        sys::NO_DEVICE | sys::INVALID_DEVICE => ErrorKind::InvalidArgument,
        _ => ErrorKind::Device,
    };
    let mut name = ptr::null();
    // SAFETY: `name` is a place for the answer.
    let known = unsafe { sys::cuGetErrorName(code, &mut name) } == sys::SUCCESS && !name.is_null();
    if known {
        // SAFETY: the driver's names are static, and end with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        Error::new(kind, format!("{call} failed: {name} ({code})"))
    } else {
        Error::new(kind, format!("{call} failed with the code {code}"))
    }
}

/// How many devices the driver shows this process (`CUDA_VISIBLE_DEVICES` hides some).
///
/// # Errors
///
/// `Device` if the driver cannot be started; 0 devices are none.
pub fn cuda_devices() -> Result<u32> {
    // SAFETY: the call takes a number.
    match unsafe { sys::cuInit(0) } {
        sys::NO_DEVICE => return Ok(0),
        code => check("cuInit", code)?,
    }
    let mut count = 0;
    // SAFETY: `count` is a place for the answer.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    Ok(count as u32)
}

/// The primary context of one device: the one that the runtime API, and every framework on it, uses as well. Memory and
/// events of it are theirs to use.
pub(crate) struct Context {
    raw: sys::Context,
    device: sys::Device,
    ordinal: u32,
    /// A forked child has the handles but not the driver behind them.
    process: u32,
}

// SAFETY: a handle; the driver's calls may come from any thread, also at once.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of the device numbered `ordinal` among those visible.
    pub(crate) fn new(ordinal: u32) -> Result<Arc<Context>> {
        let count = cuda_devices()?;
        if ordinal >= count {
            return Err(Error::invalid(format!(
                "no CUDA device {ordinal}: expected one of the {count} visible ones, counted from 0"
            )));
        }
        let (mut device, mut raw) = (0, ptr::null_mut());
        // SAFETY: `device` is a place for the answer.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as c_int) })?;
        // SAFETY: a device of the driver's, and a place for the answer.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        Ok(Arc::new(Context { raw, device, ordinal, process: process::id() }))
    }

    pub(crate) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// The handle (`CUcontext`).
    pub(crate) fn raw(&self) -> *mut std::ffi::c_void {
        self.raw.cast()
    }

    /// What the driver calls the device.
    pub(crate) fn name(&self) -> Result<String> {
        let mut name = [0u8; 256];
        // SAFETY: there is room for 255 bytes, and a zero is left behind them.
        let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), 255, self.device) };
        check("cuDeviceGetName", code)?;
        let text = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(text.to_string_lossy().into_owned())
    }

    /// Free and total bytes of the device.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        let _current = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: places for the answers.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Makes this the context of the calling thread for as long as the answer lives.
    pub(super) fn enter(&self) -> Result<Current<'_>> {
        if self.process != process::id() {
            return Err(Error::new(
                ErrorKind::Forked,
                "the CUDA driver was started before this process was forked, and stayed behind: start it here",
            ));
        }
        let mut before = ptr::null_mut();
        // SAFETY: a place for the answer.
        check("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&mut before) })?;
        if before != self.raw {
            // SAFETY: a context that is retained as long as `self` lives.
            check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })?;
        }
        Ok(Current { before, changed: before != self.raw, context: PhantomData })
    }

    /// As [`enter`](Context::enter), once more if it fails: for what has to be done at the end.
    pub(super) fn enter_at_last(&self) -> Result<Current<'_>> {
        self.enter().or_else(|_| self.enter())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained by `new`; what belongs to the context holds it, and is gone.
        let released =
            || check("cuDevicePrimaryCtxRelease", unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) });
        if self.process == process::id()
            && let Err(error) = released()
        {
            leaks::handle(&error);
        }
    }
}

/// A thread's being in a context.
pub(super) struct Current<'a> {
    before: sys::Context,
    changed: bool,
    /// Also: of this thread alone.
    context: PhantomData<(&'a Context, *const ())>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        // Putting back a context may be tried again. If it fails both times, the driver does: the thread stays in ours.
        // SAFETY: the context that was this thread's own before.
        let back = || unsafe { sys::cuCtxSetCurrent(self.before) } == sys::SUCCESS;
        let _ = !self.changed || back() || back();
    }
}

/// A flag word, as the driver takes it.
pub(super) const NO_FLAGS: c_uint = 0;
