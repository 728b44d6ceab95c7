//! What is known about the disk that the running kernel came from.

use std::fs;
use std::path::Path;

use ferrite_layout::boot_params;
use ferrite_schema::chain;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use uuid::Uuid;

use crate::irreversible::disk::{Origin, named};
use crate::log;
use crate::modules::Loader;

/// Only there where the kernel was started by UEFI.
const EFI_DIR: &str = "/sys/firmware/efi";
const EFI_VARIABLES_DIR: &str = "/sys/firmware/efi/efivars";
const EFI_VARIABLES_MODULE: &str = "efivarfs";
/// The partition that the UEFI loader came from.
///
/// # Source
/// systemd, "The Boot Loader Interface"; the stub in our UEFI image sets it.
const LOADER_PARTITION: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// A variable's file starts with its attributes.
const ATTRIBUTES_BYTES: usize = 4;

/// Looks at everything that may tell. A person's word, or that of the kernel before this one, comes first.
pub fn find(command_line: &str, loader: &mut Loader) -> Origin {
    if let Some(value) = boot_params::value(command_line, boot_params::DISK) {
        return named(value);
    }
    if let Some(partition) = loader_partition(loader) {
        return Origin::Partition(partition);
    }
    boot_params::value(command_line, boot_params::FAT_SERIAL)
        .and_then(parse_serial)
        .map_or(Origin::Unknown, Origin::Fat)
}

fn loader_partition(loader: &mut Loader) -> Option<Uuid> {
    if !Path::new(EFI_DIR).exists() {
        return None;
    }
    if let Err(error) = loader.load(EFI_VARIABLES_MODULE) {
        log::warn(format_args!("{}", chain(&error)));
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if let Err(error) = mount("efivarfs", EFI_VARIABLES_DIR, "efivarfs", flags, c"") {
        log::warn(format_args!("cannot ask the firmware where this kernel came from: {error}"));
        return None;
    }
    let variable = fs::read(Path::new(EFI_VARIABLES_DIR).join(LOADER_PARTITION));
    unmount(EFI_VARIABLES_DIR, UnmountFlags::DETACH).ok();
    variable.ok().as_deref().and_then(parse_variable)
}

/// A GUID in UTF-16 with a zero behind it.
fn parse_variable(bytes: &[u8]) -> Option<Uuid> {
    let units = bytes.get(ATTRIBUTES_BYTES..)?.as_chunks::<2>().0;
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    text.parse().ok()
}

/// `12AB-34CD`.
fn parse_serial(text: &str) -> Option<u32> {
    let (high, low) = text.split_once('-')?;
    let is_half = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let half = |text| u32::from_str_radix(text, 16).ok();
    (is_half(high) && is_half(low)).then_some(())?;
    Some(half(high)? << 16 | half(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stubs_variable_is_a_guid() {
        let text = "0FC63DAF-8483-4772-8E79-3D69D8477DE4\0";
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(parse_variable(&bytes), text.trim_end_matches('\0').parse().ok());
        assert_eq!(parse_variable(&bytes[..20]), None);
        assert_eq!(parse_variable(&[]), None);
    }

    #[test]
    fn syslinux_says_a_serial_number() {
        assert_eq!(parse_serial("12AB-34cd"), Some(0x12ab_34cd));
        for text in
            ["12AB34CD", "12AB-34C", "+2AB-34CD", "", "0fc63daf-8483-4772-8e79-3d69d8477de4"]
        {
            assert_eq!(parse_serial(text), None, "{text}");
        }
    }
}
