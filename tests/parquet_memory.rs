//! A scan of Parquet in order decodes each row group into the memory of the one before it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use forebay::{Dataset, Loader};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// The system's allocator, which counts the bytes of what is as large, and aligned, as a decoded column.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= GROUP_ROWS * 4 && layout.align() == 8 {
            // Relaxed: a sum, read by the thread that adds to it.
            BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const ROWS: i64 = 20_000;
const GROUP_ROWS: usize = 2000;
/// Two numbers, a text of five bytes and where it ends.
const GROUP_BYTES: usize = GROUP_ROWS * (8 + 8 + 5 + 4);

// One test alone in its process: all Parquet files share the memory.
#[test]
fn row_groups_read_in_order_lie_one_where_the_other_lay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let batch = RecordBatch::try_from_iter([
        ("n", Arc::new((0..ROWS).collect::<Int64Array>()) as ArrayRef),
        ("x", Arc::new((0..ROWS).map(|n| Some(n as f64 / 3.0)).collect::<Float64Array>()) as ArrayRef),
        ("t", Arc::new((0..ROWS).map(|n| Some(format!("{n:05}"))).collect::<StringArray>()) as ArrayRef),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let dataset = Dataset::open(&path).unwrap();
    let allocated = |threads: usize, is_kept: bool| {
        let (mut kept, mut rows) = (Vec::new(), 0..ROWS);
        let loader = Loader::builder(&dataset).batch_size(500).threads(threads).depth(1).build().unwrap();
        let before = BYTES.load(Ordering::Relaxed);
        for batch in loader {
            let batch = batch.unwrap();
            let numbers = batch.tensor::<i64>("n").unwrap();
            assert!(numbers.as_slice().iter().copied().eq(rows.by_ref().take(500)));
            let texts = batch.text("t").unwrap();
            assert!(texts.iter().zip(numbers.as_slice()).all(|(text, n)| text == format!("{n:05}")));
            if is_kept {
                kept.push(batch);
            }
        }
        let bytes = BYTES.load(Ordering::Relaxed) - before;
        for (batch, first) in kept.iter().zip((0..).step_by(500)) {
            assert_eq!(batch.tensor::<i64>("n").unwrap().as_slice()[0], first);
            assert_eq!(batch.text("t").unwrap().row(0), format!("{first:05}"));
        }
        bytes as f64 / GROUP_BYTES as f64
    };
    // The last row group of a scan stays: who reads on may come to it.
    let (first, again, kept, after) =
        (allocated(0, false), allocated(0, false), allocated(0, true), allocated(0, false));
    println!(
        "row groups of memory: {first} at first, {again} then, {kept} where all batches are kept, {after} after that"
    );
    // Two that come next, beside those that are read.
    let ahead = allocated(3, false);
    println!("{ahead} row groups more with three threads");
    assert!(ahead < 5.0, "{ahead} row groups with three threads");
    assert!((1.0..1.7).contains(&first) && again < 1.7, "{first} row groups at first, {again} again");
    assert!((8.0..12.0).contains(&kept) && after < 0.2, "{kept} row groups kept, {after} after that");
}
