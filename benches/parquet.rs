//! A scan of Parquet through a loader without threads, beside the `parquet` crate's own reader of the same file, both on
//! one core and a warm page cache. What matters is the ratio of the two.

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::Int64Type;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::{Dataset, Loader};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

const ROWS: usize = 1 << 20;
const GROUP_ROWS: usize = 1 << 17;
const BATCH: usize = 1024;

/// A table of `ROWS` rows. Made once, kept under `target/`.
fn file(kind: &str, codec: Compression) -> PathBuf {
    let name = codec.to_string().chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{kind}-{name}.parquet"));
    if path.exists() {
        return path;
    }
    let n = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let words = ["credit card", "cash", "no charge", "dispute", "prepaid", "unknown"];
    let id: ArrayRef = Arc::new((0..ROWS as i64).collect::<Int64Array>());
    let columns: Vec<(&str, ArrayRef)> = match kind {
        "numbers" => vec![
            ("id", id),
            ("label", Arc::new(Int32Array::from_iter_values((0..ROWS).map(|i| (n(i) % 10) as i32)))),
            ("x", Arc::new(Float32Array::from_iter_values((0..ROWS).map(|i| (n(i) % 1000) as f32 / 7.0)))),
            ("y", Arc::new(Float64Array::from_iter_values((0..ROWS).map(|i| n(i) as f64)))),
            (
                "z",
                Arc::new((0..ROWS).map(|i| (n(i) % 9 != 0).then_some(n(i) as f64)).collect::<Float64Array>()),
            ),
        ],
        _ => vec![
            ("id", id),
            ("kind", Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| words[n(i) as usize % 6])))),
            (
                "text",
                Arc::new(StringArray::from_iter_values(
                    (0..ROWS).map(|i| format!("trip {i} of {} miles, fare {}", n(i) % 97, n(i + 1) % 9973)),
                )),
            ),
        ],
    };
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let partial = path.with_extension("partial");
    let mut writer =
        ArrowWriter::try_new(File::create(&partial).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    std::fs::rename(partial, &path).unwrap();
    path
}

/// Rows, and the sum of their ids: what both must find.
type Found = (usize, i64);

fn by_parquet(path: &Path) -> Found {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let reader = reader.with_batch_size(BATCH).build().unwrap();
    reader.fold((0, 0), |(rows, sum), batch| {
        let batch = batch.unwrap();
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        (rows + black_box(&batch).num_rows(), sum + ids.values().iter().sum::<i64>())
    })
}

fn by_loader(path: &Path) -> Found {
    let dataset = Dataset::open(path).unwrap();
    let loader = Loader::builder(&dataset).batch_size(BATCH).threads(0).build().unwrap();
    loader.fold((0, 0), |(rows, sum), batch| {
        let batch = batch.unwrap();
        let ids = batch.tensor::<i64>("id").unwrap();
        (rows + black_box(&batch).num_rows(), sum + ids.as_slice().iter().sum::<i64>())
    })
}

fn bench(c: &mut Criterion) {
    for kind in ["numbers", "text"] {
        let mut group = c.benchmark_group(format!("parquet/{kind}"));
        group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
            let path = file(kind, codec);
            let expected = (ROWS, (0..ROWS as i64).sum());
            assert_eq!((by_parquet(&path), by_loader(&path)), (expected, expected));
            let name = codec.to_string().chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
            group.bench_function(format!("{name}/parquet"), |b| b.iter(|| by_parquet(&path)));
            group.bench_function(format!("{name}/loader"), |b| b.iter(|| by_loader(&path)));
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
