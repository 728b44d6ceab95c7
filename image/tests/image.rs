//! Images built from real packages, which the first run fetches and later runs take from the user's cache.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use ferrite_image::build::{BuildOutput, BuildRequest, MANIFEST, OUTPUTS, SBOM, build};
use ferrite_image::keys::SlotKey;
use ferrite_image::packages::PackageStore;
use ferrite_image::packages::cache::{Cache, sha256_of};
use ferrite_image::progress::Silent;
use ferrite_image::tools::Tools;

fn store() -> PackageStore {
    PackageStore { cache: Cache::of_user().unwrap(), mirrors: None, refresh: false }
}

#[test]
fn every_tool_runs_and_is_called_by_its_own_name() {
    let tools = Tools::obtain(&store(), &mut Silent).unwrap();
    for (tool, argument, expected) in [
        ("mkfs.erofs", "--version", "erofs-utils"),
        ("fsck.erofs", "--version", "erofs-utils"),
        ("mkfs.ext4", "-V", "mke2fs"),
        ("e2fsck", "-V", "e2fsck"),
        ("mkfs.fat", "--help", "mkfs.fat"),
        ("mcopy", "-V", "mcopy"),
        ("depmod", "--version", "kmod"),
        ("xz", "--version", "xz"),
        ("syslinux", "--version", "syslinux"),
    ] {
        let output = tools.command(tool).arg(argument).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(expected), "{tool}: {text}");
    }
    assert!(tools.file("usr/lib/syslinux/mbr/gptmbr.bin").is_file());
    assert!(tools.file("usr/lib/systemd/boot/efi/linuxx64.efi.stub").is_file());
}

/// A request for an image whose programs are stand-ins: nothing here boots it.
fn request(directory: &Path) -> BuildRequest {
    let program = |name: &str| {
        let path = directory.join(name);
        fs::write(&path, format!("stands for {name}")).unwrap();
        path
    };
    BuildRequest {
        configs: Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        variant: "cloud".to_owned(),
        version: "0.1.0".to_owned(),
        init: program("init"),
        agent: program("agent"),
        programs: Vec::new(),
        key: key(),
        trusted: Vec::new(),
        oem: Vec::new(),
        sector_bytes: None,
        out: directory.join("out"),
    }
}

/// The same key for every build: it is an input.
fn key() -> SlotKey {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.key");
    fs::write(&path, format!("{}\n", "17".repeat(32))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    SlotKey::load(&path).unwrap()
}

/// A cache that has the user's package files and nothing that was made from them.
fn fresh_store(directory: &Path) -> PackageStore {
    let user = store();
    let fresh = Cache::open(directory.join("cache")).unwrap();
    for name in ["debs", "resolved"] {
        for entry in fs::read_dir(user.cache.root().join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), fresh.root().join(name).join(entry.file_name())).unwrap();
        }
    }
    PackageStore { cache: fresh, ..user }
}

#[test]
fn two_builds_of_the_same_inputs_are_the_same_bytes() {
    let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = build(&request(one.path()), &store(), &mut Silent).unwrap();
    let store = fresh_store(two.path());
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let second = build(&request(two.path()), &store, &mut Silent).unwrap();
    assert_eq!(first.manifest, second.manifest);
    for (name, file) in &first.manifest.files {
        assert_eq!(sha256_of(&second.out.join(name)).unwrap(), file.sha256, "{name}");
    }
    let text = |output: &BuildOutput| fs::read_to_string(output.out.join(MANIFEST)).unwrap();
    assert_eq!(text(&first), text(&second));
    // The image's date, which a node's clock is held against, is its newest package's: in erofs' superblock, and so every
    // file's.
    let newest = first.manifest.packages.iter().map(|package| store.cache.made_s(package).unwrap());
    let mut date = [0; 8];
    let root = fs::File::open(first.out.join("slot.root")).unwrap();
    root.read_exact_at(&mut date, 1024 + 24).unwrap();
    assert_eq!(Some(u64::from_le_bytes(date)), newest.max());
    let left: BTreeSet<String> = fs::read_dir(&first.out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(".build-stamp"))
        .collect();
    let expected = OUTPUTS.into_iter().chain([MANIFEST, SBOM]).map(str::to_owned).collect();
    assert_eq!(left, expected);
}

#[test]
fn only_what_changed_is_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let request = request(directory.path());
    let build = || build(&request, &store(), &mut Silent).unwrap();
    let first = build();
    assert!(!first.unchanged);
    assert!(build().unchanged);

    fs::write(&request.agent, "another agent").unwrap();
    let changed = build();
    assert!(!changed.unchanged);
    let root = |output: &BuildOutput| output.manifest.slot.root.root_hash.clone();
    assert_ne!(root(&first), root(&changed));
    assert_eq!(first.manifest.slot.boot_id, changed.manifest.slot.boot_id);

    let disk = fs::OpenOptions::new().write(true).open(changed.out.join("disk.raw")).unwrap();
    disk.write_all_at(b"damaged", 0).unwrap();
    drop(disk);
    let repaired = build();
    assert!(!repaired.unchanged);
    assert_eq!(repaired.manifest, changed.manifest);
}

#[test]
fn a_variant_with_an_unknown_module_says_its_name_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut request = request(directory.path());
    let configs = directory.path().join("configs");
    fs::create_dir_all(configs.join("variants")).unwrap();
    for name in ["disk-layout.toml", "sysctl.conf"] {
        fs::copy(request.configs.join(name), configs.join(name)).unwrap();
    }
    let cloud = "variants/cloud.toml";
    fs::copy(request.configs.join(cloud), configs.join(cloud)).unwrap();
    let base = "variants/base.toml";
    let text = fs::read_to_string(request.configs.join(base)).unwrap();
    let text = text.replacen("\"virtio_blk\"", "\"virtio_blck\"", 1);
    fs::write(configs.join(base), text).unwrap();
    request.configs = configs;
    let error = build(&request, &store(), &mut Silent).unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!("{source:?}"));
    assert!(source.is_some_and(|text| text.contains("virtio_blck")), "{error:?}");
    assert_eq!(fs::read_dir(&request.out).unwrap().count(), 0);
}
