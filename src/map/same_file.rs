//! Whether a path names an open file.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;

/// Whether `path` names `file`. A lock on a file that was removed, or replaced, while it was waited for keeps nobody out.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(ours), Ok(theirs)) if same(&ours, &theirs))
}

/// Whether `path` names `file`: an open file cannot be removed.
#[cfg(not(unix))]
pub(crate) fn is_at(_file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok()
}
