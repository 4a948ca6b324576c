//! Values of varying length: their bytes one after another, and where each of them ends.
//!
//! Most texts are short, and copying one as long as it is costs more than copying 64 bytes whatever they are: what was
//! written too much lies where the next text goes. So there is always room for 64 bytes more than there are.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, GenericBinaryArray, OffsetSizeTrait};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use bytemuck::Pod;
use bytes::Bytes;

use super::super::buffers::{Buffers, Store};
use super::keys::{Run, Runs, unpack};
use super::levels::Bits;
use super::{Fault, Flat, Read, Stored, Values, contradictory};
use crate::error::{Error, ErrorKind, Result};

/// Bytes copied at once.
const SHORT: usize = 64;

/// Bytes of a dictionary that is copied.
const SMALL_DICTIONARY: usize = 16 << 10;

/// An offset into the bytes of an array.
pub(super) trait Offset: Pod + OffsetSizeTrait {
    /// Bytes that offsets can count.
    const MOST: usize;

    fn of(bytes: usize) -> Self;
}

impl Offset for i32 {
    const MOST: usize = i32::MAX as usize;

    #[inline]
    fn of(bytes: usize) -> Self {
        bytes as i32
    }
}

impl Offset for i64 {
    const MOST: usize = isize::MAX as usize;

    #[inline]
    fn of(bytes: usize) -> Self {
        bytes as i64
    }
}

pub(super) struct Text<O> {
    /// Where each row begins, and the last one ends.
    offsets: Store,
    texts: Texts,
    dictionary: Dictionary,
    /// Whether all texts so far are ASCII; `false` where nobody asks.
    are_ascii: bool,
    offset: PhantomData<O>,
}

/// The bytes of all texts so far.
struct Texts {
    store: Store,
    len: usize,
    /// Bytes they may take.
    most: usize,
}

impl Texts {
    #[cold]
    fn too_large(&self, len: usize) -> Error {
        let words = format!(
            "expected the text of a column chunk to take at most {} bytes in a file of its size, found {len} or more",
            self.most
        );
        Error::new(ErrorKind::TooLarge, words)
    }

    /// Makes room for `more` bytes, if there may be as many.
    #[inline]
    fn reserve(&mut self, more: usize) -> Result<()> {
        let len = self.len.saturating_add(more);
        if len > self.most { Err(self.too_large(len)) } else { self.store.reserve(len + SHORT) }
    }
}

/// Writes the first `len` bytes of `from` to the front of `to`, and perhaps others behind them where they fit. `None` if
/// there are not as many, or there is no room.
#[inline(always)]
fn copy(from: &[u8], len: usize, to: &mut [u8]) -> Option<()> {
    match (from.first_chunk::<SHORT>(), to.first_chunk_mut::<SHORT>()) {
        (Some(from), Some(to)) if len <= SHORT => *to = *from,
        _ => copy_exactly(from, len, to)?,
    }
    Some(())
}

// Apart, lest the two be made one call of `memcpy`.
#[inline(never)]
fn copy_exactly(from: &[u8], len: usize, to: &mut [u8]) -> Option<()> {
    to.get_mut(..len)?.copy_from_slice(from.get(..len)?);
    Some(())
}

/// The texts that keys stand for.
#[derive(Default)]
struct Dictionary {
    /// As the page has them.
    bytes: Bytes,
    /// Where each begins in it, and how long it is.
    places: Vec<(u32, u32)>,
    longest: usize,
    is_ascii: bool,
}

impl Dictionary {
    fn new(page: &Bytes, num_values: usize, asked: bool) -> Option<Self> {
        // A page has less than 2³¹ bytes, and each text takes four of them and its own.
        let mut places = Vec::with_capacity(num_values.min(page.len() / 4));
        let (mut at, mut longest) = (0usize, 0);
        for _ in 0..num_values {
            let len = u32::from_le_bytes(*page.get(at..)?.first_chunk::<4>()?);
            at += 4;
            places.push((u32::try_from(at).ok()?, len));
            longest = longest.max(len as usize);
            at = at.checked_add(len as usize).filter(|&end| end <= page.len())?;
        }
        // Of a small dictionary many texts lie near its end: it gets an end that is further off.
        let is_small = page.len() <= SMALL_DICTIONARY;
        let bytes = if is_small { [page, &[0; SHORT][..]].concat().into() } else { page.clone() };
        let text = |&(start, len): &(u32, u32)| &bytes[start as usize..][..len as usize];
        // Mostly lengths are ASCII too.
        let is_ascii = asked && (page.is_ascii() || places.iter().all(|place| text(place).is_ascii()));
        Some(Dictionary { bytes, places, longest, is_ascii })
    }

    /// Bytes that the texts of `keys` do not exceed: what they are, unless as many of the longest make no difference.
    #[inline(always)]
    fn most(&self, keys: &[u32]) -> Option<usize> {
        if self.longest <= SHORT {
            return Some(keys.len() * SHORT);
        }
        keys.iter().try_fold(0usize, |sum, &key| Some(sum + self.text(key)?.1))
    }

    /// The bytes from the text that `key` stands for on, and how long it is.
    #[inline(always)]
    fn text(&self, key: u32) -> Option<(&[u8], usize)> {
        let &(start, len) = self.places.get(key as usize)?;
        Some((self.bytes.get(start as usize..)?, len as usize))
    }
}

impl<O: Offset> Text<O> {
    pub(super) fn new(flat: &Flat<'_>, buffers: &Buffers) -> Result<Self> {
        let mut offsets = buffers.store(flat.room_for((flat.num_rows + 1) * size_of::<O>()))?;
        offsets.cells::<O>()[0] = O::of(0);
        let store = buffers.store(flat.room_for(flat.text_bytes.saturating_add(SHORT)))?;
        Ok(Text {
            offsets,
            texts: Texts { store, len: 0, most: flat.text_cap_bytes.min(O::MOST) },
            dictionary: Dictionary::default(),
            are_ascii: flat.is_text,
            offset: PhantomData,
        })
    }
}

/// Appends `out.len()` texts, each behind its length, and writes where they end.
fn plain<O: Offset>(page: &[u8], out: &mut [O], texts: &mut Texts) -> Read {
    // Of the page's bytes, four for each text are no text.
    let text = out.len().checked_mul(4).and_then(|lens| page.len().checked_sub(lens));
    texts.reserve(text.ok_or(Fault::Contradiction)?)?;
    let mut to = &mut texts.store.cells::<u8>()[texts.len..];
    let mut at = texts.len;
    let mut page = page;
    for end in out {
        let (len, rest) = page.split_first_chunk::<4>().ok_or(Fault::Contradiction)?;
        let len = u32::from_le_bytes(*len) as usize;
        copy(rest, len, to).ok_or(Fault::Contradiction)?;
        page = &rest[len..];
        to = &mut to[len..];
        at += len;
        *end = O::of(at);
    }
    texts.len = at;
    Ok(())
}

/// Appends the texts that the keys of `page` stand for, and writes where they end.
fn keyed<O: Offset>(page: &[u8], dictionary: &Dictionary, out: &mut [O], texts: &mut Texts) -> Read {
    let mut ends = out.iter_mut();
    let mut runs = Runs::of_keys(page, ends.len()).ok_or(Fault::Contradiction)?;
    let width = runs.width();
    for run in &mut runs {
        match run {
            Run::Same { value, count } => {
                let (text, len) = dictionary.text(value).ok_or(Fault::Contradiction)?;
                texts.reserve(len.saturating_mul(count))?;
                let mut to = &mut texts.store.cells::<u8>()[texts.len..];
                for end in ends.by_ref().take(count) {
                    copy(text, len, to).ok_or(Fault::Contradiction)?;
                    to = &mut to[len..];
                    texts.len += len;
                    *end = O::of(texts.len);
                }
            }
            Run::Packed { bytes, count } => {
                let mut fault = Fault::Contradiction;
                let read = unpack(bytes, width, count, |keys| {
                    let most = dictionary.most(keys)?;
                    texts.reserve(most).map_err(|e| fault = e.into()).ok()?;
                    let mut to = &mut texts.store.cells::<u8>()[texts.len..];
                    let mut at = texts.len;
                    for (&key, end) in keys.iter().zip(ends.by_ref()) {
                        let (text, len) = dictionary.text(key)?;
                        copy(text, len, to)?;
                        to = &mut to[len..];
                        at += len;
                        *end = O::of(at);
                    }
                    texts.len = at;
                    Some(())
                });
                read.ok_or(fault)?;
            }
        }
    }
    if runs.left == 0 { Ok(()) } else { Err(Fault::Contradiction) }
}

impl<O: Offset> Values for Text<O> {
    fn dictionary(&mut self, page: &Bytes, num_values: usize) -> Read {
        self.dictionary = Dictionary::new(page, num_values, self.are_ascii).ok_or(Fault::Contradiction)?;
        Ok(())
    }

    fn values(&mut self, stored: Stored<'_>, count: usize, rows: Range<usize>) -> Read {
        self.offsets.reserve((rows.end + 1) * size_of::<O>())?;
        let ends = &mut self.offsets.cells::<O>()[rows.start + 1..][..count];
        let before = self.texts.len;
        match stored {
            Stored::Plain(page) => {
                plain(page, ends, &mut self.texts)?;
                // While they are near.
                let range = before..self.texts.len;
                self.are_ascii = self.are_ascii && self.texts.store.as_ref()[range].is_ascii();
            }
            Stored::Keys(page) => {
                keyed(page, &self.dictionary, ends, &mut self.texts)?;
                self.are_ascii &= self.dictionary.is_ascii;
            }
            Stored::Runs(_) => return Err(Fault::Contradiction),
        }
        Ok(())
    }

    fn spread(&mut self, valid: &Bits, count: usize, rows: Range<usize>) {
        // The offset before the first of the rows stands for a text that ends there.
        let ends = &mut self.offsets.cells::<O>()[rows.start..=rows.end];
        let mut left = count;
        for row in (0..rows.len()).rev() {
            ends[row + 1] = ends[left];
            left -= usize::from(valid.get(rows.start + row));
        }
    }

    fn are_ascii(&self) -> bool {
        self.are_ascii
    }

    fn finish(
        self: Box<Self>,
        data_type: &DataType,
        num_rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        debug_assert_eq!(*data_type, GenericBinaryArray::<O>::DATA_TYPE);
        let offsets = self.offsets.freeze((num_rows + 1) * size_of::<O>());
        let offsets = OffsetBuffer::<O>::new(ScalarBuffer::new(offsets, 0, num_rows + 1));
        let bytes = self.texts.store.freeze(self.texts.len);
        Ok(Arc::new(GenericBinaryArray::try_new(offsets, bytes, nulls).map_err(contradictory)?))
    }
}
