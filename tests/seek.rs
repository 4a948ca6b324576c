//! Promise 2, far out: any position of an order of any length is as near as the first, and what stands there is right.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use forebay::sampler::{Order, Permutation, Remainder, Shuffle, Steps, epoch_key};

const ROWS: u64 = 1_000_000_000_000;
const FAR: u64 = 100_000_000_000;

fn window(shuffle: Shuffle, first: u64, len: usize) -> Vec<u64> {
    let mut rows = vec![0; len];
    Order::new(ROWS, shuffle, 42).epoch(3).fill(first, &mut rows);
    rows
}

#[test]
fn an_exact_order_is_a_bijection_wherever_it_is_entered() {
    let order = Permutation::new(ROWS, epoch_key(42, 3));
    let mut seen = HashSet::new();
    for first in [0, 1, FAR - 100, FAR, ROWS / 2, ROWS - 1000] {
        for (row, position) in window(Shuffle::Exact, first, 1000).into_iter().zip(first..) {
            assert!(row < ROWS);
            assert_eq!(order.position(row), position, "the way back from row {row}");
            assert_eq!(order.get(position), row);
            seen.insert((row, position));
        }
    }
    let rows: HashSet<u64> = seen.iter().map(|&(row, _)| row).collect();
    assert_eq!(rows.len(), seen.len(), "no row stands at two positions");
}

#[test]
fn a_group_of_blocks_is_whole_wherever_it_is_entered() {
    // The rows fill whole blocks, and blocks whole groups: 10¹² is a multiple of 4,000 · 50.
    let (rows, blocks) = (4000u64, 50u64);
    let shuffle = Shuffle::Block { rows, blocks };
    let group = rows * blocks;
    let mut met = HashSet::new();
    for first in [0, FAR, ROWS / 2, ROWS - group] {
        assert!(first.is_multiple_of(group));
        let mut found = window(shuffle, first, group as usize);
        // Entered in the middle, the same.
        assert_eq!(window(shuffle, first + 12_345, 77), found[12_345..12_345 + 77]);
        let epoch = Order::new(ROWS, shuffle, 42).epoch(3);
        assert_eq!(epoch.get(first + 999), found[999]);
        found.sort_unstable();
        for block in found.chunks(rows as usize) {
            assert!(block[0].is_multiple_of(rows) && block.iter().copied().eq(block[0]..block[0] + rows));
            assert!(met.insert(block[0]), "block {} comes twice", block[0] / rows);
        }
    }
}

#[test]
fn batches_far_out_are_found_by_arithmetic() {
    let steps = Steps::new(ROWS, 256, Remainder::Keep).unwrap();
    assert_eq!(steps.len(), 3_906_250_000);
    assert_eq!(steps.locate(7 * steps.len() + 390_625_000), (7, 390_625_000));
    assert_eq!(steps.positions(390_625_000), FAR..FAR + 256);
}
