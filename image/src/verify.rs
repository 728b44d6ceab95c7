//! Checks everything in a disk image that can be checked, and names the first thing that is wrong.
//!
//! In this order: boot sector, both partition tables, the partitions that must be there, each slot (signature,
//! kernel, initramfs, every block of the root), every file system's superblock.

mod slot;

use std::io;
use std::path::{Path, PathBuf};

use ferrite_layout::disk_layout::{PartitionType, REQUIRED};
use ferrite_layout::gpt::{CopyProblem, OtherCopy, Partition, Source, Table, mbr};
use ferrite_layout::slot::{self as slots, Slot};
use ferrite_layout::slot_header::{SlotDocument, TrustedKey};

use crate::file_system::{self, CheckFileSystem, FileSystemType};
use crate::opened::{OpenImage, Opened};
use crate::progress::Progress;
use crate::stage::Payload;

pub use slot::CheckSlot;

/// The first thing that is wrong with an image.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum VerifyImage {
    #[error(transparent)]
    Open(#[from] OpenImage),
    #[error("check the boot sector: it is not a protective MBR")]
    BootSector,
    #[error("check the primary partition table: {problem}")]
    PrimaryTable { problem: CopyProblem },
    #[error("check the backup partition table: {problem}")]
    BackupTable { problem: CopyProblem },
    #[error("compare the two partition tables: they differ")]
    TablesDiffer,
    #[error("find partition {number} ({label}): there is none")]
    NoPartition { number: u32, label: &'static str },
    #[error("check partition {number}: its label is {found:?}, not {label}")]
    Label { number: u32, label: &'static str, found: String },
    #[error("check partition {label}: its type GUID is {found}, not {expected}")]
    Type { label: &'static str, expected: String, found: String },
    #[error("check slot {slot}")]
    Slot { slot: Slot, source: CheckSlot },
    #[error("check slot payload {path}")]
    Payload { path: PathBuf, source: CheckSlot },
    #[error("find a slot to boot: neither has a priority")]
    NothingToBoot,
    #[error("check partition {label}")]
    FileSystem { label: String, source: CheckFileSystem },
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
}

/// What was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Slots that hold something, with what they hold.
    pub slots: Vec<(Slot, SlotDocument)>,
    /// Bytes of kernels, initramfs and root file systems whose hashes were checked.
    pub checked_bytes: u64,
}

/// Verifies a raw disk image.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(
    path: &Path,
    trusted: &[TrustedKey],
    progress: &mut dyn Progress,
) -> Result<Verified, VerifyImage> {
    let opened = Opened::open(path)?;
    progress.begin("check partition tables");
    let table = opened.table(path)?;
    check_boot_sector(&opened, path)?;
    check_table(opened.table(path)?)?;
    let partitions = check_partitions(&table)?;
    progress.end(&format!("{} partitions", partitions.len()));

    let mut verified = Verified { slots: Vec::new(), checked_bytes: 0 };
    for slot in Slot::ALL {
        progress.begin(&format!("check slot {slot}"));
        let document = check_slot(&opened, &table, slot, trusted)?;
        progress.end(document.as_ref().map_or("empty", |document| &document.version));
        if let Some(document) = document {
            verified.checked_bytes += document.kernel.size_bytes
                + document.initramfs.size_bytes
                + document.root.data_bytes;
            verified.slots.push((slot, document));
        }
    }
    let state = |slot| table.slot(slot).unwrap_or_default();
    if slots::choose(state(Slot::A), state(Slot::B)).is_none() {
        return Err(VerifyImage::NothingToBoot);
    }

    progress.begin("check file systems");
    check_file_systems(&opened, &partitions)?;
    progress.end("EFI-SYSTEM, OEM, STATE");
    Ok(verified)
}

/// Verifies the two files that a build leaves for a slot.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_payload(
    payload: &Payload,
    trusted: &[TrustedKey],
) -> Result<SlotDocument, VerifyImage> {
    let (kern, root) = (Opened::open(&payload.kern)?, Opened::open(&payload.root)?);
    slot::check_content(&kern.whole(), &root.whole(), trusted)
        .map_err(|source| VerifyImage::Payload { path: payload.kern.clone(), source })
}

fn check_boot_sector(opened: &Opened, path: &Path) -> Result<(), VerifyImage> {
    let sector = opened
        .whole()
        .read_array::<{ mbr::MBR_BYTES }>(0)
        .map_err(|source| VerifyImage::Read { path: path.to_owned(), source })?;
    if mbr::is_protective(&sector) { Ok(()) } else { Err(VerifyImage::BootSector) }
}

/// Both copies are good and the same.
fn check_table(table: Table) -> Result<(), VerifyImage> {
    let source = table.source();
    match (source, table.into_other_copy()) {
        (Source::Primary, OtherCopy::Same) => Ok(()),
        (Source::Primary, OtherCopy::Bad(problem)) => Err(VerifyImage::BackupTable { problem }),
        (Source::Backup, OtherCopy::Bad(problem)) => Err(VerifyImage::PrimaryTable { problem }),
        (_, OtherCopy::Different) | (Source::Backup, OtherCopy::Same) => {
            Err(VerifyImage::TablesDiffer)
        }
    }
}

/// Every partition that the boot code relies on is there, under its label and type.
fn check_partitions(table: &Table) -> Result<Vec<Partition>, VerifyImage> {
    let mut partitions = Vec::new();
    for (number, label, kind) in REQUIRED {
        let partition =
            table.partition(number).ok_or(VerifyImage::NoPartition { number, label })?;
        if partition.label != label {
            return Err(VerifyImage::Label { number, label, found: partition.label });
        }
        if partition.type_guid != kind.guid() {
            let (expected, found) = (kind.guid().to_string(), partition.type_guid.to_string());
            return Err(VerifyImage::Type { label, expected, found });
        }
        partitions.push(partition);
    }
    Ok(partitions)
}

/// Checks a slot; `None`: it is empty, and the partition table knows.
fn check_slot(
    opened: &Opened,
    table: &Table,
    slot: Slot,
    trusted: &[TrustedKey],
) -> Result<Option<SlotDocument>, VerifyImage> {
    let window = |number| {
        table
            .partition(number)
            .map(|partition| opened.partition(&partition))
            .ok_or(VerifyImage::NoPartition { number, label: "KERN or ROOT" })
    };
    let (kern, root) = (window(slot.kern_partition())?, window(slot.root_partition())?);
    let bootable = table.slot(slot).is_some_and(|attributes| attributes.priority > 0);
    slot::check(&kern, &root, bootable, trusted)
        .map_err(|source| VerifyImage::Slot { slot, source })
}

/// STATE, OEM and EFI-SYSTEM; the slots' roots were checked with them.
fn check_file_systems(opened: &Opened, partitions: &[Partition]) -> Result<(), VerifyImage> {
    for partition in partitions {
        let kind = PartitionType::ALL.into_iter().find(|kind| kind.guid() == partition.type_guid);
        let Some(expected @ (FileSystemType::Ext4 | FileSystemType::Fat32)) =
            kind.and_then(file_system::expected)
        else {
            continue;
        };
        file_system::check(expected, &opened.partition(partition))
            .map_err(|source| VerifyImage::FileSystem { label: partition.label.clone(), source })?;
    }
    Ok(())
}
