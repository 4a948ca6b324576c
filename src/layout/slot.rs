//! Where each column begins in a slot.
#![forbid(unsafe_code)]

use std::iter;

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

/// What a batch holds beside its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Which rows are no padding: one byte a row.
    pub(crate) row_mask: bool,
    /// Which component of a mixture each row is of: four bytes a row.
    pub(crate) sources: bool,
}

/// The layout of a slot for batches of up to `batch_size` rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    pub(crate) batch_size: usize,
    pub(crate) row_mask: Option<usize>,
    pub(crate) sources: Option<usize>,
    pub(crate) places: Box<[Place]>,
    /// Bytes of everything but the items of columns of varying length, which begin here.
    pub(crate) fixed_bytes: usize,
    /// In a slot that holds the numbers of a batch's rows (u64) and no column: where they begin.
    #[cfg(feature = "cuda")]
    pub(crate) row_numbers: Option<usize>,
}

impl SlotLayout {
    /// Lays out `columns`, and what is `beside` them, for `batch_size` rows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a column of [`ColumnKind::Other`]; [`ErrorKind::TooLarge`] for a batch
    /// whose size in bytes overflows.
    pub(crate) fn new<'a>(
        columns: impl Iterator<Item = ColumnShape<'a>>,
        batch_size: usize,
        beside: Beside,
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
        let row_mask = if beside.row_mask { Some(reserve(Some(batch_size))?) } else { None };
        let sources = if beside.sources { Some(reserve(batch_size.checked_mul(4))?) } else { None };
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
            sources,
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
        let layout = SlotLayout::new([numbers].into_iter(), batch_size, Beside::default())?;
        Ok(SlotLayout { places: [].into(), row_numbers: Some(0), ..layout })
    }

    /// Writes the number of the component that each row is of, as many as there are, if they have a place in `bytes`, a slot.
    pub(crate) fn write_sources(&self, bytes: &mut [u8], sources: impl Iterator<Item = u32>) {
        if let Some(start) = self.sources {
            let places = bytes[start..start + 4 * self.batch_size].chunks_exact_mut(4);
            let sources = sources.chain(iter::repeat(0));
            places.zip(sources).for_each(|(to, source)| to.copy_from_slice(&source.to_ne_bytes()));
        }
    }

    /// Rows that a batch of `num_rows` is laid out for: with a mask, it is padded to its full size.
    pub(crate) fn rows_laid_out(&self, num_rows: usize) -> usize {
        if self.row_mask.is_some() { self.batch_size } else { num_rows }
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
        let layout = SlotLayout::new(columns, 7, Beside { row_mask: true, sources: true }).unwrap();
        assert_eq!((layout.row_mask, layout.sources), (Some(64), Some(128)));
        let expected = [
            Place::Dense { values: 192, row_bytes: 5, validity: Some(256) },
            Place::Runs { table: 0, offsets: 320, wide: false, item_bytes: 1, validity: Some(384) },
            Place::Dense { values: 448, row_bytes: 8, validity: Some(512) },
        ];
        assert_eq!(*layout.places, expected);
        assert_eq!(layout.fixed_bytes, 576);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let kind = tensor(DType::F64, &[usize::MAX / 16]);
        let columns = [ColumnShape { kind: &kind, nullable: false, wide: false }];
        let error = SlotLayout::new(columns.into_iter(), 1 << 20, Beside::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
