//! How much of what is mapped lies in memory.

use std::ops::Range;

use super::advice::page_bytes;
use super::region::Region;
use crate::error::{Error, ErrorKind, Result};

impl Region {
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

    /// Whether the page of byte `offset` is in memory, also where [`resident_bytes`](Self::resident_bytes) is not told: then
    /// a byte is read if that takes no waiting. `true` where the system says nothing.
    pub(crate) fn is_resident(&self, offset: u64) -> bool {
        if self.residence_is_told() {
            return self.resident_bytes(offset..offset + 1).is_ok_and(|bytes| bytes > 0);
        }
        #[cfg(target_os = "linux")]
        if let Some(file) = self.file() {
            use std::os::fd::AsRawFd;
            let mut byte = 0u8;
            let into = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            // SAFETY: the descriptor is open as long as `file` lives, and there is room for a byte.
            let read =
                unsafe { libc::preadv2(file.as_raw_fd(), &into, 1, offset as libc::off_t, libc::RWF_NOWAIT) };
            return read >= 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock;
        }
        true
    }

    /// Whether [`resident_bytes`](Self::resident_bytes) tells the truth: Linux does so to the owner of a file, and to
    /// whoever may write to it. Memory of our own is always told of.
    pub(crate) fn residence_is_told(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.file().is_none_or(|file| file.is_ours());
        #[cfg(not(target_os = "linux"))]
        return self.is_owned();
    }
}

/// How much of the mapped files lies in memory: in the page cache, so that reading it waits for no disk.
///
/// Files up to 4 MiB together are asked for page by page; of larger ones so many pages, spread over them evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Residence {
    /// Bytes of the mapped files.
    pub mapped_bytes: u64,
    /// Bytes of the pages asked for.
    pub sampled_bytes: u64,
    /// Those of them in memory.
    pub resident_bytes: u64,
}

/// Pages asked for at most, and in one call.
const SAMPLE_PAGES: u64 = 1024;
const CALL_PAGES: u64 = 4;

impl Residence {
    /// What is true of `regions` at this moment; memory of our own is left out. `None` if there is no mapped file, or the
    /// system does not tell.
    pub(crate) fn of(regions: &[&Region]) -> Option<Self> {
        let files: Vec<_> =
            regions.iter().filter(|region| !region.is_owned() && !region.is_empty()).collect();
        if files.is_empty() || files.iter().any(|region| !region.residence_is_told()) {
            return None;
        }
        let page = page_bytes() as u64;
        let mapped_bytes: u64 = files.iter().map(|region| region.len_bytes()).sum();
        let mut residence = Residence { mapped_bytes, ..Residence::default() };
        let mut ask = |region: &Region, range: Range<u64>| {
            residence.sampled_bytes += range.end - range.start;
            residence.resident_bytes += region.resident_bytes(range)?;
            Ok::<_, Error>(())
        };
        if mapped_bytes <= SAMPLE_PAGES * page {
            files.iter().try_for_each(|region| ask(region, 0..region.len_bytes())).ok()?;
            return Some(residence);
        }
        // Every `stride` bytes, counted through all files, some pages. Half a stride in, where no file's head is.
        let stride = mapped_bytes.div_ceil(SAMPLE_PAGES / CALL_PAGES);
        let (mut base, mut next) = (0, stride / 2);
        for region in files {
            let len = region.len_bytes();
            while next < base + len {
                let start = (next - base) / page * page;
                ask(region, start..(start + CALL_PAGES * page).min(len)).ok()?;
                next += stride;
            }
            base += len;
        }
        Some(residence)
    }

    /// The share that is resident, of what was sampled: 0 to 1.
    pub fn share(&self) -> f64 {
        if self.sampled_bytes == 0 { 1.0 } else { self.resident_bytes as f64 / self.sampled_bytes as f64 }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::map::{Advice, MapOptions};

    /// A file of `pages` pages on disk, none of them in the page cache unless the file system has no other place.
    fn cold(pages: u64) -> Option<(tempfile::NamedTempFile, Region)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; (pages * page_bytes() as u64) as usize]).unwrap();
        file.as_file().sync_all().unwrap();
        let region = Region::map(file.path(), &MapOptions::new()).unwrap();
        region.advise(0..region.len_bytes(), Advice::Random).unwrap();
        region.advise(0..region.len_bytes(), Advice::Evict).unwrap();
        let evicted = region.resident_bytes(0..region.len_bytes()).unwrap() == 0;
        if !evicted {
            eprintln!("skipped: the file system keeps pages in memory");
        }
        evicted.then_some((file, region))
    }

    #[test]
    fn small_files_are_counted_page_by_page() {
        let Some((_file, region)) = cold(100) else { return };
        let page = page_bytes() as u64;
        assert_eq!(Residence::of(&[&region]).unwrap().resident_bytes, 0);
        region.read(10 * page..11 * page).unwrap();
        region.read(99 * page..100 * page).unwrap();
        let residence = Residence::of(&[&region, &Region::from_vec(vec![0; 9])]).unwrap();
        let expected = (100 * page, 100 * page, 2 * page);
        assert_eq!((residence.mapped_bytes, residence.sampled_bytes, residence.resident_bytes), expected);
        assert_eq!(residence.share(), 0.02);
    }

    #[test]
    fn large_files_are_sampled_and_the_sample_is_near_the_truth() {
        let Some((_first, first)) = cold(3000) else { return };
        let Some((_second, second)) = cold(5000) else { return };
        let regions = [&first, &second];
        let sampled = |expected: f64| {
            let residence = Residence::of(&regions).unwrap();
            assert_eq!(residence.mapped_bytes, 8000 * page_bytes() as u64);
            assert_eq!(
                residence.sampled_bytes,
                SAMPLE_PAGES * page_bytes() as u64,
                "256 places, 4 pages each"
            );
            assert!((residence.share() - expected).abs() < 0.02, "{} is not {expected}", residence.share());
        };
        sampled(0.0);
        first.preload(crate::map::Preload::Populate).unwrap();
        sampled(3.0 / 8.0);
        second.preload(crate::map::Preload::Populate).unwrap();
        sampled(1.0);
        first.advise(0..first.len_bytes(), Advice::Evict).unwrap();
        sampled(5.0 / 8.0);
    }

    #[test]
    fn of_memory_there_is_nothing_to_tell() {
        assert_eq!(Residence::of(&[]), None);
        assert_eq!(Residence::of(&[&Region::from_vec(vec![1; 10])]), None);
    }
}
