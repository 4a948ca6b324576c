//! What is decoded here is what the `parquet` crate decodes, however a file was written.

use std::env;
use std::fs;
use std::path::Path;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

use super::super::{columns, footer};
use super::*;

fn open(region: &Region) -> Result<Arc<File>> {
    let footer = footer::read(region)?;
    let (_, columns) = columns::read(footer.metadata.file_metadata())?;
    Ok(Arc::new(File {
        region: region.clone(),
        footer_start: footer.start,
        metadata: footer.metadata,
        columns,
        buffers: Buffers::default(),
    }))
}

/// Decodes every column of every row group both ways. How many were decoded here, and how many that hold rows there are.
fn compare(file: &Arc<File>, what: &dyn Fn() -> String) -> (usize, usize) {
    let (mut here, mut all) = (0, 0);
    for group in 0..file.metadata.num_row_groups() {
        let decoder = Decoder { file: file.clone(), group };
        if decoder.metadata().num_rows() == 0 {
            continue;
        }
        for (index, column) in file.columns.iter().enumerate() {
            let what = || format!("{}, row group {group}, column {index} ({})", what(), column.decoded_type);
            all += 1;
            let flat = match decoder.decode_flat(column) {
                Ok(None) => continue,
                flat => flat.map(Option::unwrap),
            };
            let expected = decoder.decode_by_parquet(column);
            match (flat, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.array.data_type(), expected.data_type(), "{}", what());
                    assert_eq!(&found.array, &expected, "{}", what());
                    found.array.to_data().validate_full().unwrap_or_else(|e| panic!("{}: {e}", what()));
                    let texts = expected
                        .as_binary_opt::<i32>()
                        .map(|array| array.iter().flatten().all(<[u8]>::is_ascii));
                    assert!(!found.is_ascii || texts != Some(false), "{}: not ASCII", what());
                    here += 1;
                }
                (Err(_), Err(_)) => {}
                (found, expected) => {
                    panic!("{}: {:?} here, {:?} there", what(), found.map(|found| found.array), expected)
                }
            }
        }
    }
    (here, all)
}

/// A pattern of nulls: none, all, now and then, or in runs.
#[derive(Clone, Copy, Debug)]
enum Nulls {
    None,
    All,
    Some(u64),
    Runs(u64),
}

fn mix(n: u64) -> u64 {
    (n ^ n >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

impl Nulls {
    fn is_null(self, row: u64) -> bool {
        match self {
            Nulls::None => false,
            Nulls::All => true,
            Nulls::Some(n) => mix(row).is_multiple_of(n),
            Nulls::Runs(n) => mix(row / n).is_multiple_of(3),
        }
    }
}

/// Columns of every kind that is decoded here, of so many different values.
fn every_kind(rows: u64, seed: u64, distinct: u64, nulls: Nulls) -> RecordBatch {
    let n = move |row: u64| mix(mix(row + seed) % distinct);
    let opt = move |row: u64, value: u64| (!nulls.is_null(row)).then_some(value);
    let longs: Int64Array = (0..rows).map(|row| opt(row, n(row)).map(|n| n as i64)).collect();
    let ints: Int32Array = (0..rows).map(|row| opt(row, n(row)).map(|n| n as i32)).collect();
    let small: Int32Array = (0..rows).map(|row| opt(row, n(row)).map(|n| (n % 100) as i32)).collect();
    let text = |row: u64| {
        let n = n(row);
        match n % 5 {
            0 => String::new(),
            1 => "für ∞".repeat(n as usize / 5 % 3),
            2 => "x".repeat(n as usize / 5 % 200),
            _ => format!("a text of some length, {}", n % 99_991),
        }
    };
    let texts: StringArray = (0..rows).map(|row| opt(row, 0).map(|_| text(row))).collect();
    let ascii: StringArray = (0..rows).map(|row| opt(row, n(row)).map(|n| format!("{}", n % 1000))).collect();
    let fixed = |width: usize| {
        let cells = (0..rows).map(|row| {
            opt(row, n(row)).map(|n| n.to_le_bytes().into_iter().cycle().take(width).collect::<Vec<_>>())
        });
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(cells, width as i32).unwrap())
            as ArrayRef
    };
    let to = |array: &dyn Array, data_type: DataType| cast(array, &data_type).unwrap();
    let time = |unit| DataType::Timestamp(unit, None);
    let day_ms = to(&small, DataType::Time32(TimeUnit::Millisecond));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", to(&small, DataType::Int8)),
        ("u8", to(&small, DataType::UInt8)),
        ("i16", to(&small, DataType::Int16)),
        ("u16", to(&small, DataType::UInt16)),
        ("i32", Arc::new(ints.clone())),
        ("u32", Arc::new(ints.unary::<_, arrow::datatypes::UInt32Type>(|n| n as u32))),
        ("i64", Arc::new(longs.clone())),
        ("u64", Arc::new(longs.unary::<_, arrow::datatypes::UInt64Type>(|n| n as u64))),
        ("f16", to(&small, DataType::Float16)),
        ("f32", Arc::new(ints.unary::<_, arrow::datatypes::Float32Type>(|n| n as f32 / 3.0))),
        ("f64", Arc::new(longs.unary::<_, arrow::datatypes::Float64Type>(|n| n as f64 / 7.0))),
        ("date", to(&ints, DataType::Date32)),
        ("time ms", day_ms),
        ("time s", to(&small, DataType::Time32(TimeUnit::Second))),
        ("time us", to(&longs, DataType::Time64(TimeUnit::Microsecond))),
        ("s", to(&longs, time(TimeUnit::Second))),
        ("ms", to(&longs, time(TimeUnit::Millisecond))),
        ("us", to(&longs, DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())))),
        ("ns", to(&longs, time(TimeUnit::Nanosecond))),
        ("span", to(&longs, DataType::Duration(TimeUnit::Millisecond))),
        (
            "bool",
            Arc::new((0..rows).map(|row| opt(row, n(row)).map(|n| n % 3 == 0)).collect::<BooleanArray>()),
        ),
        ("text", Arc::new(texts.clone())),
        ("ascii", Arc::new(ascii)),
        ("large text", to(&texts, DataType::LargeUtf8)),
        ("bytes", to(&texts, DataType::Binary)),
        ("large bytes", to(&texts, DataType::LargeBinary)),
        ("view", to(&texts, DataType::Utf8View)),
        ("fixed 1", fixed(1)),
        ("fixed 5", fixed(5)),
        ("fixed 16", fixed(16)),
    ];
    let is_nullable = !matches!(nulls, Nulls::None) || seed.is_multiple_of(2);
    let columns = columns.into_iter().map(|(name, array)| (name, array, is_nullable));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn bytes_of(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    file
}

fn written(batch: &RecordBatch, properties: WriterProperties) -> Arc<File> {
    open(&Region::from_vec(bytes_of(batch, properties))).unwrap()
}

fn nulls() -> impl Strategy<Value = Nulls> {
    prop_oneof![
        Just(Nulls::None),
        Just(Nulls::All),
        (2u64..40).prop_map(Nulls::Some),
        (1u64..300).prop_map(Nulls::Runs),
    ]
}

fn properties() -> impl Strategy<Value = WriterPropertiesBuilder> {
    let codec = prop_oneof![
        Just(Compression::UNCOMPRESSED),
        Just(Compression::SNAPPY),
        Just(Compression::ZSTD(Default::default())),
        Just(Compression::LZ4_RAW),
    ];
    // Rows a row group, and a page; bytes a page, and a dictionary.
    let sizes = (1usize..4000, 1usize..1500, 64usize..20_000, prop_oneof![Just(1usize << 20), 1usize..3000]);
    (codec, any::<bool>(), any::<bool>(), sizes).prop_map(
        |(codec, is_new, keyed, (group, page, bytes, dictionary))| {
            WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(if is_new {
                    WriterVersion::PARQUET_2_0
                } else {
                    WriterVersion::PARQUET_1_0
                })
                .set_dictionary_enabled(keyed)
                .set_max_row_group_row_count(Some(group))
                .set_data_page_row_count_limit(page)
                .set_data_page_size_limit(bytes)
                .set_dictionary_page_size_limit(dictionary)
                .set_write_batch_size(64)
                .set_statistics_enabled(EnabledStatistics::None)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 48 } else { 256 }))]

    #[test]
    fn columns_are_decoded_as_the_parquet_crate_decodes_them(
        rows in 1u64..6000, seed: u64, distinct in prop_oneof![1u64..4, 4u64..300, Just(u64::MAX)], nulls in nulls(),
        properties in properties(),
    ) {
        let file = written(&every_kind(rows, seed >> 1, distinct, nulls), properties.build());
        compare(&file, &|| "written".into());
    }

    #[test]
    fn columns_of_plain_values_and_keys_are_all_decoded_here(
        rows in 1u64..3000, seed: u64, distinct in 1u64..3000, nulls in nulls(), properties in properties(),
    ) {
        let batch = every_kind(rows, seed >> 1, distinct, nulls);
        let fields = batch.schema().fields().clone();
        // What is no key is stored plainly, truth values in runs in new files.
        let properties = fields.iter().fold(properties, |properties, field| {
            let encoding = match field.data_type() {
                DataType::Boolean if seed % 2 == 0 => Encoding::RLE,
                _ => Encoding::PLAIN,
            };
            properties.set_column_encoding(ColumnPath::from(field.name().as_str()), encoding)
        });
        let (here, all) = compare(&written(&batch, properties.build()), &|| "written".into());
        prop_assert_eq!(here, all);
    }
}

/// Where both read a damaged page, they read the same; what one of them refuses, the other may read.
#[test]
fn damaged_pages_are_refused_or_read_alike() {
    let (mut alike, mut refused, mut one_sided) = (0, 0, 0);
    for (seed, codec) in
        (0..4u64).flat_map(|seed| [(seed, Compression::UNCOMPRESSED), (seed, Compression::SNAPPY)])
    {
        let nulls = [Nulls::None, Nulls::Some(3), Nulls::Runs(20), Nulls::Some(15)][seed as usize];
        let version = if seed % 2 == 0 { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(version)
            .set_data_page_row_count_limit(100)
            .set_dictionary_enabled(seed < 3)
            .set_write_batch_size(50);
        let file = bytes_of(&every_kind(250, seed, 20, nulls), properties.build());
        let undamaged = open(&Region::from_vec(file.clone())).unwrap();
        let chunk = |column: &Column| {
            place(undamaged.metadata.row_group(0).column(column.leaves.start), undamaged.footer_start)
                .unwrap()
        };
        let end = undamaged.columns.iter().map(|column| chunk(column).1).max().unwrap();
        for round in 0..if cfg!(debug_assertions) { 600 } else { 6000 } {
            let mut damaged = file.clone();
            let random = mix(round * 8 + seed);
            let at = 4 + (random % (end - 4)) as usize;
            damaged[at] = match random >> 60 {
                0..8 => damaged[at] ^ 1 << (random >> 50 & 7),
                8..11 => 0xFF,
                11..14 => 0,
                _ => (random >> 40) as u8,
            };
            let file = open(&Region::from_vec(damaged)).unwrap();
            let decoder = Decoder { file: file.clone(), group: 0 };
            let index = undamaged.columns.iter().position(|column| chunk(column).1 > at as u64).unwrap();
            let column = &file.columns[index];
            match (decoder.decode_flat(column), decoder.decode_by_parquet(column)) {
                (Ok(None), _) => {}
                (Ok(Some(found)), Ok(expected)) => {
                    let what = || format!("seed {seed}, round {round}, byte {at}, {}", column.decoded_type);
                    assert!(found.array == expected, "{}", what());
                    found.array.to_data().validate_full().unwrap();
                    alike += 1;
                }
                (Err(_), Err(_)) => refused += 1,
                _ => one_sided += 1,
            }
        }
    }
    println!("{alike} read alike, {refused} refused, {one_sided} read by one of the two");
    assert!(alike > 100 && refused > 100 && one_sided * 10 < alike + refused);
}

#[test]
fn real_files_are_decoded_as_the_parquet_crate_decodes_them() {
    let Some(folder) = env::var_os("FOREBAY_TEST_DATA") else {
        println!("skipped: FOREBAY_TEST_DATA is not set");
        return;
    };
    let (mut here, mut all) = (0, 0);
    let mut folders = vec![Path::new(&folder).to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet")
                && let Ok(file) = open(&Region::from_vec(fs::read(&path).unwrap()))
            {
                let found = compare(&file, &|| path.display().to_string());
                (here, all) = (here + found.0, all + found.1);
            }
        }
    }
    println!("{here} of {all} columns of row groups were decoded here");
    assert!(here >= 50, "{here} of {all}");
}

#[test]
fn a_buffer_is_used_again_when_nobody_holds_the_array() {
    let batch = every_kind(1000, 0, u64::MAX, Nulls::Some(7));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(500)).build();
    let file = written(&batch, properties);
    let column = batch.schema().index_of("f64").unwrap();
    let decode = |group| {
        let decoder = Decoder { file: file.clone(), group };
        decoder.decode_flat(&file.columns[column]).unwrap().unwrap().array
    };
    let values = |array: &ArrayRef| array.as_primitive::<arrow::datatypes::Float64Type>().values().as_ptr();
    let first = decode(0);
    let (place, copy) = (values(&first), first.slice(3, 5));
    let second = decode(1);
    assert_ne!(values(&second), place, "the first is still there");
    drop(first);
    assert_ne!(values(&decode(1)), place, "a part of it is still there");
    drop(copy);
    let (one, other) = (decode(1), decode(1));
    assert!([&one, &other].map(values).contains(&place));
    assert_eq!(&decode(1), &batch.column(column).slice(500, 500));
}
