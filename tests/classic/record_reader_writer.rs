//! What a writer of records flushed, a reader reads.

use std::fs;

use forebay::ErrorKind;
use forebay::convert::RecordWriter;
use forebay::coordinator::reader::{Reader, TfRecordReader};
use forebay::format::Compression;

use crate::support::{Folder, closed_names};

/// `TestZlibSyncFlush`
#[test]
fn test_zlib_sync_flush() {
    let folder = Folder::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zlib, Compression::Zstd] {
        let path = folder.path("flushed");
        let mut writer = RecordWriter::options().compression(compression).create(&path).unwrap();
        let (reader, queue) = (TfRecordReader::new().compression(compression), closed_names([&path]));
        writer.write(b"abc").unwrap();
        writer.write(b"defg").unwrap();
        writer.flush().unwrap();
        // The file goes on, but these two are there.
        assert_eq!(reader.read(&queue).unwrap().1, "abc");
        assert_eq!(reader.read(&queue).unwrap().1, "defg");
        writer.write(b"h").unwrap();
        writer.close().unwrap();
        let all = TfRecordReader::new().compression(compression);
        assert_eq!(all.read_up_to(&closed_names([&path]), 10).unwrap().len(), 3);
    }
}

/// `TestBasics`
#[test]
fn test_basics() {
    let folder = Folder::new();
    for compression in [Compression::None, Compression::Zlib] {
        // Without compression there is no buffer to choose for the writer; with it neither.
        for buffer_bytes in [0, 1, 2, 3, 4, 5, 11, 12, 13, 200, 1 << 20] {
            let path = folder.path("basics");
            let mut writer = RecordWriter::options().compression(compression).create(&path).unwrap();
            writer.write(b"abc").unwrap();
            writer.write(b"defg").unwrap();
            writer.close().unwrap();
            assert_eq!((writer.num_records(), writer.payload_bytes()), (2, 7));
            if compression == Compression::None {
                assert_eq!(fs::metadata(&path).unwrap().len(), 39);
            }
            let reader = TfRecordReader::new().compression(compression).buffer_bytes(buffer_bytes);
            let queue = closed_names([&path]);
            assert_eq!(reader.read(&queue).unwrap(), (format!("{path}:0"), "abc".into()));
            assert_eq!(reader.read(&queue).unwrap(), (format!("{path}:19"), "defg".into()));
            assert_eq!(reader.read(&queue).unwrap_err().kind(), ErrorKind::OutOfRange);
            assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (2, 1));
        }
    }
}

/// `TestUseAfterClose`
#[test]
fn test_use_after_close() {
    let folder = Folder::new();
    for compression in [Compression::None, Compression::Zlib] {
        let path = folder.path("closed");
        let mut writer = RecordWriter::options().compression(compression).create(&path).unwrap();
        writer.write(b"abc").unwrap();
        writer.close().unwrap();
        let error = writer.write(b"abc").unwrap_err();
        assert_eq!(
            (error.kind(), error.location().path.as_deref()),
            (ErrorKind::Closed, Some(path.as_ref()))
        );
        assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Closed);
        writer.close().unwrap();
        assert_eq!(writer.num_records(), 1);
    }
}
