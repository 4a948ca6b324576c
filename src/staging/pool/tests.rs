//! What slots promise, of every kind of memory.

use super::*;

fn allocated<C>(pool: &SlotPool<C>) -> usize {
    pool.0.allocated.load(Ordering::Relaxed)
}

/// Every test of the suite for one kind of memory; `begin` gives the memory, and what is to be checked after the test.
macro_rules! suite {
    ($kind:ident, $begin:expr) => {
        suite!($kind, $begin, memory_returns_with_the_last_share_and_not_before, slots_that_outlive_their_pool_take_it_along, a_slot_grows_and_keeps_what_was_written, shares_dropped_in_many_threads_return_one_slot, memory_is_zero_and_begins_at_a_page);
    };
    ($kind:ident, $begin:expr, $($name:ident),*) => {
        mod $kind {
            $(
                #[test]
                fn $name() {
                    if let Some((memory, check)) = $begin {
                        super::$name(memory);
                        check();
                    }
                }
            )*
        }
    };
}

suite!(heap, Some((super::SlotMemory::Heap, || ())));
suite!(locked, super::may_be_locked());
#[cfg(feature = "cuda")]
suite!(cuda, super::on_test_driver(usize::MAX));
#[cfg(feature = "cuda")]
suite!(cuda_past_its_cap, super::on_test_driver(0));

/// Memory that is locked; `None` where this process may not lock what the suite locks, in a container perhaps.
fn may_be_locked() -> Option<(SlotMemory, fn())> {
    const MOST_BYTES: usize = 8 << 20;
    let may = memlock_limit() >= MOST_BYTES as libc::rlim_t
        || SlotPool::new(SlotMemory::Locked, 1, 1, ()).take(0, MOST_BYTES).is_ok();
    if !may {
        eprintln!("skipped: this process may not lock {MOST_BYTES} bytes (`ulimit -l`)");
    }
    may.then_some((SlotMemory::Locked, || ()))
}

fn memlock_limit() -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }, 0);
    limit.rlim_cur
}

/// Locked memory of the test driver, which must all be gone in the end.
#[cfg(feature = "cuda")]
fn on_test_driver(cap_bytes: usize) -> Option<(SlotMemory, impl FnOnce())> {
    use crate::staging::Staging;
    let driver = crate::staging::cuda::driver::Driver::alone(1)?;
    Some((SlotMemory::new(Staging::Cuda(0), Some(cap_bytes)).unwrap(), move || driver.assert_clean()))
}

fn memory_returns_with_the_last_share_and_not_before(memory: SlotMemory) {
    let pool = SlotPool::new(memory, 1, 4, ());
    let mut slot = pool.take(0, 100).unwrap();
    slot.bytes()[..3].copy_from_slice(b"abc");
    let slot = slot.freeze();
    let buffer = slot.buffer(0..3);
    drop(slot);
    let other = pool.take(0, 100).unwrap();
    assert_eq!(allocated(&pool), 2);
    assert_eq!(buffer.as_slice(), b"abc");
    drop((buffer, other));
    let _both = (pool.take(0, 100).unwrap(), pool.take(0, 100).unwrap());
    assert_eq!(allocated(&pool), 2);
}

fn slots_that_outlive_their_pool_take_it_along(memory: SlotMemory) {
    let context = Arc::new(());
    let pool = SlotPool::new(memory, 1, 4, context.clone());
    let (slot, other) = (pool.take(0, 64).unwrap().freeze(), pool.take(0, 64).unwrap());
    drop(pool.take(0, 64).unwrap());
    drop(pool);
    assert_eq!(Arc::strong_count(&context), 2);
    drop((slot.buffer(0..64), other));
    drop(slot);
    assert_eq!(Arc::strong_count(&context), 1);
}

fn a_slot_grows_and_keeps_what_was_written(memory: SlotMemory) {
    let pool = SlotPool::new(memory, 1, 4, ());
    let mut slot = pool.take(0, 10).unwrap();
    slot.bytes()[..10].copy_from_slice(b"0123456789");
    slot.reserve(100_000).unwrap();
    assert_eq!(&slot.bytes()[..10], b"0123456789");
    assert!(slot.bytes().len() >= 100_000);
}

fn shares_dropped_in_many_threads_return_one_slot(memory: SlotMemory) {
    let pool = SlotPool::new(memory, 1, 4, ());
    for _ in 0..200 {
        let slot = pool.take(0, 64).unwrap().freeze();
        std::thread::scope(|scope| {
            for share in [slot.clone(), slot.clone(), slot] {
                scope.spawn(move || assert_eq!(share.bytes().len(), 64));
            }
        });
    }
    assert_eq!(allocated(&pool), 1);
}

fn memory_is_zero_and_begins_at_a_page(memory: SlotMemory) {
    let pool = SlotPool::new(memory, 1, 4, ());
    for len_bytes in [0, 1, 4096, 4097, 3 << 20] {
        let mut slot = pool.take(0, len_bytes).unwrap();
        assert!(slot.bytes().len() >= len_bytes);
        assert_eq!(slot.bytes().as_ptr() as usize % 4096, 0);
        assert!(slot.bytes().iter().all(|&byte| byte == 0));
    }
}

#[test]
fn locking_past_the_limit_says_what_to_do() {
    let limit = memlock_limit();
    let pool = SlotPool::new(SlotMemory::Locked, 1, 1, ());
    assert!(pool.take(0, 4096).is_ok());
    // SAFETY: a plain question about this process.
    let privileged = unsafe { libc::geteuid() } == 0;
    if limit == libc::RLIM_INFINITY || privileged {
        eprintln!("skipped: this process may lock as much memory as it likes");
        return;
    }
    let error = pool.take(0, limit as usize * 2).err().expect("past the limit");
    assert!(error.message().contains("ulimit -l"));
}
