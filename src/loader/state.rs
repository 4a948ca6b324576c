//! Where a trainer is in the sequence of batches, to go on from there.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::BadRecord;
use crate::coordinator::reader::read_state;
use crate::dataset::Identity;
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
    dataset: Arc<Identity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mixture: Option<String>,
    /// As text: many JSON readers hold 53 bits of a number.
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
    /// Those left out since the first batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bad_records: Vec<BadRecord>,
}

/// What was delivered of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// The step from which on it was counted: not the first of the epoch where another rank delivered those before.
    pub(super) first_step: u64,
    pub(super) delivered: Audit,
    /// Whether some batch failed, so that not every row can have been delivered.
    pub(super) failed: bool,
}

/// Where a loader begins.
#[derive(Default)]
pub(super) struct Start {
    pub(super) epoch: u64,
    pub(super) step: u64,
    pub(super) progress: Progress,
    pub(super) bad_records: Vec<BadRecord>,
}

impl LoaderState {
    pub(super) fn new(dataset: &Arc<Identity>, options: &Options, start: Start) -> Self {
        LoaderState {
            version: VERSION,
            dataset: dataset.clone(),
            mixture: options.mixture.clone(),
            seed: options.seed.to_string(),
            shuffle: options.shuffle.to_string(),
            global_batch: options.global_batch,
            remainder: options.remainder.to_string(),
            grouping: options.grouping.clone(),
            rank: options.partition.rank(),
            world: options.partition.world(),
            epoch: start.epoch,
            step: start.step,
            progress: start.progress,
            bad_records: start.bad_records,
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

    /// The audit of what this rank delivered of the epoch before that batch. [Merged](Audit::merge) over all ranks of a job that
    /// was stopped, and with what those that went on in its place [deliver](super::Loader::audit) up to the epoch's end, it is what
    /// the whole epoch must give, whatever the numbers of ranks.
    pub fn audit(&self) -> Audit {
        self.progress.delivered
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

    /// Where to go on, if this is a state of the same sequence of batches.
    pub(super) fn check(&self, dataset: &Arc<Identity>, options: &Options) -> Result<Start> {
        let (epoch, step) = (self.epoch, self.step);
        let here = LoaderState::new(dataset, options, Start { epoch, step, ..Start::default() });
        let differ = |theirs: &str, ours: &str| {
            Err(Error::mismatch(format!("the state was taken with {theirs}, and this loader has {ours}")))
        };
        // Before the dataset, which is another one where components are.
        if self.mixture != here.mixture {
            let words = |state: &LoaderState| match &state.mixture {
                None => "no mixture".to_owned(),
                Some(mixture) => format!("the mixture {mixture}"),
            };
            return differ(&words(self), &words(&here));
        }
        if let Some((theirs, ours)) = self.dataset.difference(&here.dataset) {
            return differ(&theirs, &ours);
        }
        if self.seed != here.seed {
            return differ(&format!("seed {}", self.seed), &here.seed);
        }
        if self.shuffle != here.shuffle {
            return differ(&format!("shuffle {}", self.shuffle), &here.shuffle);
        }
        if self.global_batch != here.global_batch {
            let rows = |state: &LoaderState| match state.world {
                1 => state.global_batch.to_string(),
                world => format!("{} on {world} ranks together", state.global_batch),
            };
            return differ(&format!("batch_size {}", rows(self)), &rows(&here));
        }
        if self.remainder != here.remainder {
            return differ(&format!("remainder {}", self.remainder), &here.remainder);
        }
        if self.grouping != here.grouping {
            let grouping =
                |state: &LoaderState| state.grouping.clone().unwrap_or_else(|| "no grouping".to_owned());
            return differ(&format!("rows by {}", grouping(self)), &grouping(&here));
        }
        if (self.rank, self.world) == (here.rank, here.world) {
            let (progress, bad_records) = (self.progress, self.bad_records.clone());
            return Ok(Start { epoch, step, progress, bad_records });
        }
        // What another rank delivered, or left out, says nothing of what this one has.
        let progress = Progress { first_step: step, ..Progress::default() };
        Ok(Start { epoch, step, progress, bad_records: Vec::new() })
    }
}
