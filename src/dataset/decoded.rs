//! Chunks that had to be decoded, kept while there is room for them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::format::Piece;

/// A chunk and a column of it.
type Key = (usize, usize);

/// Decoded columns of chunks, within a budget of bytes: those not asked for the longest go first.
///
/// One decoded column may exceed the budget alone; it is kept until another is asked for.
pub(crate) struct DecodedChunks {
    budget_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

struct Entry {
    /// Locked while the piece is being decoded, so that others wait for it rather than decode it again.
    piece: Arc<Mutex<Option<Arc<Piece>>>>,
    bytes: u64,
    last_used: u64,
}

impl DecodedChunks {
    pub(crate) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(DecodedChunks { budget_bytes, kept: Mutex::default() })
    }

    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// The piece under `key`, made by `decode` (which says its size in bytes too) if it is not kept.
    pub(crate) fn get(&self, key: Key, decode: impl FnOnce() -> Result<(Piece, u64)>) -> Result<Arc<Piece>> {
        let cell = {
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
        };
        // A decoder that panicked left `None`: the next one tries again.
        let mut piece = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = &*piece {
            return Ok(piece.clone());
        }
        let (decoded, bytes) = decode()?;
        let decoded = Arc::new(decoded);
        *piece = Some(decoded.clone());
        drop(piece);
        self.account(key, &cell, bytes);
        Ok(decoded)
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
    fn account(&self, key: Key, cell: &Arc<Mutex<Option<Arc<Piece>>>>, bytes: u64) {
        let mut kept = self.lock();
        let Some(entry) = kept.entries.get_mut(&key).filter(|entry| Arc::ptr_eq(&entry.piece, cell)) else {
            return;
        };
        entry.bytes = bytes;
        kept.bytes += bytes;
        while kept.bytes > self.budget_bytes {
            let oldest = kept.entries.iter().filter(|(other, entry)| **other != key && entry.bytes > 0);
            let Some((&oldest, _)) = oldest.min_by_key(|(_, entry)| entry.last_used) else { return };
            let gone = kept.entries.remove(&oldest).expect("found among the entries");
            kept.bytes -= gone.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_failure_is_not_kept() {
        let chunks = DecodedChunks::new(50);
        assert!(chunks.get((0, 0), || Err(crate::Error::malformed("x"))).is_err());
        assert!(chunks.get((0, 0), || Ok((piece(), 1))).is_ok());
    }
}
