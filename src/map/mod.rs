//! Bytes to read from: a file mapped into memory, or memory of our own, behind one type, [`Region`].
//!
//! # Two doors
//!
//! A `&[u8]` promises that its bytes do not change while it lives. Memory of our own keeps that promise.
//! A mapped file does not: any process may write to it or cut it short, and no lock or permission
//! prevents that. So a [`Region`] has two doors.
//!
//! - **The copying door** needs no promise. [`Region::copy_out`] and [`Region::read`] copy bytes of the
//!   region through raw pointers into memory of the caller's; no reference to the map is ever formed.
//!   What is checked afterwards is the copy, and it is used from the copy: a length that was read
//!   once cannot grow between its check and its use.
//! - **The zero-copy door** needs a token, [`Immutable`], which only `unsafe` code can make: its maker
//!   promises that nobody changes or truncates the files while they are mapped. With it,
//!   [`Region::bytes`] and [`Region::buffer`] give the map itself, as a slice or as Arrow buffers.
//!
//! Memory of our own ([`Region::from_vec`], [`Region::from_buffer`], [`Preload::Copy`],
//! [`Preload::Shared`]) passes the second door without a token: [`Region::owned_bytes`], [`Region::owned_buffer`]. Code that serves both takes
//! [`Region::lend`] where it gives something, and copies where it does not.
//!
//! ```
//! use forebay::map::{Immutable, MapOptions, Region};
//!
//! # fn main() -> forebay::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("digits.bin");
//! std::fs::write(&path, b"0123456789").unwrap();
//!
//! let region = Region::map(&path, &MapOptions::new())?;
//! assert_eq!(region.read(3..6)?, b"345");                      // copied: always possible
//! assert!(region.lend(3..6).is_none());                        // lent: not without a promise
//!
//! // SAFETY: the file lies in a temporary folder that nobody else knows.
//! let promise = unsafe { Immutable::promise() };
//! assert_eq!(region.buffer(3..6, promise)?.as_slice(), b"345"); // where it lies in the map
//! # Ok(())
//! # }
//! ```
//!
//! Without the token there is no way to a slice or a buffer over a mapped file:
//!
//! ```compile_fail,E0061
//! # let region = forebay::map::Region::map("digits.bin", &Default::default()).unwrap();
//! let bytes: &[u8] = region.bytes();
//! ```
//!
//! ```compile_fail,E0061
//! # let region = forebay::map::Region::map("digits.bin", &Default::default()).unwrap();
//! let buffer = region.buffer(0..4).unwrap();
//! ```
//!
//! ```compile_fail,E0308
//! # let region = forebay::map::Region::map("digits.bin", &Default::default()).unwrap();
//! let bytes: &[u8] = &region;
//! ```
//!
//! ```compile_fail,E0608
//! # let region = forebay::map::Region::map("digits.bin", &Default::default()).unwrap();
//! let first: u8 = region[0];
//! ```
//!
//! ```compile_fail,E0277
//! # let region = forebay::map::Region::map("digits.bin", &Default::default()).unwrap();
//! fn bytes_of<T: AsRef<[u8]>>(of: &T) -> &[u8] { of.as_ref() }
//! let bytes = bytes_of(&region);
//! ```
//!
//! And there is no token without `unsafe`:
//!
//! ```compile_fail,E0133
//! let promise = forebay::map::Immutable::promise();
//! ```
//!
//! ```compile_fail,E0423
//! let promise = forebay::map::Immutable(());
//! ```
//!
//! # A file that changes nevertheless
//!
//! A page that can no longer be read (the file was cut short, the disk failed) arrives as the signal SIGBUS,
//! which by default ends the process. The [`Guard`] turns it into zeros and a note, and [`Region::check`]
//! turns the note into an [`Error`](crate::Error). So the rule of the copying door is: **copy, then check,
//! then believe**. `check` looks at the file's length as well, because the part of a page beyond the end of a
//! file reads as zeros without any signal. Many copies may share one check, as long as none is believed
//! before it.
//!
//! What `check` does not see: bytes overwritten in place, and a file that shrank and grew back before
//! any missing page was read. Such copies are wrong values and nothing worse; checksums find them.
//!
//! # Deliberately absent
//!
//! Writing through a map (a full disk would be a signal), maps of a part of a file, growing maps,
//! and files that are no regular files: their bytes cannot be read twice.

mod advice;
mod available;
mod fork;
mod guard;
mod pages;
mod preload;
mod read;
mod region;
mod residence;
mod same_file;
#[cfg(target_os = "linux")]
mod shared;
#[cfg(target_os = "linux")]
mod sigbus;
#[cfg(target_os = "linux")]
mod table;
mod usage;
mod window;

pub use advice::Advice;
pub(crate) use available::available_bytes;
pub(crate) use fork::Birthplace;
pub use guard::Guard;
pub(crate) use pages::Pages;
pub use preload::Preload;
pub use region::{Immutable, MapOptions, Region};
pub use residence::Residence;
pub(crate) use same_file::is_at;
pub use usage::ProcessUsage;
pub(crate) use window::{Window, join};
