//! Rows of about the same length together, and batches of them in random order.
#![forbid(unsafe_code)]

use super::key::mix;
use super::permutation::Permutation;

/// Sets the order of batches apart from that of rows, which has a key of the same seed and epoch.
const BATCHES: u64 = 0x6275_636B;

/// The order in which a window of rows is delivered, given their `lengths`: positions in the window, sorted by length (those of
/// one length as they come), cut into batches of `batch` rows, and the full batches in random order. A last batch that is not
/// full stays the last, and has the longest rows.
///
/// It is a pure function of what it is given: `key` is that of the epoch ([`epoch_key`](super::epoch_key)), `window` the number
/// of the window.
///
/// ```
/// use forebay::sampler::bucket_by_length;
/// let order = bucket_by_length(&[9, 1, 5, 2, 8], 2, 42, 0);
/// assert_eq!(order[4], 0); // the longest
/// assert!(order[..4] == [1, 3, 2, 4] || order[..4] == [2, 4, 1, 3]);
/// ```
///
/// # Panics
///
/// If `batch` is 0, or there are 2³² rows or more.
pub fn bucket_by_length(lengths: &[u64], batch: usize, key: u64, window: u64) -> Vec<u32> {
    let num_rows = u32::try_from(lengths.len()).expect("a window has fewer than 2^32 rows");
    let mut sorted: Vec<u32> = (0..num_rows).collect();
    sorted.sort_by_key(|&row| lengths[row as usize]);
    let full = sorted.len() / batch;
    let batches = Permutation::new(full as u64, mix(mix(key ^ BATCHES).wrapping_add(window)));
    let mut order = Vec::with_capacity(sorted.len());
    for position in 0..full as u64 {
        let start = batches.get(position) as usize * batch;
        order.extend_from_slice(&sorted[start..start + batch]);
    }
    order.extend_from_slice(&sorted[full * batch..]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order, once released, never changes.
    #[test]
    fn an_order_is_pinned() {
        let lengths: Vec<u64> = (0..14).map(|row| row * 5 % 7).collect();
        assert_eq!(bucket_by_length(&lengths, 3, 7, 1), [10, 6, 13, 0, 7, 3, 2, 9, 5, 12, 1, 8, 4, 11]);
        assert_ne!(bucket_by_length(&lengths, 3, 7, 1), bucket_by_length(&lengths, 3, 7, 2));
    }

    #[test]
    fn every_row_comes_once_among_those_nearest_in_length() {
        for rows in 0..40usize {
            for batch in 1..9 {
                let lengths: Vec<u64> = (0..rows as u64).map(|row| mix(row) % 10).collect();
                let order = bucket_by_length(&lengths, batch, 3, 0);
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..rows as u32));
                // Sorted by the lengths, batches follow one another.
                let mut batches: Vec<Vec<u64>> = order
                    .chunks(batch)
                    .map(|rows| rows.iter().map(|&row| lengths[row as usize]).collect())
                    .collect();
                batches.sort();
                let all: Vec<u64> = batches.concat();
                assert!(all.is_sorted(), "{rows} by {batch}: {all:?}");
            }
        }
    }
}
