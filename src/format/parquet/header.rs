//! The header of a page: what follows it, and how many bytes.
//!
//! ```text
//! header (Thrift)   1 type, 2 inflated bytes, 3 stored bytes, 4 CRC-32, and by type
//!                   5 data page: values, encoding, encodings of both levels
//!                   7 dictionary: values, encoding, sorted
//!                   8 data page v2: values, nulls, rows, encoding, bytes of both levels, compressed
//! body              the stored bytes
//! ```
#![forbid(unsafe_code)]

use parquet::basic::Encoding;

use super::thrift::{Fault, Kind, Read, Reader};

/// A page as its header describes it. Counts are not negative; nothing else is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the header itself.
    pub(super) len_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) inflated_bytes: u64,
    /// Of the stored bytes.
    pub(super) crc: Option<u32>,
    pub(super) body: Body,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Data {
        num_values: u32,
        encoding: Encoding,
        def_encoding: Encoding,
        rep_encoding: Encoding,
    },
    DataV2 {
        num_values: u32,
        num_nulls: u32,
        num_rows: u32,
        encoding: Encoding,
        levels: Levels,
        compressed: bool,
    },
    Dictionary {
        num_values: u32,
        encoding: Encoding,
        is_sorted: bool,
    },
    /// Index pages, and what later versions of the format may add: to be passed over.
    Other,
}

/// Bytes of the levels before the values of a data page v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) def_bytes: u32,
    pub(super) rep_bytes: u32,
}

/// Reads the header at the front of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Read<PageHeader> {
    let mut reader = Reader::new(bytes, u64::MAX);
    let (mut kind, mut inflated, mut stored, mut crc) = (None, None, None, None);
    let (mut data, mut dictionary, mut data_v2) = (None, None, None);
    reader.fields(|reader, number, value| {
        match (number, value) {
            (1, Kind::I32) => kind = Some(reader.i32()?),
            (2, Kind::I32) => inflated = Some(count(reader)?),
            (3, Kind::I32) => stored = Some(count(reader)?),
            (4, Kind::I32) => crc = Some(reader.i32()? as u32),
            (5, Kind::Struct) => data = Some(parse_data(reader)?),
            (7, Kind::Struct) => dictionary = Some(parse_dictionary(reader)?),
            (8, Kind::Struct) => data_v2 = Some(parse_data_v2(reader)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let missing = Fault::Bad("a page header without the fields its type needs");
    let body = match kind.ok_or(missing)? {
        0 => data.ok_or(missing)?,
        2 => dictionary.ok_or(missing)?,
        3 => data_v2.ok_or(missing)?,
        _ => Body::Other,
    };
    Ok(PageHeader {
        len_bytes: reader.position() as u64,
        stored_bytes: stored.ok_or(missing)?.into(),
        inflated_bytes: inflated.ok_or(missing)?.into(),
        crc,
        body,
    })
}

fn count(reader: &mut Reader<'_>) -> Read<u32> {
    u32::try_from(reader.i32()?).map_err(|_| Fault::Bad("a count or length below zero"))
}

fn parse_data(reader: &mut Reader<'_>) -> Read<Body> {
    let mut numbers = [None; 5];
    let mut encodings = [Encoding::PLAIN; 5];
    reader.fields(|reader, number, value| {
        match (number, value) {
            (1, Kind::I32) => numbers[1] = Some(count(reader)?),
            (2..=4, Kind::I32) => {
                encodings[number as usize] = encoding(reader)?;
                numbers[number as usize] = Some(0);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(num_values), Some(_), Some(_), Some(_)) = (numbers[1], numbers[2], numbers[3], numbers[4])
    else {
        return Err(Fault::Bad("a data page without its number of values or its encodings"));
    };
    let [_, _, encoding, def_encoding, rep_encoding] = encodings;
    Ok(Body::Data { num_values, encoding, def_encoding, rep_encoding })
}

fn parse_dictionary(reader: &mut Reader<'_>) -> Read<Body> {
    let (mut num_values, mut found, mut is_sorted) = (None, None, false);
    reader.fields(|reader, number, value| {
        match (number, value) {
            (1, Kind::I32) => num_values = Some(count(reader)?),
            (2, Kind::I32) => found = Some(encoding(reader)?),
            (3, Kind::True) => is_sorted = true,
            (3, Kind::False) => is_sorted = false,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(num_values), Some(encoding)) = (num_values, found) else {
        return Err(Fault::Bad("a dictionary without its number of values or its encoding"));
    };
    Ok(Body::Dictionary { num_values, encoding, is_sorted })
}

fn parse_data_v2(reader: &mut Reader<'_>) -> Read<Body> {
    let mut numbers = [None; 7];
    let (mut found, mut compressed) = (None, true);
    reader.fields(|reader, number, value| {
        match (number, value) {
            (4, Kind::I32) => found = Some(encoding(reader)?),
            (1..=6, Kind::I32) => numbers[number as usize] = Some(count(reader)?),
            (7, Kind::True) => compressed = true,
            (7, Kind::False) => compressed = false,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (
        [_, Some(num_values), Some(num_nulls), Some(num_rows), _, Some(def_bytes), Some(rep_bytes)],
        Some(encoding),
    ) = (numbers, found)
    else {
        return Err(Fault::Bad(
            "a data page v2 without its counts, its encoding or the lengths of its levels",
        ));
    };
    let levels = Levels { def_bytes, rep_bytes };
    Ok(Body::DataV2 { num_values, num_nulls, num_rows, encoding, levels, compressed })
}

fn encoding(reader: &mut Reader<'_>) -> Read<Encoding> {
    #[expect(deprecated)] // Old files have it.
    Ok(match reader.i32()? {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        10 => Encoding::ALP,
        _ => return Err(Fault::Bad("an encoding this crate does not know")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A data page of 3 values, 12 bytes, as parquet-mr writes its header.
    const DATA: &[u8] = &[0x15, 0, 0x15, 24, 0x15, 24, 0x2C, 0x15, 6, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];

    #[test]
    fn a_data_page_says_what_it_holds() {
        let header = parse(DATA).unwrap();
        assert_eq!((header.len_bytes, header.stored_bytes, header.inflated_bytes), (17, 12, 12));
        let expected = Body::Data {
            num_values: 3,
            encoding: Encoding::PLAIN,
            def_encoding: Encoding::RLE,
            rep_encoding: Encoding::RLE,
        };
        assert_eq!((header.body, header.crc), (expected, None));
    }

    #[test]
    fn a_header_cut_anywhere_is_cut() {
        for len in 0..DATA.len() {
            assert_eq!(parse(&DATA[..len]), Err(Fault::Cut), "{len}");
        }
    }

    #[test]
    fn lengths_below_zero_and_missing_fields_are_refused() {
        let mut negative = DATA.to_vec();
        negative[5] = 23;
        assert!(matches!(parse(&negative), Err(Fault::Bad(_))));
        assert!(matches!(parse(&[0x15, 0, 0x15, 24, 0x15, 24, 0]), Err(Fault::Bad(_))));
        assert_eq!(parse(&[0x15, 2, 0x15, 24, 0x15, 24, 0]).unwrap().body, Body::Other, "an index page");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_damage_is_answered(at in 0..DATA.len(), value: u8) {
            let mut bytes = DATA.to_vec();
            bytes[at] = value;
            let _ = parse(&bytes);
        }
    }
}
