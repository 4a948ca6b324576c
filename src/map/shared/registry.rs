//! Where processes find the copies of one another.
//!
//! ```text
//! /dev/shm/forebay-USER-NAME/
//!   lock                     held (flock) by whoever reads or writes here, or fills a copy
//!   dataset                  whose files they are
//!   0123456789abcdef         a file, by a hash of its path: Entry, as JSON
//! ```
//!
//! The last process to leave removes it all. Where none could, because it was killed, no memory is left but these few lines,
//! and who starts to load another dataset removes them.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind::NotFound};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::same_file::is_at;
use crate::error::{Error, Result};

/// Memory that is a file system, on every Linux with a C library of the usual kinds; and what stands in for it.
const FOLDERS: [&str; 2] = ["/dev/shm", "/tmp"];

/// The state of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    pub(super) path: String,
    /// A hash of its path.
    pub(super) file: u64,
    pub(super) len_bytes: u64,
    /// Nanoseconds since 1970.
    pub(super) written_ns: u64,
}

impl Stamp {
    /// What its copy is called, in `/proc` too.
    pub(super) fn memory_name(&self) -> String {
        format!("forebay:{:016x}:{:x}:{:x}", self.file, self.len_bytes, self.written_ns)
    }
}

/// Who has the copy of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    pub(super) holders: Vec<Holder>,
}

/// A process, and its descriptor of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    process: u32,
    /// When it was started, in ticks since the machine was: numbers of processes are given again.
    started: u64,
    descriptor: i32,
}

impl Holder {
    /// This process, which has `memory`.
    pub(super) fn here(memory: &File) -> Result<Self> {
        let process = std::process::id();
        let started = started(process).ok_or_else(|| {
            Error::unsupported("Preload::Shared needs /proc, by which processes find one another")
        })?;
        Ok(Holder { process, started, descriptor: memory.as_raw_fd() })
    }

    pub(super) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Whether its process lives.
    fn lives(&self) -> bool {
        started(self.process) == Some(self.started)
    }
}

/// When `process` was started, if there is such a process.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, which may hold anything, is in parentheses; behind it are the state and, eighteen fields on,
    // the time.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // One that ended and was not waited for holds nothing.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

impl Entry {
    pub(super) fn new(stamp: &Stamp) -> Self {
        Entry { stamp: stamp.clone(), holders: Vec::new() }
    }

    /// The copy, if a living process has it. Holders that have not are taken out.
    ///
    /// # Errors
    ///
    /// `Io` if a process that has it may not be looked into.
    pub(super) fn memory(&mut self, is_sealed: impl Fn(&File) -> bool) -> Result<Option<File>> {
        while let Some(holder) = self.holders.last() {
            if holder.lives()
                && let Some(memory) = self.memory_of(holder)?
                && is_sealed(&memory)
            {
                return Ok(Some(memory));
            }
            self.holders.pop();
        }
        Ok(None)
    }

    fn memory_of(&self, holder: &Holder) -> Result<Option<File>> {
        let link = format!("/proc/{}/fd/{}", holder.process, holder.descriptor);
        let memory = match File::open(&link) {
            Ok(memory) => memory,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && holder.lives() => {
                let doing = format!("reach the copy that process {} has of the file", holder.process);
                return Err(Error::io(&self.stamp.path, &doing, e));
            }
            // The process ended, or let go of it.
            Err(_) => return Ok(None),
        };
        // Descriptors are given again, too.
        let name = fs::read_link(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap_or_default();
        let is_it = name
            .to_string_lossy()
            .strip_prefix("/memfd:")
            .is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == self.stamp.memory_name());
        let len = memory.metadata().map_or(0, |metadata| metadata.len());
        Ok((is_it && len == self.stamp.len_bytes).then_some(memory))
    }
}

/// What is known under a name, locked.
pub(super) struct Registry {
    folder: PathBuf,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Registry {
    /// Waits for the lock of `name`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that is no part of a path; `Io` if its folder cannot be made or is another user's.
    pub(super) fn lock(name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
            return Err(Error::invalid(format!(
                "expected a name of 1 to 100 letters, digits, '-', '_' and '.' for shared memory, found '{name}'"
            )));
        }
        let folder = Self::parent().join(format!("{}{name}", Self::prefix()?));
        loop {
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(&folder, "make the folder", e));
                }
                _ => {}
            }
            let found =
                Self::try_open(&folder, true).map_err(|e| Error::io(&folder, "open the lock in it", e))?;
            let Some(lock) = found else { continue };
            lock.lock().map_err(|e| Error::io(&folder, "lock it", e))?;
            if is_at(&lock, &folder.join("lock")) {
                return Ok(Registry { folder, _lock: lock });
            }
        }
    }

    /// The file of the lock, made if `create`; `None` where there is none, or the folder was removed meanwhile.
    fn try_open(folder: &Path, create: bool) -> io::Result<Option<File>> {
        let owner = match fs::symlink_metadata(folder) {
            Ok(metadata) if metadata.is_dir() => metadata.uid(),
            Ok(_) => return Err(io::Error::other("it is no folder")),
            Err(e) if e.kind() == NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if owner != user()? {
            return Err(io::Error::other("it is another user's"));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        match options.open(folder.join("lock")) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn parent() -> &'static Path {
        FOLDERS.map(Path::new).into_iter().find(|folder| folder.is_dir()).unwrap_or(Path::new(FOLDERS[1]))
    }

    /// What the folders of this user's names begin with.
    fn prefix() -> Result<String> {
        let user = user().map_err(|e| Error::io("/proc/self", "find out whose process this is", e))?;
        Ok(format!("forebay-{user}-"))
    }

    /// The dataset whose files these are.
    pub(super) fn dataset(&self) -> Result<Option<String>> {
        match fs::read_to_string(self.folder.join("dataset")) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == NotFound => Ok(None),
            Err(e) => Err(Error::io(self.folder.join("dataset"), "read it", e)),
        }
    }

    /// Begins anew, with the files of `dataset`; what killed processes left under other names is removed as well.
    pub(super) fn start(&self, dataset: &str) -> Result<()> {
        Self::sweep();
        self.clear();
        replace(&self.folder.join("dataset"), dataset)
    }

    /// A living process that has a copy of some file.
    pub(super) fn holder(&self) -> Result<Option<u32>> {
        for path in self.entries() {
            if let Some(entry) = read(&path)?
                && let Some(holder) = entry.holders.iter().find(|holder| holder.lives())
            {
                return Ok(Some(holder.process));
            }
        }
        Ok(None)
    }

    pub(super) fn read(&self, file: u64) -> Result<Option<Entry>> {
        read(&self.path_of(file))
    }

    pub(super) fn write(&self, file: u64, entry: &Entry) -> Result<()> {
        let json = serde_json::to_string(entry).expect("numbers and strings are JSON");
        replace(&self.path_of(file), &json)
    }

    /// Takes `holder` out of the entry of `file`, and the dead with it.
    pub(super) fn leave(&self, file: u64, holder: Holder) -> Result<()> {
        if let Some(mut entry) = self.read(file)? {
            entry.holders.retain(|other| *other != holder && other.lives());
            if entry.holders.is_empty() {
                let path = self.path_of(file);
                fs::remove_file(&path).map_err(|e| Error::io(&path, "remove the file", e))?;
            } else {
                self.write(file, &entry)?;
            }
        }
        Ok(())
    }

    fn path_of(&self, file: u64) -> PathBuf {
        self.folder.join(format!("{file:016x}"))
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|file| file.path())
    }

    /// The entries of all files of the dataset: the names of all others are shorter or longer.
    fn entries(&self) -> impl Iterator<Item = PathBuf> {
        self.files().filter(|path| path.file_name().is_some_and(|name| name.len() == 16))
    }

    /// Removes all but the lock.
    fn clear(&self) {
        for path in self.files().filter(|path| !path.ends_with("lock")) {
            // What cannot be removed is written over.
            let _ = fs::remove_file(path);
        }
    }

    /// Removes what killed processes left under any name.
    fn sweep() {
        let Ok(prefix) = Self::prefix() else { return };
        for folder in fs::read_dir(Self::parent()).into_iter().flatten().flatten() {
            if !folder.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let folder = folder.path();
            match Self::try_open(&folder, false) {
                // Whoever has the lock of another name lives. Its last holder may have removed it since, and somebody begun anew.
                Ok(Some(lock)) if lock.try_lock().is_ok() && is_at(&lock, &folder.join("lock")) => {
                    let registry = Registry { folder, _lock: lock };
                    if matches!(registry.holder(), Ok(None)) {
                        registry.clear();
                    }
                }
                // Its last holder is about to remove the folder, or was killed before he did, or somebody is about to make the
                // lock, who then makes the folder again. One that holds anything stays.
                Ok(None) => _ = fs::remove_dir(&folder),
                _ => {}
            }
        }
    }
}

impl Drop for Registry {
    /// Removes the folder, if nobody has anything in it. The lock is still held: whoever waits for it looks whether it is
    /// there.
    fn drop(&mut self) {
        if self.entries().next().is_none() {
            self.clear();
            let _ = fs::remove_file(self.folder.join("lock"));
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// The entry at `path`; one that is damaged says nothing.
fn read(path: &Path) -> Result<Option<Entry>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(e) if e.kind() == NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read it", e)),
    }
}

/// Writes `text` to `path`: all of it, or nothing, where the process is killed meanwhile.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|e| Error::io(path, "write it", e))
}

/// Whose process this is.
fn user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}
