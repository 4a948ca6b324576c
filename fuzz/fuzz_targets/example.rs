//! Examples and SequenceExamples, in frames whose checksums are right: of features found in the first record, or of
//! those asked for. The first byte chooses, the second cuts the rest in two records.
#![no_main]

use forebay::Dataset;
use forebay::format::{ExampleSpec, FeatureType, FileFormat};
use forebay_fuzz::frame;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [choice, cut, payloads @ ..] = data else { return };
    let (first, second) = payloads.split_at((*cut as usize).min(payloads.len()));
    let file = [frame(first), frame(second)].concat();
    let mut options = Dataset::options().format(FileFormat::TfRecord);
    let spec = ExampleSpec::new();
    match choice % 4 {
        0 => {}
        1 => {
            let spec = spec
                .fixed_len("i", FeatureType::I64, [2])
                .fixed_len("f", FeatureType::F32, [])
                .fixed_len("b", FeatureType::Bytes, []);
            options = options.examples(spec);
        }
        2 => {
            let spec = spec
                .var_len("i", FeatureType::I64)
                .nullable("f", FeatureType::F32, [2])
                .var_len("b", FeatureType::Bytes);
            options = options.examples(spec);
        }
        _ => {
            let spec = spec
                .sequence("i", FeatureType::I64, [2])
                .var_len_sequence("f", FeatureType::F32)
                .var_len_sequence("b", FeatureType::Bytes);
            options = options.examples(spec);
        }
    }
    forebay_fuzz::bytes(&options, "case", &file);
});
