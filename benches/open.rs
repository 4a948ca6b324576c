//! From opening a dataset of 1,000 shards to its first batch, exact shuffle, warm page cache. The ceiling: opening and
//! mapping as many files and nothing else.

use std::fs::File;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use forebay::convert::{ConvertOptions, convert};
use forebay::{Dataset, Loader, Shuffle};

const SHARDS: usize = 1000;

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-1000-shards");
    if !folder.join("dataset.json").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let x = Dataset::from_tensor("x", &[64], vec![1f32; SHARDS * 64 * 64]).unwrap();
        convert(&x, &folder, &ConvertOptions::new().shard_bytes(64 * 256), |_| {}).unwrap();
    }
    folder
}

fn bench(c: &mut Criterion) {
    let folder = folder();
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), SHARDS + 1);
    let mut group = c.benchmark_group("open");
    group.bench_function("ceiling: open and map the files", |b| {
        b.iter(|| {
            // SAFETY: nothing is read through the maps.
            let map = |path: &PathBuf| unsafe { memmap2::Mmap::map(&File::open(path).unwrap()).unwrap() };
            files.iter().map(map).collect::<Vec<_>>()
        })
    });
    group.bench_function("dataset to first batch", |b| {
        b.iter(|| {
            let dataset = Dataset::open(&folder).unwrap();
            let mut loader =
                Loader::builder(&dataset).batch_size(256).shuffle(Shuffle::Exact).build().unwrap();
            let batch = loader.next().unwrap().unwrap();
            assert_eq!(batch.num_rows(), 256);
        })
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
