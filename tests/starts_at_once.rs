//! It starts at once: no shard is opened and no page read that no batch asked for.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use forebay::convert::{ConvertOptions, convert};
use forebay::{Dataset, Loader, Shuffle};

const SHARDS: usize = 1000;
const ROWS_PER_SHARD: usize = 64;
const PAGE: usize = 4096;

/// 1,000 shards of 64 rows of a page each.
fn dataset(folder: &Path) {
    let rows = SHARDS * ROWS_PER_SHARD;
    let x = Dataset::from_tensor("x", &[PAGE], vec![7u8; rows * PAGE]).unwrap();
    convert(&x, folder, &ConvertOptions::new().shard_bytes((ROWS_PER_SHARD * PAGE) as u64), |_| {}).unwrap();
}

fn shards(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "arrow"));
    files
}

fn mapped(folder: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(folder.to_str().unwrap()) && line.contains(".arrow")).count()
}

/// Asks the system to forget the file's pages; says whether it did.
fn forget(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    // SAFETY: the descriptor is open.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    resident_pages(path) == 0
}

/// Pages of the file in the page cache.
fn resident_pages(path: &Path) -> usize {
    let file = File::open(path).unwrap();
    // SAFETY: the map is not read.
    let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
    let mut pages = vec![0u8; map.len().div_ceil(PAGE)];
    // SAFETY: the map begins at a page, and `pages` has a byte for each of its pages.
    assert_eq!(unsafe { libc::mincore(map.as_ptr() as *mut _, map.len(), pages.as_mut_ptr()) }, 0);
    pages.iter().filter(|&&page| page & 1 == 1).count()
}

#[test]
fn of_a_thousand_shards_only_those_asked_for_are_opened_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("out");
    dataset(&folder);
    let shards = shards(&folder);
    assert_eq!(shards.len(), SHARDS);
    let forgotten = shards.iter().filter(|path| forget(path)).count();

    let opened = Dataset::open(&folder).unwrap();
    assert_eq!(
        (opened.len(), mapped(&folder)),
        ((SHARDS * ROWS_PER_SHARD) as u64, 0),
        "nothing is mapped by opening"
    );
    let mut loader =
        Loader::builder(&opened).batch_size(16).shuffle(Shuffle::Exact).threads(0).depth(1).build().unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!(batch.tensor::<u8>("x").unwrap().shape(), [16, PAGE]);
    let touched = mapped(&folder);
    assert!((1..=16).contains(&touched), "16 rows lie in at most 16 shards, found {touched} mapped");

    if forgotten < SHARDS {
        eprintln!("skipped: the system keeps pages of {} shards in memory", SHARDS - forgotten);
        return;
    }
    // For each row its page, or two it straddles; for each shard the pages of its head, its message and its footer.
    let resident: usize = shards.iter().map(|path| resident_pages(path)).sum();
    let asked = 16 * 2 + touched * 4;
    assert!(resident <= asked, "expected at most {asked} pages to be read, found {resident}");
}
