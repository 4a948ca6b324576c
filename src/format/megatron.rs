//! Megatron-LM's indexed datasets: an `.idx` that says where each sequence of tokens lies in a `.bin`.
//!
//! Every number in the index is little-endian; D and S are counted before the three arrays.
//!
//! ```text
//!     byte  0                          9       17   18      26      34        34 + 4·S    34 + 12·S
//!          ┌──┬──┬──┬──┬──┬──┬──┬──┬──┬───────┬────┬───────┬───────┬─── ─ ─ ──┬─── ─ ─ ───┬─── ─ ─ ────┐
//!          │M  M  I  D  I  D  X  0  0 │ 1     │code│ S     │ D     │ sizes[S] │pointers[S]│documents[D]│
//!          └──┴──┴──┴──┴──┴──┴──┴──┴──┴───────┴────┴───────┴───────┴─── ─ ─ ──┴─── ─ ─ ───┴─── ─ ─ ────┘
//!                                      u64     u8   u64     u64     i32        i64         i64
//!
//!     code   1 u8   2 i8   3 i16   4 i32   5 i64   8 u16
//! ```
//!
//! Sequence i is the `sizes[i]` tokens from byte `pointers[i]` of the `.bin` on. Document j is the sequences
//! `documents[j]..documents[j + 1]`: one of them, unless the text was split into sentences. Behind the arrays a
//! multimodal dataset has S more bytes, the mode of each sequence, which are not read.
//!
//! Opening one reads the whole index once, a block at a time. [`check`](MegatronIndex::check) needs no memory a row for
//! it, which is what [`windows`](MegatronIndex::windows) over the whole stream of tokens rest on; rows that are
//! documents take 16 bytes each ([`document_extents`](MegatronIndex::document_extents)).
//!
//! Deliberately absent: the codes 6 and 7, floats, of which writers disagree on the width; the older index of the
//! magic `TNTIDX`; and the blending and packing of sequences, which is the sampler's work.
//!
//! Source: [`megatron/core/datasets/indexed_dataset.py`] of Megatron-LM.
//!
//! [`megatron/core/datasets/indexed_dataset.py`]: https://github.com/NVIDIA/Megatron-LM
#![forbid(unsafe_code)]

use std::ops::Range;

use super::extents::{Extent, Extents, ExtentsBuilder};
use super::tensor::TensorFile;
use super::tokens::TokenSpec;
use crate::error::{Error, Result};
use crate::layout::DType;
use crate::map::Region;

/// What an index begins with.
pub(crate) const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";

/// How many bytes of the index [`MegatronIndex::parse`] looks at.
pub(crate) const HEADER_BYTES: usize = 34;

/// How many sequences are looked at in one go.
const BLOCK_ROWS: u64 = 4096;

/// Whether a file that begins with `head` is an index.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// What the header of an index says, held against the length of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MegatronIndex {
    /// The type of a token.
    pub(crate) dtype: DType,
    pub(crate) num_sequences: u64,
    pub(crate) num_documents: u64,
    /// How many numbers say where documents begin and end: one more than there are of them, or none of none.
    pub(crate) num_entries: u64,
    /// Where the i32 sizes lie in the index, in tokens, one a sequence.
    pub(crate) sizes_at: u64,
    /// Where the i64 pointers lie in the index, in bytes of the `.bin`, one a sequence.
    pub(crate) pointers_at: u64,
    /// Where the i64 entries of documents lie in the index.
    pub(crate) documents_at: u64,
}

/// How the sequences lie in the `.bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Tokens of all sequences together.
    pub(crate) num_tokens: u64,
    /// Whether the sequences fill the `.bin` one after another, in order, from its first byte to its last.
    pub(crate) is_gapless: bool,
}

impl MegatronIndex {
    /// Reads `header`, the first [`HEADER_BYTES`] bytes of an index of `index_len` bytes.
    ///
    /// # Errors
    ///
    /// `Malformed` when the header breaks the format or does not agree with `index_len`; `Unsupported` for
    /// another version and for floats.
    pub(crate) fn parse(header: &[u8], index_len: u64) -> Result<Self> {
        let Some(header) = header.first_chunk::<HEADER_BYTES>() else {
            return Err(Error::malformed(format!(
                "expected the {HEADER_BYTES} bytes of a Megatron index's header, found {}",
                header.len()
            ))
            .at_byte(header.len() as u64));
        };
        if !looks_like(header) {
            return Err(Error::malformed(format!(
                "expected a Megatron index to begin with {}, found {}",
                MAGIC.escape_ascii(),
                header[..MAGIC.len()].escape_ascii()
            ))
            .at_byte(0));
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let (version, code, num_sequences, num_entries) = (number(9), header[17], number(18), number(26));
        if version != 1 {
            return Err(Error::unsupported(format!(
                "expected a Megatron index of version 1, found {version}"
            ))
            .at_byte(9));
        }
        let dtype = match code {
            1 => DType::U8,
            2 => DType::I8,
            3 => DType::I16,
            4 => DType::I32,
            5 => DType::I64,
            8 => DType::U16,
            6 | 7 => {
                let message =
                    format!("elements of code {code} are floats, of a width that writers disagree on");
                return Err(Error::unsupported(message).at_byte(17));
            }
            _ => {
                let message = format!("expected the code of a Megatron element type, 1 to 8, found {code}");
                return Err(Error::malformed(message).at_byte(17));
            }
        };
        if num_entries == 0 && num_sequences > 0 {
            let message =
                format!("expected the documents of {num_sequences} sequences, found no entry of them");
            return Err(Error::malformed(message).at_byte(26));
        }
        let declared = || {
            let end = num_sequences.checked_mul(12)?.checked_add(num_entries.checked_mul(8)?)?;
            end.checked_add(HEADER_BYTES as u64)
        };
        match declared() {
            Some(end) if index_len == end || index_len.checked_sub(end) == Some(num_sequences) => {}
            declared => {
                let end = declared.map_or("more than any file holds".to_owned(), |end| end.to_string());
                return Err(Error::malformed(format!(
                    "expected {end} bytes of a Megatron index of {num_sequences} sequences and {num_entries} \
                     entries of documents, found {index_len}"
                ))
                .at_byte(18));
            }
        }
        let sizes_at = HEADER_BYTES as u64;
        let pointers_at = sizes_at + 4 * num_sequences;
        let documents_at = pointers_at + 8 * num_sequences;
        let num_documents = num_entries.saturating_sub(1);
        Ok(MegatronIndex {
            dtype,
            num_sequences,
            num_documents,
            num_entries,
            sizes_at,
            pointers_at,
            documents_at,
        })
    }

    /// Checks that every sequence lies in a `.bin` of `bin_len` bytes, and says whether they fill it.
    ///
    /// # Errors
    ///
    /// `Malformed`, at the sequence's record, for one that lies outside.
    pub(crate) fn check(&self, index: &Region, bin_len: u64) -> Result<Stream> {
        let (mut num_bytes, mut end, mut runs_on) = (0u64, 0, true);
        for rows in self.blocks() {
            self.sequences(index, rows, bin_len, |Extent { start, len }| {
                runs_on &= start == end;
                end = start + len;
                num_bytes = num_bytes.saturating_add(len);
            })?;
        }
        let num_tokens = num_bytes / self.dtype.width_bytes() as u64;
        Ok(Stream { num_tokens, is_gapless: runs_on && end == bin_len })
    }

    /// The extents of all sequences in a `.bin` of `bin_len` bytes: rows of varying length, 16 bytes of memory each.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    pub(crate) fn sequence_extents(&self, index: &Region, bin_len: u64) -> Result<Extents> {
        let mut extents = ExtentsBuilder::with_capacity(self.num_sequences as usize);
        for rows in self.blocks() {
            self.sequences(index, rows, bin_len, |extent| extents.push(Some(extent)))?;
        }
        Ok(extents.finish())
    }

    /// The extents of all documents in a `.bin` of `bin_len` bytes: rows of varying length, 16 bytes of memory each.
    /// Where each document is a sequence, they are those of the sequences.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check); `Malformed` for documents that are not all of the sequences in their order;
    /// `Unsupported` for one whose sequences do not lie one after another.
    pub(crate) fn document_extents(&self, index: &Region, bin_len: u64) -> Result<Extents> {
        if self.is_document_each(index)? {
            return self.sequence_extents(index, bin_len);
        }
        let mut extents = ExtentsBuilder::with_capacity(self.num_documents as usize);
        let mut next = 0;
        for numbers in self.entry_blocks() {
            let at = self.documents_at + 8 * numbers.start;
            let entries = index.read(at..at + 8 * (numbers.end - numbers.start))?;
            for (entry, &bytes) in numbers.zip(entries.as_chunks().0) {
                let bound = u64::try_from(i64::from_le_bytes(bytes)).unwrap_or(u64::MAX);
                let is_last = entry == self.num_documents;
                let is_edge = (entry == 0 && bound != 0) || (is_last && bound != self.num_sequences);
                if bound < next || bound > self.num_sequences || is_edge {
                    return Err(Error::malformed(format!(
                        "expected the documents to be all of the {} sequences in their order, found entry {entry} \
                         to be {}",
                        self.num_sequences,
                        i64::from_le_bytes(bytes)
                    ))
                    .at_byte(self.documents_at + 8 * entry));
                }
                if entry > 0 {
                    let document = self.document(index, next..bound, bin_len);
                    extents.push(Some(document.map_err(|e| e.at_record(entry - 1))?));
                }
                next = bound;
            }
        }
        Ok(extents.finish())
    }

    /// The windows that `seq_len` and `stride` (as in [`TokenSpec`]) cut out of the whole stream of tokens, without
    /// regard to where a document ends, and how many tokens are left over; `stream` is what [`check`](Self::check) said.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for windows that [`TokenSpec`] refuses, `Unsupported` for a stream with gaps.
    pub(crate) fn windows(&self, stream: Stream, seq_len: u64, stride: u64) -> Result<(TensorFile, u64)> {
        if !stream.is_gapless {
            return Err(Error::unsupported(
                "the sequences do not lie one after another in the .bin: read them as rows of varying length",
            ));
        }
        let spec = TokenSpec { dtype: self.dtype, seq_len, stride, header_bytes: 0 };
        spec.check_windows()?;
        spec.windows(stream.num_tokens * self.dtype.width_bytes() as u64)
    }

    /// Whether each sequence is a document.
    fn is_document_each(&self, index: &Region) -> Result<bool> {
        if self.num_documents != self.num_sequences {
            return Ok(false);
        }
        for entries in self.entry_blocks() {
            let at = self.documents_at + 8 * entries.start;
            let bytes = index.read(at..at + 8 * (entries.end - entries.start))?;
            if entries.zip(bytes.as_chunks().0).any(|(entry, &bytes)| u64::from_le_bytes(bytes) != entry) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The extent that the sequences `rows` are together.
    fn document(&self, index: &Region, rows: Range<u64>, bin_len: u64) -> Result<Extent> {
        let mut whole: Option<Extent> = None;
        let mut runs_on = true;
        for first in rows.clone().step_by(BLOCK_ROWS as usize) {
            self.sequences(
                index,
                first..rows.end.min(first + BLOCK_ROWS),
                bin_len,
                |Extent { start, len }| {
                    let before = whole.get_or_insert(Extent { start, len: 0 });
                    runs_on &= before.start + before.len == start;
                    before.len = before.len.saturating_add(len);
                },
            )?;
        }
        if !runs_on {
            return Err(Error::unsupported(
                "the sequences of the document do not lie one after another in the .bin",
            ));
        }
        Ok(whole.unwrap_or(Extent { start: 0, len: 0 }))
    }

    /// The numbers of the sequences, a block at a time.
    fn blocks(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        blocks(self.num_sequences)
    }

    /// The numbers of the entries of documents, a block at a time.
    fn entry_blocks(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        blocks(self.num_entries)
    }

    /// Visits the extents of the sequences `rows`, each checked.
    fn sequences(
        &self,
        index: &Region,
        rows: Range<u64>,
        bin_len: u64,
        mut visit: impl FnMut(Extent),
    ) -> Result<()> {
        let sizes = index.read(self.sizes_at + 4 * rows.start..self.sizes_at + 4 * rows.end)?;
        let pointers = index.read(self.pointers_at + 8 * rows.start..self.pointers_at + 8 * rows.end)?;
        let width = self.dtype.width_bytes() as u64;
        for (row, (&size, &pointer)) in rows.zip(sizes.as_chunks().0.iter().zip(pointers.as_chunks().0)) {
            let (size, pointer) = (i32::from_le_bytes(size), i64::from_le_bytes(pointer));
            let extent = || {
                let (start, len) = (u64::try_from(pointer).ok()?, u64::try_from(size).ok()? * width);
                start.checked_add(len).filter(|&end| end <= bin_len).map(|_| Extent { start, len })
            };
            let extent = extent().ok_or_else(|| {
                Error::malformed(format!(
                    "expected {size} tokens of {width} bytes at byte {pointer} of the .bin, found one of {bin_len} bytes"
                ))
                .at_record(row)
            })?;
            visit(extent);
        }
        Ok(())
    }
}

fn blocks(end: u64) -> impl Iterator<Item = Range<u64>> {
    (0..end).step_by(BLOCK_ROWS as usize).map(move |first| first..end.min(first + BLOCK_ROWS))
}

#[cfg(test)]
mod tests;
