//! How the rows of a column are read, and why, in words: for `inspect`.
//!
//! ```text
//! in memory    memory we own, before a row is asked for
//! mapped       from where they lie in the file
//! parsed       found by their starts, decoded one by one
//! chunked      a whole file, or a column of a whole chunk, is decoded before the first of them
//! ```
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use super::{Piece, RecordMap, Values};
use crate::map::Region;

/// The way to the rows of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    InMemory,
    Mapped,
    Parsed,
    Chunked,
}

/// The way to the rows of a column, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    way: Way,
    /// Empty where the way says it all.
    why: Cow<'static, str>,
}

impl Access {
    pub(crate) fn new(way: Way, why: impl Into<Cow<'static, str>>) -> Self {
        Access { way, why: why.into() }
    }

    /// The way through `region`, which holds rows as they are.
    fn through(region: &Region, why: &'static str) -> Self {
        match (region.is_owned(), region.path()) {
            (false, _) => Access::new(Way::Mapped, why),
            (true, Some(_)) if why.is_empty() => Access::new(Way::InMemory, "a copy of the file"),
            (true, _) => Access::new(Way::InMemory, why),
        }
    }

    fn of_records(map: &RecordMap) -> Self {
        Access::new(Way::Parsed, format!("{}: each record is decoded when it is read", map.what()))
    }

    /// The same way, and one reason more, before the others.
    pub(crate) fn because(self, why: &str) -> Self {
        let why = if self.why.is_empty() { why.to_owned() } else { format!("{why}; {}", self.why) };
        Access::new(self.way, why)
    }

    /// The way to the same rows of a file that is inflated first, from `compression`, a name; what it inflates to is kept,
    /// or made again when a row of it is asked for.
    pub(crate) fn inflated(self, compression: &str, is_kept: bool) -> Self {
        let kept = if is_kept { "kept in memory" } else { "again when it had to make room" };
        let then = match self.way {
            _ if self.why.is_empty() => "",
            Way::Parsed => "; then parsed as ",
            Way::InMemory | Way::Mapped | Way::Chunked => "; ",
        };
        Access::new(Way::Chunked, format!("{compression}: inflated whole, {kept}{then}{}", self.why))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.way {
            Way::InMemory => "in memory",
            Way::Mapped => "mapped",
            Way::Parsed => "parsed",
            Way::Chunked => "chunked",
        })?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

impl Piece {
    /// How its rows are read.
    pub(crate) fn access(&self) -> Access {
        match &self.values {
            Values::Dense { span, .. } => Access::through(span.region(), ""),
            Values::Bits { bits, .. } => Access::through(bits.span.region(), ""),
            Values::Runs { items, .. } => Access::through(items.region(), ""),
            Values::Extents { region, .. } => Access::through(region, ""),
            Values::Scattered { span, swap: true, .. } => {
                Access::through(span.region(), "big-endian: bytes are swapped in the copy")
            }
            Values::Scattered { span, .. } => {
                Access::through(span.region(), "column-major: elements are collected in the copy")
            }
            Values::Parsed { records, .. } => Access::of_records(records.map()),
            Values::Inflated { file, .. } => Access::of_records(&file.map),
            Values::Array(_) => Access::new(Way::InMemory, "values inside its lists or tensors are null"),
            Values::Encoded { reason, .. } => Access::new(Way::Chunked, *reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_followed_by_its_reasons() {
        let mapped = Access::new(Way::Mapped, "");
        assert_eq!(mapped.to_string(), "mapped");
        let with_one = mapped.because("members lie in the archive");
        assert_eq!(with_one.to_string(), "mapped (members lie in the archive)");
        assert_eq!(
            with_one.clone().because("stored").to_string(),
            "mapped (stored; members lie in the archive)"
        );
        assert_eq!(
            with_one.inflated("gzip", true).to_string(),
            "chunked (gzip: inflated whole, kept in memory; members lie in the archive)"
        );
        let parsed = Access::new(Way::Parsed, "CSV: each record is decoded when it is read");
        assert_eq!(parsed.to_string(), "parsed (CSV: each record is decoded when it is read)");
        assert_eq!(
            parsed.inflated("zlib", false).to_string(),
            "chunked (zlib: inflated whole, again when it had to make room; then parsed as CSV: each record is decoded \
             when it is read)"
        );
    }

    #[test]
    fn memory_and_copies_of_files_are_told_from_maps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [0; 8]).unwrap();
        let map = Region::map(&path, &Default::default()).unwrap();
        let copy = map.preload(crate::map::Preload::Copy).unwrap();
        let texts = [map, copy, Region::from_vec(vec![0; 8])].map(|r| Access::through(&r, "").to_string());
        assert_eq!(texts, ["mapped", "in memory (a copy of the file)", "in memory"]);
    }
}
