//! The order of a whole run: one order of the rows for every epoch.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::audit::Audit;
use super::feistel::{LANES, WIDE_LANES};
use super::interleaving::Interleaving;
use super::mixture::{Mixed, MixedEpoch};
use super::permutation::check_range;
use super::single::{Single, SingleEpoch};
use crate::error::{Error, Result};

/// How the rows of an epoch are ordered.
///
/// As text (`Display`, `FromStr`): `none`, `exact`, `block:4096x16` for blocks of 4,096 rows in groups of 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shuffle {
    /// As they lie in the dataset, the same in every epoch.
    #[default]
    None,
    /// A random permutation of all rows, a new one in every epoch: see [`Permutation`](super::Permutation).
    Exact,
    /// Blocks of consecutive rows in random order, and the rows of so many blocks at a time in random order; new orders
    /// in every epoch.
    ///
    /// Reads stay within `rows × blocks` rows for as many steps, so that a disk reads blocks and not rows, and data that
    /// has to be decoded (Parquet, compressed files) is decoded a few chunks at a time. The larger the group, the nearer to
    /// `Exact`: a batch holds rows of one group, each of its rows equally likely.
    ///
    /// How far that is from `Exact`, for an epoch of 262,144 rows sorted by 64 labels, in batches of 256
    /// (`examples/08_block_quality.rs` makes the table). Rows at hand are those of a group, which have to be in memory at a
    /// time. What counts for a batch is how many blocks it draws from, so take small blocks, and many. Likeness is the
    /// correlation of the number of a row with that of the next, distance how far a row is from where it lies, as a share of
    /// the dataset.
    ///
    /// | shuffle | rows at hand | blocks in a batch | labels in a batch | likeness of neighbours | distance |
    /// |---|---|---|---|---|---|
    /// | `none` | 0.1 % |  | 1.0 | 1.00 | 0.00 |
    /// | `block:64x4` | 0.1 % | 4 | 3.9 | 0.24 | 0.33 |
    /// | `block:64x16` | 0.4 % | 16 | 14.2 | 0.06 | 0.33 |
    /// | `block:64x64` | 1.6 % | 63 | 40.2 | 0.01 | 0.33 |
    /// | `block:64x256` | 6.2 % | 163 | 59.2 | 0.00 | 0.33 |
    /// | `block:256x16` | 1.6 % | 16 | 14.2 | 0.07 | 0.32 |
    /// | `block:256x64` | 6.2 % | 63 | 41.6 | 0.02 | 0.32 |
    /// | `block:256x256` | 25.0 % | 162 | 59.8 | 0.01 | 0.32 |
    /// | `block:1024x16` | 6.2 % | 16 | 14.5 | 0.04 | 0.33 |
    /// | `block:1024x64` | 25.0 % | 63 | 41.6 | 0.00 | 0.33 |
    /// | `exact` | 100.0 % |  | 62.9 | 0.00 | 0.33 |
    ///
    /// Over seeds a row comes at every position equally often where rows fill whole blocks; a shorter last block comes where
    /// blocks end.
    Block {
        /// Rows in a block: those of a row group or a record batch, or what a disk reads well in one go. At least 1.
        rows: u64,
        /// Blocks whose rows are mixed. At least 1.
        blocks: u64,
    },
}

impl Shuffle {
    /// Refuses blocks without rows and groups without blocks.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Shuffle::Block { rows: 0, .. } | Shuffle::Block { blocks: 0, .. } => Err(Error::invalid(
                format!("expected blocks of at least 1 row in groups of at least 1, found {self}"),
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shuffle::None => f.pad("none"),
            Shuffle::Exact => f.pad("exact"),
            Shuffle::Block { rows, blocks } => f.pad(&format!("block:{rows}x{blocks}")),
        }
    }
}

impl FromStr for Shuffle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let block = || {
            let (rows, blocks) = text.strip_prefix("block:")?.split_once('x')?;
            Some(Shuffle::Block { rows: rows.parse().ok()?, blocks: blocks.parse().ok()? })
        };
        match text {
            "none" => Ok(Shuffle::None),
            "exact" => Ok(Shuffle::Exact),
            _ => {
                let shuffle = block().ok_or_else(|| {
                    Error::invalid(format!(
                        "expected a shuffle (`none`, `exact` or, as in `block:4096x16`, rows in a block and blocks in a \
                         group), found `{text}`"
                    ))
                })?;
                shuffle.check().map(|()| shuffle)
            }
        }
    }
}

/// Which row comes when, over all epochs: a pure function of number of rows, shuffle, seed, epoch, position.
///
/// ```
/// use forebay::sampler::{Order, Shuffle};
/// let order = Order::new(1000, Shuffle::Exact, 42);
/// let mut batch = [0; 32];
/// order.epoch(3).fill(64, &mut batch);                    // the third batch of 32 of epoch 3
/// assert_eq!(batch[0], order.epoch(3).get(64));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order(Run);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    Single(Single),
    Mixed(Arc<Mixed>),
}

impl Order {
    /// The order of `n` rows; without a shuffle the seed has no effect.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`Permutation::MAX_LEN`](super::Permutation::MAX_LEN), or a block or a group is empty.
    pub fn new(n: u64, shuffle: Shuffle, seed: u64) -> Self {
        Order(Run::Single(Single::new(n, shuffle, seed)))
    }

    /// The order of several components that take turns as `interleaving` says, in epochs of `n` rows.
    ///
    /// Component `c` has `lens[c]` rows, which are numbered behind those of the one before it. It is gone through again and
    /// again, each time in a new order, under a seed of its own. Epochs only cut the turns: each goes on where the one before
    /// it ended.
    ///
    /// ```
    /// use forebay::sampler::{Interleaving, Order, Shuffle};
    /// let order = Order::mixture(&Interleaving::new(&[2, 1])?, &[4, 1], 6, Shuffle::None, 0);
    /// let rows = |epoch| (0..6).map(|position| order.epoch(epoch).get(position)).collect::<Vec<_>>();
    /// assert_eq!(rows(0), [0, 1, 4, 2, 3, 4]);                // row 4 is the only one of the second
    /// assert_eq!(rows(1), [0, 1, 4, 2, 3, 4]);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If there are not as many lengths as weights, a length is 0, `n` or the sum of the lengths is more than
    /// [`Permutation::MAX_LEN`](super::Permutation::MAX_LEN), or a block or a group is empty.
    pub fn mixture(interleaving: &Interleaving, lens: &[u64], n: u64, shuffle: Shuffle, seed: u64) -> Self {
        Order(Run::Mixed(Arc::new(Mixed::new(interleaving, lens, n, shuffle, seed))))
    }

    /// The number of rows in an epoch.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Run::Single(single) => single.len(),
            Run::Mixed(mixed) => mixed.len(),
        }
    }

    /// Whether an epoch has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The order of one epoch, counted from 0. Takes well under a microsecond; of a mixture, time and memory for each component.
    pub fn epoch(&self, epoch: u64) -> EpochOrder {
        EpochOrder(match &self.0 {
            Run::Single(single) => Kind::Single(single.epoch(epoch)),
            Run::Mixed(mixed) => Kind::Mixed(Arc::new(mixed.epoch(epoch))),
        })
    }
}

/// The order of one epoch: which row stands at which position. Each row at exactly one, but in a mixture.
#[derive(Clone, Debug)]
pub struct EpochOrder(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Single(SingleEpoch),
    Mixed(Arc<MixedEpoch>),
}

impl EpochOrder {
    /// The number of rows.
    #[inline]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Single(single) => single.len(),
            Kind::Mixed(mixed) => mixed.len(),
        }
    }

    /// Whether there are no rows.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is of one dataset, each row of which stands at one position.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.0, Kind::Single(_))
    }

    /// Whether each position holds the row of its number.
    pub(crate) fn is_sequential(&self) -> bool {
        matches!(self.0, Kind::Single(SingleEpoch::Sequential(_)))
    }

    /// How many rows that lie together may come mixed: whoever reads them as they lie has to be so many ahead. 0 where
    /// rows are not read together.
    pub(crate) fn mixed_rows(&self) -> u64 {
        match &self.0 {
            Kind::Single(single) => single.mixed_rows(),
            Kind::Mixed(_) => 0,
        }
    }

    /// The position behind those among which the row at `position` is mixed.
    pub(crate) fn mixed_until(&self, position: u64) -> u64 {
        match &self.0 {
            Kind::Single(single) => single.mixed_until(position),
            Kind::Mixed(mixed) => mixed.len(),
        }
    }

    /// Writes to `out` the rows that would be at positions `first..first + out.len()` if rows that lie together came as they
    /// lie: at all positions before [`mixed_until`](Self::mixed_until) one, together, the same rows.
    ///
    /// # Panics
    ///
    /// If the positions do not all lie below [`len`](Self::len).
    pub(crate) fn fill_unmixed(&self, first: u64, out: &mut [u64]) {
        match &self.0 {
            Kind::Single(SingleEpoch::Blocks(blocks)) => blocks.fill_unmixed(first, out),
            Kind::Single(_) | Kind::Mixed(_) => self.fill(first, out),
        }
    }

    /// The row at `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below [`len`](Self::len).
    #[inline]
    pub fn get(&self, position: u64) -> u64 {
        match &self.0 {
            Kind::Single(single) => single.get(position),
            Kind::Mixed(mixed) => mixed.get(position),
        }
    }

    /// The component of a mixture whose row stands at `position`; 0 where there is but one dataset.
    ///
    /// # Panics
    ///
    /// If `position` is not below [`len`](Self::len).
    #[inline]
    pub fn source(&self, position: u64) -> usize {
        match &self.0 {
            Kind::Single(single) => {
                check_range(position, 1, single.len());
                0
            }
            Kind::Mixed(mixed) => mixed.source(position),
        }
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`.
    ///
    /// # Panics
    ///
    /// If the positions do not all lie below [`len`](Self::len).
    #[inline]
    pub fn fill(&self, first: u64, out: &mut [u64]) {
        self.fill_inlined::<LANES>(first, out);
    }

    /// [`fill`](Self::fill) for a caller compiled for wide vectors: always inlined, so that it has it in them.
    #[inline(always)]
    pub(crate) fn fill_wide(&self, first: u64, out: &mut [u64]) {
        self.fill_inlined::<WIDE_LANES>(first, out);
    }

    #[inline(always)]
    fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        match &self.0 {
            Kind::Single(single) => single.fill_inlined::<LANES>(first, out),
            Kind::Mixed(mixed) => mixed.fill_inlined::<LANES>(first, out),
        }
    }

    /// What an audit of all its rows must give: in closed form, but for passes through the components of a mixture that begin
    /// or end in another epoch, of which up to half of the rows are gone through.
    pub fn audit(&self) -> Audit {
        match &self.0 {
            Kind::Single(single) => Audit::complete(single.len()),
            Kind::Mixed(mixed) => mixed.audit(),
        }
    }
}
