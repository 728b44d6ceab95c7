//! What firmware starts a Ferrite kernel with: a UKI for UEFI, syslinux for BIOS, both on the EFI system partition.

pub mod uki;

use std::path::PathBuf;

use crate::tools::Tools;
use crate::tree::{TreeError, read};
use uki::{Section, UkiError};

/// UEFI's name for a loader that needs no boot entry.
pub const UEFI_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const SYSLINUX_MODULE: &str = "usr/lib/syslinux/modules/bios/ldlinux.c32";
const BOOT_CODE: &str = "usr/lib/syslinux/mbr/gptmbr.bin";
/// Room for boot code before the partition table of a protective MBR.
const BOOT_CODE_MAX_BYTES: usize = 440;

/// Why boot files cannot be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BootFileError {
    #[error("read boot loader")]
    Read {
        #[from]
        source: TreeError,
    },
    #[error("make the UEFI image")]
    Uki {
        #[from]
        source: UkiError,
    },
    #[error("use {path} as boot code: it has {found} bytes, {BOOT_CODE_MAX_BYTES} fit")]
    BootCode { path: PathBuf, found: usize },
}

/// A file on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspFile {
    /// Path, with `/` and without a leading one.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Everything that firmware reads. The BIOS loader itself is put onto the finished file system by the tool
/// `syslinux --install --directory syslinux`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// Files of the EFI system partition, sorted by path.
    pub esp: Vec<EspFile>,
    /// Boot code for the first bytes of the disk, before the MBR's partition table.
    pub mbr_boot_code: Vec<u8>,
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'build> {
    /// Kernel (bzImage).
    pub kernel: &'build [u8],
    /// Its release.
    pub release: &'build str,
    /// Initramfs.
    pub initramfs: &'build [u8],
    /// Command line.
    pub command_line: &'build str,
    /// `os-release(5)`.
    pub os_release: &'build str,
}

impl BootFiles {
    /// Makes the files that start `payload`.
    ///
    /// # Errors
    /// A loader cannot be read or does not have the expected form.
    pub fn make(payload: Payload<'_>, tools: &Tools) -> Result<Self, BootFileError> {
        let stub = read(&tools.file(STUB))?;
        let sections = [
            Section { name: ".osrel", content: payload.os_release.as_bytes() },
            Section { name: ".cmdline", content: payload.command_line.as_bytes() },
            Section { name: ".uname", content: payload.release.as_bytes() },
            Section { name: ".initrd", content: payload.initramfs },
            Section { name: ".linux", content: payload.kernel },
        ];
        let file = |path: &str, content: Vec<u8>| EspFile { path: path.to_owned(), content };
        let esp = vec![
            file(UEFI_LOADER, uki::append(&stub, &sections)?),
            file("syslinux/initrd", payload.initramfs.to_vec()),
            file("syslinux/ldlinux.c32", read(&tools.file(SYSLINUX_MODULE))?),
            file("syslinux/linux", payload.kernel.to_vec()),
            file("syslinux/syslinux.cfg", syslinux_configuration(payload.command_line)),
        ];
        let path = tools.file(BOOT_CODE);
        let mbr_boot_code = read(&path)?;
        if mbr_boot_code.len() > BOOT_CODE_MAX_BYTES {
            return Err(BootFileError::BootCode { path, found: mbr_boot_code.len() });
        }
        Ok(Self { esp, mbr_boot_code })
    }
}

/// Starts the one entry at once and says so on the serial console too. `SYSAPPEND` has the loader tell which file system
/// it came from (`FSUUID=`), by which PID 1 knows the disk.
fn syslinux_configuration(command_line: &str) -> Vec<u8> {
    format!(
        "SERIAL 0 115200\nDEFAULT ferrite\nPROMPT 0\nTIMEOUT 0\nLABEL ferrite\n  LINUX linux\n  INITRD initrd\n  \
         APPEND {command_line}\n  SYSAPPEND 0x40000\n"
    )
    .into_bytes()
}
