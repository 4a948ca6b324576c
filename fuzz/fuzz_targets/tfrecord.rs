//! A TFRecord file, perhaps compressed. With the first byte odd the checksums of lengths are made right, as far as frames
//! follow one another.
#![no_main]

use forebay::format::FileFormat;
use forebay_fuzz::masked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, file)) = data.split_first() else { return };
    let (mut file, mut at) = (file.to_vec(), 0usize);
    while choice % 2 == 1
        && let Some(&length) = file.get(at..).and_then(|rest| rest.first_chunk::<8>())
        && let Some(checksum) = file.get_mut(at + 8..at + 12)
    {
        checksum.copy_from_slice(&masked(&length));
        let Some(next) = (at as u64 + 16).checked_add(u64::from_le_bytes(length)) else { break };
        at = next as usize;
    }
    forebay_fuzz::format(FileFormat::TfRecord, &file);
});
