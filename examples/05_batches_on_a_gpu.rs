//! Batches in the memory of a GPU, used by another crate: cudarc stands for whatever the trainer computes with.
//!
//! Everything lies in the primary context of the device, in which cudarc, candle, burn and tch compute as well, so that a pointer
//! of a batch is a pointer of theirs. Three rules make it safe:
//!
//! 1. `wait_on` the stream the work goes to, before the work is queued: the stream waits for the copy, the CPU does not.
//! 2. Queue on that stream alone, and drop the batch when all is queued: its memory waits for what the stream was given.
//! 3. Never free the pointer: it is lent. A `CudaSlice` made of it is given up with `leak`, whatever goes wrong meanwhile.
//!
//! ```sh
//! cargo run --release --features cuda --example 05_batches_on_a_gpu
//! ```

use std::ops::Deref;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr};
use forebay::{Dataset, DeviceTensor, Element, Loader, Shuffle, TrainerStream, cuda_leaks};

const IMAGES: usize = 10_000;
const PIXELS: usize = 28 * 28;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Every pixel of an image is its label, so that both can be checked against each other.
    let labels: Vec<u8> = (0..IMAGES).map(|image| (image % 10) as u8).collect();
    let pixels = labels.iter().flat_map(|&label| [label; PIXELS]).collect();
    let dataset = Dataset::from_tensor("image", &[28, 28], pixels)?.zip(&Dataset::from_tensor(
        "label",
        &[],
        labels,
    )?)?;

    let gpu = CudaContext::new(0)?;
    let stream = gpu.new_stream()?;
    // SAFETY: a stream of device 0's primary context, which lives until the end of `main`; the batches are dropped before.
    let trainer = unsafe { TrainerStream::from_raw(stream.cu_stream().cast()) };

    let mut loader = Loader::builder(&dataset)
        .batch_size(256)
        .shuffle(Shuffle::Exact)
        .seed(42)
        .epochs(2)
        .build_on_device(0)?;
    let mut wrong = 0;
    for batch in &mut loader {
        let batch = batch?;
        batch.wait_on(trainer)?;
        let images = lend(&stream, batch.tensor::<u8>("image")?);
        let labels = lend(&stream, batch.tensor::<u8>("label")?);
        // Here a trainer launches its kernels on `stream`. This one brings the batch back and looks at it.
        let (pixels, expected) = (stream.clone_dtoh(&*images)?, stream.clone_dtoh(&*labels)?);
        stream.synchronize()?;
        for (image, label) in pixels.chunks(PIXELS).zip(expected) {
            wrong += usize::from(image.iter().any(|&pixel| pixel != label));
        }
    }
    println!("{}: {} images on the device, {wrong} of them wrong", loader.device_name()?, 2 * IMAGES);
    println!("{}", loader.stats());
    drop(loader);
    assert!(wrong == 0 && cuda_leaks().is_empty(), "{}", cuda_leaks());
    Ok(())
}

/// A tensor of a batch as cudarc sees memory, which is still the batch's: not freed when this is dropped.
struct Lent<T>(Option<CudaSlice<T>>);

impl<T> Deref for Lent<T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        self.0.as_ref().expect("there until the drop")
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        self.0.take().map(CudaSlice::leak);
    }
}

fn lend<T: Element + DeviceRepr>(stream: &Arc<CudaStream>, tensor: DeviceTensor<'_, T>) -> Lent<T> {
    // SAFETY: `len` elements lie at the pointer, initialised, for everything queued on a stream that waited for the batch; `Lent` does
    // not free them.
    Lent(Some(unsafe { stream.upgrade_device_ptr(tensor.device_pointer(), tensor.len()) }))
}
