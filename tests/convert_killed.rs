//! Killed at any moment, a conversion leaves no dataset or a whole one; run again, it ends with the bytes of an undisturbed run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay::convert::{ConvertOptions, convert, verify};
use forebay::{Dataset, ErrorKind};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Kills of each kind of source.
const KILLS: u32 = 200;

const ROWS: u64 = 1 << 14;

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// A source of some 4 MB.
fn source(folder: &Path) -> PathBuf {
    let path = folder.join("numbers.npy");
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, 64), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).as_bytes());
    bytes.extend((0..ROWS * 64).flat_map(|i| (i as f32).to_le_bytes()));
    fs::write(&path, bytes).unwrap();
    path
}

/// As many records of CSV, one in 300 of which has a cell that is no number.
fn csv_source(folder: &Path) -> PathBuf {
    let path = folder.join("numbers.csv");
    let mut text = "id,x,y,kind\n".to_owned();
    for i in 0..ROWS {
        let x = if i % 300 == 299 { "bad".to_owned() } else { (i as f32 / 7.0).to_string() };
        writeln!(text, "{i},{x},{},\"kind, {}\"", i * i, i % 7).unwrap();
    }
    fs::write(&path, text).unwrap();
    path
}

struct Conversion<'a> {
    args: Vec<&'a str>,
    out: &'a Path,
}

impl Conversion<'_> {
    /// Runs, and is killed after `delay` if it still does. Whether it was killed, and whether it is done; and what it said.
    fn run(&self, delay: Option<Duration>) -> (bool, bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.arg("convert").args(&self.args).arg(self.out);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (began, mut killed) = (Instant::now(), false);
        if let Some(delay) = delay {
            // Polled, for it to be killed at the moment and not at the end of a time slice.
            while child.try_wait().unwrap().is_none() {
                if began.elapsed() >= delay {
                    child.kill().unwrap();
                    killed = true;
                    break;
                }
                std::thread::yield_now();
            }
        }
        let status = child.wait().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success() || killed, "{said}");
        (killed, status.success(), said)
    }
}

#[test]
fn two_hundred_kills_at_random_moments_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let source = source.to_str().unwrap();
    let ways: [&[&str]; 2] = [
        &[source, "--shard-size", "512KiB"],
        &[source, "--shards", "6", "--shuffle-seed", "5", "--stack", "x=data", "--threads", "3"],
    ];
    kill_conversions(folder.path(), ways, [9, 7], ROWS);
}

#[test]
fn two_hundred_kills_of_a_conversion_of_csv_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let source = csv_source(folder.path());
    let source = source.to_str().unwrap();
    let bad = ["--on-bad-record", "skip", "--type", "x=f32"];
    let in_order = [&[source, "--shards", "5"][..], &bad].concat();
    let shuffled = [
        &[source, "--shard-size", "64KiB", "--shuffle-seed", "5", "--stack", "f=x,y", "--cast", "f=f32"][..],
        &bad,
    ];
    kill_conversions(folder.path(), [&in_order, &shuffled.concat()], [7, 10], ROWS - ROWS / 300);
}

/// Kills conversions of these ways in turn, which undisturbed leave so many files, of datasets of `rows` rows.
fn kill_conversions(folder: &Path, ways: [&[&str]; 2], num_files: [usize; 2], rows: u64) {
    let mut dice = StdRng::seed_from_u64(7);
    let (mut kills, mut went_on, mut rounds) = (0, 0, 0);
    let whole: Vec<_> = (0..ways.len()).map(|way| folder.join(format!("whole-{way}"))).collect();
    let undisturbed: Vec<_> = whole
        .iter()
        .zip(ways)
        .map(|(out, args)| {
            let began = Instant::now();
            Conversion { args: args.to_vec(), out }.run(None);
            (files(out), began.elapsed())
        })
        .collect();
    assert_eq!(undisturbed.iter().map(|(files, _)| files.len()).collect::<Vec<_>>(), num_files);

    while kills < KILLS {
        let (expected, whole_run) = &undisturbed[rounds % ways.len()];
        let out = folder.join(format!("out-{rounds}"));
        let conversion = Conversion { args: ways[rounds % ways.len()].to_vec(), out: &out };
        for attempt in 0u32.. {
            // Later and later, should the machine have become slower since.
            let latest = 0.9 * (1.0 + f64::from(attempt) / 20.0);
            let delay = (kills < KILLS).then(|| whole_run.mul_f64(dice.random_range(0.0..latest)));
            let (killed, done, said) = conversion.run(delay);
            kills += u32::from(killed);
            went_on += u32::from(said.contains("found finished"));
            match Dataset::open(&out) {
                Ok(dataset) => {
                    assert_eq!(dataset.len(), rows, "a dataset that is there is whole");
                    assert!(verify(&out, |_| {}).unwrap().is_empty());
                }
                Err(error) => {
                    assert!(!done, "it said it was done");
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                }
            }
            if done {
                break;
            }
        }
        assert!(files(&out) == *expected, "round {rounds}: the bytes differ, or something was left behind");
        fs::remove_dir_all(&out).unwrap();
        rounds += 1;
    }
    eprintln!("{kills} kills in {rounds} conversions, {went_on} of which went on behind finished shards");
    assert!(went_on > 0, "the kills came at telling moments");
}

#[test]
fn broken_off_after_any_record_batch_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Dataset::from_tensor("x", &[], (0..4000i64).collect()).unwrap();
    let options = ConvertOptions::new().shard_bytes(3000).shuffle(1);
    let whole = folder.path().join("whole");
    let mut batches = 0;
    convert(&numbers, &whole, &options, |_| batches += 1).unwrap();
    let expected = files(&whole);
    for end in 0..batches {
        let out = folder.path().join(format!("out-{end}"));
        let mut seen = 0;
        let broken = catch_unwind(AssertUnwindSafe(|| {
            convert(&numbers, &out, &options, |_| {
                if seen == end {
                    resume_unwind(Box::new("broken off")); // Panics without a word.
                }
                seen += 1;
            })
        }));
        assert!(broken.is_err(), "the caller's panic is the caller's");
        assert!(!out.join("dataset.json").exists());
        let went_on = convert(&numbers, &out, &options.clone().threads(1 + end % 3), |_| {}).unwrap();
        assert!(went_on.shards_found <= end);
        assert!(files(&out) == expected, "broken off after {end} of {batches}");
    }
}

#[test]
fn what_another_conversion_left_is_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Dataset::from_tensor("x", &[], (0..4000i64).collect()).unwrap();
    let (out, whole) = (folder.path().join("out"), folder.path().join("whole"));
    let mut seen = 0;
    let broken = catch_unwind(AssertUnwindSafe(|| {
        convert(&numbers, &out, &ConvertOptions::new().shard_bytes(2000), |_| {
            if seen == 8 {
                resume_unwind(Box::new("broken off")); // Panics without a word.
            }
            seen += 1;
        })
    }));
    assert!(broken.is_err());
    assert!(files(&out).len() > 6);
    let other = ConvertOptions::new().num_shards(2);
    assert_eq!(convert(&numbers, &out, &other, |_| {}).unwrap().shards_found, 0);
    convert(&numbers, &whole, &other, |_| {}).unwrap();
    assert!(files(&out) == files(&whole));
}
