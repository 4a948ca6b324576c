//! The footer: checked for what its reader would trip over, read, and held against the file.
//!
//! The `parquet` crate reads the footer, but makes room by what lists and schema elements claim, and follows a schema
//! however deep it is. So the bytes are walked first: every list must fit into the bytes that are left, children into
//! the schema, and the schema into a depth.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::MAGIC;
use super::thrift::{Fault, Kind, Read, Reader};
use crate::error::{Error, Result};
use crate::map::Region;

/// The magic of a file whose footer is encrypted.
const ENCRYPTED_MAGIC: &[u8; 4] = b"PARE";

/// Groups within groups, at most.
const SCHEMA_DEPTH: usize = 64;

/// The footer's first byte, and what it says.
pub(super) struct Footer {
    pub(super) start: u64,
    pub(super) metadata: ParquetMetaData,
}

pub(super) fn read(region: &Region) -> Result<Footer> {
    let len = region.len_bytes();
    // Magic at both ends, the footer's length.
    if len < 12 {
        return Err(Error::malformed(format!("expected a Parquet file of at least 12 bytes, found {len}")));
    }
    let head = region.read(0..4)?;
    let tail = region.read(len - 8..len)?;
    if tail.ends_with(ENCRYPTED_MAGIC) || head == ENCRYPTED_MAGIC {
        return Err(Error::unsupported("the file has an encrypted footer: decrypt it first").at_byte(len - 4));
    }
    if !tail.ends_with(MAGIC) {
        return Err(Error::malformed(
            "expected the file to end with PAR1: it was cut or is still being written",
        )
        .at_byte(len - 4));
    }
    let footer_bytes = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let start = (len - 8).checked_sub(footer_bytes.into()).filter(|&start| start >= 4).ok_or_else(|| {
        Error::malformed(format!(
            "expected a footer within {} bytes, found its length to be {footer_bytes}",
            len - 12
        ))
        .at_byte(len - 8)
    })?;
    let bytes = region.read(start..len - 8)?;
    survey(&bytes, len).map_err(|error| error.at_byte(start))?;
    let read = catch_unwind(AssertUnwindSafe(|| ParquetMetaDataReader::decode_metadata(&bytes)));
    let metadata = read
        .map_err(|panic| contradictory("the footer", &*panic))
        .and_then(|read| read.map_err(|e| unreadable("the footer", e)))
        .map_err(|error| error.at_byte(start))?;
    check(&metadata, start).map_err(|error| error.at_byte(start))?;
    Ok(Footer { start, metadata })
}

pub(super) fn contradictory(what: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    Error::malformed(format!("{what} is contradictory")).with_source(Error::panicked("parquet", panic))
}

pub(super) fn unreadable(what: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::NYI(words) => Error::unsupported(format!("{what} cannot be read: {words}")),
        error => Error::malformed(format!("{what} cannot be read: {error}")).with_source(error),
    }
}

/// Walks the bytes of a footer without making room for anything.
fn survey(bytes: &[u8], file_bytes: u64) -> Result<()> {
    // What the reader keeps of a struct is below 1 KiB.
    let structs_max = ((64 << 20) + file_bytes.saturating_mul(10)) / 1024;
    let mut schema = Schema::default();
    let mut encrypted: Option<(usize, String)> = None;
    let mut reader = Reader::new(bytes, structs_max);
    let walked = reader.fields(|reader, number, kind| match (number, kind) {
        (2, Kind::List) => {
            schema = Schema::read(reader)?;
            Ok(true)
        }
        (4, Kind::List) => {
            each_struct(reader, |reader, number, kind| match (number, kind) {
                (1, Kind::List) => {
                    let mut column = 0;
                    each_struct_of(reader, |reader| {
                        let found = read_column(reader)?;
                        if let Some(name) = found
                            && encrypted.is_none()
                        {
                            encrypted = Some((column, name));
                        }
                        column += 1;
                        Ok(())
                    })?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
            Ok(true)
        }
        _ => Ok(false),
    });
    walked.map_err(|fault| {
        let found = match fault {
            Fault::Cut => "it cut",
            Fault::Bad(what) => what,
        };
        Error::malformed(format!("expected a footer of {} bytes, found {found}", bytes.len()))
    })?;
    if let Some((column, name)) = encrypted {
        let leaf = schema.leaves.get(column).cloned();
        let name = if name.is_empty() { leaf.unwrap_or_else(|| format!("{column}")) } else { name };
        return Err(Error::unsupported(format!("column '{name}' is encrypted: decrypt the file first")));
    }
    Ok(())
}

/// Shows the fields of each struct of a list to `visit`.
fn each_struct(
    reader: &mut Reader<'_>,
    mut visit: impl FnMut(&mut Reader<'_>, i16, Kind) -> Read<bool>,
) -> Read<()> {
    each_struct_of(reader, |reader| reader.fields(&mut visit))
}

fn each_struct_of(reader: &mut Reader<'_>, mut read: impl FnMut(&mut Reader<'_>) -> Read<()>) -> Read<()> {
    let (kind, count) = reader.list()?;
    if kind != Kind::Struct && count > 0 {
        return Err(Fault::Bad("a list of other things than structs"));
    }
    (0..count).try_for_each(|_| read(reader))
}

/// The name of an encrypted column (empty where it is encrypted too), if this one is.
fn read_column(reader: &mut Reader<'_>) -> Read<Option<String>> {
    let (mut encrypted, mut path) = (false, Vec::new());
    reader.fields(|reader, number, kind| {
        match (number, kind) {
            (3, Kind::Struct) => reader.fields(|reader, number, kind| match (number, kind) {
                (3, Kind::List) => {
                    path = read_path(reader)?;
                    Ok(true)
                }
                _ => Ok(false),
            })?,
            (8, Kind::Struct) => {
                encrypted = true;
                return Ok(false);
            }
            (9, Kind::Binary) => {
                encrypted = true;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(encrypted.then(|| path.join(".")))
}

fn read_path(reader: &mut Reader<'_>) -> Read<Vec<String>> {
    let (kind, count) = reader.list()?;
    if kind != Kind::Binary && count > 0 {
        return Err(Fault::Bad("a path of other things than names"));
    }
    (0..count).map(|_| Ok(String::from_utf8_lossy(reader.binary()?).into_owned())).collect()
}

/// The names of the columns, in their order.
#[derive(Default)]
struct Schema {
    leaves: Vec<String>,
}

impl Schema {
    /// Reads the elements of a schema, depth first; each group says how many children it has.
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let mut leaves = Vec::new();
        // Children that each of the open groups still waits for.
        let mut open: Vec<u64> = Vec::new();
        let (kind, count) = reader.list()?;
        if kind != Kind::Struct && count > 0 {
            return Err(Fault::Bad("a schema of other things than elements"));
        }
        for index in 0..count {
            let (mut name, mut children) = (String::new(), 0);
            reader.fields(|reader, number, kind| {
                match (number, kind) {
                    (4, Kind::Binary) => name = String::from_utf8_lossy(reader.binary()?).into_owned(),
                    (5, Kind::I32) => children = reader.i32()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            let children =
                u64::try_from(children).map_err(|_| Fault::Bad("a group of less than no children"))?;
            let left = count - index - 1;
            if children > left {
                return Err(Fault::Bad("a group of more children than the schema has"));
            }
            if let Some(waiting) = open.last_mut() {
                *waiting -= 1;
            }
            if children > 0 {
                open.push(children);
            } else {
                leaves.push(name);
            }
            if open.len() > SCHEMA_DEPTH {
                return Err(Fault::Bad("groups nested more than 64 deep"));
            }
            while open.last() == Some(&0) {
                open.pop();
            }
        }
        Ok(Schema { leaves })
    }
}

/// Holds the counts and places in `metadata` against each other and against the file, whose columns end at `end`.
fn check(metadata: &ParquetMetaData, end: u64) -> Result<()> {
    let schema = metadata.file_metadata().schema_descr();
    let num_rows = count(metadata.file_metadata().num_rows(), "rows")?;
    let mut found = 0u64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let in_group = |error: Error| error.at_record(index as u64);
        let group_rows = count(group.num_rows(), "rows in a row group").map_err(in_group)?;
        found = found.checked_add(group_rows).filter(|&rows| rows <= i64::MAX as u64).ok_or_else(|| {
            in_group(Error::malformed("the row groups claim more rows than can be counted"))
        })?;
        if group.num_columns() != schema.num_columns() {
            return Err(in_group(Error::malformed(format!(
                "expected a row group of {} columns, found {}",
                schema.num_columns(),
                group.num_columns()
            ))));
        }
        for column in group.columns() {
            let named = |error: Error| in_group(error.in_column(&column.column_path().string()));
            if column.file_path().is_some_and(|path| !path.is_empty()) {
                return Err(named(Error::unsupported("its values lie in another file")));
            }
            if column.compression() == parquet::basic::Compression::LZO {
                return Err(named(Error::unsupported(
                    "its pages are compressed with LZO, which is not read",
                )));
            }
            count(column.num_values(), "values").map_err(named)?;
            count(column.uncompressed_size(), "bytes").map_err(named)?;
            place(column, end).map_err(named)?;
        }
    }
    // Old writers left the number out.
    if found != num_rows && num_rows != 0 {
        return Err(Error::malformed(format!(
            "expected the {num_rows} rows of the file in its row groups, found {found}"
        )));
    }
    Ok(())
}

fn count(found: i64, what: &str) -> Result<u64> {
    u64::try_from(found).map_err(|_| Error::malformed(format!("expected a number of {what}, found {found}")))
}

/// The first byte and the end of a column chunk.
pub(super) fn place(column: &parquet::file::metadata::ColumnChunkMetaData, end: u64) -> Result<(u64, u64)> {
    // Some writers say 0 for a dictionary that is not there.
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().filter(|&at| at > 0 && at < data).unwrap_or(data);
    let found = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
    let found = found.and_then(|(start, len)| Some((start, start.checked_add(len)?)));
    found.filter(|&(start, chunk_end)| (start >= 4 && chunk_end <= end) || start == chunk_end).ok_or_else(
        || {
            Error::malformed(format!(
                "expected its pages to lie between bytes 4 and {end}, found {} bytes at {start}",
                column.compressed_size()
            ))
        },
    )
}
