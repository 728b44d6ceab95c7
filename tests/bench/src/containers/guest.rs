//! Guests that containers are started in: a node, and a Debian with podman, on the same board.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ferrite_ctl::context::{Context as ApiContext, Store};
use ferrite_schema::names;
use ferrite_vm::console::Until;
use ferrite_vm::deadline::Deadline;
use ferrite_vm::disk::{Bus, Format};
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Timing};
use ferrite_vm::running::Running;
use serde_json::Value;

use super::setting::Setting;
use crate::machine::{BOOT, absolute, disk_over, node_with_client, plain, tsc};
use crate::memory::{PROBE_PORT, Processes, ask};
use ferrite_tests::programs::succeed;

/// Memory of each guest.
const MEMORY_MIB: u32 = 2048;
/// Room for Debian's tree, and for images twice.
const DEBIAN_DISK: &str = "6G";
/// What Debian's script does before and after what is measured: it is the first program.
const PREPARE: &str = r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run; mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
modprobe virtio_net; ip link set lo up
nic=$(ls /sys/class/net | grep -v lo | head -n 1)
ip link set "$nic" up; ip address add 10.0.2.15/24 dev "$nic"; ip route add default via 10.0.2.2
podman() { command podman --cgroup-manager cgroupfs --events-backend none --runtime crun "$@"; }
timed() {
    local name=$1 before=${EPOCHREALTIME/./}
    shift
    "$@" >/dev/null || echo "bench: $name failed"
    echo "bench: $name us=$((${EPOCHREALTIME/./} - before))"
}
"#;
const END: &str = "\necho 'bench: end'\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n";

/// A node that runs, and what its operator has.
pub(crate) struct Node {
    ferrite: PathBuf,
    directory: PathBuf,
    running: Running,
}

/// What a node of the benchmarks is made from.
pub(crate) struct Guest<'a> {
    pub(crate) ferrite: &'a Path,
    pub(crate) image: &'a Path,
    pub(crate) directory: &'a Path,
    /// Added to its configuration.
    pub(crate) settings: &'a str,
    /// How its time passes.
    pub(crate) timing: Timing,
    /// Of QEMU.
    pub(crate) extra_arguments: &'a [String],
}

impl Node {
    /// Boots a node below `directory`; `settings` are added to its configuration.
    pub(crate) fn boot(setting: &Setting, directory: &Path, settings: &str) -> Result<Self> {
        let (ferrite, image) = (&setting.ours("ferrite"), &setting.probed_image);
        let (timing, extra_arguments) = (setting.timing, &[][..]);
        Self::boot_as(&Guest { ferrite, image, directory, settings, timing, extra_arguments })
    }

    /// Boots a node.
    pub(crate) fn boot_as(guest: &Guest<'_>) -> Result<Self> {
        let (host, directory) = (Host::probe()?, guest.directory);
        fs::create_dir_all(directory)?;
        let (mut machine, client) = node_with_client(&host, guest.image, directory, guest.timing)?;
        machine.memory_mib = MEMORY_MIB;
        machine.forwards.push(PROBE_PORT);
        machine.extra_arguments.extend_from_slice(guest.extra_arguments);
        for file in &machine.fw_cfg {
            let text = fs::read_to_string(&file.file)?;
            fs::write(&file.file, text + guest.settings)?;
        }
        let mut running = Running::start(&machine, &host)?;
        tsc(&mut running.console()?, "ferrite-init: ready")?;
        let port = running.forwarded_port(names::API_PORT)?;
        Store::at(directory.join("ferrite"))
            .save(&ApiContext { endpoint: format!("https://127.0.0.1:{port}"), ..client })?;
        let ferrite = fs::canonicalize(guest.ferrite)?;
        Ok(Self { ferrite, directory: directory.to_owned(), running })
    }

    /// What its operator's command says.
    pub(crate) fn ferrite(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.ferrite);
        command.env("XDG_CONFIG_HOME", &self.directory).env("FERRITE_CONTEXT", "bench");
        succeed(command.args(words).current_dir(&self.directory))
    }

    /// What runs on it.
    pub(crate) fn processes(&mut self) -> Result<Processes> {
        Processes::ask(self.running.forwarded_port(PROBE_PORT)?)
    }

    /// A file of it.
    pub(crate) fn read(&mut self, path: &str) -> Result<String> {
        let answer = ask(self.running.forwarded_port(PROBE_PORT)?, &["read", path])?;
        let text = answer.get("text").and_then(Value::as_str);
        text.map(str::to_owned).with_context(|| format!("read {path}: {answer}"))
    }

    /// Where its operator works.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Seconds of each `timed NAME COMMAND...` of a script in Debian; `files` are in its root folder.
pub(crate) fn in_debian(
    debian: &Path,
    directory: &Path,
    files: &[&Path],
    script: &str,
) -> Result<HashMap<String, Vec<f64>>> {
    let host = Host::probe()?;
    fs::create_dir_all(directory)?;
    let root = directory.join("debian");
    fs::create_dir(&root)?;
    succeed(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(debian))?;
    for file in files {
        fs::copy(file, root.join(file.file_name().context("name a file for Debian")?))?;
    }
    fs::write(root.join("bench"), format!("{PREPARE}{script}{END}"))?;
    succeed(Command::new("chmod").arg("755").arg(root.join("bench")))?;
    let (kernel, initramfs) = (directory.join("kernel"), directory.join("initramfs"));
    fs::copy(found(&root.join("boot"), "vmlinuz-")?, &kernel)?;
    fs::copy(found(&root.join("boot"), "initrd.img-")?, &initramfs)?;
    let disk = directory.join("debian.raw");
    succeed(Command::new("truncate").args(["-s", DEBIAN_DISK]).arg(&disk))?;
    succeed(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk))?;
    #[expect(clippy::disallowed_methods, reason = "the benchmark's own folder on the host")]
    fs::remove_dir_all(&root)?;
    let command_line = "console=ttyS0 quiet panic=-1 root=/dev/vda rw init=/bench".to_owned();
    let boot = Boot::Direct {
        kernel: absolute(&kernel)?,
        initramfs: Some(absolute(&initramfs)?),
        command_line,
    };
    let mut machine = plain(directory, boot, Timing::Real);
    machine.memory_mib = MEMORY_MIB;
    let base = (absolute(&disk)?, Format::Raw);
    machine.disks.push(disk_over(&host, directory, (&base.0, base.1), Bus::Virtio)?);
    times(&Running::start(&machine, &host)?)
}

fn found(folder: &Path, start: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(start) {
            return Ok(path);
        }
    }
    bail!("find {start}* in {}: the Debian has no kernel", folder.display())
}

fn times(running: &Running) -> Result<HashMap<String, Vec<f64>>> {
    let mut console = running.console()?;
    let mut times: HashMap<String, Vec<f64>> = HashMap::new();
    loop {
        let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
        let (_, line) = console
            .wait_for(&["bench: "], until)
            .with_context(|| format!("hear Debian; it said last: {:?}", console.tail(20)))?;
        let said = line.split_once("bench: ").map_or("", |(_, said)| said.trim());
        if said == "end" {
            return Ok(times);
        }
        let Some((name, us)) = said.split_once(" us=") else {
            bail!("in Debian: {said}: {}", console.tail(20)?)
        };
        times.entry(name.to_owned()).or_default().push(us.trim().parse::<f64>()? / 1e6);
    }
}
