//! From a record to the features in it: where the value of each lies.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::keys::Keys;
use super::spec::{ExampleSpec, FeaturePlace};
use super::target::Target;
use super::value::Scope;
use super::wire::Wire;
use crate::error::{Error, Result};
use crate::layout::{DecodeInto, RowMut};

/// Decodes tf.train.Examples and SequenceExamples by an [`ExampleSpec`]; its columns are those of the schema.
///
/// In two passes: the first goes through the maps and notes where the value of each feature lies, so that the last one
/// of a key counts; the second decodes the values, in the order of the columns. Of features that nobody asked for,
/// neither the values are looked at nor their number. On an error a column of varying row length may have got a part
/// of the row.
#[derive(Debug)]
pub(crate) struct ExampleDecoder {
    schema: Arc<Schema>,
    keys: Keys,
    targets: Box<[Target]>,
    /// Whether a feature lies in the feature lists; else they are skipped.
    has_lists: bool,
}

/// Where in the record the value of a feature lies.
#[derive(Clone, Copy)]
struct Found {
    start: u32,
    end: u32,
}

/// The tag of an entry of a map.
const ENTRY: u8 = 0x0A;

/// Records of so many features are decoded without an allocation.
const INLINE_FEATURES: usize = 32;

/// Protocol buffers are no longer than this; so a bit is left in [`Found`].
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

impl Found {
    const ABSENT: Found = Found { start: u32::MAX, end: u32::MAX };
    /// Set in `end`: the place is that of an entry with several values.
    const ENTRY: u32 = 1 << 31;

    #[inline]
    fn at(scope: Scope<'_>) -> Found {
        let (wire, flag) = match scope {
            Scope::Value(value) => (value, 0),
            Scope::Entry(entry) => (entry, Found::ENTRY),
        };
        Found { start: wire.position() as u32, end: wire.end() as u32 | flag }
    }

    #[inline]
    fn scope(self, record: &[u8]) -> Option<Scope<'_>> {
        if self.start == u32::MAX {
            return None;
        }
        let wire = Wire::within(record, self.start as usize, (self.end & !Found::ENTRY) as usize);
        Some(if self.end & Found::ENTRY == 0 { Scope::Value(wire) } else { Scope::Entry(wire) })
    }
}

impl ExampleDecoder {
    /// A decoder of the features of `spec`.
    ///
    /// # Errors
    ///
    /// Those of [`ExampleSpec::check`].
    pub(crate) fn new(spec: &ExampleSpec) -> Result<Self> {
        let schema = Arc::new(spec.schema()?);
        let mut column = 0;
        let targets = spec.features.iter().map(|feature| {
            let target = Target::new(feature, column);
            column += feature.num_columns();
            target
        });
        Ok(ExampleDecoder {
            schema,
            keys: Keys::new(&spec.features),
            targets: targets.collect(),
            has_lists: spec.features.iter().any(|feature| feature.place == FeaturePlace::FeatureLists),
        })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Notes in `found` where the value of each feature lies.
    #[inline]
    fn find(&self, record: &[u8], found: &mut [Found]) -> Result<()> {
        let mut message = Wire::new(record);
        let mut previous = None;
        while let Some(field) = message.next()? {
            match field.number {
                1 => {
                    let map = field.message("features")?;
                    self.find_in(FeaturePlace::Features, map, &mut previous, found)?;
                }
                2 if self.has_lists => {
                    let map = field.message("feature lists")?;
                    self.find_in(FeaturePlace::FeatureLists, map, &mut previous, found)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn find_in(
        &self,
        place: FeaturePlace,
        mut map: Wire<'_>,
        previous: &mut Option<usize>,
        found: &mut [Found],
    ) -> Result<()> {
        while !map.rest().is_empty() {
            let (key, value) = match map.take_run(ENTRY) {
                Some(entry) => Scope::of_entry(entry)?,
                None => match map.next()? {
                    Some(field) if field.number == 1 => Scope::of_entry(field.message("an entry of a map")?)?,
                    _ => continue,
                },
            };
            if let Some(number) = self.keys.find(place, key, *previous) {
                found[number] = Found::at(value);
                *previous = Some(number);
            }
        }
        Ok(())
    }

    #[inline]
    fn decode_with(&self, record: &[u8], found: &mut [Found], row: &mut RowMut<'_, '_>) -> Result<()> {
        self.find(record, found)?;
        for (target, found) in self.targets.iter().zip(&*found) {
            target.decode(found.scope(record), record.len(), row)?;
        }
        self.keys.learn(|| {
            let mut order: Vec<usize> = (0..found.len()).filter(|&i| found[i].start != u32::MAX).collect();
            order.sort_by_key(|&number| found[number].start);
            order
        });
        Ok(())
    }
}

impl DecodeInto for ExampleDecoder {
    fn decode(&self, record: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        if record.len() > MESSAGE_BYTES_MAX {
            return Err(Error::malformed(format!(
                "expected an example of at most {MESSAGE_BYTES_MAX} bytes, found {}",
                record.len()
            )));
        }
        if self.targets.len() <= INLINE_FEATURES {
            let mut found = [Found::ABSENT; INLINE_FEATURES];
            self.decode_with(record, &mut found[..self.targets.len()], row)
        } else {
            self.decode_with(record, &mut vec![Found::ABSENT; self.targets.len()], row)
        }
    }

    fn what(&self) -> &'static str {
        "TFRecord of tf.train.Example"
    }
}
