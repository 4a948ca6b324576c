//! Trains a linear model from a stream of shuffled batches that queues and threads make of sharded CSV.
//!
//! `cargo run --release --example 04_train_from_queues` writes eight files of a thousand points each, and fits the plane
//! they lie on, for twenty epochs: file names in a new order each epoch, three readers, a queue that shuffles, batches of 64.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay::coordinator::decode::{DecodeCsv, decode_csv, stack};
use forebay::coordinator::reader::{LineReader, Reader};
use forebay::coordinator::{Coordinator, JoinOptions, shuffle_batch_join, string_input_producer};
use forebay::{Error, ErrorKind, Result, TensorColumns};

const FILES: usize = 8;
const POINTS: usize = 1000;
const EPOCHS: u64 = 20;

/// The plane: y = 2 x1 - 3 x2 + 0.5.
const TRUTH: [f32; 3] = [2.0, -3.0, 0.5];

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("forebay-points-{}", std::process::id()));
    write_points(&folder).map_err(|e| Error::new(ErrorKind::Io, e.to_string()).at_path(&folder))?;
    let weights = train(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    let weights = weights?;
    println!(
        "y = {:.2} x1 + {:.2} x2 + {:.2}; they were made by {TRUTH:?}",
        weights[0], weights[1], weights[2]
    );
    assert!(
        weights.iter().zip(TRUTH).all(|(weight, truth)| (weight - truth).abs() < 0.05),
        "it learned the plane"
    );
    Ok(())
}

fn train(folder: &Path) -> Result<[f32; 3]> {
    let coordinator = Coordinator::new();
    let pattern = folder.join("points-*.csv");
    let names =
        string_input_producer([pattern.to_string_lossy()])?.num_epochs(EPOCHS).seed(7).start(&coordinator)?;
    let readers = (0..3).map(|_| {
        let (reader, names) = (LineReader::new().skip_header_lines(1), names.clone());
        let csv = DecodeCsv::new()
            .column("x1", 0f32)
            .column("x2", 0f32)
            .required("y", forebay::format::CsvType::F32);
        move || {
            // Many lines at a time: what a thread does for each call, it does for all of them.
            let lines: Vec<_> = reader.read_up_to(&*names, 256)?.into_iter().map(|(_, line)| line).collect();
            stack(&decode_csv(&lines, &csv)?, "x", &["x1", "x2"])
        }
    });
    let batches = shuffle_batch_join(readers)
        .enqueue_many(true)
        .batch_size(64)
        .capacity(4096)
        .min_after_dequeue(2048)
        .seed(1)
        .start(&coordinator)?;

    let (mut weights, mut rows, began) = ([0f32; 3], 0, Instant::now());
    for batch in batches {
        let batch = batch?;
        let (x, y) = (batch.tensor::<f32>("x")?, batch.tensor::<f32>("y")?);
        let mut gradient = [0f32; 3];
        for (row, &y) in y.as_slice().iter().enumerate() {
            let input = [x.row(row)[0], x.row(row)[1], 1.0];
            let error = weights.iter().zip(input).map(|(weight, input)| weight * input).sum::<f32>() - y;
            gradient.iter_mut().zip(input).for_each(|(sum, input)| *sum += error * input);
        }
        let rate = 0.3 / batch.num_rows() as f32;
        weights.iter_mut().zip(gradient).for_each(|(weight, gradient)| *weight -= rate * gradient);
        rows += batch.num_rows();
    }
    println!("{rows} rows in {:.2} s", began.elapsed().as_secs_f64());
    coordinator.join(&JoinOptions::new().grace_period(Duration::from_secs(5)))?;
    Ok(weights)
}

/// The same points each time.
fn write_points(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut state = 1u64;
    let mut draw = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    for file in 0..FILES {
        let mut text = "x1,x2,y\n".to_owned();
        for _ in 0..POINTS {
            let (x1, x2) = (draw(), draw());
            let y = TRUTH[0] * x1 + TRUTH[1] * x2 + TRUTH[2];
            writeln!(text, "{x1},{x2},{y}").expect("text grows");
        }
        std::fs::write(folder.join(format!("points-{file}.csv")), text)?;
    }
    Ok(())
}

#[test]
fn it_learns() {
    main().unwrap();
}
