//! How files open: who decides what their columns are, what they are recognised by, and how `inspect` tells of them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, UInt16Type};
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::format::{CsvOptions, FileFormat, TokenSpec, tfrecord};
use crate::layout::DType;

fn folder_of(files: &[(&str, &[u8])]) -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = files.iter().map(|(name, bytes)| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    });
    let paths = paths.collect();
    (folder, paths)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn records(payloads: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    for payload in payloads {
        let len = (payload.len() as u64).to_le_bytes();
        file.extend(len);
        file.extend(tfrecord::masked_crc(&len).to_le_bytes());
        file.extend_from_slice(payload);
        file.extend(tfrecord::masked_crc(payload).to_le_bytes());
    }
    file
}

/// An example of one feature, `x` = [1.0, 2.0].
const EXAMPLE: &[u8] = b"\x0A\x13\x0A\x11\x0A\x01x\x12\x0C\x12\x0A\x0A\x08\x00\x00\x80\x3F\x00\x00\x00\x40";

fn array(values: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 1][..], &(values.len() as u32).to_be_bytes(), values].concat()
}

/// How each column of the first file is read.
fn access(dataset: &Dataset) -> Vec<String> {
    dataset.shards().unwrap()[0].access.iter().map(|(name, how)| format!("{name}: {how}")).collect()
}

#[test]
fn class_names_stay_with_their_column() {
    let side = |name: &str, names: &str| {
        let info =
            format!(r#"{{"info":{{"features":{{"{name}":{{"names":{names},"_type":"ClassLabel"}}}}}}}}"#);
        let metadata = HashMap::from([("huggingface".to_owned(), info)]);
        let fields = vec![
            Field::new(name, DataType::Int64, false),
            Field::new(format!("{name}2"), DataType::Int64, false),
        ];
        let column = Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef;
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Dataset::from_batches([RecordBatch::try_new(schema, vec![column.clone(), column]).unwrap()]).unwrap()
    };
    let (a, b) = (side("a", r#"["no","yes"]"#), side("b", r#"["x"]"#));
    let both = a.zip(&b).unwrap().rename("a", "c").unwrap().select(["b", "c", "b2"]).unwrap();
    assert_eq!(both.class_names("c").unwrap().unwrap(), ["no", "yes"]);
    assert_eq!(both.class_names("b").unwrap().unwrap(), ["x"]);
    assert_eq!(both.class_names("b2").unwrap(), None);
    assert_eq!(both.class_names("a").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Dataset::from_tensor("x", &[], vec![0u8]).unwrap().class_names("x").unwrap(), None);
}

#[test]
fn the_first_csv_file_decides_for_those_after_it() {
    let (_folder, paths) = folder_of(&[
        ("0.csv", b"a,b\n1,x\n"),
        ("1.csv", b"a,b\n2,3\n"),
        ("2.csv", b"a,b\n2.5,y\n"),
        ("3.csv", b"b,a\ny,4\n"),
        ("4.csv", b"a,c\n1,x\n"),
    ]);
    let types = |dataset: &Dataset| {
        dataset.schema().fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
    };
    assert_eq!(types(&Dataset::open(&paths[1]).unwrap()), [DataType::Int64, DataType::Int64]);
    let two = Dataset::open(&paths[..2]).unwrap();
    assert_eq!(types(&two), [DataType::Int64, DataType::Utf8]);
    let rows = two.gather(&[0, 1]).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(rows.column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["x", "3"]);
    let folder = paths[0].parent().unwrap();
    let by_pattern = Dataset::open(folder.join("[0-2].csv")).unwrap();
    let three = Dataset::open(&paths[..3]).unwrap();
    assert_eq!(by_pattern.schema(), three.schema());
    let error = three.gather(&[2]).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(0)));
    assert_eq!(error.location().path.as_deref(), Some(paths[2].as_path()));
    let turned = Dataset::open([&paths[0], &paths[3]]).unwrap().gather(&[0, 1]).unwrap();
    assert_eq!(turned.column(0).as_primitive::<Int64Type>().values(), &[1, 4]);
    for other in [Dataset::open([&paths[0], &paths[4]]), Dataset::open(folder.join("[04].csv"))] {
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
    }
}

#[test]
fn the_first_tfrecord_file_decides_for_those_after_it() {
    let (folder, _paths) = folder_of(&[
        ("0.tfrecord", &records(&[EXAMPLE])),
        ("1.tfrecord", &records(&[b"no example"])),
        ("2.tfrecord", &records(&[EXAMPLE, EXAMPLE])),
    ]);
    let open = |pattern: &str| Dataset::open(folder.path().join(pattern)).unwrap();
    let examples = open("[02].tfrecord");
    assert_eq!((examples.len(), examples.schema().field(0).name().as_str()), (3, "x"));
    assert_eq!(open("[01].tfrecord").gather(&[1]).unwrap_err().kind(), ErrorKind::Malformed);
    let raw = open("[12].tfrecord");
    assert_eq!(raw.gather(&[0, 1]).unwrap().column(0).as_binary::<i32>().value(1), EXAMPLE);
}

#[test]
fn each_column_says_how_it_is_read_and_why() {
    let (_folder, paths) = folder_of(&[
        ("a.csv", b"n,t\n1,x\n"),
        ("a.csv.gz", &gzip(b"n,t\n1,x\n")),
        ("a.tfrecord", &records(&[EXAMPLE])),
        ("b.tfrecord", &records(&[b"no example"])),
        ("a.txt", b"one\ntwo\n"),
        ("a-idx1-ubyte", &array(b"123")),
        ("a-idx1-ubyte.gz", &gzip(&array(b"123"))),
        ("a.bin", &[0; 2 * 14]),
    ]);
    let parsed = "each record is decoded when it is read";
    let inflated = "chunked (gzip: inflated whole, kept in memory";
    for (path, options, expected) in [
        (
            0,
            Dataset::options(),
            vec![format!("n: parsed (CSV: {parsed})"), format!("t: parsed (CSV: {parsed})")],
        ),
        (
            1,
            Dataset::options().csv(CsvOptions::new().select(["t"])),
            vec![format!("t: {inflated}; then parsed as CSV: {parsed})")],
        ),
        (
            1,
            Dataset::options().csv(CsvOptions::new().select(["n"])).decode_budget_bytes(1),
            vec![format!(
                "n: chunked (gzip: inflated whole, again when it had to make room; then parsed as CSV: {parsed})"
            )],
        ),
        (2, Dataset::options(), vec![format!("x: parsed (TFRecord of tf.train.Example: {parsed})")]),
        (3, Dataset::options(), vec![format!("record: parsed (TFRecord: {parsed})")]),
        (4, Dataset::options(), vec![format!("text: parsed (lines of text: {parsed})")]),
        (5, Dataset::options(), vec!["data: mapped".to_owned()]),
        (
            5,
            Dataset::options().preload(Preload::Copy),
            vec!["data: in memory (a copy of the file)".to_owned()],
        ),
        (6, Dataset::options(), vec![format!("data: {inflated})")]),
        (
            7,
            Dataset::options().tokens(TokenSpec::new(DType::U16, 4)),
            vec!["tokens: mapped (2 tokens left over at the end)".to_owned()],
        ),
        (7, Dataset::options().tokens(TokenSpec::new(DType::U16, 7)), vec!["tokens: mapped".to_owned()]),
    ] {
        assert_eq!(access(&options.open(&paths[path]).unwrap()), expected, "{}", paths[path].display());
    }
    let memory = Dataset::from_tensor("x", &[], vec![0u8]).unwrap();
    assert_eq!(access(&memory), ["x: in memory"]);
}

#[test]
fn a_file_without_a_mark_is_compressed_only_if_its_name_says_so() {
    // As gzip begins, and a token or a record may.
    let tokens = [0x1F, 0x8B, 1, 0, 2, 0, 3, 0];
    let (_folder, paths) = folder_of(&[
        ("plain.bin", &tokens),
        ("packed.bin.gz", &gzip(&tokens)),
        ("packed.bin.zst", &zstd::encode_all(&tokens[..], 0).unwrap()),
    ]);
    let spec = TokenSpec::new(DType::U16, 2);
    for path in &paths {
        let by_tokens = Dataset::options().tokens(spec.clone()).open(path).unwrap();
        let by_fixed = Dataset::options().fixed("t:u16[2]".parse().unwrap()).open(path).unwrap();
        for dataset in [by_tokens, by_fixed] {
            let rows = dataset.gather(&[0, 1]).unwrap();
            let values = rows.column(0).as_fixed_size_list().values().as_primitive::<UInt16Type>().values();
            assert_eq!(values, &[0x8B1F, 1, 2, 3], "{}", path.display());
        }
    }
}

#[test]
fn two_layers_of_compression_and_unknown_formats_are_refused() {
    let (_folder, paths) =
        folder_of(&[("a.csv.gz.gz", &gzip(&gzip(b"a\n1\n"))), ("a.dat", b"?"), ("b.gz", b"not gzip")]);
    for (path, kind) in [(0, ErrorKind::Unsupported), (1, ErrorKind::Unsupported), (2, ErrorKind::Malformed)]
    {
        let error = Dataset::open(&paths[path]).unwrap_err();
        assert_eq!((error.kind(), error.location().path.as_deref()), (kind, Some(paths[path].as_path())));
    }
    let lines = Dataset::options().format(FileFormat::Text).open(&paths[1]).unwrap();
    assert_eq!(lines.len(), 1);
}

#[test]
fn an_index_file_saves_the_scan() {
    let (folder, paths) = folder_of(&[
        ("a.csv", b"a\n1\n2\n"),
        ("a.tfrecord", &records(&[EXAMPLE, EXAMPLE])),
        ("a.txt", b"1\n2"),
        ("a-idx1-ubyte", &array(b"12")),
        ("b.csv.gz", &gzip(b"a\n1\n2\n")),
    ]);
    let scans = |path: &Path| {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let listen = move |_: ScanProgress<'_>| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let dataset = Dataset::options().on_scan(listen).open(path).unwrap();
        (dataset.gather(&[1, 0]).unwrap(), count.load(Ordering::Relaxed) > 0)
    };
    let before: Vec<_> = paths.iter().map(|path| scans(path)).collect();
    let written = Dataset::options().write_index(&paths[..]).unwrap();
    let names: Vec<_> =
        written.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.csv.forebay-index", "a.tfrecord.forebay-index", "a.txt.forebay-index"]);
    for (number, path) in paths.iter().enumerate() {
        let (rows, scanned) = scans(path);
        assert_eq!(rows, before[number].0);
        assert_eq!(
            (before[number].1, scanned),
            [(true, false), (false, false), (true, true)][[0, 0, 0, 1, 2][number]]
        );
    }
    // Other options find other records: the index is passed over.
    let semicolons = Dataset::options().csv(CsvOptions::new().header(false)).open(&paths[0]).unwrap();
    assert_eq!(semicolons.len(), 3);
}

/// A Parquet file of two columns, `num_rows` rows and four to a row group.
fn parquet(num_rows: i64) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new((0..num_rows).collect::<Int64Array>()) as ArrayRef),
        ("b", Arc::new((0..num_rows).rev().collect::<Int64Array>()) as ArrayRef),
    ])
    .unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn columns_of_the_next_two_row_groups_are_decoded_ahead_once_where_rows_come_in_order_and_fit() {
    let (_folder, paths) = folder_of(&[("a.parquet", &parquet(20))]);
    let ahead = |dataset: &Dataset, chunk: usize| {
        let table = &dataset.tables()[0];
        (0..9).take_while(|_| table.decode_ahead(chunk, &[0, 1])).count()
    };
    let dataset = Dataset::open(&paths[0]).unwrap();
    assert_eq!([0, 0, 1, 4].map(|chunk| ahead(&dataset, chunk)), [4, 0, 2, 0]);
    // What was decoded ahead is what is read.
    let table = &dataset.tables()[0];
    let has = |chunk, column| {
        table.decoded.try_get((chunk, column), || Err(Error::invalid("not decoded"))).unwrap().is_ok()
    };
    assert!((1..=3).all(|chunk| has(chunk, 0) && has(chunk, 1)));
    assert!(!has(0, 0) && !has(4, 1));
    let rows = dataset.gather(&(0..20).collect::<Vec<_>>()).unwrap();
    assert!(rows.column(0).as_primitive::<Int64Type>().values().iter().copied().eq(0..20));

    // Half of the columns are wanted.
    let dataset = Dataset::open(&paths[0]).unwrap();
    assert!(dataset.tables()[0].decode_ahead(0, &[1]) && dataset.tables()[0].decode_ahead(0, &[1]));
    assert!(!dataset.tables()[0].decode_ahead(0, &[1]));
    // Rows that do not come as they lie.
    assert_eq!(ahead(&Dataset::open(&paths[0]).unwrap().subset(&[3, 1]).unwrap(), 0), 0);
    // A budget without room, once it is known what a row group takes.
    let small = Dataset::options().decode_budget_bytes(100).open(&paths[0]).unwrap();
    small.gather(&[0]).unwrap();
    assert_eq!(ahead(&small, 0), 0);
    // Room for three: what no longer fits beside two is left.
    let bytes = |count: u64| count * 2 * dataset.tables()[0].decoded.bytes_of((1, 1));
    for (budget, decoded) in [(bytes(1), 0), (bytes(2), 1), (bytes(3), 3), (bytes(4), 4)] {
        let dataset = Dataset::options().decode_budget_bytes(budget).open(&paths[0]).unwrap();
        dataset.gather(&[0]).unwrap();
        assert_eq!(ahead(&dataset, 0), decoded, "{budget}");
    }
}

#[test]
fn a_damaged_row_group_ahead_is_told_by_who_comes_to_it() {
    let mut bytes = parquet(20);
    // The header of the first page of the second row group: the file begins with four bytes, a column takes the same each.
    let starts: Vec<_> = bytes.windows(4).enumerate().filter(|(_, w)| w[..3] == [0x15, 0x04, 0x15]).collect();
    let second = starts[2].0;
    bytes[second..second + 2].fill(0xFF);
    let (_folder, paths) = folder_of(&[("a.parquet", &bytes)]);
    let dataset = Dataset::open(&paths[0]).unwrap();
    let table = &dataset.tables()[0];
    while table.decode_ahead(0, &[0, 1]) {}
    assert!(table.decode_shared(0, &[0, 1], true).is_ok());
    let error = table.decode_shared(1, &[0, 1], true).unwrap_err();
    assert_eq!(error.location().record, Some(1), "{error}");
    assert!(table.decode_shared(2, &[0, 1], true).is_ok());
}
