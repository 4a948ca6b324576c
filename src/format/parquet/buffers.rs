//! Memory used again, because fresh memory costs a page fault for every 4 KiB.
//!
//! - *Pages*: one is decoded right after it was copied or inflated, and the next may lie where it lay.
//! - *Stores*: what a column is decoded into. When the loader is done with a row group, the next one may have its memory.
//!
//! All Parquet files share both, so that what nobody uses at the moment is bounded whatever their number. What lies there
//! holds whatever it held before.
#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arrow::buffer::Buffer;
use bytemuck::Pod;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::staging::{Memory, SlotMemory};

/// Memory that nobody uses at the moment.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Idle>>);

#[derive(Default)]
struct Idle {
    pages: Vec<Vec<u8>>,
    stores: Vec<Room>,
}

/// Pages kept, at most: several columns may be decoded at once.
const PAGES: usize = 8;

/// Bytes of a page that is kept, at most: they are meant to be small.
const PAGE_BYTES: usize = 4 << 20;

/// Stores kept, and the bytes of all of them, at most.
const STORES: usize = 256;
const STORES_BYTES: usize = 64 << 20;

/// What all files have in common.
static SHARED: LazyLock<Buffers> = LazyLock::new(Buffers::default);

impl Buffers {
    /// Those of all files.
    pub(super) fn shared() -> Self {
        SHARED.clone()
    }

    /// A buffer for a page.
    pub(super) fn take(&self) -> Vec<u8> {
        self.idle().pages.pop().unwrap_or_default()
    }

    /// The bytes of `buffer`, which comes back when they are dropped.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(LentPage { buffer, home: self.clone() })
    }

    /// Room for `len_bytes` bytes.
    ///
    /// # Errors
    ///
    /// `TooLarge` if there is no memory.
    pub(super) fn store(&self, len_bytes: usize) -> Result<Store> {
        let room = self.idle().fitting(len_bytes);
        let mut store = Store { room, home: self.clone() };
        store.reserve(len_bytes)?;
        Ok(store)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// The smallest store of at least `len_bytes`. Where there is none, one to be made; the smallest of all makes room for
    /// it, so that stores of a size that is not asked for any more do not stay.
    fn fitting(&mut self, len_bytes: usize) -> Room {
        let smallest = |stores: &[Room], least: usize| {
            let stores = stores.iter().enumerate().filter(|(_, store)| store.bytes().len() >= least);
            stores.min_by_key(|(_, store)| store.bytes().len()).map(|(index, _)| index)
        };
        if let Some(index) = smallest(&self.stores, len_bytes) {
            return self.stores.swap_remove(index);
        }
        if let Some(index) = smallest(&self.stores, 0) {
            self.stores.swap_remove(index);
        }
        Room::default()
    }

    fn keep(&mut self, room: Room) {
        let kept: usize = self.stores.iter().map(|store| store.bytes().len()).sum();
        if self.stores.len() < STORES && kept + room.bytes().len() <= STORES_BYTES {
            self.stores.push(room);
        }
    }
}

struct LentPage {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for LentPage {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for LentPage {
    fn drop(&mut self) {
        let mut idle = self.home.idle();
        if idle.pages.len() < PAGES && self.buffer.capacity() <= PAGE_BYTES {
            idle.pages.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Bytes of a word. Its alignment is enough for whatever is put into a store.
const WORD: usize = size_of::<u64>();

/// Stores of as many bytes lie in pages of their own, which may be huge.
const LARGE_BYTES: usize = 2 << 20;

/// Memory, all of it written at some time.
enum Room {
    Small(Vec<u64>),
    Large(Memory),
}

impl Default for Room {
    fn default() -> Self {
        Room::Small(Vec::new())
    }
}

impl Room {
    fn new(len_bytes: usize) -> Result<Self> {
        let no_memory = |source: Box<dyn std::error::Error + Send + Sync>| {
            let words = format!("no memory for a column of {len_bytes} bytes");
            Error::new(ErrorKind::TooLarge, words).with_source(source)
        };
        if len_bytes >= LARGE_BYTES {
            // Whole pages: what is left of the last one would be lost.
            let len_bytes = len_bytes.checked_next_multiple_of(4096).unwrap_or(len_bytes);
            return Ok(Room::Large(
                SlotMemory::Heap.allocate(len_bytes).map_err(|error| no_memory(error.into()))?,
            ));
        }
        let mut words = Vec::new();
        words.try_reserve_exact(len_bytes.div_ceil(WORD)).map_err(|error| no_memory(error.into()))?;
        words.resize(len_bytes.div_ceil(WORD), 0);
        Ok(Room::Small(words))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Room::Small(words) => bytemuck::cast_slice(words),
            Room::Large(memory) => memory.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Room::Small(words) => bytemuck::cast_slice_mut(words),
            Room::Large(memory) => memory.bytes_mut(),
        }
    }
}

/// Room for values.
pub(super) struct Store {
    room: Room,
    home: Buffers,
}

impl Store {
    /// The room, as cells of at most 8 bytes.
    pub(super) fn cells<T: Pod>(&mut self) -> &mut [T] {
        let bytes = self.room.bytes_mut();
        let whole = bytes.len() - bytes.len() % size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[..whole])
    }

    /// Makes room for `len_bytes` bytes in all.
    ///
    /// # Errors
    ///
    /// `TooLarge` if there is no memory.
    #[inline]
    pub(super) fn reserve(&mut self, len_bytes: usize) -> Result<()> {
        if len_bytes <= self.room.bytes().len() { Ok(()) } else { self.grow(len_bytes) }
    }

    #[cold]
    fn grow(&mut self, len_bytes: usize) -> Result<()> {
        // Whoever grows again and again copies each byte a few times, not each time.
        let before = self.room.bytes().len();
        let mut room = Room::new(len_bytes.max(2 * before)).or_else(|_| Room::new(len_bytes))?;
        room.bytes_mut()[..before].copy_from_slice(self.room.bytes());
        self.room = room;
        Ok(())
    }

    /// The first `len_bytes` bytes; all of the store comes back when they are dropped.
    pub(super) fn freeze(self, len_bytes: usize) -> Buffer {
        Buffer::from(Bytes::from_owner(self).slice(..len_bytes))
    }
}

impl AsRef<[u8]> for Store {
    fn as_ref(&self) -> &[u8] {
        self.room.bytes()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.home.idle().keep(std::mem::take(&mut self.room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_with_the_last_of_its_bytes() {
        let buffers = Buffers::default();
        let page = buffers.lend(vec![1, 2, 3]);
        let part = page.slice(1..);
        drop(page);
        assert_eq!((buffers.take(), &part[..]), (vec![], &[2, 3][..]));
        drop(part);
        assert_eq!(buffers.take(), [1, 2, 3]);
        drop(buffers.lend(Vec::with_capacity(PAGE_BYTES + 1)));
        assert_eq!(buffers.take().capacity(), 0);
    }

    #[test]
    fn a_store_comes_back_with_the_last_of_its_bytes() {
        let buffers = Buffers::default();
        let mut store = buffers.store(20).unwrap();
        store.cells::<u32>()[..5].copy_from_slice(&[1, 2, 3, 4, 5]);
        let bytes = store.freeze(20);
        assert_eq!(bytes.typed_data::<u32>(), [1, 2, 3, 4, 5]);
        let part = bytes.slice(16);
        drop(bytes);
        assert!(buffers.idle().stores.is_empty());
        drop(part);
        let mut again = buffers.store(8).unwrap();
        assert_eq!(again.cells::<u32>()[..5], [1, 2, 3, 4, 5], "what it held before");
    }

    #[test]
    fn a_store_that_grows_keeps_what_it_holds() {
        let mut store = Buffers::default().store(1).unwrap();
        for len in 1..2000usize {
            store.reserve(len).unwrap();
            assert!((len..2 * len + 2 * WORD).contains(&store.as_ref().len()));
            store.cells::<u8>()[len - 1] = len as u8;
        }
        assert!((1..2000).all(|len| store.cells::<u8>()[len - 1] == len as u8));
        assert_eq!(store.reserve(usize::MAX).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn the_smallest_store_that_fits_is_taken_and_what_is_idle_is_bounded() {
        let buffers = Buffers::default();
        let lens = |buffers: &Buffers| {
            let mut lens: Vec<_> =
                buffers.idle().stores.iter().map(|store| store.bytes().len() / WORD).collect();
            lens.sort_unstable();
            lens
        };
        let stores: Vec<_> = [100, 10, 50].map(|len| buffers.store(len * WORD).unwrap()).into();
        drop(stores);
        let fits = buffers.store(20 * WORD).unwrap();
        assert_eq!((fits.as_ref().len() / WORD, lens(&buffers)), (50, vec![10, 100]));
        let none_fits = buffers.store(200 * WORD).unwrap();
        assert_eq!((none_fits.as_ref().len() / WORD, lens(&buffers)), (200, vec![100]));
        drop(buffers.store(STORES_BYTES + 1).unwrap());
        assert_eq!(lens(&buffers), Vec::<usize>::new(), "larger than what may be idle beside the others");
    }
}
