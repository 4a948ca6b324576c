//! From paths to shards: what a folder, a file, a glob or a list of them opens as.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use flate2::bufread::MultiGzDecoder;

use super::Dataset;
use super::decoded::DecodedChunks;
use super::manifest::{MANIFEST, Manifest};
use super::options::OpenOptions;
use super::shard::{Opened, Shard};
use super::table::{Chunk, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    FileFormat, HEAD_BYTES, Piece, detect, fixed::FixedSpec, idx, ipc, npy, parquet, tensor::TensorFile,
};
use crate::layout::tensor_field;
use crate::map::{Advice, Preload, Region};

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
            datasets.push(open_folder(path, options)?);
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

/// Files of equal columns, all opened now.
fn open_files(files: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
    let mut schema: Option<SchemaRef> = None;
    let mut shards = Vec::new();
    let mut chunks = Vec::new();
    for path in files {
        let opened = open_file(path, options)?;
        match &schema {
            None => schema = Some(opened.schema.clone()),
            Some(schema) if schema.fields() == opened.schema.fields() => {}
            Some(schema) => {
                return Err(Error::mismatch(format!(
                    "expected the columns of {}, {}, found {}",
                    files[0].display(),
                    in_words(schema),
                    in_words(&opened.schema)
                ))
                .at_path(path));
            }
        }
        let rows: Vec<_> =
            opened.chunks.iter().map(|columns| columns.first().map_or(0, |piece| piece.num_rows)).collect();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        push_shard(Shard::open_now(name, Some(path), opened), rows, &mut shards, &mut chunks);
    }
    let schema = schema.expect("at least one file was opened");
    let table = Table::new(shards, chunks, DecodedChunks::new(options.decode_budget_bytes))?;
    Dataset::of_table(schema, table)
}

/// A folder with a manifest: no shard is opened until a row of it is asked for.
fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Dataset> {
    let manifest = Manifest::read(&folder.join(MANIFEST))?;
    let schema = Arc::new(manifest.schema.clone());
    let mut shards = Vec::new();
    let mut chunks = Vec::new();
    for shard in &manifest.shards {
        let path = folder.join(&shard.file);
        let found =
            fs::metadata(&path).map_err(|e| Error::io(&path, "find a shard of the dataset", e))?.len();
        if found != shard.bytes {
            return Err(Error::mismatch(format!(
                "expected {} bytes as dataset.json says, found {found}: convert the dataset anew",
                shard.bytes
            ))
            .at_path(&path));
        }
        let rows: Vec<_> = shard.batches.iter().map(|batch| batch.rows).collect();
        let later =
            Shard::open_later(shard.file.clone(), path, options.clone(), schema.clone(), rows.clone());
        push_shard(later, rows, &mut shards, &mut chunks);
    }
    let table = Table::new(shards, chunks, DecodedChunks::new(options.decode_budget_bytes))?;
    let dataset = Dataset::of_table(schema, table)?;
    if options.preload == Preload::No { Ok(dataset) } else { dataset.open_shards().map(|()| dataset) }
}

fn push_shard(shard: Shard, chunk_rows: Vec<u64>, shards: &mut Vec<Arc<Shard>>, chunks: &mut Vec<Chunk>) {
    let shard = Arc::new(shard);
    chunks.extend(chunk_rows.into_iter().enumerate().map(|(index, num_rows)| Chunk {
        shard: shard.clone(),
        index,
        columns: None,
        num_rows,
    }));
    shards.push(shard);
}

fn in_words(schema: &Schema) -> String {
    let columns: Vec<_> =
        schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
    format!("({})", columns.join(", "))
}

/// Maps one file and reads its metadata.
pub(super) fn open_file(path: &Path, options: &OpenOptions) -> Result<Opened> {
    let region = Region::map(path, &options.map)?;
    // Nothing is read that nobody asked for, metadata included; who reads in order says so (`Dataset::advise`).
    let _ = region.advise(0..region.len_bytes(), Advice::Random);
    let opened = read_metadata(region, path, options).map_err(|error| error.at_path(path))?;
    // What was read is only good if the file was whole while it was read.
    if let Some(region) = &opened.region {
        region.check()?;
    }
    Ok(opened)
}

fn read_metadata(region: Region, path: &Path, options: &OpenOptions) -> Result<Opened> {
    if let Some(spec) = &options.fixed {
        let region = region.preload(options.preload)?;
        return fixed(region, spec);
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let head = region.read(0..region.len_bytes().min(HEAD_BYTES as u64))?;
    let mut format = detect(&head, &name);
    let mut region = region;
    if format == Some(FileFormat::Gzip) {
        region = inflate(&region)?;
        let head = region.read(0..region.len_bytes().min(HEAD_BYTES as u64))?;
        format = detect(&head, name.trim_end_matches(".gz"));
    }
    let region = region.preload(options.preload)?;
    match format {
        Some(FileFormat::ArrowFile | FileFormat::ArrowStream) => {
            let table = ipc::open(&region)?;
            Ok(Opened { region: Some(region), schema: table.schema, chunks: table.chunks })
        }
        Some(FileFormat::Parquet) => {
            let table = parquet::open(&region)?;
            Ok(Opened { region: Some(region), schema: table.schema, chunks: table.chunks })
        }
        Some(FileFormat::Idx) => {
            let header = region.read(0..region.len_bytes().min(idx::HEADER_BYTES_MAX as u64))?;
            tensor(&idx::parse(&header, region.len_bytes())?, region, &options.column_name)
        }
        Some(FileFormat::Npy) => {
            let prefix = region.read(0..region.len_bytes().min(12))?;
            let header_bytes = npy::header_len(&prefix)?.min(region.len_bytes());
            let header = region.read(0..header_bytes)?;
            tensor(&npy::parse(&header, region.len_bytes())?, region, &options.column_name)
        }
        Some(FileFormat::Gzip) => Err(Error::unsupported("expected one layer of gzip, found two")),
        _ => Err(Error::unsupported(
            "the format of the file was not recognised: expected Arrow IPC (file or stream), Parquet, idx or npy; \
             for records of one length say how they are laid out (OpenOptions::fixed, --fixed)",
        )),
    }
}

fn tensor(file: &TensorFile, region: Region, column: &str) -> Result<Opened> {
    let piece = Piece::of_tensor_file(file, &region)?;
    let field = tensor_field(column, file.dtype, &file.row_shape, false);
    Ok(Opened { region: Some(region), schema: Arc::new(Schema::new(vec![field])), chunks: vec![vec![piece]] })
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
    Ok(Opened { region: Some(region), schema: Arc::new(Schema::new(fields)), chunks: vec![pieces] })
}

/// Inflating stops at this many bytes more than the deflate format can make of a file's size.
/// Source: [zlib's technical notes](https://zlib.net/zlib_tech.html), a ratio of at most 1032 to 1.
const DEFLATE_RATIO: u64 = 1032;

/// The inflated bytes of a gzip file. The memory grows with what was inflated, never with what a header claims,
/// and stops at what the array's own header, which comes first, declares.
fn inflate(region: &Region) -> Result<Region> {
    let compressed = region.read(0..region.len_bytes())?;
    let mut inflated = Vec::new();
    let mut decoder = MultiGzDecoder::new(compressed.as_slice());
    let bad = |e: std::io::Error, at: usize| {
        Error::malformed(format!("the gzip stream breaks off after {at} inflated bytes: {e}")).with_source(e)
    };
    decoder.by_ref().take(1 << 20).read_to_end(&mut inflated).map_err(|e| bad(e, inflated.len()))?;
    let declared = match detect(&inflated, "") {
        Some(FileFormat::Idx) => idx::declared(&inflated)?.end_bytes().unwrap_or(0),
        Some(FileFormat::Npy) => npy::declared(&inflated)?.end_bytes().unwrap_or(0),
        _ => compressed.len() as u64 * DEFLATE_RATIO,
    };
    // One byte more than declared, so that a longer file is seen to be longer.
    let left = declared.saturating_add(1).saturating_sub(inflated.len() as u64);
    decoder.take(left).read_to_end(&mut inflated).map_err(|e| bad(e, inflated.len()))?;
    Ok(Region::from_vec(inflated))
}
