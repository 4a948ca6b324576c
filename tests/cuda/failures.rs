//! Calls of the driver that fail, every one of them in turn: an error, no hang, and nothing left behind but what is counted.

use std::time::Duration;

use control::Failure;
use forebay::{CudaLeaks, Preload, col, cuda_copy_rate, cuda_leaks};

use super::*;

/// Goes through a small dataset to the end, whatever fails, by a loader with `options`; says how many errors there were.
fn run_to_the_end(options: fn(LoaderBuilder) -> LoaderBuilder) -> usize {
    let builder =
        Loader::builder(&numbers(60)).batch_size(10).shuffle(Shuffle::Exact).seed(1).threads(1).depth(2);
    let loader = match options(builder).build_on_device(0) {
        Ok(loader) => loader,
        Err(_) => return 1,
    };
    let (mut errors, mut items) = (0, 0);
    let mut held = VecDeque::new();
    for batch in loader {
        items += 1;
        let used = batch.and_then(|batch| {
            batch.wait_on(TrainerStream::legacy_default())?;
            held.push_back(batch);
            Ok(())
        });
        errors += used.is_err() as usize;
        if held.len() > 1 {
            held.pop_front();
        }
    }
    assert_eq!(items, 6, "every batch has its item");
    errors
}

/// Whoever asks for a batch hears of a failure of these; others only tidy up, or have another call to fall back on.
const WITHOUT_WHICH_NO_BATCH: [&str; 9] = [
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDevicePrimaryCtxRetain",
    "cuStreamCreate",
    "cuMemHostAlloc",
    "cuMemAlloc_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuStreamWaitEvent",
];

/// Of loaders whose batches are made on the device, beside these.
const WITHOUT_WHICH_NO_KERNEL: [&str; 3] = ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel"];

/// What is left was counted since `before`; and it is no more than one thing, the one that a call was to free or of which nobody
/// knows, unless the driver fails for good.
fn little_is_left(driver: &Driver, before: &CudaLeaks, how: Failure, what: &str) {
    let (held, left) = (driver.held(), cuda_leaks());
    let what = format!("{what}, {how:?}: {held:?}, {left}, before {before}");
    assert!(held.pinned_bytes <= left.host_bytes - before.host_bytes, "{what}");
    assert!(held.device_bytes <= left.device_bytes - before.device_bytes, "{what}");
    assert!(held == Default::default() || left != *before, "{what}");
    let memory = [held.pinned_bytes.min(1), held.device_bytes.min(1)];
    let things = memory.into_iter().chain([held.events, held.streams, held.contexts, held.modules]);
    assert!(how == Failure::Sticky || things.sum::<u64>() <= 1, "{what}");
}

/// Has every call fail that a loader with `options` makes.
fn every_call_fails(seed: u64, options: fn(LoaderBuilder) -> LoaderBuilder, needed: &[&str]) {
    let Some(driver) = Driver::alone(seed) else { return };
    assert_eq!(run_to_the_end(options), 0);
    driver.assert_clean();
    // How many calls there are depends on how the threads take turns: some are asked again until an answer comes.
    let calls = driver.calls() + 8;
    for how in [Failure::Once, Failure::OnceWithEffect, Failure::Sticky] {
        let run = |fail: &dyn Fn(), seed: u64| {
            let before = cuda_leaks();
            driver.reset(seed);
            fail();
            let errors = run_to_the_end(options);
            let failed = driver.failed();
            assert!(errors > 0 || !needed.contains(&failed.as_str()), "{failed}, run {seed}, {how:?}");
            assert_eq!(driver.violations(), None, "{failed}, run {seed}, {how:?}");
            little_is_left(&driver, &before, how, &failed);
            failed
        };
        for at in 1..=calls {
            run(&|| driver.fail(at, how), at);
        }
        // A call that is made once may have been another one each time.
        for &name in needed {
            assert_eq!(run(&|| driver.fail_named(name, how), 0), name, "{how:?}");
        }
    }
    driver.reset(0);
}

#[test]
fn a_failure_of_any_call_is_an_error_and_nothing_hangs() {
    every_call_fails(11, |builder| builder, &WITHOUT_WHICH_NO_BATCH);
}

#[test]
fn a_failure_of_any_call_is_an_error_where_the_device_casts() {
    let needed = [&WITHOUT_WHICH_NO_BATCH[..], &WITHOUT_WHICH_NO_KERNEL].concat();
    let cast = |builder: LoaderBuilder| {
        let row = col("row").cast::<f32>().normalize([3.0], [2.0]);
        builder.columns([row]).remainder(Remainder::Pad).batch_size(11).cast_on_device(true)
    };
    every_call_fails(14, cast, &[&needed[..], &["cuMemsetD8Async"]].concat());
}

#[test]
fn a_failure_of_any_call_is_an_error_where_columns_stay_on_the_device() {
    let needed = [&WITHOUT_WHICH_NO_BATCH[..], &WITHOUT_WHICH_NO_KERNEL, &["cuMemGetInfo_v2"]].concat();
    every_call_fails(15, |builder| builder.preload(Preload::Device), &needed);
}

#[test]
fn bare_copies_are_measured_and_leave_nothing_whatever_fails() {
    let Some(driver) = Driver::alone(12) else { return };
    let rate = || cuda_copy_rate(0, 1000, Duration::ZERO);
    assert!(rate().unwrap() > 0.0);
    driver.assert_clean();
    assert_eq!(cuda_copy_rate(0, 0, Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidArgument);
    driver.reset(12);
    rate().unwrap();
    let calls = driver.calls();
    for how in [Failure::Once, Failure::OnceWithEffect, Failure::Sticky] {
        for at in 1..=calls {
            let before = cuda_leaks();
            driver.reset(at);
            driver.eagerness(0);
            driver.fail(at, how);
            let _ = rate();
            assert_eq!(driver.violations(), None, "call {at} of {calls}, {how:?}");
            little_is_left(&driver, &before, how, &format!("call {at} of {calls}"));
        }
    }
    driver.reset(0);
}

#[test]
fn an_epoch_with_a_batch_that_was_not_sent_is_not_audited_as_whole() {
    let Some(driver) = Driver::alone(23) else { return };
    let mut loader = Loader::builder(&numbers(60)).batch_size(10).threads(0).build_on_device(0).unwrap();
    driver.fail_named("cuMemcpyHtoDAsync_v2", Failure::Once);
    assert!(loader.next().unwrap().is_err());
    assert!(loader.next().unwrap().is_ok());
    let state = loader.state().to_json();
    assert!(state.contains(r#""failed":true"#), "{state}");
    assert_eq!(loader.by_ref().filter(Result::is_ok).count(), 4);
    drop(loader);
    driver.reset(0);
}
