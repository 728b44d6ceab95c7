//! Disks of machines: overlays over an image that is itself never written.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::Host;

/// Format of a disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes, sparse.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl Format {
    /// QEMU's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What happens to a write until the guest flushes.
///
/// Killing QEMU is our power cut, and the host's page cache survives it: a write to clusters that a file
/// already has is never lost, whatever the guest flushed. A fresh overlay is a better model of a disk with
/// a volatile cache, since QEMU keeps its maps of new clusters in memory until the guest flushes: writes
/// without a flush do get lost. Hence power-cut tests use overlays and [`Cache::Writeback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// The guest's flush reaches the host's disk. For everything that must survive the host.
    Writeback,
    /// Every write goes to the host's disk at once: nothing is ever lost, and it is slow.
    Directsync,
    /// Flushes are ignored. For throw-away machines; QEMU's maps are still written when it exits by itself.
    Unsafe,
}

impl Cache {
    /// QEMU's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::Directsync => "directsync",
            Self::Unsafe => "unsafe",
        }
    }
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda`.
    Virtio,
    /// `/dev/nvme0n1`.
    Nvme,
    /// `/dev/sda`, on the board's AHCI controller.
    Sata,
    /// `/dev/sda`, on virtio-scsi.
    VirtioScsi,
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file; relative to the machine's directory or absolute.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// When writes are kept.
    pub cache: Cache,
    /// How it is attached.
    pub bus: Bus,
    /// Logical and physical block size: 512 or 4096. SATA knows 512 alone.
    pub sector_bytes: u16,
    /// Since when it is there.
    pub plugged: Plugged,
}

/// Since when a machine has a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugged {
    /// Since power on.
    AtPowerOn,
    /// Since [`crate::running::Running::plug`]; firmware never sees it. Not on SATA, where QEMU knows no
    /// plugging.
    Later,
}

/// An overlay that could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CreateDisk {
    #[error("run {}", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("create disk {}: qemu-img says: {message}", path.display())]
    Refused { path: PathBuf, message: String },
}

/// Makes `path` a qcow2 file that starts with the content of `base` and keeps what is written from then on.
/// `size_bytes` makes it larger than its base. `base` must stay where it is and unchanged.
///
/// # Errors
/// `qemu-img` cannot be run or refuses; nothing is left at `path` that was not there before.
pub fn create_overlay(
    host: &Host,
    base: &Path,
    base_format: Format,
    path: &Path,
    size_bytes: Option<u64>,
) -> Result<(), CreateDisk> {
    let mut arguments: Vec<OsString> =
        ["create", "-q", "-f", "qcow2", "-F", base_format.name()].map(OsString::from).to_vec();
    arguments.extend(["-b".into(), base.into(), path.into()]);
    arguments.extend(size_bytes.map(|size| size.to_string().into()));
    run_qemu_img(host, &arguments, path)
}

/// Makes `path` an empty disk.
///
/// # Errors
/// `qemu-img` cannot be run or refuses.
pub fn create_empty(
    host: &Host,
    path: &Path,
    format: Format,
    size_bytes: u64,
) -> Result<(), CreateDisk> {
    let arguments: [OsString; 6] = [
        "create".into(),
        "-q".into(),
        "-f".into(),
        format.name().into(),
        path.into(),
        size_bytes.to_string().into(),
    ];
    run_qemu_img(host, &arguments, path)
}

fn run_qemu_img(host: &Host, arguments: &[OsString], path: &Path) -> Result<(), CreateDisk> {
    let output = Command::new(&host.qemu_img)
        .args(arguments)
        .output()
        .map_err(|source| CreateDisk::Run { program: host.qemu_img.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CreateDisk::Refused { path: path.to_owned(), message })
}
