//! Threads that fill a queue: what `queue_runner_test.py` asks of a runner.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::coordinator::{self, Coordinator, EnqueueOp, JoinOptions, QueueRunner, limit_epochs};
use forebay::queue::{FifoQueue, Queue};
use forebay::{Error, ErrorKind};

/// An operation that counts up to `limit`, then is at its end, and the count.
fn count_up_to(limit: usize) -> (Arc<AtomicUsize>, impl Fn() -> forebay::Result<()> + Send + Sync + Clone) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let op = move || {
        let up = |n| (n < limit).then_some(n + 1);
        let end = |n| Error::new(ErrorKind::OutOfRange, format!("reached {n}"));
        counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).map(drop).map_err(end)
    };
    (count, op)
}

/// `QueueRunnerTest.testBasic` - one thread, named, ends at the end of the data without an error.
#[test]
fn basic() {
    let queue = Arc::new(FifoQueue::<u8>::new(10).unwrap());
    let (count, op) = count_up_to(3);
    let name = Arc::new(Mutex::new(None));
    let seen = name.clone();
    let runner = QueueRunner::repeated(&queue, 1, move || {
        *seen.lock().unwrap() = std::thread::current().name().map(str::to_owned);
        op()
    });
    let runner = runner.named("fifo_queue");
    assert_eq!(runner.start(None).unwrap(), 1);
    runner.wait();
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(name.lock().unwrap().as_deref(), Some("fifo_queue 0"));
    assert!(runner.errors_raised().is_empty());
    assert!(queue.is_closed(), "the last thread to end closes the queue");
}

/// `QueueRunnerTest.testExceptionsCaptured` - without a coordinator, the errors of all threads are kept.
#[test]
fn exceptions_captured() {
    let queue = Arc::new(FifoQueue::<u8>::new(10).unwrap());
    let fails: EnqueueOp = Arc::new(|| Err(Error::new(ErrorKind::Malformed, "not a number")));
    let panics: EnqueueOp = Arc::new(|| panic!("out of numbers"));
    let runner = QueueRunner::new(&queue, vec![fails, panics]);
    assert_eq!(runner.start(None).unwrap(), 2);
    runner.wait();
    let mut kinds: Vec<_> = runner.errors_raised().iter().map(Error::kind).collect();
    kinds.sort_by_key(|kind| kind.as_str());
    assert_eq!(kinds, [ErrorKind::Malformed, ErrorKind::Panic]);
    assert!(queue.is_closed());
}

/// `QueueRunnerTest.testRealDequeueEnqueue` - of two queues in a row the second is closed once the first is at its end.
#[test]
fn real_dequeue_enqueue() {
    let (first, second) = (Arc::new(FifoQueue::new(3).unwrap()), Arc::new(FifoQueue::new(30).unwrap()));
    let three = limit_epochs(10.0f32, Some(3)).unwrap();
    let into = first.clone();
    let fill = QueueRunner::repeated(&first, 1, move || into.enqueue(three()?));
    let (from, into) = (first.clone(), second.clone());
    let pass_on = QueueRunner::repeated(&second, 1, move || into.enqueue(from.dequeue()?));
    assert_eq!(coordinator::start_queue_runners([&fill, &pass_on], None).unwrap(), 2);
    fill.wait();
    pass_on.wait();
    assert!(fill.errors_raised().is_empty() && pass_on.errors_raised().is_empty());
    for _ in 0..3 {
        assert_eq!(second.dequeue().unwrap(), 10.0);
    }
    assert_eq!(second.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(first.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
}

/// `QueueRunnerTest.testRequestStopOnException` - an error of a runner is what join returns.
#[test]
fn request_stop_on_exception() {
    let queue = Arc::new(FifoQueue::<u8>::new(10).unwrap());
    let coordinator = Coordinator::new();
    let runner =
        QueueRunner::repeated(&queue, 1, || Err(Error::new(ErrorKind::Mismatch, "this fails on purpose")));
    runner.start(Some(&coordinator)).unwrap();
    let error = coordinator.join(&JoinOptions::new()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Mismatch, "this fails on purpose"));
    assert!(queue.is_closed());
    assert!(runner.errors_raised().is_empty(), "the coordinator has it");
}

/// `QueueRunnerTest.testGracePeriod` - a runner that waits for room is released by a stop.
#[test]
fn grace_period() {
    let queue = Arc::new(FifoQueue::new(2).unwrap());
    let into = queue.clone();
    let runner = QueueRunner::repeated(&queue, 1, move || into.enqueue(10.0));
    let coordinator = Coordinator::new();
    runner.start(Some(&coordinator)).unwrap();
    queue.dequeue().unwrap();
    while queue.size() < 2 {
        std::thread::yield_now();
    }
    coordinator.request_stop(None).unwrap();
    coordinator.join(&JoinOptions::new().grace_period(Duration::from_secs(60))).unwrap();
}

/// `QueueRunnerTest.testIgnoreMultiStarts` - started again while its threads run, a runner starts none.
#[test]
fn ignore_multi_starts() {
    let queue = Arc::new(FifoQueue::new(1).unwrap());
    let into = queue.clone();
    let runner = QueueRunner::repeated(&queue, 2, move || into.enqueue(1));
    let (coordinator, other) = (Coordinator::new(), Coordinator::new());
    assert_eq!(runner.start(Some(&coordinator)).unwrap(), 2);
    assert_eq!(runner.start(Some(&coordinator)).unwrap(), 0);
    assert_eq!(runner.start(Some(&other)).unwrap(), 0);
    assert_eq!(runner.start(None).unwrap(), 0);
    coordinator.request_stop(None).unwrap();
    coordinator.join(&JoinOptions::new()).unwrap();
}

/// `QueueRunnerTest.testThreads` - a runner is started again once its threads have ended, and forgets the errors it had.
#[test]
fn threads() {
    let queue = Arc::new(FifoQueue::<u8>::new(10).unwrap());
    let (count, up) = count_up_to(3);
    let up: EnqueueOp = Arc::new(up);
    let fails = Arc::new(AtomicUsize::new(1));
    let twice: EnqueueOp = Arc::new(move || {
        match fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(Error::new(ErrorKind::Malformed, "the first time")),
            Err(_) => Err(Error::new(ErrorKind::OutOfRange, "the second time")),
        }
    });
    let runner = QueueRunner::new(&queue, vec![up, twice]);
    assert_eq!(runner.start(None).unwrap(), 2);
    runner.wait();
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(runner.errors_raised().len(), 1);

    count.store(0, Ordering::Relaxed);
    assert_eq!(runner.start(None).unwrap(), 2);
    runner.wait();
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert!(runner.errors_raised().is_empty());
}

/// `QueueRunnerTest.testStartQueueRunners` - all runners of a pipeline are started by one call.
#[test]
fn start_queue_runners() {
    let queues = [Arc::new(FifoQueue::<u8>::new(1).unwrap()), Arc::new(FifoQueue::<u8>::new(1).unwrap())];
    let (first, up) = count_up_to(3);
    let one = QueueRunner::repeated(&queues[0], 1, up);
    let (second, up) = count_up_to(5);
    let two = QueueRunner::repeated(&queues[1], 2, up);
    let coordinator = Coordinator::new();
    assert_eq!(coordinator::start_queue_runners([&one, &two], Some(&coordinator)).unwrap(), 3);
    coordinator.join(&JoinOptions::new()).unwrap();
    assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (3, 5));
}

/// `QueueRunnerTest.testStartQueueRunnersNonDefaultGraph` - the runners of one pipeline are started, and none of another.
#[test]
fn start_queue_runners_non_default_graph() {
    let queues = [Arc::new(FifoQueue::<u8>::new(1).unwrap()), Arc::new(FifoQueue::<u8>::new(1).unwrap())];
    let (first, up) = count_up_to(3);
    let ours = vec![QueueRunner::repeated(&queues[0], 1, up)];
    let (second, up) = count_up_to(3);
    let _others = [QueueRunner::repeated(&queues[1], 1, up)];
    let coordinator = Coordinator::new();
    assert_eq!(coordinator::start_queue_runners(&ours, Some(&coordinator)).unwrap(), 1);
    coordinator.join(&JoinOptions::new()).unwrap();
    assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (3, 0));
    assert!(queues[0].is_closed() && !queues[1].is_closed());
}
