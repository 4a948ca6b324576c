//! From records of CSV to columns.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};

use super::rows::decode_rows;
use crate::batch::refused;
use crate::error::{Error, Result};
use crate::format::CsvType;
use crate::format::csv::{Cells, Dialect, put, shortened};
use crate::layout::{RowMut, tensor_field};

/// Which columns records of CSV have, and how they are written.
///
/// A column is *required*, or has a default, whose type is the column's. A cell is missing if it is empty or equal to
/// [`na_value`](Self::na_value); in columns of numbers, spaces around it do not count.
///
/// ```
/// use arrow::array::AsArray;
/// use arrow::datatypes::Float32Type;
/// use forebay::coordinator::decode::{DecodeCsv, decode_csv};
///
/// let csv = DecodeCsv::new().column("x1", -1f32).column("x2", -1f32).column("target", -1i32);
/// let batch = decode_csv(&["1. , 2. , 0", "4. , 5 , 1", "7. , , 0"], &csv)?;
/// assert_eq!(batch["x2"].as_primitive::<Float32Type>().values(), &[2.0, 5.0, -1.0]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DecodeCsv {
    columns: Vec<(String, CsvType, Option<CsvScalar>)>,
    delimiter: u8,
    quotes: bool,
    na_value: String,
    select: Option<Vec<usize>>,
}

/// The value of a missing cell.
#[derive(Clone, Debug, PartialEq)]
pub enum CsvScalar {
    /// Of a column of `f32`.
    F32(f32),
    /// Of a column of `f64`.
    F64(f64),
    /// Of a column of `i32`.
    I32(i32),
    /// Of a column of `i64`.
    I64(i64),
    /// Of a column of text.
    Text(String),
}

impl CsvScalar {
    /// The type of the column.
    pub fn csv_type(&self) -> CsvType {
        match self {
            CsvScalar::F32(_) => CsvType::F32,
            CsvScalar::F64(_) => CsvType::F64,
            CsvScalar::I32(_) => CsvType::I32,
            CsvScalar::I64(_) => CsvType::I64,
            CsvScalar::Text(_) => CsvType::Text,
        }
    }

    /// The value as a row has it.
    fn to_row(&self) -> Vec<u8> {
        match self {
            CsvScalar::F32(value) => value.to_ne_bytes().to_vec(),
            CsvScalar::F64(value) => value.to_ne_bytes().to_vec(),
            CsvScalar::I32(value) => value.to_ne_bytes().to_vec(),
            CsvScalar::I64(value) => value.to_ne_bytes().to_vec(),
            CsvScalar::Text(value) => value.as_bytes().to_vec(),
        }
    }
}

macro_rules! scalars {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for CsvScalar {
            fn from(value: $from) -> Self {
                CsvScalar::$variant(value.into())
            }
        }
    )*};
}

scalars!(f32 => F32, f64 => F64, i32 => I32, i64 => I64, &str => Text, String => Text);

impl Default for DecodeCsv {
    fn default() -> Self {
        DecodeCsv {
            columns: Vec::new(),
            delimiter: b',',
            quotes: true,
            na_value: String::new(),
            select: None,
        }
    }
}

impl DecodeCsv {
    /// Commas, quotes, and no columns yet.
    pub fn new() -> Self {
        DecodeCsv::default()
    }

    /// Adds a column of the type of `default`, which is the value of cells that are missing.
    pub fn column(mut self, name: impl Into<String>, default: impl Into<CsvScalar>) -> Self {
        let default = default.into();
        self.columns.push((name.into(), default.csv_type(), Some(default)));
        self
    }

    /// Adds a column in which no cell may be missing.
    pub fn required(mut self, name: impl Into<String>, csv_type: CsvType) -> Self {
        self.columns.push((name.into(), csv_type, None));
        self
    }

    /// The byte between two fields. Default: a comma. It must be an ASCII byte that is no letter, digit, quote, line end or
    /// NUL, and none of `.`, `+`, `-`.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Whether a field may be enclosed in double quotes. Default: yes. Without, a quote is a byte as any other.
    pub fn quotes(mut self, quotes: bool) -> Self {
        self.quotes = quotes;
        self
    }

    /// A cell that counts as missing, beside the empty one. Default: none.
    pub fn na_value(mut self, value: impl Into<String>) -> Self {
        self.na_value = value.into();
        self
    }

    /// The numbers of the fields that the columns are, counted from 0, ascending; what stands behind the last of them is not
    /// looked at. Default: all, and a record has no others.
    pub fn select(mut self, fields: impl IntoIterator<Item = usize>) -> Self {
        self.select = Some(fields.into_iter().collect());
        self
    }

    fn check(&self) -> Result<Dialect> {
        if self.columns.is_empty() {
            return Err(Error::invalid("records of CSV have at least one column, found none"));
        }
        for (number, (name, ..)) in self.columns.iter().enumerate() {
            if self.columns[..number].iter().any(|(other, ..)| other == name) {
                return Err(Error::invalid(format!("two columns are called '{name}'")));
            }
        }
        if let Some(select) = &self.select {
            if select.len() != self.columns.len() {
                return Err(Error::invalid(format!(
                    "expected as many selected fields as columns, found {} for {}",
                    select.len(),
                    self.columns.len()
                )));
            }
            if let Some(pair) = select.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(Error::invalid(format!(
                    "expected selected fields to ascend, found {} behind {}",
                    pair[1], pair[0]
                )));
            }
        }
        Dialect::new(self.delimiter, self.quotes, None)
    }

    fn schema(&self) -> Schema {
        let fields = self.columns.iter().map(|(name, csv_type, _)| match csv_type.dtype() {
            Some(dtype) => tensor_field(name, dtype, &[], false),
            None if *csv_type == CsvType::Text => Field::new(name, DataType::Utf8, false),
            None => Field::new(name, DataType::Binary, false),
        });
        Schema::new(fields.collect::<Vec<_>>())
    }
}

/// The columns of `records`, a row each, each record without its line end.
///
/// # Errors
///
/// `InvalidArgument` for options that cannot be honoured: no columns, two of one name, a delimiter that cannot be one, selected
/// fields that are not as many as the columns or do not ascend. `Malformed`, with the number of the record, for one that has
/// more or fewer fields, lacks a required one, does not follow the grammar of [`format::csv`](crate::format::csv) (a line
/// end outside of quotes included), or has a cell that is no value of its column's type.
pub fn decode_csv<R: AsRef<[u8]>>(records: &[R], csv: &DecodeCsv) -> Result<RecordBatch> {
    let dialect = csv.check()?;
    let schema = Arc::new(csv.schema());
    let defaults = csv.columns.iter().map(|(.., default)| default.as_ref().map(CsvScalar::to_row));
    let decoder = Decoder { csv, dialect, defaults: defaults.collect() };
    let arrays = decode_rows(&schema, records, |number, record, row| decoder.decode(number, record, row))?;
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(refused)
}

struct Decoder<'a> {
    csv: &'a DecodeCsv,
    dialect: Dialect,
    /// What the row of a column is where its cell is missing; `None` where it may not be.
    defaults: Vec<Option<Vec<u8>>>,
}

impl Decoder<'_> {
    fn decode(&self, number: usize, record: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        let mut cells = Cells::new(self.dialect, record);
        // The number of the field, and the column it may be.
        let (mut field, mut column) = (0, 0);
        while let Some(cell) = cells.next().transpose()? {
            let is_wanted = match &self.csv.select {
                Some(select) => select[column] == field,
                None => true,
            };
            field += 1;
            if !is_wanted {
                continue;
            }
            // Fields beyond the columns are counted, not decoded.
            if column < self.csv.columns.len() {
                self.cell(&cell.bytes(), column, number, row)?;
            }
            column += 1;
            if self.csv.select.is_some() && column == self.csv.columns.len() {
                return Ok(());
            }
        }
        if let Some(end) = cells.end().filter(|&end| end < record.len()) {
            return Err(Error::malformed(format!(
                "Unquoted fields cannot have quotes or line ends inside: found '{}' in record {number}",
                record[end].escape_ascii()
            ))
            .at_byte(end as u64));
        }
        if column != self.csv.columns.len() {
            return Err(Error::malformed(format!(
                "Expect {} fields but have {column} in record {number}",
                self.csv.columns.len()
            ))
            .at_byte(record.len() as u64));
        }
        Ok(())
    }

    fn cell(&self, cell: &[u8], column: usize, number: usize, row: &mut RowMut<'_, '_>) -> Result<()> {
        let csv_type = self.csv.columns[column].1;
        let is_text = csv_type.dtype().is_none();
        let is_na = |cell: &[u8]| cell.is_empty() || cell == self.csv.na_value.as_bytes();
        if is_na(cell) || !is_text && is_na(cell.trim_ascii()) {
            let Some(default) = &self.defaults[column] else {
                return Err(Error::malformed(format!(
                    "Field {column} is required but missing in record {number}"
                )));
            };
            if is_text {
                row.items(column).extend_from_slice(default);
            } else {
                row.values(column).copy_from_slice(default);
            }
            return Ok(());
        }
        let is_valid = match csv_type {
            CsvType::Text if str::from_utf8(cell).is_err() => false,
            CsvType::Text | CsvType::Bytes => {
                row.items(column).extend_from_slice(cell);
                true
            }
            _ => put(csv_type, cell.trim_ascii(), row.values(column)).is_some(),
        };
        if is_valid {
            return Ok(());
        }
        Err(Error::malformed(format!(
            "Field {column} in record {number} is not {}: '{}'",
            csv_type.noun(),
            shortened(cell)
        )))
    }
}
