//! Pages of mapped files, numbered through the address space, and what the system is told of many of them at a time.
//!
//! Ranges of files become runs of page numbers, which a [`Window`](super::Window) tells apart. One call advises up to
//! 1,024 runs (`process_madvise` on this process itself, Linux 5.13 and later, where it is permitted); elsewhere it is a
//! call for each.

use std::collections::BTreeMap;
use std::ops::Range;

use super::advice::{Advice, page_bytes};
use super::region::Region;

/// Bytes asked for at a time: of more, Linux reads no more than a disk takes in one go, and forgets the rest.
const PIECE_BYTES: u64 = 128 << 10;

/// Pages that are looked at to find out whether runs are in memory.
const PROBES: u64 = 64;

/// The pages of the mapped files that ranges were [numbered](Pages::number) of.
pub(crate) struct Pages {
    page_bytes: u64,
    /// The files, under their first page.
    files: BTreeMap<u64, Region>,
    #[cfg(target_os = "linux")]
    many: many::ManyRanges,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Pages {
            page_bytes: page_bytes() as u64,
            files: BTreeMap::new(),
            #[cfg(target_os = "linux")]
            many: many::ManyRanges::new(),
        }
    }

    pub(crate) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// The pages that the bytes in `range` of `region` lie in; `None` where no file is read for them.
    pub(crate) fn number(&mut self, region: &Region, range: Range<u64>) -> Option<Range<u64>> {
        let end = range.end.min(region.len_bytes());
        if region.is_owned() || range.start >= end {
            return None;
        }
        let base = region.as_ptr().addr() as u64;
        self.files.entry(base / self.page_bytes).or_insert_with(|| region.clone());
        Some((base + range.start) / self.page_bytes..(base + end).div_ceil(self.page_bytes))
    }

    /// Begins to read the pages of `runs`, which lie apart; does not wait for them.
    pub(crate) fn will_need(&mut self, runs: &[Range<u64>]) {
        let piece = (PIECE_BYTES / self.page_bytes).max(1);
        let pieces = runs.iter().flat_map(|run| {
            let starts = (run.start..run.end).step_by(piece as usize);
            starts.map(|start| start..(start + piece).min(run.end))
        });
        #[cfg(target_os = "linux")]
        let pieces = self.many.will_need(pieces, self.page_bytes);
        // Advice, here and below: what the system does not take is read when it is touched.
        for piece in pieces {
            self.each_file(piece, |region, range| drop(region.advise(range, Advice::WillNeed)));
        }
    }

    /// Lets go of the pages of `runs`, in this process and in the page cache.
    pub(crate) fn evict(&self, runs: &[Range<u64>]) {
        for run in runs {
            self.each_file(run.clone(), |region, range| drop(region.advise(range, Advice::Evict)));
        }
    }

    /// Whether the pages of `runs` seem to be in memory, as far as the system tells: some of them are looked at.
    pub(crate) fn seem_resident(&self, runs: &[Range<u64>]) -> bool {
        let total: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let probes = total.min(PROBES);
        // One page of each part, not the same of each, in case pages are in memory by turns.
        let probe = |part: u64| part * total / probes + (part * 37) % (total / probes);
        let (mut before, mut next) = (0, 0);
        for run in runs {
            let len = run.end - run.start;
            while next < probes && probe(next) < before + len {
                let page = run.start + (probe(next) - before);
                let mut resident = false;
                self.each_file(page..page + 1, |region, range| resident = region.is_resident(range.start));
                if !resident {
                    return false;
                }
                next += 1;
            }
            before += len;
        }
        true
    }

    /// Visits the files that the pages of `run` belong to, and the bytes there.
    fn each_file(&self, run: Range<u64>, mut visit: impl FnMut(&Region, Range<u64>)) {
        // Files lie apart: the one that begins before the run, and those that begin within it.
        let before = self.files.range(..run.start).next_back();
        for (&first, region) in before.into_iter().chain(self.files.range(run.clone())) {
            let bytes = |page: u64| (page.saturating_sub(first) * self.page_bytes).min(region.len_bytes());
            let (start, end) = (bytes(run.start), bytes(run.end));
            if start < end {
                visit(region, start..end);
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod many {
    use std::ops::Range;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    /// Ranges a call may have.
    const MOST: usize = 1024;

    /// Advises many ranges of this process's memory in one call, as long as the system permits it.
    pub(super) struct ManyRanges {
        process: Option<OwnedFd>,
        ranges: Vec<libc::iovec>,
    }

    // SAFETY: the addresses in `ranges` are scratch of one call, and are never read through.
    unsafe impl Send for ManyRanges {}

    impl ManyRanges {
        pub(super) fn new() -> Self {
            // SAFETY: asks for a descriptor of this process; no memory is involved.
            let process = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
            // SAFETY: a descriptor that was just opened, and that nobody else knows.
            let process = i32::try_from(process)
                .ok()
                .filter(|&fd| fd >= 0)
                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            ManyRanges { process, ranges: Vec::new() }
        }

        /// As on a system that does not permit it.
        #[cfg(test)]
        pub(super) fn refuse(&mut self) {
            self.process = None;
        }

        /// Begins to read `runs` of pages; gives back those that were not advised, because the system does not permit it.
        pub(super) fn will_need<R: Iterator<Item = Range<u64>>>(
            &mut self,
            mut runs: R,
            page_bytes: u64,
        ) -> impl Iterator<Item = Range<u64>> + use<R> {
            while let Some(process) = &self.process {
                self.ranges.clear();
                self.ranges.extend(runs.by_ref().take(MOST).map(|run| libc::iovec {
                    iov_base: (run.start * page_bytes) as *mut libc::c_void,
                    iov_len: ((run.end - run.start) * page_bytes) as usize,
                }));
                if self.ranges.is_empty() {
                    break;
                }
                let (ranges, count) = (self.ranges.as_ptr(), self.ranges.len());
                let (fd, will_need) = (process.as_raw_fd(), libc::MADV_WILLNEED);
                // SAFETY: `ranges` holds `count` ranges. The advice reads pages and changes none, wherever they are.
                let advised =
                    unsafe { libc::syscall(libc::SYS_process_madvise, fd, ranges, count, will_need, 0) };
                if advised < 0 {
                    self.process = None;
                }
            }
            let refused = if self.process.is_none() { std::mem::take(&mut self.ranges) } else { Vec::new() };
            let refused = refused.into_iter().map(move |range| {
                let start = range.iov_base.addr() as u64 / page_bytes;
                start..start + range.iov_len as u64 / page_bytes
            });
            refused.chain(runs)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::map::MapOptions;

    fn file(pages: u64) -> (tempfile::NamedTempFile, Region) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let page = page_bytes() as u64;
        std::fs::write(file.path(), vec![1; (pages * page - 10) as usize]).unwrap();
        file.as_file().sync_all().unwrap();
        let region = Region::map(file.path(), &MapOptions::new()).unwrap();
        region.advise(0..region.len_bytes(), Advice::Random).unwrap();
        (file, region)
    }

    /// Whether the pages of `region` in memory are those `expected`, once reading has ended.
    fn resident(region: &Region, expected: &[u64]) -> bool {
        let page = page_bytes() as u64;
        let is_in = |at: u64| {
            let end = ((at + 1) * page).min(region.len_bytes());
            region.resident_bytes(at * page..end).unwrap() > 0
        };
        let all =
            |pages: &[u64]| (0..region.len_bytes().div_ceil(page)).all(|at| is_in(at) == pages.contains(&at));
        // Pages that are on their way are there soon; none that was not asked for ever comes.
        let begun = Instant::now();
        while !all(expected) {
            if begun.elapsed() > Duration::from_secs(60) {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    #[test]
    fn what_is_asked_for_is_read_and_what_is_evicted_is_gone() {
        for permitted in [true, false] {
            let (_a, a) = file(3000);
            let (_b, b) = file(40);
            let mut pages = Pages::new();
            if !permitted {
                pages.many = many_refused();
            }
            let page = pages.page_bytes();
            let whole = [&a, &b].map(|region| pages.number(region, 0..u64::MAX).unwrap());
            pages.evict(&whole);
            if a.resident_bytes(0..a.len_bytes()).unwrap() > 0 {
                eprintln!("skipped: the file system keeps pages in memory");
                return;
            }
            assert!(!pages.seem_resident(&whole));
            // Every second page: more runs than a call takes.
            let mut runs: Vec<_> =
                (0..3000).step_by(2).map(|at| pages.number(&a, at * page..at * page + 1).unwrap()).collect();
            runs.push(pages.number(&b, 39 * page + 5..39 * page + 7).unwrap());
            assert_eq!(runs[1].start, runs[0].start + 2);
            pages.will_need(&runs);
            assert!(resident(&a, &(0..3000).step_by(2).collect::<Vec<_>>()), "permitted: {permitted}");
            assert!(resident(&b, &[39]));
            assert!(pages.seem_resident(&runs) && !pages.seem_resident(&whole));
            pages.evict(&runs[..2]);
            assert!(resident(&a, &(4..3000).step_by(2).collect::<Vec<_>>()));
            // A run longer than what the system reads in one go.
            pages.will_need(&[whole[0].clone()]);
            assert!(resident(&a, &(0..3000).collect::<Vec<_>>()));
        }
    }

    /// What a system without the call leaves.
    fn many_refused() -> many::ManyRanges {
        let mut many = many::ManyRanges::new();
        many.refuse();
        many
    }

    #[test]
    fn memory_of_our_own_has_no_pages_to_read() {
        let mut pages = Pages::new();
        assert_eq!(pages.number(&Region::from_vec(vec![0; 10_000]), 0..10_000), None);
        let (_file, region) = file(2);
        for nothing in [0..0, 5..5, 100_000..100_001, u64::MAX..u64::MAX] {
            assert_eq!(pages.number(&region, nothing), None);
        }
    }
}
