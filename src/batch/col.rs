//! What the user asks of a column.
#![forbid(unsafe_code)]

use super::pad::Pad;
use crate::layout::{DType, Element};

/// A column of a batch, and what is done to it on the way: see [`col`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Col {
    pub(crate) name: String,
    pub(crate) cast: Option<DType>,
    pub(crate) scale: Option<f64>,
    pub(crate) normalize: Option<Normalize>,
    pub(crate) channel_axis: Option<usize>,
    pub(crate) fill: Option<f64>,
    pub(crate) pad: Option<Pad>,
}

/// What is taken away from each channel, and what it is divided by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normalize {
    pub(crate) mean: Vec<f64>,
    pub(crate) std: Vec<f64>,
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
    Col {
        name: name.into(),
        cast: None,
        scale: None,
        normalize: None,
        channel_axis: None,
        fill: None,
        pad: None,
    }
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

    /// Takes the mean of its channel away from each element, after cast and scale, and divides it by the standard deviation
    /// of its channel: one of each for all elements, or for each channel one. Channels lie along the axis of a row that is
    /// as long as the means are many, last or first; where several are, [`channel_axis`](Col::channel_axis) says which.
    ///
    /// It is done while elements are copied, in one multiplication and one addition in the type cast to (`f16` in that of
    /// `f32`), which must be a float.
    ///
    /// ```
    /// use forebay::{Dataset, Loader, col};
    ///
    /// # fn main() -> forebay::Result<()> {
    /// let pixels = Dataset::from_tensor("image", &[1, 2, 3], vec![0u8, 128, 255, 255, 128, 0])?;
    /// let image = col("image").cast::<f32>().scale(1.0 / 255.0).normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    /// let batch = Loader::builder(&pixels).columns([image]).build()?.next().expect("a row")?;
    /// assert!((batch.tensor::<f32>("image")?.as_slice()[0] + 0.485 / 0.229).abs() < 1e-6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn normalize(
        mut self,
        mean: impl IntoIterator<Item = f64>,
        std: impl IntoIterator<Item = f64>,
    ) -> Self {
        self.normalize = Some(Normalize { mean: mean.into_iter().collect(), std: std.into_iter().collect() });
        self
    }

    /// The axis of a row, counted from 0, along which the channels of [`normalize`](Col::normalize) lie.
    pub fn channel_axis(mut self, axis: usize) -> Self {
        self.channel_axis = Some(axis);
        self
    }

    /// Makes rows of varying length equal: a ragged list, or bytes, becomes a tensor of rows × length, whose elements
    /// [`cast`](Col::cast) and [`scale`](Col::scale) apply to. [`Batch::tensor`](crate::Batch::tensor) reads it,
    /// [`Batch::lengths`](crate::Batch::lengths) tells the rows' own lengths, and
    /// [`Batch::item_mask`](crate::Batch::item_mask) which elements are theirs. A null is a row without items.
    ///
    /// An Arrow table of the batch has the rows as they were, without padding.
    ///
    /// ```
    /// use forebay::{Dataset, Loader, Pad, col};
    /// # use arrow::array::{ArrayRef, ListArray, RecordBatch};
    /// # use arrow::datatypes::Int32Type;
    ///
    /// # fn main() -> forebay::Result<()> {
    /// # let rows = [vec![1, 2, 3], vec![4], vec![5, 6]].map(|row| Some(row.into_iter().map(Some)));
    /// # let tokens = std::sync::Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows)) as ArrayRef;
    /// # let texts = Dataset::from_batches([RecordBatch::try_from_iter([("tokens", tokens)]).unwrap()])?;
    /// // Rows of [1, 2, 3], [4] and [5, 6].
    /// let tokens = col("tokens").cast::<i64>().pad(Pad::longest().value(-1.0));
    /// let batch = Loader::builder(&texts).columns([tokens]).batch_size(3).build()?.next().expect("rows")?;
    /// let tensor = batch.tensor::<i64>("tokens")?;
    /// assert_eq!((tensor.shape(), tensor.as_slice()), (&[3, 3][..], &[1, 2, 3, 4, -1, -1, 5, 6, -1][..]));
    /// assert_eq!(batch.lengths("tokens")?, [3, 1, 2]);
    /// assert_eq!(batch.item_mask("tokens")?, [1, 1, 1, 1, 0, 0, 1, 1, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pad(mut self, pad: Pad) -> Self {
        self.pad = Some(pad);
        self
    }

    /// The column as it lies in the dataset.
    #[cfg(feature = "cuda")]
    pub(crate) fn untouched(&self) -> Self {
        col(&self.name)
    }

    /// Whether elements are computed with.
    pub(crate) fn is_arithmetic(&self) -> bool {
        self.scale.is_some() || self.normalize.is_some()
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
