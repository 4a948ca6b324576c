//! Promises 2 and 3: every epoch is an exact order, the same for ever, and each row of it is delivered once.
#![forbid(unsafe_code)]

use forebay::sampler::{Audit, Order, Permutation, Remainder, Shuffle, Steps, epoch_key};
use proptest::prelude::*;

/// Rows of all positions, by `fill`.
fn rows(permutation: &Permutation) -> Vec<u64> {
    let mut rows = vec![0; permutation.len() as usize];
    permutation.fill(0, &mut rows);
    rows
}

/// Panics unless `permutation` takes every row once; in windows, so that large ones need a bitmap only.
fn assert_bijection(permutation: &Permutation) {
    let n = permutation.len();
    let mut seen = vec![0_u64; n.div_ceil(64) as usize];
    let mut window = [0; 1000];
    let mut first = 0;
    while first < n {
        let window = &mut window[..(n - first).min(1000) as usize];
        permutation.fill(first, window);
        for row in &*window {
            assert!(*row < n, "{row} is no row of 0..{n}");
            let bit = 1 << (row % 64);
            assert_eq!(seen[(row / 64) as usize] & bit, 0, "row {row} of 0..{n} comes twice");
            seen[(row / 64) as usize] |= bit;
        }
        first += window.len() as u64;
    }
}

/// How many standard deviations the chi-square of `counts`, equally likely cells, lies above its mean
/// (Wilson and Hilferty's approximation).
fn chi_square_deviation(counts: &[u64], degrees_of_freedom: f64) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let spread = 2.0 / (9.0 * degrees_of_freedom);
    ((chi_square / degrees_of_freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

fn assert_uniform(counts: &[u64], what: &str) {
    let deviation = chi_square_deviation(counts, counts.len() as f64 - 1.0);
    assert!(deviation.abs() < 4.5, "{what}: chi-square is {deviation:.1} standard deviations off");
}

/// The correlation of two sequences of the rows `0..n`, times √n: about standard normal if unrelated.
fn correlation_deviation(a: &[u64], b: &[u64], n: u64) -> f64 {
    let mean = (n as f64 - 1.0) / 2.0;
    let variance = ((n as f64).powi(2) - 1.0) / 12.0;
    let covariance: f64 = a.iter().zip(b).map(|(&a, &b)| (a as f64 - mean) * (b as f64 - mean)).sum();
    covariance / variance / (a.len().min(b.len()) as f64).sqrt()
}

mod bijection {
    use super::*;

    #[test]
    fn at_every_small_size() {
        for n in 0..=5000 {
            for key in [n, u64::MAX] {
                assert_bijection(&Permutation::new(n, key));
            }
        }
    }

    #[test]
    fn around_powers_of_two() {
        for bits in 13..=23 {
            for n in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
                assert_bijection(&Permutation::new(n, 7));
            }
        }
    }

    #[test]
    fn just_below_sixteen_mebirows() {
        assert_bijection(&Permutation::new(4_u64.pow(12) - 1, 7));
    }

    #[test]
    fn at_sixteen_mebirows() {
        assert_bijection(&Permutation::new(4_u64.pow(12), 7));
    }

    #[test]
    fn just_above_sixteen_mebirows() {
        assert_bijection(&Permutation::new(4_u64.pow(12) + 1, 7));
    }

    #[test]
    fn at_primes() {
        for n in [5003, 7919, 65_521, 65_537, 104_729, 1_299_709] {
            assert_bijection(&Permutation::new(n, 7));
        }
    }

    #[test]
    fn at_sizes_too_large_to_walk() {
        let sizes = (25..=63).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for n in sizes.filter(|&n| n <= Permutation::MAX_LEN) {
            let permutation = Permutation::new(n, 7);
            let starts = [0, n / 3, n - 200];
            let positions: Vec<u64> = starts.iter().flat_map(|&start| start..start + 200).collect();
            let mut rows: Vec<u64> = positions.iter().map(|&position| permutation.get(position)).collect();
            for (&row, &position) in rows.iter().zip(&positions) {
                assert!(row < n, "{row} is no row of 0..{n}");
                assert_eq!(permutation.position(row), position, "row {row} of 0..{n}");
            }
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), positions.len(), "two positions of 0..{n} have one row");
            assert!(rows[0] < n / 50 && rows[rows.len() - 1] > n - n / 50, "rows do not spread over 0..{n}");
        }
    }

    #[test]
    fn position_undoes_get() {
        for n in (0..100).chain([255, 256, 257, 1000, 4095, 4097, 65_537]) {
            let permutation = Permutation::new(n, 3);
            for position in 0..n {
                assert_eq!(permutation.position(permutation.get(position)), position, "of {n}");
            }
        }
    }

    #[test]
    fn fill_is_get_repeated() {
        for n in [1, 2, 15, 16, 17, 18, 100, 257, 5000] {
            let permutation = Permutation::new(n, 11);
            for first in [0, 1, n / 2, n - 1, n] {
                for len in (0..=18).chain([n - first]).filter(|len| first + len <= n) {
                    let mut rows = vec![u64::MAX; len as usize];
                    permutation.fill(first, &mut rows);
                    let expected: Vec<u64> = (first..first + len).map(|p| permutation.get(p)).collect();
                    assert_eq!(rows, expected, "positions {first}.. of {n}");
                }
            }
        }
    }
}

mod forever {
    use super::*;

    /// An order, once released, never changes: these numbers must not.
    const GOLDEN: &[(u64, u64, &[u64])] = &[
        (3, 0, &[0, 2, 1]),
        (16, 1, &[6, 7, 9, 8, 5, 2, 1, 12]),
        (17, 0, &[10, 0, 2, 16, 8, 6, 12, 14]),
        (100, 7, &[72, 44, 2, 27, 76, 40, 35, 96]),
        (10_000, 7, &[4398, 8468, 2248, 1022, 2962, 2988, 2916, 963]),
        (32_769, 7, &[5524, 11_428, 7830, 8599, 8300, 4159, 8608, 21_005]),
        (1_000_000, 42, &[198_767, 245_516, 513_949, 720_449, 763_523, 844_629, 198_987, 455_401]),
        (1 << 32, 42, &[1_619_620_199, 3_531_984_624, 1_090_794_707, 455_610_655]),
        ((1 << 63) - 1, 42, &[9_087_364_956_765_706_942, 5_511_207_269_943_186_685]),
        (1 << 63, 42, &[7_025_669_645_122_499_237, 1_366_179_307_397_042_336]),
    ];

    #[test]
    fn permutations_are_what_they_were() {
        for &(n, key, expected) in GOLDEN {
            let permutation = Permutation::new(n, key);
            let found: Vec<u64> =
                (0..expected.len() as u64).map(|position| permutation.get(position)).collect();
            assert_eq!(found, expected, "of {n} rows under key {key}");
        }
    }

    #[test]
    fn epochs_are_what_they_were() {
        assert_eq!(epoch_key(0, 0), 0x4821_8226_FF3C_D4BF);
        assert_eq!(epoch_key(42, 0), 0xB29E_D950_786F_5AE3);
        assert_eq!(epoch_key(42, 1), 0xAA57_873B_CE94_52A9);
        let mut rows = [0; 8];
        Order::new(1000, Shuffle::Exact, 42).epoch(3).fill(0, &mut rows);
        assert_eq!(rows, [311, 473, 183, 188, 626, 909, 553, 396]);
        let order = Order::new(1000, Shuffle::Block { rows: 64, blocks: 3 }, 42);
        order.epoch(3).fill(0, &mut rows);
        assert_eq!(rows, GOLDEN_BLOCKS[0]);
        order.epoch(3).fill(992, &mut rows);
        assert_eq!(rows, GOLDEN_BLOCKS[1]);
    }

    const GOLDEN_BLOCKS: [[u64; 8]; 2] =
        [[816, 125, 731, 831, 95, 819, 741, 704], [971, 983, 968, 973, 984, 969, 962, 960]];
}

mod randomness {
    use super::*;

    #[test]
    fn all_orders_of_a_few_rows_are_equally_likely() {
        for n in [2_u64, 3, 4, 5] {
            let factorial = (1..=n).product::<u64>();
            let mut counts = vec![0; 5_usize.pow(n as u32)];
            for key in 0..200 * factorial {
                let code = rows(&Permutation::new(n, key)).iter().fold(0, |code, row| code * 5 + row);
                counts[code as usize] += 1;
            }
            counts.retain(|&count| count > 0);
            assert_eq!(counts.len() as u64, factorial);
            assert_uniform(&counts, &format!("orders of {n} rows"));
        }
    }

    #[test]
    fn a_row_is_anywhere_equally_often() {
        for n in [2_u64, 5, 16, 17, 32, 33, 100, 257, 1000] {
            for row in [0, 1, n / 2, n - 1] {
                let mut counts = vec![0; n as usize];
                for seed in 0..(50 * n).max(2000) {
                    counts[Permutation::new(n, epoch_key(seed, 5)).position(row) as usize] += 1;
                }
                assert_uniform(&counts, &format!("positions of row {row} of {n}"));
            }
        }
    }

    /// In a network of too few rounds, rows that share half of their number move together.
    #[test]
    fn neighbours_part() {
        const KEYS: u64 = 30_000;
        for n in [18_u64, 24, 34, 40, 66] {
            let together =
                (0..KEYS).map(|key| Permutation::new(n, key)).filter(|p| p.get(0) ^ p.get(1) == 1).count();
            let expected = KEYS as f64 / (n - 1) as f64;
            let deviation = (together as f64 - expected) / expected.sqrt();
            assert!(
                deviation.abs() < 4.5,
                "{together} of {expected:.0} times neighbours in orders of {n} rows"
            );
        }
    }

    #[test]
    fn two_rows_are_anywhere_independently() {
        for n in [17_u64, 24, 33] {
            for (a, b) in [(0, 1), (0, 4), (0, n - 1)] {
                let mut counts = vec![0; (n * n) as usize];
                for key in 0..30_000 {
                    let permutation = Permutation::new(n, key);
                    counts[(permutation.get(a) * n + permutation.get(b)) as usize] += 1;
                }
                let pairs: Vec<u64> = (0..n * n)
                    .filter(|cell| cell / n != cell % n)
                    .map(|cell| counts[cell as usize])
                    .collect();
                assert_uniform(&pairs, &format!("rows at positions {a} and {b} of {n}"));
            }
        }
    }

    #[test]
    fn consecutive_rows_are_unrelated() {
        const GRID: u64 = 16;
        for n in [1000_u64, 4096, 65_537, 100_000] {
            let half = 1 << ((u64::BITS - n.leading_zeros()) / 2);
            for key in 0..3 {
                let rows = rows(&Permutation::new(n, key));
                for lag in [1, 2, half] {
                    let deviation = correlation_deviation(&rows, &rows[lag..], n);
                    assert!(deviation.abs() < 4.5, "lag {lag} of {n}: {deviation:.1} standard deviations");
                    let mut counts = vec![0; (GRID * GRID) as usize];
                    for (a, b) in rows.iter().zip(&rows[lag..]) {
                        counts[(a * GRID / n * GRID + b * GRID / n) as usize] += 1;
                    }
                    // The margins of the grid are fixed, since each row comes once.
                    let deviation = chi_square_deviation(&counts, ((GRID - 1) * (GRID - 1)) as f64);
                    assert!(
                        deviation.abs() < 4.5,
                        "grid, lag {lag} of {n}: {deviation:.1} standard deviations"
                    );
                }
            }
        }
    }

    #[test]
    fn seeds_epochs_and_lengths_are_unrelated() {
        const N: u64 = 20_000;
        let order = |seed, epoch| {
            let mut rows = vec![0; N as usize];
            Order::new(N, Shuffle::Exact, seed).epoch(epoch).fill(0, &mut rows);
            rows
        };
        let longer =
            |seed, epoch| rows(&Permutation::new(N + 1, epoch_key(seed, epoch)))[..N as usize].to_vec();
        let identity: Vec<u64> = (0..N).collect();
        let pairs = [
            (order(1, 0), order(0, 1)),
            (order(7, 4), order(7, 5)),
            (order(7, 4), order(8, 4)),
            (order(0, 0), order(1 << 63, 0)),
            (order(0, 0), order(0, 1 << 63)),
            (order(3, 3), identity.clone()),
            (order(0, 0), identity),
            (order(5, 2), longer(5, 2)),
        ];
        for (i, (a, b)) in pairs.iter().enumerate() {
            let agreeing = a.iter().zip(b).filter(|(a, b)| a == b).count();
            assert!(agreeing <= 7, "pair {i}: {agreeing} rows at the same position, expected about 1");
            let deviation = correlation_deviation(a, b, N);
            assert!(deviation.abs() < 4.5, "pair {i}: correlated by {deviation:.1} standard deviations");
        }
    }

    #[test]
    fn fixed_points_number_one_on_average() {
        const KEYS: u64 = 4000;
        for n in [10, 100] {
            let fixed: usize = (0..KEYS)
                .map(|key| {
                    rows(&Permutation::new(n, key)).iter().zip(0..).filter(|&(&row, at)| row == at).count()
                })
                .sum();
            let deviation = (fixed as f64 - KEYS as f64) / (KEYS as f64).sqrt();
            assert!(deviation.abs() < 4.5, "{fixed} fixed points in {KEYS} orders of {n} rows");
        }
    }
}

mod epochs {
    use super::*;

    #[test]
    fn without_a_shuffle_rows_come_as_they_lie() {
        let epoch = Order::new(10, Shuffle::None, 42).epoch(9);
        let mut rows = [0; 4];
        epoch.fill(6, &mut rows);
        assert_eq!(rows, [6, 7, 8, 9]);
        assert_eq!((epoch.get(3), epoch.len(), epoch.is_empty()), (3, 10, false));
    }

    #[test]
    fn an_exact_epoch_is_the_permutation_of_its_key() {
        let epoch = Order::new(1000, Shuffle::Exact, 42).epoch(9);
        let permutation = Permutation::new(1000, epoch_key(42, 9));
        assert!((0..1000).all(|position| epoch.get(position) == permutation.get(position)));
    }

    #[test]
    fn no_rows_make_empty_epochs() {
        for shuffle in [Shuffle::None, Shuffle::Exact] {
            let order = Order::new(0, shuffle, 1);
            assert!(order.is_empty() && order.epoch(0).is_empty());
            order.epoch(0).fill(0, &mut []);
        }
    }

    #[test]
    fn positions_past_the_end_panic() {
        let message = |f: &dyn Fn()| {
            let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
            payload.downcast::<String>().map(|text| *text).unwrap_or_default()
        };
        for shuffle in [Shuffle::None, Shuffle::Exact] {
            for n in [0, 5, 100] {
                let epoch = Order::new(n, shuffle, 1).epoch(0);
                assert_eq!(message(&|| _ = epoch.get(n)), format!("position {n} is out of range 0..{n}"));
                assert!(message(&|| epoch.fill(n, &mut [0])).contains("out of range"));
                assert!(message(&|| epoch.fill(u64::MAX, &mut [0; 2])).contains("out of range"));
            }
        }
        assert!(message(&|| _ = Permutation::new(100, 0).position(100)).contains("row 100 is out of range"));
        assert!(message(&|| _ = Permutation::new((1 << 63) + 1, 0)).contains("at most 2^63"));
    }

    #[test]
    fn shuffles_have_names() {
        for shuffle in [Shuffle::None, Shuffle::Exact] {
            assert_eq!(shuffle.to_string().parse::<Shuffle>().unwrap(), shuffle);
        }
        assert_eq!(Shuffle::default().to_string(), "none");
        assert!("Exakt".parse::<Shuffle>().unwrap_err().to_string().contains("found `Exakt`"));
    }
}

mod steps {
    use super::*;

    const REMAINDERS: [Remainder; 3] = [Remainder::Drop, Remainder::Keep, Remainder::Pad];

    #[test]
    fn ten_rows_by_four() {
        let positions = |remainder| {
            let steps = Steps::new(10, 4, remainder).unwrap();
            ((0..steps.len()).map(|step| steps.positions(step)).collect::<Vec<_>>(), steps.dropped())
        };
        assert_eq!(positions(Remainder::Drop), (vec![0..4, 4..8], 8..10));
        assert_eq!(positions(Remainder::Keep), (vec![0..4, 4..8, 8..10], 10..10));
        assert_eq!(positions(Remainder::Pad), (vec![0..4, 4..8, 8..10], 10..10));
    }

    #[test]
    fn fewer_rows_than_a_batch() {
        let len = |n, remainder| Steps::new(n, 4, remainder).unwrap().len();
        assert_eq!(REMAINDERS.map(|remainder| len(3, remainder)), [0, 1, 1]);
        assert_eq!(REMAINDERS.map(|remainder| len(0, remainder)), [0, 0, 0]);
    }

    #[test]
    fn a_batch_of_no_rows_is_an_error() {
        let error = Steps::new(10, 0, Remainder::Keep).unwrap_err();
        assert!(error.to_string().ends_with("batch_size must be at least 1 row, found 0"));
    }

    #[test]
    #[should_panic(expected = "step 3 is out of range 0..3")]
    fn steps_past_the_end_panic() {
        _ = Steps::new(10, 4, Remainder::Keep).unwrap().positions(3);
    }

    #[test]
    #[should_panic(expected = "an epoch of 3 rows has no steps")]
    fn no_batch_lies_in_an_epoch_without_steps() {
        _ = Steps::new(3, 4, Remainder::Drop).unwrap().locate(0);
    }

    #[test]
    fn remainders_have_names() {
        for remainder in REMAINDERS {
            assert_eq!(remainder.to_string().parse::<Remainder>().unwrap(), remainder);
        }
        assert_eq!(Remainder::default(), Remainder::Keep);
        assert!("trim".parse::<Remainder>().unwrap_err().to_string().contains("found `trim`"));
    }

    fn any_steps() -> impl Strategy<Value = (u64, u64, Remainder)> {
        (0..3000_u64, 1..200_u64, prop::sample::select(REMAINDERS.to_vec()))
    }

    proptest! {
        #[test]
        fn ranges_and_the_dropped_rest_tile_the_epoch((n, batch_size, remainder) in any_steps()) {
            let steps = Steps::new(n, batch_size, remainder).unwrap();
            let mut next = 0;
            for step in 0..steps.len() {
                let range = steps.positions(step);
                prop_assert_eq!(range.start, next);
                let full = range.end - range.start == batch_size;
                let last = step + 1 == steps.len() && remainder != Remainder::Drop;
                prop_assert!(full || last && !range.is_empty());
                next = range.end;
            }
            prop_assert_eq!(steps.dropped(), next..n);
            prop_assert!(remainder == Remainder::Drop || next == n);
            prop_assert!(n - next < batch_size);
        }

        #[test]
        fn locate_counts_through_epochs((n, batch_size, remainder) in any_steps(), batch in any::<u64>()) {
            let steps = Steps::new(n, batch_size, remainder).unwrap();
            prop_assume!(!steps.is_empty());
            let (epoch, step) = steps.locate(batch);
            prop_assert!(step < steps.len());
            prop_assert_eq!(epoch * steps.len() + step, batch);
        }

        #[test]
        fn huge_epochs_do_not_overflow(
            n in u64::MAX - 5..=u64::MAX,
            batch_size in prop_oneof![1..5_u64, u64::MAX / 2..=u64::MAX],
            remainder in prop::sample::select(REMAINDERS.to_vec()),
        ) {
            let steps = Steps::new(n, batch_size, remainder).unwrap();
            let end = steps.len().checked_sub(1).map_or(0, |last| steps.positions(last).end);
            prop_assert_eq!(steps.dropped(), end..n);
        }
    }
}

mod exactly_once {
    use super::*;

    fn audit_of(rows: &[u64]) -> Audit {
        let mut audit = Audit::default();
        audit.add_all(rows);
        audit
    }

    #[test]
    fn closed_forms_are_the_sums() {
        let mut audit = Audit::default();
        for n in 0..3000 {
            assert_eq!(Audit::complete(n), audit, "of {n} rows");
            audit.add(n);
        }
    }

    /// From `n` to `n + 1` each closed form grows by a power of `n`, also where it wraps around many times.
    #[test]
    fn closed_forms_hold_for_huge_tables() {
        for bits in 1..=63 {
            for n in [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1, (1 << bits) / 3] {
                let mut next = Audit::complete(n);
                next.add(n);
                assert_eq!(next, Audit::complete(n + 1), "of {n} rows");
            }
        }
    }

    #[test]
    fn an_epoch_in_parts_is_complete() {
        let n = 1003;
        let order = Order::new(n, Shuffle::Exact, 1).epoch(0);
        let steps = Steps::new(n, 10, Remainder::Drop).unwrap();
        let audit_of_range = |range: std::ops::Range<u64>| {
            let mut audit = Audit::default();
            range.for_each(|position| audit.add(order.get(position)));
            audit
        };
        let mut ranks = [Audit::default(); 3];
        for step in (0..steps.len()).rev() {
            ranks[step as usize % 3].merge(audit_of_range(steps.positions(step)));
        }
        let mut delivered = Audit::default();
        ranks.into_iter().for_each(|rank| delivered.merge(rank));
        assert_eq!(delivered.count(), 1000);
        assert!(delivered.check(Audit::complete(n)).is_err());
        delivered.check(Audit::complete(n).less(audit_of_range(steps.dropped()))).unwrap();
    }

    #[test]
    fn a_single_fault_is_found_and_named() {
        let whole: Vec<u64> = (0..50).collect();
        let expected = Audit::complete(50);
        audit_of(&whole).check(expected).unwrap();
        for row in 0..50 {
            let mut lost = whole.clone();
            lost.swap_remove(row);
            let error = audit_of(&lost).check(expected).unwrap_err();
            assert_eq!(error.message(), format!("expected 50 rows, found 49: row {row} was not delivered"));

            let mut doubled = whole.clone();
            doubled.push(row as u64);
            let error = audit_of(&doubled).check(expected).unwrap_err();
            assert_eq!(
                error.message(),
                format!("expected 50 rows, found 51: row {row} was delivered once too often")
            );

            let mut replaced = whole.clone();
            replaced[row] = (row as u64 + 7) % 50;
            let error = audit_of(&replaced).check(expected).unwrap_err();
            assert!(
                error.message().starts_with("expected 50 rows, found 50: some were not delivered"),
                "{error}"
            );
        }
    }

    #[test]
    fn several_faults_are_found() {
        let audit = audit_of(&(2..50).collect::<Vec<_>>());
        let error = audit.check(Audit::complete(50)).unwrap_err();
        assert_eq!(error.message(), "expected 50 rows, found 48: at least 2 were not delivered");
        // Same count, same sum: the squares tell.
        assert!(audit_of(&[0, 2, 2, 2]).check(Audit::complete(4)).is_err());
        assert!(audit_of(&[1, 1, 1, 3]).check(Audit::complete(4)).is_err());
    }

    /// Same count, sum and squares (a solution of Prouhet, Tarry and Escott): the cubes tell.
    #[test]
    fn faults_that_cancel_in_the_squares_are_found() {
        let (a, b) = ([0, 4, 5], [1, 2, 6]);
        let power_sum = |rows: [u64; 3], power| rows.map(|row| row.pow(power)).iter().sum::<u64>();
        assert_eq!((power_sum(a, 1), power_sum(a, 2)), (power_sum(b, 1), power_sum(b, 2)));
        assert!(audit_of(&a).check(audit_of(&b)).is_err());
    }

    #[test]
    fn add_all_is_add_repeated() {
        let rows: Vec<u64> = (0..100).map(|i| epoch_key(i, 0)).collect();
        let mut one_by_one = Audit::default();
        rows.iter().for_each(|&row| one_by_one.add(row));
        assert_eq!(audit_of(&rows), one_by_one);
        assert_eq!(one_by_one.less(audit_of(&rows[..30])), audit_of(&rows[30..]));
    }

    #[test]
    fn an_audit_survives_json() {
        let audit = Audit::complete(u64::MAX / 3);
        assert_eq!(serde_json::from_str::<Audit>(&serde_json::to_string(&audit).unwrap()).unwrap(), audit);
    }
}

mod blocks {
    use super::*;

    fn epoch(n: u64, rows: u64, blocks: u64, seed: u64) -> Vec<u64> {
        let mut order = vec![0; n as usize];
        Order::new(n, Shuffle::Block { rows, blocks }, seed).epoch(1).fill(0, &mut order);
        order
    }

    proptest! {
        #[test]
        fn every_row_comes_once(n in 0_u64..3000, rows in 1_u64..400, blocks in 1_u64..40, seed: u64) {
            let mut order = epoch(n, rows, blocks, seed);
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..n));
        }

        #[test]
        fn a_group_holds_the_rows_of_its_blocks(n in 1_u64..3000, rows in 1_u64..400, blocks in 1_u64..40, seed: u64) {
            let order = epoch(n, rows, blocks, seed);
            // Groups have as many rows as blocks do, but the one with the short block, which has no more.
            let mut left = &order[..];
            let short = (n - 1) / rows;
            while !left.is_empty() {
                let full = (rows * blocks).min(left.len() as u64) as usize;
                let with_short = left[..full].iter().any(|row| row / rows == short);
                let lacking = if with_short && full as u64 == rows * blocks { (short + 1) * rows - n } else { 0 };
                let (group, rest) = left.split_at(full - lacking as usize);
                let mut members: Vec<u64> = group.iter().map(|row| row / rows).collect();
                members.sort_unstable();
                members.dedup();
                prop_assert!(members.len() as u64 <= blocks, "blocks {members:?} in one group");
                let whole: u64 = members.iter().map(|block| rows.min(n - block * rows)).sum();
                prop_assert_eq!(whole, group.len() as u64, "whole blocks");
                left = rest;
            }
        }
    }

    #[test]
    fn a_row_is_anywhere_equally_often() {
        for (n, rows, blocks) in [(96_u64, 8, 3), (100, 10, 10), (60, 1, 4), (64, 64, 1)] {
            for row in [0, n / 2, n - 1] {
                let mut counts = vec![0; n as usize];
                for seed in 0..50 * n {
                    let position = epoch(n, rows, blocks, seed).iter().position(|&found| found == row);
                    counts[position.unwrap()] += 1;
                }
                assert_uniform(
                    &counts,
                    &format!("positions of row {row} of {n}, blocks of {rows} by {blocks}"),
                );
            }
        }
    }

    #[test]
    fn consecutive_rows_of_a_group_are_unrelated() {
        for (rows, blocks) in [(1000_u64, 16_u64), (64, 500), (16_000, 1)] {
            let group_rows = rows * blocks;
            let order = epoch(4 * group_rows, rows, blocks, 5);
            for group in order.chunks(group_rows as usize) {
                // Each row by its rank in the group.
                let mut sorted = group.to_vec();
                sorted.sort_unstable();
                let ranks: Vec<u64> =
                    group.iter().map(|row| sorted.binary_search(row).unwrap() as u64).collect();
                for lag in [1, 2, 64] {
                    let deviation = correlation_deviation(&ranks, &ranks[lag..], group_rows);
                    assert!(deviation.abs() < 4.5, "lag {lag}, blocks of {rows} by {blocks}: {deviation:.1}");
                }
            }
        }
    }

    #[test]
    fn epochs_and_groups_have_orders_of_their_own() {
        let order = Order::new(1000, Shuffle::Block { rows: 10, blocks: 10 }, 1);
        let rows = |epoch| (0..1000).map(|position| order.epoch(epoch).get(position)).collect::<Vec<_>>();
        let (first, second) = (rows(0), rows(1));
        let fixed = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(fixed < 10, "{fixed} rows of 1000 stay");
        let within = |group: &[u64]| {
            let mut sorted = group.to_vec();
            sorted.sort_unstable();
            group.iter().map(|row| sorted.binary_search(row).unwrap()).collect::<Vec<_>>()
        };
        assert_ne!(within(&first[..100]), within(&first[100..200]));
    }

    #[test]
    fn as_text_and_back() {
        let shuffle = Shuffle::Block { rows: 4096, blocks: 16 };
        assert_eq!(shuffle.to_string(), "block:4096x16");
        assert_eq!("block:4096x16".parse::<Shuffle>().unwrap(), shuffle);
        for bad in ["block", "block:4096", "block:0x3", "block:3x0", "block:3x", "block:-1x3", "blocks:1x1"] {
            let error = bad.parse::<Shuffle>().unwrap_err();
            assert!(error.message().contains(bad) || error.message().contains("at least 1"), "{error}");
        }
    }
}
