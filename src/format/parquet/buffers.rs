//! Memory for pages, used again: a page is decoded right after it was copied or inflated, and the next one may lie where
//! it lay. Fresh memory for each would cost a page fault for every 4 KiB.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that nobody uses at the moment.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Buffers kept, at most: several columns may be decoded at once.
const BUFFERS: usize = 8;

/// Bytes of a buffer that is kept, at most: pages are meant to be small.
const BUFFER_BYTES: usize = 4 << 20;

impl Buffers {
    /// A buffer with whatever it held before.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// The bytes of `buffer`, which comes back when they are dropped.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < BUFFERS && self.buffer.capacity() <= BUFFER_BYTES {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_of_its_bytes() {
        let buffers = Buffers::default();
        let page = buffers.lend(vec![1, 2, 3]);
        let part = page.slice(1..);
        drop(page);
        assert_eq!((buffers.take(), &part[..]), (vec![], &[2, 3][..]));
        drop(part);
        assert_eq!(buffers.take(), [1, 2, 3]);
        drop(buffers.lend(Vec::with_capacity(BUFFER_BYTES + 1)));
        assert_eq!(buffers.take().capacity(), 0);
    }
}
