//! Batches of row numbers: for rows that are gathered elsewhere.
#![forbid(unsafe_code)]

use super::{Gathered, RowSource, Scratch, fill_rows};

impl Scratch {
    /// Writes the numbers of the rows of `source` to `numbers`, 8 bytes each.
    pub(super) fn number(&mut self, source: &RowSource<'_>, numbers: &mut [u8]) -> Gathered {
        let mut gathered = Gathered { num_rows: source.len(), ..Gathered::default() };
        self.rows.resize(source.len(), 0);
        fill_rows(source, 0, &mut self.rows, &mut gathered.audit);
        numbers.copy_from_slice(bytemuck::cast_slice(&self.rows));
        gathered
    }
}
