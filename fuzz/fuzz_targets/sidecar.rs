//! The index beside a file of records, its header made right but for what the first byte chooses: the starts are the rest.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use forebay::{Dataset, OpenOptions};
use forebay_fuzz::{Folder, frame, read};
use xxhash_rust::xxh3::xxh3_64;

/// The files, each with the header of its index.
static FILES: LazyLock<(Folder, Vec<(&str, Vec<u8>)>)> = LazyLock::new(|| {
    let folder = Folder::new();
    // No examples: records of bytes.
    let records: Vec<u8> = (1..9).flat_map(|n| frame(&vec![7; n * 5])).collect();
    folder.write("case.csv", b"a,b\n1,x\n2,\"y\nz\"\n3,\n4,w\n");
    folder.write("case.txt", b"one\ntwo\n\nthree\n");
    folder.write("case.tfrecord", &records);
    let files = ["case.csv", "case.txt", "case.tfrecord"].map(|name| {
        let index = OpenOptions::default().write_index(folder.path().join(name)).expect("an index");
        (name, fs::read(&index[0]).expect("the index")[..64].to_vec())
    });
    (folder, files.to_vec())
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, starts)) = data.split_first() else { return };
    let (folder, files) = &*FILES;
    let (name, header) = &files[usize::from(choice) % files.len()];
    let mut index = header.clone();
    if choice < 0x80 {
        let records = (starts.len() as u64 / 8).saturating_sub(1);
        index[40..48].copy_from_slice(&records.to_le_bytes());
        let checksum = xxh3_64(&index[..48]);
        index[48..56].copy_from_slice(&checksum.to_le_bytes());
        index.extend_from_slice(starts);
    } else {
        index = starts.to_vec();
    }
    folder.write(&format!("{name}.forebay-index"), &index);
    read(Dataset::open(folder.path().join(name)));
});
