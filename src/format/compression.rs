//! Streams of compressed bytes: how each kind is inflated.
//!
//! What a stream inflates to is not bounded here: whoever reads it takes no more than it has room for.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::error::{Error, Result};

/// How a file, or a run of bytes, is compressed.
///
/// As text it is the name, in any case, that the classic readers and writers take; no text is no compression.
///
/// ```
/// use forebay::format::Compression;
///
/// assert_eq!("GZIP".parse::<Compression>()?, Compression::Gzip);
/// assert_eq!("".parse::<Compression>()?, Compression::None);
/// assert!("BZ2".parse::<Compression>().is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As [RFC 1952](https://www.rfc-editor.org/rfc/rfc1952) says; members may follow one another.
    Gzip,
    /// As [RFC 1950](https://www.rfc-editor.org/rfc/rfc1950) says; one stream, and nothing behind it.
    Zlib,
    /// As [RFC 8878](https://www.rfc-editor.org/rfc/rfc8878) says; frames may follow one another.
    Zstd,
}

/// Bytes a Zstandard frame may ask to be kept in memory while it is inflated: 128 MiB, as the library's own limit is.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    const ALL: [Compression; 4] =
        [Compression::None, Compression::Gzip, Compression::Zlib, Compression::Zstd];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zlib => "zlib",
            Compression::Zstd => "Zstandard",
        }
    }

    /// What `stored` inflates to.
    ///
    /// Reading it errs for a stream that is damaged, breaks off, or has other bytes behind it.
    pub(crate) fn decoder<'a>(
        self,
        stored: impl BufRead + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Compression::None => Box::new(stored),
            Compression::Gzip => Box::new(MultiGzDecoder::new(stored)),
            Compression::Zlib => Box::new(Zlib(ZlibDecoder::new(stored))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let is = |compression: &Compression| compression.name().eq_ignore_ascii_case(name);
        match name {
            "" => Ok(Compression::None),
            _ if name.eq_ignore_ascii_case("zstd") => Ok(Compression::Zstd),
            _ => Compression::ALL.into_iter().find(is).ok_or_else(|| {
                Error::invalid(format!(
                    "no compression is called '{name}': expected none, gzip, zlib or zstd"
                ))
            }),
        }
    }
}

/// A zlib stream, behind which nothing may stand: its decoder stops at the end of the stream without a look at what follows.
struct Zlib<R>(ZlibDecoder<R>);

impl<R: BufRead> Read for Zlib<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(out)?;
        if read == 0 && !out.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "other bytes stand behind the end of the zlib stream",
            ));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn inflate(stored: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.decoder(stored)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_zlib_stream_ends_where_its_bytes_do() {
        let stored = zlib(b"some words, some words");
        assert_eq!(inflate(&stored, Compression::Zlib).unwrap(), b"some words, some words");
        for cut in 0..stored.len() {
            assert!(inflate(&stored[..cut], Compression::Zlib).is_err(), "cut to {cut} bytes");
        }
        let error = inflate(&[&stored[..], b"\0"].concat(), Compression::Zlib).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn names_read_back() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().to_uppercase().parse::<Compression>().unwrap(), compression);
        }
        assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::Zstd);
        for bad in ["5", "BZ2", "gzip "] {
            let error = bad.parse::<Compression>().unwrap_err();
            assert!(error.message().contains(&format!("'{bad}'")), "{error}");
        }
    }
}
