//! Promises 2 and 3 in mixtures: components take turns by weight at every prefix, and each is gone through again and again.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use forebay::sampler::{Audit, EpochOrder, Interleaving, Order, epoch_key};
use forebay::{
    Dataset, Error, ErrorKind, Loader, LoaderState, Mixture, MixtureBuilder, OnBadRecord, Output, Remainder,
    Result, Shuffle, Weight,
};
use proptest::prelude::*;

/// Counts of all prefixes differ by less than one from the shares, and `get`, `count` and `position` agree with them.
fn assert_fair(weights: &[u64], positions: u64) {
    let turns = Interleaving::new(weights).unwrap();
    let sum: u64 = weights.iter().sum();
    let mut counts = vec![0u64; weights.len()];
    for position in 0..positions {
        let (component, nth) = turns.get(position);
        assert_eq!(nth, counts[component], "{weights:?} at {position}");
        assert_eq!(turns.position(component, nth), Some(position), "{weights:?}");
        counts[component] += 1;
        for (component, (&count, &weight)) in counts.iter().zip(weights).enumerate() {
            let off = i128::from(count) * i128::from(sum) - i128::from((position + 1) * weight);
            assert!(off.abs() < i128::from(sum), "{weights:?}: component {component} after {position}");
            assert_eq!(turns.count(component, position + 1), count, "{weights:?} at {position}");
        }
    }
}

mod interleaving {
    use super::*;

    #[test]
    fn it_is_what_it_was() {
        let golden: [(&[u64], [usize; 14]); 5] = [
            (&[3], [0; 14]),
            (&[1, 1], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]),
            (&[7, 2, 1], [0, 0, 0, 1, 0, 0, 1, 0, 0, 2, 0, 0, 0, 1]),
            (&[5, 5, 3, 1], [0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 3]),
            (&[1, 10], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]),
        ];
        for (weights, expected) in golden {
            let turns = Interleaving::new(weights).unwrap();
            let found: Vec<usize> = (0..14).map(|position| turns.get(position).0).collect();
            assert_eq!(found, expected, "{weights:?}");
        }
    }

    #[test]
    fn few_components_of_small_weights_are_fair() {
        for a in 1..12 {
            assert_fair(&[a], 3 * a);
            for b in 1..12 {
                assert_fair(&[a, b], 2 * (a + b));
                for c in 1..12 {
                    assert_fair(&[a, b, c], 2 * (a + b + c));
                }
            }
        }
    }

    #[test]
    fn weights_that_greed_for_the_largest_lag_gets_wrong_are_fair() {
        assert_fair(&[1; 40], 80);
        assert_fair(&[1, 1, 1, 1, 1, 1, 1, 1, 40], 96);
        assert_fair(&[997, 499, 251, 127, 61, 31, 17, 7, 3, 2, 1], 1996);
    }

    proptest! {
        #[test]
        fn any_weights_are_fair(weights in prop::collection::vec(prop_oneof![1u64..10, 1u64..300], 1..9)) {
            let sum: u64 = weights.iter().sum();
            assert_fair(&weights, sum + sum / 2);
        }
    }

    #[test]
    fn weights_are_taken_in_lowest_terms() {
        let turns = Interleaving::new(&[7_000_000_000, 2_000_000_000, 1_000_000_000]).unwrap();
        assert_eq!((turns.weights(), turns.period()), (&[7, 2, 1][..], 10));
        assert_eq!(turns, Interleaving::new(&[7, 2, 1]).unwrap());
    }

    #[test]
    fn weights_that_make_no_table_are_refused() {
        for (weights, words) in [
            (&[][..], "at least one component, found none"),
            (&[1, 0], "found 0 for component 1: leave it out"),
            (&[1 << 20, 1], "sum up to at most 1048576 in lowest terms, found 1048576, 1: give rounder ones"),
            (&[u64::MAX, u64::MAX - 1], "give rounder ones"),
        ] {
            let error = Interleaving::new(weights).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(words), "{error}");
        }
        assert_eq!(Interleaving::new(&[(1 << 20) - 1, 1]).unwrap().period(), 1 << 20);
    }

    #[test]
    fn positions_past_counting_are_none() {
        let turns = Interleaving::new(&[1, 2]).unwrap();
        assert_eq!(turns.position(0, u64::MAX), None);
        assert_eq!(turns.position(0, u64::MAX / 3 - 1), Some((u64::MAX / 3 - 1) * 3 + 1));
        assert_eq!(turns.count(1, u64::MAX), u64::MAX / 3 * 2);
    }
}

/// The rows of all positions, and the components they are of.
fn all(order: &EpochOrder) -> Vec<(usize, u64)> {
    let mut rows = vec![0; order.len() as usize];
    order.fill(0, &mut rows);
    rows.iter().zip(0..).map(|(&row, position)| (order.source(position), row)).collect()
}

/// The epochs of a mixture, one row after another, by the definition.
fn listed(
    weights: &[u64],
    lens: &[u64],
    n: u64,
    shuffle: Shuffle,
    seed: u64,
    epochs: u64,
) -> Vec<Vec<(usize, u64)>> {
    let turns = Interleaving::new(weights).unwrap();
    let mut taken = vec![0u64; lens.len()];
    let mut position = 0;
    let mut one = || {
        let (component, _) = turns.get(position);
        position += 1;
        let (pass, at) = (taken[component] / lens[component], taken[component] % lens[component]);
        taken[component] += 1;
        let key = epoch_key(seed ^ 0xC0B1_9E5A_3D27_4F68, component as u64);
        let row = Order::new(lens[component], shuffle, key).epoch(pass).get(at);
        (component, lens[..component].iter().sum::<u64>() + row)
    };
    (0..epochs).map(|_| (0..n).map(|_| one()).collect()).collect()
}

fn shuffles() -> impl Strategy<Value = Shuffle> {
    prop_oneof![
        Just(Shuffle::None),
        Just(Shuffle::Exact),
        (1u64..6, 1u64..4).prop_map(|(rows, blocks)| Shuffle::Block { rows, blocks })
    ]
}

mod order {
    use super::*;

    #[test]
    fn it_is_what_it_was() {
        let turns = Interleaving::new(&[5, 2, 1]).unwrap();
        let order = Order::mixture(&turns, &[1000, 100, 3], 500, Shuffle::Exact, 42);
        let mut rows = [0; 12];
        order.epoch(0).fill(0, &mut rows);
        assert_eq!(rows, [396, 248, 1032, 474, 885, 1012, 807, 1101, 257, 464, 1025, 853]);
        order.epoch(3).fill(488, &mut rows);
        assert_eq!(rows, [300, 1018, 279, 1100, 651, 423, 1098, 862, 855, 1039, 237, 1100]);
    }

    proptest! {
        #[test]
        fn it_is_what_lists_would_give(
            parts in prop::collection::vec((1u64..9, 1u64..40), 1..6),
            n in 1u64..200,
            shuffle in shuffles(),
            seed: u64,
        ) {
            let (weights, lens): (Vec<u64>, Vec<u64>) = parts.into_iter().unzip();
            let order = Order::mixture(&Interleaving::new(&weights).unwrap(), &lens, n, shuffle, seed);
            for (epoch, expected) in listed(&weights, &lens, n, shuffle, seed, 4).iter().enumerate() {
                let order = order.epoch(epoch as u64);
                prop_assert_eq!(&all(&order), expected);
                let mut audit = Audit::default();
                for (position, &(_, row)) in expected.iter().enumerate() {
                    prop_assert_eq!(order.get(position as u64), row);
                    audit.add(row);
                }
                prop_assert_eq!(order.audit(), audit);
                // From anywhere, as many as one likes.
                let (first, len) = (n / 3, (n / 2).min(n - n / 3));
                let mut some = vec![0; len as usize];
                order.fill(first, &mut some);
                let rows = expected[first as usize..][..len as usize].iter().map(|&(_, row)| row);
                prop_assert_eq!(some, rows.collect::<Vec<_>>());
            }
        }

        #[test]
        fn every_pass_through_a_component_is_a_permutation(
            parts in prop::collection::vec((1u64..9, 1u64..40), 1..6),
            n in 1u64..200,
            shuffle in shuffles(),
            seed: u64,
        ) {
            let (weights, lens): (Vec<u64>, Vec<u64>) = parts.into_iter().unzip();
            let order = Order::mixture(&Interleaving::new(&weights).unwrap(), &lens, n, shuffle, seed);
            let mut passes: HashMap<usize, Vec<u64>> = HashMap::new();
            for (component, row) in (0..10).flat_map(|epoch| all(&order.epoch(epoch))) {
                passes.entry(component).or_default().push(row);
            }
            for (component, rows) in passes {
                let base: u64 = lens[..component].iter().sum();
                for pass in rows.chunks_exact(lens[component] as usize) {
                    let mut pass = pass.to_vec();
                    pass.sort_unstable();
                    prop_assert_eq!(pass, (base..base + lens[component]).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_component_is_reshuffled_when_it_begins_anew() {
        let turns = Interleaving::new(&[1, 1]).unwrap();
        let order = Order::mixture(&turns, &[50, 50], 200, Shuffle::Exact, 7).epoch(0);
        let of = |component, pass: usize| {
            let rows: Vec<_> = all(&order).into_iter().filter(|(of, _)| *of == component).collect();
            rows[pass * 50..(pass + 1) * 50].iter().map(|(_, row)| row % 50).collect::<Vec<_>>()
        };
        assert_ne!(of(0, 0), of(0, 1), "another pass");
        assert_ne!(of(0, 0), of(1, 0), "another component");
    }

    #[test]
    fn epochs_far_away_are_as_near() {
        let turns = Interleaving::new(&[3, 2]).unwrap();
        let order = Order::mixture(&turns, &[1 << 61, 7], 1 << 62, Shuffle::Exact, 1);
        let epoch = order.epoch(u64::MAX);
        let last = epoch.len() - 1;
        assert!([0, 1, last / 2, last].iter().all(|&position| epoch.get(position) < (1 << 61) + 7));
        let small = Order::mixture(&turns, &[10, 7], 25, Shuffle::Exact, 1);
        let mut audit = Audit::default();
        small.epoch(1 << 60).audit().check(Audit::default()).unwrap_err();
        all(&small.epoch(1 << 60)).iter().for_each(|(_, row)| audit.add(*row));
        assert_eq!(small.epoch(1 << 60).audit(), audit);
    }
}

/// `n` numbers from `first` on.
fn numbers(first: i64, n: i64) -> Dataset {
    Dataset::from_tensor("x", &[], (first..first + n).collect()).unwrap()
}

/// Components of these weights, of 3 rows each.
fn weighted<W: Into<Weight> + Copy>(weights: &[W]) -> Result<Mixture> {
    let builder = weights.iter().enumerate().fold(Mixture::builder(), |builder, (number, &weight)| {
        builder.add(number.to_string(), &numbers(0, 3), weight)
    });
    builder.build()
}

fn refused(builder: MixtureBuilder) -> Error {
    builder.build().map(drop).unwrap_err()
}

#[test]
fn floats_are_shares_in_hundred_thousandths() {
    assert_eq!(weighted(&[0.7, 0.2, 0.1]).unwrap().weights(), [7, 2, 1]);
    assert_eq!(weighted(&[0.7f32, 0.2, 0.1]).unwrap().weights(), [7, 2, 1]);
    assert_eq!(weighted(&[1.0, 1.0, 1.0]).unwrap().weights(), [1, 1, 1]);
    assert_eq!(weighted(&[1e300, 3e300]).unwrap().weights(), [1, 3]);
    assert_eq!(weighted(&[std::f64::consts::PI, 1.0]).unwrap().weights(), [15_171, 4_829]);
    let one_float = Mixture::builder().add("a", &numbers(0, 3), 3).add("b", &numbers(0, 3), 1.0);
    assert_eq!(one_float.build().unwrap().weights(), [3, 1]);
    assert_eq!(weighted(&[u64::MAX, u64::MAX]).unwrap().weights(), [1, 1]);
}

#[test]
fn what_makes_no_mixture_is_refused_by_name() {
    let x = numbers(0, 3);
    let one = || Mixture::builder().add("a", &x, 1);
    let y = Dataset::from_tensor("y", &[], vec![1i64]).unwrap();
    let narrow = Dataset::from_tensor("x", &[], vec![1i32]).unwrap();
    let wide = x.zip(&Dataset::from_tensor("z", &[], vec![1i64, 2, 3]).unwrap()).unwrap();
    let like = "component 'b' of the mixture is not like 'a': ";
    for (builder, kind, words) in [
        (Mixture::builder(), ErrorKind::InvalidArgument, "at least one dataset, found none".to_owned()),
        (
            one().add("a", &x, 1),
            ErrorKind::InvalidArgument,
            "two components of the mixture are called 'a'".into(),
        ),
        (
            one().add("b", &x.take(0), 1),
            ErrorKind::InvalidArgument,
            "component 'b' of the mixture has no rows".into(),
        ),
        (one().add("b", &x, 0), ErrorKind::InvalidArgument, "component 'b' is 0: expected a positive".into()),
        (
            one().add("b", &x, -1),
            ErrorKind::InvalidArgument,
            "component 'b' is -1: expected a positive".into(),
        ),
        (
            one().add("b", &x, f64::NAN),
            ErrorKind::InvalidArgument,
            "component 'b' is NaN: expected a positive".into(),
        ),
        (one().add("b", &x, f64::INFINITY), ErrorKind::InvalidArgument, "is inf: expected a positive".into()),
        (
            one().add("b", &x, 1e-9),
            ErrorKind::InvalidArgument,
            "is 0.000000001: that is nothing in hundred-th".into(),
        ),
        (one().add("b", &x, 1 << 20), ErrorKind::InvalidArgument, "give rounder ones".into()),
        (one().rows_per_epoch(0), ErrorKind::InvalidArgument, "rows_per_epoch must be at least 1".into()),
        (one().rows_per_epoch(u64::MAX), ErrorKind::InvalidArgument, "fewer than 2⁶² rows".into()),
        (
            one().add("b", &y, 1),
            ErrorKind::Mismatch,
            format!("{like}only the other dataset has a column 'y'"),
        ),
        (
            one().add("b", &wide, 1),
            ErrorKind::Mismatch,
            format!("{like}only the other dataset has a column 'z'"),
        ),
        (
            one().add("b", &narrow, 1),
            ErrorKind::Mismatch,
            format!("{like}expected column 'x' to be Int64, found Int32"),
        ),
        (
            Mixture::builder().add("a", &wide, 1).add("b", &x, 1),
            ErrorKind::Mismatch,
            format!("{like}the other dataset has no column 'z'"),
        ),
    ] {
        let error = refused(builder);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(&words), "{error}");
    }
}

#[test]
fn an_epoch_is_as_long_as_it_takes_to_see_every_row() {
    for (parts, expected) in [
        (&[(10, 1)][..], 10),
        (&[(10, 1), (10, 1)], 20),
        (&[(10, 1), (3, 1)], 19),
        (&[(10, 7), (100, 2), (1, 1)], 497),
    ] {
        let builder =
            parts.iter().enumerate().fold(Mixture::builder(), |builder, (number, &(rows, weight))| {
                builder.add(number.to_string(), &numbers(0, rows), weight)
            });
        assert_eq!(builder.build().unwrap().rows_per_epoch(), expected, "{parts:?}");
    }
}

#[test]
fn a_loader_delivers_its_order_and_says_whose_each_row_is() {
    let parts = [("a", numbers(0, 40), 3), ("b", numbers(100, 11), 2), ("c", numbers(200, 1), 1)];
    let mixture =
        parts.iter().fold(Mixture::builder(), |all, (name, data, weight)| all.add(*name, data, *weight));
    let mixture = mixture.rows_per_epoch(50).build().unwrap();
    let values: Vec<i64> = (0..40).chain(100..111).chain(200..201).collect();
    for shuffle in [Shuffle::None, Shuffle::Exact, Shuffle::Block { rows: 4, blocks: 2 }] {
        let order = Order::mixture(&Interleaving::new(&[3, 2, 1]).unwrap(), &[40, 11, 1], 50, shuffle, 5);
        for remainder in [Remainder::Drop, Remainder::Keep, Remainder::Pad] {
            for threads in [0, 3] {
                let builder = Loader::mixture(&mixture).batch_size(8).shuffle(shuffle).seed(5).epochs(3);
                let mut loader = builder.remainder(remainder).threads(threads).build().unwrap();
                let mut steps = 0;
                for batch in loader.by_ref() {
                    let batch = batch.unwrap();
                    let (x, sources) = (batch.tensor::<i64>("x").unwrap(), batch.sources().unwrap());
                    assert_eq!(sources.len(), batch.len());
                    let order = order.epoch(batch.epoch());
                    for (row, &source) in sources.iter().enumerate() {
                        let position = batch.step() * 8 + row as u64;
                        let expected = if row < batch.num_rows() {
                            (order.source(position) as u32, values[order.get(position) as usize])
                        } else {
                            (0, 0)
                        };
                        assert_eq!((source, x.as_slice()[row]), expected, "{shuffle}, {remainder}");
                    }
                    steps += 1;
                }
                assert_eq!(steps, 3 * if remainder == Remainder::Drop { 6 } else { 7 });
                let (_, delivered, expected) = loader.audit();
                delivered.check(expected).unwrap();
            }
        }
    }
    let plain = Loader::builder(mixture.dataset()).build().unwrap().next().unwrap().unwrap();
    assert_eq!(plain.sources(), None);
}

#[test]
fn sources_stay_with_their_rows_where_bad_records_are_left_out() {
    let mixture = Mixture::builder().add("a", &numbers(0, 30), 2).add("b", &numbers(100, 9), 1);
    let mixture = mixture.rows_per_epoch(40).build().unwrap();
    let bad = |x: i64| x % 4 == 1;
    let of_rows = |remainder| {
        let loader =
            Loader::mixture(&mixture).batch_size(7).shuffle(Shuffle::Exact).seed(3).remainder(remainder);
        let loader = loader.columns(["x"]).on_bad_record(OnBadRecord::Skip { limit: 40 });
        let loader = loader.map_rows(["x"], [Output::tensor::<i64>("y", &[])], move |row, out| {
            let x = row.values::<i64>("x")?[0];
            if bad(x) {
                return Err(Error::new(ErrorKind::Malformed, "bad"));
            }
            out.tensor_mut::<i64>("y")?[0] = -x;
            Ok(())
        });
        let (mut found, mut holes) = (Vec::new(), 0);
        for batch in loader.build().unwrap() {
            let batch = batch.unwrap();
            let (x, y) = (batch.tensor::<i64>("x").unwrap(), batch.tensor::<i64>("y").unwrap());
            for (row, &source) in batch.sources().unwrap().iter().enumerate() {
                if batch.mask().is_none_or(|mask| mask[row] == 1) {
                    assert_eq!((y.as_slice()[row], bad(x.as_slice()[row])), (-x.as_slice()[row], false));
                    found.push((source, x.as_slice()[row]));
                } else {
                    holes += 1;
                }
            }
        }
        (found, holes)
    };
    let order = mixture_order(&[2, 1], &[30, 9], 40);
    let values: Vec<i64> = (0..30).chain(100..109).collect();
    let rows = (0..40).map(|at| (order.source(at) as u32, values[order.get(at) as usize]));
    let good: Vec<_> = rows.filter(|&(_, x)| !bad(x)).collect();
    assert!((20..38).contains(&good.len()) && good.iter().any(|row| row.0 == 1));
    assert_eq!(of_rows(Remainder::Keep), (good.clone(), 0));
    // Six batches of seven.
    let holes = 42 - good.len();
    assert_eq!(of_rows(Remainder::Pad), (good, holes));
}

/// The order of the first epoch of a mixture, shuffled exactly under the seed 3.
fn mixture_order(weights: &[u64], lens: &[u64], len: u64) -> EpochOrder {
    Order::mixture(&Interleaving::new(weights).unwrap(), lens, len, Shuffle::Exact, 3).epoch(0)
}

#[test]
fn rows_of_a_mixture_are_not_put_together_by_length() {
    let mixture = Mixture::builder().add("a", &numbers(0, 3), 2).build().unwrap();
    for (loader, words) in [
        (Loader::mixture(&mixture).pack("x", 4), "pack each dataset"),
        (Loader::mixture(&mixture).bucket_by_length("x", 4), "leave out bucket_by_length"),
    ] {
        let error = loader.build().map(drop).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(words), "{error}");
    }
}

#[test]
fn the_state_of_another_mixture_is_refused_by_what_differs() {
    let (a, b) = (numbers(0, 30), numbers(0, 20));
    let build = |weights: (i32, i32), rows, names: (&str, &str)| {
        Mixture::builder()
            .add(names.0, &a, weights.0)
            .add(names.1, &b, weights.1)
            .rows_per_epoch(rows)
            .build()
            .unwrap()
    };
    let mixture = build((2, 1), 40, ("a", "b"));
    let state = Loader::mixture(&mixture).build().unwrap().state();
    let state = LoaderState::from_json(&state.to_json()).unwrap();
    let ours = "the mixture 'a' 2/3 of 30 rows, 'b' 1/3 of 20 rows, 40 rows an epoch";
    for (other, words) in [
        (
            build((3, 1), 40, ("a", "b")),
            "the mixture 'a' 3/4 of 30 rows, 'b' 1/4 of 20 rows, 40 rows an epoch",
        ),
        (
            build((2, 1), 41, ("a", "b")),
            "the mixture 'a' 2/3 of 30 rows, 'b' 1/3 of 20 rows, 41 rows an epoch",
        ),
        (
            build((2, 1), 40, ("a", "c")),
            "the mixture 'a' 2/3 of 30 rows, 'c' 1/3 of 20 rows, 40 rows an epoch",
        ),
    ] {
        let error = Loader::mixture(&other).resume(&state).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(error.message(), format!("the state was taken with {ours}, and this loader has {words}"));
    }
    let error = Loader::builder(mixture.dataset()).resume(&state).build().unwrap_err();
    assert!(error.message().ends_with("40 rows an epoch, and this loader has no mixture"), "{error}");
    let plain = Loader::builder(mixture.dataset()).build().unwrap().state();
    let error = Loader::mixture(&mixture).resume(&plain).build().unwrap_err();
    assert!(error.message().contains("was taken with no mixture"), "{error}");
    // Other rows under the same names.
    let other =
        Mixture::builder().add("a", &a.take(29), 2).add("b", &b, 1).rows_per_epoch(40).build().unwrap();
    let error = Loader::mixture(&other).resume(&state).build().unwrap_err();
    assert!(error.message().ends_with("'a' 2/3 of 29 rows, 'b' 1/3 of 20 rows, 40 rows an epoch"), "{error}");
    // The same rows, of other components.
    let rows = numbers(0, 50);
    let cut = |at| {
        let builder = Mixture::builder().add("a", &rows.take(at), 2).add("b", &rows.skip(at), 1);
        builder.rows_per_epoch(40).build().unwrap()
    };
    let state = Loader::mixture(&cut(30)).build().unwrap().state();
    let error = Loader::mixture(&cut(29)).resume(&state).build().unwrap_err();
    assert!(error.message().contains("of 30 rows") && error.message().contains("of 29 rows"), "{error}");
    let state = Loader::mixture(&mixture).build().unwrap().state();
    assert!(Loader::mixture(&mixture).resume(&state).build().is_ok());
}
