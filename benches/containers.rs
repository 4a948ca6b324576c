//! Windows of tokens and members of tar archives, shuffled, on one thread, beside the ceiling: a bare prefetching gather of
//! the same bytes from the same populated map. Warm page cache.

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::order;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::format::TokenSpec;
use forebay::{DType, Dataset, Loader, Preload, Shuffle, col};

const BATCH: usize = 256;
const BYTES: usize = 256 << 20;

/// Made once, kept under `target/`.
fn kept(name: &str, make: impl FnOnce() -> Vec<u8>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !path.exists() {
        std::fs::write(&path, make()).unwrap();
    }
    path
}

/// Members of 1 to 4 KiB, as small images are.
fn tar() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    let mut number = 0;
    while bytes.len() < BYTES {
        let len = 1024 + number * 7919 % 3072;
        let start = bytes.len();
        bytes.resize(start + 512, 0);
        let header = &mut bytes[start..];
        let name = format!("{number:08}.img");
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{len:011o}").as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.resize(start + 512 + len, number as u8);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        number += 1;
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The starts and lengths of the members.
fn members(tar: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while tar[at] != 0 {
        let len = usize::from_str_radix(std::str::from_utf8(&tar[at + 124..at + 135]).unwrap(), 8).unwrap();
        found.push((at + 512, len));
        at += 512 + len.next_multiple_of(512);
    }
    found
}

/// One epoch of the runs in `order`, batch by batch into four buffers in turn: nothing but prefetches and copies.
fn gather(bytes: &[u8], runs: &[(usize, usize)], order: &[u32], buffers: &mut [Vec<u8>; 4]) -> Duration {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    const AHEAD: usize = 2;
    let started = Instant::now();
    for (number, rows) in order.chunks(BATCH).enumerate() {
        let out = &mut buffers[number % 4];
        let mut end = 0;
        for (i, &row) in rows.iter().enumerate() {
            if let Some(&row) = rows.get(i + AHEAD) {
                let (start, len) = runs[row as usize];
                for line in (0..len).step_by(64) {
                    // SAFETY: a prefetch has no effect but on the caches.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes[start + line..].as_ptr().cast()) };
                }
            }
            let (start, len) = runs[row as usize];
            out[end..end + len].copy_from_slice(&bytes[start..start + len]);
            end += len;
        }
    }
    started.elapsed()
}

fn compare(
    c: &mut Criterion,
    name: &str,
    dataset: &Dataset,
    path: &Path,
    column: &str,
    runs: &[(usize, usize)],
) {
    // SAFETY: nobody changes the files of this bench.
    let map = unsafe { memmap2::Mmap::map(&File::open(path).unwrap()).unwrap() };
    map.advise(memmap2::Advice::PopulateRead).unwrap();
    dataset.preload(Preload::Populate).unwrap();
    assert_eq!(dataset.len() as usize, runs.len());
    let order = order(runs.len(), 1);
    let mut group = c.benchmark_group(name);
    let bytes: usize = runs.iter().map(|&(_, len)| len).sum();
    group
        .throughput(Throughput::Bytes(bytes as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let longest = runs.iter().map(|&(_, len)| len).max().unwrap_or(0);
    let mut buffers = [(); 4].map(|()| vec![1u8; BATCH * longest]);
    group.bench_function("ceiling", |b| {
        b.iter_custom(|epochs| (0..epochs).map(|_| gather(&map, runs, &order, &mut buffers)).sum())
    });
    group.bench_function("forebay", |b| {
        b.iter_custom(|epochs| {
            let builder = Loader::builder(dataset).columns([col(column)]).batch_size(BATCH);
            let loader = builder.shuffle(Shuffle::Exact).threads(0).epochs(epochs).build().unwrap();
            let started = Instant::now();
            let rows: u64 = loader.map(|batch| batch.unwrap().num_rows() as u64).sum();
            assert_eq!(rows, epochs * runs.len() as u64);
            started.elapsed()
        })
    });
    group.finish();
}

fn bench(c: &mut Criterion) {
    const SEQ_LEN: usize = 1024;
    let path = kept("bench-tokens.bin", || (0..BYTES / 2).flat_map(|i| (i as u16).to_le_bytes()).collect());
    let dataset = Dataset::options().tokens(TokenSpec::new(DType::U16, SEQ_LEN as u64)).open(&path).unwrap();
    let windows: Vec<_> = (0..BYTES / (2 * SEQ_LEN)).map(|i| (i * 2 * SEQ_LEN, 2 * SEQ_LEN)).collect();
    compare(c, "containers/tokens, u16[1024]", &dataset, &path, "tokens", &windows);

    let path = kept("bench-members.tar", tar);
    let runs = members(&std::fs::read(&path).unwrap());
    let dataset = Dataset::open(&path).unwrap();
    compare(c, "containers/tar, members of 1 to 4 KiB", &dataset, &path, "img", &runs);
}

criterion_group!(benches, bench);
criterion_main!(benches);
