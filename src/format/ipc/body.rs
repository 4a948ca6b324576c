//! The body of a record batch: every node and buffer checked against it, then each column placed.
//!
//! The metadata lists, depth first, a *node* (length, null count) for each array and the place of each
//! *buffer*. Nothing in it is believed until the walk has shown that
//!
//! - there are as many nodes and buffers as the schema asks for, and no more;
//! - every buffer lies within the body, and, inflated, within the cap;
//! - every buffer is long enough for the length of its node;
//! - children are as long as their parents need them.
//!
//! Offsets inside buffers are data: whoever reads a row checks them there.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, UnionMode};
use arrow::ipc::{CompressionType, MetadataVersion, RecordBatch as IpcRecordBatch};

use super::decode::Decoder;
use super::frame::{Contents, MessageRef, Metadata};
use super::views::{self, Views};
use crate::error::{Error, ErrorKind, Result};
use crate::format::piece::{Bits, Decode, Piece, Span, Values, expansion_cap};
use crate::layout::DType;
use crate::map::Region;

/// Why columns are decoded.
const COMPRESSED: &str = "compressed Arrow: a record batch's column is decoded when a row of it is read";
const BY_ARROW: &str =
    "Arrow of a type that only arrow reads: a record batch's column is decoded when a row of it is read";

/// The columns of the record batch `message`; those numbered in `encoded` are decoded by arrow whatever they are.
pub(super) fn pieces(
    region: &Region,
    contents: &Contents,
    message: &MessageRef,
    decoder: Decoder,
    encoded: &[usize],
) -> Result<Vec<Piece>> {
    let metadata = Metadata::read(region, message)?;
    let parsed = metadata.parse()?;
    let batch = parsed.header_as_record_batch().ok_or_else(|| {
        Error::malformed(format!("expected a record batch, found {:?}", parsed.header_type()))
    })?;
    let num_rows = u64::try_from(batch.length())
        .map_err(|_| Error::malformed(format!("expected a number of rows, found {}", batch.length())))?;
    let compressed = batch.compression().is_some();
    let mut walk = Walk::new(region, message, batch, parsed.version())?;
    let decoder: Arc<dyn Decode> = Arc::new(decoder);
    let reason = if compressed { COMPRESSED } else { BY_ARROW };
    let mut pieces = Vec::with_capacity(contents.schema.fields().len());
    for (column, field) in contents.schema.fields().iter().enumerate() {
        let inflated_before = walk.inflated_bytes;
        let node = walk.array(field).map_err(|error| in_column(field, error))?;
        if node.len != num_rows {
            return Err(Error::malformed(format!(
                "expected column '{}' to have the {num_rows} rows of its record batch, found {}",
                field.name(),
                node.len
            )));
        }
        let placed = if compressed || encoded.contains(&column) {
            None
        } else {
            place(region, field.data_type(), &node)?
        };
        let values = placed.map(|values| Ok::<_, Error>((values, node.validity(region)?))).transpose()?;
        let (values, validity) = values.unwrap_or_else(|| {
            let decoded_bytes = walk.inflated_bytes - inflated_before;
            (Values::Encoded { decoder: decoder.clone(), column, decoded_bytes, reason }, None)
        });
        pieces.push(Piece { num_rows, validity, values });
    }
    walk.finish()?;
    Ok(pieces)
}

/// Checks the dictionary batch `message`, and says how many bytes its values inflate to.
pub(super) fn check_dictionary(region: &Region, message: &MessageRef, schema: &Schema) -> Result<u64> {
    let metadata = Metadata::read(region, message)?;
    let parsed = metadata.parse()?;
    let dictionary = parsed.header_as_dictionary_batch().ok_or_else(|| {
        Error::malformed(format!("expected a dictionary, found {:?}", parsed.header_type()))
    })?;
    let batch = dictionary
        .data()
        .ok_or_else(|| Error::malformed("expected a dictionary, found one without values"))?;
    #[expect(deprecated)] // The one way arrow offers to the ids of a file's dictionaries.
    let value = schema
        .fields_with_dict_id(dictionary.id())
        .into_iter()
        .find_map(|field| match field.data_type() {
            DataType::Dictionary(_, value) => Some(Field::new("dictionary", value.as_ref().clone(), true)),
            _ => None,
        })
        .ok_or_else(|| Error::malformed(format!("no column uses the dictionary {}", dictionary.id())))?;
    let mut walk = Walk::new(region, message, batch, parsed.version())?;
    let node = walk.array(&value)?;
    views::check(region, message, &walk.views, codec(&batch))?;
    if i64::try_from(node.len) != Ok(batch.length()) {
        return Err(Error::malformed(format!(
            "expected {} dictionary values, found {}",
            batch.length(),
            node.len
        )));
    }
    walk.finish()
}

/// Checks what arrow would follow without end: the views of `column`.
pub(super) fn check_views(
    region: &Region,
    message: &MessageRef,
    schema: &Schema,
    column: usize,
) -> Result<()> {
    let metadata = Metadata::read(region, message)?;
    let parsed = metadata.parse()?;
    let batch = parsed
        .header_as_record_batch()
        .ok_or_else(|| Error::malformed("expected a record batch, found another message"))?;
    let mut walk = Walk::new(region, message, batch, parsed.version())?;
    for field in &schema.fields()[..=column] {
        walk.views.clear();
        walk.array(field).map_err(|error| in_column(field, error))?;
    }
    views::check(region, message, &walk.views, codec(&batch))
        .map_err(|error| in_column(schema.field(column), error))
}

fn codec(batch: &IpcRecordBatch<'_>) -> Option<CompressionType> {
    batch.compression().map(|compression| compression.codec())
}

/// Refuses bodies of `body_bytes` that inflate beyond the cap.
pub(super) fn check_inflated(body_bytes: u64, inflated_bytes: u64) -> Result<()> {
    let cap = expansion_cap(body_bytes);
    if inflated_bytes > cap {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected {body_bytes} bytes to inflate to at most {cap}, found them to claim {inflated_bytes}"
            ),
        ));
    }
    Ok(())
}

fn in_column(field: &Field, error: Error) -> Error {
    let message = format!("column '{}': {}", field.name(), error.message());
    Error::new(error.kind(), message)
}

/// An array of the batch: its length and its buffers as (first byte in the file, bytes).
struct Node {
    len: u64,
    null_count: u64,
    buffers: Vec<(u64, u64)>,
    children: Vec<Node>,
}

impl Node {
    fn validity(&self, region: &Region) -> Result<Option<Bits>> {
        if self.null_count == 0 {
            return Ok(None);
        }
        let (offset, len) = self.buffers[0];
        Ok(Some(Bits { span: Span::new(region, offset, len)?, first: 0 }))
    }
}

/// Where the values of an uncompressed column lie; `None` for types without a kernel.
fn place(region: &Region, data_type: &DataType, node: &Node) -> Result<Option<Values>> {
    let span = |index: usize| {
        let (offset, len) = node.buffers[index];
        Span::new(region, offset, len)
    };
    Ok(match data_type {
        DataType::Boolean => Some(Values::Bits { bits: Bits { span: span(1)?, first: 0 }, per_row: 1 }),
        DataType::FixedSizeBinary(width) => u64::try_from(*width)
            .ok()
            .map(|stride| Ok::<_, Error>(Values::Dense { span: span(1)?, stride }))
            .transpose()?,
        DataType::FixedSizeList(item, n) if node.children[0].null_count == 0 => {
            let Ok(n) = u64::try_from(*n) else { return Ok(None) };
            match place(region, item.data_type(), &node.children[0])? {
                Some(Values::Dense { span, stride }) => {
                    stride.checked_mul(n).map(|stride| Values::Dense { span, stride })
                }
                Some(Values::Bits { bits, per_row }) => {
                    per_row.checked_mul(n).map(|per_row| Values::Bits { bits, per_row })
                }
                _ => None,
            }
        }
        DataType::Binary | DataType::Utf8 | DataType::LargeBinary | DataType::LargeUtf8 => {
            let wide = matches!(data_type, DataType::LargeBinary | DataType::LargeUtf8);
            Some(Values::Runs { offsets: span(1)?, wide, items: span(2)?, item_bytes: 1, is_ascii: false })
        }
        DataType::List(item) | DataType::LargeList(item) if node.children[0].null_count == 0 => {
            let wide = matches!(data_type, DataType::LargeList(_));
            match (DType::of_arrow(item.data_type()), place(region, item.data_type(), &node.children[0])?) {
                (Some(_), Some(Values::Dense { span: items, stride })) => {
                    Some(Values::Runs { offsets: span(1)?, wide, items, item_bytes: stride, is_ascii: false })
                }
                _ => None,
            }
        }
        primitive => match DType::of_arrow(primitive) {
            Some(dtype) => Some(Values::Dense { span: span(1)?, stride: dtype.width_bytes() as u64 }),
            None => None,
        },
    })
}

/// The walk over nodes and buffers, in the order of the schema.
struct Walk<'a> {
    region: &'a Region,
    message: &'a MessageRef,
    nodes: std::vec::IntoIter<(i64, i64)>,
    buffers: std::vec::IntoIter<(i64, i64)>,
    variadic: std::vec::IntoIter<i64>,
    /// The buffers of views met so far.
    views: Vec<Views>,
    compressed: bool,
    version: MetadataVersion,
    inflated_bytes: u64,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn new(
        region: &'a Region,
        message: &'a MessageRef,
        batch: IpcRecordBatch<'_>,
        version: MetadataVersion,
    ) -> Result<Self> {
        let nodes: Vec<_> =
            batch.nodes().into_iter().flatten().map(|n| (n.length(), n.null_count())).collect();
        let buffers: Vec<_> =
            batch.buffers().into_iter().flatten().map(|b| (b.offset(), b.length())).collect();
        let variadic: Vec<_> = batch.variadicBufferCounts().into_iter().flatten().collect();
        let compressed = batch.compression().is_some();
        Ok(Walk {
            region,
            message,
            nodes: nodes.into_iter(),
            buffers: buffers.into_iter(),
            variadic: variadic.into_iter(),
            views: Vec::new(),
            compressed,
            version,
            inflated_bytes: 0,
            depth: 0,
        })
    }

    /// Nothing may be left; how many bytes the buffers inflate to.
    fn finish(mut self) -> Result<u64> {
        let left =
            (self.nodes.by_ref().count(), self.buffers.by_ref().count(), self.variadic.by_ref().count());
        if left != (0, 0, 0) {
            return Err(Error::malformed(format!(
                "expected the nodes and buffers the schema asks for, found {} nodes and {} buffers more",
                left.0, left.1
            )));
        }
        if self.compressed {
            check_inflated(self.message.body_bytes, self.inflated_bytes)?;
        }
        Ok(self.inflated_bytes)
    }

    fn node(&mut self) -> Result<Node> {
        let (len, null_count) =
            self.nodes.next().ok_or_else(|| Error::malformed("expected one node more, found none"))?;
        let both = u64::try_from(len).ok().zip(u64::try_from(null_count).ok());
        let (len, null_count) =
            both.filter(|(len, nulls)| nulls <= len && *len <= i64::MAX as u64 / 16).ok_or_else(|| {
                Error::malformed(format!(
                    "expected a length and a count of nulls, found {len} and {null_count}"
                ))
            })?;
        Ok(Node { len, null_count, buffers: Vec::new(), children: Vec::new() })
    }

    /// The next buffer, at least `least` bytes long once inflated.
    fn buffer(&mut self, least: u64) -> Result<(u64, u64)> {
        let (offset, len) =
            self.buffers.next().ok_or_else(|| Error::malformed("expected one buffer more, found none"))?;
        let place = u64::try_from(offset).ok().zip(u64::try_from(len).ok());
        let (offset, len) = place
            .filter(|(offset, len)| {
                offset.checked_add(*len).is_some_and(|end| end <= self.message.body_bytes)
            })
            .ok_or_else(|| {
                Error::malformed(format!(
                    "expected a buffer within the {} bytes of the body, found {len} bytes at {offset}",
                    self.message.body_bytes
                ))
            })?;
        let offset = self.message.body_offset() + offset;
        let inflated = if self.compressed { self.inflated_len(offset, len)? } else { len };
        self.inflated_bytes = self.inflated_bytes.saturating_add(inflated);
        if inflated < least {
            return Err(Error::malformed(format!(
                "expected a buffer of at least {least} bytes, found {inflated}"
            ))
            .at_byte(offset));
        }
        Ok((offset, len))
    }

    /// A compressed buffer begins with its inflated length, i64 little-endian; −1 says it is stored as it is.
    fn inflated_len(&self, offset: u64, len: u64) -> Result<u64> {
        if len == 0 {
            return Ok(0);
        }
        if len < 8 {
            return Err(Error::malformed(format!(
                "expected a compressed buffer of at least 8 bytes, found {len}"
            )));
        }
        let prefix = self.region.read(offset..offset + 8)?;
        match i64::from_le_bytes(prefix.try_into().expect("8 bytes")) {
            -1 => Ok(len - 8),
            inflated => u64::try_from(inflated).map_err(|_| {
                Error::malformed(format!("expected an inflated length, found {inflated}")).at_byte(offset)
            }),
        }
    }

    /// The validity bitmap, which may be left out where nothing is null.
    fn validity(&mut self, node: &mut Node) -> Result<()> {
        let least = if node.null_count == 0 { 0 } else { node.len.div_ceil(8) };
        node.buffers.push(self.buffer(least)?);
        Ok(())
    }

    /// The values of `node`, `width_bytes` each.
    fn values(&mut self, node: &mut Node, width_bytes: u64) -> Result<()> {
        let least = node.len.checked_mul(width_bytes).ok_or_else(|| {
            Error::malformed(format!(
                "expected {} values of {width_bytes} bytes to fit into memory",
                node.len
            ))
        })?;
        node.buffers.push(self.buffer(least)?);
        Ok(())
    }

    /// The offsets of `node`: one more than it has rows, or none at all where it has none.
    fn offsets(&mut self, node: &mut Node, width_bytes: u64) -> Result<()> {
        let count = if node.len == 0 { 0 } else { node.len + 1 };
        node.buffers.push(self.buffer(count * width_bytes)?);
        Ok(())
    }

    fn child(&mut self, node: &mut Node, field: &Field, least: u64) -> Result<()> {
        let child = self.array(field)?;
        if child.len < least {
            return Err(Error::malformed(format!(
                "expected at least {least} child values, found {}",
                child.len
            )));
        }
        node.children.push(child);
        Ok(())
    }

    fn array(&mut self, field: &Field) -> Result<Node> {
        // The verifier of the schema's flatbuffer bounds the depth; this bounds the stack beyond doubt.
        if self.depth == 64 {
            return Err(Error::unsupported("expected types nested at most 64 deep"));
        }
        self.depth += 1;
        let mut node = self.node()?;
        self.contents(field.data_type(), &mut node)?;
        self.depth -= 1;
        Ok(node)
    }

    /// The buffers and children of `node`, in the order in which the format lists them.
    fn contents(&mut self, data_type: &DataType, node: &mut Node) -> Result<()> {
        let len = node.len;
        match data_type {
            DataType::Null => {}
            DataType::Boolean => {
                self.validity(node)?;
                node.buffers.push(self.buffer(len.div_ceil(8))?);
            }
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                let wide = matches!(data_type, DataType::LargeUtf8 | DataType::LargeBinary);
                self.validity(node)?;
                self.offsets(node, if wide { 8 } else { 4 })?;
                node.buffers.push(self.buffer(0)?);
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.validity(node)?;
                let before = self.inflated_bytes;
                self.values(node, 16)?;
                let (offset, len) = node.buffers[1];
                self.views.push(Views { offset, len, inflated: self.inflated_bytes - before });
                let count = self
                    .variadic
                    .next()
                    .ok_or_else(|| Error::malformed("expected a count of variadic buffers, found none"))?;
                for _ in 0..u64::try_from(count).unwrap_or(u64::MAX) {
                    node.buffers.push(self.buffer(0)?);
                }
            }
            DataType::List(item) | DataType::Map(item, _) | DataType::LargeList(item) => {
                self.validity(node)?;
                self.offsets(node, if matches!(data_type, DataType::LargeList(_)) { 8 } else { 4 })?;
                self.child(node, item, 0)?;
            }
            DataType::ListView(item) | DataType::LargeListView(item) => {
                let width = if matches!(data_type, DataType::LargeListView(_)) { 8 } else { 4 };
                self.validity(node)?;
                self.values(node, width)?;
                self.values(node, width)?;
                self.child(node, item, 0)?;
            }
            DataType::FixedSizeList(item, n) => {
                self.validity(node)?;
                let n = u64::try_from(*n)
                    .map_err(|_| Error::malformed(format!("expected a length of lists, found {n}")))?;
                let least = len.checked_mul(n).ok_or_else(|| {
                    Error::malformed(format!("expected {len} lists of {n} values to fit into memory"))
                })?;
                self.child(node, item, least)?;
            }
            DataType::Struct(fields) => {
                self.validity(node)?;
                for field in fields {
                    self.child(node, field, len)?;
                }
            }
            DataType::Union(fields, mode) => {
                if self.version < MetadataVersion::V5 {
                    node.buffers.push(self.buffer(0)?);
                }
                self.values(node, 1)?;
                if *mode == UnionMode::Dense {
                    self.values(node, 4)?;
                }
                let least = if *mode == UnionMode::Sparse { len } else { 0 };
                for (_, field) in fields.iter() {
                    self.child(node, field, least)?;
                }
            }
            DataType::RunEndEncoded(run_ends, values) => {
                self.child(node, run_ends, 0)?;
                let runs = node.children[0].len;
                self.child(node, values, runs)?;
            }
            DataType::Dictionary(key, _) => {
                self.validity(node)?;
                self.values(node, key.primitive_width().unwrap_or(8) as u64)?;
            }
            DataType::FixedSizeBinary(width) => {
                self.validity(node)?;
                let width = u64::try_from(*width)
                    .map_err(|_| Error::malformed(format!("expected a width of values, found {width}")))?;
                self.values(node, width)?;
            }
            primitive => {
                let width = primitive.primitive_width().ok_or_else(|| {
                    Error::unsupported(format!("{primitive} is a type this crate does not know"))
                })?;
                self.validity(node)?;
                self.values(node, width as u64)?;
            }
        }
        Ok(())
    }
}
