#![allow(missing_docs)]
use super::Queue;
use crate::error::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
struct S<T> {
    q: VecDeque<T>,
    closed: bool,
    cancelled: bool,
    hard: bool,
    pending: usize,
}
pub struct Stand<T> {
    s: Mutex<S<T>>,
    c: Condvar,
    cap: usize,
    min: usize,
}
impl<T: Send> Stand<T> {
    fn mk(cap: usize, min: usize) -> Self {
        Stand {
            s: Mutex::new(S { q: VecDeque::new(), closed: false, cancelled: false, hard: false, pending: 0 }),
            c: Condvar::new(),
            cap,
            min,
        }
    }
    fn take(&self, n: usize, upto: bool, pat: Option<Duration>) -> Result<Vec<T>> {
        let mut out = Vec::new();
        if n == 0 {
            return Ok(out);
        }
        let end = pat.map(|p| std::time::Instant::now() + p);
        let mut s = self.s.lock().unwrap();
        loop {
            if s.cancelled {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
            }
            while out.len() < n && (s.q.len() > self.min || (s.closed && !s.q.is_empty())) {
                out.push(s.q.pop_front().unwrap());
                self.c.notify_all();
            }
            if out.len() == n {
                return Ok(out);
            }
            if s.closed && s.q.is_empty() && s.pending == 0 {
                if upto && !out.is_empty() {
                    return Ok(out);
                }
                for v in out.into_iter().rev() {
                    s.q.push_front(v);
                }
                return Err(Error::new(ErrorKind::OutOfRange, "closed and has insufficient elements"));
            }
            s = match end {
                Some(e) => {
                    let l = e.saturating_duration_since(std::time::Instant::now());
                    if l.is_zero() {
                        for v in out.into_iter().rev() {
                            s.q.push_front(v);
                        }
                        return Err(Error::new(ErrorKind::Timeout, "timed out"));
                    }
                    self.c.wait_timeout(s, l).unwrap().0
                }
                None => self.c.wait(s).unwrap(),
            };
        }
    }
}
impl<T: Send> Queue<T> for Stand<T> {
    fn enqueue(&self, v: T) -> Result<()> {
        let mut s = self.s.lock().unwrap();
        if s.closed {
            return Err(Error::new(ErrorKind::Cancelled, "the queue is closed"));
        }
        s.pending += 1;
        while s.q.len() >= self.cap && !s.hard {
            s = self.c.wait(s).unwrap();
        }
        s.pending -= 1;
        self.c.notify_all();
        if s.hard {
            return Err(Error::new(ErrorKind::Cancelled, "the queue is closed"));
        }
        s.q.push_back(v);
        Ok(())
    }
    fn enqueue_many(&self, values: Vec<T>) -> Result<()> {
        values.into_iter().try_for_each(|v| self.enqueue(v))
    }
    fn dequeue(&self) -> Result<T> {
        self.take(1, false, None).map(|mut v| v.remove(0))
    }
    fn dequeue_within(&self, p: Duration) -> Result<T> {
        self.take(1, false, Some(p)).map(|mut v| v.remove(0))
    }
    fn dequeue_many(&self, n: usize) -> Result<Vec<T>> {
        self.take(n, false, None)
    }
    fn dequeue_up_to(&self, n: usize) -> Result<Vec<T>> {
        self.take(n, true, None)
    }
    fn close(&self, hard: bool) {
        let mut s = self.s.lock().unwrap();
        s.closed = true;
        s.hard |= hard;
        self.c.notify_all();
    }
    fn cancel(&self) {
        let mut s = self.s.lock().unwrap();
        s.closed = true;
        s.hard = true;
        s.cancelled = true;
        self.c.notify_all();
    }
    fn is_closed(&self) -> bool {
        self.s.lock().unwrap().closed
    }
    fn size(&self) -> usize {
        self.s.lock().unwrap().q.len()
    }
    fn capacity(&self) -> Option<usize> {
        Some(self.cap)
    }
}
pub struct FifoQueue<T>(Stand<T>);
pub struct RandomShuffleQueue<T>(Stand<T>);
pub struct PriorityQueue<T>(Stand<(i64, T)>);
impl<T: Send> FifoQueue<T> {
    pub fn new(c: usize) -> Self {
        FifoQueue(Stand::mk(c, 0))
    }
    pub fn unbounded() -> Self {
        Self::new(usize::MAX)
    }
    pub fn shared(_: &str, c: usize) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::new(c)))
    }
}
impl<T: Send> RandomShuffleQueue<T> {
    pub fn new(c: usize, m: usize, _: Option<u64>) -> Result<Self> {
        Ok(RandomShuffleQueue(Stand::mk(c, m)))
    }
}
impl<T: Send> PriorityQueue<T> {
    pub fn new(c: usize) -> Self {
        PriorityQueue(Stand::mk(c, 0))
    }
}
macro_rules! d {
    ($n:ident, $t:ty) => {
        impl<T: Send> Queue<$t> for $n<T> {
            fn enqueue(&self, v: $t) -> Result<()> {
                self.0.enqueue(v)
            }
            fn enqueue_many(&self, v: Vec<$t>) -> Result<()> {
                self.0.enqueue_many(v)
            }
            fn dequeue(&self) -> Result<$t> {
                self.0.dequeue()
            }
            fn dequeue_within(&self, p: Duration) -> Result<$t> {
                self.0.dequeue_within(p)
            }
            fn dequeue_many(&self, n: usize) -> Result<Vec<$t>> {
                self.0.dequeue_many(n)
            }
            fn dequeue_up_to(&self, n: usize) -> Result<Vec<$t>> {
                self.0.dequeue_up_to(n)
            }
            fn close(&self, h: bool) {
                self.0.close(h)
            }
            fn cancel(&self) {
                self.0.cancel()
            }
            fn is_closed(&self) -> bool {
                self.0.is_closed()
            }
            fn size(&self) -> usize {
                self.0.size()
            }
            fn capacity(&self) -> Option<usize> {
                self.0.capacity()
            }
        }
    };
}
d!(FifoQueue, T);
d!(RandomShuffleQueue, T);
d!(PriorityQueue, (i64, T));
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec(pub Vec<(&'static str, String)>);
impl Spec {
    pub fn new() -> Self {
        Spec(vec![])
    }
    pub fn with(mut self, k: &'static str, v: impl std::fmt::Display) -> Self {
        self.0.push((k, v.to_string()));
        self
    }
}
pub fn shared<Q: std::any::Any + Send + Sync>(
    _: &str,
    _: &Spec,
    make: impl FnOnce() -> Result<Q>,
) -> Result<Arc<Q>> {
    make().map(Arc::new)
}
pub fn attach<Q: std::any::Any + Send + Sync>(_: &str) -> Result<Arc<Q>> {
    Err(Error::invalid("no such queue"))
}
