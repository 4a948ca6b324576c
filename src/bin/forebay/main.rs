//! The helper binary: turns files into datasets, looks inside, and finds out who is slow.
#![forbid(unsafe_code)]

mod adopt;
mod args;
mod bad_records;
mod bench;
mod convert;
#[cfg(feature = "cuda")]
mod device;
mod index;
mod look;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Feeds training loops: convert files to sharded Arrow, look inside, measure.
///
///   forebay head train.csv --json -n 3
///   forebay convert 'raw/train-*.tfrecord' train/ --shard-size 256MiB
///   forebay convert image=train-images-idx3-ubyte.gz label=train-labels-idx1-ubyte.gz mnist/
///   forebay inspect mnist/
///   forebay bench mnist/ --batch-size 256 --shuffle exact
#[derive(Parser)]
#[command(version, verbatim_doc_comment, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0, done; 1, failed, or `verify` found damage; 2, wrong usage.\nWhat failed is said on \
standard error, with file, record and byte where they are known.";

#[derive(Subcommand)]
enum Command {
    Convert(convert::Convert),
    Adopt(adopt::Adopt),
    Index(index::Index),
    Inspect(look::Inspect),
    Verify(look::Verify),
    Head(look::Head),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Convert(command) => command.run(),
        Command::Adopt(command) => command.run(),
        Command::Index(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Head(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("forebay: {error}");
            ExitCode::FAILURE
        }
    }
}
