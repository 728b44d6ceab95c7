//! Partitions of the layout, and the files that become their content.

use std::fs::File;
use std::path::Path;

use ferrite_layout::disk_layout::{DiskLayout, LayoutPartition};

use super::problem::BuildDisk;

/// Numbers of the partitions that are not a slot's.
pub(crate) mod number {
    pub(crate) const STATE: u32 = 1;
    pub(crate) const OEM: u32 = 8;
    pub(crate) const EFI_SYSTEM: u32 = 12;
}

/// The partition of the layout with that number.
pub(super) fn partition(layout: &DiskLayout, number: u32) -> Result<&LayoutPartition, BuildDisk> {
    layout.partition(number).ok_or(BuildDisk::NoPartition { number })
}

/// Refuses a part that is larger than the partition it goes into.
pub(super) fn check_fits(
    part: &str,
    found: u64,
    partition: &LayoutPartition,
) -> Result<(), BuildDisk> {
    let room = partition.size_bytes;
    if found <= room {
        return Ok(());
    }
    let (part, partition) = (part.to_owned(), partition.label.clone());
    Err(BuildDisk::TooLarge { part, partition, found, room })
}

pub(super) fn open(path: &Path) -> Result<File, BuildDisk> {
    File::open(path).map_err(|source| BuildDisk::Read { path: path.to_owned(), source })
}

pub(super) fn create(path: &Path) -> Result<File, BuildDisk> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| BuildDisk::Write { path: path.to_owned(), source })
}

/// A new, empty, sparse file of that size.
pub(super) fn create_sized(path: &Path, size_bytes: u64) -> Result<File, BuildDisk> {
    let file = create(path)?;
    file.set_len(size_bytes)
        .map_err(|source| BuildDisk::Write { path: path.to_owned(), source })?;
    Ok(file)
}
