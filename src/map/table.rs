//! The table of guarded ranges: written by any thread, read by a signal handler.
//!
//! Blocks of entries in a list that only grows: a block is never freed, so the handler can walk the list at
//! any time. An entry is used again after its range is gone. Its two bounds are read under a version (a
//! *seqlock*, after Boehm, "Can seqlocks get along with programming language memory models?", 2012):
//!
//! ```text
//! change          version += 1 (odd); fence; write base and end; version += 1 (even)
//! look            v = version; read base and end; fence; v even and unchanged? they belong together
//! ```
//!
//! The handler never waits for a change to end: the entry of the range that is being read does not change
//! meanwhile.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

const ENTRIES_PER_BLOCK: usize = 256;

/// No fault yet. No range holds this byte.
const NONE: usize = usize::MAX;

/// The one table of the process.
pub(super) static TABLE: Table = Table::new();

pub(super) struct Table {
    first: Block,
}

struct Block {
    entries: [Entry; ENTRIES_PER_BLOCK],
    next: AtomicPtr<Block>,
}

/// A range of addresses and its first fault. A free entry has an empty range.
pub(super) struct Entry {
    /// Whether the entry belongs to a range, or is being prepared for one.
    taken: AtomicBool,
    version: AtomicUsize,
    base: AtomicUsize,
    end: AtomicUsize,
    /// The byte of the first fault, counted from `base`, or [`NONE`].
    fault: AtomicUsize,
    num_faults: AtomicUsize,
}

impl Table {
    const fn new() -> Self {
        Table { first: Block::new() }
    }

    /// Enters the `len` bytes from address `base` on. From its return on, this thread may read them; another
    /// may after it was told of them in any way that synchronises.
    pub(super) fn enter(&'static self, base: usize, len: usize) -> &'static Entry {
        let entry = self.take();
        // Relaxed: published by `set_range`, as the bounds are; nobody looks for a fault in an empty range.
        entry.fault.store(NONE, Ordering::Relaxed);
        entry.num_faults.store(0, Ordering::Relaxed);
        entry.set_range(base..base + len);
        // The entry is in the table before the bytes are first read, and thus before the handler looks for
        // it. The handler runs in the reading thread, so this is about the compiler's order; the fence costs
        // nothing here.
        fence(Ordering::SeqCst);
        entry
    }

    /// Takes `entry`, which [`enter`](Self::enter) gave, out of the table.
    pub(super) fn remove(&self, entry: &'static Entry) {
        entry.set_range(0..0);
        // Release: whoever takes the entry next changes it after this change; pairs with the acquire in
        // `take`.
        entry.taken.store(false, Ordering::Release);
    }

    /// The entry whose range holds `address`, with the range. Takes no lock: for the signal handler.
    pub(super) fn find(&'static self, address: usize) -> Option<(&'static Entry, Range<usize>)> {
        self.entries().find_map(|entry| {
            let range = entry.range()?;
            range.contains(&address).then_some((entry, range))
        })
    }

    fn entries(&'static self) -> impl Iterator<Item = &'static Entry> {
        std::iter::successors(Some(&self.first), |block| block.next()).flat_map(|block| &block.entries)
    }

    /// A free entry, of a new block if need be.
    fn take(&'static self) -> &'static Entry {
        let mut block = &self.first;
        loop {
            if let Some(entry) = block.entries.iter().find(|entry| entry.take()) {
                return entry;
            }
            block = block.next().unwrap_or_else(|| block.append());
        }
    }
}

impl Block {
    const fn new() -> Self {
        Block { entries: [const { Entry::new() }; ENTRIES_PER_BLOCK], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Block> {
        // Acquire: pairs with the release in `append`, which publishes the block.
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a block that `append` has leaked and nobody ever frees.
        unsafe { next.as_ref() }
    }

    /// The block after this one: a new one, or another thread's that came first.
    fn append(&self) -> &'static Block {
        let new = Box::into_raw(Box::new(Block::new()));
        // Release: publishes the new block; acquire: for the other thread's. Both pair with each other and
        // with `next`.
        match self.next.compare_exchange(ptr::null_mut(), new, Ordering::Release, Ordering::Acquire) {
            // SAFETY: `new` came from a box and was not published otherwise; it is never freed from here on.
            Ok(_) => unsafe { &*new },
            Err(winner) => {
                // SAFETY: `new` came from a box, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: published by another thread's `append`, so leaked as above; not null, or the
                // exchange would have succeeded.
                unsafe { &*winner }
            }
        }
    }
}

impl Entry {
    const fn new() -> Self {
        Entry {
            taken: AtomicBool::new(false),
            version: AtomicUsize::new(0),
            base: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            fault: AtomicUsize::new(NONE),
            num_faults: AtomicUsize::new(0),
        }
    }

    /// Notes a fault at byte `offset` of the range, unless one was noted before, and gives how many there
    /// were before. For the signal handler, which calls it before it lets anyone read past the fault.
    pub(super) fn note_fault(&self, offset: usize) -> usize {
        // Relaxed, both: the fence below orders the note before the pages of zeros; the count orders nothing.
        let num_faults_before = self.num_faults.fetch_add(1, Ordering::Relaxed);
        let _ = self.fault.compare_exchange(NONE, offset, Ordering::Relaxed, Ordering::Relaxed);
        // Release: the note comes before whatever this thread does next, which is to map zeros. A reader
        // whose copy holds those zeros, and who has fenced (acquire, `FileMap::check`), sees the note.
        fence(Ordering::Release);
        num_faults_before
    }

    /// The byte of the first fault, if there was one. The caller has fenced (acquire) since its copies.
    pub(super) fn first_fault(&self) -> Option<usize> {
        // Relaxed: the caller's fence pairs with the one in `note_fault`.
        Some(self.fault.load(Ordering::Relaxed)).filter(|&offset| offset != NONE)
    }

    fn take(&self) -> bool {
        // Acquire: pairs with the release in `remove`, so that changes to an entry follow one another.
        !self.taken.load(Ordering::Relaxed)
            && self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Changes the bounds. Only the thread that took the entry does so.
    fn set_range(&self, range: Range<usize>) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release: the odd version comes before the new bounds; pairs with the acquire fence in `range`.
        fence(Ordering::Release);
        self.base.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        // Release: the new bounds come before the even version; pairs with the acquire load in `range`.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The bounds, unless they are being changed.
    fn range(&self) -> Option<Range<usize>> {
        // Acquire: pairs with the release store in `set_range`; the bounds are at least as new as the
        // version.
        let version = self.version.load(Ordering::Acquire);
        let range = self.base.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed);
        // Acquire: pairs with the release fence in `set_range`; had a bound been newer, the version read now
        // is odd or newer too.
        fence(Ordering::Acquire);
        let settled = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        settled.then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> &'static Table {
        Box::leak(Box::new(Table::new()))
    }

    fn num_blocks(table: &'static Table) -> usize {
        std::iter::successors(Some(&table.first), |block| block.next()).count()
    }

    #[test]
    fn finds_the_range_that_holds_an_address() {
        let table = table();
        let low = table.enter(0x1000, 0x100);
        let high = table.enter(0x2000, 1);
        for (address, expected) in
            [(0xfff, None), (0x1000, Some(low)), (0x10ff, Some(low)), (0x1100, None), (0x2000, Some(high))]
        {
            let found = table.find(address).map(|(entry, _)| ptr::from_ref(entry));
            assert_eq!(found, expected.map(ptr::from_ref), "{address:#x}");
        }
        assert_eq!(table.find(0x1080).unwrap().1, 0x1000..0x1100);
        table.remove(low);
        assert!(table.find(0x1080).is_none());
        assert!(table.find(0).is_none());
    }

    #[test]
    fn grows_by_blocks_and_uses_entries_again() {
        let table = table();
        let enter_all = || (1..=700).map(|i| table.enter(i * 0x1000, 0x1000)).collect::<Vec<_>>();
        let entries = enter_all();
        assert_eq!(num_blocks(table), 3);
        for (i, entry) in entries.iter().enumerate() {
            assert!(ptr::eq(table.find((i + 1) * 0x1000 + 5).unwrap().0, *entry));
        }
        entries.into_iter().for_each(|entry| table.remove(entry));
        enter_all();
        assert_eq!(num_blocks(table), 3);
    }

    #[test]
    fn notes_the_first_fault_only_and_forgets_it_with_the_range() {
        let table = table();
        let entry = table.enter(0x1000, 0x1000);
        assert_eq!(entry.first_fault(), None);
        assert_eq!(entry.note_fault(7), 0);
        assert_eq!(entry.note_fault(3), 1);
        assert_eq!(entry.first_fault(), Some(7));
        table.remove(entry);
        let again = table.enter(0x5000, 0x1000);
        assert!(ptr::eq(entry, again));
        assert_eq!(again.first_fault(), None);
        assert_eq!(again.note_fault(3), 0);
    }

    /// A torn pair of bounds would claim the addresses between two ranges, which may be another's.
    #[test]
    fn a_range_being_changed_is_never_half_seen() {
        const CHANGES: usize = if cfg!(miri) { 300 } else { 1_000_000 };
        let ranges = [0x1000..0x2000, 0x7000..0x8000];
        let entry = Entry::new();
        entry.set_range(ranges[0].clone());
        let changing = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..CHANGES).for_each(|i| entry.set_range(ranges[i % 2].clone()));
                changing.store(false, Ordering::Relaxed);
            });
            while changing.load(Ordering::Relaxed) {
                let seen = entry.range();
                assert!(seen.as_ref().is_none_or(|range| ranges.contains(range)), "{seen:x?}");
            }
        });
        assert_eq!(entry.range().as_ref(), Some(&ranges[(CHANGES - 1) % 2]));
    }

    /// Threads that enter and remove at once, past one block, never share an entry.
    #[test]
    fn an_entry_belongs_to_one_thread_at_a_time() {
        const ROUNDS: usize = if cfg!(miri) { 2 } else { 300 };
        const HELD: usize = 100;
        let table = table();
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let base = |i: usize| (thread * HELD + i) * 0x1000;
                        let entries: Vec<_> = (0..HELD).map(|i| table.enter(base(i), 0x1000)).collect();
                        for (i, entry) in entries.into_iter().enumerate() {
                            let (found, range) = table.find(base(i)).expect("entered by this thread");
                            assert!(ptr::eq(found, entry));
                            assert_eq!(range.start, base(i));
                            table.remove(entry);
                        }
                    }
                });
            }
        });
        // All four at once need two blocks; who looks while entries change hands may add another.
        assert!(num_blocks(table) <= 4);
        assert!(table.entries().all(|entry| !entry.taken.load(Ordering::Relaxed)));
    }
}
