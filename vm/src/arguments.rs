//! QEMU's command line for a machine.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::disk::{Bus, Disk, Plugged};
use crate::host::{Acceleration, Host, HostError};
use crate::machine::{Boot, Card, Clock, Machine, Timing};

/// Socket to which QEMU connects once it is set up; see [`crate::running`].
pub(crate) const STARTER_SOCKET: &str = "starter.sock";
/// QMP for whoever connects.
pub(crate) const QMP_SOCKET: &str = "qmp.sock";
/// The serial console's log.
pub(crate) const SERIAL_LOG: &str = "serial.log";
/// The machine's own UEFI variables.
pub(crate) const UEFI_VARIABLES: &str = "vars.fd";
/// Name of the one network device's backend.
pub(crate) const NETWORK: &str = "net0";

/// Arguments of QEMU, which runs inside the machine's directory.
///
/// # Errors
/// The machine boots through UEFI and no firmware is installed.
pub(crate) fn build(machine: &Machine, host: &Host) -> Result<Vec<String>, HostError> {
    let mut arguments = Arguments(Vec::new());
    arguments.push("-name", &escape(&machine.name));
    processor(&mut arguments, machine, host.acceleration);
    // Nothing that was not asked for: every device costs firmware and kernel time.
    arguments.flag("-nodefaults");
    arguments.flag("-no-user-config");
    arguments.push("-display", "none");
    arguments.push("-vga", if machine.screen { "std" } else { "none" });
    consoles(&mut arguments);
    if machine.watchdog {
        arguments.push("-device", "i6300esb");
        arguments.push("-action", "watchdog=reset");
    }
    if let Clock::At(moment) = &machine.clock {
        // By the machine's own time: with the host's, QEMU counts the distance in 32 bits, and 2099 becomes 2062.
        arguments.push("-rtc", &format!("base={},clock=vm", escape(moment)));
    }
    arguments.push("-device", "virtio-rng-pci");
    network(&mut arguments, machine, host);
    boot(&mut arguments, machine, host)?;
    for (index, disk) in machine.disks.iter().enumerate() {
        attach(&mut arguments, disk, index);
    }
    for entry in &machine.fw_cfg {
        arguments
            .push("-fw_cfg", &format!("name={},file={}", escape(&entry.name), path(&entry.file)));
    }
    arguments.0.extend(machine.extra_arguments.iter().cloned());
    Ok(arguments.0)
}

struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn push(&mut self, option: &str, value: &str) {
        self.0.push(option.to_owned());
        self.0.push(value.to_owned());
    }
}

fn processor(arguments: &mut Arguments, machine: &Machine, acceleration: Acceleration) {
    arguments.push("-machine", "q35");
    match (machine.timing, acceleration) {
        (Timing::Real, Acceleration::Kvm) => {
            arguments.push("-accel", "kvm");
            arguments.push("-cpu", "host");
        }
        (Timing::Real, Acceleration::Tcg) => {
            arguments.push("-accel", "tcg");
            arguments.push("-cpu", TCG_PROCESSOR);
        }
        (Timing::Instructions, _) => {
            arguments.push("-accel", "tcg");
            arguments.push("-cpu", TCG_PROCESSOR);
            arguments.push("-icount", "shift=0,sleep=off");
        }
    }
    arguments.push("-smp", &machine.cpus.to_string());
    arguments.push("-m", &machine.memory_mib.to_string());
}

/// The processor under translation: see the measurements beside [`crate::host::Acceleration`].
const TCG_PROCESSOR: &str = "qemu64,+rdrand";

fn consoles(arguments: &mut Arguments) {
    arguments.push("-chardev", &format!("file,id=serial,path={SERIAL_LOG},append=on"));
    arguments.push("-serial", "chardev:serial");
    arguments.push("-chardev", &format!("socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"));
    arguments.push("-mon", "chardev=qmp,mode=control");
    arguments.push("-chardev", &format!("socket,id=starter,path={STARTER_SOCKET}"));
    arguments.push("-mon", "chardev=starter,mode=control");
}

fn network(arguments: &mut Arguments, machine: &Machine, host: &Host) {
    let (backend, address) = match &machine.network {
        Card::None => return,
        Card::User => {
            let forward = |port: &u16| format!(",hostfwd=tcp:127.0.0.1:0-:{port}");
            let forwards: String = machine.forwards.iter().map(forward).collect();
            (format!("user,id={NETWORK}{forwards}"), String::new())
        }
        Card::Cable { socket, mac } => {
            let (socket, again) = (path(socket), host.version.reconnect_option());
            let address = format!("server=off,addr.type=unix,addr.path={socket}");
            (format!("stream,id={NETWORK},{address},{again}"), format!(",mac={mac}"))
        }
    };
    arguments.push("-netdev", &backend);
    // No option ROM: network boot is not ours, and firmware spends a second on it.
    arguments.push("-device", &format!("virtio-net-pci,netdev={NETWORK},romfile={address}"));
}

fn boot(arguments: &mut Arguments, machine: &Machine, host: &Host) -> Result<(), HostError> {
    match &machine.boot {
        Boot::Direct { kernel, initramfs, command_line } => {
            // These are whole arguments, not option lists: commas in them mean nothing.
            arguments.push("-kernel", &kernel.to_string_lossy());
            if let Some(initramfs) = initramfs {
                arguments.push("-initrd", &initramfs.to_string_lossy());
            }
            arguments.push("-append", command_line);
        }
        Boot::Bios => {}
        Boot::Uefi => {
            let code = path(&host.firmware()?.code);
            arguments.push("-drive", &format!("if=pflash,format=raw,readonly=on,file={code}"));
            arguments.push("-drive", &format!("if=pflash,format=raw,file={UEFI_VARIABLES}"));
        }
    }
    Ok(())
}

fn attach(arguments: &mut Arguments, disk: &Disk, index: usize) {
    arguments.push(
        "-drive",
        &format!(
            "if=none,id=disk{index},file={},format={},cache={},discard=unmap",
            path(&disk.path),
            disk.format.name(),
            disk.cache.name()
        ),
    );
    match (disk.bus, disk.plugged) {
        (Bus::VirtioScsi, _) => {
            arguments.push("-device", &format!("virtio-scsi-pci,id=scsi{index}"));
        }
        // The board's own bus takes nothing at run time; a port of its own does.
        (Bus::Virtio | Bus::Nvme, Plugged::Later) => {
            let chassis = index + 1;
            arguments.push("-device", &format!("pcie-root-port,id=port{index},chassis={chassis}"));
        }
        (Bus::Virtio | Bus::Nvme, Plugged::AtPowerOn) | (Bus::Sata, _) => {}
    }
    if disk.plugged == Plugged::AtPowerOn {
        arguments.push("-device", &option_list(&device(disk, index)));
    }
}

/// The device of the machine's disk number `index`, as QEMU's `device_add` takes it.
pub(crate) fn device(disk: &Disk, index: usize) -> Map<String, Value> {
    let (driver, bus) = match disk.bus {
        Bus::Virtio => ("virtio-blk-pci", None),
        Bus::Nvme => ("nvme", None),
        Bus::Sata => ("ide-hd", Some(format!("ide.{index}"))),
        Bus::VirtioScsi => ("scsi-hd", Some(format!("scsi{index}.0"))),
    };
    let mut device = Map::new();
    let mut set = |name: &str, value: Value| drop(device.insert(name.to_owned(), value));
    set("driver", json!(driver));
    set("drive", json!(format!("disk{index}")));
    set("logical_block_size", json!(disk.sector_bytes));
    set("physical_block_size", json!(disk.sector_bytes));
    if disk.bus == Bus::Nvme {
        set("serial", json!(format!("disk{index}")));
    }
    match disk.plugged {
        // From 1: with a kernel on the command line, 0 is that kernel's.
        Plugged::AtPowerOn => set("bootindex", json!(index + 1)),
        Plugged::Later => {}
    }
    match (bus, disk.plugged) {
        (Some(bus), _) => set("bus", json!(bus)),
        (None, Plugged::Later) => set("bus", json!(format!("port{index}"))),
        (None, Plugged::AtPowerOn) => {}
    }
    device
}

/// A device as the command line takes it: its driver first.
fn option_list(device: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), escape);
    let driver = device.get("driver").map(text).unwrap_or_default();
    let rest = device.iter().filter(|(name, _)| name.as_str() != "driver");
    rest.fold(driver, |line, (name, value)| format!("{line},{name}={}", text(value)))
}

/// A path inside one of QEMU's option lists.
fn path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// A comma inside a value is written twice.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
