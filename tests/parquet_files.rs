//! Parquet files are read as the reference reader reads them, whoever wrote them and however.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what pyarrow found in each file of that folder. Without the variable the
//! tests of them are skipped and say so.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Int64Type, Schema};
use common::{check_table, converts_to_what_gather_gives, gather_all, loads_what_gather_gives, test_data};
use forebay::{ColumnKind, Dataset, ErrorKind, Loader, Shuffle};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// The Parquet files and what is expected of them.
fn files(expected: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let files = expected["files"].as_object().unwrap().iter().map(|(path, entry)| (path.as_str(), entry));
    files.filter(|(_, entry)| entry["format"] == "parquet")
}

#[test]
fn every_file_holds_what_pyarrow_read() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in files(&expected).filter(|(_, entry)| entry.get("expect").is_none()) {
        let opened = Dataset::open(folder.join(path));
        if entry["note"].as_str().is_some_and(|note| note.contains("or a clean error"))
            && let Err(error) = &opened
        {
            assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
            continue;
        }
        let dataset = opened.unwrap();
        assert_eq!(
            dataset.shards().unwrap()[0].num_chunks as u64,
            entry["row_groups"].as_u64().unwrap(),
            "{path}"
        );
        if path.contains("corrupt-checksum") {
            let error = dataset.gather(&[0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
            assert!(error.location().byte.is_some() && error.location().record == Some(0), "{error}");
            assert!(
                error.message().contains("checksum") && error.message().contains("column 'a'"),
                "{error}"
            );
            continue;
        }
        check_table(path, &dataset, entry);
        loads_what_gather_gives(path, &dataset);
        converts_to_what_gather_gives(path, &dataset);
        read += 1;
    }
    assert!(read >= 30, "only {read} files");
}

#[test]
fn encrypted_footers_are_refused_by_name() {
    let Some((folder, expected)) = test_data() else { return };
    let mut refused = 0;
    for (path, _) in files(&expected).filter(|(_, entry)| entry.get("expect").is_some()) {
        let error = Dataset::open(folder.join(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("encrypted footer"), "{error}");
        assert!(error.location().path.as_ref().is_some_and(|at| at.ends_with(path)), "{error}");
        refused += 1;
    }
    assert!(refused > 0);
}

/// `batch` as parquet writes it, in row groups of `group_rows` rows.
fn written(batch: &RecordBatch, properties: WriterProperties) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    (folder, path)
}

fn columns(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

#[test]
fn nothing_is_read_of_files_without_rows_or_columns() {
    let empty = columns(vec![
        ("i", Arc::new(Int32Array::from(Vec::<i32>::new()))),
        ("t", new_empty_array(&DataType::Utf8)),
    ]);
    let (_folder, path) = written(&empty, WriterProperties::default());
    let dataset = Dataset::open(path).unwrap();
    assert_eq!(dataset.len(), 0);
    assert_eq!(gather_all(&dataset).schema().fields(), empty.schema().fields());
    assert_eq!(Loader::builder(&dataset).build().unwrap().count(), 0);

    let bare = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let (_folder, path) = written(&bare, WriterProperties::default());
    let dataset = Dataset::open(path).unwrap();
    assert_eq!((dataset.len(), dataset.schema().fields().len()), (0, 0));
}

#[test]
fn an_exact_shuffle_of_more_than_the_budget_says_what_to_do() {
    let numbers: Int64Array = (0..10_000).collect();
    let words: StringArray =
        (0..10_000).map(|i| Some(["a word that is long enough to matter", "b"][i % 2])).collect();
    let batch = columns(vec![("n", Arc::new(numbers)), ("w", Arc::new(words))]);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let (_folder, path) = written(&batch, properties);
    let dataset = Dataset::options().decode_budget_bytes(100_000).open(&path).unwrap();
    // The words take some 200 kB, although they are stored in a few bytes.
    for (column, fits) in [("n", true), ("w", false)] {
        let built = Loader::builder(&dataset).columns([column]).shuffle(Shuffle::Exact).build();
        assert_eq!(built.is_ok(), fits, "{column}");
        if let Err(error) = built {
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
            assert!(error.message().contains("forebay convert"), "{error}");
        }
    }
    let rows: usize = Loader::builder(&dataset).build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 10_000);
}

/// Pseudorandom columns of every kind, some rows null if `nulls` says so.
fn every_kind(rows: usize, seed: u64, nulls: bool) -> RecordBatch {
    let n = |i: usize| (i as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    let some = move |i: usize| !nulls || n(i) % 5 != 0;
    fn opt<T>(keep: bool, value: T) -> Option<T> {
        keep.then_some(value)
    }
    let words = ["", "für", "training", "a text that is longer than twelve bytes", "∞"];
    let word = |i: usize| words[n(i) as usize % words.len()];
    let text: StringArray = (0..rows).map(|i| opt(some(i), format!("{}{}", word(i), n(i) % 9))).collect();
    let repeated: StringArray = (0..rows).map(|i| opt(some(i), word(i))).collect();
    let longs: Int64Array = (0..rows).map(|i| opt(some(i), n(i) as i64 >> (n(i + 1) % 60))).collect();
    let ints: Int32Array = (0..rows).map(|i| opt(some(i), n(i) as i32 % 100)).collect();
    let as_type = |array: &dyn Array, to: DataType| cast(array, &to).unwrap();
    let list = |i: usize| opt(some(i), (0..n(i) % 4).map(|j| Some(j as i32 - 1)).collect::<Vec<_>>());
    let large =
        |i: usize| opt(some(i), (0..n(i) % 3).map(|j| opt(some(j as usize), j as f32)).collect::<Vec<_>>());
    let items = Arc::new(Float32Array::from_iter_values((0..rows * 3).map(|i| n(i) as f32)));
    let validity = nulls.then(|| (0..rows).map(some).collect());
    let tensor =
        FixedSizeListArray::new(Arc::new(Field::new("item", DataType::Float32, false)), 3, items, validity);
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("i", DataType::Int32, true)), Arc::new(ints.clone()) as ArrayRef),
        (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::new(text.clone()) as ArrayRef),
    ]);
    let bytes: Vec<_> = (0..rows).map(|i| opt(some(i), [n(i) as u8; 5])).collect();
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.into_iter(), 5).unwrap();
    columns(vec![
        ("bool", Arc::new((0..rows).map(|i| opt(some(i), n(i) % 3 == 0)).collect::<BooleanArray>())),
        ("i8", Arc::new((0..rows).map(|i| opt(some(i), n(i) as i8)).collect::<Int8Array>())),
        ("u16", Arc::new((0..rows).map(|i| opt(some(i), n(i) as u16)).collect::<UInt16Array>())),
        ("i32", Arc::new(ints.clone())),
        ("u32", Arc::new((0..rows).map(|i| opt(some(i), n(i) as u32)).collect::<UInt32Array>())),
        ("i64", Arc::new(longs.clone())),
        ("u64", Arc::new((0..rows).map(|i| opt(some(i), n(i))).collect::<UInt64Array>())),
        ("f16", as_type(&ints, DataType::Float16)),
        ("f32", Arc::new((0..rows).map(|i| opt(some(i), n(i) as f32)).collect::<Float32Array>())),
        ("f64", Arc::new((0..rows).map(|i| opt(some(i), n(i) as f64)).collect::<Float64Array>())),
        ("date", as_type(&ints, DataType::Date32)),
        (
            "time",
            as_type(&longs, DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))),
        ),
        ("span", as_type(&longs, DataType::Duration(arrow::datatypes::TimeUnit::Millisecond))),
        ("decimal", as_type(&ints, DataType::Decimal128(12, 2))),
        ("text", Arc::new(text.clone())),
        ("word", Arc::new(repeated.clone())),
        ("large text", as_type(&text, DataType::LargeUtf8)),
        ("bytes", as_type(&text, DataType::Binary)),
        ("view", as_type(&text, DataType::Utf8View)),
        (
            "dictionary",
            as_type(&repeated, DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into())),
        ),
        ("fixed", Arc::new(fixed)),
        ("ragged", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>((0..rows).map(list)))),
        ("holes", Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>((0..rows).map(large)))),
        ("tensor", Arc::new(tensor)),
        ("struct", Arc::new(pair)),
    ])
}

/// What rows of `array` are handed out as.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Dictionary(_, value) => cast(array, value).unwrap(),
        DataType::Utf8View => cast(array, &DataType::Utf8).unwrap(),
        _ => array.clone(),
    }
}

fn check_round_trip(batch: &RecordBatch, properties: WriterProperties) {
    let (_folder, path) = written(batch, properties);
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(dataset.len() as usize, batch.num_rows());
    let gathered = gather_all(&dataset);
    for (field, (found, expected)) in
        batch.schema().fields().iter().zip(gathered.columns().iter().zip(batch.columns()))
    {
        assert_eq!(found.to_data(), plain(expected).to_data(), "column {}", field.name());
    }
    let loadable =
        dataset.schema().fields().iter().filter(|field| ColumnKind::of(field) != ColumnKind::Other);
    let loadable: Vec<_> =
        loadable.map(|field| field.name().as_str()).filter(|&name| name != "holes").collect();
    let loader =
        Loader::builder(&dataset).columns(loadable.iter().copied()).batch_size(7).threads(0).build().unwrap();
    let mut first = 0;
    for loaded in loader {
        let loaded = loaded.unwrap().record_batch().unwrap();
        for (name, found) in loadable.iter().zip(loaded.columns()) {
            let expected = plain(batch.column_by_name(name).unwrap()).slice(first, loaded.num_rows());
            assert_eq!(found.to_data(), expected.to_data(), "column {name}, rows from {first}");
        }
        first += loaded.num_rows();
    }
    assert_eq!(first, batch.num_rows());
}

fn codec() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::UNCOMPRESSED),
        Just(Compression::SNAPPY),
        Just(Compression::GZIP(Default::default())),
        Just(Compression::BROTLI(Default::default())),
        Just(Compression::LZ4),
        Just(Compression::LZ4_RAW),
        Just(Compression::ZSTD(Default::default())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_written_is_read_back(
        rows in 0usize..200, seed: u64, nulls: bool, codec in codec(), group_rows in 1usize..150, page_rows in 1usize..60,
        v2: bool, dictionary: bool, delta: bool,
    ) {
        let version = if v2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
        let mut properties = WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(version)
            .set_dictionary_enabled(dictionary)
            .set_max_row_group_row_count(Some(group_rows))
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(page_rows);
        if delta {
            for (name, encoding) in [
                ("i32", Encoding::DELTA_BINARY_PACKED),
                ("i64", Encoding::DELTA_BINARY_PACKED),
                ("time", Encoding::DELTA_BINARY_PACKED),
                ("text", Encoding::DELTA_BYTE_ARRAY),
                ("large text", Encoding::DELTA_LENGTH_BYTE_ARRAY),
                ("bytes", Encoding::DELTA_BYTE_ARRAY),
                ("fixed", Encoding::DELTA_BYTE_ARRAY),
                ("f32", Encoding::BYTE_STREAM_SPLIT),
                ("f64", Encoding::BYTE_STREAM_SPLIT),
                ("bool", Encoding::RLE),
            ] {
                let path = ColumnPath::from(name);
                properties = properties.set_column_encoding(path.clone(), encoding).set_column_dictionary_enabled(path, false);
            }
        }
        check_round_trip(&every_kind(rows, seed, nulls), properties.build());
    }
}

#[test]
fn text_that_is_none_is_refused_where_it_is_gathered() {
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"good"[..], b"\xFF\xFE", b"good"]));
    let batch = columns(vec![("t", bytes)]);
    // The schema that Arrow leaves in the file says that the bytes are text.
    let schema = Schema::new(vec![Field::new("t", DataType::Utf8, true)]);
    let claimed = parquet::file::metadata::KeyValue::new(
        "ARROW:schema".to_owned(),
        parquet::arrow::encode_arrow_schema(&schema),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_skip_arrow_metadata(true)
        .with_properties(WriterProperties::builder().set_key_value_metadata(Some(vec![claimed])).build());
    let mut writer = ArrowWriter::try_new_with_options(file, batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(*dataset.schema().field(0).data_type(), DataType::Utf8);
    assert_eq!(dataset.gather(&[0, 2]).unwrap().num_rows(), 2);
    let error = dataset.gather(&[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    assert!(error.message().contains("'t'") && error.message().contains("UTF-8"), "{error}");
}

#[test]
fn row_groups_may_be_empty() {
    let column = |rows: &[i64]| columns(vec![("n", Arc::new(Int64Array::from(rows.to_vec())))]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, column(&[]).schema(), None).unwrap();
    for rows in [&[1i64, 2][..], &[], &[3]] {
        writer.write(&column(rows)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    let dataset = Dataset::open(&path).unwrap();
    let gathered = gather_all(&dataset);
    assert_eq!(gathered.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
}
