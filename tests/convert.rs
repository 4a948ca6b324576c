//! A conversion leaves a whole dataset or none, and what it writes any Arrow reader opens with identical values.

#[path = "common/python.rs"]
mod python;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use forebay::convert::{ConvertOptions, convert, verify};
use forebay::{DType, Dataset, ErrorKind, tensor_field};
use python::oracle;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Every kind of column, some values null, in several record batches.
fn table() -> Dataset {
    let fields = vec![
        tensor_field("image", DType::U8, &[2, 3], false),
        tensor_field("vector", DType::F32, &[4], false),
        Field::new("label", DataType::Int64, false),
        Field::new("age", DataType::Float64, true),
        Field::new("ok", DataType::Boolean, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("blob", DataType::LargeBinary, false),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Int32, false))), false),
        Field::new("when", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("point", DataType::Struct(vec![Field::new("x", DataType::Int8, true)].into()), false),
    ];
    let schema = Arc::new(Schema::new(fields));
    let mut dice = StdRng::seed_from_u64(1);
    let batches: Vec<_> =
        [17usize, 1, 0, 40].into_iter().map(|rows| batch(&schema, rows, &mut dice)).collect();
    Dataset::from_batches(batches).unwrap()
}

fn batch(schema: &Arc<Schema>, rows: usize, dice: &mut StdRng) -> RecordBatch {
    let image = UInt8Array::from_iter_values((0..rows * 6).map(|_| dice.random()));
    let vector = Float32Array::from_iter_values((0..rows * 4).map(|_| dice.random()));
    let item = |field: usize| match schema.field(field).data_type() {
        DataType::FixedSizeList(item, _) => item.clone(),
        other => panic!("{other}"),
    };
    let mut tags =
        ListBuilder::new(Int32Builder::new()).with_field(Field::new("item", DataType::Int32, false));
    for _ in 0..rows {
        let len = dice.random_range(0..4);
        tags.append_value((0..len).map(|i| Some(i * 7)));
    }
    let x = Int8Array::from_iter((0..rows).map(|_| dice.random_bool(0.5).then(|| dice.random())));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeListArray::new(item(0), 6, Arc::new(image), None)),
        Arc::new(FixedSizeListArray::new(item(1), 4, Arc::new(vector), None)),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| dice.random()))),
        Arc::new(Float64Array::from_iter((0..rows).map(|_| dice.random_bool(0.7).then(|| dice.random())))),
        Arc::new(BooleanArray::from_iter((0..rows).map(|_| Some(dice.random_bool(0.5))))),
        Arc::new(StringArray::from_iter(
            (0..rows).map(|i| dice.random_bool(0.8).then(|| "é".repeat(i % 5) + "x")),
        )),
        Arc::new(LargeBinaryArray::from_iter_values(
            (0..rows).map(|i| (0..i % 9).map(|_| dice.random()).collect::<Vec<u8>>()),
        )),
        Arc::new(tags.finish()),
        Arc::new(TimestampMillisecondArray::from_iter_values((0..rows).map(|_| dice.random()))),
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Int8, true)),
            Arc::new(x) as ArrayRef,
        )])),
    ];
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn all_rows(dataset: &Dataset) -> RecordBatch {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn what_is_converted_reads_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let table = table();
    let out = folder.path().join("out");
    let converted = convert(&table, &out, &ConvertOptions::new().shard_bytes(700), |_| {}).unwrap();
    assert_eq!(converted.rows, 58);
    assert!(converted.shards > 3, "found {} shards", converted.shards);
    let read = Dataset::open(&out).unwrap();
    assert_eq!(read.schema(), table.schema());
    assert_eq!(all_rows(&read), all_rows(&table));
    assert!(verify(&out, |_| {}).unwrap().is_empty());
    // Opened as loose files, and converted once more, it is the same again.
    let loose = Dataset::open(out.join("*.arrow").to_str().unwrap()).unwrap();
    assert_eq!(all_rows(&loose), all_rows(&table));
}

#[test]
fn an_empty_dataset_keeps_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    convert(&table().take(0), &out, &ConvertOptions::new(), |_| {}).unwrap();
    let read = Dataset::open(&out).unwrap();
    assert_eq!((read.len(), read.schema()), (0, table().schema()));
}

#[test]
fn pyarrow_reads_identical_values_shapes_and_types() {
    let Some(python) = oracle() else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let table = table();
    convert(&table, &out, &ConvertOptions::new().shard_bytes(700), |_| {}).unwrap();
    let script = r#"
import glob, sys
import pyarrow as pa
tables = [pa.ipc.open_file(f).read_all() for f in sorted(glob.glob(sys.argv[1] + "/*.arrow"))]
table = pa.concat_tables(tables)
table.validate(full=True)
print({f.name: str(f.type) for f in table.schema})
image = table["image"].combine_chunks()
print(image.type.shape, image.to_numpy_ndarray().shape, int(image.to_numpy_ndarray().astype("int64").sum()))
print(table["vector"].type.shape)
for name in ["label", "age", "ok", "name", "tags", "when"]:
    column = table[name].cast(pa.int64()) if name == "when" else table[name]
    print(name, column.to_pylist())
print("blob", [b.hex() for b in table["blob"].to_pylist()])
print("point", [p["x"] for p in table["point"].to_pylist()])
for f in glob.glob(sys.argv[1] + "/*.arrow"):
    mapped = pa.memory_map(f)
    batch = pa.ipc.open_file(mapped).get_batch(0)
    for column in batch.columns:
        for buffer in column.buffers():
            assert buffer is None or buffer.size == 0 or buffer.address % 64 == mapped.read_buffer(0).address % 64, column.type
"#;
    let done = Command::new(python).args(["-c", script]).arg(&out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let mut lines = said.lines();

    let rows = all_rows(&table);
    let types = lines.next().unwrap();
    for expected in [
        "'image': 'extension<arrow.fixed_shape_tensor[value_type=uint8, shape=[2,3]",
        "'vector': 'extension<arrow.fixed_shape_tensor[value_type=float, shape=[4]",
        "'label': 'int64'",
        "'age': 'double'",
        "'ok': 'bool'",
        "'name': 'string'",
        "'blob': 'large_binary'",
        "'tags': 'list<item: int32 not null>'",
        "'when': 'timestamp[ms]'",
        "'point': 'struct<x: int8>'",
    ] {
        assert!(types.contains(expected), "expected {expected} in {types}");
    }
    let sum: i64 = rows["image"]
        .as_fixed_size_list()
        .values()
        .as_primitive::<UInt8Type>()
        .values()
        .iter()
        .map(|&v| i64::from(v))
        .sum();
    assert_eq!(lines.next().unwrap(), format!("[2, 3] (58, 2, 3) {sum}"));
    assert_eq!(lines.next().unwrap(), "[4]");
    let python_list = |values: Vec<String>| format!("[{}]", values.join(", "));
    let none = || "None".to_owned();
    let label = rows["label"].as_primitive::<Int64Type>().values().iter().map(i64::to_string).collect();
    assert_eq!(lines.next().unwrap(), format!("label {}", python_list(label)));
    let age = rows["age"].as_primitive::<Float64Type>();
    let theirs = lines.next().unwrap().trim_start_matches("age [").trim_end_matches(']').split(", ");
    let theirs: Vec<Option<f64>> = theirs.map(|v| v.parse().ok()).collect();
    assert_eq!(age.iter().collect::<Vec<_>>(), theirs);
    let ok = rows["ok"]
        .as_boolean()
        .iter()
        .map(|v| if v.unwrap() { "True".into() } else { "False".into() })
        .collect();
    assert_eq!(lines.next().unwrap(), format!("ok {}", python_list(ok)));
    let name =
        rows["name"].as_string::<i32>().iter().map(|v| v.map_or_else(none, |v| format!("'{v}'"))).collect();
    assert_eq!(lines.next().unwrap(), format!("name {}", python_list(name)));
    let tags = rows["tags"].as_list::<i32>();
    let tags = (0..58).map(|i| {
        python_list(tags.value(i).as_primitive::<Int32Type>().values().iter().map(i32::to_string).collect())
    });
    assert_eq!(lines.next().unwrap(), format!("tags {}", python_list(tags.collect())));
    let when =
        rows["when"].as_primitive::<TimestampMillisecondType>().values().iter().map(i64::to_string).collect();
    assert_eq!(lines.next().unwrap(), format!("when {}", python_list(when)));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let blob = rows["blob"].as_binary::<i64>().iter().map(|v| format!("'{}'", hex(v.unwrap()))).collect();
    assert_eq!(lines.next().unwrap(), format!("blob {}", python_list(blob)));
    let x = rows["point"].as_struct().column(0).as_primitive::<Int8Type>();
    let x = x.iter().map(|v| v.map_or_else(none, |v| v.to_string())).collect();
    assert_eq!(lines.next().unwrap(), format!("point {}", python_list(x)));
}

#[test]
fn only_one_conversion_writes_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = Dataset::from_tensor("x", &[], (0..1i64 << 16).collect()).unwrap();
    let out = folder.path().join("out");
    let mut refused = None;
    convert(&numbers, &out, &ConvertOptions::new(), |_| {
        refused = Some(convert(&numbers, &out, &ConvertOptions::new(), |_| {}).unwrap_err());
    })
    .unwrap();
    assert!(refused.unwrap().message().contains("another conversion"));
    // Done, it is found done; another source is refused, and so are the files of a stranger.
    assert_eq!(convert(&numbers, &out, &ConvertOptions::new(), |_| {}).unwrap().shards_found, 1);
    let error = convert(&numbers.take(5), &out, &ConvertOptions::new(), |_| {}).unwrap_err();
    assert!(error.message().contains("another dataset"), "{error}");
    let stranger = folder.path().join("stranger");
    fs::create_dir(&stranger).unwrap();
    fs::write(stranger.join("thesis.tex"), "x").unwrap();
    let error = convert(&numbers, &stranger, &ConvertOptions::new(), |_| {}).unwrap_err();
    assert!(error.message().contains("'thesis.tex'"), "{error}");
}

#[test]
fn verify_finds_every_flipped_byte_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    convert(&table(), &out, &ConvertOptions::new(), |_| {}).unwrap();
    let shard = out.join("shard-00000-of-00001.arrow");
    let whole = fs::read(&shard).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap();
    let batch = &manifest["shards"][0]["batches"][0];
    let (offset, bytes) =
        (batch["offset"].as_u64().unwrap() as usize, batch["bytes"].as_u64().unwrap() as usize);
    fs::remove_file(&shard).unwrap();
    let mut dice = StdRng::seed_from_u64(3);
    for _ in 0..50 {
        let mut damaged = whole.clone();
        let at = dice.random_range(offset..offset + bytes);
        damaged[at] ^= 1 << dice.random_range(0..8);
        fs::write(&shard, damaged).unwrap();
        let damages = verify(&out, |_| {}).unwrap();
        assert_eq!(damages.len(), 1, "byte {at}");
        assert_eq!(damages[0].kind(), ErrorKind::Mismatch);
        assert_eq!(damages[0].location().path.as_deref(), Some(shard.as_path()));
        assert_eq!(
            (damages[0].location().record, damages[0].location().byte),
            (Some(0), Some(offset as u64))
        );
    }
    // A shard of another length is refused when the dataset is opened.
    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    let error = Dataset::open(&out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
}
