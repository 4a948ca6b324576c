//! A reader of whole files in memory, and the tests that use it.
#![forbid(unsafe_code)]

mod damage;
mod decode;
mod files;
mod oracle;
mod resolve;
mod scan;

use super::*;
use crate::error::Result;
use crate::layout::{ColumnKind, ColumnMut, DecodeInto, RowMut};

/// One column, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decoded {
    pub(super) values: Vec<u8>,
    pub(super) row_bytes: usize,
    /// For each row of a column of varying length, where its items end.
    pub(super) ends: Vec<usize>,
    pub(super) valid: Vec<bool>,
}

impl Decoded {
    pub(super) fn row(&self, row: usize) -> &[u8] {
        if self.row_bytes > 0 {
            return &self.values[row * self.row_bytes..(row + 1) * self.row_bytes];
        }
        let from = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.values[from..self.ends[row]]
    }

    pub(super) fn f64s(&self) -> Vec<f64> {
        self.values.chunks(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }

    pub(super) fn f32s(&self) -> Vec<f32> {
        self.values.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }

    pub(super) fn i64s(&self) -> Vec<i64> {
        self.values.chunks(8).map(|bytes| i64::from_ne_bytes(bytes.try_into().unwrap())).collect()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        (0..self.ends.len()).map(|row| String::from_utf8(self.row(row).to_vec()).unwrap()).collect()
    }
}

/// The bytes of each record of `file`, from its start to the next one.
pub(super) fn records<'a>(format: &CsvFormat, file: &'a [u8]) -> Vec<&'a [u8]> {
    let first = format.first_record();
    let mut starts = Vec::new();
    record_starts(format.dialect(), ScanState::LineStart, &file[first as usize..], first, &mut starts);
    starts.push(file.len() as u64);
    starts.windows(2).map(|pair| &file[pair[0] as usize..pair[1] as usize]).collect()
}

/// Decodes the columns that `wants` into rows of their own, each record by itself.
pub(super) fn decode_some(
    format: &CsvFormat,
    records: &[&[u8]],
    wants: impl Fn(usize) -> bool,
) -> Result<Vec<Decoded>> {
    let fields = format.schema().fields();
    let kinds: Vec<_> = fields.iter().map(|field| ColumnKind::of(field).row_bytes()).collect();
    let mut columns: Vec<Decoded> = kinds
        .iter()
        .map(|row_bytes| Decoded { row_bytes: row_bytes.unwrap_or(0), ..Decoded::default() })
        .collect();
    for (index, record) in records.iter().enumerate() {
        let mut rows: Vec<_> =
            kinds.iter().map(|n| (vec![0xEE; n.unwrap_or(0)], Vec::new(), [1u8])).collect();
        let mut targets: Vec<ColumnMut<'_>> = rows
            .iter_mut()
            .zip(&kinds)
            .enumerate()
            .map(|(column, ((values, items, valid), kind))| {
                let validity = fields[column].is_nullable().then_some(&mut valid[..]);
                match kind {
                    _ if !wants(column) => ColumnMut::Unwanted,
                    Some(row_bytes) => ColumnMut::Dense { values, row_bytes: *row_bytes, validity },
                    None => ColumnMut::Runs { items, validity },
                }
            })
            .collect();
        let mut row = RowMut::new(&mut targets, 0);
        format.decoder().decode(record, &mut row).map_err(|error| error.at_record(index as u64))?;
        for (column, (values, items, valid)) in columns.iter_mut().zip(rows) {
            column.values.extend(values);
            column.values.extend(items);
            column.ends.push(column.values.len());
            column.valid.push(valid[0] == 1);
        }
    }
    Ok(columns)
}

pub(super) fn read(options: &CsvOptions, file: &[u8]) -> Result<(CsvFormat, Vec<Decoded>)> {
    let format = options.resolve(file, true)?;
    let columns = decode_some(&format, &records(&format, file), |_| true)?;
    Ok((format, columns))
}

pub(super) fn says<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    let error = result.unwrap_err();
    assert!(error.message().contains(words), "{error}");
}
