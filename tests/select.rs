//! Rows chosen by their values (`filter`, `split_stratified`), and datasets kept where they are read fast (`cache`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::compute::kernels::cmp;
use arrow::datatypes::Int64Type;
use forebay::convert::ConvertOptions;
use forebay::{Dataset, ErrorKind, Loader, LoaderState, Shuffle, TensorColumns};
use proptest::prelude::*;

const ROWS: i64 = 20_000;

fn numbers(n: i64) -> Dataset {
    Dataset::from_tensor("n", &[], (0..n).collect()).unwrap()
}

/// The numbers of all rows.
fn all(dataset: &Dataset) -> Vec<i64> {
    let rows = dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap();
    rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn kept(dataset: &Dataset, keep: impl Fn(i64) -> bool + Sync) -> Dataset {
    let keep = |rows: &RecordBatch| {
        Ok(rows.tensor::<i64>("n")?.as_slice().iter().map(|&n| keep(n)).collect::<Vec<bool>>())
    };
    dataset.filter(["n"], keep).unwrap()
}

#[test]
fn a_filter_keeps_what_a_loop_would_in_its_order() {
    let data = numbers(ROWS);
    for modulus in [1, 2, 7, 5000, ROWS + 1] {
        let expected: Vec<i64> = (0..ROWS).filter(|n| n % modulus == modulus - 1).collect();
        assert_eq!(all(&kept(&data, |n| n % modulus == modulus - 1)), expected, "{modulus}");
    }
    let (train, _) = data.split(0.5, 3).unwrap();
    let expected: Vec<i64> = all(&train).into_iter().filter(|n| n % 3 == 0).collect();
    let third = kept(&train, |n| n % 3 == 0);
    assert_eq!(all(&third), expected, "of a split");
    let expected: Vec<i64> = expected.into_iter().filter(|n| n % 2 == 0).collect();
    assert_eq!(all(&kept(&third, |n| n % 2 == 0)), expected, "of a filter");
    assert!(kept(&data.take(0), |_| true).is_empty());
}

#[test]
fn a_filter_sees_every_type_and_drops_nulls() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..6).map(|n| (n != 1).then(|| (0..n).map(|i| (i != 3).then_some(i)))),
    );
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from(vec![Some(5), None, Some(3), Some(9), None, Some(1)]))),
        ("word", Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("a"), None, Some("c")]))),
        ("list", Arc::new(lists)),
    ];
    let data = Dataset::from_batches([RecordBatch::try_from_iter(columns).unwrap()]).unwrap();
    let large = data.filter(["n"], |rows| {
        Ok(cmp::gt(rows.column(0), &Int64Array::new_scalar(3)).expect("numbers compare"))
    });
    let large = large.unwrap().gather(&[0, 1]).unwrap();
    assert_eq!(large.column(0).as_primitive::<Int64Type>().values(), &[5, 9]);
    let a = data.filter(["list", "word"], |rows| {
        assert_eq!(rows.schema().field(0).name(), "list");
        let lists = rows.column(0).as_list::<i32>();
        Ok(rows
            .column(1)
            .as_string::<i32>()
            .iter()
            .enumerate()
            .map(|(row, word)| word == Some("a") && lists.value_length(row) == 3)
            .collect::<Vec<_>>())
    });
    assert_eq!(a.unwrap().row(0).unwrap().column(0).as_primitive::<Int64Type>().values(), &[9]);
}

#[test]
fn a_filter_that_goes_wrong_is_an_error() {
    let data = numbers(ROWS);
    let error = data.filter(["n"], |_| Ok(vec![true])).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("of each of"), "{error}");
    let error = data.filter(["m"], |_| Ok(vec![true])).map(drop).unwrap_err();
    assert!(error.message().contains("no column is called 'm'"), "{error}");
    let error = data.filter([], |_| Ok(vec![true])).map(drop).unwrap_err();
    assert!(error.message().contains("at least one column"), "{error}");
    let panics = |rows: &RecordBatch| -> forebay::Result<BooleanArray> {
        assert!(rows.column(0).as_primitive::<Int64Type>().value(0) < 10_000, "too large for me");
        Ok(vec![true; rows.num_rows()].into())
    };
    let error = data.filter(["n"], panics).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.message().contains("too large for me"), "{error}");
    let error = data.filter(["n"], |rows| rows.tensor::<f32>("n").map(|_| vec![true])).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "its own");
}

#[test]
fn the_state_of_another_filter_is_refused() {
    let data = numbers(ROWS);
    let build = |data: &Dataset, state: Option<&LoaderState>| {
        let builder = Loader::builder(data).batch_size(10).shuffle(Shuffle::Exact);
        match state {
            Some(state) => builder.resume(state).build(),
            None => builder.build(),
        }
    };
    let mut loader = build(&kept(&data, |n| n % 2 == 0), None).unwrap();
    loader.by_ref().take(5).for_each(|batch| drop(batch.unwrap()));
    let state = loader.state();
    let expected: Vec<_> =
        loader.take(3).map(|batch| batch.unwrap().tensor::<i64>("n").unwrap().as_slice().to_vec()).collect();
    let error = build(&kept(&data, |n| n % 2 == 1), Some(&state)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    // The same rows, however they were found.
    let rest = build(&kept(&data, |n| n & 1 == 0), Some(&state)).unwrap();
    let rest: Vec<_> =
        rest.take(3).map(|batch| batch.unwrap().tensor::<i64>("n").unwrap().as_slice().to_vec()).collect();
    assert_eq!(rest, expected);
}

/// `n`, and beside it a label for each.
fn labelled(labels: &[Option<u8>]) -> Dataset {
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int64Array::from_iter_values(0..labels.len() as i64))),
        ("label", Arc::new(labels.iter().map(|label| label.map(i64::from)).collect::<Int64Array>())),
    ];
    Dataset::from_batches([RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, name == "label")),
    )
    .unwrap()])
    .unwrap()
}

proptest! {
    #[test]
    fn every_label_has_its_share_of_a_stratified_split(
        labels in prop::collection::vec(prop_oneof![Just(None), (0u8..3).prop_map(Some), any::<u8>().prop_map(Some)], 1..300),
        fraction in prop_oneof![Just(0.0), Just(1.0), Just(0.5), 0.0..1.0],
        seed: u64,
    ) {
        let data = labelled(&labels);
        let (first, rest) = data.split_stratified("label", fraction, seed).unwrap();
        let (first, rest) = (all(&first), all(&rest));
        prop_assert!(first.is_sorted() && rest.is_sorted());
        let both: BTreeSet<_> = first.iter().chain(&rest).copied().collect();
        prop_assert_eq!((both.len(), first.len() + rest.len()), (labels.len(), labels.len()), "each row once");
        let share = |of: f64, found: usize| (of - found as f64).abs();
        prop_assert!(share(labels.len() as f64 * fraction, first.len()) <= 0.5, "in all");
        let mut counts: BTreeMap<Option<u8>, (usize, usize)> = BTreeMap::new();
        for label in &labels {
            counts.entry(*label).or_default().0 += 1;
        }
        for &row in &first {
            counts.entry(labels[row as usize]).or_default().1 += 1;
        }
        for (label, (rows, taken)) in counts {
            prop_assert!(share(rows as f64 * fraction, taken) < 1.0 + 1e-9, "{label:?}: {taken} of {rows}");
        }
        let (again, _) = data.split_stratified("label", fraction, seed).unwrap();
        prop_assert_eq!(all(&again), first, "the same cut");
    }
}

#[test]
fn a_stratified_split_is_random_and_knows_text() {
    let words = StringArray::from_iter_values(
        (0..4000).map(|n| ["cat", "dog", "emu"][usize::from(n % 10 == 0) + usize::from(n % 100 == 0)]),
    );
    let columns: [(&str, ArrayRef); 2] =
        [("n", Arc::new(Int64Array::from_iter_values(0..4000))), ("word", Arc::new(words))];
    let data = Dataset::from_batches([RecordBatch::try_from_iter(columns).unwrap()]).unwrap();
    let cut = |seed| all(&data.split_stratified("word", 0.25, seed).unwrap().0);
    let (one, other) = (cut(1), cut(2));
    let count = |rows: &[i64], of: i64| rows.iter().filter(|&&n| n % of == 0).count();
    assert_eq!((one.len(), count(&one, 10), count(&one, 100)), (1000, 100, 10));
    let shared = one.iter().filter(|n| other.contains(n)).count();
    assert!((180..330).contains(&shared), "a quarter of a quarter in both, found {shared}");
    let halves = one.iter().filter(|&&n| n < 2000).count();
    assert!((420..580).contains(&halves), "from everywhere, found {halves} of 1000 in the first half");
}

#[test]
fn what_cannot_be_stratified_is_refused() {
    let data = numbers(10).zip(&Dataset::from_tensor("x", &[2], vec![0f32; 20]).unwrap()).unwrap();
    for (label, fraction, words) in [
        ("x", 0.5, "column 'x' is f32[2]: a label is a number or text"),
        ("y", 0.5, "no column is called 'y'"),
        ("n", 1.5, "between 0 and 1, found 1.5"),
        ("n", f64::NAN, "between 0 and 1, found NaN"),
    ] {
        let error = data.split_stratified(label, fraction, 1).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
}

fn csv(folder: &Path, rows: i64) -> Dataset {
    let path = folder.join("rows.csv");
    let text: String = (0..rows).map(|n| format!("{n},{}\n", n * 2)).collect();
    fs::write(&path, format!("n,twice\n{text}")).unwrap();
    Dataset::open(&path).unwrap()
}

#[test]
fn a_cache_is_written_once_and_read_ever_after() {
    let temporary = tempfile::tempdir().unwrap();
    let (data, folder) = (csv(temporary.path(), 5000), temporary.path().join("cache"));
    let odd = kept(&data, |n| n % 2 == 1);
    let written = |odd: &Dataset| {
        let mut batches = 0;
        let cached = odd.cache_with(&folder, &ConvertOptions::new(), |_| batches += 1).unwrap();
        assert_eq!(all(&cached), (0..5000).filter(|n| n % 2 == 1).collect::<Vec<_>>());
        assert_eq!(cached.schema().fields(), data.schema().fields());
        batches
    };
    assert!(written(&odd) > 0);
    let modified = || fs::metadata(folder.join("dataset.json")).unwrap().modified().unwrap();
    let first = modified();
    assert_eq!(written(&odd), 0);
    assert_eq!(written(&kept(&Dataset::open(temporary.path().join("rows.csv")).unwrap(), |n| n & 1 == 1)), 0);
    assert_eq!(modified(), first);
    for other in [kept(&data, |n| n % 2 == 0), kept(&csv(temporary.path(), 5001).take(5000), |n| n % 2 == 1)]
    {
        let error = other.cache(&folder).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("holds another dataset"), "{error}");
    }
}

/// Caches what it is told to: run in processes of their own by the test below, and nothing else.
#[test]
fn as_one_who_caches() {
    let Some(folder) = std::env::var_os("FOREBAY_TEST_CACHES_IN") else { return };
    let folder = Path::new(&folder);
    let data = Dataset::open(folder.join("rows.csv")).unwrap();
    let mut batches = 0;
    let cached = data.cache_with(folder.join("cache"), &ConvertOptions::new(), |_| batches += 1).unwrap();
    assert_eq!(cached.len(), 50_000);
    println!("wrote {}", batches > 0);
}

#[test]
fn of_several_processes_one_writes_a_cache() {
    let temporary = tempfile::tempdir().unwrap();
    csv(temporary.path(), 50_000);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_one_who_caches", "--nocapture"]);
    command.env("FOREBAY_TEST_CACHES_IN", temporary.path()).stdout(std::process::Stdio::piped());
    let processes: Vec<_> = (0..4).map(|_| command.spawn().unwrap()).collect();
    let wrote = processes.into_iter().map(|process| {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().contains("wrote true")
    });
    assert_eq!(wrote.filter(|&wrote| wrote).count(), 1);
}
