//! What the benches share: datasets on disk, and the ceiling they are held against.

#![allow(dead_code)] // Each bench uses its part.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::buffer::Buffer;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use forebay::Dataset;
use forebay::convert::{ConvertOptions, convert};
use forebay::sampler::{Order, Shuffle};

pub const BATCH: usize = 256;

/// How many rows of `row_bytes` bytes ahead the ceiling asks for lines: the best that was found.
pub const fn ahead(row_bytes: usize) -> usize {
    if row_bytes > 1024 { 2 } else { 32 }
}

/// The sizes that are measured, as rows and elements a row; fewer rows where `cargo bench -- --test` only sees that the
/// benches run.
pub fn sizes() -> [(usize, usize); 2] {
    let fewer = if std::env::args().any(|arg| arg == "--test") { 64 } else { 1 };
    [((1 << 20) / fewer, 64), ((1 << 18) / fewer, 768)]
}

/// A converted dataset of `rows` rows: `x`, f32 of `width` elements, and `y`, an i64. Made once, kept under `target/`.
pub fn dataset(rows: usize, width: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{rows}x{width}"));
    if !folder.join("dataset.json").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let x = (0..rows * width).map(|i| i as f32).collect();
        let x = Dataset::from_tensor("x", &[width], x).unwrap();
        let y = Dataset::from_tensor("y", &[], (0..rows as i64).collect()).unwrap();
        convert(&x.zip(&y).unwrap(), &folder, &ConvertOptions::new(), |_| {}).unwrap();
    }
    folder
}

/// The columns of a dataset made by [`dataset`], where they lie: for each record batch, its first row and the addresses
/// of the two columns.
pub struct Columns {
    batches: Vec<(usize, *const u8, *const u8)>,
    rows_per_batch: usize,
    pub rows: usize,
    row_bytes: usize,
    _keep: Vec<Buffer>,
}

// SAFETY: the addresses are read only, and the buffers that own them are kept.
unsafe impl Sync for Columns {}
// SAFETY: as above.
unsafe impl Send for Columns {}

/// How the ceiling's source lies in memory.
#[derive(Clone, Copy, PartialEq)]
pub enum Source {
    /// The mapped files, as `mmap` gives them.
    Fresh,
    /// The mapped files, every page mapped.
    Populated,
    /// A copy in anonymous memory, on huge pages where there are any.
    HugePages,
}

impl Columns {
    pub fn open(folder: &Path, source: Source) -> Self {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "arrow"));
        files.sort();
        let mut columns =
            Columns { batches: vec![], rows_per_batch: 0, rows: 0, row_bytes: 0, _keep: vec![] };
        for path in files {
            // SAFETY: nobody changes the files of this bench.
            let map = unsafe { memmap2::Mmap::map(&File::open(path).unwrap()).unwrap() };
            let buffer = match source {
                Source::Fresh => Buffer::from(bytes::Bytes::from_owner(map)),
                Source::Populated => {
                    map.advise(memmap2::Advice::PopulateRead).unwrap();
                    Buffer::from(bytes::Bytes::from_owner(map))
                }
                Source::HugePages => {
                    let mut copy = memmap2::MmapMut::map_anon(map.len()).unwrap();
                    copy.advise(memmap2::Advice::HugePage).unwrap();
                    copy.copy_from_slice(&map);
                    Buffer::from(bytes::Bytes::from_owner(copy.make_read_only().unwrap()))
                }
            };
            columns.add(buffer);
        }
        columns
    }

    fn add(&mut self, buffer: Buffer) {
        let end = buffer.len() - 10;
        let footer_len = read_footer_length(buffer[end..].try_into().unwrap()).unwrap();
        let footer = root_as_footer(&buffer[end - footer_len..end]).unwrap();
        let schema = arrow::ipc::convert::try_fb_to_schema(footer.schema().unwrap()).unwrap();
        let decoder = FileDecoder::new(Arc::new(schema), footer.version()).with_require_alignment(true);
        for block in footer.recordBatches().unwrap() {
            let len = block.bodyLength() as usize + block.metaDataLength() as usize;
            let message = buffer.slice_with_length(block.offset() as usize, len);
            let batch = decoder.read_record_batch(block, &message).unwrap().unwrap();
            let x = batch.column(0).as_fixed_size_list().values().to_data();
            let y = batch.column(1).to_data();
            self.rows_per_batch = self.rows_per_batch.max(batch.num_rows());
            self.row_bytes = x.buffers()[0].len() / batch.num_rows();
            self.batches.push((self.rows, x.buffers()[0].as_ptr(), y.buffers()[0].as_ptr()));
            self.rows += batch.num_rows();
        }
        self._keep.push(buffer);
    }

    #[inline(always)]
    fn row(&self, row: usize) -> (*const u8, *const u8) {
        let (first, x, y) = self.batches[row / self.rows_per_batch];
        let row = row - first;
        (x.wrapping_add(row * self.row_bytes), y.wrapping_add(row * 8))
    }

    /// Gathers one epoch of batches of [`BATCH`] rows in the order `order` with `threads` threads, each into four
    /// buffers in turn: nothing but addresses, prefetches and copies. `ahead` is how many rows ahead lines are asked for.
    pub fn gather(&self, order: &[u32], threads: usize, ahead: usize) -> Duration {
        let next = AtomicUsize::new(0);
        let barrier = Barrier::new(threads + 1);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buffers: Vec<_> =
                        (0..4).map(|_| vec![1u8; BATCH * (self.row_bytes + 8)]).collect();
                    barrier.wait();
                    for turn in 0.. {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        let Some(rows) = order.chunks(BATCH).nth(batch) else { break };
                        let (x, y) = buffers[turn % 4].split_at_mut(BATCH * self.row_bytes);
                        // SAFETY: the rows lie in the columns, and the buffer has room for a batch of them.
                        unsafe { self.gather_batch(rows, x.as_mut_ptr(), y.as_mut_ptr(), ahead) };
                    }
                    barrier.wait();
                });
            }
            barrier.wait();
            let started = Instant::now();
            barrier.wait();
            started.elapsed()
        })
    }

    /// # Safety
    ///
    /// `x` and `y` have room for the rows.
    unsafe fn gather_batch(&self, rows: &[u32], x: *mut u8, y: *mut u8, ahead: usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let prefetch = |row: u32| {
            let (x, y) = self.row(row as usize);
            // SAFETY: a prefetch has no effect but on the caches.
            unsafe {
                for line in (0..self.row_bytes).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(line).cast());
                }
                _mm_prefetch::<_MM_HINT_T0>(y.cast());
            }
        };
        rows.iter().take(ahead).for_each(|&row| prefetch(row));
        for (i, &row) in rows.iter().enumerate() {
            if let Some(&row) = rows.get(i + ahead) {
                prefetch(row);
            }
            let (from_x, from_y) = self.row(row as usize);
            // SAFETY: the caller's.
            unsafe {
                if self.row_bytes == 256 {
                    x.add(i * 256)
                        .cast::<[u8; 256]>()
                        .write_unaligned(from_x.cast::<[u8; 256]>().read_unaligned());
                } else {
                    for block in 0..self.row_bytes / 64 {
                        let to = x.add(i * self.row_bytes + block * 64);
                        to.cast::<[u8; 64]>()
                            .write_unaligned(from_x.add(block * 64).cast::<[u8; 64]>().read_unaligned());
                    }
                }
                y.add(i * 8).cast::<[u8; 8]>().write_unaligned(from_y.cast::<[u8; 8]>().read_unaligned());
            }
        }
    }
}

/// An order to gather in, precomputed: the ceiling pays nothing for it.
pub fn order(rows: usize, seed: u64) -> Vec<u32> {
    let epoch = Order::new(rows as u64, Shuffle::Exact, seed).epoch(0);
    (0..rows as u64).map(|position| epoch.get(position) as u32).collect()
}
