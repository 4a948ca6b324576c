//! Indices written from lists of sequences and documents, the real one, and damaged ones.

use super::*;
use crate::error::ErrorKind;
use crate::format::real;
use proptest::prelude::*;

const WIDTHS: [(u8, DType); 6] =
    [(1, DType::U8), (2, DType::I8), (3, DType::I16), (4, DType::I32), (5, DType::I64), (8, DType::U16)];

fn index_of(code: u8, sequences: &[(i32, i64)], documents: &[i64]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(1u64.to_le_bytes());
    bytes.push(code);
    bytes.extend((sequences.len() as u64).to_le_bytes());
    bytes.extend((documents.len() as u64).to_le_bytes());
    bytes.extend(sequences.iter().flat_map(|(size, _)| size.to_le_bytes()));
    bytes.extend(sequences.iter().flat_map(|(_, pointer)| pointer.to_le_bytes()));
    bytes.extend(documents.iter().flat_map(|document| document.to_le_bytes()));
    bytes
}

fn parsed(bytes: &[u8]) -> Result<(MegatronIndex, Region)> {
    let header = &bytes[..bytes.len().min(HEADER_BYTES)];
    Ok((MegatronIndex::parse(header, bytes.len() as u64)?, Region::from_vec(bytes.to_vec())))
}

fn rows(extents: &Extents) -> Vec<(u64, u64)> {
    let row = |row| extents.get(row).unwrap().map(|extent| (extent.start, extent.len)).unwrap();
    (0..extents.num_rows()).map(row).collect()
}

#[test]
fn sequences_and_documents_are_where_the_index_says() {
    let bytes = index_of(8, &[(3, 0), (0, 6), (2, 6), (1, 10)], &[0, 1, 1, 3, 4]);
    let (header, index) = parsed(&bytes).unwrap();
    assert_eq!((header.dtype, header.num_sequences, header.num_documents), (DType::U16, 4, 4));
    assert_eq!((header.sizes_at, header.pointers_at, header.documents_at), (34, 50, 82));
    assert_eq!(header.check(&index, 12).unwrap(), Stream { num_tokens: 6, is_gapless: true });
    let sequences = header.sequence_extents(&index, 12).unwrap();
    assert_eq!(rows(&sequences), [(0, 6), (6, 0), (6, 4), (10, 2)]);
    let documents = header.document_extents(&index, 12).unwrap();
    assert_eq!(rows(&documents), [(0, 6), (0, 0), (6, 4), (10, 2)]);
    let (windows, left_over) = header.windows(header.check(&index, 12).unwrap(), 4, 1).unwrap();
    assert_eq!((windows.num_rows, left_over, windows.row_shape), (3, 0, vec![4]));
    let with_modes = [&bytes[..], &[0; 4]].concat();
    assert_eq!(parsed(&with_modes).unwrap().0, header);
}

#[test]
fn gaps_are_no_stream() {
    for (sequences, bin_len) in [
        (&[(3, 0), (2, 8)][..], 12),
        (&[(3, 2), (2, 8)], 12),
        (&[(3, 0), (2, 6)], 12),
        (&[(2, 6), (3, 0)], 10),
        (&[(3, 0), (3, 0)], 6),
        (&[], 2),
    ] {
        let (header, index) = parsed(&index_of(8, sequences, &[0, sequences.len() as i64])).unwrap();
        let stream = header.check(&index, bin_len).unwrap();
        assert!(!stream.is_gapless, "{sequences:?}");
        assert_eq!(header.windows(stream, 2, 0).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let (header, index) = parsed(&index_of(8, &[(3, 0), (2, 8), (1, 12)], &[0, 1, 3])).unwrap();
    assert_eq!(rows(&header.document_extents(&index, 14).unwrap()), [(0, 6), (8, 6)]);
    let (header, index) = parsed(&index_of(8, &[(3, 0), (2, 8)], &[0, 0, 2])).unwrap();
    let error = header.document_extents(&index, 12).unwrap_err();
    assert_eq!((error.kind(), error.location().record), (ErrorKind::Unsupported, Some(1)));
}

#[test]
fn an_index_of_nothing_is_one() {
    for documents in [&[][..], &[0]] {
        let (header, index) = parsed(&index_of(4, &[], documents)).unwrap();
        assert_eq!(header.check(&index, 0).unwrap(), Stream { num_tokens: 0, is_gapless: true });
        assert_eq!(header.document_extents(&index, 0).unwrap().num_rows(), 0);
    }
}

#[test]
fn an_index_cut_anywhere_is_malformed() {
    let bytes = index_of(8, &[(3, 0), (2, 6)], &[0, 1, 2]);
    for len in 0..bytes.len() {
        assert_eq!(parsed(&bytes[..len]).unwrap_err().kind(), ErrorKind::Malformed, "cut at {len}");
    }
    assert_eq!(parsed(&[&bytes[..], &[0]].concat()).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn forged_numbers_are_refused() {
    for (sequence, bin_len) in
        [((3, 0), 5), ((-1, 0), 100), ((1, -1), 100), ((1, i64::MAX), 100), ((i32::MAX, 0), 100)]
    {
        let (header, index) = parsed(&index_of(8, &[(0, 0), sequence], &[0, 2])).unwrap();
        let error = header.check(&index, bin_len).unwrap_err();
        assert_eq!((error.kind(), error.location().record), (ErrorKind::Malformed, Some(1)), "{sequence:?}");
        for extents in [header.sequence_extents(&index, bin_len), header.document_extents(&index, bin_len)] {
            assert_eq!(extents.unwrap_err().kind(), ErrorKind::Malformed, "{sequence:?}");
        }
    }
    for documents in [&[0][..], &[0, 1], &[1, 2], &[0, 3], &[0, 2, 1, 2], &[-1, 2], &[0, i64::MIN, 2]] {
        let (header, index) = parsed(&index_of(8, &[(1, 0), (1, 2)], documents)).unwrap();
        let error = header.document_extents(&index, 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{documents:?}");
        assert!(error.location().byte.is_some());
    }
    for (at, value) in
        [(18, u64::MAX), (18, u64::MAX / 12), (26, u64::MAX), (26, u64::MAX / 8), (26, 0), (18, 0)]
    {
        let mut bytes = index_of(8, &[(1, 0), (1, 2)], &[0, 1, 2]);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(parsed(&bytes).unwrap_err().kind(), ErrorKind::Malformed, "{value} at {at}");
    }
}

#[test]
fn element_types_are_read_or_refused_by_name() {
    for (code, dtype) in WIDTHS {
        assert_eq!(parsed(&index_of(code, &[], &[0])).unwrap().0.dtype, dtype);
    }
    for code in [6, 7] {
        assert_eq!(parsed(&index_of(code, &[], &[0])).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    for code in [0, 9, 255] {
        assert_eq!(parsed(&index_of(code, &[], &[0])).unwrap_err().location().byte, Some(17));
    }
    let mut bytes = index_of(8, &[], &[0]);
    bytes[9] = 2;
    assert_eq!(parsed(&bytes).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(looks_like(&bytes) && !looks_like(b"MMIDIDX\0"));
}

proptest! {
    #[test]
    fn an_index_reads_back_as_it_was_written(
        which in 0..6usize, documents in prop::collection::vec(prop::collection::vec(0..20i32, 0..4), 0..6),
        copies in prop_oneof![Just(1usize), Just(3000)], seq_len in 1..9u64,
    ) {
        let (code, dtype) = WIDTHS[which];
        let width = dtype.width_bytes() as u64;
        let documents: Vec<_> = documents.iter().cycle().take(documents.len() * copies).collect();
        let (mut sequences, mut bounds, mut expected, mut end) = (Vec::new(), vec![0], Vec::new(), 0);
        for document in documents {
            let start = end;
            for &size in document {
                sequences.push((size, end as i64));
                end += size as u64 * width;
            }
            bounds.push(sequences.len() as i64);
            expected.push((if document.is_empty() { 0 } else { start }, end - start));
        }
        let (header, index) = parsed(&index_of(code, &sequences, &bounds)).unwrap();
        prop_assert_eq!(rows(&header.document_extents(&index, end).unwrap()), expected);
        let extents = header.sequence_extents(&index, end).unwrap();
        prop_assert_eq!(extents.num_rows(), sequences.len() as u64);
        for (row, &(size, pointer)) in sequences.iter().enumerate() {
            let extent = Extent { start: pointer as u64, len: size as u64 * width };
            prop_assert_eq!(extents.get(row as u64).unwrap(), Some(extent));
        }
        let stream = header.check(&index, end).unwrap();
        prop_assert_eq!(stream, Stream { num_tokens: end / width, is_gapless: true });
        let (windows, left_over) = header.windows(stream, seq_len, 0).unwrap();
        prop_assert_eq!(windows.num_rows * seq_len + left_over, stream.num_tokens);
        windows.check(end).unwrap();
    }

    #[test]
    fn damaged_indices_never_panic(
        flips in prop::collection::vec((0..100usize, 0..8u8), 1..6), bin_len in prop_oneof![Just(12u64), any::<u64>()],
    ) {
        let mut bytes = index_of(8, &[(3, 0), (0, 6), (2, 6), (1, 10)], &[0, 1, 1, 3, 4]);
        for (at, bit) in flips {
            let len = bytes.len();
            bytes[at % len] ^= 1 << bit;
        }
        if let Ok((header, index)) = parsed(&bytes) {
            if let Ok(stream) = header.check(&index, bin_len) {
                let _ = header.windows(stream, 2, 1);
                let extents = header.sequence_extents(&index, bin_len).unwrap();
                prop_assert!(extents.nulls_within(bin_len).is_some());
            }
            if let Ok(extents) = header.document_extents(&index, bin_len) {
                prop_assert!(extents.nulls_within(bin_len).is_some());
            }
        }
    }
}

#[test]
fn the_real_dataset_has_its_tokens() {
    let Some((path, expected)) = real::expected("megatron/meg-gpt2-openwebtext_text_document") else {
        return;
    };
    let bin = std::fs::read(path.with_extension("bin")).unwrap();
    let (header, index) = parsed(&std::fs::read(path.with_extension("idx")).unwrap()).unwrap();
    let bin_len = bin.len() as u64;
    assert_eq!(header.dtype.name(), expected["dtype"].as_str().unwrap());
    assert_eq!(header.num_sequences, expected["sequences"].as_u64().unwrap());
    assert_eq!(header.num_documents + 1, expected["doc_idx_entries"].as_u64().unwrap());
    let stream = header.check(&index, bin_len).unwrap();
    assert_eq!(stream, Stream { num_tokens: expected["tokens"].as_u64().unwrap(), is_gapless: true });
    let documents = header.document_extents(&index, bin_len).unwrap();
    assert_eq!(
        documents.pairs().region().owned_bytes(),
        header.sequence_extents(&index, bin_len).unwrap().pairs().region().owned_bytes()
    );
    let rows = rows(&documents);
    for (row, size) in expected["sizes_first8"].as_array().unwrap().iter().enumerate() {
        assert_eq!(rows[row].1, 2 * size.as_u64().unwrap());
    }
    for (row, pointer) in expected["pointers_first4"].as_array().unwrap().iter().enumerate() {
        assert_eq!(rows[row].0, pointer.as_u64().unwrap());
    }
    let sum: u64 = rows
        .iter()
        .flat_map(|&(start, len)| bin[start as usize..(start + len) as usize].as_chunks().0)
        .map(|&token| u64::from(u16::from_le_bytes(token)))
        .sum();
    assert_eq!(sum, expected["token_sum"].as_u64().unwrap());
    let (windows, left_over) = header.windows(stream, 1025, 1024).unwrap();
    assert_eq!((windows.num_rows - 1) * 1024 + 1025 + left_over, stream.num_tokens);
}
