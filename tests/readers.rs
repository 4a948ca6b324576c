//! Readers give every record of every file once, go on from any saved place, survive bad files, and wake every thread.
//!
//! `FOREBAY_MUTANTS` sets how many mutants of each file are tried (2,000 unless set).

#[path = "classic/support.rs"]
mod support;

mod common;

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use common::cases::{Cases, Random};
use common::small;
use forebay::coordinator::reader::{
    FixedLengthReader, IdentityReader, LineReader, Reader, ReaderState, TfRecordReader, WholeFileReader,
};
use forebay::format::Compression;
use forebay::queue::Queue;
use forebay::{Dataset, Error, ErrorKind, Result};
use proptest::prelude::*;
use support::{Folder, Names, closed_names, frames};

type Record = (String, Bytes);

const ALL: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Zlib, Compression::Zstd];

fn pack(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => small::gzip(bytes),
        Compression::Zlib => small::zlib(bytes),
        Compression::Zstd => small::zstd(bytes),
    }
}

/// Every record up to the end of the queue, and every error before it.
fn drain(reader: &dyn Reader, queue: &Names) -> Vec<Result<Record>> {
    let mut all = Vec::new();
    loop {
        match reader.read(queue) {
            Err(error) if error.kind() == ErrorKind::OutOfRange => return all,
            other => all.push(other),
        }
    }
}

/// As [`drain`], of files that are good.
fn records(reader: &dyn Reader, queue: &Names) -> Vec<Record> {
    drain(reader, queue).into_iter().map(Result::unwrap).collect()
}

fn lines_of(path: &str, text: &[u8], header: usize) -> Vec<Record> {
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    // What follows the last line feed is a line only if there is something.
    if lines.last() == Some(&&b""[..]) {
        lines.pop();
    }
    let lines = lines.into_iter().enumerate().skip(header);
    let key = |number: usize| format!("{path}:{}", number + 1);
    lines
        .map(|(number, line)| (key(number), Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line))))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn lines_are_those_between_line_feeds(
        files in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"ab\r\n\n"[..]), 0..40), 0..4),
        header in 0..4usize, compression in prop::sample::select(&ALL[..]),
    ) {
        let folder = Folder::new();
        let paths: Vec<_> =
            files.iter().enumerate().map(|(i, file)| folder.file(&i.to_string(), &pack(file, compression))).collect();
        let reader = LineReader::new().skip_header_lines(header as u64).compression(compression);
        // A carriage return at the end of a file without a line feed belongs to its line.
        let expected: Vec<_> = paths.iter().zip(&files).flat_map(|(path, file)| {
            let mut lines = lines_of(path, file, header);
            if file.last() == Some(&b'\r')
                && let Some((_, line)) = lines.last_mut()
            {
                *line = [&line[..], b"\r"].concat().into();
            }
            lines
        }).collect();
        prop_assert_eq!(records(&reader, &closed_names(&paths)), expected);
        prop_assert_eq!(reader.num_work_units_completed(), files.len() as u64);
    }

    #[test]
    fn records_of_one_length_lie_where_arithmetic_says(
        len in 0..60usize, header in 0..5usize, record in 1..6usize, footer in 0..5usize, hop in 0..9usize,
        compression in prop::sample::select(&ALL[..]),
    ) {
        let bytes: Vec<u8> = (0..len as u8).collect();
        let folder = Folder::new();
        let path = folder.file("fixed", &pack(&bytes, compression));
        let reader = FixedLengthReader::new(record as u64).unwrap().compression(compression);
        let reader = reader.header_bytes(header as u64).footer_bytes(footer as u64).hop_bytes(hop as u64);
        let read = drain(&reader, &closed_names([&path]));
        if header + footer > len {
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].as_ref().unwrap_err().kind(), ErrorKind::Malformed);
            prop_assert_eq!(reader.num_work_units_completed(), 0);
            return Ok(());
        }
        let hop = if hop == 0 { record } else { hop };
        let payload = &bytes[header..len - footer];
        let starts: Vec<_> = (0..payload.len()).step_by(hop).filter(|start| start + record <= payload.len()).collect();
        let expected = starts.iter().enumerate().map(|(number, &start)| {
            (format!("{path}:{number}"), Bytes::copy_from_slice(&payload[start..start + record]))
        });
        let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(read, expected.collect::<Vec<_>>());
        let owned = starts.last().map_or(0, |start| (start + hop.max(record)).min(payload.len()));
        prop_assert_eq!(reader.partial_bytes(), (payload.len() - owned) as u64);
    }

    #[test]
    fn payloads_are_those_that_were_framed(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        buffer in 0..64usize, n in 1..5usize, compression in prop::sample::select(&ALL[..]),
    ) {
        let folder = Folder::new();
        let path = folder.file("records", &pack(&frames(&payloads), compression));
        let reader = TfRecordReader::new().compression(compression).buffer_bytes(buffer);
        let (queue, mut read) = (closed_names([&path]), Vec::new());
        while let Ok(some) = reader.read_up_to(&queue, n) {
            prop_assert!((1..=n).contains(&some.len()));
            read.extend(some);
        }
        let mut offset = 0;
        for (payload, (key, value)) in payloads.iter().zip(&read) {
            prop_assert_eq!((key, &value[..]), (&format!("{path}:{offset}"), &payload[..]));
            offset += payload.len() + 16;
        }
        prop_assert_eq!(read.len(), payloads.len());
        prop_assert_eq!(reader.num_records_produced(), payloads.len() as u64);
    }
}

type Make = Box<dyn Fn() -> Box<dyn Reader>>;

/// Every kind of reader, and files for it: the second is damaged where the kind can tell.
fn every_kind(folder: &Folder) -> Vec<(Make, Vec<String>)> {
    let mut kinds: Vec<(Make, Vec<String>)> = Vec::new();
    let lines: Vec<u8> = (0..6).flat_map(|line| format!("line {line}\r\n").into_bytes()).collect();
    let mut damaged = frames((0..5).map(|number| format!("payload {number}")));
    damaged[3 * 25 + 12] ^= 1;
    let whole = frames((0..4).map(|number| vec![number; 1000 * usize::from(number)]));
    for compression in ALL {
        let file = |name: &str, bytes: &[u8]| {
            folder.file(&format!("{name}.{compression}"), &pack(bytes, compression))
        };
        kinds.push((
            Box::new(move || Box::new(LineReader::new().skip_header_lines(2).compression(compression))),
            vec![file("a.txt", &lines), folder.path("missing.txt"), file("b.txt", b"h\nh\n\nlast")],
        ));
        let fixed = move || {
            let reader = FixedLengthReader::new(7).unwrap().header_bytes(3).footer_bytes(2).hop_bytes(4);
            Box::new(reader.compression(compression)) as Box<dyn Reader>
        };
        kinds.push((
            Box::new(fixed),
            vec![file("a.bin", &lines), file("short.bin", b"four"), file("b.bin", &lines[..20])],
        ));
        kinds.push((
            Box::new(move || Box::new(TfRecordReader::new().compression(compression))),
            vec![
                file("a.tfr", &whole),
                file("damaged.tfr", &damaged),
                file("b.tfr", &frames(["x", "", "z"])),
            ],
        ));
    }
    kinds.push((
        Box::new(|| Box::new(WholeFileReader::new())),
        vec![folder.file("a", b"of a"), folder.path("missing"), folder.file("b", b"")],
    ));
    kinds.push((Box::new(|| Box::new(IdentityReader::new())), ["a", "b", "a"].map(String::from).to_vec()));
    kinds
}

fn told(read: Vec<Result<Record>>) -> Vec<Result<Record, String>> {
    read.into_iter().map(|read| read.map_err(|error| error.to_string())).collect()
}

/// Saved as text after every record and error, and restored in a reader that read something else before.
#[test]
fn a_reader_goes_on_where_its_state_was_taken() {
    let folder = Folder::new();
    for (make, paths) in every_kind(&folder) {
        let whole = told(drain(&*make(), &closed_names(&paths)));
        let (reader, queue) = (make(), closed_names(&paths));
        for at in 0..=whole.len() {
            let json = reader.state().to_json();
            let state = ReaderState::from_json(&json).unwrap();
            assert_eq!(state.to_json(), json);
            let other = make();
            let _ = other.read(&closed_names(&paths[2..]));
            other.restore(&state).unwrap();
            assert_eq!(other.num_records_produced(), reader.num_records_produced(), "{json}");
            assert_eq!(other.num_work_units_completed(), reader.num_work_units_completed());
            let left = closed_names(&paths[paths.len() - queue.size()..]);
            assert_eq!(told(drain(&*other, &left)), whole[at..], "after {at} of {}: {json}", whole.len());
            let _ = reader.read(&queue);
        }
    }
}

/// An error that waits behind records in hand is read again by whoever goes on from there.
#[test]
fn an_error_behind_records_is_what_the_next_call_gets() {
    let folder = Folder::new();
    let mut bytes = frames(["one", "two", "three"]);
    bytes[2 * 19 + 12] ^= 1;
    let paths = [folder.file("damaged", &bytes), folder.file("next", &frames(["four"]))];
    let (reader, queue) = (TfRecordReader::new(), closed_names(&paths));
    let some = reader.read_up_to(&queue, 10).unwrap();
    assert_eq!(some.iter().map(|(_, value)| &value[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    let state = reader.state();
    let other = TfRecordReader::new();
    other.restore(&state).unwrap();
    for reader in [reader, other] {
        let queue = closed_names(&paths[1..]);
        let error = reader.read_up_to(&queue, 10).unwrap_err();
        let location = error.location();
        assert_eq!(location.path.as_deref(), Some(paths[0].as_ref()));
        assert_eq!((location.record, location.byte), (Some(2), Some(38)), "{error}");
        // The unit is given up: it does not count, and the next file is read.
        assert_eq!(reader.num_work_units_completed(), 0);
        assert_eq!(reader.read(&queue).unwrap().1, "four");
        assert_eq!(reader.read(&queue).unwrap_err().kind(), ErrorKind::OutOfRange);
        assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (3, 1));
    }
}

#[test]
fn what_is_no_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let good = folder.file("good", b"");
    let folder_path = folder.path("");
    for path in [folder.path("missing"), folder_path, "/dev/zero".to_owned(), "a\0b".to_owned()] {
        let readers: [Box<dyn Reader>; 4] = [
            Box::new(LineReader::new()),
            Box::new(FixedLengthReader::new(1).unwrap()),
            Box::new(TfRecordReader::new()),
            Box::new(WholeFileReader::new()),
        ];
        for reader in readers {
            let queue = closed_names([&path, &good]);
            let error = reader.read(&queue).unwrap_err();
            assert_eq!(
                (error.kind(), error.location().path.as_deref()),
                (ErrorKind::Io, Some(path.as_ref()))
            );
            assert!(drain(&*reader, &queue).iter().all(Result::is_ok));
            assert_eq!(reader.num_work_units_completed(), 1);
        }
    }
}

/// A pipe nobody writes into would be waited for.
#[test]
#[cfg(target_os = "linux")]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = Folder::new();
    let path = folder.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = LineReader::new().read(&closed_names([&path])).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.message().contains("expected a file"), "{error}");
}

#[test]
fn states_of_others_are_refused_and_change_nothing() {
    let folder = Folder::new();
    let path = folder.file("lines", b"one\ntwo\nthree\n");
    let reader = LineReader::new();
    reader.read(&closed_names([&path])).unwrap();
    let state = reader.state();
    let kind = |reader: &dyn Reader| reader.restore(&state).unwrap_err().kind();
    assert_eq!(kind(&LineReader::new().skip_header_lines(1)), ErrorKind::Mismatch);
    assert_eq!(kind(&LineReader::new().compression(Compression::Gzip)), ErrorKind::Mismatch);
    assert_eq!(kind(&TfRecordReader::new()), ErrorKind::Mismatch);
    fs::write(&path, b"one\ntwo\nthree and more\n").unwrap();
    assert_eq!(kind(&reader), ErrorKind::Mismatch);
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(&reader), ErrorKind::Io);
    // The file that is open is still there to be read.
    assert_eq!(reader.num_records_produced(), 1);
    assert_eq!(reader.read(&Names::unbounded()).unwrap(), (format!("{path}:2"), "two".into()));

    let json = state.to_json();
    for (bad, kind) in [
        (json.replace("\"version\":1", "\"version\":2"), ErrorKind::Unsupported),
        (json.replace("\"records\":1", "\"records\":-1"), ErrorKind::Malformed),
        (json.replace("\"taken\"", "\"other\""), ErrorKind::Malformed),
        (json[..json.len() - 1].to_owned(), ErrorKind::Malformed),
        (String::new(), ErrorKind::Malformed),
    ] {
        assert_eq!(ReaderState::from_json(&bad).unwrap_err().kind(), kind, "{bad}");
    }
}

#[test]
fn a_place_beyond_the_end_is_refused() {
    let folder = Folder::new();
    for compression in ALL {
        let path = folder.file("lines", &pack(b"one\ntwo\n", compression));
        let reader = LineReader::new().compression(compression);
        reader.read(&closed_names([&path])).unwrap();
        for far in [9, u64::MAX] {
            let json = reader.state().to_json().replace("\"byte\":4", &format!("\"byte\":{far}"));
            let error = reader.restore(&ReaderState::from_json(&json).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        }
        assert_eq!(reader.read(&Names::unbounded()).unwrap().1, "two");
    }
}

#[test]
fn a_reset_gives_up_the_file_and_what_was_left_over() {
    let folder = Folder::new();
    let paths = [folder.file("a", b"abcde"), folder.file("b", b"fghij"), folder.file("c", b"klmno")];
    let (reader, queue) = (FixedLengthReader::new(2).unwrap(), closed_names(&paths));
    for _ in 0..3 {
        reader.read(&queue).unwrap();
    }
    assert_eq!((reader.num_work_units_completed(), reader.partial_bytes()), (1, 1));
    reader.reset();
    let counts = (reader.num_records_produced(), reader.num_work_units_completed(), reader.partial_bytes());
    assert_eq!(counts, (0, 0, 0));
    assert_eq!(reader.read(&queue).unwrap(), (format!("{}:0", paths[2]), "kl".into()));
}

/// Five threads share one reader; the queue is filled while they wait for it.
#[test]
fn threads_that_share_a_reader_get_each_record_once() {
    const THREADS: usize = 5;
    let folder = Folder::new();
    let files: Vec<_> = (0..20)
        .map(|file| {
            let lines: Vec<u8> =
                (0..file * 7 % 50).flat_map(|line| format!("{file} {line}\n").into_bytes()).collect();
            folder.file(&format!("file {file}"), &lines)
        })
        .collect();
    let expected: HashSet<_> =
        files.iter().flat_map(|path| lines_of(path, &fs::read(path).unwrap(), 0)).collect();
    let (reader, queue, read) = (LineReader::new(), Names::unbounded(), Mutex::new(Vec::new()));
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (reader, queue, read, ended) = (&reader, &queue, &read, &ended);
            scope.spawn(move || {
                loop {
                    match reader.read_up_to(queue, 1 + number) {
                        Ok(some) => read.lock().unwrap().extend(some),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::OutOfRange);
                            ended.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    }
                }
            });
        }
        for file in &files {
            queue.enqueue(file.clone()).unwrap();
            thread::yield_now();
        }
        queue.close(false);
    });
    let read = read.into_inner().unwrap();
    assert_eq!((read.len(), ended.into_inner()), (expected.len(), THREADS));
    assert_eq!(read.into_iter().collect::<HashSet<_>>(), expected);
    assert_eq!(reader.num_records_produced(), expected.len() as u64);
    assert_eq!(reader.num_work_units_completed(), files.len() as u64);
}

/// One thread waits for the queue, the others for it; counters and state can be had meanwhile, and a cancel ends them all.
#[test]
fn a_cancelled_queue_wakes_every_thread_of_a_reader() {
    let (reader, queue) = (LineReader::new(), Names::unbounded());
    let kinds: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..5).map(|_| scope.spawn(|| reader.read(&queue).unwrap_err().kind())).collect();
        for _ in 0..1000 {
            assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (0, 0));
            assert_eq!(reader.state(), LineReader::new().state());
            thread::yield_now();
        }
        queue.cancel();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(kinds, [ErrorKind::Cancelled; 5]);
}

/// What is restored while threads wait for the queue is read by those that wait for the one at the queue, and a unit that
/// comes meanwhile is read after it.
#[test]
fn what_is_restored_while_others_wait_is_read_first() {
    let folder = Folder::new();
    let path = folder.file("lines", b"one\ntwo\nthree\n");
    let other = LineReader::new();
    other.read(&closed_names([&path])).unwrap();
    let state = other.state();
    let (reader, queue) = (LineReader::new(), Names::unbounded());
    let (send, read) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, queue, send) = (&reader, &queue, send.clone());
            scope.spawn(move || {
                while let Ok((key, _)) = reader.read(queue) {
                    send.send(key).unwrap();
                }
            });
        }
        reader.restore(&state).unwrap();
        let rest: HashSet<_> = (0..2).map(|_| read.recv().unwrap()).collect();
        assert_eq!(rest, HashSet::from([format!("{path}:2"), format!("{path}:3")]));
        queue.enqueue(path.clone()).unwrap();
        let again: HashSet<_> = (0..3).map(|_| read.recv().unwrap()).collect();
        assert_eq!(again, (1..=3).map(|line| format!("{path}:{line}")).collect());
        queue.close(false);
    });
    assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (6, 2));
}

/// A queue of one's own that panics does not leave the others waiting.
#[test]
fn a_queue_that_panics_leaves_a_reader_that_works() {
    struct Broken;
    impl Queue<String> for Broken {
        fn enqueue(&self, _: String) -> Result<()> {
            panic!("out of order")
        }
        fn enqueue_many(&self, _: Vec<String>) -> Result<()> {
            panic!("out of order")
        }
        fn dequeue(&self) -> Result<String> {
            panic!("out of order")
        }
        fn dequeue_within(&self, _: std::time::Duration) -> Result<String> {
            panic!("out of order")
        }
        fn dequeue_many(&self, _: usize) -> Result<Vec<String>> {
            panic!("out of order")
        }
        fn dequeue_up_to(&self, _: usize) -> Result<Vec<String>> {
            panic!("out of order")
        }
        fn close(&self, _: bool) {}
        fn cancel(&self) {}
        fn is_closed(&self) -> bool {
            false
        }
        fn size(&self) -> usize {
            0
        }
        fn capacity(&self) -> Option<usize> {
            None
        }
    }
    let reader = IdentityReader::new();
    thread::scope(|scope| assert!(scope.spawn(|| reader.read(&Broken)).join().is_err()));
    assert_eq!(reader.read(&closed_names(["next"])).unwrap().0, "next");
}

/// A length that says more than the file holds is refused before anything is made room for.
#[test]
fn forged_lengths_take_no_memory() {
    let mut cases = Cases::new();
    let path = cases.folder.path().join("forged").to_str().unwrap().to_owned();
    for length in [6, 1 << 20, 1 << 32, 1 << 40, u64::MAX - 15, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        // The checksum of the length is right: the frame of a payload of 5 bytes says how it is made.
        bytes.extend(masked(&length.to_le_bytes()).to_le_bytes());
        bytes.extend(b"12345");
        for compression in ALL {
            fs::write(&path, pack(&bytes, compression)).unwrap();
            let read = || {
                let reader = TfRecordReader::new().compression(compression);
                drain(&reader, &closed_names([&path])).into_iter().filter_map(Result::err).collect()
            };
            let what = || format!("a payload of {length} bytes, {compression}");
            let error = cases.tried(&read, &names(&path), bytes.len(), &what).unwrap();
            let kind = match (compression, length) {
                (Compression::None, _) | (_, 0..=0x400_0000) => ErrorKind::Malformed,
                _ => ErrorKind::TooLarge,
            };
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}

/// The checksum of a length: a payload of those 8 bytes has it.
fn masked(bytes: &[u8]) -> u32 {
    let frame = support::frame(bytes);
    u32::from_le_bytes(*frame.last_chunk().unwrap())
}

fn names(path: &str) -> impl Fn(&Error) -> bool {
    move |error: &Error| error.location().path.as_deref() == Some(path.as_ref())
}

/// A file of few bytes that inflates to a record of very many.
#[test]
fn a_line_of_a_compressed_file_is_bounded() {
    let mut cases = Cases::new();
    let path = cases.folder.path().join("bomb").to_str().unwrap().to_owned();
    let file = small::zstd(&vec![b'x'; (64 << 20) + 1]);
    fs::write(&path, &file).unwrap();
    let read = || {
        let lines = LineReader::new().compression(Compression::Zstd);
        drain(&lines, &closed_names([&path])).into_iter().filter_map(Result::err).collect()
    };
    // A buffer grows by half or to twice itself: what it had before is there while it is copied.
    let error = cases.tried(&read, &names(&path), 20 << 20, &|| "one line".to_owned()).unwrap();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    // The same bytes in records of one length are read in as many pieces.
    let fixed = FixedLengthReader::new(1 << 20).unwrap().compression(Compression::Zstd);
    assert_eq!(records(&fixed, &closed_names([&path])).len(), 64);
    assert_eq!(fixed.partial_bytes(), 1);
}

fn mutants() -> usize {
    std::env::var("FOREBAY_MUTANTS").map_or(2_000, |n| n.parse().expect("FOREBAY_MUTANTS is a number"))
}

/// Damaged files are read or refused, and a file behind them is read in any case.
#[test]
fn damaged_files_are_read_or_refused() {
    let folder = Folder::new();
    let next = folder.file("next", &frames(["of the next file"]));
    for compression in ALL {
        let mut cases = Cases::new();
        let path = cases.folder.path().join("case").to_str().unwrap().to_owned();
        let file =
            pack(&frames((0..6).map(|number: usize| vec![b'a' + number as u8; number * 11])), compression);
        let read = || {
            let lines = LineReader::new().compression(compression);
            let fixed =
                FixedLengthReader::new(5).unwrap().footer_bytes(4).hop_bytes(3).compression(compression);
            let kinds: [&dyn Reader; 3] = [&lines, &fixed, &TfRecordReader::new().compression(compression)];
            let errors = kinds.into_iter().flat_map(|reader| drain(reader, &closed_names([&path])));
            let mut errors: Vec<_> = errors.filter_map(Result::err).collect();
            if compression == Compression::None {
                let reader = TfRecordReader::new();
                let read = drain(&reader, &closed_names([&path, &next]));
                assert_eq!(read.last().unwrap().as_ref().unwrap().1, "of the next file");
                errors.extend(read.into_iter().filter_map(Result::err));
            }
            errors
        };
        fs::write(&path, &file).unwrap();
        assert!(cases.tried(&read, &names(&path), file.len(), &|| "undamaged".to_owned()).is_none());
        for cut in 0..file.len() {
            fs::write(&path, &file[..cut]).unwrap();
            cases.tried(&read, &names(&path), cut, &|| format!("{compression} cut to {cut} bytes"));
        }
        for seed in 0..mutants() {
            let (mut random, mut mutant) = (Random(seed as u64), file.clone());
            for _ in 0..=random.below(3) {
                random.mutate(&mut mutant);
            }
            fs::write(&path, &mutant).unwrap();
            cases.tried(&read, &names(&path), mutant.len(), &|| format!("{compression}, mutant {seed}"));
        }
    }
}

/// Files of others: what a reader gives is what a dataset has.
#[test]
fn files_of_others_have_the_records_a_dataset_has() {
    let Some((folder, _)) = common::test_data() else { return };
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    for (name, compression) in [
        ("tfrecord/mnist_1000.tfrecord", Compression::None),
        ("tfrecord/od_train.tfrecord", Compression::None),
        ("tfrecord/morris_raw.tfrecord", Compression::None),
        ("tfrecord/penguin_train.gz", Compression::Gzip),
        ("tfrecord/sequence_eval.gz", Compression::Gzip),
        ("tfrecord/taxi_eval/data_tfrecord-00003-of-00012.gz", Compression::Gzip),
    ] {
        let reader = TfRecordReader::new().compression(compression);
        let read = records(&reader, &closed_names([path(name)]));
        let dataset = Dataset::options().raw_records().open(path(name)).unwrap();
        let table = common::gather_all(&dataset);
        let rows = arrow::array::AsArray::as_binary::<i32>(table.column(0));
        assert_eq!(read.len(), table.num_rows(), "{name}");
        assert!(read.iter().zip(rows).all(|((_, value), row)| Some(&value[..]) == row), "{name}");
    }
    let name = "fixed_binary/cifar10-train-00000-00999-chw3072.bin";
    let len = fs::metadata(path(name)).unwrap().len();
    let reader = FixedLengthReader::new(3072).unwrap();
    let read = records(&reader, &closed_names([path(name)]));
    assert_eq!((read.len() as u64, reader.partial_bytes()), (len / 3072, len % 3072));
    for name in ["csv/iris.csv", "csv/uspop-latin1.csv", "text/tinyshakespeare.txt"] {
        let text = fs::read(path(name)).unwrap();
        let read = records(&LineReader::new(), &closed_names([path(name)]));
        assert_eq!(read, lines_of(&path(name), &text, 0), "{name}");
    }
}
