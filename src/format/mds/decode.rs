//! From the bytes of a sample to its row.
#![forbid(unsafe_code)]

use arrow::datatypes::{Schema, SchemaRef};

use super::encoding::{Encoding, MdsColumn};
use crate::error::{Error, Result};
use crate::layout::{DecodeInto, RowMut};

/// Decodes samples of some columns, in the order of those.
#[derive(Clone, Debug)]
pub(crate) struct MdsDecoder {
    columns: Box<[MdsColumn]>,
    /// Bytes of the lengths before the values.
    lengths_bytes: usize,
}

impl MdsDecoder {
    pub(crate) fn new(columns: &[MdsColumn]) -> Self {
        let num_lengths = columns.iter().filter(|column| column.encoding.value_bytes().is_none()).count();
        MdsDecoder { columns: columns.into(), lengths_bytes: 4 * num_lengths }
    }

    /// What its rows are.
    pub(crate) fn schema(&self) -> SchemaRef {
        Schema::new(self.columns.iter().map(MdsColumn::field).collect::<Vec<_>>()).into()
    }
}

impl DecodeInto for MdsDecoder {
    fn decode(&self, sample: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        let Some((lengths, mut rest)) = sample.split_at_checked(self.lengths_bytes) else {
            return Err(Error::malformed(format!(
                "expected {} bytes of lengths before the values of a sample, found {}",
                self.lengths_bytes,
                sample.len()
            ))
            .at_byte(sample.len() as u64));
        };
        let mut lengths = lengths.as_chunks().0.iter().map(|&length| u32::from_le_bytes(length) as usize);
        for (number, column) in self.columns.iter().enumerate() {
            let at = (sample.len() - rest.len()) as u64;
            let len = column.encoding.value_bytes().or_else(|| lengths.next()).unwrap_or_default();
            let Some((value, behind)) = rest.split_at_checked(len) else {
                return Err(Error::malformed(format!(
                    "expected {len} bytes of column '{}', found {}",
                    column.name,
                    rest.len()
                ))
                .at_byte(at));
            };
            if row.wants(number) {
                column.write(value, number, row).map_err(|(byte, e)| e.at_byte(at + byte))?;
            }
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(Error::malformed(format!(
                "expected a sample to end with its last column, found {} more bytes",
                rest.len()
            ))
            .at_byte((sample.len() - rest.len()) as u64));
        }
        Ok(())
    }

    fn what(&self) -> &'static str {
        "MDS"
    }
}

impl MdsColumn {
    /// Writes one value; an error comes with its byte within the value.
    fn write(&self, value: &[u8], number: usize, row: &mut RowMut<'_, '_>) -> Result<(), (u64, Error)> {
        match &self.encoding {
            Encoding::Tensor { dtype, .. } => {
                let place = row.values(number);
                place.copy_from_slice(value);
                to_native(place, dtype.width_bytes());
            }
            Encoding::Bytes => row.items(number).extend_from_slice(value),
            Encoding::Text => match str::from_utf8(value) {
                Ok(text) => row.items(number).extend_from_slice(text.as_bytes()),
                Err(e) => {
                    let message = format!("expected UTF-8 in column '{}', found other bytes: {e}", self.name);
                    return Err((e.valid_up_to() as u64, Error::malformed(message)));
                }
            },
            Encoding::Ragged { dtype } => {
                let elements = self.elements(value, dtype.width_bytes()).map_err(|e| (0, e))?;
                let items = row.items(number);
                let before = items.len();
                items.extend_from_slice(elements);
                to_native(&mut items[before..], dtype.width_bytes());
            }
        }
        Ok(())
    }

    /// The elements of an array of one dimension, behind its shape.
    fn elements<'a>(&self, value: &'a [u8], width: usize) -> Result<&'a [u8]> {
        let shape = |value: &'a [u8]| {
            let (&head, rest) = value.split_first()?;
            let (num_dimensions, dimension_bytes) = (usize::from(head >> 2), 1 << (head & 3));
            let (shape, elements) = rest.split_at_checked(num_dimensions * dimension_bytes)?;
            let mut dimension = [0; 8];
            dimension[..dimension_bytes.min(shape.len())]
                .copy_from_slice(shape.get(..dimension_bytes).unwrap_or(&[]));
            Some((num_dimensions, u64::from_le_bytes(dimension), elements))
        };
        let Some((num_dimensions, len, elements)) = shape(value) else {
            return Err(Error::malformed(format!(
                "expected the shape of an array of column '{}', found its end",
                self.name
            )));
        };
        if num_dimensions != 1 {
            return Err(Error::unsupported(format!(
                "column '{}' has arrays of any shape, of which those of one dimension can be read, found one of \
                 {num_dimensions}",
                self.name
            )));
        }
        if len.checked_mul(width as u64) != Some(elements.len() as u64) {
            return Err(Error::malformed(format!(
                "expected {len} elements of {width} bytes in column '{}', found {} bytes",
                self.name,
                elements.len()
            )));
        }
        Ok(elements)
    }
}

/// Makes little-endian elements native ones.
fn to_native(elements: &mut [u8], width: usize) {
    if cfg!(target_endian = "big") {
        elements.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
}
