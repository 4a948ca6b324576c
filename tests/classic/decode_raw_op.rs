//! From byte strings to rows of numbers.

use arrow::array::{Array, AsArray, BooleanArray, Int16Array, UInt8Array};
use arrow::datatypes::{Float16Type, Float32Type, Float64Type, Int32Type, UInt8Type};
use forebay::coordinator::decode::{RawType, decode_raw};
use forebay::format::ByteOrder;
use forebay::{DType, ErrorKind};
use half::f16;

use ByteOrder::{Big, Little};

/// `DecodeRawOpTest.testToUint8`
#[test]
fn to_uint8() {
    let rows = decode_raw(&["A", "a"], DType::U8, Little).unwrap();
    assert_eq!((rows.len(), rows.value_length()), (2, 1));
    assert_eq!(rows.values().as_primitive::<UInt8Type>().values(), b"Aa");
    let rows = decode_raw(&["wer", "XYZ"], DType::U8, Big).unwrap();
    assert_eq!(rows.value(1).as_ref(), &UInt8Array::from(b"XYZ".to_vec()));
    let error = decode_raw(&["short", "longer"], DType::U8, Little).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(1)));
    assert!(error.message().contains("expected 5 bytes") && error.message().contains("found 6"), "{error}");
}

/// `DecodeRawOpTest.testToInt16`
#[test]
fn to_int16() {
    let rows = decode_raw(&["AaBC"], DType::I16, Little).unwrap();
    let [first, second] = [*b"Aa", *b"BC"].map(i16::from_le_bytes);
    assert_eq!(rows.value(0).as_ref(), &Int16Array::from(vec![first, second]));
    let rows = decode_raw(&["AaBC"], DType::I16, Big).unwrap();
    let [first, second] = [*b"Aa", *b"BC"].map(i16::from_be_bytes);
    assert_eq!(rows.value(0).as_ref(), &Int16Array::from(vec![first, second]));
    let error = decode_raw(&["123", "456"], DType::I16, Little).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(0)));
    assert!(error.message().contains("a multiple of the 2 bytes of a i16, found 3"), "{error}");
}

/// `DecodeRawOpTest.testToFloat16`
#[test]
fn to_float16() {
    let halves = [1.5, -2.0, 0.25, f32::INFINITY].map(f16::from_f32);
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let rows = decode_raw(&[bytes], DType::F16, Little).unwrap();
    assert_eq!(rows.values().as_primitive::<Float16Type>().values(), &halves[..]);
}

/// `DecodeRawOpTest.testToBool`
#[test]
fn to_bool() {
    let rows = decode_raw(&[[0u8, 1, 0, 1], [1, 7, 0, 0]], DType::Bool, Little).unwrap();
    assert_eq!(rows.value_length(), 4);
    let expected = BooleanArray::from(vec![false, true, false, true, true, true, false, false]);
    assert_eq!(rows.values().as_boolean(), &expected);
}

/// `DecodeRawOpTest.testToComplex128`
#[test]
fn to_complex128() {
    let numbers = [1.0f64, 1.5, -2.0, 0.25];
    for (order, bytes) in [
        (Little, numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()),
        (Big, numbers.iter().flat_map(|number| number.to_be_bytes()).collect()),
    ] {
        let rows = decode_raw(&[&bytes, &bytes], RawType::Complex128, order).unwrap();
        assert_eq!((rows.len(), rows.value_length()), (2, 2));
        let first = rows.value(0);
        let pairs = first.as_fixed_size_list();
        assert_eq!((pairs.len(), pairs.value_length()), (2, 2));
        assert_eq!(pairs.value(1).as_primitive::<Float64Type>().values(), &[-2.0, 0.25]);
    }
    let error = decode_raw(&[[0u8; 8]], RawType::Complex128, Little).unwrap_err();
    assert!(error.message().contains("16 bytes of a complex128, found 8"), "{error}");
    let rows = decode_raw(&[[0u8; 8]], RawType::Complex64, Little).unwrap();
    assert_eq!(rows.value(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values(), &[0.0; 2]);
}

/// `DecodeRawOpTest.testEmptyStringInput`
#[test]
fn empty_string_input() {
    for num_inputs in 0..3 {
        let rows = decode_raw(&vec![""; num_inputs], DType::F16, Little).unwrap();
        assert_eq!((rows.len(), rows.value_length(), rows.values().len()), (num_inputs, 0, 0));
    }
}

#[test]
fn numbers_of_every_width_come_in_either_order() {
    for dtype in DType::ALL {
        let width = dtype.width_bytes();
        let bytes: Vec<u8> = (0..3 * width as u8).collect();
        let mut swapped = bytes.clone();
        swapped.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        let little = decode_raw(&[&bytes], dtype, Little).unwrap();
        assert_eq!(little, decode_raw(&[&swapped], dtype, Big).unwrap(), "{dtype}");
        assert_eq!((little.value_length(), little.value_type()), (3, dtype.to_arrow()));
    }
    let rows = decode_raw(&[[1u8, 2, 3, 4]], DType::I32, Big).unwrap();
    assert_eq!(rows.values().as_primitive::<Int32Type>().values(), &[0x0102_0304]);
}
