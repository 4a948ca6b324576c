//! From paths to a dataset: the files one after another, matched column by column.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use super::Dataset;
use super::decoded::DecodedChunks;
use super::folders;
use super::formats;
use super::inflate::Room;
use super::options::OpenOptions;
use super::records::{self, Known};
use super::shard::{Opened, Shard};
use super::sidecar::Stamp;
use super::source::{file_name, files_of};
use super::table::{Chunk, Table};
use crate::error::{Error, Result};
use crate::layout::ColumnKind;
use crate::map::{Advice, Region};

/// Opens every path, one after another, as one dataset.
pub(super) fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
    let mut known = Known::new(options);
    let mut all: Option<Dataset> = None;
    // Files one after another are one table, in which a row is found at once.
    for run in paths.chunk_by(|one, next| !one.is_dir() && !next.is_dir()) {
        let opened = match run {
            [folder] if folder.is_dir() => folders::open(folder, options, &mut known)?,
            paths => {
                let files = paths.iter().map(|path| files_of(path)).collect::<Result<Vec<_>>>()?.concat();
                open_files(&files, options, &mut known)?
            }
        };
        all = Some(match all {
            None => opened,
            Some(all) => all.concat(&opened)?,
        });
    }
    all.ok_or_else(|| Error::invalid("expected at least one path, found an empty list"))
}

/// Writes an index beside each file whose format has one; the files need not have the same columns.
pub(super) fn write_index(paths: &[PathBuf], options: &OpenOptions) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for path in paths {
        for file in files_of(path)? {
            // Before the file is read: an index of what it was does not belong to what it became meanwhile.
            let stamp = Stamp::of(&file)?;
            let opened = open_file(&file, options, &mut Known::new(options))?;
            written.extend(records::write_index(&file, &stamp, &opened)?);
        }
    }
    Ok(written)
}

/// Files of equal columns, all opened now; `known` is what the files before them said. Columns are matched by name.
pub(super) fn open_files(files: &[PathBuf], options: &OpenOptions, known: &mut Known) -> Result<Dataset> {
    let mut open = OpenFiles::default();
    for path in files {
        open.push(path, open_file(path, options, known)?)?;
    }
    open.into_dataset(&known.room)
}

/// Opens `bytes`, those of a file called `name`.
pub(super) fn open_bytes(name: &str, bytes: Vec<u8>, options: &OpenOptions) -> Result<Dataset> {
    let path = Path::new(name);
    let mut known = Known::new(options);
    let opened = formats::open(Region::from_vec(bytes), &file_name(path), None, options, &mut known);
    let mut open = OpenFiles::default();
    open.push(path, opened.map_err(|error| error.at_path(path))?)?;
    open.into_dataset(&known.room)
}

/// Maps one file and reads its metadata; `known` is what the files before it said.
pub(super) fn open_file(path: &Path, options: &OpenOptions, known: &mut Known) -> Result<Opened> {
    let region = Region::map(path, &options.map)?;
    // Nothing is read that nobody asked for, metadata included; who reads in order says so (`Dataset::advise`).
    let _ = region.advise(0..region.len_bytes(), Advice::Random);
    let opened = formats::open(region, &file_name(path), Some(path), options, known)
        .map_err(|error| error.at_path(path))?;
    // What was read is only good if the files were whole while they were read.
    opened.regions().try_for_each(Region::check)?;
    Ok(opened)
}

/// Files one after another, which have the columns of the first.
#[derive(Default)]
struct OpenFiles {
    /// The first file, and its columns.
    first: Option<(PathBuf, SchemaRef)>,
    shards: Vec<Arc<Shard>>,
    chunks: Vec<Chunk>,
}

impl OpenFiles {
    fn push(&mut self, path: &Path, opened: Opened) -> Result<()> {
        let (first, schema) = self.first.get_or_insert_with(|| (path.to_owned(), opened.schema.clone()));
        let columns = columns_in(schema, &opened.schema).ok_or_else(|| {
            Error::mismatch(format!(
                "expected the columns of {}, {}, found {}",
                first.display(),
                in_words(schema),
                in_words(&opened.schema)
            ))
            .at_path(path)
        })?;
        if schema.fields() != opened.schema.fields() {
            *schema = Arc::new(with_nulls_of(schema, &opened.schema));
        }
        let rows = opened.chunk_rows().collect();
        let shard = Arc::new(Shard::open_now(file_name(path), Some(path), opened));
        self.chunks.extend(Chunk::of_shard(&shard, rows, columns));
        self.shards.push(shard);
        Ok(())
    }

    /// # Panics
    ///
    /// If there is no file.
    fn into_dataset(self, room: &Room) -> Result<Dataset> {
        let (_, schema) = self.first.expect("at least one file is open");
        let decoded = DecodedChunks::new(room.left_bytes());
        Dataset::of_table(schema, Table::new(self.shards, self.chunks, decoded)?)
    }
}

/// Where the columns of `schema` stand in `other`: `Some(None)` where they stand alike, `None` where they are others.
/// Whether a column may hold nulls makes no other column of it.
fn columns_in(schema: &Schema, other: &Schema) -> Option<Option<Arc<[usize]>>> {
    if schema.fields().len() != other.fields().len() {
        return None;
    }
    let alike = |ours: &Field, theirs: &Field| {
        ours.name() == theirs.name()
            && ours.data_type() == theirs.data_type()
            && ColumnKind::of(ours) == ColumnKind::of(theirs)
    };
    if schema.fields().iter().zip(other.fields()).all(|(ours, theirs)| alike(ours, theirs)) {
        return Some(None);
    }
    let place = |ours: &FieldRef| other.fields().iter().position(|theirs| alike(ours, theirs));
    let places = schema.fields().iter().map(place).collect::<Option<Vec<_>>>()?;
    // No column stands for two.
    let distinct = (0..places.len()).all(|column| places.contains(&column));
    distinct.then(|| Some(places.into()))
}

/// `schema`, its columns nullable also where those of the same name in `other` are.
fn with_nulls_of(schema: &Schema, other: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let theirs = other.field_with_name(field.name()).is_ok_and(|theirs| theirs.is_nullable());
        Arc::new(field.as_ref().clone().with_nullable(field.is_nullable() || theirs))
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// The columns and their types.
pub(crate) fn in_words(schema: &Schema) -> String {
    let columns: Vec<_> =
        schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
    format!("({})", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(
            fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn columns_are_matched_by_name_and_type() {
        let ab = schema(&[("a", DataType::Int8), ("b", DataType::Int16)]);
        assert_eq!(columns_in(&ab, &ab), Some(None));
        let ba = schema(&[("b", DataType::Int16), ("a", DataType::Int8)]);
        assert_eq!(columns_in(&ab, &ba), Some(Some([1, 0].into())));
        for other in [
            schema(&[("a", DataType::Int8)]),
            schema(&[("a", DataType::Int8), ("b", DataType::Int8)]),
            schema(&[("a", DataType::Int8), ("c", DataType::Int16)]),
        ] {
            assert_eq!(columns_in(&ab, &other), None, "{}", in_words(&other));
        }
        let aa = schema(&[("a", DataType::Int8), ("a", DataType::Int8)]);
        assert_eq!(columns_in(&aa, &ab), None);
    }

    #[test]
    fn a_column_may_hold_nulls_where_one_of_the_files_has_them() {
        let never = schema(&[("a", DataType::Int8)]);
        let maybe = Schema::new(vec![Field::new("a", DataType::Int8, true)]);
        for (first, other) in [(&never, &maybe), (&maybe, &never)] {
            assert_eq!(columns_in(first, other), Some(None));
            assert_eq!(with_nulls_of(first, other), maybe);
        }
        assert_eq!(with_nulls_of(&never, &never), never);
    }
}
