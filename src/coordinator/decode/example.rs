//! From serialized tf.train.Examples to columns.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};

use super::lists::{Ragged, places};
use super::rows::decode_rows;
use crate::batch::refused;
use crate::error::{Error, Result};
use crate::format::example::ExampleDecoder;
use crate::format::{
    ExampleSpec, Feature, FeatureKind, FeaturePlace, FeatureType, FeatureValues, Missing, expansion_cap,
};
use crate::layout::{DecodeInto, tensor_field};

/// The features to read from tf.train.Examples; others are skipped.
///
/// | feature | in a record | its column |
/// |---|---|---|
/// | [`fixed_len`](Self::fixed_len), [`fixed_len_or`](Self::fixed_len_or), [`nullable`](Self::nullable) | as many values as a shape has | a tensor of the shape, or bytes |
/// | [`var_len`](Self::var_len) | any number of values | a list |
/// | [`sparse`](Self::sparse) | places and as many values, under keys of their own | two lists, `name/indices` and `name/values` |
/// | [`fixed_len_sequence`](Self::fixed_len_sequence) | any number of steps of one shape | a tensor, as long as the longest of the records |
///
/// A feature is missing if its key is not there, or its list is empty.
///
/// ```
/// use forebay::coordinator::decode::{ParseExample, parse_example};
/// use forebay::format::FeatureType;
///
/// let features = ParseExample::new()
///     .fixed_len("label", FeatureType::I64, [])
///     .fixed_len_or("weight", [], 1.0)
///     .var_len("words", FeatureType::Bytes)
///     .sparse("pixels", ["at"], "value", FeatureType::F32, [784]);
/// # let record = b"\x0A\x10\x0A\x0E\x0A\x05label\x12\x05\x1A\x03\x0A\x01\x07";
/// let batch = parse_example(&[record], &features)?; // a record with a label and nothing else
/// let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
/// assert_eq!(names, ["label", "weight", "words", "pixels/indices", "pixels/values"]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ParseExample {
    features: Vec<(String, Kind)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Fixed { dtype: FeatureType, shape: Vec<usize>, missing: Missing },
    VarLen { dtype: FeatureType },
    Sparse { index_keys: Vec<String>, value_key: String, dtype: FeatureType, sizes: Vec<u64> },
    Sequence { shape: Vec<usize>, padding: FeatureValues },
}

impl ParseExample {
    /// No features yet.
    pub fn new() -> Self {
        ParseExample::default()
    }

    fn add(mut self, name: impl Into<String>, kind: Kind) -> Self {
        self.features.push((name.into(), kind));
        self
    }

    /// Adds a feature of as many values as `shape` has; a record without them is an error. Of byte strings a row holds one.
    pub fn fixed_len(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        let shape = shape.into_iter().collect();
        self.add(name, Kind::Fixed { dtype, shape, missing: Missing::Refuse })
    }

    /// Adds a feature of as many values as `shape` has; a record without them has `default`, which is as many values or one
    /// for all of them.
    pub fn fixed_len_or(
        self,
        name: impl Into<String>,
        shape: impl IntoIterator<Item = usize>,
        default: impl Into<FeatureValues>,
    ) -> Self {
        let default = default.into();
        let (dtype, shape) = (default.dtype(), shape.into_iter().collect());
        self.add(name, Kind::Fixed { dtype, shape, missing: Missing::Default(default) })
    }

    /// Adds a feature of as many values as `shape` has; a record without them has a null.
    pub fn nullable(
        self,
        name: impl Into<String>,
        dtype: FeatureType,
        shape: impl IntoIterator<Item = usize>,
    ) -> Self {
        let shape = shape.into_iter().collect();
        self.add(name, Kind::Fixed { dtype, shape, missing: Missing::Null })
    }

    /// Adds a feature of any number of values.
    pub fn var_len(self, name: impl Into<String>, dtype: FeatureType) -> Self {
        self.add(name, Kind::VarLen { dtype })
    }

    /// Adds a feature of values at places of a tensor of shape `sizes`: the values are those of the feature `value_key`, and
    /// where they belong is said by the integers of the features `index_keys`, one for each dimension. A record has its
    /// places in ascending order, the first dimension first, whatever their order was.
    ///
    /// In `name/indices` a place is a number where there is one dimension, else a list of one number a dimension.
    pub fn sparse(
        self,
        name: impl Into<String>,
        index_keys: impl IntoIterator<Item = impl Into<String>>,
        value_key: impl Into<String>,
        dtype: FeatureType,
        sizes: impl IntoIterator<Item = u64>,
    ) -> Self {
        let index_keys = index_keys.into_iter().map(Into::into).collect();
        let sizes = sizes.into_iter().collect();
        self.add(name, Kind::Sparse { index_keys, value_key: value_key.into(), dtype, sizes })
    }

    /// Adds a feature of any number of steps of `shape` values each; records with fewer steps than the longest are filled
    /// with `padding`, one value: mostly 0, or the empty string.
    pub fn fixed_len_sequence(
        self,
        name: impl Into<String>,
        shape: impl IntoIterator<Item = usize>,
        padding: impl Into<FeatureValues>,
    ) -> Self {
        let shape = shape.into_iter().collect();
        self.add(name, Kind::Sequence { shape, padding: padding.into() })
    }

    /// The columns a feature becomes, their names.
    fn column_names(name: &str, kind: &Kind) -> Vec<String> {
        match kind {
            Kind::Sparse { .. } => vec![format!("{name}/indices"), format!("{name}/values")],
            _ => vec![name.to_owned()],
        }
    }

    fn check(&self) -> Result<()> {
        let mut names = Vec::new();
        for (name, kind) in &self.features {
            for column in ParseExample::column_names(name, kind) {
                if names.contains(&column) {
                    return Err(Error::invalid(format!("two columns of the features are called '{column}'")));
                }
                names.push(column);
            }
            match kind {
                Kind::Sparse { index_keys, sizes, .. }
                    if index_keys.is_empty() || index_keys.len() != sizes.len() =>
                {
                    return Err(Error::invalid(format!(
                        "sparse feature '{name}' has {} index keys and {} sizes: expected as many, at least one",
                        index_keys.len(),
                        sizes.len()
                    )));
                }
                Kind::Sequence { padding: FeatureValues::F32(values), .. } if values.len() != 1 => {
                    return Err(one_padding(name, values.len()));
                }
                Kind::Sequence { padding: FeatureValues::I64(values), .. } if values.len() != 1 => {
                    return Err(one_padding(name, values.len()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cold]
fn one_padding(name: &str, found: usize) -> Error {
    Error::invalid(format!("feature '{name}' is padded with one value, found {found}"))
}

/// What is decoded of the records: features of the format's own kinds, each key once, and where their columns lie.
#[derive(Default)]
struct Read {
    spec: ExampleSpec,
    columns: HashMap<String, Range<usize>>,
    num_columns: usize,
}

impl Read {
    /// Has `key` read as `kind`, unless it is already.
    fn add(&mut self, key: &str, kind: FeatureKind) -> Result<()> {
        if let Some(known) = self.spec.features.iter().find(|feature| feature.name == key) {
            return match known.kind == kind {
                true => Ok(()),
                false => Err(Error::invalid(format!("feature '{key}' is asked for in two ways"))),
            };
        }
        let feature = Feature { name: key.to_owned(), place: FeaturePlace::Features, kind };
        let spec = ExampleSpec::new().feature(feature.clone());
        let num_columns = spec.schema()?.fields().len();
        self.columns.insert(key.to_owned(), self.num_columns..self.num_columns + num_columns);
        self.num_columns += num_columns;
        self.spec.features.push(feature);
        Ok(())
    }

    fn arrays<'a>(&self, key: &str, arrays: &'a [ArrayRef]) -> &'a [ArrayRef] {
        &arrays[self.columns[key].clone()]
    }

    fn ragged(&self, key: &str, arrays: &[ArrayRef]) -> Ragged {
        Ragged::new(self.arrays(key, arrays))
    }
}

/// The columns that `features` make of `records`, serialized tf.train.Examples, a row each.
///
/// # Errors
///
/// `InvalidArgument` for features that cannot be honoured: none, two columns of one name, a key asked for in two ways, a
/// shape without values, a default that does not fit, a sparse feature without as many sizes as index keys. `Malformed`, with
/// feature and record, for bytes that are no example, a feature of another type or number of values, one that is missing
/// without a default, places that are not as many as their values or outside of their sizes. `Unsupported` for several byte
/// strings in a fixed shape. `TooLarge` for sequences that take more than 64 MiB when padded, or 256 times their records if
/// that is more.
pub fn parse_example<R: AsRef<[u8]>>(records: &[R], features: &ParseExample) -> Result<RecordBatch> {
    features.check()?;
    let mut read = Read::default();
    for (name, kind) in &features.features {
        match kind {
            Kind::Fixed { dtype, shape, missing } => {
                let (dtype, shape, missing) = (*dtype, shape.clone(), missing.clone());
                read.add(name, FeatureKind::FixedLen { dtype, shape, missing })?;
            }
            Kind::VarLen { dtype } => read.add(name, FeatureKind::VarLen { dtype: *dtype })?,
            Kind::Sparse { index_keys, value_key, dtype, .. } => {
                for key in index_keys {
                    read.add(key, FeatureKind::VarLen { dtype: FeatureType::I64 })?;
                }
                read.add(value_key, FeatureKind::VarLen { dtype: *dtype })?;
            }
            Kind::Sequence { shape, padding } => {
                read.add(name, FeatureKind::Sequence { dtype: padding.dtype(), shape: shape.clone() })?;
            }
        }
    }
    let decoder = ExampleDecoder::new(&read.spec)?;
    let arrays = decode_rows(decoder.schema(), records, |_, record, row| decoder.decode(record, row))?;

    let cap_bytes = expansion_cap(records.iter().map(|record| record.as_ref().len() as u64).sum());
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (name, kind) in &features.features {
        match kind {
            Kind::Fixed { .. } => {
                fields.push(decoder.schema().field(read.columns[name].start).clone());
                columns.push(read.arrays(name, &arrays)[0].clone());
            }
            Kind::VarLen { .. } => {
                let list = read.ragged(name, &arrays).into_list()?;
                fields.push(Field::new(name, list.data_type().clone(), false));
                columns.push(list);
            }
            Kind::Sequence { shape, padding } => {
                let ragged = read.ragged(name, &arrays);
                let (padded, most) = ragged.padded(name, padding, cap_bytes)?;
                let steps = most / shape.iter().product::<usize>().max(1);
                fields.push(match padding.dtype().dtype() {
                    Some(dtype) => tensor_field(name, dtype, &[&[steps], &shape[..]].concat(), false),
                    None => Field::new(name, padded.data_type().clone(), false),
                });
                columns.push(padded);
            }
            Kind::Sparse { index_keys, value_key, sizes, .. } => {
                let keys: Vec<_> = index_keys.iter().map(|key| read.ragged(key, &arrays)).collect();
                let values = read.ragged(value_key, &arrays);
                let order = order(name, (index_keys, &keys), (value_key, &values), sizes)?;
                let keys: Vec<_> = keys.iter().collect();
                for (part, list) in [("indices", places(&keys, &order)?), ("values", values.take(&order)?)] {
                    fields.push(Field::new(format!("{name}/{part}"), list.data_type().clone(), false));
                    columns.push(list);
                }
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(refused)
}

/// The order in which the values of each record have ascending places.
fn order(
    name: &str,
    (index_keys, keys): (&[String], &[Ragged]),
    (value_key, values): (&str, &Ragged),
    sizes: &[u64],
) -> Result<Vec<usize>> {
    let numbers = keys.iter().map(Ragged::integers).collect::<Result<Vec<_>>>()?;
    let mut order = Vec::new();
    for record in 0..values.len() {
        let wrong = |message: String| {
            Error::malformed(format!("sparse feature '{name}': {message}")).at_record(record as u64)
        };
        let range = values.range(record);
        for ((key, ragged), (numbers, &size)) in index_keys.iter().zip(keys).zip(numbers.iter().zip(sizes)) {
            let indices = ragged.range(record);
            if indices.len() != range.len() {
                return Err(wrong(format!(
                    "expected as many indices in '{key}' as values in '{value_key}', found {} and {}",
                    indices.len(),
                    range.len()
                )));
            }
            let is_outside = |&&index: &&i64| u64::try_from(index).map_or(true, |index| index >= size);
            if let Some(index) = numbers[indices].iter().find(is_outside) {
                return Err(wrong(format!(
                    "expected indices in '{key}' from 0 to below {size}, found {index}"
                )));
            }
        }
        // With as many in every record, the values and indices of a record lie at the same places of their lists.
        let before = order.len();
        order.extend(range);
        let place = |value: usize| numbers.iter().map(move |column| column[value]);
        order[before..].sort_by(|&a, &b| place(a).cmp(place(b)));
    }
    Ok(order)
}
