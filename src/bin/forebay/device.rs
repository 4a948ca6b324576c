//! `forebay bench --device`
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use forebay::{LoaderBuilder, Result, cuda_copy_rate, cuda_gather_rate};
use serde_json::json;

/// How long the ceiling is measured.
const CEILING_SECONDS: Duration = Duration::from_secs(1);

/// Rows of a batch of the gather that is measured.
const GATHER_ROWS: usize = 4096;

/// What `forebay bench` was asked for.
pub struct DeviceBench {
    pub device: u32,
    /// How long the consumer takes for a batch.
    pub step: Duration,
    /// When to end, where the loader does not by itself.
    pub end_after: Option<Duration>,
    pub opened: Instant,
    /// Whether columns stay on the device, so that no rows travel, but their numbers.
    pub stays: bool,
    /// Whether the kernels are to be checked against the host, and measured.
    pub kernels: bool,
    pub json: bool,
}

/// What came so far.
#[derive(Clone, Copy, Default)]
struct Count {
    rows: u64,
    batches: u64,
    sent_bytes: u64,
    delivered_bytes: u64,
    /// Time the consumer was without a batch, but for the first, and all.
    waited: Duration,
    elapsed: Duration,
}

impl DeviceBench {
    /// Has batches brought to the device, and prints how fast they came beside bare copies of the same size. Batches whose slots and
    /// buffers are made while they come are not measured, where there are enough others.
    pub fn run(self, loader: LoaderBuilder) -> Result<ExitCode> {
        let mut loader = loader.build_on_device(self.device)?;
        let host = loader.stats().host;
        let warm_up = 2 * (host.depth + host.threads) as u64;
        let (mut all, mut warm) = (Count::default(), Count::default());
        let mut first_batch = None;
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let Some(batch) = loader.next() else { break };
            let batch = batch?;
            batch.synchronize()?;
            if first_batch.is_none() {
                first_batch = Some(self.opened.elapsed());
            } else {
                all.waited += asked.elapsed();
            }
            all.rows += batch.num_rows() as u64;
            all.sent_bytes += batch.sent_bytes() as u64;
            all.delivered_bytes += batch.delivered_bytes();
            all.batches += 1;
            thread::sleep(self.step);
            all.elapsed = started.elapsed();
            if all.batches == warm_up {
                warm = all;
            }
            if self.end_after.is_some_and(|end| all.elapsed >= end) {
                break;
            }
        }
        if all.batches < 2 * warm_up {
            warm = Count::default();
        }
        let seconds = (all.elapsed - warm.elapsed).as_secs_f64().max(1e-9);
        let name = loader.device_name()?;
        let stats = loader.stats();
        drop(loader);
        let Count { rows, batches, .. } = all;
        let batch_bytes = all.sent_bytes.checked_div(batches).unwrap_or(0).max(1);
        let ceiling = match self.stays {
            true => None,
            false => Some(cuda_copy_rate(self.device, batch_bytes as usize, CEILING_SECONDS)? / 1e9),
        };
        let row_bytes = all.delivered_bytes.checked_div(rows).unwrap_or(0).clamp(1, 1 << 20) as usize;
        let gather_rows = GATHER_ROWS.min((64 << 20) / row_bytes);
        let gather = match self.kernels {
            true => Some(cuda_gather_rate(self.device, row_bytes, gather_rows, CEILING_SECONDS)? / 1e9),
            false => None,
        };
        let rate = (all.sent_bytes - warm.sent_bytes) as f64 / seconds / 1e9;
        let delivered = (all.delivered_bytes - warm.delivered_bytes) as f64 / seconds / 1e9;
        let rows_per_second = (rows - warm.rows) as f64 / seconds;
        let waited = (all.waited - warm.waited).as_secs_f64() / seconds;
        let first_batch_ms = first_batch.unwrap_or_default().as_secs_f64() * 1e3;
        if self.json {
            let line = json!({
                "device": self.device,
                "device_name": name,
                "rows": rows,
                "batches": batches,
                "batch_bytes": batch_bytes,
                "seconds": seconds,
                "rows_per_s": rows_per_second,
                "gb_per_s": rate,
                "delivered_gb_per_s": delivered,
                "kernel_gather_gb_per_s": gather,
                "ceiling_gb_per_s": ceiling,
                "waited": waited,
                "step_ms": self.step.as_secs_f64() * 1e3,
                "first_batch_ms": first_batch_ms,
                "pinned_bytes": stats.host.pinned_bytes,
                "unpinned_bytes": stats.host.unpinned_bytes,
                "device_bytes": stats.device_bytes,
            });
            println!("{line}");
        } else {
            println!(
                "{name}: {:.2} M rows/s, {:.2} GB/s of values, {rate:.2} GB/s to the device",
                rows_per_second / 1e6,
                delivered
            );
            if let Some(ceiling) = ceiling {
                println!(
                    "bare copies of {batch_bytes} bytes: {ceiling:.2} GB/s; the loader reaches {:.0} % of it",
                    100.0 * rate / ceiling
                );
            }
            if let Some(gather) = gather {
                println!(
                    "kernels checked against the host; rows of {row_bytes} bytes gathered at {gather:.2} GB/s"
                );
            }
            println!("the consumer waited {:.1} % of the time, for {batches} batches", 100.0 * waited);
            println!("first batch {first_batch_ms:.1} ms after opening");
            println!("{stats}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
