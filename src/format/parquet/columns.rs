//! The columns of a file: which leaves of its schema each is made of, and as what they are read.
//!
//! The schema's root is a group; each of its fields is a column. A column of one leaf is decoded into an array of its
//! own type, but for text, which is decoded as bytes: whether it is UTF-8 is asked where it is gathered.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};

use super::flat::{self, Kind};
use super::footer::{contradictory, unreadable};
use super::values::Leaf;
use crate::error::{Error, Result};
use crate::format::ipc::check_type;
use crate::format::piece::plain_field;

/// One column of the file.
pub(super) struct Column {
    /// What the decoder needs to know of its leaves.
    pub(super) levels: FieldLevels,
    /// The type of the array it is decoded into.
    pub(super) decoded_type: DataType,
    /// Whether its bytes must be UTF-8.
    pub(super) is_text: bool,
    /// Its leaves, as the file numbers them.
    pub(super) leaves: Range<usize>,
    /// Items in the fixed-size lists of a row, which nulls have too.
    fixed_items: u64,
    /// What it is decoded into, if that is done here.
    pub(super) flat: Option<Kind>,
}

/// Reads the schema of a file: the fields of its rows, and how each is decoded.
pub(super) fn read(file: &FileMetaData) -> Result<(SchemaRef, Vec<Column>)> {
    catch_unwind(AssertUnwindSafe(|| read_columns(file)))
        .unwrap_or_else(|panic| Err(contradictory("the schema", &*panic)))
}

fn read_columns(file: &FileMetaData) -> Result<(SchemaRef, Vec<Column>)> {
    let descriptor = file.schema_descr();
    let schema = parquet_to_arrow_schema(descriptor, file.key_value_metadata())
        .map_err(|e| unreadable("the schema", e))?;
    // Groups of nothing are no columns.
    let mut leaf = 0;
    let mut roots = Vec::new();
    for root in descriptor.root_schema().get_fields() {
        let count = num_leaves(root);
        if count > 0 {
            roots.push((root, leaf..leaf + count));
        }
        leaf += count;
    }
    if roots.len() != schema.fields().len() || leaf != descriptor.num_columns() {
        return Err(Error::unsupported("the schema has groups without columns"));
    }
    let mut fields = Vec::with_capacity(roots.len());
    let mut columns = Vec::with_capacity(roots.len());
    for (field, (root, leaves)) in schema.fields().iter().zip(roots) {
        check_type(field.data_type()).map_err(|what| {
            Error::malformed(format!("column '{}' is of type {}: {what}", field.name(), field.data_type()))
        })?;
        let field = plain_field(field);
        let column = Column::new(&field, root, leaves).map_err(|error| error.in_column(field.name()))?;
        columns.push(column);
        fields.push(field);
    }
    Ok((Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), columns))
}

fn num_leaves(node: &Type) -> usize {
    match node {
        Type::PrimitiveType { .. } => 1,
        Type::GroupType { fields, .. } => fields.iter().map(|field| num_leaves(field)).sum(),
    }
}

impl Column {
    fn new(field: &Field, root: &Arc<Type>, leaves: Range<usize>) -> Result<Self> {
        let is_flat = root.is_primitive() && root.get_basic_info().repetition() != Repetition::REPEATED;
        let bytes = match field.data_type() {
            DataType::Utf8 | DataType::Binary => Some(DataType::Binary),
            DataType::LargeUtf8 | DataType::LargeBinary => Some(DataType::LargeBinary),
            _ => None,
        };
        let (root, decoded_type) = match bytes {
            Some(bytes) if is_flat && root.get_physical_type() == Physical::BYTE_ARRAY => {
                let unannotated = Type::primitive_type_builder(root.name(), Physical::BYTE_ARRAY)
                    .with_repetition(root.get_basic_info().repetition())
                    .build();
                (Arc::new(unannotated.map_err(|e| unreadable("the schema", e))?), bytes)
            }
            _ => (root.clone(), field.data_type().clone()),
        };
        let schema = Type::group_type_builder("schema").with_fields(vec![root]).build();
        let schema = SchemaDescriptor::new(Arc::new(schema.map_err(|e| unreadable("the schema", e))?));
        let hint = Fields::from(vec![field.clone().with_data_type(decoded_type.clone())]);
        let levels = parquet_to_arrow_field_levels(&schema, ProjectionMask::all(), Some(&hint))
            .map_err(|e| unreadable("the schema", e))?;
        let fixed_items = fixed_items(&decoded_type);
        let flat = is_flat.then(|| flat_kind(&schema.column(0), &decoded_type)).flatten();
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8);
        Ok(Column { levels, decoded_type, is_text, leaves, fixed_items, flat })
    }

    /// At most how many values a leaf of the column is decoded into.
    pub(super) fn most_values(&self, num_values: u64, num_rows: u64) -> u64 {
        num_values.max(num_rows.saturating_mul(self.fixed_items))
    }

    /// About how many bytes of text a leaf of the column has, given its column chunk in a row group; none if it is not text.
    pub(super) fn text_bytes(&self, chunk: &ColumnChunkMetaData, num_rows: u64) -> u64 {
        let leaf = Leaf::of(chunk.column_descr(), &self.decoded_type);
        let values = self.most_values(chunk.num_values().max(0) as u64, num_rows);
        if leaf.is_text() { text_bytes(chunk, values) } else { 0 }
    }

    /// About how many bytes the column takes in memory, given its column chunks in a row group.
    ///
    /// The bytes of text are what the writer noted. Where it noted nothing, text in a dictionary is taken to be as long
    /// as the longer of the least and the greatest value.
    pub(super) fn decoded_bytes(&self, chunks: &[ColumnChunkMetaData], num_rows: u64) -> u64 {
        let chunks = chunks.iter().map(|chunk| {
            let leaf = Leaf::of(chunk.column_descr(), &self.decoded_type);
            let values = self.most_values(chunk.num_values().max(0) as u64, num_rows);
            values.saturating_mul(leaf.width_bytes).saturating_add(self.text_bytes(chunk, num_rows))
        });
        chunks.fold(0, u64::saturating_add)
    }
}

/// What a column of one leaf, `leaf`, is decoded into; `None` for those that the `parquet` crate decodes.
fn flat_kind(leaf: &ColumnDescriptor, decoded_type: &DataType) -> Option<Kind> {
    if leaf.max_rep_level() > 0 || leaf.max_def_level() > 1 {
        return None;
    }
    flat::kind_of(leaf.physical_type(), leaf.type_length(), decoded_type)
}

/// Bytes of the text of a column chunk of `num_values` values.
fn text_bytes(chunk: &ColumnChunkMetaData, num_values: u64) -> u64 {
    let stored = chunk.uncompressed_size().max(0) as u64;
    let noted = chunk.unencoded_byte_array_data_bytes().and_then(|bytes| u64::try_from(bytes).ok());
    if let Some(noted) = noted {
        return noted;
    }
    let longest = match chunk.statistics() {
        Some(Statistics::ByteArray(statistics)) => {
            let longest =
                statistics.min_opt().into_iter().chain(statistics.max_opt()).map(|text| text.len()).max();
            longest.unwrap_or(0) as u64
        }
        _ => 0,
    };
    let has_dictionary = chunk.dictionary_page_offset().is_some();
    if has_dictionary { stored.max(num_values.saturating_mul(longest)) } else { stored }
}

/// The product of the lengths of fixed-size lists, wherever they are nested.
fn fixed_items(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, n) => {
            u64::try_from(*n).unwrap_or(0).max(1).saturating_mul(fixed_items(item.data_type()))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            fixed_items(item.data_type())
        }
        DataType::Struct(fields) => {
            fields.iter().map(|field| fixed_items(field.data_type())).max().unwrap_or(1)
        }
        _ => 1,
    }
}

impl Leaf {
    /// The leaf `column` of a column that is decoded into `decoded_type`.
    pub(super) fn of(column: &ColumnDescriptor, decoded_type: &DataType) -> Self {
        let length = u64::try_from(column.type_length()).unwrap_or(0);
        // In memory, and as stored. Truth values take a byte until all of them are there.
        let (width, stored_width) = match column.physical_type() {
            Physical::BOOLEAN => (1, 0),
            Physical::INT32 | Physical::FLOAT => (4, 4),
            Physical::INT64 | Physical::DOUBLE => (8, 8),
            Physical::INT96 => (12, 12),
            Physical::BYTE_ARRAY => (if *decoded_type == DataType::LargeBinary { 8 } else { 4 }, 4),
            Physical::FIXED_LEN_BYTE_ARRAY => (length.max(1), length),
        };
        let is_decimal = column.converted_type() == ConvertedType::DECIMAL
            || matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }));
        let widened = match decoded_type.primitive_width() {
            Some(width) => width as u64,
            None if is_decimal => 32,
            None => 0,
        };
        // Levels take two bytes each, but for plain nulls, which are bits.
        let levels = match (column.max_def_level(), column.max_rep_level()) {
            (0, _) => 0,
            (1, 0) => 1,
            (_, 0) => 2,
            _ => 4,
        };
        Leaf {
            physical: column.physical_type(),
            width_bytes: width.max(widened) + levels,
            stored_width_bytes: stored_width,
            max_def: column.max_def_level(),
            max_rep: column.max_rep_level(),
        }
    }
}
