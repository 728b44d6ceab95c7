//! Stage 2's storage: everything that is mounted beside the root, STATE above all.
//!
//! Only STATE must work; whatever else fails is a warning, since a node that answers can be mended.

pub mod clock;
pub mod durable;
pub mod etc;
pub mod memory;
mod oem;
pub mod superblock;
pub mod volume;

use std::ffi::CStr;
use std::path::Path;

use ferrite_schema::names;
use ferrite_schema::timeline::Phase;
use rustix::mount::{MountFlags, mount};

use crate::boot::mounts::{MountError, mount_on};
use crate::disk::{STATE_PARTITION, SystemDisk};
use crate::fatal::chain;
use crate::log;
use crate::state::clock::Clock;
use crate::state::volume::StateError;
use crate::timeline::{self, Recorder};

/// GPT number of OEM.
const OEM_PARTITION: u32 = 8;

/// What came of it.
#[derive(Debug, Default)]
pub struct Storage {
    /// STATE had to be made anew; says why.
    pub state_recreated: Option<String>,
    /// What else was wrong.
    pub warnings: Vec<String>,
}

/// Mounts everything beside the root and fills `/etc`. Call it once, before anything needs `/etc` or `/var`.
///
/// # Errors
/// STATE cannot even be made anew: the node has nowhere to write.
pub fn bring_up(
    disk: &SystemDisk,
    clock: Clock,
    recorder: &mut Recorder,
) -> Result<Storage, StateError> {
    let mut storage = Storage::default();
    let temporary = recorder.step(Phase::Init, "temporary file systems", mount_temporary);
    storage.check("mount temporary file systems", temporary);
    storage.check("fill /etc", etc::fill(Path::new("/etc")));

    let device = disk.partition_path(STATE_PARTITION);
    storage.state_recreated =
        recorder.step(Phase::Init, "mount STATE", || volume::mount_state(&device))?;
    let start = timeline::now();
    volume::grow(&device);
    recorder.end(Phase::Init, "grow STATE", start);
    match clock.settle() {
        Ok(doubt) => storage.warnings.extend(doubt),
        Err(error) => storage.warn("remember the time", &error),
    }
    match memory::ensure_machine_id() {
        Ok(true) => volume::give_own_identity(),
        Ok(false) => {}
        Err(error) => storage.warn("make the machine's ID", &error),
    }
    storage.check("write a random seed for the next boot", memory::refresh_seed());

    let oem = recorder.step(Phase::Init, "read OEM", || mount_oem(disk));
    storage.check("mount OEM", oem.as_ref().copied().map_err(|error| error));
    if oem.is_ok() {
        storage.check("read OEM", oem::take(Path::new(names::OEM_DIR)));
    }
    Ok(storage)
}

impl Storage {
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

fn mount_oem(disk: &SystemDisk) -> Result<(), MountError> {
    let device = disk.partition_path(OEM_PARTITION);
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(&device, names::OEM_DIR, "ext4", flags, c"").map_err(|source| MountError::Mount {
        kind: "ext4",
        path: names::OEM_DIR.into(),
        source,
    })
}
