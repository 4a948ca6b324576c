//! [`Region`] and its two doors.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence, fence};

use arrow::alloc::Allocation;
use arrow::buffer::Buffer;
use memmap2::MmapRaw;

use super::guard::{Guard, Watch};
#[cfg(unix)]
use super::read::{READ_BYTES, read_to};
use crate::error::{Error, ErrorKind, Result};

/// The promise that mapped files do not change: the token of the [zero-copy door](crate::map#two-doors).
///
/// Its mere existence says that somebody wrote `unsafe` and vouched for the files it is used with.
#[derive(Clone, Copy, Debug)]
pub struct Immutable(());

impl Immutable {
    /// Vouches for every file whose [`Region`] this token, or a copy of it, is given to.
    ///
    /// # Safety
    ///
    /// For each such file, from its mapping until the region, its clones and every slice and buffer obtained
    /// from them are gone:
    ///
    /// - nobody, in this process or any other, writes to the file, through a map or otherwise;
    /// - nobody truncates it, not even to let it grow back;
    /// - the file system keeps its pages readable: a page lost to a failing disk or network reads as zeros
    ///   from then on under [`Guard::On`].
    ///
    /// A file that is replaced by renaming another over it keeps the promise: the map stays on the old one.
    pub const unsafe fn promise() -> Immutable {
        Immutable(())
    }
}

/// How a file is mapped.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapOptions {
    guard: Guard,
    promise: Option<Immutable>,
}

impl MapOptions {
    /// [`Guard::On`], and no promise.
    pub const fn new() -> Self {
        MapOptions { guard: Guard::On, promise: None }
    }

    /// Whether SIGBUS from the map is caught (default: [`Guard::On`]).
    #[must_use]
    pub const fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Vouches for the file, so that [`Region::lend`] gives its bytes where they lie (default: no promise).
    #[must_use]
    pub const fn promise(mut self, promise: Immutable) -> Self {
        self.promise = Some(promise);
        self
    }
}

/// An immutable range of bytes with an owner: a whole mapped file, or memory of our own.
///
/// Cloning copies a few pointers; clones share the bytes, which stay until the last clone, and the last Arrow
/// buffer made from one, is dropped. Offsets and lengths are in bytes; ranges are half-open.
///
/// How bytes come out of it is explained in [the module](crate::map#two-doors).
#[derive(Clone)]
pub struct Region {
    /// The bytes, kept alive. Over a mapped file this is no more than a pointer with an owner: it is
    /// dereferenced (and handed out) only behind the zero-copy door.
    bytes: Buffer,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    /// Memory of our own, perhaps a copy of the file named.
    Memory(Option<Arc<Path>>),
    File(Arc<FileMap>),
}

/// A whole regular file, mapped shared and read-only.
pub(super) struct FileMap {
    // Fields drop in this order: the table forgets the addresses before they are unmapped and given to
    // others.
    watch: Option<Watch>,
    map: MmapRaw,
    file: File,
    path: Arc<Path>,
    promise: Option<Immutable>,
}

impl Region {
    /// Maps the whole file at `path`, shared and read-only. An empty file is an empty region.
    ///
    /// No page is read until it is asked for. The file stays open while it is mapped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the file cannot be opened or mapped; [`ErrorKind::InvalidArgument`] if it is no
    /// regular file (a folder, a pipe, a device).
    pub fn map(path: impl AsRef<Path>, options: &MapOptions) -> Result<Region> {
        let map = Arc::new(FileMap::new(path.as_ref(), options)?);
        let (start, len) = (map.start(), map.map.len());
        // SAFETY: `map` maps `len` bytes at `start` and, being the owner, unmaps them only when the last
        // buffer is gone. That they do not change is promised by whoever opens the zero-copy door; behind the
        // other one no method of this buffer forms a reference to them.
        let bytes = unsafe { Buffer::from_custom_allocation(start, len, map.clone()) };
        Ok(Region { bytes, origin: Origin::File(map) })
    }

    /// Memory of our own: the bytes of `vec`, which are not copied.
    pub fn from_vec(vec: Vec<u8>) -> Region {
        Region::from_buffer(Buffer::from_vec(vec))
    }

    /// Memory of our own: the bytes of `buffer`, which are not copied.
    pub fn from_buffer(buffer: Buffer) -> Region {
        Region { bytes: buffer, origin: Origin::Memory(None) }
    }

    /// Memory of our own: the `len` bytes at `start`, a copy of the file at `path`.
    ///
    /// # Safety
    ///
    /// As long as `owner` lives, the bytes are there and do not change.
    pub(super) unsafe fn from_owner(
        start: NonNull<u8>,
        len: usize,
        owner: Arc<dyn Allocation>,
        path: Arc<Path>,
    ) -> Region {
        // SAFETY: as the caller says.
        let bytes = unsafe { Buffer::from_custom_allocation(start, len, owner) };
        Region { bytes, origin: Origin::Memory(Some(path)) }
    }

    /// The number of bytes; for a mapped file, as it was when it was mapped.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The number of bytes, as offsets are counted.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The file the bytes are of, or were copied from.
    pub fn path(&self) -> Option<&Path> {
        self.shared_path().map(|path| &**path)
    }

    /// Whether the bytes are memory of our own, which nobody else can change.
    pub fn is_owned(&self) -> bool {
        matches!(self.origin, Origin::Memory(_))
    }

    /// Whether [`lend`](Self::lend) gives the bytes where they lie: they are our own, or vouched for.
    pub fn is_lendable(&self) -> bool {
        match &self.origin {
            Origin::Memory(_) => true,
            Origin::File(map) => map.promise.is_some(),
        }
    }

    // The copying door.

    /// Copies the `dst.len()` bytes from byte `offset` on into `dst`.
    ///
    /// The copy is to be believed only after a [`check`](Self::check) that follows it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`], with `dst` untouched, if the region ends before the range does.
    pub fn copy_out(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        let span = self.span(offset..offset.saturating_add(dst.len() as u64))?;
        // SAFETY: `dst` is valid for writes of its length, which is that of `span`: an end that saturated
        // lies past any region and was refused.
        unsafe { self.copy_to(span, dst.as_mut_ptr()) };
        Ok(())
    }

    /// A copy of the bytes in `range`, already [`check`](Self::check)ed.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Malformed`], before any memory is allocated, if the range does not lie within the
    ///   region;
    /// - [`ErrorKind::TooLarge`] if there is no memory for the copy;
    /// - those of [`check`](Self::check).
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut copy = Vec::new();
        self.append_to(range, &mut copy)?;
        Ok(copy)
    }

    /// Appends a copy of the bytes in `range` to `copy`, already [`check`](Self::check)ed. Memory that `copy` has is used.
    /// Long ranges are read from the file, whose pages then need not be mapped.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub(crate) fn append_to(&self, range: Range<u64>, copy: &mut Vec<u8>) -> Result<()> {
        let span = self.span(range)?;
        let (start, len) = (copy.len(), span.len());
        copy.try_reserve_exact(len).map_err(|source| {
            let error = Error::new(ErrorKind::TooLarge, format!("no memory for a copy of {len} bytes"));
            self.locate(error.with_source(source)).at_byte(span.start as u64)
        })?;
        // SAFETY: `len` bytes were reserved above behind the `start` that are there, and nothing has been put into them yet.
        unsafe {
            let dst = copy.as_mut_ptr().add(start);
            match &self.origin {
                #[cfg(unix)]
                Origin::File(map) if len >= READ_BYTES => read_to(&map.file, &map.path, span, dst)?,
                _ => self.copy_to(span, dst),
            }
            copy.set_len(start + len);
        }
        self.check()
    }

    /// The first of [`len`](Self::len) bytes, for kernels that copy records out by themselves.
    ///
    /// Reads stay within the length, go through raw pointers (a reference would promise that the bytes do not
    /// change), and are believed only after a [`check`](Self::check) that follows them.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Whether everything copied out so far was really in the file. Memory of our own always passes.
    ///
    /// Looks at the [guard](Guard)'s note, then asks for the file's length: one load and one `fstat`. One
    /// check may stand for many copies, but must come after them and before anything is done with what was
    /// copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Truncated`] if a page of the map could not be read, or the file is shorter than it was
    /// when it was mapped; the byte is that of the first failed read, or the file's new length.
    /// [`ErrorKind::Io`] if the length cannot be had.
    pub fn check(&self) -> Result<()> {
        match &self.origin {
            Origin::Memory(_) => Ok(()),
            Origin::File(map) => map.check(),
        }
    }

    // The zero-copy door.

    /// All bytes where they lie, vouched for by `promise`.
    pub fn bytes(&self, promise: Immutable) -> &[u8] {
        let Immutable(()) = promise;
        self.bytes.as_slice()
    }

    /// The bytes in `range` where they lie, vouched for by `promise`. The buffer keeps them alive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] if the range does not lie within the region.
    pub fn buffer(&self, range: Range<u64>, promise: Immutable) -> Result<Buffer> {
        let Immutable(()) = promise;
        let span = self.span(range)?;
        Ok(self.bytes.slice_with_length(span.start, span.len()))
    }

    /// All bytes where they lie, if they are [lendable](Self::is_lendable).
    pub(crate) fn lent_bytes(&self) -> Option<&[u8]> {
        self.is_lendable().then(|| self.bytes.as_slice())
    }

    /// All bytes where they lie, if they are memory of our own.
    pub fn owned_bytes(&self) -> Option<&[u8]> {
        self.is_owned().then(|| self.bytes.as_slice())
    }

    /// The bytes in `range` where they lie, if they are memory of our own and the range lies within it.
    pub fn owned_buffer(&self, range: Range<u64>) -> Option<Buffer> {
        if self.is_owned() { self.lend(range) } else { None }
    }

    /// The bytes in `range` where they lie, if they are [lendable](Self::is_lendable) and the range lies
    /// within the region.
    ///
    /// `None` means: copy them, by [`read`](Self::read) or [`copy_out`](Self::copy_out), which also
    /// say what is wrong with a range.
    pub fn lend(&self, range: Range<u64>) -> Option<Buffer> {
        if !self.is_lendable() {
            return None;
        }
        let span = self.span(range).ok()?;
        Some(self.bytes.slice_with_length(span.start, span.len()))
    }

    // What the doors are made of.

    /// `range` as places in memory, once it is known to lie within the region.
    pub(super) fn span(&self, range: Range<u64>) -> Result<Range<usize>> {
        let Range { start, end } = range;
        if start <= end && end <= self.len() as u64 {
            return Ok(start as usize..end as usize);
        }
        let message = format!("expected bytes {start}..{end}, found {} bytes in all", self.len());
        Err(self.locate(Error::malformed(message)).at_byte(start))
    }

    /// The mapped file, if that is what this is.
    pub(super) fn file(&self) -> Option<&FileMap> {
        match &self.origin {
            Origin::Memory(_) => None,
            Origin::File(map) => Some(map),
        }
    }

    pub(super) fn shared_path(&self) -> Option<&Arc<Path>> {
        match &self.origin {
            Origin::Memory(path) => path.as_ref(),
            Origin::File(map) => Some(&map.path),
        }
    }

    /// `error`, in the file of this region.
    pub(super) fn locate(&self, error: Error) -> Error {
        match self.path() {
            Some(path) => error.at_path(path),
            None => error,
        }
    }

    /// Copies the bytes of `span` to `dst`.
    ///
    /// # Safety
    ///
    /// - `span` came from [`span`](Self::span).
    /// - `dst` is valid for writes of `span.len()` bytes, none of which lie in this region.
    unsafe fn copy_to(&self, span: Range<usize>, dst: *mut u8) {
        // SAFETY: `span` lies within the region's bytes, which are mapped and readable as long as
        // `self.bytes` lives; `dst` is as the caller says, and cannot overlap bytes that nobody can borrow
        // mutably.
        unsafe { ptr::copy_nonoverlapping(self.as_ptr().add(span.start), dst, span.len()) };
        // The copy is the one reading of these bytes: the compiler may not forget it and read the map again,
        // which may have changed, where the copy is used. Pairs with nothing; it is for the compiler alone.
        compiler_fence(Ordering::Acquire);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len())
            .field("path", &self.path())
            .field("owned", &self.is_owned())
            .field("lendable", &self.is_lendable())
            .finish()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for FileMap {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

impl FileMap {
    fn new(path: &Path, options: &MapOptions) -> Result<FileMap> {
        let file = open(path).map_err(|source| Error::io(path, "open the file", source))?;
        let len = regular_len(&file, path)?;
        let map = memmap2::MmapOptions::new()
            .len(len)
            .map_raw_read_only(&file)
            .map_err(|source| Error::io(path, &format!("map its {len} bytes into memory"), source))?;
        let watch = match options.guard {
            // SAFETY: `map` is a map of our own that starts on a page, and `FileMap` drops the watch before
            // it. Its bytes are read through raw pointers, or under a promise that leaves no page to be
            // replaced.
            Guard::On => unsafe { Watch::over(map.as_ptr(), len) }
                .map_err(|source| Error::io(path, "install the SIGBUS handler", source))?,
            Guard::Off => None,
        };
        Ok(FileMap { watch, map, file, path: path.into(), promise: options.promise })
    }

    /// The file, open for reading.
    #[cfg(target_os = "linux")]
    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    /// Whether the file belongs to the user of this process, or may be written to by it.
    #[cfg(target_os = "linux")]
    pub(super) fn is_ours(&self) -> bool {
        use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
        // SAFETY: asks for a number; no memory is involved.
        let user = unsafe { libc::geteuid() };
        let is_owner = || self.file.metadata().is_ok_and(|metadata| metadata.uid() == user);
        let may_write = || {
            let path = std::ffi::CString::new(self.path.as_os_str().as_bytes());
            // SAFETY: the path ends in a zero byte.
            path.is_ok_and(|path| unsafe { libc::access(path.as_ptr(), libc::W_OK) } == 0)
        };
        user == 0 || is_owner() || may_write()
    }

    /// Where the map lies.
    pub(super) fn start(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).expect("a map does not lie at address zero")
    }

    /// What the guard has noted. The caller has fenced (acquire) since its copies.
    pub(super) fn first_fault(&self) -> Option<usize> {
        self.watch.as_ref().and_then(Watch::first_fault)
    }

    fn check(&self) -> Result<()> {
        // The copies come before the two looks, in this order: a page that read as zeros was noted before it
        // did so (pairs with the release fence in `table::Entry::note_fault`), and an end of file that cut a
        // page short was there before the page was read.
        fence(Ordering::Acquire);
        let fault = self.first_fault();
        let found = self.file_len()?;
        let expected = self.map.len() as u64;
        let (byte, what) = match fault {
            Some(byte) => (byte as u64, "a page could not be read"),
            None if found < expected => (found, "the file was cut short"),
            None => return Ok(()),
        };
        let message = format!(
            "{what}: expected {expected} bytes, as when the file was mapped, found a length of {found}"
        );
        Err(Error::new(ErrorKind::Truncated, message).at_path(&self.path).at_byte(byte))
    }

    fn file_len(&self) -> Result<u64> {
        match file_len(&self.file) {
            Ok(len) => Ok(len),
            Err(source) => Err(Error::io(&self.path, "ask for the file's length", source)),
        }
    }
}

/// Opens for reading, without waiting for the writer of a pipe.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.open(path)
}

/// The length in bytes of `file`, if it is a regular file.
fn regular_len(file: &File, path: &Path) -> Result<usize> {
    let metadata = file.metadata().map_err(|source| Error::io(path, "ask for the file's length", source))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "a pipe or device" };
        return Err(Error::invalid(format!("expected a regular file, found {found}")).at_path(path));
    }
    let len = metadata.len();
    usize::try_from(len).map_err(|_| {
        let message = format!("its {len} bytes exceed the address space of this machine");
        Error::new(ErrorKind::TooLarge, message).at_path(path)
    })
}

/// The length of a file, by the cheapest call there is: it is asked for once for every few batches.
fn file_len(file: &File) -> std::io::Result<u64> {
    #[cfg(unix)]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: all zeros is a valid `stat`.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open for as long as `file` lives, and `stat` is a valid place for the answer.
        match unsafe { libc::fstat(file.as_raw_fd(), &mut stat) } {
            0 => Ok(stat.st_size as u64),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
    #[cfg(not(unix))]
    file.metadata().map(|metadata| metadata.len())
}
