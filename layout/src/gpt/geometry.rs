//! Where on a disk the parts of a table are.

use super::problem::ReadTable;

/// Bytes of an entry; `gptman` knows no other size, and no tool writes another.
pub(super) const ENTRY_BYTES: u32 = 128;
/// First sector of the primary header: sector 0 is the protective MBR.
pub(super) const PRIMARY_LBA: u64 = 1;
/// First sector of the primary copy's entries.
pub(super) const PRIMARY_ENTRIES_LBA: u64 = 2;
/// Entries that a table may claim. Every tool writes 128; a wild count must not decide how much we allocate.
pub(super) const ENTRIES_MAX: u32 = 256;

/// Size of a disk in sectors. At least big enough for both copies and one usable sector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) sector_bytes: u64,
    sectors: u64,
}

impl Geometry {
    pub(super) fn of(disk_bytes: u64, sector_bytes: u64) -> Result<Self, ReadTable> {
        if !matches!(sector_bytes, 512 | 4096) {
            return Err(ReadTable::SectorSize { found: sector_bytes });
        }
        let geometry = Self { sector_bytes, sectors: disk_bytes / sector_bytes };
        let needed = 2 * geometry.entries_sectors(ENTRIES_MAX) + 4;
        if geometry.sectors < needed {
            return Err(ReadTable::TooSmall { found: disk_bytes });
        }
        Ok(geometry)
    }

    pub(super) const fn last_lba(self) -> u64 {
        self.sectors - 1
    }

    pub(super) const fn entries_sectors(self, entries: u32) -> u64 {
        // Widening: `u64::from` is not const.
        (entries as u64 * ENTRY_BYTES as u64).div_ceil(self.sector_bytes)
    }

    pub(super) const fn last_usable_lba(self, entries: u32) -> u64 {
        self.last_lba() - self.entries_sectors(entries) - 1
    }
}
