//! `forebay bench`
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use forebay::map::ProcessUsage;
use forebay::{
    Batch, Dataset, Loader, LoaderBuilder, Preload, Remainder, Residency, Result, Shuffle, Staging,
};
#[cfg(not(feature = "cuda"))]
use forebay::{Error, ErrorKind};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use crate::args::SourceArgs;
use crate::bad_records::BadRecordArgs;
#[cfg(feature = "cuda")]
use crate::device::DeviceBench;
use crate::source::open;

/// Measure how fast batches come.
///
/// The digest is the XXH3-64 of the bytes of the first batches, columns in turn: it depends on the dataset, the seed and
/// the batch size, and not on threads, depth or staging.
#[derive(Args)]
pub struct Bench {
    /// A dataset's folder, a file, a glob pattern, or name=path columns.
    #[arg(required = true)]
    sources: Vec<String>,
    /// Columns to load; all where none is named.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Rows in a batch.
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// The order of rows: none or exact.
    #[arg(long, default_value = "exact")]
    shuffle: Shuffle,
    /// The seed of the order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worker threads beside the consumer's own.
    #[arg(long)]
    threads: Option<usize>,
    /// Batches ready or in the making at a time.
    #[arg(long)]
    depth: Option<usize>,
    /// Where batches are staged: heap, locked, or cuda:N (locked by the driver of that device).
    #[arg(long, default_value = "heap")]
    staging: Staging,
    /// Bring the batches to this CUDA device, and measure bare copies of the same size beside them.
    #[arg(long)]
    device: Option<u32>,
    /// With --device: how long the consumer takes for a batch, in milliseconds.
    #[arg(long, default_value_t = 0, requires = "device")]
    step_ms: u64,
    /// With --device: check the kernels of the device against the host, and measure how fast they gather rows.
    #[arg(long, requires = "device")]
    kernels: bool,
    /// What is brought into memory first.
    #[arg(long, value_enum, default_value_t = PreloadArg::No)]
    preload: PreloadArg,
    /// Whether the files are to stay in memory or to pass through it: auto, resident or streaming.
    #[arg(long, default_value = "auto")]
    residency: Residency,
    /// Bytes of pages read ahead of the batches being made; 0 for none.
    #[arg(long)]
    look_ahead_bytes: Option<usize>,
    /// How many epochs; by default as many as take about five seconds.
    #[arg(long)]
    epochs: Option<u64>,
    #[command(flatten)]
    bad_records: BadRecordArgs,
    /// End after so many seconds, whether the epochs are over or not.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum PreloadArg {
    /// Nothing: pages come as they are touched.
    No,
    /// Every page of the files is mapped first.
    Populate,
    /// The files are copied into memory of our own, on huge pages where there are any.
    Copy,
    /// The columns are copied to the device, and batches gathered there (--device).
    #[cfg(feature = "cuda")]
    Device,
}

/// How long a bench runs where no number of epochs is given.
const SECONDS: Duration = Duration::from_secs(5);

/// Batches that go into the digest.
const DIGEST_BATCHES: usize = 64;

impl Bench {
    pub fn run(self) -> Result<ExitCode> {
        let preload = match self.preload {
            PreloadArg::No => Preload::No,
            PreloadArg::Populate => Preload::Populate,
            PreloadArg::Copy => Preload::Copy,
            // Columns are, not files: by the loader.
            #[cfg(feature = "cuda")]
            PreloadArg::Device => Preload::No,
        };
        let opened = Instant::now();
        let dataset = open(&self.sources, &self.source, preload)?;
        if let Some(device) = self.device {
            return self.run_on_device(device, &dataset, opened);
        }
        let cpu_before = ProcessUsage::of_process().cpu;
        let builder = self.builder(&dataset);
        let mut loader = match self.epochs {
            Some(epochs) => builder.epochs(epochs).build()?,
            None => builder.repeat().build()?,
        };
        let before = loader.stats().pages.residence;
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        let end_after = match (self.seconds, self.epochs) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, None) => SECONDS,
            (None, Some(_)) => Duration::MAX,
        };
        let (mut rows, mut bytes, mut batches) = (0u64, 0u64, 0u64);
        let mut first_batch = None;
        let started = Instant::now();
        for batch in &mut loader {
            let batch = batch?;
            first_batch.get_or_insert_with(|| opened.elapsed());
            rows += batch.num_rows() as u64;
            bytes += batch.delivered_bytes();
            batches += 1;
            if batches.is_multiple_of(256) {
                let elapsed = started.elapsed();
                bar.set_message(format!(
                    "{:.1} s, {:.2} M rows/s, {:.2} GB/s",
                    elapsed.as_secs_f64(),
                    rows as f64 / elapsed.as_secs_f64() / 1e6,
                    bytes as f64 / elapsed.as_secs_f64() / 1e9
                ));
                bar.tick();
            }
            if batches.is_multiple_of(16) && started.elapsed() >= end_after {
                break;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        bar.finish_and_clear();
        let usage = ProcessUsage::of_process();
        let (stats, private) = (loader.stats(), private_bytes());
        let bad_records = loader.bad_records().to_vec();
        drop(loader);
        let digest = self.digest(&dataset)?;
        let line = json!({
            "rows": rows,
            "bytes": bytes,
            "seconds": seconds,
            "rows_per_s": rows as f64 / seconds,
            "gb_per_s": bytes as f64 / seconds / 1e9,
            "first_batch_ms": first_batch.unwrap_or_default().as_secs_f64() * 1e3,
            "cpu_s": (usage.cpu - cpu_before).as_secs_f64(),
            "peak_rss_mb": usage.peak_rss_bytes as f64 / 1e6,
            "threads": stats.threads,
            "shuffle": self.shuffle.to_string(),
            "batch_size": self.batch_size,
            "residency": stats.pages.residency.to_string(),
            "file_mb": stats.pages.file_bytes as f64 / 1e6,
            "available_mb": stats.pages.available_bytes.map(|bytes| bytes as f64 / 1e6),
            "read_ahead_mb": stats.pages.advised_bytes as f64 / 1e6,
            "let_go_of_mb": stats.pages.released_bytes as f64 / 1e6,
            "resident_share_before": before.map(|residence| residence.share()),
            "resident_share_after": stats.pages.residence.map(|residence| residence.share()),
            "resident_sampled_mb": stats.pages.residence.map(|residence| residence.sampled_bytes as f64 / 1e6),
            "major_faults": stats.major_faults,
            "private_mb": private.map(|bytes| bytes as f64 / 1e6),
            "digest": digest,
            "bad_records": bad_records,
        });
        if self.json {
            println!("{line}");
        } else {
            println!("{:.2} M rows/s, {:.2} GB/s", rows as f64 / seconds / 1e6, bytes as f64 / seconds / 1e9);
            println!("{rows} rows, {bytes} bytes, {batches} batches in {seconds:.2} s");
            println!(
                "first batch {:.1} ms after opening",
                first_batch.unwrap_or_default().as_secs_f64() * 1e3
            );
            println!("digest {digest}");
            println!("{}", stats.pages);
            println!("{stats}");
            if !bad_records.is_empty() {
                println!("{} bad records were left out:", bad_records.len());
            }
            for bad in &bad_records {
                println!("  {bad}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    #[cfg(feature = "cuda")]
    fn run_on_device(&self, device: u32, dataset: &Dataset, opened: Instant) -> Result<ExitCode> {
        let builder = self.builder(dataset);
        let end_after = self.seconds.map(Duration::from_secs);
        let (builder, end_after) = match self.epochs {
            Some(epochs) => (builder.epochs(epochs), end_after),
            None => (builder.repeat(), end_after.or(Some(SECONDS))),
        };
        let step = Duration::from_millis(self.step_ms);
        let stays = matches!(self.preload, PreloadArg::Device);
        let (kernels, json) = (self.kernels, self.json);
        DeviceBench { device, step, end_after, opened, stays, kernels, json }.run(builder)
    }

    #[cfg(not(feature = "cuda"))]
    fn run_on_device(&self, device: u32, _: &Dataset, _: Instant) -> Result<ExitCode> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("--device {device} needs the feature 'cuda', without which this was built"),
        ))
    }

    fn builder(&self, dataset: &Dataset) -> LoaderBuilder {
        let mut builder = Loader::builder(dataset)
            .columns(&self.columns)
            .batch_size(self.batch_size)
            .shuffle(self.shuffle)
            .seed(self.seed)
            .remainder(Remainder::Keep)
            .on_bad_record(self.bad_records.policy())
            .staging(self.staging)
            .residency(self.residency);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(depth) = self.depth {
            builder = builder.depth(depth);
        }
        #[cfg(feature = "cuda")]
        if let PreloadArg::Device = self.preload {
            builder = builder.preload(Preload::Device);
        }
        if let Some(bytes) = self.look_ahead_bytes {
            builder = builder.look_ahead_bytes(bytes);
        }
        builder
    }

    fn digest(&self, dataset: &Dataset) -> Result<String> {
        let mut hasher = Xxh3::new();
        for batch in self.builder(dataset).build()?.take(DIGEST_BATCHES) {
            digest_batch(&batch?, &mut hasher)?;
        }
        Ok(format!("{:016x}", hasher.digest()))
    }
}

/// Bytes of memory that is this process's alone, pages of files left out; `None` where the system does not say.
fn private_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn digest_batch(batch: &Batch, hasher: &mut Xxh3) -> Result<()> {
    let table = batch.record_batch()?;
    for column in table.columns() {
        let data = column.to_data();
        let mut arrays = vec![&data];
        while let Some(array) = arrays.pop() {
            hasher.update(&array.len().to_le_bytes());
            array.buffers().iter().for_each(|buffer| hasher.update(buffer));
            arrays.extend(array.child_data());
        }
    }
    Ok(())
}
