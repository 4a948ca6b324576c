//! Tar archives, text, tokens, arrays and the folders of MosaicML and Hugging Face are read as those who wrote them meant.
//!
//! `$FOREBAY_TEST_DATA/expected.json` says what Python's tarfile, NumPy and the writers themselves know of each file of
//! that folder. Without the variable the tests of them are skipped and say so.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type, UInt8Type, UInt16Type};
use common::told::{Told, files_of};
use common::{
    converts_to_what_gather_gives, exact_sum, float, gather_all, hex, loads_what_gather_gives, rows_of,
    shape, test_data, to_json,
};
use forebay::format::TokenSpec;
use forebay::{DType, Dataset, ErrorKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Loads and converts as it gathers.
fn check(path: &str, dataset: &Dataset) {
    loads_what_gather_gives(path, dataset);
    converts_to_what_gather_gives(path, dataset);
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<T::Native> {
    assert_eq!(array.null_count(), 0);
    array.as_primitive::<T>().values().to_vec()
}

#[test]
fn archives_hold_their_members() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "tar") {
        let told = Told::new(path, entry);
        told.pass_over(&["format", "compression"]);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        assert_eq!(dataset.len(), told.number("samples"), "{path}");
        let table = gather_all(&dataset);
        let keys = table.column_by_name("__key__").unwrap().as_string::<i64>();
        let counts: Value = table.schema().fields()[1..]
            .iter()
            .zip(&table.columns()[1..])
            .map(|(field, array)| (field.name().clone(), json!(array.len() - array.null_count())))
            .collect();
        assert_eq!(counts, *told.get("extensions"), "{path}");
        check_members(&told, &table, keys);
        let first = Told::new(format!("{path}, first sample"), told.get("first_sample"));
        assert_eq!(keys.value(0), first.text("key"));
        for (extension, part) in first.parts("parts") {
            let bytes = table.column_by_name(extension).unwrap().as_binary::<i32>().value(0);
            assert_eq!(json!(bytes.len()), *part.get("bytes"), "{}", part.of());
            assert_eq!(sha256(bytes), part.text("sha256"), "{}", part.of());
        }
        assert_eq!(keys.value(keys.len() - 1), told.text("last_key"), "{path}");
        check(path, &dataset);
    }
}

/// All files of the archive, in its order.
fn check_members(told: &Told<'_>, table: &RecordBatch, keys: &arrow::array::LargeStringArray) {
    let (mut members, mut files) = (Vec::new(), 0);
    for row in 0..table.num_rows() {
        for (field, array) in table.schema().fields()[1..].iter().zip(&table.columns()[1..]) {
            if array.is_null(row) {
                continue;
            }
            let name = format!("{}.{}", keys.value(row), field.name());
            let content = array.as_binary::<i32>().value(row);
            members.extend((name.len() as u32).to_le_bytes());
            members.extend(name.bytes());
            members.extend((content.len() as u64).to_le_bytes());
            members.extend(content);
            files += 1;
        }
    }
    assert_eq!(files, told.number("files"), "{}", told.of());
    assert_eq!(sha256(&members), told.text("members_sha256"), "{}", told.of());
}

#[test]
fn text_is_read_line_by_line() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "text") {
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        assert_eq!(dataset.len(), told.number("lines"), "{path}");
        let table = gather_all(&dataset);
        let lines: Vec<_> = table.column(0).as_string::<i32>().iter().map(|line| line.unwrap()).collect();
        assert_eq!(lines[0], told.text("first_line"), "{path}");
        let file = fs::read_to_string(folder.join(path)).unwrap();
        assert_eq!(file.ends_with('\n'), *told.get("ends_with_newline"), "{path}");
        let joined = lines.join("\n") + "\n";
        assert!(joined == file, "{path}: the lines are not those of the file");
        assert_eq!(joined.chars().count() as u64, told.number("chars"), "{path}");
        let distinct: BTreeSet<_> = joined.chars().collect();
        assert_eq!(distinct.len() as u64, told.number("distinct_chars"), "{path}");
        assert_eq!(joined.is_ascii(), *told.get("ascii"), "{path}");
        check(path, &dataset);
    }
}

#[test]
fn tokens_are_cut_into_windows() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "nanogpt_bin") {
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        let num_tokens = told.number("tokens");
        let dtype: DType = told.text("dtype").parse().unwrap();
        let open = |spec: TokenSpec| Dataset::options().tokens(spec).open(folder.join(path)).unwrap();
        let whole = open(TokenSpec::new(dtype, num_tokens));
        assert_eq!(shape(&whole, "tokens"), ("u16".to_owned(), vec![1, num_tokens]), "{path}");
        let tokens: Vec<_> = values::<UInt16Type>(gather_all(&whole).column(0).as_fixed_size_list().values());
        assert_eq!(json!(tokens[..16]), *told.get("first16"), "{path}");
        assert_eq!(tokens.iter().map(|&token| u64::from(token)).sum::<u64>(), told.number("sum"), "{path}");
        assert_eq!(json!(tokens.iter().max()), *told.get("max"), "{path}");
        // Its vocabulary is the characters of the text it was made of, in order.
        let text = fs::read_to_string(folder.join("text/tinyshakespeare.txt")).unwrap();
        let characters: BTreeSet<_> = text.chars().collect();
        let characters: Vec<_> = characters.into_iter().collect();
        let decoded: String = tokens[..40].iter().map(|&token| characters[token as usize]).collect();
        assert_eq!(decoded, told.text("decoded_first_40"), "{path}");
        // Windows that touch, and windows that share a token with the next, as a model of the next token wants them.
        for spec in [TokenSpec::new(dtype, 60), TokenSpec::new(dtype, 65).stride(64)] {
            let seq_len = spec.seq_len as usize;
            let stride = if spec.stride == 0 { seq_len } else { spec.stride as usize };
            let dataset = open(spec.clone());
            let table = gather_all(&dataset);
            let windows = table.column(0).as_fixed_size_list();
            let expected = tokens.windows(seq_len).step_by(stride);
            assert_eq!(windows.len(), expected.len(), "{path}, {spec}");
            for (row, window) in expected.enumerate() {
                assert_eq!(values::<UInt16Type>(&windows.value(row)), window, "{path}, {spec}, row {row}");
            }
            check(path, &dataset);
        }
    }
}

#[test]
fn indexed_tokens_open_by_the_name_of_either_file_or_of_both() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "megatron_mmap_idx") {
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        check_token_index(&told, &fs::read(folder.join(format!("{path}.idx"))).unwrap());
        let names = ["", ".idx", ".bin"].map(|end| folder.join(format!("{path}{end}")));
        let [dataset, by_index, by_tokens] = names.map(|name| Dataset::open(name).unwrap());
        assert_eq!(dataset.len(), told.number("sequences"), "{path}");
        let table = gather_all(&dataset);
        let documents = table.column(0).as_list::<i32>();
        for other in [by_index, by_tokens] {
            assert_eq!(other.fingerprint(), dataset.fingerprint(), "{path}");
            assert!(gather_all(&other) == table, "{path}");
        }
        let sizes: Vec<_> = (0..documents.len()).map(|row| documents.value_length(row)).collect();
        assert_eq!(json!(sizes[..8]), *told.get("sizes_first8"), "{path}");
        assert_eq!(json!([sizes.iter().min(), sizes.iter().max()]), *told.get("sizes_min_max"), "{path}");
        let starts: Vec<_> = documents.value_offsets()[..4].iter().map(|start| start * 2).collect();
        assert_eq!(json!(starts), *told.get("pointers_first4"), "{path}");
        let tokens = values::<UInt16Type>(documents.values());
        assert_eq!(told.text("dtype"), "u16");
        assert_eq!(tokens.len() as u64, told.number("tokens"), "{path}");
        assert_eq!(json!(tokens[..16]), *told.get("tokens_first16"), "{path}");
        let sum: u64 = tokens.iter().map(|&token| u64::from(token)).sum();
        assert_eq!(sum, told.number("token_sum"), "{path}");
        assert_eq!(json!(tokens.iter().max()), *told.get("token_max"), "{path}");
        check(path, &dataset);
        let windows = Dataset::options().windows(1025, 1024).open(folder.join(path)).unwrap();
        let expected = tokens.windows(1025).step_by(1024);
        let table = gather_all(&windows);
        let found = table.column(0).as_fixed_size_list();
        assert_eq!(found.len(), expected.len(), "{path}");
        for (row, window) in expected.enumerate() {
            assert_eq!(values::<UInt16Type>(&found.value(row)), window, "{path}, row {row}");
        }
        check(path, &windows);
    }
}

/// What is told of the index file alone: `MMIDIDX\0\0`, version: u64, type: u8, sequences: u64, documents: u64; then
/// sizes: u32, pointers: u64 and documents: u64.
fn check_token_index(told: &Told<'_>, index: &[u8]) {
    let word = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap());
    assert_eq!(word(9), told.number("version"));
    assert_eq!(json!(index[17]), *told.get("dtype_code"));
    let (sequences, documents) = (word(18) as usize, word(26) as usize);
    assert_eq!(documents as u64, told.number("doc_idx_entries"));
    let at = 34 + sequences * 12;
    assert_eq!(json!([word(at), word(at + 8), word(at + 16), word(at + 24)]), *told.get("doc_idx_first4"));
    assert_eq!((index.len() - at - documents * 8) as u64, told.number("idx_trailing_bytes"));
}

#[test]
fn archives_of_arrays_become_columns() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "npz") {
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        let table = gather_all(&dataset);
        let names: Vec<_> = dataset.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert!(names.iter().eq(told.get("arrays").as_object().unwrap().keys()), "{path}: {names:?}");
        for (name, array) in told.parts("arrays") {
            check_array(&array, shape(&dataset, name), table.column_by_name(name).unwrap());
        }
        check(path, &dataset);
    }
}

#[test]
fn arrays_become_a_column() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in files_of(&expected, "npy") {
        if let Some(reason) = entry["expect"].as_str() {
            let error = Dataset::open(folder.join(path)).expect_err(reason);
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.location().path.as_ref().is_some_and(|at| at.ends_with(path)), "{error}");
            continue;
        }
        let told = Told::new(path, entry);
        told.pass_over(&["format"]);
        let file = fs::read(folder.join(path)).unwrap();
        assert_eq!(json!([file[6], file[7]]), *told.get("version"), "{path}");
        assert!(String::from_utf8_lossy(&file).contains(told.text("header")), "{path}");
        let dataset = Dataset::options().column_name("x").open(folder.join(path)).unwrap();
        check_array(&told, shape(&dataset, "x"), gather_all(&dataset).column(0));
        check(path, &dataset);
        read += 1;
    }
    assert_eq!(read, 4);
}

fn check_array(told: &Told<'_>, (dtype, shape): (String, Vec<u64>), array: &ArrayRef) {
    let of = told.of();
    let expected = match told.text("dtype") {
        "<f8" => "f64",
        "<i8" => "i64",
        other => panic!("{of} is of type {other}"),
    };
    assert_eq!((&*dtype, json!(shape)), (expected, told.get("shape").clone()), "{of}");
    told.pass_over(&["fortran_order"]);
    let bytes: Vec<u8> = rows_of(array).into_iter().flatten().flatten().collect();
    assert_eq!(sha256(&bytes), told.text("c_order_le_sha256"), "{of}");
    let words = bytes.as_chunks::<8>().0;
    let numbers: Vec<f64> = match dtype.as_str() {
        "i64" => words.iter().map(|word| i64::from_le_bytes(*word) as f64).collect(),
        _ => words.iter().map(|word| float(word)).collect(),
    };
    for (number, first) in numbers.iter().zip(told.list("first")) {
        assert_eq!(Some(*number), first.as_f64(), "{of}");
    }
    // NumPy sums in pairs.
    let sum = exact_sum(numbers.iter().copied());
    let magnitude: f64 = numbers.iter().map(|number| number.abs()).sum();
    assert!((sum - told.get("sum").as_f64().unwrap()).abs() <= 1e-14 * magnitude, "{of}: {sum}");
}

#[test]
fn folders_of_mosaicml_hold_what_was_written() {
    let Some((folder, expected)) = test_data() else { return };
    let mut read = 0;
    for (path, entry) in files_of(&expected, "mds") {
        let told = Told::new(path, entry);
        told.pass_over(&["format", "compression", "written_by"]);
        let dataset = Dataset::open(folder.join(path)).unwrap();
        assert_eq!(dataset.len(), told.number("samples"), "{path}");
        let shards = dataset.shards().unwrap();
        assert_eq!(shards.len() as u64, told.number("shards"), "{path}");
        let rows: Vec<_> = shards.iter().map(|shard| shard.num_rows).collect();
        assert_eq!(json!(rows), *told.get("samples_per_shard"), "{path}");
        for (name, encoding) in told.get("columns").as_object().unwrap() {
            let kind = match encoding.as_str().unwrap() {
                "uint8" => "u8",
                "float32" => "f32",
                "float64" => "f64",
                "int" => "i64",
                "str" | "json" => "text",
                "ndarray:uint8:28,28" => "u8[28, 28]",
                other => panic!("{path}: {other}"),
            };
            assert_eq!(dataset.column_kind(name).unwrap().to_string(), kind, "{path}, {name}");
        }
        let table = gather_all(&dataset);
        match told.text("from_data") {
            "csv/iris.csv" => check_iris(&told, &table, &folder),
            "MNIST training items 0-299" => check_digits(&told, &table, &folder),
            other => panic!("{path} is made of {other}"),
        }
        check(path, &dataset);
        read += 1;
    }
    assert_eq!(read, 2);
}

fn check_iris(told: &Told<'_>, table: &RecordBatch, folder: &Path) {
    for (key, row) in [("first", 0), ("last", table.num_rows() - 1)] {
        for (name, value) in told.get(key).as_object().unwrap() {
            let found = to_json(table.column_by_name(name).unwrap(), row);
            // What was written as an f32 is told as it was before.
            let found =
                found.as_f64().filter(|_| name.starts_with("petal")).map_or(found, |x| json!(rounded(x)));
            assert_eq!(found, *value, "{key}: {name}");
        }
    }
    let labels = values::<UInt8Type>(table.column_by_name("label").unwrap());
    let counts: Vec<_> = (0..3).map(|label| labels.iter().filter(|&&found| found == label).count()).collect();
    assert_eq!(json!(counts), *told.get("label_counts"));
    let source = gather_all(&Dataset::open(folder.join("csv/iris.csv")).unwrap());
    let f64s = |table: &RecordBatch, name: &str| values::<Float64Type>(table.column_by_name(name).unwrap());
    for (name, of_source) in [("sepal_length", "150"), ("sepal_width", "4")] {
        assert_eq!(f64s(table, name), f64s(&source, of_source), "{name}");
    }
    for (name, of_source) in [("petal_length", "setosa"), ("petal_width", "versicolor")] {
        let written: Vec<_> = f64s(&source, of_source).iter().map(|&x| x as f32).collect();
        assert_eq!(values::<Float32Type>(table.column_by_name(name).unwrap()), written, "{name}");
    }
    let written = values::<Int64Type>(source.column_by_name("virginica").unwrap());
    assert!(labels.iter().map(|&label| i64::from(label)).eq(written));
    let species = table.column_by_name("species").unwrap().as_string::<i32>();
    let names = ["setosa", "versicolor", "virginica"];
    assert!(labels.iter().zip(species).all(|(&label, name)| name == Some(names[usize::from(label)])));
}

/// To the digits that an `f32` keeps.
fn rounded(x: f64) -> f64 {
    format!("{}", x as f32).parse().unwrap()
}

fn check_digits(told: &Told<'_>, table: &RecordBatch, folder: &Path) {
    let images = rows_of(table.column_by_name("image").unwrap());
    let labels = values::<Int64Type>(table.column_by_name("label").unwrap());
    assert_eq!(json!(labels[..16]), *told.get("labels_first16"));
    for (key, row) in [("image0_sha256", 0), ("image299_sha256", 299)] {
        assert_eq!(sha256(images[row].as_ref().unwrap()), told.text(key), "{key}");
    }
    let rows: Vec<_> = (0..table.num_rows() as u64).collect();
    let source = |name: &str| {
        let dataset = Dataset::open(folder.join("idx").join(name)).unwrap();
        dataset.gather(&rows).unwrap().column(0).clone()
    };
    assert!(images == rows_of(&source("mnist-train-images-idx3-ubyte.gz")));
    let written = values::<UInt8Type>(&source("mnist-train-labels-idx1-ubyte.gz"));
    assert!(labels.iter().copied().eq(written.iter().map(|&label| i64::from(label))));
    let keys = table.column_by_name("key").unwrap().as_string::<i32>();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    let metas = table.column_by_name("meta").unwrap().as_string::<i32>();
    let metas: Vec<Value> = metas.iter().map(|meta| serde_json::from_str(meta.unwrap()).unwrap()).collect();
    assert_eq!(metas[0], *told.get("meta0"));
    for (row, (meta, image)) in metas.iter().zip(&images).enumerate() {
        let sum = common::sum_of_bytes(image.as_ref().unwrap());
        assert_eq!(*meta, json!({"i": row, "sum": sum}), "row {row}");
    }
}

#[test]
fn folders_of_the_datasets_library_open_a_split_at_a_time() {
    let Some((folder, expected)) = test_data() else { return };
    for (path, entry) in files_of(&expected, "hf_save_to_disk_dict") {
        let told = Told::new(path, entry);
        told.pass_over(&["format", "written_by"]);
        let dict = folder.join(path);
        let error = Dataset::open(&dict).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.location().path.is_some(), "{error}");
        let splits = told.get("splits").as_object().unwrap();
        let mut start = 0;
        assert_eq!(told.text("from_data"), "csv/housing.csv rows 0-4999");
        let source = Dataset::open(folder.join("csv/housing.csv")).unwrap();
        // As they were written: the first rows are those of the training split.
        for split in ["train", "test"] {
            let rows = splits[split].as_u64().unwrap();
            assert!(error.message().contains(split), "{error}");
            let dataset = Dataset::open(dict.join(split)).unwrap();
            assert_eq!(dataset.len(), rows, "{split}");
            let classes = dataset.class_names("ocean_proximity").unwrap();
            assert_eq!(json!(classes), *told.get("class_names"), "{split}");
            assert_eq!(json!(dataset.shards().unwrap().len()), told.get("shards")[split], "{split}");
            let table = gather_all(&dataset);
            for (field, array) in table.schema().fields().iter().zip(table.columns()) {
                let nulls = &told.get("nulls")[split][field.name()];
                assert_eq!(
                    array.null_count() as u64,
                    nulls.as_u64().unwrap_or(0),
                    "{split}, {}",
                    field.name()
                );
            }
            let written = source.skip(start).take(rows);
            check_housing(&told, &table, &gather_all(&written));
            start += rows;
            check(split, &dataset);
        }
        assert_eq!(splits.len(), 2);
        let train = gather_all(&Dataset::open(dict.join("train")).unwrap());
        for (name, value) in told.get("train_first").as_object().unwrap() {
            assert_eq!(to_json(train.column_by_name(name).unwrap(), 0), *value, "{name}");
        }
        let prices = rows_of(train.column_by_name("median_house_value").unwrap());
        let sum = exact_sum(prices.iter().flatten().map(|price| float(price)));
        assert_eq!(Some(sum), told.get("train_median_house_value_sum").as_f64());
    }
}

/// The rows of `table` are those of `source`, numbers as `f32` and names as the numbers of their class.
fn check_housing(told: &Told<'_>, table: &RecordBatch, source: &RecordBatch) {
    let classes: Vec<_> = told.list("class_names").iter().map(|name| name.as_str().unwrap()).collect();
    for (field, written) in source.schema().fields().iter().zip(source.columns()) {
        let found = table.column_by_name(field.name()).unwrap();
        if let Some(names) = written.as_string_opt::<i32>() {
            let numbers = values::<Int64Type>(found);
            assert!(numbers.iter().map(|&number| Some(classes[number as usize])).eq(names.iter()));
        } else {
            let numbers = written.as_primitive::<Float64Type>().iter().map(|x| x.map(|x| x as f32));
            assert!(found.as_primitive::<Float32Type>().iter().eq(numbers), "{}", field.name());
        }
    }
}
