//! From the head of a file to its dialect, the names of its fields and their types.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::decode::shortened;
use super::infer::Guess;
use super::plan::Plan;
use super::scan::{ScanState, record_starts};
use super::token::Cells;
use super::{CsvDecoder, CsvOptions, Dialect};
use crate::error::{Error, Result};

/// How much of a file's head is a good sample of it.
pub(crate) const SAMPLE_BYTES: usize = 1 << 20;

/// More fields than this are taken for a file that is no CSV.
const MOST_FIELDS: usize = 1 << 17;

/// What a CSV file holds: its columns, and how its records become their rows.
#[derive(Clone, Debug)]
pub(crate) struct CsvFormat {
    schema: SchemaRef,
    decoder: Arc<CsvDecoder>,
    first_record: u64,
}

impl CsvFormat {
    /// The columns, as the decoder numbers them.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The decoder of a record.
    pub(crate) fn decoder(&self) -> &Arc<CsvDecoder> {
        &self.decoder
    }

    pub(crate) fn dialect(&self) -> &Dialect {
        self.decoder.dialect()
    }

    /// The byte of the file from which on it is scanned for records, in [`ScanState::LineStart`]. The first
    /// record begins there or behind blank lines and comments.
    pub(crate) fn first_record(&self) -> u64 {
        self.first_record
    }
}

/// What stands before the records of a file.
struct Head {
    dialect: Dialect,
    /// Where the records begin, the header's among them.
    starts: Vec<u64>,
    /// How many of them certainly end within the sample.
    num_whole: usize,
    /// The cells of the header.
    header: Option<Vec<String>>,
    first_record: u64,
}

impl CsvOptions {
    /// What a file is that begins with `sample`, which is all of it if it is `complete`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for options that cannot be honoured, or do not fit the file; `Malformed` for a file
    /// whose header or records cannot be read.
    pub(crate) fn resolve(&self, sample: &[u8], complete: bool) -> Result<CsvFormat> {
        let head = self.head(sample, complete)?;
        let names = self.field_names(&head, sample)?;
        let plan = Plan::new(self, &names)?;
        let guesses = self.guess(&head, sample, &plan)?;
        let (schema, decoder) = plan.columns(head.dialect, names, &guesses)?;
        Ok(CsvFormat {
            schema: Arc::new(schema),
            decoder: Arc::new(decoder),
            first_record: head.first_record,
        })
    }

    /// The byte from which on another file of `format`, which begins with `sample`, is scanned for records.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve); `Mismatch` for a file whose header names other columns.
    pub(crate) fn first_record_of(&self, format: &CsvFormat, sample: &[u8], complete: bool) -> Result<u64> {
        let options = CsvOptions { delimiter: Some(format.dialect().delimiter), ..self.clone() };
        let head = options.head(sample, complete)?;
        let names = options.field_names(&head, sample)?;
        let expected = format.decoder.names();
        if let Some(at) = (0..names.len().max(expected.len())).find(|&at| names.get(at) != expected.get(at)) {
            let say = |name: Option<&String>| name.map_or("none".to_owned(), |name| format!("'{name}'"));
            return Err(Error::mismatch(format!(
                "expected field {at} to be {}, as in the first file, found {}",
                say(expected.get(at)),
                say(names.get(at))
            )));
        }
        Ok(head.first_record)
    }

    fn head(&self, sample: &[u8], complete: bool) -> Result<Head> {
        let fallback = Dialect::new(self.delimiter.unwrap_or(b','), self.quotes, self.comment)?;
        let mut from = if sample.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        for _ in 0..self.skip_lines {
            let Some(end) = memchr::memchr2(b'\r', b'\n', &sample[from..]).map(|end| from + end) else {
                from = sample.len();
                break;
            };
            from = end + if sample[end..].starts_with(b"\r\n") { 2 } else { 1 };
        }
        let dialect = if self.delimiter.is_none() { fallback.detect(&sample[from..]) } else { fallback };
        let mut starts = Vec::new();
        let behind = record_starts(&dialect, ScanState::LineStart, &sample[from..], from as u64, &mut starts);
        let last_is_whole = complete || behind == ScanState::LineStart || behind == ScanState::Comment;
        let num_whole = starts.len() - usize::from(!last_is_whole && !starts.is_empty());
        let mut first_record = from as u64;
        let mut header = None;
        if num_whole == 0 && !complete {
            return Err(Error::malformed(format!(
                "expected the first record to end within the first {} bytes of the file",
                sample.len()
            ))
            .at_byte(first_record));
        }
        if let (true, Some(&start)) = (self.header, starts.first()) {
            let mut cells = Cells::new(dialect, &sample[start as usize..]);
            let mut names = Vec::new();
            for cell in &mut cells {
                let cell = cell.map_err(|error| in_file(error, start))?;
                names.push(
                    self.header_name(&cell.bytes(), names.len()).map_err(|error| error.at_byte(start))?,
                );
                check_num_fields(names.len())?;
            }
            header = Some(names);
            first_record = start + cells.end().unwrap_or(0) as u64;
        }
        Ok(Head { dialect, starts, num_whole, header, first_record })
    }

    fn header_name(&self, cell: &[u8], index: usize) -> Result<String> {
        let cell = cell.trim_ascii();
        match str::from_utf8(cell) {
            Ok("") => Ok(format!("column_{index}")),
            Ok(name) => Ok(name.to_owned()),
            Err(_) if self.text_as_bytes => Ok(String::from_utf8_lossy(cell).into_owned()),
            Err(_) => Err(Error::malformed(format!(
                "expected the header to be UTF-8, found '{}' in field {index}; convert the file to UTF-8, or \
                 read its text as bytes with text_as_bytes(true)",
                shortened(cell)
            ))),
        }
    }

    /// The names of all fields, none twice.
    fn field_names(&self, head: &Head, sample: &[u8]) -> Result<Vec<String>> {
        let found = match (&head.header, head.starts.first()) {
            (Some(header), _) => Some(header.len()),
            (None, Some(&start)) => {
                let mut count = 0;
                for cell in Cells::new(head.dialect, &sample[start as usize..]) {
                    cell.map_err(|error| in_file(error, start).at_record(0))?;
                    count += 1;
                }
                Some(count)
            }
            (None, None) => None,
        };
        let names = match (&self.names, &head.header, found) {
            (Some(names), None, Some(found)) if names.len() != found => {
                return Err(Error::invalid(format!(
                    "{} names were given for a file of {found} fields",
                    names.len()
                )));
            }
            (Some(names), _, _) => names.clone(),
            (None, Some(header), _) => header.clone(),
            (None, None, Some(found)) => {
                check_num_fields(found)?;
                (0..found).map(|index| format!("column_{index}")).collect()
            }
            (None, None, None) => {
                return Err(Error::malformed(
                    "expected a record that says how many fields there are, found none; give the columns names \
                     if the file may be empty",
                ));
            }
        };
        if names.is_empty() {
            return Err(Error::invalid("names are none: expected one for each field"));
        }
        check_num_fields(names.len())?;
        let mut seen = HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = seen.insert(name, index) {
                return Err(Error::malformed(format!(
                    "fields {first} and {index} are both called '{name}'; give the fields names of their own \
                     with names(…)"
                )));
            }
        }
        Ok(names)
    }

    /// What the cells of each field look like in the whole records of the sample.
    fn guess(&self, head: &Head, sample: &[u8], plan: &Plan<'_>) -> Result<Vec<Guess>> {
        let num_fields = plan.roles.len();
        let mut guesses = vec![Guess::default(); num_fields];
        let skipped = usize::from(head.header.is_some());
        let mut first_error = None;
        let mut num_read = 0;
        let mut record = Vec::with_capacity(num_fields);
        for (index, &start) in head.starts[..head.num_whole].iter().skip(skipped).enumerate() {
            if num_read == self.infer_rows {
                break;
            }
            record.clear();
            let whole = Cells::new(head.dialect, &sample[start as usize..])
                .take(num_fields + 1)
                .try_for_each(|cell| {
                    record.push(cell?);
                    Ok(())
                });
            let whole = whole.and_then(|()| match record.len() {
                found if found == num_fields => Ok(()),
                found if found < num_fields => {
                    Err(Error::malformed(format!("expected {num_fields} fields, found {found}")))
                }
                _ => Err(Error::malformed(format!("expected {num_fields} fields, found more"))),
            });
            // A record that cannot be read says nothing of types; it is refused when it is decoded.
            if let Err(error) = whole {
                first_error.get_or_insert_with(|| in_file(error, start).at_record(index as u64));
                continue;
            }
            num_read += 1;
            for ((guess, cell), role) in guesses.iter_mut().zip(&record).zip(&plan.roles) {
                if role.wanted() && role.csv_type.is_none() && *guess != Guess::Text {
                    let bytes = cell.bytes();
                    let trimmed = bytes.trim_ascii();
                    let missing = |cell: &[u8]| self.na_values.iter().any(|na| na.as_bytes() == cell);
                    if !missing(&bytes) && !missing(trimmed) {
                        *guess = guess.and(Guess::of(trimmed));
                    }
                }
            }
        }
        match first_error {
            Some(error) if num_read == 0 => Err(error),
            _ => Ok(guesses),
        }
    }
}

fn check_num_fields(found: usize) -> Result<()> {
    if found <= MOST_FIELDS {
        return Ok(());
    }
    Err(Error::unsupported(format!("expected a record of at most {MOST_FIELDS} fields, found more")))
}

/// An error at a byte of the record at `start`, at that byte of the file.
fn in_file(error: Error, start: u64) -> Error {
    let byte = start + error.location().byte.unwrap_or(0);
    Error::new(error.kind(), error.message().to_owned()).at_byte(byte)
}
