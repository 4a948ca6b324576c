//! The files of `FOREBAY_TEST_DATA`, against what the reference reader says of them.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::oracle::{Cell, decode, row};
use crate::format::example::*;
use crate::format::tfrecord;
use crate::map::Region;

/// The payloads of each file with what is expected of it.
fn files() -> Vec<(String, Json, Vec<Vec<u8>>)> {
    let Some(folder) = std::env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: FOREBAY_TEST_DATA names no folder");
        return vec![];
    };
    let all: Json = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let files = all["files"].as_object().unwrap().iter().filter(|(name, _)| name.starts_with("tfrecord/"));
    files
        .map(|(name, expected)| {
            let mut bytes = fs::read(folder.join(name)).unwrap();
            if expected["compression"] == "gzip" {
                let packed = std::mem::take(&mut bytes);
                flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            }
            let region = Region::from_vec(bytes.clone());
            let mut offsets = Vec::new();
            let end = tfrecord::scan(&region, 0..region.len_bytes(), &mut offsets).unwrap();
            offsets.push(end);
            let frames =
                offsets.windows(2).map(|ends| bytes[ends[0] as usize + 12..ends[1] as usize - 4].to_vec());
            (name.clone(), expected.clone(), frames.collect())
        })
        .collect()
}

#[test]
fn features_have_the_values_a_right_reader_finds() {
    for (name, expected, records) in files() {
        if expected["message"].is_null() {
            let error = ExampleSpec::infer(records.iter().map(|record| &record[..])).unwrap_err();
            assert_eq!(error.location().record, Some(0), "{name}");
            continue;
        }
        let message = format!("{:?}", message_of(&records[0]).unwrap());
        assert_eq!(expected["message"], message, "{name}");
        let spec = ExampleSpec::infer(records.iter().map(|record| &record[..])).unwrap();
        let decoder = ExampleDecoder::new(&spec).unwrap();
        let rows: Vec<Vec<Cell>> = decode(&decoder, decoder.schema(), |_| true, &records)
            .into_iter()
            .map(|row| row.unwrap_or_else(|error| panic!("{name}: {error}")))
            .collect();
        for (found, record) in rows.iter().zip(&records) {
            assert_eq!(row(&spec, record).as_ref(), Some(found), "{name}");
        }
        for (feature, expected) in expected["features"].as_object().unwrap() {
            check_feature(&spec, &decoder, &rows, feature, expected);
        }
        let lists = expected["feature_lists"].as_object();
        for (list, expected) in lists.into_iter().flatten() {
            let lengths = decoder.schema().index_of(&format!("{list}/lengths")).unwrap();
            let steps: Vec<_> = rows.iter().map(|row| row[lengths].as_ref().unwrap().len() / 8).collect();
            assert_eq!(expected["steps_min"], *steps.iter().min().unwrap());
            assert_eq!(expected["steps_max"], *steps.iter().max().unwrap());
        }
    }
}

fn check_feature(
    spec: &ExampleSpec,
    decoder: &ExampleDecoder,
    rows: &[Vec<Cell>],
    name: &str,
    expected: &Json,
) {
    let Some(feature) = spec.features.iter().find(|feature| feature.name == name) else {
        assert_eq!(expected["kinds"].as_object().unwrap().keys().collect::<Vec<_>>(), ["unset"]);
        return;
    };
    let column = decoder.schema().index_of(name).unwrap();
    let cells = || rows.iter().map(|row| row[column].as_deref());
    let width = match &feature.kind {
        FeatureKind::FixedLen { dtype, .. }
        | FeatureKind::VarLen { dtype }
        | FeatureKind::Sequence { dtype, .. } => dtype.width_bytes(),
    };
    let lengths: Vec<_> = match width {
        1 => match decoder.schema().index_of(&format!("{name}/lengths")) {
            Ok(lengths) => rows.iter().map(|row| row[lengths].as_ref().unwrap().len() / 8).collect(),
            Err(_) => cells().map(|cell| usize::from(cell.is_some())).collect(),
        },
        _ => cells().map(|cell| cell.map_or(0, |bytes| bytes.len() / width)).collect(),
    };
    assert_eq!(expected["len_min"], *lengths.iter().min().unwrap(), "{name}");
    assert_eq!(expected["len_max"], *lengths.iter().max().unwrap(), "{name}");
    let values = cells().flatten().flatten().copied().collect::<Vec<u8>>();
    match width {
        4 => {
            // The reference sum is exact; so close is a sum in another order.
            let floats = values.as_chunks::<4>().0.iter().map(|value| f64::from(f32::from_ne_bytes(*value)));
            let (sum, magnitude) =
                floats.fold((0.0, 0.0), |(sum, all), value| (sum + value, all + value.abs()));
            let expected = expected["float_sum"].as_f64().unwrap();
            assert!((sum - expected).abs() <= 1e-9 * magnitude, "{name}: {sum}, expected {expected}");
        }
        8 => {
            let sum: i128 =
                values.as_chunks::<8>().0.iter().map(|value| i128::from(i64::from_ne_bytes(*value))).sum();
            assert_eq!(expected["int_sum"], sum.to_string(), "{name}");
        }
        _ => assert_eq!(expected["bytes_total"], values.len(), "{name}"),
    }
}

#[test]
fn the_boxes_of_a_picture_are_ragged() {
    for (name, expected, records) in files() {
        if name != "tfrecord/od_train.tfrecord" {
            continue;
        }
        let spec = ExampleSpec::new()
            .var_len("image/object/bbox/xmax", FeatureType::F32)
            .var_len("image/object/class/text", FeatureType::Bytes)
            .fixed_len("image/width", FeatureType::I64, []);
        let found = super::decode_one(&spec, &records[0]).unwrap();
        assert_eq!(expected["first"]["image/object/bbox/xmax"], serde_json::json!([0.25, 0.25, 0.375]));
        let expected =
            [super::floats(&[0.25, 0.25, 0.375]), super::text("label_2label_3"), super::integers(&[7, 7, 0])];
        assert_eq!(found[..3], expected);
        assert_eq!(found[3], super::integers(&[16]));
    }
}
