//! Memory of a device that stays where it is until it is dropped.

use std::sync::Arc;

use super::context::{Context, check};
use super::{leaks, sys};
use crate::error::{Error, ErrorKind, Result};

/// Memory of a device. Whoever drops it knows that nothing reads or writes it any more.
pub(super) struct DeviceMemory {
    pub(super) at: sys::DevicePointer,
    pub(super) len_bytes: usize,
    context: Arc<Context>,
    is_left: bool,
}

impl DeviceMemory {
    /// `len_bytes` bytes, at least one; of no particular content.
    pub(super) fn new(context: &Arc<Context>, len_bytes: usize) -> Result<Self> {
        let _current = context.enter()?;
        let mut at = 0;
        // SAFETY: a place for the answer.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut at, len_bytes) })?;
        Ok(DeviceMemory { at, len_bytes, context: context.clone(), is_left: false })
    }

    /// As [`new`](DeviceMemory::new), for columns beside which batches take `beside_bytes`.
    ///
    /// # Errors
    ///
    /// `TooLarge`, with the bytes that are missing, if the device has not so much memory free.
    pub(super) fn for_columns(context: &Arc<Context>, len_bytes: usize, beside_bytes: usize) -> Result<Self> {
        let (free, total) = context.memory()?;
        let missing = len_bytes.saturating_add(beside_bytes).saturating_sub(free);
        if missing > 0 {
            return Err(too_large(context, len_bytes, beside_bytes, (free, total), missing));
        }
        DeviceMemory::new(context, len_bytes).map_err(|error| match error.kind() {
            ErrorKind::TooLarge => Error::new(
                ErrorKind::TooLarge,
                format!(
                    "device {} has no {len_bytes} bytes in one piece for the columns, though {free} of {total} were free: select \
                     fewer columns or rows, or leave out Preload::Device",
                    context.ordinal()
                ),
            ),
            _ => error,
        })
    }

    /// Leaves the memory where it is.
    pub(super) fn leak(&mut self, because: &Error) {
        if !self.is_left {
            self.is_left = true;
            leaks::device(self.len_bytes, because);
        }
    }
}

fn too_large(
    context: &Context,
    len_bytes: usize,
    beside_bytes: usize,
    (free, total): (usize, usize),
    missing: usize,
) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "the columns do not fit into the memory of device {} by {missing} bytes: they take {len_bytes} and their batches \
             {beside_bytes}, and {free} of {total} are free. Select fewer columns or rows, lower batch_size, or leave out \
             Preload::Device",
            context.ordinal()
        ),
    )
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let freed = self.context.enter_at_last().and_then(|_current| {
            // SAFETY: memory of `cuMemAlloc`, which nobody uses any more.
            check("cuMemFree", unsafe { sys::cuMemFree_v2(self.at) })
        });
        if let Err(error) = freed {
            leaks::device(self.len_bytes, &error);
        }
    }
}
