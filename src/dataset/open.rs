//! From paths to shards: what a folder, a file, a glob or a list of them opens as.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use super::Dataset;
use super::containers;
use super::decoded::DecodedChunks;
use super::folders;
use super::inflate::{FileSource, compression, inflate};
use super::options::OpenOptions;
use super::records::{self, Known};
use super::shard::{Opened, Shard};
use super::table::{Chunk, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    FileFormat, HEAD_BYTES, Piece, detect, fixed::FixedSpec, idx, ipc, npy, parquet, tensor::TensorFile,
};
use crate::layout::tensor_field;
use crate::map::{Advice, Region};

/// What [`Dataset::open`] takes: a path, a glob pattern, or a list of them.
pub trait Source {
    /// The paths and patterns, in their order.
    fn into_paths(self) -> Vec<PathBuf>;
}

macro_rules! single_sources {
    ($($single:ty),*) => {$(
        impl Source for $single {
            fn into_paths(self) -> Vec<PathBuf> {
                vec![self.into()]
            }
        }
    )*};
}

single_sources!(&str, &String, String, &Path, PathBuf);

impl Source for &PathBuf {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.clone()]
    }
}

impl<P: AsRef<Path>> Source for &[P] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.iter().map(|path| path.as_ref().to_owned()).collect()
    }
}

impl<P: AsRef<Path>> Source for Vec<P> {
    fn into_paths(self) -> Vec<PathBuf> {
        self.as_slice().into_paths()
    }
}

impl<P: AsRef<Path>, const N: usize> Source for [P; N] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.as_slice().into_paths()
    }
}

/// Opens every path, one after another, as one dataset.
pub(super) fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
    if paths.is_empty() {
        return Err(Error::invalid("expected at least one path, found an empty list"));
    }
    let mut datasets = Vec::new();
    for path in paths {
        if path.is_dir() {
            datasets.push(folders::open(path, options)?);
        } else {
            datasets.push(open_files(&expand(path)?, options)?);
        }
    }
    let mut datasets = datasets.into_iter();
    let first = datasets.next().expect("one for each of at least one path");
    datasets.try_fold(first, |all, next| all.concat(&next))
}

/// The files a path names: itself, or what it matches as a glob pattern, in bytewise order.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let pattern = path.to_string_lossy();
    if let Some(index) = containers::index_of(path) {
        return Ok(vec![index]);
    }
    if path.exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let matches =
        glob::glob(&pattern).map_err(|e| Error::invalid(format!("'{pattern}' is no glob pattern: {e}")))?;
    let mut files = matches
        .map(|file| {
            file.map_err(|e| Error::io(e.path(), "look at the file", std::io::Error::other(e.to_string())))
        })
        .filter(|file| !file.as_ref().is_ok_and(|file| file.is_dir()))
        .collect::<Result<Vec<_>>>()?;
    if files.is_empty() {
        return Err(Error::new(ErrorKind::Io, "no file matches the pattern").at_path(path));
    }
    files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(files)
}

/// Files of equal columns, all opened now. Columns are matched by name.
pub(super) fn open_files(files: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
    let mut known = Known::default();
    let mut schema: Option<SchemaRef> = None;
    let mut shards = Vec::new();
    let mut chunks = Vec::new();
    for path in files {
        let opened = open_file(path, options, &mut known)?;
        let schema = schema.get_or_insert_with(|| opened.schema.clone());
        let columns = columns_in(schema, &opened.schema).ok_or_else(|| {
            Error::mismatch(format!(
                "expected the columns of {}, {}, found {}",
                files[0].display(),
                in_words(schema),
                in_words(&opened.schema)
            ))
            .at_path(path)
        })?;
        let rows: Vec<_> =
            opened.chunks.iter().map(|columns| columns.first().map_or(0, |piece| piece.num_rows)).collect();
        let shard = Arc::new(Shard::open_now(file_name(path), Some(path), opened));
        chunks.extend(Chunk::of_shard(&shard, rows, columns));
        shards.push(shard);
    }
    let schema = schema.expect("at least one file was opened");
    let budget_bytes = options.decode_budget_bytes.saturating_sub(known.inflated_bytes);
    let table = Table::new(shards, chunks, DecodedChunks::new(budget_bytes))?;
    Dataset::of_table(schema, table)
}

/// Opens `bytes`, those of a file called `name`.
pub(super) fn open_bytes(name: &str, bytes: Vec<u8>, options: &OpenOptions) -> Result<Dataset> {
    let name = Path::new(name);
    let mut known = Known::default();
    let opened = read_metadata(Region::from_vec(bytes), name, None, options, &mut known)
        .map_err(|error| error.at_path(name))?;
    let schema = opened.schema.clone();
    let rows =
        opened.chunks.iter().map(|columns| columns.first().map_or(0, |piece| piece.num_rows)).collect();
    let shard = Arc::new(Shard::open_now(file_name(name), Some(name), opened));
    let chunks = Chunk::of_shard(&shard, rows, None).collect();
    let budget_bytes = options.decode_budget_bytes.saturating_sub(known.inflated_bytes);
    Dataset::of_table(schema, Table::new(vec![shard], chunks, DecodedChunks::new(budget_bytes))?)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Where the columns of `schema` stand in `other`: `Some(None)` where they stand alike, `None` where they are others.
fn columns_in(schema: &Schema, other: &Schema) -> Option<Option<Arc<[usize]>>> {
    if schema.fields() == other.fields() {
        return Some(None);
    }
    if schema.fields().len() != other.fields().len() {
        return None;
    }
    let place = |field: &FieldRef| other.fields().iter().position(|theirs| theirs == field);
    let places = schema.fields().iter().map(place).collect::<Option<Vec<_>>>()?;
    // No column stands for two.
    let distinct = (0..places.len()).all(|column| places.contains(&column));
    distinct.then(|| Some(places.into()))
}

/// The columns and their types.
pub(crate) fn in_words(schema: &Schema) -> String {
    let columns: Vec<_> =
        schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
    format!("({})", columns.join(", "))
}

/// Maps one file and reads its metadata; `known` is what the files before it said.
pub(super) fn open_file(path: &Path, options: &OpenOptions, known: &mut Known) -> Result<Opened> {
    let region = Region::map(path, &options.map)?;
    // Nothing is read that nobody asked for, metadata included; who reads in order says so (`Dataset::advise`).
    let _ = region.advise(0..region.len_bytes(), Advice::Random);
    let opened =
        read_metadata(region, path, Some(path), options, known).map_err(|error| error.at_path(path))?;
    // What was read is only good if the files were whole while they were read.
    opened.regions().try_for_each(Region::check)?;
    Ok(opened)
}

/// Reads the metadata of a file called `name`, which lies at `path` if it is no mere memory.
fn read_metadata(
    region: Region,
    name: &Path,
    path: Option<&Path>,
    options: &OpenOptions,
    known: &mut Known,
) -> Result<Opened> {
    if let Some(spec) = &options.fixed {
        return fixed(region.preload(options.preload)?, spec);
    }
    let mut name = file_name(name).to_ascii_lowercase();
    let head = head_of(&region)?;
    let mut format = detect(&head, &name);
    let mut source = FileSource::plain(region);
    let compression = compression(format, &head);
    let is_inflated = compression.is_some();
    if let Some(compression) = compression {
        let budget = options.decode_budget_bytes;
        source =
            FileSource::inflated(source.region, budget, known, move |region| inflate(region, compression))?;
        for suffix in [".gz", ".gzip", ".zst", ".zstd"] {
            name.truncate(name.strip_suffix(suffix).map_or(name.len(), str::len));
        }
        format = detect(&head_of(&source.region)?, &name.replace(".tgz", ".tar"));
    } else {
        source.region = source.region.preload(options.preload)?;
    }
    if let Some(spec) = &options.tokens {
        return containers::tokens(&source, spec, options);
    }
    let by_options = options.csv.is_some().then_some(FileFormat::Csv);
    let format =
        options.format.or(format.filter(|_| by_options.is_none() || !by_name_alone(format))).or(by_options);
    if format != Some(FileFormat::MegatronIndex) {
        containers::refuse_windows(options)?;
    }
    let column = options.column_name.as_deref().unwrap_or("data");
    match format {
        Some(FileFormat::ArrowFile | FileFormat::ArrowStream) => {
            let region = source.kept()?;
            let table = ipc::open(region)?;
            // Bytes of the file, not of what it was inflated to.
            let extents = if is_inflated { Vec::new() } else { table.extents };
            Ok(Opened { extents, ..Opened::new(Some(region.clone()), table.schema, table.chunks) })
        }
        Some(FileFormat::Parquet) => {
            let region = source.kept()?;
            let table = parquet::open(region)?;
            Ok(Opened::new(Some(region.clone()), table.schema, table.chunks))
        }
        Some(FileFormat::Idx) => {
            let region = source.kept()?;
            let header = region.read(0..region.len_bytes().min(idx::HEADER_BYTES_MAX as u64))?;
            tensor(&idx::parse(&header, region.len_bytes())?, region.clone(), column)
        }
        Some(FileFormat::Npy) => {
            let region = source.kept()?;
            let prefix = region.read(0..region.len_bytes().min(12))?;
            let header_bytes = npy::header_len(&prefix)?.min(region.len_bytes());
            let header = region.read(0..header_bytes)?;
            tensor(&npy::parse(&header, region.len_bytes())?, region.clone(), column)
        }
        Some(FileFormat::Csv) => records::csv(&source, options, known, name.ends_with(".tsv")),
        Some(FileFormat::TfRecord) => records::tfrecord(&source, options, known),
        Some(FileFormat::Text) => records::text(&source, options),
        Some(FileFormat::Tar) => containers::tar(&source),
        Some(FileFormat::Npz) => containers::npz(&source),
        Some(FileFormat::MegatronIndex) => match path {
            Some(path) => containers::megatron(&source, path, options),
            None => Err(Error::unsupported(
                "the tokens lie in another file than their index, which cannot be found from bytes: open the path",
            )),
        },
        Some(FileFormat::Gzip | FileFormat::Zstd) => {
            Err(Error::unsupported("expected one layer of compression, found two"))
        }
        _ => Err(Error::unsupported(
            "the format of the file was not recognised: expected Arrow IPC (file or stream), Parquet, CSV, TFRecord, tar, \
             text, idx, npy or npz, by content or by name. For records of one length say how they are laid out \
             (OpenOptions::fixed, --fixed), for tokens how they are cut (OpenOptions::tokens, --tokens), for others \
             name the format (OpenOptions::format, --format)",
        )),
    }
}

fn head_of(region: &Region) -> Result<Vec<u8>> {
    region.read(0..region.len_bytes().min(HEAD_BYTES as u64))
}

/// Whether nothing but its name says that a file is of `format`.
fn by_name_alone(format: Option<FileFormat>) -> bool {
    matches!(format, Some(FileFormat::Csv | FileFormat::Text))
}

pub(super) fn tensor(file: &TensorFile, region: Region, column: &str) -> Result<Opened> {
    let piece = Piece::of_tensor_file(file, &region)?;
    let field = tensor_field(column, file.dtype, &file.row_shape, false);
    Ok(Opened::new(Some(region), Arc::new(Schema::new(vec![field])), vec![vec![piece]]))
}

fn fixed(region: Region, spec: &FixedSpec) -> Result<Opened> {
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
        pieces.push(Piece::of_tensor_file(file, &region)?);
        fields.push(tensor_field(&field.name, file.dtype, &file.row_shape, false));
    }
    Ok(Opened::new(Some(region), Arc::new(Schema::new(fields)), vec![pieces]))
}
