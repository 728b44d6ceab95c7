//! The system disk as a device: reading and writing its partition table durably.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ferrite_layout::gpt::{self, CheckWritten, EncodeTable, Partition, Table};
use ferrite_sys::block::{self, Extent};
use rustix::io::Errno;
use uuid::Uuid;

use crate::log;

/// GPT number of STATE: the last partition on the disk, the one that grows.
pub const STATE_PARTITION: u32 = 1;
/// GPT number of OEM.
pub const OEM_PARTITION: u32 = 8;
/// sysfs counts in these whatever the disk's own sectors are.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// The system disk, by its kernel name and, once it is known, its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemDisk {
    name: String,
    guid: Option<Uuid>,
}

/// Why the disk's table could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DiskError {
    #[error("open disk {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("read the size of disk {path}")]
    Size { path: PathBuf, source: Errno },
    #[error("read the partition table of {path}")]
    Read { path: PathBuf, source: gpt::ReadTable },
    #[error("write the partition table of {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("prepare the partition table of {path}")]
    Encode { path: PathBuf, source: EncodeTable },
    #[error("check the partition table just written to {path}")]
    Check { path: PathBuf, source: CheckWritten },
    #[error(
        "check what was just written to {path} at byte {offset_bytes}: the disk gives back something else"
    )]
    ReadBack { path: PathBuf, offset_bytes: u64 },
    #[error("use {path}: it is the disk {found} now, and this machine was started from {expected}")]
    Another { path: PathBuf, expected: Uuid, found: Uuid },
    #[error("tell the kernel of partition {number} of {path}")]
    Announce { path: PathBuf, number: u32, source: Errno },
}

impl SystemDisk {
    /// The disk with that kernel name, such as `vda`.
    #[must_use]
    pub const fn new(name: String) -> Self {
        Self { name, guid: None }
    }

    /// The same, of which it is known who it is: another disk under that name is neither read nor written.
    #[must_use]
    pub fn with_identity(self, guid: Uuid) -> Self {
        Self { guid: Some(guid), ..self }
    }

    /// Kernel name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole disk's node.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// A partition's node: `/dev/vda3`, `/dev/nvme0n1p3`.
    #[must_use]
    pub fn partition_path(&self, number: u32) -> PathBuf {
        Path::new("/dev").join(self.partition_name(number))
    }

    fn partition_name(&self, number: u32) -> String {
        let separator =
            if self.name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{}{separator}{number}", self.name)
    }

    /// Size of the whole disk.
    ///
    /// # Errors
    /// The device cannot be opened or asked.
    pub fn size_bytes(&self) -> Result<u64, DiskError> {
        let path = self.path();
        block::size_bytes(self.open(false)?.as_fd())
            .map_err(|source| DiskError::Size { path, source })
    }

    /// Reads the table: the primary copy, or the backup where that is bad.
    ///
    /// # Errors
    /// The device cannot be read, holds no valid copy, or is another disk than the one that was started from.
    pub fn read_table(&self) -> Result<Table, DiskError> {
        let mut disk = self.open(false)?;
        let path = self.path();
        let sector_bytes = self.sector_bytes(&disk)?;
        let table = Table::read(&mut disk, sector_bytes)
            .map_err(|source| DiskError::Read { path: path.clone(), source })?;
        match self.guid {
            Some(expected) if table.disk_guid() != expected => {
                Err(DiskError::Another { path, expected, found: table.disk_guid() })
            }
            Some(_) | None => Ok(table),
        }
    }

    /// Writes both copies of the table. Each is flushed and read back before the other is touched: what spoils one
    /// does not get at the other.
    ///
    /// # Errors
    /// The device does not take them, or gives back something else.
    pub fn write_table(&self, table: &Table) -> Result<(), DiskError> {
        let path = self.path();
        let writes =
            table.writes().map_err(|source| DiskError::Encode { path: path.clone(), source })?;
        let mut disk = self.open(true)?;
        for write in writes {
            self.write_checked(&disk, write.offset_bytes, &write.bytes)?;
        }
        table.check_written(&mut disk).map_err(|source| DiskError::Check { path, source })
    }

    /// Writes whole sectors, flushes them, and reads them back from the disk.
    ///
    /// # Errors
    /// The device does not take them, or gives back something else.
    pub(super) fn write_checked(
        &self,
        disk: &File,
        offset_bytes: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        let failed = |source| DiskError::Write { path: self.path(), source };
        disk.write_all_at(bytes, offset_bytes).and_then(|()| disk.sync_data()).map_err(failed)?;
        // The comparison must see the disk and not our own buffers.
        block::flush_buffers(disk.as_fd()).map_err(|errno| failed(errno.into()))?;
        let mut found = vec![0; bytes.len()];
        disk.read_exact_at(&mut found, offset_bytes).map_err(failed)?;
        if found == bytes {
            Ok(())
        } else {
            Err(DiskError::ReadBack { path: self.path(), offset_bytes })
        }
    }

    /// Makes the kernel know every partition, also where its own parser did not accept the table, and with
    /// the size that the table says.
    pub(super) fn announce(&self, table: &Table) {
        for partition in table.partitions() {
            let result = match self.known_size_bytes(partition.number) {
                Some(size_bytes) if size_bytes == partition.size_bytes => Ok(()),
                Some(_) => self.tell_kernel(&partition, block::resize_partition),
                None => self.tell_kernel(&partition, block::add_partition),
            };
            if let Err(error) = result {
                log::warn(format_args!("{}", ferrite_schema::chain(&error)));
            }
        }
    }

    fn known_size_bytes(&self, number: u32) -> Option<u64> {
        let directory = Path::new("/sys/class/block").join(self.partition_name(number));
        let sectors: u64 = fs::read_to_string(directory.join("size")).ok()?.trim().parse().ok()?;
        Some(sectors * SYSFS_SECTOR_BYTES)
    }

    fn tell_kernel(
        &self,
        partition: &Partition,
        call: fn(BorrowedFd<'_>, u32, Extent) -> Result<(), Errno>,
    ) -> Result<(), DiskError> {
        let extent =
            Extent { start_bytes: partition.offset_bytes, size_bytes: partition.size_bytes };
        let number = partition.number;
        call(self.open(false)?.as_fd(), number, extent).map_err(|source| DiskError::Announce {
            path: self.path(),
            number,
            source,
        })
    }

    pub(super) fn open(&self, write: bool) -> Result<File, DiskError> {
        let path = self.path();
        OpenOptions::new()
            .read(true)
            .write(write)
            .open(&path)
            .map_err(|source| DiskError::Open { path, source })
    }

    fn sector_bytes(&self, disk: &File) -> Result<u64, DiskError> {
        rustix::fs::ioctl_blksszget(disk)
            .map(u64::from)
            .map_err(|source| DiskError::Size { path: self.path(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_disks_whose_name_ends_in_a_digit_have_a_p() {
        let path = |name: &str| SystemDisk::new(name.to_owned()).partition_path(3);
        assert_eq!(path("vda"), Path::new("/dev/vda3"));
        assert_eq!(path("nvme0n1"), Path::new("/dev/nvme0n1p3"));
        assert_eq!(path("mmcblk0"), Path::new("/dev/mmcblk0p3"));
    }
}
