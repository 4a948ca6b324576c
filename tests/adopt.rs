//! A folder of another program's files becomes a dataset where it lies: nothing but the manifest is written.

#[path = "common/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use forebay::convert::{AdoptOptions, ConvertOptions, adopt, convert, verify};
use forebay::{Dataset, ErrorKind, Loader, Shuffle};
use python::oracle;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]))
}

fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.clone())),
        Arc::new(StringArray::from_iter(rows.map(|row| (row % 3 != 0).then(|| row.to_string())))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Four files of 60 rows in all: uneven record batches, an empty one, a stream, a file without batches; and a stranger.
fn lake(folder: &Path) {
    let file = |name: &str, batches: &[std::ops::Range<i64>]| {
        let mut writer = FileWriter::try_new(File::create(folder.join(name)).unwrap(), &schema()).unwrap();
        batches.iter().for_each(|rows| writer.write(&batch(rows.clone())).unwrap());
        writer.finish().unwrap();
    };
    file("b.arrow", &[10..17, 17..17, 17..30]);
    file("B.feather", &[0..3, 3..10]);
    file("none.arrow", &[]);
    let mut writer = StreamWriter::try_new(File::create(folder.join("stream")).unwrap(), &schema()).unwrap();
    [30..31, 31..60].into_iter().for_each(|rows| writer.write(&batch(rows)).unwrap());
    writer.finish().unwrap();
    fs::write(folder.join("README.md"), "what the lake holds").unwrap();
    fs::write(folder.join("_SUCCESS"), "").unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn numbers(dataset: &Dataset) -> Vec<i64> {
    let rows = dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap();
    rows["n"].as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn a_lake_becomes_a_dataset_and_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let lake_at = folder.path();
    lake(lake_at);
    let before = files(lake_at);
    let mut last = None;
    let adopted = adopt(lake_at, &AdoptOptions::new(), |progress| last = Some(progress)).unwrap();
    assert_eq!((adopted.rows, adopted.shards), (60, 4));
    assert_eq!((last.unwrap().rows_done, last.unwrap().rows), (60, 60));
    let mut after = files(lake_at);
    assert!(after.remove("dataset.json").is_some());
    assert_eq!(after, before, "nothing but the manifest was written");

    let dataset = Dataset::open(lake_at).unwrap();
    assert_eq!(numbers(&dataset), (0..60).collect::<Vec<_>>(), "in bytewise order of the names");
    assert_eq!(dataset.schema().fields(), schema().fields());
    assert!(verify(lake_at, |_| {}).unwrap().is_empty());
    let loader = Loader::builder(&dataset).batch_size(7).shuffle(Shuffle::Exact).seed(1).build().unwrap();
    let mut seen: Vec<i64> =
        loader.flat_map(|batch| batch.unwrap().tensor::<i64>("n").unwrap().as_slice().to_vec()).collect();
    assert!(!seen.is_sorted());
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    // It converts like any other, and not into itself.
    let out = folder.path().join("out");
    convert(&dataset, &out, &ConvertOptions::new(), |_| {}).unwrap();
    assert_eq!(numbers(&Dataset::open(&out).unwrap()), numbers(&dataset));
    let error = convert(&dataset, lake_at, &ConvertOptions::new(), |_| {}).unwrap_err();
    assert!(error.message().contains("another dataset"), "{error}");
    let error = adopt(lake_at, &AdoptOptions::new(), |_| {}).unwrap_err();
    assert!(error.message().contains("dataset already"), "{error}");
}

#[test]
fn verify_finds_what_changed_since() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap();
    let path = folder.path().join("b.arrow");
    let whole = fs::read(&path).unwrap();
    let at = whole.windows(8).rposition(|window| window == 29i64.to_le_bytes()).unwrap();
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    fs::write(&path, damaged).unwrap();
    let damages = verify(folder.path(), |_| {}).unwrap();
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0].location().path.as_deref(), Some(path.as_path()));
    assert_eq!(damages[0].location().record, Some(2), "the third record batch");
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(Dataset::open(folder.path()).unwrap_err().kind(), ErrorKind::Mismatch);
}

#[test]
fn files_may_be_named_and_be_of_any_format() {
    let folder = tempfile::tempdir().unwrap();
    lake(folder.path());
    let adopted = adopt(folder.path(), &AdoptOptions::new().files(["B.*", "b.arrow"]), |_| {}).unwrap();
    assert_eq!((adopted.rows, adopted.shards), (30, 2));
    assert_eq!(numbers(&Dataset::open(folder.path()).unwrap()), (0..30).collect::<Vec<_>>());

    // Fixed-length records need their options again; every chunk carries the checksum of the whole file.
    let fixed = tempfile::tempdir().unwrap();
    for part in 0..2u8 {
        fs::write(
            fixed.path().join(format!("{part}.bin")),
            (part * 100..part * 100 + 50).collect::<Vec<_>>(),
        )
        .unwrap();
    }
    let open = Dataset::options().fixed("n:u8".parse().unwrap());
    let options = AdoptOptions::new().files(["*.bin"]).open_with(open.clone());
    assert_eq!(adopt(fixed.path(), &options, |_| {}).unwrap().rows, 100);
    assert_eq!(open.open(fixed.path()).unwrap().len(), 100);
    assert!(verify(fixed.path(), |_| {}).unwrap().is_empty());
    fs::write(fixed.path().join("1.bin"), [7; 50]).unwrap();
    assert_eq!(verify(fixed.path(), |_| {}).unwrap().len(), 1);
}

/// The values of a dictionary lie outside of the record batches: the checksum is of the whole file.
#[test]
fn dictionaries_are_covered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.arrow");
    let words: DictionaryArray<Int32Type> = ["oak", "elm", "oak", "ash"].into_iter().collect();
    let words: ArrayRef = Arc::new(words);
    let table = RecordBatch::try_from_iter([("word", words)]).unwrap();
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    let rows = dataset.gather(&(0..8).collect::<Vec<_>>()).unwrap();
    assert_eq!(rows["word"].as_string::<i32>().value(5), "elm");
    assert!(verify(folder.path(), |_| {}).unwrap().is_empty());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|window| window == b"oakelmash").unwrap();
    bytes[at] = b'O';
    fs::write(&path, bytes).unwrap();
    assert_eq!(verify(folder.path(), |_| {}).unwrap().len(), 1, "once, though two record batches share it");
}

#[test]
fn what_cannot_be_adopted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap_err();
    assert!(error.message().contains("found none"), "{error}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left behind");
    lake(folder.path());
    let error = adopt(folder.path(), &AdoptOptions::new().files(["b.arrow", "c*"]), |_| {}).unwrap_err();
    assert!(error.message().contains("'c*'"), "{error}");
    let error = adopt(folder.path(), &AdoptOptions::new().files(["*"]), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let other = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let mut writer =
        FileWriter::try_new(File::create(folder.path().join("c.arrow")).unwrap(), &other.schema()).unwrap();
    writer.write(&other).unwrap();
    writer.finish().unwrap();
    let error = adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    for expected in ["B.feather with (n: Int64, text: Utf8)", "c.arrow with (n: Int32)"] {
        assert!(error.message().contains(expected), "expected {expected} in {error}");
    }
    fs::write(folder.path().join("c.arrow"), b"ARROW1\0\0 and then nothing").unwrap();
    let error = adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    assert!(!folder.path().join("dataset.json").exists());
}

#[test]
fn what_pyarrow_wrote_is_adopted() {
    let Some(python) = oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
import sys
import pyarrow as pa
import pyarrow.feather as feather
for part in range(3):
    rows = range(part * 1000, (part + 1) * 1000)
    table = pa.table({"n": pa.array(rows, pa.int64()), "word": pa.array([str(r) for r in rows]).dictionary_encode()})
    if part == 2:
        feather.write_feather(table, f"{sys.argv[1]}/{part}.feather", compression="zstd")
    else:
        with pa.ipc.new_file(f"{sys.argv[1]}/{part}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=300)
"#;
    let done = Command::new(python).args(["-c", script]).arg(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(adopt(folder.path(), &AdoptOptions::new(), |_| {}).unwrap().rows, 3000);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(numbers(&dataset), (0..3000).collect::<Vec<_>>());
    let rows = dataset.gather(&[2999, 5]).unwrap();
    assert_eq!(rows["word"].as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["2999", "5"]);
    assert!(verify(folder.path(), |_| {}).unwrap().is_empty());
}
