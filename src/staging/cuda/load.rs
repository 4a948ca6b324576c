//! What is to be done with a slot on a device.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// A place on a device, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// In the buffer of the batch.
    Buffer(usize),
    /// In the memory that stays.
    Resident(usize),
}

/// A batch's way to a device: what is copied out of its slot, and what is computed of that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Bytes of the buffer.
    pub(crate) len_bytes: usize,
    /// Which bytes of the slot go where.
    pub(crate) copies: Vec<(Range<usize>, At)>,
    /// What is done then, one after another.
    pub(crate) work: Vec<Work>,
}

/// Something a device does by itself. What it writes is given by its place in the buffer.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Gather(Gather),
    Cast(Cast),
    Set { to: usize, len: usize, byte: u8 },
}

/// Which rows, of those that lie one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// Those numbered in the slot, u64s from this byte on; they were copied to that byte of the buffer.
    Listed { slot: usize, buffer: usize },
    /// From this one on.
    From(u64),
}

/// Rows to be copied as they are.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    pub(crate) to: usize,
    pub(crate) from: At,
    pub(crate) rows: Rows,
    pub(crate) num_rows: usize,
    pub(crate) row_bytes: usize,
}

/// Rows to be copied, their elements converted: the kernel `forebay_cast` says how.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) to: usize,
    pub(crate) from: At,
    pub(crate) rows: Rows,
    pub(crate) num_rows: usize,
    /// Elements of a row.
    pub(crate) num_elements: u32,
    pub(crate) from_type: ElementType,
    pub(crate) to_type: ElementType,
    pub(crate) scale: f64,
    pub(crate) channels: Option<ChannelTable>,
    /// Bytes in the buffer that are 0 for rows that are null, whose elements become `null_bits`.
    pub(crate) valid: Option<usize>,
    pub(crate) null_bits: u64,
}

/// An element type: its number, as the kernel counts them, and its width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementType {
    pub(crate) number: u32,
    pub(crate) width_bytes: usize,
}

/// Factors and offsets in the memory that stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelTable {
    pub(crate) at: usize,
    pub(crate) run: u32,
    pub(crate) count: u32,
}

impl Load {
    /// The first `len_bytes` of a slot, as they are.
    pub(crate) fn whole(len_bytes: usize) -> Self {
        Load { len_bytes, copies: vec![(0..len_bytes, At::Buffer(0))], work: Vec::new() }
    }

    /// Makes those rows of a tensor zeros that are padding.
    pub(crate) fn pad(&mut self, start: usize, row_bytes: usize, num_rows: usize, len: usize) {
        self.set(start + num_rows * row_bytes, (len - num_rows) * row_bytes, 0);
    }

    /// Makes a mask: ones for the rows, zeros for padding.
    pub(crate) fn mask(&mut self, start: usize, num_rows: usize, len: usize) {
        self.set(start, num_rows, 1);
        self.set(start + num_rows, len - num_rows, 0);
    }

    fn set(&mut self, to: usize, len: usize, byte: u8) {
        if len > 0 {
            self.work.push(Work::Set { to, len, byte });
        }
    }

    /// Checks that all that is read and written lies in `slot`, the buffer and the `resident_bytes` that stay.
    pub(super) fn check(&self, slot: &[u8], resident_bytes: usize) -> Result<()> {
        let fits = |at: At, len: Option<usize>| {
            let (start, room) = match at {
                At::Buffer(start) => (start, self.len_bytes),
                At::Resident(start) => (start, resident_bytes),
            };
            len.and_then(|len| start.checked_add(len)).is_some_and(|end| end <= room)
        };
        let copied = self
            .copies
            .iter()
            .all(|(range, to)| slot.get(range.clone()).is_some_and(|bytes| fits(*to, Some(bytes.len()))));
        let worked = self.work.iter().all(|work| match work {
            Work::Set { to, len, .. } => fits(At::Buffer(*to), Some(*len)),
            Work::Gather(gather) => {
                let from_rows = gather.rows.end(gather.num_rows, slot);
                fits(gather.from, from_rows.and_then(|rows| rows.checked_mul(gather.row_bytes)))
                    && fits(At::Buffer(gather.to), gather.num_rows.checked_mul(gather.row_bytes))
                    && fits(At::Buffer(gather.rows.buffer()), gather.rows.list_bytes(gather.num_rows))
            }
            Work::Cast(cast) => {
                let bytes = |rows: usize, of: ElementType| {
                    rows.checked_mul(cast.num_elements as usize)?.checked_mul(of.width_bytes)
                };
                let from_rows = cast.rows.end(cast.num_rows, slot);
                fits(cast.from, from_rows.and_then(|rows| bytes(rows, cast.from_type)))
                    && fits(At::Buffer(cast.to), bytes(cast.num_rows, cast.to_type))
                    && fits(At::Buffer(cast.rows.buffer()), cast.rows.list_bytes(cast.num_rows))
                    && cast.valid.is_none_or(|valid| fits(At::Buffer(valid), Some(cast.num_rows)))
                    && cast.channels.is_none_or(|table| {
                        let bytes = (table.count as usize).checked_mul(2 * cast.to_type.width_bytes.max(4));
                        table.run > 0 && table.count > 0 && fits(At::Resident(table.at), bytes)
                    })
            }
        });
        if copied && worked {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "a batch does not lie within what is sent to the device"))
    }
}

impl Rows {
    /// The end of the rows: one more than the last of them.
    fn end(self, num_rows: usize, slot: &[u8]) -> Option<usize> {
        match self {
            _ if num_rows == 0 => Some(0),
            Rows::From(first) => usize::try_from(first).ok()?.checked_add(num_rows),
            Rows::Listed { slot: at, .. } => {
                let list = slot.get(at..at.checked_add(num_rows.checked_mul(8)?)?)?;
                let rows =
                    list.chunks_exact(8).map(|word| word.try_into().map_or(u64::MAX, u64::from_ne_bytes));
                usize::try_from(rows.max()?).ok()?.checked_add(1)
            }
        }
    }

    fn buffer(self) -> usize {
        match self {
            Rows::Listed { buffer, .. } => buffer,
            Rows::From(_) => 0,
        }
    }

    fn list_bytes(self, num_rows: usize) -> Option<usize> {
        match self {
            Rows::Listed { .. } => num_rows.checked_mul(8),
            Rows::From(_) => Some(0),
        }
    }
}
