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
    /// The smallest store of at least `len_bytes`, if it is not much more: a large one is for who needs it. Where there is
    /// none, one to be made.
    fn fitting(&mut self, len_bytes: usize) -> Room {
        let fits = len_bytes..=len_bytes.saturating_mul(2);
        let fitting = self.stores.iter().enumerate().filter(|(_, room)| fits.contains(&room.bytes().len()));
        let smallest = fitting.min_by_key(|(_, room)| room.bytes().len()).map(|(index, _)| index);
        smallest.map_or_else(Room::default, |index| self.stores.remove(index))
    }

    /// Keeps `room`, if it is not too large; those that were kept the longest make room for it.
    fn keep(&mut self, room: Room) {
        let len_bytes = room.bytes().len();
        if len_bytes == 0 || len_bytes > STORES_BYTES {
            return;
        }
        let mut bytes = len_bytes + self.stores.iter().map(|store| store.bytes().len()).sum::<usize>();
        let mut gone = 0;
        while bytes > STORES_BYTES || self.stores.len() - gone >= STORES {
            bytes -= self.stores[gone].bytes().len();
            gone += 1;
        }
        self.stores.drain(..gone);
        self.stores.push(room);
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
    /// Room for `len_bytes` bytes, and an eighth more at the most: columns of about the same size are to fit one where the
    /// other lay.
    fn new(len_bytes: usize) -> Result<Self> {
        let step = (len_bytes.checked_next_power_of_two().unwrap_or(0) / 16).max(WORD);
        let len_bytes = len_bytes.checked_next_multiple_of(step).unwrap_or(len_bytes);
        let no_memory = |source: Box<dyn std::error::Error + Send + Sync>| {
            let words = format!("no memory for a column of {len_bytes} bytes");
            Error::new(ErrorKind::TooLarge, words).with_source(source)
        };
        if len_bytes >= LARGE_BYTES {
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
        let kept = self.home.idle().fitting(len_bytes.max(2 * before));
        let mut room = match kept.bytes().len() {
            0 => Room::new(len_bytes.max(2 * before)).or_else(|_| Room::new(len_bytes))?,
            _ => kept,
        };
        room.bytes_mut()[..before].copy_from_slice(self.room.bytes());
        let outgrown = std::mem::replace(&mut self.room, room);
        self.home.idle().keep(outgrown);
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
        let mut again = buffers.store(16).unwrap();
        assert_eq!(again.cells::<u32>()[..5], [1, 2, 3, 4, 5], "what it held before");
    }

    #[test]
    fn a_store_that_grows_keeps_what_it_holds() {
        let mut store = Buffers::default().store(1).unwrap();
        for len in 1..2000usize {
            store.reserve(len).unwrap();
            assert!((len..3 * len + 2 * WORD).contains(&store.as_ref().len()));
            store.cells::<u8>()[len - 1] = len as u8;
        }
        assert!((1..2000).all(|len| store.cells::<u8>()[len - 1] == len as u8));
        assert_eq!(store.reserve(usize::MAX).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn the_smallest_store_that_fits_is_taken() {
        let buffers = Buffers::default();
        let kept = |buffers: &Buffers| {
            let stores = &buffers.idle().stores;
            stores.iter().map(|room| room.bytes().len()).collect::<Vec<_>>()
        };
        drop([1000, 96, 512].map(|len| buffers.store(len).unwrap()));
        assert_eq!(kept(&buffers), [1024, 96, 512], "rounded up a little");
        let fits = buffers.store(400).unwrap();
        assert_eq!((fits.as_ref().len(), kept(&buffers)), (512, vec![1024, 96]));
        let none_fits = buffers.store(300).unwrap();
        assert_eq!((none_fits.as_ref().len(), kept(&buffers)), (320, vec![1024, 96]));
    }

    #[test]
    fn what_is_idle_is_bounded_and_the_oldest_goes() {
        let buffers = Buffers::default();
        let kept = |buffers: &Buffers| {
            buffers.idle().stores.iter().map(|room| room.bytes().len() >> 20).sum::<usize>()
        };
        drop((1..12usize).map(|len| buffers.store(len << 20).unwrap()).collect::<Vec<_>>());
        // 11 and 10 down to 6 MiB were kept last.
        assert!((40..=64).contains(&kept(&buffers)), "{}", kept(&buffers));
        assert_eq!(buffers.store(11 << 20).unwrap().as_ref().len(), 11 << 20);
        assert!(!buffers.idle().stores.iter().any(|room| room.bytes().len() <= 1 << 20));
        drop(buffers.store(STORES_BYTES + 1).unwrap());
        assert!(kept(&buffers) >= 40, "what is too large to be kept drives nothing out");
        drop((0..STORES + 10).map(|_| buffers.store(8).unwrap()).collect::<Vec<_>>());
        assert_eq!(buffers.idle().stores.len(), STORES);
    }
}
