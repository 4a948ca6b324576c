//! Every case is a test or has a reason not to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/classic")
}

/// `testReadGzipFiles` is to be tested by `read_gzip_files`.
fn test_name(case: &str) -> String {
    let case = case.rsplit('.').next().unwrap();
    let mut name = String::new();
    let letters: Vec<char> = case.strip_prefix("test").unwrap_or(case).chars().collect();
    for (i, &letter) in letters.iter().enumerate() {
        let begins = letter.is_uppercase()
            && i > 0
            && letters[i - 1] != '_'
            && (letters[i - 1].is_lowercase() || letters.get(i + 1).is_some_and(|next| next.is_lowercase()));
        if begins {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Cases by suite that have a test: a line ``/// `Class.testCase` ``, and after it, attributes apart, the function named so.
///
/// The suite is the name of the file; one that ends in `_rows` has the cases of it that need rows with columns.
fn tested() -> BTreeMap<String, BTreeSet<String>> {
    let mut tested = BTreeMap::<String, BTreeSet<String>>::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let suite = stem.strip_suffix("_rows").unwrap_or(stem).to_owned();
        if path.extension().is_none_or(|extension| extension != "rs") || suite == "coverage" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut cases: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(case) = line.strip_prefix("/// `").and_then(|line| line.split('`').next()) {
                cases.push(case.to_owned());
            } else if let Some(name) = line.strip_prefix("fn ").and_then(|line| line.split('(').next()) {
                for case in cases.drain(..) {
                    assert_eq!(name, test_name(&case), "the test of {case} in {}", path.display());
                    assert!(tested.entry(suite.clone()).or_default().insert(case), "{name} is there once");
                }
            }
        }
    }
    tested
}

/// Cases by suite that `absent.md` gives a reason for.
fn absent() -> BTreeMap<String, BTreeSet<String>> {
    let mut absent = BTreeMap::<String, BTreeSet<String>>::new();
    for line in fs::read_to_string(folder().join("absent.md")).unwrap().lines().skip(4) {
        let cells: Vec<_> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [suite, case, why] = cells[..] else { panic!("not a row of three: {line}") };
        assert!(why.len() > 10, "a reason for {case}");
        assert!(absent.entry(suite.to_owned()).or_default().insert(case.to_owned()), "{case} is there once");
    }
    absent
}

/// Every case of the list `FOREBAY_CLASSIC_CASES` names is tested or absent for a reason.
///
/// The list has a line ``- `Class.testCase` - what it shows`` for each case, under a heading `## file_of_suite.py (n)`.
#[test]
fn every_case_is_tested_or_absent_for_a_reason() {
    let (tested, absent) = (tested(), absent());
    for (suite, cases) in &tested {
        for case in absent.get(suite).into_iter().flatten() {
            assert!(!cases.contains(case), "{case} of {suite} is tested and absent");
        }
    }
    let count = |cases: &BTreeMap<_, BTreeSet<_>>| cases.values().map(BTreeSet::len).sum::<usize>();
    println!("{} cases are tested, {} have no meaning here", count(&tested), count(&absent));
    let Some(list) = std::env::var_os("FOREBAY_CLASSIC_CASES") else {
        println!("skipped: FOREBAY_CLASSIC_CASES names no list of cases to compare with");
        return;
    };
    let (mut suite, mut missing) = (String::new(), Vec::new());
    for line in fs::read_to_string(list).unwrap().lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let file = heading.split_whitespace().next().unwrap().rsplit('/').next().unwrap();
            suite = file.split('.').next().unwrap().trim_end_matches("_test").to_owned();
        } else if let Some(case) = line.strip_prefix("- `").and_then(|line| line.split('`').next()) {
            let has = |cases: &BTreeMap<String, BTreeSet<String>>| {
                cases.get(&suite).is_some_and(|cases| cases.contains(case))
            };
            if !has(&tested) && !has(&absent) {
                missing.push(format!("{suite}: {case}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "{} cases have neither test nor reason:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn cases_name_their_tests() {
    for (case, name) in [
        ("FIFOQueueTest.testBigDequeueMany", "big_dequeue_many"),
        ("DecodeCSVOpTest.test2DNoQuoteDelimiter", "_2d_no_quote_delimiter"),
        ("TextLineReaderTest.testOneEpochCRLF", "one_epoch_crlf"),
        ("CoordinatorTest.testRequestStopRaisesIfJoined_ExcInfo", "request_stop_raises_if_joined_exc_info"),
        ("StageTest.testToInt16Values", "to_int16_values"),
        ("CorruptLengthCrc", "corrupt_length_crc"),
    ] {
        assert_eq!(test_name(case), name);
    }
}
