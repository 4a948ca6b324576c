//! `forebay convert`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use forebay::convert::{ConvertOptions, convert};
use forebay::{Error, ErrorKind, Preload, Result};

use crate::source::{Bar, FixedArgs, bytes, open};

/// Write files as a dataset of sharded Arrow.
///
/// Sources are paths or glob patterns, one after another, or name=path columns side by side:
///
///   forebay convert 'parts/*.arrow' train/ --shard-size 256MiB
///   forebay convert image=train-images-idx3-ubyte.gz label=train-labels-idx1-ubyte.gz mnist/
///   forebay convert 'cifar/data_batch_*.bin' cifar10/ --fixed label:u8,image:u8[3,32,32]
///
/// A conversion that was interrupted leaves no dataset; the same command run again goes on where it stopped.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Convert {
    /// What to read, and last the folder to write.
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "FOLDER"])]
    paths: Vec<String>,
    /// About how large a shard becomes.
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    shard_size: String,
    #[command(flatten)]
    fixed: FixedArgs,
}

impl Convert {
    pub fn run(self) -> Result<ExitCode> {
        let (folder, sources) = self.paths.split_last().expect("clap asks for two at least");
        let shard_size: bytesize::ByteSize = self.shard_size.parse().map_err(|e| {
            let message = format!("'{}' is no size ({e}): expected one like 256MiB", self.shard_size);
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        let dataset = open(sources, &self.fixed, Preload::No)?;
        let started = Instant::now();
        let bar = Bar::new("converting");
        let options = ConvertOptions::new().shard_bytes(shard_size.as_u64());
        let converted = convert(&dataset, PathBuf::from(folder), &options, |progress| bar.show(progress))?;
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
        Ok(ExitCode::SUCCESS)
    }
}
