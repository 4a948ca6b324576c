//! Shards written sample by sample, those the library wrote, and damaged ones.

use super::encoding::{Encoding, MdsColumn};
use super::index::{Compression, MdsFile};
use super::*;
use crate::error::ErrorKind;
use crate::format::real;
use crate::layout::{ColumnMut, DType, DecodeInto, RowMut};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn shard_of(config: &[u8], samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = (samples.len() as u32).to_le_bytes().to_vec();
    let mut offset = 4 + 4 * (samples.len() + 1) + config.len();
    bytes.extend((offset as u32).to_le_bytes());
    for sample in samples {
        offset += sample.len();
        bytes.extend((offset as u32).to_le_bytes());
    }
    bytes.extend_from_slice(config);
    bytes.extend(samples.concat());
    bytes
}

fn shard_json(columns: &[(&str, &str, Option<u64>)]) -> Value {
    json!({
        "column_names": columns.iter().map(|c| c.0).collect::<Vec<_>>(),
        "column_encodings": columns.iter().map(|c| c.1).collect::<Vec<_>>(),
        "column_sizes": columns.iter().map(|c| c.2).collect::<Vec<_>>(),
        "compression": null, "format": "mds", "hashes": [], "samples": 3, "size_limit": null, "version": 2,
        "raw_data": {"basename": "shard.00000.mds", "bytes": 100, "hashes": {}}, "zip_data": null,
    })
}

fn index_of(shards: &[Value]) -> Vec<u8> {
    json!({"version": 2, "shards": shards}).to_string().into_bytes()
}

fn columns_of(encodings: &[&str]) -> Vec<MdsColumn> {
    let named = |(i, encoding): (usize, &&str)| MdsColumn {
        name: format!("c{i}"),
        encoding: Encoding::parse(encoding).unwrap(),
    };
    encodings.iter().enumerate().map(named).collect()
}

/// The values of one sample, each in bytes.
fn decoded(columns: &[MdsColumn], sample: &[u8]) -> Result<Vec<Vec<u8>>> {
    let decoder = MdsDecoder::new(columns);
    let mut places: Vec<Vec<u8>> =
        columns.iter().map(|c| vec![0xAA; c.encoding.value_bytes().unwrap_or_default()]).collect();
    let mut row: Vec<_> = columns
        .iter()
        .zip(&mut places)
        .map(|(column, place)| match column.encoding.value_bytes() {
            Some(row_bytes) => ColumnMut::Dense { values: place, row_bytes, validity: None },
            None => ColumnMut::Runs { items: place, validity: None },
        })
        .collect();
    decoder.decode(sample, &mut RowMut::new(&mut row, 0))?;
    let mut unwanted: Vec<_> = columns.iter().map(|_| ColumnMut::Unwanted).collect();
    decoder.decode(sample, &mut RowMut::new(&mut unwanted, 0))?;
    Ok(places)
}

fn sample_of(columns: &[MdsColumn], values: &[Vec<u8>]) -> Vec<u8> {
    let mut sample = Vec::new();
    for (column, value) in columns.iter().zip(values) {
        if column.encoding.value_bytes().is_none() {
            sample.extend((value.len() as u32).to_le_bytes());
        }
    }
    sample.extend(values.concat());
    sample
}

#[test]
fn encodings_become_columns() {
    let scalar = |dtype| Encoding::Tensor { dtype, shape: vec![] };
    for (name, encoding) in [
        ("int", scalar(DType::I64)),
        ("uint8", scalar(DType::U8)),
        ("float16", scalar(DType::F16)),
        ("ndarray:uint8:28,28", Encoding::Tensor { dtype: DType::U8, shape: vec![28, 28] }),
        ("ndarray:int32", Encoding::Ragged { dtype: DType::I32 }),
        ("ndarray", Encoding::Bytes),
        ("jpeg:90", Encoding::Bytes),
        ("pil", Encoding::Bytes),
        ("json", Encoding::Text),
        ("str_decimal", Encoding::Text),
    ] {
        assert_eq!(Encoding::parse(name).unwrap(), encoding, "{name}");
    }
    for name in ["pkl", "", "uint128", "list[jpeg]", "STR"] {
        assert_eq!(Encoding::parse(name).unwrap_err().kind(), ErrorKind::Unsupported, "{name}");
    }
    for name in ["ndarray:bool", "ndarray:uint8:", "ndarray:uint8:0", "ndarray:uint8:2,-1", "ndarray::3"] {
        assert_eq!(Encoding::parse(name).unwrap_err().kind(), ErrorKind::Malformed, "{name}");
    }
    for shape in ["4294967296,4294967296,2", "2147483648", "65536,65536"] {
        assert!(Encoding::parse(&format!("ndarray:uint8:{shape}")).is_err());
    }
    let schema =
        MdsDecoder::new(&columns_of(&["int", "ndarray:uint8:2,3", "ndarray:int32", "str", "png"])).schema();
    let kinds: Vec<_> =
        schema.fields().iter().map(|f| crate::layout::ColumnKind::of(f).to_string()).collect();
    assert_eq!(kinds, ["i64", "u8[2, 3]", "i32[…]", "text", "bytes"]);
}

#[test]
fn an_array_of_one_dimension_is_a_ragged_row() {
    let columns = columns_of(&["ndarray:uint16"]);
    let sample = |value: &[u8]| sample_of(&columns, &[value.to_vec()]);
    for value in [
        &[4, 2, 1, 0, 2, 0][..],
        &[5, 2, 0, 1, 0, 2, 0],
        &[6, 2, 0, 0, 0, 1, 0, 2, 0],
        &[7, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0],
    ] {
        assert_eq!(decoded(&columns, &sample(value)).unwrap(), [[1, 0, 2, 0]]);
    }
    let error = decoded(&columns, &sample(&[8, 1, 1, 5, 0])).unwrap_err();
    assert_eq!((error.kind(), error.location().byte), (ErrorKind::Unsupported, Some(4)));
    for value in [&[][..], &[4], &[7, 1, 0], &[4, 2, 1, 0], &[4, 2, 1, 0, 2, 0, 3, 0], &[255, 1, 2]] {
        assert_eq!(decoded(&columns, &sample(value)).unwrap_err().kind(), ErrorKind::Malformed, "{value:?}");
    }
    let long = [7, 255, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(decoded(&columns, &sample(&long)).unwrap_err().kind(), ErrorKind::Malformed);
}

proptest! {
    #[test]
    fn a_sample_reads_back_as_it_was_written(
        values in prop::collection::vec((0..5usize, prop::collection::vec(any::<u8>(), 12)), 1..6), len in 0..12usize,
    ) {
        let names = ["uint8", "ndarray:float32:3", "bytes", "json", "int64"];
        let columns = columns_of(&values.iter().map(|(which, _)| names[*which]).collect::<Vec<_>>());
        let values: Vec<Vec<u8>> = values
            .iter()
            .zip(&columns)
            .map(|((which, bytes), column)| match column.encoding.value_bytes() {
                Some(n) => bytes[..n].to_vec(),
                None if names[*which] == "json" => bytes[..len].iter().map(|b| b & 0x7F).collect(),
                None => bytes[..len].to_vec(),
            })
            .collect();
        let sample = sample_of(&columns, &values);
        if cfg!(target_endian = "little") {
            prop_assert_eq!(decoded(&columns, &sample).unwrap(), values);
        }
        for cut in 0..sample.len() {
            let error = decoded(&columns, &sample[..cut]).unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::Malformed);
            prop_assert!(error.location().byte.is_some_and(|byte| byte <= cut as u64));
        }
        let error = decoded(&columns, &[&sample[..], &[0]].concat()).unwrap_err();
        prop_assert_eq!(error.location().byte, Some(sample.len() as u64));
    }

    #[test]
    fn any_sample_is_decoded_without_panic(sample in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decoded(&columns_of(&["ndarray:int32", "str", "uint16", "bytes"]), &sample);
        let _ = decoded(&columns_of(&["ndarray:int32"]), &sample_of(&columns_of(&["bytes"]), &[sample]));
    }

    #[test]
    fn offsets_are_checked_whatever_they_are(
        flips in prop::collection::vec((0..64usize, 0..8u8), 0..4), cut in 0..64usize, num_samples in 0..5u64,
    ) {
        let bytes = shard_of(b"{}", &[vec![1; 5], vec![], vec![2; 7]]);
        let records = MdsRecords::new(&Region::from_vec(bytes.clone()), 3).unwrap();
        prop_assert_eq!((records.offsets.offset(), records.offsets.len()), (4, 16));
        let mut damaged = bytes.clone();
        for (at, bit) in flips {
            damaged[at % bytes.len()] ^= 1 << bit;
        }
        damaged.truncate(cut.max(bytes.len() / 2));
        if MdsRecords::new(&Region::from_vec(damaged.clone()), num_samples).is_ok() {
            let offsets = &damaged[4..4 + 4 * (num_samples as usize + 1)];
            let offsets: Vec<_> = offsets.as_chunks().0.iter().map(|&o| u32::from_le_bytes(o) as usize).collect();
            prop_assert!(offsets.is_sorted() && offsets[0] >= 4 + 4 * offsets.len());
            prop_assert_eq!(*offsets.last().unwrap(), damaged.len());
        }
    }
}

#[test]
fn a_shard_cut_anywhere_is_malformed() {
    let bytes = shard_of(b"{}", &[vec![1; 5], vec![], vec![2; 7]]);
    for len in 0..bytes.len() {
        let error = MdsRecords::new(&Region::from_vec(bytes[..len].to_vec()), 3).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {len}");
    }
    let of =
        |num_samples| MdsRecords::new(&Region::from_vec(bytes.clone()), num_samples).err().unwrap().kind();
    assert_eq!((of(2), of(u64::MAX)), (ErrorKind::Mismatch, ErrorKind::Mismatch));
    let forged = [&u32::MAX.to_le_bytes()[..], &bytes[4..]].concat();
    let error = MdsRecords::new(&Region::from_vec(forged), u32::MAX.into()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    for (row, offset) in [(0, 19u32), (1, 19), (2, 24), (2, 35), (3, 31)] {
        let mut forged = bytes.clone();
        forged[4 + 4 * row..][..4].copy_from_slice(&offset.to_le_bytes());
        let error = MdsRecords::new(&Region::from_vec(forged), 3).err().unwrap();
        assert_eq!(error.location().byte, Some(4 + 4 * row as u64), "offset {row}: {error}");
    }
    let empty = shard_of(b"{}", &[]);
    assert_eq!(MdsRecords::new(&Region::from_vec(empty), 0).unwrap().offsets.len(), 4);
}

#[test]
fn an_index_is_read_or_refused_by_name() {
    let good = shard_json(&[("a", "int", Some(8)), ("b", "str", None)]);
    let index = MdsIndex::parse(&index_of(&[good.clone(), good.clone()])).unwrap();
    assert_eq!((index.columns.len(), index.shards.len(), index.shards[1].num_samples), (2, 2, 3));
    let edited = |key: &str, value: Value| {
        let mut shard = good.clone();
        shard[key] = value;
        MdsIndex::parse(&index_of(&[good.clone(), shard]))
    };
    let zip = json!({"basename": "a.zip", "bytes": 9});
    for (key, value, kind) in [
        ("version", json!(1), ErrorKind::Unsupported),
        ("format", json!("csv"), ErrorKind::Unsupported),
        ("column_names", json!(["a", "c"]), ErrorKind::Mismatch),
        ("column_encodings", json!(["int", "bytes"]), ErrorKind::Mismatch),
        ("raw_data", json!({"basename": "../a", "bytes": 1}), ErrorKind::Malformed),
        ("raw_data", json!(null), ErrorKind::Malformed),
        ("raw_data", json!({"basename": "a", "bytes": -1}), ErrorKind::Malformed),
        ("zip_data", zip.clone(), ErrorKind::Malformed),
        ("samples", json!(1e30), ErrorKind::Malformed),
    ] {
        assert_eq!(edited(key, value.clone()).unwrap_err().kind(), kind, "{key}: {value}");
    }
    for columns in [
        &[][..],
        &[("a", "int", Some(4))],
        &[("a", "int", None)],
        &[("a", "str", Some(4))],
        &[("a", "str", None), ("a", "str", None)],
    ] {
        let error = MdsIndex::parse(&index_of(&[shard_json(columns)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{columns:?}");
    }
    let error = MdsIndex::parse(&index_of(&[shard_json(&[("secret", "pkl", None)])])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("'secret'"), "{error}");
    for (name, kind) in [
        ("gz:9", None),
        ("zstd", None),
        ("br", Some("br")),
        ("bz2:1", Some("bz2")),
        ("snappy", Some("snappy")),
    ] {
        let mut shard = good.clone();
        (shard["zip_data"], shard["compression"]) = (zip.clone(), json!(name));
        let parsed = MdsIndex::parse(&index_of(&[shard]));
        match kind {
            None => assert!(parsed.unwrap().shards[0].zip.is_some()),
            Some(kind) => assert!(parsed.unwrap_err().message().contains(kind)),
        }
    }
    assert!(MdsIndex::parse(&index_of(&[])).is_err());
    let text = index_of(&[good]);
    for len in 0..text.len() {
        assert_eq!(MdsIndex::parse(&text[..len]).unwrap_err().kind(), ErrorKind::Malformed, "cut at {len}");
    }
}

#[test]
fn a_compressed_shard_is_held_to_its_length() {
    let raw = shard_of(b"{}", &[vec![7; 5000]]);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &raw).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::bulk::compress(&raw, 3).unwrap();
    for (compression, zip) in [(Compression::Gzip, gzip), (Compression::Zstd, zstd)] {
        let file = |len: usize| MdsFile { name: "x".to_owned(), len: len as u64 };
        let shard =
            |len| MdsShard { num_samples: 1, raw: file(len), zip: Some((file(zip.len()), compression)) };
        assert_eq!(shard(raw.len()).inflate(&zip).unwrap(), raw);
        shard(raw.len()).records(&Region::from_vec(raw.clone())).unwrap();
        assert_eq!(
            shard(9).records(&Region::from_vec(raw.clone())).err().unwrap().kind(),
            ErrorKind::Mismatch
        );
        assert_eq!(shard(raw.len() + 1).inflate(&zip).unwrap_err().kind(), ErrorKind::Mismatch);
        assert!(shard(raw.len() - 1).inflate(&zip).is_err());
        assert_eq!(shard(usize::MAX).inflate(&zip).unwrap_err().kind(), ErrorKind::TooLarge);
        for len in 0..zip.len() {
            shard(raw.len()).inflate(&zip[..len]).unwrap_err();
        }
    }
}

/// The rows of a real dataset.
fn real_rows(folder: &std::path::Path) -> (Vec<MdsColumn>, Vec<Vec<Vec<u8>>>, Vec<u64>) {
    let index = MdsIndex::parse(&std::fs::read(folder.join(INDEX)).unwrap()).unwrap();
    let mut rows = Vec::new();
    for shard in &index.shards {
        let raw = match &shard.zip {
            Some((file, _)) => shard.inflate(&std::fs::read(folder.join(&file.name)).unwrap()).unwrap(),
            None => std::fs::read(folder.join(&shard.raw.name)).unwrap(),
        };
        let region = Region::from_vec(raw.clone());
        let records = shard.records(&region).unwrap();
        let start = records.offsets.offset() as usize;
        let offsets = &raw[start..start + records.offsets.len() as usize];
        let offsets: Vec<_> = offsets.as_chunks().0.iter().map(|&o| u32::from_le_bytes(o) as usize).collect();
        rows.extend(offsets.windows(2).map(|pair| decoded(&index.columns, &raw[pair[0]..pair[1]]).unwrap()));
    }
    (index.columns, rows, index.shards.iter().map(|shard| shard.num_samples).collect())
}

#[test]
fn iris_has_its_flowers() {
    let Some((folder, expected)) = real::expected("mds/iris/") else { return };
    let (columns, rows, samples) = real_rows(&folder);
    assert_eq!(json!(samples), expected["samples_per_shard"]);
    for (which, row) in [("first", &rows[0]), ("last", &rows[149])] {
        for (column, value) in columns.iter().zip(row) {
            let expected = &expected[which][&column.name];
            match column.name.as_str() {
                "label" => assert_eq!(json!(value[0]), *expected),
                "species" => assert_eq!(json!(str::from_utf8(value).unwrap()), *expected),
                "petal_length" | "petal_width" => {
                    let value = f32::from_ne_bytes(value[..].try_into().unwrap());
                    assert_eq!(value, expected.as_f64().unwrap() as f32);
                }
                _ => assert_eq!(json!(f64::from_ne_bytes(value[..].try_into().unwrap())), *expected),
            }
        }
    }
    let labels = columns.iter().position(|column| column.name == "label").unwrap();
    let count = |label| rows.iter().filter(|row| row[labels][0] == label).count();
    assert_eq!(json!([count(0), count(1), count(2)]), expected["label_counts"]);
}

#[test]
fn compressed_digits_have_their_images() {
    let Some((folder, expected)) = real::expected("mds/mnist_300_zstd/") else { return };
    let (columns, rows, samples) = real_rows(&folder);
    assert_eq!(json!(samples), expected["samples_per_shard"]);
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["image", "key", "label", "meta"]);
    assert_eq!(real::hex(&Sha256::digest(&rows[0][0])), expected["image0_sha256"].as_str().unwrap());
    assert_eq!(real::hex(&Sha256::digest(&rows[299][0])), expected["image299_sha256"].as_str().unwrap());
    let labels: Vec<_> =
        rows[..16].iter().map(|row| i64::from_ne_bytes(row[2][..].try_into().unwrap())).collect();
    assert_eq!(json!(labels), expected["labels_first16"]);
    assert_eq!(serde_json::from_slice::<Value>(&rows[0][3]).unwrap(), expected["meta0"]);
}
