//! How an epoch is cut into batches.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::partition::Partition;
use crate::error::{Error, Result};

/// What becomes of the rows at the end of an epoch that do not fill a batch.
///
/// As text (`Display`, `FromStr`): `drop`, `keep`, `pad`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Remainder {
    /// They are left out of this epoch.
    Drop,
    /// They make a last, smaller batch.
    #[default]
    Keep,
    /// They make a last batch of full size, whose missing rows are filled up and masked as not valid.
    Pad,
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Remainder::Drop => "drop",
            Remainder::Keep => "keep",
            Remainder::Pad => "pad",
        })
    }
}

impl FromStr for Remainder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "drop" => Ok(Remainder::Drop),
            "keep" => Ok(Remainder::Keep),
            "pad" => Ok(Remainder::Pad),
            _ => {
                Err(Error::invalid(format!("expected a remainder (`drop`, `keep` or `pad`), found `{text}`")))
            }
        }
    }
}

/// The steps of an epoch: step `s` takes the positions `s · global_batch` and on, of which each rank has its slice.
///
/// The ranges of the steps, in order, those of all ranks, and [`dropped`](Self::dropped) after them make up `0..n` without
/// gap or overlap. Every rank has the same number of steps. In a last step that is not full the ranks share what there is
/// evenly; where there are fewer rows than ranks, some of them have none.
///
/// ```
/// use forebay::sampler::{Remainder, Steps};
/// let steps = Steps::new(10, 4, Remainder::Keep)?;
/// assert_eq!(steps.len(), 3);
/// assert_eq!(steps.positions(2), 8..10);
/// assert_eq!(steps.locate(7), (2, 1));                    // batch 7 is step 1 of epoch 2
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    num_rows: u64,
    batch_size: u64,
    /// Rows in a step, of all ranks together.
    global_batch: u64,
    remainder: Remainder,
    partition: Partition,
}

impl Steps {
    /// Cuts epochs of `n` rows into batches of `batch_size` rows, for the only process there is.
    ///
    /// # Errors
    ///
    /// If `batch_size` is 0.
    pub fn new(n: u64, batch_size: u64, remainder: Remainder) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::invalid("batch_size must be at least 1 row, found 0"));
        }
        let partition = Partition::default();
        Ok(Steps { num_rows: n, batch_size, global_batch: batch_size, remainder, partition })
    }

    /// The steps of one rank, with batches of as many rows.
    ///
    /// # Errors
    ///
    /// If the batches of all ranks together have 2⁶⁴ rows or more.
    pub fn partition(self, partition: Partition) -> Result<Self> {
        let global_batch = self.batch_size.checked_mul(partition.world().into()).ok_or_else(|| {
            Error::invalid(format!(
                "batches of {} rows on {} ranks are more rows together than can be counted",
                self.batch_size,
                partition.world()
            ))
        })?;
        Ok(Steps { global_batch, partition, ..self })
    }

    /// The number of steps in an epoch: none if there are no rows, or if `Drop` leaves out all there are.
    #[inline]
    pub fn len(&self) -> u64 {
        match self.remainder {
            Remainder::Drop => self.num_rows / self.global_batch,
            Remainder::Keep | Remainder::Pad => self.num_rows.div_ceil(self.global_batch),
        }
    }

    /// Whether an epoch has no steps.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of a full batch.
    #[inline]
    pub fn batch_size(&self) -> u64 {
        self.batch_size
    }

    /// The rows of a full batch of all ranks together.
    #[inline]
    pub fn global_batch(&self) -> u64 {
        self.global_batch
    }

    /// The positions whose rows step `step` delivers to this rank: `batch_size` of them, fewer only in the last step.
    ///
    /// Under [`Remainder::Pad`] these are the valid rows of the last batch; the rest of it is padding.
    ///
    /// # Panics
    ///
    /// If `step` is not below [`len`](Self::len).
    #[inline]
    pub fn positions(&self, step: u64) -> Range<u64> {
        self.partition.slice(self.of_all_ranks(step))
    }

    /// The positions whose rows step `step` delivers to all ranks together.
    #[inline]
    pub(crate) fn of_all_ranks(&self, step: u64) -> Range<u64> {
        let len = self.len();
        assert!(step < len, "step {step} is out of range 0..{len}");
        let start = step * self.global_batch;
        start..start.saturating_add(self.global_batch).min(self.num_rows)
    }

    /// How many rows an epoch delivers to this rank from step `first` on.
    pub fn num_delivered(&self, first: u64) -> u64 {
        let len = self.len();
        if first >= len {
            return 0;
        }
        let last = self.positions(len - 1);
        (len - 1 - first) * self.batch_size + (last.end - last.start)
    }

    /// The positions that [`Remainder::Drop`] leaves out at the end of an epoch; empty otherwise.
    #[inline]
    pub fn dropped(&self) -> Range<u64> {
        self.len().saturating_mul(self.global_batch).min(self.num_rows)..self.num_rows
    }

    /// The epoch and the step in it of batch number `batch`, counted from 0 through all epochs.
    ///
    /// # Panics
    ///
    /// If an epoch has no steps.
    #[inline]
    pub fn locate(&self, batch: u64) -> (u64, u64) {
        let len = self.len();
        assert!(len > 0, "batch {batch} lies in no epoch: an epoch of {} rows has no steps", self.num_rows);
        (batch / len, batch % len)
    }
}
