//! Feeds training loops: datasets are memory-mapped into Arrow buffers, shuffled exactly, gathered once by parallel
//! reader threads through lock-free rings, and kept ready in host memory for the GPU.
//!
//! A forebay is the pool just above a turbine: water stands there, ready, so the turbine never waits.
//!
//! ```text
//! files            CSV · TFRecord · fixed binary · idx · npy · tar · tokens · Parquet · Arrow IPC
//!   │ map          one Region per file: read-only mmap, or memory we own              map
//!   ▼
//! records          where each record lies in the Region; how it fills its columns     format
//!   ▼
//! shards           rows addressable as (shard, row); one table over many files        dataset
//!   ▼
//! order            position → row: exact shuffle, blocks, mixture                     sampler
//!   ▼
//! tickets          worker threads claim batch numbers from lock-free rings            queue, loader
//!   ▼
//! gather           rows copied once, or decoded, into a free slot                     batch
//!   ▼
//! slots            recycled memory: heap, locked, or CUDA-pinned                      staging
//!   ▼
//! trainer          Batch: typed tensor views, Arrow RecordBatch                       loader
//! ```
//!
//! Beside it, for rows that have no numbers: the queues, readers and coordinators of the classic input pipeline, in
//! [`coordinator`].
//!
//! # Example
//!
//! ```
//! use forebay::{Dataset, Loader, Shuffle, col};
//!
//! # fn main() -> forebay::Result<()> {
//! let images = Dataset::from_tensor("image", &[28, 28], vec![128u8; 100 * 784])?;
//! let labels = Dataset::from_tensor("label", &[], (0..100i64).map(|i| i % 10).collect())?;
//! let (train, test) = images.zip(&labels)?.split(0.9, 7)?;
//! let mut loader = Loader::builder(&train)
//!     .columns([col("image").cast::<f32>().scale(1.0 / 255.0), col("label")])
//!     .batch_size(32)
//!     .shuffle(Shuffle::Exact)
//!     .seed(42)
//!     .epochs(10)
//!     .build()?;
//! for batch in &mut loader {
//!     let batch = batch?;
//!     let x = batch.tensor::<f32>("image")?; // &[f32] and its shape [32, 28, 28]; cast from u8 in the gather
//!     let y = batch.tensor::<i64>("label")?; // [32]
//!     assert_eq!(x.shape()[0], y.as_slice().len());
//! }
//! let state = loader.state().to_json(); // go on from here another day: LoaderBuilder::resume
//! # assert_eq!((test.len(), forebay::LoaderState::from_json(&state)?.epoch()), (10, 10));
//! # Ok(())
//! # }
//! ```
//!
//! # Glossary
//!
//! - *record*: what a file holds one after another; *index file*: where the records of a file begin, kept beside it;
//!   *row*: a record as the dataset counts it; *column*: one value of
//!   each row; *shard*: a file of a dataset; *chunk*: a run of rows of a shard whose columns lie in one piece each, such
//!   as a record batch; *piece*: one column of one chunk.
//! - *mapped*: read from where it lies in a file; *parsed*: decoded a record at a time; *chunked*: decoded a whole chunk at
//!   a time, before a row of it can be read.
//! - *position*: a place in an epoch's order; *epoch*: one pass over all rows; *step*: the number of a batch in its
//!   epoch; *batch*: the rows of one step.
//! - *mixture*: datasets that take turns by weight; *component*: one of them; *pass*: one time through a component.
//! - *ticket*: the right and duty to make one batch; *slot*: the memory a batch is made in; *staging*: the kind of that
//!   memory; *pinned*: memory that is never moved or swapped out.
//! - *region*: an immutable range of bytes with an owner, mapped or in memory; *lent*: handed out where it lies instead
//!   of copied.
//!
//! # Features
//!
//! - `cli` (default): the helper binary `forebay`. A library user turns it off: `default-features = false`.
//! - `cuda`: slots that a CUDA driver has locked (`Staging::Cuda`), and batches in the memory of a GPU (`DeviceLoader`), cast
//!   there (`LoaderBuilder::cast_on_device`) or gathered from columns that stay there (`Preload::Device`).
//!   To build it, the library `libcuda.so` has to be found: it comes with NVIDIA's driver, and as a stub with the CUDA
//!   toolkit in `/usr/local/cuda`; elsewhere set `CUDA_LIBRARY_PATH` to the folder whose `lib64/` holds it, a link to the
//!   driver's own if there is no other. ("Could not find a cuda installation" means it was not found.) To run it, the
//!   driver's `libcuda.so.1`.

// Every snippet of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod error;

pub mod map;
pub mod queue;
pub mod sampler;
mod staging;

mod layout;

pub mod format;

pub mod dataset;

mod batch;

pub mod coordinator;

mod loader;

pub mod convert;

pub use batch::{
    BadRecord, Batch, BatchMut, Col, OnBadRecord, Output, Pad, Ragged, RaggedText, Row, RowWriter, Tensor,
    TensorColumns, TensorMut, col,
};
pub use dataset::{Dataset, Mixture, MixtureBuilder, OpenOptions, Source, Weight};
pub use error::{Error, ErrorKind, Location, Result};
pub use layout::{ColumnKind, DType, Element, tensor_field};
pub use loader::{
    Bound, Loader, LoaderBuilder, LoaderState, PageStats, RecordInput, RecordInputBuilder, Residency, Stats,
};
#[cfg(feature = "cuda")]
pub use loader::{DeviceBatch, DeviceLoader, DeviceOffsets, DeviceRagged, DeviceStats, DeviceTensor};
pub use map::{Guard, Immutable, Preload};
pub use sampler::{Partition, Remainder, Shuffle};
pub use staging::Staging;
#[cfg(feature = "cuda")]
pub use staging::{CudaLeaks, TrainerStream, cuda_copy_rate, cuda_devices, cuda_gather_rate, cuda_leaks};
