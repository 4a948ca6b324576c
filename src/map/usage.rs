//! What this process used so far, as the kernel counts it.

use std::time::Duration;

/// Page faults, processor time and memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessUsage {
    /// Page faults served from memory: the page was in the page cache.
    pub minor_faults: u64,
    /// Page faults served from a disk.
    pub major_faults: u64,
    /// Processor time of all threads, in user code and in the kernel.
    pub cpu: Duration,
    /// The most memory that was resident at a time, in bytes; pages of mapped files count.
    pub peak_rss_bytes: u64,
}

impl ProcessUsage {
    /// Since the process began; zero where the system does not count.
    pub fn of_process() -> Self {
        #[cfg(unix)]
        {
            // SAFETY: all zeros is a valid `rusage`.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: `usage` is a valid place for the answer.
            if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } == 0 {
                let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
                // Linux counts in KiB, macOS in bytes.
                let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
                return ProcessUsage {
                    minor_faults: usage.ru_minflt as u64,
                    major_faults: usage.ru_majflt as u64,
                    cpu: time(usage.ru_utime) + time(usage.ru_stime),
                    peak_rss_bytes: usage.ru_maxrss as u64 * unit,
                };
            }
        }
        ProcessUsage::default()
    }
}
