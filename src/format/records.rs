//! Records one after another in a file: where each lies, and who decodes it.
//!
//! ```text
//! starts    s₀ s₁ s₂ … sₙ                          u64, little-endian: in memory or in a mapped index file
//! file      ──┬─────────┬───────┬──────── … ──┬──
//!             │ record 0│ rec. 1│             │
//!             s₀        s₁      s₂            sₙ
//! ```
//!
//! Starts come from a scan or from an index file, and an index file is as little trusted as any other: each pair
//! is read once and checked against the file before the record between them is copied out.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::piece::Span;
use super::places::{Visit, within};
use super::tfrecord;
use crate::error::{Error, Result};
use crate::layout::{DecodeInto, RowMut};
use crate::map::Region;

/// Records, and the bytes they lie in.
pub(crate) struct Records {
    region: Region,
    map: Arc<RecordMap>,
}

/// Where the records of a file lie, and who decodes them.
pub(crate) struct RecordMap {
    /// One start more than there are records.
    starts: Span,
    start_bytes: u64,
    framing: Framing,
    decoder: Arc<dyn DecodeInto>,
    num_columns: usize,
}

/// Records of a compressed file, which is inflated when they are asked for.
pub(crate) struct InflatedRecords {
    pub(crate) map: Arc<RecordMap>,
    /// Bytes of the inflated file.
    pub(crate) len_bytes: u64,
    pub(crate) inflate: Box<dyn Fn() -> Result<Region> + Send + Sync>,
}

/// What surrounds the bytes that are decoded.
pub(crate) enum Framing {
    /// Nothing: a record is what lies between two starts.
    Plain,
    /// A length before and a checksum after: see [`tfrecord`].
    TfRecord(Crcs),
}

/// When the checksum of a record is compared with its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksums {
    /// Each time the record is read.
    Always,
    /// The first time the record is read.
    #[default]
    FirstTouch,
    /// Never.
    Never,
}

/// The records whose checksums need not be looked at (again).
pub(crate) enum Crcs {
    Always,
    /// A bit for each record that was found whole.
    FirstTouch(Box<[AtomicU64]>),
    Never,
}

impl Crcs {
    pub(crate) fn new(when: Checksums, num_records: u64) -> Self {
        match when {
            Checksums::Always => Crcs::Always,
            Checksums::Never => Crcs::Never,
            Checksums::FirstTouch => {
                Crcs::FirstTouch((0..num_records.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
            }
        }
    }

    fn check(&self, record: u64, payload: &[u8], stored: [u8; 4]) -> Result<()> {
        match self {
            Crcs::Always => tfrecord::check_payload(payload, stored),
            Crcs::Never => Ok(()),
            Crcs::FirstTouch(seen) => {
                let (word, bit) = (&seen[(record / 64) as usize], 1 << (record % 64));
                // Relaxed, both: a bit that is seen late costs a second look.
                if word.load(Ordering::Relaxed) & bit != 0 {
                    return Ok(());
                }
                tfrecord::check_payload(payload, stored)?;
                word.fetch_or(bit, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl RecordMap {
    /// Records between `starts`, numbers of `start_bytes` bytes (4 or 8) each, which `decoder` turns into `num_columns`
    /// columns.
    pub(crate) fn new(
        starts: Span,
        start_bytes: u64,
        framing: Framing,
        decoder: Arc<dyn DecodeInto>,
        num_columns: usize,
    ) -> Result<Self> {
        if !starts.len().is_multiple_of(start_bytes) || starts.len() == 0 {
            return Err(Error::malformed(format!(
                "expected an index of whole words, at least one, found {} bytes",
                starts.len()
            )));
        }
        Ok(RecordMap { starts, start_bytes, framing, decoder, num_columns })
    }

    pub(crate) fn num_rows(&self) -> u64 {
        self.starts.len() / self.start_bytes - 1
    }

    /// Columns of the decoder.
    pub(crate) fn num_columns(&self) -> usize {
        self.num_columns
    }

    /// What the records are, in a few words for people.
    pub(crate) fn what(&self) -> &'static str {
        self.decoder.what()
    }

    /// Visits the bytes that hold the starts and the end of `rows`.
    pub(super) fn start_places(&self, rows: &Range<u64>, visit: &mut Visit<'_>) {
        within(&self.starts, rows.start * self.start_bytes..(rows.end + 1) * self.start_bytes, visit);
    }

    /// Where the starts lie.
    pub(crate) fn starts(&self) -> &Span {
        &self.starts
    }
}

impl InflatedRecords {
    /// The records over the bytes of the inflated file.
    pub(crate) fn records(&self) -> Result<Records> {
        let region = (self.inflate)()?;
        if region.len_bytes() != self.len_bytes {
            return Err(Error::mismatch(format!(
                "expected {} inflated bytes, as when the file was opened, found {}",
                self.len_bytes,
                region.len_bytes()
            )));
        }
        Ok(Records { region, map: self.map.clone() })
    }
}

impl Records {
    /// The records that lie in `region` as `map` says.
    pub(crate) fn new(region: Region, map: Arc<RecordMap>) -> Self {
        Records { region, map }
    }

    /// The bytes they lie in.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn map(&self) -> &Arc<RecordMap> {
        &self.map
    }

    /// Where the start of record `row` lies: an address to prefetch.
    pub(crate) fn start_address(&self, row: u64) -> *const u8 {
        self.map.starts.as_ptr().wrapping_add((row * self.map.start_bytes) as usize)
    }

    /// Where byte `offset` of the file lies: an address to prefetch.
    pub(crate) fn address(&self, offset: u64) -> *const u8 {
        self.region.as_ptr().wrapping_add(offset as usize)
    }

    /// The bytes of record `row`, which is below [`num_rows`](RecordMap::num_rows), framing included.
    ///
    /// # Errors
    ///
    /// `Malformed` if the index says what cannot be.
    #[inline]
    pub(crate) fn extent(&self, row: u64) -> Result<Range<u64>> {
        let RecordMap { starts, start_bytes, .. } = &*self.map;
        let mut pair = [0; 16];
        let width = *start_bytes as usize;
        starts.region().copy_out(starts.offset() + row * start_bytes, &mut pair[..2 * width])?;
        let (start, end) = match width {
            4 => {
                let word = |at: usize| u32::from_le_bytes(pair[at..at + 4].try_into().expect("4 bytes"));
                (word(0).into(), word(4).into())
            }
            _ => {
                let word = |at: usize| u64::from_le_bytes(pair[at..at + 8].try_into().expect("8 bytes"));
                (word(0), word(8))
            }
        };
        if start > end || end > self.region.len_bytes() {
            return Err(Error::malformed(format!(
                "the index places the record at bytes {start}..{end} of a file of {}: index it anew",
                self.region.len_bytes()
            ))
            .at_record(row));
        }
        Ok(start..end)
    }

    /// Decodes record `row`, which lies at `extent`, into `out`. `scratch` is used for the copy.
    #[inline]
    pub(crate) fn decode(
        &self,
        row: u64,
        extent: Range<u64>,
        scratch: &mut Vec<u8>,
        out: &mut RowMut<'_, '_>,
    ) -> Result<()> {
        let bytes = match self.region.lent_bytes() {
            Some(bytes) => &bytes[extent.start as usize..extent.end as usize],
            None => {
                let len = (extent.end - extent.start) as usize;
                if scratch.len() < len {
                    scratch.resize(len, 0);
                }
                self.region.copy_out(extent.start, &mut scratch[..len])?;
                &scratch[..len]
            }
        };
        self.decode_bytes(row, bytes, out).map_err(|error| error.after_byte(extent.start).at_record(row))
    }

    fn decode_bytes(&self, row: u64, bytes: &[u8], out: &mut RowMut<'_, '_>) -> Result<()> {
        let Framing::TfRecord(crcs) = &self.map.framing else {
            return self.map.decoder.decode(bytes, out);
        };
        let (payload, stored) = tfrecord::payload_of(bytes)?;
        crcs.check(row, payload, stored)?;
        self.map.decoder.decode(payload, out).map_err(|error| error.after_byte(tfrecord::HEADER_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::example::RawDecoder;
    use crate::format::text::LineDecoder;
    use crate::layout::ColumnMut;

    fn map(
        starts: &[u64],
        start_bytes: u64,
        framing: Framing,
        decoder: Arc<dyn DecodeInto>,
    ) -> Arc<RecordMap> {
        let bytes: Vec<u8> =
            starts.iter().flat_map(|start| start.to_le_bytes()[..start_bytes as usize].to_vec()).collect();
        let len = bytes.len() as u64;
        let starts = Span::new(&Region::from_vec(bytes), 0, len).unwrap();
        Arc::new(RecordMap::new(starts, start_bytes, framing, decoder, 1).unwrap())
    }

    fn decoded(records: &Records, row: u64) -> Result<Vec<u8>> {
        let mut items = Vec::new();
        let mut columns = [ColumnMut::Runs { items: &mut items, validity: None }];
        let extent = records.extent(row)?;
        records.decode(row, extent, &mut Vec::new(), &mut RowMut::new(&mut columns, 0))?;
        Ok(items)
    }

    #[test]
    fn records_lie_between_two_starts() {
        for start_bytes in [4, 8] {
            let map = map(&[1, 4, 4, 9], start_bytes, Framing::Plain, Arc::new(LineDecoder));
            assert_eq!((map.num_rows(), map.num_columns(), map.what()), (3, 1, "lines of text"));
            let records = Records::new(Region::from_vec(b"-ab\nline.".to_vec()), map);
            let rows: Vec<_> = (0..3).map(|row| decoded(&records, row).unwrap()).collect();
            assert_eq!(rows, [&b"ab"[..], b"", b"line."]);
        }
    }

    #[test]
    fn what_an_index_says_is_held_against_the_file() {
        for (start_bytes, starts) in [
            (8, [0, 7, 3]),
            (8, [0, 3, 11]),
            (8, [0, 3, u64::MAX]),
            (8, [0, u64::MAX, 5]),
            (4, [0, 3, 0xFFFF_FFFF]),
        ] {
            let map = map(&starts, start_bytes, Framing::Plain, Arc::new(LineDecoder));
            let records = Records::new(Region::from_vec(vec![b'x'; 10]), map);
            let row = if starts[1] > 10 { 0 } else { 1 };
            let error = records.extent(row).unwrap_err();
            assert_eq!(
                (error.kind(), error.location().record),
                (ErrorKind::Malformed, Some(row)),
                "{starts:?}"
            );
            assert!(error.message().contains("index it anew"));
        }
        for len in [0, 4, 12] {
            let starts = Span::new(&Region::from_vec(vec![0; len]), 0, len as u64).unwrap();
            let made = RecordMap::new(starts, 8, Framing::Plain, Arc::new(LineDecoder), 1);
            assert_eq!(made.err().unwrap().kind(), ErrorKind::Malformed, "{len} bytes");
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u64).to_le_bytes().to_vec();
        frame.extend(tfrecord::masked_crc(&frame).to_le_bytes());
        frame.extend_from_slice(payload);
        frame.extend(tfrecord::masked_crc(payload).to_le_bytes());
        frame
    }

    #[test]
    fn payloads_are_taken_out_of_their_frames() {
        let (mut file, second) = (frame(b"one"), frame(b"two!"));
        let starts = [0, file.len() as u64, (file.len() + second.len()) as u64];
        file.extend(second);
        let crcs = Crcs::new(Checksums::Always, 2);
        let map = map(&starts, 8, Framing::TfRecord(crcs), Arc::new(RawDecoder));
        let records = Records::new(Region::from_vec(file.clone()), map.clone());
        assert_eq!(decoded(&records, 0).unwrap(), b"one");
        assert_eq!(decoded(&records, 1).unwrap(), b"two!");
        let last = file.len() - 5;
        file[last] ^= 1;
        let error = decoded(&Records::new(Region::from_vec(file), map), 1).unwrap_err();
        assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(1)));
        assert!(error.location().byte.is_some_and(|byte| byte >= starts[1]));
    }

    #[test]
    fn a_byte_in_a_payload_is_counted_from_the_beginning_of_the_file() {
        let text = frame(b"ab\xFF");
        let starts = [5, 5 + text.len() as u64];
        let map = map(&starts, 8, Framing::TfRecord(Crcs::new(Checksums::Never, 1)), Arc::new(LineDecoder));
        let records = Records::new(Region::from_vec([b"-----", &text[..]].concat()), map);
        assert_eq!(decoded(&records, 0).unwrap_err().location().byte, Some(5 + tfrecord::HEADER_BYTES + 2));
    }

    #[test]
    fn a_checksum_is_looked_at_as_often_as_was_said() {
        let (good, bad) = (tfrecord::masked_crc(b"payload").to_le_bytes(), [0; 4]);
        for (when, after_a_good_one) in
            [(Checksums::Always, false), (Checksums::FirstTouch, true), (Checksums::Never, true)]
        {
            let crcs = Crcs::new(when, 130);
            let is_fine = |record, stored| crcs.check(record, b"payload", stored).is_ok();
            // What was found broken is looked at again, as are the neighbours of what was found whole.
            assert_eq!(is_fine(129, bad), when == Checksums::Never);
            assert_eq!(is_fine(129, bad), when == Checksums::Never);
            assert!(is_fine(129, good));
            assert_eq!(is_fine(129, bad), after_a_good_one, "{when:?}");
            assert_eq!(is_fine(128, bad), when == Checksums::Never);
            assert_eq!(is_fine(65, bad), when == Checksums::Never);
        }
    }

    #[test]
    fn what_inflates_to_another_length_is_another_file() {
        let map = map(&[0, 3], 8, Framing::Plain, Arc::new(LineDecoder));
        let file = |len| InflatedRecords {
            map: map.clone(),
            len_bytes: 3,
            inflate: Box::new(move || Ok(Region::from_vec(vec![b'x'; len]))),
        };
        assert_eq!(decoded(&file(3).records().unwrap(), 0).unwrap(), b"xxx");
        for len in [2, 4] {
            assert_eq!(file(len).records().err().unwrap().kind(), ErrorKind::Mismatch);
        }
    }
}
