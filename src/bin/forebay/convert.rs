//! `forebay convert`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, CommandFactory};
use forebay::convert::{ConvertOptions, convert};
use forebay::{DType, Preload, Result};

use crate::args::SourceArgs;
use crate::bad_records::BadRecordArgs;
use crate::source::{Bar, bytes, open, parse_bytes};

/// Write files as a dataset of sharded Arrow.
///
/// Sources are paths or glob patterns, one after another, or name=path columns side by side:
///
///   forebay convert 'parts/*.arrow' train/ --shard-size 256MiB
///   forebay convert image=train-images-idx3-ubyte.gz label=train-labels-idx1-ubyte.gz mnist/
///   forebay convert 'cifar/data_batch_*.bin' cifar10/ --fixed label:u8,image:u8[3,32,32]
///
/// Columns are chosen, renamed, cast, and laid side by side into one tensor. A name with `*` or `?` stands for all columns it
/// matches; the name of a stack, in --cast and --fill, for all of its columns:
///
///   forebay convert clicks.arrow clicks/ --columns label,features --stack features=x1,x2,x3 --cast features=f32
///   forebay convert wide.arrow wide/ --stack 'features=x*' --cast 'x*=f32' --fill features=0 --rename y=label
///
/// Rows are written in a random order, so that reading in order is a shuffle:
///
///   forebay convert train/ shuffled/ --shuffle --shuffle-seed 7 --shards 16
///
/// Records that cannot be read are left out, and listed in bad-records.jsonl with file, record, byte and reason:
///
///   forebay convert raw.arrow clean/ --on-bad-record skip --max-bad-records 1000
///
/// A conversion that was interrupted leaves no dataset; the same command run again goes on where it stopped, and ends with
/// the same bytes.
#[derive(Args)]
#[command(verbatim_doc_comment, override_usage = "forebay convert [OPTIONS] <SOURCE>... <FOLDER>")]
pub struct Convert {
    /// What to read, and last the folder to write.
    // Flags may stand between them, and clap counts the values on either side by themselves.
    #[arg(required = true, num_args = 1.., value_name = "SOURCE... FOLDER")]
    paths: Vec<String>,
    /// Columns to write, in this order; all where none is named.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    columns: Vec<String>,
    /// Write a column under another name.
    #[arg(long, value_name = "OLD=NEW", value_parser = renamed)]
    rename: Vec<(String, String)>,
    /// Write the elements of a column as bool, u8 … u64, i8 … i64, f16, f32 or f64.
    #[arg(long, value_name = "COLUMN=TYPE", value_parser = cast)]
    cast: Vec<(String, DType)>,
    /// Write a value where a column is null.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = filled)]
    fill: Vec<(String, f64)>,
    /// Lay columns side by side into one tensor column, which takes their place.
    #[arg(long, value_name = "NAME=COLUMNS", value_parser = stacked)]
    stack: Vec<(String, Vec<String>)>,
    /// Write the rows in a random order.
    #[arg(long)]
    shuffle: bool,
    /// The seed of that order; 0 where none is given. Implies --shuffle.
    #[arg(long, value_name = "SEED")]
    shuffle_seed: Option<u64>,
    /// About how large a shard becomes; 256MiB where nothing is said.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "shards")]
    shard_size: Option<u64>,
    /// Exactly how many shards there are.
    #[arg(long, value_name = "NUMBER")]
    shards: Option<u64>,
    /// Threads that read and lay out rows; as many as there are cores where nothing is said.
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    bad_records: BadRecordArgs,
    #[command(flatten)]
    source: SourceArgs,
}

impl Convert {
    pub fn run(self) -> Result<ExitCode> {
        let Some((folder, sources)) = self.paths.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            let message = "expected what to read, and last the folder to write";
            crate::Cli::command().error(clap::error::ErrorKind::TooFewValues, message).exit();
        };
        let dataset = open(sources, &self.source, Preload::No)?;
        let started = Instant::now();
        let bar = Bar::new("converting");
        let converted = convert(&dataset, PathBuf::from(folder), &self.options(), |done| bar.show(done))?;
        bar.finish();
        let found = match converted.shards_found {
            0 => String::new(),
            n => format!(", {n} of them found finished"),
        };
        println!(
            "{folder}: {} rows in {} shards ({}{found}), {:.1} s",
            converted.rows,
            converted.shards,
            bytes(converted.bytes),
            started.elapsed().as_secs_f64()
        );
        if converted.skipped > 0 {
            println!(
                "{} bad records were left out: {folder}/bad-records.jsonl lists them",
                converted.skipped
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> ConvertOptions {
        let mut options = ConvertOptions::new().on_bad_record(self.bad_records.policy());
        if !self.columns.is_empty() {
            options = options.columns(&self.columns);
        }
        for (name, columns) in &self.stack {
            options = options.stack(name, columns);
        }
        for (column, dtype) in &self.cast {
            options = options.cast(column, *dtype);
        }
        for (column, value) in &self.fill {
            options = options.fill(column, *value);
        }
        for (from, to) in &self.rename {
            options = options.rename(from, to);
        }
        if self.shuffle || self.shuffle_seed.is_some() {
            options = options.shuffle(self.shuffle_seed.unwrap_or(0));
        }
        if let Some(bytes) = self.shard_size {
            options = options.shard_bytes(bytes);
        }
        if let Some(shards) = self.shards {
            options = options.num_shards(shards);
        }
        if let Some(threads) = self.threads {
            options = options.threads(threads);
        }
        options
    }
}

type Parsed<T> = std::result::Result<T, String>;

/// `name=value`; names may hold a `=`, values may not.
fn pair<'a>(text: &'a str, expected: &str) -> Parsed<(String, &'a str)> {
    let pair = text.rsplit_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value)).ok_or_else(|| format!("expected {expected}"))
}

fn renamed(text: &str) -> Parsed<(String, String)> {
    pair(text, "old=new").map(|(old, new)| (old, new.to_owned()))
}

fn cast(text: &str) -> Parsed<(String, DType)> {
    let (column, dtype) = pair(text, "column=type, as in x=f32")?;
    Ok((column, dtype.parse().map_err(|e: forebay::Error| e.message().to_owned())?))
}

fn filled(text: &str) -> Parsed<(String, f64)> {
    let (column, value) = pair(text, "column=value, as in age=-1")?;
    Ok((column, value.parse().map_err(|_| format!("'{value}' is no number"))?))
}

fn stacked(text: &str) -> Parsed<(String, Vec<String>)> {
    // The name of the stack is the user's own; those of columns may hold anything but a comma.
    let (name, columns) = text.split_once('=').ok_or("expected name=columns, as in features=x1,x2")?;
    let columns: Vec<_> = columns.split(',').map(str::to_owned).collect();
    if name.is_empty() || columns.iter().any(String::is_empty) {
        return Err("expected name=columns, as in features=x1,x2".to_owned());
    }
    Ok((name.to_owned(), columns))
}
