//! Streams that come back whole, that hold too much, and that break off.
#![forbid(unsafe_code)]

use super::*;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;

const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zlib, Compression::Zstd];

fn deflate(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let level = flate2::Compression::default();
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => ::zstd::encode_all(bytes, 3).unwrap(),
    }
}

fn varied(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn what_was_compressed_comes_back_whole() {
    for len in [0, 1, 511, 3 << 20] {
        for compression in ALL {
            let compressed = Region::from_vec(deflate(&varied(len), compression));
            assert_eq!(inflate(&compressed, compression).unwrap(), varied(len), "{compression:?} of {len}");
        }
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let twice = [deflate(b"one, ", compression), deflate(b"two", compression)].concat();
        assert_eq!(inflate(&Region::from_vec(twice), compression).unwrap(), b"one, two");
    }
}

#[test]
fn more_than_the_cap_is_an_error_and_never_cut() {
    for compression in ALL {
        for len in [100_000, 3 << 20] {
            let compressed = deflate(&vec![0; len], compression);
            let whole = inflate_within(&compressed, compression, len as u64).unwrap();
            assert_eq!(whole.len(), len);
            let error = inflate_within(&compressed, compression, len as u64 - 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{compression:?} of {len}");
        }
    }
}

#[test]
fn zeros_that_deflate_could_not_make_so_small_are_whole_or_refused() {
    // Zstandard makes a few kilobytes of them: more than 1,032 times less, which is the most that deflate can.
    let compressed = deflate(&vec![0; 50 << 20], Compression::Zstd);
    assert!(compressed.len() < (50 << 20) / 1032);
    let inflated = inflate(&Region::from_vec(compressed), Compression::Zstd).unwrap();
    assert!(inflated.len() == 50 << 20 && inflated.iter().all(|&byte| byte == 0));
    let compressed = deflate(&vec![0; (64 << 20) + 1], Compression::Zstd);
    let error = inflate(&Region::from_vec(compressed), Compression::Zstd).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn an_array_is_inflated_to_a_byte_beyond_what_it_declares() {
    let mut array = vec![0, 0, 8, 1];
    array.extend((2u32 << 20).to_be_bytes());
    array.resize(8 + (3 << 20), 7);
    for compression in ALL {
        let inflated = inflate(&Region::from_vec(deflate(&array, compression)), compression).unwrap();
        assert_eq!(inflated.len(), 8 + (2 << 20) + 1);
    }
}

#[test]
fn a_stream_cut_anywhere_breaks_off() {
    for compression in ALL {
        let compressed = deflate(&varied(700), compression);
        for len in 1..compressed.len() {
            let cut = inflate(&Region::from_vec(compressed[..len].to_vec()), compression);
            assert_eq!(cut.unwrap_err().kind(), ErrorKind::Malformed, "{compression:?} cut at {len}");
        }
    }
}

#[test]
fn zlib_is_believed_only_where_records_are_within() {
    let payload = b"a payload";
    let mut record = (payload.len() as u64).to_le_bytes().to_vec();
    record.extend(tfrecord::masked_crc(&record).to_le_bytes());
    record.extend_from_slice(payload);
    record.extend(tfrecord::masked_crc(payload).to_le_bytes());
    let head = deflate(&record, Compression::Zlib);
    assert_eq!(Compression::of(&head, "a.bin"), Some(Compression::Zlib));
    assert_eq!(Compression::of(&deflate(b"other bytes", Compression::Zlib), "a.bin"), None);
    assert_eq!(Compression::of(b"x^2,y\n1,2\n", "a.csv"), None);
}

#[test]
fn names_lose_the_ending_of_their_compression() {
    for (name, compression, within) in [
        ("a.csv.gz", Compression::Gzip, "a.csv"),
        ("a.csv.gzip", Compression::Gzip, "a.csv"),
        ("a.csv.zst", Compression::Zstd, "a.csv"),
        ("a.csv.zst.gz", Compression::Gzip, "a.csv.zst"),
        ("a.tgz", Compression::Gzip, "a.tar"),
        ("a.tfrecord", Compression::Zlib, "a.tfrecord"),
    ] {
        assert_eq!(compression.name_within(name), within);
    }
    assert_eq!(Compression::by_name("tokens.bin.gz"), Some(Compression::Gzip));
    assert_eq!(Compression::by_name("tokens.bin.zstd"), Some(Compression::Zstd));
    assert_eq!(Compression::by_name("tokens.bin"), None);
}

#[test]
fn what_does_not_fit_the_room_is_inflated_again() {
    let mut room = Room::new(10);
    let source = |room: &mut Room, len: usize| {
        let compressed = Region::from_vec(deflate(&varied(len), Compression::Gzip));
        FileSource::inflated(compressed, room, |region| inflate(region, Compression::Gzip)).unwrap()
    };
    assert!(source(&mut room, 6).kept().is_ok());
    let past = source(&mut room, 5);
    assert_eq!(past.kept().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(past.again.unwrap().inflate().unwrap().owned_bytes(), Some(&varied(5)[..]));
    assert_eq!(room.left_bytes(), 4);
    assert!(source(&mut room, 4).kept().is_ok());
}
