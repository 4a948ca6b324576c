//! Folders that are datasets: our own, Hugging Face's, MosaicML Streaming's.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Schema, SchemaRef, UInt64Type};

use super::Dataset;
use super::decoded::DecodedChunks;
use super::inflate::{FileSource, Inflated, Room};
use super::manifest::{MANIFEST, Manifest};
use super::open::{open_file, open_files};
use super::options::OpenOptions;
use super::records::{Columns, Known, parsed};
use super::shard::{Opened, Shard};
use super::table::{Chunk, Table};
use crate::error::{Error, Result};
use crate::format::mds::{self, MdsDecoder, MdsIndex, MdsShard};
use crate::format::{Framing, expansion_cap, hf};
use crate::layout::ColumnKind;
use crate::map::{Preload, Region};

/// Opens the dataset in `folder`, whoever wrote it; `known` is what the files before it said.
pub(super) fn open(folder: &Path, options: &OpenOptions, known: &mut Known) -> Result<Dataset> {
    let is_there = |name: &str| folder.join(name).is_file();
    if !is_there(MANIFEST) {
        if is_there(hf::STATE) {
            return hugging_face(folder, options, known);
        }
        if is_there(hf::DICT) {
            let dict = folder.join(hf::DICT);
            let splits = hf::splits(&read(&dict)?).map_err(|error| error.at_path(&dict))?;
            return Err(Error::invalid(format!(
                "the folder holds the splits {}: open one of them, as in '{}'",
                splits.join(", "),
                folder.join(splits.first().map_or("train", String::as_str)).display()
            ))
            .at_path(folder));
        }
        if is_there(mds::INDEX) {
            return mosaic(folder, options, &mut known.room);
        }
    }
    our_own(folder, options, &known.room)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io(path, "read the file", e))
}

/// A dataset over shards none of which is opened until a row of it is asked for.
fn later(
    schema: SchemaRef,
    shards: Vec<Shard>,
    chunk_rows: Vec<Vec<u64>>,
    room: &Room,
    options: &OpenOptions,
) -> Result<Dataset> {
    let mut chunks = Vec::new();
    let shards: Vec<_> = shards.into_iter().map(Arc::new).collect();
    for (shard, rows) in shards.iter().zip(chunk_rows) {
        chunks.extend(Chunk::of_shard(shard, rows, None));
    }
    let table = Table::new(shards, chunks, DecodedChunks::new(room.left_bytes()))?;
    let dataset = Dataset::of_table(schema, table)?;
    if options.preload == Preload::No { Ok(dataset) } else { dataset.open_shards().map(|()| dataset) }
}

/// Refuses rows that are larger than what a file of `len_bytes` may become in memory: batches are laid out for them before
/// the file is opened.
fn check_row_bytes(schema: &Schema, num_rows: u64, len_bytes: u64) -> Result<()> {
    let columns = schema.fields().iter().filter_map(|field| ColumnKind::of(field).row_bytes());
    let row_bytes = columns.fold(0u64, |sum, bytes| sum.saturating_add(bytes as u64));
    let cap = expansion_cap(len_bytes);
    if num_rows > 0 && row_bytes > cap {
        return Err(Error::malformed(format!(
            "expected rows of at most {cap} bytes in a file of {len_bytes}, found columns whose rows have {row_bytes}"
        )));
    }
    Ok(())
}

/// A folder with a manifest of ours.
fn our_own(folder: &Path, options: &OpenOptions, room: &Room) -> Result<Dataset> {
    let manifest = Manifest::read(&folder.join(MANIFEST))?;
    let schema = Arc::new(manifest.schema.clone());
    let (mut shards, mut chunk_rows) = (Vec::new(), Vec::new());
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
        check_row_bytes(&schema, shard.rows, shard.bytes).map_err(|error| error.at_path(&path))?;
        let rows: Vec<_> = shard.batches.iter().map(|batch| batch.rows).collect();
        let options = options.clone();
        let open = move |path: &Path| open_file(path, &options, &mut Known::new(&options));
        shards.push(Shard::open_later(shard.file.clone(), path, open, schema.clone(), rows.clone()));
        chunk_rows.push(rows);
    }
    later(schema, shards, chunk_rows, room, options)
}

/// A folder that Hugging Face's `datasets` saved.
fn hugging_face(folder: &Path, options: &OpenOptions, known: &mut Known) -> Result<Dataset> {
    let state = folder.join(hf::STATE);
    let saved = hf::saved_dataset(&read(&state)?).map_err(|error| error.at_path(&state))?;
    let paths = |names: &[String]| names.iter().map(|name| folder.join(name)).collect::<Vec<PathBuf>>();
    let dataset = open_files(&paths(&saved.data_files), options, known)?;
    if saved.indices_files.is_empty() {
        return Ok(dataset);
    }
    // The indices files say which of the rows the dataset is, in which order.
    let indices = open_files(&paths(&saved.indices_files), options, known)?;
    if indices.schema().fields().len() != 1 || *indices.schema().field(0).data_type() != DataType::UInt64 {
        return Err(Error::malformed("expected indices files of one column of u64").at_path(folder));
    }
    let mut rows = Vec::new();
    const AT_ONCE: u64 = 1 << 16;
    for start in (0..indices.len()).step_by(AT_ONCE as usize) {
        let part: Vec<_> = (start..indices.len().min(start + AT_ONCE)).collect();
        let part = indices.gather(&part)?;
        let part = part.column(0).as_primitive::<UInt64Type>();
        if arrow::array::Array::null_count(part) > 0 {
            return Err(Error::malformed("expected indices, found a null").at_path(folder));
        }
        rows.extend_from_slice(part.values());
    }
    dataset.subset(&rows).map_err(|error| error.at_path(folder))
}

/// A folder of MosaicML Streaming.
fn mosaic(folder: &Path, options: &OpenOptions, room: &mut Room) -> Result<Dataset> {
    let path = folder.join(mds::INDEX);
    let index = MdsIndex::parse(&read(&path)?).map_err(|error| error.at_path(&path))?;
    let decoder = Arc::new(MdsDecoder::new(&index.columns));
    let schema = decoder.schema();
    let inflated = index.shards.iter().filter(|shard| shard.zip.is_some()).map(|shard| shard.raw.len);
    let inflated = inflated.fold(0, u64::saturating_add);
    // Inflated shards are kept if all of them fit the budget: which of them are opened first is not known.
    let shard_room = if room.take(inflated) { u64::MAX } else { 0 };
    let (mut shards, mut chunk_rows) = (Vec::new(), Vec::new());
    for shard in index.shards {
        let raw = folder.join(&shard.raw.name);
        let (path, name, is_raw) = match &shard.zip {
            Some((zip, _)) if !raw.exists() => (folder.join(&zip.name), zip.name.clone(), false),
            _ => (raw, shard.raw.name.clone(), true),
        };
        check_row_bytes(&schema, shard.num_samples, shard.raw.len).map_err(|error| error.at_path(&path))?;
        let rows = vec![shard.num_samples];
        chunk_rows.push(rows.clone());
        let options = options.clone();
        let columns = Columns { schema: schema.clone(), decoder: decoder.clone() };
        let open = move |path: &Path| {
            let region = Region::map(path, &options.map)?;
            if is_raw {
                let source = FileSource::plain(options.load(region)?);
                return samples(&source, &shard, columns.clone());
            }
            let inflate = {
                let shard = shard.clone();
                move |region: &Region| shard.inflate(&region.read(0..region.len_bytes())?)
            };
            let source = FileSource::inflated(region, &mut Room::new(shard_room), inflate)?;
            let opened = samples(&source, &shard, columns.clone())?;
            let from = shard.zip.as_ref().map_or("", |(_, compression)| compression.name());
            Ok(Opened { inflated: Some(Inflated { from, is_kept: source.again.is_none() }), ..opened })
        };
        let open = move |path: &Path| -> Result<Opened> { open(path).map_err(|error| error.at_path(path)) };
        shards.push(Shard::open_later(name, path, open, schema.clone(), rows));
    }
    later(schema, shards, chunk_rows, room, options)
}

/// A shard of MosaicML Streaming, the bytes of which are at hand.
fn samples(source: &FileSource, shard: &MdsShard, columns: Columns) -> Result<Opened> {
    // The offsets are in the shard, which is let go of where it is inflated: they stay.
    let offsets = shard.records(&source.region)?.offsets.own()?;
    parsed(source, offsets, 4, Framing::Plain, columns)
}
