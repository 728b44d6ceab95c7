//! The trial that tells whether KVM runs guests here.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{PidfdFlags, pidfd_open};

use crate::deadline::{Deadline, wait_readable};

/// How long the trial guest may take. On working KVM it needs 0.3 s.
const TRIAL: Duration = Duration::from_secs(2);

/// A boot sector that counts 50 million down to 0, writes 0x10 to port 0xf4 and halts.
///
/// Nested KVMs have been seen that interpret a guest's first mode instruction by instruction, and then do not know those
/// that Linux uses. Firmware alone does not show that: it takes such a KVM 1.7 s on an idle computer. Counting
/// takes a processor 30 ms and an interpreter half a minute, however busy the computer is.
const BOOT_SECTOR: [u8; 17] = [
    0x66, 0xb9, 0x80, 0xf0, 0xfa, 0x02, // mov ecx, 50_000_000
    0x66, 0x49, 0x75, 0xfc, // again: dec ecx; jnz again
    0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // mov al, 0x10; out 0xf4, al; hlt; jmp
];
/// What `isa-debug-exit` makes of that.
const TRIAL_EXIT_STATUS: i32 = 0x10 << 1 | 1;
/// Smallest disk that SeaBIOS boots without complaint.
const DISK_BYTES: usize = 1 << 20;

/// Starts a guest as we start every other one, `-cpu host`, firmware and all, and sees whether it gets to
/// its last instruction in time.
pub(crate) fn works(qemu: &Path) -> bool {
    let accessible = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    accessible && trial(qemu).unwrap_or(false)
}

fn trial(qemu: &Path) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("trial.img");
    fs::write(&disk, boot_disk())?;
    let mut child = Command::new(qemu)
        .args(["-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "64", "-nodefaults"])
        .args([
            "-no-user-config",
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=1",
        ])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pidfd = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty())?;
    let ended = wait_readable(&[pidfd.as_fd()], Deadline::after(TRIAL))?.is_some();
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended && status.code() == Some(TRIAL_EXIT_STATUS))
}

fn boot_disk() -> Vec<u8> {
    let mut disk = BOOT_SECTOR.to_vec();
    disk.resize(510, 0);
    disk.extend_from_slice(&[0x55, 0xaa]);
    disk.resize(DISK_BYTES, 0);
    disk
}
