//! Lists of numbers and of byte strings, as features have them, put into other forms.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Int64Array, ListArray, PrimitiveArray,
    UInt64Array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Int64Type};

use crate::batch::refused;
use crate::error::{Error, ErrorKind, Result};
use crate::format::FeatureValues;

/// The values of a feature in each record: a ragged list.
pub(super) enum Ragged {
    /// `f32` or `i64`, as a list of them.
    Numbers(ListArray),
    /// Byte strings: end to end, how long each is, and how many a record has.
    Bytes { bytes: BinaryArray, lengths: ListArray },
}

impl Ragged {
    /// The columns that a decoder of examples makes of a feature of any number of values.
    pub(super) fn new(columns: &[ArrayRef]) -> Self {
        match columns {
            [numbers] => Ragged::Numbers(numbers.as_list::<i32>().clone()),
            columns => Ragged::Bytes {
                bytes: columns[0].as_binary::<i32>().clone(),
                lengths: columns[1].as_list::<i32>().clone(),
            },
        }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.bounds().len() - 1
    }

    /// Where the values of each record begin and end.
    fn bounds(&self) -> &OffsetBuffer<i32> {
        match self {
            Ragged::Numbers(list) => list.offsets(),
            Ragged::Bytes { lengths, .. } => lengths.offsets(),
        }
    }

    /// Which values record `record` has.
    pub(super) fn range(&self, record: usize) -> Range<usize> {
        self.bounds()[record] as usize..self.bounds()[record + 1] as usize
    }

    /// All values, one after another.
    fn values(&self) -> Result<ArrayRef> {
        match self {
            Ragged::Numbers(list) => Ok(list.values().clone()),
            Ragged::Bytes { bytes, lengths } => {
                let lengths = lengths.values().as_primitive::<Int64Type>();
                let lengths = lengths.values().iter().map(|&length| length as usize);
                let offsets = OffsetBuffer::from_lengths(lengths);
                Ok(Arc::new(BinaryArray::try_new(offsets, bytes.values().clone(), None).map_err(refused)?))
            }
        }
    }

    /// The values of all records, which are integers.
    pub(super) fn integers(&self) -> Result<ScalarBuffer<i64>> {
        Ok(self.values()?.as_primitive::<Int64Type>().values().clone())
    }

    /// A list a record.
    pub(super) fn into_list(self) -> Result<ArrayRef> {
        match self {
            Ragged::Numbers(list) => Ok(Arc::new(list)),
            Ragged::Bytes { .. } => {
                let values = self.values()?;
                let list = ListArray::try_new(item(values.data_type()), self.bounds().clone(), values, None);
                Ok(Arc::new(list.map_err(refused)?))
            }
        }
    }

    /// The values `order` says, in place of those there are: as many a record.
    pub(super) fn take(&self, order: &[usize]) -> Result<ArrayRef> {
        let indices = UInt64Array::from_iter_values(order.iter().map(|&index| index as u64));
        let values = take(&self.values()?, &indices, None).map_err(refused)?;
        let list = ListArray::try_new(item(values.data_type()), self.bounds().clone(), values, None);
        Ok(Arc::new(list.map_err(refused)?))
    }

    /// Each record's values and then `padding`, up to the number that the longest has; and that number. Their memory is at
    /// most `cap_bytes`.
    pub(super) fn padded(
        &self,
        name: &str,
        padding: &FeatureValues,
        cap_bytes: u64,
    ) -> Result<(ArrayRef, usize)> {
        let most = (0..self.len()).map(|record| self.range(record).len()).max().unwrap_or(0);
        let width = match padding {
            FeatureValues::F32(_) => 4,
            FeatureValues::I64(_) => 8,
            FeatureValues::Bytes(bytes) => 4 + bytes.len(),
        };
        let num_values = most.checked_mul(self.len());
        let bytes = num_values.and_then(|count| count.checked_mul(width));
        let (Some(num_values), Some(_)) = (num_values, bytes.filter(|&bytes| bytes as u64 <= cap_bytes))
        else {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "feature '{name}' has {most} values in one of {} records: expected them to take at most {cap_bytes} \
                     bytes when all are as long; read it with var_len, or fewer records at once",
                    self.len()
                ),
            ));
        };
        let records = (0..self.len()).map(|record| self.range(record));
        let values = self.values()?;
        let values: ArrayRef = match padding {
            FeatureValues::F32(value) => {
                let padding = value.first().copied().unwrap_or(0.0);
                numbers(records, values.as_primitive::<Float32Type>(), padding, most, num_values)
            }
            FeatureValues::I64(value) => {
                let padding = value.first().copied().unwrap_or(0);
                numbers(records, values.as_primitive::<Int64Type>(), padding, most, num_values)
            }
            FeatureValues::Bytes(value) => {
                let values = values.as_binary::<i32>();
                let padded = records.flat_map(|record| {
                    let missing = most - record.len();
                    record.map(|index| values.value(index)).chain(std::iter::repeat_n(&value[..], missing))
                });
                Arc::new(BinaryArray::from_iter_values(padded))
            }
        };
        let size = i32::try_from(most).map_err(|_| too_long(name, most))?;
        let list =
            FixedSizeListArray::try_new_with_length(item(values.data_type()), size, values, None, self.len());
        Ok((Arc::new(list.map_err(refused)?), most))
    }
}

#[cold]
fn too_long(name: &str, most: usize) -> Error {
    let message = format!("feature '{name}' has {most} values in one record, expected fewer than 2³¹");
    Error::new(ErrorKind::TooLarge, message)
}

/// The field of the values of a list.
pub(super) fn item(data_type: &DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type.clone(), false))
}

/// The numbers of each record, and then `padding`, up to `most`.
fn numbers<P: ArrowPrimitiveType>(
    records: impl Iterator<Item = Range<usize>>,
    values: &PrimitiveArray<P>,
    padding: P::Native,
    most: usize,
    num_values: usize,
) -> ArrayRef {
    let mut padded = Vec::with_capacity(num_values);
    for record in records {
        let missing = most - record.len();
        padded.extend_from_slice(&values.values()[record]);
        padded.extend(std::iter::repeat_n(padding, missing));
    }
    Arc::new(PrimitiveArray::<P>::new(padded.into(), None))
}

/// The places of `keys.len()` index features, which have the same numbers of values, as lists of places: a number where there
/// is one feature, else a list of one number a feature.
pub(super) fn places(keys: &[&Ragged], order: &[usize]) -> Result<ArrayRef> {
    let [first, ..] = keys else {
        return Err(Error::invalid("a sparse feature has at least one index key, found none"));
    };
    if keys.len() == 1 {
        return first.take(order);
    }
    let columns: Vec<_> = keys.iter().map(|key| key.integers()).collect::<Result<Vec<_>>>()?;
    let numbers = order.iter().flat_map(|&index| columns.iter().map(move |column| column[index]));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let place = FixedSizeListArray::try_new(item(&DataType::Int64), keys.len() as i32, numbers, None);
    let place: ArrayRef = Arc::new(place.map_err(refused)?);
    let list = ListArray::try_new(item(place.data_type()), first.bounds().clone(), place, None);
    Ok(Arc::new(list.map_err(refused)?))
}
