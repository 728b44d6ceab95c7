//! The part of an ext4 superblock that decides what to do with STATE.
//!
//! | offset from byte 1024 | size | meaning |
//! |---|---|---|
//! | 0x04 | 4 | number of blocks, low half |
//! | 0x18 | 4 | block size: 1024 shifted left by this |
//! | 0x38 | 2 | magic 0xEF53 |
//! | 0x3A | 2 | state: bit 1 set after the kernel found errors |
//! | 0x60 | 4 | incompatible features: bit 7 says that there is a high half |
//! | 0x150 | 4 | number of blocks, high half |
//!
//! Source: Linux `Documentation/filesystems/ext4/super.rst`.

/// Where the superblock starts.
pub const OFFSET_BYTES: u64 = 1024;
/// Bytes of it.
pub const SIZE_BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;
const ERRORS_FOUND: u16 = 1 << 1;
const INCOMPATIBLE_64BIT: u32 = 1 << 7;
/// Blocks are 64 KiB at most.
const BLOCK_SHIFT_MAX: u32 = 6;

/// What the superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// The kernel has found errors in it before.
    pub has_errors: bool,
}

/// Reads a superblock; `None` where there is no ext4.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Superblock> {
    let half =
        |offset: usize| Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?));
    let word =
        |offset: usize| Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?));
    if half(0x38)? != MAGIC {
        return None;
    }
    let shift = word(0x18).filter(|shift| *shift <= BLOCK_SHIFT_MAX)?;
    let high = if word(0x60)? & INCOMPATIBLE_64BIT == 0 { 0 } else { word(0x150)? };
    Some(Superblock {
        block_bytes: 1024 << shift,
        blocks: u64::from(high) << 32 | u64::from(word(0x04)?),
        has_errors: half(0x3a)? & ERRORS_FOUND != 0,
    })
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
        for (offset, edit) in edits {
            bytes[*offset..offset + edit.len()].copy_from_slice(edit);
        }
        bytes
    }

    #[test]
    fn size_and_errors() {
        let plain = Superblock { block_bytes: 4096, blocks: 10, has_errors: false };
        assert_eq!(parse(&bytes(&[])), Some(plain));
        assert_eq!(parse(&bytes(&[(0x3a, &[3])])), Some(Superblock { has_errors: true, ..plain }));
        let large = bytes(&[(0x60, &[0x80]), (0x150, &[1])]);
        assert_eq!(parse(&large), Some(Superblock { blocks: (1 << 32) + 10, ..plain }));
        // Without the feature the high half is something else.
        assert_eq!(parse(&bytes(&[(0x150, &[1])])), Some(plain));
    }

    #[test]
    fn what_is_no_ext4() {
        assert_eq!(parse(&[0; SIZE_BYTES]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&bytes(&[(0x18, &[60])])), None);
    }
}
