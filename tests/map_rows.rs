//! Columns that a function of the user's makes row by row: right, reproducible, and never a byte of another batch.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use forebay::convert::{ConvertOptions, convert};
use forebay::format::FixedSpec;
use forebay::sampler::RowRng;
use forebay::{
    DType, Dataset, Error, ErrorKind, Loader, LoaderBuilder, LoaderState, OnBadRecord, Output, Remainder,
    Row, RowWriter, Shuffle, col,
};
use proptest::prelude::*;

/// Rows of a number, text (some of it null) and a list.
fn table(rows: u64) -> Dataset {
    let x: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows as i32));
    let text: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(text_of)));
    let list = (0..rows).map(|row| Some(list_of(row).into_iter().map(Some)));
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list));
    Dataset::from_batches([RecordBatch::try_from_iter([("x", x), ("text", text), ("list", list)]).unwrap()])
        .unwrap()
}

fn text_of(row: u64) -> Option<String> {
    (row % 5 != 3).then(|| "é".repeat((row % 4) as usize) + &row.to_string())
}

fn list_of(row: u64) -> Vec<i64> {
    (0..row % 6).map(|i| (row * 10 + i) as i64).collect()
}

/// What the mapped loader makes of each column, as one row.
type Made = (i32, Vec<f32>, Vec<i64>, String);

/// A loader that makes of every row: a tensor of a number and random ones, the list in reverse, and text.
fn mapped(dataset: &Dataset) -> LoaderBuilder {
    Loader::builder(dataset).columns(["x"]).map_rows(["x", "text", "list"], outputs(), map)
}

fn outputs() -> [Output; 3] {
    [Output::tensor::<f32>("noisy", &[3]), Output::ragged::<i64>("reversed"), Output::text("said")]
}

fn map(row: &Row<'_>, out: &mut RowWriter<'_>) -> forebay::Result<()> {
    let mut rng = row.rng();
    let x = row.values::<i32>("x")?[0];
    assert_eq!(u64::from(x as u32), row.number());
    let noisy = out.tensor_mut::<f32>("noisy")?;
    noisy[0] = x as f32;
    noisy[1] = rng.unit() as f32;
    // The third stays as it is.
    let mut list = row.values::<i64>("list")?.to_vec();
    list.reverse();
    // In two goes.
    out.write("reversed", &list[..list.len() / 2])?;
    out.write("reversed", &list[list.len() / 2..])?;
    let text = if row.is_null("text")? { "nothing" } else { row.text("text")? };
    out.write_text("said", text)
}

fn expected(seed: u64, epoch: u64, row: u64) -> Made {
    let noise = RowRng::new(seed, epoch, row).unit() as f32;
    let reversed = list_of(row).into_iter().rev().collect();
    let said = text_of(row).unwrap_or_else(|| "nothing".to_owned());
    (row as i32, vec![row as f32, noise, 0.0], reversed, said)
}

/// The rows of a batch, and that what is behind them is empty.
fn made(batch: &forebay::Batch) -> Vec<Made> {
    let (x, noisy) = (batch.tensor::<i32>("x").unwrap(), batch.tensor::<f32>("noisy").unwrap());
    let (reversed, said) = (batch.ragged::<i64>("reversed").unwrap(), batch.text("said").unwrap());
    for row in batch.num_rows()..batch.len() {
        assert_eq!((noisy.row(row), reversed.row(row), said.row(row)), (&[0.0; 3][..], &[][..], ""));
    }
    (0..batch.num_rows())
        .map(|row| {
            let (noisy, reversed) = (noisy.row(row).to_vec(), reversed.row(row).to_vec());
            (x.as_slice()[row], noisy, reversed, said.row(row).to_owned())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_are_what_the_function_makes_of_them(
        rows in 1u64..60, batch in 1usize..17, threads in 0usize..4, seed: u64,
        shuffle in prop_oneof![Just(Shuffle::None), Just(Shuffle::Exact), Just(Shuffle::Block { rows: 4, blocks: 2 })],
        remainder in prop_oneof![Just(Remainder::Keep), Just(Remainder::Drop), Just(Remainder::Pad)],
    ) {
        let dataset = table(rows);
        let builder = mapped(&dataset).batch_size(batch).shuffle(shuffle).seed(seed).remainder(remainder).epochs(2);
        let mut whole = Vec::new();
        let mut states = Vec::new();
        let mut loader = builder.clone().threads(threads).build().unwrap();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            let rows = made(&batch);
            for row in &rows {
                prop_assert_eq!(row, &expected(seed, batch.epoch(), row.0 as u64));
            }
            whole.push(rows);
            states.push(loader.state().to_json());
        }
        for (done, state) in states.iter().enumerate() {
            let state = LoaderState::from_json(state).unwrap();
            let rest = builder.clone().threads(done % 3).resume(&state).build().unwrap();
            let rest: Vec<_> = rest.map(|batch| made(&batch.unwrap())).collect();
            prop_assert_eq!(&rest[..], &whole[done + 1..]);
        }
    }
}

#[test]
fn arrow_tables_hold_the_outputs_after_the_columns() {
    let dataset = table(20);
    let batch = mapped(&dataset).batch_size(20).build().unwrap().next().unwrap().unwrap();
    let table = batch.record_batch().unwrap();
    let names: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["x", "noisy", "reversed", "said"]);
    assert_eq!(batch.columns().collect::<Vec<_>>(), names);
    let reversed = table.column(2).as_list::<i32>();
    for row in 0..20 {
        let (_, _, list, said) = expected(0, 0, row as u64);
        assert_eq!(reversed.value(row).as_primitive::<Int64Type>().values(), &list[..]);
        assert_eq!(table.column(3).as_string::<i32>().value(row), said);
    }
    assert_eq!(table.column(0).as_primitive::<Int32Type>().len(), 20);
}

#[test]
fn nothing_of_an_earlier_batch_is_seen() {
    // Every second batch is written in full; of the others nothing is asked for, or nothing written.
    let dataset = table(64);
    let outputs = [Output::tensor::<u64>("a", &[5]), Output::tensor::<u8>("b", &[3, 3]), Output::bytes("c")];
    let loader = Loader::builder(&dataset).batch_size(4).depth(1).threads(1).epochs(8);
    let loader = loader.map_rows(["x"], outputs, |row, out| {
        if row.number() / 4 % 2 == 0 {
            out.tensor_mut::<u64>("a")?.fill(u64::MAX);
            out.write("b", &[255u8; 9])?;
            out.write("c", &[255u8; 7])?;
        } else if row.number() % 2 == 0 {
            out.tensor_mut::<u64>("a")?[0] = 0;
        }
        Ok(())
    });
    for batch in loader.build().unwrap() {
        let batch = batch.unwrap();
        let (word, byte) = if batch.step() % 2 == 0 { (u64::MAX, 255) } else { (0, 0) };
        assert!(batch.tensor::<u64>("a").unwrap().as_slice().iter().all(|&x| x == word), "{}", batch.step());
        assert!(batch.tensor::<u8>("b").unwrap().as_slice().iter().all(|&x| x == byte), "{}", batch.step());
        let lens = [7 * (1 - batch.step() as usize % 2); 4];
        let c = batch.ragged::<u8>("c").unwrap();
        assert_eq!([0, 1, 2, 3].map(|row| c.row(row).len()), lens);
    }
}

#[test]
fn what_the_function_says_comes_in_the_place_of_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.csv");
    fs::write(&path, (0..20).fold("x\n".to_owned(), |csv, x| csv + &format!("{x}\n"))).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    for threads in [0, 2] {
        let outputs = [Output::tensor::<i64>("y", &[])];
        let loader = Loader::builder(&dataset).batch_size(4).threads(threads);
        let loader = loader.map_rows(["x"], outputs, |row, out| match row.values::<i64>("x")?[0] {
            6 => Err(Error::new(ErrorKind::Malformed, "six is no number")),
            13 => panic!("thirteen is too many"),
            x => out.write("y", &[x * x]),
        });
        let batches: Vec<_> = loader.build().unwrap().collect();
        assert_eq!(batches.len(), 5);
        for (step, batch) in batches.iter().enumerate() {
            match (step, batch) {
                (1, Err(error)) => {
                    assert_eq!((error.kind(), error.message()), (ErrorKind::Malformed, "six is no number"));
                    assert_eq!(error.location().path.as_deref(), Some(&*path));
                    assert_eq!(error.location().record, Some(6));
                }
                (3, Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Panic);
                    assert_eq!(error.message(), "map_rows panicked: thirteen is too many");
                    assert_eq!(error.location().record, Some(13));
                }
                (_, Ok(batch)) => {
                    let y: Vec<i64> = (4 * step as i64..4 * step as i64 + 4).map(|x| x * x).collect();
                    assert_eq!(batch.tensor::<i64>("y").unwrap().as_slice(), y);
                }
                _ => panic!("{step}: {batch:?}"),
            }
        }
    }
}

/// Whether `address` lies in a map of the file at `path`.
#[cfg(target_os = "linux")]
fn is_mapped(path: &Path, address: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let of_file = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap()));
    let mut ranges = of_file.map(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()
    });
    ranges.any(|range| range.contains(&address))
}

#[test]
#[cfg(target_os = "linux")]
fn the_function_sees_rows_where_they_lie_if_the_files_are_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    convert(&table(50), &out, &ConvertOptions::new(), |_| {}).unwrap();
    let shard = out.join("shard-00000-of-00001.arrow").canonicalize().unwrap();
    let seen = |dataset: &Dataset| {
        let places = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let (counts, path) = (places.clone(), shard.clone());
        let outputs = [Output::tensor::<u8>("y", &[])];
        let loader = Loader::builder(dataset).batch_size(8).shuffle(Shuffle::Exact).threads(1);
        let loader = loader.map_rows(["x", "list"], outputs, move |row, _| {
            let (x, list) = (row.values::<i32>("x")?, row.values::<i64>("list")?);
            assert_eq!((u64::from(x[0] as u32), list), (row.number(), &list_of(row.number())[..]));
            counts[0].fetch_add(is_mapped(&path, x.as_ptr().addr()).into(), Ordering::Relaxed);
            let is_mapped = !list.is_empty() && is_mapped(&path, list.as_ptr().addr());
            counts[1].fetch_add(is_mapped.into(), Ordering::Relaxed);
            Ok(())
        });
        loader.build().unwrap().for_each(|batch| drop(batch.unwrap()));
        [0, 1].map(|i| places[i].load(Ordering::Relaxed))
    };
    assert_eq!(seen(&Dataset::open(&out).unwrap()), [0, 0]);
    let promise = promise();
    let with_lists = (0..50).filter(|&row| !list_of(row).is_empty()).count();
    assert_eq!(seen(&Dataset::options().immutable(promise).open(&out).unwrap()), [50, with_lists]);
}

#[cfg(target_os = "linux")]
fn promise() -> forebay::Immutable {
    // SAFETY: the files of these tests lie in folders of their own, and nobody changes them while they are open.
    unsafe { forebay::Immutable::promise() }
}

#[test]
fn names_and_types_are_looked_at() {
    let dataset = table(4);
    let map = |outputs: Vec<Output>| {
        Loader::builder(&dataset)
            .map_rows(["x"], outputs, |row, out| out.write("y", &[row.values::<i64>("x")?[0]]))
    };
    let error = map(vec![Output::tensor::<i64>("y", &[])]).build().unwrap().next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidArgument, "column 'x' is i32, not i64"));
    let error = map(vec![Output::tensor::<i64>("text", &[])]).build().map(drop).unwrap_err();
    assert_eq!(error.message(), "two columns of a batch are called 'text'");
    let error = map(vec![]).build().map(drop).unwrap_err();
    assert_eq!(error.message(), "map_rows needs at least one output, found none");
    let loader = Loader::builder(&dataset).map_rows(["z"], [Output::text("y")], |_, _| Ok(()));
    assert!(loader.build().map(drop).unwrap_err().message().contains("'z'"));

    let first_error = |map: fn(&mut forebay::RowWriter<'_>) -> forebay::Result<()>| {
        let outputs = [Output::tensor::<f32>("y", &[2]), Output::text("t"), Output::ragged::<i16>("r")];
        let loader = Loader::builder(&dataset).map_rows(["x"], outputs, move |_, out| map(out));
        loader.build().unwrap().next().unwrap().unwrap_err().message().to_owned()
    };
    assert_eq!(first_error(|out| out.write("q", &[1f32])), "no output is called 'q': there are y, t, r");
    assert_eq!(first_error(|out| out.write("y", &[1f64; 2])), "output 'y' is f32[2], not f64");
    assert_eq!(
        first_error(|out| out.write("y", &[1f32; 3])),
        "expected 2 elements for a row of output 'y', found 3"
    );
    assert_eq!(first_error(|out| out.write("t", b"bytes")), "output 't' is text, not u8");
    assert_eq!(first_error(|out| out.write_text("r", "text")), "output 'r' is i16[…], not text");
    assert_eq!(
        first_error(|out| out.tensor_mut::<i16>("r").map(drop)),
        "the output 'r' has rows of varying length: write them with write"
    );
}

#[test]
fn inputs_are_cast_and_left_out_unless_they_are_asked_for() {
    let dataset = table(9);
    let output = || [Output::tensor::<f64>("y", &[])];
    let double = |row: &forebay::Row<'_>, out: &mut forebay::RowWriter<'_>| {
        out.write("y", &[2.0 * row.values::<f64>("x")?[0]])
    };
    let loader = Loader::builder(&dataset).map_rows([col("x").cast::<f64>().scale(0.5)], output(), double);
    let batch = loader.clone().build().unwrap().nth(7).unwrap().unwrap();
    assert_eq!(batch.columns().collect::<Vec<_>>(), ["text", "list", "y"]);
    assert_eq!(batch.tensor::<f64>("y").unwrap().as_slice(), [7.0]);
    let batch = loader.columns(["x"]).build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.columns().collect::<Vec<_>>(), ["x", "y"]);
    // Where every column is an input, only the outputs are left.
    let only = dataset.select(["x"]).unwrap();
    let loader = Loader::builder(&only).map_rows(["x"], [Output::tensor::<i32>("x", &[1])], |row, out| {
        out.write("x", row.values::<i32>("x")?)
    });
    let batch = loader.batch_size(9).build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.tensor::<i32>("x").unwrap().as_slice(), (0..9).collect::<Vec<_>>());
    assert_eq!(batch.num_rows(), 9);
}

#[test]
fn a_batch_may_be_changed_with_the_numbers_of_its_rows() {
    let dataset = table(30);
    let loader =
        mapped(&dataset).batch_size(7).shuffle(Shuffle::Exact).seed(5).epochs(2).map_batch(|batch| {
            let rows = batch.rows().to_vec();
            let noise: Vec<f32> = (0..rows.len()).map(|i| batch.row_rng(i).unit() as f32).collect();
            let mark = (batch.epoch() * 100 + batch.step()) as f32;
            let mut noisy = batch.tensor_mut::<f32>("noisy")?;
            for ((row, number), noise) in noisy.as_mut_slice().chunks_exact_mut(3).zip(rows).zip(noise) {
                assert_eq!((row[0], row[1]), (number as f32, noise));
                row[2] = mark;
            }
            Ok(())
        });
    for batch in loader.build().unwrap() {
        let batch = batch.unwrap();
        let mark = (batch.epoch() * 100 + batch.step()) as f32;
        assert!(batch.tensor::<f32>("noisy").unwrap().as_slice().chunks(3).all(|row| row[2] == mark));
    }
}

/// All rows of a dataset that a conversion made of a [`table`] and [`map`].
fn rows_of(dataset: &Dataset) -> Vec<Made> {
    let loader = Loader::builder(dataset).batch_size(64).build().unwrap();
    loader.flat_map(|batch| made(&batch.unwrap())).collect()
}

#[test]
fn a_conversion_writes_what_the_function_makes() {
    let dataset = table(300);
    let temporary = tempfile::tempdir().unwrap();
    let options = ConvertOptions::new().columns(["x"]).map_rows(["x", "text", "list"], outputs(), map);
    let folder = |name: &str| temporary.path().join(name);
    let mut files = Vec::new();
    for (threads, name) in [(1, "one"), (3, "three")] {
        let options = options.clone().threads(threads).shard_bytes(1 << 12);
        let converted = convert(&dataset, folder(name), &options, |_| {}).unwrap();
        assert!(converted.shards > 1, "{converted:?}");
        let read = Dataset::open(folder(name)).unwrap();
        let names: Vec<_> = read.schema().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["x", "noisy", "reversed", "said"]);
        assert_eq!(rows_of(&read), (0..300).map(|row| expected(0, 0, row)).collect::<Vec<_>>());
        files.push(fs::read(folder(name).join("dataset.json")).unwrap());
    }
    assert!(files[0] == files[1], "as many threads as it may be, the same bytes");

    let shuffled = options.clone().shuffle(7).rename("said", "told");
    convert(&dataset, folder("shuffled"), &shuffled, |_| {}).unwrap();
    let read = Dataset::open(folder("shuffled")).unwrap().rename("told", "said").unwrap();
    let mut rows = rows_of(&read);
    assert_ne!(rows[0].0, 0);
    rows.sort_by_key(|row| row.0);
    assert_eq!(rows, (0..300).map(|row| expected(0, 0, row)).collect::<Vec<_>>());

    // Inputs are left out unless they are asked for.
    let alone = ConvertOptions::new().map_rows(["x", "text", "list"], outputs(), map);
    convert(&dataset, folder("alone"), &alone, |_| {}).unwrap();
    assert_eq!(Dataset::open(folder("alone")).unwrap().schema().fields().len(), 3);
}

#[test]
fn a_cache_calls_the_function_once_a_row_and_knows_it_by_what_it_makes() {
    let dataset = table(5000);
    let temporary = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let options = |factor: i32| {
        let calls = calls.clone();
        ConvertOptions::new().map_rows(["x"], [Output::tensor::<i32>("y", &[])], move |row, out| {
            calls.fetch_add(1, Ordering::Relaxed);
            out.write("y", &[row.values::<i32>("x")?[0] * factor])
        })
    };
    let cached = dataset.cache_with(temporary.path(), &options(3), |_| {}).unwrap();
    let first = calls.swap(0, Ordering::Relaxed);
    let again = dataset.cache_with(temporary.path(), &options(3), |_| {}).unwrap();
    let second = calls.swap(0, Ordering::Relaxed);
    assert_eq!(first, 5000 + second, "every row, and those looked at to know it by");
    assert!(second < 1100, "{second}");
    for dataset in [cached, again] {
        let table = dataset.gather(&[0, 1, 4999]).unwrap();
        let y = table.column_by_name("y").unwrap().as_primitive::<Int32Type>();
        assert_eq!(y.values()[..], [0, 3, 14997]);
    }
    let error = dataset.cache_with(temporary.path(), &options(4), |_| {}).map(drop).unwrap_err();
    assert!(error.to_string().contains("holds another dataset"), "{error}");
}

#[test]
fn a_row_the_function_refuses_is_a_bad_record_of_a_conversion() {
    let dataset = table(300);
    let temporary = tempfile::tempdir().unwrap();
    let options = |kind: ErrorKind| {
        let outputs = [Output::tensor::<i32>("y", &[])];
        ConvertOptions::new().columns(["x"]).map_rows(["x"], outputs, move |row, out| match row.number() {
            number if number % 100 == 42 => Err(Error::new(kind, "no such thing")),
            _ => out.write("y", row.values::<i32>("x")?),
        })
    };
    let error = convert(&dataset, temporary.path(), &options(ErrorKind::Unsupported), |_| {}).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Unsupported, Some(42)), "{error}");

    let skip = options(ErrorKind::Unsupported).on_bad_record(OnBadRecord::Skip { limit: 3 });
    let folder = temporary.path().join("skipped");
    let converted = convert(&dataset, &folder, &skip, |_| {}).unwrap();
    assert_eq!((converted.rows, converted.skipped), (297, 3));
    let ledger = fs::read_to_string(folder.join("bad-records.jsonl")).unwrap();
    assert!(ledger.lines().all(|line| line.contains("no such thing")) && ledger.lines().count() == 3);

    // What is wrong with the function is not wrong with a row.
    let skip = options(ErrorKind::InvalidArgument).on_bad_record(OnBadRecord::Skip { limit: 3 });
    let error = convert(&dataset, temporary.path().join("wrong"), &skip, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let panics = ConvertOptions::new()
        .map_rows(["x"], [Output::text("y")], |_, _| panic!("of its own"))
        .on_bad_record(OnBadRecord::Skip { limit: 3 });
    let error = convert(&dataset, temporary.path().join("panics"), &panics, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic, "{error}");
    assert!(error.to_string().contains("of its own"), "{error}");
}

#[test]
fn a_file_cut_short_under_the_function_is_no_bad_record() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("rows.bin");
    fs::write(&path, vec![1u8; 1 << 20]).unwrap();
    let format = FixedSpec::new(256).field("x", DType::U8, [256]);
    let dataset = Dataset::options().fixed(format).open(&path).unwrap();
    let outputs = [Output::tensor::<u8>("y", &[])];
    let options = ConvertOptions::new().on_bad_record(OnBadRecord::Skip { limit: 0 });
    let is_cut = AtomicBool::new(false);
    let options = options.map_rows(["x"], outputs, move |row, _| {
        // Not one of the rows that are looked at beforehand.
        if row.number() == 300 {
            fs::File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
            is_cut.store(true, Ordering::Relaxed);
        }
        match is_cut.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unsupported, "refused")),
            false => Ok(()),
        }
    });
    let error = convert(&dataset, temporary.path().join("out"), &options, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    assert!(!error.to_string().contains("bad records"), "{error}");
}

#[test]
fn outputs_of_a_conversion_have_names_of_their_own() {
    let dataset = table(10);
    let temporary = tempfile::tempdir().unwrap();
    let named = |name: &str| ConvertOptions::new().map_rows(["x"], [Output::text(name)], |_, _| Ok(()));
    let refused = [
        (named("list"), "two columns would be called 'list'"),
        (named("y").rename("y", "list"), "two columns would be called 'list'"),
        (ConvertOptions::new().map_rows(["x"], [], |_, _| Ok(())), "at least one output"),
        (ConvertOptions::new().map_rows(["z"], [Output::text("y")], |_, _| Ok(())), "'z'"),
    ];
    for (number, (options, expected)) in refused.into_iter().enumerate() {
        let folder = temporary.path().join(number.to_string());
        let error = convert(&dataset, folder, &options, |_| {}).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // The name of an input may be taken.
    convert(&dataset, temporary.path().join("taken"), &named("x"), |_| {}).unwrap();
}

/// Inputs that are short come together: each row has its own, nulls and the last few of a batch included.
#[test]
fn short_rows_are_seen_each_for_itself() {
    let number = |row: u64| (row % 3 != 1).then_some(row as i32);
    let x: ArrayRef = Arc::new(Int32Array::from_iter((0..500).map(number)));
    let x = Dataset::from_batches([RecordBatch::try_from_iter([("x", x)]).unwrap()]).unwrap();
    let pixels = (0..500 * 6u32).map(|i| (i / 6 * 7 + i % 6) as u16).collect::<Vec<_>>();
    let dataset = Dataset::from_tensor("pixels", &[2, 3], pixels).unwrap().zip(&x).unwrap();
    for (batch_size, remainder) in [(1, Remainder::Keep), (77, Remainder::Keep), (100, Remainder::Pad)] {
        let outputs = [Output::tensor::<f32>("sum", &[]), Output::tensor::<i64>("seen", &[])];
        let inputs = [col("x"), col("pixels").cast::<f32>().scale(2.0)];
        let loader = Loader::builder(&dataset).columns(["x"]).map_rows(inputs, outputs, |row, out| {
            let x = row.values::<i32>("x");
            assert_eq!(x.is_err(), row.is_null("x")?);
            let seen = match x {
                Ok(values) => i64::from(values[0]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Mismatch);
                    -(row.number() as i64)
                }
            };
            out.write("seen", &[seen])?;
            out.write("sum", &[row.values::<f32>("pixels")?.iter().sum::<f32>()])
        });
        let loader = loader.batch_size(batch_size).remainder(remainder).shuffle(Shuffle::Exact).epochs(2);
        let order = forebay::sampler::Order::new(500, Shuffle::Exact, 0);
        let mut delivered = Vec::new();
        for batch in loader.threads(2).build().unwrap() {
            let batch = batch.unwrap();
            let sums = batch.tensor::<f32>("sum").unwrap();
            let seen = batch.tensor::<i64>("seen").unwrap();
            let both = sums.as_slice().iter().zip(seen.as_slice()).take(batch.num_rows());
            delivered.extend(both.map(|(&sum, &seen)| (sum, seen)));
        }
        let rows = (0..2).flat_map(|epoch| (0..500).map(move |at| (epoch, at)));
        let expected = rows.map(|(epoch, at)| {
            let row = order.epoch(epoch).get(at);
            let sum: u64 = (0..6).map(|i| 2 * (row * 7 + i)).sum();
            (sum as f32, number(row).map_or(-(row as i64), i64::from))
        });
        assert!(delivered == expected.collect::<Vec<_>>(), "batches of {batch_size}");
    }
}
