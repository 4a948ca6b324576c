//! Whether the data stays in memory, and what was done about its pages.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::map::Residence;
#[cfg(doc)]
use crate::sampler::Shuffle;

/// Whether the data is to stay in memory, or to pass through it.
///
/// As text (`Display`, `FromStr`): `auto`, `resident`, `streaming`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Residency {
    /// `Streaming` if the files are larger than nine tenths of the memory that the machine, and the control groups this
    /// process is in, have for them; else `Resident`.
    #[default]
    Auto,
    /// The files fit into memory: in the first epoch pages are read ahead, and stay.
    Resident,
    /// The files do not fit: pages are read ahead in every epoch, and let go of when no batch of the epoch needs them any
    /// more. Under [`Shuffle::Exact`], in a mixture, and where the dataset's own rows are out of order (a random
    /// [`split`](crate::Dataset::split), a [`subset`](crate::Dataset::subset)), rows of the same page come at any time, so
    /// nothing is let go of; nor of documents that are [packed](crate::LoaderBuilder::pack) in any order but their own.
    Streaming,
}

impl Residency {
    /// What `Auto` comes to for files of `file_bytes` bytes; any other stays.
    pub(super) fn decide(self, file_bytes: u64, available_bytes: Option<u64>) -> Self {
        match self {
            Residency::Auto if available_bytes.is_some_and(|available| file_bytes > available / 10 * 9) => {
                Residency::Streaming
            }
            Residency::Auto => Residency::Resident,
            said => said,
        }
    }
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Residency::Auto => "auto",
            Residency::Resident => "resident",
            Residency::Streaming => "streaming",
        })
    }
}

impl FromStr for Residency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Residency::Auto),
            "resident" => Ok(Residency::Resident),
            "streaming" => Ok(Residency::Streaming),
            _ => Err(Error::invalid(format!(
                "expected a residency (`auto`, `resident` or `streaming`), found `{text}`"
            ))),
        }
    }
}

/// What a loader did about the pages of its files.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PageStats {
    /// What was asked for or, of [`Residency::Auto`], decided; never `Auto`.
    pub residency: Residency,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Bytes of memory there were for them when the loader was built; `None` where the system does not say.
    pub available_bytes: Option<u64>,
    /// Bytes of the pages asked for ahead.
    pub advised_bytes: u64,
    /// Bytes of the pages let go of.
    pub released_bytes: u64,
    /// How much of the files mapped so far is in memory; `None` where nothing is mapped, or the system does not tell.
    pub residence: Option<Residence>,
}

impl fmt::Display for PageStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        write!(f, "{}: files of {:.1} MB", self.residency, megabytes(self.file_bytes))?;
        if let Some(available) = self.available_bytes {
            write!(f, ", {:.1} MB of memory for them", megabytes(available))?;
        }
        let (advised, released) = (megabytes(self.advised_bytes), megabytes(self.released_bytes));
        write!(f, "; {advised:.1} MB read ahead, {released:.1} MB let go of")?;
        match &self.residence {
            None => write!(f, "; the system does not tell how much is in memory"),
            Some(Residence { mapped_bytes, sampled_bytes, .. }) if self.file_bytes > 0 => {
                let share = 100.0 * self.residence.map_or(0.0, |residence| residence.share());
                write!(f, "; {share:.1} % of {:.1} MB mapped in memory", megabytes(*mapped_bytes))?;
                if sampled_bytes < mapped_bytes {
                    write!(f, " (of {:.1} MB sampled)", megabytes(*sampled_bytes))?;
                }
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_larger_than_nine_tenths_of_memory_stream() {
        let auto = |files| Residency::Auto.decide(files, Some(1000));
        assert_eq!((auto(0), auto(900)), (Residency::Resident, Residency::Resident));
        assert_eq!((auto(901), auto(u64::MAX)), (Residency::Streaming, Residency::Streaming));
        assert_eq!(Residency::Auto.decide(u64::MAX, None), Residency::Resident, "nothing is known");
        assert_eq!(Residency::Resident.decide(901, Some(1000)), Residency::Resident);
        assert_eq!(Residency::Streaming.decide(1, Some(1000)), Residency::Streaming);
    }
}
