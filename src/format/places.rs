//! Which bytes of a file hold some rows of a piece: what is read ahead, and let go of afterwards.
//!
//! What this says is for advice alone. Offsets of rows that differ in length are read from the file to say it, and not
//! held against it as a gather does: whatever they say, no more comes of it than a page that is read for nothing.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::{Bits, Piece, Span, Values};
use crate::map::Region;

/// Told of each range of bytes, and the region it is of; some lie in memory of our own.
pub(crate) type Visit<'a> = dyn FnMut(&Region, Range<u64>) + 'a;

impl Piece {
    /// Visits the bytes that say where `rows` lie; none where that is known.
    pub(crate) fn index_places(&self, rows: &Range<u64>, visit: &mut Visit<'_>) {
        match &self.values {
            Values::Runs { offsets, wide, .. } => {
                let width = if *wide { 8 } else { 4 };
                within(offsets, rows.start * width..(rows.end + 1) * width, visit);
            }
            Values::Parsed { records, .. } => records.map().start_places(rows, visit),
            _ => {}
        }
    }

    /// Visits the bytes that hold `rows`, which are rows of the piece. Reads those that say where they lie.
    pub(crate) fn places(&self, rows: &Range<u64>, visit: &mut Visit<'_>) {
        if let Some(bits) = &self.validity {
            in_bits(bits, rows.clone(), visit);
        }
        match &self.values {
            Values::Dense { span, stride } | Values::Scattered { span, stride, strides: None, .. } => {
                let bytes = rows.start.saturating_mul(*stride)..rows.end.saturating_mul(*stride);
                within(span, bytes, visit);
            }
            Values::Bits { bits, per_row } => {
                in_bits(bits, rows.start.saturating_mul(*per_row)..rows.end.saturating_mul(*per_row), visit);
            }
            Values::Runs { offsets, wide, items, item_bytes, .. } => {
                let offset = |row: u64| {
                    let (mut bytes, width) = ([0; 8], if *wide { 8 } else { 4 });
                    let at = offsets.offset() + row * width;
                    offsets.region().copy_out(at, &mut bytes[..width as usize]).ok()?;
                    Some(u64::from_le_bytes(bytes).saturating_mul(*item_bytes))
                };
                if let (Some(start), Some(end)) = (offset(rows.start), offset(rows.end)) {
                    within(items, start..end, visit);
                }
            }
            Values::Extents { region, extents, item_bytes: _ } => {
                for extent in rows.clone().filter_map(|row| extents.get(row).ok().flatten()) {
                    visit(region, extent.start..extent.start.saturating_add(extent.len));
                }
            }
            Values::Parsed { records, .. } => {
                if let (Ok(first), Ok(last)) = (records.extent(rows.start), records.extent(rows.end - 1)) {
                    visit(records.region(), first.start..last.end);
                }
            }
            Values::Encoded { decoder, column, .. } => decoder.places(*column, visit),
            // Elements of a row lie all over a column-major file; a compressed file is inflated as a whole.
            Values::Scattered { strides: Some(_), .. } | Values::Inflated { .. } | Values::Array(_) => {}
        }
    }
}

/// Visits `bytes` of `span`, as far as it has them.
pub(super) fn within(span: &Span, bytes: Range<u64>, visit: &mut Visit<'_>) {
    let (start, end) = (bytes.start.min(span.len()), bytes.end.min(span.len()));
    if start < end {
        visit(span.region(), span.offset() + start..span.offset() + end);
    }
}

fn in_bits(bits: &Bits, range: Range<u64>, visit: &mut Visit<'_>) {
    let first = bits.first.saturating_add(range.start) / 8;
    within(&bits.span, first..bits.first.saturating_add(range.end).div_ceil(8), visit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::format::extents::{Extent, ExtentsBuilder};
    use crate::format::text::LineDecoder;
    use crate::format::{Framing, RecordMap, Records};

    fn span(bytes: Vec<u8>) -> Span {
        let len = bytes.len() as u64;
        Span::new(&Region::from_vec(bytes), 0, len).unwrap()
    }

    /// Ranges, each as (first, end).
    type Ranges = Vec<(u64, u64)>;

    /// The bytes of the index and of the values.
    fn places(piece: &Piece, rows: Range<u64>) -> (Ranges, Ranges) {
        let (mut index, mut values) = (Vec::new(), Vec::new());
        piece.index_places(&rows, &mut |_, bytes| index.push((bytes.start, bytes.end)));
        piece.places(&rows, &mut |_, bytes| values.push((bytes.start, bytes.end)));
        (index, values)
    }

    fn piece(num_rows: u64, values: Values) -> Piece {
        Piece { num_rows, validity: None, values }
    }

    #[test]
    fn rows_of_one_length_lie_at_multiples_of_it() {
        let region = Region::from_vec(vec![0; 100]);
        let dense = Values::Dense { span: Span::new(&region, 20, 70).unwrap(), stride: 8 };
        assert_eq!(places(&piece(9, dense.clone()), 3..5), (vec![], vec![(44, 60)]));
        // The last row is shorter than the stride: no byte beyond the span.
        assert_eq!(places(&piece(9, dense.clone()), 8..9).1, [(84, 90)]);
        let bits = Bits { span: Span::new(&region, 10, 4).unwrap(), first: 3 };
        let with_nulls = Piece { validity: Some(bits.clone()), ..piece(9, dense) };
        assert_eq!(places(&with_nulls, 4..6).1, [(10, 12), (52, 68)]);
        assert_eq!(places(&piece(9, Values::Bits { bits, per_row: 3 }), 2..4).1, [(11, 12)]);
    }

    #[test]
    fn rows_of_varying_length_lie_between_their_offsets() {
        let offsets =
            |offsets: &[u32]| span(offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect());
        let runs = |list: &[u32]| Values::Runs {
            offsets: offsets(list),
            wide: false,
            items: span(vec![0; 40]),
            item_bytes: 2,
            is_ascii: false,
        };
        assert_eq!(places(&piece(3, runs(&[0, 3, 3, 9])), 1..3), (vec![(4, 16)], vec![(6, 18)]));
        assert_eq!(places(&piece(3, runs(&[0, 3, 3, 9])), 1..2), (vec![(4, 12)], vec![]));
        // What cannot be is nothing, or no more than there is.
        assert_eq!(places(&piece(3, runs(&[0, 30, 3, u32::MAX])), 1..2).1, []);
        assert_eq!(places(&piece(3, runs(&[0, 30, 3, u32::MAX])), 2..3).1, [(6, 40)]);
    }

    #[test]
    fn records_and_extents_lie_where_they_are_said_to() {
        let starts = span([3u64, 10, 10, 17].iter().flat_map(|start| start.to_le_bytes()).collect());
        let map = RecordMap::new(starts, 8, Framing::Plain, Arc::new(LineDecoder), 1).unwrap();
        let records = Arc::new(Records::new(Region::from_vec(vec![0; 20]), Arc::new(map)));
        let parsed = piece(3, Values::Parsed { records, column: 0 });
        assert_eq!(places(&parsed, 1..3), (vec![(8, 32)], vec![(10, 17)]));

        let mut extents = ExtentsBuilder::with_capacity(3);
        [Some(Extent { start: 5, len: 2 }), None, Some(Extent { start: u64::MAX - 1, len: 9 })]
            .into_iter()
            .for_each(|extent| extents.push(extent));
        let extents = extents.finish();
        let scattered = Values::Extents { region: Region::from_vec(vec![0; 9]), extents, item_bytes: 1 };
        assert_eq!(places(&piece(3, scattered), 0..3).1, [(5, 7), (u64::MAX - 1, u64::MAX)]);
    }
}
