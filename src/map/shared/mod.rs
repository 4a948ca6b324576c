//! One copy of a file for all processes of a user on a machine.
//!
//! ```text
//! first process     memfd ── filled, then sealed ──▶ map, read-only, and tell the registry: process, descriptor
//! every other       registry ──▶ /proc/PROCESS/fd/DESCRIPTOR: the same memfd ──▶ map, and tell the registry
//! ```
//!
//! What is sealed (`F_SEAL_WRITE`, `F_SEAL_SHRINK`) nobody can write to or cut short any more, whoever gets at it: the kernel
//! refuses. So it is memory of our own, as an anonymous copy is, with no guard and no promise, and not as a file of a shared
//! memory file system would be, which any process of the user could change.
//!
//! The memory has no name, so that it cannot be left behind: it is gone with the last process that has it, however that ends.
//! Where it is found is written down in the [`registry`], under a lock that the kernel takes back from who dies. Whoever has
//! the lock and finds no copy that a living process holds makes one; the others wait, and if it dies meanwhile, the next makes
//! it. Entries of dead processes are passed over, since what they point to is looked at: its name, its length, its seals.

mod registry;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use memmap2::{Mmap, MmapOptions, MmapRaw};
use xxhash_rust::xxh3::xxh3_64;

use super::read::read_to;
use super::region::Region;
use crate::error::{Error, ErrorKind, Result};
use registry::{Entry, Holder, Registry, Stamp};

/// What makes a memfd immutable.
const SEALS: libc::c_int = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// The bytes of `region`, a mapped file, in the copy that all processes have which load a file of `dataset` under `name`.
///
/// # Errors
///
/// As [`Region::preload`].
pub(super) fn attach(region: &Region, name: &str, dataset: &str) -> Result<Region> {
    let Some(path) = region.shared_path() else { return Ok(region.clone()) };
    if region.is_owned() || region.is_empty() {
        return Ok(region.clone());
    }
    let registry = Registry::lock(name)?;
    match registry.dataset()? {
        Some(other) if other != dataset => {
            if let Some(process) = registry.holder()? {
                return Err(Error::invalid(format!(
                    "'{name}' is the name of another dataset in shared memory, {other}, which process {process} holds: \
                     choose another name"
                ))
                .at_path(path));
            }
            registry.start(dataset)?;
        }
        Some(_) => {}
        None => registry.start(dataset)?,
    }
    let stamp = stamp(region, path)?;
    let mut entry = registry.read(stamp.file)?.unwrap_or_else(|| Entry::new(&stamp));
    let memory = match entry.memory(is_sealed)? {
        Some(memory) if entry.stamp == stamp => memory,
        Some(_) => {
            return Err(Error::mismatch(format!(
                "the file changed since it was loaded as '{name}': end the processes that hold what it was, or choose \
                 another name"
            ))
            .at_path(path));
        }
        None => {
            entry = Entry::new(&stamp);
            let memory = filled(region, path, &stamp.memory_name())?;
            if self::stamp(region, path)? != stamp {
                return Err(Error::mismatch("the file changed while it was loaded").at_path(path));
            }
            memory
        }
    };
    let holder = Holder::here(&memory)?;
    let pages = map(&memory, region.len()).map_err(|e| Error::io(path, "map its shared copy", e))?;
    entry.holders.push(holder);
    registry.write(stamp.file, &entry)?;
    let start = NonNull::from(&pages[..]).cast();
    let held = Held { _pages: pages, _memory: memory, name: name.to_owned(), file: stamp.file, holder };
    // SAFETY: a private, read-only map of `len` bytes at `start`, which stay where they are when `pages` moves, and which
    // their owner unmaps only when the last buffer is gone. It was found above that what it maps is sealed against writing
    // and shrinking, which cannot be undone.
    Ok(unsafe { Region::from_owner(start, region.len(), Arc::new(held), path.clone()) })
}

/// A shared copy, mapped here.
struct Held {
    _pages: Mmap,
    /// Others find it by its descriptor.
    _memory: File,
    name: String,
    file: u64,
    holder: Holder,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child has the pages of its parent, and was never told of.
        if self.holder.is_here() {
            // An entry that stays is passed over: what it points to is gone.
            let _ = Registry::lock(&self.name).and_then(|registry| registry.leave(self.file, self.holder));
        }
    }
}

/// The file that `region` maps, as it is.
fn stamp(region: &Region, path: &Path) -> Result<Stamp> {
    let metadata = region.file().map(|file| file.handle().metadata()).transpose();
    let metadata = metadata.map_err(|e| Error::io(path, "look at the file", e))?;
    let written = metadata.and_then(|metadata| metadata.modified().ok());
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(Stamp {
        path: real.to_string_lossy().into_owned(),
        file: xxh3_64(real.as_os_str().as_bytes()),
        len_bytes: region.len_bytes(),
        written_ns: written.as_nanos() as u64,
    })
}

/// A sealed memfd called `name` with the bytes of `region`.
fn filled(region: &Region, path: &Path, name: &str) -> Result<File> {
    let no_memory = |source: io::Error| {
        let message = format!("no memory for a shared copy of its {} bytes: {source}", region.len());
        Error::new(ErrorKind::TooLarge, message).with_source(source).at_path(path)
    };
    let Some(file) = region.file() else {
        return Err(Error::new(ErrorKind::Internal, "a region in memory was to be loaded"));
    };
    let memory = memfd(name).map_err(no_memory)?;
    memory.set_len(region.len_bytes()).map_err(no_memory)?;
    let pages = MmapRaw::map_raw(&memory).map_err(no_memory)?;
    // A kernel that gives shared memory no huge pages refuses, and gives small ones.
    let _ = advise(pages.as_ptr(), region.len(), libc::MADV_HUGEPAGE);
    match advise(pages.as_ptr(), region.len(), libc::MADV_POPULATE_WRITE) {
        // Kernels before 5.14 do not know it: there, memory that is short is found out by the reading.
        Err(e) if e.raw_os_error() != Some(libc::EINVAL) => return Err(no_memory(e)),
        _ => {}
    }
    // SAFETY: `pages` maps as many bytes, writable, and nobody else knows them.
    unsafe { read_to(file.handle(), path, 0..region.len(), pages.as_mut_ptr()) }?;
    region.check()?;
    // What is mapped writable cannot be sealed.
    drop(pages);
    // SAFETY: a call on a descriptor that is open; no memory is involved.
    match unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, SEALS | libc::F_SEAL_SEAL) } {
        0 => Ok(memory),
        _ => Err(Error::io(path, "seal its shared copy", io::Error::last_os_error())),
    }
}

/// Whether nobody can change `memory` or cut it short any more.
fn is_sealed(memory: &File) -> bool {
    // SAFETY: a call on a descriptor that is open; no memory is involved.
    let seals = unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

fn memfd(name: &str) -> io::Result<File> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` ends with a zero.
    let descriptor =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made, and that nobody else has.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Maps `memory`, which is sealed, read-only. Private: kernels before 6.7 refuse to share what is sealed against writing; pages
/// that nobody writes to are the same either way.
fn map(memory: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: a sealed memfd of `len` bytes, which nobody can change or cut short.
    let pages = unsafe { MmapOptions::new().len(len).map_copy_read_only(memory)? };
    // Advice, both: without it there are more faults later.
    let _ = advise(pages.as_ptr(), len, libc::MADV_HUGEPAGE);
    let _ = advise(pages.as_ptr(), len, libc::MADV_POPULATE_READ);
    Ok(pages)
}

/// `madvise`, for the `len` bytes of a whole map that begins at `start`.
fn advise(start: *const u8, len: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: none of the advice given here takes bytes away, and what is not mapped is refused.
    match unsafe { libc::madvise(start.cast_mut().cast(), len, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
