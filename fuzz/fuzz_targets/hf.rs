//! A folder that Hugging Face's `datasets` saved. The first byte chooses what the rest is: `state.json` beside a stream,
//! the indices file, or `dataset_dict.json`.
#![no_main]

use std::sync::LazyLock;

use forebay::Dataset;
use forebay_fuzz::{Folder, indices, read};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("data-00000-of-00001.arrow", &indices());
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    ["state.json", "dataset_dict.json"].map(|name| FOLDER.remove(name));
    if choice % 3 == 1 {
        FOLDER.write("indices.arrow", rest);
    }
    match choice % 3 {
        0 => FOLDER.write("state.json", rest),
        1 => FOLDER.write(
            "state.json",
            br#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}],
                 "_indices_data_files": [{"filename": "indices.arrow"}], "_split": null}"#,
        ),
        _ => FOLDER.write("dataset_dict.json", rest),
    };
    read(Dataset::open(FOLDER.path()));
});
