//! NPZ, NumPy's format for several arrays: a zip archive of `.npy` files.
//!
//! ```text
//!     ┌────────────────────────┬─────────────────┬────────────────────────┬─────────────────┬─── ─ ─ ────────────────┐
//!     │ local header "x.npy"   │ an NPY file     │ local header "y.npy"   │ an NPY file     │ entries, end record    │
//!     └────────────────────────┴─────────────────┴────────────────────────┴─────────────────┴─── ─ ─ ────────────────┘
//! ```
//!
//! Each array is a column, called like its member without `.npy`, and the first dimension counts the rows, of which
//! all arrays must have as many. `numpy.savez` stores arrays as they are: their rows are read where they lie in the
//! archive. `numpy.savez_compressed` deflates them: they are [inflated](inflate_member) into memory of our own,
//! and only the beginning of each is inflated before that, for its header.
//!
//! How the archive is read is explained in `zip`. Deliberately absent: what [`npy`] leaves out, members that
//! are no arrays, and checking the CRC of stored arrays, which would read all of them.
//!
//! Source: [`numpy.savez`].
//!
//! [`numpy.savez`]: https://numpy.org/doc/stable/reference/generated/numpy.savez.html
#![forbid(unsafe_code)]

mod zip;

use std::collections::HashSet;

pub(crate) use zip::Member;

use super::npy;
use super::tensor::TensorFile;
use crate::error::{Error, Result};
use crate::map::Region;

/// How many arrays a message lists.
const LISTED: usize = 8;

/// An array of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NpzArray {
    /// The name of its column.
    pub(crate) name: String,
    pub(crate) member: Member,
    /// Where the array lies: in the archive, or, for a deflated member, in its inflated bytes. Checked against either.
    pub(crate) tensor: TensorFile,
}

/// Whether a file that begins with `head` is a zip archive, as one of arrays is; its name says which it is.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    zip::looks_like(head)
}

/// The arrays of the archive `region`, in the order of its entries; all have the same number of rows.
///
/// # Errors
///
/// `Malformed` and `Unsupported` as for a zip archive and for NPY files, with the name of the array; `Unsupported` for a
/// member that is no array; `Malformed` for two of one name, and for an archive of none; `Mismatch` for arrays of
/// different numbers of rows, which are listed.
pub(crate) fn arrays(region: &Region) -> Result<Vec<NpzArray>> {
    let members = zip::members(region)?;
    if members.is_empty() {
        return Err(Error::malformed("expected an archive of arrays, found one of no members"));
    }
    let mut names = HashSet::new();
    let mut arrays = Vec::with_capacity(members.len());
    for member in members {
        let Some(name) = member.name.strip_suffix(".npy").map(str::to_owned) else {
            return Err(Error::unsupported(format!("expected arrays called *.npy, found '{}'", member.name))
                .at_byte(member.start));
        };
        if !names.insert(name.clone()) {
            return Err(Error::malformed(format!(
                "expected one array of each name, found a second '{name}'"
            ))
            .at_byte(member.start));
        }
        let tensor = tensor(region, &member).map_err(|e| {
            Error::new(e.kind(), format!("array '{name}': {}", e.message()))
                .at_byte(member.start)
                .with_source(e)
        })?;
        arrays.push(NpzArray { name, member, tensor });
    }
    if arrays.iter().any(|array| array.tensor.num_rows != arrays[0].tensor.num_rows) {
        let listed =
            arrays.iter().take(LISTED).map(|array| format!("'{}' of {}", array.name, array.tensor.num_rows));
        let listed: Vec<_> = listed.collect();
        let more = arrays.len().saturating_sub(LISTED);
        return Err(Error::mismatch(format!(
            "expected arrays of one number of rows, found {}{}",
            listed.join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() }
        )));
    }
    Ok(arrays)
}

/// The bytes of the NPY file that a member is, checked against its length and CRC.
///
/// # Errors
///
/// `Malformed` where the compression breaks off and for another length; `Mismatch` for another CRC.
pub(crate) fn inflate_member(region: &Region, member: &Member) -> Result<Vec<u8>> {
    member.content(region)
}

/// Where the array of `member` lies.
fn tensor(region: &Region, member: &Member) -> Result<TensorFile> {
    let header_len = npy::header_len(&member.prefix(region, npy::PREFIX_BYTES)?)?;
    let mut tensor = npy::parse(&member.prefix(region, header_len)?, member.len)?;
    if !member.is_deflated {
        tensor.offset_bytes += member.start;
        tensor.check(region.len_bytes())?;
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests;
