//! What an entry of the table says, in bytes.

use uuid::Uuid;

/// UTF-16 units in a label.
pub(super) const LABEL_UNITS: usize = 36;

/// Partition type GUIDs of a Ferrite disk.
///
/// # Source
/// Chromium OS disk format; UEFI specification for the EFI system partition.
pub mod types {
    use uuid::{Uuid, uuid};

    /// Slot header, kernel and initramfs.
    pub const KERNEL: Uuid = uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309");
    /// Read-only root with its verity tree.
    pub const ROOT: Uuid = uuid!("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec");
    /// Linux file system.
    pub const LINUX_DATA: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
    /// EFI system partition.
    pub const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
}

/// Attribute bit that tells a BIOS loader which partition to boot from.
///
/// # Source
/// UEFI specification, "legacy BIOS bootable"; syslinux's `gptmbr.bin` looks for it.
pub const LEGACY_BOOT: u64 = 1 << 2;

/// A partition, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number of its entry; counts from 1.
    pub number: u32,
    /// Label.
    pub label: String,
    /// What it holds, see [`types`].
    pub type_guid: Uuid,
    /// Its own identity.
    pub guid: Uuid,
    /// From the start of the disk.
    pub offset_bytes: u64,
    /// Size.
    pub size_bytes: u64,
    /// Attribute bits, slot state among them.
    pub attributes: u64,
}

impl Partition {
    /// First byte after the partition.
    #[must_use]
    pub const fn end_bytes(&self) -> u64 {
        self.offset_bytes.saturating_add(self.size_bytes)
    }
}
