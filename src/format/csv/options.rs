//! What a reader of CSV may be told.
#![forbid(unsafe_code)]

use std::fmt;

use crate::layout::DType;

/// The type of the values of a CSV column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CsvType {
    /// `true` or `false` in any case, or `1` or `0`.
    Bool,
    /// A decimal integer of 32 bits with sign.
    I32,
    /// A decimal integer of 64 bits with sign.
    I64,
    /// A decimal number, with or without point and exponent, or `inf`, `nan`: the nearest `f32`.
    F32,
    /// A decimal number, with or without point and exponent, or `inf`, `nan`: the nearest `f64`.
    F64,
    /// UTF-8 text.
    Text,
    /// Bytes as they are.
    Bytes,
}

impl CsvType {
    /// The element type of a tensor of such values; `None` for text and bytes.
    pub fn dtype(self) -> Option<DType> {
        match self {
            CsvType::Bool => Some(DType::Bool),
            CsvType::I32 => Some(DType::I32),
            CsvType::I64 => Some(DType::I64),
            CsvType::F32 => Some(DType::F32),
            CsvType::F64 => Some(DType::F64),
            CsvType::Text | CsvType::Bytes => None,
        }
    }

    /// What a cell of the type is, as messages say it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            CsvType::Bool => "a truth value",
            CsvType::I32 => "an integer of 32 bits",
            CsvType::I64 => "an integer of 64 bits",
            CsvType::F32 | CsvType::F64 => "a number",
            CsvType::Text => "UTF-8 text",
            CsvType::Bytes => "bytes",
        }
    }
}

impl fmt::Display for CsvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CsvType::Text => f.write_str("text"),
            CsvType::Bytes => f.write_str("bytes"),
            number => write!(f, "{}", number.dtype().expect("all but text and bytes have an element type")),
        }
    }
}

/// How CSV files are read: their dialect, and what their columns become.
///
/// What is not said is read off the first records of a file: each column whose type was not forced becomes
/// `i64` if all its cells are integers, `f64` if all are numbers, `bool` if all are `true` or `false`, text
/// otherwise. An integer too large for 64 bits makes its column text (or `f64`, beside cells with a point or
/// an exponent), so that identifiers keep all their digits. A column without a single cell is text. Columns
/// may hold nulls unless they are [`required`](Self::required) or have a [`default_value`](Self::default_value).
///
/// ```
/// use forebay::format::{CsvOptions, CsvType};
///
/// let options = CsvOptions::new()
///     .delimiter(b';')
///     .na_values(["NA", "?"])
///     .column("zip", CsvType::Text)
///     .default_value("width", 0.0)
///     .stack("size", ["width", "height"])
///     .column("size", CsvType::F32);
/// ```
///
/// Options are checked when a file is opened with them, which errs
///
/// - with `InvalidArgument`, the bad value in the message, for a delimiter or comment byte that cannot be one, a column the
///   file does not have, a column selected or stacked twice or both required and with a default, a default that is no
///   value of its column's type, a dictionary that is empty, says a value twice, or is of a column with a type or in a stack, a stack of no columns, of text, or of another column's name, a selection of nothing, and
///   [`names`](Self::names) that are not as many as there are fields;
/// - with `Malformed` for a file that has no record to say how many fields there are, two fields of one name, or text that
///   is no UTF-8 in its header;
/// - with `Unsupported` for records of more than 131,072 fields.
///
/// A record that does not follow the grammar, or a cell that is no value of its column's type, is `Malformed` when it is
/// read, at its record and byte.
#[derive(Clone, Debug)]
#[must_use]
pub struct CsvOptions {
    pub(super) delimiter: Option<u8>,
    pub(super) header: bool,
    pub(super) names: Option<Vec<String>>,
    pub(super) quotes: bool,
    pub(super) comment: Option<u8>,
    pub(super) skip_lines: u64,
    pub(super) na_values: Vec<String>,
    pub(super) types: Vec<(String, CsvType)>,
    pub(super) defaults: Vec<(String, String)>,
    pub(super) required: Vec<String>,
    pub(super) select: Option<Vec<String>>,
    pub(super) stacks: Vec<(String, Vec<String>)>,
    pub(super) dictionaries: Vec<(String, Vec<String>)>,
    pub(super) text_as_bytes: bool,
    pub(super) infer_rows: usize,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: Some(b','),
            header: true,
            names: None,
            quotes: true,
            comment: None,
            skip_lines: 0,
            na_values: Vec::new(),
            types: Vec::new(),
            defaults: Vec::new(),
            required: Vec::new(),
            select: None,
            stacks: Vec::new(),
            dictionaries: Vec::new(),
            text_as_bytes: false,
            infer_rows: 10_000,
        }
    }
}

impl CsvOptions {
    /// All defaults: commas, quotes, a header record, no comments; types as the first records have them.
    pub fn new() -> Self {
        CsvOptions::default()
    }

    /// The byte between two fields. Default: a comma.
    ///
    /// It must be an ASCII byte that is no letter, digit, quote, line end or NUL, and none of `.`, `+`, `-`.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Takes as delimiter whichever of comma, semicolon, tab and `|` cuts the first records of the file into
    /// the same number of fields, two or more; a comma if none does. The first file of a list decides for all.
    pub fn detect_delimiter(mut self) -> Self {
        self.delimiter = None;
        self
    }

    /// Whether the first record names the columns. Default: it does. Without, and without
    /// [`names`](Self::names), columns are called `column_0`, `column_1` and so on.
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// The names of all fields of the file, in its order, instead of those in its header, which may then say
    /// anything. Default: those in the header.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Whether a field may be enclosed in double quotes. Default: yes. Without, a quote is a byte as any
    /// other.
    pub fn quotes(mut self, quotes: bool) -> Self {
        self.quotes = quotes;
        self
    }

    /// The byte at the beginning of lines that are comments; neither the delimiter nor a quote or line end. Default:
    /// none; no line is one.
    pub fn comment(mut self, comment: Option<u8>) -> Self {
        self.comment = comment;
        self
    }

    /// How many lines at the beginning of the file, before the header, are not looked at. Default: 0.
    pub fn skip_lines(mut self, lines: u64) -> Self {
        self.skip_lines = lines;
        self
    }

    /// Cells that count as missing, beside the empty cell. Default: none.
    pub fn na_values(mut self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.na_values = values.into_iter().map(Into::into).collect();
        self
    }

    /// The type of column `name`, whatever its cells look like; or the element type of the stack of that name. Default:
    /// as its cells look.
    pub fn column(mut self, name: impl Into<String>, csv_type: CsvType) -> Self {
        self.types.push((name.into(), csv_type));
        self
    }

    /// The value of missing cells of column `name`, as it would be written in the file; or of all columns of
    /// the stack of that name that have none of their own. Default: a missing cell is a null.
    pub fn default_value(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.defaults.push((name.into(), value.to_string()));
        self
    }

    /// A missing cell of column `name` (or of the stack of that name) is an error when it is read, and the column holds no
    /// nulls. Default: a missing cell is a null.
    pub fn required(mut self, name: impl Into<String>) -> Self {
        self.required.push(name.into());
        self
    }

    /// The columns that are read, in this order; all others are passed over. Default: all, in the order of
    /// the file. A stack stands where its name or the first of its columns does, and is read even where
    /// neither is selected.
    pub fn select(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.select = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Lays several columns of numbers into one tensor column `name` of shape `[columns]`, in the order given.
    ///
    /// All are of one type: that of [`column`](Self::column)`(name, …)`, else that of the columns; of
    /// integers and floats together, the wider float among them. A row that lacks one of its cells is a null
    /// as a whole, unless the column of that cell has a default. Default: no stacks; a field is a column of its own.
    pub fn stack(
        mut self,
        name: impl Into<String>,
        columns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.stacks.push((name.into(), columns.into_iter().map(Into::into).collect()));
        self
    }

    /// Reads column `name` as classes: a cell becomes its number among `values`, an `i64`, counted from 0. A cell that is
    /// none of them is an error when it is read; as in text, spaces count. [`Dataset::class_names`] gives the values back,
    /// also once converted, and Hugging Face's `datasets` knows them as a `ClassLabel`. Default: text is text.
    ///
    /// [`Dataset::distinct`] says which values a column of text holds.
    ///
    /// [`Dataset::class_names`]: crate::Dataset::class_names
    /// [`Dataset::distinct`]: crate::Dataset::distinct
    pub fn dictionary(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.dictionaries.push((name.into(), values.into_iter().map(Into::into).collect()));
        self
    }

    /// Whether columns of text become columns of bytes, which need not be UTF-8. Default: no. For files in
    /// Latin-1 and the like.
    pub fn text_as_bytes(mut self, as_bytes: bool) -> Self {
        self.text_as_bytes = as_bytes;
        self
    }

    /// How many records at most the types are read off. Default: 10,000; in any case those in the first MiB
    /// of the file.
    pub fn infer_rows(mut self, rows: usize) -> Self {
        self.infer_rows = rows;
        self
    }
}
