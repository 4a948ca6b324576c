//! Files that are written and read back.

use std::fs;

use forebay::convert::RecordWriter;
use forebay::coordinator::reader::{Reader, WholeFileReader};

use crate::support::{Folder, closed_names, frames};

fn write_and_read(path: &str) {
    for contents in [&[][..], &["Some", "", "contents"]] {
        let mut writer = RecordWriter::create(path).unwrap();
        contents.iter().for_each(|record| writer.write(record.as_bytes()).unwrap());
        writer.close().unwrap();
        let (key, read) = WholeFileReader::new().read(&closed_names([path])).unwrap();
        assert_eq!((key.as_str(), &read[..]), (path, &frames(contents)[..]));
    }
}

/// `IoOpsTest.testWriteFile`
#[test]
fn write_file() {
    let folder = Folder::new();
    write_and_read(&folder.path("file"));
}

/// `IoOpsTest.testWriteFileCreateDir`
#[test]
fn write_file_create_dir() {
    let folder = Folder::new();
    let path = folder.path("a/b/c");
    write_and_read(&path);
    assert!(fs::metadata(path).unwrap().is_file());
}
