//! Reading a file before anyone asks for it.

use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::MmapMut;

use super::region::Region;
use crate::error::{Error, ErrorKind, Result};

/// Whether a mapped file is read before its first use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preload {
    /// Pages are read when they are first needed: the first batch comes at once.
    #[default]
    No,
    /// All pages are read into the page cache, and mapped, beforehand: no fault later, as long as memory is
    /// not short. It is still a map of the file, which processes of the machine share.
    Populate,
    /// The file is copied into memory of our own, in huge pages where the kernel grants them: no fault and
    /// fewer TLB misses later, nobody can change it, and it is [lent](Region::lend) without a promise. Costs
    /// its size in memory.
    Copy,
    /// As `Copy`, into one copy for all processes of the user on the machine which load the dataset under this name: the first
    /// copies, the others wait for it and map what it made. Nobody can change it, the processes that share it included. It
    /// is gone with the last of them, however that ends. Four processes over 256 MiB took 267 MiB in all, where a copy each
    /// took 1,035 (`examples/06_share_memory.rs`, `benches/record/`). Of shared memory, Linux grants huge pages only where
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` says `advise`, `within_size` or `always`; often it says `never`.
    ///
    /// The name belongs to one dataset while a process holds it: that of another dataset, or of files that changed since, is an
    /// error that says so. What compressed files inflate to is not shared. Processes have to see each other in `/proc`, as
    /// those of one container do. Only Linux has it.
    ///
    /// ```
    /// use forebay::{Dataset, Preload};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("words.txt");
    /// # std::fs::write(&path, "a\nb\n").unwrap();
    /// # let name = format!("doc-{}", std::process::id());
    /// let words = Dataset::options().preload(Preload::Shared { name }).open(&path)?; // in every process of a sweep
    /// # assert_eq!(words.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    Shared {
        /// 1 to 100 letters, digits, `-`, `_` and `.`.
        name: String,
    },
    /// The columns of a loader are copied once into the memory of its CUDA device, and its batches gathered there: an option of
    /// loaders, [`LoaderBuilder::preload`](crate::LoaderBuilder::preload), and of nothing else.
    #[cfg(feature = "cuda")]
    Device,
}

impl Region {
    /// This region with its bytes loaded as `how` says. Memory of our own is loaded already, and a clone is
    /// returned.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Truncated`] if the file became shorter, or a page of it could not be read;
    /// - [`ErrorKind::Io`] if a page cannot be read, or the kernel refuses;
    /// - [`ErrorKind::TooLarge`] if there is no memory for a copy;
    /// - for [`Preload::Shared`], [`ErrorKind::InvalidArgument`] if the name is none, or another dataset's,
    ///   [`ErrorKind::Mismatch`] if the file is not what others have of it, and [`ErrorKind::Unsupported`]
    ///   anywhere but on Linux;
    /// - [`ErrorKind::InvalidArgument`] for `Preload::Device`, which loaders alone know.
    pub fn preload(&self, how: Preload) -> Result<Region> {
        let path = self.path().map_or_else(String::new, |path| path.display().to_string());
        self.load(&how, &path)
    }

    /// As [`preload`](Self::preload), for a file of `dataset`, as which it shares its name with other files.
    pub(crate) fn load(&self, how: &Preload, dataset: &str) -> Result<Region> {
        match how {
            #[cfg(feature = "cuda")]
            Preload::Device => Err(Error::invalid(
                "files are not preloaded to a device, but columns are: use LoaderBuilder::preload(Preload::Device)",
            )),
            _ if self.is_owned() => Ok(self.clone()),
            Preload::No => Ok(self.clone()),
            Preload::Populate => self.populate().map(|()| self.clone()),
            Preload::Copy => self.copied(),
            #[cfg(target_os = "linux")]
            Preload::Shared { name } => super::shared::attach(self, name, dataset),
            #[cfg(not(target_os = "linux"))]
            Preload::Shared { .. } => {
                let _ = dataset;
                Err(self.locate(Error::unsupported("only Linux has Preload::Shared")))
            }
        }
    }

    /// Reads every page, then checks.
    ///
    /// `MADV_POPULATE_READ` reports a page that cannot be read as an error, where touching it would raise
    /// SIGBUS. Kernels before 5.14 do not know it and say `EINVAL`: there, one byte of each page is touched.
    fn populate(&self) -> Result<()> {
        self.read_ahead();
        #[cfg(target_os = "linux")]
        match self.madvise(0..self.len(), libc::MADV_POPULATE_READ) {
            Ok(()) => self.read_as_asked(),
            Err(source) if source.raw_os_error() == Some(libc::EINVAL) => self.touch_pages(),
            Err(source) => {
                // A file cut short is told apart from a failing disk by its length.
                self.check()?;
                let message = format!("cannot read all of its {} bytes into memory: {source}", self.len());
                return Err(self.locate(Error::new(ErrorKind::Io, message).with_source(source)));
            }
        }
        #[cfg(not(target_os = "linux"))]
        self.touch_pages();
        self.check()
    }

    /// Has whatever reads the whole file next read it in long stretches, into large pages where the file system keeps
    /// them. A map advised to be read here and there would be read page by page, thirty times slower from a disk.
    fn read_ahead(&self) {
        // Advice, here and below: a system that does not take it is slower.
        #[cfg(unix)]
        let _ = self.madvise(0..self.len(), libc::MADV_SEQUENTIAL);
        #[cfg(target_os = "linux")]
        let _ = self.madvise(0..self.len(), libc::MADV_HUGEPAGE);
    }

    /// A page that memory was too short to keep is read again alone. What is mapped as a large page stays so.
    #[cfg(target_os = "linux")]
    fn read_as_asked(&self) {
        let _ = self.madvise(0..self.len(), libc::MADV_NOHUGEPAGE);
        let _ = self.madvise(0..self.len(), libc::MADV_RANDOM);
    }

    /// Reads a byte of each page.
    fn touch_pages(&self) {
        /// No system has smaller pages.
        const PAGE_BYTES: usize = 4096;
        for at in (0..self.len()).step_by(PAGE_BYTES) {
            // SAFETY: `at` lies within the region, which is mapped as long as `self` lives. The reading is
            // volatile: it happens, though nobody uses the byte.
            unsafe { self.as_ptr().add(at).read_volatile() };
        }
    }

    /// A copy in memory of our own, checked.
    fn copied(&self) -> Result<Region> {
        let Some(path) = self.shared_path() else { return Ok(self.clone()) };
        let no_memory = |source: std::io::Error| {
            let message = format!("no memory for a copy of its {} bytes: {source}", self.len());
            self.locate(Error::new(ErrorKind::TooLarge, message).with_source(source))
        };
        let mut pages = MmapMut::map_anon(self.len()).map_err(no_memory)?;
        // A kernel built without huge pages refuses, and gives small ones.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        self.read_ahead();
        self.copy_out(0, &mut pages)?;
        self.check()?;
        let pages = pages.make_read_only().map_err(no_memory)?;
        let start = NonNull::from(&pages[..]).cast();
        // SAFETY: an anonymous, private, read-only map, whose bytes stay where they are when `pages` moves.
        Ok(unsafe { Region::from_owner(start, self.len(), Arc::new(pages), path.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapOptions;

    #[test]
    fn touching_pages_stands_in_for_populating() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(40_000).unwrap();
        let region = Region::map(file.path(), &MapOptions::new()).unwrap();
        region.touch_pages();
        region.check().unwrap();
        #[cfg(target_os = "linux")]
        assert_eq!(region.resident_bytes(0..40_000).unwrap(), 40_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_on_disk_is_populated_in_long_stretches() {
        use crate::map::Advice;
        use std::os::fd::AsRawFd;

        const PAGES: u64 = 4096;
        let major_faults = || {
            // SAFETY: `getrusage` fills the plain numbers it is given.
            unsafe {
                let mut usage = std::mem::zeroed::<libc::rusage>();
                assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
                usage.ru_majflt as u64
            }
        };
        for how in [Preload::Populate, Preload::Copy] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), vec![1; 4096 * PAGES as usize]).unwrap();
            file.as_file().sync_all().unwrap();
            // SAFETY: advice about a file that is open.
            unsafe { libc::posix_fadvise(file.as_file().as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            let region = Region::map(file.path(), &MapOptions::new()).unwrap();
            region.advise(0..region.len_bytes(), Advice::Random).unwrap();
            let before = major_faults();
            region.preload(how.clone()).unwrap();
            let faults = major_faults() - before;
            assert!(faults < PAGES / 8, "{how:?}: {faults} reads of a disk for {PAGES} pages");
        }
    }
}
