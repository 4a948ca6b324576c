//! Records of one length: how they are laid out, as text up to the first NUL, and the records.
#![no_main]

use forebay::Dataset;
use forebay::format::FixedSpec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((spec, file)) = forebay_fuzz::cut(data) else { return };
    if let Ok(spec) = spec.parse::<FixedSpec>() {
        forebay_fuzz::bytes(&Dataset::options().fixed(spec), "case", file);
    }
});
