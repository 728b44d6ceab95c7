//! A disk's own identity. All images are alike, to the last bit; two disks must not be, or nobody could say from which
//! of them a machine was started.
//!
//! | what | where | who goes by it |
//! |---|---|---|
//! | GPT identity | both copies of the table | PID 1 across kexec (`ferrite.disk=`) |
//! | identities of the partitions | the same | UEFI: the stub says which partition it came from |
//! | serial number of the FAT file system | its boot sector and the copy of that | BIOS: syslinux says which file system it came from |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ferrite_layout::fat;
use ferrite_layout::gpt::Table;
use ferrite_schema::chain;
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::{Builder, Uuid, Version};

use super::device::{DiskError, SystemDisk};
use crate::log;

/// GPT number of the partition that loaders come from.
const LOADER_PARTITION: u32 = 12;

/// The image's identity, which every disk of it starts with: derived, not drawn (`ferrite image build`).
#[must_use]
pub fn is_images(guid: Uuid) -> bool {
    guid.is_nil() || guid.get_version() == Some(Version::Custom)
}

/// Draws a new identity for the disk. It is in `table` then, still to be written; the serial number of the loaders' file
/// system is on the disk. Cut short before the table is written, all of it is done again.
///
/// # Errors
/// There is no randomness.
pub(super) fn renew(disk: &SystemDisk, table: &mut Table) -> io::Result<String> {
    let mut random = vec![0; 16 * (1 + table.partitions().count()) + 4];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(io::Error::from)?;
    let (serial, guids) = random.split_at(4);
    let mut guids = guids.as_chunks::<16>().0.iter();
    if let Some(serial) = serial.first_chunk::<4>()
        && let Err(error) = set_fat_serial(disk, table, u32::from_le_bytes(*serial))
    {
        log::warn(format_args!(
            "a BIOS loader cannot tell this disk from others: {}",
            chain(&error)
        ));
    }
    table.renew_identities(|| {
        guids.next().map_or_else(Uuid::nil, |bytes| Builder::from_random_bytes(*bytes).into_uuid())
    });
    Ok(format!("{} gets an identity of its own: {}", disk.name(), table.disk_guid()))
}

/// Serial number of the loaders' file system on a disk with that table.
#[must_use]
pub fn fat_serial(disk: &File, table: &Table) -> Option<u32> {
    let place = table.partition(LOADER_PARTITION)?;
    let mut sector = [0; fat::BOOT_SECTOR_BYTES];
    disk.read_exact_at(&mut sector, place.offset_bytes).ok()?;
    fat::serial(&sector)
}

/// The copy first: a reader takes it only where the boot sector itself is bad.
fn set_fat_serial(system: &SystemDisk, table: &Table, serial: u32) -> Result<(), DiskError> {
    let Some(place) = table.partition(LOADER_PARTITION) else { return Ok(()) };
    let disk = system.open(true)?;
    let mut sector = vec![0; fat::BOOT_SECTOR_BYTES];
    let read = |sector: &mut [u8], offset_bytes| {
        disk.read_exact_at(sector, offset_bytes)
            .map_err(|source| DiskError::Write { path: system.path(), source })
    };
    read(&mut sector, place.offset_bytes)?;
    let copy = fat::copy_offset_bytes(&sector).filter(|offset| *offset < place.size_bytes);
    for offset in copy.into_iter().chain([0]) {
        let offset_bytes = place.offset_bytes + offset;
        read(&mut sector, offset_bytes)?;
        if fat::set_serial(&mut sector, serial) {
            system.write_checked(&disk, offset_bytes, &sector)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_identity_is_known_and_a_drawn_one_is_left_alone() {
        assert!(is_images(Builder::from_custom_bytes([7; 16]).into_uuid()));
        assert!(is_images(Uuid::nil()));
        assert!(!is_images(Builder::from_random_bytes([7; 16]).into_uuid()));
    }
}
