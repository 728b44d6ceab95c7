//! What we write pleases the tools of the projects whose formats we use.

use std::fs;

use ferrite_image::disk::{self, BiosLoader, Toolbox};
use ferrite_image::packages::PackageStore;
use ferrite_image::packages::cache::Cache;
use ferrite_image::progress::Silent;
use ferrite_image::tools::Tools;
use ferrite_image::{qcow2, verify};
use ferrite_layout::sparse;

use crate::fixture::{Fixture, HostTools, fixture, run, succeed};

fn tool(name: &str, arguments: &[&str], path: &std::path::Path) -> String {
    succeed(HostTools.command(name).args(arguments).arg(path))
}

#[test]
fn every_checker_is_content() {
    let fixture = fixture();
    let sgdisk = tool("sgdisk", &["-v"], &fixture.disk.raw);
    assert!(sgdisk.contains("No problems found"), "{sgdisk}");
    assert!(!sgdisk.contains("Caution") && !sgdisk.contains("Warning"), "{sgdisk}");
    let fat = fixture.extract(12);
    tool("fsck.fat", &["-n"], &fat);
    for number in [1, 8] {
        tool("e2fsck", &["-f", "-n"], &fixture.extract(number));
    }
    tool("fsck.erofs", &[], &fixture.extract(3));
    verity(&fixture);
}

fn verity(fixture: &Fixture) {
    let root = &fixture.disk.document.root;
    let partition = fixture.extract(3);
    let mut command = HostTools.command("veritysetup");
    command.arg("verify").arg(&partition).arg(&partition).arg(&root.root_hash);
    command.arg(format!("--hash-offset={}", root.hash_offset_bytes));
    succeed(&mut command);
    let mut bytes = fs::read(&partition).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&partition, bytes).unwrap();
    let (output, text) = run(&mut command);
    assert!(!output.status.success(), "veritysetup let a flipped bit pass: {text}");
}

#[test]
fn two_builds_are_the_same_bytes() {
    let fixture = fixture();
    let again = fixture.folder.path().join("again");
    fs::create_dir(&again).unwrap();
    let disk =
        disk::build(&fixture.parts, &fixture.layout, &HostTools, &again, &mut Silent).unwrap();
    for (one, other) in [
        (&fixture.disk.raw, &disk.raw),
        (&fixture.disk.slot_kern, &disk.slot_kern),
        (&fixture.disk.slot_root, &disk.slot_root),
    ] {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", one.display());
    }
    let names: Vec<_> =
        fs::read_dir(&again).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "something is left behind: {names:?}");
}

#[test]
fn qcow2_is_sound_and_always_the_same() {
    let fixture = fixture();
    let paths = ["one.qcow2", "other.qcow2"].map(|name| fixture.folder.path().join(name));
    for path in &paths {
        qcow2::convert(&fixture.disk.raw, path).unwrap();
        tool("qemu-img", &["check"], path);
    }
    assert!(fs::read(&paths[0]).unwrap() == fs::read(&paths[1]).unwrap(), "the two differ");
    let mut compare = HostTools.command("qemu-img");
    compare.args(["compare", "-f", "raw", "-F", "qcow2"]).arg(&fixture.disk.raw).arg(&paths[0]);
    succeed(&mut compare);
}

#[test]
fn files_are_where_they_belong() {
    let fixture = fixture();
    let esp = fixture.extract(12);
    let copied = fixture.folder.path().join("copied");
    let mut mcopy = HostTools.command("mcopy");
    mcopy.arg("-i").arg(&esp).arg("::/EFI/BOOT/BOOTX64.EFI").arg(&copied);
    succeed(&mut mcopy);
    assert!(fs::read(&copied).unwrap() == fs::read(&fixture.parts.kernel).unwrap());
    let oem = fixture.extract(8);
    let debugfs = |request| tool("debugfs", &["-R", request], &oem);
    assert!(debugfs("cat /cloud-config.toml").contains("#cloud-config"));
    let stat = debugfs("stat /cloud-config.toml");
    assert!(stat.contains("Mode:  0644") && stat.contains("User:     0"), "{stat}");
}

#[test]
fn state_can_grow_while_it_is_mounted() {
    let fixture = fixture();
    let shown = tool("dumpe2fs", &["-h"], &fixture.extract(1));
    for feature in ["resize_inode", "64bit", "has_journal", "metadata_csum_seed"] {
        assert!(shown.contains(feature), "no {feature}: {shown}");
    }
    // One block of 64-byte descriptors covers 64 groups of 128 MiB: 512 reserved ones make 4 TiB.
    assert!(shown.contains("Reserved GDT blocks:      511"), "{shown}");
}

#[test]
fn the_template_is_the_state_of_a_new_disk() {
    let fixture = fixture();
    let template =
        disk::state_template(&fixture.layout, &HostTools, fixture.folder.path()).unwrap();
    let image = sparse::decode(&template).unwrap();
    let state = fs::read(fixture.extract(1)).unwrap();
    assert_eq!(image.size_bytes, state.len() as u64);
    let mut expected = vec![0; state.len()];
    for block in image.blocks {
        let start = usize::try_from(block.offset_bytes).unwrap();
        expected[start..start + block.bytes.len()].copy_from_slice(block.bytes);
    }
    assert!(state == expected, "the template is another file system");
    assert!(template.len() < state.len() / 16, "the template has {} bytes", template.len());
}

/// With the image's own tools, since the host need not have syslinux.
#[test]
fn a_bios_loader_leaves_a_clean_and_equal_file_system() {
    let store = PackageStore { cache: Cache::of_user().unwrap(), mirrors: None, refresh: false };
    let tools = Tools::obtain(&store, &mut Silent).unwrap();
    let mut fixture = fixture();
    fixture.parts.bios = Some(BiosLoader {
        boot_code: tools.file("usr/lib/syslinux/mbr/gptmbr.bin"),
        directory: "/syslinux".to_owned(),
    });
    let build = |name| {
        let out = fixture.folder.path().join(name);
        fs::create_dir(&out).unwrap();
        disk::build(&fixture.parts, &fixture.layout, &tools, &out, &mut Silent).unwrap()
    };
    let (one, other) = (build("one"), build("other"));
    assert!(fs::read(&one.raw).unwrap() == fs::read(&other.raw).unwrap(), "the two differ");
    fixture.disk = one;
    let checked = tool("fsck.fat", &["-n"], &fixture.extract(12));
    assert!(!checked.contains("differences"), "{checked}");
    let sgdisk = tool("sgdisk", &["-i", "12"], &fixture.disk.raw);
    assert!(sgdisk.contains("Attribute flags: 0000000000000004"), "{sgdisk}");
    verify::verify(&fixture.disk.raw, &[fixture.parts.key.trusted()], &mut Silent).unwrap();
}
