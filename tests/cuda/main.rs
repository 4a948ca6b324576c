//! Batches on a device: the same values, in the same order, whatever the driver does and whenever it does it.
//!
//! `scripts/cuda-test` runs these against the test driver. What does not need its controls runs on a GPU as well.

mod control;
mod failures;
mod made_there;

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, LargeBinaryArray, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int16Type, Schema};
use control::Driver;
use forebay::{
    Batch, Dataset, DeviceBatch, DeviceLoader, DeviceOffsets, Element, Error, ErrorKind, Loader,
    LoaderBuilder, LoaderState, Mixture, Pad, Remainder, Shuffle, Staging, TrainerStream, col, cuda_devices,
};

unsafe extern "C" {
    fn cuCtxSetCurrent(context: *mut c_void) -> c_int;
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: *mut c_void) -> c_int;
    fn cuStreamSynchronize(stream: *mut c_void) -> c_int;
}

/// Brings bytes of the device back, through the trainer's stream.
fn fetch(context: *mut c_void, batch: &DeviceBatch, at: u64, len_bytes: usize) -> Vec<u8> {
    let stream = TrainerStream::legacy_default();
    batch.wait_on(stream).unwrap();
    let mut bytes = vec![0u8; len_bytes];
    // SAFETY: the loader retains the context; there is room for the bytes until the stream is done.
    unsafe {
        assert_eq!(cuCtxSetCurrent(context), 0);
        assert_eq!(cuMemcpyDtoHAsync_v2(bytes.as_mut_ptr().cast(), at, len_bytes, stream.as_raw()), 0);
        assert_eq!(cuStreamSynchronize(stream.as_raw()), 0);
    }
    bytes
}

const ROWS: usize = 103;

/// `ROWS` rows of three numbers of `T`.
fn tensor<T: Element + arrow::datatypes::ArrowNativeType>(name: &str) -> Dataset {
    let values = (0..ROWS * 3).map(|i| T::from_f64((i * 37 % 251) as f64)).collect();
    Dataset::from_tensor(name, &[3], values).unwrap()
}

/// Columns of every element type.
fn dense() -> Dataset {
    let columns = [
        tensor::<u8>("u8"),
        tensor::<i8>("i8"),
        tensor::<u16>("u16"),
        tensor::<i16>("i16"),
        tensor::<u32>("u32"),
        tensor::<i32>("i32"),
        tensor::<u64>("u64"),
        tensor::<i64>("i64"),
        tensor::<half::f16>("f16"),
        tensor::<f32>("f32"),
        tensor::<f64>("f64"),
    ];
    columns.into_iter().reduce(|all, one| all.zip(&one).unwrap()).unwrap()
}

/// Columns whose rows may be null or differ in length.
fn ragged() -> Dataset {
    let nulls = |every: usize| NullBuffer::from_iter((0..ROWS).map(|row| !row.is_multiple_of(every)));
    let lists = (0..ROWS)
        .map(|row| (row % 7 != 3).then(move || (0..row % 5).map(move |i| Some((row * 10 + i) as i16))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flag", Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 3 == 0))))),
        ("maybe", Arc::new(Int32Array::new((0..ROWS as i32).collect(), Some(nulls(4))))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int16Type, _, _>(lists))),
        ("text", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| "é".repeat(row % 9))))),
        (
            "bytes",
            Arc::new(LargeBinaryArray::from_iter_values((0..ROWS).map(|row| vec![row as u8; row % 11]))),
        ),
    ];
    let fields = columns.iter().map(|(name, array)| match array.data_type() {
        DataType::List(_) => Field::new_list(*name, Field::new_list_field(DataType::Int16, true), true),
        other => Field::new(*name, other.clone(), *name == "maybe"),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let table = RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    Dataset::from_batches([table]).unwrap()
}

fn same_tensor<T: Element>(context: *mut c_void, name: &str, host: &Batch, device: &DeviceBatch) {
    let (here, valid_here) = host.tensor_with_validity::<T>(name).unwrap();
    let (there, valid_there) = device.tensor_with_validity::<T>(name).unwrap();
    assert_eq!(here.shape(), there.shape(), "{name}");
    assert_eq!(there.device_pointer() % 64, 0, "{name}");
    let bytes: &[u8] = bytemuck::cast_slice(here.as_slice());
    assert_eq!(fetch(context, device, there.device_pointer(), there.len_bytes()), bytes, "{name}");
    assert_eq!(valid_here.is_some(), valid_there.is_some(), "{name}");
    if let (Some(here), Some(there)) = (valid_here, valid_there) {
        assert_eq!(fetch(context, device, there.device_pointer(), there.len()), here, "{name}");
    }
    assert_eq!(host.tensor::<T>(name).is_ok(), device.tensor::<T>(name).is_ok(), "{name}");
}

fn fetch_offsets(context: *mut c_void, device: &DeviceBatch, offsets: DeviceOffsets<'_>) -> Vec<i64> {
    match offsets {
        DeviceOffsets::Narrow(at) => {
            let bytes = fetch(context, device, at.device_pointer(), at.len_bytes());
            bytes.chunks(4).map(|four| i32::from_ne_bytes(four.try_into().unwrap()).into()).collect()
        }
        DeviceOffsets::Wide(at) => {
            let bytes = fetch(context, device, at.device_pointer(), at.len_bytes());
            bytes.chunks(8).map(|eight| i64::from_ne_bytes(eight.try_into().unwrap())).collect()
        }
    }
}

fn same_lengths(context: *mut c_void, name: &str, host: &Batch, device: &DeviceBatch) {
    let offsets = fetch_offsets(context, device, device.offsets(name).unwrap());
    let lengths: Vec<_> = offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).collect();
    assert_eq!(lengths, host.lengths(name).unwrap(), "{name}");
}

fn same_rows<T: Element>(context: *mut c_void, name: &str, host: &Batch, device: &DeviceBatch) {
    let (here, there) = (host.ragged::<T>(name).unwrap(), device.ragged::<T>(name).unwrap());
    let offsets = fetch_offsets(context, device, there.offsets());
    same_lengths(context, name, host, device);
    let items = there.items();
    let bytes = fetch(context, device, items.device_pointer(), items.len_bytes());
    assert_eq!(offsets.len(), device.len() + 1, "{name}");
    for row in 0..device.num_rows() {
        let range = offsets[row] as usize * size_of::<T>()..offsets[row + 1] as usize * size_of::<T>();
        assert_eq!(&bytes[range], bytemuck::cast_slice::<T, u8>(here.row(row)), "{name}, row {row}");
    }
}

/// Whether there is a device, of any driver.
fn a_device() -> bool {
    let found = cuda_devices().unwrap_or(0) > 0;
    if !found {
        println!("skipped: there is no CUDA device");
    }
    found
}

/// The test driver if it is the driver: for tests that would run on a GPU as well, but not beside another test.
fn driver_if_any(seed: u64) -> Option<Driver> {
    Driver::alone(seed)
}

/// Both loaders of the same options.
fn pair(builder: LoaderBuilder) -> (Loader, DeviceLoader) {
    (builder.clone().build().unwrap(), builder.build_on_device(0).unwrap())
}

#[test]
fn every_element_type_arrives_as_it_is_on_the_host() {
    let driver = driver_if_any(1);
    if !a_device() {
        return;
    }
    for shuffle in [Shuffle::None, Shuffle::Exact] {
        let (host, mut device) = pair(Loader::builder(&dense()).batch_size(16).shuffle(shuffle).epochs(2));
        let context = device.raw_context();
        let mut steps = 0;
        for host in host {
            let (host, there) = (host.unwrap(), device.next().unwrap().unwrap());
            assert_eq!((host.epoch(), host.step()), (there.epoch(), there.step()));
            assert_eq!((host.num_rows(), host.len()), (there.num_rows(), there.len()));
            assert!(host.columns().eq(there.columns()));
            assert_eq!(host.delivered_bytes(), there.delivered_bytes());
            same_tensor::<u8>(context, "u8", &host, &there);
            same_tensor::<i8>(context, "i8", &host, &there);
            same_tensor::<u16>(context, "u16", &host, &there);
            same_tensor::<i16>(context, "i16", &host, &there);
            same_tensor::<u32>(context, "u32", &host, &there);
            same_tensor::<i32>(context, "i32", &host, &there);
            same_tensor::<u64>(context, "u64", &host, &there);
            same_tensor::<i64>(context, "i64", &host, &there);
            same_tensor::<half::f16>(context, "f16", &host, &there);
            same_tensor::<f32>(context, "f32", &host, &there);
            same_tensor::<f64>(context, "f64", &host, &there);
            steps += 1;
        }
        assert!(device.next().is_none());
        assert_eq!(steps, 2 * device.steps_per_epoch());
    }
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn nulls_rows_of_any_length_and_padding_arrive() {
    let driver = driver_if_any(2);
    if !a_device() {
        return;
    }
    for remainder in [Remainder::Keep, Remainder::Pad] {
        let builder = Loader::builder(&ragged()).batch_size(16).shuffle(Shuffle::Exact).remainder(remainder);
        let (host, mut device) = pair(builder);
        let context = device.raw_context();
        for host in host {
            let (host, there) = (host.unwrap(), device.next().unwrap().unwrap());
            same_tensor::<u8>(context, "flag", &host, &there);
            same_tensor::<i32>(context, "maybe", &host, &there);
            same_rows::<i16>(context, "list", &host, &there);
            same_rows::<u8>(context, "text", &host, &there);
            same_rows::<u8>(context, "bytes", &host, &there);
            assert_eq!(host.mask().is_some(), there.mask().is_some());
            if let (Some(here), Some(mask)) = (host.mask(), there.mask()) {
                assert_eq!(fetch(context, &there, mask.device_pointer(), mask.len_bytes()), here);
            }
            assert!(there.tensor::<f32>("maybe").is_err() && there.tensor::<i32>("no such").is_err());
            assert!(there.ragged::<u8>("maybe").is_err() && there.ragged::<i32>("list").is_err());
        }
        assert!(device.next().is_none());
    }
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn padded_rows_arrive_with_their_lengths() {
    let driver = driver_if_any(2);
    if !a_device() {
        return;
    }
    let columns = [
        col("list").pad(Pad::longest().value(-1.0)),
        col("bytes").pad(Pad::to(16).value(7.0)),
        col("maybe").fill(0.0),
    ];
    for remainder in [Remainder::Keep, Remainder::Pad] {
        let builder = Loader::builder(&ragged()).columns(columns.clone()).batch_size(16);
        let (host, mut device) = pair(builder.shuffle(Shuffle::Exact).remainder(remainder));
        let context = device.raw_context();
        for host in host {
            let (host, there) = (host.unwrap(), device.next().unwrap().unwrap());
            same_tensor::<i16>(context, "list", &host, &there);
            same_tensor::<u8>(context, "bytes", &host, &there);
            same_lengths(context, "list", &host, &there);
            same_lengths(context, "bytes", &host, &there);
            assert_eq!(there.offsets("maybe").unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert!(there.ragged::<i16>("list").is_err());
        }
        assert!(device.next().is_none());
    }
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn sources_of_a_mixture_arrive() {
    let driver = driver_if_any(2);
    if !a_device() {
        return;
    }
    let (few, many) = (tensor::<f32>("x").take(10), tensor::<f32>("x"));
    let mixture = Mixture::builder().add("few", &few, 1).add("many", &many, 2).build().unwrap();
    let (host, mut device) = pair(Loader::mixture(&mixture).batch_size(16).remainder(Remainder::Pad));
    let context = device.raw_context();
    for host in host {
        let (host, there) = (host.unwrap(), device.next().unwrap().unwrap());
        same_tensor::<f32>(context, "x", &host, &there);
        let (here, sources) = (host.sources().unwrap(), there.sources().unwrap());
        let bytes = fetch(context, &there, sources.device_pointer(), sources.len_bytes());
        assert_eq!(bytes, here.iter().flat_map(|source| source.to_ne_bytes()).collect::<Vec<_>>());
    }
    assert!(device.next().is_none());
    drop(device);
    driver.iter().for_each(Driver::assert_clean);
}

/// Rows that are their own numbers.
fn numbers(rows: u64) -> Dataset {
    Dataset::from_tensor("row", &[], (0..rows).collect()).unwrap()
}

fn rows_of(context: *mut c_void, batch: &DeviceBatch) -> Vec<u64> {
    let rows = batch.tensor::<u64>("row").unwrap();
    let bytes = fetch(context, batch, rows.device_pointer(), rows.len_bytes());
    bytes.chunks(8).map(|eight| u64::from_ne_bytes(eight.try_into().unwrap())).collect()
}

#[test]
fn state_counts_what_was_received_and_not_what_was_sent() {
    let driver = driver_if_any(3);
    if !a_device() {
        return;
    }
    let dataset = numbers(100);
    let builder = |threads| {
        Loader::builder(&dataset).batch_size(7).shuffle(Shuffle::Exact).seed(5).epochs(3).threads(threads)
    };
    let mut whole = builder(2).build().unwrap();
    let expected: Vec<Vec<u64>> = whole
        .by_ref()
        .map(|batch| batch.unwrap().tensor::<u64>("row").unwrap().as_slice().to_vec())
        .collect();
    for received in 0..expected.len() {
        let mut first = builder(1).device_depth(1 + received % 4).build_on_device(0).unwrap();
        let context = first.raw_context();
        let mut found: Vec<_> =
            first.by_ref().take(received).map(|batch| rows_of(context, &batch.unwrap())).collect();
        let state = LoaderState::from_json(&first.state().to_json()).unwrap();
        drop(first);
        let mut second = builder(received % 3).resume(&state).build_on_device(0).unwrap();
        found.extend(second.by_ref().map(|batch| rows_of(context, &batch.unwrap())));
        assert_eq!(found, expected);
        let (epoch, delivered, complete) = second.audit();
        assert_eq!(epoch, 2);
        assert_eq!(delivered, complete);
    }
    driver.iter().for_each(Driver::assert_clean);
}

#[test]
fn an_error_has_its_place_and_ends_nothing() {
    let Some(driver) = Driver::alone(4) else { return };
    let loader = Loader::builder(&numbers(100)).batch_size(10).threads(2).map_batch(|batch| {
        match batch.tensor_mut::<u64>("row")?.as_slice()[0] {
            30 => Err(Error::new(ErrorKind::InvalidArgument, "no thirties")),
            _ => Ok(()),
        }
    });
    let items: Vec<_> = loader.build_on_device(0).unwrap().collect();
    let failed: Vec<usize> = (0..items.len()).filter(|&i| items[i].is_err()).collect();
    assert_eq!((items.len(), failed), (10, vec![3]));
    drop(items);
    driver.assert_clean();
}

#[test]
fn batches_outlive_their_loader_and_wait_for_the_trainer() {
    let Some(driver) = Driver::alone(5) else { return };
    driver.eagerness(0);
    let mut loader =
        Loader::builder(&numbers(100)).batch_size(10).device_depth(3).build_on_device(1).unwrap();
    let batches: Vec<_> = loader.by_ref().take(5).map(Result::unwrap).collect();
    drop(loader);
    for (number, batch) in batches.iter().enumerate() {
        let expected: Vec<u64> = (0..10).map(|i| number as u64 * 10 + i).collect();
        batch.wait_on(TrainerStream::legacy_default()).unwrap();
        let at = batch.tensor::<u64>("row").unwrap().device_pointer();
        driver.expect(1, at, bytemuck::cast_slice(&expected));
    }
    drop(batches);
    driver.assert_clean();
}

#[test]
fn a_trainer_that_lags_costs_no_more_memory_and_no_value() {
    let Some(driver) = Driver::alone(6) else { return };
    // Nothing happens but where someone waits.
    driver.eagerness(0);
    let depth = 2;
    let mut loader = Loader::builder(&numbers(4000))
        .batch_size(10)
        .device_depth(depth)
        .depth(4)
        .build_on_device(0)
        .unwrap();
    let mut first = 0;
    let mut most = Default::default();
    while let Some(batch) = loader.next() {
        let batch = batch.unwrap();
        batch.wait_on(TrainerStream::legacy_default()).unwrap();
        let expected: Vec<u64> = (first..first + 10).collect();
        let at = batch.tensor::<u64>("row").unwrap().device_pointer();
        driver.expect(0, at, bytemuck::cast_slice(&expected));
        first += 10;
        most = std::cmp::max(most, (loader.stats().device_bytes, loader.stats().host.pinned_bytes));
    }
    assert_eq!(first, 4000);
    let stats = loader.stats();
    assert_eq!((stats.batches_sent, stats.bytes_sent), (400, 400 * 128));
    assert!(most.0 <= (depth as u64 + 2) * 128, "{most:?}");
    assert!(most.1 <= 16 * 4096, "{most:?}");
    drop(loader);
    driver.assert_clean();
}

#[test]
fn batches_that_are_kept_are_kept_whole_and_give_back_their_slots() {
    let Some(driver) = Driver::alone(7) else { return };
    let mut loader =
        Loader::builder(&numbers(1000)).batch_size(10).depth(2).threads(1).build_on_device(0).unwrap();
    let context = loader.raw_context();
    let kept: Vec<_> = loader.by_ref().map(Result::unwrap).collect();
    assert!(loader.stats().host.pinned_bytes < 30 * 128, "{:?}", loader.stats());
    assert_eq!(loader.stats().device_bytes, 100 * 128);
    for (number, batch) in kept.iter().enumerate() {
        assert!(rows_of(context, batch).into_iter().eq(number as u64 * 10..number as u64 * 10 + 10));
        assert!(batch.is_ready().unwrap());
    }
    drop((kept, loader));
    driver.assert_clean();
}

#[test]
fn slots_beyond_the_cap_are_pageable_and_told() {
    let Some(driver) = Driver::alone(8) else { return };
    let builder = Loader::builder(&numbers(1000)).batch_size(10).pinned_cap_bytes(300);
    let mut loader = builder.build_on_device(0).unwrap();
    let context = loader.raw_context();
    let mut held = VecDeque::new();
    for batch in loader.by_ref() {
        held.push_back(batch.unwrap());
        if held.len() > 6 {
            let batch = held.pop_front().unwrap();
            let first = batch.step() * 10;
            assert!(rows_of(context, &batch).into_iter().eq(first..first + 10));
        }
    }
    let stats = loader.stats();
    assert!(stats.host.pinned_bytes <= 300 && stats.host.unpinned_bytes > 0, "{stats:?}");
    assert!(stats.to_string().contains("bytes of slots could not be locked"), "{stats}");
    drop((held, loader));
    driver.assert_clean();
}

#[test]
fn batches_are_the_same_wherever_they_are_staged() {
    let driver = driver_if_any(22);
    let builder = |staging| {
        let dataset = dense().zip(&ragged()).unwrap();
        let builder = Loader::builder(&dataset).batch_size(10).shuffle(Shuffle::Exact).epochs(2);
        let loader = builder.remainder(Remainder::Pad).depth(3).staging(staging).build().unwrap();
        loader.map(|batch| batch.unwrap().record_batch().unwrap()).collect::<Vec<_>>()
    };
    let on_heap = builder(Staging::Heap);
    assert_eq!(on_heap.len(), 22);
    assert!(builder(Staging::Locked) == on_heap);
    if a_device() {
        assert!(builder(Staging::Cuda(0)) == on_heap);
    }
    if let Some(driver) = driver {
        driver.assert_clean();
    }
}

#[test]
fn one_loader_for_every_visible_device() {
    let Some(driver) = Driver::alone(9) else { return };
    driver.devices(4);
    let dataset = numbers(500);
    let options = |device| {
        Loader::builder(&dataset).batch_size(10).shuffle(Shuffle::Exact).seed(u64::from(device)).threads(1)
    };
    let loaders = DeviceLoader::on_every_device(options).unwrap();
    assert_eq!(loaders.iter().map(DeviceLoader::device).collect::<Vec<_>>(), [0, 1, 2, 3]);
    std::thread::scope(|scope| {
        for mut loader in loaders {
            scope.spawn(move || {
                let context = loader.raw_context();
                let mut rows: Vec<_> = Vec::new();
                for batch in loader.by_ref() {
                    rows.extend(rows_of(context, &batch.unwrap()));
                }
                let host = options(loader.device()).build().unwrap();
                let expected: Vec<u64> = host
                    .flat_map(|batch| batch.unwrap().tensor::<u64>("row").unwrap().as_slice().to_vec())
                    .collect();
                assert_eq!(rows, expected);
            });
        }
    });
    driver.assert_clean();
    driver.devices(0);
    assert!(
        DeviceLoader::on_every_device(options).unwrap_err().message().contains("no CUDA device is visible")
    );
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    let Some(driver) = Driver::alone(10) else { return };
    let dataset = numbers(10);
    let builder = || Loader::builder(&dataset).batch_size(5);
    for (builder, device, words) in [
        (builder(), 2, "no CUDA device 2"),
        (builder().device_depth(0), 0, "device_depth must be at least 1"),
        (
            builder().staging(Staging::Cuda(1)),
            0,
            "expected the staging cuda:0 for batches on device 0, found cuda:1",
        ),
        (builder().staging(Staging::Locked), 1, "found locked"),
    ] {
        let error = builder.build_on_device(device).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    assert_eq!("cuda".parse::<Staging>().unwrap(), Staging::Cuda(0));
    assert_eq!(Staging::Cuda(3).to_string().parse::<Staging>().unwrap(), Staging::Cuda(3));
    assert!("cuda:x".parse::<Staging>().is_err());
    // Locked slots alone, and a loader that lends nothing.
    let batches: Vec<_> = builder().staging(Staging::Cuda(1)).build().unwrap().map(Result::unwrap).collect();
    assert!(batches.iter().all(|batch| batch.copied_bytes() == batch.delivered_bytes()));
    drop(batches);
    driver.assert_clean();
}

#[test]
fn the_shell_measures_a_device() {
    let Some(program) = option_env!("CARGO_BIN_EXE_forebay") else {
        println!("skipped: without the feature cli there is no program");
        return;
    };
    // Not beside a test that has calls of this process fail.
    let driver = driver_if_any(20);
    if !a_device() {
        return;
    }
    drop(driver);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.npy");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(
        format!("{:<117}\n", "{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 64), }").bytes(),
    );
    bytes.extend((0..64_000).map(|i| i as u8));
    std::fs::write(&file, bytes).unwrap();
    let bench = |device: &str, more: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(["bench", "--epochs", "2", "--batch-size", "100", "--device", device, "--json"]);
        command.args(more).arg(&file).output().unwrap()
    };
    let output = bench("0", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["rows"].as_u64(), line["batches"].as_u64()), (Some(2000), Some(20)), "{line}");
    assert_eq!(line["batch_bytes"].as_u64(), Some(6400), "{line}");
    assert!(line["ceiling_gb_per_s"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(line["kernel_gather_gb_per_s"], serde_json::Value::Null, "{line}");
    // Rows stay on the device, and their numbers travel.
    let output = bench("0", &["--preload", "device", "--kernels"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["rows"].as_u64(), line["batch_bytes"].as_u64()), (Some(2000), Some(800)), "{line}");
    assert!(line["kernel_gather_gb_per_s"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(line["ceiling_gb_per_s"], serde_json::Value::Null, "{line}");
    let output = bench("99", &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no CUDA device 99"));
}

#[test]
fn loaders_and_batches_go_from_thread_to_thread() {
    fn goes<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    goes::<DeviceLoader>();
    is_shared::<DeviceBatch>();
    is_shared::<TrainerStream>();
}
