//! Marks of what is no ext4: by them a partition's owner is known, and named to whoever reads the console.
//!
//! A mark that is missing here costs nothing but the name: what nobody knows is left as it is as well.
//!
//! Source: util-linux, `libblkid/src/superblocks/` and `libblkid/src/partitions/` for places and values.

/// Bytes at the start of a partition that all marks lie in.
pub const FRONT_BYTES: usize = 132 * 1024;

const KIB: usize = 1024;

/// Name, place and value.
const MARKS: [(&str, usize, &[u8]); 27] = [
    ("LUKS, an encrypted volume", 0, b"LUKS\xba\xbe"),
    ("LUKS, an encrypted volume", 0, b"SKUL\xba\xbe"),
    ("LUKS, an encrypted volume", 16 * KIB, b"SKUL\xba\xbe"),
    ("LUKS, an encrypted volume", 32 * KIB, b"SKUL\xba\xbe"),
    ("LUKS, an encrypted volume", 64 * KIB, b"SKUL\xba\xbe"),
    ("BitLocker, an encrypted volume", 3, b"-FVE-FS-"),
    ("XFS", 0, b"XFSB"),
    ("btrfs", 64 * KIB + 64, b"_BHRfS_M"),
    ("bcachefs or bcache", 4 * KIB + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    ("bcachefs or bcache", 4 * KIB + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9"),
    ("F2FS", KIB, b"\x10\x20\xf5\xf2"),
    ("EROFS", KIB, b"\xe2\xe1\xf5\xe0"),
    ("squashfs", 0, b"hsqs"),
    ("JFS", 32 * KIB, b"JFS1"),
    ("ReiserFS", 64 * KIB + 52, b"ReIsEr"),
    ("ISO 9660", 32 * KIB + 1, b"CD001"),
    ("HFS+", KIB, b"H+\x00\x04"),
    ("APFS", 32, b"NXSB"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("FAT", 54, b"FAT"),
    ("FAT", 82, b"FAT32   "),
    ("an LVM physical volume", 512, b"LABELONE"),
    ("a member of a Linux RAID", 0, b"\xfc\x4e\x2b\xa9"),
    ("a member of a Linux RAID", 4 * KIB, b"\xfc\x4e\x2b\xa9"),
    ("swap space", 4 * KIB - 10, b"SWAPSPACE2"),
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

#[cfg(test)]
mod tests {
    use super::*;

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
