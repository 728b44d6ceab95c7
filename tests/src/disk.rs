//! Looking at a node's disk from outside, while the node is off.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

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
