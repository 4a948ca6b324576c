//! x
use forebay::queue::*;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;
const ITEMS: u64 = 1 << 20;
fn run(put: &(dyn Fn(u64) + Sync), take: &(dyn Fn() -> u64 + Sync), p: u64, c: u64) -> (f64, f64) {
    let start = Barrier::new((p + c) as usize + 1);
    thread::scope(|s| {
        for _ in 0..p {
            let start = &start;
            s.spawn(move || {
                start.wait();
                for i in 0..ITEMS / p {
                    put(i);
                }
            });
        }
        let t: Vec<_> = (0..c)
            .map(|_| {
                let start = &start;
                s.spawn(move || {
                    start.wait();
                    for _ in 0..ITEMS / c {
                        std::hint::black_box(take());
                    }
                })
            })
            .collect();
        start.wait();
        let now = Instant::now();
        let c0 = cpu();
        let s0 = sw();
        for t in t {
            t.join().unwrap();
        }
        let e = now.elapsed().as_nanos() as f64;
        if std::env::var("V").is_ok() {
            println!("{:.0} ns, switches an element {:.4}", e / ITEMS as f64, (sw() - s0) / ITEMS as f64);
        }
        (e / ITEMS as f64, (cpu() - c0) / e)
    })
}
fn cpu() -> f64 {
    let mut r: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(0, &mut r) };
    (r.ru_utime.tv_sec + r.ru_stime.tv_sec) as f64 * 1e9
        + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) as f64 * 1e3
}
fn sw() -> f64 {
    let mut r: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(0, &mut r) };
    r.ru_nvcsw as f64
}
fn quiet() {
    let mut ok = 0;
    let t = Instant::now();
    while ok < 3 && t.elapsed().as_millis() < 60 {
        let s = std::fs::read_to_string("/proc/stat").unwrap();
        let r: u32 =
            s.lines().find_map(|l| l.strip_prefix("procs_running ")).unwrap().trim().parse().unwrap();
        if r <= 1 {
            ok += 1
        } else {
            ok = 0
        }
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
}
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (p, c, cap, min, rounds) = (a[0], a[1], a[2] as usize, a[3] as usize, a[4]);
    let mut t = vec![vec![]; 3];
    for _ in 0..rounds {
        let (s, r) = crossbeam::channel::bounded::<u64>(cap);
        t[0].push(run(&|i| s.send(i).unwrap(), &|| r.recv().unwrap(), p, c));
        let q = FifoQueue::<u64>::new(cap).unwrap();
        t[1].push(run(&|i| q.enqueue(i).unwrap(), &|| q.dequeue().unwrap(), p, c));
        let q = RandomShuffleQueue::<u64>::new(cap, min, Some(1)).unwrap();
        for i in 0..min {
            q.enqueue(i as u64).unwrap();
        }
        t[2].push(run(&|i| q.enqueue(i).unwrap(), &|| q.dequeue().unwrap(), p, c));
    }
    for (t, n) in t.iter().zip(["crossbeam", "fifo", "shuffle"]) {
        for (lo, hi, w) in [(0.0, 100.0, "all")] {
            let mut t: Vec<f64> = t.iter().filter(|t| t.1 >= lo && t.1 < hi).map(|t| t.0).collect();
            if t.is_empty() {
                continue;
            }
            t.sort_by(f64::total_cmp);
            let l = t.len() - 1;
            println!(
                "{n:10} {w:8} {:3} min {:.1} q1 {:.1} med {:.1} q3 {:.1} max {:.1}",
                t.len(),
                t[0],
                t[l / 4],
                t[l / 2],
                t[l * 3 / 4],
                t[l]
            );
        }
    }
}
