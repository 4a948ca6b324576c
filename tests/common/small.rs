//! One small valid file of each format, written here, with what it takes to open it: what is damaged, and what fuzzing
//! starts from.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use forebay::format::{CsvOptions, CsvType, ExampleSpec, FeatureType, FileFormat, FixedSpec, TokenSpec};
use forebay::{DType, OpenOptions, tensor_field};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

/// A small file, and how it is read.
pub struct Small {
    pub name: &'static str,
    /// The bytes to damage.
    pub file: Vec<u8>,
    /// Lays the file in a folder, with the files it needs beside it; returns what to open.
    pub lay: fn(&Path, &[u8]) -> PathBuf,
    pub options: OpenOptions,
    /// The fuzz target that reads such files, and what its input has before the file.
    pub target: &'static str,
    pub before: Vec<u8>,
    /// Whether it is refused undamaged.
    pub is_refused: bool,
}

impl Small {
    fn new(name: &'static str, target: &'static str, file: impl Into<Vec<u8>>) -> Self {
        let lay = |folder: &Path, file: &[u8]| write(folder, "case", file);
        Small {
            name,
            file: file.into(),
            lay,
            options: OpenOptions::default(),
            target,
            before: Vec::new(),
            is_refused: false,
        }
    }

    fn format(self, format: FileFormat) -> Self {
        Small { options: self.options.format(format), ..self }
    }

    fn before(self, before: impl Into<Vec<u8>>) -> Self {
        Small { before: before.into(), ..self }
    }

    fn refused(self) -> Self {
        Small { is_refused: true, ..self }
    }

    fn laid(self, lay: fn(&Path, &[u8]) -> PathBuf) -> Self {
        Small { lay, ..self }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Writes `inputs`, each a target and its bytes, where `FOREBAY_SEEDS` says: `scripts/fuzz` begins with them.
pub fn write_seeds<'a>(inputs: impl IntoIterator<Item = (&'a str, Vec<u8>)>) {
    let Some(folder) = env::var_os("FOREBAY_SEEDS").map(PathBuf::from) else {
        println!("skipped: FOREBAY_SEEDS is not set");
        return;
    };
    for (target, input) in inputs {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).unwrap();
        write(&folder, &format!("seed-{:016x}", xxh3_64(&input)), &input);
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

/// Every kind of field, quoted and not, and a last line without an end.
const CSV: &[u8] =
    b"id,size,word,flag\n1,0.5,cat,true\r\n-2,1e300,\"a \"\"quoted\"\", one\nof two lines\",false\n\
    3,,\xC3\xBC,\n9223372036854775807,nan,,true\n5,-.25E-3,x,false";

pub fn csv() -> Vec<Small> {
    let with = |options| OpenOptions::default().csv(options);
    let typed = CsvOptions::new().names(["a", "b"]).column("a", CsvType::F32).column("b", CsvType::I64);
    let typed = typed.default_value("a", 1.5).required("b").na_values(["NA", "?"]);
    vec![
        Small::new("csv", "csv", CSV).format(FileFormat::Csv).before([0]),
        Small {
            options: with(typed.clone()),
            ..Small::new("csv typed", "csv", b"x,y\n1.5,2\n,3\nNA,-4\n".to_vec())
        }
        .before([16]),
        Small {
            options: with(typed.stack("ab", ["a", "b"])),
            ..Small::new("csv stacked", "csv", b"x,y\n1.5,2\n,3\nNA,-4\n".to_vec())
        }
        .before([16 + 64]),
        Small {
            options: with(CsvOptions::new().detect_delimiter().comment(Some(b'#')).skip_lines(1)),
            ..Small::new("csv sniffed", "csv", b"title\na;b\n# no\n1;2\n3;4\n".to_vec())
        }
        .before([4 + 8 + 32]),
        Small::new("csv.gz", "csv", gzip(CSV)).format(FileFormat::Csv).before([0]),
        Small::new("csv.zst", "csv", zstd(CSV)).format(FileFormat::Csv).before([0]),
    ]
}

pub fn text() -> Vec<Small> {
    let lines = b"one\ntwo lines\n\n\xE2\x88\x9E\r\nthe last";
    vec![
        Small::new("text", "text", lines).format(FileFormat::Text),
        Small::new("text.zst", "text", zstd(lines)).format(FileFormat::Text),
    ]
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A TFRecord frame.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), payload, &masked(payload)].concat()
}

/// Makes the checksums of lengths right, as far as frames follow one another.
fn with_right_lengths(folder: &Path, file: &[u8]) -> PathBuf {
    let (mut file, mut at) = (file.to_vec(), 0usize);
    while let Some(&length) = file.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let Some(checksum) = file.get_mut(at + 8..at + 12) else { break };
        checksum.copy_from_slice(&masked(&length));
        let next = usize::try_from(u64::from_le_bytes(length)).ok().and_then(|len| len.checked_add(16 + at));
        let Some(next) = next else { break };
        at = next;
    }
    write(folder, "case", &file)
}

/// A field of a Protocol Buffers message, whose content is less than 128 bytes long.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// A map's entry of key and value.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

fn floats(values: &[f32]) -> Vec<u8> {
    field(2, &field(1, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()))
}

fn bytes(value: &[u8]) -> Vec<u8> {
    field(1, &field(1, value))
}

fn ints(packed: &[u8]) -> Vec<u8> {
    field(3, &field(1, packed))
}

pub fn example(n: u8) -> Vec<u8> {
    let minus_one = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let features = [
        entry("b", &bytes(&vec![b'x'; n.into()])),
        entry("f", &floats(&[n.into()])),
        entry("i", &ints(&[&[n], &minus_one[..]].concat())),
    ];
    field(1, &features.concat())
}

fn sequence_example(n: u8) -> Vec<u8> {
    let steps = |step: Vec<u8>| (0..n).flat_map(|_| field(1, &step)).collect::<Vec<_>>();
    let lists = [entry("i", &steps(ints(&[n, 200, 1]))), entry("f", &steps(floats(&[0.5])))].concat();
    [field(1, &entry("b", &bytes(b"context"))), field(2, &lists)].concat()
}

/// Two frames, the first of what is damaged: their checksums are right.
fn framed(folder: &Path, payload: &[u8]) -> PathBuf {
    write(folder, "case", &[frame(payload), frame(&example(3))].concat())
}

fn framed_sequence(folder: &Path, payload: &[u8]) -> PathBuf {
    write(folder, "case", &[frame(payload), frame(&sequence_example(3))].concat())
}

pub fn tfrecord() -> Vec<Small> {
    let file: Vec<u8> = (0..3).flat_map(|n| frame(&example(n))).collect();
    let sequences: Vec<u8> = (1..3).flat_map(|n| frame(&sequence_example(n))).collect();
    let raw = [frame(b"no example"), frame(b""), frame(b"either")].concat();
    [
        Small::new("tfrecord", "tfrecord", file.clone()).format(FileFormat::TfRecord),
        Small::new("tfrecord gzip", "tfrecord", gzip(&file)).format(FileFormat::TfRecord),
        Small::new("tfrecord zlib", "tfrecord", zlib(&file)),
        Small::new("tfrecord raw", "tfrecord", raw.clone()).format(FileFormat::TfRecord),
        Small::new("tfrecord of SequenceExamples", "tfrecord", sequences).format(FileFormat::TfRecord),
        Small::new("tfrecord raw, lengths believed", "tfrecord", raw)
            .format(FileFormat::TfRecord)
            .before([1])
            .laid(with_right_lengths),
    ]
    .map(|small| if small.before.is_empty() { small.before([0]) } else { small })
    .into()
}

pub fn examples() -> Vec<Small> {
    let (first, sequence) = (example(2), sequence_example(2));
    let cut = |choice: u8, first: &[u8]| [choice, first.len() as u8];
    let with = |spec| OpenOptions::default().format(FileFormat::TfRecord).examples(spec);
    let fixed = ExampleSpec::new()
        .fixed_len("i", FeatureType::I64, [2])
        .fixed_len("f", FeatureType::F32, [])
        .fixed_len("b", FeatureType::Bytes, []);
    let ragged = ExampleSpec::new()
        .var_len("i", FeatureType::I64)
        .nullable("f", FeatureType::F32, [])
        .var_len("b", FeatureType::Bytes);
    let steps = ExampleSpec::new()
        .sequence("i", FeatureType::I64, [2])
        .var_len_sequence("f", FeatureType::F32)
        .var_len("b", FeatureType::Bytes);
    vec![
        Small::new("Example", "example", first.clone())
            .format(FileFormat::TfRecord)
            .laid(framed)
            .before(cut(0, &first)),
        Small { options: with(fixed), ..Small::new("Example, fixed", "example", first.clone()) }
            .laid(framed)
            .before(cut(1, &first)),
        Small { options: with(ragged), ..Small::new("Example, ragged", "example", first.clone()) }
            .laid(framed)
            .before(cut(2, &first)),
        Small::new("SequenceExample", "example", sequence.clone())
            .format(FileFormat::TfRecord)
            .laid(framed_sequence)
            .before(cut(0, &sequence)),
        Small { options: with(steps), ..Small::new("SequenceExample, steps", "example", sequence.clone()) }
            .laid(framed_sequence)
            .before(cut(3, &sequence)),
    ]
}

/// Three samples, of which one lacks a file and one has a long name.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let long = format!("{}.txt", "long/".repeat(30));
    for (name, content) in
        [("a.txt", &b"one"[..]), ("a.bin", b"\x01\x02"), ("b.txt", b""), (&long, b"far"), ("c.txt", b"three")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Makes the checksums of headers right, as far as members follow one another.
fn with_right_headers(folder: &Path, file: &[u8]) -> PathBuf {
    let (mut file, mut at) = (file.to_vec(), 0);
    while let Some(header) = file.get_mut(at..at + 512).filter(|header| header.iter().any(|&byte| byte != 0))
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let octal = header[124..135].iter().take_while(|byte| (b'0'..=b'7').contains(byte));
        let len = octal.fold(0usize, |len, byte| len * 8 + usize::from(byte - b'0'));
        at += 512 + len.next_multiple_of(512);
    }
    write(folder, "case", &file)
}

/// A file whose name and size are in pax keywords.
fn pax_archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([("path", &b"a.txt"[..]), ("size", b"5"), ("mtime", b"1.5")]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    archive.append_data(&mut header, "x", &b"three"[..]).unwrap();
    archive.into_inner().unwrap()
}

pub fn tar() -> Vec<Small> {
    let plain = |name, file: Vec<u8>| Small::new(name, "tar", file).format(FileFormat::Tar).before([0]);
    let right = |name, file: Vec<u8>| plain(name, file).before([1]).laid(with_right_headers);
    vec![
        plain("tar", archive()),
        plain("tgz", gzip(&archive())),
        plain("tar with pax keywords", pax_archive()),
        right("tar, headers believed", archive()),
        right("tar with pax keywords, headers believed", pax_archive()),
    ]
}

pub fn npy(header: &str, payload: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), payload].concat()
}

/// A zip archive of one version of the truth: no streams, no zip64.
fn zip(members: &[(&str, Vec<u8>)], deflated: bool) -> Vec<u8> {
    let (mut file, mut entries) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut stored = content.clone();
        if deflated {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(content).unwrap();
            stored = encoder.finish().unwrap();
        }
        let method = if deflated { 8u8 } else { 0 };
        let mut common = vec![20, 0, 0, 0, method, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend((stored.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u32).to_le_bytes());
        let at = file.len() as u32;
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &stored].concat());
        entries.extend(
            [b"PK\x01\x02\x14\0", &common[..], &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat(),
        );
    }
    let (count, at) = ((members.len() as u16).to_le_bytes(), file.len() as u32);
    let len = (entries.len() as u32).to_le_bytes();
    file.extend(&entries);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &len, &at.to_le_bytes(), &[0, 0]].concat());
    file
}

pub fn npz() -> Vec<Small> {
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    };
    let members = [
        ("x.npy", npy(&header("<i4", "(3, 2)"), &[7; 24])),
        ("label.npy", npy(&header("|u1", "(3,)"), &[1, 2, 3])),
    ];
    vec![
        Small::new("npz", "npz", zip(&members, false)).format(FileFormat::Npz),
        Small::new("npz deflated", "npz", zip(&members, true)).format(FileFormat::Npz),
    ]
}

pub fn fixed() -> Vec<Small> {
    let with = |spec: &str| OpenOptions::default().fixed(spec.parse::<FixedSpec>().unwrap());
    let spec = "label:u8,x:>f32[3]";
    let small = Small::new("fixed", "fixed", (0..4 * 13).collect::<Vec<u8>>());
    vec![Small { options: with(spec), ..small }.before(format!("{spec}\0"))]
}

pub fn tokens() -> Vec<Small> {
    let with = |spec: &str| OpenOptions::default().tokens(spec.parse::<TokenSpec>().unwrap());
    let spec = "u16[5]/4@2";
    let small = Small::new("tokens", "tokens", (0..60).collect::<Vec<u8>>());
    let packed = Small::new("tokens gzip", "tokens", gzip(&small.file));
    [small, packed].map(|small| Small { options: with(spec), ..small }.before(format!("{spec}\0"))).into()
}

/// The index of three sequences of u16, 4, 0 and 6 tokens long; two documents.
fn token_index() -> Vec<u8> {
    let mut index =
        [b"MMIDIDX\0\0", &1u64.to_le_bytes()[..], &[8], &3u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
    index.extend([4u32, 0, 6].map(u32::to_le_bytes).concat());
    // Pointers, then documents.
    index.extend([0u64, 8, 8, 0, 1, 3].map(u64::to_le_bytes).concat());
    index
}

fn beside_tokens(folder: &Path, index: &[u8]) -> PathBuf {
    write(folder, "case.bin", &[7; 20]);
    write(folder, "case.idx", index)
}

fn beside_index(folder: &Path, tokens: &[u8]) -> PathBuf {
    write(folder, "case.bin", tokens);
    write(folder, "case.idx", &token_index())
}

pub fn megatron() -> Vec<Small> {
    let index = || Small::new("Megatron index", "megatron", token_index()).laid(beside_tokens);
    vec![
        index().before([0]),
        Small { name: "Megatron windows", options: OpenOptions::default().windows(4, 3), ..index() }
            .before([1]),
        Small::new("Megatron tokens", "megatron", [9; 20]).laid(beside_index).before([2]),
    ]
}

/// Two samples of 32 bytes each, of columns `n`, `t`, `r` and `x`.
fn mds_shard() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let sample = |n: u32, text: &[u8]| {
        let (lengths, n) = (words(&[5, 7]), words(&[n]));
        // One dimension, its length in one byte.
        [&lengths[..], &n, text, &[4, 5, 1, 2, 3, 4, 5], &1.5f32.to_le_bytes(), &2f32.to_le_bytes()].concat()
    };
    let shard = [words(&[2, 16, 48, 80]), sample(1, b"hello"), sample(2, b"again")].concat();
    assert_eq!(shard.len(), 80);
    shard
}

fn mds_index(raw_len: usize, zip: Option<(&str, usize)>) -> Vec<u8> {
    let file = |name: &str, len: usize| json!({"basename": name, "bytes": len, "hashes": {}});
    let shard = json!({
        "version": 2, "format": "mds", "samples": 2, "compression": zip.map(|(name, _)| name),
        "column_names": ["n", "t", "r", "x"],
        "column_encodings": ["int32", "str", "ndarray:uint8", "ndarray:float32:2"],
        "column_sizes": [4, null, null, 8], "hashes": [], "size_limit": 67108864,
        "raw_data": file("shard.mds", raw_len),
        "zip_data": zip.map(|(_, len)| file("shard.mds.zip", len)),
    });
    json!({"version": 2, "shards": [shard]}).to_string().into_bytes()
}

fn mds_folder(folder: &Path, index: &[u8], raw: Option<&[u8]>, zip: Option<&[u8]>) -> PathBuf {
    write(folder, "index.json", index);
    for (name, bytes) in [("shard.mds", raw), ("shard.mds.zip", zip)] {
        match bytes {
            Some(bytes) => drop(write(folder, name, bytes)),
            None => drop(fs::remove_file(folder.join(name))),
        }
    }
    folder.to_owned()
}

pub fn mds() -> Vec<Small> {
    let shard = mds_shard();
    let zipped = |name, bytes: Vec<u8>, choice: u8| Small::new(name, "mds", bytes).before([choice]);
    vec![
        Small::new("MDS index", "mds", mds_index(80, None))
            .laid(|folder, index| mds_folder(folder, index, Some(&mds_shard()), None)),
        Small::new("MDS shard", "mds", shard.clone())
            .before([41])
            .laid(|folder, shard| mds_folder(folder, &mds_index(shard.len(), None), Some(shard), None)),
        zipped("MDS shard zstd", zstd(&shard), 42).laid(|folder, zip| {
            mds_folder(folder, &mds_index(80, Some(("zstd", zip.len()))), None, Some(zip))
        }),
        zipped("MDS shard gzip", gzip(&shard), 43)
            .laid(|folder, zip| mds_folder(folder, &mds_index(80, Some(("gz", zip.len()))), None, Some(zip))),
    ]
}

/// A stream of one column of u64, `indices`: 2, 0, 1.
fn indices() -> Vec<u8> {
    let column = Arc::new(UInt64Array::from(vec![2, 0, 1])) as _;
    let batch = RecordBatch::try_from_iter([("indices", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn rows() -> Vec<u8> {
    let column = Arc::new(Float32Array::from(vec![0.5, 1.5, 2.5])) as _;
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn hf_folder(folder: &Path, state: &[u8], indices: &[u8]) -> PathBuf {
    write(folder, "data-00000-of-00001.arrow", &rows());
    write(folder, "indices.arrow", indices);
    write(folder, "state.json", state);
    folder.to_owned()
}

fn hf_state() -> Vec<u8> {
    let state = json!({
        "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
        "_indices_data_files": [{"filename": "indices.arrow"}],
        "_split": "train", "_format_columns": null, "_fingerprint": "0123456789abcdef",
    });
    state.to_string().into_bytes()
}

pub fn hugging_face() -> Vec<Small> {
    vec![
        Small::new("HF state", "hf", hf_state())
            .before([0])
            .laid(|folder, state| hf_folder(folder, state, &indices())),
        Small::new("HF indices", "hf", indices())
            .before([1])
            .laid(|folder, indices| hf_folder(folder, &hf_state(), indices)),
    ]
}

/// The names of splits: a folder of such a file is refused with their names.
pub fn hf_splits() -> Small {
    Small::new("HF splits", "hf", br#"{"splits": ["train", "test"]}"#.to_vec()).before([2]).refused().laid(
        |folder, dict| {
            write(folder, "dataset_dict.json", dict);
            folder.to_owned()
        },
    )
}

/// The manifest of a shard of `indices`, which says that its columns are `fields`.
fn manifest_of(fields: Vec<Field>) -> String {
    let shard = indices();
    let checksum = format!("{:016x}", xxh3_64(&shard));
    let batch = json!({"rows": 3, "offset": 0, "bytes": shard.len(), "xxh3": checksum});
    let manifest = json!({
        "format": "forebay", "version": 1, "rows": 3,
        "schema": serde_json::to_value(Schema::new(fields)).unwrap(),
        "shards": [{"file": "shard.arrow", "rows": 3, "bytes": shard.len(), "batches": [batch]}],
        "source": "0",
    });
    manifest.to_string()
}

pub fn manifest() -> Vec<Small> {
    let laid = |folder: &Path, manifest: &[u8]| {
        write(folder, "shard.arrow", &indices());
        write(folder, "dataset.json", manifest);
        folder.to_owned()
    };
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let item = |data_type| Arc::new(field("item", data_type));
    let tensor = DataType::FixedSizeList(item(DataType::FixedSizeList(item(DataType::Float64), 3)), 2);
    let pair = DataType::Struct(vec![field("key", DataType::Utf8), field("value", DataType::Int8)].into());
    let types = [
        DataType::List(item(DataType::Float32)),
        DataType::LargeList(item(DataType::Utf8)),
        DataType::FixedSizeBinary(3),
        DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into()),
        DataType::Map(item(pair.clone()), false),
        DataType::Decimal128(20, 2),
        DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
        DataType::RunEndEncoded(item(DataType::Int16), item(DataType::Utf8View)),
        pair,
    ];
    let mut fields: Vec<_> = (0..).zip(types).map(|(n, of)| field(&n.to_string(), of)).collect();
    fields.push(tensor_field("image", DType::U8, &[2, 3], false));
    vec![
        Small::new("manifest", "manifest", manifest_of(vec![Field::new("indices", DataType::UInt64, false)]))
            .laid(laid),
        // The shard is another, which is seen when a row of it is asked for.
        Small::new("manifest of tensors", "manifest", manifest_of(vec![field("x", tensor)]))
            .laid(laid)
            .refused(),
        Small::new("manifest of many types", "manifest", manifest_of(fields)).laid(laid).refused(),
    ]
}

/// The file of an index, as the fuzz target `sidecar` has them.
const INDEXED: [(&str, &[u8]); 2] =
    [("case.csv", b"a,b\n1,x\n2,\"y\nz\"\n3,\n4,w\n"), ("case.txt", b"one\ntwo\n\nthree\n")];

/// Writes a file and the header of its index, for as many records as `starts` has, then `starts`.
fn beside_index_file(folder: &Path, number: usize, starts: &[u8]) -> PathBuf {
    let (name, content) = INDEXED[number];
    let path = write(folder, name, content);
    let index = &OpenOptions::default().write_index(&path).unwrap()[0];
    let mut header = fs::read(index).unwrap()[..64].to_vec();
    header[40..48].copy_from_slice(&(starts.len() as u64 / 8).saturating_sub(1).to_le_bytes());
    let checksum = xxh3_64(&header[..48]);
    header[48..56].copy_from_slice(&checksum.to_le_bytes());
    fs::write(index, [&header, starts].concat()).unwrap();
    path
}

/// An index as a whole, beside the file it is of.
fn beside_indexed(folder: &Path, index: &[u8]) -> PathBuf {
    let (name, content) = INDEXED[0];
    write(folder, &format!("{name}.forebay-index"), index);
    write(folder, name, content)
}

pub fn sidecar() -> Vec<Small> {
    let starts = |starts: &[u64]| starts.iter().flat_map(|start| start.to_le_bytes()).collect::<Vec<u8>>();
    let folder = tempfile::tempdir().unwrap();
    let path = beside_index_file(folder.path(), 0, &starts(&[4, 8, 16, 19, 23]));
    let whole = fs::read(path.with_extension("csv.forebay-index")).unwrap();
    vec![
        Small::new("index of CSV", "sidecar", starts(&[4, 8, 16, 19, 23]))
            .before([0])
            .laid(|folder, starts| beside_index_file(folder, 0, starts)),
        Small::new("index of text", "sidecar", starts(&[0, 4, 8, 9, 15]))
            .before([1])
            .laid(|folder, starts| beside_index_file(folder, 1, starts)),
        Small::new("index, its header", "sidecar", whole).before([0x81]).laid(beside_indexed),
    ]
}
