use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

pub(super) const LIMITS: Limits = Limits {
    tar_max_bytes: 1 << 20,
    file_max_bytes: 1 << 20,
    entries_max: 100,
    steps_max: 1 << 20,
};

/// A tar whose names are written as they are given: the library would refuse what attackers write.
pub(super) struct Tar(pub(super) Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn device(
        mut self,
        kind: EntryType,
        name: &str,
        (major, minor): (u32, u32),
    ) -> Self {
        let mut header = Self::header(kind, name, "", 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub(super) fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Self::header(kind, name, link, content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn header(kind: EntryType, name: &str, link: &str, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(if kind.is_dir() { 0o750 } else { 0o4755 });
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(12345);
        header
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, name, "", content)
    }

    pub(super) fn folder(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target, b"")
    }

    pub(super) fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, target, b"")
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    /// Applies it to `layer` in a folder that also holds `outside/secret`.
    pub(super) fn apply(self) -> (TempDir, PathBuf, Result<Unpacked, Unpack>) {
        let bytes = self.0.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let layer = folder.path().join("layer");
        fs::create_dir(&layer).unwrap();
        let result =
            unpack(&bytes[..], File::open(&layer).unwrap().as_fd(), &Below::default(), &LIMITS);
        assert_eq!(fs::read_to_string(folder.path().join("outside/secret")).unwrap(), "secret");
        assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was made outside");
        (folder, layer, result)
    }

    pub(super) fn refused(self) {
        let (_folder, _, result) = self.apply();
        let refused = matches!(
            result,
            Err(Unpack::RefuseEntry { .. } | Unpack::ReadTar(TarProblem::Refused { .. }))
        );
        assert!(refused, "{result:?}");
    }
}

#[test]
fn climbing_paths_are_refused() {
    Tar::new().file("../outside/new", b"x").refused();
    Tar::new().file("a/../../outside/new", b"x").refused();
    Tar::new().link("a", "../outside/secret").refused();
    Tar::new().symlink(".", "../outside").refused();
    Tar::new().symlink("/", "../outside").refused();
}

#[test]
fn owners_that_would_overflow_are_refused() {
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(0);
    header.set_uid(u64::from(u32::MAX) + 1);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    Tar(builder).refused();
}

#[test]
fn bombs_are_stopped() {
    let mut tar = Tar::new();
    for number in 0..=LIMITS.entries_max {
        tar = tar.add(EntryType::Char, &number.to_string(), "", b"");
    }
    assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "entries", .. })));
}

#[test]
fn what_is_cut_or_no_tar_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = File::open(folder.path()).unwrap();
    let mut noise = Vec::new();
    noise.write_all(&[7; 1024]).unwrap();
    let result = unpack(&noise[..], root.as_fd(), &Below::default(), &LIMITS);
    assert!(matches!(result, Err(Unpack::ReadTar(_))));
    let bytes = Tar::new().file("a", &[1; 2000]).0.into_inner().unwrap();
    assert!(unpack(&bytes[..1000], root.as_fd(), &Below::default(), &LIMITS).is_err());
}
