//! Damaged and forged files of records, archives, tokens and folders are refused, or read as something clean: no panic, no
//! hang, no memory beyond what a file's size can justify. `damage` and `parquet_damage` hold the same of Arrow IPC, arrays
//! and Parquet.
//!
//! `FOREBAY_MUTANTS` sets how many mutants of each file are tried (2,000 unless set).

mod common;

use std::env;
use std::fs;

use common::cases::{Cases, Random};
use common::small::{self, Small};
use common::test_data;
use forebay::{Dataset, ErrorKind, OpenOptions};

/// Mutants of a file, unless told otherwise.
const MUTANTS: usize = 2_000;

fn mutants() -> usize {
    env::var("FOREBAY_MUTANTS").map_or(MUTANTS, |n| n.parse().expect("FOREBAY_MUTANTS is a number"))
}

/// The damage that is tried in order: each is some bytes of the file, and what becomes of them.
const WAYS: usize = 8;

/// The mutant `number` of `file` in the way `way`, and what was done; `None` where there is no such place.
fn mutant(file: &[u8], way: usize, at: usize) -> Option<(Vec<u8>, String)> {
    let mut bytes = file.to_vec();
    let forge = |bytes: &mut Vec<u8>, forgery: &[u8], what: &str| {
        bytes.get_mut(at..at + forgery.len())?.copy_from_slice(forgery);
        Some(format!("{what} at byte {at}"))
    };
    let what = match way {
        0 => {
            bytes.truncate(at);
            Some(format!("cut at byte {at}"))
        }
        1 => {
            bytes[at] ^= 1 << (at % 8);
            Some(format!("bit {} of byte {at} flipped", at % 8))
        }
        2 => forge(&mut bytes, &i64::MAX.to_le_bytes(), "the greatest i64"),
        3 => forge(&mut bytes, &u64::MAX.to_le_bytes(), "the greatest u64"),
        4 => forge(&mut bytes, &u32::MAX.to_le_bytes(), "the greatest u32"),
        5 => forge(&mut bytes, &(1u32 << 20).to_le_bytes(), "2²⁰"),
        6 => {
            let varint = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
            bytes.splice(at..at + 1, varint);
            Some(format!("a varint of 2⁶³ - 1 at byte {at}"))
        }
        _ => {
            let block = file[at..file.len().min(at + 40)].to_vec();
            bytes.splice(at..at, block);
            Some(format!("40 bytes twice at byte {at}"))
        }
    };
    what.map(|what| (bytes, what))
}

/// Reads a file as it is and tries mutants of it: half of them in every way at as many places as that makes, half at random.
fn damaged(small: &Small) {
    let mut cases = Cases::new();
    let folder = cases.folder.path().to_owned();
    let mut read = |file: &[u8], what: &dyn Fn() -> String| {
        let path = (small.lay)(&folder, file);
        cases.opened(&path, &folder, &small.options, file.len(), &|| format!("{}, {}", small.name, what()))
    };
    let error = read(&small.file, &|| "undamaged".to_owned());
    assert_eq!(error.is_some(), small.is_refused, "{}: {error:?}", small.name);
    let places = (mutants() / 2 / WAYS).clamp(1, small.file.len());
    for place in 0..places {
        let at = place * small.file.len() / places;
        for way in 0..WAYS {
            if let Some((file, what)) = mutant(&small.file, way, at) {
                read(&file, &|| what.clone());
            }
        }
    }
    for seed in 0..mutants() - (places * WAYS).min(mutants()) {
        let mut random = Random(seed as u64);
        let mut file = small.file.clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut file);
        }
        read(&file, &|| format!("mutant {seed}"));
    }
    println!("{}:", small.name);
}

macro_rules! formats {
    ($($test:ident: $files:expr,)*) => {
        $(
            #[test]
            fn $test() {
                $files.iter().for_each(damaged);
            }
        )*

        fn all_files() -> Vec<Small> {
            let mut all = Vec::new();
            $(all.extend($files);)*
            all
        }
    };
}

formats! {
    csv_is_refused_or_read: small::csv(),
    text_is_refused_or_read: small::text(),
    tfrecords_are_refused_or_read: small::tfrecord(),
    examples_are_refused_or_read: small::examples(),
    archives_are_refused_or_read: small::tar(),
    archives_of_arrays_are_refused_or_read: small::npz(),
    records_of_one_length_are_refused_or_read: small::fixed(),
    tokens_are_refused_or_read: small::tokens(),
    indexed_tokens_are_refused_or_read: small::megatron(),
    mds_is_refused_or_read: small::mds(),
    saved_datasets_are_refused_or_read: small::hugging_face(),
    splits_are_refused: [small::hf_splits()],
    manifests_are_refused_or_read: small::manifest(),
    index_files_are_refused_or_passed_over: small::sidecar(),
}

#[test]
#[ignore = "writes what fuzzing begins with, where FOREBAY_SEEDS says"]
fn seeds() {
    small::write_seeds(
        all_files().into_iter().map(|small| (small.target, [small.before, small.file].concat())),
    );
}

/// CSV has no content that could tell it from anything else: each is read with the options of its name, and as CSV.
#[test]
fn csv_that_broke_other_readers_is_refused_or_read() {
    let Some((folder, _)) = test_data() else { return };
    let mut cases = Cases::with(OpenOptions::default().format(forebay::format::FileFormat::Csv));
    for entry in fs::read_dir(folder.join("malformed/csv")).unwrap() {
        let path = entry.unwrap().path();
        let len = fs::metadata(&path).unwrap().len() as usize;
        cases.file(&path, len, &|| path.display().to_string());
    }
    assert!(cases.read + cases.refused >= 4);
}

/// All of the folder of malformed files is read by some test: here, in `damage` or in `parquet_damage`.
#[test]
fn every_malformed_file_is_looked_at() {
    let Some((folder, _)) = test_data() else { return };
    let list = fs::read_to_string(folder.join("malformed/FILES.tsv")).unwrap();
    let kinds = [
        "arrow-ipc-file",
        "arrow-ipc-stream",
        "arrow-ipc-tensor-stream",
        "csv",
        "parquet-bad",
        "parquet-fuzz",
    ];
    let mut listed = 0;
    for line in list.lines().skip(1) {
        let file = line.split('\t').next().unwrap();
        let kind = file.strip_prefix("malformed/").and_then(|file| file.split('/').next()).unwrap();
        assert!(kinds.contains(&kind), "{file}");
        assert!(folder.join(file).is_file(), "{file}");
        listed += 1;
    }
    let found: usize =
        kinds.iter().map(|kind| fs::read_dir(folder.join("malformed").join(kind)).unwrap().count()).sum();
    assert_eq!((listed, found), (146, 146));
}

#[test]
fn bytes_in_memory_are_read_like_the_file_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    for small in all_files() {
        let path = folder.path().join("case");
        if (small.lay)(folder.path(), &small.file) != path {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let memory = small.options.open_bytes("case", bytes.clone()).unwrap();
        let file = small.options.open(&path).unwrap();
        assert_eq!(common::gather_all(&memory), common::gather_all(&file), "{}", small.name);
        assert_eq!(memory.fingerprint(), file.fingerprint(), "{}", small.name);
    }
}

#[test]
fn bytes_in_memory_are_told_by_their_name_and_errors_name_them() {
    let lines = Dataset::options().open_bytes("lines.txt", b"a,b\n1,2\n".to_vec()).unwrap();
    assert_eq!((lines.len(), lines.schema().fields().len()), (2, 1));
    let fields = Dataset::options().open_bytes("fields.csv", b"a,b\n1,2\n".to_vec()).unwrap();
    assert_eq!((fields.len(), fields.schema().fields().len()), (1, 2));
    let broken = [small::frame(b"whole"), b"broken off".to_vec()].concat();
    let error = Dataset::options().open_bytes("train.tfrecord", broken).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(error.location().path.as_deref(), Some("train.tfrecord".as_ref()), "{error}");
    let index = small::megatron().swap_remove(0).file;
    let error = Dataset::options().open_bytes("corpus.idx", index).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("open the path"), "{error}");
}

/// A megabyte of zeros compresses to less than a hundredth of what it may stand for, and is all there.
#[test]
fn what_compresses_well_is_read_whole_or_refused() {
    let options = OpenOptions::default().format(forebay::format::FileFormat::Text);
    for bytes in [1 << 20, 50 << 20] {
        let lines = b"\n".repeat(bytes);
        let file = zstd::bulk::compress(&lines, 1).unwrap();
        assert!(file.len() * 2000 < bytes, "{}", file.len());
        assert_eq!(options.open_bytes("lines.zst", file).unwrap().len(), bytes as u64);
    }
    let many = vec![b'\n'; 65 << 20];
    for file in [zstd::bulk::compress(&many, 1).unwrap(), small::gzip(&many)] {
        let error = options.open_bytes("bomb", file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
}

/// A manifest, or who opens a file, may say that rows are larger than any memory; a file of few bytes has none of them.
#[test]
fn rows_larger_than_memory_are_refused_or_none() {
    let mut cases = Cases::new();
    for spec in ["u8[9223372036854775807]", "u32[4611686018427387903]", "u16[3000000000]"] {
        let mut cases = Cases::with(OpenOptions::default().tokens(spec.parse().unwrap()));
        cases.bytes(b"some text!!!", &|| spec.to_owned());
    }
    for spec in ["x:u8[4294967296,1024]", "x:f64[2305843009213693951]", "x:u8[3000000000]"] {
        let mut cases = Cases::with(OpenOptions::default().fixed(spec.parse().unwrap()));
        cases.bytes(b"", &|| spec.to_owned());
    }
    let small = small::manifest().swap_remove(1);
    let manifest = String::from_utf8(small.file).unwrap();
    let nested = manifest.matches(r#"},2]"#).count() + manifest.matches(r#"},3]"#).count();
    assert_eq!(nested, 2, "{manifest}");
    for n in ["2147483647", "-1", "0", "65536"] {
        for (inner, outer) in [(n, n), (n, "2"), ("3", n)] {
            let forged =
                manifest.replace("},3]", &format!("}},{inner}]")).replace("},2]", &format!("}},{outer}]"));
            let (folder, what) = (cases.folder.path().to_owned(), format!("[{outer}, {inner}]"));
            let path = (small.lay)(&folder, forged.as_bytes());
            let error = cases.opened(&path, &folder, &small.options, forged.len(), &|| what.clone());
            assert!(error.is_some(), "{what}");
        }
    }
    let index = String::from_utf8(small::mds().swap_remove(0).file).unwrap();
    for shape in ["1000000000", "20000,20000"] {
        let bytes = shape.split(',').map(|n| n.parse::<u64>().unwrap()).product::<u64>() * 4;
        let forged =
            index.replace("float32:2", &format!("float32:{shape}")).replace(",8]", &format!(",{bytes}]"));
        let folder = cases.folder.path().join("mds");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.json"), &forged).unwrap();
        let error =
            cases.opened(&folder, &folder, &OpenOptions::default(), forged.len(), &|| shape.to_owned());
        assert_eq!(error.unwrap().kind(), ErrorKind::Malformed, "{shape}");
    }
}
