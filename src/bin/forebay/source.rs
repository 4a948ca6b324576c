//! What every command opens, and how progress is shown.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay::convert::Progress;
use forebay::dataset::ScanProgress;
use forebay::{Dataset, Error, ErrorKind, OpenOptions, Preload, Result};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::args::SourceArgs;

/// Opens `sources`: paths and patterns one after another, or `name=path` columns side by side.
pub fn open(sources: &[String], args: &SourceArgs, preload: Preload) -> Result<Dataset> {
    let scan = ScanBar::new();
    let options = args.options()?.preload(preload).on_scan({
        let scan = scan.clone();
        move |progress| scan.show(progress)
    });
    let opened = open_with(sources, options);
    scan.finish();
    opened
}

fn open_with(sources: &[String], options: OpenOptions) -> Result<Dataset> {
    let named: Vec<_> = sources.iter().map(|source| split_name(source)).collect();
    if named.iter().all(Option::is_none) {
        return options.open(sources);
    }
    let mut all: Option<Dataset> = None;
    for (source, named) in sources.iter().zip(named) {
        let (name, path) = named.ok_or_else(|| {
            let message = format!("'{source}' has no name: either every source is name=path, or none is");
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        let mut column = options.clone().column_name(name).open(path)?;
        if let [only] = column.schema().fields().as_ref()
            && only.name() != name
        {
            column = column.rename(&only.name().clone(), name)?;
        }
        all = Some(match all {
            None => column,
            Some(all) => all.zip(&column)?,
        });
    }
    all.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "expected at least one source"))
}

/// `name=path`, unless a file of that whole name exists.
fn split_name(source: &str) -> Option<(&str, &str)> {
    let (name, path) = source.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    (is_name && !Path::new(source).exists()).then_some((name, path))
}

/// A bar over the bytes of a file that is scanned for its records; drawn only where somebody looks, and once it takes long.
#[derive(Clone)]
pub struct ScanBar(ProgressBar);

impl ScanBar {
    pub fn new() -> Self {
        let style = ProgressStyle::with_template(
            "scanning {msg} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}, {eta} left",
        );
        let bar = ProgressBar::no_length();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        ScanBar(bar)
    }

    pub fn show(&self, progress: ScanProgress<'_>) {
        // A scan that is over at once needs no bar.
        if progress.bytes_done < progress.bytes || self.0.length().is_some() {
            self.0.set_length(progress.bytes);
            self.0.set_position(progress.bytes_done);
            if let Some(name) = progress.path.and_then(Path::file_name) {
                self.0.set_message(name.to_string_lossy().into_owned());
            }
        }
    }

    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar over rows that shows rates and time left; drawn only where somebody looks.
pub struct Bar {
    bar: ProgressBar,
    /// When it was first shown, and what was done by then.
    began: Cell<Option<(Instant, Progress)>>,
}

impl Bar {
    pub fn new(doing: &'static str) -> Self {
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {human_pos}/{human_len} rows  {msg}  {elapsed}, {eta} left",
        );
        let bar = ProgressBar::new(0).with_prefix(doing);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar { bar, began: Cell::new(None) }
    }

    pub fn show(&self, progress: Progress) {
        self.bar.set_length(progress.rows);
        self.bar.set_position(progress.rows_done);
        let Some((began, before)) = self.began.get() else {
            // What was found done says nothing of the rate.
            self.began.set(Some((Instant::now(), progress)));
            self.bar.reset_eta();
            return;
        };
        let seconds = began.elapsed().as_secs_f64();
        if seconds > 0.0 {
            let rate = |done: u64, before: u64| ((done - before) as f64 / seconds) as u64;
            let rows = HumanCount(rate(progress.rows_done, before.rows_done));
            let bytes = bytes(rate(progress.bytes_done, before.bytes_done));
            self.bar.set_message(format!("{rows} rows/s, {bytes}/s"));
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// `n` bytes, as people write them.
pub fn bytes(n: u64) -> String {
    bytesize::ByteSize::b(n).to_string()
}

/// A size as people write it, as `256MiB`.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>();
    size.map(|size| size.as_u64()).map_err(|e| format!("{e}: expected a size like 256MiB"))
}
