//! A bad record ends a conversion with its file, record and byte; or is left out, and noted in a ledger.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::ipc::writer::FileWriter;
use forebay::convert::{ConvertOptions, OnBadRecord, convert, verify};
use forebay::{Dataset, ErrorKind};
use serde_json::Value;

/// Rows of each of two files, in record batches of 100.
const ROWS: u64 = 500;

/// Rows, of both files together, whose text is no UTF-8: a first, a last, neighbours, and a whole record batch.
fn bad_rows() -> Vec<u64> {
    let mut rows = vec![0, 7, 8, 9, 250, 499, 733, 999];
    rows.extend(800..900);
    rows
}

/// Two Arrow files, the text of some rows spoilt.
fn spoilt(folder: &Path, bad: &[u64]) -> PathBuf {
    for file in 0..2 {
        let schema = Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, false),
            Field::new("n", DataType::Int64, false),
        ]));
        let path = folder.join(format!("part-{file}.arrow"));
        let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &schema).unwrap();
        for start in (file * ROWS..(file + 1) * ROWS).step_by(100) {
            let rows = start..start + 100;
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("<{row:04}>")))),
                Arc::new(Int64Array::from_iter_values(rows.map(|row| row as i64))),
            ];
            writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for &row in bad.iter().filter(|&row| row / ROWS == file) {
            let at = byte_of(&bytes, row);
            bytes[at] = 0xFF;
        }
        fs::write(&path, bytes).unwrap();
    }
    folder.join("part-*.arrow")
}

/// Where the text of `row` begins in its file.
fn byte_of(file: &[u8], row: u64) -> usize {
    let text = format!("{row:04}>");
    file.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() - 1
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn ledger(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("bad-records.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn skip(limit: u64) -> ConvertOptions {
    ConvertOptions::new().shard_bytes(4000).on_bad_record(OnBadRecord::Skip { limit })
}

#[test]
fn the_first_bad_record_ends_it_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = Dataset::open(spoilt(folder.path(), &[733, 734, 801])).unwrap();
    for threads in [1, 3] {
        let out = folder.path().join(format!("out-{threads}"));
        let error = convert(&source, &out, &ConvertOptions::new().threads(threads), |_| {}).unwrap_err();
        let path = folder.path().join("part-1.arrow");
        let byte = byte_of(&fs::read(&path).unwrap(), 733) as u64;
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.location().path.as_deref(), Some(path.as_path()));
        assert_eq!((error.location().record, error.location().byte), (Some(233), Some(byte)), "{error}");
        assert!(error.message().contains("expected UTF-8"), "{error}");
        assert!(!out.join("dataset.json").exists());
    }
}

#[test]
fn bad_records_are_left_out_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let bad = bad_rows();
    let pattern = spoilt(folder.path(), &bad);
    let source = Dataset::open(&pattern).unwrap();
    let out = folder.path().join("out");
    let mut last = None;
    let converted = convert(&source, &out, &skip(200), |progress| last = Some(progress)).unwrap();
    assert_eq!((converted.rows, converted.skipped), (1000 - bad.len() as u64, bad.len() as u64));
    assert_eq!((last.unwrap().rows_done, last.unwrap().rows), (1000, 1000));

    let read = Dataset::open(&out).unwrap();
    let rows = read.gather(&(0..read.len()).collect::<Vec<_>>()).unwrap();
    let kept: Vec<_> = (0..1000i64).filter(|&row| !bad.contains(&(row as u64))).collect();
    assert_eq!(rows["n"].as_primitive::<Int64Type>().values().as_ref(), kept);
    let text = rows["text"].as_string::<i32>();
    assert!(kept.iter().zip(text).all(|(row, text)| text == Some(format!("<{row:04}>").as_str())));
    assert!(verify(&out, |_| {}).unwrap().is_empty());

    let listed = ledger(&out);
    let mut expected = bad.clone();
    expected.sort_unstable();
    assert_eq!(listed.iter().map(|line| line["row"].as_u64().unwrap()).collect::<Vec<_>>(), expected);
    for line in &listed {
        let row = line["row"].as_u64().unwrap();
        let path = folder.path().join(format!("part-{}.arrow", row / ROWS));
        assert_eq!(line["file"].as_str(), path.to_str());
        assert_eq!(line["record"].as_u64(), Some(row % ROWS));
        assert_eq!(line["byte"].as_u64(), Some(byte_of(&fs::read(&path).unwrap(), row) as u64));
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with("malformed data: column 'text': expected UTF-8"), "{reason}");
    }
    // Done, it is found done.
    let again = convert(&source, &out, &skip(200), |_| {}).unwrap();
    assert_eq!((again.skipped, again.shards_found), (bad.len() as u64, again.shards));
}

#[test]
fn neither_threads_nor_interruptions_nor_the_limit_change_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let source = Dataset::open(spoilt(folder.path(), &bad_rows())).unwrap();
    for shuffled in [false, true] {
        let options = |limit| if shuffled { skip(limit).shuffle(9) } else { skip(limit) };
        let whole = folder.path().join(format!("whole-{shuffled}"));
        let mut batches = 0;
        convert(&source, &whole, &options(108).threads(1), |_| batches += 1).unwrap();
        let expected = files(&whole);
        assert!(batches > 5);
        for end in 0..batches {
            let out = folder.path().join(format!("out-{shuffled}-{end}"));
            let mut seen = 0;
            let broken = catch_unwind(AssertUnwindSafe(|| {
                convert(&source, &out, &options(108).threads(2), |_| {
                    if seen == end {
                        resume_unwind(Box::new("broken off")); // Panics without a word.
                    }
                    seen += 1;
                })
            }));
            assert!(broken.is_err());
            convert(&source, &out, &options(5000).threads(1 + end % 4), |_| {}).unwrap();
            assert!(files(&out) == expected, "broken off after {end}");
        }
    }
}

#[test]
fn past_the_limit_it_fails_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let bad = bad_rows();
    let source = Dataset::open(spoilt(folder.path(), &bad)).unwrap();
    for limit in [0, 4, 50, 107] {
        let out = folder.path().join(format!("out-{limit}"));
        let error = convert(&source, &out, &skip(limit), |_| {}).unwrap_err();
        let expected = format!("expected at most {limit} bad records, found {}", limit + 1);
        assert!(error.message().contains(&expected), "{error}");
        let mut sorted = bad.clone();
        sorted.sort_unstable();
        let last = sorted[limit as usize];
        assert_eq!(error.location().record, Some(last % ROWS), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(ledger(&out).len() as u64, limit + 1);
        assert!(!out.join("dataset.json").exists());
        // With a higher limit it goes on.
        let done = convert(&source, &out, &skip(108), |_| {}).unwrap();
        assert_eq!(done.skipped, 108);
        assert_eq!(ledger(&out).len(), 108);
    }
}

#[test]
fn a_file_without_bad_records_has_no_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let source = Dataset::open(spoilt(folder.path(), &[])).unwrap();
    let out = folder.path().join("out");
    assert_eq!(convert(&source, &out, &skip(0), |_| {}).unwrap().skipped, 0);
    assert!(!out.join("bad-records.jsonl").exists());
}

#[test]
fn where_every_record_is_bad_an_empty_dataset_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let bad: Vec<_> = (0..1000).collect();
    let source = Dataset::open(spoilt(folder.path(), &bad)).unwrap();
    let out = folder.path().join("out");
    let converted = convert(&source, &out, &skip(1000), |_| {}).unwrap();
    assert_eq!((converted.rows, converted.skipped), (0, 1000));
    assert!(Dataset::open(&out).unwrap().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_cut_short_is_no_bad_record() {
    let folder = tempfile::tempdir().unwrap();
    let source = Dataset::open(spoilt(folder.path(), &[])).unwrap();
    let path = folder.path().join("part-1.arrow");
    let len = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    let error = convert(&source, folder.path().join("out"), &skip(5000), |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
}
