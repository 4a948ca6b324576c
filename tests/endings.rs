//! However a loader ends, nothing of it is left: threads, mappings, descriptors, memory; and one bad batch ends nothing.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use forebay::convert::{ConvertOptions, convert};
use forebay::map::ProcessUsage;
use forebay::sampler::Order;
use forebay::{Batch, Dataset, Error, ErrorKind, Loader, LoaderState, Shuffle};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What these tests look at belongs to the whole process: one of them runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives others the processor until `condition` holds; a minute is past any patience.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Threads of loaders: a task, once joined, may be listed for a moment longer.
fn loader_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("forebay-")).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings of files in `folder`; and bytes of writable memory that has no name.
fn mappings(folder: &Path) -> (usize, u64) {
    let folder = folder.to_str().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut anonymous = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ") && line.split_whitespace().count() == 5) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        anonymous += u64::from_str_radix(end, 16).unwrap() - u64::from_str_radix(start, 16).unwrap();
    }
    (maps.lines().filter(|line| line.contains(folder)).count(), anonymous)
}

const ROWS: u64 = 2000;
const WORDS: usize = 128;

/// Rows of 1 KiB: the row's number, and numbers made of it.
fn rows() -> Dataset {
    let values = (0..ROWS).flat_map(|row| (0..WORDS as u64).map(move |i| row * 1000 + i)).collect();
    let rows = Dataset::from_tensor("words", &[WORDS], values).unwrap();
    rows.zip(&Dataset::from_tensor("row", &[], (0..ROWS).collect()).unwrap()).unwrap()
}

fn check(batch: &Batch) -> Vec<u64> {
    let (words, rows) = (batch.tensor::<u64>("words").unwrap(), batch.tensor::<u64>("row").unwrap());
    for (i, row) in rows.as_slice().iter().enumerate() {
        assert!(words.row(i).iter().copied().eq(row * 1000..row * 1000 + WORDS as u64), "row {row}");
    }
    rows.as_slice().to_vec()
}

#[test]
fn a_thousand_drops_at_random_moments_leave_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let options = ConvertOptions::new().shard_bytes(512 * 1032);
    assert_eq!(convert(&rows(), &path, &options, |_| {}).unwrap().shards, 4);
    wait_until("no thread is left of other tests", || loader_threads() == 0);
    let before = descriptors();
    let mut memory = 0;
    let mut dice = StdRng::seed_from_u64(1);
    for round in 0..1000 {
        let dataset = Dataset::open(&path).unwrap();
        let builder = Loader::builder(&dataset)
            .batch_size(dice.random_range(1..100))
            .shuffle(if dice.random() { Shuffle::Exact } else { Shuffle::None })
            .seed(round)
            .threads(dice.random_range(0..6))
            .depth(dice.random_range(1..12))
            .epochs(dice.random_range(1..3));
        let builder = match dice.random_range(0..4) {
            0 => builder.map_batch(|batch| {
                batch.tensor_mut::<u64>("words")?.as_mut_slice().iter_mut().for_each(|word| *word += 1);
                Ok(())
            }),
            1 => {
                let count = AtomicUsize::new(0);
                builder.map_batch(move |_| match count.fetch_add(1, Ordering::Relaxed) % 3 {
                    0 => Err(Error::new(ErrorKind::InvalidArgument, "every third batch")),
                    _ => Ok(()),
                })
            }
            _ => builder,
        };
        let mut loader = builder.build().unwrap();
        let mut kept = Vec::new();
        for _ in 0..dice.random_range(0..12) {
            match loader.next() {
                Some(batch) => kept.extend(batch.ok().filter(|_| dice.random_bool(0.2))),
                None => break,
            }
        }
        (0..1 << dice.random_range(0..14)).for_each(|_| std::hint::spin_loop());
        let mut parts: Vec<Box<dyn std::any::Any>> =
            vec![Box::new(loader), Box::new(dataset), Box::new(kept)];
        while !parts.is_empty() {
            drop(parts.swap_remove(dice.random_range(0..parts.len())));
        }
        wait_until("the threads are gone", || loader_threads() == 0);
        assert_eq!(descriptors(), before, "round {round}");
        let (mapped, anonymous) = mappings(folder.path());
        assert_eq!(mapped, 0, "round {round}");
        if round == 200 {
            memory = anonymous;
        }
    }
    // A slot or two left behind each time would be some 100 MB.
    let (_, now) = mappings(folder.path());
    assert!(now < memory + (48 << 20), "{memory} bytes after 200 rounds, {now} after 1000");
}

#[test]
fn a_drop_waits_for_the_threads_at_work() {
    let _alone = alone();
    let (gate, entered) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let (at_gate, counted) = (gate.clone(), entered.clone());
    let loader = Loader::builder(&rows()).batch_size(10).threads(3).depth(20).map_batch(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        at_gate.wait();
        Ok(())
    });
    let loader = loader.build().unwrap();
    wait_until("every thread is at work", || entered.load(Ordering::SeqCst) == 3);
    let dropped = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(loader);
            dropped.store(true, Ordering::SeqCst);
        });
        for _ in 0..1000 {
            assert!(!dropped.load(Ordering::SeqCst));
            thread::yield_now();
        }
        gate.open();
    });
    assert!(dropped.load(Ordering::SeqCst));
}

/// Holds up whoever comes until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        drop(self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Batches of ten rows in two epochs, those with a row of `bad` given to `ending`.
fn with_bad_rows(
    bad: [u64; 3],
    threads: usize,
    ending: impl Fn(u64) -> forebay::Result<()> + Send + Sync + 'static,
) -> Loader {
    let builder = Loader::builder(&rows()).batch_size(10).shuffle(Shuffle::Exact).seed(5).epochs(2);
    let builder = builder.threads(threads).depth(4).map_batch(move |batch| {
        let rows = batch.tensor_mut::<u64>("row")?;
        match rows.as_slice().iter().find(|row| bad.contains(row)) {
            Some(&row) => ending(row),
            None => Ok(()),
        }
    });
    builder.build().unwrap()
}

/// Goes through `loader`: batches without a bad row must be whole, and those with one what `is_right` says.
fn expect_bad(bad: [u64; 3], mut loader: Loader, is_right: impl Fn(u64, u64, u64, &Error)) {
    let mut failed = 0;
    for epoch in 0..2 {
        let order = Order::new(ROWS, Shuffle::Exact, 5).epoch(epoch);
        for step in 0..ROWS / 10 {
            let rows: Vec<_> = (step * 10..step * 10 + 10).map(|position| order.get(position)).collect();
            let batch = loader.next().unwrap();
            match rows.iter().find(|row| bad.contains(row)) {
                Some(&row) => {
                    failed += 1;
                    is_right(row, epoch, step, &batch.unwrap_err());
                }
                None => {
                    let batch = batch.unwrap();
                    assert_eq!((batch.epoch(), batch.step()), (epoch, step));
                    assert_eq!(check(&batch), rows);
                }
            }
        }
        let (audited, delivered, expected) = loader.audit();
        assert_eq!(audited, epoch);
        assert!(delivered.check(expected).is_err());
    }
    assert!(loader.next().is_none());
    assert!((4..=6).contains(&failed), "{failed} batches failed");
}

#[test]
fn a_panicking_closure_ends_as_an_error_at_its_batch() {
    let _alone = alone();
    let bad = [3, 777, 1999];
    for threads in [0, 1, 4] {
        let loader = with_bad_rows(bad, threads, |row| match row {
            3 => panic!("three"),
            777 => panic!("row {row} is odd"),
            row => std::panic::panic_any(row),
        });
        expect_bad(bad, loader, |row, epoch, step, error| {
            assert_eq!(error.kind(), ErrorKind::Panic);
            let said = [(3, "three"), (777, "row 777 is odd"), (1999, "no text")];
            let (_, said) = said.into_iter().find(|(bad, _)| *bad == row).unwrap();
            let place = format!("(epoch {epoch}, step {step})");
            for words in ["map_batch", said, &place] {
                assert!(error.message().contains(words), "{error}");
            }
        });
    }
}

#[test]
fn an_erring_closure_ends_as_its_own_error_at_its_batch() {
    let _alone = alone();
    let bad = [0, 500, 1501];
    for threads in [0, 1, 4] {
        let loader = with_bad_rows(bad, threads, |row| {
            let error = Error::new(ErrorKind::TooLarge, format!("row {row} is too large"));
            Err(error.at_path("some/file").at_record(row).with_source(io::Error::from_raw_os_error(7)))
        });
        expect_bad(bad, loader, |row, _, _, error| {
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert_eq!(error.message(), format!("row {row} is too large"));
            assert_eq!(error.location().record, Some(row));
            let source = std::error::Error::source(error).unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(7));
        });
    }
}

#[test]
fn a_run_resumed_after_a_failed_batch_is_not_blamed_for_it() {
    let _alone = alone();
    let (bad, steps) = ([1, 2, 3], ROWS / 10);
    for cut in [1, steps - 1, steps, steps + 1] {
        let mut first = with_bad_rows(bad, 2, |_| Err(Error::new(ErrorKind::Io, "no such file")));
        let before = first.by_ref().take(cut as usize).filter(Result::is_err).count();
        let state = LoaderState::from_json(&first.state().to_json()).unwrap();
        let audit = first.audit();
        drop(first);
        let builder = Loader::builder(&rows()).batch_size(10).shuffle(Shuffle::Exact).seed(5).epochs(2);
        let second = builder.threads(2).resume(&state).build().unwrap();
        if cut % steps != 0 {
            assert_eq!(second.audit(), audit);
        }
        let (mut good, mut last) = (0, Vec::new());
        for batch in second {
            last = check(&batch.unwrap());
            good += 1;
        }
        assert!(before <= 6 && good == 2 * steps - cut && last.len() == 10);
    }
}

/// Runs `child` in a forked process and gives its exit status; a minute later the process is ended.
fn in_a_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only this thread, and `_exit`s without running anything of the others.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain system calls.
        unsafe { libc::alarm(60) };
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: as above.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

#[test]
fn a_loader_is_refused_after_a_fork_and_goes_on_in_the_parent() {
    let _alone = alone();
    let dataset = rows();
    let order = Order::new(ROWS, Shuffle::Exact, 5);
    let mut dice = StdRng::seed_from_u64(2);
    for threads in [0, 1, 4] {
        let builder =
            Loader::builder(&dataset).batch_size(10).shuffle(Shuffle::Exact).seed(5).threads(threads);
        let mut loader = builder.depth(4).build().unwrap();
        let batch = loader.next().unwrap().unwrap();
        for step in 1..40u64 {
            (0..1 << dice.random_range(0..12)).for_each(|_| std::hint::spin_loop());
            let mut in_child = Some(loader);
            let status = in_a_child(|| {
                let mut loader = in_child.take().unwrap();
                for _ in 0..2 {
                    match loader.next() {
                        Some(Err(error)) if error.kind() == ErrorKind::Forked => {}
                        _ => return 1,
                    }
                }
                // What was received before is still there, and a loader of the child's own works.
                if check(&batch).len() != 10 || loader.state().step() != step {
                    return 2;
                }
                drop(loader);
                let own = Loader::builder(&dataset).batch_size(500).threads(1).build().unwrap();
                if own.filter(|batch| batch.is_ok()).count() == 4 { 0 } else { 3 }
            });
            assert_eq!(status, 0, "{threads} threads, step {step}");
            loader = in_child.unwrap();
            let rows = check(&loader.next().unwrap().unwrap());
            let expected = (step * 10..step * 10 + 10).map(|position| order.epoch(0).get(position));
            assert!(rows.into_iter().eq(expected));
        }
    }
}

/// Processor time of the process while this thread waits for nothing in particular, as a share of the time that passed.
fn load_while_waiting() -> f64 {
    let (_sender, receiver) = mpsc::channel::<()>();
    let (begun, before) = (Instant::now(), ProcessUsage::of_process().cpu);
    assert_eq!(receiver.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
    (ProcessUsage::of_process().cpu - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn a_loader_whose_batches_are_ready_burns_no_processor_time() {
    let _alone = alone();
    let builder = Loader::builder(&rows()).batch_size(10).shuffle(Shuffle::Exact).repeat();
    let mut loader = builder.threads(4).depth(8).build().unwrap();
    for _ in 0..2 {
        wait_until("every batch is ready", || loader.stats().ready == 8);
        let load = load_while_waiting();
        assert!(load < 0.5, "{load} of a core");
        assert_eq!(check(&loader.next().unwrap().unwrap()).len(), 10);
    }
}

#[test]
fn a_trainer_that_waits_for_its_threads_burns_no_processor_time() {
    let _alone = alone();
    let (gate, entered) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let (at_gate, counted) = (gate.clone(), entered.clone());
    let builder = Loader::builder(&rows()).batch_size(10).threads(2).depth(2).map_batch(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        at_gate.wait();
        Ok(())
    });
    let mut loader = builder.build().unwrap();
    // With both places of the ring claimed there is nothing the trainer could do itself.
    wait_until("both threads are at work", || entered.load(Ordering::SeqCst) == 2);
    let (begins, begun) = mpsc::channel();
    thread::scope(|scope| {
        let trainer = scope.spawn(|| {
            begins.send(()).unwrap();
            loader.next().unwrap().unwrap().num_rows()
        });
        begun.recv().unwrap();
        let load = load_while_waiting();
        gate.open();
        assert!(load < 0.5, "{load} of a core");
        assert_eq!(trainer.join().unwrap(), 10);
    });
    assert!(loader.stats().trainer_waiting > Duration::ZERO);
}

#[test]
fn threads_are_as_many_as_were_asked_for_and_named() {
    let _alone = alone();
    wait_until("no thread is left of other tests", || loader_threads() == 0);
    let loader = Loader::builder(&rows()).threads(5).batch_size(7).build().unwrap();
    wait_until("five threads have their names", || loader_threads() == 5);
    assert_eq!(loader.stats().threads, 5);
    let batches: BTreeSet<_> = loader.map(|batch| batch.unwrap().step()).collect();
    assert_eq!(batches.len() as u64, ROWS.div_ceil(7));
    wait_until("they are gone", || loader_threads() == 0);
}
