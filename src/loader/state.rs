//! Where a trainer is in the sequence of batches, to go on from there.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::coordinator::reader::read_state;
use crate::error::{Error, Result};
use crate::sampler::{Audit, Partition, Remainder, Shuffle};

/// The version of the state this crate writes, and the only one it reads.
const VERSION: u32 = 1;

/// The options a sequence of batches depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The mixture in words.
    pub(super) mixture: Option<String>,
    pub(super) seed: u64,
    pub(super) shuffle: Shuffle,
    /// Rows in a batch of all ranks together.
    pub(super) global_batch: u64,
    pub(super) remainder: Remainder,
    pub(super) partition: Partition,
    /// What rows are sorted, or packed by.
    pub(super) grouping: Option<String>,
}

/// A place in the sequence of batches: after the last batch the trainer received.
///
/// The sequence is that of the global batches: a state taken by any rank, of any number of ranks, says where all of them
/// are, and another number of ranks goes on from there, as long as their batches are as many rows together.
///
/// A few numbers, as JSON: see [`Loader::state`](super::Loader::state) and
/// [`LoaderBuilder::resume`](super::LoaderBuilder::resume).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    version: u32,
    /// 16 hexadecimal digits: many JSON readers hold 53 bits of a number.
    dataset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mixture: Option<String>,
    seed: String,
    shuffle: String,
    global_batch: u64,
    remainder: String,
    /// Left out where rows are neither bucketed nor packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grouping: Option<String>,
    /// Whose progress it is.
    rank: u32,
    world: u32,
    epoch: u64,
    step: u64,
    progress: Progress,
}

/// What was delivered of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) delivered: Audit,
    /// Whether some batch of the epoch failed, or was delivered by another rank, so that not every row can have been
    /// delivered here.
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
            mixture: options.mixture.clone(),
            seed: options.seed.to_string(),
            shuffle: options.shuffle.to_string(),
            global_batch: options.global_batch,
            remainder: options.remainder.to_string(),
            grouping: options.grouping.clone(),
            rank: options.partition.rank(),
            world: options.partition.world(),
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
        read_state(json, "loader", VERSION)
    }

    /// The epoch, the step and the progress in the epoch, if this is a state of the same sequence of batches.
    pub(super) fn check(&self, fingerprint: u64, options: &Options) -> Result<(u64, u64, Progress)> {
        let here = LoaderState::new(fingerprint, options, self.epoch, self.step, self.progress);
        let differ = |what: &str, theirs: &str, ours: &str| {
            Err(Error::mismatch(format!(
                "the state was taken with {what} {theirs}, and this loader has {ours}"
            )))
        };
        // Before the dataset, which is another one where components are.
        if self.mixture != here.mixture {
            let words = |state: &LoaderState| match &state.mixture {
                None => "no mixture".to_owned(),
                Some(mixture) => format!("the mixture {mixture}"),
            };
            return Err(Error::mismatch(format!(
                "the state was taken with {}, and this loader has {}",
                words(self),
                words(&here)
            )));
        }
        if self.dataset != here.dataset {
            return differ("the dataset", &self.dataset, &here.dataset);
        }
        if self.seed != here.seed {
            return differ("seed", &self.seed, &here.seed);
        }
        if self.shuffle != here.shuffle {
            return differ("shuffle", &self.shuffle, &here.shuffle);
        }
        if self.global_batch != here.global_batch {
            let rows = |state: &LoaderState| match state.world {
                1 => state.global_batch.to_string(),
                world => format!("{} on {world} ranks together", state.global_batch),
            };
            return differ("batch_size", &rows(self), &rows(&here));
        }
        if self.remainder != here.remainder {
            return differ("remainder", &self.remainder, &here.remainder);
        }
        if self.grouping != here.grouping {
            let grouping =
                |state: &LoaderState| state.grouping.clone().unwrap_or_else(|| "no grouping".to_owned());
            return differ("rows by", &grouping(self), &grouping(&here));
        }
        let mut progress = self.progress;
        if (self.rank, self.world) != (here.rank, here.world) {
            // What another rank delivered says nothing of what this one has.
            progress = Progress { delivered: Audit::default(), failed: self.step > 0 };
        }
        Ok((self.epoch, self.step, progress))
    }
}
