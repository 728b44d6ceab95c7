//! Which disk is the system disk, and what is never written to any other.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use ferrite_image::stage;
use ferrite_layout::slot::Slot;
use ferrite_tests::disk::{self, copy, digest, guid, renew_identities, sign_anew};
use ferrite_tests::images::{self, Kind};
use ferrite_tests::node::{BOOT, Node, PID1, READY, SOON};
use ferrite_tests::programs::succeed;
use ferrite_vm::disk::{Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::machine::Boot;

const FATAL: &str = "ferrite-init: FATAL";
const GIB: u64 = 1 << 30;

/// Attaches a copy of the disk of an image behind those that are there.
fn attach(node: &mut Node, kind: Kind, name: &str, bus: Bus) -> Result<PathBuf> {
    let path = node.machine.directory.join(name);
    copy(&images::image(kind)?.join("disk.raw"), &path)?;
    let (format, cache) = (Format::Raw, Cache::Unsafe);
    let (sector_bytes, plugged) = (512, Plugged::AtPowerOn);
    node.machine.disks.push(Disk { path: path.clone(), format, cache, bus, sector_bytes, plugged });
    Ok(path)
}

/// A disk that has grown, so that whoever takes it for his own has something to mend.
fn enlarge(disk: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(disk)?;
    Ok(file.set_len(file.metadata()?.len() + GIB)?)
}

#[test]
fn disks_that_are_not_trusted_here_stay_as_they_are_to_the_last_byte() -> Result<()> {
    let mut node = Node::new("disk-not-trusted", Kind::Product)?;
    let key = SigningKey::from_bytes(&[7; 32]);
    // A key of another name, another key of the same name, and a header of another version.
    sign_anew(&node.disk(), &key, "somebody-else")?;
    let same_name = attach(&mut node, Kind::Product, "same-name.raw", Bus::Virtio)?;
    sign_anew(&same_name, &key, "development")?;
    let newer = attach(&mut node, Kind::Product, "newer.raw", Bus::Virtio)?;
    let header = disk::partition_start(&newer, Slot::A.kern_partition())?;
    OpenOptions::new().write(true).open(&newer)?.write_all_at(&[2], header + 8)?;
    let disks = [node.disk(), same_name, newer];
    disks.iter().try_for_each(|disk| enlarge(disk))?;
    let before = disks.iter().map(|disk| digest(disk)).collect::<Result<Vec<_>>>()?;
    node.append("ferrite.disk=vda ferrite.fatal_delay_s=1");
    node.expected.push("FATAL");
    node.power_on()?;
    let message = node.wait_for(FATAL, BOOT)?;
    assert!(
        message.contains("somebody-else") && message.contains("Nothing was written"),
        "{message}"
    );
    for name in ["vdb", "vdc"] {
        node.wait_for(PID1, BOOT)?;
        if let Boot::Direct { command_line, .. } = &mut node.machine.boot {
            *command_line = command_line.replace("vda", name).replace("vdb", name);
        }
        node.cut()?;
        node.power_on()?;
        let message = node.wait_for(FATAL, BOOT)?;
        assert!(message.contains(name) && message.contains("Nothing was written"), "{message}");
    }
    node.cut()?;
    let after = disks.iter().map(|disk| digest(disk)).collect::<Result<Vec<_>>>()?;
    assert_eq!(before, after);
    Ok(())
}

/// Boots by firmware from a disk on SATA; another Ferrite disk, in a place that comes first, is trusted as well.
fn started_from_wins(name: &str, boot: Boot) -> Result<()> {
    let mut node = Node::new(name, Kind::Product)?;
    let other = attach(&mut node, Kind::Product, "other.raw", Bus::Virtio)?;
    renew_identities(&other, 0x1234_5678)?;
    enlarge(&other)?;
    let before = digest(&other)?;
    let images = guid(&node.disk())?;
    if let Some(first) = node.machine.disks.first_mut() {
        first.bus = Bus::Sata;
    }
    node.machine.boot = boot;
    node.boot()?;
    node.ferrite(&["machine", "reboot"])?;
    node.wait_for(READY, BOOT)?;
    let console = node.console_text()?;
    assert_eq!(console.matches("system disk is sda").count(), 2);
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    assert_eq!(before, digest(&other)?, "the disk that was not started from was written to");
    let own = guid(&node.disk())?;
    assert!(own != images && console.contains(&own), "its identity is {own} as in the image");
    assert_eq!(console.matches("gets an identity of its own").count(), 1);
    let said = succeed(Command::new("sgdisk").arg("-v").arg(node.disk()))?;
    assert!(said.contains("No problems found"), "{said}");
    let esp = disk::extract(&node.disk(), 12)?;
    succeed(Command::new("fsck.fat").arg("-n").arg(esp)).map(drop)
}

#[test]
fn under_uefi_the_disk_that_was_started_from_wins() -> Result<()> {
    started_from_wins("disk-uefi", Boot::Uefi)
}

#[test]
fn under_bios_the_disk_that_was_started_from_wins() -> Result<()> {
    started_from_wins("disk-bios", Boot::Bios)
}

#[test]
fn one_of_two_is_never_taken_by_a_guess_and_a_person_can_say_which() -> Result<()> {
    let mut node = Node::new("disk-two", Kind::Product)?;
    let second = attach(&mut node, Kind::Product, "second.raw", Bus::Virtio)?;
    let before = [digest(&node.disk())?, digest(&second)?];
    assert_eq!(guid(&node.disk())?, guid(&second)?, "images are alike");
    node.expected.push("FATAL");
    node.power_on()?;
    let message = node.wait_for(FATAL, BOOT)?;
    assert!(message.contains("ferrite.disk=") && message.contains("vdb"), "{message}");
    // They are alike, and the kernel's names change: only the place tells them apart. The second is plugged in behind.
    let places = message.split(", at ").skip(1).filter_map(|rest| rest.split(')').next());
    let place = places.max().context("find the disks' places")?.to_owned();
    node.wait_for("restarting in 300 s", SOON)?;
    node.cut()?;
    assert_eq!(before, [digest(&node.disk())?, digest(&second)?]);
    node.append(&format!("ferrite.disk={place}"));
    node.boot()?;
    node.cut()?;
    assert_eq!(before[0], digest(&node.disk())?);
    assert_ne!(guid(&node.disk())?, guid(&second)?);
    assert!(stage::slots(&second)?.a.successful);
    Ok(())
}

/// Its driver is loaded only after those of swift disks, one of which is trusted as well.
#[test]
fn a_second_one_on_a_slower_bus_is_seen_before_one_is_taken() -> Result<()> {
    let mut node = Node::new("disk-slower", Kind::Debian)?;
    let second = attach(&mut node, Kind::Debian, "second.raw", Bus::Sata)?;
    let before = [digest(&node.disk())?, digest(&second)?];
    node.expected.push("FATAL");
    node.power_on()?;
    let message = node.wait_for(FATAL, BOOT)?;
    assert!(message.contains("vda") && message.contains("sda"), "{message}");
    assert!(message.contains("copies of one image"), "{message}");
    node.cut()?;
    assert_eq!(before, [digest(&node.disk())?, digest(&second)?]);
    Ok(())
}

#[test]
fn a_partition_behind_state_keeps_nobody_from_becoming_good() -> Result<()> {
    let mut node = Node::new("disk-partition-behind", Kind::Product)?;
    enlarge(&node.disk())?;
    succeed(Command::new("sgdisk").args(["-e", "-n", "20:0:+64M"]).arg(node.disk()))?;
    enlarge(&node.disk())?;
    node.boot()?;
    assert!(node.console_text()?.contains("STATE cannot have the rest"), "it says so");
    node.ferrite(&["machine", "poweroff"])?;
    node.wait_off(SOON)?;
    assert!(stage::slots(&node.disk())?.a.successful);
    let said = succeed(Command::new("sgdisk").arg("-v").arg(node.disk()))?;
    assert!(said.contains("No problems found"), "{said}");
    Ok(())
}

#[test]
fn an_image_for_other_sectors_is_called_that_and_the_machine_does_not_reset_at_speed() -> Result<()>
{
    let mut node = Node::new("disk-sectors", Kind::Product)?;
    if let Some(first) = node.machine.disks.first_mut() {
        first.sector_bytes = 4096;
    }
    node.append("ferrite.disk=vda");
    node.expected.push("FATAL");
    node.power_on()?;
    let message = node.wait_for(FATAL, BOOT)?;
    assert!(message.contains("made for sectors of 512 bytes"), "{message}");
    assert!(message.contains("has sectors of 4096"), "{message}");
    node.wait_for("restarting in 300 s", SOON).context("time to read it")?;
    Ok(())
}
