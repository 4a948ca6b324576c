//! The memory of one slot.

use std::fmt;
use std::io;
use std::str::FromStr;

use memmap2::MmapMut;

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
}

impl fmt::Display for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Staging::Heap => "heap",
            Staging::Locked => "locked",
        })
    }
}

impl FromStr for Staging {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "heap" => Ok(Staging::Heap),
            "locked" => Ok(Staging::Locked),
            _ => Err(Error::invalid(format!("no staging is called '{name}': expected heap or locked"))),
        }
    }
}

/// Bytes of one huge page on the machines this runs on.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Zeroed, page-aligned memory.
pub(crate) struct Memory {
    map: MmapMut,
}

impl Memory {
    /// At least `len_bytes` of memory.
    pub(crate) fn new(staging: Staging, len_bytes: usize) -> Result<Self> {
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
        if staging == Staging::Locked {
            map.lock().map_err(|e| locking_failed(len_bytes, e))?;
        }
        Ok(Memory { map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
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
