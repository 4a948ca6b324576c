//! The options of every format, the same in every command.
#![forbid(unsafe_code)]

use clap::{Args, ValueEnum};
use forebay::format::{
    Checksums, CsvOptions, CsvType, ExampleSpec, FeatureType, FileFormat, FixedSpec, TokenSpec,
};
use forebay::{Dataset, OpenOptions, Result};

use crate::source::parse_bytes;

/// How sources are read.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// The format of the files, where neither their content nor their names say it.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Reading")]
    format: Option<Format>,
    /// Scan files for their records, whatever index files lie beside them.
    #[arg(long, help_heading = "Reading")]
    no_index: bool,
    /// Memory for what must be decoded or inflated to be read; 1GiB where nothing is said.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Reading")]
    decode_budget: Option<u64>,
    #[command(flatten)]
    csv: CsvArgs,
    #[command(flatten)]
    examples: ExampleArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    fixed: FixedArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Arrow,
    ArrowStream,
    Parquet,
    Csv,
    Tfrecord,
    Tar,
    Text,
    Npy,
    Npz,
    Idx,
}

impl SourceArgs {
    pub fn options(&self) -> Result<OpenOptions> {
        let mut options = Dataset::options().use_index(!self.no_index);
        if let Some(format) = self.format {
            options = options.format(match format {
                Format::Arrow => FileFormat::ArrowFile,
                Format::ArrowStream => FileFormat::ArrowStream,
                Format::Parquet => FileFormat::Parquet,
                Format::Csv => FileFormat::Csv,
                Format::Tfrecord => FileFormat::TfRecord,
                Format::Tar => FileFormat::Tar,
                Format::Text => FileFormat::Text,
                Format::Npy => FileFormat::Npy,
                Format::Npz => FileFormat::Npz,
                Format::Idx => FileFormat::Idx,
            });
        }
        if let Some(bytes) = self.decode_budget {
            options = options.decode_budget_bytes(bytes);
        }
        let options = self.csv.apply(options);
        let options = self.examples.apply(options);
        let options = self.tokens.apply(options)?;
        self.fixed.apply(options)
    }
}

/// How CSV is read; any of these says that files are CSV which no content or name says to be of another format.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "CSV")]
struct CsvArgs {
    /// What stands between fields: a character, `tab`, or `detect`. A comma, or a tab in .tsv files, where nothing is said.
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<Delimiter>,
    /// The first record is no header; fields are called column_0, column_1, …
    #[arg(long)]
    no_header: bool,
    /// What the fields are called, instead of what the header says.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    names: Vec<String>,
    /// Quotes are characters as any other.
    #[arg(long)]
    no_quotes: bool,
    /// Lines that begin with this character are no records.
    #[arg(long, value_name = "CHAR", value_parser = byte)]
    comment: Option<u8>,
    /// Lines before the header to pass over.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    skip_lines: u64,
    /// Cells that stand for a missing value, beside the empty one.
    #[arg(long, value_delimiter = ',', value_name = "VALUES")]
    na: Vec<String>,
    /// The type of a field: bool, i32, i64, f32, f64, text or bytes. Read off the first records where nothing is said.
    #[arg(long = "type", value_name = "FIELD=TYPE", value_parser = csv_type)]
    types: Vec<(String, CsvType)>,
    /// What a missing value of a field becomes; a null where nothing is said.
    #[arg(long = "default", value_name = "FIELD=VALUE", value_parser = named)]
    defaults: Vec<(String, String)>,
    /// Fields in which a missing value is an error.
    #[arg(long, value_delimiter = ',', value_name = "FIELDS")]
    required: Vec<String>,
    /// The values of a field of classes, which is read as their numbers, from 0.
    #[arg(long = "dictionary", value_name = "FIELD=VALUE,VALUE,…", value_parser = named)]
    dictionaries: Vec<(String, String)>,
    /// Text is read as bytes, whatever its encoding.
    #[arg(long)]
    text_as_bytes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    Byte(u8),
    Detect,
}

impl CsvArgs {
    fn apply(&self, options: OpenOptions) -> OpenOptions {
        let asked = self.delimiter.is_some()
            || self.no_header
            || self.no_quotes
            || self.comment.is_some()
            || self.skip_lines > 0
            || self.text_as_bytes
            || [&self.names, &self.na, &self.required].iter().any(|names| !names.is_empty())
            || !self.types.is_empty()
            || !self.defaults.is_empty()
            || !self.dictionaries.is_empty();
        if !asked {
            return options;
        }
        let mut csv = CsvOptions::new()
            .header(!self.no_header)
            .quotes(!self.no_quotes)
            .comment(self.comment)
            .skip_lines(self.skip_lines)
            .na_values(&self.na)
            .text_as_bytes(self.text_as_bytes);
        csv = match self.delimiter {
            Some(Delimiter::Byte(delimiter)) => csv.delimiter(delimiter),
            Some(Delimiter::Detect) => csv.detect_delimiter(),
            None => csv,
        };
        if !self.names.is_empty() {
            csv = csv.names(&self.names);
        }
        for (field, csv_type) in &self.types {
            csv = csv.column(field, *csv_type);
        }
        for (field, value) in &self.defaults {
            csv = csv.default_value(field, value);
        }
        for field in &self.required {
            csv = csv.required(field);
        }
        for (field, values) in &self.dictionaries {
            csv = csv.dictionary(field, values.split(','));
        }
        options.csv(csv)
    }
}

/// What TFRecord files hold.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TFRecord")]
struct ExampleArgs {
    /// A feature of the examples: name:type[shape], of type f32, i64 or bytes, as in label:i64 or image:f32[28,28];
    /// name:type? may be missing, name:type[*] has any number of values. Read off the first records where nothing is said.
    #[arg(long = "feature", value_name = "FEATURE", value_parser = feature)]
    features: Vec<FeatureArg>,
    /// Records as they are: one column of bytes.
    #[arg(long, conflicts_with = "features")]
    raw_records: bool,
    /// When the checksum of a record is looked at.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::FirstTouch)]
    checksums: When,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    Always,
    FirstTouch,
    Never,
}

#[derive(Clone, Debug, PartialEq)]
struct FeatureArg {
    name: String,
    dtype: FeatureType,
    /// `None` for any number of values.
    shape: Option<Vec<usize>>,
    nullable: bool,
}

impl ExampleArgs {
    fn apply(&self, mut options: OpenOptions) -> OpenOptions {
        options = options.checksums(match self.checksums {
            When::Always => Checksums::Always,
            When::FirstTouch => Checksums::FirstTouch,
            When::Never => Checksums::Never,
        });
        if self.raw_records {
            options = options.raw_records();
        }
        if self.features.is_empty() {
            return options;
        }
        let mut spec = ExampleSpec::new();
        for FeatureArg { name, dtype, shape, nullable } in &self.features {
            spec = match shape {
                None => spec.var_len(name, *dtype),
                Some(shape) if *nullable => spec.nullable(name, *dtype, shape.iter().copied()),
                Some(shape) => spec.fixed_len(name, *dtype, shape.iter().copied()),
            };
        }
        options.examples(spec)
    }
}

/// How tokens are cut into rows.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
struct TokenArgs {
    /// Files are runs of tokens, cut into windows: type[length]/stride, as in u16[1025]/1024; `@n` behind it the bytes before
    /// the first token.
    #[arg(long, value_name = "WINDOWS")]
    tokens: Option<String>,
    /// Cut the tokens beside an index (Megatron-LM) into windows of so many, one every STRIDE; a row is a document where
    /// nothing is said.
    #[arg(long, value_name = "LENGTH[/STRIDE]", value_parser = windows)]
    windows: Option<(u64, u64)>,
}

impl TokenArgs {
    fn apply(&self, mut options: OpenOptions) -> Result<OpenOptions> {
        if let Some(tokens) = &self.tokens {
            options = options.tokens(tokens.parse::<TokenSpec>()?);
        }
        if let Some((seq_len, stride)) = self.windows {
            options = options.windows(seq_len, stride);
        }
        Ok(options)
    }
}

/// How files that say nothing of themselves are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Records of one length")]
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

fn byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(format!("expected one ASCII character, found {} bytes", text.len())),
    }
}

fn delimiter(text: &str) -> Result<Delimiter, String> {
    match text {
        "detect" => Ok(Delimiter::Detect),
        "tab" | "\\t" => Ok(Delimiter::Byte(b'\t')),
        _ => byte(text).map(Delimiter::Byte),
    }
}

fn named(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected FIELD=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn csv_type(text: &str) -> Result<(String, CsvType), String> {
    let (name, of) = named(text)?;
    let types = [
        CsvType::Bool,
        CsvType::I32,
        CsvType::I64,
        CsvType::F32,
        CsvType::F64,
        CsvType::Text,
        CsvType::Bytes,
    ];
    let found = types.into_iter().find(|csv_type| csv_type.to_string() == of);
    Ok((name, found.ok_or("expected bool, i32, i64, f32, f64, text or bytes")?))
}

fn windows(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("'{text}': {e}"));
    match text.split_once('/') {
        Some((length, stride)) => Ok((number(length)?, number(stride)?)),
        None => number(text).map(|length| (length, length)),
    }
}

fn feature(text: &str) -> Result<FeatureArg, String> {
    let (name, rest) = text.rsplit_once(':').ok_or("expected name:type, as in label:i64")?;
    let (rest, nullable) = rest.strip_suffix('?').map_or((rest, false), |rest| (rest, true));
    let (of, shape) = match rest.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
        Some((of, "*")) => (of, None),
        Some((of, shape)) => {
            let dims = shape.split(',').map(|dim| dim.trim().parse().map_err(|e| format!("'{dim}': {e}")));
            (of, Some(dims.collect::<Result<Vec<_>, _>>()?))
        }
        None => (rest, Some(Vec::new())),
    };
    let dtype = match of {
        "f32" => FeatureType::F32,
        "i64" => FeatureType::I64,
        "bytes" => FeatureType::Bytes,
        _ => return Err(format!("'{of}' is no type of a feature: expected f32, i64 or bytes")),
    };
    Ok(FeatureArg { name: name.to_owned(), dtype, shape, nullable })
}
