//! Rows collected into batches: what `input_test.py` asks of the batchers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int64Array, ListBuilder, RecordBatch, StringBuilder,
    UInt32Array,
};
use arrow::datatypes::{DataType, Field, UInt32Type};
use forebay::coordinator::{
    Batches, Coordinator, JoinOptions, Keep, RowQueue, RowQueueKind, RowSource, batch, batch_join,
    shuffle_batch, shuffle_batch_join,
};
use forebay::{ErrorKind, Result};

use crate::feed::{Form, Sparse, assert_examples, counter, example, ints, ints_of, table, texts, texts_of};

/// All batches to the end, which is a clean one.
#[track_caller]
fn all(batches: Batches) -> Vec<RecordBatch> {
    batches.map(|batch| batch.unwrap()).collect()
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

/// Examples up to `limit` in batches of 10, taken by `threads` threads: full ones, and what is left where that is asked for.
fn batches_of_ten(form: Form, threads: usize, limit: i64, smaller: bool) {
    let coordinator = Coordinator::new();
    let count = counter(limit);
    let mut batcher = form.of(threads, move || Ok(example(count()?)));
    if form.shuffles() {
        batcher = batcher.min_after_dequeue(16).seed(141421);
    }
    let batches = batcher.batch_size(10).capacity(32).allow_smaller_final_batch(smaller);
    let batches = all(batches.start(&coordinator).unwrap());
    coordinator.join(&JoinOptions::new()).unwrap();

    let mut sizes = vec![10; limit as usize / 10];
    if smaller && limit % 10 > 0 {
        sizes.push(limit as usize % 10);
    }
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), sizes);
    let mut numbers = Vec::new();
    for batch in &batches {
        let found = ints_of(batch, "counter");
        assert_examples(batch, &found);
        numbers.extend(found);
    }
    let in_order: Vec<i64> = (0..limit).collect();
    assert!(smaller || limit % 10 == 0, "what is dropped at the end is not looked for");
    assert_eq!(sorted(numbers.clone()), in_order);
    if form.shuffles() {
        assert_ne!(numbers, in_order);
    } else if threads == 1 {
        assert_eq!(numbers, in_order);
    }
}

/// Numbers from 0 marked "a" by one thread and 99s marked "b" by another, in batches of 5; `extra` more of each.
fn two_threads(form: Form, extra: usize) {
    let (num_a, num_b) = (70 + extra, 90 + extra);
    // The first 20 of each are taken in step, so that the two are mixed however the threads are scheduled.
    let step = Arc::new(Barrier::new(2));
    let source = |limit: usize, mark: &'static str, number: fn(i64) -> i64| {
        let (step, count) = (step.clone(), counter(limit as i64));
        Box::new(move || {
            let n = count()?;
            if n < 20 {
                step.wait();
            }
            let [indices, values] =
                Sparse::columns(&[Sparse { at: vec![vec![0]], values: vec![number(n) as f32] }]);
            Ok(table([("c", ints([number(n)])), indices, values, ("s", texts([mark]))]))
        }) as RowSource
    };
    let sources = [source(num_a, "a", |n| n), source(num_b, "b", |_| 99)];
    let batcher = match form {
        Form::BatchJoin => batch_join(sources),
        Form::ShuffleBatchJoin => shuffle_batch_join(sources).min_after_dequeue(16).seed(223607),
        _ => unreachable!("one source"),
    };
    let coordinator = Coordinator::new();
    let batches = batcher.batch_size(5).capacity(32).allow_smaller_final_batch(extra > 0);
    let batches = all(batches.start(&coordinator).unwrap());
    coordinator.join(&JoinOptions::new()).unwrap();

    let (full, last) = batches.split_at((num_a + num_b) / 5);
    assert_eq!(last.len(), usize::from(extra > 0));
    assert!(full.iter().all(|batch| batch.num_rows() == 5));
    assert!(last.iter().all(|batch| batch.num_rows() == (num_a + num_b) % 5));
    let (mut all_a, mut seen_b, mut saw_both) = (Vec::new(), 0, 0);
    for batch in &batches {
        let (numbers, marks) = (ints_of(batch, "c"), texts_of(batch, "s"));
        for (i, sparse) in Sparse::of(batch).into_iter().enumerate() {
            assert_eq!(sparse, Sparse::vector(&[0], &[numbers[i] as f32]));
            if marks[i] == "a" {
                all_a.push(numbers[i]);
            } else {
                assert_eq!(numbers[i], 99);
                seen_b += 1;
            }
        }
        saw_both += usize::from(marks.iter().any(|mark| mark == "a") && marks.iter().any(|mark| mark == "b"));
    }
    assert!(saw_both > 1, "the two are mixed");
    assert_eq!(seen_b, num_b);
    let in_order: Vec<i64> = (0..num_a as i64).collect();
    if form.shuffles() {
        assert_ne!(all_a, in_order);
        all_a.sort_unstable();
    }
    assert_eq!(all_a, in_order);
}

/// How the source of [`keep_even`] gives its rows.
#[derive(Clone, Copy, PartialEq)]
enum Feed {
    /// One by one,
    Singly,
    /// in tables of one row, which come out of another batcher,
    Many,
    /// or in tables of four, with a choice for each row.
    PerExample,
}

/// Of 40 examples the even ones, in 4 batches of 5.
fn keep_even(form: Form, threads: usize, feed: Feed) {
    let coordinator = Coordinator::new();
    let count = counter(40);
    let rows: RowSource = if feed == Feed::Singly {
        Box::new(move || Ok(example(count()?)))
    } else {
        let upstream = batch(move || Ok(example(count()?)));
        let upstream = upstream.batch_size(if feed == Feed::Many { 1 } else { 4 });
        let upstream = upstream.start(&coordinator).unwrap();
        Box::new(move || upstream.dequeue())
    };
    let source = move || {
        let rows = rows()?;
        let even: Vec<bool> = ints_of(&rows, "counter").iter().map(|n| n % 2 == 0).collect();
        let keep = if feed == Feed::PerExample { Keep::Rows(even) } else { Keep::All(even[0]) };
        Ok((rows, keep))
    };
    let batches = form.maybe(threads, source).batch_size(5).enqueue_many(feed != Feed::Singly);
    let batches = all(batches.start(&coordinator).unwrap());
    coordinator.join(&JoinOptions::new()).unwrap();

    assert_eq!(batches.len(), 4);
    let mut numbers = Vec::new();
    for batch in &batches {
        let found = ints_of(batch, "counter");
        assert_eq!(found.len(), 5);
        assert_examples(batch, &found);
        numbers.extend(found);
    }
    if threads > 1 || form.shuffles() {
        numbers.sort_unstable();
    }
    assert_eq!(numbers, (0..40).step_by(2).collect::<Vec<i64>>());
}

/// Which rows [`sparse_goes_through`] keeps.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    /// All, without being asked,
    Unasked,
    /// all of a table or none,
    PerTable,
    /// or row by row.
    PerExample,
}

/// Sparse tensors of as many values as you like, and with `ranks` also of as many dimensions, come out as they went in: those
/// that are kept.
fn sparse_goes_through(form: Form, many: bool, choice: Choice, ranks: bool) {
    let rank = move |row: i64| if ranks { 1 + row % 3 } else { 1 };
    let sparse = move |row: i64| {
        let count = [0, 3, 1, 7, 0, 2][row as usize % 6];
        let coordinates = |i| (0..rank(row)).map(|dim| 10 * row + i + dim).collect();
        Sparse {
            at: (0..count).map(coordinates).collect(),
            values: (0..count).map(|i| (100 * row + i) as f32).collect(),
        }
    };
    let (num_rows, per_table) = (24i64, if many { 3 } else { 1 });
    let next = counter(num_rows / per_table);
    let rows = move || {
        let start = next()? * per_table;
        let rows: Vec<_> = (start..start + per_table).map(sparse).collect();
        let [indices, values] = Sparse::columns(&rows);
        Ok(table([("row", ints(start..start + per_table)), indices, values]))
    };
    let is_kept = move |row: i64| match choice {
        Choice::Unasked => true,
        Choice::PerTable => row / per_table % 2 == 0,
        Choice::PerExample => row % 4 != 1,
    };
    let batcher = match choice {
        Choice::Unasked => form.of(1, rows),
        _ => form.maybe(1, move || {
            let rows = rows()?;
            let keep: Vec<bool> = ints_of(&rows, "row").into_iter().map(is_kept).collect();
            let keep = if choice == Choice::PerExample { Keep::Rows(keep) } else { Keep::All(keep[0]) };
            Ok((rows, keep))
        }),
    };
    let coordinator = Coordinator::new();
    let batches = batcher.enqueue_many(many).batch_size(5).allow_smaller_final_batch(true);
    let batches = all(batches.start(&coordinator).unwrap());
    coordinator.join(&JoinOptions::new()).unwrap();

    let mut found = Vec::new();
    for batch in &batches {
        found.extend(ints_of(batch, "row").into_iter().zip(Sparse::of(batch)));
    }
    if form.shuffles() {
        found.sort_by_key(|(row, _)| *row);
    }
    let kept: Vec<_> = (0..num_rows).filter(|&row| is_kept(row)).map(|row| (row, sparse(row))).collect();
    assert_eq!(found, kept);
}

/// Of two sparse tensors the first is kept, with its coordinates and values.
fn maybe_batch_correct_values(form: Form) {
    let next = counter(1);
    let source = move || {
        next()?;
        let rows = [Sparse::vector(&[1, 2], &[5.0, 4.0]), Sparse::vector(&[0, 3], &[7.0, 2.0])];
        Ok((table(Sparse::columns(&rows)), vec![true, false]))
    };
    let coordinator = Coordinator::new();
    let batches = form.maybe(1, source).enqueue_many(true).batch_size(1).start(&coordinator).unwrap();
    let found: Vec<_> = all(batches).iter().flat_map(Sparse::of).collect();
    assert_eq!(found, [Sparse::vector(&[1, 2], &[5.0, 4.0])]);
}

/// A choice has a value for each row, whether they come one by one or not.
fn invalid_keep_input_vector(form: Form) {
    for (many, rows, keep) in [
        (false, 1, vec![true, false]),
        (true, 5, vec![true, false]),
        (true, 5, vec![]),
        (true, 1, vec![true; 2]),
    ] {
        let (found, expected) = (keep.len(), format!("a choice for each of {rows} rows"));
        let source = move || Ok((table([("zeros", ints(vec![0; rows]))]), keep.clone()));
        let coordinator = Coordinator::new();
        let mut batches = form.maybe(1, source).batch_size(1).enqueue_many(many).start(&coordinator).unwrap();
        let error = batches.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(&expected), "{error}");
        assert!(error.message().ends_with(&format!("found {found}")), "{error}");
        assert!(batches.next().is_none());
        assert_eq!(coordinator.join(&JoinOptions::new()).unwrap_err().message(), error.message());
    }
}

/// A row whose column is of another rank than the first row's is refused, padded or not.
fn cannot_infer_rank_error(form: Form, dynamic_pad: bool) {
    let next = counter(2);
    let source = move || {
        let scalar = ints([1]);
        let list =
            Arc::new(arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([
                Some([Some(1)]),
            ]));
        Ok(table([("x", if next()? == 0 { scalar } else { list })]))
    };
    let coordinator = Coordinator::new();
    let mut batches = form.of(1, source).dynamic_pad(dynamic_pad).batch_size(2).start(&coordinator).unwrap();
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("Int64") && error.message().contains("List"), "{error}");
}

/// What a batcher called `name` is asked, others find by that name.
fn shared_name(form: Form, name: &'static str) {
    let coordinator = Coordinator::new();
    let count = counter(100);
    let batcher = form.of(1, move || Ok(example(count()?))).batch_size(10).capacity(32).shared_name(name);
    let batches = batcher.min_after_dequeue(10).seed(5).start(&coordinator).unwrap();
    let found = RowQueue::attach(name).unwrap();
    assert_eq!(found.kind(), RowQueueKind::RandomShuffle { min_after_dequeue: 10, seed: Some(5) });
    assert_eq!(found.capacity(), Some(32));
    let kind = RowQueueKind::RandomShuffle { min_after_dequeue: 11, seed: Some(5) };
    let other = RowQueue::options(kind).capacity(32).shared_name(name).open().unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidArgument);
    // The consumer that holds the name alone takes all there is, after who made it is gone.
    drop(batches);
    let mut rows = Vec::new();
    while let Ok(batch) = found.dequeue_up_to(7) {
        rows.extend(ints_of(&batch, "counter"));
    }
    assert_eq!(sorted(rows), (0..100).collect::<Vec<_>>());
}

/// Texts that are as many as their number says, modulo 4.
fn repeated_text(n: i64, text: &str) -> RecordBatch {
    let mut list = ListBuilder::new(StringBuilder::new());
    (0..n % 4).for_each(|_| list.values().append_value(text));
    list.append(true);
    table([("n", ints([n])), ("texts", Arc::new(list.finish()) as ArrayRef)])
}

/// That each row of `batch` is [`repeated_text`], padded to the longest with text of no letters.
fn assert_padded(batch: &RecordBatch, text: impl Fn(i64) -> &'static str) {
    let numbers = ints_of(batch, "n");
    let longest = numbers.iter().map(|n| n % 4).max().unwrap();
    let lists = batch.column_by_name("texts").unwrap().as_fixed_size_list();
    assert_eq!(i64::from(lists.value_length()), longest);
    for (row, &n) in numbers.iter().enumerate() {
        let list = lists.value(row);
        let found: Vec<_> = list.as_string::<i32>().iter().map(Option::unwrap).collect();
        let expected: Vec<_> = (0..longest).map(|i| if i < n % 4 { text(n) } else { "" }).collect();
        assert_eq!(found, expected);
    }
}

mod batch_test {
    use super::*;

    /// `BatchTest.testOneThreadDict` - full batches in order, their columns by name.
    #[test]
    fn one_thread_dict() {
        batches_of_ten(Form::Batch, 1, 30, false);
    }

    /// `BatchTest.testUint32DataTypes` - columns keep their types.
    #[test]
    fn uint32_data_types() {
        let values: Vec<u32> = vec![0, 7, u32::MAX, 1 << 31];
        let (next, given) = (counter(4), values.clone());
        let source = move || {
            let value: ArrayRef = Arc::new(UInt32Array::from(vec![given[next()? as usize]]));
            Ok(table([("x", value)]))
        };
        let coordinator = Coordinator::new();
        let batches = all(batch(source).batch_size(4).start(&coordinator).unwrap());
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].column(0).as_primitive::<UInt32Type>().values(), &values[..]);
    }

    /// `BatchTest.testOneThreadDynamicPad` - lists of text are padded to the longest of their batch.
    #[test]
    fn one_thread_dynamic_pad() {
        let coordinator = Coordinator::new();
        let count = counter(30);
        let batcher = batch(move || Ok(repeated_text(count()?, "string"))).dynamic_pad(true).batch_size(3);
        let batches = all(batcher.start(&coordinator).unwrap());
        assert_eq!(batches.len(), 10);
        for (step, batch) in batches.iter().enumerate() {
            assert_eq!(ints_of(batch, "n"), (3 * step as i64..3 * step as i64 + 3).collect::<Vec<_>>());
            assert_padded(batch, |_| "string");
        }
    }

    /// `BatchTest.testOneThreadEnqueueMany` - batches of 2 made batches of 10 keep their order.
    #[test]
    fn one_thread_enqueue_many() {
        let coordinator = Coordinator::new();
        let count = counter(30);
        let pre_batched = batch(move || Ok(example(count()?))).batch_size(2).start(&coordinator).unwrap();
        let batches = batch(move || pre_batched.dequeue()).enqueue_many(true).batch_size(10);
        let batches = all(batches.start(&coordinator).unwrap());
        assert_eq!(batches.len(), 3);
        for (step, batch) in (0..).zip(&batches) {
            assert_examples(batch, &(10 * step..10 * step + 10).collect::<Vec<_>>());
        }
    }

    /// `BatchTest.testOneThreadSmallerBatch` - what is left at the end, 5 rows, is the last batch.
    #[test]
    fn one_thread_smaller_batch() {
        batches_of_ten(Form::Batch, 1, 35, true);
    }

    /// `BatchTest.testManyThreadsSmallerBatch` - the same with 4 threads, in any order.
    #[test]
    fn many_threads_smaller_batch() {
        batches_of_ten(Form::Batch, 4, 35, true);
    }

    /// `BatchTest.testCannotInferRankError` - a row of another rank than the first is refused.
    #[test]
    fn cannot_infer_rank_error() {
        super::cannot_infer_rank_error(Form::Batch, false);
        super::cannot_infer_rank_error(Form::Batch, true);
    }

    /// `BatchTest.testBatchedSparseTensorInferredShape` - sparse tensors of any number of values are collected.
    #[test]
    fn batched_sparse_tensor_inferred_shape() {
        sparse_goes_through(Form::Batch, false, Choice::Unasked, false);
    }

    /// `BatchTest.testBatchedSparseTensorInferredShapeUnknownRank` - also of any rank.
    #[test]
    fn batched_sparse_tensor_inferred_shape_unknown_rank() {
        sparse_goes_through(Form::Batch, false, Choice::Unasked, true);
    }

    /// `BatchTest.testBatchedSparseTensorInferredShapeUnknownRankEnqueueMany` - also several at a time.
    #[test]
    fn batched_sparse_tensor_inferred_shape_unknown_rank_enqueue_many() {
        sparse_goes_through(Form::Batch, true, Choice::Unasked, true);
    }

    /// `BatchTest.testSingleThreadKeepInput` - only the rows that are kept, in full batches.
    #[test]
    fn single_thread_keep_input() {
        keep_even(Form::Batch, 1, Feed::Singly);
    }

    /// `BatchTest.testSingleThreadKeepInputEnqueueMany` - the same where rows come in tables.
    #[test]
    fn single_thread_keep_input_enqueue_many() {
        keep_even(Form::Batch, 1, Feed::Many);
    }

    /// `BatchTest.testMultipleThreadKeepInputEnqueueMany` - the same with 5 threads.
    #[test]
    fn multiple_thread_keep_input_enqueue_many() {
        keep_even(Form::Batch, 5, Feed::Many);
    }

    /// `BatchTest.testMaybeEnqueuePerExample` - each row of a table is kept or not.
    #[test]
    fn maybe_enqueue_per_example() {
        keep_even(Form::Batch, 1, Feed::PerExample);
        keep_even(Form::Batch, 5, Feed::PerExample);
    }

    /// `BatchTest.testInvalidKeepInputVector` - a choice of another length than the rows is refused.
    #[test]
    fn invalid_keep_input_vector() {
        super::invalid_keep_input_vector(Form::Batch);
    }

    /// `BatchTest.testMaybeBatchedSparseTensorInferredShape` - the sparse tensors that are kept come out as they were.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape() {
        sparse_goes_through(Form::Batch, false, Choice::PerTable, false);
    }

    /// `BatchTest.testMaybeBatchedSparseTensorInferredShapeEnqueueManyPerExample` - the same of tables, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many_per_example() {
        sparse_goes_through(Form::Batch, true, Choice::PerExample, false);
    }

    /// `BatchTest.testMaybeBatchedSparseTensorInferredShapeUnknownRank` - the same of any rank.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank() {
        sparse_goes_through(Form::Batch, false, Choice::PerTable, true);
    }

    /// `BatchTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankPerExample` - the same of any rank, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_per_example() {
        sparse_goes_through(Form::Batch, true, Choice::PerExample, true);
    }

    /// `BatchTest.testMaybeBatchCorrectValues` - the coordinates and values of the row that is kept.
    #[test]
    fn maybe_batch_correct_values() {
        super::maybe_batch_correct_values(Form::Batch);
    }
}

mod batch_join_test {
    use super::*;

    /// `BatchJoinTest.testTwoThreadsDict` - two sources, a thread each: mixed, and each in its order.
    #[test]
    fn two_threads_dict() {
        two_threads(Form::BatchJoin, 0);
    }

    /// `BatchJoinTest.testMismatchedDictKeys` - sources with other columns than the first are refused.
    #[test]
    fn mismatched_dict_keys() {
        let source = |name: &'static str| {
            move || -> Result<RecordBatch> { Ok(table([("c", ints([12])), (name, ints([1]))])) }
        };
        let coordinator = Coordinator::new();
        let mut batches =
            batch_join([source("s"), source("z")]).batch_size(8).capacity(2).start(&coordinator).unwrap();
        let error = batches.find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(" s: ") && error.message().contains(" z: "), "{error}");
    }

    /// `BatchJoinTest.testTwoThreadsSmallerBatch` - what both have left at the end is the last batch.
    #[test]
    fn two_threads_smaller_batch() {
        two_threads(Form::BatchJoin, 2);
    }

    /// `BatchJoinTest.testTwoThreadsDynamicPadSmallerBatch` - lists are padded, also those of the smaller last batch.
    #[test]
    fn two_threads_dynamic_pad_smaller_batch() {
        let text = |n: i64| if n < 1000 { "a" } else { "b" };
        let source = |limit, first| {
            let count = counter(limit);
            move || {
                let n = count()? + first;
                Ok(repeated_text(n, text(n)))
            }
        };
        let coordinator = Coordinator::new();
        let batcher = batch_join([source(72, 0), source(92, 1000)]).dynamic_pad(true).batch_size(5);
        let batches = batcher.allow_smaller_final_batch(true).start(&coordinator).unwrap();
        let batches = all(batches);
        assert_eq!(batches.len(), 33);
        assert_eq!(batches[32].num_rows(), 4);
        batches.iter().for_each(|batch| assert_padded(batch, text));
        let numbers: Vec<i64> = batches.iter().flat_map(|batch| ints_of(batch, "n")).collect();
        let (a, b): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|&n| n < 1000);
        assert_eq!((a, b), ((0..72).collect(), (1000..1092).collect()));
    }

    /// `BatchJoinTest.testCannotInferRankError` - a row of another rank than the first is refused.
    #[test]
    fn cannot_infer_rank_error() {
        super::cannot_infer_rank_error(Form::BatchJoin, false);
        super::cannot_infer_rank_error(Form::BatchJoin, true);
    }

    /// `BatchJoinTest.testSingleElementDict` - rows of one vector make a batch of vectors.
    #[test]
    fn single_element_dict() {
        let source = || {
            let item = Arc::new(Field::new("item", DataType::Int64, false));
            let pair = FixedSizeListArray::new(item, 2, Arc::new(Int64Array::from(vec![12, 12])), None);
            Ok(table([("c", Arc::new(pair) as ArrayRef)]))
        };
        let coordinator = Coordinator::new();
        let mut batches = batch_join([source]).batch_size(8).start(&coordinator).unwrap();
        let batch = batches.next().unwrap().unwrap();
        let pairs = batch.column_by_name("c").unwrap().as_fixed_size_list();
        assert_eq!((pairs.len(), pairs.value_length()), (8, 2));
        assert_eq!(pairs.values().as_ref(), &Int64Array::from(vec![12; 16]));
    }

    /// `BatchJoinTest.testSingleThreadKeepInputEnqueueMany` - only the rows that are kept, in full batches.
    #[test]
    fn single_thread_keep_input_enqueue_many() {
        keep_even(Form::BatchJoin, 1, Feed::Many);
    }

    /// `BatchJoinTest.testMultipleThreadKeepInput` - the same of 5 sources, row by row.
    #[test]
    fn multiple_thread_keep_input() {
        keep_even(Form::BatchJoin, 5, Feed::Singly);
    }

    /// `BatchJoinTest.testSingleThreadKeepInputPerExample` - each row of a table is kept or not.
    #[test]
    fn single_thread_keep_input_per_example() {
        keep_even(Form::BatchJoin, 1, Feed::PerExample);
    }

    /// `BatchJoinTest.testMultipleThreadKeepInputPerExample` - the same of 5 sources.
    #[test]
    fn multiple_thread_keep_input_per_example() {
        keep_even(Form::BatchJoin, 5, Feed::PerExample);
    }

    /// `BatchJoinTest.testMaybeBatchedSparseTensorInferredShape` - the sparse tensors that are kept come out as they were.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape() {
        sparse_goes_through(Form::BatchJoin, false, Choice::PerTable, false);
    }

    /// `BatchJoinTest.testMaybeBatchedSparseTensorInferredShapeEnqueueMany` - the same of tables.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many() {
        sparse_goes_through(Form::BatchJoin, true, Choice::PerTable, false);
    }

    /// `BatchJoinTest.testMaybeBatchedSparseTensorInferredShapeUnknownRank` - the same of any rank.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank() {
        sparse_goes_through(Form::BatchJoin, false, Choice::PerTable, true);
    }

    /// `BatchJoinTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankEnqueueMany` - the same of any rank, in tables.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_enqueue_many() {
        sparse_goes_through(Form::BatchJoin, true, Choice::PerTable, true);
    }

    /// `BatchJoinTest.testMaybeBatchCorrectValues` - the coordinates and values of the row that is kept.
    #[test]
    fn maybe_batch_correct_values() {
        super::maybe_batch_correct_values(Form::BatchJoin);
    }
}

mod shuffle_batch_test {
    use super::*;

    /// `ShuffleBatchTest.testOneThread` - every row once, in another order.
    #[test]
    fn one_thread() {
        batches_of_ten(Form::ShuffleBatch, 1, 30, false);
        // Where nobody reads before all is in, the seed alone decides; another seed, another order.
        let order = |seed: u64| {
            let coordinator = Coordinator::new();
            let (count, all_in) = (counter(30), Arc::new(AtomicUsize::new(0)));
            let given = all_in.clone();
            let source = move || {
                let n = count().inspect_err(|_| given.store(1, Ordering::Release))?;
                Ok(example(n))
            };
            let batches = shuffle_batch(source).min_after_dequeue(16).seed(seed).batch_size(10);
            let batches = batches.start(&coordinator).unwrap();
            while all_in.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            all(batches).iter().flat_map(|batch| ints_of(batch, "counter")).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    /// `ShuffleBatchTest.testOneThreadSmallerBatch` - what is left at the end, 5 rows, is the last batch.
    #[test]
    fn one_thread_smaller_batch() {
        batches_of_ten(Form::ShuffleBatch, 1, 35, true);
    }

    /// `ShuffleBatchTest.testManyThreads` - the same with 4 threads.
    #[test]
    fn many_threads() {
        batches_of_ten(Form::ShuffleBatch, 4, 30, false);
    }

    /// `ShuffleBatchTest.testSharedName` - the queue of the rows goes by the name given.
    #[test]
    fn shared_name() {
        super::shared_name(Form::ShuffleBatch, "SHARED_NAME_SHUFFLE_BATCH");
    }

    /// `ShuffleBatchTest.testSingleThreadKeepInput` - only the rows that are kept, in full batches.
    #[test]
    fn single_thread_keep_input() {
        keep_even(Form::ShuffleBatch, 1, Feed::Singly);
    }

    /// `ShuffleBatchTest.testMultipleThreadKeepInput` - the same with 5 threads.
    #[test]
    fn multiple_thread_keep_input() {
        keep_even(Form::ShuffleBatch, 5, Feed::Singly);
    }

    /// `ShuffleBatchTest.testMultipleThreadKeepInputEnqueueMany` - the same where rows come in tables.
    #[test]
    fn multiple_thread_keep_input_enqueue_many() {
        keep_even(Form::ShuffleBatch, 5, Feed::Many);
    }

    /// `ShuffleBatchTest.testMultipleThreadKeepInputPerExample` - each row of a table is kept or not.
    #[test]
    fn multiple_thread_keep_input_per_example() {
        keep_even(Form::ShuffleBatch, 5, Feed::PerExample);
    }

    /// `ShuffleBatchTest.testInvalidKeepInputVector` - a choice of another length than the rows is refused.
    #[test]
    fn invalid_keep_input_vector() {
        super::invalid_keep_input_vector(Form::ShuffleBatch);
    }

    /// `ShuffleBatchTest.testMaybeBatchedSparseTensorInferredShapeEnqueueMany` - what is kept comes out as it was.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many() {
        sparse_goes_through(Form::ShuffleBatch, true, Choice::PerTable, false);
    }

    /// `ShuffleBatchTest.testMaybeBatchedSparseTensorInferredShapeEnqueueManyPerExample` - the same, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many_per_example() {
        sparse_goes_through(Form::ShuffleBatch, true, Choice::PerExample, false);
    }

    /// `ShuffleBatchTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankEnqueueMany` - the same of any rank.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_enqueue_many() {
        sparse_goes_through(Form::ShuffleBatch, true, Choice::PerTable, true);
    }

    /// `ShuffleBatchTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankPerExample` - the same of any rank, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_per_example() {
        sparse_goes_through(Form::ShuffleBatch, true, Choice::PerExample, true);
    }
}

mod shuffle_batch_join_test {
    use super::*;

    /// `ShuffleBatchJoinTest.testTwoThreadsDict` - two sources, a thread each: every row once, in another order.
    #[test]
    fn two_threads_dict() {
        two_threads(Form::ShuffleBatchJoin, 0);
    }

    /// `ShuffleBatchJoinTest.testTwoThreadsSmallerBatch` - what both have left at the end is the last batch.
    #[test]
    fn two_threads_smaller_batch() {
        two_threads(Form::ShuffleBatchJoin, 2);
    }

    /// `ShuffleBatchJoinTest.testSharedName` - the queue of the rows goes by the name given.
    #[test]
    fn shared_name() {
        super::shared_name(Form::ShuffleBatchJoin, "SHARED_NAME_SHUFFLE_BATCH_JOIN");
    }

    /// `ShuffleBatchJoinTest.testSingleThreadKeepInput` - only the rows that are kept, in full batches.
    #[test]
    fn single_thread_keep_input() {
        keep_even(Form::ShuffleBatchJoin, 1, Feed::Singly);
    }

    /// `ShuffleBatchJoinTest.testMultipleThreadKeepInput` - the same of 5 sources.
    #[test]
    fn multiple_thread_keep_input() {
        keep_even(Form::ShuffleBatchJoin, 5, Feed::Singly);
    }

    /// `ShuffleBatchJoinTest.testMultipleThreadKeepInputEnqueueMany` - the same where rows come in tables.
    #[test]
    fn multiple_thread_keep_input_enqueue_many() {
        keep_even(Form::ShuffleBatchJoin, 5, Feed::Many);
    }

    /// `ShuffleBatchJoinTest.testMultipleThreadKeepInputPerExample` - each row of a table is kept or not.
    #[test]
    fn multiple_thread_keep_input_per_example() {
        keep_even(Form::ShuffleBatchJoin, 5, Feed::PerExample);
    }

    /// `ShuffleBatchJoinTest.testInvalidKeepInputVector` - a choice of another length than the rows is refused.
    #[test]
    fn invalid_keep_input_vector() {
        super::invalid_keep_input_vector(Form::ShuffleBatchJoin);
    }

    /// `ShuffleBatchJoinTest.testMaybeBatchedSparseTensorInferredShapeEnqueueMany` - what is kept comes out as it was.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many() {
        sparse_goes_through(Form::ShuffleBatchJoin, true, Choice::PerTable, false);
    }

    /// `ShuffleBatchJoinTest.testMaybeBatchedSparseTensorInferredShapeEnqueueManyPerExample` - the same, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_enqueue_many_per_example() {
        sparse_goes_through(Form::ShuffleBatchJoin, true, Choice::PerExample, false);
    }

    /// `ShuffleBatchJoinTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankEnqueueMany` - the same of any rank.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_enqueue_many() {
        sparse_goes_through(Form::ShuffleBatchJoin, true, Choice::PerTable, true);
    }

    /// `ShuffleBatchJoinTest.testMaybeBatchedSparseTensorInferredShapeUnknownRankPerExample` - the same of any rank, row by row.
    #[test]
    fn maybe_batched_sparse_tensor_inferred_shape_unknown_rank_per_example() {
        sparse_goes_through(Form::ShuffleBatchJoin, true, Choice::PerExample, true);
    }
}
