//! Threads that stop together: what `coordinator_test.py` asks of a coordinator.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use forebay::coordinator::{Coordinator, JoinOptions};
use forebay::{Error, ErrorKind};

fn bad(message: &'static str) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

/// A thread of `coordinator` that lives until the sender returned is dropped, whatever else happens.
fn stubborn(coordinator: &Coordinator, name: &str) -> mpsc::Sender<()> {
    let (alive, gone) = mpsc::channel::<()>();
    let work = move || {
        gone.recv().unwrap_err();
        Ok(())
    };
    coordinator.spawn(name, work).unwrap();
    alive
}

/// `CoordinatorTest.testStopAPI` - should_stop and wait_for_stop are false, then true.
#[test]
fn stop_api() {
    let coordinator = Coordinator::new();
    assert!(!coordinator.should_stop());
    assert!(!coordinator.wait_for_stop(Some(Duration::from_millis(10))));
    assert!(!coordinator.weak().wait_for_stop(Some(Duration::ZERO)));
    coordinator.request_stop(None).unwrap();
    assert!(coordinator.should_stop() && coordinator.weak().should_stop());
    assert!(coordinator.wait_for_stop(Some(Duration::from_millis(10))));
    assert!(coordinator.wait_for_stop(None));
    assert!(coordinator.weak().wait_for_stop(None));
}

/// `CoordinatorTest.testJoin` - join waits for all threads.
#[test]
fn join() {
    let coordinator = Coordinator::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(AtomicBool::new(false));
    for number in 0..3 {
        let (ended, gate) = (ended.clone(), gate.clone());
        let work = move || {
            while !gate.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        coordinator.spawn(format!("worker {number}"), work).unwrap();
    }
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    gate.store(true, Ordering::Relaxed);
    coordinator.join(&JoinOptions::new()).unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 3);
    assert!(!coordinator.should_stop(), "threads that end on their own stop nobody");
}

/// `CoordinatorTest.testJoinAllRegistered` - join waits for threads that were started elsewhere, and only registered.
#[test]
fn join_all_registered() {
    let coordinator = Coordinator::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let (go, gate) = mpsc::channel::<()>();
    let waits = {
        let (ended, weak) = (ended.clone(), coordinator.weak());
        move || {
            weak.wait_for_stop(None);
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let stops = {
        let (ended, weak) = (ended.clone(), coordinator.weak());
        move || {
            gate.recv().unwrap_err();
            weak.request_stop(None).unwrap();
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    coordinator.register_thread(thread::spawn(waits));
    coordinator.register_thread(thread::spawn(stops));
    drop(go);
    coordinator.join(&JoinOptions::new()).unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 2);
}

/// `CoordinatorTest.testJoinGraceExpires` - a stop was requested and a thread hangs: join names it when the grace is over.
#[test]
fn join_grace_expires() {
    for grace in [Duration::from_nanos(1), Duration::from_millis(2), Duration::from_secs(1)] {
        let coordinator = Coordinator::new();
        let alive = stubborn(&coordinator, "sleepy");
        coordinator.spawn("willing", || Ok(())).unwrap();
        coordinator.request_stop(None).unwrap();
        let start = Instant::now();
        let error = coordinator.join(&JoinOptions::new().grace_period(grace)).unwrap_err();
        assert!(start.elapsed() >= grace);
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().contains("threads still running"), "{error}");
        assert!(error.message().contains("'sleepy'"), "{error}");
        drop(alive);
    }
}

/// `CoordinatorTest.testJoinWithoutGraceExpires` - threads that outlive the grace are left alone where that is asked for.
#[test]
fn join_without_grace_expires() {
    let coordinator = Coordinator::new();
    let alive = stubborn(&coordinator, "sleepy");
    coordinator.request_stop(None).unwrap();
    let options = JoinOptions::new().grace_period(Duration::from_millis(2)).ignore_live_threads(true);
    coordinator.join(&options).unwrap();
    drop(alive);
}

/// `CoordinatorTest.testJoinRaiseReportException` - the first error that was reported is what join returns.
#[test]
fn join_raise_report_exception() {
    let coordinator = Coordinator::new();
    let (first, second) = (coordinator.weak(), coordinator.weak());
    let (reported, wait) = mpsc::channel::<()>();
    let work = move || {
        first.request_stop(Some(bad("First")))?;
        drop(reported);
        Ok(())
    };
    coordinator.spawn("first", work).unwrap();
    let work = move || {
        wait.recv().unwrap_err();
        second.request_stop(Some(bad("Too late")))
    };
    coordinator.spawn("second", work).unwrap();
    let error = coordinator.join(&JoinOptions::new()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Malformed, "First"));
    assert_eq!(coordinator.error().unwrap().message(), "First");
}

/// `CoordinatorTest.testJoinIgnoresOutOfRange` - the end of the data is a clean stop.
#[test]
fn join_ignores_out_of_range() {
    let end = |message| Error::new(ErrorKind::OutOfRange, message);
    let coordinator = Coordinator::new();
    coordinator.spawn("first", move || Err(end("First"))).unwrap();
    assert!(coordinator.wait_for_stop(None));
    coordinator.join(&JoinOptions::new()).unwrap();
    assert!(coordinator.error().is_none());

    // Which kinds are clean is the caller's to say.
    let strict = Coordinator::with_clean_stops([]);
    strict.spawn("first", move || Err(end("First"))).unwrap();
    assert_eq!(strict.join(&JoinOptions::new()).unwrap_err().kind(), ErrorKind::OutOfRange);
    let lenient = Coordinator::with_clean_stops([ErrorKind::Malformed]);
    lenient.spawn("first", || Err(bad("First"))).unwrap();
    lenient.join(&JoinOptions::new()).unwrap();
}

/// `CoordinatorTest.testJoinRaiseReportExceptionUsingHandler` - a scope that ends with an error reports it, the first wins.
#[test]
fn join_raise_report_exception_using_handler() {
    let coordinator = Arc::new(Coordinator::new());
    let (reported, wait) = mpsc::channel::<()>();
    let first = {
        let coordinator = coordinator.clone();
        thread::spawn(move || {
            assert_eq!(coordinator.stop_on_error(|| Ok(7)), Some(7));
            assert!(!coordinator.should_stop());
            assert_eq!(coordinator.stop_on_error(|| Err::<u8, _>(bad("First"))), None);
            drop(reported);
        })
    };
    let second = {
        let coordinator = coordinator.clone();
        thread::spawn(move || {
            wait.recv().unwrap_err();
            assert_eq!(coordinator.stop_on_error(|| -> forebay::Result<u8> { panic!("Too late") }), None);
        })
    };
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().message(), "First");
}

/// `CoordinatorTest.testClearStopClearsExceptionToo` - a coordinator is used again, and reports the error of its second run.
#[test]
fn clear_stop_clears_exception_too() {
    let coordinator = Coordinator::new();
    for (round, message) in ["First", "Second"].into_iter().enumerate() {
        let (go, gate) = mpsc::channel::<()>();
        let work = move || {
            gate.recv().unwrap_err();
            Err(bad(message))
        };
        coordinator.spawn(format!("round {round}"), work).unwrap();
        assert!(!coordinator.should_stop() && coordinator.error().is_none());
        drop(go);
        assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().message(), message);
        assert!(coordinator.should_stop());
        coordinator.clear_stop();
    }
    coordinator.join(&JoinOptions::new()).unwrap();
}

/// `CoordinatorTest.testRequestStopRaisesIfJoined_ExcInfo` - nobody would learn of an error that comes after the join, so that
/// it goes back to who reports it; after clear_stop it is reported as ever.
#[test]
fn request_stop_raises_if_joined_exc_info() {
    let coordinator = Coordinator::new();
    coordinator.join(&JoinOptions::new()).unwrap();
    let late = coordinator.request_stop(Some(bad("Too late"))).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Closed);
    let source = std::error::Error::source(&late).unwrap();
    assert!(source.to_string().contains("Too late"), "{source}");
    assert!(!coordinator.should_stop());
    assert_eq!(coordinator.spawn("late", || Ok(())).unwrap_err().kind(), ErrorKind::Closed);

    coordinator.clear_stop();
    coordinator.request_stop(Some(bad("After clear"))).unwrap();
    assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().message(), "After clear");
}

/// What a loop of `coordinator` has counted to once it was stopped at `n`.
fn looped_to(n: usize, interval: Duration) -> usize {
    let coordinator = Coordinator::new();
    let count = Arc::new(AtomicUsize::new(0));
    let work = {
        let (count, weak) = (count.clone(), coordinator.weak());
        // What the classic hands to its target as arguments, a closure holds.
        move || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == n {
                weak.request_stop(None)?;
            }
            Ok(())
        }
    };
    coordinator.spawn_loop("looper", interval, work).unwrap();
    coordinator.join(&JoinOptions::new()).unwrap();
    count.load(Ordering::Relaxed)
}

/// `LooperTest.testTargetArgs` - a looping thread does its work until it is stopped, and not once more.
#[test]
fn target_args() {
    assert_eq!(looped_to(3, Duration::ZERO), 3);
    assert_eq!(looped_to(1, Duration::ZERO), 1);
}

/// `LooperTest.testTargetMixedArgs` - the same with a pause between, which a stop cuts short.
#[test]
fn target_mixed_args() {
    assert_eq!(looped_to(3, Duration::from_millis(1)), 3);
    let start = Instant::now();
    assert_eq!(looped_to(1, Duration::from_secs(1000)), 1);
    assert!(start.elapsed() < Duration::from_secs(500), "the pause is not waited for");
}
