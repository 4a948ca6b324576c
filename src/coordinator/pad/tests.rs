//! Padding against nested vectors that are padded naively.

use std::ops::Range;

use arrow::array::{
    BooleanArray, Date32Array, DictionaryArray, FixedSizeBinaryArray, Float16Array, Int32Array, Int64Array,
    StringArray, StringViewArray, StructArray, UInt8Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Int8Type, UnionFields, UnionMode};
use half::f16;
use proptest::prelude::*;

use super::*;

/// A dimension of a column.
#[derive(Clone, Copy, Debug)]
enum Dim {
    List,
    Large,
    Fixed(usize),
}

/// What lies below the dimensions; each made of small numbers, of which 0 is the one to pad with.
#[derive(Clone, Copy, Debug)]
enum Leaf {
    Int,
    Half,
    Truth,
    Day,
    Text,
    View,
    Four,
    Word,
    Parts,
}

impl Leaf {
    fn build(self, values: &[Option<u8>]) -> ArrayRef {
        let text = |value: u8| "ab".repeat(value.into());
        let texts = || values.iter().map(|value| value.map(text));
        match self {
            Leaf::Int => Arc::new(Int64Array::from_iter(values.iter().map(|v| v.map(i64::from)))),
            Leaf::Half => Arc::new(Float16Array::from_iter(values.iter().map(|v| v.map(f16::from)))),
            Leaf::Truth => Arc::new(BooleanArray::from_iter(values.iter().map(|v| v.map(|v| v % 2 == 1)))),
            Leaf::Day => Arc::new(Date32Array::from_iter(values.iter().map(|v| v.map(i32::from)))),
            Leaf::Text => Arc::new(StringArray::from_iter(texts())),
            Leaf::View => Arc::new(StringViewArray::from_iter(texts())),
            Leaf::Four => {
                let four = values.iter().map(|v| v.map(|v| [v; 4]));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(four, 4).unwrap())
            }
            Leaf::Word => {
                let words: Vec<_> = texts().collect();
                Arc::new(DictionaryArray::<Int8Type>::from_iter(words.iter().map(|word| word.as_deref())))
            }
            Leaf::Parts => {
                let parts = [Leaf::Int, Leaf::Text].map(|part| {
                    // What is null is so as a whole.
                    let filled: Vec<_> = values.iter().map(|v| Some(v.unwrap_or(9))).collect();
                    part.build(&filled)
                });
                let fields = [("n", DataType::Int64), ("name", DataType::Utf8)]
                    .map(|(name, data_type)| Field::new(name, data_type, false));
                let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
                Arc::new(StructArray::new(fields.to_vec().into(), parts.to_vec(), Some(nulls)))
            }
        }
    }
}

/// A value of a column: numbers, in lists or not, any of which may be null.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(Option<u8>),
    List(Option<Vec<Tree>>),
}

fn tree(dims: &[Dim]) -> BoxedStrategy<Tree> {
    let Some((dim, below)) = dims.split_first() else {
        return prop_oneof![1 => Just(None), 6 => (0..5u8).prop_map(Some)].prop_map(Tree::Leaf).boxed();
    };
    let len = match dim {
        Dim::Fixed(len) => *len..len + 1,
        _ => 0..4,
    };
    let items = prop::collection::vec(tree(below), len).prop_map(Some);
    prop_oneof![1 => Just(None), 6 => items].prop_map(Tree::List).boxed()
}

/// What lies in the memory of a list that is null.
fn hidden(dims: &[Dim]) -> Tree {
    match dims.split_first() {
        None => Tree::Leaf(Some(4)),
        Some((Dim::Fixed(len), below)) => Tree::List(Some(vec![hidden(below); *len])),
        Some((_, below)) => Tree::List(Some(vec![hidden(below); 5])),
    }
}

fn build(dims: &[Dim], leaf: Leaf, rows: &[Tree]) -> ArrayRef {
    let Some((dim, below)) = dims.split_first() else {
        let value = |row: &Tree| if let Tree::Leaf(value) = row { *value } else { unreachable!() };
        return leaf.build(&rows.iter().map(value).collect::<Vec<_>>());
    };
    let (mut items, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let (Tree::List(list), Tree::List(Some(junk))) = (row, hidden(dims)) else { unreachable!() };
        valid.push(list.is_some());
        let list = list.clone().unwrap_or(junk);
        lengths.push(list.len());
        items.extend(list);
    }
    let values = build(below, leaf, &items);
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    let nulls = Some(NullBuffer::from(valid));
    match *dim {
        Dim::List => Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, nulls)),
        Dim::Large => Arc::new(LargeListArray::new(item, OffsetBuffer::from_lengths(lengths), values, nulls)),
        Dim::Fixed(len) => Arc::new(
            FixedSizeListArray::try_new_with_length(item, len as i32, values, nulls, rows.len()).unwrap(),
        ),
    }
}

/// Raises each of `shape` to the longest list of its dimension in `row`.
fn measure(dims: &[Dim], row: &Tree, shape: &mut [usize]) {
    if let (Some((dim, below)), Tree::List(list)) = (dims.split_first(), row) {
        let list = list.as_deref().unwrap_or(&[]);
        shape[0] = if let Dim::Fixed(len) = dim { *len } else { shape[0].max(list.len()) };
        list.iter().for_each(|item| measure(below, item, &mut shape[1..]));
    }
}

fn pad_naively(row: Option<&Tree>, shape: &[usize], into: &mut Vec<Option<u8>>) {
    let Some((&len, below)) = shape.split_first() else {
        into.push(
            row.map_or(Some(0), |row| if let Tree::Leaf(value) = row { *value } else { unreachable!() }),
        );
        return;
    };
    let list = match row {
        Some(Tree::List(Some(list))) => &list[..],
        _ => &[],
    };
    (0..len).for_each(|place| pad_naively(list.get(place), below, into));
}

fn table(field: Field, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
}

fn check(dims: &[Dim], leaf: Leaf, rows: &[Tree], part: Range<usize>) {
    let column = build(dims, leaf, rows).slice(part.start, part.len());
    let metadata = std::collections::HashMap::from([("made".to_owned(), "here".to_owned())]);
    let field = Field::new("x", column.data_type().clone(), true).with_metadata(metadata);
    check_paddable(&Schema::new(vec![field.clone()])).unwrap();
    let padded = pad(&table(field, column)).unwrap();

    let mut shape = vec![0; dims.len()];
    let fixed = |dim: &Dim| if let Dim::Fixed(len) = dim { *len } else { 0 };
    shape.iter_mut().zip(dims).for_each(|(len, dim)| *len = fixed(dim));
    rows[part.clone()].iter().for_each(|row| measure(dims, row, &mut shape));
    let mut expected = Vec::new();
    rows[part.clone()].iter().for_each(|row| pad_naively(Some(row), &shape, &mut expected));

    let (schema, list) = (padded.schema(), padded.column(0).as_fixed_size_list());
    assert_eq!(padded.num_rows(), part.len());
    assert_eq!(list.null_count(), 0);
    assert_eq!(list.values(), &leaf.build(&expected));
    let field = schema.field(0);
    assert!(field.is_nullable() && field.metadata()["made"] == "here");
    assert_eq!(
        field.metadata()["ARROW:extension:metadata"],
        serde_json::json!({ "shape": shape }).to_string()
    );
    if let ColumnKind::Tensor { shape: found, .. } = ColumnKind::of(field)
        && !matches!(leaf, Leaf::Four)
    {
        assert_eq!(*found, shape[..]);
    }
    padded.column(0).to_data().validate_full().unwrap();
}

/// Dimensions, at least one of which is unknown, rows of them, and a part of those rows.
fn columns() -> impl Strategy<Value = (Vec<Dim>, Leaf, Vec<Tree>, Range<usize>)> {
    let dim = prop_oneof![Just(Dim::List), Just(Dim::Large), (0..4usize).prop_map(Dim::Fixed)];
    let dims = prop::collection::vec(dim, 1..4)
        .prop_filter("a list", |dims| dims.iter().any(|dim| !matches!(dim, Dim::Fixed(_))));
    let leaf = prop::sample::select(vec![
        Leaf::Int,
        Leaf::Half,
        Leaf::Truth,
        Leaf::Day,
        Leaf::Text,
        Leaf::View,
        Leaf::Four,
        Leaf::Word,
        Leaf::Parts,
    ]);
    let rows = dims.prop_flat_map(|dims| (Just(dims.clone()), prop::collection::vec(tree(&dims), 0..6)));
    (rows, leaf, 0..6usize, 0..6usize).prop_map(|((dims, rows), leaf, start, end)| {
        let (start, end) = (start.min(rows.len()), end.min(rows.len()));
        (dims, leaf, rows, start.min(end)..start.max(end))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn padded_rows_are_those_of_nested_vectors((dims, leaf, rows, part) in columns()) {
        check(&dims, leaf, &rows, part);
    }
}

#[test]
fn columns_without_lists_stay_as_they_are() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let pairs = build(&[Dim::Fixed(2)], Leaf::Int, &vec![hidden(&[Dim::Fixed(2)]); 2]);
    let rows = RecordBatch::try_from_iter([("n", ints), ("pair", pairs)]).unwrap();
    assert_eq!(pad(&rows).unwrap(), rows);
    let none = RecordBatchOptions::new().with_row_count(Some(3));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &none).unwrap();
    assert_eq!(pad(&none).unwrap().num_rows(), 3);
}

#[test]
fn tensors_in_lists_keep_their_shape() {
    let item = tensor_field("item", DType::U8, &[2, 3], false);
    let DataType::FixedSizeList(number, 6) = item.data_type() else { unreachable!() };
    let bytes: ArrayRef = Arc::new(UInt8Array::from_iter_values(1..19));
    let tensors: ArrayRef = Arc::new(FixedSizeListArray::new(number.clone(), 6, bytes, None));
    let lists = ListArray::new(Arc::new(item), OffsetBuffer::from_lengths([2, 0, 1]), tensors, None);
    let padded = pad(&table(Field::new("x", lists.data_type().clone(), false), Arc::new(lists))).unwrap();
    let shape = Box::new([2, 2, 3]);
    assert_eq!(ColumnKind::of(padded.schema().field(0)), ColumnKind::Tensor { dtype: DType::U8, shape });
}

#[test]
fn padding_longer_than_a_run_of_zeros_is_all_zeros() {
    let long = 3 * ZEROS + 5;
    let numbers = Int64Array::from_iter_values((0..long as i64 + 1).map(|n| n + 1));
    let item = Arc::new(Field::new("item", DataType::Int64, false));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([1, long]), Arc::new(numbers), None);
    let padded = pad(&table(Field::new("x", lists.data_type().clone(), false), Arc::new(lists))).unwrap();
    let values = padded.column(0).as_fixed_size_list().values().clone();
    let values = values.as_primitive::<arrow::datatypes::Int64Type>().values();
    assert!(values[0] == 1 && values[1..long].iter().all(|&n| n == 0));
    assert!(values[long..].iter().zip(2..).all(|(&n, expected)| n == expected));
}

/// 40,000 rows of nothing beside one of 60,000 bytes would be 2.4 GB of zeros.
#[test]
fn a_column_too_large_once_padded_is_refused_before_it_is_made() {
    let item = Arc::new(Field::new("item", DataType::UInt8, false));
    let lengths = std::iter::repeat_n(0, 40_000).chain([60_000]);
    let bytes = Arc::new(UInt8Array::from(vec![1; 60_000]));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths(lengths), bytes, None);
    let error = pad(&table(Field::new("x", lists.data_type().clone(), false), Arc::new(lists))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.message(), "column 'x': expected fewer than 2³¹ elements once padded, found 2400060000");
}

/// The known dimensions alone are 2⁹³; without rows there is nothing of them.
#[test]
fn no_rows_of_any_shape_are_no_elements() {
    let fixed = |data_type| DataType::FixedSizeList(Arc::new(Field::new("item", data_type, true)), i32::MAX);
    let list = DataType::List(Arc::new(Field::new("item", DataType::UInt8, true)));
    let data_type = fixed(fixed(fixed(list)));
    let none = arrow::array::new_empty_array(&data_type);
    let padded = pad(&table(Field::new("x", data_type, true), none)).unwrap();
    assert_eq!(padded.column(0).data_type().to_string(), "FixedSizeList(0 x non-null UInt8)");
}

#[test]
fn items_without_a_zero_are_refused() {
    let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
    let list = DataType::List(Arc::new(Field::new("item", union.clone(), true)));
    let lists = Schema::new(vec![Field::new("x", list, true)]);
    let error = check_paddable(&lists).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().starts_with("column 'x': expected lists of a type that has a zero"), "{error}");
    check_paddable(&Schema::new(vec![Field::new("x", union, true)])).unwrap();
}
