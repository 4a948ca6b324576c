//! Data larger than memory: the same batches whatever is read ahead or let go of, and numbers that say what was.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch};
use arrow::datatypes::Int32Type;
use forebay::convert::{ConvertOptions, convert};
use forebay::map::{Advice, MapOptions, Region};
use forebay::{Batch, Dataset, ErrorKind, Loader, LoaderBuilder, Partition, Remainder, Residency, Shuffle};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

const ROWS: usize = 6000;

/// Shards of rows of 1,028 bytes, `x` u8[1024] and `y` an i32, and as many texts and lists of different lengths.
fn dataset(folder: &Path) -> Dataset {
    let x = (0..ROWS * 1024).map(|i| (i / 1024 * 7 + i % 1024) as u8).collect();
    let x = Dataset::from_tensor("x", &[1024], x).unwrap();
    let y = Dataset::from_tensor("y", &[], (0..ROWS as i32).collect()).unwrap();
    let numbers = folder.join("numbers");
    convert(&x.zip(&y).unwrap(), &numbers, &ConvertOptions::new().shard_bytes(1 << 20), |_| {}).unwrap();
    let lines: String = (0..ROWS).map(|i| format!("{i} {}\n", "word ".repeat(i % 97))).collect();
    let text = folder.join("lines.txt");
    std::fs::write(&text, lines).unwrap();
    let as_arrow = folder.join("text");
    convert(&Dataset::open(&text).unwrap(), &as_arrow, &ConvertOptions::new(), |_| {}).unwrap();
    let lists = (0..ROWS as i32).map(|i| Some((0..i % 89).map(move |item| Some(i + item))));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let lists = Dataset::from_batches([RecordBatch::try_from_iter([("tokens", lists)]).unwrap()]).unwrap();
    convert(&lists, folder.join("tokens"), &ConvertOptions::new(), |_| {}).unwrap();
    open(folder)
}

/// What [`dataset`] made.
fn open(folder: &Path) -> Dataset {
    let [numbers, lines, text, tokens] =
        ["numbers", "lines.txt", "text", "tokens"].map(|name| Dataset::open(folder.join(name)).unwrap());
    let texts = lines.zip(&text.rename("text", "same").unwrap()).unwrap();
    numbers.zip(&texts).unwrap().zip(&tokens).unwrap()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Has the page cache let go of every file; says whether it did.
fn forget(folder: &Path) -> bool {
    files(folder).iter().all(|path| {
        std::fs::File::open(path).unwrap().sync_all().unwrap();
        let region = Region::map(path, &MapOptions::new()).unwrap();
        region.advise(0..region.len() as u64, Advice::Random).unwrap();
        region.advise(0..region.len() as u64, Advice::Evict).unwrap();
        region.resident_bytes(0..region.len() as u64).unwrap() == 0
    })
}

fn columns(batch: &Batch) -> (Vec<i32>, Vec<u8>, Vec<String>, Vec<String>) {
    let text = |name| {
        let text = batch.text(name).unwrap();
        (0..batch.num_rows()).map(|row| text.row(row).to_owned()).collect::<Vec<_>>()
    };
    let x = batch.tensor::<u8>("x").unwrap().as_slice().to_vec();
    (batch.tensor::<i32>("y").unwrap().as_slice().to_vec(), x, text("text"), text("same"))
}

/// How rows of varying length are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Grouping {
    None,
    /// Sorted by length within so many batches.
    Buckets(u64),
    /// Packed into windows of so many items.
    Pack(usize),
}

impl Grouping {
    fn of(self, builder: LoaderBuilder) -> LoaderBuilder {
        match self {
            Grouping::None => builder,
            Grouping::Buckets(batches) => builder.bucket_by_length("text", batches),
            Grouping::Pack(len) => builder.pack("tokens", len),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_are_the_same_whatever_is_read_ahead(
        shuffle in prop_oneof![
            Just(Shuffle::None),
            Just(Shuffle::Exact),
            (1u64..900, 1u64..8).prop_map(|(rows, blocks)| Shuffle::Block { rows, blocks }),
        ],
        batch_size in 1usize..700,
        skip in 0u64..5000,
        look_ahead in prop_oneof![Just(0usize), 1usize..1 << 16, Just(64 << 20)],
        threads in 0usize..3,
        depth in 1usize..5,
        world in 1u32..4,
        remainder in prop_oneof![Just(Remainder::Keep), Just(Remainder::Drop), Just(Remainder::Pad)],
        grouping in prop_oneof![
            2 => Just(Grouping::None),
            1 => (1u64..9).prop_map(Grouping::Buckets),
            1 => (1usize..3000).prop_map(Grouping::Pack),
        ],
        cold: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut dataset = dataset(folder.path());
        if cold {
            // What is mapped is not let go of.
            drop(dataset);
            forget(folder.path());
            dataset = open(folder.path());
        }
        let dataset = dataset.skip(skip);
        let builder = Loader::builder(&dataset)
            .batch_size(batch_size)
            .shuffle(shuffle)
            .partition(Partition::new(world - 1, world).unwrap())
            .remainder(remainder)
            .seed(skip)
            .epochs(2);
        let builder = grouping.of(builder);
        let columns = |batch: &Batch| match grouping {
            Grouping::Pack(_) => {
                let tokens = batch.tensor::<i32>("tokens").unwrap().as_slice().to_vec();
                (tokens, Vec::new(), Vec::new(), Vec::new())
            }
            _ => columns(batch),
        };
        let reference: Vec<_> = builder.clone().look_ahead_bytes(0).threads(0).build().unwrap()
            .map(|batch| columns(&batch.unwrap())).collect();
        for residency in [Residency::Auto, Residency::Resident, Residency::Streaming] {
            let loader = builder.clone().residency(residency).look_ahead_bytes(look_ahead);
            let mut loader = loader.threads(threads).depth(depth).build().unwrap();
            let mut steps = 0;
            for (batch, expected) in loader.by_ref().zip(&reference) {
                prop_assert!(columns(&batch.unwrap()) == *expected, "{residency}, batch {steps}");
                steps += 1;
            }
            prop_assert_eq!(steps, reference.len());
            let pages = loader.stats().pages;
            prop_assert!(look_ahead > 0 || pages.advised_bytes + pages.released_bytes == 0);
            prop_assert!(pages.released_bytes == 0 || pages.residency == Residency::Streaming);
            prop_assert!(pages.released_bytes == 0 || shuffle != Shuffle::Exact);
        }
    }
}

/// The numbers alone, of a size at which a page more or less is nothing: all of them in memory, or none. `None` where the
/// file system keeps all in memory.
fn numbers(folder: &Path, cold: bool) -> Option<Dataset> {
    drop(dataset(folder));
    // What is mapped is not let go of: the files are opened afterwards.
    if cold && !forget(&folder.join("numbers")) {
        eprintln!("skipped: the file system keeps pages in memory");
        return None;
    }
    let numbers = Dataset::open(folder.join("numbers")).unwrap();
    if !cold {
        numbers.preload(forebay::Preload::Populate).unwrap();
    }
    // Every shard is open, so that all are told of.
    numbers.gather(&(0..ROWS as u64).step_by(500).collect::<Vec<_>>()).unwrap();
    Some(numbers)
}

#[test]
fn an_epoch_in_order_is_read_once_and_let_go_of() {
    // What may be let go of when the last batch is made: all but two batches of 60; five groups of six.
    let shuffles = [(Shuffle::None, 58.0 / 60.0), (Shuffle::Block { rows: 500, blocks: 2 }, 5.0 / 6.0)];
    for (shuffle, released_then) in shuffles {
        let folder = tempfile::tempdir().unwrap();
        let Some(numbers) = numbers(folder.path(), true) else { return };
        let bytes = (ROWS * 1028) as f64;
        let builder = Loader::builder(&numbers).batch_size(100).shuffle(shuffle).depth(2);
        let builder = builder.residency(Residency::Streaming).look_ahead_bytes(1 << 20);
        // Without threads, as these would be some batches further already; nor is there room for a second batch.
        let mut loader = builder.clone().threads(0).depth(1).build().unwrap();
        loader.next().unwrap().unwrap();
        let begun = loader.stats().pages.advised_bytes;
        match shuffle {
            Shuffle::None => assert!(begun < bytes as u64 / 30, "the first batch alone: {begun}"),
            _ => assert!(begun > bytes as u64 / 6, "rows are mixed within a group: {begun}"),
        }
        drop(loader);
        let mut loader = builder.threads(1).build().unwrap();
        let mut most = 0.0f64;
        for batch in loader.by_ref() {
            batch.unwrap();
            most = most.max(loader_residence(&numbers));
        }
        let pages = loader.stats().pages;
        assert_eq!(pages.residency, Residency::Streaming);
        let (advised, released) = (pages.advised_bytes as f64 / bytes, pages.released_bytes as f64 / bytes);
        // Once, but for pages that two shards or two groups share.
        assert!((0.98..1.1).contains(&advised), "{shuffle}: {advised:.2} of the bytes asked for");
        // Never more, and what is not worth a call less.
        let expected = released_then - 0.06..released_then + 0.01;
        assert!(
            expected.contains(&released),
            "{shuffle}: {released:.3} of the bytes let go of, not {expected:.3?}"
        );
        assert!(most < 0.7, "{shuffle}: {most:.2} of the bytes in memory at a time");
    }
}

#[test]
fn a_rank_reads_groups_as_they_lie_where_pages_have_rows_for_all() {
    // Of the rows of a page, four, each of so many ranks needs one; or few ranks do.
    for (world, reads_groups) in [(3, true), (12, false)] {
        let folder = tempfile::tempdir().unwrap();
        let Some(numbers) = numbers(folder.path(), true) else { return };
        let bytes = (ROWS * 1028) as u64;
        let mut loader = Loader::builder(&numbers)
            .batch_size(10)
            .shuffle(Shuffle::Block { rows: 500, blocks: 2 })
            .partition(Partition::new(1, world).unwrap())
            .residency(Residency::Streaming)
            .look_ahead_bytes(1 << 18)
            .threads(0)
            .build()
            .unwrap();
        loader.next().unwrap().unwrap();
        let begun = loader.stats().pages.advised_bytes;
        assert_eq!(
            begun > bytes / 6,
            reads_groups,
            "{world} ranks: {begun} of {bytes} bytes at the first batch"
        );
        loader.by_ref().for_each(|batch| drop(batch.unwrap()));
        let advised = loader.stats().pages.advised_bytes as f64 / bytes as f64;
        let expected = if reads_groups { 0.98..1.1 } else { 0.2..0.5 };
        assert!(expected.contains(&advised), "{world} ranks: {advised:.2} of the bytes asked for");
    }
}

#[test]
fn pages_of_a_window_of_buckets_stay_until_it_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let Some(numbers) = numbers(folder.path(), true) else { return };
    let lines = Dataset::open(folder.path().join("lines.txt")).unwrap();
    let loader = Loader::builder(&numbers.zip(&lines).unwrap()).columns(["x"]).batch_size(100);
    let loader =
        loader.bucket_by_length("text", 20).residency(Residency::Streaming).look_ahead_bytes(1 << 20);
    let mut loader = loader.depth(2).threads(0).build().unwrap();
    let mut released = Vec::new();
    while let Some(batch) = loader.next() {
        batch.unwrap();
        released.push(loader.stats().pages.released_bytes);
    }
    assert_eq!(released.len(), 60);
    assert_eq!(released[19], 0, "the first window was not delivered yet");
    let window = 20 * 100 * 1024;
    assert!((window..window * 11 / 10).contains(&released[30]), "{}", released[30]);
    assert!((window * 2..window * 22 / 10).contains(&released[59]), "{}", released[59]);
}

/// Rows that differ in length, records to be parsed, and row groups to be decoded: all of their bytes are asked for.
#[test]
fn every_kind_of_file_is_read_ahead() {
    let folder = tempfile::tempdir().unwrap();
    drop(dataset(folder.path()));
    let parquet = folder.path().join("numbers.parquet");
    let table = Dataset::open(folder.path().join("numbers")).unwrap().gather(&(0..2000).collect::<Vec<_>>());
    let table = table.unwrap();
    let groups = WriterProperties::builder().set_max_row_group_row_count(Some(300)).build();
    let file = std::fs::File::create(&parquet).unwrap();
    let mut writer = ArrowWriter::try_new(file, table.schema(), Some(groups)).unwrap();
    writer.write(&table).unwrap();
    writer.close().unwrap();
    let [text, lines, tokens] = ["text", "lines.txt", "tokens"].map(|name| folder.path().join(name));
    for (path, grouping) in [
        (&text, Grouping::None),
        (&text, Grouping::Buckets(5)),
        (&lines, Grouping::None),
        (&lines, Grouping::Buckets(5)),
        (&tokens, Grouping::None),
        (&tokens, Grouping::Pack(40)),
        (&parquet, Grouping::None),
    ] {
        let dataset = Dataset::open(path).unwrap();
        for shuffle in [Shuffle::None, Shuffle::Block { rows: 100, blocks: 3 }] {
            let loader = grouping.of(Loader::builder(&dataset)).batch_size(50).shuffle(shuffle).depth(2);
            let mut loader = loader.residency(Residency::Streaming).build().unwrap();
            loader.by_ref().for_each(|batch| drop(batch.unwrap()));
            let pages = loader.stats().pages;
            let share = pages.advised_bytes as f64 / pages.file_bytes as f64;
            let what = format!("{}, {shuffle}, {grouping:?}", path.display());
            assert!(share > 0.9, "{what}: {share:.2} of the bytes asked for");
            // In order once, but for what two batches share after the first was handed over.
            assert!(share < 1.2 || shuffle != Shuffle::None, "{what}: {share:.2}");
        }
    }
}

/// The share of the files in memory.
fn loader_residence(dataset: &Dataset) -> f64 {
    let loader = Loader::builder(dataset).threads(0).build().unwrap();
    loader.stats().pages.residence.unwrap().share()
}

#[test]
fn stats_tell_what_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let warm = numbers(folder.path(), false).unwrap();
    assert_eq!(loader_residence(&warm), 1.0);
    drop(warm);
    let folder = tempfile::tempdir().unwrap();
    let Some(numbers) = numbers(folder.path(), true) else { return };
    assert!(loader_residence(&numbers) < 0.05, "{}", loader_residence(&numbers));
    let loader = Loader::builder(&numbers).batch_size(64).shuffle(Shuffle::Exact).look_ahead_bytes(0);
    let mut loader = loader.build().unwrap();
    loader.by_ref().for_each(|batch| drop(batch.unwrap()));
    let pages = loader.stats().pages;
    assert_eq!((pages.advised_bytes, pages.released_bytes), (0, 0));
    assert!(pages.residence.unwrap().share() > 0.95, "{pages}");
    let (files, available) = (pages.file_bytes, pages.available_bytes.unwrap());
    assert!(files > (ROWS * 1028) as u64 && files < available, "{pages}");
    assert_eq!(pages.residency, Residency::Resident, "decided from the two");
}

#[test]
fn what_is_in_memory_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = numbers(folder.path(), false).unwrap();
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let mut loader = Loader::builder(&numbers).batch_size(16).shuffle(shuffle).epochs(3).build().unwrap();
        loader.by_ref().for_each(|batch| drop(batch.unwrap()));
        assert_eq!(loader.stats().pages.advised_bytes, 0);
    }
}

#[test]
fn a_cold_epoch_that_fits_is_read_ahead_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(numbers) = numbers(folder.path(), true) else { return };
    let loader = Loader::builder(&numbers).batch_size(64).shuffle(Shuffle::Exact).epochs(4);
    let mut loader = loader.residency(Residency::Resident).build().unwrap();
    let steps = loader.steps_per_epoch() as usize;
    loader.by_ref().take(steps).for_each(|batch| drop(batch.unwrap()));
    let first = loader.stats().pages.advised_bytes;
    assert!(first > 0, "pages were not in memory");
    loader.by_ref().for_each(|batch| drop(batch.unwrap()));
    let pages = loader.stats().pages;
    assert_eq!((pages.advised_bytes, pages.released_bytes), (first, 0));
}

#[test]
fn a_residency_that_is_none_is_refused() {
    for residency in [Residency::Auto, Residency::Resident, Residency::Streaming] {
        assert_eq!(residency.to_string().parse::<Residency>().unwrap(), residency);
    }
    let error = "swapped".parse::<Residency>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("`swapped`"), "{error}");
}
