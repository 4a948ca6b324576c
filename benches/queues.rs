//! The classic queues: what an element costs from thread to thread, with nothing else to do, beside the ceilings:
//! crossbeam's bounded channel, and a `VecDeque` under a lock with two condition variables.
//!
//! All have room for [`CAPACITY`] numbers. Threads are started before the clock is; a run moves [`ITEMS`] numbers, whose sum is
//! checked. On a machine that is busy with other things, `FOREBAY_ROUNDS=21` takes all in turn, as often as it says, and prints
//! medians in place of criterion's samples.

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::Int64Type;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{self, Receiver, Sender};
use forebay::coordinator::{RowQueue, RowQueueKind};
use forebay::queue::{FifoQueue, PriorityQueue, Queue, RandomShuffleQueue};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const CAPACITY: usize = 1024;

/// Numbers moved in a run; a multiple of every number of threads. So many that it lasts for several of the time slices of the
/// operating system: which threads share a core is settled in the first.
const ITEMS: u64 = 1 << 20;

/// Producers and consumers.
const THREADS: [(u64, u64); 3] = [(1, 1), (2, 2), (4, 1)];

/// A way from thread to thread.
trait Way: Sync {
    fn put(&self, n: u64);
    fn take(&self) -> u64;
}

impl Way for FifoQueue<u64> {
    fn put(&self, n: u64) {
        self.enqueue(n).unwrap();
    }

    fn take(&self) -> u64 {
        self.dequeue().unwrap()
    }
}

impl Way for RandomShuffleQueue<u64> {
    fn put(&self, n: u64) {
        self.enqueue(n).unwrap();
    }

    fn take(&self) -> u64 {
        self.dequeue().unwrap()
    }
}

impl Way for PriorityQueue<u64> {
    fn put(&self, n: u64) {
        self.enqueue(((n % 16) as i64, n)).unwrap();
    }

    fn take(&self) -> u64 {
        self.dequeue().unwrap().1
    }
}

impl Way for (Sender<u64>, Receiver<u64>) {
    fn put(&self, n: u64) {
        self.0.send(n).unwrap();
    }

    fn take(&self) -> u64 {
        self.1.recv().unwrap()
    }
}

/// Rows one by one, of a number and a list; those that there are to put in, and the queue that pads them.
struct Rows(RecordBatch, RowQueue);

impl Rows {
    fn new() -> Self {
        let lists = (0..ITEMS as i64).map(|n| Some((0..n % 4).map(move |_| Some(n))));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ITEMS as i64));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("list", lists)]).unwrap();
        let queue = RowQueue::options(RowQueueKind::PaddingFifo).capacity(CAPACITY);
        let queue = queue.schema(rows.schema()).open().unwrap();
        Rows(rows, queue)
    }
}

impl Way for Rows {
    fn put(&self, n: u64) {
        self.1.enqueue(&self.0.slice(n as usize, 1)).unwrap();
    }

    fn take(&self) -> u64 {
        self.1.dequeue().unwrap()["n"].as_primitive::<Int64Type>().value(0) as u64
    }
}

#[derive(Default)]
struct Locked {
    values: Mutex<VecDeque<u64>>,
    room: Condvar,
    items: Condvar,
}

impl Way for Locked {
    fn put(&self, n: u64) {
        let values = self.values.lock().unwrap();
        let mut values = self.room.wait_while(values, |values| values.len() == CAPACITY).unwrap();
        values.push_back(n);
        self.items.notify_one();
    }

    fn take(&self) -> u64 {
        let values = self.values.lock().unwrap();
        let mut values = self.items.wait_while(values, |values| values.is_empty()).unwrap();
        self.room.notify_one();
        values.pop_front().unwrap()
    }
}

/// What stays in the shuffle queue: little, so that the few that are inside are changed again and again, and half of what it holds,
/// as in a pipeline that is to shuffle well.
const MINIMUM: u64 = 64;
const HALF: u64 = CAPACITY as u64 / 2;

type Make = Box<dyn Fn() -> Box<dyn Way>>;

fn shuffle(minimum: u64) -> Make {
    Box::new(move || Box::new(RandomShuffleQueue::new(CAPACITY, minimum as usize, Some(7)).unwrap()))
}

/// All ways, and how many numbers stay in each.
fn ways() -> [(&'static str, Make, u64); 8] {
    [
        ("crossbeam", Box::new(|| Box::new(channel::bounded::<u64>(CAPACITY))), 0),
        ("fifo", Box::new(|| Box::new(FifoQueue::new(CAPACITY).unwrap())), 0),
        ("shuffle", shuffle(MINIMUM), MINIMUM),
        ("shuffle-half", shuffle(HALF), HALF),
        ("fifo-unbounded", Box::new(|| Box::new(FifoQueue::unbounded())), 0),
        ("priority", Box::new(|| Box::new(PriorityQueue::new(CAPACITY).unwrap())), 0),
        ("padding, of rows", Box::new(|| Box::new(Rows::new())), 0),
        ("mutex", Box::new(|| Box::new(Locked::default())), 0),
    ]
}

/// The time in which `producers` threads put all numbers in while `consumers` threads take all out but `stay`: from the first
/// step of the first to the last of the last.
fn exchange(way: &dyn Way, producers: u64, consumers: u64, stay: u64) -> Duration {
    (0..stay).for_each(|_| way.put(0));
    let start = &Barrier::new((producers + consumers) as usize);
    let timed = |work: &dyn Fn() -> u64| {
        start.wait();
        let started = Instant::now();
        let sum = work();
        (sum, started, Instant::now())
    };
    let (share, timed) = (ITEMS / producers, &timed);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..producers + consumers)
            .map(|thread| {
                scope.spawn(move || {
                    if thread < producers {
                        let put = || (thread * share..(thread + 1) * share).for_each(|n| way.put(n));
                        return timed(&|| {
                            put();
                            0
                        });
                    }
                    timed(&|| (0..ITEMS / consumers).map(|_| black_box(way.take())).sum())
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let sum: u64 = ended.iter().map(|(sum, ..)| sum).sum();
        // What stays inside may be numbers that count.
        let all = ITEMS * (ITEMS - 1) / 2;
        assert!(sum <= all && sum + stay * ITEMS >= all);
        let (first, last) =
            (ended.iter().map(|ended| ended.1).min(), ended.iter().map(|ended| ended.2).max());
        last.unwrap() - first.unwrap()
    })
}

fn in_turn(rounds: usize) {
    println!("nanoseconds an element, median of {rounds} rounds, lowest and highest quarter beside it");
    for (producers, consumers) in THREADS {
        let ways = ways();
        let mut times = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            for ((_, make, stay), times) in ways.iter().zip(&mut times) {
                let elapsed = exchange(&*make(), producers, consumers, *stay);
                times.push(elapsed.as_nanos() as f64 / ITEMS as f64);
            }
        }
        for ((name, ..), mut times) in ways.iter().zip(times) {
            times.sort_by(f64::total_cmp);
            let at = |part: usize| times[(times.len() - 1) * part / 4];
            println!("{producers}to{consumers} {name:16} {:6.1}  ({:.1} .. {:.1})", at(2), at(1), at(3));
        }
    }
}

fn hand_over(c: &mut Criterion) {
    if let Some(rounds) = std::env::var("FOREBAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()) {
        return in_turn(rounds);
    }
    for (producers, consumers) in THREADS {
        let mut group = c.benchmark_group(format!("queues/{producers}to{consumers}"));
        group.throughput(Throughput::Elements(ITEMS)).sample_size(10);
        for (name, make, stay) in ways() {
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter_custom(|runs| (0..runs).map(|_| exchange(&*make(), producers, consumers, stay)).sum())
            });
        }
        group.finish();
    }
}

criterion_group!(benches, hand_over);
criterion_main!(benches);
