//! Files whose rows lie where an index within or beside them says: tar archives, indexed token files.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, Schema};

use super::arrays::{TOKENS, windows};
use super::inflate::FileSource;
use super::options::OpenOptions;
use super::shard::Opened;
use crate::error::{Error, Result};
use crate::format::megatron::{self, MegatronIndex};
use crate::format::{Access, Piece, Values, Way, webdataset};
use crate::map::{MapOptions, Region};

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
    let opened = Opened::new(Some(region.clone()), Arc::new(Schema::new(fields)), vec![pieces]);
    Ok(opened.explained(|column, access| match column {
        0 => Access::new(Way::InMemory, "the keys were read when the archive was opened"),
        _ => access.because("tar: members lie in the archive"),
    }))
}

/// Opens the tokens beside the index file at `path`: a row is a document, or a window.
pub(super) fn megatron(source: &FileSource, path: Option<&Path>, options: &OpenOptions) -> Result<Opened> {
    let index_file = source.kept()?;
    let header = index_file.read(0..index_file.len_bytes().min(megatron::HEADER_BYTES as u64))?;
    let index = MegatronIndex::parse(&header, index_file.len_bytes())?;
    let path = path.ok_or_else(|| {
        Error::unsupported(
            "the tokens lie in another file than their index, which cannot be found from bytes: open the path",
        )
    })?;
    let region = options.load(Region::map(path.with_extension("bin"), &options.map)?)?;
    let bin_len = region.len_bytes();
    let mut opened = match options.windows {
        Some((seq_len, stride)) => {
            let stream = index.check(index_file, bin_len)?;
            let (file, left_over) = index.windows(stream, seq_len, stride)?;
            windows(&file, left_over, &region, options)?
        }
        None => {
            let extents = index.document_extents(index_file, bin_len)?;
            let num_rows = extents.num_rows();
            let item = Arc::new(Field::new("item", index.dtype.to_arrow(), false));
            let name = options.column_name.as_deref().unwrap_or(TOKENS);
            let field = Field::new(name, DataType::List(item), false);
            let item_bytes = index.dtype.width_bytes() as u64;
            let values = Values::Extents { region: region.clone(), extents, item_bytes };
            let piece = Piece { num_rows, validity: None, values };
            Opened::new(Some(region), Arc::new(Schema::new(vec![field])), vec![vec![piece]])
                .explained(|_, access| access.because("documents lie in the .bin where the .idx says"))
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
