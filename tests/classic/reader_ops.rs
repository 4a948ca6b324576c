//! Readers of the records of files whose names come from a queue.

use std::sync::mpsc;
use std::thread;

use forebay::ErrorKind;
use forebay::coordinator::reader::{
    FixedLengthReader, IdentityReader, LineReader, Reader, TfRecordReader, WholeFileReader,
};
use forebay::format::Compression;
use forebay::queue::Queue;

use crate::support::{Folder, Names, closed_names, frames, gzip, zlib};

#[track_caller]
fn expect(reader: &dyn Reader, queue: &Names, key: &str, value: &[u8]) {
    let (found_key, found) = reader.read(queue).unwrap();
    assert_eq!((found_key.as_str(), &found[..]), (key, value));
}

#[track_caller]
fn expect_end(reader: &dyn Reader, queue: &Names) {
    let error = reader.read(queue).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(error.message().contains("the queue is closed, and no elements are left"), "{error}");
}

#[track_caller]
fn expect_counts(reader: &dyn Reader, records: u64, work_units: u64) {
    assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (records, work_units));
}

mod identity_reader {
    use super::*;

    /// `IdentityReaderTest.testOneEpoch`
    #[test]
    fn one_epoch() {
        let (reader, queue) = (IdentityReader::new(), Names::unbounded());
        expect_counts(&reader, 0, 0);
        queue.enqueue_many(["A", "B", "C"].map(String::from).to_vec()).unwrap();
        queue.close(false);
        for (number, name) in ["A", "B", "C"].into_iter().enumerate() {
            assert_eq!(queue.size(), 3 - number);
            expect(&reader, &queue, name, name.as_bytes());
            expect_counts(&reader, number as u64 + 1, number as u64 + 1);
        }
        for _ in 0..2 {
            expect_end(&reader, &queue);
            expect_counts(&reader, 3, 3);
            assert_eq!(queue.size(), 0);
        }
    }

    /// `IdentityReaderTest.testMultipleEpochs`
    #[test]
    fn multiple_epochs() {
        let (reader, queue) = (IdentityReader::new(), Names::unbounded());
        for epoch in 0..3 {
            queue.enqueue_many(["DD", "EE"].map(String::from).to_vec()).unwrap();
            expect(&reader, &queue, "DD", b"DD");
            expect(&reader, &queue, "EE", b"EE");
            expect_counts(&reader, 2 * (epoch + 1), 2 * (epoch + 1));
        }
        queue.close(false);
        expect_end(&reader, &queue);
    }

    /// `IdentityReaderTest.testReset`
    #[test]
    fn reset() {
        let (reader, queue) = (IdentityReader::new(), closed_names(["X", "Y", "Z"]));
        expect(&reader, &queue, "X", b"X");
        assert_eq!(queue.size(), 2);
        expect_counts(&reader, 1, 1);
        reader.reset();
        assert_eq!(queue.size(), 2);
        expect_counts(&reader, 0, 0);
        expect(&reader, &queue, "Y", b"Y");
        expect_counts(&reader, 1, 1);
        expect(&reader, &queue, "Z", b"Z");
        expect_end(&reader, &queue);
    }
}

mod whole_file_reader {
    use super::*;

    /// `WholeFileReaderTest.testOneEpoch`
    #[test]
    fn one_epoch() {
        let folder = Folder::new();
        let contents: [&[u8]; 3] = [b"One\na\nb\n", b"Two\nC\nD", b""];
        let paths: Vec<_> =
            (0..3).map(|number| folder.file(&format!("whole.{number}"), contents[number])).collect();
        let (reader, queue) = (WholeFileReader::new(), closed_names(&paths));
        for (path, content) in paths.iter().zip(contents) {
            expect(&reader, &queue, path, content);
        }
        expect_end(&reader, &queue);
        expect_counts(&reader, 3, 3);
    }
}

mod text_line_reader {
    use super::*;

    fn check(end: &str) {
        let folder = Folder::new();
        let files: Vec<_> = (0..2)
            .map(|file| {
                let mut text = String::new();
                for line in 0..5 {
                    text += &format!("{file}: {line}");
                    // The last line of the second file has no end.
                    if file == 0 || line < 4 {
                        text += end;
                    }
                }
                folder.file(&format!("text_line.{file}.txt"), text.as_bytes())
            })
            .collect();
        let (reader, queue) = (LineReader::new(), closed_names(&files));
        for (number, file) in files.iter().enumerate() {
            for line in 0..5 {
                expect(
                    &reader,
                    &queue,
                    &format!("{file}:{}", line + 1),
                    format!("{number}: {line}").as_bytes(),
                );
            }
        }
        expect_end(&reader, &queue);
        expect_counts(&reader, 10, 2);
    }

    /// `TextLineReaderTest.testOneEpochLF`
    #[test]
    fn one_epoch_lf() {
        check("\n");
    }

    /// `TextLineReaderTest.testOneEpochCRLF`
    #[test]
    fn one_epoch_crlf() {
        check("\r\n");
    }

    #[test]
    fn skipped_lines_count_and_a_file_of_fewer_has_no_records() {
        let folder = Folder::new();
        let long = folder.file("long", b"one\ntwo\n\nfour");
        let short = folder.file("short", b"one");
        let empty = folder.file("empty", b"");
        type Pack = fn(&[u8]) -> Vec<u8>;
        let packs: [(Compression, Pack); 3] =
            [(Compression::None, <[u8]>::to_vec), (Compression::Gzip, gzip), (Compression::Zlib, zlib)];
        for (compression, pack) in packs {
            let paths = [&long, &short, &empty, &long].map(|path| {
                folder.file(&format!("{path}.{compression}"), &pack(&std::fs::read(path).unwrap()))
            });
            let reader = LineReader::new().skip_header_lines(2).compression(compression);
            let queue = closed_names(&paths);
            for long in [&paths[0], &paths[3]] {
                expect(&reader, &queue, &format!("{long}:3"), b"");
                expect(&reader, &queue, &format!("{long}:4"), b"four");
            }
            expect_end(&reader, &queue);
            expect_counts(&reader, 4, 4);
        }
    }
}

mod fixed_length_record_reader {
    use super::*;

    const HEADER: usize = 5;
    const RECORD: usize = 3;
    const FOOTER: usize = 2;

    fn text(file: usize, record: usize) -> [u8; RECORD] {
        let digit = char::from_digit(((file * 2 + record) % 10) as u32, 10).unwrap() as u8;
        [digit; RECORD]
    }

    fn reader(hop: u64, compression: Compression) -> FixedLengthReader {
        let reader = FixedLengthReader::new(RECORD as u64).unwrap();
        reader.header_bytes(HEADER as u64).footer_bytes(FOOTER as u64).hop_bytes(hop).compression(compression)
    }

    /// Two files of 0 and 7 records, and `gap` bytes more, which are a part of a record.
    fn one_epoch_of(compression: Compression, pack: impl Fn(&[u8]) -> Vec<u8>) {
        for num_records in [0, 7] {
            for gap in [0, 1] {
                let folder = Folder::new();
                let paths: Vec<_> = (0..2)
                    .map(|file| {
                        let mut bytes = vec![b'H'; HEADER];
                        (0..num_records).for_each(|record| bytes.extend(text(file, record)));
                        bytes.extend(vec![b'G'; gap]);
                        bytes.extend([b'F'; FOOTER]);
                        folder.file(&format!("fixed_length_record.{file}.txt"), &pack(&bytes))
                    })
                    .collect();
                let (reader, queue) = (reader(0, compression), closed_names(&paths));
                for (file, path) in paths.iter().enumerate() {
                    for record in 0..num_records {
                        expect(&reader, &queue, &format!("{path}:{record}"), &text(file, record));
                    }
                }
                expect_end(&reader, &queue);
                expect_counts(&reader, 2 * num_records as u64, 2);
                assert_eq!(reader.partial_bytes(), 2 * gap as u64);
            }
        }
    }

    /// `FixedLengthRecordReaderTest.testOneEpoch`
    #[test]
    fn one_epoch() {
        one_epoch_of(Compression::None, <[u8]>::to_vec);
    }

    /// `FixedLengthRecordReaderTest.testGzipOneEpoch`
    #[test]
    fn gzip_one_epoch() {
        one_epoch_of(Compression::Gzip, gzip);
        one_epoch_of(Compression::Zlib, zlib);
    }

    /// Records that overlap: each begins two bytes behind the one before.
    fn one_epoch_with_hop_bytes_of(compression: Compression, pack: impl Fn(&[u8]) -> Vec<u8>) {
        const HOP: usize = 2;
        for num_records in [0, 2] {
            let folder = Folder::new();
            let paths: Vec<_> = (0..2)
                .map(|file| {
                    let mut bytes = vec![b'H'; HEADER];
                    if num_records > 0 {
                        bytes.extend(
                            (0..(num_records - 1) * HOP + RECORD).map(|byte| b'a' + (file + byte) as u8),
                        );
                    }
                    bytes.extend([b'F'; FOOTER]);
                    folder.file(&format!("fixed_length_overlapping.{file}.txt"), &pack(&bytes))
                })
                .collect();
            let (reader, queue) = (reader(HOP as u64, compression), closed_names(&paths));
            for (file, path) in paths.iter().enumerate() {
                for record in 0..num_records {
                    let bytes: Vec<u8> =
                        (0..RECORD).map(|byte| b'a' + (file + record * HOP + byte) as u8).collect();
                    expect(&reader, &queue, &format!("{path}:{record}"), &bytes);
                }
            }
            expect_end(&reader, &queue);
            assert_eq!(reader.partial_bytes(), 0);
        }
    }

    /// `FixedLengthRecordReaderTest.testOneEpochWithHopBytes`
    #[test]
    fn one_epoch_with_hop_bytes() {
        one_epoch_with_hop_bytes_of(Compression::None, <[u8]>::to_vec);
    }

    /// `FixedLengthRecordReaderTest.testGzipOneEpochWithHopBytes`
    #[test]
    fn gzip_one_epoch_with_hop_bytes() {
        one_epoch_with_hop_bytes_of(Compression::Gzip, gzip);
    }
}

mod tf_record_reader {
    use super::*;

    fn payload(file: usize, record: usize) -> String {
        format!("Record {record} of file {file}")
    }

    fn files(folder: &Folder, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<String> {
        let bytes = |file| pack(&frames((0..7).map(|record| payload(file, record))));
        (0..2).map(|file| folder.file(&format!("tf_record.{file}.txt"), &bytes(file))).collect()
    }

    fn check(compression: Compression, pack: impl Fn(&[u8]) -> Vec<u8>) {
        let folder = Folder::new();
        let paths = files(&folder, pack);
        let (reader, queue) = (TfRecordReader::new().compression(compression), closed_names(&paths));
        for (file, path) in paths.iter().enumerate() {
            for record in 0..7 {
                let key = format!("{path}:{}", record * (16 + payload(0, 0).len()));
                expect(&reader, &queue, &key, payload(file, record).as_bytes());
            }
        }
        expect_end(&reader, &queue);
        expect_counts(&reader, 14, 2);
    }

    /// `TFRecordReaderTest.testOneEpoch`
    #[test]
    fn one_epoch() {
        check(Compression::None, <[u8]>::to_vec);
    }

    /// `TFRecordReaderTest.testReadGzipFiles`
    #[test]
    fn read_gzip_files() {
        check(Compression::Gzip, gzip);
        check(Compression::Zlib, zlib);
    }

    /// `TFRecordReaderTest.testReadUpTo`
    #[test]
    fn read_up_to() {
        let folder = Folder::new();
        let paths = files(&folder, <[u8]>::to_vec);
        let (reader, queue) = (TfRecordReader::new(), closed_names(&paths));
        let (mut read, mut sizes) = (Vec::new(), Vec::new());
        loop {
            match reader.read_up_to(&queue, 3) {
                Ok(records) => {
                    assert!((1..=3).contains(&records.len()));
                    sizes.push(records.len());
                    read.extend(records);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfRange);
                    break;
                }
            }
        }
        // What is left of a file comes without a wait for the next.
        assert_eq!(sizes, [3, 3, 1, 3, 3, 1]);
        for (number, (key, value)) in read.iter().enumerate() {
            let (file, record) = (number / 7, number % 7);
            assert!(key.starts_with(&format!("{}:", paths[file])), "{key}");
            assert_eq!(*value, payload(file, record));
        }
        assert_eq!(reader.read_up_to(&queue, 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// `AsyncReaderTest.testNoDeadlockFromQueue`
#[test]
fn no_deadlock_from_queue() {
    let queues: Vec<_> = (0..3).map(|_| Names::unbounded()).collect();
    let readers: Vec<_> = (0..3).map(|_| IdentityReader::new()).collect();
    let (read, results) = mpsc::channel();
    thread::scope(|scope| {
        for (number, (queue, reader)) in queues.iter().zip(&readers).enumerate() {
            let read = read.clone();
            scope.spawn(move || read.send((number, reader.read(queue).unwrap())).unwrap());
        }
        // The last one that began to wait is fed first, and comes back before the others have anything.
        for number in (0..3).rev() {
            queues[number].enqueue(format!("unit {number}")).unwrap();
            let (woken, (key, value)) = results.recv().unwrap();
            assert_eq!((woken, key.as_str()), (number, &*format!("unit {number}")));
            assert_eq!(value, key);
        }
    });
}
