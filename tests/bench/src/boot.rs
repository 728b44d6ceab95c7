//! Boots in ticks: instructions that the processor carried out (`-icount shift=0`), so that the host's load does not count.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use ferrite_vm::console::Until;
use ferrite_vm::deadline::Deadline;
use ferrite_vm::disk::{Bus, Format};
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Machine, Timing};
use ferrite_vm::running::Running;

use crate::arguments::BootArguments;
use crate::baseline;
use crate::machine::{BOOT, absolute, disk_over, node_by, plain, tsc};
use crate::report::{Report, median};

const GIGA: f64 = 1e9;
/// Most Gticks of the agent's before its API listens, with a kernel of our own: half of what it was.
const AGENT_TARGET: f64 = 0.25;
/// What PID 1 says last before it starts the agent, and what the agent says when its API listens.
const AGENT: [&str; 2] = [" s to become ready", "api-listening"];
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

/// A boot of ours.
#[derive(Debug, Clone, Copy)]
struct Ours {
    ticks: Ticks,
    /// Ticks from the agent's start until its API listens.
    agent: f64,
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
            let (Ours { ticks: ours, agent }, bare) =
                image_boots(&host, arguments, (image, file), scratch.path())?;
            report.figure(&format!("{name}: reset to PID 1"), ours.pid1 / GIGA, "Gticks");
            let userspace = (ours.ready - ours.pid1) / GIGA;
            report.figure(&format!("{name}: PID 1 to ready"), userspace, "Gticks");
            let ready = format!("{name}: reset to ready");
            let before = format!("{name}: agent before its API listens");
            if own_kernel {
                report.target(&before, agent / GIGA, "Gticks", AGENT_TARGET);
                report.target(&ready, ours.ready / GIGA, "Gticks", form.target());
            } else {
                report.figure(&before, agent / GIGA, "Gticks");
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
        });
        let debian = ticks(debian?);
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
) -> Result<(Ours, Ticks)> {
    let ours = repeat(arguments.runs, scratch, |directory| {
        let machine = node_by(host, image, file, directory, Timing::Instructions)?;
        our_boot(host, &machine)
    })?;
    let [pid1, ready, agent] = ours;
    let ours = Ours { ticks: Ticks { pid1, ready }, agent };
    let bare = repeat(arguments.runs, scratch, |directory| {
        let initramfs = baseline::bare_initramfs(&arguments.probe, directory)?;
        let boot_from = kernel((image, file), Some(&initramfs), &ours_command_line(image)?)?;
        let machine = plain(directory, boot_from, Timing::Instructions);
        boot(host, &machine, ["probe: bare-init"; 2])
    })?;
    Ok((ours, ticks(bare)))
}

fn debian_boot(host: &Host, image: &Path, disk: &Path, directory: &Path) -> Result<[f64; 2]> {
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

/// Boots `machine` and reads the counter at the first and the last of `events`; two alike are one.
fn boot(host: &Host, machine: &Machine, [first, last]: [&str; 2]) -> Result<[f64; 2]> {
    let running = Running::start(machine, host)?;
    let mut console = running.console()?;
    let begin = tsc(&mut console, first)?;
    let end = if first == last { begin } else { tsc(&mut console, last)? };
    Ok([begin, end])
}

/// Boots a node: the counter at PID 1 and when it is ready, and what the agent takes before its API listens.
fn our_boot(host: &Host, machine: &Machine) -> Result<[f64; 3]> {
    let running = Running::start(machine, host)?;
    let mut console = running.console()?;
    let pid1 = tsc(&mut console, "ferrite-init: pid1")?;
    let [mut started, mut listens] = [0.0; 2];
    for (event, at) in AGENT.into_iter().zip([&mut started, &mut listens]) {
        let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
        let (_, line) =
            console.wait_for(&[event], until).with_context(|| format!("wait for {event:?}"))?;
        *at = stamp_s(&line).with_context(|| format!("find the kernel's time in {line:?}"))?;
    }
    let ready = tsc(&mut console, "ferrite-init: ready")?;
    Ok([pid1, ready, (listens - started) * GIGA])
}

/// When the kernel printed a line, in seconds: `[    1.234567] …`. It counts by the time-stamp counter, which makes a
/// thousand millions of ticks a second here.
fn stamp_s(line: &str) -> Option<f64> {
    line.trim_start().strip_prefix('[')?.split_once(']')?.0.trim().parse().ok()
}

fn ticks([pid1, ready]: [f64; 2]) -> Ticks {
    Ticks { pid1, ready }
}

/// Runs `once` in fresh directories and takes the median of each figure.
fn repeat<const N: usize>(
    runs: usize,
    scratch: &Path,
    once: impl Fn(&Path) -> Result<[f64; N]>,
) -> Result<[f64; N]> {
    let mut all = Vec::new();
    for _ in 0..runs.max(1) {
        let directory = tempfile::tempdir_in(scratch)?;
        all.push(once(directory.path())?);
    }
    let mut medians = [0.0; N];
    for (place, figure) in medians.iter_mut().enumerate() {
        *figure = median(all.iter().filter_map(|run| run.get(place).copied()).collect())?;
    }
    Ok(medians)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_time_is_read_from_its_lines() {
        let line = "[    0.812345] ferrite-init: slot A has 300 s to become ready";
        assert_eq!(stamp_s(line), Some(0.812_345));
        assert_eq!(stamp_s("[12.5] ferrite-agent: api-listening port=7443"), Some(12.5));
        assert_eq!(stamp_s("ferrite-init: ready tsc=1"), None);
        assert_eq!(stamp_s("[ OK ] Started"), None);
    }

    #[test]
    fn each_figure_has_a_median_of_its_own() {
        let runs = std::cell::Cell::new(0_u8);
        let found = repeat(3, Path::new("."), |_| {
            runs.set(runs.get() + 1);
            let run = f64::from(runs.get());
            Ok([run, 10.0 - run])
        });
        assert_eq!(found.unwrap(), [2.0, 8.0]);
    }
}
