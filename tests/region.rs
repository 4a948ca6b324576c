//! A region gives exactly the bytes of its file or says why not, whatever becomes of the file meanwhile.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::ops::Range;
use std::path::PathBuf;

use arrow::buffer::Buffer;
use forebay::ErrorKind;
use forebay::map::{Advice, Guard, Immutable, MapOptions, Preload, Region};
use tempfile::TempDir;

/// A file of `bytes` in a folder that lives as long as it.
struct TestFile {
    folder: TempDir,
    bytes: Vec<u8>,
}

impl TestFile {
    fn new(bytes: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = TestFile { folder, bytes };
        fs::write(file.path(), &file.bytes).unwrap();
        file
    }

    /// `len_bytes` bytes, no two neighbouring pages alike, none of them zero.
    fn patterned(len_bytes: usize) -> Self {
        TestFile::new((0..len_bytes as u64).map(|i| (mix(i) % 255 + 1) as u8).collect())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("records.bin")
    }

    fn map(&self) -> Region {
        Region::map(self.path(), &MapOptions::new()).unwrap()
    }

    fn set_len(&self, len_bytes: u64) {
        OpenOptions::new().write(true).open(self.path()).unwrap().set_len(len_bytes).unwrap();
    }
}

/// The byte at `offset`, unchecked. It is looked at: a copy that nobody needs may never be made.
fn byte_at(region: &Region, offset: u64) -> u8 {
    let mut byte = [1];
    region.copy_out(offset, &mut byte).unwrap();
    std::hint::black_box(byte)[0]
}

/// SplitMix64's finaliser: a word that says where it belongs.
fn mix(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn vouched() -> Immutable {
    // SAFETY: used only with files in temporary folders of their own, which the tests that use it do not
    // change.
    unsafe { Immutable::promise() }
}

/// The ranges that do not lie within `len` bytes.
fn bad_ranges(len: u64) -> Vec<Range<u64>> {
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = 2..1;
    vec![
        0..len + 1,
        len..len + 1,
        len + 1..len + 1,
        reversed,
        0..u64::MAX,
        u64::MAX - 1..u64::MAX,
        u64::MAX..u64::MAX,
    ]
}

#[test]
fn copies_equal_the_file() {
    let file = TestFile::patterned(3 * 4096 + 77);
    let region = file.map();
    let len = file.bytes.len();
    assert_eq!(region.len(), len);
    assert!(!region.is_empty());
    assert_eq!(region.path(), Some(file.path().as_path()));
    assert_eq!(region.read(0..len as u64).unwrap(), fs::read(file.path()).unwrap());
    for range in [0..0, 0..1, 1..9, 4095..4097, 4096..8192, len - 1..len, len..len] {
        let expected = &file.bytes[range.clone()];
        let mut copy = vec![0; range.len()];
        region.copy_out(range.start as u64, &mut copy).unwrap();
        assert_eq!(copy, expected, "{range:?}");
        assert_eq!(region.read(range.start as u64..range.end as u64).unwrap(), expected, "{range:?}");
    }
    region.check().unwrap();
}

#[test]
fn ranges_past_the_end_are_refused() {
    let file = TestFile::patterned(5000);
    let options = MapOptions::new().promise(vouched());
    for region in [
        Region::map(file.path(), &options).unwrap(),
        Region::from_vec(file.bytes.clone()),
        Region::from_vec(vec![]),
    ] {
        let len = region.len() as u64;
        for range in bad_ranges(len) {
            let error = region.read(range.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{range:?}");
            assert_eq!(error.location().byte, Some(range.start));
            assert_eq!(error.location().path.as_deref(), region.path());
            assert!(error.message().contains(&format!("{}..{}", range.start, range.end)), "{error}");
            assert!(region.buffer(range.clone(), vouched()).is_err(), "{range:?}");
            assert!(region.lend(range.clone()).is_none(), "{range:?}");
            assert!(region.owned_buffer(range.clone()).is_none(), "{range:?}");
            assert!(region.advise(range.clone(), Advice::WillNeed).is_err(), "{range:?}");
            assert!(region.resident_bytes(range.clone()).is_err(), "{range:?}");
        }
        for offset in [len.saturating_sub(7), len, len + 1, u64::MAX - 8, u64::MAX - 1, u64::MAX] {
            let mut untouched = [9; 8];
            assert_eq!(region.copy_out(offset, &mut untouched).unwrap_err().kind(), ErrorKind::Malformed);
            assert_eq!(untouched, [9; 8]);
        }
        assert!(region.copy_out(u64::MAX, &mut []).is_err());
        assert!(region.copy_out(len, &mut []).is_ok());
    }
}

#[test]
fn an_empty_file_is_an_empty_region() {
    let file = TestFile::new(vec![]);
    let mapped = file.map();
    for how in [Preload::No, Preload::Populate, Preload::Copy] {
        let region = mapped.preload(how).unwrap();
        assert!(region.is_empty());
        assert_eq!(region.path(), Some(file.path().as_path()));
        assert!(region.read(0..0).unwrap().is_empty());
        assert!(region.bytes(vouched()).is_empty());
        assert!(region.buffer(0..0, vouched()).unwrap().is_empty());
        region.advise(0..0, Advice::DontNeed).unwrap();
        region.check().unwrap();
    }
    // What grows later was not there when the file was mapped.
    file.set_len(100);
    assert!(mapped.read(0..1).is_err());
    mapped.check().unwrap();
}

#[test]
fn only_regular_files_are_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let error = Region::map(folder.path(), &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.message(), "expected a regular file, found a folder");
    assert_eq!(error.location().path.as_deref(), Some(folder.path()));

    let missing = folder.path().join("missing");
    let error = Region::map(&missing, &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), IoErrorKind::NotFound);
}

/// Opening a pipe to read waits for its writer, unless asked not to.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused_at_once() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let error = Region::map(&path, &MapOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.message(), "expected a regular file, found a pipe or device");
}

#[test]
fn a_mapped_file_is_lent_only_on_a_promise() {
    let file = TestFile::patterned(5000);
    let range = 10..20;
    let expected = &file.bytes[10..20];

    let unpromised = file.map();
    assert!(!unpromised.is_owned() && !unpromised.is_lendable());
    assert!(unpromised.lend(range.clone()).is_none());
    assert!(unpromised.owned_bytes().is_none() && unpromised.owned_buffer(range.clone()).is_none());
    assert_eq!(unpromised.buffer(range.clone(), vouched()).unwrap().as_slice(), expected);
    assert_eq!(unpromised.bytes(vouched()), file.bytes);

    let promised = Region::map(file.path(), &MapOptions::new().promise(vouched())).unwrap();
    assert!(!promised.is_owned() && promised.is_lendable());
    assert_eq!(promised.lend(range.clone()).unwrap().as_slice(), expected);
    assert!(promised.owned_bytes().is_none() && promised.owned_buffer(range.clone()).is_none());
    // Lent where it lies.
    assert_eq!(promised.lend(range).unwrap().as_ptr(), promised.bytes(vouched())[10..].as_ptr());
}

#[test]
fn memory_of_our_own_is_lent_freely_and_never_copied() {
    let bytes = TestFile::patterned(5000).bytes;
    let vec = bytes.clone();
    let place = vec.as_ptr();
    let from_vec = Region::from_vec(vec);
    assert_eq!(from_vec.owned_bytes().unwrap().as_ptr(), place);

    let buffer = Buffer::from_vec(bytes.clone()).slice(100);
    let place = buffer.as_ptr();
    let from_buffer = Region::from_buffer(buffer);
    assert_eq!(from_buffer.owned_bytes().unwrap().as_ptr(), place);

    for (region, bytes) in [(from_vec, &bytes[..]), (from_buffer, &bytes[100..])] {
        assert!(region.is_owned() && region.is_lendable());
        assert_eq!(region.path(), None);
        assert_eq!(region.owned_bytes().unwrap(), bytes);
        assert_eq!(region.owned_buffer(7..99).unwrap().as_slice(), &bytes[7..99]);
        assert_eq!(region.lend(7..99).unwrap().as_slice(), &bytes[7..99]);
        assert_eq!(region.read(7..99).unwrap(), &bytes[7..99]);
        for advice in [Advice::Random, Advice::DontNeed] {
            region.advise(0..region.len() as u64, advice).unwrap();
        }
        assert_eq!(region.read(0..region.len() as u64).unwrap(), bytes);
        region.check().unwrap();
    }
}

#[test]
fn buffers_outlive_their_region_and_its_file() {
    let file = TestFile::patterned(100_000);
    let mapped = file.map();
    let copied = mapped.preload(Preload::Copy).unwrap();
    let buffers = [mapped.buffer(5..99_995, vouched()).unwrap(), copied.lend(5..99_995).unwrap()];
    drop((mapped, copied));
    fs::remove_file(file.path()).unwrap();
    for buffer in buffers {
        assert_eq!(buffer.as_slice(), &file.bytes[5..99_995]);
    }
}

#[test]
fn regions_cross_threads_and_unwinding() {
    fn holds<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static>() {}
    holds::<Region>();
    holds::<MapOptions>();
}

#[test]
fn every_preload_gives_the_same_bytes() {
    // Past one huge page, and not a whole number of small ones.
    let file = TestFile::patterned((2 << 20) + 4096 + 5);
    let mapped = file.map();
    let len = file.bytes.len() as u64;
    for how in [Preload::No, Preload::Populate, Preload::Copy] {
        let region = mapped.preload(how.clone()).unwrap();
        assert_eq!(region.read(0..len).unwrap(), file.bytes, "{how:?}");
        assert_eq!(region.path(), Some(file.path().as_path()));
        assert_eq!(region.is_owned(), how == Preload::Copy);
    }
    // A copy has nothing more to do with the file.
    let copied = mapped.preload(Preload::Copy).unwrap();
    file.set_len(0);
    copied.check().unwrap();
    assert_eq!(copied.owned_bytes().unwrap(), file.bytes);
    for how in [Preload::No, Preload::Populate, Preload::Copy] {
        let same = copied.preload(how).unwrap();
        assert_eq!(same.owned_bytes().unwrap().as_ptr(), copied.owned_bytes().unwrap().as_ptr());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn advice_changes_no_bytes_and_residency_is_counted_by_the_byte() {
    let page = page_bytes();
    let file = TestFile::patterned(40 * page as usize + 100);
    let len = file.bytes.len() as u64;
    let region = file.map().preload(Preload::Populate).unwrap();
    // Just written and read, it lies in the page cache; the last page counts as far as the file goes.
    assert_eq!(region.resident_bytes(0..len).unwrap(), len);
    assert_eq!(region.resident_bytes(3..page + 5).unwrap(), page + 2);
    assert_eq!(region.resident_bytes(len - 1..len).unwrap(), 1);
    assert_eq!(region.resident_bytes(7..7).unwrap(), 0);
    for advice in [Advice::Normal, Advice::Random, Advice::Sequential, Advice::WillNeed, Advice::DontNeed] {
        for range in [0..len, 0..0, 1..2, page - 1..page + 1, 1..3 * page, len - 1..len, len..len] {
            region
                .advise(range.clone(), advice)
                .unwrap_or_else(|error| panic!("{advice:?} {range:?}: {error}"));
        }
        assert_eq!(region.read(0..len).unwrap(), file.bytes, "{advice:?}");
    }
    let owned = Region::from_vec(file.bytes.clone());
    assert_eq!(owned.resident_bytes(11..len).unwrap(), len - 11);
}

/// Pages that a process has let go of are mapped no more, though the cache may keep them.
#[cfg(target_os = "linux")]
#[test]
fn dont_need_unmaps_whole_pages_only() {
    let page = page_bytes();
    let file = TestFile::patterned(8 * page as usize);
    let region = file.map();
    let mapped_pages = |region: &Region| {
        let start = region.bytes(vouched()).as_ptr() as u64 / page;
        let map = fs::File::open("/proc/self/pagemap").unwrap();
        let present = |page: u64| {
            let mut entry = [0; 8];
            std::os::unix::fs::FileExt::read_exact_at(&map, &mut entry, (start + page) * 8).unwrap();
            u64::from_ne_bytes(entry) >> 63 == 1
        };
        (0..8).filter(|&page| present(page)).collect::<Vec<_>>()
    };
    region.preload(Preload::Populate).unwrap();
    assert_eq!(mapped_pages(&region), [0, 1, 2, 3, 4, 5, 6, 7]);
    region.advise(page + 1..4 * page - 1, Advice::DontNeed).unwrap();
    assert_eq!(mapped_pages(&region), [0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(region.read(0..8 * page).unwrap(), file.bytes);
}

/// A sparse file can be larger than any memory.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_does_not_fit_memory_is_an_error() {
    if fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap().trim() == "1" {
        eprintln!("skipped: this kernel promises more memory than there is (vm.overcommit_memory = 1)");
        return;
    }
    let file = TestFile::new(vec![]);
    let len = 1 << 43;
    if OpenOptions::new().write(true).open(file.path()).unwrap().set_len(len).is_err() {
        eprintln!("skipped: the file system takes no file of {len} bytes");
        return;
    }
    let region = file.map();
    let error = region.preload(Preload::Copy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(error.location().path.as_deref(), Some(file.path().as_path()));
    assert_eq!(region.read(len - 4..len).unwrap(), [0; 4]);
}

#[cfg(target_os = "linux")]
fn page_bytes() -> u64 {
    // SAFETY: asks for a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

#[cfg(target_os = "linux")]
mod truncation {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn an_end_within_a_page_is_noticed_by_the_length_alone() {
        let file = TestFile::patterned(10_000);
        let region = file.map();
        file.set_len(9000);
        // The rest of the last page reads as zeros, without a signal.
        let error = region.read(8999..9001).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert_eq!(error.location().path, Some(file.path()));
        assert_eq!(error.location().byte, Some(9000));
        assert!(error.message().contains("10000") && error.message().contains("9000"), "{error}");
        // It stays so for the region, and for what a file it shares holds now.
        assert_eq!(region.check().unwrap_err().kind(), ErrorKind::Truncated);
        assert_eq!(file.map().read(8999..9000).unwrap(), &file.bytes[8999..9000]);
    }

    #[test]
    fn a_missing_page_is_an_error_that_names_the_byte() {
        let page = page_bytes();
        let file = TestFile::patterned(4 * page as usize);
        let region = file.map();
        file.set_len(page);
        assert_eq!(byte_at(&region, 2 * page + 9), 0);
        let error = region.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert_eq!(error.location().byte, Some(2 * page + 9));
        let (expected, found) = ((4 * page).to_string(), page.to_string());
        assert!(error.message().contains(&expected) && error.message().contains(&found), "{error}");
    }

    #[test]
    fn a_long_read_of_a_shortened_file_is_an_error_that_names_the_byte() {
        let file = TestFile::patterned(200_000);
        let region = file.map();
        assert_eq!(region.read(1..150_001).unwrap(), file.bytes[1..150_001]);
        assert_eq!(region.read(0..200_000).unwrap(), file.bytes);
        for new_len in [100_000, 70_000, 0] {
            file.set_len(new_len);
            let error = region.read(50_000..150_000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
            assert_eq!(error.location().path, Some(file.path()));
            assert_eq!(error.location().byte, Some(new_len.max(50_000)), "{error}");
        }
    }

    #[test]
    fn a_page_that_was_missed_is_remembered_though_the_file_grew_back() {
        let page = page_bytes();
        let file = TestFile::patterned(4 * page as usize);
        let (region, bystander) = (file.map(), file.map());
        file.set_len(0);
        assert_eq!(byte_at(&region, page), 0);
        fs::write(file.path(), &file.bytes).unwrap();
        let error = region.check().unwrap_err();
        assert_eq!((error.kind(), error.location().byte), (ErrorKind::Truncated, Some(page)));
        // A clone is the same region; another map of the file has missed nothing, nor does a new one.
        assert!(region.clone().read(0..1).is_err());
        assert_eq!(bystander.read(0..4 * page).unwrap(), file.bytes);
        drop(region);
        assert_eq!(file.map().read(0..4 * page).unwrap(), file.bytes);
    }

    #[test]
    fn preloading_a_shortened_file_is_an_error() {
        let page = page_bytes();
        for new_len in [0, 1, page, page + 1] {
            for how in [Preload::Populate, Preload::Copy] {
                let file = TestFile::patterned(4 * page as usize);
                let region = file.map();
                file.set_len(new_len);
                let error = region.preload(how.clone()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{how:?} {new_len}: {error}");
            }
        }
    }

    const RECORD_BYTES: usize = 64;

    /// The record at `index`: every word says where it belongs, and none is zero.
    fn record(index: u64) -> impl Iterator<Item = u8> {
        (0..RECORD_BYTES as u64 / 8).flat_map(move |word| mix(index << 3 | word).to_le_bytes())
    }

    /// Four readers, and one file cut short under them to a random length by the one of them that delivers a
    /// randomly chosen batch, a thousand times: all that is delivered as good is good, and every reader ends
    /// with an error rather than a signal.
    #[test]
    fn a_thousand_truncations_deliver_no_wrong_record() {
        const ROUNDS: u64 = 1000;
        const READERS: u64 = 4;
        const BATCH_ROWS: u64 = 16;
        let page = page_bytes();
        let num_delivered = AtomicU64::new(0);
        let contents: [Vec<u8>; 5] = std::array::from_fn(|i| (0..1024 << i).flat_map(record).collect());
        for round in 0..ROUNDS {
            let expected = &contents[(round % 5) as usize];
            let len = expected.len() as u64;
            let file = TestFile::new(expected.clone());
            let region = file.map();
            let draw = mix(round);
            let last_batch = draw % 64;
            let new_len = match round % 3 {
                0 => 0,
                1 => draw % len,
                _ => draw % len / page * page,
            };
            let num_batches = AtomicU64::new(0);
            let is_cut = AtomicBool::new(false);
            let read = |reader: u64| {
                let region = region.clone();
                let mut draw = mix(round ^ reader << 32);
                let mut batch = [(0, [0; RECORD_BYTES]); BATCH_ROWS as usize];
                loop {
                    // Acquire: pairs with the release below, so that what follows comes after the cut.
                    let was_cut = is_cut.load(Ordering::Acquire);
                    for (at, bytes) in &mut batch {
                        draw = mix(draw);
                        *at = draw as usize % expected.len() / RECORD_BYTES * RECORD_BYTES;
                        region.copy_out(*at as u64, bytes).unwrap();
                    }
                    if let Err(error) = region.check() {
                        assert_eq!(error.kind(), ErrorKind::Truncated);
                        assert!(error.location().byte.unwrap() < len);
                        return;
                    }
                    assert!(!was_cut, "round {round}: the truncation went unnoticed");
                    for (at, bytes) in &batch {
                        let good = bytes[..] == expected[*at..][..RECORD_BYTES];
                        assert!(good, "round {round}: the record at byte {at} is wrong");
                    }
                    num_delivered.fetch_add(BATCH_ROWS, Ordering::Relaxed);
                    if num_batches.fetch_add(1, Ordering::Relaxed) == last_batch {
                        file.set_len(new_len);
                        is_cut.store(true, Ordering::Release);
                    }
                }
            };
            std::thread::scope(|scope| {
                for reader in 0..READERS {
                    let read = &read;
                    scope.spawn(move || read(reader));
                }
            });
        }
        assert!(num_delivered.into_inner() >= ROUNDS * BATCH_ROWS);
    }
}

/// Signals belong to the whole process, so each of these tests runs its body in a process of its own: this
/// test binary again, asked for that one test.
#[cfg(target_os = "linux")]
mod signals {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use libc::{SIG_DFL, SIG_IGN, SIGBUS, c_int, c_void, siginfo_t};

    use super::*;

    /// Runs `body` in a child process in which only the test `name` runs, and gives how it ended.
    #[track_caller]
    fn in_child(name: &str, case: &str, body: impl FnOnce(&str)) -> Option<ExitStatus> {
        const CASE: &str = "FOREBAY_TEST_CASE";
        match std::env::var(CASE) {
            Ok(asked) if asked == case => {
                let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: `no_core` is a whole limit.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core) }, 0);
                body(case);
                std::process::exit(0);
            }
            Ok(_) => None,
            Err(_) => {
                let mut child = Command::new(std::env::current_exe().unwrap());
                child
                    .args(["--exact", &format!("signals::{name}"), "--nocapture", "--test-threads=1"])
                    .env(CASE, case);
                let output = child.output().unwrap();
                if !output.status.success() {
                    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                }
                Some(output.status)
            }
        }
    }

    fn set_action(handler: usize, flags: c_int) {
        // SAFETY: all zeros is an action; `handler` is one of the two constants, or a function with the
        // arguments that `flags` ask for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            assert_eq!(libc::sigaction(SIGBUS, &action, ptr::null_mut()), 0);
        }
    }

    /// The address of the handler in force.
    fn handler() -> usize {
        // SAFETY: asks only; `action` has room for the answer.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(SIGBUS, ptr::null(), &mut action), 0);
            action.sa_sigaction
        }
    }

    /// A region that has been cut to nothing. Reading it faults.
    fn cut_region(guard: Guard) -> (TestFile, Region) {
        let file = TestFile::patterned(4 * page_bytes() as usize);
        let region = Region::map(file.path(), &MapOptions::new().guard(guard)).unwrap();
        file.set_len(0);
        (file, region)
    }

    /// The address of a page that cannot be read, of a map that is no region.
    fn foreign_page() -> *const u8 {
        let page = page_bytes() as usize;
        let file = TestFile::patterned(page);
        let map =
            memmap2::MmapOptions::new().map_raw_read_only(&fs::File::open(file.path()).unwrap()).unwrap();
        file.set_len(0);
        let start = map.as_ptr();
        std::mem::forget(map);
        start
    }

    fn read_byte(at: *const u8) -> u8 {
        // SAFETY: `at` is mapped, readable or not: to find out is the purpose of this test.
        unsafe { at.read_volatile() }
    }

    static NUM_CALLS: AtomicUsize = AtomicUsize::new(0);
    static SEEN_ADDRESS: AtomicUsize = AtomicUsize::new(0);
    static EXPECTED_PAGE: AtomicUsize = AtomicUsize::new(0);

    fn make_readable(page: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: replaces the one page of the test's own map.
        unsafe { libc::mmap(page as *mut c_void, page_bytes() as usize, libc::PROT_READ, flags, -1, 0) };
    }

    extern "C" fn handler_with_info(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: called with what the kernel gave, or this test is to fail.
        let address = unsafe { (*info).si_addr() } as usize;
        SEEN_ADDRESS.store(address, Ordering::Relaxed);
        if signal == SIGBUS && !context.is_null() {
            NUM_CALLS.fetch_add(1, Ordering::Relaxed);
        }
        make_readable(EXPECTED_PAGE.load(Ordering::Relaxed));
    }

    extern "C" fn handler_without_info(signal: c_int) {
        if signal == SIGBUS {
            NUM_CALLS.fetch_add(1, Ordering::Relaxed);
        }
        make_readable(EXPECTED_PAGE.load(Ordering::Relaxed));
    }

    #[test]
    fn faults_of_others_go_to_the_handler_that_was_there_before() {
        for case in ["with info", "without info"] {
            let status = in_child("faults_of_others_go_to_the_handler_that_was_there_before", case, |case| {
                let with_info = case == "with info";
                if with_info {
                    let handler = handler_with_info as extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                    set_action(handler as usize, libc::SA_SIGINFO);
                } else {
                    set_action(handler_without_info as extern "C" fn(c_int) as usize, 0);
                }
                let (_file, region) = cut_region(Guard::On);
                let foreign = foreign_page();
                EXPECTED_PAGE.store(foreign as usize, Ordering::Relaxed);

                // Ours: the other handler hears nothing.
                assert_eq!(byte_at(&region, 0), 0);
                assert_eq!(region.check().unwrap_err().kind(), ErrorKind::Truncated);
                assert_eq!(NUM_CALLS.load(Ordering::Relaxed), 0);

                // Not ours: it hears all.
                assert_eq!(read_byte(foreign.wrapping_add(3)), 0);
                assert_eq!(NUM_CALLS.load(Ordering::Relaxed), 1);
                if with_info {
                    assert_eq!(SEEN_ADDRESS.load(Ordering::Relaxed), foreign as usize + 3);
                }

                // Ours no more, once it is dropped.
                let start = region.bytes(vouched()).as_ptr();
                drop(region);
                let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
                let file = TestFile::patterned(page_bytes() as usize);
                let open = fs::File::open(file.path()).unwrap();
                let fd = std::os::fd::AsRawFd::as_raw_fd(&open);
                // SAFETY: a new map at an address that was just freed; it replaces nothing.
                let again = unsafe {
                    libc::mmap(start as *mut c_void, page_bytes() as usize, libc::PROT_READ, flags, fd, 0)
                };
                assert_eq!(again.cast_const().cast(), start);
                file.set_len(0);
                EXPECTED_PAGE.store(start as usize, Ordering::Relaxed);
                assert_eq!(read_byte(start), 0);
                assert_eq!(NUM_CALLS.load(Ordering::Relaxed), 2);
            });
            assert!(status.is_none_or(|status| status.success()), "{case}: {status:?}");
        }
    }

    #[test]
    fn an_unguarded_fault_still_ends_the_process() {
        for (case, action) in
            [("default", Some(SIG_DFL)), ("ignored", Some(SIG_IGN)), ("as Rust starts", None)]
        {
            let status = in_child("an_unguarded_fault_still_ends_the_process", case, |_| {
                if let Some(action) = action {
                    set_action(action, 0);
                }
                let (_file, region) = cut_region(Guard::On);
                assert_eq!(byte_at(&region, 0), 0);
                read_byte(foreign_page());
            });
            assert!(status.is_none_or(|status| status.signal() == Some(SIGBUS)), "{case}: {status:?}");
        }
    }

    #[test]
    fn a_fault_without_guard_ends_the_process() {
        let status = in_child("a_fault_without_guard_ends_the_process", "off", |_| {
            let _guarded = cut_region(Guard::On);
            let (_file, region) = cut_region(Guard::Off);
            byte_at(&region, 0);
        });
        assert!(status.is_none_or(|status| status.signal() == Some(SIGBUS)), "{status:?}");
    }

    #[test]
    fn a_signal_that_was_sent_does_what_it_did_before() {
        for (case, action, ends) in [("default", SIG_DFL, true), ("ignored", SIG_IGN, false)] {
            let status = in_child("a_signal_that_was_sent_does_what_it_did_before", case, |_| {
                set_action(action, 0);
                let (_file, region) = cut_region(Guard::On);
                assert_eq!(byte_at(&region, 0), 0);
                // To this very thread, so that it has done its work on return.
                // SAFETY: a signal to this thread.
                assert_eq!(unsafe { libc::raise(SIGBUS) }, 0);
                // Still guarded, where it was ignored; what it should have ended comes to a good end.
                if action == SIG_IGN {
                    assert_eq!(byte_at(&region, page_bytes()), 0);
                }
            });
            let expected = if ends { Some(SIGBUS) } else { None };
            assert!(status.is_none_or(|status| status.signal() == expected), "{case}: {status:?}");
            assert!(ends || status.is_none_or(|status| status.success()), "{case}: {status:?}");
        }
    }

    #[test]
    fn without_guard_no_handler_is_installed() {
        let status = in_child("without_guard_no_handler_is_installed", "off", |_| {
            let before = handler();
            let file = TestFile::patterned(100);
            let unguarded = Region::map(file.path(), &MapOptions::new().guard(Guard::Off)).unwrap();
            assert_eq!(handler(), before);
            file.set_len(10);
            assert_eq!(unguarded.check().unwrap_err().location().byte, Some(10));
            let _guarded = file.map();
            assert_ne!(handler(), before);
            let installed = handler();
            let _second = file.map();
            assert_eq!(handler(), installed);
        });
        assert!(status.is_none_or(|status| status.success()), "{status:?}");
    }

    /// Each page that is replaced alone splits the map, and the kernel allows a process only so many maps.
    #[test]
    fn many_faults_take_few_maps() {
        let page = page_bytes();
        let file = TestFile::patterned(2000 * page as usize);
        let region = file.map();
        file.set_len(0);
        for at in (1..2000).step_by(2) {
            assert_eq!(byte_at(&region, at * page), 0);
        }
        assert_eq!(region.check().unwrap_err().location().byte, Some(page));
        let start = region.bytes(vouched()).as_ptr() as u64;
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let is_ours = |line: &&str| {
            let address = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
            (start..start + 2000 * page).contains(&address)
        };
        let num_maps = maps.lines().filter(is_ours).count();
        assert!(num_maps <= 40, "{num_maps} maps for one region");
    }

    #[test]
    fn a_fault_is_survived_where_the_kernel_allows_no_more_maps() {
        let limit: usize = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
        if limit > 300_000 {
            eprintln!("skipped: vm.max_map_count is {limit}, to reach which takes too long");
            return;
        }
        let status = in_child("a_fault_is_survived_where_the_kernel_allows_no_more_maps", "full", |_| {
            let page = page_bytes() as usize;
            let (_file, region) = cut_region(Guard::On);
            let len = 2 * limit * page;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a map of the test's own, of which every other page is made unlike its neighbours until
            // the kernel refuses to keep one more map.
            let is_full = unsafe {
                let filler = libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0);
                assert_ne!(filler, libc::MAP_FAILED);
                let is_full = (1..2 * limit)
                    .step_by(2)
                    .any(|at| libc::mprotect(filler.byte_add(at * page), page, libc::PROT_READ) != 0);
                // An inner page: to replace it alone would take two maps more.
                assert_eq!(byte_at(&region, page as u64 + 7), 0);
                libc::munmap(filler, len);
                is_full
            };
            assert!(is_full);
            assert_eq!(region.check().unwrap_err().location().byte, Some(page as u64 + 7));
        });
        assert!(status.is_none_or(|status| status.success()), "{status:?}");
    }
}
