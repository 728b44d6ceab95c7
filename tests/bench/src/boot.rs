//! Boots in ticks: instructions that the processor carried out (`-icount shift=0`), so that the host's load does not count.

use std::fs;
use std::path::Path;

use anyhow::Result;
use ferrite_vm::disk::{Bus, Format};
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Machine, Timing};
use ferrite_vm::running::Running;

use crate::arguments::BootArguments;
use crate::baseline;
use crate::machine::{absolute, disk_over, node, plain, tsc};
use crate::report::{Report, median};

const GIGA: f64 = 1e9;
/// Ours against the bare init: at most half as much again.
const BARE_TARGET: f64 = 1.5;
/// Our userspace against Debian's: a tenth.
const DEBIAN_TARGET: f64 = 0.1;

/// Ticks since reset at two moments.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    pid1: f64,
    ready: f64,
}

/// Measures all sides.
pub(crate) fn measure(arguments: &BootArguments, report: &mut Report) -> Result<()> {
    let host = Host::probe()?;
    let scratch = tempfile::tempdir()?;
    let ours = repeat(arguments.runs, scratch.path(), |directory| {
        let machine = node(&host, &arguments.image, directory, Timing::Instructions)?;
        boot(&host, &machine, ["ferrite-init: pid1", "ferrite-init: ready"])
    })?;
    let bare = repeat(arguments.runs, scratch.path(), |directory| {
        let initramfs = baseline::bare_initramfs(&arguments.probe, directory)?;
        let boot_from =
            kernel(&arguments.image, Some(&initramfs), &ours_command_line(&arguments.image)?)?;
        let machine = plain(directory, boot_from, Timing::Instructions);
        boot(&host, &machine, ["probe: bare-init"; 1])
    })?;
    report.figure("reset to PID 1", ours.pid1 / GIGA, "Gticks");
    report.figure("PID 1 to ready", (ours.ready - ours.pid1) / GIGA, "Gticks");
    let total = ("bare init", bare.pid1 / GIGA);
    report.against("reset to ready", (ours.ready / GIGA, "Gticks"), total, BARE_TARGET);
    if let Some(tar) = &arguments.debian {
        let disk = baseline::debian_disk(tar, &arguments.probe, scratch.path())?;
        let debian = repeat(arguments.runs, scratch.path(), |directory| {
            debian_boot(&host, arguments, &disk, directory)
        })?;
        let other = ("Debian, systemd, podman", (debian.ready - debian.pid1) / GIGA);
        let userspace = (ours.ready - ours.pid1) / GIGA;
        report.against("userspace to ready", (userspace, "Gticks"), other, DEBIAN_TARGET);
        report.figure("Debian: reset to multi-user", debian.ready / GIGA, "Gticks");
    }
    Ok(())
}

fn debian_boot(
    host: &Host,
    arguments: &BootArguments,
    disk: &Path,
    directory: &Path,
) -> Result<Ticks> {
    let command_line = format!(
        "{} root=/dev/nvme0n1 rw init=/usr/bin/stamp-init",
        ours_command_line(&arguments.image)?
    );
    let boot_from = kernel(&arguments.image, None, &command_line)?;
    let mut machine = plain(directory, boot_from, Timing::Instructions);
    // NVMe and ext4 are built into the kernel, so that Debian needs no initramfs: to its advantage.
    machine.disks.push(disk_over(host, directory, (&absolute(disk)?, Format::Raw), Bus::Nvme)?);
    boot(host, &machine, ["probe: debian-pid1", "probe: multi-user"])
}

fn ours_command_line(image: &Path) -> Result<String> {
    Ok(fs::read_to_string(image.join("cmdline"))?.trim().to_owned())
}

fn kernel(image: &Path, initramfs: Option<&Path>, command_line: &str) -> Result<Boot> {
    Ok(Boot::Direct {
        kernel: absolute(&image.join("kernel"))?,
        initramfs: initramfs.map(absolute).transpose()?,
        command_line: command_line.to_owned(),
    })
}

/// Boots `machine` and reads the counter at the first and the last of `events`.
fn boot<const N: usize>(host: &Host, machine: &Machine, events: [&str; N]) -> Result<Ticks> {
    let running = Running::start(machine, host)?;
    let mut console = running.console()?;
    let mut seen = Vec::new();
    for event in events {
        seen.push(tsc(&mut console, event)?);
    }
    let first = seen.first().copied().unwrap_or_default();
    Ok(Ticks { pid1: first, ready: seen.last().copied().unwrap_or_default() })
}

/// Runs `once` in fresh directories and takes the medians.
fn repeat(runs: usize, scratch: &Path, once: impl Fn(&Path) -> Result<Ticks>) -> Result<Ticks> {
    let mut all = Vec::new();
    for _ in 0..runs.max(1) {
        let directory = tempfile::tempdir_in(scratch)?;
        all.push(once(directory.path())?);
    }
    Ok(Ticks {
        pid1: median(all.iter().map(|ticks| ticks.pid1).collect())?,
        ready: median(all.iter().map(|ticks| ticks.ready).collect())?,
    })
}
