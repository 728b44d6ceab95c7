use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// Bytes of an entry, whose names are written as they are given: the library would refuse what attackers write.
fn entry(kind: EntryType, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o6755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(12345);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name, "", content)
}

fn base() -> (TempDir, OwnedFd) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("base")).unwrap();
    fs::write(folder.path().join("outside"), "secret").unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let fd = rustix::fs::open(folder.path().join("base"), flags, Mode::empty()).unwrap();
    (folder, fd)
}

fn one(sent: &str) -> Top {
    Top::One { sent: Some(sent.into()), placed: None }
}

fn place(parts: &[Vec<u8>], base: &OwnedFd, top: &Top) -> Result<(), Extract> {
    extract(parts.concat().as_slice(), base.as_fd(), top)
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("base")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_a_hostile_sender_writes_is_refused_and_nothing_is_there() {
    use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
    for (parts, why) in [
        (vec![file("/x", b"1")], "absolute"),
        (vec![file("x/../../outside", b"1")], "`..`"),
        (vec![file("..", b"1")], "`..`"),
        (vec![file(".bashrc", b"1")], "not what was asked for"),
        (vec![file("y/x", b"1")], "not what was asked for"),
        (vec![entry(EntryType::Directory, "./", "", b"")], "not what was asked for"),
        (vec![entry(Char, "x", "", b"")], "neither a file"),
        (vec![entry(Block, "x", "", b"")], "neither a file"),
        (vec![entry(Fifo, "x", "", b"")], "neither a file"),
        (vec![entry(Link, "x", "/etc/passwd", b"")], "neither a file"),
        (vec![entry(Regular, "x", "", b"123")[..512 + 2].to_vec()], "ends within an entry"),
        (vec![file(&format!("x/{}", "a/".repeat(40)), b"")], ""),
        (vec![entry(Symlink, "x", "/etc/passwd", b"data")], "has data"),
    ] {
        let (folder, fd) = base();
        let result = place(&parts, &fd, &one("x"));
        if why.is_empty() {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(names(&folder), [""; 0], "{error}");
        assert_eq!(fs::read(folder.path().join("outside")).unwrap(), b"secret");
    }
}

#[test]
fn links_of_the_archive_and_of_the_folder_are_not_followed() {
    for to in ["..", "/tmp", "../outside"] {
        let (folder, fd) = base();
        let link = entry(EntryType::Symlink, "x/out", to, b"");
        let error = place(&[link, file("x/out/new", b"1")], &fd, &one("x")).unwrap_err();
        assert!(matches!(error, Extract::InTheWay { what: "a symbolic link", .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
    let (folder, fd) = base();
    symlink("../outside", folder.path().join("base/x")).unwrap();
    assert!(place(&[file("x", b"1")], &fd, &one("x")).is_err());
    assert_eq!(fs::read(folder.path().join("outside")).unwrap(), b"secret");
    assert!(folder.path().join("base/x").is_symlink());
    // Content may hold links to anywhere; they are links still, and replace links.
    fs::remove_file(folder.path().join("base/x")).unwrap();
    for _ in 0..2 {
        place(&[entry(EntryType::Symlink, "x", "/etc/passwd", b"")], &fd, &one("x")).unwrap();
    }
    assert_eq!(names(&folder), ["x"]);
}

#[test]
fn only_a_file_takes_the_place_of_a_file() {
    let (folder, fd) = base();
    let path = folder.path().join("base/x");
    let flags = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&fd, "x", FileType::Fifo, flags, 0).unwrap();
    let error = place(&[file("x", b"1")], &fd, &one("x")).unwrap_err();
    assert!(error.to_string().contains("x: a pipe is there"), "{error}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(place(&[file("x", b"1")], &fd, &one("x")).is_err());
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "old").unwrap();
    assert!(place(&[entry(EntryType::Symlink, "x", "y", b"")], &fd, &one("x")).is_err());
    assert!(place(&[entry(EntryType::Directory, "x", "", b"")], &fd, &one("x")).is_err());
    let torn = file("x", b"12")[..513].to_vec();
    assert!(place(&[torn], &fd, &one("x")).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    place(&[file("x", b"new")], &fd, &one("x")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7000, 0, "set-id bits");
    assert_eq!(names(&folder), ["x"]);
}

#[test]
fn deep_nesting_is_refused() {
    let (folder, fd) = base();
    let deep = "a/".repeat(DEPTH_MAX) + "x";
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    builder.append_data(&mut header, &deep, &b""[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let error = extract(bytes.as_slice(), fd.as_fd(), &one("a")).unwrap_err();
    assert!(error.to_string().contains("too deeply"), "{error}");
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_copy_keeps_its_name_or_gets_one() {
    let (folder, fd) = base();
    let tree = [entry(EntryType::Directory, "a", "", b""), file("a/f", b"content")];
    place(&tree, &fd, &Top::One { sent: None, placed: Some(b"b".to_vec()) }).unwrap();
    assert_eq!(fs::read(folder.path().join("base/b/f")).unwrap(), b"content");
    place(&tree, &fd, &Top::One { sent: None, placed: None }).unwrap();
    assert_eq!(fs::read(folder.path().join("base/a/f")).unwrap(), b"content");
    let content = [entry(EntryType::Directory, "./", "", b""), file("./c", b"1"), file("d", b"2")];
    place(&content, &fd, &Top::One { sent: None, placed: None }).unwrap();
    assert_eq!(fs::read(folder.path().join("base/d")).unwrap(), b"2");
    place(&content, &fd, &Top::One { sent: None, placed: Some(b"e".to_vec()) }).unwrap();
    assert_eq!(fs::read(folder.path().join("base/e/c")).unwrap(), b"1");
}

#[test]
fn a_file_with_holes_is_whole() {
    let source = tempfile::tempdir().unwrap();
    let sparse = source.path().join("s");
    let made = fs::File::create(&sparse).unwrap();
    made.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&made, b"end", (1 << 20) - 3).unwrap();
    let mut builder = Builder::new(Vec::new());
    builder.append_path_with_name(&sparse, "s").unwrap();
    let bytes = builder.into_inner().unwrap();
    let (folder, fd) = base();
    extract(bytes.as_slice(), fd.as_fd(), &one("s")).unwrap();
    assert_eq!(fs::read(folder.path().join("base/s")).unwrap(), fs::read(&sparse).unwrap());
}

#[test]
fn a_settled_file_replaces_a_file_alone() {
    let (folder, fd) = base();
    let outer = rustix::fs::open(folder.path(), OFlags::PATH, Mode::empty()).unwrap();
    let move_it = || settle((outer.as_fd(), "outside".as_ref()), (fd.as_fd(), "x".as_ref()));
    let path = folder.path().join("base/x");
    for make in [
        |path: &Path| symlink("nowhere", path).unwrap(),
        |path: &Path| fs::create_dir(path).unwrap(),
        |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ] {
        make(&path);
        assert!(matches!(move_it(), Err(Extract::InTheWay { .. })));
        assert!(folder.path().join("outside").exists());
        if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
    }
    fs::write(&path, "old").unwrap();
    move_it().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"secret");
    assert!(!folder.path().join("outside").exists());
}
