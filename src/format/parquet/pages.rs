//! The pages of one column chunk, as the decoder wants them: found, checked and inflated one at a time.
//!
//! Nothing of a page is believed before it was held against the chunk it lies in:
//!
//! - its stored bytes lie within the chunk;
//! - its inflated bytes stay within the cap, and inflating stops there;
//! - its checksum, where it has one, is right;
//! - the pages together hold no more values than the chunk has;
//! - the text of all pages together stays within the cap ([`values`](super::values)).
//!
//! The bytes of a page are copied out of the region once, header first, and everything is read from the copy.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Crc;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};

use super::buffers::Buffers;
use super::header::{Body, PageHeader, parse};
use super::inflate::Inflater;
use super::thrift::Fault;
use super::values::{Leaf, Lengths, behind_levels, text_bytes, with_unsigned_days};
use crate::error::{Error, ErrorKind, Result};
use crate::map::Region;

/// Where a decoder leaves the error that it can only pass on in words.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// The error, if there was one.
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn leave(&self, error: Error) -> ParquetError {
        let words = ParquetError::General(error.message().to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        words
    }
}

/// The pages of one column chunk.
pub(super) struct Pages {
    region: Region,
    /// The first byte of the page read last.
    page_start: u64,
    /// The next page's first byte, and the end of the chunk.
    at: u64,
    end: u64,
    /// A header that was looked at already.
    next: Option<PageHeader>,
    leaf: Leaf,
    inflater: Option<Inflater>,
    /// Values that the pages to come may hold, and those of the whole chunk.
    values_left: u64,
    num_values: u64,
    /// Bytes a page, or the text of the chunk, may take.
    cap_bytes: u64,
    text_bytes: u64,
    counts_keys: bool,
    dictionary: Option<Option<Lengths>>,
    buffers: Buffers,
    failure: Failure,
}

/// A column chunk: where it lies, and what is in it.
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) num_values: u64,
    pub(super) leaf: Leaf,
    /// Whether text that keys stand for is to be counted: its decoder makes room for whatever it is.
    pub(super) counts_keys: bool,
}

/// How much of a page is looked at for its header, at first: most take less, those with long statistics more.
const HEADER_BYTES: u64 = 256;

impl Pages {
    pub(super) fn new(
        region: &Region,
        chunk: &Chunk,
        inflater: Option<Inflater>,
        cap_bytes: u64,
        buffers: Buffers,
        failure: Failure,
    ) -> Self {
        Pages {
            region: region.clone(),
            page_start: chunk.start,
            at: chunk.start,
            end: chunk.end,
            next: None,
            leaf: chunk.leaf,
            inflater,
            values_left: chunk.num_values,
            num_values: chunk.num_values,
            cap_bytes,
            text_bytes: 0,
            counts_keys: chunk.counts_keys,
            dictionary: None,
            buffers,
            failure,
        }
    }

    /// The next page; `None` behind the last value.
    pub(super) fn next_page(&mut self) -> Result<Option<Page>> {
        self.read().map_err(|error| error.at_byte(self.at))
    }

    /// The first byte of the page read last.
    pub(super) fn page_start(&self) -> u64 {
        self.page_start
    }

    /// The header of the next page that matters; `None` behind the last value.
    fn header(&mut self) -> Result<Option<PageHeader>> {
        while self.next.is_none() {
            if self.at == self.end || self.values_left == 0 {
                return Ok(None);
            }
            let header = self.read_header()?;
            let left = self.end - self.at;
            if header.stored_bytes > left - header.len_bytes {
                return Err(Error::malformed(format!(
                    "expected a page within the {left} bytes that are left of its column chunk, found a header of {} \
                     that claims {}",
                    header.len_bytes, header.stored_bytes
                )));
            }
            if header.body == Body::Other {
                self.at += header.len_bytes + header.stored_bytes;
            } else {
                self.next = Some(header);
            }
        }
        Ok(self.next)
    }

    fn read_header(&self) -> Result<PageHeader> {
        let left = self.end - self.at;
        let mut window = HEADER_BYTES.min(left);
        loop {
            let bytes = self.region.read(self.at..self.at + window)?;
            match parse(&bytes) {
                Ok(header) => return Ok(header),
                Err(Fault::Cut) if window < left => window = (window * 8).min(left),
                Err(Fault::Cut) => {
                    return Err(Error::malformed(format!(
                        "expected a page header within the {left} bytes that are left of its column chunk, found it cut"
                    )));
                }
                Err(Fault::Bad(what)) => {
                    return Err(Error::malformed(format!("expected a page header, found {what}")));
                }
            }
        }
    }

    /// The next page, its errors without their place.
    fn read(&mut self) -> Result<Option<Page>> {
        let Some(header) = self.header()? else { return Ok(None) };
        if header.inflated_bytes > self.cap_bytes {
            return Err(self.too_large("a page", header.inflated_bytes));
        }
        let start = self.at + header.len_bytes;
        let buf = self.body(&header, start..start + header.stored_bytes)?;
        let page = match header.body {
            Body::Dictionary { num_values, encoding, is_sorted } => {
                self.check_dictionary(num_values, &buf)?;
                let buf = self.with_unsigned_days(buf, 0);
                Page::DictionaryPage { buf, num_values, encoding, is_sorted }
            }
            Body::Data { num_values, encoding, def_encoding, rep_encoding } => {
                self.count(num_values)?;
                let values = behind_levels(&buf, num_values, &self.leaf, [rep_encoding, def_encoding])
                    .ok_or_else(|| Error::malformed("expected the levels of a page to lie within it"))?;
                self.check_text(values, num_values, encoding)?;
                let start = buf.len() - values.len();
                let buf = if encoding == Encoding::PLAIN { self.with_unsigned_days(buf, start) } else { buf };
                Page::DataPage {
                    buf,
                    num_values,
                    encoding,
                    def_level_encoding: def_encoding,
                    rep_level_encoding: rep_encoding,
                    statistics: None,
                }
            }
            Body::DataV2 { num_values, num_nulls, num_rows, encoding, levels, compressed } => {
                self.count(num_values)?;
                let levels_end = u64::from(levels.def_bytes) + u64::from(levels.rep_bytes);
                let values = usize::try_from(levels_end).ok().and_then(|end| buf.get(end..));
                let values = values.filter(|_| num_nulls <= num_values).ok_or_else(|| {
                    Error::malformed(format!(
                        "expected levels and nulls of a page of {} bytes and {num_values} values, found {levels_end} bytes \
                         of levels and {num_nulls} nulls",
                        buf.len()
                    ))
                })?;
                self.check_text(values, num_values, encoding)?;
                let start = buf.len() - values.len();
                let buf = if encoding == Encoding::PLAIN { self.with_unsigned_days(buf, start) } else { buf };
                Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len: levels.def_bytes,
                    rep_levels_byte_len: levels.rep_bytes,
                    is_compressed: compressed,
                    statistics: None,
                }
            }
            Body::Other => unreachable!("passed over"),
        };
        self.page_start = self.at;
        self.at = start + header.stored_bytes;
        self.next = None;
        Ok(Some(page))
    }

    /// The bytes of a page, inflated.
    fn body(&mut self, header: &PageHeader, range: std::ops::Range<u64>) -> Result<Bytes> {
        let stored = match self.region.lend(range.clone()) {
            Some(lent) => Bytes::from_owner(lent),
            None => {
                let mut copy = self.buffers.take();
                copy.clear();
                // A chunk lies within the region, and a page within its chunk.
                self.region.append_to(range, &mut copy)?;
                self.buffers.lend(copy)
            }
        };
        check_crc(header, &stored)?;
        let Some(inflater) = &mut self.inflater else { return Ok(stored) };
        let inflated_bytes = header.inflated_bytes as usize;
        let (plain_bytes, compressed) = match header.body {
            Body::DataV2 { levels, compressed, .. } => {
                (levels.def_bytes as usize + levels.rep_bytes as usize, compressed)
            }
            _ => (0, true),
        };
        if !compressed {
            return Ok(stored);
        }
        let (plain, packed) = stored.split_at_checked(plain_bytes).ok_or_else(|| {
            Error::malformed(format!(
                "expected the {plain_bytes} bytes of its levels in a page of {} bytes",
                stored.len()
            ))
        })?;
        let packed_bytes = inflated_bytes.checked_sub(plain_bytes).ok_or_else(|| {
            Error::malformed(format!(
                "expected the {plain_bytes} bytes of its levels in a page that inflates to {inflated_bytes} bytes"
            ))
        })?;
        let mut bytes = self.buffers.take();
        bytes.clear();
        reserve(&mut bytes, header.inflated_bytes)?;
        bytes.extend_from_slice(plain);
        // A page of nothing but nulls may have no stream at all.
        if packed_bytes > 0 {
            inflater.inflate(packed, packed_bytes, &mut bytes)?;
        }
        Ok(self.buffers.lend(bytes))
    }

    fn with_unsigned_days(&self, page: Bytes, start: usize) -> Bytes {
        let changed = (self.leaf.physical == Type::INT96).then(|| with_unsigned_days(&page, start)).flatten();
        changed.map_or(page, Bytes::from)
    }

    fn check_dictionary(&mut self, num_values: u32, bytes: &[u8]) -> Result<()> {
        let least = u64::from(num_values).saturating_mul(self.leaf.stored_width_bytes);
        let lengths = if self.leaf.is_text() && self.counts_keys {
            Lengths::of(bytes, num_values, self.num_values, text_cap_bytes(self.cap_bytes)).map(Some)
        } else {
            Some(None)
        };
        match lengths {
            Some(lengths) if self.dictionary.is_none() && least <= bytes.len() as u64 => {
                self.dictionary = Some(lengths);
                Ok(())
            }
            _ if self.dictionary.is_some() => {
                Err(Error::malformed("expected one dictionary in a column chunk, found two"))
            }
            _ => Err(Error::malformed(format!(
                "expected a dictionary of {num_values} values, found {} bytes that do not hold as many",
                bytes.len()
            ))),
        }
    }

    /// Counts the values of a page.
    fn count(&mut self, num_values: u32) -> Result<()> {
        self.values_left = self.values_left.checked_sub(num_values.into()).ok_or_else(|| {
            Error::malformed(format!(
                "expected a column chunk of {} values, found a page of {num_values} where {} are left",
                self.num_values, self.values_left
            ))
        })?;
        Ok(())
    }

    fn check_text(&mut self, values: &[u8], num_values: u32, encoding: Encoding) -> Result<()> {
        let dictionary = self.dictionary.as_ref().and_then(Option::as_ref);
        let count_keys =
            dictionary.is_some_and(|lengths| lengths.most(self.num_values) > text_cap_bytes(self.cap_bytes));
        let bytes = text_bytes(values, num_values, encoding, &self.leaf, dictionary, count_keys).ok_or_else(
            || {
                Error::malformed(format!(
                    "expected {num_values} values in a page, found lengths or keys that contradict it"
                ))
            },
        )?;
        if self.leaf.is_text() {
            self.text_bytes = self.text_bytes.saturating_add(bytes);
            if self.text_bytes > text_cap_bytes(self.cap_bytes) {
                return Err(self.too_large("the text of a column chunk", self.text_bytes));
            }
        }
        Ok(())
    }

    fn too_large(&self, what: &str, bytes: u64) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected {what} to take at most {} bytes in a file of {}, found {bytes}",
                self.cap_bytes,
                self.region.len_bytes()
            ),
        )
    }

    fn placed<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> ParquetResult<T> {
        read(self).map_err(|error| self.failure.leave(error.at_byte(self.at)))
    }
}

/// Bytes of text where `cap_bytes` may be taken: vectors that grow take up to twice what they hold.
pub(super) fn text_cap_bytes(cap_bytes: u64) -> u64 {
    cap_bytes / 2
}

/// Makes room for a page of `len_bytes` bytes.
fn reserve(buffer: &mut Vec<u8>, len_bytes: u64) -> Result<()> {
    let more = (len_bytes as usize).saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|e| {
        Error::new(ErrorKind::TooLarge, format!("no memory for a page of {len_bytes} bytes")).with_source(e)
    })
}

fn check_crc(header: &PageHeader, stored: &[u8]) -> Result<()> {
    let Some(expected) = header.crc else { return Ok(()) };
    let mut crc = Crc::new();
    crc.update(stored);
    if crc.sum() != expected {
        return Err(Error::mismatch(format!(
            "expected a page whose checksum is {expected:#010x}, found {:#010x}: the file is damaged",
            crc.sum()
        )));
    }
    Ok(())
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.placed(Pages::read)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        let header = self.placed(Pages::header)?;
        Ok(header.map(|header| match header.body {
            Body::Data { num_values, .. } => {
                PageMetadata { num_rows: None, num_levels: Some(num_values as usize), is_dict: false }
            }
            Body::DataV2 { num_values, num_rows, .. } => PageMetadata {
                num_rows: Some(num_rows as usize),
                num_levels: Some(num_values as usize),
                is_dict: false,
            },
            Body::Dictionary { .. } | Body::Other => {
                PageMetadata { num_rows: None, num_levels: None, is_dict: true }
            }
        }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.get_next_page().map(drop)
    }
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// The pages of the one column chunk there is to read.
pub(super) struct OneChunk(pub(super) Option<Pages>);

impl Iterator for OneChunk {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as _))
    }
}

impl PageIterator for OneChunk {}
