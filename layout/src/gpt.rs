//! The GUID partition table: reading either copy, editing in memory, and the order of writes that never
//! leaves a disk without a valid one.
//!
//! A disk holds the table twice, at its start (primary) and at its end (backup). [`Table::read`] takes the
//! primary where it is valid, else the backup. [`Table::writes`] replaces the copy that a reader does *not*
//! use first, flushes, and only then the other. Whatever prefix of that sequence reaches the disk, torn at
//! any sector, a reader gets the old table or the new one, whole.
//!
//! `gptman` does the encoding. Its own reading trusts the counts and sizes in a header, so `read` checks
//! them before it hands them on.

mod copy;
#[cfg(test)]
mod cut_tests;
mod geometry;
pub mod mbr;
mod partition;
mod problem;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek, SeekFrom};

use gptman::{GPTHeader, GPTPartitionEntry};
use uuid::Uuid;

use crate::attributes::SlotAttributes;
use crate::slot::Slot;

use geometry::{ENTRY_BYTES, Geometry, PRIMARY_ENTRIES_LBA, PRIMARY_LBA};
use partition::LABEL_UNITS;

pub use copy::{Source, Write};
pub use partition::{LEGACY_BOOT, Partition, types};
pub use problem::{CheckWritten, CopyProblem, EditTable, EncodeTable, ReadTable};

/// Entries in a table that we make: what UEFI asks for at least, and what every tool writes.
const ENTRIES: u32 = 128;
/// A partition table in memory. Nothing here writes: see [`Table::writes`].
#[derive(Debug)]
pub struct Table {
    source: Source,
    other_copy: OtherCopy,
    sector_bytes: u64,
    /// As in the primary copy, wherever the table was read from; checksums are made when encoding.
    header: GPTHeader,
    entries: Vec<GPTPartitionEntry>,
}

/// State of the copy that the table was *not* read from.
#[derive(Debug)]
pub enum OtherCopy {
    /// It says the same.
    Same,
    /// It is valid and says something else: the last writing was cut short.
    Different,
    /// It is not valid.
    Bad(CopyProblem),
}

impl Table {
    /// An empty table for a disk of `disk_bytes`.
    ///
    /// # Errors
    /// The sector size is unusual or the disk too small.
    pub fn new(disk_bytes: u64, sector_bytes: u64, disk_guid: Uuid) -> Result<Self, ReadTable> {
        let geometry = Geometry::of(disk_bytes, sector_bytes)?;
        let header = GPTHeader {
            signature: *b"EFI PART",
            revision: [0, 0, 1, 0],
            header_size: copy::HEADER_BYTES,
            crc32_checksum: 0,
            reserved: [0; 4],
            primary_lba: PRIMARY_LBA,
            backup_lba: geometry.last_lba(),
            first_usable_lba: PRIMARY_ENTRIES_LBA + geometry.entries_sectors(ENTRIES),
            last_usable_lba: geometry.last_usable_lba(ENTRIES),
            disk_guid: disk_guid.to_bytes_le(),
            partition_entry_lba: PRIMARY_ENTRIES_LBA,
            number_of_partition_entries: ENTRIES,
            size_of_partition_entry: ENTRY_BYTES,
            partition_entry_array_crc32: 0,
        };
        let entries = (0..ENTRIES).map(|_| GPTPartitionEntry::empty()).collect();
        Ok(Self {
            source: Source::Primary,
            other_copy: OtherCopy::Different,
            sector_bytes,
            header,
            entries,
        })
    }

    /// Reads the table of a disk: the primary copy where it is valid, else the backup.
    ///
    /// # Errors
    /// Neither copy is valid; says what is wrong with each.
    pub fn read(disk: &mut (impl Read + Seek), sector_bytes: u64) -> Result<Self, ReadTable> {
        let disk_bytes =
            disk.seek(SeekFrom::End(0)).map_err(|source| ReadTable::Size { source })?;
        let geometry = Geometry::of(disk_bytes, sector_bytes)?;
        let (primary, backup) = copy::read_both(disk, geometry);
        let (source, used, other_copy) = match (primary, backup) {
            (Ok(primary), Ok(backup)) => {
                let same = primary == backup;
                let other = if same { OtherCopy::Same } else { OtherCopy::Different };
                (Source::Primary, primary, other)
            }
            (Ok(primary), Err(problem)) => (Source::Primary, primary, OtherCopy::Bad(problem)),
            (Err(problem), Ok(backup)) => (Source::Backup, backup, OtherCopy::Bad(problem)),
            (Err(primary), Err(backup)) => {
                return Err(match copy::other_sectors(disk, disk_bytes, sector_bytes) {
                    Some(made_for) => ReadTable::OtherSectors { made_for, found: sector_bytes },
                    None => ReadTable::NoCopy { primary, backup },
                });
            }
        };
        Ok(Self { source, other_copy, sector_bytes, header: used.header, entries: used.entries })
    }

    /// Which copy the table was read from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// What the other copy is like.
    #[must_use]
    pub const fn other_copy(&self) -> &OtherCopy {
        &self.other_copy
    }

    /// What the other copy is like, to be kept.
    #[must_use]
    pub fn into_other_copy(self) -> OtherCopy {
        self.other_copy
    }

    /// One of the copies is bad or stale: write the table, even unchanged, to mend it.
    #[must_use]
    pub const fn needs_repair(&self) -> bool {
        !matches!(self.other_copy, OtherCopy::Same)
    }

    /// Identity of the disk.
    #[must_use]
    pub fn disk_guid(&self) -> Uuid {
        Uuid::from_bytes_le(self.header.disk_guid)
    }

    /// Gives the disk and every partition another identity; `draw` makes one after the other.
    pub fn renew_identities(&mut self, mut draw: impl FnMut() -> Uuid) {
        self.header.disk_guid = draw().to_bytes_le();
        for entry in self.entries.iter_mut().filter(|entry| entry.is_used()) {
            entry.unique_partition_guid = draw().to_bytes_le();
        }
    }

    /// Bytes of the disk that the table was made for; a disk that has grown is larger.
    #[must_use]
    pub const fn disk_bytes(&self) -> u64 {
        (self.header.backup_lba + 1) * self.sector_bytes
    }

    /// Bytes of a sector.
    #[must_use]
    pub const fn sector_bytes(&self) -> u64 {
        self.sector_bytes
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        (1u32..).zip(&self.entries).filter(|(_, entry)| entry.is_used()).map(|(number, entry)| {
            Partition {
                number,
                label: entry.partition_name.as_str().to_owned(),
                type_guid: Uuid::from_bytes_le(entry.partition_type_guid),
                guid: Uuid::from_bytes_le(entry.unique_partition_guid),
                offset_bytes: entry.starting_lba * self.sector_bytes,
                size_bytes: (entry.ending_lba - entry.starting_lba + 1) * self.sector_bytes,
                attributes: entry.attribute_bits,
            }
        })
    }

    /// The partition with that number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<Partition> {
        self.partitions().find(|partition| partition.number == number)
    }

    /// State of a slot; `None` where the disk has no such KERN partition.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<SlotAttributes> {
        self.partition(slot.kern_partition())
            .map(|partition| SlotAttributes::from_bits(partition.attributes))
    }

    /// Sets the state of a slot; the other attribute bits stay.
    ///
    /// # Errors
    /// The disk has no such KERN partition.
    pub fn set_slot(&mut self, slot: Slot, state: SlotAttributes) -> Result<(), EditTable> {
        let number = slot.kern_partition();
        let entry = self.entry_mut(number)?;
        entry.attribute_bits = state.apply_to(entry.attribute_bits);
        Ok(())
    }

    /// Sets the attribute bits of a partition, all of them.
    ///
    /// # Errors
    /// The disk has no such partition.
    pub fn set_attributes(&mut self, number: u32, attributes: u64) -> Result<(), EditTable> {
        self.entry_mut(number)?.attribute_bits = attributes;
        Ok(())
    }

    /// Adds a partition.
    ///
    /// # Errors
    /// Its number is taken, its label too long, or its place not free.
    pub fn add(&mut self, partition: &Partition) -> Result<(), EditTable> {
        let Partition { number, offset_bytes, .. } = *partition;
        let end_bytes = partition.end_bytes();
        if partition.label.encode_utf16().count() > LABEL_UNITS {
            return Err(EditTable::Label { number, label: partition.label.clone() });
        }
        let entry = GPTPartitionEntry {
            partition_type_guid: partition.type_guid.to_bytes_le(),
            unique_partition_guid: partition.guid.to_bytes_le(),
            starting_lba: offset_bytes / self.sector_bytes,
            ending_lba: (end_bytes / self.sector_bytes).saturating_sub(1),
            attribute_bits: partition.attributes,
            partition_name: partition.label.as_str().into(),
        };
        let whole_sectors = offset_bytes.is_multiple_of(self.sector_bytes)
            && end_bytes.is_multiple_of(self.sector_bytes);
        let inside = entry.starting_lba >= self.header.first_usable_lba
            && entry.starting_lba <= entry.ending_lba
            && entry.ending_lba <= self.header.last_usable_lba;
        let free = self
            .partitions()
            .all(|other| other.end_bytes() <= offset_bytes || end_bytes <= other.offset_bytes);
        if !(whole_sectors && inside && free) {
            return Err(EditTable::Place { number, offset_bytes, end_bytes });
        }
        let max = self.header.number_of_partition_entries;
        let place = index(number).and_then(|index| self.entries.get_mut(index));
        match place.filter(|entry| entry.is_unused()) {
            Some(place) => *place = entry,
            None => return Err(EditTable::Number { number, max }),
        }
        Ok(())
    }

    /// Moves the end of the table, where its backup is, to the end of a disk that has become bigger. `true` when
    /// something changed.
    ///
    /// # Errors
    /// The disk is smaller than its table says.
    pub fn extend(&mut self, disk_bytes: u64) -> Result<bool, EditTable> {
        let too_small = EditTable::DiskTooSmall { disk_bytes };
        let Ok(geometry) = Geometry::of(disk_bytes, self.sector_bytes) else {
            return Err(too_small);
        };
        let last_usable_lba = geometry.last_usable_lba(self.header.number_of_partition_entries);
        if self.entries.iter().any(|entry| entry.is_used() && entry.ending_lba > last_usable_lba) {
            return Err(too_small);
        }
        let changed = geometry.last_lba() != self.header.backup_lba;
        self.header.backup_lba = geometry.last_lba();
        self.header.last_usable_lba = last_usable_lba;
        Ok(changed)
    }

    /// Moves the end of the partition `number`, which must be the last one, to the end of the usable part of the
    /// disk, down to a multiple of `align_bytes`. `true` when something changed.
    ///
    /// # Errors
    /// There is no such partition, or it is not the last one.
    pub fn grow(&mut self, number: u32, align_bytes: u64) -> Result<bool, EditTable> {
        let partition = self.partition(number).ok_or(EditTable::Absent { number })?;
        if let Some(after) = self.partitions().find(|p| p.offset_bytes > partition.offset_bytes) {
            return Err(EditTable::NotLast { number, after: after.number });
        }
        let align_sectors = (align_bytes / self.sector_bytes).max(1);
        let old_end_lba = partition.end_bytes() / self.sector_bytes;
        let end_lba = (self.header.last_usable_lba + 1) / align_sectors * align_sectors;
        let end_lba = end_lba.max(old_end_lba);
        self.entry_mut(number)?.ending_lba = end_lba - 1;
        Ok(end_lba != old_end_lba)
    }

    /// The writes that put this table onto the disk, in order; flush the disk after each. The copy that a
    /// reader does not use comes first, so that at no time both are invalid.
    ///
    /// # Errors
    /// The table cannot be encoded, which no table that this module made or read should cause.
    pub fn writes(&self) -> Result<[Write; 2], EncodeTable> {
        let order = match self.source {
            Source::Primary => [Source::Backup, Source::Primary],
            Source::Backup => [Source::Primary, Source::Backup],
        };
        let encode = |copy| {
            copy::encode(copy, &self.header, &self.entries, self.sector_bytes)
                .map_err(|source| EncodeTable { source })
        };
        Ok([encode(order[0])?, encode(order[1])?])
    }

    /// Reads the disk again and compares it with this table: both copies must say the same.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check_written(&self, disk: &mut (impl Read + Seek)) -> Result<(), CheckWritten> {
        let found = Self::read(disk, self.sector_bytes)?;
        if !found.same_content(self) {
            return Err(CheckWritten::Different);
        }
        if found.needs_repair() {
            return Err(CheckWritten::OtherCopy);
        }
        Ok(())
    }

    /// Both tables say the same about the disk, wherever each was read from.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.header == other.header && self.entries == other.entries
    }

    fn entry_mut(&mut self, number: u32) -> Result<&mut GPTPartitionEntry, EditTable> {
        index(number)
            .and_then(|index| self.entries.get_mut(index))
            .filter(|entry| entry.is_used())
            .ok_or(EditTable::Absent { number })
    }
}

/// Index of a partition's entry.
fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}
