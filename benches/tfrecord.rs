//! TFRecords of tf.train.Example, 64 floats and an integer each, read on one thread into batches with every checksum looked
//! at; beside a bare pass of CRC-32C over the same records. Warm page cache.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::format::Checksums;
use forebay::{Dataset, Loader, Shuffle};

const ROWS: u64 = 200_000;
const BATCH: usize = 256;

/// A field of a protobuf message: its number, and its bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len > 0x7F {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
    out
}

fn feature(name: &str, kind: u8, list: &[u8]) -> Vec<u8> {
    let value = field(kind, &field(1, list));
    field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
}

fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

/// Made once, kept under `target/`.
fn file() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-64.tfrecord");
    if path.exists() {
        return path;
    }
    let mut bytes = Vec::new();
    for row in 0..ROWS {
        let floats: Vec<u8> = (0..64).flat_map(|i| ((row * 64 + i) as f32).to_le_bytes()).collect();
        let features = [feature("features", 2, &floats), feature("label", 3, &[(row % 10) as u8])].concat();
        let payload = field(1, &features);
        let length = (payload.len() as u64).to_le_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&masked_crc(&length));
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&masked_crc(&payload));
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

fn bench(c: &mut Criterion) {
    let path = file();
    let content = std::fs::read(&path).unwrap();
    let mut group = c.benchmark_group("tfrecord/64 floats and an integer");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10).measurement_time(Duration::from_secs(4));
    group.bench_function("ceiling: CRC-32C alone", |b| {
        b.iter(|| {
            let (mut at, mut records) = (0, 0);
            while at < content.len() {
                let len = u64::from_le_bytes(content[at..at + 8].try_into().unwrap()) as usize;
                let payload = &content[at + 12..at + 12 + len];
                assert_eq!(masked_crc(payload), content[at + 12 + len..at + 16 + len]);
                at += 16 + len;
                records += 1;
            }
            assert_eq!(records, ROWS);
        })
    });
    for (checksums, named) in [(Checksums::Always, "CRC"), (Checksums::Never, "no CRC")] {
        let dataset = Dataset::options().checksums(checksums).open(&path).unwrap();
        for (name, shuffle) in [("in order", Shuffle::None), ("shuffled", Shuffle::Exact)] {
            group.bench_function(format!("forebay, {named}, {name}"), |b| {
                b.iter_custom(|epochs| {
                    let builder = Loader::builder(&dataset).batch_size(BATCH).shuffle(shuffle);
                    let loader = builder.threads(0).epochs(epochs).build().unwrap();
                    let started = Instant::now();
                    let rows: u64 = loader.map(|batch| batch.unwrap().num_rows() as u64).sum();
                    assert_eq!(rows, epochs * ROWS);
                    started.elapsed()
                })
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
