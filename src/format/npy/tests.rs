//! The NPY header against what NumPy writes, what it never writes, and damage.

use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

/// A header of version `major`.0 around `dict`, padded as NumPy pads.
fn header(major: u8, dict: &str) -> Vec<u8> {
    let before = if major == 1 { 10 } else { 12 };
    let len = (before + dict.len() + 1).next_multiple_of(64) - before;
    let mut header = MAGIC.to_vec();
    header.extend([major, 0]);
    header.extend(&(len as u32).to_le_bytes()[..before - 8]);
    header.extend(dict.bytes());
    header.resize(before + len - 1, b' ');
    header.push(b'\n');
    header
}

/// Parses a version 1.0 file of `dict` and `payload` bytes.
fn parse_dict(dict: &str, payload: u64) -> Result<TensorFile> {
    let header = header(1, dict);
    assert_eq!(header_len(&header[..12]).unwrap(), header.len() as u64);
    parse(&header, header.len() as u64 + payload)
}

#[test]
fn reads_what_numpy_writes() {
    let file = parse_dict("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 123), }", 3936).unwrap();
    assert_eq!((file.dtype, file.order, file.num_rows), (DType::F64, ByteOrder::Little, 4));
    assert_eq!((file.offset_bytes, file.row_stride_bytes, file.row_shape), (128, 984, vec![123]));
    assert_eq!(file.element_strides_bytes, None);
    let file = parse_dict("{'descr': '>f4', 'fortran_order': True, 'shape': (4, 3, 5)}", 240).unwrap();
    assert_eq!((file.dtype, file.order), (DType::F32, ByteOrder::Big));
    assert_eq!((file.row_stride_bytes, file.element_strides_bytes), (4, Some(vec![16, 48])));
}

#[test]
fn odd_headers_that_are_valid() {
    let dense_in_both = Some(vec![3]);
    for (dict, payload, row_shape) in [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (2L,), }", 16, Some(vec![])),
        ("{'shape': (2L, 3L), 'fortran_order': False, 'descr': '|u1'}", 6, dense_in_both.clone()),
        ("{\"descr\":\"|b1\",\"fortran_order\":False,\"shape\":(2,3)}", 6, dense_in_both.clone()),
        ("  {\t'descr' : '|i1' ,\n'fortran_order' : False , 'shape' : ( 2 , 3 , ) , }  ", 6, dense_in_both),
        ("{'descr': '<u1', 'fortran_order': True, 'shape': (5,)}", 5, Some(vec![])),
        ("{'descr': '=i2', 'fortran_order': False, 'shape': (1,)}", 2, Some(vec![])),
        ("{'descr': 'e', 'fortran_order': False, 'shape': (1,)}", 2, Some(vec![])),
        ("{'descr': '<i8', 'fortran_order': False, 'shape': (0,)}", 0, Some(vec![])),
        ("{'descr': '<i8', 'fortran_order': True, 'shape': (3, 0)}", 0, Some(vec![0])),
        ("{'descr': '<i8', 'fortran_order': True, 'shape': (3, 1)}", 24, Some(vec![1])),
    ] {
        let file = parse_dict(dict, payload).unwrap_or_else(|e| panic!("{dict}: {e}"));
        assert_eq!(Some(file.row_shape), row_shape, "{dict}");
        assert_eq!(file.element_strides_bytes, None, "{dict}");
    }
}

#[test]
fn what_is_no_header_is_malformed() {
    for dict in [
        "",
        "{}",
        "{,}",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'shape': (2,)}",
        "{'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 2}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': [2]}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (02,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2.0,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2LL,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2_0,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551616,)}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': None, 'shape': (2,)}",
        "{'descr': '|f8', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': <f8, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f\\x38', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f8\n, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)} 7",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f8' 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'desc",
    ] {
        let error = parse_dict(dict, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{dict}: {error}");
        assert!(error.location().byte.is_some_and(|byte| (10..=128).contains(&byte)), "{dict}: {error}");
    }
    let many = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({})}}", "1, ".repeat(65));
    assert_eq!(parse_dict(&many, 1).unwrap_err().kind(), ErrorKind::Malformed);
    let error = parse_dict("{'descr': '<f8', 'fortran_order': no, 'shape': (2,)}", 16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "byte 44: malformed data: bad NPY header: expected True or False, found 'no'"
    );
}

#[test]
fn element_types_without_a_tensor_are_refused_by_name() {
    for (descr, says) in [
        ("'|O'", "pickled"),
        ("'|O8'", "pickled"),
        ("'|S10'", "text"),
        ("'<U3'", "text"),
        ("'<c16'", "imaginary"),
        ("'<M8[ns]'", "int64"),
        ("'|V4'", "raw bytes"),
        ("'<f16'", "<f16"),
        ("''", "expected bool"),
        ("[('a', '<f8'), ('b', '<i4')]", "structured"),
        ("('<f8', (3,))", "more dimensions"),
    ] {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (4,), }}");
        let error = parse_dict(&dict, 32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{descr}");
        assert!(error.message().contains(says), "{error}");
        assert_eq!(error.location().byte, Some(20), "{error}");
    }
    let error = parse_dict("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("0-dimensional"));
}

#[test]
fn a_file_cut_anywhere_or_too_long_is_an_error() {
    for major in [1, 2, 3] {
        let mut bytes = header(major, "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }");
        let end = bytes.len();
        bytes.resize(end + 24, 1);
        parse(&bytes, bytes.len() as u64).unwrap();
        for len in 0..bytes.len() {
            let error = parse(&bytes[..len], len as u64).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {len}");
            assert!(error.location().byte.is_some_and(|byte| byte <= len as u64), "cut at {len}: {error}");
            assert_eq!(header_len(&bytes[..len]).is_ok(), len >= if major == 1 { 10 } else { 12 });
        }
        let error = parse(&bytes, end as u64 + 25).unwrap_err();
        assert_eq!(error.message(), "header declares 24 payload bytes, file holds 25");
    }
}

#[test]
fn forged_lengths_and_versions_are_refused() {
    let dict = |shape| format!("{{'descr': '<f8', 'fortran_order': True, 'shape': {shape}, }}");
    for shape in
        ["(18446744073709551615,)", "(0, 18446744073709551615, 9)", "(4294967296, 4294967296, 4294967296)"]
    {
        assert_eq!(parse_dict(&dict(shape), 64).unwrap_err().kind(), ErrorKind::Malformed, "{shape}");
    }
    for (version, kind) in [([1, 1], ErrorKind::Unsupported), ([4, 0], ErrorKind::Unsupported)] {
        let mut bytes = header(1, &dict("(1,)"));
        bytes[6..8].copy_from_slice(&version);
        assert_eq!(parse(&bytes, bytes.len() as u64 + 8).unwrap_err().kind(), kind);
    }
    let mut bytes = header(2, &dict("(1,)"));
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(header_len(&bytes).unwrap_err().location().byte, Some(8));
    bytes[8..12].copy_from_slice(&((1 << 20) - 12u32).to_le_bytes());
    assert_eq!(header_len(&bytes).unwrap(), HEADER_BYTES_MAX);
    bytes[8..12].copy_from_slice(&((1 << 20) - 11u32).to_le_bytes());
    assert_eq!(header_len(&bytes).unwrap_err().kind(), ErrorKind::Malformed);
}

proptest! {
    #[test]
    fn a_header_reads_back_as_it_was_written(
        major in 1..4u8, which in 0..12usize, big: bool, fortran: bool, long: bool,
        shape in prop::collection::vec(0..50u64, 1..6),
    ) {
        let dtype = DType::ALL[which];
        let kind = char::from(dtype.name().as_bytes()[0]);
        let sign = match (dtype.width_bytes(), big) { (1, _) => '|', (_, true) => '>', (_, false) => '<' };
        let dims: String = shape.iter().map(|n| format!("{n}{}, ", if long { "L" } else { "" })).collect();
        let order = if fortran { "True" } else { "False" };
        let dict = format!(
            "{{'descr': '{sign}{kind}{}', 'fortran_order': {order}, 'shape': ({dims}), }}",
            dtype.width_bytes(),
        );
        let header = header(major, &dict);
        prop_assert_eq!(header.len() % 64, 0);
        prop_assert_eq!(header_len(&header[..12]).unwrap(), header.len() as u64);
        let payload = dtype.width_bytes() as u64 * shape.iter().product::<u64>();
        let file = parse(&header, header.len() as u64 + payload).unwrap();
        let order = match (dtype.width_bytes(), big) {
            (1, _) => ByteOrder::NATIVE,
            (_, true) => ByteOrder::Big,
            (_, false) => ByteOrder::Little,
        };
        let place = if fortran { TensorFile::fortran_order } else { TensorFile::c_order };
        prop_assert_eq!(file, place(dtype, order, &shape, header.len() as u64).unwrap());
    }

    #[test]
    fn damaged_headers_never_panic(
        bits in prop::collection::vec(0..128 * 8usize, 1..6), major in 1..4u8, file_len: u64,
        random in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = header(major, "{'descr': '<i4', 'fortran_order': True, 'shape': (3, 2), }");
        let len = bytes.len() as u64 + 24;
        for bit in bits {
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let random = [&MAGIC[..], &[major, 0], &random].concat();
        for (bytes, len) in [(&bytes, len), (&bytes, file_len), (&random, file_len)] {
            if let Ok(file) = parse(bytes, len) {
                file.check(len).unwrap();
                prop_assert!(file.row_shape.len() < DIMENSIONS_MAX);
            }
        }
    }

    #[test]
    fn any_dictionary_never_panics(
        parts in prop::collection::vec(
            prop::sample::select(&[
                "{", "}", "(", ")", "[", "]", ",", ":", "'descr'", "'shape'", "'fortran_order'", "'<f8'",
                "\"", "'", "True", "3", "2L", "\\", " ", "\n", "é", "18446744073709551616",
            ][..]),
            0..24,
        ),
    ) {
        let dict = parts.concat();
        if let Ok(file) = parse_dict(&dict, 24) {
            prop_assert_eq!(file.row_bytes() * file.num_rows, 24);
        }
    }
}
