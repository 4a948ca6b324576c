//! Which row comes when: the order of an epoch, cut into steps, and the proof-reading of it.
//!
//! ```text
//! seed, epoch ──epoch_key──▶ key ──Permutation──▶ position → row      single.rs, permutation.rs, block.rs
//! datasets, weights ──▶ turns of each, and in its turns its order          interleaving.rs, mixture.rs
//! position ◀── step × batch size ◀── Steps ◀── batch number           steps.rs, partition.rs
//! lengths ──bucket_by_length──▶ rows of about one length together     bucket.rs
//! rows delivered ──Audit──▶ each once?                                audit.rs
//! seed, epoch, row ──RowRng──▶ random numbers of the row              rng.rs
//! ```
//!
//! Everything here is a pure function of a few numbers: no memory that grows with the number of rows, no
//! state, no I/O. So any thread can compute any part of any epoch, and seeking to a position costs no more
//! than reading there.
//!
//! Invariants:
//! - An [`EpochOrder`] of one dataset is a bijection of `0..n`: every row at exactly one position. In a mixture, so is every
//!   pass through a component.
//! - It depends on the number of rows, the [`Shuffle`], the seed and the epoch, in a mixture on the weights, and on nothing
//!   else.
//! - An order, once released, never changes: golden vectors in `tests/order.rs` pin it.
//!
//! Deliberately absent: array shuffles (O(n) memory before the first batch) and cryptographic strength
//! (the orders are statistically random, and whoever wants to predict one can).
#![forbid(unsafe_code)]

mod key;

mod feistel;
mod table;

mod permutation;

mod block;
mod single;

mod interleaving;
mod mixture;

mod bucket;

mod order;

mod partition;

mod steps;

mod audit;

mod rng;

pub use audit::Audit;
pub use bucket::bucket_by_length;
pub use interleaving::Interleaving;
pub use key::epoch_key;
pub use order::{EpochOrder, Order, Shuffle};
pub use partition::Partition;
pub use permutation::Permutation;
pub use rng::RowRng;
pub use steps::{Remainder, Steps};
