//! How files are opened.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::scan::{Listener, ScanProgress};
use crate::error::Result;
use crate::format::{Checksums, CsvOptions, ExampleSpec, FileFormat, FixedSpec, TokenSpec};
use crate::map::{Guard, Immutable, MapOptions, Preload};

use super::{Dataset, Source};

/// Options for opening a dataset; [`Dataset::open`] takes all defaults.
///
/// ```no_run
/// use forebay::{Dataset, format::FixedSpec};
///
/// # fn main() -> forebay::Result<()> {
/// let spec: FixedSpec = "label:u8,image:u8[3,32,32]".parse()?;
/// let cifar = Dataset::options().fixed(spec).open("cifar-10/data_batch_*.bin")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenOptions {
    pub(super) format: Option<FileFormat>,
    pub(super) fixed: Option<FixedSpec>,
    pub(super) tokens: Option<TokenSpec>,
    pub(super) windows: Option<(u64, u64)>,
    pub(super) csv: Option<CsvOptions>,
    pub(super) examples: Option<ExampleSpec>,
    pub(super) raw_records: bool,
    pub(super) checksums: Checksums,
    pub(super) use_index: bool,
    pub(super) listener: Listener,
    pub(super) column_name: Option<String>,
    pub(super) map: MapOptions,
    pub(super) preload: Preload,
    pub(super) decode_budget_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            format: None,
            fixed: None,
            tokens: None,
            windows: None,
            csv: None,
            examples: None,
            raw_records: false,
            checksums: Checksums::default(),
            use_index: true,
            listener: Listener::default(),
            column_name: None,
            map: MapOptions::default(),
            preload: Preload::No,
            decode_budget_bytes: 1 << 30,
        }
    }
}

impl OpenOptions {
    /// The files hold records of one length, laid out as `spec` says. Such files carry no mark by which
    /// they could be recognised.
    pub fn fixed(mut self, spec: FixedSpec) -> Self {
        self.fixed = Some(spec);
        self
    }

    /// The files are of this format, whatever they look like; compressed ones once they are inflated.
    pub fn format(mut self, format: FileFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// The files are runs of tokens, cut into windows as `spec` says. Such files carry no mark either.
    pub fn tokens(mut self, spec: TokenSpec) -> Self {
        self.tokens = Some(spec);
        self
    }

    /// Indexed token files (Megatron-LM) are cut into windows of `seq_len` tokens, one every `stride` tokens, without regard
    /// to where a document ends. Default: a row is a document.
    pub fn windows(mut self, seq_len: u64, stride: u64) -> Self {
        self.windows = Some((seq_len, stride));
        self
    }

    /// How CSV files are read. Files that no content or name says to be of another format are CSV then.
    pub fn csv(mut self, options: CsvOptions) -> Self {
        self.csv = Some(options);
        self
    }

    /// The features of the examples in TFRecord files. Default: those of the first records.
    pub fn examples(mut self, spec: ExampleSpec) -> Self {
        self.examples = Some(spec);
        self
    }

    /// The payloads of TFRecord files as they are: one column of bytes, `record`.
    pub fn raw_records(mut self) -> Self {
        self.raw_records = true;
        self
    }

    /// When the checksums of TFRecord files are looked at. Default: the first time a record is read.
    pub fn checksums(mut self, when: Checksums) -> Self {
        self.checksums = when;
        self
    }

    /// Whether an index file beside a CSV, TFRecord or text file is used. Default: yes, if it belongs to the file as it is.
    pub fn use_index(mut self, used: bool) -> Self {
        self.use_index = used;
        self
    }

    /// Tells `listen` how far it is when a file without an index has to be scanned; from whichever thread.
    pub fn on_scan(mut self, listen: impl Fn(ScanProgress<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// The name of the column of files that hold one unnamed column. Default: `data`, or what the format calls it
    /// (`tokens`, `text`, `record`).
    pub fn column_name(mut self, name: impl Into<String>) -> Self {
        self.column_name = Some(name.into());
        self
    }

    /// Opens the zero-copy door: batches of contiguous rows are lent from the map instead of copied.
    ///
    /// The promise is made where the token is: [`Immutable::promise`].
    pub fn immutable(mut self, promise: Immutable) -> Self {
        self.map = self.map.promise(promise);
        self
    }

    /// Whether a file that is cut short while it is mapped becomes an error ([`Guard::On`], the default on
    /// Linux) or a SIGBUS.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.map = self.map.guard(guard);
        self
    }

    /// What is brought into memory before the first batch. Default: nothing.
    pub fn preload(mut self, preload: Preload) -> Self {
        self.preload = preload;
        self
    }

    /// Bytes that chunks which must be decoded (compressed Arrow, types without a kernel) may take once
    /// decoded. Default: 1 GiB.
    pub fn decode_budget_bytes(mut self, bytes: u64) -> Self {
        self.decode_budget_bytes = bytes;
        self
    }

    /// Writes an index file beside each CSV, TFRecord and text file of `source`, so that opening it again needs no scan;
    /// files of other formats need none. Returns the index files.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`ErrorKind::Io`](crate::ErrorKind::Io) if a file cannot be written.
    pub fn write_index(&self, source: impl Source) -> Result<Vec<PathBuf>> {
        super::open::write_index(&source.into_paths(), &self.clone().use_index(false))
    }

    /// Opens `source`: see [`Dataset::open`].
    pub fn open(&self, source: impl Source) -> Result<Dataset> {
        super::open::open(&source.into_paths(), self)
    }

    /// Opens a file that is in memory already: `bytes`, which are not copied. `name` stands for its path: it says what the
    /// content does not (`train.csv` is CSV), and errors name it; no file of that name is looked for.
    ///
    /// ```
    /// let csv = b"label,size\ncat,4\ndog,7\n".to_vec();
    /// let pets = forebay::Dataset::options().open_bytes("pets.csv", csv)?;
    /// assert_eq!(pets.len(), 2);
    /// # Ok::<(), forebay::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `Unsupported` for the index of a token file, which is of no use without the other file.
    pub fn open_bytes(&self, name: impl AsRef<str>, bytes: Vec<u8>) -> Result<Dataset> {
        super::open::open_bytes(name.as_ref(), bytes, self)
    }
}
