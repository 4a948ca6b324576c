//! A run of tokens: how it is cut, as text up to the first NUL, and the tokens.
#![no_main]

use forebay::Dataset;
use forebay::format::TokenSpec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((spec, file)) = forebay_fuzz::cut(data) else { return };
    if let Ok(spec) = spec.parse::<TokenSpec>() {
        forebay_fuzz::bytes(&Dataset::options().tokens(spec), "case", file);
    }
});
