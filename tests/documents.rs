//! Batches of rows of about the same length, and windows packed with documents: each row, and each item, exactly once, the
//! same for any number of threads and after a resume.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray, RecordBatch};
use arrow::datatypes::Int32Type;
use forebay::format::{CsvOptions, CsvType};
use forebay::sampler::{Order, bucket_by_length, epoch_key};
use forebay::{
    Batch, Dataset, ErrorKind, Loader, LoaderBuilder, LoaderState, OnBadRecord, Pad, Partition, Remainder,
    Shuffle, col,
};
use proptest::prelude::*;

/// A document of each row; `None` for a null.
type Lists = Vec<Option<Vec<i32>>>;

/// Documents and the numbers of their rows, in two tables.
fn dataset(lists: &Lists) -> Dataset {
    let mut row = 0;
    let tables = lists.chunks(lists.len().div_ceil(2).max(1)).map(|lists| {
        let rows = lists.iter().map(|list| list.as_ref().map(|list| list.iter().copied().map(Some)));
        let tokens: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows));
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(row..row + lists.len() as i32));
        row += lists.len() as i32;
        RecordBatch::try_from_iter_with_nullable([("tokens", tokens, true), ("row", numbers, false)]).unwrap()
    });
    Dataset::from_batches(tables.collect::<Vec<_>>()).unwrap()
}

/// Documents whose items tell them apart.
fn lists(rows: impl Into<prop::collection::SizeRange>, most: usize) -> impl Strategy<Value = Lists> {
    prop::collection::vec(prop::option::weighted(0.9, 0..most), rows).prop_map(|lens| {
        let list = |(row, len): (usize, Option<usize>)| {
            len.map(|len| (0..len).map(|i| (row * 1000 + i) as i32 + 1).collect())
        };
        lens.into_iter().enumerate().map(list).collect()
    })
}

fn shuffles() -> impl Strategy<Value = Shuffle> {
    prop_oneof![Just(Shuffle::None), Just(Shuffle::Exact), Just(Shuffle::Block { rows: 4, blocks: 2 })]
}

fn remainders() -> impl Strategy<Value = Remainder> {
    prop_oneof![Just(Remainder::Keep), Just(Remainder::Drop), Just(Remainder::Pad)]
}

fn order(rows: usize, shuffle: Shuffle, seed: u64, epoch: u64) -> Vec<usize> {
    let order = Order::new(rows as u64, shuffle, seed).epoch(epoch);
    (0..rows as u64).map(|position| order.get(position) as usize).collect()
}

/// The batches of a loader by what `seen` sees in them; and that it goes on as well from each of its states.
fn run<T: PartialEq + std::fmt::Debug>(
    builder: &LoaderBuilder,
    threads: usize,
    seen: impl Fn(&Batch) -> T,
) -> Vec<T> {
    let mut loader = builder.clone().threads(threads).build().unwrap();
    let (mut found, mut states) = (Vec::new(), vec![loader.state()]);
    while let Some(batch) = loader.next() {
        found.push(seen(&batch.unwrap()));
        states.push(loader.state());
    }
    for (done, state) in states.iter().enumerate() {
        let state = LoaderState::from_json(&state.to_json()).unwrap();
        let rest = builder.clone().threads(done % 3).resume(&state).build().unwrap();
        let rest: Vec<_> = rest.map(|batch| seen(&batch.unwrap())).collect();
        assert_eq!(rest[..], found[done..]);
    }
    found
}

fn rows_of(batch: &Batch) -> Vec<i32> {
    batch.tensor::<i32>("row").unwrap().as_slice()[..batch.num_rows()].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn buckets_hold_rows_of_their_window_sorted_by_length(
        lists in lists(1..60, 9), batch in 1usize..7, world in 1u32..4, batches in 1u64..6, threads in 0usize..4,
        seed: u64, shuffle in shuffles(), remainder in remainders(),
    ) {
        let dataset = dataset(&lists);
        let global = batch * world as usize;
        let ranks: Vec<_> = (0..world).map(|rank| {
            let builder = Loader::builder(&dataset).columns([col("row"), col("tokens").pad(Pad::longest())])
                .batch_size(batch).shuffle(shuffle).seed(seed).remainder(remainder).epochs(2)
                .partition(Partition::new(rank, world).unwrap()).bucket_by_length("tokens", batches);
            run(&builder, threads, |batch| {
                let rows = rows_of(batch);
                let lens: Vec<_> = rows.iter().map(|&row| lists[row as usize].as_ref().map_or(0, Vec::len)).collect();
                assert_eq!(batch.lengths("tokens").unwrap()[..rows.len()], lens);
                assert_eq!(batch.tensor::<i32>("tokens").unwrap().shape()[1], lens.into_iter().max().unwrap_or(0));
                rows
            })
        }).collect();
        // All ranks together have, step by step, what an oracle has.
        let mut steps = Vec::new();
        for epoch in 0..2 {
            let mut order = order(lists.len(), shuffle, seed, epoch);
            if remainder == Remainder::Drop {
                order.truncate(lists.len() / global * global);
            }
            for (number, window) in order.chunks(global * batches as usize).enumerate() {
                let lens: Vec<_> = window.iter().map(|&row| lists[row].as_ref().map_or(0, |list| list.len() as u64)).collect();
                let places = bucket_by_length(&lens, global, epoch_key(seed, epoch), number as u64);
                let rows: Vec<_> = places.iter().map(|&place| window[place as usize] as i32).collect();
                steps.extend(rows.chunks(global).map(<[i32]>::to_vec));
            }
        }
        let found: Vec<_> = (0..ranks[0].len())
            .map(|step| ranks.iter().flat_map(|rank| rank[step].clone()).collect::<Vec<_>>())
            .collect();
        prop_assert_eq!(found, steps);
    }

    #[test]
    fn windows_are_the_documents_one_behind_another(
        lists in lists(1..50, 12), len in 1usize..20, batch in 1usize..5, threads in 0usize..4, seed: u64,
        shuffle in shuffles(), remainder in remainders(), value in -2i32..2,
    ) {
        let dataset = dataset(&lists);
        let tokens = col("tokens").cast::<i64>().pad(Pad::longest().value(value.into()));
        let builder = Loader::builder(&dataset).pack(tokens, len).batch_size(batch).shuffle(shuffle).seed(seed)
            .remainder(remainder).epochs(2);
        type Window = (Vec<i64>, Vec<i32>, Vec<i32>);
        let found: Vec<Window> = run(&builder, threads, |batch| {
            let rows = batch.num_rows();
            let tokens = batch.tensor::<i64>("tokens").unwrap();
            assert_eq!(tokens.shape(), [batch.len(), len]);
            let numbers = |name: &str| batch.tensor::<i32>(name).unwrap();
            let (segments, positions) = (numbers("tokens_segments"), numbers("tokens_positions"));
            for padding in rows..batch.len() {
                assert!(tokens.row(padding).iter().all(|&token| token == i64::from(value)));
                assert!(segments.row(padding).iter().chain(positions.row(padding)).all(|&number| number == 0));
                assert_eq!(batch.mask().unwrap()[padding], 0);
            }
            (0..rows).map(|row| {
                (tokens.row(row).to_vec(), segments.row(row).to_vec(), positions.row(row).to_vec())
            }).collect::<Vec<_>>()
        }).concat();
        let mut expected = Vec::new();
        for epoch in 0..2 {
            let mut items = Vec::new();
            for &row in &order(lists.len(), shuffle, seed, epoch) {
                items.extend(lists[row].iter().flatten().map(|&token| (row, i64::from(token))));
            }
            let mut windows: Vec<Window> = items.chunks(len).map(|items| {
                let mut window = Window::default();
                let mut last = None;
                let mut place = 0;
                for &(row, token) in items {
                    place = if last == Some(row) { place + 1 } else { 0 };
                    let segment = window.1.last().copied().unwrap_or(0) + i32::from(last != Some(row));
                    last = Some(row);
                    window.0.push(token);
                    window.1.push(segment);
                    window.2.push(place);
                }
                window.0.resize(len, value.into());
                window.1.resize(len, 0);
                window.2.resize(len, 0);
                window
            }).collect();
            if remainder == Remainder::Drop {
                windows.truncate(windows.len() / batch * batch);
            }
            expected.extend(windows);
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn windows_are_found_among_many_documents() {
    // More than one stride of the index, of more than are looked at in one go; and ranks that share the windows.
    let lists: Lists = (0..3000).map(|row| Some((0..row % 7).map(|i| row * 10 + i).collect())).collect();
    let dataset = dataset(&lists);
    let total: usize = lists.iter().flatten().map(Vec::len).sum();
    for epoch in [0, 1] {
        let items: Vec<i32> = order(3000, Shuffle::Exact, 9, epoch)
            .into_iter()
            .flat_map(|row| lists[row].clone().unwrap())
            .collect();
        let mut found = BTreeMap::new();
        for rank in 0..2 {
            let loader =
                Loader::builder(&dataset).pack("tokens", 64).batch_size(3).shuffle(Shuffle::Exact).seed(9);
            let loader = loader.epochs(2).threads(2).partition(Partition::new(rank, 2).unwrap());
            for batch in loader.build().unwrap() {
                let batch = batch.unwrap();
                if batch.epoch() == epoch {
                    found.insert(
                        (batch.step(), rank),
                        batch.tensor::<i32>("tokens").unwrap().as_slice().to_vec(),
                    );
                }
            }
        }
        let mut found: Vec<i32> = found.into_values().flatten().collect();
        assert_eq!(found.len(), total.next_multiple_of(64));
        assert!(found.split_off(total).iter().all(|&token| token == 0));
        assert_eq!(found, items);
    }
}

#[test]
fn records_are_measured_as_they_are_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.csv");
    let word = |row: usize| "abcdefghij"[..row * 7 % 10].to_owned();
    let lines = (0..50).map(|row| match row {
        13 => "13,x,too many fields\n".to_owned(),
        row => format!("{row},{}\n", word(row)),
    });
    fs::write(&path, "row,word\n".to_owned() + &lines.collect::<String>()).unwrap();
    let csv = CsvOptions::new().column("row", CsvType::I32).column("word", CsvType::Bytes);
    let csv = csv.required("row");
    let dataset = Dataset::options().csv(csv).open(&path).unwrap();
    let builder =
        Loader::builder(&dataset).batch_size(5).shuffle(Shuffle::Exact).bucket_by_length("word", 10);
    // A bad record is an error of its batch alone; or left out.
    assert_eq!(builder.clone().build().unwrap().filter(Result::is_err).count(), 1);
    let mut loader = builder.on_bad_record(OnBadRecord::Skip { limit: 1 }).build().unwrap();
    let mut rows = Vec::new();
    for batch in &mut loader {
        let batch = batch.unwrap();
        let lens = batch.lengths("word").unwrap();
        assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 2, "{lens:?}");
        rows.extend(rows_of(&batch));
    }
    rows.sort_unstable();
    assert!(rows.into_iter().eq((0..50).filter(|&row| row != 13)));
    assert_eq!(loader.bad_records()[0].record, 13);

    let good = dataset.take(13);
    let batch = Loader::builder(&good).pack("word", 200).build().unwrap().next().unwrap().unwrap();
    let all: String = (0..13).map(word).collect();
    assert_eq!(&batch.tensor::<u8>("word").unwrap().as_slice()[..all.len()], all.as_bytes());
    let error = Loader::builder(&dataset).pack("word", 200).build().map(drop).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(13)));
}

#[test]
fn options_that_contradict_one_another_are_refused() {
    let dataset = dataset(&vec![Some(vec![1, 2, 3]), Some(vec![4])]);
    let loader = || Loader::builder(&dataset);
    let message = |builder: LoaderBuilder| builder.build().map(drop).unwrap_err().message().to_owned();
    assert_eq!(
        message(loader().bucket_by_length("tokens", 0)),
        "buckets need windows of at least 1 batch, found 0"
    );
    assert_eq!(
        message(loader().bucket_by_length("row", 2)),
        "column 'row' is i32: its rows are of one length"
    );
    assert_eq!(
        message(loader().pack("row", 2)),
        "column 'row' is i32: pad applies to rows of varying length"
    );
    assert_eq!(
        message(loader().pack("tokens", 0)),
        "packed windows of 'tokens' have 1 to 2³¹ - 1 items, found 0"
    );
    for builder in [
        loader().columns(["row"]),
        loader().bucket_by_length("tokens", 2),
        loader().on_bad_record(OnBadRecord::Skip { limit: 1 }),
    ] {
        assert!(message(builder.pack("tokens", 2)).starts_with("packed windows of 'tokens' "));
    }
    // A state is one of its own grouping.
    let states = [loader(), loader().bucket_by_length("tokens", 2), loader().pack("tokens", 2)]
        .map(|builder| (builder.clone(), builder.build().unwrap().state()));
    for (i, (builder, _)) in states.iter().enumerate() {
        for (j, (_, state)) in states.iter().enumerate() {
            let resumed = builder.clone().resume(state).build();
            assert_eq!(resumed.is_ok(), i == j);
            if let Err(error) = resumed {
                assert!(error.message().starts_with("the state was taken with rows by "), "{error}");
            }
        }
    }
}
