//! Files whose rows lie where an index within or beside them says: tar archives, indexed and plain token files.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema};

use super::inflate::FileSource;
use super::open::tensor;
use super::options::OpenOptions;
use super::shard::Opened;
use crate::error::{Error, Result};
use crate::format::megatron::{self, MegatronIndex};
use crate::format::{Piece, TokenSpec, Values, npz, webdataset};
use crate::layout::tensor_field;
use crate::map::{MapOptions, Region};

/// The name of the column of token files.
const TOKENS: &str = "tokens";

/// Opens a tar archive of samples.
pub(super) fn tar(source: &FileSource) -> Result<Opened> {
    let region = source.kept()?;
    let index = webdataset::index(region)?;
    let keys = Arc::new(index.keys) as ArrayRef;
    let num_rows = keys.len() as u64;
    let mut fields = vec![Field::new(webdataset::KEY, keys.data_type().clone(), false)];
    let mut pieces = vec![Piece::of_array(&keys)?];
    for (extension, extents) in index.extensions.into_iter().zip(index.extents) {
        // Whether some sample lacks the file differs from archive to archive; the column may hold nulls in all of them.
        fields.push(Field::new(extension, DataType::Binary, true));
        let values = Values::Extents { region: region.clone(), extents, item_bytes: 1 };
        pieces.push(Piece { num_rows, validity: None, values });
    }
    Ok(Opened::new(Some(region.clone()), Arc::new(Schema::new(fields)), vec![pieces]))
}

/// Opens a run of tokens that says nothing of itself.
pub(super) fn tokens(source: &FileSource, spec: &TokenSpec, options: &OpenOptions) -> Result<Opened> {
    let region = source.kept()?;
    let (file, _left_over) = spec.locate(region.len_bytes())?;
    tensor(&file, region.clone(), options.column_name.as_deref().unwrap_or(TOKENS))
}

/// Opens the tokens beside the index file at `path`: a row is a document, or a window.
pub(super) fn megatron(source: &FileSource, path: &Path, options: &OpenOptions) -> Result<Opened> {
    let index_file = source.kept()?;
    let header = index_file.read(0..index_file.len_bytes().min(megatron::HEADER_BYTES as u64))?;
    let index = MegatronIndex::parse(&header, index_file.len_bytes())?;
    let bin = path.with_extension("bin");
    let region = Region::map(&bin, &options.map)?.preload(options.preload)?;
    let name = options.column_name.as_deref().unwrap_or(TOKENS);
    let bin_len = region.len_bytes();
    let mut opened = match options.windows {
        Some((seq_len, stride)) => {
            let stream = index.check(index_file, bin_len)?;
            let (file, _left_over) = index.windows(stream, seq_len, stride)?;
            tensor(&file, region, name)?
        }
        None => {
            let extents = index.document_extents(index_file, bin_len)?;
            let num_rows = extents.num_rows();
            let item = Arc::new(Field::new("item", index.dtype.to_arrow(), false));
            let field = Field::new(name, DataType::List(item), false);
            let item_bytes = index.dtype.width_bytes() as u64;
            let values = Values::Extents { region: region.clone(), extents, item_bytes };
            let piece = Piece { num_rows, validity: None, values };
            Opened::new(Some(region), Arc::new(Schema::new(vec![field])), vec![vec![piece]])
        }
    };
    opened.index = Some(index_file.clone());
    Ok(opened)
}

/// The index file that stands for `path`: that of the tokens at `path`, or of both where `path` is their common name.
pub(super) fn index_of(path: &Path) -> Option<PathBuf> {
    let is_bin = path.extension().is_some_and(|extension| extension == "bin");
    if path.exists() != is_bin {
        return None;
    }
    let index = if is_bin {
        path.with_extension("idx")
    } else {
        let mut name = path.as_os_str().to_owned();
        name.push(".idx");
        name.into()
    };
    let region = Region::map(&index, &MapOptions::new()).ok()?;
    let head = region.read(0..region.len_bytes().min(megatron::HEADER_BYTES as u64)).ok()?;
    megatron::looks_like(&head).then_some(index)
}

/// Opens an archive of arrays: a column each, all of as many rows.
pub(super) fn npz(source: &FileSource) -> Result<Opened> {
    let region = source.kept()?;
    let arrays = npz::arrays(region)?;
    let rows = arrays.iter().map(|array| array.tensor.num_rows);
    if rows.clone().min() != rows.max() {
        let shapes: Vec<_> = arrays.iter().map(|array| format!("{}: {}", array.name, array.tensor)).collect();
        return Err(Error::mismatch(format!(
            "expected arrays of as many rows, which become columns, found {}",
            shapes.join("; ")
        )));
    }
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
    if fields.is_empty() {
        return Err(Error::malformed("expected at least one array in the archive, found none"));
    }
    Ok(Opened::new(Some(region.clone()), Arc::new(Schema::new(fields)), vec![pieces]))
}

/// Refuses `windows` for a file that is no index of tokens.
pub(super) fn refuse_windows(options: &OpenOptions) -> Result<()> {
    match options.windows {
        Some(_) => Err(Error::invalid(
            "windows are cut out of indexed token files (Megatron-LM); for plain ones give the type too \
             (OpenOptions::tokens)",
        )),
        None => Ok(()),
    }
}
