//! How rows of varying length are made equal.
#![forbid(unsafe_code)]

/// How the rows of a column of varying length are padded: see [`Col::pad`](crate::Col::pad).
///
/// ```
/// use forebay::{Pad, col};
///
/// let to_the_longest = col("tokens").pad(Pad::longest()); // of each batch
/// let fixed = col("tokens").pad(Pad::to(512).truncate().value(-1.0));
/// let capped = col("tokens").pad(Pad::longest().at_most(512)); // a longer row is an error
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Pad {
    pub(crate) fixed: Option<usize>,
    pub(crate) most: Option<usize>,
    pub(crate) truncate: bool,
    pub(crate) value: f64,
}

impl Pad {
    /// Whether it says what to pad with, and nothing of lengths.
    pub(crate) fn pads_alone(&self) -> bool {
        self.fixed.is_none() && self.most.is_none() && !self.truncate
    }

    /// To the length of the longest row of the batch.
    pub fn longest() -> Self {
        Pad { fixed: None, most: None, truncate: false, value: 0.0 }
    }

    /// To `len` items, in every batch. A longer row is an error, unless it is [cut](Pad::truncate).
    pub fn to(len: usize) -> Self {
        Pad { fixed: Some(len), most: Some(len), ..Pad::longest() }
    }

    /// Allows rows of no more than `len` items. A longer one is an error, unless it is [cut](Pad::truncate). It bounds what one
    /// row may do to the memory of a batch.
    pub fn at_most(mut self, len: usize) -> Self {
        self.most = Some(self.most.map_or(len, |most| most.min(len)));
        self
    }

    /// Cuts rows that are longer than allowed: their first items are kept.
    pub fn truncate(mut self) -> Self {
        self.truncate = true;
        self
    }

    /// What rows are padded with, after cast and scale. Default: 0.
    pub fn value(mut self, value: f64) -> Self {
        self.value = value;
        self
    }
}
