//! Rows that are decoded from records come into a batch as those that are copied do, and beside them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::*;
use arrow::ipc::writer::FileWriter;
use common::example::{Feature, Record};
use common::small;
use forebay::format::{CsvOptions, CsvType, ExampleSpec, FeatureType};
use forebay::sampler::Order;
use forebay::{
    Col, DType, Dataset, Error, ErrorKind, Loader, LoaderState, OpenOptions, Remainder, Shuffle, col,
    tensor_field,
};
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

/// Formats whose rows are records.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parsed {
    Csv,
    Examples,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Packed {
    No,
    Gzip,
    Zstd,
    Zlib,
}

impl Parsed {
    fn options(self) -> OpenOptions {
        match self {
            Parsed::Csv => {
                let csv = CsvOptions::new().column("id", CsvType::I64).column("x", CsvType::F64);
                let csv = csv.column("ok", CsvType::Bool).column("name", CsvType::Text);
                Dataset::options().csv(csv.stack("pair", ["a", "b"]).column("pair", CsvType::F32))
            }
            Parsed::Examples => Dataset::options().examples(
                ExampleSpec::new()
                    .fixed_len("id", FeatureType::I64, [])
                    .nullable("x", FeatureType::F32, [])
                    .nullable("blob", FeatureType::Bytes, [])
                    .var_len("tags", FeatureType::I64)
                    .var_len("words", FeatureType::Bytes)
                    .fixed_len_or("pair", [2], vec![1.5f32, -1.0]),
            ),
        }
    }

    /// The columns that are opened.
    fn schema(self) -> SchemaRef {
        let item = Arc::new(Field::new("item", DataType::Int64, false));
        Arc::new(Schema::new(match self {
            Parsed::Csv => vec![
                Field::new("id", DataType::Int64, true),
                Field::new("x", DataType::Float64, true),
                tensor_field("pair", DType::F32, &[2], true),
                Field::new("ok", DataType::Boolean, true),
                Field::new("name", DataType::Utf8, true),
            ],
            Parsed::Examples => vec![
                Field::new("id", DataType::Int64, false),
                Field::new("x", DataType::Float32, true),
                Field::new("blob", DataType::Binary, true),
                Field::new("tags", DataType::List(item.clone()), false),
                Field::new("words", DataType::Binary, false),
                Field::new("words/lengths", DataType::List(item), false),
                tensor_field("pair", DType::F32, &[2], false),
            ],
        }))
    }

    /// `num_rows` rows, as a file says them and as they are.
    fn rows(self, num_rows: usize, dice: &mut StdRng) -> (Vec<u8>, RecordBatch) {
        match self {
            Parsed::Csv => csv(num_rows, dice),
            Parsed::Examples => examples(num_rows, dice),
        }
    }

    fn ending(self) -> &'static str {
        if self == Parsed::Csv { "csv" } else { "tfrecord" }
    }
}

fn pairs(values: Vec<f32>, nulls: Option<arrow::buffer::NullBuffer>) -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    Arc::new(FixedSizeListArray::new(item, 2, Arc::new(Float32Array::from(values)), nulls))
}

fn csv(num_rows: usize, dice: &mut StdRng) -> (Vec<u8>, RecordBatch) {
    const NAMES: [&str; 6] = ["a", "Ann, \"the\" one", "two\nlines", "çé", " padded ", "\"\""];
    let mut text = String::from("id,x,a,ok,b,name\n");
    let (mut ids, mut xs, mut oks, mut names) = (vec![], vec![], vec![], vec![]);
    let (mut values, mut valid) = (vec![], vec![]);
    for _ in 0..num_rows {
        let id = (!dice.random_bool(0.2)).then(|| dice.random::<i64>());
        let x = (!dice.random_bool(0.2)).then(|| f64::from_bits(dice.random())).filter(|x| !x.is_nan());
        let ok = (!dice.random_bool(0.2)).then(|| dice.random_bool(0.5));
        let name = (!dice.random_bool(0.2)).then(|| NAMES[dice.random_range(0..NAMES.len())]);
        let pair: [Option<f32>; 2] =
            std::array::from_fn(|_| (!dice.random_bool(0.2)).then(|| dice.random_range(-1e9..1e9)));
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let cells = [
            id.map_or(String::new(), |id| id.to_string()),
            x.map_or(String::new(), |x| format!("{x:?}")),
            pair[0].map_or(String::new(), |a| a.to_string()),
            ok.map_or(String::new(), |ok| ok.to_string()),
            pair[1].map_or(String::new(), |b| b.to_string()),
            name.map_or(String::new(), quoted),
        ];
        text += &(cells.join(",") + if dice.random_bool(0.3) { "\r\n" } else { "\n" });
        ids.push(id);
        xs.push(x);
        oks.push(ok);
        names.push(name);
        valid.push(pair[0].is_some() && pair[1].is_some());
        let pair = if valid[valid.len() - 1] { pair.map(Option::unwrap) } else { [0.0; 2] };
        values.extend(pair);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(Float64Array::from(xs)),
        pairs(values, Some(valid.into())),
        Arc::new(BooleanArray::from(oks)),
        Arc::new(StringArray::from(names)),
    ];
    (text.into_bytes(), RecordBatch::try_new(Parsed::Csv.schema(), columns).unwrap())
}

fn examples(num_rows: usize, dice: &mut StdRng) -> (Vec<u8>, RecordBatch) {
    let list =
        || ListBuilder::new(Int64Builder::new()).with_field(Field::new("item", DataType::Int64, false));
    let (mut tags, mut lengths) = (list(), list());
    let (mut ids, mut xs, mut blobs, mut words, mut values) = (vec![], vec![], vec![], vec![], vec![]);
    let mut file = Vec::new();
    for _ in 0..num_rows {
        let bytes =
            |dice: &mut StdRng| (0..dice.random_range(0..5)).map(|_| dice.random()).collect::<Vec<u8>>();
        let mut record = Record::default();
        let mut add = |name: &str, feature: Feature| drop(record.features.insert(name.to_owned(), feature));
        ids.push(dice.random::<i64>());
        add("id", Feature::Integers(vec![ids[ids.len() - 1]]));
        xs.push(dice.random_bool(0.7).then(|| dice.random::<f32>()));
        add("x", xs[xs.len() - 1].map_or(Feature::Unset, |x| Feature::Floats(vec![x])));
        blobs.push(dice.random_bool(0.7).then(|| bytes(dice)));
        add(
            "blob",
            blobs[blobs.len() - 1].clone().map_or(Feature::Bytes(vec![]), |blob| Feature::Bytes(vec![blob])),
        );
        let some: Vec<i64> = (0..dice.random_range(0..4)).map(|_| dice.random()).collect();
        tags.append_value(some.iter().copied().map(Some));
        add("tags", if some.is_empty() && dice.random() { Feature::Unset } else { Feature::Integers(some) });
        let some: Vec<_> = (0..dice.random_range(0..3)).map(|_| bytes(dice)).collect();
        lengths.append_value(some.iter().map(|word| Some(word.len() as i64)));
        words.push(some.concat());
        add("words", Feature::Bytes(some));
        let pair: [f32; 2] = if dice.random() { dice.random() } else { [1.5, -1.0] };
        add("pair", if pair == [1.5, -1.0] { Feature::Unset } else { Feature::Floats(pair.to_vec()) });
        values.extend(pair);
        // Keys come in any order, and others among them.
        add("other", Feature::Floats(vec![0.5]));
        let mut names: Vec<_> = record.features.keys().map(String::as_str).collect();
        names.shuffle(dice);
        file.extend(small::frame(&record.encode(names)));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(Float32Array::from(xs)),
        Arc::new(BinaryArray::from_iter(blobs)),
        Arc::new(tags.finish()),
        Arc::new(BinaryArray::from_iter_values(words)),
        Arc::new(lengths.finish()),
        pairs(values, None),
    ];
    (file, RecordBatch::try_new(Parsed::Examples.schema(), columns).unwrap())
}

fn packed(bytes: &[u8], how: Packed) -> Vec<u8> {
    match how {
        Packed::No => bytes.to_vec(),
        Packed::Gzip => small::gzip(bytes),
        Packed::Zstd => small::zstd(bytes),
        Packed::Zlib => small::zlib(bytes),
    }
}

/// A dataset of shards of some kind, and the rows it has.
struct Both {
    dataset: Dataset,
    truth: RecordBatch,
}

/// Writes `bytes` to a file that its name says the format of.
fn write(folder: &Path, name: String, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Shards of the format, and of Arrow files of equal columns, in any order; some without a row.
fn mixed(format: Parsed, folder: &Path, dice: &mut StdRng) -> Both {
    let (mut all, mut truths): (Option<Dataset>, _) = (None, vec![RecordBatch::new_empty(format.schema())]);
    for number in 0..dice.random_range(1..5) {
        let num_rows = if dice.random_bool(0.2) { 0 } else { dice.random_range(1..40) };
        let (file, rows) = format.rows(num_rows, dice);
        let how = [Packed::No, Packed::Gzip, Packed::Zstd][dice.random_range(0..3)];
        let dataset = if dice.random_bool(0.4) {
            let path = folder.join(format!("{number}.arrow"));
            let mut writer = FileWriter::try_new(fs::File::create(&path).unwrap(), &rows.schema()).unwrap();
            writer.write(&rows).unwrap();
            writer.finish().unwrap();
            Dataset::open(path).unwrap()
        } else {
            // Beyond a budget of nothing a compressed file is inflated again and again.
            let budget = if dice.random() { 0 } else { 1 << 20 };
            let path = write(folder, format!("{number}.{}", format.ending()), &packed(&file, how));
            let options = format.options().decode_budget_bytes(budget);
            let options = if num_rows == 0 && format == Parsed::Examples {
                options.format(forebay::format::FileFormat::TfRecord)
            } else {
                options
            };
            options.open(path).unwrap()
        };
        truths.push(rows);
        all = Some(match all {
            None => dataset,
            Some(all) => all.concat(&dataset).unwrap(),
        });
    }
    Both { dataset: all.unwrap(), truth: concat_batches(&format.schema(), &truths).unwrap() }
}

fn take(truth: &RecordBatch, rows: &[u64]) -> RecordBatch {
    take_record_batch(truth, &UInt64Array::from(rows.to_vec())).unwrap()
}

fn shuffled<T>(mut items: Vec<T>, dice: &mut StdRng) -> Vec<T> {
    items.shuffle(dice);
    items
}

/// The batches of a loader, each an Arrow table.
fn batches(loader: Loader) -> Vec<RecordBatch> {
    loader.map(|batch| batch.unwrap().record_batch().unwrap()).collect()
}

/// `batch` has the types and rows of `expected`.
fn same(batch: &RecordBatch, expected: &RecordBatch) {
    assert_eq!(batch.schema().fields(), expected.schema().fields());
    assert_eq!(batch.columns(), expected.columns());
}

impl Both {
    /// Some of the columns in any order, gathered and loaded in any way, are those of the truth.
    fn check(&self, dice: &mut StdRng) {
        let num_columns = self.truth.num_columns();
        let some = shuffled((0..num_columns).collect(), dice)[..dice.random_range(1..=num_columns)].to_vec();
        let truth = self.truth.project(&some).unwrap();
        let schema = self.truth.schema();
        let names: Vec<_> = some.iter().map(|&column| schema.field(column).name().as_str()).collect();
        let len = self.dataset.len();
        assert_eq!(len, truth.num_rows() as u64);
        let any: Vec<_> =
            (0..dice.random_range(0..50)).filter(|_| len > 0).map(|_| dice.random_range(0..len)).collect();
        let selected = self.dataset.select(names.iter().copied()).unwrap();
        same(&selected.gather(&any).unwrap(), &take(&truth, &any));

        let (seed, shuffle) = (dice.random(), [Shuffle::None, Shuffle::Exact][dice.random_range(0..2)]);
        let batch_size = dice.random_range(1..30);
        let remainder = [Remainder::Keep, Remainder::Drop, Remainder::Pad][dice.random_range(0..3)];
        let builder =
            Loader::builder(&self.dataset).columns(names).batch_size(batch_size).remainder(remainder);
        let builder = builder.threads(dice.random_range(0..4)).epochs(2).seed(seed).shuffle(shuffle);
        let loader = match builder.build() {
            Err(error) if shuffle == Shuffle::Exact && error.kind() == ErrorKind::TooLarge => {
                return assert!(error.message().contains("decode_budget_bytes"), "{error}");
            }
            built => built.unwrap(),
        };
        let order = Order::new(len, shuffle, seed);
        let mut seen = 0;
        for batch in loader {
            let batch = batch.unwrap();
            let start = batch.step() * batch_size as u64;
            let rows: Vec<_> = (start..start + batch.num_rows() as u64)
                .map(|position| order.epoch(batch.epoch()).get(position))
                .collect();
            same(&batch.record_batch().unwrap(), &take(&truth, &rows));
            seen += rows.len() as u64;
        }
        let dropped = if remainder == Remainder::Drop { len % batch_size as u64 } else { 0 };
        assert_eq!(seen, 2 * (len - dropped));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn shards_that_are_parsed_and_shards_that_are_mapped_mix(seed: u64) {
        let dice = &mut StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        for format in [Parsed::Csv, Parsed::Examples] {
            let both = mixed(format, folder.path(), dice);
            (0..3).for_each(|_| both.check(dice));
        }
    }

    #[test]
    fn parts_of_a_dataset_have_the_rows_they_are_said_to(seed: u64) {
        let dice = &mut StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let both = mixed(Parsed::Csv, folder.path(), dice);
        let len = both.dataset.len();
        let (n, fraction) = (dice.random_range(0..=len), dice.random_range(0.0..1.0));
        let rows = |of: std::ops::Range<u64>| take(&both.truth, &of.collect::<Vec<_>>());
        Both { dataset: both.dataset.take(n), truth: rows(0..n) }.check(dice);
        Both { dataset: both.dataset.skip(n), truth: rows(n..len) }.check(dice);
        let list: Vec<_> = (0..n).map(|_| dice.random_range(0..len)).collect();
        Both { dataset: both.dataset.subset(&list).unwrap(), truth: take(&both.truth, &list) }.check(dice);
        // Which rows a split puts where is told by a column of their numbers.
        let numbers = Dataset::from_tensor("row", &[], (0..len).collect()).unwrap();
        let (first, second) = both.dataset.zip(&numbers).unwrap().split(fraction, seed).unwrap();
        prop_assert_eq!(first.len() + second.len(), len);
        let mut all = Vec::new();
        for part in [first, second] {
            let table = common::gather_all(&part.select(["row"]).unwrap());
            let list = table.column(0).as_primitive::<UInt64Type>().values().to_vec();
            let names: Vec<_> = both.truth.schema().fields().iter().map(|field| field.name().clone()).collect();
            let part = part.select(names.iter().map(String::as_str)).unwrap();
            Both { dataset: part, truth: take(&both.truth, &list) }.check(dice);
            all.extend(list);
        }
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..len));
    }
}

/// Some rows of the format, in one file.
fn one(format: Parsed, num_rows: usize) -> (TempDir, PathBuf, Both) {
    let folder = tempfile::tempdir().unwrap();
    let (file, truth) = format.rows(num_rows, &mut StdRng::seed_from_u64(7));
    let path = write(folder.path(), format!("rows.{}", format.ending()), &file);
    let dataset = format.options().open(&path).unwrap();
    (folder, path, Both { dataset, truth })
}

#[test]
fn columns_come_in_the_order_they_are_asked_for() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, _, both) = one(format, 20);
        let schema = both.truth.schema();
        let rows: Vec<_> = (0..20).collect();
        let n = schema.fields().len();
        for (a, b, c) in (0..n * n * n).map(|i| (i % n, i / n % n, i / n / n)) {
            // One column, two and three, each combination of them in each order.
            let mut columns = vec![a, b, c];
            columns.dedup();
            if (1..columns.len()).any(|i| columns[..i].contains(&columns[i])) {
                continue;
            }
            let names: Vec<_> = columns.iter().map(|&column| schema.field(column).name().as_str()).collect();
            let expected = both.truth.project(&columns).unwrap();
            same(&both.dataset.select(names.iter().copied()).unwrap().gather(&rows).unwrap(), &expected);
            let loader =
                Loader::builder(&both.dataset).columns(names).batch_size(20).threads(0).build().unwrap();
            same(&batches(loader)[0], &expected);
        }
    }
}

#[test]
fn a_column_that_is_selected_twice_is_read_twice() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, _, both) = one(format, 20);
        for (at, field) in both.truth.schema().fields().iter().enumerate() {
            let name = field.name().as_str();
            let twice = both.dataset.select([name, name]).unwrap();
            let twice = twice.rename(name, "again").unwrap();
            let table = common::gather_all(&twice);
            assert_eq!(table.column(0), both.truth.column(at), "{name}");
            assert_eq!(table.column(1), both.truth.column(at), "{name}");
            let loader = Loader::builder(&twice).columns([col(name), col("again")]).batch_size(20).threads(0);
            let batch = &batches(loader.build().unwrap())[0];
            assert_eq!((batch.column(0), batch.column(1)), (both.truth.column(at), both.truth.column(at)));
        }
    }
}

/// A .npy file of `i64` 0, 1, 2 …
fn numbers(folder: &Path, num_rows: usize) -> Dataset {
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({num_rows},), }}");
    let payload: Vec<_> = (0..num_rows as i64).flat_map(i64::to_le_bytes).collect();
    let bytes = small::npy(&header, &payload);
    let path = write(folder, "numbers.npy".into(), &bytes);
    Dataset::options().column_name("row").open(path).unwrap()
}

#[test]
fn records_stand_beside_arrays_and_records_of_other_files() {
    let (folder, _, table) = one(Parsed::Csv, 50);
    let (_other, _, others) = one(Parsed::Examples, 50);
    let names = ["id", "x", "pair"];
    let others_of = names.iter().fold(others.dataset.clone(), |dataset, name| {
        dataset.rename(name, &format!("their {name}")).unwrap()
    });
    let all = table.dataset.zip(&numbers(folder.path(), 50)).unwrap().zip(&others_of).unwrap();
    for threads in [0, 2] {
        let loader = Loader::builder(&all).batch_size(8).shuffle(Shuffle::Exact).seed(3).threads(threads);
        let mut seen = 0;
        for batch in batches(loader.build().unwrap()) {
            let numbers = batch.column_by_name("row").unwrap().as_primitive::<Int64Type>();
            let rows: Vec<_> = numbers.values().iter().map(|&row| row as u64).collect();
            assert_eq!(batch.columns()[..5], *take(&table.truth, &rows).columns());
            assert_eq!(batch.columns()[6..], *take(&others.truth, &rows).columns());
            seen += rows.len();
        }
        assert_eq!(seen, 50);
    }
}

#[test]
fn casts_scales_and_fills_reach_rows_of_either_kind() {
    let dice = &mut StdRng::seed_from_u64(5);
    let folder = tempfile::tempdir().unwrap();
    let both = loop {
        let both = mixed(Parsed::Csv, folder.path(), dice);
        let kinds = both.dataset.shards().unwrap();
        let is =
            |how: &str| kinds.iter().any(|shard| shard.num_rows > 5 && shard.access[0].1.starts_with(how));
        if is("mapped") && is("parsed") {
            break both;
        }
    };
    let asked = [
        col("id").cast::<f32>().scale(0.5),
        col("x").cast::<f32>().scale(3.0).fill(-1.0),
        col("pair").cast::<f64>().fill(7.5),
        col("ok").cast::<i16>().fill(-3.0),
    ];
    let loader = Loader::builder(&both.dataset).columns(asked).batch_size(7).threads(2);
    let mut row = 0;
    let truth = |at: usize| both.truth.column(at);
    for batch in loader.build().unwrap() {
        let batch = batch.unwrap();
        let (ids, valid) = batch.tensor_with_validity::<f32>("id").unwrap();
        let (xs, none) = batch.tensor_with_validity::<f32>("x").unwrap();
        assert!(none.is_none(), "what is filled is never null");
        let (pairs, oks) = (batch.tensor::<f64>("pair").unwrap(), batch.tensor::<i16>("ok").unwrap());
        for i in 0..batch.num_rows() {
            let id = truth(0).as_primitive::<Int64Type>();
            assert_eq!(valid.unwrap()[i] == 1, id.is_valid(row), "row {row}");
            let expected = if id.is_valid(row) { id.value(row) as f32 * 0.5 } else { 0.0 };
            assert_eq!(ids.as_slice()[i].to_bits(), expected.to_bits(), "row {row}");
            let x = truth(1).as_primitive::<Float64Type>();
            let expected = if x.is_valid(row) { x.value(row) as f32 * 3.0 } else { -1.0 };
            assert_eq!(xs.as_slice()[i].to_bits(), expected.to_bits(), "row {row}");
            let pair = truth(2).as_fixed_size_list();
            let expected: Vec<f64> = match pair.is_valid(row) {
                true => {
                    pair.value(row).as_primitive::<Float32Type>().values().iter().map(|&x| x.into()).collect()
                }
                false => vec![7.5; 2],
            };
            assert_eq!(pairs.row(i), expected, "row {row}");
            let ok = truth(3).as_boolean();
            let expected = if ok.is_valid(row) { i16::from(ok.value(row)) } else { -3 };
            assert_eq!(oks.as_slice()[i], expected, "row {row}");
            row += 1;
        }
    }
    assert_eq!(row, both.truth.num_rows());
}

#[test]
fn a_null_that_is_not_filled_is_read_with_its_validity_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "x.csv".into(), b"x,y\n1,1\n,2\n3,\n");
    let dataset = Dataset::open(path).unwrap();
    let mut loader = Loader::builder(&dataset).batch_size(3).build().unwrap();
    let batch = loader.next().unwrap().unwrap();
    let error = batch.tensor::<i64>("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.message().contains("'x' is null in row 1"), "{error}");
    let (x, valid) = batch.tensor_with_validity::<i64>("x").unwrap();
    assert_eq!((x.as_slice(), valid), (&[1, 0, 3][..], Some(&[1, 0, 1][..])));
    assert_eq!(batch.tensor_with_validity::<i64>("y").unwrap().1, Some(&[1, 1, 0][..]));
}

#[test]
fn padding_is_masked_and_holds_nothing() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, _, both) = one(format, 23);
        let loader =
            Loader::builder(&both.dataset).batch_size(10).remainder(Remainder::Pad).epochs(2).threads(0);
        // What earlier batches left in the slot is not to be seen.
        let padded: Vec<_> =
            loader.build().unwrap().map(Result::unwrap).filter(|batch| batch.num_rows() < 10).collect();
        assert_eq!(padded.len(), 2);
        for batch in &padded {
            assert_eq!((batch.len(), batch.num_rows()), (10, 3));
            assert_eq!(batch.mask().unwrap(), [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
            same(&batch.record_batch().unwrap(), &both.truth.slice(20, 3));
            let (ids, valid) = batch.tensor_with_validity::<i64>("id").unwrap();
            assert_eq!(ids.as_slice()[3..], [0; 7]);
            assert!(valid.is_none_or(|valid| valid[3..] == [0; 7]));
            let (pairs, _) = batch.tensor_with_validity::<f32>("pair").unwrap();
            assert_eq!((pairs.shape(), &pairs.as_slice()[6..]), (&[10, 2][..], &[0.0; 14][..]));
            if format == Parsed::Examples {
                let tags = batch.ragged::<i64>("tags").unwrap();
                assert_eq!(tags.len(), 10);
                assert!((3..10).all(|row| tags.row(row).is_empty()));
                let blobs = batch.ragged::<u8>("blob").unwrap();
                assert!((3..10).all(|row| blobs.row(row).is_empty() && blobs.is_null(row)));
            } else {
                let names = batch.text("name").unwrap();
                assert!((3..10).all(|row| names.row(row).is_empty()));
            }
        }
    }
}

#[test]
fn lists_of_records_are_ragged() {
    let (_folder, _, both) = one(Parsed::Examples, 40);
    let mut loader = Loader::builder(&both.dataset).batch_size(40).build().unwrap();
    let batch = loader.next().unwrap().unwrap();
    let (tags, blobs) = (batch.ragged::<i64>("tags").unwrap(), batch.ragged::<u8>("blob").unwrap());
    let (expected, bytes) = (both.truth.column(3).as_list::<i32>(), both.truth.column(2).as_binary::<i32>());
    for row in 0..40 {
        assert_eq!(tags.row(row), expected.value(row).as_primitive::<Int64Type>().values());
        assert_eq!(blobs.is_null(row), bytes.is_null(row));
        assert_eq!(blobs.row(row), if bytes.is_null(row) { &[] } else { bytes.value(row) });
    }
    let empty = |len: usize| (0..40).any(|row| tags.row(row).len() == len);
    assert!(empty(0) && empty(3) && bytes.null_count() > 0);
}

#[test]
fn files_are_joined_by_the_names_of_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let a = write(folder.path(), "a.csv".into(), b"n,name,x\n1,one,0.5\n2,two,1.5\n");
    let b = write(folder.path(), "b.csv".into(), b"x,n,name\n2.5,3,three\n,4,\n");
    let [first, second] = [&a, &b].map(|path| Dataset::open(path).unwrap());
    let both = first.concat(&second).unwrap();
    for threads in [0, 3] {
        let builder = Loader::builder(&both).columns(["name", "n", "x"]).batch_size(4).threads(threads);
        let batch = &batches(builder.build().unwrap())[0];
        let expected: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("one"), Some("two"), Some("three"), None])),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
            Arc::new(Float64Array::from(vec![Some(0.5), Some(1.5), Some(2.5), None])),
        ];
        assert_eq!(batch.columns(), expected);
    }
    let reversed = second.concat(&first).unwrap();
    let (reversed, rows) = (reversed.gather(&[3, 0]).unwrap(), both.gather(&[1, 2]).unwrap());
    for name in ["n", "name", "x"] {
        assert_eq!(reversed.column_by_name(name), rows.column_by_name(name), "{name}");
    }
    let listed = Dataset::open([&a, &b]).unwrap();
    assert!(common::gather_all(&listed) == common::gather_all(&both));
    let matched = Dataset::open(folder.path().join("*.csv")).unwrap();
    assert!(common::gather_all(&matched) == common::gather_all(&both));
    write(folder.path(), "c.csv".into(), b"x,n,other\n2.5,3,three\n");
    let error = Dataset::open(folder.path().join("*.csv")).unwrap_err();
    let c = folder.path().join("c.csv");
    assert_eq!((error.kind(), error.location().path.as_deref()), (ErrorKind::Mismatch, Some(&*c)), "{error}");
}

#[test]
fn any_number_of_threads_gives_one_sequence() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, _, both) = one(format, 101);
        for shuffle in [Shuffle::None, Shuffle::Exact] {
            let sequence = |threads| {
                let builder =
                    Loader::builder(&both.dataset).batch_size(9).shuffle(shuffle).seed(11).epochs(3);
                batches(builder.threads(threads).depth(4).build().unwrap())
            };
            let alone = sequence(0);
            assert_eq!(alone.iter().map(RecordBatch::num_rows).sum::<usize>(), 303);
            assert!([1, 3].iter().all(|&threads| sequence(threads) == alone), "{format:?}, {shuffle}");
        }
    }
}

#[test]
fn a_loader_goes_on_where_it_was_left() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, path, both) = one(format, 50);
        let builder = |dataset: &Dataset| {
            Loader::builder(dataset).batch_size(8).shuffle(Shuffle::Exact).seed(2).epochs(2)
        };
        let whole = batches(builder(&both.dataset).threads(2).build().unwrap());
        for stop in [0, 1, 6, 7, 9, 14] {
            let mut loader = builder(&both.dataset).threads(3).build().unwrap();
            let before: Vec<_> =
                (0..stop).map(|_| loader.next().unwrap().unwrap().record_batch().unwrap()).collect();
            let state = LoaderState::from_json(&loader.state().to_json()).unwrap();
            drop(loader);
            let reopened = format.options().open(&path).unwrap();
            let after = batches(builder(&reopened).threads(1).resume(&state).build().unwrap());
            assert!([before, after].concat() == whole, "{format:?}, stopped after {stop}");
        }
    }
}

/// A file of 40 rows, the record of row 17 damaged; the byte the error is to name.
fn damaged(format: Parsed, folder: &Path) -> (PathBuf, u64) {
    match format {
        Parsed::Csv => {
            let row = |row: usize| if row == 17 { "17,oops\n".into() } else { format!("{row},{row}.5\n") };
            let text: String = (0..40).map(row).collect();
            let byte = 4 + (0..17).map(|number| row(number).len()).sum::<usize>() + 3;
            (write(folder, "x.csv".into(), format!("n,x\n{text}").as_bytes()), byte as u64)
        }
        Parsed::Examples => {
            let record = |n: i64| {
                let mut record = Record::default();
                record.features.insert("n".into(), Feature::Integers(vec![n]));
                record.features.insert("x".into(), Feature::Floats(vec![n as f32 + 0.5]));
                small::frame(&record.encode(["n", "x"]))
            };
            let mut frames: Vec<_> = (0..40).map(record).collect();
            let byte = frames[..17].iter().map(Vec::len).sum::<usize>();
            frames[17][20] ^= 1;
            (write(folder, "x.tfrecord".into(), &frames.concat()), byte as u64)
        }
    }
}

#[test]
fn a_bad_record_is_an_error_at_its_place_and_the_rest_is_whole() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let folder = tempfile::tempdir().unwrap();
        let (path, byte) = damaged(format, folder.path());
        let options = match format {
            Parsed::Csv => {
                Dataset::options().csv(CsvOptions::new().column("n", CsvType::I64).column("x", CsvType::F64))
            }
            Parsed::Examples => {
                let spec = ExampleSpec::new().fixed_len("n", FeatureType::I64, []);
                Dataset::options().examples(spec.fixed_len("x", FeatureType::F32, []))
            }
        };
        let dataset = options.open(&path).unwrap();
        let names_it = |error: &Error| {
            let place = error.location();
            assert_eq!((place.path.as_deref(), place.record), (Some(&*path), Some(17)), "{error}");
            let found = place.byte.unwrap();
            let frame = if format == Parsed::Csv { 1 } else { 100 };
            assert!((byte..byte + frame).contains(&found), "{error}: expected some byte from {byte} on");
        };
        names_it(&dataset.gather(&[3, 17]).unwrap_err());
        for (threads, shuffle) in
            [0, 1, 3].into_iter().flat_map(|n| [(n, Shuffle::None), (n, Shuffle::Exact)])
        {
            let builder = Loader::builder(&dataset).batch_size(4).shuffle(shuffle).seed(1).threads(threads);
            let order = Order::new(40, shuffle, 1);
            let mut failed = 0;
            for (step, batch) in builder.build().unwrap().enumerate() {
                let rows: Vec<_> =
                    (step as u64 * 4..step as u64 * 4 + 4).map(|at| order.epoch(0).get(at)).collect();
                match batch {
                    Ok(batch) => {
                        let expected: Vec<_> = rows.iter().map(|&row| row as i64).collect();
                        assert_eq!(batch.tensor_with_validity::<i64>("n").unwrap().0.as_slice(), expected);
                    }
                    Err(error) => {
                        assert!(rows.contains(&17), "{error}: at step {step} of rows {rows:?}");
                        names_it(&error);
                        failed += 1;
                    }
                }
            }
            assert_eq!(failed, 1);
        }
        // Nobody asked for the cell: nobody looks.
        if format == Parsed::Csv {
            assert_eq!(dataset.select(["n"]).unwrap().gather(&[17]).unwrap().num_rows(), 1);
        }
    }
}

#[test]
fn a_function_of_the_users_changes_what_was_parsed() {
    for format in [Parsed::Csv, Parsed::Examples] {
        let (_folder, _, both) = one(format, 30);
        let builder =
            Loader::builder(&both.dataset).columns([col("id").fill(5.0), col("pair")]).batch_size(7);
        let builder = builder.threads(2).map_batch(|batch| {
            batch.tensor_mut::<i64>("id")?.as_mut_slice().iter_mut().for_each(|id| *id = id.wrapping_mul(3));
            Ok(())
        });
        let found: Vec<_> = builder
            .build()
            .unwrap()
            .flat_map(|batch| batch.unwrap().tensor::<i64>("id").unwrap().as_slice().to_vec())
            .collect();
        let ids = both.truth.column(0).as_primitive::<Int64Type>();
        let expected = ids.iter().map(|id| id.unwrap_or(5).wrapping_mul(3));
        assert!(found.into_iter().eq(expected));
    }
}

#[test]
fn compressed_records_are_kept_within_the_budget_and_inflated_again_beyond_it() {
    let cases = [
        (Parsed::Csv, Packed::Gzip),
        (Parsed::Csv, Packed::Zstd),
        (Parsed::Examples, Packed::Gzip),
        (Parsed::Examples, Packed::Zlib),
        (Parsed::Examples, Packed::Zstd),
    ];
    for (format, how) in cases {
        let folder = tempfile::tempdir().unwrap();
        let dice = &mut StdRng::seed_from_u64(9);
        let (mut paths, mut truths, mut inflated) = (Vec::new(), Vec::new(), 0);
        for number in 0..3 {
            let (file, truth) = format.rows(200, dice);
            inflated = inflated.max(file.len() as u64);
            paths.push(write(folder.path(), format!("{number}.{}", format.ending()), &packed(&file, how)));
            truths.push(truth);
        }
        let truth = concat_batches(&format.schema(), &truths).unwrap();
        assert!(inflated > 8 << 10, "{inflated} bytes fit the smallest budget");
        // All of the files, some, one at a time, none.
        for budget in [1 << 20, 2 * inflated, inflated, 4 << 10] {
            let options = format.options().decode_budget_bytes(budget);
            let dataset = options.open(&*paths).unwrap();
            let fits = budget == 1 << 20;
            let ways: Vec<_> =
                dataset.shards().unwrap().iter().map(|shard| shard.access[0].1.clone()).collect();
            assert_eq!(ways.iter().all(|way| way.contains("kept in memory")), fits, "{ways:?}");
            let builder = |shuffle| Loader::builder(&dataset).batch_size(64).shuffle(shuffle).threads(2);
            let rows =
                concat_batches(&format.schema(), &batches(builder(Shuffle::None).build().unwrap())).unwrap();
            assert_eq!(rows.columns(), truth.columns(), "{format:?}, {how:?}, {budget}");
            match builder(Shuffle::Exact).build() {
                Ok(loader) => {
                    assert!(fits, "{budget}");
                    assert_eq!(batches(loader).iter().map(RecordBatch::num_rows).sum::<usize>(), 600);
                }
                Err(error) => {
                    assert!(!fits && error.kind() == ErrorKind::TooLarge, "{error}");
                    assert!(error.message().contains("forebay convert"), "{error}");
                }
            }
            let any = [599, 0, 200, 1, 400, 199, 599];
            same(&dataset.gather(&any).unwrap(), &take(&truth, &any));
        }
    }
}

#[test]
fn a_compressed_file_that_is_cut_is_refused_whatever_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    for how in [Packed::Gzip, Packed::Zstd] {
        let (file, _) = csv(300, &mut StdRng::seed_from_u64(1));
        let whole = packed(&file, how);
        let path = write(folder.path(), "cut.csv".into(), &whole[..whole.len() - 9]);
        for budget in [0, 1 << 30] {
            let error = Parsed::Csv.options().decode_budget_bytes(budget).open(&path).unwrap_err();
            assert_eq!(
                (error.kind(), error.location().path.as_deref()),
                (ErrorKind::Malformed, Some(&*path)),
                "{error}"
            );
        }
    }
}

/// A column is no other than the one asked for.
#[test]
fn what_is_asked_of_text_is_refused_by_name() {
    let (_folder, _, both) = one(Parsed::Csv, 5);
    let asked: [(Col, &str); 2] =
        [(col("name").fill(0.0), "'name' is text"), (col("nam"), "no column is called 'nam'")];
    for (column, words) in asked {
        let error = Loader::builder(&both.dataset).columns([column]).build().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
}
