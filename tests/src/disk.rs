//! Looking at a node's disk from outside, while the node is off.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use ferrite_layout::fat;
use ferrite_layout::slot_header::{self, HEADER_BYTES};
use rustix::fs::SeekFrom;
use sha2::{Digest as _, Sha256};

use crate::programs::{said, succeed};

/// Size of a sector of our disks.
const SECTOR_BYTES: u64 = 512;

/// Where partition `number` of the disk image starts, in bytes, as `sgdisk` sees it.
///
/// # Errors
/// There is no such partition.
pub fn partition_start(disk: &Path, number: u32) -> Result<u64> {
    Ok(sectors(disk, number, "First sector:")? * SECTOR_BYTES)
}

/// Length of partition `number` in bytes, as `sgdisk` sees it.
///
/// # Errors
/// There is no such partition.
pub fn partition_bytes(disk: &Path, number: u32) -> Result<u64> {
    Ok(sectors(disk, number, "Partition size:")? * SECTOR_BYTES)
}

fn sectors(disk: &Path, number: u32, title: &str) -> Result<u64> {
    let text = succeed(Command::new("sgdisk").arg("-i").arg(number.to_string()).arg(disk))?;
    text.lines()
        .find_map(|line| line.strip_prefix(title))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("find {title:?} in {text:?}"))
}

/// Copies partition `number` into a file beside the disk.
///
/// # Errors
/// There is no such partition, or no room.
pub fn extract(disk: &Path, number: u32) -> Result<PathBuf> {
    let path = disk.with_file_name(format!("partition-{number}"));
    let (start, length) = (partition_start(disk, number)?, partition_bytes(disk, number)?);
    let mut copy = Command::new("dd");
    copy.args(["bs=1M", "conv=sparse", "status=none", "iflag=skip_bytes,count_bytes"]);
    copy.args([format!("skip={start}"), format!("count={length}")]);
    copy.arg(format!("if={}", disk.display())).arg(format!("of={}", path.display()));
    succeed(&mut copy)?;
    Ok(path)
}

/// Checks that STATE was unmounted in order and holds a sound file system.
///
/// # Errors
/// It was not, or does not; the error has what `dumpe2fs` or `e2fsck` says.
pub fn check_state_is_clean(disk: &Path) -> Result<()> {
    let state = extract(disk, 1)?;
    let header = succeed(Command::new("dumpe2fs").arg("-h").arg(&state))?;
    if header.contains("needs_recovery") {
        bail!("STATE was not unmounted:\n{header}");
    }
    let output = Command::new("e2fsck").args(["-f", "-n"]).arg(&state).output()?;
    if !output.status.success() {
        bail!("e2fsck -fn:\n{}", said(&output));
    }
    Ok(())
}

/// Overwrites `length` bytes at `offset_bytes` with zeros.
///
/// # Errors
/// The disk cannot be written.
pub fn zero(disk: &Path, offset_bytes: u64, length: usize) -> Result<()> {
    let file = File::options().write(true).open(disk)?;
    file.write_all_at(&vec![0; length], offset_bytes).context("zero a part of the disk")
}

/// SHA-256 of a whole disk: of its length and all that was ever written to it, and where.
///
/// # Errors
/// It cannot be read.
pub fn digest(disk: &Path) -> Result<String> {
    let file = File::open(disk)?;
    let length = file.metadata()?.len();
    let mut hasher = Sha256::new_with_prefix(length.to_le_bytes());
    let mut chunk = vec![0; 1 << 20];
    let mut place = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(place)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        place = start;
        while place < end {
            let count = file.read_at(&mut chunk, place)?;
            let part = chunk.get(..count).filter(|part| !part.is_empty());
            let part = part.context("the disk ends early")?;
            // Blocks of zeros are as good as holes.
            if part.iter().any(|byte| *byte != 0) {
                hasher.update(place.to_le_bytes());
                hasher.update(part);
            }
            place += u64::try_from(count)?;
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

/// A copy of a disk, sparse.
///
/// # Errors
/// There is no room.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    succeed(copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to)).map(drop)
}

/// Changes the header of slot A, and signs it anew with `key` under the name `name`.
///
/// # Errors
/// The disk has none.
pub fn sign_anew(disk: &Path, key: &SigningKey, name: &str) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let offset_bytes = partition_start(disk, 2)?;
    let mut header = vec![0; HEADER_BYTES];
    file.read_exact_at(&mut header, offset_bytes)?;
    let mut document = slot_header::decode_unverified(&header)?;
    name.clone_into(&mut document.key);
    file.write_all_at(&slot_header::encode(&document, key)?, offset_bytes)?;
    Ok(())
}

/// Gives a disk identities of its own, as its first boot does.
///
/// # Errors
/// It cannot be written.
pub fn renew_identities(disk: &Path, fat_serial: u32) -> Result<()> {
    succeed(Command::new("sgdisk").arg("-G").arg(disk))?;
    let file = File::options().read(true).write(true).open(disk)?;
    let offset_bytes = partition_start(disk, 12)?;
    let mut sector = [0; fat::BOOT_SECTOR_BYTES];
    file.read_exact_at(&mut sector, offset_bytes)?;
    anyhow::ensure!(fat::set_serial(&mut sector, fat_serial), "no FAT32 on {}", disk.display());
    Ok(file.write_all_at(&sector, offset_bytes)?)
}

/// A disk's own identity, as `sgdisk` sees it.
///
/// # Errors
/// It has no table.
pub fn guid(disk: &Path) -> Result<String> {
    let text = succeed(Command::new("sgdisk").arg("-p").arg(disk))?;
    let guid = text.lines().find_map(|line| line.strip_prefix("Disk identifier (GUID): "));
    Ok(guid.with_context(|| format!("find the identity in {text:?}"))?.trim().to_lowercase())
}

/// Writes a file into the OEM partition.
///
/// # Errors
/// `debugfs` does not.
pub fn write_oem(disk: &Path, name: &str, content: &str) -> Result<()> {
    let image = extract(disk, 8)?;
    let source = disk.with_file_name("oem-file");
    std::fs::write(&source, content)?;
    let debugfs =
        |request: String| succeed(Command::new("debugfs").args(["-w", "-R", &request]).arg(&image));
    debugfs(format!("rm {name}"))?;
    debugfs(format!("write {} {name}", source.display()))?;
    let mut whole = Command::new("dd");
    whole.args(["bs=1M", "conv=notrunc", "status=none", "oflag=seek_bytes"]);
    whole.arg(format!("seek={}", partition_start(disk, 8)?));
    succeed(whole.arg(format!("if={}", image.display())).arg(format!("of={}", disk.display())))
        .map(drop)
}
