//! Samples against the library's own pattern, written out, and a walk over the names; real archives.

use super::*;
use crate::format::real;
use ::tar::{Builder, Header};
use arrow::array::Array;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn archive<'a>(names: impl IntoIterator<Item = &'a str>) -> Region {
    let mut builder = Builder::new(Vec::new());
    for name in names {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(name.len() as u64);
        header.set_cksum();
        builder.append(&header, name.as_bytes()).unwrap();
    }
    Region::from_vec(builder.into_inner().unwrap())
}

/// The columns that are not null, and their values.
type Row = Vec<(String, String)>;

/// The columns of the samples, each value the name of its file, which is also its content.
fn samples(names: &[&str]) -> Result<(Vec<String>, Vec<Row>)> {
    let region = archive(names.iter().copied());
    let index = index(&region)?;
    let bytes = region.owned_bytes().unwrap();
    let mut rows = Vec::new();
    for row in 0..index.keys.len() {
        let mut values = vec![(KEY.to_owned(), index.keys.value(row).to_owned())];
        for (extension, extents) in index.extensions.iter().zip(&index.extents) {
            assert_eq!(extents.num_rows(), index.keys.len() as u64);
            if let Some(Extent { start, len }) = extents.get(row as u64)? {
                let content = &bytes[start as usize..(start + len) as usize];
                values.push((extension.clone(), String::from_utf8(content.to_vec()).unwrap()));
            }
        }
        rows.push(values);
    }
    Ok((index.extensions, rows))
}

#[test]
fn the_drawing_is_right() {
    let names = ["photos/0001.jpg", "photos/0001.json", "photos/0002.JPG", "photos/0002.seg.png"];
    let (extensions, rows) = samples(&names).unwrap();
    assert_eq!(extensions, ["jpg", "json", "seg.png"]);
    let row = |values: &[(&str, &str)]| -> Vec<_> {
        values.iter().map(|&(column, value)| (column.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], row(&[(KEY, "photos/0001"), ("jpg", names[0]), ("json", names[1])]));
    assert_eq!(rows[1], row(&[(KEY, "photos/0002"), ("jpg", names[2]), ("seg.png", names[3])]));
}

#[test]
fn a_key_that_comes_again_begins_a_new_sample() {
    let (_, rows) = samples(&["a.x", "b.x", "a.x", "README", "a.y", "__about__/b.x", "a.z"]).unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row[0].1.as_str()).collect();
    assert_eq!((keys, rows[2].len()), (vec!["a", "b", "a"], 4));
    assert_eq!(samples(&["README"]).unwrap().1.len(), 0);
}

#[test]
fn a_second_file_of_an_extension_is_named() {
    let error = samples(&["a.x", "b.x", "b.y", "b.X"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(error.location().byte, Some(3 * 1024));
    assert_eq!(error.message(), "expected one file of each extension in sample 'b', found a second 'x'");
    assert!(samples(&["a.__KEY__"]).unwrap_err().message().contains("__key__"));
    let mut bytes = archive(["a.x"]).owned_bytes().unwrap().to_vec();
    bytes[0] = 0xFF;
    let sum: u32 = (0..512).map(|i| if (148..156).contains(&i) { 32 } else { u32::from(bytes[i]) }).sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let error = index(&Region::from_vec(bytes)).unwrap_err();
    assert!(error.message().contains("UTF-8"), "{error}");
}

#[test]
fn samples_with_nothing_in_common_are_too_large() {
    let names: Vec<String> = (0..2500).map(|i| format!("{i}.{i}")).collect();
    let error = index(&archive(names.iter().map(String::as_str))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

/// `^((?:.*/|)[^.]+)[.]([^/]*)$`, every way to match it tried in the order a backtracking matcher does.
fn matched(path: &str) -> Option<(&str, &str)> {
    let folders = path.rmatch_indices('/').map(|(slash, _)| slash + 1).chain([0]);
    for start in folders {
        for dot in (start + 1..path.len()).rev() {
            let (key, rest) = (&path[start..dot], &path[dot..]);
            if !key.contains('.') && rest.starts_with('.') && !rest.contains('/') {
                return Some((&path[..dot], &rest[1..]));
            }
        }
    }
    None
}

proptest! {
    #[test]
    fn names_are_cut_as_the_library_cuts_them(path in "[a./_]{0,12}") {
        prop_assert_eq!(key_and_extension(&path), matched(&path));
    }

    #[test]
    fn samples_are_those_of_a_walk(
        names in prop::collection::vec("[ab]/?[ab]{0,1}[.]?[xyX]", 0..12),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut expected: Option<Vec<Row>> = Some(Vec::new());
        for name in &names {
            let Some((key, extension)) = matched(name) else { continue };
            let Some(rows) = &mut expected else { break };
            let extension = extension.to_lowercase();
            if rows.last().is_none_or(|row| row[0].1 != key) {
                rows.push(vec![(KEY.to_owned(), key.to_owned())]);
            }
            let row = rows.last_mut().unwrap();
            if row.iter().any(|(column, _)| *column == extension) {
                expected = None;
            } else {
                row.push((extension, (*name).to_owned()));
            }
        }
        let found = samples(&names).ok().map(|(_, rows)| rows);
        let sorted = |rows: Option<Vec<Row>>| {
            rows.map(|rows| rows.into_iter().map(|mut row| { row.sort(); row }).collect::<Vec<_>>())
        };
        if !names.is_empty() {
            prop_assert_eq!(sorted(found), sorted(expected));
        }
    }
}

#[test]
fn files_about_the_archive_are_passed_over() {
    for path in ["__a__", "__a__/b.x", "____", "__a.b__/c", "__a__.x/b__/c.__"] {
        assert_eq!(is_about_the_archive(path), path != "__a__.x/b__/c.__", "{path}");
    }
    for path in ["", "__", "___", "__/a.x", "a/__b__/c.x", "__a/b__", "__a__.x"] {
        assert!(!is_about_the_archive(path), "{path}");
    }
}

#[test]
fn real_archives_have_their_samples() {
    for name in ["webdataset/sample.tgz", "webdataset/compressed.tar", "webdataset/mpdata.tar"] {
        let Some((path, expected)) = real::expected(name) else { return };
        let region = Region::from_vec(real::inflated(&path));
        let index = index(&region).unwrap();
        let num_samples = index.keys.len();
        assert_eq!(num_samples as u64, expected["samples"].as_u64().unwrap());
        assert_eq!(index.keys.value(num_samples - 1), expected["last_key"].as_str().unwrap());
        let first = &expected["first_sample"];
        assert_eq!(index.keys.value(0), first["key"].as_str().unwrap());
        assert_eq!(index.extensions.len(), expected["extensions"].as_object().unwrap().len());
        for (extension, extents) in index.extensions.iter().zip(&index.extents) {
            let num_nulls = extents.nulls_within(region.len_bytes()).unwrap();
            let count = expected["extensions"][extension].as_u64().unwrap();
            assert_eq!(num_samples as u64 - num_nulls, count);
            let part = &first["parts"][extension];
            let Extent { start, len } = extents.get(0).unwrap().unwrap();
            assert_eq!(len, part["bytes"].as_u64().unwrap());
            let content = region.read(start..start + len).unwrap();
            assert_eq!(real::hex(&Sha256::digest(&content)), part["sha256"].as_str().unwrap());
        }
    }
}
