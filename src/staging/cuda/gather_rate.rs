//! Whether the kernels do on a device what they should, and how fast.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::load::{At, Cast, ElementType, Gather, Load, Rows, Work};
use super::uplink::{Residence, Sent, Uplink};
use crate::error::{Error, ErrorKind, Result};
use crate::staging::{SlotMemory, SlotPool, Staging};

/// Bytes of the rows that are gathered: more than devices cache.
const TABLE_BYTES: usize = if cfg!(test) { 1 << 20 } else { 256 << 20 };

/// Bytes brought to the device at a time, about.
const CHUNK_BYTES: usize = TABLE_BYTES / 64;

/// Batches in flight while the rate is measured.
const DEPTH: usize = 4;

/// Bytes of rows that are compared with the host's, about.
const CHECKED_BYTES: usize = 1 << 20;

/// What they are multiplied by, as floats.
const SCALE: f64 = 1.0 / 255.0;

/// The rows, and what is known of them on the host.
struct Table {
    row_bytes: usize,
    num_rows: usize,
    /// Those of the first chunk; of the others, each begins with its number.
    pattern: Vec<u8>,
}

impl Table {
    fn new(row_bytes: usize) -> Self {
        let rows = (CHUNK_BYTES / row_bytes).max(1);
        let pattern = (0..rows * row_bytes).map(|i| (i * 31 % 251) as u8).collect();
        Table { row_bytes, num_rows: rows * (TABLE_BYTES / (rows * row_bytes)).max(1), pattern }
    }

    fn write(&self, row: usize, to: &mut [u8]) {
        let start = row * self.row_bytes % self.pattern.len();
        to.copy_from_slice(&self.pattern[start..start + self.row_bytes]);
        let stamp = (row as u64).to_ne_bytes();
        let len = stamp.len().min(to.len());
        to[..len].copy_from_slice(&stamp[..len]);
    }

    /// Fills what stays on the device.
    fn upload(&self, pool: &SlotPool<()>, uplink: &Uplink<()>) -> Result<()> {
        let chunk = self.pattern.len();
        for first in (0..self.num_rows).step_by(chunk / self.row_bytes) {
            let mut slot = pool.take(0, chunk)?;
            for (i, to) in slot.bytes()[..chunk].chunks_exact_mut(self.row_bytes).enumerate() {
                self.write(first + i, to);
            }
            let copies = vec![(0..chunk, At::Resident(first * self.row_bytes))];
            uplink.send(slot.freeze(), &Load { copies, ..Load::default() })?.synchronize()?;
        }
        Ok(())
    }
}

/// The load that gathers as many rows, numbered in the slot, to the beginning of the buffer.
fn gather(row_bytes: usize, num_rows: usize) -> Load {
    let list_at = (row_bytes * num_rows).next_multiple_of(64);
    let rows = Rows::Listed { slot: 0, buffer: list_at };
    Load {
        len_bytes: list_at + 8 * num_rows,
        copies: vec![(0..8 * num_rows, At::Buffer(list_at))],
        work: vec![Work::Gather(Gather { to: 0, from: At::Resident(0), rows, num_rows, row_bytes })],
    }
}

/// The cast of the same rows' bytes to floats.
fn cast(num_elements: u32, (rows, num_rows): (Rows, usize), to: usize) -> Cast {
    Cast {
        to,
        from: At::Resident(0),
        rows,
        num_rows,
        num_elements,
        from_type: ElementType { number: 1, width_bytes: 1 },
        to_type: ElementType { number: 10, width_bytes: 4 },
        scale: SCALE,
        channels: None,
        valid: None,
        null_bits: 0,
    }
}

/// Bytes per second at which rows of `row_bytes` bytes, `batch_rows` at a time and in random order, are gathered on the device
/// `device` from a table that stays there, measured for `time` at least; once it was seen that the gather, and a cast of
/// the gathered bytes to floats, give what they give on the host. It is what a batch of [`Preload::Device`](crate::Preload::Device)
/// costs, the copy of its row numbers included.
///
/// # Errors
///
/// `InvalidArgument` if there is no such device, or a number is 0; `TooLarge` if there is no memory; `Internal` if the device gives
/// other bytes than the host; `Device` if the driver fails.
pub fn cuda_gather_rate(device: u32, row_bytes: usize, batch_rows: usize, time: Duration) -> Result<f64> {
    if row_bytes == 0 || batch_rows == 0 {
        return Err(Error::invalid(format!(
            "expected batches of at least 1 row of at least 1 byte, found {batch_rows} of {row_bytes}"
        )));
    }
    let too_large =
        || Error::new(ErrorKind::TooLarge, format!("no memory for {batch_rows} rows of {row_bytes} bytes"));
    let batch_bytes = row_bytes.checked_mul(batch_rows).filter(|&n| n < 1 << 40).ok_or_else(too_large)?;
    let num_elements = u32::try_from(row_bytes).ok().filter(|&n| n < 1 << 31).ok_or_else(too_large)?;
    let table = Table::new(row_bytes);
    let pool = SlotPool::new(SlotMemory::new(Staging::Cuda(device), None)?, 1, DEPTH + 1, ());
    let context = pool.memory().cuda_context().expect("the staging is that of a device");
    let residence = Residence { len_bytes: table.num_rows * row_bytes, beside_bytes: Some(batch_bytes * 6) };
    let uplink = Uplink::new(context, DEPTH + 1, Some(residence))?;
    table.upload(&pool, &uplink)?;

    let mut word = 1u64;
    let mut draw = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(word) * table.num_rows as u128) >> 64) as u64
    };
    let mut send = |load: &Load, num_rows: usize| -> Result<(Vec<u64>, Sent<()>)> {
        let mut slot = pool.take(0, 8 * num_rows)?;
        let numbers: Vec<u64> = (0..num_rows).map(|_| draw()).collect();
        slot.bytes()[..8 * num_rows].copy_from_slice(bytemuck::cast_slice(&numbers));
        Ok((numbers, uplink.send(slot.freeze(), load)?))
    };

    let checked_rows = batch_rows.min((CHECKED_BYTES / row_bytes).max(1));
    let mut load = gather(row_bytes, checked_rows);
    let floats_at = load.len_bytes.next_multiple_of(64);
    let rows = Rows::Listed { slot: 0, buffer: (checked_rows * row_bytes).next_multiple_of(64) };
    load.work.push(Work::Cast(cast(num_elements, (rows, checked_rows), floats_at)));
    load.len_bytes = floats_at + 4 * checked_rows * row_bytes;
    let (numbers, sent) = send(&load, checked_rows)?;
    let mut expected = vec![0; checked_rows * row_bytes];
    numbers
        .iter()
        .zip(expected.chunks_exact_mut(row_bytes))
        .for_each(|(&row, to)| table.write(row as usize, to));
    let floats: Vec<f32> = expected.iter().map(|&byte| f32::from(byte) * SCALE as f32).collect();
    let wrong = |what: &str| {
        let message =
            format!("device {device} does not {what} as the host does: the kernels are wrong on it");
        Err(Error::new(ErrorKind::Internal, message))
    };
    if sent.fetch(At::Buffer(0), expected.len())? != expected {
        return wrong("gather");
    }
    if sent.fetch(At::Buffer(floats_at), 4 * floats.len())? != bytemuck::cast_slice::<f32, u8>(&floats) {
        return wrong("cast");
    }
    drop(sent);

    let load = gather(row_bytes, batch_rows);
    let mut in_flight = VecDeque::new();
    let (mut batches, begun) = (0u64, Instant::now());
    while batches == 0 || begun.elapsed() < time {
        in_flight.push_back(send(&load, batch_rows)?.1);
        batches += 1;
        if in_flight.len() >= DEPTH {
            in_flight.pop_front().map_or(Ok(()), |oldest| oldest.synchronize())?;
        }
    }
    in_flight.into_iter().try_for_each(|sent| sent.synchronize())?;
    Ok(batches as f64 * batch_bytes as f64 / begun.elapsed().as_secs_f64())
}
