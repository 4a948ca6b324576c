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
}

impl Region {
    /// Tells the kernel how the bytes in `range` will be used. Does nothing for memory of our own, and
    /// nothing outside Unix.
    ///
    /// The kernel thinks in pages: [`Advice::DontNeed`] means the pages that lie wholly within the range (the
    /// file's last page, though short, is whole), any other advice the pages that it touches.
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
            Advice::DontNeed => {
                let whole = whole_pages(&span, self.len());
                // Letting go of a page that was used lately marks it as worth keeping, unless it is called
                // cold first. Kernels before 5.4 do not know the word, which costs nothing but that.
                #[cfg(target_os = "linux")]
                let _ = self.madvise(whole.clone(), libc::MADV_COLD);
                self.madvise(whole, libc::MADV_DONTNEED)
            }
        };
        advised.map_err(|source| {
            let error = Error::new(ErrorKind::Io, format!("cannot advise the kernel ({advice:?}): {source}"));
            self.locate(error.with_source(source)).at_byte(span.start as u64)
        })
    }

    /// How many of the bytes in `range` lie in memory now, rather than only on disk.
    ///
    /// Linux tells the truth only to those who own the file or may write to it; to all others every page of
    /// a mapped file seems to be in memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] if the range does not lie within the region; [`ErrorKind::Io`] if the kernel
    /// refuses; [`ErrorKind::Unsupported`] anywhere but on Linux.
    pub fn resident_bytes(&self, range: Range<u64>) -> Result<u64> {
        let span = self.span(range)?;
        #[cfg(target_os = "linux")]
        return self.resident_in(span);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = span;
            Err(self.locate(Error::unsupported("only Linux says which pages lie in memory")))
        }
    }

    #[cfg(target_os = "linux")]
    fn resident_in(&self, span: Range<usize>) -> Result<u64> {
        /// How many pages are asked for in one call.
        const WINDOW: usize = 1 << 14;
        let page = page_bytes();
        let base = self.as_ptr().addr();
        let (start, end) = (base + span.start, base + span.end);
        let mut states = [0u8; WINDOW];
        let mut resident = 0;
        // Memory of our own need not begin on a page; its first page is asked for whole.
        let mut at = start - start % page;
        while at < end {
            let pages = (end - at).div_ceil(page).min(WINDOW);
            // SAFETY: `mincore` reads no memory, and writes one byte for each of the `pages` pages from `at`
            // on, for which `states` has room.
            let status = unsafe { libc::mincore(at as *mut _, pages * page, states.as_mut_ptr()) };
            if status != 0 {
                let source = std::io::Error::last_os_error();
                let message = format!("cannot ask which pages lie in memory: {source}");
                return Err(self.locate(Error::new(ErrorKind::Io, message).with_source(source)));
            }
            for state in &states[..pages] {
                let next = at + page;
                // The lowest bit says so; the others are reserved.
                if state & 1 == 1 {
                    resident += (next.min(end) - at.max(start)) as u64;
                }
                at = next;
            }
        }
        Ok(resident)
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
