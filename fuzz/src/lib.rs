//! What the fuzz targets share: whatever the bytes, a dataset is refused with an error or its rows are read.
//!
//! Each file in `fuzz_targets` says how its input becomes a file. A panic, a case that takes too long and an
//! allocation beyond the limit are what `scripts/fuzz` looks for.

use std::fs;
use std::hint::black_box;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::ipc::writer::StreamWriter;
use forebay::format::FileFormat;
use forebay::{ColumnKind, Dataset, ErrorKind, Loader, OpenOptions, Result, Shuffle};

/// Rows and batches of a file that claims more are looked at up to here.
const ROWS_READ: u64 = 64;

/// Opens `bytes` as a file called `name` and reads its rows.
pub fn bytes(options: &OpenOptions, name: &str, bytes: &[u8]) {
    watch_panics();
    read(options.open_bytes(name, bytes.to_vec()));
}

/// Opens `bytes` as a file of `format`.
pub fn format(format: FileFormat, bytes: &[u8]) {
    self::bytes(&Dataset::options().format(format), "case", bytes);
}

/// Gathers the first and last rows of a dataset and goes through those columns that can be loaded, in shuffled order.
pub fn read(dataset: Result<Dataset>) {
    let Some(dataset) = believed(dataset) else { return };
    let len = dataset.len();
    let first = 0..len.min(ROWS_READ);
    let last = len.saturating_sub(ROWS_READ).max(first.end)..len;
    black_box(believed(dataset.gather(&first.chain(last).collect::<Vec<_>>())));
    believed(load(&dataset));
}

/// What was read; an error is as good, unless it says that the library is at fault.
fn believed<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(read) => Some(read),
        Err(error) if matches!(error.kind(), ErrorKind::Panic | ErrorKind::Internal) => panic!("{error:?}"),
        Err(error) => {
            black_box(error.to_string());
            None
        }
    }
}

fn load(dataset: &Dataset) -> Result<()> {
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
    let loader = Loader::builder(dataset).columns(columns).batch_size(3).shuffle(Shuffle::Exact).threads(0);
    for batch in loader.build()?.take(ROWS_READ as usize) {
        black_box(batch?.record_batch()?);
    }
    Ok(())
}

/// A folder of files for the formats that need more than one, in the folder that `FOREBAY_FUZZ_FOLDER` names.
pub struct Folder(PathBuf);

impl Folder {
    /// A folder of this process.
    #[expect(clippy::new_without_default, reason = "it writes to disk")]
    pub fn new() -> Self {
        watch_panics();
        let parent = std::env::var_os("FOREBAY_FUZZ_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("forebay-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the files of a case");
        Folder(folder)
    }

    /// Where the folder lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes one of its files.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("room for the files of a case");
        path
    }

    /// Writes no such file.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }
}

/// Lets the library catch panics of the decoders of arrow and parquet, as it says it does; any other ends the process.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if !file.split('/').any(|part| part.starts_with("arrow-") || part.starts_with("parquet-")) {
                abort(info);
            }
        }));
    });
}

/// An Arrow stream of one column of u64, `indices`: 2, 0, 1.
pub fn indices() -> Vec<u8> {
    let column = Arc::new(UInt64Array::from(vec![2, 0, 1])) as _;
    let batch = RecordBatch::try_from_iter([("indices", column)]).expect("one column");
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(&batch).expect("room");
    writer.into_inner().expect("room")
}

/// The checksum of TFRecord framing.
pub fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// TFRecord framing of a payload, its checksums right.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), payload, &masked(payload)].concat()
}

/// `bytes` cut at the first NUL: the text before it, and what is behind.
pub fn cut(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.iter().position(|&byte| byte == 0)?;
    Some((std::str::from_utf8(&bytes[..at]).ok()?, &bytes[at + 1..]))
}
