//! Which columns are written: from what the options say to what is read, and from what was read to a record batch.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::ConvertOptions;
use crate::batch::{
    AskedRows, BatchMaker, BatchPool, Col, Output, RowReader, RowSource, Turn, col, stack, stack_field,
};
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Beside, ColumnKind};
use crate::staging::{SlotMemory, SlotPool};

/// The columns of a conversion.
#[derive(Clone)]
pub(super) struct Columns {
    dataset: Dataset,
    /// What is read: columns of the dataset, and what is asked of each.
    read: Vec<(usize, Col)>,
    /// What is written, a field of the schema each.
    written: Vec<Written>,
    /// What is made and written behind them.
    map_rows: Option<AskedRows>,
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
        let map_rows = options.map_rows.clone();
        if let Some(asked) = &map_rows {
            let plan = asked.plan(dataset, &[], 1, Beside::default())?;
            fields.extend(plan.schema.fields().iter().map(|field| field.as_ref().clone()));
        }
        rename(&mut fields, options)?;
        let row_bytes = fields.iter().map(row_bytes).sum();
        let schema = Arc::new(Schema::new_with_metadata(fields, dataset.schema().metadata().clone()));
        Ok(Columns { dataset: dataset.clone(), read, written, map_rows, schema, row_bytes })
    }

    /// What reads and makes the columns, up to `batch_rows` rows at a time; keeps the memory of up to `keep_slots` batches.
    pub(super) fn reader(&self, batch_rows: usize, keep_slots: usize) -> Result<Reader> {
        let read = RowReader::new(&self.dataset, self.read.clone(), batch_rows, keep_slots)?;
        let makes = self.map_rows.as_ref().map(|asked| -> Result<_> {
            let plan = Arc::new(asked.plan(&self.dataset, &[], batch_rows.max(1), Beside::default())?);
            let pool = SlotPool::new(SlotMemory::Heap, 1, keep_slots, plan.clone());
            Ok((BatchMaker::new(plan), pool))
        });
        Ok(Reader { read, makes: makes.transpose()?, has_refused: false })
    }

    /// Reads `rows` of the dataset with `reader`, one of [`reader`](Self::reader)'s, and makes of them what is written.
    ///
    /// # Errors
    ///
    /// Those of reading the rows, and of the user's function; `Truncated` for a file that was cut short, whatever its rows looked
    /// like.
    pub(super) fn gather(&self, reader: &mut Reader, rows: &[u64]) -> Result<RecordBatch> {
        reader.has_refused = false;
        let gathered = self.gather_unchecked(reader, rows);
        if let Err(error) = self.dataset.check() {
            // What the user's function was given was no record.
            reader.has_refused = false;
            return Err(error);
        }
        gathered
    }

    /// As [`gather`](Self::gather), before the look at the files.
    fn gather_unchecked(&self, reader: &mut Reader, rows: &[u64]) -> Result<RecordBatch> {
        let arrays = reader.read.gather(rows)?;
        let fields = reader.read.fields();
        let written = self.written.iter().zip(self.schema.fields()).map(|(written, field)| match written {
            Written::AsRead(number) => Ok(arrays[*number].clone()),
            Written::Stack(members) => {
                let members: Vec<_> =
                    members.iter().map(|&number| (fields[number].name().as_str(), &arrays[number])).collect();
                stack(field, &members, rows)
            }
        });
        let mut written = written.collect::<Result<Vec<_>>>()?;
        written.extend(reader.make(rows)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), written, &options)
            .map_err(|e| Error::malformed(format!("the rows do not fit their schema: {e}")).with_source(e))
    }

    /// Refuses to read in a random order what would be decoded again and again. Opens every shard.
    pub(super) fn check_decode_budget(&self) -> Result<()> {
        self.dataset.open_shards()?;
        let inputs = self.map_rows.iter().flat_map(|asked| &asked.inputs);
        let inputs =
            inputs.map(|input| self.dataset.column_index(&input.name)).collect::<Result<Vec<_>>>()?;
        let column = |index: usize| &self.dataset.columns()[index];
        let read = self.read.iter().map(|&(index, _)| index).chain(inputs).collect::<BTreeSet<_>>();
        let read: Vec<_> = read.into_iter().map(|index| (column(index).table, column(index).index)).collect();
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
        let mut said = format!("{:?} {:?} {:?}", self.read, written, self.schema);
        if let Some(asked) = &self.map_rows {
            said.push_str(&format!(" {asked:?}"));
        }
        said
    }
}

/// Reads and makes the rows of a conversion, and keeps its memory from one call to the next.
pub(super) struct Reader {
    read: RowReader,
    makes: Option<(BatchMaker, BatchPool)>,
    /// Whether the user's function erred of one of the last rows.
    has_refused: bool,
}

impl Reader {
    /// Whether `error`, which the last call of [`Columns::gather`] gave, says that a record is bad, rather than that none can be
    /// read.
    pub(super) fn says_bad_record(&self, error: &Error) -> bool {
        self.has_refused || error.is_bad_data()
    }

    /// What the user's function makes of `rows`.
    fn make(&mut self, rows: &[u64]) -> Result<Vec<ArrayRef>> {
        let Some((maker, pool)) = &mut self.makes else { return Ok(Vec::new()) };
        let made = maker.make((pool, 0), &RowSource::List(rows), Turn::default());
        self.has_refused = made.as_ref().is_err_and(|error| maker.says_bad_record(error));
        Ok(made?.0.record_batch()?.columns().to_vec())
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
        None => {
            let is_input = |name: &str| options.map_rows.as_ref().is_some_and(|asked| asked.reads(name));
            listed.extend((0..names.len()).filter(|&index| !is_input(names[index])).map(Item::Column));
        }
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
    if items.is_empty() && !names.is_empty() && options.map_rows.is_none() {
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
    let outputs = options.map_rows.iter().flat_map(|asked| &asked.outputs).map(Output::name);
    let given = options.renames.iter().map(|(_, to)| to).chain(options.stacks.iter().map(|(name, _)| name));
    for name in given.map(String::as_str).chain(outputs) {
        if fields.iter().filter(|field| field.name() == name).count() > 1 {
            return Err(Error::invalid(format!("two columns would be called '{name}'")));
        }
    }
    Ok(())
}

fn row_bytes(field: &Field) -> Option<u64> {
    ColumnKind::of(field).row_bytes().map(|bytes| bytes as u64)
}
