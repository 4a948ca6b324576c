//! CSV of 65 numeric columns, read on one thread into batches, beside arrow-csv into record batches of the same rows, and the
//! scan for records. Warm page cache.

mod common;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader, Shuffle};

const ROWS: u64 = 100_000;
const FIELDS: usize = 65;
const BATCH: usize = 256;

/// Decimals of up to seven digits, and an integer label in the last field. Made once, kept under `target/`.
fn file() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-65.csv");
    if path.exists() {
        return path;
    }
    let names: Vec<_> = (0..FIELDS).map(|field| format!("x{field}")).collect();
    let mut text = names.join(",") + "\n";
    let mut state = 1u64;
    for _ in 0..ROWS {
        for field in 0..FIELDS {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let number = (state >> 40) as i64 - (1 << 23);
            if field + 1 < FIELDS {
                write!(text, "{:.6},", number as f64 / 1e6).unwrap();
            } else {
                writeln!(text, "{}", number.rem_euclid(10)).unwrap();
            }
        }
    }
    std::fs::write(&path, text).unwrap();
    path
}

fn bench(c: &mut Criterion) {
    let path = file();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let mut group = c.benchmark_group("csv/65 columns");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10).measurement_time(Duration::from_secs(4));
    let fields = (0..FIELDS).map(|field| {
        let data_type = if field + 1 < FIELDS { DataType::Float64 } else { DataType::Int64 };
        Field::new(format!("x{field}"), data_type, true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    group.bench_function("peer: arrow-csv", |b| {
        let mut file = File::open(&path).unwrap();
        b.iter(|| {
            file.rewind().unwrap();
            let builder =
                arrow_csv::ReaderBuilder::new(schema.clone()).with_header(true).with_batch_size(1024);
            let reader = builder.build_buffered(std::io::BufReader::with_capacity(1 << 20, &file)).unwrap();
            assert_eq!(reader.map(|batch| batch.unwrap().num_rows() as u64).sum::<u64>(), ROWS);
        })
    });
    let dataset = Dataset::open(&path).unwrap();
    for (name, shuffle) in [("in order", Shuffle::None), ("shuffled", Shuffle::Exact)] {
        group.bench_function(format!("forebay, {name}"), |b| {
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
    group.finish();

    let mut group = c.benchmark_group("csv/scan");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10);
    let content = std::fs::read(&path).unwrap();
    let mut copy = vec![0u8; content.len()];
    group.bench_function("ceiling: one copy, one thread", |b| b.iter(|| copy.copy_from_slice(&content)));
    group.bench_function("open, all cores", |b| {
        b.iter(|| assert_eq!(Dataset::options().use_index(false).open(&path).unwrap().len(), ROWS))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
