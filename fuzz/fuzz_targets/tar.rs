//! A tar archive of samples, perhaps compressed.
#![no_main]

use forebay::format::FileFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_fuzz::format(FileFormat::Tar, data));
