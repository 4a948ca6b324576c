//! From one file to a shard: how it is compressed, which format it is in, and who opens that.
//!
//! ```text
//! first bytes, and name where they are silent ──▶ compression ──▶ what it inflates to, looked at likewise
//!                                             └─▶ format ──▶ arrays · containers · records · ipc · parquet
//! ```
//!
//! What the options say goes before what the file says, and records of one length go before all else. Of a format
//! without a mark, the first bytes may look like anything: such a file is compressed only if its name says so.
#![forbid(unsafe_code)]

use std::path::Path;

use super::inflate::{FileSource, Inflated, inflate};
use super::options::OpenOptions;
use super::records::Known;
use super::shard::Opened;
use super::{arrays, containers, records};
use crate::error::{Error, Result};
use crate::format::{Compression, FileFormat, HEAD_BYTES, detect, ipc, parquet};
use crate::map::Region;

/// Reads the metadata of a file called `name`, which lies at `path` if it is no mere memory; `known` is what the files
/// before it said.
pub(super) fn open(
    region: Region,
    name: &str,
    path: Option<&Path>,
    options: &OpenOptions,
    known: &mut Known,
) -> Result<Opened> {
    let name = name.to_ascii_lowercase();
    let has_no_mark = options.fixed.is_some() || options.tokens.is_some();
    let compression = match has_no_mark {
        true => Compression::by_name(&name),
        false => Compression::of(&head_of(&region)?, &name),
    };
    let Some(compression) = compression else {
        let source = FileSource::plain(options.load(region)?);
        return open_source(&source, &name, path, options, known);
    };
    let how = move |region: &Region| inflate(region, compression);
    let source = FileSource::inflated(region, &mut known.room, how)?;
    let mut opened = open_source(&source, &compression.name_within(&name), path, options, known)?;
    opened.inflated = Some(Inflated { from: compression.name(), is_kept: source.again.is_none() });
    // Where chunks lie in what the file inflates to says nothing of the file.
    opened.extents = Vec::new();
    Ok(opened)
}

/// As [`open`], once the file is inflated.
fn open_source(
    source: &FileSource,
    name: &str,
    path: Option<&Path>,
    options: &OpenOptions,
    known: &mut Known,
) -> Result<Opened> {
    if let Some(spec) = &options.fixed {
        return arrays::fixed(source, spec);
    }
    if let Some(spec) = &options.tokens {
        return arrays::tokens(source, spec, options);
    }
    let format = format_of(&head_of(&source.region)?, name, options);
    if format != Some(FileFormat::MegatronIndex) {
        containers::refuse_windows(options)?;
    }
    match format {
        Some(FileFormat::ArrowFile | FileFormat::ArrowStream) => {
            let region = source.kept()?;
            let table = ipc::open(region)?;
            let opened = Opened::new(Some(region.clone()), table.schema, table.chunks);
            Ok(Opened { extents: table.extents, ..opened })
        }
        Some(FileFormat::Parquet) => {
            let region = source.kept()?;
            let table = parquet::open(region)?;
            Ok(Opened::new(Some(region.clone()), table.schema, table.chunks))
        }
        Some(FileFormat::Idx) => arrays::idx(source, options),
        Some(FileFormat::Npy) => arrays::npy(source, options),
        Some(FileFormat::Npz) => arrays::npz(source),
        Some(FileFormat::Csv) => records::csv(source, options, known, name.ends_with(".tsv")),
        Some(FileFormat::TfRecord) => records::tfrecord(source, options, known),
        Some(FileFormat::Text) => records::text(source, options),
        Some(FileFormat::Tar) => containers::tar(source),
        Some(FileFormat::MegatronIndex) => containers::megatron(source, path, options),
        Some(FileFormat::Gzip | FileFormat::Zstd) => {
            Err(Error::unsupported("expected one layer of compression, found two"))
        }
        None => Err(Error::unsupported(
            "the format of the file was not recognised: expected Arrow IPC (file or stream), Parquet, CSV, TFRecord, tar, \
             text, idx, npy or npz, by content or by name. For records of one length say how they are laid out \
             (OpenOptions::fixed, --fixed), for tokens how they are cut (OpenOptions::tokens, --tokens), for others \
             name the format (OpenOptions::format, --format)",
        )),
    }
}

/// The format of a file that begins with `head`: as the options say, else as the file's content says, else as its name
/// does. That there are options for CSV goes before a name that says text, and before one that says nothing.
fn format_of(head: &[u8], name: &str, options: &OpenOptions) -> Option<FileFormat> {
    let by_options = options.csv.is_some().then_some(FileFormat::Csv);
    let found = detect(head, name);
    let by_name_alone = matches!(found, Some(FileFormat::Csv | FileFormat::Text));
    options.format.or(found.filter(|_| by_options.is_none() || !by_name_alone)).or(by_options)
}

fn head_of(region: &Region) -> Result<Vec<u8>> {
    region.read(0..region.len_bytes().min(HEAD_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::CsvOptions;

    #[test]
    fn options_go_before_content_and_content_before_names() {
        let csv = || OpenOptions::default().csv(CsvOptions::new());
        let npy: &[u8] = b"\x93NUMPY\x01\0v\0{'desc";
        for (head, name, options, format) in [
            (npy, "a.csv", OpenOptions::default(), Some(FileFormat::Npy)),
            (npy, "a.csv", csv(), Some(FileFormat::Npy)),
            (npy, "a.csv", csv().format(FileFormat::Text), Some(FileFormat::Text)),
            (b"1,2", "a.csv", OpenOptions::default(), Some(FileFormat::Csv)),
            (b"1,2", "a.txt", OpenOptions::default(), Some(FileFormat::Text)),
            (b"1,2", "a.txt", csv(), Some(FileFormat::Csv)),
            (b"1,2", "a.data", csv(), Some(FileFormat::Csv)),
            (b"1,2", "a.data", OpenOptions::default(), None),
        ] {
            assert_eq!(format_of(head, name, &options), format, "{name}");
        }
    }
}
