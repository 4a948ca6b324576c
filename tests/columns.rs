//! A batch holds the very values of its rows, whatever their type, wherever they come from and whatever they are cast to.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use forebay::convert::{ConvertOptions, convert};
use forebay::sampler::Order;
use forebay::{
    Batch, Col, ColumnKind, DType, Dataset, Element, ErrorKind, Immutable, Loader, Preload, Remainder,
    Shuffle, col, tensor_field,
};
use half::f16;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Runs `$body` with `$T` the Rust type by which elements of `$dtype` are viewed.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        with_type!(@ $dtype, $T => $body; Bool u8, U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64,
            F16 f16, F32 f32, F64 f64)
    };
    (@ $dtype:expr, $T:ident => $body:expr; $($name:ident $type:ty),*) => {
        match $dtype {
            $(DType::$name => { type $T = $type; $body })*
            other => panic!("{other}"),
        }
    };
}

/// A column as plain vectors: for each row its bytes as a batch has them, `None` for a null.
struct Column {
    field: Field,
    rows: Vec<Option<Vec<u8>>>,
}

impl Column {
    fn random(field: Field, num_rows: usize, dice: &mut StdRng) -> Self {
        let rows = (0..num_rows).map(|_| {
            let null = field.is_nullable() && dice.random_bool(0.3);
            (!null).then(|| random_row(&field, dice))
        });
        let rows = rows.collect();
        Column { field, rows }
    }

    fn name(&self) -> &str {
        self.field.name()
    }

    fn kind(&self) -> ColumnKind {
        ColumnKind::of(&self.field)
    }

    /// Some of the rows as Arrow has them; what lies under a null is no zero.
    fn array(&self, rows: impl IntoIterator<Item = usize>) -> ArrayRef {
        let rows: Vec<_> = rows.into_iter().map(|row| &self.rows[row]).collect();
        let under_null = match self.kind() {
            ColumnKind::Tensor { dtype: DType::Bool, shape } => vec![1; shape.iter().product()],
            ColumnKind::Tensor { dtype, shape } => {
                vec![0xAB; dtype.width_bytes() * shape.iter().product::<usize>()]
            }
            ColumnKind::Ragged { dtype } => vec![0xAB; 2 * dtype.width_bytes()],
            _ => b"under".to_vec(),
        };
        let values: Vec<_> = rows.iter().map(|row| row.as_ref().unwrap_or(&under_null).as_slice()).collect();
        let nulls =
            self.field.is_nullable().then(|| NullBuffer::from_iter(rows.iter().map(|row| row.is_some())));
        let data = arrow_data(self.field.data_type(), &values).into_builder().nulls(nulls).build().unwrap();
        make_array(data)
    }
}

fn random_row(field: &Field, dice: &mut StdRng) -> Vec<u8> {
    let elements = |dtype: DType, count: usize, dice: &mut StdRng| {
        let mut bytes = vec![0; dtype.width_bytes() * count];
        dice.fill_bytes(&mut bytes);
        if dtype == DType::Bool {
            bytes.iter_mut().for_each(|byte| *byte &= 1);
        }
        bytes
    };
    match ColumnKind::of(field) {
        ColumnKind::Tensor { dtype, shape } => elements(dtype, shape.iter().product(), dice),
        ColumnKind::Ragged { dtype } => elements(dtype, dice.random_range(0..5), dice),
        ColumnKind::Bytes => elements(DType::U8, dice.random_range(0..70), dice),
        ColumnKind::Text => {
            let letters: String = (0..dice.random_range(0..9))
                .map(|_| ['a', 'é', '水', '🜁'][dice.random_range(0..4)])
                .collect();
            letters.into_bytes()
        }
        ColumnKind::Other => panic!("{field}"),
    }
}

/// An array of `data_type` without nulls, its rows given as a batch has them.
fn arrow_data(data_type: &DataType, rows: &[&[u8]]) -> ArrayData {
    let builder = ArrayData::builder(data_type.clone()).len(rows.len());
    let bytes = || Buffer::from_slice_ref(rows.concat());
    let offsets =
        |item_bytes: usize| OffsetBuffer::<i32>::from_lengths(rows.iter().map(|row| row.len() / item_bytes));
    let wide_offsets =
        |item_bytes: usize| OffsetBuffer::<i64>::from_lengths(rows.iter().map(|row| row.len() / item_bytes));
    let items = |item: &Field| {
        let width = DType::of_arrow(item.data_type()).unwrap().width_bytes();
        let all = rows.concat();
        (width, arrow_data(item.data_type(), &all.chunks(width).collect::<Vec<_>>()))
    };
    let builder = match data_type {
        DataType::Boolean => {
            builder.add_buffer(BooleanBuffer::from_iter(rows.iter().map(|row| row[0] == 1)).into_inner())
        }
        DataType::FixedSizeList(item, n) => {
            let parts: Vec<_> = if *n == 0 {
                vec![]
            } else {
                rows.iter().flat_map(|row| row.chunks(row.len() / *n as usize)).collect()
            };
            builder.add_child_data(arrow_data(item.data_type(), &parts))
        }
        DataType::Utf8 | DataType::Binary => {
            builder.add_buffer(offsets(1).into_inner().into_inner()).add_buffer(bytes())
        }
        DataType::LargeUtf8 | DataType::LargeBinary => {
            builder.add_buffer(wide_offsets(1).into_inner().into_inner()).add_buffer(bytes())
        }
        DataType::List(item) => {
            let (width, items) = items(item);
            builder.add_buffer(offsets(width).into_inner().into_inner()).add_child_data(items)
        }
        DataType::LargeList(item) => {
            let (width, items) = items(item);
            builder.add_buffer(wide_offsets(width).into_inner().into_inner()).add_child_data(items)
        }
        _ => builder.add_buffer(bytes()),
    };
    builder.build().unwrap()
}

/// Columns of every kind, each once with nulls and once without.
fn every_kind() -> Vec<Field> {
    let mut fields = Vec::new();
    for nullable in [false, true] {
        let name = |what: &str| format!("{what}{}", if nullable { " or null" } else { "" });
        let mut push = |what: &str, data_type| fields.push(Field::new(name(what), data_type, nullable));
        let item = |dtype: DType| Arc::new(Field::new("item", dtype.to_arrow(), false));
        push("utf8", DataType::Utf8);
        push("large utf8", DataType::LargeUtf8);
        push("binary", DataType::Binary);
        push("large binary", DataType::LargeBinary);
        push("five bytes", DataType::FixedSizeBinary(5));
        push("timestamp", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())));
        push("date", DataType::Date32);
        push("duration", DataType::Duration(TimeUnit::Second));
        for dtype in DType::ALL {
            push(&format!("{dtype}"), dtype.to_arrow());
            let rows = DataType::FixedSizeList(item(dtype), 3);
            push(
                &format!("{dtype} nested"),
                DataType::FixedSizeList(Arc::new(Field::new("r", rows, false)), 2),
            );
            if dtype != DType::Bool {
                push(&format!("{dtype} list"), DataType::List(item(dtype)));
                push(&format!("{dtype} large list"), DataType::LargeList(item(dtype)));
            }
        }
        for dtype in DType::ALL {
            for shape in [&[1][..], &[3], &[2, 3], &[1, 2, 1, 4], &[40]] {
                fields.push(tensor_field(&name(&format!("{dtype}{shape:?}")), dtype, shape, nullable));
            }
        }
    }
    fields
}

/// A table as plain vectors.
struct Model {
    columns: Vec<Column>,
    num_rows: usize,
}

impl Model {
    fn random(fields: Vec<Field>, num_rows: usize, seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let columns = fields.into_iter().map(|field| Column::random(field, num_rows, &mut dice)).collect();
        Model { columns, num_rows }
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()))
    }

    /// The rows cut into record batches, some empty, some slices of longer arrays.
    fn record_batches(&self, seed: u64) -> Vec<RecordBatch> {
        let mut dice = StdRng::seed_from_u64(seed);
        let (mut batches, mut start) = (Vec::new(), 0);
        while start < self.num_rows {
            let end = (start + dice.random_range(0..self.num_rows / 3)).min(self.num_rows);
            let longer = start.saturating_sub(dice.random_range(0..9))
                ..(end + dice.random_range(0..5)).min(self.num_rows);
            let arrays = self.columns.iter().map(|column| column.array(longer.clone())).collect();
            let batch = RecordBatch::try_new(self.schema(), arrays).unwrap();
            batches.push(batch.slice(start - longer.start, end - start));
            start = end;
        }
        batches
    }

    /// Loads `dataset` in several ways and compares every value.
    fn check(&self, dataset: &Dataset, what: &str) {
        assert_eq!(dataset.len(), self.num_rows as u64, "{what}");
        for (shuffle, remainder, batch_size) in [
            (Shuffle::Exact, Remainder::Keep, 32),
            (Shuffle::None, Remainder::Keep, 17),
            (Shuffle::Exact, Remainder::Pad, 64),
            (Shuffle::None, Remainder::Pad, 1000),
            (Shuffle::Exact, Remainder::Drop, 1),
        ] {
            let builder = Loader::builder(dataset).batch_size(batch_size).shuffle(shuffle).seed(3);
            let loader = builder.remainder(remainder).threads(2).build().unwrap();
            let order = Order::new(dataset.len(), shuffle, 3).epoch(0);
            let mut position = 0;
            for batch in loader {
                let batch = batch.unwrap_or_else(|e| panic!("{what}: {e}"));
                let rows: Vec<_> = (position..).take(batch.num_rows()).map(|p| order.get(p)).collect();
                position += batch.num_rows() as u64;
                self.check_batch(&batch, &rows, what);
            }
            assert_eq!(position, dataset.len());
        }
    }

    fn check_batch(&self, batch: &Batch, rows: &[u64], what: &str) {
        for column in &self.columns {
            let place = format!("{what}, column '{}'", column.name());
            let expected: Vec<_> = rows.iter().map(|&row| column.rows[row as usize].as_deref()).collect();
            match column.kind() {
                ColumnKind::Tensor { dtype, shape } => {
                    with_type!(dtype, T => check_tensor::<T>(batch, column, &shape, &expected, &place));
                }
                ColumnKind::Ragged { dtype } => {
                    with_type!(dtype, T => check_runs::<T>(batch, column.name(), &expected, &place));
                }
                ColumnKind::Bytes => check_runs::<u8>(batch, column.name(), &expected, &place),
                ColumnKind::Text => {
                    check_runs::<u8>(batch, column.name(), &expected, &place);
                    let text = batch.text(column.name()).unwrap();
                    let found: Vec<_> = text.iter().map(str::as_bytes).collect();
                    let values = expected.iter().map(|row| row.unwrap_or_default());
                    assert_eq!(found[..rows.len()], values.collect::<Vec<_>>(), "{place}");
                }
                ColumnKind::Other => unreachable!(),
            }
        }
        // Arrow's own comparison, beside the views.
        let table = batch.record_batch().unwrap();
        assert_eq!(table.num_rows(), rows.len());
        for (column, array) in self.columns.iter().zip(table.columns()) {
            array.to_data().validate_full().unwrap();
            let naive = column.array(rows.iter().map(|&row| row as usize));
            assert_eq!(array.to_data(), naive.to_data(), "{what}, column '{}'", column.name());
        }
    }
}

/// What the views of a tensor say of `expected`, and of the padding behind.
fn check_tensor<T: Element>(
    batch: &Batch,
    column: &Column,
    shape: &[usize],
    expected: &[Option<&[u8]>],
    place: &str,
) {
    let (tensor, validity) = batch.tensor_with_validity::<T>(column.name()).unwrap();
    assert_eq!(tensor.shape(), [&[batch.len()], shape].concat(), "{place}");
    let row_bytes = size_of::<T>() * shape.iter().product::<usize>();
    let zeros = vec![0; row_bytes];
    for row in 0..batch.len() {
        let expected = expected.get(row).copied().flatten().unwrap_or(&zeros);
        assert_eq!(bytemuck::cast_slice::<T, u8>(tensor.row(row)), expected, "{place}, row {row}");
    }
    assert_eq!(validity.is_some(), column.field.is_nullable(), "{place}");
    if let Some(validity) = validity {
        let valid = |row| u8::from(expected.get(row).is_some_and(Option::is_some));
        assert_eq!(validity, (0..batch.len()).map(valid).collect::<Vec<_>>(), "{place}");
    }
    match expected.iter().position(Option::is_none) {
        None => {
            let whole = batch.tensor::<T>(column.name()).unwrap();
            assert_eq!(
                (whole.as_slice().as_ptr(), whole.shape()),
                (tensor.as_slice().as_ptr(), tensor.shape())
            );
        }
        Some(row) => {
            let error = batch.tensor::<T>(column.name()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            for words in [&format!("'{}'", column.name()), &format!("row {row} ")] {
                assert!(error.message().contains(words), "{error}");
            }
        }
    }
}

fn check_runs<T: Element>(batch: &Batch, name: &str, expected: &[Option<&[u8]>], place: &str) {
    let ragged = batch.ragged::<T>(name).unwrap();
    assert_eq!(ragged.len(), batch.len(), "{place}");
    let mut offset = 0;
    for row in 0..batch.len() {
        // Padding is empty, and null where there can be nulls.
        let expected = expected.get(row).copied().unwrap_or(None);
        assert_eq!(
            bytemuck::cast_slice::<T, u8>(ragged.row(row)),
            expected.unwrap_or_default(),
            "{place}, row {row}"
        );
        if row < batch.num_rows() {
            assert_eq!(ragged.is_null(row), expected.is_none(), "{place}, row {row}");
        }
        assert_eq!(ragged.offset(row), offset, "{place}, row {row}");
        offset += ragged.row(row).len();
    }
    assert_eq!((ragged.offset(batch.len()), ragged.items().len()), (offset, offset), "{place}");
}

fn vouched() -> Immutable {
    // SAFETY: the files lie in temporary folders of the tests, which nobody changes.
    unsafe { Immutable::promise() }
}

#[test]
fn values_of_every_kind_come_from_memory() {
    for seed in 0..3 {
        let model = Model::random(every_kind(), 130, seed);
        let dataset = Dataset::from_batches(model.record_batches(seed)).unwrap();
        model.check(&dataset, "memory");
    }
}

#[test]
fn values_of_every_kind_come_from_converted_shards() {
    let model = Model::random(every_kind(), 130, 7);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("table");
    let in_memory = Dataset::from_batches(model.record_batches(7)).unwrap();
    let converted = convert(&in_memory, &out, &ConvertOptions::new().shard_bytes(200_000), |_| {}).unwrap();
    assert!(converted.shards > 1);
    let options = [
        ("mapped", Dataset::options()),
        ("vouched for", Dataset::options().immutable(vouched())),
        ("copied", Dataset::options().preload(Preload::Copy)),
        ("populated", Dataset::options().preload(Preload::Populate)),
    ];
    for (what, options) in options {
        model.check(&options.open(&out).unwrap(), what);
    }
}

#[test]
fn values_of_every_kind_come_from_files_of_many_record_batches() {
    let model = Model::random(every_kind(), 130, 9);
    let folder = tempfile::tempdir().unwrap();
    let batches = model.record_batches(9);
    let (first, second) = batches.split_at(batches.len() / 2);
    let compressed =
        |compression| IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
    let write = |what: &str, options: IpcWriteOptions, batches: &[RecordBatch], stream: bool| {
        let path = folder.path().join(format!("{what}.arrow"));
        let file = File::create(&path).unwrap();
        if stream {
            let mut writer = StreamWriter::try_new_with_options(file, &model.schema(), options).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        } else {
            let mut writer = FileWriter::try_new_with_options(file, &model.schema(), options).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        path
    };
    let mixed = vec![
        write("a-plain", IpcWriteOptions::default(), first, false),
        write("b-packed", compressed(CompressionType::LZ4_FRAME), second, false),
    ];
    let streams = vec![
        write("c-stream", IpcWriteOptions::default(), first, true),
        write("d-packed-stream", compressed(CompressionType::ZSTD), second, true),
    ];
    for immutable in [false, true] {
        let options = if immutable { Dataset::options().immutable(vouched()) } else { Dataset::options() };
        model.check(&options.open(mixed.as_slice()).unwrap(), "files");
        model.check(&options.open(streams.as_slice()).unwrap(), "streams");
    }
}

#[test]
fn a_batch_is_the_table_a_gather_gives() {
    let model = Model::random(every_kind(), 100, 21);
    let dataset = Dataset::from_batches(model.record_batches(21)).unwrap();
    let dataset = dataset.split(0.8, 2).unwrap().0.skip(3);
    let order = Order::new(dataset.len(), Shuffle::Exact, 6).epoch(0);
    let loader = Loader::builder(&dataset).batch_size(16).shuffle(Shuffle::Exact).seed(6).build().unwrap();
    for batch in loader {
        let batch = batch.unwrap();
        let first = batch.step() * 16;
        let rows: Vec<_> = (first..).take(batch.num_rows()).map(|position| order.get(position)).collect();
        assert_eq!(batch.record_batch().unwrap(), dataset.gather(&rows).unwrap());
        assert_eq!(batch.schema(), dataset.schema());
        assert!(batch.columns().eq(dataset.schema().fields().iter().map(|field| field.name())));
    }
}

#[test]
fn dictionaries_and_views_are_the_values_they_stand_for() {
    let words = ["a", "bb", "ccc", "", "éé"];
    let text: Vec<_> = (0..50).map(|i| (i % 7 != 3).then(|| words[i % 5])).collect();
    let dictionary: DictionaryArray<Int8Type> = text.iter().copied().collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("dictionary", Arc::new(dictionary)),
        ("view", Arc::new(StringViewArray::from_iter(text.iter().copied()))),
        ("bytes", Arc::new(BinaryViewArray::from_iter(text.iter().map(|text| text.map(str::as_bytes))))),
    ];
    let table =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.arrow");
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &table.schema()).unwrap();
    writer.write(&table).unwrap();
    writer.finish().unwrap();
    for dataset in [Dataset::from_batches([table]).unwrap(), Dataset::open(&path).unwrap()] {
        let order = Order::new(50, Shuffle::Exact, 0).epoch(0);
        let loader = Loader::builder(&dataset).batch_size(8).shuffle(Shuffle::Exact).build().unwrap();
        for batch in loader {
            let batch = batch.unwrap();
            for i in 0..batch.num_rows() {
                let expected = text[order.get(batch.step() * 8 + i as u64) as usize];
                for name in ["dictionary", "view"] {
                    let found = batch.text(name).unwrap();
                    assert_eq!(
                        (found.row(i), found.is_null(i)),
                        (expected.unwrap_or(""), expected.is_none())
                    );
                }
                assert_eq!(batch.ragged::<u8>("bytes").unwrap().row(i), expected.unwrap_or("").as_bytes());
            }
        }
    }
}

#[test]
fn tensors_without_elements_and_tables_without_rows_have_their_shapes() {
    let fields = vec![
        tensor_field("none", DType::F32, &[0], false),
        tensor_field("none or null", DType::U8, &[3, 0], true),
        Field::new("label", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ];
    let model = Model::random(fields, 40, 5);
    let dataset = Dataset::from_batches(model.record_batches(5)).unwrap();
    model.check(&dataset, "memory");
    let folder = tempfile::tempdir().unwrap();
    convert(&dataset, folder.path().join("table"), &ConvertOptions::new(), |_| {}).unwrap();
    model.check(&Dataset::open(folder.path().join("table")).unwrap(), "mapped");
    let empty = dataset.take(0);
    assert!(Loader::builder(&empty).batch_size(4).shuffle(Shuffle::Exact).build().unwrap().next().is_none());
    assert_eq!(empty.gather(&[]).unwrap().num_rows(), 0);
}

/// Values at which conversions differ, as bytes of `from`.
fn awkward(from: DType) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(from as u64);
    let mut bytes = Vec::new();
    with_type!(from, T => {
        let mut push = |value: T| bytes.extend_from_slice(bytemuck::bytes_of(&value));
        for value in [
            0.0, -0.0, 0.4, 0.5, 0.6, 1.0, -1.0, -0.6, 1.5, 2.5, 100.7, 127.0, 128.0, -128.0, -129.0, 255.0, 256.0, 300.5,
            32767.0, 32768.0, 65504.0, 65520.0, 65536.0, 1e5, 16777217.0, 2147483648.0, -2147483649.0, 4294967296.0, 9.3e18,
            1.9e19, 1e30, -1e30, 1e300, 1e-8, 1e-40, 1e-300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN,
        ] {
            if from != DType::Bool || [0.0, 1.0].contains(&value) {
                push(T::from_f64(value));
            }
        }
        for _ in 0..60 {
            let mut value = T::default();
            dice.fill_bytes(bytemuck::bytes_of_mut(&mut value));
            if from == DType::Bool {
                bytemuck::bytes_of_mut(&mut value)[0] &= 1;
            }
            push(value);
        }
    });
    let row_bytes = 3 * from.width_bytes();
    bytes.truncate(bytes.len() / row_bytes * row_bytes);
    bytes
}

/// `as`, for `f16` too.
trait As<T> {
    fn convert(self) -> T;
}

macro_rules! plain_as {
    ($($from:ty),*) => {$(
        plain_as!(@ $from => u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
        impl As<f16> for $from {
            fn convert(self) -> f16 {
                f16::from_f64(self as f64)
            }
        }
        impl As<$from> for f16 {
            fn convert(self) -> $from {
                f32::from(self) as $from
            }
        }
    )*};
    (@ $from:ty => $($to:ty),*) => {$(
        impl As<$to> for $from {
            fn convert(self) -> $to {
                self as $to
            }
        }
    )*};
}

plain_as!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl As<f16> for f16 {
    fn convert(self) -> f16 {
        self
    }
}

/// The product in the arithmetic of the type; integers are never scaled.
trait Times {
    fn times(self, factor: f64) -> Self;
}

macro_rules! times {
    ($($type:ty: |$value:ident, $factor:ident| $product:expr),*) => {$(
        impl Times for $type {
            fn times(self, factor: f64) -> Self {
                let ($value, $factor) = (self, factor);
                $product
            }
        }
    )*};
}

times!(u8: |v, _f| v, i8: |v, _f| v, u16: |v, _f| v, i16: |v, _f| v, u32: |v, _f| v, i32: |v, _f| v, u64: |v, _f| v,
    i64: |v, _f| v, f16: |v, f| f16::from_f32(f32::from(v) * f as f32), f32: |v, f| v * f as f32, f64: |v, f| v * f);

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32 | DType::F64)
}

/// Rows of three elements that hold `bytes`; row 2 of them null, if there can be nulls.
fn rows_of_three(from: DType, bytes: &[u8], nullable: bool) -> (Column, Dataset) {
    let mut rows: Vec<_> = bytes.chunks(3 * from.width_bytes()).map(|row| Some(row.to_vec())).collect();
    if nullable {
        rows[2] = None;
    }
    let column = Column { field: tensor_field("x", from, &[3], nullable), rows };
    let middle = column.rows.len() / 2;
    let batches = [0..middle, middle..column.rows.len()].map(|rows| {
        let schema = Arc::new(Schema::new(vec![column.field.clone()]));
        RecordBatch::try_new(schema, vec![column.array(rows)]).unwrap()
    });
    let dataset = Dataset::from_batches(batches).unwrap();
    (column, dataset)
}

#[test]
fn every_type_is_cast_to_every_other_as_rust_does() {
    for from in DType::ALL {
        let (column, dataset) = rows_of_three(from, &awkward(from), from.width_bytes() == 4);
        for to in DType::ALL {
            for scale in [None, Some(1.0 / 255.0), Some(-3.0)] {
                let mut asked = col("x").cast_to(to);
                if let Some(scale) = scale {
                    asked = asked.scale(scale);
                }
                if (to == DType::Bool && from != DType::Bool) || (scale.is_some() && !is_float(to)) {
                    let error = Loader::builder(&dataset).columns([asked]).build().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                    assert!(error.message().contains("'x'"), "{error}");
                    continue;
                }
                for shuffle in [Shuffle::None, Shuffle::Exact] {
                    with_type!(from, From => with_type!(to, To => {
                        check_cast::<From, To>(&column, &dataset, asked.clone(), scale.unwrap_or(1.0), shuffle);
                    }));
                }
            }
        }
    }
}

fn check_cast<From: Element + As<To>, To: Element + Times>(
    column: &Column,
    dataset: &Dataset,
    asked: Col,
    scale: f64,
    shuffle: Shuffle,
) {
    let order = Order::new(dataset.len(), shuffle, 0).epoch(0);
    let loader = Loader::builder(dataset).columns([asked.clone()]).batch_size(10).shuffle(shuffle).threads(0);
    for batch in loader.build().unwrap() {
        let batch = batch.unwrap();
        let (tensor, _) = batch.tensor_with_validity::<To>("x").unwrap();
        for i in 0..batch.num_rows() {
            let row = &column.rows[order.get(batch.step() * 10 + i as u64) as usize];
            for (k, found) in tensor.row(i).iter().enumerate() {
                let Some(row) = row else {
                    assert_eq!(found.to_f64(), 0.0);
                    continue;
                };
                let value: From =
                    bytemuck::pod_read_unaligned(&row[k * size_of::<From>()..][..size_of::<From>()]);
                let expected = value.convert().times(scale);
                // A number that is none has many forms.
                let same = bytemuck::bytes_of(found) == bytemuck::bytes_of(&expected)
                    || (found.to_f64().is_nan() && expected.to_f64().is_nan());
                assert!(same, "{asked:?} of {value:?}: expected {expected:?}, found {found:?}");
            }
        }
        let kind = ColumnKind::of(batch.record_batch().unwrap().schema().field(0));
        let viewed = match kind {
            ColumnKind::Tensor { dtype, .. } => To::views(dtype),
            _ => false,
        };
        assert!(viewed, "{kind}");
    }
}

#[test]
fn a_fill_stands_where_a_null_was_and_the_column_has_none() {
    for from in DType::ALL {
        let (column, dataset) = rows_of_three(from, &awkward(from), true);
        for (asked, to, fill) in [
            (col("x").fill(1.0), from, 1.0),
            (col("x").cast::<f32>().scale(0.25).fill(-1.5), DType::F32, -1.5),
            (col("x").cast::<i16>().fill(-7.0), DType::I16, -7.0),
        ] {
            for shuffle in [Shuffle::None, Shuffle::Exact] {
                let order = Order::new(dataset.len(), shuffle, 0).epoch(0);
                let builder =
                    Loader::builder(&dataset).columns([asked.clone()]).batch_size(9).shuffle(shuffle);
                let mut filled = 0;
                for batch in builder.build().unwrap() {
                    let batch = batch.unwrap();
                    assert!(!batch.schema().field(0).is_nullable());
                    with_type!(to, T => {
                        let tensor = batch.tensor::<T>("x").unwrap();
                        for i in 0..batch.num_rows() {
                            if column.rows[order.get(batch.step() * 9 + i as u64) as usize].is_none() {
                                assert_eq!(tensor.row(i), [T::from_f64(fill); 3]);
                                filled += 1;
                            }
                        }
                    });
                    assert_eq!(batch.record_batch().unwrap().column(0).null_count(), 0);
                }
                assert_eq!(filled, 1);
            }
        }
    }
    let (_, dataset) = rows_of_three(DType::U8, &awkward(DType::U8), true);
    for fill in [-1.0, 256.0, 0.5, f64::NAN] {
        let error = Loader::builder(&dataset).columns([col("x").fill(fill)]).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(&fill.to_string()) && error.message().contains("u8"), "{error}");
    }
}

#[test]
fn nulls_in_some_shards_only_are_found_in_those() {
    let model = |seed, nullable| {
        Model::random(
            vec![tensor_field("x", DType::F32, &[2], true), Field::new("t", DataType::Utf8, true)],
            50,
            seed,
        )
        .with_nulls(nullable)
    };
    let (without, with) = (model(1, false), model(2, true));
    let datasets = [&without, &with, &without].map(|m| Dataset::from_batches(m.record_batches(1)).unwrap());
    let dataset = datasets[0].concat(&datasets[1]).unwrap().concat(&datasets[2]).unwrap();
    let columns = without.columns.iter().zip(&with.columns).map(|(without, with)| Column {
        field: without.field.clone(),
        rows: [&without.rows[..], &with.rows, &without.rows].concat(),
    });
    Model { columns: columns.collect(), num_rows: 150 }.check(&dataset, "concatenated");
}

impl Model {
    /// The same without nulls, unless `keep`; the fields stay nullable.
    fn with_nulls(mut self, keep: bool) -> Self {
        let mut dice = StdRng::seed_from_u64(0);
        for column in self.columns.iter_mut().filter(|_| !keep) {
            let field = column.field.clone();
            column.rows.iter_mut().for_each(|row| *row = Some(random_row(&field, &mut dice)));
        }
        self
    }
}

/// A column of text whose rows are `rows`, true to UTF-8 or not.
fn text_of(rows: &[&[u8]]) -> RecordBatch {
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
    // SAFETY: the offsets are right. That the bytes may be no text is what the tests are about, and nothing here
    // reads them as text.
    let text = unsafe { StringArray::new_unchecked(offsets, Buffer::from_slice_ref(rows.concat()), None) };
    RecordBatch::try_from_iter([("text", Arc::new(text) as ArrayRef)]).unwrap()
}

#[test]
fn bytes_that_are_no_text_are_refused_at_their_batch_and_their_row() {
    let folder = tempfile::tempdir().unwrap();
    // A byte that is never text; a letter cut off; a letter whose two bytes stand in two rows.
    for (bad, rows) in [
        (5, [&b"a"[..], b"b", b"c", b"d", b"e", b"f\xFF", b"g", b"h"]),
        (2, [b"a", b"b", b"\xC3", b"d", b"e", b"f", b"g", b"h"]),
        (6, [b"a", b"b", b"c", b"d", b"e", b"f", b"\xC3", b"\xA9"]),
    ] {
        let table = text_of(&rows);
        let path = folder.path().join(format!("{bad}.arrow"));
        let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &table.schema()).unwrap();
        writer.write(&table).unwrap();
        writer.finish().unwrap();
        let datasets = [
            (None, Dataset::from_batches([table]).unwrap()),
            (Some(path.as_path()), Dataset::open(&path).unwrap()),
        ];
        for (path, dataset) in datasets {
            expect_no_text(&dataset, path, bad, &rows);
        }
    }
}

fn expect_no_text(dataset: &Dataset, path: Option<&Path>, bad: usize, rows: &[&[u8]]) {
    let loader = Loader::builder(dataset).batch_size(2).threads(2).build().unwrap();
    let batches: Vec<_> = loader.collect();
    assert_eq!(batches.len(), rows.len() / 2);
    for (step, batch) in batches.into_iter().enumerate() {
        match batch {
            Ok(batch) => {
                let text = batch.text("text").unwrap();
                assert!(text.iter().map(str::as_bytes).eq(rows[2 * step..2 * step + 2].iter().copied()));
            }
            Err(error) => {
                assert_eq!((error.kind(), step), (ErrorKind::Malformed, bad / 2), "{error}");
                assert!(error.message().contains(&format!("row {bad} ")), "{error}");
                assert!(error.message().contains("'text'") && error.message().contains("UTF-8"), "{error}");
                assert_eq!(error.location().path.as_deref(), path);
                assert!(std::error::Error::source(&error).is_some());
            }
        }
    }
    let first_bad = Loader::builder(&dataset.subset(&[bad as u64]).unwrap()).build().unwrap().next().unwrap();
    assert!(first_bad.is_err());
}

#[test]
fn a_view_of_another_type_is_refused_and_says_what_the_column_is() {
    let fields = vec![
        tensor_field("image", DType::U8, &[2, 2], false),
        Field::new("ok", DataType::Boolean, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("blob", DataType::Binary, false),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Int32, false))), false),
    ];
    let model = Model::random(fields, 12, 1);
    let dataset = Dataset::from_batches(model.record_batches(1)).unwrap();
    let batch = Loader::builder(&dataset).batch_size(12).build().unwrap().next().unwrap().unwrap();
    let refused = |error: forebay::Error, said: &[&str]| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(said.iter().all(|words| error.message().contains(words)), "{error}");
    };
    refused(batch.tensor::<i8>("image").unwrap_err(), &["'image'", "u8[2, 2]", "i8"]);
    refused(batch.tensor::<f32>("ok").unwrap_err(), &["'ok'", "bool"]);
    refused(batch.tensor::<u8>("name").unwrap_err(), &["'name'", "text"]);
    refused(batch.tensor::<u8>("size").unwrap_err(), &["'size'", "image", "tags"]);
    refused(batch.text("blob").unwrap_err(), &["'blob'", "bytes"]);
    refused(batch.ragged::<i64>("tags").unwrap_err(), &["'tags'", "i32"]);
    refused(batch.ragged::<u8>("image").unwrap_err(), &["'image'"]);
    refused(Loader::builder(&dataset).columns([col("name").cast::<f32>()]).build().unwrap_err(), &["'name'"]);
    refused(Loader::builder(&dataset).columns([col("tags").fill(0.0)]).build().unwrap_err(), &["'tags'"]);
    assert!(batch.ragged::<u8>("name").is_ok() && batch.tensor::<u8>("ok").is_ok());
}

#[test]
fn columns_no_tensor_holds_are_refused_by_name_and_gathered_all_the_same() {
    let items = || ListBuilder::new(Int32Builder::new());
    let (mut nulls_inside, mut whole) = (items(), items());
    for i in 0..6 {
        nulls_inside.append_value([Some(i), None]);
        whole.append_value([Some(i), Some(1)]);
    }
    let x: ArrayRef = Arc::new(Int8Array::from_iter_values(0..6));
    let point = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int8, false)), x)]);
    let columns: [(&str, ArrayRef); 3] = [
        ("point", Arc::new(point)),
        ("nulls inside", Arc::new(nulls_inside.finish())),
        ("whole", Arc::new(whole.finish())),
    ];
    let table = RecordBatch::try_from_iter(columns).unwrap();
    let dataset = Dataset::from_batches([table.clone()]).unwrap();
    let error = Loader::builder(&dataset).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("'point'"), "{error}");
    // A list is no struct, so that is seen only when a null in it is.
    let mut loader = Loader::builder(&dataset).columns(["nulls inside"]).batch_size(3).build().unwrap();
    assert_eq!(loader.next().unwrap().unwrap_err().kind(), ErrorKind::Unsupported);
    let mut loader = Loader::builder(&dataset).columns(["whole"]).batch_size(6).build().unwrap();
    assert_eq!(loader.next().unwrap().unwrap().ragged::<i32>("whole").unwrap().row(4), [4, 1]);
    let rows = [5, 0, 3];
    let indices = UInt64Array::from(rows.to_vec());
    assert_eq!(dataset.gather(&rows).unwrap(), arrow::compute::take_record_batch(&table, &indices).unwrap());
}

#[test]
fn arrays_in_any_layout_of_npy_are_read_as_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let value = |row: usize, i: usize, k: usize| (row * 100 + i * 10 + k) as i32 - 50;
    for (descr, big) in [("<i4", false), (">i4", true)] {
        for fortran in [false, true] {
            let header = format!(
                "{{'descr': '{descr}', 'fortran_order': {}, 'shape': (30, 2, 3), }}",
                if fortran { "True" } else { "False" }
            );
            let padded = format!("{header:<117}\n");
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend_from_slice(&(padded.len() as u16).to_le_bytes());
            bytes.extend_from_slice(padded.as_bytes());
            let mut push = |value: i32| {
                bytes.extend_from_slice(&if big { value.to_be_bytes() } else { value.to_le_bytes() });
            };
            if fortran {
                (0..3).for_each(|k| (0..2).for_each(|i| (0..30).for_each(|row| push(value(row, i, k)))));
            } else {
                (0..30).for_each(|row| (0..2).for_each(|i| (0..3).for_each(|k| push(value(row, i, k)))));
            }
            let path = folder.path().join(format!("{fortran}-{big}.npy"));
            fs::write(&path, bytes).unwrap();
            let rows = (0..30).map(|row| {
                let elements = (0..6).flat_map(|n| value(row, n / 3, n % 3).to_ne_bytes());
                Some(elements.collect())
            });
            let column =
                Column { field: tensor_field("data", DType::I32, &[2, 3], false), rows: rows.collect() };
            let dataset = Dataset::open(&path).unwrap();
            Model { columns: vec![column], num_rows: 30 }.check(&dataset, descr);
            let cast = [col("data").cast::<f64>().scale(0.5)];
            for batch in Loader::builder(&dataset).columns(cast).batch_size(7).build().unwrap() {
                let batch = batch.unwrap();
                let tensor = batch.tensor::<f64>("data").unwrap();
                for i in 0..batch.num_rows() {
                    let row = batch.step() as usize * 7 + i;
                    assert!((0..6).all(|n| tensor.row(i)[n] == 0.5 * f64::from(value(row, n / 3, n % 3))));
                }
            }
        }
    }
}

#[test]
fn channels_are_normalized_first_last_or_along_the_axis_named() {
    let pixels: Vec<u8> = (0..3 * 3 * 4 * 2).collect();
    let normalized = |shape: &[usize], column: forebay::Col| -> forebay::Result<Vec<f32>> {
        let data = Dataset::from_tensor("x", shape, pixels.clone())?;
        let batch = Loader::builder(&data).columns([column]).batch_size(8).build()?.next().unwrap()?;
        Ok(batch.tensor::<f32>("x")?.as_slice().to_vec())
    };
    let column = || col("x").cast::<f32>().scale(0.5);
    let (mean, std) = ([1.0, 2.0, 3.0], [2.0, 4.0, 8.0]);
    let expected = |channel: &dyn Fn(usize) -> usize| -> Vec<f32> {
        let each =
            |(i, &x): (usize, &u8)| (f32::from(x) * 0.5 - mean[channel(i)] as f32) / std[channel(i)] as f32;
        pixels.iter().enumerate().map(each).collect()
    };
    let all = |shape: &[usize], column| normalized(shape, column).unwrap();
    assert_eq!(all(&[2, 4, 3], column().normalize(mean, std)), expected(&|i| i % 3));
    assert_eq!(all(&[3, 2, 4], column().normalize(mean, std)), expected(&|i| i / 8 % 3));
    assert_eq!(all(&[3, 8, 3], column().normalize(mean, std).channel_axis(2)), expected(&|i| i % 3));
    assert_eq!(all(&[3, 8, 3], column().normalize(mean, std).channel_axis(0)), expected(&|i| i / 24 % 3));
    let one = all(&[24], column().normalize([1.0], [2.0]));
    assert_eq!(one, pixels.iter().map(|&x| (f32::from(x) * 0.5 - 1.0) / 2.0).collect::<Vec<_>>());

    for (shape, column, words) in [
        (&[3, 8, 3][..], column().normalize(mean, std), "several axes of a row are as long"),
        (&[24, 3], column().normalize(mean, std).channel_axis(0), "by 3 channels along axis 0"),
        (&[24], column().normalize(mean, std), "no axis of a row is as long"),
        (&[24], column().normalize([0.0], [0.0]), "by the standard deviation 0"),
        (&[24], column().normalize([f64::NAN], [1.0]), "by the mean NaN"),
        (&[24, 3], column().normalize([0.0; 3], [1.0; 2]), "by 3 means and 2 standard deviations"),
        (&[24], col("x").normalize([0.0], [1.0]), "need floats"),
    ] {
        let error = normalized(shape, column).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
}
