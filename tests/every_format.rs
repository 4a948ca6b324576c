//! No file that the reference readers speak of goes untested.
//!
//! `$FOREBAY_TEST_DATA/expected.json` names them. Without the variable the test of them is skipped and says so.

mod common;

use common::test_data;

/// For each format, the test that reads every file of it, and the words by which it takes them.
const READ_BY: [(&str, &str, &str); 15] = [
    ("arrow_ipc_file", include_str!("arrow_files.rs"), r#"expected_of(&expected, &["arrow/", "hf/"])"#),
    ("arrow_ipc_stream", include_str!("arrow_files.rs"), r#"expected_of(&expected, &["arrow/", "hf/"])"#),
    ("csv", include_str!("csv_files.rs"), r#"files_of(&expected, "csv")"#),
    ("fixed_binary", include_str!("arrow_files.rs"), r#"files_of(&expected, "fixed_binary")"#),
    (
        "hf_save_to_disk_dict",
        include_str!("container_files.rs"),
        r#"files_of(&expected, "hf_save_to_disk_dict")"#,
    ),
    ("idx", include_str!("arrow_files.rs"), r#"files_of(&expected, "idx")"#),
    ("mds", include_str!("container_files.rs"), r#"files_of(&expected, "mds")"#),
    ("megatron_mmap_idx", include_str!("container_files.rs"), r#"files_of(&expected, "megatron_mmap_idx")"#),
    ("nanogpt_bin", include_str!("container_files.rs"), r#"files_of(&expected, "nanogpt_bin")"#),
    ("npy", include_str!("container_files.rs"), r#"files_of(&expected, "npy")"#),
    ("npz", include_str!("container_files.rs"), r#"files_of(&expected, "npz")"#),
    ("parquet", include_str!("parquet_files.rs"), r#"entry["format"] == "parquet""#),
    ("tar", include_str!("container_files.rs"), r#"files_of(&expected, "tar")"#),
    ("text", include_str!("container_files.rs"), r#"files_of(&expected, "text")"#),
    ("tfrecord", include_str!("tfrecord_files.rs"), r#"files_of(&expected, "tfrecord")"#),
];

#[test]
fn every_format_has_a_test_that_reads_all_its_files() {
    for (format, test, words) in READ_BY {
        assert!(test.contains(words), "the test of {format} does not ask for its files");
    }
    let Some((_, expected)) = test_data() else { return };
    let files = expected["files"].as_object().unwrap();
    assert!(files.len() >= 140, "only {} files", files.len());
    for (path, entry) in files {
        let format = entry["format"].as_str().unwrap();
        assert!(
            READ_BY.iter().any(|(known, ..)| *known == format),
            "no test reads {path}, which is {format}"
        );
        // Those tests take their files by folder.
        if format.starts_with("arrow_ipc") {
            assert!(path.starts_with("arrow/") || path.starts_with("hf/"), "no test reads {path}");
        }
    }
}
