//! A pipeline of queues ends, whatever ends it: no call waits for ever, no thread is left, and the first error is the one that
//! is told.
//!
//! `FOREBAY_PIPELINES` says how many pipelines are begun and ended at random, `FOREBAY_SEED` from which number on.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use forebay::coordinator::{
    Batches, Coordinator, JoinOptions, RowQueue, RowQueueKind, RowSource, batch, batch_join, input_producer,
    range_input_producer, shuffle_batch, shuffle_batch_join,
};
use forebay::queue::Queue;
use forebay::{Error, ErrorKind, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Gives others the processor until `condition` holds; a minute is past any patience.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Has the tests of this file run one after another, so that each sees its own threads, and panics on purpose unseen.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&"on purpose") {
                loud(panic);
            }
        }));
    });
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of pipelines: a task, once joined, may be listed for a moment longer.
fn pipeline_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names
        .filter(|name| ["batch ", "input producer", "slice input"].iter().any(|ours| name.starts_with(ours)))
        .count()
}

fn row(n: i64) -> RecordBatch {
    rows([n])
}

fn rows(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    RecordBatch::try_from_iter([("n", numbers)]).unwrap()
}

fn numbers_of(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// What a source says of record `record` of a file.
fn bad_record(record: u64) -> Error {
    Error::new(ErrorKind::Malformed, "expected a number, found 'x'")
        .at_path("part-3.csv")
        .at_record(record)
        .at_byte(17 * record)
}

/// What a source does at one of its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
    End,
}

/// How a pipeline is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    CoordinatorFirst,
    BatchesFirst,
    StopAndJoin,
    StopForAReason,
    StopWhileRead,
}

/// One pipeline, drawn at random.
#[derive(Debug)]
struct Plan {
    len: u64,
    epochs: Option<u64>,
    threads: usize,
    shuffle: bool,
    batch_size: usize,
    capacity: usize,
    smaller: bool,
    /// The size of the batches that come before these.
    chained: Option<usize>,
    fault: Fault,
    fault_at: u64,
    /// How many batches are read; all, if there is an end to them, for `None`.
    read: Option<usize>,
    ending: Ending,
    yields: usize,
}

impl Plan {
    fn draw(rng: &mut StdRng) -> Self {
        let any = |rng: &mut StdRng| match rng.random_range(0..10) {
            0..7 => Fault::None,
            7 => Fault::Error,
            8 => Fault::Panic,
            _ => Fault::End,
        };
        let len = rng.random_range(1..40);
        Plan {
            len,
            epochs: rng.random_bool(0.8).then(|| rng.random_range(1..4)),
            threads: rng.random_range(1..4),
            shuffle: rng.random(),
            batch_size: rng.random_range(1..9),
            capacity: rng.random_range(1..17),
            smaller: rng.random(),
            chained: rng.random_bool(0.2).then(|| rng.random_range(1..5)),
            fault: any(rng),
            fault_at: rng.random_range(0..2 * len),
            read: rng.random_bool(0.5).then(|| rng.random_range(0..6)),
            ending: [
                Ending::CoordinatorFirst,
                Ending::BatchesFirst,
                Ending::StopAndJoin,
                Ending::StopForAReason,
                Ending::StopWhileRead,
            ][rng.random_range(0..5)],
            yields: rng.random_range(0..20),
        }
    }

    fn start(&self, coordinator: &Coordinator) -> Batches {
        let mut numbers = range_input_producer(self.len).seed(self.fault_at).capacity(self.capacity);
        if let Some(epochs) = self.epochs {
            numbers = numbers.num_epochs(epochs);
        }
        let numbers = numbers.start(coordinator).unwrap();
        let (calls, fault, fault_at) = (AtomicU64::new(0), self.fault, self.fault_at);
        let source = move || {
            let n = numbers.dequeue()?;
            if calls.fetch_add(1, Ordering::Relaxed) == fault_at {
                match fault {
                    Fault::None => {}
                    Fault::Error => return Err(bad_record(fault_at)),
                    Fault::Panic => panic!("on purpose"),
                    Fault::End => return Err(Error::new(ErrorKind::OutOfRange, "early")),
                }
            }
            Ok(row(n as i64))
        };
        let source: RowSource = match self.chained {
            None => Box::new(source),
            Some(size) => {
                let upstream = batch(source).batch_size(size).allow_smaller_final_batch(true);
                let upstream = upstream.capacity(self.capacity).start(coordinator).unwrap();
                Box::new(move || upstream.dequeue())
            }
        };
        let batcher = if self.shuffle {
            shuffle_batch(source).min_after_dequeue(self.capacity / 2).seed(7)
        } else {
            batch(source)
        };
        let batcher = batcher.enqueue_many(self.chained.is_some()).num_threads(self.threads);
        let batcher = batcher.batch_size(self.batch_size).capacity(self.capacity);
        batcher.allow_smaller_final_batch(self.smaller).start(coordinator).unwrap()
    }

    /// That what was read to the end is what it had to be.
    fn check(&self, read: Vec<Result<RecordBatch>>) {
        let (mut found, mut errors) = (BTreeMap::<i64, u64>::new(), Vec::new());
        let mut sizes = Vec::new();
        for batch in read {
            assert!(errors.is_empty(), "nothing comes after an error");
            match batch {
                Ok(batch) => {
                    sizes.push(batch.num_rows());
                    numbers_of(&batch).into_iter().for_each(|n| *found.entry(n).or_default() += 1);
                }
                Err(error) => errors.push(error),
            }
        }
        // Whether the fault lies before the end of the data.
        let total = self.epochs.map(|epochs| epochs * self.len);
        let comes = total.is_none_or(|total| self.fault_at < total);
        match self.fault {
            Fault::Error if comes => {
                assert_eq!(errors.len(), 1);
                assert_eq!(errors[0].to_string(), bad_record(self.fault_at).to_string());
            }
            Fault::Panic if comes => {
                assert_eq!(errors.len(), 1);
                assert_eq!(errors[0].kind(), ErrorKind::Panic);
                assert!(errors[0].message().contains("on purpose"), "{}", errors[0]);
            }
            _ => assert!(errors.is_empty(), "{errors:?}"),
        }
        let (last, full) = sizes.split_last().map_or((0, &[][..]), |(last, full)| (*last, full));
        assert!(full.iter().all(|&size| size == self.batch_size), "{sizes:?}");
        assert!(last <= self.batch_size && (self.smaller || last % self.batch_size == 0), "{sizes:?}");
        let (count, most) = (found.values().sum::<u64>(), self.epochs.unwrap_or(u64::MAX));
        assert!(found.iter().all(|(&n, &times)| n < self.len as i64 && times <= most), "each once an epoch");
        if let (Some(total), true) = (total, self.fault == Fault::None || !comes) {
            let left = if self.smaller { 0 } else { total % self.batch_size as u64 };
            assert_eq!(count, total - left);
        }
    }

    fn run(&self) {
        let coordinator = Coordinator::new();
        let mut batches = self.start(&coordinator);
        let faulty = matches!(self.fault, Fault::Error | Fault::Panic);
        let is_endless = self.epochs.is_none() && !faulty && !(self.fault == Fault::End && self.threads == 1);
        if self.ending == Ending::StopWhileRead {
            let reader = thread::spawn(move || batches.by_ref().map(|batch| batch.map(drop)).last());
            (0..self.yields).for_each(|_| thread::yield_now());
            coordinator.request_stop(None).unwrap();
            let last = reader.join().unwrap();
            assert!(faulty || !matches!(last, Some(Err(_))), "a stop without a reason is no error");
            return self.check_join(&coordinator, None);
        }
        let read = self.read.or(is_endless.then_some(3));
        match read {
            Some(some) => drop(batches.by_ref().take(some).collect::<Vec<_>>()),
            None => {
                self.check(batches.by_ref().collect());
                if self.fault == Fault::End {
                    // The producer has numbers left that no source takes any more.
                    coordinator.request_stop(None).unwrap();
                }
                self.check_join(&coordinator, None);
                coordinator.clear_stop();
            }
        }
        (0..self.yields).for_each(|_| thread::yield_now());
        match self.ending {
            Ending::CoordinatorFirst => {
                drop(coordinator);
                drop(batches);
            }
            Ending::BatchesFirst => {
                drop(batches);
                drop(coordinator);
            }
            Ending::StopAndJoin => {
                coordinator.request_stop(None).unwrap();
                self.check_join(&coordinator, None);
            }
            Ending::StopForAReason | Ending::StopWhileRead => {
                let reason = Error::new(ErrorKind::Mismatch, "the loss is not a number");
                coordinator.request_stop(Some(reason.clone())).unwrap();
                self.check_join(&coordinator, Some(reason));
            }
        }
    }

    /// What `join` returns: the error of a stop, or that of the source if it comes first; nothing else.
    fn check_join(&self, coordinator: &Coordinator, reason: Option<Error>) {
        let joined = coordinator.join(&JoinOptions::new().grace_period(Duration::from_secs(50)));
        let kind = joined.as_ref().err().map(Error::kind);
        let own = match self.fault {
            Fault::Error => Some(ErrorKind::Malformed),
            Fault::Panic => Some(ErrorKind::Panic),
            _ => None,
        };
        let mut expected = vec![reason.as_ref().map(Error::kind), own];
        if reason.is_none() {
            expected.push(None);
        }
        assert!(expected.contains(&kind), "{joined:?}");
    }
}

#[test]
fn pipelines_that_end_at_random_leave_no_thread() {
    let _alone = alone();
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let count = number("FOREBAY_PIPELINES").unwrap_or(5000);
    let first = number("FOREBAY_SEED").unwrap_or(0);
    // A pipeline that hangs is told by name, and ends the tests.
    let (begin, begun) = mpsc::channel::<u64>();
    let watch = thread::spawn(move || {
        let mut last = None;
        loop {
            match begun.recv_timeout(Duration::from_secs(60)) {
                Ok(seed) => last = Some(seed),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let seed = last.unwrap_or_default();
                    let plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
                    eprintln!("pipeline FOREBAY_SEED={seed} hangs: {plan:#?}");
                    std::process::abort();
                }
            }
        }
    });
    let start = Instant::now();
    wait_until("the threads of other tests are gone", || pipeline_threads() == 0);
    for seed in first..first + count {
        begin.send(seed).unwrap();
        let plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
        let ran = std::panic::catch_unwind(|| plan.run());
        assert!(ran.is_ok(), "pipeline FOREBAY_SEED={seed}: {plan:#?}");
        wait_until(&format!("no thread of FOREBAY_SEED={seed} is left"), || pipeline_threads() == 0);
    }
    drop(begin);
    watch.join().unwrap();
    println!("{count} pipelines from {first} on in {:?}", start.elapsed());
}

/// A call in a thread of its own that sleeps.
fn blocked<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (tell, told) = mpsc::channel();
    let handle = thread::spawn(move || {
        tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
        call()
    });
    let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
    let mut times_asleep = 0;
    wait_until("the call sleeps", || {
        assert!(!handle.is_finished(), "the call did not wait");
        let is_asleep = fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        times_asleep = if is_asleep { times_asleep + 1 } else { 0 };
        times_asleep == 3
    });
    handle
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Enqueue,
    EnqueueMany,
    Dequeue,
    DequeueWithin,
    DequeueMany,
    DequeueUpTo,
    DequeueUpToOfNone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waker {
    Close,
    CloseAndCancelPending,
    Cancel,
    Stop,
    Drop,
}

/// Has `call` wait on a queue of `kind`, wakes it, and looks at what it returns.
fn wakes(kind: RowQueueKind, call: Call, waker: Waker) {
    let at = format!("{call:?} on {kind:?} after {waker:?}");
    let min = match kind {
        RowQueueKind::RandomShuffle { min_after_dequeue, .. } => min_after_dequeue,
        _ => 0,
    };
    let coordinator = Coordinator::new();
    let queue = RowQueue::options(kind).capacity(4).open().unwrap();
    queue.cancel_on_stop(&coordinator);
    let inside = match call {
        Call::Enqueue => 4,
        Call::EnqueueMany => 3,
        Call::Dequeue | Call::DequeueWithin | Call::DequeueUpToOfNone => min,
        Call::DequeueMany | Call::DequeueUpTo => min + 1,
    };
    queue.enqueue_many(&rows(0..inside as i64)).unwrap();
    let on = queue.clone();
    let waits = blocked(move || match call {
        Call::Enqueue => on.enqueue(&row(4)).map(|()| 0),
        Call::EnqueueMany => on.enqueue_many(&rows(3..6)).map(|()| 0),
        Call::Dequeue => on.dequeue().map(|batch| batch.num_rows()),
        Call::DequeueWithin => on.dequeue_within(Duration::from_secs(1000)).map(|batch| batch.num_rows()),
        Call::DequeueMany => on.dequeue_many(4).map(|batch| batch.num_rows()),
        Call::DequeueUpTo | Call::DequeueUpToOfNone => on.dequeue_up_to(4).map(|batch| batch.num_rows()),
    });
    let adds = matches!(call, Call::Enqueue | Call::EnqueueMany);
    let mut drained = 0;
    match waker {
        Waker::Close => {
            queue.close(false);
            // Who waits for room still gets in.
            while adds && queue.dequeue().is_ok() {
                drained += 1;
            }
        }
        Waker::CloseAndCancelPending => queue.close(true),
        Waker::Cancel => queue.cancel(),
        Waker::Stop => coordinator.request_stop(None).unwrap(),
        Waker::Drop => drop(coordinator),
    }
    let returned = waits.join().unwrap().map_err(|error| error.kind());
    let closed = matches!(waker, Waker::Close | Waker::CloseAndCancelPending);
    let expected = match call {
        _ if !closed => Err(ErrorKind::Cancelled),
        Call::Enqueue | Call::EnqueueMany if waker == Waker::Close => Ok(0),
        Call::Enqueue | Call::EnqueueMany => Err(ErrorKind::Cancelled),
        Call::Dequeue | Call::DequeueWithin if inside > 0 => Ok(1),
        Call::DequeueUpTo => Ok(inside),
        Call::DequeueUpToOfNone if inside > 0 => Ok(inside),
        _ => Err(ErrorKind::OutOfRange),
    };
    assert_eq!(returned, expected, "{at}");
    assert!(queue.is_closed(), "{at}");
    if adds && waker == Waker::Close {
        assert_eq!(drained, if call == Call::Enqueue { 5 } else { 6 }, "{at}");
    }
    if call == Call::DequeueMany && closed {
        assert_eq!(queue.size(), inside, "what was taken is put back: {at}");
    }
    let later = queue.enqueue(&row(9)).unwrap_err().kind();
    assert_eq!(later, ErrorKind::Cancelled, "{at}");
}

#[test]
fn what_waits_on_a_queue_wakes_however_that_ends() {
    let _alone = alone();
    let random = |min_after_dequeue| RowQueueKind::RandomShuffle { min_after_dequeue, seed: Some(1) };
    for kind in [RowQueueKind::Fifo, RowQueueKind::PaddingFifo, random(0), random(2), RowQueueKind::Priority]
    {
        for call in [
            Call::Enqueue,
            Call::EnqueueMany,
            Call::Dequeue,
            Call::DequeueWithin,
            Call::DequeueMany,
            Call::DequeueUpTo,
            Call::DequeueUpToOfNone,
        ] {
            for waker in [Waker::Close, Waker::CloseAndCancelPending, Waker::Cancel, Waker::Stop, Waker::Drop]
            {
                wakes(kind, call, waker);
            }
        }
    }
}

/// A pipeline whose source waits for a number that never comes.
fn starved(coordinator: &Coordinator, shuffle: bool) -> Batches {
    let queue = RowQueue::options(RowQueueKind::Fifo).open().unwrap();
    queue.cancel_on_stop(coordinator);
    let source = move || queue.dequeue();
    let batcher = if shuffle { shuffle_batch(source) } else { batch(source) };
    batcher.num_threads(2).batch_size(3).start(coordinator).unwrap()
}

#[test]
fn a_consumer_of_batches_wakes_when_the_coordinator_stops() {
    let _alone = alone();
    for shuffle in [false, true] {
        let coordinator = Coordinator::new();
        let mut batches = starved(&coordinator, shuffle);
        let waits = blocked(move || batches.next().is_none());
        coordinator.request_stop(None).unwrap();
        assert!(waits.join().unwrap(), "a stop without a reason is an end");
        coordinator.join(&JoinOptions::new()).unwrap();

        let coordinator = Coordinator::new();
        let mut batches = starved(&coordinator, shuffle);
        let waits = blocked(move || batches.next());
        coordinator.request_stop(Some(bad_record(3))).unwrap();
        let told = waits.join().unwrap().unwrap().unwrap_err();
        assert_eq!(told.location(), bad_record(3).location());
        coordinator.join(&JoinOptions::new()).unwrap_err();
    }
    wait_until("no thread is left", || pipeline_threads() == 0);
}

#[test]
fn a_source_that_waits_wakes_when_batches_and_coordinator_are_dropped() {
    let _alone = alone();
    for batches_first in [false, true] {
        let coordinator = Coordinator::new();
        let batches = starved(&coordinator, false);
        if batches_first {
            drop(batches);
            drop(coordinator);
        } else {
            drop(coordinator);
            drop(batches);
        }
        wait_until("no thread is left", || pipeline_threads() == 0);
    }
}

/// What the consumer of a pipeline is told, and what `join` returns.
fn told(sources: Vec<RowSource>, shuffle: bool) -> (Vec<Result<RecordBatch>>, Result<()>) {
    let coordinator = Coordinator::new();
    let batcher = if shuffle { shuffle_batch_join(sources) } else { batch_join(sources) };
    let batches = batcher.allow_smaller_final_batch(true).batch_size(2).start(&coordinator).unwrap();
    let read = batches.collect();
    (read, coordinator.join(&JoinOptions::new()))
}

#[test]
fn the_first_error_of_several_sources_is_told_where_it_lies() {
    let _alone = alone();
    for shuffle in [false, true] {
        for _ in 0..100 {
            let (first, second) = mpsc::channel::<()>();
            let (first, second) = (Mutex::new(Some(first)), Mutex::new(second));
            let given = AtomicU64::new(0);
            let fails: RowSource = Box::new(move || match given.fetch_add(1, Ordering::Relaxed) {
                n @ 0..5 => Ok(row(n as i64)),
                _ => Err(bad_record(5)),
            });
            // The second fails once the first has let go of what it holds, which is after it has told its error.
            let holds = Box::new(move || {
                let _held = &first;
                fails()
            });
            let late: RowSource = Box::new(move || {
                let _ = second.lock().unwrap().recv_timeout(Duration::from_micros(200));
                Err(Error::new(ErrorKind::Mismatch, "too late").at_path("part-4.csv"))
            });
            let ends: RowSource = Box::new(|| Err(Error::new(ErrorKind::OutOfRange, "the end")));
            let (read, joined) = told(vec![holds, late, ends], shuffle);
            let error = joined.unwrap_err();
            let (last, before) = read.split_last().unwrap();
            let told = last.as_ref().unwrap_err();
            assert!(before.iter().all(Result::is_ok), "one error ends it");
            // Whichever was first, both are told the same, with its place.
            assert_eq!((told.kind(), told.message()), (error.kind(), error.message()));
            assert_eq!(told.location(), error.location());
            match error.kind() {
                ErrorKind::Malformed => assert_eq!(error.location(), bad_record(5).location()),
                kind => {
                    assert_eq!(kind, ErrorKind::Mismatch);
                    assert_eq!(error.location().path.as_deref(), Some("part-4.csv".as_ref()));
                }
            }
        }
    }
}

#[test]
fn an_error_that_comes_after_the_first_is_not_told() {
    let _alone = alone();
    for shuffle in [false, true] {
        let coordinator = Coordinator::new();
        let weak = coordinator.weak();
        let fails: RowSource = Box::new(|| Err(bad_record(5)));
        let late: RowSource = Box::new(move || {
            weak.wait_for_stop(None);
            Err(Error::new(ErrorKind::Mismatch, "too late"))
        });
        let sources = [late, fails];
        let batcher = if shuffle { shuffle_batch_join(sources) } else { batch_join(sources) };
        let mut batches = batcher.start(&coordinator).unwrap();
        let told = batches.next().unwrap().unwrap_err();
        assert_eq!(told.to_string(), bad_record(5).to_string());
        assert!(batches.next().is_none());
        assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().to_string(), told.to_string());
    }
}

#[test]
fn a_panic_of_a_source_is_an_error_of_the_consumer_and_of_join() {
    let _alone = alone();
    for shuffle in [false, true] {
        let calls = AtomicU64::new(0);
        let panics: RowSource = Box::new(move || match calls.fetch_add(1, Ordering::Relaxed) {
            n @ 0..4 => Ok(row(n as i64)),
            _ => panic!("on purpose"),
        });
        let (read, joined) = told(vec![panics], shuffle);
        assert_eq!(read.len(), 3, "what came before is not lost");
        let error = joined.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.message().contains("on purpose"), "{error}");
        assert_eq!(read[2].as_ref().unwrap_err().message(), error.message());
    }
    wait_until("no thread is left", || pipeline_threads() == 0);
}

/// Cannot be copied more than once.
struct Fragile(AtomicU64);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) == 0, "on purpose");
        Fragile(AtomicU64::new(0))
    }
}

#[test]
fn a_panic_of_a_producer_is_told_at_the_end_of_the_pipeline() {
    let _alone = alone();
    let coordinator = Coordinator::new();
    let items = input_producer([Fragile(AtomicU64::new(0))]).start(&coordinator).unwrap();
    let mut batches =
        batch(move || items.dequeue().map(|_| row(0))).batch_size(2).start(&coordinator).unwrap();
    let told = batches.next().unwrap().unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Panic);
    assert!(told.message().contains("input producer"), "{told}");
    assert!(batches.next().is_none());
    assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().message(), told.message());
}

#[test]
fn errors_keep_their_place_through_a_chain() {
    let _alone = alone();
    let coordinator = Coordinator::new();
    let calls = AtomicU64::new(0);
    let source = move || match calls.fetch_add(1, Ordering::Relaxed) {
        n @ 0..6 => Ok(row(n as i64)),
        n => Err(bad_record(n)),
    };
    let first = batch(source).batch_size(2).start(&coordinator).unwrap();
    let second = batch(move || first.dequeue()).enqueue_many(true).batch_size(3).start(&coordinator).unwrap();
    let read: Vec<_> = second.collect();
    let error = read.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.kind(), error.location()), (ErrorKind::Malformed, bad_record(6).location()));
    let joined = coordinator.join(&JoinOptions::new()).unwrap_err();
    assert_eq!(
        joined.to_string(),
        "part-3.csv, record 6, byte 102: malformed data: expected a number, found 'x'"
    );
}
