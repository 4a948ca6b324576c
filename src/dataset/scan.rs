//! Going through a whole file once, in parallel: how the records of CSV, TFRecord and text files are found.
//!
//! Bytes are copied out of the map block by block into each thread's own buffer, and what comes of the blocks is handed
//! back in the order of the file.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::panic::{RefUnwindSafe, UnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::error::Result;
use crate::map::{Advice, Region};

/// Bytes a thread looks at in one go.
const BLOCK_BYTES: u64 = 4 << 20;

/// How far the scan of a file is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ScanProgress<'a> {
    /// The file.
    pub path: Option<&'a Path>,
    /// Bytes looked at.
    pub bytes_done: u64,
    /// Bytes to look at: those of the file, twice where it takes two passes.
    pub bytes: u64,
}

/// Who is told how far a scan is, from whichever thread.
#[derive(Clone, Default)]
pub(crate) struct Listener(Option<Arc<Listening>>);

type Listening = dyn Fn(ScanProgress<'_>) + Send + Sync;

impl Listener {
    pub(crate) fn new(listen: impl Fn(ScanProgress<'_>) + Send + Sync + 'static) -> Self {
        Listener(Some(Arc::new(listen)))
    }
}

// Nothing of ours depends on what a listener remembers: one that panicked is told again.
impl UnwindSafe for Listener {}
impl RefUnwindSafe for Listener {}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "nobody" })
    }
}

/// A scan of one file.
pub(super) struct Scan<'a> {
    region: &'a Region,
    listener: &'a Listener,
    /// Bytes of the file, each as often as it is looked at.
    bytes: u64,
    bytes_done: AtomicU64,
    /// Whether pages that were looked at stay mapped.
    keep_pages: bool,
}

impl<'a> Scan<'a> {
    /// A scan that looks at the file `passes` times. Unless `keep_pages`, what was looked at is let go of: a process is not
    /// to seem as large as the files it opens.
    pub(super) fn new(region: &'a Region, listener: &'a Listener, passes: u64, keep_pages: bool) -> Self {
        // Advice: a system that does not take it reads ahead less than it might.
        let _ = region.advise(0..region.len_bytes(), Advice::Sequential);
        Scan {
            region,
            listener,
            bytes: region.len_bytes().saturating_mul(passes),
            bytes_done: AtomicU64::new(0),
            keep_pages,
        }
    }

    /// What `look` makes of each block of `range`, given its first byte and its bytes; in the order of the file.
    pub(super) fn blocks<T: Send>(
        &self,
        range: Range<u64>,
        look: impl Fn(usize, u64, &[u8]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let num_blocks = (range.end - range.start).div_ceil(BLOCK_BYTES) as usize;
        let made = self.in_parallel(num_blocks, |number, buffer| {
            let start = range.start + number as u64 * BLOCK_BYTES;
            let len = BLOCK_BYTES.min(range.end - start) as usize;
            let block = match self.region.lent_bytes() {
                Some(bytes) => &bytes[start as usize..start as usize + len],
                None => {
                    buffer.resize(len, 0);
                    self.region.copy_out(start, buffer)?;
                    &*buffer
                }
            };
            let made = look(number, start, block);
            self.done(start..start + len as u64);
            Ok(made)
        })?;
        // What was made of zeros of a file cut short is not believed.
        self.region.check()?;
        Ok(made)
    }

    /// What `make` gives for each number below `count`, by as many threads as there are cores. The first error, by
    /// number, is the error.
    pub(super) fn in_parallel<T: Send>(
        &self,
        count: usize,
        make: impl Fn(usize, &mut Vec<u8>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(count).max(1);
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut made, mut buffer) = (Vec::new(), Vec::new());
            loop {
                // Relaxed: the number alone is shared.
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return made;
                }
                made.push((number, make(number, &mut buffer)));
            }
        };
        let mut made = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut made = work();
            for other in others {
                made.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            made
        });
        made.sort_unstable_by_key(|&(number, _)| number);
        made.into_iter().map(|(_, made)| made).collect()
    }

    /// Says that the bytes of `range` were looked at.
    pub(super) fn done(&self, range: Range<u64>) {
        let bytes = range.end - range.start;
        if !self.keep_pages {
            // Advice: a system that does not take it holds the pages until it wants them.
            let _ = self.region.advise(range, Advice::DontNeed);
        }
        if let Some(listener) = &self.listener.0 {
            // Relaxed: a figure for people.
            let done = self.bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            listener(ScanProgress { path: self.region.path(), bytes_done: done, bytes: self.bytes });
        }
    }
}

impl Drop for Scan<'_> {
    /// Rows are read here and there again.
    fn drop(&mut self) {
        // Advice, as above.
        let _ = self.region.advise(0..self.region.len_bytes(), Advice::Random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn blocks_come_in_the_order_of_the_file_and_cover_it() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|i| (i % 251) as u8).collect();
        let region = Region::from_vec(bytes.clone());
        let seen = Arc::new(AtomicU64::new(0));
        let listener = {
            let seen = seen.clone();
            Listener::new(move |progress| {
                seen.fetch_max(progress.bytes_done, Ordering::Relaxed);
            })
        };
        let scan = Scan::new(&region, &listener, 1, false);
        let blocks = scan.blocks(2..bytes.len() as u64, |number, base, block| (number, base, block.to_vec()));
        let mut end = 2;
        for (expected, (number, base, block)) in blocks.unwrap().into_iter().enumerate() {
            assert_eq!((number, base), (expected, end));
            assert_eq!(block, bytes[end as usize..][..block.len()]);
            end += block.len() as u64;
        }
        assert_eq!((end, seen.load(Ordering::Relaxed)), (bytes.len() as u64, bytes.len() as u64 - 2));
    }

    /// Whether the kernel reads ahead in the map of `path`: `sr` for far, `rr` for not at all.
    #[cfg(target_os = "linux")]
    fn advice_of(path: &Path) -> Option<&'static str> {
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let of_file = maps.split_once(path.to_str()?)?.1;
        let flags = of_file.lines().find_map(|line| line.strip_prefix("VmFlags:"))?;
        ["sr", "rr"].into_iter().find(|flag| flags.split(' ').any(|found| found == *flag))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_is_read_ahead_while_it_is_scanned_and_not_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scanned.csv");
        std::fs::write(&path, [0; 4096]).unwrap();
        let region = Region::map(&path, &Default::default()).unwrap();
        region.advise(0..4096, Advice::Random).unwrap();
        if advice_of(&path) != Some("rr") {
            eprintln!("skipped: the kernel does not say how a map is read");
            return;
        }
        let listener = Listener::default();
        let scan = Scan::new(&region, &listener, 1, false);
        assert_eq!(advice_of(&path), Some("sr"));
        drop(scan);
        assert_eq!(advice_of(&path), Some("rr"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_that_were_looked_at_are_let_go_of_unless_they_are_to_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scanned.csv");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        let mapped_kib = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let of_file = maps.split_once(path.to_str().unwrap()).unwrap().1;
            let rss = of_file.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
            rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let (region, listener) = (Region::map(&path, &Default::default()).unwrap(), Listener::default());
        for keep in [true, false] {
            let scan = Scan::new(&region, &listener, 1, keep);
            scan.blocks(0..1 << 20, |_, _, block| block.len()).unwrap();
            assert_eq!(mapped_kib(), if keep { 1 << 10 } else { 0 });
        }
    }

    #[test]
    fn the_first_error_by_number_is_the_error() {
        let (region, listener) = (Region::from_vec(Vec::new()), Listener::default());
        let scan = Scan::new(&region, &listener, 1, false);
        let failed = scan.in_parallel(100, |number, _| match number {
            0..40 => Ok(number),
            _ => Err(Error::malformed(number.to_string())),
        });
        assert_eq!(failed.unwrap_err().message(), "40");
    }
}
