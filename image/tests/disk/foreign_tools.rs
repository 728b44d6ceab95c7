//! What we write pleases the tools of the projects whose formats we use.

use std::fs;

use ferrite_image::disk::{self, Toolbox};
use ferrite_image::progress::Silent;

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
