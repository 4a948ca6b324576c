//! Which features records have, read off a few of them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::value::{Scope, Value};
use super::wire::Wire;
use super::{ExampleSpec, Feature, FeatureKind, FeaturePlace, FeatureType, Missing};
use crate::error::{Error, Result};

/// Which of the two messages a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// tf.train.Example: features.
    Example,
    /// tf.train.SequenceExample: a context, and feature lists.
    SequenceExample,
}

/// Which message `record` is, by its fields: one with feature lists is a SequenceExample.
///
/// # Errors
///
/// `Malformed` for bytes that are no message, or one of fields that neither has: raw payloads.
pub(crate) fn message_of(record: &[u8]) -> Result<Message> {
    let mut message = Wire::new(record);
    let (mut has_features, mut has_lists) = (record.is_empty(), false);
    while let Some(field) = message.next()? {
        match field.number {
            1 => {
                field.message("features")?;
                has_features = true;
            }
            2 => {
                field.message("feature lists")?;
                has_lists = true;
            }
            _ => {}
        }
    }
    match (has_features, has_lists) {
        (_, true) => Ok(Message::SequenceExample),
        (true, false) => Ok(Message::Example),
        (false, false) => Err(Error::malformed(format!(
            "expected a tf.train.Example, found {} bytes without features",
            record.len()
        ))),
    }
}

/// What the records have had under one key so far.
#[derive(Debug, Default)]
struct Seen {
    dtype: Option<FeatureType>,
    /// Records with at least one value (one step, in a feature list).
    num_present: u64,
    /// The fewest and most values (of a step) among those.
    counts: Option<(usize, usize)>,
}

impl Seen {
    fn add(&mut self, name: &[u8], value: &Value<'_>) -> Result<usize> {
        match (self.dtype, value.dtype) {
            (Some(before), Some(found)) if before != found => {
                return Err(Error::malformed(format!(
                    "feature '{}': expected {}, as in the records before, found {}",
                    String::from_utf8_lossy(name),
                    before.list_name(),
                    found.list_name()
                ))
                .at_byte(value.start as u64));
            }
            (None, found) => self.dtype = found,
            _ => {}
        }
        value.count()
    }

    fn add_count(&mut self, count: usize) {
        let (min, max) = self.counts.unwrap_or((count, count));
        self.counts = Some((min.min(count), max.max(count)));
    }

    /// The feature, after `num_records`; `None` if it never had a type.
    fn kind(&self, place: FeaturePlace, num_records: u64) -> Option<FeatureKind> {
        let dtype = self.dtype?;
        let always = self.num_present == num_records;
        // That the sample never lacks it says little of the records behind it: one that does is a null, no error.
        let fixed = |shape| FeatureKind::FixedLen { dtype, shape, missing: Missing::Null };
        let shape = |count| if count == 1 { vec![] } else { vec![count] };
        Some(match (place, self.counts) {
            (FeaturePlace::FeatureLists, Some((min, max))) if min == max && min > 0 => {
                FeatureKind::Sequence { dtype, shape: shape(min) }
            }
            (FeaturePlace::FeatureLists, _) => FeatureKind::VarLen { dtype },
            (FeaturePlace::Features, Some((1, 1))) => fixed(vec![]),
            (FeaturePlace::Features, None) if dtype == FeatureType::Bytes => fixed(vec![]),
            (FeaturePlace::Features, Some((min, max)))
                if always && min == max && dtype != FeatureType::Bytes =>
            {
                fixed(vec![min])
            }
            (FeaturePlace::Features, _) => FeatureKind::VarLen { dtype },
        })
    }
}

impl ExampleSpec {
    /// The features of `records`, a sample of payloads, sorted by the bytes of their names.
    ///
    /// - One value where there is any: `FixedLen` of shape `[]`, a null where it is missing.
    /// - As many values in every record: `FixedLen` of shape `[k]`, a null in a later record where they are missing. Where
    ///   a missing one shall be an error, say so by [`fixed_len`](Self::fixed_len).
    /// - Anything else, and several byte strings: `VarLen`.
    /// - A feature list, as many values in every step: `Sequence`; else `VarLen`.
    /// - A feature that no record gives a type (a key without a list) is left out.
    ///
    /// # Errors
    ///
    /// `Malformed`, with the number of the record within the sample, for one that is no example, for a name that is
    /// not UTF-8 and for a feature with another type than before; those of [`check`](Self::check), such as for a sample
    /// without features.
    pub fn infer<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut seen = BTreeMap::new();
        let mut num_records = 0;
        for record in records {
            add_record(record, &mut seen).map_err(|error| error.at_record(num_records))?;
            num_records += 1;
        }
        let mut features = Vec::with_capacity(seen.len());
        for ((name, place), seen) in seen {
            let Some(kind) = seen.kind(place, num_records) else { continue };
            let name = String::from_utf8(name).map_err(|error| {
                let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Error::malformed(format!("expected the names of features to be UTF-8, found '{name}'"))
            })?;
            features.push(Feature { name, place, kind });
        }
        let spec = ExampleSpec { features };
        spec.check()?;
        Ok(spec)
    }
}

/// A name and the map it is in; the order of these is that of the columns.
type Key = (Vec<u8>, FeaturePlace);

fn add_record(record: &[u8], seen: &mut BTreeMap<Key, Seen>) -> Result<()> {
    message_of(record)?;
    let mut found = BTreeMap::new();
    let mut message = Wire::new(record);
    while let Some(field) = message.next()? {
        let place = match field.number {
            1 => FeaturePlace::Features,
            2 => FeaturePlace::FeatureLists,
            _ => continue,
        };
        let mut map = field.message("a map")?;
        while let Some(field) = map.next()? {
            if field.number == 1 {
                let (key, scope) = Scope::of_entry(field.message("an entry of a map")?)?;
                found.insert((key, place), scope);
            }
        }
    }
    for ((key, place), scope) in found {
        let seen = seen.entry((key.to_vec(), place)).or_default();
        match place {
            FeaturePlace::Features => {
                let count = seen.add(key, &Value::read(scope)?)?;
                if count > 0 {
                    seen.num_present += 1;
                    seen.add_count(count);
                }
            }
            FeaturePlace::FeatureLists => scope.each_step(|value| {
                let count = seen.add(key, &value)?;
                seen.add_count(count);
                Ok(())
            })?,
        }
    }
    Ok(())
}
