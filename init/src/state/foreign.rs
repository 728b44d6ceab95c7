//! Marks of what is no ext4: by them a partition's owner is known, and named to whoever reads the console.
//!
//! Where there is no superblock of an ext4 any more, a mark that is missing here costs nothing but the name: what nobody knows
//! is left as it is as well. Where there still is one, since whoever came later writes elsewhere (RAID and bcache at 4 KiB,
//! ZFS from 16 KiB on), the mark alone keeps an ext4 from being mounted or repaired over him. So a mark must not be
//! missing, and no ext4 of ours may ever look like one, however much it was used, grown or damaged:
//!
//! - Marks are looked for only where an ext4 has its boot block, its superblock and its group descriptors ([`owner_over`]), and never in
//!   bitmaps, inodes or files, whose bytes others choose.
//! - In a descriptor, each mark covers the place of a bitmap or of an inode table, or bytes that are always zero. Those do not
//!   change while a file system lives, and the place that a mark would name lies outside of the descriptor's own group
//!   ([`tests`] computes it). Counts and checksums, which change, never make a mark up.
//! - Damage by chance has at least 32 bits to meet at one place, mostly 64.
//!
//! Source: util-linux, `libblkid/src/superblocks/` and `libblkid/src/partitions/` for places and values.

/// Bytes at the start of a partition that all marks lie in.
pub const FRONT_BYTES: usize = 132 * 1024;

const KIB: usize = 1024;
/// Sixteen bytes: the second eight lie where a descriptor has the high halves of its places.
const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";

/// Name, place and value.
const MARKS: [(&str, usize, &[u8]); 35] = [
    ("LUKS, an encrypted volume", 0, b"LUKS\xba\xbe"),
    ("LUKS, an encrypted volume", 0, b"SKUL\xba\xbe"),
    ("LUKS, an encrypted volume", 16 * KIB, b"SKUL\xba\xbe\x00\x02"),
    ("LUKS, an encrypted volume", 32 * KIB, b"SKUL\xba\xbe\x00\x02"),
    ("LUKS, an encrypted volume", 64 * KIB, b"SKUL\xba\xbe\x00\x02"),
    ("a volume of dm-integrity", 0, b"integrt\x00"),
    ("a hash tree of dm-verity", 0, b"verity\x00\x00"),
    ("a Stratis pool", 516, b"!Stra0tis\x86\xff\x02^\x41rh"),
    ("BitLocker, an encrypted volume", 3, b"-FVE-FS-"),
    ("XFS", 0, b"XFSB"),
    ("btrfs", 64 * KIB + 64, b"_BHRfS_M"),
    ("bcachefs or bcache", 4 * KIB + 24, BCACHE),
    ("bcachefs or bcache", 4 * KIB + 24, BCACHEFS),
    ("F2FS", KIB, b"\x10\x20\xf5\xf2"),
    ("EROFS", KIB, b"\xe2\xe1\xf5\xe0"),
    ("squashfs", 0, b"hsqs"),
    ("JFS", 32 * KIB, b"JFS1"),
    ("ReiserFS", 64 * KIB + 52, b"ReIsEr"),
    ("OCFS2", 4 * KIB, b"OCFSV2"),
    ("OCFS2", 8 * KIB, b"OCFSV2"),
    ("GFS2", 64 * KIB, b"\x01\x16\x19\x70\x00\x00\x00\x01"),
    ("ISO 9660", 32 * KIB + 1, b"CD001"),
    ("UDF", 32 * KIB + 1, b"BEA01"),
    ("HFS+", KIB, b"H+\x00\x04"),
    ("APFS", 32, b"NXSB"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("FAT", 54, b"FAT"),
    ("FAT", 82, b"FAT32   "),
    ("an LVM physical volume", 512, b"LABELONE"),
    ("a member of a Linux RAID", 0, b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00"),
    ("a member of a Linux RAID", 4 * KIB, b"\xfc\x4e\x2b\xa9\x01\x00\x00\x00"),
    ("swap space", 4 * KIB - 10, b"SWAPSPACE2"),
    // The first name in the label's list of pairs, whole with its length; then the first of the uberblocks.
    ("ZFS", 16 * KIB + 20, b"\x00\x00\x00\x07version\x00"),
    ("ZFS", 128 * KIB, b"\x0c\xb1\xba\x00\x00\x00\x00\x00"),
];

/// Name of what `front`, the start of a partition, belongs to. Only marks that lie in `front` are seen.
#[must_use]
pub fn owner(front: &[u8]) -> Option<&'static str> {
    MARKS
        .iter()
        .find(|(_, offset, value)| front.get(*offset..offset + value.len()) == Some(*value))
        .map(|(name, ..)| *name)
}

/// The same over an ext4 whose superblock is whole and whose own front has `front_bytes` ([`super::superblock::Superblock`]).
#[must_use]
pub fn owner_over(front: &[u8], front_bytes: u64) -> Option<&'static str> {
    let length = usize::try_from(front_bytes).unwrap_or(FRONT_BYTES).min(front.len());
    owner(front.get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERBLOCK: std::ops::Range<usize> = KIB..2 * KIB;
    const DESCRIPTORS: usize = 4 * KIB;
    const DESCRIPTOR_BYTES: usize = 64;
    const GROUP_BLOCKS: u64 = 32768;
    /// As mke2fs has it where nobody says otherwise, and so in our images.
    const FLEX_GROUPS: u64 = 16;

    /// What of a descriptor's bytes says a place, low and high half, or is always zero. The rest are counts, flags and checksums.
    const PLACES: [(usize, usize); 3] = [(0x00, 0x20), (0x04, 0x24), (0x08, 0x28)];
    const ZEROS: [std::ops::Range<usize>; 3] = [0x14..0x18, 0x34..0x38, 0x3c..0x40];

    /// Which of the bytes at `offset` the mark fixes.
    fn fixed(mark: (usize, &[u8]), range: std::ops::Range<usize>) -> Vec<Option<u8>> {
        let (start, value) = mark;
        range.map(|at| at.checked_sub(start).and_then(|at| value.get(at)).copied()).collect()
    }

    /// The mark cannot be in the descriptor of a file system of ours with at most 2^32 blocks (16 TiB).
    fn is_impossible(mark: (usize, &[u8])) -> bool {
        let number = (mark.0 - DESCRIPTORS) / DESCRIPTOR_BYTES;
        let descriptor = DESCRIPTORS + number * DESCRIPTOR_BYTES;
        let at =
            |offset: usize, length| fixed(mark, descriptor + offset..descriptor + offset + length);
        let not_zero = |bytes: Vec<Option<u8>>| bytes.iter().flatten().any(|byte| *byte != 0);
        if ZEROS.iter().any(|range| not_zero(at(range.start, range.len()))) {
            return true;
        }
        // Bitmaps and inode tables lie in the descriptor's own run of groups, behind its start.
        let run = number as u64 / FLEX_GROUPS * FLEX_GROUPS;
        let (first, last) = (run * GROUP_BLOCKS + 1, (run + FLEX_GROUPS) * GROUP_BLOCKS - 1);
        PLACES.iter().any(|(low, high)| {
            let least = |bytes: &[Option<u8>], unknown: u8| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |sum, byte| sum << 8 | u64::from(byte.unwrap_or(unknown)))
            };
            let low = at(*low, 4);
            not_zero(at(*high, 4)) || least(&low, 0) > last || least(&low, 0xff) < first
        })
    }

    #[test]
    fn no_descriptor_of_ours_can_look_like_a_mark() {
        let mut seen = 0;
        for (name, offset, value) in MARKS {
            assert!(value.len() >= 3);
            if offset >= DESCRIPTORS {
                seen += 1;
                assert!(is_impossible((offset, value)), "{name} at {offset}");
            } else {
                // Zeros, in an ext4 of ours; the superblock is known by its checksum then.
                let end = offset + value.len();
                let in_superblock = offset >= SUPERBLOCK.start && end <= SUPERBLOCK.end;
                assert!(in_superblock || end <= SUPERBLOCK.start || offset >= SUPERBLOCK.end);
            }
        }
        assert!(seen > 15);
        // The rule itself can say no: a count, and a place that may be.
        assert!(!is_impossible((DESCRIPTORS + 0x0c, b"\xff\xff\xff\xff")));
        assert!(!is_impossible((DESCRIPTORS, b"\x02\x02\x00\x00")));
    }

    #[test]
    fn over_an_ext4_only_its_own_front_is_looked_at() {
        let mut front = vec![0; FRONT_BYTES];
        front[64 * KIB + 64..64 * KIB + 72].copy_from_slice(b"_BHRfS_M");
        assert_eq!(owner_over(&front, 64 * KIB as u64), None);
        assert_eq!(owner_over(&front, 68 * KIB as u64), Some("btrfs"));
        assert_eq!(owner_over(&front, u64::MAX), Some("btrfs"));
    }

    #[test]
    fn every_mark_is_found_at_its_place_and_nowhere_else() {
        for (name, offset, value) in MARKS {
            let mut front = vec![0; FRONT_BYTES];
            assert_eq!(owner(&front), None);
            front[offset..offset + value.len()].copy_from_slice(value);
            assert_eq!(owner(&front), Some(name));
            assert_eq!(owner(&front[..offset]), None);
            front[offset..offset + value.len()].fill(0);
            front[offset + 1..=offset + value.len()].copy_from_slice(value);
            assert_eq!(owner(&front), None, "{name} one byte later");
        }
    }
}
