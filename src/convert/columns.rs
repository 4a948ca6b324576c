//! Which columns are written: from what the options say to what is read, and from what was read to a record batch.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use super::ConvertOptions;
use crate::batch::{Col, RowReader, col, stack, stack_field};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ColumnKind;

/// The columns of a conversion.
#[derive(Clone)]
pub(super) struct Columns {
    dataset: Dataset,
    /// What is read: columns of the dataset, and what is asked of each.
    read: Vec<(usize, Col)>,
    /// What is written, a field of the schema each.
    written: Vec<Written>,
    pub(super) schema: SchemaRef,
    /// Bytes of a row; `None` where rows differ in length.
    pub(super) row_bytes: Option<u64>,
}

/// A column that is written, by the numbers of those that are read.
#[derive(Clone)]
enum Written {
    AsRead(usize),
    Stack(Vec<usize>),
}

/// A column of the dataset, or a stack, by its number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Column(usize),
    Stack(usize),
}

impl Columns {
    /// What `options` make of the columns of `dataset`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, with the name, for columns that are not there, taken twice, or of types that cannot be cast or
    /// stacked.
    pub(super) fn new(dataset: &Dataset, options: &ConvertOptions) -> Result<Self> {
        let names: Vec<&str> = dataset.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let stacks = members(&names, options)?;
        let items = items(&names, &stacks, options)?;

        let mut read: Vec<(usize, Col)> = Vec::new();
        let mut written = Vec::new();
        for &item in &items {
            let mut reads = |index: usize| {
                read.push((index, col(names[index])));
                read.len() - 1
            };
            written.push(match item {
                Item::Column(index) => Written::AsRead(reads(index)),
                Item::Stack(number) => {
                    Written::Stack(stacks[number].iter().map(|&index| reads(index)).collect())
                }
            });
        }
        let named = |name: &str| match options.stacks.iter().position(|(stack, _)| stack == name) {
            Some(number) => Ok(stacks[number].clone()),
            None => expand(&names, name),
        };
        for (name, dtype) in &options.casts {
            let indices = named(name)?;
            let asked = read.iter_mut().filter(|(index, _)| indices.contains(index));
            asked.for_each(|(_, col)| *col = col.clone().cast_to(*dtype));
        }
        for (name, value) in &options.fills {
            let indices = named(name)?;
            let asked = read.iter_mut().filter(|(index, _)| indices.contains(index));
            asked.for_each(|(_, col)| *col = col.clone().fill(*value));
        }

        let reader = RowReader::new(dataset, read.clone(), 1, 1)?;
        let mut fields: Vec<Field> = Vec::with_capacity(written.len());
        for (item, written) in items.iter().zip(&written) {
            fields.push(match (item, written) {
                (Item::Stack(number), Written::Stack(members)) => {
                    let members: Vec<_> =
                        members.iter().map(|&number| reader.fields()[number].as_ref()).collect();
                    stack_field(&options.stacks[*number].0, &members)?
                }
                (_, Written::AsRead(number)) => reader.fields()[*number].as_ref().clone(),
                (Item::Column(_), Written::Stack(_)) => unreachable!("the two were made of one another"),
            });
        }
        rename(&mut fields, options)?;
        let row_bytes = reader.fields().iter().map(|field| row_bytes(field)).sum();
        let schema = Arc::new(Schema::new_with_metadata(fields, dataset.schema().metadata().clone()));
        Ok(Columns { dataset: dataset.clone(), read, written, schema, row_bytes })
    }

    /// What reads the columns, up to `batch_rows` rows at a time; keeps the memory of up to `keep_slots` batches.
    pub(super) fn reader(&self, batch_rows: usize, keep_slots: usize) -> Result<RowReader> {
        RowReader::new(&self.dataset, self.read.clone(), batch_rows, keep_slots)
    }

    /// Reads `rows` of the dataset with `reader`, one of [`reader`](Self::reader)'s, and makes of them what is written.
    ///
    /// # Errors
    ///
    /// Those of reading the rows; `Truncated` for a file that was cut short, whatever its rows looked like.
    pub(super) fn gather(&self, reader: &mut RowReader, rows: &[u64]) -> Result<RecordBatch> {
        let gathered = reader.gather(rows).and_then(|arrays| self.assemble(reader.fields(), arrays, rows));
        self.dataset.check()?;
        gathered
    }

    fn assemble(&self, fields: &[FieldRef], arrays: Vec<ArrayRef>, rows: &[u64]) -> Result<RecordBatch> {
        let written = self.written.iter().zip(self.schema.fields()).map(|(written, field)| match written {
            Written::AsRead(number) => Ok(arrays[*number].clone()),
            Written::Stack(members) => {
                let members: Vec<_> =
                    members.iter().map(|&number| (fields[number].name().as_str(), &arrays[number])).collect();
                stack(field, &members, rows)
            }
        });
        let written = written.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), written, &options)
            .map_err(|e| Error::malformed(format!("the rows do not fit their schema: {e}")).with_source(e))
    }

    /// Refuses to read in a random order what would be decoded again and again. Opens every shard.
    pub(super) fn check_decode_budget(&self) -> Result<()> {
        self.dataset.open_shards()?;
        let column = |index: usize| &self.dataset.columns()[index];
        let read: Vec<_> =
            self.read.iter().map(|&(index, _)| (column(index).table, column(index).index)).collect();
        let (bytes, budget) = self.dataset.decoded_bytes(&read);
        if bytes > budget {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "to shuffle chunks that must be decoded keeps all of them: {bytes} bytes, past the budget of {budget}. \
                     Convert without a shuffle first and shuffle what came out, or raise OpenOptions::decode_budget_bytes"
                ),
            ));
        }
        Ok(())
    }

    /// What is read and written, for a hash of the conversion.
    pub(super) fn fingerprint(&self) -> String {
        let written = self.written.iter().map(|written| match written {
            Written::AsRead(number) => format!("{number}"),
            Written::Stack(members) => format!("{members:?}"),
        });
        let written: Vec<_> = written.collect();
        format!("{:?} {:?} {:?}", self.read, written, self.schema)
    }
}

/// The columns of each stack.
fn members(names: &[&str], options: &ConvertOptions) -> Result<Vec<Vec<usize>>> {
    let mut taken: HashMap<usize, &str> = HashMap::new();
    let mut stacks = Vec::with_capacity(options.stacks.len());
    for (number, (name, columns)) in options.stacks.iter().enumerate() {
        if options.stacks[..number].iter().any(|(other, _)| other == name) {
            return Err(Error::invalid(format!("two stacks are called '{name}'")));
        }
        let mut members = Vec::new();
        for column in columns {
            for index in expand(names, column)? {
                if let Some(other) = taken.insert(index, name) {
                    return Err(Error::invalid(format!(
                        "column '{}' is stacked twice, in '{other}' and in '{name}'",
                        names[index]
                    )));
                }
                members.push(index);
            }
        }
        if members.is_empty() {
            return Err(Error::invalid(format!("the stack '{name}' has no columns")));
        }
        stacks.push(members);
    }
    Ok(stacks)
}

/// What is written, in its order.
fn items(names: &[&str], stacks: &[Vec<usize>], options: &ConvertOptions) -> Result<Vec<Item>> {
    let is_stack = |name: &str| options.stacks.iter().position(|(stack, _)| stack == name);
    let stacked_in = |index: usize| stacks.iter().position(|members| members.contains(&index));
    let mut listed = Vec::new();
    match &options.columns {
        None => listed.extend((0..names.len()).map(Item::Column)),
        Some(columns) => {
            for name in columns {
                match is_stack(name) {
                    Some(number) => listed.push(Item::Stack(number)),
                    None => listed.extend(expand(names, name)?.into_iter().map(Item::Column)),
                }
            }
        }
    }
    let named: Vec<_> = listed.iter().filter(|item| matches!(item, Item::Stack(_))).copied().collect();
    let mut items: Vec<Item> = Vec::new();
    for item in listed {
        let stack = match item {
            Item::Column(index) => stacked_in(index).map(Item::Stack),
            Item::Stack(_) => None,
        };
        match stack {
            None if items.contains(&item) => {
                let name = match item {
                    Item::Column(index) => names[index],
                    Item::Stack(number) => &options.stacks[number].0,
                };
                return Err(Error::invalid(format!("the column '{name}' is asked for twice")));
            }
            None => items.push(item),
            // A stack that is not named itself stands where the first of its columns does.
            Some(stack) if !named.contains(&stack) && !items.contains(&stack) => items.push(stack),
            Some(_) => {}
        }
    }
    for number in 0..stacks.len() {
        if !items.contains(&Item::Stack(number)) {
            items.push(Item::Stack(number));
        }
    }
    if items.is_empty() && !names.is_empty() {
        return Err(Error::invalid("expected at least one column to write, found none"));
    }
    Ok(items)
}

/// The columns `name` stands for.
fn expand(names: &[&str], name: &str) -> Result<Vec<usize>> {
    if let Some(index) = names.iter().position(|other| *other == name) {
        return Ok(vec![index]);
    }
    let unknown =
        |what: &str| Error::invalid(format!("{what} '{name}': the dataset has {}", names.join(", ")));
    if !name.contains(['*', '?', '[']) {
        return Err(unknown("no column is called"));
    }
    let pattern = glob::Pattern::new(name)
        .map_err(|e| Error::invalid(format!("'{name}' is no pattern for columns: {e}")))?;
    let matches: Vec<_> = (0..names.len()).filter(|&index| pattern.matches(names[index])).collect();
    if matches.is_empty() { Err(unknown("no column matches")) } else { Ok(matches) }
}

fn rename(fields: &mut [Field], options: &ConvertOptions) -> Result<()> {
    let old: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    for (number, (from, to)) in options.renames.iter().enumerate() {
        if options.renames[..number].iter().any(|(other, _)| other == from) {
            return Err(Error::invalid(format!("the column '{from}' is renamed twice")));
        }
        let index = old.iter().position(|name| name == from).ok_or_else(|| {
            Error::invalid(format!(
                "no column is called '{from}', to be renamed: what is written has {}",
                old.join(", ")
            ))
        })?;
        fields[index].set_name(to);
    }
    // A source may repeat names; options may not.
    let given = options.renames.iter().map(|(_, to)| to);
    for name in given.chain(options.stacks.iter().map(|(name, _)| name)) {
        if fields.iter().filter(|field| field.name() == name).count() > 1 {
            return Err(Error::invalid(format!("two columns would be called '{name}'")));
        }
    }
    Ok(())
}

fn row_bytes(field: &Field) -> Option<u64> {
    ColumnKind::of(field).row_bytes().map(|bytes| bytes as u64)
}
