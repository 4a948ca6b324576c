//! From what was asked for, and the head of a file, to its columns.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::decode::{FieldPlan, Missing, put, shortened};
use super::infer::Guess;
use super::scan::{ScanState, record_starts};
use super::token::Cells;
use super::{CsvDecoder, CsvOptions, CsvType, Dialect};
use crate::error::{Error, Result};
use crate::layout::{DType, tensor_field};

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

    /// Fields of a record.
    pub(crate) fn num_fields(&self) -> usize {
        self.decoder.num_fields()
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
        plan.format(head, names, &guesses)
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

/// What was said of one field.
#[derive(Clone, Debug, Default)]
struct Role<'a> {
    csv_type: Option<CsvType>,
    default: Option<&'a str>,
    required: bool,
    /// Its stack, and its place in it.
    stack: Option<(usize, usize)>,
    selected: bool,
}

impl Role<'_> {
    fn wanted(&self) -> bool {
        self.selected || self.stack.is_some()
    }
}

/// What was asked for, held against the names of the fields.
struct Plan<'a> {
    options: &'a CsvOptions,
    roles: Vec<Role<'a>>,
    stacks: Vec<Role<'a>>,
    /// The columns in their order.
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Field(usize),
    Stack(usize),
}

impl<'a> Plan<'a> {
    fn new(options: &'a CsvOptions, names: &[String]) -> Result<Self> {
        let fields: HashMap<&str, usize> =
            names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let unknown = |name: &str, what: &str| {
            let most = 20;
            let listed = names
                .iter()
                .take(most)
                .map(|name| shortened(name.as_bytes()))
                .collect::<Vec<_>>()
                .join("', '");
            let more = if names.len() > most { ", …" } else { "" };
            Error::invalid(format!("{what} '{name}' is no column of the file, which has '{listed}'{more}"))
        };
        let mut roles = vec![Role::default(); names.len()];
        let mut stacks = vec![Role::default(); options.stacks.len()];
        let mut stack_numbers = HashMap::new();
        for (number, (name, columns)) in options.stacks.iter().enumerate() {
            if columns.is_empty() {
                return Err(Error::invalid(format!("the stack '{name}' has no columns")));
            }
            if fields.contains_key(name.as_str()) || stack_numbers.insert(name.as_str(), number).is_some() {
                return Err(Error::invalid(format!("a stack cannot be called '{name}': another column is")));
            }
            for (place, column) in columns.iter().enumerate() {
                let &field =
                    fields.get(column.as_str()).ok_or_else(|| unknown(column, "the stacked column"))?;
                if roles[field].stack.replace((number, place)).is_some() {
                    return Err(Error::invalid(format!("column '{column}' is stacked twice")));
                }
            }
        }
        let find = |name: &str, what: &str| {
            let stack = stack_numbers.get(name).map(|&number| Column::Stack(number));
            let field = fields.get(name).map(|&field| Column::Field(field));
            stack.or(field).ok_or_else(|| unknown(name, what))
        };
        let mut role = |name: &str, what: &str, say: &dyn Fn(&mut Role<'a>)| {
            find(name, what).map(|column| match column {
                Column::Field(field) => say(&mut roles[field]),
                Column::Stack(number) => say(&mut stacks[number]),
            })
        };
        for (name, csv_type) in &options.types {
            role(name, "the typed column", &|role| role.csv_type = Some(*csv_type))?;
        }
        for (name, value) in &options.defaults {
            role(name, "the column with a default", &|role| role.default = Some(value))?;
        }
        for name in &options.required {
            role(name, "the required column", &|role| role.required = true)?;
        }
        let in_stack = |column: Column, roles: &[Role<'_>]| match column {
            Column::Field(field) => roles[field].stack.map_or(column, |(number, _)| Column::Stack(number)),
            stack => stack,
        };
        let mut columns = Vec::new();
        let mut placed = vec![false; stacks.len()];
        let mut place = |column: Column, roles: &mut [Role<'_>], columns: &mut Vec<Column>| {
            let is_new = match in_stack(column, roles) {
                Column::Field(field) => !std::mem::replace(&mut roles[field].selected, true),
                Column::Stack(number) => !std::mem::replace(&mut placed[number], true),
            };
            if is_new {
                columns.push(in_stack(column, roles));
            }
            is_new
        };
        match &options.select {
            Some(selected) => {
                for name in selected {
                    let column = find(name, "the selected column")?;
                    let stacked = matches!(in_stack(column, &roles), Column::Stack(_));
                    if !place(column, &mut roles, &mut columns) && !stacked {
                        return Err(Error::invalid(format!("column '{name}' is selected twice")));
                    }
                }
                (0..stacks.len()).for_each(|number| {
                    place(Column::Stack(number), &mut roles, &mut columns);
                });
            }
            None => (0..names.len()).for_each(|field| {
                place(Column::Field(field), &mut roles, &mut columns);
            }),
        }
        if columns.is_empty() {
            return Err(Error::invalid("no column is selected"));
        }
        for (index, name) in names.iter().enumerate() {
            // What is said of a field goes before what is said of its stack.
            if let Some((number, _)) = roles[index].stack
                && roles[index].default.is_none()
                && !roles[index].required
            {
                roles[index].default = stacks[number].default;
                roles[index].required = stacks[number].required;
            }
            if roles[index].required && roles[index].default.is_some() {
                return Err(Error::invalid(format!("column '{name}' is required and has a default")));
            }
        }
        Ok(Plan { options, roles, stacks, columns })
    }

    fn format(self, head: Head, names: Vec<String>, guesses: &[Guess]) -> Result<CsvFormat> {
        let mut types: Vec<CsvType> =
            self.roles.iter().zip(guesses).map(|(role, guess)| self.type_of(role, *guess)).collect();
        let mut schema = Vec::with_capacity(self.columns.len());
        let mut plans: Vec<FieldPlan> = types
            .iter()
            .map(|&csv_type| FieldPlan {
                column: None,
                offset_bytes: 0,
                stacked: false,
                csv_type,
                missing: Missing::Null,
            })
            .collect();
        for (number, &column) in self.columns.iter().enumerate() {
            schema.push(match column {
                Column::Field(index) => {
                    plans[index].column = Some(number);
                    let nullable = self.roles[index].default.is_none() && !self.roles[index].required;
                    let name = &names[index];
                    match types[index].dtype() {
                        Some(dtype) => tensor_field(name, dtype, &[], nullable),
                        None if types[index] == CsvType::Text => Field::new(name, DataType::Utf8, nullable),
                        None => Field::new(name, DataType::Binary, nullable),
                    }
                }
                Column::Stack(stack) => {
                    let fields: Vec<usize> = (0..names.len())
                        .filter(|&index| self.roles[index].stack.is_some_and(|s| s.0 == stack))
                        .collect();
                    let name = &self.options.stacks[stack].0;
                    let (csv_type, dtype) = self.stack_type(stack, &fields, &types, &names)?;
                    for &index in &fields {
                        let place = self.roles[index].stack.map_or(0, |(_, place)| place);
                        types[index] = csv_type;
                        plans[index].csv_type = csv_type;
                        plans[index].column = Some(number);
                        plans[index].stacked = true;
                        plans[index].offset_bytes = place * dtype.width_bytes();
                    }
                    let may_miss =
                        |&index: &usize| self.roles[index].default.is_none() && !self.roles[index].required;
                    tensor_field(name, dtype, &[fields.len()], fields.iter().any(may_miss))
                }
            });
        }
        for (index, plan) in plans.iter_mut().enumerate() {
            let role = &self.roles[index];
            plan.missing = match role.default {
                _ if role.required => Missing::Refuse,
                None => Missing::Null,
                Some(value) => Missing::Default(default_bytes(plan.csv_type, value, &names[index])?),
            };
        }
        let na_values = self.options.na_values.iter().map(|value| value.clone().into_bytes());
        Ok(CsvFormat {
            schema: Arc::new(Schema::new(schema)),
            decoder: Arc::new(CsvDecoder::new(head.dialect, plans, names, na_values)),
            first_record: head.first_record,
        })
    }

    fn type_of(&self, role: &Role<'_>, guess: Guess) -> CsvType {
        if let Some(csv_type) = role.csv_type {
            return csv_type;
        }
        let default = role.default.map_or(Guess::Missing, |value| Guess::of(value.trim().as_bytes()));
        match guess.and(default).csv_type() {
            CsvType::Text if self.options.text_as_bytes => CsvType::Bytes,
            csv_type => csv_type,
        }
    }

    /// The type that all fields of a stack are read as.
    fn stack_type(
        &self,
        stack: usize,
        fields: &[usize],
        types: &[CsvType],
        names: &[String],
    ) -> Result<(CsvType, DType)> {
        let name = &self.options.stacks[stack].0;
        let no_number = |csv_type: CsvType, of: &str| {
            Error::invalid(format!("the stack '{name}' needs columns of numbers: {of} is {csv_type}"))
        };
        if let Some(csv_type) = self.stacks[stack].csv_type {
            let dtype = csv_type.dtype().ok_or_else(|| no_number(csv_type, "its type"))?;
            return Ok((csv_type, dtype));
        }
        let all: Vec<CsvType> = fields.iter().map(|&index| types[index]).collect();
        for (&csv_type, &index) in all.iter().zip(fields) {
            let mixed = (csv_type == CsvType::Bool) != (all[0] == CsvType::Bool);
            if csv_type.dtype().is_none() || mixed {
                let hint = "; give the stack a type";
                let of = format!("column '{}'", names[index]);
                let error = no_number(csv_type, &of);
                return Err(Error::invalid(format!("{}{hint}", error.message())));
            }
        }
        let widest = [CsvType::F64, CsvType::F32, CsvType::I64, CsvType::I32, CsvType::Bool];
        let csv_type = widest.into_iter().find(|csv_type| all.contains(csv_type)).unwrap_or(CsvType::F64);
        let dtype = csv_type.dtype().ok_or_else(|| no_number(csv_type, "its type"))?;
        Ok((csv_type, dtype))
    }
}

/// A default as the decoder writes it.
fn default_bytes(csv_type: CsvType, value: &str, name: &str) -> Result<Box<[u8]>> {
    let Some(dtype) = csv_type.dtype() else { return Ok(value.as_bytes().into()) };
    let mut bytes = vec![0; dtype.width_bytes()].into_boxed_slice();
    match put(csv_type, value.trim().as_bytes(), &mut bytes) {
        Some(()) => Ok(bytes),
        None => Err(Error::invalid(format!(
            "the default '{value}' of column '{name}' is not {}; give the column a type that can hold it",
            csv_type.noun()
        ))),
    }
}
