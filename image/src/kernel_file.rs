//! What a file with a Linux kernel says of itself.
//!
//! # Source
//! The kernel's `Documentation/arch/x86/boot.rst` for bzImage; `include/xen/interface/elfnote.h` for the entry that virtual
//! machine monitors use (PVH).

use std::io::{self, Read};

use object::elf::{FileHeader64, NoteType, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use serde::Serialize;

use crate::window::Window;

/// Place and value of bzImage's magic, and where it says at which place its version stands, counted from [`SETUP`].
const HEADER_MAGIC_AT: u64 = 0x202;
const HEADER_MAGIC: &[u8; 4] = b"HdrS";
const VERSION_AT: u64 = 0x20e;
const SETUP: u64 = 0x200;
/// A version is shorter.
const VERSION_MAX_BYTES: usize = 256;
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH_ENTRY: NoteType = NoteType(18);
const PVH_OWNER: &[u8] = b"Xen";
/// Begins the kernel's banner, which is in its data as it appears in the log.
const BANNER: &[u8] = b"Linux version ";

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelFile {
    /// Who can start it.
    pub form: KernelForm,
    /// Release, builder and number of the build, as the kernel says them.
    pub version: String,
}

/// Form of a kernel's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelForm {
    /// For boot loaders, firmware and kexec: it unpacks itself.
    BzImage,
    /// For virtual machine monitors that load it themselves (PVH).
    Pvh,
    /// An ELF file without an entry for them.
    Elf,
}

/// The file has the first bytes of a kernel.
pub(crate) fn looks_like_one(file: &Window<'_>) -> bool {
    file.read_array::<4>(0).is_ok_and(|start| start == elf::ELFMAG)
        || file.read_array::<4>(HEADER_MAGIC_AT).is_ok_and(|magic| magic == *HEADER_MAGIC)
}

impl KernelFile {
    /// Reads the file.
    pub(crate) fn read(file: &Window<'_>) -> io::Result<Self> {
        if file.read_array::<4>(0)? == elf::ELFMAG {
            let mut bytes = Vec::new();
            file.clone().read_to_end(&mut bytes)?;
            let form = if has_pvh_entry(&bytes).unwrap_or(false) {
                KernelForm::Pvh
            } else {
                KernelForm::Elf
            };
            return Ok(Self { form, version: banner(&bytes).unwrap_or_default() });
        }
        let at = SETUP + u64::from(u16::from_le_bytes(file.read_array(VERSION_AT)?));
        let mut bytes = Vec::new();
        let most = u64::try_from(VERSION_MAX_BYTES).unwrap_or(u64::MAX);
        file.part(at, most).read_to_end(&mut bytes)?;
        Ok(Self { form: KernelForm::BzImage, version: text(&bytes) })
    }
}

/// Up to its end: a zero, or the end of a line.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| matches!(byte, 0 | b'\n')).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// The first banner with a release in it: a format of the same beginning is in the data as well.
fn banner(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    while let Some(at) = rest.windows(BANNER.len()).position(|window| window == BANNER) {
        rest = rest.get(at + BANNER.len()..)?;
        if rest.first().is_some_and(u8::is_ascii_digit) {
            return Some(text(rest.get(..VERSION_MAX_BYTES).unwrap_or(rest)));
        }
    }
    None
}

fn has_pvh_entry(bytes: &[u8]) -> object::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Some(mut notes) = segment.notes(endian, bytes)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == PVH_OWNER && note.n_type(endian) == PVH_ENTRY {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn read(bytes: &[u8]) -> Option<KernelFile> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let window = Window::new(&file, 0, u64::try_from(bytes.len()).unwrap());
        looks_like_one(&window).then(|| KernelFile::read(&window).unwrap())
    }

    #[test]
    fn a_bzimage_says_its_version() {
        let mut bytes = vec![0; 0x1000];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x0a00_u16.to_le_bytes());
        let version = b"6.12.1-ferrite (ferrite@ferrite) #1\0rest";
        bytes[0xc00..0xc00 + version.len()].copy_from_slice(version);
        let found = read(&bytes).unwrap();
        assert_eq!(found.form, KernelForm::BzImage);
        assert_eq!(found.version, "6.12.1-ferrite (ferrite@ferrite) #1");
        bytes[0x202] = b'h';
        assert_eq!(read(&bytes), None);
    }

    #[test]
    fn a_program_is_no_kernel_for_a_virtual_machine() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(read(&program).unwrap().form, KernelForm::Elf);
    }

    #[test]
    fn the_banner_is_not_its_format() {
        assert_eq!(
            banner(b"..Linux version %s (..Linux version 6.12.1 (a@b) #1\n..").unwrap(),
            "6.12.1 (a@b) #1"
        );
        assert_eq!(banner(b"Linux version "), None);
    }
}
