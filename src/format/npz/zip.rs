//! The members of a zip archive: where each lies, and how it is inflated.
//!
//! Every number is little-endian. An archive is read from its end:
//!
//! ```text
//!     ┌── ─ ─ ─────────────────────────┬── ─ ─ ──┬─────────────────────────┬──────────────────────────────────┬── ─ ─ ──┐
//!     │ local header, content, …        │ entries │ (zip64 end, locator)    │ end record                       │ comment │
//!     └── ─ ─ ─────────────────────────┴── ─ ─ ──┴─────────────────────────┴──────────────────────────────────┴── ─ ─ ──┘
//!
//!     local header   50 4B 03 04   …   6 flags  8 method              26 name[len]  28 extra[len]   30 name, extra
//!     entry          50 4B 01 02   …   8 flags 10 method 16 crc  20 packed 24 len 28 name[len] 30 extra[len]
//!                                      32 comment[len] 34 disk 42 local header      46 name, extra, comment
//!     end record     50 4B 05 06   4 disk 6 disk  8 entries 10 entries  12 bytes 16 start 20 comment[len]  22 comment
//!     zip64 end      50 4B 06 06   16 disk 20 disk  24 entries 32 entries  40 bytes 48 start              56
//!     locator        50 4B 06 07   4 disk  8 zip64 end  16 disks                                          20
//! ```
//!
//! A number of FF FF FF FF (or FF FF) in an entry or the end record is in the entry's zip64 extra or the zip64 end.
//! What is said of a member in two places must agree, contents must lie between the archive's start and the entries, and
//! no two may overlap, so that inflating all members costs what the file pays for.
//!
//! Deliberately absent: encryption, archives of several disks, methods other than stored and deflated, archives behind
//! other data. The reader is our own because crates for zip want `Read + Seek` over a file or a slice: here the end, the
//! entries and the local headers are copied out of the region, and content is not touched before it is asked for.
//!
//! Source: PKWARE, [APPNOTE.TXT], version 6.3.10.
//!
//! [APPNOTE.TXT]: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
#![forbid(unsafe_code)]

use std::io::{self, Read};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::error::{Error, ErrorKind, Result};
use crate::format::piece::expansion_cap;
use crate::map::Region;

/// What an archive begins with, be it empty or not.
pub(super) fn looks_like(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const ZIP64_END_BYTES: u64 = 56;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: u64 = 30;

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Whether its content is compressed with deflate; else it lies in the archive as it is.
    pub(crate) is_deflated: bool,
    /// Where its content begins in the archive.
    pub(crate) start: u64,
    /// Bytes of its content in the archive.
    pub(crate) packed_len: u64,
    /// Bytes of its content.
    pub(crate) len: u64,
    /// The CRC-32 of its content.
    pub(crate) crc32: u32,
    header_at: u64,
}

/// The members of the archive `region`, in the order of its entries, without folders.
///
/// # Errors
///
/// `Malformed` where the archive breaks the format; `Unsupported` for encryption, several disks and other methods;
/// `TooLarge` for contents that claim to be much larger than the archive.
pub(super) fn members(region: &Region) -> Result<Vec<Member>> {
    let (start, end, num_entries) = entries_range(region)?;
    let bytes = region.read(start..end)?;
    let mut rest = &bytes[..];
    let mut members = Vec::new();
    for _ in 0..num_entries {
        let at = end - rest.len() as u64;
        let (member, behind) = entry(rest).map_err(|e| e.at_byte(at))?;
        rest = behind;
        if let Some(mut member) = member {
            member.start = content_start(region, &member).map_err(|e| e.at_byte(member.header_at))?;
            if member.start.checked_add(member.packed_len).is_none_or(|content_end| content_end > start) {
                return Err(Error::malformed(format!(
                    "expected the {} bytes of '{}' to end before the entries at byte {start}, found them to begin at \
                     byte {}",
                    member.packed_len, member.name, member.start
                ))
                .at_byte(at));
            }
            members.push(member);
        }
    }
    let mut places: Vec<_> = members.iter().map(|m| (m.header_at, m.start + m.packed_len)).collect();
    places.sort_unstable();
    if let Some(pair) = places.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        let message = "expected the members of the archive to lie one after another, found two that overlap";
        return Err(Error::malformed(message).at_byte(pair[1].0));
    }
    let inflated = members.iter().filter(|m| m.is_deflated).fold(0u64, |sum, m| sum.saturating_add(m.len));
    let cap = expansion_cap(region.len_bytes());
    if inflated > cap {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected an archive of {} bytes to inflate to at most {cap}, found it to claim {inflated}",
                region.len_bytes()
            ),
        ));
    }
    Ok(members)
}

impl Member {
    /// Its content, at most the first `len` bytes of it. Memory grows with what there is, never with what is claimed.
    pub(super) fn prefix(&self, region: &Region, len: u64) -> Result<Vec<u8>> {
        let packed = Packed { region, at: self.start, end: self.start + self.packed_len };
        let mut content = Vec::new();
        let read = if self.is_deflated {
            DeflateDecoder::new(packed).take(len).read_to_end(&mut content)
        } else {
            packed.take(len).read_to_end(&mut content)
        };
        region.check()?;
        read.map_err(|e| {
            Error::malformed(format!("'{}' breaks off after {} bytes: {e}", self.name, content.len()))
                .at_byte(self.start)
                .with_source(e)
        })?;
        Ok(content)
    }

    /// Its content, checked against its length and checksum.
    ///
    /// # Errors
    ///
    /// `Malformed` where the compression breaks off, and for another length; `Mismatch` for another checksum.
    pub(super) fn content(&self, region: &Region) -> Result<Vec<u8>> {
        let content = self.prefix(region, self.len.saturating_add(1))?;
        if content.len() as u64 != self.len {
            let found =
                if content.len() as u64 > self.len { "more".to_owned() } else { content.len().to_string() };
            let message = format!("expected '{}' to inflate to {} bytes, found {found}", self.name, self.len);
            return Err(Error::malformed(message).at_byte(self.start));
        }
        let mut crc = Crc::new();
        crc.update(&content);
        if crc.sum() != self.crc32 {
            return Err(Error::mismatch(format!(
                "expected '{}' to have the CRC-32 {:08x}, found {:08x}",
                self.name,
                self.crc32,
                crc.sum()
            ))
            .at_byte(self.start));
        }
        Ok(content)
    }
}

/// The packed content of a member, copied out as it is read.
struct Packed<'a> {
    region: &'a Region,
    at: u64,
    end: u64,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        self.region.copy_out(self.at, &mut buffer[..len]).map_err(io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Where the entries begin and end, and how many there are.
fn entries_range(region: &Region) -> Result<(u64, u64, u64)> {
    let archive_len = region.len_bytes();
    let no_end =
        || Error::malformed("expected the end record of a zip archive, found none").at_byte(archive_len);
    // Without a comment the record is the last thing there is; only if it is not, the longest comment is looked through.
    let longest = END_BYTES + u64::from(u16::MAX);
    let find = |tail_len: u64| -> Result<Option<(u64, Vec<u8>)>> {
        let tail_at = archive_len.saturating_sub(tail_len);
        let tail = region.read(tail_at..archive_len)?;
        let is_end = |at: &usize| {
            tail[*at..].starts_with(b"PK\x05\x06")
                && usize::from(u16_at(&tail, at + 20)) == tail.len() - at - 22
        };
        let last = (tail.len() + 1).checked_sub(END_BYTES as usize);
        Ok(last
            .and_then(|last| (0..last).rev().find(is_end))
            .map(|at| (tail_at + at as u64, tail[at..].to_vec())))
    };
    let found = match find(END_BYTES)? {
        None => find(longest)?,
        found => found,
    };
    let (end_at, end) = found.ok_or_else(no_end)?;
    let mut disks = vec![u32::from(u16_at(&end, 4)), u32::from(u16_at(&end, 6))];
    let mut counts = [u64::from(u16_at(&end, 8)), u64::from(u16_at(&end, 10))];
    let (mut len, mut start) = (u64::from(u32_at(&end, 12)), u64::from(u32_at(&end, 16)));
    let mut entries_end = end_at;
    let is_zip64 = counts.contains(&0xFFFF) || [len, start].contains(&0xFFFF_FFFF);
    if let Some(zip64) = is_zip64.then(|| zip64_end(region, end_at)).transpose()?.flatten() {
        let (at, bytes) = zip64;
        disks = vec![u32_at(&bytes, 16), u32_at(&bytes, 20)];
        counts = [u64_at(&bytes, 24), u64_at(&bytes, 32)];
        (len, start) = (u64_at(&bytes, 40), u64_at(&bytes, 48));
        entries_end = at;
    }
    if disks.iter().any(|&disk| disk != 0) || counts[0] != counts[1] {
        return Err(Error::unsupported("the zip archive goes on on another disk: join them").at_byte(end_at));
    }
    match start.checked_add(len) {
        Some(end) if end <= entries_end && counts[0] <= len / ENTRY_BYTES as u64 => {
            Ok((start, end, counts[0]))
        }
        _ => Err(Error::malformed(format!(
            "expected {} entries in {len} bytes at byte {start}, before the end record at byte {entries_end}",
            counts[0]
        ))
        .at_byte(end_at)),
    }
}

/// Where the zip64 end record lies, and its bytes; `None` where no locator stands before the end record.
fn zip64_end(region: &Region, end_at: u64) -> Result<Option<(u64, Vec<u8>)>> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR_BYTES) else { return Ok(None) };
    let locator = region.read(locator_at..end_at)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let at = u64_at(&locator, 8);
    let bytes = match at.checked_add(ZIP64_END_BYTES) {
        Some(end) if end <= locator_at => region.read(at..end)?,
        _ => Vec::new(),
    };
    if !bytes.starts_with(b"PK\x06\x06") {
        let message = format!("expected the zip64 end record at byte {at}, found none");
        return Err(Error::malformed(message).at_byte(locator_at + 8));
    }
    Ok(Some((at, bytes)))
}

/// The member of the entry at the beginning of `bytes`, `None` for a folder, and what follows the entry.
fn entry(bytes: &[u8]) -> Result<(Option<Member>, &[u8])> {
    let cut = || Error::malformed("expected an entry of a zip archive, found the end of the entries");
    let (head, rest) = bytes.split_at_checked(ENTRY_BYTES).ok_or_else(cut)?;
    if !head.starts_with(b"PK\x01\x02") {
        return Err(Error::malformed("expected an entry of a zip archive, found something else"));
    }
    let (name, rest) = rest.split_at_checked(u16_at(head, 28).into()).ok_or_else(cut)?;
    let (extra, rest) = rest.split_at_checked(u16_at(head, 30).into()).ok_or_else(cut)?;
    let (_, rest) = rest.split_at_checked(u16_at(head, 32).into()).ok_or_else(cut)?;
    let name = str::from_utf8(name)
        .map_err(|_| Error::malformed(format!("expected a name in UTF-8, found '{}'", name.escape_ascii())))?
        .to_owned();
    let (flags, method) = (u16_at(head, 8), u16_at(head, 10));
    // Encrypted, patched, strongly encrypted, or with masked headers.
    if flags & (1 | 1 << 5 | 1 << 6 | 1 << 13) != 0 {
        return Err(Error::unsupported(format!("'{name}' is encrypted or a patch")));
    }
    if !matches!(method, 0 | 8) {
        return Err(Error::unsupported(format!(
            "expected '{name}' to be stored or deflated (methods 0 and 8), found method {method}"
        )));
    }
    let mut wide = zip64_extra(extra);
    let mut number = |at: usize| match u32_at(head, at) {
        u32::MAX => wide.next().ok_or_else(|| {
            Error::malformed(format!("expected the zip64 numbers of '{name}', found fewer than it needs"))
        }),
        number => Ok(u64::from(number)),
    };
    let (len, packed_len, header_at) = (number(24)?, number(20)?, number(42)?);
    if method == 0 && len != packed_len {
        return Err(Error::malformed(format!(
            "expected the stored '{name}' to have one length, found {packed_len} and {len}"
        )));
    }
    if name.ends_with('/') && len == 0 {
        return Ok((None, rest));
    }
    let crc32 = u32_at(head, 16);
    Ok((Some(Member { name, is_deflated: method == 8, start: 0, packed_len, len, crc32, header_at }), rest))
}

/// The numbers of the zip64 extra, in their order.
fn zip64_extra(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers: &[[u8; 8]] = &[];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((data, behind)) = rest.split_at_checked(u16_at(head, 2).into()) else { break };
        if u16_at(head, 0) == 1 {
            numbers = data.as_chunks().0;
            break;
        }
        extra = behind;
    }
    numbers.iter().map(|&number| u64::from_le_bytes(number))
}

/// Where the content of `member` begins: behind its local header, which must say the same as its entry.
fn content_start(region: &Region, member: &Member) -> Result<u64> {
    let at = member.header_at;
    let head = region.read(at..at.saturating_add(LOCAL_BYTES))?;
    let name_at = at + LOCAL_BYTES;
    let name_end = name_at + u64::from(u16_at(&head, 26));
    let disagrees = |what: &str| {
        Error::malformed(format!(
            "expected the local header of '{}', found one of another {what}",
            member.name
        ))
    };
    if !head.starts_with(b"PK\x03\x04") {
        return Err(disagrees("signature"));
    }
    if u16_at(&head, 8) != if member.is_deflated { 8 } else { 0 } {
        return Err(disagrees("method"));
    }
    if u64::from(u16_at(&head, 26)) != member.name.len() as u64
        || region.read(name_at..name_end)? != member.name.as_bytes()
    {
        return Err(disagrees("name"));
    }
    // The lengths stand behind the content, or in the zip64 extra, where the header says so.
    let has_descriptor = u16_at(&head, 6) & 1 << 3 != 0;
    let agrees = |at: usize, len: u64| {
        let local = u32_at(&head, at);
        has_descriptor || local == u32::MAX || u64::from(local) == len
    };
    if !agrees(18, member.packed_len) || !agrees(22, member.len) {
        return Err(disagrees("length"));
    }
    Ok(name_end + u64::from(u16_at(&head, 28)))
}
