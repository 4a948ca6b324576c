//! Converts a dataset of digits, trains a small network on it through the loader, and reports.
//!
//! ```text
//! cargo run --release --example 01_train_digits                 # digits drawn on the spot
//! cargo run --release --example 01_train_digits -- --data DIR   # MNIST: idx files, gzip or not
//! ```

mod digits;
mod network;

use std::path::{Path, PathBuf};
use std::time::Instant;

use forebay::convert::{ConvertOptions, convert};
use forebay::{Dataset, Loader, Shuffle, col};
use network::Network;

const BATCH_SIZE: usize = 64;
const EPOCHS: u64 = 12;
const RATE: f32 = 0.15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let source = source()?;

    // 1. Convert: idx files become sharded Arrow. A second run finds it done.
    let [images, labels] = ["images-idx3-ubyte", "labels-idx1-ubyte"].map(|name| find(&source, name));
    let images = Dataset::options().column_name("image").open(images?)?;
    let labels = Dataset::options().column_name("label").open(labels?)?;
    let folder = source.join("arrow");
    let converted = convert(&images.zip(&labels)?, &folder, &ConvertOptions::new(), |_| {})?;
    println!("{}: {} rows in {} shards", folder.display(), converted.rows, converted.shards);

    // 2. Open: mapped, nothing read yet. A tenth is held out.
    let digits = Dataset::open(&folder)?;
    let (train, test) = digits.split(0.9, 7)?;
    let columns = [col("image").cast::<f32>().scale(1.0 / 255.0), col("label")];

    // 3. Train: every epoch in an order of its own, batches ready before they are asked for.
    let mut network = Network::new(&[784, 128, 10], 1);
    let mut loader = Loader::builder(&train)
        .columns(columns.clone())
        .batch_size(BATCH_SIZE)
        .shuffle(Shuffle::Exact)
        .seed(42)
        .epochs(EPOCHS)
        .build()?;
    let steps = loader.steps_per_epoch();
    let (mut loss, mut seen) = (0.0, 0);
    for batch in &mut loader {
        let batch = batch?;
        let x = batch.tensor::<f32>("image")?;
        let y = batch.tensor::<u8>("label")?;
        let progress = (batch.epoch() * steps + batch.step()) as f32 / (EPOCHS * steps) as f32;
        loss += network.step(x.as_slice(), y.as_slice(), RATE * (1.0 - progress));
        seen += 1;
        if batch.step() + 1 == steps {
            println!("epoch {}: loss {:.4}", batch.epoch() + 1, loss / seen as f32);
            (loss, seen) = (0.0, 0);
        }
    }

    // 4. Report.
    let mut correct = 0;
    for batch in Loader::builder(&test).columns(columns).batch_size(500).build()? {
        let batch = batch?;
        correct += network
            .correct(batch.tensor::<f32>("image")?.as_slice(), batch.tensor::<u8>("label")?.as_slice());
    }
    println!("accuracy on the {} held out: {:.2} %", test.len(), 100.0 * correct as f64 / test.len() as f64);
    println!("{}", loader.stats());
    println!("{:.1} s in all", started.elapsed().as_secs_f64());
    Ok(())
}

/// The folder with the idx files: that of `--data`, or one of digits drawn now.
fn source() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits");
            std::fs::create_dir_all(&folder)?;
            if find(&folder, "labels-idx1-ubyte").is_err() {
                digits::write(&folder, 8000, 7)?;
            }
            Ok(folder)
        }
        (Some("--data"), Some(folder)) => Ok(folder.into()),
        _ => Err("usage: 01_train_digits [--data FOLDER_WITH_IDX_FILES]".into()),
    }
}

/// The training file whose name holds `kind`, gzip or not.
fn find(folder: &Path, kind: &str) -> Result<PathBuf, String> {
    let candidates = ["train-", "mnist-train-"].map(|prefix| folder.join(format!("{prefix}{kind}")));
    let with_gz = candidates.iter().flat_map(|path| [path.clone(), path.with_extension("gz")]);
    with_gz
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| format!("no train-{kind}[.gz] in {}", folder.display()))
}
