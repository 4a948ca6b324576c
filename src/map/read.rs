//! Copies that are read from the file instead of its map.
//!
//! The first touch of a mapped page is a fault. Where many bytes that nobody touched are copied for good, asking the kernel
//! for the copy costs less.
#![cfg(unix)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Copies of as many bytes are read.
pub(super) const READ_BYTES: usize = 32 << 10;

/// Reads the bytes of `span` from `file`, which lies at `path`, into `dst`.
///
/// # Errors
///
/// `Truncated` if the file ends before they do; `Io` if they cannot be read.
///
/// # Safety
///
/// `dst` is valid for writes of `span.len()` bytes.
pub(super) unsafe fn read_to(file: &File, path: &Path, span: Range<usize>, dst: *mut u8) -> Result<()> {
    let mut at = span.start;
    while at < span.end {
        // SAFETY: the descriptor is open for as long as `file` lives, and so many bytes of `dst` are not written yet.
        let read = unsafe {
            let dst = dst.add(at - span.start).cast();
            libc::pread(file.as_raw_fd(), dst, span.end - at, at as libc::off_t)
        };
        match read {
            0 => {
                let message = format!(
                    "the file was cut short: expected bytes {}..{}, found {at} in all",
                    span.start, span.end
                );
                return Err(Error::new(ErrorKind::Truncated, message).at_path(path).at_byte(at as u64));
            }
            1.. => at += read as usize,
            _ => {
                let source = io::Error::last_os_error();
                if source.kind() != io::ErrorKind::Interrupted {
                    return Err(Error::io(path, "read from the file", source).at_byte(at as u64));
                }
            }
        }
    }
    Ok(())
}
