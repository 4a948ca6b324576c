//! Where a reader is, to go on from there.
#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stream::Stream;
use crate::error::{Error, Result};

/// The version of the state this crate writes, and the only one it reads.
const VERSION: u32 = 1;

/// What a reader has in hand, and how much it did.
///
/// A few lines of JSON: see [`Reader::state`](super::Reader::state) and [`Reader::restore`](super::Reader::restore). The
/// queue of work units is not in it: whoever saves a pipeline saves that beside it.
///
/// ```text
/// {"version":1,"reader":"lines, 1 of header, compression none","records":1,"work_units":0,"partial_bytes":0,
///  "unit":{"work":"my_test.csv","record":1,"line":2,"byte":24,"file_bytes":36},"taken":[]}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderState {
    version: u32,
    /// The kind of reader, and its options.
    reader: String,
    pub(super) records: u64,
    pub(super) work_units: u64,
    pub(super) partial_bytes: u64,
    /// The unit that is being read.
    pub(super) unit: Option<OpenUnit>,
    /// Units taken from the queue that were not begun.
    pub(super) taken: Vec<String>,
}

/// A unit that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenUnit {
    pub(super) work: String,
    #[serde(flatten)]
    pub(super) place: Place,
}

/// A place in a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The number of the next record.
    pub(super) record: u64,
    /// Lines before it, where records are lines.
    #[serde(default)]
    pub(super) line: u64,
    /// Where it begins, among the inflated bytes if the file is compressed.
    pub(super) byte: u64,
    /// How long the file was.
    pub(super) file_bytes: u64,
}

impl ReaderState {
    pub(super) fn new(
        reader: String,
        (records, work_units, partial_bytes): (u64, u64, u64),
        unit: Option<OpenUnit>,
        taken: Vec<String>,
    ) -> Self {
        ReaderState { version: VERSION, reader, records, work_units, partial_bytes, unit, taken }
    }

    /// The state as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// `Malformed` for anything else; `Unsupported` for the state of another version of this crate.
    pub fn from_json(json: &str) -> Result<Self> {
        read_state(json, "reader", VERSION)
    }

    /// Whether this is the state of a reader like `reader`.
    pub(super) fn check(&self, reader: &str) -> Result<()> {
        if self.reader == reader {
            return Ok(());
        }
        Err(Error::mismatch(format!(
            "the state is that of a reader of {}, and this one is of {reader}",
            self.reader
        )))
    }
}

impl Place {
    /// Goes from the beginning of `stream` to this place.
    ///
    /// # Errors
    ///
    /// `Mismatch` for a file that is not as long as it was.
    pub(super) fn go_to(&self, stream: &mut Stream) -> Result<()> {
        if self.file_bytes != stream.file_bytes() {
            return Err(stream.place(Error::mismatch(format!(
                "the state was taken of a file of {} bytes, found {}",
                self.file_bytes,
                stream.file_bytes()
            ))));
        }
        let reached = stream.skip(self.byte)?;
        if reached == self.byte {
            return Ok(());
        }
        Err(stream.place(Error::mismatch(format!(
            "the state was taken at byte {}, found that the file ends at byte {reached}",
            self.byte
        ))))
    }
}

/// Reads the state of a `whose`, an object of JSON that has its version in it.
///
/// # Errors
///
/// `Malformed` for anything else; `Unsupported` for another version.
pub(crate) fn read_state<T: DeserializeOwned>(json: &str, whose: &str, version: u32) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let bad =
        |e: serde_json::Error| Error::malformed(format!("this is no {whose} state: {e}")).with_source(e);
    let head: Head = serde_json::from_str(json).map_err(bad)?;
    if head.version != version {
        return Err(Error::unsupported(format!(
            "expected a {whose} state of version {version}, found version {}",
            head.version
        )));
    }
    serde_json::from_str(json).map_err(bad)
}
