//! Bad records are left out of batches up to a limit, each named, and no other row changes its place.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use forebay::convert::RecordWriter;
use forebay::format::{CsvOptions, CsvType};
use forebay::{
    Batch, Dataset, Error, ErrorKind, Loader, LoaderBuilder, LoaderState, OnBadRecord, Output, Partition,
    Remainder, Shuffle,
};
use proptest::prelude::*;

/// A CSV file of rows of a number, text and a number that may be missing; the first is no number in some.
fn csv(folder: &Path, rows: u64, bad: &BTreeSet<u64>) -> Dataset {
    let path = folder.join("rows.csv");
    let line = |row: u64| {
        let n = if bad.contains(&row) { "?".to_owned() } else { row.to_string() };
        let maybe = if row.is_multiple_of(3) { String::new() } else { row.to_string() };
        format!("{n},<{}>,{maybe}\n", "x".repeat((row % 5) as usize))
    };
    fs::write(&path, (0..rows).fold("n,text,maybe\n".to_owned(), |csv, row| csv + &line(row))).unwrap();
    let options = CsvOptions::new()
        .column("n", CsvType::I64)
        .required("n")
        .column("text", CsvType::Text)
        .column("maybe", CsvType::I32);
    Dataset::options().csv(options).open(&path).unwrap()
}

/// A batch position by position: the row there, `None` for a hole and for padding. Checks every column of it.
fn places(batch: &Batch) -> Vec<Option<u64>> {
    let n = batch.tensor::<i64>("n").unwrap();
    let (text, mask) = (batch.text("text").unwrap(), batch.mask());
    let (maybe, valid) = batch.tensor_with_validity::<i32>("maybe").unwrap();
    let places: Vec<_> = (0..batch.len())
        .map(|at| {
            let n = n.as_slice()[at];
            let is_row = mask.is_none_or(|mask| mask[at] == 1);
            let expected = if is_row { format!("<{}>", "x".repeat(n as usize % 5)) } else { String::new() };
            assert_eq!(text.row(at), expected);
            let is_valid = is_row && n % 3 != 0;
            assert_eq!(valid.unwrap()[at] == 1, is_valid);
            assert_eq!(maybe.as_slice()[at], if is_valid { n as i32 } else { 0 });
            assert!(is_row || n == 0);
            is_row.then_some(n as u64)
        })
        .collect();
    // The Arrow table has the rows, and no holes.
    let table = batch.record_batch().unwrap();
    let rows: Vec<_> = places.iter().flatten().map(|&row| row as i64).collect();
    let n = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(table.column(0));
    assert_eq!((n.values().to_vec(), batch.num_rows()), (rows.clone(), rows.len()));
    places
}

/// The batches of an epoch, without a loader's help.
fn expected(rows: &[u64], batch: usize, bad: &BTreeSet<u64>, remainder: Remainder) -> Vec<Vec<Option<u64>>> {
    let batches = rows.chunks(batch).filter(|rows| remainder != Remainder::Drop || rows.len() == batch);
    batches
        .map(|rows| {
            let places = rows.iter().map(|row| Some(*row).filter(|row| !bad.contains(row)));
            match remainder {
                Remainder::Pad => places.chain(std::iter::repeat(None)).take(batch).collect(),
                _ => places.filter(Option::is_some).collect(),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn holes_are_where_the_bad_records_are(
        rows in 1u64..70, batch in 1usize..12, threads in 0usize..4, seed: u64,
        bad in prop::collection::btree_set(0u64..70, 0..9),
        remainder in prop_oneof![Just(Remainder::Keep), Just(Remainder::Drop), Just(Remainder::Pad)],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let bad: BTreeSet<_> = bad.into_iter().filter(|&row| row < rows).collect();
        let dataset = csv(folder.path(), rows, &bad);
        let builder = Loader::builder(&dataset).batch_size(batch).shuffle(Shuffle::Exact).seed(seed).epochs(2)
            .remainder(remainder).on_bad_record(OnBadRecord::Skip { limit: bad.len() as u64 });
        let mut loader = builder.clone().threads(threads).build().unwrap();
        let (mut found, mut states) = (Vec::new(), Vec::new());
        while let Some(batch) = loader.next() {
            found.push(places(&batch.unwrap()));
            states.push(loader.state().to_json());
        }
        let orders = [0, 1].map(|epoch| {
            let order = forebay::sampler::Order::new(rows, Shuffle::Exact, seed).epoch(epoch);
            (0..rows).map(|position| order.get(position)).collect::<Vec<_>>()
        });
        let whole: Vec<_> = orders.iter().flat_map(|order| expected(order, batch, &bad, remainder)).collect();
        prop_assert_eq!(&found, &whole);
        // The ledger has each of them once, however many epochs there were.
        let delivered = orders.map(|order| {
            let dropped = if remainder == Remainder::Drop { order.len() % batch } else { 0 };
            order[..order.len() - dropped].iter().copied().filter(|row| bad.contains(row)).collect::<Vec<_>>()
        });
        let ledger: BTreeSet<_> = loader.bad_records().iter().map(|bad| bad.row).collect();
        prop_assert_eq!(ledger, delivered.iter().flatten().copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(loader.stats().skipped_rows as usize, delivered.iter().map(Vec::len).sum::<usize>());
        for (done, state) in states.iter().enumerate() {
            let rest = builder.clone().threads(done % 3).resume(&LoaderState::from_json(state).unwrap());
            let rest: Vec<_> = rest.build().unwrap().map(|batch| places(&batch.unwrap())).collect();
            prop_assert_eq!(&rest[..], &whole[done + 1..]);
        }
    }
}

#[test]
fn ranks_leave_out_their_own_bad_records() {
    let folder = tempfile::tempdir().unwrap();
    let bad = BTreeSet::from([1, 2, 17, 30]);
    let dataset = csv(folder.path(), 31, &bad);
    let rank = |rank| {
        let loader = Loader::builder(&dataset).batch_size(4).partition(Partition::new(rank, 2).unwrap());
        let loader = loader.on_bad_record(OnBadRecord::Skip { limit: 4 }).build().unwrap();
        loader.map(|batch| places(&batch.unwrap())).collect::<Vec<_>>()
    };
    let (first, second) = (rank(0), rank(1));
    assert_eq!(first.len(), second.len());
    let mut rows: Vec<_> = first.iter().zip(&second).flat_map(|(a, b)| [a, b]).flatten().flatten().collect();
    rows.sort_unstable();
    assert_eq!(rows.len(), 27);
    assert!((0..31).filter(|row| !bad.contains(row)).eq(rows.into_iter().copied()));
}

fn skipping(dataset: &Dataset, limit: u64) -> LoaderBuilder {
    Loader::builder(dataset).batch_size(5).on_bad_record(OnBadRecord::Skip { limit })
}

#[test]
fn one_more_than_the_limit_is_an_error_that_lists_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = csv(folder.path(), 30, &BTreeSet::from([3, 11, 12, 22]));
    for threads in [0, 2] {
        let mut loader = skipping(&dataset, 2).threads(threads).build().unwrap();
        let batches: Vec<_> = (&mut loader).collect();
        let failed: Vec<_> = (0..6).filter(|&step| batches[step].is_err()).collect();
        assert_eq!(failed, [2, 4]);
        let error = batches[4].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let message = error.message();
        assert!(message.starts_with("expected at most 2 bad records, found 4; the last: "), "{message}");
        for record in [22, 12, 11] {
            let entry = format!("{}, record {record}, byte ", folder.path().join("rows.csv").display());
            assert!(message.contains(&entry), "{message}");
        }
        assert_eq!(loader.bad_records().iter().map(|bad| bad.record).collect::<Vec<_>>(), [3, 11, 12, 22]);
    }
    // Without a word, the first is an error in its place.
    let batches: Vec<_> = Loader::builder(&dataset).batch_size(5).build().unwrap().collect();
    assert_eq!((0..6).filter(|&step| batches[step].is_err()).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(batches[0].as_ref().unwrap_err().location().record, Some(3));
}

#[test]
fn a_row_that_the_users_function_refuses_is_bad_and_a_panic_is_not() {
    let dataset = Dataset::from_tensor("x", &[], (0..20i64).collect()).unwrap();
    let refusing = |kind: Option<ErrorKind>, remainder| {
        let map = move |row: &forebay::Row<'_>, out: &mut forebay::RowWriter<'_>| match (row.number(), kind) {
            (7 | 8 | 13, Some(kind)) => Err(Error::new(kind, format!("{} is refused", row.number()))),
            (7, None) => panic!("seven"),
            (x, _) => out.write("y", &[x as f32, 1.0]),
        };
        let loader = skipping(&dataset, 3).remainder(remainder);
        let loader = loader.map_rows(["x"], [Output::tensor::<f32>("y", &[2])], map);
        loader.map_batch(|batch| {
            // Holes are empty, and not counted in.
            let holes: Vec<_> = (0..batch.num_rows()).map(|row| batch.is_hole(row)).collect();
            let mut y = batch.tensor_mut::<f32>("y")?;
            for (row, is_hole) in y.as_mut_slice().chunks_exact_mut(2).zip(holes) {
                assert_eq!(row[1] == 0.0, is_hole);
                row[1] *= 2.0;
            }
            Ok(())
        })
    };
    for kind in [ErrorKind::Malformed, ErrorKind::Io, ErrorKind::Unsupported] {
        let mut loader = refusing(Some(kind), Remainder::Pad).build().unwrap();
        let batches: Vec<_> = (&mut loader).map(|batch| batch.unwrap()).collect();
        let y: Vec<_> =
            batches.iter().flat_map(|batch| batch.tensor::<f32>("y").unwrap().as_slice()).collect();
        for (row, y) in y.chunks(2).enumerate() {
            let expected = if [7, 8, 13].contains(&row) { [0.0, 0.0] } else { [row as f32, 2.0] };
            assert_eq!([*y[0], *y[1]], expected, "{row}");
        }
        assert_eq!(batches[1].mask().unwrap(), [1, 1, 0, 0, 1]);
        assert_eq!(loader.bad_records()[2].reason, format!("{}: 13 is refused", kind.as_str()));
        let lens = refusing(Some(kind), Remainder::Keep).build().unwrap().map(|batch| batch.unwrap().len());
        assert_eq!(lens.collect::<Vec<_>>(), [5, 3, 4, 5]);
    }
    for (kind, found) in
        [(None, ErrorKind::Panic), (Some(ErrorKind::InvalidArgument), ErrorKind::InvalidArgument)]
    {
        let mut loader = refusing(kind, Remainder::Pad).build().unwrap();
        assert_eq!(loader.nth(1).unwrap().unwrap_err().kind(), found);
        assert!(loader.bad_records().is_empty());
    }
}

#[test]
fn records_of_tfrecord_files_are_left_out_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tfrecord");
    let mut writer = RecordWriter::create(&path).unwrap();
    (0..40u32).for_each(|row| writer.write(format!("record {row:03}").as_bytes()).unwrap());
    writer.close().unwrap();
    // A record is its length, the length's checksum, ten bytes, and their checksum.
    let mut bytes = fs::read(&path).unwrap();
    for row in [4, 19] {
        bytes[row * 26 + 12] ^= 1;
    }
    fs::write(&path, &bytes).unwrap();
    let gzip = folder.path().join("rows.tfrecord.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&gzip).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    encoder.finish().unwrap();
    for path in [path, gzip] {
        let dataset = Dataset::options().raw_records().open(&path).unwrap();
        let name = dataset.schema().field(0).name().clone();
        let mut loader = skipping(&dataset, 2).build().unwrap();
        let mut rows = Vec::new();
        for batch in &mut loader {
            let batch = batch.unwrap();
            let records = batch.ragged::<u8>(&name).unwrap();
            rows.extend(records.iter().map(|record| String::from_utf8(record.to_vec()).unwrap()));
        }
        let expected = (0..40).filter(|row| ![4, 19].contains(row)).map(|row| format!("record {row:03}"));
        assert_eq!(rows, expected.collect::<Vec<_>>(), "{}", path.display());
        assert_eq!(loader.bad_records().iter().map(|bad| bad.record).collect::<Vec<_>>(), [4, 19]);
        assert!(loader.bad_records().iter().all(|bad| bad.file.as_deref() == path.to_str()));
    }
}

#[test]
fn a_chunk_that_cannot_be_decoded_is_so_many_bad_records() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.arrow");
    let values = |chunk: i64| Int64Array::from_iter_values((0..100).map(|i| (chunk * 100 + i) * 0x0123_4567));
    let batch = |chunk| RecordBatch::try_from_iter([("x", std::sync::Arc::new(values(chunk)) as ArrayRef)]);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, &batch(0).unwrap().schema(), options).unwrap();
    (0..3).for_each(|chunk| writer.write(&batch(chunk).unwrap()).unwrap());
    writer.finish().unwrap();
    // The second frame of Zstandard is spoilt.
    let mut bytes = fs::read(&path).unwrap();
    let frames: Vec<_> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == 0xFD2F_B528u32.to_le_bytes()).collect();
    assert_eq!(frames.len(), 3);
    bytes[frames[1]] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    let mut loader = skipping(&dataset, 100).batch_size(64).build().unwrap();
    let found: Vec<i64> = (&mut loader)
        .flat_map(|batch| batch.unwrap().tensor::<i64>("x").unwrap().as_slice().to_vec())
        .collect();
    let expected = (0..100).chain(200..300).map(|i| i * 0x0123_4567);
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert!(loader.bad_records().iter().map(|bad| bad.row).eq(100..200));
}

#[test]
fn a_bad_record_fails_its_batch_and_not_the_window_of_its_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    let line = |row: u64| match row {
        17 => "lonely\n".to_owned(),
        row => format!("{row},{}\n", "x".repeat((row % 7) as usize)),
    };
    fs::write(&path, (0..60).fold("n,text\n".to_owned(), |csv, row| csv + &line(row))).unwrap();
    let options = CsvOptions::new().column("n", CsvType::I64).column("text", CsvType::Text);
    let dataset = Dataset::options().csv(options).open(&path).unwrap();
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let loader = Loader::builder(&dataset).batch_size(5).shuffle(shuffle).bucket_by_length("text", 4);
        let (good, bad): (Vec<_>, Vec<_>) = loader.build().unwrap().partition(|batch| batch.is_ok());
        assert_eq!((good.len(), bad.len()), (11, 1), "{shuffle}");
        let error = bad.into_iter().next().unwrap().unwrap_err();
        assert_eq!(error.location().record, Some(17), "{error}");
    }
}
