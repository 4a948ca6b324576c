//! A mapped file that is cut short while four threads read it ends in an error: no death, no wrong byte delivered.
#![cfg(target_os = "linux")]

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use forebay::convert::{ConvertOptions, convert};
use forebay::{Batch, Dataset, Error, ErrorKind, Loader, Shuffle};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const ROWS: u64 = 900;
const WORDS: usize = 30;
/// The most batches that are ready at a time.
const DEPTH: usize = 16;

/// SplitMix64's finaliser: a word that says where it belongs, and is zero for nobody here.
fn mix(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn words(row: u64) -> impl Iterator<Item = u64> {
    (0..WORDS as u64).map(move |i| mix(row * 1000 + i))
}

fn text(row: u64) -> String {
    format!("row {row} ").repeat(1 + row as usize % 5)
}

/// A shard of some 250 KiB whose rows say what they hold.
fn shard(folder: &Path, with_text: bool) -> Vec<u8> {
    let rows = Dataset::from_tensor("row", &[], (0..ROWS).map(|row| row + 1).collect()).unwrap();
    let words = Dataset::from_tensor("words", &[WORDS], (0..ROWS).flat_map(words).collect()).unwrap();
    let mut dataset = rows.zip(&words).unwrap();
    if with_text {
        let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(text)));
        let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
        dataset = dataset.zip(&Dataset::from_batches([batch]).unwrap()).unwrap();
    }
    let out = folder.join(if with_text { "with_text" } else { "fixed" });
    let converted = convert(&dataset, &out, &ConvertOptions::new().shard_bytes(1 << 20), |_| {}).unwrap();
    assert_eq!(converted.shards, 1);
    let shard = fs::read_dir(&out).unwrap().map(|file| file.unwrap().path());
    let shard: Vec<PathBuf> = shard.filter(|path| path.extension().is_some_and(|e| e == "arrow")).collect();
    fs::read(&shard[0]).unwrap()
}

/// Every byte of every row is the one that belongs there.
fn check(batch: &Batch, with_text: bool) {
    let (rows, tensor) = (batch.tensor::<u64>("row").unwrap(), batch.tensor::<u64>("words").unwrap());
    for (i, row) in rows.as_slice().iter().enumerate() {
        assert!((1..=ROWS).contains(row), "row {row}");
        assert!(tensor.row(i).iter().copied().eq(words(row - 1)), "row {row}");
        if with_text {
            assert_eq!(batch.text("text").unwrap().row(i), text(row - 1));
        }
    }
}

fn is_right(error: &Error, path: &Path) {
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error:?}");
    assert_eq!(error.location().path.as_deref(), Some(path), "{error:?}");
}

#[test]
fn a_thousand_truncations_are_errors_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let shards = [false, true].map(|with_text| (with_text, shard(folder.path(), with_text)));
    let mut dice = StdRng::seed_from_u64(1);
    let (mut good, mut before_any) = (0, 0);
    for round in 0..1000 {
        let (with_text, bytes) = &shards[usize::from(dice.random_bool(0.3))];
        let path = folder.path().join(format!("shard-{round}.arrow"));
        fs::write(&path, bytes).unwrap();
        let dataset = Dataset::open(&path).unwrap();
        let builder = Loader::builder(&dataset)
            .batch_size(dice.random_range(1..64))
            .shuffle(if dice.random_bool(0.9) { Shuffle::Exact } else { Shuffle::None })
            .seed(round)
            .threads(4)
            .depth(dice.random_range(1..=DEPTH))
            .repeat();
        // A closure that sees the zeros of a missing page may be the first to complain.
        let builder = match dice.random_range(0..4) {
            0 => builder.map_batch(|batch| match batch.tensor_mut::<u64>("row")?.as_slice().contains(&0) {
                true => panic!("a row without a number"),
                false => Ok(()),
            }),
            _ => builder,
        };
        let mut loader = builder.build().unwrap();

        let (received, is_cut) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (batches, spins, len) =
            (dice.random_range(0..40), 1 << dice.random_range(0..16), dice.random_range(0..bytes.len()));
        let (mut kept, mut after) = (Vec::new(), 0);
        let error = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                loop {
                    match loader.next().unwrap() {
                        Ok(batch) => {
                            // Only what had been looked at before is still handed over.
                            after += usize::from(is_cut.load(Ordering::Acquire));
                            assert!(after <= DEPTH, "{after} batches of a file that is cut");
                            check(&batch, *with_text);
                            received.fetch_add(1, Ordering::Relaxed);
                            kept.push(batch);
                            kept.truncate(4);
                            good += 1;
                        }
                        Err(error) => break error,
                    }
                }
            });
            while received.load(Ordering::Relaxed) < batches && !reader.is_finished() {
                thread::yield_now();
            }
            (0..spins).for_each(|_| std::hint::spin_loop());
            OpenOptions::new().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
            is_cut.store(true, Ordering::Release);
            reader.join().unwrap()
        });
        is_right(&error, &path);
        before_any += usize::from(received.into_inner() == 0);
        // The file does not come back, so neither do its rows; what was delivered stays what it was.
        for _ in 0..20 {
            is_right(&loader.next().unwrap().unwrap_err(), &path);
        }
        kept.iter().for_each(|batch| check(batch, *with_text));
        drop(loader);
        fs::remove_file(&path).unwrap();
    }
    assert!(good > 10_000, "{good} batches in a thousand rounds are no reading");
    assert!(before_any < 500, "{before_any} rounds ended before they began");
}

#[test]
fn a_file_cut_short_behind_the_rows_read_is_an_error_too() {
    // No page is missing that a batch needs, and no signal is raised: the file's length alone tells.
    let folder = tempfile::tempdir().unwrap();
    let bytes = shard(folder.path(), false);
    let path = folder.path().join("shard.arrow");
    fs::write(&path, &bytes).unwrap();
    let dataset = Dataset::open(&path).unwrap().take(10);
    let mut loader = Loader::builder(&dataset).batch_size(5).threads(1).depth(1).repeat().build().unwrap();
    loader.next().unwrap().unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 1).unwrap();
    is_right(&loader.next().unwrap().unwrap_err(), &path);
    assert!(dataset.gather(&[0]).is_err_and(|error| error.kind() == ErrorKind::Truncated));
}

#[test]
fn one_shard_cut_short_spoils_its_dataset_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = shard(folder.path(), false);
    let paths: Vec<_> = (0..3).map(|i| folder.path().join(format!("{i}.arrow"))).collect();
    paths.iter().for_each(|path| fs::write(path, &bytes).unwrap());
    let all = Dataset::open(paths.as_slice()).unwrap();
    let others = Dataset::open(&paths[..2]).unwrap();
    let loader = |dataset: &Dataset| {
        Loader::builder(dataset).batch_size(32).shuffle(Shuffle::Exact).threads(4).repeat().build().unwrap()
    };
    let (mut all, mut others) = (loader(&all), loader(&others));
    all.by_ref().take(10).for_each(|batch| check(&batch.unwrap(), false));
    OpenOptions::new().write(true).open(&paths[2]).unwrap().set_len(0).unwrap();
    is_right(&all.by_ref().take(100).find_map(Result::err).unwrap(), &paths[2]);
    others.by_ref().take(200).for_each(|batch| check(&batch.unwrap(), false));
}

#[test]
fn gathering_from_a_cut_file_says_that_it_was_cut_whatever_its_rows_look_like() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.arrow");
    let bytes = shard(folder.path(), true);
    // Some of these cuts fall between the two offsets of a row.
    for len in (0..bytes.len()).step_by(509) {
        fs::write(&path, &bytes).unwrap();
        let dataset = Dataset::open(&path).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
        let error = dataset.gather(&(0..ROWS).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "cut to {len}: {error}");
        assert_eq!(error.location().path.as_deref(), Some(path.as_path()));
        drop(dataset);
        fs::remove_file(&path).unwrap();
    }
}
