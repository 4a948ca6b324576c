//! A folder of MosaicML Streaming. The first byte chooses what the rest is: `index.json`, beside a shard of two samples; or
//! a shard, raw or compressed, of an index that is right.
#![no_main]

use std::sync::LazyLock;

use forebay::Dataset;
use forebay_fuzz::{Folder, read};

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

/// Two samples of (i32, text).
const SHARD: &[u8] = b"\x02\0\0\0\x10\0\0\0\x1a\0\0\0\x24\0\0\0\
    \x02\0\0\0\x07\0\0\0ab\x02\0\0\0\x08\0\0\0cd";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    ["shard.mds", "shard.mds.zip"].map(|name| FOLDER.remove(name));
    if choice == b'{' || choice % 4 == 0 {
        FOLDER.write("shard.mds", SHARD);
        FOLDER.write("index.json", if choice == b'{' { data } else { rest });
        return read(Dataset::open(FOLDER.path()));
    }
    let compression = ["null", "null", "\"zstd\"", "\"gz\""][usize::from(choice % 4)];
    let raw_len = if choice % 4 == 1 { rest.len() } else { usize::from(choice / 4) * 8 };
    let samples = if choice % 4 == 1 {
        rest.first_chunk().map_or(0, |&samples| u32::from_le_bytes(samples))
    } else {
        u32::from(choice / 4 % 8)
    };
    let zip = format!("{{\"basename\": \"shard.mds.zip\", \"bytes\": {}, \"hashes\": {{}}}}", rest.len());
    let index = format!(
        "{{\"version\": 2, \"shards\": [{{\"version\": 2, \"format\": \"mds\", \"samples\": {samples}, \
         \"compression\": {compression}, \"column_names\": [\"n\", \"t\", \"r\", \"x\"], \
         \"column_encodings\": [\"int32\", \"str\", \"ndarray:uint8\", \"ndarray:float32:2\"], \
         \"column_sizes\": [4, null, null, 8], \
         \"raw_data\": {{\"basename\": \"shard.mds\", \"bytes\": {raw_len}, \"hashes\": {{}}}}, \
         \"zip_data\": {}, \"hashes\": [], \"size_limit\": 1}}]}}",
        if choice % 4 == 1 { "null" } else { &zip }
    );
    FOLDER.write("index.json", index.as_bytes());
    FOLDER.write(if choice % 4 == 1 { "shard.mds" } else { "shard.mds.zip" }, rest);
    read(Dataset::open(FOLDER.path()));
});
