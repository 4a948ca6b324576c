//! Rows of varying length become tensors: padded to the longest row or to a given length, cut or refused beyond it.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, LargeListArray, ListArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use forebay::format::{CsvOptions, CsvType};
use forebay::{
    Batch, Col, Dataset, ErrorKind, Loader, LoaderState, OnBadRecord, Pad, Remainder, Shuffle, col,
};
use proptest::prelude::*;

/// A list of each row; `None` for a null.
type Lists = Vec<Option<Vec<i32>>>;

/// The lists, narrow, wide and as bytes, in two tables.
fn dataset(lists: &Lists) -> Dataset {
    let tables = lists.chunks(lists.len().div_ceil(2).max(1)).map(|lists| {
        let rows = || lists.iter().map(|list| list.as_ref().map(|list| list.iter().copied().map(Some)));
        let narrow: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows()));
        let wide = rows().map(|row| row.map(|row| row.map(|item| item.map(i64::from)).collect::<Vec<_>>()));
        let wide: ArrayRef = Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(wide));
        let bytes = lists.iter().map(|list| list.as_ref().map(|list| bytes_of(list)));
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(bytes));
        let columns = [("narrow", narrow, true), ("wide", wide, true), ("bytes", bytes, true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    });
    Dataset::from_batches(tables.collect::<Vec<_>>()).unwrap()
}

fn bytes_of(list: &[i32]) -> Vec<u8> {
    list.iter().map(|&item| item as u8).collect()
}

fn lists(most: usize) -> impl Strategy<Value = Lists> {
    let list = prop::collection::vec(any::<i32>().prop_map(|item| item >> 8), 0..most);
    prop::collection::vec(prop::option::weighted(0.9, list), 1..40)
}

/// What a padded column must be: of the rows at `places`, `None` for padding rows.
fn padded<T: Copy>(
    places: &[Option<&[T]>],
    fixed: Option<usize>,
    most: Option<usize>,
    value: T,
) -> (usize, Vec<T>, Vec<usize>) {
    let lens: Vec<_> =
        places.iter().map(|row| row.map_or(0, |row| row.len().min(most.unwrap_or(usize::MAX)))).collect();
    let len = fixed.unwrap_or(lens.iter().copied().max().unwrap_or(0));
    let mut values = Vec::new();
    for (row, &items) in places.iter().zip(&lens) {
        values.extend_from_slice(&row.unwrap_or_default()[..items]);
        values.extend(std::iter::repeat_n(value, len - items));
    }
    (len, values, lens)
}

fn check<T: forebay::Element>(
    batch: &Batch,
    name: &str,
    (len, values, lens): (usize, Vec<T>, Vec<usize>),
    nulls: &[bool],
) {
    let (tensor, valid) = batch.tensor_with_validity::<T>(name).unwrap();
    assert_eq!((tensor.shape(), tensor.as_slice()), (&[lens.len(), len][..], &values[..]), "{name}");
    assert_eq!(batch.tensor::<T>(name).unwrap().as_slice(), values);
    assert_eq!(batch.lengths(name).unwrap(), lens);
    let mask: Vec<u8> = lens.iter().flat_map(|&items| (0..len).map(move |i| u8::from(i < items))).collect();
    assert_eq!(batch.item_mask(name).unwrap(), mask);
    assert!(valid.unwrap().iter().zip(nulls).all(|(&valid, &is_null)| (valid == 1) != is_null), "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn tensors_are_the_rows_and_the_padding(
        lists in lists(9), batch in 1usize..9, threads in 0usize..3, seed: u64,
        fixed in prop::option::of(0usize..12), at_most in prop::option::of(0usize..12), value in -3i32..3,
        shuffle in prop_oneof![Just(Shuffle::None), Just(Shuffle::Exact)],
        remainder in prop_oneof![Just(Remainder::Keep), Just(Remainder::Pad)],
    ) {
        let dataset = dataset(&lists);
        let at_most = at_most.filter(|most| fixed.is_none_or(|fixed| fixed <= *most));
        let most = fixed.or(at_most);
        let pad = fixed.map_or(Pad::longest(), Pad::to).truncate().value(value.into());
        let pad = at_most.into_iter().fold(pad, Pad::at_most);
        let columns = [
            col("narrow").pad(pad), col("wide").cast::<f32>().scale(0.5).pad(pad),
            col("bytes").cast::<i16>().pad(pad),
        ];
        let builder = Loader::builder(&dataset).columns(columns).batch_size(batch).shuffle(shuffle).seed(seed)
            .remainder(remainder).threads(threads);
        let order = forebay::sampler::Order::new(dataset.len(), shuffle, seed).epoch(0);
        let order: Vec<_> = (0..dataset.len()).map(|position| order.get(position) as usize).collect();
        let mut loader = builder.clone().build().unwrap();
        let mut states = vec![loader.state()];
        let mut tables = Vec::new();
        while let Some(found) = loader.next() {
            let found = found.unwrap();
            let rows = order.chunks(batch).nth(found.step() as usize).unwrap();
            let mut places: Vec<_> = rows.iter().map(|&row| lists[row].as_deref()).collect();
            if remainder == Remainder::Pad {
                places.resize(batch, None);
            }
            let nulls: Vec<_> = places.iter().map(Option::is_none).collect();
            check(&found, "narrow", padded(&places, fixed, most, value), &nulls);
            let halves: Vec<_> = places.iter().map(|row| row.map(|row| {
                row.iter().map(|&item| item as f32 * 0.5).collect::<Vec<_>>()
            })).collect();
            let halves: Vec<_> = halves.iter().map(Option::as_deref).collect();
            check(&found, "wide", padded(&halves, fixed, most, value as f32), &nulls);
            let bytes: Vec<_> = places.iter().map(|row| row.map(|row| {
                bytes_of(row).into_iter().map(i16::from).collect::<Vec<_>>()
            })).collect();
            let bytes: Vec<_> = bytes.iter().map(Option::as_deref).collect();
            check(&found, "bytes", padded(&bytes, fixed, most, value as i16), &nulls);
            // Without their padding in an Arrow table, and nulls again.
            let table = found.record_batch().unwrap();
            let narrow = table.column(0).as_list::<i32>();
            for (row, &list) in rows.iter().enumerate() {
                let cut = lists[list].as_ref().map(|list| &list[..list.len().min(most.unwrap_or(usize::MAX))]);
                let items = narrow.value(row);
                prop_assert_eq!(arrow::array::Array::is_null(narrow, row), cut.is_none());
                prop_assert_eq!(&items.as_primitive::<Int32Type>().values()[..], cut.unwrap_or_default());
            }
            tables.push(table);
            states.push(loader.state());
        }
        for (done, state) in states.iter().enumerate() {
            let state = LoaderState::from_json(&state.to_json()).unwrap();
            let rest = builder.clone().resume(&state).threads(done % 3).build().unwrap();
            let rest: Vec<_> = rest.map(|batch| batch.unwrap().record_batch().unwrap()).collect();
            prop_assert_eq!(&rest[..], &tables[done..]);
        }
    }
}

#[test]
fn a_row_too_long_is_an_error_in_its_place_or_a_bad_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.csv");
    fs::write(&path, "word\nab\nabcdef\n\nabc\nabcde\na\n").unwrap();
    let csv = CsvOptions::new().column("word", CsvType::Bytes);
    let dataset = Dataset::options().csv(csv).open(&path).unwrap();
    let rows = dataset.len() as usize;
    let loader = |pad: Pad| {
        let word = col("word").cast::<i32>().pad(pad.value(-7.0));
        Loader::builder(&dataset).columns([word]).batch_size(rows).remainder(Remainder::Pad)
    };
    let error = loader(Pad::to(4)).build().unwrap().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(
        error.message(),
        "column 'word': expected at most 4 items in a row to be padded, found 6: allow more, or truncate()"
    );
    assert_eq!((error.location().path.as_deref(), error.location().record), (Some(&*path), Some(1)));
    // Left out, its place is padding, and the longest row is one of the others.
    let skip = OnBadRecord::Skip { limit: 2 };
    let mut skipping = loader(Pad::longest().at_most(4)).on_bad_record(skip).build().unwrap();
    let batch = skipping.next().unwrap().unwrap();
    let lengths = batch.lengths("word").unwrap();
    let word = batch.tensor::<i32>("word").unwrap();
    assert_eq!(word.shape(), [rows, 3]);
    for (row, len) in lengths.into_iter().enumerate() {
        let mut expected: Vec<i32> = (0..len as i32).map(|i| i + i32::from(b'a')).collect();
        expected.resize(3, -7);
        assert_eq!(word.row(row), expected);
        assert_eq!(
            batch.mask().unwrap()[row] == 0,
            skipping.bad_records().iter().any(|bad| bad.row == row as u64)
        );
    }
    assert_eq!(skipping.bad_records().len(), 2);
    assert_eq!(batch.record_batch().unwrap().num_rows(), rows - 2);
}

#[test]
fn what_cannot_be_padded_is_refused() {
    let lists: Lists = vec![Some(vec![1, 2])];
    let dataset = dataset(&lists);
    let refused = |col: Col| Loader::builder(&dataset).columns([col]).build().map(drop).unwrap_err();
    let message = |col: Col| refused(col).message().to_owned();
    assert_eq!(
        message(col("narrow").pad(Pad::longest().value(0.5))),
        "the value 0.5 that column 'narrow' is padded with is no i32"
    );
    assert_eq!(
        message(col("narrow").scale(2.0).pad(Pad::longest())),
        "column 'narrow' is i32[…]: scale needs floats: cast first, as in .cast::<f32>().scale(…)"
    );
    assert_eq!(
        message(col("narrow").pad(Pad::to(5).at_most(4))),
        "column 'narrow' is i32[…]: expected to pad to no more than the 4 items a row may have, found 5"
    );
    assert_eq!(refused(col("narrow").fill(1.0).pad(Pad::longest())).kind(), ErrorKind::InvalidArgument);
    let numbers = Dataset::from_tensor("x", &[2], vec![0u8; 4]).unwrap();
    let loader = Loader::builder(&numbers).columns([col("x").pad(Pad::longest())]);
    let error = loader.build().map(drop).unwrap_err();
    assert_eq!(error.message(), "column 'x' is u8[2]: pad applies to rows of varying length");
    // A padded column is no list any more, and a list no tensor.
    let loader = Loader::builder(&dataset).columns([col("narrow").pad(Pad::longest()), col("wide")]);
    let batch = loader.build().unwrap().next().unwrap().unwrap();
    let error = batch.ragged::<i32>("narrow").unwrap_err();
    assert_eq!(error.message(), "column 'narrow' is i32[…], padded, not rows as they were");
    assert_eq!(batch.tensor::<i64>("wide").unwrap_err().message(), "column 'wide' is i64[…], not i64");
    assert_eq!(batch.lengths("wide").unwrap(), [2]);
    assert_eq!(batch.item_mask("wide").unwrap_err().message(), "column 'wide' is i64[…], not padded");
}

#[test]
fn padded_columns_may_be_changed() {
    let lists: Lists = vec![Some(vec![1, 2, 3]), None, Some(vec![4])];
    let dataset = dataset(&lists);
    for remainder in [Remainder::Keep, Remainder::Pad] {
        let loader = Loader::builder(&dataset).columns([col("narrow").pad(Pad::longest())]).batch_size(4);
        let loader = loader.remainder(remainder).map_batch(|batch| {
            let mut narrow = batch.tensor_mut::<i32>("narrow")?;
            assert_eq!(narrow.shape(), [3, 3]);
            narrow.as_mut_slice().iter_mut().for_each(|item| *item += 10);
            Ok(())
        });
        let batch = loader.build().unwrap().next().unwrap().unwrap();
        let mut expected = vec![11, 12, 13, 10, 10, 10, 14, 10, 10];
        expected.resize(3 * batch.len(), 0);
        assert_eq!(batch.tensor::<i32>("narrow").unwrap().as_slice(), expected);
    }
}
