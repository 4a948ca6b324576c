//! x
use forebay::queue::*;
use std::time::Instant;
fn main() {
    for occ in [64usize, 128, 256, 512, 1000] {
        let q = RandomShuffleQueue::new(1024, 0, Some(3)).unwrap();
        for n in 0..occ as u64 {
            q.enqueue(n).unwrap();
        }
        let n = 2_000_000u64;
        let mut best = f64::MAX;
        for _ in 0..7 {
            let t = Instant::now();
            for i in 0..n {
                q.enqueue(i).unwrap();
                std::hint::black_box(q.dequeue().unwrap());
            }
            best = best.min(t.elapsed().as_nanos() as f64 / n as f64);
        }
        println!("shuffle alternate at {occ}: {best:.1}");
    }
    let mut best = [f64::MAX; 2];
    let q = RandomShuffleQueue::new(1024, 0, Some(3)).unwrap();
    for _ in 0..2000 {
        let t = Instant::now();
        for i in 0..1024u64 {
            q.enqueue(i).unwrap();
        }
        let a = t.elapsed();
        let t = Instant::now();
        for _ in 0..960 {
            std::hint::black_box(q.dequeue().unwrap());
        }
        let b = t.elapsed();
        for _ in 0..64 {
            std::hint::black_box(q.dequeue().unwrap());
        }
        best[0] = best[0].min(a.as_nanos() as f64 / 1024.0);
        best[1] = best[1].min(b.as_nanos() as f64 / 960.0);
    }
    println!("shuffle fill {:.1} drain {:.1}", best[0], best[1]);
    let q = FifoQueue::new(1024).unwrap();
    let mut best = [f64::MAX; 2];
    for _ in 0..2000 {
        let t = Instant::now();
        for i in 0..1024u64 {
            q.enqueue(i).unwrap();
        }
        let a = t.elapsed();
        let t = Instant::now();
        for _ in 0..1024 {
            std::hint::black_box(q.dequeue().unwrap());
        }
        let b = t.elapsed();
        best[0] = best[0].min(a.as_nanos() as f64 / 1024.0);
        best[1] = best[1].min(b.as_nanos() as f64 / 1024.0);
    }
    println!("fifo fill {:.1} drain {:.1}", best[0], best[1]);
    let (s, r) = crossbeam::channel::bounded(1024);
    let mut best = [f64::MAX; 2];
    for _ in 0..2000 {
        let t = Instant::now();
        for i in 0..1024u64 {
            s.send(i).unwrap();
        }
        let a = t.elapsed();
        let t = Instant::now();
        for _ in 0..1024 {
            std::hint::black_box(r.recv().unwrap());
        }
        let b = t.elapsed();
        best[0] = best[0].min(a.as_nanos() as f64 / 1024.0);
        best[1] = best[1].min(b.as_nanos() as f64 / 1024.0);
    }
    println!("crossbeam fill {:.1} drain {:.1}", best[0], best[1]);
}
