//! The calls of a driver that have to do with kernels.
//!
//! SAFETY, of every block of this file: it writes an answer to, or reads bytes at, a pointer that the caller of a driver promises
//! to be good for it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::ptx::{Grid, Module};
use crate::state::Op;
use crate::{
    INVALID_HANDLE, INVALID_PTX, INVALID_VALUE, NOT_FOUND, SUCCESS, call_within, enqueue, queue_within,
};

/// The most threads a block may have, and the most blocks a grid in each direction.
const MOST_THREADS: u64 = 1024;
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) -> c_int {
    call_within("cuModuleLoadData", |state, _| {
        let text = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy();
        match Module::new(&text) {
            Ok(parsed) => {
                let handle = state.handle();
                state.modules.insert(handle, parsed);
                unsafe { *module = handle as *mut c_void };
                SUCCESS
            }
            Err(what) => {
                state.violation(format!("PTX that is not understood: {what}"));
                INVALID_PTX
            }
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: *mut c_void) -> c_int {
    call_within("cuModuleUnload", |state, _| {
        if state.module_in_use(module as usize) {
            state.violation("a module was unloaded before its kernels were done".into());
        }
        match state.modules.remove(&(module as usize)) {
            Some(_) => SUCCESS,
            None => {
                state.violation("a module was unloaded twice".into());
                INVALID_HANDLE
            }
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *mut c_void,
    module: *mut c_void,
    name: *const c_char,
) -> c_int {
    call_within("cuModuleGetFunction", |state, _| {
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        match state.modules.get(&(module as usize)) {
            Some(found) if found.0.contains_key(&name) => {
                let handle = state.handle();
                state.functions.insert(handle, (module as usize, name));
                unsafe { *function = handle as *mut c_void };
                SUCCESS
            }
            Some(_) => NOT_FOUND,
            None => INVALID_HANDLE,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    blocks_x: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared_bytes: c_uint,
    stream: *mut c_void,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    let grid = Grid { blocks: [blocks_x, blocks_y, blocks_z], threads: [threads_x, threads_y, threads_z] };
    queue_within("cuLaunchKernel", |state, device| {
        let Some((module, name)) = state.functions.get(&(function as usize)).cloned() else {
            state.violation("a kernel that was never asked for was launched".into());
            return INVALID_HANDLE;
        };
        let Some(kernel) = state.modules.get(&module).and_then(|module| module.0.get(&name)) else {
            state.violation("a kernel was launched after its module was unloaded".into());
            return INVALID_HANDLE;
        };
        let threads: u64 = grid.threads.iter().map(|&threads| u64::from(threads)).product();
        let fits = (1..=MOST_THREADS).contains(&threads)
            && grid.blocks.iter().zip(MOST_BLOCKS).all(|(&blocks, most)| (1..=most).contains(&blocks));
        if !fits || shared_bytes != 0 || !extra.is_null() {
            state.violation(format!("{name} was launched with {:?} × {:?}", grid.blocks, grid.threads));
            return INVALID_VALUE;
        }
        // Parameters are taken down when a kernel is launched.
        let args = kernel.params.iter().enumerate().map(|(number, &len)| {
            let mut word = [0u8; 8];
            unsafe { (*params.add(number)).cast::<u8>().copy_to_nonoverlapping(word.as_mut_ptr(), len) };
            u64::from_le_bytes(word)
        });
        let op = Op::Launch { module, args: args.collect(), kernel: name, grid };
        enqueue(state, stream, device, op)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(to: u64, byte: u8, len: usize, stream: *mut c_void) -> c_int {
    queue_within("cuMemsetD8Async", |state, device| enqueue(state, stream, device, Op::Set { to, len, byte }))
}
