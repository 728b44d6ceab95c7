//! What unpacking does that root alone may: owners, whiteouts, attributes of the kernel's. `as_root` in the name of a test
//! has `scripts/test` run it in a machine (see `tests/scenarios/root.rs`), whoever runs the others.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::FileType;
use rustix::io::Errno;
use tar::{Builder, EntryType};

use super::attacks::{apply, names, raw, record};
use super::names::OPAQUE;
use super::tests::Tar;
use super::*;

mod stacks;

#[test]
fn an_honest_layer_keeps_owner_mode_and_time() {
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
fn absolute_paths_stay_inside() {
    let (_folder, layer, result) = Tar::new().file("/etc/a", b"x").apply();
    result.unwrap();
    assert_eq!(fs::read(layer.join("etc/a")).unwrap(), b"x");
}

#[test]
fn writing_through_symlinks_stays_inside() {
    for target in ["../outside", "/outside", "../../../../outside"] {
        let tar = Tar::new().folder("outside").symlink("link", target).file("link/secret", b"x");
        let (_folder, layer, result) = tar.apply();
        result.unwrap();
        assert_eq!(fs::read(layer.join("outside/secret")).unwrap(), b"x", "{target}");
    }
    // Where the target is not in the image, it is made there.
    let (_folder, layer, result) =
        Tar::new().symlink("link", "../outside").file("link/new", b"x").apply();
    result.unwrap();
    assert_eq!(names(&layer.join("outside")), ["new"]);
    // Through a chain, and through what would be a kernel link.
    let chain = Tar::new().symlink("a", "b").symlink("b", "..").file("a/outside/new", b"x");
    chain.apply().2.unwrap();
    let magic = Tar::new().symlink("a", "/proc/self/root").file("a/tmp/ferrite-escape", b"x");
    let (_folder, layer, result) = magic.apply();
    result.unwrap();
    assert_eq!(names(&layer.join("proc/self/root/tmp")), ["ferrite-escape"]);
    assert!(!Path::new("/tmp/ferrite-escape").exists());
    for circle in [Tar::new().symlink("a", "a"), Tar::new().symlink("a", "b").symlink("b", "a")] {
        circle.file("a/x", b"x").refused();
    }
    let long = Tar::new().symlink("a", &"b/../".repeat(19)).file("a/x", b"x");
    long.apply().2.unwrap();
}

#[test]
fn a_symlink_is_replaced_and_not_followed_by_a_file_or_its_mode() {
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
    let tar = Tar::new().symlink("d", "../outside").link("a", "d/secret");
    assert!(tar.apply().2.is_err());
    // A link to a symlink is one more symlink: its content is never opened.
    let tar = Tar::new().symlink("s", "../outside/secret").link("a", "s").file("a", b"own");
    tar.apply().2.unwrap();
    Tar::new().file("a", b"x").link("a", "a").refused();
    Tar::new().folder("d").link("a", "d").refused();
    Tar::new().link("a", "nothing").refused();
    Tar::new().add(EntryType::Fifo, "f", "", b"").link("a", "f").apply().2.unwrap();
}

#[test]
fn devices_are_made_but_for_what_would_be_a_whiteout() {
    let tar = Tar::new()
        .device(EntryType::Block, "sda", (8, 1))
        .device(EntryType::Char, "null", (1, 3))
        .link("zero", "null")
        .device(EntryType::Char, "whiteout", (0, 0))
        .link("another", "whiteout")
        .file("etc/hosts", b"x")
        .device(EntryType::Char, "etc/hosts", (0, 0));
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(names(&layer), ["etc", "null", "sda", "zero"]);
    assert_eq!(fs::read(layer.join("etc/hosts")).unwrap(), b"x");
    let seen = |name: &str| {
        let meta = fs::symlink_metadata(layer.join(name)).unwrap();
        let device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        (FileType::from_raw_mode(meta.mode()), device, meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!(seen("sda"), (FileType::BlockDevice, (8, 1), 0o4755, 1000));
    assert_eq!(seen("null"), (FileType::CharacterDevice, (1, 3), 0o4755, 1000));
    assert_eq!(seen("zero"), seen("null"));
}

#[test]
fn whiteouts_of_nothing_are_nothing() {
    let tar = Tar::new()
        .file("etc/.wh.gone", b"")
        .file("etc/kept", b"x")
        .file("etc/.wh.kept", b"")
        .file("opt/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"")
        .file(".wh..wh.plnk/12.34", b"")
        .file(".wh.var", b"")
        .folder("var");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(names(&layer), ["etc", "opt", "var"]);
    assert_eq!(names(&layer.join("etc")), ["kept"]);
    for opaque in ["opt", "var"] {
        let found = rustix::fs::getxattr(layer.join(opaque), OPAQUE, &mut [0; 8]);
        assert_eq!(found, Err(Errno::NODATA), "{opaque}");
    }
    for name in [".wh.", ".wh..", ".wh..."] {
        Tar::new().file(name, b"").refused();
    }
}

#[test]
fn only_harmless_attributes_are_taken() {
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
fn large_files_and_many_of_them_are_stopped() {
    let tar = Tar::new().file("a", &vec![0; 2 << 20]);
    assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "bytes of a file", .. })));
    let tar = Tar::new().file("a", &vec![0; 700 << 10]).file("b", &vec![0; 700 << 10]);
    assert!(matches!(tar.apply().2, Err(Unpack::TooMuch { what: "bytes", .. })));
}

#[test]
fn overlayfs_attributes_are_not_the_images_to_set() {
    let mut attributes = Vec::new();
    for name in [
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "security.selinux",
        "system.posix_acl_access",
        "user.kept",
    ] {
        attributes.extend(record(&format!("SCHILY.xattr.{name}"), b"y"));
    }
    // A file capability as `setcap cap_net_raw+ep` writes it.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attributes.extend(record("SCHILY.xattr.security.capability", &capability));
    let (folder, result) = apply(&[raw(b'x', b"pax", &attributes), raw(b'0', b"a", b"1")]);
    result.unwrap();
    let mut list = [0; 1024];
    let length = rustix::fs::listxattr(folder.path().join("a"), &mut list).unwrap();
    let mut found: Vec<&[u8]> = list[..length].split(|byte| *byte == 0).collect();
    found.retain(|name| !name.is_empty());
    found.sort_unstable();
    assert_eq!(found, [&b"security.capability"[..], b"user.kept"]);
}

#[test]
fn rustsec_2026_0067_a_mode_is_not_set_through_a_symlink() {
    let tar = Tar::new()
        .symlink("link", "../outside")
        .symlink("link2", "../outside/secret")
        .folder("link")
        .file("link2", b"own");
    let (folder, layer, result) = tar.apply();
    result.unwrap();
    let mode =
        |path: &str| fs::symlink_metadata(folder.path().join(path)).unwrap().permissions().mode();
    assert_ne!(mode("outside") & 0o7777, 0o750);
    assert_eq!(mode("outside/secret") & 0o4000, 0);
    assert!(fs::symlink_metadata(layer.join("link")).unwrap().is_dir());
}

#[test]
fn a_folder_behind_a_replaced_symlink_is_another_folder() {
    // What was opened through the link must not be used for the folder that takes its place.
    let tar = Tar::new()
        .folder("real")
        .symlink("s", "real")
        .file("s/one", b"1")
        .folder("s")
        .file("s/two", b"2");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(names(&layer.join("real")), ["one"]);
    assert_eq!(names(&layer.join("s")), ["two"]);
}

#[test]
fn set_id_bits_stay_and_a_folders_group_is_not_handed_on() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_path("shared/").unwrap();
    header.set_size(0);
    header.set_mode(0o2775);
    header.set_uid(0);
    header.set_gid(50);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    let folder = builder.into_inner().unwrap()[..512].to_vec();
    let (folder, result) = apply(&[folder, raw(b'0', b"shared/file", b"x")]);
    result.unwrap();
    let meta = |path: &str| fs::metadata(folder.path().join(path)).unwrap();
    assert_eq!((meta("shared").mode() & 0o7777, meta("shared").gid()), (0o2775, 50));
    assert_eq!(meta("shared/file").gid(), 0);
}

#[test]
fn the_same_name_twice_is_the_last_of_them() {
    let tar = Tar::new().file("a", b"one").file("b", b"").file("a", b"two").symlink("b", "a");
    let (_folder, layer, result) = tar.apply();
    result.unwrap();
    assert_eq!(fs::read(layer.join("a")).unwrap(), b"two");
    assert!(layer.join("b").is_symlink());
    let tar = Tar::new().file("d/e/f", b"one").file("d", b"two").file("g", b"").file("g/h", b"");
    let (_folder, layer, result) = tar.apply();
    assert!(matches!(result, Err(Unpack::CreateEntry { .. })), "{result:?}");
    assert_eq!(fs::read(layer.join("d")).unwrap(), b"two");
}
