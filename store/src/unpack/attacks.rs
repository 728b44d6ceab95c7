//! What attackers have done to programs that unpack: each test is one of them, named for it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::tests::LIMITS;
use super::*;

/// A header with every field as it is given, and its data.
struct Raw<'a> {
    kind: u8,
    name: &'a [u8],
    link: &'a [u8],
    size: u64,
    data: &'a [u8],
}

pub(super) fn raw(kind: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    block(&Raw { kind, name, link: b"", size: data.len() as u64, data })
}

fn block(raw: &Raw<'_>) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..raw.name.len()].copy_from_slice(raw.name);
    header[100..107].copy_from_slice(b"0000644");
    // Whoever runs the test: anybody else's files are root's alone to make.
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    header[108..115].copy_from_slice(format!("{uid:07o}").as_bytes());
    header[116..123].copy_from_slice(format!("{gid:07o}").as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", raw.size).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = raw.kind;
    header[157..157 + raw.link.len()].copy_from_slice(raw.link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(raw.data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A PAX record with its length in front.
pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(super) fn apply(parts: &[Vec<u8>]) -> (tempfile::TempDir, Result<Unpacked, Unpack>) {
    apply_within(parts, &LIMITS)
}

fn apply_within(
    parts: &[Vec<u8>],
    limits: &Limits,
) -> (tempfile::TempDir, Result<Unpacked, Unpack>) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = parts.concat();
    let root = File::open(folder.path()).unwrap();
    let result = unpack(&bytes[..], root.as_fd(), &Below::default(), limits);
    (folder, result)
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn cve_2025_62518_a_pax_size_counts_for_the_data_too() {
    // The header says 0: who believes it takes the data, a tar of its own, for entries.
    let inner = raw(b'0', b"smuggled", b"x");
    let size = record("size", inner.len().to_string().as_bytes());
    let outer = block(&Raw { kind: b'0', name: b"outer", link: b"", size: 0, data: &inner });
    let (folder, result) = apply(&[raw(b'x', b"pax", &size), outer, raw(b'0', b"last", b"y")]);
    result.unwrap();
    assert_eq!(names(folder.path()), ["last", "outer"]);
    assert_eq!(fs::read(folder.path().join("outer")).unwrap(), inner);
}

#[test]
fn data_behind_what_has_none_is_refused() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let entry = Raw { kind, name: b"a", link: b"b", size: 512, data: &[0; 512] };
        let (_folder, result) = apply(&[block(&entry)]);
        assert!(matches!(result, Err(Unpack::ReadTar(_))), "{}: {result:?}", char::from(kind));
    }
}

#[test]
fn global_headers_change_nothing() {
    for key in ["path", "linkpath", "size", "SCHILY.xattr.user.a", "GNU.sparse.name"] {
        let global = raw(b'g', b"g", &record(key, b"1"));
        let (_folder, result) = apply(&[global, raw(b'0', b"a", b"")]);
        assert!(matches!(result, Err(Unpack::ReadTar(_))), "{key}: {result:?}");
    }
    let global = raw(b'g', b"g", &record("comment", b"of git"));
    apply(&[global, raw(b'0', b"a", b"")]).1.unwrap();
}

#[test]
fn long_names_of_both_kinds_are_taken_and_checked() {
    let long = [b"d/".as_slice(), &[b'n'; 200]].concat();
    let gnu = raw(b'L', b"././@LongLink", &[&long[..], b"\0"].concat());
    let (folder, result) = apply(&[gnu, raw(b'0', b"short", b"1")]);
    result.unwrap();
    assert!(folder.path().join(String::from_utf8(long.clone()).unwrap()).is_file());
    let pax = raw(b'x', b"pax", &record("path", &long));
    let (folder, result) = apply(&[pax, raw(b'0', b"short", b"1")]);
    result.unwrap();
    assert!(folder.path().join(String::from_utf8(long).unwrap()).is_file());
    for climbing in [&b"../outside"[..], b"a/../../outside"] {
        let (_folder, result) =
            apply(&[raw(b'x', b"pax", &record("path", climbing)), raw(b'0', b"a", b"1")]);
        assert!(matches!(result, Err(Unpack::RefuseEntry { .. })), "{result:?}");
        let link = raw(b'K', b"././@LongLink", climbing);
        let entry = Raw { kind: b'1', name: b"a", link: b"b", size: 0, data: b"" };
        let (_folder, result) = apply(&[link, block(&entry)]);
        assert!(matches!(result, Err(Unpack::RefuseEntry { .. })), "{result:?}");
    }
    let nul = raw(b'x', b"pax", &record("path", b"a\0b"));
    assert!(apply(&[nul, raw(b'0', b"a", b"1")]).1.is_err());
}

#[test]
fn huge_headers_and_chains_of_them_are_refused() {
    let huge = raw(b'x', b"pax", &record("comment", &vec![b'a'; 2 << 20]));
    assert!(apply(&[huge, raw(b'0', b"a", b"")]).1.is_err());
    let many = raw(b'x', b"pax", &record("comment", b"a")).repeat(50);
    assert!(apply(&[many, raw(b'0', b"a", b"")]).1.is_err());
    let claims = Raw { kind: b'x', name: b"a", link: b"", size: u64::from(u32::MAX), data: b"" };
    assert!(apply(&[block(&claims)]).1.is_err());
}

#[test]
fn names_that_are_not_utf8_are_names() {
    let (folder, result) = apply(&[raw(b'0', b"\xff\xfe", b"x")]);
    result.unwrap();
    let name = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().file_name();
    assert_eq!(name.as_bytes(), b"\xff\xfe");
}

#[test]
fn cve_2021_29136_a_link_called_dot_does_not_replace_the_root() {
    for name in [&b"."[..], b"./", b"/", b"./.", b""] {
        for kind in [b'0', b'1', b'2'] {
            let entry = Raw { kind, name, link: b"/etc", size: 0, data: b"" };
            let (folder, result) = apply(&[block(&entry), raw(b'0', b"passwd", b"x")]);
            let is_folder = result.is_ok() && kind == b'0';
            assert!(is_folder || result.is_err(), "{name:?} {kind}");
            assert!(folder.path().is_dir() && !folder.path().is_symlink());
        }
    }
}

#[test]
fn sparse_files_of_all_kinds_are_whole() {
    let expected = [&[0_u8; 1000][..], b"data", &[0; 3000]].concat();
    let size = expected.len().to_string();
    let check = |parts: &[Vec<u8>]| {
        let (folder, result) = apply(parts);
        result.unwrap();
        assert_eq!(fs::read(folder.path().join("holes")).unwrap(), expected);
    };
    let old = [
        record("GNU.sparse.size", size.as_bytes()),
        record("GNU.sparse.offset", b"1000"),
        record("GNU.sparse.numbytes", b"4"),
    ];
    check(&[raw(b'x', b"pax", &old.concat()), raw(b'0', b"holes", b"data")]);
    let map = [
        record("GNU.sparse.name", b"holes"),
        record("GNU.sparse.size", size.as_bytes()),
        record("GNU.sparse.map", b"1000,4"),
    ];
    check(&[raw(b'x', b"pax", &map.concat()), raw(b'0', b"GNUSparseFile.0/holes", b"data")]);
    let new = [
        record("GNU.sparse.major", b"1"),
        record("GNU.sparse.minor", b"0"),
        record("GNU.sparse.name", b"holes"),
        record("GNU.sparse.realsize", size.as_bytes()),
    ];
    let mut data = b"1\n1000\n4\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"data");
    check(&[raw(b'x', b"pax", &new.concat()), raw(b'0', b"GNUSparseFile.0/holes", &data)]);
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for map in [
        "1000,5",
        "9999,4",
        "1000,4,1002,0",
        "1000",
        "1000,4,1000,4",
        "18446744073709551615,4",
        "-1,4",
        "",
    ] {
        let pax = [record("GNU.sparse.size", b"4004"), record("GNU.sparse.map", map.as_bytes())];
        let (_folder, result) =
            apply(&[raw(b'x', b"pax", &pax.concat()), raw(b'0', b"a", b"data")]);
        assert!(matches!(result, Err(Unpack::ReadTar(_))), "{map}: {result:?}");
    }
    // A hole as large as the world costs nothing here and everything to who reads it.
    let pax = [record("GNU.sparse.size", b"9223372036854775807"), record("GNU.sparse.map", b"0,4")];
    let (_folder, result) = apply(&[raw(b'x', b"pax", &pax.concat()), raw(b'0', b"a", b"data")]);
    assert!(matches!(result, Err(Unpack::TooMuch { .. })), "{result:?}");
}

#[test]
fn what_follows_a_lone_block_of_zeros_is_not_hidden() {
    let (_folder, result) = apply(&[raw(b'0', b"a", b""), vec![0; 512], raw(b'0', b"b", b"")]);
    assert!(matches!(result, Err(Unpack::ReadTar(_))), "{result:?}");
    let (folder, result) = apply(&[raw(b'0', b"a", b""), vec![0; 1024], raw(b'0', b"b", b"")]);
    result.unwrap();
    assert_eq!(names(folder.path()), ["a"], "behind the end nothing counts");
}

/// A short path that is long by a link, again and again: what each entry may take was bounded, and not what all take.
#[test]
fn ways_of_all_entries_together_have_an_end() {
    let target = ["d"; 20].join("/../");
    let link = Raw { kind: b'2', name: b"long", link: target.as_bytes(), size: 0, data: b"" };
    let mut parts = vec![raw(b'5', b"d", b""), block(&link)];
    parts.extend((0..60).map(|number| raw(b'0', format!("long/{number}").as_bytes(), b"")));
    let (folder, result) = apply_within(&parts, &LIMITS);
    result.unwrap();
    assert_eq!(names(&folder.path().join("d")).len(), 60);
    let (_folder, result) = apply_within(&parts, &Limits { steps_max: 1000, ..LIMITS });
    let Err(Unpack::RefuseEntry { why, .. }) = result else { panic!("{result:?}") };
    assert!(why.contains("too many folders in all"), "{why}");
}

/// Devices that the kernel does not make are remembered by their paths, and a small blob holds many long ones.
#[test]
fn paths_of_devices_that_are_left_out_fill_no_memory() {
    let parent = vec!["p".repeat(250); 15].join("/");
    let whiteout = |number: usize| {
        let path = format!("{parent}/{number:0250}");
        [raw(b'x', b"pax", &record("path", path.as_bytes())), raw(b'3', b"short", b"")].concat()
    };
    let parts: Vec<_> = (0..2500).map(whiteout).collect();
    let limits = Limits { tar_max_bytes: 1 << 26, entries_max: 10_000, ..LIMITS };
    let (_folder, result) = apply_within(&parts[..1000], &limits);
    result.unwrap();
    let (_folder, result) = apply_within(&parts, &limits);
    let Err(Unpack::RefuseEntry { why, .. }) = result else { panic!("{result:?}") };
    assert!(why.contains("fill too much memory"), "{why}");
}
