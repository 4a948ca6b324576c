//! Which features a record has, and the columns they become.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::types::{FeatureType, FeatureValues};
use crate::error::{Error, Result};
use crate::layout::{DType, tensor_field};

/// The features to read from records that are tf.train.Examples or SequenceExamples; others are skipped.
///
/// Plain data, in the order of the columns: what cannot be honoured is refused by [`check`](Self::check). What each
/// kind of feature becomes is said in [the module](crate::format::example).
///
/// ```
/// use forebay::format::{ExampleSpec, FeatureType};
///
/// let spec = ExampleSpec::new()
///     .fixed_len("label", FeatureType::I64, []) // a record without it is an error
///     .fixed_len_or("weight", [], 1.0) // or is 1
///     .nullable("embedding", FeatureType::F32, [128]) // or is null
///     .var_len("words", FeatureType::Bytes) // or is an empty list
///     .sequence("frames", FeatureType::F32, [40]);
/// let names: Vec<_> = spec.schema()?.fields().iter().map(|field| field.name().clone()).collect();
/// assert_eq!(names, ["label", "weight", "embedding", "words", "words/lengths", "frames"]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleSpec {
    /// The features, in the order of their columns; at least one. Default: none yet.
    pub features: Vec<Feature>,
}

/// One feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its key in the map, and the name of the column it becomes.
    pub name: String,
    /// The map it is in.
    pub place: FeaturePlace,
    /// How many values of which type it has.
    pub kind: FeatureKind,
}

/// The map a feature is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeaturePlace {
    /// The features of an Example, or the context of a SequenceExample.
    Features,
    /// The feature lists of a SequenceExample.
    FeatureLists,
}

/// How many values of which type a feature has.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// As many values as `shape` has, which may not be 0. Not for feature lists.
    FixedLen {
        /// The type of the values.
        dtype: FeatureType,
        /// The shape of one row; for byte strings, of which a row holds one, `[]`.
        shape: Vec<usize>,
        /// What a record without a value means.
        missing: Missing,
    },
    /// Any number of values, in every step of a feature list; none is an empty list.
    VarLen {
        /// The type of the values.
        dtype: FeatureType,
    },
    /// Any number of steps of `shape` values each, end to end: the steps of a feature list, or in the map of features
    /// as many values as make whole steps. A row of n steps is a list of n · (product of the shape) values.
    Sequence {
        /// The type of the values.
        dtype: FeatureType,
        /// The shape of one step.
        shape: Vec<usize>,
    },
}

/// What a record means that has no value for a [`FixedLen`](FeatureKind::FixedLen) feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// An error.
    Refuse,
    /// A null.
    Null,
    /// These values: as many as the shape has, or one for all of them.
    Default(FeatureValues),
}

impl Feature {
    /// The columns it becomes.
    fn fields(&self) -> Vec<Field> {
        let item = |dtype: DType| Arc::new(Field::new("item", dtype.to_arrow(), false));
        let list = |name: &str, dtype| Field::new(name, DataType::List(item(dtype)), false);
        let (dtype, shape) = match &self.kind {
            FeatureKind::FixedLen { dtype, shape, missing } => {
                let nullable = *missing == Missing::Null;
                return vec![match dtype.dtype() {
                    Some(dtype) => tensor_field(&self.name, dtype, shape, nullable),
                    None => Field::new(&self.name, DataType::Binary, nullable),
                }];
            }
            FeatureKind::VarLen { dtype } => (dtype, None),
            FeatureKind::Sequence { dtype, shape } => (dtype, Some(shape)),
        };
        let values = match dtype.dtype() {
            Some(dtype) => list(&self.name, dtype),
            None => Field::new(&self.name, DataType::Binary, false),
        };
        let varying_steps = self.place == FeaturePlace::FeatureLists && shape.is_none();
        if *dtype == FeatureType::Bytes || varying_steps {
            vec![values, list(&format!("{}/lengths", self.name), DType::I64)]
        } else {
            vec![values]
        }
    }

    /// How many columns it becomes.
    pub(super) fn num_columns(&self) -> usize {
        self.fields().len()
    }

    fn check(&self) -> Result<()> {
        let name = &self.name;
        if name.is_empty() {
            return Err(Error::invalid("a feature has no name"));
        }
        let (dtype, shape) = match &self.kind {
            FeatureKind::FixedLen { .. } if self.place == FeaturePlace::FeatureLists => {
                return Err(Error::invalid(format!(
                    "feature list '{name}' cannot be of one length: it has as many steps as its record says"
                )));
            }
            FeatureKind::VarLen { dtype: FeatureType::Bytes } if self.place == FeaturePlace::FeatureLists => {
                return Err(Error::unsupported(format!(
                    "the steps of feature list '{name}' have varying numbers of byte strings, which no column of a batch holds"
                )));
            }
            FeatureKind::VarLen { .. } => return Ok(()),
            FeatureKind::FixedLen { dtype, shape, .. } | FeatureKind::Sequence { dtype, shape } => {
                (*dtype, shape)
            }
        };
        if shape.contains(&0) {
            return Err(Error::invalid(format!(
                "feature '{name}' of shape {shape:?} has a dimension of 0 and so no values"
            )));
        }
        let count = num_values(shape).ok_or_else(|| {
            Error::invalid(format!(
                "feature '{name}' of shape {shape:?} has more values than a list can hold"
            ))
        })?;
        let FeatureKind::FixedLen { missing, .. } = &self.kind else { return Ok(()) };
        if dtype == FeatureType::Bytes && count != 1 {
            return Err(Error::unsupported(format!(
                "feature '{name}' of shape {shape:?} has {count} byte strings, and a row of a column holds one: read it as VarLen"
            )));
        }
        match missing {
            Missing::Default(values) if values.dtype() != dtype => {
                Err(Error::invalid(format!("feature '{name}' is {dtype}, its default is {}", values.dtype())))
            }
            Missing::Default(values) if values.len() != 1 && values.len() != count => {
                Err(Error::invalid(format!(
                    "feature '{name}' of shape {shape:?} has {count} values, its default has {}",
                    values.len()
                )))
            }
            _ => Ok(()),
        }
    }
}

/// The number of values of a shape, if a list of Arrow can be as long.
pub(super) fn num_values(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n))?;
    (count <= i32::MAX as usize).then_some(count)
}

impl ExampleSpec {
    /// No features yet.
    pub fn new() -> Self {
        ExampleSpec::default()
    }

    /// Adds `feature`.
    #[must_use]
    pub fn feature(mut self, feature: Feature) -> Self {
        self.features.push(feature);
        self
    }

    /// Adds a feature of as many values as `shape` has; a record without them is an error.
    #[must_use]
    pub fn fixed_len(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        self.fixed(name, dtype, shape, Missing::Refuse)
    }

    /// Adds a feature of as many values as `shape` has; a record without them has `default`, which is as many values
    /// or one for all of them.
    #[must_use]
    pub fn fixed_len_or(
        self,
        name: impl Into<String>,
        shape: impl IntoIterator<Item = usize>,
        default: impl Into<FeatureValues>,
    ) -> Self {
        let default = default.into();
        self.fixed(name, default.dtype(), shape, Missing::Default(default))
    }

    /// Adds a feature of as many values as `shape` has; a record without them has a null.
    #[must_use]
    pub fn nullable(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        self.fixed(name, dtype, shape, Missing::Null)
    }

    /// Adds a feature of any number of values.
    #[must_use]
    pub fn var_len(self, name: impl Into<String>, dtype: FeatureType) -> Self {
        let (name, place) = (name.into(), FeaturePlace::Features);
        self.feature(Feature { name, place, kind: FeatureKind::VarLen { dtype } })
    }

    /// Adds a feature list of any number of steps, each of as many values as `shape` has.
    #[must_use]
    pub fn sequence(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        let (name, place) = (name.into(), FeaturePlace::FeatureLists);
        let shape = shape.into_iter().collect();
        self.feature(Feature { name, place, kind: FeatureKind::Sequence { dtype, shape } })
    }

    /// Adds a feature list of any number of steps, each of any number of values.
    #[must_use]
    pub fn var_len_sequence(self, name: impl Into<String>, dtype: FeatureType) -> Self {
        let (name, place) = (name.into(), FeaturePlace::FeatureLists);
        self.feature(Feature { name, place, kind: FeatureKind::VarLen { dtype } })
    }

    fn fixed(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
        missing: Missing,
    ) -> Self {
        let shape = shape.into_iter().collect();
        let kind = FeatureKind::FixedLen { dtype, shape, missing };
        self.feature(Feature { name: name.into(), place: FeaturePlace::Features, kind })
    }

    /// Checks that the specification can be honoured by some record.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with the bad value in the message: no features, a feature without a name, two columns of one
    /// name, a shape without values or with too many, a default that does not fit, a feature list of one length.
    /// `Unsupported` for byte strings in a number that no column holds: several a row in a fixed shape, or varying from
    /// step to step.
    pub fn check(&self) -> Result<()> {
        if self.features.is_empty() {
            return Err(Error::invalid("an example needs at least one feature"));
        }
        let mut names = HashSet::new();
        for feature in &self.features {
            feature.check()?;
            for field in feature.fields() {
                if let Some(name) = names.replace(field.name().clone()) {
                    return Err(Error::invalid(format!("two columns of the features are called '{name}'")));
                }
            }
        }
        Ok(())
    }

    /// The columns of the features, in their order.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    pub fn schema(&self) -> Result<Schema> {
        self.check()?;
        Ok(Schema::new(self.features.iter().flat_map(Feature::fields).collect::<Vec<_>>()))
    }
}
