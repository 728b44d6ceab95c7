//! Builds a disk image from its parts.
//!
//! Unprivileged and deterministic: no loop devices, no mounts, no clock, no random numbers; equal parts give
//! equal bytes. The image is sparse, and appears under its name only when it is complete.
//!
//! | file | what it is | made by |
//! |---|---|---|
//! | `slot.kern` | header, kernel, initramfs | [`slot`] |
//! | `slot.root` | erofs and its verity tree | [`slot`] |
//! | `disk.raw` | the disk, slot A filled | [`assemble`] |

mod assemble;
mod esp;
mod ext4;
mod extents;
mod identity;
mod slot;
mod toolbox;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ferrite_layout::disk_layout::{DiskLayout, LayoutPartition};
use ferrite_layout::gpt::{EditTable, EncodeTable, ReadTable};
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::{SlotDocument, WriteHeader};
use ferrite_layout::sparse::EncodeSparse;
use ferrite_layout::verity::BuildTree;

use crate::keys::SlotKey;
use crate::progress::Progress;

pub use ext4::state_template;
pub use toolbox::Toolbox;

/// What a disk is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Version of the OS.
    pub version: String,
    /// Variant that it was built from.
    pub variant: String,
    /// See [`SlotDocument::boot_id`].
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

/// A disk that was built.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The raw, sparse disk image.
    pub raw: PathBuf,
    /// Content of the KERN partition.
    pub slot_kern: PathBuf,
    /// Content of the ROOT partition.
    pub slot_root: PathBuf,
    /// What the slot header says.
    pub document: SlotDocument,
}

/// Why a disk was not built. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BuildDisk {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("fit {part} into {partition}: it has {}, the partition {}", exact(*.found), exact(*.room))]
    TooLarge { part: String, partition: String, found: u64, room: u64 },
    #[error("use {path} as root file system: {found} bytes are not whole blocks of 4096, or none")]
    RootSize { path: PathBuf, found: u64 },
    #[error("use {path} as boot code: it has {found} bytes, 440 fit into the MBR")]
    BootCode { path: PathBuf, found: usize },
    #[error(
        "put {name:?} onto {partition}: the name is empty, or has parts that are not plain names"
    )]
    FileName { partition: &'static str, name: String },
    #[error("lay out the disk: the layout has no partition {number}")]
    NoPartition { number: u32 },
    #[error("build the verity tree of {path}")]
    Verity { path: PathBuf, source: BuildTree },
    #[error("make the slot header")]
    Header { source: WriteHeader },
    #[error("lay out the partition table")]
    NewTable { source: ReadTable },
    #[error("lay out the partition table")]
    Table { source: EditTable },
    #[error("encode the partition table")]
    EncodeTable { source: EncodeTable },
    #[error("encode the STATE template")]
    Template { source: EncodeSparse },
    #[error("write {name} onto OEM: debugfs says {message:?}")]
    WriteOemFile { name: String, message: String },
    #[error("run {tool}")]
    StartTool { tool: &'static str, source: io::Error },
    #[error("run {tool}: {status}: {message}")]
    Tool { tool: &'static str, status: std::process::ExitStatus, message: String },
}

/// Builds the disk and the slot's two payloads in the folder `out`, which must exist.
///
/// # Errors
/// A part is missing, too large or not what it should be; a tool fails; there is no space left.
pub fn build(
    parts: &Parts,
    layout: &DiskLayout,
    tools: &dyn Toolbox,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Disk, BuildDisk> {
    let scratch = tempfile::Builder::new()
        .prefix(".ferrite-disk-")
        .tempdir_in(out)
        .map_err(|source| BuildDisk::Write { path: out.to_owned(), source })?;
    let making = |name: &str| scratch.path().join(name);

    progress.begin("build and sign slot A");
    let (slot_kern, slot_root) = (making("slot.kern"), making("slot.root"));
    let root = slot::write_root(parts, layout, &slot_root)?;
    let document = slot::write_kern(parts, layout, root, &slot_kern)?;
    progress.end(&format!("version {}, key {}", document.version, document.key));

    progress.begin("make file systems");
    let (esp, oem, state) = (making("esp"), making("oem"), making("state"));
    esp::make(parts, layout, tools, &esp)?;
    ext4::make_oem(parts, layout, tools, &oem)?;
    ext4::make_state(layout, tools, &state)?;
    progress.end("EFI-SYSTEM, OEM, STATE");

    progress.begin("assemble disk");
    let raw = making("disk.raw");
    let contents = [
        assemble::Content { partition: number::EFI_SYSTEM, path: esp },
        assemble::Content { partition: number::OEM, path: oem },
        assemble::Content { partition: Slot::A.kern_partition(), path: slot_kern.clone() },
        assemble::Content { partition: Slot::A.root_partition(), path: slot_root.clone() },
        assemble::Content { partition: number::STATE, path: state },
    ];
    assemble::write_disk(parts, layout, &document, &contents, &raw)?;
    progress.end(&exact(layout.disk_bytes()));

    // The disk comes last: who finds it finds the rest as well.
    let publish = |made: &Path| {
        let path = made.file_name().map_or_else(|| out.to_owned(), |name| out.join(name));
        fs::rename(made, &path)
            .map(|()| path.clone())
            .map_err(|source| BuildDisk::Write { path, source })
    };
    Ok(Disk {
        slot_kern: publish(&slot_kern)?,
        slot_root: publish(&slot_root)?,
        raw: publish(&raw)?,
        document,
    })
}

/// Numbers of the partitions that are not a slot's.
pub(crate) mod number {
    pub(crate) const STATE: u32 = 1;
    pub(crate) const OEM: u32 = 8;
    pub(crate) const EFI_SYSTEM: u32 = 12;
}

/// The partition of the layout with that number.
fn partition(layout: &DiskLayout, number: u32) -> Result<&LayoutPartition, BuildDisk> {
    layout.partition(number).ok_or(BuildDisk::NoPartition { number })
}

/// Refuses a part that is larger than the partition it goes into.
fn check_fits(part: &str, found: u64, partition: &LayoutPartition) -> Result<(), BuildDisk> {
    let room = partition.size_bytes;
    if found <= room {
        return Ok(());
    }
    let (part, partition) = (part.to_owned(), partition.label.clone());
    Err(BuildDisk::TooLarge { part, partition, found, room })
}

fn open(path: &Path) -> Result<File, BuildDisk> {
    File::open(path).map_err(|source| BuildDisk::Read { path: path.to_owned(), source })
}

fn create(path: &Path) -> Result<File, BuildDisk> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| BuildDisk::Write { path: path.to_owned(), source })
}

/// A new, empty, sparse file of that size.
fn create_sized(path: &Path, size_bytes: u64) -> Result<File, BuildDisk> {
    let file = create(path)?;
    file.set_len(size_bytes)
        .map_err(|source| BuildDisk::Write { path: path.to_owned(), source })?;
    Ok(file)
}

/// A size for a person who has to compare it with another one.
fn exact(bytes: u64) -> String {
    format!("{bytes} bytes ({} MiB)", bytes.div_ceil(1024 * 1024))
}
