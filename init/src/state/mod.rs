//! Stage 2's storage: everything that is mounted beside the root, STATE above all.
//!
//! Nothing here ends a boot but a kernel that cannot even mount a tmpfs: a node that answers can be mended. Without STATE it
//! comes up in its *rescue state*, with `/var` in memory, where the agent serves its API and runs nothing.

pub mod check;
pub mod clock;
pub mod errors;
pub mod etc;
pub mod foreign;
pub mod grow;
pub mod ledger;
pub mod look;
pub mod memory;
mod oem;
mod partition;
pub mod patience;
pub mod superblock;
pub mod template;
pub mod volume;
mod zeros;

use std::ffi::CStr;
use std::path::Path;

use ferrite_schema::chain;
use ferrite_schema::names;
use ferrite_schema::timeline::Phase;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::boot::mounts::{MountError, mount_on};
use crate::disk::{OEM_PARTITION, SystemDisk};
use crate::log;
use crate::state::clock::Clock;
use crate::state::errors::ErrorCount;
use crate::state::memory::Memory;
use crate::state::volume::Volume;
use crate::timeline::Recorder;

/// What came of it.
#[derive(Debug, Default)]
pub struct Storage {
    /// STATE was made anew; says why.
    pub state_recreated: Option<String>,
    /// STATE could not be used: why, and what to do. `/var` is in memory.
    pub rescue: Option<String>,
    /// STATE was checked lately, and should be watched until that is long ago.
    pub checked_lately: bool,
    /// The kernel's count of errors in STATE and what it was before anything was written; absent where the kernel has none.
    pub errors: Option<(ErrorCount, u64)>,
    /// What else was wrong.
    pub warnings: Vec<String>,
}

/// Mounts everything beside the root and fills `/etc`. Call it once, before anything needs `/etc` or `/var`. `feed` is
/// called at least every few seconds, however long it takes.
///
/// # Errors
/// STATE cannot be used, and not even a file system in memory can be mounted in its place.
pub fn bring_up(
    disk: &SystemDisk,
    clock: Clock,
    command_line: &str,
    (recorder, feed): (&mut Recorder, fn()),
) -> Result<Storage, MountError> {
    let mut storage = Storage::default();
    let temporary = recorder.step(Phase::Init, "temporary file systems", mount_temporary);
    storage.check("mount temporary file systems", temporary);
    storage.check("fill /etc", etc::fill(Path::new("/etc")));

    let order = volume::order_on(command_line).unwrap_or_else(|problem| {
        log::warn(format_args!("{problem}"));
        storage.warnings.push(problem);
        None
    });
    let start = crate::timeline::now();
    let state = volume::bring_up(disk, order, feed);
    recorder.end(Phase::Init, "mount STATE", start);
    storage.take(state)?;
    let mut memory = Memory::on_state();
    match clock.settle(&mut memory) {
        Ok(doubt) => storage.warnings.extend(doubt),
        Err(error) => storage.warn("remember the time", &error),
    }
    match memory.ensure_machine_id() {
        Ok(true) if storage.rescue.is_none() => volume::give_own_identity(),
        Ok(_) => {}
        Err(error) => storage.warn("make the machine's ID", &error),
    }
    storage.check("write a random seed for the next boot", memory.refresh_seed());
    storage.warnings.extend(memory.said());

    let oem = recorder.step(Phase::Init, "read OEM", || mount_oem(disk));
    storage.check("mount OEM", oem.as_ref().copied());
    if oem.is_ok() {
        storage.check("read OEM", oem::take(Path::new(names::OEM_DIR)));
    }
    Ok(storage)
}

impl Storage {
    /// Notes what became of STATE; where it cannot be used, a file system in memory takes its place.
    fn take(&mut self, state: Volume) -> Result<(), MountError> {
        self.state_recreated = state.recreated.map(|cause| cause.to_string());
        self.warnings.extend(state.repaired);
        self.checked_lately = state.marks.checks > 0;
        let Some(problem) = state.problem else {
            self.errors = state.errors;
            return Ok(());
        };
        let sentence = format!("STATE could not be used: {problem}");
        log::error(format_args!("{sentence}"));
        log::error(format_args!(
            "this node is in its rescue state: it runs no units, and nothing that is written now is kept"
        ));
        self.rescue = Some(sentence);
        mount_rescue()
    }

    fn check<E: std::error::Error>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            self.warn(what, &error);
        }
    }

    fn warn(&mut self, what: &str, error: &dyn std::error::Error) {
        let sentence = format!("{what}: {}", chain(error));
        log::warn(format_args!("{sentence}"));
        self.warnings.push(sentence);
    }
}

fn mount_temporary() -> Result<(), MountError> {
    let private = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mounts: [(&'static str, &str, MountFlags, &CStr); 6] = [
        ("tmpfs", "/etc", private, c"mode=0755,size=4m"),
        ("tmpfs", "/tmp", private, c"mode=1777,size=10%"),
        ("devpts", "/dev/pts", terminals, c"mode=0620,ptmxmode=0666"),
        ("tmpfs", "/dev/shm", private, c"mode=1777,size=10%"),
        ("mqueue", "/dev/mqueue", private, c""),
        ("securityfs", "/sys/kernel/security", private, c""),
    ];
    let mut result = Ok(());
    for (kind, path, flags, options) in mounts {
        // One that fails does not keep the others from being tried.
        result = result.and(mount_on(kind, path, flags, options));
    }
    result
}

fn mount_rescue() -> Result<(), MountError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_on("tmpfs", names::STATE_DIR, flags, c"mode=0755,size=10%,nr_inodes=16k")
}

/// Mounts OEM, read-only. Already being mounted counts as done.
///
/// # Errors
/// It holds no file system that the kernel can mount.
pub fn mount_oem(disk: &SystemDisk) -> Result<(), MountError> {
    let device = disk.partition_path(OEM_PARTITION);
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount(&device, names::OEM_DIR, "ext4", flags, c"") {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(source) => Err(MountError::Mount { kind: "ext4", path: names::OEM_DIR.into(), source }),
    }
}
