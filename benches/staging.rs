//! Slots on the host: taken from their pool, filled by one copy, read and given back, in heap and in locked memory; beside the
//! ceiling, a plain memcpy of the same bytes into memory that is used over and over. Warm: the source lies in memory, and every slot
//! was written before.
//!
//! A loader without workers makes batches of one row each of a table in memory. A `map_batch` that does nothing keeps it from
//! lending them. Rows of 8 bytes show what taking a slot, the hand-over and giving it back cost by themselves.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader, LoaderBuilder, Shuffle, Staging};

/// Bytes of the table, and of its rows.
const TABLE_BYTES: usize = 64 << 20;
const ROW_BYTES: [usize; 5] = [8, 4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// Rows gone through in a run, at most.
const ROWS: usize = 4096;

fn loader(dataset: &Dataset, staging: Staging) -> LoaderBuilder {
    Loader::builder(dataset).shuffle(Shuffle::None).threads(0).staging(staging).map_batch(|_| Ok(()))
}

fn bench(c: &mut Criterion) {
    for row_bytes in ROW_BYTES {
        let rows = (TABLE_BYTES / row_bytes).min(ROWS);
        let bytes: Vec<u8> = (0..rows * row_bytes).map(|i| (i % 251) as u8).collect();
        let dataset = Dataset::from_tensor("row", &[row_bytes], bytes.clone()).unwrap();
        let mut group = c.benchmark_group(format!("staging/{row_bytes}B"));
        group
            .throughput(Throughput::Bytes((rows * row_bytes) as u64))
            .sample_size(10)
            .measurement_time(Duration::from_secs(2));
        group.bench_function("memcpy", |b| {
            let mut slot = vec![0u8; row_bytes];
            b.iter(|| {
                for row in bytes.chunks(row_bytes) {
                    black_box(&mut slot).copy_from_slice(row);
                }
            });
            assert_eq!(slot, bytes[bytes.len() - row_bytes..]);
        });
        for staging in [Staging::Heap, Staging::Locked] {
            let mut first = loader(&dataset, staging).build().unwrap();
            let batch = match first.next().expect("a row") {
                Ok(batch) => batch,
                Err(error) => {
                    println!("skipped: {error}");
                    continue;
                }
            };
            assert_eq!(batch.tensor::<u8>("row").unwrap().as_slice(), &bytes[..row_bytes]);
            assert_eq!(batch.copied_bytes(), row_bytes as u64);
            drop((batch, first));
            group.bench_function(BenchmarkId::from_parameter(staging), |b| {
                b.iter_custom(|epochs| {
                    // The slots of the first epoch are new.
                    let mut loader = loader(&dataset, staging).epochs(epochs + 1).build().unwrap();
                    loader.by_ref().take(rows).for_each(|batch| drop(batch.unwrap()));
                    let started = Instant::now();
                    let filled: u64 = loader.map(|batch| black_box(batch.unwrap()).copied_bytes()).sum();
                    let elapsed = started.elapsed();
                    assert_eq!(filled, epochs * (rows * row_bytes) as u64);
                    elapsed
                })
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
