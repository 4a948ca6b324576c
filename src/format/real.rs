//! Real files for the tests, from the folder that `FOREBAY_TEST_DATA` names.
#![forbid(unsafe_code)]

use std::env;
use std::path::PathBuf;

use serde_json::Value;

/// The folder, and what `expected.json` says of `file` in it; `None`, said aloud, where there is no folder.
pub(super) fn expected(file: &str) -> Option<(PathBuf, Value)> {
    let Some(folder) = env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: FOREBAY_TEST_DATA is not set");
        return None;
    };
    let text = std::fs::read(folder.join("expected.json")).expect("expected.json is readable");
    let all: Value = serde_json::from_slice(&text).expect("expected.json is JSON");
    let one = all["files"][file].clone();
    assert!(one.is_object(), "expected.json has {file}");
    Some((folder.join(file), one))
}

/// The bytes of the file at `path`, inflated where they are gzip.
pub(super) fn inflated(path: &std::path::Path) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("the file is readable");
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return bytes;
    }
    let mut inflated = Vec::new();
    let mut decoder = flate2::bufread::MultiGzDecoder::new(&bytes[..]);
    std::io::Read::read_to_end(&mut decoder, &mut inflated).expect("the file is gzip");
    inflated
}

/// A digest as `expected.json` writes it.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
