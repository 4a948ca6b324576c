//! `forebay inspect`, `forebay head` and `forebay verify`
#![forbid(unsafe_code)]

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::pretty::pretty_format_batches;
use clap::Args;
use forebay::convert::verify;
use forebay::dataset::ShardInfo;
use forebay::{Dataset, Error, ErrorKind, Preload, Result};
use serde_json::{Value, json};

use crate::args::SourceArgs;
use crate::source::{Bar, bytes, open};

/// Tell what a dataset or file holds, and how its rows are read.
///
/// For each file and its columns: whether rows are mapped (copied from where they lie), parsed (found by an index and decoded
/// one by one) or chunked (decoded a chunk at a time), and why.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Inspect {
    /// A dataset's folder, a file, a glob pattern, or name=path columns.
    #[arg(required = true)]
    sources: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// What the ways to read rows mean.
const WAYS: [(&str, &str); 3] = [
    ("mapped", "rows are copied from where they lie in the file"),
    ("parsed", "rows are found by an index, and decoded one by one"),
    ("chunked", "a whole chunk is decoded before a row of it can be read; convert it for random access"),
];

impl Inspect {
    pub fn run(self) -> Result<ExitCode> {
        let dataset = open(&self.sources, &self.source, Preload::No)?;
        let shards = dataset.shards()?;
        if self.json {
            println!("{}", describe(&dataset, &shards)?);
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "{} rows, {} files, fingerprint {:016x}",
            dataset.len(),
            shards.len(),
            dataset.fingerprint()
        );
        println!("\ncolumns");
        for field in dataset.schema().fields() {
            let kind = dataset.column_kind(field.name())?;
            let nullable = if field.is_nullable() { ", may be null" } else { "" };
            println!("  {}: {kind} ({}{nullable})", field.name(), field.data_type());
            if let Some(names) = dataset.class_names(field.name())? {
                println!("    classes: {}", names.join(", "));
            }
        }
        println!("\nfiles");
        let mut ways = Vec::new();
        for shard in &shards {
            let path = shard.path.as_ref().map_or("in memory".into(), |path| path.display().to_string());
            let size = bytes(file_bytes(shard));
            println!("  {path}: {} rows in {} chunks, {size}", shard.num_rows, shard.num_chunks);
            for (how, columns) in by_access(shard) {
                println!("    {how}: {}", columns.join(", "));
                ways.extend(WAYS.iter().filter(|(way, _)| how.starts_with(way)));
            }
        }
        println!();
        for (way, meaning) in WAYS.iter().filter(|way| ways.contains(way)) {
            println!("{way}: {meaning}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The ways in which the columns of a file are read, and the columns read in each.
fn by_access(shard: &ShardInfo) -> Vec<(&str, Vec<&str>)> {
    let mut access: Vec<(&str, Vec<&str>)> = Vec::new();
    for (column, how) in &shard.access {
        match access.iter_mut().find(|(known, _)| known == how) {
            Some((_, columns)) => columns.push(column),
            None => access.push((how, vec![column])),
        }
    }
    access
}

fn file_bytes(shard: &ShardInfo) -> u64 {
    shard.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len())
}

fn describe(dataset: &Dataset, shards: &[ShardInfo]) -> Result<Value> {
    let fields = dataset.schema().fields().iter().map(|field| {
        let mut described = json!({
            "name": field.name(),
            "kind": dataset.column_kind(field.name())?.to_string(),
            "type": field.data_type().to_string(),
            "nullable": field.is_nullable(),
        });
        if let Some(names) = dataset.class_names(field.name())? {
            described["classes"] = json!(names);
        }
        Ok(described)
    });
    let files = shards.iter().map(|shard| {
        let access = by_access(shard).into_iter();
        let access = access.map(|(how, columns)| {
            let (way, why) = how.split_once(" (").unwrap_or((how, ""));
            json!({ "how": way, "why": why.trim_end_matches(')'), "columns": columns })
        });
        json!({
            "path": shard.path,
            "rows": shard.num_rows,
            "chunks": shard.num_chunks,
            "bytes": file_bytes(shard),
            "access": access.collect::<Vec<_>>(),
        })
    });
    Ok(json!({
        "rows": dataset.len(),
        "fingerprint": format!("{:016x}", dataset.fingerprint()),
        "columns": fields.collect::<Result<Vec<_>>>()?,
        "files": files.collect::<Vec<_>>(),
    }))
}

/// Print the first rows as a table, or as JSON lines.
///
/// In JSON a tensor is a flat list, bytes are hexadecimal digits, dates and times are text (ISO 8601), and a float that is
/// no number is null.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Head {
    /// A dataset's folder, a file, a glob pattern, or name=path columns.
    #[arg(required = true)]
    sources: Vec<String>,
    /// How many rows.
    #[arg(short = 'n', long, default_value_t = 10)]
    rows: u64,
    /// Columns to print, in this order; all where none is named.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    columns: Vec<String>,
    /// Print a JSON object for each row, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Head {
    pub fn run(self) -> Result<ExitCode> {
        let mut dataset = open(&self.sources, &self.source, Preload::No)?;
        if !self.columns.is_empty() {
            dataset = dataset.select(self.columns.iter().map(String::as_str))?;
        }
        let rows: Vec<u64> = (0..self.rows.min(dataset.len())).collect();
        let batch = dataset.gather(&rows)?;
        let unprintable = |e: ArrowError| {
            Error::new(ErrorKind::Unsupported, format!("the rows cannot be printed: {e}")).with_source(e)
        };
        let mut text = if self.json {
            json_lines(&batch).map_err(unprintable)?
        } else {
            pretty_format_batches(&[batch]).map_err(unprintable)?.to_string().into_bytes()
        };
        if !self.json {
            text.push(b'\n');
        }
        // Whoever reads may have seen enough.
        let _ = stdout().write_all(&text);
        Ok(ExitCode::SUCCESS)
    }
}

fn json_lines(batch: &RecordBatch) -> std::result::Result<Vec<u8>, ArrowError> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Compare every record batch of a dataset with its checksum. Exits with 1 if one differs.
#[derive(Args)]
pub struct Verify {
    /// The dataset's folder.
    folder: PathBuf,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode> {
        let bar = Bar::new("verifying");
        let mut read = 0;
        let damages = verify(&self.folder, |progress| {
            read = progress.bytes_done;
            bar.show(progress);
        })?;
        bar.finish();
        for damage in &damages {
            eprintln!("{damage}");
        }
        if damages.is_empty() {
            println!("{}: whole ({} of record batches)", self.folder.display(), bytes(read));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}: {} damages", self.folder.display(), damages.len());
        Ok(ExitCode::FAILURE)
    }
}
