//! Fixed-length records against a walk from record to record, their text form, and bad options.

use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn digits() -> FixedSpec {
    FixedSpec::new(785).field("label", DType::U8, []).field("image", DType::U8, [28, 28])
}

#[test]
fn places_the_fields_of_the_digits() {
    let (columns, trailing) = digits().locate(785_000).unwrap();
    assert_eq!(trailing, 0);
    assert_eq!(columns.iter().map(|c| c.offset_bytes).collect::<Vec<_>>(), [0, 1]);
    assert!(columns.iter().all(|c| (c.num_rows, c.row_stride_bytes) == (1000, 785)));
    assert_eq!(columns[1].row_shape, [28, 28]);
    assert_eq!(digits().locate(785_784).unwrap().1, 784);
    assert_eq!(digits().locate(0).unwrap(), digits().locate(784).map(|(columns, _)| (columns, 0)).unwrap());
}

#[test]
fn text_says_the_same_as_the_builder() {
    assert_eq!("label:u8,image:u8[28,28]".parse::<FixedSpec>().unwrap(), digits());
    assert_eq!(" label : <u8 , image : u8 [ 28, 28 ] @ 1".parse::<FixedSpec>().unwrap(), digits());
    let mut spec = FixedSpec::new(40).field_at(16, "x", DType::F32, [3]).field("y", DType::I16, []);
    spec.fields[0].order = ByteOrder::Big;
    assert_eq!("x:>f32[3]@16,y:i16".parse::<FixedSpec>().unwrap().record_bytes(40), spec);
    assert_eq!("x:f32@4,y:f32@0".parse::<FixedSpec>().unwrap().record_bytes, 8);
}

#[test]
fn bad_text_is_refused_with_the_text() {
    for text in [
        "",
        ",",
        "u8",
        "x:",
        "x:u9",
        "x:>",
        "x:u8[",
        "x:u8[]",
        "x:u8]",
        "x:u8[3",
        "x:u8[3]x",
        "x:u8[-1]",
        "x:u8[3,]",
        "x:u8@",
        "x:u8@-1",
        "x:u8@1.5",
        "x:u8,",
        ":u8",
        "x:u8,x:u8",
        "x:u8[0]",
        "x:><u8",
        "x:u8[3][4]",
        "x:u8@18446744073709551615",
        "x:u8[18446744073709551615,2],y:u8",
    ] {
        let error = text.parse::<FixedSpec>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
    let error = "label:u8,image:u9[3]".parse::<FixedSpec>().unwrap_err();
    assert!(
        error.message().starts_with("bad field 'image:u9[3]': no element type is called 'u9'"),
        "{error}"
    );
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    let spec = || FixedSpec::new(8).field("x", DType::F32, [2]);
    for (spec, says) in [
        (spec().record_bytes(0), "record_bytes is 0"),
        (spec().record_bytes(7), "'x:f32[2]@0' ends at byte 8 of a record of 7 bytes"),
        (FixedSpec::new(8), "'record:u8[8]'"),
        (spec().field_at(0, "x", DType::U8, []), "called 'x'"),
        (spec().field_at(0, "", DType::U8, []), "':u8@0', has no name"),
        (spec().field_at(0, "y", DType::U8, [1, 0]), "'y:u8[1, 0]@0' has a dimension of 0"),
        (spec().field_at(0, "y", DType::F64, [usize::MAX]), "larger than any record"),
        (spec().field_at(u64::MAX, "y", DType::U8, []), "larger than any record"),
        (spec().header_bytes(u64::MAX).footer_bytes(1), "footer_bytes 1 are more"),
    ] {
        let error = spec.locate(800).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(says), "{error}");
    }
    let error = spec().header_bytes(4).footer_bytes(6).locate(9).unwrap_err();
    assert_eq!(error.message(), "expected 10 bytes of header and footer, found a file of 9 bytes");
}

#[test]
fn trailing_bytes_are_those_of_a_partial_record() {
    let spec = |record, hop| FixedSpec::new(record).hop_bytes(hop).field("x", DType::U8, [record as usize]);
    for (record, hop, payload, rows, trailing) in [
        (10, 0, 9, 0, 9),
        (10, 0, 10, 1, 0),
        (10, 0, 25, 2, 5),
        (10, 4, 22, 4, 0),
        (10, 4, 25, 4, 3),
        (5, 10, 25, 3, 0),
        (5, 10, 28, 3, 0),
        (5, 10, 34, 3, 4),
        (5, u64::MAX, 100, 1, 0),
        (5, 1 << 63, u64::MAX, 2, 0),
    ] {
        let (columns, found) = spec(record, hop).locate(payload).unwrap();
        assert_eq!((columns[0].num_rows, found), (rows, trailing), "{record} {hop} {payload}");
    }
}

proptest! {
    /// Against walking from record to record.
    #[test]
    fn counts_as_a_walk_does(
        record in 1..40u64, hop in 0..60u64, header in 0..20u64, footer in 0..20u64, payload in 0..600u64,
    ) {
        let spec = FixedSpec::new(record).header_bytes(header).footer_bytes(footer).hop_bytes(hop)
            .field_at(record / 2, "x", DType::U8, []);
        let hop = if hop == 0 { record } else { hop };
        let starts: Vec<u64> =
            (0..payload).step_by(hop as usize).take_while(|at| at + record <= payload).collect();
        let covered = |at: u64| starts.iter().any(|&start| at >= start && at < start + record.max(hop));
        let (columns, trailing) = spec.locate(header + payload + footer).unwrap();
        prop_assert_eq!(columns[0].num_rows, starts.len() as u64);
        prop_assert_eq!(trailing, (0..payload).filter(|&at| !covered(at)).count() as u64);
        if !starts.is_empty() {
            prop_assert_eq!(columns[0].offset_bytes, header + record / 2);
        }
        columns[0].check(header + payload).unwrap();
    }

    #[test]
    fn a_field_reads_back_as_it_is_shown(
        name in "[a-z_]{1,8}", which in 0..12usize, shape in prop::collection::vec(1..99usize, 0..4),
        offset_bytes in 0..999u64, big: bool,
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let field = FixedField { name, dtype: DType::ALL[which], shape, offset_bytes, order };
        let spec: FixedSpec = field.to_string().parse().unwrap();
        prop_assert_eq!(spec.record_bytes, field.end_bytes().unwrap());
        prop_assert_eq!(spec.fields, vec![field]);
    }

    #[test]
    fn any_specification_is_checked_without_panic(
        text in "[xu8:,@\\[\\]<>0-9 f32é]{0,24}", numbers: [u64; 5],
        shape in prop::collection::vec(any::<usize>(), 0..3),
    ) {
        let _ = text.parse::<FixedSpec>();
        let [record, header, footer, hop, offset] = numbers;
        let spec = FixedSpec::new(record).header_bytes(header).footer_bytes(footer).hop_bytes(hop)
            .field_at(offset, "x", DType::F64, shape).field("y", DType::U8, []);
        for len in numbers.into_iter().chain([0, u64::MAX]) {
            for spec in [&spec, &FixedSpec { fields: digits().fields, ..spec.clone() }] {
                if let Ok((columns, _)) = spec.locate(len) {
                    columns.iter().for_each(|column| column.check(len).unwrap());
                }
            }
        }
    }
}
