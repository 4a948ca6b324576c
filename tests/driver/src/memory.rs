//! Memory a driver would hold: page-locked host memory, and that of its devices.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::ptr;

unsafe extern "C" {
    fn mmap(at: *mut c_void, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut c_void;
    fn mprotect(at: *mut c_void, len: usize, prot: i32) -> i32;
    fn munmap(at: *mut c_void, len: usize) -> i32;
}

const PROT_NONE: i32 = 0;
const PROT_READ_WRITE: i32 = 3;
const MAP_PRIVATE_ANONYMOUS: i32 = 0x22;

/// Freed memory is kept, without access, up to this many bytes: whoever still touches it gets a signal.
const QUARANTINE_BYTES: usize = 64 << 20;

/// Page-locked host memory by its address.
pub struct Pinned {
    live: BTreeMap<usize, usize>,
    quarantine: VecDeque<(usize, usize)>,
    quarantined: usize,
}

impl Pinned {
    pub const fn new() -> Self {
        Pinned { live: BTreeMap::new(), quarantine: VecDeque::new(), quarantined: 0 }
    }

    pub fn allocate(&mut self, len: usize) -> Option<usize> {
        // SAFETY: a new mapping anywhere.
        let at =
            unsafe { mmap(ptr::null_mut(), len, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) } as usize;
        if at == usize::MAX {
            return None;
        }
        // A driver does not promise zeros.
        // SAFETY: the mapping is new and of this length.
        unsafe { ptr::write_bytes(at as *mut u8, 0xA5, len) };
        self.live.insert(at, len);
        Some(at)
    }

    /// Takes the memory at `at` out of use; `None` if there is none.
    pub fn free(&mut self, at: usize) -> Option<usize> {
        let len = self.live.remove(&at)?;
        // SAFETY: a mapping that `allocate` made.
        unsafe { mprotect(at as *mut c_void, len, PROT_NONE) };
        self.quarantine.push_back((at, len));
        self.quarantined += len;
        while self.quarantined > QUARANTINE_BYTES {
            let Some((at, len)) = self.quarantine.pop_front() else { break };
            self.quarantined -= len;
            // SAFETY: as above; nobody knows of it any more.
            unsafe { munmap(at as *mut c_void, len) };
        }
        Some(len)
    }

    /// Whether all of `at..at + len` is page-locked.
    pub fn holds(&self, at: usize, len: usize) -> bool {
        self.live.range(..=at).next_back().is_some_and(|(&start, &held)| at + len <= start + held)
    }

    pub fn bytes(&self) -> usize {
        self.live.values().sum()
    }

    pub fn clear(&mut self) {
        while let Some((&at, _)) = self.live.first_key_value() {
            self.free(at);
        }
    }
}

/// The memory of all devices, by address. Addresses mean nothing to the host and are never given twice.
pub struct DeviceMemory {
    live: BTreeMap<u64, (usize, Vec<u8>)>,
    given: [u64; 16],
}

/// Bytes between the addresses of two devices; below them nothing of a process lies.
const DEVICE_SPAN: u64 = 1 << 44;

impl DeviceMemory {
    pub const fn new() -> Self {
        DeviceMemory { live: BTreeMap::new(), given: [0; 16] }
    }

    pub fn allocate(&mut self, device: usize, len: usize) -> u64 {
        let at = 0x5000_0000_0000_0000 + DEVICE_SPAN * device as u64 + self.given[device];
        self.given[device] += (len as u64).next_multiple_of(512) + 512;
        self.live.insert(at, (device, vec![0x5A; len]));
        at
    }

    pub fn free(&mut self, at: u64) -> bool {
        self.live.remove(&at).is_some()
    }

    /// Frees what is left of `device`, as the end of its context does. False if nothing was.
    pub fn free_all(&mut self, device: usize) -> bool {
        let before = self.live.len();
        self.live.retain(|_, (owner, _)| *owner != device);
        self.live.len() < before
    }

    /// Where the `len` bytes at `at` lie, if they are all in one live allocation of `device`.
    pub fn bytes_mut(&mut self, device: usize, at: u64, len: usize) -> Option<&mut [u8]> {
        let (&start, (owner, bytes)) = self.live.range_mut(..=at).next_back()?;
        let offset = (at - start) as usize;
        (*owner == device).then_some(())?;
        bytes.get_mut(offset..offset.checked_add(len)?)
    }

    pub fn held(&self, device: Option<usize>) -> usize {
        let ours = self.live.values().filter(|(owner, _)| device.is_none_or(|device| device == *owner));
        ours.map(|(_, bytes)| bytes.len()).sum()
    }

    pub fn block(&self, at: u64) -> Option<(u64, usize)> {
        self.live.get(&at).map(|(_, bytes)| (at, bytes.len()))
    }

    pub fn clear(&mut self) {
        self.live.clear();
    }
}

/// A hash of bytes that need not be good, only fast: eight at a time.
///
/// # Safety
///
/// The bytes can be read.
pub unsafe fn hash(at: *const u8, len: usize) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ len as u64;
    let mut mix = |word: u64| hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    for i in 0..len / 8 {
        // SAFETY: within the bytes.
        mix(unsafe { at.add(i * 8).cast::<u64>().read_unaligned() });
    }
    for i in len / 8 * 8..len {
        // SAFETY: within the bytes.
        mix(u64::from(unsafe { at.add(i).read() }));
    }
    hash
}
