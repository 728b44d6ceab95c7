use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;
use crate::extract::{self, extract};

fn open_folder(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn packed(path: &Path) -> Result<Vec<u8>, Pack> {
    let parent = open_folder(path.parent().unwrap());
    let name = path.file_name().unwrap();
    let mut archive = Vec::new();
    let top = Top { parent: parent.as_fd(), name, called: Path::new("copy"), shown: path };
    pack(&top, &mut archive)?;
    Ok(archive)
}

/// What a copy of it is; in the folder it is called `copy`.
fn copied(path: &Path) -> TempDir {
    let archive = packed(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let top = extract::Top::One { sent: Some(b"copy".to_vec()), placed: None };
    extract(archive.as_slice(), open_folder(folder.path()).as_fd(), &top).unwrap();
    folder
}

fn content(path: &Path) -> Vec<u8> {
    fs::read(copied(path).path().join("copy")).unwrap()
}

#[test]
fn files_of_the_kernel_have_the_content_that_they_have() {
    let found = String::from_utf8(content(Path::new("/proc/self/status"))).unwrap();
    assert!(found.starts_with("Name:\t") && found.contains("\nnonvoluntary_ctxt_switches:"));
    for path in ["/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/kallsyms"] {
        let path = Path::new(path);
        if path.exists() {
            let found = content(path);
            assert!(!found.is_empty() && !found.contains(&0), "{}", path.display());
        }
    }
    // Longer than what is read ahead, and of no length by its own words.
    let long = Path::new("/proc/kallsyms");
    assert!(fs::metadata(long).unwrap().len() == 0 && fs::read(long).unwrap().len() > AHEAD_BYTES);
}

/// What is packed of a folder that lies in one on the device `around`, and what is said about it.
fn packed_within(folder: &Path, around: Option<u64>) -> (Vec<String>, Option<String>) {
    let parent = open_folder(folder.parent().unwrap());
    let name = folder.file_name().unwrap().as_bytes();
    let mut packer =
        Packer { out: Vec::new(), chunk: vec![0; AHEAD_BYTES], passed: Passed::default() };
    let at = At { called: "copy".into(), shown: folder.to_owned(), depth: 1 };
    packer.add(parent.as_fd(), name, around, &at).unwrap();
    let mut archive = tar::Archive::new(packer.out.as_slice());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let path = entry.unwrap().path().unwrap().display().to_string();
        names.push(path.trim_end_matches('/').to_owned());
    }
    (names, packer.passed.said())
}

#[test]
fn what_a_folder_has_of_the_kernels_mounts_is_left_out_and_said() {
    const OTHER: Option<u64> = Some(0);
    let kernels = Path::new("/proc/self/ns");
    let (names, said) = packed_within(kernels, OTHER);
    assert_eq!(names, ["copy"], "its folder is there, and empty");
    assert_eq!(
        said.unwrap(),
        "left out what the kernel shows in /proc/self/ns (proc); to copy something of it, name it"
    );
    // What is asked for by name is meant, and so is all that is in it.
    let own = Some(fs::metadata(kernels).unwrap().dev());
    for around in [None, own] {
        let (names, said) = packed_within(kernels, around);
        assert!(names.contains(&"copy/mnt".to_owned()), "{names:?}");
        assert_eq!(said, None);
    }
    // Volumes are mounts as well.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    let (names, said) = packed_within(folder.path(), OTHER);
    assert_eq!((names.len(), said), (2, None), "{names:?}");
}

#[test]
fn of_many_mounts_some_are_named() {
    let mut passed = Passed::default();
    assert_eq!(passed.said(), None);
    for number in 0..PASSED_NAMED_MAX + 3 {
        passed.note(Path::new(&format!("/m{number}")), "proc");
    }
    let said = passed.said().unwrap();
    assert!(said.contains("/m0 (proc), /m1 (proc), ") && said.contains(" and 3 more; "), "{said}");
}

#[test]
fn everything_of_a_folder_is_copied_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let long = "n".repeat(200);
    let odd = OsString::from_vec(b"\xff\xfe odd".to_vec());
    fs::create_dir_all(tree.join(&long).join("empty")).unwrap();
    fs::write(tree.join(&long).join(&odd), "in an odd file").unwrap();
    fs::write(tree.join("none"), "").unwrap();
    fs::write(tree.join("block"), [7; 512]).unwrap();
    fs::write(tree.join("large"), vec![8; 3 * AHEAD_BYTES + 1]).unwrap();
    fs::write(tree.join("ahead"), vec![9; AHEAD_BYTES]).unwrap();
    fs::set_permissions(tree.join("none"), fs::Permissions::from_mode(0o640)).unwrap();
    let target = OsString::from_vec([&b"\xfd/../"[..], &[b'x'; 300]].concat());
    symlink(&target, tree.join("link")).unwrap();
    symlink("a//b/./c/", tree.join("odd-link")).unwrap();
    let copy = copied(&tree);
    let copy = copy.path().join("copy");
    assert!(copy.join(&long).join("empty").is_dir());
    assert_eq!(fs::read(copy.join(&long).join(&odd)).unwrap(), b"in an odd file");
    for name in ["none", "block", "large", "ahead"] {
        assert_eq!(fs::read(copy.join(name)).unwrap(), fs::read(tree.join(name)).unwrap());
    }
    assert_eq!(fs::metadata(copy.join("none")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(copy.join("link")).unwrap().as_os_str(), target);
    assert_eq!(fs::read_link(copy.join("odd-link")).unwrap().as_os_str(), "a//b/./c/");
}

#[test]
fn what_has_no_content_is_left_out_of_a_folder_and_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let socket = UnixListener::bind(tree.join("socket")).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let copy = copied(&tree);
    let names: Vec<_> = fs::read_dir(copy.path().join("copy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["file"]);
    for (path, what) in [
        (tree.join("socket"), "socket: it is a socket"),
        (tree.join("pipe"), "pipe: it is a pipe"),
        (PathBuf::from("/dev/null"), "/dev/null: it is a device"),
    ] {
        let error = packed(&path).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    drop(socket);
}

/// Makes a file shorter as soon as something of it was written.
struct Shortens<'a>(&'a Path);

impl Write for Shortens<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        File::options().write(true).open(self.0)?.set_len(1)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_failure_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrinks");
    fs::write(&path, vec![1; 10 * AHEAD_BYTES]).unwrap();
    let parent = open_folder(folder.path());
    let name = OsStr::new("shrinks");
    let top = Top { parent: parent.as_fd(), name, called: Path::new("copy"), shown: &path };
    let error = pack(&top, Shortens(&path)).unwrap_err().to_string();
    assert!(error.ends_with("shrinks: it became shorter while it was copied; copy it again"));
    let error = packed(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.starts_with("read /") && error.ends_with("/none"), "{error}");
    // It says nothing of its length, and never ends: as a lying file of the kernel would be.
    let endless = Path::new("/proc/self/pagemap");
    let error = packed(endless).unwrap_err().to_string();
    assert!(error.contains("/proc/self/pagemap"), "{error}");
    let deep: PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 1).collect();
    fs::create_dir_all(folder.path().join("top").join(deep)).unwrap();
    let error = packed(&folder.path().join("top")).unwrap_err();
    assert!(matches!(error, Pack::Deep { .. }), "{error}");
}

#[test]
fn holes_stay_holes() {
    let hole = 1_u64 << 30;
    let data = |offset: u64| (offset, vec![b'd'; 4096]);
    for (size, pieces) in [
        (hole, vec![]),
        (hole + 7, vec![data(0)]),
        (hole + 4096, vec![data(hole)]),
        (16 << 30, vec![data(12 << 30)]),
        (60 * hole, (0..55).map(|number| data(number * hole + (1 << 20))).collect()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holes");
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in &pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        let archive = packed(&path).unwrap();
        assert!(archive.len() < 1 << 20, "{} bytes", archive.len());
        let copy = copied(&path);
        let copy = File::open(copy.path().join("copy")).unwrap();
        let status = copy.metadata().unwrap();
        assert_eq!((status.len(), status.blocks() < 4000), (size, true));
        for (offset, bytes) in pieces {
            let mut found = vec![0; bytes.len()];
            copy.read_exact_at(&mut found, offset).unwrap();
            assert_eq!(found, bytes);
        }
    }
}

#[test]
fn others_read_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tree");
    fs::create_dir_all(path.join("n".repeat(150))).unwrap();
    fs::write(path.join("file"), vec![3; 100_000]).unwrap();
    symlink("t".repeat(150), path.join("link")).unwrap();
    let time = rustix::fs::Timespec { tv_sec: -1000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path.join("file"), &times, AtFlags::empty()).unwrap();
    let holes = File::create(path.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    holes.write_all_at(b"end", (1 << 20) - 3).unwrap();
    let archive = packed(&path).unwrap();
    let to = tempfile::tempdir().unwrap();
    tar::Archive::new(archive.as_slice()).unpack(to.path()).unwrap();
    let copy = to.path().join("copy");
    for name in ["file", "holes"] {
        assert_eq!(fs::read(copy.join(name)).unwrap(), fs::read(path.join(name)).unwrap());
    }
    assert!(copy.join("n".repeat(150)).is_dir());
    assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new(&"t".repeat(150)));
    let ours = copied(&path);
    assert_eq!(fs::metadata(ours.path().join("copy/file")).unwrap().mtime(), -1000);
}
