//! Chunks that had to be decoded, kept while there is room for them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::Result;
use crate::format::Piece;

/// A chunk and a column of it.
type Key = (usize, usize);

/// Decoded columns of chunks, within a budget of bytes: those not asked for the longest go first.
///
/// The columns of two chunks stay whatever the budget is, that of the column asked for last and the one before it: rows
/// that are read in order need all columns of a chunk again and again, and where a batch ends in the next chunk, of both.
/// So nothing is decoded twice by one reader in order; several at once need room for a chunk more each.
pub(crate) struct DecodedChunks {
    budget_bytes: u64,
    kept: Mutex<Kept>,
    turns: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

/// A piece once it is decoded, or what is wrong with it. Locked while it is being decoded, so that others wait for it rather than
/// decode it again.
type Cell = Arc<Mutex<Option<Result<Arc<Piece>>>>>;

struct Entry {
    piece: Cell,
    bytes: u64,
    last_used: u64,
}

impl DecodedChunks {
    pub(crate) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(DecodedChunks { budget_bytes, kept: Mutex::default(), turns: AtomicUsize::new(0) })
    }

    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// The piece under `key`, made by `decode` (which says its size in bytes too) if it is not kept. What is kept of a piece that
    /// is bad is its error: each of its rows is asked for where bad records are left out.
    pub(crate) fn get(&self, key: Key, decode: impl FnOnce() -> Result<(Piece, u64)>) -> Result<Arc<Piece>> {
        let cell = self.cell(key);
        // A decoder that panicked left `None`: the next one tries again.
        let piece = cell.lock().unwrap_or_else(PoisonError::into_inner);
        self.fill(key, &cell, piece, decode)
    }

    /// As `get`, unless somebody is decoding the piece at this moment.
    pub(crate) fn try_get(
        &self,
        key: Key,
        decode: impl FnOnce() -> Result<(Piece, u64)>,
    ) -> Option<Result<Arc<Piece>>> {
        let cell = self.known(key).unwrap_or_else(|| self.cell(key));
        let piece = match cell.try_lock() {
            Ok(piece) => piece,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.fill(key, &cell, piece, decode))
    }

    /// What is kept under `key`; it does not count as asked for.
    fn known(&self, key: Key) -> Option<Cell> {
        self.lock().entries.get(&key).map(|entry| entry.piece.clone())
    }

    fn cell(&self, key: Key) -> Cell {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        let entry = kept.entries.entry(key).or_insert_with(|| Entry {
            piece: Arc::default(),
            bytes: 0,
            last_used: 0,
        });
        entry.last_used = now;
        entry.piece.clone()
    }

    fn fill(
        &self,
        key: Key,
        cell: &Cell,
        mut piece: MutexGuard<'_, Option<Result<Arc<Piece>>>>,
        decode: impl FnOnce() -> Result<(Piece, u64)>,
    ) -> Result<Arc<Piece>> {
        if let Some(known) = &*piece {
            return known.clone();
        }
        let (decoded, bytes) = match decode() {
            Ok((decoded, bytes)) => (Arc::new(decoded), bytes),
            Err(error) => {
                *piece = error.is_bad_data().then(|| Err(error.clone()));
                return Err(error);
            }
        };
        *piece = Some(Ok(decoded.clone()));
        drop(piece);
        self.account(key, cell, bytes);
        Ok(decoded)
    }

    /// Whether somebody is decoding the piece under `key` at this moment.
    pub(crate) fn is_being_decoded(&self, key: Key) -> bool {
        self.known(key).is_some_and(|cell| matches!(cell.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Whether the budget has room for as much as was decoded of `chunk`, beside it and what is kept of those after it.
    pub(crate) fn has_room_ahead_of(&self, chunk: usize) -> bool {
        let kept = self.lock();
        let bytes = |entry: (&Key, &Entry)| match entry.0.0 {
            of if of == chunk => entry.1.bytes.saturating_mul(2),
            of if of > chunk => entry.1.bytes,
            _ => 0,
        };
        kept.entries.iter().map(bytes).fold(0, u64::saturating_add) <= self.budget_bytes
    }

    /// A number that differs from one call to the next.
    pub(crate) fn next_turn(&self) -> usize {
        // Relaxed: nothing is read or written by it.
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets go of the chunks before `chunk`.
    pub(crate) fn forget_before(&self, chunk: usize) {
        let mut kept = self.lock();
        let gone: Vec<_> = kept.entries.keys().filter(|key| key.0 < chunk).copied().collect();
        for key in gone {
            let entry = kept.entries.remove(&key).expect("found among the entries");
            kept.bytes -= entry.bytes;
        }
    }

    /// Counts `bytes` for the entry that holds `cell` and lets go of others until the budget holds.
    fn account(&self, key: Key, cell: &Cell, bytes: u64) {
        let mut kept = self.lock();
        let Some(entry) = kept.entries.get_mut(&key).filter(|entry| Arc::ptr_eq(&entry.piece, cell)) else {
            return;
        };
        entry.bytes = bytes;
        kept.bytes += bytes;
        let others = kept.entries.iter().filter(|((chunk, _), _)| *chunk != key.0);
        let before = others.max_by_key(|(_, entry)| entry.last_used).map(|((chunk, _), _)| *chunk);
        while kept.bytes > self.budget_bytes {
            let may_go = |chunk: usize| chunk != key.0 && Some(chunk) != before;
            let oldest = kept.entries.iter().filter(|((chunk, _), entry)| may_go(*chunk) && entry.bytes > 0);
            let Some((&oldest, _)) = oldest.min_by_key(|(_, entry)| entry.last_used) else { return };
            let gone = kept.entries.remove(&oldest).expect("found among the entries");
            kept.bytes -= gone.bytes;
        }
    }

    /// What the piece under `key` takes; 0 where it is not kept.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, key: Key) -> u64 {
        self.lock().entries.get(&key).map_or(0, |entry| entry.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use arrow::array::{ArrayRef, Int32Array};

    fn piece() -> Piece {
        Piece::of_array(&(Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef)).unwrap()
    }

    #[test]
    fn within_the_budget_nothing_is_decoded_twice() {
        let chunks = DecodedChunks::new(100);
        let mut decoded = 0;
        for _ in 0..3 {
            for chunk in 0..4 {
                chunks
                    .get((chunk, 0), || {
                        decoded += 1;
                        Ok((piece(), 25))
                    })
                    .unwrap();
            }
        }
        assert_eq!(decoded, 4);
    }

    #[test]
    fn past_the_budget_the_longest_unused_goes() {
        let chunks = DecodedChunks::new(50);
        let mut log = Vec::new();
        for chunk in [0, 1, 0, 2, 0, 1] {
            chunks
                .get((chunk, 0), || {
                    log.push(chunk);
                    Ok((piece(), 25))
                })
                .unwrap();
        }
        assert_eq!(log, [0, 1, 2, 1]);
    }

    #[test]
    fn what_lies_behind_is_forgotten() {
        let chunks = DecodedChunks::new(100);
        let mut log = Vec::new();
        for chunk in [0, 1, 2, 0, 2] {
            if log.len() == 3 {
                chunks.forget_before(2);
            }
            chunks
                .get((chunk, 0), || {
                    log.push(chunk);
                    Ok((piece(), 25))
                })
                .unwrap();
        }
        assert_eq!(log, [0, 1, 2, 0]);
        assert_eq!(chunks.lock().bytes, 50);
    }

    #[test]
    fn rows_read_in_order_are_decoded_once_whatever_the_budget() {
        for budget in [0, 10, 60, 1000] {
            let chunks = DecodedChunks::new(budget);
            let mut decoded = HashMap::new();
            // Batches of ten columns, every third of which ends in the next chunk.
            for batch in 0..30 {
                for column in 0..10 {
                    for chunk in [batch / 3, (batch + 1) / 3] {
                        let decode = || {
                            *decoded.entry((chunk, column)).or_insert(0) += 1;
                            Ok((piece(), 10))
                        };
                        chunks.get((chunk, column), decode).unwrap();
                    }
                }
            }
            assert!(decoded.len() == 110 && decoded.values().all(|&times| times == 1), "{budget}");
            assert!(chunks.lock().bytes <= budget.max(200), "{budget}");
        }
    }

    #[test]
    fn who_finds_a_piece_being_decoded_may_do_something_else() {
        let chunks = DecodedChunks::new(50);
        let inner = || chunks.try_get((0, 0), || unreachable!("it is being decoded")).is_none();
        let piece = chunks.get((0, 0), || {
            assert!(inner());
            Ok((piece(), 1))
        });
        let again = chunks.try_get((0, 0), || unreachable!("it is decoded")).unwrap();
        assert!(Arc::ptr_eq(&piece.unwrap(), &again.unwrap()));
    }

    #[test]
    fn bad_data_is_decoded_once_and_other_failures_are_not_kept() {
        let chunks = DecodedChunks::new(50);
        let failure = |kind| move || Err(Error::new(kind, "x"));
        assert!(chunks.get((0, 0), failure(ErrorKind::Io)).is_err());
        assert!(chunks.get((0, 0), || Ok((piece(), 1))).is_ok());
        assert!(chunks.get((1, 0), failure(ErrorKind::Malformed)).is_err());
        let error = chunks.get((1, 0), || unreachable!("it is known")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
}
