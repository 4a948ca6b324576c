//! The gather alone, on one thread: a loader without workers, beside the ceiling, a bare prefetching gather of the same
//! columns. Warm page cache, populated map, random order.
//!
//! `cast`: bytes that become floats on the way, beside the plain gather of as many floats. Both from memory of our own.

mod common;

use std::time::{Duration, Instant};

use common::{BATCH, Columns, Source, ahead, dataset, order, sizes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader, Preload, Shuffle, col};

fn bench(c: &mut Criterion) {
    for (rows, width) in sizes() {
        let folder = dataset(rows, width);
        let order = order(rows, 1);
        let opened = Dataset::open(&folder).unwrap();
        opened.preload(Preload::Populate).unwrap();
        let columns = Columns::open(&folder, Source::Populated);
        let mut group = c.benchmark_group(format!("gather/{}B", width * 4));
        group
            .throughput(Throughput::Elements(rows as u64))
            .sample_size(10)
            .measurement_time(Duration::from_secs(3));
        group.bench_function("ceiling", |b| {
            b.iter_custom(|epochs| (0..epochs).map(|_| columns.gather(&order, 1, ahead(width * 4))).sum())
        });
        let plain = vec![col("x"), col("y")];
        let cast = vec![col("x").cast::<f64>().scale(0.5), col("y")];
        for (name, columns) in [("gather", plain), ("gather, cast to f64 and scaled", cast)] {
            group.bench_function(name, |b| {
                b.iter_custom(|epochs| {
                    let builder = Loader::builder(&opened).columns(columns.clone()).batch_size(BATCH);
                    let loader = builder.shuffle(Shuffle::Exact).threads(0).epochs(epochs).build().unwrap();
                    let started = Instant::now();
                    let gathered: u64 = loader.map(|batch| batch.unwrap().num_rows() as u64).sum();
                    assert_eq!(gathered, epochs * rows as u64);
                    started.elapsed()
                })
            });
        }
        group.finish();
    }
}

/// Rows of three channels of bytes, and what is done to them.
fn cast(c: &mut Criterion) {
    for (rows, channel) in [(1 << 15, 256), (1 << 13, 1024), (1 << 9, 50_176)] {
        let width = 3 * channel;
        let bytes: Vec<u8> = (0..rows * width).map(|i| (i * 7 % 256) as u8).collect();
        let floats: Vec<f32> = bytes.iter().map(|&byte| byte.into()).collect();
        let floats = Dataset::from_tensor("x", &[3, channel], floats).unwrap();
        let first = Dataset::from_tensor("x", &[3, channel], bytes.clone()).unwrap();
        let last = Dataset::from_tensor("x", &[channel, 3], bytes).unwrap();
        let x = || col("x").cast::<f32>();
        let normalize = || x().scale(1.0 / 255.0).normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let mut group = c.benchmark_group(format!("cast/{}B", width * 4));
        group
            .throughput(Throughput::Bytes((rows * width * 4) as u64))
            .sample_size(20)
            .measurement_time(Duration::from_secs(2));
        for (name, dataset, column) in [
            ("plain f32", &floats, col("x")),
            ("u8 to f32", &first, x()),
            ("u8 to f32, scaled", &first, x().scale(1.0 / 255.0)),
            ("u8 to f32, normalized, channels first", &first, normalize()),
            ("u8 to f32, normalized, channels last", &last, normalize()),
        ] {
            group.bench_function(name, |b| {
                b.iter_custom(|epochs| {
                    let builder = Loader::builder(dataset).columns([column.clone()]).batch_size(64);
                    let loader = builder.shuffle(Shuffle::Exact).threads(0).epochs(epochs).build().unwrap();
                    let started = Instant::now();
                    let copied: u64 = loader.map(|batch| batch.unwrap().copied_bytes()).sum();
                    assert_eq!(copied, epochs * (rows * width * 4) as u64);
                    started.elapsed()
                })
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench, cast);
criterion_main!(benches);
