use std::fs;
use std::io::Read;
use std::path::PathBuf;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::error::ErrorKind;

fn file(payloads: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut file = Vec::new();
    payloads.iter().for_each(|payload| push_frame(&mut file, payload.as_ref()));
    file
}

fn scanned(bytes: &[u8]) -> Result<Vec<u64>> {
    let mut offsets = Vec::new();
    let region = Region::from_vec(bytes.to_vec());
    let end = scan(&region, 0..region.len_bytes(), &mut offsets)?;
    assert_eq!(end, region.len_bytes());
    Ok(offsets)
}

/// All payloads of a file, by reading it from its beginning to its end with a checksum bit by bit.
fn naive(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let crc = |bytes: &[u8]| {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82F6_3B78 * (crc & 1));
            }
        }
        (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
    };
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at_checked(8)?;
        let (stored, rest) = rest.split_at_checked(4)?;
        if crc(length) != u32::from_le_bytes(stored.try_into().unwrap()) {
            return None;
        }
        let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let (stored, rest) = rest.split_at_checked(4)?;
        if crc(payload) != u32::from_le_bytes(stored.try_into().unwrap()) {
            return None;
        }
        payloads.push(payload.to_vec());
        bytes = rest;
    }
    Some(payloads)
}

/// The payloads between the offsets that a scan found, their checksums held against them.
fn payloads<'a>(bytes: &'a [u8], offsets: &[u64]) -> Result<Vec<&'a [u8]>> {
    let ends = offsets.iter().skip(1).map(|&offset| offset as usize).chain([bytes.len()]);
    let frames = offsets.iter().zip(ends).map(|(&start, end)| &bytes[start as usize..end]);
    frames
        .map(|frame| {
            let (rest, trailer) = frame.split_last_chunk().unwrap();
            let payload = &rest[HEADER_BYTES as usize..];
            check_payload(payload, *trailer)?;
            Ok(payload)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_frame_is_found(lens in prop::collection::vec(0..400usize, 0..40), seed: u8, num_parts in 1..9usize) {
        let made: Vec<Vec<u8>> =
            lens.iter().map(|&len| (0..len).map(|i| (i * 7) as u8 ^ seed).collect()).collect();
        let bytes = file(&made);
        prop_assert_eq!(naive(&bytes), Some(made.clone()));
        let offsets = scanned(&bytes).unwrap();
        prop_assert_eq!(payloads(&bytes, &offsets).unwrap(), made);

        let region = Region::from_vec(bytes);
        let parts = split(&region, num_parts).unwrap();
        let mut joined = Vec::new();
        let ends: Vec<u64> =
            parts.iter().map(|part| scan(&region, part.clone(), &mut joined).unwrap()).collect();
        prop_assert!(joins(&parts, &ends));
        prop_assert_eq!(joined, offsets);
    }

    #[test]
    fn any_flipped_bit_is_found(lens in prop::collection::vec(0..40usize, 1..5), at: prop::sample::Index, bit in 0..8u32) {
        let mut bytes = file(&lens.iter().map(|&len| vec![3; len]).collect::<Vec<_>>());
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert_eq!(naive(&bytes), None);
        let found = scanned(&bytes).and_then(|offsets| payloads(&bytes, &offsets).map(|_| ()));
        prop_assert_eq!(found.unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn any_bytes_are_split_and_scanned_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), from: u64, until: u64, num_parts in 0..5usize,
    ) {
        let region = Region::from_vec(bytes);
        let _ = scan(&region, from..until, &mut Vec::new());
        let parts = split(&region, num_parts).unwrap();
        prop_assert_eq!(parts[0].start, 0);
    }
}

#[test]
fn a_file_cut_anywhere_but_between_frames_names_the_record() {
    let bytes = file(&[&b"first"[..], b"", b"the third"]);
    let starts = [0, 21, 37, bytes.len()];
    for len in 0..=bytes.len() {
        let found = scanned(&bytes[..len]);
        if starts.contains(&len) {
            assert_eq!(found.unwrap().len(), starts.iter().position(|&start| start == len).unwrap());
            continue;
        }
        let error = found.unwrap_err();
        let record = starts.iter().filter(|&&start| start < len).count() - 1;
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.location().record, Some(record as u64));
        assert_eq!(error.location().byte, Some(starts[record] as u64));
        let held = len - starts[record];
        let payload = [5, 0, 9][record];
        assert_eq!(
            error.message(),
            match held {
                0..12 => format!(
                    "expected the 12 bytes that begin a record, found {held} up to the end of the file"
                ),
                _ if held < 12 + payload =>
                    format!("expected {payload} bytes of payload, found the file ends after {}", held - 12),
                _ => format!(
                    "expected 4 bytes of checksum behind the payload, found the file ends after {}",
                    held - 12 - payload
                ),
            }
        );
    }
}

#[test]
fn a_forged_length_is_held_against_the_file() {
    for length in [1, 2, 1 << 32, i64::MAX as u64, u64::MAX - 16, u64::MAX] {
        let mut bytes = file(&[b"first"]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&masked_crc(&length.to_le_bytes()).to_le_bytes());
        let error = scanned(&bytes).unwrap_err();
        assert_eq!((error.location().record, error.location().byte), (Some(1), Some(21)));
        assert_eq!(
            error.message(),
            format!("expected {length} bytes of payload, found the file ends after 0")
        );
    }
}

#[test]
fn a_wrong_checksum_is_said_in_full() {
    let mut bytes = file(&[b"payload"]);
    bytes[0] ^= 1;
    let error = scanned(&bytes).unwrap_err();
    let expected = masked_crc(&6u64.to_le_bytes());
    let found = masked_crc(&7u64.to_le_bytes());
    assert_eq!(
        error.message(),
        format!("expected the length of a record with the masked CRC-32C {expected:08x}, found {found:08x}")
    );
    let error = check_payload(b"payloae", masked_crc(b"payload").to_le_bytes()).unwrap_err();
    assert!(error.message().starts_with("expected a payload of 7 bytes with the masked CRC-32C"));
}

/// RFC 3720, B.4: the CRC-32C of 32 bytes of zeros is AA 36 91 8A.
#[test]
fn the_checksum_is_the_masked_castagnoli_one() {
    assert_eq!(masked_crc(&[0; 32]), 0x8A91_36AAu32.rotate_right(15).wrapping_add(0xA282_EAD8));
    assert!(looks_like(&file(&[b"x"])[..12]));
    assert!(!looks_like(&file(&[b"x"])[..11]));
    assert!(!looks_like(&[0; 64]));
}

#[test]
fn frames_within_a_payload_do_not_join() {
    let inner = file(&vec![[7; 20]; 100]);
    let bytes = file(&[&inner[..], &inner[..]]);
    let region = Region::from_vec(bytes.clone());
    let parts = split(&region, 4).unwrap();
    assert!(parts.len() > 1, "a search that finds the inner frames is what this is about");
    let ends: Vec<u64> =
        parts.iter().map(|part| scan(&region, part.clone(), &mut Vec::new()).unwrap_or(u64::MAX)).collect();
    assert!(!joins(&parts, &ends));
    assert_eq!(scanned(&bytes).unwrap().len(), 2);
}

/// A payload with a header in it, behind which there is none, is not taken for a frame.
#[test]
fn a_header_alone_is_no_frame() {
    let mut inner = vec![9; 50];
    let lone = file(&[[9; 20]]);
    inner.extend_from_slice(&lone[..12]);
    inner.resize(200, 9);
    let region = Region::from_vec(file(&[&inner[..], b"second"]));
    assert_eq!(find_frame(&region, 1..u64::MAX).unwrap(), Some(216));
}

#[test]
fn a_frame_is_found_across_blocks() {
    for gap in SEARCH_BLOCK_BYTES - 40..SEARCH_BLOCK_BYTES + 2 {
        let bytes = file(&[vec![0xFF; gap], vec![1; 30], vec![2; 30]]);
        let region = Region::from_vec(bytes);
        let expected = gap as u64 + 16;
        assert_eq!(find_frame(&region, 1..u64::MAX).unwrap(), Some(expected));
        assert_eq!(find_frame(&region, 1..expected).unwrap(), None);
        assert_eq!(find_frame(&region, expected..expected + 1).unwrap(), Some(expected));
        assert_eq!(find_frame(&region, expected + 1..u64::MAX).unwrap(), Some(expected + 46));
        assert_eq!(find_frame(&region, expected + 47..u64::MAX).unwrap(), None);
    }
}

#[test]
fn real_files_have_the_records_a_right_reader_finds() {
    let Some(folder) = std::env::var_os("FOREBAY_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: FOREBAY_TEST_DATA names no folder");
        return;
    };
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let mut num_files = 0;
    for (name, expected) in expected["files"].as_object().unwrap() {
        if !name.starts_with("tfrecord/") {
            continue;
        }
        let mut bytes = fs::read(folder.join(name)).unwrap();
        assert_eq!(looks_like(&bytes), expected["compression"].is_null(), "{name}");
        if expected["compression"] == "gzip" {
            let packed = std::mem::take(&mut bytes);
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        }
        assert_eq!(expected["uncompressed_bytes"], bytes.len(), "{name}");
        let offsets = scanned(&bytes).unwrap();
        assert_eq!(expected["records"], offsets.len(), "{name}");
        let mut hash = Sha256::new();
        for payload in payloads(&bytes, &offsets).unwrap() {
            hash.update((payload.len() as u32).to_le_bytes());
            hash.update(payload);
        }
        let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(expected["payloads_sha256"], hash, "{name}");
        num_files += 1;
    }
    assert!(num_files >= 11);
}
