//! `forebay index`
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use forebay::Result;

use crate::args::SourceArgs;
use crate::source::{ScanBar, bytes};

/// Write index files beside CSV, TFRecord and text files, so that they open at once.
///
/// Without one, a file is scanned for its records each time it is opened. The index of train.csv is
/// train.csv.forebay-index, 8 bytes a record; it is used as long as the file stays as it is.
///
///   forebay index 'raw/train-*.tfrecord'
///   forebay index clicks.csv --delimiter ';'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Index {
    /// Files or glob patterns.
    #[arg(required = true)]
    sources: Vec<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Index {
    pub fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        let scan = ScanBar::new();
        let options = self.source.options()?.on_scan({
            let scan = scan.clone();
            move |progress| scan.show(progress)
        });
        let written = options.write_index(&self.sources[..]);
        scan.finish();
        let written = written?;
        for path in &written {
            println!("{}: {}", path.display(), bytes(path.metadata().map_or(0, |metadata| metadata.len())));
        }
        match written.len() {
            0 => println!("nothing to index: files of these formats are read where they lie"),
            n => println!("{n} index files, {:.1} s", started.elapsed().as_secs_f64()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
