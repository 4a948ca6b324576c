//! Slots: recycled memory in which batches are made and from which the trainer reads.
//!
//! A slot is written by one owner ([`SlotMut`]) and then frozen and shared ([`Slot`]). When the last share
//! of it is dropped, and not before, its memory goes back to the pool it came from. If a user keeps every
//! batch, the pool allocates more, as they asked: nothing waits for memory, so nothing can deadlock.
//!
//! The state of a slot's memory, one arrow each for a call:
//!
//! ```text
//!            take                freeze                last share dropped
//! free ──────────────▶ SlotMut ─────────▶ Slot, Slot… ───────────────────▶ free
//!   ▲                     │ dropped
//!   └─────────────────────┘
//! ```
//!
//! A free slot lies on the shelf of whoever wrote it last, and goes to them again: its lines are in their caches.
//! In steady state no call of this module allocates.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod memory;
mod pool;
mod shelf;

#[cfg(feature = "cuda")]
pub use cuda::{CudaLeaks, TrainerStream, cuda_copy_rate, cuda_devices, cuda_gather_rate, cuda_leaks};
pub use memory::Staging;
pub(crate) use memory::{Memory, SlotMemory};
pub(crate) use pool::{Slot, SlotMut, SlotPool};
