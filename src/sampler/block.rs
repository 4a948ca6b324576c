//! A random order that stays in one region of the dataset for a while.
#![forbid(unsafe_code)]

use super::feistel::LANES;
use super::key::epoch_key;
use super::permutation::{Permutation, check_range};

/// Blocks of consecutive rows in random order, and the rows within groups of blocks in random order.
///
/// ```text
/// dataset    [ block 0 ][ block 1 ][ block 2 ][ block 3 ][ block 4 ][ 5 ]       the last block may be short
/// sequence   [ block 3 ][ 5 ][ block 0 ]   [ block 4 ][ block 1 ][ block 2 ]    blocks permuted
/// groups     ╰────── permuted ────────╯    ╰─────────── permuted ──────────╯    rows permuted, group by group
/// ```
///
/// Groups tumble: one is finished before the next begins, so no more than the blocks of one group (of two, where a batch
/// ends in the next) have to be at hand. The permutations are [`Permutation`]s, under keys of their own for the blocks and
/// for each group. So this is a pure function of the position as well: nothing is stored, and any position is as near as
/// the first.
///
/// The short block, wherever it comes to stand, shifts the positions of all rows behind it; that is all that tells this
/// from arithmetic on whole blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockOrder {
    len: u64,
    /// Rows in a block, all but the short one.
    block_rows: u64,
    /// Blocks in a group, all but the last.
    group_blocks: u64,
    /// Which block stands at which place of the sequence.
    blocks: Permutation,
    /// Rows that the last block lacks, and the place at which it stands.
    lacking: u64,
    short_place: u64,
    key: u64,
}

/// A run of positions whose rows are permuted among themselves.
struct Group {
    /// Its first position, and the number of them.
    start: u64,
    len: u64,
    order: Permutation,
}

impl BlockOrder {
    /// The order of `len` rows in blocks of `block_rows`, in groups of `group_blocks` blocks.
    ///
    /// # Panics
    ///
    /// If either is 0.
    pub(super) fn new(len: u64, block_rows: u64, group_blocks: u64, key: u64) -> Self {
        assert!(block_rows > 0 && group_blocks > 0, "a block has rows, and a group has blocks");
        let block_rows = block_rows.min(len.max(1));
        let num_blocks = len.div_ceil(block_rows);
        let blocks = Permutation::new(num_blocks, epoch_key(key, 0));
        let lacking = num_blocks * block_rows - len;
        let short_place = if num_blocks == 0 { 0 } else { blocks.position(num_blocks - 1) };
        let group_blocks = group_blocks.min(num_blocks.max(1));
        BlockOrder { len, block_rows, group_blocks, blocks, lacking, short_place, key }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The position at which the block at `place` of the sequence begins.
    #[inline]
    fn start_of(&self, place: u64) -> u64 {
        let whole = place * self.block_rows;
        if place > self.short_place { whole - self.lacking } else { whole }
    }

    /// The place of the block that `position` lies in.
    #[inline]
    fn place_of(&self, position: u64) -> u64 {
        let behind = self.start_of(self.short_place + 1);
        if position < behind {
            // The short block ends where it lacks rows.
            position / self.block_rows
        } else {
            (position + self.lacking) / self.block_rows
        }
    }

    /// The group that `position` lies in.
    fn group_of(&self, position: u64) -> Group {
        let number = self.place_of(position) / self.group_blocks;
        let first_place = number * self.group_blocks;
        let start = self.start_of(first_place);
        let end_place = (first_place + self.group_blocks).min(self.blocks.len());
        let len = self.start_of(end_place).min(self.len) - start;
        let order = Permutation::new(len, epoch_key(self.key, number + 1));
        Group { start, len, order }
    }

    /// Rows in a group, all but those with the short block and the last.
    pub(super) fn group_rows(&self) -> u64 {
        (self.block_rows * self.group_blocks).min(self.len)
    }

    /// The position behind the group that `position` lies in.
    pub(super) fn group_end(&self, position: u64) -> u64 {
        check_range(position, 1, self.len);
        let group = self.group_of(position);
        group.start + group.len
    }

    /// Writes the rows of places `first..first + out.len()` of the sequence of blocks, before rows are permuted.
    pub(super) fn fill_unmixed(&self, first: u64, out: &mut [u64]) {
        check_range(first, out.len(), self.len);
        out.iter_mut().zip(0..).for_each(|(row, at)| *row = at);
        self.rows_of::<LANES>(first, out);
    }

    #[inline]
    pub(super) fn get(&self, position: u64) -> u64 {
        check_range(position, 1, self.len);
        let group = self.group_of(position);
        let within = group.start + group.order.get(position - group.start);
        let place = self.place_of(within);
        self.blocks.get(place) * self.block_rows + (within - self.start_of(place))
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`; always inlined, as
    /// [`Permutation::fill_inlined`] is.
    #[inline(always)]
    pub(super) fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        check_range(first, out.len(), self.len);
        let (mut first, mut out) = (first, out);
        while !out.is_empty() {
            let group = self.group_of(first);
            let left = usize::try_from(group.start + group.len - first).unwrap_or(usize::MAX);
            let (now, later) = out.split_at_mut(left.min(out.len()));
            first += now.len() as u64;
            out = later;
            group.order.fill_inlined::<LANES>(first - now.len() as u64 - group.start, now);
            self.rows_of::<LANES>(group.start, now);
        }
    }

    /// Turns places within a group that begins at position `start` into rows.
    #[inline(always)]
    fn rows_of<const LANES: usize>(&self, start: u64, within: &mut [u64]) {
        for part in within.chunks_mut(LANES) {
            let mut places = [0; LANES];
            for (place, within) in places.iter_mut().zip(&mut *part) {
                let position = start + *within;
                *place = self.place_of(position);
                *within = position - self.start_of(*place);
            }
            let places = &mut places[..part.len()];
            self.blocks.map_inlined::<LANES>(places);
            for (row, block) in part.iter_mut().zip(places) {
                *row += *block * self.block_rows;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same order, from lists.
    fn listed(len: u64, block_rows: u64, group_blocks: u64, key: u64) -> Vec<u64> {
        let all: Vec<u64> = (0..len).collect();
        let blocks: Vec<&[u64]> = all.chunks(block_rows.min(usize::MAX as u64) as usize).collect();
        let order = Permutation::new(blocks.len() as u64, epoch_key(key, 0));
        let sequence: Vec<&[u64]> = (0..order.len()).map(|place| blocks[order.get(place) as usize]).collect();
        let mut rows = Vec::new();
        for (number, group) in sequence.chunks(group_blocks.min(usize::MAX as u64) as usize).enumerate() {
            let group = group.concat();
            let order = Permutation::new(group.len() as u64, epoch_key(key, number as u64 + 1));
            rows.extend((0..order.len()).map(|position| group[order.get(position) as usize]));
        }
        rows
    }

    #[test]
    fn it_is_what_lists_would_give() {
        for len in (0..70).chain([100, 127, 128, 129, 997]) {
            for block_rows in [1, 2, 3, 7, 16, 100, u64::MAX] {
                for group_blocks in [1, 2, 5, 64, u64::MAX] {
                    let expected = listed(len, block_rows, group_blocks, len ^ 9);
                    let order = BlockOrder::new(len, block_rows, group_blocks, len ^ 9);
                    let what = format!("{len} rows, blocks of {block_rows}, groups of {group_blocks}");
                    let got: Vec<u64> = (0..len).map(|position| order.get(position)).collect();
                    assert_eq!(got, expected, "{what}");
                    let mut filled = vec![0; len as usize];
                    order.fill_inlined::<8>(0, &mut filled);
                    assert_eq!(filled, expected, "{what}");
                    for (first, count) in [(len / 3, len / 2), (len / 2, 1), (len, 0)] {
                        let count = count.min(len - first) as usize;
                        order.fill_inlined::<32>(first, &mut filled[..count]);
                        let part = &expected[first as usize..first as usize + count];
                        assert_eq!(&filled[..count], part, "{what}, from {first}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_group_is_a_run_of_the_unmixed_sequence() {
        for (len, block_rows, group_blocks) in [(997, 16, 5), (100, 10, 10), (64, 7, 1), (50, 100, 2)] {
            let order = BlockOrder::new(len, block_rows, group_blocks, 3);
            let mut unmixed = vec![0; len as usize];
            order.fill_unmixed(0, &mut unmixed);
            let mut start = 0;
            while start < len {
                let end = order.group_end(start);
                assert!(end > start && end - start <= order.group_rows());
                assert!((start..end).all(|position| order.group_end(position) == end));
                let mut mixed: Vec<u64> = (start..end).map(|position| order.get(position)).collect();
                let mut group = unmixed[start as usize..end as usize].to_vec();
                // Blocks come whole, their rows as they lie.
                for run in group.chunk_by(|row, next| row + 1 == *next) {
                    assert!(run[0] % block_rows.min(len) == 0, "{run:?}");
                }
                mixed.sort_unstable();
                group.sort_unstable();
                assert_eq!(mixed, group);
                start = end;
            }
            let mut part = [0; 7];
            order.fill_unmixed(len / 2, &mut part);
            assert_eq!(part, unmixed[len as usize / 2..][..7]);
        }
    }

    #[test]
    fn the_longest_order_there_is() {
        let len = Permutation::MAX_LEN;
        for (block_rows, group_blocks) in
            [(1, 1), (4096, 16), (len - 1, 2), (u64::MAX, u64::MAX), (3, u64::MAX)]
        {
            let order = BlockOrder::new(len, block_rows, group_blocks, 1);
            for position in [0, 1, len / 2, len - 2, len - 1] {
                assert!(order.get(position) < len);
            }
        }
    }
}
