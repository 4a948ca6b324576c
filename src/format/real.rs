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
