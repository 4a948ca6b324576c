//! Files of dense arrays, whose rows are read where they lie: idx, npy, npz, records of one length, tokens.
#![forbid(unsafe_code)]

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::inflate::FileSource;
use super::options::OpenOptions;
use super::shard::Opened;
use crate::error::{Error, Result};
use crate::format::{FixedSpec, Piece, TensorFile, TokenSpec, idx, npy, npz};
use crate::layout::tensor_field;
use crate::map::Region;

/// The column of a file that holds one array.
const DATA: &str = "data";

/// The column of token files.
pub(super) const TOKENS: &str = "tokens";

/// Opens an array as in the MNIST files.
pub(super) fn idx(source: &FileSource, options: &OpenOptions) -> Result<Opened> {
    let region = source.kept()?;
    let header = region.read(0..region.len_bytes().min(idx::HEADER_BYTES_MAX as u64))?;
    tensor(&idx::parse(&header, region.len_bytes())?, region, options.column_name.as_deref().unwrap_or(DATA))
}

/// Opens an array as NumPy saves it.
pub(super) fn npy(source: &FileSource, options: &OpenOptions) -> Result<Opened> {
    let region = source.kept()?;
    let prefix = region.read(0..region.len_bytes().min(npy::PREFIX_BYTES))?;
    let header = region.read(0..npy::header_len(&prefix)?.min(region.len_bytes()))?;
    tensor(&npy::parse(&header, region.len_bytes())?, region, options.column_name.as_deref().unwrap_or(DATA))
}

/// Opens an archive of arrays: a column each, all of as many rows.
pub(super) fn npz(source: &FileSource) -> Result<Opened> {
    let region = source.kept()?;
    let arrays = npz::arrays(region)?;
    let (mut fields, mut pieces) = (Vec::new(), Vec::new());
    for array in &arrays {
        let file = &array.tensor;
        fields.push(tensor_field(&array.name, file.dtype, &file.row_shape, false));
        pieces.push(if array.member.is_deflated {
            let inflated = Region::from_vec(npz::inflate_member(region, &array.member)?);
            Piece::of_tensor_file(file, &inflated)?
        } else {
            Piece::of_tensor_file(file, region)?
        });
    }
    let opened = Opened::new(Some(region.clone()), Arc::new(Schema::new(fields)), vec![pieces]);
    Ok(opened.explained(|column, access| match arrays[column].member.is_deflated {
        true => access.inflated("deflate", true),
        false => access.because("stored: the array lies in the archive"),
    }))
}

/// Opens records of one length.
pub(super) fn fixed(source: &FileSource, spec: &FixedSpec) -> Result<Opened> {
    let region = source.kept()?;
    let (files, trailing_bytes) = spec.locate(region.len_bytes())?;
    if trailing_bytes > 0 {
        return Err(Error::malformed(format!(
            "expected whole records of {} bytes, found {trailing_bytes} bytes of another at the end",
            spec.record_bytes
        ))
        .at_byte(region.len_bytes() - trailing_bytes));
    }
    let mut fields: Vec<Field> = Vec::new();
    let mut pieces = Vec::new();
    for (field, file) in spec.fields.iter().zip(&files) {
        pieces.push(Piece::of_tensor_file(file, region)?);
        fields.push(tensor_field(&field.name, file.dtype, &file.row_shape, false));
    }
    Ok(Opened::new(Some(region.clone()), Arc::new(Schema::new(fields)), vec![pieces]))
}

/// Opens a run of tokens that says nothing of itself.
pub(super) fn tokens(source: &FileSource, spec: &TokenSpec, options: &OpenOptions) -> Result<Opened> {
    let region = source.kept()?;
    let (file, left_over) = spec.locate(region.len_bytes())?;
    windows(&file, left_over, region, options)
}

/// A file whose rows are windows of tokens; `left_over` tokens at its end are in none.
pub(super) fn windows(
    file: &TensorFile,
    left_over: u64,
    region: &Region,
    options: &OpenOptions,
) -> Result<Opened> {
    let opened = tensor(file, region, options.column_name.as_deref().unwrap_or(TOKENS))?;
    Ok(opened.explained(|_, access| match left_over {
        0 => access,
        1 => access.because("1 token left over at the end"),
        n => access.because(&format!("{n} tokens left over at the end")),
    }))
}

/// A file that holds one array, the column `column`.
fn tensor(file: &TensorFile, region: &Region, column: &str) -> Result<Opened> {
    let piece = Piece::of_tensor_file(file, region)?;
    let field = tensor_field(column, file.dtype, &file.row_shape, false);
    Ok(Opened::new(Some(region.clone()), Arc::new(Schema::new(vec![field])), vec![vec![piece]]))
}
