//! What the kernel is told, and asked, about the pages of a region.

use std::ops::Range;

use super::region::Region;
use crate::error::{Error, ErrorKind, Result};

/// What the kernel is told about the pages behind a range of a mapped file.
///
/// Advice changes when pages are read, never what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// Read ahead moderately: how every map begins.
    Normal,
    /// Read no more than the pages asked for: rows come in shuffled order.
    Random,
    /// Read far ahead: rows come in file order.
    Sequential,
    /// Begin reading these pages; the call does not wait for them.
    WillNeed,
    /// Let go of these pages: they leave this process, and the page cache too when memory is short and no
    /// other process uses them. Reading them again costs a fault, and a read where the cache has let go.
    DontNeed,
    /// As `DontNeed`, and the page cache lets go at once of those that no process has mapped.
    Evict,
}

impl Region {
    /// Tells the kernel how the bytes in `range` will be used. Does nothing for memory of our own, and
    /// nothing outside Unix.
    ///
    /// The kernel thinks in pages: [`Advice::DontNeed`] and [`Advice::Evict`] mean the pages that lie wholly within the
    /// range (the file's last page, though short, is whole), any other advice the pages that it touches.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] if the range does not lie within the region; [`ErrorKind::Io`] if the kernel
    /// refuses.
    pub fn advise(&self, range: Range<u64>, advice: Advice) -> Result<()> {
        let span = self.span(range)?;
        #[cfg(unix)]
        if self.file().is_some() {
            return self.advise_pages(span, advice);
        }
        let _ = (span, advice);
        Ok(())
    }

    #[cfg(unix)]
    fn advise_pages(&self, span: Range<usize>, advice: Advice) -> Result<()> {
        let touched = touched_pages(&span);
        let advised = match advice {
            Advice::Normal => self.madvise(touched, libc::MADV_NORMAL),
            Advice::Random => self.madvise(touched, libc::MADV_RANDOM),
            Advice::Sequential => self.madvise(touched, libc::MADV_SEQUENTIAL),
            Advice::WillNeed => self.madvise(touched, libc::MADV_WILLNEED),
            Advice::DontNeed | Advice::Evict => {
                let whole = whole_pages(&span, self.len());
                // Letting go of a page that was used lately marks it as worth keeping, unless it is called
                // cold first. Kernels before 5.4 do not know the word, which costs nothing but that.
                #[cfg(target_os = "linux")]
                let _ = self.madvise(whole.clone(), libc::MADV_COLD);
                let released = self.madvise(whole.clone(), libc::MADV_DONTNEED);
                #[cfg(target_os = "linux")]
                if advice == Advice::Evict && !whole.is_empty() {
                    self.forget_cached(&whole);
                }
                released
            }
        };
        advised.map_err(|source| {
            let error = Error::new(ErrorKind::Io, format!("cannot advise the kernel ({advice:?}): {source}"));
            self.locate(error.with_source(source)).at_byte(span.start as u64)
        })
    }

    /// Has the page cache let go of the pages of `span` that nobody has mapped.
    #[cfg(target_os = "linux")]
    fn forget_cached(&self, span: &Range<usize>) {
        use std::os::fd::AsRawFd;
        let Some(file) = self.file() else { return };
        let (start, len) = (span.start as libc::off_t, span.len() as libc::off_t);
        // Advice: a system that does not take it keeps the pages until it wants their memory.
        // SAFETY: the descriptor is open as long as `file` lives; no memory is involved.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, libc::POSIX_FADV_DONTNEED) };
    }

    /// `madvise` for the pages of `span`, which begins on a page and lies within the mapped file. No pages,
    /// no call.
    #[cfg(unix)]
    pub(super) fn madvise(&self, span: Range<usize>, advice: libc::c_int) -> std::io::Result<()> {
        let Some(file) = self.file() else { return Ok(()) };
        if span.is_empty() {
            return Ok(());
        }
        debug_assert!(span.start.is_multiple_of(page_bytes()) && span.end <= self.len());
        // SAFETY: `span` lies within the map and begins on a page, as the callers have rounded it. The map is
        // a shared, read-only one of a file, so none of the advice given here loses bytes: pages let go of
        // are read again from the file.
        let status =
            unsafe { libc::madvise(file.start().as_ptr().add(span.start).cast(), span.len(), advice) };
        if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

/// The bytes from the beginning of the first page that `span` touches.
#[cfg(unix)]
fn touched_pages(span: &Range<usize>) -> Range<usize> {
    if span.is_empty() { 0..0 } else { span.start - span.start % page_bytes()..span.end }
}

/// The bytes of the pages that lie wholly within `span`, in a map of `len` bytes.
#[cfg(unix)]
fn whole_pages(span: &Range<usize>, len: usize) -> Range<usize> {
    let page = page_bytes();
    let start = span.start.next_multiple_of(page);
    let end = if span.end == len { len } else { span.end - span.end % page };
    if start < end { start..end } else { 0..0 }
}

/// The size of a page of memory.
#[cfg(unix)]
pub(super) fn page_bytes() -> usize {
    // SAFETY: asks for a constant of the system; no memory is involved.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).expect("pages have a size")
}

/// A guess where pages are of no consequence.
#[cfg(not(unix))]
pub(super) fn page_bytes() -> usize {
    4096
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_to_pages() {
        let page = page_bytes();
        let len = 3 * page + 100;
        assert_eq!(touched_pages(&(1..page)), 0..page);
        assert_eq!(touched_pages(&(page - 1..page + 1)), 0..page + 1);
        assert_eq!(touched_pages(&(page..page)), 0..0);
        assert_eq!(whole_pages(&(0..page), len), 0..page);
        assert_eq!(whole_pages(&(1..page), len), 0..0);
        assert_eq!(whole_pages(&(1..2 * page + 1), len), page..2 * page);
        assert_eq!(whole_pages(&(1..len), len), page..len);
        assert_eq!(whole_pages(&(3 * page + 1..len), len), 0..0);
        assert_eq!(whole_pages(&(0..0), 0), 0..0);
    }
}
