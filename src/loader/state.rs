//! Where a trainer is in the sequence of batches, to go on from there.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sampler::{Audit, Remainder, Shuffle};

/// The version of the state this crate writes, and the only one it reads.
const VERSION: u32 = 1;

/// The options a sequence of batches depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) shuffle: Shuffle,
    pub(super) batch_size: usize,
    pub(super) remainder: Remainder,
}

/// A place in the sequence of batches: after the last batch the trainer received.
///
/// A few numbers, as JSON: see [`Loader::state`](super::Loader::state) and
/// [`LoaderBuilder::resume`](super::LoaderBuilder::resume).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    version: u32,
    /// 16 hexadecimal digits: many JSON readers hold 53 bits of a number.
    dataset: String,
    seed: String,
    shuffle: String,
    batch_size: usize,
    remainder: String,
    epoch: u64,
    step: u64,
    progress: Progress,
}

/// What was delivered of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) delivered: Audit,
    /// Whether some batch of the epoch failed, so that not every row can have been delivered.
    pub(super) failed: bool,
}

impl LoaderState {
    pub(super) fn new(
        fingerprint: u64,
        options: &Options,
        epoch: u64,
        step: u64,
        progress: Progress,
    ) -> Self {
        LoaderState {
            version: VERSION,
            dataset: format!("{fingerprint:016x}"),
            seed: options.seed.to_string(),
            shuffle: options.shuffle.to_string(),
            batch_size: options.batch_size,
            remainder: options.remainder.to_string(),
            epoch,
            step,
            progress,
        }
    }

    /// The epoch of the next batch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the next batch in its epoch.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The state as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }

    /// Reads what [`to_json`](LoaderState::to_json) wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for anything else; `Unsupported` for the state of another
    /// version of this crate.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let bad =
            |e: serde_json::Error| Error::malformed(format!("this is no loader state: {e}")).with_source(e);
        let head: Head = serde_json::from_str(json).map_err(bad)?;
        if head.version != VERSION {
            return Err(Error::unsupported(format!(
                "expected a loader state of version {VERSION}, found version {}",
                head.version
            )));
        }
        serde_json::from_str(json).map_err(bad)
    }

    /// The epoch, the step and the progress in the epoch, if this is a state of the same sequence of batches.
    pub(super) fn check(&self, fingerprint: u64, options: &Options) -> Result<(u64, u64, Progress)> {
        let here = LoaderState::new(fingerprint, options, self.epoch, self.step, self.progress);
        let differ = |what: &str, theirs: &str, ours: &str| {
            Err(Error::mismatch(format!(
                "the state was taken with {what} {theirs}, and this loader has {ours}"
            )))
        };
        if self.dataset != here.dataset {
            return differ("the dataset", &self.dataset, &here.dataset);
        }
        if self.seed != here.seed {
            return differ("seed", &self.seed, &here.seed);
        }
        if self.shuffle != here.shuffle {
            return differ("shuffle", &self.shuffle, &here.shuffle);
        }
        if self.batch_size != here.batch_size {
            return differ("batch_size", &self.batch_size.to_string(), &here.batch_size.to_string());
        }
        if self.remainder != here.remainder {
            return differ("remainder", &self.remainder, &here.remainder);
        }
        Ok((self.epoch, self.step, self.progress))
    }
}
