//! The memory of one slot.

use std::fmt;
use std::io;
use std::str::FromStr;
#[cfg(feature = "cuda")]
use std::sync::Arc;

use memmap2::MmapMut;

#[cfg(feature = "cuda")]
use super::cuda::{Context, Pinned, Pins};
use crate::error::{Error, ErrorKind, Result};

/// Where batches are staged for the trainer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Staging {
    /// Ordinary memory, huge pages advised where a slot is large enough for them.
    #[default]
    Heap,
    /// Ordinary memory, locked so that it is never swapped out. Needs a limit on locked memory
    /// (`ulimit -l`) of some depth + threads slots.
    Locked,
    /// Memory that the driver of this CUDA device has locked in its place, so that the device fetches from it by itself and
    /// beside all else. The number counts the devices that are visible to the process. Whoever copies from such a batch by himself
    /// keeps it until the copy is done: the next one is made in its slot.
    /// [`build_on_device`](crate::LoaderBuilder::build_on_device) does all that.
    #[cfg(feature = "cuda")]
    Cuda(u32),
}

impl fmt::Display for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Staging::Heap => f.write_str("heap"),
            Staging::Locked => f.write_str("locked"),
            #[cfg(feature = "cuda")]
            Staging::Cuda(device) => write!(f, "cuda:{device}"),
        }
    }
}

impl FromStr for Staging {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "heap" => Ok(Staging::Heap),
            "locked" => Ok(Staging::Locked),
            _ => cuda_device(name),
        }
    }
}

/// The staging of `cuda` (device 0) or `cuda:N`.
fn cuda_device(name: &str) -> Result<Staging> {
    let unknown =
        || Error::invalid(format!("no staging is called '{name}': expected heap, locked, cuda or cuda:N"));
    let number = name.strip_prefix("cuda").ok_or_else(unknown)?;
    let device = if number.is_empty() { "0" } else { number.strip_prefix(':').ok_or_else(unknown)? };
    let device = device.parse::<u32>().map_err(|_| unknown())?;
    #[cfg(feature = "cuda")]
    return Ok(Staging::Cuda(device));
    #[cfg(not(feature = "cuda"))]
    Err(Error::unsupported(format!(
        "staging on CUDA device {device} needs the feature 'cuda', without which this was built"
    )))
}

/// Bytes of one huge page on the machines this runs on.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Where the memory of a pool's slots comes from.
pub(crate) enum SlotMemory {
    Heap,
    Locked,
    #[cfg(feature = "cuda")]
    Cuda(Arc<Pins>),
}

impl SlotMemory {
    /// The memory `staging` names.
    ///
    /// # Errors
    ///
    /// For [`Staging::Cuda`]: `InvalidArgument` if there is no such device, `Device` if its driver fails.
    pub(crate) fn new(staging: Staging, pinned_cap_bytes: Option<usize>) -> Result<Self> {
        #[cfg(not(feature = "cuda"))]
        let _ = pinned_cap_bytes;
        Ok(match staging {
            Staging::Heap => SlotMemory::Heap,
            Staging::Locked => SlotMemory::Locked,
            #[cfg(feature = "cuda")]
            Staging::Cuda(device) => {
                let context = Context::new(device)?;
                SlotMemory::Cuda(match pinned_cap_bytes {
                    Some(cap_bytes) => Pins::new(context, cap_bytes),
                    None => Pins::sharing(context, default_pinned_cap_bytes()),
                })
            }
        })
    }

    /// Whether a batch may hold columns that lie elsewhere: not if all of it is to be sent in one piece.
    pub(crate) fn may_lend(&self) -> bool {
        matches!(self, SlotMemory::Heap | SlotMemory::Locked)
    }

    /// The context of the device that the memory is locked for.
    #[cfg(feature = "cuda")]
    pub(crate) fn cuda_context(&self) -> Option<&Arc<Context>> {
        match self {
            SlotMemory::Heap | SlotMemory::Locked => None,
            SlotMemory::Cuda(pins) => Some(pins.context()),
        }
    }

    /// Bytes locked by a CUDA driver, and bytes that would have been but for the cap.
    pub(crate) fn pinned_bytes(&self) -> (u64, u64) {
        match self {
            SlotMemory::Heap | SlotMemory::Locked => (0, 0),
            #[cfg(feature = "cuda")]
            SlotMemory::Cuda(pins) => (pins.pinned_bytes() as u64, pins.unpinned_bytes() as u64),
        }
    }

    /// At least `len_bytes`, zeroed, at the beginning of a page.
    pub(crate) fn allocate(&self, len_bytes: usize) -> Result<Memory> {
        match self {
            SlotMemory::Heap => Memory::map(len_bytes, false),
            SlotMemory::Locked => Memory::map(len_bytes, true),
            #[cfg(feature = "cuda")]
            SlotMemory::Cuda(pins) => match pins.allocate(len_bytes.max(1))? {
                Some(pinned) => Ok(Memory::Pinned(pinned)),
                None => Memory::map(len_bytes, false),
            },
        }
    }
}

/// For all pools together, a quarter of the machine's memory: what is locked is lost to everything else.
#[cfg(feature = "cuda")]
fn default_pinned_cap_bytes() -> usize {
    // SAFETY: plain questions about the machine.
    let (pages, page_bytes) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    usize::try_from(pages).unwrap_or(0).saturating_mul(usize::try_from(page_bytes).unwrap_or(0)) / 4
}

/// Initialised, page-aligned memory.
pub(crate) enum Memory {
    Mapped(MmapMut),
    #[cfg(feature = "cuda")]
    Pinned(Pinned),
}

impl Memory {
    fn map(len_bytes: usize, locked: bool) -> Result<Self> {
        let len_bytes = len_bytes.max(1);
        let map = MmapMut::map_anon(len_bytes).map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot allocate a slot of {len_bytes} bytes: {e}"))
                .with_source(e)
        })?;
        #[cfg(target_os = "linux")]
        if len_bytes >= HUGE_PAGE_BYTES {
            // Advice: a kernel without huge pages refuses it, and nothing is lost.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        if locked {
            map.lock().map_err(|e| locking_failed(len_bytes, e))?;
        }
        Ok(Memory::Mapped(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Memory::Mapped(map) => map,
            #[cfg(feature = "cuda")]
            Memory::Pinned(pinned) => pinned.bytes(),
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Mapped(map) => map,
            #[cfg(feature = "cuda")]
            Memory::Pinned(pinned) => pinned.bytes_mut(),
        }
    }
}

fn locking_failed(len_bytes: usize, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "cannot lock a slot of {len_bytes} bytes: {error}. Raise the limit on locked memory (RLIMIT_MEMLOCK, `ulimit -l`), lower `depth` or `batch_size`, or use Staging::Heap"
        ),
    )
    .with_source(error)
}
