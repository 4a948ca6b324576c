//! What several suites share.
#![allow(dead_code)] // Each takes its part.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::write::{GzEncoder, ZlibEncoder};
use forebay::queue::{FifoQueue, Queue};
use tempfile::TempDir;

/// A queue of names of files.
pub type Names = FifoQueue<String>;

/// A queue of `names` that is closed.
pub fn closed_names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Names {
    let queue = FifoQueue::unbounded();
    queue.enqueue_many(names.into_iter().map(Into::into).collect()).unwrap();
    queue.close(false);
    queue
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
