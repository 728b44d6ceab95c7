//! Puts the partitions' contents, the partition table and the boot code together into one sparse file.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ferrite_layout::attributes::{FIELD_MAX, SlotAttributes};
use ferrite_layout::disk_layout::DiskLayout;
use ferrite_layout::gpt::{LEGACY_BOOT, Partition, Table, mbr};
use ferrite_layout::slot::{FRESH_TRIES, Slot};
use ferrite_layout::slot_header::SlotDocument;

use super::parts::Parts;
use super::places::{check_fits, create_sized, number, open, partition};
use super::problem::BuildDisk;
use super::{extents, identity};

/// What goes into a partition.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Number of the partition.
    pub(super) partition: u32,
    /// Image to be copied into it.
    pub(super) path: PathBuf,
}

/// Writes the whole disk to `path`.
pub(super) fn write_disk(
    parts: &Parts,
    layout: &DiskLayout,
    document: &SlotDocument,
    contents: &[Content],
    path: &Path,
) -> Result<(), BuildDisk> {
    let writing = |source| BuildDisk::Write { path: path.to_owned(), source };
    let disk = create_sized(path, layout.disk_bytes())?;
    disk.write_all_at(&boot_sector(parts, layout)?, 0).map_err(writing)?;
    let table = table(layout, document)?;
    for write in table.writes().map_err(|source| BuildDisk::EncodeTable { source })? {
        disk.write_all_at(&write.bytes, write.offset_bytes).map_err(writing)?;
    }
    for content in contents {
        let place = partition(layout, content.partition)?;
        let source = open(&content.path)?;
        let reading = |source| BuildDisk::Read { path: content.path.clone(), source };
        let size_bytes = source.metadata().map_err(reading)?.len();
        check_fits(&content.path.display().to_string(), size_bytes, place)?;
        extents::copy(&source, &disk, place.offset_bytes).map_err(writing)?;
    }
    Ok(())
}

fn boot_sector(parts: &Parts, layout: &DiskLayout) -> Result<Vec<u8>, BuildDisk> {
    let mut boot_code = Vec::new();
    let mut path = PathBuf::new();
    if let Some(bios) = &parts.bios {
        path.clone_from(&bios.boot_code);
        boot_code =
            fs::read(&path).map_err(|source| BuildDisk::Read { path: path.clone(), source })?;
    }
    mbr::protective(layout.disk_bytes() / layout.sector_bytes, &boot_code)
        .ok_or(BuildDisk::BootCode { path, found: boot_code.len() })
}

/// The partition table of a fresh disk.
fn table(layout: &DiskLayout, document: &SlotDocument) -> Result<Table, BuildDisk> {
    let disk_guid = identity::of_image(document, "disk");
    let mut table = Table::new(layout.disk_bytes(), layout.sector_bytes, disk_guid)
        .map_err(|source| BuildDisk::NewTable { source })?;
    for partition in &layout.partitions {
        let bits = if partition.number == number::EFI_SYSTEM { LEGACY_BOOT } else { 0 };
        let partition = Partition {
            number: partition.number,
            label: partition.label.clone(),
            type_guid: partition.kind.guid(),
            guid: identity::of_image(document, &partition.label),
            offset_bytes: partition.offset_bytes,
            size_bytes: partition.size_bytes,
            attributes: bits,
        };
        table.add(&partition).map_err(|source| BuildDisk::Table { source })?;
    }
    table.set_slot(Slot::A, FRESH_SLOT).map_err(|source| BuildDisk::Table { source })?;
    Ok(table)
}

/// Slot A of a fresh disk: it has to prove itself like every other.
const FRESH_SLOT: SlotAttributes =
    SlotAttributes { priority: 1, tries: FRESH_TRIES, successful: false };
const _: () = assert!(FRESH_TRIES <= FIELD_MAX);
