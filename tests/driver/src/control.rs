//! What a test asks of the driver. These calls are not counted, and nothing happens in them.

use std::ffi::{c_int, c_void};

use crate::enqueue;
use crate::memory::hash;
use crate::state::{Failure, MAX_DEVICES, Op, state};

/// What a test wants; the numbers are those of `tests/cuda/control.rs`.
///
/// | command | arguments | answer |
/// |---|---|---|
/// | 0 reset | seed | |
/// | 1 fail | at which call, code, 1 for sticky + 2 for with effect | |
/// | 2 eagerness | operations a call lets happen, in sixteenths | |
/// | 3 devices | how many | |
/// | 4 device memory | bytes | |
/// | 10 to 20 | | calls, violations, page-locked bytes, device bytes, events, streams, contexts retained, pending work, copies done, modules, kernels done |
#[unsafe(no_mangle)]
pub extern "C" fn testdriver_control(command: u32, a: u64, b: u64, c: u64) -> u64 {
    let state = &mut *state();
    match command {
        0 => state.reset(a),
        1 => {
            let at = state.calls + a;
            let (sticky, with_effect) = (c & 1 != 0, c & 2 != 0);
            state.failure = Some(Failure { at, name: String::new(), code: b as i32, sticky, with_effect });
        }
        2 => state.eagerness = a,
        3 => state.devices = (a as usize).min(MAX_DEVICES),
        4 => state.device_bytes = a as usize,
        10 => return state.calls,
        11 => return state.violations,
        12 => return state.pinned.bytes() as u64,
        13 => return state.memory.held(None) as u64,
        14 => return state.events.len() as u64,
        15 => return state.live_streams() as u64,
        16 => return state.retained.iter().sum(),
        17 => return state.pending() as u64,
        18 => return state.copies,
        19 => return state.modules.len() as u64,
        20 => return state.launches,
        _ => return u64::MAX,
    }
    0
}

/// The first violation in words, at most `cap` bytes of it; returns how many.
///
/// # Safety
///
/// `to` has room for `cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn testdriver_violation(to: *mut u8, cap: usize) -> usize {
    // SAFETY: there is room, as promised.
    unsafe { answer(&state().first_violation, to, cap) }
}

/// Makes the failure that was asked for that of the next call named by `len` bytes at `name`.
///
/// # Safety
///
/// The bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn testdriver_fail_named(name: *const u8, len: usize) {
    // SAFETY: they can be read, as promised.
    let name = unsafe { std::slice::from_raw_parts(name, len) };
    if let Some(failure) = &mut state().failure {
        failure.at = u64::MAX;
        failure.name = String::from_utf8_lossy(name).into_owned();
    }
}

/// The name of the call that was made to fail, at most `cap` bytes of it; returns how many, 0 before it failed.
///
/// # Safety
///
/// `to` has room for `cap` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn testdriver_failed(to: *mut u8, cap: usize) -> usize {
    // SAFETY: there is room, as promised.
    unsafe { answer(state().failed, to, cap) }
}

/// # Safety
///
/// `to` has room for `cap` bytes.
unsafe fn answer(text: &str, to: *mut u8, cap: usize) -> usize {
    let len = text.len().min(cap);
    // SAFETY: there is room, as promised.
    unsafe { to.copy_from_nonoverlapping(text.as_ptr(), len) };
    len
}

/// Lays a kernel into `stream`, of `device`, that reads `len` bytes at `at` and must find those at `expected`.
///
/// # Safety
///
/// There are `len` bytes at `expected`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn testdriver_expect(
    stream: *mut c_void,
    device: u32,
    at: u64,
    expected: *const u8,
    len: usize,
) -> c_int {
    // SAFETY: they can be read, as promised.
    let hash = unsafe { hash(expected, len) };
    enqueue(&mut state(), stream, device as usize, Op::Expect { at, len, hash })
}
