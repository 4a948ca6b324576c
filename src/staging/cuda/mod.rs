//! Slots that a GPU fetches from by itself, and the way of a batch to it.
//!
//! A slot of page-locked memory ([`Pins`]) goes to the device in one asynchronous copy, on a stream of our own
//! ([`Uplink::send`]). Behind it, on the same stream, the device may gather rows that stay on it, and convert elements
//! ([`Work`]), by the kernels of `kernels.ptx`. What a copy reads and writes is held by [`Sent`] until the event behind the copy has passed:
//!
//! ```text
//!                      send                    event passed               dropped, the trainer's events passed
//! slot     Slot ──────────────▶ in flight ─────────────────────▶ free
//! buffer   idle ──────────────▶ in flight ─────────────────────▶ ready ───────────────────────────────────────▶ idle
//! ```
//!
//! # Invariants
//!
//! 1. The share of a slot in flight is dropped after its event has passed, and not before; no slot is written while a share
//!    of it is left. The event belongs to the device buffer of the copy, and a buffer has one copy at a time: whoever waits for
//!    an event cannot meet one that was recorded anew for another batch.
//! 2. A device buffer is written again only after the events that were recorded, as its batch was dropped, on every stream
//!    that waited for it: asked for by the CPU, or else waited for by our stream, so that neither thread nor memory runs away.
//! 3. Freeing waits first. If the driver does not answer whether a copy is done, what it touches is never freed:
//!    [`cuda_leaks`] counts it. Nothing here panics in a destructor.
//! 4. A call that may have queued work and failed counts as having queued it: the whole stream is waited for.
//!
//! 5. What stays on a device ([`Residence`]) is freed after every batch that may be read from it: as a buffer is, after the
//!    trainer's events.
//! 6. A kernel reads and writes what [`Load`] was found to lie in, the numbers of rows included.
//!
//! Deliberately absent: contexts of our own. The primary context of a device is the one every framework uses.

mod buffer;
mod ceiling;
mod context;
mod device_memory;
mod faults;
mod gather_rate;
mod kernels;
mod leaks;
mod load;
mod pinned;
mod stream;
mod sys;
mod uplink;

#[cfg(test)]
#[path = "../../../tests/cuda/control.rs"]
pub(crate) mod driver;
#[cfg(test)]
mod tests;

pub use ceiling::cuda_copy_rate;
pub(crate) use context::Context;
pub use context::cuda_devices;
pub use gather_rate::cuda_gather_rate;
pub use leaks::{CudaLeaks, cuda_leaks};
pub(crate) use load::{At, Cast, ChannelTable, ElementType, Gather, Load, Rows, Work};
pub(crate) use pinned::{Pinned, Pins};
#[cfg(test)]
pub(crate) use stream::Stream;
pub use stream::TrainerStream;
pub(crate) use uplink::{Residence, Sent, Uplink};
