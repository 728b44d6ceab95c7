//! `configs/disk-layout.toml`: which partitions a disk has, in which order, how large, and which one grows.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;
use uuid::Uuid;

use crate::document::{self, Problem};
use crate::gpt;
use crate::slot::Slot;

pub use self::size::{ParseSize, Size};

mod size;

/// Numbers and labels that the boot code relies on; a layout without one of them is refused.
pub const REQUIRED: [(u32, &str, PartitionType); 9] = [
    (1, "STATE", PartitionType::LinuxData),
    (2, "KERN-A", PartitionType::Kernel),
    (3, "ROOT-A", PartitionType::Root),
    (4, "KERN-B", PartitionType::Kernel),
    (5, "ROOT-B", PartitionType::Root),
    (6, "KERN-C", PartitionType::Kernel),
    (7, "ROOT-C", PartitionType::Root),
    (8, "OEM", PartitionType::LinuxData),
    (12, "EFI-SYSTEM", PartitionType::EfiSystem),
];

/// A disk, as the document describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// Bytes of a sector.
    pub sector_bytes: u64,
    /// Partitions start at multiples of this.
    pub align_bytes: u64,
    /// In the order in which they lie on the disk.
    pub partitions: Vec<LayoutPartition>,
}

/// A partition of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutPartition {
    /// GPT number.
    pub number: u32,
    /// GPT label.
    pub label: String,
    /// What it holds.
    pub kind: PartitionType,
    /// Size in an image.
    pub size_bytes: u64,
    /// Takes what is left of a larger disk.
    pub grow: bool,
    /// From the start of the disk; follows from order, sizes and alignment.
    pub offset_bytes: u64,
}

/// What a partition holds, as its type GUID says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionType {
    /// Slot header, kernel and initramfs.
    Kernel,
    /// Read-only root and its verity tree.
    Root,
    /// A Linux file system.
    LinuxData,
    /// FAT32 that the firmware reads.
    EfiSystem,
}

impl PartitionType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Root, Self::LinuxData, Self::EfiSystem];

    /// The type GUID.
    #[must_use]
    pub const fn guid(self) -> Uuid {
        match self {
            Self::Kernel => gpt::types::KERNEL,
            Self::Root => gpt::types::ROOT,
            Self::LinuxData => gpt::types::LINUX_DATA,
            Self::EfiSystem => gpt::types::EFI_SYSTEM,
        }
    }
}

impl DiskLayout {
    /// Bytes of an image of this disk: the partitions and room for the backup table behind them.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let end = self.partitions.last().map_or(self.align_bytes, LayoutPartition::end_bytes);
        (end + self.align_bytes).next_multiple_of(self.align_bytes)
    }

    /// The same layout for disks with sectors of `sector_bytes`. A FAT32 needs so many clusters, each of a sector at least,
    /// that the EFI system partition may become larger.
    #[must_use]
    pub fn with_sectors(self, sector_bytes: u64) -> Self {
        let mut offset_bytes = self.align_bytes;
        let partitions = self.partitions.into_iter().map(|partition| {
            let least_bytes = match partition.kind {
                PartitionType::EfiSystem => EFI_SYSTEM_SECTORS_MIN * sector_bytes,
                PartitionType::Kernel | PartitionType::Root | PartitionType::LinuxData => 0,
            };
            let size_bytes =
                partition.size_bytes.max(least_bytes.next_multiple_of(self.align_bytes));
            let partition = LayoutPartition { offset_bytes, size_bytes, ..partition };
            offset_bytes = partition.end_bytes().next_multiple_of(self.align_bytes);
            partition
        });
        Self { sector_bytes, partitions: partitions.collect(), align_bytes: self.align_bytes }
    }

    /// The partition with that number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&LayoutPartition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }
}

impl LayoutPartition {
    /// First byte after it.
    #[must_use]
    pub const fn end_bytes(&self) -> u64 {
        self.offset_bytes + self.size_bytes
    }
}

impl FromStr for DiskLayout {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        document::parse::<Document>(text)?
            .resolve()
            .map_err(|(span, message)| Problem::at(text, span.start, message))
    }
}

/// The document as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sector_bytes: Spanned<u64>,
    align: Spanned<Size>,
    partition: Spanned<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: Spanned<u32>,
    label: Spanned<String>,
    #[serde(rename = "type")]
    kind: Spanned<PartitionType>,
    size: Spanned<Size>,
    #[serde(default)]
    grow: Option<Spanned<bool>>,
}

type Refused = (Range<usize>, String);

impl Document {
    fn resolve(self) -> Result<DiskLayout, Refused> {
        let sector_bytes = *self.sector_bytes.get_ref();
        if !matches!(sector_bytes, 512 | 4096) {
            let message = format!("sectors have 512 or 4096 bytes, not {sector_bytes}");
            return Err((self.sector_bytes.span(), message));
        }
        let align_bytes = self.align.get_ref().0;
        if !align_bytes.is_power_of_two() || align_bytes < ALIGN_MIN_BYTES {
            let message = format!(
                "the alignment must be a power of two of at least {}, not {}",
                Size(ALIGN_MIN_BYTES),
                self.align.get_ref()
            );
            return Err((self.align.span(), message));
        }
        let entries = self.partition.get_ref();
        check_names(entries)?;
        check_required(entries, &self.partition.span())?;
        check_growing(entries)?;
        check_twins(entries)?;
        Ok(DiskLayout { sector_bytes, align_bytes, partitions: place(entries, align_bytes)? })
    }
}

/// The smallest alignment: the primary table (up to sector 33, 4096-byte sectors count most) must fit
/// before the first partition, which starts at one alignment.
const ALIGN_MIN_BYTES: u64 = 1024 * 1024;
/// Sectors that an EFI system partition has at least: FAT32 begins at 65525 clusters, and firmware is known to refuse fewer.
const EFI_SYSTEM_SECTORS_MIN: u64 = 72_000;
/// The largest partition that a layout may ask for: keeps every sum far from overflow.
const SIZE_MAX_BYTES: u64 = 1 << 44;

fn check_names(entries: &[Entry]) -> Result<(), Refused> {
    let mut numbers = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for entry in entries {
        let number = *entry.number.get_ref();
        if !(1..=128).contains(&number) || !numbers.insert(number) {
            let message = format!("number {number} is used twice or not between 1 and 128");
            return Err((entry.number.span(), message));
        }
        let label = entry.label.get_ref();
        if label.is_empty() || label.encode_utf16().count() > 36 || !labels.insert(label) {
            let message = format!("label {label:?} is used twice, empty, or over 36 characters");
            return Err((entry.label.span(), message));
        }
    }
    Ok(())
}

fn check_required(entries: &[Entry], span: &Range<usize>) -> Result<(), Refused> {
    for (number, label, kind) in REQUIRED {
        let Some(entry) = entries.iter().find(|entry| *entry.number.get_ref() == number) else {
            return Err((span.clone(), format!("partition {number} ({label}) is missing")));
        };
        if entry.label.get_ref() != label {
            let message = format!("partition {number} must have the label {label}");
            return Err((entry.label.span(), message));
        }
        if *entry.kind.get_ref() != kind {
            return Err((entry.kind.span(), format!("{label} must have the type {kind}")));
        }
    }
    Ok(())
}

fn check_growing(entries: &[Entry]) -> Result<(), Refused> {
    let last = entries.len().saturating_sub(1);
    for (position, entry) in entries.iter().enumerate() {
        let Some(grow) = entry.grow.as_ref().filter(|grow| *grow.get_ref()) else { continue };
        if position != last {
            let message =
                format!("{} cannot grow: it is not the last partition", entry.label.get_ref());
            return Err((grow.span(), message));
        }
    }
    Ok(())
}

/// Both slots have the same room: what fits one must fit the other.
fn check_twins(entries: &[Entry]) -> Result<(), Refused> {
    let find = |number| entries.iter().find(|entry| *entry.number.get_ref() == number);
    let pairs = [Slot::kern_partition, Slot::root_partition].map(|of| (of(Slot::A), of(Slot::B)));
    for (one, other) in pairs {
        let (Some(one), Some(other)) = (find(one), find(other)) else { continue };
        if one.size.get_ref() != other.size.get_ref() {
            let (one, name) = (one.label.get_ref(), other.label.get_ref());
            return Err((other.size.span(), format!("{name} must be as large as {one}")));
        }
    }
    Ok(())
}

/// Gives each partition its place, one after the other.
fn place(entries: &[Entry], align_bytes: u64) -> Result<Vec<LayoutPartition>, Refused> {
    let mut offset_bytes = align_bytes;
    let mut partitions = Vec::new();
    for entry in entries {
        let Size(size_bytes) = *entry.size.get_ref();
        if size_bytes == 0 || size_bytes > SIZE_MAX_BYTES || !size_bytes.is_multiple_of(4096) {
            let message = format!(
                "a size must be a multiple of 4 KiB, above 0 and at most {}",
                Size(SIZE_MAX_BYTES)
            );
            return Err((entry.size.span(), message));
        }
        let partition = LayoutPartition {
            number: *entry.number.get_ref(),
            label: entry.label.get_ref().clone(),
            kind: *entry.kind.get_ref(),
            size_bytes,
            grow: entry.grow.as_ref().is_some_and(|grow| *grow.get_ref()),
            offset_bytes,
        };
        offset_bytes = partition.end_bytes().next_multiple_of(align_bytes);
        partitions.push(partition);
    }
    Ok(partitions)
}

impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Root => "root",
            Self::LinuxData => "linux-data",
            Self::EfiSystem => "efi-system",
        })
    }
}

#[cfg(test)]
mod tests;
