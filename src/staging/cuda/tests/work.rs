//! Kernels behind copies: rows that stay on the device, gathered by numbers that were copied there; against the same gather by
//! hand. The test driver executes the PTX itself.

use super::super::load::{Cast, ElementType};
use super::*;
use crate::error::Result;

/// Rows of the table that stays on the device.
const TABLE_ROWS: usize = 300;

/// A pool, and an uplink to device 0 with a table of rows of `row_bytes` bytes at `start` of what stays there; and the table.
fn with_table(start: usize, row_bytes: usize) -> Result<(SlotPool<()>, Uplink<()>, Vec<u8>)> {
    let pool = SlotPool::new(SlotMemory::new(Staging::Cuda(0), None)?, 1, 4, ());
    let SlotMemory::Cuda(pins) = pool.memory() else { unreachable!("asked for above") };
    let len_bytes = start + TABLE_ROWS * row_bytes;
    let uplink = Uplink::new(pins.context(), 3, Some(Residence { len_bytes, beside_bytes: Some(1000) }))?;
    let mut table = vec![0; TABLE_ROWS * row_bytes];
    pattern(77, &mut table);
    let mut slot = pool.take(0, table.len())?;
    slot.bytes()[..table.len()].copy_from_slice(&table);
    let copies = vec![(0..table.len(), At::Resident(start))];
    uplink.send(slot.freeze(), &Load { copies, ..Load::default() })?.synchronize()?;
    Ok((pool, uplink, table))
}

/// The load that gathers the rows numbered in a slot.
fn gather_listed(num_rows: usize, start: usize, row_bytes: usize, to: usize) -> Load {
    let buffer = (to + num_rows * row_bytes).next_multiple_of(8);
    let rows = Rows::Listed { slot: 0, buffer };
    Load {
        len_bytes: buffer + 8 * num_rows,
        copies: vec![(0..8 * num_rows, At::Buffer(buffer))],
        work: vec![Work::Gather(Gather { to, from: At::Resident(start), rows, num_rows, row_bytes })],
    }
}

/// Sends `batches` batches of row numbers, and does with what is gathered what a trainer may; every third batch is none but rows
/// where they stay.
fn pump_rows(driver: &Driver, batches: u64, row_bytes: usize, seed: u64) -> Result<()> {
    let mut dice = Dice(seed.wrapping_mul(2) + 1);
    let (pool, uplink, table) = with_table(0, row_bytes)?;
    let stream = TrainerStream::legacy_default();
    let mut held: VecDeque<(Sent<()>, At, Vec<u8>)> = VecDeque::new();
    for number in 0..batches {
        let num_rows = 1 + dice.below(20);
        let mut slot = pool.take(0, 8 * num_rows)?;
        let first = dice.below(TABLE_ROWS - num_rows);
        let mut expected = Vec::new();
        for i in 0..num_rows {
            let row = if number % 3 == 0 { first + i } else { dice.below(TABLE_ROWS) };
            slot.bytes()[8 * i..8 * i + 8].copy_from_slice(&(row as u64).to_ne_bytes());
            expected.extend(&table[row * row_bytes..(row + 1) * row_bytes]);
        }
        let (at, load) = match number % 3 {
            0 => (At::Resident(first * row_bytes), Load::default()),
            _ => (At::Buffer(0), gather_listed(num_rows, 0, row_bytes, 0)),
        };
        held.push_back((uplink.send(slot.freeze(), &load)?, at, expected));
        while held.len() > dice.below(4) {
            let (sent, at, expected) = held.pop_front().expect("more than none");
            if dice.below(8) > 0 {
                sent.wait_on(stream)?;
                driver.expect(0, sent.address(at), &expected);
            }
        }
    }
    // The last batches outlive their pool.
    drop((uplink, pool));
    held.drain(..).try_for_each(|(sent, at, expected)| {
        sent.wait_on(stream)?;
        driver.expect(0, sent.address(at), &expected);
        Ok(())
    })
}

#[test]
fn rows_gathered_late_and_in_any_order_are_those_of_the_table() {
    let Some(driver) = Driver::alone(20) else { return };
    for (turn, sixteenths) in [0, 1, 4, 16, 64].into_iter().enumerate() {
        driver.reset(turn as u64);
        driver.eagerness(sixteenths);
        pump_rows(&driver, 200, 24, turn as u64).unwrap();
        assert!(driver.launches() > 100);
        driver.assert_clean();
    }
    assert!(cuda_leaks().is_empty());
}

/// In every width of lanes, and by grids that are smaller than the work: in tests they are of a few blocks.
#[test]
fn rows_of_every_width_and_alignment_are_gathered() {
    let Some(driver) = Driver::alone(21) else { return };
    let mut dice = Dice(5);
    for row_bytes in [1, 2, 3, 4, 7, 8, 12, 16, 20, 32, 48, 100, 784, 1024, 5000] {
        for (start, to) in [(0, 0), (16, 64), (4, 8), (1, 0), (2, 6)] {
            let (pool, uplink, table) = with_table(start, row_bytes).unwrap();
            let num_rows = 40;
            let mut slot = pool.take(0, 8 * num_rows).unwrap();
            let mut expected = Vec::new();
            for list in slot.bytes()[..8 * num_rows].chunks_mut(8) {
                let row = dice.below(TABLE_ROWS);
                list.copy_from_slice(&(row as u64).to_ne_bytes());
                expected.extend(&table[row * row_bytes..(row + 1) * row_bytes]);
            }
            let sent = uplink.send(slot.freeze(), &gather_listed(num_rows, start, row_bytes, to)).unwrap();
            sent.wait_on(TrainerStream::legacy_default()).unwrap();
            driver.expect(0, sent.address(At::Buffer(to)), &expected);
            drop((sent, uplink, pool));
            driver.assert_clean();
        }
    }
}

#[test]
fn what_lies_nowhere_is_refused_before_a_kernel_reads_it() {
    let Some(driver) = Driver::alone(22) else { return };
    let (pool, uplink, _) = with_table(0, 24).unwrap();
    let refused = |row: u64, change: fn(&mut Load)| {
        let mut slot = pool.take(0, 80).unwrap();
        slot.bytes()[..80].chunks_mut(8).for_each(|list| list.copy_from_slice(&row.to_ne_bytes()));
        let mut load = gather_listed(10, 0, 24, 0);
        change(&mut load);
        uplink.send(slot.freeze(), &load).err().map(|error| error.kind())
    };
    let last = TABLE_ROWS as u64 - 1;
    assert_eq!(refused(last, |_| ()), None);
    let internal = Some(ErrorKind::Internal);
    assert_eq!(refused(last + 1, |_| ()), internal);
    assert_eq!(refused(u64::MAX, |_| ()), internal);
    assert_eq!(refused(0, |load| load.len_bytes = 239), internal);
    assert_eq!(refused(0, |load| load.copies[0].1 = At::Resident(24 * TABLE_ROWS)), internal);
    assert_eq!(refused(0, |load| load.copies[0].0 = 0..1 << 20), internal);
    assert_eq!(refused(0, |load| load.work.push(Work::Set { to: 0, len: 1000, byte: 0 })), internal);
    assert_eq!(refused(0, |load| load.work.push(Work::Cast(cast_within(100)))), None);
    assert_eq!(refused(0, |load| load.work.push(Work::Cast(cast_within(1000)))), internal);
    drop((uplink, pool));
    driver.assert_clean();
}

/// A cast of as many bytes of the buffer to itself.
fn cast_within(num_elements: u32) -> Cast {
    let byte = ElementType { number: 1, width_bytes: 1 };
    Cast {
        to: 0,
        from: At::Buffer(0),
        rows: Rows::From(0),
        num_rows: 1,
        num_elements,
        from_type: byte,
        to_type: byte,
        scale: 1.0,
        channels: None,
        valid: None,
        null_bits: 0,
    }
}

fn violation_of_rows(fault: u8) -> Option<String> {
    violation_in(fault, 23, |driver| pump_rows(driver, 200, 24, 3))
}

#[test]
fn row_numbers_overwritten_before_they_were_copied_are_seen() {
    let Some(said) = violation_of_rows(faults::NO_WAIT) else { return };
    assert!(said.contains("changed before it was copied"), "{said}");
}

#[test]
fn a_kernel_that_does_not_wait_for_its_row_numbers_is_seen() {
    let Some(said) = violation_of_rows(faults::OTHER_STREAM) else { return };
    assert!(said.contains("not those of its batch") || said.contains("is not there"), "{said}");
}

#[test]
fn an_event_recorded_before_its_kernel_is_seen() {
    let Some(said) = violation_of_rows(faults::BEFORE_KERNELS) else { return };
    assert!(said.contains("not those of its batch"), "{said}");
}

#[test]
fn a_table_freed_under_a_batch_that_lies_in_it_is_seen() {
    let Some(said) = violation_of_rows(faults::EARLY_RESIDENT) else { return };
    assert!(said.contains("freed while in use"), "{said}");
}

#[test]
fn a_gathered_batch_that_does_not_wait_for_the_trainer_is_seen() {
    let Some(said) = violation_of_rows(faults::NO_RELEASE) else { return };
    assert!(said.contains("not those of its batch"), "{said}");
}

#[test]
fn a_call_that_fails_in_a_gather_leaves_at_most_what_it_was_to_free() {
    let Some(driver) = Driver::alone(24) else { return };
    pump_rows(&driver, 9, 24, 5).unwrap();
    let calls = driver.calls();
    for how in [Failure::Once, Failure::OnceWithEffect, Failure::Sticky] {
        for at in 1..=calls {
            leaks::forget();
            driver.reset(1);
            driver.eagerness(at % 2 * 16);
            driver.fail(at, how);
            let outcome = pump_rows(&driver, 9, 24, 5);
            let failed = driver.failed();
            driver.eagerness(64);
            (0..100).for_each(|_| drop(cuda_devices()));
            assert_eq!(driver.violations(), None, "call {at} of {calls}, {how:?}");
            let (held, left) = (driver.held(), cuda_leaks());
            assert!(held.device_bytes <= left.device_bytes, "call {at}, {how:?}: {held:?}, {left}");
            assert!(held == Held::default() || !left.is_empty(), "call {at}, {how:?}: {held:?}");
            // Fewer calls are made where more happens by itself.
            if how == Failure::Sticky && !failed.is_empty() {
                assert!(outcome.is_err() || !left.is_empty(), "call {at} of {calls}: {failed}");
            }
        }
    }
    leaks::forget();
    driver.reset(0);
}

#[test]
fn a_device_is_checked_against_the_host_and_measured() {
    let Some(driver) = Driver::alone(26) else { return };
    for (row_bytes, batch_rows) in [(1, 50), (7, 3), (64, 20), (4000, 2), (40_000, 1)] {
        assert!(cuda_gather_rate(0, row_bytes, batch_rows, std::time::Duration::ZERO).unwrap() > 0.0);
        driver.assert_clean();
    }
    for (row_bytes, batch_rows) in [(0, 1), (1, 0)] {
        let error = cuda_gather_rate(0, row_bytes, batch_rows, std::time::Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    // Kernels that do not follow their copies gather other rows, or too late.
    let seen = (0..30).any(|seed| {
        driver.reset(seed);
        driver.eagerness(0);
        faults::ON.store(faults::OTHER_STREAM, Ordering::Relaxed);
        let rate = cuda_gather_rate(0, 64, 20, std::time::Duration::ZERO);
        faults::ON.store(0, Ordering::Relaxed);
        rate.is_err_and(|error| error.message().contains("device 0 does not gather as the host does"))
    });
    assert!(seen);
    driver.reset(0);
    leaks::forget();
}

#[test]
fn columns_that_do_not_fit_say_by_how_much() {
    let Some(driver) = Driver::alone(25) else { return };
    driver.device_memory(10_000);
    let context = Context::new(0).unwrap();
    let uplink =
        |len_bytes| Uplink::<()>::new(&context, 3, Some(Residence { len_bytes, beside_bytes: Some(1000) }));
    let error = uplink(9001).err().expect("one byte too many");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("do not fit into the memory of device 0 by 1 bytes"), "{error}");
    drop(uplink(9000).unwrap());
    drop(context);
    driver.assert_clean();
}
