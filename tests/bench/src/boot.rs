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
use crate::machine::{absolute, disk_over, node_by, plain, tsc};
use crate::report::{Report, median};

const GIGA: f64 = 1e9;
/// Ours against the bare init: at most half as much again.
const BARE_TARGET: f64 = 1.5;
/// Our userspace against Debian's: a tenth.
const DEBIAN_TARGET: f64 = 0.1;
/// Forms of a kernel, and how each is started. Only an image whose kernel is Ferrite's own has the second.
const FORMS: [(&str, &str, Form); 2] =
    [("kernel", "bzImage", Form::Packed), ("vmlinux", "PVH", Form::Elf)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Packed,
    Elf,
}

impl Form {
    /// Most Gticks from reset to ready with a kernel of our own.
    const fn target(self) -> f64 {
        match self {
            Self::Packed => 1.9,
            Self::Elf => 1.5,
        }
    }
}

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
    let mut userspaces = Vec::new();
    for image in &arguments.images {
        let own_kernel = image.join("vmlinux").is_file();
        for (file, way, form) in FORMS {
            if !image.join(file).is_file() {
                continue;
            }
            let name = format!("{}, {way}", name_of(image));
            let (ours, bare) = image_boots(&host, arguments, (image, file), scratch.path())?;
            report.figure(&format!("{name}: reset to PID 1"), ours.pid1 / GIGA, "Gticks");
            let userspace = (ours.ready - ours.pid1) / GIGA;
            report.figure(&format!("{name}: PID 1 to ready"), userspace, "Gticks");
            let ready = format!("{name}: reset to ready");
            if own_kernel {
                report.target(&ready, ours.ready / GIGA, "Gticks", form.target());
            }
            let total = ("bare init", bare.pid1 / GIGA);
            report.against(&ready, (ours.ready / GIGA, "Gticks"), total, BARE_TARGET);
            userspaces.push((name, userspace));
        }
    }
    if let (Some(tar), Some(image)) = (&arguments.debian, arguments.images.first()) {
        let disk = baseline::debian_disk(tar, &arguments.probe, scratch.path())?;
        let debian = repeat(arguments.runs, scratch.path(), |directory| {
            debian_boot(&host, image, &disk, directory)
        })?;
        for (name, userspace) in userspaces {
            let other = ("Debian, systemd, podman", (debian.ready - debian.pid1) / GIGA);
            let name = format!("{name}: userspace to ready");
            report.against(&name, (userspace, "Gticks"), other, DEBIAN_TARGET);
        }
        report.figure("Debian: reset to multi-user", debian.ready / GIGA, "Gticks");
    }
    Ok(())
}

/// What people call an image: its folder's name.
pub(crate) fn name_of(image: &Path) -> String {
    image.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Ours, and a bare init on the same kernel.
fn image_boots(
    host: &Host,
    arguments: &BootArguments,
    (image, file): (&Path, &str),
    scratch: &Path,
) -> Result<(Ticks, Ticks)> {
    let ours = repeat(arguments.runs, scratch, |directory| {
        let machine = node_by(host, image, file, directory, Timing::Instructions)?;
        boot(host, &machine, ["ferrite-init: pid1", "ferrite-init: ready"])
    })?;
    let bare = repeat(arguments.runs, scratch, |directory| {
        let initramfs = baseline::bare_initramfs(&arguments.probe, directory)?;
        let boot_from = kernel((image, file), Some(&initramfs), &ours_command_line(image)?)?;
        let machine = plain(directory, boot_from, Timing::Instructions);
        boot(host, &machine, ["probe: bare-init"; 1])
    })?;
    Ok((ours, bare))
}

fn debian_boot(host: &Host, image: &Path, disk: &Path, directory: &Path) -> Result<Ticks> {
    let command_line =
        format!("{} root=/dev/nvme0n1 rw init=/usr/bin/stamp-init", ours_command_line(image)?);
    let boot_from = kernel((image, "kernel"), None, &command_line)?;
    let mut machine = plain(directory, boot_from, Timing::Instructions);
    // NVMe and ext4 are built into the kernel, so that Debian needs no initramfs: to its advantage.
    machine.disks.push(disk_over(host, directory, (&absolute(disk)?, Format::Raw), Bus::Nvme)?);
    boot(host, &machine, ["probe: debian-pid1", "probe: multi-user"])
}

fn ours_command_line(image: &Path) -> Result<String> {
    Ok(fs::read_to_string(image.join("cmdline"))?.trim().to_owned())
}

fn kernel(
    (image, file): (&Path, &str),
    initramfs: Option<&Path>,
    command_line: &str,
) -> Result<Boot> {
    Ok(Boot::Direct {
        kernel: absolute(&image.join(file))?,
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
