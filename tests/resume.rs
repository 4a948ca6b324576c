//! Promise 2 for every source: a loader goes on where another was left; what stands in the way is named.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use common::goes_on_where_it_was;
use common::small::{self, Small};
use forebay::convert::{ConvertOptions, convert};
use forebay::format::{CsvOptions, CsvType};
use forebay::{
    Batch, Dataset, ErrorKind, Loader, LoaderBuilder, LoaderState, Mixture, OnBadRecord, Partition, Shuffle,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// A table of a number, a float and a text in each row.
fn table(rows: i64) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("n", Arc::new((0..rows).collect::<Int64Array>()) as ArrayRef),
        ("x", Arc::new((0..rows).map(|n| Some(n as f32 / 3.0)).collect::<Float32Array>()) as ArrayRef),
        ("t", Arc::new((0..rows).map(|n| Some(format!("{n:x}"))).collect::<StringArray>()) as ArrayRef),
    ])
    .unwrap()
}

fn parquet(folder: &Path, rows: i64) -> Dataset {
    let path = folder.join("x.parquet");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(70)).build();
    let batch = table(rows);
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Dataset::open(&path).unwrap()
}

#[test]
fn files_of_every_format_go_on() {
    let files: [Vec<Small>; 12] = [
        small::csv(),
        small::text(),
        small::tfrecord(),
        small::examples(),
        small::tar(),
        small::npz(),
        small::fixed(),
        small::tokens(),
        small::megatron(),
        small::mds(),
        small::hugging_face(),
        small::manifest(),
    ];
    let mut seen = 0;
    for small in files.into_iter().flatten().filter(|small| !small.is_refused) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = small.options.open((small.lay)(folder.path(), &small.file)).unwrap();
        // A few rows, again and again.
        let mut many = dataset.clone();
        while many.len() < 40 && !dataset.is_empty() {
            many = many.concat(&dataset).unwrap();
        }
        goes_on_where_it_was(small.name, &many);
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn tables_in_files_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let in_memory = Dataset::from_batches([table(500)]).unwrap();
    goes_on_where_it_was("memory", &in_memory);
    let row_groups = parquet(folder.path(), 500);
    goes_on_where_it_was("Parquet", &row_groups);
    for (name, options) in [("plain", ConvertOptions::new()), ("shards", ConvertOptions::new().num_shards(3))]
    {
        let out = folder.path().join(name);
        convert(&in_memory, &out, &options, |_| {}).unwrap();
        goes_on_where_it_was(name, &Dataset::open(&out).unwrap());
    }
    // What stands above files: parts, selections, tables side by side.
    let (part, rest) = row_groups.split(0.6, 3).unwrap();
    let both = part.concat(&rest.skip(3)).unwrap();
    goes_on_where_it_was("parts", &both);
    let third = |rows: &RecordBatch| {
        let numbers = rows.column(0).as_primitive::<Int64Type>().values().iter();
        Ok(numbers.map(|n| n % 3 != 0).collect::<Vec<_>>())
    };
    let filtered = row_groups.filter(["n"], third).unwrap();
    goes_on_where_it_was("filtered", &filtered);
    let side = in_memory.select(["x"]).unwrap().rename("x", "y").unwrap();
    goes_on_where_it_was("zipped", &row_groups.zip(&side).unwrap());
}

fn state(dataset: &Dataset) -> LoaderState {
    let mut loader = Loader::builder(dataset).batch_size(2).build().unwrap();
    loader.next().unwrap().unwrap();
    LoaderState::from_json(&loader.state().to_json()).unwrap()
}

/// Why a loader over `dataset` does not go on from a state of `other`.
fn refusal(dataset: &Dataset, other: &Dataset) -> String {
    let error = Loader::builder(dataset).batch_size(2).resume(&state(other)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    error.message().to_owned()
}

#[test]
fn a_state_of_another_dataset_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |name: &str, rows: usize| {
        let path = folder.path().join(name);
        fs::write(&path, "x\n".repeat(rows)).unwrap();
        Dataset::open(&path).unwrap()
    };
    let numbers = |name: &str| Dataset::from_tensor(name, &[], (0..10i64).collect()).unwrap();
    let (a, b) = (lines("a.txt", 10), lines("b.txt", 10));
    let message = refusal(&numbers("n"), &numbers("m"));
    assert_eq!(
        message,
        "the state was taken with the column 'm' Int64, and this loader has the column 'n' Int64"
    );
    let message = refusal(&numbers("n"), &numbers("m").zip(&numbers("n")).unwrap());
    assert_eq!(
        message,
        "the state was taken with the columns 'm' Int64, 'n' Int64, and this loader has the columns 'n' Int64"
    );
    let message = refusal(&a, &b);
    assert!(message.starts_with("the state was taken with 10 rows of b.txt ("), "{message}");
    assert!(message.contains("and this loader has 10 rows of a.txt ("), "{message}");
    let message = refusal(&a, &a.concat(&b).unwrap());
    assert!(message.starts_with("the state was taken with 20 rows of a.txt and 1 more ("), "{message}");
    let message = refusal(&a.split(0.5, 1).unwrap().0, &a.split(0.5, 2).unwrap().0);
    assert!(message.starts_with("the state was taken with 5 rows of a.txt ("), "{message}");
    assert!(message.contains(") chosen or put in order as fingerprint "), "{message}");
    // Before the lengths of documents are read, and their type looked at.
    let packed = Loader::builder(&a).batch_size(2).seed(1).pack("text", 4).resume(&state(&a));
    assert!(packed.build().unwrap_err().message().contains("taken with seed 0"));
}

#[test]
fn bad_records_count_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let line = |n: u64| if [3, 11, 17].contains(&n) { "oops\n".to_owned() } else { format!("{n}\n") };
    fs::write(&path, format!("n\n{}", (0..20).map(line).collect::<String>())).unwrap();
    let csv = CsvOptions::new().column("n", CsvType::I64).required("n");
    let dataset = Dataset::options().csv(csv).open(&path).unwrap();
    let builder =
        |limit| Loader::builder(&dataset).batch_size(2).epochs(2).on_bad_record(OnBadRecord::Skip { limit });
    let what = |loader: &mut Loader| match loader.next()? {
        Ok(batch) => Some(in_words(&batch)),
        Err(error) => Some(error.message().to_owned()),
    };
    let all = |mut loader: Loader| {
        let seen: Vec<_> = std::iter::from_fn(|| what(&mut loader)).collect();
        (seen, loader.bad_records().to_vec())
    };
    for limit in [3, 2, 1] {
        let (whole, listed) = all(builder(limit).build().unwrap());
        assert_eq!(listed.len(), 3);
        assert_eq!(whole.iter().any(|seen| seen.starts_with("expected at most")), limit < 3);
        for stop in 0..=whole.len() {
            let mut loader = builder(limit).build().unwrap();
            (0..stop).for_each(|_| drop(what(&mut loader)));
            let state = LoaderState::from_json(&loader.state().to_json()).unwrap();
            let rest = all(builder(limit).threads(stop % 3).resume(&state).build().unwrap());
            assert_eq!(rest, (whole[stop..].to_vec(), listed.clone()), "limit {limit}, stopped after {stop}");
        }
    }
}

/// The rows of a batch in words.
fn in_words(batch: &Batch) -> String {
    format!("{:?}", batch.record_batch().unwrap())
}

/// What the ranks of a job deliver in each step, together.
fn steps(builder: &LoaderBuilder, world: u32, seen: impl Fn(&Batch) -> Vec<i64>) -> Vec<Vec<i64>> {
    let ranks: Vec<Vec<_>> = (0..world)
        .map(|rank| {
            let builder = builder.clone().partition(Partition::new(rank, world).unwrap());
            let loader = builder.batch_size(12 / world as usize).threads(rank as usize % 2).build().unwrap();
            loader.map(|batch| seen(&batch.unwrap())).collect()
        })
        .collect();
    (0..ranks[0].len()).map(|step| ranks.iter().flat_map(|rank| rank[step].clone()).collect()).collect()
}

#[test]
fn packed_and_bucketed_rows_go_on_with_other_ranks() {
    let lines: String =
        (0..300).map(|n| format!("{}\n", "abcdefghij".repeat(3)[..n % 29].to_owned() + "z")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.txt");
    fs::write(&path, lines).unwrap();
    let texts = Dataset::open(&path).unwrap();
    let column = texts.schema().field(0).name().clone();
    let numbered = texts.zip(&Dataset::from_tensor("n", &[], (0..300i64).collect()).unwrap()).unwrap();
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let builder = Loader::builder(&numbered).columns(["n"]).shuffle(shuffle).seed(4).epochs(2);
        let rows = |batch: &Batch| batch.tensor::<i64>("n").unwrap().as_slice().to_vec();
        let bucketed = builder.bucket_by_length(column.as_str(), 3);
        check_other_ranks(&bucketed, rows);
    }
    let lists = Dataset::from_batches([token_lists()]).unwrap();
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let packed = Loader::builder(&lists).shuffle(shuffle).seed(4).epochs(2).pack("tokens", 10);
        let items = |batch: &Batch| {
            let tokens = batch.tensor::<i64>("tokens").unwrap();
            let segments = batch.tensor::<i32>("tokens_segments").unwrap();
            let items = tokens.as_slice().iter().zip(segments.as_slice());
            items.flat_map(|(&token, &segment)| [token, segment.into()]).collect()
        };
        check_other_ranks(&packed, items);
    }
}

fn token_lists() -> RecordBatch {
    let rows = (0..200i64).map(|row| Some((0..row % 23).map(move |i| Some(row * 100 + i + 1))));
    let tokens = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
    RecordBatch::try_from_iter([("tokens", Arc::new(tokens) as ArrayRef)]).unwrap()
}

/// Whatever the number of ranks before and after, the steps are the same.
fn check_other_ranks(builder: &LoaderBuilder, seen: impl Fn(&Batch) -> Vec<i64> + Copy) {
    let whole = steps(builder, 1, seen);
    for (before, after) in [(1, 1), (1, 3), (2, 1), (3, 2), (4, 3)] {
        for stop in [0, 1, whole.len() / 2, whole.len() - 1] {
            let rank = Partition::new(before - 1, before).unwrap();
            let loader = builder.clone().partition(rank).batch_size(12 / before as usize);
            let mut loader = loader.build().unwrap();
            loader.by_ref().take(stop).for_each(|batch| drop(batch.unwrap()));
            let rest = steps(&builder.clone().resume(&loader.state()), after, seen);
            assert_eq!(rest, whole[stop..], "{before} ranks, after {stop} steps {after} ranks");
        }
    }
}

#[test]
fn the_sources_of_a_mixture_go_on() {
    let part = |from: i64| Dataset::from_tensor("n", &[], (from..from + 50).collect::<Vec<i64>>()).unwrap();
    let mixture = Mixture::builder().add("a", &part(0), 3).add("b", &part(1000), 1).rows_per_epoch(120);
    let mixture = mixture.build().unwrap();
    let builder = Loader::mixture(&mixture).shuffle(Shuffle::Exact).epochs(3);
    check_other_ranks(&builder, |batch| {
        let rows = batch.tensor::<i64>("n").unwrap();
        let sources = batch.sources().unwrap();
        let both = rows.as_slice().iter().zip(sources);
        both.flat_map(|(&row, &source)| {
            assert_eq!(row >= 1000, source == 1);
            [row, source.into()]
        })
        .collect()
    });
}
