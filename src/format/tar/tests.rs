//! Archives written by the `tar` crate, by hand and by others; and archives that are cut, flipped and forged.

use super::*;
use crate::error::ErrorKind;
use crate::format::real;
use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn files(bytes: &[u8]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for_each_file(&Region::from_vec(bytes.to_vec()), |file| {
        files.push(file);
        Ok(())
    })?;
    Ok(files)
}

fn named(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let content = |file: &File| bytes[file.start as usize..(file.start + file.len) as usize].to_vec();
    Ok(files(bytes)?
        .iter()
        .map(|file| (String::from_utf8(file.path.clone()).unwrap(), content(file)))
        .collect())
}

fn header(kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(len);
    header
}

/// One member by hand: `edit` changes the header before its checksum is made.
fn member(name: &str, kind: u8, content: &[u8], edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    bytes[156] = kind;
    bytes[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut bytes);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|&b| u32::from(b)).sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

fn archive(members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    members.into_iter().chain([vec![0; 2 * BLOCK_BYTES]]).flatten().collect()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |&(keyword, value): &(&str, &str)| {
        let rest = format!(" {keyword}={value}\n");
        let mut len = rest.len();
        while format!("{len}{rest}").len() != len {
            len += 1;
        }
        format!("{len}{rest}")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}

#[test]
fn every_kind_of_member_is_passed_over_or_found() {
    let long = "d/".repeat(120) + "long.txt";
    let mut builder = Builder::new(Vec::new());
    let mut append = |kind, name: &str, content: &[u8]| {
        builder.append_data(&mut header(kind, content.len() as u64), name, content).unwrap();
    };
    append(EntryType::Directory, "folder/", b"");
    append(EntryType::Regular, "folder/a.txt", b"first");
    append(EntryType::Regular, &long, b"behind a long name");
    append(EntryType::Regular, "empty", b"");
    append(EntryType::Fifo, "pipe", b"");
    append(EntryType::Char, "device", b"");
    append(EntryType::Continuous, "contiguous", &[7; 512]);
    for (kind, name) in [(EntryType::Symlink, "soft"), (EntryType::Link, "hard")] {
        builder.append_link(&mut header(kind, 0), name, "target/".to_owned() + &long).unwrap();
    }
    builder.append_pax_extensions([("path", b"pax name".as_slice()), ("comment", b"=\n=")]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 4), "short", b"last".as_slice()).unwrap();
    let bytes = builder.into_inner().unwrap();
    assert!(looks_like(&bytes) && looks_like(&bytes[..512]) && !looks_like(&bytes[..511]));
    let expected = [
        ("folder/a.txt", b"first".to_vec()),
        (&long, b"behind a long name".to_vec()),
        ("empty", vec![]),
        ("contiguous", vec![7; 512]),
        ("pax name", b"last".to_vec()),
    ];
    assert_eq!(named(&bytes).unwrap(), expected.map(|(name, content)| (name.to_owned(), content)));
}

#[test]
fn odd_headers_that_are_valid() {
    let prefix = |bytes: &mut [u8]| bytes[345..351].copy_from_slice(b"folder");
    let gnu = |bytes: &mut [u8]| {
        bytes[257..265].copy_from_slice(b"ustar  \0");
        bytes[345..351].copy_from_slice(b"999999");
        bytes[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    };
    let v7 = |bytes: &mut [u8]| bytes[257..265].fill(0);
    let spaces = |bytes: &mut [u8]| bytes[124..136].copy_from_slice(b"         3 \0");
    let link = |bytes: &mut [u8]| bytes[124..136].copy_from_slice(b"00000004000\0");
    let bytes = archive([
        member("a", b'0', b"abc", prefix),
        member("b", b'0', b"abc", gnu),
        member("c", 0, b"abc", v7),
        member("folder/", 0, b"", v7),
        member("d", b'7', b"abc", spaces),
        member("hard", b'1', b"", link),
        member("", b'V', b"", |_| ()),
        member("unknown", b'Z', b"passed over", |_| ()),
        member("", b'g', &pax(&[("comment", "git")]), |_| ()),
        member("", b'x', &pax(&[("size", "3"), ("path", "e"), ("mtime", "1.5")]), |_| ()),
        member("no", b'0', b"abc", |bytes| bytes[124..136].fill(b'0')),
        member("", b'K', b"target", |_| ()),
        member("", b'L', b"f\0", |_| ()),
        member("no", b'0', b"abc", |_| ()),
    ]);
    let names = ["folder/a", "b", "c", "d", "e", "f"];
    assert_eq!(named(&bytes).unwrap(), names.map(|name| (name.to_owned(), b"abc".to_vec())));
    let signed = {
        let mut bytes = member("\u{fc}", b'0', b"", |_| ());
        let sum: i32 =
            (0..512).map(|i| if (148..156).contains(&i) { 32 } else { i32::from(bytes[i] as i8) }).sum();
        bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes
    };
    assert_eq!(files(&signed).unwrap().len(), 1);
}

#[test]
fn an_archive_ends_at_two_blocks_of_zeros_or_with_the_file() {
    let one = member("a", b'0', b"abc", |_| ());
    assert_eq!(files(&one).unwrap().len(), 1);
    let with = |more: &[u8]| files(&[&one[..], more].concat());
    assert_eq!(with(&[0; 512]).unwrap().len(), 1);
    assert_eq!(with(&[[0; 1024].as_slice(), b"anything"].concat()).unwrap().len(), 1);
    let error = with(&[[0; 512].as_slice(), &one].concat()).unwrap_err();
    assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(1024)));
    assert_eq!(files(&[0; 1024]).unwrap(), []);
    assert_eq!(files(&[]).unwrap_err().kind(), ErrorKind::Malformed);
    assert!(!looks_like(&[0; 1024]));
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let sparse = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "holes")]);
    let (path, size) = (pax(&[("path", "all")]), pax(&[("size", "0")]));
    for (kind, content, word) in [
        (b'S', &b""[..], "'it' is a sparse file"),
        (b'x', &sparse, "'holes' is a sparse file"),
        (b'M', b"", "volume"),
        (b'g', &path, "'path'"),
        (b'g', &size, "'size'"),
    ] {
        let error = files(&archive([member("it", kind, content, |_| ())])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(word) && error.location().byte.is_some(), "{error}");
    }
}

#[test]
fn an_archive_cut_anywhere_but_between_members_is_malformed() {
    let members = [
        member("", b'L', b"a long name", |_| ()),
        member("a", b'0', &[1; 600], |_| ()),
        member("", b'x', &pax(&[("path", "b")]), |_| ()),
        member("b", b'0', b"", |_| ()),
        member("folder", b'5', b"", |_| ()),
    ];
    let mut ends = vec![members[..2].concat().len(), members[..4].concat().len(), members.concat().len()];
    let bytes = archive(members);
    ends.extend([bytes.len() - 512, bytes.len()]);
    for len in 0..=bytes.len() {
        match files(&bytes[..len]) {
            Ok(_) => assert!(ends.contains(&len), "cut at {len}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {len}");
                assert_eq!(error.location().byte, Some(len as u64), "cut at {len}: {error}");
                assert!(!ends.contains(&len), "cut at {len}: {error}");
            }
        }
    }
}

#[test]
fn forged_numbers_are_refused() {
    for size in [b"77777777777\0", b"7777777777 \0", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        .into_iter()
        .chain([
            b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
            b"        -1 \0",
        ])
        .chain([b"00000000009\0"])
    {
        for kind in [b'0', b'L', b'x', b'g', b'Z'] {
            let bytes = archive([member("a", kind, b"", |bytes| bytes[124..136].copy_from_slice(size))]);
            assert_eq!(files(&bytes).unwrap_err().kind(), ErrorKind::Malformed, "{}", size.escape_ascii());
        }
    }
    for content in [
        &b"0 path=x\n"[..],
        b"1 path=x\n",
        b"2 ",
        b"3 \n",
        b"9 path=xy",
        b"99 path=x\n",
        b"99999999999999999999999 path=x\n",
        b"path=x\n",
        b"10 path-xy\n",
        b"18446744073709551615 size=1\n",
        b"10 size=-1\n",
        b"9 size=x\n",
    ] {
        let bytes = archive([member("", b'x', content, |_| ()), member("a", b'0', b"", |_| ())]);
        let error = files(&bytes).unwrap_err();
        assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(512)), "{error}");
    }
    for at in [0, 99, 130, 150, 200, 511] {
        let mut bytes = archive([member("a", b'0', b"abc", |_| ())]);
        bytes[at] ^= 1;
        assert!(!looks_like(&bytes));
        let error = files(&bytes).unwrap_err();
        assert_eq!((error.kind(), error.location().byte), (ErrorKind::Malformed, Some(0)), "byte {at}");
    }
    let big = vec![b'a'; EXTRA_BYTES_MAX as usize + 1];
    for kind in [b'L', b'x', b'g'] {
        assert_eq!(
            files(&archive([member("", kind, &big, |_| ())])).unwrap_err().kind(),
            ErrorKind::Malformed
        );
    }
}

proptest! {
    #[test]
    fn files_are_where_the_tar_crate_finds_them(
        members in prop::collection::vec(("[a-z./_]{1,300}", prop::collection::vec(any::<u8>(), 0..1100), 0..3u8), 0..8),
    ) {
        let mut builder = Builder::new(Vec::new());
        for (name, content, kind) in &members {
            let kind = [EntryType::Regular, EntryType::Directory, EntryType::Symlink][usize::from(*kind)];
            let content = if kind == EntryType::Regular { &content[..] } else { b"" };
            let mut header = if name.len() % 2 == 0 { Header::new_gnu() } else { header(kind, 0) };
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            // The crate refuses names such as `..` and `/a`.
            let _ = builder.append_data(&mut header, name, content);
        }
        let bytes = builder.into_inner().unwrap();
        let mut expected = Vec::new();
        for entry in ::tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            if entry.header().entry_type() == EntryType::Regular {
                expected.push((entry.path_bytes().into_owned(), entry.raw_file_position(), entry.size()));
            }
        }
        let found = files(&bytes).unwrap().into_iter().map(|file| (file.path, file.start, file.len));
        prop_assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn damaged_archives_never_panic(
        flips in prop::collection::vec((0..6 * 512usize, 0..8u8), 0..6), fix: bool, len in 0..8 * 512usize,
    ) {
        let mut bytes = archive([
            member("", b'x', &pax(&[("size", "20"), ("path", "b")]), |_| ()),
            member("a", b'0', &[1; 20], |_| ()),
            member("", b'L', b"a long name", |_| ()),
            member("a", b'0', &[1; 20], |_| ()),
        ]);
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
            let header = at / 512 * 512;
            if fix && bytes[header + 257] == b'u' {
                bytes[header + 148..header + 156].fill(b' ');
                let sum: u32 = bytes[header..header + 512].iter().map(|&b| u32::from(b)).sum();
                bytes[header + 148..header + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        let len = len.min(bytes.len());
        for bytes in [&bytes, &bytes[..len]] {
            for file in files(bytes).unwrap_or_default() {
                prop_assert!(file.start + file.len <= bytes.len() as u64);
            }
        }
    }
}

#[test]
fn real_archives_have_their_files() {
    for name in ["webdataset/sample.tgz", "webdataset/compressed.tar", "webdataset/mpdata.tar"] {
        let Some((path, expected)) = real::expected(name) else { return };
        let bytes = real::inflated(&path);
        let files = named(&bytes).unwrap();
        assert_eq!(files.len() as u64, expected["files"].as_u64().unwrap());
        let mut digest = Sha256::new();
        for (name, content) in &files {
            digest.update((name.len() as u32).to_le_bytes());
            digest.update(name);
            digest.update((content.len() as u64).to_le_bytes());
            digest.update(content);
        }
        assert_eq!(real::hex(&digest.finalize()), expected["members_sha256"].as_str().unwrap());
    }
}
