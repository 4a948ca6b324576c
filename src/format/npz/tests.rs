//! Archives written by hand, by NumPy and by Python's `zipfile`; and archives that are cut, flipped and forged.

use super::*;
use crate::error::ErrorKind;
use crate::format::real;
use crate::layout::DType;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::io::Write;

/// Arrays `a` = [1, -2, 300] and `b` = 3 × 100 zeros, i16, deflated, as `zipfile` writes them when it does not know
/// how long they will be; the comment begins like an end record.
const BY_ZIPFILE: &str = "\
504b03042d00000008000000210069173386ffffffffffffffff05001400612e6e70790100100086000000000000004a0000\
00000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a4aea3a09e965f54529498179f5f94920a12774bcc\
294e058a17672416a402f91ac63a9a3a0ab50a14002e46867fff751801504b03042d000000080000002100d5ddf6e6ffffff\
ffffffffff05001400622e6e707901001000d8020000000000004e000000000000009bec17ea1b10c9c850c650ad9e925a9c\
5ca46ea5a06e9369a4aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91ac63a0a8606069a3a0a\
b50a64022e8651300a680000504b01022d032d000000080000002100691733864a0000008600000005000000000000000000\
0000800100000000612e6e7079504b01022d032d000000080000002100d5ddf6e64e000000d8020000050000000000000000\
000000800181000000622e6e7079504b0506000000000200020066000000060100000c00504b050620636f6d6d656e74";

/// Array `a` alone, as `zipfile` writes it to a pipe: its lengths stand behind its content.
const TO_A_PIPE: &str = "\
504b03041400080008000000210000000000000000000000000005000000612e6e70799bec17ea1b10c9c850c650ad9e925a\
9c5ca46ea5a06e9369a4aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91ac63a9a3a0ab50a14\
002e46867fff751801504b0708691733864a00000086000000504b0102140314000800080000002100691733864a00000086\
000000050000000000000000000000800100000000612e6e7079504b05060000000001000100330000007d0000000000";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn npy(shape: &str, payload: &[u8]) -> Vec<u8> {
    let dictionary = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((dictionary.len() as u16).to_le_bytes());
    bytes.extend_from_slice(dictionary.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Stored,
    Deflated,
    Zip64,
}

/// An archive written from the format's page, `Zip64` with every number where zip64 has it.
fn archive(members: &[(&str, &[u8], Way)]) -> Vec<u8> {
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    let mut any_zip64 = false;
    for &(name, content, way) in members {
        let method = u16::from(way == Way::Deflated) * 8;
        let packed = if way == Way::Deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.to_vec()
        };
        let zip64 = way == Way::Zip64;
        any_zip64 |= zip64;
        let header_at = bytes.len() as u64;
        let narrow = |number: u64| if zip64 { u32::MAX } else { number as u32 };
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc(content).to_le_bytes());
        common.extend(narrow(packed.len() as u64).to_le_bytes());
        common.extend(narrow(content.len() as u64).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        let lens = [content.len() as u64, packed.len() as u64];
        let extra = |numbers: &[u64]| {
            let mut extra = vec![0xEF, 0xBE, 2, 0, 7, 7, 1, 0];
            extra.extend((8 * numbers.len() as u16).to_le_bytes());
            extra.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            if zip64 { extra } else { Vec::new() }
        };
        let local = extra(&lens);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend((local.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend(local);
        bytes.extend(packed);
        let central = extra(&[lens[0], lens[1], header_at]);
        entries.extend(b"PK\x01\x02\x2d\0");
        entries.extend(&common);
        entries.extend((central.len() as u16).to_le_bytes());
        entries.extend([0; 10]);
        entries.extend(narrow(header_at).to_le_bytes());
        entries.extend_from_slice(name.as_bytes());
        entries.extend(central);
    }
    let (start, len, count) = (bytes.len() as u64, entries.len() as u64, members.len() as u64);
    bytes.extend(entries);
    if any_zip64 {
        let zip64_at = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([count, count, len, start].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(zip64_at.to_le_bytes());
        bytes.extend([1, 0, 0, 0]);
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let narrow = |number: u64| if any_zip64 { u16::MAX } else { number as u16 };
    bytes.extend([narrow(count), narrow(count)].iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend(
        [len, start]
            .map(|number| if any_zip64 { u32::MAX } else { number as u32 })
            .iter()
            .flat_map(|n| n.to_le_bytes()),
    );
    bytes.extend([0, 0]);
    bytes
}

fn found(bytes: &[u8]) -> Result<Vec<NpzArray>> {
    arrays(&Region::from_vec(bytes.to_vec()))
}

/// The names of the arrays and their elements.
fn contents(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let region = Region::from_vec(bytes.to_vec());
    arrays(&region)?
        .into_iter()
        .map(|array| {
            let from = if array.member.is_deflated {
                inflate_member(&region, &array.member)?
            } else {
                bytes.to_vec()
            };
            let (start, end) = (array.tensor.offset_bytes, array.tensor.end_bytes().unwrap());
            Ok((array.name, from[start as usize..end as usize].to_vec()))
        })
        .collect()
}

#[test]
fn archives_of_zipfile_are_read() {
    let b = unhex(BY_ZIPFILE);
    assert!(looks_like(&b) && looks_like(b"PK\x05\x06") && !looks_like(b"PK"));
    let arrays = found(&b).unwrap();
    let shapes: Vec<_> =
        arrays.iter().map(|a| (a.name.as_str(), a.tensor.row_shape.as_slice(), a.tensor.dtype)).collect();
    assert_eq!(shapes, [("a", &[][..], DType::I16), ("b", &[100][..], DType::I16)]);
    assert_eq!(arrays[0].member.crc32, 0x8633_1769);
    let a = ("a".to_owned(), [1i16, -2, 300].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!(contents(&b).unwrap(), [a.clone(), ("b".to_owned(), vec![0; 600])]);
    assert_eq!(contents(&unhex(TO_A_PIPE)).unwrap(), [a]);
}

#[test]
fn arrays_of_different_lengths_are_listed() {
    let arrays: Vec<_> =
        (1..=10).map(|n| (format!("x{n}.npy"), npy(&format!("({n},)"), &vec![0; n]))).collect();
    let members: Vec<_> =
        arrays.iter().map(|(name, bytes)| (name.as_str(), &bytes[..], Way::Stored)).collect();
    let error = found(&archive(&members)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(
        error.message(),
        "expected arrays of one number of rows, found 'x1' of 1, 'x2' of 2, 'x3' of 3, 'x4' of 4, 'x5' of 5, 'x6' of 6, \
         'x7' of 7, 'x8' of 8 and 2 more"
    );
}

#[test]
fn what_is_no_table_of_arrays_is_refused_by_name() {
    let good = npy("(1,)", &[1]);
    for (members, kind, word) in [
        (&[][..], ErrorKind::Malformed, "no members"),
        (&[("a.txt", &good[..], Way::Stored)], ErrorKind::Unsupported, "'a.txt'"),
        (&[("a.npy", &good, Way::Stored), ("a.npy", &good, Way::Stored)], ErrorKind::Malformed, "second 'a'"),
        (&[("a.npy", &npy("()", &[1]), Way::Deflated)], ErrorKind::Unsupported, "array 'a'"),
        (&[("a.npy", b"no array", Way::Stored)], ErrorKind::Malformed, "array 'a'"),
        (&[("a.npy", &npy("(2,)", &[1]), Way::Deflated)], ErrorKind::Malformed, "array 'a'"),
    ] {
        let error = found(&archive(members)).unwrap_err();
        assert!(error.kind() == kind && error.message().contains(word), "{error}");
    }
    let folder = archive(&[("folder/", b"", Way::Stored), ("folder/a.npy", &good, Way::Stored)]);
    assert_eq!(contents(&folder).unwrap(), [("folder/a".to_owned(), vec![1])]);
    let bytes = archive(&[("a.npy", &good, Way::Stored)]);
    let entry_at = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let end_at = bytes.len() - 22;
    for (at, value, kind) in [
        (entry_at + 8, 1, ErrorKind::Unsupported),
        (entry_at + 10, 12, ErrorKind::Unsupported),
        (end_at + 4, 1, ErrorKind::Unsupported),
        (end_at + 8, 2, ErrorKind::Unsupported),
        (entry_at + 10, 8, ErrorKind::Malformed),
        (entry_at + 24, 9, ErrorKind::Malformed),
        (entry_at + 42, 1, ErrorKind::Malformed),
        (entry_at + 46, b'b', ErrorKind::Malformed),
        (18, 1, ErrorKind::Malformed),
        (22, 1, ErrorKind::Malformed),
        (0, 0, ErrorKind::Malformed),
        (end_at + 16, 1, ErrorKind::Malformed),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        let error = found(&bytes).unwrap_err();
        assert_eq!(error.kind(), kind, "byte {at} = {value}: {error}");
        assert!(error.location().byte.is_some());
    }
}

#[test]
fn members_that_overlap_or_claim_too_much_are_refused() {
    let good = npy("(1,)", &[1]);
    let bytes = archive(&[("a.npy", &good, Way::Deflated)]);
    let entry_at = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let (entry, end) = (bytes[entry_at..bytes.len() - 22].to_vec(), &bytes[bytes.len() - 22..]);
    let mut twice = [&bytes[..entry_at], &entry, &entry, end].concat();
    let end_at = twice.len() - 22;
    (twice[end_at + 8], twice[end_at + 10], twice[end_at + 12]) = (2, 2, 2 * entry.len() as u8);
    assert!(found(&twice).unwrap_err().message().contains("overlap"));
    let mut big = bytes.clone();
    for at in [22, entry_at + 24] {
        big[at..at + 4].copy_from_slice(&0x7FFF_FFFFu32.to_le_bytes());
    }
    assert_eq!(found(&big).unwrap_err().kind(), ErrorKind::TooLarge);
    let mut long = archive(&[("a.npy", &good, Way::Stored)]);
    let entry_at = long.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    for at in [18, 22, entry_at + 20, entry_at + 24] {
        long[at] += 1;
    }
    assert!(found(&long).unwrap_err().message().contains("before the entries"));
    let entry_at = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let mut flipped = bytes.clone();
    flipped[entry_at + 16] ^= 1;
    let array = &found(&flipped).unwrap()[0];
    assert_eq!(
        inflate_member(&Region::from_vec(flipped), &array.member).unwrap_err().kind(),
        ErrorKind::Mismatch
    );
    for len in [good.len() - 1, good.len() + 1] {
        let mut member = array.member.clone();
        member.len = len as u64;
        let error = inflate_member(&Region::from_vec(bytes.clone()), &member).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }
}

#[test]
fn an_archive_cut_anywhere_is_malformed() {
    for bytes in [
        archive(&[
            ("a.npy", &npy("(3,)", b"abc"), Way::Zip64),
            ("b.npy", &npy("(3,)", b"abc"), Way::Deflated),
        ]),
        unhex(BY_ZIPFILE),
        unhex(TO_A_PIPE),
    ] {
        found(&bytes).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(found(&bytes[..len]).unwrap_err().kind(), ErrorKind::Malformed, "cut at {len}");
        }
    }
}

proptest! {
    #[test]
    fn arrays_read_back_as_they_were_written(
        members in prop::collection::vec((prop::collection::vec(any::<u8>(), 7), 0..3usize), 1..6),
        comment in prop::collection::vec(prop::sample::select(&b"PK\x05\x06ab"[..]), 0..40),
    ) {
        let expected: Vec<_> = (0..).map(|i| format!("x{i}")).zip(members.iter().map(|(bytes, _)| bytes.clone())).collect();
        let files: Vec<_> = expected.iter().map(|(name, bytes)| (name.clone() + ".npy", npy("(7,)", bytes))).collect();
        let ways = members.iter().map(|(_, way)| [Way::Stored, Way::Deflated, Way::Zip64][*way]);
        let members: Vec<_> = files.iter().zip(ways).map(|((name, bytes), way)| (name.as_str(), &bytes[..], way)).collect();
        let mut bytes = archive(&members);
        let at = bytes.len() - 2;
        bytes[at] = comment.len() as u8;
        bytes.extend(comment);
        prop_assert_eq!(contents(&bytes).unwrap(), expected);
    }

    #[test]
    fn damaged_archives_never_panic(
        flips in prop::collection::vec((0..1000usize, 0..8u8), 1..5), numbers in prop::collection::vec((0..1000usize, any::<u8>()), 0..3),
    ) {
        let zip64 = archive(&[("a.npy", &npy("(3,)", b"abc"), Way::Zip64), ("b.npy", &npy("(3,)", b"abc"), Way::Deflated)]);
        for mut bytes in [zip64, unhex(BY_ZIPFILE)] {
            let len = bytes.len();
            for &(at, bit) in &flips {
                bytes[at % len] ^= 1 << bit;
            }
            for &(at, value) in &numbers {
                bytes[at % len] = value;
            }
            let region = Region::from_vec(bytes);
            for array in arrays(&region).unwrap_or_default() {
                if array.member.is_deflated {
                    let _ = inflate_member(&region, &array.member).map(|bytes| array.tensor.check(bytes.len() as u64).unwrap());
                } else {
                    array.tensor.check(region.len_bytes()).unwrap();
                }
            }
        }
    }
}

#[test]
fn real_archives_have_their_arrays() {
    for name in ["npy/candle_test.npz", "npy/gcvspl.npz"] {
        let Some((path, expected)) = real::expected(name) else { return };
        let bytes = std::fs::read(path).unwrap();
        let arrays = contents(&bytes).unwrap();
        assert_eq!(arrays.len(), expected["arrays"].as_object().unwrap().len());
        for (name, elements) in arrays {
            let expected = &expected["arrays"][&name];
            assert_eq!(
                real::hex(&Sha256::digest(&elements)),
                expected["c_order_le_sha256"].as_str().unwrap()
            );
        }
        for array in found(&bytes).unwrap() {
            assert!(!array.member.is_deflated);
            let content = inflate_member(&Region::from_vec(bytes.clone()), &array.member).unwrap();
            assert_eq!(content.len() as u64, array.member.len);
        }
    }
}
