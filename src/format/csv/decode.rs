//! From the bytes of one record to the values of its row, in one pass.
//!
//! A number is parsed while the end of its field is looked for, see [`value`](super::value). Where that does
//! not succeed at once (quotes, spaces behind, a missing cell, a bad one), the field is cut out and looked at again.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::token::{After, Cell, cell_at};
use super::value::{Number, truth};
use super::{CsvType, Dialect};
use crate::error::{Error, Result};
use crate::layout::{DecodeInto, RowMut};

/// What becomes of a missing cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Missing {
    /// The row is a null.
    Null,
    /// It has this value: native-endian, or text.
    Default(Box<[u8]>),
    /// It is an error.
    Refuse,
}

/// The number of each value of a column of classes.
pub(crate) type Dictionary = HashMap<Box<[u8]>, i64>;

/// What becomes of one field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldPlan {
    /// The number of its column; `None` for a field that is passed over.
    pub(crate) column: Option<usize>,
    /// Where it begins within a row of the column, in bytes.
    pub(crate) offset_bytes: usize,
    /// Whether there are other fields in the column.
    pub(crate) stacked: bool,
    pub(crate) csv_type: CsvType,
    pub(crate) missing: Missing,
    /// Of a field of classes, which is read as `i64`.
    pub(crate) dictionary: Option<Arc<Dictionary>>,
}

impl FieldPlan {
    /// Whether spaces around the cell are part of it.
    fn spaces_count(&self) -> bool {
        self.csv_type.dtype().is_none() || self.dictionary.is_some()
    }
}

/// The row that is written.
struct Target<'r, 'b, 'a> {
    row: &'r mut RowMut<'b, 'a>,
    /// Columns of several fields that lack one, which are made nulls when all fields were written.
    nulls: Vec<usize>,
}

/// Decodes records of one CSV format.
#[derive(Clone, Debug)]
pub(crate) struct CsvDecoder {
    dialect: Dialect,
    /// One for each field of a record; at least one.
    fields: Box<[FieldPlan]>,
    /// The names of the fields.
    names: Box<[String]>,
    na_values: Box<[Box<[u8]>]>,
    /// Whether a cell that reads as a number may still be missing.
    na_numbers: bool,
}

impl CsvDecoder {
    /// A decoder of records of `fields.len()` fields.
    ///
    /// # Panics
    ///
    /// If there are no fields, or not as many names.
    pub(crate) fn new(
        dialect: Dialect,
        fields: Vec<FieldPlan>,
        names: Vec<String>,
        na_values: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        assert!(!fields.is_empty() && fields.len() == names.len());
        let na_values: Box<[_]> = na_values.into_iter().map(Vec::into_boxed_slice).collect();
        let na_numbers = na_values.iter().any(|value| f64::parse(value.trim_ascii()).is_some());
        CsvDecoder { dialect, fields: fields.into(), names: names.into(), na_values, na_numbers }
    }

    /// The names of the fields.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Whether a cell that says `bytes` counts as missing, spaces around it taken off if it is one of numbers.
    pub(super) fn is_missing(&self, bytes: &[u8], spaces_count: bool) -> bool {
        let is = |bytes: &[u8]| bytes.is_empty() || self.na_values.iter().any(|na| **na == *bytes);
        is(bytes) || !spaces_count && is(bytes.trim_ascii())
    }

    /// What follows the field that ends at `end`, where `next` stands; `None` where the field does not end there.
    #[inline(always)]
    fn after(&self, record: &[u8], end: usize, next: u8) -> Option<After> {
        if next == self.dialect.delimiter {
            return Some(After::Field(end + 1));
        }
        match record.get(end) {
            Some(&byte) if !Dialect::is_line_end(byte) => None,
            _ => Some(After::End(end)),
        }
    }

    #[inline(always)]
    fn number<T: Number>(
        &self,
        record: &[u8],
        mut at: usize,
        index: usize,
        column: usize,
        row: &mut Target<'_, '_, '_>,
    ) -> Result<After> {
        let field = &self.fields[index];
        let begin = at;
        while record.get(at) == Some(&b' ') && self.dialect.delimiter != b' ' {
            at += 1;
        }
        if let Some((value, end, next)) = T::read(record, at)
            && let Some(after) = self.after(record, end, next)
            && !(self.na_numbers && self.is_missing(&record[begin..end], false))
        {
            if let Some(out) = row.row.wanted_values(column) {
                let offset = field.offset_bytes;
                value.put(&mut out[offset..offset + T::BYTES]);
            }
            return Ok(after);
        }
        self.other(record, begin, index, column, row)
    }

    /// Any field, the slow way.
    #[inline(never)]
    fn other(
        &self,
        record: &[u8],
        at: usize,
        index: usize,
        column: usize,
        row: &mut Target<'_, '_, '_>,
    ) -> Result<After> {
        let field = &self.fields[index];
        let (cell, after) = cell_at(self.dialect, record, at)?;
        let bytes = if cell.doubled { cell.bytes() } else { Cow::Borrowed(cell.raw) };
        let is_text = field.csv_type.dtype().is_none();
        if self.is_missing(&bytes, field.spaces_count()) {
            match &field.missing {
                Missing::Null if field.stacked => row.nulls.push(column),
                Missing::Null => row.row.set_null(column),
                Missing::Refuse => return Err(self.required(index).at_byte(at as u64)),
                Missing::Default(value) if is_text => row.row.items(column).extend_from_slice(value),
                Missing::Default(value) => {
                    let offset = field.offset_bytes;
                    row.row.values(column)[offset..offset + value.len()].copy_from_slice(value);
                }
            }
            return Ok(after);
        }
        if is_text {
            if field.csv_type == CsvType::Text
                && let Err(error) = str::from_utf8(cell.raw)
            {
                let bad = at + usize::from(cell.quoted) + error.valid_up_to();
                return Err(self.no_text(index, cell).at_byte(bad as u64));
            }
            row.row.items(column).extend_from_slice(&bytes);
            return Ok(after);
        }
        let width = field.csv_type.dtype().map_or(0, |dtype| dtype.width_bytes());
        let out = &mut row.row.values(column)[field.offset_bytes..field.offset_bytes + width];
        if let Some(dictionary) = &field.dictionary {
            let class =
                dictionary.get(&*bytes).ok_or_else(|| self.no_class(index, &bytes).at_byte(at as u64))?;
            class.put(out);
            return Ok(after);
        }
        match put(field.csv_type, bytes.trim_ascii(), out) {
            Some(()) => Ok(after),
            None => Err(self.bad_cell(index, &bytes).at_byte(at as u64)),
        }
    }

    #[inline(always)]
    fn field(&self, record: &[u8], at: usize, index: usize, row: &mut Target<'_, '_, '_>) -> Result<After> {
        let field = &self.fields[index];
        let Some(column) = field.column.filter(|&column| row.row.wants(column)) else {
            return cell_at(self.dialect, record, at).map(|(_, after)| after);
        };
        match field.csv_type {
            CsvType::F64 => self.number::<f64>(record, at, index, column, row),
            CsvType::F32 => self.number::<f32>(record, at, index, column, row),
            CsvType::I64 if field.dictionary.is_some() => self.other(record, at, index, column, row),
            CsvType::I64 => self.number::<i64>(record, at, index, column, row),
            CsvType::I32 => self.number::<i32>(record, at, index, column, row),
            CsvType::Bool | CsvType::Text | CsvType::Bytes => self.other(record, at, index, column, row),
        }
    }

    #[cold]
    fn wrong_count(&self, record: &[u8], found: usize) -> Error {
        Error::malformed(format!("expected {} fields, found {found}", self.fields.len()))
            .at_byte(record.len() as u64)
    }

    #[cold]
    fn required(&self, index: usize) -> Error {
        Error::malformed(format!("field {index}, '{}', is required but missing", self.names[index]))
    }

    #[cold]
    fn bad_cell(&self, index: usize, cell: &[u8]) -> Error {
        let (csv_type, name) = (self.fields[index].csv_type, &self.names[index]);
        Error::malformed(format!(
            "expected {} in field {index}, '{name}', which is {csv_type}, found '{}'; give the column a type: \
             column({name:?}, CsvType::{}), or name the cell in na_values",
            csv_type.noun(),
            shortened(cell),
            if matches!(csv_type, CsvType::I32 | CsvType::I64) && f64::parse(cell.trim_ascii()).is_some() {
                "F64"
            } else {
                "Text"
            },
        ))
    }

    #[cold]
    fn no_class(&self, index: usize, cell: &[u8]) -> Error {
        Error::malformed(format!(
            "expected one of the values of the dictionary of field {index}, '{}', found '{}'; add it to the dictionary, or \
             name it in na_values",
            self.names[index],
            shortened(cell)
        ))
    }

    #[cold]
    fn no_text(&self, index: usize, cell: Cell<'_>) -> Error {
        Error::malformed(format!(
            "expected UTF-8 in field {index}, '{}', found '{}'; convert the file to UTF-8, or read its text as \
             bytes with text_as_bytes(true)",
            self.names[index],
            shortened(cell.raw)
        ))
    }
}

impl DecodeInto for CsvDecoder {
    /// Decodes the record at the beginning of `record`; what stands behind its end is not looked at.
    fn decode(&self, record: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        let row = &mut Target { row, nulls: Vec::new() };
        let mut at = 0;
        let last = self.fields.len() - 1;
        for index in 0..=last {
            match self.field(record, at, index, row)? {
                After::Field(next) => at = next,
                After::End(_) if index == last => {
                    row.nulls.iter().for_each(|&column| row.row.set_null(column));
                    return Ok(());
                }
                After::End(end) => return Err(self.wrong_count(&record[..end], index + 1)),
            }
        }
        let mut found = self.fields.len();
        loop {
            found += 1;
            match cell_at(self.dialect, record, at)?.1 {
                After::Field(next) => at = next,
                After::End(end) => return Err(self.wrong_count(&record[..end], found)),
            }
        }
    }

    fn what(&self) -> &'static str {
        "CSV"
    }
}

/// Writes the value that `bytes` say over `out`, native-endian; `None` where they say none of the type.
pub(crate) fn put(csv_type: CsvType, bytes: &[u8], out: &mut [u8]) -> Option<()> {
    match csv_type {
        CsvType::F64 => f64::parse(bytes)?.put(out),
        CsvType::F32 => f32::parse(bytes)?.put(out),
        CsvType::I64 => i64::parse(bytes)?.put(out),
        CsvType::I32 => i32::parse(bytes)?.put(out),
        CsvType::Bool => out.copy_from_slice(&[u8::from(truth(bytes)?)]),
        CsvType::Text | CsvType::Bytes => return None,
    }
    Some(())
}

/// The beginning of a cell, as messages show it.
pub(crate) fn shortened(cell: &[u8]) -> String {
    const MOST_BYTES: usize = 40;
    let shown = String::from_utf8_lossy(&cell[..cell.len().min(MOST_BYTES)]);
    let mark = if cell.len() > MOST_BYTES { "…" } else { "" };
    format!("{}{mark}", shown.escape_debug())
}
