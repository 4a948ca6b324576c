//! The classic input pipeline in its pieces: what reads work units from a queue, and what makes columns of records.
//!
//! ```text
//! names of files ──▶ queue ──▶ reader ──▶ (key, record) ──▶ decoder ──▶ RecordBatch
//! ```
//!
//! - [`reader`]: a reader takes the name of a file from a queue, reads its records one by one, and then takes the next.
//! - [`decode`]: functions from records to Arrow columns.
//!
//! These are for sources whose length nobody knows. Where the files are there to be opened, a
//! [`Dataset`](crate::Dataset) and a [`Loader`](crate::Loader) know more: an exact order, any place in it at once, and
//! state that costs nothing.
#![forbid(unsafe_code)]

pub mod reader;

pub mod decode;
