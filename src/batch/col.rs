//! What the user asks of a column.
#![forbid(unsafe_code)]

use crate::layout::{DType, Element};

/// A column of a batch, and what is done to it on the way: see [`col`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Col {
    pub(crate) name: String,
    pub(crate) cast: Option<DType>,
    pub(crate) scale: Option<f64>,
    pub(crate) fill: Option<f64>,
}

/// The column `name`.
///
/// ```
/// use forebay::col;
///
/// let image = col("image").cast::<f32>().scale(1.0 / 255.0);
/// let age = col("age").fill(-1.0);
/// ```
pub fn col(name: impl Into<String>) -> Col {
    Col { name: name.into(), cast: None, scale: None, fill: None }
}

impl Col {
    /// Converts each element to `T` while it is copied, as Rust's `as` does: what becomes a float is rounded to nearest,
    /// a float that becomes an integer is truncated and saturates, and an integer that becomes a smaller one keeps its
    /// low bits.
    pub fn cast<T: Element>(self) -> Self {
        self.cast_to(T::DTYPE)
    }

    /// As [`cast`](Col::cast), to an element type known at run time.
    pub fn cast_to(mut self, dtype: DType) -> Self {
        self.cast = Some(dtype);
        self
    }

    /// Multiplies each element by `factor` after the cast, in the arithmetic of the type cast to (`f16` in that of
    /// `f32`), which must be a float.
    pub fn scale(mut self, factor: f64) -> Self {
        self.scale = Some(factor);
        self
    }

    /// Puts `value` where the column is null, after cast and scale. Without it a batch that holds a null has to be
    /// read with its validity.
    pub fn fill(mut self, value: f64) -> Self {
        self.fill = Some(value);
        self
    }
}

impl From<&str> for Col {
    fn from(name: &str) -> Self {
        col(name)
    }
}

impl From<String> for Col {
    fn from(name: String) -> Self {
        col(name)
    }
}

impl From<&String> for Col {
    fn from(name: &String) -> Self {
        col(name)
    }
}
