//! The serial number of a FAT32 file system, which tells loaders' file systems apart.
//!
//! | offset in the boot sector | size | meaning |
//! |---|---|---|
//! | 11 | 2 | bytes of a sector |
//! | 50 | 2 | sector of the boot sector's copy; 0 or 0xffff: none |
//! | 66 | 1 | 0x29: a serial number follows |
//! | 67 | 4 | serial number |
//! | 82 | 8 | `FAT32   ` |
//! | 510 | 2 | 0x55 0xaa |
//!
//! Source: Microsoft, "FAT: General Overview of On-Disk Format". Numbers are little endian.

/// Bytes of the boot sector that mean something.
pub const BOOT_SECTOR_BYTES: usize = 512;

const SECTOR_BYTES_OFFSET: usize = 11;
const COPY_OFFSET: usize = 50;
const SIGNATURE_OFFSET: usize = 66;
const SIGNATURE: u8 = 0x29;
const SERIAL_OFFSET: usize = 67;
const KIND_OFFSET: usize = 82;
const KIND: &[u8] = b"FAT32   ";
const END_OFFSET: usize = 510;

/// The serial number; `None` where this is no boot sector of FAT32.
#[must_use]
pub fn serial(sector: &[u8]) -> Option<u32> {
    let at = |offset: usize, length: usize| sector.get(offset..offset + length);
    let is_fat32 = at(KIND_OFFSET, KIND.len()) == Some(KIND)
        && at(END_OFFSET, 2) == Some(&[0x55, 0xaa])
        && sector.get(SIGNATURE_OFFSET) == Some(&SIGNATURE);
    at(SERIAL_OFFSET, 4)
        .filter(|_| is_fat32)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
}

/// Sets the serial number in a boot sector; `false` where this is none of FAT32.
pub fn set_serial(sector: &mut [u8], number: u32) -> bool {
    let is_fat32 = serial(sector).is_some();
    match sector.get_mut(SERIAL_OFFSET..SERIAL_OFFSET + 4) {
        Some(place) if is_fat32 => {
            place.copy_from_slice(&number.to_le_bytes());
            true
        }
        Some(_) | None => false,
    }
}

/// Where the boot sector's copy is, in bytes from the start of the file system.
#[must_use]
pub fn copy_offset_bytes(sector: &[u8]) -> Option<u64> {
    let half = |offset: usize| {
        let bytes = sector.get(offset..offset + 2)?.try_into().ok()?;
        Some(u64::from(u16::from_le_bytes(bytes)))
    };
    let place = half(COPY_OFFSET).filter(|place| !matches!(place, 0 | 0xffff))?;
    Some(place * half(SECTOR_BYTES_OFFSET)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector() -> Vec<u8> {
        let mut sector = vec![0; BOOT_SECTOR_BYTES];
        let edits: [(usize, &[u8]); 6] = [
            (SECTOR_BYTES_OFFSET, &[0, 2]),
            (COPY_OFFSET, &[6, 0]),
            (SIGNATURE_OFFSET, &[SIGNATURE]),
            (SERIAL_OFFSET, &[4, 3, 2, 1]),
            (KIND_OFFSET, KIND),
            (END_OFFSET, &[0x55, 0xaa]),
        ];
        for (offset, bytes) in edits {
            sector[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        sector
    }

    #[test]
    fn the_serial_number_is_read_and_changed_and_nothing_else() {
        let mut sector = sector();
        assert_eq!((serial(&sector), copy_offset_bytes(&sector)), (Some(0x0102_0304), Some(3072)));
        let before = sector.clone();
        assert!(set_serial(&mut sector, 0xaabb_ccdd));
        assert_eq!(serial(&sector), Some(0xaabb_ccdd));
        let changed: Vec<usize> =
            (0..sector.len()).filter(|at| sector[*at] != before[*at]).collect();
        assert_eq!(changed, [67, 68, 69, 70]);
    }

    #[test]
    fn what_is_no_fat32_has_none_and_is_left_alone() {
        for offset in [SIGNATURE_OFFSET, KIND_OFFSET, END_OFFSET] {
            let mut sector = sector();
            sector[offset] ^= 1;
            let before = sector.clone();
            assert_eq!(serial(&sector), None);
            assert!(!set_serial(&mut sector, 1));
            assert_eq!(sector, before);
        }
        assert_eq!(serial(&[0; 40]), None);
        assert_eq!(copy_offset_bytes(&[0; BOOT_SECTOR_BYTES]), None);
    }
}
