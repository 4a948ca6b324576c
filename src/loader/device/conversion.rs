//! What of a batch's columns is left to the device: their conversions.
#![forbid(unsafe_code)]

use crate::batch::{BatchPlan, Col, PlannedColumn};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ColumnKind, DType};
use crate::staging::cuda::{At, Cast, ChannelTable, ElementType, Rows};

/// How a device makes a column of another.
pub(super) struct Conversion {
    num_elements: u32,
    from_type: ElementType,
    to_type: ElementType,
    scale: f64,
    channels: Option<ChannelTable>,
    null_bits: u64,
}

/// The conversion of each column that has one, and the coefficients they look for, in the memory that stays on the device.
#[derive(Default)]
pub(super) struct Conversions {
    pub(super) columns: Vec<Option<Conversion>>,
    pub(super) coefficients: Vec<u8>,
}

/// Coefficients begin at multiples of this many bytes.
const ALIGNMENT: usize = 64;

impl Conversions {
    /// What makes batches of `plan` out of batches whose columns are `travelling`.
    ///
    /// # Errors
    ///
    /// `TooLarge` for rows of more elements than a thread of the device counts.
    pub(super) fn new(travelling: &BatchPlan, plan: &BatchPlan) -> Result<Self> {
        let mut conversions = Conversions::default();
        for (from, to) in travelling.columns.iter().zip(&plan.columns) {
            let conversion = match &to.transform {
                Some(_) if from.transform.is_none() => Some(conversions.conversion(from, to)?),
                _ => None,
            };
            conversions.columns.push(conversion);
        }
        Ok(conversions)
    }

    fn conversion(&mut self, from: &PlannedColumn, to: &PlannedColumn) -> Result<Conversion> {
        let too_large = || {
            let name = to.field.name();
            let message = format!(
                "rows of {} elements are more than are cast on a device, 2³¹: cast column '{name}' on the host, without \
                 cast_on_device and Preload::Device",
                to.num_elements
            );
            Error::new(ErrorKind::TooLarge, message)
        };
        let (from_type, to_type) = (element_type(from), element_type(to));
        let transform = to.transform.as_ref().expect("a column that is converted");
        let table = transform.affine.table(dtype(to));
        let channels = match table.channels {
            None => None,
            Some((run, count, bytes)) => {
                self.coefficients.resize(self.coefficients.len().next_multiple_of(ALIGNMENT), 0);
                let at = self.coefficients.len();
                self.coefficients.extend(bytes);
                let count = u32::try_from(count).map_err(|_| too_large())?;
                Some(ChannelTable { at, run: u32::try_from(run).map_err(|_| too_large())?, count })
            }
        };
        let null_bits = to.fill.as_ref().map_or(0, |row| {
            row.iter().take(to_type.width_bytes).rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
        });
        Ok(Conversion {
            num_elements: u32::try_from(to.num_elements)
                .ok()
                .filter(|&n| n <= 1 << 31)
                .ok_or_else(too_large)?,
            from_type,
            to_type,
            scale: table.scale,
            channels,
            null_bits,
        })
    }

    /// The bytes from which on columns may stay, behind the coefficients.
    pub(super) fn end(&self) -> usize {
        self.coefficients.len().next_multiple_of(ALIGNMENT)
    }
}

impl Conversion {
    /// The work of it.
    pub(super) fn work(
        &self,
        from: At,
        rows: Rows,
        num_rows: usize,
        to: usize,
        valid: Option<usize>,
    ) -> Cast {
        Cast {
            to,
            from,
            rows,
            num_rows,
            num_elements: self.num_elements,
            from_type: self.from_type,
            to_type: self.to_type,
            scale: self.scale,
            channels: self.channels,
            valid,
            null_bits: self.null_bits,
        }
    }
}

fn dtype(column: &PlannedColumn) -> DType {
    match column.kind {
        ColumnKind::Tensor { dtype, .. } => dtype,
        _ => unreachable!("tensors alone are converted"),
    }
}

/// Types are numbered in the order of their declaration, here and in the kernel.
fn element_type(column: &PlannedColumn) -> ElementType {
    let dtype = dtype(column);
    ElementType { number: dtype as u32, width_bytes: dtype.width_bytes() }
}

/// The columns that travel, when those of `plan`, which were asked for as `asked`, are converted on the device: as they are in
/// the dataset, where there is something to convert. `kept` are made by the host nevertheless.
pub(super) fn travelling(asked: &[Col], plan: &BatchPlan, kept: impl Fn(&PlannedColumn) -> bool) -> Vec<Col> {
    let names = plan.columns.iter().map(|column| Col::from(column.field.name()));
    let asked: Vec<Col> = if asked.is_empty() { names.collect() } else { asked.to_vec() };
    let columns = asked.into_iter().zip(&plan.columns);
    columns
        .map(|(col, column)| {
            let is_tensor = matches!(column.kind, ColumnKind::Tensor { .. });
            if column.transform.is_some() && is_tensor && !kept(column) { col.untouched() } else { col }
        })
        .collect()
}
