//! How files are opened.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::scan::{Listener, ScanProgress};
use crate::error::Result;
use crate::format::{Checksums, CsvOptions, ExampleSpec, FileFormat, FixedSpec, TokenSpec};
use crate::map::{Guard, Immutable, MapOptions, Preload, Region};

use super::{Dataset, Source};

/// Options for opening a dataset; [`Dataset::open`] takes all defaults.
///
/// Each says what a file cannot say of itself, or how it is held in memory. What does not concern a file's format is passed
/// over by it: options for CSV do nothing to a Parquet file. All are checked when files are opened with them, by
/// [`open`](Self::open).
///
/// Records of one length, which carry no mark by which they could be recognised:
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
///
/// CSV whose columns are not to be guessed:
///
/// ```
/// use forebay::{Dataset, format::{CsvOptions, CsvType}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("pets.csv");
/// std::fs::write(&path, "name;width;height;class\nTom;3.5;4;1\nRex;NA;9;2\n")?;
/// let csv = CsvOptions::new()
///     .delimiter(b';')
///     .na_values(["NA"])
///     .column("class", CsvType::I32)
///     .default_value("width", 0.0)
///     .stack("size", ["width", "height"]);
/// let pets = Dataset::options().csv(csv).open(&path)?;
/// assert_eq!(pets.len(), 2);
/// assert_eq!(pets.column_kind("size")?.to_string(), "f64[2]");
/// assert_eq!(pets.column_kind("class")?.to_string(), "i32");
/// # Ok(())
/// # }
/// ```
///
/// TFRecord files of examples, of which one feature is wanted, and may be missing:
///
/// ```
/// use forebay::{Dataset, format::{ExampleSpec, FeatureType}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("train.tfrecord");
/// # std::fs::write(&path, b"%\x00\x00\x00\x00\x00\x00\x00\xea\xbc6\xf3\x0a#\x0a\x11\x0a\x01x\x12\x0c\x12\x0a\
/// #     \x0a\x08\x00\x00\x80?\x00\x00\x00@\x0a\x0e\x0a\x05label\x12\x05\x1a\x03\x0a\x01\x034\xcdr\xc8%\x00\x00\x00\
/// #     \x00\x00\x00\x00\xea\xbc6\xf3\x0a#\x0a\x11\x0a\x01x\x12\x0c\x12\x0a\x0a\x08\x00\x00\x00?\x00\x00\x80>\
/// #     \x0a\x0e\x0a\x05label\x12\x05\x1a\x03\x0a\x01\x07\x1d-\xc6\xc7")?;
/// let all = Dataset::open(&path)?; // features as the first records have them
/// assert_eq!(all.column_kind("label")?.to_string(), "i64");
/// let spec = ExampleSpec::new().fixed_len("x", FeatureType::F32, [2]).fixed_len_or("weight", [], 1.0);
/// let some = Dataset::options().examples(spec).open(&path)?;
/// assert_eq!((some.len(), some.schema().fields().len()), (2, 2));
/// # Ok(())
/// # }
/// ```
///
/// Tokens, cut into windows of 5 that overlap by one:
///
/// ```
/// use forebay::{DType, Dataset, format::TokenSpec};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("train.bin");
/// let tokens: Vec<u8> = (0..100u16).flat_map(u16::to_le_bytes).collect();
/// std::fs::write(&path, tokens)?;
/// let windows = Dataset::options().tokens(TokenSpec::new(DType::U16, 5).stride(4)).open(&path)?;
/// assert_eq!(windows.len(), 24);
/// assert_eq!(windows.column_kind("tokens")?.to_string(), "u16[5]");
/// assert_eq!(windows.shards()?[0].access[0].1, "mapped (3 tokens left over at the end)");
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
    /// What is opened, in words: whose a shared copy is.
    source: Arc<str>,
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
            source: "".into(),
            decode_budget_bytes: 1 << 30,
        }
    }
}

impl OpenOptions {
    /// The files are of this format, whatever they look like; compressed ones once they are inflated. Default: as their
    /// content says, else as their names do.
    ///
    /// [`FileFormat::Gzip`] and [`FileFormat::Zstd`] say nothing of what is inside, and are refused as `Unsupported`.
    pub fn format(mut self, format: FileFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// The files hold records of one length, laid out as `spec` says; this goes before all else that is said of them. Such
    /// files carry no mark by which they could be recognised, and are compressed only if their names say so (`.gz`,
    /// `.zst`).
    ///
    /// Opening errs with `Malformed` for a file that is not a whole number of records.
    pub fn fixed(mut self, spec: FixedSpec) -> Self {
        self.fixed = Some(spec);
        self
    }

    /// The files are runs of tokens, cut into windows as `spec` says: one column `tokens`, unless
    /// [`column_name`](Self::column_name) says otherwise. Such files carry no mark either.
    ///
    /// How many tokens the last window leaves over is in [`ShardInfo::access`](super::ShardInfo::access). Opening errs
    /// with `InvalidArgument` for windows of no tokens, with `Malformed` for a part of a token at the end.
    pub fn tokens(mut self, spec: TokenSpec) -> Self {
        self.tokens = Some(spec);
        self
    }

    /// Indexed token files (Megatron-LM) are cut into windows of `seq_len` tokens, at least one, the first of each
    /// `stride` tokens behind that of the one before (0 means `seq_len`), without regard to where a document ends. Default:
    /// a row is a document.
    ///
    /// Opening errs with `InvalidArgument` for windows of no tokens, and for files that are no index of tokens; with
    /// `Unsupported` where the tokens of an index do not lie one after another.
    pub fn windows(mut self, seq_len: u64, stride: u64) -> Self {
        self.windows = Some((seq_len, stride));
        self
    }

    /// How CSV files are read. Default: [`CsvOptions::new`], with tabs between the fields of a `.tsv`. Files that no
    /// content says to be of another format are CSV then, if their names say nothing, or text.
    pub fn csv(mut self, options: CsvOptions) -> Self {
        self.csv = Some(options);
        self
    }

    /// The features of the examples in TFRecord files. Default: all that the first records have (1,000 of them, or those
    /// of 8 MiB), of the first file of a list.
    ///
    /// Opening errs with what [`ExampleSpec::check`] says; a record that the features do not fit is `Malformed` when it is
    /// read.
    pub fn examples(mut self, spec: ExampleSpec) -> Self {
        self.examples = Some(spec);
        self
    }

    /// The payloads of TFRecord files as they are, whatever [`examples`](Self::examples) says: one column of bytes,
    /// `record`. Default: so only where the first payload is no example.
    pub fn raw_records(mut self) -> Self {
        self.raw_records = true;
        self
    }

    /// When the checksums of TFRecord payloads are looked at. Default: [`Checksums::FirstTouch`], the first time a record
    /// is read. Those of the lengths are looked at whenever a file is scanned.
    pub fn checksums(mut self, when: Checksums) -> Self {
        self.checksums = when;
        self
    }

    /// The name of the column of files that hold one unnamed column. Default: `data`, or what the format calls it
    /// (`tokens`, `text`, `record`).
    pub fn column_name(mut self, name: impl Into<String>) -> Self {
        self.column_name = Some(name.into());
        self
    }

    /// Whether an index file beside a CSV, TFRecord or text file is used. Default: yes, if it belongs to the file as it is
    /// (its length and time) and to the options that say where records begin. See [`write_index`](Self::write_index).
    pub fn use_index(mut self, used: bool) -> Self {
        self.use_index = used;
        self
    }

    /// Tells `listen` how far it is when a file without an index has to be scanned; from whichever thread, several at
    /// once. Default: nobody is told.
    pub fn on_scan(mut self, listen: impl Fn(ScanProgress<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// Opens the zero-copy door: batches of contiguous rows are lent from the map instead of copied, and records are
    /// decoded where they lie. Default: closed.
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

    /// What is brought into memory before the first batch. Default: [`Preload::No`], nothing. Compressed files are in
    /// memory in any case.
    pub fn preload(mut self, preload: Preload) -> Self {
        self.preload = preload;
        self
    }

    /// Bytes that may be held of what must be decoded or inflated: chunks of Parquet and compressed Arrow, compressed
    /// files. Default: 1 GiB, for all files of a list together.
    ///
    /// Where rows are read in order by several threads, who has nothing else to do decodes the two chunks that come next, as
    /// long as there is room for them. Past the budget, chunks and files of records are decoded again when they are needed
    /// again; two are kept whatever it is. An exact shuffle is refused then, and so is, when it is opened, a compressed file
    /// of a format that is read where it lies: both with [`TooLarge`](crate::ErrorKind::TooLarge).
    pub fn decode_budget_bytes(mut self, bytes: u64) -> Self {
        self.decode_budget_bytes = bytes;
        self
    }

    /// Writes an index file beside each CSV, TFRecord and text file of `source`, so that opening it again needs no scan;
    /// files of other formats need none. Returns the index files: `train.csv` has `train.csv.forebay-index`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`ErrorKind::Io`](crate::ErrorKind::Io) if an index cannot be written; `Mismatch` if a file
    /// was written to while it was indexed.
    pub fn write_index(&self, source: impl Source) -> Result<Vec<PathBuf>> {
        super::open::write_index(&source.into_paths(), &self.clone().use_index(false))
    }

    /// Opens `source`: see [`Dataset::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::open`]; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for options that
    /// cannot be honoured.
    pub fn open(&self, source: impl Source) -> Result<Dataset> {
        let paths = source.into_paths();
        super::open::open(&paths, &OpenOptions { source: source_in_words(&paths).into(), ..self.clone() })
    }

    /// `region`, a file of what is opened, brought into memory.
    pub(super) fn load(&self, region: Region) -> Result<Region> {
        region.load(&self.preload, &self.source)
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

/// What tells the dataset at `paths` from others on the machine.
fn source_in_words(paths: &[PathBuf]) -> String {
    let mut hasher = Xxh3::new();
    let mut first = String::new();
    for path in paths {
        // A pattern is no path that is there.
        let real = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let real = real.unwrap_or_else(|_| path.clone());
        hasher.update(real.as_os_str().as_encoded_bytes());
        hasher.update(&[0]);
        if first.is_empty() {
            first = real.display().to_string();
        }
    }
    match paths.len() {
        0 | 1 => first,
        len => format!("{first} and {} more ({:016x})", len - 1, hasher.digest()),
    }
}
