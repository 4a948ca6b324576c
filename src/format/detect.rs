//! Which format a file is in: what its first bytes say, and where they say nothing, its name.
//!
//! ```text
//!     A  R  R  O  W  1 00 00                       Arrow IPC file
//!     FF FF FF FF                                  Arrow IPC stream
//!     P  A  R  1                                   Parquet; PARE with an encrypted footer
//!     93 N  U  M  P  Y                             NPY
//!     1F 8B                                        gzip
//!     28 B5 2F FD                                  Zstandard
//!     P  K  03 04, or 05 06 where it is empty      zip: NPZ
//!     M  M  I  D  I  D  X  00 00                   index of Megatron-LM's tokens
//!     length: u64, its masked CRC-32C: u32         TFRecord
//!     "ustar" at byte 257, or a right checksum     tar
//!     00 00  T  D                                  IDX (T one of its element types, D above 0)
//!     L  L  L 00  R 00 00 00                       Arrow IPC stream of before version 0.15 (2019),
//!                                                  little-endian L: a message's length, R: its root
//! ```
//!
//! The patterns exclude one another, so their order does not matter. Fixed-length and token files have neither a
//! magic nor a name of their own and are never detected; CSV and text are by their names alone.
//!
//! Sources: [Arrow columnar format], section "Serialization and Interprocess Communication (IPC)";
//! RFC 1952 (gzip); [`idx`] and [`npy`] name theirs.
//!
//! [Arrow columnar format]: https://arrow.apache.org/docs/format/Columnar.html
#![forbid(unsafe_code)]

use super::{idx, megatron, npy, npz, tar, tfrecord};

/// How many bytes of a file [`detect`] looks at.
pub const HEAD_BYTES: usize = 512;

/// A format a file can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// Arrow IPC with a footer: random access.
    ArrowFile,
    /// Arrow IPC without a footer: one message after another.
    ArrowStream,
    /// Parquet: row groups, and a footer that says where they lie.
    Parquet,
    /// One array, as in the MNIST files.
    Idx,
    /// One array, as NumPy saves it.
    Npy,
    /// Arrays, each as NumPy saves it, in a zip archive.
    Npz,
    /// Records of delimited fields.
    Csv,
    /// Records with lengths and checksums, as TensorFlow writes them.
    TfRecord,
    /// Files one after another: samples of WebDataset.
    Tar,
    /// Lines.
    Text,
    /// Where the documents of a file of tokens lie, as Megatron-LM writes it.
    MegatronIndex,
    /// Any other format, compressed: inflate it, take `.gz` off the name, and look again.
    Gzip,
    /// As `Gzip`, compressed by Zstandard.
    Zstd,
}

/// The format of a file that is called `name` and begins with `head`, its first [`HEAD_BYTES`] bytes (or
/// all of a shorter file). `None` when neither says.
///
/// The name is asked only when the content is silent: Hugging Face calls its streams `.arrow`.
pub fn detect(head: &[u8], name: &str) -> Option<FileFormat> {
    by_content(head).or_else(|| by_name(&name.to_ascii_lowercase()))
}

fn by_content(head: &[u8]) -> Option<FileFormat> {
    Some(match head {
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => FileFormat::ArrowFile,
        [0xFF, 0xFF, 0xFF, 0xFF, ..] => FileFormat::ArrowStream,
        [b'P', b'A', b'R', b'1' | b'E', ..] => FileFormat::Parquet,
        [0x1F, 0x8B, ..] => FileFormat::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => FileFormat::Zstd,
        _ if npz::looks_like(head) => FileFormat::Npz,
        _ if megatron::looks_like(head) => FileFormat::MegatronIndex,
        _ if tfrecord::looks_like(head) => FileFormat::TfRecord,
        _ if tar::looks_like(head) => FileFormat::Tar,
        _ if head.starts_with(npy::MAGIC) => FileFormat::Npy,
        _ if idx::is_idx(head) => FileFormat::Idx,
        _ if is_legacy_stream(head) => FileFormat::ArrowStream,
        _ => return None,
    })
}

/// Whether `head` can begin a stream from before messages had a continuation mark: the length of the
/// first message, which with its own 4 bytes fills whole words of 8, then the offset of its root table,
/// which lies near its front.
fn is_legacy_stream(head: &[u8]) -> bool {
    let &[a, b, c, 0, root, 0, 0, 0, ..] = head else { return false };
    let len = u32::from_le_bytes([a, b, c, 0]);
    len % 8 == 4 && root % 4 == 0 && root >= 8 && u32::from(root) < len
}

fn by_name(name: &str) -> Option<FileFormat> {
    let names_idx = |stem: &str| stem.ends_with("-ubyte") && (stem.contains("-idx") || stem.contains(".idx"));
    Some(match name.rsplit_once('.') {
        Some((_, "gz" | "gzip" | "tgz")) => FileFormat::Gzip,
        Some((_, "zst" | "zstd")) => FileFormat::Zstd,
        Some((_, "npz")) => FileFormat::Npz,
        Some((_, "csv" | "tsv")) => FileFormat::Csv,
        Some((_, "tfrecord" | "tfrecords" | "tfrec")) => FileFormat::TfRecord,
        Some((_, "tar")) => FileFormat::Tar,
        Some((_, "txt" | "text" | "jsonl" | "ndjson")) => FileFormat::Text,
        Some((_, "arrow" | "arrow_file" | "feather")) => FileFormat::ArrowFile,
        Some((_, "arrows" | "stream")) => FileFormat::ArrowStream,
        Some((_, "parquet" | "parq")) => FileFormat::Parquet,
        Some((_, "npy")) => FileFormat::Npy,
        _ if names_idx(name) => FileFormat::Idx,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEGACY: &[u8] = &[0x34, 5, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x0A, 0, 0x0E, 0, 6, 0];

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut record = (payload.len() as u64).to_le_bytes().to_vec();
        record.extend(tfrecord::masked_crc(&record).to_le_bytes());
        record.extend_from_slice(payload);
        record.extend(tfrecord::masked_crc(payload).to_le_bytes());
        record
    }

    /// The header of a member of a tar archive that is an empty file.
    fn member(name: &[u8]) -> [u8; 512] {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[124..136].copy_from_slice(b"00000000000\0");
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn content_speaks_first() {
        for (head, format) in [
            (&b"ARROW1\0\0\xff\xff\xff\xff\x10\x01\0\0"[..], FileFormat::ArrowFile),
            (b"\xff\xff\xff\xff\x38\x05\0\0\x10\0\0\0\0\0\x0a\0", FileFormat::ArrowStream),
            (b"\xff\xff\xff\xff\0\0\0\0", FileFormat::ArrowStream),
            (LEGACY, FileFormat::ArrowStream),
            (b"PAR1\x15\0\x15\x18", FileFormat::Parquet),
            (b"PARE\x15\0\x15\x18", FileFormat::Parquet),
            (b"\x93NUMPY\x01\0v\0{'desc", FileFormat::Npy),
            (b"\x1f\x8b\x08\0", FileFormat::Gzip),
            (b"\x28\xb5\x2f\xfd\x24\0", FileFormat::Zstd),
            (b"PK\x03\x04\x14\0", FileFormat::Npz),
            (b"PK\x05\x06\0\0", FileFormat::Npz),
            (b"MMIDIDX\0\0\x01", FileFormat::MegatronIndex),
            (&record(b"a payload"), FileFormat::TfRecord),
            (&member(b"0.txt"), FileFormat::Tar),
            (&[0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28], FileFormat::Idx),
            (&[0, 0, 8, 1, 8, 0, 0, 0, 1], FileFormat::Idx),
        ] {
            for name in ["", "data.bin", "misleading.npy", "misleading.gz", "misleading.arrow"] {
                assert_eq!(detect(head, name), Some(format), "{name}");
            }
        }
    }

    #[test]
    fn the_name_speaks_when_the_content_is_silent() {
        for (name, format) in [
            ("train/shard-0.arrow", Some(FileFormat::ArrowFile)),
            ("t.Feather", Some(FileFormat::ArrowFile)),
            ("t.arrows", Some(FileFormat::ArrowStream)),
            ("generated.stream", Some(FileFormat::ArrowStream)),
            ("part-0.parquet", Some(FileFormat::Parquet)),
            ("X.NPY", Some(FileFormat::Npy)),
            ("train-images-idx3-ubyte", Some(FileFormat::Idx)),
            ("train-images.idx3-ubyte", Some(FileFormat::Idx)),
            ("train-images-idx3-ubyte.gz", Some(FileFormat::Gzip)),
            ("x.npy.gz", Some(FileFormat::Gzip)),
            ("archive.npz", Some(FileFormat::Npz)),
            ("a.csv", Some(FileFormat::Csv)),
            ("a.TSV", Some(FileFormat::Csv)),
            ("train.tfrecord", Some(FileFormat::TfRecord)),
            ("train.tfrecords", Some(FileFormat::TfRecord)),
            ("train.tfrec", Some(FileFormat::TfRecord)),
            ("shard.tar", Some(FileFormat::Tar)),
            ("a.txt", Some(FileFormat::Text)),
            ("a.text", Some(FileFormat::Text)),
            ("a.jsonl", Some(FileFormat::Text)),
            ("a.ndjson", Some(FileFormat::Text)),
            ("shard.tgz", Some(FileFormat::Gzip)),
            ("a.csv.gzip", Some(FileFormat::Gzip)),
            ("a.csv.zst", Some(FileFormat::Zstd)),
            ("a.csv.zstd", Some(FileFormat::Zstd)),
            ("part-0.parq", Some(FileFormat::Parquet)),
            ("t.arrow_file", Some(FileFormat::ArrowFile)),
            // An index of tokens and an array of idx are known by their content alone.
            ("corpus.idx", None),
            ("tokens.bin", None),
            ("a.json", None),
            ("npy", None),
            ("", None),
        ] {
            for head in [&b""[..], b"ARROW", b"MMIDIDX\0", b"a,b\n1,2\n", &[0; 16], &[0; HEAD_BYTES]] {
                assert_eq!(detect(head, name), format, "{name}");
            }
        }
    }

    #[test]
    fn a_legacy_stream_needs_a_plausible_length_and_root() {
        for (at, value) in [(0, 0x38), (0, 0x33), (3, 1), (4, 0x11), (4, 4), (5, 1)] {
            let mut head = LEGACY.to_vec();
            head[at] = value;
            assert_eq!(detect(&head, ""), None, "byte {at} = {value:#x}");
        }
        assert_eq!(detect(&[0x0C, 0, 0, 0, 0x10, 0, 0, 0], ""), None, "a root behind the message");
        for len in 0..8 {
            assert_eq!(detect(&LEGACY[..len], ""), None, "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn any_head_and_name_is_answered(head in prop::collection::vec(any::<u8>(), 0..600), name: String) {
            let _ = detect(&head, &name);
        }
    }
}
