//! The classic input pipeline, told by a table of three rows.
//!
//! `cargo run --release --example 03_queues` reads `my_test.csv` (two features, the second of which is missing once, and a
//! target) in the four ways in which such pipelines were written:
//!
//! 1. one reader, step by step: a queue of file names, a reader, a decoder, a queue that shuffles, shared by name;
//! 2. a consumer that knows nothing but the name of that queue;
//! 3. five threads under a coordinator and a queue runner that share one reader;
//! 4. five readers, each with a thread of its own, on five files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay::coordinator::decode::{DecodeCsv, decode_csv, stack};
use forebay::coordinator::reader::{LineReader, Reader};
use forebay::coordinator::{
    Coordinator, JoinOptions, RowQueue, RowQueueKind, shuffle_batch_join, string_input_producer,
};
use forebay::queue::{FifoQueue, Queue};
use forebay::{Error, ErrorKind, Result, TensorColumns};

const TABLE: &str = "x1, x2, target\n1. , 2. , 0\n4. , 5 , 1\n7. , , 0\n";

/// What the table holds: features and target of each row, in some order.
const ROWS: [([f32; 2], i32); 3] = [([1., 2.], 0), ([4., 5.], 1), ([7., -1.], 0)];

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("forebay-queues-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .map_err(|e| Error::new(ErrorKind::Io, e.to_string()).at_path(&folder))?;
    let told = tell(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    told
}

fn tell(folder: &Path) -> Result<()> {
    let write = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, TABLE).map_err(|e| Error::new(ErrorKind::Io, e.to_string()).at_path(&path))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let file = write("my_test.csv")?;
    let shuffled = one_reader(&file)?;
    a_consumer_elsewhere()?;
    drop(shuffled);
    five_threads_share_a_reader(&file)?;
    let files = (1..=5).map(|n| write(&format!("my_test_{n}.csv"))).collect::<Result<Vec<_>>>()?;
    five_readers_on_five_files(&files)
}

/// A line of the table as a row: features, a tensor of two, and the target.
fn decode(line: &[u8]) -> Result<RecordBatch> {
    let columns = DecodeCsv::new().column("x1", -1f32).column("x2", -1f32).column("target", -1i32);
    stack(&decode_csv(&[line], &columns)?, "features", &["x1", "x2"])
}

/// The queue that shuffles, of ten rows, two of which stay for the next draw.
fn shuffled_rows(name: &str) -> Result<RowQueue> {
    let kind = RowQueueKind::RandomShuffle { min_after_dequeue: 2, seed: None };
    RowQueue::options(kind).capacity(10).shared_name(name).open()
}

/// One reader: rows go into the queue until the file names are at their end.
fn one_reader(file: &str) -> Result<RowQueue> {
    let names = FifoQueue::new(10)?;
    names.enqueue(file.to_owned())?;
    names.close(false);

    let reader = LineReader::new().skip_header_lines(1);
    let rows = shuffled_rows("my_test rows")?;
    loop {
        match reader.read(&names) {
            Ok((key, line)) => {
                let key = Path::new(&key).file_name().unwrap_or_default().display();
                println!("{key} is {:?}", String::from_utf8_lossy(&line));
                rows.enqueue(&decode(&line)?)?;
            }
            Err(end) if end.kind() == ErrorKind::OutOfRange => break,
            Err(error) => return Err(error),
        }
    }
    assert_eq!((reader.num_records_produced(), reader.num_work_units_completed()), (3, 1));
    rows.close(false);
    Ok(rows)
}

/// A consumer that attaches to the queue by its name: a batch of two, a batch of one, the end.
fn a_consumer_elsewhere() -> Result<()> {
    let rows = RowQueue::attach("my_test rows")?;
    let mut seen = Vec::new();
    for expected in [2, 1] {
        let batch = rows.dequeue_up_to(2)?;
        println!(
            "a batch of {}: features {:?}",
            batch.num_rows(),
            batch.tensor::<f32>("features")?.as_slice()
        );
        assert_eq!(batch.num_rows(), expected);
        collect(&batch, &mut seen)?;
    }
    let end = rows.dequeue_up_to(2).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::OutOfRange);
    println!("then: {end}");
    expect(&mut seen, 1);
    Ok(())
}

/// Five threads share one reader of one file. The last of them to find no more closes the queue.
fn five_threads_share_a_reader(file: &str) -> Result<()> {
    let coordinator = Coordinator::new();
    let names = string_input_producer([file])?.num_epochs(1).capacity(10).start(&coordinator)?;
    let reader = LineReader::new().skip_header_lines(1);
    let rows = shuffled_rows("shared reader")?;
    let into = rows.clone();
    let runner = rows.runner(5, move || {
        let (_, line) = reader.read(&*names)?;
        into.enqueue(&decode(&line)?)
    });
    runner.start(Some(&coordinator))?;

    let mut seen = Vec::new();
    loop {
        match rows.dequeue_up_to(2) {
            Ok(batch) => collect(&batch, &mut seen)?,
            Err(end) if end.kind() == ErrorKind::OutOfRange => break,
            Err(error) => return Err(error),
        }
    }
    coordinator.request_stop(None)?;
    coordinator.join(&JoinOptions::new())?;
    expect(&mut seen, 1);
    println!("five threads shared a reader: {} rows", seen.len());
    Ok(())
}

/// Five readers, each with a thread of its own, share the names of five files.
fn five_readers_on_five_files(files: &[String]) -> Result<()> {
    let coordinator = Coordinator::new();
    let names = string_input_producer(files)?.num_epochs(1).seed(1).start(&coordinator)?;
    let sources = (0..5).map(|_| {
        let (reader, names): (_, Arc<FifoQueue<String>>) =
            (LineReader::new().skip_header_lines(1), names.clone());
        move || decode(&reader.read(&*names)?.1)
    });
    let batches = shuffle_batch_join(sources)
        .batch_size(2)
        .capacity(10)
        .min_after_dequeue(2)
        .allow_smaller_final_batch(true)
        .start(&coordinator)?;
    let mut seen = Vec::new();
    for batch in batches {
        collect(&batch?, &mut seen)?;
    }
    coordinator.join(&JoinOptions::new())?;
    expect(&mut seen, 5);
    println!("five readers read five files: {} rows", seen.len());
    Ok(())
}

fn collect(batch: &RecordBatch, seen: &mut Vec<([f32; 2], i32)>) -> Result<()> {
    let (features, targets) = (batch.tensor::<f32>("features")?, batch.tensor::<i32>("target")?);
    for (row, &target) in targets.as_slice().iter().enumerate() {
        seen.push(([features.row(row)[0], features.row(row)[1]], target));
    }
    Ok(())
}

/// Every row of the table was seen, so many times.
fn expect(seen: &mut [([f32; 2], i32)], times: usize) {
    seen.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
    let expected: Vec<_> = ROWS.iter().flat_map(|row| std::iter::repeat_n(*row, times)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_story_comes_out_as_it_is_told() {
    main().unwrap();
}
