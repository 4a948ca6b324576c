//! What a device makes of a batch by itself: elements converted, rows gathered from columns that stay on it. All of it is what the
//! host makes, bit by bit.

use arrow::array::Float32Array;
use forebay::{Bound, Col, DType, OnBadRecord, Partition, Preload, col};

use super::*;

/// The raw bytes of a column on both sides; a NaN is a NaN.
fn same_column(context: *mut c_void, name: &str, host: &Batch, device: &DeviceBatch, dtype: DType) {
    macro_rules! compare {
        ($($variant:ident: $rust:ty),*) => {
            match dtype {
                $(DType::$variant => {
                    let (here, valid_here) = host.tensor_with_validity::<$rust>(name).unwrap();
                    let (there, valid_there) = device.tensor_with_validity::<$rust>(name).unwrap();
                    assert_eq!(here.shape(), there.shape(), "{name}");
                    assert_eq!(there.device_pointer() % 64, 0, "{name}");
                    let bytes = fetch(context, device, there.device_pointer(), there.len_bytes());
                    for (i, (here, there)) in
                        here.as_slice().iter().zip(bytes.chunks(size_of::<$rust>())).enumerate()
                    {
                        let value = bytemuck::pod_read_unaligned::<$rust>(there);
                        let nan = here.to_f64().is_nan() && value.to_f64().is_nan();
                        assert!(nan || bytemuck::bytes_of(here) == there, "{name}[{i}]: {value:?}, not {here:?}");
                    }
                    assert_eq!(valid_here.is_some(), valid_there.is_some(), "{name}");
                    if let (Some(here), Some(there)) = (valid_here, valid_there) {
                        assert_eq!(fetch(context, device, there.device_pointer(), there.len()), here, "{name}");
                    }
                    assert_eq!(host.tensor::<$rust>(name).is_ok(), device.tensor::<$rust>(name).is_ok(), "{name}");
                })*
                _ => unreachable!("a type of the list"),
            }
        };
    }
    compare!(U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, U64: u64, I64: i64, F16: half::f16,
        F32: f32, F64: f64)
}

/// Both loaders of the same options go through the same batches; `columns` are compared.
fn same_batches(host: LoaderBuilder, device: LoaderBuilder, columns: &[(&str, DType)]) -> DeviceLoader {
    let mut host = host.build().unwrap();
    let mut device = device.build_on_device(0).unwrap();
    let context = device.raw_context();
    for here in host.by_ref() {
        let (here, there) = (here.unwrap(), device.next().unwrap().unwrap());
        assert_eq!((here.epoch(), here.step()), (there.epoch(), there.step()));
        assert_eq!((here.num_rows(), here.len()), (there.num_rows(), there.len()));
        assert_eq!(here.delivered_bytes(), there.delivered_bytes());
        assert!(here.columns().eq(there.columns()));
        for &(name, dtype) in columns {
            same_column(context, name, &here, &there, dtype);
        }
        assert_eq!(here.mask().is_some(), there.mask().is_some());
        if let (Some(here), Some(mask)) = (here.mask(), there.mask()) {
            assert_eq!(fetch(context, &there, mask.device_pointer(), mask.len_bytes()), here);
        }
    }
    assert!(device.next().is_none());
    assert_eq!(host.audit(), device.audit());
    assert_eq!(host.state().to_json(), device.state().to_json());
    device
}

/// Values where conversions differ: the ends of every type's range, halves, subnormals, infinities, what is no number.
const AWKWARD: [f64; 36] = [
    0.0,
    -0.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.0,
    127.0,
    128.0,
    -129.0,
    255.0,
    256.0,
    300.7,
    32767.5,
    -32769.0,
    65504.0,
    65519.99,
    65520.0,
    65535.0,
    65536.0,
    2049.0,
    2147483648.0,
    -2147483649.0,
    4294967296.0,
    16777217.0,
    9.007199254740993e15,
    9.3e18,
    1.9e19,
    -9.3e18,
    1e-7,
    5.96e-8,
    1e-40,
    1e39,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// Rows of 3 × 70 elements: channels first in long runs, or none.
fn awkward<T: Element + arrow::datatypes::ArrowNativeType>(name: &str) -> Dataset {
    let value = |i: usize| match i / AWKWARD.len() {
        // Of integers, every bit.
        0 => AWKWARD[i],
        turn => ((i * 2_654_435_761 % 65_536) as f64 - 20_000.0) * 1.37 * (turn as f64).powi(9),
    };
    Dataset::from_tensor(name, &[3, 70], (0..6 * 210).map(|i| T::from_f64(value(i))).collect()).unwrap()
}

/// All types that are computed with: all but the first, which is `Bool`.
fn numeric() -> impl Iterator<Item = DType> {
    DType::ALL.into_iter().skip(1)
}

fn awkward_of(dtype: DType) -> Dataset {
    match dtype {
        DType::U8 => awkward::<u8>("x"),
        DType::I8 => awkward::<i8>("x"),
        DType::U16 => awkward::<u16>("x"),
        DType::I16 => awkward::<i16>("x"),
        DType::U32 => awkward::<u32>("x"),
        DType::I32 => awkward::<i32>("x"),
        DType::U64 => awkward::<u64>("x"),
        DType::I64 => awkward::<i64>("x"),
        DType::F16 => awkward::<half::f16>("x"),
        DType::F32 => awkward::<f32>("x"),
        _ => awkward::<f64>("x"),
    }
}

#[test]
fn every_type_is_cast_to_every_other_as_on_the_host() {
    let driver = driver_if_any(30);
    if !a_device() {
        return;
    }
    for from in numeric() {
        let dataset = awkward_of(from);
        for to in numeric() {
            let cast = col("x").cast_to(to);
            let mut asked = vec![cast.clone()];
            if to.name().starts_with('f') {
                asked.push(cast.clone().scale(1.0 / 255.0));
                asked.push(cast.clone().scale(0.37).normalize([0.485], [0.229]));
                asked.push(cast.clone().normalize([0.485, 0.456, 3.0], [0.229, 0.224, 0.225]));
            }
            for column in asked {
                let builder = || Loader::builder(&dataset).columns([column.clone()]).batch_size(4).threads(0);
                same_batches(builder(), builder().cast_on_device(true), &[("x", to)]);
                let stays = builder().shuffle(Shuffle::Exact);
                same_batches(stays.clone(), stays.preload(Preload::Device), &[("x", to)]);
            }
        }
    }
    driver.iter().for_each(Driver::assert_clean);
}

/// Rows of several widths, 19 and 64 bytes among them, in views of views.
fn table(rows: usize) -> Dataset {
    let bytes = |width: usize| (0..rows * width).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>();
    let columns = [
        Dataset::from_tensor("row", &[], (0..rows as u64).collect()).unwrap(),
        Dataset::from_tensor("odd", &[19], bytes(19)).unwrap(),
        Dataset::from_tensor("line", &[8, 8], bytes(64)).unwrap(),
        Dataset::from_tensor("image", &[4, 4, 3], bytes(48)).unwrap(),
        Dataset::from_tensor("real", &[5], (0..rows * 5).map(|i| i as f32 * 0.3).collect()).unwrap(),
    ];
    columns.into_iter().reduce(|all, one| all.zip(&one).unwrap()).unwrap()
}

fn columns_of_table() -> Vec<Col> {
    let image = col("image").cast::<f32>().scale(1.0 / 255.0).normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]);
    vec![col("row"), col("odd"), col("line"), image, col("real").cast::<half::f16>()]
}

const OF_TABLE: [(&str, DType); 5] = [
    ("row", DType::U64),
    ("odd", DType::U8),
    ("line", DType::U8),
    ("image", DType::F32),
    ("real", DType::F16),
];

#[test]
fn batches_made_on_the_device_are_those_of_the_host_in_every_order() {
    let driver = driver_if_any(31);
    if !a_device() {
        return;
    }
    let whole = table(103);
    let views = whole.skip(50).concat(&whole.take(40)).unwrap();
    let orders = [Shuffle::None, Shuffle::Exact, Shuffle::Block { rows: 8, blocks: 3 }];
    for (dataset, shuffle) in [&whole, &views].into_iter().flat_map(|set| orders.map(|order| (set, order))) {
        for remainder in [Remainder::Keep, Remainder::Drop, Remainder::Pad] {
            for (rank, world) in [(0, 1), (1, 3), (2, 3)] {
                let builder = Loader::builder(dataset)
                    .columns(columns_of_table())
                    .batch_size(16)
                    .shuffle(shuffle)
                    .seed(9)
                    .epochs(2)
                    .remainder(remainder)
                    .partition(Partition::new(rank, world).unwrap())
                    .threads(1);
                same_batches(builder.clone(), builder.clone().cast_on_device(true), &OF_TABLE);
                let device =
                    same_batches(builder.clone(), builder.clone().preload(Preload::Device), &OF_TABLE);
                drop(device);
                // From the middle of the second epoch on.
                let mut begun = builder.clone().preload(Preload::Device).build_on_device(0).unwrap();
                let some = begun.steps_per_epoch() as usize * 3 / 2;
                begun.by_ref().take(some).for_each(|batch| drop(batch.unwrap()));
                let resumed = builder.resume(&begun.state());
                same_batches(resumed.clone(), resumed.preload(Preload::Device), &OF_TABLE);
            }
        }
    }
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn rows_that_follow_one_another_are_not_copied() {
    let Some(driver) = Driver::alone(32) else { return };
    let dataset = table(320);
    let builder = Loader::builder(&dataset).columns(["row", "line"]).batch_size(16);
    let mut loader = builder.preload(Preload::Device).build_on_device(0).unwrap();
    let (copies, held) = (driver.copies(), loader.stats().device_bytes);
    let mut first = None;
    for (step, batch) in loader.by_ref().enumerate() {
        let batch = batch.unwrap();
        let (row, line) = (batch.tensor::<u64>("row").unwrap(), batch.tensor::<u8>("line").unwrap());
        let (row, line) = (row.device_pointer(), line.device_pointer());
        let (row_0, line_0) = *first.get_or_insert((row, line));
        assert_eq!((row - row_0, line - line_0), (step as u64 * 16 * 8, step as u64 * 16 * 64));
        batch.wait_on(TrainerStream::legacy_default()).unwrap();
        let rows: Vec<u64> = (step as u64 * 16..step as u64 * 16 + 16).collect();
        driver.expect(0, row, bytemuck::cast_slice(&rows));
        assert_eq!(batch.sent_bytes(), 0);
    }
    assert_eq!((driver.copies(), driver.launches()), (copies, 0));
    assert!(held >= 320 * 72 && loader.stats().device_bytes < held + 64, "{:?}", loader.stats());
    drop(loader);
    driver.assert_clean();
}

#[test]
fn batches_of_columns_that_stay_outlive_their_loader() {
    let Some(driver) = Driver::alone(33) else { return };
    driver.eagerness(0);
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let builder = Loader::builder(&table(160)).columns(["row"]).batch_size(16).shuffle(shuffle).seed(4);
        let order: Vec<_> = builder.clone().build().unwrap().map(Result::unwrap).collect();
        let mut loader = builder.preload(Preload::Device).build_on_device(0).unwrap();
        let batches: Vec<_> = loader.by_ref().take(5).map(Result::unwrap).collect();
        drop(loader);
        for (batch, host) in batches.iter().zip(&order) {
            batch.wait_on(TrainerStream::legacy_default()).unwrap();
            let rows = host.tensor::<u64>("row").unwrap();
            let at = batch.tensor::<u64>("row").unwrap().device_pointer();
            driver.expect(0, at, bytemuck::cast_slice(rows.as_slice()));
        }
        drop(batches);
        driver.assert_clean();
    }
}

#[test]
fn a_quarter_of_the_bytes_travels_when_the_device_casts() {
    let Some(driver) = Driver::alone(34) else { return };
    let images = Dataset::from_tensor("image", &[28, 28], vec![7u8; 64 * 784]).unwrap();
    let builder = Loader::builder(&images).columns([col("image").cast::<f32>()]).batch_size(32);
    let sent = |builder: LoaderBuilder| {
        let mut loader = builder.build_on_device(0).unwrap();
        loader.by_ref().for_each(|batch| drop(batch.unwrap()));
        loader.stats().bytes_sent
    };
    assert_eq!(sent(builder.clone()), 64 * 784 * 4);
    assert_eq!(sent(builder.clone().cast_on_device(true)), 64 * 784);
    // Numbers of rows alone.
    assert_eq!(sent(builder.shuffle(Shuffle::Exact).preload(Preload::Device)), 64 * 8);
    driver.assert_clean();
}

/// A column with a null in every fourth row or in none, and text.
fn with_nulls(every: Option<usize>) -> Dataset {
    let values = (0..ROWS).map(|row| every.is_none_or(|every| row % every != 3).then_some(row as f32 * 1.5));
    let texts = StringArray::from_iter_values((0..ROWS).map(|row| "é".repeat(row % 9)));
    let columns: Vec<ArrayRef> = vec![Arc::new(values.collect::<Float32Array>()), Arc::new(texts)];
    let fields = vec![Field::new("x", DataType::Float32, true), Field::new("text", DataType::Utf8, false)];
    let table = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    Dataset::from_batches([table]).unwrap()
}

#[test]
fn nulls_are_what_they_are_on_the_host_or_refused() {
    let driver = driver_if_any(35);
    if !a_device() {
        return;
    }
    let cast = || col("x").cast::<f64>().scale(0.1).normalize([3.0], [7.0]);
    for every in [None, Some(4)] {
        let dataset = with_nulls(every);
        for remainder in [Remainder::Keep, Remainder::Pad] {
            let builder = |column: Col| {
                Loader::builder(&dataset)
                    .columns([column])
                    .batch_size(16)
                    .shuffle(Shuffle::Exact)
                    .remainder(remainder)
                    .threads(0)
            };
            for (column, dtype) in [
                (cast(), DType::F64),
                (cast().fill(-7.25), DType::F64),
                (col("x").fill(2.5), DType::F32),
                (col("x"), DType::F32),
            ] {
                let is_filled = column != cast() && column != col("x");
                let host = builder(column);
                same_batches(host.clone(), host.clone().cast_on_device(true), &[("x", dtype)]);
                let stays = host.clone().preload(Preload::Device);
                if every.is_none() || is_filled {
                    same_batches(host, stays, &[("x", dtype)]);
                    continue;
                }
                let error = stays.build_on_device(0).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.message().contains("column 'x' is null in row 3"), "{error}");
            }
        }
    }
    // Text travels beside a column that is cast on the device.
    let dataset = with_nulls(Some(4));
    let builder = Loader::builder(&dataset).columns([cast(), col("text")]).batch_size(16);
    let (host, mut device) =
        (builder.clone().build().unwrap(), builder.cast_on_device(true).build_on_device(0).unwrap());
    let context = device.raw_context();
    for host in host {
        let (host, there) = (host.unwrap(), device.next().unwrap().unwrap());
        same_rows::<u8>(context, "text", &host, &there);
        same_column(context, "x", &host, &there, DType::F64);
    }
    drop(device);
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn what_cannot_be_made_on_the_device_is_refused_by_name() {
    let Some(driver) = Driver::alone(36) else { return };
    let (dataset, texts) = (table(64), with_nulls(None));
    let builder = || Loader::builder(&dataset).batch_size(5);
    let map = |builder: LoaderBuilder| builder.map_batch(|_| Ok(()));
    let mixture = Mixture::builder().add("all", &dataset, 1).build().unwrap();
    let skip = OnBadRecord::Skip { limit: 1 };
    for (builder, words) in [
        (map(builder()).preload(Preload::Device), "with Preload::Device the device makes them"),
        (map(builder()).cast_on_device(true), "with cast_on_device the device makes them"),
        (builder().cast_on_device(true).pack("x", 4), "pack is for batches that the host makes"),
        (builder().cast_on_device(true).bucket_by_length("x", 4), "bucket_by_length is for"),
        (builder().preload(Preload::Device).on_bad_record(skip), "OnBadRecord::Skip is for"),
        (Loader::mixture(&mixture).cast_on_device(true), "a mixture is for"),
        (Loader::builder(&texts).preload(Preload::Device), "column 'text' is text"),
        (builder().preload(Preload::Copy), "choose the copy with Dataset::options().preload(…)"),
    ] {
        let error = builder.build_on_device(0).unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
    for (builder, words) in [
        (builder().preload(Preload::Device), "Preload::Device is for batches on a device"),
        (builder().cast_on_device(true), "cast_on_device is for batches on a device"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let error = dataset.preload(Preload::Device).unwrap_err();
    assert!(error.message().contains("LoaderBuilder::preload(Preload::Device)"), "{error}");
    let file = tempfile::NamedTempFile::with_suffix(".bin").unwrap();
    std::fs::write(file.path(), [0; 64]).unwrap();
    let region = forebay::map::Region::map(file.path(), &forebay::map::MapOptions::new()).unwrap();
    assert!(region.preload(Preload::Device).unwrap_err().message().contains("LoaderBuilder::preload"));

    // 64 rows of 8 + 19 + 64 + 48 + 20 bytes, and four batches of five.
    driver.device_memory(10_000);
    let error = builder().preload(Preload::Device).build_on_device(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("do not fit into the memory of device 0 by "), "{error}");
    drop(error);
    driver.assert_clean();
}

#[test]
fn who_waits_for_copies_is_told() {
    let Some(driver) = Driver::alone(37) else { return };
    let run = |eagerness| {
        driver.reset(1);
        driver.eagerness(eagerness);
        let builder = Loader::builder(&numbers(4000)).batch_size(10).threads(2).device_depth(3);
        let mut loader = builder.build_on_device(0).unwrap();
        loader.by_ref().for_each(|batch| batch.unwrap().synchronize().unwrap());
        loader.stats()
    };
    // A device that copies nothing before someone waits for it, and one that does at once.
    let late = run(0);
    assert!(late.batches_ahead > 0 && late.batches_late == late.batches_ahead, "{late:?}");
    let in_time = run(4000);
    assert!(in_time.batches_ahead > 0 && in_time.batches_late == 0, "{in_time:?}");
    // How much of the time the host was waited for depends on the machine; what else is said follows from the numbers.
    let verdict = |late: &forebay::DeviceStats, host: std::time::Duration| {
        let mut stats = late.clone();
        (stats.host.trainer_waiting, stats.host.trainer_helping) = (host, std::time::Duration::ZERO);
        (stats.bound(), stats.to_string())
    };
    let (bound, line) = verdict(&late, std::time::Duration::ZERO);
    assert_eq!(bound, Bound::Transfer);
    assert!(line.starts_with("transfer-bound"), "{line}");
    assert_eq!(verdict(&in_time, std::time::Duration::ZERO).0, Bound::Trainer);
    assert!(matches!(verdict(&late, 2 * late.host.elapsed).0, Bound::Cpu | Bound::Disk));
    let mut few = late.clone();
    (few.batches_ahead, few.batches_late) = (100, 5);
    assert_eq!(verdict(&few, std::time::Duration::ZERO).0, Bound::Trainer);
    few.batches_late = 6;
    assert_eq!(verdict(&few, std::time::Duration::ZERO).0, Bound::Transfer);
    driver.assert_clean();

    // Copies that wait for a trainer that lags are its own fault.
    driver.reset(2);
    driver.eagerness(0);
    let builder = Loader::builder(&numbers(4000)).batch_size(10).threads(2).device_depth(2);
    let mut loader = builder.build_on_device(0).unwrap();
    loader.by_ref().for_each(|batch| batch.unwrap().wait_on(TrainerStream::legacy_default()).unwrap());
    let lagging = loader.stats();
    assert!(lagging.batches_late < 20, "{lagging:?}");
    drop(loader);
    driver.assert_clean();
}
