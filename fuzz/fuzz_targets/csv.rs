//! A CSV file; its first byte chooses the options.
#![no_main]

use forebay::Dataset;
use forebay::format::{CsvOptions, CsvType};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, file)) = data.split_first() else { return };
    let is = |bit: u8| choice & 1 << bit != 0;
    let mut options = CsvOptions::new().header(!is(0)).quotes(!is(1)).comment(is(2).then_some(b'#'));
    if is(3) {
        options = options.detect_delimiter();
    }
    if is(4) {
        options = options.names(["a", "b"]).column("a", CsvType::F32).column("b", CsvType::I64);
        options = options.default_value("a", 1.5).required("b").na_values(["NA", "?"]);
    }
    if is(5) {
        options = options.infer_rows(1).skip_lines(1).text_as_bytes(true);
    }
    if is(6) {
        options = options.stack("ab", ["a", "b"]);
    }
    forebay_fuzz::bytes(&Dataset::options().csv(options), "case.csv", file);
});
