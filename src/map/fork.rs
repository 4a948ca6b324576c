//! Whether this process is still the one in which something was made: threads do not survive a `fork`.

use memmap2::MmapMut;

use crate::error::{Error, ErrorKind, Result};

/// A mark that a forked child does not have.
///
/// On Linux it is a page that the kernel wipes in the child (`MADV_WIPEONFORK`, since 4.14), so that asking costs a load;
/// elsewhere, and on older kernels, it is the process's number.
pub(crate) struct Birthplace {
    page: Option<MmapMut>,
    process: u32,
}

impl Birthplace {
    /// The mark of this process.
    ///
    /// # Errors
    ///
    /// `Io` if there is no memory for a page.
    pub(crate) fn here() -> Result<Self> {
        Ok(Birthplace { page: wiped_on_fork()?, process: std::process::id() })
    }

    /// Whether this is another process than the one the mark was made in.
    #[inline]
    pub(crate) fn left(&self) -> bool {
        match &self.page {
            // SAFETY: the page is mapped and initialised. Volatile, since the kernel changes it.
            Some(page) => unsafe { page.as_ptr().read_volatile() == 0 },
            None => std::process::id() != self.process,
        }
    }
}

#[cfg(target_os = "linux")]
fn wiped_on_fork() -> Result<Option<MmapMut>> {
    let mut page = MmapMut::map_anon(1)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot map a page: {e}")).with_source(e))?;
    page[0] = 1;
    // SAFETY: the advice concerns the page just mapped, and only what a child sees of it.
    let advised = unsafe { libc::madvise(page.as_mut_ptr().cast(), 1, libc::MADV_WIPEONFORK) };
    Ok((advised == 0).then_some(page))
}

#[cfg(not(target_os = "linux"))]
fn wiped_on_fork() -> Result<Option<MmapMut>> {
    Ok(None)
}
