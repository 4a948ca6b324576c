//! `forebay adopt`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use forebay::Result;
use forebay::convert::{AdoptOptions, adopt};

use crate::args::SourceArgs;
use crate::source::{Bar, bytes};

/// Make a dataset of Arrow or Parquet files where they lie.
///
/// Writes dataset.json into the folder and nothing else: the files, in bytewise order of their names, are its shards. Each is
/// read once, for the checksums that `verify` compares with. To undo it, remove dataset.json.
///
///   forebay adopt lake/
///   forebay adopt lake/ 'part-*.arrow'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Adopt {
    /// The folder.
    folder: PathBuf,
    /// Names of files in it, or patterns for them; every Arrow and Parquet file where none is given.
    files: Vec<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Adopt {
    pub fn run(self) -> Result<ExitCode> {
        let options = AdoptOptions::new().files(self.files).open_with(self.source.options()?);
        let bar = Bar::new("adopting");
        let adopted = adopt(&self.folder, &options, |progress| bar.show(progress))?;
        bar.finish();
        println!(
            "{}: {} rows in {} files ({})",
            self.folder.display(),
            adopted.rows,
            adopted.shards,
            bytes(adopted.bytes)
        );
        Ok(ExitCode::SUCCESS)
    }
}
