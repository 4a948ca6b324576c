//! How random orders are, exact ones and those of blocks: where a row comes, how far from where it lies, and what comes next.
#![forbid(unsafe_code)]

use forebay::sampler::{EpochOrder, Order, Shuffle};

const SHUFFLES: [Shuffle; 5] = [
    Shuffle::Exact,
    Shuffle::Block { rows: 8, blocks: 3 },
    Shuffle::Block { rows: 40, blocks: 5 },
    Shuffle::Block { rows: 1, blocks: 120 },
    Shuffle::Block { rows: 240, blocks: 2 },
];

/// Whole blocks and groups under every shuffle.
const ROWS: u64 = 1200;

fn rows(order: &EpochOrder) -> Vec<u64> {
    let mut rows = vec![0; order.len() as usize];
    order.fill(0, &mut rows);
    rows
}

/// How many standard deviations the chi-square of `counts`, equally likely cells, lies above its mean (Wilson and
/// Hilferty's approximation).
fn chi_square_deviation(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    ((chi_square / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// How many standard errors the mean of `samples` lies above `expected`.
fn deviation_of_mean(samples: &[f64], expected: f64) -> f64 {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean - expected) / (variance / n).sqrt()
}

#[test]
fn over_seeds_and_epochs_a_row_comes_anywhere() {
    for shuffle in SHUFFLES {
        for row in [0, 7, 8, ROWS / 2 + 1, ROWS - 1] {
            let mut counts = vec![0; 100];
            for seed in 0..1000 {
                let order = Order::new(ROWS, shuffle, seed / 4).epoch(seed % 4);
                let position = (0..ROWS).zip(rows(&order)).find(|&(_, found)| found == row).unwrap().0;
                counts[(position * 100 / ROWS) as usize] += 1;
            }
            let deviation = chi_square_deviation(&counts);
            assert!(deviation.abs() < 4.5, "{shuffle}, row {row}: {deviation:.1} standard deviations");
        }
    }
}

#[test]
fn rows_travel_a_third_of_the_dataset() {
    // The mean of |a − b| of two numbers below n, as of a row and a place that is any: (n² − 1) / 3n.
    let expected = (ROWS * ROWS - 1) as f64 / (3 * ROWS) as f64;
    for shuffle in SHUFFLES {
        let samples: Vec<f64> = (0..200)
            .map(|seed| {
                let rows = rows(&Order::new(ROWS, shuffle, seed).epoch(9));
                let travelled: u64 = rows.iter().zip(0..).map(|(row, position)| row.abs_diff(position)).sum();
                travelled as f64 / ROWS as f64
            })
            .collect();
        let deviation = deviation_of_mean(&samples, expected);
        assert!(deviation.abs() < 4.5, "{shuffle}: {deviation:.1} standard errors off");
    }
}

#[test]
fn what_follows_a_row_depends_on_its_group_alone() {
    for shuffle in SHUFFLES {
        let group = match shuffle {
            Shuffle::Block { rows, blocks } => rows * blocks,
            _ => ROWS,
        };
        for lag in [1, 2, 7] {
            let samples: Vec<f64> = (0..200)
                .map(|seed| {
                    let rows = rows(&Order::new(ROWS, shuffle, seed).epoch(2));
                    let mut sum = 0.0;
                    for group in rows.chunks(group as usize) {
                        let mean = group.iter().sum::<u64>() as f64 / group.len() as f64;
                        let off: Vec<f64> = group.iter().map(|&row| row as f64 - mean).collect();
                        let variance: f64 = off.iter().map(|off| off * off).sum::<f64>();
                        let products: f64 = off.iter().zip(&off[lag..]).map(|(a, b)| a * b).sum();
                        // Rows drawn without replacement are a little unlike: −1 / (m − 1) a pair.
                        let m = group.len() as f64;
                        sum += products / variance + (m - lag as f64) / m / (m - 1.0);
                    }
                    sum
                })
                .collect();
            let deviation = deviation_of_mean(&samples, 0.0);
            assert!(deviation.abs() < 4.5, "{shuffle}, lag {lag}: {deviation:.1} standard errors off");
        }
    }
}

/// What tells blocks from an exact shuffle: rows of a group come together, and so do the rows of a block.
#[test]
fn neighbours_are_as_like_as_groups_are_small() {
    let likeness = |shuffle: Shuffle| {
        let of_seed = |seed| {
            let rows = rows(&Order::new(ROWS, shuffle, seed).epoch(0));
            let (mean, variance) = ((ROWS - 1) as f64 / 2.0, (ROWS * ROWS - 1) as f64 / 12.0);
            let products = rows.windows(2).map(|pair| (pair[0] as f64 - mean) * (pair[1] as f64 - mean));
            products.sum::<f64>() / variance / (ROWS - 1) as f64
        };
        (0..100).map(of_seed).sum::<f64>() / 100.0
    };
    // Of m rows in a group, m − 1 are followed by one of it, and of the others in it r − 1 are of the same block of r.
    for (shuffle, expected) in [
        (Shuffle::None, 1.0),
        (Shuffle::Block { rows: 8, blocks: 1 }, 7.0 / 8.0),
        (Shuffle::Block { rows: 8, blocks: 3 }, 7.0 / 24.0),
        (Shuffle::Block { rows: 8, blocks: 10 }, 7.0 / 80.0),
        (Shuffle::Exact, 0.0),
    ] {
        let found = likeness(shuffle);
        assert!((found - expected).abs() < 0.03, "{shuffle}: {found:.3}, not {expected:.3}");
    }
}
