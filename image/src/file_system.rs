//! Superblocks of the file systems on a Ferrite disk: enough to say what is there, and whether it is whole.
//!
//! This is no fsck. It finds a superblock that is damaged, or one that claims more room than there is.

use std::io;

use crc::{CRC_32_ISCSI, Crc};
use ferrite_layout::disk_layout::PartitionType;
use serde::Serialize;
use uuid::Uuid;

use crate::window::Window;

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSystem {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: FileSystemType,
    /// Label; empty where there is none.
    pub label: String,
    /// UUID, or the FAT's volume number.
    pub id: String,
    /// Bytes that it covers.
    pub size_bytes: u64,
}

/// A type of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystemType {
    /// ROOT.
    Erofs,
    /// STATE and OEM.
    Ext4,
    /// EFI-SYSTEM.
    Fat32,
}

/// Why there is no whole file system.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CheckFileSystem {
    #[error("read the {expected} superblock")]
    Read { expected: FileSystemType, source: io::Error },
    #[error("check the superblock: it is not that of {expected}")]
    Magic { expected: FileSystemType },
    #[error("check the {kind} superblock: its checksum does not match")]
    Checksum { kind: FileSystemType },
    #[error("check the {kind} superblock: {field} has the impossible value {value}")]
    Field { kind: FileSystemType, field: &'static str, value: u64 },
    #[error("check the {kind} superblock: it claims {found} bytes, there are {room}")]
    TooLarge { kind: FileSystemType, found: u64, room: u64 },
    #[error("check the fat32 superblock: it differs from its copy in sector {sector}")]
    BootSectorCopy { sector: u64 },
    #[error(
        "check the fat32 tables: the two copies differ {sector} times 512 bytes from the start"
    )]
    TableCopy { sector: u64 },
}

/// The file system that a partition of that type should have.
#[must_use]
pub(crate) const fn expected(kind: PartitionType) -> Option<FileSystemType> {
    match kind {
        PartitionType::Kernel => None,
        PartitionType::Root => Some(FileSystemType::Erofs),
        PartitionType::LinuxData => Some(FileSystemType::Ext4),
        PartitionType::EfiSystem => Some(FileSystemType::Fat32),
    }
}

/// Reads the superblock of the file system that must be there, and checks it.
pub(crate) fn check(
    kind: FileSystemType,
    partition: &Window<'_>,
) -> Result<FileSystem, CheckFileSystem> {
    let found = match kind {
        FileSystemType::Erofs => erofs(partition)?,
        FileSystemType::Ext4 => ext4(partition)?,
        FileSystemType::Fat32 => fat32(partition)?,
    };
    let room = partition.size_bytes();
    if found.size_bytes == 0 || found.size_bytes > room {
        return Err(CheckFileSystem::TooLarge { kind, found: found.size_bytes, room });
    }
    Ok(found)
}

/// # Source
/// The kernel's `fs/erofs/erofs_fs.h`. Its checksum is not looked at: verity vouches for the whole.
fn erofs(partition: &Window<'_>) -> Result<FileSystem, CheckFileSystem> {
    let kind = FileSystemType::Erofs;
    let superblock = Superblock::<128>::read(kind, partition, 1024)?;
    if superblock.u32(0) != 0xe0f5_e1e2 {
        return Err(CheckFileSystem::Magic { expected: kind });
    }
    let block_bits = superblock.field::<1>(12).map_or(0, u8::from_le_bytes);
    if !(9..=16).contains(&block_bits) {
        let value = u64::from(block_bits);
        return Err(CheckFileSystem::Field { kind, field: "block size", value });
    }
    Ok(FileSystem {
        kind,
        label: superblock.text::<16>(64),
        id: superblock.uuid(48),
        size_bytes: u64::from(superblock.u32(36)) << block_bits,
    })
}

/// # Source
/// The kernel's `Documentation/filesystems/ext4/super.rst`.
fn ext4(partition: &Window<'_>) -> Result<FileSystem, CheckFileSystem> {
    const CHECKSUM_OFFSET: usize = 1020;
    let kind = FileSystemType::Ext4;
    let superblock = Superblock::<1024>::read(kind, partition, 1024)?;
    if superblock.u16(56) != 0xef53 {
        return Err(CheckFileSystem::Magic { expected: kind });
    }
    let covered = superblock.bytes.get(..CHECKSUM_OFFSET).unwrap_or_default();
    // ext4 leaves out the final inversion of CRC-32C.
    if !Crc::<u32>::new(&CRC_32_ISCSI).checksum(covered) != superblock.u32(CHECKSUM_OFFSET) {
        return Err(CheckFileSystem::Checksum { kind });
    }
    let block_bits = superblock.u32(24).saturating_add(10);
    if block_bits > 16 {
        let value = u64::from(block_bits);
        return Err(CheckFileSystem::Field { kind, field: "block size", value });
    }
    let blocks = u64::from(superblock.u32(336)) << 32 | u64::from(superblock.u32(4));
    Ok(FileSystem {
        kind,
        label: superblock.text::<16>(120),
        id: superblock.uuid(104),
        size_bytes: blocks.saturating_mul(1 << block_bits),
    })
}

/// # Source
/// Microsoft, "FAT32 File System Specification" (fatgen103).
fn fat32(partition: &Window<'_>) -> Result<FileSystem, CheckFileSystem> {
    let kind = FileSystemType::Fat32;
    let boot = Superblock::<512>::read(kind, partition, 0)?;
    let is_fat32 = boot.field(82) == Some(*b"FAT32   ") && boot.u16(510) == 0xaa55;
    if !is_fat32 {
        return Err(CheckFileSystem::Magic { expected: kind });
    }
    let sector_bytes = u64::from(boot.u16(11));
    if !matches!(sector_bytes, 512 | 4096) {
        return Err(CheckFileSystem::Field { kind, field: "sector size", value: sector_bytes });
    }
    let sector = u64::from(boot.u16(50));
    let copy = Superblock::<512>::read(kind, partition, sector * sector_bytes)?;
    if copy.bytes != boot.bytes {
        return Err(CheckFileSystem::BootSectorCopy { sector });
    }
    // Compared in units that divide every sector.
    let units = sector_bytes / COMPARED_BYTES;
    let tables = Tables {
        first: u64::from(boot.u16(14)) * units,
        length: u64::from(boot.u32(36)) * units,
        count: boot.field::<1>(16).map_or(0, u8::from_le_bytes),
    };
    check_tables(partition, &tables)?;
    Ok(FileSystem {
        kind,
        label: boot.text::<11>(71),
        id: format!("{:04X}-{:04X}", boot.u16(69), boot.u16(67)),
        size_bytes: u64::from(boot.u32(32)) * sector_bytes,
    })
}

/// Bytes that are compared at a time.
const COMPARED_BYTES: u64 = 512;

/// Where the file allocation tables lie, in units of [`COMPARED_BYTES`].
struct Tables {
    first: u64,
    length: u64,
    count: u8,
}

/// Both tables say the same; the second is there so that damage to one can be seen.
fn check_tables(partition: &Window<'_>, tables: &Tables) -> Result<(), CheckFileSystem> {
    let kind = FileSystemType::Fat32;
    if tables.count != 2 {
        let value = u64::from(tables.count);
        return Err(CheckFileSystem::Field { kind, field: "number of tables", value });
    }
    let end = (tables.first + 2 * tables.length) * COMPARED_BYTES;
    if end > partition.size_bytes() {
        let room = partition.size_bytes();
        return Err(CheckFileSystem::TooLarge { kind, found: end, room });
    }
    let read = |unit| Superblock::<512>::read(kind, partition, unit * COMPARED_BYTES);
    for sector in tables.first..tables.first + tables.length {
        let (one, other) = (read(sector)?, read(sector + tables.length)?);
        if one.bytes != other.bytes {
            return Err(CheckFileSystem::TableCopy { sector });
        }
    }
    Ok(())
}

/// Some bytes with numbers in them, little endian. What lies outside reads as nothing.
struct Superblock<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Superblock<N> {
    fn read(
        expected: FileSystemType,
        partition: &Window<'_>,
        offset_bytes: u64,
    ) -> Result<Self, CheckFileSystem> {
        partition
            .read_array(offset_bytes)
            .map(|bytes| Self { bytes })
            .map_err(|source| CheckFileSystem::Read { expected, source })
    }

    fn field<const M: usize>(&self, offset: usize) -> Option<[u8; M]> {
        self.bytes.get(offset..)?.first_chunk().copied()
    }

    fn u16(&self, offset: usize) -> u16 {
        self.field(offset).map_or(0, u16::from_le_bytes)
    }

    fn u32(&self, offset: usize) -> u32 {
        self.field(offset).map_or(0, u32::from_le_bytes)
    }

    fn uuid(&self, offset: usize) -> String {
        self.field(offset).map_or_else(String::new, |bytes| Uuid::from_bytes(bytes).to_string())
    }

    fn text<const M: usize>(&self, offset: usize) -> String {
        let bytes = self.field::<M>(offset).unwrap_or([0; M]);
        String::from_utf8_lossy(&bytes).trim_end_matches(['\0', ' ']).to_owned()
    }
}

impl std::fmt::Display for FileSystemType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Erofs => "erofs",
            Self::Ext4 => "ext4",
            Self::Fat32 => "fat32",
        })
    }
}
