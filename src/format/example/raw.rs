//! Records whose payloads are no examples, or are to stay as they are.
#![forbid(unsafe_code)]

use arrow::datatypes::{DataType, Field, Schema};

use crate::error::Result;
use crate::layout::{DecodeInto, RowMut};

/// Gives each record as it is: one column of bytes, `record`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawDecoder;

impl RawDecoder {
    /// The column.
    pub(crate) fn schema() -> Schema {
        Schema::new(vec![Field::new("record", DataType::Binary, false)])
    }
}

impl DecodeInto for RawDecoder {
    fn decode(&self, record: &[u8], row: &mut RowMut<'_, '_>) -> Result<()> {
        if row.wants(0) {
            row.items(0).extend_from_slice(record);
        }
        Ok(())
    }

    fn what(&self) -> &'static str {
        "TFRecord"
    }
}
