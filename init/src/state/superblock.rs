//! The part of an ext4 file system that decides what to do with STATE: superblock, its backups, group descriptors,
//! the inode of the top directory.
//!
//! | offset from the superblock's start | size | meaning |
//! |---|---|---|
//! | 0x04 | 4 | number of blocks, low half |
//! | 0x14 | 4 | first data block: 1 where blocks have 1024 bytes |
//! | 0x18 | 4 | block size: 1024 shifted left by this |
//! | 0x20 | 4 | blocks of a group |
//! | 0x38 | 2 | magic 0xEF53 |
//! | 0x3A | 2 | state: bit 1 set after the kernel found errors |
//! | 0x58 | 2 | bytes of an inode |
//! | 0x5A | 2 | group that this copy lies in |
//! | 0x60 | 4 | incompatible features: bit 4 says that groups have descriptors of their own, bit 7 that there are high halves |
//! | 0x64 | 4 | features that only readers may not know: bit 10 says that there is a checksum, bit 16 that the orphan |
//! | | | file may name inodes |
//! | 0xCE | 2 | blocks behind the descriptors that are kept for more of them |
//! | 0xE8 | 4 | first inode of the list of orphans |
//! | 0xFE | 2 | bytes of a group descriptor, where there are high halves |
//! | 0x104 | 4 | blocks of descriptors at the front, where groups have some of their own |
//! | 0x150 | 4 | number of blocks, high half |
//! | 0x3FC | 4 | checksum: CRC-32C of what is before it, not inverted |
//!
//! A group descriptor has the blocks of its two bitmaps and its inode table at 0, 4 and 8, and their high halves at
//! 0x20, 0x24 and 0x28. Inodes are numbered from 1; 2 is the top directory. An inode's first two bytes are its
//! mode, the two at 0x1A the number of its links.
//!
//! Source: Linux `Documentation/filesystems/ext4/`, files `super.rst`, `group_descr.rst`, `inodes.rst`.

use crc::{CRC_32_ISCSI, Crc};

/// Where the first superblock starts.
pub const OFFSET_BYTES: u64 = 1024;
/// Bytes of it.
pub const SIZE_BYTES: usize = 1024;
/// Block sizes that backups are looked for with: ours first.
pub const BLOCK_SIZES: [u64; 3] = [4096, 1024, 2048];

const MAGIC: u16 = 0xef53;
const ERRORS_FOUND: u16 = 1 << 1;
const INCOMPATIBLE_META_BG: u32 = 1 << 4;
const INCOMPATIBLE_64BIT: u32 = 1 << 7;
const READ_ONLY_COMPATIBLE_CHECKSUMS: u32 = 1 << 10;
const READ_ONLY_COMPATIBLE_ORPHANS_PRESENT: u32 = 1 << 16;
const CHECKSUM_OFFSET: usize = 0x3fc;
/// Blocks are 64 KiB at most.
const BLOCK_SHIFT_MAX: u32 = 6;
const DESCRIPTOR_BYTES: usize = 32;
const DESCRIPTOR_BYTES_MAX: usize = 1024;
/// Backups lie in group 1 and in the groups whose numbers are powers of these (`sparse_super`).
const BACKUP_BASES: [u64; 3] = [3, 5, 7];
const KIND_MASK: u16 = 0xf000;
const KIND_DIRECTORY: u16 = 0x4000;

/// CRC-32C; ext4 keeps it without the final inversion.
const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What the superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// The kernel has found errors in it before.
    pub has_errors: bool,
    /// Group that this copy lies in.
    pub group: u16,
    /// Block before the first group: 1 where a block has 1024 bytes.
    pub first_block: u64,
    /// Bytes of a group descriptor.
    pub descriptor_bytes: usize,
    /// Bytes of an inode.
    pub inode_bytes: u64,
    /// Blocks at the front that hold group descriptors, or are kept for more of them.
    pub descriptor_blocks: u64,
}

impl Superblock {
    /// Where the first group's descriptors start: in the block after the one with the superblock.
    #[must_use]
    pub const fn descriptors_offset(&self) -> u64 {
        (self.first_block + 1) * self.block_bytes
    }

    /// Bytes at the start of the partition that hold nothing but what ext4 itself puts there: zeros, the superblock and group
    /// descriptors. What a file, a name or the use of blocks can change there are counts and checksums.
    #[must_use]
    pub const fn front_bytes(&self) -> u64 {
        self.descriptors_offset()
            .saturating_add(self.descriptor_blocks.saturating_mul(self.block_bytes))
    }
}

/// Reads a superblock; `None` where there is none that is whole.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Superblock> {
    if half(bytes, 0x38)? != MAGIC {
        return None;
    }
    let has_checksum = word(bytes, 0x64)? & READ_ONLY_COMPATIBLE_CHECKSUMS != 0;
    if has_checksum
        && !CRC_32C.checksum(bytes.get(..CHECKSUM_OFFSET)?) != word(bytes, CHECKSUM_OFFSET)?
    {
        return None;
    }
    let shift = word(bytes, 0x18).filter(|shift| *shift <= BLOCK_SHIFT_MAX)?;
    let incompatible = word(bytes, 0x60)?;
    let is_64bit = incompatible & INCOMPATIBLE_64BIT != 0;
    let high = if is_64bit { word(bytes, 0x150)? } else { 0 };
    let descriptor_bytes =
        if is_64bit { usize::from(half(bytes, 0xfe)?) } else { DESCRIPTOR_BYTES };
    let descriptor_bytes = descriptor_bytes.clamp(DESCRIPTOR_BYTES, DESCRIPTOR_BYTES_MAX);
    let block_bytes = 1024 << shift;
    let blocks = u64::from(high) << 32 | u64::from(word(bytes, 0x04)?);
    let of_descriptors = if incompatible & INCOMPATIBLE_META_BG != 0 {
        u64::from(word(bytes, 0x104)?)
    } else {
        let groups = blocks.div_ceil(u64::from(word(bytes, 0x20)?).max(1));
        groups.saturating_mul(descriptor_bytes as u64).div_ceil(block_bytes)
    };
    Some(Superblock {
        block_bytes,
        blocks,
        has_errors: half(bytes, 0x3a)? & ERRORS_FOUND != 0,
        group: half(bytes, 0x5a)?,
        first_block: u64::from(word(bytes, 0x14)?),
        descriptor_bytes,
        inode_bytes: u64::from(half(bytes, 0x58)?).max(128),
        descriptor_blocks: of_descriptors.saturating_add(u64::from(half(bytes, 0xce)?)),
    })
}

/// The same superblock, naming no orphans: inodes that were removed while a program had them open, which whoever
/// mounts or checks next is to take away. `None` where it names none, or is not whole.
#[must_use]
pub fn without_orphans(bytes: &[u8]) -> Option<Vec<u8>> {
    parse(bytes)?;
    let features = word(bytes, 0x64)?;
    if features & READ_ONLY_COMPATIBLE_ORPHANS_PRESENT == 0 && word(bytes, 0xe8)? == 0 {
        return None;
    }
    let mut changed = bytes.to_vec();
    let mut put = |offset: usize, value: u32| {
        changed.get_mut(offset..offset + 4)?.copy_from_slice(&value.to_le_bytes());
        Some(())
    };
    put(0x64, features & !READ_ONLY_COMPATIBLE_ORPHANS_PRESENT)?;
    put(0xe8, 0)?;
    if features & READ_ONLY_COMPATIBLE_CHECKSUMS != 0 {
        let checksum = !CRC_32C.checksum(changed.get(..CHECKSUM_OFFSET)?);
        changed.get_mut(CHECKSUM_OFFSET..SIZE_BYTES)?.copy_from_slice(&checksum.to_le_bytes());
    }
    Some(changed)
}

/// A place where a backup superblock may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the block, as e2fsck counts.
    pub block: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Number of the group.
    pub group: u64,
}

impl Place {
    /// From the start of the partition.
    #[must_use]
    pub const fn offset_bytes(self) -> u64 {
        self.block * self.block_bytes
    }
}

/// Places of backups in a partition of `size_bytes`, for one block size, in their order.
#[must_use]
pub fn backup_places(block_bytes: u64, size_bytes: u64) -> Vec<Place> {
    let first_block = u64::from(block_bytes == 1024);
    // A group has as many blocks as one block of bitmap has bits.
    let group_blocks = block_bytes * 8;
    let mut groups: Vec<u64> = BACKUP_BASES
        .iter()
        .flat_map(|base| std::iter::successors(Some(*base), move |power| power.checked_mul(*base)))
        .chain([1])
        .filter(|group| *group < size_bytes / block_bytes / group_blocks + 1)
        .collect();
    groups.sort_unstable();
    groups
        .into_iter()
        .map(|group| Place { block: first_block + group * group_blocks, block_bytes, group })
        .filter(|place| place.offset_bytes() + place.block_bytes <= size_bytes)
        .collect()
}

/// Block of the inode table of the group that `descriptor` describes; `None` where it cannot be one.
#[must_use]
pub fn inode_table(descriptor: &[u8], superblock: &Superblock) -> Option<u64> {
    let high =
        if superblock.descriptor_bytes > DESCRIPTOR_BYTES { word(descriptor, 0x28)? } else { 0 };
    let block = u64::from(high) << 32 | u64::from(word(descriptor, 0x08)?);
    (block > superblock.first_block && block < superblock.blocks).then_some(block)
}

/// Where the top directory's inode lies in the inode table of the first group.
#[must_use]
pub const fn top_inode_offset(superblock: &Superblock) -> u64 {
    superblock.inode_bytes
}

/// An inode is that of a directory that is in use.
#[must_use]
pub fn is_directory(inode: &[u8]) -> bool {
    let is_kind = half(inode, 0).is_some_and(|mode| mode & KIND_MASK == KIND_DIRECTORY);
    is_kind && half(inode, 0x1a).is_some_and(|links| links > 0)
}

/// Two blocks of group descriptors name the same places: those never change while a file system lives.
#[must_use]
pub fn same_places(one: &[u8], other: &[u8], descriptor_bytes: usize) -> bool {
    one.len() == other.len()
        && one.chunks(descriptor_bytes).zip(other.chunks(descriptor_bytes)).all(|(one, other)| {
            let low = one.get(..0x0c) == other.get(..0x0c);
            let high = descriptor_bytes <= DESCRIPTOR_BYTES
                || one.get(0x20..0x2c) == other.get(0x20..0x2c);
            low && high
        })
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(edits: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; SIZE_BYTES];
        bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        bytes[0x18] = 2;
        bytes[0x04] = 10;
        bytes[0x3a] = 1;
        bytes[0x59] = 1;
        bytes[0x21] = 0x80;
        for (offset, edit) in edits {
            bytes[*offset..offset + edit.len()].copy_from_slice(edit);
        }
        bytes
    }

    #[test]
    fn size_and_errors() {
        let plain = Superblock {
            block_bytes: 4096,
            blocks: 10,
            has_errors: false,
            group: 0,
            first_block: 0,
            descriptor_bytes: 32,
            inode_bytes: 256,
            descriptor_blocks: 1,
        };
        assert_eq!(parse(&bytes(&[])), Some(plain));
        assert_eq!(parse(&bytes(&[(0x3a, &[3])])), Some(Superblock { has_errors: true, ..plain }));
        let large = bytes(&[(0x60, &[0x80]), (0x150, &[1]), (0xfe, &[64])]);
        let expected = Superblock {
            blocks: (1 << 32) + 10,
            descriptor_bytes: 64,
            descriptor_blocks: 2049,
            ..plain
        };
        assert_eq!(parse(&large), Some(expected));
        // A terabyte has 8192 groups, whose descriptors of 64 bytes fill 128 blocks; 3 are kept for more of them.
        let kept = bytes(&[(0x04, &[0, 0, 0, 0x10]), (0x60, &[0x80]), (0xfe, &[64]), (0xce, &[3])]);
        assert_eq!(parse(&kept).unwrap().descriptor_blocks, 131);
        assert_eq!(parse(&kept).unwrap().front_bytes(), 132 * 4096);
        let of_groups = bytes(&[(0x04, &[0, 0, 0, 0x10]), (0x60, &[0x10]), (0x104, &[5])]);
        assert_eq!(parse(&of_groups).unwrap().descriptor_blocks, 5);
        // Without the feature the high half is something else.
        assert_eq!(parse(&bytes(&[(0x150, &[1])])), Some(plain));
    }

    #[test]
    fn what_is_no_ext4() {
        assert_eq!(parse(&[0; SIZE_BYTES]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&bytes(&[(0x18, &[60])])), None);
        // With the feature, a checksum that is wrong makes it none.
        assert_eq!(parse(&bytes(&[(0x65, &[4])])), None);
    }

    #[test]
    fn backups_are_where_mke2fs_puts_them() {
        let blocks = |block_bytes, size_bytes| -> Vec<u64> {
            backup_places(block_bytes, size_bytes).iter().map(|place| place.block).collect()
        };
        assert_eq!(blocks(4096, 256 << 20), [32768]);
        assert_eq!(blocks(4096, 1 << 30), [32768, 98304, 163_840, 229_376]);
        assert_eq!(blocks(1024, 32 << 20), [8193, 24577]);
        assert_eq!(blocks(4096, 64 << 20), [0; 0]);
        assert_eq!(blocks(4096, 0), [0; 0]);
        assert!(backup_places(4096, u64::MAX / 2).len() < 100);
    }
}
