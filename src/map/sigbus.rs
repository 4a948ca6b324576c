//! The SIGBUS handler of the [guard](super::guard), which explains it.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_void, siginfo_t};

use super::advice::page_bytes;
use super::table::TABLE;

/// Hardware found the page poisoned as it was read (not in `libc` for every target).
const BUS_MCEERR_AR: c_int = 4;
/// Hardware found a page poisoned that nobody was reading.
const BUS_MCEERR_AO: c_int = 5;

/// What the handler must know.
struct Setup {
    page_bytes: usize,
    /// What was done about SIGBUS before.
    previous: libc::sigaction,
}

/// Null until the handler is about to be installed; leaked, as the handler stays.
static SETUP: AtomicPtr<Setup> = AtomicPtr::new(ptr::null_mut());

/// Installs the handler, once in a process.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let try_install = || install_handler().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL));
    (*INSTALLED.get_or_init(try_install)).map_err(io::Error::from_raw_os_error)
}

fn install_handler() -> io::Result<()> {
    // The handler may run as soon as it is installed, so what was there before is asked for first, and again
    // in the installing, which alone is certain of it.
    remember(exchange_action(None)?);
    // SAFETY: all zeros is a `sigaction`: the default action, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    remember(exchange_action(Some(&action))?);
    Ok(())
}

/// Makes `previous` what the handler falls back on.
fn remember(previous: libc::sigaction) {
    let setup = Box::leak(Box::new(Setup { page_bytes: page_bytes(), previous }));
    // Release: publishes the setup; pairs with the acquire in `on_sigbus`. An earlier one may be in use, and
    // stays.
    SETUP.store(setup, Ordering::Release);
}

/// What is done about SIGBUS; replaced by `new` if given.
fn exchange_action(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is a `sigaction`, as above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `new` is null or a whole action, whose handler has the signature that its flags say and does
    // only what a signal handler may; `old` has room for one.
    let status = unsafe { libc::sigaction(libc::SIGBUS, new.map_or(ptr::null(), ptr::from_ref), &mut old) };
    if status == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

/// The handler. Async-signal-safe: it reads atomics and makes system calls, and leaves `errno` as it was.
extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the address of the calling thread's `errno`.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    // SAFETY: stored before the handler was installed, and never freed. Acquire: pairs with the release in
    // `remember`.
    let setup = unsafe { &*SETUP.load(Ordering::Acquire) };
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid `siginfo_t`.
    let code = unsafe { (*info).si_code };
    let faulted = matches!(code, libc::BUS_ADRERR | libc::BUS_OBJERR | BUS_MCEERR_AR);
    // SAFETY: as above; with these codes it holds the address. A signal that was sent holds the sender there.
    if !(faulted && replace_page(unsafe { (*info).si_addr() }.addr(), setup.page_bytes)) {
        // SAFETY: the arguments are the kernel's own.
        unsafe { forward(&setup.previous, signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Whether the page at `address` was of a guarded range, and is now readable: the fault is noted, and
/// the page is zeros.
///
/// Each page that is replaced splits the map, and the kernel allows a process only so many maps
/// (`vm.max_map_count`). So only the first few are replaced one by one, which leaves the rest of a file with
/// a bad sector as it is; then the range is replaced as a whole, which splits nothing.
fn replace_page(address: usize, page_bytes: usize) -> bool {
    const MOST_SINGLE_PAGES: usize = 16;
    let Some((entry, range)) = TABLE.find(address) else { return false };
    let is_single = entry.note_fault(address - range.start) < MOST_SINGLE_PAGES;
    let page = address & !(page_bytes - 1);
    let whole_bytes = range.len().next_multiple_of(page_bytes);
    // SAFETY: the page, and the range rounded up to its last page, lie in a map that is guarded
    // (`Watch::over`): its owner lives, since someone is reading it, and nothing relies on the contents of a
    // page that faulted, nor on anything that is read after the first fault.
    unsafe { is_single && map_zeros(page, page_bytes) || map_zeros(range.start, whole_bytes) }
}

/// Whether the `len` bytes at `start` are now zeros, readable and nothing else.
///
/// # Safety
///
/// The bytes are whole pages of a map of our own, whose contents may be replaced.
unsafe fn map_zeros(start: usize, len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: replaces these pages and touches no others, which the caller allows.
    let mapped = unsafe { libc::mmap(start as *mut c_void, len, libc::PROT_READ, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Does what would have been done without this handler.
///
/// # Safety
///
/// `previous` was SIGBUS's action before; the other arguments are those the kernel gave.
unsafe fn forward(previous: &libc::sigaction, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's own `info`.
    let code = unsafe { (*info).si_code };
    // By `kill` and the like, or by hardware about a page that nobody was reading: nothing here will repeat
    // it.
    let sent = code <= 0 || code == BUS_MCEERR_AO;
    match previous.sa_sigaction {
        libc::SIG_IGN if sent => {}
        // A fault cannot be ignored. On return it is repeated, and meets the default action: the end.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: both may be called in a handler. What is raised waits until this one returns.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if sent {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with this flag the number is the address of a function with these arguments.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag the number is the address of a function with this argument.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{Ordering, fence};

    use crate::map::{MapOptions, Region};

    fn zeros_file(len: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(len).unwrap();
        file
    }

    /// The byte at `offset`, looked at: a copy that nobody needs may never be made.
    fn byte_at(region: &Region, offset: u64) -> u8 {
        let mut byte = [1];
        region.copy_out(offset, &mut byte).unwrap();
        std::hint::black_box(byte)[0]
    }

    /// Without the length, which would hide it: whoever sees a page of zeros sees the note.
    #[test]
    fn the_note_is_there_before_the_zeros() {
        let noted = |region: &Region| {
            // Pairs with the fence of `note_fault`, as in `check`.
            fence(Ordering::Acquire);
            region.file().unwrap().first_fault()
        };
        for _ in 0..300 {
            let file = zeros_file(1 << 16);
            let region = Region::map(file.path(), &MapOptions::new()).unwrap();
            file.as_file().set_len(0).unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        assert_eq!(byte_at(&region, 5), 0);
                        assert_eq!(noted(&region), Some(5));
                    });
                }
            });
        }
    }

    #[test]
    fn errno_is_left_alone() {
        let file = zeros_file(1 << 16);
        let region = Region::map(file.path(), &MapOptions::new()).unwrap();
        file.as_file().set_len(0).unwrap();
        // SAFETY: the address of this thread's `errno`.
        let errno = unsafe { &mut *libc::__errno_location() };
        *errno = 77;
        assert_eq!(byte_at(&region, 0), 0);
        assert_eq!(*errno, 77);
        assert!(region.check().is_err());
    }
}
