//! One copy of the table: decoding with every number checked before it is used, and encoding.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use gptman::{GPTHeader, GPTPartitionEntry};

use super::geometry::{ENTRIES_MAX, ENTRY_BYTES, Geometry, PRIMARY_ENTRIES_LBA, PRIMARY_LBA};
use super::problem::CopyProblem;

/// Bytes of a header that mean something; the rest of its sector is zero.
pub(super) const HEADER_BYTES: u32 = 92;
/// Which of the two copies a table was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The copy at the start of the disk.
    Primary,
    /// The copy at its end: the primary is not valid.
    Backup,
}

/// One copy of the table, to be written at an offset of the disk. Flush the disk after each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// From the start of the disk.
    pub offset_bytes: u64,
    /// Header and entries: whole sectors.
    pub bytes: Vec<u8>,
}

/// A decoded copy; its header is as in the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) header: GPTHeader,
    pub(super) entries: Vec<GPTPartitionEntry>,
}

/// Reads both copies. The backup is looked for in the disk's last sector; where a disk has grown, also
/// where a valid primary header says that it is.
pub(super) fn read_both(
    disk: &mut (impl Read + Seek),
    geometry: Geometry,
) -> (Result<Copy, CopyProblem>, Result<Copy, CopyProblem>) {
    let primary_header = read_header(disk, geometry, PRIMARY_LBA);
    let hinted_lba = primary_header
        .as_ref()
        .ok()
        .map(|header| header.backup_lba)
        .filter(|lba| *lba != geometry.last_lba());
    let primary = primary_header.and_then(|header| read_entries(disk, geometry, header));
    let read_backup = |disk: &mut _, lba| {
        read_header(disk, geometry, lba).and_then(|header| read_entries(disk, geometry, header))
    };
    let backup = read_backup(disk, geometry.last_lba())
        .or_else(|problem| match hinted_lba {
            Some(lba) => read_backup(disk, lba),
            None => Err(problem),
        })
        .map(Copy::into_primary_form);
    (primary.map(Copy::into_primary_form), backup)
}

/// The size of sectors for which the disk has a table, where that is not its own: an image that was written to the wrong
/// kind of disk.
pub(super) fn other_sectors(
    disk: &mut (impl Read + Seek),
    disk_bytes: u64,
    sector_bytes: u64,
) -> Option<u64> {
    let other_bytes = if sector_bytes == 512 { 4096 } else { 512 };
    let geometry = Geometry::of(disk_bytes, other_bytes).ok()?;
    read_header(disk, geometry, PRIMARY_LBA).ok().map(|_| other_bytes)
}

impl Copy {
    /// The same table with its header as the primary copy has it, checksums left out: what does not depend
    /// on where a copy lies.
    fn into_primary_form(mut self) -> Self {
        if self.header.primary_lba != PRIMARY_LBA {
            self.header.backup_lba = self.header.primary_lba;
            self.header.primary_lba = PRIMARY_LBA;
        }
        self.header.partition_entry_lba = PRIMARY_ENTRIES_LBA;
        self.header.crc32_checksum = 0;
        self.header.partition_entry_array_crc32 = 0;
        self
    }
}

/// Reads a header and checks every number in it that later arithmetic relies on.
fn read_header(
    disk: &mut (impl Read + Seek),
    geometry: Geometry,
    lba: u64,
) -> Result<GPTHeader, CopyProblem> {
    disk.seek(SeekFrom::Start(lba.saturating_mul(geometry.sector_bytes)))
        .map_err(|source| CopyProblem::Read { source })?;
    let header = GPTHeader::read_from(disk).map_err(|source| match source {
        gptman::Error::InvalidSignature => CopyProblem::NoHeader,
        gptman::Error::Io(source) => CopyProblem::Read { source },
        source => CopyProblem::Header { source },
    })?;
    if header.primary_lba != lba {
        return Err(CopyProblem::OwnPlace { expected: lba, found: header.primary_lba });
    }
    let other = header.backup_lba;
    let in_place = if lba == PRIMARY_LBA {
        other > lba && other <= geometry.last_lba()
    } else {
        other == PRIMARY_LBA
    };
    if !in_place {
        return Err(CopyProblem::OtherPlace { found: other });
    }
    let (count, size_bytes) = (header.number_of_partition_entries, header.size_of_partition_entry);
    if count == 0 || count > ENTRIES_MAX || size_bytes != ENTRY_BYTES {
        return Err(CopyProblem::EntryShape { count, size_bytes });
    }
    check_places(&header, geometry)?;
    Ok(header)
}

/// Header, entries and usable sectors must lie apart: primary header, its entries, usable, backup's
/// entries, backup header.
fn check_places(header: &GPTHeader, geometry: Geometry) -> Result<(), CopyProblem> {
    let sectors = geometry.entries_sectors(header.number_of_partition_entries);
    let (first, last) = (header.first_usable_lba, header.last_usable_lba);
    let backup_lba = header.primary_lba.max(header.backup_lba);
    let first_free = PRIMARY_ENTRIES_LBA + sectors;
    let end_free = backup_lba.saturating_sub(sectors);
    if first < first_free || first > last || last >= end_free {
        return Err(CopyProblem::Usable { first, last });
    }
    let found = header.partition_entry_lba;
    let in_place = if header.primary_lba == PRIMARY_LBA {
        found == PRIMARY_ENTRIES_LBA
    } else {
        found > last && found <= end_free
    };
    if in_place { Ok(()) } else { Err(CopyProblem::EntriesPlace { found }) }
}

/// Reads the entries that a checked header describes and checks that they fit the disk and one another.
fn read_entries(
    disk: &mut (impl Read + Seek),
    geometry: Geometry,
    header: GPTHeader,
) -> Result<Copy, CopyProblem> {
    let entries =
        header.read_partitions(disk, geometry.sector_bytes).map_err(|source| match source {
            gptman::Error::Io(source) => CopyProblem::Read { source },
            source => CopyProblem::Entries { source },
        })?;
    let mut used: Vec<(u32, u64, u64)> = (1u32..)
        .zip(&entries)
        .filter(|(_, entry)| entry.is_used())
        .map(|(number, entry)| (number, entry.starting_lba, entry.ending_lba))
        .collect();
    let usable = header.first_usable_lba..=header.last_usable_lba;
    for &(number, first, last) in &used {
        if first > last || !usable.contains(&first) || !usable.contains(&last) {
            return Err(CopyProblem::Extent { number, first, last });
        }
    }
    used.sort_unstable_by_key(|(_, first, _)| *first);
    for (&(one, _, last), &(next, first, _)) in used.iter().zip(used.iter().skip(1)) {
        if first <= last {
            return Err(CopyProblem::Overlap { first: one, second: next });
        }
    }
    Ok(Copy { header, entries })
}

/// Encodes one copy. Header and entries are neighbours, so one write holds both.
pub(super) fn encode(
    copy: Source,
    primary: &GPTHeader,
    entries: &[GPTPartitionEntry],
    sector_bytes: u64,
) -> Result<Write, gptman::Error> {
    let entries_sectors = (u64::from(primary.number_of_partition_entries) * u64::from(ENTRY_BYTES))
        .div_ceil(sector_bytes);
    let mut header = primary.clone();
    let first_lba = match copy {
        Source::Primary => PRIMARY_LBA,
        Source::Backup => {
            header.primary_lba = primary.backup_lba;
            header.backup_lba = primary.primary_lba;
            header.partition_entry_lba = primary.backup_lba - entries_sectors;
            header.partition_entry_lba
        }
    };
    let offset_bytes = first_lba * sector_bytes;
    let length = usize::try_from((entries_sectors + 1) * sector_bytes).unwrap_or(usize::MAX);
    let mut window = Window { offset_bytes, sectors: Cursor::new(vec![0; length]) };
    header.write_into(&mut window, sector_bytes, entries)?;
    Ok(Write { offset_bytes, bytes: window.sectors.into_inner() })
}

/// The part of a disk that a copy covers, in memory; positions count from the start of the disk.
struct Window {
    offset_bytes: u64,
    sectors: Cursor<Vec<u8>>,
}

impl io::Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sectors.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(position) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let inside = position.checked_sub(self.offset_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        self.sectors.seek(SeekFrom::Start(inside)).map(|inside| inside + self.offset_bytes)
    }
}
