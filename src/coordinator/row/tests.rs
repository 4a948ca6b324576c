//! Rows put together against those of tables of one row put one after another.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, ListArray, RecordBatchOptions,
    StringArray, StringViewArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use proptest::prelude::*;

use super::*;

/// A table whose rows are all different, also from those of other numbers.
fn table(number: usize, num_rows: usize) -> RecordBatch {
    let name = |row: usize| format!("row {row} of table {number}");
    let numbers =
        Int32Array::from_iter((0..num_rows).map(|row| (row % 3 > 0).then_some((number * 100 + row) as i32)));
    let lengths: Vec<_> = (0..num_rows).map(|row| (row + number) % 4).collect();
    let floats =
        Float64Array::from_iter_values((0..lengths.iter().sum()).map(|i: usize| (number + i) as f64));
    let item = Arc::new(Field::new("item", DataType::Float64, false));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(floats), None);
    let words: Vec<_> = (0..num_rows).map(|row| format!("word {}", (row + number) % 3)).collect();
    let columns: [ArrayRef; 5] = [
        Arc::new(numbers),
        Arc::new(StringArray::from_iter_values((0..num_rows).map(name))),
        Arc::new(StringViewArray::from_iter_values((0..num_rows).map(name))),
        Arc::new(lists),
        Arc::new(words.iter().map(|word| Some(word.as_str())).collect::<DictionaryArray<Int8Type>>()),
    ];
    let fields = columns
        .iter()
        .enumerate()
        .map(|(i, column)| Field::new(format!("column {i}"), column.data_type().clone(), true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.to_vec()).unwrap()
}

/// Runs of rows of five tables, a part of which is not from their beginning.
fn picks() -> impl Strategy<Value = Vec<(usize, Range<usize>)>> {
    let run = (0..5usize, 0..20usize, 1..12usize);
    let run = run.prop_map(|(table, start, len)| (table, start..(start + len).min(20)));
    prop::collection::vec(run, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn rows_of_many_tables_are_those_put_one_after_another(picks in picks()) {
        let tables: Vec<Vec<Row>> =
            (0..5).map(|number| Row::all(table(number, 20 + number).slice(number, 20)).collect()).collect();
        let rows: Vec<Row> =
            picks.iter().flat_map(|(table, run)| tables[*table][run.clone()].iter().cloned()).collect();
        let schema = table(0, 0).schema();
        let singles: Vec<_> = rows.iter().map(Row::to_batch).collect();
        let expected = concat_batches(&schema, &singles).unwrap();
        let assembled = assemble(&schema, &rows).unwrap();
        prop_assert_eq!(&assembled, &expected);
        for column in assembled.columns() {
            column.to_data().validate_full().unwrap();
        }
    }
}

#[test]
fn rows_in_their_order_are_not_copied() {
    let table = table(1, 10);
    let rows: Vec<_> = Row::all(table.clone()).collect();
    let some = assemble(&table.schema(), &rows[3..5]).unwrap();
    assert_eq!(some, table.slice(3, 2));
    let address =
        |batch: &RecordBatch| batch.column(0).as_primitive::<arrow::datatypes::Int32Type>().values().as_ptr();
    assert_eq!(address(&some), address(&table.slice(3, 2)));
}

#[test]
fn rows_without_columns_are_counted() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let schema = Arc::new(Schema::empty());
    let rows = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
    let mut rows: Vec<_> = Row::all(rows).collect();
    assert_eq!(assemble(&schema, &rows).unwrap().num_rows(), 3);
    rows.swap(0, 2);
    assert_eq!(assemble(&schema, &rows).unwrap().num_rows(), 3);
    assert_eq!(assemble(&schema, &[]).unwrap().num_rows(), 0);
}
