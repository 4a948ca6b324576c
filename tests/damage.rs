//! Damaged and forged files are refused, or read as something clean: no panic, no hang, no memory beyond what a file's
//! size can justify.
//!
//! Each case writes a file, opens it, gathers its rows and lets a loader go through it. An error must name the file.
//! `FOREBAY_MUTANTS` sets how many random mutants are tried (20,000 unless set).

mod common;

use std::env;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UnionFields};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter};
use common::cases::{Cases, Random};
use common::small::{gzip, npy, write_seeds};
use forebay::format::FixedSpec;
use forebay::{ErrorKind, OpenOptions};

/// Random mutants, unless told otherwise.
const MUTANTS: usize = 20_000;

/// Small tables of every kind of column, as (name, file).
fn arrow_files() -> Vec<(String, Vec<u8>)> {
    let tables = [
        ("numbers", numbers()),
        ("text", text()),
        ("lists", lists()),
        ("nested", nested()),
        ("rare", rare()),
    ];
    let mut files = Vec::new();
    let plain = IpcWriteOptions::default;
    for (name, table) in &tables {
        files.push((format!("{name} file"), ipc_file(table, plain())));
        files.push((format!("{name} stream"), ipc_stream(table, plain())));
    }
    for (codec, compression) in [("lz4", CompressionType::LZ4_FRAME), ("zstd", CompressionType::ZSTD)] {
        let options = || plain().try_with_compression(Some(compression)).unwrap();
        files.push((format!("{codec} file"), ipc_file(&repetitive(), options())));
        files.push((format!("{codec} stream"), ipc_stream(&repetitive(), options())));
    }
    files
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn numbers() -> RecordBatch {
    table(vec![
        ("i", Arc::new(Int32Array::from(vec![Some(1), None, Some(-3), Some(4), None]))),
        ("f", Arc::new(Float64Array::from(vec![0.5, 1.5, f64::NAN, -1.0, 1e300]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, Some(true)]))),
    ])
}

fn text() -> RecordBatch {
    let words = [Some("für"), None, Some(""), Some("training"), Some("∞")];
    table(vec![
        ("t", Arc::new(StringArray::from_iter(words))),
        ("l", Arc::new(LargeBinaryArray::from_iter(words.map(|word| word.map(str::as_bytes))))),
        ("x", Arc::new(FixedSizeBinaryArray::try_from_iter((0u8..5).map(|i| [i; 3])).unwrap())),
    ])
}

fn lists() -> RecordBatch {
    let rows = |nulls: bool| {
        let rows = [Some(vec![1, 2, 3]), None, Some(vec![]), Some(vec![4]), Some(vec![5, 6])];
        rows.map(move |row| row.map(|items| items.into_iter().map(move |i| (!nulls || i != 4).then_some(i))))
    };
    table(vec![
        ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows(false)))),
        ("n", Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(rows(true)))),
        ("v", fixed_size_list((0..15).map(|i| i as f32).collect::<Float32Array>(), 3)),
    ])
}

fn fixed_size_list(values: impl Array + 'static, n: i32) -> ArrayRef {
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    Arc::new(FixedSizeListArray::new(item, n, Arc::new(values), None))
}

fn nested() -> RecordBatch {
    let words: DictionaryArray<Int8Type> =
        [Some("a"), None, Some("bc"), Some("a"), Some("bc")].into_iter().collect();
    let fields = vec![Field::new("i", DataType::Int32, true), Field::new("t", DataType::Utf8, true)];
    let columns: Vec<ArrayRef> =
        vec![numbers().column(0).clone(), Arc::new(StringArray::from(vec!["p", "q", "r", "s", "t"]))];
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for i in 0..5 {
        map.keys().append_value("k");
        map.values().append_value(i);
        map.append(i != 2).unwrap();
    }
    table(vec![
        ("d", Arc::new(words)),
        ("s", Arc::new(StructArray::new(fields.into(), columns, None))),
        (
            "v",
            Arc::new(StringViewArray::from(vec!["short", "a text longer than twelve bytes", "", "x", "y"])),
        ),
        ("m", Arc::new(map.finish())),
    ])
}

fn rare() -> RecordBatch {
    let ends = Int16Array::from(vec![2, 5]);
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![7, 8, 9, 10, 11]));
    let view =
        ListViewArray::new(item, vec![0, 1, 2, 0, 3].into(), vec![2, 2, 0, 5, 1].into(), ints.clone(), None);
    let fields: UnionFields = [
        (0, Arc::new(Field::new("i", DataType::Int32, true))),
        (1, Arc::new(Field::new("t", DataType::Utf8, true))),
    ]
    .into_iter()
    .collect();
    let words: ArrayRef = Arc::new(StringArray::from(vec!["p", "q", "r", "s", "t"]));
    let kinds = ScalarBuffer::from(vec![0i8, 1, 0, 1, 1]);
    let dense = UnionArray::try_new(
        fields.clone(),
        kinds.clone(),
        Some(vec![0, 0, 1, 1, 2].into()),
        vec![ints.clone(), words.clone()],
    );
    let sparse = UnionArray::try_new(fields, kinds, None, vec![ints, words]);
    table(vec![
        ("r", Arc::new(RunArray::<Int16Type>::try_new(&ends, &StringArray::from(vec!["x", "y"])).unwrap())),
        ("v", Arc::new(view)),
        ("d", Arc::new(dense.unwrap())),
        ("s", Arc::new(sparse.unwrap())),
        ("n", Arc::new(NullArray::new(5))),
        ("c", Arc::new(Decimal128Array::from(vec![1, 2, 3, 4, 5]))),
    ])
}

/// Columns that compress.
fn repetitive() -> RecordBatch {
    let numbers = (0..60).map(|i| (i % 7 != 0).then_some(i64::from(i / 20)));
    table(vec![
        ("i", Arc::new(Int64Array::from_iter(numbers.clone()))),
        ("t", Arc::new(StringArray::from_iter(numbers.map(|n| n.map(|n| "text".repeat(n as usize)))))),
        ("v", fixed_size_list(Float32Array::from(vec![1.0; 180]), 3)),
    ])
}

/// Two batches of `table`, written by arrow.
fn ipc_file(table: &RecordBatch, options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &table.schema(), options).unwrap();
    writer.write(table).unwrap();
    writer.write(&table.slice(0, table.num_rows() / 2)).unwrap();
    writer.into_inner().unwrap()
}

fn ipc_stream(table: &RecordBatch, options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &table.schema(), options).unwrap();
    writer.write(table).unwrap();
    writer.write(&table.slice(0, table.num_rows() / 2)).unwrap();
    writer.into_inner().unwrap()
}

fn idx(dims: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

/// Files of one array each.
fn array_files() -> Vec<(String, Vec<u8>)> {
    let images = idx(&[3, 2, 2], b"twelve bytes");
    let floats: Vec<u8> = (0..24u8).flat_map(|i| f32::from(i).to_be_bytes()).collect();
    vec![
        ("gzip".to_owned(), gzip(&images)),
        ("idx".to_owned(), images),
        ("npy".to_owned(), npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), }\n", &floats)),
        (
            "npy column-major".to_owned(),
            npy("{'descr': '>f4', 'fortran_order': True, 'shape': (4, 3, 2), }\n", &floats),
        ),
    ]
}

fn all_files() -> Vec<(String, Vec<u8>)> {
    [arrow_files(), array_files()].concat()
}

#[test]
#[ignore = "writes what fuzzing begins with, where FOREBAY_SEEDS says"]
fn seeds() {
    let target = |name: &str| match name.rsplit(' ').next() {
        Some("file") => "arrow_file",
        Some("stream") => "arrow_stream",
        _ if name.starts_with("npy") => "npy",
        _ => "idx",
    };
    let files = all_files();
    write_seeds(files.iter().map(|(name, file)| (target(name), file.clone())));
}

#[test]
fn undamaged_files_are_read() {
    let mut cases = Cases::new();
    for (name, file) in all_files() {
        let error = cases.bytes(&file, &|| name.clone());
        // Lists with nulls in them can be gathered but not loaded.
        let expected =
            name.starts_with("lists") && error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Unsupported);
        assert!(error.is_none() || expected, "{name}: {error:?}");
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused_or_read() {
    let mut cases = Cases::new();
    for (name, file) in all_files() {
        for len in 0..file.len() {
            let error =
                cases.bytes(&file[..len], &|| format!("{name} cut after {len} of {} bytes", file.len()));
            // A stream may end after any message; everything else needs its last byte.
            assert!(
                error.is_some() || name.ends_with("stream"),
                "{name} cut after {len} of {} bytes",
                file.len()
            );
        }
    }
}

#[test]
fn records_cut_at_any_byte_are_refused_or_read() {
    let spec: FixedSpec = "label:u8,x:>f32[3]".parse().unwrap();
    let mut cases = Cases::with(OpenOptions::default().fixed(spec));
    let records: Vec<u8> = (0..10 * 13).collect();
    for len in 0..=records.len() {
        let error = cases.bytes(&records[..len], &|| format!("{len} bytes of records"));
        assert_eq!(error.is_none(), len % 13 == 0, "{len}");
    }
}

#[test]
fn no_byte_of_a_file_is_believed() {
    let mut cases = Cases::new();
    for (name, mut file) in all_files() {
        for at in vulnerable(&name, &file) {
            let byte = file[at];
            for other in
                [byte ^ 1 << (at % 8), !byte].into_iter().take(if is_thorough() { 2 } else { 1 + at % 2 })
            {
                file[at] = other;
                cases.bytes(&file, &|| format!("{name}: byte {at} is {other:#x} instead of {byte:#x}"));
            }
            file[at] = byte;
        }
    }
}

#[test]
fn no_length_of_a_file_is_believed() {
    let mut cases = Cases::new();
    for (name, file) in all_files() {
        let (words, half_words) = if is_thorough() { (7, 4) } else { (3, 1) };
        let len = file.len() as i64;
        for forged in
            [i64::MAX, -1, len + 8, i64::MIN, 1 << 40, 1 << 31, i64::MAX / 16].into_iter().take(words)
        {
            for at in vulnerable(&name, &file).step_by(8).filter(|at| at + 8 <= file.len()) {
                let mut forgery = file.clone();
                forgery[at..at + 8].copy_from_slice(&forged.to_le_bytes());
                cases.bytes(&forgery, &|| format!("{name}: the word at {at} is {forged:#x}"));
            }
        }
        for forged in [i32::MAX, -1, i32::MIN, 1 << 20].into_iter().take(half_words) {
            for at in vulnerable(&name, &file).step_by(4).filter(|at| at + 4 <= file.len()) {
                let mut forgery = file.clone();
                forgery[at..at + 4].copy_from_slice(&forged.to_le_bytes());
                cases.bytes(&forgery, &|| format!("{name}: the half word at {at} is {forged:#x}"));
            }
        }
    }
}

/// The bytes to damage: all, but of an Arrow file, whose messages are those of the stream, only the footer.
fn vulnerable(name: &str, file: &[u8]) -> Range<usize> {
    if !name.ends_with(" file") {
        return 0..file.len();
    }
    let footer_bytes: [u8; 4] = file[file.len() - 10..][..4].try_into().unwrap();
    (file.len() - 10 - u32::from_le_bytes(footer_bytes) as usize) / 8 * 8..file.len()
}

/// How many random mutants to try; with more than are usual, the other tests try more as well.
fn mutants() -> usize {
    env::var("FOREBAY_MUTANTS").map_or(MUTANTS, |n| n.parse().expect("FOREBAY_MUTANTS is a number"))
}

fn is_thorough() -> bool {
    mutants() > MUTANTS
}

#[test]
fn huge_shapes_are_refused() {
    let mut cases = Cases::new();
    let max = u32::MAX;
    let mut refuse = |bytes: &[u8], what: &str| {
        let error = cases.bytes(bytes, &|| what.to_owned());
        assert!(error.is_some(), "{what}");
    };
    for dims in [&[max][..], &[max, max], &[max, max, max], &[1, max, max, max, max], &[max, 1, 1 << 31]] {
        refuse(&idx(dims, &[0; 64]), &format!("{dims:?}"));
        refuse(&gzip(&idx(dims, &vec![0; 1 << 20])), &format!("{dims:?} in gzip"));
    }
    for shape in
        ["(99999999999999999999999,)", "(4294967296, 4294967296)", "(1, 9223372036854775807, 2)", "(-1,)"]
    {
        let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}");
        refuse(&npy(&header, &[0; 64]), shape);
        refuse(&npy(&header.replace("False", "True"), &[0; 64]), shape);
        refuse(&gzip(&npy(&header, &[0; 1 << 20])), shape);
    }
    let mut long = b"\x93NUMPY\x02\0".to_vec();
    long.extend(max.to_le_bytes());
    refuse(&long, "a header of 4 GiB");
}

/// One row of no bytes may stand any number of times in a file of no size.
#[test]
fn rows_of_no_bytes_are_counted_not_made() {
    let mut cases = Cases::new();
    for dims in [&[u32::MAX, 0][..], &[0, u32::MAX, u32::MAX], &[u32::MAX, 0, 7]] {
        cases.bytes(&idx(dims, &[]), &|| format!("{dims:?}"));
    }
    let nothing: Vec<(&str, ArrayRef)> =
        vec![("n", Arc::new(NullArray::new(1 << 40))), ("z", fixed_size_list_of_none(1 << 40))];
    for column in nothing {
        for file in [
            ipc_file(&table(vec![column.clone()]), IpcWriteOptions::default()),
            ipc_stream(&table(vec![column.clone()]), IpcWriteOptions::default()),
        ] {
            cases.bytes(&file, &|| format!("2⁴⁰ rows of {}", column.0));
        }
    }
}

fn fixed_size_list_of_none(rows: usize) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values: ArrayRef = Arc::new(Float32Array::from(Vec::<f32>::new()));
    Arc::new(FixedSizeListArray::try_new_with_length(item, 0, values, None, rows).unwrap())
}

/// Values a dictionary or a view repeats are written out when a column is decoded.
#[test]
fn values_repeated_without_end_are_refused() {
    let long = "x".repeat(1 << 20);
    let keys = Int8Array::from(vec![0; 10_000]);
    let dictionary = |values: ArrayRef| Arc::new(DictionaryArray::new(keys.clone(), values)) as ArrayRef;
    let mut view = StringViewBuilder::new();
    let block = view.append_block(Buffer::from(long.as_bytes()));
    (0..10_000).for_each(|_| view.try_append_view(block, 0, 1 << 20).unwrap());
    let bytes = FixedSizeBinaryArray::try_from_iter([long.as_bytes()].into_iter()).unwrap();
    let items = Arc::new(Field::new("item", DataType::UInt8, false));
    let values = Arc::new(UInt8Array::from(vec![1; 1 << 20]));
    let list = ListArray::new(items, OffsetBuffer::from_lengths([1 << 20]), values, None);
    let columns: [(&str, ArrayRef); 5] = [
        ("text", dictionary(Arc::new(StringArray::from(vec![long.as_str()])))),
        ("large text", dictionary(Arc::new(LargeStringArray::from(vec![long.as_str()])))),
        ("bytes", dictionary(Arc::new(bytes))),
        ("list", dictionary(Arc::new(list))),
        ("view", Arc::new(view.finish())),
    ];
    let mut cases = Cases::new();
    for (name, column) in columns {
        let schema = Arc::new(Schema::new(vec![Field::new(name, column.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
        let file = ipc_file(&batch, IpcWriteOptions::default());
        let error = cases.bytes(&file, &|| name.to_owned()).unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
}

/// Each view's text is validated, however often it is the same.
#[test]
fn views_of_the_same_text_without_end_are_refused() {
    let text = Buffer::from_vec(vec![b'x'; 1 << 20]);
    let mut views = StringViewBuilder::new();
    let block = views.append_block(text);
    (0..1 << 11).for_each(|_| views.try_append_view(block, 0, 1 << 20).unwrap());
    let views = Arc::new(views.finish());
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("inner", DataType::Utf8View, true)),
        views.clone() as ArrayRef,
    )]);
    let keys = Int32Array::from(vec![0; 3]);
    let dictionary = DictionaryArray::new(keys, views.clone());
    let mut cases = Cases::new();
    for (name, column) in [
        ("views", views as ArrayRef),
        ("views in structs", Arc::new(nested)),
        ("views in a dictionary", Arc::new(dictionary)),
    ] {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let schema = Arc::new(Schema::new(vec![Field::new("x", column.data_type().clone(), true)]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column.clone()]).unwrap();
            let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
            writer.write(&batch).unwrap();
            let file = writer.into_inner().unwrap();
            let error = cases.bytes(&file, &|| format!("{name}, {compression:?}")).unwrap();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{name}, {compression:?}: {error}");
        }
    }
}

/// Rows that are the same values again and again are gathered without a copy for each.
#[test]
fn lists_of_the_same_values_take_no_more_memory() {
    let rows = 1000;
    let bytes: ArrayRef = Arc::new(UInt8Array::from(vec![1; 1 << 20]));
    let item = Arc::new(Field::new("item", DataType::UInt8, false));
    let view = |values: ArrayRef, len: i32| {
        let item = Arc::new(Field::new("item", values.data_type().clone(), false));
        ListViewArray::new(item, vec![0; rows].into(), vec![len; rows].into(), values, None)
    };
    let list = ListArray::new(item, OffsetBuffer::from_lengths([1 << 20]), bytes.clone(), None);
    let ends = Int32Array::from(vec![rows as i32]);
    let struct_of = |column: ArrayRef| {
        StructArray::from(vec![(Arc::new(Field::new("inner", column.data_type().clone(), true)), column)])
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("list view", Arc::new(view(bytes.clone(), 1 << 20))),
        ("in structs", Arc::new(struct_of(Arc::new(view(bytes, 1 << 20))))),
        ("list view of lists", Arc::new(view(Arc::new(list.clone()), 1))),
        ("runs", Arc::new(RunArray::<Int32Type>::try_new(&ends, &list).unwrap())),
    ];
    for (name, column) in columns {
        for compression in [None, Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let file = ipc_file(&table(vec![("x", column.clone())]), options);
            let error = Cases::new().bytes(&file, &|| format!("{name}, {compression:?}"));
            assert!(error.is_none(), "{name}, {compression:?}: {error:?}");
        }
    }
}

#[test]
fn compressed_buffers_inflate_only_so_far() {
    let mut cases = Cases::new();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
        let file = ipc_file(&table(vec![("x", Arc::new(Int64Array::from(vec![7; 1000])))]), options);
        // The inflated length of the values stands before them.
        let at = file.windows(8).position(|word| word == 8000i64.to_le_bytes()).unwrap();
        for forged in [65 << 20, 1 << 40, i64::MAX, i64::MIN, -2, 7999, 0] {
            let mut forgery = file.clone();
            forgery[at..at + 8].copy_from_slice(&forged.to_le_bytes());
            let error = cases.bytes(&forgery, &|| format!("{compression:?}: {forged}"));
            assert!(error.is_some(), "{compression:?}: {forged}");
        }
        // 48 MiB are fewer than a batch may have, but not what is there.
        let mut forgery = file.clone();
        forgery[at..at + 8].copy_from_slice(&(48i64 << 20).to_le_bytes());
        cases.bytes(&forgery, &|| format!("{compression:?}: 48 MiB"));
    }
}

/// Dictionaries that add to one another are kept together, so that together they must not inflate too far.
#[test]
fn dictionaries_inflate_together_only_so_far() {
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let options = options.try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let long = ["x".repeat(40 << 20), "y".repeat(40 << 20)];
    let batch = |n: usize| {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(&long[..n]));
        table(vec![("d", Arc::new(DictionaryArray::new(Int8Array::from(vec![n as i8 - 1]), values)))])
    };
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch(1).schema(), options).unwrap();
    let mut cases = Cases::new();
    writer.write(&batch(1)).unwrap();
    let file = writer.get_ref().clone();
    assert!(cases.bytes(&file, &|| "one dictionary".to_owned()).is_none());
    writer.write(&batch(2)).unwrap();
    let error = cases.bytes(writer.get_ref(), &|| "two dictionaries".to_owned()).unwrap();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[test]
fn types_that_cannot_be_are_refused() {
    let field = |data_type: DataType| Arc::new(Field::new("x", data_type, true));
    let mut cases = Cases::new();
    for data_type in [
        DataType::RunEndEncoded(field(DataType::UInt16), field(DataType::Utf8)),
        DataType::Map(field(DataType::Struct(vec![field(DataType::Utf8)].into())), false),
        DataType::FixedSizeList(field(DataType::Int8), -1),
        DataType::List(field(DataType::FixedSizeBinary(-1))),
    ] {
        let schema = Schema::new(vec![Field::new("column", data_type.clone(), true)]);
        let file = StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap();
        let error = cases.bytes(&file, &|| data_type.to_string()).expect("an error");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(error.message().contains("'column'"), "{error}");
    }
}

#[test]
fn random_mutants_are_refused_or_read() {
    let files = all_files();
    let mut cases = Cases::new();
    for seed in 0..mutants() {
        let (name, file) = &files[seed % files.len()];
        let mut random = Random(seed as u64);
        let mut mutant = file.clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut mutant);
        }
        cases.bytes(&mutant, &|| format!("{name}, mutant {seed}"));
    }
}

#[test]
fn files_that_broke_other_readers_are_refused_or_read() {
    let Some(folder) = env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: FOREBAY_TEST_DATA is not set");
        return;
    };
    let mut cases = Cases::new();
    for kind in ["arrow-ipc-file", "arrow-ipc-stream", "arrow-ipc-tensor-stream"] {
        let files = fs::read_dir(folder.join("malformed").join(kind)).unwrap();
        for path in files.map(|entry| entry.unwrap().path()) {
            let len = fs::metadata(&path).unwrap().len() as usize;
            cases.file(&path, len, &|| path.display().to_string());
        }
    }
    assert!(cases.read + cases.refused > 60);
}
