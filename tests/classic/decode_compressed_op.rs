//! From a compressed byte string to what it inflates to.

use arrow::array::AsArray;
use arrow::datatypes::Int16Type;
use forebay::coordinator::decode::{decode_compressed, decode_raw};
use forebay::format::{ByteOrder, Compression};
use forebay::{DType, ErrorKind};

use crate::support::{gzip, zlib};

fn packed(bytes: &[u8]) -> [(Compression, Vec<u8>); 3] {
    [(Compression::None, bytes.to_vec()), (Compression::Gzip, gzip(bytes)), (Compression::Zlib, zlib(bytes))]
}

/// `DecodeCompressedOpTest.testDecompress`
#[test]
fn decompress() {
    for text in [&b"AaAA"[..], b"bBbb", b""] {
        for (compression, stored) in packed(text) {
            assert_eq!(decode_compressed(&stored, compression, 4).unwrap(), text);
        }
    }
}

/// `DecodeCompressedOpTest.testDecompressWithRaw`
#[test]
fn decompress_with_raw() {
    for (compression, stored) in packed(b"AaBC") {
        let bytes = decode_compressed(&stored, compression, 100).unwrap();
        let rows = decode_raw(&[bytes], DType::I16, ByteOrder::Little).unwrap();
        let expected = [*b"Aa", *b"BC"].map(i16::from_le_bytes);
        assert_eq!(rows.values().as_primitive::<Int16Type>().values(), &expected[..]);
    }
}

#[test]
fn what_is_cut_damaged_or_too_much_is_an_error() {
    let text: Vec<u8> = (0..2000u32).map(|i| ((i * i) >> 3) as u8).collect();
    for (compression, stored) in packed(&text) {
        let error = decode_compressed(&stored, compression, text.len() as u64 - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(decode_compressed(&stored, compression, text.len() as u64).unwrap(), text);
        if compression == Compression::None {
            continue;
        }
        for cut in (1..stored.len()).step_by(37).chain([stored.len() - 1]) {
            let error = decode_compressed(&stored[..cut], compression, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{compression} cut to {cut} bytes");
        }
        let mut flipped = stored.clone();
        flipped[stored.len() / 2] ^= 0x10;
        assert_eq!(
            decode_compressed(&flipped, compression, 1 << 20).unwrap_err().kind(),
            ErrorKind::Malformed
        );
    }
}
