//! Rows by priority: what the priority may be.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use forebay::ErrorKind;
use forebay::coordinator::{RowQueue, RowQueueKind};

use crate::rows::{kind_of, nothing, table, texts};

fn rows(priority: ArrayRef, names: ArrayRef) -> RecordBatch {
    table([("priority", priority), ("name", names)])
}

/// As `PriorityQueueTest.testInsertingNonInt64Fails`, of rows.
#[test]
fn inserting_non_int64_fails() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![2, 1]));
    let nullable = Schema::new(vec![Field::new("priority", DataType::Int64, true)]);
    let nullable = RecordBatch::try_new(Arc::new(nullable), vec![numbers.clone()]).unwrap();
    let declared =
        RowQueue::options(RowQueueKind::Priority).schema(table([("priority", numbers.clone())]).schema());
    for wrong in [
        rows(Arc::new(Int32Array::from(vec![2, 1])), texts(["b", "a"])),
        rows(Arc::new(UInt64Array::from(vec![2, 1])), texts(["b", "a"])),
        rows(Arc::new(Float64Array::from(vec![2.0, 1.0])), texts(["b", "a"])),
        rows(texts(["2", "1"]), texts(["b", "a"])),
        table([("name", texts(["b", "a"])), ("priority", numbers.clone())]),
        nothing(),
        nullable,
    ] {
        let options = RowQueue::options(RowQueueKind::Priority);
        let words = "expected the priority, an Int64 that is never null, as the first column, found ";
        assert_eq!(kind_of(options.clone().schema(wrong.schema()).open(), words), ErrorKind::InvalidArgument);
        let queue = options.open().unwrap();
        assert_eq!(kind_of(queue.enqueue_many(&wrong), words), ErrorKind::InvalidArgument);
        // The rows refused have said nothing about those to come.
        queue.enqueue_many(&rows(numbers.clone(), texts(["b", "a"]))).unwrap();
        let sorted: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert_eq!(queue.dequeue_many(2).unwrap(), rows(sorted, texts(["a", "b"])));
    }
    let queue = declared.open().unwrap();
    let null: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    let null = RecordBatch::try_from_iter([("priority", null)]).unwrap();
    assert_eq!(kind_of(queue.enqueue_many(&null), "expected no null, found 1"), ErrorKind::InvalidArgument);
    assert_eq!(queue.size(), 0);
}
