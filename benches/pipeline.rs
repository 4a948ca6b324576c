//! `shuffle_batch` over a million rows, warm, beside the exact shuffle of the same rows by the loader.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::coordinator::{Coordinator, shuffle_batch};
use forebay::{Dataset, Error, ErrorKind, Loader, Shuffle, TensorColumns};

const ROWS: usize = 1 << 20;
const BATCH: usize = 256;

/// The sum of all `y`.
const SUM: i64 = (ROWS * (ROWS - 1) / 2) as i64;

fn table() -> RecordBatch {
    let x: ArrayRef = Arc::new((0..ROWS).map(|i| i as f32).collect::<Float32Array>());
    let y: ArrayRef = Arc::new((0..ROWS as i64).collect::<Int64Array>());
    RecordBatch::try_from_iter_with_nullable([("x", x, false), ("y", y, false)]).unwrap()
}

/// All rows once, `at_once` of them from each call of the source.
fn shuffled(table: &RecordBatch, at_once: usize, threads: usize) -> Duration {
    let (table, next) = (table.clone(), AtomicUsize::new(0));
    let source = move || {
        let start = next.fetch_add(at_once, Ordering::Relaxed);
        if start >= ROWS {
            return Err(Error::new(ErrorKind::OutOfRange, "all rows were given"));
        }
        Ok(table.slice(start, at_once.min(ROWS - start)))
    };
    let coordinator = Coordinator::new();
    let began = Instant::now();
    let batches = shuffle_batch(source)
        .enqueue_many(at_once > 1)
        .num_threads(threads)
        .batch_size(BATCH)
        .capacity(16 * BATCH)
        .min_after_dequeue(8 * BATCH)
        .start(&coordinator)
        .unwrap();
    let sum: i64 =
        batches.map(|batch| batch.unwrap().tensor::<i64>("y").unwrap().as_slice().iter().sum::<i64>()).sum();
    let took = began.elapsed();
    assert_eq!(sum, SUM);
    took
}

fn loaded(dataset: &Dataset) -> Duration {
    let began = Instant::now();
    let loader =
        Loader::builder(dataset).batch_size(BATCH).shuffle(Shuffle::Exact).threads(1).build().unwrap();
    let sum: i64 = loader
        .map(|batch| black_box(&batch.unwrap()).tensor::<i64>("y").unwrap().as_slice().iter().sum::<i64>())
        .sum();
    let took = began.elapsed();
    assert_eq!(sum, SUM);
    took
}

fn bench(c: &mut Criterion) {
    let table = table();
    let dataset = Dataset::from_batches(vec![table.clone()]).unwrap();
    let mut group = c.benchmark_group("pipeline/shuffle a million rows");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    for (name, at_once, threads) in
        [("a row at a time", 1, 1), ("a row at a time, 2 threads", 1, 2), ("256 rows at a time", 256, 1)]
    {
        group.bench_function(format!("shuffle_batch, {name}"), |b| {
            b.iter_custom(|times| (0..times).map(|_| shuffled(&table, at_once, threads)).sum())
        });
    }
    group.bench_function("loader, exact", |b| {
        b.iter_custom(|times| (0..times).map(|_| loaded(&dataset)).sum())
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
