//! The platform's kernel arguments (`kernel-args` on the OEM partition): brings them into effect by jumping once more into
//! the slot's kernel, before anything is mounted for writing or started.
//!
//! Each jump is counted first ([`ferrite_layout::arguments`]), and so is forgotten only when the node became ready.

use std::fs;
use std::path::Path;

use ferrite_files::small;
use ferrite_layout::arguments::{Arguments, Step, Tried};
use ferrite_layout::boot_params;
use ferrite_layout::gpt::EditTable;
use ferrite_layout::slot::Slot;
use ferrite_layout::slot_header::SlotDocument;
use ferrite_schema::chain;
use ferrite_schema::names;

use crate::boot::kexec::{self, CommandLine, KexecError};
use crate::disk::{DiskError, OEM_PARTITION, SystemDisk};
use crate::log;
use crate::timeline;
use crate::watchdog;

/// Most that is read of the file: far more than arguments may have, so that these say how much too long they are.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// What has become of the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// There are none.
    None,
    /// The running kernel has them.
    InEffect,
    /// They are not used; says why.
    LeftOut(String),
}

/// The jump did not come about, or its count could not be changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlatformError {
    #[error("look at the OEM partition's entry")]
    Table { source: DiskError },
    #[error("count a start with these arguments")]
    Edit { source: EditTable },
    #[error("count a start with these arguments")]
    Count { source: DiskError },
    #[error(transparent)]
    Kexec(#[from] KexecError),
}

/// Reads the arguments from the mounted OEM partition and jumps where they are not in effect and are worth it. Comes back
/// where there is nothing to jump for, or it did not work.
pub fn bring_into_effect(disk: &SystemDisk, slot: Slot, document: &SlotDocument) -> Platform {
    let path = Path::new(names::OEM_KERNEL_ARGUMENTS);
    let arguments = match read(path) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return Platform::None,
        Err(problem) => {
            return Platform::LeftOut(format!("{} is not used: {problem}", path.display()));
        }
    };
    let running = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    match apply(disk, (slot, document), &arguments, &running) {
        Ok(platform) => platform,
        Err(error) => Platform::LeftOut(format!(
            "the kernel arguments in {} have no effect: {}",
            path.display(),
            chain(&error)
        )),
    }
}

/// The node became ready with the arguments: what was counted is forgotten.
///
/// # Errors
/// The disk cannot be read or written.
pub fn prove(disk: &SystemDisk) -> Result<(), PlatformError> {
    let tried = tried(disk)?;
    if tried.starts == 0 { Ok(()) } else { count(disk, Tried { starts: 0, ..tried }) }
}

/// The file's arguments; `None` where there is no file or nothing in it.
fn read(path: &Path) -> Result<Option<Arguments>, String> {
    let read = small::read_small_text(path, FILE_MAX_BYTES).map_err(|error| error.to_string())?;
    let Some(text) = read else { return Ok(None) };
    let arguments: Arguments = text
        .parse()
        .map_err(|error: ferrite_layout::arguments::ReadArguments| error.to_string())?;
    Ok((!arguments.is_empty()).then_some(arguments))
}

fn apply(
    disk: &SystemDisk,
    (slot, document): (Slot, &SlotDocument),
    arguments: &Arguments,
    running: &str,
) -> Result<Platform, PlatformError> {
    let mark = arguments.mark();
    match arguments.step(tried(disk)?, boot_params::value(running, boot_params::ARGUMENTS)) {
        Step::InEffect => Ok(Platform::InEffect),
        Step::LeaveOut => Ok(Platform::LeftOut(format!(
            "the kernel arguments in {} are left out: the node did not become ready with them; change the file to try \
             again",
            names::OEM_KERNEL_ARGUMENTS
        ))),
        Step::Jump(next) => {
            let kern = disk.partition_path(slot.kern_partition());
            // The running kernel is this slot's own, so that is what it was built with.
            let persons = boot_params::persons(running, &document.cmdline);
            let command_line = CommandLine {
                slots_own: &document.cmdline,
                persons: &persons,
                oem: Some((&arguments.words(), &mark)),
                slot,
                disk: disk
                    .read_table()
                    .map_err(|source| PlatformError::Table { source })?
                    .disk_guid(),
                tsc: timeline::now().tsc,
            };
            kexec::load(&kern, document, &command_line.build())?;
            count(disk, next)?;
            log::info(format_args!(
                "jumping into the kernel of slot {slot} with the platform's arguments: {}",
                arguments.words().join(" ")
            ));
            watchdog::prepare_jump();
            Err(kexec::jump().into())
        }
    }
}

fn tried(disk: &SystemDisk) -> Result<Tried, PlatformError> {
    let table = disk.read_table().map_err(|source| PlatformError::Table { source })?;
    let bits = table.partition(OEM_PARTITION).map_or(0, |partition| partition.attributes);
    Ok(Tried::from_bits(bits))
}

fn count(disk: &SystemDisk, tried: Tried) -> Result<(), PlatformError> {
    let mut table = disk.read_table().map_err(|source| PlatformError::Table { source })?;
    let bits = table.partition(OEM_PARTITION).map_or(0, |partition| partition.attributes);
    table
        .set_attributes(OEM_PARTITION, tried.apply_to(bits))
        .map_err(|source| PlatformError::Edit { source })?;
    disk.write_table(&table).map_err(|source| PlatformError::Count { source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_file_is_read_missing_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel-args");
        assert_eq!(read(&path), Ok(None));
        fs::write(&path, "# nothing yet\n").unwrap();
        assert_eq!(read(&path), Ok(None));
        fs::write(&path, "nomodeset\n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().words(), ["nomodeset"]);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).unwrap_err().contains("no text"));
        fs::write(&path, "ferrite.slot=B").unwrap();
        assert!(read(&path).unwrap_err().contains("ferrite.slot"));
        fs::write(&path, "x".repeat(2000)).unwrap();
        assert!(read(&path).unwrap_err().contains("2000 bytes"));
    }

    #[test]
    fn what_is_no_file_does_not_hold_up_the_boot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mkfifoat(CWD, at("FIFO"), Mode::RUSR | Mode::WUSR).unwrap();
        symlink("/dev/zero", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["FIFO", "link", "folder"] {
            let problem = read(&at(name)).unwrap_err();
            assert!(problem.contains(&format!("a {name}, no file")), "{problem}");
        }
        fs::File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&at("huge")).unwrap_err().contains("larger than"));
    }
}
