//! The helper binary does what its help says, and its exit codes tell how it went.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::ipc::writer::FileWriter;
use serde_json::{Value, json};

fn forebay(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    let done = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

fn run(args: &[&str]) -> String {
    let (code, said, complaint) = forebay(args);
    assert_eq!(code, Some(0), "{args:?}: {complaint}");
    said
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Some 16 MB of f32[64].
fn numbers(folder: &Path) -> PathBuf {
    let path = folder.join("numbers.npy");
    let rows = 1usize << 16;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 64), }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).as_bytes());
    bytes.extend((0..rows * 64).flat_map(|i| (i as f32).to_le_bytes()));
    fs::write(&path, bytes).unwrap();
    path
}

/// Twenty rows of many types; the text of row 13 is no UTF-8 if `spoilt`.
fn table(folder: &Path, spoilt: bool) -> PathBuf {
    let rows = 0..20i32;
    let numbers = |of: fn(i32) -> f64| Arc::new(Float64Array::from_iter_values(rows.clone().map(of)));
    let image = UInt8Array::from_iter_values((0..20 * 4).map(|i| i as u8));
    let item = Arc::new(Field::new("item", DataType::UInt8, false));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("y", Arc::new(Int64Array::from_iter_values(rows.clone().map(i64::from)))),
        ("x1", numbers(|i| f64::from(i) / 2.0)),
        ("x2", numbers(|i| f64::from(-i))),
        ("name", Arc::new(StringArray::from_iter_values(rows.clone().map(|i| format!("<{i:02}>"))))),
        ("blob", Arc::new(BinaryArray::from_iter_values(rows.clone().map(|i| [i as u8, 255])))),
        ("image", Arc::new(FixedSizeListArray::new(item, 4, Arc::new(image), None))),
        ("maybe", Arc::new(Float32Array::from_iter(rows.clone().map(|i| (i % 2 == 0).then_some(f32::NAN))))),
        ("when", Arc::new(TimestampSecondArray::from_iter_values(rows.map(|i| i64::from(i) * 86400)))),
    ];
    let table = RecordBatch::try_from_iter(columns).unwrap();
    let path = folder.join(if spoilt { "spoilt.arrow" } else { "table.arrow" });
    let mut writer = FileWriter::try_new(fs::File::create(&path).unwrap(), &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    if spoilt {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == b"<13>").unwrap();
        bytes[at] = 0xFF;
        fs::write(&path, bytes).unwrap();
    }
    path
}

#[test]
fn it_casts_stacks_renames_and_shuffles() {
    let folder = tempfile::tempdir().unwrap();
    let source = table(folder.path(), false);
    let source = source.to_str().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let args = [
        "convert",
        source,
        out,
        "--columns",
        "y,x,name",
        "--stack",
        "x=x*",
        "--cast",
        "x=f32",
        "--cast",
        "y=u8",
        "--rename",
        "y=label",
        "--rename",
        "x=features",
        "--shards",
        "3",
        "--threads",
        "2",
    ];
    assert!(run(&args).contains("20 rows in 3 shards"));
    let rows = lines(&run(&["head", out, "--json", "-n", "2"]));
    assert_eq!(
        rows,
        [
            json!({"label": 0, "features": [0.0, -0.0], "name": "<00>"}),
            json!({"label": 1, "features": [0.5, -1.0], "name": "<01>"})
        ]
    );
    assert!(run(&["inspect", out]).contains("features: f32[2]"));
    assert!(run(&args).contains("3 of them found finished"));

    let shuffled = |name: &str, flags: &[&str]| {
        let out = folder.path().join(name);
        let out = out.to_str().unwrap();
        run(&[&["convert", source, out, "--columns", "y"], flags].concat());
        let rows = lines(&run(&["head", out, "--json", "-n", "100"]));
        rows.iter().map(|row| row["y"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let order = |seed| {
        let order = forebay::sampler::Order::new(20, forebay::Shuffle::Exact, seed).epoch(0);
        (0..20).map(|position| order.get(position)).collect::<Vec<_>>()
    };
    assert_eq!(shuffled("plain", &[]), (0..20).collect::<Vec<_>>());
    assert_eq!(shuffled("zero", &["--shuffle"]), order(0));
    assert_eq!(shuffled("seven", &["--shuffle-seed", "7"]), order(7));
}

#[test]
fn head_prints_every_type_as_json_or_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let source = table(folder.path(), false);
    let source = source.to_str().unwrap();
    let rows = lines(&run(&["head", source, "--json", "-n", "3"]));
    assert_eq!(rows.len(), 3);
    assert_eq!(
        rows[1],
        json!({
            "y": 1, "x1": 0.5, "x2": -1.0, "name": "<01>", "blob": "01ff", "image": [4, 5, 6, 7], "maybe": null,
            "when": "1970-01-02T00:00:00"
        })
    );
    assert_eq!(rows[0]["maybe"], Value::Null, "not a number");
    let said = run(&["head", source, "-n", "1", "--columns", "name,y"]);
    assert!(said.contains("| name | y |") && said.contains("| <00> | 0 |") && !said.contains("x1"), "{said}");
}

#[test]
fn inspect_says_how_rows_are_read_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let big_endian = folder.path().join("n.bin");
    fs::write(&big_endian, [0u8; 8]).unwrap();
    let big_endian = big_endian.to_str().unwrap();
    let said = run(&["inspect", big_endian, "--fixed", "a:>u16,b:u8,c:u8"]);
    for expected in
        ["2 rows", "mapped (big-endian: bytes are swapped in the copy): a", "mapped: b, c", "where they lie"]
    {
        assert!(said.contains(expected), "expected {expected} in\n{said}");
    }
    let said: Value =
        serde_json::from_str(&run(&["inspect", big_endian, "--fixed", "a:>u16,b:u8,c:u8", "--json"]))
            .unwrap();
    assert_eq!(said["columns"][0], json!({"name": "a", "kind": "u16", "type": "UInt16", "nullable": false}));
    let file = &said["files"][0];
    assert_eq!((&file["rows"], &file["bytes"], &file["chunks"]), (&json!(2), &json!(8), &json!(1)));
    assert_eq!(
        file["access"],
        json!([
            {"how": "mapped", "why": "big-endian: bytes are swapped in the copy", "columns": ["a"]},
            {"how": "mapped", "why": "", "columns": ["b", "c"]}
        ])
    );
}

#[test]
fn bad_records_fail_or_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let source = table(folder.path(), true);
    let source = source.to_str().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let (code, _, complaint) = forebay(&["convert", source, out]);
    assert_eq!(code, Some(1));
    assert!(
        complaint.contains("spoilt.arrow, record 13, byte") && complaint.contains("UTF-8"),
        "{complaint}"
    );
    let (code, _, complaint) =
        forebay(&["convert", source, out, "--on-bad-record", "skip", "--max-bad-records", "0"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("at most 0 bad records"), "{complaint}");
    let said = run(&["convert", source, out, "--on-bad-record", "skip"]);
    assert!(said.contains("19 rows") && said.contains("1 bad records were left out"), "{said}");
    let listed = lines(&fs::read_to_string(folder.path().join("out/bad-records.jsonl")).unwrap());
    assert_eq!((listed.len(), &listed[0]["record"]), (1, &json!(13)));
}

#[test]
fn a_folder_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let source = table(folder.path(), false);
    let lake = folder.path().to_str().unwrap();
    assert!(run(&["adopt", lake]).contains("20 rows in 1 files"));
    assert!(run(&["verify", lake]).contains("whole"));
    let mut bytes = fs::read(&source).unwrap();
    let at = bytes.windows(4).position(|window| window == b"<07>").unwrap();
    bytes[at + 1] = b'9';
    fs::write(&source, bytes).unwrap();
    let (code, said, complaint) = forebay(&["verify", lake]);
    assert_eq!(code, Some(1));
    assert!(said.contains("1 damages") && complaint.contains("table.arrow"), "{said}{complaint}");
    assert_eq!(forebay(&["adopt", lake]).0, Some(1));
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let folder = tempfile::tempdir().unwrap();
    let source = table(folder.path(), false);
    let source = source.to_str().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    for (flags, expected) in [
        (&["--shards", "2", "--shard-size", "1MiB"][..], "cannot be used with"),
        (&["--cast", "x1=float"], "'float'"),
        (&["--cast", "x1"], "column=type"),
        (&["--stack", "x"], "name=columns"),
        (&["--rename", "x"], "old=new"),
        (&["--fill", "x=y"], "'y' is no number"),
        (&["--shard-size", "big"], "256MiB"),
        (&["--on-bad-record", "ignore"], "skip"),
    ] {
        let (code, _, complaint) = forebay(&[&["convert", source, out], flags].concat());
        assert_eq!(code, Some(2), "{flags:?}: {complaint}");
        assert!(complaint.contains(expected), "expected {expected} in {complaint}");
    }
    let (code, _, complaint) = forebay(&["convert", source, "--shards", "2"]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("the folder to write"), "{complaint}");
    let (code, _, complaint) = forebay(&["convert", source, out, "--columns", "z"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no column is called 'z'"), "{complaint}");
    let (code, _, complaint) = forebay(&["inspect", "no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no/such/file"), "{complaint}");
    for command in ["convert", "adopt", "inspect", "head", "verify", "bench"] {
        assert!(run(&[command, "--help"]).contains("Usage: forebay"));
    }
    assert!(run(&["--help"]).contains("Exit codes"));
}

#[test]
fn the_binary_converts_inspects_and_measures() {
    let folder = tempfile::tempdir().unwrap();
    let source = numbers(folder.path());
    let labels = folder.path().join("labels.bin");
    fs::write(&labels, (0..1u32 << 16).flat_map(|i| i.to_be_bytes()).collect::<Vec<_>>()).unwrap();
    let labels_out = folder.path().join("labels");
    run(&["convert", labels.to_str().unwrap(), labels_out.to_str().unwrap(), "--fixed", "n:>u32"]);
    let out = folder.path().join("out");
    let (x, y) = (format!("x={}", source.display()), format!("y={}", labels_out.display()));
    let said = run(&["convert", &x, &y, out.to_str().unwrap(), "--shard-size", "4MiB"]);
    assert!(said.contains("65536 rows in"), "{said}");
    let out = out.to_str().unwrap();
    let said = run(&["inspect", out]);
    for expected in ["65536 rows", "x: f32[64]", "y: u32", "mapped: x, y"] {
        assert!(said.contains(expected), "expected {expected} in\n{said}");
    }
    assert!(run(&["head", out, "-n", "3"]).contains("64.0"));
    assert!(run(&["verify", out]).contains("whole"));
    let digest = |threads: &str, shuffle: &str| {
        let line =
            run(&["bench", out, "--json", "--epochs", "1", "--threads", threads, "--shuffle", shuffle]);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        for key in
            ["rows", "bytes", "seconds", "rows_per_s", "gb_per_s", "first_batch_ms", "cpu_s", "peak_rss_mb"]
        {
            assert!(line[key].is_number(), "{key} in {line}");
        }
        assert_eq!((line["rows"].as_u64(), line["batch_size"].as_u64()), (Some(65536), Some(256)));
        line["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest("0", "exact"), digest("3", "exact"));
    assert_ne!(digest("1", "none"), digest("1", "exact"));
}

#[test]
fn inspect_names_the_classes_of_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labelled.arrow");
    let info =
        json!({ "info": { "features": { "label": { "names": ["no", "yes"], "_type": "ClassLabel" } } } });
    let fields = vec![Field::new("label", DataType::Int64, false), Field::new("n", DataType::Int64, false)];
    let metadata = HashMap::from([("huggingface".to_owned(), info.to_string())]);
    let schema = Schema::new(fields).with_metadata(metadata);
    let labels: ArrayRef = Arc::new(Int64Array::from(vec![1, 0]));
    let table = RecordBatch::try_new(Arc::new(schema), vec![labels.clone(), labels]).unwrap();
    let mut writer = FileWriter::try_new(fs::File::create(&path).unwrap(), &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    let path = path.to_str().unwrap();
    let said = run(&["inspect", path]);
    assert_eq!(said.matches("classes: no, yes").count(), 1, "{said}");
    let described = &lines(&run(&["inspect", path, "--json"]))[0]["columns"];
    assert_eq!((&described[0]["classes"], &described[1]["classes"]), (&json!(["no", "yes"]), &Value::Null));
}

#[test]
fn a_field_with_a_dictionary_is_converted_as_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, out) = (folder.path().join("trips.csv"), folder.path().join("trips"));
    fs::write(&csv, "fare,paid\n9.5,card\n4,cash\n").unwrap();
    let (csv, out) = (csv.to_str().unwrap(), out.to_str().unwrap());
    run(&["convert", csv, out, "--dictionary", "paid=cash,card"]);
    let rows: Vec<_> = lines(&run(&["head", out, "--json"])).iter().map(|row| row["paid"].clone()).collect();
    assert_eq!(rows, [1, 0]);
    assert!(run(&["inspect", out]).contains("classes: cash, card"));
    let (code, _, said) = forebay(&["head", csv, "--dictionary", "paid=cash"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("found 'card'; add it to the dictionary"), "{said}");
}

#[test]
fn bench_leaves_bad_records_out_and_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trips.csv");
    fs::write(&path, "fare,n\n9.5,1\n4.0,2\n7,5,3\n3.0,4\n").unwrap();
    let bench = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["bench", path.to_str().unwrap(), "--epochs", "2", "--json"]).args(more);
        command.output().unwrap()
    };
    assert!(!bench(&[]).status.success());
    let out = bench(&["--on-bad-record", "skip", "--max-bad-records", "1"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let line: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&line["rows"], &line["bad_records"][0]["record"]), (&6.into(), &2.into()));
    assert!(!bench(&["--on-bad-record", "skip", "--max-bad-records", "0"]).status.success());
}
