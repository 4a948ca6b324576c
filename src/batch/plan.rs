//! A batch before its rows: which columns, what is done to each, and where each lies in the slot.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::col::{Col, Normalize};
use super::gather::{Affine, CastRow, cast_row};
use super::make::MapBatch;
use super::map_rows::MapRows;
use super::output::Output;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Beside, ColumnKind, ColumnShape, DType, Place, SlotLayout, tensor_field};

/// Everything the batches of one loader have in common.
pub(crate) struct BatchPlan {
    pub(crate) dataset: Dataset,
    /// Those that are read from the dataset, which come first.
    pub(crate) columns: Vec<PlannedColumn>,
    /// Those that are made, which come after them.
    pub(crate) outputs: Vec<Output>,
    /// Makes the outputs.
    pub(crate) map_rows: Option<MapRows>,
    /// Changes the whole batch, at last.
    pub(crate) map_batch: Option<MapBatch>,
    pub(crate) schema: SchemaRef,
    pub(crate) layout: SlotLayout,
}

/// One column of the batches.
pub(crate) struct PlannedColumn {
    /// The dataset's table and the column in it.
    pub(crate) table: usize,
    pub(crate) index: usize,
    /// What rows are in the batch: after the cast.
    pub(crate) kind: ColumnKind,
    /// The Arrow field of the batch's column.
    pub(crate) field: FieldRef,
    pub(crate) transform: Option<Transform>,
    /// How rows of varying length are made equal.
    pub(crate) pad: Option<PlannedPad>,
    /// One row of the value that stands for null.
    pub(crate) fill: Option<Box<[u8]>>,
    /// Bytes of one row as it lies in the dataset; zero where rows differ in length.
    pub(crate) source_row_bytes: usize,
    /// Bytes of one element as it lies in a batch without a cast.
    pub(crate) source_width: usize,
    pub(crate) num_elements: usize,
}

/// A conversion fused into the copy.
pub(crate) struct Transform {
    pub(crate) cast: CastRow,
    pub(crate) affine: Affine,
}

/// How rows of varying length are made equal.
pub(crate) struct PlannedPad {
    pub(crate) fixed: Option<usize>,
    pub(crate) most: Option<usize>,
    pub(crate) truncate: bool,
    /// The element they are padded with.
    element: Box<[u8]>,
    /// Bytes of an item as it lies in the dataset.
    pub(crate) source_width: usize,
}

impl PlannedPad {
    /// Bytes of an element.
    pub(crate) fn width(&self) -> usize {
        self.element.len()
    }

    /// Writes padding over `bytes`, whole elements.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        match self.element.iter().all(|byte| *byte == self.element[0]) {
            true => bytes.fill(self.element[0]),
            false => {
                bytes.chunks_exact_mut(self.element.len()).for_each(|to| to.copy_from_slice(&self.element))
            }
        }
    }
}

impl BatchPlan {
    /// Plans batches of up to `batch_size` rows of `columns` of the dataset and of `outputs`, and what is `beside` them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an unknown or repeated column, or a scale of integers; `Unsupported` for a column whose
    /// type no tensor holds.
    pub(crate) fn new(
        dataset: &Dataset,
        columns: &[Col],
        outputs: &[Output],
        batch_size: usize,
        beside: Beside,
    ) -> Result<Self> {
        let mut planned: Vec<PlannedColumn> = Vec::with_capacity(columns.len());
        for column in columns {
            if planned.iter().any(|other| *other.field.name() == column.name) {
                return Err(Error::invalid(format!("the column '{}' is asked for twice", column.name)));
            }
            planned.push(plan(dataset, column)?);
        }
        let mut fields: Vec<_> = planned.iter().map(|column| column.field.clone()).collect();
        for output in outputs {
            if fields.iter().any(|other| other.name() == output.name()) {
                return Err(Error::invalid(format!("two columns of a batch are called '{}'", output.name())));
            }
            fields.push(output.field.clone());
        }
        let kinds =
            planned.iter().map(|column| &column.kind).chain(outputs.iter().map(|output| &output.kind));
        let shapes = fields.iter().zip(kinds).map(|(field, kind)| ColumnShape {
            kind,
            nullable: field.is_nullable(),
            wide: is_wide(field.data_type()),
        });
        let layout = SlotLayout::new(shapes, batch_size, beside)?;
        let schema = Arc::new(Schema::new_with_metadata(fields, dataset.schema().metadata().clone()));
        Ok(BatchPlan {
            dataset: dataset.clone(),
            columns: planned,
            outputs: outputs.to_vec(),
            map_rows: None,
            map_batch: None,
            schema,
            layout,
        })
    }

    /// The columns of the dataset that are read for a batch.
    pub(crate) fn columns_read(&self) -> impl Iterator<Item = &PlannedColumn> {
        let inputs = self.map_rows.iter().flat_map(|rows| &rows.inputs().columns);
        self.columns.iter().chain(inputs)
    }

    pub(crate) fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// What column `number` is called.
    pub(crate) fn name(&self, number: usize) -> &str {
        self.schema.field(number).name()
    }

    /// What rows of column `number` are.
    pub(crate) fn kind(&self, number: usize) -> &ColumnKind {
        match number.checked_sub(self.columns.len()) {
            None => &self.columns[number].kind,
            Some(output) => &self.outputs[output].kind,
        }
    }

    /// How the rows of column `number` are padded.
    pub(crate) fn pad(&self, number: usize) -> Option<&PlannedPad> {
        self.columns.get(number)?.pad.as_ref()
    }

    /// Where the output `index` lies.
    pub(crate) fn output_place(&self, index: usize) -> &Place {
        &self.layout.places[self.columns.len() + index]
    }

    /// Plans batches that hold the numbers of their rows and nothing else.
    ///
    /// # Errors
    ///
    /// `TooLarge` if so many numbers do not fit into memory.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_row_numbers(dataset: &Dataset, batch_size: usize) -> Result<Self> {
        let layout = SlotLayout::of_row_numbers(batch_size)?;
        Ok(BatchPlan {
            dataset: dataset.clone(),
            columns: Vec::new(),
            outputs: Vec::new(),
            map_rows: None,
            map_batch: None,
            schema: Schema::empty().into(),
            layout,
        })
    }
}

fn is_wide(data_type: &DataType) -> bool {
    matches!(data_type, DataType::LargeBinary | DataType::LargeUtf8 | DataType::LargeList(_))
}

fn plan(dataset: &Dataset, asked: &Col) -> Result<PlannedColumn> {
    let index = dataset.column_index(&asked.name)?;
    let column = &dataset.columns()[index];
    let field = dataset.schema().fields()[index].clone();
    let refuse =
        |what: &str| Err(Error::invalid(format!("column '{}' is {}: {what}", asked.name, column.kind)));
    let (dtype, shape) = match &column.kind {
        ColumnKind::Tensor { dtype, shape } => (*dtype, shape),
        ColumnKind::Other => {
            return Err(Error::unsupported(format!(
                "column '{}' is of type {}, which no tensor can hold: select other columns, or convert it first",
                asked.name,
                field.data_type()
            )));
        }
        kind if asked.pad.is_some() => return plan_padded(column.table, column.index, kind, &field, asked),
        _ if asked.cast.is_some() || asked.is_arithmetic() || asked.fill.is_some() => {
            return refuse("cast, scale, normalize and fill apply to tensors");
        }
        kind => {
            return Ok(PlannedColumn {
                table: column.table,
                index: column.index,
                kind: kind.clone(),
                field,
                transform: None,
                pad: None,
                fill: None,
                source_row_bytes: 0,
                source_width: 0,
                num_elements: 0,
            });
        }
    };
    if asked.pad.is_some() {
        return refuse("pad applies to rows of varying length");
    }
    let to = asked.cast.unwrap_or(dtype);
    if to == DType::Bool && dtype != DType::Bool {
        return refuse("numbers cannot be cast to bool");
    }
    if asked.is_arithmetic() && !matches!(to, DType::F16 | DType::F32 | DType::F64) {
        return refuse("scale and normalize need floats: cast first, as in .cast::<f32>().scale(…)");
    }
    let source_row_bytes = column.kind.row_bytes().expect("a tensor's rows have one length");
    let affine = affine(asked, &column.kind, shape)?;
    let transform =
        (to != dtype || asked.is_arithmetic()).then(|| Transform { cast: cast_row(dtype, to), affine });
    let num_elements = shape.iter().product();
    let fill = match asked.fill.filter(|_| field.is_nullable()) {
        None => None,
        Some(value) => {
            let element = cast_value(value, to).ok_or_else(|| {
                Error::invalid(format!("the fill {value} of column '{}' is no {to}", asked.name))
            })?;
            Some(element.repeat(num_elements).into_boxed_slice())
        }
    };
    let nullable = field.is_nullable() && fill.is_none();
    let field = if to == dtype {
        Arc::new(field.as_ref().clone().with_nullable(nullable))
    } else {
        Arc::new(tensor_field(&asked.name, to, shape, nullable))
    };
    Ok(PlannedColumn {
        table: column.table,
        index: column.index,
        kind: ColumnKind::Tensor { dtype: to, shape: shape.clone() },
        field,
        transform,
        pad: None,
        fill,
        source_row_bytes,
        source_width: dtype.width_bytes(),
        num_elements,
    })
}

/// A column of varying row length that is padded.
fn plan_padded(
    table: usize,
    index: usize,
    kind: &ColumnKind,
    field: &FieldRef,
    asked: &Col,
) -> Result<PlannedColumn> {
    let Some(pad) = asked.pad else { unreachable!("called for columns that are padded") };
    let refuse = |what: &str| Err(Error::invalid(format!("column '{}' is {kind}: {what}", asked.name)));
    let dtype = match kind {
        ColumnKind::Ragged { dtype } => *dtype,
        ColumnKind::Bytes => DType::U8,
        _ => return refuse("lists and bytes can be padded"),
    };
    if asked.fill.is_some() || asked.normalize.is_some() {
        return refuse("fill and normalize do not apply to padded rows, a null is a row without items");
    }
    let to = asked.cast.unwrap_or(dtype);
    if to == DType::Bool {
        return refuse("numbers cannot be cast to bool");
    }
    if asked.is_arithmetic() && !matches!(to, DType::F16 | DType::F32 | DType::F64) {
        return refuse("scale needs floats: cast first, as in .cast::<f32>().scale(…)");
    }
    if let (Some(fixed), Some(most)) = (pad.fixed, pad.most)
        && most < fixed
    {
        return refuse(&format!(
            "expected to pad to no more than the {most} items a row may have, found {fixed}"
        ));
    }
    let element = cast_value(pad.value, to).ok_or_else(|| {
        Error::invalid(format!(
            "the value {} that column '{}' is padded with is no {to}",
            pad.value, asked.name
        ))
    })?;
    let affine = Affine::scale(asked.scale.unwrap_or(1.0));
    let transform =
        (to != dtype || asked.is_arithmetic()).then(|| Transform { cast: cast_row(dtype, to), affine });
    let field = match field.data_type() {
        _ if to == dtype => field.clone(),
        data_type => {
            let item = Arc::new(Field::new("item", to.to_arrow(), false));
            let list = if is_wide(data_type) { DataType::LargeList(item) } else { DataType::List(item) };
            Arc::new(Field::new(&asked.name, list, field.is_nullable()))
        }
    };
    Ok(PlannedColumn {
        table,
        index,
        kind: if to == dtype { kind.clone() } else { ColumnKind::Ragged { dtype: to } },
        field,
        transform,
        pad: Some(PlannedPad {
            fixed: pad.fixed,
            most: pad.most,
            truncate: pad.truncate,
            element: element.into(),
            source_width: dtype.width_bytes(),
        }),
        fill: None,
        source_row_bytes: 0,
        source_width: 0,
        num_elements: 0,
    })
}

/// The arithmetic asked for of a column whose rows have this `shape`.
fn affine(asked: &Col, kind: &ColumnKind, shape: &[usize]) -> Result<Affine> {
    let scale = asked.scale.unwrap_or(1.0);
    let Some(Normalize { mean, std }) = &asked.normalize else { return Ok(Affine::scale(scale)) };
    let refuse = |what: String| {
        Err(Error::invalid(format!("column '{}' is {kind}: cannot normalize it {what}", asked.name)))
    };
    if mean.is_empty() || mean.len() != std.len() {
        return refuse(format!("by {} means and {} standard deviations", mean.len(), std.len()));
    }
    if let Some(bad) = mean.iter().find(|mean| !mean.is_finite()) {
        return refuse(format!("by the mean {bad}"));
    }
    if let Some(bad) = std.iter().find(|std| !std.is_finite() || **std == 0.0) {
        return refuse(format!("by the standard deviation {bad}"));
    }
    if mean.len() == 1 {
        return Ok(Affine::normalize(scale, mean, std, 1));
    }
    let axes: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] == mean.len()).collect();
    let axis = match (asked.channel_axis, &axes[..]) {
        (Some(axis), _) if axes.contains(&axis) => axis,
        (None, &[axis]) => axis,
        (Some(axis), _) => return refuse(format!("by {} channels along axis {axis}", mean.len())),
        (None, []) => return refuse(format!("by {} channels: no axis of a row is as long", mean.len())),
        (None, _) => {
            return refuse(format!(
                "by {} channels: several axes of a row are as long, say which with channel_axis",
                mean.len()
            ));
        }
    };
    Ok(Affine::normalize(scale, mean, std, shape[axis + 1..].iter().product()))
}

/// The bytes of `value` as a `to`; `None` where it cannot be one.
fn cast_value(value: f64, to: DType) -> Option<Vec<u8>> {
    let mut bytes = vec![0; to.width_bytes()];
    super::gather::cast_one(value, to, &mut bytes);
    let back = super::gather::read_one(to, &bytes);
    let exact = matches!(to, DType::F16 | DType::F32 | DType::F64) || back == value;
    exact.then_some(bytes)
}

/// Refuses to shuffle what would be decoded again and again.
pub(crate) fn check_decode_budget(plan: &BatchPlan) -> Result<()> {
    let columns = plan.columns_read().map(|column| (column.table, column.index));
    let columns: Vec<_> = columns.collect::<BTreeSet<_>>().into_iter().collect();
    let (bytes, budget) = plan.dataset.decoded_bytes(&columns);
    if bytes > budget {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "an exact shuffle of chunks that must be decoded keeps all of them: {bytes} bytes, past the budget of \
                 {budget}. Convert the dataset (forebay convert), raise OpenOptions::decode_budget_bytes, or use Shuffle::Block"
            ),
        ));
    }
    Ok(())
}
