//! How a decoder fills one row of a batch: each value of a record goes to its place in the slot as it is parsed.
#![forbid(unsafe_code)]

use crate::error::Result;

/// Decodes records, a row each, into the places their columns have in a batch.
pub(crate) trait DecodeInto: Send + Sync {
    /// Decodes `record` and writes the value of every column that `row` [wants](RowMut::wants).
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that do not follow the format, at a byte counted from the record's beginning.
    fn decode(&self, record: &[u8], row: &mut RowMut<'_, '_>) -> Result<()>;

    /// What the records are, in a few words for people.
    fn what(&self) -> &'static str;
}

/// Where one column of the rows of a batch is written.
#[derive(Debug, Default)]
pub(crate) enum ColumnMut<'a> {
    /// Nobody asked for the column.
    #[default]
    Unwanted,
    /// Rows of one length, one after another.
    Dense {
        /// Every row of the batch.
        values: &'a mut [u8],
        row_bytes: usize,
        /// One byte a row, 1 for a value; `None` where no row can be null.
        validity: Option<&'a mut [u8]>,
    },
    /// Rows of varying length, which are appended.
    Runs { items: &'a mut Vec<u8>, validity: Option<&'a mut [u8]> },
}

/// The places of one row's values, by the number of the decoder's column.
///
/// Values are native-endian. A row begins as values, none of them null; one of varying length begins empty.
#[derive(Debug)]
pub(crate) struct RowMut<'r, 'a> {
    columns: &'r mut [ColumnMut<'a>],
    row: usize,
}

impl<'r, 'a> RowMut<'r, 'a> {
    /// The places of row `row` in `columns`, one for each column of the decoder.
    pub(crate) fn new(columns: &'r mut [ColumnMut<'a>], row: usize) -> Self {
        RowMut { columns, row }
    }

    /// Whether somebody asked for column `column`.
    #[inline]
    pub(crate) fn wants(&self, column: usize) -> bool {
        !matches!(self.columns[column], ColumnMut::Unwanted)
    }

    /// The bytes of this row in a wanted column of one row length: every one of them is to be written.
    ///
    /// # Panics
    ///
    /// If the column is not wanted, or its rows differ in length.
    #[inline]
    pub(crate) fn values(&mut self, column: usize) -> &mut [u8] {
        match &mut self.columns[column] {
            ColumnMut::Dense { values, row_bytes, .. } => {
                &mut values[self.row * *row_bytes..(self.row + 1) * *row_bytes]
            }
            _ => panic!("column {column} has no rows of one length"),
        }
    }

    /// As [`values`](Self::values); `None` where nobody asked for the column.
    #[inline(always)]
    pub(crate) fn wanted_values(&mut self, column: usize) -> Option<&mut [u8]> {
        match &mut self.columns[column] {
            ColumnMut::Dense { values, row_bytes, .. } => {
                values.get_mut(self.row * *row_bytes..)?.get_mut(..*row_bytes)
            }
            _ => None,
        }
    }

    /// Where the items of this row of a wanted column of varying row length are appended.
    ///
    /// # Panics
    ///
    /// If the column is not wanted, or its rows have one length.
    #[inline]
    pub(crate) fn items(&mut self, column: usize) -> &mut Vec<u8> {
        match &mut self.columns[column] {
            ColumnMut::Runs { items, .. } => items,
            _ => panic!("column {column} has no rows of varying length"),
        }
    }

    /// Makes this row of a wanted, nullable column a null.
    ///
    /// # Panics
    ///
    /// If the column is not wanted.
    #[inline]
    pub(crate) fn set_null(&mut self, column: usize) {
        let row = self.row;
        let validity = match &mut self.columns[column] {
            ColumnMut::Dense { values, row_bytes, validity } => {
                values[row * *row_bytes..(row + 1) * *row_bytes].fill(0);
                validity
            }
            ColumnMut::Runs { validity, .. } => validity,
            ColumnMut::Unwanted => panic!("column {column} is not wanted"),
        };
        if let Some(validity) = validity {
            validity[row] = 0;
        }
    }
}
