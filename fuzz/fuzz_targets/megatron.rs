//! The index of a file of 64 bytes of tokens; the first byte chooses between documents and windows.
#![no_main]

use std::sync::LazyLock;

use forebay::Dataset;
use forebay_fuzz::{Folder, read};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("case.bin", &std::array::from_fn::<u8, 64, _>(|i| i as u8));
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, index)) = data.split_first() else { return };
    let path = FOLDER.write("case.idx", index);
    let options = Dataset::options();
    read(if choice % 2 == 0 { options.open(path) } else { options.windows(4, 3).open(path) });
});
