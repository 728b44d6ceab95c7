//! The system disk as a device: reading and writing its partition table durably.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use ferrite_layout::gpt::{
    self, CheckWritten, EncodeTable, OtherCopy, Partition, Source, Table, mbr,
};
use ferrite_sys::block::{self, Extent};
use rustix::io::Errno;

use crate::log;

/// GPT number of STATE: the last partition on the disk, the one that grows.
pub const STATE_PARTITION: u32 = 1;
/// Partitions end at a multiple of this, as in `configs/disk-layout.toml`.
const ALIGN_BYTES: u64 = 1024 * 1024;
/// sysfs counts in these whatever the disk's own sectors are.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// The system disk, by its kernel name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemDisk {
    name: String,
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
    #[error("tell the kernel of partition {number} of {path}")]
    Announce { path: PathBuf, number: u32, source: Errno },
}

impl SystemDisk {
    /// The disk with that kernel name, such as `vda`.
    #[must_use]
    pub const fn new(name: String) -> Self {
        Self { name }
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
    /// The device cannot be read or holds no valid copy.
    pub fn read_table(&self) -> Result<Table, DiskError> {
        let mut disk = self.open(false)?;
        let sector_bytes = self.sector_bytes(&disk)?;
        Table::read(&mut disk, sector_bytes)
            .map_err(|source| DiskError::Read { path: self.path(), source })
    }

    /// Writes both copies of the table, each flushed before the other is touched, and reads them back.
    ///
    /// # Errors
    /// The device does not take them, or gives back something else.
    pub fn write_table(&self, table: &Table) -> Result<(), DiskError> {
        let path = self.path();
        let writes =
            table.writes().map_err(|source| DiskError::Encode { path: path.clone(), source })?;
        let mut disk = self.open(true)?;
        for write in writes {
            disk.seek(SeekFrom::Start(write.offset_bytes))
                .and_then(|_| disk.write_all(&write.bytes))
                .and_then(|()| disk.sync_data())
                .map_err(|source| DiskError::Write { path: path.clone(), source })?;
        }
        // The comparison must see the disk and not our own buffers.
        block::flush_buffers(disk.as_fd())
            .map_err(|source| DiskError::Write { path: path.clone(), source: source.into() })?;
        table.check_written(&mut disk).map_err(|source| DiskError::Check { path, source })
    }

    /// Reads the table and mends what is wrong with it: a bad or stale copy, the protective MBR, a disk that has
    /// grown (STATE's entry then grows with it). Says loudly what it mends. A disk that cannot be mended
    /// is used as it is.
    ///
    /// # Errors
    /// The table cannot be read at all.
    pub fn settle(&self) -> Result<Table, DiskError> {
        let mut table = self.read_table()?;
        let disk_bytes = self.size_bytes()?;
        let grew = table.disk_bytes() < disk_bytes;
        // On a disk that grew, the backup is not where it should be: that is no damage.
        let mut wrong: Vec<String> = self.describe_copies(&table, grew).into_iter().collect();
        if table.disk_bytes() != disk_bytes {
            match table.grow(STATE_PARTITION, disk_bytes, ALIGN_BYTES) {
                Ok(_) => wrong.push(format!(
                    "{} has {disk_bytes} bytes, more than its partition table says; STATE gets the rest",
                    self.name
                )),
                Err(error) => log::warn(format_args!("{}: {error}", self.name)),
            }
        }
        for sentence in &wrong {
            log::warn(format_args!("{sentence}"));
        }
        if let Err(error) = self.mend(&table, !wrong.is_empty()) {
            log::error(format_args!(
                "cannot mend the partition table, going on with it as it is: {}",
                crate::fatal::chain(&error)
            ));
        }
        self.announce(&table);
        // What was mended is read anew, so that later writes keep to the order that fits.
        self.read_table()
    }

    fn describe_copies(&self, table: &Table, grew: bool) -> Option<String> {
        let name = &self.name;
        match (table.source(), table.other_copy()) {
            (_, OtherCopy::Same) => None,
            (Source::Primary, _) if grew => None,
            (Source::Backup, OtherCopy::Bad(problem)) => Some(format!(
                "the primary partition table of {name} is bad ({problem}); using the backup"
            )),
            (Source::Primary, OtherCopy::Bad(problem)) => {
                Some(format!("the backup partition table of {name} is bad ({problem})"))
            }
            (_, OtherCopy::Different) => Some(format!(
                "the two partition tables of {name} differ: the writing of one was cut short"
            )),
        }
    }

    fn mend(&self, table: &Table, rewrite: bool) -> Result<(), DiskError> {
        self.mend_mbr(table)?;
        if rewrite {
            self.write_table(table)?;
            log::warn(format_args!(
                "both partition tables of {} are written anew and good",
                self.name
            ));
        }
        Ok(())
    }

    /// Without its protective MBR a GPT is invisible to kernels and firmware.
    fn mend_mbr(&self, table: &Table) -> Result<(), DiskError> {
        let io = |source| DiskError::Write { path: self.path(), source };
        let mut sector = [0; mbr::MBR_BYTES];
        self.open(false)?.read_exact(&mut sector).map_err(io)?;
        if mbr::is_protective(&sector) {
            return Ok(());
        }
        log::warn(format_args!(
            "the protective MBR of {} is bad; writing it anew (a BIOS loader's code may be lost)",
            self.name
        ));
        let sectors = table.disk_bytes() / table.sector_bytes();
        let Some(bytes) = mbr::protective(sectors, mbr::boot_code(&sector)) else { return Ok(()) };
        let mut disk = self.open(true)?;
        disk.write_all(&bytes).and_then(|()| disk.sync_data()).map_err(io)
    }

    /// Makes the kernel know every partition, also where its own parser did not accept the table, and with
    /// the size that the table says.
    fn announce(&self, table: &Table) {
        for partition in table.partitions() {
            let result = match self.known_size_bytes(partition.number) {
                Some(size_bytes) if size_bytes == partition.size_bytes => Ok(()),
                Some(_) => self.tell_kernel(&partition, block::resize_partition),
                None => self.tell_kernel(&partition, block::add_partition),
            };
            if let Err(error) = result {
                log::warn(format_args!("{}", crate::fatal::chain(&error)));
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

    fn open(&self, write: bool) -> Result<File, DiskError> {
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
