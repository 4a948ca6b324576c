//! Several processes over one dataset: what each of them, and all together, take of memory.
//!
//! `cargo run --release --example 06_share_memory -- [MEBIBYTES]`
//!
//! Starts 1, 2 and 4 processes, each of which goes through all rows of a dataset of so many MiB (256) in random order, and
//! prints what the kernel counts while all of them have it, in MiB, summed over the processes: resident (`Rss`), proportional
//! (`Pss`: a page that n processes share counts 1/n in each) and private. Once with the files mapped, which the page cache
//! shares; once with a copy in each process; once with a copy that they share.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs};

use forebay::{Dataset, Loader, Preload, Shuffle};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROW_BYTES: usize = 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [word, path, how, name] if word == "train" => train(Path::new(path), how, name),
        [] => compare(256),
        [mebibytes] => compare(mebibytes.parse()?),
        _ => Err("expected the size of a dataset in MiB".into()),
    }
}

/// One of the processes.
fn train(path: &Path, how: &str, name: &str) -> Result<()> {
    let preload = match how {
        "mapped" => Preload::No,
        "copied" => Preload::Copy,
        _ => Preload::Shared { name: name.to_owned() },
    };
    let dataset = Dataset::options().preload(preload).open(path)?;
    let mut sum = 0u64;
    let loader = Loader::builder(&dataset).batch_size(256).shuffle(Shuffle::Exact).threads(1).build()?;
    for batch in loader {
        let batch = batch?;
        let column = batch.columns().next().expect("a column").to_owned();
        sum += batch
            .tensor::<u8>(&column)?
            .as_slice()
            .iter()
            .step_by(ROW_BYTES)
            .map(|&byte| u64::from(byte))
            .sum::<u64>();
    }
    println!("ready {sum}");
    // Until all are ready, and then until all were counted.
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let [rss, pss, clean, dirty] = memory(["Rss:", "Pss:", "Private_Clean:", "Private_Dirty:"])?;
    println!("{rss} {pss} {}", clean + dirty);
    io::stdin().read_line(&mut line)?;
    drop(dataset);
    Ok(())
}

/// What the kernel counts of this process, in KiB.
fn memory<const N: usize>(fields: [&str; N]) -> Result<[u64; N]> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let mut found = [0; N];
    for (field, found) in fields.iter().zip(&mut found) {
        let line = text.lines().find(|line| line.starts_with(field)).ok_or("a field is missing")?;
        *found = line.split_whitespace().nth(1).ok_or("a number is missing")?.parse()?;
    }
    Ok(found)
}

fn compare(mebibytes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.npy");
    let rows = (mebibytes << 20) / ROW_BYTES;
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {ROW_BYTES}), }}");
    let mut file = io::BufWriter::new(fs::File::create(&path)?);
    file.write_all(b"\x93NUMPY\x01\x00\x76\x00")?;
    file.write_all(format!("{header:<117}\n").as_bytes())?;
    for row in 0..rows {
        file.write_all(&[row as u8; ROW_BYTES])?;
    }
    file.into_inner()?.sync_all()?;
    println!("{mebibytes} MiB in {rows} rows; MiB over all processes:\n");
    println!("| | processes | Rss | Pss | Private |\n|---|---|---|---|---|");
    for how in ["mapped", "copied", "shared"] {
        for count in [1, 2, 4] {
            let [rss, pss, private] = measure(&path, how, count)?.map(|kibibytes| kibibytes >> 10);
            println!("| {how} | {count} | {rss} | {pss} | {private} |");
        }
    }
    Ok(())
}

/// What so many processes take together, in KiB.
fn measure(path: &Path, how: &str, count: usize) -> Result<[u64; 3]> {
    let mut processes = (0..count).map(|_| Process::start(path, how)).collect::<Result<Vec<_>>>()?;
    let sums = processes.iter_mut().map(Process::line).collect::<Result<Vec<_>>>()?;
    assert!(sums.iter().all(|sum| *sum == sums[0]), "all see the same rows: {sums:?}");
    let mut all = [0; 3];
    for process in &mut processes {
        process.tell()?;
        let line = process.line()?;
        for (all, word) in all.iter_mut().zip(line.split_whitespace()) {
            *all += word.parse::<u64>()?;
        }
    }
    for mut process in processes {
        process.tell()?;
        assert!(process.child.wait()?.success());
    }
    Ok(all)
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(path: &Path, how: &str) -> Result<Self> {
        let name = format!("example-06-{}", std::process::id());
        let mut command = Command::new(env::current_exe()?);
        command.arg("train").arg(path).args([how, &name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Process {
            child,
            input: input.ok_or("it has no input")?,
            output: BufReader::new(output.ok_or("it has no output")?),
        })
    }

    fn tell(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"\n")?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process ended early".into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
