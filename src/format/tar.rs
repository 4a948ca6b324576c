//! Tar archives: where each file in one lies.
//!
//! ```text
//!     byte 0         512                      a multiple of 512
//!          ┌─────────┬────────── ─ ─ ┬───────┬─────────┬── ─ ─   ─ ─┬─────────┬─────────┐
//!          │ header  │ content       │ zeros │ header  │            │ zeros   │ zeros   │
//!          └─────────┴────────── ─ ─ ┴───────┴─────────┴── ─ ─   ─ ─┴─────────┴─────────┘
//!                                                                    the end: two blocks of zeros, or nothing
//!
//!     header   byte     0 name[100]     124 size[12]     148 checksum[8]     156 type     257 magic[6]     345 prefix[155]
//! ```
//!
//! Numbers are octal digits that end in a space or NUL, or (GNU) a byte 80 and 11 bytes of a big-endian number. The
//! checksum is the sum of the header's bytes, its own taken as spaces. After the magic `ustar`, NUL, the name is
//! `prefix/name`. What does not fit a header comes in a member of its own before it:
//!
//! ```text
//!     type L    the name of the next member (GNU), and K the target of a link
//!     type x    keywords of the next member, g of all that follow (pax):   "19 path=a/b.jpg\n" …
//! ```
//!
//! Only headers and such extra members are read, never content. Folders, links and devices are passed over.
//! Refused by name: sparse files, whose content is not what lies in the archive, and archives cut into volumes;
//! also a name or size that pax gives to every member. An archive that breaks off anywhere but between two members
//! is malformed; what follows its end is ignored.
//!
//! Sources: POSIX.1-2024, [pax], section "EXTENDED DESCRIPTION"; GNU tar manual, ["Basic Tar Format"].
//!
//! [pax]: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
//! ["Basic Tar Format"]: https://www.gnu.org/software/tar/manual/html_node/Standard.html
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::map::Region;

/// Headers and contents begin at multiples of this.
pub(crate) const BLOCK_BYTES: usize = 512;

/// The longest name, and the most pax keywords, that a member may have.
const EXTRA_BYTES_MAX: u64 = 1 << 20;

type Block = [u8; BLOCK_BYTES];

/// A regular file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Where its header begins.
    pub(crate) header_at: u64,
    /// The name, with its folders; in no particular encoding.
    pub(crate) path: Vec<u8>,
    /// Where its content begins.
    pub(crate) start: u64,
    /// Bytes of its content.
    pub(crate) len: u64,
}

/// Whether a file that begins with `head` is a tar archive; [`BLOCK_BYTES`] bytes are enough, fewer never are.
pub(crate) fn looks_like(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|block: &Block| block[0] != 0 && has_checksum(block))
}

/// Visits the regular files of an archive in their order.
///
/// # Errors
///
/// `Malformed` at the byte where the archive breaks its format or off; `Unsupported` for sparse files and volumes;
/// those of [`Region::check`] and of `visit`.
pub(crate) fn for_each_file(region: &Region, visit: impl FnMut(File) -> Result<()>) -> Result<()> {
    let result = walk(region, visit);
    // Bytes that could not be read were taken for zeros: that is told before anything they seemed to say.
    region.check()?;
    result
}

/// What extra members say of the next one.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    len: Option<u64>,
    is_sparse: bool,
}

fn walk(region: &Region, mut visit: impl FnMut(File) -> Result<()>) -> Result<()> {
    let archive_len = region.len_bytes();
    if archive_len == 0 {
        return Err(Error::malformed("expected a tar archive, found an empty file").at_byte(0));
    }
    let (mut at, mut extra, mut expects_member) = (0, Extra::default(), false);
    while at < archive_len {
        let block = block_at(region, at)?;
        if block == [0; BLOCK_BYTES] {
            let next = at + BLOCK_BYTES as u64;
            if next < archive_len && block_at(region, next)? != [0; BLOCK_BYTES] {
                let message =
                    "expected a tar archive to end in two blocks of zeros, found one between members";
                return Err(Error::malformed(message).at_byte(at));
            }
            break;
        }
        if !has_checksum(&block) {
            let message = "expected a tar header with the checksum of its bytes, found another";
            return Err(Error::malformed(message).at_byte(at));
        }
        let kind = block[156];
        // Links, devices and folders have no content, whatever they say of its size.
        let len = match (kind, extra.len) {
            (b'1'..=b'6', _) => 0,
            (b'L' | b'K' | b'x' | b'X' | b'g', _) | (_, None) => {
                size_of(&block).map_err(|e| e.at_byte(at + 124))?
            }
            (_, Some(len)) => len,
        };
        let start = at + BLOCK_BYTES as u64;
        let next = start.checked_add(len).and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES as u64));
        let Some(next) = next.filter(|&next| next <= archive_len) else {
            let name = shown(extra.path.as_deref().unwrap_or(&name_of(&block)));
            return Err(Error::malformed(format!(
                "expected the {len} bytes of '{name}' at byte {start}, found an archive of {archive_len} bytes"
            ))
            .at_byte(archive_len));
        };
        expects_member = false;
        match kind {
            b'L' => {
                let mut name = extra_bytes(region, start, len)?;
                name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
                extra.path = Some(name);
                expects_member = true;
            }
            b'K' => expects_member = true,
            b'x' | b'X' => {
                let keywords = extra_bytes(region, start, len)?;
                read_pax(&keywords, start, |keyword, value| extra.take(keyword, value))?;
                if extra.is_sparse {
                    return Err(sparse(extra.path.as_deref().unwrap_or_default()).at_byte(at));
                }
                expects_member = true;
            }
            b'g' => {
                let keywords = extra_bytes(region, start, len)?;
                read_pax(&keywords, start, refuse_for_all)?;
            }
            b'S' => return Err(sparse(extra.path.as_deref().unwrap_or(&name_of(&block))).at_byte(at)),
            b'M' => {
                return Err(
                    Error::unsupported("the archive goes on from another volume: join them").at_byte(at)
                );
            }
            b'0' | b'7' | 0 => {
                let path = extra.path.take().unwrap_or_else(|| name_of(&block));
                // Before there was a type for folders, a slash made one.
                if kind != 0 || !path.ends_with(b"/") {
                    visit(File { header_at: at, path, start, len })?;
                }
            }
            _ => {}
        }
        if !expects_member && kind != b'g' {
            extra = Extra::default();
        }
        at = next;
    }
    if expects_member {
        let message =
            "expected the member that a name or keywords were given for, found the end of the archive";
        return Err(Error::malformed(message).at_byte(at.min(archive_len)));
    }
    Ok(())
}

fn block_at(region: &Region, at: u64) -> Result<Block> {
    let held = region.len_bytes() - at;
    if held < BLOCK_BYTES as u64 {
        return Err(Error::malformed(format!("expected a tar header of {BLOCK_BYTES} bytes, found {held}"))
            .at_byte(region.len_bytes()));
    }
    let mut block = [0; BLOCK_BYTES];
    region.copy_out(at, &mut block)?;
    Ok(block)
}

fn has_checksum(block: &Block) -> bool {
    let Some(declared) = octal(&block[148..156]) else { return false };
    let counted = |i: usize| if (148..156).contains(&i) { b' ' } else { block[i] };
    let sum: u64 = (0..BLOCK_BYTES).map(|i| u64::from(counted(i))).sum();
    // Some old writers summed signed bytes.
    let signed: i64 = (0..BLOCK_BYTES).map(|i| i64::from(counted(i) as i8)).sum();
    declared == sum || i64::try_from(declared) == Ok(signed)
}

fn size_of(block: &Block) -> Result<u64> {
    let field = &block[124..136];
    let size = match *field {
        [0x80, 0, 0, 0, ref low @ ..] => low.first_chunk().map(|&low| u64::from_be_bytes(low)),
        [0x80..=0xFF, ..] => None,
        _ => octal(field),
    };
    size.ok_or_else(|| {
        Error::malformed(format!("expected the size of a tar member, found '{}'", field.escape_ascii()))
    })
}

/// The octal number in a field; one that is blank is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.split(|&b| b == 0).next().unwrap_or_default().trim_ascii();
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// The name in the header itself.
fn name_of(block: &Block) -> Vec<u8> {
    let text = |field: &[u8]| field.split(|&b| b == 0).next().unwrap_or_default().to_vec();
    let name = text(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { Vec::new() };
    if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
}

/// The content of an extra member.
fn extra_bytes(region: &Region, start: u64, len: u64) -> Result<Vec<u8>> {
    if len > EXTRA_BYTES_MAX {
        let message =
            format!("expected a name or pax keywords of at most {EXTRA_BYTES_MAX} bytes, found {len}");
        return Err(Error::malformed(message).at_byte(start));
    }
    region.read(start..start + len)
}

/// Hands out the keywords and values of a pax member, whose content lies at byte `start`.
fn read_pax(content: &[u8], start: u64, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let mut rest = content;
    // Some writers fill up with NULs.
    while !matches!(rest, [] | [0, ..]) {
        let at = start + (content.len() - rest.len()) as u64;
        let (keyword, value, behind) = pax_record(rest).ok_or_else(|| {
            let message = "expected a pax record, a length, a keyword and a value, found something else";
            Error::malformed(message).at_byte(at)
        })?;
        take(keyword, value).map_err(|e| e.at_byte(at))?;
        rest = behind;
    }
    Ok(())
}

/// The keyword and the value of a record `<length> <keyword>=<value>\n`, and what follows it.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let len: usize = str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (record, behind) = bytes.split_at_checked(len)?;
    let record = record.get(digits..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], behind))
}

impl Extra {
    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<()> {
        match keyword {
            b"path" => self.path = Some(value.to_vec()),
            b"size" => {
                let len = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                self.len = Some(len.ok_or_else(|| {
                    Error::malformed(format!("expected the size of a tar member, found '{}'", shown(value)))
                })?);
            }
            _ if keyword.starts_with(b"GNU.sparse.") => {
                self.is_sparse = true;
                if keyword == b"GNU.sparse.name" {
                    self.path = Some(value.to_vec());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A name or a size for every member would make them all the same.
fn refuse_for_all(keyword: &[u8], _: &[u8]) -> Result<()> {
    match keyword {
        b"path" | b"size" => {
            let keyword = shown(keyword);
            Err(Error::unsupported(format!(
                "the archive gives all of its members the same pax keyword '{keyword}'"
            )))
        }
        _ => Ok(()),
    }
}

fn sparse(path: &[u8]) -> Error {
    Error::unsupported(format!(
        "'{}' is a sparse file, whose holes are left out of the archive: archive it without --sparse",
        shown(path)
    ))
}

/// The beginning of a name, fit for a message.
pub(super) fn shown(name: &[u8]) -> String {
    const SHOWN: usize = 128;
    let dots = if name.len() > SHOWN { "…" } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(&name[..name.len().min(SHOWN)]))
}

#[cfg(test)]
mod tests;
