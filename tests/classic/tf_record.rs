//! TFRecord files, written and read.

use std::fs;

use forebay::convert::{RecordWriter, RecordWriterOptions};
use forebay::coordinator::reader::{Reader, TfRecordReader};
use forebay::format::Compression;
use forebay::{Error, ErrorKind};

use crate::support::{Folder, closed_names, frames, gunzip, gzip, unzlib, zlib};

fn record(file: usize, number: usize) -> Vec<u8> {
    format!("Record {number} of file {file}").into_bytes()
}

fn records() -> Vec<Vec<u8>> {
    (0..7).map(|number| record(0, number)).collect()
}

/// A text that does not repeat itself soon.
fn text() -> Vec<u8> {
    (0..2000u32).flat_map(|i| format!("{:x} ", i.wrapping_mul(2_654_435_761)).into_bytes()).collect()
}

fn write(path: &str, options: &RecordWriterOptions, records: &[Vec<u8>]) {
    let mut writer = options.create(path).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.close().unwrap();
}

/// All records of a file.
fn read(path: &str, compression: Compression) -> Result<Vec<Vec<u8>>, Error> {
    let (reader, queue) = (TfRecordReader::new().compression(compression), closed_names([path]));
    let mut records = Vec::new();
    loop {
        match reader.read(&queue) {
            Ok((_, record)) => records.push(record.to_vec()),
            Err(error) if error.kind() == ErrorKind::OutOfRange => return Ok(records),
            Err(error) => return Err(error),
        }
    }
}

fn with(compression: Compression) -> RecordWriterOptions {
    RecordWriter::options().compression(compression)
}

mod writer {
    use super::*;

    /// `TFRecordWriterTest.testWriteReadGzipFiles`
    #[test]
    fn write_read_gzip_files() {
        let folder = Folder::new();
        let path = folder.path("records.gz");
        write(&path, &with(Compression::Gzip), &records());
        let plain = folder.path("records");
        write(&plain, &with(Compression::None), &records());
        let inflated = gunzip(&fs::read(&path).unwrap());
        assert_eq!(inflated, fs::read(&plain).unwrap());
        assert_eq!(inflated, frames(records()));
        assert_eq!(read(&path, Compression::Gzip).unwrap(), records());
    }

    /// `TFRecordWriterTest.testNoCompressionType`
    #[test]
    fn no_compression_type() {
        assert_eq!("".parse::<Compression>().unwrap(), Compression::None);
        assert_eq!(Compression::default(), Compression::None);
        for bad in ["5", "BZ2"] {
            assert_eq!(bad.parse::<Compression>().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    /// `TFRecordWriterTest.testCompressionOptions`
    #[test]
    fn compression_options() {
        let folder = Folder::new();
        let records: Vec<_> = (0..20).map(|_| text()).collect();
        for (compression, levels) in
            [(Compression::Gzip, [0, 1, 9]), (Compression::Zlib, [0, 1, 9]), (Compression::Zstd, [1, 3, 19])]
        {
            let sizes = levels.map(|level| {
                let path = folder.path(&format!("{compression}-{level}"));
                write(&path, &with(compression).level(level), &records);
                assert_eq!(read(&path, compression).unwrap(), records);
                fs::metadata(path).unwrap().len()
            });
            assert!(sizes.is_sorted_by(|a, b| a > b), "{compression} at {levels:?}: {sizes:?}");
        }
        let path = folder.path("refused");
        for options in [
            with(Compression::Gzip).level(10),
            with(Compression::Zlib).level(10),
            with(Compression::Zstd).level(0),
            with(Compression::Zstd).level(23),
            with(Compression::None).level(1),
        ] {
            assert_eq!(options.create(&path).unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert!(fs::metadata(&path).is_err());
        }
    }
}

mod writer_zlib {
    use super::*;
    use std::io::Write;

    /// `TFRecordWriterZlibTest.testZLibFlushRecord`
    #[test]
    fn z_lib_flush_record() {
        let folder = Folder::new();
        let mut deflate = flate2::Compress::new(flate2::Compression::best(), true);
        let mut stored = Vec::with_capacity(1 << 16);
        for byte in frames([b"small record"]) {
            for flush in [flate2::FlushCompress::None, flate2::FlushCompress::Full] {
                let bytes = if flush == flate2::FlushCompress::None { &[byte][..] } else { &[] };
                deflate.compress_vec(bytes, &mut stored, flush).unwrap();
            }
        }
        deflate.compress_vec(&[], &mut stored, flate2::FlushCompress::Finish).unwrap();
        let path = folder.file("flushed", &stored);
        assert_eq!(read(&path, Compression::Zlib).unwrap(), [b"small record"]);
    }

    /// `TFRecordWriterZlibTest.testZlibReadWriteLarge`
    #[test]
    fn zlib_read_write_large() {
        let folder = Folder::new();
        let large = [text().repeat(512)];
        let path = folder.file("large.zlib", &zlib(&frames(&large)));
        assert_eq!(read(&path, Compression::Zlib).unwrap(), large);
    }

    /// `TFRecordWriterZlibTest.testGzipReadWrite`
    #[test]
    fn gzip_read_write() {
        let folder = Folder::new();
        let path = folder.file("records.gz", &gzip(&frames(records())));
        assert_eq!(read(&path, Compression::Gzip).unwrap(), records());
        // Members that follow one another are one stream.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&frames(records())).unwrap();
        let twice = encoder.finish().unwrap().repeat(2);
        let path = folder.file("twice.gz", &twice);
        assert_eq!(read(&path, Compression::Gzip).unwrap(), [records(), records()].concat());
    }
}

mod iterator {
    use super::*;

    /// `TFRecordIteratorTest.testWriteZlibRead`
    #[test]
    fn write_zlib_read() {
        let folder = Folder::new();
        let path = folder.path("records.zlib");
        write(&path, &with(Compression::Zlib), &[b"foobarbaz".to_vec()]);
        assert_eq!(unzlib(&fs::read(&path).unwrap()), frames([b"foobarbaz"]));
        assert_eq!(read(&path, Compression::Zlib).unwrap(), [b"foobarbaz"]);
    }

    /// `TFRecordIteratorTest.testWriteZlibReadLarge`
    #[test]
    fn write_zlib_read_large() {
        let folder = Folder::new();
        let path = folder.path("large.zlib");
        let large = [text().repeat(128)];
        write(&path, &with(Compression::Zlib), &large);
        assert_eq!(unzlib(&fs::read(&path).unwrap()), frames(&large));
        assert_eq!(read(&path, Compression::Zlib).unwrap(), large);
    }

    /// `TFRecordIteratorTest.testBadFile`
    #[test]
    fn bad_file() {
        let folder = Folder::new();
        let bytes = frames(records());
        for (cut, found) in [(14, "found the file ends after 2"), (5, "found 5 up to the end")] {
            let path = folder.file("cut", &bytes[..cut]);
            let error = read(&path, Compression::None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.message().contains(found), "{error}");
            let location = error.location();
            assert_eq!(location.path.as_deref(), Some(path.as_ref()));
            assert_eq!((location.record, location.byte), (Some(0), Some(0)));
        }
    }
}

mod close_and_flush {
    use super::*;

    const ALL: [Compression; 4] =
        [Compression::None, Compression::Gzip, Compression::Zlib, Compression::Zstd];

    /// `TFRecordWriterCloseAndFlushTests.testWriteAndLeaveOpen`
    #[test]
    fn write_and_leave_open() {
        let folder = Folder::new();
        for compression in ALL {
            let path = folder.path("left");
            let mut writer = with(compression).create(&path).unwrap();
            records().iter().for_each(|record| writer.write(record).unwrap());
            drop(writer);
            assert_eq!(read(&path, compression).unwrap(), records(), "{compression}");
        }
    }

    /// `TFRecordWriterCloseAndFlushTests.testDoubleClose`
    #[test]
    fn double_close() {
        let folder = Folder::new();
        for compression in ALL {
            let path = folder.path("twice");
            let mut writer = with(compression).create(&path).unwrap();
            writer.write(&record(0, 0)).unwrap();
            writer.close().unwrap();
            let size = fs::metadata(&path).unwrap().len();
            writer.close().unwrap();
            drop(writer);
            assert_eq!(fs::metadata(&path).unwrap().len(), size);
        }
    }

    /// `TFRecordWriterCloseAndFlushTests.testFlushAfterCloseIsError`
    #[test]
    fn flush_after_close_is_error() {
        let folder = Folder::new();
        for compression in ALL {
            let mut writer = with(compression).create(folder.path("closed")).unwrap();
            writer.close().unwrap();
            assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Closed);
        }
    }

    /// A full disk, as far as there is one that is always full.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_writer_that_could_not_write_says_so_from_then_on() {
        for compression in ALL {
            let mut writer = with(compression).create("/dev/full").unwrap();
            writer.write(b"kept in memory at first").unwrap();
            assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Io);
            assert_eq!(writer.write(b"more").unwrap_err().kind(), ErrorKind::Io);
            assert_eq!(writer.close().unwrap_err().kind(), ErrorKind::Io);
            assert_eq!((writer.num_records(), writer.payload_bytes()), (1, 23));
        }
    }
}
