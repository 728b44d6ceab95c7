//! What a disk is made of.

use std::path::PathBuf;

use crate::keys::SlotKey;

/// What a disk is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Version of the OS.
    pub version: String,
    /// Variant that it was built from.
    pub variant: String,
    /// See [`ferrite_layout::slot_header::SlotDocument::boot_id`].
    pub boot_id: String,
    /// Kernel (bzImage).
    pub kernel: PathBuf,
    /// Initramfs.
    pub initramfs: PathBuf,
    /// Kernel command line.
    pub cmdline: String,
    /// Root file system (erofs, a whole number of 4096-byte blocks).
    pub root: PathBuf,
    /// What goes onto the EFI system partition.
    pub esp: Vec<EspFile>,
    /// Boot loader for BIOS machines; without it the disk boots under UEFI only.
    pub bios: Option<BiosLoader>,
    /// What goes onto the OEM partition.
    pub oem: Vec<OemFile>,
    /// Signs the slot.
    pub key: SlotKey,
}

/// A file on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EspFile {
    /// Path there, with `/` between names: `EFI/BOOT/BOOTX64.EFI`.
    pub path: String,
    /// File on this machine.
    pub source: PathBuf,
}

/// Boot loader for BIOS machines: syslinux on the EFI system partition.
#[derive(Debug, Clone)]
pub struct BiosLoader {
    /// Boot code for the MBR (`gptmbr.bin`): starts the partition that has the legacy-boot attribute.
    pub boot_code: PathBuf,
    /// Directory of the EFI system partition that gets `ldlinux.sys`: `/syslinux`.
    pub directory: String,
}

/// A file on the OEM partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OemFile {
    /// Name, without directories: `cloud-config.toml`.
    pub name: String,
    /// Content.
    pub content: Vec<u8>,
}
