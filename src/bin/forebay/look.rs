//! `forebay inspect`, `forebay head` and `forebay verify`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use arrow::util::pretty::pretty_format_batches;
use clap::Args;
use forebay::convert::verify;
use forebay::{Error, ErrorKind, Preload, Result};

use crate::source::{Bar, FixedArgs, bytes, open};

/// Tell what a dataset or file holds, and how its rows are read.
#[derive(Args)]
pub struct Inspect {
    /// A dataset's folder, a file, a glob pattern, or name=path columns.
    #[arg(required = true)]
    sources: Vec<String>,
    #[command(flatten)]
    fixed: FixedArgs,
}

impl Inspect {
    pub fn run(self) -> Result<ExitCode> {
        let dataset = open(&self.sources, &self.fixed, Preload::No)?;
        let shards = dataset.shards()?;
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
        }
        println!("\nfiles");
        for shard in shards {
            let path = shard.path.as_ref().map_or("in memory".into(), |path| path.display().to_string());
            let size = shard
                .path
                .as_ref()
                .and_then(|path| path.metadata().ok())
                .map_or(0, |metadata| metadata.len());
            println!("  {path}: {} rows in {} chunks, {}", shard.num_rows, shard.num_chunks, bytes(size));
            let mut access: Vec<(&str, Vec<&str>)> = Vec::new();
            for (column, how) in &shard.access {
                match access.iter_mut().find(|(known, _)| known == how) {
                    Some((_, columns)) => columns.push(column),
                    None => access.push((how, vec![column])),
                }
            }
            for (how, columns) in access {
                println!("    {how}: {}", columns.join(", "));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Print the first rows as a table.
#[derive(Args)]
pub struct Head {
    /// A dataset's folder, a file, a glob pattern, or name=path columns.
    #[arg(required = true)]
    sources: Vec<String>,
    /// How many rows.
    #[arg(short = 'n', long, default_value_t = 10)]
    rows: u64,
    #[command(flatten)]
    fixed: FixedArgs,
}

impl Head {
    pub fn run(self) -> Result<ExitCode> {
        let dataset = open(&self.sources, &self.fixed, Preload::No)?;
        let rows: Vec<u64> = (0..self.rows.min(dataset.len())).collect();
        let batch = dataset.gather(&rows)?;
        let table = pretty_format_batches(&[batch]).map_err(|e| {
            Error::new(ErrorKind::Unsupported, format!("the rows cannot be printed: {e}")).with_source(e)
        })?;
        println!("{table}");
        Ok(ExitCode::SUCCESS)
    }
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
