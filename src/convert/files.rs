//! Files that appear whole or not at all.
#![forbid(unsafe_code)]

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{JOURNAL, LEDGER};
use crate::dataset::ShardEntry;
use crate::error::{Error, Result};
use crate::map::is_at;

const LOCK: &str = ".forebay-convert.lock";

/// The right to write into a folder. The system takes it back when the process ends, however it ends.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Errs where another has it.
    pub(super) fn acquire(folder: &Path) -> Result<Self> {
        Self::take(folder, |file| match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::invalid("another conversion is writing into this folder").at_path(folder))
            }
            Err(TryLockError::Error(e)) => Err(Error::io(folder, "lock the folder", e)),
        })
    }

    /// Waits where another has it.
    pub(super) fn wait(folder: &Path) -> Result<Self> {
        Self::take(folder, |file| file.lock().map_err(|e| Error::io(folder, "lock the folder", e)))
    }

    fn take(folder: &Path, lock: impl Fn(&File) -> Result<()>) -> Result<Self> {
        let path = folder.join(LOCK);
        loop {
            let file = File::create(&path).map_err(|e| Error::io(&path, "write into the folder", e))?;
            lock(&file)?;
            // Who had it before may have removed the file in between.
            if is_at(&file, &path) {
                return Ok(Lock { file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held: whoever waits for it looks whether it is still there.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// The temporary name under which `path` is written.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Makes what was written to `file` under its temporary name durable, read-only, and visible as `path`.
pub(super) fn publish(file: &File, path: &Path) -> Result<()> {
    let publish = || -> io::Result<()> {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
        file.sync_all()?;
        fs::rename(temporary(path), path)?;
        sync_folder(path)
    };
    publish().map_err(|e| Error::io(path, "finish writing the file", e))
}

/// Writes `text` to `path`: whoever looks sees the old content or the new.
pub(super) fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let temporary = temporary(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    write().map_err(|e| Error::io(path, "write the file", e))
}

/// Makes a rename in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Whether `name` is one that a conversion gives to a shard.
fn is_shard(name: &str) -> bool {
    let number = |part: &str| part.len() >= 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix("shard-").and_then(|name| name.strip_suffix(".arrow"));
    parts.and_then(|parts| parts.split_once("-of-")).is_some_and(|(n, of)| number(n) && number(of))
}

/// Removes what unfinished conversions left in `folder`, but for the shards in `keep`: a conversion that is not the one
/// they began has other names for its own.
pub(super) fn sweep(folder: &Path, keep: &[ShardEntry]) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list the folder", e))? {
        let path = entry.map_err(|e| Error::io(folder, "list the folder", e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let whole = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")).unwrap_or(&name);
        let is_kept = keep.iter().any(|shard| *shard.file == *name);
        if (is_shard(whole) && !is_kept) || whole == LEDGER {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes `path` if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "remove the file", e)),
        _ => Ok(()),
    }
}

/// Refuses a folder that holds files other than those a conversion leaves when it is killed early.
pub(super) fn expect_empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list the folder", e))? {
        let name = entry.map_err(|e| Error::io(folder, "list the folder", e))?.file_name();
        let name = name.to_string_lossy();
        let ours = name == LOCK
            || name.starts_with(JOURNAL)
            || (name.starts_with(".shard-") && name.ends_with(".tmp"))
            || name == format!(".{JOURNAL}.tmp")
            || name.trim_start_matches('.').starts_with(LEDGER)
            // The first shard is there before the journal is.
            || (is_shard(&name) && name.starts_with("shard-00000-"));
        if !ours {
            return Err(Error::invalid(format!(
                "expected an empty folder to convert into, found '{name}' in it"
            ))
            .at_path(folder));
        }
    }
    Ok(())
}
