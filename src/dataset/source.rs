//! What can be opened: a path, a glob pattern, or a list of them; and the files these name.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use super::containers;
use crate::error::{Error, ErrorKind, Result};

/// What [`Dataset::open`](super::Dataset::open) takes: a path, a glob pattern, or a list of them.
pub trait Source {
    /// The paths and patterns, in their order.
    fn into_paths(self) -> Vec<PathBuf>;
}

macro_rules! single_sources {
    ($($single:ty),*) => {$(
        impl Source for $single {
            fn into_paths(self) -> Vec<PathBuf> {
                vec![self.into()]
            }
        }
    )*};
}

single_sources!(&str, &String, String, &Path, PathBuf);

impl Source for &PathBuf {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.clone()]
    }
}

impl<P: AsRef<Path>> Source for &[P] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.iter().map(|path| path.as_ref().to_owned()).collect()
    }
}

impl<P: AsRef<Path>> Source for Vec<P> {
    fn into_paths(self) -> Vec<PathBuf> {
        self.as_slice().into_paths()
    }
}

impl<P: AsRef<Path>, const N: usize> Source for [P; N] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.as_slice().into_paths()
    }
}

/// The files a path names: itself, the index of the tokens it is, or what it matches as a glob pattern, in bytewise order.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if let Some(index) = containers::index_of(path) {
        return Ok(vec![index]);
    }
    matching(path)
}

/// What a path matches as a glob pattern, in bytewise order; itself, where it is none or a file of that name is there.
pub(crate) fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let pattern = path.to_string_lossy();
    if path.exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let matches =
        glob::glob(&pattern).map_err(|e| Error::invalid(format!("'{pattern}' is no glob pattern: {e}")))?;
    let mut files = matches
        .map(|file| {
            file.map_err(|e| Error::io(e.path(), "look at the file", io::Error::other(e.to_string())))
        })
        .filter(|file| !file.as_ref().is_ok_and(|file| file.is_dir()))
        .collect::<Result<Vec<_>>>()?;
    if files.is_empty() {
        return Err(Error::new(ErrorKind::Io, "no file matches the pattern").at_path(path));
    }
    files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(files)
}

/// The last part of a path, where it is known by nothing else.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_pattern_names_files_in_bytewise_order_and_no_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a10.csv", "a9.csv", "c.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.csv")).unwrap();
        let files = files_of(&folder.path().join("*.csv")).unwrap();
        let names: Vec<_> = files.iter().map(|file| file_name(file)).collect();
        assert_eq!(names, ["a10.csv", "a9.csv", "b.csv"]);
        let error = files_of(&folder.path().join("*.npy")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let error = files_of(&folder.path().join("a[")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_file_that_is_there_is_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a[1].csv");
        fs::write(&path, "").unwrap();
        assert_eq!(files_of(&path).unwrap(), [path]);
        let missing = folder.path().join("missing.csv");
        assert_eq!(files_of(&missing).unwrap(), [missing]);
    }
}
