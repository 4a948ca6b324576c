//! How files are opened.
#![forbid(unsafe_code)]

use crate::error::Result;
use crate::format::FixedSpec;
use crate::map::{Guard, Immutable, MapOptions, Preload};

use super::{Dataset, Source};

/// Options for opening a dataset; [`Dataset::open`] takes all defaults.
///
/// ```no_run
/// use forebay::{Dataset, format::FixedSpec};
///
/// # fn main() -> forebay::Result<()> {
/// let spec: FixedSpec = "label:u8,image:u8[3,32,32]".parse()?;
/// let cifar = Dataset::options().fixed(spec).open("cifar-10/data_batch_*.bin")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OpenOptions {
    pub(super) fixed: Option<FixedSpec>,
    pub(super) column_name: String,
    pub(super) map: MapOptions,
    pub(super) preload: Preload,
    pub(super) decode_budget_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            fixed: None,
            column_name: "data".to_owned(),
            map: MapOptions::default(),
            preload: Preload::No,
            decode_budget_bytes: 1 << 30,
        }
    }
}

impl OpenOptions {
    /// The files hold records of one length, laid out as `spec` says. Such files carry no mark by which
    /// they could be recognised.
    pub fn fixed(mut self, spec: FixedSpec) -> Self {
        self.fixed = Some(spec);
        self
    }

    /// The name of the column of files that hold one unnamed array (idx, npy). Default: `data`.
    pub fn column_name(mut self, name: impl Into<String>) -> Self {
        self.column_name = name.into();
        self
    }

    /// Opens the zero-copy door: batches of contiguous rows are lent from the map instead of copied.
    ///
    /// The promise is made where the token is: [`Immutable::promise`].
    pub fn immutable(mut self, promise: Immutable) -> Self {
        self.map = self.map.promise(promise);
        self
    }

    /// Whether a file that is cut short while it is mapped becomes an error ([`Guard::On`], the default on
    /// Linux) or a SIGBUS.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.map = self.map.guard(guard);
        self
    }

    /// What is brought into memory before the first batch. Default: nothing.
    pub fn preload(mut self, preload: Preload) -> Self {
        self.preload = preload;
        self
    }

    /// Bytes that chunks which must be decoded (compressed Arrow, types without a kernel) may take once
    /// decoded. Default: 1 GiB.
    pub fn decode_budget_bytes(mut self, bytes: u64) -> Self {
        self.decode_budget_bytes = bytes;
        self
    }

    /// Opens `source`: see [`Dataset::open`].
    pub fn open(&self, source: impl Source) -> Result<Dataset> {
        super::open::open(&source.into_paths(), self)
    }
}
