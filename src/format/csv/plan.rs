//! What was asked for, held against the fields there are: which columns there are, and what each field becomes.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::json;

use super::decode::{Dictionary, FieldPlan, Missing, put, shortened};
use super::infer::Guess;
use super::{CsvDecoder, CsvOptions, CsvType, Dialect};
use crate::error::{Error, Result};
use crate::format::hf::SCHEMA_KEY;
use crate::layout::{DType, tensor_field};

/// What was said of one field.
#[derive(Clone, Debug, Default)]
pub(super) struct Role<'a> {
    pub(super) csv_type: Option<CsvType>,
    default: Option<&'a str>,
    required: bool,
    /// Its values, where it holds classes.
    dictionary: Option<&'a [String]>,
    /// Its stack, and its place in it.
    stack: Option<(usize, usize)>,
    selected: bool,
}

impl Role<'_> {
    /// Whether a column needs the field.
    pub(super) fn wanted(&self) -> bool {
        self.selected || self.stack.is_some()
    }
}

/// What was asked for, held against the names of the fields.
pub(super) struct Plan<'a> {
    options: &'a CsvOptions,
    /// One for each field.
    pub(super) roles: Vec<Role<'a>>,
    stacks: Vec<Role<'a>>,
    /// The columns in their order.
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Field(usize),
    Stack(usize),
}

/// Which fields and stacks there are, by name.
struct Names<'n> {
    fields: HashMap<&'n str, usize>,
    stacks: HashMap<&'n str, usize>,
    in_order: &'n [String],
}

impl Names<'_> {
    fn find(&self, name: &str, what: &str) -> Result<Column> {
        let stack = self.stacks.get(name).map(|&number| Column::Stack(number));
        let field = self.fields.get(name).map(|&field| Column::Field(field));
        stack.or(field).ok_or_else(|| {
            const MOST: usize = 20;
            let listed: Vec<_> =
                self.in_order.iter().take(MOST).map(|name| shortened(name.as_bytes())).collect();
            let more = if self.in_order.len() > MOST { ", …" } else { "" };
            Error::invalid(format!(
                "{what} '{name}' is no column of the file, which has '{}'{more}",
                listed.join("', '")
            ))
        })
    }
}

impl<'a> Plan<'a> {
    /// What `options` make of fields of these names.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for options that name no field, or contradict each other.
    pub(super) fn new(options: &'a CsvOptions, names: &[String]) -> Result<Self> {
        let mut by_name = Names {
            fields: names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect(),
            stacks: HashMap::new(),
            in_order: names,
        };
        let mut plan = Plan {
            options,
            roles: vec![Role::default(); names.len()],
            stacks: vec![Role::default(); options.stacks.len()],
            columns: Vec::new(),
        };
        plan.stack(&by_name)?;
        for (number, (name, _)) in options.stacks.iter().enumerate() {
            let is_taken = by_name.fields.contains_key(name.as_str());
            if is_taken || by_name.stacks.insert(name, number).is_some() {
                return Err(Error::invalid(format!("a stack cannot be called '{name}': another column is")));
            }
        }
        plan.describe(&by_name)?;
        plan.place(&by_name)?;
        Ok(plan)
    }

    /// Puts fields into stacks.
    fn stack(&mut self, names: &Names<'_>) -> Result<()> {
        for (number, (name, columns)) in self.options.stacks.iter().enumerate() {
            if columns.is_empty() {
                return Err(Error::invalid(format!("the stack '{name}' has no columns")));
            }
            for (place, column) in columns.iter().enumerate() {
                let role = self.role(names.find(column, "the stacked column")?);
                if role.stack.replace((number, place)).is_some() {
                    return Err(Error::invalid(format!("column '{column}' is stacked twice")));
                }
            }
        }
        Ok(())
    }

    /// Notes what was said of fields and stacks.
    fn describe(&mut self, names: &Names<'_>) -> Result<()> {
        let options = self.options;
        for (name, csv_type) in &options.types {
            self.role(names.find(name, "the typed column")?).csv_type = Some(*csv_type);
        }
        for (name, value) in &options.defaults {
            self.role(names.find(name, "the column with a default")?).default = Some(value);
        }
        for name in &options.required {
            self.role(names.find(name, "the required column")?).required = true;
        }
        for (name, values) in &options.dictionaries {
            let column = names.find(name, "the column with a dictionary")?;
            let role = self.role(column);
            let refuse = |why: &str| Err(Error::invalid(format!("the dictionary of column '{name}' {why}")));
            if role.csv_type.is_some() || role.stack.is_some() || matches!(column, Column::Stack(_)) {
                return refuse("is of a column with a type of its own, or in a stack");
            }
            if values.is_empty() {
                return refuse("has no values");
            }
            if role.dictionary.replace(values).is_some() {
                return refuse("is given twice");
            }
        }
        for (role, name) in self.roles.iter_mut().zip(names.in_order) {
            // What is said of a field goes before what is said of its stack.
            if let Some((number, _)) = role.stack
                && !role.required
                && role.default.is_none()
            {
                role.default = self.stacks[number].default;
                role.required = self.stacks[number].required;
            }
            if role.required && role.default.is_some() {
                return Err(Error::invalid(format!("column '{name}' is required and has a default")));
            }
        }
        Ok(())
    }

    /// Puts the columns into their order.
    fn place(&mut self, names: &Names<'_>) -> Result<()> {
        match &self.options.select {
            Some(selected) => {
                for name in selected {
                    let column = names.find(name, "the selected column")?;
                    let is_new = self.select(column);
                    if !is_new && self.column_of(column) == column && matches!(column, Column::Field(_)) {
                        return Err(Error::invalid(format!("column '{name}' is selected twice")));
                    }
                }
                for number in 0..self.stacks.len() {
                    self.select(Column::Stack(number));
                }
            }
            None => {
                for field in 0..self.roles.len() {
                    self.select(Column::Field(field));
                }
            }
        }
        if self.columns.is_empty() {
            return Err(Error::invalid("no column is selected"));
        }
        Ok(())
    }

    fn role(&mut self, column: Column) -> &mut Role<'a> {
        match column {
            Column::Field(field) => &mut self.roles[field],
            Column::Stack(number) => &mut self.stacks[number],
        }
    }

    /// The column that `column` is a part of, or itself.
    fn column_of(&self, column: Column) -> Column {
        match column {
            Column::Field(field) => {
                self.roles[field].stack.map_or(column, |(number, _)| Column::Stack(number))
            }
            stack => stack,
        }
    }

    /// Adds the column that `column` is a part of, unless it is there already.
    fn select(&mut self, column: Column) -> bool {
        let column = self.column_of(column);
        let is_new = !std::mem::replace(&mut self.role(column).selected, true);
        if is_new {
            self.columns.push(column);
        }
        is_new
    }

    /// Whether field `index` may be missing.
    fn may_miss(&self, index: usize) -> bool {
        self.roles[index].default.is_none() && !self.roles[index].required
    }

    /// The columns, and the decoder of records of `dialect` whose fields are called `names` and look like
    /// `guesses`.
    pub(super) fn columns(
        &self,
        dialect: Dialect,
        names: Vec<String>,
        guesses: &[Guess],
    ) -> Result<(Schema, CsvDecoder)> {
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
                dictionary: None,
            })
            .collect();
        // The fields of each stack, in its order.
        let mut stacked: Vec<Vec<usize>> =
            self.options.stacks.iter().map(|(_, columns)| vec![0; columns.len()]).collect();
        for (index, role) in self.roles.iter().enumerate() {
            if let Some((number, place)) = role.stack {
                stacked[number][place] = index;
            }
        }
        for (number, &column) in self.columns.iter().enumerate() {
            schema.push(match column {
                Column::Field(index) => {
                    plans[index].column = Some(number);
                    let nullable = self.may_miss(index);
                    let name = &names[index];
                    match types[index].dtype() {
                        Some(dtype) => tensor_field(name, dtype, &[], nullable),
                        None if types[index] == CsvType::Text => Field::new(name, DataType::Utf8, nullable),
                        None => Field::new(name, DataType::Binary, nullable),
                    }
                }
                Column::Stack(stack) => {
                    let fields = &stacked[stack];
                    let name = &self.options.stacks[stack].0;
                    let (csv_type, dtype) = self.stack_type(stack, fields, &types, &names)?;
                    for (place, &index) in fields.iter().enumerate() {
                        types[index] = csv_type;
                        plans[index].csv_type = csv_type;
                        plans[index].column = Some(number);
                        plans[index].stacked = true;
                        plans[index].offset_bytes = place * dtype.width_bytes();
                    }
                    let nullable = fields.iter().any(|&index| self.may_miss(index));
                    tensor_field(name, dtype, &[fields.len()], nullable)
                }
            });
        }
        for (index, plan) in plans.iter_mut().enumerate() {
            let role = &self.roles[index];
            plan.dictionary =
                role.dictionary.map(|values| dictionary(values, &names[index]).map(Arc::new)).transpose()?;
            plan.missing = match (role.default, &plan.dictionary) {
                _ if role.required => Missing::Refuse,
                (None, _) => Missing::Null,
                (Some(value), None) => Missing::Default(default_bytes(plan.csv_type, value, &names[index])?),
                (Some(value), Some(dictionary)) => {
                    let class = dictionary.get(value.as_bytes()).ok_or_else(|| {
                        Error::invalid(format!(
                            "the default '{value}' of column '{}' is not in its dictionary",
                            names[index]
                        ))
                    })?;
                    Missing::Default(Box::new(class.to_ne_bytes()))
                }
            };
        }
        let classes = self.roles.iter().zip(&names).filter_map(|(role, name)| {
            role.dictionary.filter(|_| role.wanted()).map(|values| (name.as_str(), values))
        });
        let schema = Schema::new(schema);
        let schema = match classes_metadata(&schema, classes.collect()) {
            Some(info) => schema.with_metadata(HashMap::from([(SCHEMA_KEY.to_owned(), info)])),
            None => schema,
        };
        let na_values = self.options.na_values.iter().map(|value| value.clone().into_bytes());
        Ok((schema, CsvDecoder::new(dialect, plans, names, na_values)))
    }

    fn type_of(&self, role: &Role<'_>, guess: Guess) -> CsvType {
        if role.dictionary.is_some() {
            return CsvType::I64;
        }
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

/// The number of each of `values`, those of column `name`.
fn dictionary(values: &[String], name: &str) -> Result<Dictionary> {
    let mut dictionary = Dictionary::with_capacity(values.len());
    for (number, value) in (0..).zip(values) {
        if dictionary.insert(value.as_bytes().into(), number).is_some() {
            return Err(Error::invalid(format!(
                "the dictionary of column '{name}' has the value '{value}' twice"
            )));
        }
    }
    Ok(dictionary)
}

/// The features of a table some of whose columns hold classes, as Hugging Face's `datasets` keeps them in the metadata of a
/// schema; `None` without classes.
fn classes_metadata(schema: &Schema, classes: HashMap<&str, &[String]>) -> Option<String> {
    if classes.is_empty() {
        return None;
    }
    let value = |data_type: &DataType| {
        let dtype = match data_type {
            DataType::Boolean => "bool".to_owned(),
            DataType::Utf8 => "string".to_owned(),
            DataType::Binary => "binary".to_owned(),
            number => number.to_string().to_lowercase(),
        };
        json!({ "dtype": dtype, "_type": "Value" })
    };
    let features = schema.fields().iter().map(|field| {
        let feature = match (classes.get(field.name().as_str()), field.data_type()) {
            (Some(names), _) => json!({ "names": names, "_type": "ClassLabel" }),
            (None, DataType::FixedSizeList(item, len)) => {
                json!({ "feature": value(item.data_type()), "length": len, "_type": "Sequence" })
            }
            (None, data_type) => value(data_type),
        };
        (field.name().clone(), feature)
    });
    let features: serde_json::Map<_, _> = features.collect();
    Some(json!({ "info": { "features": features } }).to_string())
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
