//! What happens when a page of a mapped file cannot be read.
//!
//! The kernel raises SIGBUS in the thread that reads a page which lies beyond the end of the file, or which
//! the disk does not give. By default that ends the process, and with it the training run. Under
//! [`Guard::On`]:
//!
//! ```text
//! map a file      enter [base, end) into the table (table.rs), fault = NONE
//!                 at the first file of the process: install the handler, remember the one before (sigbus.rs)
//!
//! SIGBUS at a     if a fault happened, and a ∈ [base, end) of an entry:
//!                     entry.fault = a − base, unless a fault is noted already       ─┐ in this order
//!                     map a page of zeros over the page of a                        ─┘
//!                     (over [base, end), once single pages have been many or are refused)
//!                     return: the reading is repeated, and reads zeros
//!                 otherwise: what the handler before would have done
//!
//! read            copy; fence; entry.fault = NONE?; is the file as long as it was?; believe the copy
//!
//! unmap           take the entry out of the table; unmap [base, end), pages of zeros and all
//! ```
//!
//! The order in the handler is what makes it safe with many readers. Once the zeros are in place, another
//! thread may read them without any signal; as the note was there before them, that thread sees it when it
//! looks after its copy. In the other order it could deliver zeros as data.
//!
//! The handler runs at an arbitrary instruction, so it takes no lock and allocates nothing: the table's
//! blocks are never freed, and an entry being changed by another thread is recognised by its version and
//! passed over. The entry it looks for is not being changed: whoever reads a region keeps it from being
//! dropped.

/// Whether SIGBUS from mapped files is caught, and becomes an [`Error`](crate::Error).
///
/// Signal handlers belong to the whole process. The one installed here is chained: a SIGBUS that is not from
/// a guarded region does what it would have done without it. It runs on the alternate signal stack where a
/// thread has one. A handler that is installed after it and does not chain in turn disables it.
///
/// Only Linux has the handler. Elsewhere `On` behaves as `Off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Guard {
    /// A page that cannot be read reads as zeros, and [`Region::check`](crate::map::Region::check) reports
    /// it. The first such map of a process installs the handler, which stays.
    #[default]
    On,
    /// Signals are left alone. A page that cannot be read ends the process, unless it has a handler of its
    /// own.
    Off,
}

/// A mapped range under guard, from its making to its drop.
#[cfg(target_os = "linux")]
pub(super) struct Watch(&'static super::table::Entry);

#[cfg(target_os = "linux")]
impl Watch {
    /// Guards the `len` bytes from `base` on; `None` if there are none.
    ///
    /// # Errors
    ///
    /// The system's, if the handler cannot be installed.
    ///
    /// # Safety
    ///
    /// - `base` begins a memory map of at least `len` bytes, which outlives the watch.
    /// - Nothing relies on a page of it keeping its contents after it could not be read.
    pub(super) unsafe fn over(base: *const u8, len: usize) -> std::io::Result<Option<Watch>> {
        if len == 0 {
            return Ok(None);
        }
        super::sigbus::install()?;
        Ok(Some(Watch(super::table::TABLE.enter(base.addr(), len))))
    }

    /// The byte, counted from the map's first, at which a page was first found unreadable.
    ///
    /// The caller has fenced (acquire) since the copies that it asks about.
    pub(super) fn first_fault(&self) -> Option<usize> {
        self.0.first_fault()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Watch {
    fn drop(&mut self) {
        super::table::TABLE.remove(self.0);
    }
}

/// Nothing is ever guarded.
#[cfg(not(target_os = "linux"))]
pub(super) enum Watch {}

#[cfg(not(target_os = "linux"))]
impl Watch {
    /// `None`.
    ///
    /// # Safety
    ///
    /// None is needed; the guard of Linux has conditions.
    pub(super) unsafe fn over(_base: *const u8, _len: usize) -> std::io::Result<Option<Watch>> {
        Ok(None)
    }

    pub(super) fn first_fault(&self) -> Option<usize> {
        match *self {}
    }
}
