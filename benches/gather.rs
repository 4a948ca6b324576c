//! The gather alone, on one thread: a loader without workers, beside the ceiling, a bare prefetching gather of the same
//! columns. Warm page cache, populated map, random order.

mod common;

use std::time::{Duration, Instant};

use common::{BATCH, Columns, Source, ahead, dataset, order};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader, Preload, Shuffle, col};

fn bench(c: &mut Criterion) {
    for (rows, width) in [(1 << 20, 64), (1 << 18, 768)] {
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

criterion_group!(benches, bench);
criterion_main!(benches);
