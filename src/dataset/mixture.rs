//! Several datasets that take turns by weight.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::Dataset;
use crate::error::{Error, Result};
use crate::sampler::{Interleaving, Order, Shuffle};

/// Into how many parts shares are cut where weights are floats.
const SHARES: f64 = 100_000.0;

/// Datasets that take turns by weight: 7 rows of one for 2 of another.
///
/// At every row, how often each component had its turn differs by less than one from its share of the rows so far
/// ([`Interleaving`]). In its turns a component is gone through in the order the loader's
/// [`shuffle`](crate::LoaderBuilder::shuffle) says, again and again, in a new order each time it begins anew.
///
/// Epochs cut this sequence, and nothing more: the next goes on where the one before it ended, in the middle of a pass through
/// a component or not. So a row may come more than once in an epoch, with the same [random numbers](crate::Row::rng) each time.
/// An epoch is, unless [`rows_per_epoch`](MixtureBuilder::rows_per_epoch) says otherwise, as long as it
/// takes until every row of every component had its turn at least once.
///
/// ```
/// use forebay::{Dataset, Loader, Mixture, Shuffle};
///
/// # fn main() -> forebay::Result<()> {
/// let web = Dataset::from_tensor("token", &[], (0..700i64).collect())?;
/// let code = Dataset::from_tensor("token", &[], (0..100i64).collect())?;
/// let mixture = Mixture::builder().add("web", &web, 3).add("code", &code, 1).build()?;
/// assert_eq!(mixture.rows_per_epoch(), 933); // 700 of web, the last of which comes 933rd, and 233 of code
/// let mut from_code = 0;
/// for batch in Loader::mixture(&mixture).batch_size(8).shuffle(Shuffle::Exact).build()? {
///     let batch = batch?;
///     let sources = batch.sources().expect("a loader of a mixture tells");
///     from_code += sources.iter().filter(|&&source| source == 1).count();
/// }
/// assert_eq!(from_code, 233);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mixture {
    dataset: Dataset,
    names: Arc<[String]>,
    lens: Arc<[u64]>,
    interleaving: Interleaving,
    rows_per_epoch: u64,
}

impl Mixture {
    /// A mixture without components, to be added.
    pub fn builder() -> MixtureBuilder {
        MixtureBuilder { components: Vec::new(), rows_per_epoch: None }
    }

    /// The components one after another: the rows a loader counts, and the columns it has.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The names of the components, in the order in which they were added.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The weights of the components, as the whole numbers they came to, in lowest terms.
    pub fn weights(&self) -> &[u64] {
        self.interleaving.weights()
    }

    /// Rows in an epoch, of all components together.
    pub fn rows_per_epoch(&self) -> u64 {
        self.rows_per_epoch
    }

    pub(crate) fn order(&self, shuffle: Shuffle, seed: u64) -> Order {
        Order::mixture(&self.interleaving, &self.lens, self.rows_per_epoch, shuffle, seed)
    }
}

/// The components and their shares, and the length of an epoch: what tells one mixture of a dataset from another.
impl fmt::Display for Mixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.interleaving.period();
        for ((name, weight), len) in self.names.iter().zip(self.weights()).zip(&*self.lens) {
            write!(f, "'{name}' {weight}/{period} of {len} rows, ")?;
        }
        write!(f, "{} rows an epoch", self.rows_per_epoch)
    }
}

impl fmt::Debug for Mixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mixture({self})")
    }
}

/// How often a component of a [`Mixture`] has its turn, beside the others: a whole number, or a float.
///
/// Floats become whole numbers: each weight's share of their sum, rounded to hundred-thousandths. One float makes all weights
/// of a mixture floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight(Number);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i128),
    Float(f64),
}

macro_rules! weights {
    ($($number:ty => $kind:ident),*) => {$(
        impl From<$number> for Weight {
            fn from(weight: $number) -> Self {
                Weight(Number::$kind(weight as _))
            }
        }
    )*};
}

weights!(i32 => Whole, u32 => Whole, i64 => Whole, u64 => Whole, usize => Whole, f32 => Float, f64 => Float);

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Whole(weight) => weight.fmt(f),
            Number::Float(weight) => weight.fmt(f),
        }
    }
}

impl Weight {
    fn as_float(self) -> f64 {
        match self.0 {
            Number::Whole(weight) => weight as f64,
            Number::Float(weight) => weight,
        }
    }
}

/// The components of a [`Mixture`], and how long its epochs are.
#[must_use]
#[derive(Clone, Debug)]
pub struct MixtureBuilder {
    components: Vec<(String, Dataset, Weight)>,
    rows_per_epoch: Option<u64>,
}

impl MixtureBuilder {
    /// Adds a component called `name`. All have the same columns, matched by name.
    ///
    /// The name tells it from the others in messages and in the state of a loader.
    pub fn add(mut self, name: impl Into<String>, dataset: &Dataset, weight: impl Into<Weight>) -> Self {
        self.components.push((name.into(), dataset.clone(), weight.into()));
        self
    }

    /// Rows in an epoch, of all components together. Default: as many as it takes until every row was delivered at least once.
    pub fn rows_per_epoch(mut self, rows: u64) -> Self {
        self.rows_per_epoch = Some(rows);
        self
    }

    /// The mixture.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with name and value, if there is no component, one has no rows, a weight is not positive or is lost
    /// beside the others, whole weights in lowest terms sum up to more than [`Interleaving::MAX_PERIOD`], two components have
    /// one name, or an epoch has no rows; `Mismatch` if a component has not the columns of the first.
    pub fn build(self) -> Result<Mixture> {
        let Some((first_name, first, _)) = self.components.first() else {
            return Err(Error::invalid("expected a mixture of at least one dataset, found none: add(…) one"));
        };
        let mut dataset = first.clone();
        for (number, (name, component, _)) in self.components.iter().enumerate() {
            if component.is_empty() {
                return Err(Error::invalid(format!("component '{name}' of the mixture has no rows")));
            }
            if self.components[..number].iter().any(|(other, ..)| other == name) {
                return Err(Error::invalid(format!("two components of the mixture are called '{name}'")));
            }
            if number > 0 {
                dataset = dataset.concat(component).map_err(|error| {
                    let message = error.message();
                    Error::new(
                        error.kind(),
                        format!("component '{name}' of the mixture is not like '{first_name}': {message}"),
                    )
                })?;
            }
        }
        let interleaving = Interleaving::new(&self.whole_weights()?)?;
        let lens: Arc<[u64]> = self.components.iter().map(|(_, component, _)| component.len()).collect();
        let rows_per_epoch = match self.rows_per_epoch {
            Some(0) => return Err(Error::invalid("rows_per_epoch must be at least 1, found 0")),
            Some(rows) => Some(rows),
            // The last first turns of all components.
            None => lens.iter().enumerate().try_fold(0, |rows, (component, len)| {
                Some(rows.max(interleaving.position(component, len - 1)? + 1))
            }),
        };
        let rows_per_epoch = rows_per_epoch.filter(|&rows| rows < 1 << 62).ok_or_else(|| {
            Error::invalid("expected an epoch of fewer than 2⁶² rows: set rows_per_epoch(…)")
        })?;
        let names = self.components.into_iter().map(|(name, ..)| name).collect();
        Ok(Mixture { dataset, names, lens, interleaving, rows_per_epoch })
    }

    fn whole_weights(&self) -> Result<Vec<u64>> {
        let bad = |name: &str, weight: Weight, why: &str| {
            Error::invalid(format!("the weight of component '{name}' is {weight}: {why}"))
        };
        let positive = |weight: &Weight| weight.as_float().is_finite() && weight.as_float() > 0.0;
        if let Some((name, _, weight)) = self.components.iter().find(|(.., weight)| !positive(weight)) {
            return Err(bad(name, *weight, "expected a positive number"));
        }
        let sum: f64 = self.components.iter().map(|(.., weight)| weight.as_float()).sum();
        let is_float = |weight: &Weight| matches!(weight.0, Number::Float(_));
        let floats = self.components.iter().any(|(.., weight)| is_float(weight));
        let whole = |(name, _, weight): &(String, Dataset, Weight)| match weight.0 {
            Number::Whole(whole) if !floats => {
                u64::try_from(whole).map_err(|_| bad(name, *weight, "expected less than 2⁶⁴"))
            }
            _ if sum.is_infinite() => Err(bad(name, *weight, "the sum of all is past counting")),
            _ => match (weight.as_float() / sum * SHARES).round() as u64 {
                0 => Err(bad(
                    name,
                    *weight,
                    "that is nothing in hundred-thousandths of the whole; give whole numbers",
                )),
                share => Ok(share),
            },
        };
        self.components.iter().map(whole).collect()
    }
}
