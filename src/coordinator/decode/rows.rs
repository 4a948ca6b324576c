//! From what a decoder writes, row by row, to Arrow arrays.
#![forbid(unsafe_code)]

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Schema};

use crate::batch::{dense, primitive, refused};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, ColumnMut, RowMut};

/// What is decoded of one column.
enum Column {
    Dense {
        values: MutableBuffer,
        row_bytes: usize,
        validity: Option<Vec<u8>>,
    },
    /// Bytes of the rows so far, and where each row ends.
    Runs {
        items: Vec<u8>,
        item_bytes: usize,
        ends: Vec<usize>,
        validity: Option<Vec<u8>>,
    },
}

impl Column {
    fn new(field: &Field, num_rows: usize) -> Result<Self> {
        let validity = field.is_nullable().then(|| vec![1; num_rows]);
        let runs =
            |item_bytes, validity| Column::Runs { items: Vec::new(), item_bytes, ends: Vec::new(), validity };
        Ok(match ColumnKind::of(field) {
            ColumnKind::Bytes | ColumnKind::Text => runs(1, validity),
            ColumnKind::Ragged { dtype } => runs(dtype.width_bytes(), validity),
            kind => {
                let row_bytes = kind.row_bytes().ok_or_else(|| {
                    Error::unsupported(format!(
                        "column '{}' is {kind}: no row of it can be decoded",
                        field.name()
                    ))
                })?;
                let bytes = row_bytes.checked_mul(num_rows).filter(|&bytes| bytes <= isize::MAX as usize / 2);
                let bytes = bytes.ok_or_else(|| {
                    Error::new(
                        ErrorKind::TooLarge,
                        format!(
                            "column '{}': {num_rows} rows of {row_bytes} bytes are too many",
                            field.name()
                        ),
                    )
                })?;
                Column::Dense { values: MutableBuffer::from_len_zeroed(bytes), row_bytes, validity }
            }
        })
    }

    fn place(&mut self) -> ColumnMut<'_> {
        match self {
            Column::Dense { values, row_bytes, validity } => ColumnMut::Dense {
                values: values.as_slice_mut(),
                row_bytes: *row_bytes,
                validity: validity.as_deref_mut(),
            },
            Column::Runs { items, validity, .. } => {
                ColumnMut::Runs { items, validity: validity.as_deref_mut() }
            }
        }
    }

    fn into_array(self, field: &Field, num_rows: usize) -> Result<ArrayRef> {
        let nulls = |validity: Option<Vec<u8>>| {
            let mask = validity.filter(|mask| mask.contains(&0))?;
            Some(NullBuffer::new(BooleanBuffer::collect_bool(num_rows, |row| mask[row] != 0)))
        };
        let data = match self {
            Column::Dense { values, row_bytes, validity } => {
                dense(field.data_type(), num_rows, values.into(), row_bytes, nulls(validity))?
            }
            Column::Runs { items, item_bytes, ends, validity } => {
                let num_items = items.len() / item_bytes;
                if i32::try_from(num_items).is_err() {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        format!(
                            "column '{}' has {num_items} items in {num_rows} records, expected fewer than 2³¹: decode \
                             fewer records at once",
                            field.name()
                        ),
                    ));
                }
                let offsets = std::iter::once(0).chain(ends).map(|end| (end / item_bytes) as i32);
                let builder = ArrayData::builder(field.data_type().clone())
                    .len(num_rows)
                    .nulls(nulls(validity))
                    .add_buffer(Buffer::from_iter(offsets));
                let builder = match field.data_type() {
                    // Numbers lie where they may be read as such.
                    DataType::List(item) => {
                        builder.add_child_data(primitive(item, num_items, Buffer::from_slice_ref(&items))?)
                    }
                    _ => builder.add_buffer(Buffer::from_vec(items)),
                };
                builder.build().map_err(refused)?
            }
        };
        Ok(make_array(data))
    }
}

/// The columns of `schema` that `decode` writes of `records`, a row each. It is given the number of the record as well.
///
/// # Errors
///
/// Those of `decode`, at their record; `TooLarge` for columns of more values than Arrow counts.
pub(super) fn decode_rows<R: AsRef<[u8]>>(
    schema: &Schema,
    records: &[R],
    mut decode: impl FnMut(usize, &[u8], &mut RowMut<'_, '_>) -> Result<()>,
) -> Result<Vec<ArrayRef>> {
    let fields = schema.fields();
    let mut columns =
        fields.iter().map(|field| Column::new(field, records.len())).collect::<Result<Vec<_>>>()?;
    for (number, record) in records.iter().enumerate() {
        let mut places: Vec<_> = columns.iter_mut().map(Column::place).collect();
        decode(number, record.as_ref(), &mut RowMut::new(&mut places, number))
            .map_err(|error| error.at_record(number as u64))?;
        for column in &mut columns {
            if let Column::Runs { items, ends, .. } = column {
                ends.push(items.len());
            }
        }
    }
    let arrays = columns.into_iter().zip(fields);
    arrays.map(|(column, field)| column.into_array(field, records.len())).collect()
}
