//! The ordered ring: what a hand-over from thread to thread costs, with nothing else to do.
//!
//! The peers in each group are the ceiling: crossbeam's `ArrayQueue` spun upon by both sides (no waiting
//! layer, a busy core for each) and crossbeam's bounded channel (which parks as we do). Every run starts its
//! own threads and moves `ITEMS` numbers, so that the start is a small part; every sum is checked. A consumer
//! that the producers keep busy and one that waits are told apart by the capacity: at 4 both park often, at
//! 256 rarely.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel;
use crossbeam::queue::ArrayQueue;
use forebay::queue::ordered_ring;
use std::hint::black_box;
use std::thread;

/// Numbers moved in a run; a multiple of every number of producers.
const ITEMS: u64 = 1 << 15;
const CAPACITIES: [usize; 2] = [4, 256];

/// Runs `push` on each of `producers` threads, with its share of the numbers, beside `pop` on this one.
fn exchange(producers: u64, push: impl Fn(u64) + Sync, mut pop: impl FnMut() -> u64) {
    let share = ITEMS / producers;
    thread::scope(|scope| {
        for producer in 0..producers {
            let push = &push;
            scope.spawn(move || (producer * share..(producer + 1) * share).for_each(push));
        }
        let sum: u64 = (0..ITEMS).map(|_| black_box(pop())).sum();
        assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
    });
}

fn hand_over(c: &mut Criterion) {
    for producers in [1, 2] {
        let mut group = c.benchmark_group(format!("ring/{producers}to1"));
        group.throughput(Throughput::Elements(ITEMS)).sample_size(20);
        for capacity in CAPACITIES {
            group.bench_function(BenchmarkId::new("ordered", capacity), |b| {
                b.iter(|| {
                    let (producer, mut consumer) = ordered_ring(capacity, Some(ITEMS));
                    let fill = |_| {
                        let ticket = producer.claim().unwrap();
                        let position = ticket.position();
                        ticket.fill(position);
                    };
                    exchange(producers, fill, || consumer.pop().unwrap().unwrap());
                });
            });
            group.bench_function(BenchmarkId::new("array_queue_spinning", capacity), |b| {
                b.iter(|| {
                    let queue = ArrayQueue::new(capacity);
                    let push = |n| {
                        while queue.push(n).is_err() {
                            std::hint::spin_loop();
                        }
                    };
                    let pop = || loop {
                        match queue.pop() {
                            Some(n) => break n,
                            None => std::hint::spin_loop(),
                        }
                    };
                    exchange(producers, push, pop);
                });
            });
            group.bench_function(BenchmarkId::new("crossbeam_channel", capacity), |b| {
                b.iter(|| {
                    let (sender, receiver) = channel::bounded(capacity);
                    exchange(producers, |n| sender.send(n).unwrap(), || receiver.recv().unwrap());
                });
            });
        }
        group.finish();
    }
}

/// Both ends on one thread: what the operations themselves cost, without a cache line in flight or a thread
/// parked.
fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/alone");
    group.throughput(Throughput::Elements(1));
    let (producer, mut consumer) = ordered_ring(64, None);
    group.bench_function("ordered", |b| {
        b.iter(|| {
            producer.claim().unwrap().fill(black_box(7));
            consumer.pop().unwrap().unwrap()
        });
    });
    let queue = ArrayQueue::new(64);
    group.bench_function("array_queue_spinning", |b| {
        b.iter(|| {
            queue.push(black_box(7)).unwrap();
            queue.pop().unwrap()
        });
    });
    let (sender, receiver) = channel::bounded(64);
    group.bench_function("crossbeam_channel", |b| {
        b.iter(|| {
            sender.send(black_box(7)).unwrap();
            receiver.recv().unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, alone, hand_over);
criterion_main!(benches);
