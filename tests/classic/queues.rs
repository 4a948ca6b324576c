//! What the tests of the classic queues share.

use forebay::queue::Queue;
use forebay::{ErrorKind, Result};
use std::thread;

pub fn kind<T>(result: Result<T>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

/// Holds a taking to have found the end.
pub fn closed<T>(result: Result<T>) {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(error.message().contains("closed"), "{error}");
}

/// What `work` gives in each of `threads` threads.
pub fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|n| {
                let work = &work;
                scope.spawn(move || work(n))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Waits until `pending` threads wait for room.
pub fn until_pending(pending: impl Fn() -> usize, threads: usize) {
    while pending() < threads {
        thread::yield_now();
    }
}

/// Closes, if it is to, and takes all that is there.
pub fn drain<T>(queue: &dyn Queue<T>, close: bool) -> Vec<T> {
    if close {
        queue.close(false);
        return std::iter::from_fn(|| queue.dequeue().ok()).collect();
    }
    (0..queue.size()).map(|_| queue.dequeue().unwrap()).collect()
}
