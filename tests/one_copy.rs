//! A value is copied once on its way from the dataset to the trainer, or not at all, and no batch allocates memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use forebay::convert::{ConvertOptions, convert};
use forebay::{Batch, Dataset, Immutable, Loader, Preload, Remainder, Shuffle, col};

/// The system's allocator, which counts what the threads that make or take batches allocate.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is counted. The test harness has threads of its own.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does all the work. Counting allocates nothing: the thread-local is a constant
// without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

const ROWS: u64 = 4096;
/// Bytes of a row of [`rows`]: 16 floats, 5 bytes, a label.
const ROW_BYTES: u64 = 16 * 4 + 5 + 8;

fn feature(row: u64, i: usize) -> f32 {
    (row * 16) as f32 + i as f32
}

fn byte(row: u64, i: usize) -> u8 {
    (row * 7 + i as u64) as u8
}

/// Three columns of fixed width in memory, two tables.
fn rows() -> Dataset {
    let features = (0..ROWS).flat_map(|row| (0..16).map(move |i| feature(row, i))).collect();
    let bytes = (0..ROWS).flat_map(|row| (0..5).map(move |i| byte(row, i))).collect();
    let features = Dataset::from_tensor("feature", &[4, 4], features).unwrap();
    let bytes = Dataset::from_tensor("byte", &[5], bytes).unwrap();
    let labels = Dataset::from_tensor("label", &[], (0..ROWS as i64).collect()).unwrap();
    features.zip(&bytes).unwrap().zip(&labels).unwrap()
}

/// The same in a folder of `shards` shards.
fn converted(folder: &Path, shards: u64) -> PathBuf {
    let out = folder.join("rows");
    let options = ConvertOptions::new().shard_bytes(ROWS.next_power_of_two() / shards * ROW_BYTES);
    let converted = convert(&rows(), &out, &options, |_| {}).unwrap();
    assert_eq!(converted.shards as u64, shards);
    out
}

fn check(batch: &Batch) {
    let features = batch.tensor::<f32>("feature").unwrap();
    let bytes = batch.tensor::<u8>("byte").unwrap();
    let labels = batch.tensor::<i64>("label").unwrap();
    for (i, &label) in labels.as_slice()[..batch.num_rows()].iter().enumerate() {
        let row = label as u64;
        assert!((0..16).all(|k| features.row(i)[k] == feature(row, k)), "row {row}");
        assert!((0..5).all(|k| bytes.row(i)[k] == byte(row, k)), "row {row}");
    }
}

/// Bytes copied and delivered over all batches, which the loader's own counters must agree with.
fn bytes(mut loader: Loader) -> (u64, u64) {
    let (mut copied, mut delivered, mut num_rows) = (0, 0, 0);
    for batch in loader.by_ref() {
        let batch = batch.unwrap();
        check(&batch);
        copied += batch.copied_bytes();
        delivered += batch.delivered_bytes();
        num_rows += batch.num_rows() as u64;
    }
    let stats = loader.stats();
    assert_eq!((stats.copied_bytes, stats.delivered_bytes, stats.rows), (copied, delivered, num_rows));
    (copied, delivered)
}

fn loader(dataset: &Dataset, shuffle: Shuffle) -> forebay::LoaderBuilder {
    Loader::builder(dataset).batch_size(100).shuffle(shuffle).threads(3).depth(5).epochs(2)
}

fn vouched() -> Immutable {
    // SAFETY: the files lie in temporary folders of the tests, which nobody changes.
    unsafe { Immutable::promise() }
}

#[test]
fn shuffled_rows_are_copied_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = converted(folder.path(), 4);
    let options = [
        Dataset::options(),
        Dataset::options().immutable(vouched()),
        Dataset::options().preload(Preload::Copy),
        Dataset::options().preload(Preload::Populate),
    ];
    let all = 2 * ROWS * ROW_BYTES;
    for options in options {
        let loader = loader(&options.open(&path).unwrap(), Shuffle::Exact).build().unwrap();
        assert_eq!(bytes(loader), (all, all), "{options:?}");
    }
    assert_eq!(bytes(loader(&rows(), Shuffle::Exact).build().unwrap()), (all, all));
}

#[test]
fn contiguous_rows_of_a_file_nobody_vouched_for_are_copied_once() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::open(converted(folder.path(), 1)).unwrap();
    let all = 2 * ROWS * ROW_BYTES;
    assert_eq!(bytes(loader(&dataset, Shuffle::None).build().unwrap()), (all, all));
}

#[test]
fn contiguous_rows_of_owned_or_vouched_for_data_are_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = converted(folder.path(), 1);
    let all = 2 * ROWS * ROW_BYTES;
    let datasets = [
        ("memory", rows()),
        ("copied", Dataset::options().preload(Preload::Copy).open(&path).unwrap()),
        ("vouched for", Dataset::options().immutable(vouched()).open(&path).unwrap()),
    ];
    for (what, dataset) in &datasets {
        let plain = bytes(loader(dataset, Shuffle::None).build().unwrap());
        assert_eq!(plain, (0, all), "{what}");
        // A batch that is padded has to be written: the last of each epoch, here.
        let last = ROWS % 100 * ROW_BYTES * 2;
        let padded = loader(dataset, Shuffle::None).remainder(Remainder::Pad).build().unwrap();
        assert_eq!(bytes(padded), (last, all), "{what}");
        // What is to be changed must not be the dataset's own.
        let mapped = loader(dataset, Shuffle::None).map_batch(|_| Ok(())).build().unwrap();
        assert_eq!(bytes(mapped), (all, all), "{what}");
    }
}

#[test]
fn only_batches_that_cross_from_shard_to_shard_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = converted(folder.path(), 4);
    let dataset = Dataset::options().immutable(vouched()).open(&path).unwrap();
    // Shards of 1024 rows end within batches 10, 20 and 30 of 41.
    let crossing = 2 * 3 * 100 * ROW_BYTES;
    let loader = loader(&dataset, Shuffle::None).build().unwrap();
    assert_eq!(bytes(loader), (crossing, 2 * ROWS * ROW_BYTES));
}

#[test]
fn a_cast_is_the_one_copy() {
    let columns = || [col("label").cast::<f32>(), col("byte")];
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let loader = loader(&rows(), shuffle).columns(columns()).build().unwrap();
        for batch in loader {
            let batch = batch.unwrap();
            let n = batch.num_rows() as u64;
            // Bytes as they are delivered: four of the label, where eight are read.
            assert_eq!(batch.delivered_bytes(), n * 9);
            assert_eq!(batch.copied_bytes(), if shuffle == Shuffle::None { n * 4 } else { n * 9 });
        }
    }
}

#[test]
fn a_lent_batch_lies_where_the_dataset_does_and_keeps_it_alive() {
    let values: Vec<i64> = (0..1000).collect();
    let (first, bytes) = (values.as_ptr(), size_of_val(values.as_slice()));
    let dataset = Dataset::from_tensor("label", &[], values).unwrap();
    let loader = Loader::builder(&dataset).batch_size(100).threads(2).build().unwrap();
    drop(dataset);
    let batches: Vec<_> = loader.map(Result::unwrap).collect();
    let mut expected = 0..1000;
    for batch in &batches {
        let labels = batch.tensor::<i64>("label").unwrap();
        assert!((first.addr()..first.addr() + bytes).contains(&labels.as_slice().as_ptr().addr()));
        assert!(labels.as_slice().iter().copied().eq(expected.by_ref().take(100)));
    }
    let tables: Vec<_> = batches.iter().map(|batch| batch.record_batch().unwrap()).collect();
    drop(batches);
    let left =
        tables.iter().flat_map(|table| table.column(0).to_data().buffers()[0].typed_data::<i64>().to_vec());
    assert!(left.eq(0..1000));
}

#[test]
fn texts_and_lists_in_a_row_are_lent_and_others_copied() {
    let text = |row: usize| ["", "für", "a text", "∞ and more"][row % 4].repeat(row % 3);
    let texts: StringArray = (0..1000).map(|row| (row % 7 != 0).then(|| text(row))).collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..1000).map(|row| Some((0..row % 5).map(Some).collect::<Vec<_>>())),
    );
    let table = RecordBatch::try_from_iter_with_nullable([
        ("text", Arc::new(texts.clone()) as ArrayRef, true),
        ("list", Arc::new(lists) as ArrayRef, false),
    ])
    .unwrap();
    let dataset = Dataset::from_batches(vec![table.clone()]).unwrap();
    let addresses = texts.value_data().as_ptr_range();
    for (remainder, shuffle) in
        [(Remainder::Keep, Shuffle::None), (Remainder::Pad, Shuffle::None), (Remainder::Keep, Shuffle::Exact)]
    {
        let loader = Loader::builder(&dataset)
            .batch_size(130)
            .threads(0)
            .shuffle(shuffle)
            .remainder(remainder)
            .build();
        let mut tables = Vec::new();
        for batch in loader.unwrap() {
            let batch = batch.unwrap();
            let is_lent = shuffle == Shuffle::None;
            assert_eq!(batch.copied_bytes(), if is_lent { 0 } else { batch.delivered_bytes() });
            let texts = batch.text("text").unwrap();
            let first = texts.iter().find(|text| !text.is_empty()).unwrap();
            assert_eq!(addresses.contains(&first.as_ptr()), is_lent);
            assert_eq!(batch.ragged::<i64>("list").unwrap().len(), batch.len());
            tables.push(batch.record_batch().unwrap());
        }
        if shuffle == Shuffle::None {
            let found = arrow::compute::concat_batches(&tables[0].schema(), &tables).unwrap();
            assert_eq!(found.columns(), table.columns());
        }
    }
    let changed = Loader::builder(&dataset).batch_size(130).map_batch(|_| Ok(())).build().unwrap();
    assert!(changed.map(Result::unwrap).all(|batch| batch.copied_bytes() == batch.delivered_bytes()));
}

#[test]
fn batches_that_are_kept_stay_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = converted(folder.path(), 2);
    for dataset in [rows(), Dataset::open(&path).unwrap()] {
        let loader = loader(&dataset, Shuffle::Exact).depth(2).build().unwrap();
        // Every other batch is let go of at once, but for its Arrow arrays, which go on where it ends.
        let (mut batches, mut tables) = (Vec::new(), Vec::new());
        for (number, batch) in loader.map(Result::unwrap).enumerate() {
            match number % 2 {
                0 => batches.push(batch),
                _ => tables.push(batch.record_batch().unwrap()),
            }
        }
        batches.iter().for_each(check);
        let labels =
            tables.iter().map(|table| table.column(2).to_data().buffers()[0].typed_data::<i64>().to_vec());
        let mut seen: Vec<_> = labels.flatten().collect();
        for batch in &batches {
            seen.extend(batch.tensor::<i64>("label").unwrap().as_slice());
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq((0..ROWS as i64).flat_map(|label| [label, label])));
    }
}

/// Allocations in every thread that makes or takes batches, from one batch to a thousand batches later.
fn allocations_in_a_thousand_batches(dataset: &Dataset, columns: Vec<forebay::Col>, threads: usize) -> usize {
    let depth = 2 * threads + 2;
    // The trainer is one of those who make batches. Each makes one of the first, and waits until all have.
    let (begun, all_begun) = (AtomicUsize::new(0), Barrier::new(threads + 1));
    let builder = Loader::builder(dataset).columns(columns).batch_size(64).shuffle(Shuffle::Exact);
    let loader = builder.threads(threads).depth(depth).repeat().map_batch(move |_| {
        COUNTED.set(true);
        if begun.fetch_add(1, Ordering::Relaxed) <= threads {
            all_begun.wait();
        }
        Ok(())
    });
    let mut loader = loader.build().unwrap();
    // As many slots as can be in use at a time.
    let slots: Vec<_> = loader.by_ref().take(depth + threads + 2).collect();
    assert!(slots.iter().all(|batch| batch.is_ok()));
    drop(slots);
    let mut sum = 0u64;
    let mut look = |batch: &Batch| {
        let label = batch.tensor::<i64>("label").unwrap();
        sum = sum.wrapping_add(label.as_slice().iter().sum::<i64>() as u64);
        sum = sum.wrapping_add(batch.tensor::<f32>("feature").unwrap().as_slice()[0].to_bits().into());
    };
    let batches = |loader: &mut Loader, n: usize, look: &mut dyn FnMut(&Batch)| {
        for batch in loader.take(n) {
            look(&batch.unwrap());
        }
    };
    batches(&mut loader, 500, &mut look);
    COUNTED.set(true);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    batches(&mut loader, 1000, &mut look);
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    // The count is of the right threads: the trainer's own allocations are seen.
    drop(std::hint::black_box(vec![sum; 3]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > after);
    COUNTED.set(false);
    after - before
}

#[test]
fn a_batch_in_steady_state_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = converted(folder.path(), 4);
    let all = || ["feature", "byte", "label"].map(col).to_vec();
    let cast = || vec![col("feature").scale(0.5), col("byte").cast::<f32>().scale(1.0 / 255.0), col("label")];
    for dataset in [rows(), Dataset::open(&path).unwrap()] {
        for threads in [0, 1, 3] {
            for columns in [all(), cast()] {
                assert_eq!(
                    allocations_in_a_thousand_batches(&dataset, columns, threads),
                    0,
                    "{threads} threads"
                );
            }
        }
        let part = dataset.split(0.7, 3).unwrap().0;
        assert_eq!(allocations_in_a_thousand_batches(&part, all(), 2), 0);
    }
}
