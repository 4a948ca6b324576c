//! Values set aside between two threads: what `stage_op_test.py` asks of a staging area.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use forebay::ErrorKind;
use forebay::coordinator::StagingArea;

/// Puts 8 values made by `make` into `area`, which has room for `room` of them: the rest wait, and all come out in order.
pub fn fills_up<T: PartialEq + std::fmt::Debug + Send + 'static>(
    room: usize,
    make: fn(u8) -> T,
    put: impl Fn(u8, T) + Send + 'static,
    get: impl Fn(u8) -> T,
) {
    let (done, dones) = mpsc::channel();
    let producer = thread::spawn(move || {
        for n in 0..8 {
            put(n, make(n));
            done.send(n).unwrap();
        }
    });
    for n in 0..room {
        assert_eq!(usize::from(dones.recv().unwrap()), n);
    }
    // The next is in only after one was taken.
    for n in 0..8 {
        if usize::from(n) + room < 8 {
            let waits = dones.recv_timeout(Duration::from_millis(5));
            assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout), "there is room for {room}");
        }
        assert_eq!(get(n), make(n));
        if usize::from(n) + room < 8 {
            assert_eq!(usize::from(dones.recv().unwrap()), usize::from(n) + room);
        }
    }
    producer.join().unwrap();
}

/// `StageTest.testSimple` - a value that was put is got one step later.
#[test]
fn simple() {
    let area = StagingArea::new();
    area.put(-1.0f32).unwrap();
    for step in 0..10 {
        area.put(step as f32).unwrap();
        assert_eq!(area.get().unwrap(), step as f32 - 1.0);
    }
    assert_eq!(area.size(), 1);
}

/// `StageTest.testMultiple` - values of two components stay together.
#[test]
fn multiple() {
    let area = StagingArea::new();
    area.put((-1, vec![-1.0f32; 128])).unwrap();
    for step in 0..10 {
        area.put((step, vec![step as f32; 128])).unwrap();
        assert_eq!(area.get().unwrap(), (step - 1, vec![step as f32 - 1.0; 128]));
    }
}

/// `StageTest.testPeek` - a value is seen by its place, and stays.
#[test]
fn peek() {
    let area = Arc::new(StagingArea::new());
    for n in 0..10 {
        area.put(n).unwrap();
    }
    for n in 0..10 {
        assert_eq!(area.peek(n).unwrap(), n);
    }
    assert_eq!(area.size(), 10);
    // A place that is empty is waited for.
    let later = area.clone();
    let eleventh = thread::spawn(move || later.peek(10));
    area.put(10).unwrap();
    assert_eq!(eleventh.join().unwrap().unwrap(), 10);
    assert_eq!(area.size(), 11);
}

/// `StageTest.testCapacity` - who puts waits exactly when the area is full.
#[test]
fn capacity() {
    let area = Arc::new(StagingArea::new().capacity(3));
    let into = area.clone();
    fills_up(3, u32::from, move |_, value| into.put(value).unwrap(), |_| area.get().unwrap());
    assert_eq!(area.size(), 0);
    // Cancelled, whoever waits is let go of.
    for n in 0..3 {
        area.put(n).unwrap();
    }
    let into = area.clone();
    let waits = thread::spawn(move || into.put(3));
    area.cancel();
    assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

/// `StageTest.testMemoryLimit` - who puts waits when the bytes would be too many, and what is inside stays as it was.
#[test]
fn memory_limit() {
    let area = Arc::new(StagingArea::new().memory_limit(512 * 1024, Vec::<u8>::len));
    let into = area.clone();
    let make = |n| vec![n; 200 * 1024];
    fills_up(2, make, move |_, value| into.put(value).unwrap(), |_| area.get().unwrap());
    // One that no room is large enough for is let in alone.
    area.put(vec![7; 600 * 1024]).unwrap();
    let into = area.clone();
    let waits = thread::spawn(move || into.put(vec![8; 1]));
    assert_eq!(area.get().unwrap().len(), 600 * 1024);
    waits.join().unwrap().unwrap();
    assert_eq!(area.get().unwrap(), [8]);
}
