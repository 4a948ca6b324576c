//! What several suites share.
#![allow(dead_code)] // Each takes its part.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use flate2::write::{GzEncoder, ZlibEncoder};
use forebay::queue::Queue;
use forebay::{Error, ErrorKind, Result};
use tempfile::TempDir;

/// A queue of names without a bound, for tests alone: a lock, and a condition that is told of every change.
#[derive(Default)]
pub struct Names {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    names: VecDeque<String>,
    closed: bool,
    cancelled: bool,
}

impl Names {
    /// Holds `names`, and is closed.
    pub fn closed<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let queue = Names::default();
        queue.enqueue_many(names.into_iter().map(Into::into).collect()).unwrap();
        queue.close(false);
        queue
    }

    fn take(&self, n: usize, up_to: bool, patience: Option<Duration>) -> Result<Vec<String>> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state.lock().unwrap();
        loop {
            if state.cancelled {
                return Err(Error::new(ErrorKind::Cancelled, "the queue was cancelled"));
            }
            let there = state.names.len();
            if there >= n || state.closed && up_to && there > 0 {
                return Ok(state.names.drain(..n.min(there)).collect());
            }
            if state.closed {
                let message = format!(
                    "the queue is closed and has insufficient elements (requested {n}, current size {there})"
                );
                return Err(Error::new(ErrorKind::OutOfRange, message));
            }
            state = match until {
                None => self.changed.wait(state).unwrap(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::new(ErrorKind::Timeout, "nothing came in time"));
                    }
                    self.changed.wait_timeout(state, left).unwrap().0
                }
            };
        }
    }
}

impl Queue<String> for Names {
    fn enqueue(&self, value: String) -> Result<()> {
        self.enqueue_many(vec![value])
    }

    fn enqueue_many(&self, values: Vec<String>) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.closed || state.cancelled {
            return Err(Error::new(ErrorKind::Cancelled, "the queue was closed"));
        }
        state.names.extend(values);
        self.changed.notify_all();
        Ok(())
    }

    fn dequeue(&self) -> Result<String> {
        Ok(self.take(1, false, None)?.remove(0))
    }

    fn dequeue_within(&self, patience: Duration) -> Result<String> {
        Ok(self.take(1, false, Some(patience))?.remove(0))
    }

    fn dequeue_many(&self, n: usize) -> Result<Vec<String>> {
        self.take(n, false, None)
    }

    fn dequeue_up_to(&self, n: usize) -> Result<Vec<String>> {
        self.take(n, true, None)
    }

    fn close(&self, _: bool) {
        self.state.lock().unwrap().closed = true;
        self.changed.notify_all();
    }

    fn cancel(&self) {
        let mut state = self.state.lock().unwrap();
        (state.closed, state.cancelled) = (true, true);
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.state.lock().unwrap().closed
    }

    fn size(&self) -> usize {
        self.state.lock().unwrap().names.len()
    }

    fn capacity(&self) -> Option<usize> {
        None
    }
}

/// A folder whose files have names that are text.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

pub fn unzlib(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

/// A frame of a TFRecord file, after the format's description and without a table: a slow, obviously right CRC-32C.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| {
        let mut crc = !0u32;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xA282_EAD8)
    };
    let length = (payload.len() as u64).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(masked(&length).to_le_bytes());
    frame.extend(payload);
    frame.extend(masked(payload).to_le_bytes());
    frame
}

pub fn frames<P: AsRef<[u8]>>(payloads: impl IntoIterator<Item = P>) -> Vec<u8> {
    payloads.into_iter().flat_map(|payload| frame(payload.as_ref())).collect()
}
