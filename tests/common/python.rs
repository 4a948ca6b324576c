//! The independent writer and reader of files that tests compare with.

use std::process::{Command, Stdio};

/// A Python interpreter with pyarrow and NumPy; `None`, said aloud, where there is none.
pub fn oracle() -> Option<String> {
    let python = std::env::var("FOREBAY_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import numpy, pyarrow"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no pyarrow or NumPy (set FOREBAY_TEST_PYTHON to one that has)");
    None
}
