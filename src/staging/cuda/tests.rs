//! The protocol of copies, against a driver that lets them happen late and in random order.

mod work;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::driver::{Driver, Failure, Held};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::staging::{SlotMemory, SlotPool, Staging};

/// xorshift64*: the tests' own dice.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

/// The bytes of batch `number`.
fn pattern(number: u64, bytes: &mut [u8]) {
    let mut word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for piece in bytes.chunks_mut(8) {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
    }
}

/// Sends `copies` batches of up to `max_bytes`, and does with each what a trainer may: waits by its stream, by the CPU or not
/// at all; drops it at once, later, or after the pool.
fn pump(driver: &Driver, copies: u64, max_bytes: usize, seed: u64) -> Result<()> {
    let mut dice = Dice(seed.wrapping_mul(2) + 1);
    let pool = SlotPool::new(SlotMemory::new(Staging::Cuda(0), None)?, 1, 4, ());
    let SlotMemory::Cuda(pins) = pool.memory() else { unreachable!("asked for above") };
    let uplink = Uplink::new(pins.context(), 3, None)?;
    let stream = TrainerStream::legacy_default();
    let mut held: VecDeque<(Sent<()>, Vec<u8>)> = VecDeque::new();
    for number in 0..copies {
        let len_bytes = 1 + dice.below(max_bytes);
        let mut slot = pool.take(0, len_bytes)?;
        pattern(number, &mut slot.bytes()[..len_bytes]);
        let bytes = slot.bytes()[..len_bytes].to_vec();
        held.push_back((uplink.send(slot.freeze(), &Load::whole(len_bytes))?, bytes));
        if dice.below(4) == 0 {
            uplink.sweep()?;
        }
        while held.len() > dice.below(4) {
            let (sent, bytes) = held.pop_front().expect("more than none");
            match dice.below(8) {
                0 => sent.synchronize()?,
                1 => drop(sent.is_done()?),
                2 => {}
                _ => {
                    sent.wait_on(stream)?;
                    driver.expect(0, sent.address(At::Buffer(0)), &bytes);
                }
            }
        }
    }
    drop((uplink, pool));
    held.drain(..).try_for_each(|(sent, bytes)| {
        sent.wait_on(stream)?;
        driver.expect(0, sent.address(At::Buffer(0)), &bytes);
        Ok(())
    })
}

#[test]
fn copies_that_end_late_and_in_any_order_are_whole() {
    let Some(driver) = Driver::alone(7) else { return };
    // From a driver that does nothing before it must to one that does all at once.
    let eager = [0, 1, 4, 16, 64];
    for (turn, sixteenths) in eager.into_iter().enumerate() {
        driver.reset(turn as u64);
        driver.eagerness(sixteenths);
        let copies = 1_000_000 / eager.len() as u64;
        pump(&driver, copies, 2000, turn as u64).unwrap();
        assert_eq!(driver.copies(), copies);
        driver.assert_clean();
    }
    assert!(cuda_leaks().is_empty());
}

#[test]
fn threads_of_their_own_send_to_devices_of_their_own() {
    let Some(driver) = Driver::alone(8) else { return };
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            scope.spawn(move || {
                let memory = SlotMemory::new(Staging::Cuda(thread % 2), None).unwrap();
                let pool = SlotPool::new(memory, 1, 4, ());
                let uplink = Uplink::new(&Context::new(thread % 2).unwrap(), 3, None).unwrap();
                let mut held = VecDeque::new();
                for number in 0..500 {
                    let mut slot = pool.take(0, 500).unwrap();
                    pattern(number, slot.bytes());
                    held.push_back(uplink.send(slot.freeze(), &Load::whole(500)).unwrap());
                    if held.len() > 2 {
                        held.pop_front().expect("three").wait_on(TrainerStream::legacy_default()).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(driver.copies(), 2000);
    driver.assert_clean();
}

/// What the driver, drawing from `seed`, says of a `run` with `fault`.
fn violation_in(fault: u8, seed: u64, run: impl FnOnce(&Driver) -> Result<()>) -> Option<String> {
    let driver = Driver::alone(seed)?;
    driver.eagerness(1);
    faults::ON.store(fault, Ordering::Relaxed);
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&driver)));
    faults::ON.store(0, Ordering::Relaxed);
    run.expect("no panic").unwrap();
    let found = driver.violations();
    driver.reset(0);
    leaks::forget();
    Some(found.map_or_else(|| "nothing".to_owned(), |(first, _)| first))
}

fn violation(fault: u8) -> Option<String> {
    violation_in(fault, 9, |driver| pump(driver, 300, 2000, 3))
}

#[test]
fn a_slot_that_does_not_wait_for_its_copy_is_seen() {
    let Some(said) = violation(faults::NO_WAIT) else { return };
    assert!(said.contains("changed before it was copied"), "{said}");
}

#[test]
fn memory_freed_under_a_copy_is_seen() {
    let Some(said) = violation(faults::EARLY_FREE) else { return };
    assert!(said.contains("were freed"), "{said}");
}

#[test]
fn an_event_recorded_before_its_copy_is_seen() {
    let Some(said) = violation(faults::WRONG_ORDER) else { return };
    assert!(
        said.contains("changed before it was copied") || said.contains("not those of its batch"),
        "{said}"
    );
}

#[test]
fn a_buffer_that_does_not_wait_for_the_trainer_is_seen() {
    let Some(said) = violation(faults::NO_RELEASE) else { return };
    assert!(said.contains("not those of its batch"), "{said}");
}

/// How many calls a run without failures makes.
fn calls_of_a_run(driver: &Driver) -> u64 {
    driver.reset(1);
    pump(driver, 12, 300, 5).unwrap();
    driver.assert_clean();
    driver.calls()
}

#[test]
fn a_call_that_fails_once_is_an_error_and_leaves_at_most_what_it_was_to_free() {
    let Some(driver) = Driver::alone(10) else { return };
    let calls = calls_of_a_run(&driver);
    let mut errors = 0;
    let hows = [Failure::Once, Failure::OnceWithEffect];
    for (how, eagerness) in hows.into_iter().flat_map(|how| [(how, 0), (how, 16)]) {
        for at in 1..=calls {
            leaks::forget();
            driver.reset(1);
            driver.eagerness(eagerness);
            driver.fail(at, how);
            errors += pump(&driver, 12, 300, 5).is_err() as u64;
            assert_eq!(driver.violations(), None, "call {at} of {calls}, {how:?}");
            let (held, left) = (driver.held(), cuda_leaks());
            let things = [
                held.pinned_bytes.min(1),
                held.device_bytes.min(1),
                held.events,
                held.streams,
                held.contexts,
                held.modules,
            ];
            assert!(things.iter().sum::<u64>() <= 1, "call {at} of {calls}, {how:?}: {held:?}");
            assert_eq!(held.pinned_bytes, left.host_bytes, "call {at} of {calls}, {how:?}");
            assert!(held == Held::default() || !left.is_empty(), "call {at} of {calls}, {how:?}: {held:?}");
        }
    }
    assert!(errors > calls, "{errors} errors of 4 × {calls} calls");
    leaks::forget();
}

#[test]
fn a_driver_that_fails_for_good_is_left_with_what_it_may_still_use() {
    let Some(driver) = Driver::alone(11) else { return };
    let calls = calls_of_a_run(&driver);
    for eagerness in [0, 8] {
        for at in 1..=calls {
            leaks::forget();
            driver.reset(1);
            driver.eagerness(eagerness);
            driver.fail(at, Failure::Sticky);
            let error = pump(&driver, 12, 300, 5).err();
            // Work that was queued goes on; what it touches is still there.
            driver.eagerness(64);
            (0..100).for_each(|_| drop(cuda_devices()));
            assert_eq!(driver.violations(), None, "call {at} of {calls}");
            let (held, left) = (driver.held(), cuda_leaks());
            assert!(held.pinned_bytes <= left.host_bytes, "call {at} of {calls}: {held:?}, {left}");
            assert!(held.device_bytes <= left.device_bytes, "call {at} of {calls}: {held:?}, {left}");
            assert!(held == Held::default() || left.first.is_some(), "call {at} of {calls}: {held:?}");
            if let Some(error) = error {
                assert!(error.message().contains("CUDA_ERROR_ILLEGAL_ADDRESS (700)"), "{error}");
            }
        }
    }
    leaks::forget();
    driver.reset(0);
}

#[test]
fn beyond_the_cap_slots_are_pageable_and_counted() {
    let Some(driver) = Driver::alone(12) else { return };
    let pool = SlotPool::new(SlotMemory::new(Staging::Cuda(0), Some(10_000)).unwrap(), 1, 4, ());
    let slots: Vec<_> = (0..4).map(|_| pool.take(0, 4000).unwrap()).collect();
    assert_eq!(pool.memory().pinned_bytes(), (8000, 8000));
    drop((slots, pool));
    driver.assert_clean();
}

#[test]
fn pools_without_a_cap_of_their_own_share_one() {
    let Some(driver) = Driver::alone(19) else { return };
    let context = Context::new(0).unwrap();
    // What failures of other tests left is locked still.
    let cap_bytes = pinned::SHARED_BYTES.load(Ordering::Relaxed) + 10_000;
    let [first, second] = [0, 1].map(|_| Pins::sharing(context.clone(), cap_bytes));
    let own = Pins::new(context, 5000);
    let held = [first.allocate(6000), second.allocate(3000), own.allocate(5000)];
    assert!(held.iter().all(|pinned| pinned.as_ref().unwrap().is_some()));
    assert!(second.allocate(2000).unwrap().is_none(), "11,000 of 10,000 bytes");
    assert_eq!((second.pinned_bytes(), second.unpinned_bytes()), (3000, 2000));
    drop(held);
    assert!(second.allocate(9000).unwrap().is_some(), "it was given back");
    drop((first, second, own));
    driver.assert_clean();
}

#[test]
fn a_device_that_is_not_there_or_too_small_is_told_in_numbers() {
    let Some(driver) = Driver::alone(13) else { return };
    assert_eq!(cuda_devices().unwrap(), 2);
    let error = Context::new(2).err().expect("there are two");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("no CUDA device 2: expected one of the 2"), "{error}");

    driver.device_memory(10_000);
    let pool = SlotPool::new(SlotMemory::new(Staging::Cuda(1), None).unwrap(), 1, 4, ());
    let uplink = Uplink::new(&Context::new(1).unwrap(), 3, None).unwrap();
    let send = || uplink.send(pool.take(0, 6000).unwrap().freeze(), &Load::whole(6000));
    let first = send().unwrap();
    let error = send().err().expect("there is no room for two");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.message().contains("expected 6000 bytes for a batch on device 1, found 4000 of 10000"),
        "{error}"
    );
    drop((first, pool, uplink));
    driver.assert_clean();
}
