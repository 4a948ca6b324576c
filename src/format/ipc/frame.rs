//! The frame of an IPC file or stream: its schema and where its messages lie.
#![forbid(unsafe_code)]

use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::{Endianness, Message, MessageHeader, MetadataVersion, Schema as IpcSchema};
use arrow::ipc::{root_as_footer, root_as_message};

use super::MAGIC;
use crate::error::{Error, Result};
use crate::map::Region;

/// Everything of an IPC file but its columns.
pub(super) struct Contents {
    pub(super) schema: SchemaRef,
    pub(super) version: MetadataVersion,
    pub(super) dictionaries: Vec<MessageRef>,
    pub(super) batches: Vec<MessageRef>,
}

/// Where a message lies; checked against the length of the file.
#[derive(Clone, Copy)]
pub(super) struct MessageRef {
    /// The message's first byte, that of its length prefix.
    pub(super) offset: u64,
    /// Bytes from there to the body.
    pub(super) metadata_bytes: u64,
    pub(super) body_bytes: u64,
    /// How many of the dictionary batches come before it.
    pub(super) num_dictionaries: usize,
}

impl MessageRef {
    pub(super) fn body_offset(&self) -> u64 {
        self.offset + self.metadata_bytes
    }

    pub(super) fn end(&self) -> u64 {
        self.body_offset() + self.body_bytes
    }
}

/// The metadata of a message on the heap, its flatbuffer from `start`.
pub(super) struct Metadata {
    bytes: Vec<u8>,
    start: usize,
}

impl Metadata {
    /// Copies the metadata of `message` out of `region`.
    pub(super) fn read(region: &Region, message: &MessageRef) -> Result<Self> {
        let bytes = region.read(message.offset..message.body_offset())?;
        let start = if bytes.starts_with(&CONTINUATION) { 8 } else { 4 };
        if bytes.len() < start {
            return Err(Error::malformed(format!(
                "expected a message of at least 8 bytes, found {}",
                bytes.len()
            )));
        }
        Ok(Metadata { bytes, start })
    }

    pub(super) fn parse(&self) -> Result<Message<'_>> {
        parse_message(&self.bytes[self.start..])
    }
}

const CONTINUATION: [u8; 4] = [0xFF; 4];

pub(super) fn read(region: &Region) -> Result<Contents> {
    let head = region.read(0..region.len_bytes().min(8))?;
    if head.starts_with(MAGIC) { read_file(region) } else { read_stream(region) }
}

fn read_file(region: &Region) -> Result<Contents> {
    let len = region.len_bytes();
    // Magic and padding, the footer's length, magic.
    if len < 8 + 4 + 6 {
        return Err(Error::malformed(format!("expected an Arrow file of at least 18 bytes, found {len}")));
    }
    let tail = region.read(len - 10..len)?;
    if !tail.ends_with(MAGIC) {
        return Err(Error::malformed(
            "expected the file to end with ARROW1: it was cut or is still being written",
        )
        .at_byte(len - 6));
    }
    let footer_bytes = i32::from_le_bytes(tail[..4].try_into().expect("4 bytes"));
    let footer_end = len - 10;
    let footer_start = u64::try_from(footer_bytes)
        .ok()
        .and_then(|bytes| footer_end.checked_sub(bytes))
        .filter(|&start| start >= 8 && start < footer_end)
        .ok_or_else(|| {
            Error::malformed(format!(
                "expected a footer within {footer_end} bytes, found its length to be {footer_bytes}"
            ))
            .at_byte(footer_end)
        })?;
    let bytes = region.read(footer_start..footer_end)?;
    let footer = root_as_footer(&bytes).map_err(|e| {
        Error::malformed(format!("the footer is no valid flatbuffer: {e}")).at_byte(footer_start)
    })?;
    let schema =
        footer.schema().ok_or_else(|| Error::malformed("the footer has no schema").at_byte(footer_start))?;
    let schema = read_schema(schema).map_err(|e| e.at_byte(footer_start))?;

    let block = |index: usize, kind: &str, block: &arrow::ipc::Block| {
        let place = || {
            let offset = u64::try_from(block.offset()).ok()?;
            let metadata_bytes = u64::try_from(block.metaDataLength()).ok()?;
            let body_bytes = u64::try_from(block.bodyLength()).ok()?;
            let end = offset.checked_add(metadata_bytes)?.checked_add(body_bytes)?;
            (offset >= 8 && metadata_bytes >= 8 && end <= footer_start).then_some(MessageRef {
                offset,
                metadata_bytes,
                body_bytes,
                num_dictionaries: footer.dictionaries().map_or(0, |d| d.len()),
            })
        };
        place().ok_or_else(|| {
            Error::malformed(format!(
                "expected {kind} {index} to lie between bytes 8 and {footer_start}, found it at {} with {} bytes of metadata and {} of body",
                block.offset(),
                block.metaDataLength(),
                block.bodyLength()
            ))
            .at_byte(footer_start)
        })
    };
    let dictionaries = footer.dictionaries().into_iter().flatten().enumerate();
    let batches = footer.recordBatches().into_iter().flatten().enumerate();
    Ok(Contents {
        schema,
        version: footer.version(),
        dictionaries: dictionaries.map(|(i, b)| block(i, "dictionary", b)).collect::<Result<_>>()?,
        batches: batches.map(|(i, b)| block(i, "record batch", b)).collect::<Result<_>>()?,
    })
}

fn read_stream(region: &Region) -> Result<Contents> {
    let mut offset = 0;
    let mut schema = None;
    let mut dictionaries = Vec::new();
    let mut batches = Vec::new();
    while let Some(message) = next_message(region, offset, dictionaries.len())? {
        let at_message = |error: Error| error.at_byte(offset);
        let metadata = Metadata::read(region, &message)?;
        let parsed = metadata.parse().map_err(at_message)?;
        let body_bytes = u64::try_from(parsed.bodyLength())
            .ok()
            .filter(|&bytes| bytes <= region.len_bytes() - message.body_offset())
            .ok_or_else(|| {
                Error::malformed(format!(
                    "expected a body within the {} bytes that are left of the stream, found its length to be {}",
                    region.len_bytes() - message.body_offset(),
                    parsed.bodyLength()
                ))
                .at_byte(offset)
            })?;
        let message = MessageRef { body_bytes, ..message };
        match (parsed.header_type(), &schema) {
            (MessageHeader::Schema, None) => {
                let ipc =
                    parsed.header_as_schema().ok_or_else(|| Error::malformed("a schema message without one"));
                schema = Some((read_schema(ipc.map_err(at_message)?).map_err(at_message)?, parsed.version()));
            }
            (MessageHeader::DictionaryBatch, Some(_)) => dictionaries.push(message),
            (MessageHeader::RecordBatch, Some(_)) => batches.push(message),
            (found, None) => {
                return Err(Error::malformed(format!(
                    "expected a stream to begin with a schema, found {found:?}"
                ))
                .at_byte(offset));
            }
            (found, Some(_)) => {
                return Err(Error::malformed(format!(
                    "expected a dictionary or record batch, found {found:?}"
                ))
                .at_byte(offset));
            }
        }
        offset = message.body_offset() + body_bytes;
    }
    let (schema, version) =
        schema.ok_or_else(|| Error::malformed("expected an Arrow stream, found no message").at_byte(0))?;
    Ok(Contents { schema, version, dictionaries, batches })
}

/// The message at `offset`, its body still unknown; `None` at the end of the stream.
fn next_message(region: &Region, offset: u64, num_dictionaries: usize) -> Result<Option<MessageRef>> {
    let left = region.len_bytes() - offset;
    let prefix = region.read(offset..offset + left.min(8))?;
    if prefix.is_empty() || prefix == [0; 4] {
        return Ok(None);
    }
    let (prefix_bytes, length) = match prefix.as_slice() {
        [0xFF, 0xFF, 0xFF, 0xFF, a, b, c, d] => (8, [*a, *b, *c, *d]),
        [a, b, c, d, ..] if *prefix != CONTINUATION => (4, [*a, *b, *c, *d]),
        _ => {
            return Err(Error::malformed(format!(
                "expected a message, found the stream cut after {left} bytes of it"
            ))
            .at_byte(offset));
        }
    };
    let length = i32::from_le_bytes(length);
    if length == 0 {
        return Ok(None);
    }
    let metadata_bytes =
        u64::try_from(length).ok().map(|bytes| bytes + prefix_bytes).filter(|&bytes| bytes <= left);
    let metadata_bytes = metadata_bytes.ok_or_else(|| {
        Error::malformed(format!(
            "expected a message within the {left} bytes that are left of the stream, found the length of its metadata to be {length}"
        ))
        .at_byte(offset)
    })?;
    Ok(Some(MessageRef { offset, metadata_bytes, body_bytes: 0, num_dictionaries }))
}

fn parse_message(bytes: &[u8]) -> Result<Message<'_>> {
    root_as_message(bytes).map_err(|e| Error::malformed(format!("a message is no valid flatbuffer: {e}")))
}

fn read_schema(schema: IpcSchema<'_>) -> Result<SchemaRef> {
    if schema.endianness() != Endianness::Little {
        return Err(Error::unsupported("the file is big-endian: write it anew on a little-endian machine"));
    }
    // The conversion checks most of what a flatbuffer can say, not all: see the fuzzing finds of arrow-testing.
    let converted =
        catch_unwind(std::panic::AssertUnwindSafe(|| try_fb_to_schema(schema))).map_err(|panic| {
            Error::malformed("the schema is contradictory").with_source(Error::panicked("arrow", &*panic))
        })?;
    let schema =
        converted.map_err(|e| Error::malformed(format!("the schema cannot be read: {e}")).with_source(e))?;
    for field in schema.fields() {
        check_type(field.data_type()).map_err(|what| {
            Error::malformed(format!("column '{}' is of type {}: {what}", field.name(), field.data_type()))
        })?;
    }
    Ok(Arc::new(schema))
}

/// Types that can be written down but not be: arrow panics on arrays of them.
pub(in crate::format) fn check_type(data_type: &DataType) -> Result<(), &'static str> {
    match data_type {
        DataType::FixedSizeBinary(..0) | DataType::FixedSizeList(_, ..0) => {
            return Err("expected a length of at least 0");
        }
        DataType::RunEndEncoded(ends, _)
            if !matches!(ends.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64) =>
        {
            return Err("expected run ends to be signed integers of 16, 32 or 64 bits");
        }
        DataType::Map(entries, _) if !matches!(entries.data_type(), DataType::Struct(fields) if fields.len() == 2) =>
        {
            return Err("expected the entries of a map to be a key and a value");
        }
        _ => {}
    }
    match data_type {
        DataType::Dictionary(_, values) => check_type(values),
        DataType::RunEndEncoded(_, item)
        | DataType::Map(item, _)
        | DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => check_type(item.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        DataType::Union(fields, _) => fields.iter().try_for_each(|(_, field)| check_type(field.data_type())),
        _ => Ok(()),
    }
}
