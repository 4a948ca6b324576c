//! The order of a batch: positions to rows, 256 at a time, from cache.
//!
//! The ceiling is writing the same 256 row numbers without permuting them.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay::sampler::{Audit, Order, Permutation, Shuffle, epoch_key};

const BATCH_SIZE: usize = 256;

fn rows_of_a_batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("order");
    group.throughput(Throughput::Elements(BATCH_SIZE as u64));
    for n in [10_000, 1_000_000, 1_000_000_000_000] {
        let exact = Permutation::new(n, epoch_key(42, 0));
        let plain = Order::new(n, Shuffle::None, 42).epoch(0);
        let first = n / 2;

        let mut rows = [0; BATCH_SIZE];
        exact.fill(first, &mut rows);
        for (row, position) in rows.iter().zip(first..) {
            assert_eq!((*row, position), (exact.get(position), exact.position(*row)));
        }

        group.bench_function(BenchmarkId::new("ceiling", n), |b| {
            b.iter(|| plain.fill(black_box(first), black_box(&mut rows)));
        });
        group.bench_function(BenchmarkId::new("fill", n), |b| {
            b.iter(|| black_box(&exact).fill(black_box(first), black_box(&mut rows)));
        });
        group.bench_function(BenchmarkId::new("get", n), |b| {
            b.iter(|| {
                for (row, position) in rows.iter_mut().zip(black_box(first)..) {
                    *row = black_box(&exact).get(position);
                }
                black_box(&mut rows);
            });
        });
        group.bench_function(BenchmarkId::new("position", n), |b| {
            b.iter(|| {
                for (position, row) in rows.iter_mut().zip(black_box(first)..) {
                    *position = black_box(&exact).position(row);
                }
                black_box(&mut rows);
            });
        });
    }
    group.finish();
}

fn new_epoch(c: &mut Criterion) {
    let order = Order::new(1_000_000, Shuffle::Exact, 42);
    assert_eq!(order.epoch(1).len(), 1_000_000);
    c.bench_function("epoch", |b| b.iter(|| black_box(&order).epoch(black_box(1))));
}

/// From nothing but a seed to a batch far into an epoch of 10¹² rows: all that a seek is.
fn seek(c: &mut Criterion) {
    const ROWS: u64 = 1_000_000_000_000;
    const POSITION: u64 = 100_000_000_000;
    let mut group = c.benchmark_group("seek to position 10^11 of 10^12");
    for shuffle in [Shuffle::Exact, Shuffle::Block { rows: 4096, blocks: 256 }] {
        let batch = |rows: &mut [u64]| {
            Order::new(black_box(ROWS), shuffle, black_box(42)).epoch(black_box(3)).fill(POSITION, rows)
        };
        let mut rows = [0; BATCH_SIZE];
        batch(&mut rows);
        let epoch = Order::new(ROWS, shuffle, 42).epoch(3);
        assert!(rows.iter().zip(POSITION..).all(|(&row, position)| row == epoch.get(position)));
        group.bench_function(format!("{shuffle}, one row"), |b| b.iter(|| batch(black_box(&mut rows[..1]))));
        group.bench_function(format!("{shuffle}, a batch of {BATCH_SIZE}"), |b| {
            b.iter(|| batch(black_box(&mut rows)));
        });
    }
    group.finish();
}

fn audit_of_a_batch(c: &mut Criterion) {
    let rows: Vec<u64> = (0..BATCH_SIZE as u64).collect();
    let mut audit = Audit::default();
    audit.add_all(&rows);
    assert_eq!(audit, Audit::complete(BATCH_SIZE as u64));
    let mut group = c.benchmark_group("audit");
    group.throughput(Throughput::Elements(BATCH_SIZE as u64));
    group.bench_function("add_all", |b| {
        b.iter(|| {
            audit.add_all(black_box(&rows));
            black_box(&mut audit);
        });
    });
    group.finish();
}

criterion_group!(benches, rows_of_a_batch, new_epoch, seek, audit_of_a_batch);
criterion_main!(benches);
