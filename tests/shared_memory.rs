//! Promise 1 over several processes: they share one copy of a dataset, filled once whoever dies, and gone with the last.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use forebay::convert::{ConvertOptions, convert};
use forebay::map::{MapOptions, Region};
use forebay::{Dataset, ErrorKind, Loader, Preload, Shuffle};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Kills of who fills a copy.
const KILLS: u32 = 25;

/// A name of this test alone; what is left under it is looked for.
fn name(test: &str) -> String {
    format!("test-{}-{test}", std::process::id())
}

fn shared(name: &str) -> Preload {
    Preload::Shared { name: name.to_owned() }
}

/// Where the entries of a name lie.
fn folder_of(name: &str) -> PathBuf {
    let user = fs::metadata("/proc/self").unwrap().uid();
    Path::new("/dev/shm").join(format!("forebay-{user}-{name}"))
}

/// `rows` rows of 64 numbers each, in `files` files.
fn source(folder: &Path, files: u64, rows: u64) -> Vec<PathBuf> {
    let write = |file: u64| {
        let path = folder.join(format!("part-{file}.npy"));
        let header = format!("{{'descr': '<u8', 'fortran_order': False, 'shape': ({rows}, 64), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(118u16.to_le_bytes());
        bytes.extend(format!("{header:<117}\n").as_bytes());
        bytes.extend((0..rows * 64).flat_map(|n| (file * rows * 64 + n).to_le_bytes()));
        fs::write(&path, bytes).unwrap();
        path
    };
    (0..files).map(write).collect()
}

/// The maps of shared copies in this process: their inodes.
fn inodes() -> BTreeSet<u64> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("/memfd:forebay:"));
    ours.map(|line| line.split_whitespace().nth(4).unwrap().parse().unwrap()).collect()
}

/// Whether every number of the dataset is there.
fn is_whole(dataset: &Dataset) -> bool {
    let mut sum = 0u64;
    for batch in Loader::builder(dataset).batch_size(512).shuffle(Shuffle::Exact).threads(0).build().unwrap()
    {
        let batch = batch.unwrap();
        let column = batch.columns().next().unwrap().to_owned();
        sum += batch.tensor::<u64>(&column).unwrap().as_slice().iter().sum::<u64>();
    }
    let numbers = dataset.len() * 64;
    sum == numbers * (numbers - 1) / 2
}

/// A process of its own that has a copy until it is told to let go: run by the tests below, and nothing else.
#[test]
fn as_one_who_shares() {
    let Some(folder) = std::env::var_os("FOREBAY_TEST_SHARES") else { return };
    let name = std::env::var("FOREBAY_TEST_SHARED_NAME").unwrap();
    println!("begun");
    let folder = Path::new(&folder);
    let is_dataset = folder.join("dataset.json").exists();
    let source = if is_dataset { folder.to_owned() } else { folder.join("part-*.npy") };
    let opened = Dataset::options().preload(shared(&name)).open(source);
    let dataset = match opened {
        Ok(dataset) => dataset,
        Err(error) => return println!("refused {:?} {error}", error.kind()),
    };
    println!("whole {} {:?}", is_whole(&dataset), inodes());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(dataset);
    println!("gone {:?}", inodes());
}

/// One of these processes, and what it says.
struct Sharer {
    process: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Sharer {
    fn start(folder: &Path, name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "as_one_who_shares", "--nocapture"]);
        command.env("FOREBAY_TEST_SHARES", folder).env("FOREBAY_TEST_SHARED_NAME", name);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut sharer = Sharer { says: BufReader::new(process.stdout.take().unwrap()), process };
        sharer.wait_for("begun");
        sharer
    }

    /// The rest of the next line that has `word` in it.
    fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.says.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.trim_end().split_once(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("it ended without a word of '{word}'");
    }

    fn let_go(mut self) {
        self.process.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.wait_for("gone"), "{}");
        assert!(self.process.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn processes_share_one_copy_that_is_gone_with_the_last() {
    let (folder, name) = (tempfile::tempdir().unwrap(), name("one-copy"));
    source(folder.path(), 3, 1000);
    let mut sharers: Vec<_> = (0..4).map(|_| Sharer::start(folder.path(), &name)).collect();
    let said: BTreeSet<String> = sharers.iter_mut().map(|sharer| sharer.wait_for("whole")).collect();
    assert_eq!(said.len(), 1, "all map the same memory: {said:?}");
    let said = said.into_iter().next().unwrap();
    assert!(said.starts_with("true {") && said.matches(',').count() == 2, "of three files: {said}");
    let last = sharers.pop().unwrap();
    sharers.into_iter().for_each(Sharer::let_go);
    assert!(folder_of(&name).exists());
    // Who comes later maps what the last has.
    let mut late = Sharer::start(folder.path(), &name);
    assert_eq!(late.wait_for("whole"), said);
    last.let_go();
    late.let_go();
    assert!(!folder_of(&name).exists());
}

#[test]
fn shards_of_a_converted_dataset_are_shared() {
    let (folder, name) = (tempfile::tempdir().unwrap(), name("shards"));
    let (data, out) = (source(folder.path(), 1, 4000), folder.path().join("out"));
    let options = ConvertOptions::new().num_shards(3);
    convert(&Dataset::open(&data[0]).unwrap(), &out, &options, |_| {}).unwrap();
    let mut sharers = [Sharer::start(&out, &name), Sharer::start(&out, &name)];
    let [one, other] = sharers.each_mut().map(|sharer| sharer.wait_for("whole"));
    assert!(one.starts_with("true {") && one.matches(',').count() == 2, "of three shards: {one}");
    assert_eq!(one, other);
    sharers.into_iter().for_each(Sharer::let_go);
    assert!(!folder_of(&name).exists());
}

#[test]
fn whoever_is_killed_while_filling_is_taken_over() {
    let (folder, name) = (tempfile::tempdir().unwrap(), name("killed"));
    source(folder.path(), 4, 8_000);
    let mut dice = StdRng::seed_from_u64(5);
    let (mut during, mut after) = (0, 0);
    for round in 0..KILLS {
        let first = Sharer::start(folder.path(), &name);
        let mut second = Sharer::start(folder.path(), &name);
        // A moment of the first one's work: there is nothing to wait for.
        thread::sleep(Duration::from_micros(dice.random_range(0..30_000)));
        let files = fs::read_dir(folder_of(&name)).map_or(0, |files| {
            files.filter(|file| file.as_ref().is_ok_and(|file| file.file_name().len() == 16)).count()
        });
        if files < 4 {
            during += 1
        } else {
            after += 1
        }
        first.kill();
        let mut third = Sharer::start(folder.path(), &name);
        let said = second.wait_for("whole");
        assert!(said.starts_with("true "), "round {round}: {said}");
        assert_eq!(third.wait_for("whole"), said, "round {round}");
        second.let_go();
        third.let_go();
        assert!(!folder_of(&name).exists(), "round {round}: something is left");
    }
    println!("killed {during} times before all files were there, {after} times after");
}

#[test]
fn what_killed_processes_leave_is_removed_by_the_next() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    source(folder.path(), 2, 100);
    source(other.path(), 1, 100);
    let (left, same) = (name("left"), name("left-too"));
    for name in [&left, &same] {
        let mut sharer = Sharer::start(folder.path(), name);
        sharer.wait_for("whole");
        // Nobody is there to remove what it wrote down.
        sharer.kill();
    }
    // Killed before it had made its lock, or after it had removed it.
    let empty = folder_of(&name("empty"));
    fs::create_dir(&empty).unwrap();
    // Another dataset under one of the names, which removes the others as well.
    let mut sharer = Sharer::start(other.path(), &same);
    assert!(sharer.wait_for("whole").starts_with("true"));
    // Or whoever swept beside it does, being there first.
    let begun = Instant::now();
    while folder_of(&left).exists() || empty.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "what was left is there still");
        thread::yield_now();
    }
    sharer.let_go();
    assert!(!folder_of(&same).exists());
}

#[test]
fn a_name_is_of_one_dataset_in_one_state() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = source(folder.path(), 1, 100);
    source(other.path(), 1, 100);
    let name = name("of-one");
    let mut sharer = Sharer::start(folder.path(), &name);
    sharer.wait_for("whole");
    let open = |folder: &Path| Dataset::options().preload(shared(&name)).open(folder.join("part-*.npy"));
    let error = open(other.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let words = format!("'{name}' is the name of another dataset in shared memory, ");
    assert!(error.message().starts_with(&words), "{error}");
    assert!(error.message().contains(&format!("which process {} holds", sharer.process.id())), "{error}");
    assert!(open(folder.path()).is_ok());
    // The same bytes, written later.
    File::options().append(true).open(&paths[0]).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let error = open(folder.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(error.message().contains("changed since it was loaded as"), "{error}");
    sharer.let_go();
    assert!(open(folder.path()).is_ok() && open(other.path()).is_ok());
    assert!(!folder_of(&name).exists());
}

#[test]
fn names_that_are_no_part_of_a_path_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = &source(folder.path(), 1, 10)[0];
    for name in ["", "a/b", "ä", "a b", &"x".repeat(101)] {
        let error = Dataset::options().preload(shared(name)).open(path).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("1 to 100 letters"), "{error}");
    }
    let error = Dataset::open(path).unwrap().preload(shared("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "too late");
}

#[test]
fn a_shared_copy_is_memory_that_nobody_can_change() {
    let folder = tempfile::tempdir().unwrap();
    // Of a length that no copy of another test has.
    let (path, name) = (&source(folder.path(), 1, 101)[0], name("sealed"));
    let file = Region::map(path, &MapOptions::new()).unwrap();
    let region = file.preload(shared(&name)).unwrap();
    assert!(region.is_owned() && region.path() == Some(path));
    let bytes = region.owned_bytes().unwrap();
    assert_eq!(bytes, fs::read(path).unwrap());
    // Found as another process would find it.
    let mut descriptors = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_it = |link: &PathBuf| {
        fs::read_link(link).is_ok_and(|to| to.to_string_lossy().contains("/memfd:forebay:"))
            && fs::metadata(link).is_ok_and(|copy| copy.len() == region.len() as u64)
    };
    let link = descriptors.find(is_it).unwrap();
    let mut copy = File::options().read(true).write(true).open(link).unwrap();
    assert_eq!(copy.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(copy.set_len(1).unwrap_err().raw_os_error(), Some(libc::EPERM));
    // What becomes of the file does not matter any more.
    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    region.check().unwrap();
    assert_eq!(bytes.len(), region.len());
    let clone = region.clone();
    drop(region);
    assert!(folder_of(&name).exists());
    drop(clone);
    assert!(!folder_of(&name).exists());
}

#[test]
fn loaders_over_one_dataset_share_its_maps() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path(), 5, 200);
    let of_files = |folder: &Path| {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains(folder.to_str().unwrap())).count()
    };
    let dataset = Dataset::open(folder.path().join("part-*.npy")).unwrap();
    let opened = of_files(folder.path());
    assert_eq!(opened, 5);
    let column = dataset.schema().field(0).name().clone();
    let loaders: Vec<_> = (0..8)
        .map(|seed| {
            let (part, _) = dataset.split(0.5, seed).unwrap();
            let mut loader = Loader::builder(&part).batch_size(16).threads(1).build().unwrap();
            let batch = loader.next().unwrap().unwrap();
            assert_eq!(batch.tensor::<u64>(&column).unwrap().shape(), [16, 64]);
            loader
        })
        .collect();
    assert_eq!(of_files(folder.path()), opened);
    drop((loaders, dataset));
    assert_eq!(of_files(folder.path()), 0);
}
