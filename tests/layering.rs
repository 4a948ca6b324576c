//! Modules depend on one another in one direction only, in the order in which `lib.rs` lists them.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may name: those before it. The four in the second place know only `error`.
const ROOMS: [&[&str]; 9] = [
    &["error"],
    &["map", "queue", "sampler", "staging"],
    &["layout"],
    &["format"],
    &["dataset"],
    &["batch"],
    &["coordinator"],
    &["loader"],
    &["convert"],
];

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

fn rust_files(at: &Path, files: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            rust_files(&entry.unwrap().path(), files);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        files.push(at.to_owned());
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms named after `crate::` in code, tests and docs left out.
fn rooms_named(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut named = Vec::new();
    for line in lines {
        for after in line.split("crate::").skip(1) {
            named.push(after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    named
}

#[test]
fn every_room_names_only_rooms_before_it() {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    assert!(files.len() > 30, "the source was found");
    for file in files {
        let relative = file.strip_prefix(source()).unwrap();
        let room =
            relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" || room == "bin" {
            continue;
        }
        let ours = rank(room).unwrap_or_else(|| panic!("{room} is no room of DESIGN: add it to ROOMS"));
        for named in rooms_named(&fs::read_to_string(&file).unwrap()) {
            let Some(theirs) = rank(&named) else {
                panic!("{} names crate::{named}, which is no room", file.display());
            };
            assert!(named == room || theirs < ours, "{} names the later room {named}", file.display());
        }
    }
}

#[test]
fn lib_lists_the_rooms_in_their_order() {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let listed: Vec<usize> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(|room| rank(room).unwrap_or_else(|| panic!("{room} is no room")))
        .collect();
    assert!(listed.len() >= 9 && listed.is_sorted(), "found the ranks {listed:?}");
}

#[test]
fn unsafe_lives_where_it_may() {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    for file in files {
        let relative = file.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
        let may = ["map/", "queue/", "staging/", "layout/", "batch/gather/", "lib.rs"];
        // Facades of rooms in which some file may cannot forbid it for the whole room.
        let facade = relative == "batch/mod.rs";
        if !facade && !may.iter().any(|room| relative.starts_with(room)) {
            let text = fs::read_to_string(&file).unwrap();
            let nested = relative.ends_with("/tests.rs") || relative.contains("/tests/");
            assert!(
                nested || text.contains("#![forbid(unsafe_code)]"),
                "{relative} does not forbid unsafe code"
            );
        }
    }
}
