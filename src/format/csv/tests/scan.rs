//! Record starts against a slow scanner, however the file is cut into blocks.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::super::*;

/// Record starts, field by field, from the first byte to the last.
fn slow(dialect: &Dialect, file: &[u8]) -> Vec<u64> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < file.len() {
        if Dialect::is_line_end(file[at]) {
            at += 1;
        } else if Some(file[at]) == dialect.comment {
            while at < file.len() && !Dialect::is_line_end(file[at]) {
                at += 1;
            }
        } else {
            starts.push(at as u64);
            loop {
                if at < file.len() && Some(file[at]) == dialect.quote {
                    at += 1;
                    while at < file.len() {
                        at += 1;
                        if Some(file[at - 1]) == dialect.quote {
                            if at == file.len() || Some(file[at]) != dialect.quote {
                                break;
                            }
                            at += 1;
                        }
                    }
                }
                while at < file.len() && file[at] != dialect.delimiter && !Dialect::is_line_end(file[at]) {
                    at += 1;
                }
                if at == file.len() || Dialect::is_line_end(file[at]) {
                    break;
                }
                at += 1;
            }
        }
    }
    starts
}

/// Record starts from blocks that end at `cuts`: summaries first, each by itself, then the starts.
fn in_blocks(dialect: &Dialect, file: &[u8], cuts: &[usize]) -> Vec<u64> {
    let mut bounds = vec![0];
    bounds.extend_from_slice(cuts);
    bounds.push(file.len());
    let mut state = ScanState::default();
    let mut starts = Vec::new();
    for pair in bounds.windows(2) {
        let block = &file[pair[0]..pair[1]];
        let after = BlockSummary::of(dialect, block).after(state);
        assert_eq!(record_starts(dialect, state, block, pair[0] as u64, &mut starts), after);
        state = after;
    }
    starts
}

fn dialects() -> [Dialect; 4] {
    [(true, None), (false, None), (true, Some(b'#')), (false, Some(b'#'))]
        .map(|(quotes, comment)| Dialect::new(b',', quotes, comment).unwrap())
}

fn check(file: &[u8], cuts: &[usize]) {
    for dialect in dialects() {
        let shown = String::from_utf8_lossy(file);
        assert_eq!(in_blocks(&dialect, file, cuts), slow(&dialect, file), "{shown:?} cut at {cuts:?}");
    }
}

#[test]
fn every_file_of_up_to_four_bytes_under_every_cut() {
    let alphabet = *b"a,\"\n#";
    for length in 0..=4 {
        for number in 0..alphabet.len().pow(length) {
            let digit = |place: u32| alphabet[number / alphabet.len().pow(place) % alphabet.len()];
            let file: Vec<u8> = (0..length).map(digit).collect();
            for cut in 0..=file.len() {
                check(&file, &[cut]);
            }
            check(&file, &(0..file.len()).collect::<Vec<_>>());
        }
    }
}

/// From every state, a block of two parts leads where the second part leads from where the first does.
#[test]
fn summaries_chain() {
    let states = [
        ScanState::LineStart,
        ScanState::FieldStart,
        ScanState::InField,
        ScanState::Quoted,
        ScanState::QuoteClosed,
        ScanState::Comment,
    ];
    let file = b"a,\"b\"\"c\"\r\n#\"x\n\n\"\",\"\nd\",e\"f\r,\"";
    for dialect in dialects() {
        for from in 0..file.len() {
            for to in from..=file.len() {
                let whole = BlockSummary::of(&dialect, &file[from..to]);
                for cut in from..=to {
                    let first = BlockSummary::of(&dialect, &file[from..cut]);
                    let second = BlockSummary::of(&dialect, &file[cut..to]);
                    for state in states {
                        // A comment can only be met where comments are.
                        if state != ScanState::Comment || dialect.comment.is_some() {
                            assert_eq!(second.after(first.after(state)), whole.after(state), "{state:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_stray_quote_spoils_one_record() {
    let mut starts = Vec::new();
    record_starts(&Dialect::default(), ScanState::LineStart, b"a,5\" pipe\nb,2\nc,3\n", 100, &mut starts);
    assert_eq!(starts, [100, 110, 114]);
}

#[test]
fn blank_lines_and_comments_are_no_records() {
    let file = b"\r\n\n#\"\na\r\n\r\n#b\rc\n#";
    let dialect = Dialect::new(b',', true, Some(b'#')).unwrap();
    let mut starts = Vec::new();
    record_starts(&dialect, ScanState::LineStart, file, 0, &mut starts);
    let first: Vec<u8> = starts.iter().map(|&start| file[start as usize]).collect();
    assert_eq!(first, b"ac");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_cuts(file in "[a,\"\r\n#]{0,60}", cuts in prop::collection::vec(0..=60usize, 0..6)) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(file.len())).collect();
        cuts.sort();
        check(file.as_bytes(), &cuts);
    }

    /// Longer than the steps in which a block is walked.
    #[test]
    fn long_files(
        file in "([a,]{0,90}\r?\n|#[a\",]{0,20}\n|\"([a,\n]{0,90}|\"\"){0,3}\"[,\na]|a\"){0,24}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.index(file.len() + 1)).collect();
        cuts.sort();
        check(file.as_bytes(), &cuts);
    }
}
