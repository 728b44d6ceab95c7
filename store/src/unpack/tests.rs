use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::FileType;
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

pub(super) const LIMITS: Limits =
    Limits { tar_max_bytes: 1 << 20, file_max_bytes: 1 << 20, entries_max: 100 };

/// A tar whose names are written as they are given: the library would refuse what attackers write.
pub(super) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn add(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind.is_dir() { 0o750 } else { 0o4755 });
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(12345);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
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

    /// Applies it to `layer` in a folder that also holds `outside/secret`.
    pub(super) fn apply(self) -> (TempDir, PathBuf, Result<u64, Unpack>) {
        let bytes = self.0.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let layer = folder.path().join("layer");
        fs::create_dir(&layer).unwrap();
        let result = unpack(&bytes[..], File::open(&layer).unwrap().as_fd(), &LIMITS);
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

/// Owners can be set, and whiteouts made, by root alone.
pub(super) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn an_honest_layer_keeps_owner_mode_and_time() {
    if !root() {
        return;
    }
    let tar = Tar::new()
        .folder("./")
        .folder("usr/")
        .file("usr/bin/a", b"abc")
        .link("usr/bin/b", "usr/bin/a")
        .symlink("bin", "usr/bin")
        .file("bin/c", b"through a link of the layer");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    let file = fs::metadata(layer.join("usr/bin/a")).unwrap();
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777, file.mtime()),
        (1000, 1001, 0o4755, 12345)
    );
    assert_eq!(fs::metadata(layer.join("usr/bin/b")).unwrap().ino(), file.ino());
    assert_eq!(fs::read(layer.join("usr/bin/c")).unwrap(), b"through a link of the layer");
    for folder in ["", "usr"] {
        let meta = fs::metadata(layer.join(folder)).unwrap();
        assert_eq!(
            (meta.uid(), meta.mode() & 0o7777, meta.mtime()),
            (1000, 0o750, 12345),
            "{folder:?}"
        );
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
fn absolute_paths_stay_inside() {
    if !root() {
        return;
    }
    let (_folder, layer, result) = Tar::new().file("/etc/a", b"x").apply();
    result.unwrap();
    assert_eq!(fs::read(layer.join("etc/a")).unwrap(), b"x");
}

#[test]
fn writing_through_symlinks_stays_inside() {
    if !root() {
        return;
    }
    for target in ["../outside", "/outside", "../../../../outside"] {
        let tar = Tar::new().folder("outside").symlink("link", target).file("link/secret", b"x");
        let (_folder, layer, result) = tar.apply();
        result.unwrap();
        assert_eq!(fs::read(layer.join("outside/secret")).unwrap(), b"x", "{target}");
    }
    // Where the target is not in the layer, there is nothing to write to.
    let (_folder, _, result) =
        Tar::new().symlink("link", "../outside").file("link/new", b"x").apply();
    assert!(result.is_err());
    // Through a chain, and through a kernel link.
    let chain = Tar::new().symlink("a", "b").symlink("b", "..").file("a/outside/new", b"x");
    chain.apply().2.unwrap();
    let magic = Tar::new().symlink("a", "/proc/self/root").file("a/tmp/ferrite-escape", b"x");
    assert!(magic.apply().2.is_err());
}

#[test]
fn a_symlink_is_replaced_and_not_followed_by_a_file_or_its_mode() {
    if !root() {
        return;
    }
    let tar = Tar::new().symlink("a", "../outside/secret").file("a", b"own");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"own");
    let tar = Tar::new().symlink("d", "../outside").folder("d");
    let (folder, layer, result) = tar.apply();
    result.unwrap();
    assert!(fs::symlink_metadata(layer.join("d")).unwrap().is_dir());
    assert_ne!(fs::metadata(folder.path().join("outside")).unwrap().uid(), 1000);
}

#[test]
fn hard_links_lead_nowhere_else() {
    if !root() {
        return;
    }
    let tar = Tar::new().symlink("d", "../outside").link("a", "d/secret");
    assert!(tar.apply().2.is_err());
    // A link to a symlink is one more symlink: its content is never opened.
    let tar = Tar::new().symlink("s", "../outside/secret").link("a", "s").file("a", b"own");
    tar.apply().2.unwrap();
    Tar::new().file("a", b"x").link("a", "a").refused();
    Tar::new().folder("d").link("a", "d").refused();
}

#[test]
fn device_nodes_are_left_out() {
    if !root() {
        return;
    }
    let tar = Tar::new().add(EntryType::Block, "sda", "", b"").add(EntryType::Char, "mem", "", b"");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(fs::read_dir(layer).unwrap().count(), 0);
}

#[test]
fn whiteouts_become_overlayfs_whiteouts() {
    if !root() {
        return;
    }
    let tar = Tar::new()
        .file("etc/.wh.gone", b"")
        .file("etc/kept", b"x")
        .file("etc/.wh.kept", b"")
        .file("opt/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"")
        .file(".wh.var", b"")
        .folder("var");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    let gone = fs::symlink_metadata(layer.join("etc/gone")).unwrap();
    assert_eq!((FileType::from_raw_mode(gone.mode()), gone.rdev()), (FileType::CharacterDevice, 0));
    assert_eq!(fs::read(layer.join("etc/kept")).unwrap(), b"x");
    for opaque in ["opt", "var"] {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(layer.join(opaque), OPAQUE, &mut value).unwrap();
        assert_eq!(&value[..length], b"y", "{opaque}");
    }
    assert!(!layer.join(".wh..wh.plnk").exists());
    for name in [".wh.", ".wh..", ".wh..."] {
        Tar::new().file(name, b"").refused();
    }
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
fn only_harmless_attributes_are_taken() {
    if !root() {
        return;
    }
    let mut builder = Builder::new(Vec::new());
    let extensions: [(&str, &[u8]); 2] =
        [("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.trusted.overlay.redirect", b"/x")];
    builder.append_pax_extensions(extensions).unwrap();
    let (_folder, layer, result) = Tar(builder).file("a", b"").apply();
    result.unwrap();
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(layer.join("a"), "user.a", &mut value), Ok(1));
    let forged = rustix::fs::getxattr(layer.join("a"), "trusted.overlay.redirect", &mut value);
    assert_eq!(forged, Err(Errno::NODATA));
}

#[test]
fn bombs_are_stopped() {
    let mut tar = Tar::new();
    for number in 0..=LIMITS.entries_max {
        tar = tar.add(EntryType::Char, &number.to_string(), "", b"");
    }
    assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "entries", .. })));
    if root() {
        let tar = Tar::new().file("a", &vec![0; 2 << 20]);
        assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "bytes of a file", .. })));
        let tar = Tar::new().file("a", &vec![0; 700 << 10]).file("b", &vec![0; 700 << 10]);
        assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "bytes", .. })));
    }
}

#[test]
fn what_is_cut_or_no_tar_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = File::open(folder.path()).unwrap();
    let mut noise = Vec::new();
    noise.write_all(&[7; 1024]).unwrap();
    assert!(matches!(unpack(&noise[..], root.as_fd(), &LIMITS), Err(Unpack::ReadTar(_))));
    let bytes = Tar::new().file("a", &[1; 2000]).0.into_inner().unwrap();
    assert!(unpack(&bytes[..1000], root.as_fd(), &LIMITS).is_err());
}
