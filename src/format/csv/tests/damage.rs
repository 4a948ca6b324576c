//! Files that were cut, changed or made up: an error or values, never a panic.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;

fn read_any(file: &[u8]) {
    let options = [
        CsvOptions::new(),
        CsvOptions::new().header(false).detect_delimiter().comment(Some(b'#')).text_as_bytes(true),
        CsvOptions::new().quotes(false).na_values(["1", "x"]).skip_lines(1),
    ];
    for options in options {
        let _ = read(&options, file);
        if let Ok(format) = options.resolve(file, false) {
            for record in records(&format, file) {
                let _ = decode_some(&format, &[record], |column| column % 2 == 0);
            }
        }
    }
}

const FILE: &str =
    "name,x,\"y\"\r\n\"a \"\"b\"\"\",1.25,true\r\n# é\r\n\r\nc,-3e-4,false\n,,\n\"\nd\", 17 ,TRUE";

#[test]
fn cut_at_every_byte() {
    for cut in 0..=FILE.len() {
        read_any(&FILE.as_bytes()[..cut]);
        read_any(&FILE.as_bytes()[cut..]);
    }
}

#[test]
fn every_byte_changed() {
    for at in 0..FILE.len() {
        for byte in (0..8).map(|bit| FILE.as_bytes()[at] ^ (1 << bit)).chain(*b"\",\r\n\0\xFF0-.e") {
            let mut file = FILE.as_bytes().to_vec();
            file[at] = byte;
            read_any(&file);
        }
    }
}

#[test]
fn files_of_one_byte_over_and_over() {
    for byte in 0..=255 {
        for length in [1, 7, 8, 9, 63, 64, 65, 300] {
            read_any(&vec![byte; length]);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(file in prop::collection::vec(any::<u8>(), 0..200)) {
        read_any(&file);
    }

    #[test]
    fn any_text(file in "[a1,;\"\r\n #.e\\-]{0,120}") {
        read_any(file.as_bytes());
    }

    /// A decoder takes any bytes for a record.
    #[test]
    fn any_record(record in "[0-9,\"\r\n .e+\\-]{0,60}", width in 1..6usize) {
        let file = vec!["1.5"; width].join(",");
        let format = CsvOptions::new().header(false).resolve(file.as_bytes(), true).unwrap();
        let _ = decode_some(&format, &[record.as_bytes()], |_| true);
    }
}
