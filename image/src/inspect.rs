//! Says what a disk image, a slot payload or a kernel holds, without judging it: see [`crate::verify`] for that.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ferrite_layout::attributes::SlotAttributes;
use ferrite_layout::disk_layout::PartitionType;
use ferrite_layout::gpt::{LEGACY_BOOT, OtherCopy, Partition, Source, Table};
use ferrite_layout::slot::{self, Choice, Slot};
use ferrite_layout::slot_header::{self, HEADER_BYTES, ReadHeader, SlotDocument, TrustedKey};
use serde::Serialize;

use crate::file_system::{self, FileSystem};
use crate::kernel_file::KernelFile;
use crate::opened::{Kind, OpenImage, Opened};
use crate::window::Window;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Report {
    /// A whole disk.
    Disk(DiskReport),
    /// The payload of a KERN partition.
    Slot {
        /// Bytes of the file.
        size_bytes: u64,
        /// What the payload says of itself.
        #[serde(flatten)]
        content: SlotContent,
    },
    /// A Linux kernel.
    Kernel {
        /// Bytes of the file.
        size_bytes: u64,
        /// What the kernel says of itself.
        #[serde(flatten)]
        kernel: KernelFile,
    },
}

/// A disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// Size of the disk.
    pub size_bytes: u64,
    /// Bytes that the sparse file takes.
    pub allocated_bytes: u64,
    /// Identity of the disk.
    pub disk_guid: String,
    /// What is wrong with the partition table, one sentence; the partitions come from its good copy.
    pub table_problem: Option<String>,
    /// Which slot a machine would boot, and why; `None`: none.
    pub next_boot: Option<Choice>,
    /// Both slots.
    pub slots: Vec<SlotReport>,
    /// Partitions as they lie on the disk.
    pub partitions: Vec<PartitionReport>,
}

/// A slot of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// Which.
    pub slot: Slot,
    /// Its state in the partition table.
    pub attributes: SlotAttributes,
    /// What it holds.
    #[serde(flatten)]
    pub content: SlotContent,
}

/// What a slot's header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "content", rename_all = "kebab-case")]
pub enum SlotContent {
    /// Nothing.
    Empty,
    /// Something that is not a header.
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
    /// A slot.
    Present {
        /// Who signed it.
        signature: Signature,
        /// What it holds, as it says.
        document: Box<SlotDocument>,
    },
}

/// What is known of a header's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// By a trusted key.
    Trusted,
    /// By a key that is not among the trusted ones; whether it is good cannot be said.
    UnknownKey,
    /// It does not match: the header was changed.
    Bad,
}

/// A partition of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Number.
    pub number: u32,
    /// Label.
    pub label: String,
    /// What its type says that it holds: one of Ferrite's types, or the GUID.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its identity.
    pub guid: String,
    /// From the start of the disk.
    pub offset_bytes: u64,
    /// Size.
    pub size_bytes: u64,
    /// A BIOS loader starts this one.
    pub legacy_boot: bool,
    /// The file system in it.
    pub file_system: Option<FileSystem>,
}

/// Looks at a raw disk image, a `slot.kern` file or a kernel. Signatures are checked against `trusted`.
///
/// # Errors
/// The file cannot be read or is neither.
pub fn inspect(path: &Path, trusted: &[TrustedKey]) -> Result<Report, OpenImage> {
    let opened = Opened::open(path)?;
    let reading = |source| OpenImage::Read { path: path.to_owned(), source };
    match opened.kind {
        Kind::SlotKern => Ok(Report::Slot {
            size_bytes: opened.size_bytes,
            content: slot_content(&opened.whole(), trusted).map_err(reading)?,
        }),
        Kind::Kernel => Ok(Report::Kernel {
            size_bytes: opened.size_bytes,
            kernel: KernelFile::read(&opened.whole()).map_err(reading)?,
        }),
        Kind::Disk => {
            let table = opened.table(path)?;
            let allocated_bytes = fs::metadata(path).map_err(reading)?.blocks() * 512;
            disk_report(&opened, &table, trusted)
                .map(|report| Report::Disk(DiskReport { allocated_bytes, ..report }))
                .map_err(reading)
        }
    }
}

fn disk_report(opened: &Opened, table: &Table, trusted: &[TrustedKey]) -> io::Result<DiskReport> {
    let mut slots = Vec::new();
    for slot in Slot::ALL {
        let Some(kern) = table.partition(slot.kern_partition()) else { continue };
        slots.push(SlotReport {
            slot,
            attributes: SlotAttributes::from_bits(kern.attributes),
            content: slot_content(&opened.partition(&kern), trusted)?,
        });
    }
    let mut partitions: Vec<_> =
        table.partitions().map(|partition| partition_report(opened, &partition)).collect();
    partitions.sort_by_key(|partition| partition.offset_bytes);
    let next_boot = match (table.slot(Slot::A), table.slot(Slot::B)) {
        (Some(a), Some(b)) => slot::choose(a, b),
        (None, _) | (_, None) => None,
    };
    Ok(DiskReport {
        size_bytes: opened.size_bytes,
        allocated_bytes: 0,
        disk_guid: table.disk_guid().to_string(),
        table_problem: table_problem(table),
        next_boot,
        slots,
        partitions,
    })
}

fn table_problem(table: &Table) -> Option<String> {
    let (used, other) = match table.source() {
        Source::Primary => ("primary", "backup"),
        Source::Backup => ("backup", "primary"),
    };
    match table.other_copy() {
        OtherCopy::Same => None,
        OtherCopy::Different => Some(format!("the {other} copy differs from the {used} one")),
        OtherCopy::Bad(problem) => Some(format!("the {other} copy is bad: {problem}")),
    }
}

fn partition_report(opened: &Opened, partition: &Partition) -> PartitionReport {
    let kind = PartitionType::ALL.into_iter().find(|kind| kind.guid() == partition.type_guid);
    let window = opened.partition(partition);
    let file_system = kind
        .and_then(file_system::expected)
        .and_then(|expected| file_system::check(expected, &window).ok());
    PartitionReport {
        number: partition.number,
        label: partition.label.clone(),
        kind: kind.map_or_else(|| partition.type_guid.to_string(), |kind| kind.to_string()),
        guid: partition.guid.to_string(),
        offset_bytes: partition.offset_bytes,
        size_bytes: partition.size_bytes,
        legacy_boot: partition.attributes & LEGACY_BOOT != 0,
        file_system,
    }
}

fn slot_content(kern: &Window<'_>, trusted: &[TrustedKey]) -> io::Result<SlotContent> {
    let header = kern.read_array::<HEADER_BYTES>(0)?;
    if header.iter().all(|byte| *byte == 0) {
        return Ok(SlotContent::Empty);
    }
    let document = match slot_header::decode_unverified(&header) {
        Ok(document) => Box::new(document),
        Err(problem) => return Ok(SlotContent::Damaged { problem: problem.to_string() }),
    };
    let signature = match slot_header::decode(&header, trusted) {
        Ok(_) => Signature::Trusted,
        Err(ReadHeader::UnknownKey { .. }) => Signature::UnknownKey,
        Err(_) => Signature::Bad,
    };
    Ok(SlotContent::Present { signature, document })
}
