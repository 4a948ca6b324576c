//! Damaged and forged Parquet files are refused, or read as something clean: no panic, no hang, no memory beyond what a
//! file's size can justify.
//!
//! `FOREBAY_MUTANTS` sets how many random mutants are tried (5,000 unless set).

mod common;
mod forge;

use std::env;
use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use common::cases::{Cases, Random};
use common::small::write_seeds;
use common::test_data;
use forebay::ErrorKind;
use forge::{BYTE_ARRAY, Column, INT32, Page, Thrift, varint};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

#[test]
fn files_that_broke_other_readers_are_refused_or_read() {
    let Some((folder, _)) = test_data() else { return };
    let mut cases = Cases::new();
    for name in ["parquet-bad", "parquet-fuzz"] {
        for entry in fs::read_dir(folder.join("malformed").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let len = fs::metadata(&path).unwrap().len() as usize;
            cases.file(&path, len, &|| path.display().to_string());
        }
    }
    assert!(cases.read + cases.refused > 60);
}

/// Small files of every encoding and codec, as (name, file).
fn parquet_files() -> Vec<(String, Vec<u8>)> {
    let words = [Some("für"), None, Some(""), Some("training"), Some("training data")];
    let lists = |first| {
        let rows = [
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![]),
            Some(vec![first, Some(4)]),
            Some(vec![Some(5)]),
        ];
        ListArray::from_iter_primitive::<Int64Type, _, _>(rows)
    };
    let text: StringArray = words.into_iter().collect();
    let holes = lists(None);
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::new(text.clone()) as ArrayRef),
        (Arc::new(Field::new("h", holes.data_type().clone(), true)), Arc::new(holes)),
    ]);
    let tensor = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..5).map(|i| (i != 2).then(|| vec![Some(i), Some(-i)])),
        2,
    );
    let decimals = Decimal128Array::from(vec![1, 2, 3, 4, 5]).with_precision_and_scale(20, 2).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "i",
            Arc::new(Int32Array::from(vec![Some(1), None, Some(-3), Some(4), Some(1 << 20)])) as ArrayRef,
            true,
        ),
        ("f", Arc::new(Float64Array::from(vec![0.5, 1.5, f64::NAN, -1.0, 1e300])), false),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, Some(true)])), true),
        ("t", Arc::new(text.clone()), true),
        ("x", Arc::new(FixedSizeBinaryArray::try_from_iter((0u8..5).map(|i| [i; 3])).unwrap()), false),
        ("c", Arc::new(decimals), false),
        ("l", Arc::new(lists(Some(3))), true),
        ("v", Arc::new(tensor), true),
        ("s", Arc::new(pair), true),
    ])
    .unwrap();
    let builder = || WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    let mut files = Vec::new();
    for (name, codec) in [
        ("plain", Compression::UNCOMPRESSED),
        ("snappy", Compression::SNAPPY),
        ("gzip", Compression::GZIP(Default::default())),
        ("brotli", Compression::BROTLI(Default::default())),
        ("lz4", Compression::LZ4),
        ("lz4 raw", Compression::LZ4_RAW),
        ("zstd", Compression::ZSTD(Default::default())),
    ] {
        let version =
            if files.len() % 2 == 0 { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 };
        let properties = builder().set_compression(codec).set_writer_version(version);
        files.push((name.to_owned(), written(&batch, properties.build())));
    }
    let mut delta = builder().set_dictionary_enabled(false).set_max_row_group_row_count(Some(3));
    for (column, encoding) in [
        ("i", Encoding::DELTA_BINARY_PACKED),
        ("f", Encoding::BYTE_STREAM_SPLIT),
        ("b", Encoding::RLE),
        ("t", Encoding::DELTA_BYTE_ARRAY),
        ("x", Encoding::DELTA_BYTE_ARRAY),
    ] {
        delta = delta.set_column_encoding(ColumnPath::from(column), encoding);
    }
    let inner = ColumnPath::new(vec!["s".into(), "t".into()]);
    let delta = delta.set_column_encoding(inner, Encoding::DELTA_LENGTH_BYTE_ARRAY);
    files.push(("delta".into(), written(&batch, delta.build())));
    files
}

fn written(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    file
}

#[test]
#[ignore = "writes what fuzzing begins with, where FOREBAY_SEEDS says"]
fn seeds() {
    write_seeds(parquet_files().into_iter().map(|(_, file)| ("parquet", file)));
}

#[test]
fn undamaged_files_are_read() {
    let mut cases = Cases::new();
    for (name, file) in parquet_files() {
        let error = cases.bytes(&file, &|| name.clone());
        assert!(error.is_none(), "{name}: {error:?}");
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let mut cases = Cases::new();
    for (name, file) in parquet_files() {
        let footer = u32::from_le_bytes(file[file.len() - 8..][..4].try_into().unwrap()) as usize + 8;
        // The footer at every byte, the pages now and then.
        let cuts = (0..file.len()).filter(|cut| *cut > file.len() - footer || cut % 31 == 0);
        for cut in cuts {
            let error = cases.bytes(&file[..cut], &|| format!("{name} cut at {cut}")).expect("an error");
            let expected = if cut < 4 { ErrorKind::Unsupported } else { ErrorKind::Malformed };
            assert_eq!(error.kind(), expected, "{name} cut at {cut}: {error}");
        }
    }
}

#[test]
fn flipped_bits_are_refused_or_read() {
    let mut cases = Cases::new();
    for (number, (name, file)) in parquet_files().into_iter().enumerate() {
        for at in 0..file.len() {
            let bit = (at + number) % 8;
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            cases.bytes(&damaged, &|| format!("{name}, bit {bit} of byte {at} flipped"));
        }
    }
}

#[test]
fn random_mutants_are_refused_or_read() {
    let mutants = env::var("FOREBAY_MUTANTS").map_or(5_000, |count| count.parse().unwrap());
    let files = parquet_files();
    let mut cases = Cases::new();
    for seed in 0..mutants {
        let (name, file) = &files[seed % files.len()];
        let mut random = Random(seed as u64);
        let mut mutant = file.clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut mutant);
        }
        cases.bytes(&mutant, &|| format!("{name}, mutant {seed}"));
    }
}

/// The forged file must be refused, with `kind` and `words`.
fn refused(what: &str, file: &[u8], kind: ErrorKind, words: &str) {
    let error = Cases::new().bytes(file, &|| what.to_owned()).unwrap_or_else(|| panic!("{what} was read"));
    assert_eq!(error.kind(), kind, "{what}: {error}");
    assert!(error.message().contains(words), "{what}: {error}");
}

fn ints(pages: Vec<Page>, rows: i64) -> Vec<u8> {
    forge::file(&[Column::new("n", INT32, pages)], rows)
}

fn words(pages: Vec<Page>, rows: i64) -> Vec<u8> {
    forge::file(&[Column::new("t", BYTE_ARRAY, pages)], rows)
}

#[test]
fn what_the_forge_makes_is_read() {
    let mut cases = Cases::new();
    let numbers = ints(vec![Page::data(3, 0, [1i32, 2, 3].map(i32::to_le_bytes).concat())], 3);
    assert!(cases.bytes(&numbers, &|| "numbers".into()).is_none());
    let text = vec![Page::dictionary(1, b"\x02\0\0\0ab".to_vec()), Page::data(4, 8, vec![0, 8])];
    assert!(cases.bytes(&words(text, 4), &|| "words".into()).is_none());
}

#[test]
fn pages_do_not_inflate_beyond_the_cap_or_their_headers() {
    let zeros = vec![0u8; 100 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 1 << 16, 1, 22);
    brotli.write_all(&zeros).unwrap();
    let brotli = brotli.into_inner();
    let zstd = zstd::bulk::compress(&zeros, 1).unwrap();
    for (codec, bomb) in [(2, gzip), (4, brotli), (6, zstd)] {
        // No more than the header says, which is little here,
        let page = Page::data(1, 0, bomb.clone()).inflating_to(4);
        let file = forge::file(&[Column::new("n", INT32, vec![page]).compressed(codec)], 1);
        let error = Cases::new().bytes(&file, &|| format!("codec {codec}")).expect("an error");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
    for codec in [1, 2, 4, 5, 6, 7] {
        // and too much here.
        let page = Page::data(1, 0, vec![0; 20]).inflating_to(i32::MAX);
        let file = forge::file(&[Column::new("n", INT32, vec![page]).compressed(codec)], 1);
        refused(&format!("codec {codec}"), &file, ErrorKind::TooLarge, "a page");
    }
}

#[test]
fn counts_are_not_believed() {
    let page = || Page::data(3, 0, [1i32, 2, 3].map(i32::to_le_bytes).concat());
    refused("too many rows", &ints(vec![page()], 1 << 40), ErrorKind::TooLarge, "values");
    refused("rows without a page", &ints(vec![page()], 1000), ErrorKind::Malformed, "expected the 1000 rows");
    refused("fewer rows than values", &ints(vec![page()], 2), ErrorKind::Malformed, "page of 3");
    refused("less than no rows", &ints(vec![page()], -1), ErrorKind::Malformed, "-1");
    let dictionary = Page::dictionary(i32::MAX, b"\x01\0\0\0".to_vec());
    refused(
        "dictionary",
        &ints(vec![dictionary, Page::data(1, 8, vec![0, 2])], 1),
        ErrorKind::Malformed,
        "dictionary of",
    );
    let dictionary = Page::dictionary(i32::MAX, b"\x01\0\0\0x".to_vec());
    refused(
        "words",
        &words(vec![dictionary, Page::data(1, 8, vec![0, 2])], 1),
        ErrorKind::Malformed,
        "dictionary of",
    );
    let mut bomb = Page::data(3, 0, vec![0; 12]);
    bomb.stored = i32::MAX;
    refused("stored bytes", &ints(vec![bomb], 3), ErrorKind::Malformed, "that claims 2147483647");
}

#[test]
fn text_does_not_grow_beyond_the_cap() {
    let long = [&(1u32 << 20).to_le_bytes()[..], &vec![b'x'; 1 << 20]].concat();
    // A million times a million bytes, in one run of one key.
    let rows = 1 << 20;
    let keys = [vec![0], varint(u64::from(2 * rows as u32))].concat();
    let pages = vec![Page::dictionary(1, long.clone()), Page::data(rows, 8, keys)];
    refused("dictionary", &words(pages, rows.into()), ErrorKind::TooLarge, "text");
    // As many keys, all of which mean the short word.
    let dictionary = [&b"\x01\0\0\0a"[..], &long].concat();
    let keys = [vec![1], varint(u64::from(2 * rows as u32)), vec![0]].concat();
    let pages = vec![Page::dictionary(2, dictionary), Page::data(rows, 8, keys)];
    assert!(Cases::new().bytes(&words(pages, rows.into()), &|| "short words".into()).is_none());

    // Each word is one letter longer than the one before it: so many letters make half as many squared.
    let deltas = |first: u64, least: u64| {
        let head = [varint(128), varint(4), varint(rows as u64), varint(first)].concat();
        let block = [varint(least), vec![0; 4]].concat();
        [head, block.repeat((rows as usize - 1).div_ceil(128))].concat()
    };
    let grown = [deltas(0, 2), deltas(2, 0), vec![b'x'; rows as usize]].concat();
    refused("delta", &words(vec![Page::data(rows, 7, grown)], rows.into()), ErrorKind::TooLarge, "text");
    // More lengths than there are rows.
    for encoding in [5, 6, 7] {
        let lengths = [varint(128), varint(4), varint(1 << 50), varint(0), vec![0; 100]].concat();
        let file = if encoding == 5 {
            ints(vec![Page::data(3, encoding, lengths)], 3)
        } else {
            words(vec![Page::data(3, encoding, lengths)], 3)
        };
        refused("lengths", &file, ErrorKind::Malformed, "contradict");
    }
}

#[test]
fn levels_do_not_grow_beyond_the_cap() {
    let rows = i32::MAX;
    let run = |value: u8| {
        let run = [varint(2 * rows as u64), vec![value]].concat();
        [&(run.len() as u32).to_le_bytes()[..], &run].concat()
    };
    let mut column = Column::new("n", INT32, vec![Page::data(rows, 0, [run(1), run(0)].concat())]);
    column.repeated = true;
    column.num_values = rows.into();
    refused("levels", &forge::file(&[column], 1), ErrorKind::TooLarge, "values");
}

#[test]
fn schemas_are_not_believed() {
    let element = |name: &str, children: i64| {
        Thrift::default().i32(3, 0).binary(4, name.as_bytes()).i32(5, children).end()
    };
    let leaf = || Thrift::default().i32(1, 1).i32(3, 0).binary(4, b"leaf").end();
    let file = |schema: Vec<Vec<u8>>| {
        let footer = Thrift::default().i32(1, 1).structs(2, &schema).i64(3, 0).structs(4, &[]).end();
        forge::framed(&[], &footer)
    };
    let mut cases = Cases::new();
    assert!(cases.bytes(&file(vec![element("root", 1), leaf()]), &|| "a schema".into()).is_none());
    for children in [2, i64::from(i32::MAX), -1] {
        let schema = file(vec![element("root", children), leaf()]);
        refused(&format!("{children} children"), &schema, ErrorKind::Malformed, "children");
    }
    let mut deep: Vec<_> = (0..10_000).map(|_| element("group", 1)).collect();
    deep.push(leaf());
    refused("a deep schema", &file(deep), ErrorKind::Malformed, "64 deep");
    // A list that claims as many structs as there are bytes, each of which takes many once read.
    let groups = Thrift::default().i32(1, 1).structs(2, &[element("root", 1), leaf()]).i64(3, 0).list_head(
        4,
        12,
        1 << 20,
    );
    let footer = [groups.0, vec![0; 1 << 20]].concat();
    refused("a long list", &forge::framed(&[], &footer), ErrorKind::Malformed, "a list of more elements");
}

#[test]
fn fixed_sizes_out_of_nowhere_are_refused() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None]);
    let batch = RecordBatch::try_from_iter_with_nullable([("l", Arc::new(lists) as ArrayRef, true)]).unwrap();
    for n in [i32::MAX, -1, 0, 3] {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let schema = Schema::new(vec![Field::new("l", DataType::FixedSizeList(item, n), true)]);
        let claim = parquet::arrow::encode_arrow_schema(&schema);
        let claim = parquet::file::metadata::KeyValue::new("ARROW:schema".to_owned(), claim);
        let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
            .with_skip_arrow_metadata(true)
            .with_properties(WriterProperties::builder().set_key_value_metadata(Some(vec![claim])).build());
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new_with_options(&mut file, batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let error = Cases::new().bytes(&file, &|| format!("lists of {n}")).expect("an error");
        assert!(error.message().contains("column 'l'"), "{error}");
    }
}

#[test]
fn places_outside_the_file_are_refused() {
    let page = || Page::data(1, 0, vec![0; 4]);
    for offset in [-1, 0, 3, 1 << 20, i64::MAX] {
        let mut column = Column::new("n", INT32, vec![page()]);
        column.offset = Some(offset);
        refused(
            &format!("at {offset}"),
            &forge::file(&[column], 1),
            ErrorKind::Malformed,
            "column 'n': expected its pages",
        );
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let column = || Column::new("secret", INT32, vec![Page::data(1, 0, vec![0; 4])]);
    let mut encrypted = column();
    encrypted.encrypted = true;
    refused(
        "encrypted",
        &forge::file(&[encrypted], 1),
        ErrorKind::Unsupported,
        "column 'secret' is encrypted",
    );
    let lzo = column().compressed(3);
    refused(
        "LZO",
        &forge::file(&[lzo], 1),
        ErrorKind::Unsupported,
        "column 'secret': its pages are compressed with LZO",
    );
    let mut elsewhere = column();
    elsewhere.file = Some("other.parquet");
    refused(
        "elsewhere",
        &forge::file(&[elsewhere], 1),
        ErrorKind::Unsupported,
        "column 'secret': its values lie in another",
    );
    let mut file = forge::file(&[column()], 1);
    let len = file.len();
    file[len - 1] = b'E';
    refused("encrypted footer", &file, ErrorKind::Unsupported, "encrypted footer");
}

#[test]
fn checksums_are_checked() {
    let bytes = [7, 0, 0, 0];
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    let mut page = Page::data(1, 0, bytes.to_vec());
    page.crc = Some(crc.sum() as i32);
    assert!(Cases::new().bytes(&ints(vec![page], 1), &|| "right".into()).is_none());
    let mut page = Page::data(1, 0, bytes.to_vec());
    page.crc = Some(!crc.sum() as i32);
    refused("wrong", &ints(vec![page], 1), ErrorKind::Mismatch, "column 'n': expected a page whose checksum");
}
