//! Records one after another, read in order, from a place within, and where they are damaged.

use std::fs::{self, OpenOptions};

use forebay::convert::RecordWriter;
use forebay::coordinator::reader::{Reader, ReaderState, TfRecordReader};
use forebay::format::Compression;
use forebay::{Error, ErrorKind};

use crate::support::{Folder, Names, closed_names, frames, zlib};

fn write<R: AsRef<[u8]>>(path: &str, compression: Compression, records: impl IntoIterator<Item = R>) {
    let mut writer = RecordWriter::options().compression(compression).create(path).unwrap();
    records.into_iter().for_each(|record| writer.write(record.as_ref()).unwrap());
    writer.close().unwrap();
}

#[track_caller]
fn expect_end(reader: &dyn Reader, queue: &Names) {
    assert_eq!(reader.read(queue).unwrap_err().kind(), ErrorKind::OutOfRange);
}

/// A number of some digits, repeated up to so many bytes.
fn big(text: &str, len: usize) -> Vec<u8> {
    text.bytes().cycle().take(len).collect()
}

/// `Empty`
#[test]
fn empty() {
    let folder = Folder::new();
    let path = folder.path("empty");
    write(&path, Compression::None, [[0u8; 0]; 0]);
    assert_eq!(fs::read(&path).unwrap(), b"");
    let (reader, queue) = (TfRecordReader::new(), closed_names([&path]));
    expect_end(&reader, &queue);
    assert_eq!(reader.num_work_units_completed(), 1);
}

/// `ReadWrite`
#[test]
fn read_write() {
    let folder = Folder::new();
    let path = folder.path("records");
    let records = ["foo", "bar", "", "xxxx"];
    write(&path, Compression::None, records);
    assert_eq!(fs::read(&path).unwrap(), frames(records));
    let (reader, queue) = (TfRecordReader::new(), closed_names([&path]));
    for record in records {
        assert_eq!(reader.read(&queue).unwrap().1, record);
    }
    expect_end(&reader, &queue);
    expect_end(&reader, &queue);
}

/// `ManyRecords`
#[test]
fn many_records() {
    let folder = Folder::new();
    let path = folder.path("many");
    write(&path, Compression::None, (0..100_000).map(|number: u32| number.to_string()));
    let (reader, queue) = (TfRecordReader::new(), closed_names([&path]));
    for number in 0..100_000 {
        assert_eq!(reader.read(&queue).unwrap().1, number.to_string());
    }
    expect_end(&reader, &queue);
}

/// Numbers of a fixed sequence, small ones most often.
fn skewed() -> impl Iterator<Item = usize> {
    let mut state = 301u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (state >> 33) as usize;
        random / 18 % (1 << (random % 18))
    })
}

/// `RandomRead`
#[test]
fn random_read() {
    let folder = Folder::new();
    let records: Vec<_> = skewed().take(500).enumerate().map(|(i, len)| big(&format!("{i}."), len)).collect();
    for compression in [Compression::None, Compression::Gzip] {
        let path = folder.path("random");
        write(&path, compression, &records);
        let reader = TfRecordReader::new().compression(compression);
        let queue = closed_names([&path]);
        for record in &records {
            assert_eq!(reader.read(&queue).unwrap().1, record);
        }
        expect_end(&reader, &queue);
    }
}

/// Records 3 and 8, whose places are known from a first pass, are read again.
fn read_not_in_order(compression: Compression, buffer_bytes: usize) {
    let folder = Folder::new();
    let path = folder.path("places");
    let records: Vec<_> = (0..10).map(|number| big(&format!("{number}."), 1000 * number + 7)).collect();
    write(&path, compression, &records);
    let reader = TfRecordReader::new().compression(compression).buffer_bytes(buffer_bytes);
    let queue = closed_names([&path]);
    let mut states = Vec::new();
    for record in &records {
        states.push(reader.state().to_json());
        assert_eq!(reader.read(&queue).unwrap().1, record);
    }
    for number in [3, 8, 1, 9] {
        reader.restore(&ReaderState::from_json(&states[number]).unwrap()).unwrap();
        assert_eq!(reader.num_records_produced(), number as u64);
        assert_eq!(reader.read(&queue).unwrap().1, records[number]);
    }
    expect_end(&reader, &queue);
    assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (10, 1));
}

/// `NonSequentialReadsWithReadBuffer`
#[test]
fn non_sequential_reads_with_read_buffer() {
    read_not_in_order(Compression::None, 1 << 10);
    read_not_in_order(Compression::None, 0);
}

/// `NonSequentialReadsWithCompression`
#[test]
fn non_sequential_reads_with_compression() {
    read_not_in_order(Compression::Zlib, 1 << 10);
    read_not_in_order(Compression::Gzip, 1 << 16);
    read_not_in_order(Compression::Zstd, 1);
}

/// A file that becomes shorter between two records: the next is an error that names it, and the next file is read.
fn read_error(compression: Compression, buffer_bytes: usize) {
    let folder = Folder::new();
    let (path, next) = (folder.path("shorter"), folder.path("next"));
    // Bytes that do not compress, so that a buffer does not hold all of them.
    let noise: Vec<u8> =
        (0..100_000u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    write(&path, compression, [&b"first"[..], &noise, b"last"]);
    write(&next, compression, ["of the next file"]);
    let reader = TfRecordReader::new().compression(compression).buffer_bytes(buffer_bytes);
    let queue = closed_names([&path, &next]);
    assert_eq!(reader.read(&queue).unwrap().1, "first");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(2000).unwrap();
    let error = reader.read(&queue).unwrap_err();
    let location = error.location();
    assert_eq!((location.path.as_deref(), location.record), (Some(path.as_ref()), Some(1)), "{error}");
    let kind = if compression == Compression::None { ErrorKind::Truncated } else { ErrorKind::Malformed };
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(reader.read(&queue).unwrap().1, "of the next file");
    expect_end(&reader, &queue);
    assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (2, 1));
}

/// `ReadErrorWithBuffering`
#[test]
fn read_error_with_buffering() {
    read_error(Compression::None, 1 << 10);
}

/// `ReadErrorWithCompression`
#[test]
fn read_error_with_compression() {
    read_error(Compression::Zlib, 1 << 10);
    read_error(Compression::Gzip, 1 << 10);
}

/// What the one error of a damaged file is.
fn error_of(folder: &Folder, bytes: &[u8], compression: Compression) -> Error {
    let path = folder.file("damaged", bytes);
    let reader = TfRecordReader::new().compression(compression);
    let error = reader.read(&closed_names([&path])).unwrap_err();
    assert_eq!(error.location().path.as_deref(), Some(path.as_ref()));
    assert_eq!((error.location().record, error.location().byte), (Some(0), Some(0)));
    error
}

/// `CorruptLengthCrc`
#[test]
fn corrupt_length_crc() {
    let folder = Folder::new();
    for at in 0..12 {
        let mut bytes = frames(["foo"]);
        bytes[at] ^= 0x40;
        for (compression, bytes) in [(Compression::None, bytes.clone()), (Compression::Zlib, zlib(&bytes))] {
            let error = error_of(&folder, &bytes, compression);
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.message().contains("length of a record with the masked CRC"), "{error}");
        }
    }
}

/// `CorruptData`
#[test]
fn corrupt_data() {
    let folder = Folder::new();
    for at in 12..19 {
        let mut bytes = frames(["foo"]);
        bytes[at] ^= 0x01;
        for (compression, bytes) in [(Compression::None, bytes.clone()), (Compression::Zlib, zlib(&bytes))] {
            let error = error_of(&folder, &bytes, compression);
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.message().contains("a payload of 3 bytes with the masked CRC"), "{error}");
        }
    }
}

/// A state at byte `at` of a file with records 0 and 1, which end at byte 38.
fn state_at(path: &str, at: u64) -> ReaderState {
    let reader = TfRecordReader::new();
    reader.read(&closed_names([path])).unwrap();
    let json = reader.state().to_json();
    let moved = json.replace("\"byte\":19", &format!("\"byte\":{at}"));
    assert_ne!(json, moved);
    ReaderState::from_json(&moved).unwrap()
}

/// `ReadEnd`
#[test]
fn read_end() {
    let folder = Folder::new();
    let path = folder.file("end", &frames(["foo", "bar"]));
    let (reader, queue) = (TfRecordReader::new(), closed_names::<&str>([]));
    reader.restore(&state_at(&path, 38)).unwrap();
    expect_end(&reader, &queue);
}

/// `ReadPastEnd`
#[test]
fn read_past_end() {
    let folder = Folder::new();
    let path = folder.file("end", &frames(["foo", "bar"]));
    let (reader, queue) = (TfRecordReader::new(), closed_names::<&str>([]));
    let error = reader.restore(&state_at(&path, 43)).unwrap_err();
    assert_eq!((error.kind(), error.location().path.as_deref()), (ErrorKind::Mismatch, Some(path.as_ref())));
    expect_end(&reader, &queue);
}
