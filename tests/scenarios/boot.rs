//! The same disk boots everywhere, and what it runs arrives.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context, Result};
use ferrite_tests::demo;
use ferrite_tests::images::Kind;
use ferrite_tests::node::{BOOT, Node, READY};
use ferrite_tests::programs::{checkout, program, succeed};
use ferrite_tests::units;
use ferrite_vm::disk::{Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::machine::{Boot, Machine};

/// Size of the disks that come late.
const LATE_BYTES: u64 = 64 << 20;

/// A machine is ready whose disk is on `bus`; more about it is said by `describe`.
fn ready(name: &str, bus: Bus, describe: impl Fn(&mut Machine)) -> Result<()> {
    let mut node = Node::new(name, Kind::Product)?;
    node.machine.disks.iter_mut().for_each(|disk| disk.bus = bus);
    describe(&mut node.machine);
    node.boot()?;
    let machine = node.ask(&["machine", "status"])?;
    assert_eq!(machine["slot"], "A");
    assert_eq!(machine["ready"], true);
    Ok(())
}

#[test]
fn a_fresh_disk_boots_directly() -> Result<()> {
    ready("boot-direct", Bus::Virtio, |_| {})
}

#[test]
fn a_fresh_disk_boots_under_bios_from_scsi() -> Result<()> {
    ready("boot-bios", Bus::VirtioScsi, |machine| {
        machine.boot = Boot::Bios;
        machine.cpus = 2;
    })
}

#[test]
fn a_fresh_disk_boots_under_uefi_from_nvme_with_little_memory() -> Result<()> {
    ready("boot-uefi", Bus::Nvme, |machine| {
        machine.boot = Boot::Uefi;
        (machine.cpus, machine.memory_mib) = (1, 256);
    })
}

/// Disks that come late, and what the kernel calls them.
const LATE: [(Bus, u16, &str); 3] =
    [(Bus::Virtio, 4096, "vda"), (Bus::Nvme, 512, "nvme0n1"), (Bus::VirtioScsi, 512, "sdb")];

#[test]
fn a_node_on_sata_takes_disks_that_come_late_on_every_other_bus() -> Result<()> {
    disks_come_late("disks-late", Kind::Probed).map(drop)
}

/// None of the drivers was there before: PID 1 loads them when the kernel tells of the devices.
#[test]
fn drivers_come_with_the_disks_that_come_late() -> Result<()> {
    let mut node = disks_come_late("disks-late-modules", Kind::Debian)?;
    // And the probe's word on kernels is worth something: what this one lacks has its name.
    let found = node.probe(&["kernel"])?;
    let why = found["lost"]["/proc/config.gz"].as_str().unwrap_or_default();
    assert!(why.contains("No such file"), "{found}");
    Ok(())
}

fn disks_come_late(name: &str, kind: Kind) -> Result<Node> {
    let mut node = Node::new(name, kind)?;
    let first = node.machine.disks.first_mut().context("the node's disk")?;
    first.bus = Bus::Sata;
    for (number, (bus, sector_bytes, ..)) in LATE.into_iter().enumerate() {
        let path = node.machine.directory.join(format!("late-{number}.raw"));
        File::create(&path)?.set_len(LATE_BYTES)?;
        let (format, cache, plugged) = (Format::Raw, Cache::Unsafe, Plugged::Later);
        node.machine.disks.push(Disk { path, format, cache, bus, sector_bytes, plugged });
    }
    node.boot()?;
    assert_eq!(node.ask(&["machine", "status"])?["ready"], true);
    for (number, (bus, sector_bytes, name)) in LATE.into_iter().enumerate() {
        node.plug(number + 1)?;
        let size = units::read_until(&mut node, &format!("/sys/block/{name}/size"));
        let size = size.with_context(|| format!("a late disk on {bus:?}"))?;
        assert_eq!(size.trim(), (LATE_BYTES / 512).to_string(), "{name}");
        let sector = format!("/sys/block/{name}/queue/logical_block_size");
        let sector = node.probe(&["read", &sector])?;
        assert_eq!(sector["text"], format!("{sector_bytes}\n"), "{name}");
    }
    assert_eq!(node.ask(&["machine", "status"])?["ready"], true);
    Ok(node)
}

#[test]
fn a_container_runs_and_its_output_and_exit_status_arrive() -> Result<()> {
    let mut node = Node::new("first-container", Kind::Product)?;
    node.boot()?;
    let archive = demo::busybox()?;
    node.ferrite(&["import", &archive.display().to_string(), "--name", "busybox"])?;
    let unit = r#"
name = "first"
image = "busybox"
command = ["/bin/sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]
restart = "never"
"#;
    std::fs::write(node.machine.directory.join("first.toml"), unit)?;
    node.ferrite_output(&["unit", "start", "first.toml", "--until", "ended"])?;
    let status = node.ask(&["unit", "status", "first"])?;
    assert_eq!(status["last_exit"]["code"], 7, "{status}");
    let output = node.ferrite_output(&["unit", "logs", "first"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "to stdout\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "to stderr\n");
    Ok(())
}

/// And its disk, as many of today's, has sectors of 4096 bytes.
#[test]
fn a_node_is_configured_by_its_oem_partition() -> Result<()> {
    let mut node = Node::new("oem", Kind::Product)?;
    let directory = node.machine.directory.clone();
    let out = directory.join("image");
    let mut build = Command::new(program("ferrite")?);
    build.current_dir(checkout()).args(["image", "build", "--sector-bytes", "4096"]);
    build.arg("--cloud-config").arg(directory.join("cloud-config"));
    succeed(build.arg("--out").arg(&out))?;
    // The document has keys in it.
    let mode = std::fs::metadata(out.join("disk.raw"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::rename(out.join("disk.raw"), node.disk())?;
    node.machine.fw_cfg.clear();
    let first = node.machine.disks.first_mut().context("the node's disk")?;
    (first.bus, first.sector_bytes) = (Bus::Nvme, 4096);
    node.machine.boot = Boot::Uefi;
    node.boot()?;
    assert_eq!(node.ask(&["machine", "status"])?["hostname"], "node");
    // It grows there as well, and stays good.
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT)?;
    Ok(())
}
