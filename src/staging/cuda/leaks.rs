//! What had to be left behind.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// What this process left with the CUDA driver because the driver failed: [`cuda_leaks`].
///
/// Memory that a copy may still read or write is never freed. When the driver no longer answers whether a copy is done
/// (after an illegal access of any kernel, say, every call fails until the process ends), its memory stays allocated, and
/// is counted here. A destructor does so instead of panicking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaLeaks {
    /// Bytes of slots: page-locked memory, and slots held for copies of which nobody knows whether they are done.
    pub host_bytes: u64,
    /// Bytes of device memory.
    pub device_bytes: u64,
    /// Events, streams and contexts.
    pub handles: u64,
    /// The first error that caused it.
    pub first: Option<String>,
}

impl CudaLeaks {
    /// Whether nothing was left behind.
    pub fn is_empty(&self) -> bool {
        *self == CudaLeaks::default()
    }
}

impl fmt::Display for CudaLeaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CudaLeaks { host_bytes, device_bytes, handles, first } = self;
        write!(
            f,
            "{host_bytes} bytes of the host, {device_bytes} of devices and {handles} handles were left behind"
        )?;
        first.as_ref().map_or(Ok(()), |first| write!(f, ", first because {first}"))
    }
}

static LEAKS: Mutex<CudaLeaks> =
    Mutex::new(CudaLeaks { host_bytes: 0, device_bytes: 0, handles: 0, first: None });

/// What this process left behind so far.
pub fn cuda_leaks() -> CudaLeaks {
    LEAKS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn add(because: &Error, more: impl FnOnce(&mut CudaLeaks)) {
    let mut leaks = LEAKS.lock().unwrap_or_else(PoisonError::into_inner);
    more(&mut leaks);
    leaks.first.get_or_insert_with(|| because.to_string());
}

pub(super) fn host(bytes: usize, because: &Error) {
    add(because, |leaks| leaks.host_bytes += bytes as u64);
}

pub(super) fn device(bytes: usize, because: &Error) {
    add(because, |leaks| leaks.device_bytes += bytes as u64);
}

pub(super) fn handle(because: &Error) {
    add(because, |leaks| leaks.handles += 1);
}

#[cfg(test)]
pub(crate) fn forget() {
    *LEAKS.lock().unwrap_or_else(PoisonError::into_inner) = CudaLeaks::default();
}
