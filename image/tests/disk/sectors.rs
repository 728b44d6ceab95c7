//! Disks with sectors of 4096 bytes.

use std::fs;

use ferrite_image::disk::{self, Toolbox};
use ferrite_image::progress::Silent;
use ferrite_image::{inspect, verify};
use tempfile::TempDir;

use crate::fixture::{Fixture, HostTools, parts, small_layout, succeed};

#[test]
fn other_peoples_tools_read_a_disk_for_large_sectors() {
    let folder = TempDir::new().unwrap();
    let layout = small_layout().with_sectors(4096);
    let parts = parts(folder.path());
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let disk = disk::build(&parts, &layout, &HostTools, &out, &mut Silent).unwrap();
    let fixture = Fixture { folder, layout, parts, disk };

    let mut partx = HostTools.command("partx");
    partx.args(["--sector-size", "4096", "--raw", "--noheadings", "--output", "NR,NAME"]);
    let table = succeed(partx.arg(&fixture.disk.raw));
    for partition in &fixture.layout.partitions {
        let line = format!("{} {}", partition.number, partition.label);
        assert!(table.lines().any(|found| found == line), "{line} is missing in {table}");
    }
    let fat = fixture.extract(12);
    let checked = succeed(HostTools.command("fsck.fat").args(["-n", "-v"]).arg(&fat));
    assert!(checked.contains("4096 bytes per logical sector"), "{checked}");
    let listed = succeed(HostTools.command("mdir").args(["-b", "-/", "-i"]).arg(&fat).arg("::/"));
    assert!(listed.contains("BOOTX64.EFI"), "{listed}");
    verify::verify(&fixture.disk.raw, &[fixture.parts.key.trusted()], &mut Silent).unwrap();
    assert!(matches!(inspect::inspect(&fixture.disk.raw, &[]), Ok(inspect::Report::Disk(_))));
}
