//! The `dataset.json` of a folder of one shard.
#![no_main]

use std::sync::LazyLock;

use forebay::Dataset;
use forebay_fuzz::{Folder, indices, read};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("shard.arrow", &indices());
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    FOLDER.write("dataset.json", data);
    read(Dataset::open(FOLDER.path()));
});
