//! Files that a metadata file names: only those beside it, or in folders beneath.
#![forbid(unsafe_code)]

use std::path::{Component, Path};

use crate::error::{Error, Result};

/// Checks that `name` leads to a file in the folder of the metadata file that names it, `/` between its parts.
///
/// # Errors
///
/// `Malformed` for an absolute name, one with `.` or `..` in it, and the empty one.
pub(super) fn check(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    let is_inside = parts.all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty()
        || !is_inside
        || name.contains(['\\', '\0'])
        || name.starts_with("./")
        || name.contains("/.")
    {
        return Err(Error::malformed(format!(
            "expected the name of a file in the folder, found '{}'",
            name.escape_debug()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_into_the_folder_only() {
        for name in ["data-00000-of-00001.arrow", "0/shard.00000.mds", "train", "a b/c..d"] {
            check(name).unwrap();
        }
        for name in
            ["", ".", "..", "/", "/etc/passwd", "../x", "a/../x", "a/..", "./a", "a/./b", "a\\b", "a\0b"]
        {
            check(name).unwrap_err();
        }
    }
}
