//! Datasets side by side (`zip`) and one after another (`concat`).
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::rows::Rows;
use super::table::{Chunk, Table};
use super::{Column, Dataset};
use crate::error::{Error, Result};
use crate::format::hf;

impl Dataset {
    /// The columns of both, row by row: images of one file beside labels of another.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) if the lengths differ;
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if both have a column of one name.
    pub fn zip(&self, other: &Dataset) -> Result<Dataset> {
        if self.len != other.len {
            return Err(Error::mismatch(format!(
                "expected both sides of a zip to have as many rows, found {} and {}",
                self.len, other.len
            )));
        }
        if let Some(field) =
            other.schema.fields().iter().find(|field| self.column_index(field.name()).is_ok())
        {
            return Err(Error::invalid(format!(
                "both sides of a zip have a column called '{}': rename one",
                field.name()
            )));
        }
        let fields: Vec<_> = self.schema.fields().iter().chain(other.schema.fields()).cloned().collect();
        let mut metadata = other.schema.metadata().clone();
        metadata.extend(self.schema.metadata().clone());
        if let (Some(ours), Some(theirs)) =
            (self.schema.metadata().get(hf::SCHEMA_KEY), other.schema.metadata().get(hf::SCHEMA_KEY))
        {
            metadata.insert(hf::SCHEMA_KEY.to_owned(), hf::joined(ours, theirs));
        }
        let shift = self.tables.len();
        let moved =
            other.columns.iter().map(|column| Column { table: column.table + shift, ..column.clone() });
        Ok(Dataset {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            columns: self.columns.iter().cloned().chain(moved).collect(),
            tables: self.tables.iter().chain(&other.tables).cloned().collect(),
            len: self.len,
        })
    }

    /// The rows of both, first this one's, then the other's. Columns are matched by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) if the other lacks a column of this one, has one more, or one
    /// of another type.
    pub fn concat(&self, other: &Dataset) -> Result<Dataset> {
        if let Some(field) =
            other.schema.fields().iter().find(|field| self.column_index(field.name()).is_err())
        {
            return Err(Error::mismatch(format!("only the other dataset has a column '{}'", field.name())));
        }
        if self.columns.len() < other.columns.len() {
            return Err(Error::mismatch(format!(
                "expected {} columns to concatenate with, found {}: some have one name",
                self.columns.len(),
                other.columns.len()
            )));
        }
        // Each pair of tables that some column joins becomes one table.
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        let mut columns = Vec::with_capacity(self.columns.len());
        // For each pair, its columns as (column in the first table, column in the second).
        let mut joined: Vec<Vec<(usize, usize)>> = Vec::new();
        for (field, ours) in self.schema.fields().iter().zip(&self.columns) {
            let index = other.schema.fields().iter().position(|theirs| theirs.name() == field.name());
            let index = index.ok_or_else(|| {
                Error::mismatch(format!("the other dataset has no column '{}'", field.name()))
            })?;
            let (their_field, theirs) = (&other.schema.fields()[index], &other.columns[index]);
            if their_field.data_type() != field.data_type() || theirs.kind != ours.kind {
                return Err(Error::mismatch(format!(
                    "expected column '{}' to be {}, found {}",
                    field.name(),
                    field.data_type(),
                    their_field.data_type()
                )));
            }
            let pair = (ours.table, theirs.table);
            let table = pairs.iter().position(|&known| known == pair).unwrap_or_else(|| {
                pairs.push(pair);
                joined.push(Vec::new());
                pairs.len() - 1
            });
            joined[table].push((ours.index, theirs.index));
            columns.push(Column { table, index: joined[table].len() - 1, kind: ours.kind.clone() });
        }
        let tables = pairs.iter().zip(&joined).map(|(&(first, second), columns)| {
            let (first, second) = (&self.tables[first], &other.tables[second]);
            let ours: Vec<_> = columns.iter().map(|&(ours, _)| ours).collect();
            let theirs: Vec<_> = columns.iter().map(|&(_, theirs)| theirs).collect();
            let shards = first.shards.iter().chain(second.shards.iter()).cloned().collect();
            let chunks = first.chunks.iter().map(|chunk| project(chunk, &ours));
            let chunks = chunks.chain(second.chunks.iter().map(|chunk| project(chunk, &theirs))).collect();
            let second_base = first.directory.len();
            let rows = Rows::Concat { first: first.rows.clone(), second: second.rows.clone(), second_base };
            let budget = first.decoded.budget_bytes().saturating_add(second.decoded.budget_bytes());
            let table = Table::new(shards, chunks, super::decoded::DecodedChunks::new(budget))?;
            // All rows of both are all rows, as they come.
            let all = |table: &Table| matches!(*table.rows, Rows::All { .. });
            Ok(if all(first) && all(second) { table } else { table.with_rows(rows) })
        });
        let fields: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let theirs =
                    other.schema.field_with_name(field.name()).is_ok_and(|theirs| theirs.is_nullable());
                Arc::new(field.as_ref().clone().with_nullable(field.is_nullable() || theirs))
            })
            .collect();
        Ok(Dataset {
            schema: Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone())),
            tables: tables.collect::<Result<_>>()?,
            columns,
            len: self.len + other.len,
        })
    }
}

/// The same chunk, its table's columns those `columns` of before.
fn project(chunk: &Chunk, columns: &[usize]) -> Chunk {
    let shard_column = |&column: &usize| chunk.columns.as_ref().map_or(column, |map| map[column]);
    Chunk { columns: Some(columns.iter().map(shard_column).collect()), ..chunk.clone() }
}
