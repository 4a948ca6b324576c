//! The loader end to end, warm page cache, beside the ceiling: a bare prefetching gather of the same columns by the same
//! number of threads, two, the consumer's included. What matters is the ratio of the two.

mod common;

use std::time::{Duration, Instant};

use common::{BATCH, Columns, Source, ahead, dataset, order, sizes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader, Preload, Shuffle};

/// The time `epochs` epochs take, from the first batch of the second one on: the loader is running.
fn load(dataset: &Dataset, threads: usize, epochs: u64) -> Duration {
    let builder = Loader::builder(dataset).batch_size(BATCH).shuffle(Shuffle::Exact).threads(threads);
    let mut loader = builder.epochs(epochs + 1).build().unwrap();
    let steps = loader.steps_per_epoch() as usize;
    assert_eq!(
        loader.by_ref().take(steps).map(|batch| batch.unwrap().num_rows() as u64).sum::<u64>(),
        dataset.len()
    );
    let started = Instant::now();
    loader.for_each(|batch| {
        std::hint::black_box(batch.unwrap().num_rows());
    });
    started.elapsed()
}

fn bench(c: &mut Criterion) {
    for (rows, width) in sizes() {
        let folder = dataset(rows, width);
        let order = order(rows, 1);
        let mut group = c.benchmark_group(format!("loader/{}B", width * 4));
        group
            .throughput(Throughput::Elements(rows as u64))
            .sample_size(10)
            .measurement_time(Duration::from_secs(4));
        for (name, source, preload) in [
            ("populated", Source::Populated, Preload::Populate),
            ("huge-pages", Source::HugePages, Preload::Copy),
        ] {
            let opened = Dataset::options().preload(preload.clone()).open(&folder).unwrap();
            opened.preload(if preload == Preload::Copy { Preload::No } else { preload }).unwrap();
            let columns = Columns::open(&folder, source);
            group.bench_function(format!("{name}/ceiling"), |b| {
                b.iter_custom(|epochs| (0..epochs).map(|_| columns.gather(&order, 2, ahead(width * 4))).sum())
            });
            group.bench_function(format!("{name}/loader"), |b| {
                b.iter_custom(|epochs| load(&opened, 1, epochs))
            });
        }
        // Page faults and all: every epoch on a map of its own.
        group.bench_function("fresh/ceiling", |b| {
            b.iter_custom(|epochs| {
                (0..epochs)
                    .map(|_| Columns::open(&folder, Source::Fresh).gather(&order, 2, ahead(width * 4)))
                    .sum()
            })
        });
        group.bench_function("fresh/loader", |b| {
            b.iter_custom(|epochs| {
                let epoch = || {
                    let dataset = Dataset::open(&folder).unwrap();
                    let started = Instant::now();
                    let builder =
                        Loader::builder(&dataset).batch_size(BATCH).shuffle(Shuffle::Exact).threads(1);
                    let rows =
                        builder.build().unwrap().map(|batch| batch.unwrap().num_rows() as u64).sum::<u64>();
                    assert_eq!(rows, dataset.len());
                    started.elapsed()
                };
                (0..epochs).map(|_| epoch()).sum()
            })
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
