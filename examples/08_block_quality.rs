//! How far shuffles by blocks are from an exact one: the table in the docs of `Shuffle::Block`.
//!
//! ```sh
//! cargo run --release --example 08_block_quality
//! ```
//!
//! The dataset is as bad as can be, sorted by label. For each shuffle, over one epoch: rows that have to be at hand at a
//! time; what a batch holds, blocks and labels; how like a row is to the next (the correlation of their numbers: 1 for rows
//! in order, 0 for unrelated ones); and how far a row is from where it lies, as a share of the dataset.

use std::collections::HashSet;
use std::fmt::Write;

use forebay::sampler::{Order, Shuffle};

const ROWS: u64 = 1 << 18;
const LABELS: u64 = 64;
const BATCH: usize = 256;

/// What an epoch under a shuffle is like.
struct Quality {
    blocks_per_batch: f64,
    labels_per_batch: f64,
    correlation: f64,
    distance: f64,
}

impl Quality {
    /// Of an epoch of rows in this order, in blocks of `block_rows`.
    fn of(order: &[u64], block_rows: u64) -> Self {
        let n = order.len() as f64;
        let batches: Vec<&[u64]> = order.chunks(BATCH).collect();
        let distinct = |number: &dyn Fn(u64) -> u64| {
            let each = batches
                .iter()
                .map(|batch| batch.iter().map(|&row| number(row)).collect::<HashSet<_>>().len());
            each.sum::<usize>() as f64 / batches.len() as f64
        };
        let mean = (n - 1.0) / 2.0;
        let variance = (n * n - 1.0) / 12.0;
        let covariance: f64 =
            order.windows(2).map(|pair| (pair[0] as f64 - mean) * (pair[1] as f64 - mean)).sum::<f64>()
                / (n - 1.0);
        let distance: u64 = order.iter().zip(0..).map(|(row, position)| row.abs_diff(position)).sum();
        Quality {
            blocks_per_batch: distinct(&|row| row / block_rows),
            labels_per_batch: distinct(&|row| row / (order.len() as u64 / LABELS)),
            correlation: covariance / variance,
            distance: distance as f64 / n / n,
        }
    }
}

/// The table, in Markdown.
fn table() -> String {
    let mut table = String::from(
        "| shuffle | rows at hand | blocks in a batch | labels in a batch | likeness of neighbours | distance |\n\
         |---|---|---|---|---|---|\n",
    );
    let blocks =
        [(64, 4), (64, 16), (64, 64), (64, 256), (256, 16), (256, 64), (256, 256), (1024, 16), (1024, 64)];
    let blocks = blocks.map(|(rows, blocks)| Shuffle::Block { rows, blocks });
    for shuffle in [Shuffle::None].into_iter().chain(blocks).chain([Shuffle::Exact]) {
        let mut order = vec![0; ROWS as usize];
        Order::new(ROWS, shuffle, 1).epoch(0).fill(0, &mut order);
        let (at_hand, block_rows) = match shuffle {
            Shuffle::None => (BATCH as u64, None),
            Shuffle::Block { rows, blocks } => (rows * blocks, Some(rows)),
            _ => (ROWS, None),
        };
        let quality = Quality::of(&order, block_rows.unwrap_or(1));
        let blocks = block_rows.map_or("".to_owned(), |_| format!("{:.0}", quality.blocks_per_batch));
        writeln!(
            table,
            "| `{shuffle}` | {:.1} % | {blocks} | {:.1} | {:.2} | {:.2} |",
            100.0 * at_hand as f64 / ROWS as f64,
            quality.labels_per_batch,
            // No minus before nothing.
            quality.correlation.max(0.0),
            quality.distance
        )
        .expect("a string takes text");
    }
    table
}

fn main() {
    println!("{ROWS} rows sorted by label, {LABELS} labels; batches of {BATCH} rows\n");
    print!("{}", table());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_docs() {
        let docs = include_str!("../src/sampler/order.rs").replace("    /// ", "");
        assert!(docs.contains(&table()), "expected in the docs of Shuffle::Block:\n{}", table());
    }

    #[test]
    fn quality_is_what_can_be_told_beforehand() {
        let in_order: Vec<u64> = (0..1 << 14).collect();
        let quality = Quality::of(&in_order, 64);
        assert_eq!((quality.blocks_per_batch, quality.labels_per_batch, quality.distance), (4.0, 1.0, 0.0));
        assert!((quality.correlation - 1.0).abs() < 0.01);
        let mut order = vec![0; 1 << 14];
        Order::new(1 << 14, Shuffle::Exact, 3).epoch(0).fill(0, &mut order);
        let quality = Quality::of(&order, 64);
        // 256 draws out of 64: 64 · (1 − (63/64)²⁵⁶), a little more without replacement.
        assert!((quality.labels_per_batch - 62.9).abs() < 0.3, "{}", quality.labels_per_batch);
        assert!(quality.correlation.abs() < 0.03 && (quality.distance - 1.0 / 3.0).abs() < 0.01);
    }
}
