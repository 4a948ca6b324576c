//! From the value of a feature to its places in a batch.
#![forbid(unsafe_code)]

use super::spec::num_values;
use super::value::{Scope, Value};
use super::{Feature, FeatureKind, FeaturePlace, FeatureType, Missing};
use crate::error::{Error, Result};
use crate::layout::RowMut;

/// Where a feature goes.
#[derive(Debug)]
pub(super) struct Target {
    name: String,
    dtype: FeatureType,
    /// Its column; that of the lengths, if it has one, is the next.
    column: usize,
    has_lengths: bool,
    write: Write,
}

/// How a feature is written.
#[derive(Debug)]
enum Write {
    /// `count` values, one after another.
    Fixed { count: usize, missing: Fill },
    /// Values in any number that is a multiple of `step`; with lengths if they are byte strings.
    VarLen { step: usize },
    /// Steps of `step` values each; with lengths if they are byte strings.
    Steps { step: usize },
    /// Steps of any number of values, with the number in each.
    VaryingSteps,
}

/// What is written where there is no value.
#[derive(Debug)]
enum Fill {
    Refuse,
    Null,
    Row(Box<[u8]>),
}

impl Target {
    /// Where `feature`, which was checked, goes.
    pub(super) fn new(feature: &Feature, column: usize) -> Self {
        let count = |shape| num_values(shape).expect("the shape was checked");
        let (dtype, write) = match &feature.kind {
            FeatureKind::FixedLen { dtype, shape, missing } => {
                let count = count(shape);
                let missing = match missing {
                    Missing::Refuse => Fill::Refuse,
                    Missing::Null => Fill::Null,
                    Missing::Default(values) => Fill::Row(values.to_row(count)),
                };
                (*dtype, Write::Fixed { count, missing })
            }
            FeatureKind::VarLen { dtype } => match feature.place {
                FeaturePlace::Features => (*dtype, Write::VarLen { step: 1 }),
                FeaturePlace::FeatureLists => (*dtype, Write::VaryingSteps),
            },
            FeatureKind::Sequence { dtype, shape } => match feature.place {
                FeaturePlace::Features => (*dtype, Write::VarLen { step: count(shape) }),
                FeaturePlace::FeatureLists => (*dtype, Write::Steps { step: count(shape) }),
            },
        };
        let has_lengths = feature.num_columns() == 2;
        Target { name: feature.name.clone(), dtype, column, has_lengths, write }
    }

    /// Writes what lies in `scope` to `row`; `None` is a feature that is not there.
    #[inline]
    pub(super) fn decode(
        &self,
        scope: Option<Scope<'_>>,
        record_len: usize,
        row: &mut RowMut<'_, '_>,
    ) -> Result<()> {
        if !(row.wants(self.column) || self.has_lengths && row.wants(self.column + 1)) {
            return Ok(());
        }
        match &self.write {
            Write::Fixed { count, missing } => {
                if let Some(scope) = scope {
                    let value = Value::read(scope)?;
                    self.check_type(&value)?;
                    if self.write_fixed(&value, *count, row)? {
                        return Ok(());
                    }
                }
                self.fill(missing, *count, record_len, row)
            }
            Write::VarLen { step } => {
                let Some(scope) = scope else { return Ok(()) };
                let value = Value::read(scope)?;
                self.check_type(&value)?;
                let count = self.append(&value, row)?;
                if count.is_multiple_of(*step) {
                    return Ok(());
                }
                Err(self.wrong(&value, format_args!("whole steps of {step} values, found {count} values")))
            }
            Write::Steps { .. } | Write::VaryingSteps => {
                scope.map_or(Ok(()), |scope| self.append_steps(scope, row))
            }
        }
    }

    #[inline]
    fn check_type(&self, value: &Value<'_>) -> Result<()> {
        match value.dtype {
            Some(found) if found != self.dtype => Err(self.wrong(
                value,
                format_args!("{} ({}), found {}", self.dtype, self.dtype.list_name(), found.list_name()),
            )),
            _ => Ok(()),
        }
    }

    /// Writes a row of `count` values; `false`, and nothing, if there is none.
    #[inline]
    fn write_fixed(&self, value: &Value<'_>, count: usize, row: &mut RowMut<'_, '_>) -> Result<bool> {
        let mut written = 0;
        match self.dtype {
            FeatureType::F32 => {
                let out = row.values(self.column);
                value.each_floats(|floats| {
                    let Some(out) = out.get_mut(written..written + floats.len()) else {
                        return Err(self.wrong_count(value, count));
                    };
                    out.copy_from_slice(floats);
                    written += floats.len();
                    Ok(())
                })?;
                floats_to_native(&mut out[..written]);
            }
            FeatureType::I64 => {
                let out = row.values(self.column);
                value.each_varints(|varints| {
                    let Some(out) = out.get_mut(written..written + 8 * varints.count) else {
                        return Err(self.wrong_count(value, count));
                    };
                    varints.write(out)?;
                    written += out.len();
                    Ok(())
                })?;
            }
            FeatureType::Bytes => {
                let out = row.items(self.column);
                value.each_bytes(|bytes| {
                    if written == count {
                        return Err(self.wrong_count(value, count));
                    }
                    out.extend_from_slice(bytes);
                    written += 1;
                    Ok(())
                })?;
            }
        }
        if written == count * self.dtype.width_bytes() {
            return Ok(true);
        }
        if written == 0 { Ok(false) } else { Err(self.wrong_count(value, count)) }
    }

    fn fill(&self, missing: &Fill, count: usize, record_len: usize, row: &mut RowMut<'_, '_>) -> Result<()> {
        match missing {
            Fill::Refuse => {
                let message = format!(
                    "feature '{}': expected {}, found none; say that it is nullable, or what its default is",
                    self.name,
                    amount(count, self.dtype)
                );
                return Err(Error::malformed(message).at_byte(record_len as u64));
            }
            Fill::Null => row.set_null(self.column),
            Fill::Row(bytes) if self.dtype == FeatureType::Bytes => {
                row.items(self.column).extend_from_slice(bytes);
            }
            Fill::Row(bytes) => row.values(self.column).copy_from_slice(bytes),
        }
        Ok(())
    }

    /// Appends every value to its wanted columns, and returns their number; 0 of numbers that are not wanted.
    fn append(&self, value: &Value<'_>, row: &mut RowMut<'_, '_>) -> Result<usize> {
        let mut count = 0;
        match self.dtype {
            FeatureType::F32 if row.wants(self.column) => {
                let out = row.items(self.column);
                value.each_floats(|floats| {
                    let before = out.len();
                    out.extend_from_slice(floats);
                    floats_to_native(&mut out[before..]);
                    count += floats.len() / 4;
                    Ok(())
                })?;
            }
            FeatureType::I64 if row.wants(self.column) => {
                let out = row.items(self.column);
                value.each_varints(|varints| {
                    let before = out.len();
                    out.resize(before + 8 * varints.count, 0);
                    varints.write(&mut out[before..])?;
                    count += varints.count;
                    Ok(())
                })?;
            }
            FeatureType::Bytes => {
                value.each_bytes(|bytes| {
                    if row.wants(self.column) {
                        row.items(self.column).extend_from_slice(bytes);
                    }
                    self.append_length(bytes.len(), row);
                    count += 1;
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(count)
    }

    fn append_length(&self, length: usize, row: &mut RowMut<'_, '_>) {
        if row.wants(self.column + 1) {
            row.items(self.column + 1).extend_from_slice(&(length as i64).to_ne_bytes());
        }
    }

    fn append_steps(&self, scope: Scope<'_>, row: &mut RowMut<'_, '_>) -> Result<()> {
        let mut num_steps = 0;
        scope.each_step(|value| {
            self.check_type(&value)?;
            match self.write {
                Write::Steps { step } => {
                    let count = self.append(&value, row)?;
                    if count != step {
                        return Err(self.wrong(
                            &value,
                            format_args!("{} in step {num_steps}, found {count}", amount(step, self.dtype)),
                        ));
                    }
                }
                _ => {
                    let count = value.count()?;
                    self.append(&value, row)?;
                    self.append_length(count, row);
                }
            }
            num_steps += 1;
            Ok(())
        })
    }

    #[cold]
    fn wrong_count(&self, value: &Value<'_>, count: usize) -> Error {
        match value.count() {
            Ok(found) => self.wrong(value, format_args!("{}, found {found}", amount(count, self.dtype))),
            Err(error) => error,
        }
    }

    #[cold]
    fn wrong(&self, value: &Value<'_>, expected_and_found: std::fmt::Arguments<'_>) -> Error {
        Error::malformed(format!("feature '{}': expected {expected_and_found}", self.name))
            .at_byte(value.start as u64)
    }
}

/// `count` values of a type, in words.
fn amount(count: usize, dtype: FeatureType) -> String {
    format!("{count} {} of {dtype}", if count == 1 { "value" } else { "values" })
}

/// Turns little-endian floats into those of this machine.
#[inline]
fn floats_to_native(floats: &mut [u8]) {
    if cfg!(target_endian = "big") {
        floats.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    }
}
