//! Where each column begins in a slot.
#![forbid(unsafe_code)]

use super::ColumnKind;
use crate::error::{Error, ErrorKind, Result};

/// Columns begin at multiples of this many bytes: a cache line, and Arrow's recommended alignment.
const ALIGNMENT: usize = 64;

/// The next multiple of the column alignment.
pub(crate) const fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Where one column lies in a slot; offsets in bytes from the slot's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Rows of one length.
    Dense { values: usize, row_bytes: usize, validity: Option<usize> },
    /// Rows of varying length: `table` holds where the items begin and how many bytes they are.
    Runs { table: usize, offsets: usize, wide: bool, item_bytes: usize, validity: Option<usize> },
}

impl Place {
    pub(crate) fn validity(&self) -> Option<usize> {
        match self {
            Place::Dense { validity, .. } | Place::Runs { validity, .. } => *validity,
        }
    }
}

/// What the layout needs to know of a column.
pub(crate) struct ColumnShape<'a> {
    pub(crate) kind: &'a ColumnKind,
    pub(crate) nullable: bool,
    /// Whether offsets are 64-bit; of no meaning for rows of one length.
    pub(crate) wide: bool,
}

/// The layout of a slot for batches of up to `batch_size` rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    pub(crate) batch_size: usize,
    pub(crate) row_mask: Option<usize>,
    pub(crate) places: Box<[Place]>,
    /// Bytes of everything but the items of columns of varying length, which begin here.
    pub(crate) fixed_bytes: usize,
    /// In a slot that holds the numbers of a batch's rows (u64) and no column: where they begin.
    #[cfg(feature = "cuda")]
    pub(crate) row_numbers: Option<usize>,
}

impl SlotLayout {
    /// Lays out `columns` for `batch_size` rows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a column of [`ColumnKind::Other`]; [`ErrorKind::TooLarge`] for a batch
    /// whose size in bytes overflows.
    pub(crate) fn new<'a>(
        columns: impl ExactSizeIterator<Item = ColumnShape<'a>>,
        batch_size: usize,
        row_mask: bool,
    ) -> Result<Self> {
        let mut end = Some(0usize);
        let mut reserve = |bytes: Option<usize>| -> Result<usize> {
            let too_large = || {
                Error::new(
                    ErrorKind::TooLarge,
                    format!("expected a batch of {batch_size} rows to fit into memory"),
                )
            };
            let start = end.ok_or_else(too_large)?;
            let next = bytes
                .and_then(|bytes| start.checked_add(bytes))
                .filter(|&next| next <= isize::MAX as usize / 2);
            end = Some(align_up(next.ok_or_else(too_large)?));
            Ok(start)
        };
        let columns: Vec<_> = columns.collect();
        let num_runs = columns.iter().filter(|column| column.kind.row_bytes().is_none()).count();
        let mut table = reserve(Some(num_runs * 16))?;
        let row_mask = if row_mask { Some(reserve(Some(batch_size))?) } else { None };
        let mut places = Vec::with_capacity(columns.len());
        for column in &columns {
            let place = match column.kind {
                ColumnKind::Tensor { .. } => {
                    let row_bytes = column.kind.row_bytes().expect("a tensor's rows have one length");
                    let values = reserve(row_bytes.checked_mul(batch_size))?;
                    Place::Dense { values, row_bytes, validity: None }
                }
                ColumnKind::Bytes | ColumnKind::Text | ColumnKind::Ragged { .. } => {
                    let item_bytes = match column.kind {
                        ColumnKind::Ragged { dtype } => dtype.width_bytes(),
                        _ => 1,
                    };
                    let offset_bytes = if column.wide { 8 } else { 4 };
                    let offsets =
                        reserve(batch_size.checked_add(1).and_then(|n| n.checked_mul(offset_bytes)))?;
                    table += 16;
                    Place::Runs { table: table - 16, offsets, wide: column.wide, item_bytes, validity: None }
                }
                ColumnKind::Other => {
                    return Err(Error::unsupported("a column of this type cannot be laid out in a batch"));
                }
            };
            let mask = if column.nullable { Some(reserve(Some(batch_size))?) } else { None };
            places.push(match place {
                Place::Dense { values, row_bytes, .. } => Place::Dense { values, row_bytes, validity: mask },
                Place::Runs { table, offsets, wide, item_bytes, .. } => {
                    Place::Runs { table, offsets, wide, item_bytes, validity: mask }
                }
            });
        }
        let fixed_bytes = reserve(Some(0))?;
        Ok(SlotLayout {
            batch_size,
            row_mask,
            places: places.into(),
            fixed_bytes,
            #[cfg(feature = "cuda")]
            row_numbers: None,
        })
    }

    /// The layout of the numbers of `batch_size` rows, and of nothing else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if their size in bytes overflows.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_row_numbers(batch_size: usize) -> Result<Self> {
        let kind = ColumnKind::Tensor { dtype: crate::layout::DType::U64, shape: [].into() };
        let numbers = ColumnShape { kind: &kind, nullable: false, wide: false };
        let layout = SlotLayout::new([numbers].into_iter(), batch_size, false)?;
        Ok(SlotLayout { places: [].into(), row_numbers: Some(0), ..layout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::DType;

    fn tensor(dtype: DType, shape: &[usize]) -> ColumnKind {
        ColumnKind::Tensor { dtype, shape: shape.into() }
    }

    #[test]
    fn columns_begin_at_cache_lines_and_do_not_overlap() {
        let kinds = [tensor(DType::U8, &[5]), ColumnKind::Text, tensor(DType::F64, &[])];
        let columns = kinds.iter().map(|kind| ColumnShape { kind, nullable: true, wide: false });
        let layout = SlotLayout::new(columns, 7, true).unwrap();
        assert_eq!(layout.row_mask, Some(64));
        let expected = [
            Place::Dense { values: 128, row_bytes: 5, validity: Some(192) },
            Place::Runs { table: 0, offsets: 256, wide: false, item_bytes: 1, validity: Some(320) },
            Place::Dense { values: 384, row_bytes: 8, validity: Some(448) },
        ];
        assert_eq!(*layout.places, expected);
        assert_eq!(layout.fixed_bytes, 512);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let kind = tensor(DType::F64, &[usize::MAX / 16]);
        let columns = [ColumnShape { kind: &kind, nullable: false, wide: false }];
        let error = SlotLayout::new(columns.into_iter(), 1 << 20, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
