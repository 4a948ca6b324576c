//! A tar archive of samples, perhaps compressed. With the first byte odd its headers' checksums are made right, as far as
//! members follow one another.
#![no_main]

use forebay::format::FileFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, archive)) = data.split_first() else { return };
    let (mut archive, mut at) = (archive.to_vec(), 0);
    while choice % 2 == 1
        && let Some(header) =
            archive.get_mut(at..at + 512).filter(|header| header.iter().any(|&byte| byte != 0))
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let octal = header[124..135].iter().take_while(|byte| (b'0'..=b'7').contains(byte));
        let len = octal.fold(0usize, |len, byte| len * 8 + usize::from(byte - b'0'));
        at += 512 + len.next_multiple_of(512);
    }
    forebay_fuzz::format(FileFormat::Tar, &archive);
});
