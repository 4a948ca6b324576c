//! What begins a pipeline: what `input_test.py` asks of producers. Its batches are in `input_rows.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use forebay::ErrorKind;
use forebay::coordinator::{
    Coordinator, RowQueue, RowQueueKind, input_producer, limit_epochs, range_input_producer,
    slice_input_producer, string_input_producer,
};
use forebay::queue::{FifoQueue, Queue};

use crate::feed::{ints, ints_of, table, texts, texts_of};

/// `LimitEpochsTest.testNoLimit` - without a limit a value is given as often as it is asked for.
#[test]
fn no_limit() {
    let value = limit_epochs(7, None).unwrap();
    for _ in 0..100 {
        assert_eq!(value().unwrap(), 7);
    }
}

/// `LimitEpochsTest.testLimit` - with a limit of 2 it is given twice.
#[test]
fn limit() {
    let love_me = limit_epochs("Love Me", Some(2)).unwrap();
    assert_eq!((love_me().unwrap(), love_me().unwrap()), ("Love Me", "Love Me"));
    for _ in 0..2 {
        assert_eq!(love_me().unwrap_err().kind(), ErrorKind::OutOfRange);
    }
    let none = limit_epochs("Love Me", Some(0)).map(drop).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidArgument);
}

/// `InputProducerTest.testNoShapeInference` - items of any type go through, here vectors of two.
#[test]
fn no_shape_inference() {
    let items = [[1i64, 2], [3, 4], [5, 6], [7, 8]];
    let coordinator = Coordinator::new();
    let queue = input_producer(items).num_epochs(2).shuffle(false).start(&coordinator).unwrap();
    assert_eq!(queue.dequeue_many(8).unwrap(), [items, items].concat());
    assert_eq!(queue.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
}

/// How often each order of an epoch of `num_items` comes in `num_epochs`: each is one, and about as frequent as the others.
fn assert_fair<T: Ord + Clone + std::fmt::Debug>(
    num_epochs: usize,
    items: &[T],
    mut next: impl FnMut() -> T,
) {
    let mut frequency = BTreeMap::<Vec<T>, usize>::new();
    for _ in 0..num_epochs {
        let order: Vec<T> = items.iter().map(|_| next()).collect();
        let mut sorted = order.clone();
        sorted.sort();
        assert_eq!(sorted, items, "an epoch has every item once");
        *frequency.entry(order).or_default() += 1;
    }
    let orders: usize = (1..=items.len()).product();
    assert_eq!(frequency.len(), orders);
    let expected = num_epochs / orders;
    for (order, count) in frequency {
        let fair = expected - expected * 2 / 5..=expected + expected * 2 / 5;
        assert!(fair.contains(&count), "{order:?} came {count} times of {num_epochs}");
    }
}

mod string_input_producer_test {
    use super::*;

    /// `StringInputProducerTest.testShuffle` - each of the 6 orders of 3 names comes about as often as the others.
    #[test]
    fn shuffle() {
        let coordinator = Coordinator::new();
        let names = string_input_producer(["a", "b", "c"]).unwrap().num_epochs(600).seed(271828);
        let queue = names.start(&coordinator).unwrap();
        assert_fair(600, &["a", "b", "c"].map(str::to_owned), || queue.dequeue().unwrap());
        assert_eq!(queue.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    }

    /// `StringInputProducerTest.testNullStringPython` - a list without names is refused.
    #[test]
    fn null_string_python() {
        let coordinator = Coordinator::new();
        let empty = string_input_producer([""; 0]).unwrap();
        let error = empty.start(&coordinator).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("empty list"), "{error}");
    }

    /// `StringInputProducerTest.testSharedName` - the queue goes by the name given.
    #[test]
    fn shared_name() {
        let coordinator = Coordinator::new();
        let names = string_input_producer(["a"]).unwrap().shared_name("SHARED_NAME_STRING").num_epochs(1);
        let queue = names.start(&coordinator).unwrap();
        let same = FifoQueue::<String>::shared("SHARED_NAME_STRING", Some(32)).unwrap();
        assert!(Arc::ptr_eq(&queue, &same));
        assert_eq!(same.dequeue().unwrap(), "a");
        let other = FifoQueue::<String>::shared("SHARED_NAME_STRING", Some(33)).map(drop).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::InvalidArgument);
    }

    /// `StringInputProducerTest.testConstructionRace` - that the producer runs before anybody reads changes no order.
    #[test]
    fn construction_race() {
        let words = ["to", "be", "or", "not", "to", "be"];
        for _ in 0..50 {
            let coordinator = Coordinator::new();
            let names = string_input_producer(words).unwrap().shuffle(false).num_epochs(2).capacity(4);
            let queue = names.start(&coordinator).unwrap();
            for word in words.into_iter().chain(words) {
                assert_eq!(queue.dequeue().unwrap(), word);
            }
            coordinator.request_stop(None).unwrap();
            coordinator.join(&Default::default()).unwrap();
        }
    }
}

mod range_input_producer_test {
    use super::*;

    /// `RangeInputProducerTest.testShuffle` - both orders of 2 numbers come about as often.
    #[test]
    fn shuffle() {
        let coordinator = Coordinator::new();
        let queue = range_input_producer(2).num_epochs(200).seed(314159).start(&coordinator).unwrap();
        assert_fair(200, &[0, 1], || queue.dequeue().unwrap());
        assert_eq!(queue.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    }

    /// `RangeInputProducerTest.testSharedName` - the queue goes by the name given.
    #[test]
    fn shared_name() {
        let coordinator = Coordinator::new();
        let numbers = range_input_producer(3).shared_name("SHARED_NAME_RANGE").capacity(5);
        let queue = numbers.start(&coordinator).unwrap();
        let same = FifoQueue::<u64>::shared("SHARED_NAME_RANGE", Some(5)).unwrap();
        assert!(Arc::ptr_eq(&queue, &same));
        let other = FifoQueue::<i64>::shared("SHARED_NAME_RANGE", Some(5)).map(drop).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::InvalidArgument);
    }
}

mod slice_input_producer_test {
    use super::*;

    /// `SliceInputProducerTest.testShuffle` - each of the 24 orders of 4 rows comes about as often, and columns stay paired.
    #[test]
    fn shuffle() {
        let letters = ["A", "B", "C", "D"];
        let pairs: Vec<_> =
            letters.iter().zip(7..).map(|(letter, number)| ((*letter).to_owned(), number)).collect();
        let rows = table([("text", texts(letters)), ("number", ints(7..11))]);
        let coordinator = Coordinator::new();
        let queue = slice_input_producer(rows).num_epochs(1200).seed(161803).start(&coordinator).unwrap();
        assert_fair(1200, &pairs, || {
            let row = queue.dequeue().unwrap();
            (texts_of(&row, "text").remove(0), ints_of(&row, "number")[0])
        });
        assert_eq!(queue.dequeue().unwrap_err().kind(), ErrorKind::OutOfRange);
    }

    /// `SliceInputProducerTest.testSharedName` - the queue goes by the name given.
    #[test]
    fn shared_name() {
        let coordinator = Coordinator::new();
        let rows = table([("number", ints([1, 2]))]);
        let rows = slice_input_producer(rows).shared_name("SHARED_NAME_SLICE").shuffle(false).num_epochs(1);
        let queue = rows.start(&coordinator).unwrap();
        let same = RowQueue::attach("SHARED_NAME_SLICE").unwrap();
        assert_eq!((same.kind(), same.capacity()), (RowQueueKind::Fifo, Some(32)));
        assert_eq!(ints_of(&same.dequeue().unwrap(), "number"), [1]);
        assert_eq!(ints_of(&queue.dequeue().unwrap(), "number"), [2]);
    }
}

/// `DictHelperTest.testDictInputs` - columns go by their names: in whatever order a row has them, it comes out in one.
#[test]
fn dict_inputs() {
    let queue = RowQueue::options(RowQueueKind::Fifo).open().unwrap();
    let number = |value: u32| -> ArrayRef { Arc::new(UInt32Array::from(vec![value])) };
    queue.enqueue(&table([("a", number(1)), ("b", texts(["x"]))])).unwrap();
    queue.enqueue(&table([("b", texts(["y"])), ("a", number(2))])).unwrap();
    let both = queue.dequeue_many(2).unwrap();
    assert_eq!(both, table([("a", Arc::new(UInt32Array::from(vec![1, 2])) as _), ("b", texts(["x", "y"]))]));
}
