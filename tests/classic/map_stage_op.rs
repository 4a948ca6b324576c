//! Values set aside by key: what `map_stage_op_test.py` asks of a keyed staging area.

use std::sync::Arc;
use std::thread;

use forebay::ErrorKind;
use forebay::coordinator::MapStagingArea;

use crate::stage_op::fills_up;

/// `MapStageTest.testMultiple` - values of two components stay together.
#[test]
fn multiple() {
    let area = MapStagingArea::new(["x", "v"]);
    for step in 0..10 {
        area.put(step, [("x", step as f32), ("v", 2.0 * step as f32)]).unwrap();
        if step > 0 {
            let before = step as f32 - 1.0;
            assert_eq!(area.get(&(step - 1), &["x", "v"]).unwrap(), [before, 2.0 * before]);
        }
    }
    assert_eq!(area.size(), 1);
}

/// `MapStageTest.testDictionary` - components go by their names, in whatever order they are put and taken.
#[test]
fn dictionary() {
    let area = MapStagingArea::new(["x", "v"]);
    area.put("key", [("v", 2), ("x", 1)]).unwrap();
    assert_eq!(area.peek(&"key", &["v", "x"]).unwrap(), [2, 1]);
    assert_eq!(area.get(&"key", &["x", "v"]).unwrap(), [1, 2]);
    for unknown in [area.put("key", [("w", 1)]).unwrap_err(), area.get(&"key", &["w"]).unwrap_err()] {
        assert_eq!(unknown.kind(), ErrorKind::InvalidArgument);
        assert!(unknown.message().contains("'w'") && unknown.message().contains("x, v"), "{unknown}");
    }
}

/// `MapStageTest.testPeek` - an entry is seen by its key, and stays.
#[test]
fn peek() {
    let area = Arc::new(MapStagingArea::new(["x"]));
    for key in (0..10).rev() {
        area.put(key, [("x", 10 * key)]).unwrap();
    }
    for key in 0..10 {
        assert_eq!(area.peek(&key, &["x"]).unwrap(), [10 * key]);
    }
    assert_eq!(area.size(), 10);
    // A key that is not there is waited for.
    let later = area.clone();
    let eleventh = thread::spawn(move || later.peek(&10, &["x"]));
    area.put(10, [("x", 100)]).unwrap();
    assert_eq!(eleventh.join().unwrap().unwrap(), [100]);
}

/// `MapStageTest.testSizeAndClear` - the entries are counted; cleared, there are none.
#[test]
fn size_and_clear() {
    let area = MapStagingArea::new(["x", "v"]).capacity(3);
    area.put(3, [("x", 1), ("v", 2)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (1, 0));
    area.put(1, [("x", 1), ("v", 2)]).unwrap();
    area.put(2, [("x", 1)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (2, 1));
    area.clear();
    assert_eq!((area.size(), area.incomplete_size()), (0, 0));
    area.put(1, [("x", 1), ("v", 2)]).unwrap();
    assert_eq!(area.size(), 1);
}

/// `MapStageTest.testMemoryLimit` - who puts waits when the bytes would be too many, and what is inside stays as it was.
#[test]
fn memory_limit() {
    let area = Arc::new(MapStagingArea::new(["x"]).memory_limit(512 * 1024, Vec::<u8>::len));
    let into = area.clone();
    let make = |n| vec![n; 200 * 1024];
    let put = move |key, value| into.put(key, [("x", value)]).unwrap();
    fills_up(2, make, put, |key| area.get(&key, &["x"]).unwrap().remove(0));
    assert_eq!(area.size(), 0);
}

/// `MapStageTest.testOrdering` - the entry of the smallest key is taken first.
#[test]
fn ordering() {
    let area = Arc::new(MapStagingArea::new(["x"]));
    let keys = [7, 3, 9, 0, 5, 1, 8, 2, 6, 4];
    for key in keys {
        area.put(key, [("x", 100 + key)]).unwrap();
    }
    for key in 0..10 {
        assert_eq!(area.get_first().unwrap(), (key, vec![100 + key]));
    }
    assert_eq!(area.size(), 0);
    // With nothing inside, the first is waited for.
    let later = area.clone();
    let first = thread::spawn(move || later.get_first());
    area.put(-1, [("x", 0)]).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), (-1, vec![0]));
}

/// `MapStageTest.testPartialIndexInsert` - an entry that is put in parts is seen once the last of them is there; components
/// without names are numbered.
#[test]
fn partial_index_insert() {
    let area = Arc::new(MapStagingArea::new(["0", "1", "2"]));
    assert_eq!((area.size(), area.incomplete_size()), (0, 0));
    area.put(0, [("0", 1), ("2", 3)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (0, 1));
    area.put(1, [("2", 6), ("0", 4)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (0, 2));
    let twice = area.put(0, [("2", 30)]).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::InvalidArgument);
    let later = area.clone();
    let second = thread::spawn(move || later.get(&1, &["0", "1", "2"]));
    area.put(1, [("1", 5)]).unwrap();
    assert_eq!(second.join().unwrap().unwrap(), [4, 5, 6]);
    area.put(0, [("1", 2)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (1, 0));
    assert_eq!(area.get(&0, &["0", "1", "2"]).unwrap(), [1, 2, 3]);
    assert_eq!((area.size(), area.incomplete_size()), (0, 0));
}

/// `MapStageTest.testPartialDictGetsAndPeeks` - the parts of an entry are taken separately, each once; with the last the entry
/// is gone.
#[test]
fn partial_dict_gets_and_peeks() {
    let area = MapStagingArea::new(["x", "v", "f"]);
    area.put(0, [("x", 1), ("f", 3)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (0, 1));
    area.put(0, [("v", 2)]).unwrap();
    assert_eq!((area.size(), area.incomplete_size()), (1, 0));
    assert_eq!(area.peek(&0, &["f", "x"]).unwrap(), [3, 1]);
    assert_eq!(area.peek(&0, &["v"]).unwrap(), [2]);

    assert_eq!(area.get(&0, &["v"]).unwrap(), [2]);
    assert_eq!((area.size(), area.incomplete_size()), (1, 0));
    for gone in [area.get(&0, &["v"]), area.peek(&0, &["x", "v"]), area.get_first().map(|(_, all)| all)] {
        let gone = gone.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::InvalidArgument);
        assert!(gone.message().contains("'v'") && gone.message().contains("taken"), "{gone}");
    }
    assert_eq!(area.peek(&0, &["x", "f"]).unwrap(), [1, 3], "nothing else was taken with it");

    assert_eq!(area.get(&0, &["x", "f"]).unwrap(), [1, 3]);
    assert_eq!((area.size(), area.incomplete_size()), (0, 0));
    // The key is free again.
    area.put(0, [("x", 4), ("v", 5), ("f", 6)]).unwrap();
    assert_eq!(area.get_first().unwrap(), (0, vec![4, 5, 6]));
}
