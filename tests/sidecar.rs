//! With an index file beside it a file of records opens without a scan, to the same rows; an index that is not of the file
//! as it is, or is damaged, never leads to others.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use common::small;
use forebay::format::{CsvOptions, CsvType, ExampleSpec, FeatureType, FileFormat};
use forebay::{Dataset, Error, ErrorKind, Loader, OpenOptions, Shuffle};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the starts of an index file.
const HEADER_BYTES: usize = 64;

/// A file of records of one of the formats that have an index.
struct Indexed {
    name: &'static str,
    file: Vec<u8>,
    options: OpenOptions,
}

fn all() -> Vec<Indexed> {
    let csv = CsvOptions::new().column("n", CsvType::I64).column("name", CsvType::Text);
    let rows = (0..50).map(|n| format!("{n},\"name, {n}\"\n"));
    let example = |n: u8| small::frame(&small::example(n));
    let spec = ExampleSpec::new().fixed_len("i", FeatureType::I64, [2]);
    let lines = (0..50).map(|n| format!("line {}\n", "x".repeat(n % 7)));
    vec![
        Indexed {
            name: "rows.csv",
            file: ["n,name\n".to_owned()].into_iter().chain(rows).collect::<String>().into_bytes(),
            options: Dataset::options().csv(csv),
        },
        Indexed {
            name: "rows.tfrecord",
            file: (0..50).flat_map(example).collect(),
            options: Dataset::options().examples(spec).format(FileFormat::TfRecord),
        },
        Indexed {
            name: "rows.txt",
            file: lines.collect::<String>().into_bytes(),
            options: Dataset::options().format(FileFormat::Text),
        },
    ]
}

/// A file, and its index once it is written.
struct Laid {
    _folder: TempDir,
    path: PathBuf,
    index: PathBuf,
    options: OpenOptions,
    rows: RecordBatch,
}

impl Laid {
    fn new(indexed: &Indexed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(indexed.name);
        fs::write(&path, &indexed.file).unwrap();
        let index = folder.path().join(format!("{}.forebay-index", indexed.name));
        let rows = common::gather_all(&indexed.options.open(&path).unwrap());
        Laid { _folder: folder, path, index, options: indexed.options.clone(), rows }
    }

    fn indexed(indexed: &Indexed) -> Self {
        let laid = Laid::new(indexed);
        assert_eq!(laid.options.write_index(&laid.path).unwrap(), std::slice::from_ref(&laid.index));
        laid
    }

    /// The dataset, and whether the file was scanned for it.
    fn open(&self, options: &OpenOptions) -> Result<(Dataset, bool), Error> {
        let scanned = Arc::new(AtomicU64::new(0));
        let seen = scanned.clone();
        let options = options.clone().on_scan(move |progress| {
            seen.fetch_max(progress.bytes_done, Ordering::Relaxed);
        });
        Ok((options.open(&self.path)?, scanned.load(Ordering::Relaxed) > 0))
    }

    /// The rows are those without an index, and the file was scanned for them or not.
    fn opens(&self, is_scanned: bool, what: &str) {
        let (dataset, scanned) = self.open(&self.options).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(scanned, is_scanned, "{what}: {}", self.path.display());
        assert!(common::gather_all(&dataset) == self.rows, "{what}: {}", self.path.display());
    }
}

/// Changes the header of an index as `change` says, and makes its checksum right again.
fn forge(index: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(index);
    let checksum = xxh3_64(&index[..48]);
    index[48..56].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn an_index_saves_the_scan_and_changes_no_row() {
    for indexed in all() {
        let laid = Laid::new(&indexed);
        laid.opens(true, "without an index");
        let written = laid.options.write_index(&laid.path).unwrap();
        assert_eq!(written, std::slice::from_ref(&laid.index));
        laid.opens(false, "with an index");
        let (dataset, scanned) = laid.open(&laid.options.clone().use_index(false)).unwrap();
        assert!(scanned && common::gather_all(&dataset) == laid.rows);
        let (with, _) = laid.open(&laid.options).unwrap();
        assert_eq!(with.fingerprint(), dataset.fingerprint());
        common::loads_what_gather_gives(indexed.name, &with);
        common::converts_to_what_gather_gives(indexed.name, &with);
        // Written again it is the same.
        let bytes = fs::read(&laid.index).unwrap();
        laid.options.write_index(&laid.path).unwrap();
        assert!(fs::read(&laid.index).unwrap() == bytes);
        assert_eq!(bytes.len(), HEADER_BYTES + 8 * (laid.rows.num_rows() + 1));
    }
}

#[test]
fn several_files_have_an_index_each_and_other_formats_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    file("a.csv", b"x,y\n1,2\n");
    file("b.csv", b"x,y\n3,4\n5,6\n");
    file(
        "c.npy",
        &small::npy(
            &format!("{:<117}\n", "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }"),
            &[0; 8],
        ),
    );
    file("d.csv.gz", &small::gzip(b"x,y\n7,8\n"));
    let written = Dataset::options().write_index(folder.path().join("*")).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.csv.forebay-index", "b.csv.forebay-index"]);
    let dataset = Dataset::open(folder.path().join("[ab].csv")).unwrap();
    assert_eq!(dataset.len(), 3);
    let error = Dataset::options().write_index(folder.path().join("none.csv")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn an_index_of_another_state_of_its_file_is_passed_over() {
    for indexed in all() {
        // Longer by a record, at the same time.
        let laid = Laid::indexed(&indexed);
        let modified = fs::metadata(&laid.path).unwrap().modified().unwrap();
        let (dataset, _) = laid.open(&laid.options).unwrap();
        let last = match indexed.name {
            "rows.csv" => b"7,seven\n".to_vec(),
            "rows.txt" => b"more\n".to_vec(),
            _ => small::frame(&small::example(3)),
        };
        fs::write(&laid.path, [&indexed.file[..], &last].concat()).unwrap();
        File::options().write(true).open(&laid.path).unwrap().set_modified(modified).unwrap();
        let (longer, scanned) = laid.open(&laid.options).unwrap();
        assert!(scanned, "{}", indexed.name);
        assert_eq!(longer.len(), dataset.len() + 1);
        // Of the same size, at another time; and at the old time again.
        let laid = Laid::indexed(&indexed);
        let modified = fs::metadata(&laid.path).unwrap().modified().unwrap();
        let touch = |time: SystemTime| {
            File::options().write(true).open(&laid.path).unwrap().set_modified(time).unwrap();
        };
        for other in
            [modified + Duration::from_nanos(1), modified - Duration::from_secs(1), SystemTime::UNIX_EPOCH]
        {
            touch(other);
            // Some file systems keep seconds alone.
            let is_told = fs::metadata(&laid.path).unwrap().modified().unwrap() != modified;
            laid.opens(is_told, "touched");
        }
        touch(modified);
        laid.opens(false, "as it was");
        // The new state has an index of its own.
        touch(modified + Duration::from_secs(9));
        laid.options.write_index(&laid.path).unwrap();
        laid.opens(false, "indexed anew");
    }
}

#[test]
fn an_index_for_other_options_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    // Each way to read it finds other records.
    fs::write(&path, "a,b\n#1,2\n\"4\n5\",6\n7,8\n").unwrap();
    let ways = [
        CsvOptions::new().names(["a", "b"]),
        CsvOptions::new().names(["a", "b"]).quotes(false),
        CsvOptions::new().names(["a", "b"]).comment(Some(b'#')),
        CsvOptions::new().names(["a", "b"]).header(false),
        CsvOptions::new().names(["a", "b"]).skip_lines(2).header(false),
        CsvOptions::new().names(["a"]).delimiter(b';').quotes(false),
    ];
    let len =
        |options: &OpenOptions| options.open(&path).map(|dataset| dataset.len()).map_err(|e| e.to_string());
    let read: Vec<_> =
        ways.iter().map(|csv| len(&Dataset::options().csv(csv.clone()).use_index(false))).collect();
    for csv in &ways {
        Dataset::options().csv(csv.clone()).write_index(&path).unwrap();
        let found: Vec<_> = ways.iter().map(|csv| len(&Dataset::options().csv(csv.clone()))).collect();
        assert_eq!(found, read);
    }
    assert_eq!(read, [3, 4, 2, 4, 2, 4].map(Ok));
    // An index of lines is none of records.
    Dataset::options().format(FileFormat::Text).write_index(&path).unwrap();
    assert_eq!(len(&Dataset::options().csv(ways[0].clone())), read[0]);
    assert_eq!(Dataset::options().format(FileFormat::Text).open(&path).unwrap().len(), 5);
}

#[test]
fn an_index_that_is_damaged_in_its_header_or_cut_is_passed_over() {
    for indexed in all() {
        let laid = Laid::indexed(&indexed);
        let whole = fs::read(&laid.index).unwrap();
        for at in 0..HEADER_BYTES {
            for bit in [0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                fs::write(&laid.index, bytes).unwrap();
                laid.opens(true, &format!("byte {at} damaged"));
            }
        }
        for len in (0..whole.len()).filter(|len| *len <= HEADER_BYTES + 16 || len % 8 < 2) {
            fs::write(&laid.index, &whole[..len]).unwrap();
            laid.opens(true, &format!("cut to {len} bytes"));
        }
        fs::write(&laid.index, [&whole[..], &[0; 8]].concat()).unwrap();
        laid.opens(true, "longer than it says");
        // Whoever knows how the checksum is made.
        for (what, at, value) in [
            ("another version", 8, 2),
            ("other options", 32, 0),
            ("as many records as can be", 40, u64::MAX),
            ("more records than bytes", 40, 1 << 61),
            ("a record less", 40, laid.rows.num_rows() as u64 - 1),
        ] {
            let mut bytes = whole.clone();
            forge(&mut bytes, |header| header[at..at + 8].copy_from_slice(&u64::to_le_bytes(value)));
            fs::write(&laid.index, bytes).unwrap();
            laid.opens(true, what);
        }
        fs::remove_file(&laid.index).unwrap();
        fs::create_dir(&laid.index).unwrap();
        laid.opens(true, "a folder of its name");
    }
}

#[test]
fn forged_starts_are_an_error_that_names_the_record() {
    for indexed in all() {
        let laid = Laid::indexed(&indexed);
        let whole = fs::read(&laid.index).unwrap();
        let len = indexed.file.len() as u64;
        let at = |start: usize| HEADER_BYTES + start * 8;
        let start = |start: usize| u64::from_le_bytes(whole[at(start)..at(start) + 8].try_into().unwrap());
        let mut refused = 0;
        for record in [0, 1, 17, 49, 50] {
            for value in
                [0, start(record) + 1, len - 1, len, len + 1, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX]
            {
                let mut bytes = whole.clone();
                bytes[at(record)..at(record) + 8].copy_from_slice(&value.to_le_bytes());
                fs::write(&laid.index, bytes).unwrap();
                match laid.open(&laid.options) {
                    Ok((dataset, scanned)) => {
                        assert!(!scanned);
                        refused += check_forged(&laid, &dataset, record, value, len);
                    }
                    // A sample of the records was looked at.
                    Err(error) => {
                        names(&laid.path, record, &error);
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused >= 20, "{}: {refused} refused", indexed.name);
    }
}

/// Every row is one of the file's own bytes or an error that names the record; `record` and the one before are the only ones
/// that may differ. How many were refused.
fn check_forged(laid: &Laid, dataset: &Dataset, record: usize, value: u64, len: u64) -> usize {
    let mut refused = 0;
    for row in 0..dataset.len() {
        match dataset.gather(&[row]) {
            Ok(found) if row as usize + 1 == record || row as usize == record => {
                assert!(value <= len, "a start of {value} was believed");
                assert_eq!(found.num_rows(), 1);
            }
            Ok(found) => assert!(found == laid.rows.slice(row as usize, 1), "row {row}"),
            Err(error) => {
                names(&laid.path, record, &error);
                assert_eq!(error.location().record, Some(row), "{error}");
                refused += 1;
            }
        }
    }
    let loader = Loader::builder(dataset).batch_size(1).shuffle(Shuffle::Exact).threads(2).build().unwrap();
    let failed = loader.filter_map(Result::err).map(|error| names(&laid.path, record, &error)).count();
    assert_eq!(failed, refused);
    refused.min(1)
}

fn names(path: &Path, forged: usize, error: &Error) {
    assert_eq!(
        (error.kind(), error.location().path.as_deref()),
        (ErrorKind::Malformed, Some(path)),
        "{error}"
    );
    let record = error.location().record.unwrap() as usize;
    assert!(record == forged || record + 1 == forged, "{error}: start {forged} was forged");
}

#[test]
fn files_without_a_record_have_an_index_too() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("a.csv", &b"x,y\n"[..], Dataset::options()),
        ("b.csv", b"", Dataset::options().csv(CsvOptions::new().names(["x"]))),
        ("c.txt", b"", Dataset::options().format(FileFormat::Text)),
        ("d.tfrecord", b"", Dataset::options().format(FileFormat::TfRecord).raw_records()),
    ];
    for (name, bytes, options) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let before = options.open(&path).unwrap();
        let written = options.write_index(&path).unwrap();
        assert_eq!(fs::metadata(&written[0]).unwrap().len(), 72, "{name}");
        let after = options.open(&path).unwrap();
        assert_eq!((after.len(), after.schema()), (0, before.schema()), "{name}");
        assert_eq!(after.gather(&[]).unwrap().num_rows(), 0);
        assert_eq!(Loader::builder(&after).build().unwrap().count(), 0);
    }
}
