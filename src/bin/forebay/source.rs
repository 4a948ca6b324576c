//! What every command opens, and how progress is shown.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use forebay::convert::Progress;
use forebay::format::FixedSpec;
use forebay::{Dataset, Error, ErrorKind, OpenOptions, Preload, Result};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How sources are read: the options of every format, the same in every command.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    #[command(flatten)]
    fixed: FixedArgs,
}

impl SourceArgs {
    pub fn options(&self) -> Result<OpenOptions> {
        self.fixed.apply(Dataset::options())
    }
}

/// How files that say nothing of themselves are read.
#[derive(Args, Clone, Debug)]
struct FixedArgs {
    /// Files hold records of one length, with these fields: name:type[shape], … as in label:u8,image:u8[28,28].
    /// `>` before the type means big-endian, `@n` behind it the byte of the record it begins at.
    #[arg(long, value_name = "FIELDS")]
    fixed: Option<String>,
    /// Bytes of one record, where they are more than its fields.
    #[arg(long, value_name = "BYTES", requires = "fixed")]
    record_bytes: Option<u64>,
    /// Bytes before the first record.
    #[arg(long, value_name = "BYTES", requires = "fixed", default_value_t = 0)]
    header_bytes: u64,
    /// Bytes after the last record.
    #[arg(long, value_name = "BYTES", requires = "fixed", default_value_t = 0)]
    footer_bytes: u64,
    /// Bytes from one record to the next, where records overlap or lie apart.
    #[arg(long, value_name = "BYTES", requires = "fixed", default_value_t = 0)]
    hop_bytes: u64,
}

impl FixedArgs {
    fn apply(&self, options: OpenOptions) -> Result<OpenOptions> {
        let Some(fields) = &self.fixed else { return Ok(options) };
        let mut spec: FixedSpec = fields.parse()?;
        if let Some(bytes) = self.record_bytes {
            spec = spec.record_bytes(bytes);
        }
        let spec =
            spec.header_bytes(self.header_bytes).footer_bytes(self.footer_bytes).hop_bytes(self.hop_bytes);
        Ok(options.fixed(spec))
    }
}

/// Opens `sources`: paths and patterns one after another, or `name=path` columns side by side.
pub fn open(sources: &[String], args: &SourceArgs, preload: Preload) -> Result<Dataset> {
    let options = args.options()?.preload(preload);
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
