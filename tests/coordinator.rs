//! Threads stop together whatever happens on the way: a stop in the middle of a start, a panic, a thread that cannot be had,
//! the last handle dropped by one of them.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use forebay::coordinator::{
    Batches, Coordinator, EnqueueOp, JoinOptions, MapStagingArea, QueueRunner, StagingArea, batch,
    range_input_producer,
};
use forebay::queue::{FifoQueue, Queue};
use forebay::{Error, ErrorKind};

fn bad(message: &'static str) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

fn fifo<T: Send + 'static>(capacity: usize) -> Arc<FifoQueue<T>> {
    Arc::new(FifoQueue::new(capacity).unwrap())
}

/// A thread of `coordinator` that lives until the sender is dropped.
fn stubborn(coordinator: &Coordinator, name: &str) -> mpsc::Sender<()> {
    let (alive, gone) = mpsc::channel::<()>();
    let work = move || {
        gone.recv().unwrap_err();
        Ok(())
    };
    coordinator.spawn(name, work).unwrap();
    alive
}

/// Waits for `what` to become true.
#[track_caller]
fn eventually(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited a minute for it");
        thread::yield_now();
    }
}

fn grace(period: Duration) -> JoinOptions {
    JoinOptions::new().grace_period(period)
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_and_no_deadlock() {
    const CHILD: &str = "FOREBAY_TEST_WITHOUT_THREADS";
    if std::env::var_os(CHILD).is_none() {
        // A stack that no address space holds: the system gives no thread to a process that asks for such.
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_thread_that_cannot_be_started_is_an_error_and_no_deadlock",
                "--test-threads=1",
            ])
            .env("RUST_MIN_STACK", (1u64 << 50).to_string())
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let coordinator = Coordinator::new();
    let error = coordinator.spawn("worker", || Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains("'worker'"), "{error}");

    let queue = fifo::<u8>(1);
    let into = queue.clone();
    let runner = QueueRunner::repeated(&queue, 3, move || into.enqueue(1));
    assert_eq!(runner.start(Some(&coordinator)).unwrap_err().kind(), ErrorKind::Io);
    assert!(queue.is_closed(), "nobody is left to fill it");
    assert_eq!(runner.start(None).unwrap_err().kind(), ErrorKind::Io);
    coordinator.join(&JoinOptions::new()).unwrap();
}

#[test]
fn a_start_that_fails_half_way_ends_what_it_started() {
    const CHILD: &str = "FOREBAY_TEST_WITH_FEW_THREADS";
    if std::env::var_os(CHILD).is_none() {
        // Room for the stacks of two or three threads, and for no more.
        let status = Command::new("sh")
            .args(["-c", "ulimit -v 3670016 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "a_start_that_fails_half_way_ends_what_it_started", "--test-threads=1"])
            .env("RUST_MIN_STACK", (1u64 << 30).to_string())
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let coordinator = Coordinator::new();
    let queue = fifo::<u8>(1);
    let (into, calls) = (queue.clone(), Arc::new(AtomicUsize::new(0)));
    let counts = calls.clone();
    let runner = QueueRunner::repeated(&queue, 8, move || {
        counts.fetch_add(1, Ordering::Relaxed);
        into.enqueue(1)
    });
    assert_eq!(runner.start(Some(&coordinator)).unwrap_err().kind(), ErrorKind::Io);
    // Nobody has asked for a stop: were those that were started not woken, they would wait for room for ever.
    coordinator.join(&JoinOptions::new()).unwrap();
    assert!(queue.is_closed() && !coordinator.should_stop());
    assert!(calls.load(Ordering::Relaxed) > 0, "some were started");
}

#[test]
fn a_name_with_a_zero_byte_is_refused() {
    let coordinator = Coordinator::new();
    let error = coordinator.spawn("work\0er", || Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let queue = fifo::<u8>(1);
    let runner = QueueRunner::repeated(&queue, 1, || Ok(())).named("run\0ner");
    assert_eq!(runner.start(Some(&coordinator)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    coordinator.join(&JoinOptions::new()).unwrap();
}

#[test]
fn a_panic_on_stop_keeps_nothing_else_from_being_done() {
    let coordinator = Coordinator::new();
    let queue = fifo::<u8>(1);
    coordinator.on_stop(|| panic!("on purpose"));
    coordinator.cancel_on_stop(&queue);
    let from = queue.clone();
    coordinator.spawn("reader", move || from.dequeue().map(drop)).unwrap();
    coordinator.request_stop(None).unwrap();
    let error = coordinator.join(&JoinOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.message().contains("on purpose"), "{error}");
    assert!(queue.is_closed());
}

#[test]
fn what_is_done_on_stop_may_drop_the_last_handle_of_its_coordinator() {
    for from_a_thread_of_it in [false, true] {
        let coordinator = Coordinator::new();
        let weak = coordinator.weak();
        let queue = fifo::<u8>(1);
        let last = Arc::new(Mutex::new(None));
        let drops = last.clone();
        coordinator.on_stop(move || drop(drops.lock().unwrap().take()));
        // It is the last handle that is dropped first, and the thread it waits for is woken by what is done after.
        coordinator.cancel_on_stop(&queue);
        let (from, ended) = (queue.clone(), Arc::new(AtomicBool::new(false)));
        let ends = ended.clone();
        let reader = move || {
            let end = from.dequeue().map(drop);
            ends.store(true, Ordering::Release);
            end
        };
        coordinator.spawn("reader", reader).unwrap();
        let (go, gate) = mpsc::channel::<()>();
        if from_a_thread_of_it {
            let stops = weak.clone();
            let stop = move || {
                gate.recv().unwrap_err();
                stops.request_stop(None)
            };
            coordinator.spawn("stopper", stop).unwrap();
        }
        *last.lock().unwrap() = Some(coordinator);
        if from_a_thread_of_it {
            drop(go);
        } else {
            weak.request_stop(None).unwrap();
            assert!(ended.load(Ordering::Acquire), "the last handle waits for the threads");
        }
        eventually(|| ended.load(Ordering::Acquire) && last.lock().unwrap().is_none());
    }
}

#[test]
fn what_is_done_on_stop_may_drop_the_last_handle_of_a_queue_or_of_batches() {
    let coordinator = Coordinator::new();
    let queue = fifo::<u8>(1);
    let other = numbers(&Coordinator::new(), None, |n| n);
    coordinator.cancel_on_stop(&queue);
    coordinator.on_stop(move || drop((queue, other)));
    coordinator.on_stop(|| ());
    coordinator.request_stop(None).unwrap();
    coordinator.join(&JoinOptions::new()).unwrap();
    // After the stop it is done at once.
    let done = Arc::new(AtomicBool::new(false));
    let does = done.clone();
    coordinator.on_stop(move || does.store(true, Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed));
}

#[test]
fn threads_that_outlive_a_join_are_named_by_the_next_and_do_not_hold_up_the_end() {
    let coordinator = Coordinator::new();
    let alive = stubborn(&coordinator, "sleepy");
    coordinator.request_stop(None).unwrap();
    for _ in 0..2 {
        let error = coordinator.join(&grace(Duration::from_millis(1))).unwrap_err();
        assert!(error.message().contains("'sleepy'"), "{error}");
    }
    coordinator.join(&grace(Duration::from_millis(1)).ignore_live_threads(true)).unwrap();
    // The thread lives as long as `alive`, which is dropped after it.
    drop(coordinator);
    drop(alive);
}

#[test]
fn who_joins_at_once_learns_the_same() {
    for round in 0..50 {
        let coordinator = Coordinator::new();
        let start = Arc::new(Barrier::new(4));
        let work = move || if round % 2 == 0 { Err(bad("First")) } else { Ok(()) };
        for number in 0..4 {
            let start = start.clone();
            coordinator
                .spawn(format!("worker {number}"), move || {
                    start.wait();
                    work()
                })
                .unwrap();
        }
        let joins: Vec<_> = (0..3)
            .map(|_| {
                let coordinator = coordinator.clone();
                thread::spawn(move || coordinator.join(&JoinOptions::new()).map_err(|error| error.kind()))
            })
            .collect();
        let expected = if round % 2 == 0 { Err(ErrorKind::Malformed) } else { Ok(()) };
        for join in joins {
            assert_eq!(join.join().unwrap(), expected);
        }
    }
    // Those who wait for a thread that lives on all name it.
    let coordinator = Coordinator::new();
    let alive = stubborn(&coordinator, "sleepy");
    coordinator.request_stop(None).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let error = coordinator.join(&grace(Duration::from_millis(1))).unwrap_err();
                assert!(error.message().contains("'sleepy'"), "{error}");
            });
        }
    });
    drop(alive);
}

#[test]
fn a_join_in_one_of_its_own_threads_is_refused() {
    let coordinator = Coordinator::new();
    let (own, told) = (coordinator.clone(), Arc::new(Mutex::new(None)));
    let tells = told.clone();
    let work = move || {
        *tells.lock().unwrap() = Some(own.join(&JoinOptions::new()));
        Ok(())
    };
    coordinator.spawn("introvert", work).unwrap();
    coordinator.join(&JoinOptions::new()).unwrap();
    let error = told.lock().unwrap().take().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("'introvert'"), "{error}");
}

#[test]
fn a_panic_of_a_registered_thread_is_what_join_returns() {
    let coordinator = Coordinator::new();
    let panics = thread::Builder::new().name("guest".into()).spawn(|| panic!("on purpose")).unwrap();
    coordinator.register_thread(panics);
    let error = coordinator.join(&JoinOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.message().contains("'guest'") && error.message().contains("on purpose"), "{error}");
}

#[test]
fn a_thread_that_is_registered_while_others_join_is_waited_for() {
    let coordinator = Coordinator::new();
    let alive = stubborn(&coordinator, "first");
    let (go, gate) = mpsc::channel::<()>();
    let ended = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let join = scope.spawn(|| coordinator.join(&JoinOptions::new()));
        let ends = ended.clone();
        coordinator.register_thread(thread::spawn(move || {
            gate.recv().unwrap_err();
            ends.store(true, Ordering::Release);
        }));
        drop(alive);
        drop(go);
        join.join().unwrap().unwrap();
        assert!(ended.load(Ordering::Acquire));
    });
}

#[test]
fn the_last_handle_is_dropped_by_one_of_the_threads() {
    for _ in 0..100 {
        let coordinator = Coordinator::new();
        let queue = fifo::<u8>(1);
        coordinator.cancel_on_stop(&queue);
        let ended = Arc::new(AtomicUsize::new(0));
        for number in 0..3 {
            let (last, from, ended) = (coordinator.clone(), queue.clone(), ended.clone());
            let work = move || {
                if number > 0 {
                    from.dequeue().unwrap_err();
                }
                drop(last);
                ended.fetch_add(1, Ordering::Release);
                Ok(())
            };
            coordinator.spawn(format!("owner {number}"), work).unwrap();
        }
        coordinator.request_stop(None).unwrap();
        drop(coordinator);
        eventually(|| ended.load(Ordering::Acquire) == 3);
    }
}

#[test]
fn a_stop_in_the_middle_of_a_start_stops_all_that_was_started() {
    for round in 0..300 {
        let coordinator = Coordinator::new();
        let queue = fifo::<u8>(1);
        let into = queue.clone();
        let runner = QueueRunner::repeated(&queue, 4, move || into.enqueue(1));
        let start = Barrier::new(2);
        thread::scope(|scope| {
            let starts = scope.spawn(|| {
                start.wait();
                runner.start(Some(&coordinator))
            });
            start.wait();
            (0..round % 30).for_each(|_| thread::yield_now());
            coordinator.request_stop(None).unwrap();
            match starts.join().unwrap() {
                Ok(threads) => assert_eq!(threads, 4),
                Err(error) => panic!("{error}"),
            }
        });
        coordinator.join(&grace(Duration::from_secs(60))).unwrap();
        assert!(queue.is_closed());
    }
}

#[test]
fn a_join_in_the_middle_of_a_start_waits_for_what_was_started() {
    for round in 0..300 {
        let coordinator = Coordinator::new();
        let queue = fifo::<u8>(10);
        let (left, into) = (AtomicUsize::new(100), queue.clone());
        let runner = QueueRunner::repeated(&queue, 4, move || {
            let end = |_| Error::new(ErrorKind::OutOfRange, "the end");
            let less = |left: usize| left.checked_sub(1);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(end)?;
            into.enqueue(1)
        });
        let from = queue.clone();
        let reader = thread::spawn(move || std::iter::from_fn(|| from.dequeue().ok()).count());
        let start = Barrier::new(2);
        let started = thread::scope(|scope| {
            let starts = scope.spawn(|| {
                start.wait();
                runner.start(Some(&coordinator))
            });
            start.wait();
            (0..round % 30).for_each(|_| thread::yield_now());
            coordinator.join(&JoinOptions::new()).unwrap();
            starts.join().unwrap()
        });
        // A start that the join overtook is refused, and what it had begun has ended.
        if let Err(error) = started {
            assert_eq!(error.kind(), ErrorKind::Closed);
        }
        eventually(|| queue.is_closed());
        assert!(reader.join().unwrap() <= 100);
    }
}

/// Numbers as batches of two, each made by `number`; without an end for `None`.
fn numbers(
    coordinator: &Coordinator,
    epochs: Option<u64>,
    number: impl Fn(u64) -> u64 + Send + Sync + 'static,
) -> Batches {
    let mut producer = range_input_producer(10).shuffle(false);
    if let Some(epochs) = epochs {
        producer = producer.num_epochs(epochs);
    }
    let queue = producer.start(coordinator).unwrap();
    let source = move || {
        let values: ArrayRef = Arc::new(UInt64Array::from(vec![number(queue.dequeue()?)]));
        Ok(RecordBatch::try_from_iter([("n", values)]).unwrap())
    };
    batch(source).batch_size(2).start(coordinator).unwrap()
}

#[test]
fn a_pipeline_that_is_over_is_forgotten_by_its_coordinator() {
    let coordinator = Coordinator::new();
    let kept = Arc::new(());
    for round in 0..200 {
        let held = kept.clone();
        let batches = numbers(&coordinator, Some(1), move |n| {
            let _held = &held;
            n
        });
        if round % 2 == 0 {
            assert_eq!(batches.count(), 5);
        } else {
            drop(batches);
        }
    }
    // What the sources hold is let go of, though the coordinator lives.
    eventually(|| Arc::strong_count(&kept) == 1);
    assert!(!coordinator.should_stop());
}

#[test]
fn a_chain_of_pipelines_ends_with_the_last_of_them() {
    for _ in 0..50 {
        let kept = Arc::new(());
        let watch: Weak<()> = Arc::downgrade(&kept);
        let coordinator = Coordinator::new();
        let first = numbers(&coordinator, None, move |n| {
            let _kept = &kept;
            n
        });
        // The source of the second owns the first, and with it a handle of the coordinator that runs both.
        let second = batch(move || first.dequeue()).enqueue_many(true).batch_size(3);
        let mut second = second.start(&coordinator).unwrap();
        drop(coordinator);
        assert_eq!(second.next().unwrap().unwrap().num_rows(), 3);
        drop(second);
        eventually(|| watch.strong_count() == 0);
    }
}

#[test]
fn a_runner_without_operations_is_refused() {
    let queue = fifo::<u8>(1);
    for (runner, words) in [
        (QueueRunner::new(&queue, Vec::<EnqueueOp>::new()), "at least one"),
        (QueueRunner::repeated(&queue, 0, || Ok(())), "at least one"),
        (QueueRunner::repeated(&queue, usize::MAX, || Ok(())), "4096"),
    ] {
        for coordinator in [None, Some(Coordinator::new())] {
            let error = runner.start(coordinator.as_ref()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(words), "{error}");
        }
    }
    let source = || Err(Error::new(ErrorKind::OutOfRange, "the end"));
    let error = batch(source).num_threads(usize::MAX).start(&Coordinator::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_runner_that_waits_for_room_ends_when_it_is_dropped() {
    let queue = fifo::<u8>(1);
    let into = queue.clone();
    let runner = QueueRunner::repeated(&queue, 3, move || into.enqueue(1));
    runner.start(None).unwrap();
    drop(runner);
    assert!(queue.is_closed());
}

#[test]
fn a_runner_is_waited_for_by_many_while_it_is_started_again() {
    let queue = fifo::<u8>(1);
    let left = AtomicUsize::new(1000);
    let runner = QueueRunner::repeated(&queue, 2, move || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))).unwrap();
        Err(Error::new(ErrorKind::OutOfRange, "the end"))
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    runner.start(None).unwrap();
                    runner.wait();
                }
            });
        }
    });
}

#[test]
fn a_size_that_changes_or_panics_leaves_a_staging_area_whole() {
    // The size is asked for when a value is put in, and never under the lock.
    let area = Arc::new(StagingArea::<Arc<AtomicUsize>>::new());
    let area = Arc::into_inner(area).unwrap().memory_limit(10, |value| value.load(Ordering::Relaxed));
    let value = Arc::new(AtomicUsize::new(10));
    area.put(value.clone()).unwrap();
    value.store(1, Ordering::Relaxed);
    area.get().unwrap();
    value.store(10, Ordering::Relaxed);
    // Were the 9 bytes still counted, this would wait for ever.
    area.put(Arc::new(AtomicUsize::new(2))).unwrap();
    area.put(Arc::new(AtomicUsize::new(8))).unwrap();
    assert_eq!(area.size(), 2);

    let calls = AtomicUsize::new(0);
    let once = move |_: &u8| assert_eq!(calls.fetch_add(1, Ordering::Relaxed), 0, "asked for twice");
    let area = MapStagingArea::new(["x"]).memory_limit(10, move |value| {
        once(value);
        10
    });
    area.put(1, [("x", 7)]).unwrap();
    assert_eq!(area.get(&1, &["x"]).unwrap(), [7]);
}

#[test]
fn a_stop_that_was_cleared_leaves_what_is_to_be_done_next_time() {
    let coordinator = Coordinator::new();
    let count = Arc::new(AtomicUsize::new(0));
    for round in 1..=3 {
        let counts = count.clone();
        coordinator.on_stop(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), round - 1);
        coordinator.request_stop(None).unwrap();
        coordinator.request_stop(None).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), round, "it is done once");
        coordinator.join(&JoinOptions::new()).unwrap();
        coordinator.clear_stop();
    }
}

#[test]
fn no_thread_runs_when_a_join_returns_whoever_starts_more() {
    const ROUNDS: usize = 300;
    let coordinator = Coordinator::new();
    let running = Arc::new(AtomicUsize::new(0));
    let round = Barrier::new(3);
    let left = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    round.wait();
                    for _ in 0..4 {
                        let runs = running.clone();
                        let work = move || {
                            runs.fetch_add(1, Ordering::SeqCst);
                            (0..3).for_each(|_| thread::yield_now());
                            runs.fetch_sub(1, Ordering::SeqCst);
                            Ok(())
                        };
                        // A join refuses what comes after it.
                        if let Err(error) = coordinator.spawn("worker", work) {
                            assert_eq!(error.kind(), ErrorKind::Closed);
                        }
                    }
                    round.wait();
                }
            });
        }
        let mut left = Vec::new();
        for number in 0..ROUNDS {
            round.wait();
            (0..number % 8).for_each(|_| thread::yield_now());
            coordinator.join(&JoinOptions::new()).unwrap();
            left.push(running.load(Ordering::SeqCst));
            round.wait();
            coordinator.clear_stop();
        }
        left
    });
    assert_eq!(left, [0; ROUNDS]);
}

#[test]
fn cancelled_is_an_error_before_a_stop_and_none_after() {
    let cancelled = || Error::new(ErrorKind::Cancelled, "on its own");
    let coordinator = Coordinator::new();
    coordinator.spawn("first", move || Err(cancelled())).unwrap();
    assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().kind(), ErrorKind::Cancelled);

    let coordinator = Coordinator::new();
    let queue = fifo::<u8>(1);
    coordinator.cancel_on_stop(&queue);
    coordinator.spawn("reader", move || queue.dequeue().map(drop)).unwrap();
    coordinator.request_stop(None).unwrap();
    coordinator.join(&JoinOptions::new()).unwrap();
    assert!(coordinator.error().is_none());
}

#[test]
fn a_producer_that_was_stopped_gives_nothing_more() {
    let coordinator = Coordinator::new();
    let queue = range_input_producer(100).start(&coordinator).unwrap();
    eventually(|| queue.size() == 32);
    coordinator.request_stop(None).unwrap();
    assert_eq!(queue.dequeue().unwrap_err().kind(), ErrorKind::Cancelled);
    coordinator.join(&JoinOptions::new()).unwrap();
}
