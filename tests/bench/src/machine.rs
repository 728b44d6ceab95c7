//! Machines of the benchmarks: the same board for every side.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ferrite_ctl::context::Context;
use ferrite_ctl::pki;
use ferrite_schema::names;
use ferrite_vm::console::{Console, Until};
use ferrite_vm::deadline::Deadline;
use ferrite_vm::disk::{self, Bus, Cache, Disk, Format, Plugged};
use ferrite_vm::host::Host;
use ferrite_vm::machine::{Boot, Card, Clock, FwCfg, Lifetime, Machine, Timing};

/// Longest that any boot may take here; a minute is usual for the slowest side.
pub(crate) const BOOT: Duration = Duration::from_secs(600);

/// A machine without disks in `directory`.
pub(crate) fn plain(directory: &Path, boot: Boot, timing: Timing) -> Machine {
    Machine {
        name: "bench".to_owned(),
        directory: directory.to_owned(),
        cpus: 1,
        memory_mib: 1024,
        boot,
        disks: Vec::new(),
        fw_cfg: Vec::new(),
        network: Card::User,
        forwards: Vec::new(),
        timing,
        clock: Clock::Host,
        watchdog: true,
        screen: false,
        lifetime: Lifetime::Bound,
        extra_arguments: Vec::new(),
    }
}

/// A throw-away disk over `base`.
pub(crate) fn disk_over(
    host: &Host,
    directory: &Path,
    (base, format): (&Path, Format),
    bus: Bus,
) -> Result<Disk> {
    let path = directory.join("disk.qcow2");
    disk::create_overlay(host, base, format, &path, None)?;
    Ok(Disk {
        path,
        format: Format::Qcow2,
        cache: Cache::Unsafe,
        bus,
        sector_bytes: 512,
        plugged: Plugged::AtPowerOn,
    })
}

/// A node of the image in `image`, booted directly, with an API and nothing to run.
pub(crate) fn node(host: &Host, image: &Path, directory: &Path, timing: Timing) -> Result<Machine> {
    node_with_client(host, image, directory, timing).map(|(machine, _)| machine)
}

/// The same by the kernel file of that name.
pub(crate) fn node_by(
    host: &Host,
    image: &Path,
    file: &str,
    directory: &Path,
    timing: Timing,
) -> Result<Machine> {
    let mut machine = node(host, image, directory, timing)?;
    if let Boot::Direct { kernel, .. } = &mut machine.boot {
        *kernel = absolute(&image.join(file))?;
    }
    Ok(machine)
}

/// Like [`node`], and what its client needs; the endpoint is to be filled in when the machine runs.
pub(crate) fn node_with_client(
    host: &Host,
    image: &Path,
    directory: &Path,
    timing: Timing,
) -> Result<(Machine, Context)> {
    let command_line =
        fs::read_to_string(image.join("cmdline")).context("read the command line")?;
    let boot = Boot::Direct {
        kernel: absolute(&image.join(Boot::kernel_in(image)))?,
        initramfs: Some(absolute(&image.join("initramfs"))?),
        command_line: format!("{} ferrite.disk=vda", command_line.trim()),
    };
    let mut machine = plain(directory, boot, timing);
    let base = absolute(&image.join("disk.raw"))?;
    machine.disks.push(disk_over(host, directory, (&base, Format::Raw), Bus::Virtio)?);
    let file = directory.join("cloud-config.toml");
    let (text, context) = credentials()?;
    fs::write(&file, text)?;
    machine.fw_cfg.push(FwCfg { name: names::FW_CFG_CLOUD_CONFIG_NAME.to_owned(), file });
    machine.forwards.push(names::API_PORT);
    Ok((machine, context))
}

fn credentials() -> Result<(String, Context)> {
    let authority = pki::make_authority("bench")?;
    let server = pki::make_server(&authority, "bench")?;
    let client = pki::make_client(&authority, "bench")?;
    let text = format!(
        "#cloud-config\nhostname = \"bench\"\n\n[api]\nca = '''\n{}'''\ncertificate = '''\n{}'''\nkey = '''\n{}'''\n",
        authority.identity.certificate, server.certificate, server.key
    );
    let context = Context {
        name: "bench".to_owned(),
        endpoint: String::new(),
        further: Vec::new(),
        ca: authority.identity.certificate,
        certificate: client.certificate,
        key: client.key,
        cluster: None,
    };
    Ok((text, context))
}

/// Path that QEMU finds from the machine's directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("find {}", path.display()))
}

/// Waits for the line with `event` and returns the number behind its `tsc=`.
pub(crate) fn tsc(console: &mut Console, event: &str) -> Result<f64> {
    let until = Until { deadline: Deadline::after(BOOT), machine: None, interrupt: None };
    let (_, line) =
        console.wait_for(&[event], until).with_context(|| format!("wait for {event:?}"))?;
    line.split_once("tsc=")
        .and_then(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("find the counter in {line:?}"))
}
