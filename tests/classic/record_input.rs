//! Records of many files, shuffled and in batches.

use std::collections::HashSet;
use std::thread;

use forebay::convert::RecordWriter;
use forebay::format::Compression;
use forebay::{ErrorKind, LoaderState, RecordInput, Remainder, Shuffle};

use crate::support::Folder;

/// Files of records that differ, and the pattern that matches them.
fn files(folder: &Folder, prefix: &str, files: usize, records: usize, compression: Compression) -> String {
    for file in 0..files {
        let path = folder.path(&format!("{prefix}.{file}"));
        let mut writer = RecordWriter::options().compression(compression).create(path).unwrap();
        (0..records).for_each(|record| writer.write(format!("{file} {record}").as_bytes()).unwrap());
        writer.close().unwrap();
    }
    folder.path(&format!("{prefix}.*"))
}

fn one_record(compression: Compression) {
    let folder = Folder::new();
    let pattern = files(&folder, "basic", 1, 1, compression);
    let mut input = RecordInput::builder(pattern).batch_size(1).build().unwrap();
    for _ in 0..3 {
        assert_eq!(input.next().unwrap().unwrap(), ["0 0"]);
    }
}

/// `RecordInputOpTest.testRecordInputSimple`
#[test]
fn record_input_simple() {
    one_record(Compression::None);
}

/// `RecordInputOpTest.testRecordInputSimpleGzip`
#[test]
fn record_input_simple_gzip() {
    one_record(Compression::Gzip);
    one_record(Compression::Zlib);
    one_record(Compression::Zstd);
}

/// No record comes twice in an epoch, every batch is full, and no two epochs are alike.
fn epochs(files_len: usize, records: usize, batch_size: usize) {
    let folder = Folder::new();
    let pattern = files(&folder, "basic", files_len, records, Compression::None);
    let builder = RecordInput::builder(pattern).batch_size(batch_size).seed(87).threads(2);
    let mut input = builder.build().unwrap();
    let mut orders = HashSet::new();
    for _ in 0..3 {
        let (mut seen, mut order) = (HashSet::new(), Vec::new());
        for _ in 0..files_len * records / batch_size {
            let batch = input.next().unwrap().unwrap();
            assert_eq!(batch.len(), batch_size);
            for record in batch {
                assert!(seen.insert(record.clone()), "{record:?} came twice");
                order.push(record);
            }
        }
        assert_eq!(seen.len(), files_len * records);
        assert!(orders.insert(order));
    }
}

/// `RecordInputOpTest.testRecordInputEpochs`
#[test]
fn record_input_epochs() {
    epochs(100, 100, 10);
}

/// `RecordInputOpTest.testBufferTooSmall`
#[test]
fn buffer_too_small() {
    epochs(10, 10, 10);
    epochs(10, 10, 1);
}

/// `RecordInputOpTest.testDoesNotDeadlock`
#[test]
fn does_not_deadlock() {
    let folder = Folder::new();
    let pattern = files(&folder, "basic", 1, 1, Compression::None);
    for _ in 0..30 {
        let mut input = RecordInput::builder(&pattern).threads(3).build().unwrap();
        for _ in 0..50 {
            assert_eq!(input.next().unwrap().unwrap(), ["0 0"]);
        }
    }
}

#[test]
fn records_outlive_their_input_and_go_to_other_threads() {
    let folder = Folder::new();
    let pattern = files(&folder, "kept", 3, 10, Compression::None);
    let input = RecordInput::builder(pattern).batch_size(7).shuffle(Shuffle::None).epochs(1).build().unwrap();
    let batches: Vec<_> = input.map(Result::unwrap).collect();
    let kept = thread::spawn(move || batches.concat()).join().unwrap();
    let expected: Vec<_> = (0..30).map(|number| format!("{} {}", number / 10, number % 10)).collect();
    assert_eq!(kept, expected);
}

#[test]
fn an_input_goes_on_where_its_state_was_taken() {
    let folder = Folder::new();
    let pattern = files(&folder, "resumed", 4, 25, Compression::None);
    let builder = || RecordInput::builder(&pattern).batch_size(8).seed(3).epochs(2);
    let whole: Vec<_> = builder().build().unwrap().map(Result::unwrap).collect();
    assert_eq!(whole.len(), 26);
    let mut first = builder().build().unwrap();
    first.by_ref().take(15).for_each(drop);
    let state = LoaderState::from_json(&first.loader().state().to_json()).unwrap();
    let rest: Vec<_> = builder().resume(&state).build().unwrap().map(Result::unwrap).collect();
    assert_eq!(rest, whole[15..]);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let folder = Folder::new();
    let pattern = files(&folder, "refused", 1, 3, Compression::None);
    let kind = |builder: forebay::RecordInputBuilder| builder.build().unwrap_err().kind();
    assert_eq!(kind(RecordInput::builder(folder.path("none.*"))), ErrorKind::Io);
    assert_eq!(kind(RecordInput::builder(&pattern).batch_size(0)), ErrorKind::InvalidArgument);
    assert_eq!(kind(RecordInput::builder(&pattern).epochs(0)), ErrorKind::InvalidArgument);
    assert_eq!(kind(RecordInput::builder(&pattern).remainder(Remainder::Pad)), ErrorKind::InvalidArgument);
    let empty = files(&folder, "empty", 1, 0, Compression::None);
    assert_eq!(kind(RecordInput::builder(&empty)), ErrorKind::InvalidArgument);
    assert_eq!(RecordInput::builder(&empty).epochs(1).build().unwrap().count(), 0);
    let sizes = RecordInput::builder(&pattern).batch_size(2).epochs(1).remainder(Remainder::Drop);
    assert_eq!(sizes.build().unwrap().map(|batch| batch.unwrap().len()).collect::<Vec<_>>(), [2]);
}
