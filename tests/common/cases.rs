//! Cases of damage: each is a file, which is read, or refused with an error that names it: no panic, no hang, no memory
//! beyond what its size can justify.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::fs;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use forebay::{ColumnKind, Dataset, Error, ErrorKind, Loader, OpenOptions, Shuffle};
use tempfile::TempDir;

/// One allocation may be this large,
const ALLOCATION_BYTES: usize = 64 << 20;
/// and beyond that this many times the file.
const ALLOCATION_RATIO: usize = 10;
/// A case may have so many times as much at once: what was inflated, what was decoded from it, the rows gathered.
const AT_ONCE: usize = 3;
/// No case may take longer; five times as long without optimisation.
const CASE_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
/// Rows and batches of a file that claims more are looked at up to here.
const ROWS_READ: u64 = 500;

/// The system's allocator, which remembers the largest allocation of each thread, and how much it had at most.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    // What another thread frees is missed, so that this may fall below zero.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static DECODER_PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static OTHER_PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn remember(more: usize, less: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(more)));
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + more as isize - less as isize);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        remember(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        remember(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        remember(bytes, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        remember(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Counts panics. Those of the decoders of arrow and parquet, which run under `catch_unwind`, are counted apart and not
/// printed.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let file = info.location().map_or("", |location| location.file());
            if file.split(['/', '\\']).any(|part| part.starts_with("arrow-") || part.starts_with("parquet-"))
            {
                DECODER_PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            } else {
                OTHER_PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
                print(info);
            }
        }));
    });
}

/// Where the cases of one test are written, and what became of them.
pub struct Cases {
    pub folder: TempDir,
    options: OpenOptions,
    pub read: usize,
    pub refused: usize,
    pub caught: usize,
    slowest: Duration,
}

impl Cases {
    pub fn new() -> Self {
        Cases::with(OpenOptions::default())
    }

    pub fn with(options: OpenOptions) -> Self {
        watch_panics();
        // In memory where there is such a folder: thousands of files are written.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Cases { folder, options, read: 0, refused: 0, caught: 0, slowest: Duration::ZERO }
    }

    /// Reads a file of `bytes`; what was refused, if something was. `what` says which case it is, should it fail.
    pub fn bytes(&mut self, bytes: &[u8], what: &dyn Fn() -> String) -> Option<Error> {
        let path = self.folder.path().join("case");
        fs::write(&path, bytes).unwrap();
        self.file(&path, bytes.len(), what)
    }

    pub fn file(&mut self, path: &Path, len_bytes: usize, what: &dyn Fn() -> String) -> Option<Error> {
        let options = self.options.clone();
        self.opened(path, path, &options, len_bytes, what)
    }

    /// Reads what opens at `path`, of files of `len_bytes` in all that lie at or below `within`.
    pub fn opened(
        &mut self,
        path: &Path,
        within: &Path,
        options: &OpenOptions,
        len_bytes: usize,
        what: &dyn Fn() -> String,
    ) -> Option<Error> {
        // A budget is one of all files.
        let is_named = |error: &Error| {
            let budget =
                error.kind() == ErrorKind::TooLarge && error.message().starts_with("an exact shuffle");
            budget || error.location().path.as_ref().is_some_and(|path| path.starts_with(within))
        };
        self.tried(&|| read(path, options), &is_named, len_bytes, what)
    }

    /// Has `read` read `len_bytes` bytes; every error it meets must say where, as `is_named` tells.
    pub fn tried(
        &mut self,
        read: &dyn Fn() -> Vec<Error>,
        is_named: &dyn Fn(&Error) -> bool,
        len_bytes: usize,
        what: &dyn Fn() -> String,
    ) -> Option<Error> {
        let began = Instant::now();
        LARGEST.set(0);
        LIVE.set(0);
        PEAK.set(0);
        DECODER_PANICS.take();
        let errors = panic::catch_unwind(AssertUnwindSafe(read));
        let (took, largest, peak) = (began.elapsed(), LARGEST.get(), PEAK.get() as usize);
        let (in_decoders, elsewhere) = (DECODER_PANICS.take(), OTHER_PANICS.take());
        assert!(elsewhere.is_empty(), "{}: {elsewhere:?}", what());
        let errors = errors.unwrap_or_else(|_| panic!("{}: not caught: {in_decoders:?}", what()));
        self.slowest = self.slowest.max(took);
        let caught = errors.iter().filter(|error| was_a_panic(error)).count();
        self.caught += caught;
        // Not one by one: batches made ahead of the one whose error ends a loader are asked for by nobody, and what is wrong with a
        // chunk is told, once found, to all who come to it.
        assert_eq!(in_decoders.is_empty(), caught == 0, "{}: {in_decoders:?} became {errors:?}", what());
        for error in &errors {
            let bug = matches!(error.kind(), ErrorKind::Panic | ErrorKind::Internal);
            assert!(!bug && is_named(error), "{}: {error:?}", what());
        }
        let allowed = ALLOCATION_BYTES + ALLOCATION_RATIO * len_bytes;
        assert!(largest <= allowed, "{}: {largest} bytes allocated for a file of {len_bytes}", what());
        assert!(peak <= AT_ONCE * allowed, "{}: {peak} bytes at once for a file of {len_bytes}", what());
        if took > CASE_TIME {
            // Once may be the machine's doing, twice is the file's.
            let again = Instant::now();
            let _ = read();
            assert!(again.elapsed() < CASE_TIME, "{}: took {took:?}, then {:?}", what(), again.elapsed());
        }
        match errors.is_empty() {
            true => self.read += 1,
            false => self.refused += 1,
        }
        errors.into_iter().next()
    }
}

impl Drop for Cases {
    fn drop(&mut self) {
        println!(
            "{} read, {} refused (of which a decoder panicked in {}), the slowest in {:?}",
            self.read, self.refused, self.caught, self.slowest
        );
    }
}

/// Whether a decoder panicked and the panic became this error.
fn was_a_panic(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<Error>());
    source.is_some_and(|source| source.kind() == ErrorKind::Panic)
}

/// Opens, gathers and loads: the errors met.
fn read(path: &Path, options: &OpenOptions) -> Vec<Error> {
    let dataset = match options.open(path) {
        Ok(dataset) => dataset,
        Err(error) => return vec![error],
    };
    let len = dataset.len();
    let first = 0..len.min(ROWS_READ);
    let last = len.saturating_sub(ROWS_READ).max(first.end)..len;
    let gathered = dataset.gather(&first.chain(last).collect::<Vec<_>>());
    let mut errors: Vec<_> = gathered.err().into_iter().collect();
    errors.extend(load(&dataset).err());
    errors
}

/// Goes through the columns that can be loaded, in shuffled order.
fn load(dataset: &Dataset) -> Result<(), Error> {
    // The first of a name: others cannot be asked for.
    let fields = dataset.schema().fields();
    let is_first = |name: &str, at: usize| fields.iter().position(|field| field.name() == name) == Some(at);
    let loadable = fields
        .iter()
        .enumerate()
        .filter(|(at, field)| is_first(field.name(), *at) && ColumnKind::of(field) != ColumnKind::Other);
    let columns: Vec<_> = loadable.map(|(_, field)| field.name().as_str()).collect();
    if columns.is_empty() {
        return Ok(());
    }
    let loader = Loader::builder(dataset).columns(columns).batch_size(7).shuffle(Shuffle::Exact).threads(0);
    for batch in loader.build()?.take(ROWS_READ as usize) {
        std::hint::black_box(batch?.record_batch()?);
    }
    Ok(())
}

/// Bytes that mean something in formats that are text.
const MARKS: &[u8] = b"\"\n\r\0,;:#{}[]'-+.eE0 \t/\\*\xFF";

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next of its numbers.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Damages a file in one place.
    pub fn mutate(&mut self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        let at = self.below(file.len());
        let len = self.below(file.len() - at).min(64);
        let word = [0, 1, 2, -1, 255, 1 << 16, i64::from(i32::MAX), i64::MAX, i64::MIN][self.below(9)];
        match self.below(14) {
            0 | 1 => file[at] ^= 1 << self.below(8),
            2 => file[at] = self.next() as u8,
            3 | 4 if file.len() - at / 8 * 8 >= 8 => {
                file[at / 8 * 8..][..8].copy_from_slice(&word.to_le_bytes())
            }
            5 if file.len() - at / 4 * 4 >= 4 => {
                file[at / 4 * 4..][..4].copy_from_slice(&(word as i32).to_le_bytes());
            }
            6 => {
                let to = self.below(file.len() - len);
                file.copy_within(at..at + len, to);
            }
            8 => {
                let bytes: Vec<u8> = (0..=self.below(9)).map(|_| self.next() as u8).collect();
                file.splice(at..at, bytes);
            }
            9 => {
                let (block, to) = (file[at..at + len].to_vec(), self.below(file.len()));
                file.splice(to..to, block);
            }
            10 => drop(file.drain(at..at + len)),
            11 => {
                // A varint of up to ten bytes.
                let bytes = 1 + self.below(10).min(file.len() - at - 1);
                file[at..at + bytes].fill(0xFF);
                file[at + bytes - 1] = self.below(128) as u8;
            }
            12 => file[at] = MARKS[self.below(MARKS.len())],
            13 => {
                let digits: Vec<u8> = (0..1 + self.below(24)).map(|_| b'0' + self.below(10) as u8).collect();
                file.splice(at..at, digits);
            }
            _ if self.below(4) == 0 && at > 0 => file.truncate(at),
            _ => file[at..at + len].rotate_left(len / 2),
        }
    }
}
